"""State in 8 bits: which slots of a rule can be stored in this way, and the definition of the codes.

A block of 256 elements has an 8-bit code for each and one scale in float32. A code is the upper bits of a
float32 whose exponent lies in a window that is determined by the block's largest element:

"int8"   sign, 4 bits of exponent, 3 of mantissa (E4M3): for running means of either sign, over a range of
         2**17. The numbers below the window's lowest power of two, which is the scale, are evenly spaced.
"uint8"  6 bits of exponent, 2 of mantissa (E6M2): for what is never negative, over a range of 2**63. The
         root of such a number is then as close as with 5 bits of exponent and 3 of mantissa. The scale is
         the upper bits of a float32 that code 0 would have; code 0 is for zero alone, so that
         no positive denominator becomes zero.

Codes are rounded stochastically. With rounding to nearest, a mean that changes by a thousandth per step would
never change. A window moves by powers of two, so a number that has a code stays exactly the same. If an
element is NaN or infinite, its whole block becomes NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ravine.arrays import ALONG, KEPT
from ravine.engines.graph import ELEMENT, Graph, Node
from ravine.engines.patterns import running_means
from ravine.rule import kept

__all__ = [
    "BLOCK",
    "EIGHT_BITS",
    "FORMATS",
    "POISON",
    "SMALL",
    "Format",
    "in_codes_first",
    "left",
    "narrow",
    "size",
]

EIGHT_BITS = "8bit"
"""The value of `state_dtype` for state in codes."""
BLOCK = 256
"""The number of elements that share a scale."""
SMALL = 4096
"""Tensors with fewer elements stay in float32: there is little to save, and they are often the most sensitive
(biases, norms). bitsandbytes has the same limit."""
POISON = 0x7FC00000
"""The bits of the scale of a block that contains NaN or infinity: NaN."""


@dataclass(frozen=True)
class Format:
    """A code: the lower bits of a float32 that it leaves out; its bits of mantissa; the exponents below the
    block's largest that it has; whether it has a sign.
    """

    cut: int
    mantissa: int
    window: int
    signed: bool


FORMATS = {"int8": Format(20, 3, 15, True), "uint8": Format(21, 2, 63, False)}
"""By the dtype of the codes."""


def size(elements: int) -> int:
    """The bytes for a number of elements: their codes, in whole blocks, followed by the scales."""
    return -(-elements // BLOCK) * (BLOCK + 4)


def in_codes_first(batches: dict[tuple[str, ...], list[int]]) -> dict[tuple[str, ...], list[int]]:
    """Batches of tensors, by the dtypes of their columns, with those in codes first: the first one's code
    prepares the step, and only codes need random bits in any case.
    """
    return dict(sorted(batches.items(), key=lambda batch: not {*FORMATS} & {*batch[0]}))


def narrow(graph: Graph) -> dict[str, str]:
    """The live slots that can be kept in 8 bits, each with the dtype of its codes.

    They are running means, and the largest that such a mean or a size has been, which start at zero in the
    shape of p. Not among them are averages of weights, which `evaluate` reads; means whose difference
    must not be negative, as that of the squares and the square of the mean in centered RMSprop; and
    what elements are divided by, unless it can be seen that it is never negative. A rule with something
    for each row or column has none.
    """
    return kept(graph, "narrow", lambda: _narrow(graph))


def _narrow(graph: Graph) -> dict[str, str]:
    rule = graph.rule
    slots = {name: rule.slots[name] for name in graph.live}
    lines = any(slot.short for slot in slots.values())
    if lines or any(graph.uses(op) for op in (*ALONG, *KEPT)):
        return {}
    can = {
        name
        for name, slot in slots.items()
        if slot.kind == "array"
        and slot.value == 0
        and not (slot.matrix or slot.dtype)
        and name not in rule.evaluated
        and graph.outputs[name].level == ELEMENT
    }
    means = can & {mean.slot for mean in running_means(graph)}
    unsigned = _unsigned(graph, can)
    largest = {name for name in unsigned if graph.outputs[name].op == "maximum"}
    found = means | largest
    for node in graph.needed(graph.live_outputs().values()):
        if node.op == "sub" and any(_of(graph, x) & unsigned & found for x in node.args):
            found -= {leaf.value for leaf in graph.needed(node.args) if leaf.op == "input"}
    found -= _divided_by(graph) - unsigned
    return {name: "uint8" if name in unsigned else "int8" for name in slots if name in found}


def _divided_by(graph: Graph) -> set[str]:
    """The slots that elements are divided by, or that a root is taken of: zeros among their codes would
    make infinities.
    """
    found: set[str] = set()
    for node in graph.needed(graph.live_outputs().values()):
        stack = [*node.args[1:]] if node.op == "div" else [*node.args] if node.op == "sqrt" else []
        while stack:
            node = stack.pop()
            if node.level == ELEMENT:
                its = _of(graph, node)
                found |= its
                stack += [] if its else node.args
    return found


def _of(graph: Graph, node: Node) -> set[str]:
    """The slots of which a node is the old or the new value."""
    new = {name for name in graph.live if graph.outputs[name] is node}
    return new | ({node.value} if node.op == "input" else set())


def _unsigned(graph: Graph, can: set[str]) -> set[str]:
    """The slots starting at zero that are never negative: the largest set for which that follows from
    one step to the next.
    """
    found = set(can)
    while True:
        known: dict[int, bool] = {}
        for node in graph.needed(graph.outputs[name] for name in found):
            known[node.index] = _is_not_negative(graph, node, found, known)
        left = {name for name in found if known[graph.outputs[name].index]}
        if left == found:
            return found
        found = left


def _is_not_negative(graph: Graph, node: Node, slots: set[str], known: dict[int, bool]) -> bool:
    its = [known[x.index] for x in node.args]
    match node.op:
        case "constant":
            return not isinstance(node.value, str) and node.value >= 0
        case "hyperparameter":
            return graph.rule.hyperparameters[node.value].low >= 0
        case "scalar":
            return node.value == "t"
        case "input":
            return node.value in slots
        case "abs" | "sqrt" | "exp":
            return True
        case "mul":
            return node.args[0] is node.args[1] or all(its)
        case "pow":
            power = node.args[1]
            return its[0] or (power.op == "constant" and power.value % 2 == 0)
        case "sub":
            x, y = node.args
            return x.op == "constant" and x.value >= 1 and its[1] and _is_at_most_1(graph, y)
        case "maximum":
            return any(its)
        case "where":
            return all(its[1:])
        case "add" | "div" | "minimum" | "sum" | "mean" | "greatest" | "least":
            return all(its)
    return False


def _is_at_most_1(graph: Graph, node: Node) -> bool:
    """Whether a nonnegative number is at most 1."""
    match node.op:
        case "constant":
            return node.value <= 1
        case "hyperparameter":
            return graph.rule.hyperparameters[node.value].high <= 1
        case "pow":
            base, power = node.args
            return _is_at_most_1(graph, base) and _is_positive(power)
    return False


def _is_positive(node: Node) -> bool:
    t = node.op == "scalar" and node.value == "t"
    return t or (node.op == "constant" and node.value > 0)


def left(graph: Graph) -> Iterator[str]:
    """The live slots in the shape of p that stay in float32."""
    codes = narrow(graph)
    for name in graph.live:
        slot = graph.rule.slots[name]
        if slot.kind != "scalar" and not (slot.short or slot.matrix) and name not in codes:
            yield name
