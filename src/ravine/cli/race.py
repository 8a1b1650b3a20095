"""`ravine race`."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ravine.cli.listing import Json
from ravine.cli.names import RUNS_FILE, depends, find_all, require
from ravine.cli.progress import progress
from ravine.cli.race_tables import print_race
from ravine.cli.race_task import RaceGroup, merge, task
from ravine.cli.terminal import err, say
from ravine.extras import lacking

race = typer.Typer(
    cls=RaceGroup,
    help="Compare optimizers: on your own task (ravine race mytask.py), on a bundled problem (ravine "
    "race --problem mnist-1d), or in one of the races below; both founding experiments by default.",
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
        help="The run folder; one that exists goes on where it was left. Default: runs/<time>.",
    ),
]


def _seeds(default: str) -> Any:
    return typer.Option(min=1, max=10_000, help=f"How many seeds. Default: {default}.")


Seeds = Annotated[int | None, _seeds("12 diamonds, 3 figure-1")]
Quick = Annotated[
    bool, typer.Option("--quick", help="Few seeds and iterations: a look, not a result.")
]
Rows = Sequence[Mapping[str, Any]]
Race = Callable[[Any, Any], Mapping[str, Rows]]


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
        return _race(out, json, _diamonds(seeds, quick, None), _figure_1(seeds, quick))
    given = {"--out": out is not None, "--seeds": seeds, "--quick": quick, "--json": json}
    for option in (name for name, on in given.items() if on):
        name = context.invoked_subcommand
        raise ValueError(f"{option} does nothing before {name}; write ravine race {name} {option}")


@race.command("diamonds")
def race_diamonds(
    out: Out = None,
    seeds: Annotated[int | None, _seeds("12, or 3 with --quick or in the exercise")] = None,
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
        str | None,
        typer.Option(help=f"Rules, with commas between. {RUNS_FILE} Default: the post's four."),
    ] = None,
) -> None:
    """The second post: the price of diamonds as a line of their weight.

    With any of the options from --lr on it is the reader's exercise: only the runs asked for.
    """
    chosen: dict[str, Any] = {
        "lr": lr,
        "batch_size": _whole(batch_size),
        "epochs": epochs,
        "stopping_threshold": stopping_threshold,
    }
    if optimizers is not None:
        chosen["optimizers"] = [found.name for found in find_all("--optimizers", optimizers)]
    exercise = {k: v for k, v in chosen.items() if v is not None}
    depends("--quick", quick, "beside --seeds: it means 3 seeds", seeds is None)
    depends("--quick", quick, "in the exercise, which has 3 seeds by default", not exercise)
    _race(out, json, _diamonds(seeds, quick, exercise or None))


def _whole(text: str | None) -> int | str | None:
    try:
        return int(text or "")
    except ValueError:
        return text


@race.command("figure-1")
def race_figure_1(
    out: Out = None,
    seeds: Annotated[int | None, _seeds("3, or 1 with --quick")] = None,
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
    if full:
        from ravine.data.fashion_mnist import fashion_mnist

        fashion_mnist(full)  # which says where it is missing
    extra = {"as_published": as_published, "full": full or None}
    _race(out, json, _figure_1(seeds, quick, **extra))


@race.command("claims")
def race_claims(
    out: Out = None,
    seeds: Annotated[int | None, _seeds("20, or 6 with --quick")] = None,
    quick: Quick = False,
    json: Json = False,
) -> None:
    """What posts and textbooks say of optimizers, each sentence measured and given a verdict."""
    from ravine.experiments.claims import specs
    from ravine.experiments.running import claims

    count = None if seeds is None else range(seeds)
    specs(count, quick=quick)
    _race(out, json, partial(claims, seeds=count, quick=quick))


@race.command("conditioning")
def race_conditioning(
    out: Out = None,
    seeds: Annotated[int | None, _seeds("10, or 3 with --quick")] = None,
    quick: Quick = False,
    json: Json = False,
) -> None:
    """When adaptive methods help: least squares on the diamonds, raw and standardised."""
    from ravine.experiments.conditioning import specs
    from ravine.experiments.running import conditioning

    count = range(seeds or (3 if quick else 10))
    specs(count, quick=quick)
    _race(out, json, partial(conditioning, seeds=count, quick=quick))


race.command("task")(task)
race.command("merge")(merge)


# What cannot run is refused here, before there is a folder: the specs say it.


def _diamonds(seeds: int | None, quick: bool, exercise: dict[str, Any] | None) -> Race:
    from ravine.experiments.diamonds import exercise_specs
    from ravine.experiments.running import diamonds

    count = range(seeds or (3 if quick or exercise else 12))
    if exercise is not None:
        exercise_specs(seeds=count, **exercise)
    if missing := lacking("numba"):
        say(f"{missing}; without it the plain NumPy loop runs, some 50 times slower")
        warnings.filterwarnings("ignore", "numba (is not|cannot)", RuntimeWarning)
    return partial(diamonds, seeds=count, exercise=exercise)


def _figure_1(seeds: int | None, quick: bool, **extra: Any) -> Race:
    require("torch")
    from ravine.experiments.running import figure_1

    count = range(seeds or (1 if quick else 3))
    return partial(figure_1, seeds=count, iterations=30 if quick else None, **extra)


def _race(path: Path | None, json: bool, *races: Race) -> None:
    """Run the races in a folder that keeps what is done, whatever happens."""
    from ravine.races.store import RunFolder, Stopped

    if missing := lacking("matplotlib"):
        say(f"{missing}; without it there are tables, but no figures")
    path = path or Path("runs") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = RunFolder(path)
    start = time.perf_counter()
    tables: dict[str, Rows] = {}
    try:
        with folder.session():
            for run in races:
                done = run(folder, progress)
                tables |= done
                if not json:
                    print_race(done)
    except Stopped as stop:
        sys.exit(stop.code)
    seconds = time.perf_counter() - start
    if json:
        from ravine.races.store import to_json

        print(to_json(tables))
    runs = f"{folder.reused} run{'s' * (folder.reused > 1)}"
    reused = f", {runs} taken from before" if folder.reused else ""
    what = "Tables and points" if missing else "Tables, points and figures"
    err.print(f"{seconds:.0f} s{reused}. {what}: {path}")
