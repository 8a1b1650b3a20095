"""Adagrad."""

import numpy as np


class Adagrad:
    def __init__(self, lr=0.01, eps=1e-10):
        self.lr = lr
        self.eps = eps
        self.h = {}

    def update(self, params, grads):
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            if i not in self.h:
                self.h[i] = np.zeros_like(p)
            self.h[i] += g * g
            p -= self.lr * g / (np.sqrt(self.h[i]) + self.eps)
