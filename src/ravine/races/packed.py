"""Packed runs: many runs in one file, for races that have more runs than a folder should have files.

A file is an archive of NumPy arrays, which `numpy.load` reads:

    names     of the runs, 16 hex digits each
    records   their records without the curves, as lines of JSON
    grids     the steps of all grids that curves are on, one grid after another; ends: of each
    on        the grids of the two curves of a run, its losses and its evaluations: shape (runs, 2)
    values    the values of all curves, in the order of `on`

A file is complete or absent, and never changes: its name is the hash of its contents.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.lib.npyio import NpzFile

from ravine.races.atomic import write
from ravine.races.curves import Curve

__all__ = ["BROKEN", "SIZE", "Record", "names", "pack", "packs", "unpack"]

SIZE = 1000
"""The maximum number of runs in a file."""

BROKEN = (OSError, ValueError, LookupError, TypeError)
"""The errors that a damaged file raises."""


class Record(NamedTuple):
    """A stored run: its name, its record in JSON's terms, its losses and evaluations."""

    name: str
    fields: dict[str, Any]
    curves: tuple[Curve, Curve]


def packs(folder: Path) -> list[Path]:
    """The files of packed runs in a folder."""
    return sorted(folder.glob("packed/*.npz"))


def pack(folder: Path, records: Sequence[Record]) -> Path:
    """Write records to one file. Raises OSError, naming the file, if that cannot be done."""
    grids: dict[bytes, int] = {}
    curves = [curve for record in records for curve in record.curves]
    on = [grids.setdefault(curve.steps.tobytes(), len(grids)) for curve in curves]
    steps = [np.frombuffer(grid, np.int64) for grid in grids]
    lines = "\n".join(json.dumps(record.fields) for record in records)
    file = io.BytesIO()
    np.savez(
        file,
        names=np.array([record.name for record in records], "S16"),
        records=np.frombuffer(lines.encode(), np.uint8),
        grids=np.concatenate(steps),
        ends=np.cumsum([len(grid) for grid in steps]),
        on=np.array(on).reshape(-1, 2),
        values=np.concatenate([curve.values for curve in curves]),
    )
    data = file.getvalue()
    path = folder / "packed" / f"{_name(data)}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, data)


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _arrays(path: Path) -> NpzFile:
    data = path.read_bytes()
    if _name(data) != path.stem:
        raise ValueError("its contents do not match its name")
    return cast(NpzFile, np.load(io.BytesIO(data)))


def names(path: Path) -> list[str]:
    """The names of the runs in a file. Raises one of `BROKEN` if it is damaged."""
    with _arrays(path) as file:
        return [name.decode() for name in file["names"].tolist()]


def unpack(path: Path) -> Iterator[Record]:
    """The records in a file. Raises one of `BROKEN` if it is damaged."""
    with _arrays(path) as file:
        found = {key: file[key] for key in ("names", "records", "grids", "ends", "on", "values")}
    grids = np.split(found["grids"], found["ends"][:-1])
    lengths = np.array([len(grid) for grid in grids])[found["on"].ravel()]
    values = np.split(found["values"], np.cumsum(lengths)[:-1])
    curves = [
        Curve.of(grids[grid], its)
        for grid, its in zip(found["on"].ravel().tolist(), values, strict=True)
    ]
    lines = found["records"].tobytes().decode().split("\n")
    for i, (name, text) in enumerate(zip(found["names"].tolist(), lines, strict=True)):
        yield Record(name.decode(), json.loads(text), (curves[2 * i], curves[2 * i + 1]))
