"""Functions from rule to rule: weight decay, clipping, direction.

`decoupled_decay(adam)` is AdamW. The outer modifier sees the gradient first and the parameter
last: `maximize(l2(sgd))` negates the gradient, then adds the decay, as torch.optim does.
"""

from ravine.hyperparameters import Hyperparameter
from ravine.modifying import modifier
from ravine.ops import clip as _clip
from ravine.ops import maximum, norm, sqrt, stored, total

__all__ = [
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "decoupled_decay",
    "kahan",
    "l2",
    "maximize",
    "unscale",
]


def _norm_of(what: str) -> Hyperparameter:
    return Hyperparameter(
        f"largest Euclidean norm of {what}", low=0.0, open_low=True, search=(1e-3, 10.0)
    )


# AlgoPerf tunes it from 1e-7 to 5e-5 for Nesterov's momentum; for decoupled decay, 5e-3 to 1.
@modifier(
    weight_decay=Hyperparameter(
        "the gradient grows by this times the weights", low=0.0, search=(1e-7, 1e-1)
    )
)
def l2(step, p, g, *, weight_decay=1e-2):
    """L2 regularisation: the gradient of weight_decay/2 * p**2 joins the gradient."""
    return step(p, g + weight_decay * p if weight_decay else g)


@modifier(weight_decay="the weights shrink by lr times this in each step")
def decoupled_decay(step, p, g, *, lr, weight_decay=1e-2):
    """Decoupled weight decay (Loshchilov & Hutter, 2019, Algorithm 2): the gradient is left alone."""
    return step(p * (1 - lr * weight_decay), g)


@modifier
def maximize(step, p, g, *, maximize=True):
    """Climb: the gradient changes its sign."""
    return step(p, -g if maximize else g)


@modifier(grad_scale="what the gradients are divided by")
def unscale(step, p, g, *, grad_scale=1.0):
    """The gradient is divided by what the loss was multiplied by, or by a count of batches."""
    return step(p, g / grad_scale)


@modifier
def kahan(step, p, g, lost):
    """Kahan summation: what rounding took from p is kept, and added to the next step.

    For parameters in half precision, whose steps are often too short to reach the next number, so that
    p never moves. `lost` is kept in the dtype of the state.
    """
    u = step(p, g) - p + lost
    new = stored(p + u)
    return new, u - (new - p)


@modifier(
    clip_value=Hyperparameter(
        "largest size of a gradient's coordinate", low=0.0, search=(1e-3, 10.0)
    )
)
def clip_by_value(step, p, g, *, clip_value=1.0):
    """Each coordinate of the gradient is brought into [-clip_value, clip_value]."""
    return step(p, _clip(g, -clip_value, clip_value))


@modifier(max_norm=_norm_of("one tensor's gradient"))
def clip_by_norm(step, p, g, *, max_norm=1.0):
    """A gradient longer than max_norm is shortened to it, tensor by tensor."""
    return step(p, g * (max_norm / maximum(norm(g), max_norm)))


@modifier(max_norm=_norm_of("all gradients together"))
def clip_by_global_norm(step, p, g, *, max_norm=1.0):
    """Gradients that are together longer than max_norm are shortened to it, all by one factor."""
    return step(p, g * (max_norm / maximum(sqrt(total(g * g)), max_norm)))
