"""Adam on an NVIDIA GPU with clipping, in bfloat16 and with state in 8 bits, against torch's fused Adam."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from ravine import modifiers, rules
from ravine.bench import cuda
from ravine.bench.contenders import Step
from ravine.rule import Rule

__all__ = ["run"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]

_FUSED, _CLIPPED, _FUSED_HALF = (
    "torch: fused",
    "torch: clip_grad_norm_, fused",
    "torch: fused, bfloat16",
)
_CLIP = modifiers.clip_by_global_norm(rules.adam)

# The rule, whether parameters are in bfloat16, the optimizer's options, and which of torch's it is compared
# with.
_STACKS: dict[str, tuple[Rule, bool, dict[str, Any], str]] = {
    "adam": (rules.adam, False, {}, _FUSED),
    _CLIP.name: (_CLIP, False, {}, _CLIPPED),
    "adam, 8-bit state": (rules.adam, False, {"state_dtype": "8bit"}, _FUSED),
    "adam, bfloat16, stochastic": (rules.adam, True, {"stochastic_rounding": True}, _FUSED),
    "adam, bfloat16, stochastic, 8-bit state": (
        rules.adam,
        True,
        {"stochastic_rounding": True, "state_dtype": "8bit"},
        _FUSED,
    ),
}


def run(
    on: Iterable[str],
    seconds: float = 5.0,
    progress: Progress = lambda _, units: units,
    meter: cuda.Meter | None = None,
) -> Iterator[dict[str, Any]]:
    """Time Adam's step with clipping, in bfloat16 with stochastic rounding, and with state in 8 bits.

    on, progress: as :func:`ravine.bench.step.run` takes them. seconds: for each of the shapes, all stacks
    together. meter: as :func:`ravine.bench.cuda.run` takes it.

    Yields a row for each stack, and for torch's fused Adam alone, after clipping, and in bfloat16: ``stack``,
    ``shapes``, ``device``, ``torch`` (what it is compared with: float32, and clipping if it clips; None for
    torch's), and what :func:`ravine.bench.cuda.run` says of a contender.
    """
    meter = meter or cuda.Gpu()
    for unit in progress("stacks", [{"problem": shapes} for shapes in on]):
        gc.collect()  # the previous optimizers, which are in reference cycles
        shapes = unit["problem"]
        for row in _case(cuda.parameters(shapes, meter.device), seconds, meter):
            yield {"shapes": shapes, "device": meter.name, **row}


def _case(
    params: Sequence[torch.Tensor], seconds: float, meter: cuda.Meter
) -> Iterator[dict[str, Any]]:
    halves = _in_half(params)
    torchs = {_FUSED: _fused, _CLIPPED: _clipped, _FUSED_HALF: _fused}
    makes: dict[str, Callable[[], Step]] = {
        **{name: partial(_ravine, *_STACKS[name][:3], params, halves) for name in _STACKS},
        **{n: partial(made, halves if n == _FUSED_HALF else params) for n, made in torchs.items()},
    }
    steps, skipped = cuda.made(makes)
    sizes = {
        name: cuda.moved(rule, halves if half else params, "state_dtype" in how)
        for name, (rule, half, how, _) in _STACKS.items()
        if name in steps
    }
    against = {n: [x[3]] for n, x in _STACKS.items() if x[3] in steps}
    rows = cuda.measured(steps, sizes, against, seconds, meter)
    for name in makes:
        its = _STACKS[name][3] if name in _STACKS else None
        found = {"skipped": skipped[name]} if name in skipped else rows[name]
        yield {"stack": name, "torch": its, **found}


def _in_half(params: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    found = [p.detach().bfloat16().requires_grad_() for p in params]
    for p, q in zip(params, found, strict=True):
        assert p.grad is not None
        q.grad = p.grad.bfloat16()
    return found


def _ravine(
    rule: Rule,
    half: bool,
    how: dict[str, Any],
    params: Sequence[torch.Tensor],
    halves: Sequence[torch.Tensor],
) -> Step:
    import ravine.torch

    return ravine.torch.optimizer(rule)(halves if half else params, **how).step


def _fused(params: Sequence[torch.Tensor]) -> Step:
    return torch.optim.Adam(params, fused=True).step


def _clipped(params: Sequence[torch.Tensor]) -> Step:
    step = _fused(params)

    def run() -> None:
        clip_grad_norm_(params, 1.0)
        step()

    return run
