"""The rules that an optimizer may be: those that its name suggests, their variants, and all others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from itertools import islice, product
from typing import Any

import numpy as np

from ravine import elsewhere, naming, registry
from ravine.checks.probe import SINGLE, Path, Probe, apart, distance, distances
from ravine.checks.subjects import subject
from ravine.checks.wrong import RIGHT, run
from ravine.engines.batch import Batch, unable
from ravine.engines.graph import Graph, fill
from ravine.engines.patterns import denominators
from ravine.engines.rewriting import kept, leaf_of, rewritten
from ravine.modifiers import (
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    decoupled_decay,
    l2,
    maximize,
)
from ravine.modifying import modifier
from ravine.ops import sqrt, where
from ravine.rule import Rule

__all__ = [
    "CALLED",
    "Candidate",
    "Trial",
    "Values",
    "candidate",
    "claims",
    "clipped",
    "decoupled",
    "family",
    "library",
    "near",
    "of_arrays",
    "resembling",
    "stacks",
    "stepped",
    "trials",
]

Values = Mapping[str, Any]

CALLED: Mapping[str, tuple[str, ...]] = {
    "alpha": (
        "alpha",
        "rho",
        "beta2",
        "beta",
        "gamma",
        "decay",
        "decay_rate",
        "discounting_factor",
    ),
    "rho": ("rho", "alpha", "beta2", "beta", "gamma", "decay", "decay_rate"),
    "beta": ("beta", "beta1", "momentum"),
    "momentum": ("momentum", "beta1", "beta", "alpha", "gamma"),
    "beta1": ("beta1", "momentum", "beta"),
    "beta2": ("beta2", "alpha", "rho", "beta", "decay", "decay_rate"),
    "beta2_decay": ("beta2_decay", "decay_rate"),
    "eps2": ("eps2", "eps"),
    "max_norm": ("max_norm", "clipnorm", "clip_norm", "max_grad_norm", "global_clipnorm"),
    "clip_value": ("clip_value", "clipvalue", "clip"),
    "every": ("every", "precondition_frequency", "update_freq"),
}
"""Other names of hyperparameters, the most common first."""
_FOLLOWS = {"shampoo_beta": "beta2"}
"""Hyperparameters that by default equal another one, as in the authors' code."""


@modifier(weight_decay="the weights shrink by this in each step")
def independent_decay(step: Any, p: Any, g: Any, *, weight_decay: float = 1e-2) -> Any:
    """Weight decay that is not multiplied by lr."""
    return step(p * (1 - weight_decay), g)


@modifier(weight_decay="the stepped weights are divided by 1 plus lr times this")
def proximal_decay(step: Any, p: Any, g: Any, *, lr: float, weight_decay: float = 1e-2) -> Any:
    """Weight decay in its implicit form, as in Adan."""
    return step(p, g) / (1 + lr * weight_decay)


@modifier(weight_decay="the stepped weights shrink by lr times this")
def decay_after(step: Any, p: Any, g: Any, *, lr: float, weight_decay: float = 1e-2) -> Any:
    """Decoupled weight decay after the step, which then shrinks, too."""
    return step(p, g) * (1 - lr * weight_decay)


@modifier(weight_decay="the stepped weights shrink by lr times this, from step 2 on")
def decay_from_two(
    step: Any, p: Any, g: Any, t: Any, *, lr: float, weight_decay: float = 1e-2
) -> Any:
    """The same, where the first step only prepares the second, as in SOAP."""
    return step(p, g) * where(t == 1, 1.0, 1 - lr * weight_decay)


DECAYED = {
    "L2 decay": l2,
    "decoupled decay": decoupled_decay,
    "decay without lr": independent_decay,
    "proximal decay": proximal_decay,
    "decay after the step": decay_after,
    "decay after each step but the first": decay_from_two,
}
_LATER = ("decay after the step", "decay after each step but the first")
"""For rules of whole matrices; with other rules these are found as faults."""
CLIPPED = {
    "clipping by value": clip_by_value,
    "clipping by norm": clip_by_norm,
    "clipping by global norm": clip_by_global_norm,
}


