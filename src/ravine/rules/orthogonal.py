"""Muon's relatives: steps whose singular values, or whose entries, are of one size."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import (
    POLAR_EXPRESS,
    matmul,
    maximum,
    mean,
    ndim,
    newton_schulz,
    norm,
    normal,
    qr,
    rms,
    sign,
    size,
    sqrt,
    transpose,
    where,
)
from ravine.rule import low_rank, rule, zeros
from ravine.rules.muon import BFLOAT16, JORDAN, NESTEROV, NS_EPS, RMS_SCALE, STEPS, orthogonalized

_MEAN = "decay rate of the mean of the gradients"


@rule(
    paper="Amsel et al., 2025. The Polar Express: Optimal Matrix Sign Methods and Their Application to "
    "the Muon Algorithm",
    at="arXiv:2505.16932v2, Algorithm 1; with eps in ICLR 2026, Implementation 1",
    seen="matrix",
    card=Card(
        names="Muon with Polar Express",
        variant_of="muon",
        differs="Newton-Schulz coefficients, place of eps",
    ),
    lr=searched(1e-4, 1e-1),
    beta1=_MEAN,
    nesterov=NESTEROV,
    eps="added to 1.01 times the norm that the mean is divided by",
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
)
def polar_express(
    p, g, m, *, lr=2e-2, beta1=0.95, nesterov=True, eps=1e-7, ns_steps=5, bfloat16=False
):
    """Muon with optimal polynomials for the orthogonalization.

    Each iteration has different coefficients: those that bring the singular values, where they are
    above 1e-3 of the norm at first, nearest to 1. For the matrices and kernels of hidden layers,
    like `muon`.

    Elsewhere:
        kozistr's Muon(ns_coeffs="polar_express"): coefficients with a safety factor that it leaves out
            of the norm; in bfloat16.
        heavyball: its zeroth_power_mode "thinky_polar_express" has ten steps, and takes square matrices
            only.
    """
    m = beta1 * m + (1 - beta1) * g
    u = beta1 * m + (1 - beta1) * g if nesterov else m
    o = orthogonalized(u, POLAR_EXPRESS, eps / 1.01, ns_steps, bfloat16)
    return p - lr * sqrt(maximum(1, size(p, -2) / size(p, -1))) * o, m


@rule(
    paper="Li et al., 2025. NorMuon: Making Muon more efficient and scalable",
    at="arXiv:2510.05491, Algorithm 1",
    card=Card(title="NorMuon"),
    seen="matrix",
    v=zeros(-1),
    lr=searched(1e-5, 1e-2),
    beta1=_MEAN,
    beta2="decay rate of the mean of each row's squared orthogonalized gradients",
    eps="added to the root mean square of each row; the smallest norm that a step is divided by",
    rms_scale=RMS_SCALE,
    ns_eps=NS_EPS,
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
)
def normuon(
    p,
    g,
    m,
    v,
    *,
    lr=1e-3,
    beta1=0.95,
    beta2=0.95,
    eps=1e-10,
    rms_scale=0.2,
    ns_eps=1e-7,
    ns_steps=5,
    bfloat16=False,
):
    """Muon with steps of one size for all rows, the neurons.

    Newton-Schulz leaves some rows of a tall matrix much longer than others. One number is kept for
    each row. Steps have the root mean square that AdamW's usually have. For the matrices and
    kernels of hidden layers.

    Elsewhere:
        Li et al.'s normuon.py: `normuon_code`.
        kozistr's NorMuon: an update_scale other than "preserve_norm" gives this scale, after a look
            ahead; in bfloat16.
    """
    m = beta1 * m + (1 - beta1) * g
    o = orthogonalized(m, JORDAN, ns_eps, ns_steps, bfloat16)
    v = beta2 * v + (1 - beta2) * mean(o**2, axis=-1)
    o = o / (sqrt(v) + eps)
    scale = rms_scale * sqrt(size(p, -2) * size(p, -1)) / maximum(norm(o), eps)
    return p - lr * scale * o, m, v


@rule(
    paper="Li et al., 2025. NorMuon: Making Muon more efficient and scalable",
    at="github.com/zichongli5/NorMuon, normuon.py",
    seen="matrix",
    v=zeros(-1),
    card=Card(
        title="NorMuonCode",
        variant_of="normuon",
        differs="momentum form, shape scaling, place of eps",
    ),
    lr=searched(1e-4, 1e-1),
    beta1=_MEAN,
    beta2="decay rate of the mean of each row's squared orthogonalized gradients",
    nesterov=NESTEROV,
    eps="added to the root mean square of each row, and to the norm that a step is divided by",
    ns_eps=NS_EPS,
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
)
def normuon_code(
    p,
    g,
    m,
    v,
    *,
    lr=2e-2,
    beta1=0.95,
    beta2=0.95,
    nesterov=True,
    eps=1e-10,
    ns_eps=1e-7,
    ns_steps=5,
    bfloat16=False,
):
    """NorMuon as in its authors' code: steps as long as Muon's.

    Elsewhere:
        Li et al.'s normuon.py: this rule, in bfloat16; a convolution's kernel is normalized by
            position on the last axis, not by output channel.
        kozistr's NorMuon, microsoft/dion's NorMuon: this rule, in bfloat16.
    """
    m = beta1 * m + (1 - beta1) * g
    u = beta1 * m + (1 - beta1) * g if nesterov else m
    o = orthogonalized(u, JORDAN, ns_eps, ns_steps, bfloat16)
    v = beta2 * v + (1 - beta2) * mean(o**2, axis=-1)
    n = o / (sqrt(v) + eps)
    scale = norm(o) / (norm(n) + eps) * sqrt(maximum(1, size(p, -2) / size(p, -1)))
    return p - lr * scale * n, m, v


@rule(
    paper="Si, Zhang & Shen, 2025. AdaMuon: Adaptive Muon Optimizer",
    at="arXiv:2507.11005v3; github.com/Chongjie-Si/AdaMuon, gpt2/models/optimizers/adamuon.py",
    card=Card(title="AdaMuon"),
    seen="matrix",
    lr=searched(1e-5, 1e-2),
    beta1="decay rate of the mean of the gradients, and of the squares",
    nesterov=NESTEROV,
    eps="added to the root mean square of each entry, and to the norm that a step is divided by",
    rms_scale=RMS_SCALE,
    ns_eps=NS_EPS,
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
)
def adamuon(
    p,
    g,
    m,
    v,
    *,
    lr=1e-3,
    beta1=0.95,
    nesterov=True,
    eps=1e-8,
    rms_scale=0.2,
    ns_eps=1e-7,
    ns_steps=5,
    bfloat16=False,
):
    """Muon on the momentum's signs, with second moments by entry.

    Steps have the root mean square that AdamW's usually have. Where an entry of the orthogonalized
    matrix is zero up to rounding, only eps keeps that rounding from growing. For the matrices and
    kernels of hidden layers.

    Elsewhere:
        Si et al.'s adamuon.py: this rule, in bfloat16; default lr 0.02.
        kozistr's AdaMuon: `adamuon_kozistr`.
    """
    m = beta1 * m + (1 - beta1) * g
    u = beta1 * m + (1 - beta1) * g if nesterov else m
    o = orthogonalized(sign(u), JORDAN, ns_eps, ns_steps, bfloat16)
    v = beta1 * v + (1 - beta1) * o**2
    o = o / (sqrt(v) + eps)
    scale = rms_scale * sqrt(size(p, -2) * size(p, -1)) / (norm(o) + eps)
    return p - lr * scale * o, m, v


@rule(
    paper="Si, Zhang & Shen, 2025. AdaMuon: Adaptive Muon Optimizer",
    at="arXiv:2507.11005, in the form of kozistr's pytorch_optimizer",
    seen="matrix",
    card=Card(
        title="AdaMuonKozistr",
        variant_of="adamuon",
        differs="momentum form, bias correction",
    ),
    lr=searched(1e-4, 1e-1),
    beta1=_MEAN,
    beta2="decay rate of the mean of the squares",
    eps="added to the root mean square of each entry, and to the norm that a step is divided by",
    rms_scale=RMS_SCALE,
    ns_eps=NS_EPS,
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
)
def adamuon_kozistr(
    p,
    g,
    m,
    v,
    t,
    *,
    lr=2e-2,
    beta1=0.9,
    beta2=0.95,
    eps=1e-10,
    rms_scale=0.2,
    ns_eps=1e-7,
    ns_steps=5,
    bfloat16=False,
):
    """AdaMuon on the mean gradient itself, not on its signs.

    Elsewhere:
        kozistr's AdaMuon: this rule, in bfloat16. The correction of v matters only relative to eps,
            since every step is scaled to the same length.
    """
    m = beta1 * m + (1 - beta1) * g
    o = newton_schulz(m, JORDAN, eps=ns_eps, steps=ns_steps, bfloat16=bfloat16)
    v = beta2 * v + (1 - beta2) * o**2
    o = o / (sqrt(v / (1 - beta2**t)) + eps)
    scale = rms_scale * sqrt(size(p, -2) * size(p, -1)) / (norm(o) + eps)
    return p - lr * scale * o, m, v


_SCION = "Pethick et al., 2025. Training Deep Learning Models with Norm-Constrained LMOs"
_ALPHA = Hyperparameter(
    "weight of the newest in the mean of the gradients: one minus its decay rate",
    low=0.0,
    high=1.0,
    open_low=True,
    search=(1e-2, 1.0),
)
_RADIUS = Hyperparameter(
    "radius of the ball of weights, in the layer's norm", low=0.0, open_low=True, search=(1.0, 1e4)
)
_CONSTRAINED = "pull the weights into the ball, by lr of their length; off is unconstrained Scion"


def _witness(norm_type: str, shapes: str) -> Witness:
    return Witness(
        "pytorch_optimizer 4.1.0",
        "pytorch_optimizer.SCION(lr=lr, momentum=alpha, scale=radius, constraint=constrained"
        f"{norm_type})",
        needs={"weight_decay": 0.0, "maximize": False},
        defaults={"constrained": False},
        state={"m": "d"},
        shapes=shapes,
        loud={"alpha": 0.3, "constrained": False},
    )


@rule(
    paper=_SCION,
    at="arXiv:2502.07529; github.com/LIONS-EPFL/scion, scion.py, norm Auto",
    seen="matrix",
    card=Card(names="Scion with spectral norm", witnesses=(_witness("", "vectors"),)),
    lr=searched(1e-4, 1e-1),
    alpha=_ALPHA,
    radius=_RADIUS,
    constrained=_CONSTRAINED,
    eps="vectors: added to the root mean square of the mean",
    ns_eps=NS_EPS,
    ns_steps=STEPS,
    bfloat16=BFLOAT16,
)
def scion(
    p,
    g,
    m,
    *,
    lr=1e-3,
    alpha=0.1,
    radius=1.0,
    constrained=True,
    eps=1e-8,
    ns_eps=1e-7,
    ns_steps=5,
    bfloat16=False,
):
    """Orthogonalized steps that keep weights in a spectral ball.

    For hidden layers: a matrix is orthogonalized, a vector scaled to root mean square 1. Use
    `scion_sign` for the output layer and `scion_rms` for an embedding, each with its own radius;
    then AdamW is not needed at all.

    Elsewhere:
        Pethick et al.'s scion.py: this rule, in bfloat16; the kernel of a convolution of size k is
            divided by k**2, here by k. There alpha is called momentum, and is 1 by default.
        kozistr's SCION: the same; constrained is off by default.
        heavyball.Scion: reinitializes the parameters in the first step.
    """
    m = (1 - alpha) * m + alpha * g
    if ndim(p) >= 2:
        o = orthogonalized(m, JORDAN, ns_eps, ns_steps, bfloat16)
        u = sqrt(size(p, -2) / size(p, -1)) * o
    else:
        u = m / (rms(m) + eps)
    return (p * (1 - lr) if constrained else p) - lr * radius * u, m


@rule(
    paper=_SCION,
    at="arXiv:2502.07529; github.com/LIONS-EPFL/scion, scion.py, norm Sign",
    card=Card(
        names="Scion with sign norm, Scion for output layers",
        witnesses=(_witness(", norm_type=4", "matrices"),),
    ),
    lr=searched(1e-4, 1e-1),
    alpha=_ALPHA,
    radius=_RADIUS,
    constrained=_CONSTRAINED,
)
def scion_sign(p, g, m, *, lr=1e-3, alpha=0.1, radius=1.0, constrained=True):
    """Scion for output layers: signs over the number of inputs.

    The radius is far larger there than in hidden layers: the authors take 3000 against 50 in a
    nanoGPT whose embedding is tied to its output layer.

    Elsewhere:
        Pethick et al.'s scion.py with norm="Sign": this rule. kozistr's SCION with LMONorm.SIGN: this
            rule; constrained is off by default.
    """
    m = (1 - alpha) * m + alpha * g
    u = sign(m) / size(p, -1)
    return (p * (1 - lr) if constrained else p) - lr * radius * u, m


@rule(
    paper=_SCION,
    at="arXiv:2502.07529; github.com/LIONS-EPFL/scion, scion.py, norm ColNorm, transposed",
    card=Card(
        title="ScionRMS",
        names="Scion with column norm, Scion for embeddings",
        witnesses=(_witness(", norm_type=6, norm_kwargs={'transpose': True}", "matrices"),),
    ),
    lr=searched(1e-4, 1e-1),
    alpha=_ALPHA,
    radius=_RADIUS,
    constrained=_CONSTRAINED,
    eps="added to the root mean square of each row",
)
def scion_rms(p, g, m, *, lr=1e-3, alpha=0.1, radius=1.0, constrained=True, eps=1e-8):
    """Scion for embeddings: each row of a step has RMS 1.

    A row is the vector of one token. One that has had no gradient lately takes its step all the same,
    until its mean is as small as eps.

    Elsewhere:
        Pethick et al.'s scion.py with norm="ColNorm", transpose=True: this rule. kozistr's SCION with
            LMONorm.COL and transpose: this rule; constrained is off by default.
    """
    m = (1 - alpha) * m + alpha * g
    u = m / (rms(m, axis=-1) + eps)
    return (p * (1 - lr) if constrained else p) - lr * radius * u, m


@rule(
    paper="Ahn et al., 2025. Dion: Distributed Orthonormalized Updates",
    at="arXiv:2504.05295; github.com/microsoft/dion, dion/dion_simple.py",
    card=Card(names="distributed orthonormalized updates"),
    q=low_rank("rank", axis=-2),
    lr=searched(1e-4, 1e-1),
    momentum="share of what the step has used that stays in the sum of the gradients",
    rank=Hyperparameter("how many directions a step has", low=1, whole=True),
    eps="added to the length of each direction",
)
def dion(p, g, m, q, t, *, lr=1e-2, momentum=0.95, rank=768, eps=1e-8):
    """Low-rank Muon by power iteration, with error feedback.

    For matrices only. A step takes the leading directions of the momentum; the rest stays in it.
    One power iteration, from the directions of the previous step, replaces Newton-Schulz. The first
    directions are random, drawn from the optimizer's seed; the signs that a library's QR chooses do
    not affect the path.

    Elsewhere:
        microsoft/dion: dion_simple.Dion is this rule, with QR in float32; Dion sets the rank as a share
            of the shorter side, and decomposes the transpose of some matrices.
    """
    q = where(t == 1, normal(q), q)
    b = m + g
    o = qr(matmul(b, transpose(q)))[0]
    r = matmul(transpose(b), o)
    m = b - (1 - momentum) * matmul(o, transpose(r))  # what the step leaves out stays
    q = transpose(r / (norm(r, axis=-2) + eps))
    return p - lr * sqrt(size(p, -2) / size(p, -1)) * matmul(o, q), m, q
