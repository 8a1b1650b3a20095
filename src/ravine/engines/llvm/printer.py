"""Text of LLVM IR: types, functions line by line, loops, and the intrinsics that they call."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Printer", "Type", "signed"]


@dataclass(frozen=True)
class Type:
    """A number or a vector of numbers: "float" or "double", and how many."""

    of: str
    width: int = 1

    def __str__(self) -> str:
        return self.of if self.width == 1 else f"<{self.width} x {self.of}>"

    def like(self, of: str) -> Type:
        """As many of another kind."""
        return Type(of, self.width)

    @property
    def suffix(self) -> str:
        """Its form in the names of intrinsics."""
        bits = {"float": "f32", "double": "f64"}[self.of]
        return bits if self.width == 1 else f"v{self.width}{bits}"

    def constant(self, value: float | int) -> str:
        """A literal of this type."""
        if isinstance(value, int):
            text = str(value)
        else:
            if self.of == "float":
                value = _to_float32(value)
            exact = abs(value) < 2**20 and value * 1024 == round(value * 1024)
            bits = struct.unpack("<Q", struct.pack("<d", value))[0]
            text = repr(value) if exact else f"0x{bits:016X}"
        return text if self.width == 1 else f"splat ({self.of} {text})"


def _to_float32(value: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def signed(bits: int, width: int = 64) -> int:
    """A bit pattern as the integer that LLVM writes for it."""
    return bits - 2**width if bits >= 2 ** (width - 1) else bits


# The printer's names for blocks and values, which a rule's names must avoid.
_FIXED = re.compile(
    r"(add|any|batch|block|chunk|claim|end|entry|group|i|j|left|line|more|range|row|scalars|tensor|wide"
    r"|sum\d+|total\d+|part\d+|parts\d+|lines\d+|all\d+)$"
)
_ALIGN = {"i64": 8, "ptr": 8, "double": 8, "float": 4, "i32": 4}


class Printer:
    """The text of a module. Methods that print an operation return the name of its result.

    block: the label that was printed last. moved: the distance of the tables that a function reads from the
    addresses in them; "" for none.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declared: dict[str, None] = {}
        self.taken: dict[str, int] = {}
        self.block = self.moved = ""

    def text(self, *head: str) -> str:
        """The module, with comments at its head."""
        return "\n".join([*(f"; {h}" for h in head), *self.lines, "", *self.declared, ""])

    def line(self, text: str) -> None:
        """Print a line of a function."""
        self.lines.append(f"  {text}")

    def begin(self, signature: str, *comments: str, result: str = "void") -> None:
        """Begin a function."""
        self.lines += ["", *(f"; {c}" for c in comments), f"define {result} {signature} {{"]
        self.taken = {}
        self.label("entry")

    def end(self, result: str = "void") -> None:
        """Return, and end the function."""
        self.lines += [f"  ret {result}", "}"]

    def label(self, name: str) -> None:
        """Begin a block."""
        self.lines.append(f"{name}:")
        self.block = name

    def jump(self, label: str) -> None:
        """Continue at a block."""
        self.line(f"br label %{label}")

    def branch(self, condition: str, yes: str, no: str) -> None:
        """Continue at one of two blocks."""
        self.line(f"br i1 {condition}, label %{yes}, label %{no}")

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
        """Print a loop that counts %name from 0.

        carried: numbers that are carried from one iteration to the next, with their initial values. The
        context contains the body, which stores their next values in the dict. skip: prints the condition
        under which the body is skipped, and they do not change. unrolled: whether to unroll on a GPU,
        whose threads wait long for each load.
        """
        before, nexts = self.block, dict[str, str]()
        self.jump(f"{name}.head")
        self.label(f"{name}.head")
        self.line(f"%{name} = phi i64 [ 0, %{before} ], [ %{name}.next, %{name}.tail ]")
        for x, start in (carried or {}).items():
            ends = f"[ {start}, %{before} ], [ %{x}.carried, %{name}.tail ]"
            self.line(f"%{x} = phi {kind} {ends}")
        self.line(f"%{name}.more = icmp ult i64 %{name}, {count}")
        self.branch(f"%{name}.more", f"{name}.body", f"{name}.end")
        self.label(f"{name}.body")
        if skip:
            self.branch(skip(), f"{name}.tail", f"{name}.here")
            self.label(f"{name}.here")
        yield nexts
        last = self.block
        self.jump(f"{name}.tail")
        self.label(f"{name}.tail")
        for x, value in nexts.items():
            past = f", [ %{x}, %{name}.body ]" if skip else ""
            self.line(f"%{x}.carried = phi {kind} [ {value}, %{last} ]{past}")
        self.line(f"%{name}.next = add i64 %{name}, 1")
        self.jump(f"{name}.head" + (self._unroll() if unrolled and self.moved else ""))
        self.label(f"{name}.end")

    def _unroll(self) -> str:
        first = len([line for line in self.declared if line.startswith("!")])
        self.declared[f"!{first} = distinct !{{!{first}, !{first + 1}}}"] = None
        self.declared[f'!{first + 1} = !{{!"llvm.loop.unroll.count", i32 8}}'] = None
        return f", !llvm.loop !{first}"

    def fresh(self, name: str) -> str:
        """A name that no value of this function has yet."""
        first, dot, rest = name.partition(".")
        name = _FIXED.sub(r"\g<0>_", first) + dot + rest
        if not name.isascii():
            name = "".join(c if c.isascii() else f"u{ord(c):x}" for c in name)
        count = self.taken.get(name, 0)
        self.taken[name] = count + 1
        return f"%{name}" if not count else f"%{name}.{count}"

    def set(self, name: str, text: str) -> str:
        """Print `%name = text`."""
        target = self.fresh(name)
        self.line(f"{target} = {text}")
        return target

    def code(self, text: str, **names: str) -> str:
        """Print lines of IR, whose %names are those given and their own; the last one's full name."""
        result = ""
        for line in text.strip().splitlines():
            target, _, operation = line.strip().partition(" = ")
            operation = re.sub(r"%(\w+)", lambda m: names[m[1]], operation)
            result = names[target] = self.set(target, operation)
        return result

    def call(self, name: str, intrinsic: str, kind: Type, *args: str) -> str:
        """Call an intrinsic whose arguments and result are of one type."""
        function = f"@llvm.{intrinsic}.{kind.suffix}"
        self.declared[f"declare {kind} {function}({', '.join([str(kind)] * len(args))})"] = None
        return self.set(name, f"call {kind} {function}({', '.join(f'{kind} {a}' for a in args)})")

    def remainder(self, kind: Type, x: str, y: str) -> str:
        """C's fmod."""
        return self.set("rest", f"frem {kind} {x}, {y}")

    def at(
        self,
        base: str,
        index: str | int,
        kind: str = "double",
        name: str = "at",
        pointer: str = "ptr",
    ) -> str:
        """The address of an element of an array."""
        return self.set(name, f"getelementptr {kind}, {pointer} {base}, i64 {index}")

    def load(self, name: str, address: str, kind: str = "double") -> str:
        """Load a number or an address."""
        return self.set(name, f"load {kind}, ptr {address}, align {_ALIGN[kind]}")

    def store(self, value: str, address: str, kind: str = "double") -> None:
        """Store a number or an address."""
        self.line(f"store {kind} {value}, ptr {address}, align {_ALIGN[kind]}")

    def field(self, base: str, names: Sequence[str], name: str, kind: str = "i64") -> str:
        """Load one field of a table."""
        at = self.at(base, names.index(name), "i64", f"{name}.at")
        return self.table(name, at) if kind == "ptr" else self.load(name, at, kind)

    def table(self, name: str, at: str) -> str:
        """Load the address of a table, or of a place in one."""
        if not self.moved:
            return self.load(name, at, "ptr")
        here = self.set(name, f"add i64 {self.load(name, at, 'i64')}, {self.moved}")
        return self.set(name, f"inttoptr i64 {here} to ptr")

    def join(self, kind: Type, x: str, y: str) -> str:
        """One vector of two."""
        return self._shuffled("both", kind, x, y, range(2 * kind.width))

    def parts(self, kind: Type, x: str) -> tuple[str, str]:
        """The two halves of a vector."""
        middle, end = kind.width // 2, kind.width
        first, second = (
            self._shuffled("part", kind, x, "poison", lanes)
            for lanes in (range(middle), range(middle, end))
        )
        return first, second

    def _shuffled(self, name: str, kind: Type, x: str, y: str, lanes: Sequence[int]) -> str:
        order = ", ".join(f"i32 {n}" for n in lanes)
        return self.set(
            name, f"shufflevector {kind} {x}, {kind} {y}, <{len(lanes)} x i32> <{order}>"
        )

    def splat(self, value: str, kind: Type) -> str:
        """A number in every place of a vector."""
        if kind.width == 1:
            return value
        one = self.set(f"{value[1:]}.one", f"insertelement {kind} poison, {kind.of} {value}, i64 0")
        zeros = f"<{kind.width} x i32> zeroinitializer"
        return self.set(f"{value[1:]}.wide", f"shufflevector {kind} {one}, {kind} poison, {zeros}")
