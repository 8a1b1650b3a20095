"""Parameters that are sharded over processes: DTensors, such as those of FSDP2's fully_shard.

A rule that works element by element steps each process's part like any tensor. A rule that uses whole
tensors is called with `Sharded`: the local part, with the sums and means of the whole.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from ravine import ops
from ravine.arrays import AXES, REDUCED
from ravine.draws import DRAWN
from ravine.engines.graph import OF_ARRAYS, Graph
from ravine.ops import Operable, Tensors

if TYPE_CHECKING:
    from torch.distributed import DeviceMesh, ProcessGroup
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.placement_types import Placement

_EXTREMES = ("greatest", "least")

__all__ = [
    "Sharded",
    "Shards",
    "alike",
    "groups_of",
    "is_spread",
    "local",
    "refusal",
    "spread_along",
]


_PLAIN = (torch.Tensor, torch.nn.Parameter)


def is_spread(x: Any) -> bool:
    """Whether x is a DTensor, without importing torch.distributed.tensor, which is slow."""
    if type(x) in _PLAIN:
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def local(x: Any) -> Any:
    """The local part of a sharded tensor, sharing its memory; anything else unchanged."""
    if type(x) in _PLAIN:
        return x
    if isinstance(x, Sharded):
        return x.local
    return x._local_tensor if is_spread(x) else x


def alike(g: Any, p: Any) -> Any:
    """The gradient, sharded like its parameter."""
    return g if g.placements == p.placements else g.redistribute(placements=p.placements)


def refusal(p: torch.Tensor, graph: Graph, computed: bool, summed: bool) -> str:
    """Why a sharded parameter cannot be stepped, or "".

    computed: whether autograd must see through the step. summed: whether the gradient norm is needed.
    """
    if getattr(p, "_fsdp_flattened", False) and not (graph.pointwise and not graph.by_ndim):
        return (
            f"{graph.rule.name!r} looks at whole tensors, and FullyShardedDataParallel has none; "
            "use torch.distributed.fsdp.fully_shard"
        )
    if is_spread(p) and computed:
        return "differentiable=True is not supported where parameters are spread over processes"
    if is_spread(p) and summed:
        return (
            "grad_norm=True is not supported where parameters are spread over processes; "
            "torch.nn.utils.get_total_norm has the norm of their gradients"
        )
    return ""


class Sharded(Operable):
    """The local part of a sharded tensor, for rules that use all of it.

    Elementwise operations use the local parts. Sums and means are those of the whole tensor; all processes
    take part in them, even those whose part is empty. If a whole matrix is needed, as for `qr`, the parts
    are gathered. shape: of the whole. placements: the dimension that is sharded over each dimension of the
    mesh of processes, if any.
    """

    __slots__ = ("local", "mesh", "placements", "shape")

    def __init__(
        self,
        local: torch.Tensor,
        mesh: DeviceMesh,
        placements: Sequence[Placement],
        shape: Sequence[int],
    ) -> None:
        self.local, self.mesh = local, mesh
        self.placements, self.shape = tuple(placements), torch.Size(shape)

    @classmethod
    def of(cls, x: Any) -> Any:
        """From a DTensor; anything else unchanged. Complex numbers become pairs, in a last dimension."""
        if not is_spread(x):
            return x
        local = x.to_local()
        if not x.is_complex():
            return cls(local, x.device_mesh, x.placements, x.shape)
        return cls(torch.view_as_real(local), x.device_mesh, x.placements, (*x.shape, 2))

    @property
    def ndim(self) -> int:
        """The number of dimensions of the whole."""
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The parts' dtype."""
        return self.local.dtype

    @property
    def device(self) -> torch.device:
        """The device of the local part."""
        return self.local.device

    def to(self, dtype: torch.dtype) -> Sharded:
        """The same numbers in another dtype."""
        return self._with(self.local.to(dtype))

    def reshape(self, shape: Sequence[int]) -> Sharded:
        """The same elements in another shape; gathered, unless the first axis is the sharded one."""
        rows = {0, None}
        if shape[0] == self.shape[0] and {spread_along(p) for p in self.placements} <= rows:
            local = self.local.reshape(len(self.local), *shape[1:])
            return Sharded(local, self.mesh, self.placements, shape)
        return self._whole(self.full().reshape(shape))

    def copy_(self, value: Any) -> None:
        """Store a value: sharded in any way, or one number for all elements."""
        mine = value.spread(self.placements, self.shape) if isinstance(value, Sharded) else value
        self.local.copy_(torch.as_tensor(mine))

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        """The operation over the whole tensors; a reduction to one number gives a plain tensor."""
        if name in REDUCED:
            return Shards([self]).operate(name, (Shards([self]),))[0]
        if name == "size":
            return self.shape[args[1]]
        if name == "numel":
            return self.shape.numel()
        if name == "ndim":
            return self.ndim
        if name == "epsilon":
            return ops.apply(name, self.local)
        if name in DRAWN:  # all of it, since each number depends on its position
            whole = ops.apply(
                name, torch.empty(self.shape, dtype=self.dtype, device=self.device), args[1]
            )
            return self._with(self._whole(whole).spread(self.placements, self.shape))
        if name in AXES:
            reduction, axes = AXES[name]
            return self._over(axes(self, args[1]), reduction)
        if name in OF_ARRAYS:
            whole = ops.apply(name, *(x.full() if isinstance(x, Sharded) else x for x in args))
            if name == "newton_schulz":  # at once, so that no process keeps all matrices whole
                return self._with(self._whole(whole).spread(self.placements, self.shape))
            return tuple(map(self._whole, whole)) if type(whole) is tuple else self._whole(whole)
        return self._each(name, args)

    def _each(self, name: str, args: tuple[Any, ...]) -> Sharded:
        """An elementwise operation, on parts with the same sharding."""
        whole = [x for x in args if isinstance(x, Sharded)]
        shape = torch.broadcast_shapes(*(x.shape for x in whole))
        placements = [
            next((p for p in column if not p.is_replicate()), column[0])
            for column in zip(*(x.placements for x in whole), strict=True)
        ]
        parts = [x.spread(placements, shape) if isinstance(x, Sharded) else x for x in args]
        kind = ops._like.get()
        with ops.typed_like(kind.local if isinstance(kind, Sharded) else kind):
            return Sharded(ops.apply(name, *parts), self.mesh, placements, shape)

    def _over(self, axes: Sequence[int], reduction: str) -> Sharded:
        """A reduction over some axes, which stay with length 1."""
        value = _part(reduction, self.local, axes)
        [value] = _reduced([value], [groups_of(self.mesh, self.placements, axes)], reduction)
        placements = [_nowhere() if spread_along(p) in axes else p for p in self.placements]
        shape = [1 if i in axes else n for i, n in enumerate(self.shape)]
        value = value / prod(self.shape[i] for i in axes) if reduction == "mean" else value
        return Sharded(value, self.mesh, placements, shape)

    def spread(self, placements: Sequence[Placement], shape: Sequence[int]) -> torch.Tensor:
        """The local part that the whole would have, broadcast to that shape and sharded in this way."""
        missing = len(shape) - len(self.shape)
        if missing:
            local = self.local[
                (None,) * missing
            ]  # fewer dimensions: from a gathered tensor, as for eigh
            return self._whole(local).spread(placements, shape)
        wanted = tuple(
            now if (dim := spread_along(p)) is not None and self.shape[dim] != shape[dim] else p
            for now, p in zip(self.placements, placements, strict=True)
        )
        if wanted == self.placements:
            return self.local
        return self._dtensor().redistribute(placements=wanted).to_local()

    def full(self) -> torch.Tensor:
        """The whole tensor, gathered."""
        if all(p.is_replicate() for p in self.placements):
            return self.local
        return self._dtensor().full_tensor()

    def _dtensor(self) -> DTensor:
        from torch.distributed.tensor import DTensor

        local = self.local.contiguous()
        stride = torch.empty(self.shape, device="meta").stride()
        how: Any = {"run_check": False, "shape": self.shape, "stride": stride}
        return DTensor.from_local(local, self.mesh, self.placements, **how)

    def _with(self, local: torch.Tensor) -> Sharded:
        return Sharded(local, self.mesh, self.placements, self.shape)

    def _whole(self, value: torch.Tensor) -> Sharded:
        """A whole tensor, which every process has."""
        return Sharded(value, self.mesh, [_nowhere()] * self.mesh.ndim, value.shape)


