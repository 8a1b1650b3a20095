"""exp, log, pow and fmod for targets without a C library: for numbers or vectors, right to two units in the
last place, with C's results for zeros, infinities, NaN and denormals.

The polynomials are minimax ones (Remez). `pow` takes the logarithm in two numbers, with an error below
2**-64, because an exponent multiplies it; of float32 numbers it is computed in float64.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from ravine.engines.llvm.functions import Formula
from ravine.engines.llvm.printer import Printer, Type

__all__ = ["WithFormulas"]

# (exp(x) - 1 - x) / x² as a polynomial in x, for x up to half of log 2
_EXP = {
    "float": (
        *(0.5000000027095113, 0.1666657664291762, 0.04166637410357942, 0.008363235729157908),
        0.0013941216508162344,
    ),
    "double": (
        *(0.5, 0.1666666666666667, 0.041666666666666685, 0.008333333333326082),
        *(0.001388888888887429, 0.00019841269875003868, 2.4801587347591023e-05),
        *(2.7557255168336002e-06, 2.7557252673788055e-07, 2.5105313336043612e-08),
        2.0921668747661267e-09,
    ),
}
# (artanh(s) / s - 1) / s² as a polynomial in s²; log(m) is 2 artanh(s) for s = (m - 1) / (m + 1), m up to √2
_ARTANH = {
    "float": (0.33333342688484024, 0.1999433615560256, 0.14792075461488086),
    "double": (
        *(0.3333333333333335, 0.19999999999948634, 0.1428571431346646, 0.1111110549293808),
        *(0.09091449770406682, 0.07665693644809252, 0.07310229345934498),
    ),
}
# The same without its first term, a third.
_REST = (
    *(0.2, 0.14285714285714693, 0.11111111110822329, 0.09090909168914914, 0.07692297355796343),
    *(0.06667408955323337, 0.05852946098670014, 0.05863344642776602),
)
_THIRD = 1 / 3, 1.850371707708594e-17
# log 2 in two numbers; the first has so few bits that its product with an exponent is exact.
_LOG2 = {
    "float": (0.693145751953125, 1.4286067653301870e-06),
    "double": (0.693147180559663, 2.8235290563031577e-13),
}
_MOST = {"float": 120.0, "double": 800.0}  # exp is infinite, or zero, beyond it
_BITS = {
    "float": (23, 127, "i32"),
    "double": (52, 1023, "i64"),
}  # of the mantissa; bias; as integer


class WithFormulas(Printer):
    """A printer for a target that has no instructions for exp, log, pow and remainders."""

    def call(self, name: str, intrinsic: str, kind: Type, *args: str) -> str:
        """Call an intrinsic, or print its formula."""
        formulas: dict[str, Callable[..., str]] = {"exp": exp, "log": log, "pow": power}
        if intrinsic in formulas:
            return formulas[intrinsic](self, kind, *args)
        return super().call(name, intrinsic, kind, *args)

    def remainder(self, kind: Type, x: str, y: str) -> str:
        """C's fmod."""
        one = Type(kind.of)
        self.declared |= _remainder(one)
        found = "poison"
        for i in range(kind.width):
            lane = x, y
            if kind.width > 1:
                lane = (
                    self.set("lane", f"extractelement {kind} {x}, i64 {i}"),
                    self.set("lane", f"extractelement {kind} {y}, i64 {i}"),
                )
            rest = self.set(
                "rest", f"call {one} @remainder.{one}({one} {lane[0]}, {one} {lane[1]})"
            )
            if kind.width == 1:
                return rest
            found = self.set("rests", f"insertelement {kind} {found}, {one} {rest}, i64 {i}")
        return found


