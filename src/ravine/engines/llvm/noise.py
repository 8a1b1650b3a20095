"""The random bits of stochastic rounding: they depend on the step, the tensor, the column and the
place of an element alone, not on threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ravine.engines.llvm.printer import Printer, Type, signed

__all__ = ["Noise", "of_step"]

_SPREAD = 0x9E3779B97F4A7C15  # what the noise of a column is ahead of the one before, modulo 2**64


def of_step(out: Printer, seed: str, t: str) -> str:
    """The noise of a tensor's step: 64 bits made of the seed and the count."""
    noise = out.code(
        f"""
        count = fptosi double %t to i64
        a = mul i64 %seed, {signed(0x9E3779B97F4A7C15)}
        b = mul i64 %count, {signed(0xD1B54A32D192ED03)}
        noise = add i64 %a, %b
        """,
        t=t,
        seed=seed,
    )
    return _splitmix(out, noise)


class Noise:
    """The bits for the elements of a chunk, from `start` on.

    number: of the tensor. noise: of its step. rounded: those of the columns that need bits. width:
    how many elements there are in a vector.
    """

    def __init__(
        self,
        out: Printer,
        columns: Sequence[str],
        rounded: Iterable[str],
        *,
        number: str,
        noise: str,
        start: str,
        width: int,
    ):
        self.out = out
        wide = Type("i32", width)
        self.start = out.set("start.low", f"trunc i64 {start} to i32")
        self.keys = {}
        for c in rounded:
            key = out.code(
                f"""
                first = mul i64 %number, {len(columns)}
                stream = add i64 %first, {columns.index(c) + 1}
                spread = mul i64 %stream, {signed(_SPREAD)}
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
                width: (out.splat(first, wide), out.splat(second, wide)),
            }

    def bits(self, column: str, whole: Type, i: str) -> str:
        """32 bits for each element from i on: murmur3's finalizer, twice, on the place and the key."""
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
                c = mul {whole} %b, {whole.constant(signed(0x85EBCA6B, 32))}
                d = lshr {whole} %c, {whole.constant(13)}
                e = xor {whole} %c, %d
                f = mul {whole} %e, {whole.constant(signed(0xC2B2AE35, 32))}
                g = lshr {whole} %f, {whole.constant(16)}
                mixed = xor {whole} %f, %g
                """,
                x=x,
                key=key,
            )
        return x


def _splitmix(out: Printer, key: str) -> str:
    """64 bits mixed as in splitmix64."""
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        key = out.code(
            f"""
            shifted = lshr i64 %key, {shift}
            mixed = xor i64 %key, %shifted
            key = mul i64 %mixed, {signed(multiplier)}
            """,
            key=key,
        )
    return key
