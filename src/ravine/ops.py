"""The operations rules are written in, in addition to Python's operators.

Each works on whatever it is given: Python floats, NumPy arrays, torch tensors, JAX arrays, the
symbols of the tracer, and :class:`Tensors`, a bag of any of these. No framework is imported here:
an array brings its own. ravine/arithmetic.py defines their meaning.

Element by element: `sqrt abs sign exp log tanh atan2 floor round maximum minimum clip where`.
Over one tensor, giving a scalar: `sum mean greatest least norm rms`; with `axis` along one axis, with
`keep` over all axes but one: what is reduced stays, with length 1, and meets the tensor again.
Over all tensors of the optimizer: `total`. Of one tensor: its `size`, also along an axis, its `epsilon`, and
`ndim`, a plain number that `if` may be on. Random numbers: `normal uniform`. Orders: `argsort take`. On
matrices, or batches of them in the last two axes: `matmul transpose qr eigh cholesky solve_triangular
inverse_root newton_schulz`; what is decomposed is computed in float32 if it is in half precision.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

from ravine.arithmetic import (
    COMPARISONS,
    ON_NUMBERS,
    OPERATORS,
    home,
    meaning,
    real,
    stored_in,
    typed_like,
)
from ravine.arithmetic import drawn as _drawn
from ravine.arithmetic import drawn_of as _drawn_of
from ravine.arithmetic import kept_as as _kept_as
from ravine.arithmetic import like as _like
from ravine.arithmetic import stream as _next_stream
from ravine.arrays import POLAR_EXPRESS
from ravine.draws import DRAWN

__all__ = [
    "POLAR_EXPRESS",
    "Tensors",
    "abs",
    "argsort",
    "atan2",
    "cholesky",
    "clip",
    "eigh",
    "epsilon",
    "exp",
    "floor",
    "greatest",
    "inverse_root",
    "least",
    "log",
    "matmul",
    "maximum",
    "mean",
    "minimum",
    "ndim",
    "newton_schulz",
    "norm",
    "normal",
    "qr",
    "rms",
    "round",
    "sign",
    "size",
    "solve_triangular",
    "sqrt",
    "stored",
    "sum",
    "take",
    "tanh",
    "total",
    "transpose",
    "uniform",
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
        if name in DRAWN:
            return type(self)(self._drawn(name, args[1]))
        columns = [
            x if isinstance(x, Tensors) else [x] * len(self)
            for x in (_like.get(), _kept_as.get(), *args)
        ]
        results = []
        for like, dtype, *row in zip(*columns, strict=True):
            with typed_like(like), stored_in(dtype):
                results.append(apply(name, *row))
        if results and isinstance(results[0], tuple):  # as of qr: a bag of each part
            return tuple(type(self)(part) for part in zip(*results, strict=True))
        return type(self)(results)

    def _drawn(self, name: str, stream: Any) -> Any:
        """Random numbers for each member, of what is drawn for it."""
        draws = _drawn.get()
        for x, draw in zip(
            self, draws if isinstance(draws, Tensors) else [draws] * len(self), strict=True
        ):
            with _drawn_of(draw):
                yield apply(name, x, stream)

    def __pow__(self, other: Any) -> Any:
        """A power as ravine/arithmetic.py defines it, even if a bag has special functions."""
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


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, between -1 and 1."""
    return apply("tanh", x)


def atan2(y: Any, x: Any) -> Any:
    """The angle of the point (x, y) in radians, from -π to π, as math.atan2, element by element.

    Of zeros and infinities as IEEE 754 has it: atan2(0, -1) is π, atan2(-0.0, -1) is -π, and where
    both are zero or both are infinite, a multiple of π/4. NaN if either is.
    """
    return apply("atan2", y, x)


def floor(x: Any) -> Any:
    """The largest whole number that is not above x; a zero keeps its sign."""
    return apply("floor", x)


def round(x: Any) -> Any:
    """The nearest whole number, halves to the even one: 0.5 to 0, 1.5 to 2; a zero has the sign of x."""
    return apply("round", x)


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


def sum(x: Any, axis: int | None = None, *, keep: int | None = None) -> Any:
    """The sum over one tensor; or along one axis, or over all axes but one.

    axis: a whole number, negative from the end. keep: the axis that is kept: 0 gives one number for
    each row of a matrix and for each output channel of a convolution's weight. What is summed over
    stays, with length 1, so that the result meets x again: along axis -1, (n, m) becomes (n, 1).

    keep=0 leaves a vector as it is, since there is no other axis, and so it does a number and an array
    without axes. Raises TypeError for both at once, for what is not a whole number, and for a number
    along an axis; ValueError for an axis that x does not have.
    """
    return _reduced("sum", x, axis, keep)


