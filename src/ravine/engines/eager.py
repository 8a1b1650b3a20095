"""The reference engine: calls the rule's function, tensor by tensor.

A rule that looks at all tensors at once (`ops.total`) is called once, on bags of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ravine.arithmetic import drawn_of, home, stored_in
from ravine.draws import Draw
from ravine.engines.graph import Graph, line, trace
from ravine.engines.lazy import results
from ravine.ops import Operable, Tensors
from ravine.rule import Rule, RuleError, kept

__all__ = ["Work", "plan", "steps"]


@dataclass
class Work:
    """One tensor's step to be taken: parameter, gradient, live state by slot, step count, values.

    hyper: the hyperparameters, and signals that are one number, where they are given. dtype: what p is
    kept in, where it is computed in another. signals: the arrays that are given besides g. seed,
    number: of the optimizer and of the tensor, what random numbers are made of.
    """

    p: Any
    g: Any
    state: Mapping[str, Any]
    t: int
    hyper: Mapping[str, Any]
    dtype: Any = None
    signals: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    number: int = 0

    @property
    def draw(self) -> Draw:
        """What its random numbers are made of."""
        return Draw(self.seed, self.t, self.number)

    @property
    def arrays(self) -> list[Any]:
        """All that it has in the shape of p, or that may have it."""
        return [self.p, self.g, *self.signals.values(), *self.state.values()]


def plan(rule: Rule, hyper: Mapping[str, Any], given: Collection[str] | None = None) -> Graph:
    """The rule's graph for these values; the same one until a switch changes sides.

    given: the signals that the step is given; by default all of them.
    """
    on = tuple(bool(hyper[k]) for k in rule.hyperparameters)
    its = tuple(k for k in rule.signals if given is None or k in given)
    return kept(rule, ("graph", on, its), lambda: _traced(rule, hyper, its))


def _traced(rule: Rule, hyper: Mapping[str, Any], given: tuple[str, ...]) -> Graph:
    """A graph whose switches stand as these values have them; numbers that are none do not matter."""
    graphs: list[Graph] = kept(rule, "graphs", list)
    for graph in graphs:
        switches = graph.switches.items()
        if graph.given == given and all(bool(hyper[k]) is on for k, on in switches):
            return graph
    graphs.append(trace(rule, given, **{k: hyper[k] for k in rule.hyperparameters}))
    return graphs[-1]


def _planned(rule: Rule, work: Work) -> Graph:
    """The graph of a work."""
    given = {*work.signals, *(k for k in rule.signals if work.hyper.get(k) is not None)}
    return plan(rule, work.hyper, given)


def steps(
    rule: Rule, works: Sequence[Work], bag: type[Tensors] | None = None
) -> list[tuple[Any, dict[str, Any]]]:
    """For each tensor in turn, the new p and the new live state.

    bag: call the rule once, on bags of this kind of all tensors, even if it does not ask for that.

    All is computed and checked before anything is returned, and can be stored in any order: arrays
    share no memory with one another, nor with an array of any work. Only what a step leaves as it is
    comes back as the very object that stands in its place in the work, and need not be stored. A
    plain number, or an array without dimensions, stands for an array full of it. A tensor without
    elements takes no part in the step of a rule with reductions: means of nothing are no numbers.

    Raises RuleError where an array has another shape than what it takes the place of.
    """
    empty = [_is_empty(work) and not _planned(rule, work).pointwise for work in works]
    todo = [work for work, nothing in zip(works, empty, strict=True) if not nothing]
    rows = iter(_rows(rule, todo, bag))
    taken = {id(_array(x)) for w in works for x in w.arrays}
    results: list[tuple[Any, dict[str, Any]]] = []
    hyper: Any = None
    live: tuple[str, ...] = ()
    for work, nothing in zip(works, empty, strict=True):
        state = work.state
        if work.hyper is not hyper:
            hyper = work.hyper
            live = _planned(rule, work).live
        if nothing:
            results.append((work.p, {slot: state[slot] for slot in live}))
            continue
        p, *slots = next(rows)
        p = _kept(rule, work, "p", p, work.p, taken)
        new = {
            slot: _kept(rule, work, slot, x, state[slot], taken)
            for slot, x in zip(rule.slots, slots, strict=True)
            if slot in live
        }
        results.append((p, new))
    return results


def _is_empty(work: Work) -> bool:
    return 0 in getattr(work.p, "shape", ())


def _array(x: Any) -> Any:
    """What has the memory: of an array that is spread over processes, this one's part."""
    return getattr(x, "local", x) if isinstance(x, Operable) else x


