"""The figures of a race, drawn from its results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ravine.races import statistics
from ravine.races.drawing import GRID, INK, WIDTH, Drawing, Plot, Scale, apart, room, short
from ravine.races.findings import Comparison, Method, Overall, lost
from ravine.races.profiles import FACTORS, profile
from ravine.races.runs import Run
from ravine.races.sentences import Words, plural

__all__ = ["of_comparison", "of_race"]

Array = NDArray[np.float64]
Series = Mapping[str, int]
"""The number of each optimizer, which is its colour."""

POINTS = 34  # of a curve, at the most


def of_comparison(comparison: Comparison, series: Series) -> dict[str, tuple[Drawing, str]]:
    """Return the figures of a comparison by name, with captions; figures without data are left out."""
    words = Words(comparison)
    found = {
        "slope": _slope(comparison, words, series),
        "differences": _differences(comparison, words, series),
        "scores": _scores(comparison, words, series),
        "losses": _losses(comparison, series),
        "sensitivity": _sensitivity(comparison, words, series),
        "trials": _best_at(comparison, words, series),
    }
    return {name: each for name, each in found.items() if each}


def of_race(together: Overall, series: Series) -> dict[str, tuple[Drawing, str]]:
    """Return the figures over all problems by name, with captions."""
    plot = Plot("", (1, 4), (0, 1), names=together.names, size=(WIDTH, 280))
    plot.axes("within this factor of the fewest steps", "share of problems", lambda v: f"{v:g}×")
    shares = profile(together.times, FACTORS)
    for name, line in zip(together.names, shares, strict=True):
        stairs = _stairs([*zip(FACTORS.tolist(), line.tolist(), strict=True)])
        plot.line([x for x, _ in stairs], [y for _, y in stairs], series[name], name)
    plot.labels((line[-1], n, series[n]) for n, line in zip(together.names, shares, strict=True))
    scores = zip(together.names, together.scores, strict=True)
    plot.drawing.about = "Performance profile. Score: " + _said((n, f"{s:.3f}") for n, s in scores)
    caption = (
        "Performance profile: on which share of the problems an optimizer reaches the target within a "
        "factor of the fewest steps. The area is the score."
    )
    return {"profile": (plot.drawing, caption)}


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Only the corners of a line of steps."""
    found = [points[0]]
    for at, value in points[1:]:
        if value != found[-1][1]:
            found += [(at, found[-1][1]), (at, value)]
    return [*found, points[-1]]


