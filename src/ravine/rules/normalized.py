"""Normalized gradients: the gradient of each tensor counts by its direction, not by its norm."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import minimum, norm, sqrt, sum, where
from ravine.rule import rule, scalar

_ADAM = "lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay"
_MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq"}


@rule(
    paper="Bernstein et al., 2020. On the distance between two neural networks and the stability of learning",
    at="arXiv:2002.03432",
    card=Card(
        names="Frobenius matched gradient descent",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.Fromage(lr=lr)",
                needs={"p_bound": None, "maximize": False},
                late=True,
            ),
            Witness(
                "optax 0.2.8",
                "optax.fromage(lr, min_norm=0.0)",
                note="by default norms below 1e-6 count as 1e-6",
            ),
        ),
    ),
    lr=Hyperparameter("norm of a step over that of the weights", 0.0, search=(1e-4, 1e-1)),
)
def fromage(p, g, *, lr=1e-2):
    """Steps of lr times each tensor's norm, corrected for growth.

    A step at a right angle to the weights would make their norm grow by the factor sqrt(1 + lr**2);
    the division undoes that. A tensor of zeros takes plain steps of lr, divided alike.

    Elsewhere:
        kozistr, jxbz/fromage: this rule; p_bound also bounds the norm of a tensor.
        optax: this rule, with min_norm=0; by default norms below 1e-6 count as 1e-6.
    """
    w, n = norm(p), norm(g)
    ratio = where(minimum(w, n) > 0, w / n, 1.0)
    return (p - lr * ratio * g) / sqrt(1 + lr**2)


@rule(
    paper="Ginsburg et al., 2019. Stochastic Gradient Methods with Layer-wise Adaptive Moments for "
    "Training of Deep Networks",
    at="arXiv:1905.11286",
    v=scalar(0.0),
    card=Card(
        title="NovoGrad",
        names="NvNovoGrad",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.NvNovoGrad({_ADAM})",
                needs={"grad_averaging": False, "amsgrad": False, "decoupled_decay": False},
                state=_MOMENTS,
                note="its v is float32 unless torch's default dtype is another",
                late=True,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.NovoGrad({_ADAM})",
                needs={"weight_decouple": False, "grad_averaging": False, "maximize": False},
                state={"m": "moments", "v": "grads_ema"},
                late=True,
            ),
            Witness(
                "torch_optimizer 0.3.0",
                f"torch_optimizer.NovoGrad({_ADAM})",
                needs={"grad_averaging": False, "amsgrad": False},
                defaults={"beta2": 0.0},
                state=_MOMENTS,
                note="its v is float32 unless torch's default dtype is another",
                late=True,
            ),
            Witness(
                "optax 0.2.8",
                "optax.novograd(lr, b1=beta1, b2=beta2, eps=eps, weight_decay=weight_decay)",
                needs={"eps_root": 0.0},
                defaults={"beta1": 0.9, "beta2": 0.25, "eps": 1e-6},
                state={"m": "mu", "v": "nu"},
            ),
        ),
    ),
    lr=searched(1e-4, 1e-1),
    beta1="share of the velocity kept from step to step",
    beta2=Hyperparameter(
        "decay rate of the mean squared norm of a tensor's gradient",
        0.0,
        1.0,
        open_high=True,
        search=(1e-3, 0.9),
        towards=1.0,
    ),
    eps="added to the root of the mean squared norm",
    weight_decay=Hyperparameter(
        "weights times this join the gradient, once it is divided", 0.0, search=(1e-5, 1e-1)
    ),
)
def novograd(p, g, m, v, t, *, lr=1e-3, beta1=0.95, beta2=0.98, eps=1e-8, weight_decay=0.0):
    """Momentum on gradients divided by each tensor's usual norm.

    It keeps one second moment per tensor, where Adam keeps one per weight. The velocity is a sum,
    not a mean: with beta1 = 0.95 the norm of a step can be 20 times lr.

    Elsewhere:
        timm.NvNovoGrad, kozistr, torch_optimizer: this rule; grad_averaging=True makes m a mean.
            In timm and torch_optimizer v starts at the first gradient that is not all zeros.
        optax: this rule; beta1 0.9, beta2 0.25 and eps 1e-6 by default.
    """
    n = sum(g**2)
    v = where(t == 1, n, beta2 * v + (1 - beta2) * n)
    m = beta1 * m + g / (sqrt(v) + eps) + weight_decay * p
    return p - lr * m, m, v
