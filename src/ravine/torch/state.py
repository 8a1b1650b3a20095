"""The state of a parameter: in torch's form, in tensors, from its first step on.

What torch.optim's class of that name stores in a tensor is one here, and it is the tensor that a kernel
reads and writes: the count of steps, scalar slots (in float64), array slots. If torch stores no count, as for
SGD, there is none in the state here.
"""

from __future__ import annotations

import sys
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ravine.engines.graph import Graph
from ravine.rule import Rule
from ravine.spellings import Spelling
from ravine.torch.narrow import empty, in_codes, in_format, is_narrow
from ravine.torch.sharded import is_spread, spread_along
from ravine.torch.tensors import as_real, dimensions

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = [
    "Begun",
    "State",
    "Watched",
    "begun",
    "count_tensor",
    "is_begun",
    "is_trial",
    "number",
    "started",
]

_EXACT = 2**24  # float32 represents all whole numbers up to here


class _Telling(dict[Any, Any]):
    """A dict that calls `_tell` when entries are removed, or added together."""

    def _tell(self) -> None:
        raise NotImplementedError

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._tell()

    def __ior__(self, other: Any) -> Any:  # type: ignore[override, misc]
        self.update(other)
        return self

    def pop(self, *args: Any) -> Any:
        """Remove an entry."""
        value = super().pop(*args)
        self._tell()
        return value

    def popitem(self) -> Any:
        """Remove the last entry."""
        item = super().popitem()
        self._tell()
        return item

    def clear(self) -> None:
        """Remove all entries."""
        super().clear()
        self._tell()

    def update(self, *args: Any, **more: Any) -> None:
        """Add entries."""
        super().update(*args, **more)
        self._tell()


class State(_Telling, defaultdict[Any, dict[str, Any]]):
    """`optimizer.state`: informs the optimizer when a parameter's state is replaced or removed, so that a
    bound step does not keep a removed state alive.
    """

    def __init__(self, optimizer: RuleOptimizer, states: Mapping[Any, dict[str, Any]]):
        super().__init__(dict, states)
        self._optimizer = weakref.ref(optimizer)
        self._shared: dict[tuple[str, str], torch.Tensor] = {}

    def is_of(self, optimizer: RuleOptimizer) -> bool:
        """Whether it informs this optimizer."""
        return self._optimizer() is optimizer

    def __reduce__(self) -> Any:
        return defaultdict, (dict, dict(self))

    def _tell(self) -> None:
        if not self:
            self._shared.clear()
        optimizer = self._optimizer()
        if optimizer is not None:
            optimizer.unbind()

    def __setitem__(self, key: Any, value: dict[str, Any]) -> None:
        replaced = key in self
        super().__setitem__(key, value)
        if replaced:
            self._tell()

    def shared(
        self, optimizer: RuleOptimizer, spelling: Spelling, key: str, start: Callable[[], Any]
    ) -> torch.Tensor:
        """The tensor that all parameters of a rule share under a key; created if none has it yet."""
        known = spelling.name, key
        if known not in self._shared:
            mine = (
                self.get(p) or {}
                for group in optimizer.param_groups
                if optimizer.spelling_of(group).name == spelling.name
                for p in group["params"]
            )
            kept = next((its[key] for its in mine if its.get(key) is not None), None)
            self._shared[known] = start() if kept is None else _scalar(kept)
        return self._shared[known]

    def moved(self, old: torch.Tensor, new: torch.Tensor) -> None:
        """A shared tensor was moved to another device."""
        self._shared |= {key: new for key, x in self._shared.items() if x is old}


class Watched(_Telling):
    """The state of one parameter; informs the optimizer when something in it is replaced or removed."""

    def __init__(self, optimizer: RuleOptimizer, state: Mapping[str, Any]):
        super().__init__(state)
        self._optimizer = weakref.ref(optimizer)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def _tell(self) -> None:
        optimizer = self._optimizer()
        if optimizer is not None:
            optimizer.unbind()

    def __setitem__(self, key: str, value: Any) -> None:
        replaced = self.get(key) is not value
        super().__setitem__(key, value)
        if replaced:
            self._tell()


@dataclass
class Begun:
    """A parameter's complete state: the names of its slots, the steps taken, and their count.

    count: the tensor in which steps are counted, or None if nothing needs it. in_state: whether it is in
    the state, as a tensor or (`whole`) as an int.
    """

    keys: Mapping[str, str]
    taken: int = 0
    count: torch.Tensor | None = None
    in_state: bool = False
    whole: bool = False


