"""Race the optimizers that people choose between on all bundled problems, and write what it says.

    python scripts/make_decision.py                  # twenty minutes of two quiet cores
    python scripts/make_decision.py --quick          # next to no training: whether all of it works
    python scripts/make_decision.py --out FOLDER     # the runs are kept there, and a second call goes on

Runs are kept in runs/decision; what is there is not computed again. What they say is kept in
docs/decision.json, from which the tables between the markers of docs/which-optimizer.md, and of
docs/how-to/read-a-report.md, are made; the whole report is docs/decision/report.html, and the figures lie
beside it. With --quick all of this is written to the folder of the runs instead.
"""

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ravine.races.atomic import write
from ravine.races.contest import contest
from ravine.races.encoding import to_json, unspelt
from ravine.races.entrants import entrants
from ravine.races.facts import facts
from ravine.races.pace import Pace
from ravine.races.report import Report
from ravine.races.runs import Run
from ravine.races.sentences import amount, between, listed
from ravine.races.store import RunFolder
from ravine.races.task import Task, problem, problems

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("which-optimizer.md", "how-to/read-a-report.md", "index.md")
RESULTS = "decision.json"
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "nadam", "lion", "muon")
QUICK = ("sgd", "adam")
DRAWN = ("profile", "mnist-1d-slope", "lstm-slope")
Facts = Mapping[str, Any]


class Told:
    """Says on the terminal how far the race is."""

    def task(self, task: Task, pace: Pace, runs: int, seconds: float) -> None:
        """A task begins."""
        print(f"{task.name}: {runs} runs of {task.steps} steps, about {seconds:.0f} s", flush=True)

    def stage(self, role: str, runs: Sequence[Run]) -> None:
        """The runs of a role begin."""
        print(f"  {role}: {len(runs)} runs", flush=True)

    def done(self, runs: Sequence[Run]) -> None:
        """Runs are there."""


def race(folder: Path, quick: bool) -> None:
    """Run what is missing of the race."""
    kept = RunFolder(folder)
    with kept.session():
        contest(
            [problem(name) for name in problems()],
            entrants(QUICK if quick else OPTIMIZERS),
            kept,
            seeds=2 if quick else 10,
            steps=4 if quick else None,
            watcher=Told(),
            command="python scripts/make_decision.py" + " --quick" * quick,
        )


# ---- the page --------------------------------------------------------------------------------------


def summary(report: Report) -> str:
    """What a report says and what it was made with, as JSON, numbers with six digits."""
    manifest = json.loads((report.folder / "manifest.json").read_text("utf-8"))
    made = {k: manifest[k] for k in ("ravine", "git", "python", "packages", "cpu", "cores")}
    made |= {"day": manifest["written"].partition("T")[0]}
    text = to_json({"made": made, **facts(report)})
    short = json.loads(text, parse_float=lambda number: float(f"{float(number):.6g}"))
    return json.dumps(short, separators=(",", ":")) + "\n"


def read(text: str) -> Facts:
    """What :func:`summary` has written."""
    return unspelt(json.loads(text))


def tables(found: Facts) -> dict[str, str]:
    """What stands between the page's markers, by their names."""
    return {
        "verdict": _verdict(found),
        "decision": _decision(found["problems"]),
        "scores": _scores(found),
        "tuning": _tuning(found["problems"]),
        "evidence": "\n\n".join(map(_evidence, found["problems"])),
        "made": _made(found),
        "mnist_1d": _lesson(next(p for p in found["problems"] if p["problem"] == "mnist-1d")),
    }


def fill(page: str, made: Mapping[str, str]) -> str:
    """The page with these texts between its markers. Raises KeyError for a marker without one."""
    return re.sub(
        r"<!-- (\w+) -->\n.*?<!-- end -->",
        lambda m: f"<!-- {m[1]} -->\n\n{made[m[1]]}\n\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    rule = [":--" if i < left else "--:" for i in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def _verdict(found: Facts) -> str:
    best, *_ = together = found["over_all_problems"]
    fast = max(together, key=lambda row: row["score_by_seconds"])
    also = "and" if fast is best else f"and {fast['optimizer']}"
    first = Counter(_by_default(p)[0]["optimizer"] for p in found["problems"])
    where = listed(f"{name} on {count}" for name, count in first.most_common())
    return (
        f"**With tuned learning rates, {best['optimizer']} has the best score over all "
        f"{len(found['problems'])} problems by steps to the target ({best['score']:.2f} of 1), {also} by "
        f"seconds ({fast['score_by_seconds']:.2f}).** {found['headline']} **With default learning "
        f"rates**, the best are {where}."
    )


def _decision(problems: Iterable[Facts]) -> str:
    rows = []
    for p in problems:
        best, *close = [o for o in p["optimizers"] if _close(o, p["optimizers"][0])]
        by_default = _by_default(p)[0]
        others = f"; as close: {', '.join(o['optimizer'] for o in close)}" if close else ""
        rows.append(
            (
                f"{p['about'].rstrip('.')} ([{p['problem']}](#{p['problem']}))",
                f"**{best['optimizer']}**{others}",
                f"{best['hyperparameters']['lr']:.2g}{_works(best)}",
                f"{by_default['optimizer']}, {_number(p, by_default['default'])}",
                p["verdict"],
            )
        )
    heads = (
        "what you train",
        "use",
        "learning rate (range that works)",
        "without tuning",
        "what the race showed",
    )
    return _table(heads, rows, left=5)


def _close(one: Facts, best: Facts) -> bool:
    """Whether a mean lies in the interval of the best."""
    return bool(best["result"]["low"] <= one["result"]["value"] <= best["result"]["high"])


def _by_default(p: Facts) -> list[Facts]:
    sign = 1 if p["lower_is_better"] else -1
    return sorted(p["optimizers"], key=lambda o: sign * o["default"]["value"])


def _number(p: Facts, found: Facts) -> str:
    return _score(p, found["value"])


def _score(p: Facts, value: float) -> str:
    return f"{value:.{p['decimals']}f}".replace("-", "−")


def _works(o: Facts) -> str:
    return (
        f" ({o['lr_that_works'][0]:.2g} to {o['lr_that_works'][1]:.2g})"
        if o["lr_that_works"]
        else ""
    )


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}".replace("-", "−")


