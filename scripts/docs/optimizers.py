"""The optimizers' pages: made from rules and their cards, and what scripts/make_gallery.py measured."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import gallery
from prose import markdown, plain, table

from ravine import modifiers, registry
from ravine.engines.python import kernel_source
from ravine.engines.tracing import trace
from ravine.explorer import fragment
from ravine.explorer.sources import offered
from ravine.hyperparameters import Hyperparameter
from ravine.reading.about import about, helpers, source
from ravine.reading.algorithm import markdown as algorithm
from ravine.reading.equations import aligned, latex, reading
from ravine.reading.worked import worked
from ravine.rule import Rule
from ravine.spellings import class_name


def catalogue(rules: registry.Rules) -> str:
    """The page of all optimizers, by family, each with a picture."""
    parts = [
        "# Optimizers",
        "Each optimizer has a page, generated from its source and from test runs: its equations, where it "
        "fails, how fast it is, and what it is called elsewhere. Families and rules are sorted by year. "
        f"The pictures show {gallery.POINTS} steps in Rosenbrock's valley, at the best learning rate. "
        "Bytes are the state for a float32 matrix of m × n, with the default hyperparameters.",
        "[Modifiers](modifiers.md) change a rule: weight decay, clipping, averaging, other directions. "
        "[Names elsewhere](elsewhere.md) lists what other packages call each rule. "
        "[Write your own rule](../how-to/write-a-rule.md) shows how to add one.",
        gallery.contours(),
    ]
    for family, names in rules.families().items():
        cards = [_card(name, rules[name]) for name in names]
        parts += [f"## {plain(family)}", '<div class="rules" markdown>', *cards, "</div>"]
    return "\n\n".join(parts) + "\n"


def _card(name: str, rule: Rule) -> str:
    """What the catalogue shows of a rule."""
    bytes_ = about(rule).bytes_of_matrix(4)
    facts = " · ".join(
        filter(None, [rule.year, f"{bytes_} bytes" if bytes_ != "0" else "no state"])
    )
    unverified = " Unverified." * bool(registry.unverified(rule))
    return (
        f'<div class="rule" markdown>\n{gallery.picture(name)}\n\n[`{name}`]({name}.md) {facts}\n\n'
        f"{plain(rule.summary)}{unverified}\n</div>"
    )


def rule_page(rule: Rule) -> str:
    """All the facts about a rule."""
    facts = about(rule)
    layers = [function.__name__ for function in rule.sources]
    graph = trace(rule)
    parts = [
        f"# {rule.name}",
        plain(facts.summary),
        *map(plain, filter(None, facts.text.split("\n\n"))),
        f"{plain(rule.paper)}  \n{_linked(rule.at)}",
        *_proof(rule),
        _use(rule),
        *gallery.landscapes(rule),
        *explorer(rule),
        "## Source",
        *([f"`{' around '.join(layers)}`; `step` is the inner rule's step."] * (len(layers) > 1)),
        *map(_source, (*rule.sources, *helpers(rule))),
        "## Algorithm",
        "At the default hyperparameters.",
        algorithm(rule),
        *_other_switches(rule),
        "## Hyperparameters",
        _hyperparameters(rule.hyperparameters.values()),
        *gallery.trials(rule),
        "## State and speed",
        *_state(rule),
        *gallery.speed(rule),
        *gallery.relatives(rule),
        *_elsewhere(facts.elsewhere),
        *_names(rule),
        *([] if graph.of_arrays else _steps(rule)),
        "## As the tracer sees it",
        "The step printed from the rule's graph, at the default hyperparameters: switches are "
        "resolved, and anything that depends only on scalars is computed once.",
        f"```python\n{kernel_source(graph)}```",
    ]
    return "\n\n".join(parts) + "\n"


EXPLORER = "assets/explorer.html"
"""Where the site has the explorer: one file, which each page shows in another state."""


def frame(state: dict[str, Any], title: str) -> str:
    """The explorer in a state, in a page that is one folder below the site's root."""
    return embed(fragment({"embed": True, **state}), title)


def embed(state: str, title: str) -> str:
    """The same, for a state as it is written in an address."""
    address, title = html.escape(f"../{EXPLORER}#{state}"), html.escape(title)
    return f'<iframe class="explorer" src="{address}" title="{title}" loading="lazy"></iframe>'


def explorer(rule: Rule) -> Iterator[str]:
    """The rule to edit and to move, where the explorer has it."""
    if rule.name in offered():
        land = "matrix" if trace(rule).of_arrays else "ravine"
        yield "## Edit it and watch it move"
        yield frame({"rule": rule.name, "land": land}, f"The explorer: {rule.name}")
        yield "[What the explorer can do](../explorer.md)"


def _proof(rule: Rule) -> Iterator[str]:
    """What it was held against."""
    card = rule.card
    if why := registry.unverified(rule):
        yield f"**Unverified:** {plain(why)}."
    elif card.witnesses:
        packages = list(dict.fromkeys(witness.package for witness in card.witnesses))
        yield f"Follows the recorded paths of {gallery.listed(packages)} to 10⁻¹² in float64."
    else:
        yield "Follows an independent transcription of its paper in 50 digits, to 10⁻¹² in float64."