def begun(
    optimizer: RuleOptimizer,
    group: Mapping[str, Any],
    graph: Graph,
    hyper: Mapping[str, Any],
    p: torch.Tensor,
) -> Begun:
    """The state of a parameter, created if it is new, in tensors that can be used in any mode."""
    if not torch.is_inference_mode_enabled():
        return _begun(optimizer, group, graph, hyper, p)
    with torch.inference_mode(False):
        return _begun(optimizer, group, graph, hyper, p)


def _begun(
    optimizer: RuleOptimizer,
    group: Mapping[str, Any],
    graph: Graph,
    hyper: Mapping[str, Any],
    p: torch.Tensor,
) -> Begun:
    spelling = optimizer.spelling_of(group)
    keys, counted = _keys(spelling, graph), _counted(optimizer, spelling)
    if not keys and not counted:
        return Begun(keys)
    state, here = optimizer.state[p], optimizer.home(p)
    taken = int(state["step"]) if counted and state.get("step") is not None else 0
    if keys and not spelling.step:
        # If torch stores no count, what exists decides: without a buffer, this is the first step.
        known = all(state.get(key) is not None for key in keys.values())
        taken = max(1, taken) if known else 0
    whole = spelling.step == "int"
    if counted and not whole:
        count = state["step"] = count_tensor(state.get("step"), taken, group, p)
    else:
        count = number(float(taken))
        if counted:
            state["step"] = taken
    codes = in_codes(optimizer, graph, here)
    for slot, key in keys.items():
        kept = graph.rule.slots[slot]
        if kept.shared or state.get(key) is None:
            state[key] = (
                empty(here, codes[slot])
                if slot in codes
                else started(optimizer, group, graph.rule, slot, here, hyper)
            )
        elif kept.kind == "scalar":
            state[key] = _scalar(state[key], p.device)
        elif is_narrow(state[key]) or slot in codes:
            state[key] = in_format(
                state[key], codes.get(slot), here, f"{type(optimizer).__name__}: {key!r}"
            )
        elif not kept.short and state[key].shape != graph.rule.shape(slot, p.shape, **hyper):
            raise ValueError(
                f"{type(optimizer).__name__}: a parameter has shape {tuple(p.shape)} and its {key!r} "
                f"{tuple(state[key].shape)}; was it resized? del optimizer.state[parameter] resets it"
            )
    return Begun(keys, taken, count, counted, whole)


def is_begun(
    optimizer: RuleOptimizer, group: Mapping[str, Any], graph: Graph, p: torch.Tensor
) -> bool:
    """Whether a parameter has all the state that a step needs, if it needs any."""
    spelling = optimizer.spelling_of(group)
    state: Mapping[str, Any] = optimizer.state.get(p) or {}
    keys = [*_keys(spelling, graph).values(), *["step"] * _counted(optimizer, spelling)]
    return all(state.get(key) is not None for key in keys)


def _keys(spelling: Spelling, graph: Graph) -> dict[str, str]:
    return {slot: spelling.state_names.get(slot, slot) for slot in graph.live}


def _counted(optimizer: RuleOptimizer, spelling: Spelling) -> bool:
    """Whether steps are counted in the state; stochastic rounding depends on the count."""
    return bool(spelling.step) or optimizer.stochastic or optimizer.eight_bits


def count_tensor(count: Any, taken: int, group: Mapping[str, Any], p: torch.Tensor) -> torch.Tensor:
    """The count of steps in torch's form: one number in float32, or in float64 if that is the default
    dtype or float32 is exhausted. It is on the CPU until an engine that counts on the device moves it there.
    """
    if (
        type(count) is torch.Tensor
        and (count.device.type == "cpu" or count.device == p.device != torch.device("meta"))
        and count.dim() == 0
        and (count.dtype is torch.float64 or (count.dtype is torch.float32 and taken < _EXACT))
        and not count.requires_grad
    ):
        return count
    narrow = group.get("fused") or torch.get_default_dtype() != torch.float64
    dtype = torch.float32 if narrow and taken < _EXACT else torch.float64
    # Under FakeTensorMode, the value of a tensor made in this way is known.
    return torch.tensor(float(taken), dtype=dtype, device="cpu")


