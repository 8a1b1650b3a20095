"""A step that computes only what it needs: if a condition is known before the step, only one branch.

    q = where(t % k == 1, eigh(m)[1], q)

Python computes both branches before it calls `where`, and so does a call of the function. Here the
rule's graph is followed back from its outputs instead, operation by operation, with the same results.

This also handles `total` over tensors that a rule treats differently, by their number of dimensions:
there is a graph for each kind, and the graphs are followed together, from total to total.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import zip_longest
from typing import Any

from ravine import ops
from ravine.arguments import enter, leave
from ravine.arithmetic import ON_NUMBERS, typed_like
from ravine.arrays import ALONG, KEPT
from ravine.draws import DRAWN
from ravine.engines.graph import FACTS, PAIRS, REDUCTIONS, Graph, Node
from ravine.ops import Tensors
from ravine.rule import RuleError, kept

__all__ = ["Shapes", "Values", "results", "together"]

Shape = tuple[int, ...]

_NUMBERS = {*REDUCTIONS, *FACTS}
_ELEMENTWISE = {*ON_NUMBERS} - _NUMBERS - {*KEPT, *DRAWN}
_SAME = ("newton_schulz", "cholesky", "inverse_root")


def results(graph: Graph, given: Mapping[str, Any]) -> list[Any]:
    """The new p and the new slots, as the rule's function returns them.

    given: p, g, the slots, t and the hyperparameters, by name.
    """
    with typed_like(given["p"]):
        known = Values(graph, given)
        return [leave(known.of(graph.outputs[name])) for name in ("p", *graph.rule.slots)]


def together(
    graphs: Sequence[Graph],
    given: Sequence[Mapping[str, Any]],
    within: Sequence[Callable[[], AbstractContextManager[Any]]],
) -> list[list[Any]]:
    """`results` for several graphs of one rule, each with its own tensors; totals are over all of them.

    within: the context in which each graph is computed. Dead slots of a graph are 0. Raises RuleError if
    the graphs differ in their totals.
    """
    every = [Values(*its) for its in zip(graphs, given, strict=True)]

    def of(i: int, node: Node) -> Any:
        with typed_like(given[i]["p"]), within[i]():
            return every[i].of(node)

    needed = [graph.needed(graph.live_outputs().values()) for graph in graphs]
    totals = [[x for x in nodes if x.op == "total"] for nodes in needed]
    if len({*map(len, totals)}) > 1:
        counts = {graph.ndim: len(its) for graph, its in zip(graphs, totals, strict=True)}
        raise RuleError(
            f"rule {graphs[0].rule.name!r}: how many totals it takes depends on ndim(p), "
            + ", ".join(f"{counts[ndim]} where it is {ndim}" for ndim in sorted(counts))
            + "; a total is over all tensors, so take it before the `if`"
        )
    for nodes in zip(*totals, strict=True):
        parts = [of(i, x.args[0]) for i, x in enumerate(nodes)]
        bags = [ops.total(x) for x in parts if isinstance(x, Tensors)]
        whole = sum(bags) if bags else ops.total(parts[0])
        for known, x in zip(every, nodes, strict=True):
            known.known[x.index] = whole
    found = []
    for i, graph in enumerate(graphs):
        live = {name: leave(of(i, x)) for name, x in graph.live_outputs().items()}
        found.append([live.get(name, 0.0) for name in ("p", *graph.rule.slots)])
    return found


class Values:
    """The values of a graph's nodes, computed on request."""

    def __init__(self, graph: Graph, given: Mapping[str, Any]) -> None:
        self.graph, self.given = graph, given
        self.known: dict[int, Any] = {}
        p = given["p"]
        self.members = [
            _shapes(graph, {k: x[i] if isinstance(x, Tensors) else x for k, x in given.items()})
            for i in range(len(p) if isinstance(p, Tensors) else 1)
        ]

    def of(self, root: Node) -> Any:
        """The value of a node, after computing what it needs."""
        stack = [root]
        while stack:
            node = stack[-1]
            args = self._needed(node)
            missing = [x for x in args if x.index not in self.known]
            if not missing and node.index not in self.known:
                self.known[node.index] = self._computed(node, args)
            if not missing:
                stack.pop()
            stack += missing
        return self.known[root.index]

    def _needed(self, node: Node) -> Sequence[Node]:
        """The arguments that a node needs; for a `where` on a number, the condition and one branch."""
        if node.op != "where":
            return node.args
        condition, *branches = node.args
        if condition.index not in self.known:
            return [condition]
        decided = self.known[condition.index]
        if not isinstance(decided, (float, int)):
            return node.args
        chosen = branches[0] if decided else branches[1]
        # The result has the shape of both branches, whichever is taken.
        same = all(None is not shapes.of(chosen) == shapes.of(node) for shapes in self.members)
        return [condition, chosen] if same else node.args

    def _computed(self, node: Node, args: Sequence[Node]) -> Any:
        if node.op == "constant":
            return node.value
        if not node.args:
            return enter(self.given[node.value])
        values = [self.known[x.index] for x in args]
        if node.op == "where" and len(values) == 2:
            return values[1]
        if node.op == "item":
            return values[0][int(values[1])]
        return ops.total(*values) if node.op == "total" else ops.apply(node.op, *values)


