"""Kernels and matrix operations by turns: a step is cut where a matrix goes through `newton_schulz`.

    turns = split(graph)                    # of Muon: a kernel, the matrices that it leaves, a kernel
    step = Turns(turns, ...)                # looks like a :class:`ravine.engines.cpu.Step`

A kernel computes what a matrix operation is given, in the shape of p, and leaves it in stacks of matrices
of one shape. The operation is called once for each stack, by the front's library, and so by BLAS. The last
kernel reads the results as more columns. It alone changes p and the state, so a step that stops midway has
changed nothing; what it shares with the kernels before it computes once more, which costs less than to
store and load it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ravine import ops
from ravine.engines.cpu import READY, Step
from ravine.engines.cpu import kernel as one_kernel
from ravine.engines.graph import Graph, Node
from ravine.engines.kernel import ELEMENT, Kernel
from ravine.engines.lowering import lower
from ravine.rule import kept
from ravine.views import seen_shape

__all__ = ["CALLED", "Library", "Turn", "Turns", "called", "split"]

CALLED = ("newton_schulz",)
"""The operations that a step is cut at: what they give has the shape of what they are given."""


def called(graph: Graph) -> list[str]:
    """The operations on matrices that a step by kernels calls between them."""
    return [op for op in CALLED if graph.uses(op)]


@dataclass(frozen=True)
class Turn:
    """A kernel, and the operations that are called with what it leaves.

    given, found: for each call, the columns of what it is given and of what it gives.
    """

    kernel: Kernel
    calls: Sequence[Node]
    given: Sequence[str]
    found: Sequence[str]

    @property
    def reads(self) -> set[str]:
        """The hyperparameters that the calls depend on."""
        leaves = [n for call in self.calls for n in call.graph.needed(call.args[1:])]
        return {n.value for n in leaves if n.op == "hyperparameter"}


class Library(Protocol):
    """What a front's arrays are made by."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Zeros of a dtype by name ("bfloat16")."""

    def address(self, x: Any) -> int:
        """Where an array begins."""

    def newton_schulz(self, x: Any, *numbers: Any) -> Any:
        """The operation on a stack, which may be overwritten. The result is kept until the next call with
        the same stack; its elements stand row by row.
        """


def split(graph: Graph, squares: bool = False, zero: bool = False) -> Sequence[Turn]:
    """The turns of a step. Raises KernelError where one of the kernels is not possible.

    squares: let the last kernel sum up the squares of the gradients. zero: let it fill them with zeros.
    """
    return kept(graph, ("turns", squares, zero), lambda: _split(graph, squares, zero))


def _split(graph: Graph, squares: bool, zero: bool) -> list[Turn]:
    if not called(graph):
        return [Turn(one_kernel(graph, squares, zero=zero), (), (), ())]
    outputs = graph.live_outputs()
    turn: dict[int, int] = {}
    calls: dict[int, list[Node]] = {}
    for node in graph.needed(outputs.values()):
        turn[node.index] = max((turn[x.index] for x in node.args), default=0)
        if node.op in CALLED:
            calls.setdefault(turn[node.index], []).append(node)
            turn[node.index] += 1
    found: dict[int, str] = {}
    turns = []
    for i in range(len(calls)):
        its = calls[i]
        given = [f"_given{len(found) + k}" for k in range(len(its))]
        leaves = {name: node.args[0] for name, node in zip(given, its, strict=True)}
        kernel = lower(graph, outputs=leaves, found=found)
        _check(kernel, its)
        found = found | {
            node.index: name.replace("given", "found")
            for name, node in zip(given, its, strict=True)
        }
        turns.append(Turn(kernel, its, given, [found[node.index] for node in its]))
    return [*turns, Turn(lower(graph, squares, found=found, zero=zero), (), (), ())]


