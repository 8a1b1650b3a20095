"""Digests of code, data and models, by which the runs of a task are found.

Only what code does counts; comments, docstrings and layout do not.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from functools import partial
from typing import Any

import torch
from torch import nn

from ravine.races.examples import Examples

__all__ = ["code", "fingerprint"]


def fingerprint(*things: Any) -> str:
    """The digest of texts, numbers, examples and models, in this order: 32 hex digits."""
    found = hashlib.sha256()
    for thing in things:
        for piece in _pieces(thing):
            found.update(hashlib.sha256(piece).digest())
    return found.hexdigest()[:32]


def _pieces(thing: Any) -> Any:
    if isinstance(thing, Examples):
        yield from thing.bytes()
    elif isinstance(thing, nn.Module):
        yield str(thing).encode()
        for kind in dict.fromkeys(type(module) for module in thing.modules()):
            yield code(kind).encode()
        for name, x in thing.state_dict().items():
            yield name.encode()
            if isinstance(x, torch.Tensor):
                yield x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    else:
        yield repr(thing).encode()


def code(thing: Any) -> str:
    """The source of a file, a function or a class, without comments, docstrings and layout.

    thing: the bytes of a file, or the object. Installed code is represented by its name.
    """
    if isinstance(thing, bytes):
        return _normal(thing.decode("utf-8", "replace"))
    if isinstance(thing, partial):
        return f"{code(thing.func)} {thing.args} {sorted(thing.keywords.items())}"
    kind = thing if isinstance(thing, type) or inspect.isroutine(thing) else type(thing)
    name = f"{kind.__module__}.{getattr(kind, '__qualname__', kind)}"
    extra = "" if kind is thing else repr(thing) if isinstance(thing, nn.Module) else ""
    if kind.__module__.partition(".")[0] in ("torch", "builtins"):
        return f"{name} {extra}"
    try:
        return f"{_normal(textwrap.dedent(inspect.getsource(kind)))} {extra}"
    except (OSError, TypeError):
        return f"{name} {extra}"


def _normal(text: str) -> str:
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a lambda in the middle of a line
        return text
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
