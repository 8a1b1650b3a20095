"""`ravine which`."""

from __future__ import annotations

import json as json_
from typing import Annotated, Any

import typer

from ravine import elsewhere, registry
from ravine.cli.listing import Json
from ravine.cli.names import find, quiet
from ravine.cli.terminal import line, notes, paragraph
from ravine.elsewhere import Match


def which(
    name: Annotated[
        str,
        typer.Argument(
            help="Another package's optimizer, such as timm.Lamb, or a name that several packages use, "
            "such as lamb."
        ),
    ],
    json: Json = False,
) -> None:
    """Find the rule that matches another package's optimizer, and the names of its options here."""
    with quiet():
        rules = registry.rules()
    found = elsewhere.matches(name, rules.values())
    if json:
        return print(json_.dumps([_row(match) for match in found], indent=2))
    if not found:
        rule = find(name).rule
        why = registry.unverified(rule)
        return paragraph(
            f"{name} is {rule.name}{f': {rule.summary}' if rule.summary else '.'}"
            + f" Unverified: {why}." * bool(why)
        )
    for number, match in enumerate(found):
        if number:
            line()
        _say(match)


def _row(match: Match) -> dict[str, Any]:
    witness = match.witness
    return {
        "name": witness.name,
        "package": witness.package,
        "rule": match.rule.name,
        "defaults": match.defaults,
        "options": match.translation,
        "fixed": witness.fixed,
        "state": dict(witness.state),
        "apart": witness.apart,
        "note": witness.note,
    }


def _say(match: Match) -> None:
    witness = match.witness
    fixed = [f"{option}={value!r}" for option, value in witness.fixed.items()]
    called = f"{witness.name}({', '.join(fixed)})" if fixed else witness.name
    paragraph(f"{called} is {match.expression}: {match.rule.summary}")
    renamed = [f"{k} is {v}" for k, v in match.translation.items() if k != v and not k.isdigit()]
    rows = [("Options ", "; ".join(renamed) or "as here")]
    if witness.state:
        rows.append(("State   ", "; ".join(f"{v} is {k}" for k, v in witness.state.items())))
    if match.rule.card.variant_of:
        card = match.rule.card
        rows.append(("Variant ", f"of {card.variant_of}, which differs in: {', '.join(card.axes)}"))
    if witness.note:
        rows.append(("Note    ", witness.note))
    path = f"{witness.strays} apart" if witness.apart else "the same path to 1e-12"
    rows.append(("Checked ", f"{witness.package}: {path}, 60 steps in float64"))
    notes(rows)
