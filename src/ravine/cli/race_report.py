"""`ravine race report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ravine.cli.names import require
from ravine.cli.terminal import err, line, notes, paragraph, table, title


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder that a race has written.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page. Default: DIR/report.html.")
    ] = None,
    figures: Annotated[
        bool,
        typer.Option("--figures", help="Write each figure too, as PNG and SVG, to DIR/figures."),
    ] = False,
) -> None:
    """Make the page of a race from its run files, and print what it says."""
    require("scipy", *(["matplotlib"] if figures else []))
    from ravine.races.atomic import write
    from ravine.races.report import Report
    from ravine.races.sentences import Words, place

    made = Report(folder)
    paragraph(made.headline, style="bold")
    for comparison in made.comparisons:
        line()
        words = Words(comparison)
        title(comparison.title)
        said = (words.verdict(), words.enough(), words.defaults(), *words.remarks())
        paragraph(" ".join(text for text in said if text))
        cells = [
            (
                place(rank),
                m.name,
                words.score(m.result),
                words.interval(m.result),
                words.score(m.default),
            )
            for m, rank in zip(comparison.methods, comparison.ranks, strict=True)
        ]
        score = comparison.run.score_name
        table((">#", "optimizer", f">{score}", ">95 % interval", ">at the defaults"), cells)
    if made.overall:
        line()
        title("Score over all problems, of the steps to the target")
        notes((n, f"{s:.3f}") for n, s in zip(made.overall.names, made.overall.scores, strict=True))
    path = write(out or folder / "report.html", made.html().encode())
    where = f"; figures: {folder / 'figures'}" if figures else ""
    if figures:
        made.write_figures(folder / "figures")
    err.print(f"The page: {path}{where}")
