"""A parameter in a step, as engines see it, and where the results are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ravine.engines.eager import Work
from ravine.torch.narrow import decoded, encoded, is_narrow
from ravine.torch.sharded import Sharded, is_spread, local
from ravine.torch.state import number
from ravine.torch.tensors import as_real

if TYPE_CHECKING:
    from ravine.torch.offload import Mirror

__all__ = ["Member"]

_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


@dataclass(eq=False)
class Member:
    """A parameter in a step: an engine's work, and where to store the results.

    place: its index among all parameters. key: identifies its hyperparameters, its group's number first.
    state: of the parameter, with the live slots under `keys`. count: the steps it has taken, or None if
    they are not counted. whole: whether `count` is stored in the state as an int. rows: the elements to
    step, if the gradient is sparse; then `work` contains copies of them. present: whether it has a gradient
    in this step. mirror: if the optimizer's parameter is on a device, its mirror on the host, which p is.
    """

    p: torch.Tensor
    place: int
    key: tuple[int, int | None]
    work: Work
    state: dict[str, Any]
    keys: Mapping[str, str]
    count: torch.Tensor | None
    whole: bool = False
    rows: tuple[torch.Tensor, ...] | None = None
    present: bool = True
    mirror: Mirror | None = None

    @property
    def empty(self) -> bool:
        """Whether it has no elements (with a gradient), so that there is nothing to compute. This
        process's part of a sharded parameter may have none.
        """
        return not (self.p if is_spread(self.p) else self.work.p).numel()

    @property
    def read(self) -> list[torch.Tensor]:
        """The tensors that a step only reads."""
        given = self._given if self.present else ()
        return [x for x in map(local, given) if type(x) in _PLAIN]

    @property
    def written(self) -> list[torch.Tensor]:
        """The tensors that a step changes."""
        return [x for x in map(local, (self.p, *self.work.state.values())) if type(x) in _PLAIN]

    @property
    def repeatable(self) -> bool:
        """Whether the engine sees the optimizer's own tensors, not views or copies."""
        return (
            local(self.work.p) is local(self.p)
            and all(type(local(x)) is torch.Tensor for x in self._given)
            and self.rows is None
            and not self.whole
        )

    @property
    def _given(self) -> tuple[Any, ...]:
        return (self.work.g, *self.work.signals.values())

    @property
    def part(self) -> Work:
        """The work on this process's part, if the parameter is sharded."""
        if not isinstance(self.work.p, Sharded):
            return self.work
        return self.work.converted(local, self.work.dtype)

    @property
    def slots(self) -> dict[str, Any]:
        """The slots as tensors: arrays in the engine's view, numbers as stored."""
        return {
            slot: self.work.state[slot]
            if isinstance(self.work.state[slot], (torch.Tensor, Sharded))
            else self.state[key]
            for slot, key in self.keys.items()
        }

    @property
    def narrow(self) -> dict[str, int]:
        """The slots in codes of 8 bits, and the number of each."""
        return {k: i for i, k in enumerate(k for k, x in self.work.state.items() if is_narrow(x))}

    @property
    def plain(self) -> Work:
        """The work with plain numbers, for calling the rule."""
        if not (codes := self.narrow):
            return self.work
        made = {k: decoded(self.work.state[k], self.work.p.shape) for k in codes}
        return replace(self.work, state={**self.work.state, **made})

    def move(self, moved: dict[int, tuple[torch.Tensor, torch.Tensor]], to: torch.device) -> None:
        """Move its count and its scalar slots to a device. moved: what was moved, and copies, by identity."""

        def there(x: torch.Tensor) -> torch.Tensor:
            return moved.setdefault(id(x), (x, x.to(to)))[1]

        for slot, key in self.keys.items():
            scalar = not isinstance(self.work.state[slot], (torch.Tensor, Sharded))
            if scalar and self.state[key].device != to:
                self.state[key] = there(self.state[key])
        self.count_on(to)

    def count_on(self, device: torch.device) -> None:
        """Move its count to a device."""
        if self.count is not None and self.count.device != device:
            old, self.count = self.count, self.count.to(device)
            if self.state.get("step") is old:
                self.state["step"] = self.count

    def store(self, new_p: Any, new_state: Mapping[str, Any], anew: bool = False) -> None:
        """Store the results of a call; anew: in new tensors, so that autograd can see through them."""
        self._write(as_real(self.p) if anew else self.work.p, self.p, new_p)
        codes = self.narrow
        for slot, value in new_state.items():
            key, state = self.keys[slot], self.state
            if slot in codes:
                encoded(state[key], value, self.work.draw, codes[slot])
            elif anew:
                value = value if isinstance(value, torch.Tensor) else number(value)
                state[key] = torch.view_as_complex(value) if state[key].is_complex() else value
            elif isinstance(self.work.state[slot], (torch.Tensor, Sharded)):
                self._write(self.work.state[slot], state[key], value)
            else:
                state[key].fill_(float(value))
        self.counted()

    def counted(self) -> None:
        """Record that the step has been taken."""
        if self.count is not None:
            self.count.fill_(self.work.t)
        self.keep_count()

    def keep_count(self) -> None:
        """If a count is an int in the state, copy it from the tensor in which a kernel counts."""
        if self.whole and self.count is not None and "step" in self.state:
            self.state["step"] = int(self.count)

    def _write(self, view: Any, whole: torch.Tensor, value: Any) -> None:
        if isinstance(value, Sharded) and not isinstance(view, Sharded):
            value = value.full()  # a slot that every process keeps whole
        if self.rows is not None:
            real: Any = as_real(whole)
            real[self.rows] = torch.as_tensor(value, dtype=real.dtype)
        elif isinstance(value, torch.Tensor) or isinstance(view, Sharded):
            view.copy_(value)
        else:  # too large a number for a dtype is infinity, as in a kernel
            view.copy_(number(float(value)))
