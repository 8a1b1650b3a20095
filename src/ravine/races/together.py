"""Replicas of a model as one program: vmap over stacked parameters, traced once and replayed.

The first batch is traced, forward and backward, for all replicas. From then on the operations of that
trace are replayed, without autograd. Anything that a trace freezes (a branch on data, a counter in
Python) is detected at the second batch, where one replica's gradients are compared with PyTorch's own.
The runs of such a task are computed one by one.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.nn.utils.stateless import _reparametrize_module
from torch.overrides import TorchFunctionMode

from ravine.races.examples import Batch
from ravine.races.task import Task

__all__ = ["CannotBatch", "Together"]

CHECKED, TOLERANCE = 2, 1e-3
"""The number of steps whose gradient is compared with a single model's, and the accepted difference."""

_aten = torch.ops.aten


class CannotBatch(Exception):
    """A task that cannot be computed as one program, with the reason."""


class Together:
    """Two or more replicas of a task: their parameters are one stack, of which each model's are views.

    models: one for each replica; their parameters and buffers are moved into the stacks. Raises
    CannotBatch if they differ in structure.
    """

    def __init__(self, task: Task, models: Sequence[nn.Module]) -> None:
        self.task, self.models = task, models
        self._base, self._reference, self._checked = deepcopy(models[0]), deepcopy(models[0]), 0
        self._trained = [k for k, p in models[0].named_parameters() if p.requires_grad]
        self._stacks = _stacked(models)
        self.trained = [[p for p in m.parameters() if p.requires_grad] for m in models]
        self.gradients: list[Tensor] = []
        self._where: list[tuple[int, int]] = []
        self._replay: Callable[..., list[Tensor]] | None = None
        self._shapes: list[Any] = []

    def losses(self, batch: Batch) -> list[float]:
        """Return the loss of each replica, and set `gradients` to a stack for each trained parameter.

        Raises CannotBatch if the task does not allow it: at the first two batches, or at a batch of
        another shape, as padding produces.
        """
        shapes = [*map(_shape, batch.values() if isinstance(batch, dict) else batch)]
        if self._replay is None:
            self._shapes = shapes
        elif shapes != self._shapes:
            raise CannotBatch("batches differ in their shapes")
        trained = [self._stacks[k] for k in self._trained]
        rest = {k: x for k, x in self._stacks.items() if k not in self._trained}
        if self._replay is None:
            self._replay = self._trace(trained, rest, batch)
        expected = self._checked < CHECKED and self._of_the_reference(batch)
        with torch.no_grad():
            losses, *self.gradients = self._replay(trained, rest, batch)
        self._where = [(g.data_ptr(), g[0].nbytes) for g in self.gradients]
        if expected:
            self._compare(expected)
        return losses.tolist()

    def _trace(self, *arguments: Any) -> Callable[..., list[Tensor]]:
        rest = arguments[1]
        before = {k: x.clone() for k, x in rest.items()}
        state = torch.default_generator.get_state()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # the warning that an operation is batched by a loop
                return _traced(self._gradients, *arguments)
        except Exception as error:
            raise CannotBatch(f"{type(error).__name__}: {error}".splitlines()[0]) from error
        finally:  # tracing has computed what the replay will compute
            for k, x in rest.items():
                x.copy_(before[k])
            torch.default_generator.set_state(state)

    def _of_the_reference(self, batch: Batch) -> list[Tensor]:
        """The gradients of the first replica, as PyTorch computes them."""
        state, model = torch.default_generator.get_state(), self._reference
        with torch.no_grad():
            for name, x in _named(model).items():
                x.copy_(self._stacks[name][0])
        model.zero_grad()
        self.task.losses(model, batch).backward()
        torch.default_generator.set_state(state)
        found = [p for p in model.parameters() if p.requires_grad]
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in found]

    def _compare(self, expected: Sequence[Tensor]) -> None:
        """Raise CannotBatch if the replayed gradients of the first replica differ from these."""
        self._checked += 1
        pairs = list(zip(self.gradients, expected, strict=True))
        gap = sum(float((g[0] - its).double().square().sum()) for g, its in pairs) ** 0.5
        size = sum(float(its.double().square().sum()) for its in expected) ** 0.5
        if gap > TOLERANCE * size:
            raise CannotBatch(
                f"at step {self._checked} its gradient differs from that of a single model (by "
                f"{gap / size if size else gap:.0e}): something in it changes from step to step, or "
                "depends on the data"
            )

    def hand_out(self, replica: int) -> None:
        """Give the parameters of one replica their gradients."""
        for p, g in zip(self.trained[replica], self.gradients, strict=True):
            p.grad = g[replica]

    def addresses(self, replica: int) -> list[int]:
        """The addresses of the gradients of one replica's trained parameters."""
        return [begin + replica * length for begin, length in self._where]

    def _gradients(
        self, trained: list[Tensor], rest: dict[str, Tensor], batch: Batch
    ) -> list[Tensor]:
        leaves = [p.detach().requires_grad_() for p in trained]

        def loss(parameters: dict[str, Tensor], rest: dict[str, Tensor], batch: Batch) -> Tensor:
            every = {**parameters, **rest}
            with _reparametrize_module(self._base, every, tie_weights=True), _PlainBatchNorm():
                return self.task.losses(self._base, batch)

        each = vmap(loss, in_dims=(0, 0, None), randomness="same")
        losses = each(dict(zip(self._trained, leaves, strict=True)), rest, batch)
        gradients = torch.autograd.grad(losses.sum(), leaves, materialize_grads=True)
        return [losses.detach(), *(g.contiguous() for g in gradients)]


