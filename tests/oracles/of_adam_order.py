"""LaProp, as its paper states it."""

from itertools import count
from typing import Any

from .papers import Gradient, Steps, mpf, sqrt


def laprop(
    theta: Any,
    grad: Gradient,
    lr: Any = 4e-4,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-15,
) -> Steps:
    """LaProp; Ziyin, Wang & Ueda 2020 (arXiv:2002.04839), Algorithm 1; mu is beta1, nu is beta2."""
    mu, nu, m, n = beta1, beta2, mpf(0), mpf(0)
    for t in count(1):
        g = grad(t, theta)
        c_m, c_n = 1 - mu**t, 1 - nu**t
        n = nu * n + (1 - nu) * g**2
        m = mu * m + (1 - mu) * (g / (sqrt(n / c_n) + eps))
        theta = yield theta - lr(t) * m / c_m


ALGORITHMS = {"laprop": laprop}
CASES: dict[str, list[dict[str, Any]]] = {
    "laprop": [{}, {"lr": 0.1, "eps": 1e-2}, {"beta1": 0.5, "beta2": 0.5}, {"beta1": 0.99}],
}
