"""What the posts and textbooks say of optimizers, sentence by sentence, measured and judged.

The sentences are from the posts, in :mod:`ravine.experiments.quotations`; most textbooks have them too.
They are tried on the problems of `ravine.experiments.grids`, or on small ones made for the situation that
a sentence names, under one protocol:

- every optimizer has the same grid of learning rates, and its other hyperparameters at their
  defaults; the best rate is chosen on tuning seeds, and what is reported are other seeds;
- on one seed every optimizer has the same start and the same batches, so differences are paired;
- a difference counts when its 95% bootstrap interval over the seeds is on one side. A claim that
  looks at many problems widens its intervals, so that all of them hold at once (Bonferroni).

No verdict is written down here: `units.py` and `situations.py` measure, `adam.py`, `others.py` and
`further.py` compare, `judging.py` decides, by one rule for all.

    results = [run(spec) for spec in specs()]       # each can be stored, they are dicts
    verdicts(results), table(results)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ravine.experiments.claims.adam import (
    less_sensitive,
    low_memory,
    more_quickly,
    needs_no_clipping,
    superior,
)
from ravine.experiments.claims.further import FURTHER
from ravine.experiments.claims.judging import Claim
from ravine.experiments.claims.others import (
    dampens_oscillations,
    escapes_local_minima,
    rate_needs_decrease,
    rmsprop_often_better,
)
from ravine.experiments.claims.races import Races, Results, table
from ravine.experiments.claims.units import depends, look_up, run, specs
from ravine.experiments.running import Experiment, Shown

__all__ = ["CLAIMS", "depends", "experiment", "run", "specs", "table", "verdicts"]

OF_ADAM: tuple[Callable[[Races], Claim], ...] = (
    needs_no_clipping,
    less_sensitive,
    more_quickly,
    low_memory,
    superior,
)
CLAIMS = (
    *OF_ADAM,
    rmsprop_often_better,
    dampens_oscillations,
    escapes_local_minima,
    rate_needs_decrease,
    *FURTHER,
)


def experiment(seeds: Iterable[int] | None = None, **changes: Any) -> Experiment:
    """Set up the experiment; the arguments are those of :func:`ravine.experiments.claims.units.specs`.

    Its tables are "claims" (a verdict a row) and "claims-races" (what was measured).
    """
    listed = specs(seeds, **changes)
    found = {x["optimizer"]: look_up(x) for x in listed if "optimizer" in x}
    clipped, asked = dict.fromkeys(x["optimizer"] for x in listed if x.get("clip")), None
    if changes.get("optimizers") is not None:  # their races are the first that are also clipped
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


def verdicts(results: Results, subjects: Sequence[str] | None = None) -> list[Claim]:
    """Judge every claim; each function of `CLAIMS` says how, `judge` what is returned.

    subjects: optimizers on which what is claimed of Adam is tried, and nothing else is.
    """
    if subjects is None:
        return [claim(Races(results)) for claim in CLAIMS]
    made = []
    for subject in subjects:
        races = Races(results, subject)
        for claim in OF_ADAM:
            found = claim(races)
            name = re.sub(r"[^\w.]+", "-", f"{found['name']} {races.name}").strip("-")
            made.append({**found, "name": name})
    return made
