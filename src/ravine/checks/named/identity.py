"""What it is: the rule, with the numbers that were asked for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ravine.checks.findings import leaving
from ravine.checks.probe import SINGLE, Probe, distance, unit
from ravine.checks.registry import Context, Fault, Skip, check
from ravine.checks.search import identified
from ravine.checks.subjects import CouldNotRun

__all__: list[str] = []


@check()
def identity(c: Context) -> str | None:
    """It takes the path of a rule that is known, with the hyperparameters that were asked for.

    The optimizer is given gradients of many kinds, and its updates are compared with those of all rules
    in float64. Where none fits, hyperparameters are fitted, and rules are put wrong in hundreds of ways,
    until one takes the same path: its sentence is the diagnosis. Without --like, the rule is the one that
    the name of the optimizer claims, its variants, or any other.
    """
    found = c.identity
    if found.verdict == "could not run":
        raise Fault(found.says)
    if found.good or found.verdict == "unknown":
        return str(found)
    raise Fault(": ".join(x for x in (found.rule, found.says) if x), *found.evidence)


@check()
def options_in_use(c: Context) -> str | None:
    """It is the same rule when what is off by default is on: weight decay, momentum.

    All hyperparameters whose default is 0 are set, and the path is searched for as before: an option that is
    implemented wrongly shows here.
    """
    if c.switched == c.values:
        raise Skip("nothing is off by default")
    if not c.identity.good:
        raise Skip("it is no rule that is known, even without")
    on = [k for k in c.switched if c.switched[k] != c.values[k]]
    try:
        path = c.path(**c.switched)
    except CouldNotRun:  # options may exclude each other: one by one
        return _one_by_one(c, on)
    return _in_use(c, path, c.switched, on)


def _one_by_one(c: Context, on: list[str]) -> str | None:
    said = []
    for name in on:
        values = {**c.values, name: c.switched[name]}
        try:
            path = c.path(**values)
        except CouldNotRun as error:
            said.append(f"{name}={values[name]} is refused: {error.why}")
            continue
        said.append(_in_use(c, path, values, [name]))
    return "; ".join(said)


def _in_use(c: Context, path: np.ndarray, values: dict[str, float | bool], on: list[str]) -> str:
    found = identified(path, c.probe, values, c.subject.name, c.like, c.seconds)
    asked = ", ".join(f"{k}={values[k]}" for k in on)
    if found.good or found.verdict in ("another rule", "unknown"):
        return f"with {asked} it is {found.rule}" if found.good else f"with {asked}: {found}"
    raise Fault(f"with {asked}: {found.says}", *found.evidence)


@check()
def every_option_counts(c: Context) -> str | None:
    """Every hyperparameter that it accepts changes its path, where all are in use.

    An argument that is accepted and ignored is worse than one that is refused: a search over it is noise.
    Each number is changed by a fifth, each switch is turned. One that acts beyond a threshold only, such
    as a clipping norm, may have no effect here.
    """
    values = c.switched
    try:
        base = c.path(**values)
    except CouldNotRun:  # options that exclude each other
        values = c.values
        base = c.path()
    same = []
    for name, value in values.items():
        other = (not value) if isinstance(value, bool) else 0.8 * value
        if name in _NO_PATH or other == value:
            continue
        try:
            path = c.path(**{**values, name: other})
        except CouldNotRun:  # a value that it refuses
            continue
        if np.array_equal(path, base, equal_nan=True):
            same.append(name)
    if not same:
        return None
    spelt = {k: c.subject.options[k].spelt for k in same}
    ignored = [x for k, x in spelt.items() if _should_count(c, k, values)]
    if ignored:
        is_are = "is" if len(ignored) == 1 else "are"
        raise Fault(f"{', '.join(ignored)} {is_are} accepted and ignored")
    return f"no effect seen of {', '.join(spelt.values())}"


def _should_count(c: Context, name: str, values: dict[str, float | bool]) -> bool:
    """Whether a hyperparameter without effect should have one: by the rule, or by what it means anywhere."""
    before = c.reference(**values)
    if before is None or isinstance(values[name], bool):
        return before is None and name in _SURE
    after = c.reference(**{**values, name: 0.8 * values[name]})
    return after is not None and not np.array_equal(before, after, equal_nan=True)


_SURE = ("lr", "beta1", "beta2", "momentum", "rho", "weight_decay", "dampening")
_NO_PATH = (
    "foreach",
    "fused",
    "capturable",
    "differentiable",
    "use_ema",
    "ema_momentum",
    "maximize",
)


@check()
def deterministic(c: Context) -> str | None:
    """Two runs with the same gradients take the same path, bit for bit."""
    first, second = c.path(), c.path()
    if not np.array_equal(first, second, equal_nan=True):
        raise Fault(f"two runs differ, by up to {distance(first, second):.1e} of an update")
    return None


@check("float64")
def float64_stays_float64(c: Context) -> str | None:
    """Parameters in float64 are stepped in float64."""
    if unit(c.path()) > 1e-10:
        raise Fault("all parameters are float32 numbers after the first step")
    apart = c.identity.distance
    if 1e-9 < apart < SINGLE:
        return f"some of what it computes is in single precision ({apart:.0e})"
    return None


@check()
def as_it_comes(c: Context) -> str | None:
    """With the arguments as they are given, or by default, it is the same rule.

    A constant that stands in the code for a hyperparameter shows where the others are at their defaults.
    """
    mine = c.subject.values | c.subject.needed
    reference = c.reference(**mine)
    if reference is None:
        raise Skip("it is no rule that is known")
    path = c.path(**mine)
    apart = distance(path, reference, unit(path))
    if apart > SINGLE:
        raise Fault(
            "with the arguments as they come it is another rule than in general position",
            leaving(path, reference, mine, unit(path), c.identity.rule),
        )
    return None


@check()
def other_shapes(c: Context) -> str | None:
    """Vectors, single numbers and arrays of many axes are stepped by the same rule.

    Asked of rules that step each element by itself, where it is known what to expect. A shape that is refused
    is a remark.
    """
    trial = c.identity.trial if c.identity.good else None
    if trial is None or not trial.graph.pointwise:
        raise Skip("it is no rule of single elements that is known")
    refused, wrong = [], []
    for shape in ((5,), (1,), (), (2, 3, 2), (1, 4), (3, 1, 2, 2)):
        rng = np.random.default_rng(len(shape))
        starts, grads = rng.standard_normal(shape), rng.standard_normal((6, *shape))
        try:
            running = c.fresh([starts])
            rows = [np.ravel(starts)]
            for g in grads:
                running.step([g])
                rows.append(np.ravel(running.parameters()[0]))
        except CouldNotRun:
            refused.append(str(shape))
            continue
        flat = Probe(starts.reshape(1, 1, -1), grads.reshape(6, 1, 1, -1))
        path = np.stack(rows)
        if distance(path, trial.path(flat), unit(path)) > SINGLE:
            wrong.append(str(shape))
    if wrong:
        raise Fault(f"parameters of shape {', '.join(wrong)} are stepped otherwise than matrices")
    return f"refuses parameters of shape {', '.join(refused)}" if refused else None


@check()
def still_without_lr(c: Context) -> str | None:
    """With lr = 0 nothing moves, unless the rule says so.

    Rprop's steps have a least size, and some decay is not multiplied by lr.
    """
    if "lr" not in c.subject.options:
        raise Skip("it has no lr")
    try:
        path = c.path(lr=0.0)
    except CouldNotRun as error:
        raise Skip("it refuses lr = 0") from error
    if np.isnan(path).any():
        raise Skip("its parameters become NaN")
    moves = np.abs(path - path[0])
    moved = float(np.nanmax(moves))
    if (moves <= 4 * unit(path) * np.abs(path[0])).all():
        return None
    reference = c.reference(lr=0.0)
    if reference is None:
        return f"with lr = 0 parameters move, by up to {moved:.3g}"
    if distance(path, reference, unit(path)) > SINGLE:
        raise Fault(f"with lr = 0 parameters move, by up to {moved:.3g}")
    return f"with lr = 0 parameters move, as the rule says, by up to {moved:.3g}"


@check()
def descends(c: Context) -> str | None:
    """On a bowl, a small step goes down.

    The loss is half the square of the distance from 0, which every optimizer of gradients makes smaller
    with a small lr. One that makes it larger at each step climbs.
    """
    if c.values.get("maximize"):
        raise Skip("it is asked to maximize")
    lr = {"lr": 1e-3} if "lr" in c.subject.options else {}
    starts = [np.linspace(1, 2, 6).reshape(2, 3), np.linspace(-2, -1, 6).reshape(2, 3)]
    running = c.fresh(starts, **lr)
    losses = []
    for _ in range(30):
        at = running.parameters()
        losses.append(0.5 * sum(float((x**2).sum()) for x in at))
        running.step(at)
    if losses[-1] > losses[0] and all(b >= a for a, b in pairwise(losses)):
        says = "it climbs: on a bowl, the loss grows with every step"
        raise Fault(says, f"from {losses[0]:.6g} to {losses[-1]:.6g} in 30 steps")
    return None


@check()
def quiet(c: Context) -> str | None:
    """It leaves alone what other code relies on, such as torch's default dtype.

    What it prints is a remark, not a fault.
    """
    c.path()
    heard = c.subject.heard
    if heard.changed:
        what = "; ".join(f"{k}: {v}" for k, v in heard.changed.items())
        raise Fault(f"it changes {what}")
    return f"it prints {heard.printed.splitlines()[0]!r}" if heard.printed else None
