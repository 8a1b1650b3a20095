"""What a step works on, found once; the step is taken again while only gradients and numbers change.

`RuleOptimizer` looks at every parameter, group and state with care, and binds what it finds: tensors
that one kernel steps become a `KernelPart`, the others a `CallPart`. Where there are kernels only, the
next step asks `ready` whether anything but gradients and numbers is another than before, by a pass
over lists and by torch's guards, in C; that is what remains of Python in a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter, getitem, is_, itemgetter
from typing import TYPE_CHECKING, Any

import torch

from ravine.engines.eager import Work, steps
from ravine.engines.graph import Graph
from ravine.ops import Tensors
from ravine.torch.foreach import Foreach
from ravine.torch.sharded import Sharded, Shards
from ravine.torch.tensors import as_real, facts, single

if TYPE_CHECKING:
    from ravine.engines.cpu import Step
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["Bound", "CallPart", "KernelPart", "Member", "Row", "squares"]

_grad, _params, _step = attrgetter("grad"), itemgetter("params"), itemgetter("step")
_data_ptr, _values, _flat = torch.Tensor.data_ptr, dict.values, chain.from_iterable
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
                values = self.values(member.work.hyper)
                self.rows.append(Row(member.group, member.work.t - 1, values))
            self.rows[row].states.append(member.state)
        self.scalars = [
            (slot, [m.state for m in members], [m.keys[slot] for m in members])
            for slot in step.slots
        ]
        members = [members[i] for i in step.order]
        self.params = tuple(m.p for m in members)
        self.states = [m.state for m in members]
        self.keys = [m.keys for m in members]
        # Copies of rows: the kernel works on them, so they are kept here, and are then put back.
        self.copied = [m for m in members if m.rows is not None]
        slots = step.columns[2:]
        columns = [[m.work.state[s] for m in members] for s in slots]
        p, g = [m.work.p for m in members], [m.work.g for m in members]
        tensors = [*p, *g, *_flat(columns)]
        step.point_all(*map(_data_ptr, tensors))
        # Views (of complex numbers, of shards) are made anew each step.
        self.repeatable = all(
            type(m.p) in _PLAIN and m.work.p is m.p and type(m.work.g) is torch.Tensor
            for m in members
        ) and all(
            type(x) is torch.Tensor and m.state[m.keys[s]] is x
            for s, column in zip(slots, columns, strict=True)
            for m, x in zip(members, column, strict=True)
        )
        if not self.repeatable:
            self.kept = members  # with copies that the kernel is pointed to
            return
        self.facts = facts(tensors)
        # Where each slot of each tensor is kept, in the order of the columns.
        self.keepers = self.states * len(slots)
        self.names = [keys[s] for s in slots for keys in self.keys]

    def values(self, hyper: Mapping[str, Any]) -> list[float]:
        """What a row holds for these hyperparameters."""
        return [0.0 if name == "t" else hyper[name] for name in self.step.inputs]

    def ready(self) -> bool:
        """Whether parameters, gradients and states are what they were, but for the numbers in them."""
        try:
            slots = map(getitem, self.keepers, self.names)
            tensors = [*self.params, *map(_grad, self.params), *slots]
            if not self.facts.check(*tensors):
                return False
            for row in self.rows:
                if list(map(_step, row.states)) != [row.t] * len(row.states):
                    return False
        except KeyError:  # a slot is gone
            return False
        self.step.point_all(*map(_data_ptr, tensors))
        return True

    def run(self, seed: int | None, first: int = 0) -> None:
        """Take the step.

        seed: of stochastic rounding, if that is wanted. first: the number that the first parameter
        has there.
        """
        step = self.step
        counts = step.inputs[:1] == ("t",)
        for i, row in enumerate(self.rows):
            row.t += 1
            if counts:
                row.values[0] = row.t
            step.set_group(i, row.values)
        for slot, keepers, names in self.scalars:
            step.set_slot(slot, list(map(getitem, keepers, names)))
        step.run(0 if seed is None else _mixed(seed, max(row.t for row in self.rows)), first)
        for row in self.rows:
            t = row.t
            for state in row.states:
                state["step"] = t
        for slot, keepers, names in self.scalars:
            for state, name, value in zip(keepers, names, step.get_slot(slot), strict=True):
                state[name] = value
        if self.copied:
            with torch.no_grad():
                for member in self.copied:
                    slots = {s: member.work.state[s] for s in step.columns[2:]}
                    member.store(member.work.p, slots)
        torch.autograd.graph.increment_version(self.params)


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
        groups, self.seed = optimizer.param_groups, optimizer.seed
        self.then = self._now()
        stepped = {id(p) for part in kernels for p in part.params}
        self.idle = [p for group in groups for p in group["params"] if id(p) not in stepped]
        self.scaled, self.scale = optimizer.__dict__.get("grad_scale") is not None, 1.0
        self.volatile = self.scaled or not _constant(groups)
        self.repeatable = not calls and bool(kernels) and all(k.repeatable for k in kernels)

    def _now(self) -> list[Any]:
        """The groups, parameters and states, which must stay what they are, and the groups' options."""
        groups = self.optimizer.param_groups
        params, options = map(_params, groups), map(_values, groups)
        states = self.optimizer.state.values()
        return [*groups, *_flat(params), *states, *_flat(options)]

    def ready(self) -> bool:
        """Whether the step can be taken again; if not, nothing has been done."""
        if not self.repeatable:
            return False
        now = self._now()
        same = len(now) == len(self.then) and all(map(is_, now, self.then))
        if self.idle and not all(p.grad is None for p in self.idle):
            return False
        if self.scaled is not (self.optimizer.__dict__.get("grad_scale") is not None):
            return False
        if (self.volatile or not same) and not self._follow(now):
            return False
        return all(part.ready() for part in self.kernels)

    def _follow(self, now: list[Any]) -> bool:
        """Take over new options, as a scheduler sets them, if all else stays the same."""
        groups = self.optimizer.param_groups
        options = sum(map(len, groups))
        if len(now) != len(self.then) or not all(map(is_, now[:-options], self.then)):
            return False
        plans = [self.optimizer.planned(group) for group in groups]
        for part in self.kernels:
            if any(plans[row.group][0] is not part.graph for row in part.rows):
                return False
        for part in self.kernels:
            for row in part.rows:
                row.values = part.values(plans[row.group][1])
        self.then, self.volatile = now, self.scaled or not _constant(groups)
        return True

    def run(self) -> None:
        """Take the step."""
        scale = self.optimizer.__dict__.get("grad_scale")
        self.scale = 1.0 if scale is None else float(scale)
        for kernel in self.kernels:
            kernel.run(self.seed)
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


def _constant(groups: Iterable[Mapping[str, Any]]) -> bool:
    """Whether none of the groups' options can change without being replaced."""
    named = _flat(group.items() for group in groups)
    options = [v for k, v in named if k != "params" and k != "param_names"]
    parts = _flat(v for v in options if type(v) is tuple)
    kinds = {type(v) for v in options} - {tuple} | {type(v) for v in parts}
    return all(issubclass(kind, (bool, int, float, str, type(None))) for kind in kinds)
