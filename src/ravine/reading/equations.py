"""A rule's equations, typeset from its source: LaTeX for pages, Unicode or ASCII for terminals.

One walk over the function's syntax tree (`Reader`) makes each assignment an equation between small
expression trees, which ravine.reading.typesetting sets.

Notation. p is θ, lr is η, eps ε, momentum μ, weight_decay λ, dampening τ; Greek names are Greek
letters, m_hat is m̂, beta1 is β₁, v_max is v with a raised upright "max", and any longer name stays
an upright word. g and what a step computes carry the index t; p and the state carry t−1 until they
are assigned. Where a step assigns a name twice, the earlier value gets a prime. What is done with
each part of a tuple is set once, with the index i: of betas, βᵢ.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from ravine import ops
from ravine.parts import part_names
from ravine.reading.typesetting import Box, LaTeX, Node, Symbol, Term, Terminal, beside, stack
from ravine.slots import Signal
from ravine.sources import source_of

__all__ = ["latex", "terminal"]


def latex(function: Callable[..., Any]) -> str:
    """The function's equations as a LaTeX `aligned` environment, for use inside math mode.

    One equation a line, aligned at the equals sign; a comment beside an assignment is its note.
    Understood by LaTeX with amsmath, MathJax and KaTeX. Python that is not an equation (a loop,
    a subscript) is shown as it is written. TypeError when `function` is not a Python function;
    ValueError when its source cannot be found, or when it is not written with def.
    """
    typeset, lines = LaTeX(), []
    for equation in read(function):
        line = f"{typeset.put(equation.target)} &= " if equation.target else "& "
        line += typeset.right_side(equation.value)
        if equation.condition:
            line += rf" \quad \text{{if }} {typeset.put(equation.condition)}"
        lines.append(line + (rf" && \quad {typeset.text(equation.note)}" if equation.note else ""))
    return "\n".join([r"\begin{aligned}", " \\\\[6pt]\n".join(lines), r"\end{aligned}"])


def terminal(function: Callable[..., Any], width: int = 80, *, plain: bool = False) -> str:
    """The function's equations for a terminal: fractions stacked, indices lowered, hats on.

    width: columns at most, 20 or more; what is wider is broken, before a plus or minus sign and
    with fractions on one line where that helps. Notes are shown where they fit. plain: ASCII only,
    each expression on one line, as in `m[t] = beta1*m[t-1] + (1 - beta1)*g[t]`.
    Raises as `latex` does, and ValueError for a width under 20.
    """
    if width < 20:
        raise ValueError(f"width must be at least 20 columns, got {width}")
    equations = read(function)
    flat = Terminal(plain, flat=True)
    targets = [flat.put(e.target) if e.target else Box() for e in equations]
    column = max((t.width for t in targets if t.width <= width // 2), default=0)
    boxes = []
    for equation, target in zip(equations, targets, strict=True):
        if not equation.target:
            boxes.append(_layout(equation, width, plain))
        elif target.width <= column:
            right = _layout(equation, width - column - 3, plain)
            boxes.append(beside(" " * (column - target.width), target, " = ", right))
        else:
            pieces = flat.pieces(equation.value, equation.condition)
            line = beside(target, " =", *(x for piece in pieces for x in (" ", piece)))
            boxes.append(_wrap(line, width))
    margin = 3 + max((b.width for b, e in zip(boxes, equations, strict=True) if e.note), default=0)
    lines: list[str] = []
    for i, (box, equation) in enumerate(zip(boxes, equations, strict=True)):
        if i and max(len(box.lines), len(boxes[i - 1].lines)) > 1:
            lines.append("")
        note = flat.text(equation.note)
        if margin + note.width <= width:
            box = beside(box, " " * (margin - box.width), note)
        lines += [line.rstrip() for line in box.lines]
    return "\n".join(lines)


def _layout(equation: Equation, width: int, plain: bool) -> Box:
    """The best setting of an equation's right side that is no wider than `width`."""
    pieces: list[Box] = []
    for flat in (True,) if plain else (False, True):
        pieces = Terminal(plain, flat).pieces(equation.value, equation.condition)
        if all(piece.width <= width for piece in pieces):
            break
    lines: list[Box] = []
    for piece in pieces:
        piece = _wrap(piece, width)
        longer = beside(lines[-1], " ", piece) if lines else piece
        lines[-1:] = [longer] if longer.width <= width else [lines[-1], piece]
    return stack(lines, lines[0].base)


