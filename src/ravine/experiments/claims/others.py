"""What is claimed of SGD, of momentum, of RMSprop, and of learning rates."""

from __future__ import annotations

import numpy as np

from ravine.experiments.claims.judging import (
    SUPPORTS,
    Claim,
    Row,
    binomial,
    interval,
    judge,
    row,
)
from ravine.experiments.claims.races import Races, ratio
from ravine.experiments.claims.units import CURVATURES, FLOOR_RATES, LABELS, NOISES, WANDER
from ravine.experiments.grids import PROBLEMS
from ravine.experiments.quotations import quotation
from ravine.experiments.racers import called


def rmsprop_often_better(races: Races) -> Claim:
    """Judge whether RMSprop ends lower than SGD and than momentum, tuned and at the defaults."""
    rows = [
        each
        for rival in ("sgd", "momentum")
        for condition, entry in (("tuned", "tuned"), ("default rates", "default"))
        for each in races.lower(f"than {called(rival)}, {condition}", "rmsprop", rival, entry)
    ]
    return judge(
        "rmsprop",
        "RMSprop often performs better than SGD or SGD with momentum",
        str(quotation("rmsprop")),
        rows=rows,
        cases="problems",
        criterion="a problem supports it if RMSprop ends lower",
        says="RMSprop ends lower",
        measure="loss at the end, RMSprop / other",
        threshold=1.0,
    )


def dampens_oscillations(races: Races) -> Claim:
    """Judge whether momentum 0.9 goes a shorter way across a ravine than none."""
    ravines = {r["momentum"]: r for r in races.units("ravine")}
    plain, heavy = ravines[0.0], ravines[0.9]
    pairs = zip(CURVATURES, plain["travel"], heavy["travel"], strict=True)
    same = [
        row("same rate for both", f"{c:g}", (b / a,) * 3, 1.0, True)
        for c, a, b in pairs
        if np.isfinite(a)
    ]
    travel, steps = ([r[key][r["best"]] for r in (plain, heavy)] for key in ("travel", "steps"))
    tuned = row("each at its best rate", "tuned", (travel[1] / travel[0],) * 3, 1.0, True)
    helped = [r["case"] for r in same if r["outcome"] == SUPPORTS]
    calm = max((c for c, n in zip(CURVATURES, plain["turns"], strict=True) if not n), default=0)
    return judge(
        "oscillations",
        "Momentum dampens oscillations in ravines",
        f"{quotation('oscillations')}; Ruder 2016, arXiv:1609.04747",
        rows=[*same, tuned],
        cases="learning rates",
        criterion=(
            "a learning rate at which SGD converges supports it if momentum 0.9 goes a shorter way "
            "across the ravine than SGD, and contradicts it if a longer one"
        ),
        says="Momentum swings less than SGD",
        more=(
            f"In units of one over the curvature, SGD does not swing at rates up to {calm:g}, and "
            f"momentum swings less at {', '.join(helped) or 'none'}. Each at its best, SGD goes "
            f"{travel[0]:.0f} times the distance across and takes {steps[0]:.0f} steps, momentum "
            f"{travel[1]:.0f} times and {steps[1]:.0f} steps."
        ),
        measure="way across, momentum 0.9 / SGD",
        threshold=1.0,
    )


def escapes_local_minima(races: Races) -> Claim:
    """Judge whether SGD with noisy gradients is more likely than not to end in the deep minimum."""
    units = {r["learning_rate"]: r for r in races.units("escape")}
    level = 1 - 0.05 / (len(units) * (len(NOISES) - 1))
    rows, lost, silent = [], {}, 0
    for lr, unit in units.items():
        counts = zip(NOISES, unit["escaped"], unit["lost"], strict=True)
        for noise, escaped, other in counts:
            if not noise:
                silent += escaped
                continue
            measured = binomial(escaped, unit["runs"], level)
            rows.append(row(f"rate {lr:g}", f"noise {noise:g}", measured, 0.5, False))
            lost[f"rate {lr:g}, noise {noise:g}"] = other / unit["runs"]
    best = max(rows, key=lambda r: r["estimate"])
    back = lost[f"{best['condition']}, {best['case']}"]
    return judge(
        "escape",
        "SGD escapes local minima",
        str(quotation("escape")),
        rows=rows,
        cases="noises",
        criterion=(
            "a noise supports it if of the runs that start in the shallow minimum more than half "
            f"are in the deep one after {WANDER:,} steps, and contradicts it if fewer are"
        ),
        says="More than half of the runs get out",
        more=(
            f"Without noise {silent} of {sum(u['runs'] for u in units.values()):,} do. The most do "
            f"at {best['condition']}, {best['case']}: {best['estimate']:.0%}; there {back:.0%} of "
            "the runs that start in the deep minimum end in the shallow one."
        ),
        measure="share of the runs that end in the deep minimum",
        threshold=0.5,
        lost=lost,
    )


def rate_needs_decrease(races: Races) -> Claim:
    """Judge whether a decayed learning rate ends lower than a constant one, both tuned."""
    optimizers = ("sgd", "momentum", "adam")

    def rows(condition: str, exact: bool) -> list[Row]:
        problems = [p for p in races.problems if PROBLEMS[p].exact is exact]
        return [
            row(
                condition,
                f"{LABELS[p]}: {called(o)}",
                ratio(
                    races.end(p, o, "tuned", decay=True),
                    races.end(p, o, "tuned"),
                    len(problems) * len(optimizers),
                ),
                1.0,
                True,
            )
            for p in problems
            for o in optimizers
        ]

    (floor,) = races.units("floor")
    slopes = np.polyfit(np.log10(FLOOR_RATES), np.log10(floor["constant"]), 1)[0]
    slope, low, high = interval(slopes)
    return judge(
        "decay",
        "The learning rate often needs to be decreased",
        str(quotation("decay")),
        rows=rows("gradients of batches", False) + rows("exact gradients", True),
        cases="races",
        criterion=(
            "a race supports it if a learning rate that falls linearly to zero ends lower than a "
            "constant one"
        ),
        says="Decay ends lower",
        more=(
            "At a constant rate SGD on the line comes to rest at a loss that goes like the learning "
            f"rate to the power {slope:.2f} ({low:.2f} to {high:.2f})."
        ),
        measure="loss at the end, decayed / constant",
        threshold=1.0,
        slope=[slope, low, high],
    )
