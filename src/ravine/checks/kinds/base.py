"""One optimizer at work, whatever package it is from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine.checks.guard import CouldNotRun, Heard, guarded, reseed, translated

__all__ = ["HAS", "Array", "Running", "array_bytes"]

Array = NDArray[np.float64]


HAS: Mapping[str, str] = {
    "float64": "arithmetic in float64",
    "torch": "torch's parameters, which step() moves by their .grad",
    "plain": "steps by dense gradients, without a closure",
    "missing": "gradients that may be None",
    "gradients": "gradients that can be looked at after a step",
    "dtypes": "parameters of other dtypes",
    "groups": "param_groups",
    "state_dict": "state_dict() and load_state_dict()",
    "object": "state that is kept in the object, so that it can be copied",
}
"""What an optimizer at work may have, by the names under which checks ask for it."""


class Running:
    """An optimizer with its parameters, made for one run. A kind of optimizer is a subclass of this.

    optimizer: the object itself, as its package has it. params: its parameters, as its package has them.
    steps: how many steps it was asked for. has: what a check may use besides `step` and `parameters`, of
    `HAS`.

    arrange: what is done with its parameters before it gets them: what it returns is what it gets, such as
    groups. For kinds that have "torch".
    """

    has: frozenset[str] = frozenset({"float64"})
    optimizer: Any = None
    params: Any = None
    complex = False
    """Whether it may be given complex arrays."""

    def __init__(
        self,
        maker: Callable[..., Any],
        starts: Sequence[Any],
        dtype: str,
        arguments: Mapping[str, Any],
        heard: Heard,
        arrange: Callable[[list[Any]], Any] = list,
    ):
        self.arrange = arrange
        self.maker, self.dtype, self.arguments, self.heard = maker, dtype, arguments, heard
        self._numbers: Any = complex if dtype == "complex128" else float
        self.starts = [np.asarray(x, dtype=self._numbers) for x in starts]
        self.steps = 0
        possible = self.complex if dtype == "complex128" else "dtypes" in self.has
        if dtype != "float64" and not possible:
            raise CouldNotRun("make", f"its kind is not made for {dtype}")
        with guarded("make", heard):
            self._make()

    def step(self, grads: Sequence[Any]) -> None:
        """Take a step. grads: an array for each tensor, or None for one that has no gradient.

        What everybody draws random numbers from is seeded by the number of the step. Raises CouldNotRun.
        """
        self.steps += 1
        reseed(self.steps)
        with guarded("step", self.heard, self.steps):
            self._step([None if g is None else np.array(g, dtype=self._numbers) for g in grads])

    def restore(self) -> None:
        """Put the parameters back to where they were at first. Raises CouldNotRun."""
        with guarded("step", self.heard, self.steps):
            self._restore()

    def parameters(self) -> list[Array]:
        """The parameters as they are now: copies, in float64 or complex128.

        Raises CouldNotRun where they are gone.
        """
        with translated("step", self.steps):
            found = [np.array(x, dtype=self._numbers) for x in self._parameters()]
        shapes, were = [x.shape for x in found], [x.shape for x in self.starts]
        if shapes != were:
            raise CouldNotRun(
                "step",
                f"the parameters have the shapes {shapes} after it, not {were}",
                self.steps,
            )
        return found

    def gradients(self) -> list[Any]:
        """The gradients that it was given last, as they are now. For kinds that have "gradients"."""
        raise NotImplementedError

    def state_bytes(self) -> int:
        """Bytes of the arrays that it holds besides parameters and gradients."""
        held = [self.params, [getattr(p, "grad", None) for p in self._listed()]]
        return array_bytes(self._state(), without=held)

    def holding(self, params: Any, optimizer: Any, steps: int | None = None) -> Running:
        """The same for other parameters and another optimizer of them, such as copies of these."""
        other = copy.copy(self)
        other.params, other.optimizer = params, optimizer
        other.steps = self.steps if steps is None else steps
        return other

    def _listed(self) -> list[Any]:
        return list(self.params.values() if isinstance(self.params, dict) else self.params or ())

    def _state(self) -> Any:
        return getattr(self.optimizer, "state", None) or self.optimizer

    def _make(self) -> None:
        raise NotImplementedError

    def _step(self, grads: list[Array | None]) -> None:
        raise NotImplementedError

    def _restore(self) -> None:
        raise CouldNotRun("step", "the parameters of its kind cannot be put back", self.steps)

    def _parameters(self) -> Sequence[Any]:
        raise NotImplementedError


def array_bytes(x: Any, without: Any = ()) -> int:
    """Bytes of all arrays of more than one number that can be reached from an object, each counted once."""
    seen: dict[int, Any] = {}  # kept alive, so that no other object gets its id
    for _ in _arrays(without, seen):
        pass
    return sum(_arrays(x, seen))


def _arrays(x: Any, seen: dict[int, Any]) -> Iterator[int]:
    """The bytes of each array that has not been seen."""
    if x is None or isinstance(x, (int, float, str, bytes, type, ModuleType)) or id(x) in seen:
        return
    seen[id(x)] = x
    if hasattr(x, "dtype") and isinstance(getattr(x, "shape", None), (tuple, list)):
        plain = "strided" in str(getattr(x, "layout", "strided"))
        place = x.data_ptr() if plain and hasattr(x, "data_ptr") else None
        if plain and place not in seen and int(np.prod(tuple(x.shape))) > 1:
            seen[place or id(x)] = x
            size = getattr(x, "nbytes", 0)
            yield int(size() if callable(size) else size)
        return
    for part in _parts(x):
        yield from _arrays(part, seen)


def _parts(x: Any) -> list[Any]:
    if isinstance(x, Mapping):
        return [*x.values(), *x.keys()]
    if isinstance(x, (list, tuple, set, frozenset)):
        return [*x]
    closure = getattr(x, "__closure__", None)
    cells = [c.cell_contents for c in closure if c] if isinstance(closure, tuple) else []
    return [*cells, *(vars(x).values() if hasattr(x, "__dict__") else ())]
