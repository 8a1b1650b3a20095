"""Gradient descent and momentum: walk downhill, then roll."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import where
from ravine.rule import rule, several

# AlgoPerf tunes Nesterov's from 2e-2 to 5; small rates are for gradients that are sums over samples.
_LR = searched(1e-4, 10.0)
_MOMENTUM = Hyperparameter(
    "share of the velocity kept from step to step", low=0.0, search=(1e-3, 1.0), towards=1.0
)


@rule(
    paper="Robbins & Monro, 1951. A Stochastic Approximation Method",
    at="doi:10.1214/aoms/1177729586 (Cauchy, 1847, for the full gradient)",
    card=Card(
        title="SGD",
        names="gradient descent, GD, steepest descent, plain SGD, plain gradient descent, vanilla SGD, "
        "vanilla GD, vanilla gradient descent, batch GD, batch gradient descent, full-batch gradient "
        "descent, stochastic gradient descent, mini-batch SGD, mini-batch GD, mini-batch gradient descent",
        witnesses=(
            Witness(
                "torch 2.13.0",
                "torch.optim.SGD(lr=lr)",
                needs={"momentum": 0, "weight_decay": 0, "maximize": False},
                late=True,
            ),
            Witness(
                "keras 3.15.1",
                "keras.optimizers.SGD(learning_rate=lr)",
                needs={"momentum": 0.0, "weight_decay": None},
                defaults={"lr": 0.01},
            ),
            Witness("optax 0.2.8", "optax.sgd(lr)", needs={"momentum": None}),
            Witness(
                "torch-optimi 0.3.3",
                "optimi.SGD(lr=lr)",
                needs={"momentum": 0, "weight_decay": 0},
                late=True,
            ),
        ),
    ),
    lr=_LR,
)
def sgd(p, g, *, lr=1e-3):
    """Gradient descent: a step of lr against the gradient.

    With the gradient of one sample it is SGD, of several, mini-batch descent, and of all of them,
    gradient descent. The rule is the same.

    Elsewhere:
        torch.optim.SGD: this rule, with momentum=0; default lr 1e-3.
        Keras: this rule, with momentum=0; default lr 0.01.
        optax.sgd: this rule, without momentum; lr has no default.
    """
    return p - lr * g


@rule(
    paper="Polyak, 1964. Some methods of speeding up the convergence of iteration methods",
    at="doi:10.1016/0041-5553(64)90137-5, the two-step method, in the form of torch.optim.SGD",
    card=Card(
        names="SGD with momentum, SGD momentum, momentum SGD, SGDM, gradient descent with momentum, GD with "
        "momentum, momentum GD, momentum gradient descent, stochastic gradient descent with momentum, "
        "mini-batch gradient descent with momentum, mini-batch SGD with momentum",
        note="lr is outside the velocity, as in torch.optim and optax; in Keras and the textbooks it is "
        "inside (momentum_classical). The two are equal while lr is constant",
        witnesses=(
            Witness(
                "torch 2.13.0",
                "torch.optim.SGD(lr=lr, momentum=momentum, dampening=dampening)",
                needs={"nesterov": False, "weight_decay": 0, "maximize": False},
                defaults={"momentum": 0.0},
                state={"b": "momentum_buffer"},
                counted=False,
                late=True,
            ),
            Witness(
                "optax 0.2.8",
                "optax.sgd(lr, momentum=momentum)",
                needs={"nesterov": False},
                state={"b": "trace"},
            ),
            Witness(
                "torch-optimi 0.3.3",
                "optimi.SGD(lr=lr, momentum=momentum)",
                needs={"dampening": False, "weight_decay": 0},
                defaults={"momentum": 0.0},
                state={"b": "exp_avg"},
                counted=False,
                late=True,
            ),
        ),
    ),
    lr=_LR,
    momentum=_MOMENTUM,
    dampening="share of the gradient kept out of the velocity",
)
def momentum(p, g, b, t, *, lr=1e-3, momentum=0.9, dampening=0.0):
    """Momentum as in torch: lr outside the velocity.

    Elsewhere:
        torch.optim.SGD: this rule; the buffer starts at g, so the first gradient is not dampened.
            With momentum=0 it is `sgd`, and dampening is ignored.
        optax.sgd: the buffer starts at zero; there is no dampening. Equal to this at dampening 0.
        Polyak, Sutskever et al. 2013, Keras: lr inside the velocity, so that a change of lr takes
            effect only as the velocity turns over: `momentum_classical`. Equal at constant lr.
    """
    b = where(t == 1, g, momentum * b + (1 - dampening) * g)
    return p - lr * b, b


@rule(
    paper="Nesterov, 1983; Sutskever et al., 2013. On the importance of initialization and momentum",
    at="Sutskever et al., equations 3-4, in the form of torch.optim.SGD(nesterov=True)",
    card=Card(
        names="Nesterov momentum, Nesterov accelerated gradient, Nesterov's accelerated gradient descent, "
        "NAG, accelerated gradient, SGD with Nesterov, SGD with Nesterov momentum, SGD Nesterov, Nesterov "
        "SGD, Nesterov gradient descent, gradient descent with Nesterov momentum, momentum with Nesterov",
        witnesses=(
            Witness(
                "torch 2.13.0",
                "torch.optim.SGD(lr=lr, momentum=momentum, nesterov=True)",
                needs={"dampening": 0, "weight_decay": 0, "maximize": False},
                defaults={"momentum": 0.0},
                state={"b": "momentum_buffer"},
                counted=False,
                late=True,
            ),
            Witness(
                "optax 0.2.8",
                "optax.sgd(lr, momentum=momentum, nesterov=True)",
                state={"b": "trace"},
            ),
        ),
    ),
    lr=_LR,
    momentum=_MOMENTUM,
)
def nesterov(p, g, b, t, *, lr=1e-3, momentum=0.9):
    """Nesterov's momentum as in torch: look one velocity ahead.

    The parameter held is the point looked ahead to, so that one gradient per step is enough
    (Bengio et al. 2013, arXiv:1212.0901, section 3.5).

    Elsewhere:
        torch.optim.SGD: this rule, with nesterov=True; momentum must not be 0, dampening must.
        optax.sgd: this rule, with nesterov=True.
        Sutskever et al. 2013, Keras: lr inside the velocity: `nesterov_classical`. Equal at constant lr.
    """
    b = where(t == 1, g, momentum * b + g)
    return p - lr * (g + momentum * b), b


@rule(
    paper="Nesterov, 1983; Sutskever et al., 2013. On the importance of initialization and momentum",
    at="Sutskever et al., equations 3-4, seen from the point looked ahead to",
    card=Card(
        variant_of="nesterov",
        differs="place of lr",
        witnesses=(
            Witness(
                "keras 3.15.1",
                "keras.optimizers.SGD(learning_rate=lr, momentum=momentum, nesterov=True)",
                needs={"weight_decay": None},
                defaults={"lr": 0.01, "momentum": 0.0},
                state={"v": "-momentum"},
                note="its velocity has the opposite sign",
            ),
        ),
    ),
    lr=_LR,
    momentum=_MOMENTUM,
)
def nesterov_classical(p, g, v, *, lr=1e-3, momentum=0.9):
    """Nesterov's momentum as in the paper: lr inside the velocity.

    The parameter held is the point looked ahead to. A change of lr takes effect only as the velocity
    turns over.

    Elsewhere:
        Sutskever et al. 2013: this rule, if lr is constant: there the velocity looked ahead by is that
            of the step before, so momentum * v does not have the new lr in it.
        Keras: this rule, with nesterov=True and the opposite sign of v.
        torch.optim.SGD, optax.sgd: lr outside the velocity: `nesterov`.
    """
    v = momentum * v + lr * g
    return p - (lr * g + momentum * v), v


@rule(
    paper="Polyak, 1964. Some methods of speeding up the convergence of iteration methods",
    at="doi:10.1016/0041-5553(64)90137-5, the two-step method; Sutskever et al., 2013, equations 1-2",
    card=Card(
        names="heavy ball, heavy ball momentum, Polyak momentum, Polyak's heavy ball, classical momentum, "
        "SGD with classical momentum, SGD with heavy ball momentum, SGD with Polyak momentum",
        note="lr is inside the velocity, as in Polyak 1964 and Keras; in torch.optim and optax it is "
        "outside (momentum). The two are equal while lr is constant",
        variant_of="momentum",
        differs="place of lr, first step",
        witnesses=(
            Witness(
                "keras 3.15.1",
                "keras.optimizers.SGD(learning_rate=lr, momentum=momentum)",
                needs={"nesterov": False, "weight_decay": None},
                defaults={"lr": 0.01, "momentum": 0.0},
                state={"v": "-momentum"},
                note="its velocity has the opposite sign",
            ),
        ),
    ),
    lr=_LR,
    momentum=_MOMENTUM,
)
def momentum_classical(p, g, v, *, lr=1e-3, momentum=0.9):
    """Momentum as in the textbooks: lr inside the velocity.

    Elsewhere:
        Polyak 1964: the same points, written without v: the step before, times momentum, is added.
        Keras: this rule, with the opposite sign of v.
        torch.optim.SGD, optax.sgd, TensorFlow 1: lr outside the velocity: `momentum`.
    """
    v = momentum * v + lr * g
    return p - v, v


@rule(
    paper="Ng, Katanforoosh & Bensouda Mourri, 2017. Improving Deep Neural Networks, deeplearning.ai",
    at="week 2, Gradient descent with momentum: the exponentially weighted average, starting at zero",
    card=Card(
        title="MomentumEMA",
        names="EMA momentum, deeplearning.ai momentum, course momentum",
        variant_of="momentum",
        differs="averaging, first step",
        witnesses=(
            Witness(
                "torch-optimi 0.3.3",
                "optimi.SGD(lr=lr, momentum=beta1, dampening=True)",
                needs={"torch_init": False, "weight_decay": 0},
                defaults={"beta1": 0.0},
                state={"v": "exp_avg"},
                late=True,
            ),
        ),
    ),
    lr=_LR,
    beta1="decay rate of the mean of the gradients",
)
def momentum_ema(p, g, v, *, lr=1e-2, beta1=0.9):
    """Momentum as a running mean of the gradients.

    The velocity is an average of the gradients, where that of `momentum` is their sum: at the same lr
    its steps are shorter by the factor 1 - beta1. The average starts at zero, and nothing corrects
    for that.

    Elsewhere:
        deeplearning.ai: this rule; beta1 is called beta.
        torch.optim.SGD: the same steps with lr * (1 - beta1) and momentum=beta1. With dampening=beta1
            it differs from this rule, since its buffer starts at g.
        optimi.SGD: this rule, with dampening=True; momentum is beta1.
        Adam: its m is this v; it is corrected for the start at zero.
    """
    v = beta1 * v + (1 - beta1) * g
    return p - lr * v, v


@rule(
    paper="Ma & Yarats, 2019. Quasi-hyperbolic momentum and Adam for deep learning",
    at="arXiv:1810.06801",
    card=Card(
        title="QHM",
        names="quasi-hyperbolic momentum",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.QHM(lr=lr, momentum=momentum, nu=nu)",
                needs={"weight_decay": 0.0, "maximize": False},
                defaults={"lr": 1e-3, "momentum": 0.0, "nu": 1.0},
                state={"m": "momentum_buffer"},
                late=True,
            ),
            Witness(
                "torch_optimizer 0.3.0",
                "torch_optimizer.QHM(lr=lr, momentum=momentum, nu=nu)",
                needs={"weight_decay": 0.0},
                defaults={"lr": 1e-3, "momentum": 0.0},
                state={"m": "momentum_buffer"},
                late=True,
            ),
        ),
    ),
    lr=_LR,
    momentum=Hyperparameter(
        "decay rate of the mean of the gradients",
        0.0,
        1.0,
        open_high=True,
        search=(1e-4, 1e-1),
        towards=1.0,
    ),
    nu=Hyperparameter(
        "share of the mean in the step; the rest is the new gradient", 0.0, 1.0, search=(0.1, 1.0)
    ),
)
def qhm(p, g, m, *, lr=1.0, momentum=0.999, nu=0.7):
    """A weighted mean of the gradient and its running mean.

    The gradient keeps the step responsive, so the mean can be over a thousand steps. nu = 0 is gradient
    descent, nu = 1 is `momentum_ema`, and nu = momentum is Nesterov's momentum. The mean is not
    corrected for its start at zero. Its steps are those of a mean, where `momentum` has a sum: an lr
    here corresponds to a tenth of it there, at momentum 0.9.

    Elsewhere:
        qhoptim: this rule; no defaults, lr 1, momentum 0.999 and nu 0.7 in its examples.
        kozistr, torch_optimizer: this rule; in kozistr momentum 0 and nu 1 by default.
    """
    m = momentum * m + (1 - momentum) * g
    return p - lr * ((1 - nu) * g + nu * m), m


_AGGMO_STATE = {f"b{i + 1}": f"momentum_buffer[betas[{i}]]" for i in range(3)}


@rule(
    paper="Lucas et al., 2019. Aggregated Momentum: Stability Through Passive Damping",
    at="arXiv:1804.00325, the update of AggMo",
    b=several("betas"),
    card=Card(
        title="AggMo",
        names="aggregated momentum",
        witnesses=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.AggMo(lr=lr, betas=(beta1, beta2, beta3))",
                state=_AGGMO_STATE,
                needs={"weight_decay": 0.0, "maximize": False},
                defaults={"lr": 1e-3},
                late=True,
            ),
            Witness(
                "torch_optimizer 0.3.0",
                "torch_optimizer.AggMo(lr=lr, betas=(beta1, beta2, beta3))",
                state=_AGGMO_STATE,
                needs={"weight_decay": 0.0},
                defaults={"lr": 1e-3},
                late=True,
            ),
        ),
    ),
    lr=_LR,
    betas=Hyperparameter(
        "share of each velocity kept from step to step", 0.0, search=(1e-4, 1.0), towards=1.0
    ),
)
def aggmo(p, g, b, *, lr=0.1, betas=(0.0, 0.9, 0.99)):
    """The mean of several velocities with short to long memory.

    Alone, a velocity with momentum 0.99 oscillates; those of shorter memory damp it.

    Elsewhere:
        kozistr, torch_optimizer: this rule; lr 1e-3 by default.
        Lucas et al. 2019: betas are 1 - 0.1**k for k = 0, 1, 2.
    """
    b = tuple(beta * x + g for beta, x in zip(betas, b, strict=True))
    return p - lr / len(b) * sum(b), b
