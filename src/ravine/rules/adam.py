"""Adam and its closest relatives: the mean gradient over its root mean square."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter
from ravine.modifiers import decoupled_decay
from ravine.ops import abs, maximum, sqrt
from ravine.rule import rule

# lr is searched around its default: AlgoPerf's space for NAdamW, 1e-4 to 1e-2, lies within.
_MEAN = "decay rate of the mean of the gradients"
_SQUARES = "decay rate of the mean of the squared gradients"
_EPS = "added to the root mean square of the gradients"
_LARGEST = "decay rate of the largest size that a gradient had"
_EPS_HAT = "added to the root mean square before its bias correction"
_TORCH = "lr=lr, betas=(beta1, beta2), eps=eps"
_OPTAX = "lr, b1=beta1, b2=beta2, eps=eps"
_KERAS = "learning_rate=lr, beta_1=beta1, beta_2=beta2, epsilon=eps"
_TIMM_NEEDS = {"caution": False, "corrected_weight_decay": False, "clipping_threshold": None}
_NEEDS = {"weight_decay": 0, "maximize": False}
_STATE = {"m": "exp_avg", "v": "exp_avg_sq"}
_IN_OPTAX = {"m": "mu", "v": "nu"}


@rule(
    paper="Kingma & Ba, 2015. Adam: A Method for Stochastic Optimization",
    at="arXiv:1412.6980, Algorithm 1",
    card=Card(
        names="adaptive moment estimation",
        witnesses=(
            Witness(
                "torch 2.13.0",
                f"torch.optim.Adam({_TORCH})",
                needs={**_NEEDS, "amsgrad": False},
                state=_STATE,
                late=True,
            ),
            Witness("optax 0.2.8", f"optax.adam({_OPTAX})", state=_IN_OPTAX),
            Witness(
                "torch-optimi 0.3.3",
                f"optimi.Adam({_TORCH})",
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
def adam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """The mean gradient over its root mean square, bias-corrected.

    Elsewhere:
        torch.optim.Adam: this rule.
        TensorFlow, Keras: eps is added before v is bias-corrected (the form at the end of the
            paper's section 2), so it acts like eps / sqrt(1 - beta2**t): 32 times stronger in the
            first step. Keras: default eps 1e-7.
        optax.adam: this rule; eps_root adds a second eps inside the root.
    """
    m = beta1 * m + (1 - beta1) * g  # biased first moment
    v = beta2 * v + (1 - beta2) * g**2  # biased second raw moment
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule(
    paper="Reddi, Kale & Kumar, 2018. On the Convergence of Adam and Beyond",
    at="arXiv:1904.09237, Algorithm 2, with Adam's bias corrections as in torch.optim",
    card=Card(
        title="AMSGrad",
        names="Adam with AMSGrad, AMSGrad Adam, Adam AMSGrad",
        witnesses=(
            Witness(
                "torch 2.13.0",
                f"torch.optim.Adam({_TORCH}, amsgrad=True)",
                needs=_NEEDS,
                state={**_STATE, "v_max": "max_exp_avg_sq"},
                late=True,
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
)
def amsgrad(p, g, m, v, v_max, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam divided by the root of the largest mean square so far.

    v_max never falls, but 1 / (1 - beta2**t) does, from 1000 to 1 at the default beta2. So the denominator
    can shrink while the bias correction fades.

    Elsewhere:
        torch.optim.Adam(amsgrad=True): this rule; the maximum is taken before the bias correction.
        optax.amsgrad: the maximum after the bias correction, `amsgrad_optax`.
        Keras: the maximum before, eps as in its Adam, `amsgrad_keras`.
        Reddi et al. 2018: no bias correction, no eps.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    v_max = maximum(v_max, v)
    m_hat = m / (1 - beta1**t)
    v_hat = v_max / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v, v_max


@rule(
    paper="Reddi, Kale & Kumar, 2018. On the Convergence of Adam and Beyond",
    at="arXiv:1904.09237, Algorithm 2, with Adam's bias corrections as in optax",
    card=Card(
        title="AMSGradOptax",
        variant_of="amsgrad",
        differs="order of operations",
        witnesses=(
            Witness(
                "optax 0.2.8",
                f"optax.amsgrad({_OPTAX})",
                state={**_IN_OPTAX, "v_max": "nu_max"},
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
)
def amsgrad_optax(p, g, m, v, v_max, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """AMSGrad with the maximum taken after the bias correction.

    The correction makes the first gradients count most, so one that is large in the first steps
    bounds all later steps; in `amsgrad` its weight is 1 - beta2.

    Elsewhere:
        optax.amsgrad: this rule.
        torch.optim.Adam(amsgrad=True): the maximum before the bias correction, `amsgrad`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    v_max = maximum(v_max, v / (1 - beta2**t))
    return p - lr * m / (1 - beta1**t) / (sqrt(v_max) + eps), m, v, v_max


@rule(
    paper="Reddi, Kale & Kumar, 2018. On the Convergence of Adam and Beyond",
    at="arXiv:1904.09237, Algorithm 2, with Adam's bias corrections as in Keras",
    card=Card(
        title="AMSGradKeras",
        variant_of="amsgrad",
        differs="place of eps",
        witnesses=(
            Witness(
                "keras 3.15.1",
                f"keras.optimizers.Adam({_KERAS}, amsgrad=True)",
                needs={"weight_decay": None},
                defaults={"eps": 1e-7},
                state={"m": "momentum", "v": "velocity", "v_max": "velocity_hat"},
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS_HAT,
)
def amsgrad_keras(p, g, m, v, v_max, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """AMSGrad with eps added before the bias correction.

    Elsewhere:
        TensorFlow, Keras: this rule is their Adam with amsgrad=True. Keras: default eps 1e-7.
        torch.optim.Adam(amsgrad=True): eps after the correction, `amsgrad`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    v_max = maximum(v_max, v)
    rate = lr * sqrt(1 - beta2**t) / (1 - beta1**t)
    return p - rate * m / (sqrt(v_max) + eps), m, v, v_max


@rule(
    paper="Kingma & Ba, 2015. Adam: A Method for Stochastic Optimization",
    at="arXiv:1412.6980, the end of section 2",
    card=Card(
        names="SparseAdam, TensorFlow Adam, Adam with epsilon hat",
        variant_of="adam",
        differs="place of eps",
        witnesses=(
            Witness(
                "keras 3.15.1",
                f"keras.optimizers.Adam({_KERAS})",
                needs={"amsgrad": False, "weight_decay": None},
                defaults={"eps": 1e-7},
                state={"m": "momentum", "v": "velocity"},
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS_HAT,
)
def adam_eps_hat(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam with eps added before the bias correction (eps-hat).

    It acts like an eps of eps / sqrt(1 - beta2**t) in `adam`: 32 times as strong in the first step.

    Elsewhere:
        torch.optim.SparseAdam: this rule, on the rows that the sparse gradient has.
        TensorFlow, Keras: this rule is their Adam. Keras: default eps 1e-7.
        torch.optim.Adam, optax.adam: `adam`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    rate = lr * sqrt(1 - beta2**t) / (1 - beta1**t)
    return p - rate * m / (sqrt(v) + eps), m, v


@rule(
    paper="Kingma & Ba, 2015. Adam: A Method for Stochastic Optimization",
    at="arXiv:1412.6980, Algorithm 2",
    card=Card(
        names="Adam with infinity norm",
        witnesses=(
            Witness(
                "torch 2.13.0",
                f"torch.optim.Adamax({_TORCH})",
                needs=_NEEDS,
                state={"m": "exp_avg", "u": "exp_inf"},
                late=True,
            ),
            Witness(
                "optax 0.2.8",
                f"optax.adamax({_OPTAX})",
                state={"m": "mu", "u": "nu"},
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.AdaMax({_TORCH})",
                needs={"weight_decay": 0.0},
                defaults={"lr": 1e-3},
                state={"m": "exp_avg", "u": "exp_inf"},
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_LARGEST,
    eps="added to the size of each gradient",
)
def adamax(p, g, m, u, t, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam divided by a decaying maximum of the gradients' sizes.

    Elsewhere:
        torch.optim.Adamax: this rule; eps is added to the new gradient's size.
        Kingma & Ba 2015: no eps.
        Keras: eps 1e-7, added to u where it divides, `adamax_keras`; lr 1e-3.
        optax.adamax: this rule.
    """
    m = beta1 * m + (1 - beta1) * g
    u = maximum(beta2 * u, abs(g) + eps)
    return p - lr / (1 - beta1**t) * m / u, m, u


@rule(
    paper="Kingma & Ba, 2015. Adam: A Method for Stochastic Optimization",
    at="arXiv:1412.6980, Algorithm 2, with an eps as in Keras",
    card=Card(
        variant_of="adamax",
        differs="place of eps",
        witnesses=(
            Witness(
                "keras 3.15.1",
                f"keras.optimizers.Adamax({_KERAS})",
                needs={"weight_decay": None},
                defaults={"eps": 1e-7},
                state={"m": "momentum", "u": "norm"},
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_LARGEST,
    eps="added to the largest recent gradient",
)
def adamax_keras(p, g, m, u, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adamax with eps in the denominator only.

    Elsewhere:
        Keras: this rule is its Adamax; default eps 1e-7.
        torch.optim.Adamax, optax.adamax: eps is added to each gradient's size, `adamax`.
    """
    m = beta1 * m + (1 - beta1) * g
    u = maximum(beta2 * u, abs(g))
    return p - lr / (1 - beta1**t) * m / (u + eps), m, u


adamw = decoupled_decay(adam, weight_decay=1e-2).named(
    "adamw",
    paper="Loshchilov & Hutter, 2019. Decoupled Weight Decay Regularization",
    at="arXiv:1711.05101, Algorithm 2",
    card=Card(
        title="AdamW",
        names="Adam with decoupled weight decay",
        witnesses=(
            Witness(
                "torch 2.13.0",
                f"torch.optim.AdamW({_TORCH}, weight_decay=weight_decay)",
                needs={"amsgrad": False, "maximize": False},
                state=_STATE,
                late=True,
            ),
            Witness(
                "optax 0.2.8",
                f"optax.adamw({_OPTAX}, weight_decay=weight_decay)",
                defaults={"weight_decay": 1e-4},
                state=_IN_OPTAX,
            ),
            Witness(
                "timm 1.0.31",
                f"timm.optim.AdamWLegacy({_TORCH}, weight_decay=weight_decay)",
                needs={"amsgrad": False, "maximize": False, **_TIMM_NEEDS},
                state=_STATE,
                late=True,
            ),
            Witness(
                "torch-optimi 0.3.3",
                f"optimi.AdamW({_TORCH}, weight_decay=weight_decay)",
                defaults={"beta2": 0.99, "eps": 1e-6},
                note="the means are stored with their bias corrections",
                state={"m": "exp_avg * (1 - beta1**t)", "v": "exp_avg_sq * (1 - beta2**t)"},
            ),
        ),
    ),
    doc="""Adam with decoupled weight decay.

    The weights shrink by lr * weight_decay, and then step; in `l2(adam)` the decay joins the
    gradient and is divided by its root mean square.

    Elsewhere:
        torch.optim.AdamW: this rule; the decay is lr * weight_decay.
        Loshchilov & Hutter 2019: the decay is multiplied by the schedule alone, not by lr.
        optax.adamw: the decay joins the step, from the same weights: equal to rounding; default 1e-4.
        Keras: equal to rounding; default 4e-3. There `weight_decay` is decoupled in every optimizer,
            where torch's SGD, RMSprop and Adam have L2.
    """,
)


@rule(
    paper="Defazio, 2025. Why Gradients Rapidly Increase Near the End of Training",
    at="arXiv:2506.02285",
    card=Card(
        title="AdamC",
        names="AdamW with corrected weight decay",
        variant_of="adamw",
        differs="decay form",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.AdamWLegacy({_TORCH}, weight_decay=weight_decay, "
                "corrected_weight_decay=True)",
                needs={"amsgrad": False, "maximize": False, "caution": False},
                note="lr_peak is the lr that it is made with",
                state={"m": "exp_avg", "v": "exp_avg_sq"},
                said={"lr_peak": "max_lr_snapshot"},
                loud={"lr_peak": 0.014958324052262344},
                late=True,
            ),
        ),
    ),
    lr_peak=Hyperparameter(
        "the largest learning rate of the schedule", low=0.0, open_low=True, search=(1e-5, 1e-1)
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
    weight_decay="the weights shrink by lr**2 / lr_peak times this in each step",
)
def adamc(
    p, g, m, v, t, *, lr=1e-3, lr_peak=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2
):
    """AdamW with weight decay proportional to lr squared.

    As lr falls, gradients then do not grow near the end of training.

    It is for layers followed by a normalization, whose weights settle at a length that depends on
    lr. The paper counts every linear layer among them but the output layer, which keeps AdamW's
    decay. At lr = lr_peak it is `adamw`.

    Elsewhere:
        timm.optim.AdamWLegacy(corrected_weight_decay=True): this rule; lr_peak is the lr that it is made
            with.
        pytorch_optimizer.AdamC: the same for groups with normalized=True, AdamW for others; eps is added
            before the bias correction, and 1e-15 inside the root.
    """
    p = p - lr**2 / lr_peak * weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v
