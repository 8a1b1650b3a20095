"""What its hyperparameters do, and what they do not do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from ravine.checks.options import SURE
from ravine.checks.probe import SINGLE, Path, Probe, distance, unit, walked
from ravine.checks.registry import Context, Fault, Skip, check
from ravine.checks.search import identified
from ravine.checks.subjects import CouldNotRun

__all__: list[str] = []

_NO_PATH = (
    "foreach",
    "fused",
    "capturable",
    "differentiable",
    "use_ema",
    "ema_momentum",
    "maximize",
)
_MEANT = ("amsgrad", "centered", "decoupled_weight_decay", "maximize", "nesterov")
"""Switches that mean the same whoever has them; others may make another algorithm, which nobody knows."""
_WITH = {"nesterov": "momentum", "decoupled_weight_decay": "weight_decay"}
"""What has to be on for a switch to act."""
_FEW = 6
_SEARCHED = 1.0


@check()
def every_option_counts(c: Context) -> str | None:
    """Every hyperparameter that it accepts changes its path when all are in use.

    Runs: the probe with each number changed by a fifth, and each switch turned. What has no effect
    is tried again ten times as large and as small, and with each switch turned, since it may act
    beyond a threshold, or together with another only.

    Fault: an argument is accepted and ignored, which is worse than one that is refused: a search
    over it is noise. Where a rule's own formula may ignore it, "no effect seen" is a remark.

    Fix: use it, or take it out of the signature.
    """
    values = c.busy
    tried = [k for k, v in values.items() if k not in _NO_PATH and (v or isinstance(v, bool))]
    same = [k for k in tried if not _acts(c, k, values)]
    useless = [
        k for k in same if k in _MEANT and values[k] and _in_use(c, k, values) and _given(c, k)
    ]
    if useless:
        spelt = {k: c.subject.options[k].spelt for k in useless}
        raise Fault(f"{', '.join(spelt.values())} has no effect with the given arguments")
    same = [k for k in same if not _acts_together(c, k, values)]
    if not same:
        return None
    spelt = {k: c.subject.options[k].spelt for k in same}
    ignored = [x for k, x in spelt.items() if _should_count(c, k, values)]
    if ignored:
        is_are = "is" if len(ignored) == 1 else "are"
        rest = [x for x in spelt.values() if x not in ignored]
        seen = [f"no effect seen of {', '.join(rest)} either"] if rest else []
        raise Fault(f"{', '.join(ignored)} {is_are} accepted and ignored", *seen)
    return f"no effect seen of {', '.join(spelt.values())}"


_Values = dict[str, float | bool]


def _acts(c: Context, name: str, values: _Values, factors: tuple[float, ...] = (0.8,)) -> bool:
    """Whether another value of a hyperparameter takes another path; yes where all others are refused."""
    value = values[name]
    others = [not value] if isinstance(value, bool) else [_times(value, f) for f in factors]
    refused = 0
    for other in others:
        try:
            for steps in (_FEW, len(c.probe.grads)):  # what acts late is rare
                its = c.path(steps, **{**values, name: other})
                if not np.array_equal(its, c.path(steps, **values), equal_nan=True):
                    return True
        except CouldNotRun:
            refused += 1
    return refused == len(others)


def _acts_together(c: Context, name: str, values: _Values) -> bool:
    """Whether it acts with a far larger or smaller value, or with a switch turned."""
    if not isinstance(values[name], bool) and _acts(c, name, values, (0.1, 10.0)):
        return True
    for k, v in values.items():
        if isinstance(v, bool) and k != name and k not in _NO_PATH:
            try:
                if _acts(c, name, {**values, k: not v}):
                    return True
            except CouldNotRun:  # switches that are mutually exclusive
                continue
    return False


def _should_count(c: Context, name: str, values: _Values) -> bool:
    """Whether a hyperparameter without effect should have one: by the rule, or by what it means anywhere."""
    value, before = values[name], c.busy_trial()
    other = not value if isinstance(value, bool) else _times(value, 0.8)
    after = None if before is None else c.busy_trial(**{name: other})
    if before is not None and (after is None or after.values != before.values):  # it reads it
        try:
            paths = [x.path(c.probe) for x in (before, after) if x]
        except (CouldNotRun, ValueError):  # a value that the rule refuses
            return False
        return len(paths) == 2 and not np.array_equal(paths[0], paths[1], equal_nan=True)
    if name not in (*SURE, *_MEANT) or not _in_use(c, name, values):
        return False
    return name != "eps" or before is not None  # some divide by eps only what is smaller


def _in_use(c: Context, name: str, values: Mapping[str, float | bool]) -> bool:
    """Whether what a hyperparameter acts with is on, as momentum for nesterov; it is off where it is None."""
    partner = _WITH.get(name, "")
    return bool(values.get(partner, not c.subject.accepts(partner)))


def _given(c: Context, name: str) -> bool:
    """Whether its user asks for it."""
    return c.subject.options[name].argument in c.subject.given


def _times(value: float, factor: float) -> float:
    """A number times another, and whole if it was whole."""
    return type(value)(factor * value)


@check()
def switches_in_pairs(c: Context) -> str | None:
    """With each switch flipped, and with each pair of switches, it is still a known rule.

    Runs: the probe with nesterov, amsgrad, centered, decoupled_weight_decay and maximize, one and two
    at a time. Each path is searched for among the rules and their faults; with maximize it is that of
    the negated gradient.

    Fault: a switch is right alone and wrong with another, as where amsgrad takes its maximum before
    maximize turns the sign.

    Fix: as the diagnosis says.
    """
    names = [
        k
        for k, v in c.busy.items()
        if isinstance(v, bool) and k in _MEANT and _in_use(c, k, c.busy)
    ]
    if not names:
        raise Skip("it has no switches")
    if not c.identity.good:
        raise Skip("it is not a known rule even without them")
    begun = time.process_time()
    for some in [*((k,) for k in names), *combinations(names, 2)]:
        left = min(c.seconds, _SEARCHED) - (time.process_time() - begun)
        if left < 0:
            return "not all pairs were tried in time"
        values = {**c.busy, **{k: not c.busy[k] for k in some}}
        asked = ", ".join(f"{k}={values[k]}" for k in some)
        try:
            path = c.path(**values)
        except CouldNotRun:  # what excludes each other is refused
            continue
        if "maximize" in some:  # of what it is without, with the negated gradient
            down = walked(c.fresh(**{**values, "maximize": c.busy["maximize"]}), -c.probe.grads[:8])
            if c.off(path[:9], down):
                raise Fault(f"with {asked} it does not take the steps of the negated gradient")
            continue
        found = identified(path, c.probe, values, c.subject.name, c.like, left)
        if found.verdict in ("fault", "other numbers"):
            raise Fault(f"with {asked}: {found.says}", *found.evidence)
    return None


@check()
def still_without_lr(c: Context) -> str | None:
    """With lr = 0 nothing moves, unless the rule says so.

    Runs: the probe with lr = 0. Rprop's steps have a least size, and some decay is not multiplied
    by lr.

    Fault: parameters move: `lr or 0.1` takes 0 for missing, or a part of the update is not
    multiplied by lr.

    Fix: test for None, and multiply.
    """
    if "lr" not in c.subject.options:
        raise Skip("it has no lr")
    try:
        path = c.path(lr=0.0)
    except CouldNotRun as error:
        raise Skip("it refuses lr = 0") from error
    return _still(c, path, c.reference(lr=0.0), "with lr = 0")


@check()
def still_without_gradient(c: Context) -> str | None:
    """Without gradient and without decay nothing moves or becomes NaN, unless the rule says so.

    Runs: eight steps with gradients of 0, and weight_decay=0.

    Fault: parameters move or become NaN: 0 is divided by 0 where eps is missing, or decay is not
    switched off.

    Fix: add eps to what is divided by, and let weight_decay=0 mean none.
    """
    values = {"weight_decay": 0.0} if "weight_decay" in c.subject.options else {}
    zeros = np.zeros_like(c.probe.grads[:8])
    path = walked(c.fresh(**values), zeros)
    trial = c.trial(**values)
    rule = None if trial is None else trial.path(Probe(c.probe.starts, zeros))
    return _still(c, path, rule, "without gradient and decay")


def _still(c: Context, path: Path, reference: Path | None, when: str) -> str | None:
    """That a path stands still, or moves as the rule does."""
    as_said = reference is not None and distance(path, reference, unit(path)) <= SINGLE
    if np.isnan(path).any():
        if reference is not None and not as_said:
            raise Fault(f"{when} parameters become NaN")
        return f"{when} parameters become NaN{', as the rule says' if as_said else ''}"
    moves = np.abs(path - path[0])
    moved = float(moves.max())
    if (moves <= 4 * unit(path) * np.abs(path[0])).all():
        return None
    says = f"{when} parameters move, by up to {moved:.3g}"
    if reference is None:
        return says
    if not as_said:
        raise Fault(says)
    return f"{when} parameters move, as the rule says, by up to {moved:.3g}"


@check()
def no_decay_means_none(c: Context) -> str | None:
    """With weight_decay=0 the steps do not depend on where the parameters are, unless the rule says so.

    Runs: eight steps with weight_decay=0, from the probe's starts and from others, with the same
    gradients.

    Fault: the steps differ: parameters are pulled towards 0 although no decay is asked for.

    Fix: multiply the decay by weight_decay alone, and test `is None` rather than `or` for a
    default.
    """
    if "weight_decay" not in c.subject.options:
        raise Skip("it has no weight_decay")
    grads = c.probe.grads[:8]
    values = {**c.busy, "weight_decay": 0.0}
    path = walked(c.fresh(**values), grads)
    moved = walked(c.fresh(list(c.probe.starts + 2.0), **values), grads) - 2.0
    if not c.off(path, moved):
        return None
    trial = c.busy_trial(**values)
    if trial is None:
        return "with weight_decay=0 the steps depend on where the parameters are"
    rule = trial.path(Probe(c.probe.starts, grads))
    if c.off(path, rule):
        raise Fault("with weight_decay=0 parameters still decay")
    return None
