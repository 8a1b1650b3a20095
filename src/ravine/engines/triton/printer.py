"""A kernel's passes as Triton text: one launch for each, whatever the number of tensors.

    pass_k      a program for each chunk: walks over its elements, and writes its part of reductions
    tensors_k   a program for each tensor: combines the parts, in the order of the chunks, and computes
                what depends on them, in float64
    totals_k    one program: sums over all tensors, in their order

The tables are those of PTX (llvm/blocks.py), and so is what the host has computed before the first pass.
"""

from __future__ import annotations

from ravine.engines.kernel import Kernel
from ravine.engines.llvm.blocks import LAUNCH
from ravine.engines.llvm.elements import Elements, Row
from ravine.engines.llvm.printer import Type
from ravine.engines.llvm.reductions import identity
from ravine.engines.llvm.scalars import of_tensor, todo
from ravine.engines.llvm.tables import CHUNK, SCALARS, Tensors, record_of, rows_of, scalar
from ravine.engines.llvm.variant import Variant
from ravine.engines.passes import Pass
from ravine.engines.triton.text import TYPES, Text, plain

__all__ = ["BLOCK", "after", "text"]

BLOCK = 1024
"""The number of elements that a program computes at a time."""

_DOUBLE = Type("double")
_HEAD = '''"""{title}"""

import triton
import triton.language as tl
{imports}

@triton.jit
def _at(base, places, ALIGNED: tl.constexpr):
    if ALIGNED:  # wide loads need the hint on the block of pointers
        return tl.multiple_of(base + places, 16)
    else:
        return base + places


@triton.jit
def _exp(x):
    return {room}.exp(x)


@triton.jit
def _log(x):
    return {room}.log(x)


@triton.jit
def _pow(x, y):
    return {pow}
'''
_BY_BITS = """

@triton.jit
def _copysign_float{bits}(x, y):
    size = x.to(tl.uint{bits}, bitcast=True) & {size}
    sign = y.to(tl.uint{bits}, bitcast=True) & {sign}
    return (size | sign).to(tl.float{bits}, bitcast=True)


@triton.jit
def _rint_float{bits}(x):
    # The sum has no digits after the point; halves are rounded to even.
    size = tl.abs(x)
    whole = _copysign_float{bits}((size + {whole}) - {whole}, x)
    return tl.where(size < {whole}, whole, x)
"""
# The interpreter has no libdevice: it uses NumPy's exp, log and pow.
_POW = "tl.tensor(type(x.handle)(x.handle.data**y.handle.data, x.handle.dtype), x.type)"


class _Numbers(Variant):
    """The kernel with operations on single numbers, which are blocks in Triton."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.width = 1


def text(variant: Variant, interpreted: bool = False) -> str:
    """The kernel for columns of given dtypes. interpreted: for Triton's interpreter."""
    variant = _Numbers(variant.kernel, variant.dtypes, stochastic=variant.stochastic)
    out = Text()
    columns = ", ".join(f"{c} {d}" for c, d in variant.dtype.items())
    head = _HEAD.format(
        title=f"{variant.kernel.graph.rule.name}: {columns}; computed in {TYPES[variant.of]}",
        imports="" if interpreted else "from triton.language.extra import libdevice\n",
        room="tl" if interpreted else "libdevice",
        pow=_POW if interpreted else "libdevice.pow(x, y)",
    )
    for bits, whole in ((32, 2.0**23), (64, 2.0**52)):
        sign = 2 ** (bits - 1)
        head += _BY_BITS.format(bits=bits, whole=whole, sign=hex(sign), size=hex(sign - 1))
    out.lines += head.splitlines()
    for walk in variant.passes:
        _print_pass(out, variant, walk)
        for function, stage in after(variant, walk):
            of_one = function.startswith("tensors")
            (_print_tensors if of_one else _print_totals)(out, variant, stage)
    return "\n".join(out.lines) + "\n"


def after(variant: Variant, walk: Pass) -> list[tuple[str, int]]:
    """The functions that follow a pass, before the next one, and their stages."""
    kernel, found = variant.kernel, []
    later = [w.stage for w in variant.passes if w.stage > walk.stage]
    for stage in range(walk.stage + 1, min([*later, kernel.stages - 1]) + 1):
        if todo(kernel, stage):
            found.append((f"tensors_{stage}", stage))
        if any(v.stage == stage + 1 for v in kernel.totals):
            found.append((f"totals_{stage}", stage))
    return found


