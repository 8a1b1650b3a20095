"""Signals, the inputs of a step besides gradients: found and checked for each parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ravine.engines.graph import Graph
from ravine.engines.signals import checked_signals
from ravine.torch.exchange import Circle
from ravine.torch.sharded import alike, is_spread
from ravine.torch.tensors import dimensions

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["NOTHING", "Given", "given"]


@dataclass
class Given:
    """The signals of a step. numbers: signals with one number. arrays: for the others, each parameter's
    tensor. names: of all.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, Mapping[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = frozenset((*self.numbers, *self.arrays))

    def of(
        self, graph: Graph, p: torch.Tensor, where: str, device: torch.device
    ) -> dict[str, torch.Tensor]:
        """The signals of a parameter in the form of its gradient: with its dtype, and on the device where it
        is stepped.

        Raises ValueError, beginning with `where`, for signals that are missing or do not fit.
        """
        names = [name for name in graph.given if name in self.arrays]
        its = {name: _fitted(name, self.arrays[name].get(p), p, where) for name in names}
        return {name: x if x.device == device else x.to(device) for name, x in its.items()}


NOTHING = Given()
"""The signals of a step without any."""


def given(optimizer: RuleOptimizer, signals: Mapping[str, Any], tell: bool = False) -> Given:
    """Read the signals of a step. Raises TypeError or ValueError for what no rule of the optimizer
    accepts; tell: informs other processes, if they must agree on the step.
    """
    groups, name = optimizer.param_groups, type(optimizer).__name__
    kinds = {(i, dimensions(p)) for i, group in enumerate(groups) for p in group["params"]}
    plans = {(i, ndim): optimizer.planned(groups[i], ndim)[0] for i, ndim in sorted(kinds)}
    try:
        numbers, arrays = checked_signals([graph.rule for graph in plans.values()], signals, name)
        return Given(numbers, {k: _by_parameter(k, x, optimizer) for k, x in arrays.items()})
    except (TypeError, ValueError):
        stepped = ((p, plans[i, dimensions(p)]) for i, g in enumerate(groups) for p in g["params"])
        circle = Circle.of(stepped) if tell else None
        if circle is not None:
            circle.fail()
        raise


def _by_parameter(
    name: str, value: Any, optimizer: RuleOptimizer
) -> Mapping[torch.Tensor, torch.Tensor]:
    """A signal's tensors, by parameter, without those that are None."""
    where, groups = f"{type(optimizer).__name__}: step", optimizer.param_groups
    params = [p for group in groups for p in group["params"]]
    if isinstance(value, torch.Tensor) and len(params) == 1:
        value = [value]
    if isinstance(value, torch.Tensor) or not isinstance(value, Iterable):
        raise TypeError(
            f"{where}: {name} is of type {type(value).__name__}; it must be a sequence of tensors in the "
            "order of the parameters, or a dict from parameters (or their names) to tensors"
        )
    if isinstance(value, Mapping):
        by_name = {
            k: p
            for g in groups
            for k, p in zip(g.get("param_names", ()), g["params"], strict=False)
        }
        known = {*params}
        tensors = {by_name.get(k, k) if isinstance(k, str) else k: x for k, x in value.items()}
        for k in tensors:
            if k not in known:
                key = repr(k) if isinstance(k, str) else f"a key of type {type(k).__name__}"
                raise ValueError(
                    f"{where}: {name} has an entry for {key}, which is not one of the optimizer's parameters"
                )
    else:
        values = list(value)
        if len(values) != len(params):
            entries = "1 entry" if len(values) == 1 else f"{len(values)} entries"
            raise ValueError(
                f"{where}: {name} has {entries} for {len(params)} parameters; it must have one for each, in "
                "their order (None where a parameter has no gradient)"
            )
        tensors = dict(zip(params, values, strict=True))
    for p, x in tensors.items():
        if x is not None and not isinstance(x, torch.Tensor):
            raise TypeError(
                f"{where}: {name} has an entry of type {type(x).__name__} for a parameter of shape "
                f"{tuple(p.shape)}; it must be a tensor of that shape"
            )
    return {p: x for p, x in tensors.items() if x is not None}


def _fitted(name: str, x: torch.Tensor | None, p: torch.Tensor, where: str) -> torch.Tensor:
    whose = f"{where}: step: {name} has"
    if x is None:
        if p.grad is not None:
            raise ValueError(
                f"{whose} no entry for a parameter of shape {tuple(p.shape)}, which has a gradient"
            )
        return p.detach()  # a parameter that is not stepped
    if x.shape != p.shape:
        raise ValueError(
            f"{whose} a tensor of shape {tuple(x.shape)} for a parameter of shape {tuple(p.shape)}; they "
            "must be the same"
        )
    if x.device != p.device or x.layout is not torch.strided:
        kind = f"on {x.device}" if x.device != p.device else f"of layout {x.layout}"
        raise ValueError(
            f"{whose} a tensor {kind}; it must be dense, and on {p.device} as the parameter"
        )
    if x.is_complex() and not p.is_complex():
        raise ValueError(f"{whose} a tensor of {x.dtype} for a parameter of {p.dtype}")
    if is_spread(x) is not is_spread(p):
        how = "spread over processes (a DTensor)"
        one, other = ("not ", "") if is_spread(p) else ("", "not ")
        raise ValueError(f"{whose} a tensor that is {one}{how} for a parameter that is {other}so")
    x = x.detach().to(p.dtype)
    if is_spread(p):
        return alike(x, p)
    # A kernel requires the same layout for both.
    return x if x.stride() == p.stride() else torch.empty_like(p.detach()).copy_(x)
