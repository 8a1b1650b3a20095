"""What a step takes, before it is taken: bytes, operations, messages, and the least time."""

from ravine.costs.account import SHARDS, Cost, Machine, cost
from ravine.costs.models import Model, of_module, of_place, transformer

__all__ = ["SHARDS", "Cost", "Machine", "Model", "cost", "of_module", "of_place", "transformer"]
