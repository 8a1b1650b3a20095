"""Entrants: the optimizers of a race, each with the search ranges of its hyperparameters.

An entrant is named as everywhere in Ravine ("adamw", "cautious(adamw)", "mine.py:lion"), or is a
torch-style class ("timm.optim:Lamb", "torch.optim:RAdam(weight_decay=0.01)"), or is such an object itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import torch
from torch import Tensor, nn

import ravine.torch
from ravine import naming, registry
from ravine.elsewhere import importable
from ravine.engines.digest import digest
from ravine.engines.tracing import takes_matrices
from ravine.files import load
from ravine.hyperparameters import HYPERPARAMETERS, Hyperparameter, look_up
from ravine.races.fingerprint import code
from ravine.registry import Found
from ravine.rule import Rule
from ravine.torch.roles import roles_of

__all__ = ["Entrant", "Space", "entrant", "entrants", "memory"]

Space = Mapping[str, tuple[float, float, float]]
"""The search range of each hyperparameter: (low, high, towards), as a rule declares it."""


@dataclass(frozen=True)
class Entrant:
    """One optimizer of a race.

    label: its name in the race. rule: the digest of what it computes. defaults: all of its
    hyperparameters. searched: the search ranges that are known. build: makes the optimizer for a model
    with given hyperparameters. remark: a note on it.
    """

    label: str
    rule: str
    defaults: Mapping[str, float | bool]
    searched: Space
    build: Callable[[nn.Module, Mapping[str, Any]], torch.optim.Optimizer]
    remark: str = ""
    source: Any = field(default=None, repr=False)

    def __reduce__(self) -> Any:
        return _again, (self.source, self.label)

    def space(self, names: str) -> Space:
        """What is searched: "lr" alone, or "all", with weight decay and decay rates; "" for nothing."""
        wanted = {"": (), "lr": ("lr",), "all": ("lr", "weight_decay")}[names]
        return {
            k: x for k, x in self.searched.items() if k in wanted or (names == "all" and x[2] == 1)
        }


def entrants(given: Sequence[Any]) -> list[Entrant]:
    """All entrants of a race; two with the same label are called by their full names.

    Raises ValueError if two are the same, if two have the same name, or if none is given.
    """
    made = [entrant(each) for each in given]
    if not made:
        raise ValueError("a race needs an optimizer; name some, such as adamw,lion,sgd")
    labels = [each.label for each in made]
    for i, each in enumerate(made):
        for other in made[:i]:
            if (each.label, each.rule, each.defaults) == (other.label, other.rule, other.defaults):
                raise ValueError(f"{each.label} is in the race twice")
    made = [
        replace(each, label=each.source)
        if labels.count(each.label) > 1 and isinstance(each.source, str)
        else each
        for each in made
    ]
    labels = [each.label for each in made]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ValueError(
            f"two optimizers of the race are called {twice!r}; give one of the rules another name, "
            f"made.named('another')"
        )
    return made


def entrant(given: Any) -> Entrant:
    """An entrant from its name, a rule, or a torch-style class.

    Raises LookupError for an unknown name, and ValueError for an optimizer that cannot race.
    """
    if isinstance(given, str):
        foreign = _foreign_name(given)
        return _foreign(*foreign, source=given) if foreign else _of_rule(registry.resolve(given))
    if isinstance(given, Rule):
        return _of_rule(Found(given, given.name), source=given)
    if isinstance(given, type) and issubclass(given, torch.optim.Optimizer):
        rule = getattr(given, "rule", None)
        if isinstance(rule, Rule):
            return _of_rule(Found(rule, rule.name), source=given)
        return _foreign(given, given.__name__, {}, source=given)
    raise ValueError(
        f"{given!r} cannot race; an optimizer is a name, a rule, or a subclass of torch.optim.Optimizer"
    )


def _again(source: Any, label: str) -> Entrant:
    return replace(entrant(source), label=label)


# ---- rules ---------------------------------------------------------------------------------------


def _of_rule(found: Found, source: Any = None) -> Entrant:
    rule = found.rule
    if needed := [*rule.signals]:
        raise ValueError(
            f"{found.label} cannot race: it takes {', '.join(needed)} besides gradients, which a race does "
            "not give"
        )
    matrices = takes_matrices(rule)
    settings, remark = dict(found.settings), ""
    if matrices:
        remark = f"{found.label} steps hidden matrices and convolutions, and AdamW with the same lr the rest"
        if "match_adamw" in rule.hyperparameters and "match_adamw" not in settings:
            rule = rule.named(rule.name, match_adamw=True)
            remark += "; its steps are scaled to AdamW's size (Liu et al., 2025, arXiv:2502.16982)"
    hyperparameters = rule.hyperparameters
    varied = [k for k, h in hyperparameters.items() if not isinstance(h.default, bool)]
    also = digest(registry.get("adamw")) if matrices else ""
    build = _with_adamw(rule) if matrices else _alone(rule)
    return Entrant(
        found.label,
        digest(rule, varied=varied) + also,
        {k: h.default for k, h in hyperparameters.items()},
        _searched(hyperparameters),
        build,
        remark,
        found.name if source is None else source,
    )


def _searched(known: Mapping[str, Hyperparameter]) -> Space:
    return {k: (*h.search, h.towards) for k, h in known.items() if h.search is not None}


def _alone(rule: Rule) -> Callable[[nn.Module, Mapping[str, Any]], torch.optim.Optimizer]:
    made = ravine.torch.optimizer(rule)

    def build(model: nn.Module, values: Mapping[str, Any]) -> torch.optim.Optimizer:
        return made(_trained(model), **rule.parts.gathered(dict(values)))

    return build


def _with_adamw(rule: Rule) -> Callable[[nn.Module, Mapping[str, Any]], torch.optim.Optimizer]:
    made = ravine.torch.optimizer(rule if rule.seen else rule.seeing("matrix"))

    def build(model: nn.Module, values: Mapping[str, Any]) -> torch.optim.Optimizer:
        rows = roles_of(model)
        matrices = [p for p in _trained(model) if rows[p].role in ("hidden", "conv")]
        others = [p for p in _trained(model) if rows[p].role not in ("hidden", "conv")]
        parts: list[torch.optim.Optimizer] = []
        if matrices:
            parts.append(made(matrices, **rule.parts.gathered(dict(values))))
        if others:
            parts.append(ravine.torch.AdamW(others, lr=values["lr"]))
        return parts[0] if len(parts) == 1 else Pair(parts)

    return build


class Pair(torch.optim.Optimizer):
    """Several optimizers that step one after another, each with its own parameters."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of all parameters."""
        return {p: its for part in self.parts for p, its in part.state.items()}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Let each take its step."""
        for part in self.parts:
            part.step()


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


# ---- optimizers of torch's kind ------------------------------------------------------------------


def _foreign_name(name: str) -> tuple[type[torch.optim.Optimizer], str, dict[str, Any]] | None:
    """The class that a name means, its label and its options; None if it names a rule."""
    if ":" not in name:
        return None
    asked = naming.call(name)
    text, options = (asked.head, dict(asked.options)) if asked else (name, {})
    if asked and asked.inner is not None:
        return None
    place, _, attribute = text.rpartition(":")
    importable(place.strip())
    try:
        found = getattr(load(place.strip()), attribute.strip(), None)
    except LookupError:
        return None  # which the registry says better
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        return None
    label = name if options else f"{place.strip()}:{attribute.strip()}"
    return found, label, options


def _foreign(
    kind: type[torch.optim.Optimizer], label: str, options: Mapping[str, Any], source: Any
) -> Entrant:
    defaults = _numbers(kind, options)
    known = {k: look_up(k, v) for k, v in defaults.items()}

    def build(model: nn.Module, values: Mapping[str, Any]) -> torch.optim.Optimizer:
        return kind(_trained(model), **_spelt(kind, {**options, **values}))

    spelling = getattr(kind, "spelling", None)  # Ravine's class takes the place of torch's
    known_as = f"{kind.__module__}.{kind.__qualname__} {_version(kind)} {sorted(options.items())}"
    return Entrant(
        label,
        digest(*spelling.compose(_all(kind, options))) if spelling else known_as,
        defaults,
        _searched(known),
        build,
        source=source,
    )


def _numbers(kind: type, options: Mapping[str, Any]) -> dict[str, float | bool]:
    """Its numeric arguments and their defaults; the elements of betas are named as in a rule."""
    arguments = inspect.signature(kind).parameters
    unknown = [k for k in options if k not in arguments]
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no option {unknown[0]!r}{naming.typo(unknown[0], arguments)}"
        )
    found: dict[str, float | bool] = {}
    for name, argument in [*arguments.items()][1:]:
        value = options.get(name, argument.default)
        if name == "lr" and value is inspect.Parameter.empty:
            value = 1e-3
        if (
            isinstance(value, tuple)
            and all(isinstance(x, float) for x in value)
            and name == "betas"
        ):
            found |= {f"beta{i}": x for i, x in enumerate(value, 1)}
        elif isinstance(value, (int, float)) and (name in HYPERPARAMETERS or name == "lr"):
            found[name] = value
    if "lr" not in found:
        raise ValueError(f"{kind.__name__} cannot race: it has no lr, or none that is a number")
    return found


def _all(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    arguments = [*inspect.signature(kind).parameters.items()][1:]
    return {**{name: argument.default for name, argument in arguments}, **options}


def _spelt(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in the form the class takes: beta1 and beta2 become betas."""
    arguments = inspect.signature(kind).parameters
    if "betas" not in arguments:
        return dict(values)
    betas = tuple(values[k] for k in sorted(values) if k.startswith("beta") and k[4:].isdigit())
    rest = {k: v for k, v in values.items() if not (k.startswith("beta") and k[4:].isdigit())}
    return {**rest, "betas": betas} if betas else rest


def _version(kind: type) -> str:
    """What distinguishes two versions of a class: that of its package, or its source."""
    top = kind.__module__.partition(".")[0]
    try:
        return version(_distributions().get(top, [top])[0])
    except PackageNotFoundError:
        return code(kind)


_distributions = cache(packages_distributions)  # it reads the metadata of every package


def memory(optimizer: torch.optim.Optimizer, parameters: int) -> float:
    """Bytes of optimizer state for each trainable number."""
    states = [x for its in optimizer.state.values() for x in its.values()]
    return sum(x.nbytes for x in states if isinstance(x, Tensor) and x.ndim) / parameters
