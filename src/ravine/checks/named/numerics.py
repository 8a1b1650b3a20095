"""Its arithmetic: precision, sizes, NaN, and ways to compute the same."""

from __future__ import annotations

import numpy as np

from ravine.checks.probe import SINGLE, Path, Probe, distance, unit, walked
from ravine.checks.registry import Context, Fault, Skip, check, refusal
from ravine.checks.subjects import CouldNotRun

__all__: list[str] = []


@check()
def deterministic(c: Context) -> str | None:
    """Two runs with the same gradients take the same path, bit for bit.

    Runs: two fresh optimizers over the probe. What everybody draws random numbers from is seeded in
    each step.

    Fault: the paths differ. It draws from a generator that nobody can seed, or keeps something from
    one run to the next, or depends on addresses, time or the order of a set.

    Fix: draw from torch's generator or from one that is an argument; keep state in the object.
    """
    first, second = c.path(), c.probe.follow(c.fresh())
    if not np.array_equal(first, second, equal_nan=True):
        raise Fault(f"two runs differ, by up to {distance(first, second):.1e} of an update")
    return None


@check("float64")
def float64_stays_float64(c: Context) -> str | None:
    """Parameters in float64 are stepped in float64.

    Runs: the probe, in float64; whether all parameters are float32 numbers after it.

    Fault: something converts to float32: a buffer that is made with the default dtype, `.float()`,
    np.float32.

    Fix: make buffers with zeros_like(p), and constants as Python numbers.
    """
    if unit(c.path()) > 1e-10:
        raise Fault("all parameters are float32 numbers after the first step")
    far = c.identity.distance
    if 1e-9 < far < SINGLE:
        return f"some of what it computes is in single precision ({far:.0e})"
    return None


@check("dtypes")
def half_precision(c: Context) -> str | None:
    """Parameters in bfloat16 and float16 remain finite, in their dtype, and move.

    Runs: eight steps from 0 with gradients of 0.3 to 1, in each, and the same in float64.

    Fault: they become NaN, as where a square falls below the smallest number and is divided by; or
    they, or some of them, stand still where float64 moves; or their dtype changes.

    Fix: compute in float32 and round once, at the end; keep averages in float32.
    """
    rng = np.random.default_rng(5)
    shape = c.probe.starts.shape
    starts = list(np.zeros(shape))
    grads = [list(rng.choice([-1, 1], shape) * rng.uniform(0.3, 1, shape))] * 8
    exact = walked(c.fresh(starts, **c.busy), grads)
    way = float(np.abs(exact[-1]).max())
    if not 0 < way < 1e4:
        raise Skip("from 0 it does not move in float64")
    said = []
    for dtype in ("bfloat16", "float16"):
        try:
            running = c.fresh(starts, dtype, **c.busy)
            path = walked(running, grads)
        except CouldNotRun as error:
            said.append(f"refuses {dtype}: {refusal(error)}")
            continue
        if not np.isfinite(path).all():
            raise Fault(f"{dtype} parameters become NaN or infinite with gradients of about 1")
        kinds = {str(getattr(p, "dtype", dtype)).rpartition(".")[2] for p in running._listed()}
        kinds = {"float16" if k == "half" else k for k in kinds}  # tinygrad's name for it
        if kinds - {dtype}:
            raise Fault(f"{dtype} parameters become {', '.join(sorted(kinds - {dtype}))}")
        if way > 1e-3 and np.abs(path[-1]).max() < 0.1 * way:
            raise Fault(
                f"{dtype} parameters stand still",
                f"they move by {np.abs(path[-1]).max():.2g}, in float64 by {way:.2g}",
            )
        still = (path[-1] == 0) & (np.abs(exact[-1]) > 0.1 * way)
        if way > 1e-3 and still.any():
            raise Fault(f"{still.sum()} of {still.size} {dtype} parameters stand still")
    return "; ".join(said)


@check("float64")
def sizes_of_gradients(c: Context) -> str | None:
    """Tiny and huge gradients leave the parameters finite.

    Runs: six steps in float64 with gradients of 1e-30 and of 1e30, whose squares float64 has; and
    where it computes in float32, with 1e-20 and 1e20, whose squares float32 has not: there, NaN is
    a remark.

    Fault: parameters become NaN or infinite, as where a number is divided by something that has
    become 0 or infinite without need.

    Fix: add eps where something is divided by a root or a norm; take the root before multiplying.
    """
    said = []
    for dtype, sizes in (("float64", (1e-30, 1e30)), ("float32", (1e-20, 1e20))):
        if dtype == "float32" and "dtypes" not in c.subject.has:
            continue
        for size in sizes:
            try:
                path = walked(c.fresh(None, dtype, **c.busy), size * c.probe.grads[:6])
            except CouldNotRun as error:
                said.append(f"with gradients of {size:g} it fails: {refusal(error)}")
                continue
            if np.isfinite(path).all():
                continue
            says = f"gradients of {size:g} make {dtype} parameters NaN or infinite"
            if dtype == "float64" and _finite(c, size):
                raise Fault(says)
            said.append(says)
    return "; ".join(said)


