"""What is timed: Ravine's ways to take a rule's step, and torch.optim's, on the same parameters.

"kernel" is the fused kernel with as little around it as a front may have, "Ravine" the optimizer
with its default engine, which uses the kernel if there is one, "flat" the same with flatten=True,
and "eager" the one that calls the rule. "torch loop", "foreach" and "fused" are the loops of
torch.optim's class, and "compile" is torch.compile of its step. Ravine's engines are not imported
before a contender is created, so that all of the first call can be timed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch

from ravine import registry
from ravine.engines.tracing import trace
from ravine.rule import Rule
from ravine.rule import rule as as_rule

if TYPE_CHECKING:
    from ravine.engines import kernel as engine

__all__ = [
    "BLOCKS",
    "CONVOLUTIONS",
    "LOOPS",
    "MANY",
    "RAVINES",
    "SHAPES",
    "Kernel",
    "Step",
    "Twin",
    "engines",
    "fitting",
    "has_kernel",
    "in_torch",
    "make",
    "parameters",
    "refresh",
    "roof",
    "rules_of_torch",
    "shapes",
]

Step = Callable[[], Any]

SHAPES = ("scalars", "mlp", "resnet18", "gpt2")
"""Two numbers; a 784-128-64-10 perceptron; ResNet-18; GPT-2 small."""

MANY = "many"
"""700 vectors of 64 numbers: what a step costs for each tensor."""

CONVOLUTIONS = "convolutions"
"""ResNet-18's convolutions as matrices, with a row for each output channel."""

BLOCKS = {"blocks128": 128, "blocks256": 256, "blocks768": 768}
"""Four blocks of a GPT, and their width: for rules that work on matrices."""

RAVINES = ("kernel", "Ravine", "flat", "gram", "eager")
LOOPS = {"torch loop": ("foreach", False), "foreach": ("foreach", True), "fused": ("fused", True)}
"""torch.optim's loops, with the option that selects each, in addition to Ravine's engines."""


def shapes(name: str) -> list[tuple[int, ...]]:
    """The shapes of a model's parameters; name: one of SHAPES, MANY, CONVOLUTIONS or BLOCKS."""
    if name == "scalars":
        return [(), ()]
    if name == "mlp":
        return [(128, 784), (128,), (64, 128), (64,), (10, 64), (10,)]
    if name == "resnet18":
        result: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
        before = 64
        for width in (64, 128, 256, 512):
            for inputs in (before, width):
                result += [(width, inputs, 3, 3), (width,), (width,)]
                result += [(width, width, 3, 3), (width,), (width,)]
                if inputs != width:
                    result += [(width, inputs, 1, 1), (width,), (width,)]
            before = width
        return [*result, (1000, 512), (1000,)]
    if name == "gpt2":
        return [(50257, 768), (1024, 768), *_blocks(768, 12), (768,), (768,)]
    if name == MANY:
        return [(64,)] * 700
    if name == CONVOLUTIONS:
        return [(s[0], math.prod(s[1:])) for s in shapes("resnet18") if len(s) == 4]
    if name in BLOCKS:
        return _blocks(BLOCKS[name], 4)
    known = ", ".join((*SHAPES, MANY, CONVOLUTIONS, *BLOCKS))
    raise ValueError(f"shapes={name!r} is invalid; it must be one of {known}")


