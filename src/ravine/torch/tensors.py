"""Properties of tensors that the front needs: whether a kernel can step them, and with which dtypes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch

from ravine.engines.cutting import cut, is_cut
from ravine.engines.devices import KINDS
from ravine.engines.eager import Work
from ravine.engines.fused import by_lines, misshapen
from ravine.engines.graph import Graph
from ravine.engines.kernel import DTYPES, MATRIX, ROW, Kernel
from ravine.torch.memory import intercepted, no_memory
from ravine.torch.narrow import is_narrow
from ravine.torch.owners import unplaced
from ravine.torch.sharded import Sharded, is_spread, local, spread_along

__all__ = ["as_real", "dimensions", "dtype_name", "seen_by", "single", "unfit"]

_DTYPES = {getattr(torch, name): name for name in DTYPES}


def unfit(work: Work, graph: Graph, whole: bool = False) -> str:
    """Why the graph's kernel cannot step a parameter, or "". whole: none of its tensors `lacks_memory`."""
    p, lines = work.p, by_lines(graph)
    if isinstance(p, Sharded) and _draws_in_kernels(graph, lines):
        return "sharded, with random numbers"
    if isinstance(p, Sharded) and is_cut(graph) and (why := unplaced(p)):
        return why
    if intercepted():
        return "under a torch mode that sees each operation"
    tensors = [x for x in map(local, work.arrays) if isinstance(x, torch.Tensor)]
    where = p.device if p.device.type in KINDS else torch.device("cpu")
    for x in tensors:
        if why := no_memory(x, where, whole):
            return why
        if x.dtype not in _DTYPES:
            return f"dtype {x.dtype}"
    if lines is not None and (why := misshapen(lines, work)):
        return why
    matrices = {slot for slot in work.state if graph.rule.slots[slot].matrix}
    codes = {slot for slot, x in work.state.items() if is_narrow(x)}
    others = {*matrices, *codes, *(lines.short if lines is not None else ())}
    for slot, x in work.state.items():
        if slot not in others and isinstance(x, (torch.Tensor, Sharded)) and x.shape != p.shape:
            return f"state of shape {tuple(x.shape)}"
    if isinstance(p, Sharded) and not _fits_parts(work, lines, matrices):
        return "sharded otherwise than its state"
    if all(x.is_contiguous() for x in tensors):
        return ""
    if lines is not None or graph.draws or codes or isinstance(p, Sharded):
        return "not contiguous"
    if _dense(p) and all(x.stride() == p.stride() for x in tensors):
        return ""
    return "not dense, or not in one memory layout"


def _draws_in_kernels(graph: Graph, lines: Kernel | None) -> bool:
    """Whether kernels draw random numbers. A library draws those of whole tensors."""
    if not graph.draws or lines is None or not is_cut(graph):
        return graph.draws
    kernels = [turn.kernel for turn in cut(graph).turns]
    return any(kernel is not None and kernel.draws for kernel in kernels)


def _fits_parts(work: Work, lines: Kernel | None, matrices: Collection[str]) -> bool:
    """Whether each process has the parts of gradient and state that belong to its part of the parameter, and
    whole matrices of the state.
    """
    p, short = work.p, lines.short if lines is not None else {}
    state = {slot: x for slot, x in work.state.items() if slot not in matrices}
    if any(isinstance(work.state[slot], Sharded) for slot in matrices):
        return False
    full = [work.g, *work.signals.values(), *(x for k, x in state.items() if k not in short)]
    arrays = [x for x in full if isinstance(x, (torch.Tensor, Sharded))]
    if not all(isinstance(x, Sharded) and x.placements == p.placements for x in arrays):
        return False
    return lines is None or all(
        x is None or (isinstance(x, Sharded) and _lies_beside(x, p, lines, short[slot]))
        for slot, x in state.items()
        if slot in short
    )


def _lies_beside(x: Sharded, p: Sharded, lines: Kernel, line: int) -> bool:
    """Whether each process has exactly the numbers for the rows, or columns, in its part of p."""
    along = [lines.line_of(p.ndim, axis) for axis in range(p.ndim)]
    for mine, its in zip(p.placements, x.placements, strict=True):
        axis = spread_along(mine)
        kept = axis is not None and along[axis] in (MATRIX, line)
        if kept is not (spread_along(its) is not None):
            return False
        # Where several axes of p are one of x, a part of one is no part of the other.
        if axis is not None and kept and x.ndim < p.ndim and along.count(along[axis]) > 1:
            return False
    here = lines.matrices(p.local.shape)
    assert here is not None
    many, rows, columns = here
    return x.local.numel() == many * (rows if line == ROW else columns)


def single(work: Work) -> Work:
    """The dtype in which a kernel computes: float64 if a tensor of the work is float64, otherwise
    float32. Results are stored in the tensors' dtypes.
    """
    arrays = [x for x in work.arrays if _is_array(x)]
    wanted = torch.float64 if any(x.dtype == torch.float64 for x in arrays) else torch.float32
    if all(x.dtype == wanted for x in arrays):
        return work

    def wide(x: Any) -> Any:
        return x.to(wanted) if _is_array(x) else x

    return work.converted(wide, work.p.dtype if work.p.dtype != wanted else None)


def _is_array(x: Any) -> bool:
    return isinstance(x, (torch.Tensor, Sharded))


def seen_by(graph: Graph, p: torch.Tensor) -> Callable[[Any], Any]:
    """How a rule with this graph sees p, its gradient and its state."""
    if not is_spread(p):
        return as_real
    if graph.pointwise:
        return lambda x: as_real(x.to_local() if is_spread(x) else x)
    return Sharded.of


def dimensions(p: torch.Tensor) -> int:
    """The number of dimensions of p as a rule sees it: complex numbers are pairs, in another dimension."""
    return p.ndim + p.is_complex()


def as_real(x: object) -> object:
    """A complex tensor as its real and imaginary parts, in the same memory; anything else unchanged.

    A gradient that is conjugated only by a flag, as autograd's may be, is copied.
    """
    if not (isinstance(x, torch.Tensor) and x.is_complex()):
        return x
    return torch.view_as_real(x.resolve_conj())


def dtype_name(x: torch.Tensor) -> str:
    """The kernels' name for the dtype: "float32"."""
    return _DTYPES[x.dtype]


def _dense(x: torch.Tensor) -> bool:
    """Whether the elements fill a block of memory, in any order."""
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