def _said(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {text}" for name, text in pairs) + "."


def _slope(comparison: Comparison, words: Words, series: Series) -> tuple[Drawing, str] | None:
    both = [(m, m.default, m.result) for m in comparison.methods if m.default and m.tuned]
    if not comparison.by_default or not both:
        return None
    ends = [(comparison.shown(a).value, comparison.shown(b).value) for _, a, b in both]
    low, high = _range([value for pair in ends for value in pair])
    height = max(300, 34 + 15 * len(both))
    drawing = Drawing(WIDTH, height, "")
    y = Scale(low, high, height - 14, 40)
    wide = room(f"{short(m.name)} " for m, *_ in both)
    wide += room(words.number(value) for pair in ends for value in pair)
    left, right = 12 + wide, WIDTH - 12 - wide
    drawing.text(left, 16, "default", INK, "middle")
    drawing.text(right, 16, f"tuned, {plural(comparison.tier, 'trial')}", INK, "middle")
    for (m, *_), (a, b) in zip(both, ends, strict=True):
        about = f"{m.name}: {words.number(a)} at the defaults, {words.number(b)} tuned"
        drawing.line([(left, y(a)), (right, y(b))], series[m.name], 2.5, about=about)
        drawing.dot(left, y(a), series[m.name], about=about)
        drawing.dot(right, y(b), series[m.name], about=about)
    for side, x, anchor in ((0, left - 10, "end"), (1, right + 10, "start")):
        rows = sorted(
            (y(pair[side]), pair[side], m.name) for (m, *_), pair in zip(both, ends, strict=True)
        )
        places = apart([at for at, *_ in rows], 34, height - 8)
        for at, (_, value, name) in zip(places, rows, strict=True):
            drawing.text(x, at + 4, f"{short(name)} {words.number(value)}", series[name], anchor)
    drawing.about = (
        f"{comparison.title}, {comparison.run.score_name} from the defaults to tuned: "
        + _said(
            (m.name, f"{words.number(a)} to {words.number(b)}")
            for (m, *_), (a, b) in zip(both, ends, strict=True)
        )
    )
    rho = comparison.correlation
    order = "" if math.isnan(rho) else f" The rank correlation of the two orders is {rho:+.2f}."
    return drawing, f"What tuning does.{order}".replace("-", "−")


def _differences(
    comparison: Comparison, words: Words, series: Series
) -> tuple[Drawing, str] | None:
    pairs = [p for p in comparison.pairs if p.first == 0 and math.isfinite(p.ahead.high)]
    if not pairs:
        return None
    low = min(0.0, *(p.ahead.low for p in pairs))
    high = max(p.ahead.high for p in pairs)
    if high == low:
        return None
    lead, row = words.names[0], 24
    drawing = Drawing(WIDTH, 24 + row * len(pairs) + 42, "")
    left = 20 + room(words.names)
    x, bottom = Scale(low - 0.03 * (high - low), high, left, WIDTH - 16), 14 + row * len(pairs)
    for value in x.ticks(5):
        drawing.line([(x(value), 8), (x(value), bottom)], GRID, 1, "")
        gap = f"{value:.{_decimals(x)}f}".replace("-", "−")
        drawing.text(x(value), bottom + 16, gap, anchor="middle")
    drawing.line([(x(0), 4), (x(0), bottom + 4)], INK, 1.5, "")
    for i, pair in enumerate(pairs):
        name, at = words.names[pair.second], 20 + row * i
        sure = pair.better is not None
        about = (
            f"{name}: {words.number(pair.ahead.value)} behind, {words.interval(pair.ahead, True)}; "
            + ("significantly behind" if sure else "not distinguishable")
        )
        drawing.text(left - 10, at + 4, short(name), series[name], "end")
        ends = [(x(pair.ahead.low), at), (x(pair.ahead.high), at)]
        drawing.line(ends, series[name], 3, "", about)
        drawing.dot(x(pair.ahead.value), at, series[name], 5, not sure, about)
    unit = comparison.run.score_name
    drawing.text((left + WIDTH) / 2, bottom + 36, f"behind {lead}, in {unit}", anchor="middle")
    drawing.about = f"Behind {lead}, seed by seed: " + _said(
        (words.names[p.second], words.interval(p.ahead, True)) for p in pairs
    )
    count = len(comparison.pairs)
    hold = (
        f"The {count} intervals for all pairs hold simultaneously"
        if count > 1
        else "The interval holds"
    )
    return drawing, f"Behind {lead}, seed by seed. {hold} with 95 %. Filled: significantly behind."


def _decimals(scale: Scale) -> int:
    ticks = scale.ticks(5)
    gap = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    return max(-math.floor(math.log10(gap) + 1e-9), 0)


def _range(values: Iterable[float]) -> tuple[float, float]:
    found = [v for v in values if math.isfinite(v)]
    low, high = min(found), max(found)
    room = 0.04 * (high - low) or abs(high) / 10 or 1.0
    return low - room, high + room


# ---- curves ----------------------------------------------------------------------------------------


def _scores(comparison: Comparison, words: Words, series: Series) -> tuple[Drawing, str] | None:
    start = comparison.sign * comparison.start
    curves = {m: _curve(m.runs.values(), "evaluations", start) for m in comparison.methods}
    lead = comparison.run.score_name
    caption = f"{lead[:1].upper()}{lead[1:]} on held-out data over the steps"
    return _curves(comparison, curves, series, lead, caption, comparison.sign)


def _losses(comparison: Comparison, series: Series) -> tuple[Drawing, str] | None:
    first = [run.curve[0][1] for m in comparison.methods for run in m.runs.values() if run.curve]
    start = max((x for x in first if math.isfinite(x)), default=math.nan)
    curves = {m: _curve(m.runs.values(), "curve", start) for m in comparison.methods}
    return _curves(comparison, curves, series, "training loss", "Training loss over the steps", -1)


def _curve(runs: Iterable[Run], which: str, start: float) -> tuple[Array, Array]:
    """Steps, and what the runs were at them, (runs, steps): after the end of a lost run, `start`."""
    found = [dict(getattr(run, which)) for run in runs]
    ended = [bool(lost(run)) for run in runs]
    steps = sorted(set().union(*found))
    keep = steps[:: max(math.ceil(len(steps) / POINTS), 1)]
    keep += steps[-1:] if steps and keep[-1] != steps[-1] else []
    table = [
        [
            each[step] if math.isfinite(each.get(step, math.nan)) else start if over else math.nan
            for step in keep
        ]
        for each, over in zip(found, ended, strict=True)
    ]
    return np.array(keep, float), np.array(table, float)


def _curves(
    comparison: Comparison,
    curves: Mapping[Method, tuple[Array, Array]],
    series: Series,
    label: str,
    caption: str,
    sign: int,
) -> tuple[Drawing, str] | None:
    lines = {}
    for method, (steps, table) in curves.items():
        if len(steps) < 2:
            continue
        columns = [column[np.isfinite(column)] for column in table.T]
        found = [statistics.mean(c) if len(c) else None for c in columns]
        lines[method] = [(s, f) for s, f in zip(steps, found, strict=True) if f]
    if not lines:
        return None
    late = comparison.run.steps / 5
    seen = [f.value for line in lines.values() for s, f in line if s >= late]
    worst = [line[-1][1].value for line in lines.values()]
    early = [next((f.value for s, f in line if s >= late), math.nan) for line in lines.values()]
    best = [max(seen) if sign > 0 else min(seen)] if seen else []
    low, high = _range([*worst, *early, *best])
    plot = Plot("", (0, comparison.run.steps), (low, high), names=[m.name for m in lines])
    plot.axes("steps", label, lambda v: f"{v:,.0f}")
    for method, line in lines.items():
        xs = [s for s, _ in line]
        if all(math.isfinite(f.high) for _, f in line):
            plot.band(xs, [f.low for _, f in line], [f.high for _, f in line], series[method.name])
        plot.line(xs, [f.value for _, f in line], series[method.name], method.name)
    plot.labels((line[-1][1].value, m.name, series[m.name]) for m, line in lines.items())
    plot.drawing.about = f"{comparison.title}: {caption.lower()}. At the end: " + _said(
        (m.name, f"{line[-1][1].value:.4g}") for m, line in lines.items()
    )
    bands = "" if len(comparison.seeds["report"]) < 2 else "; bands: 95 % intervals of the mean"
    return (
        plot.drawing,
        f"{caption}: mean of {plural(len(comparison.seeds['report']), 'seed')}{bands}.",
    )


# ---- the search ------------------------------------------------------------------------------------


def _sensitivity(
    comparison: Comparison, words: Words, series: Series
) -> tuple[Drawing, str] | None:
    rates = {
        m: sorted(
            (float(t.hyperparameters["lr"]), comparison.sign * t.result)
            for t in m.trials
            if t.hyperparameters.get("lr", 0) > 0
        )
        for m in comparison.methods
        if "lr" in m.searched and len(m.trials) > 2 and not m.halved
    }
    if not rates:
        return None
    every = [lr for points in rates.values() for lr, _ in points]
    values = [value for points in rates.values() for _, value in points]
    best = max(values) if comparison.sign > 0 else min(values)
    ends = (min(every) / 1.3, max(every) * 1.3)
    reach = _range([best, comparison.sign * comparison.start, *values])
    plot = Plot("", ends, reach, log_x=True, names=[m.name for m in rates])
    plot.axes("learning rate", comparison.run.score_name, lambda v: f"{v:g}")
    alone = all(len(m.searched) == 1 for m in rates)
    for m, points in rates.items():
        if len(m.searched) == 1:
            plot.line([x for x, _ in points], [y for _, y in points], series[m.name], m.name)
        else:
            for x, y in points:
                plot.drawing.dot(plot.x(x), plot.y(y), series[m.name], 2, about=m.name)
        chosen = next((t for t in m.trials if t.hyperparameters == m.hyperparameters), None)
        if chosen:
            lr = float(chosen.hyperparameters["lr"])
            at = plot.x(lr), plot.y(comparison.sign * chosen.result)
            plot.drawing.dot(*at, series[m.name], about=f"{m.name}: chosen at {lr:.3g}")
    tops = [(m, (max if comparison.sign > 0 else min)(y for _, y in of)) for m, of in rates.items()]
    plot.labels((top, m.name, series[m.name]) for m, top in tops)
    works = [(m.name, f"{m.works[0]:.2g} to {m.works[1]:.2g}") for m in rates if m.works]
    plot.drawing.about = (
        f"{comparison.title}: learning rates that work nearly as well as the best: "
        + (_said(works))
    )
    what = "" if alone else " Each dot is a trial, whose other hyperparameters differ."
    return plot.drawing, (
        "Sensitivity to the learning rate, on the tuning seeds, which are not those of the report. The "
        f"dots are what was chosen.{what}"
    )


def _best_at(comparison: Comparison, words: Words, series: Series) -> tuple[Drawing, str] | None:
    lines = {m: comparison.sign * m.best_at for m in comparison.methods if m.best_at is not None}
    if not lines:
        return None
    longest = max(map(len, lines.values()))
    shown = [value for line in lines.values() for value in line[min(2, len(line) - 1) :]]
    plot = Plot("", (1, longest), _range(shown), names=[m.name for m in lines], size=(WIDTH, 280))
    plot.axes("trials of tuning", comparison.run.score_name, lambda v: f"{v:.0f}")
    for m, line in lines.items():
        plot.line(range(1, len(line) + 1), line, series[m.name], m.name)
    plot.labels((line[-1], m.name, series[m.name]) for m, line in lines.items())
    plot.drawing.about = f"{comparison.title}: expected after all trials: " + _said(
        (m.name, words.number(line[-1])) for m, line in lines.items()
    )
    return plot.drawing, (
        "What to expect of tuning with fewer trials: the best of k, by the tuning seeds. The luck of the "
        "one that is chosen is taken out."
    )