def _wrap(box: Box, width: int) -> Box:
    """A box no wider than `width`: a line that is, is broken into lines as wide as that."""
    if box.width <= width:
        return box
    lines = [Box((x,)) for x in Wrapper(width, break_on_hyphens=False).wrap(box.lines[0])]
    return stack([beside(line, " " * (width - line.width)) for line in lines], 0)


class Wrapper(textwrap.TextWrapper):
    """Breaks lines at spaces and after * and /, and where that is not enough anywhere."""

    wordsep_simple_re = re.compile(r"(\s+|(?<=[*/]))")


@dataclass(frozen=True)
class Equation:
    """target = value, if the condition holds; without target, source that is not an equation."""

    target: Node | None
    value: Node
    note: str = ""
    condition: Node | None = None

    def under(self, condition: Node) -> Equation:
        both = Term("and", (condition, self.condition)) if self.condition else condition
        return replace(self, condition=both)


SPELLED = {"p": "theta", "lr": "eta", "eps": "epsilon", "momentum": "mu", "weight_decay": "lambda"}
SPELLED |= {"dampening": "tau", "lam": "lambda", "lambd": "lambda", "inf": "infty"}
SPELLED |= {"eps1": "epsilon1", "eps2": "epsilon2", "ns_a": "a", "ns_b": "b", "ns_c": "c"}
OPERATORS: dict[type[ast.AST], str] = {
    **{ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.Mod: "%"},
    **{ast.MatMult: "@", ast.BitAnd: "and", ast.BitOr: "or", ast.And: "and", ast.Or: "or"},
    **{ast.Eq: "=", ast.NotEq: "≠", ast.Is: "=", ast.IsNot: "≠"},
    **{ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥"},
}
CALLED = {"maximum": "max", "greatest": "max", "minimum": "min", "least": "min"}
# What is set as a power of a matrix, and its arguments.
POWERS = {
    "inverse_root": ("a", "order", "eps"),
    "solve_triangular": ("a", "b", "lower", "transposed"),
}
TRUE, FALSE = Term("verbatim", ("True",)), Term("verbatim", ("False",))
TO_TOOLS = re.compile(r"noqa|type:|fmt:|pragma|pylint|ruff")  # comments not meant for readers


def read(function: Callable[..., Any]) -> list[Equation]:
    """The function's equations, in the order of its statements."""
    if not inspect.isfunction(function):
        raise TypeError(f"equations are read from a Python function, got {function!r}")
    found = source_of(function)
    if hasattr(function, "__wrapped__"):
        raise ValueError(
            f"{found.definition.name} has no equations: a decorator has wrapped it, and they would leave "
            "out what that does"
        )
    defaults = (function.__kwdefaults__ or {}).items()
    signals = {name for name, default in defaults if isinstance(default, Signal)}
    return Reader(found.definition, found.text, signals).equations()


class Reader:
    """Follows a function's statements, knowing what each name stands for at the moment."""

    def __init__(self, function: ast.FunctionDef, source: str, signals: Collection[str]) -> None:
        self.body, self.source, self.signals = function.body, source, signals
        positional = [a.arg for a in function.args.posonlyargs + function.args.args]
        options = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        switch = {a.arg: isinstance(getattr(d, "value", 0), bool) for a, d in options}
        self.numbers = {name for name, is_switch in switch.items() if not is_switch}
        self.names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
        self.tuples = _tuples(function)
        self.outputs = [name for name in positional if name not in ("step", "g", "t")]
        stamps = dict.fromkeys(self.outputs, "t-1") | dict.fromkeys(["g", *signals], "t")
        arguments = [*positional, *switch]
        self.start = {
            name: Symbol(self.spelled(name), self.stamped(name, stamps.get(name, "")))
            for name in arguments
        }
        self.now: dict[str, Node] = dict(self.start)
        self.defined: dict[str, list[Symbol]] = {}  # for each name its values, numbered by primes
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        notes = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
        self.notes = {at: " ".join(n.split()) for at, n in notes.items() if not TO_TOOLS.match(n)}

    def equations(self) -> list[Equation]:
        found = self.statements(self.body)
        for name, symbols in self.defined.items():
            taken = name in self.start and self.start[name].stamp == symbols[-1].stamp
            counts = sorted({symbol.primes for symbol in symbols})
            for symbol in symbols:
                last = symbol.primes == counts[-1] and not taken
                symbol.primes = 0 if last else 1 + counts.index(symbol.primes)
        return found

    def statements(self, body: Sequence[ast.stmt]) -> list[Equation]:
        found: list[Equation] = []
        for i, statement in enumerate(body):
            note = self.notes.get(statement.end_lineno or 0, "")
            match statement:
                case ast.Pass() | ast.Expr(ast.Constant()):
                    pass
                case ast.Assign([ast.Name(name)], value):
                    found += self.assign([name], value, note)
                case ast.Assign([ast.Tuple(parts)], value) if all(
                    isinstance(part, ast.Name) for part in parts
                ):
                    found += self.assign([ast.unparse(part) for part in parts], value, note)
                case ast.AugAssign(ast.Name(name) as old, op, value) if type(op) in OPERATORS:
                    found += self.assign([name], ast.BinOp(old, op, value), note)
                case ast.Return(ast.expr() as value):
                    count = None if isinstance(value, ast.Tuple | ast.Call) else 1
                    return found + self.assign(self.outputs[:count], value, note, returned=True)
                case ast.If(_, [*_, ast.Return()], _) | ast.If(_, _, [*_, ast.Return()]):
                    ways = [[*way, *body[i + 1 :]] for way in (statement.body, statement.orelse)]
                    return found + self.branch(statement.test, *ways)
                case ast.If(test, inside, outside) if not any(
                    isinstance(node, ast.Return) for node in ast.walk(statement)
                ):
                    found += self.branch(test, inside, outside)
                case _:
                    for node in ast.walk(statement):
                        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                            self.define(node.id)
                    text = ast.get_source_segment(self.source, statement, padded=True) or ""
                    lines = textwrap.dedent(text).splitlines()
                    found += [Equation(None, Term("verbatim", (line,))) for line in lines]
        return found

    def assign(
        self, names: Sequence[str], value: ast.expr, note: str, returned: bool = False
    ) -> list[Equation]:
        """The equations for names that are given a value, or for the values returned."""
        if len(names) == 1:
            values = [self.expression(value)]
        elif isinstance(value, ast.Tuple) and len(value.elts) == len(names):
            values = [self.expression(element) for element in value.elts]
        else:
            whole = self.expression(value)
            symbols = tuple(self.define(name, whole) for name in names)
            return [Equation(Term("call", ("", *symbols)) if symbols else None, whole, note)]
        found = []
        for name, new in zip(names, values, strict=True):
            if isinstance(new, Symbol) and not returned:
                self.now[name] = new  # another name for the same thing
            elif not (returned and self.owns(name, new)):
                found.append(Equation(self.define(name, new), new, note))
                note = ""
        return found

    def define(self, name: str, value: Node | None = None) -> Symbol:
        """The symbol that stands for the name from now on."""
        varies = name != "t" and (value is None or name in self.outputs or _varies(value))
        values = self.defined.setdefault(name, [])
        stamp = self.stamped(name, "t" if varies else "")
        values.append(Symbol(self.spelled(name), stamp, len(values) + 1))
        self.now[name] = values[-1]
        return values[-1]

    def owns(self, name: str, symbol: Any) -> bool:
        return symbol in self.defined.get(name, ())

    def branch(
        self, test: ast.expr, inside: Sequence[ast.stmt], outside: Sequence[ast.stmt]
    ) -> list[Equation]:
        """An if. A name that has a value either way gets one equation, with cases.

        A slot or a new name that only one branch assigns keeps its equation, under the condition.
        """
        condition, before = self.condition(test), self.now
        self.now = dict(before)
        then, after_then = self.statements(inside), self.now
        self.now = dict(before)
        other, after_other = self.statements(outside), self.now
        self.now = after_then | after_other
        place = {id(e.target): i for found in (then, other) for i, e in enumerate(found)}
        ends = [(name, (after_then.get(name), after_other.get(name))) for name in self.now]
        merged = []
        for name, pair in sorted(
            ends, key=lambda end: [place.get(id(x), -1) for x in end[1][::-1]]
        ):
            old = before.get(name)  # pair: what the name stands for after either branch
            new = pair[0] if pair[1] is old else pair[1]
            state = name in self.outputs[1:] and old is self.start[name] and self.owns(name, new)
            if pair[0] is pair[1] or new is None or (old in pair and (old is None or state)):
                self.now[name] = new or self.now[name]
                continue
            values: list[Any] = list(pair)  # or, where a branch has an equation for it, its value
            counts, note = set(), ""
            for i, found in enumerate((then, other)):
                for e in [e for e in found if e.target is pair[i] and self.owns(name, pair[i])]:
                    found.remove(e)
                    values[i] = e.value
                    if e.condition and name in self.start:
                        values[i] = _cases(e.condition, e.value, self.start[name])
                    counts.add(getattr(e.target, "primes", 0))
                    note = note or e.note
            value = _cases(condition, *values)
            symbol = self.define(name, value)
            merged.append(Equation(symbol, value, note))
            for each in self.defined[name]:  # what the branches called it is one and the same
                if each.primes in counts:
                    each.primes, each.stamp = symbol.primes, symbol.stamp
        sides = [e.under(condition) for e in then] + [e.under(_negate(condition)) for e in other]
        return sides + merged

    def condition(self, test: ast.expr) -> Node:
        value = self.expression(test)
        if isinstance(test, ast.Name) and test.id in self.numbers:  # zero means off
            return Term("≠", (value, _number(0)))
        return value

    def stamped(self, name: str, stamp: str) -> str:
        """The index, with that of a tuple's parts before it."""
        return ",".join(["i"] * (name in self.tuples) + [stamp] * bool(stamp))

    def spelled(self, name: str) -> str:
        """The name with its Greek spelt out, unless another variable has that very name."""
        if name in self.tuples:
            name = part_names(name, 1)[0][:-1]
        head, *tail = name.split("_")
        greek = SPELLED.get(name) or "_".join([SPELLED.get(head, head), *tail])
        return name if greek in self.names else greek

    def expression(self, node: ast.expr) -> Node:
        match node:
            case ast.Name(name):
                return self.now.get(name) or Symbol(self.spelled(name))
            case ast.Constant(int() | float() as value) if not isinstance(value, bool):
                return _number(value)
            case ast.Tuple(elements):
                return Term("call", ("", *map(self.expression, elements)))
            case ast.UnaryOp(ast.USub(), x):
                return Term("neg", (self.expression(x),))
            case ast.UnaryOp(ast.Not() | ast.Invert(), x):
                return _negate(self.condition(x))
            case ast.BinOp(left, op, right) if type(op) in OPERATORS:
                return _infix(OPERATORS[type(op)], self.expression(left), self.expression(right))
            case ast.BoolOp(op, values):
                join = OPERATORS[type(op)]
                return reduce(lambda a, b: Term(join, (a, b)), map(self.condition, values))
            case ast.Compare(
                ast.Name(name), [ast.Is() | ast.IsNot() as op], [ast.Constant(None)]
            ) if name in self.signals:
                kind = "missing" if isinstance(op, ast.Is) else "given"
                return Term(kind, (self.start[name],))
            case ast.Compare(left, ops, rest) if all(type(op) in OPERATORS for op in ops):
                terms = [self.expression(x) for x in (left, *rest)]
                pairs = zip(ops, terms, terms[1:], strict=False)
                chain = (Term(OPERATORS[type(op)], (a, b)) for op, a, b in pairs)
                return reduce(lambda a, b: Term("and", (a, b)), chain)
            case ast.GeneratorExp(part, [each]) | ast.ListComp(part, [each]) if _pairs(each):
                return self.parts(part, _pairs(each))
            case ast.Call(ast.Name("tuple" | "list"), [ast.GeneratorExp(part, [each])]) if _pairs(
                each
            ):
                return self.parts(part, _pairs(each))
            case ast.Call(ast.Name("len"), [ast.Name(name)]) if name in self.tuples:
                return Symbol("n" if "n" not in self.names else "count")
            case ast.IfExp(test, value, otherwise):
                return self.call("where", [test, value, otherwise])
            case ast.Call(
                ast.Name(name) | ast.Attribute(ast.Name("ops"), name), arguments, named
            ) if {x.arg for x in named} <= _options(name):
                return self.call(name.strip("_"), arguments, {str(x.arg): x.value for x in named})
        text = " ".join((ast.get_source_segment(self.source, node) or ast.unparse(node)).split())
        whole = isinstance(node, ast.Subscript | ast.Attribute | ast.Constant | ast.List | ast.Call)
        return Term("verbatim", (text if whole else f"({text})",))

    def parts(self, part: ast.expr, pairs: Sequence[tuple[str, str]]) -> Node:
        """What is made of each part of tuples; pairs: a part's name, and that of its tuple."""
        before = self.now
        self.now = before | {name: before[whole] for name, whole in pairs if whole in before}
        made = self.expression(part)
        self.now = before
        return made

    def call(
        self, name: str, arguments: Sequence[ast.expr], named: dict[str, ast.expr] | None = None
    ) -> Node:
        args = tuple(map(self.expression, arguments))
        more = {key: self.expression(value) for key, value in (named or {}).items()}
        match name, args if not more else None:
            case "where", (_, value, otherwise):
                return _cases(self.condition(arguments[0]), value, otherwise)
            case "sqrt" | "abs" | "norm" | "floor", (_,):
                return Term(name, args)
            case "matmul", (_, _):
                return Term("@", args)
            case "transpose", (x,):
                return Term("**", (x, Symbol("T")))
        given = dict(zip(POWERS.get(name, ()), args, strict=False)) | more
        match name, given:
            case "inverse_root", {"a": a, "order": order}:
                if "eps" in given:
                    a = Term("+", (a, _infix("*", given["eps"], Symbol("I"))))
                return Term("**", (a, Term("neg", (_infix("/", _number(1), order),))))
            case "solve_triangular", {"a": a, "b": b}:
                turned = given.get("transposed", FALSE)
                if turned in (TRUE, FALSE):
                    power = Symbol("T") if turned == TRUE else _number(1)
                    return Term("@", (Term("**", (a, Term("neg", (power,)))), b))
        pairs = (Term("=", (Symbol(key), value)) for key, value in more.items())
        return Term("call", (CALLED.get(name, name), *args, *pairs))


def _pairs(each: ast.comprehension) -> list[tuple[str, str]]:
    """The names that a comprehension gives to parts, each with the tuple's that it is of."""
    targets: Sequence[ast.expr] = [each.target]
    wholes: Sequence[ast.expr] = [each.iter]
    match each.target, each.iter:
        case ast.Tuple(names), ast.Call(ast.Name("zip"), arguments):
            targets, wholes = names, arguments
    found = [x.id for x in (*targets, *wholes) if isinstance(x, ast.Name)]
    if each.ifs or len(targets) != len(wholes) or len(found) != 2 * len(targets):
        return []
    return list(zip(found, found[len(targets) :], strict=False))


def _tuples(function: ast.FunctionDef) -> set[str]:
    """The names of tuples: those that comprehensions go through, and make."""
    options = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    found = {a.arg for a, default in options if isinstance(default, ast.Tuple)}
    for node in ast.walk(function):
        match node:
            case ast.comprehension():
                found |= {whole for _, whole in _pairs(node)}
            case ast.Assign(
                [ast.Name(name)],
                ast.Call(ast.Name("tuple" | "list"), [ast.GeneratorExp()]) | ast.ListComp(),
            ):
                found.add(name)
    return found


def _options(name: str) -> set[str | None]:
    """What an operation's arguments are called; of other functions they are not known."""
    operation = getattr(ops, name.strip("_"), None)
    return {*inspect.signature(operation).parameters} if inspect.isfunction(operation) else set()


def _number(value: complex) -> Node:
    mantissa, _, exponent = repr(value).removesuffix(".0").partition("e")
    number = Term("number", (mantissa,))
    if not exponent:
        return number
    size = Term("number", (exponent.lstrip("+-0"),))
    power = Term("**", (_number(10), Term("neg", (size,)) if "-" in exponent else size))
    return power if mantissa == "1" else Term("*", (number, power))


def _infix(kind: str, left: Node, right: Node) -> Node:
    match left:
        case Term("neg", (x,)) if kind in "*/":  # −a b reads better than (−a) b
            return Term("neg", (Term(kind, (x, right)),))
    return Term(kind, (left, right))


def _cases(condition: Node, value: Node, otherwise: Node) -> Term:
    match otherwise:
        case Term("cases", rows):
            return Term("cases", (value, condition, *rows))
    return Term("cases", (value, condition, otherwise))


def _negate(condition: Node) -> Node:
    match condition:
        case Term("not", (inner,)):
            return inner
        case Term("=" | "≠" as sign, operands):
            return Term("≠" if sign == "=" else "=", operands)
        case Term("given" | "missing" as kind, operands):
            return Term("missing" if kind == "given" else "given", operands)
    return Term("not", (condition,))


def _varies(node: Any) -> bool:
    """Whether an expression may differ from step to step."""
    if isinstance(node, Symbol):
        return bool(node.stamp) or node.name == "t"
    if isinstance(node, Term) and node.args[0] in ("size", "numel", "epsilon", "ndim"):
        return False
    return isinstance(node, Term) and (node.kind == "verbatim" or any(map(_varies, node.args)))
