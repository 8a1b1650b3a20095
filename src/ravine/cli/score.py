"""`ravine score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ravine.cli.listing import Json
from ravine.cli.terminal import line, notes, paragraph, table, title

SHOWN = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)


def score(
    file: Annotated[
        Path, typer.Argument(help="A CSV file: method names, then one column per problem.")
    ],
    json: Json = False,
) -> None:
    """Score a table of times to target, as AlgoPerf does.

    The first column has the names of the methods, and each other column their times on one problem, in
    any unit. "inf" or an empty cell means that the target was missed. If there are columns called
    ruleset and rule, each combination of their values is scored separately. A column whose name
    extends another's after an underscore (wmt, wmt_glu_tanh) is a held-out variant: missing its target
    voids the result on the problem.
    """
    from ravine.races.profiles import FACTORS, read

    tables = read(file)
    if json:
        from ravine.races.store import to_json

        found = [
            {
                "ruleset": each.ruleset,
                "rule": each.rule,
                "problems": each.problems,
                "held_out": each.held_out,
                "factors": FACTORS.tolist(),
                "scores": each.scores(),
            }
            for each in tables
        ]
        return print(to_json(found))
    for each in tables:
        _print(each)
        line()
    paragraph(
        "counted: the number of problems on which a time counts. The next columns are the profile: "
        "the share of problems on which the time is within that factor of the best. The score is the "
        "area under the profile from 1 to 4, divided by 3."
    )


def _print(table_: Any) -> None:
    from ravine.races.profiles import profile

    label = ", ".join(x for x in (table_.ruleset, table_.rule) if x)
    problems = table_.problems
    title(f"{label}: scores" if label else "Scores")
    rows = table_.scores()
    shares = profile(np.array([list(row["times"].values()) for row in rows]), SHOWN)
    cells = [
        (
            row["name"],
            f"{row['score']:.4f}",
            f"{row['reached']} of {len(problems)}",
            *(f"{share:.0%}" for share in of),
        )
        for row, of in zip(rows, shares, strict=True)
    ]
    table(("name", ">score", ">counted", *(f">≤{x:g}×" for x in SHOWN)), cells)
    missed = [x for x in problems if all(np.isinf(row["times"][x]) for row in rows)]
    variants = [f"{variant} (of {problem})" for variant, problem in table_.held_out.items()]
    below = [("held out", ", ".join(variants))] if variants else []
    below += [("counted for none", ", ".join(missed))] if missed else []
    below += [
        (row["name"], "; ".join(f"{problem}: {why}" for problem, why in row["left_out"].items()))
        for row in rows
        if row["left_out"]
    ]
    notes(below)
