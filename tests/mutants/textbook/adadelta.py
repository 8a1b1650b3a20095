"""Adadelta."""

import numpy as np


class Adadelta:
    def __init__(self, lr=1.0, rho=0.9, eps=1e-6):
        self.lr = lr
        self.rho = rho
        self.eps = eps
        self.v, self.u = {}, {}

    def update(self, params, grads):
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            v = self.v.get(i, np.zeros_like(p))
            u = self.u.get(i, np.zeros_like(p))
            v = self.rho * v + (1 - self.rho) * g**2
            delta = np.sqrt(u + self.eps) / np.sqrt(v + self.eps) * g
            u = self.rho * u + (1 - self.rho) * delta**2
            self.v[i], self.u[i] = v, u
            p -= self.lr * delta
