"""Cuts a step into kernels and the operations that a library computes between them.

Kernels compute values in the shape of p, of its rows or of its columns, and single numbers. A library is
called for everything else: products, decompositions, and values in the shape of another matrix.

    cut(graph).turns    # of SOAP: a kernel, matrices turned into the bases, a kernel, turned back, a kernel

If a number known before the step decides between matrices, as in `where(t % k == 0, eigh(m)[1], q)`, there is
a cut for each outcome. It is made when the outcome first occurs, and contains only what is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ravine.arrays import ALONG, KEPT
from ravine.draws import DRAWN
from ravine.engines.graph import REDUCTIONS, STEP, Graph, Node
from ravine.engines.kernel import Kernel
from ravine.engines.lazy import Shape, Shapes
from ravine.engines.lowering import ELEMENTWISE, lower
from ravine.rule import kept

__all__ = ["BLAS", "Cut", "Fused", "Turn", "called", "conditions", "cut", "is_cut"]

BLAS = (
    "newton_schulz",
    "matmul",
    "qr",
    "eigh",
    "cholesky",
    "solve_triangular",
    "inverse_root",
)
"""The expensive operations on matrices."""
_CALLED = (*BLAS, "transpose", "argsort", "take")
_ON_ARRAYS = (*_CALLED, "item", *ALONG, *KEPT, *REDUCTIONS, *DRAWN, "size", "numel", *ELEMENTWISE)
_NUMBERS = {
    "newton_schulz": 1,
    "inverse_root": 1,
    "solve_triangular": 2,
    "argsort": 1,
    "take": 2,
}
"""The index from which the arguments of an operation are numbers, the same for a whole stack."""

# Shapes are determined for two matrices, one wide and one tall, with unique sides.
_PROBES, _RANK = ((1009, 2003), (2003, 1009)), 503


def is_cut(graph: Graph) -> bool:
    """Whether a step calls a library between kernels."""
    return any(graph.uses(op) for op in _CALLED) or any(
        graph.rule.slots[slot].matrix for slot in graph.live
    )


def called(graph: Graph) -> tuple[list[str], list[str]]:
    """The expensive operations on matrices: those of every step, and those that are due only at some."""
    every = {op for op in BLAS if graph.uses(op)}
    least = graph.needed(graph.live_outputs().values(), _undecided(graph))
    always = {n.op for n in least} & every
    return sorted(always), sorted(every - always)


def _undecided(graph: Graph) -> set[int]:
    """The branches that numbers decide between, by index."""
    found = _found(graph)
    deciding = {c.index for c in conditions(graph)}
    wheres = [n for n in found.nodes if n.op == "where" and n.args[0].index in deciding]
    return {x.index for n in wheres for x in n.args[1:]}


@dataclass(frozen=True, eq=False)
class Turn:
    """A kernel, and what a library computes from its results.

    given: the columns that the kernel writes, and their nodes. calls: what is then computed, in order.
    found: the results that later kernels read, by column.
    """

    kernel: Kernel | None
    given: Mapping[str, Node] = field(default_factory=dict)
    calls: Sequence[Node] = ()
    found: Mapping[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Fused:
    """A product that is added to something in one operation: beta * base + alpha * a b."""

    base: Node
    beta: Sequence[Node]
    product: Node
    alpha: Sequence[Node]
    minus: bool


@dataclass(frozen=True, eq=False)
class Cut:
    """The turns of a step; the last one is only a kernel, which changes p and the state in its shape.

    stores: the slots that a library computes, and their new values. fused: sums with products, by the
    index of the sum. over: what may be overwritten once each call has been made, by the index of the call.
    mine: the calls of `newton_schulz` that may overwrite what they are given. late: slots whose new value
    is the old one, times a number, plus a product, such as Shampoo's sums; where nothing else reads it, it
    is computed in the slot's own memory when everything else is done.
    """

    turns: Sequence[Turn]
    stores: Mapping[str, Node]
    fused: Mapping[int, Fused]
    over: Mapping[int, Sequence[int]]
    mine: frozenset[int]
    late: Mapping[str, Fused]

    @cached_property
    def scalars(self) -> set[str]:
        """The numbers besides hyperparameters that a library is called with: t, slots, signals."""
        numbers = [x for call in self._calls for x in call.args if x.level == STEP]
        numbers += [x for f in self.fused.values() for x in (*f.beta, *f.alpha)]
        return {x.value for n in numbers for x in n.graph.needed([n]) if x.op == "scalar"}

    @cached_property
    def alone(self) -> bool:
        """Whether calls are the same whichever tensors are stepped, since each has a place in the stacks."""
        return not (self.stores or self.late) and all(x.op == "newton_schulz" for x in self._calls)

    @cached_property
    def without_r(self) -> set[int]:
        """The decompositions of which only the first part is used."""
        items = [x for x in self._calls if x.op == "item"]
        second = {x.args[0].index for x in items if x.args[1].value}
        return {x.args[0].index for x in items if x.args[0].op == "qr"} - second

    @cached_property
    def draws(self) -> bool:
        """Whether a library draws random numbers."""
        return any(x.op in DRAWN for x in self._calls)

    @property
    def _calls(self) -> list[Node]:
        return [x for turn in self.turns for x in turn.calls]


def conditions(graph: Graph) -> list[Node]:
    """The numbers, known before a step, that decide between matrices."""

    def find() -> list[Node]:
        if not is_cut(graph):
            return []
        found = _found(graph)
        wheres = [n for n in found.nodes if n.op == "where" and found.may_be_decided(n)]
        deciding = {
            n.args[0].index: n.args[0]
            for n in wheres
            if n.args[0].level == STEP
            and n.args[0].op != "constant"
            and any(map(found.is_called, graph.needed(n.args[1:])))
        }
        return [*deciding.values()]

    return kept(graph, "conditions", find)


def cut(
    graph: Graph,
    decided: Mapping[int, bool] | None = None,
    squares: bool = False,
    zero: bool = False,
    spread: bool = False,
) -> Cut:
    """The turns of a step. Raises KernelError where one of the kernels is not possible.

    decided: the outcomes of conditions, by index. squares: whether the last kernel sums up the squares of the
    gradients. zero: whether it fills them with zeros. spread: whether the kernels may step parts of tensors
    that are sharded over processes.
    """
    decided = decided or {}
    key = ("cut", tuple(decided.items()), squares, zero, spread)
    return kept(graph, key, lambda: _Cutting(_decided(graph, decided), squares, zero, spread).cut())


def _decided(graph: Graph, how: Mapping[int, bool]) -> Graph:
    """The graph without the branches that are not taken."""
    if not how:
        return graph
    found, known = _found(graph), dict[int, Node]()
    for node in graph.needed(graph.live_outputs().values()):
        if node.op == "where" and node.args[0].index in how and found.may_be_decided(node):
            known[node.index] = known[node.args[1 if how[node.args[0].index] else 2].index]
            continue
        args = [known[a.index] for a in node.args]
        same = all(a is b for a, b in zip(args, node.args, strict=True))
        known[node.index] = node if same else graph.add(node.op, *args)
    outputs = {k: known.get(x.index, x) for k, x in graph.outputs.items()}
    names = {known[i].index: name for i, name in graph.names.items() if i in known}
    return replace(graph, outputs=outputs, names={**graph.names, **names})


def _found(graph: Graph) -> _Kinds:
    return kept(graph, "kinds", lambda: _Kinds(graph))


class _Kinds:
    """The shapes of nodes relative to that of p."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.needed(graph.live_outputs().values())
        self._shapes = [Shapes(_given(graph, probe)) for probe in _PROBES]
        self._known: dict[int, str | None] = {}

    def of(self, node: Node) -> str | None:
        """The shape: "p", "row" (one number per row), "column", "number" or "other"; None if invalid."""
        if node.index not in self._known:
            kinds = {
                _kind(shapes.of(node), probe)
                for shapes, probe in zip(self._shapes, _PROBES, strict=True)
            }
            self._known[node.index] = None if None in kinds else kinds.pop()
            if kinds and None not in kinds:
                self._known[node.index] = "other"
        return self._known[node.index]

    def fits(self, product: Node) -> bool:
        """Whether the shapes of two factors are compatible."""
        pairs = [[shapes.of(x) or () for x in product.args] for shapes in self._shapes]
        return all(len(a) == len(b) == 2 and a[1] == b[0] for a, b in pairs)

    def axes(self, node: Node) -> int:
        """The number of axes."""
        return len(self._shapes[0].of(node) or ())

    def same(self, *nodes: Node) -> bool:
        """Whether all are of one shape."""
        return all(len({shapes.of(x) for x in nodes}) == 1 for shapes in self._shapes)

    def may_be_decided(self, where: Node) -> bool:
        """Whether one branch can replace a `where`: both have the shape of the result."""
        return self.same(where, *where.args[1:])

    def is_called(self, node: Node) -> bool:
        """Whether no kernel can compute it."""
        if not node.args:
            return self.of(node) in (None, "other")
        if node.op in (*_CALLED, "item"):
            return True
        return node.level != STEP and any(self.of(x) in (None, "other") for x in (node, *node.args))