class _Bits(Formula):
    """With operations on the bits of numbers."""

    def __init__(self, out: Printer, kind: Type):
        super().__init__(out, kind)
        self.mantissa, self.bias, whole = _BITS[kind.of]
        self.whole = kind.like(whole)
        self.smallest = 2.0 ** (1 - self.bias)

    def fma(self, x: str, y: str, z: str) -> str:
        """X y + z, rounded once."""
        return self.call("fma", x, y, z)

    def negative(self, x: str) -> str:
        """Minus x."""
        return self.out.set("minus", f"fneg {self.kind} {x}")

    def bits(self, x: str) -> str:
        """The bits as an integer."""
        return self.out.set("bits", f"bitcast {self.kind} {x} to {self.whole}")

    def of_bits(self, bits: str) -> str:
        """The number with these bits."""
        return self.out.set("number", f"bitcast {self.whole} {bits} to {self.kind}")

    def whole_op(self, op: str, x: str, y: str | int) -> str:
        """An operation on integers."""
        y = y if isinstance(y, str) else self.whole.constant(y)
        return self.out.set(op, f"{op} {self.whole} {x}, {y}")

    def both(self, one: str, other: str) -> str:
        """Whether two conditions hold."""
        return self.out.set("both", f"and {self.kind.like('i1')} {one}, {other}")

    def either(self, one: str, other: str) -> str:
        """Whether one of two conditions holds."""
        return self.out.set("either", f"or {self.kind.like('i1')} {one}, {other}")

    def two_to(self, exponent: str) -> str:
        """2 to the power of an integer within the range of normal numbers."""
        biased = self.whole_op("add", exponent, self.bias)
        return self.of_bits(self.whole_op("shl", biased, self.mantissa))

    def constant_bits(self, x: float) -> int:
        """The bits of a constant."""
        number, integer = ("<f", "<i") if self.kind.of == "float" else ("<d", "<q")
        bits: int = struct.unpack(integer, struct.pack(number, x))[0]
        return bits

    def split(self, x: str) -> tuple[str, str]:
        """A positive number as e and m: it is 2**e m, with m between √½ and √2."""
        tiny = self.test("olt", x, self.smallest)
        up = self.mantissa + 2
        x = self.select(tiny, self.mul(x, 2.0**up), x)
        low = self.constant_bits(math.sqrt(0.5))
        moved = self.whole_op("add", self.bits(x), self.constant_bits(1.0) - low)
        exponent = self.whole_op("ashr", moved, self.mantissa)
        exponent = self.whole_op("sub", exponent, self.bias)
        fraction = self.whole_op("and", moved, 2**self.mantissa - 1)
        m = self.of_bits(self.whole_op("add", fraction, low))
        e = self.out.set("e", f"sitofp {self.whole} {exponent} to {self.kind}")
        return self.sub(e, self.select(tiny, float(up), 0.0)), m


def exp(out: Printer, kind: Type, x: str, low: str = "") -> str:
    """exp(x), or exp(x + low) for a small low: 2**n exp(r) for r up to half of log 2."""
    do = _Bits(out, kind)
    most, (high, rest) = _MOST[kind.of], _LOG2[kind.of]
    x = do.select(do.test("ogt", x, most), most, x)
    x = do.select(do.test("olt", x, -most), -most, x)
    rounds = 1.5 * 2.0**do.mantissa  # the sum's last bits are a whole number
    shifted = do.add(do.mul(x, 1 / math.log(2)), rounds)
    n = do.sub(shifted, rounds)
    r = do.sub(do.sub(x, do.mul(n, high)), do.mul(n, rest))
    if low:
        r = do.add(r, low)
    result = do.mul(do.mul(r, r), do.polynomial(_EXP[kind.of], r))
    result = do.add(do.add(r, result), 1.0)
    whole = do.whole_op("sub", do.bits(shifted), do.constant_bits(rounds))
    half = do.whole_op("ashr", whole, 1)  # 2**n itself may be out of range
    for part in (half, do.whole_op("sub", whole, half)):
        result = do.mul(result, do.two_to(part))
    return result


def log(out: Printer, kind: Type, x: str) -> str:
    """The natural logarithm."""
    do = _Bits(out, kind)
    high, rest = _LOG2[kind.of]
    e, m = do.split(x)
    f = do.sub(m, 1.0)
    s = do.div(f, do.add(f, 2.0))
    z = do.mul(s, s)
    series = do.mul(do.mul(2.0, z), do.polynomial(_ARTANH[kind.of], z))
    half = do.mul(0.5, do.mul(f, f))
    result = do.add(do.mul(s, do.add(half, series)), do.mul(e, rest))
    result = do.add(do.mul(e, high), do.sub(f, do.sub(half, result)))
    result = do.select(do.test("olt", x, math.inf), result, x)  # of infinity, of NaN
    result = do.select(do.test("oeq", x, 0.0), -math.inf, result)
    return do.select(do.test("olt", x, 0.0), math.nan, result)


def _log(do: _Bits, x: str) -> tuple[str, str]:
    """The natural logarithm of a positive number in float64, in two numbers."""
    e, m = do.split(x)
    f = do.sub(m, 1.0)
    t = do.add(f, 2.0)
    t_low = do.sub(f, do.sub(t, 2.0))
    s = do.div(f, t)
    minus = do.negative(s)
    s_low = do.div(do.fma(minus, t_low, do.fma(minus, t, f)), t)
    z = do.mul(s, s)
    z_low = do.add(do.fma(s, s, do.negative(z)), do.mul(do.mul(2.0, s), s_low))
    rest = do.mul(z, do.polynomial(_REST, z))
    c = do.add(rest, _THIRD[0])
    c_low = do.add(do.add(do.sub(_THIRD[0], c), rest), _THIRD[1])
    u, u_low = _product(do, (z, z_low), (c, c_low))
    v, v_low = _product(do, (s, s_low), (u, u_low))
    high, low = _sum(do, s, v, do.add(s_low, v_low))
    whole = do.mul(e, _LOG2["double"][0])
    low = do.add(do.mul(2.0, low), do.mul(e, _LOG2["double"][1]))
    high, low = _sum(do, whole, do.mul(2.0, high), low)
    return _sum(do, high, low, 0.0)


