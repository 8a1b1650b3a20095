"""Parameter-free: the learning rate comes from how far the weights have moved, or need to."""

from math import inf
from typing import Any

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import abs, maximum, norm, sqrt, sum, total, where
from ravine.rule import like_p, rule, scalar, shared

_LR = searched(1e-2, 10.0)  # a factor of the estimate: all of these papers have 1
_D0 = Hyperparameter(
    "first estimate of the distance, too small rather than too large",
    low=0.0,
    open_low=True,
    search=(1e-8, 1e-4),
)
_DECAY = "the weights shrink by the estimated rate times this in each step"
_R_REL = Hyperparameter(
    "first distance, as a share of 1 + the norm of the weights; 1e-4 with batch normalization",
    low=0.0,
    open_low=True,
    search=(1e-8, 1e-3),
)
_DOG_EPS = "added to the sum of the squared gradients"


@rule(
    paper="Ivgi, Hinder & Carmon, 2023. DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size "
    "Schedule",
    at="arXiv:2302.12022",
    p0=like_p,
    r_max=shared(0.0),
    g_sum=shared(0.0),
    card=Card(
        title="DoG",
        names="distance over gradients",
        witnesses=(
            Witness(
                "dog-optimizer 1.0.3",
                "dog.DoG(lr=lr, reps_rel=reps_rel, eps=eps)",
                needs={"weight_decay": 0.0, "init_eta": None},
            ),
            Witness(
                "optax 0.2.8",
                "optax.contrib.dog(lr, init_step=('heuristic', reps_rel), eps=eps)",
                needs={"weight_decay": None},
                loud={"reps_rel": 1e-3},
            ),
        ),
    ),
    lr=_LR,
    reps_rel=_R_REL,
    eps=_DOG_EPS,
)
def dog(p, g, p0, r_max, g_sum, *, lr=1.0, reps_rel=1e-6, eps=1e-8):
    """SGD with lr from the distance moved and past gradients.

    The rate is the largest distance from the start, over the root of the sum of all squared
    gradients; there is one for all tensors. The authors evaluate with an average of the weights,
    and find that necessary. The first step is as short as reps_rel says; the steps then grow with
    the distance.

    Elsewhere:
        dog.DoG (the authors'): this rule for each group, since distances and gradients are a group's.
            All parameters need gradients from the first step on. Weight decay is `l2(dog)`.
        optax.contrib.dog: this rule. init_step may also be a distance, or the first learning rate.
    """
    start = where(r_max > 0, r_max, reps_rel * (1 + sqrt(total(p**2))))
    r_max = maximum(start, sqrt(total((p - p0) ** 2)))
    g_sum = g_sum + total(g**2)
    return p - lr * r_max / sqrt(g_sum + eps) * g, p0, r_max, g_sum


@rule(
    paper="Ivgi, Hinder & Carmon, 2023. DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size "
    "Schedule",
    at="arXiv:2302.12022, L-DoG",
    p0=like_p,
    r_max=scalar(0.0),
    g_sum=scalar(0.0),
    card=Card(
        title="LDoG",
        names="layer-wise DoG",
        variant_of="dog",
        differs="scope",
        witnesses=(
            Witness(
                "dog-optimizer 1.0.3",
                "dog.LDoG(lr=lr, reps_rel=reps_rel, eps=eps)",
                needs={"weight_decay": 0.0, "init_eta": None},
            ),
        ),
    ),
    lr=_LR,
    reps_rel=_R_REL,
    eps=_DOG_EPS,
)
def ldog(p, g, p0, r_max, g_sum, t, *, lr=1.0, reps_rel=1e-6, eps=1e-8):
    """DoG with a rate for each tensor.

    Elsewhere:
        dog.LDoG (the authors'): this rule. Weight decay is `l2(ldog)`.
    """
    r_max = where(t == 1, reps_rel * (1 + norm(p)), maximum(r_max, norm(p - p0)))
    g_sum = g_sum + sum(g**2)
    return p - lr * r_max / sqrt(g_sum + eps) * g, p0, r_max, g_sum


@rule(
    paper="Khaled, Mishchenko & Jin, 2023. DoWG Unleashed: An Efficient Universal Parameter-Free "
    "Gradient Descent Method",
    at="arXiv:2305.16284",
    p0=like_p,
    r_max=shared("r_eps"),
    g_sum=shared(0.0),
    card=Card(
        title="DoWG",
        names="distance over weighted gradients",
        witnesses=(
            Witness(
                "optax 0.2.8",
                "optax.contrib.dowg(lr, init_estim_sq_dist=r_eps**2, eps=eps)",
                needs={"weight_decay": None},
                loud={"r_eps": 0.3},
                note="Its init_estim_sq_dist is r_eps squared.",
            ),
            Witness(
                "dowgopt 0.13",
                "dowg.DoWG(eps=eps)",
                shapes="matrices",
                loud={"r_eps": 0.1},
                constant_lr=True,
                note="Its eps is the square of r_eps as well.",
            ),
        ),
    ),
    lr=_LR,
    r_eps=Hyperparameter(
        "distance that is taken for granted at first", low=0.0, open_low=True, search=(1e-6, 1e-1)
    ),
    eps="added to the root of the sum of the squared gradients, weighted",
)
def dowg(p, g, p0, r_max, g_sum, *, lr=1.0, r_eps=1e-2, eps=1e-4):
    """DoG with gradients weighted by the distance at the time.

    Early gradients count less, and the rate adapts to smooth and nonsmooth problems alike.

    Elsewhere:
        dowg.DoWG (the authors', dowgopt): this rule, with eps for r_eps**2.
        optax.contrib.dowg: this rule; init_estim_sq_dist is r_eps**2.
        Khaled et al. 2023: no eps and no lr.
    """
    r_max = maximum(r_max, sqrt(total((p - p0) ** 2)))
    g_sum = g_sum + r_max**2 * total(g**2)
    return p - lr * r_max**2 / (sqrt(g_sum) + eps) * g, p0, r_max, g_sum


