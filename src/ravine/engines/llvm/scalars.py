"""What is computed once for a group or a tensor, in float64: `row`, `tensors_k` and `finish`.

`row` computes what depends only on t and the hyperparameters, once for the tensors of a parameter group
that have taken the same number of steps. `tensors_k` combines the parts of reductions that the chunks of a
pass have written, in the order of the chunks, so that the bits do not depend on the threads; then it
computes what depends on them. If tensors may be sharded over processes, `parts_k` does the former, so that
the processes can combine their parts before the latter. `finish` stores the new scalar slots.
"""

from __future__ import annotations

from functools import partial

from ravine.engines.kernel import GROUP, PARTIAL, SIZES, TENSOR, WHOLE, Kernel, Value
from ravine.engines.llvm.body import Body
from ravine.engines.llvm.lines import Lines, compute, put_together
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.llvm.reductions import identity, more
from ravine.engines.llvm.tables import RECORD, SCALARS, Tensors, rows_of, scalar
from ravine.engines.llvm.variant import Variant

__all__ = [
    "compute_scalars",
    "early",
    "finish",
    "known",
    "new_slots",
    "of_tensor",
    "parts",
    "row",
    "tensors",
    "todo",
]

_DOUBLE = Type("double")


def row(out: Printer, kernel: Kernel) -> None:
    """The scalars that depend on t and the hyperparameters."""
    out.begin("@row(ptr %row)", "for tensors of a group with one count, in float64")
    values = [v for v in kernel.needed if v in kernel.group_row]
    compute_scalars(Body(out, _DOUBLE), kernel, {GROUP: "%row"}, values)
    out.end()


def parts(out: Printer, variant: Variant, stage: int) -> None:
    """For each tensor, of which other processes may have parts as well: this process's part of the
    reductions.
    """
    kernel = variant.kernel
    found = kernel.found(stage)
    if not found:
        return
    out.begin(f"@parts_{stage}(ptr %scalars)", "what other processes have parts of")
    every = Tensors(out, kernel)
    with every.each("tensor"):
        record = every.record("%tensor")
        body, rows = Body(out, _DOUBLE), rows_of(out, record)
        sums = [v for v in found if v.op in PARTIAL]
        _add_partials(out, variant, record, sums, body)
        scalars = partial(compute_scalars, body, kernel, rows)
        scalars(sums)
        if kernel.by_lines:
            put_together(Lines(out, kernel, record), variant, found, body, scalars)
    out.end()


def early(out: Printer, variant: Variant) -> None:
    """For each tensor: the scalars that depend on no elements, rows or columns."""
    kernel, mine = variant.kernel, [v for v in variant.kernel.needed if v in variant.kernel.early]
    out.begin("@tensors_0(ptr %scalars)", "once per step and tensor, in float64")
    every = Tensors(out, kernel)
    with every.each("tensor"):
        record = every.record("%tensor")
        body = known(out, variant, record, mine, "")
        compute_scalars(body, kernel, rows_of(out, record), mine)
    out.end()


def tensors(out: Printer, variant: Variant, stage: int) -> None:
    """For each tensor: the combined reductions, and the scalars that depend on them."""
    kernel = variant.kernel
    adding = {v: f"total{i}" for i, v in enumerate(kernel.totals) if v.stage == stage + 1}
    if not (todo(kernel, stage) or stage in kernel.due.values() or adding):
        return
    out.begin(f"@tensors_{stage}(ptr %scalars)", "once per step and tensor, in float64")
    totals = out.field("%scalars", SCALARS, "totals", "ptr")
    every = Tensors(out, kernel)
    with every.each("tensor", dict.fromkeys(adding.values(), identity("sum", _DOUBLE))) as becomes:
        record = every.record("%tensor")
        rows = rows_of(out, record)
        body = of_tensor(out, variant, stage, record, rows, totals)
        for v, name in adding.items():
            [x] = v.args
            if x not in body.names:
                body.names[x] = scalar(out, kernel, rows, x)
            text = f"fadd double %{name}, {body.number(x)}"
            becomes[name] = out.set(f"{name}.next", text)
    for v, name in adding.items():
        out.store(f"%{name}", out.at(totals, kernel.totals.index(v)))
    out.end()


