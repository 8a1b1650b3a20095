"""Slips in any operation: another sign, another operand, a missing root or power."""

from __future__ import annotations

from collections.abc import Iterator

from ravine.checks.wrong.site import DECAYS, Site, Wrong
from ravine.engines.graph import ELEMENT, Node
from ravine.ops import abs, maximum, minimum, sign, sqrt

__all__ = ["in_operands", "in_operations", "twice"]


def in_operations(site: Site) -> Iterator[Wrong]:
    """Another operation, or none, at each node; if it is used twice, also at each use."""
    for node in site.nodes:
        if node.args:
            home = site.home(node)
            for says, by, weight in _at(site, node):
                yield Wrong(f"{node.op} {says}", f"in {home}, {says}", site.put(node, by), weight)
            if len(site.users.get(node.index, ())) > 1:
                yield from _at_a_use(site, node)


def _at_a_use(site: Site, node: Node) -> Iterator[Wrong]:
    """A slip in one copy of a value that is computed once."""
    slips = [*_at(site, node)]
    for i, arg in enumerate(node.args):
        for says, by, weight in _instead(site, node, arg):
            its = [site.graph.lifted(by) if k == i else a for k, a in enumerate(node.args)]
            slips.append((says, site.graph.add(node.op, *its), weight))
    for user, place in site.users[node.index]:
        home = site.home(user)
        for says, by, weight in slips:
            change = site.use({(user.index, place): by})
            yield Wrong(f"{node.op} {says} at a use", f"in {home}, {says}", change, weight)


def _at(site: Site, node: Node) -> Iterator[tuple[str, Node | float, int]]:
    """The replacements for a node: sentence, node, weight."""
    a = node.args[0]
    x = site.name(a)
    b = node.args[1] if len(node.args) > 1 else a
    y = site.name(b)
    add = site.graph.add
    if node.op in ("add", "sub"):
        plus = node.op == "add"
        yield f"{y} is {'subtracted' if plus else 'added'}", a - b if plus else a + b, 4
        yield f"{'+' if plus else '−'} {y} is missing", a, 3
        yield f"{x} is missing", b if plus else -b, 2
        yield (f"{x} is subtracted" if plus else f"{x} − {y} is the wrong way round"), b - a, 3
        yield f"{x} and {y} are multiplied", a * b, 1
        if not plus:
            yield f"{y} stands alone", b, 1
        yield from _brackets(site, node)
    elif node.op in ("mul", "div"):
        times = node.op == "mul"
        yield f"{x} is {'divided' if times else 'multiplied'} by {y}", a / b if times else a * b, 3
        yield f"the {'factor' if times else 'divisor'} {y} is missing", a, 3
        yield f"{x} is missing", b if times else 1 / b, 2
        yield f"{y} is applied twice", node * b if times else node / b, 2
        if times:
            yield f"{y} is divided by {x}", b / a, 2
        if times and a.level != ELEMENT:
            yield f"{x} is applied twice", node * a, 2
        if not times:
            yield f"{x} / {y} is upside down", b / a, 3
            yield f"{y} stands alone", b, 1
        yield f"{x} and {y} are added", a + b, 1
        yield f"{y} is subtracted from {x}", a - b, 1
    elif node.op == "pow":
        yield f"the power {y} of {x} is missing", a, 3
        yield f"{x} is multiplied by {y}, not raised to that power", a * b, 2
        yield f"{x}**{y} is the wrong way round", b**a, 1
        if b.op == "scalar":
            yield f"{x}**({y} + 1) replaces {x}**{y}", a ** (b + 1), 3
            yield f"{x}**({y} − 1) replaces {x}**{y}", a ** (b - 1), 3
    elif node.op == "sqrt":
        yield f"the root of {x} is missing", a, 4
        yield f"the root of {x} is taken twice", sqrt(node), 4
    elif node.op in ("abs", "sign", "neg", "exp", "log", "tanh"):
        yield f"{node.op} of {x} is missing", a, 4
    elif node.op in ("maximum", "minimum"):
        small = node.op == "maximum"
        other = minimum(a, b) if small else maximum(a, b)
        yield f"the {'smaller' if small else 'larger'} of {x} and {y} is taken", other, 4
        yield f"{x} stands alone, without {node.op}", a, 3
        yield f"{y} stands alone, without {node.op}", b, 3
    elif node.op == "where":
        no = node.args[2]
        yield f"{y} is taken whatever the condition", b, 3
        yield f"{site.name(no)} is taken whatever the condition", no, 3
        yield "the two branches are swapped", add("where", a, no, b), 3
    elif node.op in _COMPARED:
        for other in _COMPARED[node.op]:
            yield f"{x} {_SIGNS[other]} {y} is asked", add(other, a, b), 3


