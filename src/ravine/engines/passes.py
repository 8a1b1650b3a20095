"""The walks of a kernel over the elements: what each one loads, computes, reduces and stores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from ravine.engines.kernel import DTYPES, ELEMENT, LINES, MATRIX, PARTED, PARTIAL, Kernel, Value

__all__ = ["Pass", "delay", "passes", "planned"]

_FEW = 16  # the number of columns up to which pairs are tried


@dataclass(frozen=True)
class Pass:
    """One walk over the elements: what is loaded, computed (in order), reduced and stored.

    sums: reductions to one number. lines: reductions to one number per row or column. vectors: existing
    values for each row or column.
    """

    stage: int
    loads: dict[str, Value]
    values: list[Value]
    scalars: list[Value]
    vectors: list[Value]
    sums: list[Value]
    lines: list[Value]
    stores: dict[str, Value]


def delay(kernel: Kernel) -> None:
    """Move sums over elements to the last pass that is early enough, unless that takes more work.

    Then what a pass loads is in the caches for the next one, and a pass that computes much hides the wait
    for memory. Stages are only ever raised.
    """
    at_first = {v: v.stage for v in kernel.needed}
    behind = {v: v.stage - max((a.stage for a in v.args), default=0) for v in kernel.needed}
    full = {kernel.outputs[c] for c in kernel.full if c in kernel.outputs}
    latest = {v: kernel.last if v in full else kernel.stages - 1 for v in kernel.needed}
    for v in reversed(kernel.needed):
        for a in v.args:
            latest[a] = min(latest[a], latest[v] - behind[v])
    late = {v for v in kernel.needed if v.op in PARTIAL and latest[v] > v.stage}
    if not late:
        return
    before = _work(kernel)
    for v in kernel.needed:
        stage = max((a.stage for a in v.args), default=0) + behind[v]
        v.stage = latest[v] if v in late else stage
    if _work(kernel) > before:
        for v, stage in at_first.items():
            v.stage = stage


def _work(kernel: Kernel) -> tuple[int, int]:
    """The number of columns that the passes move, and of values that they compute for each element."""
    walks = passes(kernel, ["float32"] * len(kernel.columns))
    moved = sum(len(walk.loads) + len(walk.stores) for walk in walks)
    return moved, sum(len(walk.values) for walk in walks)


def passes(kernel: Kernel, dtypes: Sequence[str]) -> list[Pass]:
    """The walks over the elements that move the fewest bytes.

    A new state may be stored in an early pass and loaded in a later one, instead of being computed again
    from its inputs, unless storing would round it.
    """
    size = {c: DTYPES[d] for c, d in zip(kernel.columns, dtypes, strict=True)}
    size = {c: size[c] for c in kernel.full}
    exact = 8 if "float64" in dtypes else 4
    can = [
        c
        for c in kernel.full
        if c in kernel.outputs
        and kernel.outputs[c].stage < kernel.last
        and kernel.outputs[c].level == ELEMENT
        and size[c] == exact
    ]

    def cost(early: Sequence[str]) -> tuple[float, ...]:
        plan = planned(kernel, early)
        if plan is None:
            return (math.inf,)
        moved = sum(size[c] for walk in plan for c in (*walk.loads, *walk.stores))
        return moved, sum(len(walk.values) for walk in plan), -len(early)

    # Start from none and from all of them, and change one or two columns as long as that costs less or
    # stores more early. Trying all subsets of a dozen columns would take seconds.
    moves = [*combinations(can, 1), *(combinations(can, 2) if len(can) <= _FEW else ())]
    found = []
    for start in ((), tuple(can)):
        best, before = (cost(start), start), None
        while best != before:
            before = best
            for move in moves:
                early = tuple(c for c in can if (c in best[1]) != (c in move))
                best = min(best, (cost(early), early))
        found.append(best)
    plan = planned(kernel, min(found)[1])
    assert plan is not None
    return plan


def planned(kernel: Kernel, early: Sequence[str]) -> list[Pass] | None:
    """The walks if the given columns are stored as soon as they are known; None: impossible."""
    stored = {
        c: kernel.outputs[c].stage if c in early else kernel.last
        for c in kernel.full
        if c in kernel.outputs
    }
    result = []
    for stage in range(kernel.last + 1):
        sums = [v for v in kernel.needed if v.op in PARTIAL and v.stage == stage + 1]
        lines = [v for v in kernel.needed if v.op in PARTED and v.stage == stage + 1]
        stores = {
            c: kernel.outputs[c]
            for c, at in stored.items()
            if at == stage and kernel.outputs[c].leaf != c
        }
        again = {kernel.outputs[c]: c for c in early if stored[c] < stage}
        loads: dict[str, Value] = {}
        seen: set[Value] = set()
        stack = [*(v.args[0] for v in (*sums, *lines)), *stores.values()]
        while stack:
            value = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            if value in again:
                loads[again[value]] = value
            elif value.op == "input":
                if stored.get(value.leaf, stage) < stage:
                    return None
                loads[value.leaf] = value
            elif value.level == ELEMENT:
                stack.extend(value.args)
        order = sorted(seen, key=lambda v: v.index)
        scalars = [v for v in order if v.level < MATRIX]
        vectors = [v for v in order if v.level in LINES]
        values = [v for v in order if v.level == ELEMENT and v not in loads.values()]
        loads = {c: loads[c] for c in kernel.columns if c in loads}
        if sums or lines or stores:
            result.append(Pass(stage, loads, values, scalars, vectors, sums, lines, stores))
    return result
