"""How long one step takes on an NVIDIA GPU: Ravine's kernels against torch.optim's loops, and others.

Contenders take turns in random order. A turn is of several steps between two CUDA events, after something has
been written to all of the L2 cache; the time that the calls take on the host is measured apart. The roof is a
copy of as many bytes as Ravine's kernel moves. "Ravine graph" and "torch graph" are steps with
capturable=True, replayed as CUDA graphs; "apex" is NVIDIA's fused optimizer, where that is installed.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from statistics import median, quantiles
from typing import Any, Protocol

import torch

from ravine import registry
from ravine.bench import contenders
from ravine.bench.contenders import Step, Twin
from ravine.bench.timing import summary
from ravine.engines import narrow
from ravine.engines.kernel import DTYPES
from ravine.engines.passes import passes
from ravine.rule import Rule

__all__ = ["Gpu", "Meter", "lacking", "made", "measured", "moved", "parameters", "run"]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]
Row = dict[str, Any]

_CACHE = 256 * 2**20  # bytes: more than any L2 has
_TURN = 2e-3  # seconds of a turn, about
_QUEUE = 500  # launches of a turn, at most: the host waits when about a thousand are queued
_ROUNDS = 5
_GRAPHS = ("Ravine graph", "torch graph")
_APEX = {"adam": False, "adamw": True}  # adam_w_mode
_RAVINES = (*contenders.RAVINES, "Ravine graph")


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

    def graphed(self, step: Step) -> Step:
        """The step captured as a CUDA graph: a function that replays it."""


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

    def graphed(self, step: Step) -> Step:
        """The step captured as a CUDA graph, after some on another stream, as torch recommends."""
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(here)
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return partial(_replay, graph, step)


def _replay(graph: Any, step: Step) -> None:
    graph.replay()  # in memory that belongs to what steps


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
    ``device``; ``us``, ``us_quartiles``, ``turns``; ``host_us`` (until the call returns); ``launches`` (None
    if they cannot be counted); ``gb_per_s``, ``against_torch`` and ``of_roof``, as on the CPU;
    ``against_torch_low``, the lower quartile of the ratios turn by turn; and ``host_against_torch``. Graphs
    are compared with torch's graph, the others with the fastest of torch's other loops. A contender that
    could not run has ``skipped``, the reason.
    """
    meter = meter or Gpu()
    names = contenders.rules_of_torch() if rules is None else list(rules)
    units = [{"problem": shapes, "optimizer": name} for shapes in on for name in names]
    for unit in progress("step", units):
        shapes, name = unit["problem"], unit["optimizer"]
        rule = registry.get(name)
        twin = contenders.in_torch(rule)
        gc.collect()  # the previous optimizers, which are in reference cycles
        params = contenders.fitting(twin, parameters(shapes, meter.device))
        if params:
            for row in _case(rule, params, seconds, compiled, meter):
                yield {"rule": rule.name, "shapes": shapes, "device": meter.name, **row}


def parameters(shapes: str, device: torch.device) -> list[torch.Tensor]:
    """A model's parameters and gradients on a device, see :func:`ravine.bench.contenders.parameters`."""
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
    engines.append("Ravine graph")
    if twin and twin.knows("capturable"):
        engines.append("torch graph")
    if rule.name in _APEX and find_spec("apex"):
        engines.append("apex")
    makes = {e: partial(_make, e, rule, twin, params, meter) for e in engines}
    steps, skipped = made(makes)
    torchs = [e for e in steps if e not in (*_RAVINES, "torch graph", "apex")]
    against = {
        e: [x for x in ("torch graph",) if x in steps] if e in _GRAPHS else torchs for e in steps
    }
    size = moved(rule, params)
    rows = measured(steps, dict.fromkeys(steps, size) if size else {}, against, seconds, meter)
    for engine in engines:
        if engine in skipped:
            yield {"engine": engine, "skipped": skipped[engine]}
        else:
            yield {"engine": engine, **rows[engine]}


def _make(
    engine: str, rule: Rule, twin: Twin | None, params: Sequence[torch.Tensor], meter: Meter
) -> Step:
    """A contender's step, which has its state."""
    options: dict[str, Any] = {**twin.options} if twin else {}
    if engine == "apex":
        from apex.optimizers import FusedAdam

        return FusedAdam(params, adam_w_mode=_APEX[rule.name]).step  # type: ignore[no-any-return]
    if engine not in _GRAPHS:
        return contenders.make(engine, rule, twin, params)
    options["capturable"] = True
    if engine == "Ravine graph":
        import ravine.torch

        cls = getattr(ravine.torch, twin.name) if twin else ravine.torch.optimizer(rule)
        return meter.graphed(cls(params, **options).step)
    assert twin
    options["fused" if twin.knows("fused") else "foreach"] = True
    return meter.graphed(twin.torchs(params, **options).step)


