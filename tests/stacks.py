"""Rules and stacks whose equations the tests read: every registered rule, and modifiers around them."""

from cases import REGISTERED, cautious, lion, lookahead, schedule_free

from ravine import like_p, modifier, modifiers, rule, rules, scalar, several, shared, signal
from ravine.modifiers import (
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    decoupled_decay,
    kahan,
    l2,
    maximize,
    unscale,
)
from ravine.ops import clip, maximum, ndim, norm, sqrt, total, where


@modifier(start=like_p)
def decay_to_start(step, p, g, start, t, *, lr, pull=1e-2):
    start = where(t == 1, p, start)
    return step(p - lr * pull * (p - start), g), start


@modifier
def half(step, p, g, *, often=True):
    return (step(p, g) + p) / 2 if often else step(p, g)


@rule(b=several("betas"))
def aggmo(p, g, b, *, lr=0.1, betas=(0.0, 0.9, 0.99)):
    b = tuple(beta * x + g for beta, x in zip(betas, b, strict=True))
    return p - lr / len(b) * sum(b), b


@rule(past=several(3))
def window(p, g, past, *, lr=0.1):
    u = g + sum(past)
    past = (g, *past[:-1])
    return p - lr * u / (1 + len(past)) - lr * past[0] * past[-1], past


@rule
def sophia(
    p, g, m, h, *, hessian=signal(), lr=1e-4, beta1=0.965, beta2=0.99, gamma=0.05, eps=1e-12
):
    m = beta1 * m + (1 - beta1) * g
    if hessian is not None:
        h = beta2 * h + (1 - beta2) * hessian
    return p - lr * clip(m / maximum(gamma * h, eps), -1, 1), m, h


@rule
def lars(p, g, b, *, lr=0.1, momentum=0.9, weight_decay=1e-4, trust=1e-3):
    if ndim(p) >= 2:
        g = g + weight_decay * p
        g = trust * norm(p) / maximum(norm(g), 1e-12) * g
    b = momentum * b + lr * g
    return p - b, b


@rule(longest=shared(0.0))
def never_shorter(p, g, longest, *, lr=1e-2):
    longest = maximum(longest, sqrt(total(g**2)))
    return p - lr * g / maximum(longest, 1e-12), longest


@rule(mean_p=like_p, n=scalar(0.0), evaluate=lambda p, mean_p: mean_p)
def with_mean(p, g, mean_p, n, *, lr=1e-2, x_t=2.0, v0=1.0):
    p = p - lr * g / x_t * v0
    n = n + 1
    return p, mean_p + (p - mean_p) / n, n


def _modified():
    """Every modifier of Ravine's around Adam."""
    for name in modifiers.__all__:
        yield getattr(modifiers, name)(rules.adam)


STACKS = [
    *_modified(),
    cautious(rules.adam),
    cautious(rules.adamw),
    cautious(rules.adamax),
    cautious(kahan(rules.sgd)),
    lookahead(clip_by_norm(l2(rules.momentum))),
    lookahead(rules.adafactor),
    clip_by_global_norm(cautious(rules.adamw)),
    clip_by_value(lookahead(rules.adamw)),
    kahan(rules.adamw),
    kahan(lookahead(cautious(rules.adamw))),
    maximize(l2(rules.sgd)),
    unscale(maximize(l2(rules.rmsprop))),
    decoupled_decay(rules.asgd),
    decoupled_decay(rules.muon),
    decay_to_start(cautious(rules.adam)),
    half(rules.adamw),
    half(lookahead(lion)),
    half(aggmo),
    cautious(sophia),
    lookahead(with_mean),
    cautious(lars),
]
READ = [
    *REGISTERED,
    *STACKS,
    *(schedule_free, lion, aggmo, window, sophia, lars, never_shorter, with_mean),
]