def _print_pass(out: Text, variant: Variant, walk: Pass) -> None:
    """One pass over the elements of a batch's tensors."""
    out.function(f"pass_{walk.stage}", "BLOCK: tl.constexpr", "ALIGNED: tl.constexpr")
    elements, kernel = Elements(out, variant, walk), variant.kernel
    chunks, records, partials = (
        out.field("%table", LAUNCH, table, "ptr") for table in ("chunks", "records", "partials")
    )
    addresses = {}
    for c in dict.fromkeys(["g", *elements.columns]):
        at = out.at("%table", len(LAUNCH) + kernel.columns.index(c), "i64", f"{c}.at")
        addresses[c] = out.table(f"{c}.at", at)
    at = out.at(chunks, out.set("chunk", f"mul i64 %program, {len(CHUNK)}"), "i64")
    tensor, start = (out.field(at, CHUNK, word) for word in CHUNK)
    gradient = out.load("g.whole", out.at(addresses["g"], tensor, "ptr", "g.at"), "ptr")
    absent = out.set("absent", f"icmp eq ptr {gradient}, null")
    record = record_of(out, records, tensor)
    count = elements.length(record, start)
    count = out.set("count", f"select i1 {absent}, i64 0, i64 {count}")
    body, other, columns = elements.bodies(record, tensor, start, addresses)
    reduced = {f"{x}_0": op for x, op in elements.sums.items()}
    row = Row("0", body, other)
    out.put("lanes = tl.arange(0, BLOCK)")
    for x, op in reduced.items():
        out.put(f"{x}_wide = {out.full('BLOCK,', identity(op, _DOUBLE))}")
    out.put(f"full = ({plain(count)} // BLOCK).to(tl.int32)")
    out.put("for block in range(0, full):")
    out.depth += 1
    out.put("i_wide = block * BLOCK + lanes")
    elements.elements("wide", [body], [row], columns)
    for x in reduced:
        out.put(f"{x}_wide = {x}_wide_next")
    out.depth -= 1
    for x in reduced:
        out.put(f"{x}_left = {x}_wide")
    out.put(f"if full * BLOCK < {plain(count)}:")
    out.depth += 1
    out.put("i_left = full * BLOCK + lanes")
    out.put(f"mask = i_left < {plain(count)}")
    out.mask = "mask"
    elements.elements("left", [other], [row], columns)
    for x in reduced:
        out.put(f"{x}_left = tl.where(mask, {x}_left_next, {x}_left)")
    out.mask, out.depth = "", 1
    for i, (x, op) in enumerate(reduced.items()):
        at = out.set("at", f"mul i64 %program, {variant.partials}")
        at = out.at(partials, out.set("at", f"add i64 {at}, {i}"))
        out.put(f"{x} = {_across(op, f'{x}_left')}")
        out.store(f"%{x}", at)


def _across(op: str, x: str) -> str:
    """Reduce a block to one number. Triton's maximum and minimum ignore NaN."""
    if op == "sum":
        return f"tl.sum({x}, 0)"
    function, beyond = ("max", "-inf") if op == "greatest" else ("min", "inf")
    found = f'tl.{function}(tl.where({x} == {x}, {x}, float("{beyond}")), 0)'
    unknown = f"tl.max(({x} != {x}).to(tl.int32), 0) != 0"
    return f'tl.where({unknown}, float("nan"), {found})'


def _tensors(out: Text, kernel: Kernel) -> tuple[Tensors, str]:
    """All tensors of a step, and the address of the sums over them."""
    out.put(f"scalars = {plain(out.field('%table', LAUNCH, 'scalars', 'ptr'))}")
    return Tensors(out, kernel), out.field("%scalars", SCALARS, "totals", "ptr")


def _print_tensors(out: Text, variant: Variant, stage: int) -> None:
    """Print the function for values with one number per tensor."""
    out.function(f"tensors_{stage}")
    every, totals = _tensors(out, variant.kernel)
    out.put(f"if {plain(every.column('g', '%program'))} != 0:")
    out.depth += 1
    record = every.record("%program")
    of_tensor(out, variant, stage, record, rows_of(out, record), totals)


def _print_totals(out: Text, variant: Variant, stage: int) -> None:
    """The sums over all tensors."""
    kernel = variant.kernel
    out.function(f"totals_{stage}")
    every, totals = _tensors(out, kernel)
    adding = {f"total{i}": v for i, v in enumerate(kernel.totals) if v.stage == stage + 1}
    with every.each("tensor", dict.fromkeys(adding, identity("sum", _DOUBLE))) as becomes:
        rows = rows_of(out, every.record("%tensor"))
        for x, v in adding.items():
            [of] = v.args
            constant = of.op == "constant"
            number = _DOUBLE.constant(float(of.leaf)) if constant else scalar(out, kernel, rows, of)
            becomes[x] = out.set(f"{x}.next", f"fadd double %{x}, {number}")
    for x, v in adding.items():
        out.store(f"%{x}", out.at(totals, kernel.totals.index(v)))
