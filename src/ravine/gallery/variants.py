"""The distance of two rules on the same gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

import ravine.numpy
from ravine.engines.tracing import trace
from ravine.rule import Rule

__all__ = ["apart"]

STEPS = 60
_SHAPES: tuple[tuple[int, ...], ...] = ((5,), (4, 3), (3, 2, 2, 2))
_MATRICES: tuple[tuple[int, ...], ...] = ((4, 3), (3, 5))


def apart(one: Rule, other: Rule) -> float:
    """The distance of two rules' paths after 60 equal gradients, over the length of the first one's.

    Both have the first one's defaults, where they have hyperparameters in common. Parameters are a
    vector, a matrix and the weight of a convolution, or matrices where a rule takes no others; of all
    their elements the largest counts. A signal is drawn like a gradient, one number as its size.
    """
    of_matrices = any(trace(rule).of_arrays for rule in (one, other))
    shapes = _MATRICES if of_matrices else _SHAPES
    defaults = one.parts.gathered({k: h.default for k, h in one.hyperparameters.items()})
    common = {
        k: v for k, v in defaults.items() if k in {*other.hyperparameters, *other.parts.tuples}
    }
    start = _flat(_start(shapes))
    first, second = _path(one, shapes, {}), _path(other, shapes, common)
    return float(np.abs(first - second).max() / np.abs(first - start).max())


def _start(shapes: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    draw = np.random.RandomState(1)
    return [draw.standard_normal(shape) for shape in shapes]


def _path(rule: Rule, shapes: tuple[tuple[int, ...], ...], given: dict[str, Any]) -> np.ndarray:
    draw = np.random.RandomState(2)
    optimizer = ravine.numpy.optimizer(rule)(_start(shapes), **given)
    beside = np.random.RandomState(3)
    for _ in range(STEPS):
        signals = {
            name: abs(beside.standard_normal())
            if signal.scalar
            else [beside.standard_normal(shape) for shape in shapes]
            for name, signal in rule.signals.items()
        }
        optimizer.step([draw.standard_normal(shape) for shape in shapes], **signals)
    return _flat(optimizer.params)


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in arrays])
