"""`begin`: checks that the step can be taken, and counts it."""

from __future__ import annotations

import math

from ravine.engines.kernel import Kernel
from ravine.engines.llvm import noise
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.llvm.tables import COUNT_FULL, NO_MEMORY, READY, RECORD, SCALARS, Tensors
from ravine.engines.llvm.variant import Variant

__all__ = ["begin", "check", "count"]


def begin(out: Printer, variant: Variant) -> None:
    """Checks whether the step can be taken; if so, computes counts, groups' rows and the old scalar slots."""
    kernel = variant.kernel
    out.begin("@begin(ptr %scalars)", "checks, counts, and the scalars of groups", result="i64")
    rows = out.field("%scalars", SCALARS, "group_rows", "ptr")
    groups = out.field("%scalars", SCALARS, "group_count")
    tensors = Tensors(out, kernel)
    expected = out.field("%scalars", SCALARS, "expected")
    _check(out, variant, tensors, expected)  # nothing is changed before everything has been checked

    with out.loop("group", groups):
        row = out.set("row", f"mul i64 %group, {len(kernel.group_row)}")
        row = out.at(rows, row, name="row")
        if _counts(kernel):  # NaN means that no tensor was counted yet
            out.store(Type("double").constant(math.nan), row)
        else:
            out.line(f"call void @row(ptr {row})")

    with tensors.each("tensor"):
        record = tensors.record("%tensor")
        t = count(out, tensors, record)
        if variant.noisy:
            bits = noise.of_step(out, out.field("%scalars", SCALARS, "seed"), t)
            out.store(bits, out.at(record, RECORD.index("noise"), "i64"), "i64")
        if _counts(kernel):
            _find_row(out, kernel, record, t)
        row = out.field(record, RECORD, "tensor_row", "ptr")
        for i in range(len(kernel.slots)):
            old = out.load("slot", tensors.slot(i, "%tensor"))
            out.store(old, out.at(row, i))
    out.end(f"i64 {READY}")


def check(out: Printer, variant: Variant) -> None:
    """Checks the same of tensors whose counts are on a device."""
    out.begin("@check(ptr %scalars)", "checks", result="i64")
    expected = out.field("%scalars", SCALARS, "expected")
    _check(out, variant, Tensors(out, variant.kernel), expected, counts=False)
    out.end(f"i64 {READY}")


def _counts(kernel: Kernel) -> bool:
    """Whether scalars depend on t, so that tensors of a group may need rows of their own."""
    return kernel.inputs[:1] == ("t",)


def _check(
    out: Printer, variant: Variant, tensors: Tensors, expected: str, counts: bool = True
) -> None:
    """Return the status if something is missing; otherwise continue. counts: whether to look at counts."""
    kernel = variant.kernel
    with tensors.each("check", {"present": "0"}, "i64") as becomes:
        becomes["present"] = "%present.more"
        out.line("%present.more = add i64 %present, 1")
        used = {c for walk in variant.passes for c in (*walk.loads, *walk.stores)} - {"g"}
        used |= {*kernel.short}
        needed = [tensors.column(c, "%check") for c in kernel.columns if c in used]
        needed += [tensors.slot(i, "%check") for i in range(len(kernel.slots))]
        for address in needed:
            missing = out.set("missing", f"icmp eq ptr {address}, null")
            there = out.fresh("there")[1:]
            out.branch(missing, "no.memory", there)
            out.label(there)
        if counts:
            at = tensors.steps("%check")
            uncounted = out.set("uncounted", f"icmp eq ptr {at}, null")
            wide = _is_wide(out, tensors.record("%check"))
            endless = out.set("endless", f"or i1 {uncounted}, {wide}")
            out.branch(endless, "check.last", "narrow")
            out.label("narrow")
            taken = out.load("taken", at, "float")
            full = out.set("full", f"fcmp oge float {taken}, {Type('float').constant(2.0**24)}")
            out.branch(full, "count.full", "check.last")
            out.label("check.last")
    complete = out.set("complete", f"icmp eq i64 %present, {expected}")
    out.branch(complete, "ready", "no.memory")
    for label, status in (("no.memory", NO_MEMORY), ("count.full", COUNT_FULL)):
        out.label(label)
        out.line(f"ret i64 {status}")
    out.label("ready")


def _is_wide(out: Printer, record: str) -> str:
    """Whether a tensor's count is in float64."""
    return out.set("wide", f"icmp ne i64 {out.field(record, RECORD, 'wide_count')}, 0")


def count(out: Printer, tensors: Tensors, record: str, tensor: str = "%tensor") -> str:
    """Add one to a tensor's count, if it has one, in a loop called "tensor"; the new count, or 0."""
    count = tensors.steps(tensor)
    uncounted = out.set("uncounted", f"icmp eq ptr {count}, null")
    out.branch(uncounted, "counted", "count.one")
    out.label("count.one")
    out.branch(_is_wide(out, record), "count.wide", "count.narrow")
    for kind, label in (("double", "wide"), ("float", "narrow")):
        out.label(f"count.{label}")
        old = out.load(f"old.{label}", count, kind)
        new = out.set(f"t.{label}", f"fadd {kind} {old}, 1.0")
        out.store(new, count, kind)
        if kind == "float":
            out.line("%t.exact = fpext float %t.narrow to double")
        out.jump("counted")
    out.label("counted")
    ends = "[ 0.0, %tensor.here ], [ %t.wide, %count.wide ], [ %t.exact, %count.narrow ]"
    out.line(f"%t = phi double {ends}")
    return "%t"


def _find_row(out: Printer, kernel: Kernel, record: str, t: str) -> None:
    """Find the row of scalars for a tensor's count, its group's or a separate one; fill a new one."""
    shared = out.field(record, RECORD, "shared_row", "ptr")
    own = out.field(record, RECORD, "own_row", "ptr")
    before = out.block
    of_row = out.load("of.row", shared)
    same = out.set("same", f"fcmp oeq double {of_row}, {t}")
    out.branch(same, "row.known", "row.other")
    out.label("row.other")
    free = out.set("free", f"fcmp uno double {of_row}, 0.0")
    out.branch(free, "row.new", "row.own")
    out.label("row.own")
    for i in range(1, len(kernel.inputs)):
        source, target = out.at(shared, i), out.at(own, i)
        out.store(out.load("value", source), target)
    out.jump("row.new")
    out.label("row.new")
    out.line(f"%row.here = phi ptr [ {shared}, %row.other ], [ {own}, %row.own ]")
    out.store(t, "%row.here")
    out.line("call void @row(ptr %row.here)")
    out.jump("row.known")
    out.label("row.known")
    out.line(f"%row.mine = phi ptr [ {shared}, %{before} ], [ %row.here, %row.new ]")
    out.store("%row.mine", out.at(record, RECORD.index("group_row"), "i64"), "ptr")
