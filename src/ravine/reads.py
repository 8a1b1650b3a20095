"""What functions read besides their arguments: globals, closures, defaults, helpers, and so on.

What is derived from a rule, such as a kernel, is valid as long as none of that changes. A function's
code contains the names that it looks up. Their values are followed: helper functions; modules, objects
and their classes, by the attributes that any of the code uses; containers, by their items.

The code of Python's standard library and of installed packages is not followed: its internal state is
assumed to be constant. Neither are names that are built at run time, as in
`getattr(config, "sc" + "ale")`.
"""

from __future__ import annotations

import dis
import os
import pickle
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property, lru_cache, partial
from operator import attrgetter, is_
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

__all__ = ["Reads"]

_MISSING = object()
_PLAIN = (int, float, complex, str, bytes, bool, type(None), CodeType)
_WRAPPERS = (property, staticmethod, classmethod, cached_property, MethodType, BuiltinMethodType)
_SETTINGS = ("__code__", "__defaults__", "__kwdefaults__")
_settings = attrgetter(*_SETTINGS)


class Reads:
    """What some functions read, and its values at the time of creation.

    Ravine's own functions read nothing that changes: `constant`. before: what the same functions read
    at the previous look. number: how often that has changed; moved: the names of what changed.
    iterators: the names of values that are iterators, whose items can be taken only once.
    """

    def __init__(self, functions: Iterable[Any], before: Reads | None = None):
        self.number: int = 0 if before is None else before.number + 1
        self.moved = [] if before is None else before.changed()
        roots = [f for f in functions if _package(f) != "ravine"]
        walk = _Walk(roots) if roots else None
        self.constant = walk is None
        self._watches = walk.watches if walk else []
        self._generators = walk.generators if walk else []
        self.iterators = walk.iterators if walk else []
        self._lasting = [watch for watch in self._watches if not watch.stored]
        self.at_a_glance = _comparison(self._lasting)
        """Whether everything is identical to before; asked before each step."""

    def hold(self) -> bool:
        """Whether everything is identical or equal to before: a notebook cell may have been run again."""
        if self.at_a_glance():
            return True
        if any(map(_changed, self._lasting)):
            return False
        self._lasting = [watch._replace(seen=watch.fetch()) for watch in self._lasting]
        self.at_a_glance = _comparison(self._lasting)
        return True

    def changed(self) -> list[str]:
        """The names of what has changed; importing a module does not count."""
        return [*dict.fromkeys(name for watch in self._watches for name in _changed(watch) if name)]

    def random_states(self) -> list[bytes]:
        """The states of the random generators that the functions may draw from."""
        return [*map(_state, self._generators)]


class _Watch(NamedTuple):
    """Values that may change: how to fetch them, what they were, and a name for each or for all.

    stored: they do not exist yet, and only the functions themselves may create them.
    """

    fetch: Callable[[], Sequence[Any]]
    seen: Sequence[Any]
    names: Sequence[str]
    stored: bool = False


def _changed(watch: _Watch) -> list[str]:
    """The names of what has changed."""
    now, seen, names = watch.fetch(), watch.seen, watch.names
    if len(names) == len(now) == len(seen):
        return [name for name, x, y in zip(names, now, seen, strict=True) if not _same(x, y)]
    return [] if _alike(now, seen) else [*names]


def _comparison(watches: Sequence[_Watch]) -> Callable[[], bool]:
    """Whether all values are those seen before, as one expression: it costs 30 nanoseconds per name."""
    known: dict[str, Any] = {"alike": _alike, "missing": _MISSING}
    terms = []
    for i, (fetch, seen, *_) in enumerate(watches):
        places: list[str] = []
        how, *given = (fetch.func, *fetch.args) if isinstance(fetch, partial) else (None,)
        if how is _settings:
            places = [f"at{i}.{name}" for name in _SETTINGS]
        elif how is _picked:
            for name, x in zip(given[1], seen, strict=True):
                there = f"at{i}[{name!r}]"
                places.append(f"at{i}.get({name!r}, missing)" if x is _MISSING else there)
        if places:
            known |= {f"at{i}": given[0]} | {f"x{i}_{j}": x for j, x in enumerate(seen)}
            terms += [f"{place} is x{i}_{j}" for j, place in enumerate(places)]
        else:
            known |= {f"at{i}": fetch, f"x{i}": seen}
            terms.append(f"alike(at{i}(), x{i})")
    body = f"try: return {' and '.join(terms) or 'True'}\n except KeyError: return False"
    exec(f"def compare():\n {body}", known)
    return known["compare"]


def _alike(now: Sequence[Any], seen: Sequence[Any]) -> bool:
    return len(now) == len(seen) and (all(map(is_, now, seen)) or all(map(_same, now, seen)))


def _same(x: Any, y: Any) -> bool:
    return x is y or (type(x) is type(y) and type(x) in _PLAIN and repr(x) == repr(y))


def _package(x: Any) -> str:
    """The package of a function's code (not of what a decorator has wrapped), or of a class."""
    name = x.__globals__.get("__name__") if isinstance(x, FunctionType) else x.__module__
    return str(name).partition(".")[0]


