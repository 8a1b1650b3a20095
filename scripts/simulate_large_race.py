"""A race of a hundred thousand runs with curves of a thousand points, simulated: how long the rest takes.

Nothing is trained: the runs of a race over many problems and optimizers are made up, and kept as shards
of a race keep them, each run in a separate file. Measured is what comes after the training: merging the
shards, resuming, reading, the report with its page, the Parquet file, a query by DuckDB, and how large
everything is.

    python scripts/simulate_large_race.py FOLDER [RUNS] [POINTS]

The shards are kept in FOLDER, and used again.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from ravine.races import atomic, runs
from ravine.races.curves import Curve
from ravine.races.environment import MADE_WITH, environment
from ravine.races.report import Report
from ravine.races.runs import CHOOSE, REPORT, TUNE, Run

SHARDS, OPTIMIZERS = 4, 10
SEARCH, FINALISTS, CHOOSING, SEEDS = 100, 5, 3, 10  # as in the tier k100
EACH = SEARCH + FINALISTS * CHOOSING + 2 * SEEDS  # runs of an optimizer on a problem
STEPS = 10_000


def made_up(count: int, points: int) -> Iterator[Run]:
    """Runs of so many problems that there are `count` of them: losses that fall, with noise."""
    made = {key: environment()[key] for key in MADE_WITH}
    random = np.random.default_rng(0)
    steps = np.linspace(STEPS / points, STEPS, points).round().astype(int)
    looks = np.linspace(0, STEPS, 21).round().astype(int)
    left = count
    for problem in range(math.ceil(count / EACH / OPTIMIZERS)):
        for optimizer in range(OPTIMIZERS):
            for role, trial, seed in list(planned())[:left]:
                lr = 1e-3 if trial == 0 else 1e-4 * 1e5 ** ((trial * 0.618) % 1)
                floor = 0.2 + 0.05 * math.log10(lr / 10 ** (-2 + optimizer / 5)) ** 2
                fall = (2.3 - floor) * np.exp(-steps / STEPS * 6) + floor
                losses = fall * np.exp(0.05 * random.standard_normal(points))
                scores = 0.9 - 0.3 * (floor - 0.2) - np.exp(-looks / STEPS * 6) / 2
                scores += 0.01 * random.standard_normal(len(looks))
                yield Run(
                    task=f"{problem:032x}",
                    rule=f"{optimizer:032x}",
                    hyperparameters={"lr": lr, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
                    role=role,
                    seed=seed,
                    steps=STEPS,
                    batch_size=32,
                    schedule="linear",
                    problem=f"problem {problem}",
                    optimizer=f"optimizer {optimizer}",
                    trial=trial,
                    space={"lr": (1e-4, 10.0, 0.0)},
                    score_name="accuracy",
                    lower_is_better=False,
                    parameters=1_000_000,
                    curve=Curve.of(steps, losses),
                    evaluations=Curve.of(looks, scores),
                    score=float(scores[-1]),
                    seconds_per_step=1e-3,
                    memory_per_parameter=8.0,
                    how="swarm",
                    made=made,
                )
            left = max(left - EACH, 0)


def planned() -> Iterator[tuple[str, int, int]]:
    """Role, trial and seed of an optimizer's runs on a problem."""
    yield from ((TUNE, trial, 1000) for trial in range(1, SEARCH + 1))
    best = range(40, 40 + FINALISTS)
    yield from ((CHOOSE, trial, 2000 + i) for trial in best for i in range(CHOOSING))
    yield from ((REPORT, trial, seed) for trial in (0, 42) for seed in range(SEEDS))


def size(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{sum(path.stat().st_size for path in files) / 1e6:,.0f} MB in {len(files):,} files"


def timed(what: str, then: float) -> None:
    """Seconds of one core, which other users of the machine change least."""
    print(f"{what:<34} {time.process_time() - then:8.1f} s", flush=True)


QUERY = """
    SELECT optimizer, round(avg(curve_losses[-1]), 3) AS loss, count(*) AS runs
    FROM '{}' WHERE role = 'report' AND trial > 0 GROUP BY optimizer ORDER BY loss
"""


def main(folder: Path, count: int, points: int) -> None:
    shards = [folder / f"{count}-{points}" / f"shard{i}" for i in range(SHARDS)]
    print(f"{count:,} runs of {points:,} points")
    then = time.process_time()
    if not shards[-1].exists():
        with mock.patch.object(os, "fsync"):  # nothing to lose here
            for i, run in enumerate(made_up(count, points)):
                runs.keep(shards[i % SHARDS], run)
        timed("kept, without fsync", then)
    print(f"{'as shards':<34} {size(shards[0].parent)}", flush=True)
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    then = time.process_time()
    new, _ = runs.merge(whole, shards)
    timed(f"merged, {new:,} new", then)
    print(f"{'merged':<34} {size(whole)}", flush=True)
    then = time.process_time()
    report = Report(whole)
    timed(f"read and compared, {len(report.runs):,} runs", then)
    then = time.process_time()
    path = atomic.write(whole / "report.html", report.html().encode())
    timed(f"page, {path.stat().st_size / 1e6:.2f} MB", then)
    as_table(report, whole)
    del report
    then = time.process_time()
    runs.merge(whole, shards[:1])
    timed("a shard merged again, nothing new", then)
    then = time.process_time()
    found = runs.kept(whole, runs.read(whole))
    timed(f"resumed, {len(found):,} there", then)


def as_table(report: Report, whole: Path) -> None:
    try:
        from ravine.races.parquet import write
    except ImportError:
        print("pyarrow is not installed: no Parquet")
        return
    then = time.process_time()
    table = write(report.runs, whole / "runs.parquet")
    timed(f"Parquet, {table.stat().st_size / 1e6:,.0f} MB", then)
    try:
        import duckdb
    except ImportError:
        print("duckdb is not installed: no query")
        return
    then = time.process_time()
    rows = duckdb.sql(QUERY.format(table)).fetchall()
    timed(f"means by DuckDB, {len(rows)} rows", then)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    numbers = [int(text) for text in sys.argv[2:4]]
    main(Path(sys.argv[1]), *numbers, *(100_000, 1000)[len(numbers) :])
