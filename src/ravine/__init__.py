"""Ravine: gradient optimizers you can read, trust, run and race.

An optimizer is one short pure function, written like its paper (`ravine.rules`). Everything else
is derived from it: `ravine.torch` and `ravine.numpy` train with it, `ravine show` explains it,
`ravine race` compares it. Importing this package imports no framework.
"""

from typing import TYPE_CHECKING, Any

from ravine import pickling as _pickling  # noqa: F401  rules are pickled as it says
from ravine.cards import Card, Witness
from ravine.modifying import modifier
from ravine.rule import (
    Rule,
    RuleError,
    filled,
    like_p,
    low_rank,
    rule,
    scalar,
    several,
    shared,
    signal,
    square,
    zeros,
)

if TYPE_CHECKING:
    from ravine.races.contest import race as race
    from ravine.registry import get, names

__version__ = "0.1.0"
__all__ = [
    "Card",
    "Rule",
    "RuleError",
    "Witness",
    "filled",
    "get",
    "like_p",
    "low_rank",
    "modifier",
    "names",
    "rule",
    "scalar",
    "several",
    "shared",
    "signal",
    "square",
    "zeros",
]


_LATER = {"get": "registry", "names": "registry", "race": "races.contest"}


def __getattr__(name: str) -> Any:
    """Import the rest on first use, so that importing Ravine is instant."""
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"ravine.{_LATER[name]}"), name)
    raise AttributeError(f"module 'ravine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LATER})
