"""Steps inside the backward pass: each gradient is applied, and freed, as soon as it is complete.

The training loop does not change. One `optimizer.step()` follows the passes whose gradients belong
together; it applies what has not been applied yet, and ends the step. So a loop has the same result with
and without this module, for any `accumulate`, which only says when a gradient is complete.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ravine.engines.graph import Graph
from ravine.modifiers import clip_by_value
from ravine.rules import sgd
from ravine.torch import evaluation, members
from ravine.torch.exchange import Circle
from ravine.torch.memory import intercepted
from ravine.torch.rule_optimizer import RuleOptimizer
from ravine.torch.stepping import READY, CallPart, KernelPart
from ravine.torch.tensors import dimensions

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from typing_extensions import Self

__all__ = ["InBackward", "step_in_backward"]

# Between new states, the first gradients leave holes that glibc's malloc keeps, and seldom fills.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def step_in_backward(
    model: nn.Module | Iterable[torch.Tensor],
    optimizer: RuleOptimizer,
    *,
    accumulate: int = 1,
    clip_value: float | None = None,
) -> InBackward:
    """Let `loss.backward()` step each parameter as soon as its gradient arrives, and then free the gradient.

    The gradients of a model are then never in memory all at once. The training loop stays the same:
    schedulers, hooks, checkpoints and `zero_grad` work as usual, and `optimizer.step()` still ends
    a step, and applies any gradients that backward has not applied. Hyperparameters are those at
    the time of the backward pass.

    model: a module, or parameters. Those that belong to the optimizer are stepped in backward, and
    its others in `optimizer.step()`. optimizer: one of Ravine's. accumulate: the number of
    gradients that a parameter receives per step; they are summed, as in autograd, and the last one
    triggers the step. clip_value: clip each coordinate of the gradient to [-clip_value, clip_value]
    first, like torch.nn.utils.clip_grad_value_; None for no clipping.

    Returns a handle whose `remove()` ends this, as does leaving a `with` block. Until then,
    backward raises RuntimeError for a gradient that arrives after its parameter has been stepped,
    and so does `step` when torch.amp.GradScaler calls it. Raises TypeError for other kinds of
    optimizers and models, and ValueError if the optimizer has none of the parameters, already steps
    in backward, or is differentiable; if its rule needs all gradients at once, like
    clip_by_global_norm, or takes signals; and for a DistributedDataParallel model.

    >>> import torch, ravine.torch
    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = ravine.torch.AdamW(model.parameters(), lr=0.1)
    >>> with ravine.torch.step_in_backward(model, optimizer, clip_value=1.0):
    ...     model(torch.ones(5, 3)).sum().backward()
    ...     optimizer.step()
    >>> model.weight.grad is None, int(optimizer.state[model.weight]["step"])
    (True, 1)
    """
    where = "step_in_backward"
    if not isinstance(optimizer, RuleOptimizer):
        kind = type(optimizer)
        raise TypeError(
            f"{where}: optimizer is a {kind.__module__}.{kind.__qualname__}; it must be one of Ravine's, "
            "such as ravine.torch.AdamW(model.parameters())"
        )
    if isinstance(model, torch.Tensor) or not isinstance(model, (nn.Module, Iterable)):
        raise TypeError(
            f"{where}: model is a {type(model).__name__}; it must be an nn.Module or an iterable of "
            "parameters, such as model.parameters()"
        )
    if not isinstance(accumulate, int) or accumulate < 1:
        raise ValueError(
            f"{where}: accumulate={accumulate!r} is invalid; accumulate must be an int >= 1"
        )
    if clip_value is not None:
        clip_by_value(sgd).check(where, clip_value=clip_value)
    if optimizer._differentiable:
        raise ValueError(
            f"{where}: the optimizer has differentiable=True, which is not supported: autograd cannot "
            "see through a step that is taken within its own pass"
        )
    if optimizer._in_backward is not None:
        raise ValueError(
            f"{where}: this {type(optimizer).__name__} steps in backward already; remove() that first"
        )
    modules: Iterable[Any] = model.modules() if isinstance(model, nn.Module) else ()
    if any(isinstance(m, nn.parallel.DistributedDataParallel) for m in modules):
        raise ValueError(
            f"{where}: a DistributedDataParallel model is not supported: it averages the gradients of the "
            "processes after they have arrived, when they would have been applied already"
        )
    return InBackward(model, optimizer, accumulate, clip_value)


@dataclass
class _Leaf:
    """A parameter that is stepped in backward: the number of gradients since the last step, and the
    kernel that can step it again.
    """

    hook: RemovableHandle
    gradients: int = 0
    part: KernelPart | None = None


class InBackward:
    """The handle that :func:`step_in_backward` returns: parameters are stepped in backward until
    `remove()`.
    """

    def __init__(
        self,
        model: nn.Module | Iterable[torch.Tensor],
        optimizer: RuleOptimizer,
        accumulate: int,
        clip_value: float | None,
    ):
        # The optimizer refers to this object; a reference back would keep both until a collection.
        self._optimizer = weakref.ref(optimizer)
        self.accumulate, self.clip_value = accumulate, clip_value
        self._parameters: Callable[[], Iterable[torch.Tensor]]
        self._parameters = model.parameters if isinstance(model, nn.Module) else [*model].__iter__
        self._leaves: dict[torch.Tensor, _Leaf] = {}
        # Looked up once per step: the indices of the parameters, and the options of the groups.
        self._places: dict[torch.Tensor, tuple[int, int]] = {}
        self._plans: dict[tuple[int, int], tuple[Graph, dict[str, Any]]] = {}
        self._squares = 0.0
        self._norm: float | None = None
        # Backward passes may run in several threads, and kernels of tensors of one size share tables.
        self._lock = threading.RLock()
        optimizer._in_backward = self
        try:
            self._hook()
            if not self._leaves:
                raise ValueError(
                    "step_in_backward: the optimizer has none of the model's parameters that are trained"
                )
        except Exception:
            self.remove()
            raise

    @property
    def optimizer(self) -> RuleOptimizer:
        """The optimizer; RuntimeError if it no longer exists."""
        optimizer = self._optimizer()
        if optimizer is None:
            raise RuntimeError("step_in_backward: the optimizer no longer exists")
        return optimizer

    def remove(self) -> None:
        """Return to steps in `optimizer.step()`, which then also applies accumulated gradients."""
        for leaf in self._leaves.values():
            leaf.hook.remove()
        self._leaves.clear()
        optimizer = self._optimizer()
        if optimizer is not None and optimizer._in_backward is self:
            optimizer._in_backward = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def finish(self) -> None:
        """Apply the gradients that backward has not applied, and start a new step;
        `optimizer.step()` calls this.
        """
        optimizer = self.optimizer
        if "found_inf" in optimizer.__dict__:
            raise RuntimeError(
                "step_in_backward: torch.amp.GradScaler is not supported: it looks for infinities when all "
                "gradients are there, but by then they have been applied; use bfloat16, which needs no "
                "scaler"
            )
        with self._lock, torch.no_grad():
            every = (p for group in optimizer.param_groups for p in group["params"])
            if any(p.grad is not None for p in every) or members.circle(optimizer) is not None:
                bound = optimizer.step_all()
                if optimizer._how.get("grad_norm"):
                    self._squares += bound.squares()
                for group in optimizer.param_groups:
                    for p in group["params"]:
                        p.grad = None
                self._hook()  # some may be new, or trained again
            for leaf in self._leaves.values():
                leaf.gradients = 0
            self._places.clear()
            self._plans.clear()
            self._norm, self._squares = math.sqrt(self._squares) / optimizer.scale, 0.0

    def forget(self) -> None:
        """Discard accumulated gradients; `optimizer.zero_grad()` calls this."""
        for leaf in self._leaves.values():
            if leaf.gradients < self.accumulate:
                leaf.gradients = 0

    def unbind(self) -> None:
        """Discard the kernels' bindings."""
        for leaf in self._leaves.values():
            leaf.part = None

    def grad_norm(self) -> float | None:
        """The norm of all gradients in the last step; None before it has ended."""
        return self._norm

    def _hook(self) -> None:
        """Wait for the gradients of parameters that are trained and that the optimizer has."""
        # Strong references from hooks would keep everything alive, since no garbage collector sees them.
        me = weakref.ref(self)

        def arrived(p: torch.Tensor) -> None:
            this = me()
            if this is not None and this._optimizer() is not None:
                this._arrived(p)

        for p in self._parameters():
            place = self._place(p)
            if place is not None and p.requires_grad and p not in self._leaves:
                self._planned(place[0], p)
                self._leaves[p] = _Leaf(p.register_post_accumulate_grad_hook(arrived))

    def _place(self, p: torch.Tensor) -> tuple[int, int] | None:
        """The index of a parameter's group, and its own among all; None if it no longer belongs to the
        optimizer.
        """
        if not self._places:
            groups = self.optimizer.param_groups
            places = [(i, q) for i, group in enumerate(groups) for q in group["params"]]
            self._places = {q: (i, place) for place, (i, q) in enumerate(places)}
        return self._places.get(p)

    def _planned(self, number: int, p: torch.Tensor) -> tuple[Graph, dict[str, Any]]:
        key = number, dimensions(p)
        if key not in self._plans:
            graph, hyper = self.optimizer.planned(
                self.optimizer.param_groups[number], dimensions(p)
            )
            if graph.rule.signals:
                raise ValueError(
                    f"step_in_backward: the rule {graph.rule.name!r} is not supported: it takes "
                    f"{', '.join(graph.rule.signals)} with optimizer.step(), and parameters are stepped "
                    "before that"
                )
            if graph.at_once:
                raise ValueError(
                    f"step_in_backward: the rule {graph.rule.name!r} is not supported: it looks at the "
                    "gradients of all parameters at once, and the first must be applied before the last is "
                    "there; rules that look at one tensor at a time are supported, and so is clip_value=..."
                )
            self._plans[key] = graph, hyper
        return self._plans[key]

    def _arrived(self, p: torch.Tensor) -> None:
        with self._lock:
            place = self._place(p)
            if place is None:
                return
            if self.optimizer._in_evaluation:
                raise evaluation.refusal(self.optimizer)
            leaf = self._leaves[p]
            if leaf.gradients == self.accumulate:
                raise RuntimeError(
                    f"step_in_backward: a parameter of shape {tuple(p.shape)} has already been stepped and "
                    "received another gradient; call optimizer.step() after each backward pass, or, if the "
                    "gradients of k passes (or of k reentrant checkpoints that share a parameter) belong to "
                    f"one step, set accumulate=k; it is {self.accumulate}"
                )
            leaf.gradients += 1
            if leaf.gradients == self.accumulate:
                self._step(p, leaf, *place)
                p.grad = None

    def _step(self, p: torch.Tensor, leaf: _Leaf, group: int, number: int) -> None:
        optimizer, part = self.optimizer, leaf.part
        graph, hyper = self._planned(group, p)
        kernels: Sequence[KernelPart] = ()
        calls: Sequence[CallPart] = ()
        if part is not None and part.graph is graph and not intercepted():
            grads = part.look()
            if grads is not None:
                part.set(0, hyper)
                if part.run(optimizer.seed) == READY:
                    kernels = [part]
        if not kernels:
            if _trim and p not in optimizer.state:
                _trim(0)
            with torch.no_grad():
                circle = Circle.of([(p, graph)])
                [wave] = members.start(optimizer, [(group, number, p)], circle=circle)
                kernels, calls = wave.kernels, wave.calls
                again = (kernel for kernel in kernels if kernel.repeatable and circle is None)
                leaf.part = next(again, None)
        if optimizer._how.get("grad_norm"):
            stepped: list[Any] = [*kernels, *calls]
            self._squares += sum(part.squares() for part in stepped)
