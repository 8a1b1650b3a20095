"""A rule on small problems, each of which is hard in one way: how many steps it takes, at its best rate.

Every problem has two weights, so that the way can be drawn. The learning rate is the best of a grid over
the range that the rule itself says is worth searching; nothing else is tuned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import ravine.numpy
from ravine.engines.tracing import trace
from ravine.rule import Rule

__all__ = ["PROBLEMS", "Problem", "Trial", "rates", "trial", "walk"]

Point = tuple[float, float]
STEPS = 500


@dataclass(frozen=True)
class Problem:
    """A loss of two weights.

    loss, gradient: of a point; at: what the gradient is multiplied by at a step, for each weight, which
    makes it noisy or sparse. target: the loss to reach.
    """

    name: str
    teaches: str
    start: Point
    target: float
    loss: Callable[[float, float], float]
    gradient: Callable[[float, float], Point]
    curvature: Callable[[float, float], Point]
    at: Callable[[int], Point] = lambda t: (1.0, 1.0)


def _quadratic(
    condition: float, angle: float
) -> tuple[
    Callable[[float, float], float],
    Callable[[float, float], Point],
    Callable[[float, float], Point],
]:
    c, s = math.cos(angle), math.sin(angle)
    a, b, d = c * c + condition * s * s, (1 - condition) * c * s, s * s + condition * c * c

    def loss(x: float, y: float) -> float:
        return (a * x * x + 2 * b * x * y + d * y * y) / 2

    return loss, lambda x, y: (a * x + b * y, b * x + d * y), lambda x, y: (a, d)


def _rosenbrock(x: float, y: float) -> Point:
    return -2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)


def _plateau(x: float, y: float) -> Point:
    scale = 2 / (1 + x * x + y * y) ** 2
    return scale * x, scale * y


_noise = np.random.RandomState(5).standard_normal((STEPS + 1, 2))
_RAVINE, _TURNED, _BOWL = (
    _quadratic(100, 0),
    _quadratic(100, math.pi / 6),
    _quadratic(10, math.pi / 6),
)
PROBLEMS = (
    Problem("ravine", "one weight is 100 times as steep as the other", (1.3, 0.8), 1e-5, *_RAVINE),
    Problem("turned ravine", "the same, across the axes", (1.3, 0.8), 1e-5, *_TURNED),
    Problem(
        "saddle",
        "the way out of a saddle point begins almost flat",
        (1, 1e-3),
        -0.249,
        lambda x, y: (x * x - y * y) / 2 + y**4 / 4,
        lambda x, y: (x, y**3 - y),
        lambda x, y: (1, 3 * y * y - 1),
    ),
    Problem(
        "Rosenbrock",
        "a curved valley with a flat floor",
        (-1.2, 1),
        1e-3,
        lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
        _rosenbrock,
        lambda x, y: (2 - 400 * (y - 3 * x * x), 200),
    ),
    Problem(
        "plateau",
        "far from the minimum the gradient vanishes",
        (6, 4),
        1e-3,
        lambda x, y: (x * x + y * y) / (1 + x * x + y * y),
        _plateau,
        lambda x, y: (2 / (1 + x * x + y * y) ** 2,) * 2,
    ),
    Problem(
        "noise",
        "each gradient is off by a random factor, of the wrong sign at one step in six",
        (1.3, 0.8),
        1e-5,
        *_BOWL,
        lambda t: (1 + _noise[t, 0], 1 + _noise[t, 1]),
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
"""What a rule is tried on; each teaches one thing."""


@dataclass(frozen=True)
class Trial:
    """How a rule did on a problem.

    steps: until the loss stayed at the target or below for the rest of the steps that were taken; None
    where it did not within 500 steps at any rate. lr: the rate that took fewest, or that came nearest.
    loss: the lowest that it came to.
    """

    problem: str
    steps: int | None
    lr: float | None
    loss: float


def rates(rule: Rule, count: int = 13) -> list[float | None]:
    """The learning rates to try, log-uniform over the rule's search range; [None] if it has none."""
    h = rule.hyperparameters.get("lr")
    if h is None or h.search is None:
        return [None]
    low, high = h.search
    return [float(x) for x in np.geomspace(low, high, count)]


def walk(rule: Rule, problem: Problem, lr: float | None, steps: int = STEPS) -> list[Point]:
    """The points that a rule goes through, from the start; short where they leave the numbers.

    Of a rule that averages its weights, the points to evaluate at. A rule of matrices sees the two
    weights as a matrix of one row.
    """
    shape = (1, 2) if trace(rule).of_arrays else (2,)
    given: dict[str, Any] = {} if lr is None else {"lr": lr}
    optimizer = ravine.numpy.optimizer(rule)(
        np.reshape(np.array(problem.start, float), shape), **given
    )
    points = [problem.start]
    with np.errstate(all="ignore"):
        for t in range(1, steps + 1):
            x, y = np.ravel(optimizer.params)
            factors = np.array(problem.at(t))
            signals = {
                name: problem.loss(x, y)
                if signal.scalar
                else np.reshape(problem.curvature(x, y) * factors, shape)
                for name, signal in rule.signals.items()
            }
            grad = np.reshape(problem.gradient(x, y) * factors, shape)
            p = np.ravel(optimizer.step(grad, **signals))
            if not np.all(np.abs(p) < 1e6):
                break
            with optimizer.evaluating():
                x, y = np.ravel(optimizer.params)
            points.append((float(x), float(y)))
    return points


def trial(rule: Rule, problem: Problem) -> Trial:
    """How the rule does on the problem, at the best of its rates."""
    found = [_at(rule, problem, lr) for lr in rates(rule)]
    return min(found, key=lambda one: (math.inf if one.steps is None else one.steps, one.loss))


def _at(rule: Rule, problem: Problem, lr: float | None) -> Trial:
    losses = [problem.loss(*point) for point in walk(rule, problem, lr)]
    above = [i for i, loss in enumerate(losses) if not loss <= problem.target]
    steps = above[-1] + 1 if above else 0
    reached = len(losses) == STEPS + 1 and steps <= STEPS
    return Trial(problem.name, steps if reached else None, lr, min(losses))
