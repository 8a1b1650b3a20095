"""What is claimed of Adam, and can be tried on any optimizer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ravine.experiments.claims.judging import (
    CONTRADICTS,
    Claim,
    Row,
    interval,
    judge,
    row,
    tally,
)
from ravine.experiments.claims.races import Races, ratio
from ravine.experiments.claims.units import LABELS, RIVALS, SIZES
from ravine.experiments.grids import Array
from ravine.experiments.quotations import quotation
from ravine.experiments.racers import called

TOLERANCE = 0.01
"""A learning rate is as good as the best if it loses at most this share of the descent."""

MUCH = 0.5
""""Much more quickly" is in less than this share of the steps."""

HARDLY = 0.9
"""Clipping that leaves more than this share of the loss hardly helps."""


def needs_no_clipping(races: Races) -> Claim:
    """Judge whether clipping leaves Adam's result as it is, learning rates tuned with and without."""
    problems = races.with_spikes

    def rows(optimizer: str) -> list[Row]:
        return [
            row(
                called(optimizer),
                LABELS[p],
                ratio(
                    races.end(p, optimizer, "tuned", clip=True),
                    races.end(p, optimizer, "tuned"),
                    len(problems),
                ),
                HARDLY,
                False,
            )
            for p in problems
        ]

    adam, sgd = rows(races.subject), rows("sgd")
    helped = [sum(r["outcome"] == CONTRADICTS for r in of) for of in (adam, sgd)]
    return judge(
        "clipping",
        f"{races.name} needs no gradient clipping",
        str(quotation("clipping")),
        rows=adam,
        contrast=sgd,
        cases="problems",
        criterion=(
            "a problem supports it if clipping each coordinate at 1 leaves more than "
            f"{HARDLY:.0%} of the loss at the end, and contradicts it if it leaves less"
        ),
        says=f"Clipping hardly helps {races.name}",
        more=f"It helps {races.name} on {helped[0]} of the {len(problems)}, and SGD on {helped[1]}.",
        measure="loss at the end, clipped / not clipped",
        threshold=HARDLY,
    )


def width(losses: Sequence[float], rates: Sequence[float]) -> float:
    """Return how many decades of learning rates are as good as the best, within `TOLERANCE`.

    losses: at the end, one for each rate, where the loss at the start is 1. A rate is as good if
    it makes all but 1% of the best one's descent. Each stands for the interval around it.
    """
    x = np.minimum(losses, 1.0)
    good = x <= x.min() + TOLERANCE * (1 - x.min())
    spacing = (np.log10(rates[-1]) - np.log10(rates[0])) / (len(rates) - 1)
    return float(good.sum() * spacing)


def less_sensitive(races: Races) -> Claim:
    """Judge whether the good learning rates span more decades for Adam than for the others."""
    me, rivals = races.subject, ("sgd", "momentum", "rmsprop")

    def widths(problem: str, optimizer: str) -> Array:
        race = races.get(problem, optimizer)
        seeds = np.array(race["tuning"]).T
        return np.array([width(losses, race["learning_rates"]) for losses in seeds])

    rows = [
        row(
            f"than {called(rival)}",
            LABELS[p],
            interval(widths(p, me) - widths(p, rival), 1 - 0.05 / len(races.problems)),
            0.0,
            False,
        )
        for rival in rivals
        for p in races.problems
    ]
    spans = {
        o: float(np.median([widths(p, o).mean() for p in races.problems]))
        for o in dict.fromkeys((*RIVALS, me))
    }
    listed = ", ".join(f"{called(o)} {span:.1f}" for o, span in spans.items())
    return judge(
        "sensitivity",
        f"{races.name} is less sensitive to the learning rate",
        str(quotation("sensitivity")),
        rows=rows,
        cases="problems",
        criterion=(
            "a problem supports it if the learning rates that make at least "
            f"{1 - TOLERANCE:.0%} of the best one's descent span more decades for {races.name}"
        ),
        says=f"Good learning rates span more decades for {races.name}",
        more=f"Median span in decades: {listed}.",
        measure=f"decades of good learning rates, {races.name} − other",
        threshold=0.0,
        spans=spans,
    )


