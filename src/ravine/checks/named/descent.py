"""Where it goes: down, and as fast as theory says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ravine.checks.candidates import Values, stepped
from ravine.checks.kinds.base import Running
from ravine.checks.probe import Path, unit
from ravine.checks.registry import Context, Fault, Skip, check
from ravine.checks.subjects import CouldNotRun

__all__: list[str] = []


@check()
def descends(c: Context) -> str | None:
    """On a bowl, a small step goes down.

    Runs: thirty steps with lr=1e-3 on half the square of the distance from 0, which every optimizer
    of gradients makes smaller.

    Fault: the loss grows with every step: this is ascent, a sign is wrong.

    Fix: subtract the update, or compute its sign as the paper does.
    """
    if c.values.get("maximize"):
        raise Skip("it is asked to maximize")
    lr = {"lr": 1e-3} if "lr" in c.subject.options else {}
    starts = [np.linspace(1, 2, 6).reshape(2, 3), np.linspace(-2, -1, 6).reshape(2, 3)]
    running = c.fresh(starts, **lr)
    losses = []
    for _ in range(30):
        losses.append(_bowl(running.parameters()))
        running.step_on(_bowl, list)
    if losses[-1] > losses[0] and all(b >= a for a, b in pairwise(losses)):
        says = "it climbs: on a bowl, the loss grows with every step"
        raise Fault(says, f"from {losses[0]:.6g} to {losses[-1]:.6g} in 30 steps")
    return None


def _bowl(at: list[Path]) -> float:
    return 0.5 * sum(float((x**2).sum()) for x in at)


_OPTIMUM = np.linspace(-1, 1, 6).reshape(2, 3)
_CURVATURE = (np.array([[1.0, 3.0, 2.0], [1.5, 1.0, 3.0]]), np.array([[3.0, 1.0, 1.5]] * 2))
_FROM = (np.full((2, 3), 2.5), np.full((2, 3), -2.5))
_LR = 0.005
_STEPS = 60


@check()
def converges(c: Context) -> str | None:
    """On convex quadratics it approaches the optimum at the rate that theory predicts.

    Runs: sixty steps with lr=0.005 on quadratics of curvatures from 1 to 3 whose optimum is known.
    For sgd, momentum and nesterov the rate is the largest eigenvalue of the step, which is linear
    there; other rules that are known are stepped on the same quadratics; of all others the loss has
    to fall for some lr.

    Fault: it is slower or faster than the rule, as where something depends on the parameters that
    should depend on gradients only, or does not descend at all.

    Fix: compare the step with the rule's where the gradient is that of the present parameters.
    """
    if c.values.get("maximize"):
        raise Skip("it is asked to maximize")
    values = {**c.busy, **({"weight_decay": 0.0} if "weight_decay" in c.busy else {})}
    if "lr" in values:
        values["lr"] = _LR
    path = _closed(c.fresh(list(_FROM), **values))
    trial = c.busy_trial(**values)
    if trial is None:
        return _falls(c, path, values)
    rates = _theory(trial.candidate.base, trial.values)
    if rates is not None:
        off = np.abs(path - np.concatenate([_OPTIMUM.ravel()] * 2))
        measured = (off[-1] / off[-2]).reshape(2, 2, 3)
        wrong = np.abs(measured - rates).max()
        if not wrong < 1e-3 * (1 - np.min(rates)):
            here = np.unravel_index(np.abs(measured - rates).argmax(), rates.shape)
            raise Fault(
                "it does not approach the optimum at the rate that theory gives",
                f"where the curvature is {np.stack(_CURVATURE)[here]:g}, a step with lr={_LR:g} leaves "
                f"{measured[here]:.6f} of the distance, in theory {rates[here]:.6f}",
            )
        return None
    if c.coupled:
        return _falls(c, path, values)
    rule = stepped(
        trial, _FROM, lambda t, i, p: _gradient(i, p), [float(trial.values.get("lr", 0.0))] * _STEPS
    )
    if rule is None:
        return _falls(c, path, values)
    way = float(np.abs(rule - rule[0]).max())
    far = float(np.abs(path - rule).max())
    single = c.identity.verdict == "single precision"
    rounding = float(np.finfo(np.float32).eps) if single else unit(path)
    if not far <= max(1e-6, 1e4 * rounding) * max(way, 1e-6) and unit(rule) <= rounding:
        raise Fault(
            f"on a quadratic it does not go where {trial.candidate.name} goes",
            f"after {_STEPS} steps they are {far:.2g} apart, and the rule has gone {way:.2g}",
        )
    return None


def _gradient(number: int, p: Path) -> Path:
    return _CURVATURE[number] * (p - _OPTIMUM)


def _closed(running: Running, steps: int = _STEPS) -> Path:
    """The path on the quadratics."""
    rows = [np.concatenate([x.ravel() for x in running.parameters()])]
    for _ in range(steps):
        running.step_on(_loss_at, lambda at: [_gradient(i, x) for i, x in enumerate(at)])
        rows.append(np.concatenate([x.ravel() for x in running.parameters()]))
    return np.stack(rows)


def _loss(x: Path) -> float:
    off = x - np.concatenate([_OPTIMUM.ravel()] * 2)
    return float((np.concatenate([h.ravel() for h in _CURVATURE]) * off**2).sum() / 2)


def _loss_at(at: list[Path]) -> float:
    return _loss(np.concatenate([x.ravel() for x in at]))


def _falls(c: Context, path: Path, values: dict[str, float | bool]) -> str | None:
    if _loss(path[-1]) < _loss(path[0]):
        return None
    if "lr" in values:
        for lr in (1e-4, 1e-2, 1e-1, 1.0):
            try:
                path = _closed(c.fresh(list(_FROM), **{**values, "lr": lr}), 30)
            except CouldNotRun:
                continue
            if _loss(path[-1]) < _loss(path[0]):
                return None
    raise Fault("on a convex quadratic the loss does not fall for any lr from 1e-4 to 1")


def _theory(name: str, values: Values) -> Path | None:
    """What a step leaves of the distance in the long run, for each curvature: the largest eigenvalue."""
    lr, mu = values.get("lr", 0.0), values.get("momentum", 0.0)
    matrices = []
    for h in np.stack(_CURVATURE).ravel():
        if name == "sgd":
            matrices.append([[1 - lr * h, 0.0], [0.0, 0.0]])
        elif name == "momentum":
            damped = 1 - values.get("dampening", 0.0)
            matrices.append([[1 - lr * h * damped, -lr * mu], [h * damped, mu]])
        elif name == "nesterov":
            matrices.append([[1 - lr * h * (1 + mu), -lr * mu**2], [h, mu]])
        else:
            return None
    found = np.linalg.eigvals(np.array(matrices))
    if np.iscomplex(found).any():  # it swings: no ratio of two distances is the rate
        return None
    return np.abs(found).max(axis=1).reshape(2, 2, 3)
