"""Steps in turns of matrices that are sharded over processes, each of which computes with some of them.

Every matrix has an owner in each step: one of the processes that have parts of it. The kernels step every
process's parts. What a kernel leaves for the library is sent to the owners, which put the matrices together
and compute; of the results, each process gets what belongs to its parts. So n processes share the products
and decompositions of one. Matrices in the state stand whole in every process, and the owner sends the new
ones to the others. Who owns what, and all messages, are up to the front (`Owners`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, Protocol
from zlib import crc32

from ravine.engines.cpu import READY, Step
from ravine.engines.cutting import Cut, Turn
from ravine.engines.stacks import Kind
from ravine.engines.turns import Turns, Way

__all__ = ["Journey", "Owned", "Owners", "Plan"]

Columns = Mapping[str, Mapping[int, Any]]
"""Whole matrices of the tensors that this process owns, by column and tensor."""


class Journey(Protocol):
    """The way of some columns between the processes' parts and the owners."""

    def addresses(self, column: str) -> Sequence[int]:
        """Where this process's part of each tensor is."""

    def gather(self, wholes: Columns) -> None:
        """Put the parts together."""

    def scatter(self, wholes: Columns) -> None:
        """Take the matrices apart."""


class Plan(Protocol):
    """Who owns what in a step."""

    @property
    def mine(self) -> Sequence[bool]:
        """For each tensor, whether this process owns it."""

    def journey(self, dtypes: Mapping[str, Sequence[str]]) -> Journey:
        """Of columns in these dtypes, one for each tensor."""

    def share(self, slots: Mapping[str, Sequence[Any]]) -> None:
        """Give the owner's matrices, for each tensor that is stepped, to all processes, in place."""


class Owners(Protocol):
    """The processes between which matrices are divided. All of them call the same methods in turn."""

    def plan(self, here: Sequence[bool]) -> Plan:
        """Divide the tensors that take part in a step."""

    def between(self, step: Step) -> Any:
        """The messages between the passes of a kernel: an object with `take_part` and `between`."""

    def agree(self, error: Exception | None) -> None:
        """Raise the error, or one that says that another process has one."""


class Owned(Turns):
    """A step in turns whose matrices have owners.

    shapes: of whole parameters. parts: of this process's parts of them.
    """

    def __init__(self, *args: Any, owners: Owners, **how: Any) -> None:
        super().__init__(*args, **how)
        self.owners = owners
        self._signs: dict[Any, list[int]] = {}

    def signs(self, here: Sequence[bool]) -> list[int]:
        """A number for each tensor that takes part, the same in all processes that send the same messages."""
        found = [0] * len(here)
        for way, its in self._chosen([*here]):
            for i, on in enumerate(its):
                found[i] = way.signs[i] if on else found[i]  # type: ignore[attr-defined]
        return [*compress(found, here)]


class _OwnedWay(Way):
    """The turns of a cut, with messages between them."""

    def __init__(self, owner: Owned, its: Cut) -> None:
        super().__init__(owner, its)
        self._owners = owner.owners
        self._between: list[Any] = [s and self._owners.between(s) for s in self.steps]
        self._plan: Any = None
        self._journeys: dict[Any, Journey] = {}
        slots = (*its.stores, *its.late)
        ops = [[x.op for x in turn.calls] for turn in its.turns]
        self.signs = [
            crc32(
                repr(
                    (
                        ops,
                        [(column, dtypes[i]) for column, dtypes in self.left.items()],
                        [(slot, owner.dtypes[i][slot], owner.of_slots[i][slot]) for slot in slots],
                    )
                ).encode()
            )
            for i in owner.order
        ]

    def _kinds(self, here: Sequence[bool]) -> list[Kind]:
        plan = self._owners.plan(here)
        if plan is not self._plan:
            self._plan, self._journeys = plan, {}
            for step, between in zip(self.steps, self._between, strict=True):
                if step is not None:
                    between.take_part([here[i] for i in step.order])
        return [kind for k in self.owner.kinds if (kind := k.only(plan.mine)).members]

    def _give(self, number: int, turn: Turn) -> None:
        self._given = self._stacks(turn)
        if turn.given:
            self._send(number, turn.given, [number])

    def _run(self, number: int, seed: int) -> int:
        step, between = self.steps[number], self._between[number]
        return READY if step is None else step.run(self._expected, seed, between.between)

    def _call(self, number: int, turn: Turn) -> None:
        if turn.given:
            arrays = {c: [stack.whole for stack in its] for c, its in self._given.items()}
            self._journeys[number, tuple(turn.given)].gather(self._each(arrays))
        failed, found = None, dict[str, list[Any]]()
        try:
            found = self._computed(turn)
        except Exception as error:
            failed = error
        self._owners.agree(failed)
        if turn.found:
            later = range(number + 1, len(self.steps))
            self._send(number, turn.found, later).scatter(self._each(found))

    def _send(self, number: int, names: Mapping[str, Any], readers: Sequence[int]) -> Journey:
        """The journey of these columns, of which kernels write or read the parts."""
        key = number, tuple(names)
        if key not in self._journeys:
            self._journeys[key] = self._plan.journey({name: self.left[name] for name in names})
        journey = self._journeys[key]
        for name in names:
            for reader in readers:
                self._point_at(reader, name, journey.addresses(name))
        return journey

    def _point_at(self, number: int, column: str, addresses: Sequence[int]) -> None:
        step = self.steps[number]
        if step is None or column not in step.columns:
            return
        if self._pointed.get((number, column)) is not addresses:
            step.point(column, [at or step.anywhere for at in addresses])
            self._pointed[number, column] = addresses

    def _each(self, columns: Mapping[str, Sequence[Any]]) -> Columns:
        return {
            column: {
                i: x[first:end]
                for calls, x in zip(self._calls, arrays, strict=True)
                for i, first, end in calls.kind.places
            }
            for column, arrays in columns.items()
        }

    def finish(self, seed: int) -> int:
        """Change parameters and state."""
        status = super().finish(seed)
        if status == READY:
            order, view = self.owner.order, self.owner.view
            slots = (*self.cut.stores, *self.cut.late)
            self._plan.share({slot: [view(slot, i)[0] for i in order] for slot in slots})
        return status


Owned.way = _OwnedWay
