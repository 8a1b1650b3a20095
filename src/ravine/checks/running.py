"""Checking an optimizer in this process, and as pytest tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ravine.checks.findings import Finding
from ravine.checks.guard import CouldNotRun, one_thread, own_draws
from ravine.checks.registry import Check, Context, Result, checks, performed
from ravine.checks.report import Report
from ravine.checks.subjects import subject

__all__ = ["check_optimizer", "chosen", "parametrize"]


def check_optimizer(
    make: Any,
    like: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    seconds: float = 10.0,
    begins: Callable[[str], None] = lambda name: None,
    so_far: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Check an optimizer in this process.

    make: a class or function that makes the optimizer, such as `torch.optim.AdamW`, or its name,
    such as "optax:adamw" or "mine.py:MyAdam"; see :func:`ravine.checks.subjects.subject`. like: the
    rule that it should be, such as "adam"; by default, the rule that its name suggests, or any
    other. arguments: arguments for make, by its own names or by Ravine's. only: the names of checks
    or families of checks, by default all. seconds: time limit for identifying it, in processor
    time. begins: called with the name of each check before it runs. so_far: called with the report
    so far, before each check but the first.

    Raises LookupError for an unknown rule or check, and ValueError for arguments that the optimizer
    does not take, and for seconds that are not positive. Anything that goes wrong with the optimizer
    itself is in the report.
    """
    some = chosen(only)
    if not seconds > 0:
        raise ValueError(f"seconds={seconds} is invalid; it must be greater than 0")
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
    with one_thread(), own_draws():
        results: list[Result] = []

        def report() -> Report:
            return Report(its.name, context.identity, results, dict(its.given), like)

        def next_one(name: str) -> None:
            if "identity" in vars(context):  # identified before the first check
                so_far(report())
            begins(name)

        for result in performed(context, some, next_one):
            results.append(result)
    return report()


def chosen(only: Sequence[str] | None) -> dict[str, Check]:
    """The checks with these names, or in these families. Raises LookupError for an unknown name."""
    from ravine.naming import typo

    every = dict(checks())
    families = {x.family for x in every.values()} - {*every}
    for name in only or ():
        if name not in every and name not in families:
            close = typo(name, {*every, *families})
            end = close or ";"
            raise LookupError(
                f"no check is called {name!r}{end} `ravine check --list` lists all of them"
            )
    wanted = {*every, *families} if only is None else {*only}
    return {k: x for k, x in every.items() if k in wanted or x.family in wanted & families}


def parametrize(
    make: Any,
    like: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    seconds: float = 10.0,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A pytest decorator: one test for each check of an optimizer, with the check's name.

        @ravine.checks.parametrize(MyAdam, like="adam", expected_failures={"quiet": "it logs"})
        def test_my_adam(check):
            check()

    `check()` raises AssertionError with the diagnosis if the check finds a fault, and skips the
    test if the check does not apply. expected_failures: checks that are known to fail, each with
    the reason. They are strict: the test fails if the check passes. Other arguments are as in
    :func:`check_optimizer`.
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
            __tracebackhide__ = True
            with one_thread(), own_draws():
                result = next(performed(context(), {each.name: each}))
            if result.verdict == "skipped":
                pytest.skip(result.says)
            if result.verdict not in ("pass", "fact"):
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
