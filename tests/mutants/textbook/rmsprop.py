"""RMSprop."""

import numpy as np


class RMSprop:
    def __init__(self, lr=0.01, alpha=0.99, eps=1e-8):
        self.lr = lr
        self.alpha = alpha
        self.eps = eps
        self.v = {}

    def update(self, params, grads):
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            v = self.v.get(i, np.zeros_like(p))
            v = self.alpha * v + (1 - self.alpha) * g**2
            self.v[i] = v
            p -= self.lr * g / (np.sqrt(v) + self.eps)
