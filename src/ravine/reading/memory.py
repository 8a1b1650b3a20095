"""How much state a rule keeps, from the shapes of its slots."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ravine.engines.graph import DIMENSIONS
from ravine.engines.tracing import trace
from ravine.rule import Rule
from ravine.slots import DTYPES
from ravine.views import seen_shape

__all__ = ["EXAMPLE", "state_bytes"]

EXAMPLE = (1024, 1024)
"""The matrix for which bytes per parameter are stated."""


def state_bytes(
    rule: Rule, shape: Sequence[int] = EXAMPLE, /, size: int = 4, **hyperparameters: Any
) -> int:
    """Bytes of state for one parameter of a shape, whose numbers have `size` bytes.

    hyperparameters: those that decide which state is kept. A slot of one number takes 8 bytes. Slots
    shared by all parameters, and the step count, are not included.
    """
    rule = rule.fitting(hyperparameters)
    values = rule.check(**hyperparameters)
    ndim = min(len(seen_shape(shape, rule.seen)), DIMENSIONS[-1])
    total = 0
    for name in trace(rule, None, ndim, **values).live:
        slot = rule.slots[name]
        if not slot.shared:
            kept = "float64" if slot.kind == "scalar" else slot.dtype
            total += DTYPES.get(kept, size) * prod(rule.shape(name, shape, **values))
    return total
