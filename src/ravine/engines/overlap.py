"""Which of the arrays that a step reads and writes have memory in common."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Span", "sharing"]

Span = tuple[int, int]
"""The addresses between which an array's elements are: the first byte, and the one after the last."""


def sharing(
    read: Sequence[Sequence[Span]], written: Sequence[Sequence[Span]]
) -> tuple[list[int], set[int]]:
    """Which members of a step have memory in common, of which at least one writes it.

    read, written: for each member, where the arrays are that it only reads, and that it writes.

    Returns for each member the wave that it is stepped in, such that those of one wave can be stepped
    at the same time: a member is in a later wave than those before it that it shares memory with.
    Then the members that write where they themselves read or write something else.
    """
    found = [
        (*span, i, writes)
        for members, writes in ((read, False), (written, True))
        for i, spans in enumerate(members)
        for span in spans
        if span[0] < span[1]
    ]
    before: dict[int, set[int]] = {}  # for a member, earlier ones that it shares memory with
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
