"""Steps of an optimizer whose memory is managed by somebody else.

Before each step, an optimizer checks whether a tensor has been replaced or moved. An owner of all of that
memory who moves nothing can skip these checks. What remains is to set the learning rates, to pass the
addresses of the gradients, and to run the kernels. For a small model, that takes a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ravine.torch.rule_optimizer import RuleOptimizer
from ravine.torch.stepping import READY, KernelPart

__all__ = ["Pinned"]


class Pinned:
    """An optimizer that has taken a step, and takes further ones without checks.

    optimizer: its parameters, the shapes of gradients, and its state must never be replaced from now on.
    parameters: in the order in which `step` receives the addresses of gradients; others are not stepped.
    """

    def __init__(self, optimizer: RuleOptimizer, parameters: Sequence[torch.Tensor]) -> None:
        bound = optimizer._bound
        assert bound is not None
        numbers = {id(p): i for i, p in enumerate(parameters)}
        self._seed = bound.seed
        self._parts: list[tuple[KernelPart, list[int]]] = [
            (kernel, [numbers[id(p)] for p in kernel.params]) for kernel in bound.kernels
        ]
        self._held = bound
        self._set_lr: list[list[Callable[[float], None]]] = [x["lr"] for x in bound.setters]

    @staticmethod
    def fits(optimizer: object) -> bool:
        """Whether this works for an optimizer: kernels must step it, and every group must have lr."""
        if not isinstance(optimizer, RuleOptimizer):
            return False
        bound = optimizer._bound
        return (
            bound is not None
            and bound.repeatable
            and bound.circle is None
            and optimizer._offload is None
            and not any(kernel.graph.rule.signals for kernel in bound.kernels)
            and not bound.reads
            and not bound.scaled
            and all("lr" in setters for setters in bound.setters)
        )

    def step(self, gradients: Sequence[int], rates: Sequence[float]) -> None:
        """Take a step. gradients: the address of each parameter's gradient. rates: lr of each group.

        Raises RuntimeError if a count of steps is full.
        """
        for setters, lr in zip(self._set_lr, rates, strict=True):
            for setter in setters:
                setter(lr)
        for kernel, order in self._parts:
            kernel.addresses = []  # new ones, in case the optimizer itself steps again
            kernel.step.place("g", [gradients[i] for i in order])
            if kernel.step.run(len(order), self._seed) != READY:
                raise RuntimeError("a count of steps in float32 is full")
