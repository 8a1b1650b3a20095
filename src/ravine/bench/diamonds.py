"""The speed of the compiled loop of the race `diamonds`, compared with the second post's plain NumPy.

Both follow the whole protocol as published, including its faults: permutation, batches of 64, the
loss after each epoch. They take turns, so that other load on the machine slows both.
"""

import time
from collections.abc import Iterable
from statistics import median
from typing import Any

import numpy as np

from ravine.experiments import as_published, diamonds_loop
from ravine.experiments.diamonds import Spec, as_published_specs, digits, update_of
from ravine.experiments.diamonds_sample import sample


def run(epochs_fast: int = 400, epochs_plain: int = 20, repeats: int = 5) -> list[dict[str, Any]]:
    """Time both loops, epochs_plain and epochs_fast epochs in turn, `repeats` times.

    Returns a row for each of the post's optimizers: ``method``; ``plain_us`` and ``fast_us``, the
    median time of an epoch in microseconds; ``ratio``, the median over the turns; ``digits``, how
    many digits of m, b and the loss agree at least, over the epochs that both have (17 if every
    float is the same); ``compile_seconds`` (0 where it had been compiled in this process before;
    the first row's has the parts that all share).
    """
    for name, count in (
        ("epochs_fast", epochs_fast),
        ("epochs_plain", epochs_plain),
        ("repeats", repeats),
    ):
        if not (isinstance(count, int) and count >= 1):
            raise ValueError(
                f"{name}={count!r} is invalid; {name} must be a whole number of at least 1"
            )
    specs = as_published_specs()[: len(as_published.OPTIMIZERS)]
    return [_row(spec, epochs_fast, epochs_plain, repeats) for spec in specs]


def _row(spec: Spec, epochs_fast: int, epochs_plain: int, repeats: int) -> dict[str, Any]:
    s, update = sample(), update_of(spec)
    gradients, make_step = as_published.OPTIMIZERS[spec["optimizer"]]
    start = time.perf_counter()
    diamonds_loop.compiled(update)
    compile_seconds = time.perf_counter() - start
    limits: dict[str, Any] = {"batch_size": spec["batch_size"], "stopping_threshold": 0.0}
    turns = []
    agreement = 17
    for seed in range(repeats):
        plain_us, plain = _timed(
            as_published.train(
                *(s.x, s.y, 0.5, -0.5, gradients, make_step(spec["hyperparameters"]["lr"])),
                np.random.RandomState(seed),
                epochs=epochs_plain,
                **limits,
            )
        )
        fast_us, fast = _timed(
            diamonds_loop.train(
                *(s.x, s.y, 0.5, -0.5, update, np.random.RandomState(seed)),
                epochs=epochs_fast,
                **limits,
            )
        )
        turns.append((plain_us, fast_us))
        both = zip(plain, fast, strict=False)
        agreement = min(
            agreement, *(digits(a, b) for p, q in both for a, b in zip(p, q, strict=True))
        )
    return {
        "method": spec["method"],
        "plain_us": median(plain for plain, _ in turns),
        "fast_us": median(fast for _, fast in turns),
        "ratio": median(plain / fast for plain, fast in turns),
        "digits": agreement,
        "compile_seconds": compile_seconds,
    }


def _timed(epochs: Iterable[tuple[Any, Any, Any]]) -> tuple[float, list[tuple[Any, Any, Any]]]:
    """Microseconds for one call, and the results."""
    start = time.perf_counter()
    points = list(epochs)
    return 1e6 * (time.perf_counter() - start) / len(points), points
