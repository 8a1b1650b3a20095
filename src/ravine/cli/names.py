"""Names and settings on the command line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any

import typer

from ravine import registry
from ravine.cli.terminal import fail, say
from ravine.extras import lacking
from ravine.naming import setting, split
from ravine.registry import Found
from ravine.rule import Rule

__all__ = [
    "complete",
    "depends",
    "exclusive",
    "find",
    "find_all",
    "given",
    "quiet",
    "require",
    "settings",
]

RUNS_FILE = "FILE:NAME names your own rule, and runs that file."


@contextmanager
def quiet() -> Iterator[None]:
    """What a file or a package prints while it is loaded is not part of the output."""
    with redirect_stdout(sys.stderr):
        yield


def find(name: str) -> Found:
    """The rule of that name; what the name means elsewhere is said."""
    with quiet():
        found = registry.resolve(name)
    if found.note:
        say(found.note)
    return found


def find_all(option: str, names: str) -> list[Found]:
    """The rules of a list with commas. Raises ValueError where one is there twice."""
    found: dict[str, Found] = {}
    for name in split(names):
        each = find(name)
        if each.name in found:
            raise ValueError(f"{option} {names!r} is not accepted; {each.name} is in it twice")
        found[each.name] = each
    return [*found.values()]


def complete(incomplete: str) -> list[str]:
    """The names of rules that begin like this."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [name for name in registry.names() if name.startswith(incomplete)]


More = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME=VALUE...]", help="More settings after --set.")
]


def written(texts: Sequence[str] | None, more: Sequence[str] | None) -> list[str]:
    """The settings after --set, of which there may be several after one."""
    if more and not texts:
        raise ValueError(f"{more[0]!r} is not accepted; write --set {more[0]}")
    return [*(texts or ()), *(more or ())]


def settings(rule: Rule, texts: Sequence[str]) -> tuple[Rule, dict[str, Any]]:
    """NAME=VALUE pairs as hyperparameters, checked; those that are not given have their defaults.

    With the rule, which has as many slots and numbers as tuples among them are long.
    """
    values: dict[str, Any] = {}
    for text in texts:
        try:
            name, value = setting(text, rule.parts.tuples)
        except ValueError as error:
            raise ValueError(f"--set {error}") from None
        if name in values:
            raise ValueError(f"--set {text!r} is not accepted; {name} is set twice")
        values[name] = value
    try:
        rule = rule.fitting(values)
        return rule, rule.check(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


def exclusive(options: Mapping[str, bool]) -> None:
    """Refuse options that ask for different things."""
    asked = [option for option, on in options.items() if on]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked)} ask for different things; give one of them")


def given(context: typer.Context, option: str) -> bool:
    """Whether an option was given, be it with the value that it has by default."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def depends(option: str, present: bool, others: str, on: bool) -> None:
    """Refuse an option that does nothing without, or beside, others."""
    if present and not on:
        raise ValueError(f"{option} does nothing {others}")


def require(*packages: str) -> None:
    """End before anything is done where a package is missing, and say what brings it."""
    for package in packages:
        if missing := lacking(package):
            fail(missing, 1)
