"""The pages that are made from the source: a rule added to Ravine has its page, and its place here.

`pages()` gives the Markdown of each by its path; hooks.py hands them to mkdocs.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from inspect import getdoc, signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from optimizers import catalogue, elsewhere_page, embed, modifiers_page, rule_page
from prose import markdown, plain, table
from typer.models import ArgumentInfo

from ravine import cli, registry
from ravine.checks.registry import Check, checks, needed

ROOT = Path(__file__).parents[2]
REFERENCE = {
    "ravine": "The language: rules, modifiers, slots, and finding rules by name.",
    "ravine.ops": "What rules are written in.",
    "ravine.modifiers": "Functions from rule to rule.",
    "ravine.hyperparameters": "Meaning, valid range and search range of a hyperparameter.",
    "ravine.torch": "Train PyTorch models.",
    "ravine.numpy": "Train with NumPy.",
    "ravine.reading": "Equations, worked tables, facts about a rule.",
    "ravine.engines": "How a rule becomes a step.",
    "ravine.explorer": "The page in which a rule is read, edited, and moves.",
    "ravine.checks": "Whether an optimizer is right, and what is wrong with it.",
    "ravine.races": "Races: tasks, runs, folders, reports.",
    "ravine.costs": "The cost of a step, computed without running it.",
    "ravine.experiments": "The posts' experiments.",
    "ravine.data": "The embedded data sets.",
}
MODULES = {
    "ravine": ["ravine.rule", "ravine.modifying", "ravine.registry"],
    "ravine.reading": [
        "ravine.reading.about",
        "ravine.reading.algorithm",
        "ravine.reading.equations",
        "ravine.reading.worked",
    ],
    "ravine.engines": [
        "ravine.engines.graph",
        "ravine.engines.tracing",
        "ravine.engines.python",
        "ravine.engines.eager",
        "ravine.engines.digest",
        "ravine.engines.batch",
        "ravine.engines.patterns",
        "ravine.engines.rewriting",
    ],
    "ravine.checks": [
        "ravine.checks.running",
        "ravine.checks.process",
        "ravine.checks.report",
        "ravine.checks.findings",
        "ravine.checks.registry",
        "ravine.checks.subjects",
        "ravine.checks.probe",
        "ravine.checks.search",
        "ravine.checks.wrong",
    ],
    "ravine.races": [
        "ravine.races.contest",
        "ravine.races.task",
        "ravine.races.runs",
        "ravine.races.report",
        "ravine.races.findings",
        "ravine.races.statistics",
        "ravine.races.profiles",
        "ravine.races.store",
    ],
    "ravine.data": ["ravine.data", "ravine.data.fashion_mnist"],
    "ravine.experiments": ["ravine.experiments.diamonds", "ravine.experiments.figure1"],
}


def pages() -> dict[str, str]:
    """Every generated page: its Markdown, by its path below docs/."""
    rules = registry.rules()
    return {
        "optimizers/index.md": catalogue(rules),
        **{f"optimizers/{name}.md": rule_page(rule) for name, rule in rules.items()},
        "optimizers/modifiers.md": modifiers_page(),
        "optimizers/elsewhere.md": elsewhere_page(),
        "reference/index.md": _reference_index(),
        **{f"reference/{name}.md": _reference(name, text) for name, text in REFERENCE.items()},
        "reference/command-line.md": _command_line(),
        "reference/checks.md": _checks(),
        **{f"reference/checks/{name}.md": _check(each) for name, each in own_checks().items()},
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        **{
            f"lessons/{path.stem}.md": _notebook(path)
            for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
        },
    }


def sections() -> dict[str, str]:
    """The navigation's sections of generated pages: the optimizers and the checks, by family."""
    families = registry.rules().families()
    its = {f"optimizers/{name}.md": family for family in families for name in families[family]}
    return its | {
        f"reference/checks/{name}.md": f"checks: {each.family}"
        for name, each in own_checks().items()
    }


# ---- reference ---------------------------------------------------------------------------------


def _reference_index() -> str:
    rows = [(f"[`{name}`]({name}.md)", text) for name, text in REFERENCE.items()]
    rows.append(("[`ravine ...`](command-line.md)", "The command line."))
    return f"# Reference\n\nMade from the source.\n\n{table(('where', 'what'), rows)}\n"


def _reference(name: str, text: str) -> str:
    if name not in MODULES:
        return f"---\ntitle: {name}\n---\n\n::: {name}\n    options:\n      heading_level: 1\n"
    return "\n\n".join([f"# {name}", text, *(f"::: {module}" for module in MODULES[name])]) + "\n"


def own_checks() -> dict[str, Check]:
    """Ravine's checks, without those that others have added to them."""
    return {k: x for k, x in checks().items() if x.run.__module__.startswith("ravine.")}


def _checks() -> str:
    """All checks of `ravine check` by family, with a link to the page of each."""
    parts = ["# Checks", "The checks that `ravine check` performs, by family."]
    families: dict[str, list[Check]] = {}
    for each in own_checks().values():
        families.setdefault(each.family, []).append(each)
    for family, its in families.items():
        rows = [(f"[`{each.name}`](checks/{each.name}.md)", each.asks) for each in its]
        parts += [f"## {family}", table(("check", "what it asks"), rows)]
    return "\n\n".join(parts) + "\n"


