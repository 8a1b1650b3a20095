"""`pass_k`: one pass over the elements, in registers, without temporaries.

Threads claim runs of chunks, so that each walks long ways through memory. In a chunk there is a wide
loop, then one for the elements left over; what they sum up, or find to be the greatest or the least,
is left as the chunk's part.
"""

from __future__ import annotations

from functools import partial

from ravine.draws import DRAWN
from ravine.engines.kernel import COLUMN, DTYPES, MATRIX, ROW, Value
from ravine.engines.llvm.body import Body
from ravine.engines.llvm.columns import HALVES, MEMORY, Columns
from ravine.engines.llvm.draws import Draws
from ravine.engines.llvm.lines import Lines, strip
from ravine.engines.llvm.noise import Noise
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.llvm.reductions import across, identity, more
from ravine.engines.llvm.tables import BATCH, CHUNK, RECORD, record_of, rows_of, scalar
from ravine.engines.llvm.variant import Variant
from ravine.engines.passes import Pass

__all__ = ["print_pass"]


def print_pass(out: Printer, variant: Variant, walk: Pass) -> None:
    """The function that walks over the elements of a batch's tensors."""
    moved = sum(DTYPES[variant.dtype[c]] for c in (*walk.loads, *walk.stores))
    out.begin(
        f"@pass_{walk.stage}(ptr %batch)",
        f"for every element: reads {' '.join(walk.loads) or 'nothing'}, "
        f"writes {' '.join(walk.stores) or 'partial sums'}; {moved} bytes",
    )
    _Walk(out, variant, walk).claim_chunks()
    out.end()


