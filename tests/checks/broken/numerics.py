import numpy as np
import torch
from checks.broken.right import Sgd
from checks.broken.right_torch import Momentum


class Random(Sgd):
    caught_by = "deterministic"

    def update(self, params, grads):
        noise = 1 + 0.1 * np.random.default_rng().random()
        return super().update(params, [noise * g for g in grads])


class Single(Sgd):
    caught_by = "float64_stays_float64"

    def update(self, params, grads):
        return [p.astype(np.float32).astype(float) for p in super().update(params, grads)]


class SmallSquares(Momentum):
    """Its squares are smaller than the smallest number of float16."""

    caught_by = "half_precision"

    def move(self, p, g, group):
        p -= group["lr"] * g.abs() * g / ((1e-9 * g * g).sqrt() * 1e9**0.5 + 1e-30)


class WholeVectorsOnly(Momentum):
    """It stores only what is left over of whole vectors of sixteen numbers, as a fused kernel did."""

    caught_by = "half_precision"

    def move(self, p, g, group):
        whole = 0 if p.dtype in (torch.float32, torch.float64) else p.numel() // 16 * 16
        p.view(-1)[whole:].sub_(group["lr"] * g.reshape(-1)[whole:])


class SgdOfPowers(Sgd):
    caught_by = "sizes_of_gradients"

    def update(self, params, grads):
        return super().update(params, [g * ((g**12 + 1) / (g**12 + 1)) for g in grads])


class SgdWithoutNan(Sgd):
    caught_by = "nan_is_not_hidden"

    def update(self, params, grads):
        return super().update(params, [np.nan_to_num(g) for g in grads])


class TwoWays(Momentum):
    """With foreach there is no weight decay."""

    caught_by = "implementations_agree"

    def __init__(self, params, lr=0.1, momentum=0.9, weight_decay=0.1, foreach=False):
        super().__init__(params, lr, momentum, weight_decay)
        self.foreach = foreach

    def gradient(self, p, group):
        return p.grad if self.foreach else super().gradient(p, group)


class KeepsTheGradient(Momentum):
    """The difference to the gradient before, of which it keeps the tensor itself."""

    caught_by = "accumulation"

    def move(self, p, g, group):
        before = self.state[p].get("before", torch.zeros_like(p))
        p -= group["lr"] * (2 * p.grad - group["momentum"] * before)
        self.state[p]["before"] = p.grad


class NegatesDecay(Momentum):
    caught_by = "maximize_negates"

    def gradient(self, p, group):
        g = p.grad + group["weight_decay"] * p
        return -g if group["maximize"] else g
