"""How random rules are drawn, and what they are run on; simple things come first, for shrinking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from random_rules.cases import Case, Change, Tensor
from random_rules.trees import (
    COMPARISONS,
    CONSTANT,
    ELEMENT,
    REDUCTIONS,
    STEP,
    TENSOR,
    Node,
    RandomRule,
    constant,
    leaf,
    node,
)

Draw = Callable[[st.SearchStrategy[Any]], Any]

_CONSTANTS = [0.5, 1.0, 2.0, 0.0, -1.0, 2, 3.0, 1e-8, -0.3, 1e3, 1, 7, -0.0, 1e-40, 1e200, 1e-310]
_EXPONENTS = [2, 0.5, 3, -1, 1, -0.5, -2, 1.5, 0]
_HYPER = [0.5, 0.0, 0.1, 2.0, -1.5, 0.9, 1e-3, 3.0, 1e-8]
_SPECIAL = [float("nan"), float("inf"), float("-inf"), -0.0, 0.0, 5e-324, 1e-310, 1e-160, 1e-42]
_SPECIAL += [-3e-39, 6e-8, 65504.0, -3.4e38, 1e160, 1.7976931348623157e308, -1e308]
_SLOTS = ["zeros", "zeros", "like_p", "filled(0.25)", 'filled("h0")', "scalar(0.0)", "scalar(1.0)"]
_SLOTS += ["scalar(-2.5)", 'scalar("h0")']

ordinary = st.sampled_from([1.0, 2.0, 0.5, -1.0, 3.0, 0.1, -0.25]) | st.floats(-8, 8)
special = ordinary | st.sampled_from(_SPECIAL) | st.sampled_from(_SPECIAL) | st.floats()

SHAPES: dict[str, list[list[tuple[int, ...]]]] = {
    "small": [[(1,)], [()], [(2,)], [(3,), ()], [(0,), (2,)], [(5,), (3, 2), (1,)]],
    "odd": [[(n,)] for n in range(4, 34)] + [[(17,), (3, 11)], [(0, 3), (31,), ()]],
    "chunks": [[(8191,)], [(8192,)], [(8193,), (3,)], [(16385,)], [(2, 8193), ()]],
    "threads": [[(16385,), (16384,)], [(32769,)], [(8191,), (8193,), (0,), (2, 8192)]],
}


class _Drawing:
    """A rule as it is drawn: what expressions may be made of so far."""

    def __init__(self, draw: Draw, leaves: Sequence[Node], switches: Sequence[str], kinds: str):
        self.draw, self.pool, self.switches, self.kinds = draw, list(leaves), switches, kinds
        self.inputs = list(leaves)

    def leaf(self, highest: int) -> Node:
        pool = [x for x in self.pool if x.level <= highest]
        if not pool or self.draw(st.integers(0, 4)) == 4:
            return constant(self.draw(st.sampled_from(_CONSTANTS)))
        return self.draw(st.sampled_from(pool))

    def expression(self, depth: int, highest: int = ELEMENT) -> Node:
        """Of at most this level."""
        return self.draw(_subtrees(self, depth, highest))

    def kinds_of(self, highest: int) -> list[str]:
        kinds = ["arithmetic"] * 8 + ["unary"] * 2 + ["extreme"] * 2 + ["where"] * 2
        kinds += ["compare", "power", "clip"] + ["if"] * 2 * bool(self.switches)
        kinds += ["mod", "transcendental"] * ("t" in self.kinds)
        if "r" in self.kinds and highest >= TENSOR:
            kinds += ["reduce"] * (2 if highest == ELEMENT else 6)
        return kinds

    def make(self, kind: str, depth: int, highest: int) -> Node:
        draw = self.draw
        if kind == "leaf":
            return self.leaf(highest)

        def part() -> Node:
            return self.expression(depth - 1, highest)

        if kind == "arithmetic":
            return self.operate(draw(st.sampled_from(["mul", "sub", "add", "div"])), part(), part())
        if kind == "mod":
            return self.operate("mod", part(), part())
        if kind == "compare":
            return self.compare(part(), part())
        if kind == "unary":
            return node(
                draw(st.sampled_from(["neg", "abs", "sqrt", "sign", "floor", "round"])),
                self.input(part()),
            )
        if kind == "transcendental":
            op = draw(st.sampled_from(["exp", "log", "pow", "tanh", "atan2"]))
            if op in ("exp", "log", "tanh"):
                return node(op, part())
            return self.operate("pow", part(), part()) if op == "pow" else node(op, part(), part())
        if kind == "extreme":
            return node(draw(st.sampled_from(["maximum", "minimum"])), part(), part())
        if kind == "clip":
            return node("clip", part(), constant(-0.7), constant(1.3))
        if kind == "power":
            return node("pow", self.input(part()), constant(draw(st.sampled_from(_EXPONENTS))))
        if kind == "where":
            return node("where", self.condition(depth, highest), part(), part())
        if kind == "if":
            yes, no = part(), part()
            switch = draw(st.sampled_from(list(self.switches)))
            if yes.level == no.level:
                return node("if", yes, no, value=switch)
            return node("where", leaf(switch, STEP), yes, no)
        return self.reduce(self.expression(depth - 1))

    def condition(self, depth: int, highest: int) -> Node:
        if self.draw(st.integers(0, 7)) == 7:  # a number, true unless it is zero
            return self.input(self.expression(depth - 1, highest))
        return self.compare(*(self.expression(depth - 1, highest) for _ in "xy"))

    def reduce(self, x: Node) -> Node:
        ops = [op for op in REDUCTIONS if op != "total" or "a" in self.kinds]
        op = self.draw(st.sampled_from(ops))
        if x.level < (TENSOR if op == "total" else ELEMENT):
            x = node("mul", x, self.pool[1])
        return node(op, x)

    def compare(self, x: Node, y: Node) -> Node:
        return self.operate(self.draw(st.sampled_from(list(COMPARISONS))), x, y)

    def operate(self, op: str, x: Node, y: Node) -> Node:
        return node(op, self.input(x) if y.level == CONSTANT else x, y)

    def input(self, x: Node) -> Node:
        """X; an input in the place of what Python itself would compute, as of `1.0 / 0.0`."""
        return x if x.level > CONSTANT else self.inputs[3]


@st.composite
def _subtrees(draw: Draw, drawing: _Drawing, depth: int, highest: int) -> Node:
    """A strategy: hypothesis knows which parts are subtrees, and puts them in their parent's place."""
    kinds = ["leaf", *drawing.kinds_of(highest)] if depth else ["leaf"]
    return drawing.make(draw(st.sampled_from(kinds)), depth, highest)