class _Walk:
    """The parts of the function, from the outermost loop to the elements."""

    def __init__(self, out: Printer, variant: Variant, walk: Pass):
        self.out, self.variant, self.walk = out, variant, walk
        self.kernel = variant.kernel
        self.columns = [c for c in self.kernel.columns if c in (*walk.loads, *walk.stores)]
        self.one, self.wide = Type(variant.of), Type(variant.of, variant.width)
        of_rows = [v for v in walk.lines if v.level == ROW]
        self.reduced = {f"sum{i}": v for i, v in enumerate([*walk.sums, *of_rows])}
        self.sums = {x: v.op.removeprefix("row_") for x, v in self.reduced.items()}
        self.streams = sorted({v.leaf for v in walk.values if v.op in DRAWN})
        self.draws: Draws | None = None
        self.across: dict[Value, str] = {}  # where what there is for each column begins
        self.parted: dict[Value, str] = {}  # where what a chunk finds for each column begins

    def claim_chunks(self) -> None:
        """Claim runs of chunks, and walk over those of tensors that have a gradient."""
        out = self.out
        chunk_count = out.field("%batch", BATCH, "chunk_count")
        chunks = out.field("%batch", BATCH, "chunks", "ptr")
        records = out.field("%batch", BATCH, "records", "ptr")
        partials = out.field("%batch", BATCH, "partials", "ptr")
        run = out.field("%batch", BATCH, "run")
        addresses = {}
        for c in dict.fromkeys(["g", *self.columns]):
            place = len(BATCH) + self.kernel.columns.index(c)
            at = out.at("%batch", place, "i64", f"{c}.at")
            addresses[c] = out.load(f"{c}.addresses", at, "ptr")
        out.jump("claim")

        out.label("claim")
        first = out.set("first", f"atomicrmw add ptr %batch, i64 {run} monotonic")
        beyond = out.set("beyond", f"add i64 {first}, {run}")
        whole = out.set("whole", f"icmp ult i64 {beyond}, {chunk_count}")
        last = out.set("last", f"select i1 {whole}, i64 {beyond}, i64 {chunk_count}")
        out.line(f"%more = icmp ult i64 {first}, {last}")
        out.branch("%more", "chunk.begin", "end")
        out.label("chunk.begin")
        out.line(f"%chunk = phi i64 [ {first}, %claim ], [ %chunk.next, %chunk.past ]")
        at = out.set("chunk.word", f"mul i64 %chunk, {len(CHUNK)}")
        at = out.at(chunks, at, "i64", "chunk.at")
        tensor, start = (out.field(at, CHUNK, name) for name in CHUNK)
        gradient = out.load("g.whole", out.at(addresses["g"], tensor, "ptr", "g.at"), "ptr")
        absent = out.set("absent", f"icmp eq ptr {gradient}, null")
        out.branch(absent, "chunk.past", "chunk.here")
        out.label("chunk.here")
        found = self.chunk(record_of(out, records, tensor), tensor, start, addresses)
        for i, name in enumerate(found.values()):
            at = out.set("at", f"mul i64 %chunk, {self.variant.partials}")
            at = out.set("at", f"add i64 {at}, {i}")
            out.store(name, out.at(partials, at))
        out.jump("chunk.past")
        out.label("chunk.past")
        out.line("%chunk.next = add i64 %chunk, 1")
        out.line(f"%chunk.again = icmp ult i64 %chunk.next, {last}")
        out.branch("%chunk.again", "chunk.begin", "claim")
        out.label("end")

    def chunk(
        self, record: str, tensor: str, start: str, addresses: dict[str, str]
    ) -> dict[str, str]:
        """Walk over the elements of a chunk; what they are reduced to."""
        out, walk, variant = self.out, self.walk, self.variant
        numel = out.field(record, RECORD, "numel")
        length = out.field(record, RECORD, "chunk_length")
        rest = out.set("rest", f"sub i64 {numel}, {start}")
        full = out.set("full", f"icmp ult i64 {length}, {rest}")
        count = out.set("count", f"select i1 {full}, i64 {length}, i64 {rest}")
        rows = rows_of(out, record)
        base = {}
        for c in self.columns:
            at = out.at(addresses[c], tensor, "ptr", f"{c}.at")
            whole = out.load(f"{c}.whole", at, "ptr")
            base[c] = out.at(whole, start, MEMORY[variant.dtype[c]], f"{c}.here")
        narrow, wide = self.scalars(rows)
        rounded = [c for c in walk.stores if variant.dtype[c] in HALVES and variant.stochastic]
        noise = None
        if rounded or self.streams:
            noise = Noise(out, start, variant.width)
            fields = {name: out.field(record, RECORD, name) for name in ("noise", "number")}
            noise.rounds(self.kernel.columns, rounded, **fields)
            self.draws = Draws(out, noise, self.streams, **fields)
        columns = Columns(out, variant.dtype, base, noise if rounded else None)
        narrow.stored = wide.stored = columns.stored

        if self.kernel.by_lines:
            return self.lines(record, start, count, narrow, wide, columns)
        return self.run("0", count, narrow, wide, columns)

    def run(
        self, first: str, count: str, narrow: Body, wide: Body, columns: Columns
    ) -> dict[str, str]:
        """Step so many elements from the first on; what they are reduced to."""
        out, before = self.out, self.out.block
        out.line(f"%wide.count = and i64 {count}, {-self.variant.width}")
        out.line("%any.wide = icmp ugt i64 %wide.count, 0")
        middle, last, after = "%wide.count", count, "wide.end"
        if first != "0":  # a row, which may be short: its vectors, of nothing, take long to reduce
            middle = out.set("middle", f"add i64 {first}, %wide.count")
            last = out.set("last.one", f"add i64 {first}, {count}")
            after = "wide.past"
        out.branch("%any.wide", "wide", after)
        double = self.wide.like("double")
        starts = {x: identity(op, double) for x, op in self.sums.items()}
        self.loop("wide", "i", (first, middle), starts, wide, columns)
        out.label("wide.end")
        if after == "wide.end":
            for x in self.sums:
                ends = f"[ {starts[x]}, %{before} ], [ %{x}.i.next, %wide ]"
                out.line(f"%{x}.all = phi {double} {ends}")
            for x, op in self.sums.items():
                out.line(f"%{x}.start = {across(out, op, double, f'%{x}.all')}")
        else:
            for x, op in self.sums.items():
                out.line(f"%{x}.all = {across(out, op, double, f'%{x}.i.next')}")
            out.jump(after)
            out.label(after)
            for x, op in self.sums.items():
                nothing = identity(op, Type("double"))
                ends = f"[ {nothing}, %{before} ], [ %{x}.all, %wide.end ]"
                out.line(f"%{x}.start = phi double {ends}")
        out.line(f"%any.left = icmp ult i64 %wide.count, {count}")
        out.branch("%any.left", "left.over", "left.over.end")
        starts = {x: f"%{x}.start" for x in self.sums}
        self.loop("left.over", "j", (middle, last), starts, narrow, columns)
        out.label("left.over.end")
        for x in self.sums:
            ends = f"[ %{x}.start, %{after} ], [ %{x}.j.next, %left.over ]"
            out.line(f"%{x} = phi double {ends}")
        return {x: f"%{x}" for x in self.sums}

    def lines(
        self, record: str, start: str, count: str, narrow: Body, wide: Body, columns: Columns
    ) -> dict[str, str]:
        """Step the elements of a chunk row by row; what they are reduced to.

        A chunk is a piece of a matrix, or several whole matrices, each of them one piece.
        """
        out, walk = self.out, self.walk
        lines = Lines(out, self.kernel, record)
        length, double = lines.each[COLUMN], Type("double")
        begins = {v: lines.begin(v) for v in walk.vectors}
        begins |= {v: lines.begin(v) for v in walk.lines if v.level == ROW}
        pieces = out.field(record, RECORD, "pieces")
        first_row = out.set("first.row", f"udiv i64 {start}, {length}")
        area = out.set("area", f"mul i64 {lines.each[ROW]}, {length}")
        first = out.set("first", f"udiv i64 {start}, {area}")
        within = out.set("within", f"urem i64 {start}, {area}")
        left = out.set("left", f"sub i64 {area}, {within}")
        short = out.set("short", f"icmp ult i64 {count}, {left}")
        size = out.set("size", f"select i1 {short}, i64 {count}, i64 {left}")
        split = out.set("split", f"icmp ugt i64 {pieces}, 1")
        several = out.set("several", f"udiv i64 {count}, {size}")
        several = out.set("several", f"select i1 {split}, i64 1, i64 {several}")
        rows = out.set("rows", f"udiv i64 {size}, {length}")
        part = out.field(record, RECORD, "chunk_length")
        part = out.set("part", f"udiv i64 {within}, {part}")
        of_tensor = {x: v.op for x, v in self.reduced.items() if v in walk.sums}
        starts = {f"{x}.pieces": identity(op, double) for x, op in of_tensor.items()}
        with out.loop("piece", several, starts) as becomes:
            matrix = out.set("matrix", f"add i64 {first}, %piece")
            begin = out.set("begin", f"mul i64 %piece, {size}")
            row = out.set("row", f"mul i64 %piece, {rows}")
            row = out.set("row", f"add i64 {first_row}, {row}")
            number = out.set("number", f"mul i64 {matrix}, {pieces}")
            number = out.set("number", f"add i64 {number}, {part}")
            here = {}
            for v in walk.vectors:
                if v.level == MATRIX:
                    self.splat(narrow, wide, v, lines.load(double, begins[v], matrix))
                elif v.level == COLUMN:
                    here[v] = lines.within(begins[v], COLUMN, matrix)
            parts = self.parts(lines, number)
            inner = {f"{x}.rows": f"%{x}.pieces" for x in of_tensor}
            with out.loop("line", rows, inner) as more_rows:
                offset = out.set("offset", f"mul i64 %line, {length}")
                offset = out.set("offset", f"add i64 {begin}, {offset}")
                line = out.set("number", f"add i64 {row}, %line")
                back = out.set("back", f"sub i64 0, {offset}")
                for v in walk.vectors:
                    if v.level == ROW:
                        self.splat(narrow, wide, v, lines.load(double, begins[v], line))
                self.across = {v: out.at(at, back) for v, at in here.items()}
                self.parted = {v: out.at(at, back) for v, at in parts.items()}
                found = self.run(offset, length, narrow, wide, columns)
                for x, v in self.reduced.items():
                    if v not in walk.sums:
                        lines.store(double, found[x], begins[v], line)
                for x, op in of_tensor.items():
                    text = more(out, op, double, f"%{x}.rows", found[x])
                    more_rows[f"{x}.rows"] = out.set(f"{x}.more", text)
            becomes |= {f"{x}.pieces": f"%{x}.rows" for x in of_tensor}
        return {x: f"%{x}.pieces" for x in of_tensor}

    def splat(self, narrow: Body, wide: Body, value: Value, x: str) -> None:
        """Let the elements meet a number of their row, or of their matrix."""
        if self.one.of == "float":
            x = self.out.set("x", f"fptrunc double {x} to float")
        narrow.names[value], wide.names[value] = x, self.out.splat(x, self.wide)

    def parts(self, lines: Lines, number: str) -> dict[Value, str]:
        """Where a piece, of that number, leaves what it finds for each column, begun."""
        out, length = self.out, lines.each[COLUMN]
        mine = [v for v in self.walk.lines if v.level == COLUMN]
        if not mine:
            return {}
        parts = out.field(lines.record, RECORD, "column_parts", "ptr")
        number = out.set("number", f"mul i64 {number}, {self.variant.column_parts}")
        where = {}
        for place, v in enumerate(mine):
            at = out.set("at", f"add i64 {number}, {place}")
            where[v] = part = out.at(parts, out.set("at", f"mul i64 {at}, {length}"))
            op = v.op.removeprefix("column_")

            def begin(kind: Type, i: str, op: str = op, part: str = part) -> None:
                lines.store(kind, identity(op, kind), part, i)

            strip(out, f"part{place}", length, begin)
        return where

    def loop(
        self,
        label: str,
        i: str,
        span: tuple[str, str],
        starts: dict[str, str],
        body: Body,
        columns: Columns,
    ) -> None:
        """Step the elements of a span, as many at a time as the body is wide.

        starts: what each reduction begins at.
        """
        out, (begin, end), before = self.out, span, self.out.block
        out.label(label)
        out.line(f"%{i} = phi i64 [ {begin}, %{before} ], [ %{i}.next, %{label} ]")
        double = body.kind.like("double")
        for x in self.sums:
            ends = f"[ {starts[x]}, %{before} ], [ %{x}.{i}.next, %{label} ]"
            out.line(f"%{x}.{i} = phi {double} {ends}")
        self.elements(f"%{i}", body, columns)
        out.line(f"%{i}.next = add i64 %{i}, {body.kind.width}")
        out.line(f"%{i}.more = icmp ult i64 %{i}.next, {end}")
        out.branch(f"%{i}.more", label, f"{label}.end")

    def elements(self, i: str, body: Body, columns: Columns) -> None:
        """The step for the elements from i on: as many as the body is wide."""
        out = self.out
        for c, v in self.walk.loads.items():
            body.names[v] = columns.load(c, body.kind, i)
        double = body.kind.like("double")
        for v, begin in self.across.items():
            x = out.set("x", f"load {double}, ptr {out.at(begin, i)}, align 8")
            if body.kind.of == "float":
                x = out.set("x", f"fptrunc {double} {x} to {body.kind}")
            body.names[v] = x
        if self.draws is not None:
            body.draw = partial(self.draws.draw, kind=body.kind, i=i)
        for v in self.walk.values:
            body.compute(v)

        def wider(v: Value) -> str:
            x = body.number(v)
            if body.kind.of == "double":
                return x
            return out.set("wider", f"fpext {body.kind} {x} to {double}")

        for sum_, v in self.reduced.items():
            found = f"%{sum_}.{i[1:]}"
            text = more(out, self.sums[sum_], double, found, wider(v.args[0]))
            out.line(f"{found}.next = {text}")
        for v, begin in self.parted.items():
            at = out.at(begin, i)
            x = out.set("part", f"load {double}, ptr {at}, align 8")
            text = more(out, v.op.removeprefix("column_"), double, x, wider(v.args[0]))
            out.line(f"store {double} {out.set('part', text)}, ptr {at}, align 8")
        stores = {c: body.number(v) for c, v in self.walk.stores.items()}
        for c, x in stores.items():
            columns.store(c, body.kind, i, x)

    def scalars(self, rows: dict[int, str]) -> tuple[Body, Body]:
        """The scalars that the elements meet, as single numbers and as vectors."""
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
            narrow.names[v], wide.names[v] = number, out.splat(number, self.wide)
        return narrow, wide
