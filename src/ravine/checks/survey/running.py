"""The survey: one process for each package, which is started anew after an optimizer that ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ravine.checks.process import ended
from ravine.checks.survey.discovery import PACKAGES
from ravine.checks.survey.rows import append, results, unfinished

__all__ = ["CHECKS", "installed", "survey"]

CHECKS = (
    "identity",
    "options_in_use",
    "every_option_counts",
    "as_it_comes",
    "descends",
    "half_precision",
    "missing_gradients",
    "layouts",
    "lr_as_a_tensor",
)
"""The checks that a survey performs: those of what is computed, and of what goes wrong silently."""
_SETTINGS = {
    "KERAS_BACKEND": "torch",
    "JAX_PLATFORMS": "cpu",
    "TORCHDYNAMO_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What packages read that would otherwise look for a GPU or compile each optimizer."""


def installed() -> list[str]:
    """The packages with optimizers that are installed."""
    return [name for name in PACKAGES if find_spec(name)]


def survey(
    packages: Sequence[str],
    out: str | Path,
    only: Iterable[str] = (),
    seconds: float = 5.0,
    timeout: float = 120.0,
    tell: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Check all optimizers of these packages; the rows of all that the file has.

    out: a file that a row is appended to as soon as an optimizer is done, so that a survey that is stopped
    goes on where it was. only: names of optimizers. seconds: how long the search for one may take.
    timeout: after how many seconds an optimizer is given up. tell: is told of each package.
    Raises LookupError for a package that is not installed.
    """
    for package in packages:
        if not find_spec(package):
            raise LookupError(f"there is no package {package!r} here")
    for package in packages:
        tell(f"{package} …")
        its = {
            "package": package,
            "out": str(out),
            "only": [*only],
            "checks": [*CHECKS],
            "seconds": seconds,
            "timeout": timeout,
        }
        _surveyed(package, out, its, timeout, tell)
    return results(out)


def _surveyed(
    package: str,
    out: str | Path,
    asked: Mapping[str, Any],
    timeout: float,
    tell: Callable[[str], None],
) -> None:
    """Run processes until one reaches the end; the optimizer that ended another could not run."""
    command = [sys.executable, "-m", "ravine.checks.survey.worker", repr(asked)]
    while True:
        how = ended(command, timeout, environment={**_SETTINGS, **os.environ}, endless=True)
        left = unfinished(out, package)
        if left is None:
            if not how.startswith("ended its process with code 0"):
                tell(f"{package}: {how}")
            return
        append(
            out,
            {**left, "row": "result", "verdict": "could not run", "rule": "", "says": how}
            | {"distance": 2.0, "evidence": [], "asked": {}, "defaults": {}}
            | {"faults": [], "remarks": [], "seconds": timeout},
        )
