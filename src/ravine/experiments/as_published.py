"""The second post's training loop in plain NumPy, and its four optimizers with their faults.

Bex Tuychiev, "Adam Optimizer Tutorial: Intuition and Implementation in Python" (29 August 2024).
The loop is the oracle for the compiled one in `diamonds_loop`, and the baseline of its speed. So it is
written like the post's: a permutation and fancy indexing for each epoch, slices and `np.mean` for each
batch.

For SGD, momentum and RMSprop, the post has the wrong sign of the residual, so that they climb; for
Adam it is right.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Gradients = Callable[[Array, Array, Any, Any], tuple[Any, Any]]
Step = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def train(
    x: Array,
    y: Array,
    m: float,
    b: float,
    gradients: Gradients,
    step: Step,
    random: np.random.RandomState,
    *,
    epochs: int,
    batch_size: int,
    stopping_threshold: float,
) -> Iterator[tuple[Any, Any, Any]]:
    """Fit y to m*x + b by mini-batches; yield m, b and the loss after each epoch.

    gradients: of the mean squared error, from x, y, m, b. step: the new m, b from m, b and their
    gradients. random: draws each epoch's permutation, which is applied to the last epoch's order.
    It ends after `epochs`, or when the loss changes by less than stopping_threshold.
    """
    n = len(x)
    previous_loss: Any = np.inf
    for _ in range(epochs):
        order = random.permutation(n)
        x, y = x[order], y[order]
        for start in range(0, n, batch_size):
            x_batch = x[start : start + batch_size]
            y_batch = y[start : start + batch_size]
            m_gradient, b_gradient = gradients(x_batch, y_batch, m, b)
            m, b = step(m, b, m_gradient, b_gradient)
        loss = np.mean((y - model(x, m, b)) ** 2)
        yield m, b, loss
        if abs(previous_loss - loss) < stopping_threshold:
            return
        previous_loss = loss


def model(x: Array, m: Any, b: Any) -> Array:
    """Predict y: a straight line."""
    return m * x + b


def gradients(x: Array, y: Array, m: Any, b: Any) -> tuple[Any, Any]:
    """Differentiate the mean squared error with respect to m and b."""
    prediction = model(x, m, b)
    return 2 * np.mean(x * (prediction - y)), 2 * np.mean(prediction - y)


def wrong_gradients(x: Array, y: Array, m: Any, b: Any) -> tuple[Any, Any]:
    """The fault: the gradients with the wrong sign."""
    prediction = model(x, m, b)
    return 2 * np.mean(x * (y - prediction)), 2 * np.mean(y - prediction)


def sgd(learning_rate: float, clip_value: float = 1.0) -> Step:
    """Make the post's SGD step, with its clipping."""

    def step(m: Any, b: Any, m_gradient: Any, b_gradient: Any) -> tuple[Any, Any]:
        m_gradient = np.clip(m_gradient, -clip_value, clip_value)
        b_gradient = np.clip(b_gradient, -clip_value, clip_value)
        return m - learning_rate * m_gradient, b - learning_rate * b_gradient

    return step


def momentum(learning_rate: float, momentum: float = 0.9, clip_value: float = 1.0) -> Step:
    """Make the post's momentum step: the learning rate inside the velocity, with its clipping."""
    m_velocity = b_velocity = 0.0

    def step(m: Any, b: Any, m_gradient: Any, b_gradient: Any) -> tuple[Any, Any]:
        nonlocal m_velocity, b_velocity
        m_gradient = np.clip(m_gradient, -clip_value, clip_value)
        b_gradient = np.clip(b_gradient, -clip_value, clip_value)
        m_velocity = momentum * m_velocity + learning_rate * m_gradient
        b_velocity = momentum * b_velocity + learning_rate * b_gradient
        return m - m_velocity, b - b_velocity

    return step


def rmsprop(learning_rate: float, beta: float = 0.9, eps: float = 1e-8) -> Step:
    """Make the post's RMSprop step."""
    m_square = b_square = 0.0

    def step(m: Any, b: Any, m_gradient: Any, b_gradient: Any) -> tuple[Any, Any]:
        nonlocal m_square, b_square
        m_square = beta * m_square + (1 - beta) * m_gradient**2
        b_square = beta * b_square + (1 - beta) * b_gradient**2
        m = m - learning_rate * m_gradient / (np.sqrt(m_square) + eps)
        b = b - learning_rate * b_gradient / (np.sqrt(b_square) + eps)
        return m, b

    return step


def adam(learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Step:
    """Make the post's Adam step."""
    m_mean = b_mean = m_square = b_square = 0.0
    t = 0

    def step(m: Any, b: Any, m_gradient: Any, b_gradient: Any) -> tuple[Any, Any]:
        nonlocal m_mean, b_mean, m_square, b_square, t
        t += 1
        m_mean = beta1 * m_mean + (1 - beta1) * m_gradient
        b_mean = beta1 * b_mean + (1 - beta1) * b_gradient
        m_square = beta2 * m_square + (1 - beta2) * m_gradient**2
        b_square = beta2 * b_square + (1 - beta2) * b_gradient**2
        m_mean_hat = m_mean / (1 - beta1**t)
        b_mean_hat = b_mean / (1 - beta1**t)
        m_square_hat = m_square / (1 - beta2**t)
        b_square_hat = b_square / (1 - beta2**t)
        m = m - learning_rate * m_mean_hat / (np.sqrt(m_square_hat) + eps)
        b = b - learning_rate * b_mean_hat / (np.sqrt(b_square_hat) + eps)
        return m, b

    return step


OPTIMIZERS: dict[str, tuple[Gradients, Callable[[float], Step]]] = {
    "sgd": (wrong_gradients, sgd),
    "momentum_classical": (wrong_gradients, momentum),
    "rmsprop": (wrong_gradients, rmsprop),
    "adam": (gradients, adam),
}
"""By the name of the intended rule: the gradients, and a function that makes the step from lr."""
