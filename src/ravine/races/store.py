"""Run folders: the results of a race, stored as it goes, so that nothing is lost and it can be resumed.

    manifest.json          versions, settings, git revision, CPU, when, how it ended
    runs/3f/<hash>.json    one file for each run of a race, see `ravine.races.runs`
    units/<hash>.json      one file for each unit of an experiment, found by what its result depends on
    <table>.csv, .json     the tables and every point; <figure>.png, .svg

Every file is written under a temporary name and then renamed, so there are no partial files. Any number
of processes may work in one folder; at worst, each of them computes the same unit. What the user must
know is logged as a warning of the logger "ravine".
"""

from __future__ import annotations

import csv
import io
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ravine.races.atomic import aside, sweep, write
from ravine.races.encoding import encoded, name, result, to_json
from ravine.races.environment import MADE_WITH, differences, environment
from ravine.races.jobs import complete
from ravine.races.runs import kept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunFolder", "Stopped", "Unit", "finished", "picture", "to_json"]

_log = logging.getLogger("ravine")


class Stopped(KeyboardInterrupt):
    """The process was asked to end by Ctrl-C, SIGTERM or SIGHUP. code: its exit code, 128 + the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@dataclass(frozen=True)
class Unit:
    """A unit of work of an experiment.

    asked: its spec. depends: everything that the result depends on. The unit is found by it, so it
    contains digests, but no names and paths. Both, and the result, can be represented in JSON, where
    numbers may be infinite or NaN. made: the versions and machine that computed it.
    """

    asked: Mapping[str, Any]
    depends: Mapping[str, Any]
    result: Any = None
    made: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """The name of its file."""
        return name(self.depends)

    def __str__(self) -> str:
        return ", ".join(f"{k} {v}" for k, v in self.asked.items() if isinstance(v, (str, int)))

    def path(self, folder: str | Path) -> Path:
        """The path of its file."""
        return Path(folder, "units", f"{self.name}.json")

    def kept(self, folder: str | Path) -> Unit | None:
        """The unit with its result; None if that is not in the folder. A damaged file is set aside."""
        path = self.path(folder)
        try:
            made, found = result(path.read_bytes(), self.depends)
            return replace(self, made=made, result=found)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            _put_aside(path, error, "its run is recomputed")
            return None

    def keep(self, folder: str | Path, found: Any) -> None:
        """Store its result."""
        now = environment()
        made = {key: now[key] for key in MADE_WITH}
        record = {"asked": self.asked, "depends": self.depends, "made": made, "result": found}
        write(self.path(folder), encoded(record))


def finished(folder: str | Path, units: Iterable[Unit]) -> list[Unit]:
    """The units whose result is in the folder, with their results."""
    return [found for unit in units if (found := unit.kept(folder))]


class RunFolder:
    """A folder that a race writes to. Opening an existing one continues where it stopped.

    reused: the number of results in the folder that were not computed through this object.

    Raises OSError with a message that names the folder if it cannot be written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.reused = 0
        self._done: set[str] = set()  # the names of runs that were computed or reused
        self._stopped: Stopped | None = None
        self._ending = (
            False  # only a little remains to be done, and a second signal does not stop that
        )
        self._others: dict[str, None] = {}  # versions that computed the reused results
        try:
            (self.path / "units").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"--out {str(path)!r} cannot be written to ({error.strerror or error}); "
                "name a folder that exists or can be made, and that you may write to"
            ) from error
        sweep(self.path)
        sweep(self.path / "units")
        self._before = self._manifest()

    # ---- the manifest --------------------------------------------------------------------------

    def manifest(self, **entries: Any) -> None:
        """Set entries in manifest.json; versions and machine are those of the latest computation."""
        now = environment()
        latest = {key: now[key] for key in ("command", "written")}
        self.json("manifest", {**now, **self._manifest(), **latest, **entries})

    def entry(self, name: str) -> dict[str, Any]:
        """An entry of manifest.json; empty if there is none."""
        found = self._manifest().get(name)
        return found if isinstance(found, dict) else {}

    def _manifest(self) -> dict[str, Any]:
        path = self.path / "manifest.json"
        try:
            found = json.loads(path.read_bytes())
            if not isinstance(found, dict) or "ravine" not in found:
                raise ValueError("it is not a manifest of Ravine")
            return found
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            _put_aside(path, error, "it is rewritten")
            return {}

    # ---- a race --------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[None]:
        """Run a race within this context: the manifest says how it ends, whatever ends it.

        Ctrl-C, SIGTERM and SIGHUP raise :class:`Stopped`. If a race is stopped, what has been stored is
        logged. So are the other versions that computed reused results.
        """
        start, self._ending = time.perf_counter(), False
        with _on_signals(self._stop):
            try:
                self.manifest(status="running", error=None)
                yield
                self._end_if_stopped()
                seconds = time.perf_counter() - start
                self.manifest(status="complete", seconds=seconds, reused=self.reused)
            except BaseException as error:
                self._ending, stopped = True, isinstance(error, KeyboardInterrupt)
                status = "interrupted" if stopped else "failed"
                with suppress(OSError):  # the disk may be full
                    self.manifest(status=status, error=f"{type(error).__name__}: {error}")
                if stopped or (isinstance(error, OSError) and self._done):
                    self._say_what_is_kept(status)
                raise
            finally:
                if self._others:
                    what = ", ".join(self._others)
                    _log.warning("runs taken from %s were computed with %s", self.path, what)

    def _stop(self, number: int, _: Any) -> None:
        if self._ending:
            return
        self._stopped = Stopped(number)
        raise self._stopped

    def _end_if_stopped(self) -> None:
        """Stop now if the exception that the signal raised was swallowed, as in a destructor or in Numba."""
        if self._stopped:
            raise self._stopped

    def _say_what_is_kept(self, status: str) -> None:
        count = len(self._done)
        kept = (
            f"{count} finished run{' is' if count == 1 else 's are'} kept in {self.path}, and the same "
            f"command with --out {self.path} goes on from there"
        )
        _log.warning("%s; %s", status, kept if count else "no run is finished")

    # ---- runs ----------------------------------------------------------------------------------

    def complete(
        self,
        asked: Sequence[Any],
        work: Callable[[str, list[Any]], Any],
        *,
        done: Callable[[Sequence[Any]], Any] = lambda runs: None,
        **how: Any,
    ) -> list[Any]:
        """The requested runs or units: from the folder if they are there, computed if not.

        The arguments are those of :func:`ravine.races.jobs.complete`.
        """
        reused = True

        def tell(runs: Sequence[Any]) -> None:
            nonlocal reused
            new = [run for run in runs if run.name not in self._done]
            self._done |= {run.name for run in new}
            if reused:
                self.reused += len(new)
                now = environment()
                for then in (self._before, *(run.made for run in new)) if new else ():
                    self._others |= dict.fromkeys(differences(then, now))
            elif len(self._done) == self.reused + len(new):  # the first that are computed
                self.manifest(**environment())
            reused = False
            self._end_if_stopped()
            done(runs)

        try:
            return complete(self.path, asked, work, done=tell, **how)
        except BaseException:  # one may have been written without notice
            find = how.get("find", kept)
            left = [run for run in asked if run.name not in self._done]
            self._done |= {run.name for run in find(self.path, left)}
            raise

    # ---- tables and figures --------------------------------------------------------------------

    def json(self, name: str, value: Any) -> Path:
        """Write `name`.json."""
        return self._write(f"{name}.json", to_json(value).encode())

    def csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write `name`.csv: one row per mapping, a column per key."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return self._write(f"{name}.csv", text.getvalue().encode(errors="surrogateescape"))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows as `name`.csv and as `name`.json."""
        self.csv(name, rows)
        self.json(name, list(rows))

    def figure(self, name: str, figure: Figure, dpi: int = 300) -> list[Path]:
        """Write a figure as `name`.png and as `name`.svg."""
        return [
            self._write(f"{name}.{kind}", picture(figure, kind, dpi)) for kind in ("png", "svg")
        ]

    def _write(self, name: str, data: bytes) -> Path:
        return write(self.path / name, data)


def _put_aside(path: Path, error: Exception, what_then: str) -> None:
    why = (isinstance(error, OSError) and error.strerror) or error
    kept = aside(path, "damaged")
    _log.warning("%s is damaged (%s); it is kept as %s, and %s", path, why, kept.name, what_then)


def picture(figure: Figure, kind: str, dpi: int = 300) -> bytes:
    """A figure as the bytes of a file; kind: "png" or "svg"."""
    data = io.BytesIO()
    figure.savefig(data, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else {})
    return data.getvalue()


@contextmanager
def _on_signals(stop: Callable[[int, Any], None]) -> Iterator[None]:
    """Within this context, signals that end a process call `stop`, unless something else handles them.

    If its exception cannot propagate, Python does not show it.
    """
    usual = (signal.SIG_DFL, signal.default_int_handler)
    taken: dict[int, Any] = {}
    show = sys.unraisablehook
    try:
        sys.unraisablehook = lambda lost: None if lost.exc_type is Stopped else show(lost)
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                if number is not None and signal.getsignal(number) in usual:
                    taken[number] = signal.signal(number, stop)
        yield
    finally:
        sys.unraisablehook = show
        for number, before in taken.items():
            signal.signal(number, before)
