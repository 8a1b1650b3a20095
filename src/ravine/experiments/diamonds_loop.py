"""The training loop of `as_published`, compiled: the same numbers to the last bit, much faster.

An epoch of 16,000 rows in batches of 64 spends its time, in plain NumPy, on the overhead of some
4,000 calls and on the permutation. Here it is four pieces of machine code: the shuffle, drawn as
numpy.random.RandomState draws it; the rows in their new order; the batches, with the update printed
from a rule's graph; the loss. Whatever NumPy sums, it sums in its own order, and so do we.

Indices are unsigned wherever the compiler could not see that they are not negative. Otherwise it would
add code for counting from the end, and would not use vector instructions.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine.engines.python import ScalarUpdate
from ravine.experiments import as_published
from ravine.extras import without

try:
    import numba
except ImportError:
    numba = None  # type: ignore[assignment]

Array = NDArray[np.float64]
U32, U64 = np.uint32, np.uint64

_rows = np.random.default_rng(0).normal(size=(32, 16_000))
_in_parts = all(np.sum(a) == np.sum(a[:8192]) + np.sum(a[8192:]) for a in _rows)
PART = U64(8192 if _in_parts else 1 << 63)
"""The number of values that NumPy sums at a time: older versions fill a buffer, newer ones take all."""


def machine_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have Numba compile the function at its first call, with NumPy's 1/0 = inf."""
    return numba.njit(error_model="numpy")(function) if numba else function


def train(
    x: Array,
    y: Array,
    m: float,
    b: float,
    update: ScalarUpdate,
    random: np.random.RandomState,
    *,
    epochs: int,
    batch_size: int,
    stopping_threshold: float,
) -> Iterator[tuple[float, float, float]]:
    """Fit y to m*x + b by mini-batches; yield m, b and the mean squared error after each epoch.

    x, y: at most 2**32 rows. update: from :func:`ravine.engines.python.scalar_update`; m and b
    each take its step. random: draws each epoch's permutation, which is applied to the last epoch's
    order; it is where it should be when the iteration has ended or was closed. It ends after
    `epochs`, or when the loss changes by less than stopping_threshold.

    The loop is compiled at the call, before the iteration begins. If it cannot be compiled, the plain
    one runs, with a RuntimeWarning.
    """
    limits: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "stopping_threshold": stopping_threshold,
    }
    batches = compiled(update)
    if batches is None:
        step = _plain_step(update, m, b)
        return as_published.train(x, y, m, b, as_published.gradients, step, random, **limits)
    return _train(x, y, m, b, update, batches, random, **limits)


def compiled(update: ScalarUpdate) -> Callable[..., Any] | None:
    """Compile the whole loop for the update, unless that is done; None if that is impossible.

    It takes one to two seconds for the first update, a third of a second for another.
    """
    why = without("numba")
    if numba:
        try:
            namespace = tuple(update.namespace.items())
            return _compiled(update.source, namespace, update.initial(0.0), len(update.values))
        except numba.core.errors.NumbaError as error:
            why = f"Numba cannot compile {update.rule.name!r}: {str(error).strip().splitlines()[0]}"
    warnings.warn(
        f"{why}; the plain NumPy loop runs instead, about 50 times slower",
        RuntimeWarning,
        stacklevel=3,
    )
    return None


def _train(
    x: Array,
    y: Array,
    m: float,
    b: float,
    update: ScalarUpdate,
    batches: Callable[..., Any],
    random: np.random.RandomState,
    epochs: int,
    batch_size: int,
    stopping_threshold: float,
) -> Iterator[tuple[float, float, float]]:
    n = len(x)
    order = np.arange(n, dtype=np.uint16 if n <= 1 << 16 else np.uint32)  # small: stays in cache
    draws, words = np.empty_like(order), np.empty(624, np.uint32)
    shuffled_x, shuffled_y, error, product = np.empty((4, n))
    m_state, b_state, t, loss = update.initial(m), update.initial(b), 0.0, np.inf
    name, key, position, *gauss = random.get_state(legacy=True)
    try:
        for _ in range(epochs):
            position = shuffle(order, key, position, words, draws)
            gather(x, y, order, shuffled_x, shuffled_y)
            m, b, m_state, b_state, t = batches(
                *(shuffled_x, shuffled_y, batch_size, error, product),
                *(m, b, m_state, b_state, t, update.values),
            )
            previous_loss, loss = loss, mean_square(shuffled_x, shuffled_y, m, b, error)
            yield m, b, loss
            if abs(previous_loss - loss) < stopping_threshold:
                return
    finally:
        random.set_state((name, key, position, *gauss))


@cache
def _compiled(
    source: str, namespace: tuple[tuple[str, Any], ...], state: tuple[float, ...], hyper: int
) -> Callable[..., Any]:
    """Compile what an epoch calls; return the function for the batches, which uses the update of that source.

    state: that of one parameter, as an example. hyper: the number of hyperparameters.
    """
    defined = dict(namespace)
    exec(source, defined)
    update = machine_code(defined["update"])

    @machine_code
    def batches(x, y, batch_size, error, product, m, b, m_state, b_state, t, hyper):
        """Step once for each batch. error and product are scratch, one number for each row."""
        n = U64(len(x))
        for start in range(U64(0), n, U64(batch_size)):
            size = min(U64(batch_size), n - start)
            for i in range(size):
                error[i] = m * x[start + i] + b - y[start + i]
                product[i] = x[start + i] * error[i]
            m_gradient = 2 * (total(product, size) / size)
            b_gradient = 2 * (total(error, size) / size)
            t += 1.0
            m, m_state = update(m, m_gradient, m_state, t, hyper)
            b, b_state = update(b, b_gradient, b_state, t, hyper)
        return m, b, m_state, b_state, t

    x, order, words = np.zeros(1), np.zeros(1, np.uint16), np.zeros(624, np.uint32)
    shuffle(order, words, 0, words, order)
    gather(x, x, order, x, x)
    batches(x, x, 1, x, x, 0.0, 0.0, state, state, 0.0, (0.0,) * hyper)
    mean_square(x, x, 0.0, 0.0, x)
    return batches


