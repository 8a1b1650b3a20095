"""Parameter-free: Prodigy, with lr from an estimate of the distance to a solution."""

from math import inf
from typing import Any

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter
from ravine.ops import abs, maximum, sqrt, total, where
from ravine.rule import like_p, rule, shared
from ravine.rules.d_adaptation import D0, DECAY, KOZISTR, LR, OPTAX, OPTIONS

_BETAS: dict[str, Any] = {
    "beta1": "decay rate of the mean of the scaled gradients, each times the estimate of its step",
    "beta2": "decay rate of the mean of their squares; its root, of what d is made of",
}
_SCALED_EPS = "times the estimate, added to the root mean square of the scaled gradients"
_COEF = Hyperparameter("factor of the estimate", low=0.0, open_low=True, search=(0.1, 10.0))
_SAFEGUARD = "leave lr out of what the estimate is divided by"
_PRODIGY = "Mishchenko & Defazio, 2024. Prodigy: An Expeditiously Adaptive Parameter-Free Learner"
_STATE = {"m": "exp_avg", "v": "exp_avg_sq", "d": "d"}
_FLAT = {"s": "s.reshape(exp_avg.shape)", "p0": "p0.reshape(exp_avg.shape)", "r": "d_numerator"}
_PRODIGYOPT = {"beta3": None, "decouple": True, "growth_rate": inf, "slice_p": 1}


