"""What a random rule is run on: tensors, gradients that may be missing, options that may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch

from random_rules.trees import RandomRule

DTYPES = {d: getattr(torch, d) for d in ("float64", "float32", "bfloat16", "float16")}


@dataclass(frozen=True)
class Tensor:
    """A parameter and its gradients, made of a few distinct elements over and over.

    rows: the distinct elements of p, then of the gradient of each step; None where it is missing.
    """

    shape: tuple[int, ...]
    group: int
    rows: tuple[tuple[float, ...] | None, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @cached_property
    def places(self) -> np.ndarray:
        """Which of the distinct elements each element is: with a period that no vector has."""
        return np.arange(self.size) % 7 % len(self.rows[0] or ())

    @cached_property
    def counts(self) -> list[int]:
        """How often each of the distinct elements occurs."""
        return np.bincount(self.places, minlength=len(self.rows[0] or ())).tolist()


@dataclass(frozen=True)
class Change:
    """An option of a group, set before a step; step 0: when the optimizer is made."""

    step: int
    group: int
    name: str
    value: float | bool


@dataclass(frozen=True)
class Case:
    """A rule and what it is run on; state_dtype: "" for that of the parameters."""

    rule: RandomRule
    tensors: Sequence[Tensor]
    changes: Sequence[Change]
    dtype: str
    state_dtype: str = ""

    @property
    def steps(self) -> int:
        """How many steps are taken."""
        return len(self.tensors[0].rows) - 1

    @property
    def groups(self) -> int:
        """How many param groups there are."""
        return 1 + max(t.group for t in self.tensors)

    def options(self, step: int, group: int) -> dict[str, float | bool]:
        """A group's options at a step, counted from 0."""
        values = dict(self.rule.hyper)
        for change in self.changes:
            if change.step <= step and change.group == group:
                values[change.name] = change.value
        return values

    def row(self, tensor: Tensor, step: int) -> tuple[float, ...] | None:
        """The distinct elements of p (step -1) or of a gradient, in the case's dtype."""
        row = tensor.rows[step + 1]
        return None if row is None else rounded(row, self.dtype)


def rounded(row: Sequence[float], dtype: str) -> tuple[float, ...]:
    """The numbers nearest to these that a dtype has."""
    return tuple(torch.tensor(row, dtype=torch.float64).to(DTYPES[dtype]).double().tolist())
