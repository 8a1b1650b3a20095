"""The symbol of each name of a rule: a letter if the field has one, and never two alike.

p is θ, lr is η, eps ε, momentum μ, weight_decay λ, dampening τ; Greek names are Greek letters, m_hat is
m̂, beta1 is β₁. What follows the letter is a word below it: lr_max is η with "max", mu_product μ with
"product". Any other name is an upright word: momentum_decay, weight_sum.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from ravine.parts import part_names
from ravine.reading.typesetting import Anatomy, Symbol

__all__ = ["Letters"]

SPELLED = {"p": "theta", "lr": "eta", "eps": "epsilon", "momentum": "mu", "weight_decay": "lambda"}
SPELLED |= {"dampening": "tau", "lam": "lambda", "lambd": "lambda", "inf": "infty"}
SPELLED |= {"eps1": "epsilon1", "eps2": "epsilon2", "ns_a": "a", "ns_b": "b", "ns_c": "c"}
# Names for the letter itself: lr_max is a learning rate, but momentum_decay is not a momentum.
HEADS = ("p", "lr", "eps", "lam", "lambd")
EVERYWHERE = ("p", "g", "t")  # the same in all functions of a stack


class Letters:
    """The letters of a stack of functions, assigned one function after another. A name that means
    something else in an earlier function is labelled with its function's name.
    """

    def __init__(self, functions: Collection[ast.FunctionDef]) -> None:
        self.raw = {Symbol(name).anatomy: name for f in functions for name in _names(f)}
        self.owners: dict[Anatomy, tuple[str, str]] = {}

    def take(self, function: ast.FunctionDef, tuples: Collection[str]) -> dict[str, Symbol]:
        """The symbol of each name of a function. tuples: the names that stand for several parts."""
        arguments = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
        local = {*_names(function, ast.Store)} - arguments - {*EVERYWHERE}
        earlier, found = {name for _, name in self.owners.values()}, {}
        for name in dict.fromkeys(_names(function)):
            part = part_names(name, 1)[0][:-1] if name in tuples else name
            owner = (function.name if name in local else "", name)
            choices = [Symbol(part), Symbol(part, upright=True)]
            greek = Symbol(_spelled(part))
            if greek.name == part or self.raw.get(greek.anatomy, name) == name:
                choices.insert(0, greek)
            if name.endswith("0") and name[:-1] in arguments - {"t"}:
                choices = choices[-1:]  # v₀ is what the slot v starts as
            if name in earlier:
                choices.insert(-1, Symbol(f"{part}_{function.name}"))
            choices.append(Symbol(f"{part}_{function.name}", upright=True))
            free = (x for x in choices if self.owners.setdefault(x.anatomy, owner) == owner)
            found[name] = next(free, choices[-1])
        return found


def _names(function: ast.FunctionDef, *kinds: type[ast.expr_context]) -> Iterator[str]:
    """The names of a function's values, arguments first; of those kinds only where some are given."""
    nodes = [*ast.walk(function)]
    if not kinds:
        yield from (node.arg for node in nodes if isinstance(node, ast.arg))
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    values = [n for n in nodes if isinstance(n, ast.Name) and id(n) not in called]
    for node in sorted(values, key=lambda n: (n.lineno, n.col_offset)):
        if isinstance(node.ctx, kinds or ast.expr_context):
            yield node.id


def _spelled(name: str) -> str:
    """The name with its Greek spelt out."""
    head, *tail = name.split("_")
    known = SPELLED.get(head, head) if not tail or head in HEADS else head
    return SPELLED.get(name) or "_".join([known, *tail])