def _sum(do: _Bits, x: str, y: str, low: str | float) -> tuple[str, str]:
    """X + y + low in two numbers, for a larger x (or zero)."""
    high = do.add(x, y)
    return high, do.add(do.add(do.sub(x, high), y), low)


def _product(do: _Bits, x: tuple[str, str], y: tuple[str, str]) -> tuple[str, str]:
    high = do.mul(x[0], y[0])
    low = do.add(do.mul(x[0], y[1]), do.mul(x[1], y[0]))
    return high, do.add(do.fma(x[0], y[0], do.negative(high)), low)


def power(out: Printer, kind: Type, x: str, y: str) -> str:
    """X to the power of y."""
    if kind.of == "float":
        double = kind.like("double")
        x, y = (out.set("double", f"fpext {kind} {a} to {double}") for a in (x, y))
        return out.set("power", f"fptrunc {double} {power(out, double, x, y)} to {kind}")
    do = _Bits(out, kind)
    size = do.call("fabs", x)
    high, low = _log(do, size)
    high = do.select(do.test("oeq", size, 0.0), -math.inf, high)
    high = do.select(do.test("oeq", size, math.inf), math.inf, high)
    product = do.mul(y, high)
    low = do.add(do.fma(y, high, do.negative(product)), do.mul(y, low))
    low = do.select(do.test("olt", do.call("fabs", product), _MOST["double"]), low, 0.0)
    one = do.test("oeq", size, 1.0)
    result = exp(out, kind, do.select(one, 0.0, product), do.select(one, 0.0, low))
    half = do.mul(y, 0.5)
    whole = do.test("oeq", do.call("rint", y), y)
    odd = do.both(whole, do.test("une", do.call("rint", half), half))
    below = do.test("olt", do.call("copysign", 1.0, x), 0.0)
    result = do.select(do.both(below, odd), do.negative(result), result)
    finite = do.both(do.test("olt", x, 0.0), do.test("ogt", x, -math.inf))
    between = do.test("une", do.call("rint", y), y)
    result = do.select(do.both(finite, between), math.nan, result)
    result = do.select(do.test("uno", x, y), do.add(x, y), result)
    return do.select(do.either(do.test("oeq", y, 0.0), do.test("oeq", x, 1.0)), 1.0, result)


def _remainder(kind: Type) -> dict[str, None]:
    """The function `remainder`, in parts: |x| is reduced by as many times 2**k |y| as are exact at a time."""
    out = Printer()
    do = _Bits(out, kind)
    out.begin(f"@remainder.{kind}({kind} %x, {kind} %y)", result=f"internal {kind}")
    size, by = do.call("fabs", "%x"), do.call("fabs", "%y")
    numbers = do.both(do.test("olt", size, math.inf), do.test("ogt", by, 0.0))
    out.branch(numbers, "head", "none")
    out.label("head")
    out.line(f"%left = phi {kind} [ {size}, %entry ], [ %left.next, %turn ]")
    out.branch(do.test("oge", "%left", by), "turn", "done")
    out.label("turn")
    far = do.whole_op("sub", _exponent(do, "%left"), _exponent(do, by))
    far = do.whole_op("sub", far, do.mantissa - 1)
    ahead = out.set("ahead", f"icmp sgt {do.whole} {far}, 0")
    far = out.set("far", f"select i1 {ahead}, {do.whole} {far}, {do.whole} 0")
    half = do.whole_op("ashr", far, 1)
    times = by
    for part in (half, do.whole_op("sub", far, half)):
        times = do.mul(times, do.two_to(part))
    quotient = do.call("floor", do.div("%left", times))
    left = do.fma(do.negative(quotient), times, "%left")
    left = do.select(do.test("olt", left, 0.0), do.add(left, times), left)
    out.line(f"%left.next = fadd {kind} {left}, {kind.constant(0.0)}")
    out.jump("head")
    out.label("done")
    result = do.call("copysign", "%left", "%x")
    out.line(f"ret {kind} {result}")
    out.label("none")
    out.end(f"{kind} {kind.constant(math.nan)}")
    return {"\n".join(out.lines): None, **out.declared}


def _exponent(do: _Bits, x: str) -> str:
    """The exponent of a positive number."""
    tiny, up = do.test("olt", x, do.smallest), do.mantissa + 2
    bits = do.bits(do.select(tiny, do.mul(x, 2.0**up), x))
    exponent = do.whole_op("lshr", bits, do.mantissa)
    less = do.out.set("less", f"select i1 {tiny}, {do.whole} {up}, {do.whole} 0")
    return do.whole_op("sub", exponent, less)
