"""Printing: text, notes and tables that fit a terminal and never break a number."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import NoReturn

from rich.cells import cell_len
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

__all__ = [
    "code",
    "err",
    "fail",
    "line",
    "notes",
    "number",
    "out",
    "paragraph",
    "say",
    "table",
    "title",
]

if not os.environ.get("COLUMNS", "").strip("0"):
    os.environ.pop("COLUMNS", None)  # 0 columns means unknown, but rich takes it for a width

out = Console(highlight=False, markup=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

NONE = "—"
"""The mark for a missing value."""


def say(text: str) -> None:
    """Print a message of the program on standard error."""
    err.print(Text.assemble(("ravine: ", "bold"), text))


def fail(text: str, code: int) -> NoReturn:
    """Say what went wrong, and end."""
    err.print(Text.assemble(("ravine: ", "bold red"), text))
    sys.exit(code)


def width() -> int:
    """Columns to print in: COLUMNS as it is now, which rich asks for once, or the terminal's."""
    columns = os.environ.get("COLUMNS", "")
    return max(int(columns) if columns.isdigit() else out.width, 20)


def line(text: str = "", style: str = "") -> None:
    """Print a line unchanged."""
    out.print(Text(text.replace("\xa0", " "), style=style))


def _wrapped(text: str, columns: int, indent: str = "") -> list[str]:
    """Lines of so many columns; a word that is longer than that stays whole."""
    return textwrap.wrap(
        text,
        max(columns, 1),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def paragraph(text: str, indent: int = 0, style: str = "") -> None:
    """Print text, keeping words whole, and its line breaks."""
    for part in text.split("\n"):
        for piece in _wrapped(part, width() - indent):
            line(" " * indent * bool(piece) + piece, style)


def title(text: str) -> None:
    """Print the heading of a table."""
    paragraph(text, style="bold")


def notes(pairs: Iterable[tuple[str, str]]) -> None:
    """Print the notes below a table, each with its subject on the left, or above it."""
    pairs = list(pairs)
    left = max((cell_len(about) for about, _ in pairs), default=0) + 2
    beside = left + 30 <= width()
    for about, text in pairs:
        if not beside:
            paragraph(about)
            paragraph(text, 2)
            continue
        for i, piece in enumerate(_wrapped(text, width() - left)):
            line(f"{_padded('' if i else about, left)}{piece}")


def code(source: str, language: str = "python", fold: bool = False) -> None:
    """Print code, in colours on a terminal; elsewhere unchanged, or folded if it is too wide."""
    source = source.rstrip()
    if out.is_terminal:
        out.print(Syntax(source, language, background_color="default", word_wrap=True))
        return
    for row in source.splitlines():
        print("\n".join(_folded(row)) if fold and cell_len(row) > width() else row)


def _folded(row: str) -> list[str]:
    """Fold a long line of code: its comment goes above it, and the rest is indented further."""
    indent, statement, comment = re.fullmatch(r"( *)(.*?)(?:  (# .*))?", row).groups()  # type: ignore[union-attr]
    within = width() - len(indent)
    pieces = _wrapped(comment, within, "# ") if comment else []
    return [f"{indent}{piece}" for piece in [*pieces, *_wrapped(statement, within, " " * 4)]]


def number(value: float | None, how: str) -> str:
    """A number in a format, or a dash for None."""
    return NONE if value is None else f"{value:{how}}"


# ---- tables --------------------------------------------------------------------------------------


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; a column whose name begins with > is right-aligned, and never broken.

    If it is too wide for the terminal, text is broken between words; if that is not enough, each row
    becomes a list of its values.
    """
    heads = [column.lstrip(">") for column in columns]
    right = [column.startswith(">") for column in columns]
    cells = [list(row) for row in rows]
    within = width()
    natural = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
    least = [
        max(_longest(head), *(cell_len(x) if flush else _longest(x) for x in column), 0)
        for head, flush, *column in zip(heads, right, *cells, strict=True)
    ]
    gap = 2 if sum(least) + 2 * (len(least) - 1) <= within else 1
    gaps = gap * (len(least) - 1)
    if sum(least) + gaps > within:
        _listed(heads, cells, numbered=right[0])
        return
    widths = _shared(least, natural, within - gaps)
    _row(heads, widths, right, gap, "dim")
    for row in cells:
        _row(row, widths, right, gap)


def _longest(text: str) -> int:
    return max((cell_len(word) for word in re.split("[ \n]", text)), default=0)


def _shared(least: list[int], natural: list[int], room: int) -> list[int]:
    """Widths between the minimum and the natural ones that fill the space; the narrow ones grow first."""
    widths, spare = list(least), room - sum(least)
    while spare > 0:
        growing = [i for i, x in enumerate(widths) if x < natural[i]]
        if not growing:
            break
        widths[min(growing, key=lambda i: natural[i] - widths[i])] += 1
        spare -= 1
    return widths


def _row(
    cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], gap: int, style: str = ""
) -> None:
    pieces = [_wrapped(cell, w) for cell, w in zip(cells, widths, strict=True)]
    if style:  # a heading is directly above its column
        lines = max(map(len, pieces))
        pieces = [[""] * (lines - len(piece)) + piece for piece in pieces]
    for parts in zip_longest(*pieces, fillvalue=""):
        padded = (_padded(x, w, flush) for x, w, flush in zip(parts, widths, right, strict=True))
        line((" " * gap).join(padded).rstrip(), style)


def _padded(text: str, columns: int, right: bool = False) -> str:
    space = " " * max(columns - cell_len(text), 0)
    return space + text if right else text + space


def _listed(heads: Sequence[str], rows: Iterable[Sequence[str]], numbered: bool) -> None:
    """Each row as its first value, with its name if it is a number, and a line for each other."""
    left = max(map(cell_len, heads[1:]), default=0) + 2
    for first, *others in rows:
        title(f"{heads[0]} {first}" if numbered else first)
        for head, value in zip(heads[1:], others, strict=True):
            if not value:
                continue
            if 2 + left + _longest(value) <= width():
                pieces = _wrapped(value, width() - 2 - left)
                line(f"  {_padded(head, left)}{pieces[0]}")
                for piece in pieces[1:]:
                    line(" " * (2 + left) + piece)
            else:
                line(f"  {head}")
                paragraph(value, 4)
