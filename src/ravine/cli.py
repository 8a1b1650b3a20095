"""The command line: parse, call, print. Nothing is computed here.

Exit codes: 0 done, 1 failed, 2 not accepted, 130 interrupted.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

import ravine
from ravine import registry
from ravine.rule import Rule, RuleError

app = typer.Typer(
    help="Gradient optimizers you can read, trust, run and race.",
    epilog="Exit codes: 0 done, 1 failed, 2 not accepted, 130 interrupted (what is done is kept).",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)

_EXTRAS = {"torch": "torch", "llvmlite": "torch", "matplotlib": "race", "numba": "race"}

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def main() -> None:
    """Run the command line; errors that a user can mend are one line, not a traceback."""
    try:
        app(prog_name="ravine")
    except (ValueError, TypeError, LookupError) as error:
        if not isinstance(error, RuleError) and type(error) in (TypeError, IndexError, KeyError):
            raise  # a fault of ours: show where
        _fail(str(error), 2)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()  # the reader of a pipe has left: nothing to say, nobody to say it to
            sys.exit(0)
        _fail(str(error), 1)
    except ImportError as error:
        extra = _EXTRAS.get(error.name or "")
        if not extra:
            raise
        _fail(f"{error.name} is not installed; pip install 'ravine[{extra}]' brings it", 1)


def _fail(message: str, code: int) -> None:
    err.print(Text.assemble(("ravine: ", "bold red"), message), soft_wrap=True)
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"ravine {ravine.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None: ...


@app.command("list")
def list_rules(json: Json = False) -> None:
    """List the rules, one line each."""
    from ravine.reading.about import about

    rows = [
        {"rule": name, "summary": about(rule).summary, "paper": rule.paper, "at": rule.at}
        for name, rule in registry.rules().items()
    ]
    if json:
        return out.print_json(data=rows)
    width = max(len(row["rule"]) for row in rows)
    for row in rows:
        name = (f"{row['rule']:<{width}}", "bold")
        out.print(Text.assemble(name, f"  {row['summary']}"), overflow="ellipsis", no_wrap=True)


def _complete_rule(incomplete: str) -> list[str]:
    return [name for name in registry.names() if name.startswith(incomplete)]


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A rule, or one of your own: file.py:name.", autocompletion=_complete_rule
        ),
    ],
    latex: Annotated[bool, typer.Option("--latex", help="Only the equations, as LaTeX.")] = False,
    kernel: Annotated[
        bool, typer.Option("--kernel", help="Only the step as printed from the rule's graph.")
    ] = False,
    llvm: Annotated[
        bool, typer.Option("--llvm", help="Only the fused CPU kernel, as LLVM IR.")
    ] = False,
    asm: Annotated[
        bool, typer.Option("--asm", help="Only the fused CPU kernel, in this machine's assembly.")
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="What --llvm and --asm are for: float64, float32, bfloat16 or float16. "
            "Default: float32."
        ),
    ] = None,
    worked: Annotated[
        int,
        typer.Option(
            metavar="STEPS", min=0, help="Work this many steps by hand: every named value."
        ),
    ] = 0,
    gradients: Annotated[
        str, typer.Option(help="The gradients to work with, as 0.5,-0.2,...; repeated as needed.")
    ] = "0.5,0.3,-0.2,0.4,0.1",
    start: Annotated[float, typer.Option(help="The parameter before the first worked step.")] = 1.0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a hyperparameter.")
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="The worked steps as CSV, all digits.")
    ] = False,
) -> None:
    """Show a rule: source, equations, paper, hyperparameters, state, how packages differ."""
    rule = registry.get(name)
    values = _settings(rule, settings or [])
    if dtype and not (llvm or asm):
        raise ValueError(f"--dtype {dtype!r} says what --llvm or --asm is for; give one of them")
    if latex:
        from ravine.reading.equations import latex as typeset

        return print("\n".join(typeset(function) for function in rule.sources))
    if kernel:
        from ravine.engines.graph import trace
        from ravine.engines.python import kernel_source

        return _code(kernel_source(trace(rule, **values)))
    if llvm or asm:
        return _show_compiled(rule, values, dtype or "float32", asm)
    if worked or as_csv:
        return _show_worked(rule, worked or 5, gradients, start, values, as_csv)
    _show_all(rule, values)


def _settings(rule: Rule, settings: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs as hyperparameters."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting!r} is not accepted; write NAME=VALUE, such as lr=0.1")
        words = {"true": True, "false": False}
        try:
            values[name] = words[text.lower()] if text.lower() in words else float(text)
        except ValueError:
            raise ValueError(
                f"--set {setting!r}: {text!r} is not a number, true or false"
            ) from None
    try:
        return rule.check(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _code(source: str, language: str = "python", fold: bool = False) -> None:
    """Print code, in colours on a terminal; elsewhere as it stands, unless it is to be folded."""
    source = source.rstrip()
    if out.is_terminal:
        out.print(Syntax(source, language, background_color="default", word_wrap=True))
    elif fold:
        out.print(source)
    else:
        print(source)


def _show_compiled(rule: Rule, values: dict[str, Any], dtype: str, asm: bool) -> None:
    from ravine.engines import cpu
    from ravine.engines.graph import trace
    from ravine.engines.kernel import DTYPES

    if dtype not in DTYPES:
        raise ValueError(f"--dtype {dtype!r} is not accepted; it is one of {', '.join(DTYPES)}")
    kernel = cpu.kernel(trace(rule, **values))
    dtypes = [dtype] * len(kernel.columns)
    if asm:
        _code(cpu.assembly(kernel, dtypes), "gas")
    else:
        _code(cpu.ir(kernel, dtypes), "llvm")


def _show_all(rule: Rule, values: dict[str, Any]) -> None:
    from ravine.reading.about import about, source
    from ravine.reading.equations import terminal

    facts = about(rule, **values)
    out.print(Text.assemble((rule.name, "bold"), f": {facts.summary}\n"))
    if facts.text:
        out.print(facts.text + "\n")
    if rule.paper:
        out.print(f"{rule.paper}\n{rule.at}\n")
    for function in rule.sources:
        _code(source(function), fold=True)
        out.print()
    plain = not out.encoding.lower().startswith("utf")
    for function in rule.sources:
        print(terminal(function, width=out.width, plain=plain), end="\n\n")
    table = _table("hyperparameter", ">default", "accepted", "meaning")
    for h in rule.hyperparameters.values():
        table.add_row(h.name, str(h.default), h.accepted, h.meaning)
    out.print(table)
    out.print(f"\nState     {facts.kept()}")
    if facts.elsewhere:
        out.print("\nElsewhere")
        _notes(facts.elsewhere)


def _show_worked(
    rule: Rule, steps: int, gradients: str, start: float, values: dict[str, Any], as_csv: bool
) -> None:
    from ravine.reading.worked import worked

    try:
        given = [float(x) for x in gradients.split(",")]
    except ValueError:
        raise ValueError(
            f"--gradients {gradients!r} is not accepted; write numbers with commas between, such as 0.5,-0.2"
        ) from None
    rows = worked(rule, [given[i % len(given)] for i in range(steps)], start, **values)
    if as_csv:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        return writer.writerows(rows)
    settings = ", ".join(f"{k}={v}" for k, v in values.items())
    out.print(Text.assemble((rule.name, "bold"), f", {settings}; p starts at {start:g}"))
    columns = list(rows[0])
    digits = 6 if len(columns) <= 8 else 4
    table = _table(*(f">{c}" for c in columns))
    for row in rows:
        table.add_row(*(str(v) if isinstance(v, int) else f"{v:.{digits}g}" for v in row.values()))
    out.print(table)


race = typer.Typer(help="Compare optimizers: both founding experiments, or one of the races below.")
app.add_typer(race, name="race", invoke_without_command=True)

Out = Annotated[
    Path | None,
    typer.Option(
        help="The run folder; one that exists goes on where it was left. Default: runs/<time>."
    ),
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="How many seeds. Default: 12 diamonds, 3 figure-1.")
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Few seeds and iterations: a look, not a result.")
]
Rows = Sequence[Mapping[str, Any]]


@race.callback()
def race_all(
    context: typer.Context,
    out: Out = None,
    seeds: Seeds = None,
    quick: Quick = False,
    json: Json = False,
) -> None:
    """Run both experiments, print the tables, write a run folder."""
    if context.invoked_subcommand is None:
        diamonds, figure_1 = _diamonds(seeds, quick, None), _figure_1(seeds, quick, {})
        _race(out, json, {"diamonds": diamonds, "figure-1": figure_1})


@race.command("diamonds")
def race_diamonds(
    out: Out = None,
    seeds: Seeds = None,
    quick: Quick = False,
    json: Json = False,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate of all. Default: the post's.")
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(help='Rows per step: 1 is SGD, "all" gradient descent. Default: 64.'),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes, at the most. Default: 10000.")] = None,
    stopping_threshold: Annotated[
        float | None, typer.Option(help="Stop when the loss changes by less. Default: 1e-6.")
    ] = None,
    optimizers: Annotated[
        str | None, typer.Option(help="Rules, with commas between. Default: the post's four.")
    ] = None,
) -> None:
    """The second post: the price of diamonds as a line of their weight.

    With any of the options from --lr on it is the reader's exercise: only the runs asked for.
    """
    chosen: dict[str, Any] = {
        "lr": lr,
        "batch_size": int(batch_size)
        if batch_size and batch_size.lstrip("-").isdigit()
        else batch_size,
        "epochs": epochs,
        "stopping_threshold": stopping_threshold,
        "optimizers": optimizers.split(",") if optimizers else None,
    }
    exercise = {k: v for k, v in chosen.items() if v is not None}
    _race(out, json, {"diamonds": _diamonds(seeds, quick, exercise or None)})


@race.command("figure-1")
def race_figure_1(
    out: Out = None,
    seeds: Seeds = None,
    quick: Quick = False,
    json: Json = False,
    as_published: Annotated[
        bool,
        typer.Option("--as-published", help="Add the first post's optimizers with their faults."),
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Train on the whole of Fashion-MNIST, where it is installed."),
    ] = False,
) -> None:
    """The first post: torch.optim and Ravine, side by side on Fashion-MNIST."""
    extra = {"as_published": as_published, "full": full or None}
    _race(out, json, {"figure-1": _figure_1(seeds, quick, extra)})


@race.command("claims")
def race_claims(
    out: Out = None, seeds: Seeds = None, quick: Quick = False, json: Json = False
) -> None:
    """What posts and textbooks say of optimizers, each sentence measured and given a verdict."""
    from ravine.races.race import claims

    count = None if seeds is None else range(seeds)
    run = partial(claims, seeds=count, quick=quick)
    _race(out, json, {"claims": run})


@race.command("conditioning")
def race_conditioning(
    out: Out = None, seeds: Seeds = None, quick: Quick = False, json: Json = False
) -> None:
    """When adaptive methods help: least squares on the diamonds, raw and standardised."""
    from ravine.races.race import conditioning

    run = partial(conditioning, seeds=range(seeds or (3 if quick else 10)), quick=quick)
    _race(out, json, {"conditioning": run})


Race = Callable[[Any, Any], Mapping[str, Rows]]


def _diamonds(seeds: int | None, quick: bool, exercise: dict[str, Any] | None) -> Race:
    from ravine.races.race import diamonds

    count = seeds or (3 if quick or exercise else 12)
    return lambda folder, progress: diamonds(
        folder, progress, seeds=range(count), exercise=exercise
    )


def _figure_1(seeds: int | None, quick: bool, extra: dict[str, Any]) -> Race:
    from ravine.races.race import figure_1

    extra = {"iterations": 30 if quick else None, **extra}
    count = seeds or (1 if quick else 3)
    return lambda folder, progress: figure_1(folder, progress, seeds=range(count), **extra)


def _race(path: Path | None, json: bool, races: dict[str, Race]) -> None:
    """Run the races in a folder that keeps what is done, whatever happens."""
    from ravine.races.store import RunFolder

    path = path or Path("runs") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = RunFolder(path)
    folder.manifest(status="running")
    start = time.perf_counter()
    tables: dict[str, Rows] = {}
    try:
        for name, run in races.items():
            done = run(folder, _progress)
            tables |= done
            if not json:
                _print_race(name, done)
    except KeyboardInterrupt:
        folder.manifest(status="interrupted")
        units = len(list((path / "units").glob("*.json")))
        err.print(
            f"\nInterrupted. {units} finished runs are kept in {path}; the same command "
            f"with --out {path} goes on from there.",
            soft_wrap=True,
        )
        sys.exit(130)
    except BaseException as error:
        folder.manifest(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    seconds = time.perf_counter() - start
    folder.manifest(status="complete", seconds=seconds, reused=folder.reused)
    if json:
        from ravine.races.store import to_json

        print(to_json(tables))
    reused = f", {folder.reused} runs taken from before" if folder.reused else ""
    err.print(f"{seconds:.0f} s{reused}. Tables, points and figures: {path}", soft_wrap=True)


def _progress(name: str, specs: Sequence[Any]) -> Iterable[Any]:
    """Hand the units of work through, with a bar on the terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TextColumn("{task.fields[doing]}"), console=err
    ) as bar:
        task = bar.add_task(name, total=len(specs), doing="")
        for spec in specs:
            stream = spec.get("seed", spec.get("stream"))
            seed = f" seed {stream}" if isinstance(stream, int) else ""
            about = (spec.get(key) for key in ("problem", "columns", "form", "unit", "optimizer"))
            bar.update(task, doing=" ".join(str(word) for word in about if word) + seed)
            yield spec
            bar.advance(task)
        bar.update(task, doing="")


