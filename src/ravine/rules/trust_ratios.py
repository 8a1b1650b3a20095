"""Layer-wise rates: steps in proportion to the norm of each tensor, for large batches."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import maximum, minimum, ndim, norm, sqrt, total, where
from ravine.rule import rule

_MEAN = "decay rate of the mean of the gradients"
_SQUARES = "decay rate of the mean of the squared gradients"
_EPS = "added to the root mean square of the gradients"
_IN_RATIO = Hyperparameter("weights times this join the gradient, and the ratio", 0.0)
_DECAY = Hyperparameter(
    "weights times this join the step, before its norm is taken", 0.0, search=(1e-4, 1.0)
)
_TRUST = Hyperparameter(
    "norm of a step over that of the weights, at lr = 1 and without momentum",
    0.0,
    search=(1e-4, 1e-1),
)
_MOMENTUM = Hyperparameter(
    "share of the velocity kept from step to step", low=0.0, search=(1e-3, 1.0), towards=1.0
)
_LARS = "momentum=momentum, weight_decay=weight_decay"
_LAMB = "lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay"
_TIMM_LARS = {"dampening": 0, "nesterov": False, "trust_clip": False}
_TIMM_LAMB = {
    **{"bias_correction": True, "grad_averaging": True, "trust_clip": False, "caution": False},
    "decoupled_decay": False,
}
_BUFFER = {"b": "momentum_buffer"}
_MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq"}
_LARS_PAPER = "You, Gitman & Ginsburg, 2017. Large Batch Training of Convolutional Networks"
_LAMB_PAPER = (
    "You et al., 2020. Large Batch Optimization for Deep Learning: Training BERT in 76 minutes"
)


@rule(
    paper=_LARS_PAPER,
    at="arXiv:1708.03888, Algorithm 1, without its schedule",
    card=Card(
        title="LARS",
        names="layer-wise adaptive rate scaling",
        note="packages differ in what vectors get, and in what the ratio is of",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.Lars(lr=lr, {_LARS}, trust_coeff=trust_coefficient, eps=0.0, always_adapt=True)",
                needs=_TIMM_LARS,
                defaults={"momentum": 0.0, "weight_decay": 0.0},
                note="equal while lr is constant; lr is outside its velocity",
                state={"v": "momentum_buffer * lr"},
                constant_lr=True,
                late=True,
            ),
        ),
    ),
    lr=searched(1e-2, 100.0),
    momentum=_MOMENTUM,
    weight_decay=_IN_RATIO,
    trust_coefficient=_TRUST,
)
def lars(p, g, v, *, lr=1.0, momentum=0.9, weight_decay=5e-4, trust_coefficient=1e-3):
    """Momentum with steps in proportion to each tensor's norm.

    Whatever the norm of its gradient, a tensor moves by lr * trust_coefficient of its own norm, and
    momentum adds these steps up. A tensor of zeros, such as a new bias, takes plain steps of lr; the
    paper does not say so, but every package does.

    Elsewhere:
        You et al. 2017: this rule, with lr falling to zero as a square.
        timm, torch_optimizer: lr outside the velocity, and no ratio where weight_decay is 0: `lars_timm`.
        kozistr: vectors take plain steps: `lars_kozistr`.
        optax: the ratio is taken of the decayed gradient: `lars_optax`.
        You et al. 2020, the paper of LAMB: another LARS, with the ratio of the mean gradient.
    """
    w, n = norm(p), norm(g)
    ratio = trust_coefficient * w / (n + weight_decay * w)
    ratio = where(minimum(w, n) > 0, ratio, 1.0)
    v = momentum * v + lr * ratio * (g + weight_decay * p)
    return p - v, v


@rule(
    paper=_LARS_PAPER,
    at="arXiv:1708.03888, Algorithm 1, in the form of timm.optim.Lars",
    card=Card(
        title="LARSTimm",
        variant_of="lars",
        differs="place of lr, place of eps, trust ratio",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.Lars(lr=lr, {_LARS}, trust_coeff=trust_coefficient, eps=eps)",
                needs={**_TIMM_LARS, "always_adapt": False},
                defaults={"momentum": 0.0, "weight_decay": 0.0},
                state=_BUFFER,
                late=True,
            ),
            Witness(
                "torch_optimizer 0.3.0",
                f"torch_optimizer.LARS(lr=lr, {_LARS}, trust_coefficient=trust_coefficient, eps=eps)",
                needs={"dampening": 0.0, "nesterov": False},
                defaults={
                    "lr": 0.01,
                    "momentum": 0.0,
                    "weight_decay": 0.0,
                    "trust_coefficient": 0.01,
                },
                state=_BUFFER,
                late=True,
            ),
        ),
    ),
    lr=searched(1e-2, 100.0),
    momentum=_MOMENTUM,
    weight_decay=Hyperparameter(
        "weights times this join the gradient, and the ratio; at 0 there is no ratio", 0.0
    ),
    trust_coefficient=_TRUST,
    eps="added to what the ratio divides by",
)
def lars_timm(
    p, g, b, *, lr=1.0, momentum=0.9, weight_decay=5e-4, trust_coefficient=1e-3, eps=1e-8
):
    """LARS as in timm: plain momentum where there is no decay.

    lr is outside the velocity. Biases and gains in a group without decay take plain steps, so they may
    need a separate lr.

    Elsewhere:
        timm: this rule; momentum and weight_decay are 0 by default. always_adapt takes the ratio
            without decay, too; trust_clip bounds it (LARC).
        torch_optimizer: this rule; lr and trust_coefficient are 0.01 by default. A tensor whose gradient
            is all zeros does not decay.
    """
    if weight_decay:
        w, n = norm(p), norm(g)
        ratio = trust_coefficient * w / (n + weight_decay * w + eps)
        g = where(minimum(w, n) > 0, ratio, 1.0) * (g + weight_decay * p)
    b = momentum * b + g
    return p - lr * b, b


@rule(
    paper=_LARS_PAPER,
    at="arXiv:1708.03888, Algorithm 1, in the form of pytorch_optimizer.LARS",
    card=Card(
        title="LARSKozistr",
        variant_of="lars",
        differs="place of lr, what vectors get",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.LARS(lr=lr, {_LARS}, trust_coefficient=trust_coefficient)",
                needs={"dampening": 0.0, "nesterov": False, "maximize": False},
                defaults={"lr": 1e-3, "weight_decay": 0.0},
                state=_BUFFER,
                late=True,
            ),
        ),
    ),
    lr=searched(1e-2, 100.0),
    momentum=_MOMENTUM,
    weight_decay=_IN_RATIO,
    trust_coefficient=_TRUST,
)
def lars_kozistr(p, g, b, *, lr=1.0, momentum=0.9, weight_decay=5e-4, trust_coefficient=1e-3):
    """LARS for matrices; vectors take plain momentum steps.

    Biases and gains have no decay, either. lr is outside the velocity.

    Elsewhere:
        kozistr: this rule; lr 1e-3 and weight_decay 0 by default.
        timm: which tensors take plain steps is said by weight_decay=0: `lars_timm`.
    """
    if ndim(p) > 1:
        w = norm(p)
        n = norm(g) + weight_decay * w
        g = where(minimum(w, n) > 0, trust_coefficient * w / n, 1.0) * (g + weight_decay * p)
    b = momentum * b + g
    return p - lr * b, b


@rule(
    paper=_LARS_PAPER,
    at="arXiv:1708.03888, Algorithm 1, in the form of optax.lars",
    card=Card(
        title="LARSOptax",
        variant_of="lars",
        differs="trust ratio, place of eps",
        witnesses=(
            Witness(
                "optax 0.2.8",
                f"optax.lars(lr, {_LARS}, trust_coefficient=trust_coefficient, eps=eps)",
                needs={"nesterov": False},
                defaults={"weight_decay": 0.0},
                state={"v": "-trace"},
            ),
        ),
    ),
    lr=searched(1e-2, 100.0),
    momentum=_MOMENTUM,
    weight_decay="weights times this join the gradient, before its norm is taken",
    trust_coefficient=_TRUST,
    eps="added to what the ratio divides by",
)
def lars_optax(
    p, g, v, *, lr=1.0, momentum=0.9, weight_decay=5e-4, trust_coefficient=1e-3, eps=0.0
):
    """LARS with the decay added before the ratio is taken.

    Elsewhere:
        optax: this rule; weight_decay is 0 by default.
        You et al. 2017: the ratio divides by the sum of the two norms: `lars`.
    """
    u = g + weight_decay * p
    w, n = norm(p), norm(u)
    ratio = where(minimum(w, n) > 0, trust_coefficient * w / (n + eps), 1.0)
    v = momentum * v + lr * ratio * u
    return p - v, v


@rule(
    paper=_LAMB_PAPER,
    at="arXiv:1904.00962, with the identity for phi",
    card=Card(
        title="LAMB",
        names="layer-wise adaptive moments",
        note="packages differ in the bias correction, in clipping, and in what the ratio is of",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.Lamb({_LAMB}, max_grad_norm=None, always_adapt=True)",
                needs=_TIMM_LAMB,
                defaults={"weight_decay": 0.01},
                state=_MOMENTS,
            ),
            Witness(
                "optax 0.2.8",
                "optax.lamb(lr, b1=beta1, b2=beta2, eps=eps, weight_decay=weight_decay)",
                needs={"eps_root": 0.0},
                state={"m": "mu", "v": "nu"},
            ),
            Witness(
                "keras 3.15.1",
                "keras.optimizers.Lamb(learning_rate=lr, beta_1=beta1, beta_2=beta2, epsilon=eps)",
                needs={"weight_decay": None},
                defaults={"eps": 1e-07},
                state={"m": "momentum", "v": "velocity"},
                note="its weight_decay is another: decoupled, before the step",
            ),
        ),
    ),
    lr=searched(1e-4, 1e-1),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
    weight_decay=_DECAY,
)
def lamb(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0):
    """Adam with steps in proportion to each tensor's norm.

    Whatever the norm of Adam's step, a tensor moves by lr times its own norm. A tensor of zeros, such
    as a new bias, takes Adam's step.

    Elsewhere:
        You et al. 2020: this rule, weight_decay 0.01 for BERT; version 3 corrects no bias: `lamb_v3`.
        optax: this rule. Keras: this rule; eps 1e-7, and weight_decay is `decoupled_decay`'s.
        timm, apex: gradients are clipped first, and Adam's step is taken where weight_decay is 0:
            `lamb_timm`.
        kozistr: `lamb_kozistr`. torch_optimizer: `lamb_v3`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps) + weight_decay * p
    w, n = norm(p), norm(u)
    ratio = where(minimum(w, n) > 0, w / n, 1.0)
    return p - lr * ratio * u, m, v


