"""`ravine show`."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ravine import registry
from ravine.cli.names import (
    RUNS_FILE,
    More,
    complete,
    depends,
    exclusive,
    find,
    given,
    settings,
    written,
)
from ravine.cli.terminal import NONE, code, line, notes, number, out, paragraph, table, width
from ravine.registry import Found
from ravine.rule import Rule
from ravine.views import VIEWS


def show(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help=f'A rule, or a stack such as "l2(adam)". {RUNS_FILE}', autocompletion=complete
        ),
    ],
    latex: Annotated[
        bool, typer.Option("--latex", help="Print only the equations, as LaTeX.")
    ] = False,
    algorithm: Annotated[
        bool,
        typer.Option(
            "--algorithm",
            help="Print only the algorithm: inputs, state and loop; with --latex, as LaTeX.",
        ),
    ] = False,
    kernel: Annotated[
        bool, typer.Option("--kernel", help="Print only the Python code generated for the step.")
    ] = False,
    llvm: Annotated[
        bool, typer.Option("--llvm", help="Print only the fused CPU kernel, as LLVM IR.")
    ] = False,
    asm: Annotated[
        bool,
        typer.Option(
            "--asm", help="Print only the fused CPU kernel, as assembly for this machine."
        ),
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="The dtype for --llvm and --asm: float64, float32, bfloat16 or float16. "
            "Default: float32."
        ),
    ] = None,
    worked: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS",
            min=1,
            help="Show this many worked steps, with every named value. Default: 5 with --csv or --sheet.",
        ),
    ] = None,
    gradients: Annotated[
        str,
        typer.Option(help="The gradients of the worked steps, as in 0.5,-0.2; repeated as needed."),
    ] = "0.5,0.3,-0.2,0.4,0.1",
    start: Annotated[float, typer.Option(help="The parameter before the first worked step.")] = 1.0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a hyperparameter.")
    ] = None,
    more: More = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print the worked steps as CSV, with all digits.")
    ] = False,
    as_sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE",
            help="Write the worked steps as an .xlsx spreadsheet, in which every value is a live formula.",
        ),
    ] = None,
) -> None:
    """Show a rule: source, algorithm, paper, hyperparameters, state, and differences between packages."""
    steps = worked is not None or as_csv or as_sheet is not None
    exclusive(
        {
            "--latex" if latex else "--algorithm": latex or algorithm,
            "--kernel": kernel,
            "--llvm": llvm,
            "--asm": asm,
            "--worked" if worked is not None else "--csv" if as_csv else "--sheet": steps,
        }
    )
    if as_csv and as_sheet:
        raise ValueError("--csv and --sheet are mutually exclusive; give one of them")
    if dtype and not (llvm or asm):
        raise ValueError(f"--dtype {dtype!r} says what --llvm or --asm is for; give one of them")
    for option in ("gradients", "start"):
        depends(f"--{option}", given(context, option), "without --worked, --csv or --sheet", steps)
    found = find(name)
    rule, values = settings(found.rule, written(set_, more))
    found = replace(found, rule=rule)
    if latex or algorithm:
        from ravine.reading import algorithm as box
        from ravine.reading import equations

        if latex:
            return print((box if algorithm else equations).latex(rule, values))
        return print(box.terminal(rule, width(), plain=_plain(), values=values))
    if kernel:
        return code(_printed(rule, values))
    if llvm or asm:
        return _show_compiled(rule, values, dtype or "float32", asm)
    if steps:
        return _show_worked(found, worked or 5, gradients, start, values, as_csv, as_sheet)
    _show_all(found, values)


def _plain() -> bool:
    """Whether the terminal can show only ASCII."""
    return not out.encoding.lower().startswith("utf")


def _printed(rule: Rule, values: dict[str, Any]) -> str:
    """The step as Python, once for each set of signals that it may receive."""
    from ravine.engines.python import kernel_source
    from ravine.engines.tracing import trace, ways

    if not rule.signals:
        return kernel_source(trace(rule, **values))
    parts = [
        f"# at steps with {' and '.join(way.given) or 'no signal'}\n"
        + kernel_source(trace(rule, way.given, **values))
        for way in ways(rule, rule.check(**values))
    ]
    return "\n".join(parts)


def _show_compiled(rule: Rule, values: dict[str, Any], dtype: str, asm: bool) -> None:
    from ravine.engines import compiler
    from ravine.engines.cpu import kernel as made
    from ravine.engines.kernel import DTYPES
    from ravine.engines.narrow import FORMATS
    from ravine.engines.tracing import trace

    accepted = [name for name in DTYPES if name not in FORMATS]  # those are of state only
    if dtype not in accepted:
        raise ValueError(f"--dtype {dtype!r} is invalid; it must be one of {', '.join(accepted)}")
    kernel = made(trace(rule, **values))
    dtypes = [dtype] * len(kernel.columns)
    if asm:
        code(compiler.assembly(kernel, dtypes), "gas")
    else:
        code(compiler.ir(kernel, dtypes), "llvm")


def _show_all(found: Found, values: dict[str, Any]) -> None:
    from ravine.reading.about import about, helpers, source
    from ravine.reading.algorithm import terminal

    rule, facts = found.rule, about(found.rule, **values)
    paragraph(found.label + f": {facts.summary}" * bool(facts.summary))
    line()
    if facts.text:
        paragraph(f"{facts.text}\n")
    if rule.paper:
        paragraph(f"{rule.paper}\n{rule.at}\n")
    for function in (*rule.sources, *helpers(rule)):
        code(source(function), fold=True)
        line()
    try:
        print(terminal(rule, width(), plain=_plain(), values=values), end="\n\n")
    except ValueError as error:  # a decorated function
        paragraph(f"{error}\n")
    changed = {k for k, h in rule.hyperparameters.items() if values[k] != h.default}
    rows = []
    for h in rule.hyperparameters.values():
        # Do not break intervals and bounds.
        accepted = h.accepted.replace(", ", ",\xa0").replace("= ", "=\xa0").replace("> ", ">\xa0")
        now = [str(values[h.name]) if h.name in changed else ""] * bool(changed)
        searched = h.searched and f"; search {h.searched}".replace(" to ", "\xa0to\xa0")
        rows.append((h.name, str(h.default), *now, accepted, h.meaning + searched))
    table(("hyperparameter", ">default", *[">set to"] * bool(changed), "accepted", "meaning"), rows)
    line()
    seen = [("Seen as ", f"{rule.seen}: {VIEWS[rule.seen]}")] if rule.seen else []
    notes([*seen, ("State   ", facts.kept())])
    if facts.signals:
        notes([("Signals ", "; ".join(f"{name}: {what}" for name, what in facts.signals))])
    notes(_card(rule))
    if facts.elsewhere:
        line("\nElsewhere")
        notes(facts.elsewhere)


def _card(rule: Rule) -> list[tuple[str, str]]:
    """Other names, relatives, and what the rule was verified against."""
    card = rule.card
    rows = [("Names   ", card.names)] if card.names else []
    if card.variant_of:
        rows.append(("Variant ", f"of {card.variant_of}; differs in {', '.join(card.axes)}"))
    same = dict.fromkeys(f"{witness.name} ({witness.package})" for witness in card.witnesses)
    if same:
        rows.append(("Same as ", f"{', '.join(same)}: to 1e-12 over 60 steps in float64"))
    for witness in card.near:
        path = f"{witness.strays} apart after 60 steps in float64. {witness.note}"
        rows.append(("Near    ", f"{witness.name} ({witness.package}): {path}"))
    if why := registry.unverified(rule):
        rows.append(("Proof   ", f"unverified: {why}"))
    return rows


def _show_worked(
    found: Found,
    steps: int,
    gradients: str,
    start: float,
    values: dict[str, Any],
    as_csv: bool,
    as_sheet: Path | None,
) -> None:
    from ravine.reading.worked import worked

    try:
        numbers = [float(x) for x in gradients.split(",")]
    except ValueError:
        raise ValueError(
            f"--gradients {gradients!r} is invalid; write comma-separated numbers, such as 0.5,-0.2"
        ) from None
    given_ = [numbers[i % len(numbers)] for i in range(steps)]
    if as_sheet is not None:
        return _write_sheet(found, given_, start, values, as_sheet)
    rows = worked(found.rule, given_, start, **values)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if as_csv:
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
        writer.writeheader()
        return writer.writerows(rows)
    settings = ", ".join(f"{k}={v}" for k, v in values.items())
    paragraph(f"{found.label}, {settings}; p starts at {start:g}")
    digits = 6 if len(columns) <= 8 else 4
    cells = [[_shown(row.get(column), digits) for column in columns] for row in rows]
    table([f">{column}" for column in columns], cells)
    if any(NONE in row for row in cells):
        paragraph(f"{NONE}: the rule did not compute this value in that step")


def _write_sheet(
    found: Found, gradients: list[float], start: float, values: dict[str, Any], file: Path
) -> None:
    if file.suffix != ".xlsx":
        raise ValueError(
            f"--sheet {str(file)!r} is invalid; the name of a spreadsheet ends in .xlsx, which "
            "LibreOffice reads as well as Excel"
        )
    from ravine.races.atomic import write
    from ravine.reading.sheet import sheet

    write(file, sheet(found.rule, gradients, start, **values))
    paragraph(f"Wrote {file}: {len(gradients)} steps of {found.label}")


def _shown(value: float | None, digits: int) -> str:
    return str(value) if isinstance(value, int) else number(value, f".{digits}g")
