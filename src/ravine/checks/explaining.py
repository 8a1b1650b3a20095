"""The faults of a rule that explain a path: one, or two at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from ravine.checks.candidates import Trial, near
from ravine.checks.fitting import fitted
from ravine.checks.probe import SINGLE, Path, Probe, distances, unit
from ravine.checks.wrong import DRIVERS, RIGHT, Driver, Wrong, faults, run
from ravine.engines.batch import Batch

__all__ = ["Faults", "Hit", "Question", "closeness"]


@dataclass
class Question:
    """The path to explain, and the processor time available for it.

    rounding: the unit of the path's arithmetic. tried: the number of candidates run so far.
    """

    path: Path
    probe: Probe
    seconds: float
    tried: int = 0
    rounding: float = 0.0
    begun: float = field(default_factory=time.process_time)

    def __post_init__(self) -> None:
        self.rounding = unit(self.path)

    @property
    def spent(self) -> float:
        """The seconds spent."""
        return time.process_time() - self.begun

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.spent > self.seconds

    def within(self, share: float) -> bool:
        """Whether less than this share of the time is spent."""
        return self.spent < share * self.seconds

    @property
    def fitting(self) -> float:
        """How close a path with fitted values must come, since many are close by chance."""
        return SINGLE if self.rounding > 1e-10 else 1e-6

    def apart(self, batch: Batch, values: Mapping[str, Any], driver: Driver = RIGHT) -> float:
        """The distance of a version of a rule from the path: 2 if that shows before the end."""
        self.tried += 1
        try:
            its = run(batch, self.probe, values, driver, self.path, SINGLE, self.rounding)[0]
        except Exception:  # a version that does not work with these shapes
            return 2.0
        return near(self.path, its, self.rounding)


@dataclass(frozen=True)
class Hit:
    """A fault that explains the path. rank: of its rule, among those examined."""

    wrong: Wrong
    trial: Trial
    distance: float
    rank: int
    values: Mapping[str, Any]


class Faults:
    """The faults of the rules examined so far."""

    def __init__(self, question: Question):
        self.question = question
        self._paired: set[tuple[Trial, str]] = set()
        self._known: list[tuple[Trial, Wrong, Batch]] = []

    def one(self, places: Sequence[Trial], share: float) -> list[Hit]:
        """The faults that explain the path, of the first of these rules that has any."""
        for rank, trial in enumerate(places):
            if trial.graph.of_arrays and rank:
                continue  # of many operations, each of them slow
            hits: list[Hit] = []
            for wrong in faults(trial.graph):
                batch = Batch(wrong.graph, wrong.start)
                self._known.append((trial, wrong, batch))
                apart = self.question.apart(batch, trial.values, wrong.driver)
                if apart < SINGLE:
                    hits.append(Hit(wrong, trial, apart, rank, trial.values))
            if hits or not self.question.within(share):
                return hits
        return []

    def _pair(self, trial: Trial, first: Wrong, second: Wrong) -> Hit | None:
        both = first.and_also(second)
        if both is None:
            return None
        apart = self.question.apart(Batch(both.graph, both.start), trial.values)
        return Hit(both, trial, apart, 0, trial.values) if apart < SINGLE else None

    def alike(self) -> Hit | None:
        """The same fault in two places."""
        several: dict[tuple[Trial, str], list[Wrong]] = {}
        for trial, wrong, _ in self._known:
            if wrong.weight >= 8 and wrong.driver is RIGHT:
                several.setdefault((trial, wrong.kind), []).append(wrong)
        for key, its in several.items():
            if key in self._paired:
                continue
            self._paired.add(key)
            for first, second in combinations(its, 2):
                hit = self._pair(key[0], first, second)
                if hit is not None or self.question.over:
                    return hit
        return None

    def driven(self) -> Hit | None:
        """A fault in the rule, and one around it."""
        trial = self._known[0][0] if self._known else None
        for its, wrong, batch in self._known:
            if its is not trial or wrong.driver is not RIGHT:
                continue
            for driver in DRIVERS:
                apart = self.question.apart(batch, its.values, driver)
                if apart < SINGLE:
                    says = f"{wrong.says}; and {driver.says}"
                    both = replace(
                        wrong, says=says, driver=driver, kind=f"{wrong.kind} + {driver.kind}"
                    )
                    return Hit(both, its, apart, 0, its.values)
            if self.question.over:
                return None
        return None

    def _closest(self) -> list[tuple[float, int, tuple[Trial, Wrong, Batch]]]:
        """The faults, the closest to the path first."""
        few = self.question.probe.part(8)
        scored = []
        for i, (trial, wrong, batch) in enumerate(self._known):
            try:
                its = run(batch, few, trial.values, wrong.driver)[0]
            except Exception:
                continue
            apart = closeness(self.question.path[: few.rows], its, self.question.rounding)
            scored.append((apart, i, (trial, wrong, batch)))
            if not self.question.within(0.9):
                break
        return sorted(scored, key=lambda s: s[:2])

    def and_numbers(self) -> Hit | None:
        """A fault, and other values."""
        for _, _, (trial, wrong, batch) in self._closest()[:10]:
            if self.question.over:
                return None
            self.question.tried += 20
            try:
                values, apart = fitted(
                    batch,
                    self.question.probe,
                    self.question.path,
                    trial.values,
                    wrong.driver,
                    10,
                    self.question.rounding,
                )
            except (ValueError, ArithmeticError, np.linalg.LinAlgError):
                continue
            if apart < self.question.fitting:
                return Hit(wrong, trial, apart, 0, values)
        return None

    def two(self, least: int) -> Hit | None:
        """Two faults of the first rule that together explain the path, trying the closest ones first."""
        trial = self._known[0][0] if self._known else None
        if trial is None:
            return None
        close = [w for _, _, (t, w, _) in self._closest() if t is trial and w.weight >= least]
        ordered = [w for w in close if w.driver is RIGHT]
        for i, second in enumerate(ordered):
            for first in ordered[:i]:
                hit = self._pair(trial, first, second)
                if hit is not None or self.question.over:
                    return hit
        return None


def closeness(path: Path, other: Path, rounding: float) -> float:
    """The mean distance of two paths' updates, after the best common factor."""
    a, b = np.diff(path, axis=0), np.diff(other, axis=0)
    with np.errstate(all="ignore"):
        ratios = (a / b)[(b != 0) & np.isfinite(a) & np.isfinite(b)]
    factor = float(np.median(ratios.real)) if ratios.size else 1.0
    scaled = np.concatenate([other[:1], other[:1] + np.cumsum(b * factor, axis=0)])
    plain = np.minimum(distances(path, other, rounding), 1).mean()
    return float(min(plain, np.minimum(distances(path, scaled, rounding), 1).mean() + 0.01))
