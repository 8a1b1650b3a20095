"""From numbers to verdicts.

A claim's function turns numbers into rows, each of which supports the claim, contradicts it, or is
undecided; `decide` turns rows into a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
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


SHARE = 0.75
"""What share of the rows decides a claim: of the bar in its picture, as of its verdict."""

RULE = (
    "it holds if at least three quarters of the {cases} support it, does not hold if at least three "
    "quarters contradict it, is not distinguishable if at least three quarters are undecided, and "
    "otherwise depends"
)


def decide(rows: Sequence[Row]) -> str:
    """Turn outcomes into a verdict, as `RULE` says."""
    for outcome, verdict in ((SUPPORTS, HOLDS), (CONTRADICTS, FAILS), (UNDECIDED, ALIKE)):
        if sum(r["outcome"] == outcome for r in rows) >= SHARE * len(rows):
            return verdict
    return DEPENDS


def judge(
    name: str,
    claim: str,
    source: str,
    *,
    rows: Sequence[Row],
    cases: str,
    criterion: str,
    says: str,
    measure: str,
    threshold: float,
    contrast: Sequence[Row] = (),
    more: str = "",
    **numbers: Any,
) -> Claim:
    """Judge a claim by its rows, all together, and under each condition, both by `decide`.

    cases: what the rows are about. criterion: what makes a row support the claim. says: what a
    supporting row shows, for the sentence; more: a sentence to add. contrast: rows to compare with,
    which do not count. measure, threshold: of the rows, for the picture. Further keywords join the result.

    Returns ``name``, ``claim``, ``source``, ``criterion``, ``verdict``, ``depends_on`` (a list of
    what was found under each condition, empty unless it depends), ``sentence``, ``conditions`` (the
    verdict under each), ``measure``, ``threshold``, ``rows`` and ``contrast``.
    """
    by_condition: dict[str, list[Row]] = {}
    for r in rows:
        by_condition.setdefault(r["condition"], []).append(r)
    each = {condition: decide(of) for condition, of in by_condition.items()}
    verdict = decide(rows)
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
        "criterion": f"{criterion}; {RULE.format(cases=cases)}",
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
