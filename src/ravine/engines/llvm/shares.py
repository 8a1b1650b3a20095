"""Loops whose turns are shared among the threads of a block on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ravine.engines.llvm.printer import Printer

__all__ = ["share_of", "shared"]


def share_of(
    out: Printer, count: str, thread: str = "%gpu.thread", threads: str | int = "%gpu.threads"
) -> str:
    """How many of the numbers below `count` are `thread` and every `threads`-th after it."""
    turns = out.set("turns", f"add i64 {count}, {threads}")
    turns = out.set("turns", f"sub i64 {turns}, 1")
    turns = out.set("turns", f"sub i64 {turns}, {thread}")
    return out.set("turns", f"udiv i64 {turns}, {threads}")


@contextmanager
def shared(
    out: Printer,
    name: str,
    count: str,
    thread: str = "%gpu.thread",
    threads: str | int = "%gpu.threads",
) -> Iterator[str]:
    """A loop over this thread's share of the numbers below `count`: the number of each turn."""
    with out.loop(name, share_of(out, count, thread, threads)):
        number = out.set("number", f"mul i64 %{name}, {threads}")
        yield out.set("number", f"add i64 {number}, {thread}")
