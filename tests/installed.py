"""What the installed torch has. The tests run on every torch from the oldest that Ravine accepts to the
newest; what they compare with is asked for here, and no test asks for a version.
"""

import inspect
import math
import warnings
from functools import cache
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

import ravine.torch as rt

RAVINES = [
    name
    for name in rt.__all__
    if isinstance(getattr(rt, name), type)
    and issubclass(getattr(rt, name), rt.RuleOptimizer)
    and name not in ("Mixed", "RuleOptimizer")
]
"""Ravine's classes that are spelt as torch's, whether the installed torch has them or not."""

CLASSES = [name for name in RAVINES if hasattr(torch.optim, name)]
"""Those that it has."""


def takes(name: str, **options: Any) -> bool:
    """Whether torch.optim has a class of this name that accepts these options."""
    try:
        getattr(torch.optim, name)([torch.zeros(2, 2, requires_grad=True)], **options)
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def lacks(name: str) -> set[str]:
    """The options of Ravine's class that a newer torch's class has and the installed one's lacks."""
    newer = {"Adam": {"decoupled_weight_decay"}, "AdamW": {"decoupled_weight_decay"}}.get(name)
    if newer is None:
        return set()
    made = getattr(torch.optim, name)([torch.zeros(2, requires_grad=True)])
    return newer - made.defaults.keys()


def as_torchs(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state_dict without the options that the installed torch's class of that name lacks."""
    saved, less = optimizer.state_dict(), lacks(type(optimizer).__name__)
    groups = [{k: v for k, v in x.items() if k not in less} for x in saved["param_groups"]]
    return {**saved, "param_groups": groups}


@cache
def differentiates() -> bool:
    """Whether torch's own Adam can be differentiated by its lr, over several steps."""
    lr = torch.tensor(0.1, requires_grad=True)
    p = torch.ones(2, requires_grad=True).clone()
    stepper = torch.optim.Adam([p], lr=lr, differentiable=True)
    for _ in range(3):
        (p.grad,) = torch.autograd.grad(p.sum() ** 2, p, create_graph=True)
        stepper.step()
    try:
        torch.autograd.grad(p.sum(), lr)
    except RuntimeError:
        return False
    return True


@cache
def flat_may_lack() -> bool:
    """Whether a flattened checkpoint may lack some of the state that an optimizer has."""
    model, flat = (
        torch.nn.Linear(1, 1, bias=False),
        StateDictOptions(flatten_optimizer_state_dict=True),
    )
    stepper = torch.optim.Adam(model.parameters())
    model(torch.ones(1)).backward()
    stepper.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a run of one process
        saved = get_optimizer_state_dict(model, stepper, options=flat)
        saved.pop("state.weight.exp_avg")
        try:
            set_optimizer_state_dict(model, stepper, saved, options=flat)
        except KeyError:
            return False
    return True


ALONE = {"no_dist": True} if "no_dist" in inspect.signature(dcp.save).parameters else {}
"""What tells torch.distributed.checkpoint that there is one process; older ones find out."""

SHARDS_ON_THE_CPU = hasattr(torch.cpu.Stream, "record_event")
"""Whether fully_shard works there."""


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon of torch 2.14, transcribed: for versions without it, or without all options."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(params, {k: v for k, v in locals().items() if k in OPTIONS_OF_MUON})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, p.grad, self.state[p], **group)

    @staticmethod
    def _step(p, g, state, lr, weight_decay, momentum, nesterov, eps, **group):
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(g))
        buffer.lerp_(g, 1 - momentum)
        x = g.lerp(buffer, momentum) if nesterov else buffer
        x = zeroth_power(x, group["ns_coefficients"], group["ns_steps"], eps)
        rows, columns = p.shape
        factor = {
            None: math.sqrt(max(1, rows / columns)),
            "original": math.sqrt(max(1, rows / columns)),
            "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns)),
            "spectral_unclamped": math.sqrt(rows / columns),
        }[group["adjust_lr_fn"]]
        p.mul_(1 - lr * weight_decay).add_(x, alpha=-lr * factor)


def zeroth_power(x, coefficients, steps, eps):
    """What torch's Muon makes of its momentum, in bfloat16."""
    a, b, c = coefficients
    tall = x.size(0) > x.size(1)
    x = x.bfloat16().T if tall else x.bfloat16()
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        s = x @ x.T
        x = torch.addmm(x, torch.addmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


OPTIONS_OF_MUON = (
    "lr",
    "weight_decay",
    "momentum",
    "nesterov",
    "ns_coefficients",
    "eps",
    "ns_steps",
    "adjust_lr_fn",
)


def reference(name: str) -> Any:
    """torch.optim's class of a name, to compare with; for Muon, where it has not all options, the
    transcription.
    """
    whole = name != "Muon" or takes(name, adjust_lr_fn="spectral_unclamped")
    return getattr(torch.optim, name) if whole else Muon
