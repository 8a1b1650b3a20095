"""The arguments of :func:`param_groups`: options by role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch

from ravine import registry
from ravine.engines.tracing import takes_matrices

__all__ = ["Asked", "Options", "decayless", "of_matrices", "same"]

Options: TypeAlias = Mapping[str, Any]


class Asked:
    """The requested options, by role."""

    def __init__(self, options: Mapping[str, Options]) -> None:
        for role, given in options.items():
            if not isinstance(given, Mapping) or "params" in given:
                what = "has params" if isinstance(given, Mapping) else f"is {given!r}"
                raise ValueError(
                    f"param_groups: {role} {what}; it must be a dict of options without params, such "
                    'as {"lr": 0.02}'
                )
            if not isinstance(given.get("rule", ""), str):
                raise ValueError(
                    f"param_groups: {role} has rule {given['rule']!r}; it must be a name, such as 'Muon'"
                )
        self.own = dict(options)
        self.rest = dict(self.own.pop("rest", {}))
        if "rule" not in self.rest and any("rule" in given for given in self.own.values()):
            self.rest = {"rule": "AdamW", **self.rest}

    def of(self, role: str) -> dict[str, Any]:
        """The options of a role: they override the rest's, or replace them if they name another rule."""
        own = self.own.get(role, {})
        joined = own.get("rule", self.rest.get("rule")) == self.rest.get("rule")
        return {**self.rest, **own} if joined else dict(own)


def of_matrices(rule: str, ndim: int = 1) -> bool:
    """Whether it is the name of a rule for matrices, which cannot take this number of dimensions."""
    known = registry.rules().get(rule.lower())
    return known is not None and takes_matrices(known, ndim)


def decayless(rule: Any) -> bool:
    """Whether it is the name of a rule that has no weight decay."""
    known = registry.rules().get(rule) if rule else None
    return known is not None and "weight_decay" not in known.hyperparameters


def same(group: dict[str, Any], options: dict[str, Any]) -> bool:
    """Whether a group has exactly these options, and the same share of the optimizer's lr."""
    if getattr(group, "share", None) != getattr(options, "share", None):
        return False
    return all(k == "params" or k in options for k in group) and all(
        k in group and _equal(group[k], v) for k, v in options.items()
    )


def _equal(a: Any, b: Any) -> bool:
    # A learning rate may be a tensor, shared by groups or not: only the same tensor is equal.
    return a is b if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor) else bool(a == b)
