"""What is measured for claims about particular situations, each a small problem made for one of them.

The units are functions of a spec, as in `units.py`: humps in the way, gradients that vanish, features
that are rare, a minimum that moves, the first steps, and the time of a step. Where optimizers are
compared, each has the learning rate of the least loss on `TUNING` seeds, and is reported on others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from ravine.experiments.grids import PROBLEMS, Array, logs
from ravine.experiments.racers import racer
from ravine.ops import sqrt
from ravine.rule import Rule
from ravine.rule import rule as as_rule

TUNING = tuple(range(1000, 1005))
RATES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-8, 4))
"""Learning rates from 1e-4 to 30, two in a decade."""


@as_rule
def adam_uncorrected(p, g, m, v, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):  # type: ignore[no-untyped-def]
    """Adam without its bias correction."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return p - lr * m / (sqrt(v) + eps), m, v


class Setting(NamedTuple):
    """A problem set up for some seeds.

    start: (seeds, 1, parameters). gradient(p, t): at p, (seeds, rates, parameters), in step t. loss(p,
    t): one value for each run.
    """

    start: Array
    gradient: Callable[[Array, int], Array]
    loss: Callable[[Array, int], Array]


def end(
    rule: Rule, make: Callable[[Sequence[int]], Setting], seeds: Sequence[int], *, steps: int,
    rates: Sequence[float], late: float = 0.1, **options: float,
) -> Array:  # fmt: skip
    """Train with every rate on every seed; return the mean loss over the last steps, (seeds, rates).

    late: the share of the steps that count. Runs that leave the numbers end at infinity.
    """
    setting = make(seeds)
    p = np.repeat(setting.start, len(rates), axis=1)
    lr, state = np.array(rates)[:, None], rule.init(p)
    seen = []
    with np.errstate(all="ignore"):
        for t in range(1, steps + 1):
            p, state = rule.update(p, setting.gradient(p, t), state, t, lr=lr, **options)
            if t > steps * (1 - late):
                seen.append(setting.loss(p, t))
        found = np.mean(seen, axis=0)
    return np.where(np.isfinite(found), found, np.inf)


