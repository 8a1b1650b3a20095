"""The races among the results: looked up, compared, and listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ravine.experiments.claims.judging import Row, interval, row
from ravine.experiments.claims.units import LABELS
from ravine.experiments.grids import PROBLEMS, Array, log_steps, logs
from ravine.experiments.racers import called

Results = Sequence[Mapping[str, Any]]


class Races:
    """The races among the results: looked up by what was asked, and compared.

    subject: the optimizer that the claims are about which are Adam's.
    """

    def __init__(self, results: Results, subject: str = "adam") -> None:
        self.results, self.subject, self.name = results, subject, called(subject)
        self.races = {
            (r["problem"], r["optimizer"], r["decay"], r["clip"]): r
            for r in results
            if r["unit"] == "race"
        }
        self.with_spikes = list(dict.fromkeys(r["problem"] for r in self.races.values()))
        self.problems = [p for p in self.with_spikes if p in PROBLEMS]

    def units(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the results of a kind of unit."""
        return [r for r in self.results if r["unit"] == kind]

    def get(
        self, problem: str, optimizer: str, *, decay: bool = False, clip: bool = False
    ) -> Mapping[str, Any]:
        """Return the race of an optimizer on a problem."""
        return self.races[problem, optimizer, decay, clip]

    def end(self, problem: str, optimizer: str, entry: str, **asked: bool) -> Array:
        """Return the logarithms of the losses at the end, one for each seed."""
        return logs(self.get(problem, optimizer, **asked)[entry]["losses"])

    def steps(self, problem: str, optimizer: str, entry: str) -> tuple[Array, bool]:
        """Return the logarithms of the steps to the target, and whether most seeds missed it."""
        race = self.get(problem, optimizer)
        steps = np.array(race[entry]["steps"])
        return log_steps(steps, race["budget"]), bool(np.mean(np.isinf(steps)) > 0.5)

    def lower(self, condition: str, optimizer: str, rival: str, entry: str) -> list[Row]:
        """Make a row for each problem: whether an optimizer ends lower than another one."""
        return [
            row(
                *(condition, LABELS[p]),
                ratio(self.end(p, optimizer, entry), self.end(p, rival, entry), len(self.problems)),
                *(1.0, True),
            )
            for p in self.problems
        ]


def ratio(a: Array, b: Array, among: int) -> tuple[float, float, float]:
    """Compare logarithms seed by seed: the geometric mean of the ratios, and its interval.

    among: how many comparisons there are, so that all their intervals hold at once, 95 times in a
    hundred (Bonferroni).
    """
    mean, low, high = interval(a - b, 1 - 0.05 / among)
    return 10**mean, 10**low, 10**high


def table(results: Results) -> list[dict[str, Any]]:
    """Make a row for each race: its tuned learning rate, and what came of it on the report seeds.

    ``loss``, ``low`` and ``high``: the geometric mean at the end, with its interval, where the loss
    at the start is 1. ``steps``: the median to the target, infinite where it is missed, with
    ``steps_rate``, the rate that is best for that. ``diverged``: the share of the seeds that end
    above their start. ``edge`` warns that one of the rates is the grid's first or last.
    """
    rows = []
    for r in results:
        if r["unit"] == "race":
            mean, low, high = interval(logs(r["tuned"]["losses"]))
            rows.append(
                {
                    "problem": LABELS[r["problem"]],
                    "optimizer": called(r["optimizer"]),
                    "decay": r["decay"],
                    "clip": r["clip"],
                    "learning_rate": r["tuned"]["learning_rate"],
                    "loss": 10**mean,
                    "low": 10**low,
                    "high": 10**high,
                    "diverged": r["tuned"]["diverged"] / len(r["tuned"]["losses"]),
                    "steps_rate": r["fast"]["learning_rate"],
                    "steps": float(np.median(r["fast"]["steps"])),
                    "edge": r["tuned"]["edge"] or r["fast"]["edge"],
                }
            )
    return rows
