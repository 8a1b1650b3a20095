"""All runs of a race as one Parquet file, a row each: for DuckDB, Polars, pandas and other readers."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from ravine.races.curves import Curve
from ravine.races.runs import Run

__all__ = ["SCHEMA", "write"]

_AT_ONCE = 10_000  # rows; this many are in memory twice
_MAPPED = ("hyperparameters",)
_LISTS = {
    "curve_steps": pa.list_(pa.int32()),
    "curve_losses": pa.list_(pa.float32()),
    "evaluation_steps": pa.list_(pa.int32()),
    "evaluation_scores": pa.list_(pa.float64()),
}
_COLUMNS = {
    **dict.fromkeys(("name", "problem", "optimizer", "role"), pa.string()),
    **dict.fromkeys(("trial", "seed", "steps", "batch_size"), pa.int32()),
    **dict.fromkeys(("schedule", "task", "rule", "rivals"), pa.string()),
    "hyperparameters": pa.map_(pa.string(), pa.float64()),
    "score_name": pa.string(),
    "lower_is_better": pa.bool_(),
    "target": pa.float64(),
    "parameters": pa.int64(),
    **dict.fromkeys(("score", "descent"), pa.float64()),
    "lost": pa.string(),
    **dict.fromkeys(("lost_at", "stopped_at"), pa.int32()),
    **dict.fromkeys(("steps_to_target", "seconds_to_target", "seconds_per_step"), pa.float64()),
    "memory_per_parameter": pa.float64(),
    **dict.fromkeys(("how", "command", "ravine", "python", "cpu"), pa.string()),
}
_MADE = ("command", "ravine", "python", "cpu")

SCHEMA = pa.schema({**_COLUMNS, **_LISTS})
"""The columns: those of :class:`ravine.races.runs.Run`, what it was made with, and its curves as lists.

`hyperparameters` is a map from names to numbers. Losses are float32; everything else is as it was kept.
"""


def write(runs: Sequence[Run], path: str | Path) -> Path:
    """Write runs to a Parquet file, compressed by Zstandard. Raises OSError that names the file."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with parquet.ParquetWriter(part, SCHEMA, compression="zstd") as file:
            for some in _some(runs):
                file.write_table(_table(some))
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise type(error)(f"{path} cannot be written ({error.strerror or error})") from error
        raise
    return path


def _some(runs: Sequence[Run]) -> Iterator[list[Run]]:
    rest = iter(runs)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def _table(runs: Sequence[Run]) -> pa.Table:
    columns: dict[str, Any] = {}
    for name, kind in _COLUMNS.items():
        values: list[Any] = [
            run.made.get(name) if name in _MADE else getattr(run, name) for run in runs
        ]
        if name in _MAPPED:
            values = [[(k, float(x)) for k, x in its.items()] for its in values]
        columns[name] = pa.array(values, kind)
    losses, scores = ([Curve(getattr(run, k)) for run in runs] for k in ("curve", "evaluations"))
    columns |= {
        "curve_steps": _lists([x.steps for x in losses], np.int32),
        "curve_losses": _lists([x.values for x in losses], np.float32),
        "evaluation_steps": _lists([x.steps for x in scores], np.int32),
        "evaluation_scores": _lists([x.values for x in scores], np.float64),
    }
    return pa.table(columns, SCHEMA)


def _lists(arrays: Sequence[Any], dtype: Any) -> pa.ListArray:
    ends = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    with np.errstate(over="ignore"):  # a loss beyond 3.4e38 is infinite
        values = np.concatenate(arrays).astype(dtype)
    return pa.ListArray.from_arrays(ends, pa.array(values))
