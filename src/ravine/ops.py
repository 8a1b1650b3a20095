"""The operations rules are written in, beside Python's operators.

Each works on whatever it is given: Python floats, NumPy arrays, torch tensors, JAX arrays, the
symbols of the tracer, and :class:`Tensors`, a bag of any of these. No framework is imported here:
an array brings its own.

Element by element: `sqrt abs sign exp log maximum minimum clip where`.
Over one tensor, giving a scalar: `sum mean norm rms`; `sum` and `mean` along an axis as well.
Over all tensors of the optimizer: `total`. Of one tensor: its `size` along an axis, its `epsilon`.
On matrices: `matmul transpose qr eigh newton_schulz`.
"""

from __future__ import annotations

import builtins
import math
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

__all__ = [
    "Tensors",
    "abs",
    "clip",
    "eigh",
    "epsilon",
    "exp",
    "log",
    "matmul",
    "maximum",
    "mean",
    "minimum",
    "newton_schulz",
    "norm",
    "qr",
    "rms",
    "sign",
    "size",
    "sqrt",
    "sum",
    "total",
    "transpose",
    "where",
]

# Python's operators, by the names that the tracer's graph uses for them.
OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "mod": operator.mod,
    "neg": operator.neg,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


# What each operation does on Python floats: IEEE 754, so nothing raises.
_ON_FLOATS: dict[str, Callable[..., Any]] = {
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
    "abs": builtins.abs,
    "sign": lambda x: float((x > 0) - (x < 0)) if x == x else x,
    "exp": _exp,
    "log": lambda x: math.log(x) if x > 0 else -math.inf if x == 0 else math.nan,
    "maximum": lambda x, y: x if x >= y or x != x else y,
    "minimum": lambda x, y: x if x <= y or x != x else y,
    "where": lambda condition, x, y: x if condition else y,
    "sum": float,
    "mean": float,
    "epsilon": lambda _: sys.float_info.epsilon,
}

# Sums and means that leave an axis in place, with length 1, so that they meet the array again.
ALONG = {"sum_along": "sum", "mean_along": "mean"}

_like: ContextVar[Any] = ContextVar("ravine_like", default=None)


@contextmanager
def typed_like(p: Any) -> Iterator[None]:
    """Within it, plain numbers that need a dtype (both branches of a `where`) take p's."""
    token = _like.set(p)
    try:
        yield
    finally:
        _like.reset(token)


def apply(name: str, *args: Any) -> Any:
    """The operation called `name` on the arguments, by the rules of the arguments' own kind."""
    kind = "float"
    for x in args:
        if isinstance(x, Operable):
            return x.operate(name, args)
        kind = _home(type(x)) or kind  # type: ignore[arg-type]  # classes are hashable
    if name in OPERATORS:
        return OPERATORS[name](*args)
    if kind == "float":
        if name not in _ON_FLOATS:
            raise TypeError(f"ravine.ops.{name} needs an array or a tensor, got {args!r}")
        return _ON_FLOATS[name](*args)
    if name in ALONG:
        return getattr(_module(kind), ALONG[name])(args[0], axis=args[1], keepdims=True)
    if name == "size":
        return args[0].shape[args[1]]
    if name == "epsilon":
        return float(_module(kind).finfo(args[0].dtype).eps)
    if name == "newton_schulz":
        return _newton_schulz(*args)
    return _ON_ARRAYS[kind](name, args)


def _module(kind: str) -> Any:
    return sys.modules["jax"].numpy if kind.startswith("jax") else sys.modules[kind]


@cache
def _home(cls: type) -> str:
    """The array library that a class, or one that it is made from, belongs to."""
    modules = (base.__module__.partition(".")[0] for base in cls.__mro__)
    return next((module for module in modules if module in _ON_ARRAYS), "")


def _on_numpy(name: str, args: tuple[Any, ...]) -> Any:
    np = sys.modules["numpy"]
    if name == "where":
        condition, x, y = args
        if np.ndim(condition) == 0:
            return x if condition else y
        if _is_number(x) and _is_number(y) and hasattr(_like.get(), "dtype"):
            x = _like.get().dtype.type(x)  # two plain numbers would make float64
        return np.where(condition, x, y)
    if name in ("qr", "eigh"):
        return tuple(getattr(np.linalg, name)(*args))
    return np.swapaxes(args[0], -1, -2) if name == "transpose" else getattr(np, name)(*args)


