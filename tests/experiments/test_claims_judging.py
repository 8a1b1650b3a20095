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
    Case,
    Claim,
    Found,
    binomial,
    decide,
    interval,
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


def test_nothing_measured_decides_nothing():
    with pytest.raises(ValueError, match="rows is empty"):
        decide([])


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


class Nothing:
    """Races of nobody."""

    name = "Adam"


def judged(cases, contrast=(), **given):
    texts = {"cases": "cases", "criterion": "", "measure": "", "says": "{me} does so"}
    find = lambda _: Found(cases, lambda rows, other: f"{len(rows)} and {len(other)}.", contrast)  # noqa: E731
    made = Claim(
        "n", "a claim", ("speed", "Somebody 2020, page 3"), find=find, **{**texts, **given}
    )
    return made.judge(Nothing())


def test_contrast_does_not_count():
    cases, against = [Case("c", "x", (2, 2, 2))], [Case("d", "x", (0, 0, 0))] * 9
    for contrast in ([], against):
        found = judged(cases, contrast, below=False)
        assert found["verdict"] == HOLDS
        assert found["sentence"] == f"Adam does so in 1 of 1 case. 1 and {len(contrast)}."
        assert len(found["contrast"]) == len(contrast)
    assert found["source"].startswith("Tuychiev 2024: “")
    assert found["source"].endswith("”; Somebody 2020, page 3")


def test_a_case_is_judged_by_the_claim_s_threshold():
    low, high = Case("c", "x", (2, 2, 2)), Case("d", "y", (9, 9, 9), bound=True)
    assert judged([low], threshold=3.0)["verdict"] == HOLDS
    assert judged([low], threshold=3.0, below=False)["verdict"] == FAILS
    both = judged([low, high], threshold=3.0)
    assert [r["outcome"] for r in both["rows"]] == [SUPPORTS, UNDECIDED]
    assert both["sentence"].startswith("Adam does so: c, in 1 of 1 case; d, in 0 of 1 case.")
    assert both["depends_on"] == ["c: holds", "d: not distinguishable"]


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
