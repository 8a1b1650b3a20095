"""Kernels and matrix operations in turns: a step is cut where matrices begin.

    step = Turns(graph, ...)                # has the interface of :class:`ravine.engines.cpu.Step`

A kernel computes the inputs of a library, in the shape of p, and writes them into stacks of matrices of
one shape. The front's library, and so BLAS, is called once for each stack. The last kernel reads the results
as further columns. Only it changes p and the state in the shape of p, and the matrices of the state are
replaced after it, so a step that stops midway has changed nothing. Values that the last kernel shares with
earlier ones are computed again, which costs less than storing and loading them.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ravine.draws import Draw
from ravine.engines.cpu import READY, Step, locked
from ravine.engines.cutting import Cut, Turn, conditions, cut
from ravine.engines.graph import Graph, Node
from ravine.engines.kernel import KernelError
from ravine.engines.llvm.tables import NO_MEMORY
from ravine.engines.stacks import Calls, Kind, Library, Pool, Stack, valued
from ravine.views import seen_shape

__all__ = ["Library", "Stack", "Turns"]

_HALVES = ("bfloat16", "float16")


class Turns:
    """A step in turns, with the interface of :class:`ravine.engines.cpu.Step`.

    shapes: of the parameters. dtypes: for each, those of p, g and the signals, and of each live array of
    state, by name. of_slots: for each, the shapes of the slots that are matrices. library: makes the stacks.
    """

    def __init__(
        self,
        graph: Graph,
        shapes: Sequence[tuple[int, ...]],
        dtypes: Sequence[Mapping[str, str]],
        of_slots: Sequence[Mapping[str, tuple[int, ...]]],
        groups: Sequence[int],
        library: Library,
        *,
        squares: bool = False,
        zero: bool = False,
        counts: Sequence[str] | None = None,
        numbers: Sequence[int] | None = None,
        stochastic: bool = False,
    ):
        self.graph, self.dtypes, self.groups, self.library = graph, dtypes, groups, library
        self.squared, self.zeroed = squares, zero
        self.stochastic, self.counts = stochastic, counts
        self.of_slots, self.pool = of_slots, Pool(library)
        self.numbers = numbers or range(len(shapes))
        kernel = cut(graph, squares=squares).turns[-1].kernel
        assert kernel is not None
        self.kernel = kernel
        self.areas = [self.kernel.matrices(shape) for shape in shapes]
        self.order = list(range(len(shapes)))
        self.matrices = [slot for slot in graph.live if graph.rule.slots[slot].matrix]
        if stochastic:
            self._check_rounding()
        self.slots = self.kernel.slots
        kernels = {*self.kernel.columns, *self.matrices}
        self.arrays = tuple(slot for slot in graph.live if slot in kernels)
        self.state = (*self.arrays, *self.slots, "step")
        self.columns = ("p", "g", *self.kernel.signals, *self.state)
        leaves = {n.value for n in graph.needed(graph.live_outputs().values()) if not n.args}
        names = (*graph.rule.hyperparameters, *graph.given)
        self.inputs = tuple(
            name for name in names if name in leaves and name not in self.kernel.signals
        )
        self.values: dict[int, dict[str, float]] = {group: {} for group in groups}
        self.at: dict[str, Sequence[int]] = {}
        self.kinds = [*self._find_kinds(shapes)]
        self._views: dict[tuple[str, int], tuple[int, list[Any]]] = {}
        self._conditions = conditions(graph)
        deciding = graph.needed(self._conditions)
        self._decided_by = {n.value for n in deciding if n.op == "scalar"}
        self._ways: dict[tuple[bool, ...] | None, _Way] = {}
        self._ran: list[_Way] = []
        self._block = ctypes.c_double()
        self.anywhere = ctypes.addressof(self._block)
        self.lock = threading.Lock()
        locked.add(self)

    def _check_rounding(self) -> None:
        for slot in self.matrices:
            if any(dtype[slot] in _HALVES for dtype in self.dtypes):
                raise KernelError(
                    f"rule {self.graph.rule.name!r}: stochastic_rounding applies to what kernels store, but "
                    f"{slot} is a half-precision matrix that BLAS computes; keep it in float32 "
                    "(state_dtype), or use stochastic_rounding=False"
                )

    def _find_kinds(self, shapes: Sequence[tuple[int, ...]]) -> Iterator[Kind]:
        """The matrices of a group with the same shape."""
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for i, shape in enumerate(shapes):
            of_slots = tuple((name, x[-2:]) for name, x in self.of_slots[i].items())
            seen = seen_shape(shape, self.graph.rule.seen)[-2:]
            dtype = "float64" if "float64" in self.dtypes[i].values() else "float32"
            kinds.setdefault((self.groups[i], seen, dtype, of_slots), []).append(i)
        for (group, shape, dtype, _), members in kinds.items():
            many = [self.areas[i][0] for i in members]  # type: ignore[index]
            yield Kind(group, members, many, shape, dtype)

    def _way(self, decided: tuple[bool, ...] | None) -> _Way:
        if decided not in self._ways:
            how = {}
            if decided is not None:
                how = {x.index: on for x, on in zip(self._conditions, decided, strict=True)}
            self._ways[decided] = way = _Way(self, cut(self.graph, how, self.squared, self.zeroed))
            for column, addresses in self.at.items():
                if column != "g":
                    way.point(column, addresses)
            for group, values in self.values.items():
                if values:
                    way.set_group(group, values)
        return self._ways[decided]

    def point(self, column: str, addresses: Sequence[int]) -> None:
        """Say where a column of each tensor begins in memory."""
        self.at[column] = addresses
        if column != "g" and column not in self.matrices:
            for way in self._ways.values():
                way.point(column, addresses)

    place = point

    def set_group(self, group: int, values: Sequence[float]) -> None:
        """Give a group its hyperparameters, in the order of `inputs`."""
        mine = self.values[group]
        mine.update(zip(self.inputs, values, strict=True))
        for way in self._ways.values():
            way.set_group(group, mine)

    def setter(self, group: int, name: str) -> Callable[[float], None] | None:
        """A function that sets one hyperparameter of a group; None if nothing uses it."""
        if name not in self.inputs:
            return None
        known: dict[Any, list[Callable[[float], None]]] = {}

        def give(value: float) -> None:
            self.values[group][name] = value
            for key, way in self._ways.items():
                if key not in known:
                    found = (step.setter(group, name) for step in way.kernels)
                    known[key] = [setter for setter in found if setter is not None]
                for setter in known[key]:
                    setter(value)

        return give

    def squares(self) -> float:
        """The sum of the squared gradients of the last run."""
        return sum(way.steps[-1].squares() for way in self._ran)

    def run(self, expected: int, seed: int = 0, between: object = None) -> int:
        """Take the step, or reject it before anything has changed, like a kernel."""
        here = [*map(bool, self.at["g"])]
        ways = self._chosen(here)
        if len(ways) > 1 and sum(map(sum, (its for _, its in ways))) != expected:
            return NO_MEMORY
        with self.library.calling():
            try:
                for way, its in ways:
                    many = expected if len(ways) == 1 else sum(its)
                    status = way.begin(its, many, seed)
                    if status != READY:
                        return status
                for way, _ in ways:
                    status = way.finish(seed)
                    if status != READY:
                        return status
            finally:
                for way, _ in ways:
                    way.release()
        self._ran = [way for way, _ in ways]
        return READY

    def _chosen(self, here: list[bool]) -> list[tuple[_Way, list[bool]]]:
        """How the tensors are stepped, each by what is due for it."""
        if not self._conditions:
            return [(self._way(None), here)]
        leaves = self.leaves(self._decided_by)
        keys = [(group, *its.values()) for group, its in zip(self.groups, leaves, strict=True)]
        known: dict[Any, tuple[bool, ...]] = {}
        chosen: dict[tuple[bool, ...], list[bool]] = {}
        for i, key in enumerate(keys):
            if not here[i]:
                continue
            if key not in known:
                its = {**self.values[self.groups[i]], **leaves[i]}
                known[key] = tuple(bool(valued(x, its)) for x in self._conditions)
            chosen.setdefault(known[key], [False] * len(here))[i] = True
        if len(chosen) > 1 and self.graph.at_once:
            return [(self._way(None), here)]
        return [(self._way(how), its) for how, its in chosen.items()]

    def leaves(self, names: set[str]) -> list[dict[str, float]]:
        """For each tensor, the values of t and of scalar slots among these names."""
        found: list[dict[str, float]] = [{} for _ in self.order]
        if "t" in names:
            for its, taken in zip(found, self.taken(), strict=True):
                its["t"] = taken + 1
        for slot in names & {*self.slots}:
            for its, at in zip(found, self.at[slot], strict=True):
                its[slot] = ctypes.c_double.from_address(at).value if at else 0.0
        return found

    def taken(self) -> list[float]:
        """The number of steps that each tensor has taken."""
        counts = self.counts or ["float64"] * len(self.order)
        types = [ctypes.c_float if c == "float32" else ctypes.c_double for c in counts]
        pairs = zip(types, self.at["step"], strict=True)
        return [of.from_address(at).value if at else 0.0 for of, at in pairs]

    def views(self, slot: str, kind: Kind) -> list[Any]:
        """The stored matrices of a slot of some tensors."""
        found = []
        for i in kind.members:
            at, known = self.at[slot][i], self._views.get((slot, i))
            if known is None or known[0] != at:
                *_, rows, columns = self.of_slots[i][slot]
                shape = (self.areas[i][0], rows, columns)  # type: ignore[index]
                known = (at, [*self.library.view(at, shape, self.dtypes[i][slot])])
                self._views[slot, i] = known
            found += known[1]
        return found


class _Way:
    """The turns of a cut, bound to the tensors of a step."""

    def __init__(self, owner: Turns, its: Cut) -> None:
        self.owner, self.cut = owner, its
        left = {
            name: [_left_as(node, turn, its, dtype) for dtype in owner.dtypes]
            for turn in its.turns
            for name, node in (*turn.given.items(), *turn.found.items())
        }
        self.left = left
        sizes = [many * rows * columns for many, rows, columns in owner.areas]  # type: ignore[misc]
        last = its.turns[-1]
        self.steps: list[Any] = []
        for turn in its.turns:
            if turn.kernel is None:
                self.steps.append(None)
                continue
            columns = turn.kernel.columns
            dtypes = [
                [left[c][i] if c in left else dtype[c] for c in columns]
                for i, dtype in enumerate(owner.dtypes)
            ]
            step = Step(
                turn.kernel,
                sizes,
                dtypes,
                owner.groups,
                counts=owner.counts if turn is last else None,
                numbers=owner.numbers,
                matrices=owner.areas,  # type: ignore[arg-type]
                stochastic=owner.stochastic and turn is last,
            )
            self.steps.append(step)
        self.kernels = [step for step in self.steps if step is not None]
        # Only the last kernel counts the step. Those before it, if they depend on the count, count for
        # themselves, from where the tensors are.
        early = [step for step in self.steps[:-1] if step is not None]
        counting = [s for s in early if s.kernel.draws or "t" in s.kernel.inputs]
        self._own: list[Any] = [(ctypes.c_double * len(sizes))() for _ in counting]
        for step, own in zip(counting, self._own, strict=True):
            begin = ctypes.addressof(own)
            step.point("step", [begin + 8 * i for i in owner.order])
        self._gradients: Sequence[int] = ()
        self._pointed: dict[tuple[int, str], Any] = {}
        self._expected = 0
        self._calls: list[Calls] = []
        self._held: list[Any] = []  # until the kernels have read them
        self._new: list[tuple[str, Calls, list[Any]]] = []

    def point(self, column: str, addresses: Sequence[int]) -> None:
        """Say where a column of each tensor begins in memory."""
        for step in self.kernels if column != "step" else self.kernels[-1:]:
            if column in step.columns:
                step.point(column, addresses)

    def set_group(self, group: int, values: Mapping[str, float]) -> None:
        """Give a group its hyperparameters."""
        for step in self.kernels:
            step.set_group(group, [values[name] for name in step.inputs])

    def begin(self, here: Sequence[bool], expected: int, seed: int) -> int:
        """Do all turns except the last one for some of the tensors, without changing parameters or state."""
        owner = self.owner
        self._point_gradients(here)
        self._expected = expected
        if self._own:
            taken = owner.taken()
            for own in self._own:
                own[:] = taken
        kinds = owner.kinds
        if not self.cut.alone and not all(here):
            kinds = [kind for k in owner.kinds if (kind := k.only(here)).members]
        leaves = owner.leaves(self.cut.scalars | ({"t"} if self.cut.draws else set()))
        self._calls = [self._called(kind, leaves, seed) for kind in kinds]
        for i, (turn, step) in enumerate(zip(self.cut.turns[:-1], self.steps, strict=False)):
            for column, node in turn.given.items():
                stacks = [
                    calls.given(node, self.left[column][calls.kind.members[0]])
                    for calls in self._calls
                ]
                self._point(i, column, [stack.whole for stack in stacks])
            if step is not None:
                status: int = step.run(expected, seed)
                if status != READY:
                    return status
            for calls in self._calls:
                calls.run(turn)
            for column, node in turn.found.items():
                arrays = [
                    calls.column(node, self.left[column][calls.kind.members[0]])
                    for calls in self._calls
                ]
                for later in range(i + 1, len(self.steps)):
                    self._point(later, column, arrays)
                self._held.append(arrays)
        self._new = [
            (slot, calls, calls.stored(node))
            for slot, node in self.cut.stores.items()
            for calls in self._calls
        ]
        return READY

    def finish(self, seed: int) -> int:
        """Change parameters and state."""
        status: int = self.steps[-1].run(self._expected, seed)
        if status == READY:
            for slot, calls, new in self._new:
                self.owner.library.copy(self.owner.views(slot, calls.kind), new)
            for slot, fused in self.cut.late.items():
                for calls in self._calls:
                    calls.store_late(slot, fused)
        return status

    def release(self) -> None:
        """Release the stacks of a step."""
        for calls in self._calls:
            calls.release()
        self._calls, self._held, self._new = [], [], []

    def _called(self, kind: Kind, leaves: Sequence[Mapping[str, float]], seed: int) -> Calls:
        owner, values = self.owner, self.owner.values[kind.group]
        its = [leaves[i] for i in kind.members]
        alike = len([*groupby(its)]) == 1
        every = [{**values, **x} for x in (its[:1] if alike else its)]
        draws = []
        if self.cut.draws:
            draws = [Draw(seed, int(leaves[i]["t"]), owner.numbers[i]) for i in kind.members]
        return Calls(
            self.cut,
            kind,
            owner.library,
            owner.pool,
            lambda slot: owner.views(slot, kind),
            every,
            draws,
        )

    def _point_gradients(self, here: Sequence[bool]) -> None:
        addresses = self.owner.at["g"]
        if sum(here) != sum(map(bool, addresses)):
            addresses = [at if on else 0 for at, on in zip(addresses, here, strict=True)]
        if addresses is not self._gradients:
            self._gradients = addresses
            for step in self.kernels:
                step.point("g", addresses)

    def _point(self, number: int, column: str, arrays: Sequence[Any]) -> None:
        """Point a column of a kernel at the matrices of these stacks."""
        step, library = self.steps[number], self.owner.library
        if step is None or column not in step.columns:
            return
        begins = [library.address(x) for x in arrays]
        now = begins, [calls.kind.members for calls in self._calls]
        if self._pointed.get((number, column)) == now:
            return
        addresses = [0] * len(self.owner.order)
        for calls, x, begin in zip(self._calls, arrays, begins, strict=True):
            area = x.itemsize * calls.kind.shape[0] * calls.kind.shape[1]
            for i, first, _ in calls.kind.places:
                addresses[i] = begin + area * first
        step.point(column, addresses)
        self._pointed[number, column] = now


def _left_as(node: Node, turn: Turn, its: Cut, dtype: Mapping[str, str]) -> str:
    """The dtype in which a kernel writes the inputs of a library, and reads its results."""
    calls, users = [x for turn in its.turns for x in turn.calls], [node]
    if any(x is node for x in turn.given.values()):
        users = [call for call in calls if any(x is node for x in call.args)]
    if users and all(_in_bfloat16(x) for x in users):
        return "bfloat16"
    return "float64" if "float64" in dtype.values() else "float32"


def _in_bfloat16(call: Node) -> bool:
    return call.op == "newton_schulz" and call.args[3].value is True