@rule(
    paper=_LAMB_PAPER,
    at="arXiv:1904.00962, in the form of timm.optim.Lamb",
    card=Card(
        title="LAMBTimm",
        names="NVLAMB, FusedLAMB",
        variant_of="lamb",
        differs="gradient clipping, trust ratio",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.Lamb({_LAMB}, max_grad_norm=max_grad_norm)",
                needs={**_TIMM_LAMB, "always_adapt": False},
                state=_MOMENTS,
                note="it counts the steps of a group, not of a tensor",
            ),
        ),
    ),
    lr=searched(1e-4, 1e-1),
    beta1="decay rate of the mean of the clipped gradients",
    beta2="decay rate of the mean of their squares",
    eps=_EPS,
    weight_decay=Hyperparameter(
        "weights times this join the step, before its norm is taken; at 0 there is no ratio",
        0.0,
        search=(1e-4, 1.0),
    ),
    max_grad_norm=Hyperparameter(
        "largest Euclidean norm of all gradients together",
        0.0,
        open_low=True,
        search=(1e-2, 10.0),
    ),
)
def lamb_timm(
    p,
    g,
    m,
    v,
    t,
    *,
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-6,
    weight_decay=0.01,
    max_grad_norm=1.0,
):
    """LAMB with clipping, and Adam where there is no decay.

    All gradients are first divided by one number, so that their global norm is at most max_grad_norm.
    Adam's steps do not depend on the scale of the gradients, so this only keeps single steps with large
    gradients from counting more than others in the means.

    Elsewhere:
        timm, apex.optimizers.FusedLAMB: this rule. timm: max_grad_norm=None does not clip, and
            always_adapt=True takes the ratio without decay, too: `lamb`. t counts a group's steps.
    """
    g = g / maximum(sqrt(total(g**2)) / max_grad_norm, 1.0)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
    ratio = 1.0
    if weight_decay:
        u = u + weight_decay * p
        w, n = norm(p), norm(u)
        ratio = where(minimum(w, n) > 0, w / n, 1.0)
    return p - lr * ratio * u, m, v


