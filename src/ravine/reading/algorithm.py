"""A rule as an algorithm box, as papers have it: inputs, initial state, and the loop over the steps.

For terminals, as LaTeX, and as Markdown. The LaTeX is one `array` in math mode: it needs amsmath and
no package for algorithms, and MathJax and KaTeX set it as well.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from inspect import signature
from itertools import takewhile
from typing import Any

from ravine import ops
from ravine.reading.about import extent, helpers
from ravine.reading.composing import Equation, symbols
from ravine.reading.equations import aligned, graphs, lines_of, reading
from ravine.reading.expressions import number, operation
from ravine.reading.reader import Reading
from ravine.reading.typesetting import LaTeX, Node, Symbol, Term, Terminal
from ravine.rule import Rule
from ravine.signature import arguments
from ravine.slots import Slot

__all__ = ["latex", "markdown", "terminal"]

# Operations whose names do not say everything: their docstrings are shown below the box.
TOLD = (
    "total",
    "rms",
    "mean",
    "epsilon",
    "stored",
    "normal",
    "uniform",
    "newton_schulz",
    "eigh",
    "qr",
)
MARGIN = 10  # columns, for the titles of the lines above and below the loop
LINES = {
    ("axis", -1): "of each row",
    ("axis", -2): "of each column",
    ("keep", 0): "of each row; of a kernel, of each output channel",
}
KINDS = {"≥2": "matrices", "≤1": "vectors"}


@dataclass(frozen=True)
class Item:
    """symbol = value, with a word on it; without a value, the word is all there is to say."""

    symbol: Node
    value: Node | None
    word: str = ""


@dataclass(frozen=True)
class Part:
    """Equations, and where they hold, with a word for that; where is None for everywhere."""

    equations: Sequence[Equation]
    where: Node | None = None
    word: str = ""


@dataclass(frozen=True)
class Algorithm:
    """The contents of a box.

    heads: what stands above the loop, each line with its title. words: calls, each with what it
    means. evaluated: the weights to evaluate with, where they are not p.
    """

    name: str
    heads: Sequence[tuple[str, Sequence[Item]]]
    parts: Sequence[Part]
    words: Sequence[tuple[Node, str]]
    evaluated: Node | None = None


# ---- three ways to set it ------------------------------------------------------------------------


def terminal(
    rule: Rule,
    width: int = 80,
    *,
    plain: bool = False,
    values: Mapping[str, Any] | None = None,
) -> str:
    """The box for a terminal. Arguments and errors as of :func:`ravine.reading.equations.terminal`."""
    if width < 20:
        raise ValueError(f"width must be at least 20 columns, got {width}")
    box, flat = algorithm(rule, values), Terminal(plain, flat=True)

    def put(node: Node) -> str:
        return flat.right_side(node).lines[0]

    lines = []
    for head, items in box.heads:
        texts = []
        for item in items:
            text = put(item.symbol) + (f" = {put(item.value)}" if item.value else "")
            texts.append(f"{text} ({item.word})" if item.word else text)
        lines += _listed(head, texts, width, plain=plain)
    lines += ["for t = 1, 2, ...:" if plain else "for t = 1, 2, …:"]
    for i, part in enumerate(box.parts):
        left = 3
        if part.where:
            where = flat.put(part.where).lines[0]
            lines.append(f"   if {where}{f' ({part.word})' if part.word else ''}:")
            left = 6
        body = lines_of(part.equations, max(width - left, 20), plain)
        if i and not part.where and not plain:
            lines.append("")
        lines += [(" " * left + line).rstrip() for line in body]
    if box.evaluated:
        lines += _listed("Evaluate", [f"with {put(box.evaluated)}"], width, plain=plain)
    for i, (call, text) in enumerate(box.words):
        said = f"{put(call)}: {text}"
        lines += _listed("" if i else "Where", [said], width, plain=plain)
    bar = ("-" if plain else "─") * min(width, max(map(len, lines)))
    return "\n".join([bar, *textwrap.wrap(box.name, width), bar, *lines, bar])


def _listed(head: str, texts: Sequence[str], width: int, *, plain: bool) -> list[str]:
    """A title, and texts with commas between, over as many lines as they need."""
    room = max(width - MARGIN, 10)
    joined = ", ".join(x.replace(" ", "\xa0") if len(x) <= room else x for x in texts)
    lines = textwrap.wrap(joined, room, break_on_hyphens=False)
    shown = [line.replace("\xa0", " ") for line in lines]
    if plain:
        shown = [x.replace("×", "x").encode("ascii", "backslashreplace").decode() for x in shown]
    heads = [head, *[""] * (len(shown) - 1)]
    return [a.ljust(MARGIN) + line for a, line in zip(heads, shown, strict=True)]


def latex(rule: Rule, values: Mapping[str, Any] | None = None) -> str:
    """The box as a LaTeX `array`, for use in math mode. values: as of `terminal`."""
    box, typeset = algorithm(rule, values), LaTeX()
    quad, lines = r"\quad ", [r"\begin{array}{l}", r"\hline"]
    rows = [rf"\textbf{{Algorithm}} ~ {typeset.text(box.name)} \\", r"\hline"]
    for head, items in box.heads:
        shown = [_item(item, typeset) for item in items]
        for i in range(0, len(shown), 4):
            start = rf"\textbf{{{head}}} ~ " if i == 0 else quad
            rows.append(start + r",\ ".join(shown[i : i + 4]) + ", "[: i + 4 < len(shown)] + r" \\")
    rows.append(r"\textbf{for } t = 1, 2, \dots \\")
    for part in box.parts:
        indent = quad
        if part.where:
            word = typeset.text(f" ({part.word})") if part.word else ""
            rows.append(rf"{quad}\textbf{{if }} {typeset.put(part.where)}{word} \\")
            indent = quad * 2
        rows.append(f"{indent}{aligned(part.equations)} \\\\")
    if box.evaluated:
        rows.append(rf"\textbf{{evaluate with }} {typeset.right_side(box.evaluated)} \\")
    for call, text in box.words:
        rows.append(rf"{typeset.put(call)}\text{{: }}{typeset.text(text)} \\")
    return "\n".join([*lines, *rows, r"\hline", r"\end{array}"])


def markdown(rule: Rule, values: Mapping[str, Any] | None = None) -> str:
    """The box as Markdown, with formulas between dollar signs. values: as of `terminal`."""
    box, typeset = algorithm(rule, values), LaTeX()
    parts = []
    for head, items in box.heads:
        shown = []
        for item in items:
            word = (
                f"`{item.word}`" if item.value and item.word in rule.hyperparameters else item.word
            )
            shown.append(
                f"${_item(replace(item, word=''), typeset)}$" + (f" ({word})" if word else "")
            )
        parts.append(f"**{head}** {', '.join(shown)}")
    parts.append(r"**for** $t = 1, 2, \dots$")
    for part in box.parts:
        quote = "> "
        if part.where:
            word = f" ({part.word})" if part.word else ""
            parts.append(f"> **if** ${typeset.put(part.where)}${word}")
            quote = "> > "
        body = f"$$\n{aligned(part.equations)}\n$$"
        parts.append("\n".join(quote + line for line in body.splitlines()))
    if box.evaluated:
        parts.append(f"**Evaluate** with ${typeset.right_side(box.evaluated)}$")
    if box.words:
        parts.append("\n".join(f"- ${typeset.put(call)}$: {text}" for call, text in box.words))
    return "\n\n".join(parts)


def _item(item: Item, typeset: LaTeX) -> str:
    text = typeset.put(item.symbol) + (f" = {typeset.right_side(item.value)}" if item.value else "")
    return text + (typeset.text(f" ({item.word})") if item.word else "")


# ---- what it says --------------------------------------------------------------------------------


def algorithm(rule: Rule, values: Mapping[str, Any] | None = None) -> Algorithm:
    """The contents of the box of a rule. values: hyperparameters; defaults for the rest."""
    values = rule.check(**(values or {}))
    traced = graphs(rule, values)
    ways = [reading(rule, values, n if len(traced) > 1 else None) for n in range(len(traced))]
    first = ways[0]
    letters = first.letters
    slots = {
        name: [n for n, graph in enumerate(traced) if name in graph.live] for name in rule.slots
    }
    start = _start(rule, letters, slots, len(traced))
    evaluated = _evaluated(rule, first)
    nodes = [*(item.value for item in start), evaluated]
    seen = {x.name for node in nodes for x in symbols(node)}
    seen |= {x.name for way in ways for e in way.equations for x in e.read}
    ranks = {slot.rank for name, slot in rule.slots.items() if slots[name]}
    seen |= {letters[rank].name for rank in ranks if isinstance(rank, str)}
    inputs = [
        Item(symbol, _value(values[name]), "" if symbol.name + symbol.stamp == name else name)
        for name, symbol in _hyperparameters(rule, letters)
        if symbol.name in seen and not isinstance(values[name], bool)
    ]
    switches = {k: on for graph in traced for k, on in graph.switches.items()}
    decided = [
        Item(Symbol(k, upright=True), None, "on" if on else "off")
        for k, on in switches.items()
        if not on or isinstance(values[k], bool)
    ]
    given = [
        Item(replace(letters[k], stamp="t"), None, f"{_when(k, ways)}, {signal.words}")
        for k, signal in rule.signals.items()
    ]
    theta, g = letters["p"], letters["g"]
    inputs = [Item(replace(theta, stamp="0"), None, "the parameters"), *inputs]
    heads = [("Input", inputs), ("Switches", decided), ("Given", given), ("Start", start)]
    gradient = Equation(replace(g, stamp="t"), Term("call", ("∇f", replace(theta, stamp="t-1"))))
    first_part, *rest = parts = _parts(ways)
    if first_part.where:
        parts = [Part([gradient]), *parts]
    else:
        parts = [replace(first_part, equations=[gradient, *first_part.equations]), *rest]
    shown = [e.value for part in parts for e in part.equations]
    calls = [call for value in shown for call in _calls(value)]
    return Algorithm(
        rule.name,
        [(head, items) for head, items in heads if items],
        [replace(part, equations=_credited(rule, part.equations)) for part in parts],
        [*_words(rule, calls), *_constants(rule, shown)],
        evaluated,
    )


def _hyperparameters(rule: Rule, letters: Mapping[str, Symbol]) -> list[tuple[str, Symbol]]:
    """The symbol of each hyperparameter; of the parts of tuples, that of the tuple with a number."""
    whole = {
        part: (name, i)
        for name, parts in rule.parts.tuples.items()
        for i, part in enumerate(parts, 1)
    }
    found = []
    for name in rule.hyperparameters:
        of, i = whole.get(name, (name, 0))
        symbol = letters[of]
        found.append((name, replace(symbol, stamp=f"{i}") if i else symbol))
    return found


def _start(
    rule: Rule, letters: Mapping[str, Symbol], kept: Mapping[str, Sequence[int]], count: int
) -> list[Item]:
    """The initial values of slots: one entry for those of a tuple, which are alike."""
    items = []
    whole = {name: parts[0] if parts else name for name, parts in rule.parts.slots.items()}
    for name, first in (whole or {name: name for name in rule.slots}).items():
        slot, dimensions = rule.slots[first], kept[first]
        if not dimensions:
            continue
        symbol = replace(letters[name], stamp="0" if name == first else "i,0")
        word = extent(slot)
        if len(dimensions) < count:
            where = _kind(dimensions, count)[1] or _numbered(dimensions, count)
            word = f"{where}: {word}" if word else where
        items.append(Item(symbol, _begin(slot, letters), word))
    return items


def _numbered(dimensions: Sequence[int], count: int) -> str:
    """The shorter of which numbers of dimensions, and which not."""
    others = [n for n in range(count) if n not in dimensions]
    if len(others) == 1:
        return f"ndim not {others[0]}"
    return f"ndim {' or '.join(map(str, dimensions))}"


def _when(signal: str, ways: Sequence[Reading]) -> str:
    """The steps that receive a signal: only some, if the rule asks whether it is there."""
    equations = [e for way in ways for e in way.equations]
    read = [x for e in equations for x in (e.condition, e.value) if x]
    return "at some steps" if any(_asks(x, signal) for x in read) else "at every step"


def _asks(node: Node, name: str) -> bool:
    if isinstance(node, Symbol):
        return False
    if node.kind in ("given", "missing") and node.args[0].name == name:
        return True
    return any(_asks(x, name) for x in node.args if isinstance(x, Term))


def _begin(slot: Slot, letters: Mapping[str, Symbol]) -> Node:
    if slot.kind == "like_p":
        return replace(letters["p"], stamp="0")
    value = letters[slot.value] if isinstance(slot.value, str) else number(slot.value)
    if slot.square is None or slot.value == 0:
        return value
    if slot.value == 1:
        return Symbol("I")
    return Term("*", (value, Symbol("I")))


def _value(value: Any) -> Node:
    if len(repr(value)) > 12:
        value = float(f"{value:.6g}")
    return number(value) if value >= 0 else Term("neg", (number(-value),))


def _parts(ways: Sequence[Reading]) -> list[Part]:
    """The equations for each number of dimensions, those that are alike once."""
    texts = [[_text(e) for e in way.equations] for way in ways]
    kinds: dict[tuple[str, ...], list[int]] = {}
    for n, text in enumerate(texts):
        kinds.setdefault(tuple(text), []).append(n)
    if len(kinds) == 1:
        return [Part(ways[0].equations)]
    groups = [*kinds.values()][::-1]  # matrices first
    labels = [_kind(group, len(ways)) for group in groups]
    bodies = [ways[group[0]].equations for group in groups]
    parts = []
    if len(groups) > 2:
        each = [texts[group[0]] for group in groups]
        start = _alike(each)
        end = _alike([x[start:][::-1] for x in each])
        ends = [len(e) - end for e in bodies]
        own = [e[start:stop] for e, stop in zip(bodies, ends, strict=True)]
        parts = [Part(e, *label) for e, label in zip(own, labels, strict=True) if e]
        around = Part(bodies[0][:start]), Part(bodies[0][ends[0] :])
        return [part for part in (around[0], *parts, around[1]) if part.equations]
    one, two = (texts[group[0]] for group in groups)
    for tag, a, b, c, d in SequenceMatcher(None, one, two).get_opcodes():
        if tag == "equal":
            parts.append(Part(bodies[0][a:b]))
            continue
        sides = zip((bodies[0][a:b], bodies[1][c:d]), labels, strict=True)
        parts += [Part(e, *label) for e, label in sides if e]
    return parts


def _alike(lists: Sequence[Sequence[str]]) -> int:
    """The length of the common prefix of all of these."""
    rows = zip(*lists, strict=False)
    return sum(1 for _ in takewhile(lambda row: len({*row}) == 1, rows))


def _text(equation: Equation) -> str:
    plain = Terminal(plain=True, flat=True)
    parts = (equation.target, equation.value, equation.condition)
    return " = ".join(plain.put(x).lines[0] if x else "" for x in parts)


def _kind(dimensions: Sequence[int], count: int) -> tuple[Node, str]:
    """Where p has these numbers of dimensions: an expression, and a word."""
    asked = Term("call", ("ndim", Symbol("theta")))
    low, high = dimensions[0], dimensions[-1]
    if len(dimensions) == high - low + 1 and high == count - 1:
        return Term("≥", (asked, number(low))), KINDS.get(f"≥{low}", "")
    if len(dimensions) == high - low + 1 and low == 0:
        return Term("≤", (asked, number(high))), KINDS.get(f"≤{high}", "")
    others = [n for n in range(count) if n not in dimensions]
    if len(others) == 1:
        return Term("≠", (asked, number(others[0]))), ""
    tests: list[Node] = [Term("=", (asked, number(n))) for n in dimensions]
    test = tests[0]
    for other in tests[1:]:
        test = Term("or", (test, other))
    return test, ""


def _credited(rule: Rule, equations: Sequence[Equation]) -> list[Equation]:
    """With a note where a modifier's equations begin."""
    own, before, found = rule.sources[-1].__name__, "", []
    for e in equations:
        begins = e.layer not in ("", own, before) and not e.note
        found.append(replace(e, note=e.layer) if begins else e)
        before = e.layer
    return found


