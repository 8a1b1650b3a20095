"""The results of a race: from run files to numbers, a :class:`Comparison` for each problem.

The result of a run is its score, except that a lost run counts as an untrained model. A run is lost if
its loss is not finite, or if in the last tenth of the run it is not below that of the untrained model on
the same batches. Scores do not show this, because even a model of NaNs has one. Results are stored so
that more is better: if less of the score is better, the sign is flipped.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ravine.races import statistics
from ravine.races.profiles import score
from ravine.races.runs import CHOOSE, REPORT, TUNE, Run
from ravine.races.statistics import Difference, Estimate

__all__ = ["Comparison", "Method", "Overall", "Trial", "comparisons", "lost", "overall"]

Array = NDArray[np.float64]


def lost(run: Run) -> str:
    """Why a run is lost, in words; "" if it is not."""
    risen = run.descent is not None and run.descent <= 0
    return run.lost or "the loss at the end is not below that at first" * risen


@dataclass(frozen=True)
class Trial:
    """A point of an optimizer's search: its number, hyperparameters, results by tuning seed and by
    choosing seed, the number of its lost runs, and the step at which halving stopped it, or None.
    """

    number: int
    hyperparameters: Mapping[str, float | bool]
    results: Mapping[int, float]
    again: Mapping[int, float]
    lost: int
    stopped_at: int | None = None

    @property
    def result(self) -> float:
        """The mean over the tuning seeds. For the trial that was chosen by it, it is too good."""
        return float(np.mean([*self.results.values()]))


@dataclass(frozen=True, eq=False)
class Method:
    """An optimizer on a problem.

    runs: the report runs that are compared, by seed, either of the chosen trial or at the defaults.
    tuned: which of the two. results: the results of these runs. result: their mean. default: the mean
    at the defaults. trials: the search. edge: hyperparameters whose chosen value is the lowest or the
    highest tried. best_at: the expected best after k trials. works: the lowest and the highest learning
    rate that work nearly as well as the best. steps, seconds: to the target, medians. luck: the luck of
    tuning, see :func:`~ravine.races.statistics.repeated`. Whatever was not measured is None.
    """

    name: str
    tuned: bool
    runs: Mapping[int, Run]
    results: Mapping[int, float]
    result: Estimate
    at_defaults: Mapping[int, Run]
    default: Estimate | None
    trials: tuple[Trial, ...]
    edge: tuple[str, ...]
    best_at: Array | None
    works: tuple[float, float] | None
    steps: Estimate
    seconds: Estimate
    luck: Array | None

    @property
    def hyperparameters(self) -> Mapping[str, float | bool]:
        """The results of the runs that are compared."""
        return next(iter(self.runs.values())).hyperparameters

    @property
    def searched(self) -> dict[str, float | bool]:
        """The chosen values of the hyperparameters that were searched."""
        space = next(iter(self.runs.values())).space
        return {name: self.hyperparameters[name] for name in space if name in self.hyperparameters}

    @property
    def seconds_per_step(self) -> float:
        """The median over the runs; NaN if it was not measured."""
        return float(np.median([run.seconds_per_step for run in self.runs.values()]))

    @property
    def memory_per_parameter(self) -> float:
        """Bytes of optimizer state per trainable number; NaN if it was not measured."""
        return float(np.median([run.memory_per_parameter for run in self.runs.values()]))

    @property
    def halved(self) -> bool:
        """Whether halving stopped some of the trials, whose final results are then unknown."""
        return any(trial.stopped_at is not None for trial in self.trials)

    @property
    def runs_lost(self) -> int:
        """The number of lost runs among those that are compared."""
        return sum(bool(lost(run)) for run in self.runs.values())

    @property
    def trials_lost(self) -> tuple[int, int]:
        """The number of lost tuning runs, and of all tuning runs."""
        return sum(t.lost for t in self.trials), sum(len(t.results) for t in self.trials)


@dataclass(frozen=True)
class Comparison:
    """A problem with one budget, and the optimizers on it, the best mean first.

    title: the problem, and what distinguishes it from others of that name. run: one of its runs, for
    what they have in common. pairs: the differences, by indices in `methods`. ranks: of each method,
    and whether it is shared. target: the problem's or, if it sets none (`target_set`), the mean result
    of the median optimizer. start: what a lost run counts as, which is the worst result of an untrained
    model in the report. missing: optimizers without a report run, which are left out.
    """

    title: str
    run: Run
    methods: tuple[Method, ...]
    pairs: tuple[Difference, ...]
    ranks: tuple[tuple[int, bool], ...]
    target: float
    target_set: bool
    start: float
    missing: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]

    @property
    def sign(self) -> int:
        """-1 if less of the score is better, otherwise 1."""
        return -1 if self.run.lower_is_better else 1

    def shown(self, found: Estimate) -> Estimate:
        """An estimate in terms of the score."""
        if self.sign > 0:
            return found
        return Estimate(-found.value, -found.high, -found.low)

    @property
    def tuned(self) -> bool:
        """Whether any of the optimizers was tuned."""
        return any(method.tuned for method in self.methods)

    @property
    def tier(self) -> int:
        """The largest number of trials that any optimizer has."""
        return max(len(method.trials) for method in self.methods)

    def pair(self, first: int, second: int) -> Difference | None:
        """The difference between two methods, the one with the better mean first."""
        found = (p for p in self.pairs if (p.first, p.second) == (first, second))
        return next(found, None)

    @property
    def ties(self) -> list[int]:
        """The methods that cannot be distinguished from the first."""
        return [p.second for p in self.pairs if p.first == 0 and p.better is None]

    @cached_property
    def by_default(self) -> list[Method]:
        """The methods ordered by their means at the defaults; empty unless there are both means."""
        if not self.tuned:
            return []
        both = [(method.default.value, method) for method in self.methods if method.default]
        return [method for _, method in sorted(both, key=lambda x: -x[0])]

    @property
    def correlation(self) -> float:
        """Spearman's, of the means at the defaults and tuned; NaN where it is not defined."""
        both = [(m.default.value, m.result.value) for m in self.by_default if m.default]
        return float(stats.spearmanr(both).statistic) if len(both) > 2 else math.nan


