"""Muon: a matrix steps in all its directions alike. As its author, torch, and other packages have it."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import maximum, newton_schulz, size, sqrt, sum
from ravine.rule import rule

JORDAN = ((3.4445, -4.775, 2.0315),)
"""Jordan's coefficients: singular values above 0.01 of the norm are between 0.68 and 1.13 after 5 steps."""
QUINTIC = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""Coefficients for each of five steps, from modded-nanogpt."""

MOMENTUM = Hyperparameter(
    "decay rate of the mean of the gradients",
    low=0.0,
    search=(1e-3, 1.0),
    towards=1.0,
)
NESTEROV = "look one step of the mean ahead"
_A = "Newton-Schulz: coefficient of X"
_B = "Newton-Schulz: coefficient of (X Xᵀ) X"
_C = "Newton-Schulz: coefficient of (X Xᵀ)² X"
ADDED = "added to the norm that the mean is divided by"
NS_EPS = Hyperparameter(ADDED, low=0.0, search=(1e-10, 1e-3))
RMS_SCALE = Hyperparameter(
    "root mean square that a step of lr 1 has: that of AdamW's steps", low=0.0, search=(0.1, 1.0)
)
STEPS = Hyperparameter("Newton-Schulz: how many steps", low=0, high=99, whole=True)
BFLOAT16 = "compute the Newton-Schulz steps in bfloat16"


def orthogonalized(x, coefficients, eps, steps=None, bfloat16=False):
    """A matrix with x's singular vectors and singular values near 1; eps is added to its norm."""
    x = x / (sqrt(sum(sum(x * x, axis=-1), axis=-2)) + eps)
    return newton_schulz(x, coefficients, eps=1.0, steps=steps, bfloat16=bfloat16)