def _calls(node: Node) -> list[Term]:
    """The calls in an expression."""
    if isinstance(node, Symbol):
        return []
    own = [node] if node.kind == "call" else []
    return own + [x for part in node.args if isinstance(part, Term) for x in _calls(part)]


def _words(rule: Rule, calls: Sequence[Term]) -> Iterator[tuple[Node, str]]:
    """The meanings of these calls, each kind once: of operations to be explained, and of helpers."""
    x = Symbol("x")
    own = {f.__name__.strip("_"): f for f in helpers(rule) if f.__doc__}
    told = {name: getattr(ops, name) for name in TOLD}
    named = {str(call.args[0]) for call in calls}
    for name in [*(name for name in TOLD if name in named), *(k for k in own if k in named)]:
        if name in own:
            shown = [
                Symbol(letter, upright=len(letter) > 1)
                for letter in signature(own[name]).parameters
            ]
            yield Term("call", (name, *shown)), _meaning(own[name])
            continue
        ways = dict.fromkeys(_along(call) for call in calls if call.args[0] == name)
        for way in sorted(ways, key=str):
            meaning = _meaning(told[name])
            if way is None:
                yield Term("call", (name, x)), meaning
            else:
                axis, where = way
                pair = Term("=", (Symbol(axis), _value(where)))
                each = LINES.get(way, f"along {axis} {where}")
                yield Term("call", (name, x, pair)), meaning.replace("over one tensor", each)


