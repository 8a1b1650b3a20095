"""The field's hyperparameters: what each name means, what it may be, where a search looks for it.

Written down once here, and used for validation, documentation, checks and tuning. A rule that
means something else by a name says so in its decorator: `@rule(alpha=Hyperparameter(...))`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter: its meaning, its valid range, and the range worth searching.

    `low` and `high` bound the valid values; `open_low`, `open_high` exclude the bound; `whole`: only
    whole numbers are valid. `search` is the
    interval a tuner draws from, log-uniformly, of the distance that `towards` names: the value
    itself, or, with `towards=1`, one minus the value (as for beta1).
    """

    meaning: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    whole: bool = False
    search: tuple[float, float] | None = None
    towards: float = 0.0
    name: str = ""
    default: Any = None

    @property
    def accepted(self) -> str:
        """What is accepted, in words.

        >>> HYPERPARAMETERS["beta1"].accepted
        'a number in [0, 1)'
        """
        if isinstance(self.default, bool):
            return "True or False"
        number = "whole number" if self.whole else "finite number"
        if self.low == -math.inf and self.high == math.inf:
            return f"a {number}"
        if self.high == math.inf:
            return f"a {number} {'>' if self.open_low else '>='} {self.low:g}"
        if self.low == -math.inf:
            return f"a {number} {'<' if self.open_high else '<='} {self.high:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"a {number.removeprefix('finite ')} in {left}{self.low:g}, {self.high:g}{right}"

    def check(self, value: Any, where: str) -> Any:
        """The value as a plain Python number, or a ValueError that says what is accepted.

        `where` names what is being set up ("Adam", "rule 'adam'"). One-element tensors and arrays
        count as numbers.
        """
        if isinstance(self.default, bool):
            if value is True or value is False:
                return value
        else:
            number = plain(value)
            if number is not None and math.isfinite(number) and self._holds(number):
                return int(number) if self.whole else number
        raise ValueError(
            f"{where}: {self.name}={value!r} is not accepted; {self.name} is {self.accepted}"
        )

    def _holds(self, x: float) -> bool:
        above = x > self.low if self.open_low else x >= self.low
        below = x < self.high if self.open_high else x <= self.high
        return above and below and (not self.whole or x == int(x))

    def named(self, name: str, default: Any) -> Hyperparameter:
        """The same, under a name and with a default."""
        return replace(self, name=name, default=default)


def plain(value: Any) -> int | float | None:
    """A number as a plain int or float (also out of a one-element array or tensor), or None."""
    if type(value) in (int, float):
        return value
    if isinstance(value, (bool, str, bytes)) or value is None:
        return None
    try:
        value = value.item() if hasattr(value, "item") else value
        return value if type(value) in (int, float) else float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _decay(meaning: str, search: tuple[float, float]) -> Hyperparameter:
    return Hyperparameter(meaning, 0.0, 1.0, open_high=True, search=search, towards=1.0)


