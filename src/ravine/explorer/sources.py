"""The texts of the rules in the explorer, in the form that its parser reads, and facts about them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import CodeType
from typing import Any

from ravine import modifiers, registry
from ravine.hyperparameters import HYPERPARAMETERS, Hyperparameter
from ravine.reading.about import about, helpers, source
from ravine.registry import Found
from ravine.rule import Rule
from ravine.slots import Slot

__all__ = ["CHIPS", "families", "missing", "offered", "sources", "state_of"]

CHIPS = ("cautious", "decoupled_decay", "clip_by_global_norm", "lookahead")
"""The modifiers for which the page has buttons."""
MODIFIERS = (*CHIPS, "l2", "clip_by_norm", "ema")
"""The modifiers whose text every page has; the others' are in the page of a stack that has them."""
_SIGNALS = ("hessian",)
"""The signals that a landscape has: the diagonal of the Hessian, which is derived from its text."""


def besides(stack: str) -> list[str]:
    """The modifiers in the name of a stack whose text not every page has.

    >>> besides("zclip(cautious(adamw))")
    ['zclip']
    """
    named = dict.fromkeys(re.findall(r"\w+(?=\()", stack))
    return [name for name in named if name in modifiers.__all__ and name not in MODIFIERS]


@cache
def sources(*more: str) -> dict[str, Any]:
    """The page's data: texts in an order in which they can be read, and facts about them.

    more: modifiers besides those that every page has.

    texts: of helpers, constants, modifiers and rules. about: for each rule, its summary, the slots that its
    weights to evaluate with are made of, and for each hyperparameter the place of its meaning and range
    in `meanings`. shared: the same for names of hyperparameters in rules that are not Ravine's.
    """
    texts: dict[str, str] = {}
    said: dict[str, dict[str, Any]] = {}
    for name in (*MODIFIERS, *more):
        made = getattr(modifiers, name)(registry.get("adam"))
        texts[name] = _decorated("modifier", made.sources[0], made)
        said[name] = {"hyperparameters": _meanings(made), "evaluated": [*made.evaluated]}
    for name in offered():
        rule = registry.get(name)
        texts |= dict(_texts(rule, texts))
        said[name] = {"summary": about(rule).summary, "hyperparameters": _meanings(rule)}
        if rule.evaluated:
            said[name]["evaluated"] = [*rule.evaluated]
    shared = {name: _meaning(h) for name, h in HYPERPARAMETERS.items()}
    # A few meanings occur very often, so each is listed once.
    named = [shared, *(x["hyperparameters"] for x in said.values())]
    meanings = [*dict.fromkeys(h for each in named for h in each.values())]
    for each in named:
        each.update({k: meanings.index(h) for k, h in each.items()})
    return {"texts": [*texts.values()], "about": said, "meanings": meanings, "shared": shared}


def families() -> list[tuple[str, list[str]]]:
    """The rules that the page offers, by family."""
    found = registry.rules().families()
    chosen = {family: [n for n in names if n in offered()] for family, names in found.items()}
    return [(family, names) for family, names in chosen.items() if names]


@cache
def offered() -> tuple[str, ...]:
    """The names of Ravine's own rules that the page can run."""
    return tuple(name for name, rule in registry.own().items() if not missing(rule))


def missing(rule: Rule) -> str:
    """What the page lacks to run a rule: a signal, the text of a modifier, or "" for nothing."""
    if signals := [name for name in rule.signals if name not in _SIGNALS]:
        return f"a landscape has no {', '.join(signals)} to pass to its steps"
    if around := [f.__name__ for f in rule.sources[:-1] if f.__name__ not in modifiers.__all__]:
        return f"the page lacks the source of {', '.join(around)}"
    return ""


