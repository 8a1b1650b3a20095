"""The probe for unknown optimizers: parameters and gradients that distinguish rules.

The gradients do not depend on the parameters. So one run of T steps over N numbers is N experiments, and
two optimizers are the same if their N·T updates are. Values are in general position: no two of them have a
simple relation, because with lr = 1 − beta2, for example, a wrong formula may be right by chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine.checks.kinds.base import Running
from ravine.checks.subjects import Subject

__all__ = [
    "EQUAL",
    "LOUD",
    "SINGLE",
    "Path",
    "Probe",
    "apart",
    "distance",
    "distances",
    "finite",
    "gentle",
    "probe",
    "square",
    "unit",
    "walked",
]

Path = NDArray[np.float64]
"""The parameters before the first step and after each step: (steps + 1, numbers)."""

EQUAL = 1e-9
"""Tolerance for the same computation in another order, relative to the update."""
SINGLE = 3e-5
"""The same, in float32."""

LOUD = {
    "lr": 0.037,
    "beta1": 0.83,
    "beta2": 0.946,
    "beta3": 0.917,
    "eps": 0.012,
    "eps_root": 0.0031,
    "weight_decay": 0.11,
    "momentum": 0.71,
    "alpha": 0.88,
    "rho": 0.88,
    "beta": 0.86,
    "gamma": 0.87,
    "decay": 0.87,
    "decay_rate": 0.87,
    "discounting_factor": 0.87,
    "lambd": 0.053,
    "t0": 5.0,
    "lr_decay": 0.13,
    "momentum_decay": 0.19,
    "dampening": 0.23,
    "eta_minus": 0.47,
    "eta_plus": 1.23,
    "v0": 0.021,
}
"""Hyperparameters in general position: far from one another, with effects well above rounding."""


@dataclass(frozen=True)
class Probe:
    """starts: (tensors, rows, columns). grads: (steps, tensors, rows, columns).

    restored: whether the parameters are reset to the starts after every step. A path then repeats the
    starts after each row except the last.
    """

    starts: NDArray[Any]
    grads: NDArray[Any]
    restored: bool = False

    @property
    def rows(self) -> int:
        """The number of rows of its paths."""
        return (2 if self.restored else 1) * len(self.grads) + (not self.restored)

    @property
    def dtype(self) -> str:
        """The dtype in which its optimizers compute."""
        return "complex128" if np.iscomplexobj(self.grads) else "float64"

    def part(self, steps: int) -> Probe:
        """The same with fewer steps."""
        return replace(self, grads=self.grads[:steps])

    def take(self, subject: Subject, **values: float | bool) -> Path:
        """The path of a fresh optimizer with these hyperparameters."""
        return self.follow(subject.make(list(self.starts), self.dtype, **values))

    def follow(self, running: Running) -> Path:
        """The path that a fresh optimizer takes from the starts. Raises CouldNotRun."""
        return walked(running, self.grads, self.restored)


def walked(running: Running, grads: Iterable[Any], restored: bool = False) -> Path:
    """The path of an optimizer from its current position. grads: for each step, an array for each tensor.

    restored: see :class:`Probe`.
    """
    rows = [_flat(running)]
    for each in grads:
        if restored and len(rows) > 1:
            running.restore()
            rows.append(_flat(running))
        running.step(list(each))
        rows.append(_flat(running))
    return np.stack(rows)


def _flat(running: Running) -> Path:
    return np.concatenate([np.ravel(x) for x in running.parameters()])


def _kinds(steps: int, rng: np.random.Generator) -> Iterator[tuple[Any, float]]:
    """Gradients over the steps for one number, of sixteen kinds."""
    t = np.arange(steps)
    one, noise = np.ones(steps), rng.standard_normal
    yield one, 1.0
    yield 1e-2 * one, 0.0
    yield -30 * one, -2.0
    yield (-1.0) ** t, 0.5
    yield 0.2 * (-1.0) ** (t // 3), -1.0
    yield noise(steps), 3.0
    yield noise(steps) + 0.5, 0.0
    yield noise(steps) * 10.0 ** rng.uniform(-3, 1, steps), 1.0
    yield np.where(t >= 3, noise(steps), 0), 2.0  # nothing at first
    yield np.where(t < 9, 1 + noise(steps), 0), -0.3  # nothing later on
    yield np.where(t == 5, 50.0, 0.3), 0.1
    yield 1e-3 * 1.6**t, 1.5
    yield 5 * 0.7**t, -1.5
    yield 1e-3 * noise(steps), 4.0
    yield np.where(t % 4 == 0, 2.0, 0.0), -4.0
    yield np.sin(t) + 0.3, 0.7


@cache
def probe(steps: int = 24, shape: tuple[int, ...] = (3, 4, 6), seed: int = 7) -> Probe:
    """The probe, cached."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape))
    found: list[tuple[Any, float]] = []
    while len(found) < count:
        found += _kinds(steps, rng)
    order, scale = rng.permutation(count), 1 + 0.1 * rng.random(count)
    starts = np.array([found[i][1] for i in order]) * scale
    grads = np.stack([found[i][0] for i in order], axis=1) * scale
    return Probe(starts.reshape(shape), grads.reshape(steps, *shape))


