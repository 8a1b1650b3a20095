"""Random bits for stochastic rounding and for random numbers. They depend only on the seed, the step, the
tensor, the column or stream, and the position of an element, and not on threads.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from ravine.draws import CODES, MIXERS, SPREAD, STEP
from ravine.engines.llvm.printer import Printer, Type, signed

__all__ = ["Noise", "mixed", "of_step", "of_tensor"]


def of_step(out: Printer, seed: str, t: str) -> str:
    """The noise of a tensor's step: 64 bits made from the seed and the count."""
    noise = out.code(
        f"""
        count = fptosi double %t to i64
        a = mul i64 %seed, {signed(SPREAD)}
        b = mul i64 %count, {signed(STEP)}
        noise = add i64 %a, %b
        """,
        t=t,
        seed=seed,
    )
    return mixed(out, noise)


class Noise:
    """The bits for the elements of a chunk, from `start` on.

    width: the number of elements in a vector. even: whether vectors begin at even places. paired: whether the
    elements at even places come first in a vector, see Columns. keys: by the purpose of the bits, see `add`.
    halves: for each column that is rounded, the key of its bits, and whether it uses their upper half; None
    if of two elements, the second does.
    """

    def __init__(
        self, out: Printer, start: str, width: int, even: bool = False, paired: bool = False
    ):
        self.out, self.wide, self.even, self.paired = out, Type("i32", width), even, paired
        places = range(width)
        self.lanes = [*places[::2], *places[1::2]] if paired else [*places]
        self.start = out.set("start.low", f"trunc i64 {start} to i32")
        self.far = out.set("far", f"lshr i64 {start}, 32")
        self.keys: dict[Hashable, dict[int, tuple[str, str]]] = {}
        self.halves: dict[str, tuple[str, bool | None]] = {}
        self.pairs: dict[str, tuple[Hashable, bool]] = {}
        self._mixed: dict[tuple[Hashable, str], str] = {}

    def rounds(
        self, columns: Sequence[str], rounded: Iterable[str], *, number: str, noise: str
    ) -> None:
        """Add bits for rounding some of the columns: 32 for two of them, or for two elements of the last one.

        number: of the tensor. noise: of its step.
        """
        order = list(rounded)
        self.halves = {c: (order[i - i % 2], i % 2 == 1) for i, c in enumerate(order)}
        if len(order) % 2:
            self.halves[order[-1]] = (order[-1], None)
        for c in order[::2]:
            key = self.out.code(
                f"""
                first = mul i64 %number, {len(columns)}
                stream = add i64 %first, {columns.index(c) + 1}
                spread = mul i64 %stream, {signed(SPREAD)}
                key = add i64 %spread, %noise
                """,
                number=number,
                noise=noise,
            )
            self.add(c, mixed(self.out, key))

    def codes(
        self, columns: Sequence[str], stored: Iterable[str], *, number: str, noise: str
    ) -> None:
        """The same for the stored ones of these columns in 8 bits; the bits are `draws.code_bits`."""
        self.pairs = {c: (("codes", i // 2), i % 2 == 1) for i, c in enumerate(columns)}
        whole = of_tensor(self.out, CODES, number=number, noise=noise)
        for stream in sorted({columns.index(c) // 2 for c in stored}):
            ahead = signed(stream * SPREAD % 2**64)
            key = self.out.set("key", f"add i64 {whole}, {ahead}")
            self.add(("codes", stream), mixed(self.out, key))

    def add(self, name: Hashable, key: str) -> None:
        """Add bits with a 64-bit key, under a name."""
        out, wide = self.out, self.wide
        first = out.set("key.first", f"trunc i64 {key} to i32")
        second = out.code(
            """
            upper = lshr i64 %key, 32
            sum = add i64 %upper, %far
            second = trunc i64 %sum to i32
            """,
            key=key,
            far=self.far,
        )
        kinds = {kind.width: kind for kind in (Type("i32"), self._half(wide), wide)}
        self.keys[name] = {
            width: (out.splat(first, kind), out.splat(second, kind))
            for width, kind in kinds.items()
        }

    def half(self, column: str, whole: Type, i: str) -> str:
        """For each element from i on, a number whose lower 16 bits are used to round a column.

        Two columns, or two elements, share one hash, and it mixes once, where `bits` mixes twice: hashing is
        what rounding stochastically costs.
        """
        name, upper = self.halves[column]
        if upper is None:
            return self._of_two(name, whole, i)
        x = self._once(name, whole, i)
        return self._upper(whole, x) if upper else x

    def _of_two(self, name: Hashable, whole: Type, i: str) -> str:
        """The same from hashes of the even places: their lower halves, and the upper ones at odd places."""
        out, half = self.out, self._half(whole)
        first, second = self.keys[name][whole.width]
        if whole.width > 1 and self.even:
            first, second = self.keys[name][half.width]
            place = self._place(half, i, range(0, whole.width, 2))
            x = self._mix(half, out.set("keyed", f"xor {half} {place}, {first}"), second)
            if self.paired:
                return out.join(half, x, self._upper(half, x))
            short = whole.like("i16")
            x = out.set("halves", f"bitcast {half} {x} to {short}")
            return out.set("half", f"zext {short} {x} to {whole}")
        place = self._place(whole, i)
        even = out.set("even", f"and {whole} {place}, {whole.constant(-2)}")
        x = self._mix(whole, out.set("keyed", f"xor {whole} {even}, {first}"), second)
        return out.code(
            f"""
            odd = and {whole} %place, {whole.constant(1)}
            bits = shl {whole} %odd, {whole.constant(4)}
            half = lshr {whole} %x, %bits
            """,
            x=x,
            place=place,
        )

    def _upper(self, whole: Type, x: str) -> str:
        return self.out.set("upper", f"lshr {whole} {x}, {whole.constant(16)}")

    def _half(self, whole: Type) -> Type:
        """Half as many numbers."""
        return Type(whole.of, max(1, whole.width // 2))

    def code(self, column: str, whole: Type, i: str, count: int) -> str:
        """For each element from i on, the bits for rounding a code: of two columns, the first uses the lower
        bits of their hash, the second the upper ones. The bits that they share are the least significant
        of one of them.
        """
        name, upper = self.pairs[column]
        x = self._once(name, whole, i)
        if upper:
            return self.out.set("upper", f"lshr {whole} {x}, {whole.constant(32 - count)}")
        return self.out.set("lower", f"and {whole} {x}, {whole.constant(2**count - 1)}")

    def _once(self, name: Hashable, whole: Type, i: str) -> str:
        """32 bits for each element from i on, mixed once."""
        if (name, i) not in self._mixed:
            first, second = self.keys[name][whole.width]
            x = self.out.set("keyed", f"xor {whole} {self._place(whole, i)}, {first}")
            self._mixed[name, i] = self._mix(whole, x, second)
        return self._mixed[name, i]

    def bits(self, name: Hashable, whole: Type, i: str) -> str:
        """32 bits for each element from i on: murmur3's finalizer, twice, on the place and the key."""
        first, second = self.keys[name][whole.width]
        x = self._mix(whole, self.out.set("keyed", f"xor {whole} {self._place(whole, i)}, {first}"))
        return self._mix(whole, self.out.set("keyed", f"add {whole} {x}, {second}"))

    def _place(self, whole: Type, i: str, lanes: Sequence[int] = ()) -> str:
        """The positions of the elements from i on, or of some of them, in 32 bits."""
        out = self.out
        x = out.set("place", f"trunc i64 {i} to i32")
        x = out.set("place", f"add i32 {x}, {self.start}")
        if whole.width > 1:
            ahead = ", ".join(f"i32 {n}" for n in lanes or self.lanes)
            x = out.set("place", f"add {whole} {out.splat(x, whole)}, <{ahead}>")
        return x

    def _mix(self, whole: Type, x: str, within: str = "") -> str:
        """Murmur3's finalizer. within: a key that is added on the way."""
        return self.out.code(
            f"""
            a = lshr {whole} %x, {whole.constant(16)}
            b = xor {whole} %x, %a
            c = mul {whole} %b, {whole.constant(signed(0x85EBCA6B, 32))}
            d = add {whole} %c, %within
            e = lshr {whole} %d, {whole.constant(13)}
            f = xor {whole} %d, %e
            g = mul {whole} %f, {whole.constant(signed(0xC2B2AE35, 32))}
            h = lshr {whole} %g, {whole.constant(16)}
            mixed = xor {whole} %g, %h
            """,
            x=x,
            within=within or whole.constant(0),
        )


def of_tensor(out: Printer, purpose: int, *, number: str, noise: str) -> str:
    """64 bits for a tensor's step and a purpose, from the tensor's number and the noise of the step."""
    key = out.code(
        f"""
        apart = xor i64 %noise, {signed(purpose)}
        spread = mul i64 %number, {signed(SPREAD)}
        key = add i64 %apart, %spread
        """,
        noise=noise,
        number=number,
    )
    return mixed(out, key)


def mixed(out: Printer, key: str) -> str:
    """64 bits mixed as in splitmix64."""
    for shift, multiplier in MIXERS:
        key = out.code(
            f"""
            shifted = lshr i64 %key, {shift}
            mixed = xor i64 %key, %shifted
            key = mul i64 %mixed, {signed(multiplier)}
            """,
            key=key,
        )
    return key
