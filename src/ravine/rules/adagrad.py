"""Adagrad and Adadelta: each coordinate's step is divided by all the gradients it has seen."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import sqrt
from ravine.rule import filled, rule

_V0 = Hyperparameter("what the sum of the squared gradients starts at", low=0.0, search=(1e-4, 1.0))


@rule(
    paper="Duchi, Hazan & Singer, 2011. Adaptive Subgradient Methods for Online Learning",
    at="jmlr.org/papers/v12/duchi11a.html, figure 1 with diagonal matrices, no regularizer",
    v=filled("v0"),
    card=Card(
        names="adaptive gradient, adaptive subgradient",
        witnesses=(
            Witness(
                "torch 2.13.0",
                "torch.optim.Adagrad(lr=lr, lr_decay=lr_decay, initial_accumulator_value=v0, eps=eps)",
                needs={"weight_decay": 0, "maximize": False},
                state={"v": "sum"},
                late=True,
            ),
        ),
    ),
    lr_decay=Hyperparameter(
        "lr falls as 1 / (1 + this * steps taken)", low=0.0, search=(1e-6, 1e-1)
    ),
    v0=_V0,
    eps="added to the root of the sum of the squared gradients",
)
def adagrad(p, g, v, t, *, lr=1e-2, lr_decay=0.0, v0=0.0, eps=1e-10):
    """The gradient over the root of the sum of its past squares.

    The sum only grows, so the same gradient makes ever shorter steps.

    Elsewhere:
        torch.optim.Adagrad: this rule; v0 is initial_accumulator_value; all param groups have the
            one given to the optimizer.
        Duchi et al. 2011: no lr_decay; eps is called delta.
        Keras, optax.adagrad: eps 1e-7 inside the root, v0 0.1, `adagrad_keras`.
    """
    v = v + g**2
    rate = lr / (1 + (t - 1) * lr_decay)
    return p - rate * g / (sqrt(v) + eps), v


@rule(
    paper="Duchi, Hazan & Singer, 2011. Adaptive Subgradient Methods for Online Learning",
    at="jmlr.org/papers/v12/duchi11a.html, figure 1 with diagonal matrices, in the form of Keras",
    v=filled("v0"),
    card=Card(
        variant_of="adagrad",
        differs="place of eps",
        witnesses=(
            Witness(
                "keras 3.15.1",
                "keras.optimizers.Adagrad(learning_rate=lr, initial_accumulator_value=v0, epsilon=eps)",
                needs={"weight_decay": None},
                state={"v": "accumulator"},
            ),
            Witness(
                "optax 0.2.8",
                "optax.adagrad(lr, initial_accumulator_value=v0, eps=eps)",
                state={"v": "sum_of_squares"},
            ),
        ),
    ),
    v0=_V0,
    eps="added to the sum of the squared gradients, inside the root",
)
def adagrad_keras(p, g, v, *, lr=1e-3, v0=0.1, eps=1e-7):
    """Adagrad with eps inside the root; its sum starts at 0.1.

    Elsewhere:
        Keras, optax.adagrad: this rule; optax has no default lr.
        torch.optim.Adagrad: eps outside the root, v0 0, `adagrad`.
    """
    v = v + g**2
    return p - lr * g / sqrt(v + eps), v


@rule(
    paper="Zeiler, 2012. ADADELTA: An Adaptive Learning Rate Method",
    at="arXiv:1212.5701, Algorithm 1",
    card=Card(
        witnesses=(
            Witness(
                "torch 2.13.0",
                "torch.optim.Adadelta(lr=lr, rho=rho, eps=eps)",
                needs={"weight_decay": 0, "maximize": False},
                state={"v": "square_avg", "u": "acc_delta"},
                late=True,
            ),
            Witness(
                "keras 3.15.1",
                "keras.optimizers.Adadelta(learning_rate=lr, rho=rho, epsilon=eps)",
                needs={"weight_decay": None},
                defaults={"lr": 1e-3, "rho": 0.95, "eps": 1e-7},
                state={"v": "accumulated_grad", "u": "accumulated_delta_var"},
            ),
            Witness(
                "optax 0.2.8",
                "optax.adadelta(lr, rho=rho, eps=eps)",
                state={"v": "e_g", "u": "e_x"},
            ),
        ),
    ),
    lr=searched(1e-3, 10.0),  # the paper has none; Keras takes 1e-3
    rho=Hyperparameter(
        "decay rate of the means of the squared gradients and squared steps",
        low=0.0,
        high=1.0,
        search=(1e-3, 0.5),
        towards=1.0,
    ),
    eps="added to both means of squares, inside the roots",
)
def adadelta(p, g, v, u, *, lr=1.0, rho=0.9, eps=1e-6):
    """The gradient, times the RMS of past steps over its own RMS.

    Steps are in the units of the parameter, so lr is not needed.

    Elsewhere:
        torch.optim.Adadelta: this rule.
        Zeiler 2012: no lr; rho 0.95 in the experiments.
        Keras: lr 1e-3, rho 0.95, eps 1e-7.
        optax.adadelta: this rule, by default without lr.
    """
    v = rho * v + (1 - rho) * g**2  # mean of the squared gradients
    delta = sqrt(u + eps) / sqrt(v + eps) * g
    u = rho * u + (1 - rho) * delta**2  # mean of the squared steps
    return p - lr * delta, v, u
