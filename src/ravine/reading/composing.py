"""Equations of a stack of functions as one would write them: values that are used once are substituted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from ravine.reading.typesetting import Node, Symbol, Term

__all__ = ["Equation", "composed", "needed", "symbols"]


@dataclass(frozen=True)
class Equation:
    """target = value, if the condition holds; without target, source that is not an equation."""

    target: Node | None
    value: Node
    note: str = ""
    condition: Node | None = None
    layer: str = ""  # the function that it is of

    def under(self, condition: Node) -> Equation:
        """The same, under an additional condition."""
        both = Term("and", (condition, self.condition)) if self.condition else condition
        return replace(self, condition=both)

    @property
    def read(self) -> list[Symbol]:
        """The symbols in the value and the condition."""
        return [*symbols(self.value), *symbols(self.condition)]


def symbols(node: Node | None) -> Iterator[Symbol]:
    """The symbols in an expression, as often as they occur."""
    if isinstance(node, Symbol):
        yield node
    elif isinstance(node, Term):
        for part in node.args:
            if isinstance(part, Symbol | Term):
                yield from symbols(part)


def composed(equations: Sequence[Equation], results: Collection[Symbol]) -> list[Equation]:
    """The equations without those for a p between two functions that is used once: it is put in there.

    results: what stands for such a p. The difference of p and the inner step's p is what that takes
    off, so p - (p - lr * u) becomes lr * u.
    """
    found = list(equations)
    for symbol in [equation.target for equation in equations]:
        equation = next(e for e in found if e.target is symbol)
        if not isinstance(symbol, Symbol) or symbol not in results or equation.condition:
            continue
        users = [e for e in found if any(x is symbol for x in e.read)]
        if len(users) != 1 or sum(x is symbol for x in users[0].read) != 1:
            continue
        user, value = users[0], equation.value
        if user.value is not symbol and _has(value, "cases", "verbatim"):
            continue

        def put(node: Node, symbol: Symbol = symbol, value: Node = value) -> Node:
            return value if node is symbol else node

        merged = replace(
            user,
            value=_mapped(_mapped(user.value, put), _difference),
            condition=user.condition and _mapped(user.condition, put),
            note=user.note or equation.note,
        )
        found = [merged if e is user else e for e in found if e is not equation]
    return found


def needed(equations: Sequence[Equation], ends: Collection[Node]) -> list[Equation]:
    """The equations that these symbols depend on; all of them where there is Python among them."""
    if any(_has(part, "verbatim") for e in equations for part in (e.target, e.value, e.condition)):
        return [*equations]
    wanted, kept = {id(x) for end in ends for x in symbols(end)}, []
    for equation in reversed(equations):
        if any(id(x) in wanted for x in symbols(equation.target)):
            wanted |= {id(x) for x in equation.read}
            kept.append(equation)
    return kept[::-1]


def _has(node: Node | None, *kinds: str) -> bool:
    return isinstance(node, Term) and (
        node.kind in kinds or any(_has(x, *kinds) for x in node.args if isinstance(x, Term))
    )


def _mapped(node: Node, change: Callable[[Node], Node]) -> Node:
    """The expression with each part transformed, the inner ones first."""
    if isinstance(node, Term):
        parts = (_mapped(x, change) if isinstance(x, Symbol | Term) else x for x in node.args)
        node = Term(node.kind, tuple(parts))
    return change(node)


def _difference(node: Node) -> Node:
    """A sum without a symbol that it adds and subtracts: p - (p * (1 - c) - u) is c * p + u."""
    terms = _terms(node)
    for i, (sign, symbol) in enumerate(terms):
        for k, (other, term) in enumerate(terms):
            if other == -sign and (rest := _beyond(term, symbol)) is not None:
                more = [(other * s, Term("*", (x, symbol))) for s, x in rest]
                return _difference(
                    _sum([*more, *(x for n, x in enumerate(terms) if n not in (i, k))])
                )
    return _sum(terms) if terms[0][0] < 0 < max(sign for sign, _ in terms) else node


def _terms(node: Node, sign: int = 1) -> list[tuple[int, Node]]:
    """The terms that a sum adds and subtracts."""
    match node:
        case Term("+" | "-" as kind, (a, b)):
            return _terms(a, sign) + _terms(b, sign if kind == "+" else -sign)
        case Term("neg", (x,)):
            return _terms(x, -sign)
    return [(sign, node)]


def _beyond(term: Node, symbol: Node) -> list[tuple[int, Node]] | None:
    """The x of a term that is symbol * (1 + x): nothing for the symbol itself; None for other terms."""
    if not isinstance(symbol, Symbol):
        return None
    if term is symbol:
        return []
    match term:
        case Term("*", (a, b)) if a is symbol or b is symbol:
            one, *rest = _terms(b if a is symbol else a)
            if one == (1, Term("number", ("1",))):
                return rest
    return None


def _sum(terms: Sequence[tuple[int, Node]]) -> Node:
    """The sum of the terms, the first that is added in front."""
    first = next((x for x in terms if x[0] > 0), None)
    if first is None:
        if not terms:
            return Term("number", ("0",))
        first = terms[0]
    total = first[1] if first[0] > 0 else Term("neg", (first[1],))
    for term in terms:
        if term is not first:
            total = Term("+" if term[0] > 0 else "-", (total, term[1]))
    return total
