"""Triton's Python, from the LLVM operations that the printer writes (engines/llvm/).

A kernel's computation is printed by one piece of code, one LLVM operation at a time. Here each of them
becomes a line of Triton, so both always mean the same. Loops replace blocks and jumps.
"""

from __future__ import annotations

import keyword
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ravine.engines.llvm.printer import Printer, Type

__all__ = ["TYPES", "Text", "plain"]

TYPES = {"float": "float32", "double": "float64", "half": "float16", "ptr": "uint64"}
TYPES |= {f"i{bits}": f"uint{bits}" for bits in (16, 32, 64)} | {"i1": "int1"}
"""Triton's names for LLVM's types. Integers are unsigned, so that shifts fill with zeros."""
_BYTES = {"double": 8, "i64": 8, "ptr": 8, "float": 4, "half": 2, "i16": 2}

_INFIX = {"fadd": "+", "fsub": "-", "fmul": "*", "fdiv": "/", "frem": "%"}
_INFIX |= {"add": "+", "sub": "-", "mul": "*", "udiv": "//", "lshr": ">>", "shl": "<<"}
_INFIX |= {"and": "&", "or": "|", "xor": "^"}
_COMPARE = {"olt": "<", "ole": "<=", "ogt": ">", "oge": ">=", "oeq": "==", "une": "!="}
_COMPARE |= {"ult": "<", "eq": "==", "ne": "!="}
_CALLS = {"fabs": "tl.abs", "floor": "tl.floor", "exp": "_exp", "log": "_log", "pow": "_pow"}
_BY_BITS = ("rint", "copysign")  # on the bits of a float: one function for each of its lengths
_TAKEN = ("tl", "triton", "range", "table", "moved", "program", "lanes", "full", "mask")
_PLACES = ("%i.wide", "%i.left")


