"""A bag of tensors whose operators are torch's foreach functions: one call for all tensors.

On an accelerator, each call launches a few kernels instead of one per tensor, so a rule that is called on
such bags is as fast as torch.optim's foreach loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ravine.ops import Tensors

__all__ = ["Foreach"]

# torch's sign gives 0 for NaN; comparisons, where and mod have no such function.
_UNARY: dict[str, Callable[..., Any]] = {
    "neg": torch._foreach_neg,
    "sqrt": torch._foreach_sqrt,
    "abs": torch._foreach_abs,
    "exp": torch._foreach_exp,
    "log": torch._foreach_log,
    "tanh": torch._foreach_tanh,
    "floor": torch._foreach_floor,
    "round": torch._foreach_round,
}
_BINARY: dict[str, Callable[..., Any]] = {
    "add": torch._foreach_add,
    "sub": torch._foreach_sub,
    "mul": torch._foreach_mul,
    "div": torch._foreach_div,
    "pow": torch._foreach_pow,
    "maximum": torch._foreach_maximum,
    "minimum": torch._foreach_minimum,
}
_EITHER_WAY = ("add", "mul", "maximum", "minimum")
_BY_ITSELF = (2, 0.5, -0.5, -2)  # powers for which ravine/arithmetic.py has other functions


class Foreach(Tensors):
    """A bag that maps by a foreach function if there is one, and otherwise one by one."""

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        """Map the operation over the bag; plain values go to every member."""
        if name in _UNARY and _tensors(args[0]):
            return Foreach(_UNARY[name](list(args[0])))
        # A power function would not give the square root for x**0.5 of -0.0 and -inf, for example.
        if name in _BINARY and (name != "pow" or (_number(args[1]) and args[1] not in _BY_ITSELF)):
            x, y = args
            if name in _EITHER_WAY and not _tensors(x):
                x, y = y, x
            if name == "sub" and _tensors(y) and _number(x):  # x - y as (-y) + x: the same bits
                return Foreach(torch._foreach_add(torch._foreach_neg(list(y)), x))
            if _tensors(x) and (_tensors(y) or _number(y) or _numbers(y)):
                return Foreach(_BINARY[name](list(x), list(y) if isinstance(y, Tensors) else y))
        return super().operate(name, args)


def _tensors(x: Any) -> bool:
    return isinstance(x, Tensors) and all(isinstance(v, torch.Tensor) for v in x)


def _number(x: Any) -> bool:
    """A number that every dtype accepts; torch rejects one that overflows to infinity."""
    return isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < 6e4


def _numbers(x: Any) -> bool:
    return isinstance(x, Tensors) and all(map(_number, x))
