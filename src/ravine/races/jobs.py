"""Jobs: what is missing in a folder is computed, in batches, by any executor.

Results travel through the folder, not through the executor: a batch keeps each of its runs in a file,
and afterwards the folder is asked what is missing. So one loop (submit, wait, ask again, at the most
three times) outlives killed workers of every engine, and a race that is started again goes on from
what is there.

An executor is anything with `submit(function, *arguments)` that returns something with `.result()`:
those of concurrent.futures, loky, Dask (`client.get_executor(pure=False)`), submitit, mpi4py.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ravine.extras import without
from ravine.races.atomic import write
from ravine.races.encoding import decoded
from ravine.races.runs import Run, kept, place

__all__ = [
    "ALL",
    "Elsewhere",
    "Executor",
    "Here",
    "Missing",
    "Shard",
    "complete",
    "cores",
    "merge",
    "processes",
    "shard",
]

ATTEMPTS = 3
"""How often a run is tried before the race gives it up."""

_log = logging.getLogger("ravine")


class Executor(Protocol):
    """What runs batches. `renew`, where there is one, gives the executor to go on with after a failure."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Begin `function(*arguments)`; what is returned has `.result()`, which waits and may raise."""


class Here:
    """The executor that computes in this process, when it is asked for the result."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Keep the call until `.result()`."""
        return _Later(function, arguments)


class _Later(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def result(self) -> Any:
        return self.function(*self.arguments)


def processes(workers: int) -> Executor:
    """Processes on this machine, by loky: one that was killed is replaced.

    Raises ImportError if loky is not installed.
    """
    try:
        import loky  # noqa: F401
    except ImportError as error:
        raise ImportError(without("loky", error), name="loky") from error
    return _Loky(workers)


class _Loky:
    def __init__(self, workers: int) -> None:
        self.workers = workers

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        from loky import get_reusable_executor  # a new one if a worker of the last was killed

        return get_reusable_executor(self.workers, timeout=60).submit(function, *arguments)


@dataclass(frozen=True)
class Shard:
    """One of several parts of all batches: number `index`, counted from 1, of `count`."""

    index: int
    count: int


ALL = Shard(1, 1)


def shard(text: str) -> Shard:
    """A shard as it is written, "2/8". Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    made = Shard(*map(int, found.groups())) if found else None
    if made is None or not 1 <= made.index <= made.count:
        raise ValueError(
            f"shard {text!r} is not accepted; write i/n with i from 1 to n, such as 2/8"
        )
    return made


class Missing(Exception):
    """Runs that a race needs could not be computed."""


class Elsewhere(Missing):
    """Runs that a race needs are other shards' to compute."""


def complete(
    folder: str | Path,
    asked: Sequence[Run],
    work: Callable[[str, list[Run]], Any],
    *,
    batches: Callable[[Sequence[Run]], Iterable[Sequence[Run]]],
    executor: Executor | None = None,
    shard: Shard = ALL,
    done: Callable[[Sequence[Run]], Any] = lambda runs: None,
    find: Callable[[str | Path, Any], Any] = kept,
) -> list[Run]:
    """The runs that are asked for, from the folder where they are there, computed where not.

    work(folder, runs) computes the runs of a batch and keeps each in the folder; it travels to other
    processes, so it is a function of a module, or a `functools.partial` of one. batches: how runs are
    put together. done: is called with runs as they become known, those that were there first. find: looks
    one up in the folder.

    A shard computes its share of the batches. Raises Missing, naming what failed and why, where runs
    are not there after three attempts, and Elsewhere where other shards have yet to compute theirs. An
    OSError of this machine, such as a full disk, is raised at once.
    """
    where, executor = str(folder), executor or Here()
    cut = [list(batch) for batch in batches(asked)]
    mine = [batch for i, batch in enumerate(cut) if i % shard.count == shard.index - 1]
    found = {run.name: run for run in (find(folder, each) for each in asked) if run}
    done([*found.values()])
    why: dict[str, BaseException] = {}
    for _ in range(ATTEMPTS):
        todo = [[run for run in batch if run.name not in found] for batch in mine]
        started = [(runs, _submitted(executor, work, where, runs)) for runs in todo if runs]
        for runs, future in started:
            try:
                future.result()
            except OSError:
                raise
            except Exception as error:  # a killed worker is one, by many names
                why |= {run.name: error for run in runs}
            new = [run for run in (find(folder, each) for each in runs) if run]
            found |= {run.name: run for run in new}
            done(new)
        if all(run.name in found for batch in mine for run in batch):
            break
        _log.warning("some runs were not computed (%s); they are tried again", _reason(why, found))
    missing = [run for run in asked if run.name not in found]
    if not missing:
        return [found[run.name] for run in asked]
    own = [run for batch in mine for run in batch if run.name not in found]
    if own:
        raise Missing(
            f"{len(own)} runs could not be computed in {ATTEMPTS} attempts, the first of them "
            f"{own[0]}: {_reason(why, found)}"
        )
    raise Elsewhere(
        f"{len(missing)} runs are other shards' to compute; when they are in {folder}, the same command "
        "goes on from there"
    )


class _Failed(NamedTuple):
    error: BaseException

    def result(self) -> Any:
        raise self.error


def _submitted(
    executor: Executor, work: Callable[[str, list[Run]], Any], folder: str, runs: list[Run]
) -> Any:
    try:
        return executor.submit(_do, work, folder, runs)
    except OSError:
        raise
    except Exception as error:  # an executor that broke while the batch before was submitted
        return _Failed(error)


def _do(work: Callable[[str, list[Run]], Any], folder: str, runs: list[Run]) -> None:
    """Compute what is missing of a batch: some engines start one again whose worker was killed."""
    if missing := [run for run in runs if not place(folder, run.name).exists()]:
        work(folder, missing)


def _reason(why: dict[str, BaseException], found: dict[str, Run]) -> str:
    errors = [error for name, error in why.items() if name not in found]
    if not errors:
        return "no reason was given"
    return f"{type(errors[0]).__name__}: {errors[0]}".splitlines()[0]


def merge(folder: str | Path, others: Iterable[str | Path]) -> tuple[int, int]:
    """Copy the runs of other folders into one. Returns how many are new, and how many were there.

    Raises FileNotFoundError for a folder that does not exist, and ValueError for one without runs. A
    damaged file is named and left out.
    """
    new = there = 0
    for other in others:
        if not Path(other, "runs").is_dir():
            kind = ValueError if Path(other).is_dir() else FileNotFoundError
            raise kind(f"{other} holds no runs of a race; those are kept below {other}/runs")
        for path in sorted(Path(other).glob("runs/[0-9a-f][0-9a-f]/*.json")):
            target = place(folder, path.stem)
            if target.exists():
                there += 1
                continue
            data = path.read_bytes()
            try:
                decoded(data)
            except ValueError as error:
                _log.warning("%s is damaged (%s), and left out", path, error)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target, data)
            new += 1
    return new, there


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
