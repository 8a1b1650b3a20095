"""Muon's relatives in 50 digits, transcribed from their papers and their authors' code.

The code casts the Newton-Schulz iteration to bfloat16; here it is exact, as the formulas have it.
"""

from itertools import count
from typing import Any

from . import papers
from .papers import Gradient, Steps, mp, mpf, sqrt

QUINTIC = (mpf("3.4445"), mpf("-4.7750"), mpf("2.0315"))
POLAR = [
    ("8.28721201814563", "-23.595886519098837", "17.300387312530933"),
    ("4.107059111542203", "-2.9478499167379106", "0.5448431082926601"),
    ("3.9486908534822946", "-2.908902115962949", "0.5518191394370137"),
    ("3.3184196573706015", "-2.488488024314874", "0.51004894012372"),
    ("2.300652019954817", "-1.6689039845747493", "0.4188073119525673"),
    ("1.891301407787398", "-1.2679958271945868", "0.37680408948524835"),
    ("1.8750014808534479", "-1.2500016453999487", "0.3750001645474248"),
    ("1.875", "-1.25", "0.375"),
]


def frobenius(x: Any) -> Any:
    return mp.mnorm(x, "f")


def iterated(x: Any, coefficients: Any) -> Any:
    """X <- a X + (b A + c A^2) X with A = X X^T, for each (a, b, c)."""
    for a, b, c in coefficients:
        gram = x * x.T
        x = a * x + (b * gram + c * gram * gram) * x
    return x


def zeropower(g: Any, steps: Any, eps: Any) -> Any:
    """zeropower_via_newtonschulz5 of muon.py: X / (|X| + eps), then the quintic iteration."""
    return iterated(g / (frobenius(g) + eps), [QUINTIC] * int(steps))


def by_entries(f: Any, *matrices: Any) -> Any:
    first = matrices[0]
    made = mp.matrix(first.rows, first.cols)
    for i in range(first.rows):
        for j in range(first.cols):
            made[i, j] = f(*(x[i, j] for x in matrices))
    return made


def muon_jordan(
    theta: Any,
    grad: Gradient,
    lr: Any = 0.02,
    momentum: Any = 0.95,
    nesterov: bool = True,
    eps: Any = 1e-7,
    ns_steps: Any = 5,
) -> Steps:
    """muon_update of Jordan's muon.py.

    momentum.lerp_(grad, 1 - beta); update = grad.lerp_(momentum, beta); X / (|X| + 1e-7); five quintic
    steps; update *= max(1, rows / columns)**0.5.
    """
    buf = 0 * theta
    for t in count(1):
        g = grad(t, theta)
        buf = buf + (1 - momentum) * (g - buf)
        update = g + momentum * (buf - g) if nesterov else buf
        update = zeropower(update, ns_steps, eps)
        theta = yield theta - lr(t) * sqrt(max(1, mpf(theta.rows) / theta.cols)) * update


def muon_moonshot(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    momentum: Any = 0.95,
    nesterov: bool = True,
    rms_scale: Any = 0.2,
    eps: Any = 1e-7,
    ns_steps: Any = 5,
    weight_decay: Any = 0.1,
) -> Steps:
    """Moonlight's Muon; Liu et al. 2025, section 2.2, equation 4 with the factor 0.2 sqrt(max(A, B)).

    M_t = mu M_{t-1} + g; O_t = Newton-Schulz(mu M_t + g); W_t = W_{t-1} - eta (0.2 O_t sqrt(max(A, B)) +
    lambda W_{t-1}).
    """
    buf = 0 * theta
    for t in count(1):
        g = grad(t, theta)
        buf = momentum * buf + g
        o = zeropower(g + momentum * buf if nesterov else buf, ns_steps, eps)
        scale = rms_scale * sqrt(max(theta.rows, theta.cols))
        theta = yield theta - lr(t) * (scale * o + weight_decay * theta)


