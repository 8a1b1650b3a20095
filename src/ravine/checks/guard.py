"""Contains the side effects of unknown code: printing, exiting, warning, changing global state.

What it prints is recorded, what it changes is recorded and restored, and every way to fail becomes one
error, :class:`CouldNotRun`.
"""

from __future__ import annotations

import io
import os
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "CouldNotRun",
    "Heard",
    "contained",
    "described",
    "draws",
    "guarded",
    "installed",
    "one_thread",
    "own_draws",
    "reseed",
    "translated",
]


class CouldNotRun(Exception):
    """An optimizer could not be used.

    phase: "load", "make" or "step"; why: what happened, and where; step: the step's number, from 1.
    """

    def __init__(self, phase: str, why: str, step: int = 0):
        super().__init__(phase, why, step)
        self.phase, self.why, self.step = phase, why, step

    def __str__(self) -> str:
        if self.step:
            return f"fails in step {self.step}: {self.why}"
        doing = {"load": "loaded", "make": "made", "step": "stepped"}[self.phase]
        return f"cannot be {doing}: {self.why}"


@dataclass
class Heard:
    """What an optimizer did besides optimizing. printed: its first output; changed: what it changed.

    forks: whether it forked the process.
    """

    printed: str = ""
    forks: bool = False
    changed: dict[str, str] = field(default_factory=dict)


@contextmanager
def guarded(phase: str, heard: Heard, step: int = 0) -> Iterator[None]:
    """Run unknown code. Raises CouldNotRun if it raises, or calls sys.exit."""
    with contained(heard), translated(phase, step):
        yield


@contextmanager
def translated(phase: str, step: int = 0) -> Iterator[None]:
    """Raises CouldNotRun if unknown code raises, or calls sys.exit."""
    try:
        yield
    except CouldNotRun:
        raise
    except (Exception, SystemExit) as error:
        raise CouldNotRun(phase, described(error), step) from error


@contextmanager
def contained(heard: Heard) -> Iterator[None]:
    """Record what unknown code prints and changes, and restore what it changes."""
    output, process, forks = io.StringIO(), os.getpid(), len(_forks)
    try:
        with (
            redirect_stdout(output),
            redirect_stderr(output),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")
            shared = [*_shared()]
            before = [get() for _, get, _ in shared]
            try:
                yield
            finally:
                for (name, get, put), was in zip(shared, before, strict=True):
                    if get() != was:
                        heard.changed.setdefault(name, _became(was, get()))
                        put(was)
    finally:
        if (
            os.getpid() != process
        ):  # a child that the unknown code forked, which must not continue to check
            os._exit(0)
        heard.forks = heard.forks or len(_forks) > forks
        heard.printed = heard.printed or output.getvalue().strip()[:200]


def _became(was: Any, now: Any) -> str:
    """What has changed: of a dict, the entries that differ."""
    if isinstance(was, dict) and isinstance(now, dict):
        was, now = ({k: x[k] for k in was if was[k] != now.get(k)} for x in (was, now))
    return f"{was} became {now}"


_forks: list[None] = []
"""An entry for each time that this process was forked."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=lambda: _forks.append(None))


def described(error: BaseException) -> str:
    """An error in one line: its message, and the line of the unknown code that raised it."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SystemExit):
        what = f"it calls sys.exit({'' if error.code is None else repr(error.code)})"
    here = Path(__file__).parents[1]
    frames = [
        (path, frame)
        for frame in reversed(traceback.extract_tb(error.__traceback__))
        for path in [Path(frame.filename)]
        if here not in path.parents and not frame.filename.startswith("<frozen")
    ]
    own = [x for x in frames if not installed(x[0])]
    frames = own or [x for x in frames if installed(x[0]) == "package"]
    if not frames or (isinstance(error, SyntaxError) and error.filename):
        return what
    path, frame = frames[0]
    return f"{what} ({path.name}, line {frame.lineno}{f': {frame.line}' if frame.line else ''})"


def installed(path: Path) -> str:
    """Whether a file belongs to an installed "package" or to Python's "library"; "" for a user's file."""
    if {"site-packages", "dist-packages"} & {*path.parts}:
        return "package"
    return "library" if Path(os.__file__).parent in path.parents else ""


def _shared() -> list[tuple[str, Callable[[], Any], Callable[[Any], Any]]]:
    """Global state: its name, how to read it, how to set it."""
    shared: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
        ("NumPy's handling of errors", np.geterr, lambda x: np.seterr(**x)),
        ("the working directory", os.getcwd, os.chdir),
        ("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    ]
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_grad_enabled"):  # which is imported last
        shared += [
            ("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
            ("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
            ("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        ]
    return shared


@contextmanager
def one_thread() -> Iterator[None]:
    """Make torch use one thread: the tensors are small, and threads would wait for one another."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def own_draws() -> Iterator[None]:
    """Restore the global random generators, whatever is drawn and seeded in between."""
    before = draws()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch = sys.modules.get("torch")
        if torch is not None and len(before) > 2:
            torch.set_rng_state(before[2])


def reseed(seed: int) -> None:
    """Seed the global random generators, so that a step which draws can be repeated exactly."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "default_generator"):
        torch.default_generator.manual_seed(seed)


def draws() -> list[Any]:
    """The states of the global random generators of Python, NumPy and torch."""
    found: list[Any] = [random.getstate(), np.random.get_state()]  # noqa: NPY002
    torch: Any = sys.modules.get("torch")
    return [*found, torch.get_rng_state()] if hasattr(torch, "default_generator") else found
