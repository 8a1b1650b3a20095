"""What processes tell each other in a step, where a rule looks at tensors that are spread over them.

First, before anything is changed, what each is about to do (`Circle`): by the kernel or not, with which
gradients, or that it cannot. That is a message of one length, whatever a process has found or had to bind
anew, so none waits for a message that another does not send. Then, between the passes of a kernel, what
they have found of each reduction (`Exchange`), in one message for all tensors that are spread over the
same processes. Parts are put together in the order of the processes, so all have the same bits.
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
from ravine.torch.sharded import Sharded, groups_of, is_spread, local

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from ravine.engines.cpu import Step
    from ravine.engines.kernel import Value

__all__ = ["CALLS", "KERNELS", "Circle", "Exchange", "mark"]

KERNELS, CALLS, _FAILS = range(3)
"""How a process is about to take a step: by kernels alone, or by calls as well; or not at all."""

_PUT_TOGETHER = {"sum": torch.add, "greatest": torch.maximum, "least": torch.minimum}
_NO_OPINION = -(2**62)


def mark(place: int, graph: Graph, p: Any) -> int | None:
    """A number that tells the step of a parameter from others: which it is, by what rule, spread how. None
    where processes need not agree on it.
    """
    if not _is_joint(p, graph):
        return None
    told = (place, graph.rule.name, len(graph.nodes), tuple(p.shape), p.placements)
    return zlib.crc32(repr(told).encode())


def _is_joint(p: Any, graph: Graph) -> bool:
    """Whether processes step a parameter together: each has a part, and the rule looks at the whole."""
    return is_spread(p) and not graph.pointwise and local(p).device.type == "cpu"


class Circle:
    """The processes that have to agree on each step of an optimizer, and how they do."""

    def __init__(self, groups: Sequence[ProcessGroup]):
        self.groups = groups

    @classmethod
    def of(cls, stepped: Iterable[tuple[Any, Graph]]) -> Circle | None:
        """Those over which parameters are spread, on the CPU, whose rules look at whole tensors; None if
        there are no others.
        """
        meshes = {p.device_mesh: None for p, graph in stepped if _is_joint(p, graph)}
        groups = (mesh.get_group(i) for mesh in meshes for i in range(mesh.ndim))
        several = [group for group in groups if dist.get_world_size(group) > 1]
        return cls(list(dict.fromkeys(several))) if several else None

    def agree(self, how: int, marks: Iterable[int | None], where: str) -> int:
        """Say how this process is about to take a step, of parameters with these marks; how all of them
        take it.

        Raises RuntimeError, beginning with `where`, if a process cannot take it, or steps others.
        """
        told = sorted(x for x in marks if x is not None)
        count, digest = len(told), zlib.crc32(array("q", told).tobytes())
        most = self._most([how, -1, -count, count, -digest, digest])
        how, failed, fewest, many, *digests = most
        if how == _FAILS:
            raise RuntimeError(
                f"{where}: process {failed} could not take this step, so none takes it; its own error says "
                "why"
            )
        if -fewest != many:
            raise RuntimeError(
                f"{where}: of the parameters, {-fewest} to {many} take part in this step, depending on the "
                f"process (in this one, {count}), so none takes it; rules that look at whole tensors need "
                "the same gradients to be there in all processes"
            )
        if -digests[0] != digests[1]:
            raise RuntimeError(
                f"{where}: the processes have gradients for different parameters, or parameters with "
                "different rules, shapes or placements, so none takes this step"
            )
        return how

    def fail(self) -> None:
        """Say that this process cannot take the step, for whatever reason."""
        self._most([_FAILS, dist.get_rank(), *[_NO_OPINION] * 4])

    def _most(self, message: Sequence[int]) -> list[int]:
        """The greatest of what the processes say, number by number."""
        with torch.no_grad():
            most = torch.tensor(message, dtype=torch.int64, device="cpu")
            for group in self.groups:
                most = _gathered(most, group).amax(0)
        return most.tolist()


class Exchange:
    """The messages between the passes of one kernel.

    step: the kernel, bound. wholes: its tensors in the order of the tables, those that are spread as
    `Sharded`. places: of the parameters, in that order; what is told is in theirs.
    """

    def __init__(self, step: Step, wholes: Sequence[Any], places: Sequence[int]):
        self.step, self.wholes = step, wholes
        self.order = sorted(range(len(places)), key=lambda i: places[i])
        with torch.inference_mode(False):
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
        """Make of the numbers for this process's parts those for the whole tensors."""
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
        """For each message: the groups of processes that it is sent within, where among the numbers what is
        told stands, and how it is put together: by which operation, from where to where.
        """
        found: dict[Any, dict[str, list[torch.Tensor]]] = {}
        with torch.inference_mode(False):
            for value in self.step.kernel.found(stage):
                op = value.op.rpartition("_")[2]
                for i in present:
                    groups = self._groups(value, i)
                    first, count = self.step.where(value, i)
                    if (
                        groups
                    ):  # also where this process has none: the order of messages is everybody's
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
        """Over which processes what a reduction is over is spread."""
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
