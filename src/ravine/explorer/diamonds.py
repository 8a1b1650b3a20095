"""A few rows of the diamonds, on which the explorer fits a line."""

from __future__ import annotations

from functools import cache

import numpy as np

from ravine.data import diamonds

__all__ = ["ROWS", "rows"]

ROWS = 160
"""The number of rows in the page, all of which are summed at each step."""


@cache
def rows() -> dict[str, list[float]]:
    """Weight in carat and price in dollars of some diamonds, and their means and standard deviations.

    Rows at equal distances in order of weight, so that the sample has the shape of the whole.
    """
    table = diamonds()
    order = np.lexsort((table["price"], table["carat"]))
    chosen = order[np.linspace(0, len(order) - 1, ROWS).astype(int)]
    return {name: table[name][chosen].tolist() for name in ("carat", "price")}
