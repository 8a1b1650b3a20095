"""Signals, the inputs of a step besides gradients: checks names, and converts numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ravine.hyperparameters import plain
from ravine.rule import Rule
from ravine.signature import nearest

__all__ = ["checked_signals"]


def checked_signals(
    rules: Iterable[Rule], given: Mapping[str, Any], where: str
) -> tuple[dict[str, float], dict[str, Any]]:
    """The signals that are not None: those with one number as floats, the others unchanged.

    Raises TypeError, beginning with `where`, for a name that is not a signal of these rules, and ValueError
    for a value that is not a number, or if a name means different things in these rules.
    """
    known: dict[str, set[bool]] = {}
    rules = list(rules)
    for rule in rules:
        for name, signal in rule.signals.items():
            known.setdefault(name, set()).add(signal.scalar)
    numbers, arrays = {}, {}
    for name, value in given.items():
        if name not in known:
            called = ", ".join(dict.fromkeys(repr(rule.name) for rule in rules))
            has = f"it has {', '.join(known)}{nearest(name, [*known])}" if known else "it has none"
            raise TypeError(f"{where}: step: {name!r} is not a signal of rule {called}; {has}")
        if len(known[name]) > 1:
            raise ValueError(
                f"{where}: step: {name} is one number in one rule and an array in another; rename one of them"
            )
        if value is None:
            continue
        if known[name] == {False}:
            arrays[name] = value
            continue
        number = plain(value)
        if number is None:
            raise ValueError(
                f"{where}: step: {name}={value!r:.60} is invalid; {name} must be one number"
            )
        numbers[name] = float(number)
    return numbers, arrays
