"""A random rule as a value: expression trees, from which its source and its meaning both follow."""

from __future__ import annotations

import ast
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ravine
from ravine import ops
from ravine.rule import Rule

CONSTANT, STEP, TENSOR, ELEMENT = -1, 0, 1, 2
"""What a value may differ by: by nothing, from step to step, from tensor to tensor, by element."""

OPERATORS = {"add": ast.Add, "sub": ast.Sub, "mul": ast.Mult, "div": ast.Div}
OPERATORS |= {"mod": ast.Mod, "pow": ast.Pow}
COMPARISONS = {"lt": ast.Lt, "le": ast.LtE, "gt": ast.Gt, "ge": ast.GtE}
COMPARISONS |= {"eq": ast.Eq, "ne": ast.NotEq}
FUNCTIONS = {"sqrt": 1, "abs": 1, "sign": 1, "exp": 1, "log": 1, "maximum": 2, "minimum": 2}
FUNCTIONS |= {"clip": 3, "where": 3, "tanh": 1, "atan2": 2, "floor": 1, "round": 1}
REDUCTIONS = ("sum", "mean", "greatest", "least", "norm", "rms", "total")

# What intermediate values are called; some of these names are used by the printers themselves.
_NAMES = ("u", "d", "row", "s1", "chunk", "x1", "r1", "entry", "total0", "at", "numel", "tensor")


@dataclass(frozen=True, eq=False)
class Node:
    """An operation on nodes, or a leaf; nodes may be shared.

    op: one of the tables above, "neg", "if", "input" or "constant". value: an input's name, a
    constant's number, the switch of an "if". reduced: whether it depends on a reduction or an
    array, so that an engine may compute it in the arrays' precision. array: whether it is an array
    for certain: `where(t == 1, 0.5, g)` is one at some steps.
    """

    op: str
    args: tuple[Node, ...]
    value: Any
    level: int
    reduced: bool
    array: bool


def leaf(name: str, level: int) -> Node:
    """An input of the rule: p, g, a slot, t or a hyperparameter."""
    return Node("input", (), name, level, level == ELEMENT, level == ELEMENT)


def constant(number: float) -> Node:
    """A number as written in the source."""
    return Node("constant", (), number, CONSTANT, False, False)


def node(op: str, *args: Node, value: Any = None) -> Node:
    """An operation; value: the switch of an "if"."""
    over = op in REDUCTIONS
    level = TENSOR if over else max(x.level for x in args)
    array = not over and any(x.array for x in args)
    if op == "if" or (op == "where" and not args[0].array):
        array = all(x.array for x in args[-2:])
    return Node(op, args, value, level, over or any(x.reduced for x in args), array)


def walk(roots: Iterable[Node]) -> list[Node]:
    """The roots and all that they depend on, each once and after its arguments."""
    seen: dict[Node, None] = {}

    def visit(at: Node) -> None:
        if at not in seen:
            for x in at.args:
                visit(x)
            seen[at] = None

    for root in roots:
        visit(root)
    return list(seen)


@dataclass(frozen=True, eq=False)
class RandomRule:
    """A rule that was drawn.

    slots: the declaration of each, as source: "zeros", "like_p", "filled(0.25)", 'scalar("h0")'.
    hyper: the defaults. outputs: the new p and the new value of each slot.
    """

    slots: Mapping[str, str]
    hyper: Mapping[str, float | bool]
    outputs: Mapping[str, Node]

    @cached_property
    def nodes(self) -> list[Node]:
        """All that the outputs depend on."""
        return walk(self.outputs.values())

    def uses(self, *ops: str) -> bool:
        """Whether one of the operations occurs."""
        return any(n.op in ops for n in self.nodes)

    @property
    def takes_t(self) -> bool:
        """Whether it asks for the number of the step."""
        return any(n.op == "input" and n.value == "t" for n in self.nodes)

    def is_scalar(self, slot: str) -> bool:
        """Whether the slot is one number for each tensor."""
        return self.slots[slot].startswith("scalar")

    @cached_property
    def source(self) -> str:
        """The rule as a user would write it, with its decorator."""
        arguments = ["p", "g", *self.slots, *["t"] * self.takes_t]
        keyword = [f"{k}={v!r}" for k, v in self.hyper.items()]
        star = ["*", *keyword] if keyword else []
        declared = [f"{k}={v}" for k, v in self.slots.items() if v != "zeros"]
        decorator = f"@rule({', '.join(declared)})" if declared else "@rule"
        body = [f"    {line}" for line in self._statements()]
        return "\n".join([decorator, f"def found({', '.join(arguments + star)}):", *body, ""])

    def _statements(self) -> Iterator[str]:
        uses = Counter(x for n in self.nodes for x in n.args)
        uses.update(self.outputs.values())
        names = itertools.chain(_NAMES, (f"w{i}" for i in itertools.count()))
        said: dict[Node, ast.expr] = {}
        for n in self.nodes:
            said[n] = _expression(n, [said[x] for x in n.args])
            if n.args and uses[n] > 1:
                name = next(names)
                yield f"{name} = {ast.unparse(said[n])}"
                said[n] = ast.Name(name)
        yield "return " + ", ".join(ast.unparse(said[n]) for n in self.outputs.values())

    @cached_property
    def made(self) -> Rule:
        """The rule itself."""
        names = ("rule", "like_p", "scalar", "filled")
        space: dict[str, Any] = {name: getattr(ravine, name) for name in names}
        space |= {name: getattr(ops, name) for name in ops.__all__}
        exec(compile(self.source, "<random rule>", "exec"), space)
        return space["found"]


def _expression(n: Node, args: list[ast.expr]) -> ast.expr:
    """The node as Python's syntax tree, which knows where parentheses belong."""
    if n.op == "input":
        return ast.Name(n.value)
    if n.op == "constant":
        number = ast.Constant(abs(n.value))
        return ast.UnaryOp(ast.USub(), number) if repr(n.value).startswith("-") else number
    if n.op in OPERATORS:
        return ast.BinOp(args[0], OPERATORS[n.op](), args[1])
    if n.op in COMPARISONS:
        return ast.Compare(args[0], [COMPARISONS[n.op]()], [args[1]])
    if n.op == "neg":
        return ast.UnaryOp(ast.USub(), args[0])
    if n.op == "if":
        return ast.IfExp(ast.Name(n.value), *args)
    return ast.Call(ast.Name(n.op), args, [])
