"""What is claimed about situations: humps, saddles, vanishing gradients, rare features, and others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ravine.experiments.claims.judging import SUPPORTS, Claim, Row, binomial, judge, row
from ravine.experiments.claims.races import Races, ratio
from ravine.experiments.claims.situations import DISTANCES, SHARE_OF_LIMIT
from ravine.experiments.claims.units import LABELS
from ravine.experiments.grids import Array, logs
from ravine.experiments.quotations import quotation
from ravine.experiments.racers import called

MOST_OF_A_STEP = 1.1
"""A training step costs hardly more if it takes less than this many times as long."""

MUCH_FASTER = 0.5
"""A step is much faster if it takes less than this share of the time."""

Unit = Mapping[str, Any]


def _lower(unit: Unit, me: str, rival: str, condition: str, case: str, among: int) -> Row:
    """Make a row: whether one optimizer ends lower than another, both tuned."""
    mine, other = (logs(unit["tuned"][name]["losses"]) for name in (me, rival))
    return row(condition, case, ratio(mine, other, among), 1.0, True)


def rolls_through_humps(races: Races) -> Claim:
    """Judge whether momentum takes most runs through the humps that stop SGD."""
    units = races.units("humps")
    cases = [
        (f"rate {c:g}", f"humps {u['height']:g}", freed, stuck)
        for u in units
        for c, stuck, freed in zip(SHARE_OF_LIMIT, u["stuck"], u["freed"], strict=True)
        if stuck
    ]
    level = 1 - 0.05 / max(len(cases), 1)
    low = [u["height"] for u in units if not any(u["stuck"])]
    passed = f"SGD passes humps of {', '.join(f'{h:g}' for h in low)} itself." if low else ""
    return judge(
        "humps",
        "Momentum does not get stuck in small local minima",
        f"{quotation('humps')}; {quotation('distill')}",
        rows=[row(c, case, binomial(n, of, level), 0.5, False) for c, case, n, of in cases],
        cases="cases",
        criterion=(
            "a height of the humps and a learning rate, in units of one over the largest curvature, support "
            "it if more than half of the runs that SGD leaves in a dent reach the lowest one with "
            "momentum 0.9, and contradict it if fewer do"
        ),
        says="More than half of the runs that stop SGD are taken through by momentum",
        more=passed,
        measure="share of the runs that momentum takes through",
        threshold=0.5,
    )


def leaves_saddles(races: Races) -> Claim:
    """Judge whether momentum gets away from a saddle in fewer steps than SGD."""
    rows = []
    for u in races.units("saddle"):
        for distance, plain, heavy in zip(
            DISTANCES, u["steps"]["sgd"], u["steps"]["momentum"], strict=True
        ):
            both = np.isinf(plain) and np.isinf(heavy)
            measured = 1.0 if both else float(heavy) / float(plain)
            case = f"{distance:g} from the ridge"
            rows.append(row(f"rate {u['learning_rate']:g}", case, (measured,) * 3, 1.0, True))
    return judge(
        "saddles",
        "Momentum does not get stuck at saddle points",
        str(quotation("humps")),
        rows=rows,
        cases="starts",
        criterion=(
            "a start supports it if momentum 0.9 is away from the saddle in fewer steps than SGD at the "
            "same learning rate; where neither gets away, nothing is decided"
        ),
        says="Momentum gets away sooner",
        more="Exactly on the ridge, neither gets away.",
        measure="steps to get away, momentum 0.9 / SGD",
        threshold=1.0,
    )


def mitigates_vanishing(races: Races) -> Claim:
    """Judge whether RMSprop trains deep networks of sigmoids lower than SGD and momentum."""
    units = races.units("vanishing")
    rows = [
        _lower(
            *(u, "rmsprop", rival, f"than {called(rival)}"),
            *(f"{u['depth']} hidden layer{'s' * (u['depth'] > 1)}", len(units)),
        )
        for rival in ("sgd", "momentum")
        for u in units
    ]
    shallow, deep = (min(units, key=_depth), max(units, key=_depth))
    return judge(
        "vanishing",
        "RMSprop mitigates vanishing gradients",
        str(quotation("vanishing")),
        rows=rows,
        cases="depths",
        criterion="a depth supports it if RMSprop ends lower, all tuned",
        says="RMSprop ends lower",
        more=(
            f"The first layer's gradient is {shallow['shrinks']:.2g} of the last one's with "
            f"{shallow['depth']} hidden layer, {deep['shrinks']:.1g} with {deep['depth']}."
        ),
        measure="loss at the end, RMSprop / other",
        threshold=1.0,
    )


def _depth(unit: Unit) -> int:
    depth: int = unit["depth"]
    return depth


def helps_rare_features(races: Races) -> Claim:
    """Judge whether RMSprop takes longer steps for features that are rare."""
    units = races.units("sparse")
    rows = [
        row("RMSprop", f"share {u['rarest']:g}", (u["effective"],) * 3, 1.0, False) for u in units
    ]
    paid = {
        rival: sum(
            _lower(u, "rmsprop", rival, "", "", len(units))["outcome"] == SUPPORTS for u in units
        )
        for rival in ("sgd", "momentum")
    }
    return judge(
        "sparse",
        "RMSprop takes longer steps for rare features",
        str(quotation("infrequent")),
        rows=rows,
        cases="shares",
        criterion=(
            "a share of the steps in which a parameter has a gradient supports it if the parameter goes "
            "further for each gradient than one that has a gradient in every step"
        ),
        says="It goes further for each gradient",
        more=(
            f"It need not pay: on least squares with features as rare, all tuned, RMSprop ends lower "
            f"than SGD in {paid['sgd']} of {len(units)} problems, and than momentum in {paid['momentum']}."
        ),
        measure="way for each gradient, rare / frequent",
        threshold=1.0,
    )


def effective_in_noise_and_drift(races: Races) -> Claim:
    """Judge whether Adam ends lower than the best of the others under noise, and under drift."""
    rows = []
    for kind, of, name in (
        ("a minimum that moves", "speed", "speed {:g}"),
        ("noisy gradients", "noise", "noise {:g}"),
    ):
        units = [u for u in races.units("drift") if bool(u["speed"]) == (of == "speed")]
        for u in units:
            rivals = [n for n in u["tuned"] if n != "adam"]
            best = min(rivals, key=lambda n, u=u: u["tuned"][n]["tuning_loss"])  # type: ignore[misc]
            rows.append(_lower(u, "adam", best, kind, name.format(u[of]), len(units)))
    return judge(
        "drift",
        "Adam is particularly effective with noise and non-stationary objectives",
        str(quotation("non-stationary")),
        rows=rows,
        cases="problems",
        criterion=(
            "a noise, or a speed of the minimum, supports it if Adam ends lower than the best of SGD, "
            "momentum, Nesterov and RMSprop, all tuned, which the tuning seeds name"
        ),
        says="Adam ends lower than the best of the others",
        more="Very large data sets were not tried.",
        measure="loss, Adam / best of the others",
        threshold=1.0,
    )


def correction_helps_early(races: Races) -> Claim:
    """Judge whether Adam is lower with bias correction than without, after a few steps."""
    units, rows = races.units("first steps"), []
    for u in units:
        label = LABELS[u["problem"]]
        with_it, without = (logs(u["same"][name]) for name in ("adam", "uncorrected"))
        rows.append(row("default rate", label, ratio(with_it, without, len(units)), 1.0, True))
    for u in units:
        args = ("each tuned", LABELS[u["problem"]], len(units))
        rows.append(_lower(u, "adam", "uncorrected", *args))
    return judge(
        "bias-correction",
        "Bias correction brings faster initial progress",
        str(quotation("bias-correction")),
        rows=rows,
        cases="problems",
        criterion=(
            f"a problem supports it if after {units[0]['steps']} steps Adam is lower with the correction "
            "than without it"
        ),
        says="Adam is lower with bias correction",
        more="Without it, the first step is 3.16 times as long as the learning rate.",
        measure=f"loss after {units[0]['steps']} steps, with / without",
        threshold=1.0,
    )


def _times(races: Races, beside: bool) -> list[tuple[str, str, tuple[float, float, float]]]:
    """Compare the time of Adam's step with the others', alone or beside a gradient."""
    units, made = races.units("step time"), []
    for u in units:
        extra: Array = np.array(u["gradient_us"]) * beside
        us = {name: np.log10(np.array(taken) + extra) for name, taken in u["us"].items()}
        for name in us:
            if name != "adam":
                among = len(units) * (len(us) - 1)
                measured = ratio(us["adam"], us[name], among)
                made.append((f"than {called(name)}", f"{794 * u['hidden']:,} parameters", measured))
    return sorted(made, key=lambda case: case[0])


def speed_of_a_step(races: Races) -> Claim:
    """Judge whether a step of Adam takes much less time than one of the others."""
    return judge(
        "time",
        "Adam and the others differ staggeringly in speed",
        str(quotation("staggering")),
        rows=[row(*case, MUCH_FASTER, True) for case in _times(races, beside=False)],
        cases="cases",
        criterion=f"a case supports it if Adam's step takes less than {MUCH_FASTER:g} of the other's time",
        says="Adam's step takes less than half of the time",
        more="The steps are the compiled ones of ravine.numpy, timed in turns.",
        measure="time of a step, Adam / other",
        threshold=MUCH_FASTER,
    )


def computationally_efficient(races: Races) -> Claim:
    """Judge whether training steps with Adam take hardly longer than with the others."""
    return judge(
        "efficiency",
        "Adam is computationally efficient",
        str(quotation("efficiency")),
        rows=[row(*case, MOST_OF_A_STEP, True) for case in _times(races, beside=True)],
        cases="cases",
        criterion=(
            "a case supports it if the gradient of a batch of 64 and a step of Adam take less than "
            f"{MOST_OF_A_STEP:g} times as long as the gradient and a step of the other"
        ),
        says="A training step with Adam takes hardly longer",
        measure="time of gradient and step, Adam / other",
        threshold=MOST_OF_A_STEP,
    )


FURTHER = (
    rolls_through_humps,
    leaves_saddles,
    mitigates_vanishing,
    helps_rare_features,
    effective_in_noise_and_drift,
    correction_helps_early,
    speed_of_a_step,
    computationally_efficient,
)
