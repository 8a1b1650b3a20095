"""The values for each matrix, row or column of a tensor that is seen as matrices, in float64.

`enter` loads the short slots, and `leave` stores their new values. Between them, `tensors_k` combines what
the pieces of a matrix have left for each column in a pass, in their order, and computes what depends on it.
A value is stored in `matrix_values`, `row_values` or `column_values` of its tensor's record, with one number
for each matrix, row or column. The results of a pass for each row are already there, since a row is never
split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ravine.engines.kernel import (
    COLUMN,
    EACH,
    LINES,
    MATRIX,
    PARTED,
    ROW,
    TENSOR,
    WHOLE,
    Kernel,
    Value,
)
from ravine.engines.llvm.body import Body
from ravine.engines.llvm.columns import HALVES, Columns
from ravine.engines.llvm.noise import Noise
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.llvm.reductions import identity, more
from ravine.engines.llvm.tables import BATCH, RECORD, record_of, scalar
from ravine.engines.llvm.variant import Variant

__all__ = ["Lines", "compute", "enter", "leave", "put_together", "strip"]

_DOUBLE = Type("double")
_WIDTH = 8
_COUNT = {MATRIX: "matrices", ROW: "rows", COLUMN: "widths"}
_EACH = {ROW: "height", COLUMN: "columns"}


def strip(out: Printer, name: str, count: str, body: Callable[[Type, str], None]) -> None:
    """A loop over numbers in float64, eight at a time and then one by one.

    body: prints what is done with the numbers from an index on, as many as the type has.
    """
    with out.loop(f"{name}.wide", out.set("eights", f"udiv i64 {count}, {_WIDTH}")):
        body(Type("double", _WIDTH), out.set("k", f"mul i64 %{name}.wide, {_WIDTH}"))
    first = out.set("first", f"and i64 {count}, -{_WIDTH}")
    with out.loop(name, out.set("others", f"urem i64 {count}, {_WIDTH}")):
        body(_DOUBLE, out.set("k", f"add i64 {first}, %{name}"))


class Lines:
    """The matrices, rows and columns of one tensor: their numbers, and the addresses of their values.

    count: of all in the tensor. each: of those in a matrix.
    """

    def __init__(self, out: Printer, kernel: Kernel, record: str):
        self.out, self.kernel, self.record = out, kernel, record
        self.count = {level: out.field(record, RECORD, name) for level, name in _COUNT.items()}
        self.each = {level: out.field(record, RECORD, name) for level, name in _EACH.items()}
        self.base = {
            level: out.field(record, RECORD, f"{line}_values", "ptr")
            for level, line in LINES.items()
        }

    def begin(self, value: Value) -> str:
        """The address of a value's first number."""
        place = self.kernel.lines[value]
        at = self.out.set("at", f"mul i64 {self.count[value.level]}, {place}")
        return self.out.at(self.base[value.level], at)

    def within(self, begin: str, level: int, matrix: str) -> str:
        """The address of a matrix's numbers."""
        return self.out.at(begin, self.out.set("at", f"mul i64 {matrix}, {self.each[level]}"))

    def load(self, kind: Type, begin: str, i: str) -> str:
        """Numbers from i on."""
        at = self.out.at(begin, i)
        return self.out.set("x", f"load {kind}, ptr {at}, align 8")

    def store(self, kind: Type, x: str, begin: str, i: str) -> None:
        """Store numbers from i on."""
        self.out.line(f"store {kind} {x}, ptr {self.out.at(begin, i)}, align 8")


def _each(out: Printer, kernel: Kernel) -> Iterator[tuple[str, str, dict[str, str]]]:
    """A loop over the tensors of a batch that have a gradient: number, record, addresses of columns."""
    records = out.field("%batch", BATCH, "records", "ptr")
    count = out.field("%batch", BATCH, "tensor_count")
    where = {}
    for c in ("g", *kernel.short):
        at = out.at("%batch", len(BATCH) + kernel.columns.index(c), "i64")
        where[c] = out.load(f"{c}.addresses", at, "ptr")

    def absent() -> str:
        g = out.load("g.whole", out.at(where["g"], "%tensor", "ptr"), "ptr")
        return out.set("absent", f"icmp eq ptr {g}, null")

    with out.loop("tensor", count, skip=absent):
        base = {c: out.load(c, out.at(where[c], "%tensor", "ptr"), "ptr") for c in kernel.short}
        yield "%tensor", record_of(out, records, "%tensor"), base


