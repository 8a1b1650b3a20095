"""The algorithms as their papers state them, in 50 digits: what the rules are held against.

Everything here was transcribed from the papers and from the algorithm boxes of the torch.optim
documentation, without looking at Ravine's rules. Each algorithm is one loop over the steps of one
coordinate (or, at the end, of one matrix), in its source's notation and order. It asks for the
gradient where the source does, `grad(t, theta)`, reads the learning rate of step t as `lr(t)`,
yields the new parameter, and takes the parameter back at its next step, because decoupled weight
decay may have moved it meanwhile.

`trajectory` runs an algorithm by name over a list of coordinates, or over a matrix made of them; it
makes exact numbers of the hyperparameters and their defaults, and a function of lr.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache
from importlib import import_module
from inspect import signature
from itertools import count, product
from pathlib import Path
from typing import Any

import mpmath

mp = mpmath.mp.clone()  # a context of our own: the global one keeps its precision
mp.dps = 50
mpf, sqrt = mp.mpf, mp.sqrt

Gradient = Callable[[int, Any], Any]
Steps = Generator[Any, Any, None]


def sgd(theta: Any, grad: Gradient, lr: Any = 1e-3) -> Steps:
    """Stochastic gradient descent; Robbins & Monro 1951, "A Stochastic Approximation Method".

    The algorithm box of torch.optim.SGD with mu = 0: theta_t = theta_{t-1} - gamma g_t.
    The defaults of lr differ: torch 1e-3, Keras 0.01, optax has none.
    """
    for t in count(1):
        theta = yield theta - lr(t) * grad(t, theta)


def momentum(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    momentum: Any = 0.9,
    dampening: Any = 0.0,
) -> Steps:
    """Momentum as in torch; the algorithm box of torch.optim.SGD, nesterov off.

    Where it differs from Sutskever et al. 2013, eq. 1-2 (`momentum_classical` below):
    the learning rate multiplies the buffer when it is used, not the gradient when it is stored, so
    the two part as soon as the learning rate changes; and the buffer starts at the first gradient
    itself, not at zero, so that the first gradient is never dampened (documented in a note there).
    With mu = 0 the box keeps no buffer, hence no dampening either: there torch's is `sgd`.
    optax.sgd and TensorFlow 1 (tf.raw_ops.ApplyMomentum) have lr outside as well; they start at
    zero, but have no dampening to show it. Keras has the classical form.
    """
    mu, tau, b = momentum, dampening, None
    for t in count(1):
        g = grad(t, theta)
        b = mu * b + (1 - tau) * g if t > 1 else g
        theta = yield theta - lr(t) * b


def nesterov(theta: Any, grad: Gradient, lr: Any = 1e-3, momentum: Any = 0.9) -> Steps:
    """Nesterov's momentum as in torch; the algorithm box of torch.optim.SGD, nesterov on, tau = 0.

    Sutskever et al. 2013, eq. 3-4, evaluate the gradient ahead, at theta + mu v. Here theta is
    that point itself, as in Bengio, Boulanger-Lewandowski & Pascanu 2013 (arXiv:1212.0901, section
    3.5). At constant lr and mu the trajectories are the same, see `nesterov_ahead`; when lr
    changes they are not, since lr is outside the buffer here (torch, optax) and inside there (both
    papers, Keras).
    """
    mu, b = momentum, None
    for t in count(1):
        g = grad(t, theta)
        b = mu * b + g if t > 1 else g
        theta = yield theta - lr(t) * (g + mu * b)


def momentum_classical(theta: Any, grad: Gradient, lr: Any = 1e-3, momentum: Any = 0.9) -> Steps:
    """Classical momentum; Sutskever, Martens, Dahl & Hinton 2013, eq. 1-2.

    v_{t+1} = mu v_t - epsilon grad f(theta_t); theta_{t+1} = theta_t + v_{t+1}; v_0 = 0.
    Keras's SGD, tf.raw_ops.ResourceApplyKerasMomentum. Not torch's, nor optax's: see `momentum`.
    """
    mu, v = momentum, mpf(0)
    for t in count(1):
        v = mu * v - lr(t) * grad(t, theta)
        theta = yield theta + v


def momentum_ema(theta: Any, grad: Gradient, lr: Any = 1e-2, beta1: Any = 0.9) -> Steps:
    """Gradient descent with momentum; Andrew Ng, "Improving Deep Neural Networks", week 2.

    V_dW = beta V_dW + (1 - beta) dW; W = W - alpha V_dW; V_dW starts at zero. The course calls the
    hyperparameter beta, with 0.9 as its usual value, and does not correct the average's bias.
    """
    beta, v = beta1, mpf(0)
    for t in count(1):
        v = beta * v + (1 - beta) * grad(t, theta)
        theta = yield theta - lr(t) * v


def rmsprop(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-2,
    alpha: Any = 0.99,
    eps: Any = 1e-8,
    centered: bool = False,
    momentum: Any = 0.0,
) -> Steps:
    """RMSprop as in torch; the algorithm box of torch.optim.RMSprop, in its four combinations.

    Tieleman & Hinton 2012 (lecture 6.5) divide by sqrt(MeanSquare), with 0.9 for alpha; there is
    no epsilon on the slide. Graves 2013, eq. 38-45, has the centered form with momentum and
    epsilon *inside* the root: Delta = 0.9 Delta - 1e-4 g / sqrt(n - g_ave^2 + 1e-4), alpha 0.95,
    and lr inside the momentum. torch adds epsilon outside, and lr multiplies the momentum buffer.

    Keras 3 and optax (eps_in_sqrt=True) have epsilon inside the root and lr inside the momentum,
    alpha 0.9; Keras has lr 1e-3 and epsilon 1e-7. TensorFlow 1 (tf.train.RMSPropOptimizer) too,
    with epsilon 1e-10 and v starting at one. tf.keras.optimizers.legacy.RMSprop has epsilon inside
    the root when momentum is on and outside when it is off.
    """
    mu, v, b, g_ave = momentum, mpf(0), mpf(0), mpf(0)
    for t in count(1):
        g = grad(t, theta)
        v = alpha * v + (1 - alpha) * g**2
        v_tilde = v
        if centered:
            g_ave = g_ave * alpha + (1 - alpha) * g
            v_tilde = v_tilde - g_ave**2
        if mu > 0:
            b = mu * b + g / (sqrt(v_tilde) + eps)
            theta = yield theta - lr(t) * b
        else:
            theta = yield theta - lr(t) * g / (sqrt(v_tilde) + eps)


def adam(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
) -> Steps:
    """Adam; Kingma & Ba 2015 (arXiv:1412.6980), Algorithm 1.

    torch and optax do the same. Keras and TensorFlow compute what stands just before section 2.1,
    alpha sqrt(1 - beta2^t) / (1 - beta1^t) m_t / (sqrt(v_t) + epsilon_hat): their epsilon_hat is
    Algorithm 1's epsilon times sqrt(1 - beta2^t), so a given epsilon acts 1/sqrt(1 - beta2)
    = 31.6 times as strongly at the first step. Keras's default is 1e-7.
    """
    m, v = mpf(0), mpf(0)
    for t in count(1):
        g = grad(t, theta)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = yield theta - lr(t) * m_hat / (sqrt(v_hat) + eps)


def amsgrad(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
) -> Steps:
    """AMSGrad as in torch; the algorithm box of torch.optim.Adam, amsgrad on.

    The maximum is taken of the uncorrected v, and its result is divided by 1 - beta2^t.
    Reddi, Kale & Kumar 2018 (arXiv:1904.09237), Algorithm 2, correct no bias at all and have no
    epsilon: x_{t+1} = x_t - alpha_t m_t / sqrt(max(v_hat_{t-1}, v_t)), projected.
    optax corrects first and takes the maximum of that (bias_correction_nu=True), so that the
    effective step only shrinks; torch's can grow, as 1 - beta2^t does. Keras takes the maximum
    first, like torch, with epsilon as in its Adam.
    """
    m, v, v_max = mpf(0), mpf(0), mpf(0)
    for t in count(1):
        g = grad(t, theta)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_max = max(v_max, v)
        v_hat = v_max / (1 - beta2**t)
        theta = yield theta - lr(t) * m_hat / (sqrt(v_hat) + eps)


def adamw(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
    weight_decay: Any = 1e-2,
) -> Steps:
    """AdamW; Loshchilov & Hutter 2019 (arXiv:1711.05101), Algorithm 2, lines 6-12.

    Line 12: theta_t = theta_{t-1} - eta_t (alpha m_hat / (sqrt(v_hat) + epsilon)
    + lambda theta_{t-1}). There the decay follows the schedule multiplier eta_t alone. torch,
    Keras and optax multiply it by the whole learning rate: eta_t is lr and alpha is one, which is
    what stands here. Defaults of the decay: torch 1e-2, Keras 4e-3, optax 1e-4. In Keras 3 the
    argument weight_decay of every optimizer is this decoupled decay; in torch's SGD, RMSprop and
    Adam it is L2, added to the gradient.
    """
    m, v, lambda_ = mpf(0), mpf(0), weight_decay
    for t in count(1):
        g = grad(t, theta)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = yield theta - lr(t) * (m_hat / (sqrt(v_hat) + eps) + lambda_ * theta)


def adam_eps_hat(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
) -> Steps:
    """Adam; Kingma & Ba 2015, the lines just before section 2.1: alpha_t and epsilon_hat.

    alpha_t = alpha sqrt(1 - beta2^t) / (1 - beta1^t); theta_t = theta_{t-1} - alpha_t m_t /
    (sqrt(v_t) + epsilon_hat). TensorFlow's and Keras's Adam; torch.optim's SparseAdam.
    """
    m, v = mpf(0), mpf(0)
    for t in count(1):
        g = grad(t, theta)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        alpha_t = lr(t) * sqrt(1 - beta2**t) / (1 - beta1**t)
        theta = yield theta - alpha_t * m / (sqrt(v) + eps)


def adamax(
    theta: Any,
    grad: Gradient,
    lr: Any = 2e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
) -> Steps:
    """AdaMax; Kingma & Ba 2015, Algorithm 2, with the epsilon of torch.optim.Adamax's box.

    u_t = max(beta2 u_{t-1}, |g_t| + epsilon). The paper has no epsilon; Keras adds it to u_t in the
    denominator.
    """
    m, u = mpf(0), mpf(0)
    for t in count(1):
        g = grad(t, theta)
        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, abs(g) + eps)
        theta = yield theta - lr(t) * m / ((1 - beta1**t) * u)


def nadam(
    theta: Any,
    grad: Gradient,
    lr: Any = 2e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
    momentum_decay: Any = 4e-3,
) -> Steps:
    """NAdam; the algorithm box of torch.optim.NAdam, after Dozat 2016.

    The products of the mu are written out: prod_{i=1}^{t} mu_i and prod_{i=1}^{t+1} mu_i.
    Keras has psi = 1; optax has mu_t = beta1.
    """
    psi, m, v = momentum_decay, mpf(0), mpf(0)

    def mu(t: int) -> Any:
        return beta1 * (1 - mpf(1) / 2 * (mpf(96) / 100) ** (t * psi))

    for t in count(1):
        g = grad(t, theta)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        so_far = mp.fprod(mu(i) for i in range(1, t + 1))
        and_next = mp.fprod(mu(i) for i in range(1, t + 2))
        m_hat = mu(t + 1) * m / (1 - and_next) + (1 - mu(t)) * g / (1 - so_far)
        v_hat = v / (1 - beta2**t)
        theta = yield theta - lr(t) * m_hat / (sqrt(v_hat) + eps)


def radam(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    eps: Any = 1e-8,
) -> Steps:
    """RAdam; the algorithm box of torch.optim.RAdam, after Liu et al. 2020, Algorithm 2.

    The paper rectifies where rho_t > 4 and has no epsilon; the authors' code and torch have 5, and
    torch adds epsilon to the uncorrected sqrt(v_t).
    """
    m, v, rho_inf = mpf(0), mpf(0), 2 / (1 - beta2) - 1
    for t in count(1):
        g = grad(t, theta)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 5:
            l = sqrt(1 - beta2**t) / (sqrt(v) + eps)  # noqa: E741
            r = sqrt(((rho - 4) * (rho - 2) * rho_inf) / ((rho_inf - 4) * (rho_inf - 2) * rho))
            theta = yield theta - lr(t) * m_hat * r * l
        else:
            theta = yield theta - lr(t) * m_hat


def adagrad(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-2,
    lr_decay: Any = 0.0,
    v0: Any = 0.0,
    eps: Any = 1e-10,
) -> Steps:
    """Adagrad; the algorithm box of torch.optim.Adagrad, after Duchi, Hazan & Singer 2011.

    state_sum_0 = tau, gamma_tilde = gamma / (1 + (t - 1) eta). Keras and optax have epsilon inside
    the root, and tau = 0.1.
    """
    tau, eta = v0, lr_decay
    state_sum = tau
    for t in count(1):
        g = grad(t, theta)
        gamma_tilde = lr(t) / (1 + (t - 1) * eta)
        state_sum = state_sum + g**2
        theta = yield theta - gamma_tilde * g / (sqrt(state_sum) + eps)


def adadelta(theta: Any, grad: Gradient, lr: Any = 1.0, rho: Any = 0.9, eps: Any = 1e-6) -> Steps:
    """ADADELTA; Zeiler 2012 (arXiv:1212.5701), Algorithm 1, with a learning rate as in torch.

    E[g^2] and E[dx^2]; dx_t = -RMS[dx]_{t-1} / RMS[g]_t g_t, where RMS[x] = sqrt(E[x^2] + epsilon).
    """
    mean_g2, mean_dx2 = mpf(0), mpf(0)
    for t in count(1):
        g = grad(t, theta)
        mean_g2 = rho * mean_g2 + (1 - rho) * g**2
        dx = -sqrt(mean_dx2 + eps) / sqrt(mean_g2 + eps) * g
        mean_dx2 = rho * mean_dx2 + (1 - rho) * dx**2
        theta = yield theta + lr(t) * dx


def rprop(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-2,
    eta_minus: Any = 0.5,
    eta_plus: Any = 1.2,
    step_min: Any = 1e-6,
    step_max: Any = 50.0,
) -> Steps:
    """Rprop; the algorithm box of torch.optim.Rprop, after Riedmiller & Braun 1993.

    lr is the first step size. torch's code brings the size between Gamma_min and Gamma_max in every
    step, where its box does so in the branches that change it: that matters in the first step only.
    The paper takes the last step back when the sign changes.
    """
    eta, g_prev = min(max(lr(1), step_min), step_max), mpf(0)
    for t in count(1):
        g = grad(t, theta)
        if g_prev * g > 0:
            eta = min(eta * eta_plus, step_max)
        elif g_prev * g < 0:
            eta = max(eta * eta_minus, step_min)
            g = mpf(0)
        theta = yield theta - eta * mp.sign(g)
        g_prev = g


def asgd(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-2,
    lambd: Any = 1e-4,
    alpha: Any = 0.75,
    t0: Any = 1e6,
) -> Steps:
    """Averaged SGD, the descent; torch.optim.ASGD, after Polyak & Juditsky 1992.

    eta_t = lr / (1 + lambd lr t)^alpha; theta_t = (1 - lambd eta_{t-1}) theta_{t-1} - eta_{t-1} g_t.
    Where the averaging starts, t0, makes no difference to it; see `asgd_mean`.
    """
    eta = lr(1)
    for t in count(1):
        theta = yield (1 - lambd * eta) * theta - eta * grad(t, theta)
        eta = lr(t) / (1 + lambd * lr(t) * t) ** alpha


def asgd_mean(path: Sequence[Any], t0: Any = 1e6, **_: Any) -> list[Any]:
    """Averaged SGD, the average: of a path of theta_1, theta_2, ... as in torch.optim.ASGD.

    mu_t = 1 / max(1, t - t0); ax_t = ax_{t-1} + mu_{t-1} (theta_t - ax_{t-1}), mu_0 = 1. Polyak &
    Juditsky 1992 have the mean of all.
    """
    mu, ax, averages = mpf(1), mpf(0), []
    for t, theta in enumerate(path, 1):
        ax = ax + mu * (theta - ax)
        averages.append(ax)
        mu = 1 / max(mpf(1), t - mpf(t0))
    return averages


def heavy_ball(theta: Any, grad: Gradient, lr: Any = 1e-3, momentum: Any = 0.9) -> Steps:
    """The heavy ball; Polyak 1964, Some methods of speeding up the convergence of iteration methods.

    x_{n+1} = x_n - alpha f'(x_n) + beta (x_n - x_{n-1}), without a velocity: a second witness for
    `momentum_classical`.
    """
    beta, previous = momentum, theta
    for t in count(1):
        current = theta
        theta = yield current - lr(t) * grad(t, current) + beta * (current - previous)
        previous = current


def nesterov_ahead(theta: Any, grad: Gradient, lr: Any = 1e-3, momentum: Any = 0.9) -> Steps:
    """Nesterov's accelerated gradient; Sutskever et al. 2013, eq. 3-4, seen from ahead.

    v_{t+1} = mu v_t - epsilon grad f(theta_t + mu v_t); theta_{t+1} = theta_t + v_{t+1}.
    Yields theta + mu v, where the gradient is taken: a second witness for `nesterov`.
    """
    mu, v = momentum, mpf(0)
    for t in count(1):
        v = mu * v - lr(t) * grad(t, theta + mu * v)
        theta = theta + v
        yield theta + mu * v


# --- of whole matrices ----------------------------------------------------------------------


def rms(x: Any) -> Any:
    """RMS; Shazeer & Stern 2018, section 6: the root mean square over all entries."""
    return mp.mnorm(x, "f") / sqrt(x.rows * x.cols)


def adafactor(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-2,
    beta2_decay: Any = -0.8,
    eps1: Any = 0.0,
    eps2: Any = 1e-3,
    d: Any = 1.0,
    weight_decay: Any = 0.0,
) -> Steps:
    """Adafactor; the algorithm box of torch.optim.Adafactor, of a matrix with several columns where
    dim(G_t) > 1, and of one column, a vector, where not.

    Shazeer & Stern 2018 (arXiv:1804.04235), Algorithm 4, without a learning rate: there rho_t =
    min(1e-2, 1/sqrt(t)), and epsilon_1 is added to the squared gradients. R and C are sums there and
    means in torch ("mathematically equivalent", says its note). epsilon_1 = None, here 0, is the
    machine epsilon of the parameter's dtype: here that of float64.
    """
    n, m = theta.rows, theta.cols
    eps1 = eps1 or mpf(2) ** -52
    if m == 1:
        yield from adafactor_of_vectors(theta, grad, lr, beta2_decay, eps1, eps2, d, weight_decay)
    r, c = mp.zeros(n, 1), mp.zeros(1, m)
    for t in count(1):
        g = grad(t, theta)
        beta2 = 1 - mpf(t) ** beta2_decay
        rho = min(lr(t), 1 / sqrt(t))
        alpha = max(eps2, rms(theta)) * rho
        squares = g.apply(lambda x: x**2)
        r = beta2 * r + (1 - beta2) * (squares * mp.ones(m, 1)) / m
        c = beta2 * c + (1 - beta2) * (mp.ones(1, n) * squares) / n
        v_hat = (r * c) / max((mp.ones(1, n) * r)[0] / n, eps1)
        u = mp.matrix(n, m)
        for i, j in product(range(n), range(m)):
            u[i, j] = g[i, j] / max(sqrt(v_hat[i, j]), eps1)
        u_hat = u / max(1, rms(u) / d)
        theta = yield theta - lr(t) * weight_decay * theta - alpha * u_hat


def adafactor_of_vectors(
    theta: Any,
    grad: Gradient,
    lr: Any,
    beta2_decay: Any,
    eps1: Any,
    eps2: Any,
    d: Any,
    weight_decay: Any,
) -> Steps:
    """The algorithm box of torch.optim.Adafactor where dim(G_t) = 1; Shazeer & Stern's Algorithm 5."""
    v_hat = 0 * theta
    for t in count(1):
        g = grad(t, theta)
        beta2 = 1 - mpf(t) ** beta2_decay
        alpha = max(eps2, rms(theta)) * min(lr(t), 1 / sqrt(t))
        v_hat = beta2 * v_hat + (1 - beta2) * g.apply(lambda x: x**2)
        u = mp.matrix([x / max(sqrt(v), eps1) for x, v in zip(g, v_hat, strict=True)])
        theta = yield theta - lr(t) * weight_decay * theta - alpha * u / max(1, rms(u) / d)


