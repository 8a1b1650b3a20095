"""Schedule-Free: gradients are taken between the descent and its average, and lr needs no schedule."""

from ravine.cards import Card, Witness
from ravine.hyperparameters import Hyperparameter, searched
from ravine.ops import maximum, minimum, sqrt, where
from ravine.rule import like_p, rule, scalar

_PAPER = "Defazio et al., 2024. The Road Less Scheduled"
_INTERPOLATION = Hyperparameter(
    "where gradients are taken: this share of the average, the rest of the descent",
    low=0.0,
    high=1.0,
    open_low=True,
    open_high=True,
    search=(1e-3, 0.5),
    towards=1.0,
)
_R = Hyperparameter(
    "power of the step with which it counts in the average", low=0.0, search=(0.1, 2.0)
)
_POWER = Hyperparameter(
    "power of the largest lr so far with which a step counts in the average; 0: all count alike",
    low=0.0,
    search=(0.5, 2.0),
)
_WARMUP = Hyperparameter("steps in which lr grows to its full size", low=0, whole=True)
_SQUARES = "decay rate of the mean of the squared gradients"
_EPS = "added to the root mean square of the gradients"
_DECAY = "pull of the weights towards zero, of those that the gradient is taken at, times lr"
_STATE = {"z": "z", "weight_sum": "weight_sum", "lr_max": "lr_max"}
_COMMON = "weight_decay=weight_decay, r=r, weight_lr_power=weight_lr_power"
_SGD = f"lr=lr, momentum=momentum, {_COMMON}, warmup_steps=warmup_steps"
_ADAMW = f"lr=lr, betas=(beta1, beta2), eps=eps, {_COMMON}"
_WARM_ADAMW = f"{_ADAMW}, warmup_steps=warmup_steps"
_LOUD = {"warmup_steps": 7, "r": 0.5, "weight_lr_power": 1.5}


@rule(
    paper=_PAPER,
    at="arXiv:2405.15682, in the form of schedulefree",
    z=like_p,
    weight_sum=scalar(0.0),
    lr_max=scalar(0.0),
    evaluate=lambda p, z, momentum: p + (1 - 1 / momentum) * (z - p),
    card=Card(
        title="ScheduleFreeSGD",
        names="SGD Schedule-Free",
        witnesses=(
            Witness(
                "schedulefree 1.4.1",
                f"schedulefree.SGDScheduleFree({_SGD})",
                state=_STATE,
                loud=_LOUD,
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.ScheduleFreeSGD({_SGD})",
                state=_STATE,
                loud=_LOUD,
            ),
            Witness(
                "optax 0.2.8",
                "optax.contrib.schedule_free_sgd(lr, b1=momentum, weight_decay=weight_decay, "
                "weight_lr_power=weight_lr_power)",
                constant_lr=True,
                note="Its warm-up is another, and a schedule is a step ahead in the average.",
            ),
        ),
    ),
    lr=searched(1e-2, 10.0),  # the paper: 10 to 50 times SGD's
    momentum=_INTERPOLATION,
    weight_decay=_DECAY,
    r=_R,
    weight_lr_power=_POWER,
    warmup_steps=_WARMUP,
)
def schedule_free_sgd(
    p,
    g,
    z,
    weight_sum,
    lr_max,
    t,
    *,
    lr=1.0,
    momentum=0.9,
    weight_decay=0.0,
    r=0.0,
    weight_lr_power=2.0,
    warmup_steps=0,
):
    """SGD with averaged weights in place of a schedule.

    z takes the steps; x, the average of its points, is what to evaluate with; gradients are taken
    at p, between the two. Batch normalization needs its statistics recomputed at x.

    Elsewhere:
        schedulefree.SGDScheduleFree (the authors'): this rule. It counts the steps of a group, not
            of each tensor. Call its eval() before evaluating and saving.
        optax.contrib.schedule_free_sgd: this rule while lr is constant. Its warm-up begins at 0, and
            the average looks at a schedule one step ahead of the descent.
        kozistr: this rule.
    """
    if warmup_steps:
        lr = lr * minimum(1.0, t / warmup_steps)
    lr_max = maximum(lr, lr_max)
    weight = t**r * lr_max**weight_lr_power
    weight_sum = weight_sum + weight
    c = weight / where(weight_sum > 0, weight_sum, 1.0)
    u = g + weight_decay * p if weight_decay else g
    p = p + c * (z - p) - lr * (1 - momentum * (1 - c)) * u
    return p, z - lr * u, weight_sum, lr_max


