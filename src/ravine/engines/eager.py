"""The reference engine: calls the rule's function, tensor by tensor.

A rule that uses all tensors at once (`ops.total`) is called once, on bags of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ravine.arithmetic import drawn_of, home, stored_in
from ravine.draws import Draw
from ravine.engines.graph import MATRIX, Graph, line
from ravine.engines.lazy import results, together
from ravine.engines.tracing import difference, takes_matrices, trace
from ravine.ops import Operable, Tensors
from ravine.rule import Rule, RuleError, kept
from ravine.views import restored, seen_ndim, view

__all__ = ["Work", "plan", "steps"]


@dataclass
class Work:
    """The pending step of one tensor: parameter, gradient, live state by slot, step count, values.

    hyper: the hyperparameters, and signals that are one number, if given. dtype: the dtype in which p is
    stored, if it is computed in another. signals: the arrays that are given besides g. seed, number: of
    the optimizer and of the tensor, from which random numbers are made. ndim: the number of dimensions
    of the parameter, if p is only some of its elements.
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
    ndim: int | None = None

    @property
    def draw(self) -> Draw:
        """What its random numbers are made from."""
        return Draw(self.seed, self.t, self.number)

    def converted(self, convert: Callable[[Any], Any], dtype: Any) -> Work:
        """The same work on other arrays; dtype: the dtype in which p is stored, if theirs differs."""
        slots, signals = (
            {k: convert(x) for k, x in of.items()} for of in (self.state, self.signals)
        )
        p, g = convert(self.p), convert(self.g)
        return replace(self, p=p, g=g, state=slots, signals=signals, dtype=dtype)

    @property
    def arrays(self) -> list[Any]:
        """All of its arrays that have, or may have, the shape of p."""
        return [self.p, self.g, *self.signals.values(), *self.state.values()]


def plan(
    rule: Rule,
    hyper: Mapping[str, Any],
    given: Collection[str] | None = None,
    ndim: int | None = None,
) -> Graph:
    """The rule's graph for these values; the same one until a switch changes.

    given: the signals that the step receives; by default all of them. ndim: the number of dimensions of
    the parameter; by default, it is assumed to be a matrix.
    """
    ndim = seen_ndim(MATRIX if ndim is None else ndim, rule.seen)
    on = tuple(bool(hyper[k]) for k in rule.hyperparameters)
    its = tuple(k for k in rule.signals if given is None or k in given)
    return kept(rule, ("graph", on, its, ndim), lambda: _traced(rule, hyper, its, ndim))


def _traced(rule: Rule, hyper: Mapping[str, Any], given: tuple[str, ...], ndim: int) -> Graph:
    """A graph for the switches among these values; other numbers do not matter, nor does the number of
    dimensions if the rule computes the same for all of them.
    """
    graphs: list[Graph] = kept(rule, "graphs", list)
    alike = [
        graph
        for graph in graphs
        if graph.given == given and all(bool(hyper[k]) is on for k, on in graph.switches.items())
    ]
    for graph in alike:
        if not graph.by_ndim or graph.ndim == ndim:
            return graph
    new = trace(rule, given, ndim, **{k: hyper[k] for k in rule.hyperparameters})
    for graph in alike:
        if graph.live == new.live and not difference(graph, new):
            return graph
    graphs.append(new)
    return new


