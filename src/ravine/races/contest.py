"""A race over tasks and optimizers, from the first trial to the last reported run.

found = race(model, (x, y), nn.functional.cross_entropy, optimizers=("adamw", "sgd"))
found.runs            # every run, see ravine.races.runs.Run
found.table()         # where each optimizer ended, tuned and with its defaults
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from ravine.races.runs import REPORT, Run, pack
from ravine.races.store import RunFolder
from ravine.races.task import Task, TaskError, from_objects

__all__ = ["DEFAULT", "Outcome", "Watcher", "check", "contest", "duration", "race"]

DEFAULT = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw")
"""The optimizers of a race by default."""

MANY = 1000
"""The number of runs from which they are packed when their task is done."""

_WORTH_PROCESSES = 10.0  # seconds; starting processes takes a few
_log = logging.getLogger("ravine")


class Watcher(Protocol):
    """Receives the progress of a race."""

    def task(self, task: Task, pace: Pace, runs: int, seconds: float) -> None:
        """A task begins, with this many runs, estimated to take this many seconds."""

    def stage(self, role: str, runs: Sequence[Run]) -> None:
        """The runs of a role begin."""

    def done(self, runs: Sequence[Run]) -> None:
        """Runs are finished."""


class _Nobody:
    def task(self, task: Task, pace: Pace, runs: int, seconds: float) -> None: ...
    def stage(self, role: str, runs: Sequence[Run]) -> None: ...
    def done(self, runs: Sequence[Run]) -> None: ...


@dataclass
class Outcome:
    """The results of a race.

    folder: where its runs are stored. notes: remarks that every reader must know. reported: further
    remarks, which the report contains as well.
    """

    folder: Path
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)

    def table(self) -> list[dict[str, Any]]:
        """A row for each problem and optimizer: mean score, tuned and with the defaults, over the seeds.

        `tuned` is None if nothing was tuned, and `lost` counts the reported runs that were lost. If any
        of the runs was lost, their mean is NaN.
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
                    "default": fmean(r.score for r in default) if default else math.nan,
                    "seeds": len(default or tuned),
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
        return "\n".join([*lines, *self.notes, *self.reported, f"runs: {self.folder}"])


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
    halving: bool = False,
    callback: Callable[[Run], Any] | None = None,
    watcher: Watcher | None = None,
    command: str = "",
) -> Outcome:
    """Race optimizers on tasks, by the protocol of a tier; runs that are in the folder are not repeated.

    seeds: the number of report seeds. steps: the budget of a run as an int; or a float, the seconds that
    the whole race may take by the estimate, to which the task's budget is cut; None keeps the task's.
    executor: runs the batches, see :mod:`ravine.races.jobs`; by default processes on this machine,
    `workers` of them or one per core, if that is worth it. halving: whether the worse trials of a search
    are stopped early, see :mod:`ravine.races.protocol`. callback: called with each run, in this process,
    as soon as it is known. command: the command that started the race, which is stored with each run.

    The tasks must have been checked, see :func:`check`. Raises what :func:`ravine.races.jobs.complete`
    raises.
    """
    check(tier, seeds, halving)
    chosen_tier, watcher = TIERS[tier], watcher or _Nobody()
    found = Outcome(folder.path)
    if seeds == 1:
        found.reported.append(
            "one seed is reported: there is no interval, and no verdict, with fewer than two"
        )
    found.notes += [entrant.remark for entrant in racing if entrant.remark]
    for task in tasks:
        many = workers or cores()
        pace = measured(task, racing, many)
        stages = _Stages(task, racing, chosen_tier, seeds, halving)
        if halving and pace.room < chosen_tier.trials:
            raise TaskError(
                f"{task.name}: halving trains all {chosen_tier.trials} trials of an optimizer side by side, "
                f"but there is memory for only {pace.room}; race without it"
            )
        task = stages.its = _cut(task, stages, steps, pace, many, len(tasks), folder, shard)
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
                _Work(task, racing, pace, command),
                batches=partial(pace.batches, workers=max(many, shard.count)),
                executor=engine,
                shard=shard,
                done=partial(_tell, watcher, callback),
            )
            found.runs += done
            found.notes += _missing(wanted, done)
        found.notes += _notes(task, racing, chosen_tier, pace, found.runs)
        found.reported += _edges(task, racing, chosen_tier, found.runs)
        pack(folder.path, MANY)
    return found


