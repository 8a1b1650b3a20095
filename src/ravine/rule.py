"""What an optimizer is: a pure function from parameter, gradient and state to the next ones.

    @rule(paper="Kingma & Ba, 2015", at="arXiv:1412.6980, Algorithm 1")
    def adam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8): ...

Positional: `p` the parameter, `g` its gradient, the state slots, and last, if the rule asks for
it, `t`: the steps this tensor has taken, counted from 1. Keyword-only: the hyperparameters, and
signals, what some steps are given besides the gradient.
Returned: the new p and the new state, in the same order. Everything else in Ravine is derived
from such a function; docs/architecture.md says how.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, overload
from weakref import WeakValueDictionary

from ravine import ops
from ravine.arguments import Arguments, Mark, enter, leave
from ravine.arithmetic import drawing
from ravine.draws import Draw
from ravine.hyperparameters import Hyperparameter, Search, look_up, plain
from ravine.parts import NO_PARTS, Parts, part_names
from ravine.reads import Reads
from ravine.reserved import why_reserved
from ravine.slots import (
    ZEROS,
    Several,
    Signal,
    Slot,
    filled,
    like_p,
    low_rank,
    scalar,
    several,
    shared,
    signal,
    square,
    zeros,
)
from ravine.sources import keep
from ravine.views import VIEWS, restored, seen_shape, view

__all__ = [
    "Rule",
    "RuleError",
    "Signal",
    "Slot",
    "filled",
    "kept",
    "like_p",
    "low_rank",
    "modifier",
    "rule",
    "scalar",
    "several",
    "shared",
    "signal",
    "square",
    "watch",
    "zeros",
]


class RuleError(TypeError):
    """A function that is not a rule, or a rule that breaks the rules; the message says where."""


Made = TypeVar("Made")
_known: WeakValueDictionary[tuple[Any, ...], Rule] = WeakValueDictionary()
_making = threading.RLock()


def kept(owner: Any, key: Any, make: Callable[[], Made]) -> Made:
    """What `make` makes of a rule, or of something made of it, such as its graph: made once, by one
    thread, kept with its owner and gone with it. Of a rule, until something that it reads has changed.
    """
    if isinstance(owner, Rule):
        owner.look()
    known: dict[Any, Any] = vars(owner).setdefault("_kept", {})
    if key not in known:
        with _making:
            if key not in known:
                known[key] = make()
    return known[key]


def _after_fork() -> None:
    global _making  # another thread may have held it
    _making = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _the(made: Rule) -> Rule:
    """The rule; if another was made like it, of the same, that: what is kept of it is found again."""
    # 0.0 and -0.0, 1 and 1.0 are equal and not the same
    return _known.setdefault((*made.origin, repr(made.origin[2:])), made)


def nearest(name: str, names: Sequence[str]) -> str:
    """'; did you mean "adam"?' for 'adma', or nothing."""
    # Letters in another order are the commonest slip: 'adma' is 'adam', though 'adamax' has more in common.
    found = sorted(get_close_matches(name, names), key=lambda other: sorted(other) != sorted(name))
    return f"; did you mean {found[0]!r}?" if found else ""


@dataclass(frozen=True, eq=False, repr=False)
class Rule:
    """A rule: the function, and what its signature and decorator say about it.

    Call it as it stands, on floats, NumPy arrays, torch tensors or JAX arrays:

    >>> from ravine.rules import sgd, adam
    >>> sgd(1.0, 0.5, lr=0.1)
    0.95
    >>> p, m, v = adam(1.0, 0.5, 0.0, 0.0, 1, lr=0.1)
    """

    function: Callable[..., Any]
    name: str
    slots: Mapping[str, Slot]
    hyperparameters: Mapping[str, Hyperparameter]
    takes_t: bool
    signals: Mapping[str, Signal] = field(default_factory=lambda: MappingProxyType({}))
    paper: str = ""
    at: str = ""
    doc: str = ""
    sources: tuple[Callable[..., Any], ...] = field(default=())  # outermost modifier first
    evaluation: Callable[..., Any] | None = None
    seen: str = ""  # see ravine/views.py
    origin: tuple[Any, ...] = ()  # what it was made by, and of what
    parts: Parts = NO_PARTS  # which slots and hyperparameters its functions have as tuples
    resize: Callable[[dict[str, int]], Rule] | None = None  # the same with tuples of other lengths

    def __copy__(self) -> Rule:
        return self

    def __deepcopy__(self, memo: Any) -> Rule:
        return self

    def __call__(self, p: Any, g: Any, /, *state_and_t: Any, **hyperparameters: Any) -> Any:
        """One step: the new p, or (p, *slots) where the rule keeps state.

        Several slots under one name are taken one by one, or as the tuple that the function takes, and
        returned likewise. Keywords: hyperparameters and signals; a signal that is not given is None.
        """
        self = self.fitting(hyperparameters)
        whole = any(isinstance(x, (tuple, list)) for x in state_and_t)
        if whole:
            state_and_t = self.parts.spread_state(state_and_t)
        names = [*self.slots, *["t"] * self.takes_t]
        if len(state_and_t) != len(names):
            raise TypeError(
                f"rule {self.name!r} takes {', '.join(['p', 'g', *names])}; got {2 + len(state_and_t)} values"
            )
        t = state_and_t[-1] if self.takes_t else 1
        p, *state = self._step((p, g, *state_and_t), hyperparameters, t)
        return (p, *(self.parts.gather_state(state) if whole else state)) if state else p

    def update(
        self, p: Any, g: Any, state: Sequence[Any], t: Any, /, **hyperparameters: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        """One step in the form that every rule has: (new p, new state). Keywords: as of a call."""
        args = (p, g, *state, t) if self.takes_t else (p, g, *state)
        p, *state = self._step(args, hyperparameters, t)
        return p, tuple(state)

    def _step(self, args: Sequence[Any], hyperparameters: Mapping[str, Any], t: Any) -> list[Any]:
        given, args = args, self.view(args)
        named: Mapping[str, Any] = self.inputs(hyperparameters)
        if self.seen:
            named = {**named, **{k: view(named[k], self.seen) for k in self.signals}}
        token = ops._like.set(args[0])
        try:
            inputs = kept(self, "inputs", lambda: Arguments(self.function))
            args, named = inputs.prepare(args, named)
            with drawing(Draw(t=t)) if inputs.draws else nullcontext():
                results = [leave(x) for x in self._take(args, named)]
        except TypeError as error:
            missing = [k for k in self.signals if hyperparameters.get(k) is None]
            if missing and "None" in str(error) and not isinstance(error, RuleError):
                raise TypeError(
                    f"rule {self.name!r} is not given {', '.join(missing)}: {error}"
                ) from error
            raise
        finally:
            ops._like.reset(token)
        if not self.seen:
            return results
        places = [given[0], *given[2:]][: len(results)]
        return [restored(x, old, self.seen) for x, old in zip(results, places, strict=True)]

    def view(self, args: Sequence[Any]) -> Sequence[Any]:
        """P, g and the slots (and t) as the function sees them."""
        if not self.seen:
            return args
        whole = [True, True, *map(_is_whole, self.slots.values()), False]
        return [view(x, self.seen) if is_one else x for x, is_one in zip(args, whole, strict=False)]

    def _take(self, args: Sequence[Any], values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The results of the function, each as it is, of arguments that are prepared already."""
        result = self.function(*args, **values)
        if not isinstance(result, tuple):
            result = (result,)
        if len(result) != 1 + len(self.slots):
            raise RuleError(
                f"rule {self.name!r} returns {len(result)} value{'s' * (len(result) != 1)}; "
                f"it must return {1 + len(self.slots)}: {', '.join(['p', *self.slots])}"
            )
        return result

    def look(self) -> Reads:
        """What its functions read now; where that has changed, all that is kept of it is dropped."""
        reads: Reads | None = vars(self).get("_reads")
        if reads is None or not reads.hold():
            with _making:
                reads = vars(self).get("_reads")
                if reads is None or not reads.hold():
                    reads = vars(self)["_reads"] = Reads(self.sources, reads)
                    vars(self).pop("_kept", None)
        return reads

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return {name: h.default for name, h in self.hyperparameters.items()}

    def inputs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the function is called with by name: hyperparameters, and signals, None if not given."""
        if not self.signals:
            return self.values(given)
        named = {k: x for k, x in given.items() if k not in self.signals}
        return self.values(named) | {k: given.get(k) for k in self.signals}

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All hyperparameters' values: those given, defaults for the rest. TypeError if unknown.

        Those that are tuples are given as such, or by their parts; the values are of the parts.
        """
        given = self.spread(given)
        values = {**self._defaults, **given}
        if len(values) > len(self._defaults):
            unknown = next(name for name in given if name not in self.hyperparameters)
            if unknown in self.signals:
                raise TypeError(
                    f"rule {self.name!r}: {unknown!r} is a signal, not a hyperparameter; pass it to step"
                )
            names = [*self.hyperparameters, *self.signals]
            raise TypeError(
                f"rule {self.name!r} has no hyperparameter {unknown!r}; it has "
                f"{', '.join(self.hyperparameters) or 'none'}{nearest(unknown, names)}"
            )
        for name, x in given.items():
            # A numpy.float64 is not a plain float: it would turn float32 arrays into float64.
            if type(x) is not float and type(x).__module__ == "numpy" and x.ndim == 0:
                values[name] = x.item()
        return values

    def spread(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Hyperparameters with the parts of tuples in their place. TypeError for both at once, and
        ValueError for a tuple of another length.
        """
        for whole, names in self.parts.tuples.items():
            if whole not in given:
                continue
            values = given[whole]
            if not isinstance(values, (tuple, list)) or len(values) != len(names):
                raise ValueError(
                    f"rule {self.name!r}: {whole}={values!r} is not accepted; {whole} is a tuple of "
                    f"{len(names)} numbers, each {self.hyperparameters[names[0]].accepted}"
                )
            if twice := next((name for name in names if name in given), None):
                raise TypeError(f"rule {self.name!r}: {whole} and {twice} exclude each other")
            others = {k: v for k, v in given.items() if k != whole}
            given = {**others, **dict(zip(names, values, strict=True))}
        return given

    def fitting(self, given: Mapping[str, Any]) -> Rule:
        """The same rule, with as many slots and numbers as the tuples among these hyperparameters have."""
        counts = {
            k: len(given[k])
            for k, names in self.parts.tuples.items()
            if isinstance(given.get(k), (tuple, list)) and len(given[k]) not in (0, len(names))
        }
        resize = self.resize
        if not counts or resize is None:
            return self
        origin = _resized, self, tuple(counts.items())
        return kept(self, origin[2], lambda: _the(replace(resize(counts), origin=origin)))

    def check(self, where: str = "", /, **hyperparameters: Any) -> dict[str, Any]:
        """All hyperparameters as plain numbers, defaults filled in; ValueError if one is out of range."""
        values = self.values(hyperparameters)
        return {
            k: self.hyperparameters[k].check(v, where or f"rule {self.name!r}")
            for k, v in values.items()
        }

    def init(self, p: Any, /, **hyperparameters: Any) -> tuple[Any, ...]:
        """The state before the first step, for the parameter p and these hyperparameters."""
        self = self.fitting(hyperparameters)
        values = self.values(hyperparameters)
        return tuple(self.start(name, p, values) for name in self.slots)

    def start(self, slot: str, p: Any, values: Mapping[str, Any]) -> Any:
        """A slot before the first step, for the parameter p and all hyperparameters' values."""
        kept = self.slots[slot]
        return kept.init(p if _is_whole(kept) else view(p, self.seen), **values)

    def shape(self, slot: str, of_p: Sequence[int], /, **values: Any) -> tuple[int, ...]:
        """The shape in which a slot is kept, beside a parameter of a shape: the parameter's own, or, where
        it is shorter along an axis, that of what the rule sees.
        """
        kept = self.slots[slot]
        return kept.shape(of_p if _is_whole(kept) else seen_shape(of_p, self.seen), **values)

    def evaluate(self, p: Any, state: Sequence[Any], /, **hyperparameters: Any) -> Any:
        """The weights to evaluate with: p, unless the rule was made with `evaluate=`."""
        if self.evaluation is None:
            return p
        seen, _, *slots = self.view((p, None, *state))
        given = dict(zip(self.slots, slots, strict=True)) | self.values(hyperparameters)
        with ops.typed_like(seen):
            asked = {k: enter(given[k]) for k in _arguments(self.evaluation)}
            weights = leave(self.evaluation(enter(seen), **asked))
        return restored(weights, p, self.seen)

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The slots that `evaluate` reads."""
        return tuple(k for k in _arguments(self.evaluation) if k in self.slots)

    def named(
        self, name: str, /, *, paper: str = "", at: str = "", doc: str = "", **defaults: Any
    ) -> Rule:
        """The same rule under a name of its own, with its own source and, if given, defaults."""
        self = self.fitting(defaults)
        self.values(defaults)
        defaults = dict(self.spread(defaults))
        hyperparameters = {**self.hyperparameters}
        for k, value in defaults.items():
            h = hyperparameters[k].named(k, value)
            hyperparameters[k] = h.named(k, h.check(value, f"rule {name!r}"))
        given = tuple((k, hyperparameters[k].default) for k in defaults)
        made = replace(
            self,
            name=name,
            hyperparameters=MappingProxyType(hyperparameters),
            paper=paper or self.paper,
            at=at or self.at,
            doc=inspect.cleandoc(doc) or self.doc,
            origin=(_renamed, self, name, paper, at, doc, given),
            resize=lambda counts: self._resized(counts).named(
                name,
                paper=paper,
                at=at,
                doc=doc,
                **{k: v for k, v in given if k in self._resized(counts).hyperparameters},
            ),
        )
        return _the(made)

    def _resized(self, counts: Mapping[str, int]) -> Rule:
        return self.resize({**counts}) if self.resize is not None else self

    def seeing(self, seen: str) -> Rule:
        """The same rule, seeing its parameters in another way: "matrix", "stack", or "" for as they are.

        See :func:`rule`. Raises RuleError for another way.
        """
        _check_seen(seen, self.name)
        resize = self.resize and (lambda counts: self._resized(counts).seeing(seen))
        return _the(replace(self, seen=seen, origin=(_seeing, self, seen), resize=resize))

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.doc.partition("\n")[0]

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter
        positional = ["p", "g", *self.slots, *["t"] * self.takes_t]
        return inspect.Signature(
            [kind(name, kind.POSITIONAL_OR_KEYWORD) for name in positional]
            + [
                kind(h.name, kind.KEYWORD_ONLY, default=h.default)
                for h in self.hyperparameters.values()
            ]
            + [kind(name, kind.KEYWORD_ONLY, default=None) for name in self.signals]
        )

    def __repr__(self) -> str:
        return f"<rule {self.name}{self.__signature__}>"


def _renamed(
    base: Rule, name: str, paper: str, at: str, doc: str, defaults: tuple[tuple[str, Any], ...]
) -> Rule:
    return base.named(name, paper=paper, at=at, doc=doc, **dict(defaults))


def _resized(base: Rule, counts: tuple[tuple[str, int], ...]) -> Rule:
    return base.fitting({k: (0,) * count for k, count in counts})


def _seeing(base: Rule, seen: str) -> Rule:
    return base.seeing(seen)


def _is_whole(slot: Slot) -> bool:
    """Whether a slot has the shape of the parameter."""
    return slot.kind != "scalar" and not slot.short and not slot.matrix


def _check_seen(seen: Any, name: str) -> None:
    if seen not in ("", *VIEWS):
        ways = "".join(f"{way!r} ({means}), " for way, means in VIEWS.items())
        raise RuleError(f"{name}: seen={seen!r} is not accepted; seen is {ways}or '' (as it is)")


def _arguments(evaluation: Callable[..., Any] | None) -> list[str]:
    """What an `evaluate` asks for besides p."""
    return list(inspect.signature(evaluation).parameters)[1:] if evaluation else []


def _composed(
    inner: Callable[..., Any] | None, outer: Callable[..., Any] | None
) -> Callable[..., Any] | None:
    """The outer evaluation of what the inner one gives."""
    if inner is None or outer is None:
        return outer or inner
    asked = {evaluation: _arguments(evaluation) for evaluation in (inner, outer)}

    def evaluation(p: Any, **given: Any) -> Any:
        for each, names in asked.items():
            p = each(p, **{k: given[k] for k in names})
        return p

    kind = inspect.Parameter
    names = dict.fromkeys(["p", *asked[inner], *asked[outer]])
    parameters = [kind(k, kind.POSITIONAL_OR_KEYWORD) for k in names]
    evaluation.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return evaluation


def _check_evaluation(
    evaluation: Callable[..., Any] | None, name: str, known: Sequence[str]
) -> None:
    """RuleError if an `evaluate` asks for what the rule or modifier has not."""
    unknown = next((k for k in _arguments(evaluation) if k not in known), None)
    if unknown:
        raise RuleError(f"{name}: evaluate asks for {unknown!r}; it has {', '.join(['p', *known])}")


class _Read(NamedTuple):
    """What a function's signature and its decorator say."""

    slots: dict[str, Slot]
    hyperparameters: dict[str, Hyperparameter]
    signals: dict[str, Signal]
    takes_t: bool
    parts: Parts


def _read(
    function: Callable[..., Any],
    leading: Sequence[str],
    declared: Mapping[str, Any],
    counts: Mapping[str, int],
) -> _Read:
    """Read a function's signature.

    counts: lengths of hyperparameters that are tuples, where they are not those of the defaults.
    """
    name = getattr(function, "__name__", repr(function))
    if not inspect.isfunction(function):
        raise RuleError(f"a rule is made from a function, got {function!r}")
    positional, keyword, signals = [], {}, {}
    for parameter in inspect.signature(function).parameters.values():
        if isinstance(parameter.default, Signal):
            if parameter.kind is not parameter.KEYWORD_ONLY:
                raise RuleError(f"{name}: {parameter.name} is a signal; write it after a *")
            signals[parameter.name] = parameter.default
        elif parameter.kind is parameter.KEYWORD_ONLY:
            keyword[parameter.name] = parameter.default
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise RuleError(
                f"{name}: {parameter} is not accepted; write every slot and hyperparameter out"
            )
        elif parameter.default is not parameter.empty:
            raise RuleError(
                f"{name}: {parameter} has a default, so it is a hyperparameter; write it after a *"
            )
        else:
            positional.append(parameter.name)
    bare = next((k for k, value in keyword.items() if value is signal), None)
    if bare:
        raise RuleError(f"{name}: {bare}=signal lacks its parentheses; write {bare}=signal()")
    if positional[: len(leading)] != list(leading):
        raise RuleError(
            f"{name}({', '.join(positional)}, ...): the first arguments must be {', '.join(leading)}, "
            "then the state slots, then t if it is used; hyperparameters come after a *"
        )
    slots = positional[len(leading) :]
    takes_t = bool(slots) and slots[-1] == "t"
    slots = slots[: len(slots) - takes_t]
    # The name that modifiers of Ravine's give to what torch's scaler sets is this one on purpose.
    for k in () if function.__module__ == "ravine.modifiers" else (*slots, *keyword, *signals):
        what = "slot" if k in slots else "signal" if k in signals else "hyperparameter"
        if why := "" if isinstance(keyword.get(k), tuple) else why_reserved(k, what):
            raise RuleError(f"{name}: a {what} cannot be called {k!r}, which {why}; rename it")
    if "t" in slots:
        raise RuleError(
            f"{name}: t comes last among the positional arguments, after the state slots"
        )
    twice = next((k for k in declared if k in signals), None)
    if twice:
        raise RuleError(f"{name}: {twice} is a signal, of which nothing else is declared")
    unknown = next((k for k in declared if k not in slots and k not in keyword), None)
    if unknown:
        raise RuleError(f"{name}: {unknown!r} is declared, but no argument of that name exists")
    for known, kind, how in (
        (
            slots,
            (Slot, Several),
            "slot {}={!r}; declare it as like_p, scalar(value), shared(value), filled(value), zeros(axis), "
            "square(axis), low_rank(rank) or several(count)",
        ),
        (
            keyword,
            (Hyperparameter, Search, str),
            "hyperparameter {}={!r}; declare its meaning as text, its search range as "
            "searched(low, high), or all of it as a Hyperparameter(...)",
        ),
    ):
        for k in known:
            if not isinstance(declared.get(k), (kind, type(None))):
                raise RuleError(f"{name}: {how.format(k, declared[k])}")
    tuples, each = _spread(name, keyword, counts)
    hyperparameters = {
        k: look_up(known, default, declared.get(whole)).named(k, default)
        for k, (known, default, whole) in each.items()
    }
    for h in hyperparameters.values():
        if h.default is not inspect.Parameter.empty:
            h.check(h.default, f"{name}: the default")
    parts: dict[str, tuple[str, ...]] = {}
    flat: dict[str, Slot] = {}
    for k in slots:
        one = declared.get(k) or ZEROS
        parts[k] = _several(name, k, one, tuples) if isinstance(one, Several) else ()
        one = one.slot if isinstance(one, Several) else one
        for what, said in (("starts at", one.value), ("has the rank", one.rank)):
            if isinstance(said, str) and said not in hyperparameters:
                raise RuleError(
                    f"{name}: slot {k} {what} {said!r}, which is not a hyperparameter of it"
                )
        for part in parts[k] or (k,):
            if part in flat or part in each or (part in slots and parts[k]):
                raise RuleError(
                    f"{name}: a part of {k} is called {part!r}, as another argument is; rename one"
                )
            flat[part] = one
    return _Read(flat, hyperparameters, signals, takes_t, Parts(parts, tuples))


def _spread(
    name: str, keyword: Mapping[str, Any], counts: Mapping[str, int]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, Any, str]]]:
    """The hyperparameters that are tuples, with the names of their parts; and of each part, and of each
    other one, what it is looked up as, its default, and the argument that it is of.
    """
    tuples: dict[str, tuple[str, ...]] = {}
    each: dict[str, tuple[str, Any, str]] = {}
    for k, default in keyword.items():
        if not isinstance(default, tuple):
            if k in each:
                raise RuleError(f"{name}: a part of a tuple is called {k!r} already; rename one")
            each[k] = k, default, k
            continue
        if not default or any(plain(x) is None for x in default):
            raise RuleError(
                f"{name}: the default {k}={default!r} is not accepted; a tuple has one number or more"
            )
        tuples[k] = names = part_names(k, counts.get(k, len(default)))
        for i, part in enumerate(names):
            if part in each or part in keyword:
                raise RuleError(
                    f"{name}: a part of {k} is called {part!r}, as another hyperparameter is; rename one"
                )
            each[part] = names[0], default[min(i, len(default) - 1)], k
    return tuples, each


