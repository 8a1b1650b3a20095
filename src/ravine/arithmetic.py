"""What each operation means on Python's numbers and on arrays: IEEE 754, the same everywhere.

On numbers nothing raises, and nothing becomes complex: 1/0 is inf, (-1)**0.5 is NaN, and what overflows
is inf. A comparison is a number: 1 or 0. x**0.5 is the square root of x, of -0.0 and -inf as well. x % y
has the sign of y. `where` takes NaN as true; its result has the shape of both branches, whichever is
taken. Of 0.0 and -0.0, `maximum`, `minimum`, `greatest` and `least` give either. A number is an array
without axes: there is none to go along, and keeping one leaves it as it is.
"""

from __future__ import annotations

import builtins
import math
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from itertools import count
from typing import Any

from ravine import draws
from ravine.arrays import ALONG, KEPT, ON_ARRAYS, REDUCED, cast

__all__ = [
    "COMPARISONS",
    "ON_NUMBERS",
    "OPERATORS",
    "drawing",
    "drawn",
    "drawn_of",
    "home",
    "kept_as",
    "like",
    "meaning",
    "real",
    "stored_in",
    "stream",
    "typed_like",
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
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")

like: ContextVar[Any] = ContextVar("ravine_like", default=None)
kept_as: ContextVar[Any] = ContextVar("ravine_kept_as", default=None)
"""The dtype in which p is stored, if it is computed in another one; otherwise None."""


drawn: ContextVar[Any] = ContextVar("ravine_drawn", default=None)
"""What an engine draws random numbers from: a `Draw`, or a bag of them."""
_streams: ContextVar[Iterator[int] | None] = ContextVar("ravine_streams", default=None)


@contextmanager
def drawing(draw: Any) -> Iterator[None]:
    """The context of one call of a rule, in which each drawing gets its own stream.

    draw: what to draw from, unless an engine has set it.
    """
    streams, known = _streams.set(count()), drawn.get()
    token = drawn.set(draw if known is None else known)
    try:
        yield
    finally:
        drawn.reset(token)
        _streams.reset(streams)


@contextmanager
def drawn_of(draw: Any) -> Iterator[None]:
    """Within it, random numbers are drawn from this."""
    token = drawn.set(draw)
    try:
        yield
    finally:
        drawn.reset(token)


def stream() -> int:
    """The stream of the next drawing."""
    streams = _streams.get()
    return next(streams) if streams else 0


def _draw(name: str, kind: str, x: Any, stream: Any) -> Any:
    """Random numbers in the shape of x."""
    draw, make = drawn.get() or draws.Draw(), getattr(draws, name)
    if kind in ("", "numpy", "torch"):
        return make(_library(kind) if kind else None, x, int(stream), draw)
    return _drawn_by_numpy(kind, make, x, int(stream), draw)


def _drawn_by_numpy(
    kind: str, make: Callable[..., Any], x: Any, stream: int, draw: draws.Draw
) -> Any:
    """Random numbers for another library's array, while a step that JAX has compiled runs as well.

    XLA contracts products and sums, so it would compute other bits from the same formulas.
    """
    import numpy

    def made(*parts: Any) -> Any:
        dtype = numpy.dtype(str(x.dtype).rpartition(".")[2])
        return make(numpy, numpy.empty(x.shape, dtype), stream, draws.Draw(*map(int, parts)))

    jax = sys.modules["jax"] if kind.startswith("jax") else None
    if jax is None or not any(isinstance(part, jax.core.Tracer) for part in (x, *draw)):
        return _typed(kind, made(*draw), x.dtype, x)
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(made, like, *draw, vmap_method="sequential")


@contextmanager
def typed_like(p: Any) -> Iterator[None]:
    """Within it, numbers that need a dtype take p's: comparisons, and both branches of a `where`."""
    token = like.set(p)
    try:
        yield
    finally:
        like.reset(token)


@contextmanager
def stored_in(dtype: Any) -> Iterator[None]:
    """Within it, `stored` rounds to a dtype; to none if it is None."""
    token = kept_as.set(dtype)
    try:
        yield
    finally:
        kept_as.reset(token)


def _stored(x: Any) -> Any:
    dtype = kept_as.get()
    if dtype is None:
        return x
    kind = home(type(x))
    return cast(_library(kind), cast(_library(kind), x, dtype), x.dtype)


def _home(cls: type) -> str:
    """The array library that a class, or a base class, belongs to; "" for none.

    For arrays of other libraries, it is their namespace: the nearest module above the class's own that
    has `where`.
    """
    modules = (base.__module__.partition(".")[0] for base in cls.__mro__)
    found = next((module for module in modules if module in _ON_ARRAYS), "")
    if found or not hasattr(cls, "__array_namespace__"):
        return found
    parts = cls.__module__.split(".")
    above = (".".join(parts[: i + 1]) for i in range(len(parts)))
    return next((name for name in above if hasattr(sys.modules.get(name), "where")), "")


home: Callable[[type], str] = cache(_home)


@cache
def meaning(name: str, kind: str) -> Callable[..., Any]:
    """The operation called `name` for arrays of a library; for plain numbers, if kind is ""."""
    if not kind and name in ON_NUMBERS:
        return lambda *args: ON_NUMBERS[name](*map(real, args))
    if name in COMPARISONS:
        return lambda x, y: _counted(OPERATORS[name](x, y))
    if kind and kind not in _ON_ARRAYS:
        return partial(_attempted, name, kind)
    known = _ON_ARRAYS.get(kind, {}).get(name) or OPERATORS.get(name)
    if known or not kind:
        return known or partial(_refuse, name)
    if name in ON_ARRAYS:
        return partial(ON_ARRAYS[name], _library(kind))
    return _ON_ANY_ARRAY.get(name) or getattr(_library(kind), name)


def _attempted(name: str, kind: str, *args: Any) -> Any:
    """The operation for arrays of the array API standard, if their library has what it needs."""
    library = _library(kind)
    known = _standard(kind).get(name) or OPERATORS.get(name) or _ON_ANY_ARRAY.get(name)
    try:
        if known is None and name in ON_ARRAYS:
            known = partial(ON_ARRAYS[name], library)
        return (known or getattr(library, _OTHERWISE.get((kind, name), name)))(*args)
    except (AttributeError, NotImplementedError, TypeError) as error:
        raise TypeError(f"ravine.ops.{name} does not work on arrays of {kind}: {error}") from error


def _refuse(name: str, *args: Any) -> Any:
    called = f"{ALONG[name]} along an axis" if name in ALONG else name
    raise TypeError(f"ravine.ops.{called} needs an array or a tensor, got {args!r}")


def real(x: Any) -> Any:
    """Python's ints and bools as floats, which have an infinity; anything else unchanged.

    Raises TypeError for an array of an unknown library.
    """
    if type(x) is float:
        return x
    if not isinstance(x, int):
        if hasattr(x, "shape") and not home(type(x)):
            library = type(x).__module__.partition(".")[0]
            raise TypeError(
                f"ravine.ops: a {type(x).__name__} of {library} is invalid; arrays must be from NumPy, "
                "torch, JAX, or a library that follows the array API standard (__array_namespace__)"
            )
        return x
    try:
        return float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf


def _counted(answer: Any) -> Any:
    """The result of a comparison as a number, 1 or 0; for arrays, in p's dtype."""
    kind = home(type(answer))
    if not kind:
        return float(answer)
    dtype = getattr(like.get(), "dtype", None)
    if kind == "torch":
        return answer.to(dtype or sys.modules["torch"].get_default_dtype())
    if kind in _ON_ARRAYS:
        return answer.astype(dtype or float)
    return cast(_library(kind), answer, dtype or _library(kind).float32)


# --- numbers


def _divide(x: float, y: float) -> float:
    if y:
        return x / y
    return x * math.copysign(math.inf, y) if x else math.nan


def _raise(x: float, y: float) -> float:
    if y == 2:
        return x * x
    if y == 0.5:
        return _sqrt(x)
    try:
        result = x**y
    except (ZeroDivisionError, OverflowError):
        if x < 0 and y % 1:
            return math.nan
        return math.copysign(math.inf, x) if y % 2 == 1 else math.inf
    return math.nan if isinstance(result, complex) else result


def _sqrt(x: float) -> float:
    return math.sqrt(x) if x >= 0 else math.nan


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _whole(function: Callable[..., Any], x: float) -> float:
    """Rounded to a whole number, which has the sign of x, if it is zero too."""
    return math.copysign(function(x), x) if math.isfinite(x) else x


def _answer(compare: Callable[..., Any], x: float, y: float) -> float:
    return float(compare(x, y))


ON_NUMBERS: dict[str, Callable[..., Any]] = {
    **OPERATORS,
    **{name: partial(_answer, OPERATORS[name]) for name in COMPARISONS},
    "div": _divide,
    "pow": _raise,
    "mod": lambda x, y: x % y if y else math.nan,
    "abs": builtins.abs,
    "sqrt": _sqrt,
    "sign": lambda x: float((x > 0) - (x < 0)) if x == x else x,
    "exp": _exp,
    "log": lambda x: math.log(x) if x > 0 else -math.inf if x == 0 else math.nan,
    "tanh": math.tanh,
    "atan2": math.atan2,
    "floor": partial(_whole, math.floor),
    "round": partial(_whole, builtins.round),
    "maximum": lambda x, y: x if x > y or x != x else y,
    "minimum": lambda x, y: x if x < y or x != x else y,
    "where": lambda condition, x, y: x if condition else y,
    **{name: lambda x: x for name in REDUCED},
    **{name: lambda x, _: x for name in KEPT},
    "epsilon": lambda _: sys.float_info.epsilon,
    "numel": lambda _: 1,
    "stored": lambda x: x,
    **{name: partial(_draw, name, "") for name in draws.DRAWN},
}


# --- arrays


def _library(kind: str) -> Any:
    return sys.modules["jax"].numpy if kind.startswith("jax") else sys.modules[kind]


def _number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not hasattr(x, "dtype")


def _epsilon(x: Any) -> float:
    return float(_library(home(type(x))).finfo(x.dtype).eps)


def _where(kind: str, condition: Any, x: Any, y: Any) -> Any:
    library = _library(kind)
    if not getattr(condition, "ndim", 0) and home(type(condition)) in ("", "numpy"):
        return _shaped(kind, *((x, y) if condition else (y, x)))
    if _number(x) and _number(y) and hasattr(like.get(), "dtype"):
        x = _typed(kind, x, like.get().dtype, condition)  # two plain numbers would be of any dtype
    if not kind.startswith(("numpy", "jax")):
        # which accept no other conditions, and no numbers that overflow to infinity
        truth = library.bool if hasattr(library, "bool") else library.bool_
        condition = condition if condition.dtype == truth else condition != 0
        x, y = (
            _typed(kind, a, b.dtype, b) if _number(a) and not _number(b) else a
            for a, b in ((x, y), (y, x))
        )
    return library.where(condition, x, y)


def _shaped(kind: str, x: Any, other: Any) -> Any:
    """One branch of a `where`, in the shape and dtype of both."""
    library, shape = _library(kind), getattr(other, "shape", ())
    if not shape or (getattr(x, "shape", ()) == shape and x.dtype == other.dtype):
        return x
    if _number(x):
        x = _typed(kind, x, other.dtype, other)  # infinity, where it overflows
        return library.broadcast_to(x, shape) * 1
    shape, dtype = library.broadcast_shapes(x.shape, shape), library.result_type(x, other)
    x = library.broadcast_to(x, shape)
    return cast(library, x, dtype)


def _typed(kind: str, x: Any, dtype: Any, beside: Any) -> Any:
    library = _library(kind)
    if kind == "torch":
        return library.tensor(x, dtype=dtype, device=beside.device)
    return library.asarray(x, dtype=dtype)


def _power(kind: str, x: Any, y: Any) -> Any:
    library = _library(kind)
    if not _number(y):
        half = y == 0.5
        if kind == "numpy" and not half.any():  # the branch that is not taken must not warn
            return x**y
        return _where(kind, half, meaning("sqrt", home(type(x)))(x), x**y)
    if y == 2:
        return x * x
    if y == 0.5:
        return library.sqrt(x)
    if kind == "torch" and y in (-0.5, -2):  # not 1 / sqrt(x), -inf for -0.0, nor 1 / (x * x)
        y = library.tensor(y, dtype=x.dtype, device=x.device)
    return x**y


def _quotient_of_torch(x: Any, y: Any) -> Any:
    if _number(x) and y.is_floating_point():  # torch multiplies by 1 / y, which may overflow
        x = sys.modules["torch"].tensor(x, dtype=y.dtype)
    return x / y


def _modulo_of_torch(x: Any, y: Any) -> Any:
    torch = sys.modules["torch"]
    # Not of contiguous tensors: torch's code for these is NaN where x / y overflows.
    x, y = (torch.stack((a, a), -1)[..., 0] if isinstance(a, torch.Tensor) else a for a in (x, y))
    rest = x % y
    return torch.where(rest == 0, torch.copysign(rest, y), rest)  # torch's zero has the sign of x


def _of_two_in_torch(name: str, *args: Any) -> Any:
    torch = sys.modules["torch"]
    beside = next(x for x in args if isinstance(x, torch.Tensor))
    args = tuple(_typed("torch", x, beside.dtype, beside) if _number(x) else x for x in args)
    return getattr(torch, name)(*args)


def _sign_of_torch(x: Any) -> Any:
    torch = sys.modules["torch"]
    return torch.where(x.isnan(), x, torch.sign(x))  # torch's is 0 for NaN


_ON_ANY_ARRAY: dict[str, Callable[..., Any]] = {
    "abs": builtins.abs,
    "epsilon": _epsilon,
    "numel": lambda x: math.prod(x.shape),
    "stored": _stored,
}

_OTHERWISE = {("mlx.core", "atan2"): "arctan2"}


@cache
def _standard(kind: str) -> dict[str, Callable[..., Any]]:
    """The operations that no library has in the form needed here."""
    return {
        "pow": partial(_power, kind),
        "where": partial(_where, kind),
        **{name: partial(_draw, name, kind) for name in draws.DRAWN},
    }


_ON_ARRAYS: dict[str, dict[str, Callable[..., Any]]] = {
    kind: {**_standard(kind)} for kind in ("numpy", "torch", "jax", "jaxlib")
}
_ON_ARRAYS["torch"] |= {
    "div": _quotient_of_torch,
    "mod": _modulo_of_torch,
    **{name: partial(_of_two_in_torch, name) for name in ("maximum", "minimum", "atan2")},
    "sign": _sign_of_torch,
}
