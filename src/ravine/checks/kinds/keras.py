"""Optimizers of Keras, on whichever backend it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from ravine.checks.kinds.base import Array, Running

__all__ = ["OfKeras"]


class OfKeras(Running):
    """A subclass of keras.optimizers.Optimizer."""

    has = frozenset({"float64", "dtypes"})

    def _make(self) -> None:
        if keras.backend.backend() == "jax":
            import jax

            jax.config.update("jax_enable_x64", True)
        floats = keras.config.floatx()
        keras.config.set_floatx(self.dtype)
        try:
            self.params = [keras.Variable(x, dtype=self.dtype) for x in self.starts]
            self.optimizer = self.maker(**self.arguments)
            self.optimizer.build(self.params)
        finally:
            keras.config.set_floatx(floats)

    def _step(self, grads: list[Array | None]) -> None:
        given = [keras.ops.convert_to_tensor(g, dtype=self.dtype) for g in grads]
        self.optimizer.apply(given)

    def _restore(self) -> None:
        for p, x in zip(self.params, self.starts, strict=True):
            p.assign(x)

    def _parameters(self) -> Sequence[Any]:
        return [keras.ops.convert_to_numpy(p.value) for p in self.params]

    def _state(self) -> Any:
        return [keras.ops.convert_to_numpy(v.value) for v in self.optimizer.variables]