def _several(
    name: str, slot: str, several: Several, tuples: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The names of the parts of a slot."""
    if isinstance(several.count, int):
        return part_names(slot, several.count)
    if several.count not in tuples:
        raise RuleError(
            f"{name}: {slot} has a slot for each of {several.count!r}, which is not a hyperparameter of "
            "it that is a tuple"
        )
    return part_names(slot, len(tuples[several.count]))


@overload
def rule(function: Callable[..., Any], /) -> Rule: ...
@overload
def rule(
    *,
    paper: str = ...,
    at: str = ...,
    evaluate: Callable[..., Any] | None = ...,
    seen: str = ...,
    **declared: Any,
) -> Callable[[Callable[..., Any]], Rule]: ...


def rule(
    function: Any = None,
    /,
    *,
    paper: str = "",
    at: str = "",
    evaluate: Callable[..., Any] | None = None,
    seen: str = "",
    **declared: Any,
) -> Any:
    """Make a rule of a function: `@rule`, or `@rule(paper=..., at=..., slot=like_p)`.

    paper: authors, year and title. at: where, for example "arXiv:1412.6980, Algorithm 1".
    evaluate: where the weights to evaluate with are not p, a function that gives them, of p and of
    slots and hyperparameters by their names: `lambda p, mean_p: mean_p`.
    seen: how the function sees parameters of many axes: "matrix", the first axis by the rest, so that of
    a convolution's weight each output channel is a row; "stack", the last two axes, and all before them
    as one batch. p, g and slots in the shape of p are views then. Parameters of at most two axes, or
    three, are seen as they are. A slot is kept in the shape of p; one that is shorter along an axis, as
    `zeros(-1)`, in the shape that it has beside what is seen.
    Further keywords declare what is not usual: a slot that does not start as zeros in the shape of p
    (`like_p`, `scalar(1.0)`, `shared(0.0)`, `filled("lr")`, `zeros(-1)`, `zeros(keep=0)`), and what
    a hyperparameter has different from others of its name: text is its meaning in this rule,
    `searched(1e-4, 10)` where a search looks for it, and a :class:`Hyperparameter` all of it, its
    valid range too.
    Raises RuleError when the function's signature is not that of a rule.
    """
    if function is None:
        return lambda f: _rule(f, paper, at, evaluate, tuple(declared.items()), seen)
    return _rule(function, paper, at, evaluate, tuple(declared.items()), seen)


def _rule(
    function: Callable[..., Any],
    paper: str,
    at: str,
    evaluate: Callable[..., Any] | None,
    declared: tuple[tuple[str, Any], ...],
    seen: str = "",
    counts: Mapping[str, int] = MappingProxyType({}),
) -> Rule:
    slots, hyperparameters, signals, takes_t, parts = _read(
        function, ("p", "g"), dict(declared), counts
    )
    empty = inspect.Parameter.empty
    bare = next((k for k, h in hyperparameters.items() if h.default is empty), None)
    if bare:
        raise RuleError(f"{function.__name__}: hyperparameter {bare} needs a default")
    keep(function)
    _check_seen(seen, function.__name__)
    evaluation = parts.flat_evaluation(evaluate)
    _check_evaluation(evaluation, function.__name__, [*slots, *hyperparameters])
    made = Rule(
        function=parts.flat(function, 2, RuleError),
        name=function.__name__,
        slots=MappingProxyType(slots),
        hyperparameters=MappingProxyType(hyperparameters),
        takes_t=takes_t,
        signals=MappingProxyType(signals),
        paper=paper,
        at=at,
        doc=inspect.getdoc(function) or "",
        sources=(function,),
        evaluation=evaluation,
        seen=seen,
        origin=(_rule, function, paper, at, evaluate, declared, seen),
        parts=parts,
        resize=lambda counts: _rule(function, paper, at, evaluate, declared, seen, counts),
    )
    return made if counts else _the(made)


@dataclass(frozen=True)
class _Modifier:
    """A modifier: its function, and what its signature and decorator say about it."""

    function: Callable[..., Any]
    read: _Read
    evaluation: Callable[..., Any] | None

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        evaluate: Callable[..., Any] | None,
        declared: Mapping[str, Any],
        counts: Mapping[str, int],
    ) -> _Modifier:
        read = _read(function, ("step", "p", "g"), declared, counts)
        evaluation = read.parts.flat_evaluation(evaluate)
        made, name = cls(function, read, evaluation), function.__name__
        _check_evaluation(evaluation, name, [*read.slots, *read.hyperparameters])
        for k in declared.keys() & {*made.shared}:
            raise RuleError(
                f"{name}: {k} has no default, so it is the inner rule's; declare it there"
            )
        return made

    @property
    def shared(self) -> list[str]:
        """The keywords that are the inner rule's."""
        empty = inspect.Parameter.empty
        return [k for k, h in self.read.hyperparameters.items() if h.default is empty]

    def applied(self, inner: Rule) -> Rule:
        """The inner rule modified."""
        slots, keyword, signals, takes_t, parts = self.read
        own = {k: h for k, h in keyword.items() if k not in self.shared}
        name = f"{self.function.__name__}({inner.name})"
        taken = {*inner.slots, *inner.hyperparameters, *inner.signals}
        alike = {k for k, kind in signals.items() if inner.signals.get(k) == kind}
        for clash in sorted(taken & {*slots, *own, *signals} - alike):
            raise RuleError(f"{name}: both have {clash!r}; rename one")
        for missing in {*self.shared} - inner.hyperparameters.keys() - inner.signals.keys():
            raise RuleError(
                f"{name}: {self.function.__name__} shares {missing!r}, which {inner.name} has not"
            )
        function = parts.flat(self.function, 3, RuleError)
        count, with_t = len(inner.slots), takes_t or inner.takes_t

        def modified(p: Any, g: Any, *rest: Any, **hyperparameters: Any) -> Any:
            t = rest[-1] if with_t else 0
            state = rest[:count]

            def step(p: Any, g: Any, **changed: Any) -> Any:
                nonlocal state
                values = {k: hyperparameters[k] for k in (*inner.hyperparameters, *inner.signals)}
                for k in changed:
                    if k not in inner.signals:
                        raise TypeError(f"step({k}=...): {inner.name} has no signal {k!r}")
                values |= changed
                p, *after = inner._take([p, g, *state, *[t] * inner.takes_t], values)
                state = tuple(after)
                return p

            mine = {k: hyperparameters[k] for k in (*keyword, *signals)}
            last = (t,) if takes_t else ()
            result = function(step, p, g, *rest[count : count + len(slots)], *last, **mine)
            p, *changed = result if isinstance(result, tuple) else (result,)
            return (p, *state, *changed)

        return Rule(
            function=modified,
            name=name,
            slots=MappingProxyType({**inner.slots, **slots}),
            hyperparameters=MappingProxyType({**inner.hyperparameters, **own}),
            takes_t=with_t,
            signals=MappingProxyType({**inner.signals, **signals}),
            paper=inner.paper,
            at=inner.at,
            doc=inner.doc,
            sources=(self.function, *inner.sources),
            evaluation=_composed(inner.evaluation, self.evaluation),
            seen=inner.seen,
            parts=Parts(
                {**inner.parts.slots, **parts.slots}, {**inner.parts.tuples, **parts.tuples}
            ),
        )


def modifier(
    function: Any = None,
    /,
    *,
    evaluate: Callable[..., Any] | None = None,
    **declared: Any,
) -> Any:
    """Make a function from rule to rule: `@modifier`, or `@modifier(slot=like_p)`.

    The function takes `step, p, g`, its own slots and, last, t if it asks for it; it calls
    `step(p, g)`, which takes the inner rule's step, keeps the inner state, and returns the new p.
    A keyword without default is shared with the inner rule. The result, applied to a rule, is a
    rule, whose slots are the inner ones, then the modifier's own. The inner rule gets its signals as
    the step was given them, or as `step(p, g, hessian=...)` says; a signal of both is one.

    evaluate: as of :func:`rule`, of slots and hyperparameters that the modifier names; as p it gets
    the weights that the inner rule evaluates with. A modifier sees parameters as the inner rule does.
    """
    if function is None:
        return lambda f: modifier(f, evaluate=evaluate, **declared)
    name = function.__name__
    keep(function)
    _Modifier.of(function, evaluate, declared, {})  # refused here, not where it is applied

    def apply(inner: Rule, /, **defaults: Any) -> Rule:
        if not isinstance(inner, Rule):
            raise RuleError(f"{name} modifies a rule, got {inner!r}")
        made = _the(replace(of(inner, {}), origin=(apply, inner)))
        return made.named(made.name, **defaults) if defaults else made

    def of(inner: Rule, counts: Mapping[str, int]) -> Rule:
        own = _Modifier.of(function, evaluate, declared, counts)
        return replace(own.applied(inner), resize=lambda counts: of(inner._resized(counts), counts))

    for said in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(apply, said, getattr(function, said))
    apply.__wrapped__ = function  # type: ignore[attr-defined]
    return apply


@contextmanager
def watch(watched: Rule) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Collect what the rule's functions call their intermediate values.

    Yields a list that gets, each time one of the functions returns, its name and its local
    variables, in the order in which they are first assigned.
    """
    codes = {function.__code__: function.__name__ for function in watched.sources}
    seen: list[tuple[str, dict[str, Any]]] = []

    def on_event(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code in codes:
            values = frame.f_locals
            if any(isinstance(x, Mark) for x in values.values()):
                return  # no step: see ravine/arguments.py
            order = [n for n in frame.f_code.co_varnames if n in values]
            seen.append((codes[frame.f_code], {n: values[n] for n in order}))

    before: Any = sys.getprofile()
    sys.setprofile(on_event)
    try:
        yield seen
    finally:
        # cProfile shows itself here, and cannot be handed to setprofile
        before.enable() if hasattr(before, "enable") else sys.setprofile(before)
