"""What the posts and textbooks say of optimizers, sentence by sentence, measured and judged.

The sentences are from the posts, in :mod:`ravine.experiments.quotations`; most textbooks have them too.
They are tested on the problems of `ravine.experiments.problems`, or on small ones made for the situation
in a sentence, under one protocol:

- every optimizer has the same grid of learning rates, and its other hyperparameters at their
  defaults; the best rate is chosen on tuning seeds, and other seeds are reported;
- for one seed, every optimizer has the same start and the same batches, so differences are paired;
- a difference counts if its 95% bootstrap interval over the seeds is on one side of the threshold. A
  claim about many problems widens its intervals, so that all of them hold simultaneously (Bonferroni).

No verdict is hard-coded: `units.py` measures, `said.py` and `situations.py` declare what counts for each
claim, and `judging.py` decides, by one rule for all.

    results = [run(spec) for spec in specs()]       # each can be stored, they are dicts
    verdicts(results), table(results)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ravine.experiments.claims import said, situations  # noqa: F401  which declare claims
from ravine.experiments.claims.judging import CLAIMS, Verdict
from ravine.experiments.claims.races import Races, Results, table
from ravine.experiments.claims.units import depends, look_up, run, specs
from ravine.experiments.running import Experiment, Shown

__all__ = ["CLAIMS", "depends", "experiment", "run", "specs", "table", "verdicts"]


def experiment(seeds: Iterable[int] | None = None, **changes: Any) -> Experiment:
    """Set up the experiment; the arguments are those of :func:`ravine.experiments.claims.units.specs`.

    Its tables are "claims" (a verdict a row) and "claims-races" (what was measured).
    """
    listed = specs(seeds, **changes)
    found = {x["optimizer"]: look_up(x) for x in listed if "optimizer" in x}
    clipped, asked = dict.fromkeys(x["optimizer"] for x in listed if x.get("clip")), None
    if changes.get("optimizers") is not None:  # theirs are the first clipped races
        asked = list(clipped)[: len(changes["optimizers"])]
    return Experiment(
        "claims",
        {"seeds": listed[0]["seeds"], **changes},
        listed,
        partial(depends, found=found),
        partial(run, found=found),
        partial(show, subjects=asked),
        dpi=150,
        alone=False,
    )


def show(results: Sequence[Mapping[str, Any]], subjects: Sequence[str] | None = None) -> Shown:
    """Make the tables and figures of the results."""
    judged = verdicts(results, subjects)
    shown = ("claim", "source", "verdict", "sentence", "depends_on", "criterion")
    tables = {
        "claims": [{key: verdict[key] for key in shown} for verdict in judged],
        "claims-races": table(results),
    }

    def figures() -> Mapping[str, Any]:
        from ravine.experiments import claims_plots as plots

        return plots.claims(results, judged)

    return Shown(tables, figures, {"claims-evidence.json": judged})


def verdicts(results: Results, subjects: Sequence[str] | None = None) -> list[Verdict]:
    """Judge every claim; :meth:`ravine.experiments.claims.judging.Claim.judge` says what is returned.

    subjects: optimizers on which the claims about Adam are tested, instead of all claims.
    """
    if subjects is None:
        races = Races(results)
        return [claim.judge(races) for claim in CLAIMS]
    made = []
    for races in (Races(results, subject) for subject in subjects):
        for claim in (each for each in CLAIMS if "{me}" in each.claim):
            name = re.sub(r"[^\w.]+", "-", f"{claim.name} {races.name}").strip("-")
            made.append(replace(claim, name=name).judge(races))
    return made
