"""How long one step takes: Ravine's kernels and eager engine against torch.optim's loops.

All contenders step the same parameters, in turn, in one process; each keeps its own state. The roof
is a kernel that reads and writes as many columns and computes next to nothing: what memory allows.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ravine import registry
from ravine.bench import contenders
from ravine.bench.contenders import BLOCKS, CONVOLUTIONS, MANY, SHAPES, Kernel, Step, Twin
from ravine.bench.timing import extra_bytes, first_call, summary, take_turns
from ravine.naming import split
from ravine.rule import Rule

__all__ = [
    "BLOCKS",
    "CONVOLUTIONS",
    "MANY",
    "SHAPES",
    "choose",
    "run",
    "run_in_training",
    "run_with_experts",
]

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]
Row = dict[str, Any]

_EXPERTS = (8, 64, 300)  # tensors of 1,000 numbers
_LARGE = "gpt2"  # where a step of the eager engine takes seconds


def choose(rules: str) -> list[str]:
    """Names of rules from "torch" (those that torch.optim has too), "all", or names with commas.

    Raises LookupError for a name that is none.
    """
    if rules == "all":
        return registry.names()
    names = contenders.rules_of_torch() if rules == "torch" else split(rules)
    for name in names:
        registry.get(name)
    return names


def run(
    on: Iterable[str] = SHAPES,
    rules: Iterable[str] | None = None,
    seconds: float = 1.0,
    *,
    compiled: bool = False,
    first: bool = False,
    all_engines: bool = False,
    flat: bool = False,
    progress: Progress = lambda _, units: units,
) -> Iterator[Row]:
    """Time a step of each rule on parameters of each shape, in float32.

    on: names among SHAPES, MANY, CONVOLUTIONS and BLOCKS. rules: as registry.get takes them; by default those
    that torch.optim has too. seconds: for each rule and shape, all contenders together; at least three turns
    each are taken. compiled: add torch.compile of torch's step. first: time the first calls, in processes of
    their own, on the first of the shapes. all_engines: leave out none on gpt2, however slow. flat: add
    Ravine's optimizer with flatten=True.
    progress: is handed a name and the units of work, and hands them on.

    Yields a row for each contender: ``rule``, ``shapes``, ``engine``; ``us`` (median microseconds),
    ``us_quartiles``, ``turns``; ``gb_per_s`` (the kernel's bytes over the time; None where the rule
    has no kernel); ``against_torch`` (the time of torch's fastest over this time; None where there
    is none); ``of_roof`` (the roof's time for as many bytes over this time); ``extra_bytes`` (the
    most that a step allocates beyond what stands); ``numbers`` (how many are stepped);
    ``first_seconds``, None where not timed. A contender that could not run has ``skipped``, the
    reason, instead of all these. Raises ValueError for unknown shapes.
    """
    on = list(on)
    for shapes in on:
        contenders.shapes(shapes)
    names = contenders.rules_of_torch() if rules is None else list(rules)
    units = [{"problem": shapes, "optimizer": name} for shapes in on for name in names]
    held = ""
    params: list[torch.Tensor] = []
    for unit in progress("step", units):
        shapes, name = unit["problem"], unit["optimizer"]
        rule = registry.get(name)
        twin = contenders.in_torch(rule)
        engines = contenders.engines(twin, compiled, rule, flat)
        skipped = _left_out(rule, twin, engines, shapes, all_engines)
        if held != shapes and len(skipped) < len(engines):
            params = []  # gone before the others come
            held, params = shapes, contenders.parameters(shapes)
        fitting = contenders.fitting(twin, params)
        firsts = _first_calls(name, twin, engines, shapes) if first and shapes == on[0] else {}
        for row in _case(rule, twin, fitting, engines, skipped, seconds):
            if "skipped" not in row:
                row["numbers"] = sum(p.numel() for p in fitting)
                row["first_seconds"] = firsts.get(row["engine"])
            yield {"rule": rule.name, "shapes": shapes, **row}


def _left_out(
    rule: Rule, twin: Twin | None, engines: Sequence[str], shapes: str, all_engines: bool
) -> dict[str, str]:
    """The contenders that are not to be begun with, and why."""
    given = [torch.empty(shape, device="meta") for shape in contenders.shapes(shapes)]
    if not contenders.fitting(twin, given):
        return dict.fromkeys(engines, f"takes none of the parameters of {shapes}")
    # p, g, and what a step allocates; the states of all, and the roof's
    columns = 3 + len(rule.slots) * (len(engines) + 1) + 3 * ("flat" in engines)
    if lacking := _lacking(4 * columns * sum(p.numel() for p in given)):
        return dict.fromkeys(engines, lacking)
    if shapes == _LARGE and not all_engines:
        slow = ["eager"] if contenders.has_kernel(rule, twin) else engines
        return dict.fromkeys(slow, f"eager takes seconds a step on {shapes}")
    return {}


def run_in_training(
    rules: Iterable[str] | None = None,
    seconds: float = 1.0,
    batch_size: int = 64,
    *,
    compiled: bool = False,
    flat: bool = False,
    progress: Progress = lambda _, units: units,
) -> Iterator[Row]:
    """Time the step alone inside the training of an MLP, right after each backward pass.

    There the caches are cold and torch's threads still spin. Contenders train in turn, each batch
    of random data being new; "flat" trains a separate model, whose gradients keep their places. rules,
    seconds, compiled, flat, progress: as in :func:`run`. Yields rows with
    ``rule``, ``engine``, ``us``, ``us_quartiles``, ``turns`` and ``against_torch``, or ``skipped``.
    """
    names = contenders.rules_of_torch() if rules is None else list(rules)
    for unit in progress("training", [{"optimizer": name} for name in names]):
        rule = registry.get(unit["optimizer"])
        torch.manual_seed(0)
        model = _perceptron()

        def backward(model: torch.nn.Module = model, keep: bool = False) -> None:
            model.zero_grad(set_to_none=not keep)
            x, target = torch.randn(batch_size, 784), torch.randint(10, (batch_size,))
            torch.nn.functional.cross_entropy(model(x), target).backward()

        backward()
        twin = contenders.in_torch(rule)
        engines = contenders.engines(twin, compiled, flat=flat)
        params = contenders.fitting(twin, list(model.parameters()))
        steps, skipped = _made(rule, twin, params, engines, {"flat": "has a model of its own"})
        before = dict.fromkeys(steps, backward)
        if flat:
            own = _perceptron()
            before["flat"] = partial(backward, own, keep=True)
            before["flat"]()
            params = contenders.fitting(twin, list(own.parameters()))
            steps["flat"] = contenders.make("flat", rule, twin, params, owned=True)
            for _ in range(3):
                steps["flat"]()
            del skipped["flat"]
        taken = take_turns(steps, seconds, before=before)
        for row in _rows(engines, taken, skipped):
            yield {"rule": rule.name, **row}


def _perceptron() -> torch.nn.Module:
    layers = [torch.nn.Linear(784, 128), torch.nn.Linear(128, 64), torch.nn.Linear(64, 10)]
    relu = torch.nn.ReLU()
    return torch.nn.Sequential(layers[0], relu, layers[1], relu, layers[2])


def run_with_experts(
    rules: Iterable[str] = ("adamw",),
    seconds: float = 1.0,
    *,
    progress: Progress = lambda _, units: units,
) -> Iterator[Row]:
    """Time a step where other tensors have gradients each time, as with mixtures of experts.

    Of 8, 64 and 300 tensors of 1,000 numbers either every second one has a gradient, by turns, or all
    but one, another each time. rules, seconds, progress: as in :func:`run`. Yields rows as
    :func:`run_in_training`, with ``tensors``, how many, and ``gradients``: "half" or "all but one".
    """
    cases = [(tensors, gradients) for tensors in _EXPERTS for gradients in ("half", "all but one")]
    units = [
        {"optimizer": name, "tensors": tensors, "gradients": gradients}
        for name in rules
        for tensors, gradients in cases
    ]
    for unit in progress("experts", units):
        rule, many = registry.get(unit["optimizer"]), unit["tensors"]
        torch.manual_seed(0)
        params = [torch.randn(1000).requires_grad_() for _ in range(many)]
        turns, half = count(), unit["gradients"] == "half"

        def backward(
            params: Sequence[torch.Tensor] = params, turns: Iterator[int] = turns, half: bool = half
        ) -> None:
            turn = next(turns)
            for i, p in enumerate(params):
                missing = (i + turn) % 2 if half else i == turn % len(params)
                p.grad = None if missing else torch.randn(1000)

        for p in params:  # all have begun
            p.grad = torch.randn(1000)
        twin = contenders.in_torch(rule)
        # The bare kernel has no front that could leave tensors out.
        engines = [engine for engine in contenders.engines(twin) if engine != "kernel"]
        steps, skipped = _made(rule, twin, params, engines, {})
        taken = take_turns(steps, seconds, before=backward)
        for row in _rows(engines, taken, skipped):
            yield {
                "rule": rule.name,
                "tensors": many,
                "gradients": unit["gradients"],
                **row,
            }


def _case(
    rule: Rule,
    twin: Twin | None,
    params: Sequence[torch.Tensor],
    engines: Sequence[str],
    skipped: Mapping[str, str],
    seconds: float,
) -> Iterator[Row]:
    """A row for each contender, on these parameters; skipped: who is left out, and why."""
    contenders.refresh(params)
    steps, skipped = _made(rule, twin, params, engines, skipped)
    extra = {engine: extra_bytes(step) for engine, step in steps.items()}
    moved = allowed = None
    kernel = steps.get("kernel")
    if isinstance(kernel, Kernel):
        roof = Kernel(contenders.roof(len(kernel.slots)), {}, params)
        taken = take_turns({**steps, "roof": roof}, seconds)
        moved, allowed = kernel.bytes, median(taken.pop("roof")) * kernel.bytes / roof.bytes
    else:
        taken = take_turns(steps, seconds)
    for row in _rows(engines, taken, skipped):
        if "skipped" not in row:
            row["gb_per_s"] = moved and moved / row["us"] / 1e3
            row["of_roof"] = allowed and 1e6 * allowed / row["us"]
            row["extra_bytes"] = extra[row["engine"]]
        yield row


def _made(
    rule: Rule,
    twin: Twin | None,
    params: Sequence[torch.Tensor],
    engines: Sequence[str],
    skipped: Mapping[str, str],
) -> tuple[dict[str, Step], dict[str, str]]:
    """The contenders that took their first step, and why the others did not."""
    gc.collect()  # the previous optimizers, which are in reference cycles
    steps, skipped = {}, dict(skipped)
    for engine in engines:
        if engine not in skipped:
            try:
                step = contenders.make(engine, rule, twin, params)
                for _ in range(3 if engine == "flat" else 1):  # which first moves its tensors
                    step()
            except Exception as error:  # whatever torch's classes and its compiler raise
                skipped[engine] = str(error).strip().partition("\n")[0]
            else:
                steps[engine] = step
    return steps, skipped


def _rows(
    engines: Sequence[str], taken: Mapping[str, Sequence[float]], skipped: Mapping[str, str]
) -> Iterator[Row]:
    torchs = [median(taken[e]) for e in taken if e not in contenders.RAVINES]
    for engine in engines:
        if engine in skipped:
            yield {"engine": engine, "skipped": skipped[engine]}
        else:
            row = {"engine": engine, **summary(taken[engine])}
            yield {**row, "against_torch": 1e6 * min(torchs) / row["us"] if torchs else None}


def _first_calls(
    name: str, twin: Twin | None, engines: Sequence[str], shapes: str
) -> dict[str, float]:
    result = {}
    for engine in engines:
        try:
            result[engine] = first_call(name, twin, engine, shapes)
        except RuntimeError:  # what cannot be made says why in its row
            continue
    return result


def _lacking(wanted: int) -> str:
    """Why so many bytes are not to be had, or nothing."""
    info = Path("/proc/meminfo")
    if info.exists():
        free = int(info.read_text().partition("MemAvailable:")[2].split()[0]) * 1024
        if wanted > free:
            return f"needs {wanted / 2**30:.1f} GiB of memory; {free / 2**30:.1f} are free"
    return ""
