"""Rules, stacks of modifiers, and problems that several test files share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ravine import like_p, modifier, registry, rule, rules, scalar
from ravine.engines.tracing import trace
from ravine.hyperparameters import Hyperparameter
from ravine.modifiers import (
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    decoupled_decay,
    l2,
    maximize,
)
from ravine.ops import epsilon, maximum, mean, minimum, rms, sign, sqrt, where
from ravine.rule import Rule


@modifier
def cautious(step, p, g):
    u = p - step(p, g)
    agree = where(u * g > 0, 1.2, 0.1)  # no float32 numbers: a wrong dtype shows
    return p - agree * u / maximum(mean(agree), 1e-3)


@modifier(slow=like_p, k=Hyperparameter("steps between syncs", 1))
def lookahead(step, p, g, slow, t, *, k=5, pull=0.5):
    p = step(p, g)
    sync = t % k == 0
    slow = where(sync, slow + pull * (p - slow), slow)
    return where(sync, slow, p), slow


@rule(
    z=like_p,
    weight_sum=scalar(0.0),
    lr_max=scalar(0.0),
    lr=Hyperparameter("learning rate; at 0 the weights of the mean are 0 / 0", 0, open_low=True),
    evaluate=lambda p, z, beta1: z + (p - z) / beta1,
)
def schedule_free(p, g, z, v, weight_sum, lr_max, t, *, lr=2.5e-3, beta1=0.9, beta2=0.999, r=0.0):
    v = beta2 * v + (1 - beta2) * g**2
    d = g / ((v / (1 - beta2**t)) ** 0.5 + 1e-8)
    lr_max = maximum(lr, lr_max)
    weight = t**r * lr_max**2
    weight_sum = weight_sum + weight
    c = weight / weight_sum
    p = p + c * (z - p) - lr * (1 - beta1 * (1 - c)) * d
    return p, z - lr * d, v, weight_sum, lr_max


@rule
def lion(p, g, m, *, lr=1e-2, beta1=0.9, beta2=0.99, weight_decay=0.0):
    u = sign(beta1 * m + (1 - beta1) * g)
    return p - lr * (u + weight_decay * p if weight_decay else u), beta2 * m + (1 - beta2) * g


@rule
def adafactor_of_vectors(p, g, v, t, *, lr=1e-2, eps1=0.0):
    beta2 = 1 - t**-0.8
    floor = eps1 if eps1 else epsilon(p)
    v = beta2 * v + (1 - beta2) * g**2
    u = g / sqrt(maximum(v, floor**2))
    alpha = maximum(1e-3, rms(p)) * minimum(lr, 1 / sqrt(t))
    return p - alpha * u / maximum(1, rms(u)), v


REGISTERED = list(registry.rules().values())
OF_ARRAYS = [r for r in REGISTERED if trace(r).of_arrays]
PLAIN = [r for r in REGISTERED if trace(r).pointwise and not r.signals]
# In kernels, tanh and atan2 are formulas that are right to a few units in the last place.
BY_FORMULA = [r for r in PLAIN if {"tanh", "atan2"} & {node.op for node in trace(r).nodes}]
EXACT = [r for r in PLAIN if r not in BY_FORMULA]
ELEMENTWISE = [
    *EXACT,
    *(
        maximize(decay(r))
        for r in (rules.sgd, rules.nesterov, rules.adam, rules.nadam, rules.asgd, rules.rprop)
        for decay in (l2, decoupled_decay)
    ),
    clip_by_value(rules.adamw, clip_value=0.5),
    lookahead(rules.nesterov),
    lookahead(maximize(l2(rules.rmsprop)), k=3),
    schedule_free,
    lion,
]
REDUCING = [
    *BY_FORMULA,
    clip_by_norm(rules.momentum, max_norm=0.5),
    cautious(rules.adam),
    lookahead(cautious(rules.adamw)),
    clip_by_global_norm(rules.amsgrad, max_norm=0.5),
    adafactor_of_vectors,
]


def variants(made: Rule) -> Iterator[dict[str, Any]]:
    """The defaults, and each hyperparameter on the other side of zero, where that is accepted."""
    yield {}
    for name, h in made.hyperparameters.items():
        other = (not h.default) if isinstance(h.default, bool) else 0.0 if h.default else 0.5
        try:
            yield {name: h.check(other, "")}
        except ValueError:
            continue


def gradients(shape: tuple[int, ...], steps: int, seed: int = 0) -> np.ndarray:
    """Gradients of all sizes, a tenth of them zero: (steps, *shape)."""
    draw = np.random.default_rng(seed)
    g = draw.normal(size=(steps, *shape)) * 10 ** draw.uniform(-3, 1, size=(steps, *shape))
    return g * (draw.random((steps, *shape)) > 0.1)


def run(made: Rule, p: Any, grads: Any, **hyper: Any) -> list[tuple[Any, ...]]:
    """(p, *state) after each step."""
    state, path = made.init(p, **hyper), []
    for t, g in enumerate(grads, 1):
        p, state = made.update(p, g, state, t, **hyper)
        path.append((p, *state))
    return path


def error(a: Any, b: Any) -> float:
    """The largest difference over the largest size; 0 where NaN stands against NaN."""
    a, b = (np.asarray(x.detach() if hasattr(x, "detach") else x, float) for x in (a, b))
    assert a.shape == b.shape, (a.shape, b.shape)
    nan = np.isnan(b)
    if not (np.isnan(a) == nan).all():
        return float("inf")
    same = nan | (a == b)
    if same.all():
        return 0.0
    size = np.abs(np.where(nan, 0, b)).max()
    return float(np.abs(np.where(same, 0, a - b)).max() / size) if size else float("inf")


@contextmanager
def default_dtype(dtype: Any) -> Iterator[None]:
    """Within it, torch's default dtype is this one."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
