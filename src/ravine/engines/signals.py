"""What a step is given besides gradients: the names checked, and numbers made plain."""

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
    """What is given and is not None: signals that are one number, as floats, and the others as they are.

    Raises TypeError, beginning with `where`, for names of no signal of these rules; ValueError for what
    is no number, and where rules differ in what a name means.
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
                f"{where}: step: {name} is one number in one rule and an array in another; give one of "
                "them another name"
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
