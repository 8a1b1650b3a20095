"""What a step works on, found once; the step is taken again while only gradients and numbers change.

`RuleOptimizer` looks at every parameter, group and state with care, and binds what it finds: tensors
that one kernel steps become a `KernelPart`, the others a `CallPart`. Where there are kernels only, the
next step asks `ready` whether anything but gradients and numbers is another than before, in a few
passes over lists that run in C; that is what remains of Python in a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import TYPE_CHECKING, Any

import torch

from ravine.engines.eager import Work, steps
from ravine.engines.graph import Graph
from ravine.ops import Tensors
from ravine.torch.foreach import Foreach
from ravine.torch.sharded import Sharded, Shards
from ravine.torch.tensors import as_real, single

if TYPE_CHECKING:
    from ravine.engines.cpu import Step
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["Bound", "CallPart", "KernelPart", "Member", "Row", "squares"]

_grad, _dtype, _is_cpu = attrgetter("grad"), attrgetter("dtype"), attrgetter("is_cpu")
_numel, _data_ptr, _is_neg = torch.Tensor.numel, torch.Tensor.data_ptr, torch.Tensor.is_neg
_step = itemgetter("step")
_CONTIGUOUS = torch.Tensor.is_contiguous
_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


@dataclass
class Member:
    """A parameter in a step: the work as an engine sees it, and where its results are kept.

    group: its number. state: the parameter's own, with the live slots under `keys`. rows: which of
    its elements take part, where the gradient is sparse; `work` holds copies of them then.
    """

    p: torch.Tensor
    group: int
    work: Work
    state: dict[str, Any]
    keys: Mapping[str, str]
    rows: tuple[torch.Tensor, ...] | None = None

    def store(self, new_p: Any, new_state: Mapping[str, Any], replace: bool = False) -> None:
        """Keep the results of a call; replace: in new tensors, so that autograd sees through them."""
        self.state["step"] = self.work.t
        self._write(as_real(self.p) if replace else self.work.p, self.p, new_p)
        for slot, value in new_state.items():
            key = self.keys[slot]
            if not isinstance(self.state[key], torch.Tensor):
                self.state[key] = value if replace else float(value)
            elif replace:
                like = self.state[key]
                self.state[key] = torch.view_as_complex(value) if like.is_complex() else value
            else:
                self._write(self.work.state[slot], self.state[key], value)

    def _write(self, view: Any, whole: torch.Tensor, value: Any) -> None:
        if self.rows is not None:
            real: Any = as_real(whole)
            real[self.rows] = torch.as_tensor(value, dtype=real.dtype)
        elif isinstance(value, torch.Tensor) or isinstance(view, Sharded):
            view.copy_(value)
        else:
            view.fill_(value)


@dataclass
class CallPart:
    """Parameters whose rule is called, because no kernel can step them or none is wanted."""

    graph: Graph
    members: list[Member]
    differentiable: bool

    def run(self) -> None:
        """Take the step."""
        for member in self.members:
            member.state["step"] = member.work.t
        members = [m for m in self.members if m.p.numel()]  # means of nothing are no numbers
        works = [m.work for m in members]
        if not self.differentiable:
            works = [single(work) for work in works]
        results = list(steps(self.graph.rule, works, self._bag(works)))
        for member, (new_p, new_state) in zip(members, results, strict=True):
            member.store(new_p, new_state, self.differentiable)

    def _bag(self, works: Sequence[Work]) -> type[Tensors] | None:
        """The bag that the rule is called on, once; without one it is called for each tensor.

        On an accelerator, and among processes, calls and messages cost more than numbers.
        """
        if any(isinstance(work.p, Sharded) for work in works):
            return Shards
        return Foreach if any(work.p.device.type != "cpu" for work in works) else None


@dataclass
class Row:
    """The tensors of a group that have taken as many steps: what the kernel reads once for all."""

    group: int
    t: int
    values: list[float]
    states: list[dict[str, Any]] = field(default_factory=list)


class KernelPart:
    """Parameters that one kernel steps, in place.

    step: the kernel, bound to tensors of the members' sizes and dtypes. rows: for each member the
    number of its row, which are numbered as they first appear.
    """

    def __init__(self, graph: Graph, step: Step, members: Sequence[Member], rows: Sequence[int]):
        self.graph, self.step = graph, step
        self.rows: list[Row] = []
        for member, row in zip(members, rows, strict=True):
            if row == len(self.rows):
                values = self._values(member.work.hyper)
                self.rows.append(Row(member.group, member.work.t - 1, values))
            self.rows[row].states.append(member.state)
        members = [members[i] for i in step.order]
        self.params = [m.p for m in members]
        self.states = [m.state for m in members]
        self.keys = [m.keys for m in members]
        # Copies of rows: the kernel works on them, so they are kept here, and are then put back.
        self.copied = [m for m in members if m.rows is not None]
        slots = step.columns[2:]
        self.columns = [[m.work.state[s] for m in members] for s in slots]
        self.slots = list(chain.from_iterable(self.columns))
        self.addresses = [
            *(m.work.p.data_ptr() for m in members),
            *(m.work.g.data_ptr() for m in members),
            *map(_data_ptr, self.slots),
        ]
        tensors = [*self.params, *(m.work.g for m in members), *self.slots]
        # Views (of complex numbers, of shards) are made anew each step.
        self.repeatable = all(
            type(m.p) in _PLAIN and m.work.p is m.p and type(m.work.g) is torch.Tensor
            for m in members
        ) and all(
            type(x) is torch.Tensor and m.state[m.keys[s]] is x
            for s, column in zip(slots, self.columns, strict=True)
            for m, x in zip(members, column, strict=True)
        )
        if not self.repeatable:
            self.kept = members  # with copies that the kernel is pointed to
            return
        contiguous = all(map(_CONTIGUOUS, tensors))
        self.layout: Callable[[torch.Tensor], Any] = (
            _CONTIGUOUS if contiguous else torch.Tensor.stride
        )
        self.facts = [list(map(fact, tensors)) for fact in (_numel, _dtype, self.layout)]
        self.getters = [
            (list(map(itemgetter, (keys[s] for keys in self.keys))), column)
            for s, column in zip(slots, self.columns, strict=True)
        ]

    def _values(self, hyper: Mapping[str, Any]) -> list[float]:
        return [0.0 if name == "t" else hyper[name] for name in self.step.inputs]

    def follow(self, group: int, hyper: Mapping[str, Any]) -> None:
        """Take over a group's new numbers."""
        for row in self.rows:
            if row.group == group:
                row.values = self._values(hyper)

    def ready(self) -> bool:
        """Whether parameters, gradients and states are what they were, but for the numbers in them."""
        grads = list(map(_grad, self.params))
        if not all(type(g) is torch.Tensor for g in grads) or any(map(_is_neg, grads)):
            return False
        tensors = [*self.params, *grads, *self.slots]
        numel, dtype, layout = self.facts
        try:
            if not (
                list(map(_numel, tensors)) == numel
                and list(map(_dtype, tensors)) == dtype
                and all(map(_is_cpu, tensors))
                and list(map(self.layout, tensors)) == layout
            ):
                return False
            for getters, column in self.getters:
                now = [get(state) for get, state in zip(getters, self.states, strict=True)]
                if not all(map(is_, now, column)):
                    return False
            for row in self.rows:
                if list(map(_step, row.states)) != [row.t] * len(row.states):
                    return False
        except (KeyError, RuntimeError):  # a slot is gone; a gradient is sparse
            return False
        self.addresses = list(map(_data_ptr, tensors))
        return True

    def run(self, seed: int | None, first: int = 0) -> None:
        """Take the step.

        seed: of stochastic rounding, if that is wanted. first: the number that the first parameter
        has there.
        """
        step = self.step
        step.point_all(self.addresses)
        counts = step.inputs[:1] == ("t",)
        for i, row in enumerate(self.rows):
            row.t += 1
            if counts:
                row.values[0] = row.t
            step.set_group(i, row.values)
        if step.slots:
            self._load_scalars()
        step.run(0 if seed is None else _mixed(seed, max(row.t for row in self.rows)), first)
        for row in self.rows:
            t = row.t
            for state in row.states:
                state["step"] = t
        if step.slots:
            self._store_scalars()
        if self.copied:
            with torch.no_grad():
                for member in self.copied:
                    slots = {s: member.work.state[s] for s in step.columns[2:]}
                    member.store(member.work.p, slots)
        torch.autograd.graph.increment_version(self.params)

    def _load_scalars(self) -> None:
        for i, state, keys in zip(self.step.order, self.states, self.keys, strict=True):
            self.step.set_slots(i, [state[keys[s]] for s in self.step.slots])

    def _store_scalars(self) -> None:
        for i, state, keys in zip(self.step.order, self.states, self.keys, strict=True):
            for slot, value in zip(self.step.slots, self.step.get_slots(i), strict=True):
                state[keys[slot]] = value


