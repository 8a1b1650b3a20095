"""RMSprop: each coordinate's step is divided by the size its gradient usually has."""

from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import sqrt
from ravine.rule import rule


@rule(
    paper="Tieleman & Hinton, 2012. Neural Networks for Machine Learning, lecture 6.5",
    at="slide 29; centered: Graves, 2013, arXiv:1308.0850, equations 38-45",
    lr=searched(1e-5, 1e-1),  # as Adam's: its steps are as long
    alpha=Hyperparameter(
        "decay rate of the mean of the squared gradients, and of the gradients where centered",
        low=0.0,
        high=1.0,
        search=(1e-4, 1e-1),
        towards=1.0,
    ),
    eps="added to the root mean square of the gradients",
    momentum=Hyperparameter(
        "share of the velocity kept from step to step; 0: no velocity",
        low=0.0,
        search=(1e-3, 1.0),
        towards=1.0,
    ),
)
def rmsprop(p, g, v, m, b, *, lr=1e-2, alpha=0.99, eps=1e-8, centered=False, momentum=0.0):
    """The gradient over its own root mean square.

    Elsewhere:
        torch.optim.RMSprop: this rule, with alpha 0.99; eps outside the root, lr outside the momentum.
        Tieleman & Hinton 2012: alpha 0.9, no eps, no momentum.
        Graves 2013: eps 1e-4 inside the root, alpha 0.95; lr inside the momentum of 0.9.
        Keras: eps 1e-7 inside the root, alpha ("rho") 0.9, lr inside the momentum. In the legacy
            class of TensorFlow 2, eps is inside with momentum and outside without.
        TensorFlow 1: eps 1e-10 inside the root; v starts at one; lr inside the momentum.
        optax.rmsprop: alpha ("decay") 0.9; eps inside the root unless eps_in_sqrt=False; lr inside
            the momentum.
    """
    v = alpha * v + (1 - alpha) * g**2
    if centered:
        m = alpha * m + (1 - alpha) * g
    variance = v - m**2 if centered else v
    scaled = g / (sqrt(variance) + eps)
    if momentum:
        b = momentum * b + scaled
    return p - lr * (b if momentum else scaled), v, m, b