def polar_express(
    theta: Any,
    grad: Gradient,
    lr: Any = 0.02,
    beta1: Any = 0.95,
    nesterov: bool = True,
    eps: Any = 1e-7,
    ns_steps: Any = 5,
) -> Steps:
    """Muon with Polar Express for Newton-Schulz; Amsel et al., Algorithm 1 of arXiv:2505.16932v2.

    X / (1.01 |X| + 1e-7), which is Implementation 1 in the text of ICLR 2026; the published coefficients
    with the safety factor 1.01 taken from all polynomials but the last: (a / 1.01, b / 1.01^3,
    c / 1.01^5); from the eighth step on the last one.
    """
    safe = mpf("1.01")
    exact = [tuple(map(mpf, row)) for row in POLAR]
    stable = [(a / safe, b / safe**3, c / safe**5) for a, b, c in exact[:-1]] + exact[-1:]
    buf = 0 * theta
    for t in count(1):
        g = grad(t, theta)
        buf = beta1 * buf + (1 - beta1) * g
        x = beta1 * buf + (1 - beta1) * g if nesterov else buf
        x = x / (safe * frobenius(x) + eps)
        x = iterated(x, [stable[min(i, 7)] for i in range(int(ns_steps))])
        theta = yield theta - lr(t) * sqrt(max(1, mpf(theta.rows) / theta.cols)) * x


def row_means(o: Any) -> Any:
    return mp.matrix([sum(o[i, j] ** 2 for j in range(o.cols)) / o.cols for i in range(o.rows)])


def over_rows(o: Any, v: Any, eps: Any) -> Any:
    made = o.copy()
    for i in range(o.rows):
        for j in range(o.cols):
            made[i, j] = o[i, j] / (sqrt(v[i]) + eps)
    return made


def normuon(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.95,
    beta2: Any = 0.95,
    eps: Any = 1e-10,
    rms_scale: Any = 0.2,
    ns_eps: Any = 1e-7,
    ns_steps: Any = 5,
) -> Steps:
    """NorMuon; Li et al. 2025 (arXiv:2510.05491), Algorithm 1, without its decay.

    O_t = NS5(M_t); v_t = beta2 v_{t-1} + (1 - beta2) mean_cols(O_t o O_t); O^_t = O_t / (sqrt(V_t) + eps);
    eta^ = 0.2 eta sqrt(mn) / |O^_t|. The paper has no floor under |O^_t|.
    """
    m, v = 0 * theta, mp.zeros(theta.rows, 1)
    for t in count(1):
        m = beta1 * m + (1 - beta1) * grad(t, theta)
        o = zeropower(m, ns_steps, ns_eps)
        v = beta2 * v + (1 - beta2) * row_means(o)
        o = over_rows(o, v, eps)
        rate = rms_scale * lr(t) * sqrt(theta.rows * theta.cols) / max(frobenius(o), eps)
        theta = yield theta - rate * o


def normuon_code(
    theta: Any,
    grad: Gradient,
    lr: Any = 0.02,
    beta1: Any = 0.95,
    beta2: Any = 0.95,
    nesterov: bool = True,
    eps: Any = 1e-10,
    ns_eps: Any = 1e-7,
    ns_steps: Any = 5,
) -> Steps:
    """normuon_update of the authors' normuon.py: the norm before is the norm after."""
    momentum, second = 0 * theta, mp.zeros(theta.rows, 1)
    for t in count(1):
        g = grad(t, theta)
        momentum = momentum + (1 - beta1) * (g - momentum)
        update = g + beta1 * (momentum - g) if nesterov else momentum
        update = zeropower(update, ns_steps, ns_eps)
        vnorm = frobenius(update)
        second = second + (1 - beta2) * (row_means(update) - second)
        update = over_rows(update, second, eps)
        update = update * (vnorm / (frobenius(update) + eps))
        theta = yield theta - lr(t) * sqrt(max(1, mpf(theta.rows) / theta.cols)) * update


def adamuon(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    beta1: Any = 0.95,
    nesterov: bool = True,
    eps: Any = 1e-8,
    rms_scale: Any = 0.2,
    ns_eps: Any = 1e-7,
    ns_steps: Any = 5,
) -> Steps:
    """AdaMuon.step of the authors' adamuon.py: Newton-Schulz of the sign, one decay rate for both means."""
    buf, v = 0 * theta, 0 * theta
    for t in count(1):
        g = grad(t, theta)
        buf = buf + (1 - beta1) * (g - buf)
        g = g + beta1 * (buf - g) if nesterov else buf
        g = zeropower(g.apply(mp.sign), ns_steps, ns_eps)
        v = by_entries(lambda v, g: beta1 * v + (1 - beta1) * g * g, v, g)
        g = by_entries(lambda g, v: g / (sqrt(v) + eps), g, v)
        scale = rms_scale * sqrt(theta.rows * theta.cols) / (frobenius(g) + eps)
        theta = yield theta - lr(t) * scale * g


