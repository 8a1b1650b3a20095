"""What is said of optimizers: each claim with what counts for it, and the function that finds its cases.

Claims in which {me} stands are of Adam, and can be tried on any optimizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ravine.experiments.claims.judging import (
    CONTRADICTS,
    SUPPORTS,
    Case,
    Found,
    binomial,
    claim,
    exactly,
    interval,
    ratio,
    tally,
)
from ravine.experiments.claims.races import Races
from ravine.experiments.claims.units import (
    CURVATURES,
    FLOOR_RATES,
    LABELS,
    NOISES,
    RIVALS,
    SIZES,
    WANDER,
)
from ravine.experiments.problems import PROBLEMS, Array
from ravine.experiments.racers import called

TOLERANCE = 0.01
"""A learning rate is as good as the best if it loses at most this share of the descent."""

MUCH = 0.5
""""Much more quickly" is in less than this share of the steps."""

HARDLY = 0.9
"""Clipping that leaves more than this share of the loss hardly helps."""


# ---- of Adam, or any other -----------------------------------------------------------------------


@claim(
    *("clipping", "{me} needs no gradient clipping", "clipping"),
    cases="problems",
    criterion="a problem supports it if clipping each coordinate at 1 leaves more than "
    f"{HARDLY:.0%} of the loss at the end, and contradicts it if it leaves less",
    says="Clipping hardly helps {me}",
    measure="loss at the end, clipped / not clipped",
    threshold=HARDLY,
    below=False,
)
def needs_no_clipping(races: Races) -> Found:
    """Learning rates are tuned with and without."""
    problems = races.with_spikes

    def cases(o: str) -> list[Case]:
        return [
            Case(
                *(called(o), LABELS[p]),
                ratio(races.end(p, o, clip=True), races.end(p, o), len(problems)),
            )
            for p in problems
        ]

    def more(*kinds: Sequence[Any]) -> str:
        mine, sgds = (sum(r["outcome"] == CONTRADICTS for r in rows) for rows in kinds)
        return f"It helps {races.name} on {mine} of the {len(problems)}, and SGD on {sgds}."

    return Found(cases(races.subject), more, cases("sgd"))


def width(losses: Sequence[float], rates: Sequence[float]) -> float:
    """Return how many decades of learning rates are as good as the best, within `TOLERANCE`.

    losses: at the end, one for each rate, where the loss at the start is 1. A rate is as good if
    it makes all but 1% of the best one's descent. Each stands for the interval around it; a single one
    spans nothing.
    """
    x = np.minimum(losses, 1.0)
    good = x <= x.min() + TOLERANCE * (1 - x.min())
    spacing = (np.log10(rates[-1]) - np.log10(rates[0])) / max(len(rates) - 1, 1)
    return float(good.sum() * spacing)


@claim(
    *("sensitivity", "{me} is less sensitive to the learning rate", "sensitivity"),
    cases="problems",
    criterion=f"a problem supports it if the learning rates that make at least {1 - TOLERANCE:.0%} of the "
    "best one's descent span more decades for {me}",
    says="Good learning rates span more decades for {me}",
    measure="decades of good learning rates, {me} − other",
    threshold=0.0,
    below=False,
)
def less_sensitive(races: Races) -> Found:
    """Compare the decades of good learning rates, on the tuning seeds."""
    me, problems = races.subject, races.problems

    def widths(problem: str, optimizer: str) -> Array:
        race = races.get(problem, optimizer)
        return np.array([width(x, race["learning_rates"]) for x in np.array(race["tuning"]).T])

    cases = [
        Case(
            *(f"than {called(rival)}", LABELS[p]),
            interval(widths(p, me) - widths(p, rival), 1 - 0.05 / len(problems)),
        )
        for rival in ("sgd", "momentum", "rmsprop")
        for p in problems
    ]
    spans = {
        o: float(np.median([widths(p, o).mean() for p in problems]))
        for o in dict.fromkeys((*RIVALS, me))
    }
    listed = ", ".join(f"{called(o)} {span:.1f}" for o, span in spans.items())
    more = f"Median span in decades: {listed}."
    return Found(cases, lambda *_: more, numbers={"spans": spans})


@claim(
    *("speed", "{me} converges much more quickly than SGD", "speed"),
    cases="problems",
    criterion=f"a problem supports it if {{me}} takes less than {MUCH:g} of SGD's steps to the target; "
    "a miss counts as the whole budget, and where SGD misses, nothing is contradicted",
    says="{me} takes less than half of SGD's steps",
    measure="steps to the target / SGD's",
    threshold=MUCH,
)
def more_quickly(races: Races) -> Found:
    """Compare the steps to the target with SGD's; those of momentum, too."""

    def cases(condition: str, optimizer: str, entry: str) -> list[Case]:
        made = []
        for p in races.problems:
            steps, _ = races.steps(p, optimizer, entry)
            others, missed = races.steps(p, "sgd", entry)
            measured = ratio(steps, others, len(races.problems))
            made.append(Case(condition, LABELS[p], measured, bound=missed))
        return made

    me = races.subject
    return Found(
        cases("tuned", me, "fast") + cases("default rates", me, "default"),
        lambda _, rows: f"Momentum, tuned, does so {tally(rows, 'problems')}.",
        cases("momentum, tuned", "momentum", "fast"),
    )