def muon(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    momentum: Any = 0.95,
    nesterov: bool = True,
    ns_a: Any = 3.4445,
    ns_b: Any = -4.775,
    ns_c: Any = 2.0315,
    eps: Any = 1e-7,
    ns_steps: Any = 5,
    match_adamw: bool = False,
    unclamped: bool = False,
) -> Steps:
    """Muon; the algorithm box of torch.optim.Muon, without its decay, in exact arithmetic.

    The box has B_t = mu B_{t-1} + g_t; the code, as Jordan's, takes the mean, (1 - mu) g_t, and so
    for the look ahead: a factor that the normalization takes out again, unless epsilon acts.
    NS is written with S = X X^T for tall matrices too: (X X^T) X = X (X^T X). unclamped: as Bernstein
    derives it, ||step||_op = lr sqrt(fan-out / fan-in).
    """
    mu, b = momentum, 0 * theta
    for t in count(1):
        g = grad(t, theta)
        b = mu * b + (1 - mu) * g
        x = (1 - mu) * g + mu * b if nesterov else b
        x = x / max(mp.mnorm(x, "f"), eps)
        for _ in range(int(ns_steps)):
            s = x * x.T
            x = ns_a * x + (ns_b * s + ns_c * s * s) * x
        rows, columns = mpf(theta.rows), mpf(theta.cols)
        as_adamw = sqrt(max(rows, columns)) / 5
        ratio = rows / columns if unclamped else max(1, rows / columns)
        scale = as_adamw if match_adamw else sqrt(ratio)
        theta = yield theta - lr(t) * scale * x


