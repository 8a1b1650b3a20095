"""A race over tasks and optimizers, from the first trial to the last reported run.

found = race(model, (x, y), nn.functional.cross_entropy, optimizers=("adamw", "sgd"))
found.runs            # every run, see ravine.races.runs.Run
found.table()         # where each optimizer ended, tuned and with its defaults
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from ravine.races import protocol
from ravine.races.entrants import Entrant, entrants
from ravine.races.jobs import ALL, Executor, Here, Shard, cores, processes
from ravine.races.pace import Pace, measured, work
from ravine.races.protocol import TIERS, Tier
from ravine.races.runs import REPORT, Run
from ravine.races.store import RunFolder
from ravine.races.task import Task, TaskError, from_objects

__all__ = ["DEFAULT", "Outcome", "Watcher", "check", "contest", "duration", "race"]

DEFAULT = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw")
"""The optimizers of a race where nobody names others."""

_WORTH_PROCESSES = 10.0  # seconds; starting processes takes a few
_log = logging.getLogger("ravine")


class Watcher(Protocol):
    """What is told how far a race is."""

    def task(self, task: Task, pace: Pace, runs: int, seconds: float) -> None:
        """A task begins, with so many runs, estimated to take so long."""

    def stage(self, role: str, runs: Sequence[Run]) -> None:
        """The runs of a role begin."""

    def done(self, runs: Sequence[Run]) -> None:
        """Runs are there."""


class _Nobody:
    def task(self, task: Task, pace: Pace, runs: int, seconds: float) -> None: ...
    def stage(self, role: str, runs: Sequence[Run]) -> None: ...
    def done(self, runs: Sequence[Run]) -> None: ...


@dataclass
class Outcome:
    """What a race found. folder: where its runs are kept. notes: what whoever reads it must know."""

    folder: Path
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def table(self) -> list[dict[str, Any]]:
        """A row for each problem and optimizer: mean score, tuned and with the defaults, over the seeds.

        `tuned` is None where nothing was tuned, and `lost` counts reported runs that were lost; a mean
        over runs of which one was lost is NaN.
        """
        rows = []
        reported = [run for run in self.runs if run.role == REPORT]
        for problem, label in dict.fromkeys((run.problem, run.optimizer) for run in reported):
            its = [r for r in reported if (r.problem, r.optimizer) == (problem, label)]
            default, tuned = ([r for r in its if bool(r.trial) is on] for on in (False, True))
            rows.append(
                {
                    "problem": problem,
                    "optimizer": label,
                    "score": its[0].score_name,
                    "tuned": fmean(r.score for r in tuned) if tuned else None,
                    "default": fmean(r.score for r in default),
                    "seeds": len(default),
                    "lost": sum(bool(r.lost) for r in its),
                    "chosen": {k: tuned[0].hyperparameters[k] for k in tuned[0].space}
                    if tuned
                    else {},
                }
            )
        lower = {run.problem: run.lower_is_better for run in reported}
        return sorted(rows, key=lambda row: (row["problem"], _rank(row, lower[row["problem"]])))

    def __repr__(self) -> str:
        lines = [
            f"{row['problem']}  {row['optimizer']}: {row['score']} "
            + (f"{row['tuned']:.4g} tuned, " if row["tuned"] is not None else "")
            + f"{row['default']:.4g} with the defaults"
            for row in self.table()
        ]
        return "\n".join([*lines, *self.notes, f"runs: {self.folder}"])


def _rank(row: Mapping[str, Any], lower: bool) -> float:
    score = row["default"] if row["tuned"] is None else row["tuned"]
    return math.inf if math.isnan(score) else score if lower else -score


def contest(
    tasks: Sequence[Task],
    racing: Sequence[Entrant],
    folder: RunFolder,
    *,
    tier: str = "k25",
    seeds: int = 10,
    steps: int | float | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    shard: Shard = ALL,
    callback: Callable[[Run], Any] | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Race optimizers on tasks, by the protocol of a tier; what is in the folder is not done again.

    seeds: how many are reported. steps: the budget of a run, an int; or a float, how many seconds the
    whole race may take by the estimate, for which the task's budget is cut; None leaves the task's.
    executor: what runs batches, see :mod:`ravine.races.jobs`; by default processes on this machine, as
    many as `workers` says, or as there are cores, where that is worth it. callback: is given each run.

    Raises TaskError for a task that cannot be raced, before anything is run, and what
    :func:`ravine.races.jobs.complete` raises.
    """
    check(tier, seeds)
    chosen_tier, watcher = TIERS[tier], watcher or _Nobody()
    for task in tasks:
        task.check()
    found = Outcome(folder.path)
    if seeds == 1:
        found.notes.append(
            "one seed is reported: there is no interval, and no verdict, with fewer than two"
        )
    found.notes += [entrant.remark for entrant in racing if entrant.remark]
    for task in tasks:
        many = workers or cores()
        pace = measured(task, racing, many)
        task = _cut(task, racing, chosen_tier, seeds, steps, pace, many, len(tasks), folder)
        stages = _Stages(task, racing, chosen_tier, seeds)
        seconds = pace.estimate(stages.expected, many) / shard.count
        watcher.task(task, pace, len(stages.expected), seconds)
        engine = executor or _engine(many, seconds)
        done: list[Run] = []
        for stage in (stages.tune, stages.choose, stages.report):
            if not (wanted := stage(done)):
                continue
            watcher.stage(wanted[0].role, wanted)
            done = folder.complete(
                wanted,
                _Work(task, racing, pace),
                batches=partial(pace.batches, workers=max(many, shard.count)),
                executor=engine,
                shard=shard,
                done=partial(_tell, watcher, callback),
            )
            found.runs += done
        found.notes += _notes(task, racing, chosen_tier, pace, found.runs)
    return found


