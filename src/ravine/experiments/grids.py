"""Small problems for races, and the loop that trains many configurations of an optimizer at once.

A rule is a pure function of arrays, so all learning rates and all seeds are one array: p has the
shape (seeds, learning rates, parameters), the learning rates broadcast over it, and the rule is
called as it stands. A rule that looks at more than one number at a time, and a class of torch's kind,
step each run separately. Every learning rate of a seed meets the same start and the same batches, and
so does every optimizer: comparisons are paired.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine.data import DIAMONDS_LEVELS, diamonds, digest
from ravine.data.fashion_mnist import fashion_mnist
from ravine.experiments.racers import Racer

Array = NDArray[Any]

BATCH_SIZE = 64
"""Rows in a mini-batch, drawn with replacement."""


@dataclass(frozen=True)
class Task:
    """A problem set up for some seeds.

    start: the parameters to begin with, (seeds, 1, parameters). gradient(p): the gradient at p for
    the next batch. loss(p): what is to be made small, one value for each configuration, never below
    zero. Tasks that are made for the same seeds draw the same batches, one at each call.
    """

    start: Array
    gradient: Callable[[Array], Array]
    loss: Callable[[Array], Array]


@dataclass(frozen=True)
class Problem:
    """A problem of the races.

    label: what it is, in a few words. make(seeds): sets it up. steps: the budget. target: the loss
    that counts as solved, where the loss at the start is 1. exact: gradients are exact, not those
    of batches. looks: how often it is affordable to measure the loss. data: the file in
    `ravine.data` that it is made of.
    """

    label: str
    make: Callable[[Sequence[int]], Task]
    steps: int
    target: float
    exact: bool = False
    looks: int = 100
    data: str = ""

    def depends(self) -> dict[str, Any]:
        """Return what its races depend on, besides the code that sets it up."""
        names = ("steps", "target", "looks")
        made_of = digest(self.data) if self.data else None
        return {**{name: getattr(self, name) for name in names}, "data": made_of}


@dataclass(frozen=True)
class Trace:
    """What `train` saw.

    steps: at which it looked, (looks,), from 0 on. losses: there, (looks, seeds, learning rates);
    the loss at the start is 1, and a run that has left the numbers is at infinity.
    """

    steps: Array
    losses: Array

    @property
    def end(self) -> Array:
        """The loss at the end, (seeds, learning rates): the mean over the last tenth of the steps.

        The loss after the very last one is a matter of luck where it swings.
        """
        with np.errstate(over="ignore"):
            return self.losses[self.steps >= 0.9 * self.steps[-1]].mean(0)

    def steps_to(self, target: float) -> Array:
        """Return the step at which each run is first seen at the target or below, or infinity.

        It counts only for runs that are there at the end too: not for one that dips below by chance.
        """
        met = self.losses <= target
        first = self.steps[met.argmax(0)]
        return np.where(met.any(0) & (self.end <= target), first, np.inf)


def train(
    task: Task,
    racer: Racer,
    learning_rates: Sequence[float],
    steps: int,
    *,
    decay: bool = False,
    looks: int | Sequence[int] = 30,
) -> Trace:
    """Train with every learning rate on every seed of a task.

    decay: the learning rate falls linearly to zero, instead of staying constant. looks: the steps
    after which to measure the loss, or their number: then they lie evenly on a logarithmic scale,
    and a quarter as many more over the last tenth of the steps.
    """
    if isinstance(looks, int):
        looks = [
            *np.geomspace(1, steps, looks).round(),
            *np.linspace(0.9 * steps, steps, looks // 4).round(),
        ]
    at = np.unique(np.asarray(looks, int))
    p = np.repeat(task.start, len(learning_rates), axis=1)
    runs = racer.steps(p, np.array(learning_rates, p.dtype)[:, None])
    with np.errstate(all="ignore"):
        losses = [task.loss(p)]
        for t in range(1, steps + 1):
            p = runs.step(p, task.gradient(p), t, 1 - (t - 1) / steps if decay else 1.0)
            if t in at:
                losses.append(task.loss(runs.weights(p)))
        relative = np.array(losses, float) / losses[0]
    return Trace(np.array([0, *at]), np.where(np.isfinite(relative), relative, np.inf))


def rates_of(racer: Racer, grid: Sequence[float]) -> list[float]:
    """Return the learning rates to tune over: the grid, and the default; the one that is set, if one is.

    Raises ValueError for one that has none.
    """
    if "lr" not in racer.values:
        raise ValueError(
            f"{racer.label} cannot race here, where learning rates are tuned: it has no lr"
        )
    default = racer.values["lr"]
    return [default] if "lr" in racer.set else sorted({*grid, default})


FLOOR, CEILING = 1e-6, 10.0
"""Losses at the end are compared within these limits, where the loss at the start is 1.

