from checks.broken.right import Momentums, Sgd


class TenfoldSgd(Sgd):
    caught_by = "identity"

    def update(self, params, grads):
        return super().update(params, [10 * g for g in grads])


class GrowingMomentum(Momentums):
    """Its weight decay has the wrong sign."""

    caught_by = "options_in_use"

    def decayed(self, params, grads):
        return [g - self.weight_decay * p for p, g in zip(params, grads, strict=True)]


class ThresholdSgd(Sgd):
    """Below a certain lr it stands still: no other check tries such an lr."""

    caught_by = "as_it_comes"

    def __init__(self, lr=1e-3):
        self.lr = lr if lr > 0.0015 else 0.0
