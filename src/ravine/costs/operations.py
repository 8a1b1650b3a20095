"""How many operations a step takes, counted on the rule's graph without any array.

The graph is followed back from its outputs as the engines follow it, so that of what happens every k steps,
or in one branch of a `where`, only what is computed counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2, prod
from typing import Any, NamedTuple

from ravine.arguments import enter
from ravine.arrays import ALONG, KEPT
from ravine.engines.graph import FACTS, REDUCTIONS, Graph, Node
from ravine.engines.lazy import Values
from ravine.rule import Rule
from ravine.views import seen_shape

__all__ = ["AVERAGED", "Operations", "operations"]

AVERAGED = range(1001, 1101)
"""The steps over which what happens now and then is averaged."""

_FREE = ("item", "transpose", "take", "stored", "where", *FACTS)


class Operations(NamedTuple):
    """Floating-point operations of a step on one tensor.

    elements: one for each operation on an element. products: of matrix products, a multiplication and an
    addition each. factors: of decompositions (QR, eigenvalues, Cholesky).
    """

    elements: float = 0.0
    products: float = 0.0
    factors: float = 0.0


@dataclass(frozen=True)
class _Whole:
    """An array of which only the shape is known."""

    shape: tuple[int, ...]


class _Counted(Values):
    """The values that a step computes, those that are arrays by their shapes alone."""

    def __init__(self, graph: Graph, given: Mapping[str, Any]) -> None:
        super().__init__(graph, given)
        self.count = [0.0, 0.0, 0.0]

    def _computed(self, node: Node, args: Sequence[Node]) -> Any:
        values = [self.known[x.index] for x in args]
        shape = self.members[0].of(node) or ()
        if node.op in FACTS and node.op != "epsilon":
            of = self.members[0].of(node.args[0]) or ()
            whole = prod(of) if node.op == "numel" else of[int(values[1])]
            return enter(float(whole))
        known = all(not isinstance(x, _Whole) for x in values)
        if known and (node.args or not isinstance(self.given.get(node.value), _Whole)):
            return super()._computed(node, args)
        if node.op == "where" and len(values) == 2:
            return values[1]
        if node.args:
            its = [self.members[0].of(x) or () for x in node.args]
            kind, count = _of(node.op, its, shape, values)
            self.count[kind] += count
        return _Whole(shape)


def _of(
    op: str, args: Sequence[tuple[int, ...]], shape: tuple[int, ...], values: Sequence[Any]
) -> tuple[int, float]:
    """The kind of an operation, by its place in Operations, and how many it takes; values: its arguments."""
    of = args[0]
    if op in (*REDUCTIONS, *ALONG, *KEPT):
        return 0, prod(of) * (1 + (op == "norm"))
    if op == "argsort":
        return 0, prod(of) * log2(max(of[-1], 2))
    if op in _FREE:
        return 0, prod(shape) * (op == "where")
    if op == "matmul":
        return 1, 2 * prod(shape) * of[-1]
    if len(of) < 2 or op not in (*_FACTORS, "newton_schulz"):
        return 0, prod(shape)
    *batch, rows, columns = of
    short, long = sorted((rows, columns))
    if op == "newton_schulz":  # X Xᵀ, S S, and (b S + c S S) X
        return 1, prod(batch) * int(values[2]) * (4 * short**2 * long + 2 * short**3)
    many, width = prod(batch), args[1][-1] if op == "solve_triangular" else 0
    return 2, many * _FACTORS[op](short, long, width)


# Golub & Van Loan, Matrix Computations, 4th edition: 5.2.9 (QR with Q), 8.3.3 (eigenvectors), 4.2.5, 3.1.
_FACTORS = {
    "qr": lambda n, m, k: 4 * m * n**2 - 4 * n**3 / 3,
    "eigh": lambda n, m, k: 9 * n**3,
    "inverse_root": lambda n, m, k: 9 * n**3 + 2 * n**3,
    "cholesky": lambda n, m, k: n**3 / 3,
    "solve_triangular": lambda n, m, k: n**2 * k,
}


def operations(
    rule: Rule, graph: Graph, shape: Sequence[int], values: Mapping[str, Any], t: int
) -> Operations:
    """The operations of step t on a tensor of a shape, values being the hyperparameters."""
    whole = _Whole(seen_shape(shape, rule.seen))
    given: dict[str, Any] = {"p": whole, "g": whole, "t": float(t), **values}
    for name in graph.live:
        slot = rule.slots[name]
        if slot.kind == "scalar":
            given[name] = slot.init(0.0, **values)
        else:
            given[name] = _Whole(seen_shape(rule.shape(name, shape, **values), rule.seen))
    for name, signal in rule.signals.items():
        given[name] = 0.0 if signal.scalar else whole
    counted = _Counted(graph, given)
    for output in graph.live_outputs().values():
        counted.of(output)
    return Operations(*counted.count)
