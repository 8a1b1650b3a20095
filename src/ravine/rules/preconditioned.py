"""Preconditioners of matrices: Shampoo's roots, SOAP's bases, PSGD's triangles, GaLore's projection."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import (
    abs,
    argsort,
    clip,
    eigh,
    exp,
    greatest,
    inverse_root,
    matmul,
    maximum,
    mean,
    minimum,
    ndim,
    norm,
    normal,
    qr,
    rms,
    solve_triangular,
    sqrt,
    sum,
    take,
    transpose,
    where,
)
from ravine.rule import low_rank, rule, scalar, square


def _every(what):
    return Hyperparameter(
        f"how many steps {what} are used for before they are recomputed", low=1, whole=True
    )


@rule(
    paper="Gupta, Koren & Singer, 2018. Shampoo: Preconditioned Stochastic Tensor Optimization",
    at="arXiv:1802.09568, Algorithm 1",
    seen="matrix",
    left=square(-2),
    right=square(-1),
    left_root=square(-2),
    right_root=square(-1),
    card=Card(
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.Shampoo(lr=lr, matrix_eps=eps)",
                needs={
                    "preconditioning_compute_steps": 1,
                    "momentum": 0.0,
                    "weight_decay": 0.0,
                    "maximize": False,
                },
                shapes="matrices",
                state={
                    "left": "pre_cond_0 - matrix_eps * pre_cond_0.new_ones(pre_cond_0.shape[0]).diag()",
                    "right": "pre_cond_1 - matrix_eps * pre_cond_1.new_ones(pre_cond_1.shape[0]).diag()",
                    "left_root": "inv_pre_cond_0",
                    "right_root": "inv_pre_cond_1",
                },
            ),
        ),
    ),
    lr=searched(1e-4, 1.0),
    eps=Hyperparameter("added to the sums: times the identity", low=0.0, open_low=True),
    every=_every("the roots"),
)
def shampoo(p, g, left, right, left_root, right_root, t, *, lr=1e-3, eps=1e-6, every=1):
    """Adagrad for matrices: the gradient between inverse roots.

    They are the inverse fourth roots of the sums of g gᵀ and gᵀ g. For matrices, and kernels seen
    as matrices; it keeps two square matrices for the rows and two for the columns. The sums only
    grow, so the same gradient makes ever shorter steps.

    Elsewhere:
        kozistr's Shampoo: this rule on matrices. A kernel has a root for each of its axes, a vector
            the inverse square root of its one matrix. With preconditioning_compute_steps = k
            nothing moves before step k; here the roots are computed from the first step on.
        kozistr's ScalableShampoo: means instead of sums, blocks, and the length of another
            optimizer's step.
    """
    left, right = left + matmul(g, transpose(g)), right + matmul(transpose(g), g)
    due = (t - 1) % every == 0
    left_root = where(due, inverse_root(left, 4, eps), left_root)
    right_root = where(due, inverse_root(right, 4, eps), right_root)
    return p - lr * matmul(matmul(left_root, g), right_root), left, right, left_root, right_root


def _turned(x, q_left, q_right):
    """A matrix in the coordinates of two bases."""
    return matmul(matmul(transpose(q_left), x), q_right)


def _nearer(a, q):
    """One step of power iteration: a basis nearer to a's eigenvectors, the largest first; their order."""
    aq = matmul(a, q)
    order = argsort(sum(q * aq, axis=-2), descending=True)
    return qr(take(aq, order))[0], order


