"""A rule's equations, typeset from its source: LaTeX for pages, Unicode or ASCII for terminals.

ravine.reading.reader makes the equations, ravine.reading.typesetting sets them.

Notation. p is θ, lr is η, eps ε, momentum μ, weight_decay λ, dampening τ; Greek names are Greek
letters, m_hat is m̂, beta1 is β₁, v_max is v with an upright "max" below it, and any longer name stays
an upright word. g and what a step computes carry the index t; p and the state carry t−1 until they
are assigned. Where a step assigns a name twice, the earlier value gets a prime. What is done with
each part of a tuple is set once, with the index i: of betas, βᵢ.

Of a rule, the equations are those that hold for the values of its hyperparameters: a switch that is off
is gone. A stack of modifiers is one list of equations, in the order in which they hold.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ravine.engines.graph import DIMENSIONS
from ravine.engines.tracing import trace
from ravine.reading.composing import Equation, needed
from ravine.reading.reader import NotComposed, Reading, read
from ravine.reading.typesetting import Box, LaTeX, Term, Terminal, beside, stack
from ravine.rule import Rule

__all__ = ["latex", "reading", "terminal"]

Readable = Rule | Callable[..., Any]


def latex(of: Readable, values: Mapping[str, Any] | None = None) -> str:
    """The equations of a rule or a function as a LaTeX `aligned` environment, for use in math mode.

    values: hyperparameters of the rule; defaults for the rest. Of a function, switches stay open.
    One equation a line, aligned at the equals sign; a comment next to an assignment is its note.
    Understood by LaTeX with amsmath, MathJax and KaTeX. Python that is not an equation (a loop,
    a subscript) is shown as it is written. TypeError when `of` is neither a rule nor a Python function;
    ValueError when its source cannot be found, or when it is not written with def.
    """
    return aligned(reading(of, values).equations)


def aligned(equations: Sequence[Equation]) -> str:
    """Equations as a LaTeX `aligned` environment."""
    typeset, lines = LaTeX(), []
    for equation in equations:
        line = f"{typeset.put(equation.target)} &= " if equation.target else "& "
        line += typeset.right_side(equation.value)
        if equation.condition:
            line += rf" \quad \text{{if }} {typeset.put(equation.condition)}"
        lines.append(line + (rf" && \quad {typeset.text(equation.note)}" if equation.note else ""))
    return "\n".join([r"\begin{aligned}", " \\\\[6pt]\n".join(lines), r"\end{aligned}"])


def terminal(
    of: Readable,
    width: int = 80,
    *,
    plain: bool = False,
    values: Mapping[str, Any] | None = None,
) -> str:
    """The equations of a rule or a function for a terminal: fractions stacked, indices lowered, hats on.

    width: columns at most, 20 or more; what is wider is broken, before a plus or minus sign and
    with fractions on one line where that helps. Notes are shown where they fit. plain: ASCII only,
    each expression on one line, as in `m[t] = beta1*m[t-1] + (1 - beta1)*g[t]`. values: as of `latex`.
    Raises as `latex` does, and ValueError for a width under 20.
    """
    if width < 20:
        raise ValueError(f"width must be at least 20 columns, got {width}")
    return "\n".join(lines_of(reading(of, values).equations, width, plain))


def reading(
    of: Readable, values: Mapping[str, Any] | None = None, ndim: int | None = None
) -> Reading:
    """The equations of a rule, or of a function, and what its names are set as.

    ndim: how many dimensions p has, where that decides what the rule does; by default both are shown.
    """
    if not isinstance(of, Rule):
        return read([of])
    values = of.check(**(values or {}))
    parts = {**of.parts.slots, **of.parts.tuples}
    counts = {whole: len(names) for whole, names in parts.items() if names}
    try:
        found = read(of.sources, values, counts, ndim)
    except NotComposed:
        each = [read([f], values, counts, ndim) for f in of.sources]
        equations = [*each[0].equations]
        for function, r in zip(of.sources[1:], each[1:], strict=True):
            said = Term("verbatim", (f"where step, {function.__name__}, is",))
            equations += [Equation(None, said), *r.equations]
        return Reading(
            equations,
            {k: x for r in each for k, x in r.ends.items()},
            {k: x for r in each for k, x in r.letters.items()},
        )
    live = {"p"}.union(*(graph.live for graph in graphs(of, values, ndim)))
    whole = {part: name for name, names in of.parts.slots.items() for part in names}
    ends = [x for name, x in found.ends.items() if name in {whole.get(k, k) for k in live}]
    return replace(found, equations=needed(found.equations, ends))


def graphs(rule: Rule, values: Mapping[str, Any], ndim: int | None = None) -> list[Any]:
    """What the rule computes, for each number of dimensions that makes a difference, or for one."""
    if ndim is not None:
        return [trace(rule, None, ndim, **values)]
    first = trace(rule, **values)
    return [trace(rule, None, n, **values) for n in DIMENSIONS] if first.by_ndim else [first]


def lines_of(equations: Sequence[Equation], width: int, plain: bool) -> list[str]:
    """Equations for a terminal, aligned at the equals sign."""
    flat = Terminal(plain, flat=True)
    targets = [flat.put(e.target) if e.target else Box() for e in equations]
    most = min(width // 2, max(width // 4, 16))  # one long name does not push all others aside
    column = max((t.width for t in targets if t.width <= most), default=0)
    boxes = []
    for equation, target in zip(equations, targets, strict=True):
        if not equation.target:
            boxes.append(_layout(equation, width, plain))
        elif target.width <= column:
            right = _layout(equation, width - column - 3, plain)
            boxes.append(beside(" " * (column - target.width), target, " = ", right))
        else:
            pieces = flat.pieces(equation.value, equation.condition)
            line = beside(target, " =", *(x for piece in pieces for x in (" ", piece)))
            boxes.append(_wrap(line, width))
    margin = 3 + max((b.width for b, e in zip(boxes, equations, strict=True) if e.note), default=0)
    lines: list[str] = []
    for i, (box, equation) in enumerate(zip(boxes, equations, strict=True)):
        if i and max(len(box.lines), len(boxes[i - 1].lines)) > 1:
            lines.append("")
        note = flat.text(equation.note)
        if margin + note.width <= width:
            box = beside(box, " " * (margin - box.width), note)
        lines += [line.rstrip() for line in box.lines]
    return lines


def _layout(equation: Equation, width: int, plain: bool) -> Box:
    """The best setting of an equation's right side that is no wider than `width`."""
    pieces: list[Box] = []
    for flat in (True,) if plain else (False, True):
        pieces = Terminal(plain, flat).pieces(equation.value, equation.condition)
        if all(piece.width <= width for piece in pieces):
            break
    lines: list[Box] = []
    for piece in pieces:
        piece = _wrap(piece, width)
        longer = beside(lines[-1], " ", piece) if lines else piece
        lines[-1:] = [longer] if longer.width <= width else [lines[-1], piece]
    return stack(lines, lines[0].base)


def _wrap(box: Box, width: int) -> Box:
    """A box no wider than `width`: a line that is, is broken into lines as wide as that."""
    if box.width <= width:
        return box
    lines = [Box((x,)) for x in Wrapper(width, break_on_hyphens=False).wrap(box.lines[0])]
    return stack([beside(line, " " * (width - line.width)) for line in lines], 0)


class Wrapper(textwrap.TextWrapper):
    """Breaks lines at spaces and after * and /, and where that is not enough anywhere."""

    wordsep_simple_re = re.compile(r"(\s+|(?<=[*/]))")
