"""A param group: a dict that checks options when they are set, and tracks changes.

torch.optim accepts anything that is written into a group, and notices in the middle of training, or never.
Here a group immediately rejects what the constructor rejects, and a bound step need not look for changes,
because a group says whether there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ravine.spellings import Spelling

__all__ = ["Options", "checked_names", "with_numbers"]

_NOT_OPTIONS = ("params", "param_names")
_PLAIN = (bool, int, float, str, type(None))
_CLOSE = (
    0.85  # like "weigth_decay"; "initial_weight_decay" and "max_momentum" are a user's own names
)


class Options(dict[str, Any]):
    """A param group of :class:`ravine.torch.RuleOptimizer`.

    Setting an option raises ValueError for a value that the constructor rejects. A key that is not an option
    belongs to the user and is ignored, unless it is almost the name of one.

    known: the names of the class's options. spelling_of: the spelling of a group with such options.
    check: raises ValueError for invalid options.
    direct: the options that are hyperparameters of the rule under their own name, each with the bounds
    between which any float is accepted. last: the bound step that last applied all options. followed: the
    same, until an option changes. changed: the options that have changed since.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        name: str,
        known: Iterable[str],
        spelling_of: Callable[[Mapping[str, Any]], Spelling],
        check: Callable[[Mapping[str, Any]], None],
    ):
        self.name, self.known, self.spelling_of = name, {*known}, spelling_of
        super().__init__(with_numbers(options, self.known))
        self.check = check
        self.named: Any = None  # what `Mixed` has found under the rule's name
        self.followed: object = None
        self.last: object = None
        self.changed: set[str] = set()
        self._constant: bool | None = None  # not looked at yet
        spelling = spelling_of(self)
        check(self)
        self._paired = {
            name for whole, parts in spelling.paired.items() for name in (whole, *parts)
        }
        # A float within these bounds is accepted; most schedulers set one in each step.
        direct = spelling.direct(self).items()
        self.direct = {k: (h.low, h.high) for k, h in direct if k not in self._paired}

    def __reduce__(self) -> Any:
        # As a plain dict, from which its optimizer makes a group again.
        return dict, (dict(self),)

    def __setitem__(self, key: str, value: Any) -> None:
        """Set an option, checked as in the constructor; a NumPy scalar becomes a number."""
        inside = self.direct.get(key)
        if inside is not None and type(value) is float and inside[0] < value < inside[1]:
            dict.__setitem__(self, key, value)  # schedulers do it in each step: without super()
            self.changed.add(key)
            self.followed = None
        else:
            self.update({key: value})

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._note(key)

    def _note(self, key: str) -> None:
        self._constant = None
        self.changed.add(key)
        self.followed = None

    def follow(self, step: object) -> None:
        """Record that a bound step has applied all options."""
        self.changed.clear()
        if not self._constant:
            self._constant = self._is_constant()
        self.last, self.followed = step, step if self._constant else None

    def _is_constant(self) -> bool:
        """Whether no option can change in place, as a tensor can."""
        options = [v for k, v in self.items() if k in self.known]
        parts = [x for v in options if type(v) is tuple for x in v]
        return all(isinstance(x, _PLAIN) for x in (*options, *parts) if type(x) is not tuple)

    def update(self, *others: Any, **options: Any) -> None:
        """Set several options, which are checked together."""
        new = with_numbers(dict(*others, **options), self.known)
        if strangers := {*new} - self.keys():
            checked_names(strangers, self.known, self.name)
        settled = {**self, **new}
        # Not while it is emptied and filled again.
        if not self.known.isdisjoint(new) and self.known <= settled.keys():
            settled = self.spelling_of(settled).with_parts(self, new)
            self.check(settled)
            if not self._paired.isdisjoint(new):
                new |= {k: settled[k] for k in self._paired}
        for key, value in new.items():
            super().__setitem__(key, value)
            self._note(key)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The option, which is set to the default if it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: Any) -> Options:  # type: ignore[override, misc]
        self.update(other)
        return self

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key, such as one of the user's own."""
        self._note(key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the last key."""
        key, value = super().popitem()
        self._note(key)
        return key, value

    def clear(self) -> None:
        """Remove all keys."""
        for key in [*self]:
            del self[key]


def checked_names(keys: set[str], known: set[str], where: str) -> None:
    """Raise ValueError for a key that is almost an option's name; other keys belong to the user."""
    for key in sorted(k for k in keys - known - {*_NOT_OPTIONS} if isinstance(k, str)):
        for name in sorted(known):
            alike = key.lower() == name.lower()
            if alike or (len(name) > 2 and SequenceMatcher(None, key, name).ratio() >= _CLOSE):
                raise ValueError(
                    f"{where}: {key!r} is not an option; did you mean {name!r}? To store your own key in a "
                    "param group, choose a name that is less similar to an option's"
                )


def with_numbers(options: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """The options with NumPy scalars converted to Python numbers, also in tuples and lists, so that a
    checkpoint loads with weights_only=True; for `known` options, also arrays of one element.
    """
    return {k: v if k in _NOT_OPTIONS else _number(v, k in known) for k, v in options.items()}


def _number(value: Any, known: bool) -> Any:
    if type(value) in (tuple, list) and any(type(x).__module__ == "numpy" for x in value):
        return type(value)(_number(x, known) for x in value)
    if type(value).__module__ != "numpy" or getattr(value, "size", 0) != 1:
        return value
    is_array = hasattr(value, "__setitem__")
    return value.item() if known or not is_array else value
