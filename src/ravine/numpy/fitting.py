"""Training loops on arrays: a model and a loss as functions, and mini-batches."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ravine import registry
from ravine.modifiers import clip_by_value
from ravine.numpy.classes import optimizer as class_of
from ravine.rule import Rule
from ravine.rule import rule as as_rule

__all__ = ["History", "Loss", "Model", "fit", "linear", "mean_squared_error"]


class Model(NamedTuple):
    """A model as two functions.

    predict(params, x): the predictions for the rows of x. gradient(params, x, d): the gradient of
    the loss with respect to the parameters, in their structure, where d is its gradient with
    respect to the predictions.
    """

    predict: Callable[[Any, Any], Any]
    gradient: Callable[[Any, Any, Any], Any]


class Loss(NamedTuple):
    """A loss as two functions of predictions and targets: its value, and its gradient with respect
    to the predictions.
    """

    value: Callable[[Any, Any], float]
    gradient: Callable[[Any, Any], Any]


def _line(params: Any, x: Any) -> Any:
    wanted = np.shape(x)[1:]
    if np.shape(params["m"]) != wanted:
        raise ValueError(
            f"linear: m has shape {np.shape(params['m'])}; for x of shape {np.shape(x)} it must have "
            f"shape {wanted}"
        )
    return np.dot(x, params["m"]) + params["b"]


def _error(prediction: Any, y: Any) -> Any:
    if np.shape(prediction) != np.shape(y):  # NumPy would make a table of a row and a column
        raise ValueError(
            f"mean_squared_error: the predictions have shape {np.shape(prediction)} and y "
            f"{np.shape(y)}; they must be the same"
        )
    return prediction - y


linear = Model(
    predict=_line,
    gradient=lambda params, x, d: {"m": np.dot(d, x), "b": np.sum(d)},
)
"""The line m*x + b, with params {"m": slope, "b": intercept}; for x of shape (n, k), m has shape (k,)."""

mean_squared_error = Loss(
    value=lambda prediction, y: float(np.mean(_error(prediction, y) ** 2)),
    gradient=lambda prediction, y: 2 * _error(prediction, y) / np.size(y),
)
"""mean((prediction - y)**2)."""


@dataclass
class History:
    """The result of :func:`fit`.

    params: after the last epoch. losses: over all rows, after each epoch. path: the parameters
    after each epoch. steps: the number of steps. seconds: wall time. stopped: "epochs" (all epochs
    ran), "threshold" (the loss changed by less), "diverged" (it is not finite) or "callback".
    """

    params: Any
    losses: list[float] = field(default_factory=list)
    path: list[Any] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    stopped: str = "epochs"

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return len(self.losses)


def fit(
    model: Model,
    loss: Loss,
    params: Any,
    x: Any,
    y: Any,
    /,
    *,
    optimizer: str | Rule | Callable[..., Any] = "adam",
    learning_rate: float | None = None,
    epochs: int = 100,
    batch_size: int | str = 64,
    stopping_threshold: float | None = None,
    clipping: float | None = None,
    seed: Any = 0,
    callback: Callable[[int, Any, float], bool | None] | None = None,
    **hyperparameters: Any,
) -> History:
    """Train a model on mini-batches of rows.

    model, loss: see :class:`Model` and :class:`Loss`; `linear` and `mean_squared_error` are
    provided. params: the initial parameters; they are copied. x, y: arrays of n rows. optimizer: a
    rule, or its name. learning_rate: its lr; by default the rule's. epochs: the maximum number of
    passes over the data. batch_size: rows per step; 1 is SGD, "all" is gradient descent.
    stopping_threshold: stop when the loss over all rows changes by less than this from one epoch to
    the next. clipping: clip each coordinate of the gradient to [-clipping, clipping]. seed: a
    number, or a NumPy random generator (a legacy RandomState as well), which shuffles the rows
    before each epoch. callback(epoch, params, loss): called after each epoch, counted from 1;
    return True to stop. Further keywords are hyperparameters of the rule. Raises ValueError or
    TypeError for invalid arguments.

    >>> x = np.linspace(-1, 1, 100)
    >>> done = fit(linear, mean_squared_error, {"m": 0.0, "b": 0.0}, x, 2 * x + 1, learning_rate=0.1)
    >>> round(done.params["m"], 3), round(done.params["b"], 3)
    (2.0, 1.0)
    """
    x, y = _data("x", x), _data("y", y)
    rows = len(x)
    if len(y) != rows or not rows:
        raise ValueError(
            f"fit: x has {rows} rows and y {len(y)}; both must have the same number, at least 1"
        )
    batch: Any = rows if batch_size == "all" else batch_size
    for name, value in (("epochs", epochs), ("batch_size", batch)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            also = ' or "all"' * (name == "batch_size")
            raise ValueError(
                f"fit: {name}={value!r} is invalid; {name} must be a whole number >= 1{also}"
            )
    if stopping_threshold is not None and not stopping_threshold >= 0:
        raise ValueError(
            f"fit: stopping_threshold={stopping_threshold!r} is invalid; it must be a number >= 0, or None"
        )
    if callback is not None and not callable(callback):
        raise TypeError(f"fit: callback={callback!r} is invalid; it must be a function, or None")
    rule = registry.get(optimizer) if isinstance(optimizer, str) else optimizer
    rule = rule if isinstance(rule, Rule) else as_rule(rule)
    if clipping is not None:
        rule = clip_by_value(rule, clip_value=clipping)
    if learning_rate is not None:
        if "lr" in hyperparameters:
            raise TypeError(
                f"fit: learning_rate={learning_rate!r} and lr={hyperparameters['lr']!r} are the "
                "same hyperparameter; give one of them"
            )
        hyperparameters["lr"] = learning_rate
    stepper = class_of(rule)(copy.deepcopy(params), **hyperparameters)
    y = _shaped(y, np.shape(model.predict(stepper.params, x)))
    random = seed if hasattr(seed, "permutation") else np.random.default_rng(seed)

    done = History(stepper.params)
    start, before = time.perf_counter(), np.inf
    with np.errstate(over="ignore", invalid="ignore"):  # `stopped` says it
        for epoch in range(1, epochs + 1):
            order = random.permutation(rows)
            x, y = x[order], y[order]
            for i in range(0, rows, batch):
                x_batch, y_batch = x[i : i + batch], y[i : i + batch]
                d = loss.gradient(model.predict(stepper.params, x_batch), y_batch)
                stepper.step(model.gradient(stepper.params, x_batch, d))
                done.steps += 1
            now = loss.value(model.predict(stepper.params, x), y)
            done.losses.append(now)
            done.path.append(copy.deepcopy(stepper.params))
            if callback is not None and callback(epoch, stepper.params, now):
                done.stopped = "callback"
            elif not np.isfinite(now):
                if epoch == 1:
                    _check_finite(x=x, y=y)
                done.stopped = "diverged"
            elif stopping_threshold is not None and abs(before - now) < stopping_threshold:
                done.stopped = "threshold"
            else:
                before = now
                continue
            break
    done.params, done.seconds = stepper.params, time.perf_counter() - start
    return done


def _data(name: str, rows: Any) -> Any:
    """Rows as an array."""
    if isinstance(rows, np.ma.MaskedArray):
        raise TypeError(
            f"fit: {name} is a masked array, and its mask would be ignored; remove the masked rows"
        )
    rows = np.asarray(rows)
    if not rows.ndim:
        raise TypeError(f"fit: {name}={rows.item()!r} is invalid; it must be an array of rows")
    return rows


def _check_finite(**given: Any) -> None:
    """Raise ValueError if the data are not finite; called only on failure, since a loss may ignore them."""
    for name, data in given.items():
        if data.dtype.kind == "f" and not np.isfinite(data).all():
            raise ValueError(
                f"fit: {name} has values that are NaN or infinite, "
                "so the loss is too; remove these rows"
            )


def _shaped(y: Any, shape: tuple[int, ...]) -> Any:
    """The targets in the shape of the predictions: NumPy would make a table of a row and a column."""
    if y.shape == (*shape, 1):
        y = y[..., 0]
    if y.shape != shape:
        raise ValueError(
            f"fit: y has shape {y.shape} and the model's predictions {shape}; they must be the same"
        )
    return y
