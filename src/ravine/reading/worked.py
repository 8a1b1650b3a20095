"""A rule worked by hand: every named value over some steps, as one would do it in a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ravine.engines.tracing import trace
from ravine.parts import part_names
from ravine.rule import Rule
from ravine.watching import watch

__all__ = ["worked"]


def worked(
    rule: Rule, gradients: Sequence[float], /, start: float = 1.0, **hyperparameters: Any
) -> list[dict[str, float]]:
    """One row per step on a single parameter: t, g, every value the rule names, step, p.
    The numbers of a tuple are named as its parts: b1, b2, b3.

    gradients: one per step. start: the parameter before the first step. hyperparameters: their
    values; defaults for the rest. `step` is what p went down by, and p the value after the step.
    Signals are not given. Raises ValueError or TypeError for invalid hyperparameters,
    ValueError for a rule of arrays, such as matrices, which a single number cannot show, and RuleError
    for a rule that takes no step without a signal.

    >>> from ravine.rules import momentum
    >>> worked(momentum, [1.0, 0.5], lr=0.5)[1]
    {'t': 2, 'g': 0.5, 'b': 1.4, 'step': 0.7, 'p': -0.19999999999999996}
    """
    values = rule.check(**hyperparameters)
    graph = trace(rule, (), 0, **values)
    if graph.of_arrays:
        raise ValueError(
            f"rule {rule.name!r} works on whole arrays, such as matrices, and has no table of one "
            "number's steps; `ravine show` has its equations, and it can be called on arrays"
        )
    dead = set(rule.slots) - set(graph.live)
    hidden = {"p", "g", "t", *values, *dead}
    p, state = float(start), rule.init(float(start), **values)
    rows = []
    for t, g in enumerate(map(float, gradients), 1):
        with watch(rule) as seen:
            new_p, state = rule.update(p, g, state, t, **values)
        row: dict[str, float] = {"t": t, "g": g}
        for _, local in seen:
            for name, value in _numbers(local):
                if name not in hidden:
                    row.setdefault(name, value)
        row |= {"step" if "step" not in row else "step of p": p - new_p, "p": new_p}
        rows.append(row)
        p = new_p
    return rows


def _numbers(local: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers among local variables; those in a tuple under the names of its parts."""
    for name, value in local.items():
        parts = value if isinstance(value, (tuple, list)) else ()
        for each, x in ((name, value), *zip(part_names(name, len(parts)), parts, strict=True)):
            if isinstance(x, (int, float)):
                yield each, x
