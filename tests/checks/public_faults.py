"""Faults of Adam that were found in public code, each as it behaves, and the diagnosis that it deserves.

Where: the issue, or what kind of repository. Each is Adam, or AdamW, with one method written otherwise.
"""

import numpy as np


class Adam:
    def __init__(self, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.t, self.m, self.v = 0, {}, {}

    def update(self, params, grads):
        self.count()
        for k in range(len(params)):
            m = self.m.get(k, np.zeros_like(params[k]))
            v = self.v.get(k, np.zeros_like(params[k]))
            params[k] = self.stepped(k, params[k], grads[k], m, v)

    def count(self):
        self.t += 1

    def moments(self, k, g, m, v):
        self.m[k] = self.beta1 * m + (1 - self.beta1) * g
        self.v[k] = self.beta2 * v + (1 - self.beta2) * g**2
        return self.m[k], self.v[k]

    def corrections(self):
        return 1 - self.beta1**self.t, 1 - self.beta2**self.t

    def moved(self, p, m, v):
        c1, c2 = self.corrections()
        return p - self.lr * (m / c1) / (np.sqrt(v / c2) + self.eps)

    def stepped(self, k, p, g, m, v):
        return self.moved(p, *self.moments(k, g, m, v))


class AdamW(Adam):
    def __init__(self, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2):
        super().__init__(lr, beta1, beta2, eps)
        self.weight_decay = weight_decay

    def stepped(self, k, p, g, m, v):
        return super().stepped(k, p * (1 - self.lr * self.weight_decay), g, m, v)


class Multiplies(Adam):
    """karpathy/convnetjs#70: bias corrections multiply."""

    says = "first bias correction multiplies m.*second bias correction multiplies v"

    def moved(self, p, m, v):
        c1, c2 = self.corrections()
        return p - self.lr * m * c1 / (np.sqrt(v * c2) + self.eps)


class WithoutT(Adam):
    """eriklindernoren/ML-From-Scratch#35: the corrections have no exponent."""

    says = "t stays 1"

    def corrections(self):
        return 1 - self.beta1, 1 - self.beta2


class Uncorrected(Adam):
    """BVLC/caffe#4224: no bias correction."""

    says = "first bias correction .* is missing.*second bias correction .* is missing"

    def corrections(self):
        return 1, 1


class StartsAtValues(Adam):
    """PennyLaneAI/pennylane#1928: the first moments are g and g², and eps is not corrected."""

    says = (
        "not adam, but adam_eps_hat.*: m is g after the first step.*v is g.*2 after the first step"
    )

    def moments(self, k, g, m, v):
        if self.t > 1:
            return super().moments(k, g, m, v)
        self.m[k], self.v[k] = g, g**2
        return g, g**2

    def moved(self, p, m, v):
        c1, c2 = self.corrections()
        return p - self.lr * np.sqrt(c2) / c1 * m / (np.sqrt(v) + self.eps)


class InPlace(Adam):
    """frgfm/Holocron#1: moments are corrected in place."""

    says = "m is corrected in place.*v is corrected in place"

    def stepped(self, k, p, g, m, v):
        m, v = self.moments(k, g, m, v)
        c1, c2 = self.corrections()
        self.m[k], self.v[k] = m / c1, v / c2
        return p - self.lr * self.m[k] / (np.sqrt(self.v[k]) + self.eps)


class NotSquared(Adam):
    """Student code: v is a mean of g."""

    says = "g is not squared in v"

    def moments(self, k, g, m, v):
        m, _ = super().moments(k, g, m, v)
        self.v[k] = self.beta2 * v + (1 - self.beta2) * g
        return m, self.v[k]


class ThreeFaults(NotSquared):
    """A course repository: no square, eps inside the root, and the step is added."""

    says = "this is ascent; and g is not squared in v; and eps is inside the root"

    def moved(self, p, m, v):
        c1, c2 = self.corrections()
        return p + self.lr * (m / c1) / np.sqrt(v / c2 + self.eps)


class CountsTensors(Adam):
    """The first post, and others: t is counted where a tensor is updated."""

    says = "t grows with every parameter tensor"

    def count(self): ...

    def stepped(self, k, p, g, m, v):
        self.t += 1
        return super().stepped(k, p, g, m, v)


class CountsLater(Adam):
    """Student code: t is raised after its use."""

    says = "t starts at 0"

    def update(self, params, grads):
        super().update(params, grads)
        self.t += 1

    def count(self): ...


class CountsEpochs(Adam):
    """Tutorial code: t is the number of the epoch."""

    says = "t stays 1"

    def count(self):
        self.t = 1


class Climbs(Adam):
    """Student code: the step is added."""

    says = "this is ascent"

    def moved(self, p, m, v):
        return 2 * p - super().moved(p, m, v)


class EpsInside(Adam):
    """tensorflow/tensorflow#35102 and others: where eps is."""

    says = "eps is inside the root"

    def moved(self, p, m, v):
        c1, c2 = self.corrections()
        return p - self.lr * (m / c1) / np.sqrt(v / c2 + self.eps)


class NoRoot(Adam):
    """Student code: the root is forgotten."""

    says = "the root of v_hat is missing"

    def moved(self, p, m, v):
        c1, c2 = self.corrections()
        return p - self.lr * (m / c1) / (v / c2 + self.eps)


class NoBracket(Adam):
    """A misplaced parenthesis, as in the first post's text."""

    says = "in v, a bracket is missing"

    def moments(self, k, g, m, v):
        m, _ = super().moments(k, g, m, v)
        self.v[k] = self.beta2 * v + 1 - self.beta2 * g**2
        return m, self.v[k]


class OneState(Adam):
    """Student code: one m and v for all parameters."""

    says = "all tensors share one state"

    def stepped(self, k, p, g, m, v):
        zero = np.zeros_like(p)
        return super().stepped(0, p, g, self.m.get(0, zero), self.v.get(0, zero))


class Swapped(Adam):
    """Student code: beta1 and beta2 in the wrong order."""

    says = "beta1 and beta2 are swapped"

    def __init__(self, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        super().__init__(lr, beta2, beta1, eps)


class SquaresM(Adam):
    """Student code: v is a mean of m²."""

    says = "v averages m², not g²"

    def moments(self, k, g, m, v):
        m, _ = super().moments(k, g, m, v)
        self.v[k] = self.beta2 * v + (1 - self.beta2) * m**2
        return m, self.v[k]


class OldM(Adam):
    """optax Rprop's kind (google-deepmind/optax#1725): the step is that of the step before."""

    says = "the step uses the old m"

    def stepped(self, k, p, g, m, v):
        return self.moved(p, m, self.moments(k, g, m, v)[1])


class LrTwice(Adam):
    """Student code: the gradient is multiplied by lr before the moments."""

    says = "lr is used twice"

    def stepped(self, k, p, g, m, v):
        return super().stepped(k, p, self.lr * g, m, v)


class HardWired(Adam):
    """Student code: the betas that are asked for are ignored."""

    says = (
        "beta1 was asked to be 0.83 and acts as 0.9.*beta2 was asked to be 0.946 and acts as 0.999"
    )

    def __init__(self, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        super().__init__(lr, 0.9, 0.999, eps)


class Forgets(Adam):
    """The first post's kind: the state is stored under a key that is not looked up."""

    says = "nothing is remembered"

    def stepped(self, k, p, g, m, v):
        return super().stepped(str(k), p, g, m, v)


class DecayAfter(AdamW):
    """huggingface/transformers#14539: the weights already stepped are decayed."""

    says = "the decay acts on the weights after the step"

    def stepped(self, k, p, g, m, v):
        return Adam.stepped(self, k, p, g, m, v) * (1 - self.lr * self.weight_decay)


class DecayWithoutLr(AdamW):
    """NVIDIA/apex#1849's question: decay that lr does not scale."""

    says = "decay without lr"

    def stepped(self, k, p, g, m, v):
        return Adam.stepped(self, k, p, g, m, v) - self.weight_decay * p


class Coupled(AdamW):
    """keras-team/keras#19051: AdamW that is Adam with L2."""

    says = "it is not adamw, but adam . L2 decay"

    def stepped(self, k, p, g, m, v):
        return Adam.stepped(self, k, p, g + self.weight_decay * p, m, v)


FAULTS = [
    x
    for x in list(vars().values())
    if isinstance(x, type) and issubclass(x, Adam) and x not in (Adam, AdamW)
]
