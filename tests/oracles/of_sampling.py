"""Samplers as their papers state them; see papers.py."""

from itertools import count
from typing import Any

from ravine import draws
from ravine.draws import Draw

from .papers import Gradient, Steps, mpf, sqrt


def sgld(theta: Any, grad: Gradient, lr: Any = 1e-3, temperature: Any = 1.0) -> Steps:
    """Stochastic gradient Langevin dynamics; Welling & Teh 2011.

    Delta theta_t = epsilon_t / 2 (minus the gradient of the loss) + eta_t, eta_t of variance
    epsilon_t: times the temperature. eta_t is of the numbers that `draws` counts out for step t.
    """
    for t in count(1):
        eta = sqrt(lr(t) * temperature) * mpf(draws.normal(None, 0.0, 0, Draw(t=t)))
        theta = yield theta - lr(t) / 2 * grad(t, theta) + eta


ALGORITHMS = {"sgld": sgld}
CASES: dict[str, list[dict[str, Any]]] = {
    "sgld": [{}, {"lr": 0.3}, {"temperature": 1e-3, "lr": 0.1}, {"temperature": 0.0}],
}
