"""Counter-based random numbers: each depends only on seed, step, tensor, stream and position.

    u = (k + 1/2) / 2**52 for a hash k of 52 bits;  normal: the quantile of the normal distribution at u

Integers are hashed, per tensor as in splitmix64 and per element as in murmur3. Everything else is sums,
products and quotients, which are rounded the same way everywhere, unlike torch's square roots and
logarithms. So NumPy, torch, plain numbers and the kernels (engines/llvm/draws.py) have the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = [
    "CENTRE",
    "CODES",
    "DRAWN",
    "HERON",
    "LOG",
    "MIXERS",
    "ROOT",
    "SPREAD",
    "STEP",
    "STREAMS",
    "TAIL",
    "WEIGHTS",
    "Draw",
    "code_bits",
    "normal",
    "uniform",
]

DRAWN = ("normal", "uniform")
"""The operations that draw."""


class Draw(NamedTuple):
    """What identifies the random numbers of a tensor's step: the seed, t, and the tensor's number."""

    seed: int = 0
    t: int = 1
    number: int = 0


# --- bits

SPREAD = 0x9E3779B97F4A7C15
STEP = 0xD1B54A32D192ED03
STREAMS = 0xA0761D6478BD642F  # keeps these bits apart from those of stochastic rounding
CODES = 0x8EBC6AF09C88C6E3  # and from both, the bits by which 8-bit codes are rounded
MIXERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
_WORD, _HALF = 2**64 - 1, 2**32 - 1


def _mixed(key: int) -> int:
    """64 bits mixed as in splitmix64."""
    for shift, multiplier in MIXERS:
        key = ((key ^ (key >> shift)) * multiplier) & _WORD
    return key


def _keys(draw: Draw, stream: int) -> list[int]:
    """The keys of a tensor's step: 64 bits for each half of the bits of its numbers."""
    return [_key(draw, STREAMS, 2 * stream + half) for half in (0, 1)]


def _key(draw: Draw, purpose: int, stream: int) -> int:
    seed, t, number = (int(x) for x in draw)
    noise = _mixed((seed * SPREAD + t * STEP) & _WORD)
    of_tensor = _mixed((noise ^ purpose) + number * SPREAD & _WORD)
    return _mixed((of_tensor + stream * SPREAD) & _WORD)


def code_bits(draw: Draw, pair: int, place: Any) -> Any:
    """32 bits for each place, to round a pair of codes by: murmur3's finalizer, once.

    place: whole numbers, in arrays of 64 bits.
    """
    key = _key(draw, CODES, pair)
    return _mix((place & _HALF) ^ (key & _HALF), (key >> 32) + (place >> 32))


def _bits(low: Any, high: Any, key: int) -> Any:
    """32 bits for each position, given in two halves: murmur3's finalizer, twice."""
    x = low ^ (key & _HALF)
    for added in (None, (key >> 32) + high):
        if added is not None:
            x = (x + added) & _HALF
        x = _mix(x)
    return x


def _mix(x: Any, within: Any = 0) -> Any:
    """Murmur3's finalizer. within: a key that is added on the way."""
    x = x ^ (x >> 16)
    x = (x * 0x85EBCA6B + within) & _HALF
    x = x ^ (x >> 13)
    x = (x * 0xC2B2AE35) & _HALF
    return x ^ (x >> 16)


# --- numbers

# Wichura, 1988 (Algorithm AS 241, PPND16): numerators and denominators, the constant terms first.
CENTRE = (
    (
        *(3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3),
        *(1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4),
        *(3.3430575583588128105e4, 2.5090809287301226727e3),
    ),
    (
        *(1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3),
        *(2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4),
        5.2264952788528545610e3,
    ),
)
"""For u within 0.425 of 1/2: in 0.425² - (u - 1/2)², times u - 1/2."""
TAIL = (
    (
        (
            *(1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550),
            *(3.64784832476320460504, 1.27045825245236838258, 2.41780725177450611770e-1),
            *(2.27238449892691845833e-2, 7.74545014278341407640e-4),
        ),
        (
            *(1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1),
            *(1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4),
            1.05075007164441684324e-9,
        ),
    ),
    (
        (
            *(6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580),
            *(2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3),
            *(2.71155556874348757815e-5, 2.01033439929228813265e-7),
        ),
        (
            *(1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1),
            *(1.48753612908506148525e-2, 7.86869131145613259100e-4, 1.84631831751005468180e-5),
            *(1.42151175831644588870e-7, 2.04426310338993978564e-15),
        ),
    ),
)
"""For all other u, in s - 1.6 or, if s > 5, in s - 5, where s is the square root of minus the logarithm of
the distance to the nearer end."""
LOG = (
    *(6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01),
    *(2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01),
    1.479819860511658591e-01,
)
"""(log((1 + x) / (1 - x)) / x - 2) / x² as a polynomial in x² (fdlibm's)."""
WEIGHTS = (6.93147180369123816490e-01, 1.90821492927058770002e-10)
"""The logarithm of 2, in two parts."""
ROOT, HERON = (1.4, 0.14), 4
"""A line near the square root, and the number of steps from there to the exact value."""


