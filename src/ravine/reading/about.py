"""What there is to say of a rule: its source, its hyperparameters, its state, how packages differ."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

from ravine.rule import Rule
from ravine.slots import DTYPES, Slot
from ravine.sources import source_of

__all__ = ["About", "about", "extent", "source"]


@dataclass(frozen=True)
class About:
    """A rule's documentation: the summary, the text below it, and how other packages differ.

    elsewhere: (package, what it does) pairs. state: the slots that a step with the default
    hyperparameters keeps, each with the same shape as the parameter; scalars: those of one number
    for a tensor; shared: those of one number for all tensors; reduced: those of one number for a
    row, or for a column, with these words; matrices: those that are matrices of another shape, with
    the shape in words. in_other_dimensions: those that the step of a matrix does not keep, with the
    numbers of dimensions in which they are kept, and their size in words. numbers: how many each
    array of a matrix of m × n has, as mn, m, m², ..., with a factor, and what they are kept in.
    dtypes: what slots are kept in, if not in the dtype of the parameter. starts: what slots start
    at, if not 0. signals: what a step may be given besides gradients, each with what it is.
    """

    summary: str
    text: str
    elsewhere: tuple[tuple[str, str], ...]
    state: tuple[str, ...]
    scalars: tuple[str, ...]
    shared: tuple[str, ...]
    reduced: tuple[tuple[str, str], ...]
    matrices: tuple[tuple[str, str], ...]
    in_other_dimensions: tuple[tuple[str, tuple[int, ...], str], ...]
    numbers: tuple[tuple[str, int, str], ...]
    dtypes: tuple[tuple[str, str], ...]
    starts: tuple[tuple[str, str], ...]
    signals: tuple[tuple[str, str], ...] = ()

    _M, _N = 100_003, 200_003  # longer than any rank


def _numbers(
    rule: Rule, live: Collection[str], values: Mapping[str, Any]
) -> Iterator[tuple[str, int, str]]:
    """How many numbers each of these slots keeps for a matrix of m × n: mn, m, m², ..., a factor."""
    for name in live:
        if rule.slots[name].kind == "scalar":
            continue
        sides = rule.shape(name, (_M, _N), **values)
        of = "m" * sides.count(_M) + "n" * sides.count(_N)
        factor = prod(x for x in sides if x not in (_M, _N))
        yield of.replace("mm", "m²").replace("nn", "n²"), factor, rule.slots[name].dtype


def _formula(terms: Iterable[tuple[str, int]]) -> str:
    """A sum of multiples of mn, m, ..., the longest first: 4(mn + m)."""
    counts: dict[str, int] = {}
    for of, count in terms:
        counts[of] = counts.get(of, 0) + count
    common = gcd(*counts.values())
    each = [
        f"{counts[of] // common if counts[of] > common else ''}{of}"
        for of in sorted(counts, key=len, reverse=True)
    ]
    factor = f"{common}" if common != 1 else ""
    return (
        f"{factor}({' + '.join(each)})" if factor and len(each) > 1 else factor + " + ".join(each)
    )


def _size(slot: Slot) -> str:
    """How much a slot keeps of a parameter, in bytes or words."""
    if words := extent(slot):
        return f": {words}"
    sizes = [DTYPES[slot.dtype]] * 2 if slot.dtype else [4, 8]
    return f": {sizes[0]} bytes per float32 parameter, {sizes[1]} per float64"


def source(function: Callable[..., Any]) -> str:
    """The function's source without docstring and decorators; with these where they have wrapped it.

    It is that of the code that runs; where its file has changed since, the first line says so. Raises
    ValueError where no source is to be found (a function typed at a prompt), and for a lambda.
    """
    found = source_of(function)
    definition, lines = found.definition, found.text.splitlines()
    first = definition.body[0]
    skipped = set() if hasattr(function, "__wrapped__") else set(range(1, definition.lineno))
    if isinstance(first, ast.Expr) and ast.get_docstring(definition) is not None:
        skipped |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    kept = [line for number, line in enumerate(lines, 1) if number not in skipped]
    changed = f"# {found.file} has changed since; this is what runs\n" if found.file else ""
    return changed + "\n".join(kept).strip() + "\n"
