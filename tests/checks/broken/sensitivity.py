import numpy as np
from checks.broken.right import Momentums, Sgd


class SgdOfOneLr(Sgd):
    caught_by = "every_option_counts"

    def update(self, params, grads):
        return [p - 0.1 * g for p, g in zip(params, grads, strict=True)]


class HalfNegatedMomentum(Momentums):
    """With nesterov and maximize, the gradient itself is not negated, only the buffer."""

    caught_by = "switches_in_pairs"

    def update(self, params, grads):
        if not (self.nesterov and self.maximize):
            return super().update(params, grads)
        zeros = [np.zeros_like(p) for p in params]
        self.b = [self.momentum * b - g for b, g in zip(self.b or zeros, grads, strict=True)]
        ahead = [g + self.momentum * b for b, g in zip(self.b, grads, strict=True)]
        return Sgd.update(self, params, ahead)


class SgdWithoutZero(Sgd):
    caught_by = "still_without_lr"

    def __init__(self, lr=0.1):
        self.lr = lr or 0.1


class ShrinkingSgd(Sgd):
    caught_by = "still_without_gradient"

    def update(self, params, grads):
        its = super().update(params, grads)
        return [p if g.any() else 0.99 * p for p, g in zip(its, grads, strict=True)]


class DecayingSgd(Sgd):
    caught_by = "no_decay_means_none"

    def __init__(self, lr=0.1, weight_decay=0.01):
        self.lr, self.weight_decay = lr, weight_decay or 0.01

    def update(self, params, grads):
        its = [g + self.weight_decay * p for p, g in zip(params, grads, strict=True)]
        return super().update(params, its)
