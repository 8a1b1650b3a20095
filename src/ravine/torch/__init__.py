"""Train PyTorch models with Ravine: torch.optim's namespace, and `optimizer(rule)` for any rule.

    import ravine.torch as optim                # instead of torch.optim
    from ravine.torch import Adam               # or a single class

    from ravine.torch import Lion               # every rule in `ravine list` has a class
    Lion = ravine.torch.optimizer(lion)         # a class from your own rule

The first-order classes are Ravine's, and each is a subclass of torch's. LBFGS, which calls its
closure several times in a step, is torch's own, as are Optimizer, lr_scheduler and swa_utils.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ravine.extras import without

try:
    from torch.optim import LBFGS, Optimizer, lr_scheduler, swa_utils
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(without("torch", error), name=error.name) from error

from ravine.torch.checkpoints import load_named_state_dict, named_state_dict
from ravine.torch.checks import How
from ravine.torch.classes import (
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
    SparseAdam,
    optimizer,
)
from ravine.torch.classes import (
    named as _named,
)
from ravine.torch.converting import convert
from ravine.torch.grouping import GroupingWarning, ParamGroups, param_groups
from ravine.torch.in_backward import InBackward, step_in_backward
from ravine.torch.keras import from_keras, to_keras
from ravine.torch.mixed import Mixed
from ravine.torch.rule_optimizer import RuleOptimizer

if _TYPE_CHECKING:
    from ravine.torch.friends import *  # noqa: F403

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "GroupingWarning",
    "How",
    "InBackward",
    "Mixed",
    "Muon",
    "NAdam",
    "Optimizer",
    "ParamGroups",
    "RAdam",
    "RMSprop",
    "Rprop",
    "RuleOptimizer",
    "SparseAdam",
    "convert",
    "from_keras",
    "load_named_state_dict",
    "lr_scheduler",
    "named_state_dict",
    "optimizer",
    "param_groups",
    "step_in_backward",
    "swa_utils",
    "to_keras",
]

try:
    from torch.optim import swap_in_optimizer_params_and_state
except ImportError:  # torch has it from 2.13 on
    pass
else:
    __all__ += ["swap_in_optimizer_params_and_state"]


def __getattr__(name: str) -> _Any:
    """The class of any of Ravine's rules, created on first use."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, _named(name))


def __dir__() -> list[str]:
    from ravine.spellings import classes

    return sorted({*globals(), *classes()})
