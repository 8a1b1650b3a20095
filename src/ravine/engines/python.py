"""Prints a graph as Python: the readable form of a kernel, and the update in fast loops.

Values that depend only on scalars come first, once per step; the rest is computed for every element.
A value that has a name in the rule's source keeps it.
"""

from __future__ import annotations

import keyword
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ravine import ops
from ravine.arrays import ALONG, KEPT
from ravine.engines.graph import ELEMENT, REDUCTIONS, STEP, TENSOR, Graph, Node
from ravine.engines.tracing import trace
from ravine.rule import Rule, RuleError

__all__ = ["ScalarUpdate", "equations", "expressions", "kernel_source", "scalar_update"]

_INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2), "mod": ("%", 2)}
_INFIX |= {"pow": ("**", 4), "matmul": ("@", 2)}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_HEADINGS = {
    STEP: "once per step: scalars, in float64",
    TENSOR: "once per tensor",
    ELEMENT: "for every element",
}


class _Printer:
    """Statements for the outputs of a graph, each shared or named value assigned once."""

    def __init__(self, graph: Graph, outputs: dict[str, Node], scalar: bool = False):
        self.scalar = scalar  # one element: a reduction is its argument, where(c, x, y) an `if`
        self.names = graph.names
        self.text: dict[int, str] = {}
        leaves = [n for n in graph.nodes if not n.args and n.op != "constant"]
        self.given = {n.value for n in leaves}
        self.taken = self.given | {*ops.__all__, *keyword.kwlist, "float", "float64", "ops"}
        self.inputs = {n.value: n.index for n in leaves if n.op in ("input", "scalar")}
        nodes = [n for n in graph.needed(outputs.values()) if n.args]
        # Python's numbers may raise here, or become complex; NumPy's do not.
        self.risky = scalar and any(n.op in ("div", "pow", "mod") for n in nodes)
        # Scalars first: nothing on the step level depends on a higher one.
        nodes.sort(key=lambda n: (n.level != STEP, n.index))
        uses = Counter(a.index for n in nodes for a in n.args)
        wanted = {n.index for n in outputs.values()}
        hoisted = {a.index for n in nodes for a in n.args if a.level < n.level}
        self.statements_of = [
            n
            for n in nodes
            if n.index in self.names or uses[n.index] > 1 or n.index in wanted | hoisted
        ]
        # A comparison is a number, 1 or 0, unless it is used only as a condition.
        asked = {n.args[0].index for n in nodes if n.op == "where"}
        counted = {a.index for n in nodes for a in n.args[n.op == "where" :]} | wanted
        self.conditions = asked - counted
        self.last_read = self._last_reads(outputs)

    def _last_reads(self, outputs: dict[str, Node]) -> dict[int, int]:
        """For each input, the last statement that reads it; the outputs count as another statement."""
        assigned = {n.index for n in self.statements_of}
        last: dict[int, int] = {}
        for place, root in enumerate([*self.statements_of, *outputs.values()]):
            stack = list(root.args) if place < len(self.statements_of) else [root]
            while stack:
                node = stack.pop()
                if node.index not in assigned:
                    last[node.index] = place
                    stack.extend(node.args)
        return last

    def statements(self) -> Iterable[tuple[int, str, str]]:
        """(level, target, expression) in order."""
        unnamed: Counter[int] = Counter()
        for place, node in enumerate(self.statements_of):
            name = self.names.get(node.index)
            if name is None:
                unnamed[node.level] += 1
                name = f"{'srx'[node.level]}{unnamed[node.level]}"
            expression = self.expression(node)[0]
            self.text[node.index] = self._free(name, place)
            yield node.level, self.text[node.index], expression

    def _free(self, name: str, place: int) -> str:
        """The name, with an underscore if its present value is still read later."""
        if name in self.inputs and self.last_read.get(self.inputs[name], -1) <= place:
            del self.inputs[name]  # the new value takes the old one's name
            return name
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def function(self, name: str) -> str:
        """The name by which a function is called, since a slot or hyperparameter may have its usual name."""
        return f"ops.{name}" if name in self.given else name

    def expression(self, node: Node) -> tuple[str, int]:
        """The node as text, and how tightly it binds."""
        if node.index in self.text:
            return self.text[node.index], 9
        if node.op == "constant":
            text = (
                repr(node.value)
                if abs(node.value) != float("inf") and node.value == node.value
                else ""
            )
            return text or f"float('{node.value}')", 3 if text.startswith("-") else 9
        if not node.args:
            return node.value, 9
        args = [self.expression(a) for a in node.args]
        if node.op == "pow" and node.args[1].value == 0.5:  # which is the square root, also of -0.0
            return f"{self.function('sqrt')}({args[0][0]})", 9
        if node.op in _INFIX:
            sign, level = _INFIX[node.op]
            left = level + 1 if node.op == "pow" else level
            right = level if node.op == "pow" else level + 1
            gap = "" if node.op == "pow" else " "
            if node.op == "pow" and self.scalar and node.args[1].op == "constant":
                # Numba's powers by a whole number raise at zero.
                exponent = node.args[1].value
                args[1] = (repr(float(exponent)), 3) if exponent < 0 else args[1]
            text = f"{_within(args[0], left)}{gap}{sign}{gap}{_within(args[1], right)}"
            if node.op == "pow" and self.scalar and node.args[1].op != "constant":
                return self._where(
                    f"{_within(args[1], 1)} == 0.5", f"{self.function('sqrt')}({args[0][0]})", text
                )
            return text, level
        if node.op == "neg":
            return f"-{_within(args[0], 3)}", 3
        if node.op in _COMPARE:
            text = f"{_within(args[0], 1)} {_COMPARE[node.op]} {_within(args[1], 1)}"
            if node.index in self.conditions:
                return text, 0
            return (f"1.0 * ({text})", 2) if self.scalar else self._where(text, "1.0", "0.0")
        if node.op == "where":
            if self.risky:
                pairs = zip(node.args, args, strict=True)
                args = [
                    (f"{self.function('float64')}({x[0]})", 9) if a.op == "constant" else x
                    for a, x in pairs
                ]
            condition, yes, no = (_within(x, 0) for x in args)
            if node.args[0].index not in self.conditions:
                condition = f"{_within(args[0], 1)} != 0"
            return self._where(condition, yes, no)
        if node.op in (*REDUCTIONS, *KEPT) and self.scalar:
            return args[0]
        if node.op == "stored" and self.scalar:
            return args[0]
        if node.op == "epsilon" and self.scalar:
            return repr(ops.epsilon(1.0)), 9
        if node.op == "numel":
            return ("1" if self.scalar else f"{self.function('size')}({args[0][0]})"), 9
        if node.op == "item":
            return f"{args[0][0]}[{args[1][0]}]", 9
        for how, reductions in (("axis", ALONG), ("keep", KEPT)):
            if node.op in reductions:
                return f"{self.function(reductions[node.op])}({args[0][0]}, {how}={args[1][0]})", 9
        if node.op == "newton_schulz":
            return self._newton_schulz(*(text for text, _ in args)), 9
        if node.op == "sign" and self.scalar:  # Numba's is -0.0 for -0.0
            return f"{self.function('sign')}({args[0][0]}) + 0.0", 1
        return f"{self.function(node.op)}({', '.join(text for text, _ in args)})", 9

    def _newton_schulz(self, x: str, eps: str, steps: str, bfloat16: str, *each: str) -> str:
        called = self.function("newton_schulz")
        if len(each) == 3:
            return f"{called}({', '.join((x, *each, eps, steps, bfloat16))})"
        triples = ", ".join(f"({', '.join(each[i : i + 3])})" for i in range(0, len(each), 3))
        return f"{called}({x}, [{triples}], eps={eps}, steps={steps}, bfloat16={bfloat16})"

    def _where(self, condition: str, yes: str, no: str) -> tuple[str, int]:
        if self.scalar:
            return f"{yes} if {condition} else {no}", -1
        return f"{self.function('where')}({condition}, {yes}, {no})", 9


