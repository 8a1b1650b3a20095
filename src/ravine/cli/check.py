"""`ravine check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ravine.cli.listing import Json
from ravine.cli.names import exclusive, require
from ravine.cli.terminal import line, notes, paragraph, say, table, title

if TYPE_CHECKING:
    from ravine.checks.report import Report

MARKS = {"pass": "✓", "fault": "✗", "fact": "·", "skipped": "–", "could not run": "?"}


def check(
    optimizer: Annotated[
        str | None,
        typer.Argument(
            help="The optimizer, such as torch.optim:AdamW, optax:adamw, mine.py:MyAdam or the name of a "
            "rule; runs its code. With --survey: comma-separated packages, such as optax,timm.",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(help="The rule that it should be, such as adam.", show_default=False),
    ] = None,
    args: Annotated[
        str,
        typer.Option(
            help='Arguments for its constructor: "lr=1e-3, betas=(0.9, 0.99)".', show_default=False
        ),
    ] = "",
    only: Annotated[
        str | None,
        typer.Option(
            help="Run only these checks or families of checks: descends,state.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="CHECK", help="Explain a check.", show_default=False)
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List all checks.")] = False,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Time limit for identifying it, in seconds.")
    ] = 10.0,
    timeout: Annotated[
        float, typer.Option(min=1.0, help="Time limit for its process, in seconds.")
    ] = 300.0,
    survey: Annotated[
        bool,
        typer.Option(
            "--survey",
            help="Check every optimizer in these packages, or in all installed packages.",
        ),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            help="With --survey: the file for the results, one line of JSON per optimizer; "
            "optimizers that it already contains are skipped."
        ),
    ] = Path("survey.jsonl"),
    all_: Annotated[bool, typer.Option("--all", help="Also show checks that pass.")] = False,
    json: Json = False,
) -> None:
    """Check an optimizer: is it correct, and if not, what is wrong with it?

    It runs in a separate process. After five seconds, standard error says which check is running.

    Exit codes: 0 correct or unknown; 1 a fault; 2 it could not run. With --like, unknown is a fault.
    """
    require("numpy")
    exclusive(
        {
            "--explain": explain is not None,
            "--list": list_,
            "an optimizer": optimizer is not None and not survey,
            "--survey": survey,
        }
    )
    if survey:
        return _survey(optimizer, out, seconds, timeout, json)
    if list_:
        return _list(json)
    if explain is not None:
        return _explain(explain)
    if optimizer is None:
        raise ValueError(
            "check what? Name an optimizer, such as torch.optim:AdamW or mine.py:MyAdam"
        )
    from ravine.checks.options import arguments
    from ravine.checks.process import apart

    some = None if only is None else [x.strip() for x in only.split(",")]
    if some is not None:
        from ravine.checks.running import chosen

        chosen(some)
    report = apart(
        optimizer,
        like,
        arguments=arguments(args),
        only=some,
        seconds=seconds,
        timeout=timeout,
        waiting=say,
    )
    if json:
        print(report.to_json())
    else:
        _show(report, all_)
    raise typer.Exit(report.code)


def _survey(packages: str | None, out: Path, seconds: float, timeout: float, json: bool) -> None:
    from ravine.checks.survey.running import installed, survey

    named = [x.strip() for x in (packages or "").split(",") if x.strip()]
    rows = survey(named or installed(), out, seconds=seconds, timeout=timeout, tell=say)
    if named:
        rows = [r for r in rows if r["package"] in named]
    if json:
        from ravine.races.store import to_json

        return print(to_json(rows))
    names = [f"{r['optimizer']}({r['arguments']})".replace("()", "") for r in rows]
    table(
        ("optimizer", "version", "verdict", "rule"),
        [
            (name, r["version"], r["verdict"], r["rule"])
            for name, r in zip(names, rows, strict=True)
        ],
    )


def _list(json: bool) -> None:
    from ravine.checks.registry import checks

    every = checks().values()
    if json:
        from ravine.races.store import to_json

        return print(
            to_json(
                [
                    {"name": x.name, "family": x.family, "asks": x.asks, "needs": sorted(x.needs)}
                    for x in every
                ]
            )
        )
    table(("check", "family", "asks"), [(x.name, x.family, x.asks) for x in every])


def _explain(name: str) -> None:
    from ravine.checks.registry import needed
    from ravine.checks.running import chosen

    its = chosen([name])[name]
    title(name)
    paragraph(its.asks)
    if its.explains:
        line()
        for part in its.explains.split("\n\n"):
            paragraph(" ".join(part.split()))
    if its.needs:
        line()
        paragraph(_sentence(needed(its.needs)))


def _show(report: Report, every: bool) -> None:
    found = report.finding
    title(report.headline)
    for text in found.evidence:
        paragraph(_sentence(text), 2)
    if found.marked:
        line()
        for row in found.marked:
            line(f"  {row}", "red" if row.startswith("-") else "green")
    if found.also:
        line()
        same = "; ".join(found.also[:3]) + ("; …" if len(found.also) > 3 else "")
        paragraph(f"The same on this probe: {same}.", 2)
    asked = _values(found.asked)
    if report.code == 0 and asked:
        paragraph(f"checked with {asked}", 2, "dim")
    rows = [r for r in report.results if every or r.verdict in ("fault", "could not run") or r.says]
    less = ("skipped", "fact")
    rows = [r for r in rows if r.check != "identity" and (every or r.verdict not in less)]
    if rows:
        line()
        for r in rows:
            notes(
                [
                    (
                        f"{MARKS[r.verdict]} {r.check}",
                        "; ".join([r.says or "as it should be", *r.evidence]),
                    )
                ]
            )
    facts = [r.says for r in report.results if r.verdict == "fact"]
    if facts and not every:
        line()
        paragraph(f"Facts: {'; '.join(facts)}.", 2)
    if report.code != 2:
        line()
        paragraph(report.counts, style="dim")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v:g}" for k, v in values.items() if not isinstance(v, (bool, str)))
