"""Setting up the experiment diamonds, and its tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ravine.experiments import diamonds
from ravine.experiments.diamonds_sample import floor
from ravine.experiments.racers import racer
from ravine.experiments.running import Experiment, Shown


def experiment(seeds: Iterable[int] = range(12), **exercise: Any) -> Experiment:
    """Set up the experiment: as published, corrected, the floor; or the reader's exercise.

    seeds: of the corrected runs. exercise: what to change, as in `exercise_specs` of
    :mod:`ravine.experiments.diamonds`; then only that is run. Its tables are "diamonds-as-published",
    "diamonds-corrected" and "diamonds-floor", or "diamonds-exercise" and "diamonds-floor".
    """
    seeds = list(seeds)
    published = [] if exercise else diamonds.as_published_specs()
    specs = (
        diamonds.exercise_specs(seeds=seeds, **exercise)
        if exercise
        else diamonds.corrected_specs(seeds)
    )
    specs = [*published, *specs]
    found = {name: racer(name) for name in dict.fromkeys(spec["optimizer"] for spec in specs)}
    noted = {"seeds": seeds, "exercise": exercise or None}
    units = partial(diamonds.depends, found=found), partial(diamonds.run, found=found)
    return Experiment("diamonds", noted, specs, *units, partial(show, published=len(published)))


def show(results: Sequence[diamonds.Result], published: int) -> Shown:
    """Make the tables and figures of results, the first of which are as published."""
    ours, seeded, best = results[:published], results[published:], floor()
    if published:
        tables = {
            "diamonds-as-published": diamonds.as_published_table(ours),
            "diamonds-corrected": diamonds.corrected_table(seeded),
        }
        bars, seeded = tables, seeded[len(diamonds.PROTOCOL) :]
        files = {
            "optimization_results.csv": tables["diamonds-corrected"],
            "optimization_results_as_published.csv": tables["diamonds-as-published"],
        }
    else:
        tables, files = {"diamonds-exercise": diamonds.exercise_table(results)}, {}
        bars = {name: [_medians(row, results) for row in rows] for name, rows in tables.items()}

    def figures() -> Mapping[str, Any]:
        from ravine.experiments import plots

        lines = {row["line"]: row["test_rmse"] for row in best}
        ends = {
            "best_line": lines["best line for the test rows"],
            "least_squares": lines["least squares"],
        }
        drawn = {name: plots.diamonds_bars(rows, _TITLES[name]) for name, rows in bars.items()}
        return {**drawn, "diamonds-seeds": plots.diamonds_seeds(seeded, **ends)}

    files = {name: diamonds.optimization_results(rows) for name, rows in files.items()}
    files["diamonds-points"] = diamonds.points(results)
    return Shown({**tables, "diamonds-floor": best}, figures, files)


_TITLES = {
    "diamonds-as-published": "Diamonds as published: three of four climb",
    "diamonds-corrected": "Diamonds with the right sign of the gradient",
    "diamonds-exercise": "Diamonds: the reader's exercise",
}


def _medians(row: Mapping[str, Any], results: Sequence[diamonds.Result]) -> dict[str, Any]:
    seconds = np.median([r["seconds"] for r in results if r["optimizer"] == row["optimizer"]])
    return {"method": row["method"], "rmse": row["rmse_median"], "seconds": float(seconds)}