@rule(
    paper="Vyas et al., 2024. SOAP: Improving and Stabilizing Shampoo using Adam",
    at="arXiv:2409.11321, Algorithm 3, in the form of github.com/nikhilvyas/SOAP",
    card=Card(title="SOAP", names="Shampoo with Adam in the preconditioner's eigenbasis"),
    seen="matrix",
    left=square(-2),
    right=square(-1),
    q_left=square(-2),
    q_right=square(-1),
    lr=searched(1e-4, 1e-1),
    beta1="decay rate of the mean of the gradients",
    beta2="decay rate of the mean of the squared gradients, in the bases",
    shampoo_beta=Hyperparameter(
        "decay rate of the means of the squared gradients, g gᵀ and gᵀ g",
        low=0.0,
        high=1.0,
        open_high=True,
    ),
    eps="added to the root mean square in the bases, before its bias correction",
    every=_every("the bases"),
)
def soap(
    p,
    g,
    m,
    v,
    left,
    right,
    q_left,
    q_right,
    t,
    *,
    lr=3e-3,
    beta1=0.95,
    beta2=0.95,
    shampoo_beta=0.95,
    eps=1e-8,
    every=10,
):
    """Adam in the eigenbasis of Shampoo's preconditioner.

    The first step only computes the bases; p does not move. Then, every ten steps, each basis takes
    one step of power iteration. Kernels are seen as matrices; of a matrix it keeps two square matrices
    for the rows and two for the columns. Vectors are stepped by Adam, from the second step on. Where
    one side of a matrix is longer than the other, the first gradient does not determine its whole
    basis, and libraries complete it differently.

    Elsewhere:
        Vyas et al.'s soap.py: this rule, with the bases in float32; default weight_decay 1e-2, after the
            step, so (1 - lr * weight_decay) * soap. The kernel of a convolution has a basis for each axis,
            and axes longer than 10000 have none.
        kozistr's SOAP: the same; the first step is the optimizer's, not the tensor's.
        heavyball.SOAP: other debiasing, every second step, and QR of a matrix that is regularized
            where it lacks full rank.
    """
    first, k = t == 1, maximum(t - 1, 1)
    rate = lr * sqrt(1 - beta2**k) / (1 - beta1**k)
    m = where(first, m, beta1 * m + (1 - beta1) * g)
    if ndim(p) < 2:
        v = where(first, v, beta2 * v + (1 - beta2) * g**2)
        p = where(first, p, p - rate * m / (sqrt(v) + eps))
        return p, m, v, left, right, q_left, q_right
    v = where(first, v, beta2 * v + (1 - beta2) * _turned(g, q_left, q_right) ** 2)
    n = _turned(m, q_left, q_right) / (sqrt(v) + eps)
    p = where(first, p, p - rate * _turned(n, transpose(q_left), transpose(q_right)))
    left = shampoo_beta * left + (1 - shampoo_beta) * matmul(g, transpose(g))
    right = shampoo_beta * right + (1 - shampoo_beta) * matmul(transpose(g), g)
    due = (t - 1) % every == 0
    (new_left, order_left), (new_right, order_right) = (
        _nearer(left, q_left),
        _nearer(right, q_right),
    )
    v = where(first, v, where(due, take(take(v, transpose(order_left), -2), order_right), v))
    q_left = where(first, eigh(left)[1], where(due, new_left, q_left))
    q_right = where(first, eigh(right)[1], where(due, new_right, q_right))
    return p, m, v, left, right, q_left, q_right


def _upper(x):
    """The upper triangle of a matrix."""
    row, column = (
        argsort(0 * x, axis=-2),
        argsort(0 * x, axis=-1),
    )  # where all are equal: 0, 1, 2, ...
    return where(row <= column, x, 0.0)


def _at_most_the_norm(a):
    """A lower bound of a symmetric matrix's spectral norm: power iteration from its longest row."""
    largest = greatest(abs(a))
    a = a / largest
    squares = sum(a * a, axis=-2)
    row = matmul(where(squares == greatest(squares), 1.0, 0.0), a)
    x = matmul(row, a)
    return largest * norm(matmul(x / norm(x), a))


def _fitted(q, a, b, precond_lr):
    """A triangle, moved one step towards where a and b agree."""
    size = maximum(_at_most_the_norm(a + b), 1e-38)
    return q - matmul(_upper(precond_lr * (a - b)) / size, q)


