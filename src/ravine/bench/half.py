"""Training in half precision: how far the loss is from float32's, on the small character model.

Weights, gradients and state are bfloat16; the model computes in float32 with these weights, so that only what
the optimizer stores is narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import cos, log, log1p, pi
from statistics import fmean, stdev
from typing import Any

import torch
from torch.func import functional_call

import ravine.torch
from ravine.races.swarm import one_thread
from ravine.races.task import Task, problem

__all__ = ["VARIANTS", "run"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]

VARIANTS: dict[str, tuple[str, torch.dtype, dict[str, Any]]] = {
    "float32": ("adamw", torch.float32, {}),
    "float32, state in bfloat16": ("adamw", torch.float32, {"state_dtype": torch.bfloat16}),
    "float32, state in 8 bits": ("adamw", torch.float32, {"state_dtype": "8bit"}),
    "bfloat16, to nearest": ("adamw", torch.bfloat16, {}),
    "bfloat16, stochastic rounding": ("adamw", torch.bfloat16, {"stochastic_rounding": True}),
    "bfloat16, stochastic rounding, state in 8 bits": (
        "adamw",
        torch.bfloat16,
        {"stochastic_rounding": True, "state_dtype": "8bit"},
    ),
    "bfloat16, Kahan": ("kahan(adamw)", torch.bfloat16, {}),
}
"""The rule, the dtype of parameters and gradients, and keywords of the optimizer."""

LR, STEPS, PROBLEM = 1e-4, 2000, "character-lm"
DECAY, DECAYS = 1e-5, 3000
"""The weight decay per step, lr included, and for how many steps it is alone."""


def run(
    seeds: int = 5, lr: float = LR, steps: int = STEPS, progress: Progress = lambda _, units: units
) -> Iterator[dict[str, Any]]:
    """Train the character model in each way, with the same initial weights and batches for a seed.

    seeds: how many, at least two. lr: the learning rate, which falls to zero along a cosine over so many
    steps. progress: is handed a name and the units of work, and hands them on.

    Yields a row for each way: ``variant``, ``lr``, ``steps``; ``loss``, the mean of the held-out losses at
    the end; ``losses``; ``apart``, the mean difference from float32's with the same seed; ``spread``, the
    standard deviation of float32's losses over the seeds; ``within``, whether the one is below the other;
    ``decayed``, as from :func:`decayed`. Raises ValueError for fewer than two seeds.
    """
    if seeds < 2:
        raise ValueError(
            f"seeds={seeds} is invalid; it must be at least 2, since the spread between seeds is measured"
        )
    task = problem(PROBLEM).within(steps)
    units = [{"variant": name, "seed": seed} for name in VARIANTS for seed in range(seeds)]
    losses: dict[str, list[float]] = {}
    for unit in progress("half", units):
        name = unit["variant"]
        with one_thread():
            losses.setdefault(name, []).append(_loss(task, unit["seed"], lr, *VARIANTS[name]))
        if len(losses[name]) == seeds:
            exact = losses["float32"]
            apart = fmean(x - y for x, y in zip(losses[name], exact, strict=True))
            yield {
                "variant": name,
                "lr": lr,
                "steps": steps,
                "loss": fmean(losses[name]),
                "losses": losses[name],
                "apart": apart,
                "spread": stdev(exact),
                "within": abs(apart) <= stdev(exact),
                "decayed": decayed(task, *VARIANTS[name]),
            }


def decayed(task: Task, rule: str, dtype: torch.dtype, how: dict[str, Any]) -> float:
    """The share of a weight decay of 1e-5 per step that acts, by the norm of the model's weights after
    3,000 steps in which all gradients are zero. 1: as without rounding.
    """
    params = [p.detach().to(dtype).requires_grad_() for p in task.model(0).parameters()]
    for p in params:
        p.grad = torch.zeros_like(p)
    torch.manual_seed(0)  # of stochastic rounding
    optimizer = ravine.torch.optimizer(rule)(params, lr=0.1, weight_decay=10 * DECAY, **how)
    before = _norm(params)
    for _ in range(DECAYS):
        optimizer.step()
    return log(before / _norm(params)) / (DECAYS * -log1p(-DECAY))


def _norm(params: Iterable[torch.Tensor]) -> float:
    return sum(p.detach().double().square().sum().item() for p in params) ** 0.5


def _loss(
    task: Task, seed: int, lr: float, rule: str, dtype: torch.dtype, how: dict[str, Any]
) -> float:
    """The held-out loss after training."""
    model = task.model(seed)
    params = {k: p.detach().to(dtype).requires_grad_() for k, p in model.named_parameters()}
    torch.manual_seed(seed)  # of stochastic rounding
    optimizer = ravine.torch.optimizer(rule)(list(params.values()), lr=lr, **how)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: (1 + cos(pi * t / task.steps)) / 2
    )
    order = task.order(seed)
    for _ in range(task.steps):
        optimizer.zero_grad()
        wide = {k: p.float() for k, p in params.items()}

        def called(*inputs: Any, wide: dict[str, torch.Tensor] = wide) -> Any:
            return functional_call(model, wide, inputs)

        task.losses(called, task.train.batch(next(order))).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        for k, p in model.named_parameters():
            p.copy_(params[k])
    return task.evaluate(model, task.test)
