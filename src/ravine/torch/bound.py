"""A step that is bound once, and repeated as long as only gradients and numbers change.

`members.py` inspects every parameter, group and state, and binds them in the parts of `stepping.py`. If
there are only kernels, the next step calls `take`, which compares the present objects with the bound ones.
A bound step holds no references to gradients, and to states only until `optimizer.state` hands one out (see
state.py), so that what is removed from an optimizer is freed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any

import torch

from ravine.torch.exchange import CALLS, KERNELS, Circle
from ravine.torch.memory import intercepted
from ravine.torch.options import Options
from ravine.torch.signals import NOTHING, Given
from ravine.torch.stepping import READY, KernelPart, Wave

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["ELSEWHERE", "Bound"]

_params, _flat = itemgetter("params"), chain.from_iterable
ELSEWHERE = (-1,)
"""The result of `Bound.take` if another process needs calls, so that no process uses kernels."""


class Bound:
    """A step, and the conditions under which it can be repeated."""

    def __init__(
        self,
        optimizer: RuleOptimizer,
        waves: Sequence[Wave],
        summed: bool,
        circle: Circle | None = None,
    ):
        self.circle, self.where = circle, type(optimizer).__name__
        groups: Any = optimizer.param_groups
        self.key, self.seed = object(), optimizer.seed
        self.params = list(_flat(map(_params, groups)))
        self.kernels = [kernel for wave in waves for kernel in wave.kernels]
        stepped = {place for kernel in self.kernels for place in kernel.places}
        self.idle = [p for place, p in enumerate(self.params) if place not in stepped]
        self.repeatable = (
            bool(self.kernels)
            and not any(wave.calls for wave in waves)
            and all(kernel.repeatable for kernel in self.kernels)
            and all(type(group) is Options for group in groups)
        )
        # Whether the device knows if the step is to be skipped.
        self.on_device = self.repeatable and all(kernel.on_device for kernel in self.kernels)
        # Whether all gradients are zeros after a step.
        self.zeroes = bool(self.kernels) and not any(wave.calls for wave in waves)
        self.zeroes = self.zeroes and all(kernel.zeroes for kernel in self.kernels)
        read = {id(kernel.graph.reads): kernel.graph.reads for kernel in self.kernels}
        self.reads = [reads for reads in read.values() if reads and not reads.constant]
        self.rows: list[list[tuple[KernelPart, int, int | None]]] = [[] for _ in groups]
        for kernel in self.kernels:
            for row, (group, ndim) in enumerate(kernel.rows):
                self.rows[group].append((kernel, row, ndim))
        # Groups must agree in what is shared.
        self.joint = any(kernel.graph.common and len(kernel.rows) > 1 for kernel in self.kernels)
        # How to set a number of a group that is a hyperparameter itself, and not a switch.
        self.setters: list[dict[str, list[Callable[[float], None]]]] = [{} for _ in groups]
        for group, rows, setters in zip(groups, self.rows, self.setters, strict=True):
            for name in getattr(group, "direct", ()):
                if not any(name in kernel.graph.switches for kernel, _, _ in rows):
                    found = [kernel.step.setter(row, name) for kernel, row, _ in rows]
                    setters[name] = [setter for setter in found if setter is not None]
        self.scaled = optimizer.__dict__.get("grad_scale") is not None
        self.scale = self._scale(optimizer)
        self.called = (
            sum(call.squares() for wave in waves for call in wave.calls) if summed else 0.0
        )
        if self.repeatable:
            for group in groups:
                group.follow(self.key)

    def take(self, optimizer: RuleOptimizer, given: Given = NOTHING) -> Sequence[int] | None:
        """Repeat the step. Returns the indices of the parameters that are not stepped yet and must be
        rebound, empty if nothing changed. Returns None, and does nothing, if anything else changed, and
        ELSEWHERE, and does nothing, if another process does not use kernels.
        """
        if not self.repeatable:
            return None
        with self.kernels[0].step.lock:
            try:
                grads = self.ready(optimizer, given)
                if self.circle is not None and grads is not None:
                    signs = [sign for kernel in self.kernels for sign in kernel.signs]
            except Exception:
                if self.circle is not None:
                    self.circle.fail()
                raise
            if grads is None:
                return None
            if self.circle is not None:
                marks = _flat(kernel.marks for kernel in self.kernels)
                how = self.circle.agree(KERNELS, marks, self.where, signs)
                if how == CALLS:
                    return ELSEWHERE
            for i, kernel in enumerate(self.kernels):
                if kernel.run(self.seed, grads[i]) != READY:
                    return [place for rest in self.kernels[i:] for place in rest.places]
                if kernel.mirrors:
                    kernel.send()
            del grads  # the kernels have returned
        return ()

    def ready(self, optimizer: RuleOptimizer, given: Given = NOTHING) -> list[Any] | None:
        """The gradients for repeating the step, once the kernels point at them; None if anything else
        has changed.
        """
        if not self.repeatable or intercepted() or not self._follow(optimizer, given):
            return None
        for reads in self.reads:
            if not (reads.at_a_glance() or reads.hold()):
                return None
        params = list(_flat(map(_params, optimizer.param_groups)))
        if len(params) != len(self.params) or not all(map(is_, params, self.params)):
            return None
        if self.idle and not all(p.grad is None for p in self.idle):
            return None
        grads = [kernel.look(given.arrays) for kernel in self.kernels]
        return None if None in grads else grads

    def _follow(self, optimizer: RuleOptimizer, given: Given) -> bool:
        """Apply new options, such as a scheduler sets; return whether that was possible."""
        groups = optimizer.param_groups
        if len(groups) != len(self.rows):
            return False
        scale = optimizer.__dict__.get("grad_scale")
        if (scale is not None) is not self.scaled:
            return False
        key, scaled = self.key, self.scaled or bool(given.numbers)
        for group, setters, rows in zip(groups, self.setters, self.rows, strict=True):
            if type(group) is not Options:
                return False
            if group.followed is key and not scaled:
                continue
            if self.joint:
                return False
            if scaled or group.last is not key or not _set(group, setters):
                for kernel, row, ndim in rows:
                    graph, hyper = optimizer.planned(group, ndim, given)
                    if graph is not kernel.graph:
                        return False
                    kernel.set(row, hyper)
            group.follow(key)
        if self.scaled:
            self.scale = self._scale(optimizer)
        if self.on_device:
            found = optimizer.__dict__.get("found_inf")
            for kernel in self.kernels:
                kernel.skip_if(found if isinstance(found, torch.Tensor) else None)
        return True

    def _scale(self, optimizer: RuleOptimizer) -> Any:
        """What the gradients are divided by, unread if it is on the device."""
        return (
            optimizer.__dict__["grad_scale"] if self.on_device and self.scaled else optimizer.scale
        )

    def grad_norm(self) -> float:
        """The Euclidean norm of all gradients of the last step, divided by the scale."""
        return math.sqrt(self.squares()) / float(self.scale)

    def squares(self) -> float:
        """The sum of the squares of all gradients of the last step."""
        return self.called + sum(kernel.squares() for kernel in self.kernels)


def _set(group: Options, setters: Mapping[str, Sequence[Callable[[float], None]]]) -> bool:
    """Set the numbers that have changed in a group; False if something else has."""
    for name in group.changed:
        value = group.get(name)
        if name in setters and type(value) is float:
            for setter in setters[name]:
                setter(value)
        elif name in group.known:
            return False
    return bool(group.changed)