@rule(
    paper="Li, 2018. Preconditioned Stochastic Gradient Descent",
    at="arXiv:1512.04202; github.com/evanatyourservice/kron_torch, kron_torch/kron.py",
    seen="matrix",
    q_left=square(-2, 1.0),
    q_right=square(-1, 1.0),
    since=scalar(0.0),
    card=Card(
        title="PSGDKron",
        names="PSGD, Kron, preconditioned stochastic gradient descent, Kronecker-factored PSGD",
    ),
    lr=searched(1e-5, 1e-2),
    beta1="decay rate of the mean of the gradients",
    precond_lr=Hyperparameter("how far the preconditioner moves", low=0.0, search=(1e-2, 1.0)),
    least=Hyperparameter(
        "the share of steps in which the preconditioner moves, in the end", 0.0, 1.0, open_low=True
    ),
    decay=Hyperparameter("how fast that share falls", low=0.0),
    flat_start=Hyperparameter("in how many steps at first it always moves", low=0.0),
    damping=Hyperparameter("noise that is added to the gradient, in its mean size", low=0.0),
    most=Hyperparameter("largest root mean square of a step of lr 1", low=0.0, open_low=True),
)
def psgd_kron(
    p,
    g,
    m,
    q_left,
    q_right,
    since,
    t,
    *,
    lr=3e-4,
    beta1=0.9,
    precond_lr=0.1,
    least=0.03,
    decay=1e-3,
    flat_start=500,
    damping=2**-11.5,
    most=1.1,
):
    """The gradient whitened on both sides by triangular matrices.

    For matrices, and kernels seen as matrices; vectors are better off with AdamW. A fit moves the
    triangles a little, with random numbers drawn from the optimizer's seed. During the flat start
    every step fits them; after it, fewer and fewer steps do, at regular intervals.

    Elsewhere:
        kron_torch's Kron: this rule except for its random numbers, with triangular solves in float32. A
            vector has a diagonal, and an axis longer than 8192 too. About every hundredth time it
            balances the triangles' sizes by chance, which changes neither step nor fit; here each time.
        kozistr's Kron: no damping; default lr 1e-3.
        heavyball.PSGDKron: other first triangles, and another lower bound of the norm.
    """
    m = beta1 * m + (1 - beta1) * g
    m_hat = m / (1 - beta1**t)
    since = since + 1
    due = since * clip(exp(-decay * (t - 1 - flat_start)), least, 1.0) >= 1
    since = where(due, 0.0, since)
    z = normal(p)
    a = matmul(matmul(q_left, m_hat + damping * mean(abs(m_hat)) * z), transpose(q_right))
    b = transpose(solve_triangular(q_right, transpose(z), lower=False, transposed=True))
    b = solve_triangular(q_left, b, lower=False, transposed=True)
    new_left = _fitted(q_left, matmul(a, transpose(a)), matmul(b, transpose(b)), precond_lr)
    new_right = _fitted(q_right, matmul(transpose(a), a), matmul(transpose(b), b), precond_lr)
    balance = sqrt(greatest(abs(new_right)) / greatest(abs(new_left)))
    q_left, q_right = (
        where(due, new_left * balance, q_left),
        where(due, new_right / balance, q_right),
    )
    u = matmul(
        matmul(matmul(transpose(q_left), matmul(q_left, m_hat)), transpose(q_right)), q_right
    )
    return p - lr * minimum(1.0, most / (rms(u) + 1e-12)) * u, m, q_left, q_right, since


def _leading(g, like):
    """As many left singular vectors as `like` has columns, each with entries whose sum is not negative."""
    order = argsort(0 * like)  # 0, 1, 2, ... in each row
    q = take(eigh(-matmul(g, transpose(g)))[1], order)
    return q * where(sum(q, axis=-2) < 0, -1.0, 1.0)


@rule(
    paper="Zhao et al., 2024. GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection",
    at="arXiv:2403.03507, Algorithm 2",
    card=Card(
        title="GaLore",
        names="gradient low-rank projection, GaLoreAdamW, Adam with GaLore",
    ),
    seen="matrix",
    m=low_rank("rank", axis=-2),
    v=low_rank("rank", axis=-2),
    q=low_rank("rank"),
    lr=searched(1e-4, 1e-1),
    beta1="decay rate of the mean of the gradients, projected",
    beta2="decay rate of the mean of the squared gradients, projected",
    eps="added to the root mean square",
    rank=Hyperparameter("how many directions the gradient is projected to", low=1, whole=True),
    every=_every("the directions"),
    scale=Hyperparameter("factor of the step, beside lr", low=0.0, search=(0.05, 1.0)),
)
def galore(
    p,
    g,
    m,
    v,
    q,
    t,
    *,
    lr=1e-2,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    rank=128,
    every=200,
    scale=0.25,
):
    """Adam on a low-rank projection of the gradient.

    For matrices, and kernels seen as matrices; the rest goes to AdamW. The columns are projected
    onto the leading left singular vectors of the gradient, recomputed every 200 steps. The means
    are not changed with the directions, so the signs of these matter: here the entries of each have
    a sum above zero.

    Elsewhere:
        Zhao et al.'s galore_torch: the shorter side is projected (proj_type="left": this rule), by an SVD
            in float32, with the signs that the library chooses; eps 1e-6, before the bias correction.
        kozistr's GaLore: the same; new directions at steps 1, k, 2k, ... instead of 1, k + 1, 2k +
            1, ...
        optax.contrib.galore: the longer side is projected.
    """
    q = where((t - 1) % every == 0, _leading(g, q), q)
    low = matmul(transpose(q), g)
    m = beta1 * m + (1 - beta1) * low
    v = beta2 * v + (1 - beta2) * low**2
    n = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
    return p - lr * scale * matmul(q, n), m, v, q
