"""How long one step takes on an NVIDIA GPU: Ravine's kernels against torch.optim's loops, and others.

Contenders take turns in random order. A turn is of several steps between two CUDA events, after something has
been written to all of the L2 cache; the time that the calls take on the host is measured apart. The roof is a
copy that moves as many bytes as Ravine's kernel.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Protocol

import torch

from ravine import registry
from ravine.bench import contenders
from ravine.bench.contenders import Step
from ravine.bench.timing import summary
from ravine.engines.kernel import DTYPES
from ravine.engines.passes import passes
from ravine.rule import Rule

__all__ = ["Gpu", "Meter", "lacking", "run"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]
Row = dict[str, Any]

_CACHE = 256 * 2**20  # bytes: more than any L2 has
_TURN = 2e-3  # seconds of a turn, about
_ROUNDS = 5


def lacking() -> str:
    """Why nothing can be measured here, or nothing."""
    if torch.cuda.is_available():
        return ""
    return "needs an NVIDIA GPU that torch can use, and torch.cuda.is_available() is False"


class Meter(Protocol):
    """What is measured with. name: of the device."""

    name: str
    device: torch.device

    def turn(self, step: Step, repeat: int) -> tuple[float, float]:
        """Seconds for one step, of so many in a row: of the device, and until the calls returned."""

    def launches(self, step: Step) -> int:
        """How many kernels a step launches."""


class Gpu:
    """The current GPU. Raises RuntimeError where there is none."""

    def __init__(self) -> None:
        if why := lacking():
            raise RuntimeError(f"--device cuda {why}")
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.name = torch.cuda.get_device_name(self.device)
        self._cache = torch.empty(_CACHE, dtype=torch.uint8, device=self.device)

    def turn(self, step: Step, repeat: int) -> tuple[float, float]:
        """Seconds for one step: of the device, and until the calls returned."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._cache.zero_()
        torch.cuda.synchronize()
        begin.record()
        start = time.perf_counter()
        for _ in range(repeat):
            step()
        host = (time.perf_counter() - start) / repeat
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / repeat, host

    def launches(self, step: Step) -> int:
        """How many kernels a step launches, as torch's profiler counts them."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            step()
            torch.cuda.synchronize()
        return sum(
            event.count
            for event in seen.key_averages()
            if event.device_type == torch.autograd.DeviceType.CUDA
            and not event.key.startswith(("Memcpy", "Memset"))
        )


def run(
    on: Iterable[str] = contenders.SHAPES,
    rules: Iterable[str] | None = None,
    seconds: float = 1.0,
    *,
    compiled: bool = False,
    progress: Progress = lambda _, units: units,
    meter: Meter | None = None,
) -> Iterator[Row]:
    """Time a step of each rule on parameters of each shape, in float32, on a GPU.

    on, rules, seconds, compiled, progress: as :func:`ravine.bench.step.run` takes them. meter: what is
    measured with; by default the current GPU.

    Yields a row for each contender: ``rule``, ``shapes``, ``engine``, ``ran`` (what `optimizer.engine` says),
    ``device``; ``us``, ``us_quartiles``, ``turns``; ``host_us`` (until the call returns); ``launches``;
    ``gb_per_s``, ``against_torch`` and ``of_roof``, as on the CPU, and ``host_against_torch``. A contender
    that could not run has ``skipped``, the reason.
    """
    meter = meter or Gpu()
    names = contenders.rules_of_torch() if rules is None else list(rules)
    units = [{"problem": shapes, "optimizer": name} for shapes in on for name in names]
    for unit in progress("step", units):
        shapes, name = unit["problem"], unit["optimizer"]
        rule = registry.get(name)
        twin = contenders.in_torch(rule)
        params = contenders.fitting(twin, _parameters(shapes, meter.device))
        if params:
            for row in _case(rule, params, seconds, compiled, meter):
                yield {"rule": rule.name, "shapes": shapes, "device": meter.name, **row}


def _parameters(shapes: str, device: torch.device) -> list[torch.Tensor]:
    made = []
    for p in contenders.parameters(shapes):
        q = p.detach().to(device).requires_grad_()
        assert p.grad is not None
        q.grad = p.grad.to(device)
        made.append(q)
    return made


def _case(
    rule: Rule, params: Sequence[torch.Tensor], seconds: float, compiled: bool, meter: Meter
) -> Iterator[Row]:
    twin = contenders.in_torch(rule)
    engines = [e for e in contenders.engines(twin, compiled) if e != "kernel"]
    steps: dict[str, Step] = {}
    skipped: dict[str, str] = {}
    for engine in engines:
        try:
            step = contenders.make(engine, rule, twin, params)
            step()
        except Exception as error:  # whatever torch's classes, its compiler and drivers raise
            skipped[engine] = str(error).strip().partition("\n")[0]
        else:
            steps[engine] = step
    launches = {engine: meter.launches(step) for engine, step in steps.items()}
    moved = _bytes(rule, params)
    if moved:
        half = torch.empty(max(1, moved // 2), dtype=torch.uint8, device=meter.device)
        steps["roof"] = _copy(half, torch.empty_like(half))
    taken, host = _turns(steps, seconds, meter)
    roof = median(taken.pop("roof")) if moved else None
    host.pop("roof", None)
    torchs = [e for e in taken if e not in contenders.RAVINES]
    fastest = min((median(taken[e]) for e in torchs), default=None)
    quickest = min((median(host[e]) for e in torchs), default=None)
    for engine in engines:
        if engine in skipped:
            yield {"engine": engine, "skipped": skipped[engine]}
            continue
        row = {"engine": engine, **summary(taken[engine])}
        us, host_us = row["us"], 1e6 * median(host[engine])
        yield {
            **row,
            "ran": getattr(getattr(steps[engine], "__self__", None), "engine", engine),
            "host_us": host_us,
            "launches": launches[engine],
            "gb_per_s": moved and moved / us / 1e3,
            "of_roof": roof and 1e6 * roof / us,
            "against_torch": fastest and 1e6 * fastest / us,
            "host_against_torch": quickest and 1e6 * quickest / host_us,
        }


def _copy(x: torch.Tensor, y: torch.Tensor) -> Step:
    return lambda: y.copy_(x)


def _turns(
    steps: Mapping[str, Step], seconds: float, meter: Meter
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of a step on the device and on the host, turn by turn, in random order each round."""
    repeats = {}
    for name, step in steps.items():
        first = min(max(meter.turn(step, 1)) for _ in range(3))
        repeats[name] = max(1, min(1000, round(_TURN / max(first, 1e-9))))
    taken: dict[str, list[float]] = {name: [] for name in steps}
    host: dict[str, list[float]] = {name: [] for name in steps}
    order, until = random.Random(0), time.perf_counter() + seconds
    rounds = 0
    while rounds < _ROUNDS or time.perf_counter() < until:
        for name in order.sample(list(steps), len(steps)):
            device, calls = meter.turn(steps[name], repeats[name])
            taken[name].append(device)
            host[name].append(calls)
        rounds += 1
    return taken, host


def _bytes(rule: Rule, params: Sequence[torch.Tensor]) -> int:
    """What a kernel moves in a step; 0 where the rule has none."""
    from ravine.engines.cpu import kernel
    from ravine.engines.eager import plan

    if not contenders.has_kernel(rule, contenders.in_torch(rule)):
        return 0
    graph = plan(*contenders.composed(rule, contenders.in_torch(rule)))
    found = kernel(graph)
    walks = passes(found, ["float32"] * len(found.columns))
    each = sum(DTYPES["float32"] for walk in walks for _ in (*walk.loads, *walk.stores))
    return each * sum(p.numel() for p in params)
