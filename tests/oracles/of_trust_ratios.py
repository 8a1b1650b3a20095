"""Layer-wise rates as their papers state them, of matrices; see papers.py."""

from itertools import count, product
from typing import Any

from .papers import Gradient, Steps, mp, sqrt


def lars(
    theta: Any,
    grad: Gradient,
    lr: Any = 1.0,
    momentum: Any = 0.9,
    weight_decay: Any = 5e-4,
    trust_coefficient: Any = 1e-3,
) -> Steps:
    """LARS; You, Gitman & Ginsburg 2017 (arXiv:1708.03888), Algorithm 1, for one layer.

    lambda^l = eta |w| / (|g| + beta |w|), gamma the learning rate of the step; v_0 = 0. Where w or g is
    zero the paper has lambda^l = 0 or 0 / 0; there lambda^l is 1, as in every package.
    """
    m, beta, eta, v = momentum, weight_decay, trust_coefficient, 0 * theta
    for t in count(1):
        g = grad(t, theta)
        w_norm, g_norm = mp.mnorm(theta, "f"), mp.mnorm(g, "f")
        rate = eta * w_norm / (g_norm + beta * w_norm) if w_norm and g_norm else 1
        v = m * v + lr(t) * rate * (g + beta * theta)
        theta = yield theta - v


def lamb(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-6,
    weight_decay: Any = 0.0,
) -> Steps:
    """LAMB; You et al. 2020 (arXiv:1904.00962), for one layer, with phi(z) = z.

    r = m_hat / (sqrt(v_hat) + epsilon); x = x - eta phi(|x|) / |r + lambda x| (r + lambda x). Where one
    of the lengths is zero, their ratio is 1, as in every package.
    """
    m = v = 0 * theta
    for t in count(1):
        g = grad(t, theta)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g.apply(lambda x: x**2)
        r = mp.matrix(theta.rows, theta.cols)
        for i, j in product(range(theta.rows), range(theta.cols)):
            r[i, j] = m[i, j] / (1 - beta1**t) / (sqrt(v[i, j] / (1 - beta2**t)) + eps)
        update = r + weight_decay * theta
        x_norm, update_norm = mp.mnorm(theta, "f"), mp.mnorm(update, "f")
        ratio = x_norm / update_norm if x_norm and update_norm else 1
        theta = yield theta - lr(t) * ratio * update


SCHEDULE = tuple(0.1 * (1 + t % 3) * 0.97**t for t in range(50))
ALGORITHMS = {"lars": lars, "lamb": lamb}
SHAPES = {"lars": [(2, 3), (6,)], "lamb": [(2, 3), (6,)]}
CASES: dict[str, list[dict[str, Any]]] = {
    "lars": [
        {},
        {"lr": 10.0, "momentum": 0.5},
        {"weight_decay": 0.1, "trust_coefficient": 0.1},
        {"momentum": 0.0, "weight_decay": 0.0},
        {"lr": SCHEDULE},
    ],
    "lamb": [
        {},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.6},
        {"eps": 1e-2, "weight_decay": 0.3},
        {"lr": SCHEDULE},
    ],
}
