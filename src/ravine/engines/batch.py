"""Many runs at once: a graph computed in float64, for many tensors and many values of hyperparameters.

A run uses a fixed sequence of gradients that does not depend on the parameters. Arrays have four axes: the
run, the tensor, and the two of a matrix. A hyperparameter may be one number, or one for each run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine.arithmetic import meaning
from ravine.arrays import ALONG, KEPT, REDUCED
from ravine.draws import DRAWN
from ravine.engines.graph import Graph
from ravine.engines.rewriting import kept
from ravine.slots import Slot

__all__ = ["Array", "Batch", "unable"]

Array = NDArray[np.float64]
Values = Mapping[str, Any]

_UFUNCS: Mapping[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "pow": np.power,
    "mod": np.mod,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "atan2": np.arctan2,
    "sign": np.sign,
    "floor": np.floor,
    "round": np.rint,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "where": np.where,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
_AXIS = {**dict.fromkeys(ALONG, 1), "argsort": 1, "size": 1, "take": 2}
"""Operations with an axis among their arguments, and where."""
_OVER = (-2, -1)


def unable(graph: Graph) -> str:
    """The operation that prevents a graph from being computed in batches; "" if there is none."""
    nodes = graph.needed(graph.live_outputs().values())
    return next(
        (n.op for n in nodes if n.op in DRAWN or n.op == "stored" or n.value in graph.given), ""
    )


@dataclass
class _State:
    p: Array
    slots: dict[str, Any]


class Batch:
    """A graph, ready to run.

    start: initial values of slots that differ from the rule's. The outputs may be any nodes; the live
    slots are those that the new p depends on, now or later.
    """

    def __init__(self, graph: Graph, start: Mapping[str, float] | None = None):
        self.graph, self.start = graph, start or {}
        self.live = kept(graph)
        outputs = {k: graph.outputs[k] for k in ("p", *self.live)}
        nodes = graph.needed(outputs.values())
        place = {n.index: i for i, n in enumerate(nodes)}
        self._code = [(n.op, tuple(place[a.index] for a in n.args), n.value) for n in nodes]
        self._outputs = {k: place[n.index] for k, n in outputs.items()}
        self.reads = {n.value for n in nodes if n.op == "hyperparameter"} | {
            str(slot.value) for slot in map(self._slot, self.live) if isinstance(slot.value, str)
        }

    def _slot(self, name: str) -> Slot:
        return self.graph.rule.slots[name]

    def begin(self, starts: Array, values: Values) -> _State:
        """The state before the first step. starts: (tensors, rows, columns)."""
        runs = max([1, *(len(x) for x in values.values() if isinstance(x, np.ndarray))])
        p = np.broadcast_to(starts, (runs, *starts.shape)).copy()
        slots = {name: self._begun(name, p, starts[0], values) for name in self.live}
        return _State(p, slots)

    def _begun(self, name: str, p: Array, one: Array, values: Values) -> Any:
        slot = self._slot(name)
        if slot.kind == "like_p" and name not in self.start:
            return p.copy()
        value: Any = values[slot.value] if isinstance(slot.value, str) else slot.value
        value = _number(self.start.get(name, value))
        if slot.kind == "scalar":
            return value * np.ones((1, 1, 1, 1))
        plain = {k: float(np.ravel(x)[0]) for k, x in values.items()}
        if slot.matrix:
            return np.broadcast_to(slot.init(one, **plain), (1, 1, *slot.shape(one.shape, **plain)))
        shape = slot.shape(one.shape, **plain)
        return np.zeros((*p.shape[:2], *((1,) * (2 - len(shape)) + tuple(shape)))) + value

    def step(
        self, p: Array, g: Array, slots: Mapping[str, Any], t: Any, values: Values
    ) -> dict[str, Any]:
        """The new p and the new slots."""
        found: list[Any] = []
        for op, args, value in self._code:
            its = [found[a] for a in args]
            if args:
                found.append(_computed(op, its, p))
            elif op == "constant":
                found.append(float(value) if not isinstance(value, bool) else value)
            elif op == "hyperparameter":
                found.append(_number(values[value]))
            else:
                found.append(
                    p
                    if value == "p"
                    else g
                    if value == "g"
                    else t
                    if value == "t"
                    else slots[value]
                )
        return {k: found[i] for k, i in self._outputs.items()}

    def path(self, starts: Array, grads: Sequence[Array] | Array, values: Values) -> Array:
        """The values of p before the first step and after each: (runs, steps + 1, tensors, rows, columns)."""
        state = self.begin(starts, values)
        rows = [state.p]
        with np.errstate(all="ignore"):
            for i, g in enumerate(grads):
                new = self.step(state.p, g[None], state.slots, np.float64(i + 1), values)
                state.p = np.broadcast_to(new.pop("p"), state.p.shape)
                state.slots = new
                rows.append(state.p)
        return np.stack(rows, axis=1)


def _number(x: Any) -> Any:
    """A number, or a number for each run."""
    if isinstance(x, np.ndarray):
        return x.reshape(-1, 1, 1, 1)
    return x if isinstance(x, bool) else np.float64(x)


def _computed(op: str, args: list[Any], p: Array) -> Any:
    known = _UFUNCS.get(op)
    if known is not None:
        return known(*args)
    if op == "epsilon":
        return np.finfo(float).eps
    if op == "item":
        return args[0][int(args[1])]
    if op == "numel":
        return float(np.prod(np.shape(args[0])[2:]))
    if op == "total":
        x = np.asarray(args[0])
        x = (
            np.broadcast_to(x, (*p.shape[:2], *x.shape[2:]))
            if x.ndim == 4
            else np.full((*p.shape[:2], 1, 1), x)
        )
        return x.sum(axis=(1, 2, 3), keepdims=True)
    if op in REDUCED:
        return _reduced(op, args[0])
    if op in KEPT:
        axis = _OVER[1 - int(args[1]) % 2]
        return meaning(next(k for k, v in ALONG.items() if v == KEPT[op]), "numpy")(args[0], axis)
    place = _AXIS.get(op)
    if place is not None:
        args[place] = int(args[place]) % 2 - 2
    elif op == "inverse_root":
        args[2] = args[2][..., 0] if np.ndim(args[2]) == 4 else args[2]
    elif op == "newton_schulz":
        args = [args[0], *(float(np.ravel(x)[0]) if i else x for i, x in enumerate(args[1:]))]
    return meaning(op, "numpy")(*args)


def _reduced(op: str, x: Any) -> Any:
    """A reduction over a matrix, for each run and tensor."""
    x = np.asarray(x)
    if x.ndim < 4:
        return x
    if op == "greatest":
        return x.max(axis=_OVER, keepdims=True)
    if op == "least":
        return x.min(axis=_OVER, keepdims=True)
    return x.sum(_OVER, keepdims=True) if op == "sum" else x.mean(_OVER, keepdims=True)
