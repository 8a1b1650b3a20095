"""How much state a rule keeps, from the shapes of its slots."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ravine.engines.tracing import trace
from ravine.rule import Rule
from ravine.slots import DTYPES

__all__ = ["EXAMPLE", "state_bytes"]

EXAMPLE = (1024, 1024)
"""The matrix that bytes per parameter are said of."""


def state_bytes(
    rule: Rule, shape: Sequence[int] = EXAMPLE, /, size: int = 4, **hyperparameters: Any
) -> int:
    """Bytes of state for one parameter of a shape, whose numbers have `size` bytes.

    hyperparameters: where they decide what is kept. A slot that all parameters share is not counted.
    """
    rule = rule.fitting(hyperparameters)
    values = rule.values(hyperparameters)
    total = 0
    for name in trace(rule, None, len(shape), **hyperparameters).live:
        slot = rule.slots[name]
        if not slot.shared:
            each = DTYPES[slot.dtype] if slot.dtype else size
            total += each * prod(rule.shape(name, shape, **values))
    return total
