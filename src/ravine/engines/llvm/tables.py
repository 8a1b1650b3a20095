"""The tables that a kernel walks, in words of eight bytes; engines/cpu.py fills them.

group row    the inputs (t and the hyperparameters), then every scalar computed from them
tensor row   the scalar slots, then every scalar computed for this tensor alone
record       one tensor: see RECORD
addresses    column after column (p, g, the array slots, the scalar slots, the step count), where
             each tensor has it; scalar slots are float64, counts float32 or float64
chunk        which tensor (its place in the batch), and the first element: see CHUNK
bounds       where each range of chunks begins, and where the last one ends
batch        tensors of the same dtypes: see BATCH, then, for each column, where the addresses
             of its tensors stand
scalars      see SCALARS
job          a function, its argument (a batch or the scalars), and how it is called: PLAINLY,
             IN_THREADS, or as the one that may refuse the step
numbers      the tensor rows, then what there is for matrices, rows and columns, tensor by tensor
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from ravine.engines.kernel import GROUP, SIZES, TENSOR, Kernel, Value
from ravine.engines.llvm.printer import Printer

__all__ = [
    "BATCH",
    "CHUNK",
    "COUNT_FULL",
    "IN_THREADS",
    "LINE",
    "NO_MEMORY",
    "PLAINLY",
    "READY",
    "RECORD",
    "REFUSES",
    "SCALARS",
    "Tensors",
    "record_of",
    "rows_of",
    "scalar",
]

# The group's row; a row for a tensor whose count is another; whether the count is in float64.
_ROWS = ("shared_row", "own_row", "wide_count")
RECORD = (
    *("numel", "chunk_length", "group_row", "tensor_row", "partials", "chunk_count", "number"),
    *(*_ROWS, "noise"),
    # What SIZES says of the whole tensor, where this is one process's part of it.
    *(f"whole_{size}" for size in SIZES),
    # Of a tensor that is seen as matrices: the same of what is here, and where there is what for each, see
    # lines.py.
    *("matrices", "rows", "height", "widths", "columns"),
    *("matrix_values", "row_values", "column_values"),
    # The number of pieces into which a matrix is split by rows, and what each writes for every column.
    *("pieces", "column_parts"),
    # On a GPU: how many threads share a row, and what each leaves for it, see block_lines.py.
    *("lanes", "row_parts"),
)
# Each range of chunks has a counter, from which threads claim them, on a separate cache line. One more
# counts the threads that have arrived. `thread` is the address of omp_get_thread_num, or 0.
BATCH = (
    *("counters", "range_count", "bounds", "thread", "chunk_count", "chunks", "records"),
    *("partials", "tensor_count", "run"),
)
LINE = 8
CHUNK = ("tensor", "start")
SCALARS = (
    *("group_rows", "group_count", "records", "tensor_count", "totals", "addresses"),
    *("seed", "expected", "stride"),
)
PLAINLY, IN_THREADS, REFUSES = 0, 1, 2
READY, NO_MEMORY, COUNT_FULL = 0, 1, 2
"""What `begin` finds, before anything is changed: the step can be taken; a tensor to be stepped has a
column without memory, or the number of such tensors is not the expected one; a float32 count is at
its maximum, 2**24."""


class Tensors:
    """What a function over all tensors reads: their records and their addresses."""

    def __init__(self, out: Printer, kernel: Kernel):
        self.out, self.kernel = out, kernel
        self.records = out.field("%scalars", SCALARS, "records", "ptr")
        self.count = out.field("%scalars", SCALARS, "tensor_count")
        self.stride = out.field("%scalars", SCALARS, "stride")
        self.addresses = out.field("%scalars", SCALARS, "addresses", "ptr")

    def each(
        self, loop: str, carried: Mapping[str, str] | None = None, kind: str = "double"
    ) -> AbstractContextManager[dict[str, str]]:
        """A loop over the tensors that have a gradient, see :meth:`Printer.loop`."""

        def absent() -> str:
            return self.out.set("absent", f"icmp eq ptr {self.column('g', f'%{loop}')}, null")

        return self.out.loop(loop, self.count, carried, kind, absent)

    def record(self, tensor: str) -> str:
        """The record of a tensor."""
        return record_of(self.out, self.records, tensor)

    def column(self, name: str, tensor: str) -> str:
        """The address of a tensor's p, g or array slot."""
        return self._address(self.kernel.columns.index(name), tensor)

    def slot(self, number: int, tensor: str) -> str:
        """The address of a tensor's scalar slot."""
        return self._address(len(self.kernel.columns) + number, tensor)

    def steps(self, tensor: str) -> str:
        """The address of a tensor's count of steps."""
        return self.slot(len(self.kernel.slots), tensor)

    def _address(self, column: int, tensor: str) -> str:
        at = self.out.set("at", f"mul i64 {self.stride}, {column}")
        at = self.out.set("at", f"add i64 {at}, {tensor}")
        return self.out.load("address", self.out.at(self.addresses, at, "ptr"), "ptr")


def record_of(out: Printer, records: str, tensor: str) -> str:
    """The record of a tensor."""
    at = out.set("record", f"mul i64 {tensor}, {len(RECORD)}")
    return out.at(records, at, "i64", "record")


def rows_of(out: Printer, record: str) -> dict[int, str]:
    """The rows of a tensor's group and its own, by level."""
    return {
        GROUP: out.field(record, RECORD, "group_row", "ptr"),
        TENSOR: out.field(record, RECORD, "tensor_row", "ptr"),
    }


def scalar(out: Printer, kernel: Kernel, rows: dict[int, str], value: Value) -> str:
    """Load a scalar from its row."""
    place = kernel.place(value)
    return out.load(value.called, out.at(rows[value.level], place, name=f"{value.called}.at"))
