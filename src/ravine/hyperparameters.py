"""Hyperparameters: what a name means, which values are valid, and where to search.

Names such as lr or eps have a shared meaning, and a valid range if every paper agrees on it.
Meanings and search ranges that are specific to a rule are declared in its decorator: `beta2="decay
rate of the momentum"` changes only the meaning, `lr=searched(1e-4, 10)` only the search range, and
`alpha=Hyperparameter(...)` declares everything.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter: its meaning, its valid range, and the range worth searching.

    `low` and `high` bound the valid values; `open_low`, `open_high` exclude the bound; `whole`: only
    whole numbers are valid. `search` and `towards` are as :func:`searched` takes them.
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

    @property
    def searched(self) -> str:
        """The values that are worth searching, in words; "" if no range is declared.

        >>> HYPERPARAMETERS["beta2"].searched
        '0.9 to 0.9999'
        """
        return " to ".join(f"{end:g}" for end in self._ends)

    @property
    def _ends(self) -> list[float]:
        """The smallest and the largest value that a search draws; empty if no range is declared."""
        return sorted(self.towards - x if self.towards else x for x in self.search or ())

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
            if number is not None and abs(number) <= sys.float_info.max and self._holds(number):
                return int(number) if self.whole else number
        raise ValueError(
            f"{where}: {self.name}={value!r} is invalid; {self.name} must be {self.accepted}"
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


class Search(NamedTuple):
    """A search range on its own; see :func:`searched`."""

    low: float
    high: float
    towards: float = 0.0


def searched(low: float, high: float, towards: float = 0.0) -> Search:
    """A search range, for the decorator of a rule whose hyperparameter is otherwise the usual one.

    low, high: a tuner draws from here, log-uniformly. towards: what it draws is the distance from
    this number; with towards=1, one minus the value (as for beta1). Raises ValueError unless
    0 < low < high.

    >>> from ravine import rule
    >>> made = rule(lr=searched(1e-3, 10))(lambda p, g, *, lr=0.1: p - lr * g)
    >>> made.hyperparameters["lr"].search
    (0.001, 10)
    """
    ends = plain(low), plain(high)
    if None in ends or not 0 < ends[0] < ends[1] < math.inf:  # type: ignore[operator]
        raise ValueError(
            f"searched(low={low!r}, high={high!r}) is invalid; a search range has 0 < low < high"
        )
    return Search(low, high, towards)


def _decay(search: tuple[float, float]) -> Hyperparameter:
    return Hyperparameter(
        "decay rate: weight of the past in a running mean",
        0.0,
        1.0,
        open_high=True,
        search=search,
        towards=1.0,
    )


HYPERPARAMETERS: dict[str, Hyperparameter] = {
    "lr": Hyperparameter("learning rate: the factor of the step", 0.0),
    "momentum": Hyperparameter(
        "share of the velocity kept from step to step", search=(1e-3, 1.0), towards=1.0
    ),
    "beta1": _decay((1e-3, 1.0)),
    "beta2": _decay((1e-4, 1e-1)),
    "eps": Hyperparameter("keeps a denominator away from zero", 0.0, search=(1e-10, 1e-3)),
    "weight_decay": Hyperparameter("pull of the weights towards zero", 0.0, search=(1e-5, 1.0)),
    "centered": Hyperparameter("divide by the standard deviation instead of the root mean square"),
    "nesterov": Hyperparameter("look one velocity ahead"),
    "amsgrad": Hyperparameter("never let the denominator shrink"),
    "decoupled_weight_decay": Hyperparameter("leave the decay out of the gradient"),
    "maximize": Hyperparameter("climb instead of descend"),
}
_UNKNOWN = Hyperparameter("hyperparameter of this rule")


def look_up(
    name: str, default: Any, declared: Hyperparameter | Search | str | None = None
) -> Hyperparameter:
    """The hyperparameter of this name: what a rule declares, completed with what all rules share.

    declared: all of it, or only the search range, or only the meaning. An unknown name accepts any
    finite number. By default, lr is searched two decades to either side of its default, because what
    counts as small differs from rule to rule.
    """
    made = HYPERPARAMETERS.get(name, _UNKNOWN)
    if isinstance(declared, Hyperparameter):
        made = declared
    elif isinstance(declared, Search):
        made = replace(made, search=(declared.low, declared.high), towards=declared.towards)
    elif declared is not None:
        made = replace(made, meaning=declared)
    rate = plain(default) if name == "lr" and made.search is None else None
    if rate is not None and rate > 0:
        made = replace(made, search=(rate / 100, rate * 100))
    made = made.named(name, default)
    if declared and not all(map(made._holds, made._ends)):
        raise ValueError(
            f"{name}: a search from {made.searched} is invalid; {name} must be {made.accepted}"
        )
    return made