def tuned(
    names: Mapping[str, Rule], make: Callable[[Sequence[int]], Setting], seeds: Sequence[int],
    *, rates: Sequence[float] = RATES, **asked: Any,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Tune each rule and report it: its ``learning_rate``, its ``losses`` and its ``tuning_loss``."""
    made = {}
    for name, rule in names.items():
        by_rate = logs(end(rule, make, TUNING, rates=rates, **asked)).mean(0)
        best = int(by_rate.argmin())
        losses = end(rule, make, seeds, rates=[rates[best]], **asked)[:, 0]
        made[name] = {
            "learning_rate": rates[best],
            "losses": losses.tolist(),
            "tuning_loss": float(by_rate[best]),
        }
    return made


def _rules(*names: str) -> dict[str, Rule]:
    found = {name: racer(name).rule for name in names}
    return {name: rule for name, rule in found.items() if rule}


# ---- humps and saddles -------------------------------------------------------------------------

HUMPS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Heights of the humps on the parabola x²/2, one every 1.6: at 0.07 they begin to be minima."""

SHARE_OF_LIMIT = (0.03, 0.1, 0.3, 0.9)
"""Learning rates in units of one over the largest curvature."""


def humps(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Roll down a parabola with humps; count where SGD stops short and momentum does not.

    For each of `SHARE_OF_LIMIT`: ``stuck``, of the runs from 2 to 6 those with which SGD does not end in
    the lowest dent; ``freed``, of these, the ones with which momentum does, at the same learning rate.
    """
    height, runs = spec["height"], spec["runs"]
    start = np.random.default_rng(0).uniform(2, 6, size=runs) * np.where(np.arange(runs) % 2, 1, -1)
    sizes = np.array(SHARE_OF_LIMIT)[:, None] / (1 + 16 * height)
    arrived = {}
    for name, rule in _rules("sgd", "momentum").items():
        x = np.tile(start, (len(SHARE_OF_LIMIT), 1))
        state = rule.init(x)
        for t in range(1, spec["steps"] + 1):
            x, state = rule.update(x, x + 4 * height * np.sin(4 * x), state, t, lr=sizes)
        arrived[name] = np.abs(x) < np.pi / 4
    stuck = ~arrived["sgd"]
    freed = stuck & arrived["momentum"]
    return {"stuck": stuck.sum(1).tolist(), "freed": freed.sum(1).tolist()}


DISTANCES = (1e-1, 1e-2, 1e-4, 1e-8, 0.0)


def saddle(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the saddle of x⁴/4 - x²/2 + y²/2, starting at some distance from the ridge x = 0.

    For each of `DISTANCES`, the ``steps`` until |x| is a half, infinite if it takes over 5,000.
    """
    made = {}
    for name, rule in _rules("sgd", "momentum").items():
        x = np.array(DISTANCES)
        state, steps = rule.init(x), np.full(len(x), np.inf)
        for t in range(1, 5001):
            x, state = rule.update(x, x**3 - x, state, t, lr=spec["learning_rate"])
            steps = np.where(np.isinf(steps) & (np.abs(x) > 0.5), t, steps)
        made[name] = steps.tolist()
    return {"steps": made}


# ---- gradients that vanish ---------------------------------------------------------------------

WIDTH = 6


def vanishing(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Fit a sine with a deep network of sigmoids, whose gradients shrink from layer to layer.

    ``shrinks``: the size of the gradient in the first layer over that in the last, at the start.
    ``tuned``: SGD, momentum and RMSprop, each with the best learning rate.
    """
    depth, x = spec["depth"], np.linspace(-2, 2, 32)[:, None]
    y = np.sin(2 * x)
    shapes = [(2, WIDTH), *[(WIDTH + 1, WIDTH)] * (depth - 1), (WIDTH + 1, 1)]
    ends = np.cumsum([0, *(a * b for a, b in shapes)])

    def layers(p: Array) -> list[Array]:
        parts = zip(ends, ends[1:], shapes, strict=False)
        return [p[..., i:j].reshape(*p.shape[:-1], *shape) for i, j, shape in parts]

    def with_one(a: Array) -> Array:
        return np.concatenate([a, np.ones((*a.shape[:-1], 1))], -1)

    def forward(p: Array) -> tuple[list[Array], Array]:
        entering, a = [], np.broadcast_to(x, (*p.shape[:-1], *x.shape))
        *hidden, last = layers(p)
        for w in hidden:
            entering.append(with_one(a))
            a = 1 / (1 + np.exp(-np.clip(entering[-1] @ w, -40, 40)))
        entering.append(with_one(a))
        return entering, entering[-1] @ last - y

    def gradient(p: Array, t: int) -> Array:
        entering, residual = forward(p)
        back, found = 2 * residual / len(x), []
        for value, w in zip(entering[::-1], layers(p)[::-1], strict=True):
            found.append((value.swapaxes(-1, -2) @ back).reshape(*p.shape[:-1], -1))
            inner = value[..., :-1]
            back = (back @ w.swapaxes(-1, -2))[..., :-1] * inner * (1 - inner)
        return np.concatenate(found[::-1], -1)

    def make(seeds: Sequence[int]) -> Setting:
        start = np.stack(
            [
                np.concatenate([r.normal(size=a * b) / np.sqrt(a) for a, b in shapes])
                for r in map(np.random.default_rng, seeds)
            ]
        )
        return Setting(start[:, None], gradient, lambda p, t: np.mean(forward(p)[1] ** 2, (-1, -2)))

    start = make(spec["seeds"]).start
    sizes = [np.abs(part).mean((-1, -2)) for part in layers(gradient(start, 1))]
    names = _rules("sgd", "momentum", "rmsprop")
    return {
        "shrinks": float(np.median(sizes[0] / sizes[-1])),
        "tuned": tuned(names, make, spec["seeds"], steps=spec["steps"]),
    }


# ---- rare features -----------------------------------------------------------------------------


def sparse(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Fit 20 weights by least squares, whose features are present more and more rarely.

    The last feature is present in a share ``rarest`` of the examples, the first one in half of them.
    ``tuned``: of the excess of the squared error, for SGD, momentum, RMSprop and Adagrad. ``effective``:
    RMSprop's way for each gradient of 1, where it is as rare, over that where there is one in each of
    ``probe`` steps.
    """
    present = np.geomspace(0.5, spec["rarest"], 20)

    def make(seeds: Sequence[int]) -> Setting:
        randoms = [np.random.default_rng([seed, 7]) for seed in seeds]
        right = np.stack([random.normal(size=20) for random in randoms])[:, None]

        def gradient(p: Array, t: int) -> Array:
            x = np.stack([random.random((16, 20)) < present for random in randoms]).astype(float)
            noise = np.stack([random.normal(size=(16, 1)) for random in randoms])
            residual = x @ (p - right).swapaxes(-1, -2) - 0.1 * noise
            found: Array = 2 * residual.swapaxes(-1, -2) @ x / 16
            return found

        def loss(p: Array, t: int) -> Array:
            away = p - right
            mean = (away * present).sum(-1)
            found: Array = (away**2 * present * (1 - present)).sum(-1) + mean**2
            return found

        return Setting(np.zeros((len(randoms), 1, 20)), gradient, loss)

    names = _rules("sgd", "momentum", "rmsprop", "adagrad")
    here = np.random.default_rng(0).random(spec["probe"]) < spec["rarest"]
    g, p = np.stack([here, np.ones(len(here))]).astype(float), np.zeros(2)
    state = names["rmsprop"].init(p)
    for t, both in enumerate(g.T, 1):
        p, state = names["rmsprop"].update(p, both, state, t)
    rare, frequent = p / g.sum(1)
    return {
        "effective": float(rare / frequent),
        "tuned": tuned(names, make, spec["seeds"], steps=spec["steps"]),
    }


# ---- noise, and a minimum that moves -----------------------------------------------------------


def drift(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Follow the minimum of a parabola with curvatures from 1 to 100, by noisy gradients.

    The minimum goes round a circle in each of five pairs of coordinates, ``speed`` a step; ``noise`` is
    the standard deviation of what is added to each gradient. ``tuned``: of the height, over half of the
    steps.
    """
    curvature, speed, noise = np.geomspace(1, 100, 10), spec["speed"], spec["noise"]

    def minimum(t: int) -> Array:
        return np.tile([np.cos(speed * t), np.sin(speed * t)], 5)

    def make(seeds: Sequence[int]) -> Setting:
        randoms = [np.random.default_rng([seed, 8]) for seed in seeds]
        start = np.stack([random.normal(size=(1, 10)) for random in randoms])

        def gradient(p: Array, t: int) -> Array:
            error = np.stack([random.normal(size=(1, 10)) for random in randoms])
            found: Array = curvature * (p - minimum(t)) + noise * error
            return found

        def loss(p: Array, t: int) -> Array:
            found: Array = (curvature * (p - minimum(t)) ** 2).sum(-1) / 2
            return found

        return Setting(start, gradient, loss)

    names = _rules("sgd", "momentum", "nesterov", "rmsprop", "adam")
    return {"tuned": tuned(names, make, spec["seeds"], steps=spec["steps"], late=0.5)}


# ---- the first steps ---------------------------------------------------------------------------


def first_steps(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Train a problem of the races for a few steps, with Adam and without its bias correction.

    ``same``: the losses of both at Adam's default rate; ``tuned``: each at its best.
    """
    problem = PROBLEMS[spec["problem"]]

    def make(seeds: Sequence[int]) -> Setting:
        task = problem.make(seeds)
        return Setting(
            task.start,
            lambda p, t: task.gradient(p),
            lambda p, t: task.loss(p) / task.loss(task.start),
        )

    names = {**_rules("adam"), "uncorrected": adam_uncorrected}
    asked = {"steps": spec["steps"], "late": 1 / spec["steps"]}
    same = {
        name: end(rule, make, spec["seeds"], rates=[1e-3], **asked)[:, 0].tolist()
        for name, rule in names.items()
    }
    return {"same": same, "tuned": tuned(names, make, spec["seeds"], **asked)}


# ---- the time of a step ------------------------------------------------------------------------


HIDDEN = (16, 128, 1024)
"""Units in the hidden layer of the networks whose steps are timed: 12,704 to 813,056 parameters."""


def step_time(spec: Mapping[str, Any]) -> dict[str, Any]:
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

    def seconds(call: Callable[[], Any]) -> float:
        before = time.perf_counter()
        call()
        return time.perf_counter() - before

    g = gradient()
    made: dict[str, Any] = {
        name: cast(Any, optimizer(rule))({k: v.copy() for k, v in p.items()})
        for name, rule in _rules("sgd", "momentum", "nesterov", "rmsprop", "adam").items()
    }
    for each in made.values():
        each.step(g)  # compiles
    taken: dict[str, list[float]] = {name: [] for name in made}
    gradients = []
    for _ in range(spec["rounds"]):
        for name, each in made.items():
            took = min(seconds(partial(each.step, g)) for _ in range(3))
            taken[name].append(1e6 * took)
        gradients.append(1e6 * min(seconds(gradient) for _ in range(3)))
    return {"us": taken, "gradient_us": gradients}


UNITS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "humps": humps,
    "saddle": saddle,
    "vanishing": vanishing,
    "sparse": sparse,
    "drift": drift,
    "first steps": first_steps,
    "step time": step_time,
}


RIVALS = ("sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam")
"""All that race here."""


def depends(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a unit's result depends on besides its spec: the rules, and the data of its problem."""
    problem = PROBLEMS.get(spec.get("problem", ""))
    return {
        "rules": {name: racer(name).digest(varied=("lr",)) for name in RIVALS},
        "task": problem and problem.depends(),
    }


def specs(seeds: Sequence[int], quick: bool = False) -> list[dict[str, Any]]:
    """List the units; quick: smaller ones."""
    runs, few, many = (100, 200, 500) if quick else (400, 1000, 2000)
    learned = {"steps": few, "seeds": list(seeds)}
    speeds, noises = (0.0003, 0.001, 0.003, 0.01, 0.03), (0.0, 0.3, 1.0, 3.0, 10.0)
    made: list[dict[str, Any]] = []
    made += [{"unit": "humps", "height": h, "runs": runs, "steps": many} for h in HUMPS]
    made += [{"unit": "saddle", "learning_rate": lr} for lr in (0.01, 0.1)]
    made += [{"unit": "vanishing", "depth": d, **learned} for d in range(1, 7)]
    made += [
        {"unit": "sparse", "rarest": q, "probe": 5000, **learned}
        for q in (0.3, 0.1, 0.03, 0.01, 0.003)
    ]
    made += [{"unit": "drift", "speed": s, "noise": 1.0, **learned} for s in speeds]
    made += [{"unit": "drift", "speed": 0.0, "noise": n, **learned} for n in noises]
    made += [{"unit": "first steps", "problem": p, **learned, "steps": 20} for p in PROBLEMS]
    made += [{"unit": "step time", "hidden": h, "rounds": runs // 10} for h in HIDDEN]
    return made