def _mixed(seed: int, t: int) -> int:
    """64 bits that differ from step to step and from seed to seed, and not by a pattern: splitmix64."""
    bits = (seed * 0x9E3779B97F4A7C15 + t * 0xD1B54A32D192ED03) % 2**64
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
    bits ^= bits >> 31
    return bits - 2**64 if bits >= 2**63 else bits


class Bound:
    """The parts of a step, and what must not have changed for them to be taken again."""

    def __init__(
        self,
        optimizer: RuleOptimizer,
        kernels: Sequence[KernelPart],
        calls: Sequence[CallPart],
    ):
        self.optimizer, self.kernels, self.calls = optimizer, kernels, calls
        self.state, self.states = optimizer.state, list(optimizer.state.values())
        groups = optimizer.param_groups
        self.groups = list(groups)
        self.lists = [group["params"] for group in groups]
        self.params = list(chain.from_iterable(self.lists))
        stepped = {id(p) for part in kernels for p in part.params}
        self.idle = [p for p in self.params if id(p) not in stepped]
        self.options = [dict(group) for group in groups]
        self.volatile = [not _constant(group) for group in groups]
        self.repeatable = not calls and bool(kernels) and all(k.repeatable for k in kernels)
        self.scaled, self.scale = optimizer.__dict__.get("grad_scale") is not None, 1.0

    def ready(self) -> bool:
        """Whether the step can be taken again; if not, nothing has been done."""
        optimizer, groups = self.optimizer, self.optimizer.param_groups
        if not self.repeatable or optimizer.state is not self.state:
            return False
        if len(groups) != len(self.groups) or not all(map(is_, groups, self.groups)):
            return False
        for group, params in zip(groups, self.lists, strict=True):
            if group["params"] is not params:
                return False
        params = list(chain.from_iterable(self.lists))
        if len(params) != len(self.params) or not all(map(is_, params, self.params)):
            return False
        states = self.state.values()
        if len(states) != len(self.states) or not all(map(is_, states, self.states)):
            return False
        if self.idle and not all(p.grad is None for p in self.idle):
            return False
        scaled = optimizer.__dict__.get("grad_scale") is not None
        if scaled is not self.scaled:
            return False
        for i, (group, options) in enumerate(zip(groups, self.options, strict=True)):
            same = len(group) == len(options) and all(map(is_, group.values(), options.values()))
            if (scaled or self.volatile[i] or not same) and not self._follow(i, group):
                return False
        return all(part.ready() for part in self.kernels)

    def _follow(self, i: int, group: dict[str, Any]) -> bool:
        """Take over a group's new options, as a scheduler sets them, if the kernels stay the same."""
        graphs = {part.graph for part in self.kernels for row in part.rows if row.group == i}
        graph, hyper = self.optimizer.planned(group)
        if graphs and graphs != {graph}:
            return False
        for part in self.kernels:
            part.follow(i, hyper)
        self.options[i], self.volatile[i] = dict(group), not _constant(group)
        return True

    def run(self) -> None:
        """Take the step."""
        scale = self.optimizer.__dict__.get("grad_scale")
        self.scale = 1.0 if scale is None else float(scale)
        for kernel in self.kernels:
            kernel.run(self.optimizer.seed)
        for call in self.calls:
            call.run()

    def grad_norm(self) -> float:
        """The Euclidean norm of all gradients of the last step, divided by the scale."""
        return math.sqrt(squares(self.kernels, self.calls)) / self.scale


def squares(kernels: Iterable[KernelPart], calls: Iterable[CallPart]) -> float:
    """The sum of the squares of all gradients of the last step."""
    called = (member.work.g for part in calls for member in part.members)
    by_hand = sum(g.detach().double().square().sum().item() for g in called)
    return by_hand + sum(part.step.squares() for part in kernels)


def _constant(group: Mapping[str, Any]) -> bool:
    """Whether none of a group's options can change without being replaced."""
    options: Iterable[Any] = (v for k, v in group.items() if k not in ("params", "param_names"))
    parts = chain.from_iterable(v if isinstance(v, tuple) else (v,) for v in options)
    return all(isinstance(x, (bool, int, float, str, type(None))) for x in parts)