class _PlainBatchNorm(TorchFunctionMode):
    """Within this context batches are normalised by single operations, so that replicas do not affect each
    other's bits.

    torch's own kernel walks the channels of all replicas as one row, so a number's rounding depends on
    where in a vector register it ends up.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is functional.batch_norm:
            function = _batch_norm
        return function(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    x = input
    axes, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
    if training or running_mean is None or running_var is None:
        mean = x.mean(axes)
        centred = x - mean.view(shape)
        var = centred.square().mean(axes)
        if training and running_mean is not None and running_var is not None:
            count = x.numel() // x.shape[1]
            running_mean.mul_(1 - momentum).add_(mean.detach() * momentum)
            running_var.mul_(1 - momentum).add_(var.detach() * (momentum * count / (count - 1)))
    else:
        centred, var = x - running_mean.view(shape), running_var
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    y = centred * scale.view(shape)
    return y if bias is None else y + bias.view(shape)


def _stacked(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Stack all parameters and buffers, and make those of the models views of the stacks."""
    every = [_named(model) for model in models]
    if any(found.keys() != every[0].keys() for found in every):
        raise CannotBatch("the models of two seeds differ in their parameters")
    stacks = {}
    for name, first in every[0].items():
        if any(found[name].shape != first.shape for found in every):
            raise CannotBatch(f"{name} has different shapes in different replicas")
        stacks[name] = torch.stack([found[name].detach() for found in every]).contiguous()
        for r, found in enumerate(every):
            found[name].data = stacks[name][r]
    return stacks


def _shape(x: Any) -> Any:
    """The shape of a tensor; anything else as it is, since a trace would freeze it."""
    return x.shape if isinstance(x, Tensor) else x


