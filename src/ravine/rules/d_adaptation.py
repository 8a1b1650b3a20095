"""Parameter-free: D-Adaptation, with lr from a bound on the distance to a solution."""

from math import inf
from typing import Any

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import abs, maximum, sqrt, total, where
from ravine.rule import like_p, rule, shared

LR = searched(1e-2, 10.0)  # a factor of the estimate: all of these papers have 1
D0 = Hyperparameter(
    "first estimate of the distance, too small rather than too large",
    low=0.0,
    open_low=True,
    search=(1e-8, 1e-4),
)
DECAY = "the weights shrink by the estimated rate times this in each step"
_BETAS: dict[str, Any] = {
    "beta1": "decay rate of the mean of the gradients, each times the rate of its step",
    "beta2": "decay rate of the mean of the squared gradients; its root, of what d is made of",
}
OPTIONS = "lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, d0=d0"
OPTAX = "lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, estim_lr0=d0"
KOZISTR = {"growth_rate": inf, "fixed_decay": False}
_DADAPT_STATE = {"m": "exp_avg", "v": "exp_avg_sq", "s": "s", "d": "d"}
_DADAPT = "Defazio & Mishchenko, 2023. Learning-Rate-Free Learning by D-Adaptation"
_DADAPT_EPS = "added to the root mean square of the gradients"


@rule(
    paper=_DADAPT,
    at="arXiv:2301.07733, the version of Adam, in the form of dadaptation",
    d=shared("d0"),
    r=shared(0.0),
    card=Card(
        title="DAdaptAdam",
        names="D-Adaptation, D-Adapted Adam",
        witnesses=(
            Witness(
                "dadaptation 3.2",
                f"dadaptation.DAdaptAdam({OPTIONS}, decouple=True)",
                needs={"use_bias_correction": False, "growth_rate": inf},
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
                state={**_DADAPT_STATE, "r": "numerator_weighted"},
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.DAdaptAdam({OPTIONS}, weight_decouple=True)",
                needs={**KOZISTR, "bias_correction": False},
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
                state={**_DADAPT_STATE, "r": "numerator_weighted"},
            ),
        ),
    ),
    lr=LR,
    **_BETAS,
    eps=_DADAPT_EPS,
    weight_decay=DECAY,
    d0=D0,
)
def dadapt_adam(
    p,
    g,
    m,
    v,
    s,
    d,
    r,
    *,
    lr=1.0,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    d0=1e-6,
):
    """Adam with lr set from a bound on the distance to a solution.

    There is one lower bound d for all tensors, which never falls. lr multiplies it: use a schedule
    that peaks at 1, the same for all parameters. Its successor is `prodigy`.

    Elsewhere:
        dadaptation.DAdaptAdam (the authors'): this rule with decouple=True; without, its decay is
            `l2(dadapt_adam)`. growth_rate can slow the growth of d, and layer_scale multiplies the
            rate of a group.
        Defazio & Mishchenko 2023: no decay, and another order, `dadapt_adam_paper`.
        optax.contrib.dadapt_adamw: `dadapt_adam_bias_corrected`.
        kozistr: this rule with weight_decouple=True.
    """
    decay = sqrt(beta2)
    rate = d * lr
    r = decay * r + (1 - decay) * rate * total(g * s / (sqrt(v) + eps))
    m = beta1 * m + (1 - beta1) * rate * g
    v = beta2 * v + (1 - beta2) * g**2
    s = decay * s + (1 - decay) * rate * g
    size = (1 - decay) * total(abs(s))
    d = maximum(d, where(size > 0, r / size, 0.0))
    return p * (1 - rate * weight_decay) - m / (sqrt(v) + eps), m, v, s, d, r


