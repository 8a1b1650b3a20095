"""Faults of weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ravine.checks.wrong.site import Change, Site, Wrong
from ravine.engines.graph import ELEMENT, Node
from ravine.engines.patterns import is_number
from ravine.ops import sign

__all__ = ["in_decay"]


def in_decay(site: Site) -> Iterator[Wrong]:
    """Decay acts on another value, at another place, or with another factor."""
    if "weight_decay" not in site.hyperparameters:
        return
    for node in site.nodes:
        if _is_shrinking(node):
            yield from _decoupled(site, node)
        elif node.op == "add" and _is_pulled(site, node):
            yield from _coupled(site, node)
        elif node.op == "add" and node.level == ELEMENT:
            yield from _in_the_step(site, node)


def _is_shrinking(node: Node) -> bool:
    """1 - lr * weight_decay."""
    if not (node.op == "sub" and is_number(node.args[0], 1) and node.args[1].op == "mul"):
        return False
    return {x.value for x in node.args[1].args} == {"lr", "weight_decay"}


def _is_pulled(site: Site, node: Node) -> bool:
    """G + weight_decay * p."""
    g = site.leaf("g")
    for first, other in (node.args, node.args[::-1]):
        if first is g and other.op == "mul":
            return {x.value for x in other.args} == {"weight_decay", "p"}
    return False


def _in_the_step(site: Site, node: Node) -> Iterator[Wrong]:
    """The places where weight_decay · p is added to the step: lr · (u + weight_decay · p)."""
    lr, decay, p, g = (site.leaf(x) for x in ("lr", "weight_decay", "p", "g"))
    pull = next(
        (
            x
            for x in node.args
            if x.op == "mul" and {a.value for a in x.args} == {"weight_decay", "p"}
        ),
        None,
    )
    if pull is None or "lr" not in site.hyperparameters:
        return
    u = node.args[0] if node.args[1] is pull else node.args[1]
    pulled = {(n.index, i): g + pull for n, i in site.users.get(g.index, [])}
    plain = {node.index: u}
    yield Wrong("decay missing", "weight_decay is accepted and ignored", site.put(node, u), 9)
    for kind, says, change in (
        (
            "without lr",
            "the decay is not multiplied by lr: weights shrink by weight_decay itself",
            site.change(nodes=plain, p=_less(pull)),
        ),
        ("sign", "the weights grow: the sign of the decay is wrong", site.put(node, u - pull)),
        ("lr twice", "the decay is multiplied by lr twice", site.put(node, u + lr * pull)),
        (
            "divided",
            "lr is divided by weight_decay, where it should be multiplied by it",
            site.put(node, u + p / decay),
        ),
        (
            "constant",
            "lr · weight_decay is subtracted as a constant, not multiplied by p",
            site.put(node, u + decay),
        ),
        (
            "coupled",
            "the decay is coupled (L2): weight_decay · p is added to the gradient",
            site.change(nodes=plain, uses=pulled),
        ),
        (
            "after",
            "the decay acts on the weights after the step, not before it",
            site.change(nodes=plain, p=lambda new: new * (1 - lr * decay)),
        ),
        ("twice", "weight decay is applied twice", site.put(node, node + pull)),
    ):
        yield Wrong(f"decay {kind}", says, change, 9)


def _less(by: Node) -> Callable[[Node], Node]:
    return lambda new: new - by


def _decoupled(site: Site, factor: Node) -> Iterator[Wrong]:
    lr, decay, p, g = (site.leaf(x) for x in ("lr", "weight_decay", "p", "g"))
    pull = lr * decay
    for kind, says, by, weight in (
        (
            "without lr",
            "weight_decay is not multiplied by lr: weights shrink by weight_decay itself",
            1 - decay,
            9,
        ),
        (
            "sign",
            "the weights grow by lr · weight_decay: the sign of the decay is wrong",
            1 + pull,
            9,
        ),
        ("missing", "weight_decay is accepted and ignored", 1.0, 9),
        ("twice", "weight decay is applied twice", factor * factor, 9),
        ("halved", "half of weight_decay is applied", 1 - 0.5 * pull, 6),
        ("lr twice", "the decay is multiplied by lr twice", 1 - lr * pull, 9),
        (
            "divided",
            "lr is divided by weight_decay, where it should be multiplied by it",
            1 - lr / decay,
            9,
        ),
    ):
        yield Wrong(f"decay {kind}", says, site.put(factor, by), weight)
    user = next(
        (u for u, _ in site.users[factor.index] if u.op == "mul" and any(a is p for a in u.args)),
        None,
    )
    if user is None:
        return
    pulled = {(n.index, i): g + decay * p for n, i in site.users.get(g.index, [])}
    plain = {user.index: p}
    versions: list[tuple[str, str, Change, int]] = [
        (
            "coupled",
            "the decay is coupled (L2): weight_decay · p is added to the gradient, and scaled with it",
            site.change(nodes=plain, uses=pulled),
            9,
        ),
        (
            "both",
            "the decay is applied twice: to the weights, and in the gradient (L2)",
            site.change(uses=pulled),
            9,
        ),
        (
            "after",
            "the decay acts on the weights after the step, not before it",
            site.change(nodes=plain, p=lambda new: new * (1 - pull)),
            9,
        ),
        (
            "after, without lr",
            "the decay acts on the weights after the step, and is not multiplied by lr",
            site.change(nodes=plain, p=lambda new: new * (1 - decay)),
            9,
        ),
        (
            "constant",
            "lr · weight_decay is subtracted as a constant, not multiplied by p",
            site.put(user, p - pull),
            9,
        ),
        (
            "of sign",
            "the decay is L1: it pulls with the sign of p",
            site.put(user, p - pull * sign(p)),
            8,
        ),
    ]
    for kind, says, change, weight in versions:
        yield Wrong(f"decay {kind}", says, change, weight)


def _coupled(site: Site, node: Node) -> Iterator[Wrong]:
    lr, decay, p, g = (site.leaf(x) for x in ("lr", "weight_decay", "p", "g"))
    pull = decay * p

    for kind, says, change in (
        ("missing", "weight_decay is accepted and ignored", site.put(node, g)),
        ("sign", "the weights grow: the sign of the decay is wrong", site.put(node, g - pull)),
        (
            "constant",
            "weight_decay is added to the gradient as a constant, not multiplied by p",
            site.put(node, g + decay),
        ),
        ("twice", "weight_decay · p is added to the gradient twice", site.put(node, node + pull)),
        (
            "halved",
            "half of weight_decay · p is added to the gradient",
            site.put(node, g + 0.5 * pull),
        ),
        (
            "times lr",
            "the decay in the gradient is multiplied by lr as well",
            site.put(node, g + lr * pull),
        ),
        (
            "decoupled",
            "the decay is decoupled, as in AdamW: p shrinks by lr · weight_decay",
            site.change(nodes={node.index: g}, p=_less(lr * pull)),
        ),
        (
            "decoupled without lr",
            "the decay is decoupled, and not multiplied by lr",
            site.change(nodes={node.index: g}, p=_less(pull)),
        ),
        (
            "decoupled after",
            "the decay is decoupled, and acts on the weights after the step",
            site.change(nodes={node.index: g}, p=lambda new: new * (1 - lr * decay)),
        ),
    ):
        yield Wrong(f"decay {kind}", says, change, 9)