def _texts(rule: Rule, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The rule's text, preceded by the texts that it needs and that are not known yet."""
    *around, function = rule.sources
    inner = function.__name__
    used = [function, *(f for f in helpers(rule) if f not in around)]
    made = {name: f"{name} = {value!r}\n" for f in used for name, value in _constants(f)}
    made |= {helper.__name__: source(helper) for helper in reversed(used[1:])}
    made[inner] = _decorated("rule", function, rule)
    yield from ((name, text) for name, text in made.items() if known.get(name) != text)
    if not rule.name.isidentifier() or inner == rule.name:
        return  # a stack without a name is called by its expression
    base = registry.own().get(inner)
    changed = {k: h.default for k, h in rule.hyperparameters.items()}
    if base:
        same = base.hyperparameters
        changed = {k: v for k, v in changed.items() if k not in same or same[k].default != v}
    given = ", ".join(f"{k}={v!r}" for k, v in changed.items())
    stack = f"{inner}({given})" if not around else inner
    for i, modifier in enumerate(reversed(around), 1):
        last = given and i == len(around)
        stack = f"{modifier.__name__}({stack}{f', {given}' if last else ''})"
    yield rule.name, f"{rule.name} = {stack}\n"


def _constants(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The numbers, and the tuples of numbers, that a function reads from its module."""
    for code in _codes(function.__code__):
        for name in code.co_names:
            value = function.__globals__.get(name)
            if _is_constant(value):
                yield name, value


def _is_constant(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return bool(value) and all(map(_is_constant, value))
    return isinstance(value, (bool, int, float)) and math.isfinite(value)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


def _decorated(kind: str, function: Callable[..., Any], rule: Rule) -> str:
    """The function's text below `@rule`, with the slots that do not start at zero."""
    text, slots, parts = source(function), rule.slots, rule.parts.slots
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    declared = [
        f"{k}={_several(parts[k], rule)}" if parts.get(k) else f"{k}={_declared(slots[k])}"
        for k in names
        if parts.get(k) or (k in slots and _declared(slots[k]))
    ]
    if kind == "rule" and not declared:
        return text
    arguments = f"({', '.join(declared)})" if declared else ""
    return f"@{kind}{arguments}\n{text}"


def _several(names: Sequence[str], rule: Rule) -> str:
    """As many slots as a tuple of hyperparameters has numbers, or so many."""
    one, tuples = _declared(rule.slots[names[0]]), rule.parts.tuples
    count = next((f'"{k}"' for k, parts in tuples.items() if len(parts) == len(names)), len(names))
    return f"several({count}{f', {one}' if one else ''})"


def _declared(slot: Slot) -> str:
    if slot.kind == "like_p":
        return "like_p"
    value = f'"{slot.value}"' if isinstance(slot.value, str) else f"{slot.value:g}"
    if slot.kind == "scalar":
        return f"{'shared' if slot.shared else 'scalar'}({value})"
    if slot.square is not None:
        return f"square({slot.square}{f', {value}' if slot.value else ''})"
    if slot.rank is not None:
        return f"low_rank({json.dumps(slot.rank)}, axis={slot.axis})"
    if slot.short:
        return f"zeros({f'axis={slot.axis}' if slot.keep is None else f'keep={slot.keep}'})"
    return f"filled({value})" if slot.value else ""


def _meanings(rule: Rule) -> dict[str, tuple[str, float | None, float | None]]:
    """What each hyperparameter means, and the range of its slider."""
    return {name: _meaning(h) for name, h in rule.hyperparameters.items()}


def _meaning(h: Hyperparameter) -> tuple[str, float | None, float | None]:
    low, high = (x if math.isfinite(x) else None for x in (h.low, h.high))
    return h.meaning, low, high


def state_of(found: Found) -> dict[str, Any]:
    """The page's state for a rule that was found by name: `build(**state_of(found))`."""
    bare = found
    while bare.inner:
        bare = bare.inner
    name, state = found.name.replace(bare.name, bare.head), dict[str, Any]()
    if found.settings:
        state["values"] = found.settings
        name = _without_options(found)
    if why := missing(found.rule):
        raise ValueError(f"rule {found.name!r} cannot run in the explorer: {why}")
    if ":" in bare.head:
        given = sources(*besides(found.name))["texts"]
        known = {name: text for text in given for name in _defined(text)}
        texts, function = dict(_texts(bare.rule, known)), bare.rule.sources[-1].__name__
        if len(texts) > 1 and texts.get(function, "@")[0] != "@":
            texts[function] = f"@rule\n{texts[function]}"  # which tells it from its helpers
        if texts:  # none of a rule of Ravine's that has been copied
            state["source"] = "\n\n".join(text.rstrip("\n") for text in texts.values()) + "\n"
        name = name.replace(bare.head, bare.rule.name)
        if reference := _reference(bare.rule.name):
            state["beside"] = reference
    return {"rule": name, "state": state}


def _reference(name: str) -> str:
    """The rule of Ravine that this name suggests, such as adam for my_adam; "" for none."""
    plain = re.sub(r"^my_?|_?mine$", "", name.lower())
    return next((rule for rule in offered() if rule.replace("_", "") == plain.replace("_", "")), "")


def _defined(text: str) -> list[str]:
    """The names that a text of the page defines."""
    return [found[1] or found[2] for found in re.finditer(r"^(?:def (\w+)|(\w+) =)", text, re.M)]


def _without_options(found: Found) -> str:
    return f"{found.head}({_without_options(found.inner)})" if found.inner else found.head
