"""Right optimizers of arrays, which the wrong ones are made of."""

import numpy as np


class Sgd:
    def __init__(self, lr=0.1):
        self.lr = lr

    def update(self, params, grads):
        return [p - self.lr * g for p, g in zip(params, grads, strict=True)]


class Momentums(Sgd):
    def __init__(self, lr=0.1, momentum=0.9, weight_decay=0.0, nesterov=False, maximize=False):
        self.lr, self.momentum, self.weight_decay, self.b = lr, momentum, weight_decay, None
        self.nesterov, self.maximize = nesterov, maximize

    def decayed(self, params, grads):
        return [g + self.weight_decay * p for p, g in zip(params, grads, strict=True)]

    def update(self, params, grads):
        signed = [-g if self.maximize else g for g in grads]
        signed = self.decayed(params, signed)
        zeros = [np.zeros_like(p) for p in params]
        self.b = [self.momentum * b + g for b, g in zip(self.b or zeros, signed, strict=True)]
        ahead = [g + self.momentum * b for b, g in zip(self.b, signed, strict=True)]
        return super().update(params, ahead if self.nesterov else self.b)
