"""The tracer: calls a rule with symbols, and finds out whether it is pure and which state is to be kept."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, islice, zip_longest
from typing import Any

from ravine import hyperparameters
from ravine.engines.graph import DIMENSIONS, MATRIX, Graph, Node, fill
from ravine.reads import Reads
from ravine.rule import Rule, RuleError, kept

__all__ = ["difference", "takes_matrices", "trace", "ways"]

_MOST_SETTINGS = 64  # with more, all slots are taken to be needed
_DRAWS = 30  # calls after which a coin has shown both sides


def trace(
    rule: Rule, given: Collection[str] | None = None, ndim: int = MATRIX, /, **values: Any
) -> Graph:
    """Call the rule with symbols and keep what it computes.

    given: the signals that the step is given; by default all of them. ndim: how many dimensions p has,
    where the rule asks for it. values: the hyperparameters; they decide the switches and appear in the
    graph by name. Bools are taken to stay what they are, numbers to change.

    Live, and so to be stored, is a slot that the new p or the weights to evaluate with may depend
    on, now or later, whatever the numbers become and whatever signals are given; but one that is
    neither read nor changed while the numbers are as they are need not exist before that ends, if it
    starts at a number.

    Warns of a slot that is never live. Raises RuleError, naming the rule, the line and what to write
    instead, where the rule does something that cannot be known without numbers, and where it is not
    pure.
    """
    signals = tuple(k for k in rule.signals if given is None or k in given)
    graph = Graph(rule, rule.check(**values), signals, ndim=ndim, reads=rule.look())
    assert graph.reads is not None
    states = graph.reads.random_states()
    fill(graph)
    if not graph.reads.constant:
        _check_pure(graph, graph.reads, states)
    graph.live = _live(graph)
    if len(graph.live) < len(rule.slots):
        kept(rule, "warned", lambda: _warn_of_unused(graph))
    return graph


def ways(rule: Rule, values: Mapping[str, Any]) -> list[Graph]:
    """What the rule computes for each set of signals that it can take a step with: of all of them
    first, of none last. Their outputs only: `trace` finds what is live.
    """
    return list(_ways(Graph(rule, values)))


def _ways(graph: Graph) -> Iterator[Graph]:
    """The graph for each set of signals, as far as the rule can take a step with it."""
    names = [*graph.rule.signals]
    sets = chain.from_iterable(combinations(names, n) for n in range(len(names), -1, -1))
    for given in islice(sets, _MOST_SETTINGS):
        other = _attempt(_again(graph, given=given))
        if other.outputs:
            yield other


def _check_pure(graph: Graph, reads: Reads, states: Sequence[Any]) -> None:
    """Call the rule again, and refuse it where it computes something else, or has changed something.

    Where a random generator has moved on, the rule may have drawn from it, or another thread: it is
    called more often, and refused if the generator moves on in every call.
    """
    rule = graph.rule
    draws = states != reads.random_states()
    for i in range(_DRAWS if draws else 1):
        other = _again(graph)
        states = reads.random_states() if draws else ()
        try:
            fill(other)
        except RuleError as error:
            differs = f"it fails the second time ({error})"
        else:
            differs = difference(graph, other)
        draws = draws and states != reads.random_states()
        if not differs and draws and i == _DRAWS - 1:
            differs = "it draws from a random generator"
        if not differs and reads.iterators:
            differs = f"it may take the next item of {', '.join(reads.iterators)}"
        if changed := reads.changed():
            differs = f"it changes {', '.join(changed)}"
        if differs:
            raise RuleError(
                f"rule {rule.name!r} is not pure: called twice with the same arguments, {differs}; "
                "keep state in a slot, and pass a number that is drawn, counted or read from a clock as a "
                "hyperparameter, set before each step"
            )


def takes_matrices(rule: Rule, ndim: int = 1) -> bool:
    """Whether a rule takes matrices, and so no parameter of so many dimensions."""
    if ndim == 2 or (ndim > 2 and rule.seen):
        return False
    try:
        return trace(rule, None, 1).of_arrays
    except RuleError:  # it says so itself
        return True


def difference(graph: Graph, other: Graph) -> str:
    """What two calls of a rule have computed differently, or nothing."""
    for x, y in zip_longest(graph.nodes, other.nodes):
        if _content(x) != _content(y):
            break
    else:
        ends = ([n.index for n in g.outputs.values()] for g in (graph, other))
        same = operator.eq(*ends) and graph.switches == other.switches
        return "" if same else "it returns other values"
    whose, at = (graph, x.index) if x is not None else (other, y.index)
    users = (
        name
        for k, name in whose.names.items()
        if any(n.index == at for n in whose.needed([whose.nodes[k]]))
    )
    one, two = (str(n.value) if n is not None and n.op == "constant" else repr(n) for n in (x, y))
    return f"it computes {next(users, 'values')} with {one} and then with {two}"


def _content(node: Node | None) -> Any:
    return None if node is None else (node.op, [a.index for a in node.args], repr(node.value))


def _live(graph: Graph) -> tuple[str, ...]:
    slots, evaluated = graph.rule.slots, graph.rule.evaluated
    # The same slots for all signals, which come and go while numbers are as they are.
    now = [*_ways(graph)] if graph.rule.signals else [graph]
    ever = _reached(now, evaluated)
    if len(ever) < len(slots):
        others = list(islice(chain.from_iterable(map(_others, now)), _MOST_SETTINGS))
        possible = [*now, *(other for other in others if other.outputs)]
        ever = {*slots} if len(others) == _MOST_SETTINGS else _reached(possible, evaluated)
    # Neither changed now, nor another when it is begun later.
    idle = {
        k
        for k, slot in slots.items()
        if all(x.outputs[k].op in ("input", "scalar") and x.outputs[k].value == k for x in now)
        and slot.kind != "like_p"
        and not isinstance(slot.value, str)
    }
    live = _reached(now, {*evaluated, *(ever - idle)})
    return tuple(k for k in slots if k in live)


def _warn_of_unused(graph: Graph) -> None:
    """Warn of slots that are dead whatever the switches become, and however many dimensions p has."""
    rule = graph.rule
    now = [*_ways(graph)] if rule.signals else [graph]
    each = chain.from_iterable(map(_in_any_way, now))
    others = list(islice(chain.from_iterable(each), _MOST_SETTINGS))
    if len(others) == _MOST_SETTINGS:
        return
    used = _reached([*now, *(x for x in others if x.outputs)], rule.evaluated)
    for slot in rule.slots.keys() - used:
        warnings.warn(
            f"rule {rule.name!r}: the slot {slot!r} is never used, so it is not stored: neither the new p "
            "nor the weights for evaluation depend on it; if the latter do, declare evaluate=lambda p, "
            f"{slot}: ...",
            stacklevel=4,
        )


def _in_any_way(graph: Graph) -> Iterator[Iterable[Graph]]:
    """What the rule computes with other switches, and for other numbers of dimensions."""
    yield _others(graph, bools=True)
    for ndim in DIMENSIONS if graph.by_ndim else ():
        other = _attempt(_again(graph, ndim=ndim))
        yield (other,)
        yield _others(other, bools=True)


def _reached(graphs: Sequence[Graph], roots: Iterable[str]) -> set[str]:
    """The slots that the new p, or the new values of those given, depend on, now or later."""
    reached = {*roots}
    while True:
        read = {
            node.value
            for graph in graphs
            for node in graph.needed(graph.outputs[k] for k in ("p", *reached))
            if node.op in ("input", "scalar") and node.value in graph.rule.slots
        }
        if read <= reached:
            return reached
        reached |= read


def _others(graph: Graph, bools: bool = False) -> Iterator[Graph]:
    """What the rule computes where numbers decide its switches otherwise, or bools as well; without
    outputs, if nothing.
    """
    forced = dict(graph.forced)
    for switch, on in graph.switches.items():
        if switch in forced or (isinstance(graph.values[switch], bool) and not bools):
            continue
        is_bool = isinstance(graph.values[switch], bool)
        if is_bool or _may_be(graph.rule.hyperparameters[switch], not on):
            values = {**graph.values, switch: not on} if is_bool else graph.values
            other = _attempt(_again(graph, values=values, forced={**forced, switch: not on}))
            yield other
            yield from _others(other, bools)
        forced[switch] = on


def _again(graph: Graph, **changed: Any) -> Graph:
    """An empty graph of the same rule, under other circumstances."""
    same = {k: getattr(graph, k) for k in ("values", "given", "forced", "ndim")}
    return Graph(graph.rule, **{**same, **changed})


def _attempt(graph: Graph) -> Graph:
    """The graph, filled; without outputs, if the rule cannot be called so."""
    try:
        fill(graph)
    except Exception:  # so no step will be taken like that
        graph.outputs.clear()
    return graph


def _may_be(hyperparameter: hyperparameters.Hyperparameter, on: bool) -> bool:
    """Whether it is accepted as a switch that is on, or off."""
    try:
        return hyperparameter.low < hyperparameter.high if on else hyperparameter.check(0, "") == 0
    except ValueError:
        return False
