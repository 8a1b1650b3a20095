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
    """Keep what a file or package prints while it is loaded out of the output."""
    with redirect_stdout(sys.stderr):
        yield


def find(name: str) -> Found:
    """The rule of that name; prints what the name means elsewhere."""
    with quiet():
        found = registry.resolve(name)
    if found.note:
        say(found.note)
    return found


def find_all(option: str, names: str) -> list[Found]:
    """The rules in a comma-separated list. Raises ValueError if one is there twice."""
    found: dict[str, Found] = {}
    for name in split(names):
        each = find(name)
        if each.name in found:
            raise ValueError(f"{option} {names!r} is invalid; {each.name} is listed twice")
        found[each.name] = each
    return [*found.values()]


def complete(incomplete: str) -> list[str]:
    """The names of rules that begin with this."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [name for name in registry.names() if name.startswith(incomplete)]


More = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME=VALUE...]", help="More settings after --set.")
]


def written(texts: Sequence[str] | None, more: Sequence[str] | None) -> list[str]:
    """The settings after --set, one or more after each."""
    if more and not texts:
        raise ValueError(f"{more[0]!r} is invalid; write --set {more[0]}")
    return [*(texts or ()), *(more or ())]


def settings(rule: Rule, texts: Sequence[str]) -> tuple[Rule, dict[str, Any]]:
    """NAME=VALUE pairs as checked hyperparameters, with defaults for the others.

    Returned with the rule, fitted to the lengths of tuples among them.
    """
    values: dict[str, Any] = {}
    for text in texts:
        try:
            name, value = setting(text, rule.parts.tuples)
        except ValueError as error:
            raise ValueError(f"--set {error}") from None
        if name in values:
            raise ValueError(f"--set {text!r} is invalid; {name} is set twice")
        values[name] = value
    try:
        rule = rule.fitting(values)
        return rule, rule.check(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


def exclusive(options: Mapping[str, bool]) -> None:
    """Reject options that contradict each other."""
    asked = [option for option, on in options.items() if on]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked)} ask for different things; give one of them")


def given(context: typer.Context, option: str) -> bool:
    """Whether an option was given, even with its default value."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def depends(option: str, present: bool, others: str, on: bool) -> None:
    """Reject an option that has no effect without others, or together with them."""
    if present and not on:
        raise ValueError(f"{option} does nothing {others}")


def require(*packages: str) -> None:
    """Exit before anything is done if a package is missing, and say how to install it."""
    for package in packages:
        if missing := lacking(package):
            fail(missing, 1)
