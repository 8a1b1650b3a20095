"""The experiment conditioning: when do adaptive methods help?

The price of diamonds by least squares: from six numeric columns, with cut, color and clarity as
ordinals, and one-hot; raw and standardised. The loss is a parabola whose bottom is known, so the
gap to it can be followed down. Seven numbers decide how hard that is: the eigenvalues of the
Hessian, above all their ratio, the condition number (3.5e7 raw, 298 standardised).

Gradient descent does not depend on the coordinates in which a problem is written. An adaptive method
scales each coordinate separately, so the coordinates are what counts. To show this, the raw problem is
also written in other coordinates: rotated at random, and rotated so that the ellipse lies along the
axes. That is the same valley for gradient descent, but another one for Adam.

    results = [run(spec) for spec in specs()]       # each can be stored, they are dicts
    table(results), conclusion(results)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ravine import data
from ravine.experiments.grids import choose, diverged, edge, rates_of, report_seeds, train
from ravine.experiments.problems import BATCH_SIZE, least_squares
from ravine.experiments.racers import Racer, racer, racers
from ravine.experiments.running import Experiment, Shown

PROTOCOL_VERSION = 2
"""Raised by hand when the same spec gives other numbers: earlier results are not reused then."""

OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "amsgrad")
ADAPTIVE = ("rmsprop", "adam", "amsgrad")

CASES = (
    ("numeric", "raw"),
    ("ordinals", "raw"),
    ("one-hot", "raw"),
    ("numeric", "standardised"),
    ("ordinals", "standardised"),
    ("one-hot", "standardised"),
)
"""The problems of the race, as columns and form; the last three are not in its mini-batch part."""

CONTROLS = (("numeric", "turned"), ("numeric", "scaled"), ("numeric", "axes"))
"""The first problem in other coordinates, to find out what makes the difference."""

LEARNING_RATES = tuple(float(f"{10 ** (k / 4):.3g}") for k in range(-24, 9))
"""The grid for every optimizer: from 1e-6 to 100, four in a decade."""

TARGETS = (1e-2, 1e-4)
"""Target gaps, as shares of the gap at the start. Learning rates are tuned for the last one."""

TUNING_SEEDS = (1000, 1001, 1002)


def specs(
    seeds: Iterable[int] = range(10),
    *,
    quick: bool = False,
    optimizers: Iterable[str] = OPTIMIZERS,
    lr: float | None = None,
    settings: Mapping[str, float | bool] | None = None,
) -> list[dict[str, Any]]:
    """List the units of the race: a problem, a kind of batch and an optimizer each.

    seeds: those that are reported; each draws the mini-batches of a run. The learning rate is
    chosen on others, `TUNING_SEEDS`. quick: half the learning rates, a fifth of the steps.
    optimizers, settings: see :mod:`ravine.experiments.racers`. lr: of all, and nothing is tuned.
    """
    seeds = report_seeds(seeds, TUNING_SEEDS)
    made = [each.for_vectors("vectors are trained") for each in racers(optimizers, settings, lr)]
    parts = [("all", CASES + CONTROLS, 5000), (BATCH_SIZE, CASES, 2000)]
    return [
        {
            "race": "conditioning",
            "columns": columns,
            "form": form,
            "batch": batch,
            "optimizer": each.name,
            "steps": steps // 5 if quick else steps,
            "learning_rates": rates_of(each, LEARNING_RATES[:: 2 if quick else 1]),
            "tuning_seeds": list(TUNING_SEEDS),
            "seeds": seeds,
            **({"set": dict(each.set)} if each.set else {}),
        }
        for batch, cases, steps in parts
        for columns, form in cases
        for each in made
    ]


def experiment(seeds: Iterable[int] = range(10), **changes: Any) -> Experiment:
    """Set up the experiment; the arguments are those of :func:`specs`.

    Its tables are "conditioning" and "conditioning-conclusion" (one row, one sentence).
    """
    listed = specs(seeds, **changes)
    found = {spec["optimizer"]: look_up(spec) for spec in listed}
    return Experiment(
        "conditioning",
        {"seeds": listed[0]["seeds"], **changes},
        listed,
        partial(depends, found=found),
        partial(run, found=found),
        show,
        dpi=150,
        alone=False,
    )


def show(results: list[dict[str, Any]]) -> Shown:
    """Make the tables and figures of the results."""

    def figures() -> Mapping[str, Any]:
        from ravine.experiments import conditioning_plots as plots

        return plots.conditioning(results)

    conclusions = [{"conclusion": conclusion(results)}]
    return Shown({"conditioning": table(results), "conditioning-conclusion": conclusions}, figures)


def look_up(spec: Mapping[str, Any], found: Mapping[str, Racer] | None = None) -> Racer:
    """The racer of a spec."""
    return (found or {}).get(spec["optimizer"]) or racer(spec["optimizer"], spec.get("set"))


def depends(spec: Mapping[str, Any], found: Mapping[str, Racer] | None = None) -> dict[str, Any]:
    """Return everything that the result of a spec depends on, fit for JSON."""
    return {
        **spec,
        "optimizer": look_up(spec, found).digest(varied=("lr",)),
        "data": data.digest("diamonds.npz"),
        "protocol": PROTOCOL_VERSION,
    }


def run(spec: Mapping[str, Any], found: Mapping[str, Racer] | None = None) -> dict[str, Any]:
    """Tune and train one optimizer on one problem: the unit of work.

    Returns the spec with, added to it, ``condition`` and ``scaled_condition`` (see
    :class:`~ravine.experiments.problems.LeastSquares`); ``rates``, for each of `TARGETS` the learning
    rate that takes the fewest steps to it, or, where none gets there, ends with the least gap;
    ``edge``, whether one of them is the grid's first or last; ``tried`` and ``diverged``, runs
    while tuning; ``to``, the steps to each target with its rate, a row a target, a column a seed;
    and, with the rate for the last target, ``at``, steps, ``gaps``, a row a seed, where the gap at
    the start is 1, and ``end``, the mean over the last tenth of the steps, a number a seed.

    With ``batch`` "all" nothing is random: there is one run, and no need for seeds.
    """
    problem = least_squares(spec["columns"], spec["form"])
    full = spec["batch"] == "all"
    rates, each = spec["learning_rates"], look_up(spec, found)
    tuning = train(
        problem.task([0] if full else spec["tuning_seeds"], full=full),
        each,
        rates,
        spec["steps"],
        looks=120,
    )
    best = [choose(tuning, target, by="steps") for target in TARGETS]
    report = train(
        problem.task([0] if full else spec["seeds"], full=full),
        each,
        [rates[i] for i in best],
        spec["steps"],
        looks=120,
    )
    return {
        **spec,
        "condition": problem.condition,
        "scaled_condition": problem.scaled_condition,
        "rates": [rates[i] for i in best],
        "edge": any(edge(rates, i) for i in best),
        "tried": tuning.end.size,
        "diverged": diverged(tuning.end),
        "at": report.steps.tolist(),
        "gaps": report.losses[:, :, -1].T.tolist(),
        "end": report.end[:, -1].tolist(),
        "to": [report.steps_to(x)[:, i].tolist() for i, x in enumerate(TARGETS)],
    }


def table(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make a row of each unit: what was asked, and medians over the seeds.

    ``steps_1e-2`` and ``steps_1e-4``, to each target, are infinite where it is missed; ``rate_1e-2``
    and ``rate_1e-4`` are the learning rates that are best for it. ``gap`` is the one at the end with
    the latter, as a share of that at the start, ``gap_min`` and ``gap_max`` its range over the
    seeds. ``edge`` warns that one of the rates is the grid's first or last. ``diverged`` is the
    share of the runs that ended above their start, while tuning.
    """
    rows = []
    for r in results:
        asked = ("columns", "form", "batch", "optimizer", "condition", "scaled_condition")
        row = {key: r[key] for key in asked}
        for target, rate, steps in zip(TARGETS, r["rates"], r["to"], strict=True):
            name = f"{target:.0e}".replace("e-0", "e-")
            row |= {f"rate_{name}": rate, f"steps_{name}": float(np.median(steps))}
        end = r["end"]
        row |= {"gap": float(np.median(end)), "gap_min": min(end), "gap_max": max(end)}
        rows.append({**row, "edge": r["edge"], "diverged": r["diverged"] / r["tried"]})
    return rows


