"""The graph of a rule: it is called with symbols, and what it computes is kept.

Each node stands on one of three levels. Step: scalars, known on the host before the step (t, the
hyperparameters, and what depends on them alone). Tensor: the results of reductions. Element: one
value per element of the parameter. Nodes are shared: the same operation on the same arguments is
the same node.

`if` is allowed on switches only: a bool, a hyperparameter whose zero means off, or `ndim(p)`. It is
decided while tracing, and the graph remembers which switches were involved. A bool never changes; a
number may change from step to step, and with it what is computed. So the state to keep depends on
everything that numbers may decide. Signals, which only some steps receive, are None or not while
tracing: a rule has a graph for each set of them that a step may receive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ravine import hyperparameters, ops
from ravine.arithmetic import real
from ravine.arrays import ALONG, KEPT, REDUCED
from ravine.draws import DRAWN
from ravine.parts import part_names
from ravine.reads import Reads
from ravine.rule import Rule, RuleError
from ravine.sources import line_of
from ravine.watching import watch

__all__ = [
    "DIMENSIONS",
    "ELEMENT",
    "MATRIX",
    "REDUCTIONS",
    "STEP",
    "TENSOR",
    "Graph",
    "Node",
    "fill",
    "line",
]

STEP, TENSOR, ELEMENT = 0, 1, 2
MATRIX = 2
"""The number of dimensions that p is assumed to have by default."""
DIMENSIONS = range(6)
"""Those that a rule is tried with; the weight of a convolution in space has five."""
REDUCTIONS = (*REDUCED, "total")
OF_ARRAYS = (
    "matmul",
    "transpose",
    "qr",
    "eigh",
    "cholesky",
    "solve_triangular",
    "inverse_root",
    "newton_schulz",
    "argsort",
    "take",
    *ALONG,
    "size",
)
"""Operations that do not exist for numbers: they depend on the rows and columns of a matrix."""
FACTS = ("size", "numel", "epsilon")
"""What a rule may ask about a tensor besides its elements."""
PAIRS = ("qr", "eigh")
_LEAVES = ("input", "scalar", "hyperparameter", "constant")


class Node(ops.Operable):
    """One value in a graph: a leaf (input, scalar, hyperparameter, constant) or an operation."""

    __slots__ = ("args", "graph", "index", "level", "op", "value")

    def __init__(
        self, graph: Graph, index: int, op: str, args: tuple[Any, ...], level: int, value: Any
    ):
        self.graph, self.index, self.op, self.args = graph, index, op, args
        self.level = level
        self.value = value  # a leaf's name, or a constant's number

    if TYPE_CHECKING:  # Operable has them at run time

        def __add__(self, other: Any) -> Node: ...
        def __neg__(self) -> Node: ...

        __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __add__
        __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __add__

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        """A new node of the same graph; one for each result if the operation has two."""
        if name == "ndim":
            return self.graph.dimensions(self)
        node = self.graph.add(name, *args)
        return tuple(self.graph.add("item", node, i) for i in (0, 1)) if name in PAIRS else node

    def _in_place(self, _: Any) -> Any:
        raise RuleError(
            "an in-place operation would change the caller's array; write v = v + g instead of v += g"
        )

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = __imod__ = __imatmul__ = _in_place

    def _no_power(self, _: Any) -> Any:
        raise RuleError("^ is not a power in Python; write **")

    __xor__ = __rxor__ = _no_power

    def __bool__(self) -> bool:
        if self.op == "hyperparameter":
            return self.graph.decide(self.value)
        if not self.args and self.value in self.graph.given:
            raise RuleError(
                f"`if` (or and, or, not) on the value of the signal {self.value}; to ask whether a step is "
                f"given it, write `if {self.value} is not None`"
            )
        raise RuleError(
            f"`if` (or and, or, not) on {self.describe()}, which has no value while the rule is traced; "
            "write where(condition, x, y)"
        )

    def describe(self) -> str:
        """A description of the node for error messages."""
        if self.op in ("input", "scalar"):
            return f"the value of {self.value}"
        level = {STEP: "a value of this step", TENSOR: "a reduction", ELEMENT: "an array"}[
            self.level
        ]
        return f"{level} ({self.op})"

    def _refuse(self, what: str) -> Any:
        raise RuleError(
            f"{what} needs numbers, but {self.describe()} is only a symbol while the rule is traced; use "
            "only operators and ravine.ops"
        )

    def __float__(self) -> float:
        return self._refuse("float() or a function of math")

    def __int__(self) -> int:
        return self._refuse("int()")

    def __index__(self) -> int:
        return self._refuse("range() or indexing")

    def __iter__(self) -> Iterator[Any]:
        return self._refuse("a loop over elements")

    def __getitem__(self, _: Any) -> Any:
        return self._refuse("indexing")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuleError(f".{name} is not part of the rule language; use operators and ravine.ops")

    def __repr__(self) -> str:
        return f"<{self.op} {self.value}>" if self.op in _LEAVES else f"<{self.op}>"


@dataclass(eq=False)
class Graph:
    """What a rule computes in one step.

    nodes: in an order in which each comes after its arguments. outputs: the new value of p and of
    each slot. names: what the rule's source calls the intermediate values. switches: the
    hyperparameters that an `if` was decided on, and how; those in `forced` as it says, the others
    by their values. given: the signals that the step is given. ndim: how many dimensions p has.
    by_ndim: whether the rule asked for that. live: the slots to be stored, see
    :func:`ravine.engines.tracing.trace`. reads: what the rule read besides its arguments; the graph
    holds as long as that does.
    """

    rule: Rule
    values: Mapping[str, Any]
    given: tuple[str, ...] = ()
    forced: Mapping[str, bool] = field(default_factory=dict)
    ndim: int = MATRIX
    by_ndim: bool = False
    nodes: list[Node] = field(default_factory=list)
    outputs: dict[str, Node] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    live: tuple[str, ...] = ()
    reads: Reads | None = None
    _index: dict[Any, Node] = field(default_factory=dict)

    def leaf(self, op: str, value: Any, level: int = STEP) -> Node:
        """The leaf of that kind and name (or number)."""
        return self._node(op, (), level, value)

    def add(self, op: str, *args: Any) -> Node:
        """The node for an operation; numbers among the arguments become constants."""
        nodes = tuple(self.lifted(x) for x in args)
        if op in DRAWN and nodes[0].level != ELEMENT:
            raise RuleError(
                f"{op} draws as many numbers as an array has, such as p, and got {nodes[0].describe()}"
            )
        of_tensor = op in (*REDUCTIONS, *FACTS)
        level = TENSOR if of_tensor else max(x.level for x in nodes)
        return self._node(op, nodes, level, None)

    def lifted(self, x: Any) -> Node:
        """A node unchanged, and a number as a constant."""
        if isinstance(x, Node):
            return x
        number = hyperparameters.plain(x) if not isinstance(x, bool) else x
        if number is None:
            raise RuleError(
                f"a {type(x).__name__} ({x!r:.60}) in a rule; only numbers can be constants"
            )
        return self.leaf("constant", number if abs(number) < 2**1023 else float(real(number)))

    def _node(self, op: str, args: tuple[Node, ...], level: int, value: Any) -> Node:
        # repr keeps 0.0 and -0.0, 1 and 1.0 and True apart
        key = (op, tuple(a.index for a in args), repr(value))
        if key not in self._index:
            node = Node(self, len(self.nodes), op, args, level, value)
            self._index[key] = node
            self.nodes.append(node)
        return self._index[key]

    def decide(self, switch: str) -> bool:
        """Whether a hyperparameter is on (not zero); records the question."""
        on = self.forced[switch] if switch in self.forced else bool(self.values[switch])
        return self.switches.setdefault(switch, on)

    def dimensions(self, node: Node) -> int:
        """The number of dimensions of a value made of p or g; records the question."""
        as_p: dict[int, bool] = {}
        for x in self.needed([node]):
            eigenvalues = x.op == "item" and x.args[0].op == "eigh" and not x.args[1].value
            as_p[x.index] = (
                x.value in ("p", "g")
                if x.op == "input"
                else x.level == ELEMENT and not eigenvalues and any(as_p[a.index] for a in x.args)
            )
        if not as_p[node.index]:
            raise RuleError(
                f"ndim needs p, g, or an array computed from them, got {node.describe()}"
            )
        self.by_ndim = True
        return self.ndim

    def needed(self, roots: Iterable[Node], known: Collection[int] = ()) -> list[Node]:
        """The nodes that the given ones depend on, themselves included, in order.

        known: the indices of nodes that are left out, with what only they depend on.
        """
        wanted: dict[int, Node] = {}
        stack = list(roots)
        while stack:
            node = stack.pop()
            if node.index not in wanted and node.index not in known:
                wanted[node.index] = node
                stack.extend(node.args)
        return [wanted[i] for i in sorted(wanted)]

    def uses(self, op: str) -> bool:
        """Whether the step contains such an operation."""
        return op in self._operations

    @cached_property
    def common(self) -> dict[str, tuple[str, ...]]:
        """The live shared slots, and the hyperparameters that their new values depend on, totals aside."""
        shared = [slot for slot in self.live if self.rule.slots[slot].shared]
        nodes = {slot: self._beside_totals(self.outputs[slot]) for slot in shared}
        return {
            slot: tuple(n.value for n in its if n.op == "hyperparameter")
            for slot, its in nodes.items()
        }

    @property
    def at_once(self) -> bool:
        """Whether all tensors must be stepped at once, since a step uses all of them."""
        return self.uses("total") or bool(self.common)

    def not_common(self, node: Node) -> str:
        """What a value depends on that differs from tensor to tensor, or nothing."""
        slots = self.rule.slots
        for x in self._beside_totals(node):
            common = x.value in self.given or (x.value in slots and slots[x.value].shared)
            if x.op == "input" or (x.op == "scalar" and not common):
                return x.value
            if x.op in (*REDUCED, *FACTS):
                return f"its {x.op}"
        return ""

    def _beside_totals(self, root: Node) -> list[Node]:
        """The nodes that a value depends on, except through sums over all tensors."""
        seen: dict[int, Node] = {}
        stack = [root]
        while stack:
            node = stack.pop()
            if node.index not in seen:
                seen[node.index] = node
                stack.extend(() if node.op == "total" else node.args)
        return list(seen.values())

    @property
    def of_arrays(self) -> bool:
        """Whether the step works only on arrays, such as matrices, and not on a number."""
        return not self._operations.isdisjoint(OF_ARRAYS)

    @cached_property
    def lazy(self) -> bool:
        """Whether an operation on matrices is needed only at some steps, depending on the step's numbers."""
        ways = [n for n in self.needed(self.live_outputs().values()) if n.op == "where"]
        return any(
            n.args[0].level == STEP and any(x.op in OF_ARRAYS for x in self.needed(n.args[1:]))
            for n in ways
        )

    @property
    def pointwise(self) -> bool:
        """Whether the step of each element is independent of the others and of its position."""
        return self._operations.isdisjoint((*REDUCTIONS, *KEPT, *OF_ARRAYS, *DRAWN))

    @property
    def draws(self) -> bool:
        """Whether the step draws random numbers."""
        return not self._operations.isdisjoint(DRAWN)

    @cached_property
    def _operations(self) -> frozenset[str]:
        return frozenset(n.op for n in self.needed(self.live_outputs().values()))

    def slot(self, name: str) -> Node:
        """The old value of a slot."""
        kind = "scalar" if self.rule.slots[name].kind == "scalar" else "input"
        return self.leaf(kind, name, STEP if kind == "scalar" else ELEMENT)

    def live_outputs(self) -> dict[str, Node]:
        """The new p and the new values of the live slots."""
        return {name: self.outputs[name] for name in ("p", *self.live)}


