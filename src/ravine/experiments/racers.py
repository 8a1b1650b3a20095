"""The optimizers of an experiment, as its reader names and sets them: rules, stacks, torch's classes.

A racer is looked up once for an experiment, so that its keys and its runs are of one version of its
file. What an experiment's spec says of it is its name and what is set, which is fit for JSON.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ravine.engines.digest import digest
from ravine.engines.graph import Graph
from ravine.engines.tracing import trace
from ravine.extras import lacking
from ravine.hyperparameters import look_up
from ravine.modifiers import clip_by_value
from ravine.naming import typo
from ravine.registry import resolve
from ravine.rule import Rule, RuleError

if TYPE_CHECKING:
    from ravine.races.entrants import Entrant

Array = NDArray[Any]
Values = Mapping[str, float | bool]

NAMES = {
    "sgd": "SGD",
    "momentum": "momentum",
    "nesterov": "Nesterov",
    "rmsprop": "RMSprop",
    "adam": "Adam",
    "amsgrad": "AMSGrad",
}

_log = logging.getLogger("ravine")


def called(name: str) -> str:
    """What a racer is called in pictures and sentences: the usual name, or its own without folders."""
    return NAMES.get(name) or re.sub(r"[^(,]*/", "", name)


@dataclass(frozen=True)
class Racer:
    """An optimizer of an experiment.

    name: by which it is found again. label: what it is called. rule: None for a class of torch's kind.
    set: hyperparameters that were set. values: all of them, checked. clips: whether what is set clips the
    gradients of an optimizer that does not itself.
    """

    name: str
    label: str
    rule: Rule | None
    set: Values
    values: Values

    clips: bool = False

    def __reduce__(self) -> Any:
        return racer, (self.name, self.set)

    @property
    def without_clipping(self) -> Values:
        """What is set, without the clipping."""
        return {k: v for k, v in self.set.items() if not (self.clips and k == "clip_value")}

    @cached_property
    def entrant(self) -> Entrant:
        """It as a race has it, which makes a torch optimizer of it."""
        from ravine.races.entrants import entrant

        made = entrant(self.rule or self.name)
        clips = self.clips and self.rule is None
        return replace(made, build=partial(_clipped, made.build)) if clips else made

    def digest(self, *, varied: Sequence[str] = ()) -> str:
        """What it computes, with what is set, as a short text."""
        if self.rule:
            return digest(self.rule, self.set, varied=varied)
        return f"{self.entrant.rule} {sorted(self.set.items())}"

    @cached_property
    def graph(self) -> Graph | None:
        """The graph of its step on one number; None for a class of torch's kind."""
        return trace(self.rule, (), 0, **self.set) if self.rule else None

    def steps(self, p: Array, lr: Array | float | None = None) -> Together | Apart:
        """Make what steps many runs, whose parameters are the last axis of p; lr broadcasts over p.

        None leaves the default. p is changed in place if a run has a separate torch optimizer.
        """
        rates = {} if lr is None else {"lr": lr}
        graph = trace(self.rule, **self.set) if self.rule else None
        if self.rule and graph and graph.pointwise and not graph.by_ndim:
            return Together(self.rule, p, {**self.set, **rates})
        return Apart(self, p, rates)

    def on_numbers(self, *start: float) -> Callable[..., Any]:
        """Make a step of a torch optimizer on some numbers: of them and their gradients, the new ones."""
        import torch

        parts = [torch.nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in start]
        optimizer = self.build(torch.nn.ParameterList(parts))

        def step(*given: Any) -> tuple[float, ...]:
            for part, g in zip(parts, given[len(parts) :], strict=True):
                part.grad = torch.tensor(float(g), dtype=torch.float64)
            optimizer.step()
            return tuple(part.item() for part in parts)

        return step

    def build(self, model: Any, values: Values | None = None) -> Any:
        """Make the torch optimizer of a model, with these values besides. Raises ValueError."""
        try:
            return self.entrant.build(model, {**self.values, **(values or {})})
        except Exception as error:
            raise ValueError(f"{self.label} cannot run here: {error}") from error

    def for_vectors(self, what: str) -> Racer:
        """Raise ValueError for one that is for matrices, where `what` is trained; return the racer."""
        if self.graph is not None and self.graph.of_arrays:
            raise ValueError(
                f"optimizers: {self.name!r} cannot run here, where {what}: it works on arrays, such as "
                "matrices"
            )
        if self.graph is None:
            self.steps(np.ones((1, 2)))
        return self


class Together:
    """All runs as one array, by a rule that looks at no element but its own."""

    def __init__(self, rule: Rule, p: Array, values: Mapping[str, Any]) -> None:
        self.rule, self.values, self.state = rule, values, rule.init(p, **values)

    def step(self, p: Array, g: Array, t: int, factor: float = 1.0) -> Array:
        """Take step t, counted from 1, with lr times the factor; return the new p."""
        values = self.values
        if factor != 1:
            values = {**values, "lr": values["lr"] * p.dtype.type(factor)}
        p, self.state = self.rule.update(p, g, self.state, t, **values)
        return p

    def weights(self, p: Array) -> Array:
        """Those to evaluate with."""
        return self.rule.evaluate(p, self.state, **self.values)


