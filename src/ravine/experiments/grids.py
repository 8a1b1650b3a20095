"""The loop that trains many configurations of an optimizer at once, and how they are compared.

A rule is a pure function of arrays, so all learning rates and all seeds form one array: p has the
shape (seeds, learning rates, parameters), the learning rates broadcast over it, and the rule is called
unchanged. A rule that uses more than one number at a time, or a torch-style class, steps each run
separately. For one seed, all learning rates and all optimizers have the same start and the same batches,
so comparisons are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ravine.experiments.problems import Array, Task
from ravine.experiments.racers import Racer


@dataclass(frozen=True)
class Trace:
    """The losses that `train` measured.

    steps: the steps measured, (looks,), from 0 on. losses: at these steps, (looks, seeds, learning
    rates); the loss at the start is 1, and that of a run that is no longer finite is infinity. late: the
    share of the steps that counts as the end.
    """

    steps: Array
    losses: Array
    late: float = 0.1

    @property
    def end(self) -> Array:
        """The loss at the end, (seeds, learning rates): the mean over the last tenth, or `late`.

        If the loss oscillates, that after the very last step is a matter of luck.
        """
        with np.errstate(over="ignore"):
            return self.losses[self.steps >= (1 - self.late) * self.steps[-1]].mean(0)

    def steps_to(self, target: float) -> Array:
        """Return the step at which each run is first seen at the target or below, or infinity.

        It counts only for runs that are also there at the end, not for one that dips below by chance.
        """
        met = self.losses <= target
        first = self.steps[met.argmax(0)]
        return np.where(met.any(0) & (self.end <= target), first, np.inf)


def positions(
    racer: Racer,
    p: Array,
    gradient: Callable[[Array], Array],
    lr: Any,
    steps: int,
    *,
    decay: bool = False,
    at: Collection[int] | None = None,
) -> Iterator[tuple[int, Array]]:
    """Train many runs, whose parameters are the last axis of p; yield steps and the weights after them.

    lr: broadcasts over p. decay: it falls linearly to zero, instead of staying constant. at: the steps
    to yield, all by default.
    """
    runs = racer.steps(p, lr)
    for t in range(1, steps + 1):
        p = runs.step(p, gradient(p), t, 1 - (t - 1) / steps if decay else 1.0)
        if at is None or t in at:
            yield t, runs.weights(p)


def train(
    task: Task,
    racer: Racer,
    learning_rates: Sequence[float],
    steps: int,
    *,
    decay: bool = False,
    looks: int | Sequence[int] = 30,
    late: float = 0.1,
) -> Trace:
    """Train with every learning rate on every seed of a task.

    decay: see :func:`positions`. looks: the steps after which to measure the loss, or their number: then
    they are evenly spaced on a logarithmic scale, with a quarter as many more over the last tenth of the
    steps; 0 for every step of the end. late: the share of the steps that counts as the end.
    """
    if looks == 0:
        looks = range(int(steps * (1 - late)) + 1, steps + 1)
    elif isinstance(looks, int):
        looks = [
            *np.geomspace(1, steps, looks).round(),
            *np.linspace(0.9 * steps, steps, looks // 4).round(),
        ]
    at = sorted({int(t) for t in looks})
    p = np.repeat(task.start, len(learning_rates), axis=1)
    lr = np.array(learning_rates, p.dtype)[:, None]
    with np.errstate(all="ignore"):
        first = task.loss(p)
        path = positions(racer, p, task.gradient, lr, steps, decay=decay, at={*at})
        relative = np.array([first, *(task.loss(p) for _, p in path)], float) / first
    return Trace(np.array([0, *at]), np.where(np.isfinite(relative), relative, np.inf), late)


def rates_of(racer: Racer, grid: Sequence[float]) -> list[float]:
    """Return the learning rates to tune over: the grid and the default, or only the one that is set.

    Raises ValueError for an optimizer without a learning rate.
    """
    if "lr" not in racer.values:
        raise ValueError(
            f"{racer.label} cannot race here, where learning rates are tuned: it has no lr"
        )
    default = racer.values["lr"]
    return [default] if "lr" in racer.set else sorted({*grid, default})


FLOOR, CEILING = 1e-6, 10.0
"""Limits within which losses at the end are compared, where the loss at the start is 1.

Below the floor a problem is solved, and all solutions are equally good; a run that ends above the
ceiling, even at infinity, counts as one that ends there.
"""


def logs(losses: Any) -> Array:
    """Return the decimal logarithms of losses, brought within `FLOOR` and `CEILING`."""
    return np.log10(np.clip(losses, FLOOR, CEILING))


def log_steps(steps: Any, budget: int) -> Array:
    """Return the decimal logarithms of steps to a target; a miss counts as the whole budget."""
    return np.log10(np.clip(steps, 1, budget))


def choose(trace: Trace, target: float, *, by: str) -> int:
    """Return the index of the best learning rate, by the mean of logarithms over the seeds.

    by: "loss", the loss at the end, or "steps", those to the target; the other decides a tie.
    """
    loss = logs(trace.end).mean(0)
    steps = log_steps(trace.steps_to(target), trace.steps[-1]).mean(0)
    keys = {"loss": (steps, loss), "steps": (loss, steps)}[by]
    return int(np.lexsort(keys)[0])


def edge(rates: Sequence[float], chosen: int) -> bool:
    """Whether the chosen learning rate is the first or last one that was tried.

    If so, a better one may lie beyond. One that is set, and not tuned, is not at an edge.
    """
    return len(rates) > 1 and chosen in (0, len(rates) - 1)


def report_seeds(seeds: Iterable[int], tuning_seeds: Sequence[int]) -> list[int]:
    """Return the seeds as a list, each once.

    Raises ValueError if there is none, if one is not a whole number of at least 0, or if learning
    rates are tuned on it.
    """
    given = list(dict.fromkeys(seeds))
    whole = all(isinstance(seed, (int, np.integer)) and seed >= 0 for seed in given)
    if not given or not whole or set(given) & set(tuning_seeds):
        raise ValueError(
            f"seeds is {given!r}; it must be whole numbers of at least 0, at least one of them, and "
            f"none of those that learning rates are tuned on, {tuple(tuning_seeds)}"
        )
    return [int(seed) for seed in given]


def diverged(losses: Any) -> int:
    """Count the runs that end above their start."""
    return int(np.sum(np.asarray(losses) > 1))
