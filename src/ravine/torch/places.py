"""The devices of tensors, and why no kernel can step them there.

Tensors on the CPU are stepped by CPU kernels, those on a GPU by an engine that ravine/engines/devices.py
chooses. Nothing about GPUs is imported before there is such a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ravine.engines.devices import KINDS, Place, chosen
from ravine.engines.eager import Work
from ravine.engines.graph import Graph
from ravine.torch.sharded import Sharded
from ravine.torch.tensors import dtype_name

if TYPE_CHECKING:
    from ravine.engines.kernel import Kernel

__all__ = ["called", "place", "refusal"]


def place(device: torch.device) -> Place | None:
    """The device in the engines' terms; None for the CPU, and for devices without an engine."""
    if device.type not in KINDS:
        return None
    module = getattr(torch, device.type)
    index = module.current_device() if device.index is None else device.index

    def stream() -> int:
        now = module.current_stream(index)
        return int(now.cuda_stream if device.type == "cuda" else now.sycl_queue)

    return Place(device.type, index, stream)


def refusal(graph: Graph, work: Work, stochastic: bool, squares: bool) -> str:
    """Why no kernel steps a suitable parameter on its device, or ""."""
    where = place(work.p.device)
    if where is None:
        return ""
    if isinstance(work.p, Sharded):
        return f"on {where}: sharded"
    found = _kernel(graph, squares)
    if isinstance(found, str):
        return f"on {where}: {found}"
    return chosen(found, dtypes(found, work), stochastic, where)[1]


def called(graph: Graph, work: Work, stochastic: bool, squares: bool) -> str:
    """The engine that steps it, and the device; "" for the CPU's kernels."""
    where = place(work.p.device)
    found = None if where is None else _kernel(graph, squares)
    if where is None or found is None or isinstance(found, str):
        return ""
    engine = chosen(found, dtypes(found, work), stochastic, where)[0]
    return f"{engine.name} on {where}" if engine else ""


def _kernel(graph: Graph, squares: bool) -> Kernel | str:
    from ravine.engines.cpu import kernel
    from ravine.engines.cutting import is_cut

    return "it has matrix operations" if is_cut(graph) else kernel(graph, squares)


def dtypes(kernel: Kernel, work: Work) -> Sequence[str]:
    """The dtypes of the columns; a slot that does not exist yet will have that of p."""
    its: dict[str, Any] = {"p": work.p, "g": work.g, **work.signals, **work.state}
    return tuple(dtype_name(work.p if its.get(c) is None else its[c]) for c in kernel.columns)
