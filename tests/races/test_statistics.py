"""Statistics against simulations with known truths, and against cases worked by hand."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import qmc

from ravine.races import statistics
from ravine.races.statistics import (
    Difference,
    Estimate,
    best_at,
    chance,
    differences,
    mean,
    median,
    needed,
    range_that_works,
    ranks,
    repeated,
)

INF = math.inf


def share(count, of):
    """The bounds that a share of `of` simulations with this probability keeps, four deviations."""
    error = 4 * math.sqrt(count * (1 - count) / of)
    return count - error, count + error


# ---- one method ------------------------------------------------------------------------------------


def test_a_mean_by_hand():
    # s = 1, n = 3, t(0.975, 2) = 4.302653
    assert mean([1, 2, 3]) == pytest.approx((2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    wider = mean([1, 2, 3], spread=1.0)
    assert wider.high - 2 == pytest.approx(4.302653 * (1 / 3 + 1) ** 0.5)
    assert mean([5.0]) == (5, -INF, INF), "one seed tells nothing of the others"


@pytest.mark.parametrize("n", [2, 5, 10])
def test_the_interval_of_a_mean_covers_it(n):
    x = np.random.default_rng(n).normal(3, 2, size=(3000, n))
    covered = np.mean([low <= 3 <= high for _, low, high in map(mean, x)])
    low, high = share(0.95, 3000)
    assert low <= covered <= high


def test_medians_by_hand():
    assert median([3, 1, 2]) == (2, 0, INF), "three cannot say it with 95 %"
    assert median(np.arange(1, 11)) == (5.5, 2, 9), "ranks 2 and 9 of 10: 97.9 %"
    assert median([*range(1, 9), INF, INF]) == (5.5, 2, INF)
    assert median([1, 2, INF, INF]).value == INF, "half of them missed it"
    assert median([INF] * 10) == (INF, INF, INF)


@pytest.mark.parametrize("n", [6, 10, 25])
def test_the_interval_of_a_median_covers_it_for_skewed_times_and_misses(n):
    x = np.random.default_rng(n).exponential(size=(4000, n))
    x[x > 1.5] = INF
    covered = np.mean([low <= math.log(2) <= high for _, low, high in map(median, x)])
    assert covered >= share(0.95, 4000)[0]


def test_a_chance_by_hand():
    first, second = np.array([3.0, 2, 5, 1]), np.array([1.0, 2, 4, 2])
    assert chance(first, second).value == (2 + 1 / 2) / 4
    # Wilson for 10 of 10: the lower end is 1 / (1 + z² / 10)
    ten = chance(np.ones(10), np.zeros(10))
    assert ten.low == pytest.approx(1 / (1 + 1.959964**2 / 10))
    assert ten.high == pytest.approx(1)
    assert chance(np.zeros(10), np.ones(10)).value == 0


def test_the_interval_of_a_chance_covers_it():
    rng = np.random.default_rng(0)
    found = [chance(rng.normal(0.5, 1, 20), rng.normal(0, 1, 20)) for _ in range(3000)]
    truth = 0.5 * (1 + math.erf(0.5 / 2**0.5 / 2**0.5))
    assert np.mean([low <= truth <= high for _, low, high in found]) >= 0.93


# ---- pairs -----------------------------------------------------------------------------------------


def seeds_in_common(rng, effects, deviations, seeds=10):
    """Results in which each seed has a part that all methods share."""
    own = rng.normal(size=(len(effects), seeds)) * np.array(deviations)[:, None]
    return np.array(effects)[:, None] + own + 5 * rng.normal(size=seeds)


@pytest.mark.parametrize(
    ("effects", "deviations"),
    [
        ([0] * 6, [1] * 6),
        ([0] * 6, [0.1, 0.1, 0.5, 1, 2, 4]),
        ([0, 0.2, 0.4, 1, 2, 4], [1] * 6),
        ([0, 0, 0, 3, 3, 3], [0.1, 1, 3, 0.1, 1, 3]),
    ],
)
def test_all_intervals_between_pairs_cover_the_truth_at_once(effects, deviations):
    rng = np.random.default_rng(1)
    all_covered = 0
    for _ in range(600):
        pairs = differences(seeds_in_common(rng, effects, deviations))
        all_covered += all(
            p.ahead.low <= effects[p.first] - effects[p.second] <= p.ahead.high for p in pairs
        )
    covered = all_covered / 600
    assert covered >= share(0.95, 600)[0]
    assert covered < 0.995, "intervals that always cover are too wide"


def test_plain_intervals_would_not_hold_at_once():
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(300):
        x = seeds_in_common(rng, [0] * 6, [1] * 6)
        plain = (mean(a - b) for a, b in combinations(x, 2))
        wrong += any(low > 0 or high < 0 for _, low, high in plain)
    assert wrong / 300 > 0.2


def test_verdict_and_interval_are_one_statement():
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(40):
        for p in differences(seeds_in_common(rng, [0, 1, 2], [1, 1, 1])):
            assert (p.better == p.first) == (p.ahead.low > 0)
            assert (p.better == p.second) == (p.ahead.high < 0)
            assert (p.better is None) == (p.ahead.low <= 0 <= p.ahead.high)
            seen.add(p.better)
    assert seen >= {None, 1, 2}


def test_a_pair_by_hand():
    x = np.array([[1.0, 2, 3, 4], [0, 2, 2, 2]])
    (p,) = differences(x)
    # d = 1, 0, 1, 2: mean 1, s = 0.8165, t(0.975, 3) = 3.182446
    assert p.ahead == pytest.approx((1, 1 - 3.182446 * 0.408248, 1 + 3.182446 * 0.408248), rel=1e-5)
    assert (p.seeds, p.better, p.beats.value) == (4, None, 3.5 / 4)
    three = differences(np.vstack([x, x[:1] - 9]))
    # three pairs: t(1 - 0.025 / 3, 3) = 4.856657
    assert three[0].ahead.high == pytest.approx(1 + 4.856657 * 0.408248, rel=1e-5)
    assert three[1].better == 0, "a difference without any spread is there"


def test_what_is_equal_is_not_distinguishable():
    (p,) = differences(np.ones((2, 5)))
    assert (p.better, p.ahead, p.needed) == (None, Estimate(0, 0, 0), INF)


def test_only_seeds_that_both_have_are_compared():
    x = np.array([[1.0, 2, math.nan, 4], [0, math.nan, 9, 2], [math.nan, 1, math.nan, math.nan]])
    first, *others = differences(x)
    assert (first.seeds, first.ahead.value) == (2, 1.5)
    assert [(p.first, p.second, p.seeds) for p in others] == [(0, 2, 1)], "1 and 2 have none"
    assert others[0].better is None
    assert math.isnan(others[0].needed)


# ---- how many seeds --------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "pairs"), [(0.5, 1), (1.0, 10), (0.4, 36)])
def test_with_the_seeds_needed_four_races_in_five_show_the_difference(ahead, pairs):
    level = 1 - 0.05 / pairs
    n = int(needed(ahead, 1.0, level=level))
    x = np.random.default_rng(pairs).normal(ahead, 1, size=(2000, n))
    shown = np.mean([mean(row, level=level).low > 0 for row in x])
    assert 0.77 <= shown <= 0.85
    fewer = np.random.default_rng(pairs).normal(ahead, 1, size=(2000, max(n // 2, 2)))
    assert np.mean([mean(row, level=level).low > 0 for row in fewer]) < 0.6


def test_the_corrected_level_asks_for_more_seeds():
    assert needed(0.5, 0.5) < needed(0.5, 0.5, level=1 - 0.05 / 36)


def test_no_number_of_seeds_outweighs_the_luck_of_tuning():
    assert needed(1.0, 1.0, spread=0.04) < INF
    assert needed(1.0, 1.0, spread=0.25) == INF
    assert needed(1e-6, 1.0) == INF, "more than anybody runs"
    assert needed(1.0, 0.0) == 2


def test_whoever_is_undecided_needs_more_seeds_than_there_were():
    rng = np.random.default_rng(5)
    for _ in range(50):
        for p in differences(seeds_in_common(rng, [0, 0.3, 0.6, 1], [1] * 4)):
            if p.better is None:
                assert p.needed > p.seeds


def pair(first, second, better):
    ahead = Estimate(0, *{first: (1, 2), second: (-2, -1), None: (-1, 1)}[better])
    return Difference(first, second, ahead, 10, Estimate(0.5, 0, 1), 1.0, 0.0, 0.95)


def test_ranks_count_who_is_better_for_sure():
    # 0 and 1 are alike, and 1 and 2, but 0 is better than 2; all are better than 3.
    pairs = [pair(0, 1, None), pair(0, 2, 0), pair(1, 2, None)]
    pairs += [pair(i, 3, i) for i in range(3)]
    assert ranks(4, pairs) == [(1, True), (1, True), (2, False), (4, False)]
    assert ranks(2, [pair(0, 1, 1)]) == [(2, False), (1, False)]
    assert ranks(1, []) == [(1, False)]


# ---- tuning ----------------------------------------------------------------------------------------

LANDSCAPES = {  # where the best is, how wide, how high, and the deviation between seeds
    "smooth": (0.6, 0.3, 0.6, 0.015),
    "noisy": (0.6, 0.3, 0.1, 0.03),
    "narrow": (0.5, 0.1, 0.6, 0.015),
    "on the edge": (0.98, 0.3, 0.6, 0.015),
}


def landscape(u, best, width, height, _):
    z = (u - best) / width
    return 0.7 - height * np.minimum(z * z * np.where(z > 0, 3, 1), 1)


def tuned(rng, u, where, tuning=2, finalists=5, again=3):
    """A whole race of one optimizer: what was chosen is worth, its ten report runs, and the luck."""
    deviation = where[-1]
    worth = landscape(u, *where)
    found = worth + deviation / tuning**0.5 * rng.standard_normal(len(u))
    best = np.argsort(-found)[:finalists]
    second = worth[best] + deviation / again**0.5 * rng.standard_normal(finalists)
    chosen = best[second.argmax()]
    report = worth[chosen] + deviation * rng.standard_normal(10)
    s = report.std(ddof=1)
    luck = repeated(u[:, None], found, s / tuning**0.5, finalists, s / again**0.5)
    return worth[chosen], report, luck


@pytest.mark.parametrize("name", LANDSCAPES)
def test_intervals_with_the_luck_of_tuning_cover_what_tuning_yields_on_average(name):
    rng = np.random.default_rng(7)
    races = []
    for _ in range(250):
        u = qmc.Halton(1, rng=rng).random(25)[:, 0]
        races.append(tuned(rng, u, LANDSCAPES[name]))
    truth = np.mean([worth for worth, *_ in races])
    covered, without = (
        np.mean([low <= truth <= high for _, low, high in found])
        for found in (
            [mean(report, luck.var()) for _, report, luck in races],
            [mean(report) for _, report, _ in races],
        )
    )
    assert covered >= 0.9
    assert covered > without
    true = np.std([worth for worth, *_ in races])
    estimated = np.mean([luck.std() for *_, luck in races])
    assert true * 0.8 <= estimated <= true * 3


def test_without_the_luck_of_tuning_intervals_do_not_hold():
    rng = np.random.default_rng(8)
    u = [qmc.Halton(1, rng=rng).random(25)[:, 0] for _ in range(200)]
    races = [tuned(rng, each, LANDSCAPES["narrow"]) for each in u]
    truth = np.mean([worth for worth, *_ in races])
    plain = [mean(report) for _, report, _ in races]
    assert np.mean([low <= truth <= high for _, low, high in plain]) < 0.6


def test_differences_of_tuned_methods_cover_the_truth():
    rng = np.random.default_rng(9)
    races = []
    for _ in range(150):
        u = qmc.Halton(1, rng=rng).random(25)[:, 0]
        a = tuned(rng, u, LANDSCAPES["smooth"])
        b = tuned(rng, u, (0.4, 0.25, 0.6, 0.02))
        races.append((a[0] - b[0], differences(np.stack([a[1], b[1]]), [a[2], b[2]])[0].ahead))
    truth = np.mean([ahead for ahead, _ in races])
    assert np.mean([low <= truth <= high for _, (_, low, high) in races]) >= 0.9


def test_tuning_again_is_deterministic_and_shifts_all_methods_alike():
    u = np.linspace(0, 1, 9)[:, None]
    y = -((u[:, 0] - 0.4) ** 2)
    first = repeated(u, y, 0.0)
    assert np.array_equal(first, repeated(u, y, 0.0))
    assert np.array_equal(first, repeated(u, y, 0.0, seed=1)), "without noise only the shifts count"
    noisy = repeated(u, y, 0.1), repeated(u, y, 0.1, seed=1)
    assert not np.array_equal(*noisy)
    assert first.mean() == pytest.approx(0, abs=1e-12)
    assert not repeated(u[:1], y[:1], 0.1).any(), "a single trial leaves nothing to luck"


def test_tuning_again_by_hand():
    # Two points half apart on a line from 0 to 1: the better is at s + 1/2 or s, whichever is higher.
    u = np.array([[0.0], [0.9]])
    grid = np.array([[0.25], [0.75]])
    shifts = np.random.default_rng(0).random((statistics.DRAWS, 1, 1))[:, 0, 0]
    line = 0.25 + 0.5 * np.clip(
        (np.maximum((0.25 + shifts) % 1, (0.75 + shifts) % 1) - 0.25) / 0.5, 0, 1
    )
    found = repeated(grid, np.array([0.25, 0.75]), 0.0)
    assert found == pytest.approx(line - line.mean(), abs=1e-6)
    flat = repeated(u, np.ones(2), 0.0)
    assert flat == pytest.approx(np.zeros(statistics.DRAWS), abs=1e-6)


def test_more_dimensions_are_searched_alike():
    rng = np.random.default_rng(0)
    u = qmc.Halton(3, rng=0).random(40)
    y = -((u - 0.5) ** 2).sum(1) + 0.001 * rng.standard_normal(40)
    luck = repeated(u, y, 0.001, 5, 0.001)
    true = []
    for i in range(200):
        again = -((qmc.Halton(3, rng=i).random(40) - 0.5) ** 2).sum(1)
        true.append(again.max())
    assert 0.5 <= luck.std() / np.std(true) <= 2.5


def test_the_best_of_k_is_the_mean_over_all_draws():
    results = np.random.default_rng(0).random(7)
    every = [np.mean([max(drawn) for drawn in combinations(results, k)]) for k in range(1, 8)]
    assert best_at(results, 0.0) == pytest.approx(every)


def test_the_best_of_k_is_free_of_the_winner_s_curse():
    rng = np.random.default_rng(1)
    alike = rng.standard_normal((300, 25))
    found = np.mean([best_at(x, 1.0) for x in alike], axis=0)
    assert abs(found).max() < 0.15, "all trials are equally good, so more of them gain nothing"
    assert np.mean([best_at(x, 0.0)[-1] for x in alike]) > 1.8, "what the best one's own score says"


def test_the_best_of_k_is_worth_what_choosing_by_it_yields():
    rng = np.random.default_rng(2)
    worth = landscape(np.linspace(0, 1, 12), 0.5, 0.4, 0.1, None)
    measured = worth + 0.03 * rng.standard_normal((400, 12))
    found = np.mean([best_at(x, 0.03) for x in measured], axis=0)
    again = worth + 0.03 * 1.25**0.5 * rng.standard_normal((4000, 12))
    for k in (1, 3, 6, 12):
        drawn = np.argsort(rng.random(again.shape), axis=1)[:, :k]
        best = np.take_along_axis(again, drawn, 1).argmax(1)
        assert found[k - 1] == pytest.approx(
            worth[np.take_along_axis(drawn, best[:, None], 1)].mean(), abs=0.004
        )


def test_the_range_that_works_by_hand():
    rates = np.array([1e-3, 1e-1, 1e-4, 1e-2, 1.0])
    results = np.array([0.9, 0.92, 0.2, 0.95, 0.1])  # at rates 1e-4 to 1: .2 .9 .95 .92 .1
    assert range_that_works(rates, results, start=0.1) == (1e-3, 1e-1)
    assert range_that_works(rates, results, start=0.1, share=0.97) == (1e-2, 1e-2)
    gap = np.array([0.9, 0.5, 0.93, 0.95, 0.1])
    assert range_that_works(rates, gap, start=0.1) == (1e-4, 1e-2), (
        "what lies beyond a gap is left out"
    )
    assert range_that_works(rates, gap, start=0.1, chosen=1) == (1e-4, 1e-2)  # which fails itself
    island = np.array([0.9, 0.92, 0.95, 0.1, 0.1])  # .95 .9 .1 .92 .1
    assert range_that_works(rates, island, start=0.1, chosen=1) == (1e-1, 1e-1)
    assert range_that_works(rates, island, start=0.1) == (1e-4, 1e-3)