def _on_torch(name: str, args: tuple[Any, ...]) -> Any:
    torch = sys.modules["torch"]
    if name == "where":
        condition, x, y = args
        if not isinstance(condition, torch.Tensor):
            return x if condition else y
        if _is_number(x) and _is_number(y) and isinstance(_like.get(), torch.Tensor):
            x = torch.tensor(x, dtype=_like.get().dtype, device=condition.device)
        return torch.where(condition, x, y)
    if name in ("maximum", "minimum"):
        x = next(x for x in args if isinstance(x, torch.Tensor))
        args = tuple(
            torch.tensor(a, dtype=x.dtype, device=x.device) if _is_number(a) else a for a in args
        )
    if name in ("qr", "eigh"):
        return tuple(getattr(torch.linalg, name)(*args))
    if name == "sign":  # torch's says 0 for NaN
        return torch.where(args[0].isnan(), args[0], torch.sign(args[0]))
    return args[0].mT if name == "transpose" else getattr(torch, name)(*args)


def _on_jax(name: str, args: tuple[Any, ...]) -> Any:
    jnp = sys.modules["jax"].numpy
    if name == "where" and _is_number(args[1]) and _is_number(args[2]):
        condition, x, y = args
        return jnp.where(condition, jnp.asarray(x, getattr(_like.get(), "dtype", None)), y)
    if name in ("qr", "eigh"):
        return tuple(getattr(jnp.linalg, name)(*args))
    return jnp.swapaxes(args[0], -1, -2) if name == "transpose" else getattr(jnp, name)(*args)


