"""Slots, the pieces of an optimizer's state, and what each is made of at the first step; signals, what
a step is given besides gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ravine import ops
from ravine.arithmetic import home

__all__ = [
    "DTYPES",
    "ZEROS",
    "Several",
    "Signal",
    "Slot",
    "filled",
    "like_p",
    "low_rank",
    "scalar",
    "several",
    "shared",
    "signal",
    "square",
    "zeros",
]

DTYPES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
"""What a slot may be kept in, and the bytes of a number."""


@dataclass(frozen=True)
class Slot:
    """A part of an optimizer's state, and how it starts.

    kind: "array" in the shape of the parameter, "like_p" a copy of it, "scalar" one number. value:
    the initial number, or the name of the hyperparameter that has it. axis: an axis along which the
    array has length 1. keep: the only axis along which its length is not 1. shared: whether there
    is one number for the whole optimizer. square: the axis of p that has the length of both sides
    of a square matrix, which starts as value times the identity. rank: the length along the axis,
    if not 1, or the name of the hyperparameter that has it. dtype: the dtype to store it in, from
    DTYPES; "" for the dtype of p, or of `state_dtype`.
    """

    kind: str
    value: float | str = 0.0
    axis: int | None = None
    shared: bool = False
    keep: int | None = None
    square: int | None = None
    rank: int | str | None = None
    dtype: str = ""

    def kept_in(self, dtype: str) -> Slot:
        """The same slot, kept in a dtype whatever that of p is: `filled(0.0).kept_in("bfloat16")`.

        dtype: "float64", "float32", "float16" or "bfloat16" (NumPy, which has no bfloat16, keeps the
        dtype of p). TypeError for another, and for a slot of one number, which is in float64.
        """
        if dtype not in DTYPES:
            raise TypeError(
                f"kept_in: dtype={dtype!r} is invalid; it must be one of {', '.join(DTYPES)}"
            )
        if self.kind == "scalar":
            raise TypeError("kept_in: a scalar slot is always kept in float64")
        return replace(self, dtype=dtype)

    @property
    def start(self) -> str:
        """What it starts at, in words: a number, a hyperparameter's name, or p."""
        if self.kind == "like_p":
            return "p"
        value = self.value if isinstance(self.value, str) else f"{self.value:g}"
        return f"{value} times the identity" if self.square is not None and value != "0" else value

    @property
    def short(self) -> bool:
        """Whether it is an array that has length 1 where the parameter may be longer."""
        return (self.axis is not None and self.rank is None) or self.keep is not None

    @property
    def matrix(self) -> bool:
        """Whether it is a matrix of another shape than the parameter, square or of low rank."""
        return self.square is not None or self.rank is not None

    @property
    def of_matrix(self) -> str:
        """The shape of the matrix for a parameter of m × n, in words."""
        sides = ("m", "n")
        if self.square is not None:
            side = sides[self.square]
            return f"a matrix of {side} × {side} for one of m × n"
        rank = f"{self.rank}"
        return f"a matrix of {f'm × {rank}' if self.axis == -1 else f'{rank} × n'} for one of m × n"

    def shape(self, of_p: Sequence[int], /, **hyperparameters: Any) -> tuple[int, ...]:
        """Its shape for a parameter of a shape; the same shape if the parameter lacks the slot's axis.

        ValueError for a matrix if the parameter is not one.
        """
        if self.kind == "scalar":
            return ()
        if self.matrix:
            if len(of_p) < 2:
                kind = "square" if self.square is not None else "of low rank"
                raise ValueError(
                    f"a slot that is {kind} needs a parameter that is a matrix, got shape {tuple(of_p)}"
                )
            *batch, rows, columns = of_p
            if self.square is not None:
                return (*batch, *[(rows, columns)[self.square]] * 2)
            rank: Any = hyperparameters[self.rank] if isinstance(self.rank, str) else self.rank
            if rank < 1 or rank % 1:
                raise ValueError(
                    f"{self.rank}={rank!r} is invalid; the rank of a slot is a whole number above 0"
                )
            rank = min(int(rank), rows, columns)
            return (*batch, rows, rank) if self.axis == -1 else (*batch, rank, columns)
        axis, axes = self.keep if self.axis is None else self.axis, range(len(of_p))
        if axis is None or not -len(of_p) <= axis < len(of_p):
            return tuple(of_p)
        ones = {axes[axis]} if self.keep is None else {*axes} - {axes[axis]}
        return tuple(1 if i in ones else n for i, n in enumerate(of_p))

    def init(self, p: Any, /, **hyperparameters: Any) -> Any:
        """The slot before the first step, for the parameter p (a float, an array or a tensor)."""
        value = hyperparameters[self.value] if isinstance(self.value, str) else self.value
        if self.kind == "scalar" or isinstance(p, (int, float)):
            return float(p) if self.kind == "like_p" else 1.0 * value
        if self.kind == "like_p":
            # NumPy makes a number of an array without dimensions.
            return p.copy() if home(type(p)) == "numpy" else p * 1
        if self.matrix:
            shape = self.shape(p.shape, **hyperparameters)
            return ops.apply("matrix_like", p, shape, value, self.square is not None)
        short = self.short and self.shape(p.shape) != tuple(p.shape)
        like = ops.sum(p, self.axis, keep=self.keep) if short else p
        return ops.apply("full_like", like, value)


