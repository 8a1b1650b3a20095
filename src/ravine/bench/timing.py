"""Timing: in turns, in one process; the first call in a separate process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it imports torch
    from ravine.bench.contenders import Step, Twin

__all__ = ["extra_bytes", "first_call", "in_a_process", "summary", "take_turns", "timed"]

_TURN = 2e-4  # minimum seconds per turn: hides the clock's resolution and cold caches
_ROUNDS = 3


def timed(step: Step, repeat: int = 1) -> float:
    """Seconds per step, over several steps in a row."""
    start = time.perf_counter()
    for _ in range(repeat):
        step()
    return (time.perf_counter() - start) / repeat


def take_turns(
    steps: Mapping[str, Step], seconds: float, before: Step | Mapping[str, Step] | None = None
) -> dict[str, list[float]]:
    """Seconds of a step, turn by turn, of contenders that take turns for `seconds`.

    Other load on the machine slows all of them. Each takes three turns in random order; then it is
    always the turn of the one with the least total time, so that a slow one takes few turns, spread over
    the whole time. Each turn counts as the contender's shortest one, so that bad luck does not cost
    turns. A turn has as many steps as fill 0.2 ms. With `before`, which is called before each step and not
    timed (one for all, or one for each contender), it has two, of which the second counts: its state is in
    the cache as if it ran alone.
    """
    repeats = dict.fromkeys(steps, 1)
    if before is None:
        repeats = {
            name: max(1, round(_TURN / min(timed(step) for _ in range(_ROUNDS))))
            for name, step in steps.items()
        }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    shortest = dict.fromkeys(steps, float("inf"))
    order, names = random.Random(0), list(steps)

    def turn(name: str) -> None:
        start = time.perf_counter()
        if before:
            prepare = before[name] if isinstance(before, Mapping) else before
            prepare()
            steps[name]()
            prepare()
        taken[name].append(timed(steps[name], repeats[name]))
        shortest[name] = min(shortest[name], time.perf_counter() - start)

    end = time.perf_counter() + seconds
    for _ in range(_ROUNDS):
        order.shuffle(names)
        for name in names:
            turn(name)
    while names and time.perf_counter() < end:
        turn(min(names, key=lambda name: len(taken[name]) * shortest[name]))
    return taken


def summary(taken: Iterable[float]) -> dict[str, Any]:
    """Turns in seconds as microseconds: ``us``, the median; ``us_quartiles``; how many ``turns``."""
    us = [1e6 * seconds for seconds in taken]
    low, _, high = quantiles(us, n=4, method="inclusive")
    return {"us": median(us), "us_quartiles": [low, high], "turns": len(us)}


def extra_bytes(step: Step) -> int:
    """The maximum bytes of tensors that one step holds at a time beyond those before it.

    step: a warm one. Counted by torch's profiler: every tensor that torch allocates, to the byte, however
    small. Anything else (Python's objects, tables) is not counted.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it writes to the terminal
    from torch.autograd.profiler import profile

    with profile(profile_memory=True) as seen:
        step()
    events = seen.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def first_call(rule: str, twin: Twin | None, engine: str, shapes: str) -> float:
    """Seconds to a contender's first step, in a fresh process that has imported torch and no more.

    rule: as registry.get takes it. twin, engine, shapes: the contender and its parameters. What is
    timed: importing Ravine's engines, making the optimizer, compiling, the step. Raises RuntimeError
    with the process's last line if it fails.
    """
    said = repr((twin.name, dict(twin.options)) if twin else ())
    return float(in_a_process("ravine.bench.first_call", rule, said, engine, shapes))


def in_a_process(module: str, *words: object) -> str:
    """The output of a module that is run with these arguments in a new process.

    Raises RuntimeError with the last line of its error output, if it fails.
    """
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return done.stdout
