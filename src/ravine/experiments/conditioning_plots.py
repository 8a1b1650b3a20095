"""The figures of conditioning, as matplotlib figures that the caller saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ravine.experiments.conditioning import number
from ravine.experiments.plots import GREY, PALE, Picture, legend, marker_style, style_of
from ravine.experiments.problems import BATCH_SIZE, COLUMNS
from ravine.experiments.racers import called


def conditioning(results: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Draw the figures of the race, by name."""
    return {
        "conditioning": gaps(results, batch="all"),
        "conditioning-batches": gaps(results, batch=BATCH_SIZE),
        "conditioning-coordinates": coordinates(results),
    }


def gaps(results: Sequence[Mapping[str, Any]], *, batch: int | str) -> Figure:
    """Draw the gap to the optimum against steps: a panel for each problem, a line an optimizer.

    results: of :func:`ravine.experiments.conditioning.run`. batch: "all", which also draws the theoretical
    worst case, or the size of the mini-batches: then a line is the median over the seeds, and
    the band reaches from the least to the greatest.
    """
    shown = [r for r in results if r["batch"] == batch]
    optimizers = [r["optimizer"] for r in shown]
    forms, columns = ("raw", "standardised"), [c for c in COLUMNS if c != "carat"]
    picture = Picture(11.5, 7)
    grid = picture.subplots(2, 3, sharex=True, sharey="row", squeeze=False)
    for form, axes_row in zip(forms, grid, strict=True):
        for column, axes in zip(columns, axes_row, strict=True):
            of = [r for r in shown if (r["columns"], r["form"]) == (column, form)]
            for r in of:
                style = style_of(r["optimizer"], optimizers)
                line = {"color": style["color"], "linestyle": style["linestyle"]}
                at, values = np.array(r["at"][1:]), np.array(r["gaps"])[:, 1:]
                if len(values) > 1:
                    band = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
                    axes.fill_between(at, values.min(0), values.max(0), **band)
                axes.plot(
                    at, np.median(values, axis=0), label=called(r["optimizer"]), lw=1.7, **line
                )
            if of:
                condition, last = of[0]["condition"], of[0]["at"][-1]
                if batch == "all":
                    _theory(axes, condition, last)
                above = f"{COLUMNS[column]}\n" if form == forms[0] else ""
                axes.set_title(f"{above}{form}: condition number {number(condition)}", size=11)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(alpha=0.35)
    exact, noisy = {"raw": 1e-5, "standardised": 1e-8}, {"raw": 5e-3, "standardised": 2e-4}
    low = exact if batch == "all" else noisy
    for form, axes_row in zip(forms, grid, strict=True):
        axes_row[0].set_ylim(low[form], 2)
        axes_row[0].set_ylabel("gap to the optimum, at the start 1")
    for axes in grid[-1]:
        axes.set_xlabel("steps")
    kind = "all rows" if batch == "all" else f"mini-batches of {batch}"
    picture.suptitle(f"Price of diamonds by least squares, gradients of {kind}")
    legend(picture, grid[0, 0], columns=4 if batch == "all" else 6)
    return picture


def _theory(axes: Axes, condition: float, last: int) -> None:
    t = np.geomspace(1, last, 300)
    root = np.sqrt(condition)
    for ratio, style, label in (
        ((condition - 1) / (condition + 1), (0, (1, 1)), "worst case: gradient descent"),
        ((root - 1) / (root + 1), (0, (4, 2)), "worst case: heavy ball"),
    ):
        axes.plot(t, ratio ** (2 * t), color=GREY, linestyle=style, lw=1.2, label=label)


def coordinates(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw why adaptive methods help: steps to a gap of 1e-2 when the coordinates change.

    results: of :func:`ravine.experiments.conditioning.run`; the six numeric columns and all rows are
    shown. A row is the same data in other coordinates, with its condition number, and what is left
    of that once each coordinate is scaled; a mark is an optimizer.
    """
    shown = [r for r in results if r["columns"] == "numeric" and r["batch"] == "all"]
    forms = [
        ("raw", "raw"),
        ("turned", "raw, turned at random"),
        ("axes", "raw, turned onto the axes"),
        ("scaled", "columns scaled"),
        ("standardised", "columns standardised"),
    ]
    forms = [(form, label) for form, label in forms if any(r["form"] == form for r in shown)]
    picture = Picture(10, 6.6)
    axes = picture.add_subplot()
    budget = max(r["steps"] for r in shown)
    never = 2.2 * budget
    optimizers = list(dict.fromkeys(r["optimizer"] for r in shown))
    labels: list[str] = []
    for y, (form, label) in enumerate(forms):
        of = [r for r in shown if r["form"] == form]
        for r in of:
            shift = (optimizers.index(r["optimizer"]) - (len(optimizers) - 1) / 2) * 0.14
            steps = r["to"][0][0]
            style = marker_style(style_of(r["optimizer"], optimizers))
            axes.plot(min(steps, never), y + shift, ms=7, lw=0, clip_on=False, **style)
        numbers = f"{number(of[0]['condition'])} → {number(of[0]['scaled_condition'])}"
        labels.append(f"{label}\n{numbers}")
        if y:
            axes.axhline(y - 0.5, color=PALE, lw=0.8)
    axes.axvspan(1.35 * budget, 3.6 * budget, color=PALE, alpha=0.5, lw=0)
    axes.set_xscale("log")
    axes.set_xlim(2, 3.6 * budget)
    axes.set_xticks([10, 100, 1000, never], ["10", "100", "1,000", f"not in\n{budget:,}"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", alpha=0.4)
    axes.set_yticks(range(len(forms)), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(forms) - 0.5, -0.5)
    axes.set_xlabel("steps to a gap of 1e-2 of that at the start")
    axes.set_title(
        "The same diamonds in other coordinates\n"
        "(condition number → condition number once each coordinate is scaled)",
        fontsize=11,
    )
    handles = [
        Line2D([], [], lw=0, ms=7, label=called(o), **marker_style(style_of(o, optimizers)))
        for o in optimizers
    ]
    picture.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return picture
