"""A running optimizer of any package."""

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
"""What a running optimizer may support, by the names that checks use."""


class Running:
    """An optimizer with its parameters, created for one run. Each kind of optimizer is a subclass.

    optimizer: the package's object. params: its parameters, in the package's form. steps: the number of
    steps requested so far. has: what a check may use besides `step` and `parameters`, from `HAS`.

    arrange: a function of its parameters that returns what the optimizer receives, such as groups. For kinds
    that have "torch".
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

        The global random generators are seeded with the number of the step. Raises CouldNotRun.
        """
        self.steps += 1
        reseed(self.steps)
        with guarded("step", self.heard, self.steps):
            self._step([None if g is None else np.array(g, dtype=self._numbers) for g in grads])

    def step_on(
        self, loss: Callable[[list[Array]], float], gradients: Callable[[list[Array]], list[Array]]
    ) -> None:
        """Take a step on a loss, which is a function of the parameters, as its gradients are."""
        self.step(gradients(self.parameters()))

    def restore(self) -> None:
        """Reset the parameters to their initial values. Raises CouldNotRun."""
        with guarded("step", self.heard, self.steps):
            self._restore()

    def parameters(self) -> list[Array]:
        """Copies of the current parameters, in float64 or complex128.

        Raises CouldNotRun if they are gone.
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
        """The current contents of the gradients that it received last. For kinds that have "gradients"."""
        raise NotImplementedError

    def state_bytes(self) -> int:
        """Bytes of the arrays that it keeps besides parameters and gradients."""
        held = [self.params, [getattr(p, "grad", None) for p in self._listed()]]
        return array_bytes(self._state(), without=held)

    def holding(self, params: Any, optimizer: Any, steps: int | None = None) -> Running:
        """The same for other parameters and their optimizer, such as copies."""
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
    seen: dict[int, Any] = {}  # kept alive, so that no other object can have the same id
    for _ in _arrays(without, seen):
        pass
    return sum(_arrays(x, seen))


def _arrays(x: Any, seen: dict[int, Any]) -> Iterator[int]:
    """The bytes of each array that was not seen before."""
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
