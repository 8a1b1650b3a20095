"""Optimizers of tinygrad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad import Context, Device, Tensor, dtypes

from ravine.checks.kinds.base import Array, Running

__all__ = ["OfTinygrad"]

try:
    str(Device.DEFAULT)
except RuntimeError:  # there is no compiler for the CPU: Python can run its steps
    from tinygrad.helpers import DEV

    DEV.value = "PYTHON"


class OfTinygrad(Running):
    """A subclass of tinygrad.nn.optim.Optimizer, or a function that makes one of parameters."""

    def _make(self) -> None:
        self.params = [Tensor(x, dtype=dtypes.float64) for x in self.starts]
        for p in self.params:
            getattr(p, "is_param_", getattr(p, "requires_grad_", bool))(True)
        self.optimizer = self.maker(self.params, **self.arguments)

    def _step(self, grads: list[Array | None]) -> None:
        for p, g in zip(self.params, grads, strict=True):
            p.grad = Tensor(g, dtype=dtypes.float64)
        with Context(TRAINING=1):
            self.optimizer.step()

    def _parameters(self) -> Sequence[Any]:
        return [p.numpy() for p in self.params]
