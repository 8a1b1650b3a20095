"""The cost of a step, computed without running it: bytes, operations, messages and minimum time."""

from ravine.costs.account import SHARDS, Cost, Machine, cost
from ravine.costs.models import Model, of_module, of_place, transformer

__all__ = ["SHARDS", "Cost", "Machine", "Model", "cost", "of_module", "of_place", "transformer"]