def _scores(found: Facts) -> str:
    problems, together = found["problems"], found["over_all_problems"]
    rows = [
        (
            row["optimizer"],
            f"{row['score']:.3f}",
            f"{row['score_by_seconds']:.3f}",
            f"{row['best_or_tied']} of {len(problems)}",
            str(sum(_close(o, p["optimizers"][0]) for p in problems for o in _named(p, row))),
            str(sum(o["runs_lost"] for p in problems for o in _named(p, row))),
            f"{_middle(o['bytes_per_parameter'] for p in problems for o in _named(p, row)):.2g}",
        )
        for row in together
    ]
    heads = (
        *("optimizer", "score, steps", "score, seconds", "best or not distinguishable"),
        *("as close as the best", "lost report runs", "bytes per parameter"),
    )
    return _table(heads, rows)


def _named(p: Facts, row: Facts) -> list[Facts]:
    return [o for o in p["optimizers"] if o["optimizer"] == row["optimizer"]]


def _middle(values: Iterable[float]) -> float:
    found = sorted(values)
    return found[len(found) // 2]


def _tuning(problems: Iterable[Facts]) -> str:
    rows = []
    for p in problems:
        default, best = _by_default(p)[0], p["optimizers"][0]
        rows.append(
            (
                p["problem"],
                f"{default['optimizer']}, {_number(p, default['default'])}",
                f"{best['optimizer']}, {_number(p, best['result'])}",
                _number(p, best["default"]),
                _signed(p["rank_correlation_of_defaults"]),
            )
        )
    heads = (
        "problem",
        "first at the defaults",
        "first tuned",
        "the latter at its defaults",
        "rank correlation",
    )
    return _table(heads, rows, left=3)


def _lesson(p: Facts) -> str:
    rows = [
        (
            o["optimizer"],
            _number(p, o["default"]),
            _score(p, o["best_trial"]),
            _number(p, o["result"]),
        )
        for o in p["optimizers"]
    ]
    heads = ("optimizer", "at the defaults", "the best trial's own score", "tuned, on new seeds")
    luck = {o["optimizer"]: o["best_trial"] - o["result"]["value"] for o in p["optimizers"]}
    most = max(luck, key=lambda name: luck[name])
    return (
        f"{_table(heads, rows)}\n\nThe rank correlation of the two orders is "
        f"{_signed(p['rank_correlation_of_defaults'])}. The best trial's own score is too good by up to "
        f"{100 * luck[most]:.1f} points ({most})."
    )


def _evidence(p: Facts) -> str:
    rows = [
        (
            f"{o['rank']}{'=' * o['tied']} {o['optimizer']}",
            _number(p, o["result"]),
            between(*(_score(p, o["result"][end]) for end in ("low", "high"))),
            _number(p, o["default"]),
            f"{o['hyperparameters']['lr']:.2g}{'*' * bool(o['on_the_edge'])}",
            _works(o).strip(" ()") or "–",
            amount(o["steps_to_target"]["value"]),
            amount(o["seconds_to_target"]["value"]),
        )
        for o in p["optimizers"]
    ]
    heads = (
        *("optimizer", p["score"], "95 % interval", "at the defaults", "lr", "lr that works"),
        *("steps to target", "seconds"),
    )
    better = "less" if p["lower_is_better"] else "more"
    return (
        f"### {p['problem']}\n\n{p['about']} {p['steps']:,} steps of {p['batch_size']}; target: "
        f"{p['score']} {p['target']:g}, {better} is better. **{p['verdict']}**\n\n"
        f'<details markdown="1">\n<summary>All {len(rows)} optimizers</summary>\n\n'
        f"{' '.join(p['remarks'])}\n\n{_table(heads, rows)}\n\n</details>"
    )


def _made(found: Facts) -> str:
    on = found["made"]
    return (
        f"{found['runs']:,} runs, made on {on['day']} on {on['cores']} cores of an {on['cpu']}, with torch "
        f"{on['packages']['torch']}, NumPy {on['packages']['numpy']}, Python {on['python']}, Ravine at "
        f"{(on['git'] or on['ravine'])[:10]}."
    )


def publish(folder: Path, where: Path) -> None:
    """Write the page, the report, the figures and the summary of a race's folder."""
    report = Report(folder)
    kept, figures = summary(report), report.figures()
    made = tables(read(kept))
    beside = where / "decision"
    beside.mkdir(exist_ok=True)
    for page in PAGES:
        (where / page).parent.mkdir(exist_ok=True)
        write(where / page, fill((DOCS / page).read_text("utf-8"), made).encode())
    write(beside / "report.html", report.html().encode())
    for name in DRAWN:
        write(beside / f"{name}.svg", figures[name][0].svg(alone=True).encode())
    write(where / RESULTS, kept.encode())
    print(report.headline)


def main() -> None:
    """Race and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="next to no training")
    parser.add_argument("--out", type=Path, default=Path("runs/decision"), metavar="FOLDER")
    asked = parser.parse_args()
    race(asked.out, asked.quick)
    publish(asked.out, asked.out if asked.quick else DOCS)


if __name__ == "__main__":
    sys.exit(main())
