"""The page of a race: one HTML file without a network, from run files alone.

Figures are SVG, drawn here. A few lines of JavaScript highlight an optimizer; the page is complete
without them.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from ravine.races import runs as run_files
from ravine.races.atomic import write
from ravine.races.drawing import DARK, DASHES, LIGHT, Drawing
from ravine.races.figures import of_comparison, of_race
from ravine.races.findings import Comparison, Method, Overall, Trial, comparisons, lost, overall
from ravine.races.report_method import escaped, method
from ravine.races.runs import REPORT, Run
from ravine.races.sentences import (
    NONE,
    Words,
    about_needed,
    amount,
    between,
    headline,
    listed,
    place,
    plural,
)

__all__ = ["LIMIT", "Report"]

LIMIT = 1_000_000
"""The maximum size of a page in bytes: if not everything fits, it shows less, and says so."""

CARDS = 500
"""The maximum number of problems that have a card at the top of the page."""


class Report:
    """The report on the race in a folder.

    Raises FileNotFoundError if there is no folder, and ValueError if it has no run, or no report run yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.runs = run_files.read(folder)
        self.comparisons = comparisons(self.runs)
        if not self.comparisons:
            raise ValueError(
                f"{folder} holds {plural(len(self.runs), 'run')} of the search, but no final runs yet; let "
                "the race continue"
            )
        self.overall = overall(self.comparisons)
        names = sorted({m.name for comparison in self.comparisons for m in comparison.methods})
        self.series = {name: i for i, name in enumerate(names)}
        self.headline = headline(self.comparisons, self.overall)

    def figures(self) -> dict[str, tuple[Drawing, str]]:
        """All figures with their captions, by the names that files have: problem-kind, or kind."""
        found = of_race(self.overall, self.series) if self.overall else {}
        for comparison in self.comparisons:
            for kind, figure in of_comparison(comparison, self.series).items():
                found[f"{_slug(comparison.title)}-{kind}"] = figure
        return found

    def write_figures(self, folder: str | Path) -> list[Path]:
        """Write each figure as SVG and as PNG. Raises ImportError without Matplotlib."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        written = []
        for name, (drawing, _) in self.figures().items():
            written.append(write(Path(folder, f"{name}.svg"), drawing.svg(alone=True).encode()))
            written.append(write(Path(folder, f"{name}.png"), drawing.png()))
        return written

    def html(self) -> str:
        """The page."""
        figures = {name: _figure(*figure) for name, figure in self.figures().items()}
        empty = self._page(figures, [""] * len(self.comparisons))
        sections = self._fitting(figures, LIMIT - len(empty.encode()))
        return self._page(figures, [text for text in sections if text])

    def _fitting(self, figures: Mapping[str, str], room: int) -> list[str]:
        """A section for each problem, with as much detail as fits, more for the first ones."""
        more: list[str] = []
        for detail in _DETAILS:
            sections = [_problem(c, self.series, figures, detail) for c in self.comparisons]
            left = room - sum(len(text.encode()) for text in sections)
            if left > 0:
                break
            more = sections
        else:
            sections, left = [""] * len(self.comparisons), room - 1000  # what is left out is said
        for i, longer in enumerate(more):
            left -= len(longer.encode()) - len(sections[i].encode())
            if left <= 0:
                break
            sections[i] = longer
        return sections

    def _page(self, figures: Mapping[str, str], sections: Sequence[str]) -> str:
        style = _file("report.css").replace("\n  ", "\n").strip()
        light, dark = (
            "".join(f"--c{i}:{ink};" for i, ink in enumerate(inks)) for inks in (LIGHT, DARK)
        )
        dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        return "\n".join(
            (
                '<!doctype html><html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{escaped(self.headline)}</title>",
                f"<style>{style}\n:root{{{light}}}{dark}</style></head><body><main>",
                '<a class="skip" href="#problems">Skip to the results</a>',
                f"<small>{self._kicker()}</small><h1>{escaped(self.headline)}</h1>",
                f'<p class="say">{escaped(_how(self.comparisons))}</p>',
                _cards(self.comparisons, len(sections)),
                _legend(self.series),
                '<div id="problems">',
                _together(self.overall, self.comparisons, self.series, figures),
                *sections,
                _more_problems(len(sections), len(self.comparisons)),
                "</div>",
                method(self.comparisons, self.runs, self._commands()),
                '</main><div id="tip" hidden></div>',
                f"<script>{_file('report.js').strip()}</script></body></html>\n",
            )
        )

    def _kicker(self) -> str:
        seconds = sum(r.steps * r.seconds_per_step for r in self.runs if r.seconds_per_step > 0)
        said = [
            "ravine race",
            plural(len(self.series), "optimizer"),
            plural(len(self.comparisons), "problem"),
            plural(len(self.runs), "run"),
        ]
        if seconds >= 60:
            said.append(f"{plural(round(seconds / 60), 'minute')} if trained one by one")
        return " · ".join(said)

    def _commands(self) -> list[str]:
        """The commands that runs and manifest say they are from."""
        found = [run.made.get("command") for run in self.runs]
        with suppress(OSError, ValueError, AttributeError):  # there is no manifest, or it is none
            found.append(json.loads((self.folder / "manifest.json").read_bytes()).get("command"))
        told = (shlex.join(map(str, c)) if isinstance(c, list) else str(c) for c in found if c)
        return list(dict.fromkeys(told))


_Runs = Callable[[Comparison, Words], str]


class _Detail(NamedTuple):
    """What the section of a problem contains besides its verdict."""

    runs: _Runs | None = None
    pairs: bool = False
    figures: bool = False
    results: bool = False

    def left_out(self) -> str:
        parts = {
            "the results of each optimizer": self.results,
            "the figures": self.figures,
            "the pairs of optimizers": self.pairs,
            "the runs": self.runs,
        }
        missing = [name for name, shown in parts.items() if not shown]
        if not missing:
            return ""
        return (
            f'<p class="mute">Left out here, to keep the page under 1 MB: {listed(missing)}. '
            f"<code>ravine race report</code> writes them with <code>--json</code> and all runs with "
            "<code>--parquet</code>.</p>"
        )


def _more_problems(shown: int, of: int) -> str:
    if shown == of:
        return ""
    return (
        f'<p class="mute">These are the first {shown:,} of {plural(of, "problem")}, to keep the page under '
        "1 MB. <code>ravine race report --json</code> has all of them.</p>"
    )


def _file(name: str) -> str:
    return files("ravine.races").joinpath(name).read_text("utf-8")


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _how(found: Sequence[Comparison]) -> str:
    comparison = found[0]
    seeds = plural(len(comparison.seeds[REPORT]), "seed")
    if not comparison.tuned:
        return (
            f"Each optimizer ran at its default hyperparameters on {seeds}, with the same initial weights "
            "and batches for all. Nothing was tuned."
        )
    return (
        f"Each optimizer got {plural(comparison.tier, 'trial')} of tuning. What is compared is the one that "
        f"was chosen, on {seeds} that tuning never saw, with the same initial weights and batches for "
        "all."
    )


def _cards(found: Sequence[Comparison], shown: int) -> str:
    """A card for each problem, with a link to its section if the page has one."""
    cards = []
    for i, comparison in enumerate(found[:CARDS]):
        words = Words(comparison)
        small = f"<small>{escaped(words.defaults())}</small>" if words.defaults() else ""
        link = f' href="#{_slug(comparison.title)}"' if i < shown else ""
        cards.append(
            f"<li><a{link}><small>{escaped(comparison.title)}</small>"
            f"<span>{escaped(words.verdict())}</span>{small}</a></li>"
        )
    return f'<ul class="cards">{"".join(cards)}</ul>'


def _key(series: int) -> str:
    """A piece of the optimizer's line."""
    dash = (
        f' stroke-dasharray="{DASHES[series % len(DASHES)]}"'
        if DASHES[series % len(DASHES)]
        else ""
    )
    return (
        '<svg class="key" viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4h26" stroke="'
        f'var(--c{series % len(LIGHT)})" stroke-width="3"{dash}/></svg>'
    )


