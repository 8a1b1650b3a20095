"""Rules of curvature, whose signal comes at some steps only, against their papers written a second time.

Each oracle is of one number, or of one kernel of a convolution, in float64, with loops and no rule.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

import ravine.numpy

STEPS = 200
SHAPES = [(), (5,), (4, 3), (3, 2, 2, 2)]
Row = Sequence[float]
# (gradients, estimates or None) of each step -> the new numbers
Steps = Iterator[tuple[Row, Row | None]]


LATE = (1, 2, 14, 15, 51)  # steps at which the last tensor has no gradient, and so takes no step


def is_given(t: int) -> bool:
    """Whether there are estimates: not at first, then at every seventh step, and at two in a row."""
    return t > 9 and (t % 7 == 0 or 50 < t < 53)


def sophia(theta: Row, steps: Steps, lr, beta1, beta2, gamma, eps, weight_decay) -> Iterator[Row]:
    """Sophia; Liu et al. 2024 (arXiv:2305.14342), Algorithm 3, the estimates being given.

    m_t = b1 m_{t-1} + (1 - b1) g_t; h_t = b2 h_{t-k} + (1 - b2) h^_t if t mod k = 1, else h_{t-1};
    theta_t = theta_t - eta_t lambda theta_t; theta_{t+1} = theta_t - eta_t clip(m_t / max(gamma h_t,
    eps), 1).
    """
    theta, m, h = list(theta), [0.0] * len(theta), [0.0] * len(theta)
    for g, estimate in steps:
        for i in range(len(theta)):
            m[i] = beta1 * m[i] + (1 - beta1) * g[i]
            if estimate is not None:
                h[i] = beta2 * h[i] + (1 - beta2) * estimate[i]
            theta[i] -= lr * weight_decay * theta[i]
            theta[i] -= lr * max(-1.0, min(1.0, m[i] / max(gamma * h[i], eps)))
        yield list(theta)


def sophia_g(
    theta: Row, steps: Steps, lr, beta1, beta2, rho, bs, eps, weight_decay
) -> Iterator[Row]:
    """SophiaG; _single_tensor_sophiag and update_hessian of the authors' sophia.py, with eps for 1e-15.

    hessian = b2 hessian + (1 - b2) g g of sampled labels; param *= 1 - lr weight_decay;
    ratio = min(|exp_avg| / (rho bs hessian + eps), 1); param -= lr sign(exp_avg) ratio.
    """
    theta, m, h = list(theta), [0.0] * len(theta), [0.0] * len(theta)
    for g, sampled in steps:
        for i in range(len(theta)):
            if sampled is not None:
                h[i] = beta2 * h[i] + (1 - beta2) * sampled[i] * sampled[i]
            m[i] = beta1 * m[i] + (1 - beta1) * g[i]
            theta[i] *= 1 - lr * weight_decay
            ratio = min(abs(m[i]) / (rho * bs * h[i] + eps), 1.0)
            theta[i] -= lr * math.copysign(ratio, m[i])
        yield list(theta)


def adahessian(
    theta: Row, steps: Steps, lr, beta1, beta2, eps, weight_decay, hessian_power, kernel=1
) -> Iterator[Row]:
    """AdaHessian; Yao et al. 2021 (arXiv:2006.00719), Algorithm 1, with AdamW's decay.

    D^(s): of each kernel of so many numbers the mean of |D|; m_t as Adam's; v_t the root of the mean of
    D^(s)^2, corrected by the number of estimates so far, to the power k; theta -= eta m_t / v_t. The eps
    is the code's. Before the first estimate nothing is known to divide by: only the decay acts.
    """
    theta, m, v = list(theta), [0.0] * len(theta), [0.0] * len(theta)
    estimates = 0
    for t, (g, estimate) in enumerate(steps, 1):
        if estimate is not None:
            estimates += 1
            for first in range(0, len(theta), kernel):
                own = [abs(x) for x in estimate[first : first + kernel]]
                for i in range(first, first + kernel):
                    v[i] = beta2 * v[i] + (1 - beta2) * (sum(own) / kernel) ** 2
        for i in range(len(theta)):
            m[i] = beta1 * m[i] + (1 - beta1) * g[i]
            theta[i] -= lr * weight_decay * theta[i]
            if estimates:
                root = math.sqrt(v[i] / (1 - beta2**estimates)) ** hessian_power
                theta[i] -= lr * m[i] / (1 - beta1**t) / (root + eps)
        yield list(theta)


def averaging(theta, steps, **options):
    return adahessian(theta, steps, kernel=4 if len(theta) == 24 else 1, **options)


ORACLES: dict[str, tuple[Callable[..., Iterator[Row]], dict[str, float]]] = {
    "sophia": (
        sophia,
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "gamma": 0.3, "eps": 1e-2, "weight_decay": 0.1},
    ),
    "sophia_g": (
        sophia_g,
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "rho": 0.3, "bs": 7.0, "eps": 1e-2}
        | {"weight_decay": 0.3},
    ),
    "adahessian": (
        averaging,
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-2, "weight_decay": 0.1}
        | {"hessian_power": 0.7},
    ),
}
ORACLES["adahessian_pointwise"] = (adahessian, ORACLES["adahessian"][1])


def of_one(tensor: int, steps: list) -> list:
    """The gradient, and the estimate if there is one, of a tensor at each step."""
    return [
        (None if g[tensor] is None else g[tensor].ravel(), h and h[tensor].ravel())
        for g, h in steps
    ]


def path(oracle: Callable[..., Iterator[Row]], start: np.ndarray, steps: list, options: dict):
    """The numbers after each step; where there is no gradient they stay."""
    taken = oracle(start.ravel(), (step for step in steps if step[0] is not None), **options)
    now: Row = start.ravel()
    for g, _ in steps:
        now = now if g is None else next(taken)
        yield now


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("name", ORACLES)
def test_a_rule_whose_signal_is_missing_at_most_steps_follows_its_paper(name, engine):
    oracle, loud = ORACLES[name]
    draw = np.random.RandomState(5)
    starts = [np.array(draw.standard_normal(shape)) for shape in SHAPES]
    rule = ravine.get(name)
    [signal] = rule.signals
    steps = []
    for t in range(1, STEPS + 1):
        size = 10 ** draw.uniform(-2, 0.5)
        grads = [np.array(size * draw.standard_normal(shape)) for shape in SHAPES]
        estimates = [np.array(draw.standard_normal(shape)) for shape in SHAPES]
        late = [None] if t in LATE else grads[-1:]
        steps.append(([*grads[:-1], *late], estimates if is_given(t) else None))
    calm = {k: h.default for k, h in rule.hyperparameters.items()}
    for options in (calm, loud):
        optimizer = ravine.numpy.optimizer(name)(
            [x.copy() for x in starts], engine=engine, **rule.parts.gathered(options)
        )
        paths = [path(oracle, x, of_one(i, steps), options) for i, x in enumerate(starts)]
        for (grads, estimates), *rows in zip(steps, *paths, strict=True):
            found = optimizer.step(grads, **({signal: estimates} if estimates else {}))
            way = max(np.abs(x.ravel() - r).max() for x, r in zip(starts, rows, strict=True))
            for x, row in zip(found, rows, strict=True):
                assert np.abs(np.ravel(x) - row).max() <= 1e-12 * max(way, 1e-3)
