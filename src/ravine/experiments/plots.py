"""The figures of both experiments, as matplotlib figures that the caller saves, and what all figures share.

Colours are Okabe and Ito's, which colour-blind readers can distinguish. The same numbers give the same
files, byte for byte.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

BLUE, ORANGE, GREEN, RED, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#000000"
PURPLE, GREY, PALE = "#CC79A7", "#6E6E6E", "#D9D9D9"

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, BLACK)

STYLES: dict[str, dict[str, Any]] = {
    "sgd": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "momentum": {"color": ORANGE, "marker": "s", "linestyle": "-"},
    "nesterov": {"color": PURPLE, "marker": "v", "linestyle": "--"},
    "rmsprop": {"color": GREEN, "marker": "^", "linestyle": "-."},
    "adam": {"color": RED, "marker": "D", "linestyle": "-"},
    "amsgrad": {"color": BLACK, "marker": "P", "linestyle": ":"},
}
"""The style of each optimizer, in all figures."""


def style_of(optimizer: str, among: Sequence[str]) -> dict[str, Any]:
    """The style of one of these optimizers; unknown ones get the remaining colours."""
    if optimizer in STYLES:
        return STYLES[optimizer]
    others = [name for name in dict.fromkeys(among) if name not in STYLES]
    taken = [STYLES[name]["color"] for name in among if name in STYLES]
    free = [c for c in COLOURS if c not in taken] or list(COLOURS)
    place = others.index(optimizer)
    marker, line = "ovs^DP*X"[place % 8], ("-", "--", "-.", ":")[place % 4]
    return {"color": free[place % len(free)], "marker": marker, "linestyle": line}


class Picture(Figure):
    """A figure that is drawn by Agg, and whose SVG contains no date and no random names."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(self)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save as matplotlib's Figure does."""
        if "svg" in (options.get("format"), Path(str(fname)).suffix[1:]):
            options["metadata"] = {"Date": None, **options.get("metadata", {})}
        with mpl.rc_context({"svg.hashsalt": "ravine"}):
            super().savefig(fname, **options)


def figure_1(
    results: Sequence[Mapping[str, Any]], rates: Mapping[str, float | None] | None = None
) -> Figure:
    """Draw the first post's figure 1: eight curves of the running mean of the training loss.

    results: of :func:`ravine.experiments.figure1.run`. A curve is the mean over the seeds, and its band
    reaches from the least seed to the greatest. torch.optim's curves are broad and pale; Ravine's,
    thin with dots, are drawn on top; so are those of your own optimizers, which have no
    counterpart. rates: the learning rates, which the figure states, by optimizer; looked up by default.
    """
    from ravine.experiments import figure1
    from ravine.experiments.as_published_torch import FAULTS
    from ravine.experiments.figure1 import PAIRS, running_means

    figure = Picture(9, 6)
    axes = _loss_axes(figure.add_subplot())
    names = [name for name in dict.fromkeys(r["optimizer"] for r in results) if name not in FAULTS]
    mates = {PAIRS[name]: name for name in names if name in PAIRS}
    colours = dict(
        zip([n for n in names if n not in mates], itertools.cycle(COLOURS), strict=False)
    )
    for name in names:
        means = running_means(results, name)
        x, mean = np.arange(1, means.shape[1] + 1), means.mean(0)
        colour = colours[mates.get(name, name)]
        if name in mates.values():
            axes.fill_between(x, means.min(0), means.max(0), color=colour, alpha=0.2, linewidth=0)
            axes.plot(x, mean, color=colour, alpha=0.4, linewidth=6, label=name)
        else:
            if name not in mates:
                axes.fill_between(
                    x, means.min(0), means.max(0), color=colour, alpha=0.2, linewidth=0
                )
            dots: dict[str, Any] = {
                "color": _dark(colour),
                "linewidth": 0.8,
                "marker": "o",
                "markersize": 2.2,
            }
            axes.plot(x, mean, label=name, **dots)
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(
        "torch.optim and Ravine on the same batches" if mates else "The same batches for all"
    )
    axes.legend()
    asked = figure1.rates(results) if rates is None else rates
    first, *others = {asked[name] for name in names}
    shared = first is not None and not others
    said = f"lr = {first:g} for all, not tuned" if shared else "untuned learning rates"
    purpose = "this compares implementations and does not rank the optimizers"
    figure.supxlabel(f"{said}: {purpose}", fontsize=10, color=GREY)
    return figure


