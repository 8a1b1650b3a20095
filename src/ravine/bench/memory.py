"""The memory that a training step takes, with all gradients at once, or freed as they arrive.

A contender trains a deep stack of layers in separate processes, whose largest resident size Linux
records. Imports and compilation happen before the model is created, and are not counted. The time is
measured there too, because it depends on the layout of the heap, which contenders in one process would
share.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

import ravine.torch
from ravine.bench.timing import in_a_process, summary, timed

__all__ = ["CONTENDERS", "run"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]
Make = Callable[[nn.Module], Callable[[], object]]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_STEPS = 3  # at least


def _stepping(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    def step() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return step


def _ravine(model: nn.Module) -> Callable[[], object]:
    return _stepping(ravine.torch.AdamW(model.parameters()))


def _ravine_in_backward(model: nn.Module) -> Callable[[], object]:
    optimizer = ravine.torch.AdamW(model.parameters())
    ravine.torch.step_in_backward(model, optimizer)
    return _stepping(optimizer)


def _torch(model: nn.Module) -> Callable[[], object]:
    return _stepping(torch.optim.AdamW(model.parameters(), fused=True))


def _torch_in_backward(model: nn.Module) -> Callable[[], object]:
    """As in torch's tutorial: an optimizer for each parameter."""
    steps = {p: _stepping(torch.optim.AdamW([p], fused=True)) for p in model.parameters()}
    for p in steps:
        p.register_post_accumulate_grad_hook(lambda p: steps[p]())
    return lambda: None


CONTENDERS: dict[str, Make] = {
    "ravine": _ravine,
    "ravine: in backward": _ravine_in_backward,
    "torch: fused": _torch,
    "torch: fused, in hooks": _torch_in_backward,
}
"""AdamW in ordinary steps and in backward: functions that return what to do after a backward pass."""


def run(
    layers: int = 24,
    width: int = 1024,
    batch_size: int = 16,
    seconds: float = 2.0,
    rounds: int = 3,
    progress: Progress = lambda _, units: units,
) -> Iterator[dict[str, Any]]:
    """Measure training steps (forward, backward, AdamW's step) of linear layers with ReLUs, in float32.

    layers, width, batch_size: of the model and its inputs. seconds: that a process is timed; at least
    three steps. rounds: processes for each contender, which take turns. progress: is handed a name
    and the units of work, and hands them on.

    Yields a row for each contender: ``contender``; ``gradient_bytes`` (of all gradients);
    ``peak_bytes`` (the most that is resident, in the first step or later, beyond what was before the
    model was made; the median of the rounds, whose ``peaks`` are there too); ``gradients_saved`` (how
    much less that is than in ordinary steps of the same library, over gradient_bytes); ``us``,
    ``us_quartiles``, ``turns`` of a training step, but the first, in all rounds. Raises OSError where it
    is not Linux.
    """
    if not _CLEAR.exists():
        raise OSError(f"measuring peak memory needs {_CLEAR}, which only Linux has")
    done: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    units = [{"optimizer": name, "round": i} for i in range(rounds) for name in CONTENDERS]
    for unit in progress("memory", units):
        name = unit["optimizer"]
        done[name].append(_in_a_process(name, layers, width, batch_size, seconds))
    peaks = {name: [r["peak_bytes"] for r in results] for name, results in done.items()}
    gradients = 4 * layers * (width * width + width)
    for name, results in done.items():
        ordinary = next(other for other in CONTENDERS if name.startswith(other))
        saved = median(peaks[ordinary]) - median(peaks[name])
        yield {
            "contender": name,
            "gradient_bytes": gradients,
            "peak_bytes": median(peaks[name]),
            "peaks": peaks[name],
            "gradients_saved": saved / gradients,
            **summary(t for r in results for t in r["taken"]),
        }


def _in_a_process(*words: object) -> dict[str, Any]:
    return json.loads(in_a_process("ravine.bench.memory", *words))


def _training(make: Make, layers: int, width: int, batch_size: int) -> Callable[[], None]:
    torch.manual_seed(0)
    parts = (part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU()))
    model, x = nn.Sequential(*parts), torch.randn(batch_size, width)
    after = make(model)

    def step() -> None:
        model(x).square().mean().backward()
        after()

    return step


def _resident(name: str) -> int:
    """Bytes that are resident now ("VmRSS"), or the maximum since the last reset ("VmHWM")."""
    return 1024 * int(_STATUS.read_text().partition(f"{name}:")[2].split()[0])


def _measured(name: str, *sizes: int, seconds: float) -> dict[str, Any]:
    """The maximum that training makes resident in this process, and the seconds of its steps."""
    make = CONTENDERS[name]
    small = _training(make, 1, 4, 1)
    for _ in range(_STEPS):
        small()
    before = _resident("VmRSS")
    _CLEAR.write_text("5")  # resets VmHWM
    step = _training(make, *sizes)
    step()  # makes the state
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < _STEPS or time.perf_counter() < end:
        taken.append(timed(step))
    return {"peak_bytes": _resident("VmHWM") - before, "taken": taken}


if __name__ == "__main__":
    _name, *_sizes, _seconds = sys.argv[1:]
    print(json.dumps(_measured(_name, *map(int, _sizes), seconds=float(_seconds))))
