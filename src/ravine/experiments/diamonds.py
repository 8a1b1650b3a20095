"""The experiment diamonds: the price of a diamond as a straight line of its weight.

The second post (Bex Tuychiev, "Adam Optimizer Tutorial: Intuition and Implementation in Python",
29 August 2024) trains that line with SGD, SGD with momentum, RMSprop and Adam, and finds errors of
up to 14 billion dollars for all except Adam. In three of the four, the gradient had the wrong sign, so
they climbed. This experiment reproduces its four numbers to the last digit; shows what the same protocol
gives with the right sign, over many seeds, and what a straight line can reach at best; and runs the
exercise that the post leaves to its reader.

    as_published_table([run(spec) for spec in as_published_specs()])
    corrected_table([run(spec) for spec in corrected_specs()])
    floor()
    exercise_table([run(spec) for spec in exercise_specs(batch_size="all")])

A run is a unit of work: the same numbers for the same spec, whatever ran before. Specs and results
are dicts that JSON can represent (losses may be nan and inf).

The protocol is the post's: 20,000 rows drawn with NumPy's legacy generator seeded 42, carat and
price standardised over them, 16,000 to train and 4,000 to test; m and b start normally distributed;
each epoch shuffles; it ends when the loss changes by less than a threshold. The error is the root
mean square over the test rows, in dollars.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ravine import data
from ravine.engines.python import ScalarUpdate, scalar_update
from ravine.experiments import as_published, diamonds_loop
from ravine.experiments.diamonds_sample import floor, sample
from ravine.experiments.racers import Racer, racer, racers
from ravine.modifiers import clip_by_value, maximize

Spec = Mapping[str, Any]
Found = Mapping[str, Racer]
Result = dict[str, Any]

PROTOCOL_VERSION = 1
"""Raised by hand when the same spec gives other numbers: earlier results are not reused then."""

PUBLISHED = {
    "SGD": (49.9305, 1424002054.8657749),
    "SGD with momentum": (50.7744, 14239929470.045788),
    "RMSprop": (41.9895, 137715232.46017328),
    "Adam": (1.8462, 1570.1177340514528),
}
"""The post's table: runtime in seconds and RMSE in dollars of each method, in its order."""

