"""RAdam and Yogi, as their papers state them."""

from itertools import count
from typing import Any

from .papers import Gradient, Steps, mp, mpf, sqrt


def radam_paper(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
) -> Steps:
    """RAdam; Liu et al. 2020 (arXiv:1908.03265), Algorithm 2, with an epsilon beside sqrt(v_t)."""
    m, v, rho_inf = mpf(0), mpf(0), 2 / (1 - beta2) - 1
    for t in count(1):
        g = grad(t, theta)
        v = beta2 * v + (1 - beta2) * g**2
        m = beta1 * m + (1 - beta1) * g
        m_hat = m / (1 - beta1**t)
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 4:
            adaptive = sqrt(1 - beta2**t) / (sqrt(v) + eps)
            r = sqrt(((rho - 4) * (rho - 2) * rho_inf) / ((rho_inf - 4) * (rho_inf - 2) * rho))
            theta = yield theta - lr(t) * r * m_hat * adaptive
        else:
            theta = yield theta - lr(t) * m_hat


def yogi_paper(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-2,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-3,
) -> Steps:
    """Yogi; Zaheer et al. 2018, Algorithm 2."""
    m = v = mpf(0)
    for t in count(1):
        g = grad(t, theta)
        m = beta1 * m + (1 - beta1) * g
        v = v - (1 - beta2) * mp.sign(v - g**2) * g**2
        theta = yield theta - lr(t) * m / (sqrt(v) + eps)


ALGORITHMS = {"radam_paper": radam_paper, "yogi_paper": yogi_paper}
CASES: dict[str, list[dict[str, Any]]] = {
    "radam_paper": [
        {},
        {"lr": 0.1, "eps": 1e-2},
        {"beta1": 0.5, "beta2": 0.9, "lr": 0.1},
        {"beta2": 0.5},
    ],
    "yogi_paper": [{}, {"lr": 0.1, "eps": 1e-2}, {"beta1": 0.5, "beta2": 0.7}],
}
