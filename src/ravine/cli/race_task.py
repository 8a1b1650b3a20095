"""`ravine race FILE`, `ravine race --problem NAME` and `ravine race merge`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ravine.cli.listing import Json
from ravine.cli.names import exclusive, quiet, require
from ravine.cli.race_report import report
from ravine.cli.terminal import err, fail, paragraph, say
from ravine.naming import split

if TYPE_CHECKING:
    from ravine.races.pace import Pace
    from ravine.races.runs import Run
    from ravine.races.task import Task

__all__ = ["RaceGroup", "merge", "task"]


class RaceGroup(TyperGroup):
    """`ravine race FILE.py` and `ravine race --problem NAME` mean `ravine race task ...`."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        """Insert the command's name before a task, or before a file that is not one, for its message."""
        named = next((x for x in args if x in self.commands), None)
        of_task = any(
            x.endswith(".py") or x.partition("=")[0] in ("--problem", "--problems") for x in args
        ) or ("." in args[0] and not args[0].startswith("-") if args else False)
        return super().parse_args(context, ["task", *args] if of_task and named is None else args)


def task(
    file: Annotated[
        str | None,
        typer.Argument(
            help="A plain PyTorch file that defines data, model, loss, steps and batch_size."
        ),
    ] = None,
    problem: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="One or more bundled problems, or all; --problems lists them."
        ),
    ] = None,
    problems: Annotated[
        bool, typer.Option("--problems", help="List the bundled problems and exit.")
    ] = False,
    optimizers: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated optimizers: rules, stacks, FILE:NAME, timm.optim:Lamb. "
            "Default: sgd, momentum, nesterov, rmsprop, adam, adamw."
        ),
    ] = None,
    tier: Annotated[
        str, typer.Option(help="How much to tune: default (not at all), k25 or k100 (trials).")
    ] = "k25",
    seeds: Annotated[int, typer.Option(help="Number of seeds to report.")] = 10,
    budget: Annotated[
        str | None,
        typer.Option(help="Steps per run (1500), or total time (10m). Default: the task's."),
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Learning rate schedule: linear, cosine or constant.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The run folder; an existing one is resumed. Default: runs/<time>.",
        ),
    ] = None,
    halving: Annotated[
        bool,
        typer.Option(
            "--halving",
            help="Stop bad trials early: half of them at 1/4 of the steps, half of the rest at 1/2.",
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Compute part I of N, in a folder that all parts share."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes. Default: one per core.")
    ] = None,
    json: Json = False,
) -> None:
    """Race optimizers on your own task or on bundled problems, all tuned in the same way.

    `ravine race mytask.py` and `ravine race --problem mnist-1d` are short forms.
    """
    require("torch", "scipy")
    from ravine.races import contest
    from ravine.races.entrants import entrants
    from ravine.races.jobs import ALL, Elsewhere, Missing
    from ravine.races.jobs import shard as shard_of
    from ravine.races.store import RunFolder, Stopped
    from ravine.races.task import from_file
    from ravine.races.task import problem as bundled
    from ravine.races.task import problems as known

    if problems:
        for name, about in known().items():
            paragraph(f"{name}: {about}")
        return
    exclusive({"FILE": file is not None, "--problem": bool(problem)})
    if file is None and not problem:
        raise ValueError("ravine race task needs a file, or --problem NAME; --problems lists them")
    part = shard_of(shard) if shard else ALL
    steps = None if budget is None else contest.duration(budget)
    contest.check(tier, seeds, halving)
    with quiet():
        racing = entrants(split(optimizers) if optimizers is not None else contest.DEFAULT)
        names = dict.fromkeys(name.strip() for each in problem or () for name in split(each))
        names = dict.fromkeys(known()) if "all" in names else names
        tasks = [bundled(name) for name in names] if file is None else [from_file(file)]
        tasks = [each.within(schedule=schedule) for each in tasks]
        contest.check(tier, seeds, halving, tasks)
    folder = RunFolder(out or Path("runs") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    start = time.perf_counter()
    try:
        with folder.session(), _Bars() as bars, quiet():
            found = contest.contest(
                tasks,
                racing,
                folder,
                tier=tier,
                seeds=seeds,
                steps=steps,
                workers=workers,
                shard=part,
                halving=halving,
                watcher=bars,
                command=shlex.join(["ravine", *sys.argv[1:]]),
            )
    except Stopped as stop:
        sys.exit(stop.code)
    except Elsewhere as error:
        say(f"shard {shard} is done: {error}")
        return
    except Missing as error:
        fail(str(error), 1)
    if json:
        from ravine.races.store import to_json

        print(to_json({"rows": found.table(), "notes": [*found.notes, *found.reported]}))
    else:
        report(folder.path)
        for note in found.notes:
            paragraph(note)
    err.print(f"{time.perf_counter() - start:.0f} s. Runs: {folder.path}")


def merge(
    folder: Annotated[Path, typer.Argument(help="The folder to merge into.")],
    others: Annotated[
        list[Path] | None, typer.Argument(help="The folders to copy runs from.")
    ] = None,
) -> None:
    """Merge the runs of several folders into one, for shards that share no folder.

    The runs are packed, a thousand to a file. With only one folder, its own runs are packed.
    """
    from ravine.races.runs import merge as merged
    from ravine.races.runs import pack

    if not others:
        count = pack(folder)
        err.print(f"{plural(count, 'run')} of {folder} packed")
        return
    new, there = merged(folder, others)
    pack(folder)
    err.print(f"{plural(new, 'run')} copied to {folder}, {there:,} there already")


class _Bars:
    """The progress of a race on a terminal, overall and for each optimizer, with the best so far."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description:<24}"), BarColumn(20), MofNCompleteColumn())
        doing = TextColumn("{task.fields[doing]}")
        self.bars = Progress(*columns, doing, console=err, disable=not err.is_terminal)
        self._rows: dict[str, Any] = {}
        self._best: dict[str, Run] = {}

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def task(self, task: Task, pace: Pace, runs: int, seconds: float) -> None:
        """Start the bar of a task."""
        self._clear()
        self._began, self._estimate, self._done = time.perf_counter(), seconds, 0
        self._runs, self._name = runs, task.name
        self._all = self.bars.add_task(task.name, total=runs, doing=f"about {_spoken(seconds)}")
        size = f"{plural(runs, 'run')} of {plural(task.steps, 'step')}"
        say(f"{task.name}: {size}, about {_spoken(seconds)}, {pace.how}")

    def stage(self, role: str, runs: Sequence[Run]) -> None:
        """Start a bar for each optimizer."""
        self._clear()
        doing = {"tune": "is tuned", "choose": "is chosen", "report": "is reported"}[role]
        for label in dict.fromkeys(run.optimizer for run in runs):
            total = sum(run.optimizer == label for run in runs)
            self._rows[label] = self.bars.add_task(f"  {label} {doing}", total=total, doing="")

    def done(self, runs: Sequence[Run]) -> None:
        """Advance the bars."""
        for run in runs:
            best = self._best.get(run.optimizer)
            sign = 1 if run.lower_is_better else -1
            if not run.lost and (best is None or sign * run.score < sign * best.score):
                self._best[run.optimizer] = best = run
            shown = f"best {best.score_name} {best.score:.4g}" if best else "all lost"
            self.bars.update(self._rows[run.optimizer], advance=1, doing=shown)
        self._done += len(runs)
        left = max(0.0, 1 - self._done / self._runs)
        spent = time.perf_counter() - self._began
        rest = spent * left / (1 - left) if self._done > self._runs / 10 else self._estimate * left
        self.bars.update(self._all, advance=len(runs), doing=f"about {_spoken(rest)} left")

    def _clear(self) -> None:
        for row in self._rows.values():
            self.bars.remove_task(row)
        self._rows, self._best = {}, {}


def plural(count: int, noun: str) -> str:
    """A count and its noun: "1 run", "1,200 runs"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _spoken(seconds: float) -> str:
    """A time in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
