"""RMSprop: each coordinate's step is divided by the size its gradient usually has."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import sqrt
from ravine.rule import filled, rule

_LR = searched(1e-5, 1e-1)  # as Adam's: its steps are as long
_ALPHA = Hyperparameter(
    "decay rate of the mean of the squared gradients, and of the gradients where centered",
    low=0.0,
    high=1.0,
    search=(1e-4, 1e-1),
    towards=1.0,
)
_MOMENTUM = Hyperparameter(
    "share of the velocity kept from step to step; 0: no velocity",
    low=0.0,
    search=(1e-3, 1.0),
    towards=1.0,
)
_TORCH = "lr=lr, alpha=alpha, eps=eps, centered=centered, momentum=momentum"
_STATE = {"v": "square_avg", "m": "grad_avg", "b": "momentum_buffer"}
_CENTERED = {"centered": True, "momentum": 0.7}


@rule(
    paper="Tieleman & Hinton, 2012. Neural Networks for Machine Learning, lecture 6.5",
    at="slide 29; centered: Graves, 2013, arXiv:1308.0850, equations 38-45",
    card=Card(
        title="RMSprop",
        names="root mean square propagation",
        witnesses=(
            Witness(
                "torch 2.13.0",
                f"torch.optim.RMSprop({_TORCH})",
                needs={"weight_decay": 0, "maximize": False},
                state=_STATE,
                loud=_CENTERED,
                late=True,
            ),
        ),
    ),
    lr=_LR,
    alpha=_ALPHA,
    eps="added to the root mean square of the gradients",
    momentum=_MOMENTUM,
)
def rmsprop(p, g, v, m, b, *, lr=1e-2, alpha=0.99, eps=1e-8, centered=False, momentum=0.0):
    """The gradient divided by its root mean square.

    Elsewhere:
        torch.optim.RMSprop: this rule, with alpha 0.99; eps outside the root, lr outside the momentum.
        Tieleman & Hinton 2012: alpha 0.9, no eps, no momentum.
        Graves 2013: eps 1e-4 inside the root, alpha 0.95; lr inside the momentum of 0.9.
        Keras, optax.rmsprop: eps inside the root, lr inside the momentum, `rmsprop_keras`. In the legacy
            class of TensorFlow 2, eps is inside with momentum and outside without.
        TensorFlow 1, timm.optim.RMSpropTF: the same, and v starts at one, `rmsprop_tf`.
    """
    v = alpha * v + (1 - alpha) * g**2
    if centered:
        m = alpha * m + (1 - alpha) * g
    variance = v - m**2 if centered else v
    scaled = g / (sqrt(variance) + eps)
    if momentum:
        b = momentum * b + scaled
    return p - lr * (b if momentum else scaled), v, m, b


@rule(
    paper="Tieleman & Hinton, 2012. Neural Networks for Machine Learning, lecture 6.5",
    at="slide 29, in the form of Keras; centered: Graves, 2013, arXiv:1308.0850, equations 38-45",
    v=filled("v0"),
    card=Card(
        title="RMSpropKeras",
        variant_of="rmsprop",
        differs="place of eps, place of lr",
        witnesses=(
            Witness(
                "keras 3.15.1",
                "keras.optimizers.RMSprop(learning_rate=lr, rho=alpha, momentum=momentum, "
                "epsilon=eps, centered=centered)",
                needs={"weight_decay": None},
                state={"v": "velocity", "m": "average_gradient", "b": "momentum"},
                loud=_CENTERED,
            ),
            Witness(
                "optax 0.2.8",
                "optax.rmsprop(lr, decay=alpha, eps=eps, initial_scale=v0, momentum=momentum)",
                defaults={"eps": 1e-8},
                state={"v": "nu", "m": "mu", "b": "trace"},
            ),
        ),
    ),
    lr=_LR,
    alpha=_ALPHA,
    eps="added to the mean of the squared gradients, inside the root",
    momentum=_MOMENTUM,
    v0=Hyperparameter(
        "what the mean of the squared gradients starts at", low=0.0, search=(1e-4, 1.0)
    ),
)
def rmsprop_keras(
    p, g, v, m, b, *, lr=1e-3, alpha=0.9, eps=1e-7, centered=False, momentum=0.0, v0=0.0
):
    """RMSprop with eps inside the root and lr inside the momentum.

    Elsewhere:
        Keras: this rule; alpha is rho.
        optax.rmsprop: this rule unless eps_in_sqrt=False; alpha is decay, v0 is initial_scale.
        TensorFlow 1, timm.optim.RMSpropTF: v0 is 1, `rmsprop_tf`.
        torch.optim.RMSprop: eps outside the root, lr outside the momentum, `rmsprop`.
    """
    v = alpha * v + (1 - alpha) * g**2
    if centered:
        m = alpha * m + (1 - alpha) * g
    variance = v - m**2 if centered else v
    scaled = lr * g / sqrt(variance + eps)
    if momentum:
        b = momentum * b + scaled
    return p - (b if momentum else scaled), v, m, b


rmsprop_tf = rmsprop_keras.named(
    "rmsprop_tf",
    at="slide 29, in the form of TensorFlow 1",
    card=Card(
        title="RMSpropTF",
        names="RMSprop of TensorFlow 1",
        variant_of="rmsprop",
        differs="place of eps, place of lr, first step",
        witnesses=(
            Witness(
                "timm 1.0.31",
                f"timm.optim.RMSpropTF({_TORCH})",
                needs={
                    "weight_decay": 0,
                    "lr_in_momentum": True,
                    "caution": False,
                },
                state=_STATE,
                loud=_CENTERED,
                late=True,
            ),
        ),
    ),
    lr=1e-2,
    eps=1e-10,
    v0=1.0,
    doc="""RMSprop with eps inside the root; its mean starts at one.

    As one is large, the first steps are short: a warm-up of some 1 / (1 - alpha) steps.

    Elsewhere:
        TensorFlow 1, timm.optim.RMSpropTF: this rule. EfficientNet and its relatives were trained by it.
        Keras: v0 is 0, `rmsprop_keras`.
    """,
)
