"""A rule on small problems, each of which is hard in one way: how many steps it takes, at its best rate.

Every problem has two weights, so that paths can be drawn. The learning rate is the best of a grid over the
rule's search range; nothing else is tuned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine.engines.tracing import trace
from ravine.rule import Rule

__all__ = ["PROBLEMS", "STEPS", "Problem", "Trial", "rates", "trial", "walk", "walks"]

Array = NDArray[np.float64]
Point = tuple[float, float]
_Pair = Callable[[Any, Any], tuple[Any, Any]]
STEPS = 500
"""The number of steps that a rule takes."""


@dataclass(frozen=True)
class Problem:
    """A loss of two weights, which may be arrays.

    loss, gradient: of a point; curvature: the diagonal of the Hessian there, or a bound on it. at: what
    the gradient is multiplied by at a step, for each weight, which makes it noisy or sparse. target: the
    loss to reach. minimum: where the loss is lowest.
    """

    name: str
    teaches: str
    start: Point
    target: float
    loss: Callable[[Any, Any], Any]
    gradient: _Pair
    curvature: _Pair
    at: Callable[[int], Point] = lambda t: (1.0, 1.0)
    minimum: Point = (0.0, 0.0)

    def excess(self, x: Any, y: Any) -> Any:
        """The loss above its minimum, at a point."""
        return self.loss(x, y) - self.loss(*self.minimum)


def _quadratic(condition: float, angle: float) -> tuple[Callable[[Any, Any], Any], _Pair, _Pair]:
    """The loss, gradient and curvature of a bowl, turned by an angle."""
    c, s = math.cos(angle), math.sin(angle)
    a, b, d = c * c + condition * s * s, (1 - condition) * c * s, s * s + condition * c * c

    def loss(x: Any, y: Any) -> Any:
        return (a * x * x + 2 * b * x * y + d * y * y) / 2

    return loss, lambda x, y: (a * x + b * y, b * x + d * y), lambda x, y: (a, d)


_noise = np.random.RandomState(5).standard_normal((STEPS + 1, 2))
_BOWL = _quadratic(10, math.pi / 6)
_ALL = (
    Problem(
        "ravine",
        "one weight is 100 times as steep as the other",
        (1.3, 0.8),
        1e-5,
        *_quadratic(100, 0),
    ),
    Problem(
        "turned ravine",
        "the same, across the axes",
        (1.3, 0.8),
        1e-5,
        *_quadratic(100, math.pi / 6),
    ),
    Problem(
        "saddle",
        "the way out of a saddle point begins almost flat",
        (1, 1e-3),
        -0.249,
        lambda x, y: (x * x - y * y) / 2 + y**4 / 4,
        lambda x, y: (x, y**3 - y),
        lambda x, y: (1, 3 * y * y - 1),
        minimum=(0, 1),
    ),
    Problem(
        "Rosenbrock",
        "a curved valley with a flat floor",
        (-1.2, 1),
        1e-3,
        lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
        lambda x, y: (-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)),
        lambda x, y: (2 - 400 * (y - 3 * x * x), 200),
        minimum=(1, 1),
    ),
    Problem(
        "plateau",
        "far from the minimum the gradient vanishes",
        (6, 4),
        1e-3,
        lambda x, y: (x * x + y * y) / (1 + x * x + y * y),
        lambda x, y: (2 * x / (1 + x * x + y * y) ** 2, 2 * y / (1 + x * x + y * y) ** 2),
        lambda x, y: (2 / (1 + x * x + y * y) ** 2,) * 2,
    ),
    Problem(
        "noise",
        "each gradient is off by a random factor, of the wrong sign at one step in six",
        (1.3, 0.8),
        1e-5,
        *_BOWL,
        lambda t: tuple(1 + _noise[t % len(_noise)]),
    ),
    Problem(
        "outliers",
        "at every 25th step the gradient is 100 times too large",
        (1.3, 0.8),
        1e-5,
        *_BOWL,
        lambda t: (100.0, 100.0) if t % 25 == 0 else (1.0, 1.0),
    ),
    Problem(
        "sparse",
        "one weight has a gradient at every 20th step only",
        (1.3, 0.8),
        1e-5,
        *_quadratic(1, 0),
        lambda t: (1.0, float(t % 20 == 0)),
    ),
)
PROBLEMS = {problem.name: problem for problem in _ALL}
"""The problems, by name; each shows one thing."""


@dataclass(frozen=True)
class Trial:
    """A rule's result on a problem.

    steps: until the loss stayed at the target or below for the rest of the 500; None where it did not at
    any rate. lr: the rate that took fewest, or that came nearest; None if the rule has none. reached: the
    rates that got there. path: at the best rate, as from :func:`walk`.
    """

    problem: str
    steps: int | None
    lr: float | None
    reached: tuple[float | None, ...]
    path: Array


def rates(rule: Rule, count: int = 13) -> list[float | None]:
    """The learning rates to try, over the rule's search range: even on a logarithmic scale, to two digits.

    [None] if it has none.
    """
    h = rule.hyperparameters.get("lr")
    if h is None or h.search is None:
        return [None]
    low, high = h.search
    return [float(f"{x:.2g}") for x in np.geomspace(low, high, count)]


def walk(rule: Rule, problem: Problem, lr: float | None = None, steps: int = STEPS) -> Array:
    """The points that a rule goes through, (steps + 1, 2); short where they leave the numbers.

    lr: None for the rule's default. A signal is the loss, if it is one number, or the diagonal of the
    Hessian; what Sophia-G samples is such that it finds that. Of a rule that averages its weights, the
    points to evaluate at. A rule of matrices sees the two weights as a matrix of one row.
    """
    shape = (1, 2) if trace(rule).of_arrays else (2,)
    points = [path.reshape(2) for path in _path(rule, problem, shape, lr, steps)]
    return _numbers(np.array(points))


def walks(
    rule: Rule, problem: Problem, lrs: Sequence[float | None], steps: int = STEPS
) -> list[Array]:
    """The walk at each of these rates; where each element is stepped separately, all rates are one array."""
    if None in lrs or not trace(rule).pointwise:
        return [walk(rule, problem, lr, steps) for lr in lrs]
    lr = np.array(lrs, float)[:, None]
    points = np.array([*_path(rule, problem, (len(lrs), 2), lr, steps)])
    return [_numbers(points[:, i]) for i in range(len(lrs))]


def _path(
    rule: Rule, problem: Problem, shape: tuple[int, ...], lr: Any, steps: int
) -> Iterator[Array]:
    """The weights to evaluate with, from the start on, in this shape; they may leave the numbers."""
    given: dict[str, Any] = {} if lr is None else {"lr": lr}
    p = np.broadcast_to(np.array(problem.start, float), shape).copy()
    state = rule.init(p, **given)
    yield p
    with np.errstate(all="ignore"):
        for t in range(1, steps + 1):
            x, y, factors = p[..., 0], p[..., 1], np.array(problem.at(t))
            curvature = _pair(problem.curvature(x, y), shape) * factors
            signals = {
                name: problem.loss(x, y)[..., None]
                if signal.scalar
                else _sampled(rule, curvature)
                if name == "sampled"
                else curvature
                for name, signal in rule.signals.items()
            }
            g = _pair(problem.gradient(x, y), shape) * factors
            p, state = rule.update(p, g, state, t, **given, **signals)
            if not np.any(np.abs(p) < 1e6):
                return
            yield np.array(rule.evaluate(p, state, **given))


def _sampled(rule: Rule, curvature: Array) -> Array:
    """Gradients whose squares, times the size of the batch, are the curvature, where that is positive."""
    return np.sqrt(np.maximum(curvature, 0) / rule.hyperparameters["bs"].default)


def _pair(values: tuple[Any, Any], shape: tuple[int, ...]) -> Array:
    return np.stack([np.broadcast_to(value, shape[:-1]) for value in values], axis=-1)


def _numbers(points: Array) -> Array:
    """The points up to the first that is not near."""
    with np.errstate(invalid="ignore"):
        away = ~np.all(np.abs(points) < 1e6, axis=-1)
    return points[: np.argmax(away)] if away.any() else points


def trial(rule: Rule, problem: Problem) -> Trial:
    """The rule's result on the problem, at the best of its rates."""
    lrs = rates(rule)
    paths = walks(rule, problem, lrs)
    losses = [problem.loss(*path.T) for path in paths]
    steps = [_steps(loss, problem.target) for loss in losses]
    took = [math.inf if count is None else count for count in steps]
    best = min(range(len(lrs)), key=lambda i: (took[i], losses[i].min()))
    reached = tuple(lr for lr, count in zip(lrs, steps, strict=True) if count is not None)
    return Trial(problem.name, steps[best], lrs[best], reached, paths[best])


def _steps(losses: Array, target: float) -> int | None:
    """The number of steps until the loss stays at the target; None if it does not."""
    above = np.flatnonzero(~(losses <= target))
    steps = int(above[-1]) + 1 if len(above) else 0
    return steps if len(losses) == STEPS + 1 and steps <= STEPS else None
