"""What runs an experiment: units of work through a run folder, then tables, points and figures.

Each experiment's module has a function `experiment`, which sets it up and refuses what cannot run; what
it shows is computed from the results that the folder keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ravine.extras import lacking
from ravine.races.jobs import Executor
from ravine.races.store import RunFolder, Unit, finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Experiment", "Progress", "Rows", "Shown", "run"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]
Rows = list[dict[str, Any]]


class Shown(NamedTuple):
    """What is made of results.

    tables: printed, and kept as CSV and JSON. figures: draws them. files: what else is kept, by name; as
    CSV or JSON alone where the name ends so.
    """

    tables: dict[str, Rows]
    figures: Callable[[], Mapping[str, Figure]]
    files: Mapping[str, Rows] = {}


@dataclass(frozen=True)
class Experiment:
    """An experiment, set up and checked.

    name: of the experiment. asked: what is noted in the manifest. specs: its units of work. depends, run:
    what a spec's result depends on, and the result. show: makes tables and figures of the results, which
    are in the order of the specs. dpi: of the figures. alone: units are computed one after the other in
    this process, since they are timed, or since one goes on where another has ended.
    """

    name: str
    asked: Mapping[str, Any]
    specs: Sequence[Mapping[str, Any]]
    depends: Callable[[Any], Mapping[str, Any]]
    run: Callable[[Any], Mapping[str, Any]]
    show: Callable[[Rows], Shown]
    dpi: int = 300
    alone: bool = True
    units: list[Unit] = field(init=False)

    def __post_init__(self) -> None:
        made = [
            Unit({"race": self.name, **spec}, {"race": self.name, **self.depends(spec)})
            for spec in self.specs
        ]
        object.__setattr__(self, "units", made)


class _Work:
    """The job of a worker; it travels to other processes."""

    def __init__(self, run: Callable[[Any], Mapping[str, Any]]) -> None:
        self.run = run

    def __call__(self, folder: str, units: Sequence[Unit]) -> None:
        for unit in units:
            if not unit.path(folder).exists():
                spec = {k: v for k, v in unit.asked.items() if k != "race"}
                unit.keep(folder, self.run(spec))


def run(
    folder: RunFolder, asked: Experiment, progress: Progress, executor: Executor | None = None
) -> dict[str, Rows]:
    """Run an experiment: return its tables, which are in the folder, with points and figures.

    Without matplotlib there are no figures. progress(name, specs): yields the specs one at a time,
    and may show progress. executor: of :mod:`ravine.races.jobs`; by default, and where the
    experiment asks for it, this process.
    """
    folder.manifest(**{asked.name: asked.asked})
    bar = iter(progress(asked.name, asked.specs))
    next(bar, None)
    units = folder.complete(
        asked.units,
        _Work(asked.run),
        batches=lambda units: [[unit] for unit in units],
        find=finished,
        executor=None if asked.alone else executor,
        done=lambda units: [next(bar, None) for _ in units],
    )
    # A result may have been kept under another name of the rule: it is called as it is called now.
    shown = asked.show([x.result | spec for x, spec in zip(units, asked.specs, strict=True)])
    for name, rows in {**shown.tables, **shown.files}.items():
        stem, _, kind = name.partition(".")
        {"csv": folder.csv, "json": folder.json}.get(kind, folder.table)(stem, rows)
    if not lacking("matplotlib"):
        for name, figure in shown.figures().items():
            folder.figure(name, figure, dpi=asked.dpi)
    return shown.tables
