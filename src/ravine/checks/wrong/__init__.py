"""Everything that can be wrong with a rule, one fault at a time, with a sentence for each.

`faults(graph)` returns faulty versions of a rule's graph, and correct graphs used wrongly (`drivers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ravine.checks.wrong.corrections import in_corrections
from ravine.checks.wrong.decay import in_decay
from ravine.checks.wrong.denominators import in_denominators
from ravine.checks.wrong.drivers import DRIVERS, RIGHT, Driver, run
from ravine.checks.wrong.means import in_gradients, in_means, in_state
from ravine.checks.wrong.operations import in_operands, in_operations, twice
from ravine.checks.wrong.site import Change, Site, Wrong
from ravine.engines.graph import Graph

__all__ = [
    "CATALOGUE",
    "CONVENTIONS",
    "DRIVERS",
    "PATTERNS",
    "RIGHT",
    "Catalogue",
    "Driver",
    "Wrong",
    "faults",
    "run",
    "versions",
]

Catalogue = Sequence[Callable[[Site], Iterator[Wrong]]]
CATALOGUE: Catalogue = (
    in_corrections,
    in_denominators,
    in_means,
    in_gradients,
    in_state,
    in_decay,
    twice,
    in_operations,
    in_operands,
)
"""The sources of faults, as functions of a site, the most plausible first."""

CONVENTIONS = frozenset(
    {
        "eps inside",
        "eps before correction",
        "eps floor",
        "eps floor inside",
        "eps both",
        "eps missing",
        "eps squared inside",
        "root before correction",
        "decay coupled",
        "decay decoupled",
        "decay decoupled after",
        "decay after",
        "decay without lr",
        "decay decoupled without lr",
        "starts at zero",
        "starts at value",
        "weight added",
    }
)
"""Kinds of which both forms are in use: a variant, unless the intended rule is given."""


PATTERNS: Catalogue = CATALOGUE[:6]
"""Sources that know the purpose of a rule's parts, and so explain much."""


def versions(graph: Graph, catalogue: Catalogue = CATALOGUE) -> Iterator[Wrong]:
    """All faults of a graph, each version once, under its most plausible sentence."""
    site = Site(graph)
    found: dict[tuple[object, ...], Wrong] = {}
    same = _key(graph, {})
    for of in catalogue:
        for wrong in of(site):
            key = _key(wrong.graph, wrong.start)
            if key != same and (key not in found or found[key].weight < wrong.weight):
                found[key] = wrong
    yield from found.values()


def faults(graph: Graph) -> Iterator[Wrong]:
    """All faults of a rule: in its use, and in its computation."""
    for driver in DRIVERS:
        yield Wrong(driver.kind, driver.says, Change(graph), driver.weight, driver=driver)
    yield from versions(graph)


def _key(graph: Graph, start: object) -> tuple[object, ...]:
    return (*(graph.outputs[k].index for k in ("p", *graph.live)), *graph.live, repr(start))
