"""Functions from rule to rule: weight decay, clipping, averages, and other changes to any optimizer.

`decoupled_decay(adam)` is AdamW. The outer modifier sees the gradient first and the parameter
last: `maximize(l2(sgd))` negates the gradient, then adds the decay, as torch.optim does. Slots and
hyperparameters have names that the rules do not have, so modifiers can be stacked.
"""

from ravine.modifiers.averages import ema, lookahead, polyak, swa
from ravine.modifiers.clipping import (
    adagc,
    adaptive_grad_clip,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    zclip,
)
from ravine.modifiers.decay import (
    cautious_decay,
    corrected_decay,
    decay_to_start,
    decoupled_decay,
    l2,
    scheduled_decay,
)
from ravine.modifiers.direction import (
    cautious,
    cautious_clamped,
    centralize,
    grokfast,
    maximize,
    orthograd,
    unscale,
)
from ravine.modifiers.rounding import kahan
from ravine.modifiers.tuning import mechanic, mechanic_clipped, mechanic_paper

__all__ = [
    "adagc",
    "adaptive_grad_clip",
    "cautious",
    "cautious_clamped",
    "cautious_decay",
    "centralize",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "corrected_decay",
    "decay_to_start",
    "decoupled_decay",
    "ema",
    "grokfast",
    "kahan",
    "l2",
    "lookahead",
    "maximize",
    "mechanic",
    "mechanic_clipped",
    "mechanic_paper",
    "orthograd",
    "polyak",
    "scheduled_decay",
    "swa",
    "unscale",
    "zclip",
]
