"""Tables in a device's memory, as torch's tensors, which Triton takes as arguments."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

__all__ = ["fill", "on", "view", "words"]


def words(count: int, device: Any, kind: str = "int64") -> Any:
    """So many words of eight bytes, of zero; at least one, so that there is an address."""
    return torch.zeros(max(1, count), dtype=getattr(torch, kind), device=device)


def view(table: Any) -> Any:
    """The same words as numbers in float64."""
    return table.view(torch.float64)


def fill(table: Any, array: Any) -> None:
    """Copy an array of NumPy's to the beginning of a table. It may be changed again on return."""
    table[: len(array)].copy_(torch.from_numpy(array))


def on(device: Any) -> AbstractContextManager[Any]:
    """Within it, launches go to this device."""
    device = torch.device(device)
    return nullcontext() if device.type == "cpu" else getattr(torch, device.type).device(device)
