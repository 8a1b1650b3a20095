"""Describes the engine of an optimizer: the kernel or calls, for which tensors, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from ravine.engines.eager import Work
from ravine.engines.fused import ACROSS, describe, joined
from ravine.engines.graph import Graph
from ravine.torch import members, places
from ravine.torch.narrow import told
from ravine.torch.sharded import is_spread
from ravine.torch.tensors import dimensions, seen_by, unfit

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["engine"]


def engine(optimizer: RuleOptimizer) -> str:
    """See :attr:`ravine.torch.RuleOptimizer.engine`."""
    if optimizer._differentiable:
        return "eager: differentiable"
    found = [
        (group, p, *optimizer.planned(group, dimensions(p)))
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    graphs = [graph for _, _, graph, _ in found]
    across = joined(graphs)
    devices = {_pictured(optimizer, p)[0].device for _, p, _, _ in found}
    names: dict[str, None] = {}  # of the engines for devices

    def why(group: Mapping[str, Any], p: torch.Tensor, graph: Graph, hyper: Any) -> str:
        if graph in across:
            return ACROSS
        work = _seen(optimizer, group, graph, hyper, p)
        if graph.at_once and len(devices) > 1:
            return members.SEVERAL
        summed, asked = bool(optimizer._how.get("grad_norm")), places.asked(optimizer)
        how = graph, work, optimizer.stochastic, summed, asked
        here = unfit(work, graph) or places.refusal(*how)
        if not here:
            names[places.called(*how)] = None
        elsewhere = optimizer.called_elsewhere and is_spread(p) and not graph.pointwise
        return here or (members.ELSEWHERE if elsewhere else "")

    whys = [why(*its) for its in found if not is_lazy(its[1]) and its[1].numel()]
    text = describe(optimizer._wanted, graphs, whys)
    if text.startswith("kernel") and any(names):
        text = text.replace("kernel", f"kernel ({', '.join(n or 'CPU' for n in names)})", 1)
        if torch.version.hip is None and all(" on cuda:" in name for name in names):
            text = text.replace("by BLAS", "by cuBLAS", 1)
    on_gram = "newton_schulz on Gram matrices" if optimizer._how.get("gram") else "newton_schulz"
    text = text.replace("newton_schulz", on_gram, 1)
    if optimizer.eight_bits:
        text += told((optimizer.spelling_of(g).state_names, graph, p) for g, p, graph, _ in found)
    memory = optimizer._flat or optimizer._offload
    return f"{text}; {memory.describe([p for _, p, *_ in found])}" if memory is not None else text


def _seen(
    optimizer: RuleOptimizer,
    group: Mapping[str, Any],
    graph: Graph,
    hyper: dict[str, Any],
    p: torch.Tensor,
) -> Work:
    """The work that an engine would receive for p now."""
    here, g = _pictured(optimizer, p)
    view, names = seen_by(graph, here), optimizer.spelling_of(group).state_names
    its = optimizer.state.get(p) or {}
    kept = {slot: its.get(names.get(slot, slot)) for slot in graph.live}
    slots = {k: view(v) for k, v in kept.items() if graph.rule.slots[k].kind != "scalar"}
    g = None if g is None or g.is_sparse else g
    return Work(view(here), view(g), slots, 0, hyper)


def _pictured(
    optimizer: RuleOptimizer, p: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What is stepped for a parameter, and its gradient."""
    offload = optimizer._offload
    return (p, p.grad) if offload is None else offload.pictured(optimizer, p)
