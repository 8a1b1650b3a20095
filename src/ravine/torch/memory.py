"""The gate before every address: which tensors a kernel may be pointed at, and which share memory.

A kernel reads and writes plain memory. So a tensor must be of a class whose memory consists of exactly its
elements, and must own all of it; and no tensor may be written while another one that is computed at the
same time uses the same memory. All of this is checked here when a step is bound. Whether it has changed
since is checked by `Facts`, and by comparing addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Protocol

import torch

from ravine.engines.overlap import Span, sharing

__all__ = [
    "Facts",
    "apart",
    "facts",
    "intercepted",
    "is_alone",
    "is_cut_short",
    "lacks_memory",
    "no_memory",
    "span",
]

_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
_CPU = torch.device("cpu")
_dispatch_keys = getattr(torch._C, "_dispatch_keys", None)


def no_memory(x: torch.Tensor, where: torch.device = _CPU, whole: bool = False) -> str:
    """Why a kernel of a device cannot be pointed at a tensor, or nothing. whole: `lacks_memory` is false."""
    if type(x) not in _PLAIN:
        return f"of class {type(x).__name__}"
    if x.device != where:
        return f"on {x.device.type}"
    if x.layout is not torch.strided:
        return f"of layout {str(x.layout).removeprefix('torch.')}"
    keys = _keys(x)
    if keys is None or keys != _plain_keys(where):
        if x.is_neg() or x.is_conj():
            return "negated or conjugated by a flag"
        if x.is_inference():
            return "made in inference mode"
        if keys is not None:  # as in functionalization, in vmap, or for gradients that are zero
            return "not of plain memory"
    if whole and where == _CPU:
        return ""
    return "without all of its memory" if _lacking(x) else ""


def lacks_memory(x: Any) -> bool:
    """Whether a tensor claims more memory than it has, with which torch's own operations would crash."""
    plain = type(x) in _PLAIN and x.device.type == "cpu" and x.layout is torch.strided
    return plain and _keys(x) == _plain_keys() and _lacking(x)


def _lacking(x: torch.Tensor) -> bool:
    return bool(x.numel()) and (is_cut_short(x) or not x.data_ptr())


def is_cut_short(x: torch.Tensor) -> bool:
    """Whether the storage of a plain tensor ends before its last element."""
    storage = x.untyped_storage().nbytes()
    if storage >= (x.storage_offset() + x.numel()) * x.element_size() and x.is_contiguous():
        return False
    return bool(x.numel()) and storage < (x.storage_offset() + 1 + _last(x)) * x.element_size()


def _last(x: torch.Tensor) -> int:
    """The distance from the first element to the last one."""
    if x.is_contiguous():
        return x.numel() - 1
    return sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))


def _keys(x: torch.Tensor) -> Any:
    """The keys by which torch dispatches operations on a tensor; not public. Flags have some, too."""
    # In torch 2.6, the sets themselves compare by identity.
    return _dispatch_keys(x).raw_repr() if _dispatch_keys else None


@cache
def _plain_keys(where: torch.device = _CPU) -> Any:
    from torch.utils._python_dispatch import _disable_current_modes

    # What surrounds the first step must not affect what counts as plain.
    with _disable_current_modes(), torch._C._DisableFuncTorch(), torch.inference_mode(False):
        return _keys(torch.empty(0, device=where))


# Whether operations are watched, recorded or replaced, as by make_fx, FakeTensorMode and FLOP counters.
_stack = getattr(torch._C, "_len_torch_dispatch_stack", None)


def intercepted() -> bool:
    """Whether a mode is active that intercepts torch's operations, and that a kernel would bypass."""
    return bool(_stack and _stack())


def span(x: torch.Tensor) -> Span:
    """The range of addresses of a tensor's elements; an empty one if they have none."""
    try:
        start = x.data_ptr()
    except RuntimeError:  # as in vmap, functionalization and sparse layouts
        return 0, 0
    return start, start + (1 + _last(x)) * x.element_size() if start and x.numel() else start


def apart(written: Iterable[torch.Tensor], read: Iterable[torch.Tensor] = ()) -> bool:
    """Whether none of the tensors that are written shares memory with another one of these."""
    _, overlapping = sharing([[*map(span, read)]], [[*map(span, written)]])
    return not overlapping


def is_alone(x: torch.Tensor) -> bool:
    """Whether nobody else has a view of a tensor's memory, in this process or in another one."""
    count = getattr(torch._C, "_storage_Use_Count", None)  # not public
    storage = x.untyped_storage()
    if count is None or storage.is_shared() or storage.nbytes() != x.numel() * x.element_size():
        return False
    return bool(x.numel()) and count(storage._cdata) == 2  # the tensor and `storage`


class Facts(Protocol):
    """Properties of tensors, except for their addresses and contents."""

    def check(self, *now: Any) -> bool:
        """Whether these tensors have the same types, dtypes, devices, shapes, strides and flags."""


def facts(tensors: Sequence[torch.Tensor]) -> Facts:
    """The properties of these tensors, to compare others with."""
    try:  # the guards of torch.compile: one call in C++, a fifth of the time; not public
        from torch._C._dynamo.guards import TensorGuards

        return TensorGuards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)
    except (ImportError, TypeError):
        return _Facts(tensors)


class _Facts:
    """The same with public functions only."""

    _ASKED: tuple[Callable[[Any], Any], ...] = (
        type,
        *map(attrgetter, ("layout", "dtype", "device", "shape", "requires_grad")),
        torch.Tensor.stride,
        torch.Tensor.is_neg,
        torch.Tensor.is_conj,
        torch.Tensor.is_inference,
        _keys,
    )

    def __init__(self, tensors: Sequence[torch.Tensor]):
        self.were = self._ask(tensors)

    def check(self, *now: Any) -> bool:
        try:
            return self._ask(now) == self.were
        except (AttributeError, TypeError, RuntimeError):  # no tensor, or without strides
            return False

    def _ask(self, tensors: Sequence[Any]) -> list[list[Any]]:
        return [list(map(ask, tensors)) for ask in self._ASKED]
