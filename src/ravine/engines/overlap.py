"""Finds arrays that a step reads or writes and that share memory."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Span", "sharing"]

Span = tuple[int, int]
"""The range of an array's addresses: the first byte, and the one after the last."""


def sharing(
    read: Sequence[Sequence[Span]], written: Sequence[Sequence[Span]]
) -> tuple[list[int], set[int]]:
    """Find the members of a step that share memory that at least one of them writes.

    read, written: for each member, the ranges of the arrays that it only reads, and that it writes.

    Returns the wave of each member, such that the members of one wave can be stepped at the same time: a
    member is in a later wave than those before it that it shares memory with. Also returns the members
    that write to memory which they also read or write as another array.
    """
    found = [
        (*span, i, writes)
        for members, writes in ((read, False), (written, True))
        for i, spans in enumerate(members)
        for span in spans
        if span[0] < span[1]
    ]
    before: dict[int, set[int]] = {}  # for each member, the earlier ones that it shares memory with
    alone: set[int] = set()
    begun: list[tuple[int, int, int, bool]] = []
    for one in sorted(found):
        begun = [other for other in begun if other[1] > one[0]]
        for other in begun:
            first, second = sorted((other[2], one[2]))
            if not (other[3] or one[3]):
                continue
            if first == second:
                alone.add(first)
            else:
                before.setdefault(second, set()).add(first)
        begun.append(one)
    waves = [0] * len(written)
    for i in sorted(before):
        waves[i] = 1 + max(waves[j] for j in before[i])
    return waves, alone
