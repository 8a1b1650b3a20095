"""What is known to be wrong, and open: delete an entry with the repair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OPEN: dict[str, Callable[[Any], bool]] = {}


def known(found: Any) -> bool:
    """Whether a disagreement is of a kind that is open."""
    return any(test(found) for test in OPEN.values())
