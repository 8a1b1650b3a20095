"""`ravine race report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ravine.cli.listing import Json
from ravine.cli.names import require
from ravine.cli.terminal import err, line, notes, paragraph, table, title

if TYPE_CHECKING:
    from ravine.races.report import Report


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run folder of a race.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file to write. Default: DIR/report.html."),
    ] = None,
    figures: Annotated[
        bool,
        typer.Option("--figures", help="Also write each figure to DIR/figures, as PNG and SVG."),
    ] = False,
    parquet: Annotated[
        bool,
        typer.Option("--parquet", help="Also write all runs to DIR/runs.parquet, one per row."),
    ] = False,
    json: Json = False,
) -> None:
    """Write the HTML report of a race, and print a summary of it."""
    require("scipy", *["matplotlib"] * figures, *["pyarrow"] * parquet)
    from ravine.races.atomic import write
    from ravine.races.report import Report

    made = Report(folder)
    if json:
        from ravine.races.encoding import to_json
        from ravine.races.facts import facts

        print(to_json(facts(made)))
    else:
        _print(made)
    written = {"The page": write(out or folder / "report.html", made.html().encode())}
    if figures:
        made.write_figures(folder / "figures")
        written["figures"] = folder / "figures"
    if parquet:
        from ravine.races.parquet import write as write_parquet

        written["runs"] = write_parquet(made.runs, folder / "runs.parquet")
    err.print("; ".join(f"{what}: {path}" for what, path in written.items()))


def _print(made: Report) -> None:
    from ravine.races.sentences import Words, place

    if len(made.comparisons) > 1:  # with one problem, its verdict is the headline
        paragraph(made.headline, style="bold")
        line()
    for i, comparison in enumerate(made.comparisons):
        if i:
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
