"""Docstrings as Markdown. Ravine's are plain text, so nothing in them may turn into emphasis.

`Prose` is an extension of griffe, which mkdocstrings reads the source with.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence

import griffe

SPECIAL = re.compile(r"[*<$]|(?<![^\W_])_|_(?![^\W_])")  # a_b is no emphasis
CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
ROLE = re.compile(r":(?:func|class|data|mod):`~?([\w.]+)`")
OUTCOME = re.compile(r"(?<=[.)]) +(?=(?:Raises|Returns|Rules?|Further|The (?:class|row))\b)")


def plain(text: str) -> str:
    """Prose as Markdown that shows it verbatim, except for code between backticks."""
    parts = CODE.split(" ".join(text.split()))
    return "".join(part if i % 2 else SPECIAL.sub(_escaped, part) for i, part in enumerate(parts))


def _escaped(character: re.Match[str]) -> str:
    return "&lt;" if character[0] == "<" else f"\\{character[0]}"


def markdown(text: str, names: Iterable[str] = (), link: Callable[[str], str] = str) -> str:
    """A docstring as Markdown.

    names: of arguments or attributes; where the text says "name: what it is", it becomes a list.
    link: finds the full name of an object that the text refers to as :func:`name`.
    """
    text = ROLE.sub(lambda m: f"`{m[1]}`\0{link(m[1])}\0", text)
    blocks = filter(None, re.split(r"\n\s*\n", text.strip("\n")))
    made = []
    for block in blocks:
        if block.startswith(">>>"):
            made.append(f"```pycon\n{block}\n```")
        elif block.startswith(("from ", "import ")):
            made.append(f"```python\n{block}\n```")
        elif all(line.startswith("    ") for line in block.splitlines()):
            made.append(f"```text\n{textwrap.dedent(block)}\n```")
        else:
            made.append(_paragraph(block, list(names)))
    link_to = r'<autoref optional identifier="\2"><code>\1</code></autoref>'  # if it has an entry
    linked = re.sub(r"`([^`]+)`\0([^\0]+)\0", link_to, "\n\n".join(made))
    return linked.replace("```\n\n```text\n", "\n")  # one listing with an empty line in it


def _paragraph(block: str, names: list[str]) -> str:
    """A paragraph, its descriptions of names as a list."""
    text = " ".join(block.split())
    if not names:
        return plain(text)
    name = rf"(?:{'|'.join(map(re.escape, names))})"
    starts = re.compile(rf"(?:^|(?<=[.;)]) )({name}(?:, {name})*(?:\([\w, ]*\))?): ")
    first, *rest = starts.split(text)
    made = [plain(first)] if first.strip() else []
    items, after = [], ""
    for called, what in zip(rest[::2], rest[1::2], strict=True):
        what, *outcome = OUTCOME.split(what, maxsplit=1)
        items.append(f"- `{called}`: {plain(what)}")
        after = after or plain(" ".join(outcome))
    return "\n\n".join(filter(None, [*made, "\n".join(items), after]))


class Prose(griffe.Extension):
    """Has every docstring of the package go through :func:`markdown`."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Rewrite the docstrings, once all names are known."""
        self._rewrite(pkg)

    def _rewrite(self, thing: griffe.Object | griffe.Alias) -> None:
        if isinstance(thing, griffe.Alias):
            return
        if thing.docstring:
            thing.docstring.value = markdown(
                thing.docstring.value, _names(thing), lambda name: _resolve(thing, name)
            )
        for member in thing.members.values():
            self._rewrite(member)


def _names(thing: griffe.Object) -> list[str]:
    """What a docstring may describe: a function's arguments, or a class's with its attributes."""
    if isinstance(thing, griffe.Function):
        return [parameter.name for parameter in thing.parameters]
    if not isinstance(thing, griffe.Class):
        return []
    fields = [name for name, member in thing.members.items() if member.is_attribute]
    init = thing.members.get("__init__")
    return fields + (_names(init) if isinstance(init, griffe.Function) else [])


def _resolve(thing: griffe.Object, name: str) -> str:
    return name if name.startswith("ravine.") else thing.resolve(name)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a column whose name begins with > is set flush right."""
    lines = [
        [column.lstrip(">") for column in columns],
        ["--:" if column.startswith(">") else ":--" for column in columns],
        *([cell.replace("|", r"\|") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
