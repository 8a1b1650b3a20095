"""Adagrad and Adadelta: each coordinate's step is divided by all the gradients it has seen."""

from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import sqrt
from ravine.rule import filled, rule


@rule(
    paper="Duchi, Hazan & Singer, 2011. Adaptive Subgradient Methods for Online Learning",
    at="jmlr.org/papers/v12/duchi11a.html, figure 1 with diagonal matrices, no regularizer",
    v=filled("v0"),
    lr_decay=Hyperparameter(
        "lr falls as 1 / (1 + this * steps taken)", low=0.0, search=(1e-6, 1e-1)
    ),
    v0=Hyperparameter(
        "what the sum of the squared gradients starts at", low=0.0, search=(1e-4, 1.0)
    ),
    eps="added to the root of the sum of the squared gradients",
)
def adagrad(p, g, v, t, *, lr=1e-2, lr_decay=0.0, v0=0.0, eps=1e-10):
    """The gradient over the root of the sum of its squares.

    The sum only grows, so the steps shrink, as fast as the gradients come.

    Elsewhere:
        torch.optim.Adagrad: this rule; v0 is initial_accumulator_value, in all param groups the one
            that the optimizer was made with.
        Duchi et al. 2011: no lr_decay; eps is called delta.
        Keras: v0 0.1; eps 1e-7 inside the root; lr 1e-3.
        optax.adagrad: v0 0.1; eps 1e-7 inside the root, and no step where the sum is 0.
    """
    v = v + g**2
    rate = lr / (1 + (t - 1) * lr_decay)
    return p - rate * g / (sqrt(v) + eps), v


@rule(
    paper="Zeiler, 2012. ADADELTA: An Adaptive Learning Rate Method",
    at="arXiv:1212.5701, Algorithm 1",
    lr=searched(1e-3, 10.0),  # the paper has none; Keras takes 1e-3
    rho=Hyperparameter(
        "decay rate of the means of the squared gradients and squared steps",
        low=0.0,
        high=1.0,
        search=(1e-3, 0.5),
        towards=1.0,
    ),
    eps="added to both means of squares, inside the roots",
)
def adadelta(p, g, v, u, *, lr=1.0, rho=0.9, eps=1e-6):
    """Steps as long as the last ones were.

    So they are in the parameter's own unit, and need no lr.

    Elsewhere:
        torch.optim.Adadelta: this rule.
        Zeiler 2012: no lr; rho 0.95 in the experiments.
        Keras: lr 1e-3, rho 0.95, eps 1e-7.
        optax.adadelta: this rule, by default without lr.
    """
    v = rho * v + (1 - rho) * g**2  # mean of the squared gradients
    delta = sqrt(u + eps) / sqrt(v + eps) * g
    u = rho * u + (1 - rho) * delta**2  # mean of the squared steps
    return p - lr * delta, v, u
