"""The section of a race's page on how the race was run."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ravine.races.findings import Comparison
from ravine.races.runs import CHOOSE, REPORT, TUNE, Run
from ravine.races.sentences import listed, plural

__all__ = ["escaped", "method"]


def escaped(text: str) -> str:
    """Text escaped for HTML."""
    return html.escape(text, quote=True)


def method(found: Sequence[Comparison], runs: Sequence[Run], commands: Sequence[str]) -> str:
    """The section: protocol, commands, versions and machines."""
    comparison = found[0]
    said = []
    if comparison.tuned:
        again = comparison.seeds[CHOOSE]
        said += [
            f"Tuning on {_seeds(comparison.seeds[TUNE])}"
            + (f", the choice among the best on {_seeds(again)}" if again else "")
            + f", the report on {_seeds(comparison.seeds[REPORT])}: no seed serves two purposes.",
            "Every optimizer is searched over its own declared space, at the same points of the unit "
            "cube, and with the same budget and schedule.",
            "The score by which a trial was chosen is too good (the winner's curse), so it is not shown as a "
            "result.",
            "Intervals of tuned results contain the luck of tuning: the search is shifted over what was "
            "measured and repeated 400 times, and its variance is added to that of the seeds.",
        ]
    for each in found:
        stops = {t.stopped_at for m in each.methods for t in m.trials if t.stopped_at is not None}
        if stops:
            at = listed(f"{step:,}" for step in sorted(stops))
            said.append(
                f"Halving stopped the worse trials of each optimizer on {each.title} after {at} of "
                f"{each.run.steps:,} steps. Their final scores are unknown, so sensitivity and expected best "
                "are not shown, and intervals are too wide rather than too narrow."
            )
    pairs = max(len(c.pairs) for c in found)
    if pairs > 1:
        said.append(
            f"The {pairs} intervals for differences on a problem hold simultaneously with 95 % (Bonferroni), "
            "so a figure and its verdict say the same thing."
        )
    said.append(
        "A run is lost if its loss is not finite, or if in the last tenth of the steps it is not below that "
        "of the untrained model on the same batches. It counts as an untrained model in every mean."
    )
    how = Counter(run.how for run in runs if run.how)
    if how:
        said.append(
            f"How runs were trained: {listed(f'{k} ({n:,})' for k, n in how.most_common())}."
        )
    items = "".join(f"<li>{escaped(text)}</li>" for text in said)
    shell = f"<h3>Commands</h3><pre>{escaped(chr(10).join(commands))}</pre>" if commands else ""
    return (
        f'<section><h2 id="how">How it was done</h2><ul>{items}</ul>{shell}{_made(runs)}</section>'
    )


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' * (len(seeds) > 1)} {listed(map(str, seeds))}" if seeds else "no seed"


def _made(runs: Sequence[Run]) -> str:
    """Versions and machines, the most common first."""
    found = Counter(json.dumps(_flat(run.made)) for run in runs if run.made)
    if not found:
        return ""
    items = []
    for text, count in found.most_common():
        said = ", ".join(f"{k} {v}" for k, v in json.loads(text).items() if v)
        which = f"{plural(count, 'run')}: " if len(found) > 1 else ""
        items.append(f"<li>{escaped(which + said)}</li>")
    return f"<h3>Versions and machine</h3><ul>{''.join(items)}</ul>"


def _flat(made: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in made.items():
        if isinstance(value, Mapping):
            flat |= _flat(value)
        elif key not in ("command", "written"):
            flat[str(key)] = str(value or "")
    return flat