def more_quickly(races: Races) -> Claim:
    """Judge whether Adam reaches the target in less than half of SGD's steps."""

    def rows(condition: str, optimizer: str, entry: str) -> list[Row]:
        made = []
        for p in races.problems:
            steps, _ = races.steps(p, optimizer, entry)
            others, missed = races.steps(p, "sgd", entry)
            measured = ratio(steps, others, len(races.problems))
            made.append(row(condition, LABELS[p], measured, MUCH, True, bound=missed))
        return made

    me, contrast = races.subject, rows("momentum, tuned", "momentum", "fast")
    return judge(
        "speed",
        f"{races.name} converges much more quickly than SGD",
        str(quotation("speed")),
        rows=rows("tuned", me, "fast") + rows("default rates", me, "default"),
        contrast=contrast,
        cases="problems",
        criterion=(
            f"a problem supports it if {races.name} takes less than {MUCH:g} of SGD's steps to the target; "
            "a miss counts as the whole budget, and where SGD misses, nothing is contradicted"
        ),
        says=f"{races.name} takes less than half of SGD's steps",
        more=f"Momentum, tuned, does so {tally(contrast, 'problems')}.",
        measure="steps to the target / SGD's",
        threshold=MUCH,
    )


def low_memory(races: Races) -> Claim:
    """Judge whether Adam keeps no more beside the parameters than what it is compared with."""
    kept, me = {r["optimizer"]: r["bytes"] for r in races.units("memory")}, races.subject
    one, large = "each parameter", max(SIZES)
    mine = kept[me][str(large)]
    matrix = 4.0 * large  # float32: a row of the matrix for each parameter
    compared = [("than first-order rules", called(o), kept[o][str(large)]) for o in kept if o != me]
    compared += [("than a full matrix", f"{large:,} parameters", matrix)]
    rows = [
        row(condition, case, (other - mine,) * 3, -0.5, False)
        for condition, case, other in compared
    ]
    listed = ", ".join(f"{called(o)} {kept[o][str(large)]:g}" for o in kept)
    return judge(
        "memory",
        f"{races.name} has low memory requirements",
        f"{quotation('efficiency')}; Kingma & Ba 2015, abstract",
        rows=rows,
        cases="cases",
        criterion=f"a case supports it if {races.name} keeps no more bytes of state for {one}",
        says=f"{races.name} keeps no more bytes",
        more=(
            f"Bytes kept for {one} in float32: {listed}; a method with a full matrix, {matrix:,.0f} "
            f"at {large:,} parameters, where {races.name} has {mine:g}, as with {min(SIZES)} "
            f"({kept[me][str(min(SIZES))]:g})."
        ),
        measure=f"bytes for each parameter, other − {races.name}",
        threshold=0.0,
        bytes={o: kept[o][str(large)] for o in kept},
    )


def superior(races: Races) -> Claim:
    """Judge whether Adam ends lower than the best of the others, tuned, decayed, and at defaults."""
    me, rivals = races.subject, [o for o in RIVALS if o != races.subject]
    rows, against = [], {}
    for condition, decay, entry in (
        ("tuned", False, "tuned"),
        ("tuned, with decay", True, "tuned"),
        ("default rates", False, "default"),
    ):
        for p in races.problems:
            # The tuning seeds choose the rival as well: nobody is picked for luck on the others.
            on_tuning = {o: races.get(p, o, decay=decay)[entry]["tuning_loss"] for o in rivals}
            best = min(rivals, key=on_tuning.__getitem__)
            against[f"{condition}: {p}"] = best
            measured = ratio(
                races.end(p, me, entry, decay=decay),
                races.end(p, best, entry, decay=decay),
                len(races.problems),
            )
            rows.append(row(condition, LABELS[p], measured, 1.0, True))
    return judge(
        "superior",
        f"{races.name} is the superior choice for most tasks",
        str(quotation("superior")),
        rows=rows,
        cases="problems",
        criterion=(
            f"a problem supports it if {races.name} ends lower than the best of SGD, momentum, Nesterov "
            "and RMSprop, which the tuning seeds name"
        ),
        says=f"{races.name} ends lower than the best of the others",
        measure=f"loss at the end, {races.name} / best of the others",
        threshold=1.0,
        rivals=against,
    )
