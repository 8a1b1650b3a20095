"""Adam with other denominators: relatives that differ in what a step is divided by, or when."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import atan2, sign, sqrt, where
from ravine.rule import filled, rule

_MEAN = "decay rate of the mean of the gradients"
_SQUARES = "decay rate of the mean of the squared gradients"
_EPS = "added to the root mean square of the gradients"
_EPS_HAT = "added to the root mean square before its bias correction"
_TORCH = "lr=lr, betas=(beta1, beta2), eps=eps"
_OPTAX = "lr, b1=beta1, b2=beta2, eps=eps"
_STATE = {"m": "exp_avg", "v": "exp_avg_sq"}
_IN_OPTAX = {"m": "mu", "v": "nu"}
_BELIEF = {"m": "exp_avg", "s": "exp_avg_var"}


@rule(
    paper="Liu et al., 2020. On the Variance of the Adaptive Learning Rate and Beyond",
    at="arXiv:1908.03265, Algorithm 2, in the form of torch.optim.RAdam",
    card=Card(
        title="RAdam",
        names="rectified Adam",
        witnesses=(
            Witness(
                "torch 2.13.0",
                f"torch.optim.RAdam({_TORCH})",
                needs={"weight_decay": 0, "decoupled_weight_decay": False, "maximize": False},
                state=_STATE,
                late=True,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.RAdam({_TORCH}, degenerated_to_sgd=True)",
                needs={"weight_decay": 0.0},
                state=_STATE,
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS_HAT,
)
def radam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam with a warm-up until its denominator can be trusted.

    rho is the number of gradients that the mean of squares effectively averages. Up to 5, the step
    is that of momentum; from there it grows from 0 to Adam's, a warm-up that needs no tuning.

    Elsewhere:
        torch.optim.RAdam: this rule; eps is added before the bias correction, as in `adam_eps_hat`.
        Liu et al. 2020: no eps; rectified from rho > 4 on, `radam_paper`.
        The authors' code: this rule with degenerated_to_sgd=True; by default it takes no steps up
            to rho = 5, as in pytorch_optimizer.RAdam: `radam_skipping`.
        optax.radam, optimi.RAdam: eps after the bias correction, as in `adam`, `radam_optax`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    rho_max = 2 / (1 - beta2) - 1
    rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
    r = sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
    return p - lr * m_hat * where(rho > 5, r * sqrt(1 - beta2**t) / (sqrt(v) + eps), 1.0), m, v


@rule(
    paper="Liu et al., 2020. On the Variance of the Adaptive Learning Rate and Beyond",
    at="arXiv:1908.03265, Algorithm 2",
    card=Card(
        title="RAdamPaper",
        variant_of="radam",
        differs="warm-up",
        unverified="4e-12 from the paper in 50 digits, for the digits that the difference rho loses in "
        "float64; 1e-9 with a beta2 of 0.9999",
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS_HAT,
)
def radam_paper(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """RAdam as published: rectified from rho > 4 on.

    Elsewhere:
        Liu et al. 2020: this rule with eps=0, which divides by zero where all gradients were zero.
        The authors' code, torch, optax: rectified from rho = 5 on, `radam_skipping`, `radam`,
            `radam_optax`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    rho_max = 2 / (1 - beta2) - 1
    rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
    r = sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
    return p - lr * m_hat * where(rho > 4, r * sqrt(1 - beta2**t) / (sqrt(v) + eps), 1.0), m, v