def _is_library(x: Any) -> bool:
    """Whether a function or class belongs to Python or an installed package."""
    if _package(x) in sys.stdlib_module_names or _package(x) == "ravine":
        return True
    if isinstance(x, FunctionType):
        file = x.__code__.co_filename
    else:
        file = getattr(sys.modules.get(x.__module__), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & {*re.split(r"[/\\]", file)})


class _Names(NamedTuple):
    """The names that code looks up, by scope; stored: those that it sets as attributes."""

    globals: frozenset[str]
    attributes: frozenset[str]
    stored: frozenset[str]
    imports: frozenset[str]


@lru_cache(maxsize=1024)
def _names(code: CodeType) -> _Names:
    found: dict[str, set[str]] = {field: set() for field in _Names._fields}
    for x in dis.get_instructions(code):
        if x.opcode not in dis.hasname:
            continue
        if x.opname == "IMPORT_NAME":
            found["imports"].add(x.argval)
        elif "GLOBAL" in x.opname or x.opname in ("LOAD_NAME", "STORE_NAME", "DELETE_NAME"):
            found["globals"].add(x.argval)
        else:
            found["attributes"].add(x.argval)
            if x.opname == "STORE_ATTR":
                found["stored"].add(x.argval)
    words = {x for x in code.co_consts if type(x) is str and x.isidentifier()}
    found["attributes"] |= words  # getattr(config, "scale")
    if "globals" in found["globals"]:
        found["globals"] |= words
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            for field, names in _names(inner)._asdict().items():
                found[field] |= names
    return _Names(*map(frozenset, found.values()))


