"""Columns of 8-bit codes, see engines/narrow.py: decoded as elements are loaded, encoded block by block.

Values to store wait in a buffer, a float32 for each element of a block, until the block's largest is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ravine.engines.llvm.noise import Noise
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.narrow import BLOCK, FORMATS, POISON

__all__ = ["Codes", "buffers"]

_SIZE, _INFINITY = 0x7FFFFFFF, 0x7F800000


def buffers(out: Printer, columns: Sequence[str]) -> dict[str, str]:
    """Space on the stack for a block of each column; to be printed at the start of a function."""
    return {c: out.set(f"{c}.buffer", f"alloca [{BLOCK} x float], align 64") for c in columns}


class Codes:
    """The columns in codes, for the elements of a chunk, a block at a time.

    dtype: of each column. base: where each has the code of the chunk's first element. scales: the same of
    the blocks' scales. buffer: of those that are stored. width: how many elements are encoded at a time.
    pointer: the type of addresses in columns.
    """

    def __init__(
        self,
        out: Printer,
        dtype: Mapping[str, str],
        base: Mapping[str, str],
        scales: Mapping[str, str],
        buffer: Mapping[str, str],
        noise: Noise | None,
        width: int,
        pointer: str = "ptr",
    ):
        self.out, self.dtype, self.base, self.scales = out, dtype, base, scales
        self.buffer, self.noise, self.width, self.pointer = buffer, noise, width, pointer
        self.first = self.block = ""
        self._bits: dict[str, str] = {}

    def begin(self, block: str, first: str, length: str) -> None:
        """Begin a block, given its number in the chunk, the index of its first element, and its length."""
        out = self.out
        self.block, self.first = block, first
        for c, at in self.scales.items():
            self._bits[c] = out.load(f"{c}.scale", out.at(at, block, "i32"), "i32")
        if not self.buffer:
            return
        short = out.set("short", f"icmp ult i64 {length}, {BLOCK}")
        clear, full = out.fresh("clear")[1:], out.fresh("full")[1:]
        out.branch(short, clear, full)
        out.label(clear)
        for at in self.buffer.values():
            out.line(
                f"call void @llvm.memset.p0.i64(ptr align 64 {at}, i8 0, i64 {4 * BLOCK}, i1 false)"
            )
        out.jump(full)
        out.label(full)

    def scale(self, column: str, i: str) -> str:
        """The bits of the scale of the block with an element."""
        return self._bits[column]

    def decoded(self, column: str, kind: Type, i: str, code: str) -> str:
        """The elements from i on, in float32, of which these are the codes."""
        out, form = self.out, FORMATS[self.dtype[column]]
        whole, single = kind.like("i32"), kind.like("float")
        wide = kind.like("i16") if form.signed else whole
        code = out.set(f"{column}.code", f"zext {kind.like('i8')} {code} to {wide}")
        bits = self.scale(column, i)
        if not form.signed:
            base = self.out.splat(out.set("base", f"lshr i32 {bits}, {form.cut}"), whole)
            return out.code(
                f"""
                none = icmp eq {whole} %code, {whole.constant(0)}
                upper = add {whole} %code, %base
                bits = shl {whole} %upper, {whole.constant(form.cut)}
                right = select {kind.like("i1")} %none, {whole} {whole.constant(0)}, {whole} %bits
                {column} = bitcast {whole} %right to {single}
                """,
                code=code,
                base=base,
            )
        # The upper bits of a float16: below its lowest power of two, its denormals are evenly spaced too.
        factor = out.set("factor", f"bitcast i32 {bits} to float")
        factor = out.set("factor", f"fmul float {factor}, {Type('float').constant(2.0**14)}")
        short, half = kind.like("i16"), kind.like("half")
        return out.code(
            f"""
            sign = and {short} %code, {short.constant(0x80)}
            apart = add {short} %code, %sign
            upper = shl {short} %apart, {short.constant(7)}
            number = bitcast {short} %upper to {half}
            wide = fpext {half} %number to {single}
            {column} = fmul {single} %wide, %factor
            """,
            code=code,
            factor=self.out.splat(factor, single),
        )

    def keep(self, column: str, kind: Type, i: str, x: str) -> None:
        """Keep float32 numbers, to be stored as the elements from i on at the end of the block."""
        out = self.out
        if not FORMATS[self.dtype[column]].signed:
            x = out.call(column, "fabs", kind.like("float"), x)
        place = out.set("place", f"sub i64 {i}, {self.first}") if self.first else i
        at = out.at(self.buffer[column], place, "float")
        out.line(f"store {kind.like('float')} {x}, ptr {at}, align {min(4 * kind.width, 16)}")

    def end(self) -> None:
        """Encode and store the block."""
        out = self.out
        if not self.buffer:
            return
        windows = {c: self._window(c) for c in self.buffer}
        whole = Type("i32", self.width)
        with out.loop("j", str(BLOCK // self.width)):
            place = out.set("place", f"mul i64 %j, {self.width}")
            i = out.set("i", f"add i64 {place}, {self.first}")
            for c, (base, _) in windows.items():
                at = out.at(self.buffer[c], place, "float")
                bits = out.set("bits", f"load {whole}, ptr {at}, align {4 * self.width}")
                code = self.encoded(c, whole, bits, base, i)
                byte = whole.like("i8")
                code = out.set("byte", f"trunc {whole} {code} to {byte}")
                out.line(f"store {byte} {code}, ptr {self.at(c, i)}, align 1")
        for c, (_, poisoned) in windows.items():
            spoil, well = out.fresh("spoil")[1:], out.fresh("well")[1:]
            out.branch(poisoned, spoil, well)
            out.label(spoil)
            nan, at = int(not FORMATS[self.dtype[c]].signed), self.at(c, self.first)
            out.line(f"call void @llvm.memset.p0.i64(ptr {at}, i8 {nan}, i64 {BLOCK}, i1 false)")
            out.jump(well)
            out.label(well)

    def _window(self, column: str) -> tuple[str, str]:
        """Store the scale of a block; see :meth:`window`."""
        out, form = self.out, FORMATS[self.dtype[column]]
        whole = Type("i32", self.width)
        most = whole.constant(0)
        for first in range(0, BLOCK, self.width):
            at = out.at(self.buffer[column], first, "float")
            bits = out.set("bits", f"load {whole}, ptr {at}, align {4 * self.width}")
            most = self.larger(whole, most, self.size(whole, bits) if form.signed else bits)
        if whole.width > 1:
            name = f"@llvm.vector.reduce.umax.v{whole.width}i32"
            out.declared[f"declare i32 {name}({whole})"] = None
            most = out.set("most", f"call i32 {name}({whole} {most})")
        return self.window(column, self.block, most)

    def window(self, column: str, block: str, most: str) -> tuple[str, str]:
        """Store the scale of a block, given the bits of its largest element: what is taken off the upper bits
        of its elements to get their codes, and whether one of them is not finite.
        """
        out, form = self.out, FORMATS[self.dtype[column]]
        most = out.set("most", f"add i32 {most}, {2**form.cut - 1}")  # it may be rounded up
        poisoned = out.set("poisoned", f"icmp uge i32 {most}, {_INFINITY}")
        top = out.set("top", f"lshr i32 {most}, 23")
        top = self.larger(Type("i32"), top, str(form.window))
        low = out.set("low", f"sub i32 {top}, {form.window}")
        base = out.set("base", f"shl i32 {low}, {form.mantissa}")
        scale = base
        if form.signed:
            scale = out.set("least", f"add i32 {base}, {1 << form.mantissa}")
        scale = out.set("scale", f"shl i32 {scale}, {form.cut}")
        scale = out.set("scale", f"select i1 {poisoned}, i32 {POISON}, i32 {scale}")
        at = out.at(self.scales[column], block, "i32", pointer=self.pointer)
        out.line(f"store i32 {scale}, {self.pointer} {at}, align 4")
        return base, poisoned

    def encoded(self, column: str, whole: Type, bits: str, base: str, i: str) -> str:
        """The codes of a finite block's elements, whose bits are given, in 32 bits."""
        out, form = self.out, FORMATS[self.dtype[column]]
        assert self.noise is not None
        test, single = whole.like("i1"), whole.like("float")
        noise = self.noise.code(column, whole, i, form.cut)
        if not form.signed:
            found = out.code(
                f"""
                sum = add {whole} %bits, %noise
                upper = lshr {whole} %sum, {whole.constant(form.cut)}
                code = sub {whole} %upper, %base
                """,
                bits=bits,
                noise=noise,
                base=self.out.splat(base, whole),
            )
            least = self._call("umin", whole, bits, whole.constant(1))  # 0 is for zero alone
            return self._call("smax", whole, found, least)
        least = out.set("least", f"add i32 {base}, {1 << form.mantissa}")
        scale = out.set("scale", f"shl i32 {least}, {form.cut}")
        return out.code(
            f"""
            small = icmp ult {whole} %size, %scale
            number = bitcast {whole} %size to {single}
            lowest = bitcast {whole} %scale to {single}
            lifted = fadd {single} %number, %lowest
            raised = bitcast {single} %lifted to {whole}
            even = sub {whole} %raised, {whole.constant(1 << (form.cut + form.mantissa))}
            right = select {test} %small, {whole} %even, {whole} %size
            sum = add {whole} %right, %noise
            upper = lshr {whole} %sum, {whole.constant(form.cut)}
            code = sub {whole} %upper, %base
            down = lshr {whole} %bits, {whole.constant(24)}
            sign = and {whole} %down, {whole.constant(0x80)}
            signed = or {whole} %code, %sign
            """,
            size=self.size(whole, bits),
            bits=bits,
            noise=noise,
            base=self.out.splat(base, whole),
            scale=self.out.splat(scale, whole),
        )

    def size(self, whole: Type, bits: str) -> str:
        """The bits of a float32 without its sign."""
        return self.out.set("size", f"and {whole} {bits}, {whole.constant(_SIZE)}")

    def larger(self, whole: Type, x: str, y: str) -> str:
        """The larger of two integers."""
        return self._call("umax", whole, x, y)

    def _call(self, function: str, whole: Type, x: str, y: str) -> str:
        name = f"@llvm.{function}.{'i32' if whole.width == 1 else f'v{whole.width}i32'}"
        self.out.declared[f"declare {whole} {name}({whole}, {whole})"] = None
        return self.out.set(function, f"call {whole} {name}({whole} {x}, {whole} {y})")

    def at(self, column: str, i: str) -> str:
        """The address of an element's code."""
        return self.out.at(self.base[column], i, "i8", f"{column}.i", self.pointer)
