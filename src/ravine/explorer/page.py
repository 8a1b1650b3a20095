"""Assembles the page: template, style, scripts and data, in one file that needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from ravine.explorer.diamonds import rows
from ravine.explorer.sources import besides, families, sources

__all__ = ["LIMIT", "State", "build", "bundle", "fragment"]

LIMIT = 300_000
"""The maximum size of a page in bytes."""

State = Mapping[str, Any]
"""What a page shows at first, by the names in view/state.js: land, knobs, values, start, ..."""


def build(rule: str = "adam", state: State | None = None) -> str:
    """The page.

    rule: a rule of Ravine's, or a stack such as "cautious(adamw)". state: what else the page shows at
    first, as in `{"land": "saddle", "values": {"lr": 0.1}, "start": [-9, 1]}`; "source" is the text of a
    rule to put in the editor. The page's address takes precedence over both.
    """
    data = {
        "state": {"rule": rule, **(state or {})},
        "sources": sources(*besides(rule)),
        "rules": families(),
        "faults": json.loads(_file("faults.json")),
        "diamonds": rows(),
    }
    parts = {
        "style": re.sub(r"\n\s+", "\n", _file("style.css")),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "script": bundle().replace("</script", "<\\/script"),
    }
    return re.sub(
        r"/\*(style|data|script)\*/", lambda found: parts[found[1]], _file("template.html")
    )


def fragment(state: State) -> str:
    """The fragment of the address of a page in a state, as view/state.js reads it."""
    words: list[tuple[str, Any]] = []
    for name, value in state.items():
        if isinstance(value, Mapping):
            prefix = {"values": "", "knobs": "k."}[name]
            words += [(f"{prefix}{k}", _written(v)) for k, v in value.items()]
        else:
            words.append((name, _written(value)))
    return urlencode(words, safe="(),:*/")


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return ",".join(map(_written, value))
    return str(value)


@cache
def bundle(entry: str = "view/main.js") -> str:
    """The ES modules that a module imports, and itself, as one script, each in a separate function."""
    done: dict[str, str] = {}
    _collect(entry, done, ())
    return '"use strict";\n' + "\n".join(done.values())


_IMPORT = re.compile(r'^import\s+(\{[^}]*\}|\* as \w+)\s+from\s+"([^"]+)";[ \t]*\n', re.M)
_EXPORT = re.compile(r"^export\s+((?:async\s+)?(?:function\*?|class|const|let)\s+([\w$]+))", re.M)
_LISTED = re.compile(r'^export\s+\{([^}]*)\}(?:\s+from\s+"([^"]+)")?;[ \t]*\n?', re.M)
_COMMENT = re.compile(r"^[ \t]*//.*\n", re.M)


def _collect(path: str, done: dict[str, str], above: tuple[str, ...]) -> None:
    if path in done:
        return
    if path in above:
        raise ValueError(f"modules import each other in a circle: {' → '.join((*above, path))}")
    text = _file(path)
    for other in _imported(text):
        _collect(_joined(path, other), done, (*above, path))
    names: list[str] = []

    def imported(found: re.Match[str]) -> str:
        what, module = found[1], _name(_joined(path, found[2]))
        if what.startswith("*"):
            return f"const {what.removeprefix('* as ')} = {module};\n"
        return f"const {re.sub(r' as ', ': ', what)} = {module};\n"

    def declared(found: re.Match[str]) -> str:
        names.append(found[2])
        return found[1]

    def listed(found: re.Match[str]) -> str:
        for word in filter(None, (word.strip() for word in found[1].split(","))):
            inner, _, outer = word.partition(" as ")
            value = f"{_name(_joined(path, found[2]))}.{inner}" if found[2] else inner
            names.append(f"{outer or inner}: {value}" if outer or found[2] else inner)
        return ""

    text = _IMPORT.sub(imported, text)
    text = _LISTED.sub(listed, _EXPORT.sub(declared, text))
    text = re.sub(r"\n\s+", "\n", _COMMENT.sub("", text)).strip()
    if left := re.search(r"^(import|export)\b.*", text, re.M):
        raise ValueError(f"{path}: cannot bundle {left[0]!r}")
    done[path] = f"const {_name(path)} = (() => {{\n{text}\nreturn {{{', '.join(names)}}};\n}})();"


def _imported(text: str) -> Iterator[str]:
    yield from (found[2] for found in _IMPORT.finditer(text))
    yield from (found[2] for found in _LISTED.finditer(text) if found[2])


def _joined(path: str, other: str) -> str:
    """The path of the module that the one at `path` imports as `other`."""
    parts = path.split("/")[:-1]
    for part in other.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _name(path: str) -> str:
    return "$" + re.sub(r"\W", "_", path.removesuffix(".js"))


def _file(name: str) -> str:
    return files("ravine.explorer").joinpath(*name.split("/")).read_text("utf-8")
