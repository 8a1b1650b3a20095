"""Named checks: functions of a context, found by discovery.

    @check("torch", "state_dict")
    def resumes(c: Context) -> str | None:
        \"\"\"Training that is resumed from a checkpoint continues as if it had not been interrupted.

        Runs: what is run and compared.

        Fault: what it reports if something is wrong, and the usual cause.

        Fix: what to do about it.
        \"\"\"
        running = c.fresh()
        ...
        raise Fault("the second moment is not in the state_dict")

A check passes if it returns; the returned text is a remark. It raises :class:`Fault`, with evidence, if
something is wrong, and :class:`Skip` if it does not apply. `@check(fact=True)` reports what it finds
without a verdict. Checks are in the modules of `ravine.checks.named`, in modules that a package offers
as entry points of the group "ravine.checks", and in any module that was imported.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from ravine.checks.candidates import CALLED, Trial, claims, of_arrays, trials
from ravine.checks.findings import Finding
from ravine.checks.guard import contained, described
from ravine.checks.kinds.base import HAS
from ravine.checks.probe import (
    EQUAL,
    LOUD,
    SINGLE,
    Path,
    Probe,
    apart,
    distance,
    finite,
    gentle,
    probe,
    square,
    unit,
    walked,
)
from ravine.checks.search import identified
from ravine.checks.subjects import CouldNotRun, Running, Subject

__all__ = [
    "Check",
    "Context",
    "Fault",
    "Result",
    "Skip",
    "check",
    "checks",
    "failing",
    "performed",
    "refusal",
]


class Fault(Exception):
    """Something that is wrong. says: what; evidence: sentences with numbers."""

    def __init__(self, says: str, *evidence: str):
        super().__init__(says, *evidence)
        self.says, self.evidence = says, list(evidence)


class Skip(Exception):
    """The check does not apply. why: the reason."""


def refusal(error: BaseException) -> str:
    """An error as a short remark."""
    cause = error.__cause__ if isinstance(error, CouldNotRun) and error.__cause__ else error
    says = " ".join(str(cause).split()) or type(cause).__name__
    return says if len(says) < 100 else says[:97] + "..."


@contextmanager
def failing(says: str) -> Iterator[None]:
    """Turn an error in this context into a fault with this text and the error."""
    try:
        yield
    except (Fault, Skip):
        raise
    except (Exception, SystemExit) as error:
        why = error.why if isinstance(error, CouldNotRun) else described(error)
        raise Fault(f"{says}: {why}") from error


@dataclass(frozen=True)
class Result:
    """The result of a check.

    verdict: "pass", "fault", "fact", "skipped", "could not run". says: the fault, the remark or the reason.
    """

    check: str
    verdict: str
    says: str = ""
    evidence: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """A named check.

    asks: its question, in a sentence. explains: the rest of its description. needs: what the optimizer must
    support (see `kinds.base.HAS`). family: the name of its module, such as "numerics". fact: whether it only
    reports facts, without a verdict.
    """

    name: str
    run: Callable[[Context], str | None]
    asks: str
    explains: str
    needs: frozenset[str]
    family: str
    fact: bool = False


@dataclass
class Context:
    """What a check receives: the subject, and fresh optimizers of it.

    like: the rule that it should be. seconds: time limit of a search.
    """

    subject: Subject
    like: str | None = None
    seconds: float = 10.0

    @cached_property
    def probe(self) -> Probe:
        """Parameters and gradients that distinguish rules."""
        every = claims(self.subject.name, self.subject.values)
        if any(of_arrays(k) for k in ([self.like] if self.like else every)):
            with suppress(CouldNotRun):
                return probe() if self._steady(probe(), self.values) else square()
        return probe()

    @cached_property
    def values(self) -> dict[str, float | bool]:
        """Its hyperparameters in general position; those that are off by default stay off."""
        return self._loud(switched=False)

    @cached_property
    def switched(self) -> dict[str, float | bool]:
        """The same, with those that are off by default on."""
        return self._loud(switched=True)

    def _loud(self, switched: bool) -> dict[str, float | bool]:
        values: dict[str, float | bool] = {}
        for k, v in (self.subject.values | self.subject.needed).items():
            loud = not isinstance(v, bool) and k in LOUD and (v or switched)
            values[k] = (-LOUD[k] if v < 0 else LOUD[k]) if loud else v
        return values

    @cached_property
    def busy(self) -> dict[str, float | bool]:
        """`self.switched`, with which it keeps most state, if it accepts that; otherwise `self.values`."""
        try:
            self.path(8, **self.switched)
        except CouldNotRun:
            return self.values
        return self.switched

    @cached_property
    def coupled(self) -> bool:
        """Whether the step of a tensor depends on the others, as it does when a global norm is clipped."""
        rule = self.busy_trial()
        if rule and any(slot.shared for slot in rule.candidate.rule.slots.values()):
            return True
        start, grads = self.probe.starts, self.probe.grads
        alone = Probe(start[1:2], grads[:, 1:2]).follow(self.fresh([start[1]], **self.busy))
        its = start[0].size
        with_others = self.path(**self.busy)[:, its : 2 * its]
        return distance(alone, with_others, unit(alone)) > EQUAL

    @cached_property
    def steady(self) -> bool:
        """Whether rounding is not amplified: gradients that differ by rounding give steps that do as well.

        It is amplified if the probe's matrices have no unique singular vectors, as for SOAP.
        """
        return self._steady(self.probe, self.busy)

    def _steady(self, its: Probe, values: Mapping[str, float | bool]) -> bool:
        grads = its.grads[:8]
        noise = 1 + 1e-14 * np.random.default_rng(17).standard_normal(grads.shape)
        paths = [
            walked(self.fresh(list(its.starts), **values), each) for each in (grads, grads * noise)
        ]
        return apart(*paths) <= 1e-3 * SINGLE

    def off(self, path: Path, other: Path) -> float:
        """The distance of two paths that are computed in different ways; 0 if it is only rounding."""
        far = apart(path, other)
        return far if far > SINGLE and self.steady else 0.0

    def fresh(
        self,
        starts: Sequence[Any] | None = None,
        dtype: str = "float64",
        arrange: Callable[[list[Any]], Any] = list,
        /,
        **values: float | bool,
    ) -> Running:
        """A fresh optimizer, with `self.values` except for those given here.

        starts: arrays, by default those of the probe. arrange: what to pass instead of the list of
        parameters, such as groups of them.
        """
        every = {**self.values, **values}
        said = {k: v for k, v in every.items() if v != self.subject.values.get(k)}
        return self.subject.make(
            list(self.probe.starts) if starts is None else starts, dtype, arrange, **said
        )

    def giving(self, **arguments: Any) -> Context:
        """The context of the same optimizer with more arguments, by its own names, such as "foreach"."""
        return replace(self, subject=self.subject.giving(**arguments))

    def path(self, steps: int | None = None, /, **values: float | bool) -> Path:
        """The path of a fresh optimizer over the probe, or its first steps: (steps + 1, numbers)."""
        key = tuple(sorted({**self.values, **values}.items()))
        wanted = len(self.probe.grads) if steps is None else steps
        known = self._paths.get(key)
        if known is None or len(known) <= wanted:
            part = Probe(self.probe.starts, self.probe.grads[:wanted])
            known = self._paths[key] = part.follow(self.fresh(**values))
        return known[: wanted + 1].copy()

    @cached_property
    def _paths(self) -> dict[Any, Path]:
        return {}

    def reference(self, **values: float | bool) -> Path | None:
        """The path of the rule that it was identified as, if any, with these hyperparameters, by
        the rule's names.
        """
        its = self.trial(**values)
        return None if its is None else its.path(self.probe)

    def trial(self, **values: float | bool) -> Trial | None:
        """The rule that it was identified as, if any, with `self.values` except for those given here."""
        return _alike(self.identity, {**self.values, **values})

    def busy_trial(self, **values: float | bool) -> Trial | None:
        """The rule that it is with `self.busy`, if known, in the form of `trial`."""
        return _alike(self._busy_identity, {**self.busy, **values})

    @cached_property
    def _busy_identity(self) -> Finding:
        if self.busy == self.values or not self.identity.good:
            return self.identity
        return self.identified(self.busy)

    @cached_property
    def identity(self) -> Finding:
        """What the optimizer is. The verdict is "could not run" if it cannot be stepped.

        If nothing explains it, it is identified again with those options on that are off by default, which
        reveals an option that acts although it is off. A method of an installed package whose name no rule
        has may be intended as it is: the report says what it resembles, and that is not a fault.
        """
        found = self._found
        own = (
            self.like or claims(self.subject.name, self.subject.values) or not self.subject.released
        )
        if found.verdict != "fault" or found.distance > SINGLE or own or "ascent" in found.says:
            return found
        says = f"no rule has its name; it takes the path of {found.rule} with a difference: {found.says}"
        return replace(found, verdict="unknown", says=says)

    @cached_property
    def _found(self) -> Finding:
        try:
            found = self.identified(self.values)
        except CouldNotRun as error:
            single = self._in_single()
            return single or Finding("could not run", "", str(error))
        if found.good or found.distance < SINGLE or self.switched == self.values:
            return found
        try:
            again = self.identified(self.switched, self.seconds - found.seconds)
        except CouldNotRun:  # options may be mutually exclusive
            return found
        again.tried, again.seconds = again.tried + found.tried, again.seconds + found.seconds
        return again if again.distance < SINGLE and not again.good else found

    def _in_single(self) -> Finding | None:
        """What an optimizer is that runs in float32 and fails in float64; it stays in float32 then."""
        whole, self.subject = self.subject, replace(self.subject, precision="float32")
        try:
            return self.identified(self.values)
        except CouldNotRun:
            self.subject = whole
            return None

    def identified(
        self, values: Mapping[str, float | bool], seconds: float | None = None
    ) -> Finding:
        """What the optimizer is with these hyperparameters. Raises CouldNotRun.

        seconds: time limit of the search, by default `self.seconds`.
        """
        path, left = self.path(**values), self.seconds if seconds is None else seconds
        if finite(path) < _TELLING:
            found = self._recovered(path, values, 0.6 * left)
            left *= 0.4
        else:
            found = None
        if found is None:
            its = self.subject.name, self.like
            found = identified(path, self.probe, values, *its, left)
        if found.finite < _TELLING and not found.good and found.distance <= SINGLE:
            found.also, found.marked = [found.says, *found.also], []
            found.says = "its parameters become NaN or infinite, as they would by several faults"
        return found

    def _recovered(
        self, path: Path, values: Mapping[str, float | bool], seconds: float
    ) -> Finding | None:
        """Find out, with a gentle probe, what is wrong with an optimizer whose path is not finite."""
        taken: list[tuple[Path, Probe, str]] = []
        for dtype, how in _HOW.items():
            its = gentle(dtype)
            try:
                taken.append((its.follow(self.fresh(list(its.starts), dtype, **values)), its, how))
            except CouldNotRun:  # it does not take complex numbers, or its parameters cannot be set
                continue
        if not taken:
            return None
        other, its, how = max(taken, key=lambda x: finite(x[0]))
        found = identified(other, its, values, self.subject.name, self.like, seconds)
        if found.verdict not in ("fault", "other numbers") or found.distance > SINGLE:
            return None
        lost = int(np.flatnonzero(~np.isfinite(path).all(axis=1))[0])
        count = int((~np.isfinite(path[lost])).sum())
        found.evidence = [
            f"in step {lost}, {count} of {path.shape[1]} parameters become NaN or infinite",
            f"the fault was found with {how}",
        ]
        return found


_TELLING = 0.5
"""The share of a path that must be finite to identify it, since many faults end in NaN."""
_HOW = {
    "complex128": "complex numbers, which have all roots, and each step taken from the same parameters",
    "float64": "small gradients, and each step taken from the same parameters",
}


def _alike(found: Finding, asked: dict[str, float | bool]) -> Trial | None:
    """The trial that was found, with other values."""
    trial = found.trial if found.good else None
    if trial is None:
        return None
    for k, v in trial.values.items():  # a constant that is not an argument
        if not isinstance(v, bool) and not {k, *CALLED.get(k, ())} & {*asked}:
            asked[k] = v
    bools = {k: v for k, v in trial.values.items() if isinstance(v, bool) and k not in asked}
    every = trials([trial.candidate], asked, fronted=True)
    alike = (t for t in every if type(t) is type(trial) and t.values.items() >= bools.items())
    return next(alike, None)


_known: dict[str, Check] = {}


def check(
    *needs: str, fact: bool = False
) -> Callable[[Callable[[Context], str | None]], Callable[[Context], str | None]]:
    """Make a function a check.

    needs: what the optimizer must support, from `kinds.base.HAS`: "torch", "state_dict". fact:
    whether the check only reports facts, without a verdict.
    """

    def made(function: Callable[[Context], str | None]) -> Callable[[Context], str | None]:
        asks, _, explains = (inspect.getdoc(function) or "").partition("\n")
        name = function.__name__
        family = function.__module__.rpartition(".")[2]
        _known[name] = Check(name, function, asks, explains.strip(), frozenset(needs), family, fact)
        return function

    return made


def needed(names: Iterable[str]) -> str:
    """What a check is for, in words: "for optimizers that have param_groups"."""
    return f"for optimizers that have {', and '.join(HAS.get(k, k) for k in sorted(names))}"


def checks() -> Mapping[str, Check]:
    """All checks by name: identity, the others by module, then `quiet`, which judges side effects."""
    import ravine.checks.named as named

    for info in pkgutil.iter_modules(named.__path__):
        importlib.import_module(f"{named.__name__}.{info.name}")
    for offer in entry_points(group="ravine.checks"):
        offer.load()
    return dict(sorted(_known.items(), key=lambda x: (x[1].family != "identity", x[0] == "quiet")))


def performed(
    context: Context,
    some: Mapping[str, Check] | None = None,
    begins: Callable[[str], None] = lambda name: None,
) -> Iterator[Result]:
    """The results of checks, by default of all, one after another.

    begins: called with a check's name before it runs. If the optimizer cannot be stepped at all, that is
    the only result.
    """
    begins("identity")
    if context.identity.verdict == "could not run":
        yield Result("identity", "could not run", context.identity.says)
        return
    for each in (some or checks()).values():
        begins(each.name)
        begun = time.perf_counter()
        result = _result(each, context)
        yield Result(*result, seconds=time.perf_counter() - begun)


def _result(each: Check, context: Context) -> tuple[str, str, str, list[str]]:
    try:
        lacking = sorted(each.needs - context.subject.has)
        if lacking:
            return each.name, "skipped", needed(lacking), []
        with contained(context.subject.heard):
            return each.name, "fact" if each.fact else "pass", each.run(context) or "", []
    except Fault as fault:
        return each.name, "fault", fault.says, fault.evidence
    except Skip as skip:
        return each.name, "skipped", str(skip), []
    except CouldNotRun as error:
        return each.name, "could not run", str(error), []
    except (
        Exception,
        SystemExit,
    ) as error:  # from the checked code, outside of a running optimizer
        return each.name, "could not run", described(error), []