def _print_race(name: str, tables: Mapping[str, Rows]) -> None:
    for key, rows in tables.items():
        _PRINTERS[key](rows)
        out.print()


def _print_as_published(rows: Rows) -> None:
    _title("Diamonds as published: the post's numbers, made again with its faults")
    columns = ("method", ">runtime s", ">actual RMSE", ">published s", ">published RMSE")
    table = _table(*columns, gap=1)
    for r in rows:
        published = f"{r['published_seconds']:.2f}", repr(r["published_rmse"])
        table.add_row(r["method"], f"{r['seconds']:.2f}", repr(r["rmse"]), *published)
    out.print(table)
    _notes(
        (r["method"], f"{r['reason']} ({_agree(r['digits'])}, {r['epochs']} epochs)") for r in rows
    )


def _agree(digits: int) -> str:
    return "all digits agree" if digits >= 16 else f"{digits} digits agree"


def _print_corrected(rows: Rows) -> None:
    _title("Diamonds corrected: the sign mended, on the post's random stream")
    table = _table("method", ">runtime s", ">actual RMSE", ">epochs")
    for r in rows:
        table.add_row(r["method"], f"{r['seconds']:.3f}", f"{r['rmse']:.4f}", str(r["epochs"]))
    out.print(table)
    out.print()
    _print_seeds(rows, f"Diamonds corrected, over {rows[0]['seeds']} seeds")


