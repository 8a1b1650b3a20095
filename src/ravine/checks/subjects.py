"""One interface to any optimizer: create, pass gradients, step, read.

subject("torch.optim:AdamW", {"lr": 1e-3})      a class of torch's kind
subject("optax:adamw", {"learning_rate": 1e-3}) a gradient transformation
subject("mine.py:MyAdam")                       a user's class, for tensors or arrays
subject("mine.py:adam_step")                    a function of params and grads, see kinds/arrays.py
subject("adamw"), subject(rule)                 a rule of Ravine's, as its torch optimizer
subject(MyAdam, {"lr": 0.1})                    the object itself
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ravine import elsewhere, naming, registry
from ravine.checks.guard import CouldNotRun, Heard, described, guarded, installed
from ravine.checks.kinds import kind, kind_of
from ravine.checks.kinds.arrays import STATE, first_names
from ravine.checks.kinds.base import Array, Running
from ravine.checks.options import Option, as_given, options, signature
from ravine.files import load
from ravine.rule import Rule, RuleError, rule

__all__ = ["Array", "CouldNotRun", "Running", "Subject", "subject"]


@dataclass(frozen=True)
class Subject:
    """An optimizer to check, which can be created as often as a check needs.

    name: its name. kind: how it is created and stepped, from `kinds.KINDS`. maker: creates it. given: the
    user's arguments, by its own names. heard: what it did besides optimizing. precision: the dtype used
    for float64; "float32" if it fails in float64.
    """

    name: str
    kind: str
    maker: Callable[..., Any]
    given: Mapping[str, Any] = field(default_factory=dict)
    heard: Heard = field(default_factory=Heard, compare=False)
    precision: str = "float64"

    def make(
        self,
        starts: Sequence[Any],
        dtype: str = "float64",
        arrange: Callable[[list[Any]], Any] = list,
        /,
        **hyperparameters: float | bool,
    ) -> Running:
        """A fresh optimizer for parameters that start at these arrays.

        arrange: what it receives instead of the list of its parameters, such as groups of them.
        hyperparameters: by Ravine's names (`self.options`); the others are as given, or its defaults.
        Raises CouldNotRun, and ValueError for a hyperparameter that it does not have.
        """
        with guarded("make", self.heard):
            its = kind(self.kind)
        arguments = self.arguments(**hyperparameters)
        dtype = self.precision if dtype == "float64" else dtype
        return its(self.maker, starts, dtype, arguments, self.heard, arrange)

    def giving(self, **arguments: Any) -> Subject:
        """The same with more arguments, by its own names: "foreach", "differentiable"."""
        return replace(self, given={**self.given, **arguments})

    def arguments(self, **hyperparameters: float | bool) -> dict[str, Any]:
        """Its arguments for these hyperparameters, together with those that are given."""
        found = dict(self.given)
        for name, value in hyperparameters.items():
            if name not in self.options:
                raise ValueError(
                    f"{self.name} has no hyperparameter {name!r}{naming.typo(name, self.options)}; it has "
                    f"{', '.join(self.options) or 'none'}"
                )
            option = self.options[name]
            given: Any = found.get(option.argument, self._defaults.get(option.argument))
            if option.place is None:
                found |= dict.fromkeys((option.argument, *option.besides), as_given(value, given))
                continue
            whole = [*given]
            whole[option.place] = as_given(value, whole[option.place])
            found[option.argument] = tuple(whole)
        return found

    @cached_property
    def options(self) -> dict[str, Option]:
        """The hyperparameters that it takes, by Ravine's names."""
        known = {k: p for k, p in self._signature.items() if k not in self._arrays}
        return options(known, self.given, _witnessed(self.maker))

    @property
    def values(self) -> dict[str, float | bool]:
        """The hyperparameters as given or by default, by Ravine's names."""
        return {k: o.value for k, o in self.options.items() if o.value is not None}

    @property
    def missing(self) -> list[str]:
        """Required hyperparameters that are not given, by Ravine's names."""
        return [k for k, o in self.options.items() if o.value is None]

    def accepts(self, argument: str) -> bool:
        """Whether it takes an argument of that name, such as "foreach" or "maximize"."""
        return argument in self._signature

    @property
    def released(self) -> bool:
        """Whether it belongs to an installed package rather than to the user."""
        module = sys.modules.get(getattr(self.maker, "__module__", None) or "")
        return installed(Path(getattr(module, "__file__", None) or "")) == "package"

    @cached_property
    def has(self) -> frozenset[str]:
        """What it supports, from `kinds.base.HAS`. Raises CouldNotRun if it cannot be created."""
        running = self.make([np.ones((2, 3))], **self.needed)
        with suppress(CouldNotRun):
            running.step([np.ones((2, 3))])
        return running.has if self.precision == "float64" else running.has - {"float64"}

    @cached_property
    def needed(self) -> dict[str, float | bool]:
        """Plain values for required arguments that are not given.

        An lr that is None by default is set only if the optimizer does not step without it; Adafactor does.
        A gradient transformation always gets one, because without it the gradient keeps its sign.
        """
        plain = {k: _PLAIN.get(k, 0.1) for k in self.missing}
        empty = inspect.Parameter.empty
        required = {
            k: v for k, v in plain.items() if self._defaults.get(self.options[k].argument) is empty
        }
        if len(required) < len(plain) and self.kind != "optax":
            try:
                running = self.make([np.ones((2, 3))], **required)
                running.step([np.ones((2, 3))])
                return required
            except CouldNotRun:
                pass
        return plain

    @cached_property
    def _signature(self) -> dict[str, inspect.Parameter]:
        return signature(self.maker)

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return {k: p.default for k, p in self._signature.items()}

    @property
    def _arrays(self) -> list[str]:
        """The arguments that are not hyperparameters: parameters, gradients, and what is passed on."""
        takes = {"torch": 1, "tinygrad": 1, "optax": 0, "jax": 0, "keras": 0, "mlx": 0}.get(
            self.kind
        )
        if takes is None:
            takes = sum(name in ("params", "grads") for name in first_names(self.maker))
        return [*[*self._signature][:takes], "closure"]


