"""Triton's Python, from the operations of LLVM IR that the rest of the printer writes.

Arithmetic, conversions, rounding and random bits of a kernel are printed once (engines/llvm/), one LLVM
operation at a time. Here each becomes a line of Triton. So both engines compute the same thing, also after a
change. Only what there are loops over is printed separately.
"""

from __future__ import annotations

import keyword
import re
import struct

from ravine.engines.llvm.printer import Printer, Type

__all__ = ["TYPES", "Text"]

TYPES = {"float": "float32", "double": "float64", "half": "float16"}
TYPES |= {f"i{bits}": f"uint{bits}" for bits in (16, 32, 64)} | {"i1": "int1"}
"""Triton's names of LLVM's types. Integers have no sign, so that shifts fill up with zeros."""

_INFIX = {"fadd": "+", "fsub": "-", "fmul": "*", "frem": "%", "add": "+", "sub": "-", "mul": "*"}
_INFIX |= {"and": "&", "or": "|", "xor": "^", "lshr": ">>", "shl": "<<"}
_COMPARE = {"olt": "<", "ole": "<=", "ogt": ">", "oge": ">=", "oeq": "==", "une": "!="}
_CASTS = ("zext", "trunc", "uitofp", "sitofp", "fptosi", "fpext", "fptrunc", "bitcast")
_CALLS = {"fabs": "tl.abs", "floor": "tl.floor", "exp": "_exp", "log": "_log", "pow": "_pow"}
_BY_BITS = ("rint", "copysign")  # on the bits of a float: one function for each of its lengths
_JIT = '@triton.jit(do_not_specialize=["first", "stride"])'  # which would compile for each number
_SIGNED = "tl.int64, bitcast=True"


class Text(Printer):
    """Lines of Triton. Values have the shape that their operands give them: a number's, or a block's.

    names: those that are in use already. mask: of the elements that are loaded and stored; none: all of
    them. aligned: whether the addresses of a block begin at multiples of 16 bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.mask, self.aligned = 0, "", False
        self.names: set[str] = set()

    def function(self, name: str, *arguments: str) -> None:
        """Begin a function; its arguments are names, or names with what they are."""
        self.lines += ["", "", _JIT, f"def {name}({', '.join(arguments)}):"]
        self.names = {a.partition(":")[0] for a in arguments}
        self.depth = 1

    def line(self, text: str) -> None:
        """Print a line, or LLVM's store."""
        if text.startswith("store "):
            _, kind, value, _, address, _, _ = text.replace(",", "").split()
            mask = f", mask={self.mask}" if self.mask else ""
            text = f"tl.store({address}, {self._typed(value, kind)}{mask})"
        self.lines.append("    " * self.depth + text)

    def fresh(self, name: str) -> str:
        """A name that no value of this function has yet."""
        name = re.sub(r"[^0-9A-Za-z_]", lambda c: f"u{ord(c[0]):x}" if ord(c[0]) > 127 else "_", name)
        name += "_" * (keyword.iskeyword(name) or name in ("tl", "triton", "libdevice"))
        found, count = name, 1
        while found in self.names:
            count += 1
            found = f"{name}_{count}"
        self.names.add(found)
        return found

    def set(self, name: str, text: str) -> str:
        """Print an operation of LLVM's; what its result is called."""
        target = self.fresh(name)
        self.line(f"{target} = {self.expression(text)}")
        return target

    def call(self, name: str, intrinsic: str, kind: Type, *args: str) -> str:
        """Call what corresponds to an intrinsic."""
        operands = ", ".join(self._typed(x, kind.of) for x in args)
        if intrinsic == "sqrt":
            function = "tl.sqrt_rn" if kind.of == "float" else "tl.sqrt"
        elif intrinsic in _BY_BITS:
            function = f"_{intrinsic}_{TYPES[kind.of]}"
        else:
            function = _CALLS[intrinsic]
        target = self.fresh(name)
        self.line(f"{target} = {function}({operands})")
        return target

    def at(self, base: str, index: str | int, kind: str = "double", name: str = "at") -> str:
        """The address of an element."""
        target = self.fresh(name)
        place = f"{base} + {index}"
        self.line(f"{target} = " + (f"tl.multiple_of({place}, 16)" if self.aligned else place))
        return target

    def splat(self, value: str, kind: Type) -> str:
        """The number itself: it meets blocks as it is."""
        return value

    def full(self, shape: str, number: str) -> str:
        """A number in float64, or a block of it."""
        return f"tl.full(({shape}), {_literal(number, 'double')}, tl.float64)"

    def expression(self, text: str) -> str:
        """An operation of LLVM's in Triton."""
        op, _, rest = text.partition(" ")
        if op in _CASTS:
            source, x, _, target = rest.split()
            return self._cast(op, source, self._typed(x, source), target)
        if op == "fneg":  # zero minus x would lose the sign of zero
            return f"{rest.split()[1]} * -1.0"
        if op == "load":
            kind, _, address, *_ = rest.replace(",", "").split()
            masked = f", mask={self.mask}, other={0 if kind[0] == 'i' else 0.0}"
            return f"tl.load({address}{masked if self.mask else ''})"
        operands = [x.split()[-1] for x in rest.split(", ")]
        if op == "select":
            kind = rest.split(", ")[1].split()[0]
            x, y = (self._typed(x, kind) for x in operands[1:])
            return f"tl.where({operands[0]}, {x}, {y})"
        kind = rest.split()[op == "fcmp"]
        if op == "fdiv" and kind == "float":
            return f"tl.div_rn({self._typed(operands[0], kind)}, {self._typed(operands[1], kind)})"
        one, other = (_literal(x, kind) if _is_number(x) else x for x in operands)
        if all(map(_is_number, operands)):
            one = self._typed(operands[0], kind)
        if op == "fcmp":
            how = rest.split()[0]
            if how == "uno":
                tests = [f"({x} != {x})" for x in dict.fromkeys(operands) if not _is_number(x)]
                return " | ".join(tests)
            return f"{one} {_COMPARE[how]} {other}"
        return f"{one} {'/' if op == 'fdiv' else _INFIX[op]} {other}"

    def _cast(self, op: str, source: str, x: str, target: str) -> str:
        kind = f"tl.{TYPES[target]}"
        if op == "bitcast":
            return f"{x}.to({kind}, bitcast=True)"
        if op == "sitofp":
            return f"{x}.to({_SIGNED}).to({kind})"
        if op == "fptosi":
            return f"{x}.to(tl.int64).to({kind}, bitcast=True)"
        return f"{x}.to({kind})"

    def _typed(self, x: str, kind: str) -> str:
        """An operand that has a type of its own."""
        return f"tl.full((), {_literal(x, kind)}, tl.{TYPES[kind]})" if _is_number(x) else x


def _is_number(x: str) -> bool:
    return x[0].isdigit() or x[0] == "-"


def _literal(x: str, kind: str) -> str:
    """A number of LLVM's as Python writes it."""
    if kind[0] == "i":
        return str(int(x) % 2 ** int(kind[1:]))
    if x.startswith("0x"):
        x = repr(struct.unpack("<d", int(x, 16).to_bytes(8, "little"))[0])
    return f'float("{x}")' if x.strip("-") in ("inf", "nan") else x