def _blocks(d: int, count: int) -> list[tuple[int, ...]]:
    norm: list[tuple[int, ...]] = [(d,), (d,)]
    attention: list[tuple[int, ...]] = [(d, 3 * d), (3 * d,), (d, d), (d,)]
    perceptron: list[tuple[int, ...]] = [(d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    return [*norm, *attention, *norm, *perceptron] * count


def parameters(name: str) -> list[torch.Tensor]:
    """A model's parameters in float32, with gradients, all newly drawn; name: as in :func:`shapes`."""
    params = [torch.empty(shape).requires_grad_() for shape in shapes(name)]
    for p in params:
        p.grad = torch.empty_like(p)
    refresh(params)
    return params


def refresh(params: Sequence[torch.Tensor]) -> None:
    """Draw parameters and gradients again, the same ones each time.

    The gradients then do not change, except that torch's foreach loop for Nesterov's momentum adds to
    them in place. Infinities cost no time. Denormals would, but do not occur.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        for p in params:
            assert p.grad is not None
            p.normal_()
            p.grad.normal_()


# ---- torch.optim ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Twin:
    """A class that torch.optim and ravine.torch both have, by name, and options for it."""

    name: str
    options: Mapping[str, Any]

    @property
    def torchs(self) -> type[torch.optim.Optimizer]:
        """torch.optim's class."""
        return getattr(torch.optim, self.name)

    def knows(self, option: str) -> bool:
        """Whether torch.optim's class has such an option."""
        return option in inspect.signature(self.torchs).parameters

    def composed(self) -> tuple[Rule, dict[str, Any]]:
        """The rule that the options select, and its values. ValueError if they contradict each other."""
        defaults = {k: p.default for k, p in inspect.signature(self.torchs).parameters.items()}
        return _spellings()[self.name].compose({**defaults, **self.options})


@cache
def _spellings() -> dict[str, Any]:
    from ravine import spellings

    found = [x for x in vars(spellings).values() if isinstance(x, spellings.Spelling)]
    # SparseAdam rejects dense gradients, which are used here.
    return {x.name: x for x in found if hasattr(torch.optim, x.name) and x.name != "SparseAdam"}


@cache
def in_torch(rule: Rule) -> Twin | None:
    """torch.optim's class for the rule, found through Ravine's spellings.

    It is the class whose options select exactly the computation of the rule at its defaults or, if
    there is none, one that adds modifiers to the rule, at the class's defaults. None if torch.optim
    does not have the rule.
    """
    values = rule.check()
    wanted = _computation(rule, values)
    for twin in _asking(values):
        try:
            found = _computation(*twin.composed())
        except (TypeError, ValueError):  # options that contradict each other
            continue
        if found == wanted:
            return twin
    for name in _spellings():
        twin = Twin(name, {})
        if twin.composed()[0].sources[-len(rule.sources) :] == rule.sources:
            return twin
    return None


def _asking(values: Mapping[str, Any]) -> Iterator[Twin]:
    """The classes with these values as options, followed by each with one switch turned on."""
    switched = []
    for name in _spellings():
        known = inspect.signature(getattr(torch.optim, name)).parameters
        options = {k: v for k, v in values.items() if k in known}
        if "betas" in known and {"beta1", "beta2"} <= values.keys():
            options["betas"] = (values["beta1"], values["beta2"])
        yield Twin(name, options)
        switches = [k for k, p in known.items() if p.default is False]
        switched += [Twin(name, {**options, switch: True}) for switch in switches]
    yield from switched


def _computation(rule: Rule, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rule's computation for these values, in a form that can be compared."""
    from ravine.engines.eager import plan

    graph = plan(rule, values)
    outputs = graph.live_outputs()
    nodes = graph.needed(outputs.values())
    place = {node.index: i for i, node in enumerate(nodes)}
    result: list[tuple[Any, ...]] = [
        (n.op, *(place[a.index] for a in n.args))
        if n.args
        else (n.op, values[n.value] if n.op == "hyperparameter" else n.value)
        for n in nodes
    ]
    return [*result, *((name, place[node.index]) for name, node in outputs.items())]


def rules_of_torch() -> list[str]:
    """The names of the rules that torch.optim also has."""
    return [name for name, rule in registry.rules().items() if in_torch(rule)]


# ---- contenders ----------------------------------------------------------------------------------


def fitting(twin: Twin | None, params: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The parameters that the class accepts; Muon accepts only matrices."""
    ndim = _spellings()[twin.name].ndim if twin else None
    return [p for p in params if ndim in (None, p.ndim)]


def has_kernel(rule: Rule, twin: Twin | None) -> bool:
    """Whether the rule's step can be a fused kernel."""
    from ravine.engines.eager import plan
    from ravine.engines.fused import refusal

    return not refusal(plan(*composed(rule, twin)))


def composed(rule: Rule, twin: Twin | None) -> tuple[Rule, dict[str, Any]]:
    """The rule that the contenders step, and its hyperparameters."""
    return twin.composed() if twin else (rule, rule.check())


def engines(
    twin: Twin | None, compiled: bool = False, rule: Rule | None = None, flat: bool = False
) -> list[str]:
    """The contenders for a rule: Ravine's, and the loops of torch's class."""
    on_gram = rule is not None and trace(rule).uses("newton_schulz")
    asked = {"gram": on_gram, "flat": flat}
    names = [engine for engine in RAVINES if asked.get(engine, True)]
    if twin:
        # A class without any choice has its one loop.
        names += [k for k, (option, _) in LOOPS.items() if k == "torch loop" or twin.knows(option)]
        names += ["compile"] * compiled
    return names


def _copied(p: torch.Tensor) -> torch.Tensor:
    """A copy of a parameter and its gradient, which no other contender steps."""
    copy = p.detach().clone().requires_grad_()
    copy.grad = None if p.grad is None else p.grad.clone()
    return copy


def make(
    engine: str,
    rule: Rule,
    twin: Twin | None,
    params: Sequence[torch.Tensor],
    owned: bool = False,
) -> Step:
    """A contender's step; its first call creates the state.

    engine: one of :func:`engines`. owned: whether no other contender steps these parameters; if not,
    "flat", which moves them in memory, steps copies. If torch.optim has the rule, the class and options
    of its twin are used. Raises RuleError if a kernel is not possible, ValueError for an engine of
    torch's without a twin, and torch's own error if its class or its compiler fails.
    """
    if engine == "kernel":
        return Kernel(*composed(rule, twin), params)
    if engine in RAVINES:
        import ravine.torch

        cls = getattr(ravine.torch, twin.name) if twin else ravine.torch.optimizer(rule)
        how: dict[str, Any] = {"engine": "eager" if engine == "eager" else "auto"}
        how |= {"gram": engine == "gram", "flatten": engine == "flat"}
        if engine == "flat" and not owned:
            params = [_copied(p) for p in params]
        return cls(params, **how, **(twin.options if twin else {})).step
    if twin is None:
        raise ValueError(f"engine={engine!r}: torch.optim has no class for rule {rule.name!r}")
    options = {**twin.options}
    if engine == "compile":
        torch._logging.set_logs(dynamo=40)  # that it cannot trace the profiler's hooks is known
        return torch.compile(twin.torchs(params, **options).step)
    option, value = LOOPS[engine]
    if twin.knows(option):
        options[option] = value
    return twin.torchs(params, **options).step


class Kernel:
    """A rule's kernels on parameters, with as little around them as a front may have.

    values: the hyperparameters. slot_dtype: the dtype of the state; by default that of the parameters;
    "8bit": 8 bits where possible in parameters of 4,096 elements or more, float32 elsewhere.
    stochastic: whether rounding is stochastic. A call is a step. slots: the number of arrays of state of
    the first kernel. bytes: those that a step reads and writes. There is a kernel for each number of
    dimensions that the rule treats differently.
    """

    def __init__(
        self,
        rule: Rule,
        values: Mapping[str, Any],
        params: Sequence[torch.Tensor],
        slot_dtype: torch.dtype | Literal["8bit"] | None = None,
        stochastic: bool = False,
    ):
        from ravine.engines import cpu
        from ravine.engines.cutting import called, cut, is_cut
        from ravine.engines.eager import plan
        from ravine.engines.kernel import KernelError

        graphs = [plan(rule, values, ndim=p.ndim) for p in params]
        of = {
            graph: [p for p, its in zip(params, graphs, strict=True) if its is graph]
            for graph in graphs
        }
        for graph in of:
            if is_cut(graph):
                cut(graph)  # which says why it is not possible
                always, due = called(graph)
                raise KernelError(
                    f"rule {rule.name!r} alternates between kernels and {(*always, *due)[0]}, so its kernels "
                    "are not timed alone"
                )
        if len(of) > 1:
            for graph in of:
                if graph.at_once:
                    cpu.kernel(graph).refuse("total", "over tensors of different dimensions")
        self.parts = [
            _Part(cpu.kernel(graph), values, its, slot_dtype, stochastic)
            for graph, its in of.items()
        ]
        self.slots = self.parts[0].slots
        self.bytes = sum(part.bytes for part in self.parts)

    def __call__(self) -> None:
        """Take a step."""
        for part in self.parts:
            part.run()


class _Part:
    """A kernel and the parameters that it steps."""

    def __init__(
        self,
        kernel: engine.Kernel,
        values: Mapping[str, Any],
        params: Sequence[torch.Tensor],
        slot_dtype: torch.dtype | Literal["8bit"] | None,
        stochastic: bool,
    ):
        from ravine.engines import cpu
        from ravine.engines.llvm.variant import Variant
        from ravine.engines.narrow import EIGHT_BITS, SMALL, narrow
        from ravine.torch.narrow import empty

        self.params, rule = params, kernel.graph.rule

        def first(slot: str) -> list[Any]:
            return [rule.start(slot, p.detach(), values) for p in params]

        codes = narrow(kernel.graph) if slot_dtype == EIGHT_BITS else {}
        wide = torch.float32 if slot_dtype == EIGHT_BITS else slot_dtype
        self.slots = [
            [
                empty(p, getattr(torch, codes[slot]))
                if slot in codes and p.numel() >= SMALL
                else x.to(wide or x.dtype)
                for p, x in zip(params, first(slot), strict=True)
            ]
            for slot in kernel.arrays
        ]
        numbers = [*map(first, kernel.slots), [0.0] * len(params)]  # and the counts of steps
        tensors = [[torch.tensor(x, dtype=torch.float64) for x in column] for column in numbers]
        self.kept = [*self.slots, *tensors]
        columns = [params, [p.grad for p in params], *self.slots]
        dtypes = [
            [str(x.dtype).removeprefix("torch.") for x in xs] for xs in zip(*columns, strict=True)
        ]
        matrices = [m for p in params if (m := kernel.matrices(p.shape))] if kernel.by_lines else []
        if len(matrices) < len(params) * kernel.by_lines:
            kernel.refuse("rows and columns", "which vectors do not have")
        sizes = [p.numel() for p in params]
        self.bound = cpu.Step(kernel, sizes, dtypes, matrices=matrices, stochastic=stochastic)
        for name, column in zip(self.bound.state, self.kept, strict=True):
            self.bound.point(name, [x.data_ptr() for x in column])
        self.values = [values[name] for name in self.bound.inputs]
        walks = Variant(kernel, tuple(dtypes[0])).passes
        moved = [c for walk in walks for c in (*walk.loads, *walk.stores) if c in kernel.full]
        size = {  # in memory, with the scales of codes
            c: sum(x.nbytes for x in xs if x is not None)
            for c, xs in zip(kernel.columns, columns, strict=True)
        }
        self.bytes = sum(size[c] for c in moved)

    def run(self) -> None:
        """Take a step."""
        self.bound.point("p", [p.data_ptr() for p in self.params])
        self.bound.point("g", [p.grad.data_ptr() for p in self.params])  # type: ignore[union-attr]
        self.bound.set_group(0, self.values)
        self.bound.run(len(self.params))


def roof(slots: int) -> Rule:
    """A rule that reads p, g and a number of slots, writes p and the slots, and only adds."""
    names = [f"slot{i}" for i in range(slots)]
    total = " + ".join(["p", "g", *names])
    new = ", ".join([total, *(f"{name} + g" for name in names)])
    space: dict[str, Any] = {}
    exec(f"def roof({', '.join(['p', 'g', *names])}):\n    return {new}\n", space)
    return as_rule(space["roof"])