@rule(
    paper=_PAPER,
    at="arXiv:2405.15682, Algorithm 1, with the bias correction of schedulefree 1.3 and later",
    z=like_p,
    weight_sum=scalar(0.0),
    lr_max=scalar(0.0),
    evaluate=lambda p, z, beta1: p + (1 - 1 / beta1) * (z - p),
    card=Card(
        title="ScheduleFreeAdamW",
        names="AdamW Schedule-Free, Schedule-Free Adam",
        witnesses=(
            Witness(
                "schedulefree 1.4.1",
                f"schedulefree.AdamWScheduleFree({_WARM_ADAMW})",
                state={**_STATE, "v": "exp_avg_sq"},
                loud=_LOUD,
            ),
            Witness(
                "optax 0.2.8",
                "optax.contrib.schedule_free_adamw(lr, b1=beta1, b2=beta2, eps=eps, "
                "weight_decay=weight_decay, weight_lr_power=weight_lr_power)",
                constant_lr=True,
                note="Its warm-up is another, and a schedule is a step ahead in the average.",
            ),
        ),
        near=(
            Witness(
                "pytorch_optimizer 4.1.0",
                "pytorch_optimizer.ScheduleFreeAdamW(lr=lr, betas=(beta1, beta2), eps=eps, "
                "weight_decay=weight_decay, r=r, weight_lr_power=weight_lr_power, "
                "warmup_steps=warmup_steps)",
                loud=_LOUD,
                apart=6e-9,
                note="It adds a second eps, 1e-15, inside the root.",
            ),
        ),
    ),
    beta1=_INTERPOLATION,
    beta2=_SQUARES,
    eps=_EPS,
    weight_decay=_DECAY,
    r=_R,
    weight_lr_power=_POWER,
    warmup_steps=_WARMUP,
)
def schedule_free_adamw(
    p,
    g,
    z,
    v,
    weight_sum,
    lr_max,
    t,
    *,
    lr=2.5e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    r=0.0,
    weight_lr_power=2.0,
    warmup_steps=0,
):
    """Adam with averaged weights in place of a schedule.

    z takes the steps; x, the average of its points, is what to evaluate with; gradients are taken
    at p, between the two. Batch normalization needs its statistics recomputed at x.

    Elsewhere:
        schedulefree.AdamWScheduleFree (the authors'): this rule. It counts the steps of a group,
            not of each tensor. Call its eval() before evaluating and saving.
        schedulefree.AdamWScheduleFreePaper: `schedule_free_adamw_paper`.
        optax.contrib.schedule_free_adamw: this rule while lr is constant. Its warm-up begins at 0, and
            the average looks at a schedule one step ahead of the descent.
        kozistr: a second eps, 1e-15, inside the root.
    """
    if warmup_steps:
        lr = lr * minimum(1.0, t / warmup_steps)
    v = beta2 * v + (1 - beta2) * g**2
    lr_max = maximum(lr, lr_max)
    weight = t**r * lr_max**weight_lr_power
    weight_sum = weight_sum + weight
    c = weight / where(weight_sum > 0, weight_sum, 1.0)
    u = g / (sqrt(v / (1 - beta2**t)) + eps)
    u = u + weight_decay * p if weight_decay else u
    p = p + c * (z - p) - lr * (1 - beta1 * (1 - c)) * u
    return p, z - lr * u, v, weight_sum, lr_max