@cache
def square(steps: int = 24, seed: int = 23) -> Probe:
    """A probe of square matrices with dense gradients, whose singular vectors are unique.

    For optimizers that compute singular vectors: those of the other probe are decided by rounding.
    """
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-1, 0.5, (steps, 1, 1, 1))
    return Probe(rng.standard_normal((3, 4, 4)), size * rng.standard_normal((steps, 3, 4, 4)))


@cache
def gentle(dtype: str = "float64") -> Probe:
    """A probe for optimizers whose parameters become NaN or infinite, which hides everything that follows.

    Each step starts from the same parameters, so that one failing step does not spoil the others. No gradient
    is 0, very small or very large. With dtype "complex128", all numbers are complex, so that negative
    numbers have roots, and no two angles are the same.
    """
    plain, rng = probe(), np.random.default_rng(19)
    size = np.clip(np.abs(plain.grads), 0.05, 5.0) * (1 + 0.1 * rng.random(plain.grads.shape))
    grads = np.where(plain.grads < 0, -size, size)
    starts = np.where(plain.starts == 0, 0.3, plain.starts)
    if dtype == "complex128":
        grads = grads * np.exp(0.5j * rng.uniform(-1, 1, grads.shape))
        starts = starts * np.exp(0.5j * rng.uniform(-1, 1, starts.shape))
    return Probe(starts, grads, restored=True)


def finite(path: Path) -> float:
    """The share of a path's updates that are finite."""
    with np.errstate(all="ignore"):
        return float(np.isfinite(np.diff(path, axis=0)).mean()) if len(path) > 1 else 1.0


def unit(path: Path) -> float:
    """The rounding unit of a path's arithmetic: float32's if all its numbers are float32 numbers."""
    x = path[1:][np.isfinite(path[1:])]
    x = np.concatenate([x.real, x.imag]) if np.iscomplexobj(x) else x
    with np.errstate(over="ignore"):
        single = x.size and bool((x.astype(np.float32).astype(float) == x).all())
    return float(np.finfo(np.float32 if single else float).eps)


def distances(path: Path, other: Path, rounding: float = 2.3e-16) -> Path:
    """The distance between updates beyond rounding, relative to the larger of the two; at most 2."""
    with np.errstate(all="ignore"):
        a, b = np.diff(path, axis=0), np.diff(other, axis=0)
        size = np.maximum(np.abs(path), np.abs(other))
        lost = 4 * rounding * np.maximum(size[1:], size[:-1])
        apart = np.maximum(np.abs(a - b) - lost, 0) / np.maximum(
            np.maximum(np.abs(a), np.abs(b)), 1e-300
        )
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isfinite(apart), np.minimum(apart, 2.0), 2.0))


def distance(path: Path, other: Path, rounding: float = 2.3e-16) -> float:
    """The largest of the distances."""
    return float(distances(path, other, rounding).max(initial=0.0))


def apart(path: Path, other: Path) -> float:
    """The distance of two paths: the largest difference in a step over the largest update in it; at most 2.

    For paths computed in another order, or in other memory: if the sum of many numbers is nearly 0, its
    rounding is large compared with the sum, but small compared with the other updates.
    """
    with np.errstate(all="ignore"):
        a, b = np.diff(path, axis=0), np.diff(other, axis=0)
        lost = 4 * max(unit(path), unit(other)) * np.maximum(np.abs(path), np.abs(other))
        off = np.maximum(np.abs(a - b) - np.maximum(lost[1:], lost[:-1]), 0)
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, off)
        size = np.maximum(np.nan_to_num(np.abs(a)), np.nan_to_num(np.abs(b))).max(axis=1)
        ratio = off.max(axis=1, initial=0.0) / np.maximum(size, 1e-300)
    return float(np.where(np.isfinite(ratio), np.minimum(ratio, 2.0), 2.0).max(initial=0.0))
