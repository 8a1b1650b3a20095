"""The devices of tensors, and why no kernel can step them there.

Tensors on the CPU are stepped by CPU kernels, those on a GPU by an engine that ravine/engines/devices.py
chooses. Nothing about GPUs is imported before there is such a tensor.

With capturable=True, all scalars of a step are computed on the device, so that the host waits for nothing;
with fused=True, where the engine can. `asked` is the option that asks for it, or "".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ravine.engines import fused
from ravine.engines.devices import KINDS, Engine, Place, captures, chosen
from ravine.engines.eager import Work
from ravine.engines.graph import Graph
from ravine.torch.sharded import Sharded
from ravine.torch.tensors import dtype_name

if TYPE_CHECKING:
    from ravine.engines.kernel import Kernel
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["asked", "called", "check", "keeps_scalars", "place", "read", "refusal"]

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


def asked(optimizer: RuleOptimizer) -> str:
    """What asks for scalars on the device: "capturable", "fused", or nothing ("")."""
    if optimizer._how.get("capturable"):
        return "capturable"
    options = ("capturable", "fused")
    return next((k for k in options if any(g.get(k) for g in optimizer.param_groups)), "")


def read(hyper: Mapping[str, Any], asked: str) -> dict[str, Any]:
    """Hyperparameters with tensors replaced by their values, except for those that stay on a device."""
    return {
        k: v.item()
        if isinstance(v, torch.Tensor) and not (asked and place(v.device) is not None)
        else v
        for k, v in hyper.items()
    }


def check(optimizer: RuleOptimizer) -> None:
    """Raise an error if no step can be looked at anew now, or none be captured."""
    name, how = type(optimizer).__name__, optimizer._how.get("capturable")
    known = ["cuda", "xpu", "hpu", torch._C._get_privateuse1_backend_name(), "xla"]
    for group in optimizer.param_groups:
        capturable = how or group.get("capturable")
        present = {p.device for p in group["params"] if p.grad is not None}
        for device in present:
            where = place(device)
            if where is None and capturable and not group.get("fused") and device.type not in known:
                raise AssertionError(
                    f"{name}: If capturable=True, params and state_steps must be on supported devices: "
                    f"{known}. A parameter is on {device}; leave capturable out"
                )
            if where is not None and captures(where):
                raise RuntimeError(
                    f"Attempting {where.kind.upper()} graph capture of step() for an instance of {name} "
                    + (
                        "that has not taken such a step before; take one with these parameters, "
                        "gradients and options outside of the capture first"
                        if capturable
                        else "but param_groups' capturable is False."
                    )
                )


def keeps_scalars(
    graph: Graph, works: Sequence[Work], stochastic: bool, squares: bool, asked: str
) -> bool:
    """Whether the kernel of these works computes all scalars on their device."""
    where = place(works[0].p.device)
    if where is None or not asked or fused.refusal(graph):
        return False
    return all(
        there
        for work in works
        for *_, there in _chosen(graph, work, stochastic, squares, where, asked)
    )


def refusal(graph: Graph, work: Work, stochastic: bool, squares: bool, asked: str = "") -> str:
    """Why no kernel steps a suitable parameter on its device, or ""."""
    from ravine.engines.cutting import conditions, is_cut

    where = place(work.p.device)
    if where is None:
        return ""
    if isinstance(work.p, Sharded):
        return f"on {where}: sharded"
    if fused.refusal(graph):  # which says why
        return ""
    if is_cut(graph) and asked == "capturable":
        return (
            f"on {where}: between its matrix operations, counts and learning rates are on the host"
        )
    if is_cut(graph) and len(conditions(graph)) > _MOST_CONDITIONS:
        return f"on {where}: more than {_MOST_CONDITIONS} numbers decide between its matrices"
    whys = (why for _, why, _ in _chosen(graph, work, stochastic, squares, where, asked))
    return next(filter(None, whys), "")


def called(graph: Graph, work: Work, stochastic: bool, squares: bool, asked: str = "") -> str:
    """The engine that steps it, and the device; "" for the CPU's kernels."""
    where = place(work.p.device)
    if where is None or refusal(graph, work, stochastic, squares, asked):
        return ""
    found = _chosen(graph, work, stochastic, squares, where, asked)
    names = dict.fromkeys(engine.name for engine, *_ in found if engine)
    return f"{' and '.join(names)} on {where}"


def _chosen(
    graph: Graph, work: Work, stochastic: bool, squares: bool, where: Place, asked: str
) -> Iterator[tuple[Engine | None, str, bool]]:
    """For each kernel of a step, the engine, or why there is none; and whether it computes all scalars."""
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
        how = kern, of(kern), stochastic, where
        engine, why = chosen(*how, on_device=True) if asked else (None, "")
        if engine is not None or asked == "capturable":
            yield engine, why, engine is not None
        else:
            yield *chosen(*how), False
        return
    for way in cuts(graph, squares):
        every = {**known, **exchanged(way, known)}
        for turn in way.turns:
            if turn.kernel is not None:
                rounded = stochastic and turn is way.turns[-1]
                yield *chosen(turn.kernel, of(turn.kernel, every), rounded, where), False
