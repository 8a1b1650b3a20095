"""The values of a rule's graph for JAX arrays, traced by JAX.

What depends only on t and the hyperparameters is computed in float64, whatever the dtype of the arrays. In
float32, Adam's 1 - beta2**t would be wrong by 6e-5 at the first step. If `where` chooses between matrices
by a number of the step, only the branch that is taken is computed.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from ravine import ops
from ravine.arithmetic import typed_like
from ravine.engines.graph import ELEMENT, OF_ARRAYS, STEP, Graph, Node
from ravine.engines.kernel import LARGEST, SMALLEST
from ravine.optax.differences import with_difference
from ravine.rule import kept

__all__ = ["Program", "program", "scalars", "steps"]

Known = dict[int, Any]


class Program:
    """A graph, and what is needed to compute it.

    outputs: the update of p, as "p", and the new values of the live slots. totals: the nodes that use all
    tensors, in order. groups: for each `where` that decides whether matrices are computed, those that are
    decided together with it.
    """

    def __init__(self, graph: Graph) -> None:
        self.live, self.pointwise = graph.live, graph.pointwise
        self.graph, difference = with_difference(graph)
        self.outputs = {"p": difference} | {k: graph.outputs[k] for k in graph.live}
        self.nodes = self.graph.needed(self.outputs.values())
        self.totals = [x for x in self.nodes if x.op == "total"]
        self.groups: dict[int, list[Node]] = {}
        together: dict[tuple[int, int], list[Node]] = {}
        for x in self.nodes:
            if self._decides(x):
                after = max(
                    (y.index for y in self.graph.needed([x]) if y.op == "total"), default=-1
                )
                group = together.setdefault((x.args[0].index, after), [])
                group.append(x)
                self.groups[x.index] = group

    def _decides(self, node: Node) -> bool:
        if node.op != "where" or node.args[0].level != STEP:
            return False
        return any(x.op in OF_ARRAYS for x in self.graph.needed(node.args[1:]))

    @cached_property
    def scalars(self) -> list[Node]:
        """Values known before the step, which are the same for all tensors with the same number of steps."""
        slots, common = self.graph.rule.slots, set()
        for x in self.nodes:
            known = x.value not in slots or slots[x.value].shared
            if x.level == STEP and (
                known if not x.args else all(a.index in common for a in x.args)
            ):
                common.add(x.index)
        return [x for x in self.nodes if x.index in common]


def program(graph: Graph) -> Program:
    """The program of a graph, cached."""
    return kept(graph, "program", lambda: Program(graph))


def scalars(of: Program, given: Mapping[str, Any]) -> Known:
    """The numbers of a step in float64.

    given: t, hyperparameters, shared slots, and signals that are numbers.
    """
    known: Known = {}
    for node in of.scalars:
        known[node.index] = _scalar(node, known, given)
    return known


def _scalar(node: Node, known: Known, given: Mapping[str, Any]) -> Any:
    if node.op == "constant":
        return node.value
    if not node.args:
        return _double(given[node.value])
    with typed_like(None):
        return ops.apply(node.op, *(known[x.index] for x in node.args))


def _double(x: Any) -> Any:
    """A number as it is, an array in float64."""
    return x if isinstance(x, (bool, int, float)) else jnp.asarray(x).astype(jnp.float64)


def steps(
    of: Program, common: Known, given: Mapping[str, Any], dtype: Any
) -> Generator[Any, Any, dict[str, Any]]:
    """The outputs of a program for one tensor, by name. Yields the tensor's part of each total, and is
    sent the total.

    common: as of :func:`scalars`. given: p, g, the other slots, and signals that are arrays. dtype: what it
    is computed in.
    """
    values = _Values(of, dict(common), given, dtype)
    for node in of.totals:
        total = yield ops.sum(values.of(node.args[0]))
        values.known[node.index] = values.narrow(total)
    return {name: values.of(node) for name, node in of.outputs.items()}


class _Values:
    """The values of a program's nodes, computed on request. decided: the values of conditions."""

    def __init__(
        self,
        of: Program,
        known: Known,
        given: Mapping[str, Any],
        dtype: Any,
        decided: Mapping[int, bool] | None = None,
    ) -> None:
        self.program, self.known, self.given, self.dtype = of, known, given, dtype
        self.decided = decided or {}

    def of(self, root: Node) -> Any:
        """The value of a node, after computing what it needs."""
        wanted: dict[int, Node] = {}
        stack = [root]
        while stack:
            node = stack.pop()
            if node.index not in wanted and node.index not in self.known:
                wanted[node.index] = node
                stack.extend(self._needed(node))
        for i in sorted(wanted):
            if i not in self.known:
                self.known[i] = self._computed(wanted[i])
        return self.known[root.index]

    def narrow(self, x: Any) -> Any:
        """A number of the step in the form that elements need."""
        is_number = getattr(x, "ndim", None) == 0 and jnp.issubdtype(x.dtype, jnp.floating)
        return x.astype(self.dtype) if is_number else x

    def _needed(self, node: Node) -> Sequence[Node]:
        if node.index not in self.program.groups:
            return node.args
        condition, yes, no = node.args
        if condition.index not in self.decided:
            return [condition]
        return [yes if self.decided[condition.index] else no]

    def _computed(self, node: Node) -> Any:
        if node.index in self.program.groups:
            return self._chosen(node)
        if node.level == STEP:
            return _scalar(node, self.known, self.given)
        if not node.args:
            return self.given[node.value]
        args = [
            self.narrow(self.known[x.index]) if x.level == STEP else self.known[x.index]
            for x in node.args
        ]
        if node.op == "item":
            return args[0][int(args[1])]
        if node.op == "div" and node.level == ELEMENT and node.args[1].level == STEP:
            return self._quotient(args[0], self.known[node.args[1].index])
        return ops.apply(node.op, *args)

    def _quotient(self, x: Any, by: Any) -> Any:
        """Elements divided by a number of the step: multiplied by its reciprocal, computed in float64.

        If that is not a normal float32 number, elements and divisor are multiplied by a power of two.
        """
        if self.dtype == jnp.float64:
            return ops.apply("div", x, by)
        size = abs(by)
        if isinstance(by, (int, float)):
            scale: Any = 1.0 if SMALLEST <= size <= LARGEST else 2.0**64 if size < 1 else 2.0**-64
        else:
            far = jnp.where(size < 1, 2.0**64, 2.0**-64)
            scale = self.narrow(jnp.where((size < SMALLEST) | (size > LARGEST), far, 1.0))
        return x * scale * self.narrow(ops.apply("div", 1.0, ops.apply("mul", by, scale)))

    def _chosen(self, node: Node) -> Any:
        """The branch of a `where` that the step takes, by a number of the step."""
        condition, *branches = node.args
        if condition.index in self.decided:
            return self.known[branches[not self.decided[condition.index]].index]
        group = [x for x in self.program.groups[node.index] if x.index not in self.known]
        decides = self.known[condition.index]

        def taken(on: bool) -> list[Any]:
            decided = {**self.decided, condition.index: on}
            inner = _Values(self.program, {**self.known}, self.given, self.dtype, decided)
            return [self._array(inner.of(x)) for x in group]

        if isinstance(decides, (int, float)):
            found = taken(bool(decides))
        else:
            both = [jax.eval_shape(lambda on=on: taken(on)) for on in (True, False)]
            shapes = [
                jnp.broadcast_shapes(*(x.shape for x in pair)) for pair in zip(*both, strict=True)
            ]

            def fitted(on: bool) -> list[Any]:
                return [
                    jnp.broadcast_to(x, shape) for x, shape in zip(taken(on), shapes, strict=True)
                ]

            found = jax.lax.cond(decides != 0, lambda: fitted(True), lambda: fitted(False))
        self.known |= {x.index: value for x, value in zip(group, found, strict=True)}
        return self.known[node.index]

    def _array(self, x: Any) -> Any:
        whole = hasattr(x, "dtype") and not jnp.issubdtype(x.dtype, jnp.floating)
        return x if whole else jnp.asarray(x, self.dtype)
