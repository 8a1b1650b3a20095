"""What is said of optimizers: each claim with what counts for it, and the function that finds its cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ravine.experiments.claims.judging import (
    CONTRADICTS,
    SUPPORTS,
    Case,
    Claim,
    Found,
    Measured,
    binomial,
    interval,
    ratio,
    tally,
)
from ravine.experiments.claims.races import Races
from ravine.experiments.claims.units import (
    CURVATURES,
    DISTANCES,
    FLOOR_RATES,
    LABELS,
    NOISES,
    RIVALS,
    SHARE_OF_LIMIT,
    SIZES,
    UNCORRECTED,
    WANDER,
)
from ravine.experiments.problems import FEW, PROBLEMS, Array
from ravine.experiments.racers import called

TOLERANCE = 0.01
"""A learning rate is as good as the best if it loses at most this share of the descent."""

MUCH = 0.5
""""Much more quickly" is in less than this share of the steps; so is a much faster step, of the time."""

HARDLY, HARDLY_LONGER = 0.9, 1.1
"""Clipping that leaves more than the first share of the loss hardly helps; a training step takes hardly
longer that takes less than the second share of the time."""

OF_ADAM: list[Claim] = []
"""What is claimed of Adam, and can be tried on any optimizer."""

CLAIMS: list[Claim] = []


def claim(*texts: str, **given: Any) -> Callable[[Callable[[Races], Found]], Claim]:
    """Make a claim of a function that finds its cases; see :class:`Claim`."""

    def made(find: Callable[[Races], Found]) -> Claim:
        name, sentence, *quotes = texts
        found = Claim(name, sentence, tuple(quotes), find=find, **given)
        CLAIMS.append(found)
        if "{me}" in sentence:
            OF_ADAM.append(found)
        return found

    return made


def exactly(value: float) -> Measured:
    """A number without an interval."""
    return value, value, value


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
        f"Bytes kept for each parameter in float32: {listed}; a method with a full matrix, {matrix:,.0f} "
        f"at {large:,} parameters, where {races.name} has {of_one[me]:g}, as with {small} "
        f"({kept[me][str(small)]:g})."
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
            f"Without noise {silent} of {of:,} do. The most do at {best.condition}, {best.case}: "
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
            "At a constant rate SGD on the line comes to rest at a loss that goes like the learning "
            f"rate to the power {slope:.2f} ({low:.2f} to {high:.2f})."
        ),
        numbers={"slope": [slope, low, high]},
    )


# ---- of situations -----------------------------------------------------------------------------------


@claim(
    *("humps", "Momentum does not get stuck in small local minima", "humps", "distill"),
    cases="cases",
    criterion="a height of the humps and a learning rate, in units of one over the largest curvature, "
    "support it if more than half of the runs that SGD leaves in a dent reach the lowest one with "
    "momentum 0.9, and contradict it if fewer do",
    says="More than half of the runs that stop SGD are taken through by momentum",
    measure="share of the runs that momentum takes through",
    threshold=0.5,
    below=False,
)
def rolls_through_humps(races: Races) -> Found:
    """Count the runs that humps stop with SGD, and not with momentum."""
    units = races.units("humps")
    counts = [
        (f"rate {c:g}", f"humps {u['height']:g}", freed, stuck)
        for u in units
        for c, stuck, freed in zip(SHARE_OF_LIMIT, u["stuck"], u["freed"], strict=True)
        if stuck
    ]
    level = 1 - 0.05 / max(len(counts), 1)
    low = ", ".join(f"{u['height']:g}" for u in units if not any(u["stuck"]))
    return Found(
        [Case(rate, humps, binomial(n, of, level)) for rate, humps, n, of in counts],
        lambda *_: f"SGD passes humps of {low} itself." if low else "",
    )


@claim(
    *("saddles", "Momentum does not get stuck at saddle points", "humps"),
    cases="starts",
    criterion="a start supports it if momentum 0.9 is away from the saddle in fewer steps than SGD at the "
    "same learning rate; where neither gets away, nothing is decided",
    says="Momentum gets away sooner",
    measure="steps to get away, momentum 0.9 / SGD",
)
def leaves_saddles(races: Races) -> Found:
    """Compare the steps that it takes to get away from a saddle."""
    return Found(
        [
            Case(
                *(f"rate {u['learning_rate']:g}", f"{distance:g} from the ridge"),
                exactly(1.0 if np.isinf(plain) and np.isinf(heavy) else heavy / plain),
            )
            for u in races.units("saddle")
            for distance, plain, heavy in zip(
                DISTANCES, u["steps"]["sgd"], u["steps"]["momentum"], strict=True
            )
        ],
        lambda *_: "Exactly on the ridge, neither gets away.",
    )


@claim(
    *("vanishing", "RMSprop mitigates vanishing gradients", "vanishing"),
    cases="depths",
    criterion="a depth supports it if RMSprop ends lower, all tuned",
    says="RMSprop ends lower",
    measure="loss at the end, RMSprop / other",
)
def mitigates_vanishing(races: Races) -> Found:
    """Compare the loss at the end of deep networks of sigmoids."""
    shrinks = {u["depth"]: u["shrinks"] for u in races.units("shrinking")}
    shallow, deep = min(shrinks), max(shrinks)
    return Found(
        [
            case
            for rival in ("sgd", "momentum")
            for case in races.lower(
                f"than {called(rival)}", races.of("vanishing"), "rmsprop", rival
            )
        ],
        lambda *_: (
            f"The first layer's gradient is {shrinks[shallow]:.2g} of the last one's with {shallow} hidden "
            f"layer, {shrinks[deep]:.1g} with {deep}."
        ),
    )


@claim(
    *("sparse", "RMSprop takes longer steps for rare features", "infrequent"),
    cases="shares",
    criterion="a share of the steps in which a parameter has a gradient supports it if the parameter goes "
    "further for each gradient than one that has a gradient in every step",
    says="It goes further for each gradient",
    measure="way for each gradient, rare / frequent",
    below=False,
)
def helps_rare_features(races: Races) -> Found:
    """Compare the way for each gradient; and say whether it pays."""
    problems = races.of("sparse")
    paid = [
        sum(case.measured[2] < 1 for case in races.lower("", problems, "rmsprop", rival))
        for rival in ("sgd", "momentum")
    ]
    return Found(
        [
            Case("RMSprop", f"share {u['rarest']:g}", exactly(u["effective"]))
            for u in races.units("rare")
        ],
        lambda *_: (
            "It need not pay: on least squares with features as rare, all tuned, RMSprop ends lower than "
            f"SGD in {paid[0]} of {len(problems)} problems, and than momentum in {paid[1]}."
        ),
    )


@claim(
    *("drift", "Adam is particularly effective with noise and non-stationary objectives"),
    "non-stationary",
    cases="problems",
    criterion="a noise, or a speed of the minimum, supports it if Adam ends lower than the best of SGD, "
    "momentum, Nesterov and RMSprop, all tuned, which the tuning seeds name",
    says="Adam ends lower than the best of the others",
    measure="loss, Adam / best of the others",
)
def effective_in_noise_and_drift(races: Races) -> Found:
    """Compare the loss with the best of the others, under noise and under drift."""
    return Found(
        [
            Case(
                *(condition, LABELS[p]),
                ratio(
                    races.end(p, "adam"), races.end(p, races.best(p, RIVALS)), len(races.of(kind))
                ),
            )
            for condition, kind in (("a minimum that moves", "drift"), ("noisy gradients", "noise"))
            for p in races.of(kind)
        ],
        lambda *_: "Very large data sets were not tried.",
    )


@claim(
    *("bias-correction", "Bias correction brings faster initial progress", "bias-correction"),
    cases="problems",
    criterion=f"a problem supports it if after {FEW} steps Adam is lower with the correction than without it",
    says="Adam is lower with bias correction",
    measure=f"loss after {FEW} steps, with / without",
)
def correction_helps_early(races: Races) -> Found:
    """Compare Adam with and without bias correction, after a few steps."""
    return Found(
        [
            case
            for condition, entry in (("default rate", "default"), ("each tuned", "tuned"))
            for case in races.lower(condition, races.of("first steps"), "adam", UNCORRECTED, entry)
        ],
        lambda *_: "Without it, the first step is 3.16 times as long as the learning rate.",
    )


@claim(
    *("time", "Adam and the others differ staggeringly in speed", "staggering"),
    cases="cases",
    criterion=f"a case supports it if Adam's step takes less than {MUCH:g} of the other's time",
    says="Adam's step takes less than half of the time",
    measure="time of a step, Adam / other",
    threshold=MUCH,
)
def speed_of_a_step(races: Races) -> Found:
    """Compare the times of steps."""
    return Found(
        races.times(beside=False),
        lambda *_: "The steps are the compiled ones of ravine.numpy, timed in turns.",
    )


@claim(
    *("efficiency", "Adam is computationally efficient", "efficiency"),
    cases="cases",
    criterion="a case supports it if the gradient of a batch of 64 and a step of Adam take less than "
    f"{HARDLY_LONGER:g} times as long as the gradient and a step of the other",
    says="A training step with Adam takes hardly longer",
    measure="time of gradient and step, Adam / other",
    threshold=HARDLY_LONGER,
)
def computationally_efficient(races: Races) -> Found:
    """Compare the times of training steps."""
    return Found(races.times(beside=True))