def _check(kernel: Kernel, calls: Sequence[Node]) -> None:
    """Raise KernelError for what a kernel cannot leave, and for numbers that differ between tensors."""
    for node in calls:
        leaves = [n for n in node.graph.needed(node.args[1:]) if not n.args]
        for other in (n.value for n in leaves if n.op not in ("constant", "hyperparameter")):
            kernel.refuse(node.op, f"whose numbers depend on {other}")
    for name, value in kernel.outputs.items():
        if name.startswith("_given") and value.level != ELEMENT:
            kernel.refuse(calls[0].op, "of something else than a matrix in the shape of p")


class Turns:
    """A step by turns, as a :class:`ravine.engines.cpu.Step`.

    shapes: of the parameters. dtypes: for each, those of p, g and the signals, and of each live array of
    state, by name. library: makes the stacks.
    """

    def __init__(
        self,
        turns: Sequence[Turn],
        shapes: Sequence[tuple[int, ...]],
        dtypes: Sequence[Mapping[str, str]],
        groups: Sequence[int],
        library: Library,
        *,
        stochastic: bool = False,
        **how: Any,
    ):
        graph, counts = turns[-1].kernel.graph, how.pop("counts", None)
        self.turns, self.library, self._groups = turns, library, groups
        self.kernel = turns[-1].kernel
        scratch = {
            name: [_left_as(call, dtype) for dtype in dtypes]
            for turn in turns
            for call, pair in zip(turn.calls, zip(turn.given, turn.found, strict=True), strict=True)
            for name in pair
        }
        areas = [turns[-1].kernel.matrices(shape) for shape in shapes]
        sizes = [many * rows * columns for many, rows, columns in areas]  # type: ignore[misc]
        self._steps = [
            Step(
                turn.kernel,
                sizes,
                [
                    [scratch[c][i] if c in scratch else dtype[c] for c in turn.kernel.columns]
                    for i, dtype in enumerate(dtypes)
                ],
                groups,
                matrices=areas,  # type: ignore[arg-type]
                stochastic=stochastic and turn is turns[-1],
                counts=counts if turn is turns[-1] else None,
                **how,
            )
            for turn in turns
        ]
        self.order = list(range(len(shapes)))
        self.arrays = tuple(c for c in self.kernel.arrays if c not in scratch)
        self.slots = self.kernel.slots
        self.state = (*self.arrays, *self.slots, "step")
        self.columns = ("p", "g", *self.kernel.signals, *self.state)
        used = {name for step in self._steps for name in step.inputs}
        used |= {name for turn in turns for name in turn.reads}
        self.inputs = tuple(
            name for name in (*graph.rule.hyperparameters, *graph.given) if name in used
        )
        self.anywhere, self.lock = self._steps[-1].anywhere, self._steps[-1].lock
        # Only the last kernel counts the step. Those before it, if they depend on the count, count for
        # themselves, from where the tensors are.
        self._counting = [s for s in self._steps[:-1] if s.kernel.draws or "t" in s.kernel.inputs]
        self._own: list[Any] = [(ctypes.c_double * len(shapes))() for _ in self._counting]
        for step, own in zip(self._counting, self._own, strict=True):
            begin = ctypes.addressof(own)
            step.point("step", [begin + 8 * i for i in self.order])
        self._count_types = [
            ctypes.c_float if c == "float32" else ctypes.c_double
            for c in counts or ["float64"] * len(shapes)
        ]
        self._counts = [0] * len(shapes)
        self._values: dict[int, dict[str, float]] = {group: {} for group in groups}
        # The matrices of a group that have one shape: a stack, and where each parameter's begin in it.
        seen = [seen_shape(shape, graph.rule.seen)[-2:] for shape in shapes]
        kinds: dict[tuple[int, tuple[int, ...], str], list[int]] = {}
        for i, shape in enumerate(seen):
            kinds.setdefault((groups[i], shape, dtypes[i]["p"]), []).append(i)
        self._kinds = [
            (group, members, shape, [0, *_running(sizes[i] for i in members)])
            for (group, shape, _), members in kinds.items()
        ]
        self._stacks = [
            [[self._stack(scratch[name], *kind[1:]) for kind in self._kinds] for name in turn.given]
            for turn in turns
        ]
        for turn, step, stacks in zip(turns, self._steps, self._stacks, strict=True):
            for name, its in zip(turn.given, stacks, strict=True):
                self._point(step, name, its)

    def _stack(
        self,
        dtypes: Sequence[str],
        members: Sequence[int],
        shape: tuple[int, ...],
        ends: Sequence[int],
    ) -> Any:
        area = max(1, shape[0] * shape[1])
        return self.library.empty((ends[-1] // area, *shape), dtypes[members[0]])

    def _point(self, step: Step, column: str, stacks: Sequence[Any]) -> None:
        """Let a column be the matrices of these stacks."""
        addresses = [0] * len(self.order)
        for (_, members, _, ends), stack in zip(self._kinds, stacks, strict=True):
            begin, size = self.library.address(stack), stack.itemsize
            for i, first in zip(members, ends, strict=False):
                addresses[i] = begin + size * first
        step.point(column, addresses)

    def point(self, column: str, addresses: Sequence[int]) -> None:
        """Say where a column of each tensor begins in memory."""
        if column == "step":
            self._counts = [*addresses]
            self._steps[-1].point(column, addresses)
            return
        for step in self._steps:
            if column in step.columns:
                step.point(column, addresses)

    place = point

    def set_group(self, group: int, values: Sequence[float]) -> None:
        """Give a group its hyperparameters, in the order of `inputs`."""
        mine = self._values[group]
        mine.update(zip(self.inputs, values, strict=True))
        for step in self._steps:
            step.set_group(group, [mine[name] for name in step.inputs])

    def setter(self, group: int, name: str) -> Callable[[float], None] | None:
        """What gives a group one hyperparameter; None where nothing uses it."""
        if name not in self.inputs:
            return None
        setters = [found for step in self._steps if (found := step.setter(group, name))]

        def give(value: float) -> None:
            self._values[group][name] = value
            for setter in setters:
                setter(value)

        return give

    def squares(self) -> float:
        """The sum of the squared gradients of the last run."""
        return self._steps[-1].squares()

    def run(self, expected: int, seed: int = 0, between: object = None) -> int:
        """Take the step, or refuse it before anything has changed, as a kernel does."""
        held = []  # until the kernels have read them
        if self._counting:
            pairs = zip(self._count_types, self._counts, strict=True)
            taken = [of.from_address(at).value if at else 0.0 for of, at in pairs]
            for own in self._own:
                own[:] = taken
        for i, (turn, step, stacks) in enumerate(
            zip(self.turns, self._steps, self._stacks, strict=True)
        ):
            status = step.run(expected, seed)
            if status != READY:
                return status
            for call, name, its in zip(turn.calls, turn.found, stacks, strict=True):
                found = [
                    self._called(call, self._values[group], stack)
                    for (group, *_), stack in zip(self._kinds, its, strict=True)
                ]
                for later in self._steps[i + 1 :]:
                    if name in later.columns:
                        self._point(later, name, found)
                held.append(found)
        return READY

    def _called(self, call: Node, values: Mapping[str, float], stack: Any) -> Any:
        numbers = [_number(x, values) for x in call.args[1:]]
        return getattr(self.library, call.op)(stack, *numbers)


def _left_as(call: Node, dtype: Mapping[str, str]) -> str:
    """The dtype in which a kernel leaves what an operation is given, and reads what it gives."""
    if call.args[3].op == "constant" and call.args[3].value:
        return "bfloat16"
    return "float64" if "float64" in dtype.values() else "float32"


def _number(node: Node, values: Mapping[str, float]) -> Any:
    """The value of a node that depends on hyperparameters alone."""
    if node.op == "constant":
        return node.value
    if node.op == "hyperparameter":
        return values[node.value]
    return ops.apply(node.op, *(_number(x, values) for x in node.args))


def _running(sizes: Any) -> list[int]:
    found, total = [], 0
    for size in sizes:
        total += size
        found.append(total)
    return found