def _print_exercise(rows: Rows) -> None:
    batch = rows[0]["batch_size"]
    kind = {1: "SGD", "all": "gradient descent"}.get(batch, "mini-batch")
    title = (
        f"Diamonds, the reader's exercise: batch size {batch} ({kind}), {rows[0]['seeds']} seeds"
    )
    _print_seeds(rows, title)


def _print_seeds(rows: Rows, title: str) -> None:
    columns = (
        "method",
        ">lr",
        ">RMSE min",
        ">median",
        ">max",
        ">epochs min",
        ">median",
        ">max",
        ">µs/step",
    )
    _title(title)
    table = _table(*columns, gap=1)
    for r in rows:
        rmse = (f"{r[f'rmse_{k}']:.2f}" for k in ("min", "median", "max"))
        epochs = (f"{r[f'epochs_{k}']:.0f}" for k in ("min", "median", "max"))
        table.add_row(r["method"], f"{r['lr']:g}", *rmse, *epochs, f"{r['us_per_step']:.2f}")
    out.print(table)
    stopped = ", ".join(f"{r['method']} {r['stopped']}" for r in rows)
    _notes([("stopped by the threshold", f"{stopped}, of {rows[0]['seeds']} each")])


def _print_floor(rows: Rows) -> None:
    _title("The floor: what a straight line can do")
    table = _table("line", ">m", ">b", ">train RMSE", ">test RMSE")
    for r in rows:
        errors = (f"{r[k]:.4f}" for k in ("train_rmse", "test_rmse"))
        table.add_row(r["line"], f"{r['m']:.7g}", f"{r['b']:.4g}", *errors)
    out.print(table)