@rule(
    paper=_LAMB_PAPER,
    at="arXiv:1904.00962v3, in the form of cybertronai/pytorch-lamb",
    card=Card(
        title="LAMBv3",
        variant_of="lamb",
        differs="bias correction, trust ratio",
        witnesses=(
            Witness(
                "torch_optimizer 0.3.0",
                f"torch_optimizer.Lamb({_LAMB})",
                needs={"clamp_value": 10, "adam": False, "debias": False},
                state=_MOMENTS,
                late=True,
            ),
        ),
    ),
    lr=searched(1e-4, 1e-1),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
    weight_decay=_DECAY,
)
def lamb_v3(p, g, m, v, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0):
    """LAMB without bias correction.

    The third version of the paper has none. Without decay it would hardly change anything, since the
    ratio divides by the norm of the step. A tensor's norm counts up to 10.

    Elsewhere:
        torch_optimizer, cybertronai/pytorch-lamb: this rule.
        kozistr: eps also in the ratio, and another decay: `lamb_kozistr`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    u = m / (sqrt(v) + eps) + weight_decay * p
    w, n = minimum(norm(p), 10.0), norm(u)
    ratio = where(minimum(w, n) > 0, w / n, 1.0)
    return p - lr * ratio * u, m, v


@rule(
    paper=_LAMB_PAPER,
    at="arXiv:1904.00962v3, in the form of pytorch_optimizer.Lamb",
    card=Card(
        title="LAMBKozistr",
        variant_of="lamb",
        differs="bias correction, trust ratio, place of eps, decay form",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.Lamb({_LAMB})",
                needs={
                    "weight_decouple": True,
                    "fixed_decay": False,
                    "maximize": False,
                    "rectify": False,
                    "grad_averaging": True,
                    "adam": False,
                    "pre_norm": False,
                },
                state=_MOMENTS,
                note="it counts the steps of a group, not of a tensor",
            ),
        ),
    ),
    lr=searched(1e-4, 1e-1),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps="added to the root mean square of the gradients, and to the norm of the step",
    weight_decay="the weights shrink by lr times this in each step",
)
def lamb_kozistr(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0):
    """LAMB that corrects the mean's bias after the ratio.

    So its first step is 1 / (1 - beta1) times as long as LAMB's: 10 times, by default. lr needs a
    warm-up. The decay is decoupled, and a tensor's norm counts up to 10.

    Elsewhere:
        kozistr: this rule; with weight_decouple=False the decay joins the step, as in `lamb_v3`, and with
            adam_debias=True m is not corrected.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    p = p * (1 - lr * weight_decay)
    u = m / (sqrt(v) + eps)
    w, n = minimum(norm(p), 10.0), norm(u)
    ratio = where(minimum(w, n) > 0, w / (n + eps), 1.0)
    return p - lr / (1 - beta1**t) * ratio * u, m, v
