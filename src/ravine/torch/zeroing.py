"""`zero_grad` where several threads train one model.

torch crashes where one thread sets `p.grad` to None while another's backward pass adds to it. So an
optimizer remembers which threads call its `zero_grad`: while another of them lives, gradients are filled
with zeros instead. Each registers before its backward pass, and none sets gradients to None meanwhile.
"""

from __future__ import annotations

import inspect
import threading
import warnings
import weakref
from collections.abc import Collection

import torch

from ravine.engines.threads import after_fork

__all__ = ["Callers", "checked_zero_grad", "fill"]

# torch excludes it from compilation, for which it imports the compiler at the first call.
_zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)

_one_at_a_time = threading.RLock()


def _after_fork() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.RLock()


after_fork(_after_fork)


def checked_zero_grad(zero_grad: object, where: str, differentiable: bool) -> bool:
    """The keyword of `step`; a ValueError that says what is accepted if it is invalid."""
    if not isinstance(zero_grad, bool):
        raise ValueError(
            f"{where}: step: zero_grad={zero_grad!r} is invalid; zero_grad must be True or False"
        )
    if zero_grad and differentiable:
        raise ValueError(
            f"{where}: step: zero_grad=True is not supported with differentiable=True: autograd still needs "
            "the gradients"
        )
    return zero_grad


def fill(optimizer: torch.optim.Optimizer) -> None:
    """Fill all gradients with zeros."""
    _zero_grad(optimizer, False)


class Callers:
    """The threads that have called `zero_grad` of an optimizer, as long as they live."""

    def __init__(self) -> None:
        self._threads: Collection[threading.Thread] = ()
        self._warned = False

    def __reduce__(self) -> tuple[type[Callers], tuple[()]]:
        return Callers, ()  # a copy belongs to another optimizer

    def zero(self, optimizer: torch.optim.Optimizer, to_none: bool | None) -> None:
        """Set the gradients to None, or to zeros.

        to_none: None decides by the other threads; zeros that were not requested are reported in a warning,
        once.
        """
        with _one_at_a_time:
            shared = self._join()
            if to_none is None:
                to_none = not shared
                self._warn(type(optimizer).__name__, shared)
            _zero_grad(optimizer, to_none)

    def _join(self) -> bool:
        """Record this thread; return whether another one that has called is alive."""
        mine = threading.current_thread()
        if mine not in self._threads:
            self._threads = weakref.WeakSet([*self._threads, mine])
        return len(self._threads) > 1 and any(
            thread.is_alive() for thread in self._threads if thread is not mine
        )

    def _warn(self, name: str, shared: bool) -> None:
        if shared and not self._warned:
            self._warned = True
            warnings.warn(
                f"{name}: several threads call zero_grad, so gradients are now filled with zeros: torch "
                "crashes if one thread sets p.grad to None while another's backward pass adds to it. To "
                "choose, pass set_to_none=False (zeros) or True (None)",
                RuntimeWarning,
                stacklevel=4,
            )