def mean(x: Any, axis: int | None = None, *, keep: int | None = None) -> Any:
    """The mean over one tensor; axis and keep as of :func:`sum`."""
    return _reduced("mean", x, axis, keep)


def greatest(x: Any, axis: int | None = None, *, keep: int | None = None) -> Any:
    """The greatest element of one tensor; NaN if there is one. axis and keep as of :func:`sum`.

    Of no elements it is -inf, as the sum of none is 0.
    """
    return _reduced("greatest", x, axis, keep)


def least(x: Any, axis: int | None = None, *, keep: int | None = None) -> Any:
    """The least element of one tensor, as :func:`greatest`; of no elements, inf."""
    return _reduced("least", x, axis, keep)


def norm(x: Any, axis: int | None = None, *, keep: int | None = None) -> Any:
    """The Euclidean (Frobenius) norm of one tensor; axis and keep as of :func:`sum`."""
    return sqrt(sum(x * x, axis, keep=keep))


def rms(x: Any, axis: int | None = None, *, keep: int | None = None) -> Any:
    """The root mean square over one tensor; axis and keep as of :func:`sum`."""
    return sqrt(mean(x * x, axis, keep=keep))


def _reduced(name: str, x: Any, axis: Any, keep: Any) -> Any:
    if axis is None and keep is None:
        return apply(name, x)
    if axis is not None and keep is not None:
        raise TypeError(
            f"ravine.ops.{name} takes axis or keep, not both, got axis={axis!r}, keep={keep!r}"
        )
    if keep is None:
        return apply(f"{name}_along", x, _whole(name, axis))
    return apply(f"{name}_kept", x, _whole(name, keep, "keep"))


def _whole(name: str, number: Any, argument: str = "axis") -> int:
    if isinstance(number, bool) or not hasattr(type(number), "__index__"):
        raise TypeError(
            f"ravine.ops.{name}: {argument}={number!r} is invalid; it must be a whole number"
        )
    return operator.index(number)


def size(x: Any, axis: int | None = None) -> Any:
    """How long x is along an axis, `size(x, -2)` rows and `size(x, -1)` columns; `size(x)`: how many
    elements it has.
    """
    found = apply("numel", x) if axis is None else apply("size", x, axis)
    return _lift(found, array=False)


def ndim(x: Any) -> int:
    """How many dimensions p has, or g: a plain whole number, known before training, so `if` may be on it.

        if ndim(p) >= 2:

    A number has none. In a bag, all tensors must have equally many: ValueError if not. While a rule is
    traced, RuleError for a value not made from p or g; TypeError for one that is neither number nor array.
    """
    if type(x) is Array:
        x = x.value
    if isinstance(x, Tensors):
        found = {ndim(member) for member in x}
        if len(found) != 1:
            raise ValueError(
                f"ravine.ops.ndim must be the same for all tensors of a bag, got {sorted(found)}"
            )
        return found.pop()
    if isinstance(x, Operable):
        return x.operate("ndim", (x,))
    if isinstance(x, (float, int)):
        return 0
    if not isinstance(getattr(x, "ndim", None), int):
        raise TypeError(f"ravine.ops.ndim needs a number, an array or a tensor, got {x!r:.60}")
    return x.ndim


def stored(x: Any) -> Any:
    """What will be read back once x has been stored as the new p: x, rounded to the dtype of p.

    Parameters in half precision are computed in float32, and rounded when they are stored. With
    `lost = x - stored(x)` a rule knows what that loses, and may keep it: Kahan summation.
    """
    return apply("stored", x)


def normal(x: Any, stream: int | None = None) -> Any:
    """Random numbers of mean 0 and variance 1, in the shape and dtype of x.

    They are made by counting, of the optimizer's seed, the step of the tensor, which tensor it is, the
    stream and the place in x, and of nothing else: the same bits in every engine, for any number of
    threads, and again when a run goes on from a checkpoint. A rule that is called by hand has the seed
    0, and its step is t, or 1 if the rule does not take t.

    stream: numbers of another stream are others; by default each call in a rule has one, counted from 0.
    """
    return _draw("normal", x, stream)


