"""The parts of a step: parameters that one kernel steps, in place, and those whose rule is called.

The part of a kernel contains every parameter that has ever had a gradient; those without one in a step are
left out by their address. It can step them again as long as they are the same tensors at the same addresses;
torch's guards check new gradients in one C call. It holds no references to gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, compress, starmap
from operator import attrgetter, ge, getitem, is_
from typing import TYPE_CHECKING, Any, cast

import torch

from ravine.engines.cutting import is_cut
from ravine.engines.devices import Remote
from ravine.engines.eager import Work, steps
from ravine.engines.fused import bind
from ravine.engines.graph import Graph
from ravine.ops import Tensors
from ravine.torch.exchange import Exchange, mark
from ravine.torch.foreach import Foreach
from ravine.torch.matrices import Stacks
from ravine.torch.member import Member
from ravine.torch.memory import apart, facts, is_cut_short
from ravine.torch.owners import Owners
from ravine.torch.places import place, read
from ravine.torch.sharded import Sharded, Shards, is_spread, local
from ravine.torch.state import State
from ravine.torch.tensors import dtype_name, single

if TYPE_CHECKING:
    from ravine.engines.cpu import Step
    from ravine.engines.owned import Owned
    from ravine.torch.offload import Mirror

__all__ = ["READY", "CallPart", "KernelPart", "Wave"]

_grad = attrgetter("grad")
_data_ptr, _flat = torch.Tensor.data_ptr, chain.from_iterable
_increment_version = torch.autograd.graph.increment_version
_storage, _nbytes = torch.Tensor.untyped_storage, torch.UntypedStorage.nbytes
READY = 0
"""The status of a kernel that has taken a step."""


class CallPart:
    """Parameters whose rule is called, because no kernel can step them or none is wanted."""

    def __init__(self, graph: Graph, members: Sequence[Member], differentiable: bool):
        self.graph, self.differentiable = graph, differentiable
        self.members = [m for m in members if m.present]
        self.spread = any(isinstance(m.work.p, Sharded) for m in self.members)
        self.results: list[Any] = []
        for m in self.members:  # each call reads it
            m.count_on(torch.device("cpu"))

    def compute(self) -> None:
        """Compute the results, without changing anything yet."""
        for m in self.members:
            if m.mirror is not None:
                m.mirror.wait()
        works = [m.plain for m in self.members]
        if not self.differentiable:
            hypers = {id(work.hyper): read(work.hyper, "") for work in works}
            works = [single(replace(work, hyper=hypers[id(work.hyper)])) for work in works]
        self.results = steps(self.graph.rule, works, self._bag(works))

    def store(self) -> None:
        """Store the results."""
        for member, (new_p, new_state) in zip(self.members, self.results, strict=True):
            member.store(new_p, new_state, self.differentiable)
            if member.mirror is not None:
                member.mirror.put()  # its gradient may be asked for in `squares`

    @property
    def marks(self) -> list[int | None]:
        """What tells which parameters take part, where processes have to agree on them."""
        return [mark(m.place, self.graph, m.p) for m in self.members]

    def squares(self) -> float:
        """The sum of the squared gradients."""
        return sum(m.work.g.detach().double().square().sum().item() for m in self.members)

    def _bag(self, works: Sequence[Work]) -> type[Tensors] | None:
        """The bag on which the rule is called once; without one, it is called for each tensor.

        On an accelerator, and between processes, calls and messages cost more than computing.
        """
        if self.spread:
            return Shards
        return Foreach if any(work.p.device.type != "cpu" for work in works) else None


class KernelPart:
    """Parameters that one kernel steps, in place.

    places: the parameters' indices among all of the optimizer's, in the order of the tables. rows: identify
    the hyperparameters of each row of the tables. zeroes: whether it fills the gradients with zeros.
    on_device: whether all scalars are computed on the device; counts and scalar slots are moved there.
    repeatable: whether the step can be repeated with `look` and `run`; the first time, it is taken by
    `start`. joint: whether parameters are sharded and the rule uses whole ones. owned: whether each matrix
    then has an owner (engines/owned.py). exchange: otherwise, the messages between the kernel's passes.
    """

    def __init__(
        self,
        graph: Graph,
        members: Sequence[Member],
        stochastic: bool,
        squares: bool,
        gram: bool = False,
        zeroes: bool = False,
        on_device: bool = False,
        states: State | None = None,
    ):
        self.graph, self.zeroes, self.on_device = graph, zeroes, on_device
        where = place(members[0].p.device)
        self.device = None if where is None else members[0].p.device
        if self.device is not None:
            moved: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
            for m in members:
                m.move(moved, self.device if on_device else torch.device("cpu"))
            for old, new in moved.values():
                if states is not None:
                    states.moved(old, new)
        self.numbers: dict[tuple[int, str], torch.Tensor] = {}  # hyperparameters there
        self.found: torch.Tensor | None = None
        rows: dict[tuple[int, int | None], int] = {}
        numbers = [rows.setdefault(m.key, len(rows)) for m in members]
        self.rows = list(rows)
        spread = any(isinstance(m.work.p, Sharded) for m in members)
        self.joint, self.owned = spread, spread and is_cut(graph)
        stacks = Stacks(gram, members[0].p.device)
        works = [m.part for m in members]
        if where is not None:
            first = {m.key: work.hyper for work, m in zip(works, members, strict=True)}
            hypers = {key: self._there(row, first[key]) for key, row in rows.items()}
            works = [
                replace(work, hyper=hypers[m.key]) for work, m in zip(works, members, strict=True)
            ]
        self.step = step = bind(
            graph,
            works,
            dtype_name,
            numbers,
            stacks,
            squares=squares,
            zero=zeroes,
            wholes=[m.work.p.shape for m in members] if spread else None,
            owners=Owners(graph, [m.work for m in members], [m.place for m in members])
            if self.owned
            else None,
            counts=["float64" if m.count is None else dtype_name(m.count) for m in members],
            numbers=[m.place for m in members],
            stochastic=stochastic,
            place=where,
            **({"on_device": True} if on_device else {}),
        )
        self.members = members = [members[i] for i in step.order]
        self.places = [m.place for m in members]
        self.params = [m.p for m in members]
        self.present = self.params
        mirrors = [m.mirror for m in members]
        self.mirrors = mirrors if any(mirrors) else []
        self.sources: list[Any] = [m.mirror or m.p for m in members]  # where the gradients are
        self.exchange = None
        if spread and not self.owned:
            self.exchange = Exchange(cast("Step", step), [m.work.p for m in members], self.places)
        self._take_part([m.present for m in members])
        # Other threads may replace what is in a state, or where a tensor is: each is looked up once. What the
        # kernel is pointed at is what is held until the step is taken, and compared before the next.
        slots = [[local(m.slots[slot]) for m in members] for slot in step.state[:-1]]
        if where is not None:
            for slot, tensors in zip(step.state, slots, strict=False):
                if graph.rule.slots[slot].matrix:
                    stacks.hold(slot, tensors)
        counts = [m.count for m in members]
        self.held: Any = slots
        kept: list[Any] = [m.state[m.keys[slot]] for slot in step.state[:-1] for m in members]
        at = [
            self._point(column, tensors)
            for column, tensors in zip(
                ("p", *step.state),
                ([local(m.work.p) for m in members], *slots, counts),
                strict=True,
            )
        ]
        self.signals = step.kernel.signals
        signals = [[local(m.work.signals[name]) for m in members] for name in self.signals]
        self.kept_grads: tuple[list[Any], list[int]] | None = None
        self.repeatable = all(m.repeatable for m in members) and all(
            map(is_, map(local, kept), _flat(slots))
        )
        if not self.repeatable:
            return
        grads = [local(m.work.g) for m in members]
        self.gradients = [(g.shape, g.stride(), g.dtype, g.device) for g in grads]
        self.addresses: list[int] = []  # of gradients, as the kernel has them; none: it has others
        self.sizes = [g.untyped_storage().nbytes() for g in grads]  # how many bytes were enough
        self.hollow = [i for i, g in enumerate(grads) if not g.numel()]
        self.absent: list[torch.Tensor] = []  # stand in the places of gradients that are not there
        # What the state must have where it is looked up: slot after slot, and then the counts, unless
        # torch's class keeps none.
        names = [[m.keys[slot] for m in members] for slot in step.state[:-1]]
        if all("step" in m.state and m.state["step"] is m.count for m in members):
            names.append(["step"] * len(members))
            kept += counts
        own = counts if len(names) < len(step.state) and counts[0] is not None else []
        self.states = [m.state for m in members] * len(names)
        self.names, self.kept = list(_flat(names)), kept
        fixed = [*self.params, *kept, *own]
        self.fixed: list[Any] = list(map(local, fixed))
        self.arrays = len(members) * (1 + len(step.arrays))  # the first of these, which it writes
        self.where = list(_flat(at))[: len(fixed)]
        # Matrices may be transposed in their place; their strides are then others.
        self.matrices = [x for x in self.fixed if x.ndim > 1]
        self.facts = facts([*grads, *_flat(signals), *self.matrices])
        # What is spread has its part in a tensor that another may have taken the place of.
        self.spread = [x for x in fixed if is_spread(x)]
        self.parts = list(map(local, self.spread))

    def keep(self, grads: list[torch.Tensor]) -> None:
        """From now on, first check that these are the gradients, and that no address has changed.

        The state must report replacements to its optimizer, so that it need not be checked.
        """
        plain = not (self.signals or self.spread or self.hollow or self.joint)
        if self.repeatable and plain:
            self.kept_grads = grads, list(map(_data_ptr, grads))

    def _is_as_kept(self) -> bool:
        """Whether the step can be taken with the stored gradients, once the kernel points at them."""
        assert self.kept_grads is not None
        grads, addresses = self.kept_grads
        if not (
            all(map(is_, map(_grad, self.params), grads))
            and list(map(_data_ptr, grads)) == addresses
            and list(map(_data_ptr, self.fixed)) == self.where
            and self.facts.check(*grads, *self.matrices)
        ):
            return False
        if self.here is not None:
            self._take_part()
        if self.addresses is not addresses:
            self.step.place("g", addresses)
            self.addresses = addresses
        return True

    def set(self, row: int, hyper: Mapping[str, Any]) -> None:
        """Apply the hyperparameters of a row."""
        if self.device is not None:
            hyper = self._there(row, hyper)
        self.step.set_group(row, [hyper[name] for name in self.step.inputs])

    def _there(self, row: int, hyper: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters of a row, those in tensors by their address on the device."""
        if not self.on_device:
            return read(hyper, "")
        found = dict(hyper)
        for name, x in hyper.items():
            if isinstance(x, torch.Tensor):
                self.numbers[row, name] = there = self._number(x)
                found[name] = Remote(there.data_ptr())
        return found

    def _number(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach().to(self.device, torch.float64, non_blocking=True)

    def skip_if(self, found: torch.Tensor | None) -> None:
        """Take the next steps only if a number, which the device reads, is 0."""
        if found is not None or self.found is not None:
            self.found = None if found is None else self._number(found)
            step: Any = self.step
            step.skip_if(0 if self.found is None else self.found.data_ptr())

    def start(self, seed: int) -> None:
        """Take the step for which the members were collected, and release them."""
        members, self.members = self.members, []
        grads = [local(m.work.g) for m in members]
        addresses = [
            self._address(g) if m.present else 0 for g, m in zip(grads, members, strict=True)
        ]
        self.step.place("g", addresses)
        for name in self.signals:
            signals = [local(m.work.signals[name]) for m in members]
            self.step.place(name, list(map(self._address, signals)))
        with self.step.lock:
            if self.run(seed, grads) != READY:  # all of this was just looked up
                raise RuntimeError(
                    "memory or a step count has changed while a step was being taken"
                )
        for member in members:
            if member.rows is not None:
                columns = {s: member.work.state[s] for s in self.step.arrays}
                with torch.no_grad():
                    member.store(member.work.p, columns)
            member.keep_count()
        self.send()
        self.held = None

    def _point(self, column: str, tensors: Sequence[torch.Tensor | None]) -> list[int]:
        """Point the kernel at a column of each tensor; return the addresses."""
        where = [0 if x is None else x.data_ptr() for x in tensors]
        self.step.place(column, list(map(self._address, tensors, where)))
        return where

    def _address(self, x: torch.Tensor | None, at: int | None = None) -> int:
        """The address of a column, or any address if it has no elements. at: the tensor's, if known."""
        if x is None:
            return 0
        at = x.data_ptr() if at is None else at
        return at or (0 if x.numel() else self.step.anywhere)

    def _take_part(self, here: Sequence[bool] | None = None) -> None:
        """Record which parameters the next step includes: all of them, or those with a gradient."""
        self.here = here = None if here is None or all(here) else here
        self.present = self.params if here is None else list(compress(self.params, here))
        if self.exchange is not None:
            self.exchange.take_part(here)

    @property
    def marks(self) -> list[int | None]:
        """What tells which parameters take part, where processes have to agree on them."""
        return self._marks if self.here is None else list(compress(self._marks, self.here))

    @property
    def signs(self) -> list[int]:
        """Numbers that are the same in all processes whose kernels send the same messages."""
        if not self.owned:
            return []
        return cast("Owned", self.step).signs(self.here or [True] * len(self.params))

    @cached_property
    def _marks(self) -> list[int | None]:
        pairs = zip(self.places, self.params, strict=True)
        return [mark(place, self.graph, p) for place, p in pairs]

    def look(
        self, given: Mapping[str, Mapping[torch.Tensor, Any]] | None = None
    ) -> list[Any] | None:
        """Point the kernel at new gradients and signals, and return them, to be kept until it has run.
        None if anything except these and numbers has changed.
        """
        if self.kept_grads is not None and self._is_as_kept():
            return self.kept_grads[0]
        grads: list[Any] = list(map(_grad, self.sources))
        signals: list[Any] = []
        if self.signals:
            signals = (
                [given[name].get(p) for name in self.signals for p in self.params] if given else []
            )
            if not signals or any(x is None for x in signals):
                return None
        if self.spread:
            if not self._is_spread_as_before(grads) or not self._is_spread_as_before(signals):
                return None
            if not all(map(is_, map(local, self.spread), self.parts)):
                return None
            grads, signals = list(map(local, grads)), list(map(local, signals))
        states, names, kept = self.states, self.names, self.kept
        fixed, where = self.fixed, self.where
        if self.here is not None:
            self._take_part()
        if not self.facts.check(*grads, *signals, *self.matrices):
            here = [g is not None for g in grads]
            self._take_part(here)
            self.absent = self.absent or list(starmap(_without_memory, self.gradients))
            pairs = zip(grads, self.absent, strict=True)
            grads = [absent if g is None else g for g, absent in pairs]
            if not self.facts.check(*grads, *signals, *self.matrices):
                return None
            if len(here) - len(self.present) > max(16, len(here) // 4):
                # If many are missing, their states need not be loaded into the caches.
                here *= len(fixed) // len(here)
                states, names = list(compress(states, here)), list(compress(names, here))
                fixed, where = list(compress(fixed, here)), list(compress(where, here))
                kept = list(compress(kept, here))
        try:
            if not all(map(is_, map(getitem, states, names), kept)):
                return None
        except KeyError:  # a slot was removed
            return None
        if list(map(_data_ptr, fixed)) != where:
            return None  # memory has moved
        addresses = list(map(_data_ptr, grads))
        if (
            self.zeroes
            and (signals or addresses != self.addresses)
            and not apart([*grads, *self.fixed[: self.arrays]], signals)
        ):
            return None
        for i in self.hollow:
            addresses[i] = 0 if self.absent and grads[i] is self.absent[i] else self.step.anywhere
        if self.joint and addresses.count(0) != len(grads) - len(self.present):
            return None  # must be checked before the processes agree
        if addresses != self.addresses:  # a storage that is cut short moves
            sizes = list(map(_nbytes, map(_storage, grads)))
            if not all(map(ge, sizes, self.sizes)):
                for i, g in enumerate(grads):
                    if sizes[i] < self.sizes[i] and addresses[i]:
                        if is_cut_short(g):
                            return None
                        self.sizes[i] = sizes[i]
            self.step.place("g", addresses)
            self.addresses = addresses
        if not signals:
            return grads
        if any(map(is_cut_short, signals)):
            return None
        places = list(map(self._address, signals))
        if not {*places}.isdisjoint(where):
            return None  # a parameter, or a slot
        for i, name in enumerate(self.signals):
            self.step.place(name, places[i * len(self.params) : (i + 1) * len(self.params)])
        return grads + signals

    def _is_spread_as_before(self, given: Sequence[Any]) -> bool:
        """Whether existing gradients, or signals, are sharded like their parameters."""
        params = self.params * (len(given) // len(self.params))
        return all(
            getattr(x, "placements", None) == getattr(p, "placements", None)
            for p, x in zip(params, given, strict=True)
            if x is not None
        )

    def run(self, seed: int, grads: Sequence[torch.Tensor] = ()) -> int:
        """Take the step, unless the kernel rejects it: READY if it was taken.

        grads: the gradients, if the kernel fills them with zeros.
        """
        if not self.present:
            return READY
        if self.mirrors:
            for mirror in self._offloaded():
                mirror.wait()
        between = self.exchange.between if self.exchange else None
        status = self.step.run(len(self.present), seed, between)
        if status == READY:
            _increment_version(self.present)
            if self.zeroes:
                _increment_version(grads[: len(self.params)])
        return status

    def send(self) -> None:
        """After a step, queue the copies of parameters that have been stepped for a device."""
        for mirror in self._offloaded():
            mirror.send()

    def _offloaded(self) -> list[Mirror]:
        here = self.mirrors if self.here is None else compress(self.mirrors, self.here)
        return [mirror for mirror in here if mirror is not None]

    def squares(self) -> float:
        """The sum of the squared gradients of the last step."""
        return self.step.squares() if self.present else 0.0


def _without_memory(
    shape: torch.Size, stride: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    made = torch.empty_strided(shape, stride, dtype=dtype, device=device)
    made.untyped_storage().resize_(0)
    return made


@dataclass
class Wave:
    """The parts of a step that can run at the same time, since they share no memory."""

    kernels: list[KernelPart] = field(default_factory=list)
    calls: list[CallPart] = field(default_factory=list)

    def start(self, seed: int) -> None:
        """Take the step: nothing is stored before everything that can fail has been computed."""
        for call in self.calls:
            call.compute()
        for kernel in self.kernels:
            kernel.start(seed)
        for call in self.calls:
            call.store()
