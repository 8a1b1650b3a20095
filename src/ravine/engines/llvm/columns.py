"""The columns of a tensor in memory: elements loaded, converted, rounded and stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from ravine.engines.kernel import DTYPES
from ravine.engines.llvm.noise import Noise
from ravine.engines.llvm.printer import Printer, Type

__all__ = ["HALVES", "MEMORY", "Columns"]

MEMORY = {"float64": "double", "float32": "float", "bfloat16": "i16", "float16": "half"}
"""The type in which a dtype's elements are loaded and stored."""
HALVES = ("bfloat16", "float16")


class Columns:
    """Loads and stores, for as many elements as a type has.

    base: where each column's first element is. noise: of stochastic rounding; None: to the nearest
    even.
    """

    def __init__(
        self,
        out: Printer,
        dtype: Mapping[str, str],
        base: Mapping[str, str],
        noise: Noise | None,
    ):
        self.out, self.dtype, self.base, self.noise = out, dtype, base, noise

    def load(self, column: str, kind: Type, i: str) -> str:
        """The elements from i on, as numbers of this type."""
        out, dtype = self.out, self.dtype[column]
        memory = kind.like(MEMORY[dtype])
        at = self._at(column, i)
        x = out.set(column, f"load {memory}, ptr {at}, align {DTYPES[dtype]}")
        return self._wide(column, kind, x)

    def store(self, column: str, kind: Type, i: str, x: str) -> None:
        """Store numbers of this type as the elements from i on."""
        dtype = self.dtype[column]
        noise = None
        if dtype in HALVES and self.noise and column != "g":  # which becomes zero
            noise = partial(self.noise.half, column, kind.like("i32"), i)
        x = self._narrow(column, kind, x, noise)
        at = self._at(column, i)
        self.out.line(f"store {kind.like(MEMORY[dtype])} {x}, ptr {at}, align {DTYPES[dtype]}")

    def stored(self, kind: Type, x: str) -> str:
        """What is read back where numbers of this type are stored as p, rounded to the nearest."""
        return self._wide("p", kind, self._narrow("p", kind, x, None))

    def _wide(self, column: str, kind: Type, x: str) -> str:
        """Elements as they are in memory as numbers of this type."""
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
        """Numbers of this type as in memory; noise: what to round by, in its lower 16 bits."""
        out, dtype = self.out, self.dtype[column]
        memory, single = kind.like(MEMORY[dtype]), kind.like("float")
        name = f"{column}.new"
        if kind.of == "double" and dtype != "float64":
            x = out.set(name, f"fptrunc {kind} {x} to {single}")
        if noise:
            return (_to_float16 if dtype == "float16" else _to_bfloat16)(out, single, x, noise())
        if dtype == "float16":
            x = out.set(name, f"fptrunc {single} {x} to {memory}")
        elif dtype == "bfloat16":
            x = _to_bfloat16(out, single, x, _nearest(out, single, x))
        return x

    def _at(self, column: str, i: str) -> str:
        return self.out.at(self.base[column], i, MEMORY[self.dtype[column]], f"{column}.i")


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


def _to_bfloat16(out: Printer, single: Type, x: str, noise: str) -> str:
    """Add to the bits, and cut the lower half off; NaN stays NaN. What is added does not change infinity,
    whose lower half is zero.

    In integers, since the instruction that some processors have for it flushes denormals.
    """
    whole, test = single.like("i32"), single.like("i1")
    return out.code(
        f"""
        low = and {whole} %noise, {whole.constant(0xFFFF)}
        bits = bitcast {single} %x to {whole}
        sum = add {whole} %bits, %low
        isnan = fcmp uno {single} %x, %x
        right = select {test} %isnan, {whole} {whole.constant(0x7FC00000)}, {whole} %sum
        upper = lshr {whole} %right, {whole.constant(16)}
        bfloat16 = trunc {whole} %upper to {single.like("i16")}
        """,
        x=x,
        noise=noise,
    )


def _to_float16(out: Printer, single: Type, x: str, noise: str) -> str:
    """As bfloat16, but its denormals are multiples of 2**-24: there the noise joins their number."""
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
