"""`flatten=True`: parameters, gradients and states are stored one after another in a few blocks of memory.

Every tensor remains a tensor: its elements are a piece of a block, and kernels step it like any other, with
the same bits. The gain is that a step need not check everything again. The optimizer owns the gradients'
memory and keeps it from step to step, so that it can hold references to them, and each parameter's state
reports when something in it is replaced. So a step only checks whether the gradients are still the same
tensors, and whether all tensors have the same addresses. If not, it does the same checks as without blocks.

A tensor whose memory is also visible to others stays where it is.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from ravine.engines.threads import after_fork
from ravine.torch.memory import Facts, facts, is_alone
from ravine.torch.state import Watched

if TYPE_CHECKING:
    from ravine.torch.bound import Bound
    from ravine.torch.rule_optimizer import RuleOptimizer
    from ravine.torch.stepping import KernelPart

__all__ = ["Flat"]

_LINE = 64  # each tensor begins at a multiple of this number of bytes
_grad = attrgetter("grad")
_flats: weakref.WeakSet[Flat] = weakref.WeakSet()


def _after_fork() -> None:
    for flat in _flats:
        flat.lock = threading.RLock()


after_fork(_after_fork)


class Flat:
    """The blocks of an optimizer.

    pending: whether tensors will be moved into blocks after the next step. grads: the gradient of each
    parameter that is in a block. whys: for each other parameter, why it is not. lock: held during a step,
    so that no kernel runs while tensors are moved.
    """

    def __init__(self) -> None:
        self.pending, self.lock = True, threading.RLock()
        self._why = ""  # nothing is flat
        self.grads: dict[torch.Tensor, torch.Tensor] = {}
        self.whys: dict[torch.Tensor, str] = {}
        self._blocks: list[torch.Tensor] = []  # of gradients
        self._owned: set[int] = set()  # where the blocks begin, of everything
        self._lists: list[list[torch.Tensor]] = []  # of gradients, as kernels want them
        self._listed: Counter[int] = Counter()  # in how many of these each gradient is
        self._places: dict[int, int] = {}  # of each gradient, where it begins
        # The gradients that all parameters had when `zero_grad` was called last, if all were in blocks.
        self._known: tuple[list[torch.Tensor], Facts] | None = None
        self._left: list[torch.Tensor] = []  # memory that another thread may still be reading
        _flats.add(self)

    def settle(self, optimizer: RuleOptimizer, bound: Bound) -> None:
        """After a bound step: move tensors if that is pending, or inform the kernels of the blocks."""
        self._left.clear()
        in_place = bound.repeatable and bound.circle is None
        self._why = ""
        if not hasattr(torch._C, "_storage_Use_Count"):
            self._why = "this version of torch does not count who holds a tensor's memory"
        elif optimizer._in_backward is not None:
            self._why = "steps are taken in backward"
        elif not in_place or any(kernel.spread for kernel in bound.kernels):
            self._why = "kernels do not step all tensors in the memory that they have"
        elif self.pending:
            self.pending = False
            optimizer.unbind()
            self._known = None
            self._lists.clear()
            self._listed.clear()
            known = {p for group in optimizer.param_groups for p in group["params"]}
            self.grads = {p: g for p, g in self.grads.items() if p in known}
            self._places = {id(g): self._places[id(g)] for g in self.grads.values()}
            used = {g.untyped_storage().data_ptr() for g in self.grads.values()}
            self._blocks = [block for block in self._blocks if block.data_ptr() in used]
            with torch.no_grad(), torch.inference_mode(False):
                for kernel in bound.kernels:
                    self._move_parameters(kernel.params)
                    self._move_states(optimizer, kernel)
            for g in self.grads.values():
                self._places.setdefault(id(g), g.data_ptr())
        else:
            for kernel in bound.kernels:
                if self._has_all(optimizer, kernel.params):
                    kernel.keep(self._list(kernel.params))

    def _has_all(self, optimizer: RuleOptimizer, params: Sequence[torch.Tensor]) -> bool:
        """Whether the gradients of these parameters are in blocks, and their states report changes."""
        states = map(optimizer.state.get, params)
        return all(p.grad is not None and p.grad is self.grads.get(p) for p in params) and all(
            state is None or isinstance(state, Watched) for state in states
        )

    def _list(self, params: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The gradients of these parameters; the same list each time, since it counts as a holder."""
        wanted = [self.grads[p] for p in params]
        for found in self._lists:
            if len(found) == len(wanted) and all(map(is_, found, wanted)):
                return found
        self._lists.append(wanted)
        self._listed.update(map(id, wanted))
        return wanted

    def _move_parameters(self, params: Sequence[torch.Tensor]) -> None:
        """Move parameters and their gradients into blocks, except those that are in one or must stay."""
        alone = [p for p in params if is_alone(p)]
        self._left += [p.data for p in alone]
        for p, view in zip(alone, self._copied(alone), strict=True):
            p.data = view
        grads = [(p, p.grad) for p in params if p not in self.grads]
        for p, g in grads:
            self.whys[p] = _why(p, g)
        ours: list[Any] = [(p, g) for p, g in grads if not self.whys[p]]
        views = self._copied([g for _, g in ours], self._blocks)
        for (p, _), view in zip(ours, views, strict=True):
            p.grad = self.grads[p] = view
            del self.whys[p]

    def _move_states(self, optimizer: RuleOptimizer, kernel: KernelPart) -> None:
        """The same for the states, which then report to the optimizer when something in them is replaced."""
        params = kernel.params
        arrays = kernel.names[: len(params) * len(kernel.step.arrays)]
        names = dict.fromkeys([*arrays, *kernel.names[-1:]] if "step" in kernel.names else arrays)
        for name in names:
            its = [p for p in params if self._is_free(optimizer.state[p].get(name))]
            views = self._copied([optimizer.state[p][name] for p in its])
            for p, view in zip(its, views, strict=True):
                dict.__setitem__(optimizer.state[p], name, view)
        for p in params if names else ():
            state = optimizer.state[p]
            if not isinstance(state, Watched):
                dict.__setitem__(optimizer.state, p, Watched(optimizer, state))

    def _is_free(self, x: Any) -> bool:
        return isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() not in self._owned

    def _copied(
        self, tensors: Sequence[torch.Tensor], blocks: list[torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Copies that are stored one after another, in the same layout; blocks: receives the blocks."""
        dtypes = Counter(x.dtype for x in tensors)
        made: dict[int, torch.Tensor] = {}
        for dtype in dtypes:
            its = [(i, x) for i, x in enumerate(tensors) if x.dtype is dtype]
            line, begun, places = _LINE // dtype.itemsize, 0, []
            for _, x in its:
                places.append(begun)
                begun += -(-x.numel() // line) * line
            block = torch.zeros(max(1, begun), dtype=dtype, device="cpu")
            storage = block.untyped_storage()
            self._owned.add(storage.data_ptr())
            if blocks is not None:
                blocks.append(block)
            for (i, x), place in zip(its, places, strict=True):
                # A tensor by itself, not a view: autograd counts the changes of each.
                made[i] = torch.empty(0, dtype=dtype, device="cpu")
                made[i].set_(storage, place, x.shape, x.stride())
                made[i].copy_(x)
        return [made[i] for i in range(len(tensors))]

    def zero_grad(self, params: Sequence[torch.Tensor]) -> None:
        """Fill the gradients in blocks with zeros, restore those that were replaced, and set those of other
        parameters to None. If somebody else holds one in a block, all are set to None instead.
        """
        with self.lock:
            moved = [p for p, g in self.grads.items() if g.data_ptr() != self._places[id(g)]]
            held = bool(moved) or self._are_held()
            if held or not self._has_as_before(params):
                self._put_back(params, held)
            for p in moved:
                self._forget(p)
            if not held:
                with torch.no_grad():
                    for block in self._blocks:
                        block.zero_()
                torch.autograd.graph.increment_version([*self.grads.values()])

    def _has_as_before(self, params: Sequence[torch.Tensor]) -> bool:
        """Whether all of these have their gradients in blocks, as when that was looked up."""
        if self._known is None or len(params) != len(self._known[0]):
            return False
        grads, as_known = self._known
        return all(map(is_, map(_grad, params), grads)) and as_known.check(*params, *grads)

    def _put_back(self, params: Sequence[torch.Tensor], held: bool) -> None:
        """Give parameters their gradients in blocks, if these fit, and others None; held: all None."""
        self._known, flat = None, not held
        for p in params:
            g = self.grads.get(p)
            if g is None or held or not _fits(g, p):
                p.grad, flat = None, False
            elif p.grad is not g:
                p.grad = g
        if flat:
            grads = self._list(params)
            self._known = grads, facts([*params, *grads])

    def _forget(self, p: torch.Tensor) -> None:
        """Give up the place of a gradient that is elsewhere now."""
        g = self.grads.pop(p)
        del self._places[id(g)]
        self.whys[p] = "its gradient was moved"

    def _are_held(self) -> bool:
        """Whether somebody else holds a gradient in a block, or a view of one."""
        count = sum(torch._C._storage_Use_Count(x.untyped_storage()._cdata) for x in self._blocks)
        if count > len(self.grads) + 2 * len(self._blocks):
            return True
        base, counted = _usual()
        pairs = zip(self.grads.items(), _holders(self.grads), strict=True)
        return any(
            g.requires_grad or count > base + self._listed[id(g)] + (p.grad is g) * counted
            for (p, g), count in pairs
        )

    def describe(self, params: Sequence[torch.Tensor]) -> str:
        """Which of these parameters are in blocks, and why the others are not, for `optimizer.engine`."""
        if self._why:
            return f"not flat, since {self._why}"
        if self.pending:
            return "flat after the next step"
        whys: Counter[str] = Counter()
        for p in params:
            if is_lazy(p) or not p.numel():
                continue
            g = self.grads.get(p)
            if g is None:
                whys[self.whys.get(p, "no kernel has stepped it")] += 1
            elif p.grad is not g:
                whys["its gradient was replaced"] += 1
        left = ", ".join(f"{n} tensor{'s' * (n > 1)} ({why})" for why, n in whys.items())
        return f"flat except for {left}" if left else "flat"


def _fits(g: torch.Tensor, p: torch.Tensor) -> bool:
    """Whether a tensor still fits as the gradient of a parameter, which may have changed."""
    alike = g.shape == p.shape and g.stride() == p.stride() and g.dtype is p.dtype
    return alike and p.requires_grad and p.is_cpu


def _why(p: torch.Tensor, g: torch.Tensor | None) -> str:
    """Why a gradient cannot be moved into a block, or ""."""
    if g is None:
        return "it had no gradient"
    if g.requires_grad or not g.numel():
        return "its gradient is part of a graph" if g.requires_grad else "it has no elements"
    return "" if is_alone(g) else "its gradient shares memory"


def _holders(grads: Mapping[torch.Tensor, torch.Tensor]) -> list[int]:
    """The number of references to each gradient, as Python counts them."""
    return [sys.getrefcount(g) for g in grads.values()]


@cache
def _usual() -> tuple[int, int]:
    """The number of references if only the dict holds a gradient, and how many more there are if its
    parameter has it, which not every version of torch lets Python count.
    """
    p = torch.zeros(1, requires_grad=True)
    grads = {p: torch.zeros(1)}
    [base] = _holders(grads)
    p.grad = grads[p]
    return base, _holders(grads)[0] - base
