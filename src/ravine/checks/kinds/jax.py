"""Optimizers of JAX: optax's gradient transformations, and the triples of jax.example_libraries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from ravine.checks.kinds.base import Array, Running

__all__ = ["OfExamples", "OfOptax"]


class OfOptax(Running):
    """A gradient transformation, or a function that creates one."""

    has = frozenset({"float64", "dtypes"})
    complex = True

    def _make(self) -> None:
        self.optimizer, self.compiled = self._compiled()
        with jax.enable_x64(True):
            self._restore()
            self.state = self.optimizer.init(self.params)

    def _compiled(self) -> tuple[Any, Any]:
        """The transformation, which is pure, and its step, compiled once per set of arguments."""
        try:
            return _compiled(self.maker, frozenset(self.arguments.items()))
        except TypeError:  # the arguments cannot be hashed
            return _compiled.__wrapped__(self.maker, self.arguments.items())

    def _step(self, grads: list[Array | None]) -> None:
        with jax.enable_x64(True):
            given = [jnp.asarray(g, self.dtype) for g in grads]
            self.params, self.state = self.compiled(self.params, given, self.state)

    def _restore(self) -> None:
        with jax.enable_x64(True):
            self.params = [jnp.asarray(x, self.dtype) for x in self.starts]

    def _parameters(self) -> Sequence[Any]:
        return [jax.device_get(p) for p in self.params]

    def _state(self) -> Any:
        return jax.tree.leaves(self.state)


@lru_cache(64)
def _compiled(maker: Any, arguments: Any) -> tuple[Any, Any]:
    made = hasattr(maker, "update") and hasattr(maker, "init")
    optimizer = maker if made else maker(**dict(arguments))

    def step(params: Any, grads: Any, state: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return [p + u.astype(p.dtype) for p, u in zip(params, updates, strict=True)], state

    return optimizer, jax.jit(step)


class OfExamples(Running):
    """A function that returns (init, update, get_params)."""

    has = frozenset({"float64", "dtypes"})

    def _make(self) -> None:
        init, self.update, self.get = self.maker(**self.arguments)
        with jax.enable_x64(True):
            self.optimizer = init([jnp.asarray(x, self.dtype) for x in self.starts])

    def _step(self, grads: list[Array | None]) -> None:
        with jax.enable_x64(True):
            given = [jnp.asarray(g, self.dtype) for g in grads]
            self.optimizer = self.update(self.steps - 1, given, self.optimizer)

    def _parameters(self) -> Sequence[Any]:
        return [jax.device_get(p) for p in self.get(self.optimizer)]

    def _state(self) -> Any:
        return jax.tree.leaves(self.optimizer)