def _rows(rule: Rule, works: Sequence[Work], bag: type[Tensors] | None) -> Sequence[Sequence[Any]]:
    """For each tensor the new p and the new slots, as the rule returns them."""
    if not works:
        return []
    states = [[work.state.get(slot, 0.0) for slot in rule.slots] for work in works]
    graph = _planned(rule, works[0])
    if bag is None and not graph.uses("total"):
        return [
            _call(
                _planned(rule, w), w.p, w.g, state, w.t, {**w.hyper, **w.signals}, w.dtype, w.draw
            )
            for w, state in zip(works, states, strict=True)
        ]
    bag = bag or Tensors

    def together(values: Sequence[Any]) -> Any:
        same = all(v is values[0] or v == values[0] for v in values)
        return values[0] if same else bag(values)

    columns = _call(
        graph,
        bag(work.p for work in works),
        bag(work.g for work in works),
        [
            column[0] if slot.shared else bag(column)
            for slot, column in zip(rule.slots.values(), zip(*states, strict=True), strict=True)
        ],
        together([work.t for work in works]),
        {k: together([work.hyper[k] for work in works]) for k in works[0].hyper}
        | {k: bag(work.signals[k] for work in works) for k in works[0].signals},
        together([work.dtype for work in works]),
        Tensors(work.draw for work in works),
    )
    return [
        *zip(*(x if isinstance(x, Tensors) else [x] * len(works) for x in columns), strict=True)
    ]


def _call(
    graph: Graph,
    p: Any,
    g: Any,
    state: Sequence[Any],
    t: Any,
    hyper: Mapping[str, Any],
    dtype: Any,
    draw: Any,
) -> Sequence[Any]:
    """Call the rule; where an operation does not fit its arrays, RuleError says in which line."""
    if dtype is not None:
        with stored_in(dtype):
            return _call(graph, p, g, state, t, hyper, None, draw)
    if draw is not None and graph.draws:
        with drawn_of(draw):
            return _call(graph, p, g, state, t, hyper, None, None)
    rule = graph.rule
    if graph.lazy:
        slots = dict(zip(rule.slots, state, strict=True))
        with suppress(ValueError, RuntimeError, IndexError):  # the call says in which line
            return results(graph, {"p": p, "g": g, "t": t, **slots, **rule.inputs(hyper)})
    try:
        p, state = rule.update(p, g, state, t, **hyper)
    except (ValueError, RuntimeError, IndexError) as error:
        place = line(rule, error)
        if not place:
            raise
        shapes = ", ".join(dict.fromkeys(str(tuple(x.shape)) for x in _members(p)))
        raise RuleError(
            f"rule {rule.name!r}{place}: {error} (a parameter of shape {shapes})"
        ) from error
    return (p, *state)


def _members(p: Any) -> Sequence[Any]:
    return [x for x in (p if isinstance(p, Tensors) else [p]) if hasattr(x, "shape")]


def _kept(rule: Rule, work: Work, name: str, new: Any, old: Any, taken: set[int]) -> Any:
    """A result, or a copy if it shares memory with what the rule was given or with another result.

    taken: the ids of all arrays given, and of the results so far. Rules are pure, so other results
    are new, or views of what the call was given. Raises RuleError for an array of another shape than
    what it takes the place of.
    """
    if new is old or type(new) is float:
        return new
    shape, was = getattr(new, "shape", ()), getattr(old, "shape", ())
    if shape != was and shape:
        raise RuleError(
            f"rule {rule.name!r} returns, as new {name}, an array of shape {tuple(shape)} in place "
            f"of one of shape {tuple(was)}; an operation in it mixes up shapes"
        )
    array = _array(new)
    if id(array) in taken or _is_view(array, work):
        return _copied(new)
    taken.add(id(array))
    return new


def _is_view(x: Any, work: Work) -> bool:
    """Whether an array may be a view of one that the work has; JAX's are not, since none changes."""
    kind = home(type(x))
    if kind == "numpy":
        return x.base is not None
    return kind == "torch" and (x._is_view() or (x.is_inference() and _begins_with(x, work)))


def _begins_with(x: Any, work: Work) -> bool:
    """Whether a tensor begins where one of the work's does: inference mode keeps no track of views."""
    given = map(_array, work.arrays)
    return any(x.data_ptr() == y.data_ptr() for y in given if home(type(y)) == "torch")


def _copied(x: Any) -> Any:
    kind = home(type(x))
    return x.clone() if kind == "torch" else x.copy() if kind == "numpy" else x * 1
