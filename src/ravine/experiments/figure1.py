"""The experiment figure-1: torch.optim and Ravine side by side, on pictures of clothes.

The first post (Aman Arora, "Adam and friends", 13 March 2021) compares torch.optim's SGD, SGD with
momentum, RMSprop and Adam with four written from scratch: eight curves of the running mean of the
training loss over one epoch, 147 batches of 64. Its figure shows that the pairs are comparable;
here every optimizer of a seed gets the same weights and the same batches, so that the pairs can be
compared to the last bit.

The post's data (very likely Imagenette) cannot be shipped, and its network and learning rates are
not known. Here a convolutional network of 5,994 parameters learns Fashion-MNIST, and all four rules
have the same learning rate, 1e-3, torch's default for SGD and Adam. That tells the story of the
original's curves, which end at 2.322, 2.259, 1.806 and 1.960: SGD hardly moves, momentum gets a
little further, RMSprop and Adam are far ahead, with RMSprop, whose first steps are ten times as
long, in front. It is no ranking: nothing was tuned.

    results = [run(spec) for spec in specs()]       # 24 runs; each can be stored, they are dicts
    table(results), pairs(results)
"""

import base64
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ravine.data import fashion_mnist as data
from ravine.experiments.as_published_torch import FAULTS, step_ratios
from ravine.experiments.racers import Racer, racer, racers
from ravine.experiments.running import Experiment, Shown
from ravine.races.examples import examples
from ravine.races.pace import asked
from ravine.races.runs import TUNE
from ravine.races.swarm import Alone, Crew, Replica, train
from ravine.races.task import Task

PROTOCOL_VERSION = 1
"""Raised by hand when the same spec gives other numbers: earlier results are not reused then."""

LEARNING_RATE = 1e-3
ITERATIONS = 147
BATCH_SIZE = 64

PAIRS = {
    "SGD": "SGDOptimizer",
    "SGD_with_momentum": "SGDOptimizer_with_momentum",
    "RMSprop": "RMSPropOptimizer",
    "Adam": "AdamOptimizer",
}
"""The names of torch.optim's curves, and of Ravine's, in the original's order and spelling."""

_CLASSES = ("SGD", "SGD(momentum=0.9)", "RMSprop", "Adam")
CURVES = {
    name: f"{home}:{cls}"
    for home, names in (("torch.optim", PAIRS.keys()), ("ravine.torch", PAIRS.values()))
    for name, cls in zip(names, _CLASSES, strict=True)
} | {
    name: f"{fault.optimizer.__module__}:{fault.optimizer.__name__}"
    for name, fault in FAULTS.items()
}
"""Every curve of the posts by name: which class it is."""

Found = Mapping[str, Racer]
_log = logging.getLogger("ravine")


def specs(
    seeds: Iterable[int] = (0, 1, 2),
    *,
    iterations: int = ITERATIONS,
    batch_size: int = BATCH_SIZE,
    as_published: bool = False,
    full: bool | str | PathLike[str] | None = None,
    optimizers: Iterable[str] | None = None,
    lr: float | None = None,
    settings: Mapping[str, float | bool] | None = None,
) -> list[dict[str, Any]]:
    """List the runs of the experiment, seed by seed, in the order of the figure's legend.

    seeds: each chooses weights and batches. iterations: batches to train on. batch_size: images in
    each. as_published: add the first post's optimizers with their faults. full: train on the whole
    set instead of the subset, or on a folder's, as in :func:`ravine.data.fashion_mnist.fashion_mnist`.
    optimizers: these instead of the post's, see :mod:`ravine.experiments.racers`. lr: of all; by default
    1e-3, or that of an optimizer of your own. settings: hyperparameters of those that have them.

    Raises LookupError and ValueError for what is not accepted.
    """
    names = [*PAIRS, *PAIRS.values(), *(FAULTS if as_published else ())]
    if optimizers is None:
        made = dict(zip(names, racers([CURVES[name] for name in names], settings, lr), strict=True))
    else:
        made = {each.name: each for each in racers(optimizers, settings, lr)}
    for name, value in (("iterations", iterations), ("batch_size", batch_size)):
        if not (isinstance(value, int) and value > 0):
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return [
        {
            "optimizer": name,
            "seed": seed,
            "iterations": iterations,
            "batch_size": batch_size,
            "full": full if full is None or isinstance(full, bool) else str(full),
            **({"set": dict(each.set)} if each.set else {}),
        }
        for seed in seeds
        for name, each in made.items()
    ]


