"""Random numbers for elements, with the bits that ravine/draws.py has: the same operations in float64."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ravine import draws
from ravine.engines.llvm.functions import Formula
from ravine.engines.llvm.noise import Noise, mixed, of_tensor
from ravine.engines.llvm.printer import Printer, Type, signed

__all__ = ["Draws"]


class Draws:
    """The numbers for the elements of a chunk.

    bits: their source, with a key for each half of each stream. number: of the tensor. noise: of its step.
    """

    def __init__(
        self, out: Printer, bits: Noise, streams: Iterable[int], *, number: str, noise: str
    ):
        self.out, self.bits = out, bits
        whole = of_tensor(out, draws.STREAMS, number=number, noise=noise)
        for stream in streams:
            for half in (0, 1):
                ahead = (2 * stream + half) * draws.SPREAD % 2**64
                key = out.set("key", f"add i64 {whole}, {signed(ahead)}")
                bits.add((stream, half), mixed(out, key))

    def draw(self, op: str, stream: int, kind: Type, i: str) -> str:
        """The numbers of a stream, for the elements from i on."""
        out, double, whole = self.out, kind.like("double"), kind.like("i32")
        halves = []
        for half in (0, 1):
            bits = self.bits.bits((stream, half), whole, i)
            bits = out.set("bits", f"lshr {whole} {bits}, {whole.constant(6)}")
            halves.append(out.set("half", f"uitofp {whole} {bits} to {double}"))
        do = Formula(out, double)
        first, second = halves
        u = do.mul(do.add(do.add(do.mul(first, 2.0**26), second), 0.5), 2.0**-52)
        if op == "normal":
            u = _quantile(do, u)
        if kind.of == "double":
            return u
        single = out.set(op, f"fptrunc {double} {u} to {kind}")
        if op == "normal":
            return single
        below = Formula(out, kind)
        return below.select(below.test("olt", single, 1 - 2**-24), single, 1 - 2**-24)


def _quantile(do: Formula, u: str) -> str:
    q = do.sub(u, 0.5)
    r = do.sub(0.180625, do.mul(q, q))
    centre = do.mul(q, _ratio(do, draws.CENTRE, r))
    left = do.test("olt", q, 0.0)
    s = _root(do, do.sub(0.0, _log(do, do.select(left, u, do.sub(1.0, u)))))
    near, far = (
        _ratio(do, tail, do.sub(s, begin))
        for tail, begin in zip(draws.TAIL, (1.6, 5.0), strict=True)
    )
    far = do.select(do.test("ogt", s, 5.0), far, near)
    far = do.select(left, do.sub(0.0, far), far)
    return do.select(do.test("olt", r, 0.0), far, centre)


def _log(do: Formula, x: str) -> str:
    """Exponent and mantissa by their bits, as frexp has them: x is a normal number."""
    out, double, whole = do.out, do.kind, do.kind.like("i64")
    bits = out.set("bits", f"bitcast {double} {x} to {whole}")
    power = out.set("power", f"lshr {whole} {bits}, {whole.constant(52)}")
    power = out.set("power", f"sub {whole} {power}, {whole.constant(1022)}")
    e = out.set("e", f"sitofp {whole} {power} to {double}")
    rest = out.set("rest", f"and {whole} {bits}, {whole.constant(2**52 - 1)}")
    rest = out.set("rest", f"or {whole} {rest}, {whole.constant(1022 << 52)}")
    m = out.set("m", f"bitcast {whole} {rest} to {double}")
    small = do.test("olt", m, math.sqrt(0.5))
    m, e = do.select(small, do.add(m, m), m), do.select(small, do.sub(e, 1.0), e)
    s = do.div(do.sub(m, 1.0), do.add(m, 1.0))
    z = do.mul(s, s)
    m = do.add(do.mul(s, 2.0), do.mul(s, do.mul(z, do.polynomial(draws.LOG, z))))
    return do.add(do.mul(e, draws.WEIGHTS[0]), do.add(do.mul(e, draws.WEIGHTS[1]), m))


def _root(do: Formula, x: str) -> str:
    y = do.add(do.mul(x, draws.ROOT[1]), draws.ROOT[0])
    for _ in range(draws.HERON):
        y = do.mul(do.add(do.div(x, y), y), 0.5)
    return y


def _ratio(do: Formula, parts: tuple[tuple[float, ...], tuple[float, ...]], x: str) -> str:
    over, under = (do.polynomial(part, x) for part in parts)
    return do.div(over, under)