_BLOCK = 2**14  # elements computed at a time, so that they stay in the cache


def uniform(library: Any, x: Any, stream: int, draw: Draw) -> Any:
    """Numbers between 0 and 1 in the shape and dtype of x; one number for a number."""
    return _made(library, x, stream, draw, lambda do, u: u, 1 - 2**-24)


def normal(library: Any, x: Any, stream: int, draw: Draw) -> Any:
    """Numbers of mean 0 and variance 1 in the shape and dtype of x; one number for a number."""
    return _made(library, x, stream, draw, _quantile, math.inf)


def _made(
    library: Any, x: Any, stream: int, draw: Draw, of: Callable[[Any, Any], Any], most: float
) -> Any:
    keys = _keys(draw, stream)
    if library is None:
        return of(_Numbers, _share(0, keys))
    where = {"device": x.device} if library.__name__ == "torch" else {}
    size = math.prod(x.shape)
    block = _BLOCK if str(where.get("device", "cpu")) == "cpu" else size
    parts = []
    for start in range(0, max(size, 1), max(block, 1)):
        place = library.arange(start, min(start + block, size), dtype=library.int64, **where)
        numbers = of(library, _share(place, keys, lambda k: _cast(library, k, library.float64)))
        parts.append(_rounded(library, x, numbers, most))
    return (library.concatenate(parts) if len(parts) > 1 else parts[0]).reshape(tuple(x.shape))


def _share(place: Any, keys: Sequence[int], real: Callable[[Any], Any] = float) -> Any:
    """The numbers between 0 and 1 at these positions."""
    low, high = place & _HALF, place >> 32
    first, second = (real(_bits(low, high, key) >> 6) for key in keys)
    return (first * 2.0**26 + second + 0.5) * 2.0**-52


def _cast(library: Any, x: Any, dtype: Any) -> Any:
    return x.to(dtype) if library.__name__ == "torch" else x.astype(dtype)


def _rounded(library: Any, x: Any, numbers: Any, most: float) -> Any:
    """Convert to x's dtype; below float64, limit what rounding would take past the bound."""
    if x.dtype == library.float64:
        return numbers
    single = _cast(library, numbers, library.float32)
    if most < math.inf:
        single = library.where(single < most, single, library.full_like(single, most))
    return single if x.dtype == library.float32 else _cast(library, single, x.dtype)


class _Numbers:
    """The functions that a quantile needs, for Python's floats."""

    frexp = math.frexp

    @staticmethod
    def where(condition: bool, x: float, y: float) -> float:
        return x if condition else y


def _quantile(do: Any, u: Any) -> Any:
    """The quantile of the normal distribution: the number below which the share u lies."""
    q = u - 0.5
    r = 0.180625 - q * q
    centre = q * _ratio(CENTRE, r)
    left = q < 0.0
    s = _root(0.0 - _log(do, do.where(left, u, 1.0 - u)))
    far = do.where(s > 5.0, _ratio(TAIL[1], s - 5.0), _ratio(TAIL[0], s - 1.6))
    return do.where(r < 0.0, do.where(left, 0.0 - far, far), centre)


def _log(do: Any, x: Any) -> Any:
    """The natural logarithm of numbers between 0 and 1/2."""
    m, e = do.frexp(x)
    small = m < math.sqrt(0.5)
    m, e = do.where(small, m + m, m), m * 0.0 + do.where(small, e - 1, e)  # in float64
    f = m - 1.0
    s = f / (m + 1.0)
    z = s * s
    m = s * 2.0 + s * (z * _polynomial(LOG, z))
    return e * WEIGHTS[0] + (e * WEIGHTS[1] + m)


def _root(x: Any) -> Any:
    """The square root of numbers from 2.5 to 37 by Heron's method, starting within a tenth."""
    y = x * ROOT[1] + ROOT[0]
    for _ in range(HERON):
        y = (x / y + y) * 0.5
    return y


def _ratio(parts: tuple[tuple[float, ...], tuple[float, ...]], x: Any) -> Any:
    return _polynomial(parts[0], x) / _polynomial(parts[1], x)


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    *rest, result = coefficients
    for coefficient in reversed(rest):
        result = result * x + coefficient
    return result
