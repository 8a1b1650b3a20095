"""The pictures of claims show the numbers that they are given."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ravine.experiments import claims, claims_plots
from ravine.experiments.claims.units import OPTIMIZERS
from ravine.experiments.claims_plots import OUTCOMES
from ravine.experiments.plots import STYLES
from ravine.experiments.problems import PROBLEMS
from ravine.experiments.racers import NAMES

TITLE = "“A claim”: it depends"


def row(condition, case, estimate, outcome):
    return {
        "condition": condition,
        "case": case,
        "estimate": estimate,
        "low": estimate / 2,
        "high": estimate * 2,
        "outcome": outcome,
    }


def verdict(**changes):
    return {
        "name": "speed",
        "claim": "A claim",
        "verdict": "it depends",
        "conditions": {"tuned": "holds", "default": "does not hold"},
        "measure": "this / that",
        "threshold": 0.5,
        "rows": [
            row("tuned", "one", 0.1, "supports"),
            row("tuned", "two", 0.4, "undecided"),
            row("default", "one", 9.0, "contradicts"),
            row("default", "two", 7.0, "contradicts"),
        ],
        "contrast": [row("momentum", "one", 3.0, "contradicts")] * 2,
        **changes,
    }


def picture_bytes(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=40)
    return data.getvalue()


def lines(axes, label):
    return [line for line in axes.get_lines() if line.get_label() == label]


def test_a_forest_has_a_panel_for_each_condition_and_a_mark_for_each_row():
    figure = claims_plots.forest(verdict())
    assert figure.get_suptitle() == TITLE
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["tuned\nholds", "default\ndoes not hold", "momentum\nfor comparison"]
    first = figure.axes[0]
    assert [t.get_text() for t in first.get_yticklabels()] == ["one", "two"]
    assert first.get_xscale() == "log"
    assert first.get_xlabel() == "this / that"
    threshold, *marks = first.get_lines()
    assert list(threshold.get_xdata()) == [0.5, 0.5]
    assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks] == [(0.1, 0), (0.4, 1)]
    for mark, outcome in zip(marks, ("supports", "undecided"), strict=True):
        assert mark.get_marker() == OUTCOMES[outcome]["marker"]
        assert mark.get_color() == OUTCOMES[outcome]["color"]
    intervals = [c.get_segments()[0][:, 0].tolist() for c in first.collections]
    np.testing.assert_allclose(intervals, [[0.05, 0.2], [0.2, 0.8]])
    assert picture_bytes(figure).startswith(b"\x89PNG")


def test_a_forest_of_differences_is_linear_and_takes_other_cases_in_each_panel():
    rows = [row("tuned", "one", -1.0, "contradicts"), row("default", "other", 2.0, "supports")]
    figure = claims_plots.forest(verdict(rows=rows, contrast=[], threshold=0.0))
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "linear"]
    labels = [[t.get_text() for t in axes.get_yticklabels()] for axes in figure.axes]
    assert labels == [["one"], ["other"]]


def test_outcomes_differ_in_more_than_colour():
    shown = {(style["marker"], style["markerfacecolor"] == "white") for style in OUTCOMES.values()}
    assert len(shown) == len(OUTCOMES)
    assert len({(s["marker"]) for s in STYLES.values()}) == len(STYLES)
    assert len({to_hex(s["color"]) for s in STYLES.values()}) == len(STYLES)


def test_the_overview_counts_the_outcomes():
    figure = claims_plots.overview([verdict(), verdict(claim="Another", verdict="holds")])
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["A claim", "Another"]
    widths = [bar.get_width() for bar in axes.patches[:3]]
    assert widths == [0.25, 0.25, 0.5]  # supports, undecided, contradicts
    texts = [t.get_text() for t in axes.texts]
    assert texts[:4] == ["1", "1", "2", "it depends"]
    assert texts[-1] == "holds"


# ---- pictures of real results ------------------------------------------------------------------


@pytest.fixture(scope="module")
def race():
    few = [
        s
        for s in claims.specs(range(3), quick=True)
        if s["unit"] != "race" or s["problem"] not in {*PROBLEMS} - {"line", "ravine"}
    ]
    small = {"runs": 30, "learning_rates": [1e-3, 1e-2, 0.1]}
    results = [claims.run({**s, **{k: v for k, v in small.items() if k in s}}) for s in few]
    return results, claims_plots.claims(results, claims.verdicts(results))


def test_every_claim_has_a_picture(race):
    results, figures = race
    names = {f"claims-{v['name']}" for v in claims.verdicts(results)}
    assert set(figures) == names | {"claims", "claims-learning-rates", "claims-curves"}
    for figure in figures.values():
        assert picture_bytes(figure).startswith(b"\x89PNG")
        assert figure.get_suptitle() or figure.axes[0].get_title(loc="left")


def test_learning_rates_show_the_tuning_runs(race):
    results, figures = race
    axes = figures["claims-learning-rates"].axes[0]
    assert axes.get_title() == "diamonds line"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    r = next(
        r
        for r in results
        if r["unit"] == "race"
        and (r["problem"], r["optimizer"], r["decay"], r["clip"]) == ("line", "adam", False, False)
    )
    (line,) = lines(axes, "Adam")
    np.testing.assert_allclose(line.get_xdata(), r["learning_rates"])
    np.testing.assert_allclose(line.get_ydata(), np.clip(np.median(r["tuning"], 1), 1e-6, 2))
    assert not figures["claims-learning-rates"].axes[1].get_lines()  # a problem that was not run


def test_curves_show_the_fastest_runs_and_the_target(race):
    results, figures = race
    axes = figures["claims-curves"].axes[0]
    assert [line.get_label() for line in axes.get_lines()[:5]] == [NAMES[o] for o in OPTIMIZERS]
    assert list(axes.get_lines()[-1].get_ydata()) == [1e-3, 1e-3]
    r = next(r for r in results if r["unit"] == "race" and r["problem"] == "line")
    (line,) = lines(axes, "SGD")
    np.testing.assert_allclose(line.get_ydata(), np.clip(r["curve"]["median"][1:], 1e-6, 10))


def test_the_oscillations_are_those_that_were_measured(race):
    results, figures = race
    axes = figures["claims-oscillations"].axes
    travel = next(a for a in axes if "curvature" in a.get_xlabel())
    paths = [a for a in axes if "best rate" in a.get_title()]
    ravines = {r["momentum"]: r for r in results if r["unit"] == "ravine"}
    assert len(paths) == 3
    (line,) = lines(travel, "momentum 0.9")
    drawn = np.array(line.get_ydata())
    np.testing.assert_allclose(drawn[:30], ravines[0.9]["travel"][:30])
    assert [len(lines(travel, name)) for name in ("SGD", "momentum 0.99")] == [1, 1]
    assert f"{ravines[0.0]['steps'][ravines[0.0]['best']]:.0f} steps" in paths[0].get_title()


def test_the_escapes_are_those_that_were_counted(race):
    results, figures = race
    _, shallow, deep = figures["claims-escape"].axes
    units = [r for r in results if r["unit"] == "escape"]
    for axes, key in ((shallow, "escaped"), (deep, "lost")):
        for container, r in zip(axes.containers, units, strict=True):
            drawn = container.lines[0].get_ydata()
            np.testing.assert_allclose(drawn, np.array(r[key]) / r["runs"])


def test_memory_is_stacked(race):
    _, figures = race
    axes = figures["claims-memory"].axes[0]
    totals = [t.get_text() for t in axes.texts]
    assert totals == ["8", "12", "12", "12", "16", "20"]
    assert [bar.get_width() for bar in axes.patches[-6:]] == [0, 4, 4, 4, 8, 12]