@rule(
    paper=_PAPER,
    at="arXiv:2405.15682, Algorithm 1",
    z=like_p,
    weight_sum=scalar(0.0),
    lr_max=scalar(0.0),
    evaluate=lambda p, z, beta1: p + (1 - 1 / beta1) * (z - p),
    card=Card(
        title="ScheduleFreeAdamWPaper",
        variant_of="schedule_free_adamw",
        differs="bias correction",
        witnesses=(
            Witness(
                "schedulefree 1.4.1",
                f"schedulefree.AdamWScheduleFreePaper({_WARM_ADAMW})",
                state={**_STATE, "v": "exp_avg_sq"},
                loud=_LOUD,
            ),
        ),
    ),
    beta1=_INTERPOLATION,
    beta2=_SQUARES,
    eps="added to the root mean square of the gradients before its bias correction",
    weight_decay=_DECAY,
    r=_R,
    weight_lr_power=_POWER,
    warmup_steps=_WARMUP,
)
def schedule_free_adamw_paper(
    p,
    g,
    z,
    v,
    weight_sum,
    lr_max,
    t,
    *,
    lr=2.5e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    r=0.0,
    weight_lr_power=2.0,
    warmup_steps=0,
):
    """Schedule-Free AdamW with its bias correction inside lr.

    So early steps count less in the average, and decay less, for about 1 / (1 - beta2) steps. The
    authors found this form less stable, and replaced it.

    Elsewhere:
        schedulefree.AdamWScheduleFreePaper: this rule; it counts the steps of a group.
        schedulefree.AdamWScheduleFree: `schedule_free_adamw`, from 1.3 on.
        Defazio et al. 2024: steps count by lr squared, not by the largest lr so far: the same unless
            lr falls.
    """
    if warmup_steps:
        lr = lr * minimum(1.0, t / warmup_steps)
    lr = lr * sqrt(1 - beta2**t)
    v = beta2 * v + (1 - beta2) * g**2
    lr_max = maximum(lr, lr_max)
    weight = t**r * lr_max**weight_lr_power
    weight_sum = weight_sum + weight
    c = weight / where(weight_sum > 0, weight_sum, 1.0)
    u = g / (sqrt(v) + eps)
    u = u + weight_decay * p if weight_decay else u
    p = p + c * (z - p) - lr * (1 - beta1 * (1 - c)) * u
    return p, z - lr * u, v, weight_sum, lr_max


@rule(
    paper=_PAPER,
    at="arXiv:2405.15682, with the steps of RAdam, as in schedulefree",
    z=like_p,
    weight_sum=scalar(0.0),
    lr_max=scalar(0.0),
    evaluate=lambda p, z, beta1: p + (1 - 1 / beta1) * (z - p),
    card=Card(
        title="ScheduleFreeRAdam",
        names="RAdam Schedule-Free",
        variant_of="schedule_free_adamw",
        differs="bias correction, schedule",
        witnesses=(
            Witness(
                "schedulefree 1.4.1",
                f"schedulefree.RAdamScheduleFree({_ADAMW}, silent_sgd_phase=silent_sgd_phase)",
                state={**_STATE, "v": "exp_avg_sq"},
                loud={"r": 0.5, "weight_lr_power": 1.5, "silent_sgd_phase": False},
            ),
            Witness(
                "pytorch_optimizer 4.1.0",
                f"pytorch_optimizer.ScheduleFreeRAdam({_ADAMW})",
                needs={"silent_sgd_phase": True},
                state={**_STATE, "v": "exp_avg_sq"},
                loud={"r": 0.5, "weight_lr_power": 1.5},
            ),
        ),
    ),
    beta1=_INTERPOLATION,
    beta2=_SQUARES,
    eps=_EPS,
    weight_decay=_DECAY,
    r=_R,
    weight_lr_power=_POWER,
    silent_sgd_phase="rest in the steps that RAdam takes without its denominator",
)
def schedule_free_radam(
    p,
    g,
    z,
    v,
    weight_sum,
    lr_max,
    t,
    *,
    lr=2.5e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    r=0.0,
    weight_lr_power=2.0,
    silent_sgd_phase=True,
):
    """Schedule-Free AdamW with the warm-up of RAdam.

    While the mean of squares averages no more than 4 gradients, the weights do not move, or move by
    SGD without silent_sgd_phase; then the steps grow from 0 to their full size.

    Elsewhere:
        schedulefree.RAdamScheduleFree (the authors'): this rule; it counts the steps of a group.
        kozistr: this rule; without silent_sgd_phase, the first steps have the lr 1 there.
    """
    v = beta2 * v + (1 - beta2) * g**2
    rho_max = 2 / (1 - beta2) - 1
    rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
    rect = sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
    lr = lr * where(rho > 4, rect, 0.0 if silent_sgd_phase else 1.0)
    lr_max = maximum(lr, lr_max)
    weight = t**r * lr_max**weight_lr_power
    weight_sum = weight_sum + weight
    c = weight / where(weight_sum > 0, weight_sum, 1.0)
    u = where(rho > 4, g / (sqrt(v / (1 - beta2**t)) + eps), g)
    u = u + weight_decay * p if weight_decay else u
    p = p + c * (z - p) - lr * (1 - beta1 * (1 - c)) * u
    return p, z - lr * u, v, weight_sum, lr_max