_PLAIN = {
    "lr": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "momentum": 0.9,
    "weight_decay": 0.0,
}


def _witnessed(maker: Any) -> dict[str, str | tuple[str, ...]]:
    """The names of a released optimizer's arguments in the rules of which it is a witness."""
    package = (getattr(maker, "__module__", None) or "").partition(".")[0]
    name = f"{package}.{getattr(maker, '__name__', '')}"
    found: dict[str, str | tuple[str, ...]] = {}
    for match in elsewhere.matches(name, registry.own().values()) if package else ():
        for argument, its in match.witness.options.items():
            found.setdefault(argument, its)
    return found


def subject(spec: Any, given: Mapping[str, Any] | None = None, /) -> Subject:
    """The optimizer for a name or an object; given: its arguments, by its names or by Ravine's.

    Raises CouldNotRun if there is none, LookupError for an unknown rule, and ValueError for arguments that
    it does not take.
    """
    name, maker = _found(spec)
    if isinstance(maker, Rule):
        maker = _of_rule(maker)
    if not callable(maker) and not hasattr(maker, "update"):
        raise CouldNotRun(
            "make", f"it is neither a class nor a function, but of type {type(maker).__name__}"
        )
    signals = _signals(maker)
    if signals:
        why = f"its steps take {', '.join(signals)} besides gradients, which a check does not give"
        raise CouldNotRun("step", why)
    made = Subject(name, kind_of(maker), maker)
    return _with(made, given or {})


def _signals(maker: Any) -> Sequence[str]:
    """What the steps of one of Ravine's classes take besides gradients."""
    spelling = getattr(maker, "spelling", None)
    known = getattr(maker, "rule", None) or registry.own().get(getattr(spelling, "name", ""))
    return [*known.signals] if isinstance(known, Rule) else []


def _with(made: Subject, given: Mapping[str, Any]) -> Subject:
    own: dict[str, Any] = {}
    ravines: dict[str, Any] = {}
    for k, value in given.items():
        known = made.accepts(k) or k not in made.options
        (own if known else ravines)[k] = value
    its = made._signature
    takes_any = any(
        p.kind is p.VAR_KEYWORD or (p.name in STATE and made.kind == "function")
        for p in _parameters(made.maker)
    )
    unknown = next((k for k in own if k not in its), None)
    if unknown and not takes_any:
        raise ValueError(
            f"{made.name} has no argument {unknown!r}{naming.typo(unknown, its)}; it has "
            f"{', '.join(k for k in its if k not in made._arrays)}"
        )
    made = Subject(made.name, made.kind, made.maker, own)
    return Subject(made.name, made.kind, made.maker, made.arguments(**ravines))


def _parameters(maker: Any) -> list[inspect.Parameter]:
    try:
        return [*inspect.signature(maker).parameters.values()]
    except (TypeError, ValueError):
        return []


def _found(spec: Any) -> tuple[str, Any]:
    """The name of the optimizer to check, and what creates it."""
    if not isinstance(spec, str):
        return _name(spec), spec
    place, _, attribute = spec.strip().rpartition(":")
    if not place and attribute.endswith(".py"):
        place, attribute = attribute, ""
    if not place:
        return spec, _dotted(spec) or registry.get(spec)
    with guarded("load", Heard()):
        try:
            elsewhere.importable(place)
            value: Any = load(place)
        except (LookupError, RuleError) as error:
            raise CouldNotRun("load", str(error)) from error
        for part in attribute.split("."):
            if not part or not hasattr(value, part):
                raise CouldNotRun("load", _lacking(place, attribute, value))
            value = getattr(value, part)
    first = _parameters(value)[:2]
    if not isinstance(value, (type, Rule)) and [p.name for p in first] == ["p", "g"]:
        try:
            value = rule(value)
        except RuleError as error:
            raise CouldNotRun("load", described(error)) from error
    return spec, value


def _lacking(place: str, attribute: str, value: Any) -> str:
    """The message that a file or a module lacks a name, with the names that it has."""
    names = [k for k, x in vars(value).items() if callable(x) and not k.startswith("_")]
    if attribute and (slip := naming.typo(attribute, names)):
        return f"{place} has no {attribute!r}{slip}"
    home = getattr(value, "__name__", place)
    own = [k for k in names if (getattr(vars(value)[k], "__module__", None) or "").startswith(home)]
    has = f"it has {', '.join(own[:8])}{', …' if len(own) > 8 else ''}" if own else ""
    what = f"{place} has no {attribute!r}" if attribute else f"write {place}:NAME"
    return f"{what}; {has}" if has else what


def _dotted(text: str) -> Any:
    """The object "package.module.Name", if it can be imported."""
    parts = text.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return None
    for end in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:end]))
            for part in parts[end:]:
                value = getattr(value, part)
            return value
        except (ImportError, AttributeError):
            continue
    return None


def _of_rule(made: Rule) -> Callable[..., Any]:
    """A rule as a torch-style optimizer, or as one for arrays if torch is not installed."""
    front = "ravine.torch" if find_spec("torch") else "ravine.numpy"
    maker: Callable[..., Any] = importlib.import_module(front).optimizer(made)
    return maker


def _name(made: Any) -> str:
    if isinstance(made, Rule):
        return made.name
    if isinstance(made, partial):
        return _name(made.func)
    return getattr(made, "__qualname__", None) or type(made).__name__
