"""Curves: two arrays that read like tuples of points."""

import math

import numpy as np
import pytest

from ravine.races.curves import Curve

POINTS = ((0, 2.5), (10, math.nan), (20, math.inf))


def test_a_curve_reads_like_its_points():
    curve = Curve(POINTS)
    assert len(curve) == 3
    assert curve[0] == (0, 2.5)
    assert curve[-1] == (20, math.inf)
    assert [step for step, _ in curve] == [0, 10, 20]
    assert dict(curve)[20] == math.inf
    assert curve[1:] == POINTS[1:]
    assert type(curve[0][0]) is int


def test_curves_are_equal_by_their_points_nan_among_them():
    assert Curve(POINTS) == Curve(list(POINTS)) == POINTS
    assert Curve(POINTS) != POINTS[:2]
    assert Curve(POINTS) != ((0, 2.5), (11, math.nan), (20, math.inf))
    assert Curve() == ()
    assert Curve() != "text"


def test_steps_and_values_belong_together():
    assert Curve.of(np.arange(2), [1, 2]) == ((0, 1.0), (1, 2.0))
    with pytest.raises(ValueError, match=r"a curve has \(2,\) steps and \(3,\) values"):
        Curve.of([1, 2], [1, 2, 3])
