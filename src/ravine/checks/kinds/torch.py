"""Torch-style optimizers: they receive parameters, and `step()` updates these from their .grad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ravine.checks.guard import CouldNotRun, guarded, reseed
from ravine.checks.kinds.arrays import required
from ravine.checks.kinds.base import Array, Running

__all__ = ["OfTorch"]


class OfTorch(Running):
    """A class such as torch.optim's, or a function that creates an optimizer for parameters.

    If `step` rejects dense gradients, like torch.optim.SparseAdam, it gets sparse ones. If it needs a
    closure, it gets that of a linear loss, whose gradients are the given ones everywhere.
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
        if callable(train):  # schedule-free ones need it
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

    def step_on(
        self, loss: Callable[[list[Array]], float], gradients: Callable[[list[Array]], list[Array]]
    ) -> None:
        """The same, but a closure is evaluated at each call, as line searches require."""

        def closure() -> Any:
            at = self.parameters()
            self.give(list(gradients(at)))
            return torch.tensor(loss(at), dtype=getattr(torch, self.dtype))

        if not self.closure:
            return super().step_on(loss, gradients)
        self.steps += 1
        reseed(self.steps)
        with guarded("step", self.heard, self.steps):
            self.optimizer.step(closure)

    def _loss(self, grads: list[Array | None]) -> Any:
        """Set the gradients, and return a loss with them: the sum of parameters times gradients."""
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
            its = torch.empty_like(p.detach()).copy_(
                given
            )  # with the layout that backward() gives it
            p.grad = given.to_sparse(1).coalesce() if self.sparse else its

    def _restore(self) -> None:
        with torch.no_grad():
            for p, x in zip(self.params, self.starts, strict=True):
                p.copy_(torch.tensor(x))

    def _parameters(self) -> Sequence[Any]:
        dtype = torch.complex128 if self.dtype == "complex128" else torch.float64
        return [p.detach().to(dtype).numpy() for p in self.params]

    def gradients(self) -> list[Any]:
        """The current contents of the gradients that it received last."""
        every = (p.grad for p in self.params)
        return [None if g is None else g.detach().to_dense().double().numpy() for g in every]
