"""From numbers to verdicts: what a claim is, and how it is judged.

A claim's function finds cases in the results; each of them supports the claim, contradicts it, or is
undecided, and `decide` turns these outcomes into a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ravine.experiments.problems import Array
from ravine.experiments.quotations import quotation

if TYPE_CHECKING:
    from ravine.experiments.claims.races import Races

Row = dict[str, Any]
Verdict = dict[str, Any]
Measured = tuple[float, float, float]
"""An estimate and its interval."""

HOLDS, FAILS, DEPENDS = "holds", "does not hold", "it depends"
ALIKE = "not distinguishable"
OUTCOMES = SUPPORTS, CONTRADICTS, UNDECIDED = "supports", "contradicts", "undecided"

SHARE = 0.75
"""What share of the rows decides a claim: of the bar in its picture, as of its verdict."""

RULE = (
    "it holds if at least three quarters of the {cases} support it, does not hold if at least three "
    "quarters contradict it, is not distinguishable if at least three quarters are undecided, and "
    "otherwise depends"
)


class Case(NamedTuple):
    """One case of a claim, under a condition.

    bound: the truth may be further below than what was measured, so that nothing is contradicted.
    """

    condition: str
    case: str
    measured: Measured
    bound: bool = False


@dataclass
class Found:
    """What a claim's function finds.

    cases: they decide. contrast: cases to compare with, which do not count. more: makes a sentence to
    add, of the rows of both. numbers: join the result, for its picture.
    """

    cases: Iterable[Case]
    more: Callable[[Sequence[Row], Sequence[Row]], str] = lambda rows, contrast: ""
    contrast: Iterable[Case] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A sentence, and what counts for it. In the texts {me} is the optimizer that it is about.

    name, claim: of the claim. quotes: the posts' sentences, by their names in the quotations, and other
    sources. cases: what its cases are. criterion: what makes a case support it. says: what such a case
    shows. measure: what is measured. find: finds the cases. threshold, below: a case supports the claim
    if its whole interval is below the threshold, or above it.
    """

    name: str
    claim: str
    quotes: tuple[str, ...]
    cases: str
    criterion: str
    says: str
    measure: str
    find: Callable[[Races], Found]
    threshold: float = 1.0
    below: bool = True

    def judge(self, races: Races) -> Verdict:
        """Judge the claim by its rows, all together, and under each condition, both by `decide`.

        Returns ``name``, ``claim``, ``source``, ``criterion``, ``verdict``, ``depends_on`` (a list of
        what was found under each condition, empty unless it depends), ``sentence``, ``conditions`` (the
        verdict under each), ``measure``, ``threshold``, ``rows`` and ``contrast``, and the numbers.
        """
        found = self.find(races)
        rows, contrast = (
            [row(*case[:3], self.threshold, self.below, bound=case.bound) for case in cases]
            for cases in (found.cases, found.contrast)
        )
        parts: dict[str, list[Row]] = {}
        for r in rows:
            parts.setdefault(r["condition"], []).append(r)
        each, verdict = {condition: decide(of) for condition, of in parts.items()}, decide(rows)
        several, more = len(parts) > 1, found.more(rows, contrast)
        told = "; ".join(f"{c}, " * several + tally(of, self.cases) for c, of in parts.items())
        depends = [
            f"{c}: {each[c]}" + f" ({named(of)})" * (each[c] == DEPENDS) for c, of in parts.items()
        ]
        texts = {
            k: getattr(self, k).format(me=races.name) for k in ("claim", "criterion", "measure")
        }
        return {
            **texts,
            "name": self.name,
            "source": "; ".join(str(quotation(q)) if " " not in q else q for q in self.quotes),
            "criterion": f"{texts['criterion']}; {RULE.format(cases=self.cases)}",
            "verdict": verdict,
            "depends_on": depends if verdict == DEPENDS else [],
            "sentence": self.says.format(me=races.name)
            + f"{':' * several} {told}.{' ' * bool(more)}{more}",
            "conditions": each,
            "threshold": self.threshold,
            "rows": rows,
            "contrast": contrast,
            **found.numbers,
        }


CLAIMS: list[Claim] = []
"""All that are declared, in the order of the page."""


def claim(*texts: str, **given: Any) -> Callable[[Callable[[Races], Found]], Claim]:
    """Make a claim of a function that finds its cases; see :class:`Claim`."""

    def made(find: Callable[[Races], Found]) -> Claim:
        name, sentence, *quotes = texts
        found = Claim(name, sentence, tuple(quotes), find=find, **given)
        CLAIMS.append(found)
        return found

    return made


def exactly(value: float) -> Measured:
    """A number without an interval."""
    return value, value, value


def interval(values: Sequence[float] | Array, level: float = 0.95) -> Measured:
    """Return the mean and its bootstrap interval: percentiles of means of seeds drawn again."""
    x = np.asarray(values, float)
    low, high = np.quantile(x[_draws(len(x))].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(x.mean()), float(low), float(high)


@cache
def _draws(n: int) -> Array:
    return np.random.default_rng(0).integers(n, size=(10_000, n))


def ratio(a: Array, b: Array, among: int) -> Measured:
    """Compare logarithms seed by seed: the geometric mean of the ratios, and its interval.

    among: how many comparisons there are, so that all their intervals hold at once, 95 times in a
    hundred (Bonferroni).
    """
    mean, low, high = interval(a - b, 1 - 0.05 / among)
    return 10**mean, 10**low, 10**high


def binomial(count: int, runs: int, level: float = 0.95) -> Measured:
    """Return a share and its interval (Wilson, 1927)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = count / runs, 1 / (1 + z * z / runs)
    middle = weight * (share + z * z / (2 * runs))
    reach = weight * z * np.sqrt(share * (1 - share) / runs + (z / (2 * runs)) ** 2)
    return share, float(max(middle - reach, 0)), float(min(middle + reach, 1))


def row(
    condition: str,
    case: str,
    measured: Measured,
    threshold: float,
    below: bool,
    *,
    bound: bool = False,
) -> Row:
    """Make a row of a case, with its outcome; see :class:`Claim` and :class:`Case`."""
    estimate, low, high = measured
    outcome = UNDECIDED
    if high < threshold or low > threshold:
        outcome = SUPPORTS if (high < threshold) is below else CONTRADICTS
    if bound and outcome == CONTRADICTS:
        outcome = UNDECIDED
    numbers = {"estimate": estimate, "low": low, "high": high}
    return {"condition": condition, "case": case, **numbers, "outcome": outcome}


def decide(rows: Sequence[Row]) -> str:
    """Turn outcomes into a verdict, as `RULE` says. Raises ValueError without rows."""
    if not rows:
        raise ValueError("rows is empty; a verdict needs at least one case")
    for outcome, verdict in ((SUPPORTS, HOLDS), (CONTRADICTS, FAILS), (UNDECIDED, ALIKE)):
        if sum(r["outcome"] == outcome for r in rows) >= SHARE * len(rows):
            return verdict
    return DEPENDS


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
