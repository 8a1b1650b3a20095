"""From source to equations: one walk over the syntax trees of a rule's functions.

Each assignment becomes an equation between small expression trees, which ravine.reading.typesetting
sets. A modifier's `step(p, g)` is followed into the function that it is around, with what it passes
in the place of p and g, so a stack is read as one function.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from ravine.reading.composing import Equation, composed, symbols
from ravine.reading.expressions import (
    FALSE,
    TRUE,
    cases,
    infix,
    negated,
    number,
    operation,
    options,
    varies,
)
from ravine.reading.letters import Letters
from ravine.reading.syntax import COMPARED, OPERATORS, by_turns, notes, paired, returns, tuples
from ravine.reading.typesetting import Node, Symbol, Term
from ravine.slots import Signal
from ravine.sources import source_of


class NotComposed(ValueError):
    """A modifier whose inner step cannot be followed at its place."""


@dataclass(frozen=True)
class Reading:
    """The equations of a rule.

    ends: what p and the slots are after the step. letters: the symbol of each argument.
    """

    equations: list[Equation]
    ends: dict[str, Node]
    letters: dict[str, Symbol]


def read(
    functions: Sequence[Callable[..., Any]],
    values: Mapping[str, Any] | None = None,
    counts: Mapping[str, int] | None = None,
    ndim: int | None = None,
) -> Reading:
    """The equations of a stack of functions, the outermost first, in the order in which they hold.

    values: the hyperparameters', which decide the switches; by default these stay open. counts: how
    many parts tuples have. ndim: how many dimensions p has; by default that is open.
    """
    for function in functions:
        if not inspect.isfunction(function):
            raise TypeError(f"equations are read from a Python function, got {function!r}")
        definition = source_of(function).definition
        if hasattr(function, "__wrapped__"):
            raise ValueError(
                f"{definition.name} has no equations: it is wrapped by a decorator, whose effect they would "
                "leave out"
            )
    stack = Stack(values, counts or {}, ndim)
    letters = Letters([source_of(function).definition for function in functions])
    readers: list[Reader] = []
    for function in reversed(functions):
        readers.append(Reader(function, stack, letters, readers[-1] if readers else None))
    equations = readers[-1].statements(readers[-1].body)
    ends = {name: r.now[name] for r in readers for name in r.outputs if name in r.now}
    equations = composed(equations, stack.results.difference(ends.values()))
    _number_primes(stack, equations, ends)
    return Reading(equations, ends, {k: r.letters[k] for r in readers for k in r.start})


def _number_primes(stack: Stack, equations: Sequence[Equation], ends: Mapping[str, Node]) -> None:
    """A name that a step gives several values has primes on all but the last."""
    used = {id(x) for e in equations for part in (e.target, e.value) for x in symbols(part)}
    last = {id(x) for x in ends.values()}
    for alike in stack.symbols.values():
        found = sorted((x for x in alike if id(x) in used), key=lambda x: id(x) in last)
        counts = [*dict.fromkeys(x.primes for x in found)]
        taken = bool(found) and (found[-1].name, found[-1].stamp) in stack.starts
        for symbol in found:
            count = counts.index(symbol.primes)
            symbol.primes = 0 if count == len(counts) - 1 and not taken else 1 + count


@dataclass
class Stack:
    """What the readers of a stack of functions share.

    values: of the hyperparameters, which decide the switches; None where these stay open. counts: how
    many parts tuples have. ndim: how many dimensions p has, if that is decided. pending: the
    equations of inner steps that come before the one that is read. symbols: all that stand for a value
    that is computed, by their name. results: those that stand for p on its way through the stack.
    """

    values: Mapping[str, Any] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    ndim: int | None = None
    pending: list[Equation] = field(default_factory=list)
    symbols: dict[str, list[Symbol]] = field(default_factory=dict)
    starts: set[tuple[str, str]] = field(default_factory=set)
    results: set[Symbol] = field(default_factory=set)


class Reader:
    """Follows a function's statements, with the present meaning of each name.

    inner: the reader of the function inside a modifier.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        stack: Stack,
        letters: Letters,
        inner: Reader | None = None,
    ) -> None:
        found = source_of(function)
        definition, self.source = found.definition, found.text
        self.globals = function.__globals__
        self.name, self.body, self.stack, self.inner = (
            definition.name,
            definition.body,
            stack,
            inner,
        )
        defaults = (function.__kwdefaults__ or {}).items()
        self.signals = {name for name, default in defaults if isinstance(default, Signal)}
        positional = [a.arg for a in definition.args.posonlyargs + definition.args.args]
        options = zip(definition.args.kwonlyargs, definition.args.kw_defaults, strict=True)
        switch = {a.arg: isinstance(getattr(d, "value", 0), bool) for a, d in options}
        self.numbers = {name for name, is_switch in switch.items() if not is_switch}
        self.tuples = tuples(definition) | {
            name for name in (*positional, *switch) if name in stack.counts
        }
        self.letters = letters.take(definition, self.tuples)
        self.outputs = [name for name in positional if name not in ("step", "g", "t")]
        stamps = dict.fromkeys(self.outputs, "t-1") | dict.fromkeys(["g", *self.signals], "t")
        self.start = {
            name: self.symbol(name, self.stamped(name, stamps.get(name, "")))
            for name in [*positional, *switch]
        }
        stack.starts |= {(x.name, x.stamp) for x in self.start.values()}
        self.now: dict[str, Node] = dict(self.start)
        self.defined: dict[str, list[Symbol]] = {}
        values = stack.values or {}
        self.settled = {self.start[name]: values[name] for name in switch if name in values}
        self.notes = notes(self.source)

    def symbol(self, name: str, stamp: str = "") -> Symbol:
        """The symbol of a name."""
        return replace(self.letters.get(name) or Symbol(name), stamp=stamp)

    def step(self, p: Node, g: Node, signals: Mapping[str, Node]) -> Node:
        """The inner rule's step from these: its equations are pending, and this is its new p."""
        inner = self.inner
        assert inner is not None
        inner.now |= {name: self.now[name] for name in inner.signals if name in self.signals}
        for name, value in {"p": p, "g": g, **signals}.items():
            if isinstance(value, Symbol):
                inner.now[name] = value
            else:
                self.stack.pending.append(
                    Equation(inner.define(name, value), value, layer=self.name)
                )
                if name == "p":
                    self.stack.results.add(self.stack.pending[-1].target)  # type: ignore[arg-type]
        found = inner.statements(inner.body)
        self.stack.pending += found
        new = inner.now["p"]
        if isinstance(new, Symbol):
            self.stack.results.add(new)
        return new

    def decided(self, test: ast.expr) -> bool | None:
        """Whether a test holds for the stack's values, if these say so."""
        match test:
            case ast.Constant(value):
                return bool(value)
            case ast.Name(name):
                value = self.settled.get(self.now.get(name))  # type: ignore[arg-type]
                return None if value is None else bool(value)
            case ast.UnaryOp(ast.Not(), x):
                found = self.decided(x)
                return None if found is None else not found
            case ast.BoolOp(op, tests):
                each = [self.decided(x) for x in tests]
                ends = isinstance(op, ast.Or)
                return ends if ends in each else None if None in each else not ends
            case ast.Compare(left, [op], [right]) if type(op) in COMPARED:
                a, b = self.whole(left), self.whole(right)
                return None if a is None or b is None else getattr(a, COMPARED[type(op)])(b)
        return None

    def whole(self, node: ast.expr) -> int | None:
        """A whole number that is known before training: written, of dimensions, or of parts."""
        match node:
            case ast.Constant(int() as value):
                return value
            case ast.Call(ast.Name("ndim") | ast.Attribute(_, "ndim"), [_]):
                return self.stack.ndim
            case ast.Call(ast.Name("len"), [ast.Name(name)]):
                return self.stack.counts.get(name)
        return None

    def statements(self, body: Sequence[ast.stmt]) -> list[Equation]:
        """The equations of statements, and of the inner steps in them."""
        found: list[Equation] = []
        for i, statement in enumerate(body):
            if isinstance(statement, ast.If) and (on := self.decided(statement.test)) is not None:
                chosen = statement.body if on else statement.orelse
                return found + self.statements([*chosen, *body[i + 1 :]])
            made = self.statement(statement, body[i + 1 :])
            pending, self.stack.pending = self.stack.pending, []
            found += pending + [e if e.layer else replace(e, layer=self.name) for e in made]
            if returns(statement):
                break
        return found

    def statement(self, statement: ast.stmt, rest: Sequence[ast.stmt]) -> list[Equation]:
        """The equations of a statement; where it may return, with those of the rest of the body."""
        note = self.notes.get(statement.end_lineno or 0, "")
        match statement:
            case ast.Pass() | ast.Expr(ast.Constant()):
                return []
            case ast.Assign([ast.Name(name)], value):
                return self.assign([name], value, note)
            case ast.Assign([ast.Tuple(parts)], value) if all(
                isinstance(part, ast.Name) for part in parts
            ):
                return self.assign([ast.unparse(part) for part in parts], value, note)
            case ast.Assign([ast.Tuple(parts)], ast.Tuple(values)) if by_turns(parts, values):
                each = zip(parts, values, strict=True)
                ones = [ast.copy_location(ast.Assign([x], value), statement) for x, value in each]
                return [e for one in ones for e in self.statement(one, rest)]
            case ast.AugAssign(ast.Name(name) as old, op, value) if type(op) in OPERATORS:
                return self.assign([name], ast.BinOp(old, op, value), note)
            case ast.Return(ast.expr() as value):
                count = None if isinstance(value, ast.Tuple | ast.Call) else 1
                return self.assign(self.outputs[:count], value, note, returned=True)
            case ast.If(test, inside, outside) if returns(statement):
                return self.branch(test, [*inside, *rest], [*outside, *rest])
            case ast.If(test, inside, outside) if not any(
                isinstance(node, ast.Return) for node in ast.walk(statement)
            ):
                return self.branch(test, inside, outside)
        self.alone(statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.define(node.id)
        text = ast.get_source_segment(self.source, statement, padded=True) or ""
        lines = textwrap.dedent(text).splitlines()
        return [Equation(None, Term("verbatim", (line,))) for line in lines]

    def alone(self, node: ast.AST) -> None:
        """Reject an inner step in code that is shown as written, or that may not run."""
        if self.inner and any(isinstance(x, ast.Name) and x.id == "step" for x in ast.walk(node)):
            raise NotComposed(f"{self.name}: {ast.unparse(node)}")

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
            inner = returned and name == "p" and new in self.stack.results
            if isinstance(new, Symbol) and (inner or not returned):
                self.now[name] = new  # another name for the same value
            elif not (returned and self.owns(name, new)):
                found.append(Equation(self.define(name, new), new, note))
                note = ""
        return found

    def define(self, name: str, value: Node | None = None) -> Symbol:
        """The symbol that stands for the name from now on."""
        steady = name == "t" or not (value is None or name in self.outputs or varies(value))
        symbol = self.symbol(name, self.stamped(name, "" if steady else "t"))
        alike = self.stack.symbols.setdefault(symbol.name, [])
        symbol.primes = len(alike) + 1  # temporary, each with another number
        alike.append(symbol)
        self.defined.setdefault(name, []).append(symbol)
        self.now[name] = symbol
        return symbol

    def owns(self, name: str, symbol: Any) -> bool:
        """Whether a symbol stands for a value that this name has been given."""
        return symbol in self.defined.get(name, ())

    def branch(
        self, test: ast.expr, inside: Sequence[ast.stmt], outside: Sequence[ast.stmt]
    ) -> list[Equation]:
        """An if. A name that has a value either way gets one equation, with cases.

        A slot or a new name that only one branch assigns keeps its equation, under the condition.
        """
        self.alone(ast.Module([*inside, *outside], []))
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
                        values[i] = cases(e.condition, e.value, self.start[name])
                    counts.add(getattr(e.target, "primes", 0))
                    note = note or e.note
            value = cases(condition, *values)
            symbol = self.define(name, value)
            merged.append(Equation(symbol, value, note))
            for each in self.defined[name]:  # what the branches called it is one and the same
                if each.primes in counts:
                    each.primes, each.stamp = symbol.primes, symbol.stamp
        sides = [e.under(condition) for e in then] + [e.under(negated(condition)) for e in other]
        return sides + merged

    def condition(self, test: ast.expr) -> Node:
        """A test as an expression."""
        value = self.expression(test)
        if isinstance(test, ast.Name) and test.id in self.numbers:  # zero means off
            return Term("≠", (value, number(0)))
        return value

    def stamped(self, name: str, stamp: str) -> str:
        """The index, with that of a tuple's parts before it."""
        return ",".join(["i"] * (name in self.tuples) + [stamp] * bool(stamp))

    def expression(self, node: ast.expr) -> Node:
        """The expression for Python's expression."""
        match node:
            case ast.Name(name):
                value = self.now.get(name)
                settled = self.settled.get(value) if isinstance(value, Symbol) else None
                if isinstance(settled, bool):
                    return TRUE if settled else FALSE
                return value or self.symbol(name)
            case ast.Constant(bool(value)):
                return TRUE if value else FALSE
            case ast.Constant(int() | float() as value):
                return number(value)
            case ast.Tuple([element]) if not isinstance(element, ast.Starred):
                return self.expression(element)
            case ast.Tuple(elements) if not any(isinstance(x, ast.Starred) for x in elements):
                return Term("call", ("", *map(self.expression, elements)))
            case ast.UnaryOp(ast.USub(), x):
                return Term("neg", (self.expression(x),))
            case ast.UnaryOp(ast.Not() | ast.Invert(), x):
                return negated(self.condition(x))
            case ast.BinOp(left, op, right) if type(op) in OPERATORS:
                return infix(OPERATORS[type(op)], self.expression(left), self.expression(right))
            case ast.BoolOp(op, values):
                *first, last = values
                passed = isinstance(op, ast.And)  # what lets Python go on to the next one
                open_ = [*(x for x in first if self.decided(x) is not passed), last]
                if len(open_) == 1 or self.decided(open_[0]) is not None:
                    return self.expression(open_[0])
                join = OPERATORS[type(op)]
                return reduce(lambda a, b: Term(join, (a, b)), map(self.condition, open_))
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
            case ast.Tuple(
                [new, ast.Starred(ast.Subscript(ast.Name(name), ast.Slice(None, end, None)))]
            ) if self.moves(name, end, "-1"):
                return self.shifted(new, name, "i-1", 1)
            case ast.Tuple(
                [ast.Starred(ast.Subscript(ast.Name(name), ast.Slice(start, None, None))), new]
            ) if self.moves(name, start, "1"):
                return self.shifted(new, name, "i+1", self.stack.counts.get(name))
            case ast.Subscript(ast.Name(name), place) if name in self.tuples:
                return self.part(name, place)
            case ast.Subscript(ast.Call() as whole, ast.Constant(int(place))):
                return Term("item", (self.expression(whole), f"[{place}]"))
            case ast.GeneratorExp(part, [each]) | ast.ListComp(part, [each]) if paired(each):
                return self.parts(part, paired(each))
            case ast.Call(ast.Name("tuple" | "list"), [ast.GeneratorExp(part, [each])]) if paired(
                each
            ):
                return self.parts(part, paired(each))
            case ast.Call(ast.Name("sum"), [ast.Name(name) as whole]) if name in self.tuples:
                return Term("each", (self.expression(whole),))
            case ast.Call(ast.Name("sum"), [ast.GeneratorExp(_, [each]) as whole]) if paired(each):
                return Term("each", (self.expression(whole),))
            case ast.Call(ast.Name("len"), [ast.Name(name)]) if name in self.tuples:
                if name in self.stack.counts:
                    return number(self.stack.counts[name])
                return Symbol("n" if "n" not in self.letters else "count")
            case ast.IfExp(test, value, otherwise):
                if (on := self.decided(test)) is not None:
                    return self.expression(value if on else otherwise)
                self.alone(ast.Tuple([value, otherwise]))
                return self.call("where", [test, value, otherwise])
            case ast.Call(ast.Name("step"), [p, g], named) if self.inner and all(
                x.arg for x in named
            ):
                signals = {str(x.arg): self.expression(x.value) for x in named}
                return self.step(self.expression(p), self.expression(g), signals)
            case ast.Call(
                ast.Name(name) | ast.Attribute(ast.Name("ops"), name), arguments, named
            ) if {x.arg for x in named} <= options(name):
                return self.call(name.strip("_"), arguments, {str(x.arg): x.value for x in named})
        self.alone(node)
        text = " ".join((ast.get_source_segment(self.source, node) or ast.unparse(node)).split())
        closed = isinstance(
            node, ast.Subscript | ast.Attribute | ast.Constant | ast.List | ast.Call
        )
        return Term("verbatim", (text if closed else f"({text})",))

    def parts(self, part: ast.expr, pairs: Sequence[tuple[str, str]]) -> Node:
        """The expression for each part of tuples; pairs: a part's name, and that of its tuple."""
        before = self.now
        self.now = before | {name: before[whole] for name, whole in pairs if whole in before}
        made = self.expression(part)
        self.now = before
        return made

    def moves(self, name: str, end: ast.expr | None, written: str) -> bool:
        """Whether a slice, from or up to `end`, is of a tuple, all but one at an end."""
        known = isinstance(self.now.get(name), Symbol) and name in self.tuples
        return known and end is not None and ast.unparse(end) == written

    def shifted(self, new: ast.expr, name: str, index: str, at: int | None) -> Node:
        """A tuple whose parts have moved on by one, with a new one at an end."""
        last = Symbol("n") if at is None else number(at)
        moved = Term("part", (self.now[name], index))
        return cases(Term("=", (Symbol("i"), last)), self.expression(new), moved)

    def part(self, name: str, place: ast.expr) -> Node:
        """One part of a tuple, if it is known which; otherwise the source."""
        written, count, now = ast.unparse(place), self.stack.counts.get(name), self.now.get(name)
        if not isinstance(now, Symbol) or not re.fullmatch(r"-?\d+", written):
            return Term("verbatim", (f"{name}[{written}]",))
        at = int(written) if int(written) >= 0 else int(written) + (count or 0)
        return Term("part", (now, f"{at + 1}" if at >= 0 else f"n{at + 1 or ''}"))

    def call(
        self, name: str, arguments: Sequence[ast.expr], named: dict[str, ast.expr] | None = None
    ) -> Node:
        """A function of ravine.ops, or another one, on arguments."""
        if name == "where" and (on := self.decided(arguments[0])) is not None:
            return self.expression(arguments[1 if on else 2])
        args = tuple(map(self.expression, arguments))
        more = {key: self.expression(value) for key, value in (named or {}).items()}
        if name == "where" and not more and len(args) == 3:
            args = (self.condition(arguments[0]), *args[1:])
        helper = self.globals.get(name) or self.globals.get(f"_{name}")
        return operation(name, args, more, helper if inspect.isfunction(helper) else None)
