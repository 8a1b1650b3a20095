"""Checking an optimizer: here, or in a process of its own that may hang, crash or exit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ravine.checks.findings import Finding
from ravine.checks.guard import CouldNotRun, installed, one_thread
from ravine.checks.registry import Check, Context, Result, checks, performed
from ravine.checks.report import Report
from ravine.checks.subjects import subject

__all__ = ["apart", "check_optimizer", "chosen", "parametrize"]


def check_optimizer(
    make: Any,
    like: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    seconds: float = 10.0,
    begins: Callable[[str], None] = lambda name: None,
) -> Report:
    """Check an optimizer in this process.

    make: what makes it, or its name: a class or a function, as in `torch.optim.AdamW`, "optax:adamw",
    "mine.py:MyAdam"; see :func:`ravine.checks.subjects.subject`. like: the rule that it should be, as in
    "adam"; without it, the rule that its name claims, or any other. arguments: what it is made with, by
    its own names or by Ravine's. only: the names of the checks, all by default. seconds: how long a
    search for what it is may take, in processor time. begins: called with the name of each check before
    it is performed.
    Raises LookupError for a rule or a check that there is not, and ValueError for arguments that it has
    not got. What goes wrong with the optimizer itself is in the report.
    """
    some = chosen(only)
    if like is not None:
        from ravine.registry import get

        get(like)
    try:
        its = subject(make, arguments)
    except CouldNotRun as error:
        name = make if isinstance(make, str) else repr(make)
        failed = Finding("could not run", "", str(error))
        result = Result("identity", "could not run", str(error))
        return Report(name, failed, [result], dict(arguments or {}), like)
    context = Context(its, like, seconds)
    with one_thread():
        results = [*performed(context, some, begins)]
    return Report(its.name, context.identity, results, dict(its.given), like)


def chosen(only: Sequence[str] | None) -> dict[str, Check]:
    """The checks of these names. Raises LookupError for one that there is not."""
    from ravine.naming import typo

    every = dict(checks())
    for name in only or ():
        if name not in every:
            raise LookupError(
                f"no check is called {name!r}{typo(name, every)}; there are {', '.join(every)}"
            )
    return {k: x for k, x in every.items() if only is None or k in only}


def apart(
    spec: str,
    like: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    seconds: float = 10.0,
    timeout: float = 300.0,
) -> Report:
    """Check an optimizer in another process; `timeout` seconds after its start that is ended.

    What such a process leaves behind is reported, however it ends. Raises as :func:`check_optimizer` does.
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
        how = ended([sys.executable, "-m", "ravine.checks.worker", repr(asked)], timeout)
        if out.exists():
            found = json.loads(out.read_text())
            if "error" in found:
                raise {"LookupError": LookupError, "ValueError": ValueError}[found["kind"]](
                    found["error"]
                )
            return Report.of_dict(found)
        at = Path(f"{out}.at")
        where = f"in the check {at.read_text()}" if at.exists() else "while it was loaded"
    says = f"{how}, {where}"
    failed = Finding("could not run", "", says)
    results = [Result("identity", "could not run", says)]
    return Report(spec, failed, results, dict(arguments or {}), like)


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def ended(
    command: Sequence[str],
    timeout: float | None,
    environment: Mapping[str, str] | None = None,
    after: float = 0.0,
) -> str:
    """Run a command; how it ended, and where.

    timeout: the seconds after which it is killed, unless it ends itself then. environment: what it reads,
    this process's by default. after: the seconds after which it ends itself, where there is no timeout.
    """
    limit = after if timeout is None else timeout
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={
            **(environment or os.environ),
            **dict.fromkeys(_THREADS, "1"),
            "PYTHONWARNINGS": "ignore",
        },
    )
    try:  # it ends itself after that time, and says where it was; what cannot even do that is killed
        _, errors = process.communicate(timeout=None if timeout is None else timeout + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"was not done after {limit:g} s"
    except BaseException:
        process.kill()
        process.wait()
        raise
    code = process.returncode
    hung = re.search(r"^Timeout \(\d+:\d\d:\d\d", errors, re.MULTILINE)
    if hung:
        how = f"was not done after {limit:g} s"
    elif code < 0:
        how = f"crashed with signal {-code}"
    else:
        how = f"ended its process with code {code}"
    last = [] if code == 0 or hung else errors.strip().splitlines()[-1:]
    where = _line(errors) or (last[0][:200] if last else "")
    return f"{how}{f' ({where})' if where else ''}"


def _line(errors: str) -> str:
    """The stranger's line, of a file of theirs or an installed one, of what faulthandler has written."""
    here = Path(__file__).parents[1]
    for name, line in re.findall(r'^  File "(.+)", line (\d+) in ', errors, re.MULTILINE):
        path = Path(name)
        if here not in path.parents and installed(path) != "library" and name[:1] != "<":
            return f"{path.name}, line {line}"
    return ""


def parametrize(
    make: Any,
    like: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    seconds: float = 10.0,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A pytest decorator: one test for each check of an optimizer, named after it.

        @ravine.checks.parametrize(MyAdam, like="adam", expected_failures={"quiet": "it logs"})
        def test_my_adam(check):
            check()

    `check()` raises AssertionError with the diagnosis where the check finds a fault, and skips where the
    question does not arise. expected_failures: checks that are known to fail, each with the reason:
    strict, so that one which passes fails. The rest is as in :func:`check_optimizer`.
    """
    import pytest

    some = chosen([*(only or ()), *(expected_failures or {})] if only else None)
    chosen([*(expected_failures or {})])
    made: list[Context] = []

    def context() -> Context:
        if not made:
            made.append(Context(subject(make, arguments), like, seconds))
        return made[0]

    def performing(each: Check) -> Callable[[], None]:
        def perform() -> None:
            with one_thread():
                result = next(performed(context(), {each.name: each}))
            if result.verdict == "skipped":
                pytest.skip(result.says)
            if result.verdict != "pass":
                raise AssertionError(
                    "\n".join([f"{result.check}: {result.says}", *result.evidence])
                )

        return perform

    failing = expected_failures or {}
    rows = [
        pytest.param(
            performing(each),
            id=name,
            marks=[pytest.mark.xfail(reason=failing[name], strict=True)] if name in failing else [],
        )
        for name, each in some.items()
    ]
    return pytest.mark.parametrize("check", rows)  # type: ignore[return-value]
