"""Optimizers of MLX, which computes in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from ravine.checks.kinds.base import Array, Running

__all__ = ["OfMlx"]


class OfMlx(Running):
    """A subclass of mlx.optimizers.Optimizer."""

    has = frozenset()

    def _make(self) -> None:
        mx.set_default_device(mx.cpu)
        self.optimizer = self.maker(**self.arguments)
        self.params = {f"W{i}": mx.array(x.astype(np.float32)) for i, x in enumerate(self.starts)}

    def _step(self, grads: list[Array | None]) -> None:
        given = {
            k: mx.array(np.asarray(g, np.float32)) for k, g in zip(self.params, grads, strict=True)
        }
        self.params = self.optimizer.apply_gradients(given, self.params)

    def _parameters(self) -> Sequence[Any]:
        return [np.array(p) for p in self.params.values()]