def _legend(series: Mapping[str, int]) -> str:
    buttons = "".join(
        f'<button type="button" data-o="{i}" aria-pressed="false">{_key(i)}{escaped(name)}</button>'
        for name, i in series.items()
    )
    return f'<div class="legend" role="group" aria-label="Highlight an optimizer">{buttons}</div>'


def _figure(drawing: Drawing, caption: str) -> str:
    return f"<figure>{drawing.svg()}<figcaption>{escaped(caption)}</figcaption></figure>"


def _table(
    about: str,
    columns: Sequence[str],
    rows: Iterable[tuple[int | None, Sequence[str]]],
    name: int = 1,
) -> str:
    """A table of HTML cells; the column `name` contains the row headers. Empty columns are left out."""
    rows = list(rows)
    kept = [i for i in range(len(columns)) if any(cells[i] not in ("", NONE) for _, cells in rows)]
    head = "".join(
        f'<th scope="col"{" class=name" if i == name else ""}>{columns[i]}</th>' for i in kept
    )
    body = []
    for series, cells in rows:
        mark = "" if series is None else f' data-o="{series}"'
        line = "".join(
            f'<th scope="row">{cells[i]}</th>' if i == name else f"<td>{cells[i]}</td>"
            for i in kept
        )
        body.append(f"<tr{mark}>{line}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(about)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _named(name: str, series: Mapping[str, int]) -> str:
    return f"{_key(series[name])} {escaped(name)}"


# ---- over all problems -----------------------------------------------------------------------------


def _together(
    found: Overall | None,
    each: Sequence[Comparison],
    series: Mapping[str, int],
    figures: Mapping[str, str],
) -> str:
    if found is None:
        return ""
    rows = []
    for i, name in enumerate(found.names):
        seconds = found.by_seconds[i]
        reached = sum(map(math.isfinite, found.times[i]))
        cells = [
            str(1 + sum(other > found.scores[i] for other in found.scores)),
            _named(name, series),
            f"{found.scores[i]:.3f}",
            f"{seconds:.3f}" if found.by_seconds.any() else NONE,
            f"{found.first[i]} of {len(each)}",
            f"{reached} of {len(each)}",
        ]
        rows.append((series[name], cells))
    columns = ("#", "optimizer", "score", "by seconds", "best or tied", "targets reached")
    table = _table("Scores over all problems", columns, rows)
    return (
        f'<section><h2>Over all problems</h2><div class="two">{figures["profile"]}<div>{table}'
        '<p class="mute">The score is AlgoPerf\'s, of the median steps to each target, or of the seconds '
        "on one thread. Best or tied: no optimizer is significantly better.</p></div></div></section>"
    )


# ---- a problem -------------------------------------------------------------------------------------


def _problem(
    comparison: Comparison, series: Mapping[str, int], figures: Mapping[str, str], detail: _Detail
) -> str:
    words, slug, run = Words(comparison), _slug(comparison.title), comparison.run
    said = " ".join(x for x in (words.verdict(), words.enough(), words.defaults()) if x)
    budget = (
        f"{plural(run.steps, 'step')} of batches of {run.batch_size}, {run.schedule} schedule; "
        f"{plural(run.parameters, 'parameter')}."
    )
    below = "lower is better" if run.lower_is_better else "higher is better"
    remarks = "".join(f"<li>{escaped(remark)}</li>" for remark in words.remarks())
    kinds = ("slope", "differences", "scores", "losses", "sensitivity", "trials")
    pictures = [figures.get(f"{slug}-{kind}", "") for kind in kinds if detail.figures]
    return (
        f'<section><h2 id="{slug}">{escaped(comparison.title)}</h2><p class="mute">{escaped(run.about)} '
        f"{escaped(budget)} The score is {escaped(run.score_name)}, {below}.</p>"
        f'<p class="say">{escaped(said)}</p>{f"<ul>{remarks}</ul>" if remarks else ""}'
        f"{_two(pictures[:2])}{_results(comparison, words, series) if detail.results else ''}"
        f"{_two(pictures[2:])}{_pairs(comparison, words) if detail.pairs else ''}"
        f"{detail.runs(comparison, words) if detail.runs else ''}{detail.left_out()}</section>"
    )


def _two(pictures: Sequence[str]) -> str:
    return f'<div class="two">{"".join(pictures)}</div>' if any(pictures) else ""


def _results(comparison: Comparison, words: Words, series: Mapping[str, int]) -> str:
    columns = (
        *("#", "optimizer", "tuned" if comparison.tuned else "default", "95 % interval"),
        *("at the defaults", "chosen", "lr that works", "steps to target", "seconds to target"),
        *("ms per step", "bytes per parameter", "runs lost", "trials lost"),
    )
    rows = [
        (series[m.name], _row(comparison, m, place(rank), words, series))
        for m, rank in zip(comparison.methods, comparison.ranks, strict=True)
    ]
    target = f"{words.comparison.run.score_name} {comparison.target:.4g}"
    of = "the problem's" if comparison.target_set else "what the optimizer in the middle reaches"
    return (
        _table(f"Results on {comparison.title}", columns, rows)
        + f'<p class="mute">The target is {escaped(target)}, {of}. Steps and seconds to it are '
        "medians over the seeds, in which a miss is infinite.</p>"
    )


def _row(
    comparison: Comparison, m: Method, rank: str, words: Words, series: Mapping[str, int]
) -> list[str]:
    values = m.searched if m.tuned else {}
    chosen = ", ".join(f"{'' if name == 'lr' else f'{name} '}{x:.3g}" for name, x in values.items())
    edge = " <small>on the edge</small>" if m.edge else ""
    dead, of = m.trials_lost
    return [
        rank,
        _named(m.name, series),
        f"<b>{words.score(m.result)}</b>",
        words.interval(m.result),
        words.score(m.default) if comparison.tuned else "",
        f"{chosen}{edge}",
        between(*(f"{x:.2g}" for x in m.works)) if m.works else "",
        amount(m.steps.value),
        amount(m.seconds.value),
        amount(1e3 * m.seconds_per_step),
        amount(m.memory_per_parameter),
        f"{m.runs_lost} of {len(m.runs)}" if any(x.runs_lost for x in comparison.methods) else "",
        f"{dead / of:.0%}" if of else "",
    ]


def _pairs(comparison: Comparison, words: Words) -> str:
    if not comparison.pairs:
        return ""
    rows = []
    for pair in comparison.pairs:
        first, second = (escaped(words.names[i]) for i in (pair.first, pair.second))
        cells = [
            f"{first} – {second}",
            words.number(pair.ahead.value, True),
            words.interval(pair.ahead, True),
            f"{pair.beats.value:.0%}",
            between(f"{pair.beats.low:.0%}", f"{pair.beats.high:.0%}"),
            f"{first} is better" if pair.better is not None else "not distinguishable",
            "" if pair.better is not None else about_needed(pair, comparison.tuned),
        ]
        rows.append((None, cells))
    columns = (
        "pair",
        "ahead by",
        "interval",
        "better on",
        "95 % interval",
        "verdict",
        "seeds needed",
    )
    table = _table(f"All pairs on {comparison.title}", columns, rows, name=0)
    return (
        f"<details><summary>All pairs of optimizers</summary>{table}<p class='mute'>The first is the one "
        "with the better mean. Better on: the share of seeds, a tie counts half. Seeds needed: for four "
        "races in five to show a difference of this size.</p></details>"
    )


def _every_run(comparison: Comparison, words: Words) -> str:
    return _details(comparison, lambda trial: _values(trial, words, comparison.sign), words)


def _every_trial(comparison: Comparison, words: Words) -> str:
    return _details(comparison, lambda trial: words.number(comparison.sign * trial.result), words)


def _values(trial: Trial, words: Words, sign: int) -> str:
    """The results of the trial's runs on each tuning seed and each choosing seed."""
    first, again = (
        " ".join(words.number(sign * value) for _, value in sorted(results.items()))
        for results in (trial.results, trial.again)
    )
    return f"{first}, again {again}" if again else first


def _details(comparison: Comparison, told: Callable[[Trial], str], words: Words) -> str:
    blocks = []
    for m in comparison.methods:
        lines = [f"by seed: {_by_seed(m.runs, words)}"]
        count = len(m.runs) + sum(len(t.results) + len(t.again) for t in m.trials)
        if m.tuned and m.at_defaults:
            lines.append(f"at the defaults: {_by_seed(m.at_defaults, words)}")
            count += len(m.at_defaults)
        trials = []
        for trial in sorted(m.trials, key=lambda t: t.hyperparameters.get("lr", 0)):
            at = ", ".join(f"{k} {trial.hyperparameters[k]:.3g}" for k in m.searched)
            gone = f" ({trial.lost} lost)" if trial.lost else ""
            ended = "" if trial.stopped_at is None else f" (stopped at step {trial.stopped_at:,})"
            trials.append(f"{at}: {told(trial)}{gone}{ended}")
        if trials:
            lines.append(f"trials: {'; '.join(trials)}")
        body = "".join(f'<p class="mono">{escaped(line)}</p>' for line in lines)
        head = f"{escaped(m.name)}: {plural(count, 'run')}"
        blocks.append(f"<details><summary>{head}</summary>{body}</details>")
    return f'<div class="runs"><h3>Every run</h3>{"".join(blocks)}</div>'


def _by_seed(runs: Mapping[int, Run], words: Words) -> str:
    return ", ".join(_said(run, words) for _, run in sorted(runs.items()))


def _said(run: Run, words: Words) -> str:
    if why := lost(run):
        return f"{run.seed}: lost, {why}"
    return f"{run.seed}: {words.number(run.score)}"


_DETAILS = (
    _Detail(_every_run, pairs=True, figures=True, results=True),
    _Detail(_every_trial, pairs=True, figures=True, results=True),
    _Detail(pairs=True, figures=True, results=True),
    _Detail(figures=True, results=True),
    _Detail(results=True),
    _Detail(),
)
"""The levels of detail for a problem, from the most to the least."""