def number(value: float) -> torch.Tensor:
    """A slot that is one number."""
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def _scalar(kept: Any, device: torch.device | None = None) -> torch.Tensor:
    """A scalar slot in float64, on the CPU or the parameter's device; torch's checkpoints may have it in
    float32, and older ones as a number.
    """
    here = isinstance(kept, torch.Tensor) and (kept.device.type == "cpu" or kept.device == device)
    if here and (kept.requires_grad or kept.dtype is torch.float64):
        return kept
    return number(float(kept))


def started(
    optimizer: RuleOptimizer,
    group: Mapping[str, Any],
    rule: Rule,
    slot: str,
    p: torch.Tensor,
    hyper: Mapping[str, Any],
) -> Any:
    """A slot before the first step of p, in the dtype of the optimizer's state; if it is shared, the
    value that other parameters have.
    """
    kept = rule.slots[slot]
    if kept.shared:
        spelling = optimizer.spelling_of(group)
        key = spelling.state_names.get(slot, slot)
        return optimizer.state.shared(
            optimizer, spelling, key, lambda: number(kept.init(0.0, **hyper))
        )
    own = torch.float32 if optimizer.eight_bits else optimizer._how.get("state_dtype")
    dtype = getattr(torch, kept.dtype) if kept.dtype else own
    like: Any = as_real(p.detach())
    if kept.matrix and is_spread(like):  # every process has it whole
        like = like.to_local().new_zeros(()).expand(like.shape)
    try:
        if kept.kind == "array" and not (kept.matrix or kept.short or is_spread(like)):
            value: Any = hyper[kept.value] if isinstance(kept.value, str) else kept.value
            # As below, in a third of the time.
            made = (
                torch.full_like(like, value, dtype=dtype)
                if value
                else torch.zeros_like(like, dtype=dtype)
            )
        else:
            made = rule.start(slot, like if dtype in (None, like.dtype) else like.to(dtype), hyper)
    except ValueError as error:
        key = optimizer.spelling_of(group).state_names.get(slot, slot)
        raise ValueError(f"{type(optimizer).__name__}: {key!r}: {error}") from None
    if kept.short and is_spread(made):
        return _whole_along(made, rule, slot, hyper)
    if kept.kind == "scalar" or not isinstance(made, torch.Tensor):
        return made if isinstance(made, torch.Tensor) else number(made)
    if p.is_complex() and dtype is not None:
        raise ValueError(
            f"{type(optimizer).__name__}: state_dtype={optimizer._how.get('state_dtype') or dtype!r} is "
            "not supported with complex parameters; leave it out"
        )
    return torch.view_as_complex(made) if p.is_complex() else made


def _whole_along(made: Any, rule: Rule, slot: str, hyper: Mapping[str, Any]) -> Any:
    """A short slot of a sharded parameter: each process has everything that belongs to its part of p. If p
    also has length 1, torch shards both alike.
    """
    kept, ndim = rule.slots[slot], made.ndim
    long = (
        {kept.keep % ndim} if kept.keep is not None else {*range(ndim)} - {(kept.axis or 0) % ndim}
    )
    if all(spread_along(x) in {None, *long} for x in made.placements):
        return made
    from torch.distributed.tensor import Replicate, full

    placements = [x if spread_along(x) in long else Replicate() for x in made.placements]
    value = rule.start(slot, torch.zeros((1,) * ndim, device="cpu"), hyper).item()
    return full(
        made.shape,
        value,
        dtype=made.dtype,
        device_mesh=made.device_mesh,
        placements=placements,
    )


def is_trial(optimizer: RuleOptimizer) -> bool:
    """Whether torch.distributed.checkpoint takes this step, to find out what state there is.

    It sets gradients to zeros and lr to 0. Such a step is not a real one: the state is created, nothing is
    counted, and a slot that starts at lr starts again in training.
    """
    if optimizer.state or any(group.get("lr", 0) != 0 for group in optimizer.param_groups):
        return False
    frame: Any = sys._getframe(1)
    for _ in range(8):
        frame = frame and frame.f_back
        if frame is None:
            return False
        if frame.f_code.co_name == "_init_optim_state":
            break
    else:
        return False
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                graph, hyper = optimizer.planned(group, dimensions(p))
                begun(optimizer, group, graph, hyper, p)
    optimizer._tried = True
    return True
