"""The values that a rule's functions name while they run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ravine.arguments import Mark
from ravine.rule import Rule

__all__ = ["watch"]


@contextmanager
def watch(watched: Rule) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Collect what the rule's functions call their intermediate values.

    Yields a list that gets, each time one of the functions returns, its name and its local
    variables, in the order in which they are first assigned; those that inner functions read, last.
    """
    codes = {function.__code__: function.__name__ for function in watched.sources}
    seen: list[tuple[str, dict[str, Any]]] = []

    def on_event(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code in codes:
            values = frame.f_locals
            if any(isinstance(x, Mark) for x in values.values()):
                return  # no step: see ravine/arguments.py
            # Those that a generator in the function reads are listed apart.
            order = dict.fromkeys((*frame.f_code.co_varnames, *frame.f_code.co_cellvars))
            seen.append((codes[frame.f_code], {n: values[n] for n in order if n in values}))

    before: Any = sys.getprofile()
    sys.setprofile(on_event)
    try:
        yield seen
    finally:
        # cProfile shows itself here, and cannot be handed to setprofile
        before.enable() if hasattr(before, "enable") else sys.setprofile(before)
