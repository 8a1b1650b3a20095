"""Optimizers of NumPy arrays: classes with `update(params, grads)`, and plain functions.

A function is the shortest form of an optimizer. It takes parameters and gradients, both lists of arrays (or
dicts by name, or one array at a time), and returns the new parameters, or changes them in place:

    def adam_step(params, grads, state, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        t = state["t"] = state.get("t", 0) + 1
        new = []
        for i, (p, g) in enumerate(zip(params, grads)):
            m = state["m", i] = beta1 * state.get(("m", i), 0) + (1 - beta1) * g
            v = state["v", i] = beta2 * state.get(("v", i), 0) + (1 - beta2) * g**2
            new.append(p - lr * m / (1 - beta1**t) / ((v / (1 - beta2**t)) ** 0.5 + eps))
        return new

`state` (or config, cache) is a dict that is passed from step to step. It starts empty, except for arguments
that the function does not name. A function may return (params, state) instead. An argument called t, step,
iteration or i is the step's number, from 1. A function that takes lr and the like, but neither parameters
nor gradients, must return such a function, which then keeps its own state.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ravine.checks.guard import CouldNotRun
from ravine.checks.kinds.base import Array, Running

__all__ = ["STATE", "STEPS", "OfArrays", "OfFunctions", "first_names", "required", "takes_arrays"]

STEPS = ("step", "update", "update_params", "apply_gradients", "apply", "optimize", "__call__")
"""The names of the method that takes a step, in the order in which they are tried."""
STATE = ("state", "config", "cache", "memory", "opt_state")
_COUNT = ("t", "step", "iteration", "i", "n")


class _InAStyle(Running):
    """An optimizer for arrays in a style that is found by trying: lists, dicts by name, or one at a time."""

    has = frozenset({"float64", "gradients"})
    complex = True
    style = ""
    given: Any = ()

    def gradients(self) -> list[Any]:
        """The current contents of the gradients that it received last."""
        return _listed(self.given, self.starts)

    def _begin(self, style: str) -> None:
        """Set the initial parameters, in a style."""
        raise NotImplementedError

    def _call(self, style: str, grads: list[Array | None]) -> None:
        """Take a step in a style."""
        raise NotImplementedError

    def _step(self, grads: list[Array | None]) -> None:
        if self.style:
            self._call(self.style, grads)
            return
        errors = []
        for style in ("list", "dict", "each"):
            try:
                self._begin(style)
                self._call(style, grads)
                self._parameters()
                self.style = style
                return
            except (TypeError, AttributeError, KeyError, IndexError, ValueError) as error:
                errors.append(error)
        raise errors[0]

    def _restore(self) -> None:
        for x, start in zip(self._parameters(), self.starts, strict=True):
            x[...] = start

    def _parameters(self) -> Sequence[Any]:
        return _listed(self.params, self.starts)


class OfArrays(_InAStyle):
    """A class with a method of (params, grads), or of (grads) if its constructor takes the parameters.

    With one array at a time, each array has its own optimizer.
    """

    has = frozenset({"float64", "object", "gradients"})

    def _make(self) -> None:
        self.params: Any = [x.copy() for x in self.starts]
        self.made: dict[str, Any] = {}
        self._objects("list")

    def _objects(self, style: str) -> Any:
        """The optimizer, or one for each array."""
        if style not in self.made:
            starts = _in_style(style, [x.copy() for x in self.starts])
            if not self.of_params:
                made = self.maker(**self.arguments)
                self.made[style] = (
                    [copy.deepcopy(made) for _ in self.starts] if style == "each" else made
                )
            elif style == "each":
                self.made[style] = [self.maker(x, **self.arguments) for x in starts]
            else:
                self.made[style] = self.maker(starts, **self.arguments)
            self.optimizer = self.made[style]
            if self.of_params and style != "each":
                self.params = starts
        return self.made[style]

    @property
    def of_params(self) -> bool:
        """Whether its constructor takes the parameters."""
        return first_names(self.maker)[:1] == ["params"]

    def _begin(self, style: str) -> None:
        begun = self.params if self.of_params and style == "list" else None
        starts = begun or _in_style(style, [x.copy() for x in self.starts])
        self.optimizer = self._objects(style)
        if not (self.of_params and style == "dict"):
            self.params = starts

    def _call(self, style: str, grads: list[Array | None]) -> None:
        self.params = self._stepped(style, self.params, grads)

    def _stepped(self, style: str, params: Any, grads: list[Array | None]) -> Any:
        given = self.given = _in_style(style, [np.array(g) for g in grads])
        if style == "each":
            new = [
                self._one(o, p, g) for o, p, g in zip(self.optimizer, params, given, strict=True)
            ]
            return [p if x is None else x for x, p in zip(new, params, strict=True)]
        new = self._one(self.optimizer, params, given)
        return params if new is None else new

    def _one(self, optimizer: Any, params: Any, grads: Any) -> Any:
        method = step_of(optimizer)
        names = required(method)
        if len(names) < 2 and not (len(names) == 0 and takes_arrays(method)):
            return method(grads)
        backwards = len(names) > 1 and "grad" in names[0] and "grad" not in names[1]
        return method(grads, params) if backwards else method(params, grads)


class OfFunctions(_InAStyle):
    """A function of parameters and gradients, or one that returns such a function: see the module."""

    def _make(self) -> None:
        self.slots: dict[str, Any] = {}
        self.params: Any = [x.copy() for x in self.starts]
        takes = takes_arrays(self.maker)
        self.optimizer = self.maker if takes else self.maker(**self.arguments)
        if not callable(self.optimizer):
            raise CouldNotRun(
                "make",
                f"it returns {type(self.optimizer).__name__}; a function that does not take params and grads "
                "has to return one that does",
            )
        every = inspect.signature(self.optimizer).parameters
        self.named = {k: x for k, x in self.arguments.items() if takes and k in every}
        self.begun = {k: x for k, x in self.arguments.items() if takes and k not in every}

    def _begin(self, style: str) -> None:
        self.params = _in_style(style, [x.copy() for x in self.starts])
        self.slots = {}

    def _call(self, style: str, grads: list[Array | None]) -> None:
        given = self.given = _in_style(style, [np.array(g) for g in grads])
        if style != "each":
            self.params = self._one("", self.params, given)
            return
        rows = enumerate(zip(self.params, given, strict=True))
        self.params = [self._one(str(i), p, g) for i, (p, g) in rows]

    def _one(self, number: str, params: Any, grads: Any) -> Any:
        """Make one call, and store what it returns."""
        every = inspect.signature(self.optimizer).parameters
        wanted = [k for k in [*every][2:] if k in (*STATE, *_COUNT) and k not in self.named]
        named = dict(self.named)
        for k in wanted:
            if k in _COUNT:
                named[k] = self.steps
            else:
                empty = None if every[k].default is None and not self.begun else dict(self.begun)
                named[k] = self.slots.setdefault(number, empty)
        new = self.optimizer(params, grads, **named)
        if isinstance(new, tuple) and len(new) == 2 and any(k in STATE for k in wanted):
            new, self.slots[number] = new
        return params if new is None else new

    def _state(self) -> Any:
        return [self.slots, self.optimizer]


def step_of(optimizer: Any) -> Callable[..., Any]:
    """The method of an object that takes a step."""
    names = [name for name in STEPS if callable(getattr(optimizer, name, None))]
    taking = [name for name in names if required(getattr(optimizer, name)) or name != "step"]
    if not names:
        raise CouldNotRun(
            "make",
            f"{type(optimizer).__name__} has no method that takes a step, such as {STEPS[0]} or {STEPS[1]}",
        )
    return getattr(optimizer, (taking or names)[0])  # type: ignore[no-any-return]


def takes_arrays(function: Any) -> bool:
    """Whether a function takes parameters and gradients."""
    names = first_names(function)
    return len(names) > 1 and names[0] != "grads" and names[1] == "grads"


def first_names(maker: Any) -> list[str]:
    """The first two arguments: "params" and "grads" if they have similar names."""
    try:
        names = [*inspect.signature(maker).parameters][:2]
    except (TypeError, ValueError):
        return []
    return [_meant(name, i) for i, name in enumerate(names)]


def _meant(name: str, place: int) -> str:
    low = name.lower()
    if "grad" in low or (place == 1 and low in ("g", "gs", "dw", "dx", "dp", "dtheta", "d")):
        return "grads"
    words = ("param", "weight", "theta", "variables")
    if low.startswith(words) or (place == 0 and low in ("p", "ps", "w", "ws", "x", "var", "vars")):
        return "weight_decay" if low == "weight_decay" else "params"
    return name


def required(method: Callable[..., Any]) -> list[str]:
    """The required arguments of a method."""
    kinds = inspect.Parameter
    return [
        k
        for k, p in inspect.signature(method).parameters.items()
        if p.default is p.empty and p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]


def _in_style(style: str, arrays: list[Array]) -> Any:
    if style == "dict":
        return {f"W{i}": x for i, x in enumerate(arrays, 1)}
    return arrays


def _listed(params: Any, starts: list[Array]) -> list[Any]:
    """The parameters in order; TypeError if they are not arrays of the original shapes."""
    found = [*params.values()] if isinstance(params, dict) else params
    if not isinstance(found, (list, tuple)) or len(found) != len(starts):
        raise TypeError(f"a step returns {type(params).__name__}, not the new parameters")
    if any(np.shape(x) != s.shape for x, s in zip(found, starts, strict=True)):
        raise ValueError(f"a step returns parameters of shapes {[np.shape(x) for x in found]}")
    return [*found]
