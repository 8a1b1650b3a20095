"""Kernels as Triton text: printed (printer.py), and launched (launching.py)."""

from ravine.engines.devices import Place, Unavailable
from ravine.extras import without

__all__ = ["engine"]


def engine(place: Place) -> object:
    """The engine of a device. Raises Unavailable if there is none."""
    try:
        from ravine.engines.triton.launching import Triton
    except ImportError as error:
        raise Unavailable(without("triton", error)) from None
    return Triton(place)
