"""Train PyTorch models with Ravine: torch.optim's classes, and `optimizer(rule)` for any rule.

from ravine.torch import Adam               # instead of torch.optim
Lion = ravine.torch.optimizer(lion)         # a class from a rule of your own
"""

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
from ravine.torch.grouping import GroupingWarning, ParamGroups, param_groups
from ravine.torch.in_backward import InBackward, step_in_backward
from ravine.torch.mixed import Mixed
from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = [
    "ASGD",
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
    "ParamGroups",
    "RAdam",
    "RMSprop",
    "Rprop",
    "RuleOptimizer",
    "SparseAdam",
    "load_named_state_dict",
    "named_state_dict",
    "optimizer",
    "param_groups",
    "step_in_backward",
]
