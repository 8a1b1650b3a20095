"""The rows of the diamonds race, and what a straight line can do on them."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ravine.data import diamonds

Array = NDArray[np.float64]


class Sample(NamedTuple):
    """The rows of the race: standardised carat (x) and price (y) of 16,000 to train, 4,000 to test.

    mean, std: of carat and price before. stream: the generator's state after the drawing.
    """

    x: Array
    y: Array
    test_x: Array
    test_y: Array
    mean: Array
    std: Array
    stream: Any

    def test_rmse(self, m: float, b: float) -> float:
        """Return the root mean square error of the line on the test rows, in dollars."""
        with np.errstate(over="ignore", invalid="ignore"):
            predicted = (m * self.test_x + b) * self.std[1] + self.mean[1]
            price = self.test_y * self.std[1] + self.mean[1]
            return float(np.sqrt(np.mean((price - predicted) ** 2)))

    def train_rmse(self, loss: Any) -> float:
        """Return the root of a mean squared error on the train rows, in dollars."""
        return float(np.sqrt(loss) * self.std[1])


@cache
def sample() -> Sample:
    """Draw the post's sample, by NumPy's legacy generator seeded 42."""
    columns = diamonds()
    random = np.random.RandomState(42)
    # Column by column in memory, as pandas has it: the order of the sums depends on it.
    rows = np.array([columns["carat"], columns["price"]], np.float64).T
    random.shuffle(rows)
    rows = rows[:20_000]
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    train, test = np.split((rows - mean) / std, [16_000])
    x, y, test_x, test_y = *train.T, *test.T
    return Sample(x, y, test_x, test_y, mean, std, random.get_state(legacy=True))


def floor() -> list[dict[str, Any]]:
    """List what a straight line can reach: rows of line, m, b, train_rmse and test_rmse (dollars).

    Least squares on the train rows, to which every optimizer converges; least squares on the test rows,
    which no line can beat there; and the mean price of the sample for every diamond.
    """
    s = sample()
    lines = {
        "least squares": _least_squares(s.x, s.y),
        "best line for the test rows": _least_squares(s.test_x, s.test_y),
        "mean price": (0.0, 0.0),
    }
    return [
        {
            "line": line,
            "m": m,
            "b": b,
            "train_rmse": s.train_rmse(np.mean((s.y - (m * s.x + b)) ** 2)),
            "test_rmse": s.test_rmse(m, b),
        }
        for line, (m, b) in lines.items()
    ]


def _least_squares(x: Array, y: Array) -> tuple[float, float]:
    (m, b), *_ = np.linalg.lstsq(np.stack([x, np.ones_like(x)], axis=1), y, rcond=None)
    return float(m), float(b)