def _newton_schulz(
    x: Any, a: float, b: float, c: float, eps: float, steps: int, bfloat16: bool
) -> Any:
    kind, like = _home(type(x)), x.dtype  # type: ignore[arg-type]  # classes are hashable
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x  # the Gram matrix of the shorter side
    if bfloat16 and kind == "numpy":
        raise TypeError("ravine.ops.newton_schulz: NumPy has no bfloat16; leave bfloat16 off")
    if bfloat16 and kind == "torch":
        x = _newton_schulz_as_torch(x.bfloat16(), a, b, c, eps, steps).to(like)
        return x.mT if tall else x
    x = x.astype("bfloat16") if bfloat16 else x
    x = x / maximum((x * x).sum((-2, -1), keepdims=True) ** 0.5, eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    x = x.astype(like) if bfloat16 else x
    return x.mT if tall else x


def _newton_schulz_as_torch(x: Any, a: float, b: float, c: float, eps: float, steps: int) -> Any:
    """With torch.optim.Muon's own operations, since another rounding of bfloat16 is another number."""
    addmm = sys.modules["torch"].addmm
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = addmm(x, addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


_ON_ARRAYS = {"numpy": _on_numpy, "torch": _on_torch, "jax": _on_jax, "jaxlib": _on_jax}


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not hasattr(x, "dtype")


class Operable:
    """A value that takes every operation into its own hands, through `operate(name, args)`."""

    __slots__ = ()
    __array_ufunc__ = None  # makes `array * value` come to us
    __hash__ = object.__hash__

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        """The result of the operation called `name` on `args`, of which self is one."""
        raise NotImplementedError


def _dunder(name: str, reflected: bool = False) -> Callable[..., Any]:
    def method(self: Operable, *other: Any) -> Any:
        return self.operate(name, (*other, self) if reflected else (self, *other))

    return method


_DUNDERS = {n: n for n in OPERATORS} | {"div": "truediv", "abs": "abs", "matmul": "matmul"}
for _name, _python in _DUNDERS.items():
    setattr(Operable, f"__{_python}__", _dunder(_name))
    if _name in ("add", "sub", "mul", "div", "pow", "mod", "matmul"):
        setattr(Operable, f"__r{_python}__", _dunder(_name, reflected=True))
        setattr(Operable, f"__i{_python}__", _dunder(_name))  # in place, a list would grow


class Tensors(Operable, list):  # type: ignore[type-arg, misc]
    """A bag of tensors whose operators map, and over which `total` sums.

    >>> from ravine.ops import Tensors, total
    >>> total(Tensors([3.0, 4.0]) ** 2)
    25.0
    """

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        """Map the operation over the bag; plain values go to every member."""
        if name == "total":
            return builtins.sum(apply("sum", x) for x in self)
        columns = [x if isinstance(x, Tensors) else [x] * len(self) for x in (_like.get(), *args)]
        results = []
        for like, *row in zip(*columns, strict=True):
            with typed_like(like):
                results.append(apply(name, *row))
        if results and isinstance(results[0], tuple):  # as of qr: a bag of each part
            return tuple(type(self)(part) for part in zip(*results, strict=True))
        return type(self)(results)

    def __bool__(self) -> bool:
        """A switch that differs from tensor to tensor cannot be decided for all of them."""
        if builtins.all(self) or not builtins.any(self):
            return builtins.bool(len(self)) and builtins.bool(self[0])
        raise ValueError(f"a switch must be on or off for all tensors alike, got {list(self)}")


class Ieee(Operable):
    """A number that follows IEEE 754 where Python raises or goes complex: 1/0, overflow, (-1)**0.5.

    Beside an array it is the plain number, so that it widens no dtype.
    """

    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = value

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        """Among numbers an Ieee (a bool, of a comparison); with an array, what the array makes of it."""
        import numpy as np

        plain = [x.value if isinstance(x, Ieee) else x for x in args]
        if not all(isinstance(x, (int, float)) for x in plain):
            return apply(name, *plain)
        if name in _ON_FLOATS:
            return Ieee(_ON_FLOATS[name](*plain))
        if name not in OPERATORS:
            return apply(name, *plain)  # which says what it needs
        with np.errstate(all="ignore"):
            result = OPERATORS[name](*map(np.float64, plain)).item()
        return result if isinstance(result, bool) else Ieee(result)

    def __bool__(self) -> bool:
        return bool(self.value)


def sqrt(x: Any) -> Any:
    """The square root; NaN below zero."""
    return apply("sqrt", x)


def abs(x: Any) -> Any:
    """The absolute value."""
    return apply("abs", x)


def sign(x: Any) -> Any:
    """-1, 0 or 1."""
    return apply("sign", x)


def exp(x: Any) -> Any:
    """e to the power x."""
    return apply("exp", x)


def log(x: Any) -> Any:
    """The natural logarithm; -inf at zero, NaN below."""
    return apply("log", x)


def maximum(x: Any, y: Any) -> Any:
    """The larger of two values, element by element; NaN if either is."""
    return apply("maximum", x, y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of two values, element by element; NaN if either is."""
    return apply("minimum", x, y)


def clip(x: Any, low: Any, high: Any) -> Any:
    """X brought into the interval [low, high]."""
    return minimum(maximum(x, low), high)


def where(condition: Any, x: Any, y: Any) -> Any:
    """X where the condition holds, y elsewhere: the `if` of rules."""
    return apply("where", condition, x, y)


def sum(x: Any, axis: int | None = None) -> Any:
    """The sum over one tensor; along an axis, which stays, with length 1."""
    return apply("sum", x) if axis is None else apply("sum_along", x, axis)


def mean(x: Any, axis: int | None = None) -> Any:
    """The mean over one tensor; along an axis, which stays, with length 1."""
    return apply("mean", x) if axis is None else apply("mean_along", x, axis)


def norm(x: Any) -> Any:
    """The Euclidean (Frobenius) norm of one tensor."""
    return sqrt(sum(x * x))


def rms(x: Any) -> Any:
    """The root mean square over one tensor."""
    return sqrt(mean(x * x))


def size(x: Any, axis: int) -> Any:
    """How long x is along an axis: `size(x, -2)` rows and `size(x, -1)` columns."""
    return apply("size", x, axis)


def epsilon(x: Any) -> Any:
    """The distance from 1 to the next larger number of x's dtype: 1.2e-7 of a float32."""
    return apply("epsilon", x)


def total(x: Any) -> Any:
    """The sum over all tensors that the optimizer holds."""
    return x.operate("total", (x,)) if isinstance(x, Operable) else sum(x)


def matmul(x: Any, y: Any) -> Any:
    """The matrix product."""
    return apply("matmul", x, y)


def transpose(x: Any) -> Any:
    """The transposed matrix."""
    return apply("transpose", x)


def qr(x: Any) -> Any:
    """The reduced QR decomposition: Q, R."""
    return apply("qr", x)


def eigh(x: Any) -> Any:
    """Eigenvalues, ascending, and eigenvectors, in columns, of a symmetric matrix."""
    return apply("eigh", x)


def newton_schulz(
    x: Any, a: Any, b: Any, c: Any, eps: Any = 1e-7, steps: Any = 5, bfloat16: bool = False
) -> Any:
    """A matrix with x's singular vectors and singular values near 1, without a decomposition.

    X = x / max(norm(x), eps), and then, that many steps: X = a X + (b S + c S S) X with S = X Xᵀ.
    Each singular value s becomes a s + b s³ + c s⁵ in each step. bfloat16: the iteration is computed
    in that precision (of torch tensors, with the same operations as torch.optim.Muon).
    """
    return apply("newton_schulz", x, a, b, c, eps, steps, bfloat16)
