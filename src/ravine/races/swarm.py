"""Training: many replicas of a task side by side, and the loop that trains all runs of a race.

A replica is a separate model with a separate optimizer. Replicas share the batch, and the way gradients
are computed. `Alone` computes those of one replica like any PyTorch program. `Together` (in
`together.py`) keeps the parameters of all replicas in one stack, of which each model's parameters are
views, and computes all gradients as one program. Runs of a seed start with the same weights and see the
same batches and the same dropout, however they are computed and whichever other runs are in the swarm.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple, Protocol

# Otherwise MKL's sums depend on where a matrix lies in memory, and so on its place in a stack. MKL reads
# this at its first call, in this process and in workers.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

import torch
from torch import nn

from ravine.races.entrants import Entrant, Pair, memory
from ravine.races.examples import Batch, Examples
from ravine.races.runs import REPORT, RUNGS, Run
from ravine.races.task import SCHEDULES, Task
from ravine.torch.pinned import Pinned

__all__ = ["Alone", "Crew", "Program", "Replica", "one_thread", "train"]

POINTS, EVALUATIONS = 100, 20
"""The maximum number of points in a curve of the training loss, and the number of times that a report run
is scored; other runs are scored at the end."""

LEAST = 10
"""The minimum number of last batches that decide whether the loss has decreased."""

_STEP_SEEDS = 1_000_003  # identifies the step for a seed's dropout


class Program(Protocol):
    """Computes the gradients of replicas."""

    def losses(self, batch: Batch) -> list[float]:
        """Compute the loss and the gradients of each replica; the gradients are assigned later."""

    def hand_out(self, replica: int) -> None:
        """Give the parameters of a replica their gradients, as `.grad`."""

    def addresses(self, replica: int) -> list[int] | None:
        """Their addresses, in the order of its trained parameters, if these never change."""


class Alone:
    """One replica, as PyTorch computes it."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        self.task, self.models = task, [model]
        self._parameters = [*model.parameters()]

    def losses(self, batch: Batch) -> list[float]:
        """The loss, after its backward pass."""
        for p in self._parameters:
            p.grad = None
        loss = self.task.losses(self.models[0], batch)
        loss.backward()
        return [loss.item()]

    def hand_out(self, replica: int) -> None:
        """Do nothing: backward has done it."""

    def addresses(self, replica: int) -> None:
        """None, because the addresses change with each backward pass."""


