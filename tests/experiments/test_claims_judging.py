"""How claims are judged, from numbers to verdicts."""

import numpy as np
import pytest

from ravine.experiments.claims.judging import (
    ALIKE,
    CONTRADICTS,
    DEPENDS,
    EVERY,
    FAILS,
    HOLDS,
    MOST,
    SUPPORTS,
    UNDECIDED,
    binomial,
    combine,
    decide,
    interval,
    judge,
    row,
)


@pytest.mark.parametrize(
    ("counts", "most", "every"),
    [
        ((8, 0, 0), HOLDS, HOLDS),
        ((5, 3, 0), HOLDS, DEPENDS),
        ((5, 0, 3), HOLDS, HOLDS),
        ((4, 4, 0), DEPENDS, DEPENDS),
        ((4, 0, 4), DEPENDS, ALIKE),
        ((3, 0, 5), ALIKE, ALIKE),
        ((0, 8, 0), FAILS, FAILS),
        ((0, 1, 7), ALIKE, FAILS),
        ((1, 1, 6), ALIKE, DEPENDS),
        ((0, 0, 8), ALIKE, ALIKE),
    ],
)
def test_decide(counts, most, every):
    kinds = (SUPPORTS, CONTRADICTS, UNDECIDED)
    rows = [{"outcome": o} for o, n in zip(kinds, counts, strict=True) for _ in range(n)]
    assert decide(rows, MOST) == most
    assert decide(rows, EVERY) == every


@pytest.mark.parametrize(
    ("found", "most", "every"),
    [
        ([HOLDS, HOLDS], HOLDS, HOLDS),
        ([ALIKE], ALIKE, ALIKE),
        ([HOLDS, FAILS], DEPENDS, DEPENDS),
        ([HOLDS, ALIKE], DEPENDS, DEPENDS),
        ([ALIKE, FAILS], FAILS, FAILS),
        ([DEPENDS, FAILS], FAILS, DEPENDS),
        ([DEPENDS, ALIKE], DEPENDS, DEPENDS),
        ([DEPENDS, FAILS, HOLDS], DEPENDS, DEPENDS),
    ],
)
def test_combine(found, most, every):
    for order in (found, found[::-1]):
        assert combine(order, MOST) == most
        assert combine(order, EVERY) == every


@pytest.mark.parametrize(
    ("low", "high", "below", "above"),
    [
        (0.1, 0.4, SUPPORTS, CONTRADICTS),
        (0.6, 0.9, CONTRADICTS, SUPPORTS),
        (0.4, 0.6, UNDECIDED, UNDECIDED),
        (0.5, 0.5, UNDECIDED, UNDECIDED),
        (0.5, 0.9, UNDECIDED, UNDECIDED),
    ],
)
def test_row(low, high, below, above):
    measured = ((low + high) / 2, low, high)
    assert row("c", "x", measured, 0.5, below=True)["outcome"] == below
    assert row("c", "x", measured, 0.5, below=False)["outcome"] == above
    bounded = row("c", "x", measured, 0.5, below=True, bound=True)["outcome"]
    assert bounded == (UNDECIDED if below == CONTRADICTS else below)


def test_contrast_does_not_count():
    def judged(contrast):
        return judge(
            "n",
            "claim",
            "source",
            rows=[row("c", "x", (2, 2, 2), 1, below=False)],
            contrast=contrast,
            quantifier=MOST,
            cases="cases",
            criterion="",
            says="It does so",
            measure="",
            threshold=1,
        )

    against = [row("d", "x", (0, 0, 0), 1, below=False)] * 9
    assert judged([])["verdict"] == judged(against)["verdict"] == HOLDS
    assert judged([])["sentence"] == "It does so in 1 of 1 case."


def test_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(2.0, 1.0, size=(150, 20))
    for level, least, most in ((0.95, 0.88, 0.97), (0.5, 0.4, 0.56)):
        found = [interval(x, level) for x in draws]
        covered = np.mean([low <= 2.0 <= high for _, low, high in found])
        assert least < covered < most
    assert interval([3.0] * 5) == (3.0, 3.0, 3.0)


def test_binomial_is_wilson_s():
    share, low, high = binomial(5, 10)
    assert (share, round(low, 4), round(high, 4)) == (0.5, 0.2366, 0.7634)
    assert binomial(0, 10)[:2] == pytest.approx((0, 0))
    assert round(binomial(0, 10)[2], 4) == 0.2775
    assert binomial(10, 10)[2] == pytest.approx(1)
    assert binomial(5, 10, 0.999)[1] < low
