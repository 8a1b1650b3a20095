"""The digest of a step's computation, by which stored results of a rule are found.

It is computed from the graph. So everything counts that the rule reads while it is traced, including
globals, closures and helpers, but names, comments and layout do not. It is the same in every process and
on every version of Python.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from ravine.engines.graph import DIMENSIONS, Graph, Node
from ravine.engines.tracing import trace, ways
from ravine.rule import Rule, RuleError

__all__ = ["digest"]


def digest(
    rule: Rule, values: Mapping[str, Any] | None = None, *, varied: Collection[str] = ()
) -> str:
    """The text that two rules share if they compute the same step from the same state.

    values: of the hyperparameters; the rest have their defaults. Their values count, but not their names.
    varied: the hyperparameters that are set by name during a run, so that both count.

    Raises what :func:`~ravine.engines.tracing.trace` raises.
    """
    graph = trace(rule, **(values or {}))
    if not rule.signals:
        return _in_all_dimensions(rule, graph, varied)
    sets = [way.given for way in ways(rule, graph.values)]
    graphs = [trace(rule, given, **graph.values) for given in sets]
    return _hash([[[*x.given], _in_all_dimensions(rule, x, varied)] for x in graphs])


def _in_all_dimensions(rule: Rule, graph: Graph, varied: Collection[str]) -> str:
    if not graph.by_ndim:
        return _digest(graph, varied)
    return _hash([_in_dimensions(rule, graph, ndim, varied) for ndim in DIMENSIONS])


def _in_dimensions(rule: Rule, graph: Graph, ndim: int, varied: Collection[str]) -> str | None:
    try:
        return _digest(trace(rule, graph.given, ndim, **graph.values), varied)
    except RuleError:  # no step is ever taken with this
        return None


def _digest(graph: Graph, varied: Collection[str]) -> str:
    outputs = [*graph.live_outputs().values(), _evaluation(graph)]
    hashes: dict[int, str] = {}
    for node in graph.needed(outputs):
        below = [hashes[x.index] for x in node.args]
        hashes[node.index] = _hash([node.op, below or _leaf(graph, node, varied)])
    decided = {name: graph.switches[name] for name in sorted(varied) if name in graph.switches}
    seen = [graph.rule.seen] * bool(graph.rule.seen)
    return _hash([[hashes[node.index] for node in outputs], decided, *seen])


def _leaf(graph: Graph, node: Node, varied: Collection[str]) -> list[Any]:
    """A description of a leaf without the names in the rule."""

    def number(name: str) -> list[str]:
        return [repr(graph.values[name]), *[name] * (name in varied)]

    if node.op == "hyperparameter":
        return number(node.value)
    slot = graph.rule.slots.get(node.value) if node.op in ("input", "scalar") else None
    if slot is None:
        return [repr(node.value)]
    start = number(slot.value) if isinstance(slot.value, str) else repr(slot.value)
    keep = [slot.keep] * (slot.keep is not None)
    return [graph.live.index(node.value), slot.kind, slot.axis, slot.shared, start, *keep]


def _evaluation(graph: Graph) -> Node:
    """The weights for evaluation, as a node of the graph."""
    rule = graph.rule
    leaves = {(node.op, node.value): node for node in graph.nodes if not node.args}
    state = [leaves["scalar" if s.kind == "scalar" else "input", k] for k, s in rule.slots.items()]
    values = {
        k: v if isinstance(v, bool) else graph.leaf("hyperparameter", k)
        for k, v in graph.values.items()
    }
    try:
        weights = rule.evaluate(leaves["input", "p"], state, **values)
    except Exception as error:
        raise RuleError(f"rule {rule.name!r}: evaluate cannot be traced ({error})") from error
    return weights if isinstance(weights, Node) else graph.leaf("constant", weights)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
