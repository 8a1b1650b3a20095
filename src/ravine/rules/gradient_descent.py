"""Gradient descent and its momentum: walk downhill, then roll."""

from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import where
from ravine.rule import rule

# AlgoPerf tunes Nesterov's from 2e-2 to 5; small rates are for gradients that are sums over samples.
_LR = searched(1e-4, 10.0)
_MOMENTUM = Hyperparameter(
    "share of the velocity kept from step to step", low=0.0, search=(1e-3, 1.0), towards=1.0
)


@rule(
    paper="Robbins & Monro, 1951. A Stochastic Approximation Method",
    at="doi:10.1214/aoms/1177729586 (Cauchy, 1847, for the full gradient)",
    lr=_LR,
)
def sgd(p, g, *, lr=1e-3):
    """Gradient descent: a step of lr against the gradient.

    With the gradient of one sample it is SGD, of some samples mini-batch descent, of all
    samples gradient descent. The rule is the same.

    Elsewhere:
        torch.optim.SGD: this rule, with momentum=0; default lr 1e-3.
        Keras: this rule, with momentum=0; default lr 0.01.
        optax.sgd: this rule, without momentum; lr has no default.
    """
    return p - lr * g


@rule(
    paper="Polyak, 1964. Some methods of speeding up the convergence of iteration methods",
    at="doi:10.1016/0041-5553(64)90137-5, the two-step method, in the form of torch.optim.SGD",
    lr=_LR,
    momentum=_MOMENTUM,
    dampening="share of the gradient kept out of the velocity",
)
def momentum(p, g, b, t, *, lr=1e-3, momentum=0.9, dampening=0.0):
    """Momentum as in torch: lr outside the velocity.

    Elsewhere:
        torch.optim.SGD: this rule; the buffer starts at g, so the first gradient is not dampened.
            With momentum=0 it is `sgd`, and dampening is ignored.
        optax.sgd: the buffer starts at zero; there is no dampening. Equal to this at dampening 0.
        Polyak, Sutskever et al. 2013, Keras: lr inside the velocity, so that a change of lr takes
            effect only as the velocity turns over: `momentum_classical`. Equal at constant lr.
    """
    b = where(t == 1, g, momentum * b + (1 - dampening) * g)
    return p - lr * b, b


@rule(
    paper="Nesterov, 1983; Sutskever et al., 2013. On the importance of initialization and momentum",
    at="Sutskever et al., equations 3-4, in the form of torch.optim.SGD(nesterov=True)",
    lr=_LR,
    momentum=_MOMENTUM,
)
def nesterov(p, g, b, t, *, lr=1e-3, momentum=0.9):
    """Nesterov's momentum as in torch: look one velocity ahead.

    The parameter held is the point looked ahead to, so that one gradient per step is enough
    (Bengio et al. 2013, arXiv:1212.0901, section 3.5).

    Elsewhere:
        torch.optim.SGD: this rule, with nesterov=True; momentum must not be 0, dampening must.
        optax.sgd: this rule, with nesterov=True.
        Sutskever et al. 2013, Keras: lr inside the velocity; equal at constant lr.
    """
    b = where(t == 1, g, momentum * b + g)
    return p - lr * (g + momentum * b), b


@rule(
    paper="Polyak, 1964. Some methods of speeding up the convergence of iteration methods",
    at="doi:10.1016/0041-5553(64)90137-5, the two-step method; Sutskever et al., 2013, equations 1-2",
    lr=_LR,
    momentum=_MOMENTUM,
)
def momentum_classical(p, g, v, *, lr=1e-3, momentum=0.9):
    """Momentum as in the textbooks: lr inside the velocity.

    Elsewhere:
        Polyak 1964: the same points, written without v: the step before, times momentum, is added.
        Keras: this rule, with the opposite sign of v.
        torch.optim.SGD, optax.sgd, TensorFlow 1: lr outside the velocity: `momentum`.
    """
    v = momentum * v + lr * g
    return p - v, v


@rule(
    paper="Ng, Katanforoosh & Bensouda Mourri, 2017. Improving Deep Neural Networks, deeplearning.ai",
    at="week 2, Gradient descent with momentum: the exponentially weighted average, starting at zero",
    lr=_LR,
    beta1="decay rate of the mean of the gradients",
)
def momentum_ema(p, g, v, *, lr=1e-2, beta1=0.9):
    """Momentum as a running mean of the gradients.

    The velocity is an average of the gradients, where that of `momentum` is their sum: at the same lr
    its steps are shorter by the factor 1 - beta1. The average starts at zero, and nothing corrects
    for that.

    Elsewhere:
        deeplearning.ai: this rule; beta1 is called beta.
        torch.optim.SGD: the same steps with lr * (1 - beta1) and momentum=beta1. With dampening=beta1
            it differs from this rule, since its buffer starts at g.
        Adam: its m is this v; it is corrected for the start at zero.
    """
    v = beta1 * v + (1 - beta1) * g
    return p - lr * v, v
