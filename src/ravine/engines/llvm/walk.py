"""`pass_k`: one pass over the elements, in registers, without temporaries.

Each thread has a range of chunks, the same in every pass, so that the next pass finds in the core's caches
what the previous one left there. When its range is done, it helps with the others. It claims runs of chunks,
so that it walks over long stretches of memory. In a chunk there is a wide loop, then one for the remaining
elements; their sums, maxima or minima are written as the chunk's part.
"""

from __future__ import annotations

from collections.abc import Sequence

from ravine.engines.kernel import COLUMN, DTYPES, MATRIX, ROW, Value
from ravine.engines.llvm.body import Body
from ravine.engines.llvm.codes import buffers
from ravine.engines.llvm.columns import Columns
from ravine.engines.llvm.elements import Elements, Row
from ravine.engines.llvm.lines import Lines, strip
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.llvm.reductions import across, identity, more
from ravine.engines.llvm.tables import BATCH, CHUNK, LINE, RECORD, record_of
from ravine.engines.llvm.variant import Variant
from ravine.engines.narrow import BLOCK
from ravine.engines.passes import Pass

__all__ = ["print_pass"]

# Rows so long that the values of their columns do not fit into the first cache are walked side by side, a few
# at a time, so that these values are read and written once for all of them. Shorter rows are faster one after
# another, in the order of memory.
_LONG_ROW, _SIDE_BY_SIDE = 2048, 4


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


_Found = dict[str, list[str]]


