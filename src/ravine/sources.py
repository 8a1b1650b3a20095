"""The source of functions: the text that the code which runs was made of.

A file's lines are kept when a rule is made of a function in it, since the file may change. What is
found is compiled again and compared: a text that does not give this code is not shown.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import os
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

__all__ = ["Source", "keep", "line_of", "source_of"]

_lines: WeakKeyDictionary[Any, list[str]] = WeakKeyDictionary()
_FLAGS = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


class Source(NamedTuple):
    """A function's source, from its first decorator on and without indentation.

    definition: its syntax tree, with the text's lines. file: where it stands, if that has changed since.
    """

    text: str
    definition: ast.FunctionDef
    file: str = ""


def keep(function: Any) -> None:
    """Keep the lines of the file that the function, or what its decorators have wrapped, is in."""
    for f in {function, inspect.unwrap(function)}:
        _lines[f] = _now(f)


def source_of(function: Callable[..., Any]) -> Source:
    """The source of a function; where decorators have wrapped it, of what they have wrapped.

    Raises ValueError where it is not to be found (a function typed at a prompt or made by exec), and
    where it is not written with def.
    """
    inner: Any = inspect.unwrap(function)
    name, code = inner.__code__.co_name, inner.__code__
    if name == "<lambda>" or inspect.iscoroutinefunction(inner):
        raise ValueError(f"only a function written with def has a source to show, got {name}")
    now = _now(inner)
    for lines in (_lines.get(inner, now), now):
        found = _found(lines, code)
        if found is not None:
            own = lines[code.co_firstlineno - 1 : found.end_lineno]
            # In a docstring, a comment, or parentheses, lines may begin further out than the function.
            indent = own[0][: len(own[0]) - len(own[0].lstrip())]
            text = "".join(line.removeprefix(indent) for line in own)
            definition = ast.parse(text).body[0]
            assert isinstance(definition, ast.FunctionDef)
            return Source(
                text, definition, "" if lines == now else os.path.basename(code.co_filename)
            )
    file = code.co_filename
    typed = "it was typed at a prompt, or made by exec; put it in a file, and import that"
    # Python 3.13 has lines of "<string>", those of `python -c`, whoever else calls exec.
    changed = now and file != "<string>"
    why = f"{file} has changed since; import it again" if changed else typed
    raise ValueError(f"the source of {name} cannot be found: {why}")


def line_of(function: Any, number: int) -> str:
    """A line of the file that a function is in, as it was when a rule was made of it."""
    lines = _lines.get(function) or _now(function)
    return lines[number - 1] if number <= len(lines) else ""


def _now(function: Any) -> list[str]:
    linecache.checkcache(function.__code__.co_filename)
    return linecache.getlines(function.__code__.co_filename, function.__globals__)


def _found(lines: list[str], code: CodeType) -> ast.FunctionDef | None:
    """The definition in a file of the function with this code."""
    flags = code.co_flags & _FLAGS | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # notebooks have that
    try:
        tree = compile("".join(lines), "", "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        made = compile(tree, "", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    if not any(inner == code for inner in _codes(made)):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(x.lineno for x in node.decorator_list)])
            if first == code.co_firstlineno:
                return node
    return None


def _codes(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes(inner)
