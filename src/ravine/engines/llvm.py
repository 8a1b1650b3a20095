"""A rule's graph printed as LLVM IR: the whole step over all tensors as one fused CPU kernel.

`begin` checks the tables, counts the step, and has `row` compute what depends on t and the
hyperparameters alone: once for the tensors of a parameter group that have taken equally many steps.
`tensors_k` computes what is one number for each tensor, `pass_k` what remains for every element, in
registers, without temporaries. A reduction ends a pass: each chunk leaves a partial sum, and
`tensors_k` adds them up in the order of the chunks, so the bits do not depend on the threads.
`finish` stores the new scalar slots. A tensor whose gradient has the address 0 takes no part.

Elements are computed in float64 if any column (p, g or a slot) is float64, in float32 otherwise,
with the rule's operations in the rule's order and none of LLVM's fast-math flags: where a rule has
no reductions, the eager engine's bits come out, NaN, infinity and denormals included. (Fusing
multiplications and additions gains nothing measurable; reciprocals for divisors that are scalars
would gain a fifth where all fits the caches, and nothing elsewhere.) Reductions add up in float64.

The tables that the kernel walks, in words of eight bytes (engines/cpu.py fills them):

    group row    the inputs (t and the hyperparameters), then every scalar computed from them
    tensor row   the scalar slots, then every scalar computed for this tensor alone
    record       one tensor: see RECORD
    addresses    column after column (p, g, the array slots, the scalar slots, the step count), where
                 each tensor has it; scalar slots are float64, counts float32 or float64
    chunk        which tensor (its place in the batch), and the first element
    batch        tensors of the same dtypes: see BATCH, then, for each column, where the addresses
                 of its tensors stand
    scalars      see SCALARS
    job          a function, its argument (a batch or the scalars), and how it is called: 0 plainly,
                 1 in threads, 2 as the one that may refuse the step
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ravine.engines.kernel import DTYPES, GROUP, LARGEST, SMALLEST, TENSOR, Kernel, Pass, Value

__all__ = [
    "BATCH",
    "COUNT_FULL",
    "NO_MEMORY",
    "READY",
    "RECORD",
    "SCALARS",
    "Module",
]

# The group's row; a row for a tensor whose count is another; whether the count is in float64.
_ROWS = ("shared_row", "own_row", "wide_count")
RECORD = (
    *("numel", "chunk_length", "group_row", "tensor_row", "partials", "chunk_count", "number"),
    *(*_ROWS, "noise"),
)
# The counter from which threads claim chunks has a cache line of its own.
BATCH = (
    *("counter", *(f"padding{i}" for i in range(7)), "chunk_count", "chunks", "records"),
    *("partials", "tensor_count", "run"),
)
SCALARS = (
    *("group_rows", "group_count", "records", "tensor_count", "totals", "addresses"),
    *("seed", "expected"),
)
READY, NO_MEMORY, COUNT_FULL = 0, 1, 2
"""What `begin` finds, before anything is changed: a step can be taken; a tensor that takes part has a
column without memory, or another number of tensors than expected takes part; a float32 count is at
its end, 2**24."""
_SPREAD = 0x9E3779B97F4A7C15  # what the noise of a column is ahead of the one before, modulo 2**64

_MEMORY = {"float64": "double", "float32": "float", "bfloat16": "i16", "float16": "half"}
_INFIX = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_INTRINSIC = {"sqrt": "sqrt", "abs": "fabs", "exp": "exp", "log": "log", "pow": "pow"}

# Operations that take long beside a load or a store.
_SLOW = ("div", "sqrt", "exp", "log", "pow", "mod")


@dataclass(frozen=True)
class Type:
    """A number or a vector of numbers: "float" or "double", and how many."""

    of: str
    width: int = 1

    def __str__(self) -> str:
        return self.of if self.width == 1 else f"<{self.width} x {self.of}>"

    def like(self, of: str) -> Type:
        """As many of another kind."""
        return Type(of, self.width)

    @property
    def suffix(self) -> str:
        """As it stands in the names of intrinsics."""
        bits = {"float": "f32", "double": "f64"}[self.of]
        return bits if self.width == 1 else f"v{self.width}{bits}"

    def constant(self, value: float | int) -> str:
        """A literal of this type."""
        if isinstance(value, int):
            text = str(value)
        else:
            if self.of == "float":
                value = _to_float32(value)
            exact = abs(value) < 2**20 and value * 1024 == round(value * 1024)
            bits = struct.unpack("<Q", struct.pack("<d", value))[0]
            text = repr(value) if exact else f"0x{bits:016X}"
        return text if self.width == 1 else f"splat ({self.of} {text})"


def _to_float32(value: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


# What the printer itself calls blocks and values; a rule's own names stay clear of these.
_FIXED = re.compile(
    r"(add|again|any|batch|chunk|claim|end|entry|group|i|j|left|more|once|row|scalars|tensor|wide"
    r"|sum\d+|total\d+)$"
)


class _Printer:
    """The text of a module: functions line by line, and the intrinsics that they call."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declared: dict[str, None] = {}
        self.taken: dict[str, int] = {}

    def line(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def begin(self, signature: str, *comments: str, result: str = "void") -> None:
        self.lines += [
            "",
            *(f"; {c}" for c in comments),
            f"define {result} {signature} {{",
            "entry:",
        ]
        self.taken = {}

    def end(self, result: str = "void") -> None:
        self.lines += [f"  ret {result}", "}"]

    def fresh(self, name: str) -> str:
        """A name that no value of this function has yet."""
        first, dot, rest = name.partition(".")
        name = _FIXED.sub(r"\g<0>_", first) + dot + rest
        name = "".join(c if c.isascii() else f"u{ord(c):x}" for c in name)
        count = self.taken.get(name, 0)
        self.taken[name] = count + 1
        return f"%{name}" if not count else f"%{name}.{count}"

    def set(self, name: str, text: str) -> str:
        """Print `%name = text` and return the name."""
        target = self.fresh(name)
        self.line(f"{target} = {text}")
        return target

    def code(self, text: str, **names: str) -> str:
        """Print lines of IR, whose %names are those given and their own; the last one's full name."""
        result = ""
        for line in text.strip().splitlines():
            target, _, operation = line.strip().partition(" = ")
            operation = re.sub(r"%(\w+)", lambda m: names[m[1]], operation)
            result = names[target] = self.set(target, operation)
        return result

    def call(self, name: str, intrinsic: str, kind: Type, *args: str) -> str:
        function = f"@llvm.{intrinsic}.{kind.suffix}"
        self.declared[f"declare {kind} {function}({', '.join([str(kind)] * len(args))})"] = None
        return self.set(name, f"call {kind} {function}({', '.join(f'{kind} {a}' for a in args)})")

    def field(self, base: str, names: Sequence[str], name: str, kind: str = "i64") -> str:
        """Load one field of a table."""
        at = self.set(f"{name}.at", f"getelementptr i64, ptr {base}, i64 {names.index(name)}")
        return self.set(name, f"load {kind}, ptr {at}, align 8")

    def splat(self, value: str, kind: Type) -> str:
        """A number in every place of a vector."""
        one = self.set(f"{value[1:]}.one", f"insertelement {kind} poison, {kind.of} {value}, i64 0")
        zeros = f"<{kind.width} x i32> zeroinitializer"
        return self.set(f"{value[1:]}.wide", f"shufflevector {kind} {one}, {kind} poison, {zeros}")

    def text(self, *head: str) -> str:
        return "\n".join([*head, *self.lines, "", *self.declared, ""])


class _Body:
    """Straight-line code for values of one type: what each value is called, and which are i1."""

    def __init__(self, out: _Printer, kind: Type):
        self.out, self.kind = out, kind
        self.names: dict[Value, str] = {}
        self.truths: dict[Value, tuple[str, str]] = {}  # (i1 or a vector of them, its name)

    def number(self, value: Value) -> str:
        """The value as a floating-point operand."""
        if value.op == "constant":
            return self.kind.constant(value.leaf)
        if value not in self.names:
            kind, name = self.truths[value]
            self.names[value] = self.out.set("number", f"uitofp {kind} {name} to {self.kind}")
        return self.names[value]

    def truth(self, value: Value) -> tuple[str, str]:
        """The value as a condition."""
        if value not in self.truths:
            self.truths[value] = self._compare("une", self.number(value), 0.0)
        return self.truths[value]

    def _compare(self, how: str, x: str, y: str | float) -> tuple[str, str]:
        y = y if isinstance(y, str) else self.kind.constant(y)
        return str(self.kind.like("i1")), self.out.set("is", f"fcmp {how} {self.kind} {x}, {y}")

    def select(self, name: str, condition: tuple[str, str], x: str, y: str) -> str:
        """X where the condition holds, y elsewhere."""
        kind, test = condition
        return self.out.set(name, f"select {kind} {test}, {self.kind} {x}, {self.kind} {y}")

    def compute(self, value: Value) -> None:
        """Print the operation that makes the value."""
        op, kind, name = value.op, self.kind, value.name or value.op
        if op in _COMPARE:
            x, y = (self.number(a) for a in value.args)
            self.truths[value] = self._compare(_COMPARE[op], x, y)
            return
        if op == "where":
            condition = self.truth(value.args[0])
            x, y = (self.number(a) for a in value.args[1:])
            self.names[value] = self.select(name, condition, x, y)
            return
        special = {"mod": self._modulo, "quotient": self._quotient}
        special |= {"scale": self._divisor, "narrow": self._divisor}
        if op in special:
            self.names[value] = special[op](value)
            return
        x, y = (self.number(a) for a in (value.args[0], value.args[-1]))
        if op in _INFIX:
            result = self.out.set(name, f"{_INFIX[op]} {kind} {x}, {y}")
        elif op == "neg":
            result = self.out.set(name, f"fneg {kind} {x}")
        elif op == "pow":
            result = self.out.call(name, "pow", kind, x, y)
            if value.args[1].op != "constant":  # x**0.5 is the square root, also of -0.0 and -inf
                root = self.out.call("root", "sqrt", kind, x)
                result = self.select(name, self._compare("oeq", y, 0.5), root, result)
        elif op in _INTRINSIC:
            result = self.out.call(name, _INTRINSIC[op], kind, x)
        elif op in ("maximum", "minimum"):  # NaN if either is
            first = self._compare("ogt" if op == "maximum" else "olt", x, y)
            result = self.select(name, first, x, y)
            result = self.select(name, self._compare("uno", x, 0.0), x, result)
        else:  # sign
            result = self.select(name, self._compare("olt", x, 0.0), kind.constant(-1.0), x)
            result = self.select(name, self._compare("ogt", x, 0.0), kind.constant(1.0), result)
            result = self.out.set(name, f"fadd {kind} {result}, {kind.constant(0.0)}")  # of -0.0
        self.names[value] = result

    def operands(self, value: Value) -> tuple[Value, ...]:
        """The arguments that are used in computing of this type."""
        if value.op != "quotient":
            return value.args
        a, scale, wide, narrow = value.args
        return a, scale, wide if self.kind.of == "double" else narrow

    def _quotient(self, value: Value) -> str:
        """See Kernel.add."""
        x, scale, inverse = map(self.number, self.operands(value))
        x = self.out.set("scaled", f"fmul {self.kind} {x}, {scale}")
        return self.out.set(value.name or "div", f"fmul {self.kind} {x}, {inverse}")

    def _divisor(self, value: Value) -> str:
        """A scalar that elements are divided by: rounded to float32 ("narrow"), or what to scale
        the elements by ("scale"), if it is out of range; itself, or 1, if not.
        """
        x, kind = self.number(value.args[0]), self.kind
        size = self.out.call("size", "fabs", kind, x)
        small = self._compare("olt", size, SMALLEST)
        large = self._compare("ogt", size, LARGEST)
        if value.op == "scale":
            result = self.select("scale", small, kind.constant(2.0**64), kind.constant(1.0))
            return self.select("scale", large, kind.constant(2.0**-64), result)
        single = self.out.set("single", f"fptrunc {kind} {x} to float")
        single = self.out.set("single", f"fpext float {single} to {kind}")
        return self.select("narrow", small, single, self.select("narrow", large, single, x))

    def _modulo(self, value: Value) -> str:
        """As in Python: the result has the sign of y, also if it is zero."""
        kind, truth = self.kind, self.kind.like("i1")
        x, y = map(self.number, value.args)
        zero = self.out.call("zero", "copysign", kind, kind.constant(0.0), y)
        return self.out.code(
            f"""
            rest = frem {kind} %x, %y
            none = fcmp oeq {kind} %rest, {kind.constant(0.0)}
            down = fcmp olt {kind} %rest, {kind.constant(0.0)}
            below = fcmp olt {kind} %y, {kind.constant(0.0)}
            apart = xor {truth} %down, %below
            sum = fadd {kind} %rest, %y
            moved = select {truth} %apart, {kind} %sum, {kind} %rest
            mod = select {truth} %none, {kind} %zero, {kind} %moved
            """,
            x=x,
            y=y,
            zero=zero,
        )


@dataclass
class Module:
    """The kernel printed for columns of given dtypes.

    vector_bytes: the width of the machine's vector registers. stochastic: columns narrower than
    the arithmetic are rounded up or down with the probability that keeps their mean, instead of to
    the nearest even.
    """

    kernel: Kernel
    dtypes: tuple[str, ...]
    vector_bytes: int = 16
    stochastic: bool = False

    def __post_init__(self) -> None:
        self.of = "double" if "float64" in self.dtypes else "float"
        self.dtype = dict(zip(self.kernel.columns, self.dtypes, strict=True))
        self.passes = self.kernel.passes(self.dtypes)
        # Two registers of numbers at a time; where there is little to compute, short loads and
        # stores stream through memory better (sgd: a seventh faster, on a processor with AVX-512).
        size = 8 if self.of == "double" else 4
        light = not any(v.op in _SLOW for walk in self.passes for v in walk.values)
        light = light and all(DTYPES[d] == size for d in self.dtypes)
        self.width = (min(2 * self.vector_bytes, 32) if light else 2 * self.vector_bytes) // size

    @property
    def partials(self) -> int:
        """How many partial sums a chunk leaves at most."""
        return max((len(walk.sums) for walk in self.passes), default=0)

    def text(self) -> str:
        """The module as LLVM IR."""
        out = _Printer()
        self._row(out)
        self._begin(out)
        for stage in range(self.kernel.stages):
            self._tensors(out, stage)
        for walk in self.passes:
            _Walk(self, walk, out).print()
        self._finish(out)
        out.lines += _DRIVE.splitlines()
        columns = ", ".join(f"{c} {d}" for c, d in self.dtype.items())
        return out.text(
            f"; {self.kernel.graph.rule.name}: {columns}; computed in {self.of}",
            f"; group row: {_row(self.kernel.group_row)}",
            f"; tensor row: {_row(self.kernel.tensor_row)}",
        )

    @property
    def _counts(self) -> bool:
        """Whether scalars depend on t, so that tensors of a group may need rows of their own."""
        return self.kernel.inputs[:1] == ("t",)

    def _row(self, out: _Printer) -> None:
        """The scalars that depend on t and the hyperparameters."""
        row = self.kernel.group_row
        out.begin("@row(ptr %row)", "for tensors of a group with one count, in float64")
        body = _Body(out, Type("double"))
        self._scalars(body, {GROUP: "%row"}, [v for v in self.kernel.needed if v in row])
        out.end()

    def _begin(self, out: _Printer) -> None:
        """Whether the step can be taken; if so, the counts, the groups' rows and the old scalar slots."""
        kernel, columns = self.kernel, self.kernel.columns
        out.begin("@begin(ptr %scalars)", "checks, counts, and the scalars of groups", result="i64")
        rows = out.field("%scalars", SCALARS, "group_rows", "ptr")
        groups = out.field("%scalars", SCALARS, "group_count")
        table = _Table(out)
        expected = out.field("%scalars", SCALARS, "expected")

        # Nothing is changed before all is known to be there.
        _loop(out, "check", table.count, carried=["present"], kind="i64")
        table.skip_absent("check")
        out.line("%present.more = add i64 %present, 1")
        wanted = [c for c in columns if any(c in (*w.loads, *w.stores) for w in self.passes)]
        wanted = [table.address(columns.index(c), "%check") for c in wanted if c != "g"]
        wanted += [table.address(len(columns) + i, "%check") for i in range(len(kernel.slots))]
        for address in wanted:
            missing = out.set("missing", f"icmp eq ptr {address}, null")
            there = out.fresh("there")[1:]
            out.line(f"br i1 {missing}, label %no.memory, label %{there}")
            out.label(there)
        count = table.address(table.counts(kernel), "%check")
        uncounted = out.set("uncounted", f"icmp eq ptr {count}, null")
        record = table.record("%check")
        wide = out.set("wide", f"icmp ne i64 {out.field(record, RECORD, 'wide_count')}, 0")
        endless = out.set("endless", f"or i1 {uncounted}, {wide}")
        out.line(f"br i1 {endless}, label %check.last, label %narrow")
        out.label("narrow")
        taken = out.set("taken", f"load float, ptr {count}, align 4")
        full = out.set("full", f"fcmp oge float {taken}, {Type('float').constant(2.0**24)}")
        out.line(f"br i1 {full}, label %count.full, label %check.last")
        out.label("check.last")
        _next(out, "check", "check.last", {"present": "%present.more"}, "check.body", kind="i64")
        complete = out.set("complete", f"icmp eq i64 %present, {expected}")
        out.line(f"br i1 {complete}, label %ready, label %no.memory")
        out.label("no.memory")
        out.line(f"ret i64 {NO_MEMORY}")
        out.label("count.full")
        out.line(f"ret i64 {COUNT_FULL}")

        out.label("ready")
        _loop(out, "group", groups, before="ready")
        here = out.set("row", f"mul i64 %group, {len(kernel.group_row)}")
        here = out.set("row", f"getelementptr double, ptr {rows}, i64 {here}")
        if self._counts:  # not a number: no tensor's count yet
            out.line(f"store double {Type('double').constant(math.nan)}, ptr {here}, align 8")
        else:
            out.line(f"call void @row(ptr {here})")
        _next(out, "group")

        _loop(out, "tensor", table.count, before="group.end")
        table.skip_absent("tensor")
        record = table.record("%tensor")
        self._count(out, table, record)
        row = out.field(record, RECORD, "tensor_row", "ptr")
        for i in range(len(kernel.slots)):
            address = table.address(len(columns) + i, "%tensor")
            old = out.set("slot", f"load double, ptr {address}, align 8")
            at = out.set("at", f"getelementptr double, ptr {row}, i64 {i}")
            out.line(f"store double {old}, ptr {at}, align 8")
        out.line("br label %tensor.last")
        out.label("tensor.last")
        _next(out, "tensor", "tensor.last", skipped="tensor.body")
        out.end(f"i64 {READY}")

    def _count(self, out: _Printer, table: _Table, record: str) -> None:
        """Add one to a tensor's count; find or compute the row of scalars for it."""
        count = table.address(table.counts(self.kernel), "%tensor")
        uncounted = out.set("uncounted", f"icmp eq ptr {count}, null")
        out.line(f"br i1 {uncounted}, label %counted, label %count.one")
        out.label("count.one")
        wide = out.set("wide", f"icmp ne i64 {out.field(record, RECORD, 'wide_count')}, 0")
        out.line(f"br i1 {wide}, label %count.wide, label %count.narrow")
        for kind, label in (("double", "wide"), ("float", "narrow")):
            out.label(f"count.{label}")
            align = {"double": 8, "float": 4}[kind]
            out.line(f"%old.{label} = load {kind}, ptr {count}, align {align}")
            out.line(f"%t.{label} = fadd {kind} %old.{label}, 1.0")
            out.line(f"store {kind} %t.{label}, ptr {count}, align {align}")
            if kind == "float":
                out.line("%t.exact = fpext float %t.narrow to double")
            out.line("br label %counted")
        out.label("counted")
        ends = "[ 0.0, %tensor.here ], [ %t.wide, %count.wide ], [ %t.exact, %count.narrow ]"
        out.line(f"%t = phi double {ends}")
        if self.stochastic:
            seed = out.field("%scalars", SCALARS, "seed")
            noise = out.code(
                f"""
                count = fptosi double %t to i64
                a = mul i64 %seed, {_signed(0x9E3779B97F4A7C15)}
                b = mul i64 %count, {_signed(0xD1B54A32D192ED03)}
                noise = add i64 %a, %b
                """,
                t="%t",
                seed=seed,
            )
            at = out.set("at", f"getelementptr i64, ptr {record}, i64 {RECORD.index('noise')}")
            out.line(f"store i64 {_splitmix(out, noise)}, ptr {at}, align 8")
        if not self._counts:
            return
        shared = out.field(record, RECORD, "shared_row", "ptr")
        own = out.field(record, RECORD, "own_row", "ptr")
        of_row = out.set("of.row", f"load double, ptr {shared}, align 8")
        same = out.set("same", f"fcmp oeq double {of_row}, %t")
        out.line(f"br i1 {same}, label %row.known, label %row.other")
        out.label("row.other")
        free = out.set("free", f"fcmp uno double {of_row}, 0.0")
        out.line(f"br i1 {free}, label %row.new, label %row.own")
        out.label("row.own")
        for i in range(1, len(self.kernel.inputs)):
            source, target = (
                out.set("at", f"getelementptr double, ptr {row}, i64 {i}") for row in (shared, own)
            )
            value = out.set("value", f"load double, ptr {source}, align 8")
            out.line(f"store double {value}, ptr {target}, align 8")
        out.line("br label %row.new")
        out.label("row.new")
        out.line(f"%row.here = phi ptr [ {shared}, %row.other ], [ {own}, %row.own ]")
        out.line("store double %t, ptr %row.here, align 8")
        out.line("call void @row(ptr %row.here)")
        out.line("br label %row.known")
        out.label("row.known")
        out.line(f"%row.mine = phi ptr [ {shared}, %counted ], [ %row.here, %row.new ]")
        at = out.set("at", f"getelementptr i64, ptr {record}, i64 {RECORD.index('group_row')}")
        out.line(f"store ptr %row.mine, ptr {at}, align 8")

    def _finish(self, out: _Printer) -> None:
        """The new scalar slots, where they are kept."""
        kernel = self.kernel
        if not kernel.slots:
            return
        out.begin("@finish(ptr %scalars)", "the new scalar slots")
        table = _Table(out)
        _loop(out, "tensor", table.count)
        table.skip_absent("tensor")
        record = table.record("%tensor")
        rows = {
            GROUP: (out.field(record, RECORD, "group_row", "ptr"), kernel.group_row),
            TENSOR: (out.field(record, RECORD, "tensor_row", "ptr"), kernel.tensor_row),
        }
        for i, slot in enumerate(kernel.slots):
            new = kernel.outputs[slot]
            if new.op == "constant":
                value = Type("double").constant(float(new.leaf))
            else:
                row, places = rows[new.level]
                at = out.set("at", f"getelementptr double, ptr {row}, i64 {places[new]}")
                value = out.set(slot, f"load double, ptr {at}, align 8")
            address = table.address(len(kernel.columns) + i, "%tensor")
            out.line(f"store double {value}, ptr {address}, align 8")
        out.line("br label %tensor.last")
        out.label("tensor.last")
        _next(out, "tensor", "tensor.last", skipped="tensor.body")
        out.end()

    def _tensors(self, out: _Printer, stage: int) -> None:
        """For each tensor: partial sums added up, and the scalars that depend on them."""
        kernel = self.kernel
        todo = [v for v in kernel.needed if v.level == TENSOR and v.stage == stage]
        if not todo:
            return
        finished = [v for v in todo if v.op == "sum"]
        adding = [v for v in kernel.totals if v.stage == stage + 1]
        out.begin(f"@tensors_{stage}(ptr %scalars)", "once per step and tensor, in float64")
        totals = out.field("%scalars", SCALARS, "totals", "ptr")
        table = _Table(out)
        carried = [f"total{kernel.totals.index(v)}" for v in adding]
        _loop(out, "tensor", table.count, carried=carried)
        table.skip_absent("tensor")
        here = table.record("%tensor")
        rows = {
            GROUP: out.field(here, RECORD, "group_row", "ptr"),
            TENSOR: out.field(here, RECORD, "tensor_row", "ptr"),
        }
        body = _Body(out, Type("double"))
        for v in todo:
            if v.op == "numel":
                number = out.field(here, RECORD, "numel")
                body.names[v] = out.set("numel.f", f"sitofp i64 {number} to double")
            elif v.op == "total":
                at = out.set(
                    "at", f"getelementptr double, ptr {totals}, i64 {kernel.totals.index(v)}"
                )
                body.names[v] = out.set(v.name or "total", f"load double, ptr {at}, align 8")
        before = "tensor.here"
        if finished:
            self._add_partials(out, here, finished, body)
            before = "add.end"
        self._scalars(body, rows, todo)
        results = {}
        for v in adding:
            name = f"total{kernel.totals.index(v)}"
            text = f"fadd double %{name}, {body.number(v.args[0])}"
            results[name] = out.set(f"{name}.next", text)
        _next(out, "tensor", before, results, "tensor.body")
        for v in adding:
            place = kernel.totals.index(v)
            at = out.set("at", f"getelementptr double, ptr {totals}, i64 {place}")
            out.line(f"store double %total{place}, ptr {at}, align 8")
        out.end()

    def _add_partials(self, out: _Printer, record: str, sums: list[Value], body: _Body) -> None:
        partials = out.field(record, RECORD, "partials", "ptr")
        chunks = out.field(record, RECORD, "chunk_count")
        walk = next(w for w in self.passes if w.sums and w.sums[0] in sums)
        names = [f"sum{i}" for i in range(len(walk.sums))]
        _loop(out, "add", chunks, before="tensor.here", carried=names)
        at = out.set("at", f"mul i64 %add, {self.partials}")
        results = {}
        for i, name in enumerate(names):
            place = out.set("at", f"add i64 {at}, {i}")
            place = out.set("at", f"getelementptr double, ptr {partials}, i64 {place}")
            part = out.set("part", f"load double, ptr {place}, align 8")
            results[name] = out.set(f"{name}.next", f"fadd double %{name}, {part}")
        _next(out, "add", "add.body", results)
        for v, name in zip(walk.sums, names, strict=True):
            body.names[v] = f"%{name}"

    def _scalars(self, body: _Body, rows: dict[int, str], values: list[Value]) -> None:
        """Compute scalars and keep them in their row; load those that other functions computed."""
        out, place = body.out, {**self.kernel.group_row, **self.kernel.tensor_row}

        def at(v: Value) -> str:
            return out.set("at", f"getelementptr double, ptr {rows[v.level]}, i64 {place[v]}")

        for v in values:
            for x in (v, *(v.args if v.op not in ("sum", "total") else ())):
                stands = x.op in ("scalar", "hyperparameter") or x not in values
                if stands and x.op != "constant" and x not in body.names:
                    name = x.leaf or x.name or x.op
                    body.names[x] = out.set(name, f"load double, ptr {at(x)}, align 8")
            if v.op not in ("scalar", "hyperparameter"):
                if v not in body.names:
                    body.compute(v)
                out.line(f"store double {body.number(v)}, ptr {at(v)}, align 8")


class _Walk:
    """One pass over the elements: threads claim runs of chunks, so that each walks long ways through
    memory; in a chunk a wide loop, then the elements left over."""

    def __init__(self, module: Module, walk: Pass, out: _Printer):
        self.module, self.walk, self.out = module, walk, out
        self.kernel = module.kernel
        self.one, self.wide = Type(module.of), Type(module.of, module.width)
        columns = [c for c in self.kernel.columns if c in (*walk.loads, *walk.stores)]
        self.columns = columns
        self.noisy = [c for c in walk.stores if module.stochastic and self._narrow(c)]

    def _narrow(self, column: str) -> bool:
        return self.module.dtype[column] in ("bfloat16", "float16")

    def print(self) -> None:
        out, walk, module = self.out, self.walk, self.module
        size = {c: DTYPES[d] for c, d in module.dtype.items()}
        moved = sum(size[c] for c in (*walk.loads, *walk.stores))
        out.begin(
            f"@pass_{walk.stage}(ptr %batch)",
            f"for every element: reads {' '.join(walk.loads) or 'nothing'}, "
            f"writes {' '.join(walk.stores) or 'partial sums'}; {moved} bytes",
        )
        chunk_count = out.field("%batch", BATCH, "chunk_count")
        chunks = out.field("%batch", BATCH, "chunks", "ptr")
        records = out.field("%batch", BATCH, "records", "ptr")
        partials = out.field("%batch", BATCH, "partials", "ptr")
        run = out.field("%batch", BATCH, "run")
        addresses = {}
        for c in dict.fromkeys(["g", *self.columns]):
            place = len(BATCH) + self.kernel.columns.index(c)
            at = out.set(f"{c}.at", f"getelementptr i64, ptr %batch, i64 {place}")
            addresses[c] = out.set(f"{c}.addresses", f"load ptr, ptr {at}, align 8")
        out.line("br label %claim")

        out.label("claim")
        first = out.set("first", f"atomicrmw add ptr %batch, i64 {run} monotonic")
        beyond = out.set("beyond", f"add i64 {first}, {run}")
        whole = out.set("whole", f"icmp ult i64 {beyond}, {chunk_count}")
        last = out.set("last", f"select i1 {whole}, i64 {beyond}, i64 {chunk_count}")
        out.line(f"%more = icmp ult i64 {first}, {last}")
        out.line("br i1 %more, label %chunk.begin, label %end")
        out.label("chunk.begin")
        out.line(f"%chunk = phi i64 [ {first}, %claim ], [ %chunk.next, %chunk.past ]")
        out.line("%chunk.word = mul i64 %chunk, 2")
        out.line(f"%chunk.at = getelementptr i64, ptr {chunks}, i64 %chunk.word")
        tensor = out.field("%chunk.at", ("tensor", "start"), "tensor")
        start = out.field("%chunk.at", ("tensor", "start"), "start")
        gradient = out.set("g.at", f"getelementptr ptr, ptr {addresses['g']}, i64 {tensor}")
        gradient = out.set("g.whole", f"load ptr, ptr {gradient}, align 8")
        absent = out.set("absent", f"icmp eq ptr {gradient}, null")
        out.line(f"br i1 {absent}, label %chunk.past, label %chunk.here")
        out.label("chunk.here")
        record = out.set("record", f"mul i64 {tensor}, {len(RECORD)}")
        record = out.set("record", f"getelementptr i64, ptr {records}, i64 {record}")
        numel = out.field(record, RECORD, "numel")
        length = out.field(record, RECORD, "chunk_length")
        rest = out.set("rest", f"sub i64 {numel}, {start}")
        full = out.set("full", f"icmp ult i64 {length}, {rest}")
        count = out.set("count", f"select i1 {full}, i64 {length}, i64 {rest}")
        rows = {
            GROUP: out.field(record, RECORD, "group_row", "ptr"),
            TENSOR: out.field(record, RECORD, "tensor_row", "ptr"),
        }
        self.base = {}
        for c in self.columns:
            at = out.set(f"{c}.at", f"getelementptr ptr, ptr {addresses[c]}, i64 {tensor}")
            whole = out.set(f"{c}.whole", f"load ptr, ptr {at}, align 8")
            kind = _MEMORY[module.dtype[c]]
            self.base[c] = out.set(f"{c}.here", f"getelementptr {kind}, ptr {whole}, i64 {start}")
        narrow, wide = self._load_scalars(rows)
        if self.noisy:
            self._keys(out.field(record, RECORD, "noise"), record, start)

        out.line(f"%wide.count = and i64 {count}, {-module.width}")
        out.line("%any.wide = icmp ugt i64 %wide.count, 0")
        out.line("br i1 %any.wide, label %wide, label %wide.end")
        names = [f"sum{i}" for i in range(len(walk.sums))]
        double = self.wide.like("double")

        out.label("wide")
        out.line("%i = phi i64 [ 0, %chunk.here ], [ %i.next, %wide ]")
        for name in names:
            zero = f"[ zeroinitializer, %chunk.here ], [ %{name}.wide.next, %wide ]"
            out.line(f"%{name}.wide = phi {double} {zero}")
        self._elements(wide, "%i", "wide")
        out.line(f"%i.next = add i64 %i, {module.width}")
        out.line("%again = icmp ult i64 %i.next, %wide.count")
        out.line("br i1 %again, label %wide, label %wide.end")

        out.label("wide.end")
        for name in names:
            ends = f"[ zeroinitializer, %chunk.here ], [ %{name}.wide.next, %wide ]"
            out.line(f"%{name}.all = phi {double} {ends}")
        for name in names:
            function = f"@llvm.vector.reduce.fadd.v{module.width}f64"
            out.declared[f"declare double {function}(double, {double})"] = None
            out.line(f"%{name}.start = call double {function}(double 0.0, {double} %{name}.all)")
        out.line(f"%any.left = icmp ult i64 %wide.count, {count}")
        out.line("br i1 %any.left, label %left.over, label %chunk.end")

        out.label("left.over")
        out.line("%j = phi i64 [ %wide.count, %wide.end ], [ %j.next, %left.over ]")
        for name in names:
            first = f"[ %{name}.start, %wide.end ], [ %{name}.one.next, %left.over ]"
            out.line(f"%{name}.one = phi double {first}")
        self._elements(narrow, "%j", "one")
        out.line("%j.next = add i64 %j, 1")
        out.line(f"%once.more = icmp ult i64 %j.next, {count}")
        out.line("br i1 %once.more, label %left.over, label %chunk.end")

        out.label("chunk.end")
        for name in names:
            ends = f"[ %{name}.start, %wide.end ], [ %{name}.one.next, %left.over ]"
            out.line(f"%{name} = phi double {ends}")
        for i, name in enumerate(names):
            at = out.set("at", f"mul i64 %chunk, {module.partials}")
            at = out.set("at", f"add i64 {at}, {i}")
            at = out.set("at", f"getelementptr double, ptr {partials}, i64 {at}")
            out.line(f"store double %{name}, ptr {at}, align 8")
        out.line("br label %chunk.past")
        out.label("chunk.past")
        out.line("%chunk.next = add i64 %chunk, 1")
        out.line(f"%chunk.again = icmp ult i64 %chunk.next, {last}")
        out.line("br i1 %chunk.again, label %chunk.begin, label %claim")
        out.label("end")
        out.end()

    def _load_scalars(self, rows: dict[int, str]) -> tuple[_Body, _Body]:
        """The scalars that the elements meet, as single numbers and as vectors."""
        out = self.out
        narrow, wide = (_Body(out, kind) for kind in (self.one, self.wide))
        used = {x for v in self.walk.values for x in wide.operands(v)}
        used |= {*self.walk.stores.values(), *(x for v in self.walk.sums for x in v.args)}
        for v in self.walk.scalars:
            if v.op == "constant" or v not in used:
                continue
            row = (self.kernel.group_row, self.kernel.tensor_row)[v.level]
            name = v.leaf or v.name or v.op
            at = out.set(f"{name}.at", f"getelementptr double, ptr {rows[v.level]}, i64 {row[v]}")
            number = out.set(name, f"load double, ptr {at}, align 8")
            if any(w.op == "where" and w.args[0] is v for w in self.walk.values):
                test = ("i1", out.set(f"{name}.on", f"fcmp une double {number}, 0.0"))
                narrow.truths[v] = wide.truths[v] = test
            if self.one.of == "float":
                number = out.set(f"{name}.f", f"fptrunc double {number} to float")
            narrow.names[v], wide.names[v] = number, out.splat(number, self.wide)
        return narrow, wide

    def _elements(self, body: _Body, i: str, suffix: str) -> None:
        """The step for the elements from i on: as many as the body is wide."""
        out = self.out
        for c, v in self.walk.loads.items():
            body.names[v] = self._load(c, body.kind, i)
        for v in self.walk.values:
            body.compute(v)
        double = body.kind.like("double")
        for n, v in enumerate(self.walk.sums):
            x = body.number(v.args[0])
            if body.kind.of == "float":
                x = out.set("wider", f"fpext {body.kind} {x} to {double}")
            out.line(f"%sum{n}.{suffix}.next = fadd {double} %sum{n}.{suffix}, {x}")
        stores = {c: body.number(v) for c, v in self.walk.stores.items()}
        for c, x in stores.items():
            self._store(c, body.kind, i, x)

    def _at(self, column: str, i: str) -> str:
        kind = _MEMORY[self.module.dtype[column]]
        return self.out.set(
            f"{column}.i", f"getelementptr {kind}, ptr {self.base[column]}, i64 {i}"
        )

    def _load(self, column: str, kind: Type, i: str) -> str:
        out, dtype = self.out, self.module.dtype[column]
        memory = kind.like(_MEMORY[dtype])
        at = self._at(column, i)
        x = out.set(column, f"load {memory}, ptr {at}, align {DTYPES[dtype]}")
        single = kind.like("float")
        if dtype == "bfloat16":  # the upper half of a float32
            whole = kind.like("i32")
            x = out.code(
                f"""
                short = zext {memory} %x to {whole}
                upper = shl {whole} %short, {whole.constant(16)}
                {column} = bitcast {whole} %upper to {single}
                """,
                x=x,
            )
        elif dtype == "float16":
            x = out.set(column, f"fpext {memory} {x} to {single}")
        if kind.of == "double" and dtype != "float64":
            x = out.set(column, f"fpext {single} {x} to {kind}")
        return x

    def _store(self, column: str, kind: Type, i: str, x: str) -> None:
        out, dtype = self.out, self.module.dtype[column]
        memory, single = kind.like(_MEMORY[dtype]), kind.like("float")
        name = f"{column}.new"
        if kind.of == "double" and dtype != "float64":
            x = out.set(name, f"fptrunc {kind} {x} to {single}")
        if self._narrow(column):
            x = self._round(column, single, i, x)
        out.line(f"store {memory} {x}, ptr {self._at(column, i)}, align {DTYPES[dtype]}")

    def _round(self, column: str, single: Type, i: str, x: str) -> str:
        """A float32 as bfloat16 (in an i16) or float16."""
        out, half = self.out, self.module.dtype[column] == "float16"
        if not self.noisy:
            if half:
                return out.set(f"{column}.new", f"fptrunc {single} {x} to {single.like('half')}")
            return self._to_bfloat16(single, x, self._nearest(single, x))
        noise = self._noise(column, single.like("i32"), i)
        return (self._to_float16 if half else self._to_bfloat16)(single, x, noise)

    def _nearest(self, single: Type, x: str) -> str:
        """What to add to a float32 before its lower half is cut off, to round it to the nearest
        even: half of the last place kept, and one less where that place is even already.
        """
        whole = single.like("i32")
        return self.out.code(
            f"""
            bits = bitcast {single} %x to {whole}
            upper = lshr {whole} %bits, {whole.constant(16)}
            odd = and {whole} %upper, {whole.constant(1)}
            nearest = add {whole} %odd, {whole.constant(0x7FFF)}
            """,
            x=x,
        )

    def _to_bfloat16(self, single: Type, x: str, noise: str) -> str:
        """Add to the bits, and cut the lower half off; infinity and NaN stay what they are.

        In integers, since the instruction that some processors have for it flushes denormals.
        """
        whole, test = single.like("i32"), single.like("i1")
        return self.out.code(
            f"""
            low = and {whole} %noise, {whole.constant(0xFFFF)}
            bits = bitcast {single} %x to {whole}
            sum = add {whole} %bits, %low
            size = and {whole} %bits, {whole.constant(0x7FFFFFFF)}
            finite = icmp ult {whole} %size, {whole.constant(0x7F800000)}
            isnan = icmp ugt {whole} %size, {whole.constant(0x7F800000)}
            rounded = select {test} %finite, {whole} %sum, {whole} %bits
            right = select {test} %isnan, {whole} {whole.constant(0x7FC00000)}, {whole} %rounded
            upper = lshr {whole} %right, {whole.constant(16)}
            bfloat16 = trunc {whole} %upper to {single.like("i16")}
            """,
            x=x,
            noise=noise,
        )

    def _to_float16(self, single: Type, x: str, noise: str) -> str:
        """As bfloat16, but its denormals are multiples of 2**-24: there the noise joins their number."""
        whole, test = single.like("i32"), single.like("i1")
        size = self.out.call("size", "fabs", single, x)
        units = self.out.code(
            f"""
            low = and {whole} %noise, {whole.constant(0x1FFF)}
            whole = fmul {single} %size, {single.constant(2.0**24)}
            count = uitofp {whole} %low to {single}
            part = fmul {single} %count, {single.constant(2.0**-13)}
            units = fadd {single} %whole, %part
            """,
            size=size,
            noise=noise,
        )
        units = self.out.call("units", "floor", single, units)
        tiny = self.out.set("tiny", f"fmul {single} {units}, {single.constant(2.0**-24)}")
        return self.out.code(
            f"""
            low = and {whole} %noise, {whole.constant(0x1FFF)}
            bits = bitcast {single} %x to {whole}
            sum = add {whole} %bits, %low
            cut = and {whole} %sum, {whole.constant(-0x2000)}
            normal = bitcast {whole} %cut to {single}
            istiny = fcmp olt {single} %size, {single.constant(2.0**-14)}
            rounded = select {test} %istiny, {single} %tiny, {single} %normal
            finite = fcmp olt {single} %size, {single.constant(math.inf)}
            right = select {test} %finite, {single} %rounded, {single} %x
            float16 = fptrunc {single} %right to {single.like("half")}
            """,
            x=x,
            noise=noise,
            size=size,
            tiny=self.out.call("tiny", "copysign", single, tiny, x),
        )

    def _keys(self, noise: str, record: str, start: str) -> None:
        """For each column that is rounded stochastically, the key of its random numbers."""
        out, wide = self.out, self.wide.like("i32")
        number = out.field(record, RECORD, "number")
        self.start = out.set("start.low", f"trunc i64 {start} to i32")
        self.keys = {}
        for c in self.noisy:
            key = out.code(
                f"""
                first = mul i64 %number, {len(self.kernel.columns)}
                stream = add i64 %first, {self.kernel.columns.index(c) + 1}
                spread = mul i64 %stream, {_signed(_SPREAD)}
                key = add i64 %spread, %noise
                """,
                number=number,
                noise=noise,
            )
            key = _splitmix(out, key)
            first = out.set("key.first", f"trunc i64 {key} to i32")
            second = out.code(
                """
                upper = lshr i64 %key, 32
                far = lshr i64 %start, 32
                sum = add i64 %upper, %far
                second = trunc i64 %sum to i32
                """,
                key=key,
                start=start,
            )
            self.keys[c] = {
                1: (first, second),
                wide.width: (out.splat(first, wide), out.splat(second, wide)),
            }

    def _noise(self, column: str, whole: Type, i: str) -> str:
        """32 random bits per element: murmur3's finalizer, twice, on the place and the key."""
        out = self.out
        x = out.set("place", f"trunc i64 {i} to i32")
        x = out.set("place", f"add i32 {x}, {self.start}")
        if whole.width > 1:
            lanes = ", ".join(f"i32 {n}" for n in range(whole.width))
            x = out.set("place", f"add {whole} {out.splat(x, whole)}, <{lanes}>")
        for key, how in zip(self.keys[column][whole.width], ("xor", "add"), strict=True):
            x = out.code(
                f"""
                keyed = {how} {whole} %x, %key
                a = lshr {whole} %keyed, {whole.constant(16)}
                b = xor {whole} %keyed, %a
                c = mul {whole} %b, {whole.constant(_signed(0x85EBCA6B, 32))}
                d = lshr {whole} %c, {whole.constant(13)}
                e = xor {whole} %c, %d
                f = mul {whole} %e, {whole.constant(_signed(0xC2B2AE35, 32))}
                g = lshr {whole} %f, {whole.constant(16)}
                mixed = xor {whole} %f, %g
                """,
                x=x,
                key=key,
            )
        return x


def _signed(bits: int, width: int = 64) -> int:
    return bits - 2**width if bits >= 2 ** (width - 1) else bits


def _row(row: dict[Value, int]) -> str:
    return ", ".join(str(v.leaf or v.name or v.op) for v in row) or "empty"


class _Table:
    """What a function over all tensors reads of them: their records and their addresses."""

    def __init__(self, out: _Printer):
        self.out = out
        self.records = out.field("%scalars", SCALARS, "records", "ptr")
        self.count = out.field("%scalars", SCALARS, "tensor_count")
        self.addresses = out.field("%scalars", SCALARS, "addresses", "ptr")

    @staticmethod
    def counts(kernel: Kernel) -> int:
        """The number of the column of step counts."""
        return len(kernel.columns) + len(kernel.slots)

    def record(self, tensor: str) -> str:
        """The record of a tensor."""
        at = self.out.set("record", f"mul i64 {tensor}, {len(RECORD)}")
        return self.out.set("record", f"getelementptr i64, ptr {self.records}, i64 {at}")

    def address(self, column: int, tensor: str) -> str:
        """Where a tensor has a column."""
        at = self.out.set("at", f"mul i64 {self.count}, {column}")
        at = self.out.set("at", f"add i64 {at}, {tensor}")
        at = self.out.set("at", f"getelementptr ptr, ptr {self.addresses}, i64 {at}")
        return self.out.set("address", f"load ptr, ptr {at}, align 8")

    def skip_absent(self, loop: str) -> None:
        """In a loop's body: go on to the next tensor if this one has no gradient."""
        absent = self.out.set("absent", f"icmp eq ptr {self.address(1, f'%{loop}')}, null")
        self.out.line(f"br i1 {absent}, label %{loop}.tail, label %{loop}.here")
        self.out.label(f"{loop}.here")


def _splitmix(out: _Printer, key: str) -> str:
    """64 bits mixed as in splitmix64."""
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        key = out.code(
            f"""
            shifted = lshr i64 %key, {shift}
            mixed = xor i64 %key, %shifted
            key = mul i64 %mixed, {_signed(multiplier)}
            """,
            key=key,
        )
    return key


def _loop(
    out: _Printer,
    name: str,
    count: str,
    before: str = "entry",
    carried: Iterable[str] = (),
    kind: str = "double",
) -> None:
    """Open a loop that counts %name from 0, carrying sums that start at zero."""
    zero = "0.0" if kind == "double" else "0"
    out.line(f"br label %{name}.head")
    out.label(f"{name}.head")
    steps = f"[ 0, %{before} ], [ %{name}.next, %{name}.tail ]"
    out.line(f"%{name} = phi i64 {steps}")
    for x in carried:
        ends = f"[ {zero}, %{before} ], [ %{x}.carried, %{name}.tail ]"
        out.line(f"%{x} = phi {kind} {ends}")
    out.line(f"%{name}.more = icmp ult i64 %{name}, {count}")
    out.line(f"br i1 %{name}.more, label %{name}.body, label %{name}.end")
    out.label(f"{name}.body")


def _next(
    out: _Printer,
    name: str,
    before: str = "",
    carried: dict[str, str] | None = None,
    skipped: str = "",
    kind: str = "double",
) -> None:
    """Close the loop; its last block is `before`, the carried sums' new values are given.

    skipped: the block from which tensors that take no part come; their sums stay as they are.
    """
    out.line(f"br label %{name}.tail")
    out.label(f"{name}.tail")
    for x, value in (carried or {}).items():
        past = f", [ %{x}, %{skipped} ]" if skipped else ""
        out.line(f"%{x}.carried = phi {kind} [ {value}, %{before} ]{past}")
    out.line(f"%{name}.next = add i64 %{name}, 1")
    out.line(f"br label %{name}.head")
    out.label(f"{name}.end")


# The whole step in one call: each job in turn, by the team (`parallel` is GOMP_parallel) where it
# takes threads and there are several. A job that returns another word than 0 ends the step with it.
_DRIVE = """
; the step: the jobs in turn
define i64 @drive(ptr %parallel, i32 %threads, ptr %jobs, i64 %count) {
entry:
  %several = icmp ugt i32 %threads, 1
  br label %head
head:
  %job = phi i64 [ 0, %entry ], [ %job.next, %tail ]
  %more = icmp ult i64 %job, %count
  br i1 %more, label %body, label %end
body:
  %at = getelementptr [3 x i64], ptr %jobs, i64 %job
  %function = load ptr, ptr %at, align 8
  %argument.at = getelementptr i64, ptr %at, i64 1
  %argument = load ptr, ptr %argument.at, align 8
  %how.at = getelementptr i64, ptr %at, i64 2
  %how = load i64, ptr %how.at, align 8
  switch i64 %how, label %alone [ i64 1, label %chunks
                                  i64 2, label %first ]
first:
  %status = call i64 %function(ptr %argument)
  %refused = icmp ne i64 %status, 0
  br i1 %refused, label %refusal, label %tail
chunks:
  store i64 0, ptr %argument, align 8
  br i1 %several, label %team, label %alone
team:
  call void %parallel(ptr %function, ptr %argument, i32 %threads, i32 0)
  br label %tail
alone:
  call void %function(ptr %argument)
  br label %tail
tail:
  %job.next = add i64 %job, 1
  br label %head
refusal:
  ret i64 %status
end:
  ret i64 0
}
"""
