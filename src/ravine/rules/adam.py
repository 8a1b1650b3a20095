"""Adam and its nearest relatives: the mean gradient over its root mean square."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter
from ravine.modifiers import decoupled_decay
from ravine.ops import abs, maximum, sqrt, where
from ravine.rule import rule, scalar

# lr is searched around its default: AlgoPerf's space for NAdamW, 1e-4 to 1e-2, lies within.
_MEAN = "decay rate of the mean of the gradients"
_SQUARES = "decay rate of the mean of the squared gradients"
_EPS = "added to the root mean square of the gradients"
_EPS_HAT = "added to the root mean square before its bias correction"
_TORCH = "lr=lr, betas=(beta1, beta2), eps=eps"
_OPTAX = "lr, b1=beta1, b2=beta2, eps=eps"
_KERAS = "learning_rate=lr, beta_1=beta1, beta_2=beta2, epsilon=eps"
_STATE = {"m": "exp_avg", "v": "exp_avg_sq"}


@rule(
    paper="Kingma & Ba, 2015. Adam: A Method for Stochastic Optimization",
    at="arXiv:1412.6980, Algorithm 1",
    card=Card(
        names="adaptive moment estimation",
        witnesses=(
            Witness(
                "torch 2.13.0",
                f"torch.optim.Adam({_TORCH})",
                needs={"weight_decay": 0, "amsgrad": False, "maximize": False},
                state=_STATE,
                late=True,
            ),
            Witness("optax 0.2.8", f"optax.adam({_OPTAX})", state={"m": "mu", "v": "nu"}),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
)
def adam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """The mean gradient over its root mean square, bias-corrected.

    Elsewhere:
        torch.optim.Adam: this rule.
        TensorFlow, Keras: eps is added before v is bias-corrected (the form at the end of the
            paper's section 2), so it acts like eps / sqrt(1 - beta2**t): 32 times stronger in the
            first step. Keras: default eps 1e-7.
        optax.adam: this rule; eps_root adds a second eps inside the root.
    """
    m = beta1 * m + (1 - beta1) * g  # biased first moment
    v = beta2 * v + (1 - beta2) * g**2  # biased second raw moment
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule(
    paper="Reddi, Kale & Kumar, 2018. On the Convergence of Adam and Beyond",
    at="arXiv:1904.09237, Algorithm 2, with Adam's bias corrections as in torch.optim",
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
)
def amsgrad(p, g, m, v, v_max, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam over its largest mean square so far.

    v_max never falls, but 1 / (1 - beta2**t) does, from 1000 to 1 at the default beta2. So the denominator
    can shrink while the bias correction fades.

    Elsewhere:
        torch.optim.Adam(amsgrad=True): this rule; the maximum is taken before the bias correction.
        optax.amsgrad: the maximum after the bias correction.
        Keras: the maximum before, eps as in its Adam.
        Reddi et al. 2018: no bias correction, no eps.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    v_max = maximum(v_max, v)
    m_hat = m / (1 - beta1**t)
    v_hat = v_max / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v, v_max


@rule(
    paper="Kingma & Ba, 2015. Adam: A Method for Stochastic Optimization",
    at="arXiv:1412.6980, the end of section 2",
    card=Card(
        variant_of="adam",
        differs="place of eps",
        witnesses=(
            Witness("keras 3.15.1", f"keras.optimizers.Adam({_KERAS})", defaults={"eps": 1e-7}),
        ),
    ),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS_HAT,
)
def adam_eps_hat(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam with eps before the bias correction: eps-hat.

    eps / sqrt(1 - beta2**t) in the place of Adam's eps: 32 times as strong in the first step.

    Elsewhere:
        torch.optim.SparseAdam: this rule, on the rows that the sparse gradient has.
        TensorFlow, Keras: this rule is their Adam. Keras: default eps 1e-7.
        torch.optim.Adam, optax.adam: `adam`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    rate = lr * sqrt(1 - beta2**t) / (1 - beta1**t)
    return p - rate * m / (sqrt(v) + eps), m, v


@rule(
    paper="Kingma & Ba, 2015. Adam: A Method for Stochastic Optimization",
    at="arXiv:1412.6980, Algorithm 2",
    beta1=_MEAN,
    beta2="decay rate of the largest size that a gradient had",
    eps="added to the size of each gradient",
)
def adamax(p, g, m, u, t, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam over the largest recent gradient.

    Elsewhere:
        torch.optim.Adamax: this rule; eps is added to the new gradient's size.
        Kingma & Ba 2015: no eps.
        Keras: eps 1e-7, added to u where it divides; lr 1e-3.
        optax.adamax: this rule.
    """
    m = beta1 * m + (1 - beta1) * g
    u = maximum(beta2 * u, abs(g) + eps)
    return p - lr / (1 - beta1**t) * m / u, m, u


@rule(
    paper="Dozat, 2016. Incorporating Nesterov Momentum into Adam",
    at="openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, Algorithm 2, in the form of torch.optim.NAdam",
    mu_product=scalar(1.0),
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS,
    momentum_decay=Hyperparameter(
        "how fast the momentum warms up: half of it is there at first, 3/4 after 17 / this steps",
        low=0.0,
        search=(1e-4, 1.0),
    ),
)
def nadam(
    p, g, m, v, mu_product, t, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=4e-3
):
    """Adam with Nesterov's look ahead and warmed-up momentum.

    Elsewhere:
        torch.optim.NAdam: this rule.
        Dozat 2016: v_hat is multiplied by beta2, too.
        Keras: momentum_decay 1, so the momentum is there after a hundred steps; eps 1e-7, lr 1e-3.
        optax.nadam: no warm-up: mu is beta1 in every step.
    """
    mu = beta1 * (1 - 0.5 * 0.96 ** (momentum_decay * t))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** (momentum_decay * (t + 1)))
    mu_product = mu_product * mu
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = mu_next * m / (1 - mu_product * mu_next) + (1 - mu) * g / (1 - mu_product)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + eps), m, v, mu_product