def _within(part: tuple[str, int], level: int) -> str:
    text, binds = part
    return text if binds >= level else f"({text})"


def expressions(graph: Graph) -> Callable[[Node, bool], str]:
    """The text of a node: its name in the source, or an expression of such names.

    The returned function takes the node, and whether to expand one that has a name.
    """
    printer = _Printer(graph, graph.live_outputs())
    names = {
        n.index: graph.names[n.index] for n in graph.nodes if n.args and n.index in graph.names
    }

    def text(node: Node, whole: bool = False) -> str:
        printer.text = {k: x for k, x in names.items() if not (whole and k == node.index)}
        return printer.expression(node)[0]

    return text


def equations(graph: Graph) -> list[str]:
    """The step as equations, one for each value that has a name in the source.

    Once a slot has a new value, its previous one is called old.
    """
    printer = _Printer(graph, graph.live_outputs())
    nodes = graph.needed(graph.live_outputs().values())
    given = {n.value: n.index for n in nodes if n.op in ("input", "scalar")}
    printer.text = {}
    found = []
    named = [n for n in nodes if n.args and n.index in graph.names]
    for node in [n for n in named if graph.names[n.index] != "p"] + [graph.outputs["p"]]:
        name = "p" if node is graph.outputs["p"] else graph.names[node.index]
        printer.text.pop(node.index, None)
        found.append(f"{name} = {printer.expression(node)[0]}")
        if name in given and name != "p":
            printer.text[given[name]] = f"{name}_old"
        printer.text[node.index] = name
    return found


