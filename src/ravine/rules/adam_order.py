"""Adam with reordered operations: relatives that divide each gradient before the mean is taken, or clip."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import clip, maximum, mean, sqrt, where
from ravine.rule import rule, scalar

_SQUARES = "decay rate of the mean of the squared gradients"
_NORMALIZED = "decay rate of the mean of the normalized gradients"
_TORCH = "lr=lr, betas=(beta1, beta2), eps=eps"
_OPTAX = "lr, b1=beta1, b2=beta2, eps=eps"
_STATE = {"m": "exp_avg", "v": "exp_avg_sq"}
_CLIP_EXP = Hyperparameter(
    "each divided gradient is clipped to the number of steps to this power",
    low=0.0,
    search=(0.1, 1.0),
)
_EPS_ADOPT = "smallest root mean square that a gradient is divided by"


@rule(
    paper="Taniguchi et al., 2024. ADOPT: Modified Adam Can Converge with Any beta2 with the Optimal Rate",
    at="arXiv:2411.02853, the algorithm with clipping",
    card=Card(
        title="ADOPT",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.Adopt({_TORCH}, clip_exp=clip_exp)",
                needs={"weight_decay": 0.0, "caution": False, "maximize": False},
                defaults={"clip_exp": 0.333},
                state=_STATE,
                late=True,
            ),
            Witness("optax 0.2.8", f"optax.contrib.adopt({_OPTAX})", state={"m": "mu", "v": "nu"}),
        ),
    ),
    beta1=_NORMALIZED,
    beta2=_SQUARES,
    eps=_EPS_ADOPT,
    clip_exp=_CLIP_EXP,
)
def adopt(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.9999, eps=1e-6, clip_exp=0.25):
    """Adam that divides each gradient by the RMS of earlier ones.

    The quotients are then averaged; this converges for any beta2. The first step moves nothing: it
    only sets v to the first gradient's square.

    Elsewhere:
        optax.contrib.adopt, the authors' code: this rule.
        timm.optim.Adopt: this rule; default clip_exp 0.333. clip_exp=None does not clip, as in the
            paper's first version.
        pytorch_optimizer.ADOPT: its clipping counts that first step, `adopt_kozistr`.
    """
    c = (t - 1) ** clip_exp
    u = clip(g / maximum(sqrt(v), eps), -c, c)
    m = where(t == 1, m, beta1 * m + (1 - beta1) * u)
    v = where(t == 1, g**2, beta2 * v + (1 - beta2) * g**2)
    return p - lr * m, m, v


@rule(
    paper="Taniguchi et al., 2024. ADOPT: Modified Adam Can Converge with Any beta2 with the Optimal Rate",
    at="arXiv:2411.02853, the algorithm with clipping, in the form of pytorch_optimizer.ADOPT",
    card=Card(
        title="ADOPTKozistr",
        variant_of="adopt",
        differs="schedule index",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.ADOPT({_TORCH})",
                needs={"weight_decay": 0.0},
                state=_STATE,
            ),
        ),
    ),
    beta1=_NORMALIZED,
    beta2=_SQUARES,
    eps=_EPS_ADOPT,
    clip_exp=_CLIP_EXP,
)
def adopt_kozistr(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.9999, eps=1e-6, clip_exp=0.25):
    """ADOPT whose clipping counts the first step, too.

    Elsewhere:
        pytorch_optimizer.ADOPT: this rule; clip_exp is in its clip_lambda.
        The authors' code, timm, optax: the first step that moves weights clips to 1, `adopt`.
    """
    c = t**clip_exp
    u = clip(g / maximum(sqrt(v), eps), -c, c)
    m = where(t == 1, m, beta1 * m + (1 - beta1) * u)
    v = where(t == 1, g**2, beta2 * v + (1 - beta2) * g**2)
    return p - lr * m, m, v


_EPS_LAPROP = Hyperparameter(
    "added to the root mean square of the gradients", low=0.0, search=(1e-16, 1e-3)
)


@rule(
    paper="Ziyin, Wang & Ueda, 2020. LaProp: Separating Momentum and Adaptivity in Adam",
    at="arXiv:2002.04839",
    card=Card(title="LaProp"),
    lr=searched(1e-5, 1e-2),
    beta1=_NORMALIZED,
    beta2=_SQUARES,
    eps=_EPS_LAPROP,
)
def laprop(p, g, m, v, t, *, lr=4e-4, beta1=0.9, beta2=0.999, eps=1e-15):
    """Adam that normalizes each gradient before averaging it.

    A gradient keeps the scale that it was given when it came, so beta1 may be larger than beta2
    allows in Adam.

    Elsewhere:
        The authors' code, timm.optim.LaProp, pytorch_optimizer.LaProp: lr multiplies what is averaged,
            `laprop_timm`; equal while lr is constant.
    """
    v = beta2 * v + (1 - beta2) * g**2
    v_hat = v / (1 - beta2**t)
    m = beta1 * m + (1 - beta1) * g / (sqrt(v_hat) + eps)
    return p - lr * m / (1 - beta1**t), m, v


@rule(
    paper="Ziyin, Wang & Ueda, 2020. LaProp: Separating Momentum and Adaptivity in Adam",
    at="arXiv:2002.04839, in the form of the authors' code",
    rates=scalar(0.0),
    card=Card(
        title="LaPropTimm",
        variant_of="laprop",
        differs="place of lr, bias correction",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.LaProp({_TORCH})",
                needs={"weight_decay": 0.0, "caution": False},
                state={**_STATE, "rates": "exp_avg_lr_1"},
                late=True,
            ),
        ),
    ),
    lr=searched(1e-5, 1e-2),
    beta1=_NORMALIZED,
    beta2=_SQUARES,
    eps=_EPS_LAPROP,
)
def laprop_timm(p, g, m, v, rates, t, *, lr=4e-4, beta1=0.9, beta2=0.999, eps=1e-15):
    """LaProp in which gradients keep the lr of their own step.

    The mean is divided by that of the learning rates, so a step is lr times a mean weighted by
    them.

    Elsewhere:
        The authors' code, timm.optim.LaProp: this rule.
        pytorch_optimizer.LaProp: the same with eps before the bias correction, and 1e-15 inside the root:
            1e-5 away after 60 steps.
    """
    v = beta2 * v + (1 - beta2) * g**2
    v_hat = v / (1 - beta2**t)
    m = beta1 * m + (1 - beta1) * lr * g / (sqrt(v_hat) + eps)
    rates = beta1 * rates + (1 - beta1) * lr
    return p - lr / where(rates > 0, rates, 1.0) * m, m, v, rates


@rule(
    paper="Wortsman et al., 2023. Stable and low-precision training for large-scale vision-language models",
    at="arXiv:2304.13013",
    card=Card(
        title="StableAdamW",
        names="AdamW with update clipping, AdamW-Adafactor",
        witnesses=(
            Witness(
                "torch-optimi 0.3.3",
                f"optimi.StableAdamW({_TORCH}, weight_decay=weight_decay)",
                needs={"decouple_lr": False},
                defaults={"eps": 1e-6},
                state=_STATE,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.StableAdamW({_TORCH}, weight_decay=weight_decay)",
                needs={"weight_decouple": True},
                state=_STATE,
            ),
        ),
    ),
    beta1="decay rate of the mean of the gradients, in the limit of many steps",
    beta2="decay rate of the mean of the squared gradients, in the limit of many steps",
    eps="added to the root mean square of the gradients",
    weight_decay="the weights shrink by this times the clipped learning rate",
)
def stableadamw(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=1e-2):
    """AdamW with the update clipping of Adafactor.

    Where gradients outgrow their mean square, the step of that tensor is shortened. This replaces
    gradient clipping where the loss spikes.

    Elsewhere:
        optimi.StableAdamW: this rule; default eps 1e-6.
        pytorch_optimizer.StableAdamW: this rule.
        timm.optim.AdamWLegacy(clipping_threshold=1): the decay is not shortened.
    """
    beta1_hat = beta1 * (1 - beta1 ** (t - 1)) / (1 - beta1**t)
    beta2_hat = beta2 * (1 - beta2 ** (t - 1)) / (1 - beta2**t)
    m = beta1_hat * m + (1 - beta1_hat) * g
    v = beta2_hat * v + (1 - beta2_hat) * g**2
    rms = sqrt(mean(g**2 / maximum(v, eps**2)))
    rate = lr / maximum(rms, 1.0)
    return p - rate * weight_decay * p - rate * m / (sqrt(v) + eps), m, v
