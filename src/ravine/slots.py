"""Slots: the pieces of an optimizer's state, and what each is made of at the first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ravine import ops
from ravine.arithmetic import home

__all__ = ["ZEROS", "Slot", "filled", "like_p", "scalar", "zeros"]


@dataclass(frozen=True)
class Slot:
    """A piece of an optimizer's state: what it is made of at the first step.

    kind: "array" in the shape of the parameter, "like_p" a copy of it, "scalar" one number. value:
    the number that it starts at, or the name of the hyperparameter whose value it starts at. axis:
    along which an array has length 1.
    """

    kind: str
    value: float | str = 0.0
    axis: int | None = None

    @property
    def start(self) -> str:
        """What it starts at, in words: a number, a hyperparameter's name, or p."""
        if self.kind == "like_p":
            return "p"
        return self.value if isinstance(self.value, str) else f"{self.value:g}"

    def init(self, p: Any, /, **hyperparameters: Any) -> Any:
        """The slot before the first step, for the parameter p (a float, an array or a tensor)."""
        value = hyperparameters[self.value] if isinstance(self.value, str) else self.value
        if self.kind == "scalar" or isinstance(p, (int, float)):
            return float(p) if self.kind == "like_p" else 1.0 * value
        if self.kind == "like_p":
            # NumPy makes a number of an array without dimensions.
            return p.copy() if home(type(p)) == "numpy" else p * 1
        like = p if self.axis is None else ops.sum(p, self.axis)
        return ops.apply("full_like", like, value)


ZEROS = Slot("array")
like_p = Slot("like_p")
"""A slot that starts as a copy of the parameter."""


def scalar(value: float | str) -> Slot:
    """A slot of one number for each tensor, starting at `value`: a number, or a hyperparameter's name."""
    return Slot("scalar", value)


def filled(value: float | str) -> Slot:
    """A slot in the shape of the parameter, full of `value`: a number, or a hyperparameter's name."""
    return Slot("array", value)


def zeros(axis: int) -> Slot:
    """A slot of zeros in the shape of the parameter, but of length 1 along an axis."""
    return Slot("array", axis=axis)
