"""Curves: points (step, value), stored as two arrays, because a large race has a hundred million points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve"]


class Curve(Sequence[tuple[int, float]]):
    """Points (step, value) in order. steps, values: the same as arrays of int64 and float64."""

    __slots__ = ("steps", "values")
    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __init__(self, points: Iterable[tuple[int, float]] = ()) -> None:
        if isinstance(points, Curve):
            self.steps, self.values = points.steps, points.values
            return
        pairs = list(points)
        self.steps = np.array([step for step, _ in pairs], np.int64)
        self.values = np.array([value for _, value in pairs], np.float64)

    @classmethod
    def of(cls, steps: Any, values: Any) -> Curve:
        """A curve from equally many steps and values; ValueError otherwise."""
        made = cls()
        made.steps, made.values = np.asarray(steps, np.int64), np.asarray(values, np.float64)
        if made.steps.ndim != 1 or made.steps.shape != made.values.shape:
            raise ValueError(f"a curve has {made.steps.shape} steps and {made.values.shape} values")
        return made

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Curve.of(self.steps[index], self.values[index])
        return int(self.steps[index]), float(self.values[index])

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return zip(self.steps.tolist(), self.values.tolist(), strict=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        if not isinstance(other, Curve):
            other = Curve(other)
        return np.array_equal(self.steps, other.steps) and np.array_equal(
            self.values, other.values, equal_nan=True
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Curve({[*self]!r})" if len(self) < 5 else f"<Curve of {len(self)} points>"
