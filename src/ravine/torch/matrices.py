"""The operations on stacks of matrices that torch does between kernels, in memory that is kept.

Newton-Schulz multiplies X by polynomials of S = X Xᵀ. As it is written, each step does that with products of
the long side. On Gram matrices, the polynomials of several steps are multiplied first, which are square, and
X only by what comes of them. S itself is then S P², which loses digits with each step; so after a few, it is
made of X again. All these products but the last are symmetric: of large ones, only the columns above the
diagonal are computed, in a few blocks, and mirrored.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any

import torch

from ravine.engines.stacks import Stack

__all__ = ["Stacks"]

_CPU = torch.device("cpu")
_TOGETHER = 256  # matrices whose shorter side is as long gain nothing from one call for all of them
_TOGETHER_ELSEWHERE = 1024  # on a GPU, where a launch takes as long as multiplying smaller ones
_LONG = 2.5  # times as long as wide a matrix has to be for Gram matrices to take fewer operations
_MOST_LOST = (
    200.0  # by how much roundings may grow before S is made of X again: 3 steps of Jordan's
)
# From which width half of a symmetric product takes less time: of X Xᵀ, and of two square matrices.
# Processors that multiply bfloat16 in tiles are too fast for small blocks.
_HALVED, _PRODUCTS, _SQUARES = 512, {torch.bfloat16: 768}, {torch.bfloat16: 3072}
_BLOCKS = 4  # of columns


class Stacks:
    """What kernels and matrix operations share; see :class:`ravine.engines.stacks.Library`.

    gram: whether Newton-Schulz steps are taken on Gram matrices where that takes fewer operations. device:
    where the matrices are.
    """

    def __init__(self, gram: bool = False, device: torch.device = _CPU) -> None:
        self.gram, self.device = gram, device
        self._together = _TOGETHER if device.type == "cpu" else _TOGETHER_ELSEWHERE
        self._kept: dict[tuple[Any, ...], torch.Tensor] = {}
        self._held: dict[str, dict[int, torch.Tensor]] = {}

    address = staticmethod(torch.Tensor.data_ptr)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """No gradients, no other dtypes than asked for; what is made here is changed here only."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            yield

    def empty(self, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
        """An array of a dtype by name, of zeros, so that there is nothing odd where nothing is written."""
        return torch.zeros(shape, dtype=getattr(torch, dtype), device=self.device)

    def hold(self, column: str, tensors: Iterable[torch.Tensor | None]) -> None:
        """Remember a column's tensors for `view`, in place of earlier ones: torch makes no tensor of an
        address on every device.
        """
        self._held[column] = {x.data_ptr(): x for x in tensors if x is not None}

    def view(self, address: int, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
        """The array that begins there, row by row."""
        held = next((its[address] for its in self._held.values() if address in its), None)
        if held is not None:
            strides = (*accumulate(shape[:0:-1], mul, initial=1),)[::-1]
            return held.detach().as_strided(shape, strides)
        of = getattr(torch, dtype)
        bytes_of = ctypes.c_byte * (prod(shape) * of.itemsize)
        return torch.frombuffer(bytes_of.from_address(address), dtype=of).view(shape)

    @staticmethod
    def dtype(x: torch.Tensor) -> str:
        """An array's dtype by name."""
        return str(x.dtype).removeprefix("torch.")

    @staticmethod
    def joined(arrays: list[torch.Tensor]) -> torch.Tensor:
        """Stacks, one after the other."""
        return torch.cat(arrays)

    @staticmethod
    def stacked(each: list[torch.Tensor]) -> torch.Tensor:
        """Matrices as one array."""
        return torch.stack(each) if len(each) > 1 else each[0][None]

    @staticmethod
    def taken(x: list[torch.Tensor], orders: list[torch.Tensor], axis: int) -> list[torch.Tensor]:
        """The rows (axis 0) or columns (axis 1) of matrices in an order for each."""
        places = [order.flatten().long() % x[0].shape[axis] for order in orders]
        return [torch.index_select(one, axis, its) for one, its in zip(x, places, strict=True)]

    def filled(self, x: Any, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
        """An array of this shape and dtype, row by row: x itself if it is one, or with x repeated."""
        of = getattr(torch, dtype)
        if not isinstance(x, torch.Tensor):
            return torch.full(shape, float(x), dtype=of, device=self.device)
        return x.to(of).expand(shape).contiguous()

    @staticmethod
    def copy(to: list[torch.Tensor], of: list[torch.Tensor]) -> None:
        """Copy arrays into others."""
        torch._foreach_copy_(to, of)

    def multiply(self, a: Stack, b: Stack, to: Stack) -> None:
        """The products of the matrices of two stacks."""
        if self._all_at_once(a, b):
            torch.bmm(a.whole, b.whole, out=to.whole)
        else:
            for x, y, z in zip(a.each, b.each, to.each, strict=True):
                torch.mm(x, y, out=z)

    def multiply_add(
        self, base: Stack, beta: float, a: Stack, b: Stack, alpha: float, to: Stack
    ) -> None:
        """The same, times alpha, and what is added to it, times beta."""
        factors = {"beta": beta, "alpha": alpha}
        if self._all_at_once(a, b):
            torch.baddbmm(base.whole, a.whole, b.whole, out=to.whole, **factors)
        else:
            for w, x, y, z in zip(base.each, a.each, b.each, to.each, strict=True):
                torch.addmm(w, x, y, out=z, **factors)

    @staticmethod
    def multiply_in_place(
        base: list[torch.Tensor], beta: float, a: Stack, b: Stack, alpha: float
    ) -> None:
        """The same, in the place of what they are added to."""
        for w, x, y in zip(base, a.each, b.each, strict=True):
            w.addmm_(x, y, beta=beta, alpha=alpha)

    @staticmethod
    def orthonormal(x: torch.Tensor) -> torch.Tensor:
        """The first part of the QR decompositions of a stack.

        LAPACK multiplies the identity by the same reflections that torch.linalg.qr puts together with
        `orgqr`, which takes 1.7 to 3 times as long. On a GPU, that is for cuSOLVER to decide.
        """
        if x.device.type != "cpu":
            return torch.linalg.qr(x)[0]
        reflections, tau = torch.geqrf(x)
        *batch, rows, columns = x.shape
        short = min(rows, columns)
        identity = torch.eye(rows, short, dtype=x.dtype, device="cpu").expand(*batch, rows, short)
        return torch.ormqr(reflections[..., :short], tau, identity)

    def newton_schulz(
        self, x: torch.Tensor, eps: float, steps: float, bfloat16: bool, *coefficients: float
    ) -> torch.Tensor:
        """As :func:`ravine.ops.newton_schulz`, of a stack, which is overwritten.

        With torch.optim.Muon's own operations, on arrays in the same layouts: another order of sums is, in
        bfloat16, now and then another number. The result is kept until the next call with this stack.
        """
        many, rows, columns = x.shape
        tall, shorter = rows > columns, min(rows, columns)
        x.div_(x.norm(dim=(-2, -1), keepdim=True).clamp_(min=eps))
        wide = x.mT if tall else x
        gram, square = (
            self._keep(name, (many, shorter, shorter), x) for name in ("gram", "square")
        )
        one = self._keep((x.data_ptr(), "one"), wide.shape, x)
        other = self._keep((x.data_ptr(), "other"), wide.shape, x) if tall else x
        last = len(coefficients) // 3 - 1
        each = [coefficients[3 * i : 3 * i + 3] for i in range(last + 1)]
        triples = [each[min(i, last)] for i in range(int(steps))]
        arrays = (wide, one, other, gram, square)
        if self.gram and max(rows, columns) >= _LONG * shorter:
            more = [self._keep(name, (many, shorter, shorter), x) for name in ("whole", "third")]
            found = _by_polynomials((*arrays, *more), _runs(triples), self._together)
            return x.copy_(found.mT) if tall else found
        if many > 1 and shorter < self._together:
            found = _iterated(arrays, triples, torch.bmm, torch.baddbmm)
        else:
            for i in range(many):
                its = [array[i] for array in arrays]
                _iterated(its, triples, torch.mm, torch.addmm)
            found = (wide, one, other)[0 if not triples else 2 - len(triples) % 2]
        return x.copy_(found.mT) if tall else found

    def _keep(self, name: Any, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        key = (name, *shape, like.dtype)
        if key not in self._kept:
            self._kept[key] = torch.empty(tuple(shape), dtype=like.dtype, device=self.device)
        return self._kept[key]

    def _all_at_once(self, a: Stack, b: Stack) -> bool:
        many, rows, inner = a.shape
        return many > 1 and rows * inner * b.shape[2] < self._together**3


def _iterated(
    arrays: Sequence[torch.Tensor],
    triples: Sequence[Sequence[float]],
    multiply: Callable[..., Any],
    add: Callable[..., Any],
) -> torch.Tensor:
    """X = a X + (b S + c S S) X with S = X Xᵀ, from x into one array, into the other, and back."""
    x, one, other, gram, square = arrays
    for a, b, c in triples:
        multiply(x, x.mT, out=gram)
        add(gram, gram, gram, beta=b, alpha=c, out=square)
        x, one, other = add(x, square, x, beta=a, out=one), other, one
    return x


def _runs(triples: Sequence[Sequence[float]]) -> list[list[Sequence[float]]]:
    """The steps, those together between which S is not made of X again."""
    runs: list[list[Sequence[float]]] = []
    lost = _MOST_LOST + 1
    for triple in triples:
        if lost > _MOST_LOST:
            runs.append([])
            lost = 1.0
        runs[-1].append(triple)
        lost *= triple[0] ** 2
    return runs


def _by_polynomials(
    arrays: Sequence[torch.Tensor], runs: Sequence[Sequence[Sequence[float]]], together: int
) -> torch.Tensor:
    """X = P₂ P₁ X for a run of two steps, with P = a + b S + c S S, and S = P S P after each step.

    together: the width from which matrices are multiplied one by one.
    """
    x, one, other, gram, factor, whole, third = arrays
    width, on_cpu = gram.shape[-1], x.device.type == "cpu"
    halved = [on_cpu and width >= its.get(x.dtype, _HALVED) for its in (_PRODUCTS, _SQUARES)]

    def multiply(
        a: torch.Tensor, b: torch.Tensor, to: torch.Tensor, half: bool = False, **factors: float
    ) -> None:
        if width < together:
            torch.baddbmm(a, a, b, out=to, **factors) if factors else torch.bmm(a, b, out=to)
        else:
            _multiply_each(a, b, to, half, **factors)

    for run in runs:
        multiply(x, x.mT, gram, halved[0])
        for i, (a, b, c) in enumerate(run):
            multiply(gram, gram, factor, halved[1], beta=b, alpha=c)
            factor.diagonal(dim1=-2, dim2=-1).add_(a)
            if i:
                multiply(factor, whole, third, halved[1])
                whole, third = third, whole
            else:
                whole.copy_(factor)
            if i < len(run) - 1:
                multiply(factor, gram, third, halved[1])
                multiply(third, factor, gram, halved[1])
        multiply(whole, x, one)
        x, one, other = one, other, one
    return x


def _multiply_each(
    a: torch.Tensor, b: torch.Tensor, to: torch.Tensor, halved: bool = False, **factors: float
) -> None:
    """The products of two stacks, one by one. halved: whether they are symmetric, and only half of each is
    computed. factors: alpha, by which they are multiplied, and beta, by which a is before it is added.
    """
    columns = to.shape[-1]
    size = -(-columns // (32 * _BLOCKS)) * 32 if halved else columns
    for x, y, z in zip(a, b, to, strict=True):
        for i in range(0, columns, size):
            rows, its = slice(i + size if halved else None), slice(i, i + size)
            if factors:
                torch.addmm(x[rows, its], x[rows], y[:, its], out=z[rows, its], **factors)
            else:
                torch.mm(x[rows], y[:, its], out=z[rows, its])
            if i:
                z[its, :i] = z[:i, its].T
