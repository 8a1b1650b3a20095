"""The result of a search: a verdict in plain words, with its evidence."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ravine.checks.fitting import recognised
from ravine.checks.probe import Path, distances
from ravine.checks.wrong.site import plain
from ravine.engines.graph import Graph
from ravine.engines.python import equations

__all__ = ["VERDICTS", "Finding", "differences", "leaving", "marked"]

VERDICTS: Mapping[str, str] = {
    "right": "it is the rule",
    "variant": "it is a known variant of the rule, or a convention that the field has in both forms",
    "another rule": "it is a known rule, but not the one that its name claims",
    "other numbers": "it is the rule with other hyperparameters than those that were asked for",
    "single precision": "it is the rule, computed in float32",
    "fault": "it is not the rule, and what is wrong with it is known",
    "unknown": "no known rule and no known fault takes its path",
    "could not run": "it could not be made, or stepped",
}
"""Every verdict, and what it means."""


@dataclass
class Finding:
    """What an optimizer is.

    verdict: one of VERDICTS. rule: what it is, or what it should be. says: the diagnosis. distance: the
    largest relative distance of its updates from those of the rule found. values: its effective
    hyperparameters; asked: the requested ones. finite: the share of the updates used to identify it that
    are finite. evidence: sentences with numbers. marked: the lines of the rule that differ, before ("- ")
    and after ("+ "). also: other explanations that the probe cannot distinguish from this one. tried: the
    number of candidates run. late: whether the search ended at its deadline. trial: the rule with its
    values, ready to run.
    """

    verdict: str
    rule: str = ""
    says: str = ""
    distance: float = 2.0
    values: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    evidence: list[str] = field(default_factory=list)
    marked: list[str] = field(default_factory=list)
    also: list[str] = field(default_factory=list)
    finite: float = 1.0
    tried: int = 0
    seconds: float = 0.0
    late: bool = False
    trial: Any = field(default=None, repr=False)

    @property
    def good(self) -> bool:
        """Whether there is nothing to fix."""
        return self.verdict in ("right", "variant", "single precision")

    def __str__(self) -> str:
        return f"{self.verdict}: {self.rule}{': ' * bool(self.rule and self.says)}{self.says}"


def leaving(path: Path, rule: Path, values: Mapping[str, Any], rounding: float, name: str) -> str:
    """Where a path first leaves a rule's, and by how much; "" if it does not."""
    off = distances(path, rule, rounding) > 1e-6
    steps = np.flatnonzero(off.any(axis=1))
    if not steps.size:
        return ""
    step, here = int(steps[0]), off[steps[0]]
    lost = int((~np.isfinite(path[step + 1])).sum())
    if lost:
        return f"in step {step + 1}, {lost} of {here.size} parameters become NaN or infinite"
    with np.errstate(all="ignore"):
        ratios = np.diff(path, axis=0)[step] / np.diff(rule, axis=0)[step]
    its = ratios[here & np.isfinite(ratios)]
    when = f"from step {step + 1} on" if step + 1 < len(off) else f"in step {step + 1}"
    if not its.size:
        return f"{when} it leaves {name}"
    if not its.any():
        return f"in step {step + 1}, {here.sum()} of {here.size} parameters stay where {name} moves them"
    spread = float(np.ptp(its)) if its.size > 1 else 0.0
    if spread < 1e-6 * abs(its[0]):
        ratio = float(its[0])
        what = recognised(ratio, values)
        where = (
            "every update" if here.all() else f"the update of {here.sum()} of {here.size} numbers"
        )
        known = f", which is {what}" if what and not what.lstrip("−").isdigit() else ""
        return f"in step {step + 1} {where} is {ratio:.6g} times {name}'s{known}"
    middle = float(np.median(its))
    return (
        f"{when} it leaves {name}: {here.sum()} of {here.size} updates there are {its.min():.3g} to "
        f"{its.max():.3g} times the rule's (the median {middle:.4g})"
    )


def marked(right: Graph, wrong: Graph) -> list[str]:
    """The equations of a rule that differ from those of another version."""
    try:
        before, after = ([plain(x, right) for x in equations(g)] for g in (right, wrong))
        return [x for x in difflib.ndiff(before, after) if x[0] in "-+"]
    except Exception:  # equations that cannot be printed are not shown
        return []


def differences(
    values: Mapping[str, Any], asked: Mapping[str, Any], called: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """The hyperparameters whose effective values differ from the requested ones."""
    found = []
    for k, v in values.items():
        mine = (n for n in called.get(k, (k,)) if n in asked and (n == k or n not in values))
        name = next(mine, None)
        if name is None:
            continue
        want = asked[name]
        if isinstance(v, bool) or isinstance(want, bool):
            if v != want:
                found.append(f"{name} was asked to be {want} and acts as {v}")
        elif abs(v - want) > 1e-6 * max(abs(want), abs(v), 1e-9):
            ratio = recognised(v / want, asked) if want else ""
            times = f", {v / want:.6g} times that" if want else ""
            known = f": {ratio}" if ratio and not ratio.lstrip("−").isdigit() else ""
            found.append(f"{name} was asked to be {want:g} and acts as {v:.6g}{times}{known}")
    return found
