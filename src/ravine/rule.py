"""What an optimizer is: a pure function from parameter, gradient and state to the next ones.

    @rule(paper="Kingma & Ba, 2015", at="arXiv:1412.6980, Algorithm 1")
    def adam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8): ...

Positional: `p` the parameter, `g` its gradient, the state slots, and last, if the rule asks for
it, `t`: the steps this tensor has taken, counted from 1. Keyword-only: the hyperparameters, and
signals, which are inputs of some steps besides the gradient.
Returned: the new p and the new state, in the same order. Everything else in Ravine is derived
from such a function; docs/architecture.md says how.
"""

from __future__ import annotations

import inspect
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar, overload
from weakref import WeakValueDictionary

from ravine import ops
from ravine.arguments import Arguments, enter, leave
from ravine.arithmetic import drawing
from ravine.cards import NO_CARD, Card
from ravine.draws import Draw
from ravine.hyperparameters import Hyperparameter
from ravine.parts import NO_PARTS, Parts
from ravine.reads import Reads
from ravine.signature import RuleError, arguments, check_evaluation, nearest, read
from ravine.slots import (
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
    "rule",
    "scalar",
    "several",
    "shared",
    "signal",
    "square",
    "zeros",
]


Made = TypeVar("Made")
_known: WeakValueDictionary[tuple[Any, ...], Rule] = WeakValueDictionary()
_making = threading.RLock()


