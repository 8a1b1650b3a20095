"""A training step of the bundled problems: a loop with torch.optim, with Ravine, and in a swarm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

import ravine.torch
from ravine.bench.contenders import Step
from ravine.bench.timing import summary, take_turns
from ravine.races.entrants import entrant
from ravine.races.pace import asked
from ravine.races.swarm import Program, Replica, one_thread
from ravine.races.task import Task, problem
from ravine.races.together import CannotBatch, Together

__all__ = ["run"]

RATE = 1e-4  # small, so that nothing diverges in any number of turns


def run(
    problems: Sequence[str],
    width: int,
    seconds: float,
    progress: Callable[[str, Sequence[Any]], Iterable[Any]],
) -> Iterator[dict[str, Any]]:
    """Time Adam on each problem, on one thread.

    width: replicas in a swarm. seconds: for each problem. Yields a row for each problem: ``problem``,
    ``parameters``, ``torch``, ``ravine`` and ``swarm``, each the :func:`ravine.bench.timing.summary` of
    a step, or of a replica's step in the swarm; ``swarm`` is None if there is none, and ``why`` says why.
    """
    specs = [{"problem": name} for name in problems]
    for spec in progress("race", specs):
        with one_thread(), torch.random.fork_rng(devices=[]):
            yield _row(problem(spec["problem"]), width, seconds)


def _row(task: Task, width: int, seconds: float) -> dict[str, Any]:
    steps: dict[str, Step] = {
        "torch": _loop(task, torch.optim.Adam),
        "ravine": _loop(task, ravine.torch.Adam),
    }
    why = ""
    try:
        steps["swarm"] = _swarm(task, width)
    except CannotBatch as error:
        why = str(error)
    taken = take_turns(steps, seconds)
    if "swarm" in taken:
        taken["swarm"] = [turn / width for turn in taken["swarm"]]
    parameters = sum(p.numel() for p in task.model(0).parameters())
    rows = {name: summary(turns) for name, turns in taken.items()}
    return {"problem": task.name, "parameters": parameters, "swarm": None, **rows, "why": why}


def _loop(task: Task, kind: type[torch.optim.Optimizer]) -> Step:
    """One ordinary training step, with the loss read as a number."""
    model, order = task.model(0), task.order(0)
    optimizer = kind(model.parameters(), lr=RATE)  # type: ignore[call-arg]

    def step() -> None:
        batch = task.train.batch(next(order))
        optimizer.zero_grad()
        loss = task.losses(model, batch)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def _swarm(task: Task, width: int) -> Step:
    """One step of all replicas."""
    racing, order = entrant("adam"), task.order(0)
    models = [task.model(0) for _ in range(width)]
    program: Program = Together(task, models)
    replicas = [
        Replica(asked(task, racing, {"lr": RATE}, role="tune", seed=0), racing, model)
        for model in models
    ]
    for replica in replicas:
        replica.begin()
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1
        losses = program.losses(task.train.batch(next(order)))
        for i, replica in enumerate(replicas):
            replica.step(taken, losses[i], 1.0, program, i)

    step()
    step()  # the gradients are checked in the first two steps
    return step