@st.composite
def rules(draw: Draw, kinds: str = "rta", size: int = 6) -> RandomRule:
    """A rule. kinds: with reductions (r), mod, exp, log, tanh, atan2 and powers (t), totals (a)."""
    declared = [draw(st.sampled_from(_SLOTS)) for _ in range(draw(st.integers(0, 3)))]
    slots = {("x" if d.startswith("scalar") else "a") + str(i): d for i, d in enumerate(declared)}
    hyper: dict[str, float | bool] = {"h0": draw(st.sampled_from(_HYPER))}
    hyper |= {f"h{i + 1}": draw(st.sampled_from(_HYPER)) for i in range(draw(st.integers(0, 2)))}
    switches = {f"s{i}": draw(st.booleans()) for i in range(draw(st.integers(0, 2)))}
    scalar = {name for name in slots if name[0] == "x"}
    leaves = [leaf("p", ELEMENT), leaf("g", ELEMENT)]
    leaves += [leaf("t", STEP), *(leaf(name, STEP) for name in hyper)]
    leaves += [leaf(name, TENSOR if name in scalar else ELEMENT) for name in slots]
    drawing = _Drawing(draw, leaves, [*hyper, *switches], kinds)
    for _ in range(draw(st.integers(0, size))):
        made = drawing.expression(3)
        if made.args:
            drawing.pool.append(made)
    outputs = {name: draw(_outputs(drawing, name, name in scalar)) for name in ("p", *slots)}
    made = RandomRule(slots, hyper | switches, outputs)
    read = {n.value for n in made.nodes if n.op in ("input", "if")} | {"h0"}
    return RandomRule(slots, {k: v for k, v in made.hyper.items() if k in read}, outputs)


@st.composite
def _outputs(draw: Draw, drawing: _Drawing, name: str, scalar: bool) -> Node:
    """The new p or slot: its old value, another's, a number, an update, or anything."""
    highest = TENSOR if scalar else ELEMENT
    old = next(x for x in drawing.inputs if x.value == name)
    kinds = ["update", "any", "update", "old", "leaf", "any"]
    kind = draw(st.sampled_from(kinds if name == "p" else ["old", *kinds]))
    if kind == "update":
        return node(draw(st.sampled_from(["sub", "add"])), old, drawing.expression(2, highest))
    if kind == "old":
        return old
    return drawing.expression(2, highest) if kind == "any" else drawing.leaf(highest)


@st.composite
def cases(
    draw: Draw, kinds: str = "rta", shapes: str = "small odd", numbers: Any = special
) -> Case:
    """A rule and what it is run on. shapes: from which of SHAPES. numbers: the elements."""
    rule = draw(rules(kinds))
    chosen = draw(st.sampled_from([s for kind in shapes.split() for s in SHAPES[kind]]))
    steps, groups = draw(st.integers(1, 4)), draw(st.sampled_from([1, 1, 2]))
    groups = min(groups, len(chosen))
    tensors = []
    for i, shape in enumerate(chosen):
        first = Tensor(shape, i % groups, ())
        many = max(1, min(draw(st.integers(1, 4)), first.size))
        row = st.tuples(*[numbers] * many)
        missing = steps > 1 and draw(st.integers(0, 5)) == 5
        optional = row | st.none() if missing else row
        rows = (draw(row), *(draw(optional) for _ in range(steps)))
        tensors.append(Tensor(shape, first.group, rows))
    changes = []
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 3))):
            name = draw(st.sampled_from(list(rule.hyper)))
            values = st.booleans() if name[0] == "s" else st.sampled_from(_HYPER)
            group = draw(st.integers(0, groups - 1))
            change = Change(draw(st.integers(0, steps - 1)), group, name, draw(values))
            # All tensors at once can have their switches one way only.
            alike = range(groups) if rule.uses("total") else [group]
            changes += [Change(change.step, g, name, change.value) for g in alike]
    dtype = draw(
        st.sampled_from(["float64", "float64", "float32", "float32", "bfloat16", "float16"])
    )
    state = st.sampled_from(["float64", "float32", "bfloat16", "float16"])
    state_dtype = draw(state) if draw(st.integers(0, 5)) == 5 else ""
    changes.sort(key=lambda c: c.step)
    return Case(rule, tensors, changes, dtype, state_dtype)
