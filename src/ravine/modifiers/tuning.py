"""Modifiers that tune the learning rate of any rule while it trains."""

from typing import Any

from ravine.hyperparameters import Hyperparameter
from ravine.modifying import modifier
from ravine.ops import abs, clip, maximum, sqrt, total, where
from ravine.slots import like_p, several, shared

__all__ = ["mechanic", "mechanic_clipped", "mechanic_paper"]

_DECLARED: dict[str, Any] = {
    "s_betas": Hyperparameter("decay rates, each with a scale", low=0.0, high=1.0),
    "s_init": Hyperparameter(
        "size of the scale at first", low=0.0, open_low=True, search=(1e-10, 1e-4)
    ),
    "s_decay": Hyperparameter(
        "pull of the weights towards zero, in the gradient that the scale learns from",
        low=0.0,
        search=(1e-4, 1e-1),
    ),
    "s_eps": Hyperparameter("keeps denominators away from zero", low=0.0, search=(1e-10, 1e-6)),
}


@modifier(
    ref=like_p,
    s=several("s_betas", shared(0.0)),
    s_max=several("s_betas", shared(1e-6)),
    s_square=several("s_betas", shared(0.0)),
    s_reward=several("s_betas", shared(0.0)),
    **_DECLARED,
)
def mechanic(
    step,
    p,
    g,
    ref,
    s,
    s_max,
    s_square,
    s_reward,
    *,
    s_betas=(0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999),
    s_init=1e-8,
    s_decay=1e-2,
    s_eps=1e-8,
):
    """Mechanic: the rule's steps, multiplied by a learned scale.

    Cutkosky et al., 2023, arXiv:2306.00144. There is one scale for all tensors, the sum of one for
    each decay rate. It grows where the steps so far agree with the negative gradient. lr multiplies
    it: use a schedule that peaks at 1. This is the authors' code, mechanic_pytorch: its decay is of
    the weights after the rule's step, where the paper has those before it. The paper's algorithm is
    `mechanic_paper`, and optax's form `mechanic_clipped`.
    """
    new = step(p, g)
    delta = (p - ref) / (sum(s) + s_eps)
    decay = s_decay * sum(s) * sqrt(total(g**2)) / (sqrt(total(new**2)) + s_eps)
    h = total(delta * (g + decay * new))
    s_reward = tuple(
        maximum(b * r - x * h, 0.0) for b, r, x in zip(s_betas, s_reward, s, strict=True)
    )
    s_max = tuple(maximum(b * m, abs(h)) for b, m in zip(s_betas, s_max, strict=True))
    s_square = tuple(b**2 * v + h**2 for b, v in zip(s_betas, s_square, strict=True))
    s = tuple(
        (s_init / len(s_betas) * m + r) / (sqrt(v) + s_eps)
        for m, r, v in zip(s_max, s_reward, s_square, strict=True)
    )
    return ref + sum(s) * (delta + new - p), ref, s, s_max, s_square, s_reward


@modifier(
    ref=like_p,
    s=several("s_betas", shared("s_init")),
    s_max=several("s_betas", shared(0.0)),
    s_square=several("s_betas", shared(0.0)),
    s_reward=several("s_betas", shared(0.0)),
    **_DECLARED,
)
def mechanic_clipped(
    step,
    p,
    g,
    ref,
    s,
    s_max,
    s_square,
    s_reward,
    *,
    s_betas=(0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999),
    s_init=1e-6,
    s_decay=1e-2,
    s_eps=1e-8,
):
    """Mechanic as in optax.contrib.mechanize: no step changes the scale by more than those before.

    What the scale learns from is clipped to its largest size so far, and each of the scales starts
    at s_init. The decay is of the weights before the rule's step.
    """
    new = step(p, g)
    delta = (ref - p) / (sum(s) + s_eps)
    decay = s_decay * sum(s) * sqrt(total(g**2)) / (sqrt(total(p**2)) + s_eps)
    h = total(delta * (g + decay * p))
    s_reward = tuple(
        b * r + clip(h, -m, m) * x for b, r, m, x in zip(s_betas, s_reward, s_max, s, strict=True)
    )
    s_max = tuple(maximum(b * m, abs(h) + s_eps) for b, m in zip(s_betas, s_max, strict=True))
    s_square = tuple(b**2 * v + h**2 for b, v in zip(s_betas, s_square, strict=True))
    s = tuple(
        (s_init / len(s_betas) * m + maximum(r, 0.0)) / (sqrt(v) + s_eps)
        for m, r, v in zip(s_max, s_reward, s_square, strict=True)
    )
    return ref - sum(s) * (delta + p - new), ref, s, s_max, s_square, s_reward


@modifier(
    ref=like_p,
    s=several("s_betas", shared(0.0)),
    s_max=several("s_betas", shared(0.0)),
    s_square=several("s_betas", shared(0.0)),
    s_reward=several("s_betas", shared(0.0)),
    **_DECLARED,
)
def mechanic_paper(
    step,
    p,
    g,
    ref,
    delta,
    s,
    s_max,
    s_square,
    s_reward,
    *,
    s_betas=(0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999),
    s_init=1e-8,
    s_decay=1e-2,
    s_eps=1e-8,
):
    """Mechanic as published: nothing moves until a gradient has pointed along the steps so far.

    Cutkosky et al., 2023, arXiv:2306.00144, Algorithm 1. The first scale is 0, and grows from the largest
    h so far, which counts where it is positive only; the authors' code, `mechanic`, has its absolute
    value. So where all gradients agree, the weights stay where they are.
    """
    new = step(p, g)
    size = sqrt(total(p**2))
    decay = s_decay * sum(s) * where(size > 0, sqrt(total(g**2)) / size, 0.0)
    h = total(delta * (g + decay * p))
    s_reward = tuple(
        maximum(b * r - x * h, 0.0) for b, r, x in zip(s_betas, s_reward, s, strict=True)
    )
    s_max = tuple(maximum(b * m, h) for b, m in zip(s_betas, s_max, strict=True))
    s_square = tuple(b**2 * v + h**2 for b, v in zip(s_betas, s_square, strict=True))
    s = tuple(
        (s_init / len(s_betas) * m + r) / (sqrt(v) + s_eps)
        for m, r, v in zip(s_max, s_reward, s_square, strict=True)
    )
    delta = delta + new - p
    return ref + sum(s) * delta, ref, delta, s, s_max, s_square, s_reward
