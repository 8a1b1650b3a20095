"""The optax front's speed: a compiled step of a rule against optax's own of the same path, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ravine.optax
from ravine import registry
from ravine.bench.timing import summary, take_turns

__all__ = ["SHAPES", "pairs", "run"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "mlp": [(784, 128), (128,), (128, 64), (64,), (64, 10), (10,)],
    "blocks": [(512, 512), (512,), (512,), (512,)] * 12,
}
"""An MLP of 109 thousand parameters; 48 tensors of 3 million."""


def pairs(rules: Iterable[str]) -> dict[str, str]:
    """Rules, and optax's equivalents from their cards. ValueError if there is none."""
    found = {}
    for name in rules:
        rule = registry.get(name)
        calls = [w.call for w in rule.card.witnesses if w.distribution == "optax"]
        if not calls:
            raise ValueError(f"no optimizer of optax is known to match {name!r}")
        found[name] = calls[0]
    return found


def run(
    rules: Iterable[str],
    on: Iterable[str] = tuple(SHAPES),
    seconds: float = 2.0,
    progress: Progress = lambda _, units: units,
) -> Iterator[dict[str, Any]]:
    """Time steps under jit, gradients given, buffers donated, both taking turns in one process.

    rules: by name. on: names of SHAPES. seconds: for each rule and shape. Yields a row for each: ``rule``,
    ``shapes``, ``us``, ``optax_us`` and ``against_optax``, optax's time over this one's. Raises ValueError
    for rules that optax does not have, and for unknown shapes.
    """
    on, calls = list(on), pairs(rules)
    if unknown := next((name for name in on if name not in SHAPES), None):
        raise ValueError(f"shapes={unknown!r} is invalid; it must be one of {', '.join(SHAPES)}")
    units = [{"rule": rule, "shapes": shapes} for shapes in on for rule in calls]
    for unit in progress("optax", units):
        rule = registry.get(unit["rule"])
        values = rule.check()
        both = {
            "ravine": ravine.optax.transformation(rule),
            "optax": eval(calls[unit["rule"]], {"optax": optax, **values}),
        }
        shapes = SHAPES[unit["shapes"]]
        taken = take_turns({name: _stepping(tx, shapes) for name, tx in both.items()}, seconds)
        yield {
            **unit,
            **summary(taken["ravine"]),
            "optax_us": 1e6 * median(taken["optax"]),
            "against_optax": median(taken["optax"]) / median(taken["ravine"]),
        }


def _stepping(tx: Any, shapes: Sequence[tuple[int, ...]]) -> Callable[[], None]:
    """A function that takes one step, and waits for it."""
    draw = np.random.default_rng(0)
    params, grads = (
        [jnp.asarray(draw.normal(size=s), jnp.float32) for s in shapes] for _ in range(2)
    )

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    now = [params, tx.init(params)]

    def step() -> None:
        now[:] = update(*now, grads)
        jax.block_until_ready(now)

    step()
    return step