@rule(
    paper=_DADAPT,
    at="arXiv:2301.07733, the version of Adam, with bias correction as in dadaptation",
    d=shared("d0"),
    r=shared(0.0),
    k=shared(0.0),
    card=Card(
        title="DAdaptAdamBiasCorrected",
        variant_of="dadapt_adam",
        differs="bias correction",
        witnesses=(
            Witness(
                "optax 0.2.8",
                f"optax.contrib.dadapt_adamw({OPTAX})",
                loud={"d0": 1e-3, "beta2": 0.99},
            ),
            Witness(
                "dadaptation 3.2",
                f"dadaptation.DAdaptAdam({OPTIONS}, decouple=True, use_bias_correction=True)",
                needs={"growth_rate": inf},
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
                state={**_DADAPT_STATE, "r": "numerator_weighted", "k": "k"},
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.DAdaptAdam({OPTIONS}, weight_decouple=True, "
                "bias_correction=True)",
                needs=KOZISTR,
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
                state={**_DADAPT_STATE, "r": "numerator_weighted", "k": "step"},
            ),
        ),
    ),
    lr=LR,
    **_BETAS,
    eps="added to the root mean square of the gradients before its bias correction",
    weight_decay=DECAY,
    d0=D0,
)
def dadapt_adam_bias_corrected(
    p,
    g,
    m,
    v,
    s,
    d,
    r,
    k,
    *,
    lr=1.0,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    d0=1e-6,
):
    """D-Adapted Adam with Adam's bias corrections.

    The correction multiplies the rate, so that it acts on the estimate as well; it counts the steps of
    the optimizer.

    Elsewhere:
        optax.contrib.dadapt_adamw: this rule.
        dadaptation.DAdaptAdam(decouple=True, use_bias_correction=True): this rule.
        kozistr: this rule, with weight_decouple=True and bias_correction=True.
    """
    k = k + 1
    decay = sqrt(beta2)
    rate = d * lr * sqrt(1 - beta2**k) / (1 - beta1**k)
    r = decay * r + (1 - decay) * rate * total(g * s / (sqrt(v) + eps))
    m = beta1 * m + (1 - beta1) * rate * g
    v = beta2 * v + (1 - beta2) * g**2
    s = decay * s + (1 - decay) * rate * g
    size = (1 - decay) * total(abs(s))
    d = maximum(d, where(size > 0, r / size, 0.0))
    return p * (1 - rate * weight_decay) - m / (sqrt(v) + eps), m, v, s, d, r, k


@rule(
    paper=_DADAPT,
    at="arXiv:2301.07733, the version of Adam",
    d=shared("d0"),
    r=shared(0.0),
    card=Card(title="DAdaptAdamPaper", variant_of="dadapt_adam", differs="order of operations"),
    lr=LR,
    **_BETAS,
    eps=_DADAPT_EPS,
    d0=D0,
)
def dadapt_adam_paper(p, g, m, v, s, d, r, *, lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6):
    """D-Adapted Adam as published: its estimate in another order.

    Where it sums up what d is made of, the authors' code divides by the mean before the newest gradient,
    so that one larger than all before counts for more.

    Elsewhere:
        Defazio & Mishchenko 2023: this rule.
        dadaptation, kozistr: `dadapt_adam`.
    """
    decay = sqrt(beta2)
    rate = d * lr
    m = beta1 * m + (1 - beta1) * rate * g
    v = beta2 * v + (1 - beta2) * g**2
    r = decay * r + (1 - decay) * rate * total(g * s / (sqrt(v) + eps))
    s = decay * s + (1 - decay) * rate * g
    size = (1 - decay) * total(abs(s))
    d = maximum(d, where(size > 0, r / size, 0.0))
    return p - m / (sqrt(v) + eps), m, v, s, d, r


@rule(
    paper=_DADAPT,
    at="arXiv:2301.07733, the version of SGD, in the form of dadaptation",
    p0=like_p,
    d=shared("d0"),
    r=shared(0.0),
    g_first=shared(0.0),
    card=Card(
        title="DAdaptSGD",
        names="D-Adapted SGD",
        witnesses=(
            Witness(
                "dadaptation 3.2",
                "dadaptation.DAdaptSGD(lr=lr, momentum=momentum, d0=d0)",
                needs={"weight_decay": 0, "growth_rate": inf},
                defaults={"momentum": 0.0},
                loud={"d0": 1e-3},
                late=True,
                state={
                    "s": "s",
                    "p0": "x0",
                    "d": "d",
                    "r": "numerator_weighted",
                    "g_first": "g0_norm",
                },
            ),
        ),
    ),
    lr=LR,
    momentum=Hyperparameter(
        "how slowly the weights follow the descent; 0: they are its points",
        low=0.0,
        high=1.0,
        open_high=True,
        search=(1e-2, 1.0),
        towards=1.0,
    ),
    d0=D0,
)
def dadapt_sgd(p, g, s, p0, d, r, g_first, *, lr=1.0, momentum=0.9, d0=1e-6):
    """SGD with lr set from a bound on the distance to a solution.

    The rate is d over the norm of the first gradient; there is one d for all tensors, which never
    falls. lr multiplies it: use a schedule that peaks at 1, the same for all parameters.

    Elsewhere:
        dadaptation.DAdaptSGD (the authors'): this rule, by default without momentum. growth_rate
            can slow the growth of d. Its weight decay is `l2(dadapt_sgd)`, except that the norm of
            the first gradient leaves it out.
        Defazio & Mishchenko 2023: this rule.
        kozistr: this rule, with the norm of the first gradient in float32 (1e-7 of the path).
    """
    g_first = where(g_first > 0, g_first, sqrt(total(g**2)))
    rate = where(g_first > 0, d * lr / g_first, 0.0)
    r = r + rate * total(g * s)
    s = s + rate * g
    size = sqrt(total(s**2))
    d = maximum(d, where(size > 0, 2 * r / size, 0.0))
    return momentum * p + (1 - momentum) * (p0 - s), s, p0, d, r, g_first
