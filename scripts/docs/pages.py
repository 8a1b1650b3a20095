"""The pages that are made from the source: a rule added to Ravine has its page, and its place here.

`pages()` gives the Markdown of each by its path; hooks.py hands them to mkdocs.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import getdoc, signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from prose import markdown, plain
from typer.models import ArgumentInfo

from ravine import cli, modifiers, registry
from ravine.engines.python import kernel_source
from ravine.engines.tracing import trace
from ravine.hyperparameters import Hyperparameter
from ravine.reading.about import about, source
from ravine.reading.algorithm import markdown as algorithm
from ravine.reading.equations import aligned, latex, reading
from ravine.reading.worked import worked
from ravine.rule import Rule

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
    "ravine.races": "Run folders, and the experiments.",
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
    ],
    "ravine.races": ["ravine.races.store", "ravine.races.diamonds", "ravine.races.figure1"],
}


def pages() -> dict[str, str]:
    """Every generated page: its Markdown, by its path below docs/."""
    rules = registry.rules()
    return {
        "optimizers/index.md": _catalogue(rules.values()),
        **{f"optimizers/{name}.md": rule_page(rule) for name, rule in rules.items()},
        "optimizers/modifiers.md": _modifiers(),
        "reference/index.md": _reference_index(),
        **{f"reference/{name}.md": _reference(name, text) for name, text in REFERENCE.items()},
        "reference/command-line.md": _command_line(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        **{
            f"lessons/{path.stem}.md": _notebook(path)
            for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
        },
    }


# ---- optimizers --------------------------------------------------------------------------------


def _catalogue(rules: Iterable[Rule]) -> str:
    rows = []
    for rule in rules:
        state = about(rule).bytes_of_matrix(4)
        rows.append((f"[`{rule.name}`]({rule.name}.md)", plain(rule.summary), state))
    return f"""\
# Optimizers

Each page is made from the rule's own source. Bytes are those of the state of a float32 matrix of
m × n, with the default hyperparameters.

{_table(("rule", "what it does", ">bytes"), rows)}

A rule can be changed by a [modifier](modifiers.md): weight decay, clipping, direction.
To write one of your own, see [Write your own rule](../how-to/write-a-rule.md).
"""


def rule_page(rule: Rule) -> str:
    """All there is to say of a rule."""
    facts = about(rule)
    name = rule.name
    layers = [function.__name__ for function in rule.sources]
    class_name = "".join(part.capitalize() for part in name.split("_"))
    graph = trace(rule)
    bias = ", bias=False" * graph.of_arrays
    parts = [
        f"# {name}",
        plain(facts.summary),
        *map(plain, filter(None, facts.text.split("\n\n"))),
        f"{plain(rule.paper)}  \n{_linked(rule.at)}",
        "## Source",
        *([f"`{' around '.join(layers)}`; `step` is what it is around."] * (len(layers) > 1)),
        *map(_source, rule.sources),
        "## Algorithm",
        "At the default hyperparameters.",
        algorithm(rule),
        *_other_switches(rule),
        "## Hyperparameters",
        _hyperparameters(rule.hyperparameters.values()),
        "## State",
        *_state(rule),
        *_elsewhere(facts.elsewhere),
        "## Use it",
        f"```python\nimport torch\nimport ravine.torch\nfrom ravine.rules import {name}\n\n"
        f"{class_name} = ravine.torch.optimizer({name})\n"
        f"optimizer = {class_name}(torch.nn.Linear(3, 1{bias}).parameters(), lr=0.01)\n```",
        *([] if graph.of_arrays else _steps(rule)),
        "## As the tracer sees it",
        "The step printed from the rule's graph, at the default hyperparameters: switches are "
        "decided, what depends on scalars alone is computed once.",
        f"```python\n{kernel_source(graph)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _steps(rule: Rule) -> list[str]:
    steps = worked(rule, [0.5, 0.3, -0.2], lr=0.1)
    return [
        "## Three steps by hand",
        "One parameter that starts at 1, `lr` 0.1, the other hyperparameters at their defaults. "
        "`step` is what the parameter goes down by.",
        _table([f">{column}" for column in steps[0]], [_numbers(row.values()) for row in steps]),
        "The same in a terminal, with as many steps and digits as you like:",
        f"```sh\nravine show {rule.name} --worked 3 --gradients 0.5,0.3,-0.2 --set lr=0.1\n```",
    ]


def _source(function: Callable[..., Any]) -> str:
    """The function's source, its first line broken at the star where a page is too narrow for it."""
    first, rest = source(function).split("\n", 1)
    if len(first) > 76:
        first = re.sub(r"\((.*?\*), (.*)\):", r"(\n    \1,\n    \2,\n):", first)
    return f"```python\n{first}\n{rest}```"


def _linked(at: str) -> str:
    """A place in the literature, its arXiv number or DOI a link."""
    text = re.sub(r"arXiv:([\d.]+\d)", r"[arXiv:\1](https://arxiv.org/abs/\1)", plain(at))
    return re.sub(r"doi:([^\s,]+)", r"[doi:\1](https://doi.org/\1)", text)


def _hyperparameters(given: Iterable[Hyperparameter]) -> str:
    rows = []
    for h in given:
        accepted = h.accepted.replace(", ", ",&nbsp;").replace(
            "= ", "=&nbsp;"
        )  # [0, 1) in one piece
        rows.append((f"`{h.name}`", f"`{h.default}`", plain(h.meaning), accepted, h.searched))
    return _table(("name", ">default", "meaning", "accepted", "worth searching"), rows)


