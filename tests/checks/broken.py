"""Optimizers that do what no optimizer should; each is caught by a check, or reported as what cannot run."""

import os
import sys
import time

import numpy as np


class Sgd:
    def __init__(self, lr=0.1):
        self.lr = lr

    def update(self, params, grads):
        return [p - self.lr * g for p, g in zip(params, grads, strict=True)]


class CannotBeMade(Sgd):
    def __init__(self, lr=0.1):
        raise RuntimeError("no licence")


class CrashesInStep(Sgd):
    def update(self, params, grads):
        return [p - self.lr * g[99] for p, g in zip(params, grads, strict=True)]


class CallsExit(Sgd):
    def update(self, params, grads):
        sys.exit("that was enough")


class LeavesTheProcess(Sgd):
    def update(self, params, grads):
        os._exit(7)


class Hangs(Sgd):
    def update(self, params, grads):
        time.sleep(600)


class ReturnsNothing(Sgd):
    """Its steps are computed, and thrown away."""

    def update(self, params, grads):
        for p, g in zip(params, grads, strict=True):
            p = p - self.lr * g


class Prints(Sgd):
    def update(self, params, grads):
        print("stepping")
        sys.stderr.write("stepping\n")
        return super().update(params, grads)


class ChangesErrors(Sgd):
    def update(self, params, grads):
        np.seterr(all="raise")
        return super().update(params, grads)


class IgnoresLr(Sgd):
    def update(self, params, grads):
        return [p - 0.1 * g for p, g in zip(params, grads, strict=True)]


class Random(Sgd):
    def update(self, params, grads):
        noise = 1 + 0.1 * np.random.default_rng().random()
        return [p - self.lr * noise * g for p, g in zip(params, grads, strict=True)]


class Single(Sgd):
    def update(self, params, grads):
        its = super().update(params, grads)
        return [p.astype(np.float32).astype(float) for p in its]


class TakesZeroForNone(Sgd):
    def __init__(self, lr=0.1):
        self.lr = lr or 0.1


class SkipsVectors(Sgd):
    def update(self, params, grads):
        new = super().update(params, grads)
        return [q if p.ndim > 1 else p for p, q in zip(params, new, strict=True)]


class Climbs(Sgd):
    def update(self, params, grads):
        return super().update(params, [-g for g in grads])


class Momentum(Sgd):
    """Right, but for its weight decay, which has the wrong sign."""

    def __init__(self, lr=0.1, momentum=0.9, weight_decay=0.0):
        self.lr, self.momentum, self.weight_decay, self.b = lr, momentum, weight_decay, None

    def update(self, params, grads):
        grads = [g - self.weight_decay * p for p, g in zip(params, grads, strict=True)]
        zeros = [np.zeros_like(p) for p in params]
        self.b = [self.momentum * b + g for b, g in zip(self.b or zeros, grads, strict=True)]
        return super().update(params, self.b)


class Threshold(Sgd):
    """Clips at a constant of its own, above all gradients but those that nobody tries."""

    def __init__(self, lr=1e-3):
        self.lr = lr

    def update(self, params, grads):
        least = 0.005
        lr = self.lr if self.lr > least else 0.0
        return [p - lr * g for p, g in zip(params, grads, strict=True)]


class BecomesNan(Sgd):
    def __init__(self, lr=0.1):
        self.lr, self.t = lr, 0

    def update(self, params, grads):
        self.t += 1
        new = super().update(params, grads)
        return [new[0] * (np.nan if self.t == 3 else 1), *new[1:]]


def fixed_sgd(params, grads):
    """Right; it has no hyperparameters."""
    return [p - 0.05 * g for p, g in zip(params, grads, strict=True)]
