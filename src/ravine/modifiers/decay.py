"""Weight decay in its forms."""

from ravine.hyperparameters import Hyperparameter
from ravine.modifying import modifier
from ravine.ops import where
from ravine.rule import like_p

_PEAK = Hyperparameter(
    "the largest learning rate of the schedule", low=0.0, open_low=True, search=(1e-5, 1.0)
)


# AlgoPerf tunes it from 1e-7 to 5e-5 for Nesterov's momentum; for decoupled decay, 5e-3 to 1.
@modifier(
    weight_decay=Hyperparameter(
        "the gradient grows by this times the weights", low=0.0, search=(1e-7, 1e-1)
    )
)
def l2(step, p, g, *, weight_decay=1e-2):
    """L2 regularization: add the gradient of weight_decay/2 * p**2 to the gradient."""
    return step(p, g + weight_decay * p if weight_decay else g)


@modifier(weight_decay="the weights shrink by lr times this in each step")
def decoupled_decay(step, p, g, *, lr, weight_decay=1e-2):
    """Decoupled weight decay: shrink the weights without changing the gradient.

    Loshchilov & Hutter, 2019, arXiv:1711.05101, Algorithm 2, in the form that torch.optim.AdamW made
    common: the decay is multiplied by lr. In the paper it is `scheduled_decay`.
    """
    return step(p * (1 - lr * weight_decay), g)


@modifier(
    weight_decay=Hyperparameter(
        "the weights shrink by this in each step at the peak of the schedule",
        low=0.0,
        search=(1e-6, 1e-2),
    ),
    lr_max=_PEAK,
)
def scheduled_decay(step, p, g, *, lr, weight_decay=1e-5, lr_max=1e-3):
    """Weight decay that follows the schedule and does not depend on the learning rate.

    Loshchilov & Hutter, 2019, arXiv:1711.05101, Algorithm 2, where the decay is multiplied by the
    schedule eta alone; eta is lr / lr_max. optimi: `decouple_lr=True`.
    """
    return step(p * (1 - lr / lr_max * weight_decay), g)


@modifier(weight_decay="the weights shrink by lr**2 / lr_max times this in each step", lr_max=_PEAK)
def corrected_decay(step, p, g, *, lr, weight_decay=1e-2, lr_max=1e-3):
    """Weight decay proportional to lr**2, for layers that are followed by normalization.

    Defazio, 2025, arXiv:2506.02285: AdamC. The norm of such weights settles where decay and steps
    balance; with this decay it does not change as lr falls.
    """
    return step(p * (1 - lr**2 / lr_max * weight_decay), g)


@modifier(
    origin=like_p, weight_decay="the weights move by lr times this towards where they started"
)
def decay_to_start(step, p, g, origin, *, lr, weight_decay=1e-2):
    """Weight decay towards the initial weights, for fine-tuning.

    Li, Grandvalet & Davoine, 2018, arXiv:1802.01483: L2-SP, here decoupled from the gradient.
    """
    return step(p - lr * weight_decay * (p - origin), g), origin


@modifier(weight_decay="weights that the step moves towards zero shrink by lr times this besides")
def cautious_decay(step, p, g, *, lr, weight_decay=1e-2):
    """Weight decay only for weights that the step moves towards zero.

    Chen et al., 2025, arXiv:2510.12402: Cautious Weight Decay. The decay is of the weights before
    the step.
    """
    new = step(p, g)
    return new - where((p - new) * p >= 0, lr * weight_decay * p, 0.0)
