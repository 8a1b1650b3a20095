"""Measure what docs/benchmarks.md tells, and write it there.

    python scripts/make_benchmarks.py           # three quarters of an hour on two quiet cores
    python scripts/make_benchmarks.py --only flat,stacks    # keeps the rest as it was measured
    python scripts/make_benchmarks.py --only ""    # measures nothing, and makes the page again
    python scripts/make_benchmarks.py --only "" --peers FILE    # adds what `ravine bench peers` wrote there

What is measured is kept in docs/benchmarks.json: the rows of `ravine bench step`, `ravine bench
stacks`, `ravine bench half` and `ravine bench peers`, and what they were measured on. The figure
docs/images/bench-step.png and the tables between the page's markers are made from that file.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmark_goals import GOALS, TRAINING, Goal

from ravine import registry
from ravine.bench import half, stacks, step
from ravine.bench.plots import against_torch
from ravine.engines.tracing import trace
from ravine.naming import split
from ravine.races.atomic import write
from ravine.races.environment import environment
from ravine.races.store import picture, to_json

DOCS = Path(__file__).parents[1] / "docs"
RESULTS, PAGE = DOCS / "benchmarks.json", DOCS / "benchmarks.md"
NAMES = {"flat": "Ravine, `flatten=True`"}
AIMS = {"mlp": 3.0, "resnet18": 1.4}
LOOPS = ("torch loop", "foreach", "fused")
Rows = list[dict[str, Any]]


def _progress(name: str, units: Sequence[Any]) -> Iterable[Any]:
    for i, unit in enumerate(units, 1):
        print(f"{name} {i}/{len(units)}", *unit.values(), flush=True)
        yield unit


def _all_shapes(seconds: float, progress: Any) -> Iterator[Any]:
    *smaller, largest = step.SHAPES  # whose slow loops take seconds for their three turns
    yield from step.run(smaller, seconds=seconds, first=True, progress=progress)
    yield from step.run([largest], seconds=6 * seconds, progress=progress)


def _flat(seconds: float, progress: Any) -> Iterator[Any]:
    on, long = ("mlp", "resnet18", step.MANY), 5 * seconds
    yield from step.run(on, ["adam"], long, flat=True, progress=progress)
    for row in step.run_in_training(["adam"], long, flat=True, progress=progress):
        yield {"shapes": TRAINING, **row}


def _half_precision(seconds: float, progress: Any) -> Iterator[Any]:
    yield from half.run(progress=progress)
    yield from half.run(lr=1e-2, steps=600, progress=progress)


SECTIONS: dict[str, Callable[[float, Any], Iterator[Any]]] = {
    "step": _all_shapes,
    "matrices": lambda seconds, progress: step.run(
        ("mlp", step.CONVOLUTIONS, *step.BLOCKS),
        ("adafactor", "muon"),
        2 * seconds,
        progress=progress,
    ),
    "training": lambda seconds, progress: step.run_in_training(seconds=seconds, progress=progress),
    "experts": lambda seconds, progress: step.run_with_experts(seconds=seconds, progress=progress),
    "compile": lambda seconds, progress: step.run(
        ["resnet18"], ["adam"], 3 * seconds, compiled=True, progress=progress
    ),
    "flat": _flat,
    "stacks": lambda seconds, progress: stacks.run(
        (*stacks.SHAPES, "blocks768"), 10 * seconds, progress
    ),
    "half": _half_precision,
}
"""What is measured, by its name in docs/benchmarks.json."""


def tables(results: Mapping[str, Any]) -> dict[str, str]:
    """The page's tables, by the names of their markers."""
    rows = [r for r in results["step"] if "us" in r]
    makers: dict[str, Callable[[], str]] = {
        "measured": lambda: _all_measured(results["environments"]),
        "aims": lambda: _aims(results),
        "step": lambda: _step(rows),
        "adam": lambda: _adam([r for r in rows if r["rule"] == "adam"]),
        "compile": lambda: _adam([r for r in results["compile"] if "us" in r]),
        "matrices": lambda: _step([r for r in results["matrices"] if "us" in r]),
        "training": lambda: _training([r for r in results["training"] if "us" in r]),
        "experts": lambda: _experts([r for r in results["experts"] if "us" in r]),
        "first": lambda: _first(rows),
        "flat": lambda: _flattened([r for r in results["flat"] if "us" in r]),
        "stacks": lambda: _stacks(results["stacks"]),
        "half": lambda: _half(results["half"]),
        "peers_measured": lambda: _measured(results["peers"]["environment"]),
        "packages": lambda: _packages(_compared(results["peers"])),
        "targets": lambda: _targets(_compared(results["peers"])),
        "peers": lambda: _peers(_compared(results["peers"])),
        "periodic": lambda: _peers(_compared(results["peers"], "periodic")),
        "peers_left_out": lambda: _left_out(results["peers"]["peers"]),
    }
    return {name: make() for name, make in makers.items()}


