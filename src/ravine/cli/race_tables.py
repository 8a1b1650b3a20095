"""The printed tables of the races."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ravine.cli.terminal import NONE, line, notes, number, paragraph, table, title

__all__ = ["print_race"]

Rows = Sequence[Mapping[str, Any]]


def print_race(tables: Mapping[str, Rows]) -> None:
    """Print the tables of a race, each by its name."""
    for name, rows in tables.items():
        _PRINTERS[name](rows)
        line()


def _as_published(rows: Rows) -> None:
    title("Diamonds as published: the post's numbers, reproduced with its bugs")
    columns = ("method", ">runtime s", ">actual RMSE", ">published s", ">published RMSE")
    cells = []
    for r in rows:
        published = f"{r['published_seconds']:.2f}", repr(r["published_rmse"])
        cells.append((r["method"], f"{r['seconds']:.2f}", repr(r["rmse"]), *published))
    table(columns, cells)
    notes(
        (r["method"], f"{r['reason']} ({_agree(r['digits'])}, {r['epochs']} epochs)") for r in rows
    )


def _agree(digits: int) -> str:
    return "all digits agree" if digits >= 16 else f"{digits} digits agree"


def _corrected(rows: Rows) -> None:
    title("Diamonds corrected: the sign fixed, on the post's random stream")
    table(
        ("method", ">runtime s", ">actual RMSE", ">epochs"),
        [(r["method"], f"{r['seconds']:.3f}", f"{r['rmse']:.4f}", str(r["epochs"])) for r in rows],
    )
    line()
    _seeds(rows, f"Diamonds corrected, over {_counted(rows)}")


def _exercise(rows: Rows) -> None:
    batch = rows[0]["batch_size"]
    kind = {1: "SGD", "all": "gradient descent"}.get(batch, "mini-batch")
    _seeds(rows, f"Diamonds with your settings: batch size {batch} ({kind}), {_counted(rows)}")


def _counted(rows: Rows) -> str:
    count = rows[0]["seeds"]
    return "1 seed" if count == 1 else f"{count} seeds"


def _seeds(rows: Rows, heading: str) -> None:
    title(heading)
    quartiles = ("min", "median", "max")
    spread = (f">{what} {k}" for what in ("RMSE", "epochs") for k in quartiles)
    cells = []
    for r in rows:
        rmse = (f"{r[f'rmse_{k}']:.2f}" for k in quartiles)
        epochs = (f"{r[f'epochs_{k}']:.0f}" for k in quartiles)
        cells.append((r["method"], number(r["lr"], "g"), *rmse, *epochs, f"{r['us_per_step']:.2f}"))
    table(("method", ">lr", *spread, ">µs/step"), cells)
    stopped = ", ".join(f"{r['method']}\xa0{r['stopped']}" for r in rows)
    below = [("stopped by the threshold", f"{stopped}, of {rows[0]['seeds']} each")]
    if any(math.isnan(r["rmse_median"]) for r in rows):
        below.append(("nan", "a run diverged"))
    if any(r["lr"] is None for r in rows):
        below.append((NONE, "the rule has no lr"))
    notes(below)


def _floor(rows: Rows) -> None:
    title("The floor: what a straight line can do")
    cells = []
    for r in rows:
        errors = (f"{r[k]:.4f}" for k in ("train_rmse", "test_rmse"))
        cells.append((r["line"], f"{r['m']:.7g}", f"{r['b']:.4g}", *errors))
    table(("line", ">m", ">b", ">train RMSE", ">test RMSE"), cells)


def _figure_1(rows: Rows) -> None:
    title("Figure 1: running mean of the training loss at the last iteration")
    cells = []
    for r in rows:
        ends = (f"{r[k]:.4f}" for k in ("mean", "min", "max"))
        cells.append((r["optimizer"], number(r["lr"], "g"), *ends, f"{r['seconds']:.2f}"))
    table(("optimizer", ">lr", ">mean", ">min", ">max", ">seconds"), cells)
    notes([("lr", "not tuned: this compares implementations and does not rank the optimizers")])


def _pairs(rows: Rows) -> None:
    title("Largest difference within each pair, over all iterations and seeds")
    table(
        ("torch.optim", "Ravine", ">running mean", ">parameters"),
        [(r["torch"], r["ravine"], f"{r['loss']:.1e}", f"{r['parameters']:.1e}") for r in rows],
    )


def _faults(rows: Rows) -> None:
    title("What each fault of the first post does: step length relative to torch's")
    steps = [key for key in rows[0] if key.startswith("step_")]
    heads = (f">step {key[5:]}" for key in steps)
    cells = []
    for r in rows:
        ratios = (_range(*r[key]) for key in steps)
        cells.append((r["optimizer"], *ratios, f"{r['mean']:.4f}", f"{r['right']:.4f}"))
    table(("optimizer", *heads, ">loss", ">right"), cells)
    notes((r["optimizer"], r["says"]) for r in rows)


def _range(low: float, high: float) -> str:
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f}-{high:.2f}"


def _claims(rows: Rows) -> None:
    for r in rows:
        paragraph(f"{r['claim']} ({r['source']}): {r['verdict']}", style="bold")
        paragraph(r["sentence"], 2)
        for part in r["depends_on"]:
            paragraph(f"- {part}", 4)
        line()


def _claims_races(rows: Rows) -> None:
    title("What was measured: loss at the end, tuned, start = 1; without decay and clipping")
    cells = []
    for r in rows:
        if not r["decay"] and not r["clip"]:
            ends = (f"{r[k]:.2g}" for k in ("loss", "low", "high"))
            rate = f"{r['learning_rate']:g}{'!' * r['edge']}"
            cells.append((r["problem"], r["optimizer"], rate, *ends, f"{r['diverged']:.0%}"))
    columns = ("problem", "optimizer", ">lr", ">loss", ">95% low", ">95% high", ">diverged")
    table(columns, cells)
    notes([("!", "the best learning rate is the first or last of the grid")])


def _conditioning(rows: Rows) -> None:
    for batch in dict.fromkeys(r["batch"] for r in rows):
        title(f"Steps until the gap is 1e-2 and 1e-4 of its initial value; batch: {batch}")
        columns = ("columns", "form", ">condition", "optimizer", ">1e-2", ">1e-4", ">gap")
        cells, before = [], None
        for r in (r for r in rows if r["batch"] == batch):
            case = (r["columns"], r["form"], f"{r['condition']:.2g}")
            steps = (_steps(r[f"steps_{t}"]) for t in ("1e-2", "1e-4"))
            end = f"{r['gap']:.1e}", f"{r['diverged']:.0%}"
            cells.append(
                (*(case if case != before else ("", "", "")), r["optimizer"], *steps, *end)
            )
            before = case
        table((*columns, ">diverged"), cells)
        line()


def _steps(count: float) -> str:
    return f"{count:,.0f}" if count < float("inf") else "never"


def _conclusion(rows: Rows) -> None:
    paragraph(rows[0]["conclusion"])


_PRINTERS: dict[str, Callable[[Rows], None]] = {
    "claims": _claims,
    "claims-races": _claims_races,
    "conditioning": _conditioning,
    "conditioning-conclusion": _conclusion,
    "diamonds-as-published": _as_published,
    "diamonds-corrected": _corrected,
    "diamonds-exercise": _exercise,
    "diamonds-floor": _floor,
    "figure-1": _figure_1,
    "figure-1-pairs": _pairs,
    "figure-1-faults": _faults,
}
