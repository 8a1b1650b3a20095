"""The parts of a step: which parameters a kernel steps, and for which ones the rule is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from ravine.engines.cutting import is_cut
from ravine.engines.eager import Work
from ravine.engines.fused import ACROSS, joined, unfits
from ravine.engines.graph import Graph
from ravine.engines.overlap import sharing
from ravine.rule import RuleError
from ravine.torch import places, state
from ravine.torch.exchange import CALLS, KERNELS, Circle
from ravine.torch.member import Member
from ravine.torch.memory import apart, lacks_memory, span
from ravine.torch.narrow import is_narrow
from ravine.torch.offload import in_buckets
from ravine.torch.sharded import Sharded, alike, is_spread, local, refusal
from ravine.torch.signals import NOTHING, Given
from ravine.torch.stepping import CallPart, KernelPart, Wave
from ravine.torch.tensors import as_real, dimensions, seen_by, unfit

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["ELSEWHERE", "SEVERAL", "circle", "parts", "start"]

ELSEWHERE = "stepped eagerly in another process"
"""Why no kernel steps a sharded tensor, if another process has a reason."""


SEVERAL = "what all tensors share, on several devices"
"""Why no kernel steps a tensor of a rule that looks at all tensors at once."""


def circle(optimizer: RuleOptimizer) -> Circle | None:
    """The processes that must agree on each step; None if each can step alone."""
    return Circle.of(
        (p, optimizer.planned(group, dimensions(p))[0])
        for group in optimizer.param_groups
        for p in group["params"]
        if is_spread(p)
    )


def start(
    optimizer: RuleOptimizer,
    chosen: Sequence[tuple[int, int, torch.Tensor]],
    given: Given = NOTHING,
    circle: Circle | None = None,
    called: bool = False,
    zero: bool = False,
) -> list[Wave]:
    """Take the step of these parameters, each with its group's number and its own among all.

    circle: the processes that must agree on the step first. called: whether they have agreed, and some
    process steps by calls. zero: let kernels fill the gradients with zeros, where they can.
    """
    asks = circle is not None and not called
    try:
        waves = optimizer.parts(chosen, given, called, zero)
    except Exception:
        if circle is not None and asks:
            circle.fail()
        raise
    if circle is not None and asks:
        calls = [call for wave in waves for call in wave.calls]
        kernels = [kernel for wave in waves for kernel in wave.kernels]
        mine = any(call.spread for call in calls)
        marks = [x for its in (*(c.marks for c in calls), *(k.marks for k in kernels)) for x in its]
        signs = [x for its in kernels for x in its.signs]
        how = circle.agree(CALLS if mine else KERNELS, marks, type(optimizer).__name__, signs)
        called = how == CALLS and not mine
        if how == CALLS:
            waves = optimizer.parts(chosen, given, called=True, zero=zero)
    optimizer.called_elsewhere = called
    for wave in waves:
        wave.start(optimizer.seed)
    return waves


def parts(
    optimizer: RuleOptimizer,
    chosen: Iterable[tuple[int, int, torch.Tensor]],
    given: Given = NOTHING,
    called: bool = False,
    zero: bool = False,
) -> list[Wave]:
    """See :meth:`ravine.torch.RuleOptimizer.parts`."""
    plans: dict[tuple[int, int | None], tuple[Graph, dict[str, Any]]] = {}
    members: list[tuple[Graph, Member]] = []
    for number, place, p in chosen:
        if is_lazy(p):
            continue
        group = optimizer.param_groups[number]
        if p.grad is None and not (p.requires_grad and p.numel()):
            continue
        optimizer.spelling_of(group).check_parameter(p.shape)  # it may have been lazy
        for key in ((number, None), (number, dimensions(p))):
            if key not in plans:
                plans[key] = optimizer.planned(group, key[1], given)
            graph, hyper = plans[key]
            if not graph.by_ndim:
                break
        if p.grad is not None or state.is_begun(optimizer, group, graph, p):
            members.append((graph, _member(optimizer, place, key, group, graph, hyper, p, given)))
    in_waves, alone = sharing(
        [[span(x) for x in m.read] for _, m in members],
        [[span(x) for x in m.written] for _, m in members],
    )
    # One list for each wave and graph: groups may choose different rules, or other switches.
    todo: dict[tuple[int, Graph], list[tuple[Member, str]]] = {}
    across = joined(graph for graph, _ in members)
    for i, ((graph, member), wave) in enumerate(zip(members, in_waves, strict=True)):
        why = ACROSS if graph in across else ""
        if called and isinstance(member.work.p, Sharded):
            why = ELSEWHERE
        graph = across.get(graph, graph)
        at_once = graph.at_once
        if i in alone or (at_once and wave):
            why = "its gradient shares memory with it"
        todo.setdefault((0 if at_once else wave, graph), []).append((member, why))
    _check_at_once(optimizer, todo)
    zero = zero and optimizer._offload is None and _can_be_zeroed([m for _, m in members])
    waves = [Wave() for _ in range(1 + max((wave for wave, _ in todo), default=0))]
    for (wave, graph), its in todo.items():
        for here in (b for those in _by_device(graph, its) for b in _by_bucket(graph, those)):
            kernel, call = _parts_of(optimizer, graph, here, zero)
            waves[wave].kernels += [kernel] if kernel else []
            waves[wave].calls += [call] if call else []
    if optimizer.stochastic and any(wave.calls for wave in waves):
        raise RuleError(
            f"{type(optimizer).__name__}: stochastic_rounding needs a kernel for every parameter; "
            f"the engine is {optimizer.engine!r}"
        )
    graphs = [part.graph for wave in waves for part in wave.calls]
    if graphs and places.asked(optimizer) == "capturable":
        raise RuleError(
            f"{type(optimizer).__name__}: capturable=True needs a kernel for every parameter, and "
            f"{graphs[0].rule.name!r} has none for some of them; the engine is {optimizer.engine!r}"
        )
    if optimizer._how.get("gram") and any(graph.uses("newton_schulz") for graph in graphs):
        raise RuleError(
            f"{type(optimizer).__name__}: gram=True needs a kernel for every matrix; the engine is "
            f"{optimizer.engine!r}"
        )
    return waves


def _can_be_zeroed(members: Sequence[Member]) -> bool:
    """Whether kernels may fill the gradients with zeros: they are pointed at the very gradients, which
    autograd does not look at, and nothing else in the step has that memory.
    """
    its = [m for m in members if m.present]
    grads = [local(m.work.g) for m in its]
    return all(m.repeatable and not m.p.grad.requires_grad for m in its) and apart(  # type: ignore[union-attr]
        [*grads, *(x for m in its for x in m.written)],
        [local(x) for m in its for x in m.work.signals.values()],
    )


def _parts_of(
    optimizer: RuleOptimizer, graph: Graph, members: list[tuple[Member, str]], zero: bool
) -> tuple[KernelPart | None, CallPart | None]:
    """The steps of parameters with the same graph: by a kernel if possible, otherwise by calls."""
    full = [(m, why) for m, why in members if not m.empty]
    shared = {id(m.work): why for m, why in full}
    summed, gram = (bool(optimizer._how.get(k)) for k in ("grad_norm", "gram"))
    how = optimizer.stochastic, summed, places.asked(optimizer)

    def refusal_there(work: Work) -> str:
        return places.refusal(graph, work, *how)

    whys = unfits(
        graph,
        [m.work for m, _ in full],
        lambda work: (
            shared[id(work)] or unfit(work, graph, not work.signals) or refusal_there(work)
        ),
        optimizer._wanted,
        type(optimizer).__name__,
    )
    fit = [m for (m, _), why in zip(full, whys, strict=True) if not why]
    rest = [m for (m, _), why in zip(full, whys, strict=True) if why]
    rest += [m for m, _ in members if m.empty]
    if not all(m.repeatable for m in fit) or any(m.present for m in rest):
        fit = [m for m in fit if m.present]  # rebound at each step anyway
    rest = [m for m in rest if m.present]
    kernel = None
    if fit:
        there = places.keeps_scalars(graph, [m.work for m in fit], *how)
        kernel = KernelPart(
            graph, fit, optimizer.stochastic, summed, gram, zero, there, optimizer.state
        )
    return kernel, CallPart(graph, rest, optimizer._differentiable) if rest else None


def _by_bucket(
    graph: Graph, members: list[tuple[Member, str]]
) -> Iterable[list[tuple[Member, str]]]:
    """The parameters that are offloaded together, unless they have to do with each other; all others."""
    if graph.at_once or is_cut(graph) or not any(m.mirror for m, _ in members):
        return [members]
    return in_buckets(((m, why), m.mirror.size if m.mirror else 0) for m, why in members)


def _by_device(
    graph: Graph, members: list[tuple[Member, str]]
) -> Iterable[list[tuple[Member, str]]]:
    """The parameters of each device; all of them, to be stepped by calls, where they have to do with each
    other.
    """
    devices: dict[torch.device, list[tuple[Member, str]]] = {}
    for m, why in members:
        devices.setdefault(m.p.device, []).append((m, why))
    if len(devices) > 1 and graph.at_once:
        return [[(m, why or SEVERAL) for m, why in members]]
    return devices.values()


def _check_at_once(
    optimizer: RuleOptimizer, todo: Mapping[tuple[int, Graph], list[tuple[Member, str]]]
) -> None:
    """Raise ValueError if groups differ in a value that must be the same for all tensors."""
    name, rules = type(optimizer).__name__, [graph.rule for _, graph in todo if graph.at_once]
    twice = next((rule for rule in rules if rules.count(rule) > 1), None)
    if twice is not None:
        raise ValueError(
            f"{name}: {twice.name!r} looks at all tensors at once, so "
            "a switch must be on or off for all tensors alike; the param groups differ"
        )
    for (_, graph), members in todo.items():
        for slot, option in ((s, o) for s, options in graph.common.items() for o in options):
            values = dict.fromkeys(m.work.hyper[option] for m, _ in members)
            if len(values) > 1:
                raise ValueError(
                    f"{name}: {slot} is shared by all tensors and depends on {option}, which differs "
                    f"between the param groups: {', '.join(map(repr, values))}"
                )


def _member(
    optimizer: RuleOptimizer,
    place: int,
    key: tuple[int, int | None],
    group: Mapping[str, Any],
    graph: Graph,
    hyper: dict[str, Any],
    p: torch.Tensor,
    given: Given,
) -> Member:
    mirror = optimizer.mirror(p)
    here, grad = (p, p.grad) if mirror is None else (mirror.p, mirror.grad)
    present = grad is not None
    if present and p.is_meta and group.get("fused"):
        raise RuntimeError(
            f"{type(optimizer).__name__}: fused=True with a parameter of shape {tuple(p.shape)} on the meta "
            "device is not supported, as by torch: it has no values; leave fused out, or use to_empty()"
        )
    g: Any = grad if present else here.detach()
    if g.shape != p.shape:
        raise ValueError(
            f"{type(optimizer).__name__}: a gradient has shape {tuple(g.shape)} and its parameter "
            f"{tuple(p.shape)}; they must be the same (was the parameter's data replaced?)"
        )
    signals = given.of(graph, p, type(optimizer).__name__, here.device)
    for x in (here, g, *optimizer.state.get(p, {}).values()):
        if lacks_memory(local(x)):
            raise ValueError(
                f"{type(optimizer).__name__}: a parameter of shape {tuple(p.shape)}, its gradient or its "
                "state has less memory than its elements need; was a storage resized?"
            )
    begun = state.begun(optimizer, group, graph, hyper, p)
    its = optimizer.state[p] if begun.keys or begun.in_state else {}
    slots = {slot: _seen(graph, slot, its[key]) for slot, key in begun.keys.items()}
    rows, view = None, seen_by(graph, here)
    if why := refusal(p, graph, optimizer._differentiable, bool(optimizer._how.get("grad_norm"))):
        raise ValueError(f"{type(optimizer).__name__}: {why}")
    if is_spread(p):
        g = alike(g, p)
    elif g.is_sparse:
        if any(map(is_narrow, slots.values())):
            raise RuntimeError(
                f"{type(optimizer).__name__}: sparse gradients are not supported with state_dtype='8bit'; "
                "leave state_dtype out"
            )
        g, rows = _rows(optimizer, graph, g)

        def view(x: Any) -> Any:
            return as_real(x[rows]) if isinstance(x, torch.Tensor) else x

    elif optimizer._differentiable:

        def view(x: Any) -> Any:  # p itself changes in place afterwards
            return as_real(p.clone() if x is p else x)

    signals = {k: view(x) for k, x in signals.items()}
    g, slots = seen_by(graph, here)(g), {k: view(x) for k, x in slots.items()}
    ndim = dimensions(p) if rows is not None else None
    work = Work(
        view(here),
        g,
        slots,
        begun.taken + 1,
        hyper,
        signals=signals,
        seed=optimizer.seed,
        number=place,
        ndim=ndim,
    )
    counted = begun.count, begun.whole
    return Member(here, place, key, work, its, begun.keys, *counted, rows, present, mirror)


def _rows(
    optimizer: RuleOptimizer, graph: Graph, g: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The values of a sparse gradient, and their indices: only these elements are stepped."""
    if not graph.pointwise:
        raise RuntimeError(
            f"{type(optimizer).__name__}: a gradient is sparse, and {graph.rule.name!r} looks at whole "
            "tensors; sparse gradients are accepted by rules that work element by element"
        )
    g = g.coalesce()
    return g.values(), tuple(g.indices())


def _seen(graph: Graph, slot: str, kept: Any) -> Any:
    """A slot in the form that a rule receives: an array unchanged, and one number as a number."""
    scalar = graph.rule.slots[slot].kind == "scalar" and not kept.requires_grad
    return kept.item() if scalar else kept
