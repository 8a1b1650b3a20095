"""The pictures of conditioning show the numbers that they are given."""

import io

import numpy as np
import pytest

from ravine.experiments import conditioning, conditioning_plots
from ravine.experiments.plots import STYLES


def lines(axes, label):
    return [line for line in axes.get_lines() if line.get_label() == label]


@pytest.fixture(scope="module")
def diamonds():
    shown = [
        s
        for s in conditioning.specs([0, 1])
        if s["columns"] == "numeric" and s["optimizer"] in ("sgd", "adam")
    ]
    small = {"steps": 30, "learning_rates": [1e-4, 1e-2]}
    results = [conditioning.run({**s, **small}) for s in shown]
    return results, conditioning_plots.conditioning(results)


def test_gaps_have_theory_beside_exact_gradients_and_bands_around_batches(diamonds):
    results, figures = diamonds
    exact, noisy = figures["conditioning"], figures["conditioning-batches"]
    raw, standardised = exact.axes[0], exact.axes[3]
    assert raw.get_title().endswith("raw: condition number 3.5e7")
    assert standardised.get_title() == "standardised: condition number 298"
    (line,) = lines(standardised, "worst case: gradient descent")
    t, bound = line.get_xdata(), line.get_ydata()
    condition = next(r["condition"] for r in results if r["form"] == "standardised")
    np.testing.assert_allclose(bound, ((condition - 1) / (condition + 1)) ** (2 * np.array(t)))
    (ball,) = lines(standardised, "worst case: heavy ball")
    root = np.sqrt(condition)
    np.testing.assert_allclose(ball.get_ydata(), ((root - 1) / (root + 1)) ** (2 * np.array(t)))
    (sgd,) = lines(raw, "SGD")
    r = next(r for r in results if r["batch"] == "all" and r["form"] == "raw")
    np.testing.assert_allclose(sgd.get_ydata(), r["gaps"][0][1:])
    assert not lines(noisy.axes[0], "worst case: gradient descent")
    assert not exact.axes[0].collections
    assert len(noisy.axes[0].collections) == 2
    assert not exact.axes[1].get_lines()  # a problem that was not run


def test_coordinates_mark_steps_and_misses(diamonds):
    results, _ = diamonds
    changed = [
        {**r, "to": [[17.0 if r["optimizer"] == "adam" else np.inf], [np.inf]]}
        for r in results
        if r["batch"] == "all"
    ]
    (axes,) = conditioning_plots.coordinates(changed).axes
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert labels[0] == "raw\n3.5e7 → 5.3e4"
    assert len(labels) == 5
    marks = {
        STYLES[o]["marker"]: [
            line.get_xdata()[0]
            for line in axes.get_lines()
            if line.get_marker() == STYLES[o]["marker"]
        ]
        for o in ("sgd", "adam")
    }
    assert marks["D"] == [17.0] * 5
    assert marks["o"] == [2.2 * 30] * 5
    assert axes.get_xticklabels()[-1].get_text() == "not in\n30"


def test_the_same_numbers_make_the_same_svg(diamonds):
    results, figures = diamonds
    written = []
    for figure in (figures["conditioning-coordinates"], conditioning_plots.coordinates(results)):
        data = io.BytesIO()
        figure.savefig(data, format="svg")
        written.append(data.getvalue())
    assert written[0] == written[1]
    assert b"<dc:date>" not in written[0]
