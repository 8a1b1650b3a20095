"""The results of a race in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ravine.races.findings import Comparison, Method, Overall
from ravine.races.statistics import Difference, Estimate

__all__ = [
    "NONE",
    "Words",
    "about_needed",
    "amount",
    "between",
    "headline",
    "listed",
    "place",
    "plural",
]

NONE = "–"


def listed(names: Iterable[str]) -> str:
    """Names with commas, and "and" before the last."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def plural(count: int, noun: str) -> str:
    """A count and its noun: "1 seed", "10 seeds"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def amount(value: float, digits: int = 3) -> str:
    """A number with a number of significant digits; "never" for infinity, a dash for None."""
    if math.isnan(value):
        return NONE
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def place(rank: tuple[int, bool]) -> str:
    """A rank as printed: "1=" if it is shared."""
    return f"{rank[0]}{'=' * rank[1]}"


def about_needed(pair: Difference, tuned: bool = True) -> str:
    """The number of seeds that would distinguish two methods. tuned: whether they were tuned."""
    if math.isnan(pair.needed):
        return NONE
    if math.isinf(pair.needed):
        return "more trials, not more seeds" if tuned else "more than can be had"
    return f"about {amount(float(f'{pair.needed:.2g}'))}"


class Words:
    """Numbers and sentences of a comparison, with as many decimals as its intervals justify."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.names = [method.name for method in comparison.methods]
        reach = [(m.result.high - m.result.low) / 2 for m in comparison.methods]
        reach = [x for x in reach if math.isfinite(x) and x > 0]
        least = min(reach) if reach else max(abs(m.result.value) for m in comparison.methods) / 100
        self.decimals = min(max(1 - math.floor(math.log10(least or 1e-3)), 0), 6)

    def number(self, value: float, signed: bool = False) -> str:
        """A score, or a difference of scores."""
        if not math.isfinite(value):
            return NONE
        text = f"{value:{'+' * signed},.{self.decimals}f}"
        return text.replace("-", "−")

    def score(self, found: Estimate | None) -> str:
        """A mean, in terms of the score."""
        return NONE if found is None else self.number(self.comparison.shown(found).value)

    def interval(self, found: Estimate, signed: bool = False) -> str:
        """The interval of a mean in terms of the score or, if signed, of a difference."""
        low, high = (found if signed else self.comparison.shown(found))[1:]
        if not math.isfinite(high - low):
            return NONE
        return between(self.number(low, signed), self.number(high, signed))

    # ---- sentences ---------------------------------------------------------------------------------

    @property
    def seeds(self) -> str:
        """The number of report seeds."""
        return plural(len(self.comparison.seeds["report"]), "seed")

    def verdict(self) -> str:
        """Which optimizer is best, or that none can be distinguished."""
        comparison, names = self.comparison, self.names
        lead, ties = names[0], [names[i] for i in comparison.ties]
        if len(names) == 1:
            return f"Only {lead} was raced: there is nothing to compare it with."
        if len(comparison.seeds["report"]) == 1:
            return f"Not distinguishable: one seed tells nothing apart. {lead} has the best result."
        if not ties:
            pair = comparison.pair(0, 1)
            assert pair is not None
            value, low, high = map(self.number, pair.ahead)
            ahead = f"{value} ({between(low, high)})"
            how = " tuned" if comparison.tuned else " at its defaults"
            return f"{lead} is best{how}, ahead of {names[1]} by {ahead}."
        others = [name for name in names[1:] if name not in ties]
        if not others:
            return f"Not distinguishable: {self.seeds} cannot tell {self._all(len(names))} apart."
        if len(ties) < 4 and len(ties) < len(names) / 2:
            return f"{lead} leads, but {self.seeds} cannot tell it from {listed(ties)}."
        behind = f"{listed(others)} {'are' if len(others) > 1 else 'is'} behind"
        count = f"{len(ties) + 1} of {len(names)} optimizers"
        return f"Not distinguishable: {self.seeds} cannot tell {count} apart; {behind}."

    @staticmethod
    def _all(count: int) -> str:
        return "the two" if count == 2 else f"the {count}"

    def enough(self) -> str:
        """What it would take to distinguish the first from those it is tied with; "" if there are none."""
        pairs = [p for p in (self.comparison.pair(0, i) for i in self.comparison.ties) if p]
        pairs = [p for p in pairs if not math.isnan(p.needed)]
        if not pairs:
            return ""
        pair = min(pairs, key=lambda p: p.needed)
        first, second = self.names[pair.first], self.names[pair.second]
        if math.isinf(pair.needed) and not self.comparison.tuned:
            return "More seeds would not tell them apart: they differ too little."
        if math.isinf(pair.needed):
            return (
                "More seeds would not tell them apart, since the differences are small against the luck "
                "of tuning; more trials may."
            )
        return f"To tell {first} from {second}, {about_needed(pair)} seeds would be needed."

    def defaults(self) -> str:
        """The order at the defaults; "" if it is the same, or if they were not run."""
        order = [method.name for method in self.comparison.by_default]
        if len(order) < 2 or order[0] == self.names[0]:
            return ""
        at = order.index(self.names[0]) + 1 if self.names[0] in order else 0
        where = "last" if at == len(order) else f"number {at}"
        tuned = f", and {self.names[0]} {where}" if at else ""
        return f"At the default hyperparameters {order[0]} comes first{tuned}."

    def remarks(self) -> list[str]:
        """Remarks that every reader of the results must know."""
        said = [self._on_edge(method) for method in self.comparison.methods if method.edge]
        for method in self.comparison.methods:
            if method.runs_lost:
                of = f"{method.runs_lost} of {len(method.runs)}"
                verbs = ("is", "counts") if method.runs_lost == 1 else ("are", "count")
                said.append(
                    f"{of} report runs of {method.name} {verbs[0]} lost and {verbs[1]} as untrained."
                )
            if self.comparison.tuned and not method.tuned:
                said.append(
                    f"{method.name} is compared at its defaults: no trial of it was chosen."
                )
        if self.comparison.missing:
            said.append(f"Not finished, and left out: {listed(self.comparison.missing)}.")
        few = [
            m.name
            for m in self.comparison.methods
            if len(m.runs) < len(self.comparison.seeds["report"])
        ]
        if few:
            said.append(f"Some seeds are missing for {listed(few)}.")
        return said

    def _on_edge(self, method: Method) -> str:
        values = listed(f"{name} {method.hyperparameters[name]:.3g}" for name in method.edge)
        return (
            f"The best {values} of {method.name} lies on the edge of what was searched, so a better value "
            "may lie beyond."
        )


def headline(found: Sequence[Comparison], together: Overall | None) -> str:
    """The race in a sentence."""
    if together is None:
        return Words(found[0]).verdict()
    most, count = max(together.first), len(found)
    best = [n for n, first in zip(together.names, together.first, strict=True) if first == most]
    if len(best) == len(together.names):
        return f"No optimizer stands out over {count} problems."
    if len(best) > 3:
        best = [*best[:3], f"{len(best) - 3} more"]
    where = f"all {count} problems" if most == count else f"{most} of {count} problems"
    are = "is" if len(best) == 1 else "are"
    return f"{listed(best)} {are} best, or not distinguishable from the best, on {where}."


def between(low: str, high: str) -> str:
    """An interval between two numbers, as printed."""
    return f"{low} to {high}"