def _print_figure_1(rows: Rows) -> None:
    _title("Figure 1: running mean of the training loss at the last iteration")
    table = _table("optimizer", ">mean", ">min", ">max", ">seconds")
    for r in rows:
        ends = (f"{r[k]:.4f}" for k in ("mean", "min", "max"))
        table.add_row(r["optimizer"], *ends, f"{r['seconds']:.2f}")
    out.print(table)


def _print_pairs(rows: Rows) -> None:
    _title("Largest difference within each pair, over all iterations and seeds")
    table = _table("torch.optim", "Ravine", ">running mean", ">parameters")
    for r in rows:
        table.add_row(r["torch"], r["ravine"], f"{r['loss']:.1e}", f"{r['parameters']:.1e}")
    out.print(table)


def _print_faults(rows: Rows) -> None:
    _title("What each fault of the first post does: length of a step, torch's = 1")
    steps = [key for key in rows[0] if key.startswith("step_")]
    heads = (f">step {key[5:]}" for key in steps)
    table = _table("optimizer", *heads, ">loss", ">right")
    for r in rows:
        ratios = (_range(*r[key]) for key in steps)
        table.add_row(r["optimizer"], *ratios, f"{r['mean']:.4f}", f"{r['right']:.4f}")
    out.print(table)
    _notes((r["optimizer"], r["says"]) for r in rows)


