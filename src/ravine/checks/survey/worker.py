"""The process that a package is surveyed in: python -m ravine.checks.survey.worker "{'package': ...}"."""

from __future__ import annotations

import ast
import faulthandler
import os
import sys
import time
from typing import Any

from ravine.checks.process import end_with_starter, work_and_end
from ravine.checks.report import Report
from ravine.checks.running import check_optimizer
from ravine.checks.survey.discovery import Found, optimizers
from ravine.checks.survey.rows import append, begun, done


def main(text: str) -> None:
    """Check every optimizer of a package that the file has no row of, and append a row for each."""
    faulthandler.enable()
    end_with_starter()
    asked: dict[str, Any] = ast.literal_eval(text)
    package, out = asked["package"], asked["out"]
    out = os.path.abspath(out)
    found = optimizers(package)
    finished = done(out)
    for each in found:
        key = (each.name, each.written)
        if key in finished or (asked["only"] and each.name.rpartition(":")[2] not in asked["only"]):
            continue
        append(out, begun(package, each))
        faulthandler.dump_traceback_later(asked["timeout"], exit=True)
        started = time.perf_counter()
        report = _checked(each, asked)
        faulthandler.cancel_dump_traceback_later()
        append(out, row(package, each, report, time.perf_counter() - started))


def _checked(each: Found, asked: dict[str, Any]) -> Report:
    try:
        return check_optimizer(
            each.name, arguments=each.arguments, only=asked["checks"], seconds=asked["seconds"]
        )
    except (LookupError, ValueError) as error:
        from ravine.checks.findings import Finding

        return Report(each.name, Finding("could not run", "", str(error)), [], each.arguments)


def row(package: str, each: Found, report: Report, seconds: float) -> dict[str, Any]:
    """What the survey keeps of a report."""
    from ravine.checks.subjects import subject

    whole = report.as_dict()
    finding = whole["finding"]
    try:
        defaults = subject(each.name, each.arguments).values
    except Exception:  # what cannot be loaded has no defaults
        defaults = {}
    return {
        **begun(package, each),
        "row": "result",
        "verdict": finding["verdict"],
        "rule": finding["rule"],
        "says": finding["says"],
        "distance": finding["distance"],
        "evidence": finding["evidence"],
        "asked": finding["asked"],
        "defaults": {k: v if abs(v) < 1e300 else str(v) for k, v in defaults.items()},
        "faults": [
            {"check": r["check"], "says": r["says"], "evidence": r["evidence"]}
            for r in whole["results"]
            if r["verdict"] == "fault"
        ],
        "remarks": [
            {"check": r["check"], "says": r["says"]}
            for r in whole["results"]
            if r["verdict"] == "pass" and r["says"] and r["check"] != "identity"
        ],
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    work_and_end(lambda: main(sys.argv[1]))
