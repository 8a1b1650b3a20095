"""The rows of the race are the post's, and the floor is least squares'."""

import numpy as np
import pytest

from ravine.experiments.diamonds_sample import floor, sample


def test_sample():
    s = sample()
    assert [len(a) for a in s[:4]] == [16_000, 16_000, 4_000, 4_000]
    for carat_or_price in ((s.x, s.test_x), (s.y, s.test_y)):
        values = np.concatenate(carat_or_price)
        assert abs(values.mean()) < 1e-12
        assert values.std() == pytest.approx(1)
    assert s.mean[1] == 3908.5017


def test_floor():
    rows = {row["line"]: row for row in floor()}
    least_squares = rows["least squares"]
    assert least_squares["m"] == pytest.approx(0.9219149, abs=5e-8)
    assert least_squares["b"] == pytest.approx(-6.147e-5, abs=5e-9)
    assert least_squares["train_rmse"] == pytest.approx(1536.069, abs=5e-4)
    assert least_squares["test_rmse"] == pytest.approx(1569.8085, abs=5e-5)
    assert rows["best line for the test rows"]["test_rmse"] == pytest.approx(1569.6876, abs=5e-5)
    assert rows["mean price"]["test_rmse"] == pytest.approx(3998.48, abs=5e-3)
    assert all(row["train_rmse"] >= least_squares["train_rmse"] for row in rows.values())