# ---- from run files --------------------------------------------------------------------------------


def comparisons(runs: Iterable[Run]) -> list[Comparison]:
    """Return what the runs of a folder say, a comparison for each problem and budget.

    If there is only a search, and no report run yet, there is no comparison.
    """
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.problem, run.steps, run.batch_size, run.schedule, run.task].append(run)
    keys = [key for key in sorted(groups) if any(r.role == REPORT for r in groups[key])]
    return [_comparison(groups[key], _title(key, keys)) for key in keys]


def _title(key: tuple[Any, ...], keys: Sequence[tuple[Any, ...]]) -> str:
    problem, steps, batch, schedule, task = key
    alike = [other for other in keys if other[0] == problem]
    said = [f"{steps:,} steps", f"batches of {batch}", f"{schedule} schedule", f"task {task[:6]}"]
    differs = [text for i, text in enumerate(said, 1) if len({other[i] for other in alike}) > 1]
    return ", ".join([problem, *differs])


def _comparison(runs: Sequence[Run], title: str) -> Comparison:
    reports = [run for run in runs if run.role == REPORT]
    sign = -1 if reports[0].lower_is_better else 1
    counts = _Counts(sign, _start(reports, sign))
    tuned = any(run.trial for run in reports)
    by_name: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_name[run.optimizer].append(run)
    found = {name: _Found(of, counts, tuned) for name, of in sorted(by_name.items())}
    present = [each for each in found.values() if each.runs]
    present.sort(key=lambda each: -float(np.mean([*each.results.values()])))
    set_ = reports[0].target
    middle = np.mean([*present[len(present) // 2].results.values()])
    target = sign * float(middle) if set_ is None else set_
    methods = [each.method(i, target) for i, each in enumerate(present)]
    seeds = _seeds(reports)
    table = np.array([[m.results.get(seed, math.nan) for seed in seeds] for m in methods])
    pairs = statistics.differences(table, [m.luck for m in methods])
    return Comparison(
        title=title,
        run=reports[0],
        methods=tuple(methods),
        pairs=tuple(pairs),
        ranks=tuple(statistics.ranks(len(methods), pairs)),
        target=target,
        target_set=set_ is not None,
        start=counts.start,
        missing=tuple(name for name, each in found.items() if not each.runs),
        seeds={role: _seeds(r for r in runs if r.role == role) for role in (TUNE, CHOOSE, REPORT)},
    )


def _seeds(runs: Iterable[Run]) -> tuple[int, ...]:
    return tuple(sorted({run.seed for run in runs}))


def _start(reports: Sequence[Run], sign: int) -> float:
    looks = [run.evaluations[0] for run in reports if run.evaluations and _began_well(run)]
    first = [sign * score for _, score in looks]
    return min((x for x in first if math.isfinite(x)), default=0.0)


def _began_well(run: Run) -> bool:
    """Whether its first score is about that of an untrained model."""
    return run.evaluations[0][0] == 0 or not lost(run)


@dataclass(frozen=True)
class _Counts:
    """The result of a run: its score, such that more is better, or the start's if it is lost."""

    sign: int
    start: float

    def __call__(self, run: Run) -> float:
        found = self.sign * run.score
        return found if math.isfinite(found) and not lost(run) else self.start

    def of(self, runs: Mapping[int, Run]) -> dict[int, float]:
        return {seed: self(run) for seed, run in runs.items()}


class _Found:
    """The runs of an optimizer on a problem, by purpose."""

    def __init__(self, runs: Sequence[Run], counts: _Counts, tuned: bool) -> None:
        self.name, self.counts = runs[0].optimizer, counts
        sorted_: dict[str, dict[int, dict[int, Run]]] = {
            role: defaultdict(dict) for role in (TUNE, CHOOSE, REPORT)
        }
        for run in sorted(
            runs, key=lambda run: not run.rivals
        ):  # complete runs count, if there are both kinds
            sorted_[run.role][run.trial][run.seed] = run
        self.choosing, self.reported = sorted_[CHOOSE], sorted_[REPORT]
        self.trials = [
            Trial(
                number,
                next(iter(of.values())).hyperparameters,
                counts.of(of),
                counts.of(self.choosing.get(number, {})),
                sum(bool(lost(run)) for run in of.values()),
                min((r.stopped_at for r in of.values() if r.stopped_at is not None), default=None),
            )
            for number, of in sorted(sorted_[TUNE].items())
        ]
        self.at_defaults = self.reported.get(0, {})
        chosen = [number for number in self.reported if number]
        self.chosen = max(chosen, key=self._rated, default=0) if tuned else 0
        self.runs = self.reported.get(self.chosen, {})
        self.results = counts.of(self.runs)

    def _rated(self, number: int) -> tuple[float, float]:
        """The criterion for choosing a trial: its mean on the choosing seeds, or else on the tuning seeds."""
        trial = next((t for t in self.trials if t.number == number), None)
        if trial is None:
            return -math.inf, -number
        again = [*trial.again.values()] or [*trial.results.values()]
        return float(np.mean(again)), -number

    def method(self, place: int, target: float) -> Method:
        luck = self._luck(place)
        spread = 0.0 if luck is None else float(luck.var())
        default = statistics.mean([*self.counts.of(self.at_defaults).values()] or [math.nan])
        to_target = [self._to_target(run, target) for run in self.runs.values()]
        return Method(
            name=self.name,
            tuned=self.chosen > 0,
            runs=self.runs,
            results=self.results,
            result=statistics.mean([*self.results.values()], spread),
            at_defaults=self.at_defaults,
            default=default if self.at_defaults else None,
            trials=tuple(self.trials),
            edge=self._edge(),
            best_at=self._best_at(),
            works=self._works(),
            steps=statistics.median([steps for steps, _ in to_target]),
            seconds=statistics.median([seconds for _, seconds in to_target]),
            luck=luck,
        )

    def _to_target(self, run: Run, target: float) -> tuple[float, float]:
        """Steps and seconds to the target; as stored, if the run knew the target."""
        if run.target == target and run.steps_to_target is not None:
            seconds = run.seconds_to_target
            return run.steps_to_target, math.nan if seconds is None else seconds
        sign = self.counts.sign
        reached = (step for step, found in run.evaluations if sign * found >= sign * target)
        steps = math.inf if lost(run) else next(reached, math.inf)
        return steps, steps * run.seconds_per_step

    def _points(self) -> Array:
        """The trials as points in the unit cube of the search."""
        space = next(iter(self.runs.values())).space
        columns = []
        for name, (low, high, towards) in space.items():
            found = [abs(float(t.hyperparameters.get(name, low)) - towards) for t in self.trials]
            clipped = np.clip(found, low, high)
            columns.append(np.log(clipped / low) / math.log(high / low))
        return np.array(columns).T.reshape(len(self.trials), len(columns))

    @cached_property
    def _deviation(self) -> float:
        """Between seeds, of the report."""
        return float(np.std([*self.results.values()], ddof=1))

    def _noise(self) -> float:
        """Of the trials' results, which are means over few seeds."""
        return self._deviation / math.sqrt(min(len(t.results) for t in self.trials))

    def _luck(self, place: int) -> Array | None:
        if not self.chosen or not self.trials or len(self.runs) < 2:
            return None
        points = self._points()
        if not points.size:
            return None
        again = [len(t.again) for t in self.trials if t.again]
        return statistics.repeated(
            points,
            np.array([t.result for t in self.trials]),
            self._noise(),
            len(again) or 1,
            self._deviation / math.sqrt(min(again, default=1)),
            seed=place,
        )

    def _edge(self) -> tuple[str, ...]:
        chosen = [t.number == self.chosen for t in self.trials]
        if not self.chosen or not any(chosen) or len(chosen) < 3:
            return ()
        space, points = next(iter(self.runs.values())).space, self._points()
        at = points[chosen.index(True)]
        beyond = np.minimum((points < at).sum(0), (points > at).sum(0))
        return tuple(name for name, count in zip(space, beyond, strict=True) if not count)

    @property
    def _halved(self) -> bool:
        return any(t.stopped_at is not None for t in self.trials)

    def _best_at(self) -> Array | None:
        if len(self.trials) < 2 or len(self.runs) < 2 or self._halved:
            return None
        return statistics.best_at(np.array([t.result for t in self.trials]), self._noise())

    def _works(self) -> tuple[float, float] | None:
        trials = [t for t in self.trials if "lr" in t.hyperparameters]
        rates = [(t.hyperparameters["lr"], t.result) for t in trials]
        if len(rates) < 3 or "lr" not in next(iter(self.runs.values())).space or self._halved:
            return None
        x, y = np.array(rates, float).T
        chosen = next((i for i, t in enumerate(trials) if t.number == self.chosen), None)
        return statistics.range_that_works(x, y, self.counts.start, chosen=chosen)


# ---- over all problems -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Overall:
    """The optimizers over all problems, by their score, the best first.

    names: those that were raced on every problem. times: median steps to each problem's target, shape
    (names, problems); a miss is infinite. scores: as in AlgoPerf. by_seconds: the same scores of the
    seconds. first: on how many problems no method is significantly better.
    """

    names: tuple[str, ...]
    times: Array
    scores: Array
    by_seconds: Array
    first: tuple[int, ...]


def overall(found: Sequence[Comparison]) -> Overall | None:
    """Combine the comparisons; None for fewer than two problems or optimizers."""
    of = [
        {method.name: (method, rank) for method, (rank, _) in zip(c.methods, c.ranks, strict=True)}
        for c in found
    ]
    names = [name for name in of[0] if all(name in each for each in of)] if of else []
    if len(found) < 2 or len(names) < 2:
        return None
    steps = np.array([[max(each[name][0].steps.value, 1.0) for each in of] for name in names])
    seconds = np.array([[each[name][0].seconds.value for each in of] for name in names])
    first = [sum(each[name][1] == 1 for each in of) for name in names]
    scores, by_seconds = score(steps), score(np.where(np.isnan(seconds), math.inf, seconds))
    order = sorted(range(len(names)), key=lambda i: (-scores[i], -first[i], names[i]))
    return Overall(
        tuple(names[i] for i in order),
        steps[order],
        scores[order],
        by_seconds[order],
        tuple(first[i] for i in order),
    )
