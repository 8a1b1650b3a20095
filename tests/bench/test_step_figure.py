"""The picture of the step benchmark."""

import pytest

from ravine.bench.plots import against_torch
from ravine.bench.step import run


def row(rule, shapes, engine, ratio):
    return {"rule": rule, "shapes": shapes, "engine": engine, "us": 1.0, "against_torch": ratio}


ROWS = [
    row("adam", "scalars", "Ravine", 2.0),
    row("adam", "scalars", "fused", 1.0),
    row("adam", "scalars", "foreach", 0.5),
    row("rmsprop", "scalars", "Ravine", 0.75),
    row("rmsprop", "scalars", "torch loop", 1.0),
    row("adam", "mlp", "Ravine", 12.0),
    row("adam", "mlp", "foreach", 1.0),
    {"rule": "rmsprop", "shapes": "mlp", "engine": "Ravine", "skipped": "no memory"},
    row("mine", "mlp", "Ravine", None),
]


def test_it_shows_the_ratios():
    figure = against_torch(ROWS)
    scalars, mlp = figure.axes
    assert [t.get_text() for t in scalars.texts] == ["2.00", "0.75"]
    assert [t.get_text() for t in mlp.texts] == ["12.0"]
    assert [t.get_text() for t in scalars.get_yticklabels()] == ["adam", "rmsprop"]
    low, high = mlp.get_xlim()
    assert low < 0.75
    assert high > 12
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["fused", "foreach", "torch loop"]


def test_it_draws_what_the_benchmark_says():
    assert len(against_torch(list(run(["scalars"], ["sgd"], 0.0))).axes) == 1


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="rows: none compares Ravine with torch"):
        against_torch(ROWS[-2:])