def experiment(seeds: Iterable[int] = (0, 1, 2), **changes: Any) -> Experiment:
    """Set up the experiment; the arguments are those of :func:`specs`.

    Its tables are "figure-1", "figure-1-pairs" and, as published, "figure-1-faults".
    """
    listed = specs(seeds, **changes)
    found = {spec["optimizer"]: look_up(spec) for spec in listed}
    noted = {k: listed[0][k] for k in ("iterations", "full")}
    return Experiment(
        "figure-1",
        {"seeds": list(seeds), **noted},
        listed,
        partial(depends, found=found),
        partial(run, found=found),
        partial(show, found=found),
    )


def show(results: Sequence[Mapping[str, Any]], found: Found | None = None) -> Shown:
    """Make the tables and figures of the results."""
    made = {"figure-1": table(results, found), "figure-1-pairs": pairs(results)}
    made["figure-1-faults"] = faults(results)

    def figures() -> Mapping[str, Any]:
        from ravine.experiments import plots

        drawn = {"figure-1": plots.figure_1(results, rates(results, found))}
        if made["figure-1-faults"]:
            drawn["figure-1-faults"] = plots.figure_1_faults(results)
        return drawn

    return Shown(
        {k: rows for k, rows in made.items() if rows}, figures, {"figure-1-points": points(results)}
    )


def depends(spec: Mapping[str, Any], found: Found | None = None) -> dict[str, Any]:
    """Return everything that the run of a spec depends on, fit for JSON."""
    each = look_up(spec, found)
    shown = {k: v for k, v in spec.items() if k != "set"}
    return {
        **shown,
        "full": data.digest(spec["full"]),
        "values": dict(each.values),
        "rule": each.digest(varied=("lr",)),
        "protocol": PROTOCOL_VERSION,
    }


def look_up(spec: Mapping[str, Any], found: Found | None = None) -> Racer:
    """The racer of a spec. Those of the post have the same learning rate."""
    name, values = spec["optimizer"], spec.get("set", {})
    if found and name in found:
        return found[name]
    if name not in CURVES:
        return racer(name, values)
    return replace(racer(CURVES[name], {"lr": LEARNING_RATE, **values}), label=name)


class _Pictures(Task):
    """The task of the figure, whose batches are drawn after the weights, from one stream."""

    def generator(self, seed: int) -> torch.Generator:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.make()
            return torch.Generator().set_state(torch.get_rng_state())


@cache
def pictures(full: bool | str | None, steps: int, batch_size: int) -> Task:
    """Set up the task: images with mean 0 and variance 1 over all pixels, and their classes."""
    images, labels = data.fashion_mnist(full)
    x = ((images - images.mean()) / images.std()).astype(np.float32)[:, None]
    part, few = examples((x, labels)), examples((x[:64], labels[:64]))
    make = partial(network, max(10, int(labels.max()) + 1))
    return _Pictures(
        "figure-1", make, cross_entropy, part, few, few, steps, batch_size, schedule="constant"
    )


def run(spec: Mapping[str, Any], found: Found | None = None) -> dict[str, Any]:
    """Train once: the unit of work, the same numbers for the same spec on the same machine.

    spec: one of :func:`specs`. found: racers by name, looked up by default. Returns the spec with, added
    to it, ``losses`` (the training loss of each batch, before its step; NaN from where the run was
    lost), ``seconds`` (of the training), ``parameters`` (at the end: little-endian float32 in base64)
    and, for an optimizer with a fault, ``step_ratios`` (for each step the least and the greatest ratio
    over the tensors, as measured by :func:`ravine.experiments.as_published_torch.step_ratios`). All of
    it is fit for JSON.

    It computes on one thread: so the sums' order, and with it every bit, is independent of how
    many cores there are, and a network this small trains fastest.
    """
    name, seed, steps = spec["optimizer"], spec["seed"], spec["iterations"]
    each, task = look_up(spec, found), pictures(spec["full"], steps, spec["batch_size"])
    net = task.model(seed)
    replica = Replica(
        asked(task, each.entrant, each.values, role=TUNE, seed=seed), each.entrant, net
    )
    start = time.perf_counter()
    (done,) = train(task, [replica], seed, lambda its: [Crew(Alone(task, net), its)], points=steps)
    seconds = time.perf_counter() - start
    losses = [loss for _, loss in done.curve]
    if done.lost:
        _log.warning("seed %d: %s", seed, done.lost)
        losses += [math.nan] * (steps - len(losses))
    result = {**spec, "losses": losses, "seconds": seconds, "parameters": _packed(net)}
    if name in FAULTS:
        right = look_up({**spec, "optimizer": FAULTS[name].right})
        ratios = step_ratios(
            *(lambda p, of=of: of.build(nn.ParameterList(p)) for of in (each, right)),
            tensors=len(list(net.parameters())),
            steps=steps,
        )
        result["step_ratios"] = [[min(r), max(r)] for r in ratios]
    return result


