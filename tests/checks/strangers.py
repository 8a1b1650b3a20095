"""Optimizers as people write them, right ones, each in another form."""

import numpy as np


class PerArray:
    """One optimizer for each array, which returns the new one."""

    def __init__(self, learning_rate=0.001, b1=0.9, b2=0.999):
        self.lr, self.b1, self.b2, self.t = learning_rate, b1, b2, 0
        self.m = self.v = None

    def update(self, w, grad_wrt_w):
        if self.m is None:
            self.m, self.v = np.zeros(np.shape(w)), np.zeros(np.shape(w))
        self.t += 1
        self.m = self.b1 * self.m + (1 - self.b1) * grad_wrt_w
        self.v = self.b2 * self.v + (1 - self.b2) * np.power(grad_wrt_w, 2)
        m, v = self.m / (1 - self.b1**self.t), self.v / (1 - self.b2**self.t)
        return w - self.lr * m / (np.sqrt(v) + 1e-8)


class ByName:
    """Parameters and gradients by name, in place."""

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr, self.momentum, self.v = lr, momentum, None

    def update(self, params, grads):
        if self.v is None:
            self.v = {k: np.zeros_like(x) for k, x in params.items()}
        for k in params:
            self.v[k] = self.momentum * self.v[k] - self.lr * grads[k]
            params[k] += self.v[k]


class OfParams:
    """Made of the parameters, stepped by gradients."""

    def __init__(self, params, lr=0.1):
        self.params, self.lr = params, lr

    def step(self, grads):
        for p, g in zip(self.params, grads, strict=True):
            p -= self.lr * g


def course(w, dw, config=None):
    config = config or {}
    lr = config.setdefault("learning_rate", 1e-2)
    v = config["velocity"] = config.get("velocity", np.zeros_like(w)) * 0.9 - lr * dw
    return w + v, config


def adam_step(params, grads, state, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    t = state["t"] = state.get("t", 0) + 1
    new = []
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        m = state["m", i] = beta1 * state.get(("m", i), 0) + (1 - beta1) * g
        v = state["v", i] = beta2 * state.get(("v", i), 0) + (1 - beta2) * g**2
        new.append(p - lr * m / (1 - beta1**t) / ((v / (1 - beta2**t)) ** 0.5 + eps))
    return new


def maker(learning_rate=0.1):
    def step(params, grads):
        return [p - learning_rate * g for p, g in zip(params, grads, strict=True)]

    return step


def counting(params, grads, t, lr=0.1):
    for p, g in zip(params, grads, strict=True):
        p -= lr / t**0.5 * g


def lion(p, g, m, *, lr=1e-4, beta1=0.9, beta2=0.99):
    from ravine.ops import sign

    return p - lr * sign(beta1 * m + (1 - beta1) * g), beta2 * m + (1 - beta2) * g


class Exits:
    def __init__(self, lr=0.1):
        raise SystemExit(3)

    def update(self, params, grads): ...


class Noisy:
    def __init__(self, lr=0.1):
        print("made")

    def update(self, params, grads):
        np.seterr(over="raise")
        return [p - 0.1 * g for p, g in zip(params, grads, strict=True)]


class Shrinks:
    def __init__(self, lr=0.1): ...

    def update(self, params, grads):
        return [p[:1] for p in params]


NOTHING = 3
