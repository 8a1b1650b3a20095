"""The devices of tensors, and why no kernel can step them there.

Tensors on the CPU are stepped by CPU kernels, those on a GPU by an engine that ravine/engines/devices.py
chooses. Nothing about GPUs is imported before there is such a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from ravine.engines import fused
from ravine.engines.devices import KINDS, Engine, Place, chosen
from ravine.engines.eager import Work
from ravine.engines.graph import Graph
from ravine.torch.sharded import Sharded
from ravine.torch.tensors import dtype_name

if TYPE_CHECKING:
    from ravine.engines.kernel import Kernel

__all__ = ["called", "place", "refusal"]

_MOST_CONDITIONS = 3  # each doubles the number of kernels that have to prove themselves


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
    from ravine.engines.cutting import conditions, is_cut

    where = place(work.p.device)
    if where is None:
        return ""
    if isinstance(work.p, Sharded):
        return f"on {where}: sharded"
    if fused.refusal(graph):  # which says why
        return ""
    if is_cut(graph) and len(conditions(graph)) > _MOST_CONDITIONS:
        return f"on {where}: more than {_MOST_CONDITIONS} numbers decide between its matrices"
    whys = (why for _, why in _chosen(graph, work, stochastic, squares, where))
    return next(filter(None, whys), "")


def called(graph: Graph, work: Work, stochastic: bool, squares: bool) -> str:
    """The engine that steps it, and the device; "" for the CPU's kernels."""
    where = place(work.p.device)
    if where is None or refusal(graph, work, stochastic, squares):
        return ""
    engines = [engine for engine, _ in _chosen(graph, work, stochastic, squares, where) if engine]
    return f"{' and '.join(dict.fromkeys(engine.name for engine in engines))} on {where}"


def _chosen(
    graph: Graph, work: Work, stochastic: bool, squares: bool, where: Place
) -> Iterator[tuple[Engine | None, str]]:
    """The engine of each kernel of a step; None, and why there is none."""
    from ravine.engines.cpu import kernel
    from ravine.engines.cutting import is_cut
    from ravine.engines.turns import cuts, exchanged

    its = {"p": work.p, "g": work.g, **work.signals, **work.state}
    known = {c: dtype_name(x) for c, x in its.items() if hasattr(x, "dtype")}

    def of(kernel: Kernel, more: Mapping[str, str] = known) -> list[str]:
        """The dtypes of its columns; a slot that does not exist yet will have that of p."""
        return [more.get(c) or known["p"] for c in kernel.columns]

    if not is_cut(graph):
        kern = kernel(graph, squares)
        yield chosen(kern, of(kern), stochastic, where)
        return
    for way in cuts(graph, squares):
        every = {**known, **exchanged(way, known)}
        for turn in way.turns:
            if turn.kernel is not None:
                rounded = stochastic and turn is way.turns[-1]
                yield chosen(turn.kernel, of(turn.kernel, every), rounded, where)
