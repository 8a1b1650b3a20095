"""The operations on whole arrays: reductions, sorting, matrices. They mean the same in every library.

The functions take the library first: numpy, torch, jax.numpy, or any of the array standard. Matrices
are in the last two axes; the axes before them are a batch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

__all__ = ["ALONG", "AXES", "KEPT", "ON_ARRAYS", "POLAR_EXPRESS", "REDUCED", "cast", "reshaped"]

REDUCED = ("sum", "mean", "greatest", "least")
"""What an array can be reduced to: over all of it, along an axis, or over all axes but one."""
ALONG = {f"{name}_along": name for name in REDUCED}
KEPT = {f"{name}_kept": name for name in REDUCED}

_CALLED = {
    "numpy": {"greatest": "max", "least": "min"},
    "torch": {"greatest": "amax", "least": "amin"},
}
_OF_NOTHING = {"greatest": -math.inf, "least": math.inf}
_HALVES = ("float16", "bfloat16")


def cast(library: Any, x: Any, dtype: Any) -> Any:
    """An array in a dtype."""
    if hasattr(x, "astype"):
        return x.astype(dtype)
    return x.to(dtype) if hasattr(x, "to") else library.astype(x, dtype)


def reshaped(x: Any, shape: Sequence[int]) -> Any:
    """An array in a shape: a view where the library can."""
    if hasattr(x, "reshape"):
        return x.reshape(tuple(shape))
    return x.__array_namespace__().reshape(x, tuple(shape))


def _turned(x: Any) -> Any:
    return x.mT if hasattr(x, "mT") else x.swapaxes(-1, -2)


def _at_least(library: Any, x: Any, low: Any) -> Any:
    return x.clip(low) if hasattr(x, "clip") else library.clip(x, low, None)


# --- reductions


def _reduce(name: str, library: Any, x: Any, axes: Sequence[int] | None = None) -> Any:
    """Over all axes, to one number; or over some, which stay with length 1."""
    if name in _OF_NOTHING and 0 in (x.shape if axes is None else [x.shape[i] for i in axes]):
        return _reduce("sum", library, x, axes) + _OF_NOTHING[name]  # the libraries refuse
    called = _CALLED.get(library.__name__, _CALLED["numpy"]).get(name, name)
    if axes is None:
        return getattr(library, called)(x)
    if not axes:  # torch sums over all of them if it is given none
        return x
    return getattr(library, called)(x, axis=tuple(axes), keepdims=True)


def _along(name: str, x: Any, axis: int) -> list[int]:
    return [_place(name, x, axis)]


def _kept(name: str, x: Any, keep: int) -> list[int]:
    """All axes but one; none of an array without axes."""
    kept = _place(name, x, keep, "keep") if x.ndim else 0
    return [i for i in range(x.ndim) if i != kept]


AXES: dict[str, tuple[str, Callable[[Any, int], list[int]]]] = {
    **{name: (reduction, partial(_along, reduction)) for name, reduction in ALONG.items()},
    **{name: (reduction, partial(_kept, reduction)) for name, reduction in KEPT.items()},
}
"""For each reduction over some axes: its name over all axes, and the axes of an array that it reduces."""


def _over(name: str, library: Any, x: Any, axis: int) -> Any:
    reduction, axes = AXES[name]
    return _reduce(reduction, library, x, axes(x, axis))


def _place(name: str, x: Any, axis: int, argument: str = "axis") -> int:
    """An axis counted from the front."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"ravine.ops.{name}: {argument}={axis} is not an axis of an array of shape "
            f"{tuple(x.shape)}"
        )
    return axis % x.ndim


# --- orders


def _argsort(library: Any, x: Any, axis: int, descending: bool) -> Any:
    """Equal elements stay in order; NaN counts as the greatest."""
    axis = _place("argsort", x, axis)
    if library.__name__ == "torch":
        return x.argsort(dim=axis, descending=bool(descending), stable=True)
    if not descending:
        return library.argsort(x, axis=axis, stable=True)
    backwards = library.argsort(library.flip(x, axis=axis), axis=axis, stable=True)
    return x.shape[axis] - 1 - library.flip(backwards, axis=axis)


