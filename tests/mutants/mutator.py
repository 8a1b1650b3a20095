"""Wrong versions of a text, one slip each, by its syntax tree.

The slips are those that people make when they copy formulas: another operator, a constant that is off, a
term or a factor that is left out, a root or a correction that is missing, another variable, t − 1 for t,
statements that are missing, in another order or inside a loop, a result that is not stored.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Mutant", "mutants"]


@dataclass(frozen=True)
class Mutant:
    """A wrong version. kind: the slip; was, now: the expression or statement before and after it."""

    kind: str
    line: int
    was: str
    now: str
    text: str


_OTHER = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
}
_CALLS = {
    "maximum": "minimum",
    "minimum": "maximum",
    "addcmul_": "addcdiv_",
    "addcdiv_": "addcmul_",
}
_DROPPED = ("sqrt", "abs", "sign", "square")
_STEPS = ("update", "step")
_PAIRS = {
    "beta1": "beta2",
    "beta2": "beta1",
    "m": "v",
    "v": "m",
    "u": "v",
    "g": "p",
    "m_hat": "m",
    "v_hat": "v",
}
_PAIRS |= {
    "lr": "eps",
    "eps": "lr",
    "momentum": "lr",
    "alpha": "lr",
    "rho": "eps",
    "correction1": "correction2",
}
_PAIRS |= {"correction2": "correction1", "max_v": "v", "b": "g", "weight_decay": "lr", "delta": "g"}


def mutants(text: str) -> Iterator[Mutant]:
    """All wrong versions of a text that has one class, each text once."""
    tree = ast.parse(text)
    seen = {ast.unparse(tree)}
    method = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in _STEPS)
    places = [n for n in ast.walk(method) if n is not method]
    for place in places:
        for kind, change in (*_of_expressions(place), *_of_statements(place)):
            made = _changed(tree, place, change)
            if made is None:
                continue
            whole, was, now = made
            if whole not in seen:
                seen.add(whole)
                yield Mutant(kind, getattr(place, "lineno", 0), was, now, whole)


Change = Callable[[ast.AST], ast.AST | list[ast.stmt] | None]


def _changed(tree: ast.Module, place: ast.AST, change: Change) -> tuple[str, str, str] | None:
    """The whole text with a place changed, and the place before and after."""
    path = _path(tree, place)
    its = copy.deepcopy(tree)
    parent, old = its, its
    for name, i in path:
        parent = old
        value = getattr(old, name)
        old = value if i is None else value[i]
    was = ast.unparse(old)
    new = change(old)
    if new is None:
        return None
    name, i = path[-1]
    if i is None:
        setattr(parent, name, new)
    elif isinstance(new, list):
        getattr(parent, name)[i : i + 1] = new or (
            [ast.Pass()] if len(getattr(parent, name)) == 1 else []
        )
    else:
        getattr(parent, name)[i] = new
    ast.fix_missing_locations(its)
    now = "; ".join(ast.unparse(x) for x in new) if isinstance(new, list) else ast.unparse(new)
    try:
        whole = ast.unparse(its)
        compile(whole, "mutant", "exec")
    except (SyntaxError, ValueError):
        return None
    return whole, was, now


def _path(tree: ast.AST, place: ast.AST) -> list[tuple[str, int | None]]:
    """The fields that lead to a node."""
    for name, value in ast.iter_fields(tree):
        children = value if isinstance(value, list) else [value]
        for i, child in enumerate(children):
            if not isinstance(child, ast.AST):
                continue
            here = [(name, i if isinstance(value, list) else None)]
            if child is place:
                return here
            below = _path(child, place)
            if below:
                return here + below
    return []


# ---- in expressions ------------------------------------------------------------------------------


def _of_expressions(node: ast.AST) -> Iterator[tuple[str, Change]]:
    if isinstance(node, ast.BinOp):
        other = _OTHER.get(type(node.op))
        if other:
            yield "operator", lambda n: ast.BinOp(n.left, other(), n.right)
        yield "right operand dropped", lambda n: n.left
        yield "left operand dropped", lambda n: n.right
        if isinstance(node.op, (ast.Sub, ast.Div, ast.Pow)):
            yield "operands swapped", lambda n: ast.BinOp(n.right, n.op, n.left)
        if isinstance(node.op, ast.Add) and isinstance(node.right, ast.BinOp):
            yield "bracket", _bracket
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for kind, of in (
            ("constant + 1", lambda v: v + 1),
            ("constant − 1", lambda v: v - 1),
            ("constant doubled", lambda v: 2 * v),
            ("constant halved", lambda v: v / 2),
        ):
            yield kind, lambda n, of=of: ast.Constant(of(n.value))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign dropped", lambda n: n.operand
    elif isinstance(node, ast.Call):
        yield from _of_calls(node)
    elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        yield from _of_names(node)


def _bracket(n: ast.AST) -> ast.AST | None:
    """A + b·c becomes (a + b)·c."""
    inner = n.right
    if not isinstance(inner.op, (ast.Mult, ast.Div)):
        return None
    return ast.BinOp(ast.BinOp(n.left, n.op, inner.left), inner.op, inner.right)


def _of_calls(node: ast.Call) -> Iterator[tuple[str, Change]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in _CALLS:
        yield "call", lambda n: ast.Call(_renamed(n.func, _CALLS[name]), n.args, n.keywords)
    if name in _DROPPED:
        yield f"{name} missing", lambda n: n.args[0] if n.args else n.func.value
    if name in ("mul_", "add_", "addcmul_", "addcdiv_", "lerp_"):
        yield f"{name} dropped", lambda n: n.func.value
        yield "not in place", lambda n: ast.Call(_renamed(n.func, name[:-1]), n.args, n.keywords)
    for k in range(len(node.keywords)):
        if node.keywords[k].arg in ("alpha", "value"):
            yield (
                "keyword dropped",
                lambda n, k=k: ast.Call(n.func, n.args, n.keywords[:k] + n.keywords[k + 1 :]),
            )
            yield "sign turned", lambda n, k=k: _turned(n, k)
    if name == "maximum" and not node.keywords:
        yield "maximum dropped", lambda n: n.args[1]


def _turned(n: ast.Call, k: int) -> ast.AST:
    old = n.keywords[k]
    value = ast.UnaryOp(ast.USub(), old.value)
    return ast.Call(
        n.func, n.args, [*n.keywords[:k], ast.keyword(old.arg, value), *n.keywords[k + 1 :]]
    )


def _renamed(function: ast.Attribute, name: str) -> ast.Attribute:
    return ast.Attribute(function.value, name, function.ctx)


def _of_names(node: ast.Name | ast.Attribute | ast.Subscript) -> Iterator[tuple[str, Change]]:
    if not isinstance(node.ctx, ast.Load):
        return
    name = _called(node)
    if name in _PAIRS:
        yield "another variable", lambda n: _recalled(n, _PAIRS[name])
    if name in ("t", "step"):
        for kind, op in (("t − 1", ast.Sub()), ("t + 1", ast.Add())):
            yield kind, lambda n, op=op: ast.BinOp(n, op, ast.Constant(1))
    if name == "g":
        yield "sign of g", lambda n: ast.UnaryOp(ast.USub(), n)


def _called(node: ast.AST) -> str:
    """The name of a variable: v, self.v, self.v[i], state["v"], group["v"]."""
    if isinstance(node, ast.Name):
        return node.id
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    ):
        return node.attr
    if isinstance(node, ast.Subscript):
        key = node.slice
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            return key.value
    return ""


def _recalled(node: ast.AST, name: str) -> ast.AST:
    """The same variable's form with another name."""
    made = copy.deepcopy(node)
    if isinstance(made, ast.Name):
        made.id = name
    elif isinstance(made, ast.Attribute):
        made.attr = name
    else:
        made.slice = ast.Constant(name)
    return made


