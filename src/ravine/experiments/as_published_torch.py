"""The first post's momentum and Adam with their faults, each separately, and the effect of each.

The post (Aman Arora, "Adam and friends", 13 March 2021) rebuilds the optimizers of torch.optim.
Its SGD and its RMSprop are right. The classes below have the faults of the other two, and are written
in the post's style: a small base class loops over the parameters, and each optimizer updates one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Optimizer(torch.optim.Optimizer):
    """Updates one parameter after another; subclasses define `update`."""

    update: Callable[..., None]
    state: Any

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, **defaults: float) -> None:
        super().__init__(params, {"lr": lr, **defaults})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, p.grad, self.state[p], **{k: group[k] for k in self.defaults})


class PublishedMomentum(Optimizer):
    """Momentum as published: the buffer is stored under one key and looked up under another."""

    stored_as = "`buffer`"

    def update(
        self, p: Tensor, g: Tensor, state: dict[str, Any], lr: float = 1e-3, momentum: float = 0.9
    ) -> None:
        """Move p."""
        if "buffer" not in state:
            state[self.stored_as] = g.clone()
        b = state[self.stored_as] = momentum * state[self.stored_as] + g
        p -= lr * b


class MomentumKeyFixed(PublishedMomentum):
    """The buffer is found again, but it still starts at momentum * g + g, whereas torch's starts at g."""

    stored_as = "buffer"


class PublishedAdam(Optimizer):
    """Adam as published, with two faults; a subclass switches either off."""

    corrects_twice = True
    counts_tensors = True

    def update(
        self,
        p: Tensor,
        g: Tensor,
        state: dict[str, Any],
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        """Move p."""
        counter = self.state["all tensors"] if self.counts_tensors else state
        t = counter["t"] = counter.get("t", 0) + 1
        m = state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
        v = state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        if self.corrects_twice:
            m_hat = m_hat / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        p -= lr * m_hat / (v_hat.sqrt() + eps)


class AdamCorrectedTwice(PublishedAdam):
    """Adam that divides by the first bias correction twice."""

    counts_tensors = False


class AdamCountingTensors(PublishedAdam):
    """Adam whose t grows with every parameter tensor, not with every step."""

    corrects_twice = False


@dataclass(frozen=True)
class Fault:
    """A fault: the class that has it, the right curve to compare with, and a line that describes it."""

    optimizer: type[Optimizer]
    right: str
    says: str


FAULTS = {
    "Momentum as published": Fault(
        PublishedMomentum,
        "SGD_with_momentum",
        "buffer stored under a misspelt key and recreated each step: SGD with lr·(1 + µ)",
    ),
    "Momentum, key fixed": Fault(
        MomentumKeyFixed,
        "SGD_with_momentum",
        "the buffer starts at µ·g + g; torch's starts at g",
    ),
    "Adam, corrected twice": Fault(
        AdamCorrectedTwice,
        "Adam",
        "divides by the first bias correction twice",
    ),
    "Adam, counting tensors": Fault(
        AdamCountingTensors,
        "Adam",
        "t grows per parameter tensor: bias correction fades too fast",
    ),
    "Adam as published": Fault(
        PublishedAdam,
        "Adam",
        "both faults of Adam at once",
    ),
}
"""The faults of the first post by name, in the order in which they are shown."""


def step_ratios(
    faulty: Callable[[list[Tensor]], Any],
    right: Callable[[list[Tensor]], Any],
    *,
    tensors: int,
    steps: int,
) -> list[list[float]]:
    """Measure a faulty optimizer's steps relative to the right one's, for a constant gradient.

    faulty, right: functions that create an optimizer from a list of tensors. tensors: the number of
    tensors, each with one number. steps: the number of steps. Returns, for every step, one ratio per
    tensor: the faulty update over the right one, computed in float64.
    """

    def moves(make: Callable[[list[Tensor]], Any]) -> Tensor:
        zero = torch.zeros((), dtype=torch.float64)
        params: list[Tensor] = [torch.nn.Parameter(zero.clone()) for _ in range(tensors)]
        optimizer = make(params)
        path = [torch.zeros(tensors, dtype=torch.float64)]
        for _ in range(steps):
            for p in params:
                p.grad = torch.ones_like(p)
            optimizer.step()
            path.append(torch.stack([p.detach() for p in params]))
        return torch.stack(path).diff(dim=0)

    return (moves(faulty) / moves(right)).tolist()
