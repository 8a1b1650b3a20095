"""The operations rules are written in, beside Python's operators.

Each works on whatever it is given: Python floats, NumPy arrays, torch tensors, JAX arrays, the
symbols of the tracer, and :class:`Tensors`, a bag of any of these. No framework is imported here:
an array brings its own. What each means is said in ravine/arithmetic.py.

Element by element: `sqrt abs sign exp log maximum minimum clip where`.
Over one tensor, giving a scalar: `sum mean norm rms`; `sum` and `mean` along an axis as well.
Over all tensors of the optimizer: `total`. Of one tensor: its `size` along an axis, its `epsilon`.
On matrices: `matmul transpose qr eigh newton_schulz`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

from ravine.arithmetic import ALONG as ALONG
from ravine.arithmetic import COMPARISONS, ON_NUMBERS, OPERATORS, home, meaning, real
from ravine.arithmetic import like as _like
from ravine.arithmetic import typed_like as typed_like

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


def apply(name: str, *args: Any) -> Any:
    """The operation called `name` on the arguments, by the rules of the arguments' own kind."""
    if len(args) == 1 and type(args[0]) is Number and name in ON_NUMBERS:  # for speed
        return Number(ON_NUMBERS[name](float(args[0])))
    plain: list[Any] = []
    number = array = False
    for x in args:
        if type(x) is Number:
            x, number = float(x), True
        elif type(x) is Array:
            x, array = x.value, True
        plain.append(x)
    result = _on_plain(name, plain)
    return _lift(result, array) if number or array else result


def is_odd(x: Any) -> bool:
    """Whether x is True or False, or a whole number that may be too large for a float."""
    return type(x) is bool or (type(x) is int and builtins.abs(x) >= 2**1023)


def _on_plain(name: str, args: Sequence[Any]) -> Any:
    kind = ""
    for x in args:
        if isinstance(x, Operable) and not isinstance(x, Tensors):
            return x.operate(name, tuple(args))
        kind = home(type(x)) or kind
    if name in OPERATORS:
        args = [real(x) if is_odd(x) else x for x in args]
    bag = next((x for x in args if isinstance(x, Tensors)), None)
    return meaning(name, kind)(*args) if bag is None else bag.operate(name, tuple(args))


def _lift(result: Any, array: bool) -> Any:
    """The result of an operation on a Number or, if array, on an Array, as one of these."""
    if isinstance(result, tuple):  # as of qr
        return tuple(_lift(x, array) for x in result)
    if type(result) in (float, int):
        return Number(real(result))
    return Array(result) if array and not isinstance(result, Operable) else result


class Operable:
    """A value that takes every operation into its own hands, through `operate(name, args)`."""

    __slots__ = ()
    __array_ufunc__ = None  # makes `array * value` come to us
    __hash__ = object.__hash__

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        """The result of the operation called `name` on `args`, of which self is one."""
        raise NotImplementedError


def _dunder(name: str, swapped: bool = False) -> Callable[..., Any]:
    def method(self: Operable, *other: Any) -> Any:
        return apply(name, *other, self) if swapped else apply(name, self, *other)

    return method


_DUNDERS = {n: n for n in OPERATORS} | {"div": "truediv", "abs": "abs", "matmul": "matmul"}
_SWAPPED = ("add", "sub", "mul", "div", "pow", "mod", "matmul")
for _name, _python in _DUNDERS.items():
    setattr(Operable, f"__{_python}__", _dunder(_name))
    if _name in _SWAPPED:
        setattr(Operable, f"__r{_python}__", _dunder(_name, swapped=True))
        # In place, an array would change, and a list would grow.
        setattr(Operable, f"__i{_python}__", _dunder(_name))


class Array(Operable):
    """An array whose operators mean what ravine/arithmetic.py says, not what its library makes of them."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return bool(self.value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f".{name} is not part of the rule language; use operators and ravine.ops"
        )


class Number(float):
    """A float that follows IEEE 754 where Python's raise or go complex: 1/0, overflow, (-1)**0.5.

    What is made of it and of other numbers is one, too. A comparison is a number, 1 or 0. Beside an
    array it is the plain float, so that it widens no dtype.
    """

    __slots__ = ()
    __array_ufunc__ = None  # makes `array * number` come to us
    __hash__ = float.__hash__

    def __neg__(self) -> Number:
        return Number(-float(self))

    def __abs__(self) -> Number:
        return Number(builtins.abs(float(self)))


def _operator(name: str, python: str, swapped: bool = False) -> Callable[..., Any]:
    """Without `apply` where it can be, for speed: where two floats meet, or a float and an array."""
    on_floats, beside_array = getattr(float, python), OPERATORS[name]
    is_power = name == "pow"
    if name == "div" and not swapped:  # torch's 1 / array is another
        beside_array = partial(apply, name)

    def method(self: Number, other: Any, _: Any = None) -> Any:
        try:
            result = on_floats(self, other)
        except (ZeroDivisionError, OverflowError):
            result = None
        kind = type(result)
        if kind is bool or (kind is float and not (is_power and result in (0.0, inf))):
            return Number(result)
        if result is NotImplemented:
            plain = float(self)
            return beside_array(other, plain) if swapped else beside_array(plain, other)
        return apply(name, other, self) if swapped else apply(name, self, other)

    return method


for _name in ("add", "sub", "mul", "div", "mod", "pow", *COMPARISONS):
    _python = _DUNDERS[_name]
    setattr(Number, f"__{_python}__", _operator(_name, f"__{_python}__"))
    if _name in _SWAPPED:
        setattr(Number, f"__r{_python}__", _operator(_name, f"__r{_python}__", swapped=True))


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

    def __pow__(self, other: Any) -> Any:
        """A power as ravine/arithmetic.py has it, also where a bag has functions of its own."""
        if isinstance(other, (float, int)):
            if other == 2:
                return apply("mul", self, self)
            if other == 0.5:
                return apply("sqrt", self)
            if other in (-0.5, -2):
                return Tensors.operate(self, "pow", (self, float(other)))
        return apply("pow", self, other)

    def __bool__(self) -> bool:
        """A switch that differs from tensor to tensor cannot be decided for all of them."""
        if builtins.all(self) or not builtins.any(self):
            return builtins.bool(len(self)) and builtins.bool(self[0])
        raise ValueError(f"a switch must be on or off for all tensors alike, got {list(self)}")


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
    return _lift(apply("size", x, axis), array=False)


def epsilon(x: Any) -> Any:
    """The distance from 1 to the next larger number of x's dtype: 1.2e-7 of a float32."""
    return apply("epsilon", x)


def total(x: Any) -> Any:
    """The sum over all tensors that the optimizer holds."""
    if type(x) is Array or not isinstance(x, Operable):
        return sum(x)
    return _lift(x.operate("total", (x,)), array=False)


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
