"""Changes to the direction of the gradient, or of the step."""

from ravine.hyperparameters import Hyperparameter
from ravine.modifying import modifier
from ravine.ops import epsilon, maximum, mean, ndim, norm, size, where
from ravine.ops import sum as _sum


@modifier
def maximize(step, p, g, *, maximize=True):
    """Maximize the objective by flipping the sign of the gradient."""
    return step(p, -g if maximize else g)


@modifier(grad_scale="what the gradients are divided by")
def unscale(step, p, g, *, grad_scale=1.0):
    """Divide the gradient by the loss scale, or by a number of accumulated batches."""
    return step(p, g / grad_scale)


@modifier
def centralize(step, p, g):
    """Gradient centralization (GC): subtract its mean from each output unit's gradient.

    Yong et al., 2020, arXiv:2004.01461. An output unit is what has one index on the first axis: a
    row of a matrix, a filter of a convolution. Gradients of vectors are left alone.
    """
    return step(p, g - mean(g, keep=0) if ndim(p) >= 2 else g)


@modifier
def orthograd(step, p, g):
    """OrthoGrad: the component of the gradient orthogonal to the weights, at the full length.

    Prieto et al., 2025, arXiv:2501.04697. A step along the weights scales the logits, which lowers
    the loss without learning anything. Where nothing but rounding error is at right angles, as for
    a single number, the gradient becomes zero; the authors' code scales the rounding error up.
    """
    across = g - _sum(p * g) / (_sum(p * p) + 1e-30) * p
    n, left = norm(g), norm(across)
    rounding = 4 * epsilon(p) * n
    return step(p, across * where(left > rounding, n / (left + 1e-30), 0.0))


@modifier(
    grokfast_alpha=Hyperparameter(
        "decay rate of the mean of the gradients",
        low=0.0,
        high=1.0,
        open_high=True,
        search=(1e-3, 0.2),
        towards=1.0,
    ),
    grokfast_lamb=Hyperparameter(
        "what the mean is multiplied by before it joins the gradient", low=0.0, search=(0.1, 10.0)
    ),
)
def grokfast(step, p, g, slow_g, t, *, grokfast_alpha=0.98, grokfast_lamb=2.0):
    """Grokfast: amplify the slow part of the gradients, their running mean.

    Lee et al., 2024, arXiv:2405.20233: Grokfast-EMA. The mean starts at the first gradient, as in the
    authors' code.
    """
    slow_g = where(t == 1, g, grokfast_alpha * slow_g + (1 - grokfast_alpha) * g)
    return step(p, g + grokfast_lamb * slow_g), slow_g


@modifier
def cautious(step, p, g):
    """Leave out coordinates in which the step goes against the gradient.

    Liang et al., 2024, arXiv:2411.16085, Algorithm 1, in the form of the authors' code: what remains
    is multiplied by d / (k + 1) where k of d coordinates remain. Stacked as
    `decoupled_decay(cautious(adam))` it is their C-AdamW, where the decay is not masked.
    """
    u = p - step(p, g)
    kept = where(u * g > 0, 1.0, 0.0)
    return p - u * kept * (size(p) / (_sum(kept) + 1))


@modifier
def cautious_clamped(step, p, g):
    """`cautious`, with the step divided by the share of coordinates that remain (at least 1e-3).

    timm: `caution=True`.
    """
    u = p - step(p, g)
    kept = where(u * g > 0, 1.0, 0.0)
    return p - u * kept / maximum(mean(kept), 1e-3)