def _print_claims(rows: Rows) -> None:
    for r in rows:
        out.print(
            Text.assemble((f"{r['claim']} ", "bold"), f"({r['source']}): ", (r["verdict"], "bold"))
        )
        out.print(Padding(r["sentence"], (0, 0, 0, 2)))
        for part in r["depends_on"]:
            out.print(Padding(f"- {part}", (0, 0, 0, 4)))
        out.print()


def _print_claims_races(rows: Rows) -> None:
    _title("What was measured: loss at the end, tuned, start = 1; without decay and clipping")
    table = _table("problem", "optimizer", ">lr", ">loss", ">95% low", ">high", ">diverged")
    for r in rows:
        if not r["decay"] and not r["clip"]:
            ends = (f"{r[k]:.2g}" for k in ("loss", "low", "high"))
            edge = "!" if r["edge"] else ""
            rate = f"{r['learning_rate']:g}{edge}"
            table.add_row(r["problem"], r["optimizer"], rate, *ends, f"{r['diverged']:.0%}")
    out.print(table)
    out.print("  ! the best learning rate is the first or last of the grid")


def _print_conditioning(rows: Rows) -> None:
    for batch in dict.fromkeys(r["batch"] for r in rows):
        _title(f"Steps to a gap of 1e-2 and 1e-4 of the start's; batch: {batch}")
        columns = (
            "columns",
            "form",
            ">condition",
            "optimizer",
            ">1e-2",
            ">1e-4",
            ">gap",
            ">diverged",
        )
        table = _table(*columns, gap=1)
        before = None
        for r in (r for r in rows if r["batch"] == batch):
            case = (r["columns"], r["form"], f"{r['condition']:.2g}")
            steps = (_steps(r[f"steps_{t}"]) for t in ("1e-2", "1e-4"))
            end = f"{r['gap']:.1e}", f"{r['diverged']:.0%}"
            table.add_row(*(case if case != before else ("", "", "")), r["optimizer"], *steps, *end)
            before = case
        out.print(table)
        out.print()


