"""Gradient clipping, by fixed bounds and by bounds that follow the training."""

from ravine.hyperparameters import Hyperparameter
from ravine.modifying import modifier
from ravine.ops import clip, maximum, minimum, ndim, norm, sqrt, total, where
from ravine.ops import sum as _sum
from ravine.rule import scalar, shared


def _norm_of(what: str) -> Hyperparameter:
    return Hyperparameter(
        f"largest Euclidean norm of {what}", low=0.0, open_low=True, search=(1e-3, 10.0)
    )


def _mean_of(what: str) -> Hyperparameter:
    return Hyperparameter(
        f"decay rate of the mean of {what}",
        low=0.0,
        high=1.0,
        open_high=True,
        search=(1e-3, 0.5),
        towards=1.0,
    )


def _from_1(meaning: str) -> Hyperparameter:
    return Hyperparameter(meaning, low=1.0, whole=True)


@modifier(
    clip_value=Hyperparameter(
        "largest size of a gradient's coordinate", low=0.0, search=(1e-3, 10.0)
    )
)
def clip_by_value(step, p, g, *, clip_value=1.0):
    """Clip each coordinate of the gradient to [-clip_value, clip_value]."""
    return step(p, clip(g, -clip_value, clip_value))


@modifier(max_norm=_norm_of("one tensor's gradient"))
def clip_by_norm(step, p, g, *, max_norm=1.0):
    """Scale down each tensor's gradient if its norm exceeds max_norm."""
    return step(p, g * (max_norm / maximum(norm(g), max_norm)))


@modifier(max_norm=_norm_of("all gradients together"))
def clip_by_global_norm(step, p, g, *, max_norm=1.0):
    """Scale down all gradients by one factor if their joint norm exceeds max_norm."""
    return step(p, g * (max_norm / maximum(sqrt(total(g * g)), max_norm)))


@modifier(
    agc_clip=Hyperparameter(
        "largest norm of a unit's gradient, relative to that of its weights",
        low=0.0,
        open_low=True,
        search=(1e-3, 1.0),
    ),
    agc_eps=Hyperparameter(
        "the norm that smaller weights count as", low=0.0, open_low=True, search=(1e-5, 1e-1)
    ),
)
def adaptive_grad_clip(step, p, g, *, agc_clip=1e-2, agc_eps=1e-3):
    """Adaptive gradient clipping (AGC): bound each unit's gradient relative to its weights.

    Brock et al., 2021, arXiv:2102.06171, section 4. A unit is what has one index on the first axis:
    a row of a matrix, an output channel of a convolution; of a vector, the whole.
    """
    if ndim(p) >= 2:
        size, length = sqrt(_sum(p * p, keep=0)), sqrt(_sum(g * g, keep=0))
    else:
        size, length = norm(p), norm(g)
    limit, length = agc_clip * maximum(size, agc_eps), maximum(length, 1e-6)
    return step(p, g * where(length > limit, limit / length, 1.0))


@modifier(
    norms_seen=shared(0.0),
    norm_mean=shared(0.0),
    norm_variance=shared(0.0),
    z_threshold=Hyperparameter(
        "standard deviations above the mean from which on a norm is clipped",
        low=0.0,
        open_low=True,
        search=(1.0, 10.0),
    ),
    zclip_decay=_mean_of("the norms, and of their variance"),
    zclip_warmup=_from_1("steps whose norms give the first mean and variance; nothing is clipped"),
    zclip_eps=Hyperparameter(
        "added to the standard deviation, and to the norm that is divided by", low=0.0
    ),
)
def zclip(
    step,
    p,
    g,
    norms_seen,
    norm_mean,
    norm_variance,
    *,
    z_threshold=2.5,
    zclip_decay=0.97,
    zclip_warmup=25,
    zclip_eps=1e-6,
):
    """ZClip: clip the global norm if it is an outlier among recent ones.

    Kumar et al., 2025, arXiv:2504.02507. A norm whose z-score is above the threshold is reduced to
    the mean plus threshold**2 / z standard deviations. The authors' code also has a fixed bound;
    for that, stack `clip_by_global_norm`.
    """
    n = sqrt(total(g * g))
    count = norms_seen + 1
    warming = count <= zclip_warmup
    deviation = sqrt(norm_variance)
    z = (n - norm_mean) / (deviation + zclip_eps)
    spike = (1 - warming) * (z > z_threshold)
    bound = where(spike, norm_mean + z_threshold**2 / where(spike, z, 1.0) * deviation, n)
    shrink = where(bound < n, bound / (n + zclip_eps), 1.0)
    weight = where(warming, 1 / count, 1 - zclip_decay)
    mean = norm_mean + weight * (bound - norm_mean)
    # In the warm-up, the variance of all norms so far; then a running mean of squares.
    off = where(warming, (bound - norm_mean) * (bound - mean), (bound - mean) ** 2)
    return step(p, g * shrink), count, mean, norm_variance + weight * (off - norm_variance)


@modifier(
    usual_norm=scalar(0.0),
    adagc_abs=_norm_of("all gradients together, in the warm-up"),
    adagc_rel=Hyperparameter(
        "largest norm of a tensor's gradient, relative to its usual one",
        low=0.0,
        open_low=True,
        search=(1.0, 2.0),
    ),
    adagc_decay=_mean_of("a tensor's gradient norms"),
    adagc_warmup=_from_1("the step from which on the bound is relative"),
)
def adagc(
    step,
    p,
    g,
    usual_norm,
    t,
    *,
    adagc_abs=1.0,
    adagc_rel=1.05,
    adagc_decay=0.98,
    adagc_warmup=100,
):
    """AdaGC: bound each tensor's gradient relative to its usual norm.

    Wang et al., 2025, arXiv:2502.11034. In the warm-up all gradients are clipped by their global
    norm, and a tensor's usual norm is the smallest that it has had.
    """
    n, warming = norm(g), t < adagc_warmup
    whole = minimum(adagc_abs / maximum(sqrt(total(g * g)), 1e-8), 1.0)
    own = minimum(adagc_rel * maximum(usual_norm, 1e-8) / maximum(n, 1e-8), 1.0)
    shrink = where(warming, whole, own)
    first = where(t == 1, shrink * n, minimum(usual_norm, shrink * n))
    after = adagc_decay * usual_norm + (1 - adagc_decay) * shrink * n
    return step(p, shrink * g), where(warming, first, after)
