"""Preconditioners of matrices in 50 digits, transcribed from their papers and their authors' code.

Eigenvectors and factors of QR are determined up to their signs. The paths of Shampoo, SOAP and Dion do
not depend on these; of GaLore's they do, and the rule says which it takes. Random numbers are inputs:
those that `ravine.draws` makes for a rule that is called by hand.
"""

from itertools import count
from typing import Any

import numpy as np

from ravine.draws import Draw, normal

from .papers import Gradient, Steps, mp, mpf, sqrt


def frobenius(x: Any) -> Any:
    return mp.mnorm(x, "f")


def column(x: Any, j: int) -> Any:
    return mp.matrix([x[i, j] for i in range(x.rows)])


def beside(columns: Any) -> Any:
    """A matrix of columns."""
    made = mp.matrix(columns[0].rows, len(columns))
    for j, x in enumerate(columns):
        for i in range(x.rows):
            made[i, j] = x[i]
    return made


def orthonormal(x: Any) -> Any:
    """Gram and Schmidt's Q of X, whose R has a positive diagonal."""
    found: list[Any] = []
    for j in range(x.cols):
        rest = column(x, j)
        for _ in range(2):
            for q in found:
                rest = rest - (q.T * rest)[0] * q
        found.append(rest / frobenius(rest))
    return beside(found)


def drawn(rows: int, columns: int, t: int) -> Any:
    """The first normal numbers that a rule draws in step t, in the shape of a matrix."""
    return mp.matrix(normal(np, np.empty((rows, columns)), 0, Draw(0, t, 0)).tolist())


def dion(
    theta: Any,
    grad: Gradient,
    lr: Any = 0.01,
    momentum: Any = 0.95,
    rank: Any = 768,
    eps: Any = 1e-8,
) -> Steps:
    """Dion; dion_update of the authors' dion_simple.py (arXiv:2504.05295), from a drawn Q.

    M += G; P = qr(M Q); R = M^T P; M -= (1 - mu) P R^T; Q = R / (|columns of R| + eps);
    X -= lr sqrt(rows / columns) P Q^T.
    """
    r = min(int(rank), theta.rows, theta.cols)
    m, q = 0 * theta, drawn(r, theta.cols, 1).T
    for t in count(1):
        m = m + grad(t, theta)
        p = orthonormal(m * q)
        right = m.T * p
        m = m - (1 - momentum) * p * right.T
        columns = [column(right, j) for j in range(r)]
        q = beside([x / (frobenius(x) + eps) for x in columns])
        theta = yield theta - lr(t) * sqrt(mpf(theta.rows) / theta.cols) * p * q.T


def power(a: Any, exponent: Any) -> Any:
    """A power of a symmetric matrix."""
    values, vectors = mp.eigsy(a)
    return vectors * mp.diag([x**exponent for x in values]) * vectors.T


def shampoo(theta: Any, grad: Gradient, lr: Any = 1e-3, eps: Any = 1e-6, every: Any = 1) -> Steps:
    """Shampoo, matrix case; Gupta et al. 2018, Algorithm 1; the roots are of every k-th step.

    L_0 = eps I, R_0 = eps I; L_t = L_{t-1} + G G^T, R_t = R_{t-1} + G^T G;
    W_{t+1} = W_t - eta L_t^{-1/4} G R_t^{-1/4}.
    """
    l, r = eps * mp.eye(theta.rows), eps * mp.eye(theta.cols)  # noqa: E741
    for t in count(1):
        g = grad(t, theta)
        l, r = l + g * g.T, r + g.T * g  # noqa: E741
        if (t - 1) % int(every) == 0:
            left, right = power(l, mpf(-1) / 4), power(r, mpf(-1) / 4)
        theta = yield theta - lr(t) * left * g * right


def skipping_adam(theta: Any, grad: Gradient, lr: Any, beta1: Any, beta2: Any, eps: Any) -> Steps:
    """Adam from the second step on, with eps before the bias correction."""
    exp_avg, exp_avg_sq = 0 * theta, 0 * theta
    theta = yield theta
    for step in count(1):
        g = grad(step + 1, theta)
        exp_avg = beta1 * exp_avg + (1 - beta1) * g
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g.apply(lambda x: x * x)
        step_size = lr(step + 1) * sqrt(1 - beta2**step) / (1 - beta1**step)
        after = theta.copy()
        for i in range(theta.rows):
            after[i] -= step_size * exp_avg[i] / (sqrt(exp_avg_sq[i]) + eps)
        theta = yield after


