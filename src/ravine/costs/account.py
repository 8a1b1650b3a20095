"""A step's account: what is kept, moved, computed and sent, on each of the devices that share it."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, NamedTuple

from ravine import registry
from ravine.costs.models import Model, Tensors
from ravine.costs.operations import AVERAGED, Operations, operations
from ravine.engines.eager import plan
from ravine.engines.graph import OF_ARRAYS, REDUCTIONS, Graph
from ravine.engines.kernel import KernelError
from ravine.engines.lowering import lower
from ravine.engines.narrow import EIGHT_BITS, SMALL, narrow, size
from ravine.engines.passes import passes
from ravine.engines.tracing import takes_matrices
from ravine.rule import Rule, kept
from ravine.slots import DTYPES, Slot

__all__ = ["EIGHT_BITS", "SHARDS", "Cost", "Machine", "cost"]

SHARDS = {
    "none": "every device holds everything; gradients are averaged (DDP)",
    "zero1": "state is spread by whole tensors; a tensor's owner steps it (ZeRO stage 1)",
    "fsdp": "parameters, gradients and state are spread by elements (ZeRO stage 3, fully_shard)",
}
"""How several devices share a step."""

_COUNT = 4  # bytes of a tensor's count of steps
_IN_BLOCKS = {op for op in OF_ARRAYS if not op.endswith("_along")} - {"argsort", "take", "size"}


@dataclass(frozen=True)
class Machine:
    """One device. bandwidth: of its memory, bytes a second. rate: of matrix products, operations a second.
    network: bytes a second that it sends to the others; None leaves messages out of the least time. link:
    bytes a second between it and its host, in each direction; None if it is a host itself.
    """

    bandwidth: float
    rate: float
    network: float | None = None
    link: float | None = None


@dataclass(frozen=True)
class Cost:
    """What one step takes on each device; where they differ, on the busiest.

    parameters, gradients, state: bytes that are kept. whole: bytes of the largest matrix that has to be put
    together for a moment. moved: bytes read and written, at least. operations: see :class:`Operations`,
    averaged over 100 steps. trained: bytes that a device sends for the training, whatever the optimizer:
    gradients to be summed, parameters to be gathered. sent: bytes that it sends for the step besides.
    messages: how many messages these are. others: the share of the parameters that AdamW steps, since the
    rule is for matrices. host: where the step is offloaded, bytes that are kept on the host, for each device:
    the state, a copy of the parameters, and the gradients; `moved` is moved there, too. copied: bytes that
    are copied there, and as many back.
    """

    rule: Rule
    model: Model
    parameters: float = 0.0
    gradients: float = 0.0
    state: float = 0.0
    whole: float = 0.0
    moved: float = 0.0
    operations: Operations = field(default_factory=Operations)
    trained: float = 0.0
    sent: float = 0.0
    messages: int = 0
    others: float = 0.0
    host: float = 0.0
    copied: float = 0.0

    @property
    def held(self) -> float:
        """Bytes that are kept on the device: parameters, gradients, and state that is not offloaded."""
        return self.parameters + self.gradients + (0.0 if self.host else self.state)

    def seconds(self, machine: Machine) -> float:
        """The least time of a step: its bytes at the memory's speed, its matrices at that of products.

        Operations on elements are hidden behind the memory; decompositions take longer than products. Where
        the step is offloaded and the host is not known, it is the time of the copies, whose two directions
        overlap.
        """
        if self.host and machine.link:
            return self.copied / machine.link
        matrices = (self.operations.products + self.operations.factors) / machine.rate
        messages = self.sent / machine.network if machine.network else 0.0
        return self.moved / machine.bandwidth + matrices + messages


class _Share(NamedTuple):
    """What one tensor takes. state: of slots that are spread over devices as the tensor is, along its first
    axis; others: of those that are not, such as sums of columns. moved: of what is spread; what is moved of
    the others is twice their bytes.
    """

    parameters: float
    gradients: float
    state: float
    others: float
    moved: float
    operations: Operations
    gathered: float
    matrices: int

    @property
    def all_moved(self) -> float:
        """Bytes moved, including those of arrays that are not spread."""
        return self.moved + 2 * self.others

    @property
    def work(self) -> float:
        """By what owners are found: products count as if memory moved a byte in the time of 100."""
        return self.all_moved + (self.operations.products + self.operations.factors) / 100


def cost(
    rule: Rule,
    model: Model,
    *,
    dtype: str = "float32",
    state_dtype: str = "",
    devices: int = 1,
    shard: str = "none",
    offload: bool = False,
    **hyperparameters: Any,
) -> Cost:
    """What one step of a rule takes for a model's parameters.

    dtype: of parameters and gradients. state_dtype: of the state, which is that of the parameters by
    default; "8bit" is what `state_dtype="8bit"` keeps: a byte for each element of a running mean and a scale
    for every 256, and float32 for other state, for small parameters, and, with "fsdp", for rules that look at
    whole tensors. devices: how many share the model. shard: how, one of :data:`SHARDS`. offload: whether the
    step is taken on the host, as with `offload=True`, where parameters in half precision have a copy in
    float32, and state has its dtype by default.
    hyperparameters: of the rule, where they are not the defaults. What a rule for matrices leaves is stepped
    by AdamW. Raises ValueError for what is none of these.
    """
    _check(dtype, state_dtype, devices, shard)
    found: list[tuple[Tensors, _Share]] = []
    stepped = "float32" if offload and dtype in ("bfloat16", "float16") else dtype
    matrices, left = takes_matrices(rule), 0
    reductions = 0
    for tensors in model.tensors:
        if matrices and not tensors.inner:
            its, values, left = registry.get("adamw"), {}, left + tensors.count * tensors.numel
        else:
            its, values = rule.fitting(hyperparameters), hyperparameters
        checked = its.check(**values)
        graph = plan(its, checked, ndim=len(tensors.shape))
        whole = graph.pointwise or shard != "fsdp" or devices == 1
        eight = state_dtype == EIGHT_BITS and tensors.numel >= SMALL and whole
        codes = narrow(graph) if eight else {}
        of_state = "float32" if state_dtype == EIGHT_BITS else state_dtype or stepped
        sizes = partial(
            _bytes,
            dtype=dtype,
            stepped=stepped,
            state_dtype=of_state,
            codes=codes,
            numel=tensors.numel,
        )
        found.append((tensors, _share(its, graph, tensors.shape, checked, sizes)))
        reductions = max(reductions, _stages(graph))
    made = {"none": _alike, "zero1": _owned, "fsdp": _spread}[shard](found, devices)
    owned = made.pop("owned")
    wider = DTYPES[stepped] / DTYPES[dtype]
    alone = 1 - 1 / devices
    params = sum(t.count * s.parameters for t, s in found)
    grads = sum(t.count * s.gradients for t, s in found)
    trained = {
        "none": 2 * alone * grads,
        "zero1": alone * (grads + params),
        "fsdp": alone * (grads + 2 * params),
    }[shard]
    several = devices > 1 and shard == "fsdp"
    sent = alone * sum(t.count * s.gathered for t, s in found) * several
    asked = reductions + sum(t.count * s.matrices for t, s in found)
    return Cost(
        rule,
        model,
        **made,
        trained=trained,
        sent=sent,
        messages=asked * several,
        others=left / model.numel,
        host=(made["state"] + owned * (1 + wider)) * offload,
        copied=owned * offload,
    )


def _check(dtype: str, state_dtype: str, devices: int, shard: str) -> None:
    for argument, given, known in (
        ("dtype", dtype, tuple(DTYPES)),
        ("state_dtype", state_dtype, ("", *DTYPES, EIGHT_BITS)),
        ("shard", shard, tuple(SHARDS)),
    ):
        if given not in known:
            names = ", ".join(name for name in known if name)
            raise ValueError(f"{argument}={given!r} is invalid; it must be one of {names}")
    if devices < 1 or devices % 1:
        raise ValueError(f"devices={devices!r} is invalid; it must be a whole number above 0")


# ---- one tensor ----------------------------------------------------------------------------------


def _bytes(
    name: str,
    slot: Slot | None,
    *,
    dtype: str,
    stepped: str,
    state_dtype: str,
    codes: Collection[str],
    numel: int,
) -> float:
    """Bytes of a number: of what is stepped ("p"), a gradient, or a slot. codes: the slots in 8 bits."""
    if slot is None:
        return DTYPES[stepped if name == "p" else dtype]
    if slot.kind == "scalar":
        return 8.0
    return size(numel) / numel if name in codes else DTYPES[slot.dtype or state_dtype]


def _share(
    rule: Rule, graph: Graph, shape: tuple[int, ...], values: Mapping[str, Any], sizes: Any
) -> _Share:
    numel, state, others, short = prod(shape), 0.0, float(_COUNT), 0.0
    for name in graph.live:
        slot = rule.slots[name]
        if slot.kind == "scalar" and slot.shared:
            continue
        its = rule.shape(name, shape, **values)
        bytes_ = prod(its) * sizes(name, slot)
        if slot.kind == "scalar" or slot.matrix or its[:1] != shape[:1]:
            others += bytes_
        else:
            state += bytes_
            short += bytes_ if slot.short else 0.0
    of_p = numel * sizes("g", None)
    gathered, matrices = _gathered(graph)
    steps = AVERAGED if graph.lazy else AVERAGED[:1]
    each = [operations(rule, graph, shape, values, t) for t in steps]
    mean = Operations(*(sum(its) / len(each) for its in zip(*each, strict=True)))
    moved = numel * _moved(rule, graph, sizes) + 2 * short
    return _Share(of_p, of_p, state, others, moved, mean, gathered * of_p, matrices)


def _moved(rule: Rule, graph: Graph, sizes: Any) -> float:
    """Bytes that a step moves for each element: what a kernel's passes load and store; where there is no
    kernel, each array once.
    """
    signals = [s for s in graph.given if not rule.signals[s].scalar]
    slots = {s: rule.slots[s] for s in graph.live if rule.slots[s].kind != "scalar"}
    full = {s: slot for s, slot in slots.items() if not (slot.short or slot.matrix)}
    size = {name: sizes(name, None) for name in ("p", "g", *signals)}
    size |= {s: sizes(s, slot) for s, slot in full.items()}
    try:
        kernel = kept(graph, ("kernel", False, False), lambda: lower(graph))
    except KernelError:
        return sum(size.values()) + size["p"] + sum(size[s] for s in full)
    names = {8: "float64", 4: "float32"}
    walks = passes(kernel, [names.get(int(size.get(c, 4)), "bfloat16") for c in kernel.columns])
    return sum(size[c] for walk in walks for c in (*walk.loads, *walk.stores) if c in size)


def _gathered(graph: Graph) -> tuple[int, int]:
    """How many arrays in p's shape operations on matrices are given: what a spread matrix has to be put
    together for; and how many of these operations there are.
    """
    nodes = graph.needed(graph.live_outputs().values())
    of_matrices: set[int] = set()
    given: set[int] = set()
    count = 0
    for node in nodes:
        direct = node.op in _IN_BLOCKS
        after = any(x.index in of_matrices for x in node.args)
        if direct and not after:
            count += 1
            given |= {
                x.index for x in graph.needed(node.args) if x.op == "input" and x.value == "g"
            }
            given |= {x.index for x in node.args if x.op == "input" and _like_p(graph, x.value)}
        if direct or after:
            of_matrices.add(node.index)
    return len(given), count


def _like_p(graph: Graph, name: str) -> bool:
    slot = graph.rule.slots.get(name)
    return slot is None or not (slot.short or slot.matrix)


def _stages(graph: Graph) -> int:
    """How many rounds of sums a step needs, one after the other."""
    depth: dict[int, int] = {}
    for node in graph.needed(graph.live_outputs().values()):
        before = max((depth[x.index] for x in node.args), default=0)
        depth[node.index] = before + (node.op in REDUCTIONS)
    return max(depth.values(), default=0)


# ---- several devices -----------------------------------------------------------------------------

_Found = Sequence[tuple[Tensors, _Share]]


def _sum(found: _Found, of: Any) -> float:
    return sum(tensors.count * of(share) for tensors, share in found)


def _operations(found: _Found, elements: float = 1.0) -> Operations:
    first, *rest = (_sum(found, lambda s, i=i: s.operations[i]) for i in range(3))
    return Operations(first * elements, *rest)


def _alike(found: _Found, devices: int) -> dict[str, Any]:
    return {
        "parameters": _sum(found, lambda s: s.parameters),
        "gradients": _sum(found, lambda s: s.gradients),
        "owned": _sum(found, lambda s: s.parameters),
        "state": _sum(found, lambda s: s.state + s.others),
        "moved": _sum(found, lambda s: s.all_moved),
        "operations": _operations(found),
    }


def _spread(found: _Found, devices: int) -> dict[str, Any]:
    """Elements are divided evenly; matrices are put together on every device, one at a time."""
    part = 1 / devices
    whole = max((s.gathered for _, s in found), default=0.0) if devices > 1 else 0.0
    return {
        "parameters": _sum(found, lambda s: s.parameters) * part,
        "gradients": _sum(found, lambda s: s.gradients) * part,
        "owned": _sum(found, lambda s: s.parameters) * part,
        "state": _sum(found, lambda s: s.state * part + s.others),
        "whole": whole,
        "moved": _sum(found, lambda s: s.moved * part + 2 * s.others),
        "operations": _operations(found, part),
    }


def _owned(found: _Found, devices: int) -> dict[str, Any]:
    """Each tensor goes to the device with the least work so far, the largest first."""
    loads = [(0.0, i) for i in range(devices)]
    shares: dict[int, list[tuple[Tensors, _Share]]] = {}
    for tensors, share in sorted(_each(found), key=lambda x: -x[1].work):
        load, device = heapq.heappop(loads)
        heapq.heappush(loads, (load + share.work, device))
        shares.setdefault(device, []).append((tensors, share))
    busiest = max(shares.values(), key=lambda its: _sum(its, lambda s: s.work))
    state = max(_sum(its, lambda s: s.state + s.others) for its in shares.values())
    all_ = _alike(found, devices)
    return {
        **_alike(busiest, 1),
        **{k: all_[k] for k in ("parameters", "gradients")},
        "state": state,
    }


def _each(found: _Found) -> Iterator[tuple[Tensors, _Share]]:
    for tensors, share in found:
        one = Tensors(tensors.shape, 1, tensors.inner)
        yield from [(one, share)] * tensors.count
