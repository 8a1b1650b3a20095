"""Muon: a matrix steps in all its directions alike."""

from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import maximum, newton_schulz, size, sqrt
from ravine.rule import rule


@rule(
    paper="Jordan et al., 2024. Muon: An Optimizer for Hidden Layers in Neural Networks",
    at="kellerjordan.github.io/posts/muon; match_adamw: Liu et al., 2025, arXiv:2502.16982, section 2.2; "
    "unclamped: Bernstein, 2025, jeremybernste.in/writing/deriving-muon",
    lr=searched(1e-4, 1e-1),  # around Jordan's 0.02, and AdamW's for match_adamw
    momentum=Hyperparameter(
        "decay rate of the mean of the gradients",
        low=0.0,
        search=(1e-3, 1.0),
        towards=1.0,
    ),
    nesterov="look one step of the mean ahead",
    ns_a="Newton-Schulz: coefficient of X",
    ns_b="Newton-Schulz: coefficient of (X Xᵀ) X",
    ns_c="Newton-Schulz: coefficient of (X Xᵀ)² X",
    eps="smallest norm that the mean is divided by",
    ns_steps=Hyperparameter("Newton-Schulz: how many steps", low=0, high=99, whole=True),
    bfloat16="compute the Newton-Schulz steps in bfloat16",
    match_adamw="scale steps to the size that AdamW's usually have",
    unclamped="scale steps by sqrt(rows / columns), also where that is below 1: for wide matrices",
)
def muon(
    p,
    g,
    m,
    *,
    lr=1e-3,
    momentum=0.95,
    nesterov=True,
    ns_a=3.4445,
    ns_b=-4.775,
    ns_c=2.0315,
    eps=1e-7,
    ns_steps=5,
    bfloat16=False,
    match_adamw=False,
    unclamped=False,
):
    """Momentum whose step has singular values near 1.

    For the matrices of hidden layers; embeddings, the output layer and vectors are better off with
    AdamW.

    Elsewhere:
        torch.optim.Muon: this rule in `decoupled_decay`, with bfloat16; its adjust_lr_fn
            "match_rms_adamw" is match_adamw, and "spectral_unclamped" (torch 2.14) is unclamped. It
            refuses parameters that are not matrices.
        Jordan's muon.py: eps is added to the norm; lr 0.02; in bfloat16 as well, though with other
            roundings.
        Liu et al. 2025: match_adamw, so that AdamW's lr and weight_decay can be used.
        Bernstein 2025: unclamped, so that a step changes a layer's output by as much whatever its
            shape. With match_adamw it has no effect.
    """
    m = momentum * m + (1 - momentum) * g
    u = momentum * m + (1 - momentum) * g if nesterov else m
    o = newton_schulz(u, ns_a, ns_b, ns_c, eps, ns_steps, bfloat16)
    rows, columns = size(p, -2), size(p, -1)
    as_adamw = 0.2 * sqrt(maximum(rows, columns))
    spectral = sqrt(rows / columns)
    scale = as_adamw if match_adamw else spectral if unclamped else maximum(1, spectral)
    return p - lr * scale * o, m
