"""What does not depend on elements, computed on the device: a launch of one block before the first pass.

Its threads share the tensors. The number of steps, scalar slots and hyperparameters are read where they are
on the device, so the host neither knows them nor waits, and a CUDA graph can repeat the step. Each tensor has
its own row of what depends on t and the hyperparameters.

If `found_inf` is not zero, no tensor has a gradient, as far as the step is concerned: the passes find none,
and nothing is counted or stored.

`put` copies its argument to a table. A launch's arguments are part of a graph; memory of the host is not.
"""

from __future__ import annotations

from collections.abc import Callable

from ravine.engines.kernel import TENSOR
from ravine.engines.llvm import noise
from ravine.engines.llvm.begin import count
from ravine.engines.llvm.blocks import LAUNCH, THREADS, Blocks, Entry, Walk, on_host
from ravine.engines.llvm.powers import WithFormulas
from ravine.engines.llvm.printer import Printer
from ravine.engines.llvm.scalars import new_slots, row
from ravine.engines.llvm.shares import shared
from ravine.engines.llvm.tables import RECORD, SCALARS, Tensors
from ravine.engines.passes import Pass

__all__ = ["FIRST", "PUT", "finishes_last", "put_in_turn", "put_on_gpu", "text"]

FIRST = (*LAUNCH, "gradients", "sources", "present", "found_inf")
"""The table of the launch. gradients: the addresses of all gradients; present: of those that take part, which
it fills in; sources: the addresses of the hyperparameters, in rows as long as group rows; found_inf: the
address of a number in float64. What is of the user's is addressed as it is, and not moved as tables are.
"""
PUT = 480
"""The maximum number of words that `put` copies; a launch has four kilobytes of arguments."""


def finishes_last(variant: Blocks) -> bool:
    """Whether new scalar slots depend on the elements, so that they are stored after the last pass."""
    kernel, known = variant.kernel, on_host(variant)
    new = [v for slot in kernel.slots if (v := kernel.outputs[slot]).level == TENSOR]
    if kernel.has_lines:
        return any(v not in kernel.early for v in new)
    return any(v.stage >= known for v in new)


def text(variant: Blocks, entry: Entry, put: Callable[[Printer], None]) -> str:
    """The kernels `first`, `put` and, if new scalar slots are stored after the last pass, `finish`."""
    out = WithFormulas()
    out.moved = "%gpu.moved"
    row(out, variant.kernel)
    entry(out, "first", *_First(out, variant).phases(on_host(variant) - 1))
    if finishes_last(variant):
        entry(out, "finish", *_Finish(out, variant).phases(0))
    put(out)
    return out.text(f"{variant.kernel.graph.rule.name}: scalars, on the device")