def soap(
    theta: Any,
    grad: Gradient,
    lr: Any = 3e-3,
    beta1: Any = 0.95,
    beta2: Any = 0.95,
    shampoo_beta: Any = 0.95,
    eps: Any = 1e-8,
    every: Any = 10,
) -> Steps:
    """SOAP; the authors' soap.py, after Vyas et al. 2024, Algorithms 3 and 4, without its decay.

    exp_avg is kept in the basis, and turned with it. A vector, here one column, has no basis; its first
    step is left out all the same.
    """
    if theta.cols == 1:
        yield from skipping_adam(theta, grad, lr, beta1, beta2, eps)
    sides = (theta.rows, theta.cols)
    gg = [mp.zeros(n, n) for n in sides]
    q = [mp.eye(n) for n in sides]
    exp_avg, exp_avg_sq, step = 0 * theta, 0 * theta, 0

    def update(g: Any) -> None:
        gg[0] = shampoo_beta * gg[0] + (1 - shampoo_beta) * g * g.T
        gg[1] = shampoo_beta * gg[1] + (1 - shampoo_beta) * g.T * g

    def sorted_by(x: Any, order: list[int], axis: int) -> Any:
        return beside([column(x, j) for j in order]) if axis else sorted_by(x.T, order, 1).T

    for t in count(1):
        g = grad(t, theta)
        if t == 1:
            update(g)
            q = [mp.eigsy(m)[1] for m in gg]
            theta = yield theta
            continue
        projected = q[0].T * g * q[1]
        step += 1
        exp_avg = beta1 * exp_avg + (1 - beta1) * projected
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * projected.apply(lambda x: x * x)
        step_size = lr(t) * sqrt(1 - beta2**step) / (1 - beta1**step)
        norm_grad = mp.matrix(*sides)
        for i in range(sides[0]):
            for j in range(sides[1]):
                norm_grad[i, j] = exp_avg[i, j] / (sqrt(exp_avg_sq[i, j]) + eps)
        after = theta - step_size * q[0] * norm_grad * q[1].T
        update(g)
        if step % int(every) == 0:
            exp_avg = q[0] * exp_avg * q[1].T
            for axis in (0, 1):
                estimated = q[axis].T * gg[axis] * q[axis]
                order = sorted(range(sides[axis]), key=lambda i, e=estimated: -e[i, i])
                exp_avg_sq = sorted_by(exp_avg_sq, order, axis)
                q[axis] = orthonormal(gg[axis] * sorted_by(q[axis], order, 1))
            exp_avg = q[0].T * exp_avg * q[1]
        theta = yield after


def psgd_kron(
    theta: Any,
    grad: Gradient,
    lr: Any = 3e-4,
    beta1: Any = 0.9,
    precond_lr: Any = 0.1,
    least: Any = 0.03,
    decay: Any = 1e-3,
    flat_start: Any = 500,
    damping: Any = 2**-11.5,
    most: Any = 1.1,
) -> Steps:
    """PSGD Kron; Kron.step of kron_torch's kron.py, for a matrix, with both factors triangular.

    damping is the root of float32's epsilon there, and most 1.1. Without _balance_Q, which a random
    number calls about every hundredth time: it makes one factor as much larger as the other smaller.
    """
    q1, q2, buffer = mp.eye(theta.rows), mp.eye(theta.cols), 0 * theta
    counter = 0

    def lower_bound(a: Any) -> Any:
        largest = max(abs(x) for x in a)
        a = a / largest
        columns = [column(a, j) for j in range(a.cols)]
        longest = max(columns, key=frobenius)
        x = longest.T * a
        return frobenius(a * (x / frobenius(x)).T) * largest

    def updated(q: Any, term1: Any, term2: Any) -> Any:
        step = precond_lr * (term1 - term2)
        for i in range(q.rows):
            for j in range(i):
                step[i, j] = mpf(0)
        return q - step / lower_bound(term1 + term2) * q

    for t in count(1):
        probability = min(max(mp.exp(-decay * (t - 1 - flat_start)), least), mpf(1))
        counter += 1
        do_update = counter >= 1 / probability
        if do_update:
            counter = 0
        buffer = beta1 * buffer + (1 - beta1) * grad(t, theta)
        debiased = buffer / (1 - beta1**t)
        if do_update:
            v = drawn(theta.rows, theta.cols, t)
            mean = sum(abs(x) for x in debiased) / (theta.rows * theta.cols)
            a = q1 * (debiased + damping * mean * v) * q2.T
            b = (q1.T) ** -1 * v * q2**-1
            q1, q2 = (
                updated(q1, a * a.T, b * b.T),
                updated(q2, a.T * a, b.T * b),
            )
        pre = q1.T * q1 * debiased * q2.T * q2
        size = frobenius(pre) / sqrt(theta.rows * theta.cols)
        theta = yield theta - lr(t) * min(mpf(1), most / (size + mpf("1e-12"))) * pre


