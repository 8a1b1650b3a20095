"""The protocol of a race: try, choose, report, each a list of runs on separate seeds.

A tier determines how much is tried. `default` trains each optimizer with its defaults. `k25` and `k100`
try 25 or 100 points of one scrambled Halton sequence, the same for each optimizer, mapped to the space
that its rule declares: the learning rate, and in `k100` also weight decay and decay rates. Each point is
tried on tuning seeds. The best few are trained again on choosing seeds, and the best of these, judged
only by its scores there, is reported on report seeds, as are the defaults. Both choices use the score
on the validation part; the report uses the score on the test part. So no reported score was chosen
for being high.

Seeds are paired: for one seed, all optimizers start with the same weights and see the same batches.
The budget and the schedule of the learning rate are the same for all.

With halving, the worse half of an optimizer's trials is stopped after a quarter of the steps, and half of
the rest after a half (Jamieson & Talwalkar, 2016, arXiv:1502.07943). That halves the cost, but the final
results of the stopped trials remain unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from ravine.races.encoding import name
from ravine.races.entrants import Entrant, Space
from ravine.races.pace import asked
from ravine.races.runs import CHOOSE, REPORT, TUNE, Run
from ravine.races.task import Task

__all__ = ["TIERS", "Tier", "best", "choosing", "edges", "points", "reporting", "tuning"]


@dataclass(frozen=True)
class Tier:
    """How much is tried.

    trials: points of the search for each optimizer. space: what is searched, "lr", "all", or "" for
    nothing. tuning_seeds: the seeds on which each point is trained. finalists: the number of points
    that are trained again. choosing_seeds: the seeds on which they are.
    """

    trials: int
    space: str
    tuning_seeds: tuple[int, ...] = (1000,)
    finalists: int = 5
    choosing_seeds: tuple[int, ...] = (2000, 2001, 2002)


TIERS: Mapping[str, Tier] = {
    "default": Tier(0, ""),
    "k25": Tier(25, "lr"),
    "k100": Tier(100, "all"),
}
"""By name."""

MOST_SEEDS = 1000
"""Report seeds are below this number, all others above."""

_DIMENSIONS = (
    16  # coordinates of a point: searching more hyperparameters keeps the first coordinates
)


def tuning(
    task: Task, entrants: Iterable[Entrant], tier: Tier, *, halving: bool = False
) -> list[Run]:
    """The runs that try the points of the search."""
    found = []
    for seed in tier.tuning_seeds:
        for each in entrants:
            space = each.space(tier.space)
            tried = points(space, tier.trials)
            rivals = name({"trials": tried}) if halving else ""
            for trial, point in enumerate(tried, 1):
                run = asked(
                    task, each, point, role=TUNE, seed=seed, trial=trial, space=space, rivals=rivals
                )
                found.append(run)
    return found


def choosing(
    task: Task, entrants: Iterable[Entrant], tier: Tier, tuned: Sequence[Run]
) -> list[Run]:
    """The runs that choose among the best points that were tried."""
    found = []
    for each in entrants:
        space = each.space(tier.space)
        known = points(space, tier.trials)
        for trial in _ranking(tuned, each)[: tier.finalists]:
            for seed in tier.choosing_seeds:
                run = asked(
                    task, each, known[trial - 1], role=CHOOSE, seed=seed, trial=trial, space=space
                )
                found.append(run)
    return found


def reporting(
    task: Task, entrants: Iterable[Entrant], tier: Tier, chosen: Sequence[Run], seeds: Sequence[int]
) -> list[Run]:
    """The runs that are reported: with the defaults, trial 0, and with the chosen point."""
    found = []
    for each in entrants:
        space = each.space(tier.space)
        trials: dict[int, Mapping[str, float]] = {0: {}}
        if (trial := best(chosen, each)) is not None:
            trials[trial] = points(space, tier.trials)[trial - 1]
        for trial, point in trials.items():
            for seed in seeds:
                found.append(
                    asked(task, each, point, role=REPORT, seed=seed, trial=trial, space=space)
                )
    return found


def best(runs: Iterable[Run], entrant: Entrant) -> int | None:
    """The trial of an optimizer with the best mean score; None if all were lost, or none was run."""
    return next(iter(_ranking(runs, entrant)), None)


def _ranking(runs: Iterable[Run], entrant: Entrant) -> list[int]:
    """The trials of an optimizer that were not lost, the best mean score first.

    A trial that was lost or stopped on some seed comes after all others; one that was lost on all is
    left out.
    """
    trials: dict[int, list[Run]] = {}
    for run in runs:
        if run.optimizer == entrant.label:
            trials.setdefault(run.trial, []).append(run)
    order = []
    for trial, its in trials.items():
        whole = [run for run in its if math.isfinite(run.score)]
        if whole:
            sign = 1.0 if whole[0].lower_is_better else -1.0
            steps = fmean(run.stopped_at or run.steps for run in whole)
            mean = sign * fmean(run.score for run in whole)
            order.append((len(its) - len(whole), -steps, mean, trial))
    return [trial for *_, trial in sorted(order)]


def edges(run: Run, tier: Tier) -> list[str]:
    """The hyperparameters whose chosen value is the lowest or the highest of all points tried."""
    tried = points(run.space, tier.trials)
    found = []
    for key in run.space:
        values = [point[key] for point in tried]
        if run.trial and run.hyperparameters[key] in (min(values), max(values)):
            found.append(key)
    return found


def points(space: Space, count: int) -> list[dict[str, float]]:
    """The first points of the sequence in a space, log-uniform between its ends.

    If a hyperparameter is searched towards 1, its distance from 1 is log-uniform.
    """
    if not space:
        return [{} for _ in range(count)]
    return [
        {key: _stretched(u, *ends) for u, (key, ends) in zip(row, space.items(), strict=False)}
        for row in _sequence(count)
    ]


def _stretched(u: float, low: float, high: float, towards: float) -> float:
    value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
    return towards - value if towards else value


@cache
def _sequence(count: int) -> list[list[float]]:
    from scipy.stats import qmc

    drawn: list[list[float]] = (
        qmc.Halton(d=_DIMENSIONS, scramble=True, rng=0).random(count).tolist()
    )
    return drawn