@dataclass(frozen=True)
class Candidate:
    """A rule that an optimizer may be. base: the registry's name; added: modifiers stacked on it."""

    rule: Rule = field(compare=False)
    base: str
    added: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.base} + {self.added}" if self.added else self.base

    @property
    def variant_of(self) -> str:
        """The rule of which its base is a variant."""
        return library()[self.base].card.variant_of if self.base in library() else ""


@dataclass(frozen=True, eq=False)
class Trial:
    """A candidate with values of all hyperparameters, ready to be run."""

    candidate: Candidate
    values: Values
    graph: Graph = field(repr=False)

    @cached_property
    def batch(self) -> Batch:
        """The graph, to be run."""
        return Batch(self.graph)

    def path(
        self,
        probe: Probe,
        like: Path | None = None,
        tolerance: float = 0.0,
        rounding: float = 2.3e-16,
    ) -> Path:
        """Its path; with `like`, up to the first step that differs from it."""
        loose = max(tolerance, _LOOSE) if self.graph.of_arrays else tolerance
        return run(self.batch, probe, self.values, RIGHT, like, loose, rounding)[0]  # type: ignore[no-any-return]

    def off(self, path: Path, its: Path, rounding: float) -> float:
        """The distance of a path from its own; sums over a matrix that are nearly 0 may be rounded more."""
        far = near(path, its, rounding)
        if not self.graph.of_arrays or not SINGLE < far < _LOOSE:
            return far
        return min(far, apart(path, its))


@dataclass(frozen=True, eq=False)
class Fronted(Trial):
    """A candidate that a batch cannot compute, in bfloat16 or with random numbers: a torch optimizer."""

    def path(
        self,
        probe: Probe,
        like: Path | None = None,
        tolerance: float = 0.0,
        rounding: float = 2.3e-16,
    ) -> Path:
        """Its path; with `like`, only the first step if that differs."""
        made = subject(self.graph.rule, self.values)
        if like is not None:
            first = probe.part(1).take(made)
            if self.off(like[:2], first, rounding) > tolerance:
                return first
        return probe.take(made)

    def off(self, path: Path, its: Path, rounding: float) -> float:
        """The same; in bfloat16, a few updates may differ by what another order of sums causes."""
        if not self.values.get("bfloat16") or len(its) < len(path):
            return near(path, its, rounding)
        far = distances(path, its[: len(path)], rounding)
        return float(np.quantile(far, 0.9)) if far.max(initial=0.0) < 2.0**-5 else float(far.max())


@cache
def library() -> dict[str, Rule]:
    """The rules of gradients alone, by name."""
    return {k: r for k, r in registry.rules().items() if not r.signals}


def candidate(name: str) -> Candidate:
    """The candidate for a name as people write it. Raises as `registry.get` does."""
    found = registry.resolve(name)
    return Candidate(found.rule, found.rule.name if found.rule.name in library() else found.name)


def claims(name: str, values: Values) -> list[str]:
    """The rules that an optimizer's name suggests, the likeliest first.

    Options that amount to other rules, such as amsgrad and nesterov, count if they are on.

    >>> claims("mine.py:MyAdamW", {})
    ['adamw']
    """
    claimed = _claimed(name, values)
    options = [k for k, v in values.items() if v is True and k in library() and k != "nesterov"]
    if values.get("nesterov") is True:
        claimed = [_LOOKING_AHEAD.get(k, k) for k in claimed]
    if values.get("decoupled_weight_decay") is True and "adam" in claimed:
        options.append("adamw")
    return list(dict.fromkeys([*claimed, *options])) if claimed else []


