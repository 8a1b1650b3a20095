"""Adam with gradient differences: relatives that look at how gradients change."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import maximum, ndim, norm, sign, size, sqrt, where
from ravine.rule import rule
from ravine.rules.muon import BFLOAT16, JORDAN, NS_EPS, STEPS, orthogonalized

_MEAN = "decay rate of the mean of the gradients"
_TORCH = "lr=lr, betas=(beta1, beta2), eps=eps"
_STATE = {"m": "exp_avg", "v": "exp_avg_sq", "prev": "last_grad"}
_ADAN_STATE = {"m": "exp_avg", "v": "exp_avg_diff", "n": "exp_avg_sq"}
_ADAN = "lr=lr, betas=(beta1, beta2, beta3), eps=eps, weight_decay=weight_decay"
_DIFFERENCES = (
    "decay rate of the mean of the gradients' differences; their weight in the squared gradients"
)
_LOOKED_AHEAD = Hyperparameter(
    "decay rate of the mean of the squared gradients, as they are expected next",
    low=0.0,
    high=1.0,
    open_high=True,
    search=(1e-3, 1e-1),
    towards=1.0,
)
_PROXIMAL = "after the step, the weights are divided by 1 + lr times this"


@rule(
    paper="Xie et al., 2022. Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models",
    at="arXiv:2208.06677, Algorithm 1, in the form of the authors' code",
    card=Card(
        names="adaptive Nesterov momentum",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.Adan({_ADAN})",
                needs={"no_prox": False, "caution": False},
                note="neg_pre_grad is prev with the opposite sign",
                state={**_ADAN_STATE, "prev": "-neg_pre_grad"},
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.Adan({_ADAN})",
                needs={"weight_decouple": False, "max_grad_norm": 0.0},
                note="previous_grad is prev with the opposite sign",
                state={**_ADAN_STATE, "prev": "-previous_grad"},
            ),
            Witness(
                "torch-optimi 0.3.3",
                f"optimi.Adan({_ADAN})",
                needs={"adam_wd": False, "decouple_lr": False},
                defaults={"eps": 1e-6, "weight_decay": 0.02},
                note="the means are stored with their bias corrections",
                state={
                    "m": "exp_avg * (1 - beta1**t)",
                    "v": "exp_avg_diff * (1 - beta2**t)",
                    "n": "exp_avg_sq * (1 - beta3**t)",
                    "prev": "-prev_grad",
                },
            ),
        ),
    ),
    lr=searched(1e-4, 1e-1),  # the authors: 5 to 10 times Adam's
    beta1=_MEAN,
    beta2=_DIFFERENCES,
    beta3=_LOOKED_AHEAD,
    eps="added to the root mean square of the gradients as they are expected next",
    weight_decay=_PROXIMAL,
)
def adan(
    p,
    g,
    m,
    v,
    n,
    prev,
    t,
    *,
    lr=1e-3,
    beta1=0.98,
    beta2=0.92,
    beta3=0.99,
    eps=1e-8,
    weight_decay=0.0,
):
    """Adam with Nesterov momentum from gradient differences.

    It tolerates large learning rates: the authors take five to ten times Adam's. It keeps four
    arrays in the shape of p.

    Elsewhere:
        timm.optim.Adan, pytorch_optimizer.Adan, optimi.Adan: this rule, without no_prox,
            weight_decouple and adam_wd, which decay as AdamW does. They count steps per group.
        Xie et al. 2022: no bias correction; the means start at the first gradient, `adan_paper`. What
            is called beta there is 1 - beta here.
        optax.adan: uses 1 - b2 where b2 belongs in the look ahead, a bug: after 60 steps it is half
            the path away.
    """
    diff = where(t == 1, 0.0, g - prev)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * diff
    n = beta3 * n + (1 - beta3) * (g + beta2 * diff) ** 2
    n_hat = n / (1 - beta3**t)
    mixed = m / (1 - beta1**t) + beta2 * v / (1 - beta2**t)
    p = p - lr * mixed / (sqrt(n_hat) + eps)
    return p / (1 + lr * weight_decay), m, v, n, g


@rule(
    paper="Xie et al., 2022. Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models",
    at="arXiv:2208.06677, Algorithm 1, without restarts; beta stands for its 1 - beta",
    card=Card(variant_of="adan", differs="bias correction, first step"),
    lr=searched(1e-4, 1e-1),
    beta1=_MEAN,
    beta2=_DIFFERENCES,
    beta3=_LOOKED_AHEAD,
    eps="added to the root mean square of the gradients as they are expected next",
    weight_decay=_PROXIMAL,
)
def adan_paper(
    p,
    g,
    m,
    v,
    n,
    prev,
    t,
    *,
    lr=1e-3,
    beta1=0.98,
    beta2=0.92,
    beta3=0.99,
    eps=1e-8,
    weight_decay=0.0,
):
    """Adan as published: its means start at their first values.

    Elsewhere:
        Xie et al. 2022: this rule; beta here is 1 - beta there.
        The authors' code, timm, pytorch_optimizer, optimi: means that start at zero and are
            bias-corrected, `adan`.
    """
    diff = where(t == 1, 0.0, g - prev)
    m = where(t == 1, g, beta1 * m + (1 - beta1) * g)
    v = where(t <= 2, diff, beta2 * v + (1 - beta2) * diff)
    n = where(t == 1, g**2, beta3 * n + (1 - beta3) * (g + beta2 * diff) ** 2)
    p = p - lr * (m + beta2 * v) / (sqrt(n) + eps)
    return p / (1 + lr * weight_decay), m, v, n, g


_GAMMA = Hyperparameter(
    "how much of the correction for the gradient's change is applied; 0: none",
    low=0.0,
    search=(1e-3, 1.0),
)
_CORRECTED = "decay rate of the mean of the corrected gradients"
_CORRECTED_SQUARES = "decay rate of the mean of the squared corrected gradients"
_EPS_CORRECTED = "added to the root mean square of the corrected gradients"


@rule(
    paper="Yuan et al., 2025. MARS: Unleashing the Power of Variance Reduction for Training Large Models",
    at="arXiv:2411.10438, MARS-AdamW, in the approximate form: each gradient of another batch",
    card=Card(title="MARS", names="MARS-AdamW, make variance reduction shine"),
    lr=searched(1e-5, 1e-1),
    beta1=_CORRECTED,
    beta2=_CORRECTED_SQUARES,
    gamma=_GAMMA,
    eps=_EPS_CORRECTED,
)
def mars(p, g, m, v, prev, t, *, lr=3e-3, beta1=0.95, beta2=0.99, gamma=0.025, eps=1e-8):
    """Adam on gradients corrected by their latest change.

    The correction shortens the lag of the mean by the share gamma; it cancels noise only where both
    gradients are of one batch (is_approx=False). The corrected gradient is clipped to norm 1. `prev`
    starts at zero, so the first gradient counts 1 + gamma * beta1 / (1 - beta1) times.

    Elsewhere:
        The authors' code: this rule with optimize_1d=True; by default, what is not a matrix is stepped
            by AdamW, of lr 3e-3, betas 0.9 and 0.95 and weight decay 0.1. With is_approx=False, prev is
            the gradient of the new batch at the old weights.
        pytorch_optimizer.MARS: the same with eps before the bias correction, and 1e-15 inside the root:
            7e-5 away after 60 steps.
        timm.optim.Mars: the first gradient is not corrected; vectors are stepped by Adam, `mars_timm`.
    """
    c = g + gamma * (beta1 / (1 - beta1)) * (g - prev)
    c = c / maximum(norm(c), 1.0)
    m = beta1 * m + (1 - beta1) * c
    v = beta2 * v + (1 - beta2) * c**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v, g


@rule(
    paper="Yuan et al., 2025. MARS: Unleashing the Power of Variance Reduction for Training Large Models",
    at="arXiv:2411.10438, MARS-AdamW, in the form of timm.optim.Mars",
    card=Card(
        title="MARSTimm",
        variant_of="mars",
        differs="first step, what vectors get",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.Mars({_TORCH}, gamma=gamma)",
                needs={
                    "weight_decay": 0.0,
                    "mars_type": "adamw",
                    "optimize_1d": False,
                    "lr_1d_factor": 1.0,
                    "caution": False,
                },
                state=_STATE,
                late=True,
            ),
        ),
    ),
    lr=searched(1e-5, 1e-1),
    beta1=_CORRECTED,
    beta2=_CORRECTED_SQUARES,
    gamma=_GAMMA,
    eps=_EPS_CORRECTED,
)
def mars_timm(p, g, m, v, prev, t, *, lr=3e-3, beta1=0.9, beta2=0.99, gamma=0.025, eps=1e-8):
    """MARS that leaves the first gradient uncorrected.

    It is for matrices and convolutions: vectors and numbers are stepped by Adam.

    Elsewhere:
        timm.optim.Mars: this rule; lr_1d_factor and betas_1d are for vectors alone.
        The authors' code, pytorch_optimizer: the first gradient is corrected against zero, `mars`.
    """
    c = g
    if ndim(p) >= 2:
        c = where(t == 1, g, g + gamma * (beta1 / (1 - beta1)) * (g - prev))
        c = c / maximum(norm(c), 1.0)
    m = beta1 * m + (1 - beta1) * c
    v = beta2 * v + (1 - beta2) * c**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v, g


@rule(
    paper="Yuan et al., 2025. MARS: Unleashing the Power of Variance Reduction for Training Large Models",
    at="arXiv:2411.10438, MARS-Lion, in the approximate form",
    card=Card(
        title="MARSLion",
        variant_of="mars",
        differs="preconditioner",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.MARS(lr=lr, betas=(beta1, 0.99), gamma=gamma, mars_type='lion', "
                "optimize_1d=True)",
                state={"m": "exp_avg", "prev": "last_grad"},
            ),
        ),
    ),
    lr=searched(1e-5, 1e-2),
    beta1=_CORRECTED,
    gamma=_GAMMA,
)
def mars_lion(p, g, m, prev, *, lr=3e-4, beta1=0.95, gamma=0.025):
    """MARS with Lion: the sign of a mean of corrected gradients.

    Elsewhere:
        The authors' code, pytorch_optimizer.MARS: this rule with optimize_1d=True; by default, what is
            not a matrix is stepped by AdamW.
        timm.optim.Mars(mars_type="lion"): the first gradient is not corrected.
    """
    c = g + gamma * (beta1 / (1 - beta1)) * (g - prev)
    c = c / maximum(norm(c), 1.0)
    m = beta1 * m + (1 - beta1) * c
    return p - lr * sign(m), m, g


@rule(
    paper="Yuan et al., 2025. MARS: Unleashing the Power of Variance Reduction for Training Large Models",
    at="arXiv:2411.10438, MARS-Shampoo, in the approximate form; github.com/AGI-Arena/MARS, "
    "MARS/optimizers/mars.py",
    seen="matrix",
    card=Card(
        title="MARSShampoo",
        names="MARS with Muon",
        variant_of="mars",
        differs="preconditioner",
    ),
    lr=searched(1e-4, 1e-1),
    beta1=_CORRECTED,
    gamma=_GAMMA,
    ns_eps=NS_EPS,
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
)
def mars_shampoo(
    p, g, m, prev, *, lr=3e-3, beta1=0.95, gamma=0.025, ns_eps=1e-8, ns_steps=5, bfloat16=False
):
    """MARS with Muon: corrected gradients, orthogonalized.

    For the matrices and kernels of hidden layers; the rest is better off with `mars`. Despite its name
    it has none of Shampoo's roots: Newton-Schulz takes their place. The mean is divided by 1 - beta1
    first, which matters only beside ns_eps.

    Elsewhere:
        The authors' code with mars_type="mars-shampoo": this rule for matrices, in bfloat16; what is not
            a matrix, kernels too, is stepped by AdamW, or by `mars` with optimize_1d=True.
        pytorch_optimizer.MARS(mars_type="shampoo"): this rule for matrices, in bfloat16.
    """
    c = g + gamma * (beta1 / (1 - beta1)) * (g - prev)
    c = c / maximum(norm(c), 1.0)
    m = beta1 * m + (1 - beta1) * c
    o = orthogonalized(m / (1 - beta1), JORDAN, ns_eps, ns_steps, bfloat16)
    return p - lr * sqrt(maximum(1, size(p, -2) / size(p, -1))) * o, m, g
