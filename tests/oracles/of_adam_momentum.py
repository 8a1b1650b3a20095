"""Relatives of Adam with another momentum, as their papers state them."""

from itertools import count
from typing import Any

from .papers import Gradient, Steps, mp, mpf, sqrt


def nadam_paper(
    theta: Any,
    grad: Gradient,
    lr: Any = 2e-3,
    beta1: Any = 0.99,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
    momentum_decay: Any = 4e-3,
) -> Steps:
    """Nadam; Dozat 2016, Algorithm 2, with the momentum schedule of its experiments.

    mu_t = mu (1 - 0.5 0.96^{t / 250}), with mu = beta1 and 1 / 250 = momentum_decay; nu = beta2.
    """
    nu, m, n = beta2, mpf(0), mpf(0)

    def mu(t: int) -> Any:
        return beta1 * (1 - mpf("0.5") * mpf(0.96) ** (t * momentum_decay))

    product = mpf(1)
    for t in count(1):
        g = grad(t, theta)
        product = product * mu(t)
        m = mu(t) * m + (1 - mu(t)) * g
        n = nu * n + (1 - nu) * g**2
        m_hat = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        n_hat = nu * n / (1 - nu**t)
        theta = yield theta - lr(t) / (sqrt(n_hat) + eps) * m_hat


def ademamix(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    beta3: Any = 0.9999,
    alpha: Any = 5.0,
    alpha_warmup: Any = 0.0,
    beta3_warmup: Any = 0.0,
    eps: Any = 1e-8,
) -> Steps:
    """AdEMAMix; Pagliardini, Ablin & Grangier (arXiv:2409.03137), Algorithm 1 without lambda.

    The schedules: f_alpha = min(t alpha / T, alpha), and f_beta3 = min(exp(ln beta_start ln beta3 /
    ((1 - t / T) ln beta3 + (t / T) ln beta_start)), beta3) with beta_start = beta1.
    """
    m1 = m2 = nu = mpf(0)
    for t in count(1):
        g = grad(t, theta)
        alpha_t, beta3_t = alpha, beta3
        if alpha_warmup:
            alpha_t = min(t * alpha / alpha_warmup, alpha)
        if beta3_warmup and t < beta3_warmup:
            ln1, ln3, x = mp.ln(beta1), mp.ln(beta3), t / beta3_warmup
            beta3_t = min(mp.exp(ln1 * ln3 / ((1 - x) * ln3 + x * ln1)), beta3)
        m1 = beta1 * m1 + (1 - beta1) * g
        m2 = beta3_t * m2 + (1 - beta3_t) * g
        nu = beta2 * nu + (1 - beta2) * g**2
        m1_hat, nu_hat = m1 / (1 - beta1**t), nu / (1 - beta2**t)
        theta = yield theta - lr(t) * (m1_hat + alpha_t * m2) / (sqrt(nu_hat) + eps)


ALGORITHMS = {"nadam_paper": nadam_paper, "ademamix": ademamix}
CASES: dict[str, list[dict[str, Any]]] = {
    "nadam_paper": [
        {},
        {"lr": 0.1, "eps": 1e-2},
        {"beta1": 0.5, "beta2": 0.5, "momentum_decay": 1.0},
        {"momentum_decay": 0.0, "lr": 0.1},
    ],
    "ademamix": [
        {},
        {"lr": 0.1, "eps": 1e-2, "alpha": 8.0},
        {"beta1": 0.5, "beta2": 0.5, "beta3": 0.99},
        {"alpha_warmup": 20.0},
        {"beta3_warmup": 30.0, "lr": 0.1},
        {"alpha_warmup": 200.0, "beta3_warmup": 7.5, "beta3": 0.99},
    ],
}
