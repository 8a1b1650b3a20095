"""Faults of running means, and of state in general."""

from __future__ import annotations

from collections.abc import Iterator

from ravine.checks.wrong.site import Site, Wrong
from ravine.engines.graph import ELEMENT, Node
from ravine.engines.patterns import RunningMean, running_means
from ravine.ops import abs, where

__all__ = ["in_gradients", "in_means", "in_state"]


def in_means(site: Site) -> Iterator[Wrong]:
    """The weights are wrong, or the averaged value is."""
    for mean in running_means(site.graph):
        yield from _weights(site, mean)
        yield from _values(site, mean)
        yield from _first_steps(site, mean)


def _weights(site: Site, m: RunningMean) -> Iterator[Wrong]:
    slot, beta, node = m.slot, m.beta, m.node
    b, value = site.name(beta), site.name(m.value)
    others: dict[str, tuple[str, Node]] = {
        "not accumulated": (f"{slot} forgets: the old {slot} is missing from the new one", m.new),
        "new part subtracted": (f"in {slot}, {value} is subtracted", m.old - m.new),
        "old part subtracted": (f"in {slot}, the old {slot} is subtracted", m.new - m.old),
        "decay missing": (
            f"in {slot}, the factor {b} of the old {slot} is missing",
            site.leaf(slot) + m.new,
        ),
    }
    if m.weight is None:
        says = f"what is added to {slot} is weighted by 1 − {b}"
        others["weight added"] = (says, m.old + (1 - beta) * m.new)
    else:
        others |= {
            "weight missing": (
                f"{slot} is a sum, not a mean: the factor 1 − {b} of {value} is missing",
                m.old + m.value,
            ),
            "weights swapped": (
                f"in {slot}, {b} and 1 − {b} are swapped",
                m.weight * site.leaf(slot) + beta * m.value,
            ),
            "both weights beta": (
                f"in {slot}, {value} is weighted by {b}, not by 1 − {b}",
                m.old + beta * m.value,
            ),
            "weight plus": (
                f"in {slot}, {value} is weighted by 1 + {b}, not by 1 − {b}",
                m.old + (1 + beta) * m.value,
            ),
            "bracket missing": (
                f"in {slot}, a bracket is missing: {b}·{slot} + 1 − {b}·{value}",
                m.old + 1 - beta * m.value,
            ),
        }
        for c in (0.5, 2.0):
            says = f"in {slot}, {value} is weighted by {c:g} − {b}, and the old {slot} by the rest"
            others[f"weight {c:g}"] = (
                says,
                site.leaf(slot) + (c - beta) * (m.value - site.leaf(slot)),
            )
        for other in site.decays:
            if beta.op == "hyperparameter" and other != beta.value:
                o = site.leaf(other)
                says = f"{slot} decays with {other}, not with {b}"
                others[f"decays with {other}"] = (says, o * site.leaf(slot) + (1 - o) * m.value)
    for kind, (says, by) in others.items():
        yield Wrong(kind, says, site.put(node, by), 9)


def _values(site: Site, m: RunningMean) -> Iterator[Wrong]:
    if m.weight is None:
        return
    slot, b = m.slot, site.name(m.beta)

    def averaged(value: Node) -> Node:
        return m.old + m.weight * value

    if m.value.op == "pow" and m.value.args[1].op == "constant":
        base = m.value.args[0]
        x = site.name(base)
        others = {
            "square missing": (f"{x} is not squared in {slot}", averaged(base)),
            "size for square": (f"{slot} is a mean of |{x}|, not of {x}²", averaged(abs(base))),
            "product with p": (
                f"{slot} averages {x}·p, not {x}²",
                averaged(base * site.leaf("p")),
            ),
            "all squared": (
                f"in {slot}, 1 − {b} is squared together with {x}",
                m.old + (m.weight * base) ** 2,
            ),
        }
        for other in site.slots:
            new = site.graph.outputs[other]
            if other != slot and new.level == ELEMENT and site.leaf(other).level == ELEMENT:
                says = f"{slot} averages {other}², not {x}²"
                others[f"square of {other}"] = (says, averaged(new**2))
                says = f"{slot} averages {x}·{other}, not {x}²"
                others[f"product with {other}"] = (says, averaged(base * new))
    else:
        says = f"{site.name(m.value)} is squared in {slot}"
        others = {"squared": (says, averaged(m.value**2))}
    if "lr" in site.hyperparameters:
        says = f"lr is inside {slot} as well: it averages lr·{site.name(m.value)}"
        others["lr inside"] = (says, averaged(site.leaf("lr") * m.value))
        if m.value.op == "pow":
            scaled = (site.leaf("lr") * m.value.args[0]) ** 2
            others["lr inside square"] = (f"lr is inside {slot} as well", averaged(scaled))
    for kind, (says, by) in others.items():
        yield Wrong(kind, says, site.put(m.node, by), 9)


