"""How numbers and arrays are passed to a rule's function, so that operators mean the same everywhere.

A rule is a plain function. Python's numbers do not follow IEEE 754: 1/0 raises, (-1)**0.5 is complex.
A `Number` follows it, but costs ten times as much. Array libraries differ in how they treat
comparisons in arithmetic, powers and remainders; an `Array` does not, but also costs more. So a rule
is called once with marks, which record what it does with its arguments. From then on, only the
arguments that need it become Numbers or Arrays. With arrays, that is only t in Adam.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ravine.arithmetic import COMPARISONS, OPERATORS, home, real
from ravine.draws import DRAWN
from ravine.ops import Array, Number, Operable, Tensors, is_odd, ndim

__all__ = ["Arguments", "Mark", "enter", "leave"]

Place = int | str  # of an argument: its number among the positional ones, or its name
_SIZE = "size"  # the result of ops.size, which is a Number already
_ALIKE = (0, 1, 2, 3, -1)  # powers that all libraries take alike


def enter(x: Any) -> Any:
    """Wrap a number or an array in a Number or an Array; return anything else unchanged."""
    if type(x) in (float, int):
        return Number(real(x))
    return Array(x) if _is_array(x) else x


def leave(x: Any) -> Any:
    """What the caller gets of a rule's result: a plain number, an array or a bag."""
    if type(x) is Number or type(x) is bool:
        return float(x)
    return x.value if type(x) is Array else x


def _is_array(x: Any) -> bool:
    return not isinstance(x, Operable) and hasattr(x, "dtype")


def _of_numpy(x: Any) -> bool:
    """Whether x is one of NumPy's numbers, which widen arrays."""
    return home(type(x)) == "numpy" and isinstance(x, sys.modules["numpy"].generic)


class _Findings:
    """What a rule does with its arguments.

    torch: whether its arrays are torch's. arrays: whether it uses something in which array libraries
    differ. draws: whether it draws random numbers. risks: for each operation that plain numbers may
    compute differently, the arguments that its numbers depend on. switches: the hyperparameters that
    an `if` tested, and whether they are on. ndim: the number of dimensions of p, if the rule asked.
    """

    def __init__(self, p: Any = 0.0) -> None:
        kind = home(type(p))
        self.p, self.torch, self.draws = p, kind == "torch", False
        self.arrays = kind not in ("", "numpy", "torch", "jax", "jaxlib")  # may refuse a Number
        self.risks: list[frozenset[Place]] = []
        self.switches: dict[str, bool] = {}
        self.ndim: int | None = None

    def numbers(self) -> set[Place]:
        """Arguments that make every operation at risk one on a Number, if they are Numbers."""
        chosen: set[Place] = {_SIZE}
        often = Counter(place for places in self.risks for place in places)
        for places in self.risks:
            if places and not chosen & places:
                chosen.add(max(places, key=lambda place: (often[place], str(place))))
        return chosen


class Mark(Operable):
    """Takes the place of an argument, or of something computed from it.

    number: whether it is a number, not an array. places: of the arguments that a number depends on.
    answer: whether it is that of a comparison. asked: the name and value of a hyperparameter.
    """

    __slots__ = ("answer", "asked", "found", "number", "places")

    def __init__(
        self,
        found: _Findings,
        number: bool = False,
        places: frozenset[Place] = frozenset(),
        answer: bool = False,
        asked: tuple[str, Any] | None = None,
    ) -> None:
        self.found, self.number, self.places = found, number, places
        self.answer, self.asked = answer, asked

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        """Return the mark of the result, and note what the operation shows."""
        found = self.found
        if name == "ndim":
            found.ndim = ndim(found.p)
            return found.ndim
        marks = [x for x in args if isinstance(x, Mark)]
        number = all(x.number for x in marks)
        places = frozenset(place for x in marks for place in x.places if number)
        if name in COMPARISONS:
            return Mark(found, number, places, answer=True)
        answers = [x for x in args[name == "where" :] if isinstance(x, Mark) and x.answer]
        found.arrays |= not all(x.number for x in answers)
        if name in OPERATORS:
            found.risks += [x.places for x in answers if x.number]
            odd = any(map(is_odd, args))
            if number and (odd or name in ("div", "pow", "mod")):
                found.risks.append(places)
            elif not number:
                self._note(name, *args)
                found.arrays |= odd
        found.draws |= name in DRAWN
        if name in ("qr", "eigh"):
            return Mark(found), Mark(found)
        if name in ("size", "numel", "epsilon"):
            return Mark(found, True, frozenset([] if name == "epsilon" else [_SIZE]))
        return Mark(found, number, places, answer=name == "where" and bool(answers))

    def _note(self, name: str, x: Any, y: Any = None) -> None:
        """Note where an array library's own operator would mean something else."""
        found = self.found
        if name == "mod" or (name == "pow" and (isinstance(y, Mark) or y not in _ALIKE)):
            found.arrays = True
        elif name == "div" and found.torch:  # a number by an array: torch multiplies by 1 / y
            if isinstance(x, Mark) and x.number:
                found.risks.append(x.places)
            found.arrays |= not isinstance(x, Mark) and x != 1

    def __bool__(self) -> bool:
        if self.asked is None:
            raise TypeError("the rule has an `if` on values, so its operations cannot be listed")
        name, value = self.asked
        return self.found.switches.setdefault(name, bool(value))


