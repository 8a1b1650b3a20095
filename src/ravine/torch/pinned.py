"""Steps of an optimizer whose memory somebody else answers for.

An optimizer looks, before each step, whether a tensor has been replaced or has moved. Who owns all of
that memory, and moves nothing, need not ask: what is left is to set the learning rates, to say where
the gradients are, and to run the kernels. That is a fifth of the time for a small model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ravine.torch.rule_optimizer import RuleOptimizer
from ravine.torch.stepping import READY, KernelPart

__all__ = ["Pinned"]


class Pinned:
    """An optimizer that has taken a step, to take further ones without looking.

    optimizer: as it was made, its parameters, gradients' shapes and state never to be replaced from now
    on. parameters: in the order in which `step` is given addresses of gradients; others do not take part.
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
        """Whether it can be made of an optimizer: one that kernels step, with lr in every group."""
        bound = optimizer._bound if isinstance(optimizer, RuleOptimizer) else None
        return (
            bound is not None
            and bound.repeatable
            and bound.circle is None
            and not any(kernel.graph.rule.signals for kernel in bound.kernels)
            and not bound.reads
            and not bound.scaled
            and all("lr" in setters for setters in bound.setters)
        )

    def step(self, gradients: Sequence[int], rates: Sequence[float]) -> None:
        """Take a step. gradients: where each parameter's begins in memory. rates: lr of each group.

        Raises RuntimeError if a count of steps is full.
        """
        for setters, lr in zip(self._set_lr, rates, strict=True):
            for setter in setters:
                setter(lr)
        for kernel, order in self._parts:
            kernel.addresses = []  # other ones, should the optimizer itself step again
            kernel.step.place("g", [gradients[i] for i in order])
            if kernel.step.run(len(order), self._seed) != READY:
                raise RuntimeError("a count of steps in float32 is full")
