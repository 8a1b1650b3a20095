"""D-Adaptation and Prodigy as their papers state them, for the parameters as one vector or matrix.

Where the papers divide by a norm that is zero, as while all gradients are, the estimate stays as it is.
"""

from itertools import count
from typing import Any

from .of_muon import by_entries
from .papers import Gradient, Steps, mp, sqrt


def inner(a: Any, b: Any) -> Any:
    return sum(x * y for x, y in zip(a, b, strict=True))


def dadapt_adam_paper(
    theta: Any,
    grad: Gradient,
    lr: Any = 1.0,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
    d0: Any = 1e-6,
) -> Steps:
    """D-Adapted Adam; Defazio & Mishchenko 2023 (arXiv:2301.07733), gamma_k for lr.

    m_{k+1} = b1 m_k + (1 - b1) d_k gamma_k g_k; v_{k+1} = b2 v_k + (1 - b2) g_k^2;
    A_{k+1} = diag(sqrt(v_{k+1}) + eps); x_{k+1} = x_k - A_{k+1}^-1 m_{k+1};
    s_{k+1} = sqrt(b2) s_k + (1 - sqrt(b2)) d_k gamma_k g_k;
    r_{k+1} = sqrt(b2) r_k + (1 - sqrt(b2)) d_k gamma_k <g_k, s_k> in the norm of A_{k+1}^-1;
    d_{k+1} = max(d_k, r_{k+1} / ((1 - sqrt(b2)) |s_{k+1}|_1)).
    """
    m, v, s, r, d = 0 * theta, 0 * theta, 0 * theta, mp.mpf(0), d0
    root = sqrt(beta2)
    for k in count(1):
        g = grad(k, theta)
        m = beta1 * m + (1 - beta1) * d * lr(k) * g
        v = beta2 * v + (1 - beta2) * by_entries(lambda x: x**2, g)
        a = by_entries(lambda x: sqrt(x) + eps, v)
        r = root * r + (1 - root) * d * lr(k) * inner(g, by_entries(lambda x, y: x / y, s, a))
        s = root * s + (1 - root) * d * lr(k) * g
        if any(s):
            d = max(d, r / ((1 - root) * sum(map(abs, s))))
        theta = yield theta - by_entries(lambda x, y: x / y, m, a)


def prodigy_paper(
    theta: Any,
    grad: Gradient,
    lr: Any = 1.0,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
    d0: Any = 1e-6,
) -> Steps:
    """Prodigy, the version of Adam; Mishchenko & Defazio 2024 (arXiv:2306.06101), gamma_k for lr.

    m_{k+1} = b1 m_k + (1 - b1) d_k g_k; v_{k+1} = b2 v_k + (1 - b2) d_k^2 g_k^2;
    r_{k+1} = sqrt(b2) r_k + (1 - sqrt(b2)) gamma_k d_k^2 <g_k, x_0 - x_k>;
    s_{k+1} = sqrt(b2) s_k + (1 - sqrt(b2)) gamma_k d_k^2 g_k; d_{k+1} = max(d_k, r_{k+1} / |s_{k+1}|_1);
    x_{k+1} = x_k - gamma_k d_k m_{k+1} / (sqrt(v_{k+1}) + d_k eps).
    """
    x0, m, v, s, r, d = theta, 0 * theta, 0 * theta, 0 * theta, mp.mpf(0), d0
    root = sqrt(beta2)
    for k in count(1):
        g = grad(k, theta)
        m = beta1 * m + (1 - beta1) * d * g
        v = beta2 * v + (1 - beta2) * d**2 * by_entries(lambda x: x**2, g)
        r = root * r + (1 - root) * lr(k) * d**2 * inner(g, x0 - theta)
        s = root * s + (1 - root) * lr(k) * d**2 * g
        step = lr(k) * d * by_entries(lambda x, y, d=d: x / (sqrt(y) + d * eps), m, v)
        if any(s):
            d = max(d, r / sum(map(abs, s)))
        theta = yield theta - step


ALGORITHMS = {"dadapt_adam_paper": dadapt_adam_paper, "prodigy_paper": prodigy_paper}
SHAPES = {name: [(2, 3), (6,)] for name in ALGORITHMS}
CASES: dict[str, list[dict[str, Any]]] = {
    name: [
        {"eps": 1e-6},
        {"lr": 0.5, "d0": 1e-2, "eps": 1e-2},
        {"beta1": 0.5, "beta2": 0.9, "d0": 0.1, "eps": 1e-2},
    ]
    for name in ALGORITHMS
}
UNMODIFIED = {*ALGORITHMS}
