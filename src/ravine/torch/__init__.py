"""Train PyTorch models with Ravine: torch.optim's classes, and `optimizer(rule)` for any rule.

from ravine.torch import Adam               # instead of torch.optim
Lion = ravine.torch.optimizer(lion)         # a class from a rule of your own
"""

from ravine.torch.classes import SGD, Adam, AdamW, RMSprop, optimizer
from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["SGD", "Adam", "AdamW", "RMSprop", "RuleOptimizer", "optimizer"]
