import numpy as np
from checks.broken.right import Sgd


class Clips(Sgd):
    caught_by = "gradient_scale"

    def update(self, params, grads):
        return super().update(params, [np.clip(g, -1, 1) for g in grads])


class TakesRoots(Sgd):
    caught_by = "rotation"

    def update(self, params, grads):
        return super().update(params, [np.sign(g) * np.abs(g) ** 0.5 for g in grads])


class GoesOneWay(Sgd):
    caught_by = "sign_flips"

    def update(self, params, grads):
        return super().update(params, [np.maximum(g, 0) for g in grads])


class ByPlace(Sgd):
    caught_by = "permutation"

    def update(self, params, grads):
        places = [1 + np.arange(g.size).reshape(g.shape) / g.size for g in grads]
        return super().update(params, [g * x for g, x in zip(grads, places, strict=True)])


class Normalizes(Sgd):
    caught_by = "splitting"

    def update(self, params, grads):
        return super().update(params, [g / np.linalg.norm(g) for g in grads])
