import torch
from checks.broken.right import Sgd
from checks.broken.right_torch import Momentum


class SgdOfMatrices(Sgd):
    caught_by = "other_shapes"

    def update(self, params, grads):
        new = super().update(params, grads)
        return [q if p.ndim > 1 else p for p, q in zip(params, new, strict=True)]


class LooksAtAll(Momentum):
    """The mean of no numbers is NaN, and counts for all."""

    caught_by = "empty_parameters"

    def move(self, p, g, group):
        means = [q.grad.mean() for q in self.param_groups[0]["params"] if q.grad is not None]
        super().move(p, g * (1 + 0 * sum(means)), group)


class StepsACopy(Momentum):
    caught_by = "layouts"

    def move(self, p, g, group):
        super().move(p, g, {**group, "lr": 0.0})
        flat = p.reshape(-1)
        flat -= group["lr"] * self.state[p]["b"].reshape(-1)


class StepsTheRealPart(Momentum):
    caught_by = "complex_parameters"

    def move(self, p, g, group):
        super().move(p, g.real, group)


class SkipsSparse(Momentum):
    caught_by = "sparse_gradients"

    def gradient(self, p, group):
        return torch.zeros_like(p) if p.grad.is_sparse else super().gradient(p, group)