def steps(
    rule: Rule, works: Sequence[Work], bag: type[Tensors] | None = None
) -> list[tuple[Any, dict[str, Any]]]:
    """For each tensor in turn, the new p and the new live state.

    bag: call the rule once, on bags of this kind of all tensors, even if it does not ask for that.

    Everything is computed and checked before anything is returned, and can be stored in any order: the
    arrays share no memory with one another, nor with an array of any work. Only a value that the step
    does not change is returned as the same object, and need not be stored. A plain number, or an array
    without dimensions, represents an array full of it. A tensor without elements is left out of the step
    of a rule with reductions, because the mean of nothing is not a number.

    Raises RuleError if an array's shape differs from that of the array it replaces.
    """
    given, works = works, [_seen(rule, work) for work in works]
    graphs = _graphs(rule, works)
    empty = [_is_empty(w) and not g.pointwise for w, g in zip(works, graphs, strict=True)]
    rows = iter(
        _rows(rule, [w for w, nothing in zip(works, empty, strict=True) if not nothing], bag)
    )
    taken = {id(_array(x)) for w in works for x in w.arrays}
    results: list[tuple[Any, dict[str, Any]]] = []
    for begun, work, graph, nothing in zip(given, works, graphs, empty, strict=True):
        state, live = work.state, graph.live
        if nothing:
            own = (
                slot for slot in live if not rule.slots[slot].shared
            )  # the shared slots that other tensors step
            results.append((begun.p, {slot: begun.state[slot] for slot in own}))
            continue
        p, *slots = next(rows)
        p = _kept(rule, work, "p", p, work.p, taken)
        new = {
            slot: _kept(rule, work, slot, x, state[slot], taken)
            for slot, x in zip(rule.slots, slots, strict=True)
            if slot in live
        }
        results.append(_restored(rule, begun, work, p, new) if rule.seen else (p, new))
    return results


def _seen(rule: Rule, work: Work) -> Work:
    """A work in the rule's view."""
    if not rule.seen:
        return work
    p, g, *slots = rule.view((work.p, work.g, *(work.state.get(slot) for slot in rule.slots)))
    state = {k: x for k, x in zip(rule.slots, slots, strict=True) if k in work.state}
    signals = {k: view(x, rule.seen) for k, x in work.signals.items()}
    return replace(work, p=p, g=g, state=state, signals=signals)


