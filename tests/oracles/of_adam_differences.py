"""Adan and MARS, as their papers and MARS's authors' code state them."""

from itertools import count, product
from typing import Any

from .of_muon import zeropower
from .papers import Gradient, Steps, mp, mpf, sqrt


def adan_paper(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.98,
    beta2: Any = 0.92,
    beta3: Any = 0.99,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
) -> Steps:
    """Adan; Xie et al. 2022 (arXiv:2208.06677), Algorithm 1 without restarts.

    m_0 = g_0, v_0 = 0, v_1 = g_1 - g_0, n_0 = g_0^2, and theta_1 is made of these. The betas of the
    paper weigh what is new: here they are b1, b2, b3.
    """
    b1, b2, b3 = 1 - beta1, 1 - beta2, 1 - beta3
    m = v = n = last = mpf(0)
    for k in count(0):
        g = grad(k + 1, theta)
        change = g - last
        if k == 0:
            m, v, n = g, mpf(0), g**2
        else:
            m = (1 - b1) * m + b1 * g
            v = change if k == 1 else (1 - b2) * v + b2 * change
            n = (1 - b3) * n + b3 * (g + (1 - b2) * change) ** 2
        eta = lr(k + 1) / (sqrt(n) + eps)
        last = g
        theta = yield (theta - eta * (m + (1 - b2) * v)) / (1 + weight_decay * lr(k + 1))


def corrected(g: Any, last: Any, gamma: Any, beta1: Any) -> Any:
    """c_t = g_t + gamma beta1 / (1 - beta1) (g_t - g_{t-1}), clipped to norm 1."""
    c = g + gamma * beta1 / (1 - beta1) * (g - last)
    length = mp.mnorm(c, "f")
    return c / length if length > 1 else c


def mars(
    theta: Any,
    grad: Gradient,
    lr: Any = 3e-3,
    beta1: Any = 0.95,
    beta2: Any = 0.99,
    gamma: Any = 0.025,
    eps: Any = 1e-8,
) -> Steps:
    """MARS-AdamW without decay; Yuan et al. (arXiv:2411.10438), with the last gradient as it was taken.

    AdamW's means of c_t.
    """
    m, v, last = 0 * theta, 0 * theta, 0 * theta
    for t in count(1):
        g = grad(t, theta)
        c = corrected(g, last, gamma, beta1)
        m = beta1 * m + (1 - beta1) * c
        v = beta2 * v + (1 - beta2) * c.apply(lambda x: x**2)
        step = mp.matrix(theta.rows, theta.cols)
        for i in product(range(theta.rows), range(theta.cols)):
            m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
            step[i] = m_hat / (sqrt(v_hat) + eps)
        last = g
        theta = yield theta - lr(t) * step


def mars_shampoo(
    theta: Any,
    grad: Gradient,
    lr: Any = 3e-3,
    beta1: Any = 0.95,
    gamma: Any = 0.025,
    ns_eps: Any = 1e-8,
    ns_steps: Any = 5,
) -> Steps:
    """MARS-Shampoo without decay; update_fn of the authors' mars.py, for a matrix.

    exp_avg = beta1 exp_avg + (1 - beta1) c_t; NewtonSchulz(exp_avg / (1 - beta1)) times
    max(1, rows / columns)**0.5.
    """
    exp_avg, last = 0 * theta, 0 * theta
    for t in count(1):
        g = grad(t, theta)
        exp_avg = beta1 * exp_avg + (1 - beta1) * corrected(g, last, gamma, beta1)
        last = g
        factor = sqrt(max(1, mpf(theta.rows) / theta.cols))
        theta = yield theta - lr(t) * factor * zeropower(exp_avg / (1 - beta1), ns_steps, ns_eps)


ALGORITHMS = {"adan_paper": adan_paper, "mars": mars, "mars_shampoo": mars_shampoo}
SHAPES = {"mars": [(2, 3), (6,)], "mars_shampoo": [(2, 3), (3, 2)]}
UNMODIFIED = {"mars_shampoo"}
CASES: dict[str, list[dict[str, Any]]] = {
    "adan_paper": [
        {},
        {"lr": 0.1, "eps": 1e-2},
        {"beta1": 0.5, "beta2": 0.3, "beta3": 0.6},
        {"weight_decay": 0.3, "lr": 0.1},
    ],
    "mars": [{}, {"lr": 0.1, "eps": 1e-2}, {"beta1": 0.5, "beta2": 0.5}, {"gamma": 0.5}],
    "mars_shampoo": [{}, {"lr": 0.1, "beta1": 0.5, "gamma": 0.5, "ns_eps": 1.0, "ns_steps": 3}],
}