PROTOCOL: dict[str, dict[str, Any]] = {
    "sgd": {"method": "SGD", "hyperparameters": {"lr": 0.1}, "clip_value": 1.0},
    "momentum_classical": {
        "method": "SGD with momentum",
        "hyperparameters": {"lr": 0.1, "momentum": 0.9},
        "clip_value": 1.0,
    },
    "rmsprop": {
        "method": "RMSprop",
        "hyperparameters": {"lr": 0.01, "alpha": 0.9, "eps": 1e-8},
        "clip_value": None,
    },
    "adam": {
        "method": "Adam",
        "hyperparameters": {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        "clip_value": None,
    },
}
"""The rules that the post's optimizers are meant to be, with its settings, in its order."""

EPOCHS, BATCH_SIZE, STOPPING_THRESHOLD = 10_000, 64, 1e-6


# ---- The unit of work --------------------------------------------------------------------------


def depends(spec: Spec, found: Found | None = None) -> dict[str, Any]:
    """Return everything that the run of a spec depends on, fit for JSON.

    found: the racers of the specs by name, so that editing a file during a race has no effect; looked up
    by default.
    """
    stream = spec["stream"]
    if isinstance(stream, Mapping):
        stream = {"after": depends(stream["after"], found)}
    return {
        "rule": made_of(spec, found).digest(),
        **{key: spec[key] for key in ("batch_size", "max_epochs", "stopping_threshold")},
        "stream": stream,
        "data": data.digest("diamonds.npz"),
        "protocol": PROTOCOL_VERSION,
    }


def run(
    spec: Spec, progress: Callable[[int], None] | None = None, *, found: Found | None = None
) -> Result:
    """Train once: the unit of work, the same numbers for the same spec.

    spec: one that the functions below made. progress: called some 20 times a second with the number
    of epochs done. found: as for :func:`depends`.

    Returns the spec with, added to it: ``m`` and ``b``; ``epochs``, how many it took; ``stopped``,
    whether the threshold ended it; ``rmse``, on the test rows in dollars; ``gap``, how far the RMSE
    on the train rows is above least squares, in dollars; ``seconds`` of the training, without the
    compilation; ``us_per_step``; ``losses``, ``ms`` and ``bs`` after each epoch.
    """
    s = sample()
    random = _random(spec["stream"], found)
    m, b = random.randn(), random.randn()
    batch_size = len(s.x) if spec["batch_size"] == "all" else spec["batch_size"]
    limits = {
        "epochs": spec["max_epochs"],
        "batch_size": batch_size,
        "stopping_threshold": spec["stopping_threshold"],
    }
    each, data = made_of(spec, found), (s.x, s.y, m, b)
    if _is_printed(each):
        loop = diamonds_loop.train(*data, update_of(spec, found), random, **limits)
    else:
        step = each.on_numbers(m, b)
        loop = as_published.train(*data, as_published.gradients, step, random, **limits)
    losses: list[float] = []
    ms: list[float] = []
    bs: list[float] = []
    start = due = time.perf_counter()
    with np.errstate(over="ignore", invalid="ignore"):  # the plain loop, if it has to be used
        for m, b, loss in loop:
            losses.append(float(loss))
            ms.append(float(m))
            bs.append(float(b))
            if progress and time.perf_counter() > due:
                progress(len(losses))
                due = time.perf_counter() + 0.05
    seconds = time.perf_counter() - start
    _left[_key(spec)] = random.get_state(legacy=True)
    steps = len(losses) * math.ceil(len(s.x) / batch_size)
    return {
        **spec,
        "m": ms[-1],
        "b": bs[-1],
        "epochs": len(losses),
        "stopped": len(losses) > 1 and abs(losses[-2] - losses[-1]) < spec["stopping_threshold"],
        "rmse": s.test_rmse(ms[-1], bs[-1]),
        "gap": s.train_rmse(losses[-1]) - floor()[0]["train_rmse"],
        "seconds": seconds,
        "us_per_step": 1e6 * seconds / steps,
        "losses": losses,
        "ms": ms,
        "bs": bs,
    }


_left: dict[str, Any] = {}  # by spec: the state of the random stream after the run


def _key(spec: Spec) -> str:
    return json.dumps(spec, sort_keys=True)


def _random(stream: int | str | Mapping[str, Spec], found: Found | None) -> np.random.RandomState:
    """The legacy generator: seeded, or on the post's stream, initially or after another run."""
    if isinstance(stream, int):
        return np.random.RandomState(stream)
    random = np.random.RandomState()
    if isinstance(stream, str):
        random.set_state(sample().stream)
    else:
        before = stream["after"]
        if _key(before) not in _left:
            run(before, found=found)
        random.set_state(_left[_key(before)])
    return random


def made_of(spec: Spec, found: Found | None = None) -> Racer:
    """The racer of the spec, with its sign, its clipping, and its settings."""
    name, values = spec["optimizer"], spec["hyperparameters"]
    each = found[name] if found else racer(name)
    rule, clip = each.rule, spec["clip_value"]
    if rule is None:
        values = values if clip is None else {**values, "clip_value": clip}
        return replace(each, set=values, values=values, clips=clip is not None)
    if spec["climb"]:
        rule = maximize(rule)
    if clip is not None:
        rule = clip_by_value(rule, clip_value=clip)
    return replace(each, rule=rule, set=values, values=rule.check(**values))


def update_of(spec: Spec, found: Found | None = None) -> ScalarUpdate:
    """Print the update of the spec: its rule, with its sign and clipping."""
    each = made_of(spec, found)
    if each.rule is None:
        raise ValueError(f"{each.label} is not a rule, so it cannot be printed")
    return scalar_update(each.rule, **each.set)


def _is_printed(each: Racer) -> bool:
    """Whether its step on one number can be printed; torch takes the others, which is slower."""
    graph = each.graph
    return graph is not None and not (graph.at_once or graph.draws)


# ---- As published ------------------------------------------------------------------------------


def as_published_specs() -> list[Spec]:
    """List the post's four runs, on one random stream, faults included; and a fifth.

    The fifth is Adam with the sign error of the other three.
    """
    return [
        *_on_one_stream([_spec(name, climb=name != "adam") for name in PROTOCOL]),
        _spec("adam", climb=True),
    ]


def as_published_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Compare the runs of :func:`as_published_specs` with the post's table, a row a method.

    ``method``, ``seconds`` and ``rmse`` are the post's columns, as reproduced here;
    ``published_seconds`` and ``published_rmse`` are the post's values; ``digits``, how many digits of the
    two errors agree (17 if they are the same float); ``epochs``; ``reason``, why the number came out.
    """
    *runs, climbing = results
    sgd, momentum, rmsprop = runs[:3]
    steps = round(1e6 * sgd["seconds"] / sgd["us_per_step"])
    lr = sgd["hyperparameters"]["lr"]
    reasons = (
        f"climbs, its sign is wrong: {steps:,} clipped steps of {lr} take m to {sgd['m']:,.0f}",
        f"climbs likewise: momentum makes the steps {momentum['m'] / sgd['m']:.0f} times as long",
        f"climbs likewise: its steps are of about lr, {sgd['m'] / rmsprop['m']:.0f} times shorter",
        f"descends; with the others' sign the error would be {climbing['rmse']:,.0f}",
    )
    return [
        {
            "method": result["method"],
            "seconds": result["seconds"],
            "rmse": result["rmse"],
            "published_seconds": PUBLISHED[result["method"]][0],
            "published_rmse": PUBLISHED[result["method"]][1],
            "digits": digits(result["rmse"], PUBLISHED[result["method"]][1]),
            "epochs": result["epochs"],
            "reason": reason,
        }
        for result, reason in zip(runs, reasons, strict=True)
    ]


def optimization_results(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give a table the columns of the post's optimization_results.csv."""
    return [
        {
            "Optimization Method": row["method"],
            "Runtime (seconds)": row["seconds"],
            "Actual RMSE": row["rmse"],
        }
        for row in rows
    ]


# ---- Corrected ---------------------------------------------------------------------------------


def corrected_specs(seeds: Iterable[int] = range(12)) -> list[Spec]:
    """List the runs of the same protocol with the right sign.

    First the four on the post's stream, one after another; then each with every seed, from which the
    legacy generator starts again. The sample is always the same.
    """
    seeds = _seeds(seeds)
    return [
        *_on_one_stream([_spec(name) for name in PROTOCOL]),
        *(_spec(name, stream=seed) for name in PROTOCOL for seed in seeds),
    ]


def corrected_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Sum up the runs of :func:`corrected_specs`, a row a method.

    ``method``, ``seconds``, ``rmse`` and ``epochs`` on the post's stream; then what
    :func:`exercise_table` says of the seeds.
    """
    first, seeded = results[: len(PROTOCOL)], results[len(PROTOCOL) :]
    return [
        {**{key: run[key] for key in ("method", "seconds", "rmse", "epochs")}, **row}
        for run, row in zip(first, exercise_table(seeded), strict=True)
    ]


# ---- The reader's exercise ---------------------------------------------------------------------


def exercise_specs(
    *,
    lr: float | None = None,
    batch_size: int | str = BATCH_SIZE,
    epochs: int = EPOCHS,
    stopping_threshold: float = STOPPING_THRESHOLD,
    optimizers: Iterable[str] = tuple(PROTOCOL),
    settings: Mapping[str, float | bool] | None = None,
    seeds: Iterable[int] = range(3),
) -> list[Spec]:
    """List runs of the reader's own.

    lr: the learning rate of all; by default the protocol's, or the rule's. batch_size: rows for a
    step; 1 is SGD in the strict sense, "all" is gradient descent. epochs: at most so many.
    stopping_threshold: 0 for never. optimizers: see :mod:`ravine.experiments.racers`; those of the
    protocol keep its other settings, its clipping too. settings: hyperparameters, each set where an
    optimizer has it; clip_value clips the gradients of any. seeds: as in :func:`corrected_specs`.

    Raises LookupError for an unknown optimizer, and ValueError for one that cannot run here, as for any
    other invalid argument.
    """
    seeds = _seeds(seeds)
    limits: dict[str, Any] = {
        "batch_size": batch_size,
        "max_epochs": epochs,
        "stopping_threshold": stopping_threshold,
    }
    made = racers(optimizers, settings, lr)
    specs: list[Spec] = [_spec(each, stream=seed, **limits) for each in made for seed in seeds]
    for spec in specs[:: len(seeds)]:
        made_of(spec).for_vectors("two numbers are trained separately")
    return specs


def exercise_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Sum up runs that have each optimizer with some seeds, a row an optimizer.

    ``method``, ``optimizer``, ``lr`` and ``batch_size``; ``seeds``, how many; least, median and
    greatest of ``rmse`` (all nan if one is) and of ``epochs``; the median of ``gap`` and of
    ``us_per_step``, named like their columns in :func:`run`; ``stopped``, how many the threshold
    ended.
    """
    rows = []
    for name in dict.fromkeys(r["optimizer"] for r in results):
        runs = [r for r in results if r["optimizer"] == name]
        rows.append(
            {
                "method": runs[0]["method"],
                "optimizer": name,
                "lr": runs[0]["hyperparameters"].get("lr"),
                "batch_size": runs[0]["batch_size"],
                "seeds": len(runs),
                **_spread("rmse", runs),
                **_spread("epochs", runs),
                "gap": _spread("gap", runs)["gap_median"],
                "us_per_step": _spread("us_per_step", runs)["us_per_step_median"],
                "stopped": sum(r["stopped"] for r in runs),
            }
        )
    return rows


def _spread(key: str, runs: Iterable[Result]) -> dict[str, float]:
    values = [r[key] for r in runs]
    return {
        f"{key}_min": np.min(values).item(),
        f"{key}_median": np.median(values).item(),
        f"{key}_max": np.max(values).item(),
    }


# ---- The points --------------------------------------------------------------------------------


def points(results: Iterable[Result]) -> list[dict[str, Any]]:
    """List every point: method, climb, stream ("post" or the seed), epoch, and loss, m, b after it.

    climb: whether the gradient had its sign wrong, as published.
    """
    return [
        {
            "method": result["method"],
            "climb": result["climb"],
            "stream": result["stream"] if isinstance(result["stream"], int) else "post",
            "epoch": epoch,
            "loss": loss,
            "m": m,
            "b": b,
        }
        for result in results
        for epoch, (loss, m, b) in enumerate(
            zip(result["losses"], result["ms"], result["bs"], strict=True), 1
        )
    ]


# ---- Specs -------------------------------------------------------------------------------------


def _spec(
    optimizer: str | Racer,
    *,
    climb: bool = False,
    stream: int | str = "post",
    batch_size: Any = BATCH_SIZE,
    max_epochs: int = EPOCHS,
    stopping_threshold: float = STOPPING_THRESHOLD,
) -> dict[str, Any]:
    """A unit of work, its values checked."""
    if not (batch_size == "all" or (_whole(batch_size) and batch_size >= 1)):
        _refuse("batch_size", batch_size, "a whole number of at least 1, or 'all'")
    if not (_whole(max_epochs) and max_epochs >= 1):
        _refuse("epochs", max_epochs, "a whole number of at least 1")
    number = isinstance(stopping_threshold, (int, float)) and math.isfinite(stopping_threshold)
    if not (number and stopping_threshold >= 0):
        _refuse("stopping_threshold", stopping_threshold, "a finite number >= 0")
    each = optimizer if isinstance(optimizer, Racer) else racer(optimizer)
    usual: dict[str, Any] = {"method": each.label, "hyperparameters": {}, "clip_value": None}
    known, values = PROTOCOL.get(each.name, usual), dict(each.values)
    clip_value = values.pop("clip_value", None) if each.clips else None
    return {
        "method": known["method"],
        "optimizer": each.name,
        "hyperparameters": values | known["hyperparameters"] | each.without_clipping,
        "clip_value": known["clip_value"] if clip_value is None else clip_value,
        "climb": climb,
        "batch_size": batch_size,
        "max_epochs": max_epochs,
        "stopping_threshold": stopping_threshold,
        "stream": stream,
    }


def _on_one_stream(specs: Iterable[dict[str, Any]]) -> list[Spec]:
    """The same runs, each continuing the random stream of the previous one."""
    chain: list[Spec] = []
    for spec in specs:
        chain.append({**spec, "stream": {"after": chain[-1]}} if chain else spec)
    return chain


def _seeds(seeds: Iterable[int]) -> list[int]:
    seeds = list(seeds)
    if not seeds or not all(_whole(seed) and 0 <= seed < 1 << 32 for seed in seeds):
        _refuse("seeds", seeds, "one or more whole numbers from 0 to 2**32 - 1")
    return seeds


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(name: str, value: Any, accepted: str) -> None:
    raise ValueError(f"{name}={value!r} is invalid; {name} must be {accepted}")


def digits(a: float, b: float) -> int:
    """Count the significant digits in which two numbers agree; 17 if they are the same float."""
    return 17 if a == b else max(0, math.floor(-math.log10(abs(a / b - 1))))