def todo(kernel: Kernel, stage: int) -> list[Value]:
    """What is computed for each tensor at a stage."""
    mine = [v for v in kernel.needed if v.level == TENSOR and v.stage == stage]
    return [v for v in mine if not kernel.is_found(v)] if kernel.spread else mine


def of_tensor(
    out: Printer, variant: Variant, stage: int, record: str, rows: dict[int, str], totals: str
) -> Body:
    """What is computed for one tensor at a stage; totals: the address of the sums over all tensors."""
    kernel, mine = variant.kernel, todo(variant.kernel, stage)
    body = known(out, variant, record, mine, totals)
    if stage in kernel.due.values():
        lines = Lines(out, kernel, record)
        compute(lines, variant, stage, body, rows, partial(compute_scalars, body, kernel, rows))
    else:
        compute_scalars(body, kernel, rows, mine)
    return body


def known(out: Printer, variant: Variant, record: str, values: list[Value], totals: str) -> Body:
    """The body of a tensor's scalars, with those of them that tables have: sizes, sums over elements, and
    sums over all tensors.
    """
    kernel, body = variant.kernel, Body(out, _DOUBLE)
    for v in values:
        if v.op in SIZES:
            number = out.field(record, RECORD, f"whole_{v.op}")
            body.names[v] = out.set(f"{v.op}.f", f"sitofp i64 {number} to double")
        elif v.op == "epsilon":
            body.names[v] = _DOUBLE.constant(2.0**-52 if variant.of == "double" else 2.0**-23)
        elif v.op == "total":
            at = out.at(totals, kernel.totals.index(v))
            body.names[v] = out.load(v.called, at)
    _add_partials(out, variant, record, [v for v in values if v.op in PARTIAL], body)
    return body


def _add_partials(
    out: Printer, variant: Variant, record: str, sums: list[Value], body: Body
) -> None:
    """Combine the parts that the chunks of a tensor have written."""
    if not sums:
        return
    partials = out.field(record, RECORD, "partials", "ptr")
    chunks = out.field(record, RECORD, "chunk_count")
    walk = next(w for w in variant.passes if w.sums and w.sums[0] in sums)
    body.names |= {v: f"%sum{i}" for i, v in enumerate(walk.sums)}
    starts = {f"sum{i}": identity(v.op, _DOUBLE) for i, v in enumerate(walk.sums)}
    with out.loop("add", chunks, starts, unrolled=True) as becomes:
        first = out.set("at", f"mul i64 %add, {variant.partials}")
        for i, (name, v) in enumerate(zip(starts, walk.sums, strict=True)):
            part = out.load("part", out.at(partials, out.set("at", f"add i64 {first}, {i}")))
            becomes[name] = out.set(f"{name}.next", more(out, v.op, _DOUBLE, f"%{name}", part))


def compute_scalars(body: Body, kernel: Kernel, rows: dict[int, str], values: list[Value]) -> None:
    """Compute scalars and store them in their row; load those that other functions computed."""
    out = body.out
    for v in values:
        for x in (v, *(v.args if v.op not in (*PARTIAL, *WHOLE, "total") else ())):
            stands = x.op in ("scalar", "hyperparameter") or x not in values
            if stands and x.op != "constant" and x not in body.names:
                body.names[x] = scalar(out, kernel, rows, x)
        if v.op not in ("scalar", "hyperparameter"):
            if v not in body.names:
                body.compute(v)
            number = body.number(v)
            out.store(number, out.at(rows[v.level], kernel.place(v)))


def finish(out: Printer, kernel: Kernel) -> None:
    """Store the new scalar slots."""
    if not kernel.slots:
        return
    out.begin("@finish(ptr %scalars)", "the new scalar slots")
    every = Tensors(out, kernel)
    with every.each("tensor"):
        new_slots(out, kernel, every, "%tensor")
    out.end()


def new_slots(out: Printer, kernel: Kernel, every: Tensors, tensor: str) -> None:
    """Store the new scalar slots of one tensor."""
    rows = rows_of(out, every.record(tensor))
    for i, slot in enumerate(kernel.slots):
        new = kernel.outputs[slot]
        known = new.op == "constant"
        value = _DOUBLE.constant(float(new.leaf)) if known else scalar(out, kernel, rows, new)
        out.store(value, every.slot(i, tensor))
