"""Averaging: the weights to use are the mean of those that the steps go through."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter
from ravine.ops import maximum, where
from ravine.rule import rule, scalar


@rule(
    paper="Polyak & Juditsky, 1992. Acceleration of Stochastic Approximation by Averaging",
    at="doi:10.1137/0330046, in the form of torch.optim.ASGD",
    card=Card(
        title="ASGD",
        names="averaged SGD, averaged stochastic gradient descent, Polyak averaging, "
        "Polyak-Ruppert averaging",
        witnesses=(
            Witness(
                "torch 2.13.0",
                "torch.optim.ASGD(lr=lr, lambd=lambd, alpha=alpha, t0=t0)",
                needs={"weight_decay": 0, "maximize": False},
                state={"eta": "eta", "mu": "mu", "ax": "ax"},
                late=True,
            ),
        ),
    ),
    eta=scalar("lr"),
    mu=scalar(1.0),
    lr=Hyperparameter("learning rate of the first step", low=0.0, search=(1e-4, 10.0)),
    lambd=Hyperparameter("pull of the weights towards zero, and decay of lr", search=(1e-6, 1e-2)),
    alpha=Hyperparameter("power with which lr falls", search=(0.5, 1.0)),
    t0=Hyperparameter(
        "the weights are averaged from two steps after this one on", search=(1.0, 1e6)
    ),
    evaluate=lambda p, ax: ax,
)
def asgd(p, g, eta, mu, ax, t, *, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6):
    """Gradient descent with a falling lr, and averaged weights.

    Evaluate with ax: the weights of the last step until step t0 + 2, and their mean from there on.

    Elsewhere:
        torch.optim.ASGD: this rule; the mean is in the state, as "ax", and evaluating with it is left
            to the user.
        Polyak & Juditsky 1992: the mean of all steps, no decay of the weights.
    """
    p = p * (1 - lambd * eta) - eta * g
    ax = where(mu == 1, p, ax + mu * (p - ax))
    eta = lr / (1 + lambd * lr * t) ** alpha
    mu = 1 / maximum(1, t - t0)
    return p, eta, mu, ax