@rule(
    paper="Liu et al., 2020. On the Variance of the Adaptive Learning Rate and Beyond",
    at="arXiv:1908.03265, Algorithm 2",
    beta1=_MEAN,
    beta2=_SQUARES,
    eps=_EPS_HAT,
)
def radam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam that trusts its denominator only as it gets to know it.

    rho is how many gradients the mean of squares amounts to. Up to 5 of them the step is that of
    momentum, and then grows from 0 to Adam's: a warm-up that nobody has to set.

    Elsewhere:
        torch.optim.RAdam: this rule; eps is added before the bias correction, as in `adam_eps_hat`.
        Liu et al. 2020: no eps; rectified from rho > 4 on.
        optax.radam: rectified from rho >= 5 on; eps after the bias correction, as in `adam`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    rho_max = 2 / (1 - beta2) - 1
    rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
    r = sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
    return p - lr * m_hat * where(rho > 5, r * sqrt(1 - beta2**t) / (sqrt(v) + eps), 1.0), m, v


adamw = decoupled_decay(adam, weight_decay=1e-2).named(
    "adamw",
    paper="Loshchilov & Hutter, 2019. Decoupled Weight Decay Regularization",
    at="arXiv:1711.05101, Algorithm 2",
    doc="""Adam with decoupled weight decay.

    The weights shrink by lr * weight_decay, and then step; in `l2(adam)` the decay joins the
    gradient and is divided by its root mean square.

    Elsewhere:
        torch.optim.AdamW: this rule; the decay is lr * weight_decay.
        Loshchilov & Hutter 2019: the decay is multiplied by the schedule alone, not by lr.
        optax.adamw: the decay joins the step, from the same weights: equal to rounding; default 1e-4.
        Keras: equal to rounding; default 4e-3. There `weight_decay` is decoupled in every optimizer,
            where torch's SGD, RMSprop and Adam have L2.
    """,
)