class Shards(Tensors):
    """A bag of `Sharded` and other tensors, in which each reduction is one message for all of them."""

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        """Map the operation over the bag; plain values go to every member."""
        if name not in (*REDUCED, "total"):
            return super().operate(name, args)
        parts = [_part(name, x.local if isinstance(x, Sharded) else x) for x in self]
        values = _reduced(parts, [_groups_of(x) for x in self], name)
        if name == "total":
            return sum(values)
        if name == "mean":
            values = [v / prod(getattr(x, "shape", ())) for v, x in zip(values, self, strict=True)]
        return Shards(values)


def _groups_of(x: Any) -> tuple[ProcessGroup, ...]:
    """The groups of processes over which x's elements are sharded; none if each process has them all."""
    return groups_of(x.mesh, x.placements) if isinstance(x, Sharded) else ()


def _part(name: str, x: Any, axes: Sequence[int] | None = None) -> Any:
    """The contribution of the local part, which may be empty, to a reduction over some or all axes.
    For a mean, it is the sum.
    """
    name = name if name in _EXTREMES else "sum"
    if axes is None:
        return ops.apply(name, x)
    for axis in axes:
        x = ops.apply(f"{name}_along", x, axis)
    return x


def _reduced(
    values: Sequence[torch.Tensor], groups: Sequence[tuple[ProcessGroup, ...]], name: str
) -> list[torch.Tensor]:
    """Combine the parts of each reduction, in one message for all within the same groups."""
    alike: dict[Any, list[int]] = {}
    results = list(values)
    for i, (value, over) in enumerate(zip(values, groups, strict=True)):
        if over:
            alike.setdefault((over, value.dtype), []).append(i)
    for (over, _), places in alike.items():
        message = _all_reduce(torch.stack([values[i] for i in places]), over, name)
        for i, value in zip(places, message.unbind(), strict=True):
            results[i] = value
    return results