def _finite(c: Context, size: float) -> bool:
    """Whether the rule that it is remains finite; yes where that is not known."""
    trial = c.busy_trial()
    if trial is None:
        return True
    return bool(np.isfinite(trial.path(Probe(c.probe.starts, size * c.probe.grads[:6]))).all())


@check()
def nan_is_not_hidden(c: Context) -> str | None:
    """NaN or infinity in a gradient shows up in the parameters where the formula says so, or raises an error.

    Runs: three steps; a fourth with NaN in one number of the gradient, or infinity; and one more.

    Fault: the parameters look healthy, and training continues with steps that mean nothing.
    Comparisons are false with NaN, and max, clip and nan_to_num may drop it. Of rules that take a
    sign it is a remark, since torch's sign of NaN is 0.

    Fix: let NaN through; what skips steps should say so, as torch.amp.GradScaler does.
    """
    hidden = None
    rule = c.busy_trial()
    exact = rule is not None and "sign" not in {
        x.op for x in rule.graph.needed(rule.graph.live_outputs().values())
    }
    for bad, name in ((np.nan, "NaN"), (np.inf, "infinity")):
        grads = c.probe.grads[:5].copy()
        grads[3, 0, 1, 2] = bad
        try:
            path = walked(c.fresh(**c.busy), grads)
        except CouldNotRun:
            continue
        if not np.isfinite(path).all():
            continue
        if rule and exact and not np.isfinite(rule.path(Probe(c.probe.starts, grads))).all():
            raise Fault(f"{name} in a gradient is hidden: the parameters remain finite")
        if bad != bad:
            hidden = "NaN in a gradient leaves the parameters finite"
    return hidden


@check("torch")
def implementations_agree(c: Context) -> str | None:
    """It takes the same steps with foreach=True, with fused=True, and with a loop over the tensors.

    Runs: eight steps with each that it accepts; what is refused is a remark.

    Fault: they differ. The code of one was changed and that of the other was not.

    Fix: compare them in a test with random hyperparameters, all in use.
    """
    ways = [k for k in ("foreach", "fused") if c.subject.accepts(k)]
    if not ways:
        raise Skip("it has neither foreach nor fused")
    paths: dict[str, Path] = {}
    refused = []
    off = dict.fromkeys(ways, False)
    values = {k: v for k, v in c.busy.items() if k not in ways}
    for name, given in (("the loop", off), *((f"{k}=True", {**off, k: True}) for k in ways)):
        try:
            running = c.giving(**given).fresh(**values)
            paths[name] = walked(running, c.probe.grads[:8])
        except CouldNotRun as error:
            refused.append(f"{name} is refused: {refusal(error)}")
    base = next(iter(paths.items()), None)
    for name, path in paths.items():
        if base and c.off(path, base[1]):
            raise Fault(
                f"{name} and {base[0]} differ, by up to {c.off(path, base[1]):.1e} of a step"
            )
    return "; ".join(refused)


@check("torch", "plain")
def accumulation(c: Context) -> str | None:
    """Gradients that are accumulated in two halves, in the same tensors in every step, give the same steps.

    Runs: eight steps, for each of which the gradients are set to 0 in place, and added up from two
    halves.

    Fault: the steps differ from those with new tensors. State refers to the gradient's tensor
    instead of a copy, as `state["previous"] = p.grad` does, and changes when that is filled again.

    Fix: keep p.grad.clone().
    """
    import torch

    running = c.fresh(**c.busy)
    rows = []
    for p in running.params:
        p.grad = torch.zeros_like(p)
    for grads in c.probe.grads[:8]:
        for p, g in zip(running.params, grads, strict=True):
            half = torch.tensor(g, dtype=p.dtype) / 2
            if p.grad is None:  # a step that takes them away
                p.grad = torch.zeros_like(p)
            p.grad.zero_().add_(half).add_(half)
        running.optimizer.step()
        rows.append(np.concatenate([x.ravel() for x in running.parameters()]))
    far = c.off(np.stack([c.probe.starts.ravel(), *rows]), c.path(8, **c.busy))
    if far:
        raise Fault(f"gradients in reused tensors give different steps, by {far:.1e}")
    return None


@check()
def maximize_negates(c: Context) -> str | None:
    """With maximize=True it takes the steps of the negated gradient.

    Runs: the probe with maximize=True, and its negative without.

    Fault: the paths differ. The sign is applied too late, as after weight decay was added, or not
    to everything.

    Fix: `grad = -grad if maximize else grad`, first of all.
    """
    if not isinstance(c.busy.get("maximize"), bool):
        raise Skip("it has no maximize")
    up = c.path(8, **{**c.busy, "maximize": True})
    down = walked(c.fresh(**{**c.busy, "maximize": False}), -c.probe.grads[:8])
    far = c.off(up, down)
    if far:
        raise Fault(f"maximize=True is not the negated gradient: a step differs by {far:.1e}")
    return None