def adamuon_kozistr(
    theta: Any,
    grad: Gradient,
    lr: Any = 0.02,
    beta1: Any = 0.9,
    beta2: Any = 0.95,
    eps: Any = 1e-10,
    rms_scale: Any = 0.2,
    ns_eps: Any = 1e-7,
    ns_steps: Any = 5,
) -> Steps:
    """AdaMuon.step of pytorch_optimizer 4.1.0, with use_adjusted_lr: no sign, and v is debiased.

    update *= sqrt(min(m, n)) / (|update| + eps); lr * 0.2 * sqrt(max(m, n)). Its Newton-Schulz divides by
    max(|X|, eps).
    """
    m, v = 0 * theta, 0 * theta
    for t in count(1):
        m = m + (1 - beta1) * (grad(t, theta) - m)
        update = iterated(m / max(frobenius(m), ns_eps), [QUINTIC] * int(ns_steps))
        v = by_entries(lambda v, x: beta2 * v + (1 - beta2) * x * x, v, update)
        correction = 1 - beta2**t
        update = by_entries(lambda x, v, c=correction: x / (sqrt(v / c) + eps), update, v)
        sides = sorted((theta.rows, theta.cols))
        update = update * (sqrt(sides[0]) / (frobenius(update) + eps))
        theta = yield theta - lr(t) * rms_scale * sqrt(sides[1]) * update


def scion(
    theta: Any,
    grad: Gradient,
    lr: Any = 1e-3,
    alpha: Any = 0.1,
    radius: Any = 1.0,
    constrained: bool = True,
    eps: Any = 1e-8,
    ns_eps: Any = 1e-7,
    ns_steps: Any = 5,
) -> Steps:
    """Scion.step of the authors' scion.py, with norm Auto: Spectral for a matrix, BiasRMS for a vector.

    A vector is a matrix of one column here.
    """
    buf = 0 * theta
    for t in count(1):
        buf = (1 - alpha) * buf + alpha * grad(t, theta)
        if theta.cols == 1:
            update = buf / (papers.rms(buf) + eps)
        else:
            update = sqrt(mpf(theta.rows) / theta.cols) * zeropower(buf, ns_steps, ns_eps)
        kept = (1 - lr(t)) * theta if constrained else theta
        theta = yield kept - lr(t) * radius * update


ALGORITHMS = {
    algorithm.__name__: algorithm
    for algorithm in (
        muon_jordan,
        muon_moonshot,
        polar_express,
        normuon,
        normuon_code,
        adamuon,
        adamuon_kozistr,
        scion,
    )
}
CASES: dict[str, list[dict[str, Any]]] = {
    "muon_jordan": [
        {},
        {"lr": 0.1, "momentum": 0.5, "eps": 10.0, "nesterov": False, "ns_steps": 3},
    ],
    "muon_moonshot": [
        {"weight_decay": 0.3},
        {
            "lr": 0.1,
            "momentum": 0.5,
            "eps": 10.0,
            "nesterov": False,
            "ns_steps": 3,
            "rms_scale": 0.5,
        },
    ],
    "polar_express": [{}, {"lr": 0.1, "beta1": 0.5, "eps": 10.0, "nesterov": False, "ns_steps": 9}],
    "normuon": [
        {},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.7, "eps": 0.1, "ns_eps": 1.0, "ns_steps": 3},
        {"rms_scale": 0.5, "eps": 10.0},
    ],
    "normuon_code": [
        {},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.7, "eps": 0.1, "ns_eps": 1.0, "ns_steps": 3},
        {"nesterov": False},
    ],
    # Of a matrix of signs some entries become zero up to rounding, and the rounding is divided by eps.
    "adamuon": [
        {"eps": 1e-2},
        {"lr": 0.1, "beta1": 0.5, "eps": 0.1, "ns_eps": 1.0, "ns_steps": 3},
        {"eps": 1e-2, "nesterov": False, "rms_scale": 0.5},
    ],
    "adamuon_kozistr": [
        {},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.7, "eps": 0.1, "ns_eps": 1.0, "ns_steps": 3},
        {"rms_scale": 0.5},
    ],
    "scion": [
        {},
        {"lr": 0.1, "alpha": 0.5, "radius": 3.0, "eps": 0.1, "ns_eps": 1.0, "ns_steps": 3},
        {"constrained": False},
    ],
}
SHAPES: dict[str, list[tuple[int, ...]]] = {
    **{name: [(2, 3), (3, 2)] for name in ALGORITHMS},
    "scion": [(2, 3), (3, 2), (6,)],
}
# Their matrices take long in 50 digits; that modifiers go around a rule of matrices is tested on muon.
UNMODIFIED = {*ALGORITHMS}