def _claimed(name: str, values: Values) -> list[str]:
    ours = registry.own()
    if name in ours:
        return [name]
    dotted = name.replace(":", ".")
    found = [m.rule.name for m in elsewhere.matches(dotted, ours.values())] if "." in dotted else []
    if found:
        return list(dict.fromkeys(k for k in found if k in library()))
    last = re.split(r"[.:]", name)[-1]
    words = [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", last)]
    joined = {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    named = {naming.plain(k): k for k in library()} | _SPOKEN
    named = {
        f"{word}w": k for word, k in named.items()
    } | named  # RAdamW is radam with decoupled decay
    fits = [k for k in named if k in joined]
    for k in library():  # AdamWScheduleFree is schedule_free_adamw
        fits += [naming.plain(k)] if "_" in k and joined.issuperset(k.split("_")) else []
    if not fits and len(words) == 1:  # in a name of several words, each of them would match
        fits = [k for k in named if len(k) > 3 and k in naming.plain(last)]
    if not fits or "simplified" in words:  # as in simplified_ademamix: another method
        return []
    claimed = named[max(fits, key=len)]
    return ["momentum"] if claimed == "sgd" and values.get("momentum") else [claimed]


def decoupled(name: str, claimed: str) -> bool:
    """Whether a name says that the decay of the claimed rule is decoupled, as SGDW does."""
    last = naming.plain(re.split(r"[.:]", name)[-1])
    return claimed == "adamw" or (bool(claimed) and f"{naming.plain(claimed)}w" in last)


_LOOKING_AHEAD = {"sgd": "nesterov", "momentum": "nesterov", "adam": "nadam", "adamw": "nadam"}
"""The rule that a rule becomes with nesterov=True."""
_SPOKEN = {
    "sgdm": "momentum",
    "heavyball": "momentum",
    "nag": "nesterov",
    "rmspropagation": "rmsprop",
    "stochasticgradientdescent": "sgd",
    "gradientdescent": "sgd",
}


def of_arrays(name: str) -> bool:
    """Whether a rule computes with whole matrices: their products, norms or singular vectors."""
    made = library().get(name)
    graph = None if made is None else _graph(made, _values(made, {}))
    return graph is not None and graph.of_arrays


def resembling(values: Values) -> list[str]:
    """The simplest rules that take such hyperparameters, if the name suggests none."""
    if "beta2" in values:
        return ["adamw", "adam"] if "weight_decay" in values else ["adam"]
    if any(k in values for k in ("alpha", "rho", "decay", "decay_rate", "gamma", "beta")):
        return ["rmsprop", "momentum_ema", "adagrad", "sgd"]
    return ["momentum", "sgd"] if "momentum" in values or "beta1" in values else ["sgd", "adagrad"]


def family(name: str) -> list[str]:
    """The relatives of a rule: the rule of which it is a variant, and the other variants of that."""
    ours = library()
    root = ours[name].card.variant_of if name in ours else ""
    root = root or name
    related = {"adam": ["adamw"], "adamw": ["adam"], "momentum": ["sgd"]}.get(root, [])
    its = [root, *(k for k, r in ours.items() if r.card.variant_of == root), *related]
    more = [k for k in ours if ours[k].card.variant_of in related]
    return [k for k in (*its, *more) if k != name and k in ours]


@cache
def _stacked(name: str, how: str) -> Candidate:
    modify = {**DECAYED, **CLIPPED}[how]
    return Candidate(modify(library()[name]), name, how)


def stacks(name: str, values: Values) -> Iterator[Candidate]:
    """A rule, and the rule with the requested decay in each form."""
    made = library()[name]
    yield Candidate(made, name)
    if values.get("weight_decay") and "weight_decay" not in made.hyperparameters:
        for how in DECAYED:
            is_adamw = (name, how) == ("adam", "decoupled decay")
            if not is_adamw and (how not in _LATER or of_arrays(name)):
                yield _stacked(name, how)


def clipped(name: str) -> Iterator[Candidate]:
    """A rule with its gradients clipped in each form."""
    for how in CLIPPED:
        yield _stacked(name, how)


def trials(
    candidates: Iterable[Candidate], asked: Values, fronted: bool = False
) -> Iterator[Trial]:
    """Candidates with the requested values, and with bools both on and off if they are not requested.

    fronted: also those that are stepped as torch optimizers, each of which takes as long as a hundred others.
    """
    for each in candidates:
        rule = each.rule
        if asked.get("maximize") is True:
            rule = maximize(rule)
        values = _values(rule, asked)
        inside = asked.get("eps_root") if "eps_root" not in values else None
        free = [
            k
            for k, v in values.items()
            if isinstance(v, bool) and k not in asked and k not in ("bfloat16", "maximize")
        ]
        for bools in islice(product(*((values[k], not values[k]) for k in free)), 8):
            its = values | dict(zip(free, bools, strict=True))
            graph = _graph(rule, its)
            if graph is not None and inside:
                graph, its = _rooted(graph), {**its, "eps_root": float(inside)}
            if graph is not None and not unable(graph):
                yield Trial(each, its, graph)
            if graph is None or not (fronted and find_spec("torch")):
                continue
            if unable(graph):
                yield Fronted(each, its, graph)
            elif "bfloat16" in its:
                yield Fronted(each, {**its, "bfloat16": True}, graph)


def _values(rule: Rule, asked: Values) -> dict[str, Any]:
    """The requested values of a rule's hyperparameters, under its names or others; each name counts once."""
    found: dict[str, Any] = {}
    ours = rule.hyperparameters
    for k, h in ours.items():
        names = [k, *(n for n in CALLED.get(k, ()) if n not in ours and h.default)]
        name = next((n for n in names if _is_like(asked.get(n), h.default)), None)
        usual = asked.get(_FOLLOWS.get(k, ""), h.default)
        found[k] = usual if name is None else asked[name]
        if name is not None and not isinstance(h.default, bool):
            found[k] = float(asked[name])
    return found


def _is_like(value: Any, default: Any) -> bool:
    return value is not None and isinstance(value, bool) == isinstance(default, bool)


_LOOSE = 1e-2
_graphs: dict[Any, Graph | None] = {}


def _graph(rule: Rule, values: Values) -> Graph | None:
    """The rule's graph for matrices, with separate nodes; None if it does not take these values."""
    on = tuple((k, v if isinstance(v, bool) else bool(v)) for k, v in values.items())
    if (rule, on) not in _graphs:
        graph: Graph | None = Graph(rule, dict(values))
        try:
            assert graph is not None
            fill(graph)
            graph.live = kept(graph)
        except Exception:  # a rule that does not take these values
            graph = None
        _graphs[rule, on] = graph
    return _graphs[rule, on]


def _rooted(graph: Graph) -> Graph:
    """The graph with optax's eps_root, which is added inside the root, whereas eps is added outside."""
    roots = [d for d in denominators(graph) if d.square is not None]
    if not roots:
        return graph
    eps = leaf_of(graph, "eps_root")
    made = rewritten(graph, nodes={d.other.index: sqrt(d.other.args[0] + eps) for d in roots})
    made.live = kept(made)
    return made


def stepped(
    trial: Trial, starts: Any, gradient: Callable[[int, int, Any], Any], lrs: Sequence[float]
) -> Path | None:
    """The path of a rule, tensor by tensor; gradients may depend on the position, and lr on the step.

    gradient: a function of the step's number, from 1, the tensor's number, and the tensor. None if a step of
    this rule is more than a step of each tensor.
    """
    rule, columns = trial.graph.rule, []
    if isinstance(trial, Fronted):
        return None
    try:
        for i, p in enumerate(starts):
            state, rows = rule.init(p, **trial.values), [p.ravel()]
            for t, lr in enumerate(lrs, 1):
                values = {**trial.values, "lr": lr} if "lr" in trial.values else trial.values
                p, state = rule.update(p, gradient(t, i, p), state, t, **values)
                rows.append(p.ravel())
            columns.append(np.stack(rows))
    except Exception:  # a rule that needs random numbers, or signals
        return None
    return np.concatenate(columns, axis=1)


def near(path: Path, other: Path, rounding: float) -> float:
    """The largest distance of two paths, over the steps that both have."""
    steps = min(len(path), len(other))
    if len(other) < len(path):
        return 2.0
    return distance(path[:steps], other[:steps], rounding)