def _other_switches(rule: Rule) -> Iterator[str]:
    """The equations that are others when a switch is."""
    default = [aligned([e]) for e in reading(rule).equations]
    for switch, on in trace(rule).switches.items():
        value = _turned(rule, switch, on)
        changed = [
            e for e in reading(rule, {switch: value}).equations if aligned([e]) not in default
        ]
        if changed:
            other_than_0 = value and not isinstance(value, bool)
            yield f"With `{switch}` other than 0:" if other_than_0 else f"With `{switch}={value}`:"
            yield f"$$\n{aligned(changed)}\n$$"


def _turned(rule: Rule, switch: str, on: bool) -> Any:
    """A value with which a switch is not as it is by default."""
    return (
        (not on) if isinstance(rule.hyperparameters[switch].default, bool) else 0.0 if on else 0.5
    )


def _state(rule: Rule) -> Iterator[str]:
    """What is kept, at the defaults and with each switch that is off by default."""
    default = about(rule)
    yield f"{default.kept('`')}."
    for switch, on in trace(rule).switches.items():
        value = _turned(rule, switch, on)
        if not on and about(rule, **{switch: value}).state != default.state:
            yield f"With `{switch}`: {about(rule, **{switch: value}).kept('`')}."


def _elsewhere(notes: Iterable[tuple[str, str]]) -> Iterator[str]:
    if entries := [f"- **{plain(package)}**: {plain(what)}" for package, what in notes]:
        yield "## Elsewhere"
        yield "How other packages and the papers differ."
        yield "\n".join(entries)


def _modifiers() -> str:
    parts = [
        "# Modifiers",
        "A modifier is a function from rule to rule: `decoupled_decay(adam)` is AdamW. The outer "
        "one sees the gradient first and the parameter last. In the equations, step is the inner "
        "rule's step.",
        "```python\nimport numpy as np\nimport ravine.numpy\nfrom ravine.modifiers import "
        "clip_by_global_norm, decoupled_decay\nfrom ravine.rules import adam\n\n"
        "rule = clip_by_global_norm(decoupled_decay(adam, weight_decay=0.1), max_norm=1.0)\n"
        "optimizer = ravine.numpy.optimizer(rule)(np.ones(3), lr=0.01)\n```",
    ]
    for name in modifiers.__all__:
        modifier = getattr(modifiers, name)
        function = modifier.__wrapped__
        inner = registry.get("sgd")
        own = [
            h
            for key, h in modifier(inner).hyperparameters.items()
            if key not in inner.hyperparameters
        ]
        parts += [
            f"## {name}",
            markdown(inspect.cleandoc(modifier.__doc__)),
            _source(function),
            f"$$\n{latex(function)}\n$$",
            _hyperparameters(own),
        ]
    return "\n\n".join(parts) + "\n"


# ---- reference ---------------------------------------------------------------------------------


def _reference_index() -> str:
    rows = [(f"[`{name}`]({name}.md)", text) for name, text in REFERENCE.items()]
    rows.append(("[`ravine ...`](command-line.md)", "The command line."))
    return f"# Reference\n\nMade from the source.\n\n{_table(('where', 'what'), rows)}\n"


def _reference(name: str, text: str) -> str:
    if name not in MODULES:
        return f"---\ntitle: {name}\n---\n\n::: {name}\n    options:\n      heading_level: 1\n"
    return "\n\n".join([f"# {name}", text, *(f"::: {module}" for module in MODULES[name])]) + "\n"


def _command_line() -> str:
    return "\n\n".join(
        [
            "# Command line",
            plain(cli.app.info.help or ""),
            "Every command has `--help`. Exit codes: 0 done, 1 failed, 2 not accepted, 130 "
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
        yield _table(("option", "what it does", "default"), rows)


def _takes(hint: Any) -> str:
    """What an option is followed by: `float | None` is followed by a number."""
    kinds = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}
    inner = hint.__origin__
    return next((kinds[kind] for kind in (inner, *get_args(inner)) if kind in kinds), "")


# ---- notebooks ---------------------------------------------------------------------------------


def _notebook(path: Path) -> str:
    """A notebook as it was committed: its text, its code, its outputs."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text.replace("<details>", '<details markdown="1">'))
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{text}\n```")
            parts += filter(None, map(_output, cell["outputs"]))
    title, _, text = "\n\n".join(parts).partition("\n")
    return (
        f"{title}\n\n*This is `notebooks/{path.name}`, as it was saved with its outputs.*\n{text}\n"
    )


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        png = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="The figure made by the code above." src="data:image/png;base64,{png}">'
    if "image/svg+xml" in data:
        return "".join(data["image/svg+xml"])
    if "text/html" in data:
        return f'<div class="output">{"".join(data["text/html"])}</div>'
    if "text/latex" in data:
        latex = "".join(data["text/latex"]).strip().strip("$").removeprefix(r"\displaystyle")
        return f"$$\n{latex.strip()}\n$$"
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```" if text else ""


# ---- Markdown ----------------------------------------------------------------------------------


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a column whose name begins with > is set flush right."""
    lines = [
        [column.lstrip(">") for column in columns],
        ["--:" if column.startswith(">") else ":--" for column in columns],
        *([cell.replace("|", r"\|") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _numbers(values: Iterable[float]) -> list[str]:
    return [str(value) if isinstance(value, int) else f"{value:.6g}" for value in values]
