"""What a function's signature and a decorator's keywords say: slots, hyperparameters, signals, tuples."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from ravine.hyperparameters import Hyperparameter, Search, look_up, plain
from ravine.parts import Parts, part_names
from ravine.reserved import why_reserved
from ravine.slots import ZEROS, Several, Signal, Slot, signal

__all__ = ["Read", "RuleError", "arguments", "check_evaluation", "nearest", "read"]


class RuleError(TypeError):
    """A function that is not a rule, or a rule that breaks the rule language; the message says where."""


def nearest(name: str, names: Sequence[str]) -> str:
    """'; did you mean "adam"?' for 'adma', or nothing."""
    # Letters in another order are the commonest slip: 'adma' is 'adam', though 'adamax' has more in common.
    found = sorted(get_close_matches(name, names), key=lambda other: sorted(other) != sorted(name))
    return f"; did you mean {found[0]!r}?" if found else ""


def arguments(evaluation: Callable[..., Any] | None) -> list[str]:
    """What an `evaluate` asks for besides p."""
    return list(inspect.signature(evaluation).parameters)[1:] if evaluation else []


def check_evaluation(
    evaluation: Callable[..., Any] | None, name: str, known: Sequence[str]
) -> None:
    """RuleError if an `evaluate` asks for something that the rule or modifier does not have."""
    unknown = next((k for k in arguments(evaluation) if k not in known), None)
    if unknown:
        raise RuleError(f"{name}: evaluate uses {unknown!r}; it can use {', '.join(['p', *known])}")


class Read(NamedTuple):
    """What a function's signature and its decorator say."""

    slots: dict[str, Slot]
    hyperparameters: dict[str, Hyperparameter]
    signals: dict[str, Signal]
    takes_t: bool
    parts: Parts


def read(
    function: Callable[..., Any],
    leading: Sequence[str],
    declared: Mapping[str, Any],
    counts: Mapping[str, int],
) -> Read:
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
                f"{name}: {parameter} is invalid; write every slot and hyperparameter out"
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
    for k in (
        ()
        if str(function.__module__).startswith("ravine.modifiers.")
        else (*slots, *keyword, *signals)
    ):
        what = "slot" if k in slots else "signal" if k in signals else "hyperparameter"
        if why := "" if isinstance(keyword.get(k), tuple) else why_reserved(k, what):
            raise RuleError(f"{name}: a {what} cannot be called {k!r}, which {why}; rename it")
    if "t" in slots:
        raise RuleError(
            f"{name}: t comes last among the positional arguments, after the state slots"
        )
    twice = next((k for k in declared if k in signals), None)
    if twice:
        raise RuleError(f"{name}: {twice} is a signal, so nothing else can be declared for it")
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
                    f"{name}: a part of {k} is called {part!r}, like another argument; rename one"
                )
            flat[part] = one
    return Read(flat, hyperparameters, signals, takes_t, Parts(parts, tuples))


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
                f"{name}: the default {k}={default!r} is invalid; a tuple has one number or more"
            )
        tuples[k] = names = part_names(k, counts.get(k, len(default)))
        for i, part in enumerate(names):
            if part in each or part in keyword:
                raise RuleError(
                    f"{name}: a part of {k} is called {part!r}, like another hyperparameter; rename one"
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