# ---- numpy.random.RandomState.permutation ------------------------------------------------------


@machine_code
def shuffle(order, key, position, words, draws):
    """Shuffle the order in place; return the generator's new position.

    RandomState swaps each i from the last down to 1 with a draw from 0 … i, which is the first
    word that is not larger than i when cut to as many bits as i has. All the draws come first, into
    the array draws, without a branch: each word is written to the place of draw i, and i moves on if
    the word was accepted. Then come the swaps. Shuffling the last epoch's order is the same as
    permuting its rows.
    """
    n = len(order)
    i = U64(n - 1)
    mask = U64(1)
    while mask < i:
        mask = mask << U64(1) | U64(1)
    temper(key, words)
    at = U64(position)
    while i > U64(0):
        fewer_bits = mask >> U64(1)
        while i > fewer_bits:
            if at == U64(624):
                twist(key)
                temper(key, words)
                at = U64(0)
            stop = min(U64(624), at + i - fewer_bits)  # at least this many words are needed
            for k in range(at, stop):
                draw = U64(words[k]) & mask
                draws[i] = draw
                i -= U64(i >= draw)
            at = stop
        mask = fewer_bits
    for k in range(1, n):
        i = U64(n - k)
        j = draws[i]
        order[i], order[j] = order[j], order[i]
    return at


@machine_code
def twist(key):
    """Replace the Mersenne Twister's 624 words by the next 624."""
    for i in range(227):
        key[i] = key[i + 397] ^ mixed(key[i], key[i + 1])
    for i in range(227, 623):
        key[i] = key[i - 227] ^ mixed(key[i], key[i + 1])
    key[623] = key[396] ^ mixed(key[623], key[0])


@machine_code
def mixed(upper, lower):
    """Join the top bit of one word to the rest of the next, and shift."""
    word = (upper & U32(0x80000000)) | (lower & U32(0x7FFFFFFF))
    return (word >> U32(1)) ^ ((word & U32(1)) * U32(0x9908B0DF))


@machine_code
def temper(key, words):
    """Make the 624 random numbers of the 624 words."""
    for i in range(624):
        word = key[i]
        word ^= word >> U32(11)
        word ^= (word << U32(7)) & U32(0x9D2C5680)
        word ^= (word << U32(15)) & U32(0xEFC60000)
        words[i] = word ^ (word >> U32(18))


@machine_code
def gather(x, y, order, shuffled_x, shuffled_y):
    """Reorder the rows."""
    for i in range(len(order)):
        shuffled_x[i] = x[order[i]]
        shuffled_y[i] = y[order[i]]


# ---- numpy.mean --------------------------------------------------------------------------------


@machine_code
def mean_square(x, y, m, b, square):
    """Average the squared error of the line over all rows. square is scratch."""
    n = U64(len(x))
    for i in range(n):
        error = y[i] - (m * x[i] + b)
        square[i] = error * error
    return total(square, n) / n


@machine_code
def total(a, n):
    """Add up the first n numbers in NumPy's order."""
    size = U64(n)
    if size <= U64(128):
        return block_total(a, U64(0), size)
    result, start = pairwise_total(a, U64(0), min(size, PART)), PART
    while start < size:
        result += pairwise_total(a, start, min(size, start + PART))
        start += PART
    return result


@machine_code
def pairwise_total(a, start, stop):
    """Add up a[start:stop], split in halves at a multiple of 8 until a block is 128 or shorter."""
    n = stop - start
    if n <= U64(128):
        return block_total(a, start, stop)
    half = start + (n >> U64(1) & ~U64(7))
    return pairwise_total(a, start, half) + pairwise_total(a, half, stop)


@machine_code
def block_total(a, start, stop):
    """Add up a[start:stop]: eight interleaved sums, then the rest; one sum if fewer than 8."""
    result = 0.0
    end = start
    if stop - start >= U64(8):
        end = stop - (stop - start & U64(7))
        a0, a1, a2, a3 = 0.0, 0.0, 0.0, 0.0
        a4, a5, a6, a7 = 0.0, 0.0, 0.0, 0.0
        for i in range(start, end, U64(8)):
            a0 += a[i]
            a1 += a[i + U64(1)]
            a2 += a[i + U64(2)]
            a3 += a[i + U64(3)]
            a4 += a[i + U64(4)]
            a5 += a[i + U64(5)]
            a6 += a[i + U64(6)]
            a7 += a[i + U64(7)]
        result = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))
    for i in range(end, stop):
        result += a[i]
    return result


def _plain_step(update: ScalarUpdate, m: float, b: float) -> as_published.Step:
    """The update as a step of the plain loop."""
    defined = update.namespace
    exec(update.source, defined)
    step = defined["update"]
    m_state, b_state, t = update.initial(m), update.initial(b), 0.0

    def both(m: Any, b: Any, m_gradient: Any, b_gradient: Any) -> tuple[Any, Any]:
        nonlocal m_state, b_state, t
        t += 1.0
        m, m_state = step(m, m_gradient, m_state, t, update.values)
        b, b_state = step(b, b_gradient, b_state, t, update.values)
        return m, b

    return both