@dataclass
class Replica:
    """One run during training."""

    run: Run
    entrant: Entrant
    model: nn.Module
    lost: str = ""
    lost_at: int | None = None
    stopped_at: int | None = None

    def __post_init__(self) -> None:
        self.curve: list[tuple[int, float]] = []
        self.evaluations: list[tuple[int, float]] = []
        self._sum, self._since = 0.0, 0
        self.losses: list[float] = []
        self.descent: float | None = None
        self.optimizer: Any = None
        self._parts: Sequence[Any] = []
        self.moved()

    def begin(self) -> None:
        """Create the optimizer, for a model that has its final place in memory."""
        try:
            self.optimizer = self.entrant.build(self.model, self.run.hyperparameters)
        except Exception as error:
            return self._lose(f"{self.entrant.label} cannot be made: {error}", 0)
        self._mode("train")
        pair = isinstance(self.optimizer, Pair)
        self._parts = self.optimizer.parts if pair else [self.optimizer]
        self._rates = [[group.get("lr") for group in part.param_groups] for part in self._parts]
        return None

    @property
    def done(self) -> bool:
        """Whether it takes no further steps, because it is lost or was stopped."""
        return bool(self.lost) or self.stopped_at is not None

    def moved(self) -> None:
        """Note that its parameters have moved in memory."""
        self._pinned: list[Pinned] = []
        self._settled = False

    def step(self, t: int, loss: float, factor: float, program: Program, number: int) -> None:
        """Take step t with the program's gradients for this replica, or mark the run as lost."""
        self._sum, self._since = self._sum + loss, self._since + 1
        self.losses.append(loss)
        if not math.isfinite(loss):
            return self._lose(f"the loss is {loss} at step {t}", t)
        try:
            if self._pinned:
                where = program.addresses(number) or ()
                for pinned, rates in zip(self._pinned, self._rates, strict=True):
                    pinned.step(where, [lr * factor for lr in rates])
                return None
            self._set_rates(factor)
            program.hand_out(number)
            self.optimizer.step()
        except Exception as error:
            return self._lose(
                f"{self.entrant.label} raises {type(error).__name__} at step {t}: {error}", t
            )
        if not self._settled and program.addresses(number) and all(map(Pinned.fits, self._parts)):
            trained = [p for p in self.model.parameters() if p.requires_grad]
            self._pinned = [Pinned(part, trained) for part in self._parts]
        self._settled = True
        return None

    def _set_rates(self, factor: float) -> None:
        for part, rates in zip(self._parts, self._rates, strict=True):
            for group, lr in zip(part.param_groups, rates, strict=True):
                if lr is not None:
                    group["lr"] = lr * factor

    def _lose(self, why: str, t: int) -> None:
        self.lost, self.lost_at = why.splitlines()[0], t

    def point(self, t: int) -> None:
        """Record the mean loss since the previous point."""
        if self._since:
            self.curve.append((t, self._sum / self._since))
        self._sum, self._since = 0.0, 0

    def compare(self, untrained: Sequence[float]) -> None:
        """Record how far the loss has decreased, compared with the untrained model on the last batches."""
        now = self.losses[-len(untrained) :]
        if untrained:
            self.descent = median(a - b for a, b in zip(untrained, now, strict=True))

    def evaluate(self, task: Task, t: int, factor: float) -> None:
        """Record the score, with the optimizer's weights for evaluation."""
        if self.lost:
            return None
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            return self._lose(f"parameters are not finite after step {t}", t)
        self._set_rates(factor)
        self._mode("eval")
        try:
            self.evaluations.append((t, task.evaluate(self.model, _part(task, self.run.role))))
        finally:
            self._mode("train")
        return None

    def _mode(self, name: str) -> None:
        """Use eval() and train() of optimizers that have separate weights for evaluation."""
        switch = getattr(self.optimizer, name, None)
        if callable(switch):
            switch()

    def finished(self, task: Task) -> Run:
        """The run with its results."""
        looks = [
            (t, score) for t, score in self.evaluations if t
        ]  # an untrained model at the target does not count
        reached = next((t for t, score in looks if task.reached(score)), math.inf)
        to_target = None if task.target is None else math.inf if self.lost else reached
        seconds = self.run.seconds_per_step
        parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        return replace(
            self.run,
            parameters=parameters,
            curve=self.curve,
            evaluations=self.evaluations,
            score=math.nan if self.lost else self.evaluations[-1][1],
            descent=self.descent,
            lost=self.lost,
            lost_at=self.lost_at,
            stopped_at=self.stopped_at,
            steps_to_target=to_target,
            seconds_to_target=None if to_target is None else to_target * seconds,
            memory_per_parameter=memory(self.optimizer, parameters) if self.optimizer else math.nan,
        )


class Crew(NamedTuple):
    """Replicas and the program that computes their gradients."""

    program: Program
    replicas: Sequence[Replica]


def train(
    task: Task,
    replicas: Sequence[Replica],
    seed: int,
    crews: Callable[[Sequence[Replica]], Sequence[Crew]],
    *,
    halving: bool = False,
    points: int = POINTS,
) -> list[Run]:
    """Train all replicas to the end of the budget, and return their runs with the results.

    crews: creates programs for replicas. halving: whether the replicas with the worst scores are stopped
    early, see `ravine.races.runs.RUNGS`; those that continue then get new programs. points: the maximum
    number of points of the training loss to store.
    """
    count = len(replicas)
    rungs = {max(1, round(at * task.steps)): max(1, int(share * count)) for at, share in RUNGS}
    _train(task, crews, replicas, seed, rungs if halving else {}, _spread(task.steps, points))
    return [replica.finished(task) for replica in replicas]