def galore(
    theta: Any,
    grad: Gradient,
    lr: Any = 0.01,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
    rank: Any = 128,
    every: Any = 200,
    scale: Any = 0.25,
) -> Steps:
    """Adam with GaLore; Zhao et al. 2024, Algorithm 2, from t = 0 on.

    P_t = U[:, :r] of the SVD of G_t if t mod T = 0; R_t = P_t^T G_t; Adam's N_t of R_t;
    W_{t+1} = W_t - eta alpha P_t N_t. The entries of each column of P_t have a sum that is not negative.
    """
    r = min(int(rank), theta.rows, theta.cols)
    m, v = mp.zeros(r, theta.cols), mp.zeros(r, theta.cols)
    for t in count(0):
        g = grad(t + 1, theta)
        if t % int(every) == 0:
            values, vectors = mp.eigsy(g * g.T)
            order = sorted(range(theta.rows), key=lambda i: -values[i])[:r]
            columns = [column(vectors, i) for i in order]
            p = beside([-x if sum(x) < 0 else x for x in columns])
        low = p.T * g
        m = beta1 * m + (1 - beta1) * low
        v = beta2 * v + (1 - beta2) * low.apply(lambda x: x * x)
        n = mp.matrix(r, theta.cols)
        for i in range(r):
            for j in range(theta.cols):
                corrected = sqrt(v[i, j] / (1 - beta2 ** (t + 1)))
                n[i, j] = m[i, j] / (1 - beta1 ** (t + 1)) / (corrected + eps)
        theta = yield theta - lr(t + 1) * scale * p * n


ALGORITHMS = {
    algorithm.__name__: algorithm for algorithm in (dion, shampoo, soap, psgd_kron, galore)
}
CASES: dict[str, list[dict[str, Any]]] = {
    "dion": [{}, {"lr": 0.1, "momentum": 0.5, "eps": 1e-2}, {"rank": 1}],
    # Roots that are kept meet gradients outside of what they were made of: there eps alone counts, and
    # of 1e6 + eps rounding leaves as many digits of eps as it is above 1e-10.
    "shampoo": [{}, {"lr": 0.1, "eps": 1e3, "every": 7}],
    "soap": [
        {},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.8, "shampoo_beta": 0.9, "eps": 1e-2, "every": 3},
    ],
    "psgd_kron": [
        {},
        {"lr": 0.1, "beta1": 0.5, "precond_lr": 0.5, "damping": 0.1, "most": 0.3},
        {"least": 0.2, "decay": 0.1, "flat_start": 5},
    ],
    "galore": [
        {},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 1e-2, "rank": 1, "every": 7, "scale": 1.0},
    ],
}
SHAPES: dict[str, list[tuple[int, ...]]] = {name: [(2, 3), (3, 2)] for name in ALGORITHMS}
SHAPES["soap"].append((6,))
# Their matrices take long in 50 digits; that modifiers go around a rule of matrices is tested on muon.
UNMODIFIED = {*ALGORITHMS}
