"""tanh and atan2 for numbers or vectors, accurate to 3 units in the last place.

LLVM would call the C library for each element, which takes five times as long. The polynomials are
minimax ones (Remez), of the lowest degree with an error below a quarter of a unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ravine.engines.llvm.printer import Printer, Type

__all__ = ["Formula", "atan2", "tanh"]

# (tanh(x) / x - 1) / x² as a polynomial in x², for x up to 0.625
_SMALL = 0.625
_TANH = {
    "float": (
        *(-0.3333333090697884, 0.1333320977475656, -0.05394720550843412),
        *(0.021702973143613098, -0.008182687116156709, 0.0021475476429352043),
    ),
    "double": (
        *(-0.33333333333333315, 0.1333333333332989, -0.05396825396613432),
        *(0.02186948847065157, -0.008863234341467446, 0.0035921142709728023),
        *(-0.0014557276149395994, 0.0005894586155972236, -0.00023703010562325748),
        *(9.158977989951062e-05, -3.0217949579309033e-05, 6.055628304555618e-06),
    ),
}
# (atan(x) / x - 1) / x² as a polynomial in x², for x up to the tangent of an eighth of π
_EIGHTH = math.tan(math.pi / 8)
_ATAN = {
    "float": (
        *(-0.33333315497401395, 0.19998488902971426, -0.14243837804986745),
        *(0.10595915217696349, -0.060832221467975296),
    ),
    "double": (
        *(-0.333333333333332, 0.1999999999995404, -0.14285714280244158),
        *(0.11111110785910482, -0.09090897829649772, 0.07692061511885671),
        *(-0.06663118915499672, 0.05847997929727731, -0.050397947425002074),
        *(0.038077001023392655, -0.017920802900948267),
    ),
}


def tanh(out: Printer, kind: Type, x: str) -> str:
    """The hyperbolic tangent: of a small x by the polynomial, of others by exp."""
    do = Formula(out, kind)
    size = do.call("fabs", x)
    power = do.call("exp", do.add(size, size))
    large = do.sub(1.0, do.div(2.0, do.add(power, 1.0)))
    result = do.select(do.test("olt", size, _SMALL), do.odd(size, _TANH), large)
    return do.call("copysign", result, x)


def atan2(out: Printer, kind: Type, y: str, x: str) -> str:
    """The angle of (x, y): the smaller size by the larger one is the tangent of at most π/4."""
    do = Formula(out, kind)
    high, wide = do.call("fabs", y), do.call("fabs", x)
    steep = do.test("ogt", high, wide)
    small, large = do.select(steep, wide, high), do.select(steep, high, wide)
    ratio = do.div(small, large)
    ratio = do.select(do.test("oeq", large, 0.0), 0.0, ratio)  # both are zero
    ratio = do.select(do.test("oeq", small, math.inf), 1.0, ratio)  # both are infinite
    beyond = do.test("ogt", ratio, _EIGHTH)
    turned = do.div(do.sub(ratio, 1.0), do.add(ratio, 1.0))  # by an eighth of a full turn
    angle = do.odd(do.select(beyond, turned, ratio), _ATAN)
    angle = do.add(angle, do.select(beyond, math.pi / 4, 0.0))
    angle = do.select(steep, do.sub(math.pi / 2, angle), angle)
    left = do.test("olt", do.call("copysign", 1.0, x), 0.0)
    angle = do.select(left, do.sub(math.pi, angle), angle)
    angle = do.call("copysign", angle, y)
    return do.select(do.test("uno", x, y), do.add(x, y), angle)


class Formula:
    """Lines of one type, an operation each; a float among the operands is a constant."""

    def __init__(self, out: Printer, kind: Type):
        self.out, self.kind = out, kind

    def _texts(self, *operands: str | float) -> list[str]:
        return [x if isinstance(x, str) else self.kind.constant(x) for x in operands]

    def _infix(self, op: str, *operands: str | float) -> str:
        name = op.partition(" ")[0]
        return self.out.set(name, f"{op} {self.kind} {', '.join(self._texts(*operands))}")

    def add(self, x: str | float, y: str | float) -> str:
        """The sum."""
        return self._infix("fadd", x, y)

    def sub(self, x: str | float, y: str | float) -> str:
        """The difference."""
        return self._infix("fsub", x, y)

    def mul(self, x: str | float, y: str | float) -> str:
        """The product."""
        return self._infix("fmul", x, y)

    def div(self, x: str | float, y: str | float) -> str:
        """The quotient."""
        return self._infix("fdiv", x, y)

    def call(self, intrinsic: str, *operands: str | float) -> str:
        """The result of an intrinsic."""
        return self.out.call(intrinsic, intrinsic, self.kind, *self._texts(*operands))

    def test(self, how: str, x: str | float, y: str | float) -> str:
        """A comparison."""
        return self._infix(f"fcmp {how}", x, y)

    def select(self, condition: str, x: str | float, y: str | float) -> str:
        """X where the condition holds, y elsewhere."""
        x, y = self._texts(x, y)
        test = f"{self.kind.like('i1')} {condition}"
        return self.out.set("one", f"select {test}, {self.kind} {x}, {self.kind} {y}")

    def polynomial(self, coefficients: Sequence[float], x: str) -> str:
        """The polynomial with these coefficients, the constant term first, by Horner's scheme."""
        *rest, last = coefficients
        result: str | float = last
        for coefficient in reversed(rest):
            result = self.add(self.mul(result, x), coefficient)
        return str(result)

    def odd(self, x: str, coefficients: Mapping[str, Sequence[float]]) -> str:
        """X + x³ times the polynomial in x²."""
        square = self.mul(x, x)
        result = self.polynomial(coefficients[self.kind.of], square)
        return self.add(x, self.mul(self.mul(x, square), result))