@claim(
    *("memory", "{me} has low memory requirements"),
    *("efficiency", "Kingma & Ba 2015, abstract"),
    cases="cases",
    criterion="a case supports it if {me} keeps no more bytes of state for each parameter",
    says="{me} keeps no more bytes",
    measure="bytes for each parameter, other − {me}",
    threshold=-0.5,
    below=False,
)
def low_memory(races: Races) -> Found:
    """Compare the bytes that are kept beside the parameters."""
    small, large = SIZES
    kept, me = {r["optimizer"]: r["bytes"] for r in races.units("memory")}, races.subject
    of_one = {o: its[str(large)] for o, its in kept.items()}
    matrix = 4.0 * large  # float32: a row of the matrix for each parameter
    compared = [("than first-order rules", called(o), of_one[o]) for o in kept if o != me]
    compared += [("than a full matrix", f"{large:,} parameters", matrix)]
    listed = ", ".join(f"{called(o)} {its:g}" for o, its in of_one.items())
    more = (
        f"Bytes of state for each parameter in float32: {listed}. With {large:,} parameters, a method with a "
        f"full matrix keeps {matrix:,.0f}, where {races.name} keeps {of_one[me]:g}; with {small}, it "
        f"keeps {kept[me][str(small)]:g}."
    )
    return Found(
        [Case(condition, case, exactly(other - of_one[me])) for condition, case, other in compared],
        lambda *_: more,
        numbers={"bytes": of_one},
    )


@claim(
    *("superior", "{me} is the superior choice for most tasks", "superior"),
    cases="problems",
    criterion="a problem supports it if {me} ends lower than the best of SGD, momentum, Nesterov and "
    "RMSprop, which the tuning seeds name",
    says="{me} ends lower than the best of the others",
    measure="loss at the end, {me} / best of the others",
)
def superior(races: Races) -> Found:
    """Compare the loss at the end with the best of the others: tuned, decayed, and at defaults."""
    me, rivals = races.subject, [o for o in RIVALS if o != races.subject]
    cases, against = [], {}
    for condition, decay, entry in (
        ("tuned", False, "tuned"),
        ("tuned, with decay", True, "tuned"),
        ("default rates", False, "default"),
    ):
        for p in races.problems:
            best = against[f"{condition}: {p}"] = races.best(p, rivals, entry, decay=decay)
            mine, other = (races.end(p, o, entry, decay=decay) for o in (me, best))
            cases.append(Case(condition, LABELS[p], ratio(mine, other, len(races.problems))))
    return Found(cases, numbers={"rivals": against})


# ---- of SGD, momentum, RMSprop and learning rates --------------------------------------------------


@claim(
    *("rmsprop", "RMSprop often performs better than SGD or SGD with momentum", "rmsprop"),
    cases="problems",
    criterion="a problem supports it if RMSprop ends lower",
    says="RMSprop ends lower",
    measure="loss at the end, RMSprop / other",
)
def rmsprop_often_better(races: Races) -> Found:
    """Compare the loss at the end, tuned and at the defaults."""
    return Found(
        case
        for rival in ("sgd", "momentum")
        for how, entry in (("tuned", "tuned"), ("default rates", "default"))
        for case in races.lower(
            f"than {called(rival)}, {how}", races.problems, "rmsprop", rival, entry
        )
    )