class _Walk:
    """Follows what functions read. If the code turns out to use further attributes, it starts again,
    because values that it has already passed may have them.

    generators: of random numbers; for each, a function that returns its state. iterators: their names.
    """

    def __init__(self, roots: Sequence[FunctionType]):
        self.mine = {str(f.__module__).partition(".")[0] for f in roots} - {"ravine"}
        self.attributes: set[str] = set()
        self.stored: set[str] = set()
        known = -1
        while len(self.attributes) > known:
            known = len(self.attributes)
            self.watches: list[_Watch] = []
            self.generators = _of_libraries()
            self.iterators: list[str] = []
            # A rule is called with all arguments, so that its defaults do not count.
            self.passed: dict[int, Any] = {id(f.__kwdefaults__): f.__kwdefaults__ for f in roots}
            self.todo: list[tuple[str, Any]] = [(f.__name__, f) for f in roots]
            while self.todo:
                name, value = self.todo.pop()
                if id(value) not in self.passed and value is not _MISSING:
                    self.passed[id(value)] = value
                    if type(value) not in _PLAIN:
                        self.visit(name, value)

    def watch(self, fetch: Callable[[], Sequence[Any]], names: Sequence[str]) -> None:
        """Watch these values, and follow them. names: one for each, or one for all."""
        seen = fetch()
        self.watches.append(_Watch(fetch, seen, names))
        names = names if len(names) == len(seen) else [*names] * len(seen)
        self.todo += zip(names, seen, strict=True)

    def look_up(self, where: str, namespace: Mapping[str, Any], names: Iterable[str]) -> None:
        """Watch names in a module, object or class, and whether a function adds new ones."""
        names = sorted(names)
        new = sorted(self.stored - {*names, *namespace}) if where else []
        if names:
            self.watch(partial(_picked, namespace, names), [f"{where}{name}" for name in names])
        if new:
            fetch = partial(_picked, namespace, new)
            self.watches.append(_Watch(fetch, fetch(), [f"{where}{name}" for name in new], True))

    def visit(self, name: str, x: Any) -> None:
        if isinstance(x, FunctionType):
            self.function(name, x)
        elif isinstance(x, ModuleType):
            self.look_up(f"{name}.", vars(x), self.attributes & {*vars(x)})
        elif isinstance(x, type):
            self.cls(name, x)
        elif isinstance(x, (list, set, deque, bytearray)):
            self.watch(partial(list, x), [name])
        elif isinstance(x, (tuple, frozenset)):
            self.todo += [(name, item) for item in x]
        elif isinstance(x, Mapping):
            self.watch(lambda: [*x.keys(), *x.values()], [name])
        elif isinstance(x, ContextVar):
            self.watch(partial(_current, x), [name])
        elif isinstance(x, partial):
            self.todo += [(name, part) for part in (x.func, x.args, x.keywords)]
        elif isinstance(x, _WRAPPERS):
            parts = [getattr(x, k, None) for k in ("fget", "__func__", "func", "__self__")]
            self.todo += [(name, part) for part in parts if not isinstance(part, ModuleType)]
        elif hasattr(type(x), "tolist") and hasattr(type(x), "__setitem__"):  # an array
            self.watch(lambda: [repr(x.tolist())], [name])
        else:
            self.instance(name, x)

    def function(self, name: str, f: FunctionType) -> None:
        if f is os.getenv:
            self.todo.append(("os.environ", os.environ))
        if f.__module__ == "secrets":
            self.todo.append((name, f.__globals__.get("_sysrand")))
        cells = f.__closure__ or ()
        if cells:
            self.watch(partial(_contents, cells), f.__code__.co_freevars)
        self.todo.append((name, getattr(f, "__wrapped__", None)))
        if _is_library(f) and _package(f) not in self.mine:
            return
        names = _names(f.__code__)
        self.attributes |= names.attributes
        self.stored |= names.stored
        self.watch(partial(_settings, f), [name])
        self.look_up(f"{name}.", vars(f), self.attributes & {*vars(f)})
        self.look_up("", f.__globals__, names.globals)
        known: Mapping[str, Any] = f.__builtins__  # type: ignore[attr-defined]
        elsewhere = names.globals - f.__globals__.keys()
        own = {k for k in elsewhere if getattr(known.get(k), "__module__", "") != "builtins"}
        self.look_up("", known, own)
        package = f.__globals__.get("__package__")
        for place in sorted(place for k in names.imports for place in (k, f"{package}.{k}")):
            fetch = partial(_picked, sys.modules, [place])
            self.watches.append(_Watch(fetch, fetch(), [""]))
            self.todo.append((place, sys.modules.get(place)))

    def cls(self, name: str, cls: type) -> None:
        """Follow the program's own classes: operators, other special methods, and the attributes used."""
        mine = [x for x in cls.__mro__ if not _is_library(x) or _package(x) in self.mine]
        known = {k for base in cls.__mro__ for k in vars(base)}
        special = {
            k
            for base in mine
            for k, x in vars(base).items()
            if k[:2] == "__" and isinstance(x, FunctionType)
        }
        for base in mine:  # a name may be added that hides that of a base class
            self.look_up(f"{name}.", vars(base), special | self.attributes & known)
        self.todo.append((name, type(cls)))

    def instance(self, name: str, x: Any) -> None:
        classes = type(x).__mro__
        if isinstance(x, Iterator) and _package(type(x)) in ("builtins", "itertools"):
            self.iterators.append(name)
        if _package(type(x)) == "ravine":  # a rule that another calls
            self.todo += [(name, f) for f in getattr(x, "__dict__", {}).get("sources", ())]
            return
        known = {k: base for base in reversed(classes) for k in vars(base)}
        for k in ("getstate", "get_state", "bit_generator"):  # a generator of random numbers
            if k not in known or _package(known[k]) not in ("random", "_random", "numpy", "torch"):
                continue
            state = getattr(x, k)
            self.generators.append(state if callable(state) else partial(getattr, state, "state"))
        mine = getattr(x, "__dict__", {})
        self.look_up(f"{name}.", mine, self.attributes & {*mine, *known})
        kinds = {k: type(vars(known[k])[k]) for k in self.attributes & known.keys()}
        asked = {k for k, kind in kinds.items() if kind is MemberDescriptorType}
        # Attributes of C types that are a new object at each access say nothing.
        made = sorted(k for k, kind in kinds.items() if kind is GetSetDescriptorType)
        asked |= {k for k, v in zip(made, _asked(x, made), strict=True) if type(v) in _PLAIN}
        if "__getattr__" in known and _is_library(known["__getattr__"]):
            more = sorted(self.attributes - {*mine} - known.keys())
            values = zip(more, _asked(x, more), strict=True)
            asked |= {k for k, value in values if not (value is _MISSING or callable(value))}
        if asked:
            self.watch(partial(_asked, x, sorted(asked)), [f"{name}.{k}" for k in sorted(asked)])
        self.todo += [(name, type(x)), (name, mine.get("__wrapped__"))]  # as of functools.cache


def _picked(namespace: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    return [namespace.get(name, _MISSING) for name in names]


def _asked(x: Any, names: Sequence[str]) -> list[Any]:
    found = []
    for name in names:
        try:
            found.append(getattr(x, name, _MISSING))
        except Exception:  # an object may raise anything
            found.append(_MISSING)
    return found


def _contents(cells: Sequence[Any]) -> list[Any]:
    found = []
    for cell in cells:
        try:
            found.append(cell.cell_contents)
        except ValueError:  # nothing is in it yet
            found.append(_MISSING)
    return found


def _current(variable: ContextVar[Any]) -> list[Any]:
    try:
        return [variable.get()]
    except LookupError:
        return [_MISSING]


def _state(of_generator: Callable[[], Any]) -> bytes:
    try:
        state = of_generator()
    except (
        NotImplementedError
    ):  # the system's generator has no state, and counts as always advanced
        return os.urandom(16)
    if _package(type(state)) != "torch":
        return pickle.dumps(state)
    data = state.numpy().tobytes()
    # Between the numbers and the two flags is memory that torch's CPU generator leaves uninitialized.
    return data[:5016] + data[5040:5044] + data[5052:5053]


def _of_libraries() -> list[Callable[[], Any]]:
    """Functions that return the states of the generators behind Python's, NumPy's and torch's functions."""
    known = {"random": "getstate", "numpy.random": "get_state", "torch": "get_rng_state"}
    # Another thread may be importing one.
    found = (getattr(sys.modules.get(module), k, None) for module, k in known.items())
    return [state for state in found if state is not None]
