import time

import numpy as np
import torch
from checks.broken.right import Sgd
from checks.broken.right_torch import Momentum


class LosesTheLoss(Momentum):
    caught_by = "closures"

    def step(self, closure=None):
        super().step(closure)


class DecaysInPlace(Momentum):
    caught_by = "gradients_untouched"

    def gradient(self, p, group):
        return p.grad.add_(p, alpha=group["weight_decay"])


class KeepsGraphs(Momentum):
    caught_by = "no_graph_kept"

    def move(self, p, g, group):
        with torch.enable_grad():
            b = self.state[p]["b"] = group["momentum"] * self.state[p].get("b", 0) + p.grad
        p -= group["lr"] * (b + group["weight_decay"] * p)


class KeepsParameters(Momentum):
    caught_by = "memory_freed"
    every: list = []  # noqa: RUF012

    def move(self, p, g, group):
        self.every.append(p)
        super().move(p, g, group)


class TakesNoMemory(Momentum):
    caught_by = "state_memory"

    def move(self, p, g, group):
        p -= group["lr"] * g


class SharesAnAverage(Sgd):
    """Right, as long as one is done before the next is made."""

    caught_by = "two_at_once"
    average = 0.0

    def __init__(self, lr=0.1):
        super().__init__(lr)
        SharesAnAverage.average = 0.0

    def update(self, params, grads):
        size = sum(np.abs(g).sum() for g in grads)
        SharesAnAverage.average = 0.5 * self.average + 0.5 * size
        return super().update(params, [g / (1 + self.average) for g in grads])


class UsesOneBuffer(Momentum):
    """Right, as long as nobody else steps at the same time."""

    caught_by = "two_threads"
    scratch: dict = {}  # noqa: RUF012

    def move(self, p, g, group):
        self.scratch["g"] = g
        time.sleep(1e-3)
        super().move(p, self.scratch["g"], group)


class ChangesErrors(Sgd):
    caught_by = "quiet"

    def update(self, params, grads):
        np.seterr(all="raise")
        return super().update(params, grads)
