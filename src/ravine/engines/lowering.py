"""Turns a rule's graph into a kernel, with each operation on the lowest level and in its cheapest form."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ravine.arithmetic import real
from ravine.arrays import ALONG, KEPT
from ravine.draws import DRAWN
from ravine.engines.graph import REDUCTIONS, Graph, Node
from ravine.engines.kernel import (
    COLUMN,
    ELEMENT,
    GROUP,
    LARGEST,
    LINES,
    MATRIX,
    PARTIAL,
    ROW,
    SIZE_AT,
    SMALLEST,
    TENSOR,
    Kernel,
    Value,
)
from ravine.engines.passes import delay

__all__ = ["ELEMENTWISE", "lower"]

ELEMENTWISE = {"add", "sub", "mul", "div", "pow", "mod", "neg", "lt", "le", "gt", "ge", "eq", "ne"}
ELEMENTWISE |= {"sqrt", "abs", "sign", "exp", "log", "maximum", "minimum", "where", "stored"}
ELEMENTWISE |= {"tanh", "atan2", "floor", "round"}
"""The operations on elements and on scalars, besides reductions."""

_AXES = {"row": -1.0, "column": -2.0}


class _Lowering:
    """Creates the values of a kernel, from the leaves up."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel

    def lower(self, node: Node, args: list[Value]) -> Value:
        """The value of a node of the graph, whose arguments are lowered."""
        kernel = self.kernel
        if node.op == "constant":
            return kernel.leaf("constant", float(real(node.value)), GROUP)
        if node.args:
            return self.add(node.op, *args, name=kernel.graph.names.get(node.index, ""))
        slot = kernel.graph.rule.slots.get(node.value)
        if node.value in kernel.short:
            return kernel.leaf("vector", node.value, kernel.short[node.value])
        level = ELEMENT if node.op == "input" else TENSOR if slot else GROUP
        return kernel.leaf(node.op, node.value, level)

    def read(self, column: str, of: str) -> Value:
        """What a column holds; where it is the same for several elements, the greatest of them."""
        value = self.kernel.leaf("input", column, ELEMENT)
        if of in _AXES:
            return self.add("greatest_along", value, self.constant(_AXES[of]))
        return self.add("greatest", value) if of == "number" else value

    def add(self, op: str, *args: Value, name: str = "") -> Value:
        """The value of an operation, in its cheapest form."""
        a, b = args[0], args[-1]
        level, stage = max(x.level for x in args), max(x.stage for x in args)
        if {x.level for x in args} >= {ROW, COLUMN}:
            level = ELEMENT
        if op in REDUCTIONS:
            return self._reduced(op, a, name)
        if op in DRAWN:
            if a.level != ELEMENT:
                self.kernel.refuse(op, "in another shape than that of p")
            return self.kernel.leaf(op, int(b.leaf), ELEMENT)
        if op in ALONG or op in KEPT:
            return self._by_lines(op, a, int(b.leaf), name)
        if op == "size":
            return self._size(a, int(b.leaf))
        if op == "numel":
            size = SIZE_AT.get(a.level)
            return self.kernel.leaf(size, size, TENSOR) if size else self.constant(1.0)
        if op == "epsilon":
            return self.kernel.leaf("epsilon", "epsilon", TENSOR)
        if op not in ELEMENTWISE:
            self.kernel.refuse(op, "which is not an operation on elements")
        if op == "stored" and level < ELEMENT:
            return a
        if op == "pow" and b.op == "constant":
            power = self._power(a, b.leaf, name)
            if power:
                return power
        if op == "div" and level == ELEMENT and b.level < COLUMN:
            return self._quotient(a, b, name)
        if op == "div" and level == b.level == ELEMENT:
            inverse = self._inverse_root(b)
            if inverse:
                return self.add("mul", a, inverse, name=name)
        return self.kernel.value(op, args, level, stage, name=name)

    def _reduced(self, op: str, a: Value, name: str) -> Value:
        """A reduction over one tensor, or over all of them."""
        size = SIZE_AT.get(a.level, "")
        one = a
        if size:
            over = op if op in PARTIAL else "sum"
            if a.level == ELEMENT:
                one = self.kernel.value(over, (a,), TENSOR, a.stage + 1)
            else:
                one = self.kernel.value(f"all_{over}", (a,), TENSOR, a.stage + self.kernel.spread)
        elif op == "total" and a.level == GROUP:
            self.kernel.refuse("total", "of a number that does not depend on the tensor")
        if op == "mean" and size:
            return self.add("div", one, self.kernel.leaf(size, size, TENSOR), name=name)
        if op == "total":
            return self.kernel.value("total", (one,), TENSOR, one.stage + 1, name=name)
        return one

    def _by_lines(self, op: str, a: Value, axis: int, name: str) -> Value:
        """A reduction along an axis, or over all axes but one: to a number for each row or column, and
        from there to one for each matrix.
        """
        along = op in ALONG
        reduction = ALONG[op] if along else KEPT[op]
        self._see(axis, {-1: "last", -2: "below"} if along else {0: "first"})
        to = ROW if (axis % 2 == 1) is along else COLUMN
        # Of one number for each row, there is nothing left to reduce along the row.
        if a.level < ROW or a.level == to:
            return a
        over = reduction if reduction in PARTIAL else "sum"
        if a.level == ELEMENT:
            whole = self.kernel.value(f"{LINES[to]}_{over}", (a,), to, a.stage + 1)
        else:
            whole = self.kernel.value(f"each_{over}", (a,), MATRIX, a.stage + self.kernel.spread)
        if reduction != "mean":
            return whole
        size = "columns" if to == ROW else "height"
        return self.add("div", whole, self.kernel.leaf(size, size, TENSOR), name=name)

    def _see(self, axis: int, views: Mapping[int, str]) -> None:
        """Record how a tensor must be seen; views: the axes for which it may have any dimensions."""
        if not -2 <= axis <= 1:
            self.kernel.refuse(f"axis {axis}", "which a matrix does not have")
        self.kernel.views.add(views.get(axis, "matrix"))

    def _size(self, a: Value, axis: int) -> Value:
        self._see(axis, {-1: "last", -2: "below", 0: "first"})
        which = "columns" if axis % 2 else "height"
        short = {MATRIX: ("columns", "height"), ROW: ("columns",), COLUMN: ("height",)}
        return (
            self.constant(1.0)
            if which in short.get(a.level, ())
            else self.kernel.leaf(which, which, TENSOR)
        )

    def constant(self, number: float) -> Value:
        return self.kernel.leaf("constant", number, GROUP)

    def _power(self, x: Value, exponent: float, name: str) -> Value | None:
        """x to the power of a constant without `pow`, also of zeros and infinities; None: not so."""
        if exponent == 1:
            return x
        if exponent == 2:
            return self.add("mul", x, x, name=name)
        if exponent == 3:
            return self.add("mul", self.add("mul", x, x), x, name=name)
        if exponent == 0.5:
            return self.add("sqrt", x, name=name)
        if exponent == -1:
            return self.add("div", self.constant(1.0), x, name=name)
        if exponent == -2:  # x * x may overflow where this is a number
            inverse = self.add("div", self.constant(1.0), x)
            return self.add("mul", inverse, inverse, name=name)
        if exponent == -0.5:  # of -0.0, inf; of -inf, 0
            root = self.add("sqrt", self.add("add", x, self.constant(0.0)))
            power = self.add("div", self.constant(1.0), root)
            lowest = self.add("eq", x, self.constant(-math.inf))
            return self.add("where", lowest, self.constant(0.0), power, name=name)
        return None

    def _quotient(self, a: Value, b: Value, name: str) -> Value:
        """Elements divided by a scalar: multiplied by its reciprocal, so that all share one division.

        Those of vectors take most of Adam's time in the caches. Where the reciprocal would overflow,
        or lose bits as a denormal, the elements are multiplied by a power of two first (by 1
        elsewhere), and divisor and reciprocal are scaled to match. `narrow` is for elements in
        float32, which a divisor out of float32's range meets rounded to it.
        """
        if b.op == "constant" and SMALLEST <= abs(b.leaf) <= LARGEST:
            return self.add("mul", a, self.add("div", self.constant(1.0), b), name=name)
        scale = self.kernel.value("scale", (b,), b.level, b.stage)
        wide, narrow = (
            self.add("div", self.constant(1.0), self.add("mul", x, scale))
            for x in (b, self.kernel.value("narrow", (b,), b.level, b.stage))
        )
        stage = max(a.stage, b.stage)
        return self.kernel.value("quotient", (a, scale, wide, narrow), ELEMENT, stage, name=name)

    def _inverse_root(self, b: Value) -> Value | None:
        """1 / b where b is the root of a product of numbers for rows and for columns, or of the larger of
        such a product and a number: made of the inverse roots of rows and of columns. None: b is another.

        So elements are multiplied once where they would have a product, a root and a division: in the
        caches, these take more time than all else that Adafactor does. Where the product under the root is
        a number that the dtype has, so is the inverse root. Only where a negative factor meets zero or
        infinity, which squares never do, it is another: NaN for an infinity, 0 for NaN.
        """
        if b.op != "sqrt":
            return None
        product, floor = b.args[0], None
        if product.op == "maximum":
            product, floor = sorted(product.args, key=lambda x: -x.level)
            if floor.level >= ROW or not _never_negative(floor):
                return None
        factors = _factors(product)
        if factors is None:
            return None
        # Two negative factors have a product with a root, and no roots; minus infinity would lose its sign.
        one, minus, zero, lowest = map(self.constant, (1.0, -1.0, 0.0, -math.inf))
        made: dict[bool, Value] = {}
        for x, below in sorted(factors, key=lambda factor: factor[0].level):
            root = self.add("sqrt", self.add("abs", x))
            minus_one = self.add("where", self.add("eq", x, lowest), self.constant(math.nan), minus)
            sign = self.add("where", self.add("lt", x, zero), minus_one, one)
            part = self.add("mul" if below else "div", sign, root)
            across = x.level == COLUMN
            made[across] = self.add("mul", made[across], part) if across in made else part
        most = self.add("div", one, self.add("sqrt", floor)) if floor else self.constant(math.nan)
        if floor:  # a minimum in one instruction passes NaN on from only one side
            unknown = self.add("ne", most, most)
            made[False] = self.add("where", unknown, most, made[False])
        inverse = self.add("mul", made[False], made[True])
        least = (
            self.add("where", self.add("lt", most, inverse), most, inverse) if floor else inverse
        )
        return self.add("where", self.add("lt", inverse, zero), most, least)


