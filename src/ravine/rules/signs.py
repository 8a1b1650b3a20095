"""Sign-based steps: only the sign of the gradient counts, or of a mean of gradients."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.modifiers import decoupled_decay
from ravine.ops import sign
from ravine.rule import rule

# Every coordinate moves by lr, so it is a length in the weights' units, as Adam's is.
_LR = searched(1e-5, 1e-1)
_MEAN = Hyperparameter(
    "decay rate of the mean of the gradients",
    0.0,
    1.0,
    open_high=True,
    search=(1e-3, 1.0),
    towards=1.0,
)
_KEPT = "decay rate of the mean of the gradients"
_USED = "weight of the mean in the sum whose sign is taken; the rest is the new gradient"


@rule(
    paper="Bernstein et al., 2018. signSGD: Compressed Optimisation for Non-Convex Problems",
    at="arXiv:1802.04434, Algorithm 1",
    card=Card(
        title="SignSGD",
        names="sign gradient descent",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.SignSGD(lr=lr, momentum=0.0)",
                needs={"weight_decay": 0.0, "maximize": False},
                late=True,
            ),
            Witness("optax 0.2.8", "optax.sign_sgd(lr)"),
        ),
    ),
    lr=_LR,
)
def signsgd(p, g, *, lr=1e-3):
    """Each weight moves by lr, against its gradient's sign.

    Workers that train together need to exchange only one bit per weight. The gradients of small
    batches change their signs by chance, and steps do not get shorter near a minimum, so lr has to
    fall.

    Elsewhere:
        optax.sign_sgd: this rule. kozistr.SignSGD: this rule, with momentum=0.
        Bernstein et al. 2018: lr 1e-4; between machines the majority of the signs is taken.
    """
    return p - lr * sign(g)


@rule(
    paper="Bernstein et al., 2018. signSGD: Compressed Optimisation for Non-Convex Problems",
    at="arXiv:1802.04434, Algorithm 2",
    card=Card(
        names="signSGD with momentum, SignSGDM",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.SignSGD(lr=lr, momentum=beta)",
                needs={"weight_decay": 0.0, "maximize": False},
                state={"m": "momentum_buffer"},
                late=True,
            ),
            Witness("optax 0.2.8", "optax.signum(lr, beta=beta)", state={"m": "ema"}),
        ),
    ),
    lr=_LR,
    beta=_MEAN,
)
def signum(p, g, m, *, lr=1e-3, beta=0.9):
    """Each weight moves by lr, against its mean gradient's sign.

    Elsewhere:
        optax.signum: this rule. kozistr.SignSGD: this rule; beta is called momentum.
        Bernstein et al. 2018: lr 1e-4.
    """
    m = beta * m + (1 - beta) * g
    return p - lr * sign(m), m


tiger = decoupled_decay(signum).named(
    "tiger",
    paper="Su, 2023. Tiger: A Tight-fisted Optimizer",
    at="github.com/bojone/tiger, spaces.ac.cn/archives/9512, the basic form",
    card=Card(
        names="tight-fisted optimizer",
        variant_of="signum",
        differs="decay form",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.Tiger(lr=lr, beta=beta, weight_decay=weight_decay)",
                needs={"weight_decouple": True, "fixed_decay": False, "maximize": False},
                state={"m": "exp_avg"},
                late=True,
            ),
        ),
    ),
    doc="""Signum with decoupled weight decay.

    It is Lion with one decay rate instead of two. The author recommends beta 0.965 for language and
    0.945 for images, and no decay of biases and gains. Only the mean is used in a step, so gradients
    can be accumulated in it, without another array.

    Elsewhere:
        kozistr.Tiger: this rule.
        bojone/tiger, for Keras: the lr of a matrix is also multiplied by the root mean square of its
            weights, that of biases and gains by 1/2, and where a gradient is NaN the weights shrink by
            1% instead.
    """,
    beta=0.965,
    weight_decay=1e-2,
)


@rule(
    paper="Chen et al., 2023. Symbolic Discovery of Optimization Algorithms",
    at="arXiv:2302.06675",
    card=Card(
        names="evolved sign momentum",
        witnesses=(
            Witness(
                "lion-pytorch 0.2.5",
                "lion_pytorch.Lion(lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)",
                needs={"decoupled_weight_decay": False},
                state={"m": "exp_avg"},
                late=True,
            ),
            Witness(
                "timm 1.0.31",
                "timm.optim.Lion(lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)",
                needs={"caution": False, "corrected_weight_decay": False, "maximize": False},
                state={"m": "exp_avg"},
                late=True,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.Lion(lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)",
                needs={"weight_decouple": True, "fixed_decay": False, "maximize": False},
                state={"m": "exp_avg"},
                late=True,
            ),
            Witness(
                "torch-optimi 0.3.3",
                "optimi.Lion(lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)",
                needs={"decouple_lr": False},
                state={"m": "exp_avg"},
                late=True,
            ),
            Witness(
                "optax 0.2.8",
                "optax.lion(lr, b1=beta1, b2=beta2, weight_decay=weight_decay)",
                defaults={"weight_decay": 1e-3},
                state={"m": "mu"},
            ),
            Witness(
                "keras 3.15.1",
                "keras.optimizers.Lion(learning_rate=lr, beta_1=beta1, beta_2=beta2, "
                "weight_decay=weight_decay)",
                defaults={"lr": 1e-3},
                state={"m": "momentum"},
            ),
        ),
    ),
    lr=searched(1e-6, 1e-2),
    beta1=_USED,
    beta2=_KEPT,
    weight_decay=Hyperparameter(
        "the weights shrink by lr times this in each step", 0.0, search=(1e-4, 10.0)
    ),
)
def lion(p, g, m, *, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
    """The sign of a mix of the gradient and its mean, times lr.

    Found by a search over programs. It keeps one array, where Adam keeps two. Its steps are longer than
    Adam's at the same lr: the paper recommends an lr 3 to 10 times smaller than AdamW's, and a
    weight_decay as many times larger.

    Elsewhere:
        lion-pytorch, timm, kozistr, optimi, optax, Keras: this rule; weight_decay 1e-3 in optax and 0
            elsewhere, lr 1e-3 in Keras and 1e-4 elsewhere.
        timm, with caution=True, kozistr, with cautious=True: a mask on the steps, of which the two
            differ in what it is divided by.
    """
    c = beta1 * m + (1 - beta1) * g
    m = beta2 * m + (1 - beta2) * g
    return p - lr * (sign(c) + weight_decay * p), m