class Apart:
    """A torch optimizer for each run, on its part of p."""

    def __init__(self, racer: Racer, p: Array, rates: Mapping[str, Any]) -> None:
        import torch

        self.label, self.runs = racer.label, [*np.ndindex(p.shape[:-1])]
        self.parts = [torch.nn.Parameter(torch.from_numpy(p[i])) for i in self.runs]
        lr = {k: np.broadcast_to(x, p.shape)[..., 0] for k, x in rates.items()}
        self.made = [
            racer.build(torch.nn.ParameterList([part]), {k: float(x[i]) for k, x in lr.items()})
            for i, part in zip(self.runs, self.parts, strict=True)
        ]
        self.rates = [[group["lr"] for group in made.param_groups] for made in self.made]

    def step(self, p: Array, g: Array, t: int, factor: float = 1.0) -> Array:
        """Take step t, counted from 1, with lr times the factor; return p, which has changed."""
        for i, part, made, rates in zip(self.runs, self.parts, self.made, self.rates, strict=True):
            part.grad = part.new_tensor(g[i])
            for group, lr in zip(made.param_groups, rates, strict=True):
                group["lr"] = lr * factor
            try:
                made.step()
            except Exception as error:
                what = f"{type(error).__name__} at step {t}: {error}"
                raise ValueError(f"{self.label} raises {what}") from error
        return p

    def weights(self, p: Array) -> Array:
        """Those to evaluate with."""
        if not callable(getattr(self.made[0], "eval", None)):
            return p
        for made in self.made:
            made.eval()
        found = p.copy()
        for made in self.made:
            made.train()
        return found


def racer(name: str, settings: Values | None = None) -> Racer:
    """The racer of a name: a rule's, a stack's, "file.py:name", or a torch class's, "timm.optim:Lamb".

    settings: hyperparameters; clip_value clips each number of any optimizer's gradients. Raises LookupError
    for an unknown name, and ValueError for invalid arguments.
    """
    settings = dict(settings or {})
    try:
        found = resolve(name)
    except (LookupError, RuleError):
        if ":" not in name or lacking("torch"):
            raise
        return _foreign(name, settings)
    rule = found.rule
    if rule.signals:
        raise ValueError(
            f"{found.label} cannot run here: it takes {', '.join(rule.signals)} besides gradients"
        )
    if found.note:
        _log.info("%s", found.note)
    clips = "clip_value" in settings and "clip_value" not in rule.hyperparameters
    if clips:
        rule = clip_by_value(rule)
    if twice := [k for k in settings if k in found.settings]:
        raise ValueError(
            f"{twice[0]}={settings[twice[0]]!r} has no effect with {found.name!r}, which sets "
            f"{twice[0]}; give one of them"
        )
    try:
        values = rule.check(**settings)
    except TypeError as error:
        raise ValueError(str(error)) from None
    given = {k: values[k] for k in settings}
    return Racer(found.name, found.label, rule, given, values, clips)


def _foreign(name: str, settings: dict[str, float | bool]) -> Racer:
    from ravine.races.entrants import entrant

    made = entrant(name)
    clips = "clip_value" in settings and "clip_value" not in made.defaults
    if unknown := [
        k for k in settings if k not in made.defaults and not (clips and k == "clip_value")
    ]:
        has = f"it has {', '.join(made.defaults)}{typo(unknown[0], made.defaults)}"
        raise ValueError(f"{made.label} has no hyperparameter {unknown[0]!r}; {has}")
    known = {k: look_up(k, made.defaults.get(k, 1.0)) for k in settings}
    given = {k: known[k].check(v, made.label) for k, v in settings.items()}
    return Racer(name, made.label, None, given, {**made.defaults, **given}, clips)


def _clipped(build: Callable[..., Any], model: Any, values: Mapping[str, Any]) -> Any:
    """Make a torch optimizer that gets gradients whose numbers are clipped."""
    made = build(model, {k: v for k, v in values.items() if k != "clip_value"})

    def clip(*_: Any) -> None:
        for p in (p for group in made.param_groups for p in group["params"]):
            if p.grad is not None:
                p.grad.clamp_(-values["clip_value"], values["clip_value"])

    made.register_step_pre_hook(clip)
    return made


def racers(
    names: Iterable[str], settings: Values | None = None, lr: float | None = None
) -> list[Racer]:
    """The racers of names. settings: each is set where a racer has it; lr: of all.

    Raises ValueError where one is there twice, and for a setting that none of them has.
    """
    names, settings = list(names), dict(settings or {})
    if not names:
        raise ValueError(f"optimizers={names!r} is invalid; name at least one optimizer")
    if lr is not None and "lr" in settings:
        raise ValueError("--lr and --set lr=... set the same hyperparameter; give one of them")
    rate = {} if lr is None else {"lr": lr}
    plain = [racer(name) for name in names]
    given = [{**_own(each, settings), **rate} for each in plain]
    made = [racer(x.name, its) if its else x for x, its in zip(plain, given, strict=True)]
    for name in settings:
        without = [each.label for each in made if name not in each.set]
        if len(without) == len(made):
            known = dict.fromkeys(k for each in made for k in each.values)
            raise ValueError(
                f"{name}={settings[name]!r} is invalid; none of {', '.join(without)} has "
                f"{name!r}, they have {', '.join(known)}{typo(name, known)}"
            )
        if without:
            _log.info("%s is set where there is one: not in %s", name, ", ".join(without))
    found = [each.name for each in made]
    if twice := [name for name in found if found.count(name) > 1]:
        raise ValueError(f"optimizers={names!r} is invalid; {twice[0]} is listed twice")
    return made


def _own(each: Racer, settings: Values) -> dict[str, float | bool]:
    """Those of the settings that a racer has."""
    return {k: v for k, v in settings.items() if k in each.values or k == "clip_value"}