def kept(owner: Any, key: Any, make: Callable[[], Made]) -> Made:
    """What `make` derives from a rule, or from something derived, such as its graph: made once, by one
    thread, and kept as long as its owner. For a rule, it is discarded when something the rule reads changes.
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


def the(made: Rule) -> Rule:
    """The rule, or an earlier one made in the same way from the same parts, with everything kept for it."""
    # 0.0 and -0.0, or 1 and 1.0, are equal but not the same
    return _known.setdefault((*made.origin, repr(made.origin[2:])), made)


@dataclass(frozen=True, eq=False, repr=False)
class Rule:
    """A rule: a function, and what its signature and its decorator declare about it.

    Call it directly, on floats, NumPy arrays, torch tensors or JAX arrays:

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
    card: Card = NO_CARD
    doc: str = ""
    sources: tuple[Callable[..., Any], ...] = field(default=())  # outermost modifier first
    evaluation: Callable[..., Any] | None = None
    seen: str = ""  # see ravine/views.py
    origin: tuple[Any, ...] = ()  # what made it, and from what
    parts: Parts = NO_PARTS  # which slots and hyperparameters its functions have as tuples
    resize: Callable[[dict[str, int]], Rule] | None = None  # the same with tuples of other lengths

    def __copy__(self) -> Rule:
        return self

    def __deepcopy__(self, memo: Any) -> Rule:
        return self

    def __call__(self, p: Any, g: Any, /, *state_and_t: Any, **hyperparameters: Any) -> Any:
        """One step: the new p, or (p, *slots) where the rule keeps state.

        Several slots under one name are passed separately, or as the tuple that the function takes, and
        returned in the same form. Keywords: hyperparameters and signals; a signal that is not given is None.
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
        """One step in a uniform form: returns (new p, new state). Takes the same keywords as a call."""
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
                    f"rule {self.name!r} is called without {', '.join(missing)}: {error}"
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
        """The unprocessed results of the function, for arguments that are already prepared."""
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
        """Compare what its functions read with what they read before; if it changed, discard
        everything derived.
        """
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
        """The function's keyword arguments: hyperparameters, and signals, which are None if not given."""
        if not self.signals:
            return self.values(given)
        named = {k: x for k, x in given.items() if k not in self.signals}
        return self.values(named) | {k: given.get(k) for k in self.signals}

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all hyperparameters, with defaults for those not given. TypeError for unknown names.

        A tuple may be given as a tuple or by its elements; the result has the elements.
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
        """The hyperparameters, with tuples replaced by their elements. TypeError if both are given,
        and ValueError for a tuple of the wrong length.
        """
        for whole, names in self.parts.tuples.items():
            if whole not in given:
                continue
            values = given[whole]
            if not isinstance(values, (tuple, list)) or len(values) != len(names):
                raise ValueError(
                    f"rule {self.name!r}: {whole}={values!r} is invalid; {whole} must be a tuple of "
                    f"{len(names)} numbers, each {self.hyperparameters[names[0]].accepted}"
                )
            if twice := next((name for name in names if name in given), None):
                raise TypeError(f"rule {self.name!r}: {whole} and {twice} are mutually exclusive")
            others = {k: v for k, v in given.items() if k != whole}
            given = {**others, **dict(zip(names, values, strict=True))}
        return given

    def fitting(self, given: Mapping[str, Any]) -> Rule:
        """The same rule, with as many slots and numbers as the tuples among these hyperparameters
        have elements.
        """
        counts = {
            k: len(given[k])
            for k, names in self.parts.tuples.items()
            if isinstance(given.get(k), (tuple, list)) and len(given[k]) not in (0, len(names))
        }
        resize = self.resize
        if not counts or resize is None:
            return self
        origin = _resized, self, tuple(counts.items())
        return kept(self, origin[2], lambda: the(replace(resize(counts), origin=origin)))

    def check(self, where: str = "", /, **hyperparameters: Any) -> dict[str, Any]:
        """All hyperparameters as plain numbers, including defaults; ValueError if one is out of range."""
        values = self.values(hyperparameters)
        return {
            k: self.hyperparameters[k].check(v, where or f"rule {self.name!r}")
            for k, v in values.items()
        }

    def init(self, p: Any, /, **hyperparameters: Any) -> tuple[Any, ...]:
        """The state before the first step, for a parameter p and these hyperparameters.

        For a vector or a number, a slot that is a matrix of another shape is 0.0, because rules
        that accept vectors, such as `soap`, do not use it for them.
        """
        self = self.fitting(hyperparameters)
        values = self.values(hyperparameters)
        none = len(getattr(p, "shape", ())) < 2
        return tuple(
            0.0 if none and slot.matrix else self.start(name, p, values)
            for name, slot in self.slots.items()
        )

    def start(self, slot: str, p: Any, values: Mapping[str, Any]) -> Any:
        """A slot before the first step, for a parameter p and the values of all hyperparameters."""
        kept = self.slots[slot]
        return kept.init(p if _is_whole(kept) else view(p, self.seen), **values)

    def shape(self, slot: str, of_p: Sequence[int], /, **values: Any) -> tuple[int, ...]:
        """The shape in which a slot is stored for a parameter of a shape: the parameter's shape or,
        if the slot is shorter along an axis, its shape in the rule's view.
        """
        kept = self.slots[slot]
        return kept.shape(of_p if _is_whole(kept) else seen_shape(of_p, self.seen), **values)

    def evaluate(self, p: Any, state: Sequence[Any], /, **hyperparameters: Any) -> Any:
        """The weights for evaluation: p, unless the rule declares `evaluate=`."""
        if self.evaluation is None:
            return p
        seen, _, *slots = self.view((p, None, *state))
        given = dict(zip(self.slots, slots, strict=True)) | self.values(hyperparameters)
        with ops.typed_like(seen):
            asked = {k: enter(given[k]) for k in arguments(self.evaluation)}
            weights = leave(self.evaluation(enter(seen), **asked))
        return restored(weights, p, self.seen)

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The slots that `evaluate` reads."""
        return tuple(k for k in arguments(self.evaluation) if k in self.slots)

    def named(
        self,
        name: str,
        /,
        *,
        paper: str = "",
        at: str = "",
        doc: str = "",
        card: Card | None = None,
        **defaults: Any,
    ) -> Rule:
        """The same rule under another name, with a new source and card, and new defaults if given."""
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
            card=card or self.card,
            origin=(_renamed, self, name, paper, at, doc, given, card),
            resize=lambda counts: self._resized(counts).named(
                name,
                paper=paper,
                at=at,
                doc=doc,
                card=card,
                **{k: v for k, v in given if k in self._resized(counts).hyperparameters},
            ),
        )
        return the(made)

    def _resized(self, counts: Mapping[str, int]) -> Rule:
        return self.resize({**counts}) if self.resize is not None else self

    def seeing(self, seen: str) -> Rule:
        """The same rule with another view of its parameters: "matrix", "stack", or "" for no change.

        See :func:`rule`. Raises RuleError for any other view.
        """
        _check_seen(seen, self.name)
        resize = self.resize and (lambda counts: self._resized(counts).seeing(seen))
        return the(replace(self, seen=seen, origin=(_seeing, self, seen), resize=resize))

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.doc.partition("\n")[0]

    @property
    def title(self) -> str:
        """Its name in the literature: "Adam", "AdaBelief"."""
        return self.card.title or "".join(x.capitalize() for x in self.name.split("_"))

    @property
    def year(self) -> str:
        """The year of its paper; "" if the citation has none."""
        found = re.search(r"\b(1[89]|20)\d\d\b", self.paper)
        return found[0] if found else ""

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
    base: Rule,
    name: str,
    paper: str,
    at: str,
    doc: str,
    defaults: tuple[tuple[str, Any], ...],
    card: Card | None = None,
) -> Rule:
    return base.named(name, paper=paper, at=at, doc=doc, card=card, **dict(defaults))


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
        raise RuleError(f"{name}: seen={seen!r} is invalid; seen must be {ways}or '' (as it is)")


@overload
def rule(function: Callable[..., Any], /) -> Rule: ...
@overload
def rule(
    *,
    paper: str = ...,
    at: str = ...,
    card: Card = ...,
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
    card: Card = NO_CARD,
    evaluate: Callable[..., Any] | None = None,
    seen: str = "",
    **declared: Any,
) -> Any:
    """Make a rule from a function: `@rule`, or `@rule(paper=..., at=..., slot=like_p)`.

    paper: authors, year and title. at: the place in it, such as "arXiv:1412.6980, Algorithm 1".
    card: its other names, its variants, and released optimizers that take the same path; see
    :class:`Card`. evaluate: the weights for evaluation if they are not p, as a function of p and of
    slots and hyperparameters by name: `lambda p, mean_p: mean_p`. seen: how the function sees
    parameters with many axes. "matrix" is the first axis by all others, so each output channel of a
    convolution is a row. "stack" is a batch of matrices in the last two axes. p, g and slots in the
    shape of p are then views. Parameters with at most two axes ("matrix") or three ("stack") are
    unchanged. Slots are stored in the shape of p; one that is shorter along an axis, such as
    `zeros(-1)`, in its shape in the rule's view. Further keywords declare exceptions: slots that do
    not start as zeros in the shape of p (`like_p`, `scalar(1.0)`, `shared(0.0)`, `filled("lr")`,
    `zeros(-1)`, `zeros(keep=0)`), and hyperparameters that differ from others of the same name: a
    string is the meaning in this rule, `searched(1e-4, 10)` the search range, and a
    :class:`Hyperparameter` both of these and the valid range. Raises RuleError if the function's
    signature is not that of a rule.
    """
    if function is None:
        return lambda f: _rule(f, paper, at, evaluate, tuple(declared.items()), seen, card)
    return _rule(function, paper, at, evaluate, tuple(declared.items()), seen, card)


def _rule(
    function: Callable[..., Any],
    paper: str,
    at: str,
    evaluate: Callable[..., Any] | None,
    declared: tuple[tuple[str, Any], ...],
    seen: str = "",
    card: Card = NO_CARD,
    counts: Mapping[str, int] = MappingProxyType({}),
) -> Rule:
    slots, hyperparameters, signals, takes_t, parts = read(
        function, ("p", "g"), dict(declared), counts
    )
    empty = inspect.Parameter.empty
    bare = next((k for k, h in hyperparameters.items() if h.default is empty), None)
    if bare:
        raise RuleError(f"{function.__name__}: hyperparameter {bare} needs a default")
    keep(function)
    _check_seen(seen, function.__name__)
    evaluation = parts.flat_evaluation(evaluate)
    check_evaluation(evaluation, function.__name__, [*slots, *hyperparameters])
    made = Rule(
        function=parts.flat(function, 2, RuleError),
        name=function.__name__,
        slots=MappingProxyType(slots),
        hyperparameters=MappingProxyType(hyperparameters),
        takes_t=takes_t,
        signals=MappingProxyType(signals),
        paper=paper,
        at=at,
        card=card,
        doc=inspect.getdoc(function) or "",
        sources=(function,),
        evaluation=evaluation,
        seen=seen,
        origin=(_rule, function, paper, at, evaluate, declared, seen, card),
        parts=parts,
        resize=lambda counts: _rule(function, paper, at, evaluate, declared, seen, card, counts),
    )
    return made if counts else the(made)
