"""The cost of stacking: modifiers on Adam, and state of fewer bytes, against Adam and torch.

All are bare kernels (bench/contenders.py) that take turns in one process, with what torch has of
the kind: its fused Adam, alone and after its clipping.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from ravine import modifiers, rules
from ravine.bench import contenders
from ravine.bench.contenders import Kernel, Step
from ravine.bench.timing import summary, take_turns
from ravine.engines.tracing import trace

__all__ = ["SHAPES", "run"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]
Make = Callable[[Sequence[torch.Tensor]], Step]

SHAPES = ("resnet18", "gpt2")
"""The shapes stepped by default; all stacks take part but on gpt2, where memory allows four."""

(
    _HALF,
    _EIGHT,
    _NEAREST,
    _STOCHASTIC,
    _ALL_NARROW,
    _FUSED,
    _FUSED_HALF,
    _BY_NORM,
    _BY_VALUE,
    _MEAN,
    _ALL_THREE,
) = (
    "adam, bfloat16 state",
    "adam, 8-bit state",
    "adam, all bfloat16",
    "adam, all bfloat16, stochastic",
    "adam, bfloat16, stochastic, 8-bit state",
    "torch: fused",
    "torch: fused, all bfloat16",
    "torch: clip_grad_norm_, fused",
    "torch: clip_grad_value_, fused",
    "torch: fused, EMA",
    "torch: clip_grad_norm_, fused, EMA",
)
_CLIPPED_EMA = "clip_by_global_norm(ema(adam))"
_FEW = ("adam", _HALF, _EIGHT, _FUSED)
# What of torch's does as much, or less, than a stack; a stack that is not here has no counterpart.
_COUNTERPARTS = dict.fromkeys(
    (
        "adam",
        _HALF,
        _EIGHT,
        _NEAREST,
        _STOCHASTIC,
        _ALL_NARROW,
        "decoupled_decay(adam)",
        "l2(adam)",
        "maximize(adam)",
    ),
    _FUSED,
) | {
    "clip_by_global_norm(adam)": _BY_NORM,
    "clip_by_value(adam)": _BY_VALUE,
    "ema(adam)": _MEAN,
    _CLIPPED_EMA: _ALL_THREE,
}


def _torch(
    params: Sequence[torch.Tensor], clip: Callable[..., Any] | None = None, mean: bool = False
) -> Step:
    step = torch.optim.Adam(list(params), fused=True).step
    means = [p.detach().clone() for p in params] if mean else []

    def run() -> None:
        if clip:
            clip(params, 1.0)
        step()
        if means:  # as torch.optim.swa_utils.get_ema_multi_avg_fn does
            torch._foreach_lerp_(means, [p.detach() for p in params], 1e-3)

    return run if clip or mean else step


def _in_half(params: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The same numbers in bfloat16, with their gradients."""
    found = [p.detach().bfloat16().requires_grad_() for p in params]
    for p, q in zip(params, found, strict=True):
        q.grad = None if p.grad is None else p.grad.bfloat16()
    return found


def _half(params: Sequence[torch.Tensor], stochastic: bool, narrow: bool = False) -> Kernel:
    values, its = rules.adam.check(), _in_half(params)
    return Kernel(rules.adam, values, its, "8bit" if narrow else None, stochastic)


def _stacks() -> dict[str, Make]:
    """Adam alone, with narrow state, under each modifier; and torch's."""
    under = [getattr(modifiers, name)(rules.adam) for name in modifiers.__all__]
    under = [stack for stack in under if not trace(stack).by_ndim]  # one kernel for all tensors
    under.append(modifiers.clip_by_global_norm(modifiers.ema(rules.adam)))
    return {
        "adam": partial(Kernel, rules.adam, rules.adam.check()),
        _HALF: partial(Kernel, rules.adam, rules.adam.check(), slot_dtype=torch.bfloat16),
        _EIGHT: partial(Kernel, rules.adam, rules.adam.check(), slot_dtype="8bit"),
        _NEAREST: partial(_half, stochastic=False),
        _STOCHASTIC: partial(_half, stochastic=True),
        _ALL_NARROW: partial(_half, stochastic=True, narrow=True),
        **{stack.name: partial(Kernel, stack, stack.check()) for stack in under},
        _FUSED: _torch,
        _FUSED_HALF: lambda params: _torch(_in_half(params)),
        _BY_NORM: partial(_torch, clip=clip_grad_norm_),
        _BY_VALUE: partial(_torch, clip=clip_grad_value_),
        _MEAN: partial(_torch, mean=True),
        _ALL_THREE: partial(_torch, clip=clip_grad_norm_, mean=True),
    }


def run(
    on: Iterable[str] = SHAPES,
    seconds: float = 5.0,
    progress: Progress = lambda _, units: units,
) -> Iterator[dict[str, Any]]:
    """Time Adam's step under each modifier, with its state in bfloat16 or 8 bits, and with all in bfloat16.

    on: names of shapes, as in :func:`ravine.bench.step.run`. seconds: for each of them, all stacks
    together; at least three turns each are taken. progress: is handed a name and the units of work,
    and hands them on.

    Yields a row for each stack: ``stack``, ``shapes``, ``us``, ``us_quartiles``, ``turns``;
    ``bytes``, what a step reads and writes; ``time_of_adam`` and ``time_per_byte_of_adam``, over
    those of Adam's kernel; ``torch``, torch's equivalent, and ``against_torch``, its time
    over this time; None where torch has no equivalent or gives no figure. Raises ValueError for
    unknown shapes.
    """
    on = list(on)
    for name in on:
        contenders.shapes(name)
    for unit in progress("stacks", [{"problem": name} for name in on]):
        gc.collect()  # what stood on the shapes before
        yield from _case(unit["problem"], seconds)


def _case(shapes: str, seconds: float) -> Iterator[dict[str, Any]]:
    params = contenders.parameters(shapes)
    stacks = _stacks()
    steps = {k: stacks[k](params) for k in (_FEW if shapes == "gpt2" else stacks)}
    taken = take_turns(steps, seconds)
    time = {stack: median(turns) for stack, turns in taken.items()}
    moved = {stack: step.bytes for stack, step in steps.items() if isinstance(step, Kernel)}
    for stack in steps:
        ratio = time[stack] / time["adam"]
        size = moved.get(stack)
        other = _COUNTERPARTS.get(stack)
        yield {
            "stack": stack,
            "shapes": shapes,
            **summary(taken[stack]),
            "bytes": size,
            "time_of_adam": ratio,
            "time_per_byte_of_adam": size and ratio * moved["adam"] / size,
            "torch": other,
            "against_torch": time[other] / time[stack] if other else None,
        }