class _Walk(Elements):
    """The parts of the function, from the outermost loop to the elements."""

    def claim_chunks(self) -> None:
        """Claim runs of chunks, and walk over those of tensors that have a gradient."""
        out = self.out
        self.buffers = buffers(out, [c for c in self.codes if c in self.walk.stores])
        counters = out.field("%batch", BATCH, "counters", "ptr")
        ranges = out.field("%batch", BATCH, "range_count")
        bounds = out.field("%batch", BATCH, "bounds", "ptr")
        chunks = out.field("%batch", BATCH, "chunks", "ptr")
        records = out.field("%batch", BATCH, "records", "ptr")
        partials = out.field("%batch", BATCH, "partials", "ptr")
        run = out.field("%batch", BATCH, "run")
        addresses = {}
        for c in dict.fromkeys(["g", *self.columns]):
            place = len(BATCH) + self.kernel.columns.index(c)
            at = out.at("%batch", place, "i64", f"{c}.at")
            addresses[c] = out.load(f"{c}.addresses", at, "ptr")
        mine = self.thread(counters, ranges)
        with out.loop("range", ranges):
            number = out.set("number", f"add i64 {mine}, %range")
            number = out.set("number", f"urem i64 {number}, {ranges}")
            counter = out.at(counters, out.set("line", f"mul i64 {number}, {LINE}"), "i64")
            at = out.at(bounds, number, "i64")
            begin, end = out.load("begin", at, "i64"), out.load("end", out.at(at, 1, "i64"), "i64")
            out.jump("claim")
            out.label("claim")
            claimed = out.set("claimed", f"atomicrmw add ptr {counter}, i64 {run} monotonic")
            first = out.set("first", f"add i64 {begin}, {claimed}")
            beyond = out.set("beyond", f"add i64 {first}, {run}")
            whole = out.set("whole", f"icmp ult i64 {beyond}, {end}")
            last = out.set("last", f"select i1 {whole}, i64 {beyond}, i64 {end}")
            out.line(f"%more = icmp ult i64 {first}, {last}")
            out.branch("%more", "chunk.begin", "range.past")
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
            out.label("range.past")

    def thread(self, counters: str, ranges: str) -> str:
        """The number of this thread: its place in the team or, for other threads, its order of arrival."""
        out = self.out
        function = out.field("%batch", BATCH, "thread", "ptr")
        alone = out.set("alone", f"icmp eq ptr {function}, null")
        out.branch(alone, "claim.come", "claim.ask")
        out.label("claim.ask")
        place = out.set("place", f"call i32 {function}()")
        place = out.set("place", f"zext i32 {place} to i64")
        out.jump("claim.numbered")
        out.label("claim.come")
        counter = out.at(counters, out.set("line", f"mul i64 {ranges}, {LINE}"), "i64")
        came = out.set("came", f"atomicrmw add ptr {counter}, i64 1 monotonic")
        out.jump("claim.numbered")
        out.label("claim.numbered")
        return out.set("thread", f"phi i64 [ {place}, %claim.ask ], [ {came}, %claim.come ]")

    def chunk(
        self, record: str, tensor: str, start: str, addresses: dict[str, str]
    ) -> dict[str, str]:
        """Walk over the elements of a chunk; return their reductions."""
        count = self.length(record, start)
        narrow, wide, columns = self.bodies(record, tensor, start, addresses)
        if self.kernel.by_lines:
            count = self.within_matrix(record, start, count)
        if self.walk.vectors or self.walk.lines:
            return self.lines(record, start, count, narrow, wide, columns)
        if self.codes:
            return self.blocks(count, narrow, wide, columns)
        found = self.run(count, [Row("0", narrow, wide)], columns)
        return {x: numbers[0] for x, numbers in found.items()}

    def blocks(self, count: str, narrow: Body, wide: Body, columns: Columns) -> dict[str, str]:
        """Step the elements of a chunk block by block; return their reductions."""
        out, codes = self.out, columns.codes
        assert codes is not None
        above = out.set("above", f"add i64 {count}, {BLOCK - 1}")
        blocks = out.set("blocks", f"udiv i64 {above}, {BLOCK}")
        starts = {f"{x}.blocks": identity(op, Type("double")) for x, op in self.sums.items()}
        with out.loop("block", blocks, starts) as becomes:
            first = out.set("first", f"mul i64 %block, {BLOCK}")
            left = out.set("left", f"sub i64 {count}, {first}")
            whole = out.set("whole", f"icmp ugt i64 {left}, {BLOCK}")
            length = out.set("length", f"select i1 {whole}, i64 {BLOCK}, i64 {left}")
            codes.begin("%block", first, length)
            found = self.run(length, [Row(first, narrow, wide)], columns, ".block")
            for x, op in self.sums.items():
                text = more(out, op, Type("double"), f"%{x}.blocks", found[x][0])
                becomes[f"{x}.blocks"] = out.set(f"{x}.more", text)
            codes.end()
        return {x: f"%{x}.blocks" for x in self.sums}

    def run(self, length: str, rows: Sequence[Row], columns: Columns, side: str = "") -> _Found:
        """Step elements of several rows side by side; return their reductions.

        side: the suffix of the loops' names.
        """
        out, before = self.out, self.out.block
        count = out.set("wide.count", f"and i64 {length}, {-self.variant.width}")
        any_wide = out.set("any.wide", f"icmp ugt i64 {count}, 0")
        wide, past, left = f"wide{side}", f"wide.past{side}", f"left.over{side}"
        out.branch(any_wide, wide, past)
        sums = [f"{x}.{r}" for x, v in self.reduced.items() for r in self.each(v, rows)]
        ops = {x: self.sums[x.partition(".")[0]] for x in sums}
        vector, double = self.wide.like("double"), Type("double")
        starts = {x: identity(op, vector) for x, op in ops.items()}
        self.loop(wide, ("0", count), starts, [row.wide for row in rows], rows, columns)
        out.label(f"{wide}.end")
        # A row may be short, and vectors of nothing take long to reduce.
        found = {x: across(out, op, vector, f"%{x}.{wide}.next") for x, op in ops.items()}
        out.jump(past)
        out.label(past)
        for x, op in ops.items():
            ends = f"[ {identity(op, double)}, %{before} ], [ {found[x]}, %{wide}.end ]"
            out.line(f"%{x}.{past} = phi double {ends}")
        out.branch(out.set("any.left", f"icmp ult i64 {count}, {length}"), left, f"{left}.end")
        starts = {x: f"%{x}.{past}" for x in sums}
        self.loop(left, (count, length), starts, [row.narrow for row in rows], rows, columns)
        out.label(f"{left}.end")
        for x in sums:
            ends = f"[ %{x}.{past}, %{past} ], [ %{x}.{left}.next, %{left} ]"
            out.line(f"%{x}.{left}.all = phi double {ends}")
        return {
            x: [f"%{x}.{r}.{left}.all" for r in self.each(v, rows)] for x, v in self.reduced.items()
        }

    def lines(
        self, record: str, start: str, count: str, narrow: Body, wide: Body, columns: Columns
    ) -> dict[str, str]:
        """Step the elements of a chunk row by row; return their reductions.

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
        short = out.set("short", f"icmp ult i64 {count}, {area}")
        size = out.set("size", f"select i1 {short}, i64 {count}, i64 {area}")
        several = out.set("several", f"udiv i64 {count}, {size}")
        rows = out.set("rows", f"udiv i64 {size}, {length}")
        part = out.field(record, RECORD, "chunk_length")
        part = out.set("part", f"udiv i64 {within}, {part}")
        of_tensor = {x: v.op for x, v in self.reduced.items() if v in walk.sums}
        starts = {f"{x}.pieces": identity(op, double) for x, op in of_tensor.items()}

        def step(block: str, count: str, first: str, many: int, before: str) -> None:
            """Step so many blocks, of so many rows side by side, from the first row on."""
            inner = {f"{x}.{block}": f"%{x}.{before}" for x in of_tensor}
            with out.loop(block, count, inner) as becomes:
                side = []
                for r in range(many):
                    number = out.set("number", f"mul i64 %{block}, {many}")
                    number = out.set("number", f"add i64 {number}, {first}")
                    number = out.set("number", f"add i64 {number}, {r}")
                    offset = out.set("offset", f"mul i64 {number}, {length}")
                    offset = out.set("offset", f"add i64 {begin}, {offset}")
                    one = Row(offset, narrow.copy(), wide.copy())
                    number = out.set("number", f"add i64 {row}, {number}")
                    for v in walk.vectors:
                        if v.level == ROW:
                            x = lines.load(double, begins[v], number)
                            self.splat(one.narrow, one.wide, v, x)
                    side.append((number, one))
                found = self.run(length, [one for _, one in side], columns, f".{block}")
                for x, v in self.reduced.items():
                    if v.level == ROW:
                        for (number, _), number_found in zip(side, found[x], strict=True):
                            lines.store(double, number_found, begins[v], number)
                for x, op in of_tensor.items():
                    text = more(out, op, double, f"%{x}.{block}", found[x][0])
                    becomes[f"{x}.{block}"] = out.set(f"{x}.more", text)

        with out.loop("piece", several, starts) as becomes:
            matrix = out.set("matrix", f"add i64 {first}, %piece")
            begin = out.set("begin", f"mul i64 %piece, {size}")
            row = out.set("row", f"mul i64 %piece, {rows}")
            row = out.set("row", f"add i64 {first_row}, {row}")
            number = out.set("number", f"mul i64 {matrix}, {pieces}")
            number = out.set("number", f"add i64 {number}, {part}")
            self.across = {}
            for v in walk.vectors:
                if v.level == MATRIX:
                    self.splat(narrow, wide, v, lines.load(double, begins[v], matrix))
                elif v.level == COLUMN:
                    self.across[v] = lines.within(begins[v], COLUMN, matrix)
            self.parted = self.parts(lines, number)
            if self.across or self.parted:
                long = out.set("long", f"icmp uge i64 {length}, {_LONG_ROW}")
                blocks = out.set("blocks", f"udiv i64 {rows}, {_SIDE_BY_SIDE}")
                blocks = out.set("blocks", f"select i1 {long}, i64 {blocks}, i64 0")
                done = out.set("done", f"mul i64 {blocks}, {_SIDE_BY_SIDE}")
                step("block", blocks, "0", _SIDE_BY_SIDE, "pieces")
                others = out.set("others", f"sub i64 {rows}, {done}")
                step("line", others, done, 1, "block")
            else:
                step("line", rows, "0", 1, "pieces")
            becomes |= {f"{x}.pieces": f"%{x}.line" for x in of_tensor}
        return {x: f"%{x}.pieces" for x in of_tensor}

    def parts(self, lines: Lines, number: str) -> dict[Value, str]:
        """The address at which a piece, given its number, writes its reductions by column, initialized."""
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
