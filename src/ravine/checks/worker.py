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

from ravine.checks.running import check_optimizer


def main(text: str) -> None:
    """Check, and write what was found into the file that is named."""
    asked: dict[str, Any] = ast.literal_eval(text)
    out = Path(asked.pop("out"))
    at = Path(f"{out}.at")
    gc.set_threshold(200_000, 20, 100)  # imports make no garbage: torch's take a fifth less time
    faulthandler.enable()  # a crash, like a hang, is told by the line that it happens in
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
        if at.exists():  # it is not about what was asked
            raise
        kind = "LookupError" if isinstance(error, LookupError) else "ValueError"
        found = {"error": str(error.args[0] if error.args else error), "kind": kind}
    _write(out, json.dumps(found))
    os._exit(0)  # threads that the optimizer has left do not keep it


def _write(path: Path, text: str) -> None:
    """Write a file that is never there in part, whenever this process ends."""
    part = Path(f"{path}.new")
    part.write_text(text)
    os.replace(part, path)


if __name__ == "__main__":
    main(sys.argv[1])
