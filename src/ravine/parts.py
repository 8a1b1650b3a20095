"""Tuples in a rule: several slots, or several hyperparameters, under one name.

A rule may have a tuple of hyperparameters, `betas=(0.0, 0.9, 0.99)`, and as many slots:
`@rule(b=several("betas"))`. Its function takes and returns tuples. The rest of Ravine sees only their
parts, each with a name: beta1, beta2, beta3, and b1, b2, b3.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

__all__ = ["NO_PARTS", "Parts", "part_names"]


def part_names(whole: str, count: int) -> tuple[str, ...]:
    """The names of a tuple's parts: beta1 and beta2 for betas.

    >>> part_names("betas", 2), part_names("history", 2)
    (('beta1', 'beta2'), ('history1', 'history2'))
    """
    plural = whole.endswith("s") and not whole.endswith("ss") and len(whole) > 1
    return tuple(f"{whole[:-1] if plural else whole}{i}" for i in range(1, count + 1))


@dataclass(frozen=True)
class Parts:
    """A function's arguments that are tuples, and the names of their parts.

    slots: all of the function's slots in order, with the names of the parts of those that are tuples.
    tuples: the same for the hyperparameters that are tuples.
    """

    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tuples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.slots.values()) or bool(self.tuples)

    def flat(
        self, function: Callable[..., Any], leading: int, error: type[Exception]
    ) -> Callable[..., Any]:
        """Wrap the function in one that takes and returns parts instead of tuples.

        leading: the number of arguments before the slots. error: the error to raise if it returns
        something else in place of a tuple.
        """
        if not self:
            return function

        def of_parts(*args: Any, **values: Any) -> Any:
            rest = iter(args[leading:])
            slots = self.gather_state(rest)
            result = function(*args[:leading], *slots, *rest, **self.gathered(values))
            p, *state = result if isinstance(result, tuple) else (result,)
            if len(state) != len(self.slots):
                return result  # the rule says what is wrong with it
            try:
                return (p, *self.spread_state(state))
            except ValueError as wrong:
                raise error(f"{function.__name__} returns, as {wrong}") from None

        return of_parts

    def flat_evaluation(self, evaluate: Callable[..., Any] | None) -> Callable[..., Any] | None:
        """The same for an `evaluate=`, a function of p, slots and hyperparameters."""
        if evaluate is None or not self:
            return evaluate
        first, *names = inspect.signature(evaluate).parameters
        whole = {**self.slots, **self.tuples}
        flat = dict.fromkeys(part for k in names for part in (whole.get(k) or (k,)))

        def of_parts(p: Any, **given: Any) -> Any:
            chosen = {
                k: tuple(given[part] for part in whole[k]) if whole.get(k) else given[k]
                for k in names
            }
            return evaluate(p, **chosen)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        of_parts.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(k, kind) for k in (first, *flat)]
        )
        return of_parts

    def gathered(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Hyperparameters with the tuples in place of their parts."""
        parts = {part for its in self.tuples.values() for part in its}
        whole = {k: tuple(values[part] for part in its) for k, its in self.tuples.items()}
        return {**{k: v for k, v in values.items() if k not in parts}, **whole}

    def gather_state(self, state: Iterable[Any]) -> tuple[Any, ...]:
        """A state with the tuples in place of their parts."""
        return tuple(self._packed(iter(state)))

    def spread_state(self, state: Iterable[Any]) -> tuple[Any, ...]:
        """A state with tuples replaced by their parts; whatever follows it is unchanged.

        Raises ValueError if a slot is not such a tuple.
        """
        rest = iter(state)
        result: list[Any] = []
        for (name, parts), value in zip(self.slots.items(), rest, strict=False):
            if not parts:
                result.append(value)
            elif isinstance(value, (tuple, list)) and len(value) == len(parts):
                result += value
            else:
                tuples = isinstance(value, (tuple, list))
                got = f"a tuple of {len(value)}" if tuples else "something that is not a tuple"
                raise ValueError(f"{name}, {got}; it must be a tuple of {len(parts)}")
        return (*result, *rest)

    def _packed(self, values: Iterator[Any]) -> Iterator[Any]:
        for parts in self.slots.values():
            yield tuple(islice(values, len(parts))) if parts else next(values)


NO_PARTS = Parts()
