"""Run folders: what a race did, kept as it goes, so that nothing is lost and a run can go on.

    manifest.json          versions, settings, git revision, CPU, when, how it ended
    units/<hash>.json      one file per unit of work, named by what was asked for
    <table>.csv, .json     the tables and every point; <figure>.png, .svg

Every file is written under another name first and then renamed: there are no half files.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ravine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunFolder", "environment", "picture", "to_json", "write"]


class RunFolder:
    """A folder that a race writes to. Opening one that exists goes on where it was left.

    Raises OSError with a message that names the folder if it cannot be written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.reused = 0
        try:
            (self.path / "units").mkdir(parents=True, exist_ok=True)
            self._write("units/.writable", b"")
            (self.path / "units/.writable").unlink()
        except OSError as error:
            raise OSError(
                f"--out {str(path)!r} cannot be written to ({error.strerror or error}); "
                "name a folder that exists or can be made, and that you may write to"
            ) from error

    def manifest(self, **entries: Any) -> None:
        """Set entries in manifest.json, beside what the machine and the versions are."""
        path = self.path / "manifest.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        self.json("manifest", {**before, **environment(), **entries})

    def unit(self, asked: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """The result of a unit of work: from this folder if it is there, computed and kept if not.

        asked: everything the result depends on; the unit is found by it, and by Ravine's source:
        a result of other code is never taken for this one's.
        """
        key = json.dumps([_source(), asked], sort_keys=True)
        name = f"units/{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        path = self.path / name
        if path.exists():
            self.reused += 1
            return _load(path)["result"]
        result = compute()
        self._write(name, json.dumps(_spell({"asked": asked, "result": result})).encode())
        return result

    def json(self, name: str, value: Any) -> Path:
        """Write `name`.json."""
        return self._write(f"{name}.json", to_json(value).encode())

    def csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write `name`.csv: one row per mapping, a column per key."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return self._write(f"{name}.csv", text.getvalue().encode())

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows as `name`.csv and as `name`.json."""
        self.csv(name, rows)
        self.json(name, list(rows))

    def figure(self, name: str, figure: Figure, dpi: int = 300) -> list[Path]:
        """Write a figure as `name`.png and as `name`.svg."""
        return [
            self._write(f"{name}.{kind}", picture(figure, kind, dpi)) for kind in ("png", "svg")
        ]

    def _write(self, name: str, data: bytes) -> Path:
        return write(self.path / name, data)


def write(path: Path, data: bytes) -> Path:
    """Write a file under another name and then rename it: there are no half files."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)
    return path


def picture(figure: Figure, kind: str, dpi: int = 300) -> bytes:
    """A figure as the bytes of a file; kind: "png" or "svg"."""
    data = io.BytesIO()
    figure.savefig(data, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else {})
    return data.getvalue()


def to_json(value: Any) -> str:
    """JSON text; NaN and infinities, which JSON has not, as strings, which survive every reader."""
    many = isinstance(value, list) and len(value) > 1000
    return json.dumps(_spell(value), indent=None if many else 1)


def _load(path: Path) -> Any:
    return _unspell(json.loads(path.read_text()))


_SPELT = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def _spell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _spell(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spell(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return json.dumps(value)
    return value


def _unspell(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unspell(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unspell(v) for v in value]
    return _SPELT.get(value, value) if isinstance(value, str) else value


def environment() -> dict[str, Any]:
    """What a number may depend on: versions, machine, revision."""
    packages = ("numpy", "torch", "llvmlite", "matplotlib", "numba")
    return {
        "ravine": ravine.__version__,
        "git": _git_revision(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "command": ["ravine", *sys.argv[1:]],
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _source() -> str:
    """A hash of this package's source."""
    files = sorted(Path(ravine.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@cache
def _git_revision() -> str | None:
    """The revision of the checkout that this package runs from, "+" if it was changed since."""
    here = Path(ravine.__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != here.parent.parent:
            return None  # installed into somebody else's checkout
        revision = git("rev-parse", "HEAD")
        return revision + "+" * bool(
            git("status", "--porcelain", "--untracked-files=no", "--", ".")
        )
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
