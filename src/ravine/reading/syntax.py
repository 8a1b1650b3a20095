"""What a function's syntax tree alone shows: operators, notes for readers, tuples, returns."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Sequence

__all__ = ["COMPARED", "OPERATORS", "by_turns", "notes", "paired", "returns", "tuples"]

OPERATORS: dict[type[ast.AST], str] = {
    **{ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.Mod: "%"},
    **{ast.MatMult: "@", ast.BitAnd: "and", ast.BitOr: "or", ast.And: "and", ast.Or: "or"},
    **{ast.Eq: "=", ast.NotEq: "≠", ast.Is: "=", ast.IsNot: "≠"},
    **{ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥"},
}
_TO_TOOLS = re.compile(r"noqa|type:|fmt:|pragma|pylint|ruff")  # comments not meant for readers


COMPARED = {ast.Eq: "__eq__", ast.NotEq: "__ne__", ast.Lt: "__lt__", ast.LtE: "__le__"}
COMPARED |= {ast.Gt: "__gt__", ast.GtE: "__ge__"}


def notes(source: str) -> dict[int, str]:
    """The comments in a source that are meant for readers, by their lines."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    return {at: " ".join(n.split()) for at, n in found.items() if not _TO_TOOLS.match(n)}


def paired(each: ast.comprehension) -> list[tuple[str, str]]:
    """The names that a comprehension gives to parts, each with the tuple's that it is of."""
    targets: Sequence[ast.expr] = [each.target]
    wholes: Sequence[ast.expr] = [each.iter]
    match each.target, each.iter:
        case ast.Tuple(names), ast.Call(ast.Name("zip"), arguments):
            targets, wholes = names, arguments
    found = [x.id for x in (*targets, *wholes) if isinstance(x, ast.Name)]
    if each.ifs or len(targets) != len(wholes) or len(found) != 2 * len(targets):
        return []
    return list(zip(found, found[len(targets) :], strict=False))


def tuples(function: ast.FunctionDef) -> set[str]:
    """The names of tuples: those that comprehensions go through, and make."""
    options = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    found = {a.arg for a, default in options if isinstance(default, ast.Tuple)}
    for node in ast.walk(function):
        match node:
            case ast.comprehension():
                found |= {whole for _, whole in paired(node)}
            case ast.Assign(
                [ast.Name(name)],
                ast.Call(ast.Name("tuple" | "list"), [ast.GeneratorExp()]) | ast.ListComp(),
            ):
                found.add(name)
    return found


def by_turns(parts: Sequence[ast.expr], values: Sequence[ast.expr]) -> bool:
    """Whether `(a, b), c = f(x), y` equals separate assignments: none reads a name assigned before it."""
    if len(parts) != len(values) or any(isinstance(x, ast.Starred) for x in (*parts, *values)):
        return False
    names = [
        {x.id for x in ast.walk(node) if isinstance(x, ast.Name)} for node in (*parts, *values)
    ]
    given, read = names[: len(parts)], names[len(parts) :]
    return not any(given[i] & read[j] for j in range(len(read)) for i in range(j))


def returns(statement: ast.stmt) -> bool:
    """Whether the function ends with this statement, or in one branch of it."""
    match statement:
        case ast.Return() | ast.If(_, [*_, ast.Return()], _) | ast.If(_, _, [*_, ast.Return()]):
            return True
    return False