Below the floor a problem is solved, and one solution is as good as another; a run that ends above
the ceiling counts as one that ends there, whatever infinity it went to.
"""


def logs(losses: Any) -> Array:
    """Return the decimal logarithms of losses, brought within `FLOOR` and `CEILING`."""
    return np.log10(np.clip(losses, FLOOR, CEILING))


def log_steps(steps: Any, budget: int) -> Array:
    """Return the decimal logarithms of steps to a target; a miss counts as the whole budget."""
    return np.log10(np.clip(steps, 1, budget))


def choose(trace: Trace, target: float, *, by: str) -> int:
    """Return which learning rate is the best one, as a mean over the seeds of logarithms.

    by: "loss", the loss at the end, or "steps", those to the target; the other one decides a tie.
    """
    loss = logs(trace.end).mean(0)
    steps = log_steps(trace.steps_to(target), trace.steps[-1]).mean(0)
    keys = {"loss": (steps, loss), "steps": (loss, steps)}[by]
    return int(np.lexsort(keys)[0])


def report_seeds(seeds: Iterable[int], tuning_seeds: Sequence[int]) -> list[int]:
    """Return the seeds as a list, each once.

    Raises ValueError if there is none, if one is not a whole number of at least 0, or if learning
    rates are tuned on it.
    """
    given = list(dict.fromkeys(seeds))
    whole = all(isinstance(seed, (int, np.integer)) and seed >= 0 for seed in given)
    if not given or not whole or set(given) & set(tuning_seeds):
        raise ValueError(
            f"seeds is {given!r}; it must be whole numbers of at least 0, at least one of them, and "
            f"none of those that learning rates are tuned on, {tuple(tuning_seeds)}"
        )
    return [int(seed) for seed in given]


def diverged(losses: Any) -> int:
    """Count the runs that end above their start."""
    return int(np.sum(np.asarray(losses) > 1))


# ---- the diamonds ------------------------------------------------------------------------------

NUMERIC = ("carat", "depth", "table", "x", "y", "z")

COLUMNS = {
    "carat": "carat alone",
    "numeric": "six numeric columns",
    "ordinals": "with cut, color, clarity as numbers",
    "one-hot": "with cut, color, clarity one-hot",
}
"""What the price of a diamond is predicted from; an intercept is added to each."""

FORMS = {
    "raw": "as they are: carats, percent, millimetres, levels",
    "scaled": "raw, each column divided by its root mean square",
    "standardised": "each column brought to mean 0 and standard deviation 1",
    "turned": "raw, the coordinates turned by a random rotation",
    "axes": "raw, the coordinates turned onto the axes of the ellipse",
}
"""What is done to the columns before. Turning changes neither the model nor the ellipse."""


@dataclass(frozen=True)
class LeastSquares:
    """A linear model; its mean squared error is a parabola whose bottom is known.

    x: rows and columns. y: the targets. hessian: that of half the mean squared error, x'x/n.
    optimum: the parameters of the least error.
    """

    x: Array
    y: Array
    hessian: Array
    optimum: Array

    @property
    def condition(self) -> float:
        """The condition number of the Hessian: its largest eigenvalue over its least."""
        return float(np.linalg.cond(self.hessian))

    @property
    def scaled_condition(self) -> float:
        """The condition number after each column is divided by its root mean square.

        So far a method can get that scales coordinates and does not mix them: no other scaling is
        better by a factor of more than the number of columns (van der Sluis, 1969).
        """
        scale = np.sqrt(np.diag(self.hessian))
        return float(np.linalg.cond(self.hessian / np.outer(scale, scale)))

    @property
    def error(self) -> float:
        """The least mean squared error."""
        return float(np.mean((self.x @ self.optimum - self.y) ** 2))

    def gap(self, p: Array) -> Array:
        """Return by how much the mean squared error at p is above the least one."""
        away = p - self.optimum
        return np.sum(away @ self.hessian * away, axis=-1)

    def gradient(self, p: Array) -> Array:
        """Return the gradient of the mean squared error over all rows."""
        return 2 * (p - self.optimum) @ self.hessian

    def batch_gradient(self, p: Array, rows: Array) -> Array:
        """Return the gradient over the rows of one batch for each seed: (seeds, batch)."""
        x, y = self.x[rows], self.y[rows]
        residual = p @ x.swapaxes(1, 2) - y[:, None]
        return (2 / rows.shape[1]) * residual @ x

    def task(self, seeds: Sequence[int], *, full: bool = False, spread: float = 0.0) -> Task:
        """Set it up: its loss is the gap.

        full: gradients are those of all rows, not of batches. spread: standard deviation of the
        parameters at the start, which are zero by default.
        """
        size = len(self.optimum)
        start = np.stack([spread * _random(seed, 1).normal(size=(1, size)) for seed in seeds])
        if full:
            return Task(start, self.gradient, self.gap)
        rows = batches(len(self.y), seeds)
        return Task(start, lambda p: self.batch_gradient(p, next(rows)), self.gap)


@cache
def least_squares(columns: str, form: str) -> LeastSquares:
    """Predict the price of all 53,940 diamonds from some of their columns and an intercept.

    columns: one of `COLUMNS`; the one-hot ones leave the first level out. form: one of `FORMS`.

    The price is always standardised. That changes no condition number, and no relative gap under
    SGD and momentum; but Adam's and RMSprop's steps are measured in units of the parameters, so
    with prices in dollars they would need learning rates thousands of times larger, and one grid
    could not serve all optimizers.
    """
    for name, value, accepted in (("columns", columns, COLUMNS), ("form", form, FORMS)):
        if value not in accepted:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(accepted)}")
    data = diamonds()
    parts = [data[name] for name in (("carat",) if columns == "carat" else NUMERIC)]
    for name, levels in DIAMONDS_LEVELS.items():
        if columns == "ordinals":
            rank = {level: i for i, level in enumerate(levels)}
            parts.append(np.array([rank[level] for level in data[name]]))
        elif columns == "one-hot":
            parts += [data[name] == level for level in levels[1:]]
    x = np.column_stack(parts).astype(float)
    x = np.column_stack([standard(x) if form == "standardised" else x, np.ones(len(x))])
    if form == "scaled":
        x = x / np.sqrt(np.mean(x**2, axis=0))
    elif form == "turned":
        x = x @ np.linalg.qr(_random(0, 5).normal(size=2 * x.shape[1:]))[0]
    elif form == "axes":
        x = x @ np.linalg.eigh(x.T @ x)[1]
    y = standard(data["price"].astype(float))
    return LeastSquares(x, y, x.T @ x / len(x), np.linalg.lstsq(x, y, rcond=None)[0])


def standard(x: Array) -> Array:
    """Bring every column to mean 0 and standard deviation 1."""
    return (x - x.mean(0)) / x.std(0)


def _diamonds(seeds: Sequence[int], *, columns: str, form: str, spread: float = 0.0) -> Task:
    return least_squares(columns, form).task(seeds, spread=spread)


_line = partial(_diamonds, columns="carat", form="standardised", spread=1.0)


def _spikes(seeds: Sequence[int], *, share: float = 0.01, length: float = 1e3) -> Task:
    """Set up the line, with gradients that are now and then far too long."""
    task, chances = _line(seeds), [_random(seed, 2) for seed in seeds]

    def gradient(p: Array) -> Array:
        spike = np.array([chance.random() < share for chance in chances])
        return task.gradient(p) * np.where(spike, length, 1.0)[:, None, None]

    return Task(task.start, gradient, task.loss)


# ---- functions of two variables ----------------------------------------------------------------


def _ravine(seeds: Sequence[int], *, turned: float, condition: float = 100.0) -> Task:
    """Set up a parabola that is `condition` times as steep across as along, turned by an angle."""
    cos, sin = np.cos(turned), np.sin(turned)
    axes = np.array([[cos, sin], [-sin, cos]])
    hessian = axes.T @ np.diag([1.0, condition]) @ axes
    angles = np.array([_random(seed, 1).uniform(0, 2 * np.pi) for seed in seeds])
    # On a line of equal height; on a circle, most of the height would be the steep direction's.
    start = np.column_stack([np.cos(angles), np.sin(angles) / np.sqrt(condition)]) @ axes
    return Task(
        start[:, None],
        lambda p: p @ hessian,
        lambda p: np.sum(p @ hessian * p, axis=-1) / 2,
    )


def _rosenbrock(seeds: Sequence[int]) -> Task:
    """Set up Rosenbrock's curved valley (1960), from places near his start, (-1.2, 1)."""
    start = np.stack([[-1.2, 1.0] + 0.2 * _random(seed, 1).normal(size=2) for seed in seeds])

    def gradient(p: Array) -> Array:
        x, y = p[..., 0], p[..., 1]
        return np.stack([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)], axis=-1)

    def loss(p: Array) -> Array:
        x, y = p[..., 0], p[..., 1]
        return (1 - x) ** 2 + 100 * (y - x * x) ** 2

    return Task(start[:, None], gradient, loss)


