"""Codes on a GPU: the threads of a block step a tile of their chunk, and encode it in three more phases.

`walk` keeps the new values in the memory that the threads share. Then some threads find the largest element
of each part of a block of codes (`largest`), a thread for each block stores its scale (`windows`), and all
threads encode four elements at a time (`encode`). So only codes and scales move to and from the GPU's
memory. The codes are those of the CPU kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ravine.engines.llvm.codes import Codes
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.llvm.shares import shared
from ravine.engines.narrow import BLOCK, FORMATS

__all__ = ["ENCODED", "TILE", "Tile", "buffers", "words"]

TILE = 2048
"""The elements of a tile. Chunks are multiples of it."""
ENCODED = 4
"""The number of elements that a thread encodes at a time."""

_BLOCKS = TILE // BLOCK
_PARTS = 16  # of a block, in which the largest is sought apart
_POISONED = -1  # in the place of the number that is taken off
_FOUR = Type("i32", ENCODED)


def words(columns: int) -> int:
    """The eight-byte words that the threads of a block share for columns to be encoded."""
    return columns * (TILE + _BLOCKS * _PARTS + _BLOCKS) // 2


def buffers(out: Printer, begin: str, columns: Sequence[str]) -> dict[str, str]:
    """Where each column's new values wait."""
    return {c: out.at(begin, TILE * n, "float", f"{c}.buffer") for n, c in enumerate(columns)}


class Tile(Codes):
    """The columns in codes, for the elements of a chunk or a tile.

    A block's scale is loaded with its elements, for each vector of them.
    """

    def scale(self, column: str, i: str) -> str:
        """The bits of the scale of the block with an element."""
        out = self.out
        number = out.set("number", f"udiv i64 {i}, {BLOCK}")
        at = out.at(self.scales[column], number, "i32", pointer=self.pointer)
        return out.set(f"{column}.scale", f"load i32, {self.pointer} {at}, align 4")

    def clear(self, count: str) -> None:
        """Fill the last block up with zeros. count: the elements of the tile."""
        out = self.out
        whole = out.set("whole", f"mul i64 {_blocks(out, count)}, {BLOCK}")
        with shared(out, "clear", out.set("rest", f"sub i64 {whole}, {count}")) as i:
            place = out.set("place", f"add i64 {count}, {i}")
            for at in self.buffer.values():
                out.line(f"store float 0.0, ptr {out.at(at, place, 'float')}, align 4")

    def largest(self, count: str) -> None:
        """Find the largest of each part of all columns' blocks."""
        out = self.out
        items = len(self.buffer) * _BLOCKS * _PARTS
        with shared(out, "item", str(items)) as item:
            block = out.set("block", f"udiv i64 {item}, {_PARTS}")
            part = out.set("part", f"urem i64 {item}, {_PARTS}")
            first = out.set("first", f"mul i64 {block}, {BLOCK}")
            place = out.set("place", f"mul i64 {part}, {ENCODED}")
            first = out.set("first", f"add i64 {first}, {place}")
            places = [f"{n}" for n in range(0, BLOCK, _PARTS * ENCODED)]
            most = self._most(
                out.at(self._buffers, out.set("at", f"add i64 {first}, {place}"), "float")
                for place in places
            )
            out.store(most, out.at(self._buffers, self._place(self._largest, item), "i32"), "i32")

    def windows(self, count: str) -> None:
        """Store the scale of each block, and what its codes are less."""
        out = self.out
        with shared(out, "window", _blocks(out, count)) as block:
            for n, c in enumerate(self.buffer):
                first = out.set("first", f"mul i64 {block}, {_PARTS}")
                first = self._place(self._largest + n * _BLOCKS * _PARTS, first)
                most = self._most(
                    out.at(self._buffers, out.set("at", f"add i64 {first}, {place}"), "i32")
                    for place in range(0, _PARTS, ENCODED)
                )
                base, poisoned = self.window(c, block, most)
                base = out.set("base", f"select i1 {poisoned}, i32 {_POISONED}, i32 {base}")
                out.store(base, self._base(n, block), "i32")

    def encode(self, count: str) -> None:
        """Encode the blocks, of which the last one may be longer than the tensor."""
        out, byte = self.out, _FOUR.like("i8")
        many = out.set("many", f"mul i64 {_blocks(out, count)}, {BLOCK // ENCODED}")
        with shared(out, "four", many) as four:
            i = out.set("i", f"mul i64 {four}, {ENCODED}")
            block = out.set("block", f"udiv i64 {i}, {BLOCK}")
            for n, (c, buffer) in enumerate(self.buffer.items()):
                base = out.load("base", self._base(n, block), "i32")
                bits = _four(out, out.at(buffer, i, "float"))
                code = self.encoded(c, _FOUR, bits, base, i)
                poisoned = out.set("poisoned", f"icmp eq i32 {base}, {_POISONED}")
                nan = _FOUR.constant(int(not FORMATS[self.dtype[c]].signed))
                code = out.set("code", f"select i1 {poisoned}, {_FOUR} {nan}, {_FOUR} {code}")
                code = out.set("byte", f"trunc {_FOUR} {code} to {byte}")
                out.line(f"store {byte} {code}, {self.pointer} {self.at(c, i)}, align {ENCODED}")

    @property
    def _buffers(self) -> str:
        """The address of what the threads share: the new values of all columns, the largest of each part,
        and what the codes of each block are less.
        """
        return next(iter(self.buffer.values()))

    @property
    def _largest(self) -> int:
        return len(self.buffer) * TILE

    def _base(self, column: int, block: str) -> str:
        first = self._largest + (len(self.buffer) * _PARTS + column) * _BLOCKS
        return self.out.at(self._buffers, self._place(first, block), "i32")

    def _place(self, first: int, i: str) -> str:
        return self.out.set("place", f"add i64 {i}, {first}")

    def _most(self, addresses: Iterator[str]) -> str:
        """The bits of the largest of the numbers in fours, without their signs."""
        out, found = self.out, ""
        for at in addresses:
            bits = self.size(_FOUR, _four(out, at))
            found = self.larger(_FOUR, found, bits) if found else bits
        lanes = [out.set("lane", f"extractelement {_FOUR} {found}, i64 {n}") for n in range(4)]
        one, other = (self.larger(Type("i32"), *lanes[n : n + 2]) for n in (0, 2))
        return self.larger(Type("i32"), one, other)


def _four(out: Printer, at: str) -> str:
    return out.set("bits", f"load {_FOUR}, ptr {at}, align {4 * ENCODED}")


def _blocks(out: Printer, count: str) -> str:
    above = out.set("above", f"add i64 {count}, {BLOCK - 1}")
    return out.set("blocks", f"udiv i64 {above}, {BLOCK}")
