"""Checking an optimizer in a separate process, which may hang, crash or exit.

The code that reads the outcome is imported while that process works.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ravine.checks.report import Report

__all__ = ["apart", "end_with_starter", "ended", "work_and_end"]


def apart(
    spec: str,
    like: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    seconds: float = 10.0,
    timeout: float = 300.0,
    waiting: Callable[[str], None] = lambda text: None,
) -> Report:
    """Check an optimizer in another process, which is killed `timeout` seconds after its start.

    However it ends, that is reported, with the results of the finished checks. waiting: called with a
    sentence on what it is doing, after five seconds, and whenever it has been doing something else for
    five. Raises as :func:`ravine.checks.running.check_optimizer` does.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report"
        asked = {
            "spec": spec,
            "like": like,
            "arguments": dict(arguments or {}),
            "only": None if only is None else [*only],
            "seconds": seconds,
            "out": str(out),
            "timeout": timeout,
        }
        at = Path(f"{out}.at")
        command = [sys.executable, "-m", "ravine.checks.worker", repr(asked)]
        how = ended(command, timeout, _telling(spec, at, timeout, waiting))
        from ravine.checks.findings import Finding
        from ravine.checks.registry import Result
        from ravine.checks.report import Report

        if out.exists():
            found = json.loads(out.read_text())
            if "error" in found:
                raise {"LookupError": LookupError, "ValueError": ValueError}[found["kind"]](
                    found["error"]
                )
            return Report.of_dict(found)
        says = f"{how}, {_place(at)}"
        part = Path(f"{out}.part")
        if part.exists():
            report = Report.of_dict(json.loads(part.read_text()))
            report.results.append(Result(at.read_text(), "could not run", how))
            report.ended = says
            return report
    failed = Finding("could not run", "", says)
    results = [Result("identity", "could not run", says)]
    return Report(spec, failed, results, dict(arguments or {}), like)


_PATIENCE = 5.0
_AGAIN = 60.0


def _place(at: Path) -> str:
    """The current check, which its process writes to a file."""
    return f"in the check {at.read_text()}" if at.exists() else "while it was being loaded"


def _telling(
    spec: str, at: Path, timeout: float, waiting: Callable[[str], None]
) -> Callable[[float], None]:
    """Report the current check if it has changed since the last report, or after a minute."""
    told = ("", 0.0)

    def tell(seconds: float) -> None:
        nonlocal told
        place = f"running the check {at.read_text()}" if at.exists() else "being loaded"
        if place != told[0] or seconds > told[1] + _AGAIN:
            told = (place, seconds)
            rest = max(timeout - seconds, 0)
            waiting(
                f"{spec} is still {place} after {seconds:.0f} s; it will be stopped in {rest:.0f} s"
            )

    return tell


_STARTER = "RAVINE_STARTED_BY"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def ended(
    command: Sequence[str],
    timeout: float,
    still: Callable[[float], None] = lambda seconds: None,
    *,
    environment: Mapping[str, str] | None = None,
    endless: bool = False,
) -> str:
    """Run a command; return how it ended, and where.

    timeout: the seconds after which it is killed, unless it ends itself then. still: called every few
    seconds. environment: by default that of this process. endless: it ends itself when it makes no progress
    for that long, and is not killed.
    """
    begun = time.monotonic()
    with tempfile.TemporaryFile(
        "w+", errors="replace"
    ) as log:  # a pipe would wait for its children
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={
                **(environment or os.environ),
                **dict.fromkeys(_THREADS, "1"),
                _STARTER: str(os.getpid()),
                "PYTHONWARNINGS": "ignore",
            },
            start_new_session=True,
        )
        try:  # it ends itself after that time, and says where; if it cannot even do that, it is killed
            import ravine.checks.report  # noqa: F401, while that process works

            while True:
                try:
                    code = process.wait(_PATIENCE)
                    break
                except subprocess.TimeoutExpired:
                    if not endless and time.monotonic() - begun > timeout + _PATIENCE:
                        return f"did not finish within {timeout:g} s"
                    still(time.monotonic() - begun)
        finally:
            _kill(process)
        log.seek(0)
        errors = log.read()
    hung = re.search(r"^Timeout \(\d+:\d\d:\d\d", errors, re.MULTILINE)
    if hung:
        how = f"did not finish within {timeout:g} s"
    elif code < 0:
        how = f"crashed with signal {-code}"
    else:
        how = f"ended its process with code {code}"
    last = [] if code == 0 or hung else errors.strip().splitlines()[-1:]
    where = _line(errors) or (last[0][:200] if last else "")
    return f"{how}{f' ({where})' if where else ''}"


def work_and_end(work: Callable[[], None]) -> NoReturn:
    """In a process started by `ended`: do its work, and end it at once, with code 1 if that raises.

    So nothing that the checked code left behind can delay it: threads, exit handlers, a broken import system.
    """
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:
        try:
            traceback.print_exc()
        except BaseException:  # newer Pythons import modules to print one
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def end_with_starter() -> None:
    """In a process started by `ended`: end it as soon as its parent is gone, which may have been killed."""
    starter = int(os.environ.get(_STARTER, os.getppid()))

    def watch() -> None:
        while os.getppid() == starter:
            time.sleep(0.5)
        if hasattr(os, "killpg"):
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="ravine: ends with its starter", daemon=True).start()


def _kill(process: subprocess.Popen[Any]) -> None:
    """End a process, if it has not ended, and the children that it left behind."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _line(errors: str) -> str:
    """The line of the checked code, in a user's file or an installed one, from faulthandler's output."""
    from ravine.checks.guard import installed

    here = Path(__file__).parents[1]
    for name, line in re.findall(r'^  File "(.+)", line (\d+) in ', errors, re.MULTILINE):
        path = Path(name)
        if here not in path.parents and installed(path) != "library" and name[:1] != "<":
            return f"{path.name}, line {line}"
    return ""