def _steps(count: float) -> str:
    return f"{count:,.0f}" if count < float("inf") else "never"


def _print_conclusion(rows: Rows) -> None:
    out.print(rows[0]["conclusion"])


def _title(text: str) -> None:
    out.print(text, style="bold")


def _notes(pairs: Iterable[tuple[str, str]]) -> None:
    """Lines below a table, what each is about on the left."""
    notes = Table.grid(padding=(0, 2, 0, 0))
    for about, text in pairs:
        notes.add_row(about, text)
    out.print(notes)


def _range(low: float, high: float) -> str:
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f}-{high:.2f}"


_PRINTERS: dict[str, Callable[[Rows], None]] = {
    "claims": _print_claims,
    "claims-races": _print_claims_races,
    "conditioning": _print_conditioning,
    "conditioning-conclusion": _print_conclusion,
    "diamonds-as-published": _print_as_published,
    "diamonds-corrected": _print_corrected,
    "diamonds-exercise": _print_exercise,
    "diamonds-floor": _print_floor,
    "figure-1": _print_figure_1,
    "figure-1-pairs": _print_pairs,
    "figure-1-faults": _print_faults,
}


bench = typer.Typer(help="Measure speed, side by side in one run.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command("diamonds")
def bench_diamonds(
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each loop.")] = 5,
    json: Json = False,
) -> None:
    """The diamonds loop, compiled from the rule's graph, against the post's plain NumPy loop."""
    from ravine.bench import diamonds

    rows = diamonds.run(repeats=repeats)
    if json:
        return out.print_json(data=rows)
    _title("One epoch of the diamonds protocol: 250 steps, permutation, loss")
    columns = ("method", ">plain µs", ">compiled µs", ">ratio", ">equal digits", ">compile s")
    table = _table(*columns)
    for r in rows:
        times = f"{r['plain_us']:.0f}", f"{r['fast_us']:.1f}", f"{r['ratio']:.1f}"
        table.add_row(r["method"], *times, str(r["digits"]), f"{r['compile_seconds']:.2f}")
    out.print(table)


File = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write everything as JSON, too.")
]