def _factors(x: Value) -> list[tuple[Value, bool]] | None:
    """The numbers for rows, columns and less that elements are a product of, and of each whether it is
    divided by; None: they are no such product.
    """
    if x.level < ELEMENT:
        return [(x, False)]
    if x.op not in ("mul", "div", "quotient"):
        return None
    # A quotient keeps its divisor in what scales it.
    a, b = x.args[0], x.args[1].args[0] if x.op == "quotient" else x.args[1]
    one, other = _factors(a), _factors(b)
    if one is None or other is None:
        return None
    return one + [(y, below is (x.op == "mul")) for y, below in other]


def _never_negative(x: Value) -> bool:
    square = x.op == "mul" and x.args[0] is x.args[1]
    return square or x.op in ("abs", "sqrt") or (x.op == "constant" and x.leaf >= 0)


def lower(
    graph: Graph,
    squares: bool = False,
    spread: bool = False,
    *,
    outputs: Mapping[str, Node] | None = None,
    found: Mapping[int, tuple[str, str]] | None = None,
    zero: bool = False,
) -> Kernel:
    """The graph's step as a kernel. Raises KernelError for what a kernel cannot do.

    squares: sum the squares of the gradients up as well, in a pass that is made anyway. spread: see
    :class:`Kernel`. found: the nodes that columns hold already, by index, where this is one of several
    kernels of a step, between which a library computes with matrices; of smaller ones, each element of a
    column is the number that belongs there. outputs: nodes in the shape of p, and the columns that they are
    left in, in place of the step's results. zero: fill the gradients with zeros in the last pass, while they
    are in the caches.
    """
    slots = graph.rule.slots
    apart = [s for s in graph.live if found is not None and slots[s].matrix]
    results = {name: node for name, node in graph.live_outputs().items() if name not in apart}
    signals = tuple(s for s in graph.given if not graph.rule.signals[s].scalar)
    arrays = (s for s in results if s != "p" and slots[s].kind != "scalar")
    kernel = Kernel(
        graph,
        spread,
        columns=(
            "p",
            "g",
            *signals,
            *arrays,
            *(c for c, _ in (found or {}).values()),
            *(outputs or ()),
        ),
        signals=signals,
        slots=tuple(s for s in graph.live if slots[s].kind == "scalar"),
    )
    lowering = _Lowering(kernel)
    for name in (s for s in results if s != "p" and slots[s].matrix):
        kernel.refuse(f"the slot {name}", "which is a matrix of another shape than p")
    for name in (s for s in graph.live if slots[s].short):
        # The result of a reduction that leaves such an array.
        op, axis = (
            ("sum_along", slots[name].axis)
            if slots[name].keep is None
            else ("sum_kept", slots[name].keep)
        )
        kernel.short[name] = lowering.add(
            op, kernel.leaf("input", "p", ELEMENT), lowering.constant(float(axis or 0))
        ).level
    if found is not None:  # matrices, one after another
        kernel.views |= {"last", "below"}
    made = {i: lowering.read(*its) for i, its in (found or {}).items()}
    for node in graph.needed((outputs or results).values(), {*made}):
        made[node.index] = lowering.lower(node, [made[a.index] for a in node.args])
    for name, node in results.items():
        if outputs is not None and name in (*kernel.short, *kernel.slots):
            kernel.outputs[name] = lowering.lower(graph.slot(name), [])
        elif outputs is None:
            kernel.outputs[name] = new = made[node.index]
            if name in kernel.short and {new.level, kernel.short[name]} == {ROW, COLUMN}:
                kernel.refuse(f"the new {name}", "which is a row where the old one is a column")
            if name in kernel.short and new.level in (MATRIX, ELEMENT):
                kernel.refuse(f"the new {name}", "which has another shape than the old one")
    kernel.outputs |= {name: made[node.index] for name, node in (outputs or {}).items()}
    if zero:
        kernel.outputs["g"] = lowering.constant(0.0)
    if squares:
        g = kernel.leaf("input", "g", ELEMENT)
        kernel.squares = lowering.add("total", lowering.add("mul", g, g))
    read = {v.leaf for v in kernel.needed if v.op in ("scalar", "hyperparameter")}
    names = ("t", *graph.rule.hyperparameters, *graph.given)
    kernel.inputs = tuple(n for n in names if n in read)
    delay(kernel)
    return kernel