@claim(
    *("oscillations", "Momentum dampens oscillations in ravines"),
    *("oscillations", "Ruder 2016, arXiv:1609.04747"),
    cases="learning rates",
    criterion="a learning rate at which SGD converges supports it if momentum 0.9 goes a shorter way "
    "across the ravine than SGD, and contradicts it if a longer one",
    says="Momentum swings less than SGD",
    measure="way across, momentum 0.9 / SGD",
)
def dampens_oscillations(races: Races) -> Found:
    """Compare the ways across a ravine, at the same rate and each at its best."""
    ravines = {r["momentum"]: r for r in races.units("ravine")}
    pair = plain, heavy = ravines[0.0], ravines[0.9]
    same = [
        Case("same rate for both", f"{c:g}", exactly(b / a))
        for c, a, b in zip(CURVATURES, plain["travel"], heavy["travel"], strict=True)
        if np.isfinite(a)
    ]
    travel, steps = ([r[key][r["best"]] for r in pair] for key in ("travel", "steps"))
    calm = max((c for c, n in zip(CURVATURES, plain["turns"], strict=True) if not n), default=0)

    def more(rows: Sequence[Any], _: Sequence[Any]) -> str:
        helped = [r["case"] for r in rows[:-1] if r["outcome"] == SUPPORTS]
        return (
            f"In units of one over the curvature, SGD does not swing at rates up to {calm:g}, and "
            f"momentum swings less at {', '.join(helped) or 'none'}. Each at its best, SGD goes "
            f"{travel[0]:.0f} times the distance across and takes {steps[0]:.0f} steps, momentum "
            f"{travel[1]:.0f} times and {steps[1]:.0f} steps."
        )

    tuned = Case("each at its best rate", "tuned", exactly(travel[1] / travel[0]))
    return Found([*same, tuned], more)


@claim(
    *("escape", "SGD escapes local minima", "escape"),
    cases="noises",
    criterion="a noise supports it if of the runs that start in the shallow minimum more than half "
    f"are in the deep one after {WANDER:,} steps, and contradicts it if fewer are",
    says="More than half of the runs get out",
    measure="share of the runs that end in the deep minimum",
    threshold=0.5,
    below=False,
)
def escapes_local_minima(races: Races) -> Found:
    """Count the runs of SGD with noisy gradients that end in the deep minimum."""
    units = races.units("escape")
    level = 1 - 0.05 / (len(units) * (len(NOISES) - 1))
    cases, lost = [], {}
    for unit in units:
        rate, runs = f"rate {unit['learning_rate']:g}", unit["runs"]
        for noise, escaped, other in zip(NOISES, unit["escaped"], unit["lost"], strict=True):
            if noise:
                cases.append(Case(rate, f"noise {noise:g}", binomial(escaped, runs, level)))
                lost[f"{rate}, noise {noise:g}"] = other / runs

    def more(*_: Sequence[Any]) -> str:
        best = max(cases, key=lambda case: case.measured[0])
        silent, of = (sum(u["escaped"][0] for u in units), sum(u["runs"] for u in units))
        return (
            f"Without noise, {silent} of {of:,} do. Most do at {best.condition}, {best.case}: "
            f"{best.measured[0]:.0%}; there {lost[f'{best.condition}, {best.case}']:.0%} of "
            "the runs that start in the deep minimum end in the shallow one."
        )

    return Found(cases, more, numbers={"lost": lost})


@claim(
    *("decay", "The learning rate often needs to be decreased", "decay"),
    cases="races",
    criterion="a race supports it if a learning rate that falls linearly to zero ends lower than a "
    "constant one",
    says="Decay ends lower",
    measure="loss at the end, decayed / constant",
)
def rate_needs_decrease(races: Races) -> Found:
    """Compare a decayed learning rate with a constant one, both tuned."""
    optimizers = ("sgd", "momentum", "adam")

    def cases(condition: str, exact: bool) -> list[Case]:
        problems = [p for p in races.problems if PROBLEMS[p].exact is exact]
        among = len(problems) * len(optimizers)
        return [
            Case(
                *(condition, f"{LABELS[p]}: {called(o)}"),
                ratio(races.end(p, o, decay=True), races.end(p, o), among),
            )
            for p in problems
            for o in optimizers
        ]

    (floor,) = races.units("floor")
    slope, low, high = interval(
        np.polyfit(np.log10(FLOOR_RATES), np.log10(floor["constant"]), 1)[0]
    )
    return Found(
        cases("gradients of batches", False) + cases("exact gradients", True),
        lambda *_: (
            "At a constant rate, the loss at which SGD on the line comes to rest is proportional to the "
            f"learning rate to the power {slope:.2f} ({low:.2f} to {high:.2f})."
        ),
        numbers={"slope": [slope, low, high]},
    )
