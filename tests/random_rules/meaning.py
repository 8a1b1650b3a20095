"""What the steps of a random rule must give: its trees evaluated on spans, in 50-digit arithmetic.

A step is the function called on all tensors that have a gradient and elements, and then all stored
at once. Scalars are float64, arrays have the precision of the parameters, float32 at least.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from random_rules import arithmetic
from random_rules.cases import Case, Tensor
from random_rules.spans import EXACT, FORMATS, Format, Span, number
from random_rules.trees import COMPARISONS, ELEMENT, REDUCTIONS, Node

Value = Span | list[Span]
"""A number, or the distinct elements of an array."""

_SIMPLE: Mapping[str, Callable[..., Span]] = {
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "mul": arithmetic.multiply,
    "div": arithmetic.divide,
    "neg": arithmetic.negative,
    "sqrt": arithmetic.root,
    "abs": arithmetic.absolute,
    "sign": arithmetic.signum,
    "floor": arithmetic.floor,
    "round": arithmetic.to_whole,
    "maximum": arithmetic.maximum,
    "minimum": arithmetic.minimum,
    "clip": arithmetic.clip,
    "where": arithmetic.where,
}
_LOOSE = {"exp": arithmetic.exponential, "log": arithmetic.logarithm}
_LOOSE |= {"tanh": arithmetic.hyperbolic_tangent, "atan2": arithmetic.angle}


class Meaning:
    """The state of all tensors, step by step.

    exact: in 50 digits throughout, rounded where it is stored; without, all that an engine may
    answer.
    """

    def __init__(self, case: Case, exact: bool = False):
        self.case, self.exact = case, exact
        self.p = [[number(x) for x in case.row(t, -1) or ()] for t in case.tensors]
        self.state: list[dict[str, Value]] = [{} for _ in case.tensors]
        self.t = [0 for _ in case.tensors]
        wide = "float64" if case.dtype == "float64" else "float32"
        self.arrays = EXACT if exact else FORMATS[wide]
        self.scalars = EXACT if exact else FORMATS["float64"]
        for step in range(case.steps):
            self._step(step)

    def _step(self, step: int) -> None:
        case = self.case
        taking = [
            i
            for i, tensor in enumerate(case.tensors)
            if tensor.size and tensor.rows[step + 1] is not None
        ]
        leaves: list[dict[str, Value]] = []
        for i in taking:
            options = case.options(step, case.tensors[i].group)
            if not self.state[i]:
                self.state[i] = {s: self._start(i, s, options) for s in case.rule.slots}
            self.t[i] += 1
            g = [number(x) for x in case.row(case.tensors[i], step) or ()]
            inputs = {"p": self.p[i], "g": g, **self.state[i], "t": number(float(self.t[i]))}
            leaves.append({**inputs, **{k: number(float(v)) for k, v in options.items()}})
        if not taking:
            return
        known: dict[Node, list[Value]] = {}
        for node in case.rule.nodes:
            args = [known[x] for x in node.args]
            known[node] = self._evaluate(node, args, leaves, [case.tensors[i] for i in taking])
        for place, i in enumerate(taking):
            for name, node in case.rule.outputs.items():
                value = known[node][place]
                if name == "p":
                    self.p[i] = self._stored(value, len(self.p[i]), case.dtype)
                elif case.rule.is_scalar(name):
                    self.state[i][name] = value
                else:
                    dtype = case.state_dtype or case.dtype
                    self.state[i][name] = self._stored(value, len(self.p[i]), dtype)

    def _start(self, i: int, slot: str, options: Mapping[str, Any]) -> Value:
        declared, many = self.case.rule.slots[slot], len(self.p[i])
        dtype = self.case.state_dtype or self.case.dtype
        if declared == "like_p":
            return self._stored(self.p[i], many, dtype)
        kind, _, start = declared.rstrip(")").partition("(")
        value = 0.0 if kind == "zeros" else ast.literal_eval(start)
        first = number(float(options[value] if isinstance(value, str) else value))
        return first if kind == "scalar" else self._stored(first, many, dtype)

    def _stored(self, value: Value, many: int, dtype: str) -> list[Span]:
        """As an array of a dtype; a number fills it."""
        form, spans = FORMATS[dtype], value if isinstance(value, list) else [value] * many
        return [form.nearest(x) if self.exact else form.round(x) for x in spans]

    def _evaluate(
        self,
        node: Node,
        args: Sequence[list[Value]],
        leaves: Sequence[Mapping[str, Value]],
        tensors: Sequence[Tensor],
    ) -> list[Value]:
        """The node's value for each of the tensors."""
        if node.op == "constant":
            return [number(float(node.value))] * len(tensors)
        if node.op == "input":
            return [leaf[node.value] for leaf in leaves]
        if node.op == "if":
            on = [leaf[node.value] != number(0.0) for leaf in leaves]
            return [args[0][i] if on[i] else args[1][i] for i in range(len(tensors))]
        if node.op in REDUCTIONS:
            return self._reduce(node, args[0], tensors)
        form = self.arrays if node.reduced else self.scalars
        results: list[Value] = []
        for i, tensor in enumerate(tensors):
            values = [x[i] for x in args]
            if node.level < ELEMENT:
                results.append(self._operate(node, form, values))
                continue
            columns = [x if isinstance(x, list) else [x] * len(tensor.counts) for x in values]
            results.append([self._operate(node, form, row) for row in zip(*columns, strict=True)])
        return results

    def _operate(self, node: Node, form: Format, args: Sequence[Any]) -> Span:
        op = node.op
        # Numbers take the precision of the arrays that they meet.
        args = [form.round(x) for x in args]
        if op in COMPARISONS:
            return arithmetic.compare(op, *args)
        if op == "pow":
            return arithmetic.power(form, *args)
        if op == "mod":
            return form.round(arithmetic.modulo(form, *args))
        if op == "div" and node.level == ELEMENT and not all(x.array for x in node.args):
            return arithmetic.divide_numbers(form, *args)
        if op in _LOOSE:
            return form.round(_LOOSE[op](*args), arithmetic.ULPS)
        return form.round(_SIMPLE[op](*args))

    def _reduce(self, node: Node, values: list[Value], tensors: Sequence[Tensor]) -> list[Value]:
        form, sums = self.arrays, []
        for value, tensor in zip(values, tensors, strict=True):
            many, spans = tensor.size, value
            if not isinstance(value, list):  # as `total` of a number for each tensor
                sums.append(value)
                continue
            if node.op in ("greatest", "least"):
                pick = arithmetic.maximum if node.op == "greatest" else arithmetic.minimum
                sums.append(
                    reduce(pick, (s for s, n in zip(value, tensor.counts, strict=True) if n))
                )
                continue
            if node.op in ("norm", "rms"):
                spans = [form.round(arithmetic.multiply(x, x)) for x in value]
            result = arithmetic.add_up(form, spans, tensor.counts)
            if node.op in ("mean", "rms"):
                result = form.round(arithmetic.divide(result, number(float(many))), 1)
            sums.append(
                form.round(arithmetic.root(result)) if node.op in ("norm", "rms") else result
            )
        if node.op == "total":
            return [arithmetic.add_up(form, sums, [1] * len(sums))] * len(sums)
        return list(sums)
