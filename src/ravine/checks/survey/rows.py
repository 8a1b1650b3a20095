"""The file of a survey: a line of JSON for each optimizer, appended as it is done."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ravine.checks.survey.discovery import Found, version_of

__all__ = ["append", "begun", "done", "results", "unfinished"]


def append(out: str | Path, row: Mapping[str, Any]) -> None:
    """Add a row in one write, so that rows of several processes do not mix, and none is there in part."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    ended = _ended(out)
    file = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, (line if ended else f"\n{line}").encode())
    finally:
        os.close(file)


def _ended(out: str | Path) -> bool:
    """Whether the file's last line is whole: a process may have been killed while it wrote."""
    try:
        with open(out, "rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return True


def begun(package: str, each: Found) -> dict[str, Any]:
    """The row that says that an optimizer is being checked."""
    return {
        "row": "begun",
        "package": package,
        "version": version_of(package),
        "optimizer": each.name,
        "arguments": each.written,
        "aliases": [*each.aliases],
        "command": each.command,
    }


def _rows(out: str | Path) -> list[dict[str, Any]]:
    try:
        text = Path(out).read_text()
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # a line that was cut off; its optimizer is checked again
            continue
    return found


def results(out: str | Path) -> list[dict[str, Any]]:
    """The rows of what is done, each optimizer once: the last."""
    its = {_key(r): r for r in _rows(out) if r["row"] == "result"}
    return [its[k] for k in sorted(its, key=lambda k: (k[0].lower(), k[1]))]


def done(out: str | Path) -> set[tuple[str, str]]:
    """The optimizers, with their arguments, that need not be checked again: same version, same answer."""
    versions: dict[str, str] = {}
    found = set()
    for r in results(out):
        its = versions.setdefault(r["package"], version_of(r["package"]))
        if r["version"] == its:
            found.add(_key(r))
    return found


def unfinished(out: str | Path, package: str) -> dict[str, Any] | None:
    """The row of the optimizer of a package that was begun last, if it was not done."""
    its = [r for r in _rows(out) if r["package"] == package]
    return its[-1] if its and its[-1]["row"] == "begun" else None


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["optimizer"], row["arguments"]
