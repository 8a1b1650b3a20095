"""What the posts and textbooks say of optimizers, sentence by sentence, measured and judged.

The sentences are from Bex Tuychiev, "Adam Optimizer Tutorial: Intuition and Implementation in
Python" (29 August 2024); most textbooks have them too. Each is tried on the problems of
`ravine.experiments.grids`, under one protocol:

- every optimizer has the same grid of learning rates, and its other hyperparameters at their
  defaults; the best rate is chosen on tuning seeds, and what is reported are other seeds;
- on one seed every optimizer has the same start and the same batches, so differences are paired;
- a difference counts when its 95% bootstrap interval over the seeds is on one side. A claim that
  looks at many problems widens its intervals, so that all of them hold at once (Bonferroni).

No verdict is written down here: `units.py` measures, `adam.py` and `others.py` compare, `judging.py`
decides.

    results = [run(spec) for spec in specs()]       # each can be stored, they are dicts
    verdicts(results), table(results)
"""

from __future__ import annotations

from collections.abc import Callable

from ravine.experiments.claims.adam import (
    less_sensitive,
    low_memory,
    more_quickly,
    needs_no_clipping,
    superior,
)
from ravine.experiments.claims.judging import Claim
from ravine.experiments.claims.others import (
    dampens_oscillations,
    escapes_local_minima,
    rate_needs_decrease,
    rmsprop_often_better,
)
from ravine.experiments.claims.races import Results, table
from ravine.experiments.claims.units import depends, run, specs

__all__ = ["CLAIMS", "depends", "run", "specs", "table", "verdicts"]

CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    needs_no_clipping,
    less_sensitive,
    more_quickly,
    low_memory,
    superior,
    rmsprop_often_better,
    dampens_oscillations,
    escapes_local_minima,
    rate_needs_decrease,
)


def verdicts(results: Results) -> list[Claim]:
    """Judge every claim; each function of `CLAIMS` says how, `judge` what is returned."""
    return [claim(results) for claim in CLAIMS]
