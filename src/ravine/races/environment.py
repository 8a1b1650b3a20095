"""What results may depend on besides their inputs: versions, revision, machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ravine

__all__ = ["MADE_WITH", "differences", "environment"]

_NAMES = {
    "ravine": "Ravine",
    "git": "revision",
    "python": "Python",
    "system": "system",
    "cpu": "CPU",
}
MADE_WITH = (*_NAMES, "packages")
"""The parts of the environment that are stored with each result."""


def environment() -> dict[str, Any]:
    """Versions, revision, machine, the command and the time."""
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


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What results depend on and has changed since: "numpy 2.1.0 (now 2.2.6)"."""
    before, after = _flat(then), _flat(now)
    return [
        f"{name} {known or 'missing'} (now {after.get(name) or 'missing'})"
        for name, known in before.items()
        if known != after.get(name)
    ]


def _flat(environment: Mapping[str, Any]) -> dict[str, Any]:
    found = {_NAMES[key]: environment[key] for key in _NAMES if key in environment}
    if found.get("revision"):
        revision, changed, _ = str(found["revision"]).partition("+")
        found["revision"] = revision[:12] + changed
    packages = environment.get("packages")
    if isinstance(packages, dict):
        found |= {name: packages[name] for name in packages if name != "matplotlib"}
    return found


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _git_revision() -> str | None:
    """The revision of the checkout that this package runs from, with "+" if it has changes."""
    here = Path(ravine.__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, check=True, timeout=10
        )
        return os.fsdecode(done.stdout).strip()

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
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
