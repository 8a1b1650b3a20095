"""Values for each matrix, row or column on a GPU.

A chunk is a piece of a matrix, or several whole ones. In a pass, reductions for columns come first
(`columns`): a thread adds up a column of the chunk, and leaves it as the chunk's part. Then a few threads
share each row (`walk`), and another phase puts together what they have found for it (`rows`). So a pass with
reductions for columns loads elements twice, the second time from the caches; neither direction has to keep
sums in memory.

Values for matrices, rows and columns are computed between two passes, by a separate launch with a block for
each tensor: `lines_k`. Its phases are the loops of lines.py, shared among the threads. As on the CPU, a value
is stored in `matrix_values`, `row_values` or `column_values` of its tensor's record. What is computed for a
tensor from sizes and hyperparameters alone comes from the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ravine.engines.kernel import (
    COLUMN,
    EACH,
    LINES,
    MATRIX,
    PARTED,
    PARTIAL,
    ROW,
    TENSOR,
    WHOLE,
    Value,
)
from ravine.engines.llvm.blocks import LAUNCH, Walk
from ravine.engines.llvm.body import Body
from ravine.engines.llvm.columns import HALVES, Columns
from ravine.engines.llvm.elements import Row
from ravine.engines.llvm.lines import Lines
from ravine.engines.llvm.noise import Noise
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.llvm.reductions import identity, more
from ravine.engines.llvm.scalars import compute_scalars, known
from ravine.engines.llvm.shares import share_of, shared
from ravine.engines.llvm.tables import RECORD, SCALARS, record_of, rows_of, scalar
from ravine.engines.llvm.variant import Variant

__all__ = ["LANES", "Between", "LinedWalk", "of_lines"]

LANES = 16
"""The most threads that share a row, or the rows or columns of a matrix."""
_DOUBLE = Type("double")
_WIDTH = 8  # of vectors of random bits, of which a thread needs one at a time


def of_lines(variant: Variant, stage: int) -> list[Value]:
    """What a GPU computes at a stage of a kernel with rows and columns, between two passes."""
    kernel = variant.kernel
    columns = [v for v in kernel.found(stage) if v.op in PARTED and v.level == COLUMN]
    others = [v for run in kernel.runs(stage) for v in run if v not in kernel.early]
    return [*columns, *others]


class _Shared(Walk):
    """What threads leave for rows and matrices."""

    def part_of_row(self, record: str, number: str, lane: str, many: int, i: int) -> str:
        """The address of what a thread has left for a row (or a matrix) as the i-th of so many reductions."""
        out = self.out
        parts = out.field(record, RECORD, "row_parts", "ptr")
        at = out.set("at", f"mul i64 {number}, {LANES}")
        at = out.set("at", f"add i64 {at}, {lane}")
        at = out.set("at", f"mul i64 {at}, {many}")
        return out.at(parts, out.set("at", f"add i64 {at}, {i}"))


class LinedWalk(_Shared):
    """The phases of a pass."""

    def phases(self, last: int) -> tuple[list[str], list[str]]:
        """Print the phases, and name them in their order; what follows the pass is launched separately."""
        found: list[str] = []
        if any(v.level == COLUMN for v in self.walk.lines):
            self._print("columns", self.columns_of)
            found.append("columns")
        found += super().phases(self.walk.stage)[1]
        if any(v.level == ROW for v in self.walk.lines):
            self._print("rows", self.rows)
            found.append("rows")
        return [], found

    def _print(self, phase: str, made: Callable[[], None]) -> None:
        self._begin(phase)
        made()
        self._past()
        self.out.end()

    def length(self, record: str, start: str) -> str:
        """The number of elements of the chunk that begins there."""
        return self.within_matrix(record, start, super().length(record, start))

    def _sizes(self, record: str, start: str, count: str) -> dict[str, str]:
        """The chunk in matrices and rows: of how many `matrices` it has how many `rows` each, and the numbers
        of its `first` row and of its first `matrix`.
        """
        out = self.out
        height, length = (out.field(record, RECORD, name) for name in ("height", "columns"))
        area = out.set("area", f"mul i64 {height}, {length}")
        short = out.set("short", f"icmp ult i64 {count}, {area}")
        size = out.set("size", f"select i1 {short}, i64 {count}, i64 {area}")
        return {
            "length": length,
            "height": height,
            "area": area,
            "matrices": out.set("several", f"udiv i64 {count}, {size}"),
            "rows": out.set("rows", f"udiv i64 {size}, {length}"),
            "every": out.set("every", f"udiv i64 {count}, {length}"),
            "first": out.set("first.row", f"udiv i64 {start}, {length}"),
            "matrix": out.set("first.matrix", f"udiv i64 {start}, {area}"),
        }

    def _lanes(self, record: str) -> str:
        """How many threads share a row."""
        out = self.out
        lanes = out.field(record, RECORD, "lanes")
        few = out.set("few", f"icmp ult i64 %gpu.threads, {lanes}")
        return out.set("lanes", f"select i1 {few}, i64 %gpu.threads, i64 {lanes}")

    def _given(
        self, lines: Lines, begins: Mapping[Value, str], row: str, matrix: str, bodies: list[Body]
    ) -> dict[Value, str]:
        """Let the elements of a row know the values for it and for its matrix; the addresses of those for the
        columns of the matrix.
        """
        across = {}
        for v, begin in begins.items():
            if v.level == COLUMN:
                across[v] = lines.within(begin, COLUMN, matrix)
            else:
                x = lines.load(_DOUBLE, begin, row if v.level == ROW else matrix)
                self._know(bodies, v, x)
        return across

    def _know(self, bodies: list[Body], value: Value, x: str) -> None:
        """Make a number in float64 available to elements."""
        if self.one.of == "float":
            x = self.out.set("x", f"fptrunc double {x} to float")
        for body in bodies:
            body.names[value] = self.out.splat(x, body.kind)

    def walked(
        self, record: str, start: str, count: str, row: Row, columns: Columns
    ) -> dict[str, str]:
        """Step this thread's elements of the rows of a chunk; what they are reduced to."""
        out, walk = self.out, self.walk
        its, lines = self._sizes(record, start, count), Lines(out, self.kernel, record)
        lanes = self._lanes(record)
        lane = out.set("lane", f"urem i64 %gpu.thread, {lanes}")
        group = out.set("group.of", f"udiv i64 %gpu.thread, {lanes}")
        groups = out.set("groups", f"udiv i64 %gpu.threads, {lanes}")
        turns = share_of(self.out, its["every"], group, groups)
        works = out.set("works", f"icmp ult i64 {group}, {groups}")
        turns = out.set("turns", f"select i1 {works}, i64 {turns}, i64 0")
        rest = out.set("rest", f"urem i64 {its['length']}, {self.variant.width}")
        whole = out.set("even", f"icmp eq i64 {rest}, 0")
        whole = out.set("even", f"and i1 {whole}, {self._aligned(columns)}")
        begins = {v: lines.begin(v) for v in walk.vectors}
        of_rows = [x for x, v in self.reduced.items() if v.level == ROW]
        starts = {f"{x}.rows": identity(op, _DOUBLE) for x, op in self.whole.items()}
        with out.loop("gpu.row", turns, starts) as becomes:
            place = out.set("place", f"mul i64 %gpu.row, {groups}")
            place = out.set("place", f"add i64 {place}, {group}")
            number = out.set("number", f"add i64 {place}, {its['first']}")
            matrix = out.set("matrix", f"udiv i64 {number}, {its['height']}")
            first = out.set("first", f"mul i64 {place}, {its['length']}")
            mine = Row(first, row.narrow.copy(), row.wide.copy())
            self.across = self._given(lines, begins, number, matrix, [mine.narrow, mine.wide])
            found = self.run(its["length"], mine, columns, whole, lane, lanes)
            for i, x in enumerate(of_rows):
                out.store(found[x], self.part_of_row(record, number, lane, len(of_rows), i))
            for x, op in self.whole.items():
                text = more(out, op, _DOUBLE, f"%{x}.rows", found[x])
                becomes[f"{x}.rows"] = out.set(f"{x}.more", text)
        return {x: f"%{x}.rows" for x in self.whole}

    def rows(self) -> None:
        """Put together what the threads have left for each row."""
        out = self.out
        record, _, start, count, _ = self._here()
        its = self._sizes(record, start, count)
        lines, lanes = Lines(out, self.kernel, record), self._lanes(record)
        mine = [v for v in self.walk.lines if v.level == ROW]
        begins = [lines.begin(v) for v in mine]
        ops = {f"row{i}.found": v.op.removeprefix("row_") for i, v in enumerate(mine)}
        starts = {x: identity(op, _DOUBLE) for x, op in ops.items()}
        with shared(self.out, "gpu.row", its["every"]) as place:
            number = out.set("number", f"add i64 {place}, {its['first']}")
            with out.loop("gpu.lane", lanes, starts) as becomes:
                for i, (x, op) in enumerate(ops.items()):
                    at = self.part_of_row(record, number, "%gpu.lane", len(mine), i)
                    part = out.load("part", at)
                    becomes[x] = out.set("more", more(out, op, _DOUBLE, f"%{x}", part))
            for x, begin in zip(ops, begins, strict=True):
                lines.store(_DOUBLE, f"%{x}", begin, number)

    def columns_of(self) -> None:
        """The chunk's part of the reductions for each column."""
        out, walk, variant = self.out, self.walk, self.variant
        record, tensor, start, count, addresses = self._here()
        its = self._sizes(record, start, count)
        narrow, _, columns = self.bodies(record, tensor, start, addresses)
        lines = Lines(out, self.kernel, record)
        begins = {v: lines.begin(v) for v in walk.vectors}
        parts = out.field(record, RECORD, "column_parts", "ptr")
        pieces = out.field(record, RECORD, "pieces")
        within = out.set("within", f"urem i64 {start}, {its['area']}")
        part = out.set("part", f"udiv i64 {within}, {out.field(record, RECORD, 'chunk_length')}")
        mine = [v for v in walk.lines if v.level == COLUMN]
        ops = {f"column{i}.found": v.op.removeprefix("column_") for i, v in enumerate(mine)}
        needed = self._needed(mine)
        starts = {x: identity(op, _DOUBLE) for x, op in ops.items()}
        many = out.set("many", f"mul i64 {its['matrices']}, {its['length']}")
        with shared(self.out, "gpu.column", many) as item:
            before = out.set("before", f"udiv i64 {item}, {its['length']}")
            column = out.set("column", f"urem i64 {item}, {its['length']}")
            matrix = out.set("matrix", f"add i64 {before}, {its['matrix']}")
            above = out.set("above", f"mul i64 {before}, {its['rows']}")
            with out.loop("gpu.row", its["rows"], starts, unrolled=True) as becomes:
                place = out.set("place", f"add i64 {above}, %gpu.row")
                number = out.set("number", f"add i64 {place}, {its['first']}")
                i = out.set("element", f"mul i64 {place}, {its['length']}")
                i = out.set("element", f"add i64 {i}, {column}")
                body = narrow.copy()
                for v, begin in self._given(lines, begins, number, matrix, [body]).items():
                    self._know([body], v, lines.load(_DOUBLE, begin, column))
                self.element(body, columns, i, needed)
                for (x, op), v in zip(ops.items(), mine, strict=True):
                    wider = self.wider(body, v.args[0])
                    becomes[x] = out.set("more", more(out, op, _DOUBLE, f"%{x}", wider))
            piece = out.set("piece", f"mul i64 {matrix}, {pieces}")
            piece = out.set("piece", f"add i64 {piece}, {part}")
            piece = out.set("piece", f"mul i64 {piece}, {variant.column_parts}")
            for k, x in enumerate(ops):
                at = out.set("at", f"add i64 {piece}, {k}")
                at = out.set("at", f"mul i64 {at}, {its['length']}")
                out.store(f"%{x}", out.at(parts, out.set("at", f"add i64 {at}, {column}")))

    def _needed(self, reductions: list[Value]) -> set[Value]:
        """What reductions are computed from."""
        needed, stack = set[Value](), [v.args[0] for v in reductions]
        loaded = {*self.walk.loads.values()}
        while stack:
            v = stack.pop()
            if v not in needed:
                needed.add(v)
                stack += () if v in loaded else v.args
        return needed


