"""What is measured for the claims: each unit of work is a pure function of a small spec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ravine.engines.tracing import trace
from ravine.experiments.claims import situations
from ravine.experiments.grids import (
    PROBLEMS,
    SPIKES,
    Task,
    choose,
    diverged,
    logs,
    rates_of,
    report_seeds,
    train,
)
from ravine.experiments.racers import NAMES, Apart, Racer, racer, racers

PROTOCOL_VERSION = 2
"""Raised by hand when the same spec gives other numbers: earlier results are not reused then."""

OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam")
RIVALS = OPTIMIZERS[:-1]
"""Those that Adam, or an optimizer of your own, is compared with."""

_PROBLEMS = {**PROBLEMS, "spikes": SPIKES}
LABELS = {name: problem.label for name, problem in _PROBLEMS.items()}

LEARNING_RATES = tuple(float(f"{10 ** (k / 4):.3g}") for k in range(-20, 9))
"""The grid: from 1e-5 to 100, four in a decade. All default learning rates are on it."""

TUNING_SEEDS = (1000, 1001, 1002, 1003, 1004)


def specs(
    seeds: Iterable[int] | None = None,
    *,
    quick: bool = False,
    optimizers: Iterable[str] | None = None,
    lr: float | None = None,
    settings: Mapping[str, float | bool] | None = None,
) -> list[dict[str, Any]]:
    """List the units of the race.

    seeds: those that are reported, 0 to 19 by default; learning rates are chosen on others,
    `TUNING_SEEDS`. quick: half the learning rates, a third of the steps, two tuning seeds, and by
    default six seeds to report, for a first look in seconds. optimizers: what is claimed of Adam is
    tried on these, beside `RIVALS`, and nothing else is. settings: of these, or else of all; see
    :mod:`ravine.experiments.racers`. lr: of these, or else of all, which then is not tuned.
    """
    seeds = report_seeds(range(6 if quick else 20) if seeds is None else seeds, TUNING_SEEDS)
    shared = {
        "tuning_seeds": list(TUNING_SEEDS[: 2 if quick else None]),
        "seeds": seeds,
        "shorter": 3 if quick else 1,
    }
    grid = LEARNING_RATES[:: 2 if quick else 1]
    of_adam = optimizers is not None
    subjects = racers(optimizers if optimizers is not None else OPTIMIZERS, settings, lr)
    chosen = {each.name: each.for_vectors("vectors are trained") for each in subjects}
    made = {o: racer(o) for o in RIVALS} | chosen
    heads = list(chosen) if of_adam else ["adam"]

    def race(
        problem: str, optimizer: str, decay: bool = False, clip: bool = False
    ) -> dict[str, Any]:
        each = made[optimizer]
        return {
            **{"unit": "race", "problem": problem, "optimizer": optimizer},
            **{"decay": decay, "clip": clip},
            "learning_rates": rates_of(each, grid),
            **shared,
            **({"set": dict(each.set)} if each.set else {}),
        }

    clipped = dict.fromkeys((*heads, "sgd"))
    races = [race(p, o, d) for p in PROBLEMS for o in made for d in (False, True)]
    races += [race(p, o, clip=True) for p in [*PROBLEMS, "spikes"] for o in clipped]
    races += [race("spikes", o) for o in clipped]
    changed = {o: {"set": dict(each.set)} for o, each in made.items() if each.set}
    compared = made if of_adam else NAMES
    units = [{"unit": "memory", "optimizer": o, **changed.get(o, {})} for o in compared]
    if of_adam:
        return [*races, *units]
    runs = 200 if quick else 1000
    return [
        *races,
        *units,
        *({"unit": "ravine", "momentum": m} for m in (0.0, 0.5, 0.9, 0.99)),
        *({"unit": "escape", "learning_rate": lr, "runs": runs} for lr in (0.01, 0.03, 0.1, 0.3)),
        {"unit": "floor", "seeds": seeds},
        *situations.specs(seeds, quick),
    ]


Found = Mapping[str, Racer]


def look_up(spec: Mapping[str, Any], found: Found | None = None) -> Racer:
    """The racer of a unit; those that are not about one optimizer are about SGD and momentum."""
    name = spec.get("optimizer") or ("momentum" if spec.get("momentum") else "sgd")
    known = (found or {}).get(name)
    return known if known and "optimizer" in spec else racer(name, spec.get("set"))


def run(spec: Mapping[str, Any], found: Found | None = None) -> dict[str, Any]:
    """Do one unit of work: a pure function of the spec; the result is fit for JSON."""
    if spec["unit"] in situations.UNITS:
        return {**spec, **situations.UNITS[spec["unit"]](spec)}
    return {**spec, **_UNITS[spec["unit"]](spec, look_up(spec, found))}


def depends(spec: Mapping[str, Any], found: Found | None = None) -> dict[str, Any]:
    """Return everything that the result of a spec depends on, fit for JSON."""
    if spec["unit"] in situations.UNITS:
        return {**spec, **situations.depends(spec), "protocol": PROTOCOL_VERSION}
    each = look_up(spec, found)
    if spec.get("momentum"):
        each = racer(each.name, {"momentum": spec["momentum"]})
    problem = _PROBLEMS.get("line" if spec["unit"] == "floor" else spec.get("problem", ""))
    return {
        **spec,
        "optimizer": each.digest(varied=("lr",)),
        "task": problem and problem.depends(),
        "protocol": PROTOCOL_VERSION,
    }


def _race(spec: Mapping[str, Any], each: Racer) -> dict[str, Any]:
    """Tune one optimizer on one problem, and run it with the rates found and with its default.

    ``tuning``: for each learning rate, for each tuning seed, the loss at the end. ``tuned``: runs
    with the rate of the least loss; ``fast``: with the rate of the fewest steps to the target;
    ``default``. Each has ``learning_rate``; ``edge``, whether it is the grid's first or last;
    ``losses`` at the end and ``steps`` to the target, a number a seed; ``diverged``, how many;
    ``tuning_loss``, the mean logarithm on the tuning seeds. ``curve``: those of `fast`, as steps
    and the quartiles of the loss.
    """
    problem, rates = _PROBLEMS[spec["problem"]], spec["learning_rates"]
    steps = problem.steps // spec["shorter"]
    how = {"decay": spec["decay"], "looks": problem.looks}

    def task(seeds: str) -> Task:
        made = problem.make(spec[seeds])
        clipped = replace(made, gradient=lambda p: np.clip(made.gradient(p), -1.0, 1.0))
        return clipped if spec["clip"] else made

    tuning = train(task("tuning_seeds"), each, rates, steps, **how)
    chosen = {
        "tuned": choose(tuning, problem.target, by="loss"),
        "fast": choose(tuning, problem.target, by="steps"),
        "default": rates.index(each.values["lr"]),
    }
    few = [rates[i] for i in chosen.values()]
    report = train(task("seeds"), each, few, steps, **how)
    end, arrival = report.end, report.steps_to(problem.target)
    entries = {
        name: {
            "learning_rate": rates[i],
            "edge": i in (0, len(rates) - 1),
            "losses": end[:, column].tolist(),
            "steps": arrival[:, column].tolist(),
            "diverged": diverged(end[:, column]),
            "tuning_loss": float(logs(tuning.end[:, i]).mean()),
        }
        for column, (name, i) in enumerate(chosen.items())
    }
    curve = report.losses[:, :, 1]
    return {
        **entries,
        "budget": steps,
        "target": problem.target,
        "tuning": tuning.end.T.tolist(),
        "curve": {
            "steps": report.steps.tolist(),
            **{
                name: np.quantile(curve, q, axis=1, method="inverted_cdf").tolist()
                for name, q in (("low", 0.25), ("median", 0.5), ("high", 0.75))
            },
        },
    }


SIZES = (100, 10_000)


def _memory(spec: Mapping[str, Any], each: Racer) -> dict[str, Any]:
    """Measure the state that an optimizer keeps, in bytes for each float32 parameter."""
    kept = {}
    for size in SIZES:
        rule, p = each.rule, np.ones(size, np.float32)
        if rule:
            state = dict(zip(rule.slots, rule.init(p, **each.set), strict=True))
            of_one = sum(np.asarray(state[k]).nbytes for k in trace(rule, **each.set).live) / size
        else:
            from ravine.races.entrants import memory

            steps = each.steps(p)
            steps.step(p, p, 1)
            assert isinstance(steps, Apart)
            of_one = memory(steps.made[0], size)
        kept[str(size)] = of_one
    return {"bytes": kept}


CONDITION, SWINGS, SOLVED = 100.0, 1500, 1e-4

CURVATURES = tuple(round(0.05 * k, 2) for k in range(1, 79))
"""Learning rates in units of one over the curvature across the ravine; SGD diverges above 2."""


def _ravine(spec: Mapping[str, Any], each: Racer) -> dict[str, Any]:
    """Follow momentum down a ravine that is a hundred times as steep across as along.

    For each of `CURVATURES`: ``travel``, the way gone across in units of the distance there was to
    go, 1 if it never turns round, infinite if it diverges; ``turns``, how often it crossed the
    floor; ``steps`` until the height is 1e-4 of that at the start, for good. ``path``: the first
    places at the rate of the fewest steps, or else the least height at the end: ``best``.
    """
    rule = each.rule
    assert rule
    extra = {"momentum": spec["momentum"]} if spec["momentum"] else {}
    slope = np.array([1.0, CONDITION])
    lr = np.array(CURVATURES)[:, None] / CONDITION
    p = np.tile([-10.0, 1.0], (len(CURVATURES), 1))
    state, path = rule.init(p), [p]
    for t in range(1, SWINGS + 1):
        p, state = rule.update(p, p * slope, state, t, lr=lr, **extra)
        p = np.clip(p, -1e9, 1e9)  # far enough to see that it diverges
        path.append(p)
    places = np.array(path)
    across = places[:, :, 1]
    height = np.sum(slope * places**2, axis=-1)
    missed = height > SOLVED * height[0]
    steps = np.where(missed[-1], np.inf, len(missed) - missed[::-1].argmax(0))
    fell = np.abs(across[-1]) < 1
    best = int(np.lexsort((height[-1], steps))[0])
    return {
        "travel": np.where(fell, np.abs(np.diff(across, axis=0)).sum(0), np.inf).tolist(),
        "turns": np.sum(across[1:] * across[:-1] < 0, axis=0).tolist(),
        "steps": steps.tolist(),
        "best": best,
        "path": places[:60, best].tolist(),
    }


NOISES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
WANDER = 1000


def wells(x: Any) -> Any:
    """Return the height of a valley with a deep minimum near -1 and a shallow one near 1."""
    return (x * x - 1) ** 2 / 4 + 0.1 * x


def _escape(spec: Mapping[str, Any], each: Racer) -> dict[str, Any]:
    """Run SGD with noisy gradients from either minimum, and count where it is after 1,000 steps.

    For each of `NOISES`, the standard deviation of what is added to the gradient: ``escaped``, of
    the runs from the shallow minimum, those that end in the deep one; ``lost``, the other way
    round. A run that leaves the numbers has done neither.
    """
    shallow, top, deep = sorted(np.roots([1.0, 0.0, -1.0, 0.1]).real, reverse=True)
    rule, random = each.rule, np.random.default_rng(0)
    assert rule
    noise = np.array(NOISES)[:, None]
    counts = {}
    with np.errstate(all="ignore"):
        for name, start in (("escaped", shallow), ("lost", deep)):
            x = np.full((len(NOISES), spec["runs"]), start)
            for t in range(1, WANDER + 1):
                g = x**3 - x + 0.1 + noise * random.normal(size=x.shape)
                x = rule.update(x, g, (), t, lr=spec["learning_rate"])[0]
            there = np.isfinite(x) & ((x < top) if start == shallow else (x > top))
            counts[name] = there.sum(1).tolist()
    return counts


FLOOR_RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


def _floor(spec: Mapping[str, Any], each: Racer) -> dict[str, Any]:
    """Measure where SGD stays on the line: constant rates, and the same rates decayed to zero.

    ``constant``: for each of `FLOOR_RATES`, a number a seed, the mean loss over the last 2,000 of
    4,000 steps; ``decayed``: the loss at the end.
    """
    task = PROBLEMS["line"].make
    late = range(2001, 4001, 20)
    constant = train(task(spec["seeds"]), each, FLOOR_RATES, 4000, looks=late).losses[1:].mean(0)
    decayed = train(task(spec["seeds"]), each, FLOOR_RATES, 4000, decay=True).losses[-1]
    return {"constant": constant.T.tolist(), "decayed": decayed.T.tolist()}


_UNITS: dict[str, Callable[[Mapping[str, Any], Racer], dict[str, Any]]] = {
    "race": _race,
    "memory": _memory,
    "ravine": _ravine,
    "escape": _escape,
    "floor": _floor,
}