def network(classes: int = 10) -> nn.Module:
    """Make the network: two strided convolutions and a linear layer, 5,994 parameters.

    GELU is smooth. With ReLU, one unit whose input rounds to either side of zero gives another
    gradient, and torch's own fused Adam ends 5e-3 away from torch's Adam; with GELU, 1e-7.
    """
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2),  # 28 x 28 to 12 x 12
        nn.GELU(),
        nn.Conv2d(8, 16, 5, stride=2),  # to 4 x 4
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(256, classes),
    )


def running_means(results: Iterable[Mapping[str, Any]], optimizer: str) -> np.ndarray:
    """Return the mean of the losses up to each iteration: a row a seed, a column an iteration."""
    losses = np.array([r["losses"] for r in results if r["optimizer"] == optimizer])
    return losses.cumsum(1) / np.arange(1, losses.shape[1] + 1)


def rates(
    results: Iterable[Mapping[str, Any]], found: Found | None = None
) -> dict[str, float | None]:
    """Return the learning rate of each optimizer in the results; None for one without a rate.

    found: racers by name, looked up by default.
    """
    specs = {r["optimizer"]: r for r in results}
    return {name: look_up(spec, found).values.get("lr") for name, spec in specs.items()}


def table(results: Sequence[Mapping[str, Any]], found: Found | None = None) -> list[dict[str, Any]]:
    """Say where each curve ends: one row for each optimizer, in the order of the results.

    The row has ``optimizer``; ``lr``, its learning rate, which nobody has tuned; ``mean``, ``min``
    and ``max`` over the seeds of the running mean of the loss at the last iteration; ``seconds``, the
    mean over the seeds.
    """
    rows = []
    for name, lr in rates(results, found).items():
        end = running_means(results, name)[:, -1]
        seconds = [r["seconds"] for r in results if r["optimizer"] == name]
        rows.append(
            {
                "optimizer": name,
                "lr": lr,
                "mean": float(end.mean()),
                "min": float(end.min()),
                "max": float(end.max()),
                "seconds": float(np.mean(seconds)),
            }
        )
    return rows


def points(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every point of every curve: optimizer, seed, iteration, loss and its running mean."""
    columns = ("optimizer", "seed", "iteration", "loss", "running_mean")
    rows = []
    for r in results:
        (means,) = running_means([r], r["optimizer"]).tolist()
        for i, (loss, mean) in enumerate(zip(r["losses"], means, strict=True), 1):
            rows.append(dict(zip(columns, (r["optimizer"], r["seed"], i, loss, mean), strict=True)))
    return rows


def pairs(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare each optimizer of torch.optim with Ravine's: one row for each pair in the results.

    The row has the names ``torch`` and ``ravine``; ``loss``, the largest difference between the two
    curves over iterations and seeds; ``parameters``, the largest between two parameters at the end.
    """
    end = {(r["optimizer"], r["seed"]): _unpacked(r["parameters"]) for r in results}
    seeds = dict.fromkeys(r["seed"] for r in results)
    return [
        {
            "torch": a,
            "ravine": b,
            "loss": float(abs(running_means(results, a) - running_means(results, b)).max()),
            "parameters": max(float(abs(end[a, seed] - end[b, seed]).max()) for seed in seeds),
        }
        for a, b in PAIRS.items()
        if all((name, seed) in end for name in (a, b) for seed in seeds)
    ]


def faults(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Say what each fault of the first post does: one row for each one in the results.

    The row has ``optimizer``; ``says``, what is wrong; ``step_1``, ``step_10`` and ``step_100``
    (the last two where there are so many), how long the step is in units of torch's on a gradient
    that never changes, as the least and the greatest over the tensors; ``mean``, the running mean
    of the loss at the end, over the seeds, and ``right``, the right optimizer's.
    """
    end = {row["optimizer"]: row["mean"] for row in table(results)}
    ratios = {r["optimizer"]: r["step_ratios"] for r in results if "step_ratios" in r}
    return [
        {
            "optimizer": name,
            "says": FAULTS[name].says,
            **{f"step_{t}": steps[t - 1] for t in (1, 10, 100) if t <= len(steps)},
            "mean": end[name],
            "right": end[FAULTS[name].right],
        }
        for name, steps in ratios.items()
    ]


def _packed(net: nn.Module) -> str:
    flat = nn.utils.parameters_to_vector(net.parameters()).detach().numpy()
    return base64.b64encode(flat.astype("<f4").tobytes()).decode()


def _unpacked(parameters: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(parameters), "<f4").astype(np.float64)