def fill(graph: Graph) -> None:
    """Call the rule with symbols."""
    rule, values = graph.rule, graph.values
    p, g = graph.leaf("input", "p", ELEMENT), graph.leaf("input", "g", ELEMENT)
    state = [graph.slot(name) for name in rule.slots]
    t = graph.leaf("scalar", "t")
    symbols = _symbols(graph, values)
    for name in graph.given:
        scalar = rule.signals[name].scalar
        symbols[name] = graph.leaf("scalar", name) if scalar else graph.leaf("input", name, ELEMENT)
    with watch(rule) as seen:
        try:
            new_p, new_state = rule.update(p, g, state, t, **symbols)
        except Exception as error:
            place = line(rule, error)
            if isinstance(error, RuleError) and not place:
                raise
            missing = [k for k in rule.signals if k not in graph.given]
            hint = "; use only operators and ravine.ops"
            if missing and "None" in str(error):
                hint = (
                    f"; the step is not given {', '.join(missing)}, so the rule gets None; pass "
                    f"{', '.join(f'{k}=...' for k in missing)} to step, or write "
                    f"`if {missing[0]} is not None` in the rule"
                )
            elif isinstance(error, RuleError):
                hint = ""
            raise RuleError(f"rule {rule.name!r}{place}: {error}{hint}") from error
    for name, value in zip(("p", *rule.slots), (new_p, *new_state), strict=True):
        try:
            graph.outputs[name] = graph.lifted(value)
        except RuleError as error:
            raise RuleError(f"rule {rule.name!r} returns, as new {name}, {error}") from error
        slot = rule.slots.get(name)
        if slot and slot.kind == "scalar" and graph.outputs[name].level == ELEMENT:
            raise RuleError(
                f"rule {rule.name!r}: the new {name} is an array, but {name} is declared a scalar"
            )
        if slot and slot.shared and (why := graph.not_common(graph.outputs[name])):
            raise RuleError(
                f"rule {rule.name!r}: {name} is shared by all tensors, but the new {name} depends on "
                f"{why}, which differs between tensors; use total, or another shared slot"
            )
    inputs = {"p", "g", "t", *rule.slots, *values, *rule.signals}
    for _, local in seen:
        for name, value in _one_by_one(local):
            if isinstance(value, Node) and value.op not in _LEAVES and name not in inputs:
                graph.names.setdefault(value.index, name)
    for name, node in graph.outputs.items():
        if node.op not in _LEAVES:
            graph.names[node.index] = name


def _one_by_one(local: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Local variables, and the parts of tuples among them under separate names."""
    for name, value in local.items():
        if isinstance(value, (tuple, list)):
            yield from zip(part_names(name, len(value)), value, strict=True)
        else:
            yield name, value


def _symbols(graph: Graph, values: Mapping[str, Any]) -> dict[str, Any]:
    """A bool decides at once; other hyperparameters stay symbols."""
    for name, value in values.items():
        if isinstance(value, bool):
            graph.switches[name] = value
    return {
        k: v if isinstance(v, bool) else graph.leaf("hyperparameter", k) for k, v in values.items()
    }


def line(rule: Rule, error: BaseException) -> str:
    """', file.py:12, `if g > 0:`' for the deepest line of the rule's own code in the traceback."""
    codes = {f.__code__: f for f in rule.sources}
    place = ""
    trail = error.__traceback__
    while trail:
        code = trail.tb_frame.f_code
        if code in codes:
            source = line_of(codes[code], trail.tb_lineno).strip()
            file = code.co_filename.rpartition("/")[2]
            place = f", {file}:{trail.tb_lineno}" + (f", `{source}`" if source else "")
        trail = trail.tb_next
    return place
