"""Adafactor: the mean squares of a matrix from those of its rows and columns."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter
from ravine.ops import epsilon, maximum, mean, minimum, ndim, rms, sqrt
from ravine.rule import rule, zeros

_LR = Hyperparameter(
    "longest step, relative to the weights; after 1 / lr**2 steps it falls as 1 / sqrt(t)",
    low=0.0,
    search=(1e-4, 1.0),  # above 1 the steps stay the same: lr bounds 1 / sqrt(t)
)
_BETA2_DECAY = Hyperparameter(
    "the decay rate of the mean of the squared gradients, at step t, is 1 - t to this power",
    high=0.0,
)
_EPS2 = Hyperparameter(
    "the size that smaller parameters count as, where steps are relative",
    low=0.0,
    search=(1e-5, 1e-1),
)
_STATE = {
    "r": "exp_avg_sq_row.unsqueeze(-1)",
    "c": "exp_avg_sq_col.unsqueeze(-2)",
    "v": "exp_avg_sq",
}
_D = Hyperparameter("largest root mean square of a step before lr", low=1.0, search=(1.0, 10.0))


@rule(
    paper="Shazeer & Stern, 2018. Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
    at="arXiv:1804.04235, Algorithms 4 and 5, in the form of torch.optim.Adafactor",
    r=zeros(-1),
    c=zeros(-2),
    card=Card(
        witnesses=(
            Witness(
                "torch 2.13.0",
                "torch.optim.Adafactor(lr=lr, beta2_decay=beta2_decay, eps=(eps1 or None, eps2), d=d, "
                "weight_decay=weight_decay)",
                needs={"maximize": False},
                loud={"eps1": 1e-2, "eps2": 1e-2},
                late=True,
                state={"r": "row_var", "c": "col_var", "v": "variance"},
            ),
        ),
    ),
    lr=_LR,
    beta2_decay=_BETA2_DECAY,
    eps1=Hyperparameter(
        "smallest size of a gradient; 0: the epsilon of the parameter's dtype",
        low=0.0,
        search=(1e-30, 1e-3),
    ),
    eps2=_EPS2,
    d=_D,
    weight_decay="the weights shrink by lr times this in each step",
)
def adafactor(
    p,
    g,
    r,
    c,
    v,
    t,
    *,
    lr=1e-2,
    beta2_decay=-0.8,
    eps1=0.0,
    eps2=1e-3,
    d=1.0,
    weight_decay=0.0,
):
    """Second moments by row and column; steps relative to weights.

    For an n × m matrix, n + m numbers are kept where Adam keeps 2nm; with more than two axes, the
    last two are rows and columns. For a vector, all squares are kept.

    Elsewhere:
        torch.optim.Adafactor: this rule; its eps is the pair of eps1 and eps2.
        Shazeer & Stern 2018: lr is 0.01 and does not decay the weights; eps1, 1e-30, is added to
            the squared gradients; sums instead of means, which comes to the same.
        Keras: as the paper, with lr 1e-3; it keeps all squares besides, so memory is not saved.
    """
    beta2 = 1 - t**beta2_decay
    alpha = maximum(eps2, rms(p)) * minimum(lr, 1 / sqrt(t))
    floor = eps1 if eps1 else epsilon(p)
    if ndim(p) >= 2:
        r = beta2 * r + (1 - beta2) * mean(g**2, axis=-1)
        c = beta2 * c + (1 - beta2) * mean(g**2, axis=-2)
        v = r * c / maximum(mean(r, axis=-2), floor)
    else:
        v = beta2 * v + (1 - beta2) * g**2
    u = g / sqrt(maximum(v, floor**2))
    return p - lr * weight_decay * p - alpha * u / maximum(1, rms(u) / d), r, c, v


@rule(
    paper="Shazeer & Stern, 2018. Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
    at="arXiv:1804.04235, Algorithms 4 and 5",
    r=zeros(-1),
    c=zeros(-2),
    card=Card(
        variant_of="adafactor",
        differs="place of eps, decay form",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.AdaFactor(betas=(None, 0.999), decay_rate=beta2_decay, eps1=eps1, "
                "eps2=eps2, clip_threshold=d)",
                needs={"relative_step": True, "scale_parameter": True, "weight_decay": 0.0},
                loud={"eps1": 1e-3, "eps2": 1e-2},
                constant_lr=True,
                state=_STATE,
                unsaved=("decay_rate", "clip_threshold"),
                note="Its lr is 0.01 while steps are relative; its beta2 stays at 0.999 from step 5624 on.",
            ),
            Witness(
                "timm 1.0.31",
                "timm.optim.Adafactor(decay_rate=beta2_decay, eps=eps1, eps_scale=eps2, "
                "clip_threshold=d, min_dim_size_to_factor=0)",
                needs={"lr": None, "betas": None, "weight_decay": 0.0},
                shapes="matrices",
                loud={"eps1": 1e-3, "eps2": 1e-2},
                late=True,
                constant_lr=True,
                state=_STATE,
                unsaved=("lr",),
                note="Its lr is 0.01, unless it is set: then steps are not relative.",
            ),
        ),
    ),
    lr=_LR,
    beta2_decay=_BETA2_DECAY,
    eps1=Hyperparameter("added to the squared gradients", low=0.0, search=(1e-30, 1e-8)),
    eps2=_EPS2,
    d=_D,
)
def adafactor_paper(p, g, r, c, v, t, *, lr=1e-2, beta2_decay=-0.8, eps1=1e-30, eps2=1e-3, d=1.0):
    """Adafactor as published: eps1 is added to squared gradients.

    Elsewhere:
        torch.optim.Adafactor: `adafactor`, with a floor of the size of gradients, and decay.
        timm.optim.Adafactor: this rule with lr=None and min_dim_size_to_factor=0; for a
            convolution's weight, it factors the first two axes if they are long, and otherwise
            none.
        optax.adafactor: lr does not fall with 1 / sqrt(t), and without lr it is 1; it factors the two
            longest axes, if they are 128 long.
        kozistr: this rule with betas=(None, 0.999), for 5623 steps; then beta2 stays at 0.999. By
            default it has momentum, in bfloat16.
    """
    beta2 = 1 - t**beta2_decay
    alpha = maximum(eps2, rms(p)) * minimum(lr, 1 / sqrt(t))
    s = g**2 + eps1
    if ndim(p) >= 2:
        r = beta2 * r + (1 - beta2) * mean(s, axis=-1)
        c = beta2 * c + (1 - beta2) * mean(s, axis=-2)
        u = g / sqrt(r * c / mean(r, axis=-2))
    else:
        v = beta2 * v + (1 - beta2) * s
        u = g / sqrt(v)
    return p - alpha * u / maximum(1, rms(u) / d), r, c, v
