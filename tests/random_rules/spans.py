"""Which numbers a computation may give: spans of real numbers in 50-digit arithmetic, NaN, and the
signs of zero.

Each operation is that of IEEE 754, and its result is widened to the next numbers of a format on
either side, unless it is a number of the format. So a span holds what every engine may answer that
rounds each operation to the format or to a finer one, and it is as wide as the computation is
ill-conditioned; where nothing is rounded it is a point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mpmath import mp

mp.dps = 50
PLUS, MINUS = 1, 2
"""The signs that a zero may have, as bits."""

ZERO, ONE, INF = mp.mpf(0), mp.mpf(1), mp.inf


@dataclass(frozen=True)
class Span:
    """The numbers from low to high; none if low > high. nan: whether NaN may be given. zeros: which
    zeros are among them.
    """

    low: Any
    high: Any
    nan: bool = False
    zeros: int = 0

    def __post_init__(self) -> None:
        if self.low < 0:
            if self.high >= 0:
                object.__setattr__(self, "zeros", self.zeros | MINUS | PLUS * (self.high > 0))
        elif self.low == 0 < self.high:
            object.__setattr__(self, "zeros", self.zeros | PLUS)

    @property
    def empty(self) -> bool:
        """Whether nothing but NaN can be given."""
        return self.low > self.high

    @property
    def point(self) -> bool:
        """Whether it is one number."""
        return self.low == self.high

    def mirrored(self) -> Span:
        """The numbers with the other sign."""
        swapped = (self.zeros & PLUS) * MINUS | (self.zeros & MINUS) // MINUS
        return Span(-self.high, -self.low, self.nan, swapped)


NAN = Span(INF, -INF, True)


def number(x: float) -> Span:
    """A float."""
    if x != x:
        return NAN
    zeros = 0 if x else MINUS if repr(x).startswith("-") else PLUS
    return Span(mp.mpf(x), mp.mpf(x), False, zeros)


def join(spans: Iterable[Span]) -> Span:
    """All that may be in one of them."""
    spans = list(spans)
    if len(spans) == 1:
        return spans[0]
    zeros = 0
    for span in spans:
        zeros |= span.zeros
    low, high = min(s.low for s in spans), max(s.high for s in spans)
    return Span(low, high, any(s.nan for s in spans), zeros)


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    bits: of the significand; 0: numbers are not rounded. least: the smallest number is two to this
    power. top: all numbers are below two to this power.
    """

    bits: int
    least: int = -(10**5)
    top: int = 10**5

    def _next(self, x: Any, up: bool) -> Any:
        """The number of the format at or next to x, upwards or downwards."""
        if not mp.isfinite(x) or not x:
            return x
        sign, man, exp, _ = x._mpf_
        quantum = max(_top(x) - self.bits, self.least) if self.bits else self.least
        if exp < quantum:
            man = (man >> (quantum - exp)) + (up != bool(sign))
            x = mp.ldexp(-man if sign else man, quantum)
        if abs(x) < self.limit:
            return x
        if up == (x > 0):
            return INF if x > 0 else -INF
        return self.largest if x > 0 else -self.largest

    @cached_property
    def limit(self) -> Any:
        """What all numbers are below."""
        return mp.ldexp(1, self.top)

    @cached_property
    def largest(self) -> Any:
        """The largest number; infinity where there is none."""
        return mp.ldexp(2**self.bits - 1, self.top - self.bits) if self.bits else INF

    @cached_property
    def unit(self) -> Any:
        """The largest relative error of a rounding; 0 where numbers are not rounded."""
        return mp.ldexp(1, -self.bits) if self.bits else ZERO

    def round(self, span: Span, ulps: int = 0) -> Span:
        """The span as it is in this format; ulps: by how much a result may be off, beyond that."""
        if span.empty:
            return span
        low, high = span.low, span.high
        if ulps and self.bits:
            low, high = low - self._away(low, ulps), high + self._away(high, ulps)
            if low < 0 <= span.low:
                low = ZERO
            if high > 0 >= span.high:
                high = ZERO
        low, high = self._next(low, False), self._next(high, True)
        return Span(low, high, span.nan, span.zeros)

    def _away(self, x: Any, ulps: int) -> Any:
        return ulps * max(abs(x) * 2 * self.unit, mp.ldexp(1, self.least)) if mp.isfinite(x) else 0

    def nearest(self, point: Span) -> Span:
        """A single number rounded to the nearest even."""
        x = point.low
        if point.empty or not mp.isfinite(x) or not x:
            return point
        low, high = self._next(x, False), self._next(x, True)
        if high == INF or low == -INF:
            beyond = self.limit - mp.ldexp(1, self.top - self.bits - 1)
            up = (abs(x) >= beyond) == (x > 0)
        elif x - low == high - x:
            up = int(mp.ldexp(low, -max(_top(x) - self.bits, self.least))) % 2 == 1
        else:
            up = high - x < x - low
        value = high if up else low
        return Span(value, value, point.nan, 0 if value else PLUS if x > 0 else MINUS)


def _top(x: Any) -> int:
    """The power of two that x is below, and not below half of."""
    return x._mpf_[2] + x._mpf_[3]


EXACT = Format(0)
FORMATS = {"float64": Format(53, -1074, 1024), "float32": Format(24, -149, 128)}
FORMATS |= {"bfloat16": Format(8, -133, 128), "float16": Format(11, -24, 16)}