_BETAS: dict[str, Any] = {
    "beta1": "decay rate of the mean of the gradients",
    "beta2": "decay rate of the mean of the squared gradients; its root, of the gradients for d",
}
_SCALED_EPS = "times the estimate, added to the root mean square of the scaled gradients"
_COEF = Hyperparameter("factor of the estimate", low=0.0, open_low=True, search=(0.1, 10.0))
_SAFEGUARD = "leave lr out of what the estimate is divided by"
_PRODIGY = "Mishchenko & Defazio, 2024. Prodigy: An Expeditiously Adaptive Parameter-Free Learner"
_OPTIONS = "lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, d0=d0"
_OPTAX = "lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, estim_lr0=d0"
_PRODIGYOPT = {"beta3": None, "decouple": True, "growth_rate": inf, "slice_p": 1}
_KOZISTR = {"growth_rate": inf, "fixed_decay": False}


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
                f"prodigyopt.Prodigy({_OPTIONS}, d_coef=d_coef, safeguard_warmup=safeguard_warmup)",
                needs={**_PRODIGYOPT, "use_bias_correction": False},
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.Prodigy({_OPTIONS}, d_coef=d_coef, "
                "safeguard_warmup=safeguard_warmup)",
                needs={
                    **_KOZISTR,
                    "beta3": None,
                    "weight_decouple": True,
                    "bias_correction": False,
                },
                loud={"d0": 1e-3, "beta2": 0.99, "safeguard_warmup": True},
                late=True,
            ),
        ),
    ),
    lr=_LR,
    **_BETAS,
    eps=_SCALED_EPS,
    weight_decay=_DECAY,
    d0=_D0,
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
        Mishchenko & Defazio 2024: eps is multiplied by the d before the step; no decay, d_coef 1.
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
                f"prodigyopt.Prodigy({_OPTIONS}, d_coef=d_coef, safeguard_warmup=safeguard_warmup, "
                "use_bias_correction=True)",
                needs=_PRODIGYOPT,
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
            ),
            Witness(
                "optax 0.2.8",
                f"optax.contrib.prodigy({_OPTAX}, estim_lr_coef=d_coef, "
                "safeguard_warmup=safeguard_warmup)",
                needs={"beta3": None},
                loud={"d0": 1e-3, "beta2": 0.99, "safeguard_warmup": True},
            ),
        ),
    ),
    lr=_LR,
    **_BETAS,
    eps=_SCALED_EPS,
    weight_decay=_DECAY,
    d0=_D0,
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
                f"dadaptation.DAdaptAdam({_OPTIONS}, decouple=True)",
                needs={"use_bias_correction": False, "growth_rate": inf},
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.DAdaptAdam({_OPTIONS}, weight_decouple=True)",
                needs={**_KOZISTR, "bias_correction": False},
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
            ),
        ),
    ),
    lr=_LR,
    **_BETAS,
    eps=_DADAPT_EPS,
    weight_decay=_DECAY,
    d0=_D0,
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
    that peaks at 1, the same for all parameters. `prodigy` finds the distance faster.

    Elsewhere:
        dadaptation.DAdaptAdam (the authors'): this rule with decouple=True; without, its decay is
            `l2(dadapt_adam)`. growth_rate can slow the growth of d, and layer_scale multiplies the
            rate of a group.
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
                f"optax.contrib.dadapt_adamw({_OPTAX})",
                loud={"d0": 1e-3, "beta2": 0.99},
            ),
            Witness(
                "dadaptation 3.2",
                f"dadaptation.DAdaptAdam({_OPTIONS}, decouple=True, use_bias_correction=True)",
                needs={"growth_rate": inf},
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.DAdaptAdam({_OPTIONS}, weight_decouple=True, "
                "bias_correction=True)",
                needs=_KOZISTR,
                loud={"d0": 1e-3, "beta2": 0.99},
                late=True,
            ),
        ),
    ),
    lr=_LR,
    **_BETAS,
    eps=_DADAPT_EPS,
    weight_decay=_DECAY,
    d0=_D0,
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
            ),
        ),
    ),
    lr=_LR,
    momentum=Hyperparameter(
        "how slowly the weights follow the descent; 0: they are its points",
        low=0.0,
        high=1.0,
        open_high=True,
        search=(1e-2, 1.0),
        towards=1.0,
    ),
    d0=_D0,
)
def dadapt_sgd(p, g, s, p0, d, r, g_first, *, lr=1.0, momentum=0.9, d0=1e-6):
    """SGD with lr set from a bound on the distance to a solution.

    The rate is d over the norm of the first gradient; there is one d for all tensors, which never
    falls. lr multiplies it: use a schedule that peaks at 1, the same for all parameters.

    Elsewhere:
        dadaptation.DAdaptSGD (the authors'): this rule, by default without momentum. growth_rate
            can slow the growth of d. Its weight decay is `l2(dadapt_sgd)`, except that the norm of
            the first gradient leaves it out.
        kozistr: this rule, with the norm of the first gradient in float32 (1e-7 of the path).
    """
    g_first = where(g_first > 0, g_first, sqrt(total(g**2)))
    rate = where(g_first > 0, d * lr / g_first, 0.0)
    r = r + rate * total(g * s)
    s = s + rate * g
    size = sqrt(total(s**2))
    d = maximum(d, where(size > 0, 2 * r / size, 0.0))
    return momentum * p + (1 - momentum) * (p0 - s), s, p0, d, r, g_first
