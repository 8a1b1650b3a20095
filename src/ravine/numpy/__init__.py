"""Train with NumPy: optimizers on arrays, and the mini-batch loop.

from ravine.numpy import Adam, fit
Lion = ravine.numpy.optimizer(lion)     # a class from a rule of your own
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ravine.numpy.classes import (
    ASGD,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Muon,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
    optimizer,
)
from ravine.numpy.classes import (
    named as _named,
)
from ravine.numpy.fitting import History, Loss, Model, fit, linear, mean_squared_error
from ravine.numpy.rule_optimizer import RuleOptimizer

if _TYPE_CHECKING:
    from ravine.numpy.friends import *  # noqa: F403

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "History",
    "Loss",
    "Model",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "RuleOptimizer",
    "fit",
    "linear",
    "mean_squared_error",
    "optimizer",
]


def __getattr__(name: str) -> _Any:
    """The class of any of Ravine's rules, created on first use."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, _named(name))


def __dir__() -> list[str]:
    from ravine.spellings import classes

    return sorted({*globals(), *classes()})
