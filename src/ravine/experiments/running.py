"""The races that `ravine race` runs: units of work through a run folder, then tables and figures.

Each function takes the folder, what to vary, and `progress(name, specs)`, which hands the specs
through one by one and may show how far it is. It returns the tables as lists of rows, and leaves
them in the folder with every point and, where matplotlib is installed, the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from ravine.extras import lacking
from ravine.races.store import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["claims", "conditioning", "diamonds", "figure_1"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]
Rows = list[dict[str, Any]]


def _units(
    folder: RunFolder,
    name: str,
    specs: Sequence[Mapping[str, Any]],
    depends: Callable[[Any], dict[str, Any]],
    run: Callable[[Any], dict[str, Any]],
    progress: Progress,
) -> Rows:
    """Every spec's result, from the folder where it is there."""
    keys = [{"race": name, **depends(spec)} for spec in specs]
    # A result may have been kept under another name of the rule: it is called as it is called now.
    return [
        folder.unit({"race": name, **spec}, partial(run, spec), key) | spec
        for spec, key in zip(progress(name, specs), keys, strict=True)
    ]


def _keep(folder: RunFolder, tables: Mapping[str, Rows]) -> None:
    for name, rows in tables.items():
        folder.table(name, rows)


def _draw(folder: RunFolder, figures: Callable[[], Mapping[str, Figure]], dpi: int = 300) -> None:
    """Draw figures and keep them. Without matplotlib a race has its tables."""
    if not lacking("matplotlib"):
        for name, figure in figures().items():
            folder.figure(name, figure, dpi=dpi)


def figure_1(
    folder: RunFolder,
    progress: Progress,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    iterations: int | None = None,
    as_published: bool = False,
    full: bool | str | None = None,
) -> dict[str, Rows]:
    """The first post's figure: torch.optim's four optimizers and Ravine's on the same batches.

    seeds: each chooses weights and batches. iterations: batches of 64; by default the original's
    147. as_published: add the first post's optimizers with their faults. full: train on the whole
    of Fashion-MNIST where it is installed. Returns the tables "figure-1", "figure-1-pairs" and,
    as published, "figure-1-faults".
    """
    from ravine.experiments import figure1

    count = iterations or figure1.ITERATIONS
    specs = figure1.specs(seeds, iterations=count, as_published=as_published, full=full)
    folder.manifest(**{"figure-1": {"seeds": list(seeds), "iterations": count, "full": full}})
    results = _units(folder, "figure-1", specs, figure1.depends, figure1.run, progress)
    tables = {"figure-1": figure1.table(results), "figure-1-pairs": figure1.pairs(results)}
    if as_published:
        tables["figure-1-faults"] = figure1.faults(results)

    def figures() -> Mapping[str, Figure]:
        from ravine.experiments import plots

        faults = {"figure-1-faults": plots.figure_1_faults(results)} if as_published else {}
        return {"figure-1": plots.figure_1(results), **faults}

    _draw(folder, figures)
    _keep(folder, tables)
    folder.table("figure-1-points", figure1.points(results))
    return tables


def diamonds(
    folder: RunFolder,
    progress: Progress,
    *,
    seeds: Sequence[int] = range(12),
    exercise: Mapping[str, Any] | None = None,
) -> dict[str, Rows]:
    """The second post's experiment: as published, corrected, the floor; or the reader's exercise.

    seeds: of the corrected runs. exercise: what to change (lr, batch_size, epochs,
    stopping_threshold, optimizers), as in :func:`ravine.experiments.diamonds.exercise_specs`; then only
    that is run. Returns the tables "diamonds-as-published", "diamonds-corrected" and
    "diamonds-floor", or "diamonds-exercise" and "diamonds-floor".
    """
    from ravine.experiments import diamonds as race

    folder.manifest(diamonds={"seeds": list(seeds), "exercise": exercise})
    floor = race.floor()
    if exercise is not None:
        results = _diamonds(folder, race.exercise_specs(seeds=seeds, **exercise), progress)
        tables = {"diamonds-exercise": race.exercise_table(results), "diamonds-floor": floor}
        shown = {
            "diamonds-exercise": [_medians(row, results) for row in tables["diamonds-exercise"]]
        }
        seeded = results
    else:
        published = race.as_published_specs()
        specs = [*published, *race.corrected_specs(seeds)]
        results = _diamonds(folder, specs, progress)
        ours, mended = results[: len(published)], results[len(published) :]
        tables = {
            "diamonds-as-published": race.as_published_table(ours),
            "diamonds-corrected": race.corrected_table(mended),
            "diamonds-floor": floor,
        }
        shown = {name: tables[name] for name in tables if name in _TITLES}
        seeded = mended[len(race.PROTOCOL) :]
        folder.csv("optimization_results", race.optimization_results(tables["diamonds-corrected"]))
        folder.csv(
            "optimization_results_as_published",
            race.optimization_results(tables["diamonds-as-published"]),
        )
    _keep(folder, tables)

    def figures() -> Mapping[str, Figure]:
        from ravine.experiments import plots

        best = {row["line"]: row["test_rmse"] for row in floor}
        bars = {name: plots.diamonds_bars(rows, _TITLES[name]) for name, rows in shown.items()}
        seeds = plots.diamonds_seeds(
            seeded,
            best_line=best["best line for the test rows"],
            least_squares=best["least squares"],
        )
        return {**bars, "diamonds-seeds": seeds}

    _draw(folder, figures)
    folder.table("diamonds-points", race.points(results))
    return tables


