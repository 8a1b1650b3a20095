"""A kernel as Triton text: one launch for each pass over the elements, whatever the number of tensors.

    pass_k      a program for each chunk: walks over its elements, and leaves what it sums up
    tensors_k   a program for each tensor: adds up what its chunks have left, in their order, and computes
                what depends on it, in float64
    totals_k    one program: sums over all tensors, in their order

What does not depend on elements is computed before, on the host (host.py). A tensor whose gradient has
the address 0 takes no part.

records     a row for each tensor, see RECORD
addresses   column after column, where each tensor has it; `stride` tensors in all
rows        the scalars of groups, a row for each count of steps
numbers     the scalars of tensors, a row for each
partials    what each chunk leaves, a row for each
chunks      a row for each, see CHUNK
totals      the sums over all tensors
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ravine.draws import DRAWN
from ravine.engines.kernel import GROUP, PARTIAL, SIZES, TENSOR, Kernel, KernelError, Value
from ravine.engines.llvm import noise, scalars
from ravine.engines.llvm.body import Body
from ravine.engines.llvm.columns import HALVES, MEMORY, Columns
from ravine.engines.llvm.draws import Draws
from ravine.engines.llvm.printer import Type
from ravine.engines.llvm.reductions import identity, more
from ravine.engines.llvm.tables import scalar
from ravine.engines.llvm.variant import Variant
from ravine.engines.passes import Pass
from ravine.engines.triton.text import TYPES, Text

__all__ = ["BLOCK", "CHUNK", "RECORD", "check", "text"]

RECORD = ("numel", "length", "first_chunk", "chunks", "row", "number", "t", "seed")
"""What there is of each tensor, in words of eight bytes: its elements, those of a chunk; its first chunk and
their number; which row of scalars is its group's; what tells its random numbers apart; its count of steps,
in float64, and the seed.
"""
CHUNK = ("tensor", "start")
BLOCK = 1024
"""Elements that a program computes at a time."""

_TABLES = ("records", "addresses", "stride", "rows", "numbers")
_DOUBLE = Type("double")

_HEAD = '''"""{title}"""

import triton
import triton.language as tl
{imports}

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
    # Adding so much leaves no digits after the point, and rounds halves to even.
    size = tl.abs(x)
    whole = _copysign_float{bits}((size + {whole}) - {whole}, x)
    return tl.where(size < {whole}, whole, x)
"""
# The interpreter has no libdevice, and exp and log are NumPy's.
_POW = "tl.tensor(type(x.handle)(x.handle.data**y.handle.data, x.handle.dtype), x.type)"


def check(kernel: Kernel) -> None:
    """Raise KernelError for what cannot be printed as Triton."""
    why = ""
    if kernel.by_lines:
        why = "it has something for each row or each column"
    elif kernel.spread:
        why = "its tensors are spread over processes"
    if why:
        raise KernelError(f"rule {kernel.graph.rule.name!r} has no Triton kernel: {why}")


def text(variant: Variant, *, interpreted: bool = False, aligned: bool = True) -> str:
    """The kernel for columns of given dtypes.

    interpreted: for Triton's interpreter. aligned: whether each column of each tensor begins at a multiple
    of 16 bytes, so that vectors of elements can be loaded. Raises KernelError, see :func:`check`.
    """
    kernel = variant.kernel
    check(kernel)
    out = Text()
    columns = ", ".join(f"{c} {d}" for c, d in variant.dtype.items())
    head = _HEAD.format(
        title=f"{kernel.graph.rule.name}: {columns}; computed in {TYPES[variant.of]}",
        imports="" if interpreted else "from triton.language.extra import libdevice\n",
        room="tl" if interpreted else "libdevice",
        pow=_POW if interpreted else "libdevice.pow(x, y)",
    )
    for bits, whole in ((32, 2.0**23), (64, 2.0**52)):
        sign = 2 ** (bits - 1)
        head += _BY_BITS.format(bits=bits, whole=whole, sign=hex(sign), size=hex(sign - 1))
    out.lines += head.splitlines()
    for stage in range(kernel.stages):
        _tensors(out, variant, stage)
        _totals(out, kernel, stage)
    for walk in variant.passes:
        _print_pass(out, variant, walk, aligned)
    return "\n".join(out.lines) + "\n"


def _record(out: Text, tensor: str, field: str) -> str:
    """A field of a tensor's record."""
    name = out.fresh(field)
    out.line(f"{name} = tl.load(records + {tensor} * {len(RECORD)} + {RECORD.index(field)})")
    return name


def _present(kernel: Kernel, tensor: str) -> str:
    """Whether a tensor has a gradient."""
    return f"tl.load(addresses + {kernel.columns.index('g')} * stride + {tensor}) != 0"