def _restored(
    rule: Rule, work: Work, seen: Work, p: Any, state: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The results in the shapes of the work; unchanged values are the same objects."""

    def restore(new: Any, now: Any, old: Any) -> Any:
        return old if new is now else restored(new, old, rule.seen)

    slots = {k: restore(x, seen.state[k], work.state[k]) for k, x in state.items()}
    return restore(p, seen.p, work.p), slots


def _graphs(rule: Rule, works: Sequence[Work]) -> list[Graph]:
    """The graph that steps each work."""
    known: dict[tuple[int, int], Graph] = {}
    graphs = []
    for work in works:
        key = id(work.hyper), _ndim(work)
        if key not in known:
            numbers = (k for k in rule.signals if work.hyper.get(k) is not None)
            known[key] = plan(rule, work.hyper, {*work.signals, *numbers}, key[1])
        graphs.append(known[key])
    return graphs


def _ndim(work: Work) -> int:
    return getattr(work.p, "ndim", 0) if work.ndim is None else work.ndim


def _is_empty(work: Work) -> bool:
    return 0 in getattr(work.p, "shape", ())


def _array(x: Any) -> Any:
    """The array that owns the memory: for one that is spread over processes, this process's part."""
    return getattr(x, "local", x) if isinstance(x, Operable) else x


def _rows(rule: Rule, works: Sequence[Work], bag: type[Tensors] | None) -> Sequence[Sequence[Any]]:
    """For each tensor the new p and the new slots, as the rule returns them."""
    graphs = _graphs(rule, works)
    at_once = any(graph.uses("total") for graph in {*graphs})
    if bag is None and not at_once:
        return [_call(g, _given(rule, w), [w], None) for g, w in zip(graphs, works, strict=True)]
    bag = bag or Tensors
    places: dict[
        int, list[int]
    ] = {}  # if it matters, all tensors in a bag have the same number of dimensions
    for i, (graph, work) in enumerate(zip(graphs, works, strict=True)):
        places.setdefault(_ndim(work) if graph.by_ndim else 0, []).append(i)
    parts = [[works[i] for i in its] for its in places.values()]
    firsts = [graphs[its[0]] for its in places.values()]
    given = [_bagged(rule, its, bag) for its in parts]
    columns: Sequence[Sequence[Any]]
    if at_once and len(places) > 1:
        within = [partial(_within, g, its, bag) for g, its in zip(firsts, parts, strict=True)]
        columns = together(firsts, given, within)
    else:
        columns = [_call(g, x, its, bag) for g, x, its in zip(firsts, given, parts, strict=True)]
    rows: list[Any] = [None] * len(works)
    for its, found in zip(places.values(), columns, strict=True):
        every = [x if isinstance(x, Tensors) else [x] * len(its) for x in found]
        for i, row in zip(its, zip(*every, strict=True), strict=True):
            rows[i] = row
    return rows


def _given(rule: Rule, work: Work) -> dict[str, Any]:
    """The rule's arguments for a tensor, by name."""
    state = {slot: work.state.get(slot, 0.0) for slot in rule.slots}
    names = (*rule.hyperparameters, *rule.signals)
    numbers = {k: work.hyper[k] for k in names if k in work.hyper}
    return {"p": work.p, "g": work.g, "t": work.t, **state, **numbers, **work.signals}


def _bagged(rule: Rule, works: Sequence[Work], bag: type[Tensors]) -> dict[str, Any]:
    """The same for several tensors, in bags; a number that is the same for all of them is not in a bag."""
    every = [_given(rule, work) for work in works]
    columns = {name: [given[name] for given in every] for name in every[0]}
    arrays = {"p", "g", *works[0].signals}
    arrays |= {k for k, slot in rule.slots.items() if not slot.shared}
    return {
        k: bag(x) if k in arrays else x[0] if k in rule.slots else _one(x, bag)
        for k, x in columns.items()
    }


def _one(values: Sequence[Any], bag: type[Tensors]) -> Any:
    same = all(v is values[0] or v == values[0] for v in values)
    return values[0] if same else bag(values)


def _within(
    graph: Graph, works: Sequence[Work], bag: type[Tensors] | None
) -> AbstractContextManager[Any]:
    """The context of these works: how p is stored, and what random numbers are made from."""
    stack = ExitStack()
    stack.enter_context(stored_in(_one([work.dtype for work in works], Tensors)))
    if graph.draws:
        draws = Tensors(work.draw for work in works)
        stack.enter_context(drawn_of(draws if bag is not None else draws[0]))
    return stack


def _call(
    graph: Graph, given: Mapping[str, Any], works: Sequence[Work], bag: type[Tensors] | None
) -> Sequence[Any]:
    """Call the rule; if an operation does not fit its arrays, RuleError says in which line."""
    rule = graph.rule
    # From some elements, the function cannot know the number of dimensions; the graph was told.
    in_part = graph.by_ndim and any(work.ndim is not None for work in works)
    with _within(graph, works, bag):
        if graph.lazy or in_part:
            # the call's error says in which line
            with suppress(*(() if in_part else (ValueError, RuntimeError, IndexError))):
                return results(graph, given)
        state = [given[slot] for slot in rule.slots]
        named = {k: given[k] for k in (*rule.hyperparameters, *rule.signals) if k in given}
        try:
            new_p, new_state = rule.update(given["p"], given["g"], state, given["t"], **named)
        except (ValueError, RuntimeError, IndexError) as error:
            place = line(rule, error)
            if not place:
                raise
            shapes = ", ".join(dict.fromkeys(str(tuple(x.shape)) for x in _members(given["p"])))
            raise RuleError(
                f"rule {rule.name!r}{place}: {error} (a parameter of shape {shapes})"
                f"{_for_matrices(graph, given['p'])}"
            ) from error
    return (new_p, *new_state)


def _for_matrices(graph: Graph, p: Any) -> str:
    """Advice if a rule for matrices is given something else; otherwise ""."""
    ndim = min((x.ndim for x in _members(p)), default=2)
    if ndim > 1 or not takes_matrices(graph.rule, ndim):
        return ""
    return (
        f"; {graph.rule.name} is for matrices: give other parameters to another rule, such as AdamW"
    )


def _members(p: Any) -> Sequence[Any]:
    return [x for x in (p if isinstance(p, Tensors) else [p]) if hasattr(x, "shape")]


def _kept(rule: Rule, work: Work, name: str, new: Any, old: Any, taken: set[int]) -> Any:
    """A result, or a copy if it shares memory with an argument or with another result.

    taken: the ids of all arguments, and of the results so far. Rules are pure, so other results are new,
    or views of arguments. Raises RuleError if an array's shape differs from that of the array it replaces.
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
    """Whether an array may be a view of one in the work; JAX's are not, since they never change."""
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