@rule(
    paper=_PRODIGY,
    at="arXiv:2306.06101, the version of Adam, in the form of prodigyopt",
    p0=like_p,
    d=shared("d0"),
    r=shared(0.0),
    card=Card(
        witnesses=(
            Witness(
                "prodigyopt 1.1.2",
                f"prodigyopt.Prodigy({OPTIONS}, d_coef=d_coef, safeguard_warmup=safeguard_warmup)",
                needs={**_PRODIGYOPT, "use_bias_correction": False},
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
                state={**_STATE, **_FLAT},
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.Prodigy({OPTIONS}, d_coef=d_coef, "
                "safeguard_warmup=safeguard_warmup)",
                needs={
                    **KOZISTR,
                    "beta3": None,
                    "weight_decouple": True,
                    "bias_correction": False,
                },
                loud={"d0": 1e-3, "beta2": 0.99, "safeguard_warmup": True},
                late=True,
                state={**_STATE, **_FLAT},
            ),
        ),
    ),
    lr=LR,
    **_BETAS,
    eps=_SCALED_EPS,
    weight_decay=DECAY,
    d0=D0,
    d_coef=_COEF,
    safeguard_warmup=_SAFEGUARD,
)
def prodigy(
    p,
    g,
    m,
    v,
    s,
    p0,
    d,
    r,
    *,
    lr=1.0,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    d0=1e-6,
    d_coef=1.0,
    safeguard_warmup=False,
):
    """Adam with lr set from an estimated distance to a solution.

    There is one estimate d for all tensors, which never falls. lr multiplies it: use a schedule
    that peaks at 1, the same for all parameters. With a warm-up, set safeguard_warmup.

    Elsewhere:
        prodigyopt.Prodigy (the authors'): this rule; growth_rate can slow the growth of d, and
            slice_p can estimate it from every n-th coordinate. It keeps d in every group.
        Mishchenko & Defazio 2024: eps is multiplied by the d before the step, `prodigy_paper`.
        optax.contrib.prodigy: `prodigy_bias_corrected`.
        kozistr: this rule.
    """
    beta3 = sqrt(beta2)
    rate = d * lr
    r = beta3 * r + d / d0 * rate * total(g * (p0 - p))
    m = beta1 * m + (1 - beta1) * d * g
    v = beta2 * v + (1 - beta2) * d**2 * g**2
    s = beta3 * s + d / d0 * (d if safeguard_warmup else rate) * g
    size = total(abs(s))
    d = maximum(d, where(size > 0, d_coef * r / size, 0.0))
    p = p * (1 - rate * weight_decay) - rate * m / (sqrt(v) + d * eps)
    return p, m, v, s, p0, d, r


@rule(
    paper=_PRODIGY,
    at="arXiv:2306.06101, the version of Adam, with bias correction as in prodigyopt",
    p0=like_p,
    d=shared("d0"),
    r=shared(0.0),
    k=shared(0.0),
    card=Card(
        variant_of="prodigy",
        differs="bias correction",
        witnesses=(
            Witness(
                "prodigyopt 1.1.2",
                f"prodigyopt.Prodigy({OPTIONS}, d_coef=d_coef, safeguard_warmup=safeguard_warmup, "
                "use_bias_correction=True)",
                needs=_PRODIGYOPT,
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
                state={**_STATE, **_FLAT, "k": "k"},
            ),
            Witness(
                "optax 0.2.8",
                f"optax.contrib.prodigy({OPTAX}, estim_lr_coef=d_coef, "
                "safeguard_warmup=safeguard_warmup)",
                needs={"beta3": None},
                loud={"d0": 1e-3, "beta2": 0.99, "safeguard_warmup": True},
            ),
        ),
    ),
    lr=LR,
    **_BETAS,
    eps=_SCALED_EPS,
    weight_decay=DECAY,
    d0=D0,
    d_coef=_COEF,
    safeguard_warmup=_SAFEGUARD,
)
def prodigy_bias_corrected(
    p,
    g,
    m,
    v,
    s,
    p0,
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
    d_coef=1.0,
    safeguard_warmup=False,
):
    """Prodigy with Adam's bias corrections.

    The correction multiplies the rate, so that it acts on the estimate as well; it counts the steps of
    the optimizer.

    Elsewhere:
        optax.contrib.prodigy: this rule.
        prodigyopt.Prodigy(use_bias_correction=True): this rule.
        kozistr: this rule, with bias_correction=True.
    """
    k = k + 1
    beta3 = sqrt(beta2)
    rate = d * lr * sqrt(1 - beta2**k) / (1 - beta1**k)
    r = beta3 * r + d / d0 * rate * total(g * (p0 - p))
    m = beta1 * m + (1 - beta1) * d * g
    v = beta2 * v + (1 - beta2) * d**2 * g**2
    s = beta3 * s + d / d0 * (d if safeguard_warmup else rate) * g
    size = total(abs(s))
    d = maximum(d, where(size > 0, d_coef * r / size, 0.0))
    p = p * (1 - rate * weight_decay) - rate * m / (sqrt(v) + d * eps)
    return p, m, v, s, p0, d, r, k


@rule(
    paper=_PRODIGY,
    at="arXiv:2306.06101, the version of Adam",
    p0=like_p,
    d=shared("d0"),
    r=shared(0.0),
    card=Card(variant_of="prodigy", differs="place of eps"),
    lr=LR,
    **_BETAS,
    eps=_SCALED_EPS,
    d0=D0,
)
def prodigy_paper(p, g, m, v, s, p0, d, r, *, lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6):
    """Prodigy as published: eps times the last step's estimate.

    The authors' code multiplies it by the newest one. The two differ in the steps in which the estimate
    grows, where eps is not small beside the scaled gradients. r and s are as small as the square of the
    estimate here; the code divides them by d0.

    Elsewhere:
        Mishchenko & Defazio 2024: this rule.
        prodigyopt, kozistr: `prodigy`.
    """
    beta3 = sqrt(beta2)
    r = beta3 * r + (1 - beta3) * lr * d**2 * total(g * (p0 - p))
    m = beta1 * m + (1 - beta1) * d * g
    v = beta2 * v + (1 - beta2) * d**2 * g**2
    s = beta3 * s + (1 - beta3) * lr * d**2 * g
    p = p - lr * d * m / (sqrt(v) + d * eps)
    size = total(abs(s))
    d = maximum(d, where(size > 0, r / size, 0.0))
    return p, m, v, s, p0, d, r