ZEROS = Slot("array")
like_p = Slot("like_p")
"""A slot that starts as a copy of the parameter."""


def scalar(value: float | str) -> Slot:
    """A slot with one number per tensor that starts at `value`, a number or the name of a hyperparameter."""
    return Slot("scalar", value)


def shared(value: float | str) -> Slot:
    """A slot with one number for the whole optimizer, such as Prodigy's estimate of the distance.

    All tensors read the same number. Its new value must be the same for all of them, so it may
    depend only on hyperparameters, on shared slots and, through `total`, on everything else. It
    therefore stays the same for a tensor whose gradients come late or are sometimes missing.
    """
    return Slot("scalar", value, shared=True)


def filled(value: float | str) -> Slot:
    """A slot in the shape of the parameter, filled with `value`, a number or the name of a hyperparameter."""
    return Slot("array", value)


def zeros(axis: int | None = None, *, keep: int | None = None) -> Slot:
    """A slot of zeros in the shape of the parameter, but with length 1 along one axis, or along all
    axes but one.

    This is the shape of `sum` and `mean` along the axis, or with the same keep: `zeros(keep=0)` has
    one number per row of a matrix, or per output channel of a convolution. TypeError if both or
    neither are given.
    """
    if (axis is None) == (keep is None):
        raise TypeError(f"zeros takes either axis or keep, got axis={axis!r}, keep={keep!r}")
    return Slot("array", axis=axis, keep=keep)


def square(axis: int, value: float | str = 0.0) -> Slot:
    """A square matrix as long as p is along an axis: -2 for its rows, -1 for its columns.

    value: the initial value is the identity times this number, or times this hyperparameter.
    Shampoo's are `square(-2, 1e-6)` and `square(-1, 1e-6)`. p must be a matrix, or a batch of them
    in its last two axes. TypeError for any other axis.
    """
    if axis not in (-1, -2):
        raise TypeError(f"square: axis={axis!r} is invalid; it must be -2 (rows) or -1 (columns)")
    return Slot("array", value, square=axis)


def low_rank(rank: int | str, axis: int = -1) -> Slot:
    """A matrix of zeros like p, but with at most `rank` columns (axis=-1) or rows (axis=-2).

    rank: a positive whole number, or the name of such a hyperparameter. If p has fewer rows or
    columns than that, so has the slot. GaLore's projection of an m × n matrix is
    `low_rank("rank")`, m × rank, and its moments are `low_rank("rank", axis=-2)`, rank × n.
    TypeError for any other rank or axis.
    """
    if axis not in (-1, -2):
        raise TypeError(f"low_rank: axis={axis!r} is invalid; it must be -2 (rows) or -1 (columns)")
    if not isinstance(rank, str) and (type(rank) is not int or rank < 1):
        raise TypeError(
            f"low_rank: rank={rank!r} is invalid; it must be a whole number above 0, or the name of a "
            "hyperparameter"
        )
    return Slot("array", axis=axis, rank=rank)


@dataclass(frozen=True)
class Several:
    """Several slots under one name; see :func:`several`."""

    count: int | str
    slot: Slot


def several(count: int | str, slot: Slot = ZEROS) -> Several:
    """Slots of one kind under one name, which the rule takes and returns as a tuple.

    count: how many, or the name of a hyperparameter that is a tuple, for one slot per element.
    slot: the kind of slot, by default zeros in the shape of the parameter. `several("betas")` is a
    velocity for each beta, `several(5)` a window of the last five gradients, and `several(5,
    scalar(0.0))` a vector of numbers. The slots are numbered from 1: those of b are called b1 and
    b2 in the state, and those of means mean1 and mean2. TypeError if the count is neither a name
    nor a positive whole number, or `slot` is not a slot.
    """
    if not isinstance(count, str) and (type(count) is not int or count < 1):
        raise TypeError(
            f"several: count={count!r} is invalid; it must be a whole number above 0, or the name of a "
            "hyperparameter that is a tuple"
        )
    if not isinstance(slot, Slot):
        raise TypeError(
            f"several: slot={slot!r} is invalid; it must be like_p, scalar(value), filled(value), ..."
        )
    return Several(count, slot)


@dataclass(frozen=True)
class Signal:
    """What a step is given besides gradients. scalar: whether it is one number, and not an array for
    each parameter, of its shape.
    """

    scalar: bool = False

    @property
    def words(self) -> str:
        """What it is, in words."""
        return "one number" if self.scalar else "in the shape of the parameter"


def signal(kind: Callable[..., Slot] | None = None) -> Any:
    """The default of a rule's keyword that receives something besides the gradient, at some steps.

    `hessian=signal()` has the shape of the parameter, like a second gradient or the diagonal of the
    Hessian; `loss=signal(scalar)` is one number. Pass it to the step: `optimizer.step(loss=0.5)`.
    In steps without it, it is None in the rule, which may ask `if loss is not None`. TypeError for
    other kinds.
    """
    if kind is not None and kind is not scalar:
        raise TypeError(f"signal({kind!r}) is invalid; write signal() or signal(scalar)")
    return Signal(kind is scalar)
