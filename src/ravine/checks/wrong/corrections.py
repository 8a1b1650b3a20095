"""Faults of bias corrections."""

from __future__ import annotations

from collections.abc import Iterator

from ravine.checks.wrong.site import Site, Wrong
from ravine.engines.patterns import Correction, corrections
from ravine.ops import sqrt

__all__ = ["in_corrections"]

_NUMBERS = {0: "first", 1: "second", 2: "third"}


def in_corrections(site: Site) -> Iterator[Wrong]:
    """A correction is missing, doubled, inverted, or computed from something else."""
    betas = list(dict.fromkeys(str(c.beta.value) for c in corrections(site.graph)))
    for c in corrections(site.graph):
        number = _NUMBERS.get(betas.index(str(c.beta.value)), "") if len(betas) > 1 else ""
        whose = f"the {number} bias correction".replace("  ", " ")
        yield from _whole(
            site, c, f"{whose} (of {site.name(c.of)}, by 1 − {c.beta.value}**t)", whose
        )
        yield from _computed(site, c, whose)
        yield from _in_place(site, c, whose)


def _whole(site: Site, c: Correction, which: str, whose: str) -> Iterator[Wrong]:
    node, of, by = c.node, c.of, c.by
    divides = node.op == "div" and c.place == 1
    yield Wrong("correction missing", f"{which} is missing", site.put(node, of), 9)
    twice = node / by if divides else node * by
    yield Wrong("correction twice", f"{which} is applied twice", site.put(node, twice), 9)
    turned = of * by if node.op == "div" else of / by
    does, should = ("multiplies", "divide") if node.op == "div" else ("divides", "multiply")
    says = f"{whose} {does} {site.name(of)} where it should {should} it"
    yield Wrong("correction turned", says, site.put(node, turned), 9)


def _computed(site: Site, c: Correction, whose: str) -> Iterator[Wrong]:
    place, beta, t = (c.node.index, c.place), c.beta, site.leaf("t")
    name = beta.value
    others = {
        "t − 1": ("uses t − 1 for t", 1 - beta ** (t - 1)),
        "t + 1": ("uses t + 1 for t", 1 - beta ** (t + 1)),
        "t + 2": ("uses t + 2 for t", 1 - beta ** (t + 2)),
        "without t": (f"is 1 − {name} at every step: the exponent t is missing", 1 - beta),
        "times t": (f"has {name}·t where it should have {name}**t", 1 - beta * t),
        "power of all": (f"is (1 − {name})**t, where it should be 1 − {name}**t", (1 - beta) ** t),
        "plus": (f"is 1 + {name}**t, where it should be 1 − {name}**t", 1 + beta**t),
        "without 1": (f"is {name}**t, where it should be 1 − {name}**t", beta**t),
    }
    for other in site.decays:
        if other != name:
            others[f"{other} for {name}"] = (
                f"uses {other} for {name}",
                1 - site.leaf(other) ** t,
            )
    for kind, (says, by) in others.items():
        its = sqrt(by) if c.rooted else by
        yield Wrong(f"correction {kind}", f"{whose} {says}", site.use({place: its}), 9)
    if c.rooted:
        says = f"the root of {whose} is missing"
        yield Wrong("root missing", says, site.use({place: c.by.args[0]}), 8)
    else:
        yield Wrong("root added", f"{whose} is put under a root", site.use({place: sqrt(c.by)}), 8)


def _in_place(site: Site, c: Correction, whose: str) -> Iterator[Wrong]:
    """The corrected value is stored: the next step starts from it."""
    slot = site.slot_of.get(c.of.index)
    if slot is not None and c.node.level == c.of.level:
        says = f"{slot} is corrected in place: the next step starts from the corrected value"
        yield Wrong("corrected in place", says, site.keep(slot, c.node), 9)
