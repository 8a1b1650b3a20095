"""Drawings made of a few kinds of marks, printed as SVG, or as PNG through Matplotlib.

A mark belongs to a series, the number of an optimizer, which gives its colour and its dashes. In a
page the colours are variables, so that they follow its light or dark theme.
"""

from __future__ import annotations

import html
import io
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DARK", "DASHES", "LIGHT", "WIDTH", "Drawing", "Plot", "Scale", "apart", "room", "short"]

LIGHT = (
    *("#0063a6", "#b84700", "#00765a", "#a63d7a", "#856000"),
    *("#5b4bb7", "#b3202c", "#3c7713", "#007287", "#6b6b6b"),
)
DARK = (
    *("#5aa9e6", "#ff9757", "#3ecfa5", "#ec95c8", "#e0b84c"),
    *("#a99cf5", "#ff8088", "#93cf5a", "#4fc9de", "#b4b4b4"),
)
DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "1 3", "12 4", "5 2 1 2 1 2")
"""The dashes that distinguish series in addition to colour: neighbours differ in both."""

WIDTH = 420.0
"""The width of a figure in pixels: what a phone can show without making letters too small."""

INK, MUTE, GRID = -1, -2, -3
_INKS = {INK: "#16181d", MUTE: "#5b6270", GRID: "#d9dde3"}
_VARIABLES = {INK: "--fg", MUTE: "--mute", GRID: "--line"}


def colour(series: int) -> str:
    """The colour of a series on white."""
    return _INKS[series] if series < 0 else LIGHT[series % len(LIGHT)]


def _variable(series: int) -> str:
    return f"var({_VARIABLES.get(series) or f'--c{series % len(LIGHT)}'})"


@dataclass(frozen=True)
class _Mark:
    kind: str  # line, area, dot, text
    points: tuple[tuple[float, float], ...]
    series: int
    size: float
    dash: str = ""
    text: str = ""
    anchor: str = "start"
    hollow: bool = False
    about: str = ""


