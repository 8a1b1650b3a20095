"""The whole module: what a step does, function by function, and `drive`, which calls them in turn.

`begin` checks the tables, counts the step, and calls `row` to compute what depends only on t and the
hyperparameters. `tensors_k` computes the values with one number per tensor, and `pass_k` those for every
element. A reduction ends a pass: each chunk writes a partial sum, and `tensors_k` adds them up. `finish`
stores the new scalar slots. A tensor whose gradient has the address 0 is not stepped.
"""

from __future__ import annotations

from collections.abc import Iterable

from ravine.engines.kernel import Value
from ravine.engines.llvm import scalars
from ravine.engines.llvm.begin import begin, check
from ravine.engines.llvm.lines import enter, leave
from ravine.engines.llvm.printer import Printer
from ravine.engines.llvm.tables import BATCH, IN_THREADS, LINE, REFUSES
from ravine.engines.llvm.variant import Variant
from ravine.engines.llvm.walk import print_pass

__all__ = ["before", "checks", "text"]


def text(variant: Variant) -> str:
    """The module as LLVM IR."""
    out, kernel = Printer(), variant.kernel
    scalars.row(out, kernel)
    begin(out, variant)
    if kernel.short:
        enter(out, variant)
    for stage in range(kernel.stages):
        if kernel.spread:
            scalars.parts(out, variant, stage)
        scalars.tensors(out, variant, stage)
    for walk in variant.passes:
        print_pass(out, variant, walk)
    if kernel.short:
        leave(out, variant)
    scalars.finish(out, kernel)
    out.lines += _DRIVE.splitlines()
    columns = ", ".join(f"{c} {d}" for c, d in variant.dtype.items())
    return out.text(
        f"{kernel.graph.rule.name}: {columns}; computed in {variant.of}",
        f"group row: {_row(kernel.group_row)}",
        f"tensor row: {_row(kernel.tensor_row)}",
    )


def before(variant: Variant, stages: int) -> str:
    """The functions that do not depend on elements, for tensors whose passes run elsewhere: `row`, `begin`,
    `finish`, and the scalars of the first stages, or as many of the first as depend on no rows or columns.
    """
    out, kernel = Printer(), variant.kernel
    scalars.row(out, kernel)
    begin(out, variant)
    if kernel.has_lines:
        scalars.early(out, variant)
    else:
        for stage in range(stages):
            scalars.tensors(out, variant, stage)
    scalars.finish(out, kernel)
    return out.text(f"{kernel.graph.rule.name}: scalars")


def checks(variant: Variant) -> str:
    """What the host does if all of this is computed on a device: it checks the tables."""
    out = Printer()
    check(out, variant)
    return out.text(f"{variant.kernel.graph.rule.name}: checks")


def _row(row: Iterable[Value]) -> str:
    return ", ".join(str(v.called) for v in row) or "empty"


# The whole step in one call: each job in turn, by the team (`parallel` is GOMP_parallel) where it
# takes threads and there are several. A job that returns another word than 0 ends the step with it.
_DRIVE = f"""
; the step: the jobs in turn
define i64 @drive(ptr %parallel, i32 %threads, ptr %jobs, i64 %count) {{
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
  switch i64 %how, label %alone [ i64 {IN_THREADS}, label %chunks
                                  i64 {REFUSES}, label %first ]
first:
  %status = call i64 %function(ptr %argument)
  %refused = icmp ne i64 %status, 0
  br i1 %refused, label %refusal, label %tail
chunks:
  %counters = load ptr, ptr %argument, align 8
  %ranges.at = getelementptr i64, ptr %argument, i64 {BATCH.index("range_count")}
  %ranges = load i64, ptr %ranges.at, align 8
  %counted = add i64 %ranges, 1
  %bytes = mul i64 %counted, {8 * LINE}
  call void @llvm.memset.p0.i64(ptr align 8 %counters, i8 0, i64 %bytes, i1 false)
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
}}
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""
