"""Standard output and error that tolerate a closed reader, or an encoding that lacks a character."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

__all__ = ["spelt", "streams"]

_ASCII = {
    "—": "-",
    "–": "-",
    "−": "-",
    "─": "-",
    "━": "-",
    "│": "|",
    "…": "...",
    "×": "x",
    "µ": "u",
    "✓": "+",
    "✗": "x",
    "·": "*",
    "≤": "<=",
    "≥": ">=",
    "√": "sqrt ",
    "∞": "inf",
    "’": "'",
    "“": '"',
    "”": '"',
    "°": " degrees",
    "→": "->",
    "‖": "||",
    "⌊": "floor(",
    "⌋": ")",
    "′": "'",
    "″": "''",
    "‴": "'''",
    "∇": "grad ",
}


def spelt(character: str) -> str:
    """A character in ASCII: theta for θ, and a question mark if there is no equivalent."""
    if character in _ASCII:
        return _ASCII[character]
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    name = unicodedata.name(unicodedata.normalize("NFKD", character)[:1], "")
    if plain or not name:
        return plain or "?"
    if name.startswith("GREEK"):
        letter = name.split()[3] if len(name.split()) > 3 else "?"
        return letter.capitalize() if "CAPITAL" in name else letter.lower()
    return "+" if name.startswith("BOX DRAWINGS") else "?"


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(spelt, error.object[error.start : error.end])), error.end


codecs.register_error("ravine.spell", _spell)


class _Stream:
    """A stream whose reader may close it: from then on, output is discarded."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self.leave()
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self.leave()

    def leave(self) -> None:
        """Discard what is buffered, and everything that follows."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def streams() -> Iterator[None]:
    """Replace sys.stdout and sys.stderr by such streams."""
    ours: list[Any] = []
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # the parent process has closed it
            stream = open(os.devnull, "w")  # noqa: SIM115
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="ravine.spell")
        ours.append(_Stream(stream))
    with redirect_stdout(ours[0]), redirect_stderr(ours[1]):
        try:
            yield
        finally:
            for stream in ours:
                try:
                    stream.flush()
                except OSError:  # as on a full disk; otherwise Python would try again and report it
                    stream.leave()
