"""`ravine list`."""

from __future__ import annotations

import json as json_
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from ravine import registry
from ravine.cli.names import quiet
from ravine.cli.terminal import line, out, width

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def list_rules(json: Json = False) -> None:
    """List the rules, one line each: Ravine's own, then those of other packages."""
    with quiet():
        rules = registry.rules()
    rows = [
        {
            "rule": name,
            "summary": rule.summary,
            "paper": rule.paper,
            "at": rule.at,
            "package": rules.package(name),
        }
        for name, rule in rules.items()
    ]
    if json:
        return print(json_.dumps(rows, indent=2))
    columns = max(len(row["rule"]) for row in rows)
    rows.sort(key=lambda row: row["package"])
    for package, offered in groupby(rows, key=lambda row: row["package"]):
        if package:
            line(f"\nFrom {package}:")
        for row in offered:
            name = (f"{row['rule']:<{columns}}", "bold")
            text = Text.assemble(name, f"  {row['summary']}")
            if out.is_terminal:  # in a pipe nothing is cut off
                text.truncate(width(), overflow="ellipsis")
            out.print(text)
