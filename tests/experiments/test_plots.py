import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ravine.experiments import plots

OPTIMIZERS = [
    "SGD",
    "SGD_with_momentum",
    "RMSprop",
    "Adam",
    "SGDOptimizer",
    "SGDOptimizer_with_momentum",
    "RMSPropOptimizer",
    "AdamOptimizer",
]
FAULTY = {
    "Momentum as published": [1.9, 1.9],
    "Momentum, key mended": [1.9, 1.9],
    "Adam, corrected twice": [10, 10],
    "Adam, counting tensors": [0.5, 1],
    "Adam as published": [1.1, 10],
}
PUBLISHED = [
    {"method": "SGD", "seconds": 49.9305, "rmse": 1424002054.8657749},
    {"method": "SGD with momentum", "seconds": 50.7744, "rmse": 14239929470.045788},
    {"method": "RMSprop", "seconds": 41.9895, "rmse": 137715232.46017328},
    {"method": "Adam", "seconds": 1.8462, "rmse": 1570.1177340514528},
]
CORRECTED = [
    {"method": "SGD", "seconds": 0.31, "rmse": 1570.969},
    {"method": "SGD with momentum", "seconds": 0.04, "rmse": 1569.726},
    {"method": "RMSprop", "seconds": 0.03, "rmse": 1570.349},
    {"method": "Adam", "seconds": 0.0, "rmse": 1569.702},
]
SEEDS = [
    {"method": method, "rmse": 1569.7 + 0.1 * at * seed**2, "epochs": 10 * at * (seed + 1) ** 2}
    for at, method in enumerate(["SGD", "Adam"], 1)
    for seed in range(5)
]


def losses(names, n=20):
    """Falling losses, a little apart, of two seeds."""
    return [
        {
            "optimizer": name,
            "seed": seed,
            "losses": [2.3 - 0.01 * (i + 1) * k + seed for k in range(n)],
            **({"step_ratios": [FAULTY[name]] * n} if name in FAULTY else {}),
        }
        for seed in (0, 1)
        for i, name in enumerate(names)
    ]


FIGURES = {
    "figure_1": lambda: plots.figure_1(losses(OPTIMIZERS)),
    "figure_1_faults": lambda: plots.figure_1_faults(losses([*OPTIMIZERS, *FAULTY])),
    "diamonds_bars": lambda: plots.diamonds_bars(PUBLISHED, "As published"),
    "diamonds_seeds": lambda: plots.diamonds_seeds(SEEDS, best_line=1569.6, least_squares=1569.75),
}
OF_TORCH = [pytest.param(name, marks=pytest.mark.torch) for name in FIGURES if "figure" in name]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.torch
def test_figure_1_has_the_eight_curves_in_order_over_the_iterations():
    (axes,) = plots.figure_1(losses(OPTIMIZERS)).axes
    assert legend(axes) == OPTIMIZERS
    for i, line in enumerate(axes.lines):
        x, y = line.get_data()
        assert list(x) == list(range(1, 21))
        np.testing.assert_allclose(y, 2.8 - 0.005 * (i + 1) * np.arange(20), rtol=1e-12)
    assert axes.get_xlabel() == "iteration"
    assert axes.get_ylabel() == "running mean of the training loss"
    assert any(line.get_visible() for line in axes.get_xgridlines())


@pytest.mark.torch
def test_figure_1_says_that_it_ranks_nothing():
    def said(**rates):
        return plots.figure_1(losses(["SGD", "Adam"]), rates or None).get_supxlabel()

    purpose = "this compares implementations and does not rank the optimizers"
    assert said() == f"lr = 0.001 for all, not tuned: {purpose}"
    assert said(SGD=0.1, Adam=0.01) == f"untuned learning rates: {purpose}"
    assert said(SGD=None, Adam=None) == f"untuned learning rates: {purpose}"


def test_figure_1_shows_both_curves_of_a_pair():
    """Ravine's lies upon torch's, thinner, darker and dotted."""
    (axes,) = plots.figure_1(losses(OPTIMIZERS)).axes
    for below, upon in zip(axes.lines[:4], axes.lines[4:], strict=True):
        assert below.get_linewidth() > 2 * upon.get_markersize()
        assert upon.get_linewidth() < upon.get_markersize()
        assert upon.get_marker() == "o"
        assert sum(to_rgb(upon.get_color())) < 0.6 * sum(to_rgb(below.get_color()))


@pytest.mark.torch
def test_figure_1_has_a_band_from_the_least_seed_to_the_greatest():
    (axes,) = plots.figure_1(losses(OPTIMIZERS)).axes
    assert len(axes.collections) == 4
    ends = axes.collections[0].get_paths()[0].get_extents()
    assert ends.y0 == pytest.approx(2.3 - 0.005 * 19)
    assert ends.y1 == pytest.approx(3.3)