def _take(library: Any, x: Any, order: Any, axis: int) -> Any:
    axis = _place("take", x, axis) - x.ndim
    if order.ndim < -axis:
        raise ValueError(
            f"ravine.ops.take: an order of shape {tuple(order.shape)} has no axis {axis}; x has "
            f"shape {tuple(x.shape)}"
        )
    most = max(x.ndim, order.ndim)
    x, order = (reshaped(a, (1,) * (most - a.ndim) + tuple(a.shape)) for a in (x, order))
    if library.__name__ == "torch":
        return library.take_along_dim(x, order.long(), axis)
    return library.take_along_axis(x, cast(library, order, library.int64), axis=axis)


# --- matrices


def _of_matrices(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
    """Refuses arrays of fewer than two axes."""

    @wraps(operation)
    def wrapped(library: Any, x: Any, *args: Any) -> Any:
        if x.ndim < 2:
            raise ValueError(
                f"ravine.ops.{name} needs a matrix or a batch of matrices, got an array of shape "
                f"{tuple(x.shape)}"
            )
        return operation(library, x, *args)

    return wrapped


def _in_single(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in float32 for float16 and bfloat16, which no library decomposes."""

    @wraps(operation)
    def wrapped(library: Any, x: Any, *args: Any) -> Any:
        if not _is_half(x):
            return operation(library, x, *args)
        wide = [cast(library, a, library.float32) if _is_half(a) else a for a in (x, *args)]
        result = operation(library, *wide)
        if isinstance(result, tuple):
            return tuple(cast(library, part, x.dtype) for part in result)
        return cast(library, result, x.dtype)

    return wrapped


def _is_half(x: Any) -> bool:
    return str(getattr(x, "dtype", "")).rpartition(".")[2] in _HALVES


def _cholesky(library: Any, x: Any) -> Any:
    if library.__name__ == "jax.numpy":  # JAX would take the mean of both triangles
        return sys.modules["jax"].lax.linalg.cholesky(x, symmetrize_input=False)
    return library.linalg.cholesky(x)


def _solve_triangular(library: Any, a: Any, b: Any, lower: bool, transposed: bool) -> Any:
    if min(a.ndim, b.ndim) < 2 or not a.shape[-1] == a.shape[-2] == b.shape[-2]:
        raise ValueError(
            "ravine.ops.solve_triangular: a must be of shape (..., n, n) and b of (..., n, k), got "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    a, lower = (_turned(a) if transposed else a), bool(lower) != bool(transposed)
    if library.__name__ == "torch":
        return library.linalg.solve_triangular(a, b, upper=not lower)
    batch = library.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    b = library.broadcast_to(b, batch + b.shape[-2:])
    if library.__name__ == "jax.numpy":
        a = library.broadcast_to(a, batch + a.shape[-2:])
        return sys.modules["jax"].lax.linalg.triangular_solve(a, b, left_side=True, lower=lower)
    n, x = a.shape[-1], library.empty(b.shape, dtype=library.result_type(a, b))
    for i in range(n) if lower else reversed(range(n)):  # NumPy has no solver for triangles
        row, known = slice(i, i + 1), slice(0, i) if lower else slice(i + 1, n)
        rest = b[..., row, :] - a[..., row, known] @ x[..., known, :]
        x[..., row, :] = rest / a[..., row, row]
    return x


def _inverse_root(library: Any, a: Any, order: float, eps: Any) -> Any:
    values, vectors = library.linalg.eigh(a)
    # Eigenvalues that rounding made negative would give NaN. Half the power twice keeps it symmetric.
    root = vectors * ((_at_least(library, values, 0.0) + eps) ** (-0.5 / order))[..., None, :]
    return root @ _turned(root)


def _newton_schulz(
    library: Any, x: Any, eps: Any, steps: float, bfloat16: bool, *coefficients: Any
) -> Any:
    """coefficients: a, b, c of the first step, of the second, ..., of the last and all after it."""
    dtype, tall, torch = x.dtype, x.shape[-2] > x.shape[-1], library.__name__ == "torch"
    x = _turned(x) if tall else x  # the Gram matrix of the shorter side
    if bfloat16 and library.__name__ == "numpy":
        raise TypeError("ravine.ops.newton_schulz: NumPy has no bfloat16; use bfloat16=False")
    x = cast(library, x, library.bfloat16) if bfloat16 else x
    if bfloat16 and torch:
        return _newton_schulz_as_torch(x, eps, _each(steps, coefficients), tall).to(dtype)
    x = x / _at_least(library, _reduce("sum", library, x * x, (-2, -1)) ** 0.5, eps)
    for a, b, c in _each(steps, coefficients):
        gram = x @ _turned(x)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    x = cast(library, x, dtype) if bfloat16 else x
    return _turned(x) if tall else x


def _each(steps: float, coefficients: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
    """The coefficients of each step."""
    last = len(coefficients) // 3 - 1
    starts = (3 * min(i, last) for i in range(int(steps)))
    return [(coefficients[i], coefficients[i + 1], coefficients[i + 2]) for i in starts]


def _newton_schulz_as_torch(x: Any, eps: Any, steps: Sequence[Any], tall: bool) -> Any:
    """Uses the operations of torch.optim.Muon, because bfloat16 rounds others differently."""
    torch = sys.modules["torch"]
    shape, addmm = x.shape, torch.addmm
    if x.ndim > 2:
        x, addmm = x.reshape(math.prod(shape[:-2]), *shape[-2:]), torch.baddbmm
        x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    else:
        x = x / x.norm().clamp(min=eps)
    for a, b, c in steps:
        gram = x @ x.mT
        x = addmm(x, addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.reshape(shape)
    return x.mT if tall else x


def _polar_express() -> tuple[tuple[float, float, float], ...]:
    published = (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
        (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
        (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
        (1.875, -1.25, 0.375),
    )
    # For safety, the input of a step is reduced by 1%: in all steps except those of the last triple, and
    # once more in the first, where the paper divides by the norm.
    safety = [1.01**2, *[1.01] * 6, 1.0]
    return tuple(
        (a / s, b / s**3, c / s**5) for (a, b, c), s in zip(published, safety, strict=True)
    )


POLAR_EXPRESS = _polar_express()
"""Coefficients for `newton_schulz`, a triple for each step: Amsel, Persson, Musco & Gower, 2025
(arXiv:2505.16932, Algorithm 1), for singular values above 1e-3 of the norm."""


def _matrix_like(library: Any, x: Any, shape: Sequence[int], value: float, identity: bool) -> Any:
    """Zeros, or a number times an identity for each matrix of the shape, in the dtype of x."""
    place = {"device": x.device} if library.__name__ == "torch" else {}
    zeros = library.zeros(tuple(shape), dtype=x.dtype, **place)
    return zeros + value * library.eye(shape[-1], dtype=x.dtype, **place) if identity else zeros


_ON_MATRICES: dict[str, Callable[..., Any]] = {
    "transpose": lambda _, x: _turned(x),
    "qr": _in_single(lambda library, x: tuple(library.linalg.qr(x))),
    "eigh": _in_single(lambda library, x: tuple(library.linalg.eigh(x))),
    "cholesky": _in_single(_cholesky),
    "inverse_root": _in_single(_inverse_root),
    "newton_schulz": _newton_schulz,
}
ON_ARRAYS: dict[str, Callable[..., Any]] = {
    **{name: partial(_reduce, name) for name in REDUCED},
    **{name: partial(_over, name) for name in AXES},
    "argsort": _argsort,
    "take": _take,
    "size": lambda _, x, axis: x.shape[_place("size", x, axis)],
    **{name: _of_matrices(name, operation) for name, operation in _ON_MATRICES.items()},
    "solve_triangular": _in_single(_solve_triangular),
    "matrix_like": _matrix_like,
}
