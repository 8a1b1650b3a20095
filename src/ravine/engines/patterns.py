"""Patterns that a reader recognizes in a rule: bias corrections, running means, denominators, decay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ravine.engines.graph import Graph, Node

__all__ = [
    "Correction",
    "Denominator",
    "RunningMean",
    "corrections",
    "denominators",
    "is_number",
    "running_means",
]


@dataclass(frozen=True)
class Correction:
    """x / (1 - beta**t), or an equivalent product: the correction of a start at zero.

    node: the quotient or product; of: x; by: the divisor; place: the divisor's position among the arguments.
    beta: the decay rate. rooted: whether the root of the correction is taken.
    """

    node: Node
    of: Node
    by: Node
    place: int
    beta: Node
    rooted: bool


@dataclass(frozen=True)
class RunningMean:
    """beta * slot + weight * value, the new value of a slot.

    old, new: both terms. weight: 1 - beta; None if the value is added without a factor.
    """

    slot: str
    node: Node
    beta: Node
    old: Node
    new: Node
    weight: Node | None
    value: Node


@dataclass(frozen=True)
class Denominator:
    """sqrt(square) + eps, or x + eps. square: None if there is no root."""

    node: Node
    eps: Node
    other: Node
    square: Node | None


def is_number(node: Node, value: float) -> bool:
    """Whether a node is this constant."""
    return node.op == "constant" and not isinstance(node.value, bool) and node.value == value


def _complement(node: Node) -> Node | None:
    """X, of 1 - x."""
    return node.args[1] if node.op == "sub" and is_number(node.args[0], 1) else None


def _correcting(node: Node) -> Node | None:
    """Beta, of 1 - beta**t."""
    power = _complement(node)
    if power is None or power.op != "pow":
        return None
    beta, t = power.args
    return beta if beta.op == "hyperparameter" and t.op == "scalar" and t.value == "t" else None


def corrections(graph: Graph) -> Iterator[Correction]:
    """All bias corrections of a step."""
    for node in graph.needed(graph.live_outputs().values()):
        if node.op not in ("div", "mul"):
            continue
        for place, by in enumerate(node.args):
            rooted = by.op == "sqrt"
            beta = _correcting(by.args[0] if rooted else by)
            if beta is not None:
                yield Correction(node, node.args[1 - place], by, place, beta, rooted)


def running_means(graph: Graph) -> Iterator[RunningMean]:
    """All slots that decay and accumulate."""
    for slot in graph.live:
        node = graph.outputs[slot]
        if node.op == "where" and any(a.op == "add" for a in node.args[1:]):  # another first step
            node = next(a for a in node.args[1:] if a.op == "add")
        if node.op != "add":
            continue
        for old, new in (node.args, node.args[::-1]):
            pairs = (old.args, old.args[::-1]) if old.op == "mul" else ()
            beta = next((b for leaf, b in pairs if not leaf.args and leaf.value == slot), None)
            if beta is None:
                continue
            weight = next((x for x in new.args if new.op == "mul" and _complement(x) is beta), None)
            value = new if weight is None else next(x for x in new.args if x is not weight)
            yield RunningMean(slot, node, beta, old, new, weight, value)
            break


def denominators(graph: Graph) -> Iterator[Denominator]:
    """All sums with eps."""
    for node in graph.needed(graph.live_outputs().values()):
        if node.op != "add":
            continue
        for eps, other in (node.args, node.args[::-1]):
            if eps.op == "hyperparameter" and str(eps.value).startswith("eps"):
                yield Denominator(node, eps, other, other.args[0] if other.op == "sqrt" else None)
