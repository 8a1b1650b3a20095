"""From results to statements: intervals, differences, and the number of seeds a difference would take.

Results are arrays in which more is better; for losses, the sign is flipped. Intervals are Student's,
with the variance between seeds and, if a method was tuned, that of tuning (:func:`repeated`). The
intervals of all differences between methods hold simultaneously (Bonferroni), and a verdict is simply
an interval that excludes zero. The tests check the coverage by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.special import bdtr, comb, ndtri, stdtrit

__all__ = [
    "LEVEL",
    "Difference",
    "Estimate",
    "best_at",
    "chance",
    "differences",
    "mean",
    "median",
    "needed",
    "range_that_works",
    "ranks",
    "repeated",
]

Array = NDArray[np.float64]

LEVEL = 0.95
POWER = 0.8
MOST_SEEDS = 100_000
DRAWS = 400


class Estimate(NamedTuple):
    """A number and its interval, which is infinite if the data do not determine it."""

    value: float
    low: float
    high: float


def mean(results: Sequence[float] | Array, spread: float = 0.0, level: float = LEVEL) -> Estimate:
    """Return the mean over seeds and its interval.

    results: one for each seed. spread: variance in addition to that of the seeds, such as that of
    tuning. With one seed, the interval is infinite.
    """
    x = np.asarray(results, float)
    value = float(x.mean())
    if len(x) < 2:
        return Estimate(value, -math.inf, math.inf)
    error = math.sqrt(x.var(ddof=1) / len(x) + spread)
    reach = float(stdtrit(len(x) - 1, (1 + level) / 2)) * error
    return Estimate(value, value - reach, value + reach)


def median(times: Sequence[float] | Array, level: float = LEVEL) -> Estimate:
    """Return the median of times, in which infinity is a miss, and an interval between two of them.

    The interval lies between order statistics, so it holds for any distribution, and covers at least
    `level`; if there are too few times for that, its end is 0 or infinity.
    """
    x = np.sort(np.asarray(times, float))
    n = len(x)
    tails = bdtr(np.arange(n), n, 0.5)  # the probability that this many or fewer are on one side
    below = int(np.sum(tails <= (1 - level) / 2)) - 1
    middle = float((x[(n - 1) // 2] + x[n // 2]) / 2)
    if below < 0:
        return Estimate(middle, 0.0, math.inf)
    return Estimate(middle, float(x[below]), float(x[n - 1 - below]))


def chance(first: Array, second: Array, level: float = LEVEL) -> Estimate:
    """Return how likely the first method beats the second on a seed; a tie counts half.

    first, second: results on the same seeds. The interval is Wilson's (1927).
    """
    n = len(first)
    share = float((np.sum(first > second) + np.sum(first == second) / 2) / n)
    z = float(ndtri((1 + level) / 2))
    weight = 1 / (1 + z * z / n)
    middle = weight * (share + z * z / (2 * n))
    reach = weight * z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return Estimate(share, max(middle - reach, 0.0), min(middle + reach, 1.0))


# ---- all pairs of methods --------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """How far the first method is ahead of the second, seed by seed.

    first, second: their indices in the list of methods. ahead: the mean, with an interval that holds
    simultaneously with those of all other pairs. seeds: the number that both have. beats: the
    probability that the first beats the second. deviation, spread, level: of this one interval, see
    :func:`needed`.
    """

    first: int
    second: int
    ahead: Estimate
    seeds: int
    beats: Estimate
    deviation: float
    spread: float
    level: float

    @property
    def needed(self) -> float:
        """The number of seeds that would distinguish the two; infinity if no number would."""
        return needed(self.ahead.value, self.deviation, self.spread, self.level)

    @property
    def better(self) -> int | None:
        """The method that is significantly better, or None: not distinguishable."""
        if self.ahead.low > 0:
            return self.first
        return self.second if self.ahead.high < 0 else None


def differences(
    results: Array, luck: Sequence[Array | None] | None = None, level: float = LEVEL
) -> list[Difference]:
    """Return the differences between all pairs of methods, with simultaneous intervals.

    results: shape (methods, seeds), NaN where a method has no run of that seed. luck: for each method
    the result of :func:`repeated`, or None if it was not tuned. level: the probability with which all
    intervals hold.
    """
    pairs = list(combinations(range(len(results)), 2))
    corrected = 1 - (1 - level) / max(len(pairs), 1)
    found = []
    for i, j in pairs:
        both = np.isfinite(results[i]) & np.isfinite(results[j])
        a, b = results[i][both], results[j][both]
        if not len(a):
            continue
        spread = _spread(luck[i], luck[j]) if luck is not None else 0.0
        ahead = mean(a - b, spread, corrected)
        deviation = float(np.std(a - b, ddof=1)) if len(a) > 1 else math.nan
        found.append(Difference(i, j, ahead, len(a), chance(a, b), deviation, spread, corrected))
    return found


def _spread(first: Array | None, second: Array | None) -> float:
    a, b = (0.0 if x is None else x for x in (first, second))
    return float(np.var(np.asarray(a - b)))


def needed(ahead: float, deviation: float, spread: float = 0.0, level: float = LEVEL) -> float:
    """Return the number of seeds that would show a difference of this size with a probability of 80 %.

    ahead: the difference. deviation: the standard deviation of the differences between seeds; NaN if
    it is not known. spread: variance that more seeds do not reduce. level: of the one interval,
    corrected for the number of pairs. Returns infinity if more than 100,000 seeds would be needed,
    and NaN if the deviation is not known.
    """
    if math.isnan(deviation):
        return math.nan

    def shown(n: int) -> bool:
        error = math.sqrt(deviation**2 / n + spread)
        quantile = stdtrit(n - 1, (1 + level) / 2) + ndtri(POWER)
        return bool(abs(ahead) > quantile * error)

    if not shown(MOST_SEEDS):
        return math.inf
    few, many = 1, MOST_SEEDS
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if shown(middle) else (middle, many)
    return float(many)


def ranks(count: int, pairs: Sequence[Difference]) -> list[tuple[int, bool]]:
    """Return each method's rank, and whether others share it.

    The rank is one more than the number of methods that are significantly better, so all methods that
    cannot be distinguished from the best are first.
    """
    beaten = [0] * count
    for pair in pairs:
        if pair.better is not None:
            beaten[pair.first + pair.second - pair.better] += 1
    return [(x + 1, beaten.count(x) > 1) for x in beaten]


# ---- tuning ----------------------------------------------------------------------------------------


def repeated(
    points: Array,
    results: Array,
    noise: float,
    finalists: int = 1,
    final_noise: float = 0.0,
    seed: int = 0,
) -> Array:
    """Return the results of repeated tuning: the luck in one tuning.

    Each time, all points of the search are shifted around the cube by the same vector (Cranley &
    Patterson, 1976), so that a sequence that fills it evenly still does. The result of a point is
    interpolated linearly between the measured ones, noise is added, and the best point is chosen. What
    counts is its result without the noise. Drawing the trials again with replacement would leave gaps
    in the sequence, and makes the variance up to twenty times too large.

    points: shape (trials, dimensions), in the unit cube. results: shape (trials,), means over the
    tuning seeds. noise: the standard deviation of these means over the seeds. finalists: the number of
    best points that are measured again before one is chosen, with `final_noise`; 1 for none. seed: of
    the noise, which must differ between methods; the shifts are the same for all methods.

    Returns deviations from their mean, shape (400,).
    """
    trials = len(points)
    noises = np.random.default_rng([1, seed])
    if trials == 1:
        return np.zeros(DRAWS)
    rounded = np.round(points, 9)  # each method has the same points, mapped to its own space
    true = (_shifted(rounded.tobytes(), rounded.shape) @ results).reshape(DRAWS, trials)
    measured = true + noise * noises.standard_normal(true.shape)
    best = np.argsort(-measured, axis=1)[:, :finalists]
    if finalists > 1:
        again = np.take_along_axis(true, best, 1)
        again = again + final_noise * noises.standard_normal(again.shape)
        best = np.take_along_axis(best, again.argmax(axis=1)[:, None], 1)
    found = np.take_along_axis(true, best[:, :1], 1)[:, 0]
    return found - found.mean()


@lru_cache(maxsize=4)
def _shifted(data: bytes, shape: tuple[int, int]) -> Array:
    """The matrix that turns the results at points into interpolated ones at all shifts of these points.

    Returns shape (400 * trials, trials).
    """
    points = np.frombuffer(data).reshape(shape)
    shifts = np.random.default_rng(0).random((DRAWS, 1, shape[1]))
    at = ((points + shifts) % 1).reshape(-1, shape[1])
    return RBFInterpolator(points, np.eye(shape[0]), kernel="linear", smoothing=1e-9)(at)


def best_at(results: Array, noise: float) -> Array:
    """Return the expected result of the best of k trials drawn from all of them, for each k.

    results: shape (trials,), means over the tuning seeds. noise: the standard deviation of these means
    over the seeds. The best result is too good (the winner's curse), so each is split into two that are
    independent where the noise is normal, one to choose by and one that counts (Leiner et al., 2023,
    arXiv:2112.11079). The draws are exact, as in Sivaprasad et al. (2020), the splits are 1,000.
    Returns shape (trials,).
    """
    trials = len(results)
    k, worse = np.arange(1, trials + 1), np.arange(trials)[:, None]
    chosen = comb(worse, k - 1) / comb(trials, k)  # all others drawn are worse
    split = noise * np.random.default_rng(2).standard_normal((1000, trials))
    order = np.argsort(results + split / 2, axis=1, kind="stable")
    counted = np.take_along_axis(results - 2 * split, order, 1).mean(axis=0)
    return chosen.T @ counted


def range_that_works(
    rates: Array, results: Array, start: float, share: float = 0.9, chosen: int | None = None
) -> tuple[float, float]:
    """Return the lowest and the highest learning rate that work nearly as well as the best.

    They reach at least `share` of the best one's gain over `start`, the untrained model's result,
    as do all rates that were tried between them. rates, results: shape (trials,). The range is around the
    best rate, or around the chosen one, an index in `rates`, if that one works too.
    """
    order = np.argsort(rates)
    x, y = rates[order], results[order]
    best = int(y.argmax())
    good = y >= start + share * (y[best] - start)
    low = high = best
    if chosen is not None and good[at := int(np.flatnonzero(order == chosen)[0])]:
        low = high = at
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(x) - 1 and good[high + 1]:
        high += 1
    return float(x[low]), float(x[high])