def _named(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


# ---- tracing -------------------------------------------------------------------------------------


def _traced(function: Callable[..., list[Tensor]], *arguments: Any) -> Callable[..., list[Tensor]]:
    """A function as the operations that it calls, in order, without those that have no effect."""

    def plain(trained: Any, rest: Any, batch: Any) -> list[Tensor]:  # make_fx takes no methods
        return function(trained, rest, batch)

    traced = _tidied(make_fx(plain, tracing_mode="real", _allow_non_fake_inputs=True)(*arguments))

    def replay(*now: Any) -> list[Tensor]:
        return traced(*now)

    replay.graph = traced  # type: ignore[attr-defined]
    return replay


_VIEWS = {
    _aten.detach.default,
    _aten.permute.default,
    _aten.view.default,
    _aten.expand.default,
    _aten._unsafe_view.default,
    _aten.alias.default,
    _aten.clone.default,
    _aten._to_copy.default,
}


def _tidied(traced: GraphModule) -> GraphModule:
    """The trace without operations that have no effect, and with equal ones computed once."""
    graph, changing = traced.graph, _changing(traced.graph)
    for node in [*graph.nodes]:
        if node.op == "call_function" and changing.isdisjoint(node.all_input_nodes):
            _simplified(node)
    graph.eliminate_dead_code(_is_impure)
    seen: dict[Any, Node] = {}
    for node in [*graph.nodes]:
        key = (node.target, str(node.args), str(sorted(node.kwargs.items())))
        pure = node.op == "call_function" and not _is_impure(node)
        if (
            pure
            and changing.isdisjoint(node.all_input_nodes)
            and seen.setdefault(key, node) != node
        ):
            _replace(node, seen[key])
    graph.eliminate_dead_code(_is_impure)
    traced.recompile()
    return traced


def _changing(graph: Graph) -> set[Node]:
    """What an operation writes to, such as the running means of a normalisation, including views."""
    found: set[Node] = set()
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for argument, x in zip(schema.arguments if schema else (), node.args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                found.add(x)
    for node in reversed(graph.nodes):  # the base of a view that is written to
        if node in found and node.target in _VIEWS:
            found.update(node.all_input_nodes)
    for node in graph.nodes:
        if node.target in _VIEWS and not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def _simplified(node: Node) -> None:
    """Replace a node by a cheaper equivalent."""
    x: Any = node.args[0] if node.args else None
    times_one = node.target is _aten.mul.Scalar and node.args[1] == 1
    if (times_one or node.target in _VIEWS) and _layout(node) and _layout(node) == _layout(x):
        _replace(node, x)
    elif _turns(node) and _turns(x):
        _replace(node, x.args[0])
    elif _turns(node) and x.target is _aten.bmm.default and len(x.users) == 1:
        # (A B)ᵀ is Bᵀ Aᵀ, and lies in memory as a gradient should.
        with node.graph.inserting_before(node):
            new = node.graph.call_function(x.target, tuple(_turned(y) for y in reversed(x.args)))
        meta: Any = node.meta["tensor_meta"]
        _, rows, columns = meta.shape
        new.meta = {"tensor_meta": meta._replace(stride=(rows * columns, columns, 1))}
        _replace(node, new)


def _turns(node: Any) -> bool:
    """Whether a node transposes a stack of matrices."""
    if getattr(node, "target", None) is not _aten.transpose.int:
        return False
    return {x % 3 for x in node.args[1:]} == {1, 2} and len(_layout(node)[0]) == 3


def _turned(node: Any) -> Any:
    if _turns(node):
        return node.args[0]
    return node.graph.call_function(_aten.transpose.int, (node, 1, 2))


def _replace(node: Node, by: Node) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def _layout(node: Any) -> Any:
    """Shape, stride and dtype of a node's result; None if it is not a tensor."""
    meta: Any = getattr(node, "meta", {}).get("tensor_meta")
    return (meta.shape, meta.stride, meta.dtype) if hasattr(meta, "stride") else None


def _is_impure(node: Node) -> bool:
    """Whether a node has side effects: changes a buffer, draws random numbers, or is an output."""
    if node.op in ("placeholder", "output") or node.target is operator.getitem:
        return node.op != "call_function"
    schema = getattr(node.target, "_schema", None)
    if schema is None or schema.is_mutable:
        return True
    return torch.Tag.nondeterministic_seeded in node.target.tags  # type: ignore[union-attr]
