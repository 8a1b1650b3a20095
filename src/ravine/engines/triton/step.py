"""Steps by Triton kernels: fills the tables that they walk, and launches them.

`Step` is used as :class:`ravine.engines.cpu.Step` is, and computes the same; columns are in the memory of
a device, counts of steps and scalar slots in the host's.
"""

from __future__ import annotations

import ctypes
import hashlib
import linecache
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import triton

from ravine.engines.chunks import chunks
from ravine.engines.kernel import DTYPES, TENSOR, Kernel, Value
from ravine.engines.llvm.tables import COUNT_FULL, NO_MEMORY, READY
from ravine.engines.llvm.variant import Variant
from ravine.engines.triton.host import Host, host
from ravine.engines.triton.memory import fill, on, view, words
from ravine.engines.triton.printer import BLOCK, RECORD, check, text

__all__ = ["Step", "interpreted", "source"]

_OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}
"""Four numbers of float32 for each thread at a time; products and sums are rounded one by one, as on the CPU."""
_NUMEL, _LENGTH, _FIRST, _CHUNKS, _ROW, _NUMBER, _T, _SEED = range(len(RECORD))


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU."""
    return bool(triton.knobs.runtime.interpret)


def source(
    kernel: Kernel, dtypes: Sequence[str], stochastic: bool = False, aligned: bool = True
) -> str:
    """The kernel as Triton text; see :func:`ravine.engines.compiler.compiled`."""
    variant = Variant(kernel, tuple(dtypes), stochastic=stochastic)
    return text(variant, interpreted=interpreted(), aligned=aligned)


@cache
def functions(text: str) -> dict[str, Any]:
    """The functions that a text defines. Triton reads their source, which linecache has."""
    name = f"<ravine, printed as Triton: {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"__name__": "ravine.engines.triton.printed"}
    exec(compile(text, name, "exec"), space)
    return space


class _Batch:
    """Tensors of the same dtypes: a stretch of the tables, and the functions for them."""

    def __init__(self, variant: Variant, first: int, count: int):
        self.variant, self.first, self.count = variant, first, count
        self.chunk_table: Any = None
        self.chunks = 0
        self.partials: Any = None

    def functions(self, aligned: bool) -> dict[str, Any]:
        return functions(text(self.variant, interpreted=interpreted(), aligned=aligned))


class Step:
    """A kernel bound to tensors on a device, as :class:`ravine.engines.cpu.Step` on the CPU.

    device: of the columns, as torch has it. Kernels with something for each row or column, and tensors
    that are spread over processes, raise KernelError.
    """

    def __init__(
        self,
        kernel: Kernel,
        sizes: Sequence[int],
        dtypes: Sequence[Sequence[str]],
        groups: Sequence[int] | None = None,
        *,
        device: Any,
        counts: Sequence[str] | None = None,
        numbers: Sequence[int] | None = None,
        stochastic: bool = False,
    ):
        check(kernel)
        many = len(sizes)
        groups = groups or [0] * many
        if not 0 < many == len(dtypes) == len(groups):
            raise ValueError(
                "sizes, dtypes and groups must be equally long and not empty, got "
                f"{many}, {len(dtypes)} and {len(groups)}"
            )
        for dtype in {d for its in dtypes for d in its} - {*DTYPES}:
            raise ValueError(f"dtypes: {dtype!r} is invalid; a column is {', '.join(DTYPES)}")
        self.lock = threading.Lock()
        self.kernel, self.device = kernel, device
        self.arrays, self.slots = kernel.arrays, kernel.slots
        self.columns = (*kernel.columns, *kernel.slots, "step")
        self.state = (*kernel.arrays, *kernel.slots, "step")
        self.inputs = tuple(name for name in kernel.inputs if name != "t")
        batches: dict[tuple[str, ...], list[int]] = {}
        for i, its in enumerate(dtypes):
            batches.setdefault(tuple(its), []).append(i)
        self.order = [i for members in batches.values() for i in members]
        self._groups = [groups[i] for i in self.order]
        kinds = [ctypes.c_float if counts and counts[i] == "float32" else ctypes.c_double for i in self.order]
        self._kinds: list[Any] = kinds

        # One table goes to the device at each step: addresses, records, and as many rows as there are.
        width, columns = len(kernel.group_row), len(kernel.columns)
        own, rows = len(RECORD) * many, width * (1 + max(groups) + many)
        self._table = np.zeros(columns * many + own + rows, np.int64)
        self._there = words(len(self._table), device)
        ends = (columns * many, columns * many + own)
        self._addresses, self._records, self._rows = (
            part.reshape(shape)
            for part, shape in zip(
                np.split(self._table, ends), ((columns, many), (many, -1), (-1, max(width, 1))), strict=True
            )
        )
        self._rows = self._rows.view(np.float64)
        self._begun = ends[1]
        there = [self._there[: ends[0]], self._there[ends[0] : ends[1]]]
        self._tables = [there[1], there[0], many, view(self._there[ends[1] :])]
        self._inputs = np.zeros((1 + max(groups), len(self.inputs)))
        self._own = np.zeros((many, len(kernel.tensor_row)))
        self._numbers = words(self._own.size, device, "float64")
        self._totals = words(len(kernel.totals), device, "float64")
        self.anywhere = self._there.data_ptr()
        self._slots: dict[str, list[Any]] = {}
        self._batches = []
        first = 0
        for its, members in batches.items():
            batch = _Batch(Variant(kernel, its, stochastic=stochastic), first, len(members))
            self._add(batch, [sizes[i] for i in members])
            self._batches.append(batch)
            first += len(members)
        self._records[:, _NUMBER] = self.order if numbers is None else [numbers[i] for i in self.order]

    def _add(self, batch: _Batch, sizes: Sequence[int]) -> None:
        """The tables of a batch's chunks."""
        table: list[int] = []
        for place, size in enumerate(sizes, batch.first):
            length, starts = chunks(size)
            self._records[place, : _CHUNKS + 1] = size, length, len(table) // 2, len(starts)
            table += [word for start in starts for word in (place, start)]
        batch.chunks = len(table) // 2
        batch.chunk_table = words(len(table), self.device)
        fill(batch.chunk_table, np.array(table, np.int64))
        batch.partials = words(batch.variant.partials * batch.chunks, self.device, "float64")

    def point(self, column: str, addresses: Sequence[int]) -> None:
        """Say where a column of each tensor begins, as :meth:`ravine.engines.cpu.Step.point`."""
        self.place(column, [addresses[i] for i in self.order])

    def place(self, column: str, addresses: Sequence[int]) -> None:
        """`point`, with the tensors in the order that the tables have them in."""
        if column in self.kernel.columns:
            self._addresses[self.kernel.columns.index(column)] = addresses
            return
        kinds = self._kinds if column == "step" else [ctypes.c_double] * len(self.order)
        self._slots[column] = [
            kind.from_address(at) if at else None for kind, at in zip(kinds, addresses, strict=True)
        ]

    def set_group(self, group: int, values: Sequence[float]) -> None:
        """Give a group its hyperparameters, in the order of `inputs`."""
        self._inputs[group] = values

    def setter(self, group: int, name: str) -> Callable[[float], None] | None:
        """What gives a group one hyperparameter; None where the kernel does not use it."""
        if name not in self.inputs:
            return None
        return partial(self._inputs.__setitem__, (group, self.inputs.index(name)))

    def squares(self) -> float:
        """The sum of the squared gradients of the last run, if the kernel was asked for it."""
        squares = self.kernel.squares
        assert squares is not None
        return float(self._totals[self.kernel.totals.index(squares)])

    def run(self, expected: int, seed: int = 0, between: object = None) -> int:
        """Take the step, or refuse it before anything has changed; see :meth:`ravine.engines.cpu.Step.run`.

        What is launched may still be running on return, as after torch's own operations.
        """
        kernel = self.kernel
        present = self._addresses[kernel.columns.index("g")] != 0
        here = np.flatnonzero(present).tolist()
        counts = self._slots.get("step", [None] * len(self.order))
        if len(here) != expected or self._is_missing(present, here):
            return NO_MEMORY
        narrow = (counts[i] for i in here if self._kinds[i] is ctypes.c_float)
        if any(count is not None and count.value >= 2.0**24 for count in narrow):
            return COUNT_FULL
        self._records[:, _SEED] = (seed + 2**63) % 2**64 - 2**63
        functions = {wide: host(kernel, wide) for wide in {self._is_wide(i) for i in here}}
        rows = self._fill(here, counts, functions)
        with on(self.device):
            used = self._begun + len(kernel.group_row) * rows
            fill(self._there, self._table[:used])
            if self.slots or any(its.own for its in functions.values()):
                fill(self._numbers, self._own.ravel())
            self._launch()
        self._finish(here)
        return READY

    def _is_missing(self, present: Any, here: list[int]) -> bool:
        """Whether a tensor that takes part lacks the memory of a column."""
        walks = [walk for batch in self._batches for walk in batch.variant.passes]
        used = {c for walk in walks for c in (*walk.loads, *walk.stores)}
        places = [i for i, c in enumerate(self.kernel.columns) if c in used]
        slots = [self._slots.get(slot, [None] * len(self.order)) for slot in self.slots]
        return bool((self._addresses[places][:, present] == 0).any()) or any(
            slot[i] is None for slot in slots for i in here
        )

    def _fill(self, here: list[int], counts: Sequence[Any], functions: Mapping[bool, Host]) -> int:
        """Count the step, and compute what depends on no element; how many rows of groups there are."""
        kernel, known = self.kernel, dict[tuple[int, float], int]()
        counted = kernel.inputs[:1] == ("t",)
        ts = np.zeros(len(self.order))
        for i in here:
            count, group = counts[i], self._groups[i]
            if count is not None:
                count.value += 1
                ts[i] = count.value
            function = functions[self._is_wide(i)]
            key = (group, ts[i] if counted else 0.0)
            row = known.get(key)
            if row is None:
                row = known[key] = len(known)
                self._rows[row, : len(kernel.inputs)] = [*[ts[i]] * counted, *self._inputs[group]]
                function.row(self._row(row))
            self._records[i, _ROW] = row
            for place, slot in enumerate(self.slots):
                self._own[i, place] = self._slots[slot][i].value
            if function.own is not None:
                at = self._own.ctypes.data + 8 * i * self._own.shape[1]
                function.own(self._row(row), at, int(self._records[i, _NUMEL]))
        self._records[:, _T] = ts.view(np.int64)
        return len(known)

    def _row(self, number: int) -> int:
        return int(self._rows.ctypes.data) + 8 * self._rows.shape[1] * number

    def _is_wide(self, place: int) -> bool:
        """Whether a tensor is computed in float64."""
        batch = next(b for b in self._batches if place < b.first + b.count)
        return batch.variant.of == "double"

    def _launch(self) -> None:
        """Launch the passes, and what is between them."""
        records, addresses, stride, rows = self._tables
        tables = (records, addresses, stride, rows, self._numbers)
        codes = [(b, b.functions(self._is_aligned(b))) for b in self._batches]
        for stage in range(self.kernel.stages):
            for batch, code in codes:
                if f"tensors_{stage}" in code:
                    grid = code[f"tensors_{stage}"][(batch.count,)]
                    grid(batch.first, *tables, batch.partials, self._totals, **_options())
            if f"totals_{stage}" in codes[0][1]:
                codes[0][1][f"totals_{stage}"][(1,)](*tables, self._totals, **_options())
            for batch, code in codes:
                if f"pass_{stage}" in code and batch.chunks:
                    grid = code[f"pass_{stage}"][(batch.chunks,)]
                    grid(batch.chunk_table, *tables, batch.partials, BLOCK=BLOCK, **_options())

    def _is_aligned(self, batch: _Batch) -> bool:
        its = self._addresses[:, batch.first : batch.first + batch.count]
        return not (its % 16).any()

    def _finish(self, here: list[int]) -> None:
        """The new scalar slots. Those that depend on reductions are waited for."""
        kernel = self.kernel
        new = {slot: kernel.outputs[slot] for slot in self.slots}
        numbers = self._own
        if any(v.level == TENSOR and v.stage for v in new.values()):
            numbers = self._numbers.cpu().numpy().reshape(self._own.shape)
        for slot, v in new.items():
            for i in here:
                self._slots[slot][i].value = self._number(v, i, numbers)

    def _number(self, value: Value, place: int, numbers: Any) -> float:
        """A scalar of a tensor."""
        if value.op == "constant":
            return float(value.leaf)
        if value.level == TENSOR:
            return float(numbers[place, self.kernel.tensor_row[value]])
        row = self._records[place, _ROW]
        return float(self._rows[row, self.kernel.group_row[value]])


def _options() -> dict[str, Any]:
    return {} if interpreted() else _OPTIONS