def enter(out: Printer, variant: Variant) -> None:
    """The function that loads the short slots of a batch."""
    kernel = variant.kernel
    out.begin("@enter(ptr %batch)", "the slots with a number for each row or column, as float64")
    for _, record, base in _each(out, kernel):
        lines, columns = Lines(out, kernel, record), Columns(out, variant.dtype, base, None)
        for c, level in kernel.short.items():
            begin = lines.begin(kernel.leaf("vector", c, level))
            with out.loop(f"{c}.line", lines.count[level]):
                x = columns.load(c, _DOUBLE, f"%{c}.line")
                lines.store(_DOUBLE, x, begin, f"%{c}.line")
    out.end()


def leave(out: Printer, variant: Variant) -> None:
    """The function that stores the new short slots of a batch."""
    kernel = variant.kernel
    out.begin("@leave(ptr %batch)", "the new slots with a number for each row or column")
    rounded = [c for c in kernel.short if variant.stochastic and variant.dtype[c] in HALVES]
    for _, record, base in _each(out, kernel):
        noise = None
        if rounded:
            fields = {name: out.field(record, RECORD, name) for name in ("noise", "number")}
            noise = Noise(out, "0", _WIDTH)
            noise.rounds(kernel.columns, rounded, **fields)
        lines, columns = Lines(out, kernel, record), Columns(out, variant.dtype, base, noise)
        body = Body(out, _DOUBLE)
        for c, level in kernel.short.items():
            new = kernel.outputs[c]
            if new.level in LINES:
                begin = lines.begin(new)
            elif new.op != "constant":
                rows = out.field(record, RECORD, f"{'tensor' if new.level else 'group'}_row", "ptr")
                body.names[new] = out.load(new.called, out.at(rows, kernel.place(new)))
            with out.loop(f"{c}.line", lines.count[level]):
                i = f"%{c}.line"
                x = lines.load(_DOUBLE, begin, i) if new.level in LINES else body.number(new)
                columns.store(c, _DOUBLE, i, x)
    out.end()


def compute(
    lines: Lines,
    variant: Variant,
    stage: int,
    body: Body,
    rows: dict[int, str],
    scalars: Callable[[list[Value]], None],
) -> None:
    """Compute a stage's values for a tensor and for its rows and columns, in the order of the graph.

    body: has the known numbers of the tensor. rows: the addresses of others. scalars: computes and
    stores such numbers.
    """
    kernel = lines.kernel
    if not kernel.spread:
        columns = [v for v in kernel.found(stage) if v.op in PARTED]
        put_together(lines, variant, columns, body, scalars)
    for run in kernel.runs(stage):
        whole = run[0]
        if whole.op in (*WHOLE, *EACH):
            put_together(lines, variant, run, body, scalars)
        elif whole.level == TENSOR:
            scalars(run)
        else:
            _run(lines, run, body, rows)


def put_together(
    lines: Lines,
    variant: Variant,
    found: list[Value],
    body: Body,
    scalars: Callable[[list[Value]], None],
) -> None:
    """Reductions to numbers for rows, for columns, for matrices, or for the tensor."""
    for v in found:
        if v.op in PARTED and v.level == COLUMN:
            _together(lines, variant, v)
        elif v.op in PARTED and lines.kernel.spread:
            _begin_rows(lines, v)
        elif v.op in EACH:
            _reduce_each(lines, v)
        elif v.op in WHOLE:
            body.names[v] = _reduced(lines, v, lines.begin(v.args[0]))
            scalars([v])


def _begin_rows(lines: Lines, value: Value) -> None:
    """If a process has no elements of a tensor, no pass has written anything for its rows."""
    out, begin = lines.out, lines.begin(value)
    numel = out.field(lines.record, RECORD, "numel")
    empty = out.set("empty", f"icmp eq i64 {numel}, 0")
    count = out.set("count", f"select i1 {empty}, i64 {lines.count[ROW]}, i64 0")
    start = identity(value.op.removeprefix("row_"), _DOUBLE)
    with out.loop(f"rows{value.index}", count):
        lines.store(_DOUBLE, start, begin, f"%rows{value.index}")


