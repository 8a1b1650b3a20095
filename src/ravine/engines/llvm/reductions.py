"""The reductions over elements: the initial value of each, and how it accumulates.

The greatest and the least are NaN if an element is, whatever the order.
"""

from __future__ import annotations

import math

from ravine.engines.llvm.printer import Printer, Type

__all__ = ["across", "identity", "more"]

_STARTS = {"sum": 0.0, "greatest": -math.inf, "least": math.inf}
_BEYOND = {"greatest": "ogt", "least": "olt"}


def identity(op: str, kind: Type) -> str:
    """The result of the reduction for no elements."""
    return kind.constant(_STARTS[op])


def more(out: Printer, op: str, kind: Type, found: str, x: str) -> str:
    """The operation, as text, that accumulates x."""
    if op == "sum":
        return f"fadd {kind} {found}, {x}"
    # In this order, since processors have it: one instruction, and two for NaN.
    beyond = out.set("beyond", f"fcmp {_BEYOND[op]} {kind} {x}, {found}")
    best = out.set("best", f"select {kind.like('i1')} {beyond}, {kind} {x}, {kind} {found}")
    isnan = out.set("isnan", f"fcmp uno {kind} {x}, {x}")
    return f"select {kind.like('i1')} {isnan}, {kind} {x}, {kind} {best}"


def across(out: Printer, op: str, kind: Type, x: str) -> str:
    """Reduce a vector to one number, by combining its halves repeatedly."""
    while kind.width > 2:
        half = Type(kind.of, kind.width // 2)
        parts = []
        for first in (0, half.width):
            lanes = ", ".join(f"i32 {first + n}" for n in range(half.width))
            lanes = f"<{half.width} x i32> <{lanes}>"
            parts.append(out.set("half", f"shufflevector {kind} {x}, {kind} poison, {lanes}"))
        x, kind = out.set("whole", more(out, op, half, *parts)), half
    if kind.width == 1:
        return x
    one, other = (out.set("lane", f"extractelement {kind} {x}, i64 {n}") for n in (0, 1))
    return out.set("whole", more(out, op, Type(kind.of), one, other))