def fill(page: str, made: Mapping[str, str]) -> str:
    """The page with its tables between the markers <!-- name --> and <!-- end -->.

    Raises KeyError for a marker without a table.
    """
    return re.sub(
        r"<!-- (\w+) -->\n.*?<!-- end -->",
        lambda m: f"<!-- {m[1]} -->\n\n{made[m[1]]}\n\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


def _measured(on: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{k} {on['packages'][k]}" for k in ("torch", "llvmlite"))
    day = on["written"].partition("T")[0]
    return (
        f"Measured on {day} on {on['cores']} cores of an {on['cpu']}, with {versions}, Python "
        f"{on['python']}, Ravine at {(on['git'] or on['ravine'])[:10]}."
    )


def _all_measured(environments: Mapping[str, Mapping[str, Any]]) -> str:
    """Each machine, version and day, and what was measured then."""
    said: dict[str, list[str]] = {}
    for section, on in environments.items():
        said.setdefault(_measured(on), []).append(f"`{section}`")
    [(first, _), *others] = said.items()
    return "\n".join([first, *(f"{', '.join(its)}: {sentence}" for sentence, its in others)])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = [":--" if i == 0 else "--:" for i in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def _us(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _step(rows: Rows) -> str:
    shapes = list(dict.fromkeys(r["shapes"] for r in rows))
    called = {"Ravine": "", "gram": ", `gram=True`"}
    ours = {(r["rule"], r["engine"], r["shapes"]): r for r in rows if r["engine"] in called}

    def cell(*key: str) -> str:
        r = ours.get(key)
        return f"{_us(r['us'])} ({r['against_torch']:.2f})" if r else "—"

    return _table(
        ["µs (times torch's speed)", *shapes],
        (
            [f"`{rule}`{called[engine]}", *(cell(rule, engine, shape) for shape in shapes)]
            for rule, engine in dict.fromkeys((rule, engine) for rule, engine, _ in ours)
        ),
    )


def _adam(rows: Rows) -> str:
    before, lines = None, []
    for r in rows:
        name = "" if r["shapes"] == before else r["shapes"]
        before = r["shapes"]
        numbers = [_us(r["us"]), f"{r['against_torch']:.2f}", f"{r['gb_per_s']:.1f}"]
        numbers += [f"{r['of_roof']:.2f}", f"{r['extra_bytes'] / 1e6:.1f}"]
        lines.append([name, r["engine"], *numbers])
    return _table(["shapes", "engine", "µs", "ratio", "GB/s", "of roof", "extra MB"], lines)


def _flattened(rows: Rows) -> str:
    """Adam with flatten=True beside the plain optimizer and its kernel alone."""
    shapes = list(dict.fromkeys(r["shapes"] for r in rows))
    by = {(r["engine"], r["shapes"]): r for r in rows}
    engines = [
        e for e in ("kernel", "Ravine", "flat", *LOOPS) if any((e, on) in by for on in shapes)
    ]

    def cell(key: tuple[str, str]) -> str:
        return f"{_us(by[key]['us'])} ({by[key]['against_torch']:.2f})" if key in by else "—"

    return _table(
        ["µs (times torch's speed)", *shapes],
        ([NAMES.get(e, e), *(cell((e, on)) for on in shapes)] for e in engines),
    )


def _aims(results: Mapping[str, Any]) -> str:
    """Each ratio that the engines were built for: before them, aimed at, and measured."""

    def rows(goal: Goal, fields: Mapping[str, Any]) -> Rows:
        every = results[goal.section]
        every = _compared(every, "periodic") if goal.section == "peers" else every
        return [r for r in every if "us" in r and fields.items() <= r.items()]

    def found(goal: Goal) -> float | None:
        ours = rows(goal, goal.row)
        if goal.over:
            [theirs], [its] = rows(goal, goal.over), ours
            return theirs["us"] / its["us"]
        return min((r.get("against_torch") or r["ratio"] for r in ours), default=None)

    def cell(value: float | None) -> str:
        return f"{value:.2f}" if value else "—"

    return _table(
        ["step", "before", "aim", "measured"],
        ([g.what, cell(g.before), cell(g.aim), cell(found(g))] for g in GOALS),
    )


def _training(rows: Rows) -> str:
    lines = []
    for rule in dict.fromkeys(r["rule"] for r in rows):
        by = {r["engine"]: r for r in rows if r["rule"] == rule}
        best = min((k for k in LOOPS if k in by), key=lambda k: by[k]["us"], default=None)
        if best and "Ravine" in by:
            kernel = _us(by["kernel"]["us"]) if "kernel" in by else "—"
            times = [kernel, _us(by["Ravine"]["us"]), f"{_us(by[best]['us'])} ({best})"]
            lines.append([f"`{rule}`", *times, f"{by['Ravine']['against_torch']:.2f}"])
    return _table(["rule", "kernel, µs", "Ravine, µs", "torch's fastest, µs", "ratio"], lines)


def _experts(rows: Rows) -> str:
    lines = []
    for case in dict.fromkeys((r["tensors"], r["gradients"]) for r in rows):
        by = {r["engine"]: r for r in rows if (r["tensors"], r["gradients"]) == case}
        best = min((k for k in LOOPS if k in by), key=lambda k: by[k]["us"])
        times = [_us(by["Ravine"]["us"]), f"{_us(by[best]['us'])} ({best})"]
        lines.append([str(case[0]), case[1], *times, f"{by['Ravine']['against_torch']:.2f}"])
    heads = ["tensors", "with gradients", "Ravine, µs", "torch's fastest, µs", "ratio"]
    return _table(heads, lines)


def _first(rows: Rows) -> str:
    timed = [r for r in rows if r["first_seconds"] is not None]
    engines = [e for e in ("Ravine", "eager", *LOOPS) if any(r["engine"] == e for r in timed)]
    by = {(r["rule"], r["engine"]): f"{r['first_seconds']:.3f}" for r in timed}
    rules = dict.fromkeys(r["rule"] for r in timed)
    lines = ([f"`{rule}`", *(by.get((rule, e), "—") for e in engines)] for rule in rules)
    return _table(["first step, s", *engines], lines)


def _stacks(rows: Rows) -> str:
    lines = [
        [
            r["stack"],
            r["shapes"],
            _us(r["us"]),
            f"{r['bytes'] / 1e6:,.0f}" if r["bytes"] else "—",
            f"{r['time_of_adam']:.2f}",
            f"{r['time_per_byte_of_adam']:.2f}" if r["bytes"] else "—",
            f"{r['against_torch']:.2f}" if r["against_torch"] else "—",
        ]
        for r in rows
    ]
    return _table(["stack", "shapes", "µs", "MB", "× Adam", "per byte", "ratio"], lines)


def _half(rows: Rows) -> str:
    lines = [
        [
            r["variant"],
            f"{r['lr']:g}, {r['steps']:,}",
            f"{r['loss']:.3f}",
            f"{r['apart']:+.4f}",
            f"{r['spread']:.4f}",
            f"{r['decayed']:.2f}",
        ]
        for r in rows
    ]
    heads = ["stored in", "lr, steps", "loss", "from float32", "float32 between seeds", "decay"]
    return _table(heads, lines)


def _compared(peers: Mapping[str, Any], which: str = "peers") -> Rows:
    """The rows of packages other than torch, whose tables are separate."""
    return [
        r for r in peers.get(which, ()) if "ratio" in r and not r["package"].startswith("torch ")
    ]


def _packages(rows: Rows) -> str:
    """Of each package: how many optimizers, the median ratio and the lowest, on each of the shapes."""
    shapes, lines = list(dict.fromkeys(r["shapes"] for r in rows)), []
    for package in sorted({r["package"] for r in rows}, key=str.lower):
        own = [r for r in rows if r["package"] == package]
        cells = []
        for on in shapes:
            there = sorted((r for r in own if r["shapes"] == on), key=lambda r: r["ratio"])
            middle = f"{median(r['ratio'] for r in there):.2f}" if there else "—"
            cells.append(f"{middle} ({there[0]['ratio']:.2f})" if len(there) > 1 else middle)
        lines.append([package, str(len({r["name"] + r["rule"] for r in own})), *cells])
    return _table(["package", "optimizers", *(f"{on}: median (lowest)" for on in shapes)], lines)


def _targets(rows: Rows) -> str:
    """How many reach what is aimed at, where each element is stepped separately, and which do not."""
    own, sentences = registry.own(), []
    alone = [r for r in rows if trace(own[r["rule"]]).pointwise]
    for on, aim in AIMS.items():
        there = [r for r in alone if r["shapes"] == on]
        below = sorted((r for r in there if r["ratio"] < aim), key=lambda r: r["ratio"])
        listed = ", ".join(f"`{r['name']}` ({r['rule']}, {r['ratio']:.2f})" for r in below)
        sentences.append(
            f"On {on}, {len(there) - len(below)} of {len(there)} are at least {aim:g} times as fast; "
            f"below are {listed}."
        )
    return "\n".join(sentences)


def _peers(rows: Rows) -> str:
    shapes = list(dict.fromkeys(r["shapes"] for r in rows))
    by = {(r["rule"], r["name"], r["shapes"]): r for r in rows}
    lines = []
    for rule, name in dict.fromkeys((r["rule"], r["name"]) for r in rows):
        found = [by.get((rule, name, on)) for on in shapes]
        cells = [f"{_us(r['us'])} ({r['ratio']:.2f})" if r else "—" for r in found]
        engine = next(r["engine"] for r in found if r)
        lines.append([f"`{rule}`", f"`{name}`", engine, *cells])
    return _table(["rule", "optimizer", "engine", *shapes], lines)


def _left_out(rows: Rows) -> str:
    """What could not be stepped, and why."""
    whys: dict[str, list[str]] = {}
    for r in rows:
        if "skipped" in r:
            why = r["skipped"].partition("\n")[0].partition(". ")[0]
            whys.setdefault(why, []).append(r["name"])
    lines = (
        f"- {', '.join(f'`{name}`' for name in dict.fromkeys(names))}: {why}"
        for why, names in whys.items()
    )
    return "\n".join(lines) or "Nothing."


def _joined(paths: Sequence[Path]) -> dict[str, Any]:
    """What several runs of `ravine bench peers` measured, the newer in the place of the older."""
    told = [json.loads(path.read_text()) for path in paths]
    joined = {"environment": told[-1]["environment"]}
    for which in ("peers", "periodic"):
        rows = (row for each in told for row in each.get(which, ()))
        found = {(row["rule"], row["name"], row["shapes"]): row for row in rows}
        joined[which] = [found[key] for key in sorted(found)]
    return joined


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each rule and shape")
    parser.add_argument("--peers", nargs="+", type=Path, default=[], metavar="FILE")
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for section in filter(None, split(args.only)):
        if section not in SECTIONS:
            parser.error(f"--only: {section!r} is none of {', '.join(SECTIONS)}")
        results[section] = [*SECTIONS[section](args.seconds, _progress)]
        results["environments"] = {**results.get("environments", {}), section: environment()}
        write(RESULTS, to_json(results).encode())
    if args.peers:
        results["peers"] = _joined(args.peers)
    write(RESULTS, to_json(results).encode())
    write(DOCS / "images/bench-step.png", picture(against_torch(results["step"]), "png", 150))
    write(PAGE, fill(PAGE.read_text(), tables(results)).encode())


if __name__ == "__main__":
    main()