def kernel_source(graph: Graph) -> str:
    """The whole step as a readable Python function of p, g, the live slots, t and hyperparameters."""
    outputs = graph.live_outputs()
    read = {n.value for n in graph.needed(outputs.values()) if n.op in ("scalar", "hyperparameter")}
    given = [n.value for n in graph.nodes if n.value in graph.given and not n.args]
    arguments = ["p", "g", *graph.live, *(n for n in ["t", *graph.values] if n in read), *given]
    printer = _Printer(graph, outputs)
    body, level = [], None
    if graph.by_ndim:
        body.append(f"    # where p has {graph.ndim} dimension{'s' * (graph.ndim != 1)}")
    for at, target, expression in printer.statements():
        if at != level:
            body.append(f"    # {_HEADINGS[at]}")
            level = at
        body.append(f"    {target} = {expression}")
    results = ", ".join(printer.expression(n)[0] for n in outputs.values())
    name = "".join(c if c.isalnum() else "_" for c in graph.rule.name).strip("_")
    if keyword.iskeyword(name) or not name.isidentifier():
        name = f"rule_{name}"
    return "\n".join([f"def {name}({', '.join(arguments)}):", *body, f"    return {results}", ""])


@dataclass(frozen=True)
class ScalarUpdate:
    """One step of a rule on scalars, as the source of `update(p, g, state, t, hyper)`.

    source: returns (p, state); state and hyper are tuples of floats in the order of `slots` and
    `hyper`. slots: the live slots. initial: what a slot starts at, given p. values: the
    hyperparameters' values. namespace: the functions that the source calls, by name, as NumPy has
    them (which a compiler like Numba knows as well).
    """

    source: str
    slots: tuple[str, ...]
    hyper: tuple[str, ...]
    values: tuple[float, ...]
    rule: Rule

    @property
    def namespace(self) -> dict[str, Any]:
        """sqrt, exp and so on, as NumPy has them, and as `ops` NumPy itself."""
        import numpy as np

        names = ["sqrt", "abs", "sign", "exp", "log", "tanh", "atan2", "floor", "float64"]
        names += ["maximum", "minimum"]
        found = {name: getattr(np, name) for name in names} | {"round": np.rint}
        return {"ops": np, **found}

    def initial(self, p: float) -> tuple[float, ...]:
        """The state before the first step, for the parameter p."""
        values = dict(zip(self.hyper, self.values, strict=True))
        return tuple(float(self.rule.slots[name].init(p, **values)) for name in self.slots)


def scalar_update(rule: Rule, /, **hyperparameters: Any) -> ScalarUpdate:
    """The rule's step on one scalar parameter, printed from its graph.

    hyperparameters: their values; the switches among them are decided here. Reductions over a
    tensor of one element are that element. Raises RuleError for a rule of arrays, such as matrices.
    """
    graph = trace(rule, (), 0, **hyperparameters)
    if graph.of_arrays:
        raise RuleError(f"rule {rule.name!r} is for arrays, not for single numbers")
    if graph.draws:
        raise RuleError(f"rule {rule.name!r} draws random numbers, which a printed step cannot do")
    outputs = graph.live_outputs()
    hyper = tuple(k for k, v in graph.values.items() if not isinstance(v, bool))
    printer = _Printer(graph, outputs, scalar=True)
    body = [f"{target} = {expression}" for _, target, expression in printer.statements()]
    results = [printer.expression(n)[0] for n in outputs.values()]
    if printer.risky:
        nodes = graph.needed(outputs.values())
        read = {n.value for n in nodes if n.op in ("input", "scalar", "hyperparameter")}
        numbers = [name for name in ("p", "g", "t", *graph.live, *hyper) if name in read]
        made = ", ".join(f"{printer.function('float64')}({name})" for name in numbers)
        body.insert(0, f"{', '.join(numbers)} = {made}")
    # In one statement: a slot may be called hyper, and a hyperparameter state.
    parts = [(names, whole) for names, whole in ((graph.live, "state"), (hyper, "hyper")) if names]
    if parts:
        targets = [f"({', '.join(names)},)" for names, _ in parts]
        body.insert(0, f"{', '.join(targets)} = {', '.join(whole for _, whole in parts)}")
    body.append(f"return {results[0]}, ({', '.join(results[1:])}{',' * (len(results) == 2)})")
    source = "\n    ".join(["def update(p, g, state, t, hyper):", *body]) + "\n"
    values = tuple(float(graph.values[k]) for k in hyper)
    return ScalarUpdate(source, graph.live, hyper, values, rule)
