"""The reductions over elements: what each begins at, and how what is found so far takes in more.

The greatest and the least are NaN if an element is, whatever the order.
"""

from __future__ import annotations

import math

from ravine.engines.llvm.printer import Printer, Type

__all__ = ["across", "identity", "more"]

_STARTS = {"sum": 0.0, "greatest": -math.inf, "least": math.inf}
_BEYOND = {"greatest": "ogt", "least": "olt"}
_ACROSS = {"sum": "fadd", "greatest": "fmaximum", "least": "fminimum"}


def identity(op: str, kind: Type) -> str:
    """What the reduction gives of no elements."""
    return kind.constant(_STARTS[op])


def more(out: Printer, op: str, kind: Type, found: str, x: str) -> str:
    """The operation, as text, by which what is found so far takes x in."""
    if op == "sum":
        return f"fadd {kind} {found}, {x}"
    # In this order, since processors have it: one instruction, and two for NaN.
    beyond = out.set("beyond", f"fcmp {_BEYOND[op]} {kind} {x}, {found}")
    best = out.set("best", f"select {kind.like('i1')} {beyond}, {kind} {x}, {kind} {found}")
    isnan = out.set("isnan", f"fcmp uno {kind} {x}, {x}")
    return f"select {kind.like('i1')} {isnan}, {kind} {x}, {kind} {best}"


def across(out: Printer, op: str, kind: Type, x: str) -> str:
    """The operation, as text, that makes one number of a vector, from the first on."""
    function = f"@llvm.vector.reduce.{_ACROSS[op]}.{kind.suffix}"
    first = [("double", "0.0")] if op == "sum" else []
    arguments = [*first, (str(kind), x)]
    out.declared[f"declare double {function}({', '.join(k for k, _ in arguments)})"] = None
    return f"call double {function}({', '.join(f'{k} {a}' for k, a in arguments)})"
