"""What torch.amp.GradScaler does with an optimizer, and who watches it."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch

__all__ = ["asks", "is_replaced"]


def asks(frame: FrameType) -> bool:
    """Whether a frame is a method of a scaler: it asks whether to hand its scale over, and then takes a
    step if all gradients are finite.

    A scaler that skips a step calls nothing of the optimizer's, so this question is the only sign of it.
    Others ask too (Lightning, before it clips), so it matters whose question it is.
    """
    return isinstance(frame.f_locals.get("self"), torch.amp.GradScaler)


def is_replaced(optimizer: torch.optim.Optimizer, step: Any) -> bool:
    """Whether `optimizer.step` is a function of somebody else's now, other than a scheduler's."""
    own = getattr(step, "__func__", None) is type(optimizer).step
    return not own and not hasattr(step, "_wrapped_by_lr_sched")