def figure_1_faults(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw what each fault of the first post does: above, to the loss; below, to the step.

    results: of :func:`ravine.experiments.figure1.run`, with the optimizers as published. Beside each
    faulty optimizer the right one is drawn, broad and pale. Loss curves are means over the seeds.
    Below, a step's length in units of the right step's, where the gradient never changes; the band
    reaches over the parameter tensors, which differ where a fault counts them.
    """
    from ravine.experiments.as_published_torch import FAULTS
    from ravine.experiments.figure1 import running_means

    figure = Picture(11, 8)
    grid = figure.subplots(2, 2, sharex=True)
    grid[1, 1].sharey(grid[1, 0])
    ratios = {r["optimizer"]: np.array(r["step_ratios"]) for r in results if "step_ratios" in r}
    sides = dict.fromkeys(FAULTS[name].right for name in ratios)
    for right, (above, below) in zip(sides, grid.T, strict=True):
        faulty = [name for name in ratios if FAULTS[name].right == right]
        means = running_means(results, right).mean(0)
        x = np.arange(1, len(means) + 1)
        pale = {"color": BLUE, "alpha": 0.35, "linewidth": 6}
        above.plot(x, means, label=f"{right} (torch.optim)", **pale)
        below.plot(x, np.ones(len(x)), **pale)
        styles = ((RED, "-"), (BLACK, "--"), (GREEN, "-."))
        for name, (colour, style) in zip(faulty, styles, strict=False):
            line = {"color": colour, "linestyle": style, "linewidth": 1.6}
            above.plot(x, running_means(results, name).mean(0), label=name, **line)
            low, high = ratios[name].T
            below.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
            below.plot(x, np.sqrt(low * high), **line)
        _loss_axes(above).legend()
        above.set_title(right)
        below.grid(alpha=0.4)
        below.set_yscale("log")
        below.yaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10]))
        below.yaxis.set_minor_locator(NullLocator())
        below.yaxis.set_major_formatter(FuncFormatter(_plain))
        below.set_xlabel("iteration")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        below.set_ylabel("length of the step, right step = 1")
    figure.suptitle("What the faults of the first post do")
    return figure


def diamonds_bars(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw the second post's chart: runtime and error of each method, on two axes.

    rows: ``method``, ``seconds`` and ``rmse`` (in dollars) for each; an error that is not finite
    gets no bar, only its label. title: what is shown. The left axis is linear. The right one is
    logarithmic and begins at one dollar, or a decade below the least error if that is less.
    """
    figure = Picture(9, 7)
    left = figure.add_subplot()
    right = left.twinx()
    x = np.arange(len(rows))
    seconds, errors = (np.array([row[key] for row in rows], float) for key in ("seconds", "rmse"))
    finite = errors[np.isfinite(errors)]
    base, top = min([1.0, *finite / 10]), max([10.0, *finite])
    right.set_yscale("log")
    right.set_ylim(base, base * (top / base) ** _HEADROOM)
    left.set_ylim(0, _HEADROOM * max(seconds.max(), 0.01))
    for axes, shift, values, bottom, colour, form, label in (
        (left, -0.235, seconds, 0.0, BLUE, "%.2f", "Runtime (seconds)"),
        (right, 0.235, errors, base, ORANGE, "$%.0f", "RMSE (dollars)"),
    ):
        tops = np.where(np.isfinite(values), values, bottom)
        axes.bar(x + shift, tops - bottom, 0.42, bottom, color=colour, label=label)
        for at, y, value in zip(x + shift, tops, values, strict=True):
            place: dict[str, Any] = {"xy": (at, y), "xytext": (0, 3), "textcoords": "offset points"}
            axes.annotate(form % value, ha="center", fontsize=8, **place)
        axes.set_ylabel(label)
    right.yaxis.set_major_formatter(FuncFormatter(_plain))
    right.yaxis.set_minor_locator(NullLocator())
    left.set_xticks(x, [row["method"] for row in rows])
    left.set_xlim(-0.55, len(rows) - 0.45)
    left.set_title(title)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


_HEADROOM = 1.12  # of an axis over its highest bar, for the value that stands on it


def diamonds_seeds(
    results: Sequence[Mapping[str, Any]], *, best_line: float, least_squares: float
) -> Figure:
    """Draw how the error and the epochs of each method scatter over the seeds.

    results: ``method``, ``rmse`` (in dollars) and ``epochs`` for each run. best_line: the least
    error on the test rows that any line has; the errors are drawn as their distance from it, which
    is never negative. least_squares: the error of the line fitted to the train rows, drawn as a
    line. A dot is a run, a bar the median.
    """
    figure = Picture(9, 5)
    left, right = figure.subplots(1, 2, sharey=True)
    methods = list(dict.fromkeys(r["method"] for r in results))
    colours = (BLUE, ORANGE, GREEN, RED)
    for y, method in enumerate(methods):
        runs = [r for r in results if r["method"] == method]
        gaps = [r["rmse"] - best_line for r in runs]
        spread = y + 0.5 * (np.arange(len(runs)) + 0.5) / len(runs) - 0.25
        for axes, values in ((left, gaps), (right, [r["epochs"] for r in runs])):
            colour = colours[y % len(colours)]
            axes.scatter(values, spread, s=30, color=colour, alpha=0.7, linewidth=0)
            axes.vlines(np.median(values), y - 0.38, y + 0.38, color=_dark(colour), linewidth=2.5)
    left.axvline(least_squares - best_line, color=BLACK, linestyle="--", linewidth=1)
    left.annotate(
        "least squares",
        (least_squares - best_line, 1),
        (4, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
    )
    for axes, label in (
        (left, "RMSE above the best line (dollars)"),
        (right, "epochs to the stop"),
    ):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.4)
    left.set_yticks(range(len(methods)), methods)
    left.invert_yaxis()
    seeds = max(len([r for r in results if r["method"] == method]) for method in methods)
    figure.suptitle(f"Diamonds over {seeds} seeds")
    return figure


def _loss_axes(axes: Axes) -> Axes:
    axes.grid(alpha=0.4)
    axes.set_ylabel("running mean of the training loss")
    return axes


def _dark(colour: str) -> tuple[float, ...]:
    return tuple(0.55 * c for c in mpl.colors.to_rgb(colour))


def _plain(value: float, _position: int | None = None) -> str:
    """Write a tick of a logarithmic axis without an exponent."""
    return f"{value:,.0f}" if value >= 1 else f"{value:.10f}".rstrip("0")


def legend(picture: Figure, axes: Axes, columns: int) -> None:
    """Put the labels of one panel below all of them."""
    handles, labels = axes.get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def marker_style(style: Mapping[str, Any]) -> dict[str, Any]:
    """Return the style without its line."""
    return {k: v for k, v in style.items() if k != "linestyle"}
