"""NumPy arrays: their memory, the structures that contain them, and whether a kernel can step them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import nullcontext
from math import prod
from typing import Any

import numpy as np

from ravine import ops
from ravine.engines.eager import Work
from ravine.engines.fused import by_lines, misshapen
from ravine.engines.graph import Graph
from ravine.engines.overlap import Span
from ravine.engines.stacks import Stack

__all__ = [
    "Stacks",
    "arrays_of",
    "dtype_name",
    "is_folded",
    "leaves",
    "replaced",
    "share",
    "single",
    "span",
    "unfit",
]

_DTYPES = {np.dtype(name): name for name in ("float64", "float32", "float16")}  # in native order
_PLAIN = (np.ndarray, np.memmap)  # whose memory consists of exactly their elements


def dtype_name(x: np.ndarray) -> str:
    """The kernels' name for an array's dtype."""
    return _DTYPES[x.dtype]


def arrays_of(work: Work) -> list[np.ndarray]:
    """The slots that are arrays."""
    return [x for x in work.state.values() if isinstance(x, np.ndarray)]


def span(x: np.ndarray) -> Span:
    """The range of addresses of an array's elements."""
    if not (x.flags.c_contiguous or x.flags.f_contiguous):
        return np.lib.array_utils.byte_bounds(x) if x.size else (0, 0)
    begin = x.ctypes.data
    return begin, begin + x.nbytes


def is_folded(x: np.ndarray) -> bool:
    """Whether elements of an array share memory."""
    if x.flags.c_contiguous:
        return False
    steps = sorted((abs(step), n) for n, step in zip(x.shape, x.strides, strict=True) if n > 1)
    extent = x.itemsize
    for step, n in steps:
        if step < extent:
            break
        extent += step * (n - 1)
    else:
        return False
    places = np.zeros(1, np.int64)  # these are rare
    for step, n in steps:
        places = np.add.outer(places, step * np.arange(n)).ravel()
    return bool((np.diff(np.sort(places)) < x.itemsize).any())


def share(p: np.ndarray, q: np.ndarray) -> bool:
    """Whether two arrays share memory, as far as that can be determined quickly."""
    try:
        return np.shares_memory(p, q, max_work=10**6)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def unfit(work: Work, graph: Graph) -> str:
    """Why the graph's kernel cannot step a parameter, or ""."""
    p, lines = work.p, by_lines(graph)
    if not isinstance(p, np.ndarray):
        return "not an array"
    arrays = [x for x in work.arrays if isinstance(x, np.ndarray)]
    for x in arrays:
        if type(x) not in _PLAIN:
            return f"of class {type(x).__name__}"
        if x.dtype not in _DTYPES:
            return f"dtype {x.dtype}"
    if lines is not None and (why := misshapen(lines, work)):
        return why
    short = {*lines.short} if lines is not None else set()
    short |= {slot for slot in work.state if graph.rule.slots[slot].matrix}
    for slot, x in work.state.items():
        if slot not in short and isinstance(x, np.ndarray) and x.shape != p.shape:
            return f"state of shape {x.shape}"
    if all(x.flags.c_contiguous and x.flags.aligned for x in arrays):
        return ""
    if (
        lines is None
        and not graph.draws
        and all(x.flags.f_contiguous and x.flags.aligned for x in arrays)
    ):
        return ""
    return "not dense, or not in one memory layout"


class Stacks:
    """What kernels and matrix operations share; see :class:`ravine.engines.stacks.Library`."""

    calling = staticmethod(nullcontext)

    @staticmethod
    def empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """An array of a dtype by name, of zeros."""
        if dtype == "bfloat16":
            raise TypeError("ravine.ops.newton_schulz: NumPy has no bfloat16; use bfloat16=False")
        return np.zeros(shape, dtype)

    @staticmethod
    def address(x: np.ndarray) -> int:
        """The address of an array."""
        return x.ctypes.data

    @staticmethod
    def view(address: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """The array that begins there, row by row."""
        bytes_of = ctypes.c_byte * (prod(shape) * np.dtype(dtype).itemsize)
        memory = memoryview(bytes_of.from_address(address))
        return np.frombuffer(memory, np.dtype(dtype)).reshape(shape)

    dtype = staticmethod(dtype_name)

    @staticmethod
    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        """Stacks, one after the other."""
        return np.concatenate(arrays)

    @staticmethod
    def stacked(each: list[np.ndarray]) -> np.ndarray:
        """Matrices as one array."""
        return np.stack(each)

    @staticmethod
    def taken(x: list[np.ndarray], orders: list[np.ndarray], axis: int) -> list[np.ndarray]:
        """The rows (axis 0) or columns (axis 1) of matrices in an order for each."""
        pairs = zip(x, orders, strict=True)
        return [np.take(one, order.ravel().astype(np.int64), axis) for one, order in pairs]

    @staticmethod
    def filled(x: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """An array of this shape and dtype, row by row: x itself if it is one, or with x repeated."""
        return np.ascontiguousarray(np.broadcast_to(x, shape), dtype)

    @staticmethod
    def copy(to: list[np.ndarray], of: list[np.ndarray]) -> None:
        """Copy arrays into others."""
        for x, y in zip(to, of, strict=True):
            np.copyto(x, y, casting="same_kind")

    @staticmethod
    def multiply(a: Stack, b: Stack, to: Stack) -> None:
        """The products of the matrices of two stacks."""
        np.matmul(a.whole, b.whole, out=to.whole)

    @staticmethod
    def multiply_add(base: Stack, beta: float, a: Stack, b: Stack, alpha: float, to: Stack) -> None:
        """The same, times alpha, and what is added to it, times beta."""
        found = np.matmul(a.whole, b.whole, out=to.whole)
        found *= alpha
        found += beta * base.whole

    @staticmethod
    def multiply_in_place(
        base: list[np.ndarray], beta: float, a: Stack, b: Stack, alpha: float
    ) -> None:
        """The same, in the place of what they are added to."""
        for w, product in zip(base, np.matmul(a.whole, b.whole), strict=True):
            np.add(np.multiply(w, beta, out=w), alpha * product, out=w)

    @staticmethod
    def orthonormal(x: np.ndarray) -> np.ndarray:
        """The first part of the QR decompositions of a stack."""
        return np.linalg.qr(x)[0]

    @staticmethod
    def newton_schulz(x: np.ndarray, *numbers: Any) -> np.ndarray:
        """As :func:`ravine.ops.newton_schulz`, of a stack."""
        return np.ascontiguousarray(ops.apply("newton_schulz", x, *numbers))


def single(work: Work) -> Work:
    """Half precision is computed in float32, and stored in the parameter's dtype."""
    if not isinstance(work.p, np.ndarray) or work.p.dtype != np.float16:
        return work

    def wide(x: Any) -> Any:
        return np.float32(x) if isinstance(x, np.ndarray) else x

    return work.converted(wide, np.float16)


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts, lists and tuples, each with its path, such as params['w'][0]."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}[{key!r}]")
    elif isinstance(tree, (list, tuple)):
        for i, value in enumerate(tree):
            yield from leaves(value, f"{path}[{i}]")
    else:
        yield path, tree


def replaced(tree: Any, path: str, changed: dict[str, Any]) -> Any:
    """The structure with other values at some paths."""
    if isinstance(tree, dict):
        return {k: replaced(v, f"{path}[{k!r}]", changed) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        values = [replaced(v, f"{path}[{i}]", changed) for i, v in enumerate(tree)]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return changed.get(path, tree)
