"""How to create, step and read the optimizers of each package: a class for each kind."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import Any

from ravine.checks.kinds.arrays import STEPS, first_names, takes_arrays
from ravine.checks.kinds.base import Running

__all__ = ["KINDS", "kind", "kind_of"]

KINDS = {
    "torch": "torch:OfTorch",
    "optax": "jax:OfOptax",
    "jax": "jax:OfExamples",
    "keras": "keras:OfKeras",
    "tinygrad": "tinygrad:OfTinygrad",
    "mlx": "mlx:OfMlx",
    "arrays": "arrays:OfArrays",
    "function": "arrays:OfFunctions",
}
"""Every kind, and the place of its class, which is imported only when needed."""
_PACKAGES = {
    "torch.optim": "torch",
    "optax": "optax",
    "jax.example_libraries": "jax",
    "keras": "keras",
    "tinygrad": "tinygrad",
    "mlx": "mlx",
    "sklearn": "arrays",
    "ravine.numpy": "arrays",
}


def kind(name: str) -> type[Running]:
    """The class of a kind. Raises ImportError if its package is missing."""
    module, _, attribute = KINDS[name].partition(":")
    found: type[Running] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found


def kind_of(maker: Any) -> str:
    """The kind of a maker of optimizers: by its package, its bases, and its arguments."""
    while isinstance(maker, partial):
        maker = maker.func
    bases = maker.__mro__[:-1] if isinstance(maker, type) else [maker]
    for base in bases:
        module = getattr(base, "__module__", "") or ""
        for package, name in _PACKAGES.items():
            if module == package or module.startswith(f"{package}."):
                return name
    if hasattr(maker, "init") and hasattr(maker, "update") and not isinstance(maker, type):
        return "optax"
    first = first_names(maker)
    if isinstance(maker, type):
        steps = [getattr(maker, name) for name in STEPS[:-1] if hasattr(maker, name)]
        of_arrays = not steps or takes_gradients(steps[0])
        return "arrays" if of_arrays or first[:1] != ["params"] else "torch"
    if takes_arrays(maker):
        return "function"
    if first[:1] == ["params"]:
        return "torch" if _uses(maker, "torch") or not _uses(maker, "tinygrad") else "tinygrad"
    return "optax" if _uses(maker, "optax") else "function"


def takes_gradients(method: Any) -> bool:
    """Whether a method is called with gradients, such as `update(self, params, grads)`."""
    if not callable(method):
        return False
    names = first_names(method)
    return "grads" in names or takes_arrays(_without_self(method))


def _without_self(method: Any) -> Any:
    return method.__get__(object()) if hasattr(method, "__get__") else method


def _uses(maker: Any, package: str) -> bool:
    """Whether the file that defines something has imported a package."""
    module = sys.modules.get(getattr(maker, "__module__", ""))
    names = {**vars(module), **getattr(maker, "__globals__", {})} if module else {}
    return any(getattr(x, "__name__", "") == package for x in names.values())