def uniform(x: Any, stream: int | None = None) -> Any:
    """Random numbers between 0 and 1, neither included, in the shape and dtype of x; as :func:`normal`."""
    return _draw("uniform", x, stream)


def _draw(name: str, x: Any, stream: Any) -> Any:
    return apply(name, x, _next_stream() if stream is None else _whole(name, stream, "stream"))


def epsilon(x: Any) -> Any:
    """The distance from 1 to the next larger number of x's dtype: 1.2e-7 of a float32."""
    return apply("epsilon", x)


def total(x: Any) -> Any:
    """The sum over all tensors that the optimizer holds."""
    if type(x) is Array or not isinstance(x, Operable):
        return sum(x)
    # A bag's members are plain arrays: what they sum up to would bring its library's operators along.
    return _lift(x.operate("total", (x,)), array=isinstance(x, Tensors))


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


def cholesky(a: Any) -> Any:
    """The lower triangular l with l lᵀ = a, of a symmetric positive definite matrix.

    Only the lower triangle of a is read. The library's own error (a ValueError of NumPy, a RuntimeError
    of torch) where a is not positive definite; JAX gives NaN.
    """
    return apply("cholesky", a)


def solve_triangular(a: Any, b: Any, lower: bool = True, transposed: bool = False) -> Any:
    """The x with a x = b; with aᵀ x = b if transposed. Only one triangle of a is read.

    a: of shape (..., n, n), b: of shape (..., n, k). lower: which triangle; it is the default, as
    `cholesky` makes it. The arguments are named as in scipy.linalg.solve_triangular, where
    transposed is `trans`, and lower is off. A zero on the diagonal divides as elsewhere: nothing
    is raised. ValueError for other shapes.
    """
    return apply("solve_triangular", a, b, lower, transposed)


def inverse_root(a: Any, order: Any, eps: Any = 1e-12) -> Any:
    """(a + eps I) to the power -1/order, of a symmetric positive semidefinite matrix (Shampoo).

    By the eigenvalues of a, those that rounding has made negative taken as 0. The result is
    symmetric. eps: a number above 0, in the unit of a, where a may be singular.
    """
    return apply("inverse_root", a, order, eps)


def argsort(x: Any, axis: int = -1, descending: bool = False) -> Any:
    """The order that sorts x along an axis: the place in x of the first element, of the second, ...

    For :func:`take`. Equal elements stay in their order; NaN counts as the greatest.
    """
    return apply("argsort", x, _whole("argsort", axis), descending)


def take(x: Any, order: Any, axis: int = -1) -> Any:
    """The elements of x along an axis in another order, as of :func:`argsort`.

    Along the other axes x and the order meet by broadcasting: with an order of shape (1, m), the
    columns of x are moved as a whole; axes that the order lacks are put before its own.
    """
    return apply("take", x, order, _whole("take", axis))


def newton_schulz(
    x: Any,
    a: Any,
    b: Any = None,
    c: Any = None,
    eps: Any = 1e-7,
    steps: Any = None,
    bfloat16: bool = False,
) -> Any:
    """A matrix with x's singular vectors and singular values near 1, without a decomposition.

    X = x / max(norm(x), eps), and then, that many steps: X = a X + (b S + c S S) X with S = X Xᵀ.
    Each singular value s becomes a s + b s³ + c s⁵ in each step.

    a, b, c: three numbers; or, in place of all three, a list or tuple of such triples, one for each
    step, as in `newton_schulz(x, POLAR_EXPRESS)`. steps: how many; 5 unless you say otherwise, and of
    triples as many as there are. With more steps than triples the last one goes on.
    bfloat16: the iteration is computed in that precision (of torch tensors, with the same operations as
    torch.optim.Muon). TypeError for other coefficients.
    """
    if isinstance(a, (list, tuple)) and not isinstance(a, Tensors):
        triples, three = a, b is None and c is None
    else:
        triples, three = [(a, b, c)], b is not None and c is not None
    if not (three and triples and builtins.all(_is_triple(x) for x in triples)):
        raise TypeError(
            "ravine.ops.newton_schulz takes numbers a, b, c, or a list of triples in place of all "
            f"three, got {a!r}, {b!r}, {c!r}"
        )
    if steps is None:
        steps = 5 if triples is not a else len(triples)
    return apply(
        "newton_schulz", x, eps, steps, bfloat16, *(k for triple in triples for k in triple)
    )


def _is_triple(x: Any) -> bool:
    return isinstance(x, (list, tuple)) and not isinstance(x, Tensors) and len(x) == 3