# ---- clothes -----------------------------------------------------------------------------------

SIDE, CLASSES, HELD_OUT, PIECE = 7, 10, 512, 256


@cache
def clothes() -> tuple[Array, Array]:
    """Return Fashion-MNIST in 7 x 7 standardised pixels and a one, and the labels one-hot.

    A pixel is the mean of 4 x 4. The images are shuffled, the last 512 are held out.
    """
    images, labels = fashion_mnist()
    small = images.reshape(-1, SIDE, 4, SIDE, 4).mean((2, 4)).reshape(len(images), -1)
    order = _random(0, 3).permutation(len(images))
    x = np.column_stack([standard(small), np.ones(len(small))])
    return x[order].astype(np.float32), np.eye(CLASSES, dtype=np.float32)[labels][order]


def _clothes(seeds: Sequence[int], *, hidden: int) -> Task:
    """Set up a network with one layer of hidden units, or, with none, softmax regression.

    Gradients are of a batch's cross-entropy; the loss is that of the held-out images.
    """
    x, y = clothes()
    widths = [x.shape[1], *[hidden] * bool(hidden), CLASSES]
    sizes = list(itertools.pairwise(widths))
    cuts = np.cumsum([0, *(a * b for a, b in sizes)])
    start = [
        np.concatenate([random.normal(size=a * b) / np.sqrt(a) for a, b in sizes])
        for random in (_random(seed, 4) for seed in seeds)
    ]
    rows = batches(len(x) - HELD_OUT, seeds)

    def layers(p: Array) -> list[Array]:
        return [
            p[..., low:high].reshape(*p.shape[:-1], *size)
            for low, high, size in zip(cuts, cuts[1:], sizes, strict=False)
        ]

    def forward(p: Array, inputs: Array) -> tuple[list[Array], Array]:
        """Compute what enters each layer, and what leaves the last."""
        entering = [inputs]
        *before, last = layers(p)
        for w in before:
            entering.append(np.maximum(entering[-1] @ w, 0))
        return entering, entering[-1] @ last

    def gradient(p: Array) -> Array:
        batch = next(rows)
        entering, logits = forward(p, x[batch][:, None])
        back = (softmax(logits) - y[batch][:, None]) / batch.shape[1]
        found = []
        for value, w in zip(entering[::-1], layers(p)[::-1], strict=True):
            found.append((value.swapaxes(-1, -2) @ back).reshape(*p.shape[:-1], -1))
            back = (back @ w.swapaxes(-1, -2)) * (value > 0)
        return np.concatenate(found[::-1], axis=-1)

    # In pieces so small that the matrix library leaves each to one core: sharing costs more.
    held_x, held_y = (a[-HELD_OUT:].reshape(-1, 1, 1, PIECE, a.shape[1]) for a in (x, y))

    def loss(p: Array) -> Array:
        logits = forward(p, held_x)[1]
        logits -= logits.max(-1, keepdims=True)
        entropy = np.log(np.exp(np.maximum(logits, -50)).sum(-1)) - np.sum(logits * held_y, axis=-1)
        return entropy.mean(axis=(0, -1))

    return Task(np.stack(start)[:, None].astype(np.float32), gradient, loss)