ALGORITHMS = {
    algorithm.__name__: algorithm
    for algorithm in (
        sgd,
        momentum,
        nesterov,
        momentum_classical,
        momentum_ema,
        rmsprop,
        adam,
        amsgrad,
        adamw,
        adam_eps_hat,
        adamax,
        nadam,
        radam,
        adagrad,
        adadelta,
        rprop,
        asgd,
        adafactor,
        muon,
        heavy_ball,
        nesterov_ahead,
    )
}
EVALUATED = {"asgd": asgd_mean}
"""The weights to evaluate with, where they are not the last ones: a function of their path."""


@cache
def families() -> list[Any]:
    """The modules of further families' oracles, `of_*.py`; their algorithms are in ALGORITHMS then."""
    places = sorted(Path(__file__).parent.glob("of_*.py"))
    found = [import_module(f"{__package__}.{place.stem}") for place in places]
    for module in found:
        ALGORITHMS.update(module.ALGORITHMS)
        EVALUATED.update(getattr(module, "EVALUATED", {}))
    return found


def trajectory(
    name: str,
    theta0: Sequence[float],
    gradients: Sequence[Sequence[float]],
    *,
    shape: tuple[int, ...] | None = None,
    l2: float = 0.0,
    decoupled_decay: float = 0.0,
    maximize: bool = False,
    clip_value: float | None = None,
    **hyperparameters: Any,
) -> list[list[Any]]:
    """The parameters after each step, as 50-digit numbers, a row a step.

    `gradients` holds one row a step, one column a coordinate, whatever the parameters are. `lr` is
    a number, or a sequence with one a step; the other hyperparameters carry Ravine's names and
    the defaults of their source. With `shape`, the coordinates are the entries of one matrix (or
    vector) of that shape, row by row, and are stepped together.

    The options come in torch's order. The gradient is clipped to [-clip_value, clip_value]
    (clip_grad_value_, before the step); negated if `maximize`; `l2` times the parameter is added;
    the algorithm runs. `decoupled_decay` then subtracts lr_t decoupled_decay theta_{t-1}, as line
    9 of Algorithm 1 and line 12 of Algorithm 2 of Loshchilov & Hutter 2019 do, with lr for eta_t:
    since these algorithms see the parameter through its gradient only, that is to decay first.
    (The two that keep positions of their own, heavy_ball and nesterov_ahead, do not decay.)
    """
    algorithm = ALGORITHMS[name]
    defaults = {
        key: parameter.default
        for key, parameter in signature(algorithm).parameters.items()
        if parameter.default is not parameter.empty
    }
    values = defaults | hyperparameters
    lr = values.pop("lr")
    rates = [mpf(x) for x in (lr if isinstance(lr, Sequence) else [lr] * len(gradients))]
    exact = {key: x if isinstance(x, bool) else mpf(x) for key, x in values.items()}
    l2, decoupled_decay = mpf(l2), mpf(decoupled_decay)
    bound = mp.inf if clip_value is None else mpf(clip_value)

    def clip(x: Any) -> Any:
        return max(-bound, min(bound, x))

    def coordinate(theta: Any, column: Sequence[Any]) -> Iterator[Any]:
        def grad(t: int, theta: Any) -> Any:
            g = column[t - 1]
            g = g.apply(clip) if shape else clip(g)
            if maximize:
                g = -g
            return g + l2 * theta

        steps = algorithm(theta, grad, lambda t: rates[t - 1], **exact)
        after = next(steps)
        for t in count(1):
            theta = after - rates[t - 1] * decoupled_decay * theta
            yield theta
            if t == len(column):
                return
            after = steps.send(theta)

    def entries(row: Sequence[float]) -> list[Any]:
        exact = [mpf(x) for x in row]
        if not shape:
            return exact
        width = len(exact) // shape[0]
        return [mp.matrix([exact[i : i + width] for i in range(0, len(exact), width)])]

    path = zip(*map(entries, gradients), strict=True)
    columns = [coordinate(*of_one) for of_one in zip(entries(theta0), path, strict=True)]
    return [
        [x for entry in row for x in (entry if shape else [entry])]
        for row in zip(*columns, strict=True)
    ]
