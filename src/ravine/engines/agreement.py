"""How far two engines' results may differ if they add up sums in different orders, and whether they do not.

The bound is that of rounding errors. A sum of n terms may be off by n units of float64, each half of the last
place: if its terms have random signs, errors accumulate to about sqrt(n) units of their sizes, and the sum is
smaller than these sizes by as much. Each operation on elements adds a unit of the arithmetic. All this is
relative to the largest element of the column, since close numbers may have been subtracted. Storing a number
that differs at all may round it to the next one of its dtype; in 8 bits, to the next code.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ravine.engines.kernel import DTYPES, Kernel
from ravine.engines.narrow import BLOCK, FORMATS

__all__ = ["FORMATS_OF", "agree", "bound"]

FORMATS_OF = {"float64": "d", "float32": "f", "float16": "e", "bfloat16": "H"}
"""How struct writes the numbers of a dtype; bfloat16 by their bits."""

_UNITS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_SMALLEST = {"float16": 2.0**-24}  # its denormals are not that rare
_FEW = 100  # one code in so many may be the next one


def bound(kernel: Kernel, dtypes: Sequence[str], terms: int, steps: int) -> float:
    """How much of a column's largest element the elements may be off before they are stored.

    terms: of the longest sum. steps: that have been taken.
    """
    unit = _UNITS["float64" if "float64" in dtypes else "float32"]
    return steps * (terms * _UNITS["float64"] + len(kernel.needed) * unit)


def agree(dtype: str, x: bytes, y: bytes, off: float | None) -> bool:
    """Whether columns, or slots of one number, are equal: if off is None, in all bits except those of NaN;
    otherwise as nearly as :func:`bound` says.
    """
    if x == y:
        return True
    if dtype in FORMATS:
        return off is not None and _codes_agree(x, y)
    mine, its = _numbers(dtype, x), _numbers(dtype, y)
    if off is None:
        return all(map(_equal, mine, its))
    sizes = [abs(a) for a in its if math.isfinite(a)]
    least = off * max(sizes, default=0.0) + _SMALLEST.get(dtype, 0.0)

    def near(a: float, b: float) -> bool:
        limit = least + 2 * _UNITS[dtype] * min(abs(a), abs(b))
        return a == b or _equal(a, b) or (math.isfinite(a - b) and abs(a - b) <= limit)

    return all(map(near, mine, its))


def _equal(a: float, b: float) -> bool:
    """Whether all bits are equal, or both are NaN."""
    return struct.pack("d", a) == struct.pack("d", b) or (a != a and b != b)


def _numbers(dtype: str, content: bytes) -> Sequence[float]:
    found = struct.unpack(f"{len(content) // DTYPES[dtype]}{FORMATS_OF[dtype]}", content)
    if dtype == "bfloat16":
        return [struct.unpack("f", struct.pack("I", x << 16))[0] for x in found]
    return found


def _codes_agree(x: bytes, y: bytes) -> bool:
    """Whether scales are equal and few codes the next ones."""
    scales = len(x) - len(x) // (BLOCK + 4) * 4
    if x[scales:] != y[scales:]:
        return False
    apart = [abs(a - b) for a, b in zip(x[:scales], y[:scales], strict=True) if a != b]
    return {*apart} <= {1} and len(apart) <= 1 + scales // _FEW
