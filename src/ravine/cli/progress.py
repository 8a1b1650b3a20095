"""The progress bar of races and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ravine.cli.terminal import err

__all__ = ["progress"]


def progress(name: str, specs: Sequence[Any]) -> Iterable[Any]:
    """Pass the units of work through, with a bar on the terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TextColumn("{task.fields[doing]}"), console=err
    ) as bar:
        task = bar.add_task(name, total=len(specs), doing="")
        for spec in specs:
            stream = spec.get("seed", spec.get("stream"))
            seed = f" seed {stream}" if isinstance(stream, int) else ""
            about = (spec.get(key) for key in ("problem", "columns", "form", "unit", "optimizer"))
            bar.update(task, doing=" ".join(str(word) for word in about if word) + seed)
            yield spec
            bar.advance(task)
        bar.update(task, doing="")
