"""Rules with signals, for the tests of every engine and front."""

from ravine import rule, scalar, signal
from ravine.ops import clip, maximum, mean, sqrt, total


@rule(paper="Liu et al., 2023", at="arXiv:2305.14342, Algorithm 3")
def sophia(
    p,
    g,
    m,
    h,
    *,
    hessian=signal(),
    lr=0.05,
    beta1=0.96,
    beta2=0.99,
    gamma=0.05,
    eps=1e-12,
    decay=0.2,
):
    m = beta1 * m + (1 - beta1) * g
    if hessian is not None:
        h = beta2 * h + (1 - beta2) * hessian
    p = p - lr * decay * p
    return p - lr * clip(m / maximum(gamma * h, eps), -1, 1), m, h


@rule(paper="Yao et al., 2021", at="arXiv:2006.00719, Algorithm 1")
def adahessian(p, g, m, v, t, *, hessian=signal(), lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8):
    """Its square, of each step."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * hessian**2
    return p - lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps), m, v


@rule
def polyak(p, g, *, loss=signal(scalar), best=0.0):
    """Polyak, 1987: as long as it takes for the tangent to reach the best loss."""
    return p - (loss - best) / total(g**2) * g


@rule
def in_passes(p, g, h, *, extra=signal(), lr=0.1):
    """Its slot is stored before the last look at the signal."""
    h = h + g
    return p - lr * mean(h * h) * (g if extra is None else g + extra), h


@rule
def both(p, g, a, b, *, left=signal(), right=signal(scalar), lr=0.1):
    if left is not None:
        a = a + left
    if right is not None:
        b = b + right * g
    if left is not None and right is not None:
        g = g * left
    return p - lr * (g + a + b), a, b
