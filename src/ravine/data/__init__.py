"""Data sets that come with Ravine, each with its licence."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIAMONDS_DECIMALS", "DIAMONDS_LEVELS", "diamonds", "digest"]

DIAMONDS_DECIMALS = {"carat": 2, "depth": 1, "table": 1, "price": 0, "x": 2, "y": 2, "z": 2}
"""The numeric columns of the diamonds, and how many decimal places they are given to."""

DIAMONDS_LEVELS = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("D", "E", "F", "G", "H", "I", "J"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}
"""The ordered categories of the diamonds: cut and clarity from worst to best, color from best."""


def diamonds() -> dict[str, NDArray[Any]]:
    """Return the columns of 53,940 diamonds by name, in the source's order of columns and rows.

    carat (weight, 0.2 g), cut, color, clarity (strings, ordered as in ``DIAMONDS_LEVELS``), depth
    (total depth, % of the mean diameter), table (width of the top, % of the widest point), price
    (US dollars, int64), x, y, z (length, width, depth in mm; some are 0, that is unknown). The
    floats are those of the source, to the last bit. The arrays are new at each call.

    Source: the PyPI package plotnine (scripts/make_diamonds.py); the licence is next to this file.
    """
    with files("ravine.data").joinpath("diamonds.npz").open("rb") as file, np.load(file) as stored:
        return {name: _column(name, stored[name]) for name in stored.files}


def _column(name: str, stored: NDArray[Any]) -> NDArray[Any]:
    if name in DIAMONDS_LEVELS:
        return np.array(DIAMONDS_LEVELS[name])[stored]
    decimals = DIAMONDS_DECIMALS[name]
    return stored / 10**decimals if decimals else stored.astype(np.int64)


@cache
def digest(name: str) -> str:
    """Return the digest of a file of this package, such as "diamonds.npz": of the data in it."""
    return hashlib.sha256(files("ravine.data").joinpath(name).read_bytes()).hexdigest()[:32]