def _engine(workers: int, seconds: float) -> Executor:
    """Processes, where there is more than one core and more to do than starting them takes."""
    return processes(workers) if workers > 1 and seconds > _WORTH_PROCESSES else Here()


def _tell(watcher: Watcher, callback: Callable[[Run], Any] | None, runs: Sequence[Run]) -> None:
    watcher.done(runs)
    if callback is not None:
        for run in runs:
            callback(run)


class _Work:
    """The job of a worker, with what it needs to know; it travels to other processes."""

    def __init__(self, task: Task, racing: Sequence[Entrant], pace: Pace) -> None:
        self.task, self.racing, self.pace = task, racing, pace

    def __call__(self, folder: str, runs: list[Run]) -> None:
        work(self.task, self.racing, self.pace, folder, runs)


@dataclass
class _Stages:
    """The runs of each stage, of what the stage before gave."""

    its: Task
    racing: Sequence[Entrant]
    tier: Tier
    seeds: int

    def tune(self, _: Sequence[Run]) -> list[Run]:
        return protocol.tuning(self.its, self.racing, self.tier)

    def choose(self, tuned: Sequence[Run]) -> list[Run]:
        return protocol.choosing(self.its, self.racing, self.tier, tuned)

    def report(self, chosen: Sequence[Run]) -> list[Run]:
        seeds = range(self.seeds)
        return protocol.reporting(self.its, self.racing, self.tier, chosen, seeds)

    @property
    def expected(self) -> list[Run]:
        """As many runs as there will be, to estimate by."""
        tune = self.tune(())
        finals = self.tier.finalists * len(self.tier.choosing_seeds) if tune else 0
        count = finals * len(self.racing)
        report = self.report(())
        return [
            *tune,
            *(tune * (count // len(tune) + 1) if tune else [])[:count],
            *report,
            *(report if tune else []),
        ]


def _cut(
    task: Task,
    racing: Sequence[Entrant],
    tier: Tier,
    seeds: int,
    steps: int | float | None,
    pace: Pace,
    workers: int,
    tasks: int,
    folder: RunFolder,
) -> Task:
    """The task with its budget; one that follows from a time is kept in the folder, and used again."""
    if steps is None or isinstance(steps, int):
        return task.within(steps)
    kept = folder.entry("steps")
    known = kept.get(task.digest)
    if known is None:
        whole = pace.estimate(_Stages(task, racing, tier, seeds).expected, workers)
        known = min(task.steps, max(1, int(task.steps * steps / tasks / whole)))
        folder.manifest(steps={**kept, task.digest: known})
        if known < task.steps:
            _log.warning("%s: %d steps instead of %d fit the budget", task.name, known, task.steps)
    return task.within(known)


def _notes(
    task: Task, racing: Sequence[Entrant], tier: Tier, pace: Pace, runs: Sequence[Run]
) -> list[str]:
    """What must be said of a task's runs."""
    its = [run for run in runs if run.task == task.digest]
    found = [f"{task.name}: {remark}" for remark in task.remarks]
    if pace.alone:
        found.append(f"{task.name}: its runs are computed one by one: {pace.alone}")
    for entrant in racing:
        own = [run for run in its if run.optimizer == entrant.label]
        if tier.trials and not entrant.space(tier.space):
            found.append(
                f"{entrant.label}: no search range is known, so its defaults are tried only"
            )
        tuned = [run for run in own if run.role == REPORT and run.trial]
        for name in protocol.edges(tuned[0], tier) if tuned else ():
            found.append(
                f"{entrant.label} on {task.name}: the best {name}, {tuned[0].hyperparameters[name]:.3g}, "
                "lies on the edge of what was tried, so a wider search may find a better one"
            )
        lost = [run for run in own if run.lost]
        if lost:
            found.append(
                f"{entrant.label} on {task.name}: {len(lost)} of {len(own)} runs are lost; the first: "
                f"{lost[0].lost}"
            )
    reported = [run for run in its if run.role == REPORT]
    if task.target is not None and not any(
        math.isfinite(run.steps_to_target or 0) for run in reported
    ):
        found.append(f"{task.name}: nobody reaches the target, {task.target:g}")
    return found


def check(tier: Any, seeds: Any) -> None:
    """Raise ValueError for a tier that there is not, or a number of seeds that is not accepted."""
    if tier not in TIERS:
        raise ValueError(f"tier={tier!r} is not accepted; a tier is {', '.join(TIERS)}")
    most = protocol.MOST_SEEDS
    if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= most:
        raise ValueError(
            f"seeds={seeds!r} is not accepted; seeds is a whole number from 1 to {most}"
        )


def duration(text: str) -> int | float:
    """A budget as it is written: "1500", steps of a run; "90s", "10m", "2h", the time of the whole race.

    Raises ValueError for anything else, and for nothing.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    number = float(found[1]) if found else 0.0
    if not found or not number or (not found[2] and not number.is_integer()):
        raise ValueError(
            f"budget {text!r} is not accepted; write the steps of a run, such as 1500, or the time of the "
            "whole race, such as 90s, 10m or 2h"
        )
    return int(number) if not found[2] else number * {"s": 1, "m": 60, "h": 3600}[found[2]]


def race(
    model: Any,
    data: Any,
    loss: Callable[..., Any] | None = None,
    *,
    optimizers: Sequence[Any] = DEFAULT,
    tier: str = "k25",
    seeds: int = 10,
    budget: int | str | None = None,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    callback: Callable[[Run], Any] | None = None,
    **task: Any,
) -> Outcome:
    """Race optimizers on a model and data of yours.

    model: a function that makes an nn.Module, with other weights for each seed, or an nn.Module, with
    whose weights all seeds begin. data: (x, y), a dict of arrays, a Dataset or a DataLoader. loss: of
    output and target, or `loss(model, *batch)`; None where the model's output has `.loss`. optimizers:
    names, rules, or classes of torch's kind. tier: "default", "k25" or "k100", how much is tuned. seeds:
    how many are reported. budget: the steps of a run, or a time for all, such as "10m". folder: where
    runs are kept, and found again; by default runs/<time>. executor, workers, callback: see
    :func:`contest`. task: held_out, test, name, steps, batch_size, score, lower_is_better, target,
    schedule, about; see :mod:`ravine.races.task`.

    Raises ValueError for what cannot be raced, before anything is run.
    """
    if isinstance(model, str):
        raise TaskError(f"model is {model!r}; a file is raced by: ravine race {model}")
    made = from_objects(model, data, loss, **task)
    steps = budget if budget is None or isinstance(budget, int) else duration(budget)
    path = folder or Path("runs") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    kept = RunFolder(path)
    with kept.session():
        return contest(
            [made],
            entrants(optimizers),
            kept,
            tier=tier,
            seeds=seeds,
            steps=steps,
            executor=executor,
            workers=workers,
            callback=callback,
        )