@rule(
    paper="Jordan et al., 2024. Muon: An Optimizer for Hidden Layers in Neural Networks",
    at="kellerjordan.github.io/posts/muon; match_adamw: Liu et al., 2025, arXiv:2502.16982, section 2.2; "
    "unclamped: Bernstein, 2025, jeremybernste.in/writing/deriving-muon",
    card=Card(names="momentum orthogonalized by Newton-Schulz"),
    lr=searched(1e-4, 1e-1),  # around Jordan's 0.02, and AdamW's for match_adamw
    momentum=MOMENTUM,
    nesterov=NESTEROV,
    ns_a=_A,
    ns_b=_B,
    ns_c=_C,
    eps="smallest norm that the mean is divided by",
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
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
    """Momentum with its singular values all brought near 1.

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


@rule(
    paper="Jordan et al., 2024. Muon: An Optimizer for Hidden Layers in Neural Networks",
    at="github.com/KellerJordan/Muon, muon.py",
    seen="matrix",
    card=Card(variant_of="muon", differs="place of eps"),
    lr=searched(1e-4, 1e-1),
    momentum=MOMENTUM,
    nesterov=NESTEROV,
    eps=ADDED,
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
)
def muon_jordan(
    p, g, m, *, lr=2e-2, momentum=0.95, nesterov=True, eps=1e-7, ns_steps=5, bfloat16=False
):
    """Muon as its author wrote it, convolution kernels included.

    For the matrices and kernels of hidden layers; embeddings, the output layer and vectors are better
    off with AdamW.

    Elsewhere:
        Jordan's muon.py: this rule, in bfloat16. It scales the kernel of a convolution by its last two
            axes, so by 1 where they are equal; here by the rows and columns of the matrix.
        torch.optim.Muon: `muon`; the norm is at least eps.
        kozistr's Muon: `muon.seeing("matrix")`, in bfloat16.
    """
    m = momentum * m + (1 - momentum) * g
    u = momentum * m + (1 - momentum) * g if nesterov else m
    o = orthogonalized(u, JORDAN, eps, ns_steps, bfloat16)
    return p - lr * sqrt(maximum(1, size(p, -2) / size(p, -1))) * o, m


@rule(
    paper="Liu et al., 2025. Muon is Scalable for LLM Training",
    at="arXiv:2502.16982, section 2.2",
    seen="matrix",
    card=Card(
        names="Moonlight",
        variant_of="muon",
        differs="momentum form, place of eps, shape scaling, decay form",
        near=(
            Witness(
                "keras 3.15.1",
                "keras.optimizers.Muon(lr, momentum=momentum, nesterov=nesterov, "
                "rms_rate=rms_scale, ns_steps=ns_steps, weight_decay=weight_decay)",
                defaults={"weight_decay": 4e-3},
                loud={"weight_decay": 0.02},
                apart=1e-7,
                note="Its norm is taken in float32; what is not a matrix is stepped by Adam.",
                shapes="matrices",
            ),
        ),
    ),
    lr=searched(1e-5, 1e-2),
    momentum="share of the sum of the gradients kept from step to step",
    nesterov=NESTEROV,
    rms_scale=RMS_SCALE,
    eps=ADDED,
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
    weight_decay="the weights shrink by lr times this in each step",
)
def muon_moonshot(
    p,
    g,
    m,
    *,
    lr=1e-3,
    momentum=0.95,
    nesterov=True,
    rms_scale=0.2,
    eps=1e-7,
    ns_steps=5,
    bfloat16=False,
    weight_decay=0.1,
):
    """Muon with steps as large as AdamW's, for the same lr.

    For the matrices and kernels of hidden layers; everything else is stepped by AdamW, with the same lr.
    The gradients are summed, so eps counts for less than in `muon_jordan`.

    Elsewhere:
        keras.optimizers.Muon: this rule, except for its norm, which it takes in float32; default
            weight_decay 4e-3. What is not a matrix, and embeddings, go to Adam.
        Moonlight's Muon: this rule, in bfloat16.
        torch.optim.Muon(adjust_lr_fn="match_rms_adamw"): `decoupled_decay(muon, match_adamw=True)`,
            in bfloat16; the norm is at least eps.
    """
    m = momentum * m + g
    u = g + momentum * m if nesterov else m
    o = orthogonalized(u, JORDAN, eps, ns_steps, bfloat16)
    p = p * (1 - lr * weight_decay)
    return p - lr * rms_scale * sqrt(maximum(size(p, -2), size(p, -1))) * o, m


@rule(
    paper="Jordan et al., 2024. Muon: An Optimizer for Hidden Layers in Neural Networks",
    at="kellerjordan.github.io/posts/muon, in the form of optax",
    card=Card(
        variant_of="muon",
        differs="bias correction, place of eps, shape scaling",
        witnesses=(
            Witness(
                "optax 0.2.8",
                "optax.contrib.muon(lr, (ns_a, ns_b, ns_c), ns_steps=ns_steps, beta=momentum, eps=eps, "
                "nesterov=nesterov)",
                needs={
                    "adaptive": False,
                    "preconditioning": "frobenius",
                    "weight_decay": 0.0,
                    "consistent_rms": None,
                },
                state={"m": "mu"},
                shapes="matrices",
                loud={"nesterov": False, "ns_a": 2.0, "ns_b": -1.5, "ns_c": 0.5},
                note="optax steps by Adam what is not a matrix",
            ),
        ),
    ),
    lr=searched(1e-4, 1e-1),
    momentum=MOMENTUM,
    nesterov=NESTEROV,
    ns_a=_A,
    ns_b=_B,
    ns_c=_C,
    eps=ADDED,
    ns_steps=STEPS,
)
def muon_optax(
    p,
    g,
    m,
    t,
    *,
    lr=2e-2,
    momentum=0.95,
    nesterov=True,
    ns_a=3.4445,
    ns_b=-4.775,
    ns_c=2.0315,
    eps=1e-8,
    ns_steps=5,
):
    """Muon with bias correction; a matrix's columns are outputs.

    The correction matters to the direction only in the look ahead, where the mean and the gradient are
    corrected by different powers. Wide matrices take longer steps: the layer is x W, as in JAX.

    Elsewhere:
        optax.contrib.muon: this rule; what is not a matrix is stepped by Adam.
        torch.optim.Muon, Keras, Jordan's muon.py: no correction.
    """
    m = momentum * m + (1 - momentum) * g
    m_hat = m / (1 - momentum**t)
    if nesterov:
        g_hat = g / (1 - momentum**t)
        m_hat = momentum * m / (1 - momentum ** (t + 1)) + (1 - momentum) * g_hat
    o = orthogonalized(m_hat, ((ns_a, ns_b, ns_c),), eps, ns_steps)
    return p - lr * sqrt(maximum(1, size(p, -1) / size(p, -2))) * o, m


@rule(
    paper="Jordan et al., 2024. Muon: An Optimizer for Hidden Layers in Neural Networks",
    at="kellerjordan.github.io/posts/muon, in the form of heavyball",
    seen="matrix",
    card=Card(
        variant_of="muon",
        differs="Newton-Schulz coefficients, momentum form",
        witnesses=(
            Witness(
                "heavyball 3.2.1",
                "heavyball.Muon(lr=lr, betas=(momentum, momentum), nesterov=nesterov, "
                "storage_dtype='float64')",
                needs={
                    "weight_decay": 0,
                    "warmup_steps": 0,
                    "mars": False,
                    "caution": False,
                    "heavyball_momentum": False,
                },
                shapes="matrices",
                loud={"nesterov": False},
                state={
                    "m": "nesterov_ema_momentum_2 if nesterov else "
                    "exp_avg_exp_avg_2 * (1 - momentum**t)"
                },
                note="of parameters in float32 it computes the steps in bfloat16",
            ),
        ),
    ),
    lr=searched(1e-4, 1e-1),
    momentum=MOMENTUM,
    nesterov="add the gradient to its mean",
    eps="smallest norm that the mean is divided by",
    bfloat16=BFLOAT16,
)
def muon_heavyball(p, g, m, *, lr=2.5e-3, momentum=0.9, nesterov=True, eps=1e-7, bfloat16=False):
    """Muon with different coefficients in each Newton-Schulz step.

    They are from modded-nanogpt, and bring the singular values nearer to 1 than Jordan's do. With
    nesterov the whole gradient is added to its mean, so that it counts for more than in `muon`.

    Elsewhere:
        heavyball.Muon: this rule, on matrices and kernels; vectors are stepped by plain momentum.
        optax.contrib.muon(ns_coeffs="dion"): the same coefficients, in `muon_optax`.
    """
    m = momentum * m + (1 - momentum) * g
    u = m + g if nesterov else m
    o = newton_schulz(u, QUINTIC, eps=eps, bfloat16=bfloat16)
    return p - lr * sqrt(maximum(1, size(p, -2) / size(p, -1))) * o, m
