"""Chooses between the engines: fused kernels where the rule and its arrays allow, eager elsewhere.

The fronts hand over `Work` (engines/eager.py) and how to see their arrays; engines/cpu.py knows
addresses only. Tables are filled once and kept while sizes, dtypes and groups stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ravine.engines.eager import Work, steps
from ravine.engines.graph import Graph
from ravine.rule import RuleError

if TYPE_CHECKING:
    from ravine.engines.cpu import Step

__all__ = ["ENGINES", "Fused", "check_engine", "describe", "insist", "refusal"]

ENGINES = ("auto", "kernel", "eager")
_KEPT = 16  # tables for so many patterns of sizes, dtypes and groups


def check_engine(engine: str, where: str) -> str:
    """The engine, if it is one; a ValueError that says what is accepted if not."""
    if engine not in ENGINES:
        raise ValueError(
            f"{where}: engine={engine!r} is not accepted; engine is one of {', '.join(ENGINES)}"
        )
    return engine


def insist(engine: str, graph: Graph, where: str) -> None:
    """RuleError, beginning with `where`, if a kernel is asked for and the graph cannot be one."""
    if engine == "kernel" and (why := refusal(graph)):
        raise RuleError(f"{where}: engine='kernel' is not possible: {why.partition('; it')[0]}")


def describe(engine: str, graphs: Iterable[Graph], unfit: Iterable[str]) -> str:
    """Which engine steps rules with these graphs, and tensors with these reasons not to fit."""
    if engine == "eager":
        return "eager: asked for"
    whys = {refusal(graph) for graph in graphs} - {""}
    if whys:
        return f"eager: {'; '.join(sorted(whys))}"
    left = Counter(why for why in unfit if why)
    counts = ", ".join(f"{n} tensor{'s' * (n > 1)} ({why})" for why, n in left.items())
    return f"kernel; eager for {counts}" if left else "kernel"


def refusal(graph: Graph) -> str:
    """Why no kernel can be made of the graph here, or nothing."""
    try:
        from ravine.engines.cpu import kernel
    except ImportError:
        return "llvmlite is not installed"
    try:
        kernel(graph)
    except RuleError as error:
        return str(error)
    return ""


@dataclass
class Fused:
    """Steps a front's arrays: by kernels where that is possible, by calling the rule elsewhere.

    address: where an array's first element stands. dtype: its dtype's name ("float32"). unfit: why
    a work's arrays cannot take part in a kernel, or nothing. single: a work whose arrays, if any is
    of half precision, are float32 instead. stochastic: how kernels store half precision. squares:
    let them sum up the squared gradients.
    """

    address: Callable[[Any], int]
    dtype: Callable[[Any], str]
    unfit: Callable[[Work], str]
    single: Callable[[Work], Work]
    stochastic: bool = False
    squares: bool = False
    _bound: dict[Any, Step] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        # Tables hold addresses: a copy makes its own.
        return {**self.__dict__, "_bound": {}}

    def unfits(self, graph: Graph, works: Sequence[Work], engine: str, where: str) -> list[str]:
        """For each work, why no kernel steps it, or nothing.

        Raises RuleError, beginning with `where`, where engine="kernel" is not possible.
        """
        if engine == "eager" or refusal(graph):
            return ["eager"] * len(works)
        whys = [self.unfit(work) for work in works]
        first = next((i for i, why in enumerate(whys) if why), None)
        if first is not None and engine == "kernel":
            raise RuleError(
                f"{where}: engine='kernel' is not possible for a parameter of shape "
                f"{tuple(works[first].p.shape)}: {whys[first]}"
            )
        if first is not None and graph.uses("total"):  # all tensors at once, or none
            return [whys[first]] * len(works)
        return whys

    def take(
        self, graph: Graph, works: Sequence[Work], engine: str, where: str
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """One step. Yields for each work the new p and new state; where a kernel has changed the
        arrays in place, None and the new scalar slots.

        Raises RuleError, beginning with `where`, where engine="kernel" is not possible.
        """
        whys = self.unfits(graph, works, engine, where)
        fit = [work for work, why in zip(works, whys, strict=True) if not why]
        rest = [self.single(work) for work, why in zip(works, whys, strict=True) if why]
        in_place = iter(self.run(graph, fit) if fit else ())
        called = iter(steps(graph.rule, rest))
        for why in whys:
            yield next(called) if why else (None, next(in_place))

    def bind(self, graph: Graph, works: Sequence[Work]) -> tuple[Step, list[int]]:
        """A kernel's tables for arrays of these sizes and dtypes, and for each work its row there.

        The works with the same `hyper` (the same object) and t share a row; rows are numbered as
        they first appear.
        """
        from ravine.engines.cpu import Step, kernel

        kern = kernel(graph, self.squares)
        arrays, dtype = kern.columns[2:], self.dtype
        numbers: dict[tuple[int, int], int] = {}
        rows = [numbers.setdefault((id(w.hyper), w.t), len(numbers)) for w in works]
        sizes = [w.p.size if hasattr(w.p, "ctypes") else w.p.numel() for w in works]
        dtypes = [(dtype(w.p), dtype(w.g), *[dtype(w.state[s]) for s in arrays]) for w in works]
        key = graph, tuple(sizes), tuple(dtypes), tuple(rows)
        step = self._bound.get(key)
        if step is None:
            if len(self._bound) >= _KEPT:
                self._bound.clear()
            step = self._bound[key] = Step(kern, sizes, dtypes, rows, stochastic=self.stochastic)
        return step, rows

    def run(self, graph: Graph, works: Sequence[Work]) -> list[dict[str, float]]:
        """One step for all works, in place; returns each one's new scalar slots.

        Every array of a work must be dense and in the memory layout of its p.
        """
        step, rows = self.bind(graph, works)
        address = self.address
        step.point("p", [address(w.p) for w in works])
        step.point("g", [address(w.g) for w in works])
        for slot in step.columns[2:]:
            step.point(slot, [address(w.state[slot]) for w in works])
        for row, work in dict(zip(reversed(rows), reversed(works), strict=True)).items():
            hyper, t = work.hyper, work.t
            step.set_group(row, [t if name == "t" else hyper[name] for name in step.inputs])
        for slot in step.slots:
            step.set_slot(slot, [work.state[slot] for work in works])
        step.run()
        new = {slot: step.get_slot(slot) for slot in step.slots}
        return [{slot: values[i] for slot, values in new.items()} for i in range(len(works))]