@rule(
    paper="Liu et al., 2020. On the Variance of the Adaptive Learning Rate and Beyond",
    at="arXiv:1908.03265, Algorithm 2, in the form of the authors' code",
    card=Card(
        title="RAdamSkipping",
        variant_of="radam",
        differs="warm-up",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.RAdam({_TORCH})",
                needs={"weight_decay": 0.0},
                note="degenerated_to_sgd=True is radam",
                state=_STATE,
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS_HAT,
)
def radam_skipping(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """RAdam that takes no steps until its denominator is trusted.

    At the default beta2 that is the first five steps.

    Elsewhere:
        The authors' code, pytorch_optimizer.RAdam: this rule; degenerated_to_sgd=True is `radam`.
        Liu et al. 2020: steps of momentum instead, `radam_paper`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    rho_max = 2 / (1 - beta2) - 1
    rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
    r = sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
    return p - lr * m_hat * where(rho >= 5, r * sqrt(1 - beta2**t) / (sqrt(v) + eps), 0.0), m, v


@rule(
    paper="Liu et al., 2020. On the Variance of the Adaptive Learning Rate and Beyond",
    at="arXiv:1908.03265, Algorithm 2, in the form of optax",
    card=Card(
        title="RAdamOptax",
        variant_of="radam",
        differs="place of eps",
        witnesses=(
            Witness("optax 0.2.8", f"optax.radam({_OPTAX})", state=_IN_OPTAX),
            Witness(
                "torch-optimi 0.3.3",
                f"optimi.RAdam({_TORCH})",
                needs={"weight_decay": 0},
                defaults={"beta2": 0.99, "eps": 1e-6},
                note="the means are stored with their bias corrections",
                state={"m": "exp_avg * (1 - beta1**t)", "v": "exp_avg_sq * (1 - beta2**t)"},
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
)
def radam_optax(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """RAdam with eps after the bias correction, as in Adam.

    Elsewhere:
        optax.radam, optimi.RAdam: this rule. optax rectifies from rho = 5 on, optimi above 5.
        torch.optim.RAdam: eps before the correction, `radam`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    rho_max = 2 / (1 - beta2) - 1
    rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
    r = sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
    return p - lr * m_hat * where(rho >= 5, r / (sqrt(v_hat) + eps), 1.0), m, v


_CENTER = "decay rate of the mean of the gradients, around which the squared gradients are centered"
_VARIANCE = "decay rate of the mean of the squared gradients, centered around their mean"
_EPS_BELIEF = Hyperparameter(
    "added to the mean of the centered squared gradients in every step, and to its root",
    low=0.0,
    search=(1e-16, 1e-3),
)


@rule(
    paper="Zhuang et al., 2020. AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients",
    at="arXiv:2010.07468, Algorithm 2",
    card=Card(
        title="AdaBelief",
        witnesses=(
            Witness(
                "adabelief-pytorch 0.2.1",
                f"adabelief_pytorch.AdaBelief({_TORCH}, rectify=False)",
                needs={"weight_decay": 0, "amsgrad": False},
                late=True,
                state={"m": "exp_avg", "s": "exp_avg_var"},
            ),
            Witness(
                "optax 0.2.8",
                f"optax.adabelief({_OPTAX}, eps_root=eps)",
                state={"m": "mu", "s": "nu"},
            ),
            Witness(
                "timm 1.0.31",
                f"timm.optim.AdaBelief({_TORCH}, rectify=False)",
                needs={"weight_decay": 0, "amsgrad": False},
                state=_BELIEF,
                late=True,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.AdaBelief({_TORCH})",
                needs={"weight_decay": 0.0, "rectify": False, "ams_bound": False},
                state=_BELIEF,
            ),
            Witness(
                "torch_optimizer 0.3.0",
                f"torch_optimizer.AdaBelief({_TORCH})",
                needs={"weight_decay": 0.0, "amsgrad": False},
                defaults={"eps": 1e-3},
                late=True,
                state={"m": "exp_avg", "s": "exp_avg_var"},
            ),
        ),
    ),
    beta1=_CENTER,
    beta2=_VARIANCE,
    eps=_EPS_BELIEF,
)
def adabelief(p, g, m, s, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-16):
    """Adam divided by how far gradients stray from their mean.

    Where gradients are steady, steps are long.

    eps is added to s in every step, so that it builds up to eps / (1 - beta2), and again to the
    root.

    Elsewhere:
        optax.adabelief, pytorch_optimizer.AdaBelief, torch_optimizer.AdaBelief: this rule. In optax the
            eps inside s is eps_root.
        adabelief_pytorch (the authors' package), timm: by default rectified as RAdam is,
            `adabelief_rectified`; rectify=False is this rule.
    """
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * (g - m) ** 2 + eps
    m_hat = m / (1 - beta1**t)
    s_hat = s / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(s_hat) + eps), m, s


@rule(
    paper="Zhuang et al., 2020. AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients",
    at="arXiv:2010.07468, Algorithm 2, with RAdam's rectification as in the authors' package",
    card=Card(
        title="AdaBeliefRectified",
        variant_of="adabelief",
        differs="warm-up",
        witnesses=(
            Witness(
                "adabelief-pytorch 0.2.1",
                f"adabelief_pytorch.AdaBelief({_TORCH})",
                needs={"weight_decay": 0, "amsgrad": False},
                late=True,
                state={"m": "exp_avg", "s": "exp_avg_var"},
            ),
            Witness(
                "timm 1.0.31",
                f"timm.optim.AdaBelief({_TORCH})",
                needs={
                    "weight_decay": 0,
                    "amsgrad": False,
                    "rectify": True,
                    "degenerated_to_sgd": True,
                },
                state=_BELIEF,
                late=True,
            ),
        ),
    ),
    beta1=_CENTER,
    beta2=_VARIANCE,
    eps=_EPS_BELIEF,
)
def adabelief_rectified(p, g, m, s, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-16):
    """AdaBelief with RAdam's warm-up.

    Elsewhere:
        adabelief_pytorch (the authors' package), timm.optim.AdaBelief: this rule is their default.
        optax.adabelief: not rectified, `adabelief`.
    """
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * (g - m) ** 2 + eps
    m_hat = m / (1 - beta1**t)
    rho_max = 2 / (1 - beta2) - 1
    rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
    r = sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
    return p - lr * m_hat * where(rho >= 5, r * sqrt(1 - beta2**t) / (sqrt(s) + eps), 1.0), m, s


_YOGI = "1 - this is what v may change by in a step, as a share of the squared gradients"


@rule(
    paper="Zaheer et al., 2018. Adaptive Methods for Nonconvex Optimization",
    at="NeurIPS 2018, Yogi, with Adam's bias corrections and a start at v0",
    m=filled("v0"),
    v=filled("v0"),
    card=Card(
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.Yogi({_TORCH}, initial_accumulator=v0)",
                needs={"weight_decay": 0.0},
                state=_STATE,
            ),
            Witness(
                "torch_optimizer 0.3.0",
                f"torch_optimizer.Yogi({_TORCH}, initial_accumulator=v0)",
                needs={"weight_decay": 0},
                late=True,
                state=_STATE,
            ),
            Witness("optax 0.2.8", f"optax.yogi({_OPTAX})", state=_IN_OPTAX),
        ),
    ),
    beta1=_MEAN,
    beta2=_YOGI,
    eps=_EPS,
    v0=Hyperparameter(
        "what the means of the gradients and of the squared gradients start at",
        low=0.0,
        search=(1e-8, 1e-2),
    ),
)
def yogi(p, g, m, v, t, *, lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-3, v0=1e-6):
    """Adam whose denominator forgets large gradients slowly.

    v falls only by the squares of the small gradients themselves, so the effective learning rate
    does not jump up once gradients become small.

    Elsewhere:
        pytorch_optimizer.Yogi, torch_optimizer.Yogi, optax.yogi, TensorFlow Addons: this rule; m starts
            at v0 as v does.
        Zaheer et al. 2018: no bias correction; both start at zero, `yogi_paper`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = v - (1 - beta2) * sign(v - g**2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule(
    paper="Zaheer et al., 2018. Adaptive Methods for Nonconvex Optimization",
    at="NeurIPS 2018, Yogi",
    card=Card(variant_of="yogi", differs="bias correction"),
    lr=searched(1e-4, 1e-1),  # the first steps are three times as long as later ones
    beta1=_MEAN,
    beta2=_YOGI,
    eps=_EPS,
)
def yogi_paper(p, g, m, v, *, lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-3):
    """Yogi as published, without bias corrections.

    Elsewhere:
        pytorch_optimizer.Yogi, torch_optimizer.Yogi, optax.yogi: bias-corrected, from 1e-6 on, `yogi`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = v - (1 - beta2) * sign(v - g**2) * g**2
    return p - lr * m / (sqrt(v) + eps), m, v


