"""The races among the results: looked up, compared, and listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ravine.experiments.claims.judging import Case, Measured, interval, ratio
from ravine.experiments.claims.units import LABELS
from ravine.experiments.grids import log_steps, logs
from ravine.experiments.problems import PROBLEMS, SITUATIONS, Array
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
        there = dict.fromkeys(r["problem"] for r in self.races.values())
        self.problems = [p for p in there if p in PROBLEMS]
        self.with_spikes = [p for p in there if p in (*PROBLEMS, "spikes")]

    def units(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the results of a kind of unit."""
        return [r for r in self.results if r["unit"] == kind]

    def of(self, kind: str) -> list[str]:
        """Return the problems of a kind that were made for one claim."""
        there = dict.fromkeys(p for p, *_ in self.races)
        return [p for p in (f"{kind} {k}" for k in SITUATIONS[kind]) if p in there]

    def get(
        self, problem: str, optimizer: str, *, decay: bool = False, clip: bool = False
    ) -> Mapping[str, Any]:
        """Return the race of an optimizer on a problem."""
        return self.races[problem, optimizer, decay, clip]

    def end(self, problem: str, optimizer: str, entry: str = "tuned", **asked: bool) -> Array:
        """Return the logarithms of the losses at the end, one for each seed."""
        return logs(self.get(problem, optimizer, **asked)[entry]["losses"])

    def steps(self, problem: str, optimizer: str, entry: str) -> tuple[Array, bool]:
        """Return the logarithms of the steps to the target, and whether most seeds missed it."""
        race = self.get(problem, optimizer)
        steps = np.array(race[entry]["steps"])
        return log_steps(steps, race["budget"]), bool(np.mean(np.isinf(steps)) > 0.5)

    def best(self, problem: str, rivals: Sequence[str], entry: str = "tuned", **asked: bool) -> str:
        """Return the rival that the tuning seeds name: none is picked for its luck on the others."""
        return min(rivals, key=lambda o: self.get(problem, o, **asked)[entry]["tuning_loss"])

    def lower(
        self, condition: str, problems: Sequence[str], one: str, other: str, entry: str = "tuned"
    ) -> Iterator[Case]:
        """Make a case of each problem: how low an optimizer ends, compared with another one."""
        for p in problems:
            measured = ratio(self.end(p, one, entry), self.end(p, other, entry), len(problems))
            yield Case(condition, LABELS[p], measured)

    def times(self, beside: bool) -> Iterator[Case]:
        """Compare the time of Adam's step with the others', alone or beside a gradient."""
        made: list[tuple[str, str, Measured]] = []
        units = self.units("step time")
        for u in units:
            extra: Array = np.array(u["gradient_us"]) * beside
            us = {name: np.log10(np.array(taken) + extra) for name, taken in u["us"].items()}
            for name in us.keys() - {"adam"}:
                measured = ratio(us["adam"], us[name], len(units) * (len(us) - 1))
                made.append((called(name), f"{794 * u['hidden']:,} parameters", measured))
        for name, case, measured in sorted(made, key=lambda case: case[0]):
            yield Case(f"than {name}", case, measured)


def table(results: Results) -> list[dict[str, Any]]:
    """Make a row for each race: its tuned learning rate, and what came of it on the report seeds.

    ``loss``, ``low`` and ``high``: the geometric mean at the end, with its interval, where the loss
    at the start is 1. ``steps``: the median to the target, infinite where it is missed, with
    ``steps_rate``, the rate that is best for that. ``diverged``: the share of the seeds that end
    above their start. ``edge`` warns that one of the rates is the grid's first or last. Problems that
    were made for one claim are left out.
    """
    rows = []
    for r in results:
        if r["unit"] == "race" and r["problem"] in (*PROBLEMS, "spikes"):
            mean, low, high = (10**x for x in interval(logs(r["tuned"]["losses"])))
            rows.append(
                {
                    "problem": LABELS[r["problem"]],
                    "optimizer": called(r["optimizer"]),
                    "decay": r["decay"],
                    "clip": r["clip"],
                    "learning_rate": r["tuned"]["learning_rate"],
                    **{"loss": mean, "low": low, "high": high},
                    "diverged": r["tuned"]["diverged"] / len(r["tuned"]["losses"]),
                    "steps_rate": r["fast"]["learning_rate"],
                    "steps": float(np.median(r["fast"]["steps"])),
                    "edge": r["tuned"]["edge"] or r["fast"]["edge"],
                }
            )
    return rows
