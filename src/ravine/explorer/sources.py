"""The texts of rules that the explorer offers, as its parser reads them, and what there is to say of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from ravine import modifiers, registry
from ravine.engines.graph import Graph
from ravine.engines.tracing import trace
from ravine.hyperparameters import Hyperparameter
from ravine.reading.about import about, helpers, source
from ravine.registry import Found
from ravine.rule import Rule
from ravine.slots import Slot

__all__ = ["CHIPS", "families", "offered", "sources", "state_of"]

CHIPS = ("cautious", "decoupled_decay", "clip_by_global_norm", "lookahead")
"""The modifiers that the page has buttons for."""
_OPERATIONS = frozenset(
    [
        "input",
        "constant",
        "hyperparameter",
        "scalar",
        "add",
        "sub",
        "mul",
        "div",
        "pow",
        "neg",
        "mod",
        "where",
        "gt",
        "ge",
        "lt",
        "le",
        "eq",
        "ne",
        "maximum",
        "minimum",
        "sum",
        "mean",
        "total",
        "sqrt",
        "abs",
        "sign",
        "exp",
        "log",
        "tanh",
        "atan2",
        "floor",
        "round",
        "numel",
        "size",
        "newton_schulz",
    ]
)


@cache
def sources() -> dict[str, Any]:
    """What the page is given: texts in an order in which they can be read, and facts about them."""
    texts: dict[str, str] = {}
    said: dict[str, dict[str, Any]] = {}
    for name in (*CHIPS, "l2", "clip_by_norm", "ema"):
        made = getattr(modifiers, name)(registry.get("adam"))
        texts[name] = _decorated("modifier", made.sources[0], made.slots)
        said[name] = {"hyperparameters": _meanings(made)}
    for name in offered():
        rule = registry.get(name)
        texts |= dict(_texts(rule, texts))
        said[name] = {"summary": about(rule).summary, "hyperparameters": _meanings(rule)}
    return {"texts": [*texts.values()], "about": said}


def families() -> list[tuple[str, list[str]]]:
    """The rules that the page offers, by family."""
    found = registry.rules().families()
    chosen = {family: [n for n in names if n in offered()] for family, names in found.items()}
    return [(family, names) for family, names in chosen.items() if names]


@cache
def offered() -> tuple[str, ...]:
    """The names of Ravine's own rules that the page can run: all but decompositions, signals, tuples."""
    return tuple(name for name, rule in registry.own().items() if _runs(rule))


def _runs(rule: Rule) -> bool:
    if rule.signals or rule.parts.tuples or any(_odd(slot) for slot in rule.slots.values()):
        return False
    if not _written(rule) or any(_reads_constants(f) for f in (*rule.sources, *helpers(rule))):
        return False
    graph: Graph = trace(rule)
    return {node.op for node in graph.nodes} <= _OPERATIONS


def _reads_constants(function: Callable[..., Any]) -> bool:
    """Whether a function reads names of its module that are no functions, which its text has not."""
    found = (function.__globals__.get(name) for name in function.__code__.co_names)
    return any(x is not None and not callable(x) for x in found)


def _odd(slot: Slot) -> bool:
    return any(x is not None for x in (slot.axis, slot.keep, slot.square, slot.rank))


def _written(rule: Rule) -> bool:
    """Whether it is one function, or a modifier of CHIPS around a rule that is."""
    return len(rule.sources) == 1 or all(f.__name__ in CHIPS for f in rule.sources[:-1])


def _texts(rule: Rule, known: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The rule's text after those of what it is made from."""
    for helper in helpers(rule):
        if helper.__name__ not in known:
            yield helper.__name__, source(helper)
    *around, function = rule.sources
    inner = function.__name__
    if inner not in known:
        yield inner, _decorated("rule", function, rule.slots)
    if inner == rule.name:
        return
    base = registry.own().get(inner)
    changed = {k: h.default for k, h in rule.hyperparameters.items()}
    if base:
        same = base.hyperparameters
        changed = {k: v for k, v in changed.items() if k not in same or same[k].default != v}
    given = ", ".join(f"{k}={v!r}" for k, v in changed.items())
    made = f"{inner}({given})" if not around else inner
    for i, modifier in enumerate(reversed(around), 1):
        last = given and i == len(around)
        made = f"{modifier.__name__}({made}{f', {given}' if last else ''})"
    yield rule.name, f"{rule.name} = {made}\n"


def _decorated(kind: str, function: Callable[..., Any], slots: Any) -> str:
    """The function's text below `@rule`, with the slots that do not start at zero."""
    text = source(function)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    declared = [f"{k}={_declared(slots[k])}" for k in names if k in slots and _declared(slots[k])]
    if kind == "rule" and not declared:
        return text
    arguments = f"({', '.join(declared)})" if declared else ""
    return f"@{kind}{arguments}\n{text}"


def _declared(slot: Slot) -> str:
    if slot.kind == "like_p":
        return "like_p"
    value = f'"{slot.value}"' if isinstance(slot.value, str) else f"{slot.value:g}"
    if slot.kind == "scalar":
        return f"{'shared' if slot.shared else 'scalar'}({value})"
    return f"filled({value})" if slot.value else ""


def _meanings(rule: Rule) -> dict[str, tuple[str, float | None, float | None]]:
    """What each hyperparameter means, and between what it lies."""
    return {name: _meaning(h) for name, h in rule.hyperparameters.items()}


def _meaning(h: Hyperparameter) -> tuple[str, float | None, float | None]:
    low, high = (x if math.isfinite(x) else None for x in (h.low, h.high))
    return h.meaning, low, high


def state_of(found: Found) -> dict[str, Any]:
    """What the page is to show of a rule that was found by its name: `build(**state_of(found))`."""
    bare = found
    while bare.inner:
        bare = bare.inner
    name, state = found.name.replace(bare.name, bare.head), dict[str, Any]()
    if found.settings:
        state["values"] = found.settings
        name = _without_options(found)
    if ":" in bare.head:
        rule = bare.rule
        if len(rule.sources) != 1 or helpers(rule):
            raise ValueError(
                f"rule {rule.name!r} is made of several functions, which the explorer's editor cannot hold; "
                "explore one that is a single function"
            )
        function = rule.sources[0]
        state["source"] = _decorated("rule", function, rule.slots)
        name = name.replace(bare.head, function.__name__)
    elif bare.head not in offered():
        raise ValueError(
            f"rule {bare.head!r} works with what the explorer's page has not, such as matrix "
            f"decompositions or signals; it has {', '.join(offered())}"
        )
    return {"rule": name, "state": state}


def _without_options(found: Found) -> str:
    return f"{found.head}({_without_options(found.inner)})" if found.inner else found.head