def _first_steps(site: Site, m: RunningMean) -> Iterator[Wrong]:
    """The first step starts the mean at its first value."""
    slot, value = m.slot, m.value
    first = site.graph.add("eq", site.leaf("t"), 1)
    name, b = site.name(value), site.name(m.beta)
    if site.graph.outputs[slot] is m.node:
        share = "" if m.weight is None else f", where it should be 1 − {b} times that"
        says = f"{slot} is {name} after the first step{share}"
        yield Wrong("starts at value", says, site.put(m.node, where(first, value, m.node)), 9)
    begun = where(first, m.beta * value + m.new, m.node)
    says = f"{slot} starts at {name}, and the first step then adds {name} once more"
    yield Wrong("starts twice", says, site.put(site.graph.outputs[slot], begun), 9)
    if m.weight is None:
        again = m.beta * value + m.new
        says = f"{slot} is recreated in every step, as {b}·{name} + {name}, and remembers nothing"
        yield Wrong("recreated", says, site.put(site.graph.outputs[slot], again), 9)


def in_gradients(site: Site) -> Iterator[Wrong]:
    """The gradient is changed before it is used."""
    g = site.leaf("g")
    if "lr" in site.hyperparameters:
        its = {(n.index, i): site.leaf("lr") * g for n, i in site.users.get(g.index, [])}
        says = "the gradient is multiplied by lr at once, so that lr is used twice"
        yield Wrong("lr on g", says, site.use(its), 9)


def in_state(site: Site) -> Iterator[Wrong]:
    """A slot is not stored, is used a step late, or starts at another value."""
    for slot in site.slots:
        new, leaf = site.graph.outputs[slot], site.leaf(slot)
        says = f"the new {slot} is used but not stored: {slot} stays as it was at first"
        yield Wrong("not stored", says, site.keep(slot, leaf), 9)
        uses = site.users.get(new.index, [])
        if uses and new.args:
            says = f"{slot} is never updated: it stays as it was at first"
            yield Wrong("never updated", says, site.put(new, leaf), 9)
            says = f"the step uses the old {slot}, of the step before, not the new one"
            yield Wrong("a step old", says, site.use({(u.index, i): leaf for u, i in uses}), 9)
        if uses and new.op == "where" and all(a is not leaf for a in new.args):
            branch = where(new.args[0], new.args[1], leaf)
            says = f"the step uses the old {slot}, except where {site.name(new.args[0])}"
            late = {(u.index, i): branch for u, i in uses}
            yield Wrong("a step old in part", says, site.use(late), 9)
        if new.op == "where" and new.args[0].op == "eq":
            first, later = site.name(new.args[1]), new.args[2]
            says = f"{slot} starts at zero, so the first step weights {first} like all others"
            yield Wrong("starts at zero", says, site.put(new, later), 8)
            says = f"{slot} is {first} at every step: it remembers nothing"
            yield Wrong("always the first", says, site.put(new, new.args[1]), 9)
        kind = site.graph.rule.slots[slot]
        if kind.kind == "array" and not kind.matrix:
            if kind.value != 1.0:
                yield Wrong("starts at one", f"{slot} starts at 1", site.same, 8, {slot: 1.0})
            begun = site.graph.add("eq", site.leaf("t"), 1)
            its = {
                (n.index, i): where(begun, site.leaf("g"), leaf)
                for n in site.nodes
                for i, a in enumerate(n.args)
                if a is leaf
            }
            says = f"{slot} is the first gradient before the first step, where it should be zero"
            yield Wrong("starts at g", says, site.use(its), 7)
        if kind.value != 0.0 and kind.kind != "like_p":
            yield Wrong("starts at zero", f"{slot} starts at 0", site.same, 8, {slot: 0.0})
        for user, _ in uses:
            if user.op == "sqrt" and user.level == new.level:
                says = f"the root of {slot} is stored in its place"
                yield Wrong("rooted in place", says, site.keep(slot, user), 8)
    p = site.graph.outputs["p"]
    if p.op == "sub":
        says = "p becomes the step, where it should be moved by it"
        yield Wrong("p replaced", says, site.change(p=_moved_by), 9)


def _moved_by(new: Node) -> Node:
    return new.args[1] if new.op == "sub" else new
