"""Optimizers that cannot run, print or return nothing, and right ones; see broken/ for what checks catch."""

import ctypes
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


class CrashesLate(Sgd):
    """After the probe, in another check than identity."""

    t = 0

    def update(self, params, grads):
        self.t += 1
        if self.t > 24:
            ctypes.string_at(0)
        return super().update(params, grads)


class Forks(Sgd):
    """Its child goes on like itself, and another one hangs."""

    t = 0

    def update(self, params, grads):
        self.t += 1
        if self.t < 3 and os.fork() == 0 and self.t == 2:
            time.sleep(600)
        return super().update(params, grads)


class BreaksImports(Sgd):
    def update(self, params, grads):
        sys.modules.clear()
        return super().update(params, grads)


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


class FixedLr(Sgd):
    def update(self, params, grads):
        return [p - 0.1 * g for p, g in zip(params, grads, strict=True)]


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
