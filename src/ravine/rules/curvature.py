"""Curvature: steps divided by the Hessian's diagonal, which is estimated and passed to the step."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import abs, clip, maximum, mean, minimum, ndim, sign, sqrt, where
from ravine.rule import rule, scalar, signal

_MEAN = "decay rate of the mean of the gradients"
_DECAY = "the weights shrink by lr times this in each step"
_SOPHIA = (
    "Liu et al., 2024. Sophia: A Scalable Stochastic Second-order Optimizer for Language Model "
    "Pre-training"
)
_ADAHESSIAN = (
    "Yao et al., 2021. ADAHESSIAN: An Adaptive Second Order Optimizer for Machine Learning"
)


@rule(
    paper=_SOPHIA,
    at="arXiv:2305.14342, with the estimate of Hutchinson (Sophia-H)",
    card=Card(
        names="Sophia-H, second-order clipped stochastic optimization",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.SophiaH(lr=lr / gamma, betas=(beta1, beta2), p=gamma, "
                "eps=eps / gamma, weight_decay=weight_decay * gamma)",
                needs={"weight_decouple": True, "fixed_decay": False},
                loud={
                    "lr": 0.05,
                    "beta1": 0.8,
                    "beta2": 0.95,
                    "gamma": 0.2,
                    "eps": 1e-2,
                    "weight_decay": 0.1,
                },
                late=True,
                note="Its p is gamma, its lr is lr / gamma, its eps is eps / gamma.",
                state={"m": "momentum", "h": "hessian_moment"},
                said={"lr": "lr * p", "eps": "eps * p", "weight_decay": "weight_decay / p"},
            ),
        ),
    ),
    lr=searched(1e-5, 1e-2),
    beta1=_MEAN,
    beta2="decay rate of the mean of the estimates",
    gamma=Hyperparameter(
        "factor of the curvature; larger: fewer coordinates make a full step",
        low=0.0,
        open_low=True,
        search=(1e-3, 1.0),
    ),
    eps="smallest curvature, times gamma",
    weight_decay=_DECAY,
)
def sophia(
    p,
    g,
    m,
    h,
    *,
    hessian=signal(),
    lr=1e-4,
    beta1=0.965,
    beta2=0.99,
    gamma=0.05,
    eps=1e-12,
    weight_decay=0.0,
):
    """The mean gradient over the Hessian's diagonal, clipped.

    Pass an estimate of the diagonal at every tenth step or so: step(hessian=...). Sophia-H's is v
    times the product Hv of the Hessian and a random v; for Sophia-G's, see `sophia_g`. Before the
    first one, and where the curvature is negative, steps have the size lr, as in sign descent.

    Elsewhere:
        SophiaG (the authors'): `sophia_g`.
        optax.contrib.sophia: m is bias-corrected, an estimate counts from the next step on; gamma 0.01.
        kozistr.SophiaH: this rule with lr / gamma, eps / gamma and gamma as p; it draws its estimate.
    """
    m = beta1 * m + (1 - beta1) * g
    if hessian is not None:
        h = beta2 * h + (1 - beta2) * hessian
    p = p * (1 - lr * weight_decay)
    return p - lr * clip(m / maximum(gamma * h, eps), -1, 1), m, h


@rule(
    paper=_SOPHIA,
    at="arXiv:2305.14342, with the estimate of Gauss-Newton-Bartlett (Sophia-G), in the authors' form",
    card=Card(
        title="SophiaG",
        variant_of="sophia",
        differs="place of eps",
        witnesses=(
            Witness(
                "sophia-opt 0.2.2",
                "sophia_opt.SophiaG(lr=lr, betas=(beta1, beta2), rho=rho, weight_decay=weight_decay)",
                needs={"maximize": False},
                state={"m": "exp_avg", "h": "hessian"},
                loud={"weight_decay": 0.3},
                late=True,
                note="The authors' code; its bs is an argument of step().",
            ),
        ),
    ),
    lr=searched(1e-5, 1e-2),
    beta1=_MEAN,
    beta2="decay rate of the mean of the squares of sampled",
    rho=Hyperparameter(
        "factor of the curvature; larger: fewer coordinates make a full step",
        low=0.0,
        open_low=True,
        search=(1e-2, 0.1),
    ),
    bs=Hyperparameter(
        "how many labels the loss is the mean of: samples, or tokens, in a batch",
        low=0.0,
        open_low=True,
    ),
    eps="added to rho times the curvature",
    weight_decay=_DECAY,
)
def sophia_g(
    p,
    g,
    m,
    h,
    *,
    sampled=signal(),
    lr=1e-4,
    beta1=0.965,
    beta2=0.99,
    rho=0.04,
    bs=5120.0,
    eps=1e-15,
    weight_decay=0.1,
):
    """Sophia with the Gauss-Newton-Bartlett estimate of curvature.

    At every tenth step or so, pass the gradient for labels that are sampled from the model's own
    predictions: step(sampled=...). Its square times bs estimates the curvature. Before the first
    one, steps have the size lr, as in sign descent.

    Elsewhere:
        SophiaG (the authors', sophia_opt): this rule; update_hessian() takes the gradient from the
            parameters, after a step, so that it counts from the next one on. bs is an argument of
            step(), and eps is fixed.
    """
    m = beta1 * m + (1 - beta1) * g
    if sampled is not None:
        h = beta2 * h + (1 - beta2) * sampled**2
    p = p * (1 - lr * weight_decay)
    return p - lr * sign(m) * minimum(abs(m) / (rho * bs * h + eps), 1.0), m, h


_AVERAGE = "decay rate of the mean of the squared estimates"
_POWER = Hyperparameter(
    "power of the curvature that divides; 1: all of it",
    low=0.0,
    high=1.0,
    open_low=True,
    search=(0.3, 1.0),
)
_EPS = "added to the root mean square of the estimates, to that power"
_OPTIONS = (
    "lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, hessian_power=hessian_power"
)


@rule(
    paper=_ADAHESSIAN,
    at="arXiv:2006.00719, with averaging over kernels",
    k=scalar(0.0),
    card=Card(
        title="AdaHessian",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.Adahessian({_OPTIONS}, avg_conv_kernel=True)",
                needs={"update_each": 1},
                late=True,
                state={"m": "exp_avg", "v": "exp_hessian_diag_sq", "k": "hessian step"},
            ),
            Witness(
                "torch_optimizer 0.3.0",
                f"torch_optimizer.Adahessian({_OPTIONS})",
                defaults={"lr": 0.15, "eps": 1e-4, "hessian_power": 0.5},
                late=True,
                state={"m": "exp_avg", "v": "exp_hessian_diag_sq", "k": "t"},
            ),
        ),
    ),
    lr=searched(1e-3, 1.0),
    beta1=_MEAN,
    beta2=_AVERAGE,
    eps=_EPS,
    weight_decay=_DECAY,
    hessian_power=_POWER,
)
def adahessian(
    p,
    g,
    m,
    v,
    k,
    t,
    *,
    hessian=signal(),
    lr=0.1,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    hessian_power=1.0,
):
    """Adam divided by an estimate of the Hessian's diagonal.

    Pass an estimate of the diagonal, step(hessian=...): v times the product Hv of the Hessian and a
    random v. Steps without one leave the mean of the squares as it was; before the first one, the
    weights do not move. For a convolution's weight, with four axes, an estimate is averaged over
    the last two.

    Elsewhere:
        Yao et al.'s code, torch_optimizer.Adahessian: this rule with hessian_power 0.5, lr 0.15 and
            eps 1e-4; they draw v themselves, at every step.
        timm.optim.Adahessian: this rule with avg_conv_kernel=True; `adahessian_pointwise` without.
            Between estimates it keeps using the last one.
        kozistr: `adahessian_pointwise`.
    """
    m = beta1 * m + (1 - beta1) * g
    if hessian is not None:
        h = abs(hessian)
        if ndim(p) == 4:
            h = mean(mean(h, axis=-1), axis=-2)
        v = beta2 * v + (1 - beta2) * h**2
        k = k + 1
    h_hat = sqrt(v / (1 - beta2 ** maximum(k, 1))) ** hessian_power
    u = where(k > 0, m / (1 - beta1**t) / (h_hat + eps), 0.0)
    return p * (1 - lr * weight_decay) - lr * u, m, v, k


@rule(
    paper=_ADAHESSIAN,
    at="arXiv:2006.00719, without averaging over kernels",
    k=scalar(0.0),
    card=Card(
        title="AdaHessianPointwise",
        variant_of="adahessian",
        differs="scope",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.Adahessian({_OPTIONS})",
                needs={"update_each": 1, "avg_conv_kernel": False},
                late=True,
                state={"m": "exp_avg", "v": "exp_hessian_diag_sq", "k": "hessian step"},
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.AdaHessian({_OPTIONS})",
                needs={"weight_decouple": True, "fixed_decay": False},
                defaults={"eps": 1e-16},
                state={"m": "exp_avg", "v": "exp_hessian_diag_sq", "k": "t"},
            ),
        ),
    ),
    lr=searched(1e-3, 1.0),
    beta1=_MEAN,
    beta2=_AVERAGE,
    eps=_EPS,
    weight_decay=_DECAY,
    hessian_power=_POWER,
)
def adahessian_pointwise(
    p,
    g,
    m,
    v,
    k,
    t,
    *,
    hessian=signal(),
    lr=0.1,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    hessian_power=1.0,
):
    """AdaHessian without averaging over kernels.

    Elsewhere:
        timm.optim.Adahessian: this rule by default. Between estimates it keeps using the last one.
        kozistr.AdaHessian: this rule with an estimate at every step and eps 1e-16; with fewer
            estimates, it corrects the bias as if there were one at every step.
    """
    m = beta1 * m + (1 - beta1) * g
    if hessian is not None:
        v = beta2 * v + (1 - beta2) * hessian**2
        k = k + 1
    h_hat = sqrt(v / (1 - beta2 ** maximum(k, 1))) ** hessian_power
    u = where(k > 0, m / (1 - beta1**t) / (h_hat + eps), 0.0)
    return p * (1 - lr * weight_decay) - lr * u, m, v, k
