"""State in 8-bit codes: decoding to tensors, and encoding; see engines/narrow.py.

A slot is one tensor with the dtype of its codes, int8 or uint8: the codes of whole blocks of 256, followed
by the blocks' scales. So it is copied, pickled and moved like any other, and kernels recognize its dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from ravine import draws
from ravine.draws import Draw
from ravine.engines.graph import Graph
from ravine.engines.narrow import BLOCK, FORMATS, POISON, SMALL, Format, left, narrow, size
from ravine.torch.sharded import is_spread, local

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["decoded", "empty", "encoded", "in_codes", "in_format", "is_narrow", "told"]

_BY_DTYPE = {getattr(torch, name): form for name, form in FORMATS.items()}
_SIZE, _INFINITY = 0x7FFFFFFF, 0x7F800000


def in_codes(optimizer: RuleOptimizer, graph: Graph, p: torch.Tensor) -> Mapping[str, torch.dtype]:
    """The slots of a parameter that the optimizer stores in 8 bits, each with the dtype of its codes.

    For a sharded parameter, each process has codes of its part. There are none for small parameters, and
    none for sharded ones if the rule uses whole tensors.
    """
    if not optimizer.eight_bits or p.numel() < SMALL or p.is_complex():
        return {}
    if is_spread(p) and not graph.pointwise:
        return {}
    return {slot: getattr(torch, name) for slot, name in narrow(graph).items()}


def told(found: Iterable[tuple[Mapping[str, str], Graph, torch.Tensor]]) -> str:
    """Describe which slots are stored in 8 bits and which are not, to be appended to the engine.

    found: for each parameter, the names of its slots in the state, and its graph.
    """
    slots: dict[str, None] = {}
    others: dict[str, None] = {}
    small = spread = 0
    for names, graph, p in found:
        if not is_lazy(p) and p.numel() and narrow(graph):
            small += p.numel() < SMALL
            spread += p.numel() >= SMALL and is_spread(p) and not graph.pointwise
        slots |= dict.fromkeys(names.get(slot, slot) for slot in narrow(graph))
        others |= dict.fromkeys(names.get(slot, slot) for slot in left(graph))
    whole = [*others]
    whole += [f"{small} parameter{'s' * (small > 1)} below {SMALL:,} elements"] if small else []
    whole += [f"{spread} sharded parameter{'s' * (spread > 1)}"] if spread else []
    text = f"; 8-bit state: {', '.join(slots) or 'none'}"
    return f"{text}; float32 state: {', '.join(whole)}" if whole else text


def is_narrow(x: Any) -> bool:
    """Whether it is a slot in codes."""
    return isinstance(x, torch.Tensor) and x.dtype in _BY_DTYPE


def empty(p: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A slot of zeros in codes, for a parameter or this process's part of it."""
    here: torch.Tensor = local(p)
    return torch.zeros(size(here.numel()), dtype=dtype, device=here.device)


def in_format(
    x: torch.Tensor, dtype: torch.dtype | None, p: torch.Tensor, what: str
) -> torch.Tensor:
    """Convert a slot of a parameter, in any form, to codes of a dtype, or to float32 if that is None.
    Numbers that have a code are unchanged; others are rounded to nearest.

    Raises ValueError, beginning with `what`, if its size differs from that of the parameter.
    """
    here = local(p)
    shape = (size(here.numel()),) if is_narrow(x) else tuple(here.shape)
    if tuple(local(x).shape) != shape:
        raise ValueError(
            f"{what} has the shape {tuple(x.shape)}, and its parameter {tuple(p.shape)}; was it resized? "
            "del optimizer.state[parameter] resets it"
        )
    if x.dtype == dtype:
        return x
    number = decoded(x, here.shape) if is_narrow(x) else local(x)
    if dtype is not None:
        made = empty(number, dtype)
        encoded(made, number, None)
        return made
    if not is_spread(p):
        return number
    from torch.distributed.tensor import DTensor

    spread: Any = p
    where = spread.device_mesh, spread.placements
    return DTensor.from_local(number, *where, shape=p.shape, stride=p.stride())


def decoded(kept: torch.Tensor, shape: Any) -> torch.Tensor:
    """The numbers of a slot in codes, in float32 and in the shape of its parameter."""
    form, codes, scales = _parts(kept)
    bits = scales.view(torch.int32)
    code = codes.view(torch.uint8).int()
    if form.signed:
        lowest = 1 << form.mantissa
        magnitude = code & 0x7F
        small = magnitude < lowest
        least = bits >> form.cut
        upper = magnitude + torch.where(small, least, least - lowest)
        normal = (upper << form.cut).view(torch.float32)
        found = torch.where(small, normal - scales, normal)
        found = (found.view(torch.int32) | (code & 0x80) << 24).view(torch.float32)
    else:
        upper = code + (bits >> form.cut)
        found = torch.where(code == 0, 0, upper << form.cut).view(torch.float32)
    return found.flatten()[: shape.numel()].reshape(shape)


def encoded(kept: torch.Tensor, x: Any, draw: Draw | None, number: int = 0) -> None:
    """Store a tensor, or one number for all elements, in a slot in codes.

    draw: the source of the random bits for rounding; None for rounding to nearest. number: the index of the
    slot among those in codes.
    """
    form, codes, scales = _parts(kept)
    wide = torch.zeros(codes.shape, dtype=torch.float32, device=kept.device)
    if isinstance(x, torch.Tensor):
        wide.view(-1)[: x.numel()] = x.detach().reshape(-1)
    else:
        wide.fill_(x)
    bits = wide.view(torch.int32)
    magnitude = bits & _SIZE
    most = magnitude.amax(1, keepdim=True)
    most = most.long() + (2**form.cut - 1)  # it may be rounded up
    poisoned = most >= _INFINITY
    top = (most >> 23).clamp(min=form.window)
    base = ((top - form.window) << form.mantissa).int()
    noise = _noise(kept, draw, number, form)
    if form.signed:
        least = base + (1 << form.mantissa)
        scale = least << form.cut
        small = magnitude < scale
        even = (magnitude.view(torch.float32) + scale.view(torch.float32)).view(torch.int32)
        upper = (torch.where(small, even, magnitude) + noise) >> form.cut
        code = (upper - torch.where(small, least, base)) | (bits >> 24 & 0x80)
    else:
        scale = base << form.cut
        code = (((magnitude + noise) >> form.cut) - base).clamp(min=1)
        code = torch.where(magnitude == 0, 0, code)
    codes.copy_(torch.where(poisoned, int(not form.signed), code).to(torch.uint8).view(kept.dtype))
    scales.copy_(torch.where(poisoned, POISON, scale).int().view(torch.float32))


def _parts(kept: torch.Tensor) -> tuple[Format, torch.Tensor, torch.Tensor]:
    """The format, the codes block by block, and the blocks' scales, which are views."""
    blocks = kept.numel() // (BLOCK + 4)
    codes, scales = kept.split([blocks * BLOCK, blocks * 4])
    return _BY_DTYPE[kept.dtype], codes.view(blocks, BLOCK), scales.view(torch.float32).view(-1, 1)


def _noise(kept: torch.Tensor, draw: Draw | None, number: int, form: Format) -> Any:
    """The number to add before the lower bits are cut off."""
    if draw is None:
        return 1 << (form.cut - 1)
    blocks = kept.numel() // (BLOCK + 4)
    place = torch.arange(blocks * BLOCK, device=kept.device).view(blocks, BLOCK)
    bits = draws.code_bits(draw, number // 2, place)
    return (bits >> (32 - form.cut) if number % 2 else bits & (2**form.cut - 1)).int()