def _rows(out: Text, kernel: Kernel, tensor: str) -> dict[int, str]:
    """Where the scalars of a tensor's group and its own stand, by level."""
    row = _record(out, tensor, "row")
    out.line(f"group_row = rows + {row} * {len(kernel.group_row)}")
    out.line(f"tensor_row = numbers + {tensor} * {len(kernel.tensor_row)}")
    out.names |= {"group_row", "tensor_row"}
    return {GROUP: "group_row", TENSOR: "tensor_row"}


def _tensors(out: Text, variant: Variant, stage: int) -> None:
    """What is one number for each tensor, and depends on reductions."""
    kernel = variant.kernel
    todo = [v for v in kernel.needed if v.level == TENSOR and v.stage == stage]
    if not stage or not todo:  # those of stage 0 come from the host
        return
    out.function(f"tensors_{stage}", "first", *_TABLES, "partials", "totals")
    out.line("tensor = first + tl.program_id(0)")
    out.line(f"if {_present(kernel, 'tensor')}:")
    out.depth += 1
    out.names |= {"tensor"}
    rows = _rows(out, kernel, "tensor")
    body = Body(out, _DOUBLE)
    sums = [v for v in todo if v.op in PARTIAL]
    if sums:
        _add_partials(out, variant, next(w for w in variant.passes if w.sums and w.sums[0] in sums), body)
    for v in todo:
        if v.op == "total":
            body.names[v] = out.load(v.called, out.at("totals", kernel.totals.index(v)))
    scalars.compute_scalars(body, kernel, rows, todo)
    out.depth = 1


def _add_partials(out: Text, variant: Variant, walk: Pass, body: Body) -> None:
    """Put together what the chunks of a tensor have left, in their order."""
    first, chunks = _record(out, "tensor", "first_chunk"), _record(out, "tensor", "chunks")
    names = {v: out.fresh(v.op) for v in walk.sums}
    for v, name in names.items():
        out.line(f"{name} = {out.full('', identity(v.op, _DOUBLE))}")
    out.line(f"for chunk in tl.range(0, {chunks}, loop_unroll_factor=8):")
    out.depth += 1
    for i, (v, name) in enumerate(names.items()):
        at = out.at("partials", f"({first} + chunk) * {variant.partials} + {i}")
        out.line(f"{name} = {out.expression(more(out, v.op, _DOUBLE, name, out.load('part', at)))}")
    out.depth -= 1
    body.names |= names


def _totals(out: Text, kernel: Kernel, stage: int) -> None:
    """The sums over all tensors of what is known at a stage."""
    adding = {v: f"total{i}" for i, v in enumerate(kernel.totals) if v.stage == stage + 1}
    if not adding:
        return
    out.function(f"totals_{stage}", *_TABLES, "totals")
    for name in adding.values():
        out.line(f"{name} = {out.full('', identity('sum', _DOUBLE))}")
    out.line("for tensor in tl.range(0, stride, loop_unroll_factor=8):")
    out.depth += 1
    out.line(f"present = {_present(kernel, 'tensor')}")
    for v, name in adding.items():
        [x] = v.args
        if x.op == "constant":
            number = out.full("", _DOUBLE.constant(x.leaf))
            out.line(f"{name} = tl.where(present, {name} + {number}, {name})")
            continue
        at = f"numbers + tensor * {len(kernel.tensor_row)} + {kernel.tensor_row[x]}"
        out.line(f"{name} = tl.where(present, {name} + tl.load({at}), {name})")
    out.depth -= 1
    for v, name in adding.items():
        out.line(f"tl.store(totals + {kernel.totals.index(v)}, {name})")


