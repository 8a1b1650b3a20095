"""Compressed second moments: squared gradients are kept by row and column, by row, or by tensor."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter
from ravine.ops import maximum, mean, ndim, rms, size, sqrt
from ravine.rule import rule, scalar, zeros

_MEAN = "decay rate of the mean of the gradients"
_SQUARES = "decay rate of the mean of the squared gradients"
_DECAY = "the weights shrink by lr times this in each step"
_CAME_STATE = {
    "m": "exp_avg",
    "v": "exp_avg_sq",
    "r": "exp_avg_sq_row.unsqueeze(-1)",
    "c": "exp_avg_sq_col.unsqueeze(-2)",
    "res_r": "exp_avg_res_row.unsqueeze(-1)",
    "res_c": "exp_avg_res_col.unsqueeze(-2)",
}
_CAME = "lr=lr, betas=(beta1, beta2, beta3), {eps}, clip_threshold=d, weight_decay=weight_decay"


@rule(
    paper="Luo et al., 2023. CAME: Confidence-guided Adaptive Memory Efficient Optimization",
    at="arXiv:2307.02047",
    r=zeros(-1),
    c=zeros(-2),
    res_r=zeros(-1),
    res_c=zeros(-2),
    card=Card(
        title="CAME",
        names="confidence-guided adaptive memory efficient optimization",
        witnesses=(
            Witness(
                "came-pytorch 0.1.3",
                f"came_pytorch.CAME({_CAME.format(eps='eps=(eps1, eps2)')})",
                loud={"eps1": 1e-3, "eps2": 1e-2},
                state=_CAME_STATE,
                late=True,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.CAME({_CAME.format(eps='eps1=eps1, eps2=eps2')})",
                state=_CAME_STATE,
                unsaved=("clip_threshold",),
                needs={"weight_decouple": True, "fixed_decay": False, "ams_bound": False},
                loud={"eps1": 1e-3, "eps2": 1e-2},
                late=True,
            ),
        ),
    ),
    beta1="decay rate of the mean of the steps",
    beta2=_SQUARES,
    beta3=Hyperparameter(
        "decay rate of the mean of the squared distances of steps from their mean",
        low=0.0,
        high=1.0,
        open_high=True,
        search=(1e-5, 1e-2),
        towards=1.0,
    ),
    eps1=Hyperparameter("added to the squared gradients", low=0.0, search=(1e-30, 1e-8)),
    eps2=Hyperparameter("added to the squared distances", low=0.0, search=(1e-16, 1e-8)),
    d=Hyperparameter(
        "largest root mean square of a step before lr", low=0.0, open_low=True, search=(0.1, 10.0)
    ),
    weight_decay=_DECAY,
)
def came(
    p,
    g,
    m,
    v,
    r,
    c,
    res_r,
    res_c,
    *,
    lr=2e-4,
    beta1=0.9,
    beta2=0.999,
    beta3=0.9999,
    eps1=1e-30,
    eps2=1e-16,
    d=1.0,
    weight_decay=0.0,
):
    """Adafactor with momentum, scaled down where steps disagree.

    The squares of the gradients, and of the distances of steps from their mean, are kept by row and
    column: for a matrix, two numbers per row and two per column, beside the mean step. With more
    axes, the last two are rows and columns. For vectors all squares are kept, and the mean step is
    taken unscaled.

    Elsewhere:
        came_pytorch.CAME (the authors'): this rule; its eps is the pair of eps1 and eps2.
        kozistr: this rule.
    """
    s = g**2 + eps1
    if ndim(p) >= 2:
        r = beta2 * r + (1 - beta2) * mean(s, axis=-1)
        c = beta2 * c + (1 - beta2) * mean(s, axis=-2)
        u = g / (sqrt(r / mean(r, axis=-2)) * sqrt(c))
    else:
        v = beta2 * v + (1 - beta2) * s
        u = g / sqrt(v)
    u = u / maximum(1.0, rms(u) / d)
    m = beta1 * m + (1 - beta1) * u
    step = m
    if ndim(p) >= 2:
        residual = (u - m) ** 2 + eps2
        res_r = beta3 * res_r + (1 - beta3) * mean(residual, axis=-1)
        res_c = beta3 * res_c + (1 - beta3) * mean(residual, axis=-2)
        step = m / (sqrt(res_r / mean(res_r, axis=-2)) * sqrt(res_c))
    return p * (1 - lr * weight_decay) - lr * step, m, v, r, c, res_r, res_c


@rule(
    paper="Zhang et al., 2024. Adam-mini: Use Fewer Learning Rates To Gain More",
    at="arXiv:2406.16793, in the form of adam-mini",
    v=zeros(-1),
    v_mean=scalar(0.0),
    card=Card(
        title="AdamMini",
        witnesses=(
            Witness(
                "adam-mini 1.1.1",
                "adam_mini.Adam_mini(lr=lr, betas=(beta1, beta2), eps=eps, "
                "weight_decay=weight_decay, verbose=False)",
                late=True,
                state={
                    "m": "m",
                    "v": "vmean if m.ndim == 2 else None",
                    "v_mean": "None if m.ndim == 2 else vmean",
                },
                note="Which rows are one block follows from the parameters' names there.",
            ),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps="added to the root mean square of the gradients",
    weight_decay=_DECAY,
)
def adam_mini(
    p, g, m, v, v_mean, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0
):
    """AdamW with one second moment per matrix row, or per vector.

    A row is an output neuron, or a token of an embedding. This saves nearly half of AdamW's state.
    For queries and keys the authors keep one per head; here there is one per row.

    Elsewhere:
        adam_mini.Adam_mini (the authors'): this rule for the matrices that it recognizes by name:
            embeddings, output, values, projections and MLP. Queries and keys by head; biases as in
            `adamw`; anything else is one block. No decay for what is called norm, ln or bias.
        kozistr: its state is in float32; one block for every tensor but embeddings, queries and keys.
    """
    m = beta1 * m + (1 - beta1) * g
    if ndim(p) == 2:
        v = beta2 * v + (1 - beta2) * mean(g**2, axis=-1)
    else:
        v_mean = beta2 * v_mean + (1 - beta2) * mean(g**2)
    v_hat = (v if ndim(p) == 2 else v_mean) / (1 - beta2**t)
    p = p * (1 - lr * weight_decay)
    return p - lr * m / (1 - beta1**t) / (sqrt(v_hat) + eps), m, v, v_mean


@rule(
    paper="Tian & Parikh, 2022. Amos: An Adam-style Optimizer with Adaptive Weight Decay towards "
    "Model-Oriented Scale",
    at="arXiv:2210.11693",
    v=scalar(0.0),
    b=scalar(0.0),
    card=Card(
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.Amos(lr=lr, beta=beta2, momentum=momentum, c_coef=zeta, "
                "d_coef=zeta)",
                needs={"extra_l2": 0.0, "eps": 1e-18},
                loud={"lr": 0.1},
                state={"m": "exp_avg", "v": "exp_avg_sq", "b": "decay"},
                unsaved=("c_coef", "d_coef"),
                note="Its eps is added to the mean of the squared gradients.",
            ),
        ),
    ),
    lr=Hyperparameter(
        "how much a step changes the weights at first, relative to scale; 1 / sqrt(batches)",
        low=0.0,
        search=(1e-4, 1e-1),
    ),
    beta2="decay rate of the mean square of the tensor's gradients; 1 - beta2 of the size of lr",
    eps="smallest mean of the squared gradients",
    scale=Hyperparameter(
        "size that the trained weights should have; 0: after the tensor's shape",
        low=0.0,
        search=(1e-3, 1.0),
    ),
    momentum=Hyperparameter(
        "decay rate of the mean of the steps; 0: no mean is kept",
        low=0.0,
        high=1.0,
        open_high=True,
        search=(1e-2, 1.0),
        towards=1.0,
    ),
    zeta=Hyperparameter("how fast steps and decay fall", low=0.0, search=(1e-2, 1.0)),
)
def amos(
    p, g, m, v, b, t, *, lr=1e-3, beta2=0.999, eps=2**-125, scale=0.0, momentum=0.0, zeta=0.25
):
    """Adam-style steps with decay towards weights of a given size.

    It keeps one second moment and one record of the decay so far per tensor; steps and decay both
    fall over time. The size is a property of the model: give groups their scale. With 0 it is
    sqrt(2 / inputs) for matrices, sqrt(1 / inputs) for kernels, whose inputs are counted in
    channels, and 0.5 for vectors.

    Elsewhere:
        jestimator.amos (the authors'): this rule with the scale of eta_fn; shape_fn can keep a moment
            for each row or column. It can clip gradients, and shorten steps for fine-tuning.
        kozistr: this rule; eps, 1e-18, is added. The scales are those of the shape. Its extra_l2
            makes the decay weaker.
    """
    if scale:
        eta = lr * scale
    elif ndim(p) >= 2:
        eta = lr * sqrt((2 if ndim(p) == 2 else 1) / size(p, 1))
    else:
        eta = lr * 0.5
    g2 = mean(g**2)
    v = beta2 * v + (1 - beta2) * g2
    rate = (1 - beta2**t) / maximum(v, eps)
    gamma = lr**2 * rate * g2 / sqrt(1 + zeta * sqrt(lr) * b)
    u = (gamma / 2 * p + eta * sqrt(rate) * g) / (1 + zeta * sqrt(eta) * b)
    if momentum:
        m = momentum * m + (1 - momentum) * u
        u = m
    return p - u, m, v, b + gamma * (1 + b)