@pytest.mark.torch
def test_faults_are_drawn_beside_the_right_optimizer():
    momentum, adam, momentum_step, adam_step = plots.figure_1_faults(
        losses([*OPTIMIZERS, *FAULTY])
    ).axes
    assert legend(momentum) == ["SGD_with_momentum (torch.optim)", *list(FAULTY)[:2]]
    assert legend(adam) == ["Adam (torch.optim)", *list(FAULTY)[2:]]
    assert [line.get_ydata()[-1] for line in adam.lines] == pytest.approx(
        [2.8 - 0.005 * (i + 1) * 19 for i in (3, 10, 11, 12)]
    )
    assert [line.get_ydata()[0] for line in momentum_step.lines] == pytest.approx([1, 1.9, 1.9])
    band = adam_step.collections[1].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (0.5, 1)
    assert adam_step.get_ylim() == momentum_step.get_ylim()
    assert adam_step.get_ylim()[1] > 10


def test_bars_are_the_second_posts_chart():
    figure = plots.diamonds_bars(PUBLISHED, "As published")
    left, right = figure.axes
    assert figure.get_size_inches().tolist() == [9, 7]
    assert left.get_title() == "As published"
    assert [text.get_text() for text in left.get_xticklabels()] == [r["method"] for r in PUBLISHED]
    assert left.get_yscale() == "linear"
    assert right.get_yscale() == "log"
    assert left.get_ylabel() == "Runtime (seconds)"
    assert right.get_ylabel() == "RMSE (dollars)"
    assert [text.get_text() for text in left.texts] == ["49.93", "50.77", "41.99", "1.85"]
    assert [text.get_text() for text in right.texts] == [
        "$1424002055",
        "$14239929470",
        "$137715232",
        "$1570",
    ]
    for axes, key in ((left, "seconds"), (right, "rmse")):
        tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
        assert tops == pytest.approx([row[key] for row in PUBLISHED])
    (drawn,) = figure.legends
    assert [text.get_text() for text in drawn.get_texts()] == [
        "Runtime (seconds)",
        "RMSE (dollars)",
    ]
    figure.draw_without_rendering()
    ticks = [text.get_text() for text in right.get_yticklabels()]
    assert "10,000,000,000" in ticks
    assert not any("e" in tick or "^" in tick for tick in ticks)


@pytest.mark.parametrize("rows", [PUBLISHED, CORRECTED], ids=["published", "corrected"])
def test_values_collide_with_nothing(rows):
    figure = plots.diamonds_bars(rows, "Runtime and error")
    figure.draw_without_rendering()
    left, right = figure.axes
    values = [text.get_window_extent() for axes in (left, right) for text in axes.texts]
    bars = [bar.get_window_extent() for axes in (left, right) for bar in axes.patches]
    assert len(values) == len(bars) == 8
    frame = left.get_window_extent()
    for value in values:
        assert frame.x0 < value.x0
        assert value.x1 < frame.x1
        assert frame.y0 < value.y0
        assert value.y1 < frame.y1
    everything = [*values, *(bar for bar in bars if bar.height > 0)]
    for value, other in itertools.product(values, everything):
        assert value is other or not value.overlaps(other)
    (drawn,) = figure.legends
    assert drawn.get_window_extent().y1 < min(
        text.get_window_extent().y0 for text in left.get_xticklabels()
    )


def test_an_error_that_is_not_finite_is_named_and_has_no_bar():
    rows = [*CORRECTED[:1], {"method": "GD", "seconds": 1.0, "rmse": float("inf")}]
    left, right = plots.diamonds_bars(rows, "Diverged").axes
    assert [text.get_text() for text in right.texts] == ["$1571", "$inf"]
    assert right.patches[1].get_height() == 0
    assert [bar.get_height() for bar in left.patches] == [0.31, 1.0]


def test_seeds_show_each_run_its_median_and_the_floor():
    left, right = plots.diamonds_seeds(SEEDS, best_line=1569.6, least_squares=1569.75).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["SGD", "Adam"]
    dots = [c.get_offsets()[:, 0] for c in left.collections[::2]]
    np.testing.assert_allclose(dots[0], [0.1, 0.2, 0.5, 1.0, 1.7])
    np.testing.assert_allclose(dots[1], [0.1, 0.3, 0.9, 1.9, 3.3])
    medians = [c.get_segments()[0][0, 0] for c in left.collections[1::2]]
    assert medians == pytest.approx([0.5, 0.9])
    assert [c.get_segments()[0][0, 0] for c in right.collections[1::2]] == [90, 180]
    assert left.lines[0].get_xdata() == pytest.approx([0.15, 0.15])


@pytest.mark.parametrize("name", [*OF_TORCH, "diamonds_bars", "diamonds_seeds"])
def test_files_are_the_same_each_time(name):
    def files():
        figure = FIGURES[name]()
        for kind in ("svg", "png"):
            file = io.BytesIO()
            figure.savefig(file, format=kind, dpi=50)
            yield file.getvalue()

    svg, png = files()
    assert (svg, png) == tuple(files())
    assert b"<dc:date>" not in svg
    assert png.startswith(b"\x89PNG")


def test_the_suffix_of_a_path_makes_an_svg_without_date(tmp_path):
    path = tmp_path / "bars.svg"
    plots.diamonds_bars(CORRECTED, "Corrected").savefig(path)
    assert b"<dc:date>" not in path.read_bytes()


def test_drawing_needs_neither_pyplot_nor_torch_for_the_diamonds():
    code = (
        "import sys; from ravine.experiments import plots; "
        "plots.diamonds_bars([{'method': 'Adam', 'seconds': 1, 'rmse': 2}], 'x'); "
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