def _all_reduce(message: torch.Tensor, groups: Sequence[ProcessGroup], name: str) -> torch.Tensor:
    """Combine each number of a message with those of the other processes."""
    if name not in _EXTREMES:
        for group in groups:
            dist.all_reduce(message, group=group)
        return message
    nan, sign = message.isnan(), -1 if name == "least" else 1
    # NaN is handled separately, since gloo's maximum loses it.
    both = torch.stack([(sign * message).masked_fill(nan, -math.inf), nan.to(message.dtype)])
    for group in groups:
        dist.all_reduce(both, dist.ReduceOp.MAX, group)
    return (sign * both[0]).masked_fill(both[1] > 0, math.nan)


def groups_of(
    mesh: DeviceMesh, placements: Sequence[Placement], axes: Sequence[int] | None = None
) -> tuple[ProcessGroup, ...]:
    """The groups of processes over which the elements (along some axes) are sharded."""
    dims = [spread_along(p) for p in placements]
    return tuple(
        mesh.get_group(i)
        for i, dim in enumerate(dims)
        if dim is not None and (axes is None or dim in axes)
    )


def spread_along(placement: Placement) -> int | None:
    """The sharded dimension, if any."""
    return getattr(placement, "dim", None)


def _nowhere() -> Placement:
    from torch.distributed.tensor import Replicate

    return Replicate()