@dataclass
class Drawing:
    """Marks on a sheet, in pixels from the top left. about: a description for those who cannot see it."""

    width: float
    height: float
    about: str
    marks: list[_Mark] = field(default_factory=list)

    def line(
        self,
        points: Iterable[tuple[float, float]],
        series: int,
        size: float = 2.0,
        dash: str | None = None,
        about: str = "",
    ) -> None:
        """A line through points; with the series' dashes unless others are given."""
        dash = DASHES[series % len(DASHES)] if dash is None and series >= 0 else dash or ""
        self.marks.append(_Mark("line", tuple(points), series, size, dash, about=about))

    def area(self, points: Iterable[tuple[float, float]], series: int) -> None:
        """A pale area."""
        self.marks.append(_Mark("area", tuple(points), series, 0))

    def dot(
        self,
        x: float,
        y: float,
        series: int,
        size: float = 4.5,
        hollow: bool = False,
        about: str = "",
    ) -> None:
        """A dot, or a ring."""
        self.marks.append(_Mark("dot", ((x, y),), series, size, hollow=hollow, about=about))

    def text(
        self, x: float, y: float, text: str, series: int = MUTE, anchor: str = "start"
    ) -> None:
        """A text; anchor: "start", "middle" or "end". It is bold in the colour of a series or INK."""
        self.marks.append(_Mark("text", ((x, y),), series, 12, text=text, anchor=anchor))

    # ---- printed -------------------------------------------------------------------------------

    def svg(self, alone: bool = False) -> str:
        """SVG for a page; or, if alone, for a file: on white, with fixed colours."""
        ink = colour if alone else _variable
        head = f'viewBox="0 0 {self.width:g} {self.height:g}" role="img"'
        about = html.escape(self.about, quote=True)
        body = "".join(_svg(mark, ink) for mark in self.marks)
        if not alone:
            return f'<svg {head} aria-label="{about}">{body}</svg>'
        size = f'width="{self.width:g}" height="{self.height:g}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {head} aria-label="{about}" '
            f'font-family="system-ui, sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="#fff"/>{body}</svg>\n'
        )

    def png(self, scale: float = 2.0) -> bytes:
        """The same as a PNG, each pixel `scale` times. Raises ImportError without Matplotlib."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure((self.width / 72, self.height / 72), dpi=72 * scale, facecolor="white")
        FigureCanvasAgg(figure)
        axes: Any = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.set_axis_off()
        for mark in self.marks:
            _drawn(axes, mark)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=72 * scale)
        return data.getvalue()


def _svg(mark: _Mark, ink: Callable[[int], str]) -> str:
    x, y = mark.points[0] if mark.points else (0.0, 0.0)
    of = f' data-o="{mark.series}"' if mark.series >= 0 else ""
    title = f"<title>{html.escape(mark.about)}</title>" if mark.about else ""
    if mark.kind == "text":
        bold = "" if mark.series == MUTE else ' class="k"'
        weight = "" if mark.series == MUTE else ' font-weight="600"'
        where = f'x="{x:.0f}" y="{y:.0f}"'
        anchor = f' text-anchor="{mark.anchor}"' if mark.anchor != "start" else ""
        text = html.escape(mark.text)
        return f'<text{bold}{of} {where}{anchor}{weight} fill="{ink(mark.series)}">{text}</text>'
    if mark.kind == "dot":
        fill = "none" if mark.hollow else ink(mark.series)
        at = f'cx="{x:.1f}" cy="{y:.1f}" r="{mark.size:g}"'
        return (
            f'<circle{of} {at} fill="{fill}" stroke="{ink(mark.series)}" stroke-width="1.5">'
            f"{title}</circle>"
        )
    path = _path(mark.points)
    if mark.kind == "area":
        return f'<path{of} d="{path}Z" fill="{ink(mark.series)}" opacity=".13"/>'
    dash = f' stroke-dasharray="{mark.dash}"' if mark.dash else ""
    return (
        f'<path{of} d="{path}" fill="none" stroke="{ink(mark.series)}" '
        f'stroke-width="{mark.size:g}"{dash}>{title}</path>'
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Steps from point to point in tenths of a pixel, which make short text."""
    at = [(round(10 * x), round(10 * y)) for x, y in points]
    steps = [f"l{(b[0] - a[0]) / 10:g} {(b[1] - a[1]) / 10:g}" for a, b in itertools.pairwise(at)]
    return f"M{at[0][0] / 10:g} {at[0][1] / 10:g}" + "".join(steps) if at else ""


def _drawn(axes: Any, mark: _Mark) -> None:
    x = [point[0] for point in mark.points]
    y = [point[1] for point in mark.points]
    ink = colour(mark.series)
    if mark.kind == "text":
        weight = "normal" if mark.series == MUTE else "bold"
        across = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
        plain = mark.text.replace("$", r"\$")
        axes.text(x[0], y[0], plain, color=ink, size=11, weight=weight, ha=across, va="baseline")
    elif mark.kind == "dot":
        fill = "white" if mark.hollow else ink
        axes.plot(x, y, "o", ms=2 * mark.size, mfc=fill, mec=ink, mew=1.5)
    elif mark.kind == "area":
        axes.fill(x, y, color=ink, alpha=0.13, lw=0)
    else:
        dashes = [float(d) / mark.size for d in mark.dash.split()]
        style: Any = (0, dashes) if dashes else "-"
        axes.plot(x, y, color=ink, lw=mark.size, ls=style, solid_capstyle="round")


