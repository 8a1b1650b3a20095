"""Performance profiles and scores of times to a target, as AlgoPerf computes them.

A profile says on which share of the problems a method is within a factor of the fastest (Dolan and
Moré, 2002). Its score is the area below the profile from 1 to 4, by AlgoPerf's trapezoid of 100
points (Dahl et al., 2023, arXiv:2306.07179). A time that is infinite is a miss.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FACTORS", "Table", "profile", "read", "score"]

Array = NDArray[np.float64]

FACTORS: Array = np.linspace(1, 4, 100)
"""The factors that a score is integrated over."""


def profile(times: Array, factors: Sequence[float] | Array = FACTORS) -> Array:
    """Return the share of the problems on which each method is within each factor of the fastest.

    times: shape (methods, problems), above 0; infinity is a miss. factors: shape (f,), 1 or more.
    Returns shape (methods, f).
    """
    best = times.min(axis=0)
    with np.errstate(invalid="ignore"):  # nobody reached the target: inf / inf
        ratio = np.where(np.isfinite(times), times / best, np.inf)
    return (ratio[:, :, None] <= np.asarray(factors)).mean(axis=1)


def score(times: Array) -> Array:
    """Return each method's score, from 0 to 1: the mean of its profile over factors from 1 to 4.

    times: as for :func:`profile`. Returns shape (methods,).
    """
    return np.trapezoid(profile(times), FACTORS, axis=1) / (FACTORS[-1] - FACTORS[0])


@dataclass(frozen=True)
class Table:
    """Times to a target that are compared with each other.

    ruleset, rule: from the columns of these names, or "". names: of the methods. times: for each
    problem the methods' times, shape (methods,). held_out: the problem that each variant is held out
    from; variants are not scored, but decide which times count.
    """

    ruleset: str
    rule: str
    names: tuple[str, ...]
    times: dict[str, Array]
    held_out: dict[str, str]

    @property
    def problems(self) -> list[str]:
        """The problems that are scored."""
        return [problem for problem in self.times if problem not in self.held_out]

    def counted(self) -> tuple[Array, dict[tuple[str, str], str]]:
        """Return the times that count, shape (methods, problems), and why those left out do not.

        In this order, as in AlgoPerf 0.5: a held-out time counts where the problem's target was
        reached; a time beyond four times the best is a miss; a miss on a held-out variant is a miss
        on its problem. The reasons are found by method and problem.
        """
        times = {name: column.copy() for name, column in self.times.items()}
        why: dict[tuple[str, str], str] = {}
        for variant, problem in self.held_out.items():
            times[variant][~np.isfinite(times[problem])] = np.inf
        for problem, column in times.items():
            beyond = np.isfinite(column) & (column > FACTORS[-1] * column.min())
            for name in self._where(beyond):
                why[name, problem] = f"beyond {FACTORS[-1]:g} times the best"
            column[beyond] = np.inf
        for variant, problem in self.held_out.items():
            void = np.isfinite(times[problem]) & ~np.isfinite(times[variant])
            for name in self._where(void):
                missed = why.get((name, variant), "missed")
                why[name, problem] = f"{variant}, which is held out, was {missed}"
            times[problem][~np.isfinite(times[variant])] = np.inf
        scored = set(self.problems)
        return (
            np.stack([times[problem] for problem in self.problems], axis=1),
            {place: reason for place, reason in why.items() if place[1] in scored},
        )

    def _where(self, mask: NDArray[np.bool_]) -> list[str]:
        return [name for name, on in zip(self.names, mask, strict=True) if on]

    def scores(self) -> list[dict[str, Any]]:
        """Return a row for each method, the highest score first.

        ``name``, ``score``, ``profile`` (the share of the problems within each of `FACTORS`),
        ``times`` (by problem, those that count), ``reached`` (how many count) and ``left_out`` (why a
        time that the table has does not count, by problem).
        """
        times, why = self.counted()
        rows = [
            {
                "name": name,
                "score": float(points),
                "profile": shares.tolist(),
                "times": dict(zip(self.problems, of.tolist(), strict=True)),
                "reached": int(np.isfinite(of).sum()),
                "left_out": {problem: text for (who, problem), text in why.items() if who == name},
            }
            for name, points, shares, of in zip(
                self.names, score(times), profile(times), times, strict=True
            )
        ]
        return sorted(rows, key=lambda row: -row["score"])


def read(path: str | Path) -> list[Table]:
    """Read a CSV file of times to a target.

    The first column has the names of the methods, and each other one a problem's times, in any unit;
    "inf" or nothing is a miss. The columns ``ruleset`` and ``rule`` may be absent; rows that have both
    in common make a table. A column that is called like another one, an underscore and something more
    is a variant held out from that problem (``wmt`` and ``wmt_glu_tanh``).

    Raises OSError if the file cannot be read, and ValueError, with its line, if it is no such table.
    """
    rows = _rows(Path(path))
    header, at = rows[0]
    labels = [i for i, name in enumerate(header) if name in _LABELS and i]
    columns = [i for i in range(1, len(header)) if i not in labels]
    if not columns:
        raise ValueError(f"{path} has no problem; after the column of names comes one for each")
    for i, name in enumerate(header):
        if i and not name:
            raise ValueError(f"{path}, line {at}: column {i + 1} has no name")
        if name in header[:i]:
            raise ValueError(f"{path}, line {at}: there are two columns called {name!r}")
    if len(rows) == 1:
        raise ValueError(f"{path} has no row below its header")
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for cells, line in rows[1:]:
        if len(cells) != len(header):
            raise ValueError(
                f"{path}, line {line}: {len(cells)} values; the header has {len(header)} columns"
            )
        label = {header[i]: cells[i] for i in labels}
        table = found.setdefault((label.get("ruleset", ""), label.get("rule", "")), {})
        if not cells[0]:
            raise ValueError(f"{path}, line {line}: the name is missing")
        if cells[0] in table:
            raise ValueError(f"{path}, line {line}: {cells[0]!r} is in its table twice")
        where = f"{path}, line {line}"
        table[cells[0]] = [_time(cells[i], f"{where}, column {header[i]}") for i in columns]
    problems = [header[i] for i in columns]
    return [
        Table(*label, tuple(table), _by_problem(problems, table), _held_out(problems))
        for label, table in found.items()
    ]


_LABELS = ("ruleset", "rule")


def _rows(path: Path) -> list[tuple[list[str], int]]:
    """The rows that are not blank, and the line each ends on."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8; name a CSV file") from None
    except OSError as error:
        raise type(error)(f"{path} cannot be read ({error.strerror or error})") from error
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    reader = csv.reader(lines, delimiter=max(",;\t", key=first.count))
    try:
        rows = [([cell.strip() for cell in row], reader.line_num) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
    rows = [(row, line) for row, line in rows if any(row)]
    if not rows:
        raise ValueError(f"{path} is empty")
    return rows


def _time(text: str, where: str) -> float:
    try:
        time = float(text or "inf")
    except ValueError:
        time = math.nan
    if not time > 0:
        raise ValueError(
            f"{where}: {text!r} is invalid; a time is a number above 0, and inf or nothing a miss"
        )
    return time


def _by_problem(problems: Sequence[str], table: dict[str, list[float]]) -> dict[str, Array]:
    return dict(zip(problems, np.array(list(table.values())).T, strict=True))


def _held_out(problems: Sequence[str]) -> dict[str, str]:
    """The problem of each variant: the longest name that it continues after an underscore."""

    def continued(name: str) -> list[str]:
        return [x for x in problems if name.startswith(f"{x}_")]

    whole = {name for name in problems if not continued(name)}
    variants = {name: [x for x in continued(name) if x in whole] for name in problems}
    return {name: max(found, key=len) for name, found in variants.items() if found}