HYPERPARAMETERS: dict[str, Hyperparameter] = {
    "lr": Hyperparameter("learning rate: the length of the step", 0.0, search=(1e-4, 10.0)),
    "momentum": Hyperparameter(
        "share of the velocity kept from step to step", 0.0, search=(1e-3, 1.0), towards=1.0
    ),
    "dampening": Hyperparameter("share of the gradient kept out of the velocity"),
    "beta1": _decay("decay rate of the mean of the gradients, per step", (1e-3, 1.0)),
    "beta2": _decay("decay rate of the mean of the squared gradients, per step", (1e-4, 1e-1)),
    "alpha": Hyperparameter(
        "decay rate of the mean of the squared gradients, per step",
        0.0,
        1.0,
        search=(1e-4, 1e-1),
        towards=1.0,
    ),
    "rho": Hyperparameter(
        "decay rate of the means of the squared gradients and squared steps, per step",
        0.0,
        1.0,
        search=(1e-3, 0.5),
        towards=1.0,
    ),
    "momentum_decay": Hyperparameter(
        "how fast the momentum warms up: half of it is there at first, 3/4 after 17 / this steps",
        0.0,
        search=(1e-4, 1e-1),
    ),
    "lr_decay": Hyperparameter(
        "lr falls as 1 / (1 + this * steps taken)", 0.0, search=(1e-6, 1e-1)
    ),
    "v0": Hyperparameter(
        "what the sum of the squared gradients starts at", 0.0, search=(1e-4, 1.0)
    ),
    "lambd": Hyperparameter(
        "pull of the weights towards zero, and decay of lr", search=(1e-6, 1e-2)
    ),
    "t0": Hyperparameter(
        "the weights are averaged from two steps after this one on", search=(1.0, 1e6)
    ),
    "eta_minus": Hyperparameter(
        "factor of a step size when the gradient changes its sign",
        0.0,
        1.0,
        open_low=True,
        open_high=True,
        search=(0.1, 0.9),
    ),
    "eta_plus": Hyperparameter(
        "factor of a step size while the gradient keeps its sign",
        1.0,
        open_low=True,
        search=(1.01, 2.0),
    ),
    "step_min": Hyperparameter("smallest step size", 0.0, search=(1e-9, 1e-3)),
    "step_max": Hyperparameter("largest step size", 0.0, search=(1e-2, 100.0)),
    "beta2_decay": Hyperparameter(
        "beta2 of step t is 1 - t to this power: the mean of the squares gets longer and longer",
        high=0.0,
    ),
    "eps1": Hyperparameter(
        "smallest size of a gradient; 0: the epsilon of the parameter's dtype",
        0.0,
        search=(1e-30, 1e-3),
    ),
    "eps2": Hyperparameter(
        "the size that smaller parameters count as, where steps are relative",
        0.0,
        search=(1e-5, 1e-1),
    ),
    "d": Hyperparameter("largest root mean square of a step before lr", 1.0, search=(1.0, 10.0)),
    "ns_a": Hyperparameter("Newton-Schulz: coefficient of X"),
    "ns_b": Hyperparameter("Newton-Schulz: coefficient of (X Xᵀ) X"),
    "ns_c": Hyperparameter("Newton-Schulz: coefficient of (X Xᵀ)² X"),
    "ns_steps": Hyperparameter("Newton-Schulz: how many steps", 0, 99, whole=True),
    "bfloat16": Hyperparameter("compute the Newton-Schulz steps in bfloat16"),
    "match_adamw": Hyperparameter("scale steps to the size that AdamW's usually have"),
    "unclamped": Hyperparameter(
        "scale steps by sqrt(rows / columns), also where that is below 1: for wide matrices"
    ),
    "eps": Hyperparameter(
        "added to the denominator, in units of the gradient", 0.0, search=(1e-10, 1e-3)
    ),
    "weight_decay": Hyperparameter("pull of the weights towards zero", 0.0, search=(1e-5, 1.0)),
    "clip_value": Hyperparameter(
        "largest size of a gradient's coordinate", 0.0, search=(1e-3, 10.0)
    ),
    "max_norm": Hyperparameter(
        "largest Euclidean norm of the gradient", 0.0, open_low=True, search=(1e-3, 10.0)
    ),
    "centered": Hyperparameter("divide by the standard deviation instead of the root mean square"),
    "nesterov": Hyperparameter("look one velocity ahead"),
    "amsgrad": Hyperparameter("never let the denominator shrink"),
    "decoupled_weight_decay": Hyperparameter("leave the decay out of the gradient"),
    "maximize": Hyperparameter("climb instead of descend"),
}


def look_up(name: str, default: Any, override: Hyperparameter | None = None) -> Hyperparameter:
    """What is known of a hyperparameter of this name; any finite number where nothing is."""
    known = override or HYPERPARAMETERS.get(name) or Hyperparameter("hyperparameter of this rule")
    return known.named(name, default)
