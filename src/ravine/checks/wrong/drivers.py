"""Faults around a correct rule: how steps are counted, which tensors move, what is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ravine.checks.probe import Path, Probe
from ravine.engines.batch import Batch

__all__ = ["DRIVERS", "RIGHT", "Driver", "run"]


@dataclass(frozen=True)
class Driver:
    """How a rule is used.

    clock: t, as a function of the step (from 1), the tensor (from 0), and the number of tensors. forgets: the
    state is reset at each step. late: updates are applied a step late. stale: gradients are used a step late.
    skips: whether a tensor is left out. shared: one state serves all tensors. times: the factor of updates.
    weight: how plausible it is, as in `Wrong`.
    """

    kind: str = ""
    says: str = ""
    clock: Callable[[int, int, int], float] | None = None
    forgets: bool = False
    late: bool = False
    stale: bool = False
    skips: Callable[[int, int], bool] | None = None
    shared: bool = False
    times: float = 1.0
    weight: int = 9


RIGHT = Driver()
DRIVERS = (
    Driver("sign", "the step goes up the gradient: this is ascent", times=-1.0, weight=10),
    Driver(
        "t per tensor",
        "t grows with every parameter tensor, where it should grow with every step",
        clock=lambda i, k, count: count * (i - 1) + k + 1,
    ),
    Driver("t stays 1", "t stays 1: it is never counted up", clock=lambda i, k, count: 1),
    Driver("t stays 0", "t stays 0: it is never counted up", clock=lambda i, k, count: 0, weight=5),
    Driver(
        "t from 0", "t starts at 0: it is counted up after its use", clock=lambda i, k, count: i - 1
    ),
    Driver(
        "t ahead",
        "t is a step ahead: it is 2 in the first step",
        clock=lambda i, k, count: i + 1,
        weight=7,
    ),
    Driver("t twice", "t grows by 2 with every step", clock=lambda i, k, count: 2 * i, weight=7),
    Driver("forgets", "the state is recreated in every step: nothing is remembered", forgets=True),
    Driver("late", "updates are applied one step late", late=True),
    Driver("stale", "the step uses the gradient of the step before", stale=True),
    Driver(
        "last skipped", "the last tensor is never stepped", skips=lambda k, count: k == count - 1
    ),
    Driver("first only", "only the first tensor is stepped", skips=lambda k, count: k > 0),
    Driver("first skipped", "the first tensor is never stepped", skips=lambda k, count: k == 0),
    Driver("shared", "all tensors share one state", shared=True),
    Driver("twice", "every update is applied twice", times=2.0, weight=6),
    Driver("still", "nothing moves", times=0.0),
)


def run(
    batch: Batch,
    probe: Probe,
    values: Mapping[str, Any],
    driver: Driver = RIGHT,
    like: Path | None = None,
    tolerance: float = 0.0,
    rounding: float = 2.3e-16,
) -> Path:
    """The paths that a rule takes in this way: (runs, rows, numbers).

    like: stop after the first step whose update differs from that of this path by more than the tolerance
    and the rounding of its arithmetic.
    """
    state = batch.begin(probe.starts, values)
    runs, count = state.p.shape[:2]
    begun = state.p
    rows = [begun.reshape(runs, -1)]
    pending, past = np.zeros_like(state.p), np.zeros_like(probe.grads[0])
    with np.errstate(all="ignore"):
        for i, now in enumerate(probe.grads, 1):
            if probe.restored and i > 1:
                state.p = begun
                rows.append(rows[0])
            g, past = (past, now) if driver.stale else (now, now)
            if driver.forgets:
                state.slots = batch.begin(probe.starts, values).slots
            if driver.shared:
                new, state.slots = _one_by_one(batch, state.p, g, state.slots, i, values)
            else:
                t = _clock(driver, i, count)
                slots = batch.step(state.p, g[None], state.slots, t, values)
                new, state.slots = np.broadcast_to(slots.pop("p"), state.p.shape), slots
            if driver.times != 1:
                new = state.p + driver.times * (new - state.p)
            if driver.late:
                new, pending = state.p + pending, new - state.p
            if driver.skips:
                left = np.array([driver.skips(k, count) for k in range(count)])
                new = np.where(left[:, None, None], state.p, new)
            state.p = new
            rows.append(new.reshape(runs, -1))
            if like is not None and not _near(
                rows[-2], rows[-1], like[len(rows) - 2], like[len(rows) - 1], tolerance, rounding
            ):
                break
    return np.stack(rows, axis=1)


def _clock(driver: Driver, i: int, count: int) -> Any:
    if driver.clock is None:
        return np.float64(i)
    return np.array([float(driver.clock(i, k, count)) for k in range(count)]).reshape(1, -1, 1, 1)


def _one_by_one(
    batch: Batch, p: Any, g: Any, slots: dict[str, Any], i: int, values: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Step the tensors in turn, each with the state that the previous one left."""
    its = {k: np.asarray(x)[:, :1] for k, x in slots.items()}
    moved = []
    for k in range(p.shape[1]):
        one = slice(k, k + 1)
        its = batch.step(p[:, one], g[None, one], its, np.float64(i), values)
        moved.append(np.broadcast_to(its.pop("p"), p[:, one].shape))
    return np.concatenate(moved, axis=1), its


def _near(before: Any, after: Any, was: Any, now: Any, tolerance: float, rounding: float) -> bool:
    """Whether an update agrees in any of the runs."""
    a, b = after - before, now - was
    size = np.maximum(np.maximum(np.abs(now), np.abs(was)), np.abs(after))
    near = np.abs(a - b) <= tolerance * np.maximum(np.abs(a), np.abs(b)) + 8 * rounding * size
    same = near | (a == b) | (np.isnan(a) & np.isnan(b)) | (~np.isfinite(a) & ~np.isfinite(b))
    return bool(same.all(axis=-1).any())
