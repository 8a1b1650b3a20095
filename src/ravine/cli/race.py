"""`ravine race`."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ravine.cli.listing import Json
from ravine.cli.names import RUNS_FILE, More, depends, exclusive, quiet, require, written
from ravine.cli.progress import progress
from ravine.cli.race_tables import print_race
from ravine.cli.race_task import RaceGroup, merge, task
from ravine.cli.terminal import err, fail, say
from ravine.extras import lacking
from ravine.naming import setting, split

if TYPE_CHECKING:
    from ravine.experiments.running import Experiment, Rows

race = typer.Typer(
    cls=RaceGroup,
    help="Compare optimizers on your own task (ravine race mytask.py), on a bundled problem (ravine race "
    "--problem mnist-1d), or in one of the experiments below. Default: diamonds and figure-1.",
)


def _folder(text: str) -> Path:
    if not text.strip():
        raise typer.BadParameter("name a folder.")
    return Path(text)


Out = Annotated[
    Path | None,
    typer.Option(
        parser=_folder,
        metavar="FOLDER",
        help="The run folder; an existing one is resumed. Default: runs/<time>.",
    ),
]


def _seeds(default: str) -> Any:
    return typer.Option(min=1, max=10_000, help=f"Number of seeds. Default: {default}.")


Seeds = Annotated[int | None, _seeds("12 diamonds, 3 figure-1")]
Quick = Annotated[
    bool, typer.Option("--quick", help="Use few seeds and iterations: a preview, not a result.")
]
Optimizers = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated optimizers to use instead of the experiment's: rules, stacks such as "
        f'"cautious(adamw)", classes such as timm.optim:Lamb. {RUNS_FILE}'
    ),
]
Lr = Annotated[float | None, typer.Option(help="The learning rate for all optimizers.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Set a hyperparameter in every optimizer that has it; clip_value clips gradients in all.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Number of processes. Default: one per core, but one for timed runs."),
]


def _changes(
    optimizers: str | None, lr: float | None, texts: list[str] | None, more: list[str] | None
) -> dict[str, Any]:
    """The settings that are changed in an experiment's optimizers."""
    found: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for text in written(texts, more):
        try:
            name, value = setting(text)
        except ValueError as error:
            raise ValueError(f"--set {error}") from None
        if name in settings:
            raise ValueError(f"--set {text!r} is invalid; {name} is set twice")
        settings[name] = value
    if optimizers is not None:
        found["optimizers"] = split(optimizers)
    if lr is not None:
        found["lr"] = lr
    return {**found, **({"settings": settings} if settings else {})}


@race.callback()
def race_all(
    context: typer.Context,
    out: Out = None,
    seeds: Seeds = None,
    quick: Quick = False,
    json: Json = False,
) -> None:
    """Run both experiments, print their tables, and write a run folder."""
    if context.invoked_subcommand is None:
        return _race(out, json, _diamonds(seeds, quick, {}), _figure_1(seeds, quick))
    given = {"--out": out is not None, "--seeds": seeds, "--quick": quick, "--json": json}
    for option in (name for name, on in given.items() if on):
        name = context.invoked_subcommand
        raise ValueError(f"{option} does nothing before {name}; write ravine race {name} {option}")


@race.command("diamonds")
def race_diamonds(
    more: More = None,
    out: Out = None,
    seeds: Annotated[int | None, _seeds("12, or 3 with --quick or your own settings")] = None,
    quick: Quick = False,
    json: Json = False,
    optimizers: Optimizers = None,
    lr: Lr = None,
    texts: Set = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            help='Rows per step: 1 for strict SGD, "all" for gradient descent. Default: 64.'
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Maximum number of epochs. Default: 10000.")
    ] = None,
    stopping_threshold: Annotated[
        float | None,
        typer.Option(help="Stop when the loss changes by less than this. Default: 1e-6."),
    ] = None,
) -> None:
    """The second post's experiment: predict the price of diamonds from their weight with a line.

    With --optimizers or any option below it, run only what you ask for, instead of the post's experiment.
    """
    limits = {
        "batch_size": _whole(batch_size),
        "epochs": epochs,
        "stopping_threshold": stopping_threshold,
    }
    exercise = _changes(optimizers, lr, texts, more)
    exercise |= {k: v for k, v in limits.items() if v is not None}
    depends("--quick", quick, "with --seeds: it means 3 seeds", seeds is None)
    depends("--quick", quick, "with your own settings, which use 3 seeds by default", not exercise)
    _race(out, json, _diamonds(seeds, quick, exercise))


def _whole(text: str | None) -> int | str | None:
    try:
        return int(text or "")
    except ValueError:
        return text


