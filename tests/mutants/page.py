"""The page of the score: counts, what is not explained, and a hundred sentences with a reader's judgement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

__all__ = ["JUDGEMENTS", "PAGE", "RESULTS", "WRONG", "key", "page", "sample"]

DOCS = Path(__file__).parents[2] / "docs"
RESULTS, PAGE = DOCS / "checker-score.json", DOCS / "checker-score.md"
JUDGEMENTS = DOCS / "checker-score-judged.json"
WRONG = ("explained", "detected", "missed", "becomes NaN")
Row = Mapping[str, Any]


_INTRODUCTION = """# How good is the checker?

<!-- Made by `python -m mutants` in tests/. -->

Ten optimizers are written the way textbooks write them, half in NumPy, half in PyTorch. A program
introduces one slip at a time into each source text: a different operator, a wrong constant, a missing
term, root or correction, a different variable, t − 1 for t, missing or reordered statements, results
that are not stored. The texts do not use Ravine, and the slips are not taken from its catalogue of
faults. `ravine check --like` then has to find out what is wrong. Measured on {date}, with up to
{seconds:g} seconds of processor time for each search.

- **{detected} of {wrong} wrong optimizers are detected: {of_detected}.**
- **{explained} of them are explained exactly: {of_explained}.** The checker gives a sentence, and the rule
  it describes follows the path of the mutant, in every update, to at least six digits. If parameters
  become NaN, that path is taken with gentler gradients, in complex numbers where possible.
- {nan} become NaN even so, in most updates. Their sentences count as unexplained, since many faults look
  the same then.
- {equivalent} mutants are equivalent: side by side with the original text, on other gradients and
  without Ravine, they follow the same path. {failing} raise an error. Neither kind is counted above.

`PYTHONPATH=tests python -m mutants` measures it again.
"""


def key(row: Row) -> str:
    """What a judgement is found by: the mutant."""
    return f"{row['text']} {row['number']}: {row['was']} → {row['now']}"


def sample(rows: Sequence[Row], size: int = 100) -> list[Row]:
    """Explained mutants for a reader to judge: drawn by the digests of their keys, so always the same."""
    explained = [r for r in rows if r["outcome"] == "explained"]
    drawn = sorted(explained, key=lambda r: sha256(key(r).encode()).hexdigest())[:size]
    return sorted(drawn, key=lambda r: (r["text"], r["line"], r["was"], r["now"]))


def page(found: Mapping[str, Any], judgements: Mapping[str, Mapping[str, str]]) -> str:
    """The page as Markdown.

    judgements: of sentences, by the :func:`key` of their mutants: "says", the sentence that was judged,
    "judgement", and "why".
    """
    rows = found["mutants"]
    wrong = [r for r in rows if r["outcome"] in WRONG]
    counts = Counter(r["outcome"] for r in rows)
    detected = len(wrong) - counts["missed"]
    return "\n".join(
        [
            _INTRODUCTION.format(
                date=found["date"],
                seconds=found["seconds"],
                wrong=len(wrong),
                detected=detected,
                of_detected=_percent(detected, len(wrong)),
                nan=counts["becomes NaN"],
                of_explained=_percent(counts["explained"], len(wrong)),
                explained=counts["explained"],
                equivalent=counts["equivalent"],
                failing=counts["cannot run"],
            ),
            *_table(
                (
                    "optimizer",
                    "mutants",
                    "cannot run",
                    "equivalent",
                    "wrong",
                    "detected",
                    "become NaN",
                    "explained",
                ),
                [_line(name, rows) for name in dict.fromkeys(r["text"] for r in rows)],
            ),
            "",
            "## What is not explained",
            "",
            *_table(
                ("optimizer", "before", "after", "the checker says"),
                [
                    (r["text"], f"`{r['was']}`", f"`{r['now']}`", r["says"] or r["rule"])
                    for r in rows
                    if r["outcome"] in ("detected", "missed", "becomes NaN")
                ],
            ),
            "",
            *_judged([r for r in rows if key(r) in judgements], judgements),
            "",
        ]
    )


def _judged(drawn: Sequence[Row], judgements: Mapping[str, Mapping[str, str]]) -> list[str]:
    if not drawn:
        return []
    its = [judgements[key(r)] for r in drawn]
    counts = Counter(j["judgement"] for j in its)
    said = ", ".join(f"{n} {k}" for k, n in counts.most_common())
    return [
        "## A sample of sentences, read",
        "",
        f"An exact sentence may still not help. A reader compared the sentences for {len(drawn)} "
        f"explained mutants with the slips: {said}. *Names it*: the sentence says what was done to the "
        "text. *Says the same*: it describes the same computation in other terms. *Far-fetched*: it is "
        "exact, but points to the wrong place.",
        "",
        *_table(
            ("optimizer", "before", "after", "the checker says", "judgement"),
            [
                (
                    r["text"],
                    f"`{r['was']}`",
                    f"`{r['now']}`",
                    r["says"],
                    "; ".join(x for x in (j["judgement"], j["why"]) if x),
                )
                for r, j in zip(drawn, its, strict=True)
            ],
        ),
    ]


def _line(name: str, rows: Iterable[Row]) -> tuple[str, ...]:
    its = Counter(r["outcome"] for r in rows if r["text"] == name)
    wrong = sum(its[k] for k in WRONG)
    return (
        name,
        str(its.total()),
        str(its["cannot run"]),
        str(its["equivalent"]),
        str(wrong),
        _percent(wrong - its["missed"], wrong),
        str(its["becomes NaN"]),
        _percent(its["explained"], wrong),
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    return [line(head), line([":--"] * len(head)), *(line(r) for r in rows)]
