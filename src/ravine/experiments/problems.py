"""Small problems for the claims and conditioning, each set up for many seeds at once.

Claims are judged on the first ones. The last ones are each made for the situation in one claim: vanishing
gradients, rare features, a moving minimum, the first steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine.data import DIAMONDS_LEVELS, diamonds, digest
from ravine.data.fashion_mnist import fashion_mnist

Array = NDArray[Any]

BATCH_SIZE = 64
"""Rows in a mini-batch, drawn with replacement."""


@dataclass(frozen=True)
class Task:
    """A problem set up for some seeds.

    start: the initial parameters, (seeds, 1, parameters). gradient(p): the gradient at p for the next
    batch. loss(p): the loss, one nonnegative value for each configuration. Tasks made for the same seeds
    draw the same batches, one at each call.
    """

    start: Array
    gradient: Callable[[Array], Array]
    loss: Callable[[Array], Array]


@dataclass(frozen=True)
class Problem:
    """A problem of the races.

    label: what it is, in a few words. make(seeds): sets it up. steps: the budget. target: the loss
    that counts as solved, where the loss at the start is 1. exact: gradients are exact, not those
    of batches. looks: how often it is affordable to measure the loss; 0 for all steps of the end.
    end: which share of the steps is its end, over which the loss is averaged. data: the file in
    `ravine.data` that it is made of.
    """

    label: str
    make: Callable[[Sequence[int]], Task]
    steps: int
    target: float = 0.0
    exact: bool = False
    looks: int = 100
    end: float = 0.1
    data: str = ""

    def depends(self) -> dict[str, Any]:
        """Return what its races depend on, besides the code that sets it up."""
        names = ("steps", "target", "looks", "end")
        made_of = digest(self.data) if self.data else None
        return {**{name: getattr(self, name) for name in names}, "data": made_of}


# ---- the diamonds ------------------------------------------------------------------------------

NUMERIC = ("carat", "depth", "table", "x", "y", "z")

COLUMNS = {
    "carat": "carat alone",
    "numeric": "six numeric columns",
    "ordinals": "with cut, color, clarity as numbers",
    "one-hot": "with cut, color, clarity one-hot",
}
"""The columns that predict the price of a diamond; an intercept is added to each set."""

FORMS = {
    "raw": "as they are: carats, percent, millimetres, levels",
    "scaled": "raw, each column divided by its root mean square",
    "standardised": "each column brought to mean 0 and standard deviation 1",
    "turned": "raw, the coordinates turned by a random rotation",
    "axes": "raw, the coordinates turned onto the axes of the ellipse",
}
"""Transformations of the columns. Rotations change neither the model nor the ellipse."""


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

        This is what a method can reach that scales coordinates without mixing them: no other scaling is
        better by more than a factor of the number of columns (van der Sluis, 1969).
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
    """Set up the line, with gradients that are occasionally far too long."""
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


# ---- networks ----------------------------------------------------------------------------------


_relu: Callable[[Array], Array] = partial(np.maximum, 0)
_positive: Callable[[Array], Array] = partial(np.less, 0)


@dataclass(frozen=True)
class Network:
    """A network of linear layers, for many runs at once: its parameters are the last axis of an array.

    widths: of the layers, inputs first. activation, slope: of the hidden ones; the slope as a function
    of the activation. ones: whether each layer has a bias, as the weights of an input that is 1.
    """

    widths: Sequence[int]
    activation: Callable[[Array], Array] = _relu
    slope: Callable[[Array], Array] = _positive
    ones: bool = False

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Those of the layers' weights."""
        return [(a + self.ones, b) for a, b in itertools.pairwise(self.widths)]

    def start(self, randoms: Iterable[np.random.Generator]) -> Array:
        """Weights to begin with, one row for each generator."""
        return np.stack(
            [
                np.concatenate([r.normal(size=a * b) / np.sqrt(a) for a, b in self.shapes])
                for r in randoms
            ]
        )[:, None]

    def layers(self, p: Array) -> list[Array]:
        """The weights of each layer."""
        cuts = np.cumsum([0, *(a * b for a, b in self.shapes)])
        parts = zip(cuts, cuts[1:], self.shapes, strict=False)
        return [p[..., low:high].reshape(*p.shape[:-1], *shape) for low, high, shape in parts]

    def forward(self, p: Array, inputs: Array) -> tuple[list[Array], Array]:
        """Compute what enters each layer, and what leaves the last."""
        entering: list[Array] = []
        value = inputs
        for w in self.layers(p):
            if entering:
                value = self.activation(value)
            if self.ones:
                value = np.concatenate([value, np.ones((*value.shape[:-1], 1))], -1)
            entering.append(value)
            value = value @ w
        return entering, value

    def gradient(self, p: Array, entering: Sequence[Array], back: Array) -> Array:
        """Return the gradient of a loss whose derivatives by what leaves the last layer are `back`."""
        found = []
        for value, w in zip(entering[::-1], self.layers(p)[::-1], strict=True):
            found.append((value.swapaxes(-1, -2) @ back).reshape(*p.shape[:-1], -1))
            last = -1 if self.ones else None
            back = (back @ w.swapaxes(-1, -2))[..., :last] * self.slope(value[..., :last])
        return np.concatenate(found[::-1], axis=-1)


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
    network = Network([x.shape[1], *[hidden] * bool(hidden), CLASSES])
    rows = batches(len(x) - HELD_OUT, seeds)
    start = network.start(_random(seed, 4) for seed in seeds).astype(np.float32)

    def gradient(p: Array) -> Array:
        batch = next(rows)
        entering, logits = network.forward(p, x[batch][:, None])
        return network.gradient(p, entering, (softmax(logits) - y[batch][:, None]) / batch.shape[1])

    # In pieces so small that the matrix library leaves each to one core: sharing costs more.
    held_x, held_y = (a[-HELD_OUT:].reshape(-1, 1, 1, PIECE, a.shape[1]) for a in (x, y))

    def loss(p: Array) -> Array:
        logits = network.forward(p, held_x)[1]
        logits -= logits.max(-1, keepdims=True)
        entropy = np.log(np.exp(np.maximum(logits, -50)).sum(-1)) - np.sum(logits * held_y, axis=-1)
        return entropy.mean(axis=(0, -1))

    return Task(start, gradient, loss)


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