def _diamonds(folder: RunFolder, specs: Sequence[Mapping[str, Any]], progress: Progress) -> Rows:
    from ravine.experiments import diamonds as race
    from ravine.registry import get

    # Each rule is loaded once, so that its key and its runs are of one version of its file.
    rules = {name: get(name) for name in dict.fromkeys(spec["optimizer"] for spec in specs)}
    depends, run = partial(race.depends, rules=rules), partial(race.run, rules=rules)
    return _units(folder, "diamonds", specs, depends, run, progress)


_TITLES = {
    "diamonds-as-published": "Diamonds as published: three of four climb",
    "diamonds-corrected": "Diamonds with the gradient's sign mended",
    "diamonds-exercise": "Diamonds: the reader's exercise",
}


def _medians(row: Mapping[str, Any], results: Rows) -> dict[str, Any]:
    seconds = median(r["seconds"] for r in results if r["optimizer"] == row["optimizer"])
    return {"method": row["method"], "rmse": row["rmse_median"], "seconds": seconds}


def claims(
    folder: RunFolder,
    progress: Progress,
    *,
    seeds: Sequence[int] | None = None,
    quick: bool = False,
) -> dict[str, Rows]:
    """What the posts and textbooks say of optimizers, measured and judged.

    seeds: reported; learning rates are tuned on others. quick: a coarser grid, shorter runs.
    Returns the tables "claims" (a verdict a row) and "claims-races" (what was measured).
    """
    from ravine.experiments import claims as race

    specs = race.specs(seeds, quick=quick)
    folder.manifest(claims={"seeds": specs[0]["seeds"], "quick": quick})
    results = _units(folder, "claims", specs, race.depends, race.run, progress)
    verdicts = race.verdicts(results)
    shown = ("claim", "source", "verdict", "sentence", "depends_on", "criterion")
    tables = {
        "claims": [{key: verdict[key] for key in shown} for verdict in verdicts],
        "claims-races": race.table(results),
    }
    _keep(folder, tables)
    folder.json("claims-evidence", verdicts)

    def figures() -> Mapping[str, Figure]:
        from ravine.experiments import claims_plots as plots

        drawn = plots.claims(results, verdicts).items()
        return {name if name.startswith("claim") else f"claims-{name}": f for name, f in drawn}

    _draw(folder, figures, dpi=150)
    return tables


def conditioning(
    folder: RunFolder, progress: Progress, *, seeds: Sequence[int] = range(10), quick: bool = False
) -> dict[str, Rows]:
    """When adaptive methods help: least squares on the diamonds, raw and standardised.

    seeds: reported; learning rates are tuned on others. quick: a coarser grid, shorter runs.
    Returns the tables "conditioning" and "conditioning-conclusion" (one row, one sentence).
    """
    from ravine.experiments import conditioning as race

    folder.manifest(conditioning={"seeds": list(seeds), "quick": quick})
    specs = race.specs(seeds, quick=quick)
    results = _units(folder, "conditioning", specs, race.depends, race.run, progress)
    tables = {
        "conditioning": race.table(results),
        "conditioning-conclusion": [{"conclusion": race.conclusion(results)}],
    }
    _keep(folder, tables)

    def figures() -> Mapping[str, Figure]:
        from ravine.experiments import conditioning_plots as plots

        return plots.conditioning(results)

    _draw(folder, figures, dpi=150)
    return tables
