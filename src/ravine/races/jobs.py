"""Jobs: compute what is missing in a folder, in batches, with any executor.

Results travel through the folder, not through the executor: a batch stores each of its runs in a file,
and afterwards the folder is asked what is missing. So one loop (submit, wait, ask again, at most three
times) survives killed workers of every engine, and a race that is restarted continues from what exists.

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
    "processes",
    "shard",
]

ATTEMPTS = 3
"""The number of attempts before the race gives a run up."""

_log = logging.getLogger("ravine")


class Executor(Protocol):
    """Runs batches. `stop`, if there is one, ends everything that was submitted at once."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Start `function(*arguments)`; the returned object has `.result()`, which waits and may raise."""


class Here:
    """The executor that computes in this process, when the result is requested."""

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

    def stop(self) -> None:
        from loky import get_reusable_executor

        get_reusable_executor(self.workers, timeout=60).shutdown(wait=True, kill_workers=True)


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of all batches: number `index`, counted from 1."""

    index: int
    count: int


ALL = Shard(1, 1)


def shard(text: str) -> Shard:
    """Parse a shard, "2/8". Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    made = Shard(*map(int, found.groups())) if found else None
    if made is None or not 1 <= made.index <= made.count:
        raise ValueError(f"shard {text!r} is invalid; write i/n with i from 1 to n, such as 2/8")
    return made


class Missing(Exception):
    """Runs that a race needs could not be computed."""


class Elsewhere(Missing):
    """Runs that a race needs have to be computed by other shards."""


def complete(
    folder: str | Path,
    asked: Sequence[Run],
    work: Callable[[str, list[Run]], Any],
    *,
    batches: Callable[[Sequence[Run]], Iterable[Sequence[Run]]],
    executor: Executor | None = None,
    shard: Shard = ALL,
    done: Callable[[Sequence[Run]], Any] = lambda runs: None,
    find: Callable[[str | Path, Sequence[Any]], list[Any]] = kept,
) -> list[Run]:
    """The requested runs, read from the folder if they are there and computed if not.

    work(folder, runs) computes the runs of a batch and stores each in the folder; it is sent to other
    processes, so it is a function of a module, or a `functools.partial` of one. batches: groups the runs.
    done: called with runs as they become known, existing ones first. find: selects the runs that are in
    the folder.

    A shard computes its share of the batches. What fails is tried again: first everything at once, then a
    few batches at a time with each optimizer separate, then each run alone, because a batch that kills its
    worker may take others with it. What fails all three times is left out of the result, and reported.

    Raises Missing, naming what failed and why, if nothing could be computed, and Elsewhere if other shards
    have yet to compute theirs. An OSError of this machine, such as a full disk, is raised at once.
    """
    where, executor = str(folder), executor or Here()
    cut = [list(batch) for batch in batches(asked)]
    mine = [batch for i, batch in enumerate(cut) if i % shard.count == shard.index - 1]
    found = {run.name: run for run in find(folder, asked)}
    done([*found.values()])
    why: dict[str, BaseException] = {}

    begun: list[Any] = []

    def tried(batches: Iterable[list[Run]]) -> list[list[Run]]:
        """Compute what is missing of the batches, and return those that are still incomplete."""
        todo = [[run for run in batch if run.name not in found] for batch in batches]
        todo = [runs for runs in todo if runs]
        begun.clear()
        for runs in todo:
            begun.append(_submitted(executor, work, where, runs))
        for runs, future in zip(todo, begun, strict=True):
            try:
                future.result()
            except OSError:
                raise
            except Exception as error:  # a killed worker is one, by many names
                why.update({run.name: error for run in runs})
            new = find(folder, runs)
            found.update({run.name: run for run in new})
            done(new)
        return [runs for runs in todo if any(run.name not in found for run in runs)]

    try:
        if failed := tried(mine):
            _log.warning(
                "some runs were not computed (%s); they are tried again", _reason(why, found)
            )
            apart = [piece for batch in failed for piece in _apart(batch)]
            for i in range(0, len(apart), cores()):
                for batch in tried(apart[i : i + cores()]):
                    tried([batch])
    except BaseException:  # Ctrl-C, a full disk
        _stop(executor, begun)
        raise
    own = [run for batch in mine for run in batch if run.name not in found]
    if own:
        said = (
            f"{_runs(len(own))} could not be computed in {ATTEMPTS} attempts, the first of them "
            f"{own[0]}: {_reason(why, found)}"
        )
        if not found:
            raise Missing(said)
        _log.warning("%s", said)
    others = sum(run.name not in found for run in asked) - len(own)
    if others:
        raise Elsewhere(
            f"{_runs(others)} {'are' if others > 1 else 'is'} left to other shards; when all are in "
            f"{folder}, the same command goes on from there"
        )
    return [found[run.name] for run in asked if run.name in found]


def _apart(batch: Sequence[Run]) -> list[list[Run]]:
    """The runs of each optimizer in a batch; each unit of an experiment is separate."""
    found: dict[str, list[Run]] = {}
    for run in batch:
        found.setdefault(getattr(run, "optimizer", ""), []).append(run)
    return [*found.values()]


def _runs(count: int) -> str:
    return f"{count:,} run{'s' * (count > 1)}"


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


def _stop(executor: Executor, futures: Iterable[Any]) -> None:
    """Stop what was submitted; if the executor cannot, cancel what has not started."""
    if stop := getattr(executor, "stop", None):
        return stop()
    for future in futures:
        if cancel := getattr(future, "cancel", None):
            cancel()


def _do(work: Callable[[str, list[Run]], Any], folder: str, runs: list[Run]) -> None:
    """Compute what is missing of a batch, since some engines restart one whose worker was killed."""
    if missing := [run for run in runs if not place(folder, run.name).exists()]:
        work(folder, missing)


def _reason(why: dict[str, BaseException], found: dict[str, Run]) -> str:
    errors = [error for name, error in why.items() if name not in found]
    if not errors:
        return "no reason was given"
    return f"{type(errors[0]).__name__}: {errors[0]}".splitlines()[0]


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
