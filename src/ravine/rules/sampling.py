"""Sampling: steps with noise, whose weights are draws from a distribution."""

from ravine.cards import Card
from ravine.hyperparameters import Hyperparameter
from ravine.ops import normal, sqrt
from ravine.rule import rule


@rule(
    paper="Welling & Teh, 2011. Bayesian Learning via Stochastic Gradient Langevin Dynamics",
    at="the update of the parameters, with a temperature",
    card=Card(title="SGLD", names="stochastic gradient Langevin dynamics, Langevin dynamics"),
    lr=Hyperparameter(
        "learning rate: its half is the factor of the gradient, its root that of the noise",
        low=0.0,
        search=(1e-6, 1e-1),
    ),
    temperature=Hyperparameter(
        "what is sampled is exp(-loss / temperature); at 0 there is no noise",
        0.0,
        search=(1e-6, 1.0),
    ),
)
def sgld(p, g, *, lr=1e-3, temperature=1.0):
    """Descent with noise: samples from exp(-loss / temperature).

    For a posterior, the loss is minus its logarithm, a sum over all N data; where g is the gradient of
    their mean, the temperature is 1 / N. The distribution is exact only as lr goes to zero; for a loss
    of p**2 / 2 its variance is temperature / (1 - lr / 4). The noise of mini-batches adds to it.

    Elsewhere:
        Welling & Teh 2011: this rule, with epsilon for lr, and epsilon falling.
        optax.noisy_sgd: the noise is added to the gradient and falls by its own schedule: for descent,
            not for samples.
    """
    return p - lr / 2 * g + sqrt(lr * temperature) * normal(p)
