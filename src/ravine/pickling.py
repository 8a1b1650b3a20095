"""How rules, and the classes made from them, are pickled: by name, or by the way they were made.

A rule that a module defines under its name is pickled as "module:name", or "path/to/file.py:name", and
unpickling gives the same rule. Any other rule, such as `l2(adam)`, is rebuilt from its parts.
Pickle stores functions by name, so a rule made of a lambda, or inside a function, is refused. cloudpickle
and dill store whole functions, so they take these, and the rules of `__main__`, as well.
"""

from __future__ import annotations

import copyreg
import importlib
import pickle
import sys
from abc import ABCMeta
from collections.abc import Callable
from functools import reduce
from types import FunctionType
from typing import Any
from weakref import WeakValueDictionary

from ravine.rule import Rule

__all__ = ["Derived", "recipe"]

_OWN_FILE = "ravine_file_"


class Derived(ABCMeta):
    """The metaclass of classes made from rules; see :func:`recipe`."""


_classes: WeakValueDictionary[Any, type] = WeakValueDictionary()


def recipe(cls: type, make: Callable[[Rule, str], type], rule: Rule, name: str) -> None:
    """Pickle a class as the result of `make(rule, name)`, unless it can be found under its own name."""
    cls._recipe = make, rule, name  # type: ignore[attr-defined]
    _classes[cls.__module__, make, rule, name] = cls


def _reduce_class(cls: Any) -> Any:
    found = _attribute(sys.modules.get(cls.__module__), cls.__qualname__)
    if found is cls or "_recipe" not in vars(cls):
        return cls.__qualname__
    return _class_again, (cls.__module__, *cls._recipe)


def _class_again(module: str, *made: Any) -> type:
    cls = _classes.get((module, *made))
    if cls is None:
        make, *given = made
        cls = _classes[(module, *made)] = make(*given)
        cls.__module__ = module
    return cls


def _reduce_rule(made: Rule) -> Any:
    whole, place = _takes_functions_whole(), _place(made)
    if place and not (whole and place[0] in ("__main__", "__mp_main__")):
        return _at, place
    if not whole:
        for part in made.origin:
            if (
                isinstance(part, FunctionType)
                and _named(part.__module__, part.__qualname__) is not part
            ):
                raise pickle.PicklingError(
                    f"rule {made.name!r} cannot be pickled: {part.__module__}.{part.__qualname__} is not "
                    "found there under its name; pickle needs a rule to be defined in a module, as a "
                    "function written with def (cloudpickle does not)"
                )
    return _again, made.origin


def _again(*origin: Any) -> Rule:
    make, *given = origin
    return make(*given)


def _at(place: str, name: str) -> Rule:
    from ravine import files

    try:
        module = files.load(place) if files.is_file(place) else importlib.import_module(place)
        found = _attribute(module, name)
        why = f"it is {found!r} there" if found is not None else "it is not there"
    except (ImportError, LookupError) as error:
        found, why = None, str(error)
    if not isinstance(found, Rule):
        raise pickle.UnpicklingError(
            f"rule {name!r} was pickled as {place}:{name}, and {why}; a rule for several programs must "
            "be in a module that all of them can import"
        )
    return found


def _place(made: Rule) -> tuple[str, str] | None:
    """The module or file that contains a rule, and its name there."""
    source = made.sources[-1]
    places = [(source.__module__, source.__qualname__), (source.__module__, made.name)]
    for module, name in [*places, *((module, made.name) for module in [*sys.modules])]:
        if _named(module, name) is made:
            file = str(getattr(sys.modules[module], "__file__", ""))
            return (file if module.startswith(_OWN_FILE) else module), name
    return None


def _named(module: str, name: str) -> Any:
    return _attribute(sys.modules.get(module), name)


def _attribute(module: Any, name: str) -> Any:
    """The object under a name in a module, with dots for one in a class; or None."""
    first, *rest = name.split(".")
    found = getattr(module, "__dict__", {}).get(first)  # without calling a module's `__getattr__`
    return reduce(lambda x, k: getattr(x, k, None), rest, found)


def _takes_functions_whole() -> bool:
    """Whether cloudpickle, a copy of it in another package, or dill is pickling."""
    frame: Any = sys._getframe(2)
    while frame and frame.f_globals.get("__name__") == "pickle":
        frame = frame.f_back
    names = str(frame.f_globals.get("__name__")).split(".") if frame else []
    return "cloudpickle" in names or "dill" in names


copyreg.pickle(Rule, _reduce_rule)  # type: ignore[arg-type]
copyreg.pickle(Derived, _reduce_class)  # type: ignore[arg-type]
