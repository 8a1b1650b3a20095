"""What a kernel is: values on six levels, and when and where each of them is computed and kept.

The step of a fused kernel has values on six levels: of a parameter group (what depends only on t and
the hyperparameters), of a tensor (reductions, scalar slots, and what depends on them), of each matrix of
a tensor that is seen as matrices, of each of their rows, of each of their columns, and of each element.
A reduction ends a pass over the elements. lowering.py turns a rule's graph into a kernel, and printers
(engines/llvm/) turn it into code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

from ravine.draws import DRAWN
from ravine.engines.graph import Graph
from ravine.rule import RuleError
from ravine.views import seen_ndim, seen_shape

__all__ = [
    "COLUMN",
    "DTYPES",
    "EACH",
    "ELEMENT",
    "GROUP",
    "LARGEST",
    "LINES",
    "MATRIX",
    "PARTED",
    "PARTIAL",
    "ROW",
    "SIZES",
    "SIZE_AT",
    "SMALLEST",
    "TENSOR",
    "WHOLE",
    "Kernel",
    "KernelError",
    "Value",
    "sizes_of",
]

DTYPES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "uint8": 1}
"""The dtypes that a column may have, and the bytes of an element; 8 bits are codes, see narrow.py."""

GROUP, TENSOR, MATRIX, ROW, COLUMN, ELEMENT = range(6)
LINES = {MATRIX: "matrix", ROW: "row", COLUMN: "column"}
"""Of which a tensor has several."""
SIZES = ("numel", "matrices", "rows", "height", "widths", "columns")
SIZE_AT = {ELEMENT: "numel", MATRIX: "matrices", ROW: "rows", COLUMN: "widths"}
"""What a tensor has of them: all its matrices and rows; rows in a matrix; all columns; columns in a
matrix, which are those of a row."""

SMALLEST, LARGEST = 2.0**-126, 2.0**126
"""Between these bounds, a number and its reciprocal are normal numbers in float32, too."""

PARTIAL = ("sum", "greatest", "least")
"""The reductions of which each chunk of elements computes a part; a mean is made from a sum."""
PARTED = tuple(f"{line}_{op}" for line in ("row", "column") for op in PARTIAL)
"""Those for each row or each column."""
WHOLE, EACH = (tuple(f"{of}_{op}" for op in PARTIAL) for of in ("all", "each"))
"""Those of what there is for each matrix, row or column: to one number, or to one for each matrix."""


def sizes_of(many: int, rows: int, columns: int) -> dict[str, int]:
    """What a tensor has of everything in SIZES, if it is so many matrices."""
    sizes = (many * rows * columns, many, many * rows, rows, many * columns, columns)
    return dict(zip(SIZES, sizes, strict=True))


class KernelError(RuleError):
    """A rule for which there can be no CPU kernel; the message says why, and what runs instead."""


@dataclass(eq=False)
class Value:
    """A value of the kernel: a leaf (t, a hyperparameter, a slot, a constant) or an operation.

    level: one per group, per tensor or per element. stage: how many reductions, one after the
    other, must be finished before it can be computed.
    """

    index: int
    op: str
    args: tuple[Value, ...]
    level: int
    stage: int
    leaf: Any = None
    name: str = ""

    @property
    def called(self) -> str:
        """Its name in printed code."""
        return str(self.leaf or self.name or self.op)


@dataclass(eq=False)
class Kernel:
    """A rule's step, lowered: independent of dtypes until it is printed.

    signals: those that are arrays, as many as the step is given. columns: p, g, the signals, and the
    live slots that are arrays. short: the columns that have one number for each row, or for each
    column. slots: the live slots that are scalars. views: how a tensor is seen as matrices: as one, its
    "first" axis by the rest; with rows along its "last" axis; with columns along the last but one, each
    "below" the other; or as one "matrix" of two axes.
    inputs: what a group row begins with: t and the hyperparameters that are used. squares: the sum
    of the squared gradients over all tensors, where it is asked for. spread: whether tensors may be
    parts of tensors that are spread over processes; each reduction then ends a stage, so that the
    processes can put their parts together.
    """

    graph: Graph
    spread: bool = False
    columns: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    short: dict[str, int] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)
    outputs: dict[str, Value] = field(default_factory=dict)
    squares: Value | None = None
    values: list[Value] = field(default_factory=list)
    _known: dict[Any, Value] = field(default_factory=dict)

    def leaf(self, op: str, leaf: Any, level: int) -> Value:
        """The leaf of that kind and name (or number)."""
        return self.value(op, (), level, 0, leaf)

    def matrices(self, shape: Sequence[int]) -> tuple[int, int, int] | None:
        """The number of matrices in a tensor of this shape, as the kernel sees it, and their rows and
        columns; None if it cannot see it.
        """
        shape = seen_shape(shape, self.graph.rule.seen)
        lines = self._lines_of(len(shape))
        if lines is None:
            return None
        sizes = {MATRIX: 1, ROW: 1, COLUMN: 1}
        for line, n in zip(lines, shape, strict=True):
            sizes[line] *= n
        return sizes[MATRIX], sizes[ROW], sizes[COLUMN]

    def line_of(self, ndim: int, axis: int) -> int:
        """What lies along an axis of a tensor of so many, as the kernel sees it: its matrices, the rows of a
        matrix, or the columns.
        """
        if not self.by_lines:
            return COLUMN
        seen = seen_ndim(ndim, self.graph.rule.seen)
        merged = min(axis, seen - 1) if self.graph.rule.seen == "matrix" else axis - (ndim - seen)
        lines = self._lines_of(seen)
        assert lines is not None
        return lines[max(0, merged)]

    def _lines_of(self, ndim: int) -> list[int] | None:
        """The same of each axis that is seen; None where the kernel cannot see such a tensor."""
        if ndim == 2:
            return [ROW, COLUMN]
        if ndim and self.views == {"first"}:
            return [ROW, *[COLUMN] * (ndim - 1)]
        if ndim and self.views == {"last"}:  # rows are independent of one another
            return [*[ROW] * (ndim - 1), COLUMN]
        known = ndim > 2 and self.views <= {"last", "below"}
        return [*[MATRIX] * (ndim - 2), ROW, COLUMN] if known else None

    @property
    def by_lines(self) -> bool:
        """Whether there are values for each row or column."""
        return bool(self.views)

    @cached_property
    def has_lines(self) -> bool:
        """Whether anything is computed or stored for each matrix, row or column."""
        return bool(self.short) or any(v.level in LINES for v in self.needed)

    @cached_property
    def early(self) -> set[Value]:
        """The values of tensors that depend on no elements, matrices, rows or columns."""
        found: set[Value] = set()
        for v in self.needed:
            known = all(a.level == GROUP or a in found for a in v.args)
            if v.level == TENSOR and v.stage == 0 and known:
                found.add(v)
        return found

    @cached_property
    def due(self) -> dict[Value, int]:
        """The stage at which each value for matrices, rows or columns is computed: the first that needs it,
        so that it is not kept for long.
        """
        due: dict[Value, int] = {}
        for v in reversed(self.needed):
            users = [
                u.stage - 1 if self.is_found(u) else due.get(u, u.stage)
                for u in self._users.get(v, ())
            ]
            found = v.op == "vector" or self.is_found(v)
            if v.level in LINES:
                due[v] = v.stage if found or not users else min(users)
        return due

    def is_found(self, v: Value) -> bool:
        """Whether a value is combined from parts before its stage: those of chunks, or of processes."""
        return v.op in (*PARTIAL, *PARTED) or (self.spread and v.op in (*WHOLE, *EACH))

    def found(self, stage: int) -> list[Value]:
        """The values that are combined from parts before a stage."""
        return [v for v in self.needed if v.stage == stage and self.is_found(v)]

    def reduced(self, v: Value) -> set[int]:
        """What a reduction is over: all matrices of a tensor, the rows of each, the columns."""
        if v.op in PARTIAL:
            return {MATRIX, ROW, COLUMN}
        if v.op in PARTED:
            return {COLUMN if v.level == ROW else ROW}
        return {v.args[0].level, MATRIX} if v.op in WHOLE else {v.args[0].level}

    @cached_property
    def _users(self) -> dict[Value, list[Value]]:
        users: dict[Value, list[Value]] = {}
        for u in self.needed:
            for v in dict.fromkeys(u.args):
                users.setdefault(v, []).append(u)
        return users

    def runs(self, stage: int) -> list[list[Value]]:
        """What is computed at a stage for a tensor and for its matrices, rows and columns, in the order of
        the graph: neighbours of one level together, and each reduction alone.
        """
        found = [
            v
            for v in self.needed
            if TENSOR <= v.level < ELEMENT
            and v.op not in ("vector", *PARTED)
            and not (self.spread and self.is_found(v))
        ]
        mine = [v for v in found if self.due.get(v, v.stage) == stage]
        whole = (*WHOLE, *EACH)
        runs = groupby(mine, lambda v: (v.level, v if v.op in whole else None))
        return [list(run) for _, run in runs]

    @cached_property
    def lines(self) -> dict[Value, int]:
        """The place of each value that is kept for matrices, rows or columns; it may reuse the place of one
        that is no longer needed. A value that is used only where it is computed is not kept.
        """
        order = [
            (stage, i, run)
            for stage in range(self.stages)
            for i, run in enumerate(self.runs(stage))
        ]
        made = {v: (stage, 1, i) for stage, i, run in order for v in run}
        parts = {v: (v.stage, 0, 0) for v in self.needed if self.is_found(v)}
        begun = {v: at for v, at in parts.items() if v.level in LINES}
        begun |= {v: (v.stage - 1, 2, 0) for v in begun if v.level == ROW}  # in the pass before
        begun |= {self.leaf("vector", c, at): (-1, 0, 0) for c, at in self.short.items()}
        outputs = {*self.outputs.values()}
        when, spans = parts | made, []
        for v in dict.fromkeys([*begun, *(v for v in self.needed if v.level in LINES)]):
            first = begun.get(v) or made[v]
            uses = [when.get(u, (self.last, 2, 0)) for u in self._users.get(v, ())]
            last = (self.stages, 0, 0) if v in outputs else max(uses, default=first)
            if v in begun or v.op in EACH or last > first:
                spans.append((first, last, v))
        places: dict[Value, int] = {}
        free: dict[int, list[tuple[int, int, int]]] = {level: [] for level in LINES}
        for first, last, v in sorted(spans, key=lambda span: (span[0], span[2].index)):
            mine = free[v.level]  # until when each place is taken
            # A run reads before it writes, number by number.
            in_place = v in made and v.op not in EACH
            at = (
                i for i, until in enumerate(mine) if until < first or (in_place and until == first)
            )
            place = next(at, len(mine))
            mine[place:] = [last, *mine[place + 1 :]]
            places[v] = place
        return places

    def kept(self, level: int) -> int:
        """How many places there are for values of each matrix, row or column."""
        return max((1 + place for v, place in self.lines.items() if v.level == level), default=0)

    def value(
        self,
        op: str,
        args: tuple[Value, ...],
        level: int,
        stage: int,
        leaf: Any = None,
        name: str = "",
    ) -> Value:
        """The value of an operation on these arguments, unoptimized; each exists once."""
        key = (op, tuple(a.index for a in args), repr(leaf))
        if key not in self._known:
            self._known[key] = Value(len(self.values), op, args, level, stage, leaf, name)
            self.values.append(self._known[key])
        return self._known[key]

    def refuse(self, op: str, why: str) -> Any:
        """Raise the KernelError for an operation that the kernel cannot do."""
        raise KernelError(
            f"rule {self.graph.rule.name!r} has no CPU kernel: it uses {op}, {why}; "
            "it runs on the eager engine instead"
        )

    @cached_property
    def needed(self) -> list[Value]:
        """The values that the outputs depend on, in order."""
        wanted: set[int] = set()
        stack = [*self.outputs.values(), *([self.squares] if self.squares else [])]
        while stack:
            value = stack.pop()
            if value.index not in wanted:
                wanted.add(value.index)
                stack.extend(value.args)
        return [v for v in self.values if v.index in wanted]

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers."""
        return any(v.op in DRAWN for v in self.needed)

    @cached_property
    def stages(self) -> int:
        """How many stages there are."""
        return 1 + max(v.stage for v in self.needed)

    @cached_property
    def last(self) -> int:
        """The stage after whose pass over the elements no other is needed."""
        stored = [self.outputs[c].stage for c in self.full if c in self.outputs]
        return max(*stored, 0, *(v.stage - 1 for v in self.needed if v.op in (*PARTIAL, *PARTED)))

    @property
    def arrays(self) -> tuple[str, ...]:
        """The columns that are slots."""
        return self.columns[2 + len(self.signals) :]

    @cached_property
    def full(self) -> list[str]:
        """The columns in the shape of the parameter."""
        return [c for c in self.columns if c not in self.short]

    @cached_property
    def group_row(self) -> dict[Value, int]:
        """The position of each scalar in a group's row: the inputs first."""
        ours = [v for v in self.needed if v.level == GROUP]
        inputs = [v for name in self.inputs for v in ours if v.leaf == name]
        others = [v for v in ours if v.op != "constant"]
        return {v: i for i, v in enumerate(dict.fromkeys([*inputs, *others]))}

    @cached_property
    def tensor_row(self) -> dict[Value, int]:
        """The position of each scalar in a tensor's row: the scalar slots first."""
        slots = [self.leaf("scalar", name, TENSOR) for name in self.slots]
        others = [v for v in self.needed if v.level == TENSOR]
        return {v: i for i, v in enumerate(dict.fromkeys([*slots, *others]))}

    def place(self, scalar: Value) -> int:
        """The position of a scalar in the row of its group or tensor."""
        return (self.group_row, self.tensor_row)[scalar.level][scalar]

    @cached_property
    def totals(self) -> list[Value]:
        """The sums over all tensors."""
        return [v for v in self.needed if v.op == "total"]
