"""What a step works on, found once, and taken again while nothing but gradients and numbers changes.

`RuleOptimizer` looks at every parameter, group and state with care, and binds what it finds: tensors
that one kernel steps become a `KernelPart`, the others a `CallPart`. A part of a kernel holds every
parameter that has ever had a gradient; those that have none at a step are left out by their address.
Between steps nothing here refers to a tensor: parameters and states are looked up where the optimizer
keeps them, so that what is taken out of it is freed.

Where there are kernels only, the next step asks `take`, which compares what it finds with what was
bound: torch's own guards do it in one call in C, and addresses say whether memory has moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter, getitem, is_, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ravine.engines.eager import Work, steps
from ravine.engines.fused import bind
from ravine.engines.graph import Graph
from ravine.ops import Tensors
from ravine.torch.foreach import Foreach
from ravine.torch.memory import facts, intercepted
from ravine.torch.options import Options
from ravine.torch.sharded import Sharded, Shards
from ravine.torch.state import number
from ravine.torch.tensors import as_real, dtype_name, single

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["Bound", "CallPart", "KernelPart", "Member", "READY", "Wave"]

_grad, _params = attrgetter("grad"), itemgetter("params")
_data_ptr, _flat = torch.Tensor.data_ptr, chain.from_iterable
_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
READY = 0
"""What a kernel says when it has taken a step."""


@dataclass
class Member:
    """A parameter in a step: the work as an engine sees it, and where its results are kept.

    place: its place among all parameters. key: what its hyperparameters are found by, its group's
    number first. state: the parameter's own, with the live slots under `keys`. count: the steps it has taken, None where nobody counts. whole: whether `count` is kept in
    the state as an int. rows: which of its elements take part, where the gradient is sparse; `work`
    holds copies of them then. present: whether it has a gradient in this step.
    """

    p: torch.Tensor
    place: int
    key: tuple[int, int | None]
    work: Work
    state: dict[str, Any]
    keys: Mapping[str, str]
    count: torch.Tensor | None
    whole: bool = False
    rows: tuple[torch.Tensor, ...] | None = None
    present: bool = True

    @property
    def empty(self) -> bool:
        """Whether it has no elements (that have a gradient), so that there is nothing to compute."""
        return isinstance(self.work.p, torch.Tensor) and not self.work.p.numel()

    @property
    def written(self) -> list[torch.Tensor]:
        """The tensors that a step changes."""
        arrays = [x for x in self.work.state.values() if type(x) in _PLAIN]
        return [self.p, *arrays] if type(self.p) in _PLAIN else arrays

    @property
    def repeatable(self) -> bool:
        """Whether the engine sees the very tensors that the optimizer has, not views or copies."""
        return (
            self.work.p is self.p
            and type(self.work.g) is torch.Tensor
            and self.rows is None
            and not self.whole
            and all(self.state[key] is self.slots[slot] for slot, key in self.keys.items())
        )

    @property
    def slots(self) -> dict[str, Any]:
        """The slots as tensors: arrays as the engine sees them, numbers where they are kept."""
        return {
            slot: self.work.state[slot]
            if isinstance(self.work.state[slot], (torch.Tensor, Sharded))
            else self.state[key]
            for slot, key in self.keys.items()
        }

    def store(self, new_p: Any, new_state: Mapping[str, Any], replace: bool = False) -> None:
        """Keep the results of a call; replace: in new tensors, so that autograd sees through them."""
        self._write(as_real(self.p) if replace else self.work.p, self.p, new_p)
        for slot, value in new_state.items():
            key, state = self.keys[slot], self.state
            if replace:
                value = value if isinstance(value, torch.Tensor) else number(value)
                state[key] = torch.view_as_complex(value) if state[key].is_complex() else value
            elif isinstance(self.work.state[slot], (torch.Tensor, Sharded)):
                self._write(self.work.state[slot], state[key], value)
            else:
                state[key].fill_(float(value))
        self.counted()

    def counted(self) -> None:
        """Keep that the step has been taken."""
        if self.count is not None:
            self.count.fill_(self.work.t)
        self.keep_count()

    def keep_count(self) -> None:
        """Where a count is an int in the state, take it over from the tensor that a kernel counts in."""
        if self.whole and self.count is not None and "step" in self.state:
            self.state["step"] = int(self.count)

    def _write(self, view: Any, whole: torch.Tensor, value: Any) -> None:
        if self.rows is not None:
            real: Any = as_real(whole)
            real[self.rows] = torch.as_tensor(value, dtype=real.dtype)
        elif isinstance(value, torch.Tensor) or isinstance(view, Sharded):
            view.copy_(value)
        else:
            view.fill_(value)


class CallPart:
    """Parameters whose rule is called, because no kernel can step them or none is wanted."""

    def __init__(self, graph: Graph, members: Sequence[Member], differentiable: bool):
        self.graph, self.differentiable = graph, differentiable
        self.members = [m for m in members if m.present]
        self.results: list[Any] = []

    def compute(self) -> None:
        """Find the results, and change nothing yet."""
        members = [m for m in self.members if not m.empty]  # means of nothing are no numbers
        works = [m.work for m in members]
        if not self.differentiable:
            works = [single(work) for work in works]
        self.results = list(steps(self.graph.rule, works, self._bag(works)))

    def store(self) -> None:
        """Keep the results."""
        results = iter(self.results)
        for member in self.members:
            if not member.empty:
                member.store(*next(results), self.differentiable)
            else:
                member.counted()

    def squares(self) -> float:
        """The sum of the squared gradients."""
        return sum(m.work.g.detach().double().square().sum().item() for m in self.members)

    def _bag(self, works: Sequence[Work]) -> type[Tensors] | None:
        """The bag that the rule is called on, once; without one it is called for each tensor.

        On an accelerator, and among processes, calls and messages cost more than numbers.
        """
        if any(isinstance(work.p, Sharded) for work in works):
            return Shards
        return Foreach if any(work.p.device.type != "cpu" for work in works) else None


class Look(NamedTuple):
    """What a part finds before a step: addresses, and the tensors that they are of, kept alive."""

    addresses: bytes
    tensors: list[torch.Tensor]
    present: Sequence[torch.Tensor]


class KernelPart:
    """Parameters that one kernel steps, in place.

    places: the parameters' among all of the optimizer's, in the order of the tables. rows: what the
    hyperparameters of each row of the tables are found by. repeatable: whether the step can be taken
    again with `look` and `run`; the first time it is taken by `start`.
    """

    def __init__(self, graph: Graph, members: Sequence[Member], stochastic: bool, squares: bool):
        self.graph = graph
        rows: dict[tuple[int, int | None], int] = {}
        numbers = [rows.setdefault(m.key, len(rows)) for m in members]
        self.rows = list(rows)
        self.step = step = bind(
            graph,
            [m.work for m in members],
            dtype_name,
            numbers,
            squares=squares,
            counts=["float64" if m.count is None else dtype_name(m.count) for m in members],
            numbers=[m.place for m in members],
            stochastic=stochastic,
        )
        self.inputs = {name: i for i, name in enumerate(step.inputs)}
        first = dict(zip(reversed(numbers), reversed(members), strict=True))
        self.values = [self._values(first[row].work.hyper) for row in range(len(rows))]
        self.members = members = [members[i] for i in step.order]
        self.places = [m.place for m in members]
        self.pick = _picker(self.places)
        self.present = sum(m.present for m in members)
        self.repeatable = all(m.repeatable for m in members)
        self.addresses = b""
        if not self.repeatable:
            return
        # What of the state is looked up each time: slot after slot, and the counts if they are there.
        names = [[m.keys[slot] for m in members] for slot in step.columns[2:-1]]
        self.counts: list[torch.Tensor] = []
        if all("step" in m.state and m.state["step"] is m.count for m in members):
            names.append(["step"] * len(members))
        else:
            self.counts = [m.count for m in members if m.count is not None]
        self.uncounted = (0,) * (members[0].count is None) * len(members)
        self.names, self.keepers = list(_flat(names)), len(names)
        self.pick_states: Callable[[Any], Any] | None = None
        self.gradients = [(m.work.g.shape, m.work.g.stride(), m.work.g.dtype) for m in members]
        self.absent: list[torch.Tensor] = []
        tensors = [*(m.work.g for m in members), *(m.p for m in members)]
        self.facts = facts([*tensors, *self._kept([m.state for m in members])])

    def _kept(self, states: Sequence[Any]) -> list[torch.Tensor]:
        """The slots of all parameters, column after column, and their counts."""
        return [*map(getitem, [*states] * self.keepers, self.names), *self.counts]

    def _values(self, hyper: Mapping[str, Any]) -> list[float]:
        return [hyper[name] for name in self.step.inputs]

    def set(self, row: int, hyper: Mapping[str, Any]) -> None:
        """Take over the hyperparameters of a row."""
        self.values[row] = self._values(hyper)
        self.step.set_group(row, self.values[row])

    def set_one(self, row: int, name: str, value: float) -> bool:
        """Take over one hyperparameter of a row, unless it is a switch that changes sides."""
        if self.graph.switches.get(name, True) is not bool(value) and name in self.graph.switches:
            return False
        at = self.inputs.get(name)
        if at is not None:
            self.values[row][at] = value
            self.step.set_group(row, self.values[row])
        return True

    def start(self, seed: int | None) -> None:
        """Take the step for which the members were found, and let go of them."""
        members, self.members = self.members, []
        slots = [[m.slots[s] for m in members] for s in self.step.columns[2:-1]]
        addresses = [
            *(m.work.p.data_ptr() for m in members),
            *(m.work.g.data_ptr() if m.present else 0 for m in members),
            *map(_data_ptr, _flat(slots)),
            *(0 if m.count is None else m.count.data_ptr() for m in members),
        ]
        present = [m.p for m in members if m.present]
        look = Look(self.step.pack(*addresses), [], present)
        if self.run(look, seed) != READY:  # all of this was looked up a moment ago
            raise RuntimeError("memory or a step count has changed while a step was being taken")
        for member in members:
            if member.rows is not None:
                columns = {s: member.work.state[s] for s in self.step.kernel.columns[2:]}
                with torch.no_grad():
                    member.store(member.work.p, columns)
            member.keep_count()

    def look(self, params: Sequence[torch.Tensor], states: Sequence[Any]) -> Look | None:
        """Find what a next step works on; None if it is anything but new gradients and numbers."""
        grads: list[Any] = list(map(_grad, params))
        try:
            kept = self._kept(states)
        except (KeyError, TypeError):  # a slot is gone
            return None
        present = params
        if not self.facts.check(*grads, *params, *kept):
            if not any(g is None for g in grads):
                return None
            # In the place of a gradient that is not there: a tensor like it, without memory.
            self.absent = self.absent or list(map(_without_memory, self.gradients))
            present = [p for p, g in zip(params, grads, strict=True) if g is not None]
            pairs = zip(grads, self.absent, strict=True)
            grads = [instead if g is None else g for g, instead in pairs]
            if not self.facts.check(*grads, *params, *kept):
                return None
        tensors = [*params, *grads, *kept]
        addresses = self.step.pack(*map(_data_ptr, tensors), *self.uncounted)
        begin, end = 8 * len(params), 16 * len(params)
        before = self.addresses
        if before[:begin] != addresses[:begin] or before[end:] != addresses[end:]:
            return None  # memory has moved
        return Look(addresses, tensors, present)

    def run(self, look: Look, seed: int | None) -> int:
        """Take the step, unless the kernel refuses it: 0 if it was taken."""
        self.present = len(look.present)
        if not self.present:
            return READY
        self.step.table[:] = look.addresses
        status = self.step.run(self.present, seed or 0)
        if status == READY:
            self.addresses = look.addresses
            torch.autograd.graph.increment_version(look.present)
        return status

    def squares(self) -> float:
        """The sum of the squared gradients of the last step."""
        return self.step.squares() if self.present else 0.0


def _without_memory(like: tuple[torch.Size, tuple[int, ...], torch.dtype]) -> torch.Tensor:
    shape, stride, dtype = like
    made = torch.empty_strided(shape, stride, dtype=dtype, device="cpu")
    made.untyped_storage().resize_(0)
    return made


@dataclass
class Wave:
    """The parts of a step that can be taken at the same time, since they share no memory."""

    kernels: list[KernelPart] = field(default_factory=list)
    calls: list[CallPart] = field(default_factory=list)

    def start(self, seed: int | None) -> None:
        """Take the step: nothing is stored before everything that can fail has been computed."""
        for call in self.calls:
            call.compute()
        for kernel in self.kernels:
            kernel.start(seed)
        for call in self.calls:
            call.store()


class Bound:
    """A step, and what must not have changed for it to be taken again."""

    def __init__(self, optimizer: RuleOptimizer, waves: Sequence[Wave], summed: bool):
        groups = optimizer.param_groups
        self.key, self.owners = object(), 0
        self.many = sum(len(group["params"]) for group in groups)
        self.kernels = [kernel for wave in waves for kernel in wave.kernels]
        stepped = {place for kernel in self.kernels for place in kernel.places}
        self.idle = [place for place in range(self.many) if place not in stepped]
        self.repeatable = (
            bool(self.kernels)
            and not any(wave.calls for wave in waves)
            and all(kernel.repeatable for kernel in self.kernels)
            and all(type(group) is Options for group in groups)
        )
        self.rows: list[list[tuple[KernelPart, int, int | None]]] = [[] for _ in groups]
        for kernel in self.kernels:
            for row, (group, ndim) in enumerate(kernel.rows):
                self.rows[group].append((kernel, row, ndim))
        self.scaled = optimizer.__dict__.get("grad_scale") is not None
        self.scale = optimizer.scale
        self.called = sum(call.squares() for wave in waves for call in wave.calls) if summed else 0.0
        if self.repeatable:
            for group in groups:
                group.follow(self.key)

    def take(self, optimizer: RuleOptimizer) -> Sequence[int] | None:
        """Take the step again. Returns the places of the parameters that are not stepped yet and must
        be bound anew: none where all is as it was; None, and nothing is done, where anything changed.
        """
        if not self.repeatable:
            return None
        with self.kernels[0].step.lock:
            looks = self.ready(optimizer)
            if looks is None:
                return None
            seed = optimizer.seed
            for i, (kernel, look) in enumerate(zip(self.kernels, looks, strict=True)):
                if kernel.run(look, seed) != READY:
                    return [place for rest in self.kernels[i:] for place in rest.places]
        return ()

    def ready(self, optimizer: RuleOptimizer) -> list[Look] | None:
        """What the kernels work on if the step is taken again; None if it cannot be."""
        if not self.repeatable or intercepted() or not self._follow(optimizer):
            return None
        return self._look(optimizer)

    def _look(self, optimizer: RuleOptimizer) -> list[Look] | None:
        params = list(_flat(map(_params, optimizer.param_groups)))
        if len(params) != self.many:
            return None
        if self.idle and not all(params[place].grad is None for place in self.idle):
            return None
        owners, states = list(optimizer.state), list(optimizer.state.values())
        looks = []
        for kernel in self.kernels:
            mine, its = kernel.pick(params), ()
            if kernel.keepers:
                if kernel.pick_states is None:
                    kernel.pick_states, self.owners = _places(owners, mine), len(owners)
                if kernel.pick_states is None:
                    return None
                if len(owners) != self.owners or not all(
                    map(is_, kernel.pick_states(owners), mine)
                ):
                    return None
                its = kernel.pick_states(states)
            look = kernel.look(mine, its)
            if look is None:
                return None
            looks.append(look)
        return looks

    def _follow(self, optimizer: RuleOptimizer) -> bool:
        """Take over new options, as a scheduler sets them; whether that was possible."""
        groups = optimizer.param_groups
        if len(groups) != len(self.rows):
            return False
        scale = optimizer.__dict__.get("grad_scale")
        if (scale is not None) is not self.scaled:
            return False
        for group, rows in zip(groups, self.rows, strict=True):
            if type(group) is not Options:
                return False
            if group.followed is self.key and not self.scaled:
                continue
            if self.scaled or not self._follow_some(group, rows):
                for kernel, row, ndim in rows:
                    graph, hyper = optimizer.planned(group, ndim)
                    if graph is not kernel.graph:
                        return False
                    kernel.set(row, hyper)
            group.follow(self.key)
        self.scale = optimizer.scale
        return True

    def _follow_some(
        self, group: Options, rows: Iterable[tuple[KernelPart, int, int | None]]
    ) -> bool:
        """The same where a few numbers changed that are hyperparameters as they are."""
        if group.last is not self.key:
            return False
        for name in group.changed:
            if name in group.known:
                value = group.get(name)
                if type(value) is not float or name not in group.direct:
                    return False
                if not all(kernel.set_one(row, name, value) for kernel, row, _ in rows):
                    return False
        return bool(group.changed)

    def grad_norm(self) -> float:
        """The Euclidean norm of all gradients of the last step, divided by the scale."""
        return math.sqrt(self.squares()) / self.scale

    def squares(self) -> float:
        """The sum of the squares of all gradients of the last step."""
        return self.called + sum(kernel.squares() for kernel in self.kernels)


def _picker(places: Sequence[int]) -> Callable[[Any], Any]:
    """What picks the items at these places out of a list."""
    first, many = places[0], len(places)
    if list(places) == list(range(first, first + many)):
        return itemgetter(slice(first, first + many))
    return itemgetter(*places)


def _places(owners: Sequence[torch.Tensor], params: Sequence[torch.Tensor]) -> Any:
    """What picks the parameters, or what belongs to them, out of all that have a state."""
    known = {id(p): i for i, p in enumerate(owners)}
    places = [known.get(id(p)) for p in params]
    return None if None in places else _picker(places)  # type: ignore[arg-type]