@rule(
    paper="Everett et al., 2024. Scaling Exponents Across Parameterizations and Optimizers",
    at="arXiv:2407.05872",
    card=Card(
        title="AdamAtan2",
        variant_of="adam",
        differs="place of eps",
        witnesses=(
            Witness(
                "adam-atan2-pytorch 0.4.1",
                "adam_atan2_pytorch.AdamAtan2(lr=lr, betas=(beta1, beta2), a=a, b=b)",
                needs={"weight_decay": 0.0, "regen_reg_rate": 0.0, "cautious_factor": 1.0},
                late=True,
                state=_STATE,
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    a=Hyperparameter(
        "factor of the angle; at 4 / pi, a gradient that stays the same takes steps of lr",
        low=0.0,
        search=(0.5, 2.0),
    ),
    b=Hyperparameter(
        "factor of the root mean square: steps are at most lr * a * pi / 2, and near Adam's with large b",
        low=0.0,
        search=(0.5, 8.0),
    ),
)
def adam_atan2(p, g, m, v, t, *, lr=1e-4, beta1=0.9, beta2=0.99, a=1.27, b=1.0):
    """Adam with atan2 in place of the division: no eps is needed.

    Steps are bounded, and do not depend on the scale of the gradients.

    Elsewhere:
        adam_atan2_pytorch: this rule.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * a * atan2(m_hat, b * sqrt(v_hat)), m, v
