"""What is said of situations: humps, saddles, vanishing gradients, rare features, the time of a step."""

from __future__ import annotations

import numpy as np

from ravine.experiments.claims.judging import Case, Found, binomial, claim, exactly, ratio
from ravine.experiments.claims.races import Races
from ravine.experiments.claims.units import DISTANCES, LABELS, RIVALS, SHARE_OF_LIMIT, UNCORRECTED
from ravine.experiments.problems import FEW
from ravine.experiments.racers import called

MUCH_FASTER, HARDLY_LONGER = 0.5, 1.1
"""A step that takes less than the first share of the time is much faster; a training step that takes less
than the second one takes hardly longer."""


@claim(
    *("humps", "Momentum does not get stuck in small local minima", "humps", "distill"),
    cases="cases",
    criterion="a height of the humps and a learning rate, in units of one over the largest curvature, "
    "support it if more than half of the runs that SGD leaves in a dent reach the lowest one with "
    "momentum 0.9, and contradict it if fewer do",
    says="Of the runs in which SGD gets stuck, momentum gets more than half through",
    measure="share of the runs that momentum gets through",
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
        lambda *_: f"SGD alone passes humps of {low}." if low else "",
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
    says="A rare parameter moves further per gradient",
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
            "This need not pay off: on least squares with equally rare features, all tuned, RMSprop ends "
            f"lower than SGD in {paid[0]} of {len(problems)} problems, and than momentum in {paid[1]}."
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
    criterion=f"a case supports it if Adam's step takes less than {MUCH_FASTER:g} of the other's time",
    says="Adam's step takes less than half of the time",
    measure="time of a step, Adam / other",
    threshold=MUCH_FASTER,
)
def speed_of_a_step(races: Races) -> Found:
    """Compare the times of steps."""
    return Found(
        races.times(beside=False),
        lambda *_: "These are the compiled steps of ravine.numpy, timed in turns.",
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
