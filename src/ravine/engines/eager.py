"""The reference engine: calls the rule's function, tensor by tensor.

A rule that looks at all tensors at once (`ops.total`) is called once, on bags of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ravine.engines.graph import Graph, line, trace
from ravine.ops import Tensors
from ravine.rule import Rule, RuleError, kept

__all__ = ["Work", "plan", "steps"]


@dataclass
class Work:
    """One tensor's step to be taken: parameter, gradient, live state by slot, step count, values."""

    p: Any
    g: Any
    state: Mapping[str, Any]
    t: int
    hyper: Mapping[str, Any]


def plan(rule: Rule, hyper: Mapping[str, Any]) -> Graph:
    """The rule's graph for these values; the same one until a switch changes sides."""
    key = ("graph", *(bool(hyper[k]) for k in rule.hyperparameters))  # which of them are not zero
    return kept(rule, key, lambda: trace(rule, **hyper))


def steps(
    rule: Rule, works: Sequence[Work], bag: type[Tensors] | None = None
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """For each tensor in turn, the new p and the new live state.

    bag: call the rule once, on bags of this kind of all tensors, even if it does not ask for that.
    """
    if not works:
        return
    graph = plan(rule, works[0].hyper)
    if bag is None and not graph.uses("total"):
        for work in works:
            live = plan(rule, work.hyper).live
            state = [work.state.get(slot, 0.0) for slot in rule.slots]
            p, new = _call(rule, work.p, work.g, state, work.t, work.hyper)
            yield _alike(
                rule, work, p, {k: v for k, v in zip(rule.slots, new, strict=True) if k in live}
            )
        return
    bag = bag or Tensors

    def together(values: list[Any]) -> Any:
        return values[0] if all(v == values[0] for v in values) else bag(values)

    state = [bag(w.state.get(slot, 0.0) for w in works) for slot in rule.slots]
    hyper = {k: together([w.hyper[k] for w in works]) for k in rule.hyperparameters}
    t = together([w.t for w in works])
    p, g = bag(w.p for w in works), bag(w.g for w in works)
    ps, new = _call(rule, p, g, state, t, hyper)
    columns = [x if isinstance(x, Tensors) else [x] * len(works) for x in new]
    for i, (work, new_p) in enumerate(zip(works, ps, strict=True)):
        row = {k: c[i] for k, c in zip(rule.slots, columns, strict=True) if k in graph.live}
        yield _alike(rule, work, new_p, row)


def _call(
    rule: Rule, p: Any, g: Any, state: Sequence[Any], t: Any, hyper: Mapping[str, Any]
) -> Any:
    """Call the rule; where an operation does not fit its arrays, RuleError says in which line."""
    try:
        return rule.update(p, g, state, t, **hyper)
    except (ValueError, RuntimeError, IndexError) as error:
        place = line(rule, error)
        if not place:
            raise
        shapes = ", ".join(dict.fromkeys(str(tuple(x.shape)) for x in _members(p)))
        raise RuleError(
            f"rule {rule.name!r}{place}: {error} (a parameter of shape {shapes})"
        ) from error


def _members(p: Any) -> Sequence[Any]:
    return [x for x in (p if isinstance(p, Tensors) else [p]) if hasattr(x, "shape")]


def _alike(rule: Rule, work: Work, p: Any, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The results, if each has the shape of what it takes the place of, or is one number for all."""
    for name, new in (("p", p), *state.items()):
        old = work.p if name == "p" else work.state[name]
        shape, was = (tuple(getattr(x, "shape", ())) for x in (new, old))
        if shape not in ((), was):
            raise RuleError(
                f"rule {rule.name!r} returns, as new {name}, an array of shape {shape} in place of one "
                f"of shape {was}; an operation in it mixes up shapes"
            )
    return p, state