class _First(Walk):
    """A pass over no elements, and the scalars of the stages that follow."""

    name = "first"

    def __init__(self, out: Printer, variant: Blocks):
        super().__init__(out, variant, Pass(-1, {}, [], [], [], [], [], {}))

    def phases(self, last: int) -> tuple[list[str], list[str]]:
        """Print the phases, and name them in their order."""
        for name, made in (("choose", self.choose), ("count", self.count)):
            self._begin(name)
            made()
            self.out.end()
        after = self.after(last)
        if self.kernel.slots and not finishes_last(self.variant):  # type: ignore[arg-type]
            after.append(("finish", self.finish))
        return [], ["choose", "count", *self.finally_(after)]

    def _first(self, name: str, kind: str = "ptr") -> str:
        return self.out.field("%gpu.table", FIRST, name, kind)

    def _users(self, at: str) -> str:
        """An address of the user's that is kept at an address."""
        return self.out.load("of.user", at, "ptr")

    def choose(self) -> None:
        """Find the gradients that take part: all, or none."""
        out, every = self.out, self._scalars()
        found = self._users(out.at("%gpu.table", FIRST.index("found_inf"), "i64"))
        skip = out.set("skip", f"fcmp une double {out.load('found', found)}, 0.0")
        gradients, present = self._first("gradients"), self._first("present")
        turns = out.set("turns", f"udiv i64 {every.count}, %gpu.threads")
        with out.loop("tensor", out.set("turns", f"add i64 {turns}, 1")):
            mine = out.set("mine", "mul i64 %tensor, %gpu.threads")
            mine = out.set("mine", f"add i64 {mine}, %gpu.thread")
            exists = out.set("exists", f"icmp ult i64 {mine}, {every.count}")
            out.branch(exists, "gpu.choose", "gpu.chosen")
            out.label("gpu.choose")
            address = out.load("gradient", out.at(gradients, mine, "i64"), "i64")
            address = out.set("gradient", f"select i1 {skip}, i64 0, i64 {address}")
            out.store(address, out.at(present, mine, "i64"), "i64")
            out.jump("gpu.chosen")
            out.label("gpu.chosen")
        out.store("1", "%gpu.shared", "i64")  # this is the last block

    def _gradient(self, every: Tensors, tensor: str) -> str:
        return self.out.load("gradient", self.out.at(self._first("present"), tensor, "i64"), "ptr")

    def count(self) -> None:
        """Count the step, compute the row of each tensor, and read the old scalar slots."""
        out, kernel, every = self.out, self.kernel, self._scalars()
        seed = out.field("%scalars", SCALARS, "seed")
        group_rows = out.field("%scalars", SCALARS, "group_rows")
        sources = self._first("sources", "i64")
        apart = out.set("apart", f"sub i64 {sources}, {group_rows}")
        with self._mine(every):
            record = every.record("%gpu.tensor")
            t = count(out, every, record, "%gpu.tensor")
            if self.variant.noisy:
                bits = noise.of_step(out, seed, t)
                out.store(bits, out.at(record, RECORD.index("noise"), "i64"), "i64")
            own = out.field(record, RECORD, "own_row", "ptr")
            shared = out.field(record, RECORD, "shared_row", "ptr")
            for i, name in enumerate(kernel.inputs):
                number = t
                if name != "t":
                    at = out.set("source.at", f"getelementptr i8, ptr {shared}, i64 {apart}")
                    number = out.load("number", self._users(out.at(at, i, "i64")))
                out.store(number, out.at(own, i))
            out.line(f"call void @row(ptr {own})")
            mine = out.field(record, RECORD, "tensor_row", "ptr")
            for i in range(len(kernel.slots)):
                out.store(out.load("slot", every.slot(i, "%gpu.tensor")), out.at(mine, i))

    def finish(self) -> None:
        """Store the new scalar slots."""
        every = self._scalars()
        with self._mine(every):
            new_slots(self.out, self.kernel, every, "%gpu.tensor")


class _Finish(_First):
    """The new scalar slots, after the last pass."""

    name = "finish"

    def phases(self, last: int) -> tuple[list[str], list[str]]:
        """Print the only phase, and name it."""
        self._begin("finish")
        self.finish()
        self.out.end()
        return [], ["finish"]


def _copying(out: Printer, words: str, thread: str, threads: str) -> None:
    """Copy a thread's share of the words."""
    with shared(out, "turn", "%count", thread, threads) as place:
        word = out.load("word", out.at(words, place, "i64"), "i64")
        out.store(word, out.at("%to", place, "i64"), "i64")


def put_on_gpu(out: Printer) -> None:
    """The kernel that copies words to an address, a block of threads."""
    out.moved = ""
    words = f"ptr byval([{PUT} x i64]) align 8 %words"
    out.begin(f"@put(ptr %to, i64 %count, {words}) #0", result="ptx_kernel void")
    out.declared["declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()"] = None
    thread = out.set("thread.i", "call i32 @llvm.nvvm.read.ptx.sreg.tid.x()")
    thread = out.set("thread", f"zext i32 {thread} to i64")
    _copying(out, "%words", thread, str(THREADS))
    out.end()


def put_in_turn(out: Printer) -> None:
    """The same on this computer."""
    out.moved = ""
    out.begin("@put(ptr %to, i64 %count, ptr %words)")
    _copying(out, "%words", "0", "1")
    out.end()
