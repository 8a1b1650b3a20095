"""The report on an optimizer: as text, as JSON, in a notebook."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ravine.checks.findings import Finding
from ravine.checks.registry import Result

__all__ = ["Report"]


@dataclass
class Report:
    """The results of all checks of one optimizer.

    name: the optimizer's name. given: the arguments that it was checked with. like: the rule that
    it should be. finding: what it is. results: the results of each check. ended: how and where its
    process ended, if it did so before the last check.
    """

    name: str
    finding: Finding
    results: list[Result] = field(default_factory=list)
    given: Mapping[str, Any] = field(default_factory=dict)
    like: str | None = None
    ended: str = ""

    @property
    def verdict(self) -> str:
        """One of `findings.VERDICTS`; "fault" if it is the rule but a check found a fault."""
        if self.finding.good and self.faults:
            return "fault"
        return self.finding.verdict

    @property
    def faults(self) -> list[Result]:
        """The checks that found a fault."""
        return [r for r in self.results if r.verdict == "fault"]

    @property
    def code(self) -> int:
        """The exit code: 0 correct, 1 a fault, 2 it could not run, or not to the end."""
        if self.finding.verdict == "could not run":
            return 2
        bad = self.faults or not (self.finding.good or self.finding.verdict == "unknown")
        return 1 if bad else 2 if self.ended else 0

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        return f"{self._found}; but it {self.ended}" if self.ended else self._found

    @property
    def _found(self) -> str:
        f = self.finding
        if f.verdict == "could not run":
            return f"{self.name} {f.says}"
        others = " and ".join(r.check for r in self.faults if r.check != "identity")
        also = f", but fails {others}" if others and f.good else ""
        if f.says.startswith("it is not "):
            return f"{self.name} {f.says.removeprefix('it ')}{also}"
        if f.good:
            what = {
                "right": "is",
                "variant": "is a variant:",
                "single precision": "is, in single precision,",
            }
            said = f" ({f.says})" if f.says else ""
            return f"{self.name} {what[f.verdict]} {f.rule}{said}{also}"
        if f.verdict == "unknown":
            return f"{self.name} is unknown: {f.says}"
        if f.verdict == "fault":
            rule = self.like or f.rule
            return f"{self.name} is {f'not {rule}' if rule else 'wrong'}: {f.says}"
        if f.verdict == "other numbers":
            return f"{self.name} is {f.rule} with other numbers: {f.says}"
        return f"{self.name} is {f.verdict}: {f.says}"

    @property
    def counts(self) -> str:
        """The number of checks with each result, and of candidates tried."""
        kinds = ("pass", "fault", "fact", "skipped", "could not run")
        words = {
            "pass": "passed",
            "fault": "failed",
            "fact": "facts",
            "skipped": "skipped",
            "could not run": "could not run",
        }
        its = [(sum(r.verdict == k for r in self.results), words[k]) for k in kinds]
        said = ", ".join(f"{n} {word}" for n, word in its if n).replace("1 facts", "1 fact")
        tried = f"{self.finding.tried} candidates" if self.finding.tried != 1 else "1 candidate"
        if not self.finding.tried:
            return said
        late = ", until time ran out" if self.finding.late else ""
        return f"{said}; {tried} tried in {self.finding.seconds:.1f} s{late}"

    def __str__(self) -> str:
        lines = [self.headline, *(f"  {x}" for x in (*self.finding.evidence, *self.finding.marked))]
        for r in self.results:
            if r.verdict in ("fault", "could not run") and r.check != "identity":
                lines += [f"{r.verdict}: {r.check}: {r.says}", *(f"  {x}" for x in r.evidence)]
        return "\n".join([*lines, self.counts])

    def as_dict(self) -> dict[str, Any]:
        """The whole report, as plain values that JSON can represent."""
        f = self.finding
        finding = {k: getattr(f, k) for k in asdict(_without_trial(f)) if k != "trial"}
        return _plain(
            {
                "name": self.name,
                "given": dict(self.given),
                "like": self.like,
                "ended": self.ended,
                "verdict": self.verdict,
                "code": self.code,
                "headline": self.headline,
                "finding": finding,
                "results": [asdict(r) for r in self.results],
            }
        )  # type: ignore[no-any-return]

    @classmethod
    def of_dict(cls, found: Mapping[str, Any]) -> Report:
        """The report that `as_dict` was called on."""
        results = [Result(**r) for r in found["results"]]
        finding = Finding(**found["finding"])
        its = (found[k] for k in ("given", "like", "ended"))
        return cls(found["name"], finding, results, *its)

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{_mark(r.verdict)}</td><td><code>{html.escape(r.check)}</code></td>"
            f"<td style='text-align:left'>{html.escape(r.says)}{_listed(r.evidence)}</td></tr>"
            for r in self.results
            if r.verdict != "skipped"
        )
        changed = "\n".join(self.finding.marked)
        return (
            f"<p><b>{html.escape(self.headline)}</b></p>{_listed(self.finding.evidence)}"
            + (f"<pre>{html.escape(changed)}</pre>" if changed else "")
            + f"<table>{rows}</table><p>{html.escape(self.counts)}</p>"
        )


def _mark(verdict: str) -> str:
    return {"pass": "✓", "fault": "✗", "fact": "·"}.get(verdict, "?")


def _listed(lines: Iterable[str]) -> str:
    its = "".join(f"<li>{html.escape(x)}</li>" for x in lines)
    return f"<ul>{its}</ul>" if its else ""


def _without_trial(finding: Finding) -> Finding:
    from dataclasses import replace

    return replace(finding, trial=None)


def _plain(x: Any) -> Any:
    """A value for JSON: NaN and infinities become text, and anything JSON cannot represent its name."""
    if isinstance(x, Mapping):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    if isinstance(x, float):
        return x if abs(x) < float("inf") else str(x)
    return x if x is None or isinstance(x, (str, int, bool)) else repr(x)
