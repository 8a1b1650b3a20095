"""The columns of a tensor in memory: elements loaded, converted, rounded and stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from ravine.engines.kernel import DTYPES
from ravine.engines.llvm.codes import Codes
from ravine.engines.llvm.noise import Noise
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.narrow import FORMATS

__all__ = ["HALVES", "MEMORY", "Columns"]

MEMORY = {"float64": "double", "float32": "float", "bfloat16": "i16", "float16": "half"}
MEMORY |= dict.fromkeys(FORMATS, "i8")
"""The type in which a dtype's elements are loaded and stored."""
HALVES = ("bfloat16", "float16")
# Blocks of codes are written in bursts, which defeat the hardware's prefetching.
_AHEAD, _LINE = 1024, 64
_UPPER = -0x10000


class Columns:
    """Loads and stores of as many elements as a type has.

    base: the address of each column's first element. noise: for stochastic rounding; None for rounding
    to nearest even. pointer: the type of addresses. aligned: whether vectors are aligned to their size.
    codes: the columns in 8 bits. paired: whether all columns are bfloat16, and a vector has the elements at
    even places first, then those at odd ones. So two elements are the halves of 32 bits, and widening them
    takes one operation instead of two, and storing them three instead of seven.
    """

    def __init__(
        self,
        out: Printer,
        dtype: Mapping[str, str],
        base: Mapping[str, str],
        noise: Noise | None,
        pointer: str = "ptr",
        aligned: bool = False,
        codes: Codes | None = None,
        paired: bool = False,
    ):
        self.out, self.dtype, self.base, self.noise = out, dtype, base, noise
        self.pointer, self.aligned, self.codes, self.paired = pointer, aligned, codes, paired

    def load(self, column: str, kind: Type, i: str) -> str:
        """The elements from i on, as numbers of this type."""
        out, dtype = self.out, self.dtype[column]
        memory = kind.like(MEMORY[dtype])
        at = self._at(column, i)
        if self.paired and kind.width > 1:
            half = Type("i32", kind.width // 2)
            x = out.set("pairs", f"load {half}, {self._where(column, kind, at)}")
            even = out.set("even", f"shl {half} {x}, {half.constant(16)}")
            odd = out.set("odd", f"and {half} {x}, {half.constant(_UPPER)}")
            x = out.join(half, even, odd)
            return out.set(column, f"bitcast {kind.like('i32')} {x} to {kind}")
        x = out.set(column, f"load {memory}, {self._where(column, kind, at)}")
        if dtype in FORMATS:
            assert self.codes is not None
            x = self.codes.decoded(column, kind, i, x)
        return self._wide(column, kind, x)

    def store(self, column: str, kind: Type, i: str, x: str) -> None:
        """Store numbers of this type as the elements from i on."""
        dtype = self.dtype[column]
        if dtype in FORMATS:
            assert self.codes is not None
            if kind.of == "double":
                x = self.out.set(column, f"fptrunc {kind} {x} to {kind.like('float')}")
            self.codes.keep(column, kind, i, x)
            return
        noise = None
        if dtype in HALVES and self.noise and column != "g":  # which becomes zero
            noise = partial(self.noise.half, column, kind.like("i32"), i)
        at = self._at(column, i)
        if self.paired and kind.width > 1:
            half = Type("i32", kind.width // 2)
            even, odd = self.out.parts(kind.like("i32"), self._rounded(kind, x, noise))
            pairs = self.out.code(
                f"""
                low = lshr {half} %even, {half.constant(16)}
                high = and {half} %odd, {half.constant(_UPPER)}
                pairs = or {half} %low, %high
                """,
                even=even,
                odd=odd,
            )
            self.out.line(f"store {half} {pairs}, {self._where(column, kind, at)}")
            return
        x = self._narrow(column, kind, x, noise)
        self.out.line(f"store {kind.like(MEMORY[dtype])} {x}, {self._where(column, kind, at)}")

    def prefetch(self, column: str, kind: Type, i: str) -> None:
        """Prefetch elements at a distance after i."""
        out, size = self.out, DTYPES[self.dtype[column]]
        ahead = out.set("ahead", f"add i64 {i}, {_AHEAD}")
        at = self._at(column, ahead)
        out.declared["declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"] = None
        for line in range(0, kind.width * size, _LINE):
            where = out.at(at, line, "i8")
            out.line(f"call void @llvm.prefetch.p0(ptr {where}, i32 0, i32 3, i32 1)")

    def stored(self, kind: Type, x: str) -> str:
        """The value that is read back after numbers of this type are stored as p, rounded to nearest."""
        return self._wide("p", kind, self._narrow("p", kind, x, None))

    def _wide(self, column: str, kind: Type, x: str) -> str:
        """Convert elements from memory to numbers of this type."""
        out, dtype = self.out, self.dtype[column]
        memory, single = kind.like(MEMORY[dtype]), kind.like("float")
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

    def _narrow(self, column: str, kind: Type, x: str, noise: Callable[[], str] | None) -> str:
        """Convert numbers of this type for memory; noise: random bits for rounding, in its lower 16 bits."""
        out, dtype = self.out, self.dtype[column]
        memory, single = kind.like(MEMORY[dtype]), kind.like("float")
        name = f"{column}.new"
        if kind.of == "double" and dtype != "float64":
            x = out.set(name, f"fptrunc {kind} {x} to {single}")
        if dtype == "bfloat16":
            whole = kind.like("i32")
            x = out.set(
                "upper", f"lshr {whole} {self._rounded(single, x, noise)}, {whole.constant(16)}"
            )
            return out.set(name, f"trunc {whole} {x} to {memory}")
        if noise:
            return _to_float16(out, single, x, noise())
        if dtype == "float16":
            x = out.set(name, f"fptrunc {single} {x} to {memory}")
        return x

    def _rounded(self, single: Type, x: str, noise: Callable[[], str] | None) -> str:
        """The bits of float32 numbers, of which the upper halves are those numbers as bfloat16.

        What is added does not change infinity, whose lower half is zero. NaN stays NaN where all columns are
        bfloat16, since its lower half is zero then as well. In integers, since the instruction that some
        processors have for it flushes denormals.
        """
        out, whole, test = self.out, single.like("i32"), single.like("i1")
        more = noise() if noise else _nearest(out, single, x)
        if noise:
            more = out.set("low", f"and {whole} {more}, {whole.constant(0xFFFF)}")
        total = out.code(
            f"""
            bits = bitcast {single} %x to {whole}
            sum = add {whole} %bits, %more
            """,
            x=x,
            more=more,
        )
        if self.paired:
            return total
        return out.code(
            f"""
            isnan = fcmp uno {single} %x, %x
            right = select {test} %isnan, {whole} {whole.constant(0x7FC00000)}, {whole} %total
            """,
            x=x,
            total=total,
        )

    def _at(self, column: str, i: str) -> str:
        memory = MEMORY[self.dtype[column]]
        return self.out.at(self.base[column], i, memory, f"{column}.i", self.pointer)

    def _where(self, column: str, kind: Type, at: str) -> str:
        many = kind.width if self.aligned else 1
        return f"{self.pointer} {at}, align {many * DTYPES[self.dtype[column]]}"


def _nearest(out: Printer, single: Type, x: str) -> str:
    """What to add to a float32 before its lower half is cut off, to round it to the nearest
    even: half of the last place kept, and one less where that place is even already.
    """
    whole = single.like("i32")
    return out.code(
        f"""
        bits = bitcast {single} %x to {whole}
        upper = lshr {whole} %bits, {whole.constant(16)}
        odd = and {whole} %upper, {whole.constant(1)}
        nearest = add {whole} %odd, {whole.constant(0x7FFF)}
        """,
        x=x,
    )


def _to_float16(out: Printer, single: Type, x: str, noise: str) -> str:
    """Add to the bits, and cut the lowest 13 off; NaN and infinity stay what they are. Denormals are
    multiples of 2**-24, to whose number the noise is added.
    """
    whole, test = single.like("i32"), single.like("i1")
    size = out.call("size", "fabs", single, x)
    units = out.code(
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
    units = out.call("units", "floor", single, units)
    tiny = out.set("tiny", f"fmul {single} {units}, {single.constant(2.0**-24)}")
    return out.code(
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
        tiny=out.call("tiny", "copysign", single, tiny, x),
    )
