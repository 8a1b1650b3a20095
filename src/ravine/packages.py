"""The rules that other packages offer, through entry points of the group "ravine.rules".

An entry point names a module, all of whose rules are offered, or one rule. Each is loaded separately,
so a fault in one does not affect the others.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ravine.rule import Rule

if TYPE_CHECKING:  # a fifth of what importing ravine would take
    from importlib.metadata import Distribution, EntryPoint

__all__ = ["Package", "normal", "offers", "packages"]

GROUP = "ravine.rules"
OFFERS = "offers rules to Ravine"


@dataclass
class Package:
    """A distribution that offers rules: its name, version, rules and faults."""

    name: str
    version: str
    rules: dict[str, Rule] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def packages() -> list[Package]:
    """Every installed package that offers rules, or fails to, in order of name."""
    found: dict[str, Package | None] = {}
    for installed in _distributions():
        key = normal(_folder(installed)[0])
        if key not in found:  # the first on sys.path is the one that is imported
            found[key] = _package(installed)
    offering = [package for package in found.values() if package]
    return sorted(offering, key=lambda package: normal(package.name))


def normal(name: str) -> str:
    """A distribution's name as packaging compares it."""
    return re.sub(r"[-_.]+", "-", name).casefold()


def _distributions() -> Iterator[Distribution]:
    from importlib.metadata import distributions

    try:
        yield from distributions()
    except Exception:  # a finder that fails: keep what came before it
        return


def _package(installed: Distribution) -> Package | None:
    """What a distribution offers; None if it offers nothing."""
    try:
        entries = [entry for entry in installed.entry_points if entry.group == GROUP]
        if not entries:
            return None
        package = Package(*_called(installed))
    except Exception as error:
        if not _mentions(installed):
            return None  # broken, but none of our business
        package = Package(*_called(installed))
        package.wrong.append(f"its entry points cannot be read ({type(error).__name__}: {error})")
        return package
    for entry in entries:
        try:
            rules, said = _rules(entry)
        except Exception as error:
            package.wrong.append(f"its entry point {entry.name!r} is left out: {error}")
            continue
        package.wrong += said
        for rule in rules:
            if package.rules.setdefault(rule.name, rule) is not rule:
                package.wrong.append(
                    f"it has two rules called {rule.name!r}, of which the first is taken"
                )
    return package


def _mentions(installed: Distribution) -> bool:
    try:
        return GROUP in (installed.read_text("entry_points.txt") or "")
    except Exception:
        return False


def _called(installed: Distribution) -> tuple[str, str]:
    """Name and version; if the metadata are damaged, from the folder's name."""
    name, version = _folder(installed)
    try:
        metadata = installed.metadata
        return metadata["Name"] or name, metadata["Version"] or version
    except Exception:
        return name, version


def _folder(installed: Distribution) -> tuple[str, str]:
    """Name and version from the name of the metadata folder, "name-1.0.dist-info"."""
    path = getattr(installed, "_path", None)
    if path is None:
        return str(installed.metadata["Name"]), ""
    name, _, rest = str(path.name).partition("-")
    return name, rest.rpartition(".")[0]


def _rules(entry: EntryPoint) -> tuple[list[Rule], list[str]]:
    """The rules that an entry point names, and the warnings issued while it was imported.

    Raises LookupError, which says what is wrong with it.
    """
    try:
        with warnings.catch_warnings(record=True) as given:
            if any(action == "error" for action, *_ in warnings.filters):
                warnings.simplefilter("always")  # a warning is no reason to leave it out
            value: Any = _loaded(entry)
        said = [
            f"its import warns: {w.category.__name__}: {w.message}"
            for w in given
            if OFFERS not in str(w.message)  # it has looked up a rule while it was imported
        ]
        if isinstance(value, Rule):
            return [value], said
        if isinstance(value, ModuleType):
            found = [x for x in vars(value).values() if issubclass(type(x), Rule)]
            if not found:
                said.append(f"there is no rule in {entry.value}")
            return [
                rule for i, rule in enumerate(found) if all(rule is not x for x in found[:i])
            ], said
    except KeyboardInterrupt:
        raise
    except (
        BaseException
    ) as error:  # sys.exit and a test runner's skip are not subclasses of Exception
        from ravine.files import failure

        raise failure(entry.value, error) from error
    raise LookupError(f"{entry.value} is a {type(value).__name__}, not a module and not a rule")


def _loaded(entry: EntryPoint) -> Any:
    """What an entry point names. Entries that its import removes from sys.path are restored."""
    if not entry.pattern.match(entry.value):
        raise ValueError("not of the form module:name, or module")
    places = [*sys.path]
    try:
        return entry.load()
    finally:
        sys.path += [place for place in places if place not in sys.path]


def offers(name: str) -> bool:
    """Whether a package of that name is installed and has entry points for rules."""
    from importlib.metadata import distribution

    try:
        return any(entry.group == GROUP for entry in distribution(name).entry_points)
    except Exception:  # no such package, or one whose metadata cannot be read
        return False
