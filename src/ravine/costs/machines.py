"""How fast memory and matrix products are: of this machine, measured, and of some accelerators."""

from __future__ import annotations

import time
from collections.abc import Callable

from ravine.costs.account import Machine

__all__ = ["KNOWN", "measured"]

# What the makers say, of dense products in bfloat16, and of the links to other devices, in one direction:
# NVIDIA's data sheets of A100 80GB SXM, H100 SXM, H200 SXM and B200 (HGX), AMD's of Instinct MI300X. The link
# to the host is 16 lanes of PCIe, of the fourth generation for A100 and of the fifth for the others.
KNOWN = {
    "a100": Machine(2.039e12, 312e12, 300e9, 32e9),
    "h100": Machine(3.35e12, 989e12, 450e9, 64e9),
    "h200": Machine(4.8e12, 989e12, 450e9, 64e9),
    "b200": Machine(8.0e12, 2250e12, 900e9, 64e9),
    "mi300x": Machine(5.3e12, 1307e12, 448e9, 64e9),
}
"""Accelerators by name."""

_ELEMENTS, _SIDE, _TIMES = 1 << 24, 1024, 5


def measured() -> Machine:
    """This machine, on all of its cores: an addition that streams through memory, and a product of square
    matrices in float32, the best of five each. By torch where it is installed, otherwise by NumPy.
    """
    try:
        import torch

        a, b, c = (torch.ones(_ELEMENTS) for _ in range(3))
        x, y = torch.ones(_SIDE, _SIDE), torch.empty(_SIDE, _SIDE)
        stream = _seconds(lambda: torch.add(a, b, out=c))
        product = _seconds(lambda: torch.mm(x, x, out=y))
    except ImportError:
        import numpy as np

        d, e, f = (np.ones(_ELEMENTS, np.float32) for _ in range(3))
        z, w = np.ones((_SIDE, _SIDE), np.float32), np.empty((_SIDE, _SIDE), np.float32)
        stream = _seconds(lambda: np.add(d, e, out=f))
        product = _seconds(lambda: np.matmul(z, z, out=w))
    return Machine(3 * 4 * _ELEMENTS / stream, 2 * _SIDE**3 / product)


def _seconds(run: Callable[[], object]) -> float:
    run()
    found = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)
