"""How runs of a task are computed, and how long they take, measured by twenty steps both ways."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ravine.races.entrants import Entrant
from ravine.races.environment import MADE_WITH, environment
from ravine.races.runs import REPORT, RUNGS, TUNE, Run, keep
from ravine.races.swarm import (
    EVALUATIONS,
    Alone,
    Crew,
    Program,
    Replica,
    one_thread,
    train,
)
from ravine.races.task import Task, TaskError
from ravine.races.together import CannotBatch, Together

__all__ = ["Pace", "asked", "measured", "work"]

STEPS, WARM = 20, 5
"""The number of steps that are timed, and of those taken before."""

WIDTH, NARROW = 32, 8
"""Replicas in a swarm: 16 to 64 take the same time each, and fewer than 8 are avoided where possible."""

HALVED = sum(
    go * (until - since)
    for (since, go), until in zip(
        ((0.0, 1.0), *RUNGS), (*(at for at, _ in RUNGS), 1.0), strict=True
    )
)
"""The share of all steps that remains with halving."""

_SHARE = 0.5  # of the free memory that the swarms of all workers may take


@dataclass(frozen=True)
class Pace:
    """How the runs of a task are computed, and how long they take, in seconds on one thread.

    alone: why runs are computed one by one; "" if they are computed together. width: replicas in a
    swarm. steps: a step of each entrant, by label, trained alone. gained: what a swarm saves of each
    step. evaluation: one score. room: the number of replicas that fit into a worker's share of memory.
    """

    alone: str
    width: int
    steps: Mapping[str, float]
    gained: float
    evaluation: float
    room: int = WIDTH

    @property
    def how(self) -> str:
        """In words, for each run."""
        return f"one by one: {self.alone}" if self.alone else "swarm"

    def estimate(self, runs: Iterable[Run], workers: int = 1) -> float:
        """The seconds that these runs take on a number of cores."""
        total = 0.0
        for run in runs:
            scores = EVALUATIONS if run.role == REPORT else 1
            step = self.steps[run.optimizer]
            share = HALVED if run.rivals else 1.0
            total += share * run.steps * max(step - self.gained, step / 10)
            total += scores * self.evaluation
        return total / workers

    def batches(self, runs: Sequence[Run], workers: int = 1) -> list[list[Run]]:
        """Runs in batches: those of one seed and role together, at most `width` of them.

        Batches have equal sizes, and if they stay wide enough, each worker gets equally many. Rivals, of
        which halving stops the worse ones, form one batch.
        """
        groups: dict[tuple[int, str], list[Run]] = {}
        rivals: dict[tuple[int, str, str], list[Run]] = {}
        for run in runs:
            if run.rivals:
                rivals.setdefault((run.seed, run.optimizer, run.rivals), []).append(run)
            else:
                groups.setdefault((run.seed, run.role), []).append(run)
        cut = [*rivals.values()]
        each = workers // math.gcd(workers, len(groups))  # so many of a group, or a multiple
        for group in groups.values():
            least = -(-len(group) // self.width)
            most = max(least, len(group) // NARROW)
            count = -(-least // each) * each
            if count > most:
                count = most if len(groups) * least < workers else least
            cut += [group[i::count] for i in range(count)]
        return cut


def asked(task: Task, entrant: Entrant, values: Mapping[str, float | bool], **names: object) -> Run:
    """A run to be computed. names: role, seed, trial and space."""
    return Run(
        task=task.digest,
        rule=entrant.rule,
        hyperparameters={**entrant.defaults, **values},
        steps=task.steps,
        batch_size=task.batch_size,
        schedule=task.schedule,
        problem=task.name,
        about=task.about,
        optimizer=entrant.label,
        score_name=task.score_name,
        lower_is_better=task.lower,
        target=task.target,
        **names,  # type: ignore[arg-type]
    )


def measured(task: Task, entrants: Sequence[Entrant], workers: int = 1) -> Pace:
    """The pace of a task, on one thread of this machine, whose memory the workers share.

    Raises TaskError if an optimizer cannot be created.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        models = {entrant.label: task.model(0) for entrant in entrants}
        steps = {e.label: _time(_steps(task, e, models[e.label])) for e in entrants}
        alone = _time(_gradients(task, Alone(task, task.model(0))))
        start = time.perf_counter()
        task.evaluate(task.model(0), task.validation)
        evaluation = time.perf_counter() - start
        room = _room(task, task.model(0), workers)
        width = max(2, min(WIDTH, room))
        try:
            program = Together(task, [task.model(0) for _ in range(width)])
            together = _time(_gradients(task, program)) / width
        except CannotBatch as error:
            return Pace(str(error), 1, steps, 0.0, evaluation, room)
    why = "" if together < alone else "a swarm is not faster here"
    return Pace(why, width, steps, 0.0 if why else alone - together, evaluation, room)