# ---- scales and axes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """Maps values between low and high to pixels; log: on a logarithmic scale."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value, clipped to the nearest end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within: powers of ten, or about `count` multiples of 1, 2 or 5."""
        if self.log:
            ends = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**k for k in range(ends[0], ends[1] + 1)]
        rough = (self.high - self.low) / count
        unit = 10 ** math.floor(math.log10(rough))
        step = next(k * unit for k in (1, 2, 5, 10) if k * unit >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


class Plot:
    """A drawing with axes, whose coordinates are values."""

    def __init__(
        self,
        about: str,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        log_x: bool = False,
        names: Iterable[str] = (),
        size: tuple[float, float] = (WIDTH, 300),
    ) -> None:
        """names: the names that :meth:`labels` will write, for which room is left on the right."""
        self.drawing = Drawing(*size, about)
        self.x = Scale(*x, 50, size[0] - 14 - room(names), log_x)
        self.y = Scale(*y, size[1] - 38, 24)

    def axes(self, x_label: str, y_label: str, say_x: Callable[[float], str]) -> None:
        """Grid lines and numbers; labels below, and above on the left."""
        bottom = self.y.start
        ticks = self.y.ticks(5)
        gap = ticks[1] - ticks[0] if len(ticks) > 1 else 1
        decimals = max(-math.floor(math.log10(gap) + 1e-9), 0)
        for value in ticks:
            at = self.y(value)
            self.drawing.line([(self.x.start, at), (self.x.end, at)], GRID, 1)
            text = f"{value:.{decimals}f}".replace("-", "−")
            self.drawing.text(self.x.start - 6, at + 4, text, anchor="end")
        for value in self.x.ticks(5):
            self.drawing.text(self.x(value), bottom + 16, say_x(value), anchor="middle")
        middle = (self.x.start + self.x.end) / 2
        self.drawing.text(middle, bottom + 33, x_label, anchor="middle")
        self.drawing.text(4, 12, y_label)

    def line(self, xs: Iterable[float], ys: Iterable[float], series: int, about: str = "") -> None:
        """A line through the finite points."""
        both = [(self.x(a), self.y(b)) for a, b in zip(xs, ys, strict=True) if math.isfinite(b)]
        if both:
            self.drawing.line(both, series, about=about)

    def band(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], series: int
    ) -> None:
        """The area between two lines, where both are finite."""
        rows = [r for r in zip(xs, lows, highs, strict=True) if all(map(math.isfinite, r))]
        there = [(self.x(a), self.y(high)) for a, _, high in rows]
        back = [(self.x(a), self.y(low)) for a, low, _ in reversed(rows)]
        if rows:
            self.drawing.area([*there, *back], series)

    def labels(self, items: Iterable[tuple[float, str, int]]) -> None:
        """Names next to the right ends of lines, at their values, moved until none overlap."""
        found = sorted((self.y(value), text, series) for value, text, series in items)
        low, high = 10.0, self.y.start
        for at, (_, text, series) in zip(
            apart([at for at, *_ in found], low, high), found, strict=True
        ):
            self.drawing.text(self.x.end + 7, at + 4, short(text), series)


LONGEST = 18  # letters of a name in a figure


def short(name: str) -> str:
    """A name, shortened to fit into a figure."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def room(names: Iterable[str]) -> float:
    """The width in pixels of the widest of these names, in a figure's bold letters."""
    return max((sum(map(_wide, short(name))) for name in names), default=0.0)


def _wide(letter: str) -> float:
    return 13.0 if letter in "mwMW@%" else 5.5 if letter in "iljtfr.,:;()[]'1 " else 8.6


def apart(places: Sequence[float], low: float, high: float, gap: float = 13.5) -> list[float]:
    """Positions in ascending order, moved as little as possible to be `gap` apart and within the limits.

    If they do not fit, they are spread evenly.
    """
    n = len(places)
    if n < 2:
        return [min(max(p, low), high) for p in places]
    gap = min(gap, (high - low) / (n - 1))
    blocks: list[
        list[float]
    ] = []  # each: the sum of the positions that its members want for the first one, and their number
    for i, place in enumerate(places):
        blocks.append([place - i * gap, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    wanted = [total / count for total, count in blocks for _ in range(int(count))]
    return [min(max(w, low), high - (n - 1) * gap) + i * gap for i, w in enumerate(wanted)]
