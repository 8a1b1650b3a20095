"""The application: what all commands share, and the exit codes."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import ravine
from ravine.cli.streams import streams
from ravine.cli.terminal import fail, out, say
from ravine.extras import without
from ravine.rule import RuleError

app = typer.Typer(
    help="Gradient optimizers you can read, trust, run and race.",
    epilog="Exit codes: 0 success, 1 failure, 2 invalid input, 130 interrupted, 143 terminated. Races "
    "keep the results they have finished.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; errors that a user can fix are one line, not a traceback."""
    with streams(), _messages():
        try:
            try:
                app(prog_name="ravine")
            finally:
                sys.stdout.flush()
        except (ValueError, TypeError, LookupError) as error:
            if not isinstance(error, RuleError) and type(error) in (
                TypeError,
                IndexError,
                KeyError,
            ):
                raise  # a bug in Ravine: show where
            fail(str(error), 2)
        except OSError as error:
            nameless = error.strerror and not error.filename
            fail(f"the output cannot be written: {error.strerror}" if nameless else str(error), 1)
        except ImportError as error:
            if not error.name:
                raise
            fail(without(error.name, error), 1)


@contextmanager
def _messages() -> Iterator[None]:
    """Show what the library logs, such as the file that it runs, and its warnings, one line each."""
    handler, log = logging.Handler(), logging.getLogger("ravine")
    handler.emit = lambda record: say(record.getMessage())  # type: ignore[method-assign]
    level = log.level
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message, category, filename, lineno, file=None, line=None):  # type: ignore[no-untyped-def]
            if Path(ravine.__file__).parent in Path(filename).parents:
                say(str(message))
            else:
                shown(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"ravine {ravine.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None: ...
