"""Facts about a rule: its source, its hyperparameters, its state, how packages differ."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd, prod
from types import CodeType, FunctionType
from typing import Any

from ravine.engines.graph import DIMENSIONS
from ravine.engines.tracing import trace
from ravine.rule import Rule
from ravine.slots import DTYPES, Slot
from ravine.sources import source_of

__all__ = ["About", "about", "extent", "helpers", "source"]


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

    def state_bytes(self, size: int) -> int:
        """Bytes of state for each element of a parameter, at `size` bytes per number."""
        own = dict(self.dtypes)
        return sum(DTYPES[own[name]] if name in own else size for name in self.state)

    def bytes_of_matrix(self, size: int) -> str:
        """Bytes of the arrays that a matrix of m × n keeps, at `size` bytes per number: "8mn", "4(m + n)"."""
        return _formula((of, count * DTYPES.get(dtype, size)) for of, count, dtype in self.numbers)

    def kept(self, quote: str = "") -> str:
        """The state in words, each name between quotes."""
        called = f"{quote}{{}}{quote}".format

        def listed(names: tuple[str, ...]) -> str:
            return ", ".join(map(called, names))

        parts = []
        if self.state:
            bytes_ = f"{self.state_bytes(4)} bytes per float32 parameter, {self.state_bytes(8)} per float64"
            parts.append(f"{listed(self.state)}: {bytes_}")
        parts += [f"{called(slot)}: {shape}" for slot, shape in (*self.reduced, *self.matrices)]
        if self.reduced or self.matrices:
            numbers = _formula((of, count) for of, count, _ in self.numbers)
            bytes_ = (
                f"{self.bytes_of_matrix(4)} bytes in float32, {self.bytes_of_matrix(8)} in float64"
            )
            parts.append(f"{numbers} numbers for a matrix of m × n, {bytes_}")
        if self.scalars:
            parts.append(f"{listed(self.scalars)}: one number per tensor")
        if self.shared:
            parts.append(f"{listed(self.shared)}: one number for all tensors")
        for slot, dimensions, size in self.in_other_dimensions:
            parts.append(
                f"{called(slot)}: only where ndim(p) is {' or '.join(map(str, dimensions))}{size}"
            )
        parts += [f"{called(slot)} is kept in {dtype}" for slot, dtype in self.dtypes]
        parts += [f"{called(slot)} starts at {value}" for slot, value in self.starts]
        return "; ".join(parts) or "none: 0 bytes per parameter"


def extent(slot: Slot) -> str:
    """The size of a slot in words; "" if it is that of the parameter."""
    if slot.kind == "scalar":
        return "one number for all tensors" if slot.shared else "one number"
    if slot.matrix:
        return slot.of_matrix
    if not slot.short:
        return ""
    axes = {-1: "one number per row", -2: "one number per column"}
    if slot.keep is not None:
        return (
            "one number per row" if slot.keep == 0 else f"one number per index of axis {slot.keep}"
        )
    return axes.get(slot.axis or 0, f"of length 1 along axis {slot.axis}")


def about(rule: Rule, /, **hyperparameters: Any) -> About:
    """Read a rule's docstring and state. hyperparameters: where they decide what state is kept."""
    body, _, rest = rule.doc.partition("Elsewhere:\n")
    summary, _, text = body.strip().partition("\n")
    entries = re.split(r"\n(?=\S)", textwrap.dedent(rest).strip()) if rest else []
    pairs = (" ".join(entry.split()).partition(": ") for entry in entries)
    graph = trace(rule, **hyperparameters)
    live = graph.live
    kept = {n: trace(rule, None, n, **hyperparameters).live for n in DIMENSIONS if graph.by_ndim}
    in_other_dimensions = {
        slot: tuple(n for n, its in kept.items() if slot in its)
        for slot in rule.slots
        if slot not in live
    }
    slots = {name: rule.slots[name] for name in live}
    shared = tuple(name for name, slot in slots.items() if slot.shared)
    scalars = tuple(k for k, slot in slots.items() if slot.kind == "scalar" and k not in shared)
    reduced = {name: extent(slot) for name, slot in slots.items() if slot.short}
    matrices = {name: slot.of_matrix for name, slot in slots.items() if slot.matrix}
    others = {*scalars, *shared, *reduced, *matrices}
    return About(
        summary=summary,
        text="\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n")),
        elsewhere=tuple((package, what) for package, _, what in pairs),
        state=tuple(name for name in live if name not in others),
        scalars=scalars,
        shared=shared,
        reduced=tuple(reduced.items()),
        matrices=tuple(matrices.items()),
        in_other_dimensions=tuple(
            (slot, where, _size(rule.slots[slot]))
            for slot, where in in_other_dimensions.items()
            if where
        ),
        numbers=tuple(_numbers(rule, live, graph.values)),
        dtypes=tuple((name, slot.dtype) for name, slot in slots.items() if slot.dtype),
        starts=tuple((name, slot.start) for name, slot in slots.items() if slot.start != "0"),
        signals=tuple((name, signal.words) for name, signal in rule.signals.items()),
    )


_M, _N = 100_003, 200_003  # longer than any rank


def _numbers(
    rule: Rule, live: Collection[str], values: Mapping[str, Any]
) -> Iterator[tuple[str, int, str]]:
    """The numbers in each of these slots for a matrix of m × n: mn, m, m², ..., with a factor."""
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
    """The size of a slot for a parameter, in bytes or words."""
    if words := extent(slot):
        return f": {words}"
    sizes = [DTYPES[slot.dtype]] * 2 if slot.dtype else [4, 8]
    return f": {sizes[0]} bytes per float32 parameter, {sizes[1]} per float64"


def helpers(rule: Rule) -> list[Callable[..., Any]]:
    """The functions that a rule's functions call, from the same module or from Ravine's rules."""
    found: dict[int, Callable[..., Any]] = {}
    todo = [inspect.unwrap(function) for function in rule.sources]
    for function in todo:  # which grows
        for code in _codes(function.__code__):
            for name in code.co_names:
                f = function.__globals__.get(name)
                if isinstance(f, FunctionType) and id(f) not in found and _beside(f, function):
                    found[id(f)] = f
                    todo.append(f)
    return [*found.values()]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


def _beside(f: FunctionType, function: FunctionType) -> bool:
    return f.__module__ == function.__module__ or f.__module__.startswith("ravine.rules.")


def source(function: Callable[..., Any]) -> str:
    """The function's source without docstring and decorators; with these where they have wrapped it.

    It is that of the code that runs; where its file has changed since, the first line says so. Raises
    ValueError if no source can be found (a function typed at a prompt), and for a lambda.
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
