"""How a rule sees arrays of many axes: as matrices, or as stacks of matrices. Views, where that can be."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ravine.arrays import reshaped
from ravine.ops import Operable, Tensors

__all__ = ["VIEWS", "restored", "seen_ndim", "seen_shape", "view"]

VIEWS = {
    "matrix": "the first axis by the rest",
    "stack": "matrices in the last two axes, all others as one batch",
}
_AXES = {"matrix": 2, "stack": 3}  # that are left of more


def seen_ndim(ndim: int, seen: str) -> int:
    """How many axes are seen of an array of so many."""
    return min(ndim, _AXES.get(seen, ndim))


def seen_shape(shape: Sequence[int], seen: str) -> tuple[int, ...]:
    """The shape in which an array of a shape is seen; with no more axes than there will be, its own."""
    if seen_ndim(len(shape), seen) == len(shape):
        return tuple(shape)
    return (shape[0], prod(shape[1:])) if seen == "matrix" else (prod(shape[:-2]), *shape[-2:])


def view(x: Any, seen: str) -> Any:
    """An array as it is seen, without a copy if it is contiguous; of a bag, each; all else as it is."""
    if isinstance(x, Tensors):
        return type(x)(view(member, seen) for member in x)
    shape = _shape(x)
    return x if shape is None else _reshaped(x, shape, seen_shape(shape, seen))


def restored(x: Any, like: Any, seen: str) -> Any:
    """What has become of an array that was seen so, in the shape that the array has."""
    if isinstance(x, Tensors) and isinstance(like, Tensors):
        return type(x)(restored(*pair, seen) for pair in zip(x, like, strict=True))
    shape, was = _shape(x), _shape(like)
    if shape is None or was is None or shape != seen_shape(was, seen):
        return x
    return _reshaped(x, shape, was)


def _shape(x: Any) -> tuple[int, ...] | None:
    """The shape of an array; None of a number, and of what stands for an argument."""
    if isinstance(x, Operable) and not hasattr(type(x), "shape"):
        return None
    shape = getattr(x, "shape", None)
    return None if shape is None else tuple(shape)


def _reshaped(x: Any, shape: tuple[int, ...], to: tuple[int, ...]) -> Any:
    return x if shape == to else reshaped(x, to)
