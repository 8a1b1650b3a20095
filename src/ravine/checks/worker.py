"""The process that an optimizer is checked in: python -m ravine.checks.worker "{'spec': ...}"."""

from __future__ import annotations

import ast
import faulthandler
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from ravine.checks.process import end_with_starter, work_and_end
from ravine.checks.running import check_optimizer
from ravine.checks.uncompiled import uncompiled


def main(text: str) -> None:
    """Check, and write the report to the named file."""
    end_with_starter()
    uncompiled()
    asked: dict[str, Any] = ast.literal_eval(text)
    out = Path(asked.pop("out"))
    at = Path(f"{out}.at")
    gc.set_threshold(
        200_000, 20, 100
    )  # imports make no garbage, and without collection torch's take a fifth less time
    faulthandler.enable()  # report the line of a crash, as of a hang
    faulthandler.dump_traceback_later(asked.pop("timeout"), exit=True)
    try:
        its = asked.pop("spec"), asked.pop("like")
        report = check_optimizer(
            *its,
            **asked,
            begins=lambda name: _write(at, name),
            so_far=lambda report: _write(Path(f"{out}.part"), json.dumps(report.as_dict())),
        )
        found = report.as_dict()
    except (LookupError, ValueError) as error:
        if at.exists():  # a warning unrelated to the check
            raise
        kind = "LookupError" if isinstance(error, LookupError) else "ValueError"
        found = {"error": str(error.args[0] if error.args else error), "kind": kind}
    _write(out, json.dumps(found))


def _write(path: Path, text: str) -> None:
    """Write a file atomically, whenever this process ends."""
    part = Path(f"{path}.new")
    part.write_text(text)
    os.replace(part, path)


if __name__ == "__main__":
    work_and_end(lambda: main(sys.argv[1]))
