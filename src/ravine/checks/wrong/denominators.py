"""Faults of eps and of roots."""

from __future__ import annotations

from collections.abc import Iterator

from ravine.checks.wrong.site import Site, Wrong
from ravine.engines.graph import Node
from ravine.engines.patterns import corrections, denominators
from ravine.ops import maximum, sqrt

__all__ = ["in_denominators"]


def in_denominators(site: Site) -> Iterator[Wrong]:
    """Eps or the root is at another place."""
    corrected = {c.node.index: c for c in corrections(site.graph)}
    for d in denominators(site.graph):
        eps, node, name = d.eps, d.node, d.eps.value
        whole = site.name(d.other)
        yield Wrong(
            "eps missing",
            f"{name} is missing",
            site.put(node, d.other),
            9,
        )
        yield Wrong("eps subtracted", f"{name} is subtracted", site.put(node, d.other - eps), 9)
        yield Wrong(
            "eps floor",
            f"{name} is a floor: max({whole}, {name})",
            site.put(node, maximum(d.other, eps)),
            9,
        )
        if d.square is None:
            continue
        square = d.square
        its = site.name(square)
        others: dict[str, tuple[str, Node]] = {
            "eps inside": (f"{name} is inside the root: sqrt({its} + {name})", sqrt(square + eps)),
            "eps squared inside": (
                f"{name}² is inside the root: sqrt({its} + {name}²)",
                sqrt(square + eps**2),
            ),
            "eps floor inside": (
                f"{name} is a floor inside the root: sqrt(max({its}, {name}))",
                sqrt(maximum(square, eps)),
            ),
            "eps both": (
                f"{name} is added twice, inside the root and outside",
                sqrt(square + eps) + eps,
            ),
            "root missing": (f"the root of {its} is missing", square + eps),
        }
        correction = corrected.get(square.index)
        if correction is not None and not correction.rooted:
            of, by, beta = correction.of, correction.by, correction.beta.value
            others["eps before correction"] = (
                f"{name} is added before the bias correction, so it counts as {name} / sqrt(1 − {beta}**t)",
                (sqrt(of) + eps) / sqrt(by),
            )
            others["root before correction"] = (
                f"the root is taken before the bias correction: sqrt({site.name(of)}) / (1 − {beta}**t)",
                sqrt(of) / by + eps,
            )
        for kind, (says, by) in others.items():
            yield Wrong(kind, says, site.put(node, by), 9)