def made(makes: Mapping[str, Callable[[], Step]]) -> tuple[dict[str, Step], dict[str, str]]:
    """The contenders that took their first step, and why the others did not."""
    steps: dict[str, Step] = {}
    skipped: dict[str, str] = {}
    for name, make in makes.items():
        try:
            step = make()
            step()
        except Exception as error:  # whatever torch's classes, its compiler and drivers raise
            skipped[name] = str(error).strip().partition("\n")[0] or type(error).__name__
        else:
            steps[name] = step
    return steps, skipped


def measured(
    steps: Mapping[str, Step],
    sizes: Mapping[str, int],
    against: Mapping[str, Sequence[str]],
    seconds: float,
    meter: Meter,
) -> dict[str, Row]:
    """What :func:`run` says of each contender, without names.

    sizes: the bytes that contenders move, where known. against: those of torch's that each is compared with,
    or rather with the fastest of them.
    """
    launches = {name: _launches(step, meter) for name, step in steps.items()}
    most, roof = max(sizes.values(), default=0), None
    steps = dict(steps)
    if most:
        try:
            half = torch.empty(max(1, most // 2), dtype=torch.uint8, device=meter.device)
            steps["roof"] = _copy(half, torch.empty_like(half))
        except RuntimeError:  # not enough memory
            pass
    taken, host = _turns(steps, launches, seconds, meter)
    if "roof" in steps:
        roof = most / median(taken.pop("roof"))  # bytes per second
    rows = {}
    for name, turns in taken.items():
        size, mine = sizes.get(name), against.get(name, ())
        fastest = min(mine, key=lambda e: median(taken[e]), default=None)
        quickest = min((median(host[e]) for e in mine), default=None)
        rate = size and size / median(turns)
        rows[name] = {
            **summary(turns),
            "ran": getattr(getattr(steps[name], "__self__", None), "engine", name),
            "host_us": 1e6 * median(host[name]),
            "launches": launches[name],
            "gb_per_s": rate and rate / 1e9,
            "of_roof": rate / roof if rate and roof else None,
            "against_torch": fastest and median(taken[fastest]) / median(turns),
            "against_torch_low": fastest and _low(taken[fastest], turns),
            "host_against_torch": quickest and quickest / median(host[name]),
        }
    return rows


def _low(its: Sequence[float], mine: Sequence[float]) -> float:
    """The lower quartile of the ratios of turns in the same rounds."""
    return quantiles([x / y for x, y in zip(its, mine, strict=True)], n=4, method="inclusive")[0]


def _launches(step: Step, meter: Meter) -> int | None:
    """None if they cannot be counted, as without the right to profile."""
    try:
        return meter.launches(step) or None
    except RuntimeError:
        return None


def _copy(x: torch.Tensor, y: torch.Tensor) -> Step:
    return lambda: y.copy_(x)


def _turns(
    steps: Mapping[str, Step], launches: Mapping[str, int | None], seconds: float, meter: Meter
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of a step on the device and on the host, turn by turn, in random order each round."""
    repeats = {}
    for name, step in steps.items():
        first = min(max(meter.turn(step, 1)) for _ in range(3))
        most = max(1, _QUEUE // (launches.get(name) or 1))
        repeats[name] = max(1, min(most, round(_TURN / max(first, 1e-9))))
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


def moved(rule: Rule, params: Sequence[torch.Tensor], eight_bits: bool = False) -> int:
    """The bytes that a kernel reads and writes in a step; 0 where the rule has none.

    eight_bits: whether state is in 8 bits where it can be, and in float32 elsewhere.
    """
    from ravine.engines.cpu import kernel
    from ravine.engines.eager import plan
    from ravine.engines.kernel import KernelError

    its = contenders.composed(rule, contenders.in_torch(rule))
    walks: dict[tuple[Any, ...], list[str]] = {}
    total = 0
    for p in params:
        graph = plan(*its, ndim=p.ndim)
        try:
            found = kernel(graph)
        except KernelError:
            return 0
        dtype, n = str(p.dtype).removeprefix("torch."), p.numel()
        of = dict.fromkeys(found.columns, "float32" if eight_bits else dtype)
        of |= narrow.narrow(graph) if eight_bits and n >= narrow.SMALL else {}
        of |= {"p": dtype, "g": dtype}
        key = (graph, *of.values())
        if key not in walks:
            moves = passes(found, [*of.values()])
            walks[key] = [c for walk in moves for c in (*walk.loads, *walk.stores)]
        total += sum(
            narrow.size(n) if of[c] in narrow.FORMATS else DTYPES[of[c]] * n for c in walks[key]
        )
    return total