def _given(graph: Graph, probe: Shape) -> dict[str, Shape]:
    slots = graph.rule.slots
    shapes = dict.fromkeys(("p", "g", *graph.given), probe)
    shapes |= {s: () for s in graph.given if graph.rule.signals[s].scalar}
    for name in graph.live:
        ranks = {slots[name].rank: _RANK} if isinstance(slots[name].rank, str) else {}
        shapes[name] = slots[name].shape(probe, **ranks)  # type: ignore[arg-type]
    return shapes


def _kind(shape: Shape | None, p: Shape) -> str | None:
    rows, columns = p
    names = {p: "p", (rows, 1): "row", (1, columns): "column", (): "number"}
    return None if shape is None else names.get(shape, "other")


class _Cutting:
    """Cuts a graph."""

    def __init__(self, graph: Graph, squares: bool, zero: bool, spread: bool) -> None:
        self.graph, self.squares, self.zero, self.spread = graph, squares, zero, spread
        self.kinds = _found(graph)
        self.of_two = (
            False  # whether axes are counted from the front, so that there may be two only
        )
        self.in_kernels: dict[int, Node] = {}
        self.by_library: dict[int, Node] = {}
        self.given: dict[int, Node] = {}
        self.found: dict[int, Node] = {}
        self._after: dict[tuple[int, bool], int] = {}

    def cut(self) -> Cut:
        """The turns."""
        outputs = self.graph.live_outputs()
        slots = self.graph.rule.slots
        matrices = {k: x for k, x in outputs.items() if k != "p" and slots[k].matrix}
        self._follow((x, name in matrices) for name, x in outputs.items())
        for name, x in matrices.items():
            slot = self.graph.slot(name)
            if not self.kinds.same(x, slot):
                self._refuse(f"the new {name}", "which has another shape than the old one")
        calls = [self.by_library[i] for i in sorted(self.by_library)]
        fused, inside = self._fused([x for x in calls if x.args], matrices.values())
        calls = [x for x in calls if x.args and x.index not in inside]
        late = self._late(fused, calls, matrices)
        calls = [x for x in calls if not any(x is matrices[slot] for slot in late)]
        calls.sort(key=lambda x: (self._turn(x, True), x.index))  # as they are made
        last = 1 + max((self._turn(x, True) for x in calls), default=-1)
        turns = [self._made(i, calls) for i in range(last)]
        found = self._columns(last)
        kernel = lower(self.graph, self.squares, self.spread, found=found, zero=self.zero)
        turns.append(Turn(self._checked(kernel)))
        stores = {
            k: x for k, x in matrices.items() if k not in late and x is not self.graph.slot(k)
        }
        uses = [x.index for n in calls for x in n.args]
        uses += [x.index for x in (*self.found.values(), *stores.values())]
        mine = [x for x in calls if x.op == "newton_schulz" and uses.count(x.args[0].index) == 1]
        alone = frozenset(x.index for x in mine if x.args[0].args)
        return Cut(turns, stores, fused, self._over(calls, fused, stores, late), alone, late)

    def _follow(self, roots: Iterable[tuple[Node, bool]]) -> None:
        """Find out where everything is computed. roots: outputs, with whether a library needs them."""
        todo = [*roots]
        while todo:
            node, by_library = todo.pop()
            if node.level == STEP:
                continue
            if self.kinds.of(node) is None:
                self._refuse(node.op, "whose arrays have shapes that do not fit")
            is_called = self.kinds.is_called(node)
            if is_called and not by_library and self.kinds.of(node) == "other":
                self._refuse(node.op, "which gives a matrix in another shape than that of p")
            if not by_library:
                mine = self.found if is_called else self.in_kernels
                if node.index not in mine:
                    mine[node.index] = node
                    todo += [(node, True)] if is_called else [(x, False) for x in node.args]
            elif is_called or self.kinds.of(node) != "p":
                if node.index not in self.by_library:
                    self._check(node)
                    self.by_library[node.index] = node
                    todo += [(x, True) for x in node.args]
            elif node.index not in self.given:
                self.given[node.index] = node
                todo.append((node, False))

    def _check(self, node: Node) -> None:
        """Raise KernelError for operations that a library is not called for."""
        if not node.args:
            return
        if node.op not in _ON_ARRAYS or node.op in ("total", "stored"):
            self._refuse(node.op, "of a matrix that is not in the shape of p")
        for x in node.args[_NUMBERS.get(node.op, len(node.args)) :]:
            leaves = [n for n in node.graph.needed([x]) if not n.args]
            for leaf in leaves:
                if leaf.op not in ("constant", "hyperparameter"):
                    self._refuse(node.op, f"whose numbers depend on {leaf.value}")
        if node.op == "matmul" and not self.kinds.fits(node):
            self._refuse("matmul", "of matrices whose sides do not fit")
        if any(self.kinds.axes(x) == 1 for x in node.args):
            self.of_two = (
                True  # of a batch, such as one of eigenvalues, would meet others elsewhere
            )
        axis = {**dict.fromkeys((*ALONG, *KEPT, "size", "argsort"), 1), "take": 2}.get(node.op)
        if axis is None:
            return
        where = int(node.args[axis].value)
        if not -2 <= where <= 1 or (self.kinds.axes(node.args[0]) != 2 and where != -1):
            self._refuse(f"axis {where}", "which a matrix does not have")
        self.of_two = self.of_two or where >= 0 or node.op in KEPT

    def _refuse(self, op: str, why: str) -> None:
        Kernel(self.graph).refuse(op, why)

    def _turn(self, node: Node, by_library: bool) -> int:
        """The number of turns after which a value exists; for a library, that of the kernel before it."""
        key = (node.index, by_library)
        if key not in self._after:
            self._after[key] = 0
            if by_library and node.index in self.given and node.index not in self.by_library:
                found = self._turn(node, False)
            else:
                found = max(
                    (
                        self._turn(x, True) + 1
                        if not by_library and self.kinds.is_called(x)
                        else self._turn(x, by_library)
                        for x in node.args
                        if x.level != STEP
                    ),
                    default=0,
                )
            self._after[key] = found
        return self._after[key]

    def _columns(self, turn: int) -> dict[int, tuple[str, str]]:
        """The columns that a kernel may read, by node, and their contents."""
        names = {i: f"_found{k}" for k, i in enumerate(sorted(self.found))}
        return {
            i: (names[i], str(self.kinds.of(x)))
            for i, x in self.found.items()
            if self._turn(x, True) < turn
        }

    def _made(self, number: int, calls: Sequence[Node]) -> Turn:
        columns = {f"_given{k}": self.given[i] for k, i in enumerate(sorted(self.given))}
        given = {c: x for c, x in columns.items() if self._turn(x, False) == number}
        its = [x for x in calls if self._turn(x, True) == number]
        results = {c: self.found[i] for i, (c, _) in self._columns(number + 1).items()}
        results = {c: x for c, x in results.items() if self._turn(x, True) == number}
        kernel = None
        if given:
            found = self._columns(number)
            kernel = self._checked(
                lower(self.graph, spread=self.spread, outputs=given, found=found)
            )
        return Turn(kernel, given, its, results)

    def _checked(self, kernel: Kernel) -> Kernel:
        if self.of_two:
            kernel.views.add("matrix")
        return kernel

    def _fused(
        self, calls: Sequence[Node], outputs: Iterable[Node]
    ) -> tuple[dict[int, Fused], set[int]]:
        """Sums with products, and the nodes that are computed only for them."""
        users: dict[int, int] = {}
        for node in calls:
            for x in {a.index for a in node.args}:
                users[x] = users.get(x, 0) + 1
        for node in (*outputs, *self.found.values()):
            users[node.index] = users.get(node.index, 0) + 1
        fused, inside = dict[int, Fused](), set[int]()
        for node in calls:
            if node.op not in ("add", "sub"):
                continue
            for i, x in enumerate(node.args):
                other = node.args[1 - i]
                if not self.kinds.same(x, other) or (node.op == "sub" and not i):
                    continue
                alpha, product, within = _scaled(x)
                if product.op != "matmul" or any(users.get(n.index, 0) > 1 for n in within):
                    continue
                beta, base, around = _scaled(other)
                if any(users.get(n.index, 0) > 1 for n in around[:-1]) or base.index in inside:
                    continue
                fused[node.index] = Fused(base, beta, product, alpha, node.op == "sub")
                inside |= {n.index for n in (*within, *around[:-1])}
                break
        return fused, inside

    def _late(
        self, fused: Mapping[int, Fused], calls: Sequence[Node], new: Mapping[str, Node]
    ) -> dict[str, Fused]:
        """How each slot that is computed in place is computed."""
        read = {x.index for n in calls for x in n.args} | {*self.found}
        return {
            slot: fused[x.index]
            for slot, x in new.items()
            if x.index in fused
            and fused[x.index].base is self.graph.slot(slot)
            and x.index not in read
            and sum(y is x for y in new.values()) == 1
            and not any(y is self.graph.slot(slot) for y in new.values())
        }

    def _over(
        self,
        calls: Sequence[Node],
        fused: Mapping[int, Fused],
        stores: Mapping[str, Node],
        late: Mapping[str, Fused],
    ) -> dict[int, list[int]]:
        """The values that may be overwritten after each call; if one has views, when all are done."""
        base: dict[int, int] = {}
        last: dict[int, int] = {}
        kept_on = {x.index for x in (*self.found.values(), *stores.values())}
        kept_on |= {x.index for f in late.values() for x in f.product.args}
        for node in calls:
            if node.op in ("transpose", "item", "newton_schulz"):
                base[node.index] = base.get(node.args[0].index, node.args[0].index)
            f = fused.get(node.index)
            args = (f.base, *f.product.args) if f else node.args
            for x in args:
                last[base.get(x.index, x.index)] = node.index
        kept_on |= {base[i] for i in kept_on if i in base}
        over: dict[int, list[int]] = {}
        for i, at in last.items():
            if i not in kept_on:
                over.setdefault(at, []).append(i)
        return over


def _scaled(node: Node) -> tuple[list[Node], Node, list[Node]]:
    """The factors of a value, the value itself, and the nodes between."""
    numbers, way = [], [node]
    while node.op == "mul" and any(x.level == STEP for x in node.args):
        number, node = sorted(node.args, key=lambda x: x.level)
        numbers.append(number)
        way.append(node)
    return numbers, node, way
