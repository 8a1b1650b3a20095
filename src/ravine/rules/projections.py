"""Projected steps: for weights whose norm has no effect, such as those before a normalization."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import abs, greatest, maximum, ndim, norm, size, sqrt, sum, where
from ravine.rule import rule

_PAPER = (
    "Heo et al., 2021. AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant "
    "Weights"
)
_DELTA = Hyperparameter(
    "bound on the cosine of gradient and weights, times the root of their number, for a projection",
    0.0,
    search=(1e-2, 1.0),
)
_RATIO = Hyperparameter(
    "factor of the decay where the step is projected", 0.0, 1.0, search=(1e-2, 1.0)
)
_EPS = "added to norms; in a cosine, the smallest that a norm counts as"
_PROJECTION = "eps=eps, delta=delta, wd_ratio=wd_ratio, weight_decay=weight_decay"
_MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq"}
_LOUD = {"delta": 0.6}  # so that all three cases occur


def _cosine(x, y, eps, axis=None):
    """The cosine of the angle between x and y, as wholes or along an axis."""
    norms = maximum(norm(x, axis=axis), eps) * maximum(norm(y, axis=axis), eps)
    return sum(x * y, axis=axis) / norms


@rule(
    seen="matrix",
    paper=_PAPER,
    at="arXiv:2006.08217, with the weight decay of the authors' code",
    card=Card(
        title="SGDP",
        names="SGD with projection",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.SGDP(lr=lr, momentum=momentum, dampening=dampening, {_PROJECTION})",
                needs={"nesterov": False, "caution": False},
                defaults={"momentum": 0.0},
                state={"b": "momentum"},
                loud=_LOUD,
                late=True,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.SGDP(lr=lr, momentum=momentum, dampening=dampening, {_PROJECTION})",
                needs={
                    "nesterov": False,
                    "weight_decouple": True,
                    "fixed_decay": False,
                    "maximize": False,
                },
                defaults={"lr": 1e-3, "momentum": 0.0},
                state={"b": "momentum"},
                loud=_LOUD,
                late=True,
            ),
        ),
    ),
    lr=searched(1e-4, 10.0),
    momentum=Hyperparameter(
        "share of the velocity kept from step to step",
        0.0,
        1.0,
        open_high=True,
        search=(1e-3, 1.0),
        towards=1.0,
    ),
    dampening="share of the gradient kept out of the velocity",
    eps=_EPS,
    delta=_DELTA,
    wd_ratio=_RATIO,
    weight_decay="the weights shrink by lr / (1 - momentum) times this in each step",
)
def sgdp(
    p,
    g,
    b,
    *,
    lr=0.1,
    momentum=0.9,
    dampening=0.0,
    eps=1e-8,
    delta=0.1,
    wd_ratio=0.1,
    weight_decay=0.0,
):
    """Momentum whose steps are tangent to scale-invariant weights.

    Before a normalization only the direction of the weights matters. Momentum makes their norm grow
    all the same, and the larger it is, the less a step turns them. The gradient of such weights is
    at a right angle to them. Where it is nearly so, for each row or for the whole matrix, the part
    of the step along the weights is removed, and the decay is weaker. Vectors are not projected.

    Elsewhere:
        timm, kozistr: this rule; momentum is 0 by default.
        adamp, torch_optimizer: what is removed from the step is also removed from the velocity,
            since the two are one array there.
        Heo et al. 2021: no eps, no weight decay.
    """
    b = momentum * b + (1 - dampening) * g
    u, ratio = b, 1.0
    if ndim(p) > 1:
        by_row = greatest(abs(_cosine(p, g, eps, -1))) < delta / sqrt(size(p, -1))
        as_one = abs(_cosine(p, g, eps)) < delta / sqrt(size(p, -1) * size(p, -2))
        n, e = p / (norm(p, axis=-1) + eps), p / (norm(p) + eps)
        u = where(by_row, u - n * sum(n * u, axis=-1), where(as_one, u - e * sum(e * u), u))
        ratio = where(by_row, wd_ratio, where(as_one, wd_ratio, 1.0))
    return p * (1 - lr * weight_decay * ratio / (1 - momentum)) - lr * u, b


@rule(
    seen="matrix",
    paper=_PAPER,
    at="arXiv:2006.08217, with the weight decay of the authors' code",
    card=Card(
        title="AdamP",
        names="Adam with projection",
        witnesses=(
            Witness(
                "adamp 0.3.0",
                f"adamp.AdamP(lr=lr, betas=(beta1, beta2), {_PROJECTION})",
                needs={"nesterov": False},
                state=_MOMENTS,
                loud=_LOUD,
                late=True,
            ),
            Witness(
                "timm 1.0.31",
                f"timm.optim.AdamP(lr=lr, betas=(beta1, beta2), {_PROJECTION})",
                needs={"nesterov": False, "caution": False},
                state=_MOMENTS,
                loud=_LOUD,
                late=True,
            ),
        ),
    ),
    beta1="decay rate of the mean of the gradients",
    beta2="decay rate of the mean of the squared gradients",
    eps="added to the root mean square of the gradients, and to norms",
    delta=_DELTA,
    wd_ratio=_RATIO,
    weight_decay="the weights shrink by lr times this in each step",
)
def adamp(
    p,
    g,
    m,
    v,
    t,
    *,
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    delta=0.1,
    wd_ratio=0.1,
    weight_decay=0.0,
):
    """Adam whose steps are tangent to scale-invariant weights.

    The part of the step along the weights is removed as in `sgdp`. Vectors take AdamW's steps.

    Elsewhere:
        adamp (the authors'), timm: this rule.
        torch_optimizer: eps is added to the norms in the cosine, which matters where gradients are
            as small as eps.
        kozistr: eps is added before the bias correction, as in `adam_eps_hat`.
        Heo et al. 2021: no weight decay in the algorithm.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
    ratio = 1.0
    if ndim(p) > 1:
        by_row = greatest(abs(_cosine(p, g, eps, -1))) < delta / sqrt(size(p, -1))
        as_one = abs(_cosine(p, g, eps)) < delta / sqrt(size(p, -1) * size(p, -2))
        n, e = p / (norm(p, axis=-1) + eps), p / (norm(p) + eps)
        u = where(by_row, u - n * sum(n * u, axis=-1), where(as_one, u - e * sum(e * u), u))
        ratio = where(by_row, wd_ratio, where(as_one, wd_ratio, 1.0))
    return p * (1 - lr * weight_decay * ratio) - lr * u, m, v
