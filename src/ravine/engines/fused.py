"""Chooses between the engines: fused kernels if the rule and its arrays allow them, otherwise eager.

The fronts pass `Work` (engines/eager.py) and functions that describe their arrays; engines/cpu.py knows
only addresses.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ravine.engines import devices
from ravine.engines.devices import Place
from ravine.engines.eager import Work, plan
from ravine.engines.graph import Graph
from ravine.engines.tracing import ways
from ravine.extras import without
from ravine.rule import RuleError, kept

if TYPE_CHECKING:
    from ravine.engines.cpu import Step
    from ravine.engines.kernel import Kernel
    from ravine.engines.owned import Owners
    from ravine.engines.stacks import Library
    from ravine.engines.turns import Turns

__all__ = [
    "ACROSS",
    "ENGINES",
    "bind",
    "by_lines",
    "check_engine",
    "check_seed",
    "describe",
    "insist",
    "joined",
    "misshapen",
    "refusal",
    "unfits",
]

_FEW = 10  # kernels for what a rule reads, one after another
ENGINES = ("auto", "kernel", "eager")
ACROSS = "a total over tensors of different dimensions"
"""Why no kernel steps the tensors of graphs that are `joined`."""


def check_engine(engine: str, where: str) -> str:
    """The engine, if it is one; a ValueError that says what is accepted if not."""
    if engine not in ENGINES:
        raise ValueError(
            f"{where}: engine={engine!r} is invalid; engine must be one of {', '.join(ENGINES)}"
        )
    return engine


def check_seed(seed: Any, where: str) -> int:
    """The seed, if it is a whole number; a ValueError that says so if not."""
    if isinstance(seed, bool) or not hasattr(type(seed), "__index__"):
        raise ValueError(f"{where}: seed={seed!r} is invalid; seed must be a whole number")
    return operator.index(seed)


def insist(engine: str, graph: Graph, where: str) -> None:
    """RuleError, beginning with `where`, if a kernel is asked for and the graph cannot be one."""
    why = next(filter(None, map(refusal, _ways(graph))), "") if engine == "kernel" else ""
    if why:
        raise RuleError(f"{where}: engine='kernel' is not possible: {why.partition('; it')[0]}")


def _ways(graph: Graph) -> list[Graph]:
    """The graph, and those of steps that are given other signals."""
    rule, values = graph.rule, graph.values
    if not rule.signals:
        return [graph]
    return kept(
        graph,
        "ways",
        lambda: [plan(rule, values, way.given, graph.ndim) for way in ways(rule, values)],
    )


def describe(engine: str, graphs: Iterable[Graph], unfit: Iterable[str]) -> str:
    """Which engine steps rules with these graphs, and tensors with these reasons not to fit."""
    if engine == "eager":
        return "eager: asked for"
    every = [way for graph in dict.fromkeys(graphs) for way in _ways(graph)]
    whys = {way: refusal(way) or _restless(engine, way) for way in every}
    if any(whys.values()):
        several = not all(whys.values()) and any(way.rule.signals for way in every)
        texts = {
            f"at steps with {' and '.join(way.given) or 'no signal'}, {why}" if several else why
            for way, why in whys.items()
            if why
        }
        return f"eager: {'; '.join(sorted(texts))}"
    kernel = _with_blas(every)
    left = Counter(why for why in unfit if why)
    counts = ", ".join(f"{n} tensor{'s' * (n > 1)} ({why})" for why, n in left.items())
    return f"{kernel}; eager for {counts}" if left else kernel


def _with_blas(graphs: Iterable[Graph]) -> str:
    """The kernel, and the operations that a library is called for."""
    from ravine.engines.cutting import called, is_cut

    if not any(map(is_cut, graphs := [*graphs])):
        return "kernel"
    pairs = [called(graph) for graph in graphs]
    always = sorted({op for its, _ in pairs for op in its})
    due = sorted({op for _, its in pairs for op in its} - {*always})
    parts = [", ".join(always), f"when due: {', '.join(due)}" if due else ""]
    return f"kernel, matrices by BLAS: {'; '.join(filter(None, parts))}"


def refusal(graph: Graph) -> str:
    """Why no kernel can be made of the graph here, or nothing."""
    try:
        import ravine.engines.cpu  # which needs llvmlite
        from ravine.engines.cutting import cut, is_cut
    except ImportError as error:
        return without("llvmlite", error)

    def why() -> str:
        try:
            (cut if is_cut(graph) else ravine.engines.cpu.kernel)(graph)
        except RuleError as error:
            return str(error)
        return ""

    return kept(graph, "refusal", why)


def joined(graphs: Iterable[Graph]) -> dict[Graph, Graph]:
    """Map each graph to the one its tensors are stepped with, where a rule looks at all tensors at once
    but has a graph for each number of dimensions. Their tensors are stepped in one call, without a kernel.
    """
    alike: list[list[Graph]] = []
    for graph in (g for g in dict.fromkeys(graphs) if g.by_ndim):
        for its in alike:
            decided = its[0].switches
            if its[0].rule is graph.rule and all(
                on is decided.get(name, on) for name, on in graph.switches.items()
            ):
                its.append(graph)
                break
        else:
            alike.append([graph])
    at_once = [(its, [g for g in its if g.at_once]) for its in alike if len(its) > 1]
    return {graph: found[0] for its, found in at_once if found for graph in its}


def by_lines(graph: Graph) -> Kernel | None:
    """The kernel of a graph that has something for each row or each column; None for other graphs."""

    def find() -> Kernel | None:
        if refusal(graph):
            return None
        from ravine.engines.cpu import kernel
        from ravine.engines.cutting import cut, is_cut

        found = cut(graph).turns[-1].kernel if is_cut(graph) else kernel(graph)
        return found if found is not None and found.by_lines else None

    return kept(graph, "by lines", find)


def misshapen(kernel: Kernel, work: Work) -> str:
    """Why a work is not of matrices as a kernel with rows and columns sees them, or nothing."""
    if kernel.matrices(work.p.shape) is None:
        return f"of {work.p.ndim} dimensions"
    matrices = [slot for slot in work.state if kernel.graph.rule.slots[slot].matrix]
    for slot in (*kernel.short, *matrices):
        x, like = work.state.get(slot), kernel.graph.rule.shape(slot, work.p.shape, **work.hyper)
        if x is not None and tuple(x.shape) != like:
            return f"state of shape {tuple(x.shape)}"
    return ""


def _restless(engine: str, graph: Graph) -> str:
    """Why it is not worth a new kernel each time that something which the rule reads has changed."""
    reads = graph.reads
    if engine != "auto" or reads is None or reads.number <= _FEW:
        return ""
    return (
        f"rule {graph.rule.name!r} reads {', '.join(reads.moved)}, which has changed {reads.number} "
        "times; as a hyperparameter it may"
    )


def unfits(
    graph: Graph,
    works: Sequence[Work],
    unfit: Callable[[Work], str],
    engine: str,
    where: str,
) -> list[str]:
    """For each work, why no kernel steps it, or nothing.

    unfit: why a work's arrays cannot take part in a kernel, or nothing. Raises RuleError, beginning
    with `where`, where engine="kernel" is not possible.
    """
    if engine == "eager" or refusal(graph) or _restless(engine, graph):
        return ["eager"] * len(works)
    whys = [unfit(work) for work in works]
    first = next((i for i, why in enumerate(whys) if why), None)
    if first is not None and engine == "kernel":
        raise RuleError(
            f"{where}: engine='kernel' is not possible for a parameter of shape "
            f"{tuple(works[first].p.shape)}: {whys[first]}"
        )
    if first is not None and graph.uses("total"):  # all tensors at once, or none
        return [whys[first]] * len(works)
    return whys


def bind(
    graph: Graph,
    works: Sequence[Work],
    dtype: Callable[[Any], str],
    rows: Sequence[int],
    library: Library,
    *,
    squares: bool = False,
    zero: bool = False,
    wholes: Sequence[Sequence[int]] | None = None,
    owners: Owners | None = None,
    place: Place | None = None,
    **how: Any,
) -> Step | Turns:
    """A kernel's tables for arrays of these sizes and dtypes, with the hyperparameters of the works.

    dtype: an array's dtype by name ("float32"). rows: for each work, the row of its hyperparameters;
    works with other values have other rows. library: makes the arrays that matrix
    operations are called with. squares: let the kernel sum up the squared
    gradients. zero: let it fill the gradients with zeros. wholes: where arrays are parts of arrays that
    are spread over processes, the shapes that these have, so that the processes can put their sums
    together. owners: the processes between which whole matrices are then divided. place: the device of the
    arrays, if it is not the CPU. how: as of
    :class:`ravine.engines.cpu.Step`.
    """
    from ravine.engines.cpu import Step, kernel
    from ravine.engines.cutting import is_cut
    from ravine.engines.owned import Owned
    from ravine.engines.turns import Turns

    step: Step | Turns
    if is_cut(graph):
        named = [{"p": w.p, "g": w.g, **w.signals, **w.state} for w in works]
        slots = [slot for slot in graph.live if graph.rule.slots[slot].matrix]
        parts: list[tuple[int, ...]] = [tuple(w.p.shape) for w in works]
        made: Callable[..., Turns] = Turns
        if wholes is not None:
            made, how = Owned, {**how, "parts": parts, "owners": owners}
        step = made(
            graph,
            parts if wholes is None else [tuple(shape) for shape in wholes],
            [{k: dtype(x) for k, x in xs.items() if hasattr(x, "dtype")} for xs in named],
            [{slot: tuple(w.state[slot].shape) for slot in slots} for w in works],
            rows,
            library,
            squares=squares,
            zero=zero,
            place=place,
            **how,
        )
    else:
        kern = kernel(graph, squares, wholes is not None, zero)
        if kern.by_lines:
            how["matrices"] = [kern.matrices(w.p.shape) for w in works]
        if wholes is not None:
            how["wholes"] = [
                kern.matrices(shape) if kern.by_lines else (1, 1, prod(shape)) for shape in wholes
            ]
        sizes = [w.p.size if hasattr(w.p, "ctypes") else w.p.numel() for w in works]
        dtypes = [
            tuple(map(dtype, [w.p, w.g, *(w.signals[k] for k in kern.signals)]))
            + tuple(dtype(w.state[slot]) for slot in kern.arrays)
            for w in works
        ]
        if place is None:
            step = Step(kern, sizes, dtypes, rows, **how)
        else:
            step = devices.bound(place, kern, sizes, dtypes, rows, **how)
    for row, work in dict(zip(rows, works, strict=True)).items():
        step.set_group(row, [work.hyper[name] for name in step.inputs])
    return step