def _together(lines: Lines, variant: Variant, value: Value) -> None:
    """Combine what the pieces of each matrix have written for its columns."""
    out, columns = lines.out, lines.each[COLUMN]
    op = value.op.removeprefix("column_")
    walk = next(w for w in variant.passes if value in w.lines)
    place = [v for v in walk.lines if v.level == COLUMN].index(value)
    parts = out.field(lines.record, RECORD, "column_parts", "ptr")
    pieces = out.field(lines.record, RECORD, "pieces")
    whole, name = lines.begin(value), f"parts{value.index}"
    with out.loop(f"{name}.of", lines.count[MATRIX]):
        begin = lines.within(whole, COLUMN, f"%{name}.of")
        first = out.set("first", f"mul i64 %{name}.of, {pieces}")
        strip(
            out,
            f"{name}.start",
            columns,
            lambda kind, i: lines.store(kind, identity(op, kind), begin, i),
        )
        with out.loop(name, pieces):
            at = out.set("at", f"add i64 {first}, %{name}")
            at = out.set("at", f"mul i64 {at}, {variant.column_parts}")
            at = out.set("at", f"add i64 {at}, {place}")
            part = out.at(parts, out.set("at", f"mul i64 {at}, {columns}"))

            def add(kind: Type, i: str) -> None:
                found, x = lines.load(kind, begin, i), lines.load(kind, part, i)
                lines.store(kind, out.set("more", more(out, op, kind, found, x)), begin, i)

            strip(out, f"{name}.add", columns, add)


def _reduced(lines: Lines, value: Value, begin: str, count: str = "") -> str:
    """Reduce numbers from `begin` on to one: those of some or all matrices, rows or columns of the tensor."""
    out, op = lines.out, value.op.partition("_")[2]
    name, count = f"reduced{value.index}", count or lines.count[value.args[0].level]
    with out.loop(name, count, {f"{name}.found": identity(op, _DOUBLE)}) as becomes:
        part = lines.load(_DOUBLE, begin, f"%{name}")
        text = more(out, op, _DOUBLE, f"%{name}.found", part)
        becomes[f"{name}.found"] = out.set("more", text)
    return f"%{name}.found"


def _reduce_each(lines: Lines, value: Value) -> None:
    """Reduce the values of the rows, or of the columns, of each matrix to one number."""
    [x], name = value.args, f"each{value.index}"
    whole, to = lines.begin(x), lines.begin(value)
    with lines.out.loop(name, lines.count[MATRIX]):
        begin = lines.within(whole, x.level, f"%{name}")
        lines.store(_DOUBLE, _reduced(lines, value, begin, lines.each[x.level]), to, f"%{name}")


def _run(lines: Lines, values: list[Value], body: Body, rows: dict[int, str]) -> None:
    """Compute values of matrices, of rows, or of columns, in one loop; in one loop per matrix, if they
    depend on the matrix's values.
    """
    out, level, name = lines.out, values[0].level, f"lines{values[0].index}"
    inputs = dict.fromkeys(x for v in values for x in v.args if x not in values)
    kept = [v for v in values if v in lines.kernel.lines]
    begins = {x: lines.begin(x) for x in (*inputs, *kept) if x.level in LINES}
    single = [x for x in inputs if x.level < MATRIX and x.op != "constant"]
    for x in single:
        if x not in body.names and x not in body.truths:
            body.names[x] = scalar(out, lines.kernel, rows, x)
    one = {x: body.number(x) for x in single}
    of_matrix = [x for x in inputs if x.level == MATRIX != level]

    def strips(begins: dict[Value, str], one: dict[Value, str], count: str) -> None:
        eight = {x: out.splat(number, Type("double", _WIDTH)) for x, number in one.items()}

        def step(kind: Type, i: str) -> None:
            inner = Body(out, kind)
            for x in inputs:
                if x.level == level:
                    inner.names[x] = lines.load(kind, begins[x], i)
            inner.names |= eight if kind.width > 1 else one
            for v in values:
                inner.compute(v)
            for v in kept:
                lines.store(kind, inner.number(v), begins[v], i)

        strip(out, name, count, step)

    if not of_matrix:
        return strips(begins, one, lines.count[level])
    with out.loop(f"{name}.of", lines.count[MATRIX]):
        matrix = f"%{name}.of"
        one |= {x: lines.load(_DOUBLE, begins[x], matrix) for x in of_matrix}
        mine = {x: at for x, at in begins.items() if x.level == level}
        mine = {x: lines.within(at, level, matrix) for x, at in mine.items()}
        strips(mine, one, lines.each[level])
