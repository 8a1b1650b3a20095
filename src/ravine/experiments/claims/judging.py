"""From numbers to verdicts.

A claim's function turns numbers into rows, each of which supports the claim, contradicts it, or is
undecided; `decide` turns the rows under one condition into a verdict, and `combine` these into one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from ravine.experiments.grids import Array

Claim = dict[str, Any]
Row = dict[str, Any]

HOLDS, FAILS, DEPENDS = "holds", "does not hold", "it depends"
ALIKE = "not distinguishable"
OUTCOMES = SUPPORTS, CONTRADICTS, UNDECIDED = "supports", "contradicts", "undecided"


def interval(values: Sequence[float] | Array, level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean and its bootstrap interval: percentiles of means of seeds drawn again."""
    x = np.asarray(values, float)
    low, high = np.quantile(x[_draws(len(x))].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(x.mean()), float(low), float(high)


@cache
def _draws(n: int) -> Array:
    return np.random.default_rng(0).integers(n, size=(10_000, n))


def binomial(count: int, runs: int, level: float = 0.95) -> tuple[float, float, float]:
    """Return a share and its interval (Wilson, 1927)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = count / runs, 1 / (1 + z * z / runs)
    middle = weight * (share + z * z / (2 * runs))
    reach = weight * z * np.sqrt(share * (1 - share) / runs + (z / (2 * runs)) ** 2)
    return share, float(max(middle - reach, 0)), float(min(middle + reach, 1))


def row(
    condition: str,
    case: str,
    measured: tuple[float, float, float],
    threshold: float,
    below: bool,
    *,
    bound: bool = False,
) -> Row:
    """Make a row: under which condition, in which case, estimate and interval, and the outcome.

    It supports the claim when the whole interval is below the threshold, or, with below=False,
    above it; it contradicts the claim when the whole interval is on the other side. bound: the
    truth may be further below than what was measured, so that nothing is contradicted.
    """
    estimate, low, high = measured
    outcome = UNDECIDED
    if high < threshold or low > threshold:
        outcome = SUPPORTS if (high < threshold) is below else CONTRADICTS
    if bound and outcome == CONTRADICTS:
        outcome = UNDECIDED
    return {
        "condition": condition,
        "case": case,
        "estimate": estimate,
        "low": low,
        "high": high,
        "outcome": outcome,
    }


MOST = (
    "it holds if more than half of the {cases} support it, does not hold if more than half "
    "contradict it, and is not distinguishable if more than half are undecided"
)
EVERY = (
    "it holds if more than half of the {cases} support it and none contradicts it, and does not "
    "hold if some contradict it and none supports it"
)


def decide(rows: Sequence[Row], quantifier: str) -> str:
    """Turn the outcomes under one condition into a verdict, as `MOST` or `EVERY` says."""
    count = {x: sum(r["outcome"] == x for r in rows) for x in OUTCOMES}
    half = len(rows) / 2
    if quantifier == EVERY:
        if count[SUPPORTS] and count[CONTRADICTS]:
            return DEPENDS
        if count[CONTRADICTS]:
            return FAILS
        return HOLDS if count[SUPPORTS] > half else ALIKE
    if count[SUPPORTS] > half:
        return HOLDS
    if count[CONTRADICTS] > half:
        return FAILS
    return ALIKE if count[UNDECIDED] > half else DEPENDS


def combine(verdicts: Iterable[str], quantifier: str) -> str:
    """Turn the verdicts under several conditions into one.

    If they agree, it is theirs. A claim that holds under none of them, and fails under some, does
    not hold; but one about `EVERY` case that depends on the case somewhere holds in part. Otherwise
    it depends on the condition.
    """
    found = set(verdicts)
    if len(found) == 1:
        return found.pop()
    in_part = {HOLDS, DEPENDS} if quantifier == EVERY else {HOLDS}
    return FAILS if FAILS in found and not found & in_part else DEPENDS


def judge(
    name: str,
    claim: str,
    source: str,
    *,
    rows: Sequence[Row],
    quantifier: str,
    cases: str,
    criterion: str,
    says: str,
    measure: str,
    threshold: float,
    contrast: Sequence[Row] = (),
    more: str = "",
    **numbers: Any,
) -> Claim:
    """Judge a claim by its rows: under each condition by `decide`, over all of them by `combine`.

    quantifier, cases: `MOST` or `EVERY` of what the rows are about. criterion: what a row does.
    says: what a supporting row shows, for the sentence; more: a sentence to add. contrast: rows to
    compare with, which do not count. measure, threshold: of the rows, for the picture. Further
    keywords join the result.

    Returns ``name``, ``claim``, ``source``, ``criterion``, ``verdict``, ``depends_on`` (a list of
    what was found under each condition, empty unless it depends), ``sentence``, ``conditions`` (the
    verdict under each), ``measure``, ``threshold``, ``rows`` and ``contrast``.
    """
    by_condition: dict[str, list[Row]] = {}
    for r in rows:
        by_condition.setdefault(r["condition"], []).append(r)
    each = {condition: decide(of, quantifier) for condition, of in by_condition.items()}
    verdict = combine(each.values(), quantifier)
    told = [
        f"{condition}, {tally(of, cases)}" if len(each) > 1 else tally(of, cases)
        for condition, of in by_condition.items()
    ]
    depends = []
    for condition, of in by_condition.items():
        where = f" ({named(of)})" if each[condition] == DEPENDS else ""
        depends.append(f"{condition}: {each[condition]}{where}")
    return {
        "name": name,
        "claim": claim,
        "source": source,
        "criterion": f"{criterion}; {quantifier.format(cases=cases)}",
        "verdict": verdict,
        "depends_on": depends if verdict == DEPENDS else [],
        "sentence": f"{says}{':' * (len(each) > 1)} {'; '.join(told)}.{' ' * bool(more)}{more}",
        "conditions": each,
        "measure": measure,
        "threshold": threshold,
        "rows": list(rows),
        "contrast": list(contrast),
        **numbers,
    }


def tally(rows: Sequence[Row], cases: str) -> str:
    """Say in how many cases the rows support the claim, and in how many the opposite."""
    count = {x: sum(r["outcome"] == x for r in rows) for x in (SUPPORTS, CONTRADICTS)}
    text = f"in {count[SUPPORTS]} of {len(rows)} {cases if len(rows) > 1 else cases[:-1]}"
    return text + f" (the opposite in {count[CONTRADICTS]})" * bool(count[CONTRADICTS])


def named(rows: Sequence[Row]) -> str:
    """Name the cases by their outcome; of more than eight, the first and the last."""
    groups = {x: [r["case"] for r in rows if r["outcome"] == x] for x in OUTCOMES}
    return "; ".join(
        f"{outcome}: {', '.join(group) if len(group) <= 8 else f'{group[0]} to {group[-1]}'}"
        for outcome, group in groups.items()
        if group
    )