@bench.command("step")
def bench_step(
    rules: Annotated[
        str,
        typer.Option(help='Rules, with commas between; "torch": all that it has too; or "all".'),
    ] = "torch",
    shapes: Annotated[
        str,
        typer.Option(
            help="Of scalars, mlp, resnet18, gpt2; with commas between. gpt2 takes 8 to 11 GiB of "
            "memory, and is skipped where less is free."
        ),
    ] = "scalars,mlp,resnet18,gpt2",
    seconds: Annotated[
        float,
        typer.Option(
            min=0.0, help="For each rule and shape; everything is timed 3 times at least."
        ),
    ] = 1.0,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Add torch.compile of torch's step.")
    ] = False,
    all_engines: Annotated[
        bool, typer.Option("--all-engines", help="Time the eager engine on gpt2 as well.")
    ] = False,
    first: Annotated[
        bool,
        typer.Option(
            "--first/--no-first",
            help="Time the first calls on the first shape too, each in a new process: 3 s each.",
        ),
    ] = True,
    training: Annotated[
        bool,
        typer.Option(
            "--training/--no-training", help="Then time steps inside training, after a backward."
        ),
    ] = True,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the ratios to torch, as .png or .svg."),
    ] = None,
    file: File = None,
    json: Json = False,
) -> None:
    """One step of an optimizer: Ravine's engines and torch.optim's loops, taking turns."""
    from ravine.bench import step

    _writable("--figure", figure, ".png", ".svg")
    _writable("--out", file, ".json")
    chosen, on = step.choose(rules), shapes.split(",")
    options: dict[str, Any] = {"compiled": compiled, "progress": _progress}
    runs = {"step": step.run(on, chosen, seconds, first=first, all_engines=all_engines, **options)}
    if training:
        runs["training"] = step.run_in_training(chosen, seconds, **options)
    tables = _bench(runs, file, json)
    if figure:
        from ravine.bench.plots import against_torch
        from ravine.races.store import picture, write

        write(figure, picture(against_torch(tables["step"]), figure.suffix[1:]))


@bench.command("stacks")
def bench_stacks(
    shapes: Annotated[
        str, typer.Option(help="As for step; with commas between. gpt2 takes 4 GiB of memory.")
    ] = "resnet18,gpt2",
    seconds: Annotated[
        float, typer.Option(min=0.0, help="For each shape; everything is timed 3 times at least.")
    ] = 5.0,
    file: File = None,
    json: Json = False,
) -> None:
    """Modifiers on Adam, and its state in bfloat16: kernels, and what torch has of the kind."""
    from ravine.bench import stacks

    _writable("--out", file, ".json")
    _bench({"stacks": stacks.run(shapes.split(","), seconds, _progress)}, file, json)


@bench.command("memory")
def bench_memory(
    layers: Annotated[int, typer.Option(min=1, help="Linear layers of the model.")] = 24,
    width: Annotated[int, typer.Option(min=1, help="Inputs and outputs of a layer.")] = 1024,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a batch.")] = 16,
    seconds: Annotated[
        float, typer.Option(min=0.0, help="For each process; a step is timed 3 times at least.")
    ] = 2.0,
    rounds: Annotated[int, typer.Option(min=1, help="Processes for each contender.")] = 3,
    file: File = None,
    json: Json = False,
) -> None:
    """Peak memory and time of a training step: ordinary steps, and steps in backward. On Linux."""
    from ravine.bench import memory

    _writable("--out", file, ".json")
    rows = memory.run(layers, width, batch_size, seconds, rounds, _progress)
    _bench({"memory": rows}, file, json)


def _writable(option: str, path: Path | None, *kinds: str) -> None:
    """Refuse, before anything is measured, a file that could not be written after it."""
    if path is None:
        return
    if path.suffix not in kinds:
        raise ValueError(f"{option} {str(path)!r} is not accepted; it ends in {' or '.join(kinds)}")
    if not path.parent.is_dir():
        raise ValueError(
            f"{option} {str(path)!r} is not accepted; there is no folder {path.parent}"
        )


def _bench(
    runs: Mapping[str, Iterable[Mapping[str, Any]]], file: Path | None, json: bool
) -> dict[str, Rows]:
    """Run the measurements and tell; what is done when they are interrupted is told all the same."""
    from ravine.races.store import environment, to_json, write

    tables: dict[str, list[Mapping[str, Any]]] = {name: [] for name in runs}
    interrupted = False
    try:
        for name, rows in runs.items():
            for row in rows:
                tables[name].append(row)
    except KeyboardInterrupt:
        interrupted = True
        err.print("\nInterrupted; this is what was measured before.")
    text = to_json({"environment": environment(), **tables})
    if file:
        write(file, text.encode())
    if json:
        print(text)
    else:
        for name, done in tables.items():
            _PRINTERS[f"bench-{name}"](done)
    if interrupted:
        sys.exit(130)
    return {**tables}


