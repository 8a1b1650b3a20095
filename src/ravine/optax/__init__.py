"""Train with JAX: rules as optax's gradient transformations.

tx = ravine.optax.adam(lr=1e-3)         # any rule by its name, as optax.adam
tx = ravine.optax.transformation("clip_by_global_norm(adam)", lr=schedule)
"""

from __future__ import annotations

import inspect as _inspect
from collections.abc import Callable as _Callable
from typing import Any as _Any

from ravine import registry as _registry
from ravine.extras import without as _without

try:
    from ravine.optax.converting import from_optax, from_torch, to_optax, to_torch
    from ravine.optax.transforming import RuleState, evaluate, transformation
except ImportError as _error:  # pragma: no cover
    if _error.name and _error.name.partition(".")[0] in ("jax", "jaxlib", "optax"):
        raise ImportError(f"ravine.optax: {_without(_error.name, _error)}") from _error
    raise
from ravine.rule import Rule as _Rule
from ravine.signature import nearest as _nearest
from ravine.spellings import unpaired as _unpaired

__all__ = [
    "RuleState",
    "evaluate",
    "from_optax",
    "from_torch",
    "to_optax",
    "to_torch",
    "transformation",
]


def __getattr__(name: str) -> _Any:
    """The function that creates the transformation of one of Ravine's rules."""
    rules = _registry.own()
    if name not in rules:
        raise AttributeError(
            f"module 'ravine.optax' has no attribute {name!r}{_nearest(name, [*rules])}"
        )
    return globals().setdefault(name, _factory(rules[name]))


def __dir__() -> list[str]:
    return sorted({*globals(), *_registry.own()})


def _factory(rule: _Rule) -> _Callable[..., _Any]:
    """A function of the rule's hyperparameters, which inject_hyperparams can look into."""
    kind = _inspect.Parameter.POSITIONAL_OR_KEYWORD
    options = {**_unpaired(rule, {}), "seed": 0}
    signature = _inspect.Signature(
        [_inspect.Parameter(k, kind, default=x) for k, x in options.items()]
    )

    def make(*args: _Any, **hyperparameters: _Any) -> _Any:
        bound = signature.bind_partial(*args) if args else None
        given = {**(bound.arguments if bound else {}), **hyperparameters}
        return transformation(rule, **given)

    make.__name__ = make.__qualname__ = rule.name
    make.__doc__ = rule.doc
    make.__signature__ = signature  # type: ignore[attr-defined]
    return make