def _names(rule: Rule) -> Iterator[str]:
    """What it is called elsewhere, where it is the same."""
    if not rule.card.known:
        return
    yield "## The same in other packages"
    rows = []
    for witness in rule.card.known:
        fixed = ", ".join(f"{k}={v!r}" for k, v in witness.fixed.items())
        options = {k: v if isinstance(v, str) else ", ".join(v) for k, v in witness.options.items()}
        renamed = ", ".join(
            f"`{k}` is `{v}`" for k, v in options.items() if k != v and not k.isdigit()
        )
        called = f"`{witness.name}`" + f" with `{fixed}`" * bool(fixed)
        apart = f"; {witness.strays} apart: {witness.note}" if witness.apart else ""
        rows.append((called, witness.package, f"{renamed or 'as here'}{apart}"))
    yield table(("optimizer", "version", "options"), rows)
    if any(witness.state for witness in rule.card.known):
        yield "[`ravine.torch.convert`](../how-to/checkpoint.md) reads its checkpoints."


def _use(rule: Rule) -> str:
    """How it is imported and made."""
    name = class_name(rule)
    bias = ", bias=False" * trace(rule).of_arrays
    rate = ", lr=0.01" * ("lr" in rule.hyperparameters)
    return (
        f"```python\nimport torch\nfrom ravine.torch import {name}\n\n"
        f"model = torch.nn.Linear(3, 1{bias})\n"
        f"optimizer = {name}(model.parameters(){rate})\n```"
    )


def _steps(rule: Rule) -> list[str]:
    steps = worked(rule, [0.5, 0.3, -0.2], lr=0.1)
    return [
        "## Three steps by hand",
        "One parameter that starts at 1, with `lr` 0.1 and the defaults of the other hyperparameters. "
        "`step` is the amount subtracted from the parameter.",
        table([f">{column}" for column in steps[0]], [_numbers(row.values()) for row in steps]),
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
    """A place in the literature, its arXiv number, DOI or address a link."""
    text = re.sub(r"arXiv:([\d.]+\d(?:v\d+)?)", r"[arXiv:\1](https://arxiv.org/abs/\1)", plain(at))
    text = re.sub(r"doi:([^\s,;]+)", r"[doi:\1](https://doi.org/\1)", text)
    places = r"(?<![\w/.])((?:github\.com|openreview\.net|\w+\.github\.io|jmlr\.org|spaces\.ac\.cn)/[^\s,;]+)"
    return re.sub(places, r"[\1](https://\1)", text)


def _hyperparameters(given: Iterable[Hyperparameter]) -> str:
    rows = []
    for h in given:
        accepted = h.accepted.replace(", ", ",&nbsp;").replace(
            "= ", "=&nbsp;"
        )  # [0, 1) in one piece
        rows.append((f"`{h.name}`", f"`{h.default}`", plain(h.meaning), accepted, h.searched))
    return table(("name", ">default", "meaning", "accepted", "worth searching"), rows)


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
    h = rule.hyperparameters[switch]
    if isinstance(h.default, bool):
        return not on
    return 0 if on else (1 if h.whole else 0.5)


def _state(rule: Rule) -> Iterator[str]:
    """What is kept, at the defaults and with each switch that is off by default."""
    default = about(rule)
    yield f"{default.kept('`')}."
    for switch, on in trace(rule).switches.items():
        value = _turned(rule, switch, on)
        if not on and about(rule, **{switch: value}).state != default.state:
            yield f"With `{switch}`: {about(rule, **{switch: value}).kept('`')}."


def _elsewhere(notes: Sequence[tuple[str, str]]) -> Iterator[str]:
    if entries := [f"- **{plain(package)}**: {plain(what)}" for package, what in notes]:
        yield "## Elsewhere"
        by_author = any("kozistr" in package + what for package, what in notes)
        yield "How other packages and papers differ" + (
            "; kozistr's package is pytorch_optimizer." if by_author else "."
        )
        yield "\n".join(entries)


def elsewhere_page() -> str:
    """Other packages' optimizers, and the rules that take the same path."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for name, rule in registry.own().items():
        for witness in rule.card.known:
            fixed = ", ".join(f"{k}={v!r}" for k, v in witness.fixed.items())
            apart = f", {witness.strays} apart" if witness.apart else ""
            row = (
                f"`{witness.name}`",
                f"`{fixed}`" if fixed else "",
                f"[`{name}`]({name}.md){apart}",
            )
            found.setdefault(witness.package, []).append(row)
    parts = [
        "# Names elsewhere",
        "Which rule corresponds to another package's optimizer? Each of these takes the same path, to 10⁻¹² "
        "over 60 steps in float64, or to the distance given, as recorded from the released package. `ravine "
        "which` answers the same question in a terminal.",
        "```sh\nravine which timm.optim.Lamb\n```",
    ]
    for package in sorted(found, key=str.lower):
        heads = ("optimizer", "with", "is the rule")
        parts += [f"## {plain(package)}", table(heads, sorted(found[package]))]
    return "\n\n".join(parts) + "\n"


def modifiers_page() -> str:
    parts = [
        "# Modifiers",
        "A modifier is a function from rule to rule: `decoupled_decay(adam)` is AdamW. The outermost "
        "modifier sees the gradient first and the parameter last. In the equations, step is the inner "
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


def _numbers(values: Iterable[float]) -> list[str]:
    return [str(value) if isinstance(value, int) else f"{value:.6g}" for value in values]
