"""Which process computes with which sharded matrix, and how matrices travel there and back.

Along each dimension of the mesh over which a parameter is sharded, there is a group of processes. A part
travels from group to group: first to the processes at the owner's place along the last dimension, then along
the one before, until the owner has all parts. Each time, every process of a group sends one message to each
other, with the parts of all tensors. All processes know the shapes, so all know how long each message is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from ravine.torch.exchange import Circle, Exchange
from ravine.torch.sharded import Sharded, spread_along

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from ravine.engines.cpu import Step
    from ravine.engines.eager import Work
    from ravine.engines.graph import Graph

__all__ = ["Owners", "unplaced"]

_ALIGNED = 64  # bytes: where a part begins in a message
_KEPT = 8  # plans, where the tensors that take part change from step to step

Place = tuple[int, ...]
"""A process among those that a tensor is sharded over: its number along each dimension of the mesh."""
Parcel = tuple[int, Place]
"""The part of a tensor that one process has."""


def unplaced(x: Sharded) -> str:
    """Why the parts of a sharded tensor cannot be put together by their places, or ""."""
    layout = _Layout.of(x)
    if layout is None or layout.part(layout.mine) != tuple(x.local.shape):
        return "sharded in another way than by equal chunks"
    return ""


@dataclass(frozen=True)
class _Layout:
    """How a tensor is sharded: for each dimension of the mesh along which it is, the group of processes, how
    many they are, and the sharded dimension. mine: this process. order: that in which chunks are made.
    """

    shape: tuple[int, ...]
    groups: tuple[ProcessGroup, ...] = ()
    counts: tuple[int, ...] = ()
    dims: tuple[int, ...] = ()
    mine: Place = ()
    order: tuple[int, ...] = ()

    @classmethod
    def of(cls, x: Any) -> _Layout | None:
        """Of any tensor; None if it is sharded in an unknown way."""
        if not isinstance(x, Sharded):
            return cls(tuple(x.shape))
        found: list[tuple[Any, int, int, int]] = []
        late: list[int] = []
        counts = [x.mesh.size(i) for i in range(x.mesh.ndim)]
        coordinate = x.mesh.get_coordinate()
        for i, placement in enumerate(x.placements):
            kind, dim = type(placement).__name__, spread_along(placement)
            if kind not in ("Shard", "_StridedShard", "Replicate"):
                return None
            if dim is None or counts[i] == 1:
                continue
            group = x.mesh.get_group(i)
            if coordinate is None or dist.get_rank(group) != coordinate[i]:
                return None
            if kind == "_StridedShard":  # of the chunks that later dimensions of the mesh make
                rest = zip(counts[i + 1 :], x.placements[i + 1 :], strict=True)
                if placement.split_factor != prod(n for n, p in rest if spread_along(p) == dim):  # type: ignore[attr-defined]
                    return None
                late.append(len(found))
            found.append((group, counts[i], dim, coordinate[i]))
        early = [i for i in range(len(found)) if i not in late]
        groups, sizes, dims, mine = zip(*found, strict=True) if found else [()] * 4
        return cls(tuple(x.shape), groups, sizes, dims, mine, (*early, *reversed(late)))

    def region(self, place: Place) -> tuple[slice, ...]:
        """The part that a process has."""
        spans = [(0, n) for n in self.shape]
        for i in self.order:
            begin, end = spans[self.dims[i]]
            length = -(-(end - begin) // self.counts[i])
            first = min(begin + place[i] * length, end)
            spans[self.dims[i]] = first, min(first + length, end)
        return tuple(slice(*span) for span in spans)

    def part(self, place: Place) -> tuple[int, ...]:
        """Its shape."""
        return tuple(x.stop - x.start for x in self.region(place))


class Owners:
    """The processes between which matrices are divided; see :class:`ravine.engines.owned.Owners`.

    works: on the whole tensors. numbers: of the parameters; messages are in their order.
    """

    def __init__(self, graph: Graph, works: Sequence[Work], numbers: Sequence[int]) -> None:
        self.wholes = [work.p for work in works]
        self.numbers, self.where = numbers, f"rule {graph.rule.name!r}"
        meshes = dict.fromkeys(x.mesh for x in self.wholes if isinstance(x, Sharded))
        self.circle = Circle.over(meshes)
        layouts = [_Layout.of(x) for x in self.wholes]
        self.layouts = [layout for layout in layouts if layout is not None]
        slots = [slot for slot in graph.live if graph.rule.slots[slot].matrix]
        self.costs = [_cost(w.p.shape, [w.state[slot].shape for slot in slots]) for w in works]
        self.order = sorted(range(len(works)), key=lambda i: numbers[i])
        self._plans: dict[tuple[bool, ...], _Plan] = {}

    def plan(self, here: Sequence[bool]) -> _Plan:
        """Divide the tensors that take part. The last few plans are kept."""
        key = tuple(here)
        if key not in self._plans:
            order = [i for i in self.order if here[i]]
            self._plans[key] = _Plan(self.layouts, self.costs, order)
            while len(self._plans) > _KEPT:
                del self._plans[next(iter(self._plans))]
        self._plans[key] = plan = self._plans.pop(key)
        return plan

    def between(self, step: Step) -> Exchange:
        """The messages between the passes of a kernel."""
        order = step.order
        return Exchange(step, [self.wholes[i] for i in order], [self.numbers[i] for i in order])

    def agree(self, error: Exception | None) -> None:
        """Raise the error, or RuntimeError if another process has one."""
        if self.circle is not None:
            self.circle.pass_on(error, self.where)
        elif error is not None:
            raise error


def _cost(shape: Sequence[int], others: Sequence[Sequence[int]]) -> int:
    """About how many operations a matrix takes, compared with others of the same rule."""
    return sum(prod(its) * min(its[-2:]) for its in (shape, *others) if len(its) > 1)


class _Plan:
    """The owners of the tensors in `order`, and the routes to them."""

    def __init__(
        self, layouts: Sequence[_Layout], costs: Sequence[int], order: Sequence[int]
    ) -> None:
        self.layouts, self.order = layouts, order
        self.owner: dict[int, Place] = {}
        alike: dict[tuple[ProcessGroup, ...], list[int]] = {}
        for i in order:
            alike.setdefault(layouts[i].groups, []).append(i)
        for its in alike.values():
            every = product(*map(range, layouts[its[0]].counts))
            loads = [(0, place) for place in every]
            for i in sorted(its, key=lambda i: -costs[i]):
                load, self.owner[i] = loads[0]
                heapq.heapreplace(loads, (load + costs[i], self.owner[i]))
        self.alike = [*alike.values()]
        self.mine = [self.owner.get(i) == layout.mine for i, layout in enumerate(layouts)]
        self.routes = [[*self._hops(its)] for its in self.alike]

    def _hops(self, members: Sequence[int]) -> Iterator[_Hop]:
        """The way of the parts of some tensors, which are sharded over the same processes."""
        first = self.layouts[members[0]]
        me, counts = first.mine, first.counts
        if not counts:
            own = [[(i, me) for i in members]]
            yield _Hop(None, own, own)
        for at in reversed(range(len(counts))):
            out: list[list[Parcel]] = [[] for _ in range(counts[at])]
            into: list[list[Parcel]] = [[] for _ in range(counts[at])]
            rests = [*product(*map(range, counts[at + 1 :]))]
            for i in members:
                owner = self.owner[i]
                if owner[at + 1 :] != me[at + 1 :]:
                    continue
                out[owner[at]] += [(i, (*me[: at + 1], *rest)) for rest in rests]
                if owner[at] == me[at]:
                    for sender, parcels in enumerate(into):
                        parcels += [(i, (*me[:at], sender, *rest)) for rest in rests]
            yield _Hop(first.groups[at], out, into)

    def journey(self, dtypes: Mapping[str, Sequence[str]]) -> _Journey:
        """Of columns in these dtypes."""
        return _Journey(self, dtypes)

    def share(self, slots: Mapping[str, Sequence[Any]]) -> None:
        """Send matrices from their owners to all, in place: along one dimension of the mesh after another."""
        for its in self.alike if slots else ():
            me = self.layouts[its[0]].mine
            for at, group in enumerate(self.layouts[its[0]].groups):
                sent = []
                for i in its:
                    if self.owner[i][at + 1 :] == me[at + 1 :]:
                        source = dist.get_global_rank(group, self.owner[i][at])
                        sent += [
                            dist.broadcast(_bytes(xs[i]), source, group, async_op=True)
                            for xs in slots.values()
                        ]
                for message in sent:
                    message.wait()


@dataclass(frozen=True, eq=False)
class _Hop:
    """What is sent to each process of a group, and received from each. On the way back, it is reversed.
    Without a group, everything stays here.
    """

    group: ProcessGroup | None
    out: list[list[Parcel]]
    into: list[list[Parcel]]


class _Bag:
    """Memory for messages: parcels for (or from) each process, with all columns of each."""

    def __init__(
        self,
        parcels: Sequence[Sequence[Parcel]],
        layouts: Sequence[_Layout],
        dtypes: Mapping[str, Sequence[str]],
    ) -> None:
        places: list[tuple[Any, int, int, torch.dtype, tuple[int, ...]]] = []
        end = 0
        self.lengths: list[int] = []
        for its in parcels:
            begin = end
            for i, place in its:
                shape = layouts[i].part(place)
                for column, names in dtypes.items():
                    dtype = getattr(torch, names[i])
                    size = prod(shape) * dtype.itemsize
                    places.append(((column, i, place), end, size, dtype, shape))
                    end += -(-size // _ALIGNED) * _ALIGNED
            self.lengths.append(end - begin)
        with torch.inference_mode(False):
            self.whole = torch.zeros(end, dtype=torch.uint8, device="cpu")
            self.parts = {
                key: self.whole[at : at + size].view(dtype).view(shape)
                for key, at, size, dtype, shape in places
            }


class _Journey:
    """Columns on the routes of a plan; see :class:`ravine.engines.owned.Journey`."""

    def __init__(self, plan: _Plan, dtypes: Mapping[str, Sequence[str]]) -> None:
        self.plan, layouts = plan, plan.layouts
        self.routes: list[list[tuple[_Hop, _Bag, _Bag]]] = []
        for route in plan.routes:
            hops = []
            for hop in route:
                out = _Bag(hop.out, layouts, dtypes)
                into = out if hop.group is None else _Bag(hop.into, layouts, dtypes)
                hops.append((hop, out, into))
            self.routes.append(hops)
        parts: dict[Any, torch.Tensor] = {}
        for hops in self.routes:
            parts |= hops[0][1].parts
        self._regions = {
            key: layouts[key[1]].region(key[2]) for hops in self.routes for key in hops[-1][2].parts
        }
        self._addresses = {
            column: [
                parts[key].data_ptr() if (key := (column, i, layout.mine)) in parts else 0
                for i, layout in enumerate(layouts)
            ]
            for column in dtypes
        }

    def addresses(self, column: str) -> Sequence[int]:
        """Where this process's part of each tensor is; 0 if it has no elements or does not take part."""
        return self._addresses[column]

    def gather(self, wholes: Mapping[str, Mapping[int, Any]]) -> None:
        """Put the parts together."""
        for route in self.routes:
            arrived: dict[Any, torch.Tensor] = {}
            for hop, out, into in route:
                _copy((out.parts[key], x) for key, x in arrived.items())
                if hop.group is not None:
                    dist.all_to_all_single(
                        into.whole, out.whole, into.lengths, out.lengths, hop.group
                    )
                arrived = into.parts
            _copy((self._region(wholes, key), x) for key, x in arrived.items())

    def scatter(self, wholes: Mapping[str, Mapping[int, Any]]) -> None:
        """Take the matrices apart."""
        for route in self.routes:
            parts = {key: self._region(wholes, key) for key in route[-1][2].parts}
            for hop, out, into in reversed(route):
                _copy((x, parts[key]) for key, x in into.parts.items())
                if hop.group is not None:
                    dist.all_to_all_single(
                        out.whole, into.whole, out.lengths, into.lengths, hop.group
                    )
                parts = out.parts

    def _region(self, wholes: Mapping[str, Mapping[int, Any]], key: Any) -> Any:
        column, i, _ = key
        return wholes[column][i].view(self.plan.layouts[i].shape)[self._regions[key]]


def _copy(pairs: Any) -> None:
    for to, of in pairs:
        to.copy_(of)


def _bytes(x: torch.Tensor) -> torch.Tensor:
    return x.view(-1).view(torch.uint8)
