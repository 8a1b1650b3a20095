"""Expressions, and two ways to set them: LaTeX, and characters on a terminal.

`Typesetter` knows the shape of an expression: where parentheses and dots go, which quotient is set
as a fraction. Its subclasses know the ink: `LaTeX` joins strings, `Terminal` joins boxes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

__all__: list[str] = []  # nothing here is public: users call ravine.reading.equations

GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau"
GREEK += " phi chi psi omega infty"
LETTERS = dict(zip(GREEK.split(), "αβγδεζηθικλμνξπρστφχψω∞", strict=True))
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303"}
ANATOMY = re.compile(rf"({'|'.join(LETTERS)}|[^\W\d_])_?(\d*)((?:_[^\W_]+)*)_?")
INDICES = ("t", "i")  # below a letter they are the step, and the part of a tuple


class Anatomy(NamedTuple):
    """A typeset name: a letter with an accent, digits and words below it; or an upright word."""

    letter: str
    accent: str = ""
    digits: str = ""
    labels: tuple[str, ...] = ()
    word: str = ""


@dataclass(eq=False)
class Symbol:
    """A variable: its name with Greek letters spelt, its index ("", "t" or "t-1"), its primes.

    upright: whether the name is set as a word whatever it looks like.
    """

    name: str
    stamp: str = ""
    primes: int = 0
    upright: bool = False

    @property
    def anatomy(self) -> Anatomy:
        match = None if self.upright else ANATOMY.fullmatch(self.name)
        labels = match[3].split("_")[1:] if match else []
        if not match or any(x in INDICES or x.isdigit() for x in labels):
            return Anatomy("", word=self.name)
        accent = next((x for x in labels if x in ACCENTS), "")
        return Anatomy(match[1], accent, match[2], tuple(x for x in labels if x != accent))


@dataclass(frozen=True)
class Term:
    """An operation on expressions, or text.

    Kinds: the infix operators of INFIX and **; neg, not, sqrt, abs, norm, floor (x); each (x), the sum
    over the parts of a tuple; part (symbol, index), one of them; item (x, place); top (), the exponent
    of a transpose; number, flag, verbatim (text); call (name, ...), a tuple if the name is empty; cases
    (value, condition, ..., otherwise).
    """

    kind: str
    args: tuple[Any, ...]


Node = Symbol | Term

OR, AND, NOT, COMPARISON, MOD, SUM, NEGATIVE, QUOTIENT, PRODUCT, POWER, ATOM = range(1, 12)
INFIX = {  # how tightly an operator binds, and how tightly its operands must
    "or": (OR, OR, AND),
    "and": (AND, AND, NOT),
    **dict.fromkeys("=≠<≤>≥", (COMPARISON, MOD, MOD)),
    "%": (MOD, POWER, POWER),
    **dict.fromkeys("+-", (SUM, SUM, QUOTIENT)),
    "/": (QUOTIENT, PRODUCT, POWER),
    **dict.fromkeys("*@", (PRODUCT, PRODUCT, POWER)),
}
GIVEN = {"given": " is given", "missing": " is not given"}
LEVELS = {
    **dict.fromkeys(GIVEN, COMPARISON),
    "cases": 0,
    "not": NOT,
    "neg": NEGATIVE,
    "sqrt": POWER,
    "each": POWER,
    "**": POWER,
}
DISPLAY, INNER, SCRIPT = range(3)  # in the open; between parentheses; in a fraction or an exponent


def _is_simple(node: Node) -> bool:
    return isinstance(node, Symbol) or node.kind == "number"


def _wants_dot(left: Node, right: Node) -> bool:
    """Whether two adjacent factors would be misread: words, roots, numbers."""
    while isinstance(left, Term) and left.kind in "*@":
        left = left.args[1]
    while isinstance(right, Term) and right.kind == "**":
        right = right.args[0]
    left, right = (
        x.args[0] if isinstance(x, Term) and x.kind == "part" else x for x in (left, right)
    )
    a, b = (x.kind if isinstance(x, Term) else _ink(x.anatomy) for x in (left, right))
    return (
        a in ("word", "sqrt", "verbatim", "flag")
        or b in ("word", "number")
        or (a, b) == ("number", "/")
    )


def _ink(anatomy: Anatomy) -> str:
    return "letter" if anatomy.letter and not anatomy.labels else "word"


class Typesetter:
    """Typesets expressions from pieces that a subclass creates: strings, or boxes of characters."""

    signs: dict[str, str]
    row: Any
    text: Any
    symbol: Any
    function: Any
    fence: Any
    fraction: Any
    power: Any
    root: Any
    each: Any
    top: Any
    cases: Any

    def put(self, node: Node, least: int = 0, depth: int = DISPLAY, *, more: bool = False) -> Any:
        """The node set, in parentheses if it binds less tightly than `least`.

        more: something follows, which must not be taken for a part of cases at the right end.
        """
        if self.level(node, depth) < least or (more and self.ends_in_brace(node, depth)):
            return self.fence("()", self.compose(node, max(depth, INNER)))
        return self.compose(node, depth)

    def right_side(self, value: Node) -> Any:
        """The right side of an equation."""
        return self.put(value, 0 if isinstance(value, Term) and value.kind == "cases" else MOD)

    def level(self, node: Node, depth: int) -> int:
        if isinstance(node, Symbol):
            return POWER if node.primes else ATOM
        if node.kind == "part":
            return self.level(node.args[0], depth)
        if self.stacks(node, depth) or self.braces(node, depth):
            return POWER
        return INFIX[node.kind][0] if node.kind in INFIX else LEVELS.get(node.kind, ATOM)

    def stacks(self, node: Term, depth: int) -> bool:
        """Whether it is a quotient that becomes a fraction."""
        return node.kind == "/" and depth <= (DISPLAY if all(map(_is_simple, node.args)) else INNER)

    def braces(self, node: Term, depth: int) -> bool:
        """Whether it is cases that are set one above another."""
        return node.kind == "cases"

    def ends_in_brace(self, node: Node, depth: int = DISPLAY) -> bool:
        while isinstance(node, Term) and node.kind in ("neg", "+", "-", "*", "@"):
            node = node.args[-1]
        return isinstance(node, Term) and self.braces(node, depth)

    def sign(self, kind: str) -> str:
        return self.signs.get(kind, f" {kind} ")

    def compose(self, node: Node, depth: int) -> Any:
        inner = max(depth, INNER)
        match node:
            case Symbol():
                return self.symbol(node)
            case Term("number", (text,)):
                return self.row(text)
            case Term("verbatim" | "flag", (text,)):
                return self.text(text)
            case Term("call", (name, *args)):
                listed = [x for a in args for x in (", ", self.put(a, 0, inner))][1:]
                return self.row(self.function(name), self.fence("()", self.row(*listed)))
            case Term("abs" | "norm" | "floor" as kind, (x,)):
                return self.fence(kind, self.put(x, 0, inner))
            case Term("sqrt", (x,)):
                return self.root(self.put(x, 0, inner), _is_simple(x))
            case Term("each", (x,)):
                return self.each(x, depth)
            case Term("top"):
                return self.top()
            case Term("part", (x, index)):
                return self.symbol(replace(x, stamp=x.stamp.replace("i", index, 1)))
            case Term("item", (x, place)):
                return self.row(self.put(x, ATOM, depth), self.text(place))
            case Term("neg", (x,)):
                return self.row(self.sign("-").strip(), self.put(x, QUOTIENT, depth))
            case Term("given" | "missing" as kind, (x,)):
                return self.row(self.put(x, MOD, depth), self.text(GIVEN[kind]))
            case Term("not", (x,)):
                return self.row(self.text("not "), self.put(x, NOT, depth))
            case Term("**", (a, b)):
                return self.power(self.put(a, ATOM, depth, more=True), b)
            case Term("/", (a, b)) if self.stacks(node, depth):
                return self.fraction(self.put(a, 0, SCRIPT), self.put(b, 0, SCRIPT))
            case Term("cases", rows):
                return self.cases(rows, depth)
            case Term(kind, (a, b)):
                _, left, right = INFIX[kind]
                sign = self.sign("·" if kind == "*" and _wants_dot(a, b) else kind)
                a, b = self.put(a, left, depth, more=True), self.put(b, right, depth)
                return self.row(a, sign, b)
        raise AssertionError(node)


LATEX = {"*": r"\, ", "@": r"\, ", "·": r" \cdot ", "/": "/", "%": r" \bmod ", "≠": r" \neq "}
LATEX |= {"≤": r" \leq ", "≥": r" \geq ", "and": r" \text{ and } ", "or": r" \text{ or } "}
FENCES = {"()": ("(", ")"), "abs": ("|", "|"), "norm": (r"\|", r"\|")}
FENCES |= {"floor": (r"\lfloor", r"\rfloor")}
ESCAPES = {c: f"\\{c}" for c in "#$%&_{}"} | {"\\": r"\textbackslash{}"}
ESCAPES |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$"}


class LaTeX(Typesetter):
    """Sets LaTeX source."""

    signs = LATEX

    def row(self, *parts: str) -> str:
        return "".join(parts)

    def text(self, text: str, command: str = r"\text") -> str:
        escaped = "".join(ESCAPES.get(c, c) for c in text).replace("  ", "~~")
        return f"{command}{{{escaped}}}"

    def function(self, name: str) -> str:
        if name == "∇f":
            return r"\nabla f"
        if name in ("", "max", "min", "exp", "log", "tanh"):
            return name and f"\\{name}"
        return self.text(name, r"\operatorname")

    def symbol(self, symbol: Symbol) -> str:
        letter, accent, digits, labels, word = symbol.anatomy
        body = f"\\{letter}" if letter in LETTERS else letter or self.text(word, r"\mathrm")
        body = rf"\{accent}{{{body}}}" if accent else body
        label = rf"\mathrm{{{','.join(labels)}}}" if labels else ""
        lowered = ",".join(filter(None, (digits, label, symbol.stamp)))
        return body + self.script("^", r"\prime" * symbol.primes) + self.script("_", lowered)

    def script(self, mark: str, text: str) -> str:
        return text and mark + (text if len(text) == 1 else f"{{{text}}}")

    def fence(self, kind: str, body: str) -> str:
        left, right = FENCES[kind]
        tall = kind != "()" or r"\frac" in body or r"\begin" in body
        return rf"\left{left} {body} \right{right}" if tall else left + body + right

    def fraction(self, over: str, under: str) -> str:
        return rf"\frac{{{over}}}{{{under}}}"

    def power(self, base: str, exponent: Node) -> str:
        return base + self.script("^", self.put(exponent, 0, SCRIPT))

    def root(self, body: str, simple: bool) -> str:
        return rf"\sqrt{{{body}}}"

    def each(self, part: Node, depth: int) -> str:
        return rf"\sum_i {self.put(part, PRODUCT, depth)}"

    def top(self) -> str:
        return r"\top"

    def cases(self, rows: Sequence[Node], depth: int) -> str:
        *lines, last = map(self.put, rows[::2])
        lines = [
            rf"{v} & \text{{if }} {self.put(c)}" for v, c in zip(lines, rows[1::2], strict=True)
        ]
        lines.append(rf"{last} & \text{{otherwise}}")
        return r"\begin{cases} " + r" \\ ".join(lines) + r" \end{cases}"


@dataclass(frozen=True)
class Box:
    """Lines of equal width, and which of them is level with the equals sign."""

    lines: tuple[str, ...] = ("",)
    base: int = 0

    @property
    def width(self) -> int:
        """Columns in a terminal: none for a combining mark, two for an East Asian wide character."""
        wide = sum(unicodedata.east_asian_width(character) in "WF" for character in self.lines[0])
        return wide + sum(not unicodedata.combining(character) for character in self.lines[0])


def beside(*parts: Box | str) -> Box:
    """Boxes in a row, their bases level."""
    boxes = [Box((part,)) if isinstance(part, str) else part for part in parts]
    above = max(b.base for b in boxes)
    below = max(len(b.lines) - b.base for b in boxes)
    columns = []
    for b in boxes:
        blank = (" " * b.width,)
        columns.append(blank * (above - b.base) + b.lines + blank * (below - len(b.lines) + b.base))
    return Box(tuple(map("".join, zip(*columns, strict=True))), above)


def stack(boxes: Sequence[Box], base: int, left: float = 0) -> Box:
    """Boxes one above another; left: the share of the free space to the left of each."""
    width = max(b.width for b in boxes)
    lines = []
    for b in boxes:
        indent = int((width - b.width) * left)
        lines += [" " * indent + line + " " * (width - b.width - indent) for line in b.lines]
    return Box(tuple(lines), base)


UNICODE = {"*": " ", "@": " ", "/": "/", "%": " mod ", "-": " − "}
ASCII = {"*": "*", "·": "*", "/": "/", "%": " mod ", "≠": " != ", "≤": " <= ", "≥": " >= "}
LOWERED = str.maketrans("0123456789it-+", "₀₁₂₃₄₅₆₇₈₉ᵢₜ₋₊")
RAISED = str.maketrans(
    "0123456789+−abcdefghijklmnoprstuvwxyzᵀβγδθφχ",
    "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀᵝᵞᵟᶿᵠᵡ",
)
WORD = re.compile(r"[^\W\d_]{2,}")
SHORT = {"()": "()", "abs": "||", "norm": "‖‖", "floor": "⌊⌋"}
TALL = {"()": ("⎛⎜⎝", "⎞⎟⎠"), "abs": ("│││", "│││"), "norm": ("‖‖‖", "‖‖‖")}
TALL |= {"floor": ("⎢⎢⎣", "⎥⎥⎦")}


class Terminal(Typesetter):
    """Sets boxes of characters: Unicode in two dimensions or on one line (flat), ASCII (plain)."""

    def __init__(self, plain: bool, flat: bool) -> None:
        self.plain, self.flat, self.signs = plain, flat, ASCII if plain else UNICODE

    def pieces(self, value: Node, condition: Node | None) -> list[Box]:
        """An equation's right side in the pieces between which a line may be broken."""
        rest = [beside("  if ", self.put(condition))] if condition else []
        start = value
        while isinstance(start, Term) and start.kind in "+-":
            if self.ends_in_brace(start.args[0]):
                break
            sign = self.sign(start.kind)[1:]
            start, last = start.args
            rest.insert(0, beside(sign, self.put(last, QUOTIENT)))
        return [self.right_side(value) if start is value else self.put(start, SUM), *rest]

    def stacks(self, node: Term, depth: int) -> bool:
        return not self.flat and super().stacks(node, depth)

    def braces(self, node: Term, depth: int) -> bool:
        return not self.flat and depth < SCRIPT and super().braces(node, depth)

    def row(self, *parts: Box | str) -> Box:
        return beside("", *parts)

    def text(self, text: str) -> Box:
        return Box((text.encode("ascii", "backslashreplace").decode() if self.plain else text,))

    def function(self, name: str) -> Box:
        return self.text("grad f" if self.plain and name == "∇f" else name)

    def symbol(self, symbol: Symbol) -> Box:
        if self.plain:
            index = f"[{symbol.stamp}]" if symbol.stamp else ""
            return self.text(symbol.name + "'" * symbol.primes + index)
        letter, accent, digits, labels, word = symbol.anatomy
        head = (LETTERS.get(letter, letter) or word) + ACCENTS.get(accent, "")
        head += digits.translate(LOWERED) + "".join(f"_{label}" for label in labels)
        comma = "," * bool(digits and symbol.stamp and not labels and not symbol.primes)
        primes = {2: "″", 3: "‴"}.get(symbol.primes, "′" * symbol.primes)
        return Box((head + primes + comma + symbol.stamp.translate(LOWERED),))

    def superscript(self, text: str) -> str | None:
        """The text raised, if there are such characters, and no word that would look like factors."""
        raised = all(ord(c) in RAISED for c in text) and not WORD.search(text)
        return text.translate(RAISED) if raised else None

    def fence(self, kind: str, body: Box) -> Box:
        if self.plain and kind != "()":
            return beside(kind, self.fence("()", body))
        height = len(body.lines)
        if height == 1:
            return beside(SHORT[kind][0], body, SHORT[kind][1])
        left, right = (
            Box((side[0], *side[1] * (height - 2), side[2]), body.base) for side in TALL[kind]
        )
        return beside(left, body, right)

    def fraction(self, over: Box, under: Box) -> Box:
        bar = Box(("─" * max(over.width, under.width),))
        return stack([over, bar, under], len(over.lines), left=0.5)

    def power(self, base: Box, exponent: Node) -> Box:
        above = self.put(exponent, 0, SCRIPT)
        tight = above.lines[0].replace(" + ", "+").replace(" − ", "−")
        small = None if self.plain or len(above.lines) > 1 else self.superscript(tight)
        if self.flat and not small:
            return beside(base, "^", self.put(exponent, ATOM, SCRIPT))
        above = Box((small,)) if small else above
        lifted = len(above.lines) - (1 if small or len(base.lines) > 1 else 0)
        both = beside(replace(base, base=0), replace(above, base=lifted))
        return replace(both, base=len(both.lines) - len(base.lines) + base.base)

    def root(self, body: Box, simple: bool) -> Box:
        height = len(body.lines)
        if self.plain:
            return beside("sqrt", self.fence("()", body))
        if height == 1:
            return beside("√", body if simple else self.fence("()", body))
        strokes = [" " * (height - i) + "╱" + " " * (i + 1) for i in range(height)]
        strokes[-1] = "╲" + strokes[-1][1:]
        sign = Box((" " * (height + 1) + "_", *strokes), body.base + 1)
        return beside(sign, stack([Box(("_" * body.width,)), body], body.base + 1))

    def each(self, part: Node, depth: int) -> Box:
        if self.plain:
            return beside("sum_i", self.fence("()", self.put(part, 0, INNER)))
        return beside("Σᵢ ", self.put(part, PRODUCT, depth))

    def top(self) -> Box:
        return Box(("T" if self.plain else "ᵀ",))

    def cases(self, rows: Sequence[Node], depth: int) -> Box:
        if self.flat or depth == SCRIPT:
            words = (" if ", " else ") * (len(rows) // 2)
            return beside(
                *(x for r, w in zip(rows, (*words, ""), strict=True) for x in (self.put(r, OR), w))
            )
        left = [self.put(value) for value in rows[::2]]
        right = [*(beside("if ", self.put(c)) for c in rows[1::2]), Box(("otherwise",))]
        width = 3 + max(box.width for box in left)
        lines = [beside(v, " " * (width - v.width), c) for v, c in zip(left, right, strict=True)]
        if len(lines) == 2 or any(len(line.lines) > 1 for line in lines):
            lines = [x for line in lines for x in (line, Box())][:-1]
        height = sum(len(line.lines) for line in lines)
        brace = ("⎧", *"⎪" * (height // 2 - 1), "⎨", *"⎪" * (height - height // 2 - 2), "⎩")
        return beside(Box(brace, height // 2), " ", stack(lines, height // 2))