def _constants(rule: Rule, shown: Sequence[Node]) -> Iterator[tuple[Node, str]]:
    """The constants of a rule's module that its equations name, and their values."""
    used = {x.name: x for node in shown for x in symbols(node) if not x.stamp}
    known = [f.__globals__ for f in rule.sources]
    for name, symbol in used.items():
        value = next((its[name] for its in known if name in its), None)
        if name.isupper() and isinstance(value, int | float | tuple):
            yield symbol, _told(value)


def _told(value: Any) -> str:
    """A number, or numbers in parentheses; one alone without."""
    if not isinstance(value, tuple):
        return f"{value:.6g}"
    return _told(value[0]) if len(value) == 1 else f"({', '.join(map(_told, value))})"


def _along(call: Term) -> tuple[str, int] | None:
    """The axis that a call is along, or the one that it keeps."""
    for pair in call.args[1:]:
        if isinstance(pair, Term) and pair.kind == "=" and pair.args[0].name in ("axis", "keep"):
            return pair.args[0].name, int(
                Terminal(plain=True, flat=True).put(pair.args[1]).lines[0]
            )
    return None


def _meaning(function: Any) -> str:
    """The first sentence of a function's docstring."""
    said = (function.__doc__ or "").split("\n")[0].partition(";")[0].rstrip(".:")
    return said[0].lower() + said[1:]


class _Written(ops.Operable):
    """An expression that grows by what is done with it."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def operate(self, name: str, args: tuple[Any, ...]) -> Any:
        return _Written(operation(name, [_node(x) for x in args]))


def _node(value: Any) -> Node:
    return value.node if isinstance(value, _Written) else _value(value)


def _evaluated(rule: Rule, read: Reading) -> Node | None:
    """The weights to evaluate with, after a step."""
    evaluation: Callable[..., Any] | None = rule.evaluation
    if evaluation is None:
        return None
    known: dict[str, Node] = {**read.letters, **read.ends}
    for name, parts in {**rule.parts.slots, **rule.parts.tuples}.items():
        known |= {part: Term("part", (known[name], f"{i}")) for i, part in enumerate(parts, 1)}
    given = {name: _Written(known[name]) for name in arguments(evaluation)}
    return _node(evaluation(_Written(known["p"]), **given))
