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
    """A subclass of tinygrad.nn.optim.Optimizer, or a function that creates one for parameters."""

    has = frozenset({"float64", "dtypes"})

    def _make(self) -> None:
        self.params = [Tensor(x, dtype=getattr(dtypes, self.dtype)) for x in self.starts]
        for p in self.params:
            getattr(p, "is_param_", getattr(p, "requires_grad_", bool))(True)
        self.optimizer = self.maker(self.params, **self.arguments)

    def _step(self, grads: list[Array | None]) -> None:
        for p, g in zip(self.params, grads, strict=True):
            p.grad = Tensor(g, dtype=p.dtype)
        with Context(TRAINING=1):
            self.optimizer.step()

    def _parameters(self) -> Sequence[Any]:
        return [p.cast(dtypes.float64).numpy() for p in self.params]