def softmax(logits: Array) -> Array:
    """Return the probabilities over the last axis; one below 1e-12 is exactly zero."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    e[e < 1e-12] = 0  # denormal numbers would make the products many times slower
    return e / e.sum(-1, keepdims=True)


# ---- randomness --------------------------------------------------------------------------------


def batches(rows: int, seeds: Sequence[int]) -> Iterator[Array]:
    """Yield the row numbers of one batch for each seed, (seeds, BATCH_SIZE), without end."""
    randoms = [_random(seed, 0) for seed in seeds]
    while True:
        yield from np.stack([r.integers(rows, size=(100, BATCH_SIZE)) for r in randoms], axis=1)


def _random(seed: int, purpose: int) -> np.random.Generator:
    """Make the stream of a seed for one purpose."""
    return np.random.default_rng([seed, purpose])


_standardised = partial(_diamonds, columns="numeric", form="standardised")
_raw = partial(_diamonds, columns="numeric", form="raw")
_turned = partial(_ravine, turned=np.pi / 4)

_DIAMONDS, _CLOTHES = "diamonds.npz", "fashion_mnist.xz"
_softmax, _network = partial(_clothes, hidden=0), partial(_clothes, hidden=16)

PROBLEMS = {
    "line": Problem("diamonds line", _line, 300, 1e-3, data=_DIAMONDS),
    "standardised": Problem("diamonds standardised", _standardised, 1000, 1e-2, data=_DIAMONDS),
    "raw": Problem("diamonds raw", _raw, 1000, 0.1, data=_DIAMONDS),
    "ravine": Problem("ravine along an axis", partial(_ravine, turned=0.0), 300, 1e-4, exact=True),
    "turned": Problem("ravine at 45°", _turned, 300, 1e-4, exact=True),
    "rosenbrock": Problem("Rosenbrock", _rosenbrock, 1000, 1e-3, exact=True),
    "softmax": Problem("clothes softmax", _softmax, 300, 0.3, looks=30, data=_CLOTHES),
    "network": Problem("clothes network", _network, 300, 0.3, looks=30, data=_CLOTHES),
}
"""The problems that claims are judged on. Nobody chose them by who wins."""

SPIKES = Problem("diamonds with spikes", _spikes, 300, 1e-3, data=_DIAMONDS)
"""The line, where one gradient in a hundred is a thousand times too long: made to need clipping."""