# ---- situations --------------------------------------------------------------------------------

WIDTH = 6


def sigmoids(depth: int) -> Network:
    """A network of so many hidden layers of sigmoids, whose gradients shrink from layer to layer."""
    return Network(
        [1, *[WIDTH] * depth, 1],
        lambda x: 1 / (1 + np.exp(-np.clip(x, -40, 40))),
        lambda a: a * (1 - a),
        ones=True,
    )


def _sine(seeds: Sequence[int], *, depth: int) -> Task:
    """Set up a sine to fit with a network of sigmoids, by exact gradients of the squared error."""
    x, network = np.linspace(-2, 2, 32)[:, None], sigmoids(depth)
    y = np.sin(2 * x)

    def gradient(p: Array) -> Array:
        entering, found = network.forward(p, np.broadcast_to(x, (*p.shape[:-1], *x.shape)))
        return network.gradient(p, entering, 2 * (found - y) / len(x))

    def loss(p: Array) -> Array:
        found = network.forward(p, np.broadcast_to(x, (*p.shape[:-1], *x.shape)))[1]
        return np.mean((found - y) ** 2, (-1, -2))

    return Task(network.start(map(np.random.default_rng, seeds)), gradient, loss)


def _rare(seeds: Sequence[int], *, rarest: float) -> Task:
    """Set up 20 weights to fit by least squares, whose features are present more and more rarely.

    The first feature is present in half of the examples, the last one in a share `rarest` of them. The
    loss is the excess of the squared error.
    """
    present, randoms = np.geomspace(0.5, rarest, 20), [_random(seed, 7) for seed in seeds]
    right = np.stack([random.normal(size=20) for random in randoms])[:, None]

    def gradient(p: Array) -> Array:
        x = np.stack([random.random((16, 20)) < present for random in randoms]).astype(float)
        noise = np.stack([random.normal(size=(16, 1)) for random in randoms])
        residual = x @ (p - right).swapaxes(-1, -2) - 0.1 * noise
        return 2 * residual.swapaxes(-1, -2) @ x / 16

    def loss(p: Array) -> Array:
        away = p - right
        return (away**2 * present * (1 - present)).sum(-1) + (away * present).sum(-1) ** 2

    return Task(np.zeros((len(randoms), 1, 20)), gradient, loss)


def _moving(seeds: Sequence[int], *, speed: float, noise: float) -> Task:
    """Set up a parabola with curvatures from 1 to 100, whose minimum moves, and noisy gradients.

    In each of five pairs of coordinates, the minimum moves along a unit circle, by `speed` radians per
    step. `noise` is the standard deviation of what is added to each gradient.
    """
    curvature, randoms = np.geomspace(1, 100, 10), [_random(seed, 8) for seed in seeds]
    start = np.stack([random.normal(size=(1, 10)) for random in randoms])
    t = 0

    def minimum() -> Array:
        return np.tile([np.cos(speed * t), np.sin(speed * t)], 5)

    def gradient(p: Array) -> Array:
        nonlocal t
        t += 1
        error = np.stack([random.normal(size=(1, 10)) for random in randoms])
        return curvature * (p - minimum()) + noise * error

    return Task(start, gradient, lambda p: (curvature * (p - minimum()) ** 2).sum(-1) / 2)


# ---- all of them ----

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
"""The problems on which claims are judged. They were not chosen by their results."""

SPIKES = Problem("diamonds with spikes", _spikes, 300, 1e-3, data=_DIAMONDS)
"""The line, where one gradient in a hundred is a thousand times too long: made to need clipping."""

DEPTHS, SHARES = range(1, 7), (0.3, 0.1, 0.03, 0.01, 0.003)
SPEEDS, NOISES = (0.0003, 0.001, 0.003, 0.01, 0.03), (0.0, 0.3, 1.0, 3.0, 10.0)
FEW = 20
"""The number of first steps."""


def _layers(depth: int) -> Problem:
    return Problem(
        f"{depth} hidden layer{'s' * (depth > 1)}", partial(_sine, depth=depth), 1000, looks=0
    )


SITUATIONS: dict[str, dict[Any, Problem]] = {
    "vanishing": {d: _layers(d) for d in DEPTHS},
    "sparse": {q: Problem(f"share {q:g}", partial(_rare, rarest=q), 1000, looks=0) for q in SHARES},
    "drift": {
        v: Problem(f"speed {v:g}", partial(_moving, speed=v, noise=1.0), 1000, looks=0, end=0.5)
        for v in SPEEDS
    },
    "noise": {
        n: Problem(f"noise {n:g}", partial(_moving, speed=0.0, noise=n), 1000, looks=0, end=0.5)
        for n in NOISES
    },
    "first steps": {
        name: replace(problem, steps=FEW, target=0.0, looks=0, end=1 / FEW)
        for name, problem in PROBLEMS.items()
    },
}
"""The problems made for one claim each, by claim and by the quantity that varies among them."""

EVERY = {
    **PROBLEMS,
    "spikes": SPIKES,
    **{f"{kind} {k}": problem for kind, its in SITUATIONS.items() for k, problem in its.items()},
}
"""All problems by their names in specs."""
