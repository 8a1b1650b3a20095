"""Slots, the pieces of an optimizer's state, and what each is made of at the first step; signals, what
a step is given besides gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ravine import ops
from ravine.arithmetic import home

__all__ = ["ZEROS", "Signal", "Slot", "filled", "like_p", "scalar", "shared", "signal", "zeros"]


@dataclass(frozen=True)
class Slot:
    """A piece of an optimizer's state: what it is made of at the first step.

    kind: "array" in the shape of the parameter, "like_p" a copy of it, "scalar" one number. value:
    the number that it starts at, or the name of the hyperparameter whose value it starts at. axis:
    along which an array has length 1. keep: the one axis along which it has not. shared: whether the
    number is one for the whole optimizer.
    """

    kind: str
    value: float | str = 0.0
    axis: int | None = None
    shared: bool = False
    keep: int | None = None

    @property
    def start(self) -> str:
        """What it starts at, in words: a number, a hyperparameter's name, or p."""
        if self.kind == "like_p":
            return "p"
        return self.value if isinstance(self.value, str) else f"{self.value:g}"

    @property
    def short(self) -> bool:
        """Whether it is an array that has length 1 where the parameter may be longer."""
        return self.axis is not None or self.keep is not None

    def shape(self, of_p: Sequence[int]) -> tuple[int, ...]:
        """The shape that it has beside a parameter of a shape."""
        if self.kind == "scalar":
            return ()
        axes = range(len(of_p))
        if self.axis is not None:
            ones = {axes[self.axis]}
        else:
            ones = {*axes} - {axes[self.keep]} if self.keep is not None and axes else set()
        return tuple(1 if i in ones else n for i, n in enumerate(of_p))

    def init(self, p: Any, /, **hyperparameters: Any) -> Any:
        """The slot before the first step, for the parameter p (a float, an array or a tensor)."""
        value = hyperparameters[self.value] if isinstance(self.value, str) else self.value
        if self.kind == "scalar" or isinstance(p, (int, float)):
            return float(p) if self.kind == "like_p" else 1.0 * value
        if self.kind == "like_p":
            # NumPy makes a number of an array without dimensions.
            return p.copy() if home(type(p)) == "numpy" else p * 1
        like = ops.sum(p, self.axis, keep=self.keep) if self.short else p
        return ops.apply("full_like", like, value)


ZEROS = Slot("array")
like_p = Slot("like_p")
"""A slot that starts as a copy of the parameter."""


def scalar(value: float | str) -> Slot:
    """A slot of one number for each tensor, starting at `value`: a number, or a hyperparameter's name."""
    return Slot("scalar", value)


def shared(value: float | str) -> Slot:
    """A slot of one number for the whole optimizer, such as Prodigy's estimate of the distance.

    All tensors read the same number, and its new value is the same for all of them: it may depend on
    hyperparameters, on shared slots and, through `total`, on everything else. So a tensor whose
    gradient comes late, or is missing at times, does not keep a number of its own.
    """
    return Slot("scalar", value, shared=True)


def filled(value: float | str) -> Slot:
    """A slot in the shape of the parameter, full of `value`: a number, or a hyperparameter's name."""
    return Slot("array", value)


def zeros(axis: int | None = None, *, keep: int | None = None) -> Slot:
    """A slot of zeros in the shape of the parameter, but of length 1 along an axis, or along all but one.

    As `sum` and `mean` along the axis give it, or with the same keep: `zeros(keep=0)` has a number for
    each row of a matrix and each output channel of a convolution. TypeError for both, or neither.
    """
    if (axis is None) == (keep is None):
        raise TypeError(f"zeros takes an axis or keep, got axis={axis!r}, keep={keep!r}")
    return Slot("array", axis=axis, keep=keep)


@dataclass(frozen=True)
class Signal:
    """What a step is given besides gradients. scalar: whether it is one number, and not an array for
    each parameter, of its shape.
    """

    scalar: bool = False

    @property
    def words(self) -> str:
        """What it is, in words."""
        return "one number" if self.scalar else "in the shape of p"


def signal(kind: Callable[..., Slot] | None = None) -> Any:
    """The default of a keyword of a rule: what a step is given besides the gradient, at some steps.

    `hessian=signal()` has the shape of the parameter, such as a second gradient or the diagonal of the
    Hessian; `loss=signal(scalar)` is one number. It is passed to the step, `optimizer.step(loss=0.5)`;
    where it is not, it is None in the rule, which may ask `if loss is not None`. TypeError for other
    kinds.
    """
    if kind is not None and kind is not scalar:
        raise TypeError(f"signal({kind!r}) is not accepted; write signal() or signal(scalar)")
    return Signal(kind is scalar)
