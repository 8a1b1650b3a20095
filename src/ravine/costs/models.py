"""The parameters of a model that is not there: their shapes, and which of them a matrix rule steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from ravine.files import load

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Model", "Tensors", "of_module", "of_place", "transformer"]

VOCABULARY = 32_000
"""Tokens of a transformer, as Llama has them (arXiv:2302.13971); fewer where they would be most of it."""


@dataclass(frozen=True)
class Tensors:
    """Parameters of one shape. count: how many. inner: whether a rule for matrices steps them."""

    shape: tuple[int, ...]
    count: int
    inner: bool

    @property
    def numel(self) -> int:
        """The elements of one of them."""
        return prod(self.shape)


@dataclass(frozen=True)
class Model:
    """The parameters of a model. name: what it is, in a few words."""

    name: str
    tensors: Sequence[Tensors]

    @property
    def numel(self) -> int:
        """The elements of all parameters."""
        return sum(x.count * x.numel for x in self.tensors)


def transformer(params: float) -> Model:
    """A decoder with about as many parameters, to within 1 %.

    Its blocks have the shapes of Llama's (arXiv:2302.13971): four square matrices of attention, three of a
    gated perceptron, two gains. The width is 128 times the number of blocks, as in the model of 7e9. Raises
    ValueError for fewer than 10,000.
    """
    if not params >= 1e4 or params > 1e15:
        raise ValueError(f"params={params:g} is invalid; it must be a number from 1e4 to 1e15")
    width = 8
    while _size(width + 8) <= params:
        width += 8
    blocks, tokens = _blocks(width), _tokens(width)
    rest = params - 2 * tokens * width - width
    inner = max(round((rest / blocks - 4 * width**2 - 2 * width) / (3 * width)), 1)
    tensors = [
        Tensors((tokens, width), 2, inner=False),
        Tensors((width, width), 4 * blocks, inner=True),
        Tensors((inner, width), 2 * blocks, inner=True),
        Tensors((width, inner), blocks, inner=True),
        Tensors((width,), 2 * blocks + 1, inner=False),
    ]
    return Model(f"a decoder of {blocks} blocks of width {width:,}", tensors)


def _blocks(width: int) -> int:
    return max(round(width / 128), 1)


def _tokens(width: int) -> int:
    return min(VOCABULARY, 6 * width)


def _size(width: int) -> float:
    """The parameters of a decoder whose perceptron is 8/3 times as wide."""
    return 12 * _blocks(width) * width**2 + 2 * _tokens(width) * width


def of_module(model: nn.Module, name: str = "") -> Model:
    """The parameters of a model, which may be on the meta device; frozen ones are left out.

    Matrices and convolutions between the ends of the network are stepped by a rule for matrices.
    """
    from ravine.torch.roles import roles_of

    found = Counter(
        (tuple(p.shape), row.role in ("hidden", "conv"))
        for p, row in roles_of(model).items()
        if p.requires_grad
    )
    tensors = [Tensors(shape, count, inner) for (shape, inner), count in found.items()]
    return Model(name or type(model).__name__, tensors)


def of_place(place: str) -> Model:
    """The parameters of the model that a function returns, FILE:NAME or MODULE:NAME.

    It is called on the meta device, where nothing is allocated; the file is run. Raises ValueError for what
    is no such place, and for what returns no torch.nn.Module.
    """
    file, _, name = place.rpartition(":")
    if not file:
        raise ValueError(f"model {place!r} is invalid; write FILE:NAME or MODULE:NAME")
    import torch

    make = getattr(load(file), name, None)
    if not callable(make):
        raise ValueError(f"model {place!r} is invalid; there is no function {name!r} in {file}")
    with torch.device("meta"):
        made = make()
    if not isinstance(made, torch.nn.Module):
        raise ValueError(
            f"model {place!r} is invalid; {name}() returns {type(made).__name__}, and it must return a "
            "torch.nn.Module"
        )
    return of_module(made)