# ---- in statements -------------------------------------------------------------------------------


def _of_statements(node: ast.AST) -> Iterator[tuple[str, Change]]:
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)):
        yield "statement missing", lambda n: []
    if isinstance(node, ast.AugAssign):
        turned = {ast.Add: ast.Sub, ast.Sub: ast.Add}.get(type(node.op))
        if turned:
            yield "sign of the step", lambda n: ast.AugAssign(n.target, turned(), n.value)
        yield "assigned, not added", lambda n: ast.Assign([n.target], n.value)
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Attribute, ast.Subscript)):
        yield "not stored", lambda n: ast.Assign([ast.Name("unused", ast.Store())], n.value)
    if isinstance(node, (ast.For, ast.If, ast.FunctionDef)):
        for i in range(len(node.body) - 1):
            yield "order", lambda n, i=i: _swapped(n, i)
            if isinstance(node.body[i + 1], ast.For):
                yield "into the loop", lambda n, i=i: _inside(n, i)
    if isinstance(node, ast.If):
        yield "always", lambda n: n.body
        yield "never", lambda n: n.orelse


def _swapped(n: ast.AST, i: int) -> ast.AST:
    n.body[i], n.body[i + 1] = n.body[i + 1], n.body[i]
    return n


def _inside(n: ast.AST, i: int) -> ast.AST:
    n.body[i + 1].body.insert(0, n.body.pop(i))
    return n