def _brackets(site: Site, node: Node) -> Iterator[tuple[str, Node | float, int]]:
    """A + b·c written as (a + b)·c."""
    a, b = node.args
    sum_ = "+" if node.op == "add" else "−"
    sides = [(a, x, b, True) for x in (0, 1)] + [(b, x, a, False) for x in (0, 1)]
    for product, k, other, first in sides:
        if product.op not in ("mul", "div") or (product.op == "div" and (k == 1) == first):
            continue
        near, far = product.args[1 - k], product.args[k]
        pair = (near, other) if first else (other, near)
        whole = site.graph.add(node.op, *pair)
        texts = [site.name(x) for x in pair]
        if product.op == "mul":
            by, what = whole * far, f"({texts[0]} {sum_} {texts[1]}) · {site.name(far)}"
        elif first:
            by, what = (
                near / site.graph.add(node.op, far, other),
                (f"{site.name(near)} / ({site.name(far)} {sum_} {site.name(other)})"),
            )
        else:
            by, what = whole / far, f"({texts[0]} {sum_} {texts[1]}) / {site.name(far)}"
        yield f"a bracket is in the wrong place: {what}", by, 4


_COMPARED = {
    "gt": ("ge", "lt"),
    "ge": ("gt", "le"),
    "lt": ("le", "gt"),
    "le": ("lt", "ge"),
    "eq": ("ne",),
}
_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "ne": "≠"}


def in_operands(site: Site) -> Iterator[Wrong]:
    """Another number, hyperparameter or array in each place where one is used."""
    for node in site.nodes:
        home = site.home(node) if node.args else ""
        for i, arg in enumerate(node.args):
            for says, by, weight in _instead(site, node, arg):
                kind = f"{arg.op}: {says}"
                yield Wrong(kind, f"in {home}, {says}", site.use({(node.index, i): by}), weight)


def _instead(site: Site, node: Node, arg: Node) -> Iterator[tuple[str, Node | float, int]]:
    if arg.op == "constant" and not isinstance(arg.value, bool):
        v = arg.value
        for c in dict.fromkeys((v + 1, v - 1, 2 * v, v / 2, 10 * v, 0, 1, 2, 0.5)):
            if c != v:
                yield f"{c:g} replaces {v:g}", c, 2
    elif arg.op == "hyperparameter":
        for other in site.hyperparameters:
            if other != arg.value:
                alike = (other in DECAYS) == (arg.value in DECAYS)
                yield f"{other} replaces {arg.value}", site.leaf(other), 3 if alike else 1
        yield f"{arg.value} is squared", arg**2, 2
        yield f"{arg.value} is under a root", sqrt(arg), 2
        yield f"1 − {arg.value} replaces {arg.value}", 1 - arg, 3
        yield f"{arg.value} is negative", -arg, 2
    elif arg.op == "scalar" and arg.value == "t":
        yield "t − 1 replaces t", arg - 1, 3
        yield "t + 1 replaces t", arg + 1, 3
        yield "t is 1 at every step", 1.0, 3
    slot = site.slot_of.get(arg.index)
    if arg.level == ELEMENT and (arg.op == "input" or slot):
        here = slot or str(arg.value)
        for other in site.arrays():
            if other != here:
                old = "the old " * (other in site.slots)
                yield f"{old}{other} replaces {here}", site.leaf(other), 2
        for other in site.slots:
            new = site.graph.outputs[other]
            if other != here and new.level == ELEMENT and new.index < node.index:
                yield f"the new {other} replaces {here}", new, 2
        if slot and arg.args:
            yield f"the old {slot} replaces the new one", site.leaf(slot), 4
        yield f"{here} is squared", arg**2, 2
        yield f"|{here}| replaces {here}", abs(arg), 2
        yield f"sign({here}) replaces {here}", sign(arg), 2
        yield f"{here} has the wrong sign", -arg, 2


def twice(site: Site) -> Iterator[Wrong]:
    """The same slip in two uses of a hyperparameter."""
    for name in site.decays:
        leaf = site.leaf(name)
        uses = site.users.get(leaf.index, [])
        others = {f"1 − {name}": 1 - leaf} | {o: site.leaf(o) for o in site.decays if o != name}
        for k, first in enumerate(uses):
            for second in uses[k + 1 :]:
                where = dict.fromkeys((site.home(first[0]), site.home(second[0])))
                for says, by in others.items():
                    graph = site.use({(u.index, i): by for u, i in (first, second)})
                    says = f"in {' and '.join(where)}, {says} replaces {name}"
                    yield Wrong("twice", says, graph, 5)