def _check(each: Check) -> str:
    """What a check asks and runs, what a fault is, how to fix it: what `--explain` says."""
    needs = f"*F{needed(each.needs)[1:]}.*" if each.needs else ""
    told = re.sub(r"^(\w+): ", r"*\1:* ", markdown(each.explains), flags=re.MULTILINE)
    alone = f"`ravine check mine.py:MyAdam --only {each.name}` performs it alone."
    return "\n\n".join(x for x in (f"# {each.name}", each.asks, told, needs, alone) if x) + "\n"


def _command_line() -> str:
    return "\n\n".join(
        [
            "# Command line",
            plain(cli.app.info.help or ""),
            "Every command has `--help`. Exit codes: 0 success, 1 failure, 2 invalid input, 130 "
            "interrupted.",
            *_commands("ravine", cli.app),
        ]
    )


def _commands(path: str, app: typer.Typer) -> Iterator[str]:
    """The sections of an application's commands and, below them, of its groups'."""
    if app.registered_callback and app.registered_callback.callback:
        yield from _command(path, app.registered_callback.callback)
    for command in app.registered_commands:
        assert command.callback
        yield from _command(f"{path} {command.name or command.callback.__name__}", command.callback)
    for group in app.registered_groups:
        assert group.typer_instance
        yield from _commands(f"{path} {group.name}", group.typer_instance)


def _command(path: str, function: Callable[..., Any]) -> Iterator[str]:
    """A command's section: how it is called, what it does, its options."""
    hints = get_type_hints(function, include_extras=True)
    rows, words = [], [path]
    for name, parameter in signature(function).parameters.items():
        info = next(iter(getattr(hints[name], "__metadata__", ())), None)
        if info is None:
            continue  # typer's context
        about, _, default = plain(info.help or "").partition(" Default: ")
        default = default.rstrip(".")
        if isinstance(info, ArgumentInfo):
            words.append(name.upper())
            spelling = name.upper()
        else:
            given = [info.default, *(info.param_decls or ())]
            spelled = [word for word in given if isinstance(word, str) and word.startswith("-")]
            spelling = ", ".join(spelled or [f"--{name.replace('_', '-')}"])
            takes = info.metavar or _takes(hints[name])
            spelling += f" {takes}" if takes else ""
            if parameter.default not in (None, False):
                default = f"`{parameter.default}`"
        rows.append((f"`{spelling}`", about, default))
    yield f"## {path}"
    yield f"```text\n{' '.join(words)}{' [OPTIONS]' * (len(rows) >= len(words))}\n```"
    yield markdown(getdoc(function) or "")
    if rows:
        yield table(("option", "what it does", "default"), rows)


def _takes(hint: Any) -> str:
    """What an option is followed by: `float | None` is followed by a number."""
    kinds = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}
    inner = hint.__origin__
    return next((kinds[kind] for kind in (inner, *get_args(inner)) if kind in kinds), "")


# ---- notebooks ---------------------------------------------------------------------------------

EMBEDDED = re.compile(r'<iframe[^>]*\bsrc="explorer\.html#([^"]*)"')
"""The explorer in a notebook, in its state."""

IMPORTS = ("import", "from", "    ", ")")
"""How the lines of a cell begin that only imports."""


def _notebook(path: Path) -> str:
    """A notebook as it was committed: its text, its code, folded where it draws, and its outputs."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text.replace("<details>", '<details class="answer" markdown="1">'))
            continue
        shown = list(filter(None, map(_output, cell["outputs"])))
        code = f"```python\n{text}\n```"
        folded = cell["metadata"].get("jupyter", {}).get("source_hidden")
        if folded or all(line.startswith(IMPORTS) for line in text.splitlines() if line):
            summary = "Code of the figure" if folded else "Imports"
            opened = f'<details class="code" markdown="1"><summary>{summary}</summary>'
            code = f"{opened}\n\n{code}\n\n</details>"
        if text.startswith("explore("):
            code = ""  # the explorer shows what it is about
        parts += [code, *shown]
    title, _, text = "\n\n".join(filter(None, parts)).partition("\n")
    return f"{title}\n\n*A notebook: `notebooks/{path.name}`. [All chapters](index.md)*\n{text}\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        png = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="The figure made by the code above." src="data:image/png;base64,{png}">'
    if "image/svg+xml" in data:
        return "".join(data["image/svg+xml"])
    if embedded := re.match(
        r"\s*<iframe[^>]*?explorer\.html#(\S*?)\"", "".join(data.get("text/html", "")), re.S
    ):
        return embed(html.unescape(embedded[1]), "The explorer")
    if "text/html" in data:
        return f'<div class="output">{"".join(data["text/html"])}</div>'
    if "text/latex" in data:
        latex = "".join(data["text/latex"]).strip().strip("$").removeprefix(r"\displaystyle")
        return f"$$\n{latex.strip()}\n$$"
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```" if text else ""
