"""The figure of the step benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ravine.experiments.plots import BLACK, BLUE, GREEN, ORANGE, RED, Picture

__all__ = ["against_torch"]

_LABELS = {
    "scalars": "2 scalars",
    "mlp": "MLP, 109 thousand",
    "resnet18": "ResNet-18, 12 million",
    "gpt2": "GPT-2 small, 124 million",
}
_STYLES = {"fused": (BLUE, "o"), "foreach": (ORANGE, "s"), "torch loop": (GREEN, "D")}
_STYLES |= {"compile": (RED, "^")}


def against_torch(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the speed of Ravine's optimizer relative to torch's fastest loop.

    rows: of :func:`ravine.bench.step.run`; one panel for each shape, a line for each rule. The
    marker says which of torch's loops was its fastest. Raises ValueError if no row of Ravine's has
    a ratio.
    """
    measured = [r for r in rows if r.get("us")]
    ours = [r for r in measured if r["engine"] == "Ravine" and r["against_torch"]]
    if not ours:
        raise ValueError(
            "rows: none compares Ravine with torch; time a rule that torch.optim has too"
        )
    shapes = list(dict.fromkeys(r["shapes"] for r in ours))
    rules = list(dict.fromkeys(r["rule"] for r in ours))
    best: dict[tuple[str, str], str] = {}
    for r in sorted(measured, key=lambda r: r["against_torch"] or 0.0):
        if r["engine"] in _STYLES:
            best[r["rule"], r["shapes"]] = r["engine"]  # the fastest of torch's comes last
    figure = Picture(2.2 + 2.2 * len(shapes), 1.5 + 0.28 * len(rules))
    panels = figure.subplots(1, len(shapes), sharex=True, sharey=True, squeeze=False)[0]
    ends = [1.0, *(r["against_torch"] for r in ours)]
    for axes, shape in zip(panels, shapes, strict=True):
        axes.axvline(1, color=BLACK, linewidth=1)
        for r in (r for r in ours if r["shapes"] == shape):
            y, x = rules.index(r["rule"]), r["against_torch"]
            colour, marker = _STYLES[best[r["rule"], shape]]
            axes.plot([1, x], [y, y], color=colour, linewidth=2)
            axes.plot(x, y, marker, color=colour, markersize=6)
            axes.annotate(
                f"{x:.2f}" if x < 9.95 else f"{x:.1f}",
                (x, y),
                (6 if x >= 1 else -6, 0),
                textcoords="offset points",
                ha="left" if x >= 1 else "right",
                va="center",
                fontsize=8,
            )
        axes.set_title(_LABELS.get(shape, shape), fontsize=10)
        axes.set_xscale("log", base=2)
        axes.set_xlim(min(ends) / 2.6, max(ends) * 1.9)  # room for the numbers
        axes.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(-8, 9)]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}")
        )
        axes.grid(axis="x", alpha=0.4)
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    panels[0].set_yticks(range(len(rules)), rules)
    panels[0].set_ylim(len(rules) - 0.5, -0.5)
    figure.supxlabel("times as fast as torch's fastest loop (1: as fast)", fontsize=10)
    used = [name for name in _STYLES if name in best.values()]
    handles = [
        Line2D([], [], color=_STYLES[k][0], marker=_STYLES[k][1], linewidth=2, label=k)
        for k in used
    ]
    figure.legend(
        handles=handles,
        title="torch's fastest is",
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
    )
    return figure
