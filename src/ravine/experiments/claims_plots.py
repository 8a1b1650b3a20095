"""The figures of the claims, as matplotlib figures that the caller saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from ravine.experiments.claims.judging import CONTRADICTS, SHARE, SUPPORTS, UNDECIDED, binomial
from ravine.experiments.claims.units import (
    CONDITION,
    CURVATURES,
    NOISES,
    SWINGS,
    WANDER,
    wells,
)
from ravine.experiments.grids import FLOOR
from ravine.experiments.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    RED,
    Picture,
    legend,
    marker_style,
    style_of,
)
from ravine.experiments.problems import PROBLEMS
from ravine.experiments.racers import called

OUTCOMES: dict[str, dict[str, Any]] = {
    SUPPORTS: {"color": BLUE, "marker": "o", "markerfacecolor": BLUE},
    UNDECIDED: {"color": GREY, "marker": "o", "markerfacecolor": "white"},
    CONTRADICTS: {"color": RED, "marker": "s", "markerfacecolor": RED},
}
"""How the outcome of a row is drawn: by colour, and by shape as well."""

FILLS = (BLUE, PALE, RED)
"""How outcomes are drawn as bars."""


def claims(
    results: Sequence[Mapping[str, Any]], verdicts: Sequence[Mapping[str, Any]]
) -> dict[str, Figure]:
    """Draw a picture for each claim, and three for all: verdicts, learning rates, curves.

    results, verdicts: of `run` and `verdicts` in :mod:`ravine.experiments.claims`.
    """
    special = {"memory": memory, "oscillations": oscillations, "escape": escape}
    return {
        "claims": overview(verdicts),
        **{
            f"claims-{v['name']}": special[v["name"].partition("-")[0]](results, v)
            if v["name"].partition("-")[0] in special
            else forest(v)
            for v in verdicts
        },
        "claims-learning-rates": learning_rates(results),
        "claims-curves": curves(results),
    }


def overview(verdicts: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the verdicts: for each claim the share of cases that support and contradict it."""
    picture = Picture(10, 0.55 * len(verdicts) + 1.3)
    axes = picture.add_subplot()
    for y, v in enumerate(verdicts):
        left = 0.0
        for outcome, colour in zip(OUTCOMES, FILLS, strict=True):
            count = sum(r["outcome"] == outcome for r in v["rows"])
            share = count / len(v["rows"])
            axes.barh(y, share, left=left, color=colour, height=0.62)
            if count:
                ink = "black" if outcome == UNDECIDED else "white"
                axes.text(left + share / 2, y, count, color=ink, ha="center", va="center", size=9)
            left += share
        axes.text(1.02, y, v["verdict"], va="center", weight="bold", size=10)
    for share in (1 - SHARE, SHARE):
        axes.axvline(share, color=BLACK, linestyle=":", lw=1.2)
    axes.set_yticks(range(len(verdicts)), [v["claim"] for v in verdicts])
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_xlim(0, 1.26)
    axes.set_ylim(len(verdicts) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.set_title("Claims about optimizers, and in how many cases they hold", loc="left")
    rule = f"A colour that fills {SHARE:.0%} of a bar (dotted lines) decides; otherwise it depends"
    axes.set_xlabel(rule, color=GREY, fontsize=9, loc="left")
    bars = [{"color": colour, "lw": 8} for colour in FILLS]
    _legend(picture, bars)
    return picture


def forest(verdict: Mapping[str, Any]) -> Figure:
    """Draw a claim's rows: estimates and intervals, a panel for each condition."""
    panels: dict[tuple[str, bool], list[Mapping[str, Any]]] = {}
    for kind in ("rows", "contrast"):
        for r in verdict[kind]:
            panels.setdefault((r["condition"], kind == "contrast"), []).append(r)
    cases = [[r["case"] for r in rows] for rows in panels.values()]
    shared = all(case == cases[0] for case in cases)
    tall = max(len(case) for case in cases)
    picture = Picture(2.2 + (2.9 if shared else 4.3) * len(panels), 0.3 * tall + 2.1)
    grid = picture.subplots(1, len(panels), sharey=shared, squeeze=False)[0]
    for axes, ((condition, contrast), rows) in zip(grid, panels.items(), strict=True):
        axes.axvline(verdict["threshold"], color=BLACK, linestyle="--", lw=1)
        for y, r in enumerate(rows):
            style = OUTCOMES[r["outcome"]]
            axes.hlines(y, r["low"], r["high"], color=style["color"], lw=2)
            axes.plot(r["estimate"], y, ms=6.5, **style)
        axes.set_yticks(range(len(rows)), [r["case"] for r in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        note = "for comparison" if contrast else verdict["conditions"][condition]
        axes.set_title(f"{condition}\n{note}", fontsize=10, color=GREY if contrast else BLACK)
        axes.grid(axis="x", alpha=0.35)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(verdict["measure"], fontsize=9)
        if verdict["threshold"] > 0:
            axes.set_xscale("log")
            left, right = axes.get_xlim()
            narrow = right < 100 * left
            _plain_ticks(axes.xaxis, LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=5))
    _title(picture, verdict)
    _legend(picture, [{"lw": 2, "ms": 6.5, **style} for style in OUTCOMES.values()])
    return picture


def memory(results: Sequence[Mapping[str, Any]], verdict: Mapping[str, Any]) -> Figure:
    """Draw the bytes that training takes for each parameter: itself, its gradient, the state."""
    picture = Picture(8, 4)
    axes = picture.add_subplot()
    kept = verdict["bytes"]
    left = np.zeros(len(kept))
    for label, values, colour in (
        ("parameter", [4] * len(kept), PALE),
        ("gradient", [4] * len(kept), "#A9A9A9"),
        ("optimizer's state", list(kept.values()), BLUE),
    ):
        axes.barh(range(len(kept)), values, left=left, color=colour, label=label, height=0.65)
        left += values
    for y, total in enumerate(left):
        axes.text(total + 0.3, y, f"{total:g}", va="center")
    axes.set_yticks(range(len(kept)), [called(o) for o in kept])
    axes.set_ylim(len(kept) - 0.5, -0.5)
    axes.set_xlim(0, left.max() + 2)
    axes.set_xticks(range(0, int(left.max()) + 1, 4))
    axes.set_xlabel("bytes for each parameter in float32")
    axes.spines[["top", "right"]].set_visible(False)
    _title(picture, verdict)
    picture.legend(loc="outside lower center", ncols=3, frameon=False)
    return picture


def oscillations(results: Sequence[Mapping[str, Any]], verdict: Mapping[str, Any]) -> Figure:
    """Draw paths down the ravine, each at its best rate, and the way across at every rate."""
    ravines = {r["momentum"]: r for r in results if r["unit"] == "ravine"}
    colours = dict(zip(ravines, (BLUE, GREEN, ORANGE, RED), strict=False))
    shown = [m for m in ravines if m != 0.5]
    picture = Picture(11, 5.4)
    grid = picture.subplot_mosaic(
        [[str(m), "travel"] for m in shown], width_ratios=(1.25, 1), sharex=False
    )
    x, y = np.meshgrid(np.linspace(-11, 6, 200), np.linspace(-1.35, 1.35, 120))
    height = (x**2 + CONDITION * y**2) / 2
    for m in shown:
        axes, r = grid[str(m)], ravines[m]
        path = np.array(r["path"])
        axes.contour(x, y, height, levels=np.geomspace(0.5, 150, 9), colors=PALE, linewidths=0.8)
        axes.plot(*path.T, color=colours[m], lw=1.1, marker="o", ms=2.6)
        axes.plot(0, 0, marker="+", color=BLACK, ms=9, mew=1.5)
        steps = r["steps"][r["best"]]
        told = f"{steps:.0f} steps" if np.isfinite(steps) else f"not in {SWINGS} steps"
        axes.set_title(f"{_momentum(m)} at its best rate: {told}", fontsize=9.5)
        axes.set_xlim(-11, 6)
        axes.set_ylim(-1.35, 1.35)
        axes.set_xticks([])
        axes.set_yticks([])
    grid[str(shown[-1])].set_xlabel("along the ravine: the first 60 steps")
    axes = grid["travel"]
    for m, r in ravines.items():
        travel = np.where(np.isfinite(r["travel"]), r["travel"], np.nan)
        axes.plot(CURVATURES, travel, color=colours[m], marker="o", ms=2.6, label=_momentum(m))
    for at, text in ((1, "SGD begins\nto swing"), (2, "SGD\ndiverges")):
        axes.axvline(at, color=GREY, linestyle=":", lw=1.2)
        axes.annotate(
            text,
            (at, 1),
            (3, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=8.5,
            color=GREY,
        )
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis, FixedLocator([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]))
    axes.set_xlabel("learning rate × curvature across the ravine")
    axes.set_ylabel("way gone across / distance to go")
    axes.grid(alpha=0.35)
    axes.legend(fontsize=9)
    _title(picture, verdict)
    return picture


def escape(results: Sequence[Mapping[str, Any]], verdict: Mapping[str, Any]) -> Figure:
    """Draw the two minima, and the share of runs that get out of each, against the noise."""
    units = [r for r in results if r["unit"] == "escape"]
    picture = Picture(11, 4.6)
    left, middle, right = picture.subplots(1, 3, width_ratios=(1, 1.25, 1.25))
    x = np.linspace(-1.65, 1.6, 400)
    left.plot(x, wells(x), color=BLACK)
    shallow, top, deep = sorted(np.roots([1.0, 0.0, -1.0, 0.1]).real, reverse=True)
    for at, text, where in (
        (shallow, "shallow", (0, -14)),
        (deep, "deep", (0, -14)),
        (top, "the top between", (0, 8)),
    ):
        left.plot(at, wells(at), "o", color=BLACK, ms=5)
        left.annotate(
            text,
            (at, wells(at)),
            where,
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    left.set_ylim(-0.2, 0.6)
    left.set_xlabel("parameter")
    left.set_ylabel("loss")
    left.set_title("the valley", fontsize=10)
    position = np.arange(len(NOISES))
    styles = zip((BLUE, ORANGE, GREEN, RED), ("o", "s", "^", "D"), strict=True)
    for k, (r, (colour, marker)) in enumerate(zip(units, styles, strict=False)):
        for axes, key in ((middle, "escaped"), (right, "lost")):
            share = np.array([binomial(n, r["runs"]) for n in r[key]])
            error = np.abs(share[:, 1:].T - share[:, 0])
            axes.errorbar(
                position + 0.06 * (k - 1.5),
                share[:, 0],
                yerr=error,
                color=colour,
                marker=marker,
                ms=5,
                lw=1.4,
                capsize=2,
                label=f"{r['learning_rate']:g}",
            )
    for axes, title in (
        (middle, "from the shallow minimum to the deep one"),
        (right, "from the deep minimum to the shallow one"),
    ):
        axes.set_xticks(position, [f"{noise:g}" for noise in NOISES])
        axes.set_xlabel("noise of the gradient (standard deviation)")
        axes.set_ylim(-0.03, 1.03)
        axes.grid(alpha=0.35)
        axes.set_title(title, fontsize=10)
    middle.axhline(0.5, color=BLACK, linestyle="--", lw=1)
    middle.set_ylabel(f"share of runs after {WANDER:,} steps")
    right.legend(title="learning rate", fontsize=9)
    _title(picture, verdict)
    return picture


def learning_rates(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the loss at the end against the learning rate, a panel for each problem.

    A line is the median over the tuning seeds; the large mark is the default learning rate.
    """

    def draw(axes: Axes, r: Mapping[str, Any], style: Mapping[str, Any]) -> None:
        loss = np.clip(np.median(r["tuning"], axis=1), FLOOR, 2.0)
        axes.plot(r["learning_rates"], loss, label=called(r["optimizer"]), lw=1.5, **_line(style))
        default = r["learning_rates"].index(r["default"]["learning_rate"])
        mark = {"ms": 7, "lw": 0, "mec": "white", **marker_style(style)}
        axes.plot(r["learning_rates"][default], loss[default], **mark)

    picture, grid = _panels(results, draw, "learning rate", "loss at the end, at the start 1")
    for axes in grid.values():
        _plain_ticks(axes.xaxis, FixedLocator([1e-4, 1e-2, 1, 100]))
    picture.suptitle("How much the learning rate matters (marks: the default)")
    return picture


def curves(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the loss against steps, a panel for each problem, at the rate that is fastest.

    A line is the median over the seeds that are reported, a band half of them; dashed, the target.
    """

    def draw(axes: Axes, r: Mapping[str, Any], style: Mapping[str, Any]) -> None:
        at, *quartiles = (r["curve"][key][1:] for key in ("steps", "low", "median", "high"))
        low, median, high = np.clip(quartiles, FLOOR, 10)
        axes.fill_between(at, low, high, color=style["color"], alpha=0.12, linewidth=0)
        axes.plot(at, median, label=called(r["optimizer"]), lw=1.6, **_line(style))

    picture, grid = _panels(results, draw, "steps", "loss, at the start 1")
    for name, axes in grid.items():
        for target in {r["target"] for r in _plain_races(results, name)}:
            axes.axhline(target, color=BLACK, linestyle="--", lw=0.9)
        _plain_ticks(axes.xaxis, LogLocator(numticks=5))
    picture.suptitle("Down to the target, each at the learning rate that gets there first")
    return picture


def _panels(
    results: Sequence[Mapping[str, Any]],
    draw: Callable[[Axes, Mapping[str, Any], Mapping[str, Any]], None],
    x: str,
    y: str,
) -> tuple[Figure, dict[str, Axes]]:
    """Draw the plain races of each problem in a panel, on logarithmic axes."""
    picture = Picture(12, 6)
    rows = picture.subplots(2, -(-len(PROBLEMS) // 2))
    grid = dict(zip(PROBLEMS, rows.ravel(), strict=False))
    for name, axes in grid.items():
        races = _plain_races(results, name)
        for r in races:
            draw(axes, r, style_of(r["optimizer"], [each["optimizer"] for each in races]))
        axes.set(xscale="log", yscale="log")
        axes.set_title(PROBLEMS[name].label, fontsize=10)
        axes.grid(alpha=0.35)
        low, high = axes.get_ylim()
        if high < 100 * low:  # below two decades, use more ticks than the powers of ten
            _plain_ticks(axes.yaxis, FixedLocator([0.05, 0.1, 0.2, 0.3, 0.5, 1, 2]))
    for axes in rows[1]:
        axes.set_xlabel(x)
    for axes in rows[:, 0]:
        axes.set_ylabel(y)
    legend(picture, rows[0, 0], columns=5)
    return picture, grid


def _line(style: Mapping[str, Any]) -> dict[str, Any]:
    return {key: style[key] for key in ("color", "linestyle")}


def _plain_races(results: Sequence[Mapping[str, Any]], problem: str) -> list[Mapping[str, Any]]:
    asked = ("race", problem, False, False)
    keys = ("unit", "problem", "decay", "clip")
    return [r for r in results if tuple(map(r.get, keys)) == asked]


def _plain_ticks(axis: Axis, locator: Any) -> None:
    """Write the ticks of a logarithmic axis as plain numbers."""
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))


def _legend(picture: Figure, styles: Sequence[Mapping[str, Any]]) -> None:
    """Say what each outcome looks like."""
    handles = [
        Line2D([], [], label=f"{outcome} the claim" if outcome != UNDECIDED else outcome, **style)
        for outcome, style in zip(OUTCOMES, styles, strict=True)
    ]
    picture.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)


def _title(picture: Figure, verdict: Mapping[str, Any]) -> None:
    picture.suptitle(f"“{verdict['claim']}”: {verdict['verdict']}", fontsize=12)


def _momentum(value: float) -> str:
    return f"momentum {value:g}" if value else "SGD"
