"""The messages between processes in a step, for rules that use whole tensors that are sharded.

First, before anything is changed, each process announces what it is about to do (`Circle`): with the kernel
or not, with which gradients, or that it cannot. The message always has the same length, so no process waits
for a message that another does not send. Then, between the passes of a kernel, they exchange their parts of
each reduction (`Exchange`), in one message for all tensors that are sharded over the same processes. Parts
are combined in the order of the processes, so all have the same bits.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from ravine.engines.graph import Graph
from ravine.rule import kept
from ravine.torch.sharded import Sharded, groups_of, is_spread, local

if TYPE_CHECKING:
    from torch.distributed import DeviceMesh, ProcessGroup

    from ravine.engines.cpu import Step
    from ravine.engines.kernel import Value

__all__ = ["CALLS", "KERNELS", "Circle", "Exchange", "mark"]

KERNELS, CALLS, _FAILS = range(3)
"""How a process is about to take a step: only by kernels, also by calls, or not at all."""

_PUT_TOGETHER = {"sum": torch.add, "greatest": torch.maximum, "least": torch.minimum}
_NO_OPINION = -(2**62)


def mark(place: int, graph: Graph, p: Any) -> int | None:
    """A number that identifies the step of a parameter: its index, its rule, its sharding. None if
    processes need not agree on it.
    """
    if not _is_joint(p, graph):
        return None
    many = kept(graph, "many", lambda: len(graph.needed(graph.live_outputs().values())))
    told = (place, graph.rule.name, many, tuple(p.shape), p.placements)
    return zlib.crc32(repr(told).encode())


def _is_joint(p: Any, graph: Graph) -> bool:
    """Whether processes step a parameter together: each has a part, and the rule uses the whole."""
    return is_spread(p) and not graph.pointwise and local(p).device.type == "cpu"


class Circle:
    """The processes that must agree on each step of an optimizer, and how they do it."""

    def __init__(self, groups: Sequence[ProcessGroup]):
        self.groups = groups

    @classmethod
    def of(cls, stepped: Iterable[tuple[Any, Graph]]) -> Circle | None:
        """The processes over which parameters are sharded on the CPU, if rules use whole tensors; None
        if there are no others.
        """
        return cls.over({p.device_mesh: None for p, graph in stepped if _is_joint(p, graph)})

    @classmethod
    def over(cls, meshes: Iterable[DeviceMesh]) -> Circle | None:
        """The processes of some meshes; None if there are no others."""
        groups = (mesh.get_group(i) for mesh in meshes for i in range(mesh.ndim))
        several = [group for group in groups if dist.get_world_size(group) > 1]
        return cls(list(dict.fromkeys(several))) if several else None

    def agree(
        self, how: int, marks: Iterable[int | None], where: str, signs: Sequence[int] = ()
    ) -> int:
        """Announce how this process is about to step parameters with these marks; return how all
        processes do. signs: numbers that are the same in all processes whose kernels send the same messages.

        Raises RuntimeError, beginning with `where`, if a process cannot, or steps other parameters.
        """
        told = sorted(x for x in marks if x is not None)
        count, digest = len(told), zlib.crc32(array("q", told).tobytes())
        sign = zlib.crc32(array("q", signs).tobytes())
        most = self._most([how, -1, -count, count, -digest, digest, -sign, sign])
        how, failed, fewest, many, *digests = most
        if how == _FAILS:
            raise RuntimeError(_failed(where, failed))
        if -fewest != many:
            raise RuntimeError(
                f"{where}: of the parameters, {-fewest} to {many} take part in this step, depending on the "
                f"process (in this one, {count}), so none takes it; rules that look at whole tensors need "
                "the same gradients to be there in all processes"
            )
        if -digests[0] != digests[1] or (how == KERNELS and -digests[2] != digests[3]):
            raise RuntimeError(
                f"{where}: the processes have gradients for different parameters, or parameters with "
                "different rules, shapes, dtypes or placements, so none takes this step"
            )
        return how

    def fail(self) -> None:
        """Announce that this process cannot take the step, for any reason."""
        self._most([_FAILS, dist.get_rank(), *[_NO_OPINION] * 6])

    def pass_on(self, error: Exception | None, where: str) -> None:
        """Raise the error of this process, or RuntimeError if another one has an error."""
        [failed] = self._most([-1 if error is None else dist.get_rank()])
        if error is not None:
            raise error
        if failed >= 0:
            raise RuntimeError(_failed(where, failed))

    def _most(self, message: Sequence[int]) -> list[int]:
        """The maximum over the processes, number by number."""
        with torch.no_grad():
            most = torch.tensor(message, dtype=torch.int64, device="cpu")
            for group in self.groups:
                most = _gathered(most, group).amax(0)
        return most.tolist()


def _failed(where: str, process: int) -> str:
    return f"{where}: process {process} could not take this step, so none takes it; its own error says why"


class Exchange:
    """The messages between the passes of one kernel.

    step: the bound kernel. wholes: its tensors in the order of the tables, sharded ones as `Sharded`.
    places: of the parameters, in that order; messages are in the order of the parameters.
    """

    def __init__(self, step: Step, wholes: Sequence[Any], places: Sequence[int]):
        self.step, self.wholes = step, wholes
        self.order = sorted(range(len(places)), key=lambda i: places[i])
        with torch.inference_mode(False):
            self.numbers = torch.empty(0, dtype=torch.float64, device="cpu")
            if len(step.numbers):
                self.numbers = torch.frombuffer(step.numbers, dtype=torch.float64)
        self.stages = [stage for stage in range(step.kernel.stages) if step.kernel.found(stage)]
        self._everything = self.plan = self._planned(self.order)
        self._some: tuple[Sequence[bool], Any] = ((), self.plan)

    def take_part(self, present: Sequence[bool] | None) -> None:
        """Which tensors take part in the next step; None: all."""
        if present is None:
            self.plan = self._everything
            return
        if present != self._some[0]:
            self._some = present, self._planned([i for i in self.order if present[i]])
        self.plan = self._some[1]

    def between(self, stage: int) -> None:
        """Turn the numbers for this process's parts into those for the whole tensors."""
        with torch.no_grad():
            for groups, where, spans in self.plan[stage]:
                mine = self.numbers[where]
                for group in groups:
                    parts = _gathered(mine, group).unbind()
                    found = [reduce(f, [part[a:b] for part in parts]) for f, a, b in spans]
                    mine = torch.cat(found)
                self.numbers[where] = mine

    def _planned(self, present: Sequence[int]) -> dict[int, list[tuple[Any, torch.Tensor, Any]]]:
        return {stage: list(self._messages(stage, present)) for stage in self.stages}

    def _messages(self, stage: int, present: Sequence[int]) -> Iterable[tuple[Any, Any, Any]]:
        """For each message: the groups of processes within which it is sent, the positions of its numbers,
        and how they are combined: by which operation, from where to where.
        """
        found: dict[Any, dict[str, list[torch.Tensor]]] = {}
        with torch.inference_mode(False):
            for value in self.step.kernel.found(stage):
                op = value.op.rpartition("_")[2]
                for i in present:
                    groups = self._groups(value, i)
                    first, count = self.step.where(value, i)
                    if groups:  # even if this process has none: all must agree on the order
                        where = torch.arange(first, first + count, device="cpu")
                        found.setdefault(groups, {}).setdefault(op, []).append(where)
            for groups, by_op in found.items():
                spans, begin, end = [], 0, 0
                for op, several in by_op.items():
                    end = begin + sum(map(len, several))
                    spans.append((_PUT_TOGETHER[op], begin, end))
                    begin = end
                if end:
                    yield groups, torch.cat([x for its in by_op.values() for x in its]), spans

    def _groups(self, value: Value, i: int) -> tuple[ProcessGroup, ...]:
        """The processes over which the reduced elements are sharded."""
        whole, kernel = self.wholes[i], self.step.kernel
        if not isinstance(whole, Sharded):
            return ()
        lines = kernel.reduced(value)
        axes = [i for i in range(whole.ndim) if kernel.line_of(whole.ndim, i) in lines]
        groups = groups_of(whole.mesh, whole.placements, axes)
        return tuple(group for group in groups if dist.get_world_size(group) > 1)


def _gathered(message: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """The messages of a group's processes, in their order."""
    rows = message.new_empty((dist.get_world_size(group), len(message)))
    dist.all_gather(list(rows.unbind()), message, group=group)
    return rows