def _print_pass(out: Text, variant: Variant, walk: Pass, aligned: bool) -> None:
    """One pass over the elements of a batch's tensors."""
    kernel, one = variant.kernel, Type(variant.of)
    moved = [c for c in kernel.columns if c in (*walk.loads, *walk.stores)]
    out.function(
        f"pass_{walk.stage}",
        *("chunks", *_TABLES, "partials"),
        "BLOCK: tl.constexpr",
    )
    out.line("chunk = tl.program_id(0)")
    for i, name in enumerate(CHUNK):
        out.line(f"{name} = tl.load(chunks + chunk * {len(CHUNK)} + {i})")
    out.names |= {"chunk", *CHUNK, "rest", "count", "lanes", "block", "places", "last"} | {"full", "mask"}
    out.line(f"rest = tl.minimum({_record(out, 'tensor', 'numel')} - start, {_record(out, 'tensor', 'length')})")
    out.line(f"count = tl.where({_present(kernel, 'tensor')}, rest, 0)")
    rows = _rows(out, kernel, "tensor")
    base = {}
    for c in moved:
        at = f"tl.load(addresses + {kernel.columns.index(c)} * stride + tensor)"
        base[c] = out.fresh(f"{c}_at")
        memory = TYPES[MEMORY[variant.dtype[c]]]
        out.line(f"{base[c]} = {at}.to(tl.pointer_type(tl.{memory})) + start")
    names, truths = _scalars(out, variant, walk, rows)
    bits, draw = _noise(out, variant, walk)
    accumulated = {v: out.fresh(v.op) for v in walk.sums}
    for v, name in accumulated.items():
        out.line(f"{name} = {out.full('BLOCK,', identity(v.op, _DOUBLE))}")
    out.line("lanes = tl.arange(0, BLOCK)")

    def block(places: str) -> None:
        columns = Columns(out, variant.dtype, base, bits)
        body = Body(out, one)
        body.names, body.truths = dict(names), dict(truths)
        body.stored = columns.stored
        if draw:
            body.draw = partial(draw.draw, kind=one, i=places)
        for c, v in walk.loads.items():
            body.names[v] = columns.load(c, one, places)
        for v in walk.values:
            body.compute(v)
        for v, name in accumulated.items():
            x = body.number(v.args[0])
            if variant.of == "float":
                x = out.set("wider", f"fpext float {x} to double")
            if out.mask:
                x = out.set("here", f"select i1 mask, double {x}, double {identity(v.op, _DOUBLE)}")
            out.line(f"{name} = {out.expression(more(out, v.op, _DOUBLE, name, x))}")
        for c, x in {c: body.number(v) for c, v in walk.stores.items()}.items():
            columns.store(c, one, places, x)

    known = set(out.names)
    out.line("full = count // BLOCK")
    out.line("for block in range(0, full):")
    out.depth, out.aligned = 2, aligned
    out.line("places = block * BLOCK + lanes")
    block("places")
    out.depth, out.aligned, out.names = 1, False, known
    out.line("if full * BLOCK < count:")
    out.depth, out.mask = 2, "mask"
    out.line("last = full * BLOCK + lanes")
    out.line("mask = last < count")
    block("last")
    out.depth, out.mask = 1, ""
    for i, (v, name) in enumerate(accumulated.items()):
        at = f"partials + chunk * {variant.partials} + {i}"
        if v.op == "sum":
            out.line(f"tl.store({at}, tl.sum({name}, 0))")
            continue
        function, beyond = ("max", "-inf") if v.op == "greatest" else ("min", "inf")
        found = f"tl.{function}(tl.where({name} == {name}, {name}, float('{beyond}')), 0)"
        unknown = f"tl.max(({name} != {name}).to(tl.int32), 0)"
        out.line(f"tl.store({at}, tl.where({unknown} != 0, float('nan'), {found}))")


def _scalars(
    out: Text, variant: Variant, walk: Pass, rows: dict[int, str]
) -> tuple[dict[Value, str], dict[Value, tuple[str, str]]]:
    """The scalars that the elements meet: as numbers, and as conditions."""
    kernel, names, truths = variant.kernel, dict[Value, str](), dict[Value, tuple[str, str]]()
    body = Body(out, Type(variant.of))
    used = {x for v in walk.values for x in body.operands(v)}
    used |= {*walk.stores.values(), *(x for v in walk.sums for x in v.args)}
    conditions = {v.args[0] for v in walk.values if v.op == "where"}
    for v in walk.scalars:
        if v.op == "constant" or v not in used:
            continue
        number = scalar(out, kernel, rows, v)
        if v in conditions:
            truths[v] = ("i1", out.set(f"{v.called}_on", f"fcmp une double {number}, 0.0"))
        if variant.of == "float":
            number = out.set(v.called, f"fptrunc double {number} to float")
        names[v] = number
    return names, truths


def _noise(out: Text, variant: Variant, walk: Pass) -> tuple[noise.Noise | None, Draws | None]:
    """Random bits to round by, and the random numbers that are drawn."""
    rounded = [c for c in walk.stores if variant.dtype[c] in HALVES and variant.stochastic]
    streams = sorted({v.leaf for v in walk.values if v.op in DRAWN})
    if not rounded and not streams:
        return None, None
    number, t, seed = (
        out.set(name, f"bitcast i64 {_record(out, 'tensor', name)} to {kind}")
        for name, kind in (("number", "i64"), ("t", "double"), ("seed", "i64"))
    )
    fields = {"number": number, "noise": noise.of_step(out, seed, t)}
    bits = noise.Noise(out, "start", 1)
    bits.rounds(variant.kernel.columns, rounded, **fields)
    return (bits if rounded else None), Draws(out, bits, streams, **fields)
