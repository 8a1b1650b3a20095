"""Optimizers of torch's kind: they are given parameters, and `step()` moves these by their .grad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ravine.checks.guard import CouldNotRun
from ravine.checks.kinds.arrays import required
from ravine.checks.kinds.base import Array, Running

__all__ = ["OfTorch"]


class OfTorch(Running):
    """A class such as torch.optim's, or a function that makes an optimizer of parameters.

    Where `step` refuses dense gradients, as torch.optim.SparseAdam's does, they are given as sparse ones.
    Where it needs a closure, it gets that of a linear loss, whose gradients are the given ones anywhere.
    """

    has = frozenset({"float64", "torch", "missing", "dtypes", "object", "gradients"})
    sparse = False
    complex = True

    def _make(self) -> None:
        dtype = getattr(torch, self.dtype)
        self.params = [torch.nn.Parameter(torch.tensor(x, dtype=dtype)) for x in self.starts]
        self.optimizer = self.maker(self.arrange(self.params), **self.arguments)
        if not callable(getattr(self.optimizer, "step", None)):
            raise CouldNotRun("make", f"{type(self.optimizer).__name__} has no method step()")
        self.closure = required(self.optimizer.step)[:1] == ["closure"]
        if hasattr(self.optimizer, "param_groups"):
            self.has |= {"groups"}
        if hasattr(self.optimizer, "state_dict") and hasattr(self.optimizer, "load_state_dict"):
            self.has |= {"state_dict"}
        train = getattr(self.optimizer, "train", None)
        if callable(train):  # as schedule-free ones need
            train()

    def _step(self, grads: list[Array | None]) -> None:
        if self.closure:
            self.optimizer.step(lambda: self._loss(grads))
            return
        self.give(grads)
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if self.sparse or "plain" in self.has or "dense" not in str(error):
                raise
            self.sparse = True
            self.give(grads)
            self.optimizer.step()
            return
        self.has |= set() if self.sparse else {"plain"}

    def _loss(self, grads: list[Array | None]) -> Any:
        """Set the gradients; the loss that has them: the sum of all parameters times their gradients."""
        self.give(grads)
        return sum(
            (p.detach() * p.grad).sum() for p in self.params if p.grad is not None
        ) + torch.zeros((), dtype=getattr(torch, self.dtype))

    def give(self, grads: list[Array | None]) -> None:
        """Set the parameters' gradients."""
        for p, g in zip(self.params, grads, strict=True):
            if g is None:
                p.grad = None
                continue
            given = torch.tensor(g, dtype=p.dtype)
            its = torch.empty_like(p.detach()).copy_(given)  # laid out as backward() lays it out
            p.grad = given.to_sparse(1).coalesce() if self.sparse else its

    def _restore(self) -> None:
        with torch.no_grad():
            for p, x in zip(self.params, self.starts, strict=True):
                p.copy_(torch.tensor(x))

    def _parameters(self) -> Sequence[Any]:
        dtype = torch.complex128 if self.dtype == "complex128" else torch.float64
        return [p.detach().to(dtype).numpy() for p in self.params]

    def gradients(self) -> list[Any]:
        """The gradients that it was given last, as they are now."""
        every = (p.grad for p in self.params)
        return [None if g is None else g.detach().to_dense().double().numpy() for g in every]