def _gradients(task: Task, program: Program) -> Iterator[Any]:
    for t, index in enumerate(task.order(0)):
        torch.default_generator.manual_seed(t)
        yield program.losses(task.train.batch(index))


def _steps(task: Task, entrant: Entrant, model: torch.nn.Module) -> Iterator[Any]:
    program = Alone(task, model)
    replica = Replica(asked(task, entrant, {}, role=TUNE, seed=0), entrant, model)
    replica.begin()
    if replica.lost:
        raise TaskError(f"{task.name}: {replica.lost}")
    for t, (loss,) in enumerate(_gradients(task, program), 1):
        if not replica.lost:
            replica.step(t, loss, 1.0, program, 0)
        yield


def _time(steps: Iterator[Any]) -> float:
    """The lower quartile of a step's time, in seconds of this thread, since others use the machine too."""
    fine = time.get_clock_info("thread_time").resolution < 1e-5  # Windows counts in 16 ms
    clock = time.thread_time if fine else time.perf_counter
    times = []
    for _ in range(WARM + STEPS):
        start = clock()
        next(steps)
        times.append(clock() - start)
    return sorted(times[WARM:])[STEPS // 4]


def _room(task: Task, model: torch.nn.Module, workers: int) -> int:
    """The number of replicas that fit into a worker's share of the free memory."""
    parameters = sum(p.nbytes for p in model.parameters())
    saved = 0

    def count(x: torch.Tensor) -> torch.Tensor:
        nonlocal saved
        saved += x.nbytes
        return x

    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        task.losses(model, task.train.batch(next(task.order(0))))
    each = 6 * parameters + 3 * saved + 1
    return int(_SHARE * _free() / workers / each)


def _free() -> float:
    """Bytes of memory that are free, or a cautious guess."""
    try:
        text = Path("/proc/meminfo").read_text()
        return 1024.0 * int(text.partition("MemAvailable:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        return 4e9


def work(
    task: Task,
    entrants: Sequence[Entrant],
    pace: Pace,
    command: str,
    folder: str,
    runs: list[Run],
) -> None:
    """Compute runs of one seed and role, and store each in the folder: the job of a worker.

    command: the command that started the race, which is stored with each run.
    """
    if runs[0].task != task.digest:
        raise RuntimeError(f"{task.name} has changed while the race was on; start the race again")
    by_label, seed = {entrant.label: entrant for entrant in entrants}, runs[0].seed
    made = {**{key: environment()[key] for key in MADE_WITH}, "command": command}

    def replicas(some: Sequence[Run], how: str) -> list[Replica]:
        found = []
        for run in some:
            known = {"seconds_per_step": pace.steps[run.optimizer], "made": made, "how": how}
            model = task.model(seed)
            found.append(Replica(replace(run, **known), by_label[run.optimizer], model))  # type: ignore[arg-type]
        return found

    def together(its: Sequence[Replica]) -> list[Crew]:
        crews = []
        for some in (its[i : i + pace.width] for i in range(0, len(its), pace.width)):
            models = [x.model for x in some]
            if len(models) == 1:  # from two replicas on, the bits are the same
                models.append(task.model(seed))
            crews.append(Crew(Together(task, models), some))
        return crews

    def alone(its: Sequence[Replica]) -> list[Crew]:
        return [Crew(Alone(task, x.model), [x]) for x in its]

    halving, how = bool(runs[0].rivals), pace.how
    if not pace.alone:
        try:
            for run in train(task, replicas(runs, how), seed, together, halving=halving):
                keep(folder, run)
            return
        except CannotBatch as error:
            how = f"one by one: {error}"
    for some in [runs] if halving else [[run] for run in runs]:
        for run in train(task, replicas(some, how), seed, alone, halving=halving):
            keep(folder, run)
