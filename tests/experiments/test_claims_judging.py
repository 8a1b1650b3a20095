"""How claims are judged, from numbers to verdicts."""

import numpy as np
import pytest

from ravine.experiments.claims.judging import (
    ALIKE,
    CONTRADICTS,
    DEPENDS,
    FAILS,
    HOLDS,
    SUPPORTS,
    UNDECIDED,
    binomial,
    decide,
    interval,
    judge,
    row,
)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((8, 0, 0), HOLDS),
        ((6, 2, 0), HOLDS),
        ((6, 0, 2), HOLDS),
        ((5, 3, 0), DEPENDS),
        ((5, 0, 3), DEPENDS),
        ((2, 6, 0), FAILS),
        ((2, 5, 1), DEPENDS),
        ((1, 1, 6), ALIKE),
        ((0, 0, 8), ALIKE),
        ((2, 38, 0), FAILS),
        ((4, 10, 10), DEPENDS),
    ],
)
def test_decide(counts, verdict):
    kinds = (SUPPORTS, CONTRADICTS, UNDECIDED)
    rows = [{"outcome": o} for o, n in zip(kinds, counts, strict=True) for _ in range(n)]
    assert decide(rows) == verdict


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
