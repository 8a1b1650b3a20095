"""Finds the rule and the values that explain a path or, if there are none, a rule with a fault.

The search goes from likely to far-fetched: the rule that the name suggests, its relatives, all rules,
other values, one fault, a fault and other values, two faults. It ends at the first answer, or at its
deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ravine.checks.candidates import (
    CALLED,
    Candidate,
    Trial,
    candidate,
    claims,
    clipped,
    decoupled,
    family,
    library,
    resembling,
    stacks,
    trials,
)
from ravine.checks.explaining import Faults, Hit, Question, closeness
from ravine.checks.findings import Finding, differences, leaving, marked
from ravine.checks.fitting import fitted
from ravine.checks.options import SURE
from ravine.checks.probe import EQUAL, SINGLE, Path, Probe, distance, finite
from ravine.checks.wrong import CONVENTIONS

__all__ = ["Search", "identified"]


def identified(
    path: Path,
    probe: Probe,
    asked: Mapping[str, Any],
    name: str = "",
    like: str | None = None,
    seconds: float = 10.0,
) -> Finding:
    """Find what explains a path.

    asked: the requested hyperparameters, by Ravine's names. name: the optimizer's name. like: the rule that
    it should be. seconds: the maximum time of the search, in processor time, so that the result does not
    depend on other load on the machine.
    """
    return Search(path, probe, asked, name, like, seconds).found()


class Search:
    """One search; see :func:`identified`."""

    def __init__(
        self,
        path: Path,
        probe: Probe,
        asked: Mapping[str, Any],
        name: str = "",
        like: str | None = None,
        seconds: float = 10.0,
    ):
        self.path, self.probe, self.asked, self.like = path, probe, dict(asked), like
        self.name, self.mirrored = name, False
        self.question = Question(path, probe, seconds)
        self.wanted = candidate(like) if like else None
        if self.wanted is not None:
            self.claimed = [self.wanted.base]
        else:
            self.claimed = claims(name, asked)
        self._tried: list[Trial] = []
        self._faults = Faults(self.question)

    # ---- the whole -------------------------------------------------------------------------------

    def found(self) -> Finding:
        """The answer."""
        with np.errstate(all="ignore"):
            answer = self._answer()
        answer.tried, answer.asked = self.question.tried, self.asked
        answer.seconds, answer.finite = self.question.spent, finite(self.path)
        if self.question.rounding > 1e-10:
            if answer.verdict in ("right", "variant"):
                answer.verdict = "single precision"
            answer.says = "; ".join(x for x in (answer.says, "it computes in float32") if x)
        return answer

    def _answer(self) -> Finding:
        answer = self._still() or self._equal(self._likely(), fronted=True)
        if answer is not None:
            return answer
        self._tried = [t for t in self._tried if type(t) is Trial]
        own = [t for t in self._tried if t.candidate.base in self.claimed][:4]
        kin = self._ranked([t for t in self._tried if t not in own])[:2] if own else []
        stages: list[Callable[[], Finding | None]] = [
            lambda: self._explained(own, 0.4),
            lambda: self._hit(self._faults.alike),
            self._ascent,
            lambda: self._equal(self._others()),
            lambda: self._hit(lambda: self._faults.two(8)),
            lambda: self._explained(kin, 0.6),
            lambda: self._hit(self._faults.alike),
            lambda: None if self.like else self._explained(self._rest([*own, *kin]), 0.7),
            lambda: self._hit(self._faults.driven),
            lambda: self._hit(self._faults.and_numbers),
            lambda: self._hit(lambda: self._faults.two(0)),
        ]
        for stage in stages:
            answer = None if self.question.over else stage()
            if answer is not None:
                return answer
        return self._unknown()

    def _rest(self, without: Sequence[Trial]) -> list[Trial]:
        """Of all other rules, the simplest with such hyperparameters, and the nearest."""
        left = [t for t in self._tried if t not in without]
        plain = [] if self.claimed else resembling(self.asked)
        first = [t for k in plain for t in left if t.candidate.base == k][:3]
        return [*first, *(t for t in self._ranked(left) if t not in first)][:6]

    def _ascent(self) -> Finding | None:
        """What it is, apart from going up the gradient, if it does."""
        reference = self._reference()
        if reference is None or self.mirrored:
            return None
        its = np.diff(reference.path(self.probe)[:2], axis=0)
        ratios = (np.diff(self.path[:2], axis=0) / its)[its != 0]
        ratios = ratios[np.isfinite(ratios)].real
        if not ratios.size or np.median(ratios) > 0:
            return None
        path = 2 * self.path[:1] - self.path
        left = 0.6 * (self.question.seconds - self.question.spent)
        inner = Search(path, self.probe, self.asked, self.name, self.like, left)
        inner.mirrored = True
        answer = inner.found()
        self.question.tried += answer.tried
        if answer.verdict in ("unknown", "could not run") or "no known fault" in answer.says:
            return None
        up = "the step goes up the gradient: this is ascent"
        answer.says = f"{up}; and {answer.says}" if answer.says else up
        answer.verdict, answer.evidence = "fault", self._evidence(reference)
        return answer

    def _explained(self, places: Sequence[Trial], share: float) -> Finding | None:
        """One fault in these rules, or other values: whichever explains more."""
        hits = self._faults.one(places, share)
        best = max((h.wrong.weight for h in hits), default=0)
        if best >= 8:
            return self._diagnosed(hits)
        numbers = self._numbers(places, share)
        if hits and (numbers is None or best >= 7):
            return self._diagnosed(hits, numbers)
        return numbers

    def _still(self) -> Finding | None:
        moves = np.diff(self.path, axis=0)
        if not np.isfinite(self.path).all():
            return None
        if not np.nanmax(np.abs(moves), initial=0.0) > 0:
            return Finding("fault", self._claim, "nothing moves")
        return None

    @property
    def _claim(self) -> str:
        return self.claimed[0] if self.claimed else ""

    # ---- a rule ----------------------------------------------------------------------------------

    def _likely(self) -> Iterator[Iterator[Candidate]]:
        """The rule that it should be, and its relatives."""
        if self.wanted is not None:
            yield iter([self.wanted])
        for k in self._near:
            yield stacks(k, self.asked)

    @property
    def _near(self) -> list[str]:
        """The names of the rule that it should be, and of its relatives."""
        relatives = [k for name in self.claimed for k in family(name)]
        return [k for k in dict.fromkeys((*self.claimed, *relatives)) if k in library()]

    def _others(self) -> Iterator[Iterator[Candidate]]:
        """All other rules, the simplest first; then each with decay, and some with clipping."""
        near_ = self._near
        rest = sorted((k for k in library() if k not in near_), key=_size)
        for k in rest:
            yield iter([Candidate(library()[k], k)])
        for k in rest:
            yield iter([c for c in stacks(k, self.asked) if c.added])
        for k in dict.fromkeys((*near_, "sgd", "momentum", "momentum_classical")):
            yield clipped(k)

    def _equal(
        self, stages: Iterator[Iterator[Candidate]], fronted: bool = False
    ) -> Finding | None:
        """The rule that takes this path; of several, the one that is claimed."""
        for stage in stages:
            equal: list[tuple[float, Trial]] = []
            for trial in trials(stage, self.asked, fronted):
                self.question.tried += 1
                self._tried.append(trial)
                try:
                    its = trial.path(self.probe, self.path, SINGLE, self.question.rounding)
                except Exception:  # a rule that does not work with these shapes
                    self._tried.pop()
                    continue
                apart = trial.off(self.path, its, self.question.rounding)
                if apart < SINGLE:
                    equal.append((apart, trial))
            if equal:
                apart, trial = min(
                    equal,
                    key=lambda e: (
                        e[0] > EQUAL,
                        bool(e[1].candidate.added),
                        self._coupled(e[1].candidate),
                    ),
                )
                return self._verdict_of(trial, apart, [t.candidate.name for _, t in equal])
            if self.question.over:
                return None
        return None

    def _verdict_of(self, trial: Trial, apart: float, equal: Sequence[str]) -> Finding:
        its = trial.candidate
        verdict, says = "right", ""
        ignored = self._ignored(trial)
        if ignored:
            is_are = "is" if len(ignored) == 1 else "are"
            verdict, says = "fault", f"{', '.join(ignored)} {is_are} accepted and ignored"
        elif self.like and not self._as_wanted(its):
            verdict, says = "fault", f"it is not {self.like}, but {its.name}{self._related(its)}"
        elif not self.like and self._coupled(its):
            verdict = "another rule"
            should = "adamw" if self._claim == "adamw" else f"{self._claim} + decoupled decay"
            says = f"it is not {should}, but {its.name}: the decay goes through the gradient"
        elif not self.like and self.claimed and its.base not in self.claimed:
            related = its.base in [k for name in self.claimed for k in family(name)]
            verdict = "variant" if related else "another rule"
            says = f"it is not {self._claim}, but {its.name}{self._related(its)}"
        elif not self.like and its.variant_of and its.base not in self.claimed:
            verdict, says = "variant", f"it is {its.name}{self._related(its)}"
        if apart >= EQUAL and verdict in ("right", "variant") and self.question.rounding < 1e-10:
            verdict = "single precision"
            says = "; ".join(
                x for x in (says, f"equal in single precision only ({apart:.0e})") if x
            )
        also = [k for k in equal if k != its.name]
        finding = Finding(
            verdict, its.name, says, apart, dict(trial.values), also=also, trial=trial
        )
        if verdict in ("fault", "variant", "another rule") and self._claim:
            finding.evidence = self._evidence(self._reference())
        return finding

    def _ignored(self, trial: Trial) -> list[str]:
        """Requested hyperparameters that always act where they exist, but that this rule does not have."""
        its = trial.candidate
        kin = [*self.claimed, *(k for name in self.claimed for k in family(name))]
        if self.claimed and its.base not in kin:
            return []
        read = {n for k in trial.values for n in (k, *CALLED.get(k, ()))}
        return [k for k in SURE if k != "eps" and self.asked.get(k) and k not in read]

    def _coupled(self, its: Candidate) -> bool:
        """Whether its decay goes through the gradient, although the name says that it is decoupled."""
        return its.added == "L2 decay" and decoupled(self.name, self._claim)

    def _as_wanted(self, its: Candidate) -> bool:
        """Whether it is the rule that it should be, possibly with added decay that the rule does not have."""
        assert self.wanted is not None
        return its.name == self.wanted.name or (
            its.base == self.wanted.base and its.added in ("", "L2 decay")
        )

    def _related(self, its: Candidate) -> str:
        card = library()[its.base].card if its.base in library() else None
        if card is None or not card.variant_of:
            return ""
        return f", a variant of {card.variant_of} that differs in {card.differs}"

    def _reference(self) -> Trial | None:
        """The claimed rule in its correct form."""
        return next((t for t in self._tried if t.candidate.base == self._claim), None)

    def _evidence(self, trial: Trial | None) -> list[str]:
        if trial is None or self.probe.restored:
            return []
        its = trial.path(self.probe)
        text = leaving(self.path, its, self.asked, self.question.rounding, trial.candidate.name)
        return [text] if text else []

    # ---- how close the others are ----------------------------------------------------------------

    def _ranked(self, some: Sequence[Trial]) -> list[Trial]:
        """Rules ordered by their distance in the first steps, without those that are far off."""
        few = self.probe.part(6)
        scored: list[tuple[float, int, Trial]] = []
        for i, trial in enumerate(some):
            try:
                its = trial.path(few)
            except Exception:
                continue
            scored.append((closeness(self.path[: few.rows], its, self.question.rounding), i, trial))
            if self.question.over:
                break
        scored.sort(key=lambda s: s[:2])
        return [s[2] for s in scored if s[0] < 0.9]

    # ---- other numbers ---------------------------------------------------------------------------

    def _numbers(self, places: Sequence[Trial], share: float) -> Finding | None:
        """A rule with other values of its hyperparameters."""
        fits: list[tuple[Any, Trial, dict[str, Any], float]] = []
        for trial in places:
            if not self.question.within(share):
                break
            for start in self._begun(trial):
                self.question.tried += 20
                try:
                    values, apart = fitted(
                        trial.batch, self.probe, self.path, start, rounding=self.question.rounding
                    )
                except (ValueError, ArithmeticError, np.linalg.LinAlgError):
                    continue
                if apart < self.question.fitting:
                    diffs = differences(values, self.asked, CALLED)
                    claimed = trial.candidate.base in self.claimed
                    fits.append(((apart > EQUAL, not claimed, len(diffs)), trial, values, apart))
                    break
            if fits and fits[-1][0][1] is False:
                break
        if not fits:
            return None
        _, trial, values, apart = min(fits, key=lambda f: f[0])
        return self._with_numbers(trial, values, apart)

    def _begun(self, trial: Trial) -> Iterator[dict[str, Any]]:
        """The starting points of a fit: the requested values, the rule's defaults, and betas swapped."""
        values = dict(trial.values)
        yield values
        if trial.candidate.base in self.claimed:
            hyperparameters = trial.candidate.rule.hyperparameters
            yield values | {
                k: h.default for k, h in hyperparameters.items() if not isinstance(values[k], bool)
            }
            if "beta1" in values and "beta2" in values:
                yield values | {"beta1": values["beta2"], "beta2": values["beta1"]}

    def _with_numbers(self, trial: Trial, values: dict[str, Any], apart: float) -> Finding:
        values = self._as_asked(trial, values)
        diffs = differences(values, self.asked, CALLED)
        its = trial.candidate
        swapped = ("beta1", "beta2") if {"beta1", "beta2"} <= {*self.asked} & {*values} else ()
        if (
            swapped
            and _same(values["beta1"], self.asked["beta2"])
            and _same(values["beta2"], self.asked["beta1"])
        ):
            diffs = ["beta1 and beta2 are swapped"]
        lr = self.asked.get("lr")
        if len(diffs) == 1 and lr and _same(values.get("lr", 0.0), -lr):
            return Finding(
                "fault",
                its.name,
                "the step goes up the gradient: this is ascent",
                apart,
                values,
                evidence=self._evidence(trial),
            )
        own = [
            f"its {k} is {v:.6g}"
            for k, v in values.items()
            if not isinstance(v, bool)
            and not any(n in self.asked for n in CALLED.get(k, (k,)))
            and not _same(v, trial.values[k])
            and abs(v - trial.values[k]) > 1e-9
        ]
        if not diffs:
            finding = self._verdict_of(replace(trial, values=values), apart, [])
            finding.says = "; ".join(x for x in (finding.says, *own) if x)
            return finding
        verdict = "fault" if self.like and not self._as_wanted(its) else "other numbers"
        note = "" if its.base in self.claimed or not self.claimed else f"it acts as {its.name}; "
        return Finding(
            verdict,
            its.name,
            note + "; ".join([*diffs, *own]),
            apart,
            values,
            evidence=self._evidence(trial),
        )

    def _as_asked(self, trial: Trial, values: dict[str, Any]) -> dict[str, Any]:
        """The same numbers, but for those that hardly show, as an eps beside a large root: these as asked."""
        for k, v in values.items():
            name = next((n for n in CALLED.get(k, (k,)) if n in self.asked), k)
            asked = self.asked.get(name)
            if asked and not isinstance(v, bool) and 0 < abs(v - asked) < 1e-2 * abs(asked):
                its = {**values, k: asked}
                if self.question.apart(trial.batch, its) < self.question.fitting:
                    values = its
        return values

    # ---- faults ----------------------------------------------------------------------------------

    def _diagnosed(self, hits: Sequence[Hit], numbers: Finding | None = None) -> Finding:
        """Report the hit that explains most, on behalf of all of them."""
        hits = sorted(
            hits, key=lambda h: (h.distance > EQUAL, h.rank, -h.wrong.weight, len(h.wrong.says))
        )
        best = hits[0]
        says, kind = best.wrong.says, best.wrong.kind
        verdict = "fault"
        if {*kind.split(" + ")} <= CONVENTIONS and not self.like:
            verdict, says = "variant", f"another convention: {says}"
        its = best.trial.candidate
        if self.claimed and its.base not in self.claimed:
            what = f"{its.name}{self._related(its)}"
            says = f"it is not {self._claim}, but {what}, with a difference: {says}"
        also = [h.wrong.says for h in hits[1:] if h.wrong.says != best.wrong.says]
        if numbers is not None:
            also.append(numbers.says)
        return Finding(
            verdict,
            best.trial.candidate.name,
            says,
            best.distance,
            dict(best.values),
            evidence=self._evidence(best.trial),
            marked=marked(best.trial.graph, best.wrong.graph),
            also=list(dict.fromkeys(also)),
        )

    def _hit(self, stage: Callable[[], Hit | None]) -> Finding | None:
        """The result of a stage that looks for more than one fault."""
        hit = None if self.question.over else stage()
        if hit is None:
            return None
        finding = self._diagnosed([hit])
        diffs = differences(hit.values, self.asked, CALLED)
        finding.says = "; and ".join([finding.says, *diffs])
        return finding

    # ---- nothing ---------------------------------------------------------------------------------

    def _unknown(self) -> Finding:
        reference = self._reference()
        if reference is None:
            reference = next(iter(self._ranked(self._tried)), None)
        name = reference.candidate.name if reference else ""
        its = reference.path(self.probe) if reference else self.path[:1]
        apart = distance(self.path, its, self.question.rounding) if reference else 2.0
        if np.isnan(self.path).any():
            says = "its parameters become NaN, and no known rule's do"
            return Finding("fault", self._claim, says, evidence=self._evidence(reference))
        verdict = "fault" if self.like else "unknown"
        says = f"it is not {name}, and no known fault explains it" if self.like else ""
        nearest = "the rule that its name claims" if self.claimed else "the nearest rule"
        says = (
            says
            or f"no known rule and no known fault takes its path{f'; {nearest} is {name}' if name else ''}"
        )
        return Finding(
            verdict, name, says, apart, evidence=self._evidence(reference), late=self.question.over
        )


def _size(name: str) -> int:
    """The complexity of a rule: its hyperparameters and slots."""
    return len(library()[name].hyperparameters) + len(library()[name].slots)


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * max(abs(a), abs(b), 1e-9)