def _engine(workers: int, seconds: float) -> Executor:
    """Processes, if there is more than one core and enough work to be worth starting them."""
    return processes(workers) if workers > 1 and seconds > _WORTH_PROCESSES else Here()


def _tell(watcher: Watcher, callback: Callable[[Run], Any] | None, runs: Sequence[Run]) -> None:
    watcher.done(runs)
    if callback is not None:
        for run in runs:
            callback(run)


class _Work:
    """The job of a worker, with everything it needs; it is sent to other processes."""

    def __init__(self, task: Task, racing: Sequence[Entrant], pace: Pace, command: str) -> None:
        self.task, self.racing, self.pace, self.command = task, racing, pace, command

    def __call__(self, folder: str, runs: list[Run]) -> None:
        work(self.task, self.racing, self.pace, self.command, folder, runs)


@dataclass
class _Stages:
    """The runs of each stage, given the results of the previous one."""

    its: Task
    racing: Sequence[Entrant]
    tier: Tier
    seeds: int
    halving: bool

    def tune(self, _: Sequence[Run]) -> list[Run]:
        return protocol.tuning(self.its, self.racing, self.tier, halving=self.halving)

    def choose(self, tuned: Sequence[Run]) -> list[Run]:
        return protocol.choosing(self.its, self.racing, self.tier, tuned)

    def report(self, chosen: Sequence[Run]) -> list[Run]:
        seeds = range(self.seeds)
        return protocol.reporting(self.its, self.racing, self.tier, chosen, seeds)

    @property
    def expected(self) -> list[Run]:
        """As many runs as there will be, for the estimate."""
        tune = self.tune(())
        finals = self.tier.finalists * len(self.tier.choosing_seeds) if tune else 0
        count = finals * len(self.racing)
        report = self.report(())
        whole = [replace(run, rivals="") for run in tune]
        return [
            *tune,
            *(whole * (count // len(tune) + 1) if tune else [])[:count],
            *report,
            *(report if tune else []),
        ]


def _cut(
    task: Task,
    stages: _Stages,
    steps: int | float | None,
    pace: Pace,
    workers: int,
    tasks: int,
    folder: RunFolder,
    shard: Shard,
) -> Task:
    """The task with its budget; one that follows from a time is stored in the folder and used again."""
    if steps is None or isinstance(steps, int):
        return task.within(steps)
    kept = folder.entry("steps")
    known = kept.get(task.digest)
    if known is None:
        whole = pace.estimate(stages.expected, workers) / shard.count
        known = min(task.steps, max(1, int(task.steps * steps / tasks / whole)))
        folder.manifest(steps={**kept, task.digest: known})
        if known < task.steps:
            _log.warning("%s: %d steps instead of %d fit the budget", task.name, known, task.steps)
        if shard.count > 1:
            _log.warning(
                "%s: %d steps follow from how fast this machine is; a shard that does not share this folder "
                "needs --budget %d",
                *(task.name, known, known),
            )
    return task.within(known)


def _missing(wanted: Sequence[Run], done: Sequence[Run]) -> list[str]:
    """Remarks on runs that could not be computed."""
    there = {run.name for run in done}
    gone = Counter((run.problem, run.optimizer) for run in wanted if run.name not in there)
    return [
        f"{label} on {problem}: {count} runs could not be computed; they are left out, and "
        "the same command tries them again"
        for (problem, label), count in gone.items()
    ]


def _notes(
    task: Task, racing: Sequence[Entrant], tier: Tier, pace: Pace, runs: Sequence[Run]
) -> list[str]:
    """Remarks on a task's runs."""
    its = [run for run in runs if run.task == task.digest]
    found = [f"{task.name}: {remark}" for remark in task.remarks]
    parts = {"training": task.train, "validation": task.validation, "test": task.test}
    for part, its_data in parts.items():
        if bad := its_data.unfit():
            found.append(f"{task.name}, the {part} part: {bad}")
    if pace.alone:
        found.append(f"{task.name}: its runs are computed one by one: {pace.alone}")
    for entrant in racing:
        own = [run for run in its if run.optimizer == entrant.label]
        if tier.trials and not entrant.space(tier.space):
            found.append(
                f"{entrant.label}: no search range is known, so its defaults are tried only"
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
        found.append(f"{task.name}: no optimizer reaches the target, {task.target:g}")
    if reported and task.reached(reported[0].evaluations[0][1]):
        found.append(
            f"{task.name}: the untrained model is at the target, {task.target:g}, so times to it say nothing"
        )
    return found


def _edges(task: Task, racing: Sequence[Entrant], tier: Tier, runs: Sequence[Run]) -> list[str]:
    """The hyperparameters whose best value lies at the edge of the range that was tried."""
    tuned = {
        run.optimizer: run
        for run in runs
        if run.task == task.digest and run.role == REPORT and run.trial
    }
    return [
        f"{entrant.label} on {task.name}: the best {name}, {run.hyperparameters[name]:.3g}, lies on the "
        "edge of what was tried, so a wider search may find a better one"
        for entrant in racing
        if (run := tuned.get(entrant.label))
        for name in protocol.edges(run, tier)
    ]


def check(tier: Any, seeds: Any, halving: bool = False, tasks: Iterable[Task] = ()) -> None:
    """Raise ValueError for an unknown tier or an invalid number of seeds, and TaskError for a task
    that cannot be raced."""
    if tier not in TIERS:
        raise ValueError(f"tier={tier!r} is invalid; a tier is {', '.join(TIERS)}")
    if halving and not TIERS[tier].trials:
        raise ValueError(f"halving does nothing in the tier {tier!r}, which tunes nothing")
    most = protocol.MOST_SEEDS
    if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= most:
        raise ValueError(
            f"seeds={seeds!r} is invalid; seeds must be a whole number from 1 to {most}"
        )
    for task in tasks:
        task.check()


def duration(text: str) -> int | float:
    """Parse a budget: "1500" steps of a run, or "90s", "10m", "2h" for the whole race.

    Raises ValueError for anything else, and for an empty budget.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    number = float(found[1]) if found else 0.0
    if not found or not number or (not found[2] and not number.is_integer()):
        raise ValueError(
            f"budget {text!r} is invalid; write the steps of a run, such as 1500, or the time of the "
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
    halving: bool = False,
    callback: Callable[[Run], Any] | None = None,
    **task: Any,
) -> Outcome:
    """Race optimizers on your own model and data.

    model: a function that makes an nn.Module, with new weights for each seed, or an nn.Module, from
    whose weights all seeds start. data: (x, y), a dict of arrays, a Dataset or a DataLoader. loss:
    a function of output and target, or `loss(model, *batch)`; None if the model's output has
    `.loss`. optimizers: names, rules, or torch-style classes. tier: how much to tune: "default",
    "k25" or "k100". seeds: the number of seeds to report. budget: the steps of a run, or a time for
    the whole race, such as "10m". folder: where runs are stored, and found again; by default
    runs/<time>. executor, workers, halving, callback: see :func:`contest`. task: held_out, test,
    name, steps, batch_size, score, lower_is_better, target, schedule, about; see
    :mod:`ravine.races.task`.

    Raises ValueError for anything that cannot be raced, before the first run.
    """
    if isinstance(model, str):
        raise TaskError(f"model={model!r} is invalid; to race a file, run: ravine race {model}")
    made = from_objects(model, data, loss, **task)
    racing = entrants(optimizers)
    said = {"tier": tier, "seeds": seeds, "budget": budget, "halving": halving or None}
    options = "".join(f", {k}={x!r}" for k, x in said.items() if x is not None)
    labels = [entrant.label for entrant in racing]
    steps = budget if budget is None or isinstance(budget, int) else duration(budget)
    check(tier, seeds, halving, [made])
    path = folder or Path("runs") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    kept = RunFolder(path)
    with kept.session():
        return contest(
            [made],
            racing,
            kept,
            tier=tier,
            seeds=seeds,
            steps=steps,
            executor=executor,
            workers=workers,
            halving=halving,
            callback=callback,
            command=f"ravine.race(model, data, loss, optimizers={labels}{options})",
        )