def conclusion(results: Iterable[Mapping[str, Any]]) -> str:
    """Say where adapting to each coordinate helped, for the six numeric columns and all rows.

    It helps if the best adaptive optimizer needs fewer steps to the first of `TARGETS` than the best of
    the others. For optimizers that are not the experiment's, it says which is first instead.
    """
    rows = [r for r in table(results) if r["columns"] == "numeric" and r["batch"] == "all"]
    names = {r["optimizer"] for r in rows}
    known = names <= {*OPTIMIZERS} and bool(names & {*ADAPTIVE}) and bool(names - {*ADAPTIVE})
    parts = []
    for form in dict.fromkeys(r["form"] for r in rows):
        of_form = sorted((r for r in rows if r["form"] == form), key=lambda r: r["steps_1e-2"])
        condition, scaled = (number(of_form[0][key]) for key in ("condition", "scaled_condition"))
        if of_form[0]["steps_1e-2"] == np.inf:
            verdict = "neither kind gets there" if known else "none gets there"
        elif known:
            pair = [
                next(r for r in of_form if (r["optimizer"] in ADAPTIVE) is kind)
                for kind in (True, False)
            ]
            helps = pair[0]["steps_1e-2"] < pair[1]["steps_1e-2"]
            verdict = "it helps" if helps else "it does not help"
            verdict += f" ({_arrival(pair[0], 'adaptive ones')}, {_arrival(pair[1], 'the others')})"
        else:
            verdict = ", ".join(_arrival(r, r["optimizer"]) for r in of_form)
        parts.append(f"{form}, condition number {condition} and after scaling {scaled}: {verdict}")
    question = "Does adapting to each coordinate help" if known else "How long does it take"
    return f"{question} to bring the gap down to {TARGETS[0]:g} of what it was? {'; '.join(parts)}."


def _arrival(row: Mapping[str, Any], others: str) -> str:
    steps = row["steps_1e-2"]
    return f"{row['optimizer']} {steps:,.0f} steps" if np.isfinite(steps) else f"{others} never"


def number(value: float) -> str:
    """Write a condition number: 298, 3.5e7."""
    return f"{value:.0f}" if value < 1e4 else f"{value:.1e}".replace("e+0", "e")