Converters = tuple[tuple[Any, Callable[[Any], Any]], ...]


class _Plan(NamedTuple):
    """What was found for the arguments: valid for these switches and this number of dimensions of p
    (if it matters).
    """

    ndim: int | None
    switches: tuple[tuple[str, bool], ...]
    positional: Converters
    named: Converters


class Arguments:
    """Prepares the arguments of a rule's function. draws: whether it may draw random numbers, as far as
    its calls have shown.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.draws = False
        self._plans: dict[tuple[type, ...], list[_Plan]] = {}

    def prepare(
        self, args: Sequence[Any], values: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The positional and named arguments to pass to the function."""
        kinds = (*map(type, args), *map(type, values.values()))
        plan = self._known(kinds, args[0], values)
        if plan is None:
            plan = self._plan(args, values)
            self._plans.setdefault(kinds, []).append(plan)
        if plan.positional:
            args = _converted([*args], plan.positional)
        if plan.named:
            values = _converted({**values}, plan.named)
        return args, values

    def _known(self, kinds: tuple[type, ...], p: Any, values: Mapping[str, Any]) -> _Plan | None:
        for plan in self._plans.get(kinds, ()):
            if plan.ndim is not None and plan.ndim != ndim(p):
                continue
            try:
                for name, on in plan.switches:
                    if bool(values[name]) is not on:
                        break
                else:
                    return plan
            except ValueError:  # neither on nor off: the call itself raises the error
                continue
        return None

    def _plan(self, args: Sequence[Any], values: Mapping[str, Any]) -> _Plan:
        """Call the function with marks to find out what has to be a Number or an Array."""
        p = args[0]
        if isinstance(p, Operable) and not isinstance(p, Tensors):  # a symbol of the tracer's
            self.draws = True
            return _Plan(None, (), (), ())
        given: dict[Any, Any] = {**dict(enumerate(args)), **values}
        plain = {
            place
            for place, x in given.items()
            if type(x) in (float, int) or (_of_numpy(x) and not _of_numpy(p))
        }
        found = _Findings(p)

        def mark(place: Place) -> Any:
            x = given[place]
            if isinstance(x, bool) or x is None:
                return x
            places = frozenset([place] if place in plain else [])
            asked = (place, x) if isinstance(place, str) else None
            return Mark(found, place in plain, places, asked=asked)

        try:
            result = self._function(*map(mark, range(len(args))), **{k: mark(k) for k in values})
            results = result if isinstance(result, tuple) else (result,)
            found.arrays |= any(isinstance(x, Mark) and x.answer and not x.number for x in results)
            numbers = found.numbers()
        except Exception:  # if it is wrong, the call itself raises the error
            found, numbers = _Findings(), plain
            found.draws = True
        self.draws |= found.draws
        converters: dict[Place, Callable[[Any], Any]] = {}
        for place, x in given.items():
            if place in plain and place in numbers:
                converters[place] = Number
            elif place in plain and type(x) is not float:
                converters[place] = float
            elif found.arrays and _is_array(x):
                converters[place] = Array
        switches = {k: x for k, x in values.items() if isinstance(x, bool)} | found.switches
        return _Plan(
            found.ndim,
            tuple(switches.items()),
            tuple((k, f) for k, f in converters.items() if isinstance(k, int)),
            tuple((k, f) for k, f in converters.items() if isinstance(k, str)),
        )


def _converted(values: Any, converters: Converters) -> Any:
    for place, convert in converters:
        try:
            values[place] = convert(values[place])
        except OverflowError:  # a whole number
            values[place] = convert(real(values[place]))
    return values
