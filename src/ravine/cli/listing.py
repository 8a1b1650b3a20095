"""`ravine list`."""

from __future__ import annotations

import json as json_
from typing import Annotated, Any

import typer
from rich.text import Text

from ravine import registry
from ravine.cli.names import quiet
from ravine.cli.terminal import line, out, width

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def list_rules(json: Json = False) -> None:
    """List all rules by family, with the year, the bytes of state per float32 parameter, and a summary.

    Families and rules are sorted by year. The bytes are for a 1024 x 1024 matrix. Rules from other
    packages come last.
    """
    from ravine.reading.memory import EXAMPLE, state_bytes

    with quiet():
        rules = registry.rules()
    rows: list[dict[str, Any]] = [
        {
            "rule": name,
            "family": rules.family(name),
            "year": rule.year,
            "state_bytes": round(state_bytes(rule) / (EXAMPLE[0] * EXAMPLE[1]), 2),
            "summary": rule.summary,
            "paper": rule.paper,
            "at": rule.at,
            "variant_of": rule.card.variant_of,
            "differs": list(rule.card.axes),
            "witnesses": [f"{w.package}: {w.name}" for w in rule.card.witnesses],
            "unverified": registry.unverified(rule),
            "package": rules.package(name),
        }
        for name, rule in rules.items()
    ]
    if json:
        return print(json_.dumps(rows, indent=2))
    columns = max(len(str(row["rule"])) for row in rows)
    line(f"  {'rule':<{columns}}  year  bytes")
    by_name = {row["rule"]: row for row in rows}
    for family, names in rules.families().items():
        line(f"\n{family}")
        for row in map(by_name.__getitem__, names):
            name = (f"  {row['rule']:<{columns}}", "bold")
            facts = f"  {row['year']:>4}  {row['state_bytes']:>5g}"
            unverified = " (unverified)" if row["unverified"] else ""
            text = Text.assemble(name, f"{facts}  {row['summary']}{unverified}")
            if out.is_terminal:  # nothing is cut off in a pipe
                text.truncate(width(), overflow="ellipsis")
            out.print(text)