class Between(_Shared):
    """What a block computes for a tensor at a stage, between two passes."""

    def __init__(self, out: Printer, variant: Variant, stage: int):
        super().__init__(out, variant, variant.passes[0])
        self.stage, self.printed = stage, list[str]()

    @property
    def name(self) -> str:
        """The name of the launched kernel."""
        return f"lines_{self.stage}"

    def between(self, enters: bool, leaves: bool) -> list[str]:
        """Print the phases, and name them in their order. enters: whether slots with a number for each row or
        column are loaded first. leaves: whether they are stored at the end.
        """
        if enters:
            self._print("enter", self.enter)
        wanted = of_lines(self.variant, self.stage)
        if columns := [v for v in wanted if v.op in PARTED]:
            self._print("together", lambda: self.together(columns))
        if sums := [v for v in wanted if v.op in PARTIAL]:
            self._print("sums", partial(self.first, partial(self.of_tensor, sums)))
        for i, run in enumerate(self.kernel.runs(self.stage)):
            values = [v for v in run if v in wanted and v.op not in PARTIAL]
            if values and values[0].op in WHOLE:
                self._reduce(f"{i}", values[0])
            elif values and values[0].op in EACH:
                self._print(f"each_{i}", partial(self.each_of, values[0]))
                self._print(f"joined_{i}", partial(self.joined, values[0]))
            elif values and values[0].level == TENSOR:
                self._print(f"scalars_{i}", partial(self.first, partial(self.of_tensor, values)))
            elif values:
                self._print(f"run_{i}", partial(self.run_of, values))
        if leaves:
            self._print("leave", self.leave_short)
        return self.printed

    def _print(self, phase: str, made: Callable[[], None]) -> None:
        """Print a phase for the tensor of this block, if it has a gradient."""
        out, kernel = self.out, self.kernel
        self._begin(phase)
        self.record = record_of(out, self._field("records", "ptr"), "%gpu.block")
        absent = out.set("absent", f"icmp eq ptr {self._at('g')}, null")
        out.branch(absent, "gpu.past", "gpu.here")
        out.label("gpu.here")
        self.lines = Lines(out, kernel, self.record)
        made()
        self._past()
        out.end()
        self.printed.append(phase)

    def _at(self, column: str) -> str:
        """Where a column of the tensor begins."""
        out, place = self.out, len(LAUNCH) + self.kernel.columns.index(column)
        table = out.table(f"{column}.at", out.at("%gpu.table", place, "i64", f"{column}.at"))
        return out.load(f"{column}.whole", out.at(table, "%gpu.block", "ptr"), "ptr")

    def first(self, made: Callable[[], None]) -> None:
        """What one thread does."""
        out = self.out
        out.branch(out.set("first", "icmp eq i64 %gpu.thread, 0"), "gpu.first", "gpu.past")
        out.label("gpu.first")
        made()

    def _columns(self, noise: Noise | None) -> Columns:
        base = {c: self._at(c) for c in self.kernel.short}
        return Columns(self.out, self.variant.dtype, base, noise)

    def enter(self) -> None:
        """Load the short slots, as float64."""
        columns, lines = self._columns(None), self.lines
        for c, level in self.kernel.short.items():
            begin = lines.begin(self.kernel.leaf("vector", c, level))
            with shared(self.out, f"{c}.line", lines.count[level]) as i:
                lines.store(_DOUBLE, columns.load(c, _DOUBLE, i), begin, i)

    def leave_short(self) -> None:
        """Store the new short slots."""
        out, kernel, lines = self.out, self.kernel, self.lines
        halves = [c for c in kernel.short if self.variant.dtype[c] in HALVES]
        noise = None
        if halves and self.variant.stochastic:
            fields = {name: out.field(self.record, RECORD, name) for name in ("noise", "number")}
            noise = Noise(out, "0", _WIDTH)
            noise.rounds(kernel.columns, halves, **fields)
        columns, body = self._columns(noise), Body(out, _DOUBLE)
        for c, level in kernel.short.items():
            new = kernel.outputs[c]
            begin = lines.begin(new) if new.level in LINES else ""
            if not begin and new.op != "constant":
                body.names[new] = scalar(out, kernel, rows_of(out, self.record), new)
            with shared(self.out, f"{c}.line", lines.count[level]) as i:
                x = lines.load(_DOUBLE, begin, i) if begin else body.number(new)
                columns.store(c, _DOUBLE, i, x)

    def together(self, values: list[Value]) -> None:
        """Combine what the pieces of each matrix have left for its columns, in their order."""
        out, lines, variant = self.out, self.lines, self.variant
        parts = out.field(self.record, RECORD, "column_parts", "ptr")
        pieces, length = out.field(self.record, RECORD, "pieces"), lines.each[COLUMN]
        for v in values:
            walk = next(w for w in variant.passes if v in w.lines)
            place = [x for x in walk.lines if x.level == COLUMN].index(v)
            op, name, begin = v.op.removeprefix("column_"), f"parts{v.index}", lines.begin(v)
            with shared(self.out, f"{name}.of", lines.count[COLUMN]) as i:
                matrix = out.set("matrix", f"udiv i64 {i}, {length}")
                column = out.set("column", f"urem i64 {i}, {length}")
                first = out.set("first", f"mul i64 {matrix}, {pieces}")
                starts = {f"{name}.found": identity(op, _DOUBLE)}
                with out.loop(name, pieces, starts, unrolled=True) as becomes:
                    at = out.set("at", f"add i64 {first}, %{name}")
                    at = out.set("at", f"mul i64 {at}, {variant.column_parts}")
                    at = out.set("at", f"add i64 {at}, {place}")
                    at = out.set("at", f"mul i64 {at}, {length}")
                    x = lines.load(_DOUBLE, parts, out.set("at", f"add i64 {at}, {column}"))
                    text = more(out, op, _DOUBLE, f"%{name}.found", x)
                    becomes[f"{name}.found"] = out.set("more", text)
                lines.store(_DOUBLE, f"%{name}.found", begin, i)

    def _reduce(self, i: str, value: Value) -> None:
        """Reduce all numbers of a tensor's matrices, rows or columns to one, in three phases."""
        [x], op = value.args, value.op.partition("_")[2]
        starts = {"found": identity(op, _DOUBLE)}

        def gather() -> None:
            out, begin = self.out, self.lines.begin(x)
            turns = share_of(self.out, self.lines.count[x.level])
            with out.loop("gpu.line", turns, starts, unrolled=True) as becomes:
                at = out.set("at", "mul i64 %gpu.line, %gpu.threads")
                at = out.set("at", f"add i64 {at}, %gpu.thread")
                text = more(out, op, _DOUBLE, "%found", self.lines.load(_DOUBLE, begin, at))
                becomes["found"] = out.set("more", text)
            self._share(0, "%gpu.thread", "%found")

        def store() -> None:
            self._of_folders({"found": op})
            body, rows = Body(self.out, _DOUBLE), rows_of(self.out, self.record)
            body.names[value] = "%gpu.found"
            compute_scalars(body, self.kernel, rows, [value])

        self._print(f"gather_{i}", gather)
        self._print(f"fold_{i}", lambda: self.fold({"found": op}))
        self._print(f"store_{i}", lambda: self.first(store))

    def each_of(self, value: Value) -> None:
        """Reduce the rows, or the columns, of each matrix to as many numbers as threads share them."""
        [x], op, out = value.args, value.op.partition("_")[2], self.out
        begin, each = self.lines.begin(x), self.lines.each[x.level]
        many = out.set("many", f"mul i64 {self.lines.count[MATRIX]}, {LANES}")
        with shared(self.out, "gpu.of", many) as item:
            matrix = out.set("matrix", f"udiv i64 {item}, {LANES}")
            lane = out.set("lane", f"urem i64 {item}, {LANES}")
            mine = self.lines.within(begin, x.level, matrix)
            turns = share_of(self.out, each, lane, LANES)
            starts = {"found": identity(op, _DOUBLE)}
            with out.loop("gpu.line", turns, starts, unrolled=True) as becomes:
                at = out.set("at", f"mul i64 %gpu.line, {LANES}")
                at = out.set("at", f"add i64 {at}, {lane}")
                text = more(out, op, _DOUBLE, "%found", self.lines.load(_DOUBLE, mine, at))
                becomes["found"] = out.set("more", text)
            out.store("%found", self.part_of_row(self.record, matrix, lane, 1, 0))

    def joined(self, value: Value) -> None:
        """Reduce these to one number for each matrix."""
        op, out, begin = value.op.partition("_")[2], self.out, self.lines.begin(value)
        with shared(self.out, "gpu.of", self.lines.count[MATRIX]) as matrix:
            starts = {"found": identity(op, _DOUBLE)}
            with out.loop("gpu.lane", str(LANES), starts) as becomes:
                part = out.load("part", self.part_of_row(self.record, matrix, "%gpu.lane", 1, 0))
                becomes["found"] = out.set("more", more(out, op, _DOUBLE, "%found", part))
            self.lines.store(_DOUBLE, "%found", begin, matrix)

    def of_tensor(self, values: list[Value]) -> None:
        """Numbers of the tensor."""
        out, totals = self.out, ""
        if any(v.op == "total" for v in values):
            self._scalars()
            totals = out.field("%scalars", SCALARS, "totals", "ptr")
        body = known(out, self.variant, self.record, values, totals)
        compute_scalars(body, self.kernel, rows_of(out, self.record), values)

    def run_of(self, values: list[Value]) -> None:
        """Values of matrices, of rows, or of columns."""
        out, lines, level = self.out, self.lines, values[0].level
        inputs = dict.fromkeys(x for v in values for x in v.args if x not in values)
        kept = [v for v in values if v in self.kernel.lines]
        begins = {x: lines.begin(x) for x in (*inputs, *kept) if x.level in LINES}
        rows = rows_of(out, self.record)
        single = [x for x in inputs if x.level < MATRIX and x.op != "constant"]
        one = {x: scalar(out, self.kernel, rows, x) for x in single}
        with shared(self.out, "gpu.line", lines.count[level]) as i:
            body = Body(out, _DOUBLE)
            body.names |= one
            matrix = i
            if level != MATRIX and any(x.level == MATRIX for x in inputs):
                matrix = out.set("matrix", f"udiv i64 {i}, {lines.each[level]}")
            for x in inputs:
                if x.level in LINES:
                    at = matrix if x.level == MATRIX else i
                    body.names[x] = lines.load(_DOUBLE, begins[x], at)
            for v in values:
                body.compute(v)
            for v in kept:
                lines.store(_DOUBLE, body.number(v), begins[v], i)
