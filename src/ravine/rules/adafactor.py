"""Adafactor: the mean squares of a matrix from those of its rows and columns."""

from typing import Any

from ravine.hyperparameters import Hyperparameter
from ravine.ops import epsilon, maximum, mean, minimum, rms, sqrt
from ravine.rule import rule, zeros

_NAMES: dict[str, Any] = {
    "lr": Hyperparameter(
        "longest step, relative to the weights; after 1 / lr**2 steps it falls as 1 / sqrt(t)",
        low=0.0,
        search=(1e-4, 1.0),  # above 1 the steps stay the same: lr bounds 1 / sqrt(t)
    ),
    "beta2_decay": Hyperparameter(
        "the decay rate of the mean of the squared gradients, at step t, is 1 - t to this power",
        high=0.0,
    ),
    "eps1": Hyperparameter(
        "smallest size of a gradient; 0: the epsilon of the parameter's dtype",
        low=0.0,
        search=(1e-30, 1e-3),
    ),
    "eps2": Hyperparameter(
        "the size that smaller parameters count as, where steps are relative",
        low=0.0,
        search=(1e-5, 1e-1),
    ),
    "d": Hyperparameter(
        "largest root mean square of a step before lr", low=1.0, search=(1.0, 10.0)
    ),
    "weight_decay": "the weights shrink by lr times this in each step",
}


@rule(
    paper="Shazeer & Stern, 2018. Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
    at="arXiv:1804.04235, Algorithm 4, in the form of torch.optim.Adafactor",
    r=zeros(-1),
    c=zeros(-2),
    **_NAMES,
)
def adafactor(
    p,
    g,
    r,
    c,
    t,
    *,
    lr=1e-2,
    beta2_decay=-0.8,
    eps1=0.0,
    eps2=1e-3,
    d=1.0,
    weight_decay=0.0,
):
    """Steps relative to the weights; squares by row and column.

    For matrices; of arrays with more dimensions, the last two are rows and columns. State is kept for
    n + m numbers where Adam keeps 2nm. For vectors see `adafactor_vector`.

    Elsewhere:
        torch.optim.Adafactor: this rule, for parameters of two dimensions or more; its eps is the pair
            of eps1 and eps2.
        Shazeer & Stern 2018: lr is 0.01 and does not decay the weights; eps1, 1e-30, is added to the
            squared gradients; sums in the place of means, which comes to the same.
        Keras: as the paper, with lr 1e-3; it keeps all squares besides, so memory is not saved.
    """
    beta2 = 1 - t**beta2_decay
    alpha = maximum(eps2, rms(p)) * minimum(lr, 1 / sqrt(t))
    r = beta2 * r + (1 - beta2) * mean(g**2, axis=-1)
    c = beta2 * c + (1 - beta2) * mean(g**2, axis=-2)
    floor = eps1 if eps1 else epsilon(p)
    v = r * c / maximum(mean(r, axis=-2), floor)
    u = g / sqrt(maximum(v, floor**2))
    return p - lr * weight_decay * p - alpha * u / maximum(1, rms(u) / d), r, c


@rule(
    paper="Shazeer & Stern, 2018. Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
    at="arXiv:1804.04235, Algorithm 5, in the form of torch.optim.Adafactor",
    **_NAMES,
)
def adafactor_vector(
    p,
    g,
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
    """Adafactor for vectors: all squares are kept.

    Elsewhere:
        torch.optim.Adafactor: this rule, for parameters of one dimension or none.
        Shazeer & Stern 2018: lr is 0.01 and does not decay the weights; eps1, 1e-30, is added to the
            squared gradients.
    """
    beta2 = 1 - t**beta2_decay
    alpha = maximum(eps2, rms(p)) * minimum(lr, 1 / sqrt(t))
    v = beta2 * v + (1 - beta2) * g**2
    floor = eps1 if eps1 else epsilon(p)
    u = g / sqrt(maximum(v, floor**2))
    return p - lr * weight_decay * p - alpha * u / maximum(1, rms(u) / d), v
