"""The page "Who implements what", of a survey's rows and of what was confirmed by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["confirmed", "kept", "page"]

Row = Mapping[str, Any]
_KEPT = (
    "package",
    "version",
    "optimizer",
    "arguments",
    "aliases",
    "command",
    "verdict",
    "rule",
    "says",
    "distance",
    "evidence",
    "defaults",
    "faults",
)
_INTRODUCTION = """# Who implements what

<!-- Made by scripts/make_survey.py of survey.json and survey-confirmed.json. -->

Which rule do {optimizers} optimizers of {packages} packages implement? Each is given gradients, and its
path is compared with those of all rules that Ravine knows ([how](how-to/check-an-optimizer.md)).
Surveyed on {date}.{note}

- {right} follow the path of a known rule, in every update; {variants} of these follow a named variant,
  or a convention that exists in both forms.
- {faulty} have a fault that was confirmed by hand, against the paper or the authors' code:
  [below](#faults).
- {documented} differ from the rule of their name, and their documentation says so.
- {unknown} follow no rule known to Ravine. That is not a fault: most are methods that Ravine does not
  have, or known rules with additional options, and each search was limited to five seconds.
- {failed} could not be run, most of them because they need an accelerator, a closure or arguments.

```sh title="Not run: it takes hours"
ravine check --survey                      # the installed packages, into survey.jsonl
ravine check --survey optax,timm --out FILE
```

Each package is surveyed in a separate process, with a time limit for each optimizer, and an interrupted
survey resumes where it stopped. Arguments have their defaults unless they are listed here;
hyperparameters are set to values that make their effects visible.
"""


def kept(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows with what the page needs, and no more."""
    return [{k: r[k] for k in _KEPT} for r in rows]


def confirmed(rows: Sequence[Row], confirmations: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The confirmations, each with the row of its optimizer.

    Raises LookupError for one that no row has, with that version: it has to be looked at again.
    """
    by = {(r["optimizer"], r["arguments"], r["version"]): r for r in rows}
    found = []
    for c in confirmations:
        key = (c["optimizer"], c.get("arguments", ""), c["version"])
        if key not in by:
            raise LookupError(
                f"{c['optimizer']} {c['version']} has a confirmation, but that version was not surveyed"
            )
        found.append((by[key], c))
    return found


def page(rows: Sequence[Row], confirmations: Sequence[Row], date: str, note: str = "") -> str:
    """The page as Markdown. note: what else there is to say of the survey."""
    known = confirmed(rows, confirmations)
    by = {(r["optimizer"], r["arguments"]): c for r, c in known}
    kinds = Counter(_kind(r, by.get(_key(r))) for r in rows)
    lines = [
        _INTRODUCTION.format(
            optimizers=len(rows),
            packages=len({r["package"] for r in rows}),
            date=date,
            note=f" {note}" if note else "",
            right=kinds["right"] + kinds["variant"],
            variants=kinds["variant"],
            faulty=kinds["fault"],
            documented=kinds["documented"],
            unknown=kinds["unknown"],
            failed=kinds["failed"],
        )
    ]
    faults = [(r, c) for r, c in known if c["kind"] == "fault"]
    if faults:
        lines += ["## Faults", "", *_faults(faults), ""]
    told = [(r, c) for r, c in known if c["kind"] == "documented"]
    if told:
        lines += ["## Different, and documented", "", *_faults(told), ""]
    for package in dict.fromkeys(sorted((r["package"] for r in rows), key=str.lower)):
        its = [r for r in rows if r["package"] == package]
        lines += [f"## {package} {its[0]['version']}", "", '<details markdown="1">']
        many = "1 optimizer" if len(its) == 1 else f"{len(its)} optimizers"
        lines += [f"<summary>{many}</summary>", ""]
        lines += _table(
            ("optimizer", "what it is", "defaults"),
            [(_name(r), _is(r, by.get(_key(r))), _defaults(r)) for r in its],
        )
        lines += ["", "</details>", ""]
    return "\n".join(lines)


def _key(row: Row) -> tuple[str, str]:
    return row["optimizer"], row["arguments"]


def _kind(row: Row, confirmation: Row | None) -> str:
    """What an optimizer counts as."""
    if confirmation is not None:
        return str(confirmation["kind"])
    verdict = row["verdict"]
    if verdict in ("variant", "another rule"):
        return "variant"
    if verdict in ("right", "single precision"):
        return "right"
    return "failed" if verdict == "could not run" else "unknown"


def _faults(some: Iterable[tuple[Row, Row]]) -> list[str]:
    lines = []
    for row, c in some:
        lines += [
            f"**`{_spelt(row)}`** ({row['package']} {row['version']}): {c['fault']}",
            "",
            f"- It does: {c['does']}",
            f"- It should: {c['should']}",
            f"- Source: {c['source']}. Confirmed {c['how']}.",
            f"- `{c.get('command') or row['command']}`",
            "",
        ]
    return lines


def _spelt(row: Row) -> str:
    return f"{row['optimizer']}({row['arguments']})" if row["arguments"] else str(row["optimizer"])


def _name(row: Row) -> str:
    last = row["optimizer"].rpartition(":")[2]
    aliases = ", ".join(sorted({a.rpartition(":")[2] for a in row["aliases"]} - {last}))
    name = f"`{last}({row['arguments']})`" if row["arguments"] else f"`{last}`"
    return f"{name} ({aliases})" if aliases else name


def _is(row: Row, confirmation: Row | None) -> str:
    """The identity, in words."""
    if confirmation is not None:
        where = "#faults" if confirmation["kind"] == "fault" else "#different-and-documented"
        word = "**fault**" if confirmation["kind"] == "fault" else "documented"
        return f"[{word}]({where}): {confirmation['fault']}"
    verdict, rule, says = row["verdict"], f"`{row['rule']}`", row["says"]
    if verdict == "right":
        return f"{rule}; {says}" if says else rule
    if verdict == "single precision":
        return f"{rule}, in float32"
    if verdict == "variant":
        return f"{rule}, {says}" if "another convention" in says else f"{rule}, a variant"
    if verdict == "another rule":
        return f"{rule}, which is not the rule that its name suggests"
    if verdict == "could not run":
        return f"could not be run: {says.splitlines()[0][:110] if says else ''}"
    return "differs from every known rule"


def _defaults(row: Row) -> str:
    return ", ".join(f"{k} {_short(v)}" for k, v in row["defaults"].items())


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    return [line(head), line([":--"] * len(head)), *(line(r) for r in rows)]
