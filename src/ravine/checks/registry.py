"""Named checks: functions of a context, found by discovery.

    @check("torch", "state_dict")
    def resumes(c: Context) -> str | None:
        \"\"\"Training that is resumed from a checkpoint goes on as if it had not been interrupted.

        More for `ravine check --explain resumes`: what it means, what usually causes it, how to mend it.
        \"\"\"
        running = c.fresh()
        ...
        raise Fault("the second moment is not in the state_dict")

A check passes when it returns; what it returns is a remark. It raises :class:`Fault` for what is wrong,
with its evidence, and :class:`Skip` where the question does not arise. Checks are in the modules of
`ravine.checks.named`, in modules that a package offers as entry points of the group "ravine.checks", and
in any module that was imported.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from ravine.checks.candidates import CALLED, trials
from ravine.checks.findings import Finding
from ravine.checks.probe import LOUD, SINGLE, Path, Probe, probe
from ravine.checks.search import identified
from ravine.checks.subjects import CouldNotRun, Running, Subject

__all__ = ["Check", "Context", "Fault", "Result", "Skip", "check", "checks", "performed"]


class Fault(Exception):
    """Something that is wrong. says: what; evidence: sentences with numbers."""

    def __init__(self, says: str, *evidence: str):
        super().__init__(says, *evidence)
        self.says, self.evidence = says, list(evidence)


class Skip(Exception):
    """The question does not arise. why: the reason."""


@dataclass(frozen=True)
class Result:
    """What a check found.

    verdict: "pass", "fault", "skipped", "could not run". says: the fault, the remark or the reason.
    """

    check: str
    verdict: str
    says: str = ""
    evidence: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """A named check.

    asks: what it asks, in a sentence. explains: the rest of its description. needs: what the optimizer has to
    have (see :class:`Running`).
    """

    name: str
    run: Callable[[Context], str | None]
    asks: str
    explains: str
    needs: frozenset[str]


@dataclass
class Context:
    """What a check is given: the subject, and fresh optimizers of it.

    like: the rule that it should be. seconds: how long a search may take.
    """

    subject: Subject
    like: str | None = None
    seconds: float = 10.0

    @property
    def probe(self) -> Probe:
        """Parameters and gradients that tell rules apart."""
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

    def fresh(
        self, starts: Sequence[Any] | None = None, dtype: str = "float64", /, **values: float | bool
    ) -> Running:
        """A fresh optimizer, with `self.values` but for those that are given."""
        every = {**self.values, **values}
        said = {k: v for k, v in every.items() if v != self.subject.values.get(k)}
        return self.subject.make(
            list(self.probe.starts) if starts is None else starts, dtype, **said
        )

    def path(self, **values: float | bool) -> Path:
        """The path of a fresh optimizer over the probe: (steps + 1, numbers)."""
        return self.probe.follow(self.fresh(**values))

    def reference(self, **values: float | bool) -> Path | None:
        """The path of the rule that it is, where that is known; with these hyperparameters, by its names."""
        trial = self.identity.trial if self.identity.good else None
        if trial is None:
            return None
        asked = {**self.values, **values}
        for k, v in trial.values.items():  # a constant of its own, which nobody asks for
            if not isinstance(v, bool) and not {k, *CALLED.get(k, ())} & {*asked}:
                asked[k] = v
        bools = {k: v for k, v in trial.values.items() if isinstance(v, bool) and k not in asked}
        every = trials([trial.candidate], asked, fronted=True)
        alike = (t for t in every if type(t) is type(trial) and t.values.items() >= bools.items())
        its = next(alike, None)
        return None if its is None else its.path(self.probe)

    @cached_property
    def identity(self) -> Finding:
        """What the optimizer is. A verdict of "could not run" where it cannot be stepped.

        Where nothing explains it, it is asked again with options on that are off by default: one that acts
        although it is off shows then.
        """
        try:
            path = self.path()
        except CouldNotRun as error:
            return Finding("could not run", "", str(error))
        found = self._identified(path, self.values, self.seconds)
        if found.good or found.distance < SINGLE or self.switched == self.values:
            return found
        try:
            path = self.path(**self.switched)
        except CouldNotRun:  # options may exclude each other
            return found
        again = self._identified(path, self.switched, self.seconds - found.seconds)
        again.tried, again.seconds = again.tried + found.tried, again.seconds + found.seconds
        return again if again.distance < SINGLE and not again.good else found

    def _identified(self, path: Path, values: Mapping[str, Any], seconds: float) -> Finding:
        return identified(path, self.probe, values, self.subject.name, self.like, seconds)


_known: dict[str, Check] = {}


def check(
    *needs: str,
) -> Callable[[Callable[[Context], str | None]], Callable[[Context], str | None]]:
    """Make a check of a function. needs: what the optimizer has to have: "torch", "state_dict"."""

    def made(function: Callable[[Context], str | None]) -> Callable[[Context], str | None]:
        asks, _, explains = (inspect.getdoc(function) or "").partition("\n")
        name = function.__name__
        _known[name] = Check(name, function, asks, explains.strip(), frozenset(needs))
        return function

    return made


def checks() -> Mapping[str, Check]:
    """All checks by name, those of the package in order of its modules."""
    import ravine.checks.named as named

    for info in pkgutil.iter_modules(named.__path__):
        importlib.import_module(f"{named.__name__}.{info.name}")
    for offer in entry_points(group="ravine.checks"):
        offer.load()
    return dict(_known)


def performed(
    context: Context,
    some: Mapping[str, Check] | None = None,
    begins: Callable[[str], None] = lambda name: None,
) -> Iterator[Result]:
    """The results of checks, of all by default, one after the other.

    begins: called with a check's name before it is performed.
    Where the optimizer cannot be stepped at all, that is the one result.
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
            return each.name, "skipped", f"for optimizers that have {', '.join(lacking)}", []
        return each.name, "pass", each.run(context) or "", []
    except Fault as fault:
        return each.name, "fault", fault.says, fault.evidence
    except Skip as skip:
        return each.name, "skipped", str(skip), []
    except CouldNotRun as error:
        return each.name, "could not run", str(error), []
    except Exception as error:  # such as an error of the stranger's, outside of a running optimizer
        from ravine.checks.guard import described

        return each.name, "could not run", described(error), []
