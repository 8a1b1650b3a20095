"""Fits hyperparameters so that a rule takes a path, and expresses numbers in terms of others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ravine.checks.probe import Path, Probe, distance
from ravine.checks.wrong import RIGHT, Driver, run
from ravine.engines.batch import Batch

__all__ = ["fitted", "recognised"]

_RATES = ("beta", "beta1", "beta2", "beta3", "alpha", "rho", "momentum")
"""Hyperparameters that are searched by their distance from 1."""
_SCALES = {"eps": 1e-3, "weight_decay": 1e-2}
_DAMPING = (0.0, 1e-6, 1e-3, 1e-1, 10.0, 1e3)


def fitted(
    batch: Batch,
    probe: Probe,
    path: Path,
    values: Mapping[str, Any],
    driver: Driver = RIGHT,
    rounds: int = 14,
    rounding: float = 2.3e-16,
) -> tuple[dict[str, Any], float]:
    """The values with which a rule comes closest to a path, and how close: by Gauss and Newton.

    Each round is two runs: all derivatives in one, and the step at several dampings in the other.
    """
    names = [
        k
        for k, v in values.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool) and k in batch.reads
    ]
    names = [k for k in names if not k.startswith("ns_")]
    x = np.array([_inward(k, float(values[k])) for k in names])
    unit = np.array([1.0 if k in _RATES else abs(values[k]) or _SCALES.get(k, 0.1) for k in names])
    with np.errstate(all="ignore"):
        moves = np.diff(path, axis=0)
    size = np.abs(np.where(np.isfinite(moves), moves, 1.0))
    scale = size + 1e-3 * np.sqrt((size**2).mean(axis=0)) + 1e-12

    def residuals(points: Path) -> Path:
        its = dict(values) | {k: _outward(k, points[:, i]) for i, k in enumerate(names)}
        with np.errstate(all="ignore"):
            found = np.diff(run(batch, probe, its, driver), axis=1)
            off = (found - moves) / scale
        alike = ~np.isfinite(found) & ~np.isfinite(moves)
        if np.iscomplexobj(off):
            off, alike = np.concatenate([off.real, off.imag], -1), np.concatenate([alike] * 2, -1)
        off = np.where(alike, 0.0, np.where(np.isfinite(off), np.clip(off, -1e3, 1e3), 1e3))
        off = np.broadcast_to(off, (len(points), *off.shape[1:]))
        return off.reshape(len(points), -1)

    for _ in range(rounds if names else 0):
        steps = 1e-6 * unit
        rows = residuals(np.vstack([x, x + np.diag(steps)]))
        cost = float((rows[0] ** 2).mean())
        slopes = ((rows[1:] - rows[0]) / steps[:, None]).T * unit
        inside = np.abs(rows[0]) < 1e3
        normal, right = slopes[inside].T @ slopes[inside], slopes[inside].T @ rows[0][inside]
        if not (np.isfinite(normal).all() and np.isfinite(right).all()):
            break
        tries = np.array(
            [x + _move(names, x, unit, normal, right, damping) for damping in _DAMPING]
        )
        costs = (residuals(tries) ** 2).mean(axis=1)
        best = int(np.argmin(costs))
        if not costs[best] < cost * (1 - 1e-9):
            break
        x, gained = tries[best], cost - costs[best]
        if costs[best] < 1e-26 or (gained < 1e-4 * cost and costs[best] > 1e-6):
            break
    found = dict(values) | {k: float(_outward(k, x[i])) for i, k in enumerate(names)}
    return found, distance(path, run(batch, probe, found, driver)[0], rounding)


def _move(names: Any, x: Path, unit: Path, normal: Path, right: Path, damping: float) -> Path:
    try:
        damped = normal + damping * np.diag(np.diag(normal) + 1e-12)
        move = np.linalg.lstsq(damped, -right, rcond=1e-14)[0]
    except np.linalg.LinAlgError:
        return np.zeros_like(x)
    bound = np.array([2.0 if k in _RATES else 20.0 for k in names])
    move = np.clip(move, -bound, bound) * unit
    for i, k in enumerate(names):
        if k.startswith("eps") and x[i] + move[i] < 0:
            move[i] = -0.9 * x[i]
    return move


def _inward(name: str, value: float) -> float:
    return math.log(max(1 - value, 1e-6)) if name in _RATES else value


def _outward(name: str, x: Any) -> Any:
    return 1 - np.exp(np.clip(x, -700, 700)) if name in _RATES else x


def recognised(ratio: float, values: Mapping[str, Any]) -> str:
    """A number in terms of hyperparameters; "" if there is no simple expression.

    >>> recognised(10.0, {"beta1": 0.9})
    '1/(1 − beta1)'
    """
    known: dict[str, float] = {}
    numbers = {k: float(v) for k, v in values.items() if not isinstance(v, bool) and v}
    for k in (
        "lr",
        "beta1",
        "beta2",
        "momentum",
        "alpha",
        "rho",
        "eps",
        "weight_decay",
        "dampening",
    ):
        b = numbers.get(k, 0.0)
        if b <= 0:
            continue
        if k in (*_RATES, "dampening") and b < 1:
            known |= {
                f"1 − {k}": 1 - b,
                f"1/(1 − {k})": 1 / (1 - b),
                f"1 + {k}": 1 + b,
                f"sqrt(1 − {k})": math.sqrt(1 - b),
                f"1/sqrt(1 − {k})": 1 / math.sqrt(1 - b),
                f"1/(1 − {k})²": 1 / (1 - b) ** 2,
            }
        known |= {k: b, f"1/{k}": 1 / b, f"sqrt({k})": math.sqrt(b)}
    if "beta1" in numbers and "beta2" in numbers and max(numbers["beta1"], numbers["beta2"]) < 1:
        both = math.sqrt(1 - numbers["beta2"]) / (1 - numbers["beta1"])
        known["sqrt(1 − beta2)/(1 − beta1)"] = both
        known["(1 − beta1)/sqrt(1 − beta2)"] = 1 / both
    for n in (2, 3, 4, 5, 10, 100, 1000):
        known |= {str(n): float(n), f"1/{n}": 1 / n}
    for name, value in known.items():
        for sign in ("", "−"):
            if abs(ratio - (-value if sign else value)) <= 1e-6 * value:
                return f"{sign}({name})" if sign and " " in name else sign + name
    return "−1" if abs(ratio + 1) < 1e-6 else "0" if ratio == 0 else ""