def _train(
    task: Task,
    made: Callable[[Sequence[Replica]], Sequence[Crew]],
    replicas: Sequence[Replica],
    seed: int,
    rungs: Mapping[int, int],
    points: Collection[int],
) -> None:
    """Train to the end of the budget; after each rung, which is a step, at most the given number continue.

    points: the steps whose training loss is stored.
    """
    steps, factor, crews = task.steps, SCHEDULES[task.schedule], made(replicas)
    reports = any(replica.run.role == REPORT for replica in replicas)
    looks = _spread(steps, EVALUATIONS if reports else 1)
    for replica in replicas:
        replica.begin()
    alive = [replica for replica in replicas if not replica.lost]
    with one_thread(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _look_first(task, alive)
        untrained = _untrained(task, seed, {*rungs, steps})
        for t, index in zip(range(1, steps + 1), task.order(seed)):  # noqa: B905  order has no end
            if not alive:
                break
            batch, now = task.train.batch(index), factor((t - 1) / steps)
            for program, its in crews:
                torch.default_generator.manual_seed(seed * _STEP_SEEDS + t)
                losses = program.losses(batch)
                for i, replica in enumerate(its):
                    if not replica.done:
                        replica.step(t, losses[i], now, program, i)
            if t in points or t in rungs:
                for replica in alive:
                    replica.point(t)
            if t in looks or t in rungs:
                for replica in alive:
                    replica.evaluate(task, t, now)
            if any(replica.lost for replica in alive):
                for replica in (x for x in alive if x.lost):
                    replica.point(t)
                alive = [replica for replica in alive if not replica.lost]
            for replica in alive if t in untrained else ():
                replica.compare(untrained[t])
            if t in rungs and t < steps and len(alive) > rungs[t]:
                sign = 1 if task.lower else -1
                alive.sort(key=lambda x: (sign * x.evaluations[-1][1], x.run.trial))
                for replica in alive[rungs[t] :]:
                    replica.stopped_at = t
                alive = alive[: rungs[t]]
                for replica in alive:
                    replica.moved()
                crews = made(alive)


def _look_first(task: Task, replicas: Sequence[Replica]) -> None:
    """Score the untrained model, which is the same for all replicas of a seed."""
    for role in {replica.run.role for replica in replicas}:
        its = [replica for replica in replicas if replica.run.role == role]
        score = task.evaluate(its[0].model, _part(task, role))
        for replica in its:
            replica.evaluations.append((0, score))


def _untrained(task: Task, seed: int, ends: Collection[int]) -> dict[int, list[float]]:
    """The untrained model's losses on the last batches before each end: a tenth, but at least `LEAST`.

    The losses of two batches may differ by more than a short training changes them. So a run is compared
    with the untrained model on the same batches, with the same dropout. The first batch does not count,
    because the model is still untrained there.
    """
    last = {end: range(max(end - max(end // 10, LEAST) + 1, 2), end + 1) for end in ends}
    model, found = task.model(seed), {}
    for t, index in zip(range(1, max(ends) + 1), task.order(seed)):  # noqa: B905  order has no end
        if any(t in steps for steps in last.values()):
            torch.default_generator.manual_seed(seed * _STEP_SEEDS + t)
            found[t] = task.losses(model, task.train.batch(index)).item()
    return {end: [found[t] for t in steps] for end, steps in last.items()}


def _part(task: Task, role: str) -> Examples:
    """The part of the data that scores runs of that role."""
    return task.test if role == REPORT else task.validation


def _spread(steps: int, count: int) -> set[int]:
    """A number of steps, evenly spread and including the last one."""
    count = min(count, steps)
    return {round(i * steps / count) for i in range(1, count + 1)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this context torch uses one thread, so that bits do not depend on the number of threads."""
    threads: Any = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
