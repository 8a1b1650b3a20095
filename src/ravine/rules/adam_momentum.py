"""Adam with other momentum: relatives that differ in the numerator of the step."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter
from ravine.ops import exp, log, minimum, sqrt, where
from ravine.rule import rule, scalar

_MEAN = "decay rate of the mean of the gradients"
_SQUARES = "decay rate of the mean of the squared gradients"
_EPS = "added to the root mean square of the gradients"
_TORCH = "lr=lr, betas=(beta1, beta2), eps=eps"
_OPTAX = "lr, b1=beta1, b2=beta2, eps=eps"
_NEEDS = {"weight_decay": 0, "maximize": False}
_STATE = {"m": "exp_avg", "v": "exp_avg_sq"}
_IN_OPTAX = {"m": "mu", "v": "nu"}
_WARM_UP = Hyperparameter(
    "how fast the momentum warms up: half of it is there at first, 3/4 after 17 / this steps",
    low=0.0,
    search=(1e-4, 1.0),
)


@rule(
    paper="Dozat, 2016. Incorporating Nesterov Momentum into Adam",
    at="openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, Algorithm 2, in the form of torch.optim.NAdam",
    mu_product=scalar(1.0),
    card=Card(
        title="NAdam",
        names="Nesterov Adam, Nesterov-accelerated Adam, Adam with Nesterov, Adam with Nesterov "
        "momentum, Nesterov-accelerated adaptive moment estimation",
        witnesses=(
            Witness(
                "torch 2.13.0",
                f"torch.optim.NAdam({_TORCH}, momentum_decay=momentum_decay)",
                needs={**_NEEDS, "decoupled_weight_decay": False},
                state={**_STATE, "mu_product": "mu_product"},
                late=True,
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
    momentum_decay=_WARM_UP,
)
def nadam(
    p, g, m, v, mu_product, t, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=4e-3
):
    """Adam with Nesterov momentum that is warmed up.

    Elsewhere:
        torch.optim.NAdam: this rule.
        Dozat 2016: m, too, is averaged by mu, and v_hat is multiplied by beta2, `nadam_paper`.
        Keras: momentum_decay 1, `nadam_keras`.
        optax.nadam: no warm-up: mu is beta1 in every step, `nadam_optax`.
        timm.optim.NAdamW: no warm-up, and another bias correction, `nadam_timm`.
    """
    mu = beta1 * (1 - 0.5 * 0.96 ** (momentum_decay * t))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** (momentum_decay * (t + 1)))
    mu_product = mu_product * mu
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = mu_next * m / (1 - mu_product * mu_next) + (1 - mu) * g / (1 - mu_product)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v, mu_product


nadam_keras = nadam.named(
    "nadam_keras",
    at="openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, Algorithm 2, in the form of Keras",
    card=Card(
        title="NAdamKeras",
        variant_of="nadam",
        differs="schedule",
        witnesses=(
            Witness(
                "keras 3.15.1",
                "keras.optimizers.Nadam(learning_rate=lr, beta_1=beta1, beta_2=beta2, epsilon=eps)",
                needs={"weight_decay": None},
                state={"m": "momentum", "v": "velocity", "mu_product": "u_product"},
            ),
        ),
    ),
    lr=1e-3,
    eps=1e-7,
    momentum_decay=1.0,
    doc="""NAdam whose momentum is warmed up within a hundred steps.

    In `nadam` that takes 25,000: there momentum_decay is 0.004.

    Elsewhere:
        Keras: this rule is its Nadam; 0.96 to the power t is fixed.
    """,
)


@rule(
    paper="Dozat, 2016. Incorporating Nesterov Momentum into Adam",
    at="openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, Algorithm 2",
    mu_product=scalar(1.0),
    card=Card(title="NAdamPaper", variant_of="nadam", differs="schedule, bias correction"),
    beta1="decay rate of the mean of the gradients, once the momentum is warmed up",
    beta2=_SQUARES,
    eps="added to the root of beta2 times the mean of the squared gradients",
    momentum_decay=_WARM_UP,
)
def nadam_paper(
    p, g, m, v, mu_product, t, *, lr=2e-3, beta1=0.99, beta2=0.999, eps=1e-8, momentum_decay=4e-3
):
    """NAdam as published: the momentum of m is warmed up, too.

    Elsewhere:
        Dozat 2016: this rule; mu is beta1, nu is beta2.
        torch.optim.NAdam: m decays by beta1, and v_hat has no beta2, `nadam`.
    """
    mu = beta1 * (1 - 0.5 * 0.96 ** (momentum_decay * t))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** (momentum_decay * (t + 1)))
    mu_product = mu_product * mu
    m = mu * m + (1 - mu) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = mu_next * m / (1 - mu_product * mu_next) + (1 - mu) * g / (1 - mu_product)
    v_hat = beta2 * v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v, mu_product


@rule(
    paper="Dozat, 2016. Incorporating Nesterov Momentum into Adam",
    at="openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, Algorithm 2 without its schedule, as in optax",
    card=Card(
        title="NAdamOptax",
        variant_of="nadam",
        differs="schedule",
        witnesses=(Witness("optax 0.2.8", f"optax.nadam({_OPTAX})", state=_IN_OPTAX),),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
)
def nadam_optax(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """NAdam without the warm-up of its momentum.

    Elsewhere:
        optax.nadam: this rule.
        torch.optim.NAdam, Keras: the momentum is warmed up, `nadam`, `nadam_keras`.
        timm.optim.NAdamW: m and g are corrected alike, `nadam_timm`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule(
    paper="Dozat, 2016. Incorporating Nesterov Momentum into Adam",
    at="in the form of AlgoPerf's NAdamW, which timm has too",
    card=Card(
        title="NAdamTimm",
        names="NAdamW of AlgoPerf",
        variant_of="nadam",
        differs="schedule, bias correction",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.NAdamW({_TORCH}, weight_decay=0.0)",
                needs={
                    "maximize": False,
                    "caution": False,
                    "clipping_threshold": None,
                },
                state=_STATE,
                late=True,
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
)
def nadam_timm(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """NAdam without a warm-up, and with one bias correction.

    Elsewhere:
        timm.optim.NAdamW: `decoupled_decay` of this rule, as AlgoPerf's baseline.
        optax.nadam: m is corrected for t + 1 steps, g for t, `nadam_optax`.
        torch.optim.NAdam, Keras: the momentum is warmed up, `nadam`, `nadam_keras`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = (beta1 * m + (1 - beta1) * g) / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule(
    paper="Ma & Yarats, 2019. Quasi-hyperbolic momentum and Adam for deep learning",
    at="arXiv:1810.06801, the update rule of QHAdam",
    card=Card(
        title="QHAdam",
        names="quasi-hyperbolic Adam",
        witnesses=(
            Witness(
                "torch_optimizer 0.3.0",
                f"torch_optimizer.QHAdam({_TORCH}, nus=(nu1, nu2))",
                needs={"weight_decay": 0.0},
                defaults={"beta1": 0.9, "nu1": 1.0},
                state={
                    "m": "exp_avg * beta1_weight * (1 - beta1)",
                    "v": "exp_avg_sq * beta2_weight * (1 - beta2)",
                },
                # The weight is the sum of beta2's powers; below 1e-16 they no longer count in it.
                counted="round(log(max(1 - beta2_weight * (1 - beta2), 1e-16)) / log(beta2))",
                late=True,
            ),
        ),
        near=(
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.QHAdam({_TORCH}, nus=(nu1, nu2))",
                needs={"weight_decay": 0.0},
                defaults={"beta1": 0.9, "nu1": 1.0},
                apart=8e-8,
                note="Its bias corrections are computed in float32, whatever the dtype.",
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    nu1=Hyperparameter(
        "share of the mean in the step; the rest is the gradient itself", low=0.0, search=(0.1, 1.0)
    ),
    nu2=Hyperparameter(
        "share of the mean of squares in the denominator; the rest is the squared gradient",
        low=0.0,
        high=1.0,
        search=(0.5, 1.0),
    ),
    eps=_EPS,
)
def qhadam(p, g, m, v, t, *, lr=1e-3, beta1=0.995, beta2=0.999, nu1=0.7, nu2=1.0, eps=1e-8):
    """Adam with a mix of the mean gradient and the newest one.

    With both nu at 1 it is `adam`; the defaults are those that the paper recommends.

    Elsewhere:
        qhoptim (the authors' package), torch_optimizer.QHAdam: this rule; default beta1 0.9, nu1 1.
        pytorch_optimizer.QHAdam: this rule with bias corrections in float32, whatever the parameter's
            dtype.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    mixed = nu1 * m_hat + (1 - nu1) * g
    return p - lr * mixed / (sqrt(nu2 * v_hat + (1 - nu2) * g**2) + eps), m, v


@rule(
    paper="Pagliardini, Ablin & Grangier, 2025. The AdEMAMix Optimizer: Better, Faster, Older",
    at="arXiv:2409.03137, Algorithm 1, without its weight decay",
    card=Card(
        title="AdEMAMix",
        names="adaptive EMA mixture",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.AdEMAMix(lr=lr, betas=(beta1, beta2, beta3), alpha=alpha, eps=eps)",
                needs={"weight_decay": 0.0, "t_alpha_beta3": None},
                state={"m1": "exp_avg", "m2": "exp_avg_slow", "v": "exp_avg_sq"},
                note="t_alpha_beta3 is alpha_warmup and beta3_warmup",
            ),
            Witness(
                "optax 0.2.8",
                f"optax.contrib.ademamix({_OPTAX}, b3=beta3, alpha=alpha)",
                state={"m1": "m1", "m2": "m2", "v": "nu"},
                note="warm-ups are schedules of b3 and alpha there",
            ),
        ),
    ),
    beta1="decay rate of the fast mean of the gradients",
    beta2=_SQUARES,
    beta3=Hyperparameter(
        "decay rate of the slow mean of the gradients",
        low=0.0,
        high=1.0,
        open_high=True,
        search=(1e-5, 1e-2),
        towards=1.0,
    ),
    alpha=Hyperparameter(
        "weight of the slow mean beside the fast one", low=0.0, search=(1.0, 20.0)
    ),
    alpha_warmup=Hyperparameter(
        "steps in which alpha grows from 0; 0: no warm-up", low=0.0, search=(1e2, 1e6)
    ),
    beta3_warmup=Hyperparameter(
        "steps in which beta3 grows from beta1, its half-life linearly; 0: no warm-up",
        low=0.0,
        search=(1e2, 1e6),
    ),
    eps=_EPS,
)
def ademamix(
    p,
    g,
    m1,
    m2,
    v,
    t,
    *,
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    beta3=0.9999,
    alpha=5.0,
    alpha_warmup=0.0,
    beta3_warmup=0.0,
    eps=1e-8,
):
    """Adam with two means of the gradients, one fast, one slow.

    For long runs, as the slow mean remembers some ten thousand gradients. It is not bias-corrected,
    so it comes in gradually. The paper warms up alpha and beta3 over the whole run.

    Elsewhere:
        The authors' code: this rule; default alpha 2; 1e-8 is added to the betas in the warm-up.
        pytorch_optimizer.AdEMAMix: this rule, with one number of steps for both warm-ups.
        optax.contrib.ademamix: this rule; b3 and alpha may be schedules.
    """
    alpha_warm, beta3_warm = alpha, beta3
    if alpha_warmup:
        alpha_warm = alpha * minimum(t / alpha_warmup, 1.0)
    if beta3_warmup:
        x = t / beta3_warmup
        beta3_warm = where(x < 1, exp(1 / ((1 - x) / log(beta1) + x / log(beta3))), beta3)
    m1 = beta1 * m1 + (1 - beta1) * g
    m2 = beta3_warm * m2 + (1 - beta3_warm) * g
    v = beta2 * v + (1 - beta2) * g**2
    m1_hat = m1 / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * (m1_hat + alpha_warm * m2) / (sqrt(v_hat) + eps), m1, m2, v
