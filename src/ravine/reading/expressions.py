"""The notation of operations on expressions: the functions of ravine.ops, and choices."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ravine import ops
from ravine.reading.typesetting import Node, Symbol, Term

__all__ = ["FALSE", "TRUE", "cases", "infix", "negated", "number", "operation", "options", "varies"]

CALLED = {"maximum": "max", "greatest": "max", "minimum": "min", "least": "min"}
# What is set as a power of a matrix, and its arguments.
POWERS = {
    "inverse_root": ("a", "order", "eps"),
    "solve_triangular": ("a", "b", "lower", "transposed"),
}
TOP = Term("top", ())
TRUE, FALSE = Term("flag", ("True",)), Term("flag", ("False",))
REDUCTIONS = ("sum", "mean", "greatest", "least", "norm", "rms")
COMPARISONS = "=≠<≤>≥"
SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "mod": "%"}
SIGNS |= {"lt": "<", "le": "≤", "gt": ">", "ge": "≥", "eq": "=", "ne": "≠"}
SHAPED = (
    "size",
    "numel",
    "epsilon",
    "ndim",
    "normal",
    "uniform",
)  # of p, only shape and dtype matter
SHAPES = ("size", "numel", "epsilon", "ndim")  # what they say of p is the same at every step


def operation(
    name: str,
    args: Sequence[Node],
    more: Mapping[str, Node] | None = None,
    function: Any = None,
) -> Node:
    """An operation of ravine.ops, or another function, on expressions; more: its keywords."""
    args = [*args]
    more = dict(more or {})
    if name in SIGNS and len(args) == 2:
        return infix(SIGNS[name], args[0], args[1])
    if name in SHAPED and args and isinstance(args[0], Symbol) and args[0].name in ("theta", "g"):
        args[0] = replace(args[0], stamp="", primes=0)
    if name in REDUCTIONS and len(args) == 2:
        args, more = args[:1], {"axis": args[1], **more}
    known = _parameters(name, function)
    while args and args[-1] in (TRUE, FALSE) and len(args) <= len(known):
        flag = args.pop()  # is shown by its name, where it is not as by default
        if (flag == TRUE) is not known[len(args)].default:
            more = {known[len(args)].name: flag, **more}
    match name, args if not more else None:
        case "where", (condition, value, otherwise):
            return cases(condition, value, otherwise)
        case "neg" | "sqrt" | "abs" | "norm" | "floor", (_,):
            return Term(name, tuple(args))
        case "matmul", (_, _):
            return Term("@", tuple(args))
        case "transpose", (x,):
            return Term("**", (x, TOP))
    given = dict(zip(POWERS.get(name, ()), args, strict=False)) | more
    match name, given:
        case "inverse_root", {"a": a, "order": order}:
            if "eps" in given:
                a = Term("+", (a, infix("*", given["eps"], Symbol("I"))))
            return Term("**", (a, Term("neg", (infix("/", number(1), order),))))
        case "solve_triangular", {"a": a, "b": b}:
            turned = given.get("transposed", FALSE)
            if turned in (TRUE, FALSE):
                power = TOP if turned == TRUE else number(1)
                return Term("@", (Term("**", (a, Term("neg", (power,)))), b))
    pairs = (Term("=", (Symbol(key), value)) for key, value in more.items())
    return Term("call", (CALLED.get(name, name), *args, *pairs))


def options(name: str) -> set[str | None]:
    """The names of an operation's arguments, which are unknown for other functions."""
    return {x.name for x in _parameters(name.strip("_"))}


def _parameters(name: str, function: Any = None) -> list[inspect.Parameter]:
    """The parameters of an operation of ravine.ops, or of another function, where it is known."""
    function = getattr(ops, name, function)
    known = inspect.isfunction(function)
    return [*inspect.signature(function).parameters.values()] if known else []


def number(value: complex) -> Node:
    """A number, powers of ten as such."""
    text, _, exponent = repr(value).removesuffix(".0").partition("e")
    if round_ := re.fullmatch("(.*[1-9])(0{5,})", text):
        text, exponent = round_[1], f"{len(round_[2])}"
    mantissa = Symbol("infty") if text == "inf" else Term("number", (text,))
    if not exponent:
        return mantissa
    size = Term("number", (exponent.lstrip("+-0"),))
    power = Term("**", (number(10), Term("neg", (size,)) if "-" in exponent else size))
    return power if text == "1" else Term("*", (mantissa, power))


def infix(kind: str, left: Node, right: Node) -> Node:
    """An infix operator between two expressions."""
    if kind == "*" and all(isinstance(x, Term) and x.kind in COMPARISONS for x in (left, right)):
        return Term("and", (left, right))
    match left:
        case Term("neg", (x,)) if kind in "*/":  # −a b reads better than (−a) b
            return Term("neg", (Term(kind, (x, right)),))
    return Term(kind, (left, right))


def cases(condition: Node, value: Node, otherwise: Node) -> Term:
    """One of two values; cases in the place of the other are joined.

    Within a value, what the same condition decides is decided.
    """
    value, otherwise = _decided(value, condition, 0), _decided(otherwise, condition, 2)
    match otherwise:
        case Term("cases", rows):
            return Term("cases", (value, condition, *rows))
    return Term("cases", (value, condition, otherwise))


def _decided(node: Node, condition: Node, place: int) -> Any:
    """An expression in which the cases of that condition are the value in that place."""
    if not isinstance(node, Term):
        return node
    if node.kind == "cases" and len(node.args) == 3 and node.args[1] == condition:
        return _decided(node.args[place], condition, place)
    return Term(node.kind, tuple(_decided(x, condition, place) for x in node.args))


def negated(condition: Node) -> Node:
    """The opposite of a condition."""
    match condition:
        case Term("not", (inner,)):
            return inner
        case Term("=" | "≠" as sign, operands):
            return Term("≠" if sign == "=" else "=", operands)
        case Term("given" | "missing" as kind, operands):
            return Term("missing" if kind == "given" else "given", operands)
    return Term("not", (condition,))


def varies(node: Any) -> bool:
    """Whether an expression may differ from step to step."""
    if isinstance(node, Symbol):
        return bool(node.stamp) or node.name == "t"
    if isinstance(node, Term) and node.args and node.args[0] in SHAPES:
        return False
    return isinstance(node, Term) and (node.kind == "verbatim" or any(map(varies, node.args)))
