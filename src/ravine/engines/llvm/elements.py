"""What a pass does with the elements of a chunk, in registers and without temporaries, on any target.

Columns are loaded, the rule's operations follow in its order, reductions are accumulated, and columns are
stored. The target decides who walks over which elements: walk.py for the threads of a CPU, blocks.py for the
blocks of a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ravine.draws import DRAWN
from ravine.engines.kernel import ROW, Value
from ravine.engines.llvm.body import Body
from ravine.engines.llvm.codes import Codes
from ravine.engines.llvm.columns import HALVES, MEMORY, Columns
from ravine.engines.llvm.draws import Draws
from ravine.engines.llvm.noise import Noise
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.llvm.reductions import more
from ravine.engines.llvm.tables import RECORD, rows_of, scalar
from ravine.engines.llvm.variant import Variant
from ravine.engines.narrow import BLOCK
from ravine.engines.passes import Pass

__all__ = ["Elements", "Row"]


@dataclass
class Row:
    """A row, or a whole chunk: the index of its first element in the chunk, and the code for its elements."""

    first: str
    narrow: Body
    wide: Body


class Elements:
    """The code of a pass for the elements of a chunk.

    space: the address space of columns, as LLVM writes it after "ptr". aligned: whether columns are
    aligned to whole vectors.
    """

    space, aligned = "", False

    def __init__(self, out: Printer, variant: Variant, walk: Pass):
        self.out, self.variant, self.walk = out, variant, walk
        self.kernel = variant.kernel
        self.columns = [c for c in self.kernel.columns if c in (*walk.loads, *walk.stores)]
        self.one, self.wide = Type(variant.of), Type(variant.of, variant.width)
        of_rows = [v for v in walk.lines if v.level == ROW]
        self.reduced = {f"sum{i}": v for i, v in enumerate([*walk.sums, *of_rows])}
        self.sums = {x: v.op.removeprefix("row_") for x, v in self.reduced.items()}
        self.streams = sorted({v.leaf for v in walk.values if v.op in DRAWN})
        self.codes = [c for c in variant.codes if c in self.columns]
        self.buffers: dict[str, str] = {}
        self.draws: Draws | None = None
        self.across: dict[Value, str] = {}  # the addresses of values for each column
        self.parted: dict[Value, str] = {}  # the addresses of a chunk's reductions for each column

    def length(self, record: str, start: str) -> str:
        """The number of elements of the chunk that begins there, which is smaller at the end of a tensor."""
        out = self.out
        numel = out.field(record, RECORD, "numel")
        length = out.field(record, RECORD, "chunk_length")
        rest = out.set("rest", f"sub i64 {numel}, {start}")
        full = out.set("full", f"icmp ult i64 {length}, {rest}")
        return out.set("count", f"select i1 {full}, i64 {length}, i64 {rest}")

    def within_matrix(self, record: str, start: str, count: str) -> str:
        """The number of elements in a chunk that ends with its matrix, if that is split."""
        out = self.out
        height, columns = (out.field(record, RECORD, name) for name in ("height", "columns"))
        area = out.set("area", f"mul i64 {height}, {columns}")
        within = out.set("within", f"urem i64 {start}, {area}")
        left = out.set("left", f"sub i64 {area}, {within}")
        short = out.set("short", f"icmp ult i64 {count}, {left}")
        size = out.set("size", f"select i1 {short}, i64 {count}, i64 {left}")
        pieces = out.field(record, RECORD, "pieces")
        split = out.set("split", f"icmp ugt i64 {pieces}, 1")
        return out.set("count", f"select i1 {split}, i64 {size}, i64 {count}")

    def bodies(
        self, record: str, tensor: str, start: str, addresses: Mapping[str, str]
    ) -> tuple[Body, Body, Columns]:
        """The code for an element and for a vector of them, and the columns of a chunk.

        addresses: for each column, the table of the addresses of the tensors' columns.
        """
        out, walk, variant = self.out, self.walk, self.variant
        rows, pointer = rows_of(out, record), f"ptr{self.space}"
        base, scales = self.places(record, tensor, start, addresses)
        narrow, wide = self.scalars(rows)
        halves = [c for c in walk.stores if variant.dtype[c] in HALVES and c != "g"]
        rounded = halves if variant.stochastic else []
        noise = None
        if rounded or self.streams or self.buffers:
            even, paired = not self.kernel.has_lines, variant.paired
            noise = Noise(out, start, variant.width, even, paired)
            fields = {name: out.field(record, RECORD, name) for name in ("noise", "number")}
            noise.rounds(self.kernel.columns, rounded, **fields)
            noise.codes(variant.codes, self.buffers, **fields)
            self.draws = Draws(out, noise, self.streams, **fields)
        codes = self.in_codes(base, scales, noise)
        noise = noise if rounded else None
        columns = Columns(
            out, variant.dtype, base, noise, pointer, self.aligned, codes, variant.paired
        )
        narrow.stored = wide.stored = columns.stored
        return narrow, wide, columns

    def places(
        self, record: str, tensor: str, start: str, addresses: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Where each column of a chunk begins, and the scales of those in codes."""
        out, pointer = self.out, f"ptr{self.space}"
        base, scales = {}, {}
        for c in self.columns:
            at = out.at(addresses[c], tensor, "ptr", f"{c}.at")
            whole = out.load(f"{c}.whole", at, "ptr")
            if self.space:
                whole = out.set(f"{c}.whole", f"addrspacecast ptr {whole} to {pointer}")
            base[c] = out.at(whole, start, MEMORY[self.variant.dtype[c]], f"{c}.here", pointer)
            if c in self.codes:  # the scales are behind the codes of whole blocks
                numel = out.field(record, RECORD, "numel")
                end = out.set("end", f"add i64 {numel}, {BLOCK - 1}")
                end = out.set("end", f"and i64 {end}, {-BLOCK}")
                behind = out.at(whole, end, "i8", pointer=pointer)
                number = out.set("number", f"udiv i64 {start}, {BLOCK}")
                scales[c] = out.at(behind, number, "i32", pointer=pointer)
        return base, scales

    def in_codes(
        self, base: Mapping[str, str], scales: Mapping[str, str], noise: Noise | None
    ) -> Codes:
        """The columns in codes, given what :meth:`places` returns."""
        dtype, width = self.variant.dtype, self.variant.width
        return Codes(self.out, dtype, base, scales, self.buffers, noise, width)

    def loop(
        self,
        label: str,
        span: tuple[str, str],
        starts: dict[str, str],
        bodies: Sequence[Body],
        rows: Sequence[Row],
        columns: Columns,
        step: int | str = 0,
    ) -> None:
        """Step the elements of a span in each row, as many at a time as the bodies are wide.

        starts: the initial value of each reduction. step: the distance to the next elements; by default
        the width.
        """
        out, (begin, end), before = self.out, span, self.out.block
        kind = bodies[0].kind
        out.label(label)
        out.line(f"%i.{label} = phi i64 [ {begin}, %{before} ], [ %i.{label}.next, %{label} ]")
        for x, start in starts.items():
            ends = f"[ {start}, %{before} ], [ %{x}.{label}.next, %{label} ]"
            out.line(f"%{x}.{label} = phi {kind.like('double')} {ends}")
        self.elements(label, bodies, rows, columns)
        out.line(f"%i.{label}.next = add i64 %i.{label}, {step or kind.width}")
        out.line(f"%i.{label}.more = icmp ult i64 %i.{label}.next, {end}")
        out.branch(f"%i.{label}.more", label, f"{label}.end")

    def elements(
        self, label: str, bodies: Sequence[Body], rows: Sequence[Row], columns: Columns
    ) -> None:
        """The step for the elements of each row from i on: as many as the bodies are wide.

        Values for each column are read, and reductions for each column are stored, once for all rows.
        """
        out, i, kind = self.out, f"%i.{label}", bodies[0].kind
        double = kind.like("double")
        there = {}
        for v, begin in self.across.items():
            there[v] = x = out.set("x", f"load {double}, ptr {out.at(begin, i)}, align 8")
            if kind.of == "float":
                there[v] = out.set("x", f"fptrunc {double} {x} to {kind}")
        at = [i if row.first == "0" else out.set("at", f"add i64 {i}, {row.first}") for row in rows]
        for body, place in zip(bodies, at, strict=True):
            body.names |= there
            self.element(body, columns, place)
        wider = self.wider
        for x, v in self.reduced.items():
            for r in self.each(v, rows):
                mine, found = bodies if v.level != ROW else [bodies[r]], f"%{x}.{r}.{label}"
                for body in mine[:-1]:
                    text = more(out, self.sums[x], double, found, wider(body, v.args[0]))
                    found = out.set("found", text)
                text = more(out, self.sums[x], double, found, wider(mine[-1], v.args[0]))
                out.line(f"%{x}.{r}.{label}.next = {text}")
        for v, begin in self.parted.items():
            where = out.at(begin, i)
            x = out.set("part", f"load {double}, ptr {where}, align 8")
            for body in bodies:
                text = more(out, v.op.removeprefix("column_"), double, x, wider(body, v.args[0]))
                x = out.set("part", text)
            out.line(f"store {double} {x}, ptr {where}, align 8")
        for body, place in zip(bodies, at, strict=True):
            stores = {c: body.number(v) for c, v in self.walk.stores.items()}
            for c, x in stores.items():
                columns.store(c, kind, place, x)

    def element(
        self, body: Body, columns: Columns, place: str, needed: Container[Value] | None = None
    ) -> None:
        """Load and compute the values of elements; needed: some of them."""
        kind = body.kind
        for c, v in self.walk.loads.items():
            if needed is None or v in needed:
                body.names[v] = columns.load(c, kind, place)
                if self.codes and kind.width > 1 and not self.space:
                    columns.prefetch(c, kind, place)
        if self.draws is not None:
            body.draw = partial(self.draws.draw, kind=kind, i=place)
        for v in self.walk.values:
            if needed is None or v in needed:
                body.compute(v)

    def wider(self, body: Body, v: Value) -> str:
        """A value of elements in float64, in which they are reduced."""
        x, kind = body.number(v), body.kind
        if kind.of == "double":
            return x
        return self.out.set("wider", f"fpext {kind} {x} to {kind.like('double')}")

    def scalars(self, rows: dict[int, str]) -> tuple[Body, Body]:
        """The scalars that elements are combined with, as single numbers and as vectors."""
        out = self.out
        narrow, wide = (Body(out, kind) for kind in (self.one, self.wide))
        used = {x for v in self.walk.values for x in wide.operands(v)}
        reduced = (*self.walk.sums, *self.walk.lines)
        used |= {*self.walk.stores.values(), *(x for v in reduced for x in v.args)}
        conditions = {v.args[0] for v in self.walk.values if v.op == "where"}
        for v in self.walk.scalars:
            if v.op == "constant" or v not in used:
                continue
            number = scalar(out, self.kernel, rows, v)
            if v in conditions:
                test = ("i1", out.set(f"{v.called}.on", f"fcmp une double {number}, 0.0"))
                narrow.truths[v] = wide.truths[v] = test
            if self.one.of == "float":
                number = out.set(f"{v.called}.f", f"fptrunc double {number} to float")
            if self.variant.paired:  # a NaN's lower half is zero
                nan = self.one.constant(math.nan)
                unknown = out.set("isnan", f"fcmp uno float {number}, {number}")
                number = out.set("right", f"select i1 {unknown}, float {nan}, float {number}")
            narrow.names[v], wide.names[v] = number, out.splat(number, self.wide)
        return narrow, wide

    def each(self, reduction: Value, rows: Sequence[Row]) -> range:
        """The rows for which a reduction has a separate number; otherwise the first counts for all."""
        return range(len(rows) if reduction.level == ROW else 1)

    def splat(self, narrow: Body, wide: Body, value: Value, x: str) -> None:
        """Make a number of the row, or of the matrix, available to the elements."""
        if self.one.of == "float":
            x = self.out.set("x", f"fptrunc double {x} to float")
        narrow.names[value], wide.names[value] = x, self.out.splat(x, self.wide)
