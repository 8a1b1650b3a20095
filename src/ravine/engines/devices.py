"""Chooses the engine for the tensors of an accelerator, after a self-test there.

    engine, why = chosen(kernel, ("float32",) * 4, False, place)

An engine is a module with a function `engine(place)`, which raises Unavailable, with the reason, if it cannot
run. It is imported when the first tensor on such a device is stepped. Before a kernel steps a user's tensors
on a device, it steps a few test tensors there, and the CPU kernel steps the same ones. If the results differ,
the next engine is tried. If none is left, the rule is called instead, and `optimizer.engine` gives the
reasons.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ravine.rule import kept

if TYPE_CHECKING:
    from ravine.engines.cpu import Step
    from ravine.engines.kernel import Kernel

__all__ = ["KINDS", "Engine", "Place", "Remote", "Unavailable", "bound", "captures", "chosen"]

_TRITON = "ravine.engines.triton"
_MODULES = {"cuda": ("ravine.engines.cuda", _TRITON), "xpu": (_TRITON,)}
"""The modules of engines by kind of device, the preferred ones first."""
KINDS = tuple(_MODULES)


class Unavailable(RuntimeError):
    """Why an engine cannot run on a device."""


@dataclass(frozen=True)
class Place:
    """A device: its kind ("cuda"), its number, and a function that returns the address of the stream on
    which work is queued.
    """

    kind: str
    index: int
    stream: Callable[[], int] = field(compare=False, default=lambda: 0)

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}"


class Remote(NamedTuple):
    """A number in float64 in a device's memory."""

    address: int


class Engine(Protocol):
    """Steps kernels on a device.

    name: in words. refusal: why it cannot step a kernel for columns of these dtypes, or "". step: a
    kernel bound to tensors, like :class:`ravine.engines.cpu.Step`: with its arguments sizes, dtypes, groups,
    counts, numbers, matrices and stochastic, its attributes columns, state, inputs, order, lock, anywhere,
    arrays, slots and kernel, and its methods point, place, set_group, setter, run and squares. Array columns
    are on the device; scalar slots and counts are on the host. `run` queues the step on the place's stream.

    has_scalars: whether a step can compute all scalars on the device, so that it can be captured in a graph.
    If it is bound with on_device=True, scalar slots and counts are on the device, `set_group` accepts
    :class:`Remote`, and `skip_if` takes the address of a number: if it is not 0, steps do nothing.

    captures: whether what is queued is recorded for a graph, in the context `current()`.

    allocate, free, write and read: memory of the device, by address. read waits for what is queued.
    """

    name: str
    has_scalars: bool

    def current(self) -> AbstractContextManager[None]:
        """Make the device that of the thread."""

    def captures(self) -> bool:
        """Whether what is queued is recorded for a graph."""

    def refusal(self, kernel: Kernel, dtypes: Sequence[str], stochastic: bool) -> str:
        """Why it cannot step a kernel, or ""."""

    def step(
        self,
        kernel: Kernel,
        sizes: Sequence[int],
        dtypes: Sequence[Sequence[str]],
        groups: Sequence[int] | None = None,
        *,
        counts: Sequence[str] | None = None,
        numbers: Sequence[int] | None = None,
        matrices: Sequence[tuple[int, int, int]] | None = None,
        stochastic: bool = False,
        on_device: bool = False,
    ) -> Step:
        """A kernel bound to tensors."""

    def allocate(self, size: int) -> int:
        """Allocate bytes, and return their address."""

    def free(self, address: int) -> None:
        """Free memory."""

    def write(self, address: int, content: bytes) -> None:
        """Copy to the device."""

    def read(self, address: int, size: int) -> bytes:
        """Copy from the device."""


_lock = threading.RLock()
_engines: dict[tuple[str, Place], Any] = {}  # or the reason why there is none


def _engine(module: str, place: Place) -> Any:
    with _lock:
        if (module, place) not in _engines:
            try:
                found = import_module(module).engine(place)
            except (Unavailable, ImportError) as error:
                found = str(error)
            _engines[module, place] = found
        return _engines[module, place]


def captures(place: Place) -> bool:
    """Whether what is queued on a device now is recorded for a graph, as far as its first engine knows."""
    engine = next((_engine(module, place) for module in _MODULES.get(place.kind, ())), "")
    if isinstance(engine, str):
        return False
    with engine.current():
        return bool(engine.captures())


def chosen(
    kernel: Kernel,
    dtypes: Sequence[str],
    stochastic: bool,
    place: Place,
    on_device: bool = False,
) -> tuple[Engine | None, str]:
    """The engine that steps a kernel with columns of these dtypes on a device; None, and why there is none.

    on_device: whether it must compute all scalars there.

    The first call for a kernel takes as long as it takes to compile it for the device and for the CPU.
    """
    reasons = []
    for module in _MODULES.get(place.kind, ()):
        engine = _engine(module, place)
        if isinstance(engine, str):
            reasons.append(engine)
            continue
        if on_device and not engine.has_scalars:
            reasons.append(f"{engine.name}: counts and learning rates are on the host")
            continue
        key = ("proof", module, place, tuple(dtypes), stochastic, on_device)
        why = kept(kernel, key, partial(_why_not, engine, kernel, dtypes, stochastic, on_device))
        if not why:
            return engine, ""
        reasons.append(f"{engine.name}: {why}")
    return None, f"on {place}: {'; '.join(reasons)}" if reasons else f"on {place.kind}"


def _why_not(
    engine: Engine, kernel: Kernel, dtypes: Sequence[str], stochastic: bool, on_device: bool
) -> str:
    from ravine.engines.proof import proved

    if on_device and kernel.has_lines:
        return "its numbers for rows and columns need sizes that only the host knows"
    why = engine.refusal(kernel, dtypes, stochastic)
    return why or proved(engine, kernel, tuple(dtypes), stochastic, on_device)


def bound(
    place: Place,
    kernel: Kernel,
    sizes: Sequence[int],
    dtypes: Sequence[Sequence[str]],
    groups: Sequence[int] | None = None,
    *,
    stochastic: bool = False,
    on_device: bool = False,
    **how: Any,
) -> Step:
    """A kernel bound to tensors on a device, by the engine chosen for it. Raises Unavailable, with the
    reasons, if there is none.
    """
    its = dict.fromkeys(map(tuple, dtypes))
    asked = [chosen(kernel, each, stochastic, place, on_device) for each in its]
    engines = {id(engine): engine for engine, _ in asked}
    whys = [why for _, why in asked if why]
    if whys or len(engines) > 1:
        raise Unavailable("; ".join(whys) or f"on {place}: no engine for all of the dtypes")
    [engine] = engines.values()
    assert engine is not None
    if on_device:
        how["on_device"] = True
    return engine.step(kernel, sizes, dtypes, groups, stochastic=stochastic, **how)