@race.command("figure-1")
def race_figure_1(
    more: More = None,
    out: Out = None,
    seeds: Annotated[int | None, _seeds("3, or 1 with --quick")] = None,
    quick: Quick = False,
    json: Json = False,
    optimizers: Optimizers = None,
    lr: Lr = None,
    texts: Set = None,
    as_published: Annotated[
        bool,
        typer.Option("--as-published", help="Add the first post's own optimizers, bugs included."),
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Train on all of Fashion-MNIST, if it is installed."),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            parser=_folder,
            metavar="FOLDER",
            help="Train on your own data: files in MNIST's format, or one folder of images per class.",
        ),
    ] = None,
) -> None:
    """The first post's experiment: torch.optim and Ravine side by side on Fashion-MNIST."""
    exclusive({"--as-published": as_published, "--optimizers": optimizers is not None})
    exclusive({"--full": full, "--data": data is not None})
    changes = _changes(optimizers, lr, texts, more)
    where = str(data) if data else full or None
    _race(out, json, _figure_1(seeds, quick, as_published=as_published, full=where, **changes))


@race.command("claims")
def race_claims(
    more: More = None,
    out: Out = None,
    seeds: Annotated[int | None, _seeds("20, or 6 with --quick")] = None,
    quick: Quick = False,
    json: Json = False,
    optimizers: Optimizers = None,
    lr: Lr = None,
    texts: Set = None,
    workers: Workers = None,
) -> None:
    """Claims that posts and textbooks make about optimizers, each measured and given a verdict.

    With --optimizers, the claims about Adam are tested on each of these optimizers. With --lr, the learning
    rate is not tuned.
    """
    from ravine.experiments.claims import experiment

    count = None if seeds is None else range(seeds)
    changes = _changes(optimizers, lr, texts, more)
    _race(out, json, _of(experiment, count, quick=quick, **changes), workers=workers)


@race.command("conditioning")
def race_conditioning(
    more: More = None,
    out: Out = None,
    seeds: Annotated[int | None, _seeds("10, or 3 with --quick")] = None,
    quick: Quick = False,
    json: Json = False,
    optimizers: Optimizers = None,
    lr: Lr = None,
    texts: Set = None,
    workers: Workers = None,
) -> None:
    """When adaptive methods help: least squares on the diamonds, raw and standardised.

    With --lr, the learning rate is not tuned.
    """
    from ravine.experiments.conditioning import experiment

    count, changes = range(seeds or (3 if quick else 10)), _changes(optimizers, lr, texts, more)
    _race(out, json, _of(experiment, count, quick=quick, **changes), workers=workers)


race.command("task")(task)
race.command("merge")(merge)


# What cannot run is rejected here, before there is a folder.


def _of(experiment: Callable[..., Experiment], *arguments: Any, **changes: Any) -> Experiment:
    with quiet():
        return experiment(*arguments, **changes)


def _diamonds(seeds: int | None, quick: bool, exercise: dict[str, Any]) -> Experiment:
    from ravine.experiments.diamonds_shown import experiment

    made = _of(experiment, range(seeds or (3 if quick or exercise else 12)), **exercise)
    if missing := lacking("numba"):
        say(f"{missing}; without it, the plain NumPy loop runs instead, about 50 times slower")
        warnings.filterwarnings("ignore", "numba (is not|cannot)", RuntimeWarning)
    return made


def _figure_1(seeds: int | None, quick: bool, **changes: Any) -> Experiment:
    require("torch")
    from ravine.experiments.figure1 import experiment

    shorter = {"iterations": 30} if quick else {}
    return _of(experiment, range(seeds or (1 if quick else 3)), **shorter, **changes)


def _race(path: Path | None, json: bool, *asked: Experiment, workers: int | None = None) -> None:
    """Run the experiments in a folder that keeps finished results, whatever happens."""
    from ravine.experiments.running import run
    from ravine.races.jobs import Missing, cores, processes
    from ravine.races.store import RunFolder, Stopped, to_json

    if missing := lacking("matplotlib"):
        say(f"{missing}; without it, there are tables but no figures")
    many = workers or (1 if lacking("loky") else cores())
    path = path or Path("runs") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = RunFolder(path)
    start = time.perf_counter()
    tables: dict[str, Rows] = {}
    try:
        with folder.session():
            for experiment in asked:
                done = run(folder, experiment, progress, processes(many) if many > 1 else None)
                tables |= done
                if not json:
                    print_race(done)
    except Stopped as stop:
        sys.exit(stop.code)
    except Missing as error:
        fail(str(error), 1)
    seconds = time.perf_counter() - start
    if json:
        print(to_json(tables))
    runs = f"{folder.reused} run{'s' * (folder.reused > 1)}"
    reused = f", {runs} taken from before" if folder.reused else ""
    what = "Tables and points" if missing else "Tables, points and figures"
    err.print(f"{seconds:.0f} s{reused}. {what}: {path}")
