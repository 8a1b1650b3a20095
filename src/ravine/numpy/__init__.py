"""Train with NumPy: optimizers on arrays, and the mini-batch loop.

from ravine.numpy import Adam, fit
Lion = ravine.numpy.optimizer(lion)     # a class from a rule of your own
"""

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
from ravine.numpy.fitting import History, Loss, Model, fit, linear, mean_squared_error
from ravine.numpy.rule_optimizer import RuleOptimizer

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