class Text(Printer):
    """Lines of Triton. Addresses are integers; with a block of indices, the address is a block too.

    mask: which of the elements exist; "" for all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.mask, self.moved = 0, "", "%moved"
        self._used: set[str] = set()
        self._pointers: set[str] = set()

    def function(self, name: str, *arguments: str) -> None:
        """Begin a function of the table of a launch, and of how far tables have moved; see llvm/blocks.py."""
        self.lines += ["", "", '@triton.jit(do_not_specialize=["table", "moved"])']
        self.lines.append(f"def {name}({', '.join(('table', 'moved', *arguments))}):")
        self.depth, self._used, self._pointers, self.taken = 1, {*_TAKEN}, set(), {}
        self._used |= {plain(x) for x in _PLACES}
        self.put("table, moved = table.to(tl.uint64), moved.to(tl.uint64)")
        self.put("program = tl.program_id(0).to(tl.uint64)")

    def put(self, text: str) -> None:
        """Print a line of Triton."""
        self.lines.append("    " * self.depth + text)

    def line(self, text: str) -> None:
        """Print an LLVM operation: a store, or a value."""
        if text.startswith("store "):
            kind, value, _, address, *_ = text.removeprefix("store ").replace(",", "").split()
            mask = f", mask={self.mask}" if self.mask else ""
            self.put(f"tl.store({self._pointer(address, kind)}, {self._typed(value, kind)}{mask})")
        else:
            target, _, operation = text.partition(" = ")
            self.put(f"{plain(target)} = {self.expression(operation)}")

    def fresh(self, wanted: str) -> str:
        """A name that no value of this function has yet."""
        first = found = re.sub(r"\W", "_", super().fresh(wanted)[1:])
        first += "_" * keyword.iskeyword(first)
        count = 1
        while found in self._used or keyword.iskeyword(found):
            count += 1
            found = f"{first}_{count}"
        self._used.add(found)
        return f"%{found}"

    def call(self, wanted: str, intrinsic: str, kind: Type, *args: str) -> str:
        """Call what corresponds to an intrinsic."""
        if intrinsic == "sqrt":
            function = "tl.sqrt_rn" if kind.of == "float" else "tl.sqrt"
        elif intrinsic in _BY_BITS:
            function = f"_{intrinsic}_{TYPES[kind.of]}"
        else:
            function = _CALLS[intrinsic]
        target = self.fresh(wanted)
        operands = ", ".join(self._typed(x, kind.of) for x in args)
        self.put(f"{plain(target)} = {function}({operands})")
        return target

    def at(
        self,
        base: str,
        index: str | int,
        kind: str = "double",
        name: str = "at",
        pointer: str = "ptr",
    ) -> str:
        """The address of an element, or of a block of them."""
        target = self.fresh(name)
        if index in _PLACES:
            self._pointers.add(target)
            typed = f"{plain(base)}.to(tl.pointer_type(tl.{TYPES[kind]}))"
            place = plain(str(index))
            place = f"{typed} + {place}" if self.mask else f"_at({typed}, {place}, ALIGNED)"
            self.put(f"{plain(target)} = {place}")
        else:
            far = str(index * _BYTES[kind]) if isinstance(index, int) else _far(index, kind)
            self.put(f"{plain(target)} = {plain(base)} + {far}")
        return target

    def table(self, wanted: str, at: str) -> str:
        """Load the address of a table, or of a place in one."""
        return self.set(wanted, f"add i64 {self.load(wanted, at, 'i64')}, {self.moved}")

    def splat(self, value: str, kind: Type) -> str:
        """The number itself, which broadcasts against blocks."""
        return value

    @contextmanager
    def loop(
        self,
        name: str,
        count: str,
        carried: Mapping[str, str] | None = None,
        kind: str = "double",
        skip: Callable[[], str] | None = None,
        unrolled: bool = False,
    ) -> Iterator[dict[str, str]]:
        """Print a loop; see :meth:`ravine.engines.llvm.printer.Printer.loop`."""
        nexts, depth = dict[str, str](), self.depth
        for x, start in (carried or {}).items():
            self.put(f"{plain(x)} = {self._typed(start, kind)}")
        turns = f"0, {plain(count)}.to(tl.int64)" + ", loop_unroll_factor=8" * unrolled
        self.put(f"for {plain(name)} in tl.range({turns}):")
        self.depth += 1
        if skip:
            self.put(f"if {plain(skip())} == 0:")
            self.depth += 1
        yield nexts
        for x, value in nexts.items():
            self.put(f"{plain(x)} = {plain(value)}")
        self.depth = depth

    def full(self, shape: str, number: str) -> str:
        """A block of a number in float64."""
        return f"tl.full(({shape}), {_literal(number, 'double')}, tl.float64)"

    def expression(self, text: str) -> str:
        """An LLVM operation in Triton."""
        op, _, rest = text.partition(" ")
        if op == "load":
            kind, _, address, *_ = rest.replace(",", "").split()
            masked = f", mask={self.mask}, other={0 if kind[0] == 'i' else 0.0}"
            return f"tl.load({self._pointer(address, kind)}{masked if self.mask else ''})"
        if " to " in rest:
            return self._cast(op, *rest.replace(" to ", " ").split())
        if op == "fneg":  # zero minus x would lose the sign of zero
            return f"{plain(rest.split()[1])} * -1.0"
        operands = [x.split()[-1] for x in rest.split(", ")]
        if op == "select":
            kind = rest.split(", ")[1].split()[0]
            x, y = (self._typed(x, kind) for x in operands[1:])
            return f"tl.where({plain(operands[0])}, {x}, {y})"
        how, kind = rest.split()[:2] if op in ("fcmp", "icmp") else ("", rest.split()[0])
        if how == "uno":
            one, *more = [plain(x) for x in dict.fromkeys(operands) if x[0] == "%"]
            test = f"{one} != {one}"
            return f"tl.where({test}, {test}, {more[0]} != {more[0]})" if more else test
        if op == "xor" and kind == "i1":  # in the interpreter, a number's truth is no bit
            op, how = "icmp", "ne"
        if op == "fdiv" and kind == "float":
            return f"tl.div_rn({', '.join(self._typed(x, kind) for x in operands)})"
        one, other = (plain(x) if x[0] == "%" else _literal(x, kind) for x in operands)
        if operands[0][0] != "%" != operands[1][0]:
            one = self._typed(operands[0], kind)
        return f"{one} {_COMPARE[how] if how else _INFIX[op]} {other}"

    def _cast(self, op: str, source: str, x: str, target: str) -> str:
        x, kind = self._typed(x, source), f"tl.{TYPES[target]}"
        if op == "bitcast":
            return f"{x}.to({kind}, bitcast=True)"
        if op == "sitofp":
            return f"{x}.to(tl.int64, bitcast=True).to({kind})"
        if op == "fptosi":
            return f"{x}.to(tl.int64).to({kind}, bitcast=True)"
        return f"{x}.to({kind})"

    def _pointer(self, address: str, kind: str) -> str:
        if address in self._pointers:
            return plain(address)
        return f"{plain(address)}.to(tl.pointer_type(tl.{TYPES[kind]}))"

    def _typed(self, x: str, kind: str) -> str:
        """An operand with an explicit type."""
        return plain(x) if x[0] == "%" else f"tl.full((), {_literal(x, kind)}, tl.{TYPES[kind]})"


def plain(value: str) -> str:
    """The name of an LLVM value."""
    return value.removeprefix("%").replace(".", "_")


def _far(index: str, kind: str) -> str:
    return f"{plain(index)} * {_BYTES[kind]}" if index[0] == "%" else str(int(index) * _BYTES[kind])


def _literal(x: str, kind: str) -> str:
    """An LLVM number in Python's notation."""
    if x == "null":
        return "0"
    if kind[0] == "i":
        return str(int(x) % 2 ** int(kind[1:]))
    if x.startswith("0x"):
        x = repr(struct.unpack("<d", int(x, 16).to_bytes(8, "little"))[0])
    return f'float("{x}")' if x.strip("-") in ("inf", "nan") else x
