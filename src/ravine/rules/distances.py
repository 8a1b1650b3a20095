"""Parameter-free: DoG and its relatives, with lr from how far the weights have moved."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import maximum, norm, sqrt, sum, total, where
from ravine.rule import like_p, rule, scalar, shared

_LR = searched(1e-2, 10.0)  # a factor of the estimate: all of these papers have 1
_R_REL = Hyperparameter(
    "first distance, as a share of 1 + the norm of the weights; 1e-4 with batch normalization",
    low=0.0,
    open_low=True,
    search=(1e-8, 1e-3),
)
_DOG_EPS = "added to the sum of the squared gradients"


@rule(
    paper="Ivgi, Hinder & Carmon, 2023. DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size "
    "Schedule",
    at="arXiv:2302.12022",
    p0=like_p,
    r_max=shared(0.0),
    g_sum=shared(0.0),
    card=Card(
        title="DoG",
        names="distance over gradients",
        witnesses=(
            Witness(
                "dog-optimizer 1.0.3",
                "dog.DoG(lr=lr, reps_rel=reps_rel, eps=eps)",
                needs={"weight_decay": 0.0, "init_eta": None},
                state={"p0": "init_buffer[place]", "r_max": "rbar", "g_sum": "G - eps"},
                by_group=True,
            ),
            Witness(
                "optax 0.2.8",
                "optax.contrib.dog(lr, init_step=('heuristic', reps_rel), eps=eps)",
                needs={"weight_decay": None},
                loud={"reps_rel": 1e-3},
            ),
        ),
    ),
    lr=_LR,
    reps_rel=_R_REL,
    eps=_DOG_EPS,
)
def dog(p, g, p0, r_max, g_sum, *, lr=1.0, reps_rel=1e-6, eps=1e-8):
    """SGD with lr from the distance moved and past gradients.

    The rate is the largest distance from the start, over the root of the sum of all squared
    gradients; there is one for all tensors. The authors evaluate with an average of the weights,
    and find that necessary. The first step is as short as reps_rel says; the steps then grow with
    the distance.

    Elsewhere:
        dog.DoG (the authors'): this rule for each group, since distances and gradients are a group's.
            All parameters need gradients from the first step on. Weight decay is `l2(dog)`.
        optax.contrib.dog: this rule. init_step may also be a distance, or the first learning rate.
    """
    start = where(r_max > 0, r_max, reps_rel * (1 + sqrt(total(p**2))))
    r_max = maximum(start, sqrt(total((p - p0) ** 2)))
    g_sum = g_sum + total(g**2)
    return p - lr * r_max / sqrt(g_sum + eps) * g, p0, r_max, g_sum


@rule(
    paper="Ivgi, Hinder & Carmon, 2023. DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size "
    "Schedule",
    at="arXiv:2302.12022, L-DoG",
    p0=like_p,
    r_max=scalar(0.0),
    g_sum=scalar(0.0),
    card=Card(
        title="LDoG",
        names="layer-wise DoG",
        variant_of="dog",
        differs="scope",
        witnesses=(
            Witness(
                "dog-optimizer 1.0.3",
                "dog.LDoG(lr=lr, reps_rel=reps_rel, eps=eps)",
                needs={"weight_decay": 0.0, "init_eta": None},
                state={
                    "p0": "init_buffer[place]",
                    "r_max": "rbar[place]",
                    "g_sum": "G[place] - eps",
                },
                counted=False,
                by_group=True,
            ),
        ),
    ),
    lr=_LR,
    reps_rel=_R_REL,
    eps=_DOG_EPS,
)
def ldog(p, g, p0, r_max, g_sum, t, *, lr=1.0, reps_rel=1e-6, eps=1e-8):
    """DoG with a rate for each tensor.

    Elsewhere:
        dog.LDoG (the authors'): this rule. Weight decay is `l2(ldog)`.
    """
    r_max = where(t == 1, reps_rel * (1 + norm(p)), maximum(r_max, norm(p - p0)))
    g_sum = g_sum + sum(g**2)
    return p - lr * r_max / sqrt(g_sum + eps) * g, p0, r_max, g_sum


@rule(
    paper="Khaled, Mishchenko & Jin, 2023. DoWG Unleashed: An Efficient Universal Parameter-Free "
    "Gradient Descent Method",
    at="arXiv:2305.16284",
    p0=like_p,
    r_max=shared("r_eps"),
    g_sum=shared(0.0),
    card=Card(
        title="DoWG",
        names="distance over weighted gradients",
        witnesses=(
            Witness(
                "optax 0.2.8",
                "optax.contrib.dowg(lr, init_estim_sq_dist=r_eps**2, eps=eps)",
                needs={"weight_decay": None},
                loud={"r_eps": 0.3},
                note="Its init_estim_sq_dist is r_eps squared.",
            ),
            Witness(
                "dowgopt 0.13",
                "dowg.DoWG(eps=eps)",
                state={"p0": "x0[place]", "r_max": "rt2**0.5", "g_sum": "vt"},
                by_group=True,
                shapes="matrices",
                loud={"r_eps": 0.1},
                constant_lr=True,
                note="Its eps is the square of r_eps as well.",
            ),
        ),
    ),
    lr=_LR,
    r_eps=Hyperparameter(
        "distance that is taken for granted at first", low=0.0, open_low=True, search=(1e-6, 1e-1)
    ),
    eps="added to the root of the sum of the squared gradients, weighted",
)
def dowg(p, g, p0, r_max, g_sum, *, lr=1.0, r_eps=1e-2, eps=1e-4):
    """DoG with gradients weighted by the distance at the time.

    Early gradients count less, and the rate adapts to smooth and nonsmooth problems alike.

    Elsewhere:
        dowg.DoWG (the authors', dowgopt): this rule, with eps for r_eps**2.
        optax.contrib.dowg: this rule; init_estim_sq_dist is r_eps**2.
        Khaled et al. 2023: no eps and no lr.
    """
    r_max = maximum(r_max, sqrt(total((p - p0) ** 2)))
    g_sum = g_sum + r_max**2 * total(g**2)
    return p - lr * r_max**2 / (sqrt(g_sum) + eps) * g, p0, r_max, g_sum
