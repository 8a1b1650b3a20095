"""A rule's graph, prepared for introducing faults, and the faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ravine.checks.wrong.drivers import RIGHT, Driver
from ravine.engines.graph import ELEMENT, Graph, Node
from ravine.engines.python import expressions
from ravine.engines.rewriting import Place, leaf_of, rewritten, users

__all__ = ["DECAYS", "Change", "Site", "Wrong", "plain"]

DECAYS = ("beta", "beta1", "beta2", "beta3", "rho", "alpha", "momentum", "dampening")
"""Hyperparameters that may be taken for one another."""


@dataclass(frozen=True)
class Change:
    """The arguments of :func:`rewritten`, with the graph that they belong to."""

    base: Graph
    nodes: Mapping[int, Node | float] = field(default_factory=dict)
    uses: Mapping[Place, Node | float] = field(default_factory=dict)
    outputs: Mapping[str, Callable[[Node], Node | float]] = field(default_factory=dict)

    @cached_property
    def graph(self) -> Graph:
        """The changed graph."""
        if not (self.nodes or self.uses or self.outputs):
            return self.base
        return rewritten(self.base, nodes=self.nodes, uses=self.uses, outputs=self.outputs)

    def of(self, other: Graph) -> Graph | None:
        """A changed version of the graph; None if it does not contain the nodes to change."""
        places = {*self.nodes, *(i for i, _ in self.uses)}
        needed = {n.index for n in other.needed(other.outputs.values())}
        if not places <= needed:
            return None
        return rewritten(other, nodes=self.nodes, uses=self.uses, outputs=self.outputs)


@dataclass(frozen=True)
class Wrong:
    """One fault in a rule.

    kind: a short name. says: the sentence. change: what is computed instead. weight: how plausible it is,
    compared with other faults that explain the same path: 9 for mistakes that people really make, 1 for a
    slip in any operation. start: the changed initial values of slots. driver: the changed use of the rule.
    """

    kind: str
    says: str
    change: Change
    weight: int = 1
    start: Mapping[str, float] = field(default_factory=dict)
    driver: Driver = RIGHT

    @property
    def graph(self) -> Graph:
        """What is computed instead."""
        return self.change.graph

    def and_also(self, other: Wrong) -> Wrong | None:
        """Both changes, the one further down first; None if they are mutually exclusive."""
        graph = other.change.of(self.graph) or self.change.of(other.graph)
        if graph is None:
            return None
        return Wrong(
            f"{self.kind} + {other.kind}",
            f"{self.says}; and {other.says}",
            Change(graph),
            min(self.weight, other.weight),
            {**self.start, **other.start},
            other.driver if self.driver is RIGHT else self.driver,
        )


def plain(text: str, graph: Graph) -> str:
    """A text without factors of 1."""
    return text if graph.values.get("dampening") else text.replace("(1 - dampening) * ", "")


class Site:
    """A graph, its places, and functions that create versions of it."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.slots = graph.live
        self.nodes = graph.needed(graph.live_outputs().values())
        self.users = users(graph)
        self.slot_of = {graph.outputs[k].index: k for k in self.slots}
        self.hyperparameters = [str(n.value) for n in self.nodes if n.op == "hyperparameter"]
        self.decays = [k for k in self.hyperparameters if k in DECAYS]

    def leaf(self, name: str) -> Node:
        """The leaf of a name."""
        return leaf_of(self.graph, name)

    @property
    def same(self) -> Change:
        """No change."""
        return Change(self.graph)

    def put(self, node: Node, by: Node | float) -> Change:
        """Something in the place of a node."""
        return Change(self.graph, nodes={node.index: by})

    def use(self, places: Mapping[Place, Node | float]) -> Change:
        """Something in the place of arguments."""
        return Change(self.graph, uses=places)

    def keep(self, slot: str, by: Node) -> Change:
        """Something else stored in a slot."""
        return Change(self.graph, outputs={slot: lambda _: by})

    def change(
        self,
        nodes: Mapping[int, Node | float] | None = None,
        uses: Mapping[Place, Node | float] | None = None,
        **outputs: Callable[[Node], Node | float],
    ) -> Change:
        """Several changes."""
        return Change(self.graph, nodes or {}, uses or {}, outputs)

    @cached_property
    def text(self) -> Callable[[Node, bool], str]:
        """The text of a node; see :func:`expressions`."""
        return expressions(self.graph)

    def name(self, node: Node) -> str:
        """The text of a node."""
        return plain(self.text(node, False), self.graph)

    def home(self, node: Node) -> str:
        """The named value whose equation contains a node; "p" for the step itself."""
        seen, front = {node.index}, [node]
        while front:
            x = front.pop(0)
            if x.index in self.graph.names and x.args:
                return self.graph.names[x.index]
            more = [u for u, _ in self.users.get(x.index, ()) if u.index not in seen]
            seen |= {u.index for u in more}
            front += more
        return "p"

    def arrays(self) -> Iterator[str]:
        """The names of values with an element for each element of p."""
        yield from ("p", "g")
        yield from (k for k in self.slots if self.leaf(k).level == ELEMENT)
