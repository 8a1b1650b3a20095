"""The measurements for the claims: each unit of work is a pure function of a small spec.

Most units are races: an optimizer is tuned on one of the problems, and run on other seeds. The others
measure what a race does not show: state, paths, humps and saddles, the time of a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from ravine import registry
from ravine.engines.tracing import trace
from ravine.experiments.grids import (
    choose,
    diverged,
    edge,
    logs,
    positions,
    rates_of,
    report_seeds,
    train,
)
from ravine.experiments.problems import (
    EVERY,
    PROBLEMS,
    SHARES,
    SITUATIONS,
    Array,
    Task,
    sigmoids,
)
from ravine.experiments.racers import NAMES, Apart, Racer, racer, racers
from ravine.ops import sqrt
from ravine.rule import rule

PROTOCOL_VERSION = 3
"""Raised by hand when the same spec gives other numbers: earlier results are not reused then."""

OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam")
RIVALS = OPTIMIZERS[:-1]
"""Those that Adam, or an optimizer of your own, is compared with."""

LABELS = {name: problem.label for name, problem in EVERY.items()}

LEARNING_RATES = tuple(float(f"{10 ** (k / 4):.3g}") for k in range(-20, 9))
"""The grid: from 1e-5 to 100, four in a decade. All default learning rates are on it."""

COARSE = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-8, 4))
"""The grid for the problems made for one claim: from 1e-4 to 30, two in a decade."""

TUNING_SEEDS = (1000, 1001, 1002, 1003, 1004)

UNCORRECTED = f"{__name__}:adam_uncorrected"

RACING = {
    "vanishing": ("sgd", "momentum", "rmsprop"),
    "sparse": ("sgd", "momentum", "rmsprop"),
    "drift": OPTIMIZERS,
    "noise": OPTIMIZERS,
    "first steps": ("adam", UNCORRECTED),
}
"""The optimizers that race on the problems made for one claim."""


@rule
def adam_uncorrected(p, g, m, v, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):  # type: ignore[no-untyped-def]
    """Adam without its bias correction."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return p - lr * m / (sqrt(v) + eps), m, v


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
    of_adam = optimizers is not None
    subjects = racers(
        (*OPTIMIZERS, UNCORRECTED) if optimizers is None else optimizers, settings, lr
    )
    chosen = {each.name: each.for_vectors("vectors are trained") for each in subjects}
    made = {o: racer(o) for o in RIVALS} | chosen
    heads = list(chosen) if of_adam else ["adam"]
    racing = [o for o in made if o != UNCORRECTED]
    changed = {o: {"set": dict(each.set)} for o, each in made.items() if each.set}

    def race(
        problem: str, optimizer: str, *, decay: bool = False, clip: bool = False,
        grid: tuple[float, ...] = LEARNING_RATES, shorter: int = 3,
    ) -> dict[str, Any]:  # fmt: skip
        return {
            **{"unit": "race", "problem": problem, "optimizer": optimizer},
            **{"decay": decay, "clip": clip},
            "learning_rates": rates_of(made[optimizer], grid),
            "tuning_seeds": list(TUNING_SEEDS[: 2 if quick else None]),
            "seeds": seeds,
            "shorter": shorter if quick else 1,
            **changed.get(optimizer, {}),
        }

    grid = LEARNING_RATES[:: 2 if quick else 1]
    clipped = dict.fromkeys((*heads, "sgd"))
    units = [
        race(p, o, decay=d, grid=grid) for p in PROBLEMS for o in racing for d in (False, True)
    ]
    units += [race(p, o, clip=True, grid=grid) for p in [*PROBLEMS, "spikes"] for o in clipped]
    units += [race("spikes", o, grid=grid) for o in clipped]
    units += [
        {"unit": "memory", "optimizer": o, **changed.get(o, {})}
        for o in (made if of_adam else NAMES)
    ]
    if of_adam:
        return units
    units += [
        race(f"{kind} {k}", o, grid=COARSE, shorter=1 if kind == "first steps" else 5)
        for kind, names in RACING.items()
        for k in SITUATIONS[kind]
        for o in names
    ]
    runs, rolls, steps = (200, 100, 500) if quick else (1000, 400, 2000)
    return [
        *units,
        *({"unit": "ravine", "momentum": m} for m in (0.0, 0.5, 0.9, 0.99)),
        *({"unit": "escape", "learning_rate": lr, "runs": runs} for lr in (0.01, 0.03, 0.1, 0.3)),
        {"unit": "floor", "seeds": seeds},
        *({"unit": "humps", "height": h, "runs": rolls, "steps": steps} for h in HUMPS),
        *({"unit": "saddle", "learning_rate": lr} for lr in (0.01, 0.1)),
        *({"unit": "shrinking", "depth": d, "seeds": seeds} for d in SITUATIONS["vanishing"]),
        *({"unit": "rare", "rarest": q, "steps": 5000} for q in SHARES),
        *({"unit": "step time", "hidden": h, "rounds": rolls // 10} for h in HIDDEN),
    ]


Found = Mapping[str, Racer]


def look_up(spec: Mapping[str, Any], found: Found | None = None) -> Racer:
    """The racer of a unit that is about one optimizer."""
    name = spec["optimizer"]
    return (found or {}).get(name) or racer(name, spec.get("set"))


def run(spec: Mapping[str, Any], found: Found | None = None) -> dict[str, Any]:
    """Do one unit of work: a pure function of the spec; the result is fit for JSON."""
    about = [look_up(spec, found)] if "optimizer" in spec else []
    return {**spec, **_UNITS[spec["unit"]](spec, *about)}


def depends(spec: Mapping[str, Any], found: Found | None = None) -> dict[str, Any]:
    """Return everything that the result of a spec depends on, fit for JSON."""
    about = {name: racer(name) for name in ABOUT.get(spec["unit"], ())}
    if "optimizer" in spec:
        about = {spec["optimizer"]: look_up(spec, found)}
    problem = EVERY.get("line" if spec["unit"] == "floor" else spec.get("problem", ""))
    return {
        **spec,
        "rules": [each.digest(varied=("lr",)) for each in about.values()],
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
    problem, rates = EVERY[spec["problem"]], spec["learning_rates"]
    steps = problem.steps // spec["shorter"]
    how = {"decay": spec["decay"], "looks": problem.looks, "late": problem.end}

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
    curve = {
        name: np.quantile(report.losses[:, :, 1], q, axis=1, method="inverted_cdf").tolist()
        for name, q in (("low", 0.25), ("median", 0.5), ("high", 0.75))
    }
    return {
        **{
            name: {
                "learning_rate": rates[i],
                "edge": edge(rates, i),
                "losses": end[:, column].tolist(),
                "steps": arrival[:, column].tolist(),
                "diverged": diverged(end[:, column]),
                "tuning_loss": float(logs(tuning.end[:, i]).mean()),
            }
            for column, (name, i) in enumerate(chosen.items())
        },
        "budget": steps,
        "target": problem.target,
        "tuning": tuning.end.T.tolist(),
        "curve": {"steps": report.steps.tolist(), **curve},
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


def _ravine(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Follow momentum down a ravine that is a hundred times as steep across as along.

    For each of `CURVATURES`: ``travel``, the way gone across in units of the distance there was to
    go, 1 if it never turns round, infinite if it diverges; ``turns``, how often it crossed the
    floor; ``steps`` until the height is 1e-4 of that at the start, for good. ``path``: the first
    places at the rate of the fewest steps, or else the least height at the end: ``best``.
    """
    each = racer("momentum", {"momentum": spec["momentum"]}) if spec["momentum"] else racer("sgd")
    slope, lr = np.array([1.0, CONDITION]), np.array(CURVATURES)[:, None] / CONDITION
    start = np.tile([-10.0, 1.0], (len(CURVATURES), 1))
    path = positions(each, start, lambda p: p * slope, lr, SWINGS)
    with np.errstate(all="ignore"):
        places = np.clip(
            [start, *(p for _, p in path)], -1e9, 1e9
        )  # enough to see that it diverges
    across = places[:, :, 1]
    height = np.sum(slope * places**2, axis=-1)
    missed = ~(height <= SOLVED * height[0])
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


def _last(name: str, x: Array, gradient: Callable[[Array], Array], lr: Any, steps: int) -> Array:
    """Return where a rule's runs are after so many steps."""
    with np.errstate(all="ignore"):
        ((_, found),) = positions(racer(name), x, gradient, lr, steps, at={steps})
    return found


def _escape(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Run SGD with noisy gradients from either minimum, and count where it is after 1,000 steps.

    For each of `NOISES`, the standard deviation of what is added to the gradient: ``escaped``, of
    the runs from the shallow minimum, those that end in the deep one; ``lost``, the other way
    round. A run that leaves the numbers has done neither.
    """
    shallow, top, deep = sorted(np.roots([1.0, 0.0, -1.0, 0.1]).real, reverse=True)
    random, noise, counts = np.random.default_rng(0), np.array(NOISES)[:, None], {}

    def gradient(x: Array) -> Array:
        return x**3 - x + 0.1 + noise * random.normal(size=x.shape)

    for name, start in (("escaped", shallow), ("lost", deep)):
        x = np.full((len(NOISES), spec["runs"]), start)
        x = _last("sgd", x, gradient, spec["learning_rate"], WANDER)
        there = np.isfinite(x) & ((x < top) if start == shallow else (x > top))
        counts[name] = there.sum(1).tolist()
    return counts


FLOOR_RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


def _floor(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Measure where SGD stays on the line: constant rates, and the same rates decayed to zero.

    ``constant``: for each of `FLOOR_RATES`, a number a seed, the mean loss over the last 2,000 of
    4,000 steps; ``decayed``: the loss at the end.
    """
    how = (racer("sgd"), FLOOR_RATES, 4000)
    late = range(2001, 4001, 20)
    constant = train(PROBLEMS["line"].make(spec["seeds"]), *how, looks=late).losses[1:].mean(0)
    decayed = train(PROBLEMS["line"].make(spec["seeds"]), *how, decay=True).losses[-1]
    return {"constant": constant.T.tolist(), "decayed": decayed.T.tolist()}


HUMPS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Heights of the humps on the parabola x²/2, one every 1.6: at 0.07 they begin to be minima."""

SHARE_OF_LIMIT = (0.03, 0.1, 0.3, 0.9)
"""Learning rates in units of one over the largest curvature."""


def _humps(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Roll down a parabola with humps; count where SGD stops short and momentum does not.

    For each of `SHARE_OF_LIMIT`: ``stuck``, of the runs from 2 to 6 those with which SGD does not end in
    the lowest dent; ``freed``, of these, the ones with which momentum does, at the same learning rate.
    """
    height, runs = spec["height"], spec["runs"]
    start = np.random.default_rng(0).uniform(2, 6, size=runs) * np.where(np.arange(runs) % 2, 1, -1)
    x = np.tile(start, (len(SHARE_OF_LIMIT), 1))
    lr = np.array(SHARE_OF_LIMIT)[:, None] / (1 + 16 * height)
    plain, heavy = (
        np.abs(_last(name, x, lambda x: x + 4 * height * np.sin(4 * x), lr, spec["steps"]))
        < np.pi / 4
        for name in ("sgd", "momentum")
    )
    return {"stuck": (~plain).sum(1).tolist(), "freed": (~plain & heavy).sum(1).tolist()}


DISTANCES = (1e-1, 1e-2, 1e-4, 1e-8, 0.0)


def _saddle(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the saddle of x⁴/4 - x²/2 + y²/2, starting at some distance from the ridge x = 0.

    For each of `DISTANCES`, the ``steps`` until |x| is a half, infinite if it takes over 5,000.
    """
    made = {}
    for name in ("sgd", "momentum"):
        path = positions(
            racer(name), np.array(DISTANCES), lambda x: x**3 - x, spec["learning_rate"], 5000
        )
        away = np.abs([x for _, x in path]) > 0.5
        made[name] = np.where(away.any(0), 1 + away.argmax(0), np.inf).tolist()
    return {"steps": made}


def _shrinking(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Compare gradients at the start: ``shrinks``, that of the first layer over that of the last."""
    task = SITUATIONS["vanishing"][spec["depth"]].make(spec["seeds"])
    layers = sigmoids(spec["depth"]).layers(task.gradient(task.start))
    sizes = [np.abs(part).mean((-1, -2)) for part in layers]
    return {"shrinks": float(np.median(sizes[0] / sizes[-1]))}


def _rare(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Give RMSprop gradients of 1, in a share ``rarest`` of the steps and in each of them.

    ``effective``: its way for each gradient where they are rare, over that where they are not.
    """
    here = np.random.default_rng(0).random(spec["steps"]) < spec["rarest"]
    g = np.stack([here, np.ones(len(here))]).astype(float)
    each = iter(g.T)
    rare, frequent = _last("rmsprop", np.zeros(2), lambda p: next(each), 1e-2, len(here)) / g.sum(1)
    return {"effective": float(rare / frequent)}


HIDDEN = (16, 128, 1024)
"""Units in the hidden layer of the networks whose steps are timed: 12,704 to 813,056 parameters."""


def _step_time(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Time steps of all rules in turns, and the gradient beside which they are taken.

    The network has 784 inputs, one hidden layer and 10 outputs, in float32, its batches 64 rows; the steps
    are those of :mod:`ravine.numpy`. ``us``: for each rule, the microseconds of a step, once for each
    round; ``gradient_us``, those of a gradient.
    """
    from ravine.numpy import optimizer

    random, hidden = np.random.default_rng(0), spec["hidden"]

    def draw(*shape: int) -> Array:
        return random.normal(size=shape).astype(np.float32) / 28

    x, y = draw(64, 784), draw(64, 10)
    p = {"in": draw(784, hidden), "out": draw(hidden, 10)}

    def gradient() -> dict[str, Array]:
        a = np.tanh(x @ p["in"])
        back = (a @ p["out"] - y) / 64
        return {"in": x.T @ (back @ p["out"].T * (1 - a * a)), "out": a.T @ back}

    def least_us(call: Callable[[], Any]) -> float:
        times = []
        for _ in range(3):
            before = time.perf_counter()
            call()
            times.append(time.perf_counter() - before)
        return 1e6 * min(times)

    g = gradient()
    calls: dict[str, Callable[[], Any]] = {}
    for name in OPTIMIZERS:
        made = cast(Any, optimizer(registry.get(name)))({k: v.copy() for k, v in p.items()})
        made.step(g)  # compiles
        calls[name] = partial(made.step, g)
    rounds = [
        ({name: least_us(call) for name, call in calls.items()}, least_us(gradient))
        for _ in range(spec["rounds"])
    ]
    us = {name: [taken[name] for taken, _ in rounds] for name in calls}
    return {"us": us, "gradient_us": [took for _, took in rounds]}


_UNITS: dict[str, Callable[..., dict[str, Any]]] = {
    "race": _race,
    "memory": _memory,
    "ravine": _ravine,
    "escape": _escape,
    "floor": _floor,
    "humps": _humps,
    "saddle": _saddle,
    "shrinking": _shrinking,
    "rare": _rare,
    "step time": _step_time,
}

ABOUT = {
    **dict.fromkeys(("escape", "floor"), ("sgd",)),
    **dict.fromkeys(("ravine", "humps", "saddle"), ("sgd", "momentum")),
    "rare": ("rmsprop",),
    "step time": OPTIMIZERS,
}
"""The optimizers that units measure which are not about a given one."""
