"""A kernel bound to tensors, as it is on every device: its columns, the order of its tensors, and the tables
that the host writes before each step.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ravine.engines.kernel import Kernel, sizes_of
from ravine.engines.llvm.tables import RECORD
from ravine.engines.narrow import in_codes_first

__all__ = ["Binding"]

_Table = tuple[Any, int]  # the words that it is in, and the number of its first one
_FIELDS = {field: i for i, field in enumerate(RECORD)}


class Binding:
    """What steps on the CPU (cpu.py) and on GPUs (gpu.py) share.

    columns: what `point` takes addresses of: the array columns, then the scalar slots (in float64),
    and the count of steps, "step", which `run` increments; where "step" has the address 0, nothing is
    counted. state: those of them that are slots (`arrays`, then `slots`), then "step". inputs: the
    hyperparameters, and signals of one number, that `set_group` takes. batches: the numbers of the tensors
    with the same dtypes. order: the order in which the tables hold the tensors, one batch after the other.

    Whoever points and runs holds `lock` meanwhile, and references to all memory that is pointed to.
    """

    def __init__(
        self,
        kernel: Kernel,
        sizes: Sequence[int],
        dtypes: Sequence[Sequence[str]],
        groups: Sequence[int],
    ):
        if not 0 < len(sizes) == len(dtypes) == len(groups):
            raise ValueError(
                "sizes, dtypes and groups must be equally long and not empty, got "
                f"{len(sizes)}, {len(dtypes)} and {len(groups)}"
            )
        self.lock = threading.Lock()
        self.kernel = kernel
        self.arrays, self.slots = kernel.arrays, kernel.slots
        self.state = (*kernel.arrays, *kernel.slots, "step")
        self.columns = (*kernel.columns, *kernel.slots, "step")
        self.inputs = tuple(name for name in kernel.inputs if name != "t")
        batches: dict[tuple[str, ...], list[int]] = {}
        for i, dtype in enumerate(dtypes):
            batches.setdefault(tuple(dtype), []).append(i)
        self.batches = in_codes_first(batches)
        self.order = [i for members in self.batches.values() for i in members]

    def _write_in(self, group_rows: _Table, addresses: _Table, records: _Table) -> None:
        """Remember which tables hold the hyperparameters, the addresses and the tensors' records."""
        self._records_in, self._records_begin = records
        self._groups_in, self._groups_begin = group_rows
        self._columns_in, begin = addresses
        self._hypers = struct.Struct(f"{len(self.inputs)}d")
        self._pointers = struct.Struct(f"{len(self.order)}q")
        self._column_begins = {
            c: 8 * begin + self._pointers.size * i for i, c in enumerate(self.columns)
        }

    def point(self, column: str, addresses: Sequence[int]) -> None:
        """Say where a column of each tensor begins in memory.

        A tensor whose "g" has the address 0 takes no part in the steps.
        """
        self.place(column, [addresses[i] for i in self.order])

    def place(self, column: str, addresses: Sequence[int]) -> None:
        """`point`, with the tensors in the order that the tables have them in."""
        self._pointers.pack_into(self._columns_in, self._column_begins[column], *addresses)

    def set_group(self, group: int, values: Sequence[Any]) -> None:
        """Give a group its hyperparameters, in the order of `inputs`."""
        self._hypers.pack_into(self._groups_in, self._input(group, 0), *values)

    def setter(self, group: int, name: str) -> Callable[[float], None] | None:
        """A function that sets one hyperparameter of a group; None if the kernel does not use it."""
        if name not in self.inputs:
            return None
        at = self._input(group, self.inputs.index(name))
        return partial(struct.Struct("d").pack_into, self._groups_in, at)

    def _input(self, group: int, number: int) -> int:
        """The position of a hyperparameter, in bytes; the step count is the first input."""
        row = self._groups_begin + len(self.kernel.group_row) * group
        return 8 * (row + len(self.kernel.inputs) - len(self.inputs) + number)

    def _record(self, place: int, field: str, value: int) -> None:
        """Set a field of a tensor's record."""
        self._records_in[self._records_begin + len(RECORD) * place + _FIELDS[field]] = value

    def _describe(
        self,
        wholes: Sequence[tuple[int, int, int]],
        numbers: Sequence[int] | None,
        counts: Sequence[str] | None,
    ) -> None:
        """Record what each tensor is, or is a part of: its matrices, their rows and columns; its number; and
        the dtype of its count.
        """
        for place, i in enumerate(self.order):
            for size, number in sizes_of(*wholes[i]).items():
                self._record(place, f"whole_{size}", number)
            self._record(place, "number", i if numbers is None else numbers[i])
            self._record(place, "wide_count", int(counts is None or counts[i] == "float64"))
