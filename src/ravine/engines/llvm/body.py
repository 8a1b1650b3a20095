"""The operations of a kernel on numbers, or on vectors of them.

They are the rule's, in its order and without LLVM's fast-math flags. So without reductions, the bits are
those of the eager engine, including NaN, infinity and denormals. Only division by a scalar differs, see
Kernel._quotient. (Fusing multiplications and additions gains nothing measurable.)
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from ravine.draws import DRAWN
from ravine.engines.kernel import LARGEST, SMALLEST, Value
from ravine.engines.llvm import functions
from ravine.engines.llvm.printer import Printer, Type

__all__ = ["Body"]

_INFIX = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_INTRINSIC = {"sqrt": "sqrt", "abs": "fabs", "exp": "exp", "log": "log"}
_INTRINSIC |= {"floor": "floor", "round": "rint"}  # rint: halves to even


class Body:
    """Straight-line code for values of one type: the name of each value, and which ones are i1."""

    def __init__(self, out: Printer, kind: Type):
        self.out, self.kind = out, kind
        self.names: dict[Value, str] = {}
        self.truths: dict[Value, tuple[str, str]] = {}  # (i1 or a vector of them, its name)
        self.stored: Callable[[Type, str], str] | None = None  # rounds as a store of p does
        self.draw: Callable[[str, int], str] | None = None  # random numbers of a stream

    def copy(self) -> Body:
        """Code for other elements, with the same scalars."""
        other = copy(self)
        other.names, other.truths = dict(self.names), dict(self.truths)
        return other

    def number(self, value: Value) -> str:
        """The value as a floating-point operand."""
        if value.op == "constant":
            return self.kind.constant(value.leaf)
        if value not in self.names:
            kind, name = self.truths[value]
            self.names[value] = self.out.set("number", f"uitofp {kind} {name} to {self.kind}")
        return self.names[value]

    def truth(self, value: Value) -> tuple[str, str]:
        """The value as a condition."""
        if value not in self.truths:
            self.truths[value] = self._compare("une", self.number(value), 0.0)
        return self.truths[value]

    def _compare(self, how: str, x: str, y: str | float) -> tuple[str, str]:
        y = y if isinstance(y, str) else self.kind.constant(y)
        return str(self.kind.like("i1")), self.out.set("is", f"fcmp {how} {self.kind} {x}, {y}")

    def select(self, name: str, condition: tuple[str, str], x: str, y: str) -> str:
        """X where the condition holds, y elsewhere."""
        kind, test = condition
        return self.out.set(name, f"select {kind} {test}, {self.kind} {x}, {self.kind} {y}")

    def compute(self, value: Value) -> None:
        """Print the operation that computes the value."""
        op, kind, name = value.op, self.kind, value.name or value.op
        if op in _COMPARE:
            x, y = (self.number(a) for a in value.args)
            self.truths[value] = self._compare(_COMPARE[op], x, y)
            return
        if op in DRAWN:
            assert self.draw is not None
            self.names[value] = self.draw(op, value.leaf)
            return
        if op == "where":
            condition = self.truth(value.args[0])
            x, y = (self.number(a) for a in value.args[1:])
            self.names[value] = self.select(name, condition, x, y)
            return
        special = {"mod": self._modulo, "quotient": self._quotient}
        special |= {"scale": self._divisor, "narrow": self._divisor}
        if op in special:
            self.names[value] = special[op](value)
            return
        x, y = (self.number(a) for a in (value.args[0], value.args[-1]))
        if op == "stored" and self.stored:
            result = self.stored(kind, x)
        elif op in _INFIX:
            result = self.out.set(name, f"{_INFIX[op]} {kind} {x}, {y}")
        elif op == "neg":
            result = self.out.set(name, f"fneg {kind} {x}")
        elif op == "pow":
            result = self.out.call(name, "pow", kind, x, y)
            if value.args[1].op != "constant":  # x**0.5 is the square root, also of -0.0 and -inf
                root = self.out.call("root", "sqrt", kind, x)
                result = self.select(name, self._compare("oeq", y, 0.5), root, result)
        elif op == "tanh":
            result = functions.tanh(self.out, kind, x)
        elif op == "atan2":
            result = functions.atan2(self.out, kind, x, y)
        elif op in _INTRINSIC:
            result = self.out.call(name, _INTRINSIC[op], kind, x)
        elif op in ("maximum", "minimum"):  # NaN if either is
            first = self._compare("ogt" if op == "maximum" else "olt", x, y)
            result = self.select(name, first, x, y)
            result = self.select(name, self._compare("uno", x, 0.0), x, result)
        else:  # sign
            result = self.select(name, self._compare("olt", x, 0.0), kind.constant(-1.0), x)
            result = self.select(name, self._compare("ogt", x, 0.0), kind.constant(1.0), result)
            result = self.out.set(name, f"fadd {kind} {result}, {kind.constant(0.0)}")  # of -0.0
        self.names[value] = result

    def operands(self, value: Value) -> tuple[Value, ...]:
        """The arguments that are used in computations of this type."""
        if value.op != "quotient":
            return value.args
        a, scale, wide, narrow = value.args
        return a, scale, wide if self.kind.of == "double" else narrow

    def _quotient(self, value: Value) -> str:
        """See Kernel._quotient."""
        x, scale, inverse = map(self.number, self.operands(value))
        x = self.out.set("scaled", f"fmul {self.kind} {x}, {scale}")
        return self.out.set(value.name or "div", f"fmul {self.kind} {x}, {inverse}")

    def _divisor(self, value: Value) -> str:
        """A scalar that elements are divided by: rounded to float32 ("narrow"), or what to scale
        the elements by ("scale"), if it is out of range; itself, or 1, if not.
        """
        x, kind = self.number(value.args[0]), self.kind
        size = self.out.call("size", "fabs", kind, x)
        small = self._compare("olt", size, SMALLEST)
        large = self._compare("ogt", size, LARGEST)
        if value.op == "scale":
            result = self.select("scale", small, kind.constant(2.0**64), kind.constant(1.0))
            return self.select("scale", large, kind.constant(2.0**-64), result)
        narrow = kind.like("float")
        single = self.out.set("single", f"fptrunc {kind} {x} to {narrow}")
        single = self.out.set("single", f"fpext {narrow} {single} to {kind}")
        return self.select("narrow", small, single, self.select("narrow", large, single, x))

    def _modulo(self, value: Value) -> str:
        """As in Python: the result has the sign of y, also if it is zero."""
        kind, truth = self.kind, self.kind.like("i1")
        x, y = map(self.number, value.args)
        zero = self.out.call("zero", "copysign", kind, kind.constant(0.0), y)
        return self.out.code(
            f"""
            none = fcmp oeq {kind} %rest, {kind.constant(0.0)}
            down = fcmp olt {kind} %rest, {kind.constant(0.0)}
            below = fcmp olt {kind} %y, {kind.constant(0.0)}
            apart = xor {truth} %down, %below
            sum = fadd {kind} %rest, %y
            moved = select {truth} %apart, {kind} %sum, {kind} %rest
            mod = select {truth} %none, {kind} %zero, {kind} %moved
            """,
            rest=self.out.remainder(kind, x, y),
            y=y,
            zero=zero,
        )
