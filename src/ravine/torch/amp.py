"""What torch.amp.GradScaler does with an optimizer, and whether anything else watches its step."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch

__all__ = ["asks", "is_replaced", "zeroes"]


def asks(frame: FrameType) -> bool:
    """Whether a frame is a method of a scaler, which asks whether to pass its scale on, and then takes a
    step if all gradients are finite.

    A scaler that skips a step calls no method of the optimizer, so this question is the only sign of it.
    Others ask too (Lightning, before it clips), so it matters who asks.
    """
    return isinstance(frame.f_locals.get("self"), torch.amp.GradScaler)


def zeroes(frame: FrameType) -> bool:
    """Whether a scaler's frame is that of `scaler.step(optimizer, zero_grad=True)`.

    A scaler that calls no step for gradients that are not finite would leave them as they are.
    """
    return asks(frame) and bool(frame.f_locals.get("kwargs", {}).get("zero_grad"))


def is_replaced(optimizer: torch.optim.Optimizer, step: Any) -> bool:
    """Whether `optimizer.step` has been replaced by somebody other than a scheduler."""
    own = getattr(step, "__func__", None) is type(optimizer).step
    return not own and not hasattr(step, "_wrapped_by_lr_sched")
