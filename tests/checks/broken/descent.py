from checks.broken.right import Sgd


class ClimbingSgd(Sgd):
    caught_by = "descends"

    def update(self, params, grads):
        return super().update(params, [-g for g in grads])


class SlowSgd(Sgd):
    """A small lr counts for a little less."""

    caught_by = "converges"

    def __init__(self, lr=0.1):
        self.lr = lr if lr > 0.01 else 0.9 * lr
