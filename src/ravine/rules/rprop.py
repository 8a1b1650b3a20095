"""Rprop: only the gradient's sign counts; each coordinate has its own step size."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter
from ravine.ops import clip, sign, where
from ravine.rule import filled, rule


@rule(
    paper="Riedmiller & Braun, 1993. A Direct Adaptive Method for Faster Backpropagation Learning",
    at="doi:10.1109/ICNN.1993.298623, without taking steps back, in the form of torch.optim.Rprop",
    card=Card(
        names="resilient propagation, resilient backpropagation, resilient backprop",
        witnesses=(
            Witness(
                "torch 2.13.0",
                "torch.optim.Rprop(lr=lr, etas=(eta_minus, eta_plus), step_sizes=(step_min, step_max))",
                needs={"maximize": False},
                state={"prev": "prev", "step_size": "step_size"},
                late=True,
            ),
        ),
    ),
    step_size=filled("lr"),
    lr=Hyperparameter("size of the first step", low=0.0, search=(1e-5, 1.0)),
    eta_minus=Hyperparameter(
        "factor of a step size when the gradient changes its sign",
        low=0.0,
        high=1.0,
        open_low=True,
        open_high=True,
        search=(0.1, 0.9),
    ),
    eta_plus=Hyperparameter(
        "factor of a step size while the gradient keeps its sign",
        low=1.0,
        open_low=True,
        search=(1.01, 2.0),
    ),
    step_min=Hyperparameter("smallest step size", low=0.0, search=(1e-9, 1e-3)),
    step_max=Hyperparameter("largest step size", low=0.0, search=(1e-2, 100.0)),
)
def rprop(
    p, g, prev, step_size, *, lr=1e-2, eta_minus=0.5, eta_plus=1.2, step_min=1e-6, step_max=50.0
):
    """Step sizes that grow while the gradient keeps its sign.

    They shrink when it changes; the coordinate then rests for one step. For full-batch gradients:
    those of mini-batches change sign by chance.

    Elsewhere:
        torch.optim.Rprop: this rule. The documentation applies the bounds only where a size
            changes, the code (as here) always: an lr outside of them is clipped at the first step.
        Riedmiller & Braun 1993: after a change of sign the previous step is also undone; sizes
            start at 0.1.
        optax.rprop: applies the update of the step before (optax/pull/1725).
    """
    turn = g * prev
    factor = where(turn > 0, eta_plus, where(turn < 0, eta_minus, 1.0))
    step_size = clip(step_size * factor, step_min, step_max)
    g = where(turn < 0, 0.0, g)
    return p - step_size * sign(g), g, step_size
