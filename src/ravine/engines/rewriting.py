"""Versions of a graph that differ in one place: rewriting, and finding places.

The versions of a graph share its nodes. Equal nodes of two versions are one node, so hundreds of versions
cost little more than one, and can be computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ravine.engines.graph import ELEMENT, Graph, Node

__all__ = ["Place", "kept", "leaf_of", "rewritten", "users"]

Place = tuple[int, int]
"""A use of a value: the index of the node that uses it, and which of its arguments it is."""


def rewritten(
    graph: Graph,
    *,
    nodes: Mapping[int, Node | float] | None = None,
    uses: Mapping[Place, Node | float] | None = None,
    outputs: Mapping[str, Callable[[Node], Node | float]] | None = None,
) -> Graph:
    """A version of a graph.

    nodes: replacements of nodes, by index. uses: replacements of arguments. Both consist of old nodes, and
    are not rewritten. outputs: the new value of p or of a slot, as a function of its value otherwise.
    """
    nodes, uses, outputs = nodes or {}, uses or {}, outputs or {}
    touched = {i for i, _ in uses}
    known: dict[int, Node] = {i: graph.lifted(x) for i, x in nodes.items()}
    for node in graph.needed(graph.outputs.values()):
        if node.index in known:
            continue
        args = [known[a.index] for a in node.args]
        if node.index in touched:
            args = [graph.lifted(uses.get((node.index, i), a)) for i, a in enumerate(args)]
        same = all(a is b for a, b in zip(args, node.args, strict=True))
        known[node.index] = node if same else graph.add(node.op, *args)
    found = {
        name: graph.lifted(outputs[name](known[node.index]))
        if name in outputs
        else known[node.index]
        for name, node in graph.outputs.items()
    }
    names = {
        known[i].index: name for i, name in graph.names.items() if i in known and known[i].args
    }
    version = replace(graph, outputs=found, names={**graph.names, **names})
    version.live = kept(version)
    return version


def kept(graph: Graph) -> tuple[str, ...]:
    """The slots that the new p depends on, now or later."""
    wanted, names = {"p"}, {*graph.rule.slots} & {*graph.outputs}
    while True:
        needed = graph.needed(graph.outputs[k] for k in wanted)
        more = {n.value for n in needed if n.op in ("input", "scalar") and n.value in names}
        if more <= wanted:
            return tuple(k for k in graph.rule.slots if k in wanted)
        wanted |= more


def users(graph: Graph) -> dict[int, list[tuple[Node, int]]]:
    """For each node of a step, by index, the nodes that use it, with the argument's position."""
    found: dict[int, list[tuple[Node, int]]] = {}
    for node in graph.needed(graph.live_outputs().values()):
        for i, arg in enumerate(node.args):
            found.setdefault(arg.index, []).append((node, i))
    return found


def leaf_of(graph: Graph, name: str) -> Node:
    """The leaf of p, g, t, a slot or a hyperparameter."""
    slot = graph.rule.slots.get(name)
    if name == "t" or (slot is not None and slot.kind == "scalar"):
        return graph.leaf("scalar", name)
    if slot is not None or name in ("p", "g"):
        return graph.leaf("input", name, ELEMENT)
    return graph.leaf("hyperparameter", name)
