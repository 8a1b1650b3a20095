"""The operations of the rule language on spans, as IEEE 754 and NumPy have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

from mpmath import mp

from random_rules.spans import EXACT, INF, MINUS, NAN, ONE, PLUS, ZERO, Format, Span, join, number

ULPS = 4
"""How far off exp, log and powers may be: mathematical libraries promise less than two."""
SUMMANDS = 200
"""A sum is as inexact as that of so many numbers one after the other, however many there are:
NumPy, torch and the kernels add up in blocks."""


class Part(NamedTuple):
    """The numbers of one sign in a span: its zeros, its finite numbers, or its infinity."""

    kind: str
    sign: int
    low: Any  # of the sizes
    high: Any


def _parts(s: Span) -> Iterator[Part]:
    if s.empty:
        return
    if s.low == -INF:
        yield Part("inf", -1, INF, INF)
    if s.low < 0 and s.high > -INF:
        yield Part("finite", -1, max(ZERO, -s.high), -s.low)
    if s.zeros & MINUS:
        yield Part("zero", -1, ZERO, ZERO)
    if s.zeros & PLUS:
        yield Part("zero", 1, ZERO, ZERO)
    if s.high > 0 and s.low < INF:
        yield Part("finite", 1, max(ZERO, s.low), s.high)
    if s.high == INF:
        yield Part("inf", 1, INF, INF)


def _signed(sign: int, low: Any, high: Any) -> Span:
    zero = PLUS if high == 0 else 0
    return Span(low, high, False, zero) if sign > 0 else Span(low, high, False, zero).mirrored()


def _collect(nan: bool, spans: list[Span]) -> Span:
    return join([*spans, NAN] if nan or not spans else spans)


def negative(x: Span) -> Span:
    """-x."""
    return x.mirrored()


def add(x: Span, y: Span) -> Span:
    """x + y."""
    nan = x.nan or y.nan
    nan |= (x.high == INF and y.low == -INF) or (x.low == -INF and y.high == INF)
    if x.empty or y.empty:
        return NAN
    for end in (INF, -INF):
        for one, other in ((x, y), (y, x)):
            if one.low == one.high == end:
                return NAN if other.low == other.high == -end else Span(end, end, nan)
    low, high = x.low + y.low, x.high + y.high
    zeros = x.zeros & y.zeros & MINUS
    common = max(x.low, -y.high), min(x.high, -y.low)
    cancel = common[0] <= common[1] and common != (0, 0)
    if cancel or (x.zeros and y.zeros and (x.zeros | y.zeros) & PLUS):
        zeros |= PLUS
    return Span(low, high, nan, zeros)


def subtract(x: Span, y: Span) -> Span:
    """x - y."""
    return add(x, y.mirrored())


def multiply(x: Span, y: Span) -> Span:
    """x * y."""
    nan, results = x.nan or y.nan, []
    for a, b in product(_parts(x), _parts(y)):
        if {a.kind, b.kind} == {"zero", "inf"}:
            nan = True
        elif "zero" in (a.kind, b.kind):
            results.append(_signed(a.sign * b.sign, ZERO, ZERO))
        elif "inf" in (a.kind, b.kind):  # of what is next to zero, too
            results.append(_signed(a.sign * b.sign, INF, INF))
        else:
            results.append(_signed(a.sign * b.sign, a.low * b.low, a.high * b.high))
    return _collect(nan, results)


def divide(x: Span, y: Span) -> Span:
    """x / y."""
    nan, results = x.nan or y.nan, []
    for a, b in product(_parts(x), _parts(y)):
        sign = a.sign * b.sign
        if a.kind == b.kind != "finite":
            nan = True
        elif a.kind == "zero" or b.kind == "inf":
            results.append(_signed(sign, ZERO, ZERO))
        elif a.kind == "inf" or b.kind == "zero":
            results.append(_signed(sign, INF, INF))
        else:
            low = a.low / b.high if b.high != INF else ZERO
            results.append(_signed(sign, low, a.high / b.low if b.low else INF))
    return _collect(nan, results)


def divide_numbers(form: Format, x: Span, y: Span) -> Span:
    """x / y where one is a number: engines may multiply by a reciprocal that does not overflow."""
    result = form.round(divide(x, y))
    reciprocal = form.round(divide(number(1.0), y))
    if form is EXACT or reciprocal.empty or max(abs(reciprocal.low), abs(reciprocal.high)) == INF:
        return result
    return join([result, form.round(multiply(x, reciprocal))])


def modulo(form: Format, x: Span, y: Span) -> Span:
    """x % y: of the sign of y. The sign of a zero is left open, and what is left of a quotient that
    is too large for the format: vectorized libraries give NaN.
    """
    nan, results = x.nan or y.nan, []
    for a, b in product(_parts(x), _parts(y)):
        if a.kind == "inf" or b.kind == "zero":
            nan = True
        elif b.kind == "inf":
            same = a.sign == b.sign or a.kind == "zero"
            results.append(_signed(a.sign, a.low, a.high) if same else _signed(b.sign, INF, INF))
        else:
            results.append(_rest(a, b))
            nan |= bool(form.bits) and (b.low == 0 or a.high / b.low >= 2**form.bits)
    result = _collect(nan, results)
    return Span(result.low, result.high, result.nan, result.zeros and PLUS | MINUS)


def _rest(a: Part, b: Part) -> Span:
    """Of finite numbers: exact where all quotients have the same whole part."""
    everything = _signed(b.sign, ZERO, b.high)
    if INF in (a.high, b.high) or not b.low:
        return everything
    xs = [a.sign * _fraction(x) for x in (a.low, a.high)]
    ys = [b.sign * _fraction(y) for y in (b.low, b.high)]
    if len(whole := {x // y for x in xs for y in ys}) > 1:
        return everything
    times = whole.pop()
    corners = [x - times * y for x in xs for y in ys]
    low, high = (mp.mpf(c.numerator) / c.denominator for c in (min(corners), max(corners)))
    return Span(low, high, False, PLUS if low <= 0 <= high else 0)


def _fraction(x: Any) -> Fraction:
    sign, man, exp, _ = x._mpf_
    whole = -int(man) if sign else int(man)
    return Fraction(whole << exp) if exp >= 0 else Fraction(whole, 1 << -exp)


def absolute(x: Span) -> Span:
    """abs(x)."""
    if x.empty:
        return NAN
    if x.low < 0 < x.high:
        return Span(ZERO, max(-x.low, x.high), x.nan)
    return Span(*sorted((abs(x.low), abs(x.high))), x.nan, PLUS if x.zeros else 0)


def root(x: Span) -> Span:
    """sqrt(x)."""
    if x.empty or x.high < 0:
        return NAN
    return Span(mp.sqrt(max(ZERO, x.low)), mp.sqrt(x.high), x.nan or x.low < 0, x.zeros)


def exponential(x: Span) -> Span:
    """exp(x)."""
    return NAN if x.empty else Span(_exp(x.low), _exp(x.high), x.nan, PLUS * (x.low == -INF))


def _exp(x: Any) -> Any:
    return mp.exp(min(max(x, -(10**5)), 10**5)) if mp.isfinite(x) else mp.exp(x)


def logarithm(x: Span) -> Span:
    """log(x)."""
    if x.empty or x.high < 0:
        return NAN
    low, high = (mp.log(e) if e > 0 else -INF for e in (x.low, x.high))
    return Span(low, high, x.nan or x.low < 0, PLUS * (low <= 0 <= high))


def hyperbolic_tangent(x: Span) -> Span:
    """tanh(x)."""
    return NAN if x.empty else Span(mp.tanh(x.low), mp.tanh(x.high), x.nan, x.zeros)


def angle(y: Span, x: Span) -> Span:
    """atan2(y, x): each sign of y with each of x is a quarter of the plane."""
    results = []
    for a, b in product(_parts(y), _parts(x)):
        corners = [_angle(h, b.sign * w) for h in (a.low, a.high) for w in (b.low, b.high)]
        if {a.kind, b.kind} == {"zero"}:
            corners = [ZERO if b.sign > 0 else +mp.pi]
        elif {a.kind, b.kind} == {"inf"}:
            corners = [mp.pi / 4 if b.sign > 0 else 3 * mp.pi / 4]
        known = [c for c in corners if c is not None]
        results.append(_signed(a.sign, min(known), max(known)))
    return _collect(y.nan or x.nan, results)


def _angle(height: Any, width: Any) -> Any:
    """The angle of a corner, or None where it depends on the way there; height is not negative."""
    if height == abs(width) and height in (0, INF):
        return None
    if abs(width) == INF or not height:
        return ZERO if width > 0 else +mp.pi
    return mp.pi / 2 if height == INF else mp.atan2(height, width)


def floor(x: Span) -> Span:
    """The largest whole number that is not above x."""
    return _to_whole(x, mp.floor)


def to_whole(x: Span) -> Span:
    """round(x): halves to the even number."""
    return _to_whole(x, mp.nint)


def _to_whole(x: Span, function: Any) -> Span:
    if x.empty:
        return NAN
    low, high = (function(e) if mp.isfinite(e) else e for e in (x.low, x.high))
    zeros = x.zeros
    if low <= 0 <= high:  # a zero has the sign of what it is made of, be it next to none
        zeros |= PLUS * (x.high > 0) | MINUS * (x.low < 0 and function is mp.nint)
    return Span(low, high, x.nan, zeros)


def signum(x: Span) -> Span:
    """sign(x); the sign of a zero is left open."""
    if x.empty:
        return NAN
    values = [n for n, is_there in ((-1, x.low < 0), (0, x.zeros), (1, x.high > 0)) if is_there]
    zeros = PLUS | MINUS if 0 in values else 0
    return Span(mp.mpf(min(values)), mp.mpf(max(values)), x.nan, zeros)


def maximum(x: Span, y: Span) -> Span:
    """The larger one, NaN if either is; of two zeros it may be either."""
    if x.empty or y.empty:
        return NAN
    low, high = max(x.low, y.low), max(x.high, y.high)
    zeros = x.zeros | y.zeros if low <= 0 <= high else 0
    return Span(low, high, x.nan or y.nan, zeros)


def minimum(x: Span, y: Span) -> Span:
    """The smaller one, NaN if either is; of two zeros it may be either."""
    return maximum(x.mirrored(), y.mirrored()).mirrored()


def clip(x: Span, low: Span, high: Span) -> Span:
    """X brought into the interval."""
    return minimum(maximum(x, low), high)


def compare(op: str, x: Span, y: Span) -> Span:
    """1 where it holds, 0 elsewhere, and with NaN."""
    if op in ("gt", "ge"):
        op, x, y = {"gt": "lt", "ge": "le"}[op], y, x
    nan = x.nan or y.nan
    if x.empty or y.empty:
        yes, no = False, True
    elif op == "lt":
        yes, no = x.low < y.high, nan or x.high >= y.low
    elif op == "le":
        yes, no = x.low <= y.high, nan or x.high > y.low
    else:
        yes = max(x.low, y.low) <= min(x.high, y.high)
        no = nan or not (x.point and y.point and yes)
    if op == "ne":
        yes, no = no, yes
    return join([number(1.0)] * yes + [number(0.0)] * no)


def where(condition: Span, x: Span, y: Span) -> Span:
    """X where the condition is not zero (NaN is not), y elsewhere."""
    yes = condition.nan or condition.low < 0 or condition.high > 0
    return join([x] * bool(yes) + [y] * bool(condition.zeros))


def power(form: Format, x: Span, y: Span) -> Span:
    """x ** y, by a power function or, for a constant, by multiplication, division and roots."""
    ways = [form.round(_power(x, y), ULPS)]
    if not y.point or y.nan or form is EXACT:
        return ways[0]
    one, size, exponent = number(1.0), abs(y.low), y.low
    if exponent == 0:
        return ways[0]
    if size in (1, 2, 3, 0.5):
        base = x
        for _ in range(int(size) - 1):
            base = form.round(multiply(base, x))
        base = form.round(root(x)) if size == 0.5 else base
        ways.append(base if exponent > 0 else form.round(divide(one, base)))
    return ways[1] if exponent == 1 else join(ways)


def _power(x: Span, y: Span) -> Span:
    results = []
    if y.zeros or (x.low <= 1 <= x.high and y.nan):
        results.append(number(1.0))  # even of NaN to the power 0, and of 1 to the power NaN
    nan = y.nan and not (x.point and x.low == 1 and not x.nan)
    nan |= x.nan and not (y.zeros and y.point and not y.nan)
    for a, b in product(_parts(x), _parts(y)):
        if b.kind == "zero":
            continue
        point = b.low == b.high and b.kind == "finite"
        whole = b.kind == "inf" or (point and mp.isint(b.low))
        signs = [1]
        if a.sign < 0 and not point and b.kind == "finite":
            signs = [1, -1]
        elif a.sign < 0 and point and whole and int(b.low) % 2:
            signs = [-1]
        nan |= a.sign < 0 and a.kind == "finite" and not whole
        if a.sign < 0 and a.kind == "finite" and point and not whole:
            continue
        corners = [_size(m, b.sign * e) for m in (a.low, a.high) for e in (b.low, b.high)]
        results += [_signed(sign, min(corners), max(corners)) for sign in signs]
    return _collect(nan, results)


def _size(base: Any, exponent: Any) -> Any:
    """Of a number that is not negative, and at the ends of infinite spans."""
    if base == 1 or exponent == 0:
        return ONE
    if base in (0, INF) or not mp.isfinite(exponent):
        return INF if (base > 1) == (exponent > 0) else ZERO
    if mp.isint(exponent) and abs(exponent) < 200:
        return base ** int(exponent)
    return _exp(exponent * mp.log(base))


def add_up(form: Format, spans: Sequence[Span], counts: Sequence[int]) -> Span:
    """The sum of the spans, each so many times, added in any order."""
    result, size = number(0.0), ZERO
    for span, count in zip(spans, counts, strict=True):
        result = add(result, Span(count * span.low, count * span.high, span.nan, span.zeros))
        size += 0 if span.empty else count * max(abs(span.low), abs(span.high))
    if result.empty:
        return NAN
    low, high, nan, many = result.low, result.high, result.nan, sum(counts)
    if form is not EXACT and many > 1 and not _adds_exactly(form, spans, size):
        off = 2 * form.unit * min(many - 1, SUMMANDS) * size
        if size < INF:
            low, high = low - off, high + off
            low = ZERO if low < 0 and all(s.low >= 0 for s in spans) else low
            high = ZERO if high > 0 and all(s.high <= 0 for s in spans) else high
        if size + off >= form.limit:  # on the way, in either direction
            signs = [any(s.low < 0 for s in spans), any(s.high > 0 for s in spans)]
            low, high = -INF if signs[0] else low, INF if signs[1] else high
            nan = nan or all(signs)
    return form.round(Span(low, high, nan, PLUS | MINUS if low <= 0 <= high else 0))


def _adds_exactly(form: Format, spans: Sequence[Span], size: Any) -> bool:
    """Whether no partial sum needs rounding: few bits, as of counts."""
    if not all(s.point and mp.isfinite(s.low) for s in spans):
        return False
    finest = min((s.low._mpf_[2] for s in spans if s.low), default=0)
    return size <= mp.ldexp(1, finest + form.bits)