def _print_step(rows: Rows) -> None:
    for shapes in dict.fromkeys(r["shapes"] for r in rows):
        here = [r for r in rows if r["shapes"] == shapes]
        _title(f"One step on {shapes}, float32; ratio: the time of torch's fastest over this one's")
        table = _table(
            *("rule", "engine", ">µs", ">ratio", ">GB/s", ">of roof", ">extra", ">first s")
        )
        for name, r in _measured(here):
            figures = (
                f"{r['us']:,.1f}",
                _number(r["against_torch"], ".2f"),
                _number(r["gb_per_s"], ".1f"),
                _number(r["of_roof"], ".2f"),
                _size(r["extra_bytes"]),
                _number(r["first_seconds"], ".2f"),
            )
            table.add_row(name, r["engine"], *figures)
        out.print(table)
        _print_skipped(here)
        out.print()


def _print_training(rows: Rows) -> None:
    _title(
        "The step inside training an MLP, after a backward pass; µs, and torch's fastest over it"
    )
    table = _table("rule", "engine", ">µs", ">ratio")
    for name, r in _measured(rows):
        ratio = _number(r["against_torch"], ".2f")
        table.add_row(name, r["engine"], f"{r['us']:,.1f}", ratio)
    out.print(table)
    _print_skipped(rows)


def _print_stacks(rows: Rows) -> None:
    for shapes in dict.fromkeys(r["shapes"] for r in rows):
        _title(f"One step of a stack on {shapes}; × Adam: over the time of its kernel in float32")
        table = _table("stack", ">µs", ">moves", ">× Adam", ">per byte", ">ratio")
        for r in (r for r in rows if r["shapes"] == shapes):
            figures = (
                f"{r['us']:,.0f}",
                _size(r["bytes"]) if r["bytes"] else "",
                f"{r['time_of_adam']:.2f}",
                _number(r["time_per_byte_of_adam"], ".2f"),
                _number(r["against_torch"], ".2f"),
            )
            table.add_row(r["stack"], *figures)
        out.print(table)
        out.print(
            "ratio: the time of torch's fused Adam, after the same clipping, over this one's\n"
        )


def _print_memory(rows: Rows) -> None:
    gradients = _size(rows[0]["gradient_bytes"]) if rows else ""
    _title(f"A training step with AdamW, float32; all gradients together take {gradients}")
    table = _table("contender", ">peak", ">gradients saved", ">µs")
    for r in rows:
        saved = f"{r['gradients_saved']:.0%}"
        table.add_row(r["contender"], _size(r["peak_bytes"]), saved, f"{r['us']:,.0f}")
    out.print(table)


def _size(count: int) -> str:
    """Bytes, in the unit that suits them."""
    unit, name = next(
        (x for x in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if count >= x[0]), (1, "B")
    )
    return f"{count / unit:.3g} {name}"


def _number(value: float | None, how: str) -> str:
    return "" if value is None else f"{value:{how}}"


def _measured(rows: Rows) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The rows with a measurement, each with its rule's name if it is the rule's first."""
    before = None
    for r in rows:
        if "skipped" not in r:
            yield ("" if r["rule"] == before else r["rule"]), r
            before = r["rule"]


def _print_skipped(rows: Rows) -> None:
    whys: dict[str, list[str]] = {}
    for r in rows:
        if "skipped" in r:
            whys.setdefault(f"{r['engine']} skipped: {r['skipped']}", []).append(r["rule"])
    for why, rules in whys.items():
        out.print(f"{why} ({', '.join(rules)})")


_PRINTERS |= {
    "bench-step": _print_step,
    "bench-training": _print_training,
    "bench-stacks": _print_stacks,
    "bench-memory": _print_memory,
}


def _table(*columns: str, gap: int = 2) -> Table:
    """A plain table; a column whose name begins with > is set flush right."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return table
