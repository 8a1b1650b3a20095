"""How a kernel is printed for columns of given dtypes: in which arithmetic, and how wide.

Elements are computed in float64 if any column (p, g or a slot) is float64, in float32 otherwise;
reductions and scalars in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

from ravine.draws import DRAWN
from ravine.engines.kernel import COLUMN, DTYPES, Kernel
from ravine.engines.narrow import FORMATS
from ravine.engines.passes import passes

__all__ = ["Variant"]

# Operations that are slow compared with a load or a store.
_SLOW = ("div", "sqrt", "exp", "log", "pow", "mod", "tanh", "atan2", *DRAWN)


@dataclass
class Variant:
    """The kernel for columns of given dtypes.

    vector_bytes: the width of the machine's vector registers. stochastic: columns narrower than
    the arithmetic are rounded up or down with the probability that keeps their mean, instead of to
    the nearest even. paired: whether pairs of bfloat16 may be loaded and stored as 32 bits, as on
    little-endian machines; afterwards, whether they are (see Columns).

    of: the type of the arithmetic. dtype: of each column. codes: the columns in 8 bits. passes: the walks
    over the elements. width: how many elements are computed at a time.
    """

    kernel: Kernel
    dtypes: tuple[str, ...]
    vector_bytes: int = 16
    stochastic: bool = False
    paired: bool = False

    def __post_init__(self) -> None:
        self.of = "double" if "float64" in self.dtypes else "float"
        self.dtype = dict(zip(self.kernel.columns, self.dtypes, strict=True))
        self.codes = [c for c in self.kernel.arrays if self.dtype[c] in FORMATS]
        self.passes = passes(self.kernel, self.dtypes)
        # Two registers of numbers at a time; if there is little to compute, short loads and
        # stores stream through memory better (sgd: a seventh faster, on a processor with AVX-512).
        size = 8 if self.of == "double" else 4
        light = not any(v.op in _SLOW for walk in self.passes for v in walk.values)
        light = light and all(DTYPES[d] == size for d in self.dtypes)
        # The ends of rows are stepped one by one, and rows are short: one register at a time.
        registers = 1 if self.kernel.by_lines else 2
        most = min(2 * self.vector_bytes, 32) if light else registers * self.vector_bytes
        self.width = most // size
        halves = all(dtype == "bfloat16" for dtype in self.dtypes)
        self.paired = self.paired and halves and not self.kernel.has_lines

    @property
    def noisy(self) -> bool:
        """Whether it uses random bits."""
        return self.stochastic or self.kernel.draws or bool(self.codes)

    @property
    def partials(self) -> int:
        """The maximum number of partial sums that a chunk writes."""
        return max((len(walk.sums) for walk in self.passes), default=0)

    @property
    def column_parts(self) -> int:
        """The maximum number of values that a chunk writes for each column."""
        several = ([v for v in walk.lines if v.level == COLUMN] for walk in self.passes)
        return max(map(len, several), default=0)
