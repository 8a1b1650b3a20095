"""`@modifier`: functions from rule to rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ravine.parts import Parts
from ravine.rule import Rule, the
from ravine.signature import Read, RuleError, arguments, check_evaluation, read
from ravine.sources import keep

__all__ = ["modifier"]


@dataclass(frozen=True)
class _Modifier:
    """A modifier: its function, and what its signature and decorator declare."""

    function: Callable[..., Any]
    read: Read
    evaluation: Callable[..., Any] | None

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        evaluate: Callable[..., Any] | None,
        declared: Mapping[str, Any],
        counts: Mapping[str, int],
    ) -> _Modifier:
        said = read(function, ("step", "p", "g"), declared, counts)
        evaluation = said.parts.flat_evaluation(evaluate)
        made, name = cls(function, said, evaluation), function.__name__
        check_evaluation(evaluation, name, [*said.slots, *said.hyperparameters])
        for k in declared.keys() & {*made.shared}:
            raise RuleError(
                f"{name}: {k} has no default, so it belongs to the inner rule; declare it there"
            )
        return made

    @property
    def shared(self) -> list[str]:
        """The keywords that belong to the inner rule."""
        empty = inspect.Parameter.empty
        return [k for k, h in self.read.hyperparameters.items() if h.default is empty]

    def applied(self, inner: Rule) -> Rule:
        """The inner rule modified."""
        slots, keyword, signals, takes_t, parts = self.read
        own = {k: h for k, h in keyword.items() if k not in self.shared}
        name = f"{self.function.__name__}({inner.name})"
        taken = {*inner.slots, *inner.hyperparameters, *inner.signals}
        alike = {k for k, kind in signals.items() if inner.signals.get(k) == kind}
        if self.function in inner.sources:
            raise RuleError(f"{name}: {self.function.__name__} is already part of {inner.name}")
        for clash in sorted(taken & {*slots, *own, *signals} - alike):
            raise RuleError(
                f"{name}: {inner.name} and {self.function.__name__} both have {clash!r}; rename one of them, "
                "or leave one out"
            )
        for missing in {*self.shared} - inner.hyperparameters.keys() - inner.signals.keys():
            raise RuleError(
                f"{name}: {self.function.__name__} shares {missing!r}, which {inner.name} does not have"
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
            doc=_told(self.function, inner),
            sources=(self.function, *inner.sources),
            evaluation=_composed(inner.evaluation, self.evaluation),
            seen=inner.seen,
            parts=Parts(
                {**inner.parts.slots, **parts.slots}, {**inner.parts.tuples, **parts.tuples}
            ),
        )


def _told(function: Callable[..., Any], inner: Rule) -> str:
    """A modified rule's description: the modifier's, and then the inner one's.

    The paragraph on other packages is left out: their versions of the inner rule are not modified.
    """
    own = inspect.getdoc(function) or f"{function.__name__} around {inner.name}."
    return f"{own}\n\nAround {inner.name}: {inner.doc.partition('Elsewhere:')[0]}".rstrip(" :\n")


def modifier(
    function: Any = None,
    /,
    *,
    evaluate: Callable[..., Any] | None = None,
    **declared: Any,
) -> Any:
    """Make a modifier, a function from rule to rule: `@modifier`, or `@modifier(slot=like_p)`.

    The function takes `step, p, g`, its slots and, last, t if it needs it. `step(p, g)` takes a
    step of the inner rule, updates the inner state, and returns the new p. A keyword without a
    default is shared with the inner rule. The result of applying the modifier to a rule is a rule
    whose slots are the inner ones, then the modifier's. The inner rule receives the signals of the
    step, or what `step(p, g, hessian=...)` passes on; a signal that both declare is the same
    signal.

    evaluate: as in :func:`rule`, a function of slots and hyperparameters of the modifier; its p is
    the inner rule's weights for evaluation. A modifier sees parameters as the inner rule does.
    """
    if function is None:
        return lambda f: modifier(f, evaluate=evaluate, **declared)
    name = function.__name__
    keep(function)
    _Modifier.of(function, evaluate, declared, {})  # raise here, not where it is applied

    def apply(inner: Rule, /, **defaults: Any) -> Rule:
        if not isinstance(inner, Rule):
            raise RuleError(f"{name} modifies a rule, got {inner!r}")
        made = the(replace(of(inner, {}), origin=(apply, inner)))
        return made.named(made.name, **defaults) if defaults else made

    def of(inner: Rule, counts: Mapping[str, int]) -> Rule:
        own = _Modifier.of(function, evaluate, declared, counts)
        return replace(own.applied(inner), resize=lambda counts: of(inner._resized(counts), counts))

    for said in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(apply, said, getattr(function, said))
    apply.__wrapped__ = function  # type: ignore[attr-defined]
    return apply


def _composed(
    inner: Callable[..., Any] | None, outer: Callable[..., Any] | None
) -> Callable[..., Any] | None:
    """The outer evaluation of what the inner one gives."""
    if inner is None or outer is None:
        return outer or inner
    asked = {evaluation: arguments(evaluation) for evaluation in (inner, outer)}

    def evaluation(p: Any, **given: Any) -> Any:
        for each, names in asked.items():
            p = each(p, **{k: given[k] for k in names})
        return p

    kind = inspect.Parameter
    names = dict.fromkeys(["p", *asked[inner], *asked[outer]])
    parameters = [kind(k, kind.POSITIONAL_OR_KEYWORD) for k in names]
    evaluation.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return evaluation
