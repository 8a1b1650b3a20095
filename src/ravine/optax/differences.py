"""The update of a step as a graph: the new p minus p, without the rounding of the new p.

optax adds what an optimizer returns to the parameters. The new p is rounded to p's precision, so a
difference with it would have that error, which is large relative to a small step. So p is removed from
the graph instead, where it is a term: `p - lr * u` becomes `-(lr * u)`, and `p * (1 - c) - u` becomes
`p * -c - u`.
"""

from __future__ import annotations

from dataclasses import replace

from ravine.engines.graph import ELEMENT, Graph, Node

__all__ = ["with_difference"]


def with_difference(graph: Graph) -> tuple[Graph, Node]:
    """A copy of a graph, and its node for the update of p."""
    graph = replace(graph, nodes=[*graph.nodes], _index={**graph._index})
    p, new = graph.leaf("input", "p", ELEMENT), graph.outputs["p"]
    found = _difference(graph, p, new)
    return graph, graph.add("sub", new, p) if found is None else found


def _difference(graph: Graph, p: Node, new: Node) -> Node | None:
    """new - p if p is a term of new; otherwise None."""
    if new is p:
        return graph.lifted(0.0)
    if new.op in ("add", "sub"):
        a, b = new.args
        rest = _difference(graph, p, a)
        if rest is None and new.op == "add":
            rest, b = _difference(graph, p, b), a
        if rest is None:
            return None
        if not _is_zero(rest):
            return graph.add(new.op, rest, b)
        return graph.add("neg", b) if new.op == "sub" else b
    if new.op == "mul" and any(x is p for x in new.args):  # == would make a node
        a, b = new.args
        factor = b if a is p else a
        return None if factor.level == ELEMENT else graph.add("mul", p, _less_one(graph, factor))
    if new.op == "where":
        yes, no = (_difference(graph, p, x) for x in new.args[1:])
        if yes is not None and no is not None:
            return graph.add("where", new.args[0], yes, no)
    return None


def _less_one(graph: Graph, factor: Node) -> Node:
    """factor - 1, which is exact for a factor that is 1 minus something."""
    if factor.op == "sub" and factor.args[0].op == "constant" and factor.args[0].value == 1:
        return graph.add("neg", factor.args[1])
    return graph.add("sub", factor, 1.0)


def _is_zero(node: Node) -> bool:
    return node.op == "constant" and node.value == 0
