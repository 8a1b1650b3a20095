"""What torch.amp.GradScaler does with an optimizer, and who watches it."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch

__all__ = ["asks", "is_replaced", "zeroes"]


def asks(frame: FrameType) -> bool:
    """Whether a frame is a method of a scaler: it asks whether to hand its scale over, and then takes a
    step if all gradients are finite.

    A scaler that skips a step calls nothing of the optimizer's, so this question is the only sign of it.
    Others ask too (Lightning, before it clips), so it matters whose question it is.
    """
    return isinstance(frame.f_locals.get("self"), torch.amp.GradScaler)


def zeroes(frame: FrameType) -> bool:
    """Whether a scaler's frame is that of `scaler.step(optimizer, zero_grad=True)`.

    A scaler that calls no step for gradients that are not finite would leave them as they are.
    """
    return asks(frame) and bool(frame.f_locals.get("kwargs", {}).get("zero_grad"))


def is_replaced(optimizer: torch.optim.Optimizer, step: Any) -> bool:
    """Whether `optimizer.step` is a function of somebody else's now, other than a scheduler's."""
    own = getattr(step, "__func__", None) is type(optimizer).step
    return not own and not hasattr(step, "_wrapped_by_lr_sched")