def _shapes(graph: Graph, given: dict[str, Any]) -> Shapes:
    shapes = {name: tuple(x.shape) for name, x in given.items() if hasattr(x, "shape")}
    return kept(graph, ("shapes", *shapes.items()), lambda: Shapes(shapes))


class Shapes:
    """The shapes of a graph's nodes for one tensor, if they are known without computing them."""

    def __init__(self, given: dict[str, Shape]) -> None:
        self.given = given
        self.known: dict[int, Shape | None] = {}

    def of(self, root: Node) -> Shape | None:
        """The shape of a node; None if it is not known."""
        if root.index not in self.known:
            for node in root.graph.needed([root]):
                self.known[node.index] = self._of(node)
        return self.known[root.index]

    def _of(self, node: Node) -> Shape | None:
        if not node.args:
            return self.given.get(node.value, ())
        if node.op in _NUMBERS:
            return ()
        shapes = [self.known[x.index] for x in node.args]
        first, last = shapes[0], node.args[-1].value
        if first is None or None in shapes:
            return None
        if node.op in _ELEMENTWISE:
            return _broadcast(*shapes)
        if node.op in ALONG and first:
            return tuple(1 if i == last % len(first) else n for i, n in enumerate(first))
        if node.op in KEPT and first:
            return tuple(n if i == last % len(first) else 1 for i, n in enumerate(first))
        if node.op in ("argsort", *DRAWN):
            return first
        if node.op == "take" and first:
            return _taken(first, shapes[1] or (), int(last) % len(first) - len(first))
        if len(first) < 2:
            return None
        *batch, rows, columns = first
        short = min(rows, columns)
        if node.op == "matmul" and len(shapes[1] or ()) >= 2:
            *others, _, width = shapes[1] or ()
            together = _broadcast(tuple(batch), tuple(others))
            return None if together is None else (*together, rows, width)
        if node.op == "solve_triangular" and len(shapes[1] or ()) >= 2:
            *others, height, width = shapes[1] or ()
            together = _broadcast(tuple(batch), tuple(others))
            return None if together is None else (*together, height, width)
        if node.op == "item":
            made = {
                "qr": ((*batch, rows, short), (*batch, short, columns)),
                "eigh": ((*batch, rows), first),
            }
            return made[node.args[0].op][int(last)]
        if node.op == "transpose":
            return (*batch, columns, rows)
        return first if node.op in (*PAIRS, *_SAME) else None


def _taken(of: Shape, order: Shape, axis: int) -> Shape | None:
    """The shape of an array's elements in an order: along the axis as long as the order."""
    if len(order) < -axis:
        return None
    rest, others = [*of], [*order]
    rest[axis] = others[axis] = 1
    found = _broadcast(tuple(rest), tuple(others))
    return None if found is None else (*found[:axis], order[axis], *found[len(found) + axis + 1 :])


def _broadcast(*shapes: Shape | None) -> Shape | None:
    result = []
    for sizes in zip_longest(*(reversed(shape or ()) for shape in shapes), fillvalue=1):
        longer = {n for n in sizes if n != 1}
        if len(longer) > 1:
            return None
        result.append(longer.pop() if longer else 1)
    return tuple(reversed(result))
