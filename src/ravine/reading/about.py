"""What there is to say of a rule: its source, its hyperparameters, its state, how packages differ."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ravine.engines.graph import DIMENSIONS
from ravine.engines.tracing import trace
from ravine.rule import Rule
from ravine.slots import DTYPES
from ravine.sources import source_of

__all__ = ["About", "about", "source"]


@dataclass(frozen=True)
class About:
    """A rule's documentation: the summary, the text below it, and how other packages differ.

    elsewhere: (package, what it does) pairs. state: the slots that a step with the default
    hyperparameters keeps, each with the same shape as the parameter; scalars: those of one number
    for a tensor; shared: those of one number for all tensors; reduced: those of one number for a
    row, or for a column; matrices: those that are matrices of another shape, with the shape in words.
    in_other_dimensions: those that the step of a matrix does not keep, with the numbers of dimensions
    in which they are kept. dtypes: what slots are kept in, if not in the dtype of the parameter. starts:
    what slots start at, if not 0. signals: what a step may be given besides gradients, each with what it is.
    """

    summary: str
    text: str
    elsewhere: tuple[tuple[str, str], ...]
    state: tuple[str, ...]
    scalars: tuple[str, ...]
    shared: tuple[str, ...]
    reduced: tuple[str, ...]
    matrices: tuple[tuple[str, str], ...]
    in_other_dimensions: tuple[tuple[str, tuple[int, ...]], ...]
    dtypes: tuple[tuple[str, str], ...]
    starts: tuple[tuple[str, str], ...]
    signals: tuple[tuple[str, str], ...] = ()

    def state_bytes(self, size: int) -> int:
        """Bytes of state for each element of a parameter, at `size` bytes per number."""
        own = dict(self.dtypes)
        return sum(DTYPES[own[name]] if name in own else size for name in self.state)

    def kept(self, quote: str = "") -> str:
        """The state in words, each name between quotes."""
        called = f"{quote}{{}}{quote}".format

        def listed(names: tuple[str, ...]) -> str:
            return ", ".join(map(called, names))

        parts = []
        if self.state:
            bytes_ = f"{self.state_bytes(4)} bytes per float32 parameter, {self.state_bytes(8)} per float64"
            parts.append(f"{listed(self.state)}: {bytes_}")
        if self.reduced:
            parts.append(f"{listed(self.reduced)}: one number per row or column")
        parts += [f"{called(slot)}: {shape}" for slot, shape in self.matrices]
        if self.scalars:
            parts.append(f"{listed(self.scalars)}: one number per tensor")
        if self.shared:
            parts.append(f"{listed(self.shared)}: one number for all tensors")
        for slot, dimensions in self.in_other_dimensions:
            parts.append(
                f"{called(slot)}: only where ndim(p) is {' or '.join(map(str, dimensions))}"
            )
        parts += [f"{called(slot)} is kept in {dtype}" for slot, dtype in self.dtypes]
        parts += [f"{called(slot)} starts at {value}" for slot, value in self.starts]
        return "; ".join(parts) or "none: 0 bytes per parameter"


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
    reduced = tuple(name for name, slot in slots.items() if slot.short)
    matrices = {name: slot.of_matrix for name, slot in slots.items() if slot.matrix}
    others = {*scalars, *shared, *reduced, *matrices}
    return About(
        summary=summary,
        text="\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n")),
        elsewhere=tuple((package, what) for package, _, what in pairs),
        state=tuple(name for name in live if name not in others),
        scalars=scalars,
        shared=shared,
        reduced=reduced,
        matrices=tuple(matrices.items()),
        in_other_dimensions=tuple(
            (slot, where) for slot, where in in_other_dimensions.items() if where
        ),
        dtypes=tuple((name, slot.dtype) for name, slot in slots.items() if slot.dtype),
        starts=tuple((name, slot.start) for name, slot in slots.items() if slot.start != "0"),
        signals=tuple((name, signal.words) for name, signal in rule.signals.items()),
    )


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
