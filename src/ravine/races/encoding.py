"""The format of results: JSON with NaN and infinities, a checksum in front, a name from the content."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["decoded", "encoded", "name", "parsed", "result", "to_json", "unspelt"]


def name(depends: Mapping[str, Any]) -> str:
    """The name under which a result is stored: 16 hex digits, a hash of what it depends on."""
    return hashlib.sha256(_text(depends).encode()).hexdigest()[:16]


def to_json(value: Any) -> str:
    """JSON text; NaN and infinities, which JSON lacks, become strings, which every reader keeps."""
    many = isinstance(value, list) and len(value) > 1000
    return json.dumps(_spell(value), indent=None if many else 1)


def _text(depends: Any) -> str:
    return json.dumps(_spell(depends), sort_keys=True)


def encoded(record: Mapping[str, Any]) -> bytes:
    """The contents of a result's file: JSON, with a checksum of all other lines in the first line."""
    body = json.dumps(_spell(record)).removeprefix("{").encode()
    return _head(body) + body


def _head(body: bytes) -> bytes:
    return b'{"sha256": "%s",\n' % hashlib.sha256(body).hexdigest().encode()


def decoded(data: bytes) -> Any:
    """The record in a result's file. Raises ValueError if the file is damaged."""
    return unspelt(parsed(data))


def parsed(data: bytes) -> Any:
    """Like :func:`decoded`, but NaN and infinities remain strings."""
    if not data:
        raise ValueError("it is empty")
    body = data.partition(b"\n")[2]
    if data != _head(body) + body:
        raise ValueError("its contents do not match its checksum")
    return json.loads(b"{" + body)


def result(data: bytes, depends: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The environment of a result, and the result, from its file.

    Raises ValueError if the file is damaged, or contains something else.
    """
    record = decoded(data)
    if _text(record["depends"]) != _text(depends):
        raise ValueError("it holds another run")
    return record["made"], record["result"]


_NUMBERS = {int, float}
_SPELT = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def _spell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _spell(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        plain = {*map(type, value)} <= _NUMBERS and math.isfinite(sum(value))
        return value if plain else [_spell(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return json.dumps(value)
    return value


def unspelt(value: Any) -> Any:
    """The value of JSON text, with its strings for NaN and infinities as numbers."""
    if isinstance(value, dict):
        return {k: unspelt(v) for k, v in value.items()}
    if isinstance(value, list):
        return value if {*map(type, value)} <= _NUMBERS else [unspelt(v) for v in value]
    return _SPELT.get(value, value) if isinstance(value, str) else value
