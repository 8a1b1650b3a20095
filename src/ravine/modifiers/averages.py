"""Averages of the weights: to evaluate with, or to start over from."""

from ravine.hyperparameters import Hyperparameter
from ravine.modifying import modifier
from ravine.ops import where
from ravine.rule import like_p, scalar

_EVERY = Hyperparameter("steps from one average to the next", low=1.0, whole=True)


@modifier(
    slow=like_p,
    lookahead_k=Hyperparameter("steps until the slow weights follow", low=1.0, whole=True),
    lookahead_alpha=Hyperparameter(
        "share of the way that the slow weights follow", low=0.0, high=1.0, search=(0.2, 0.8)
    ),
)
def lookahead(step, p, g, slow, t, *, lookahead_k=5, lookahead_alpha=0.5):
    """Lookahead: k steps forward, then one step back towards slow weights.

    Zhang et al., 2019, arXiv:1907.08610, Algorithm 1. The slow weights start where training starts;
    timm's and others' start at the first synchronization.
    """
    p = step(p, g)
    now = t % lookahead_k == 0
    slow = where(now, slow + lookahead_alpha * (p - slow), slow)
    return where(now, slow, p), slow


@modifier(
    ema_decay=Hyperparameter(
        "decay rate of the mean of the weights",
        low=0.0,
        high=1.0,
        open_high=True,
        search=(1e-5, 1e-1),
        towards=1.0,
    ),
    evaluate=lambda p, ema_p: ema_p,
)
def ema(step, p, g, ema_p, t, *, ema_decay=0.999):
    """Evaluate with a running mean of the weights; training is not affected.

    The mean starts at the weights after the first step, as that of
    torch.optim.swa_utils.AveragedModel does.
    """
    p = step(p, g)
    return p, where(t == 1, p, ema_decay * ema_p + (1 - ema_decay) * p)


@modifier(evaluate=lambda p, mean_p: mean_p)
def polyak(step, p, g, mean_p, t):
    """Evaluate with the mean of the weights after all steps.

    Polyak & Juditsky, 1992, doi:10.1137/0330046; Ruppert, 1988.
    """
    p = step(p, g)
    return p, mean_p + (p - mean_p) / t


@modifier(
    swa_count=scalar(0.0),
    swa_start=Hyperparameter("the step after which averaging begins", low=0.0, whole=True),
    swa_every=_EVERY,
    evaluate=lambda p, swa_p, swa_count: where(swa_count > 0, swa_p, p),
)
def swa(step, p, g, swa_p, swa_count, t, *, swa_start=1000, swa_every=1):
    """Stochastic weight averaging: evaluate with the mean of the weights late in training.

    Izmailov et al., 2018, arXiv:1803.05407, Algorithm 1. Of the steps after swa_start, every
    swa_every-th counts; until then, evaluation is with the weights themselves. The statistics of
    batch normalization have to be recomputed for the mean: torch.optim.swa_utils.update_bn.
    """
    p = step(p, g)
    past = t - swa_start
    counts = (past > 0) * (past % swa_every == 0)
    swa_count = swa_count + counts
    swa_p = where(counts, swa_p + (p - swa_p) / where(counts, swa_count, 1.0), swa_p)
    return p, swa_p, swa_count
