"""Steps on GPUs, as cuda.py and triton/ launch them.

The tables that the passes read are one block of memory, with a copy on the device: what has changed since the
last step is copied before the first launch. Scalars that do not depend on elements are computed by the host,
or by a first launch (llvm/first.py). With the host, a step waits for the device if a scalar slot depends on a
reduction.

In a step that is captured for a CUDA graph, all tables that may change are arguments of launches. When the
graph is replayed, nobody knows, so after a capture they are copied before each step.
"""

from __future__ import annotations

import ctypes
import struct
import weakref
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from ravine.engines.binding import Binding
from ravine.engines.chunks import chunks
from ravine.engines.compiler import scalars
from ravine.engines.devices import Remote
from ravine.engines.kernel import LINES, ROW, SIZE_AT, Kernel, sizes_of
from ravine.engines.llvm.block_lines import LANES
from ravine.engines.llvm.blocks import LAUNCH, Blocks, on_host
from ravine.engines.llvm.first import FIRST, PUT, finishes_last
from ravine.engines.llvm.launches import launches
from ravine.engines.llvm.printer import signed
from ravine.engines.llvm.tables import READY, RECORD, SCALARS

__all__ = ["Step"]

_SHORTEST_CHUNK = 2048
_SHARED_ROW = 32  # elements of a row for each thread that shares it
_Function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)
_recorded: list[Any] = []  # what CUDA graphs may still launch


class Step(Binding):
    """A kernel bound to tensors on a GPU, with the arguments, attributes and methods of
    :class:`ravine.engines.cpu.Step`, except those for tensors that are spread over processes.

    Array columns are on the device. Scalar slots and counts are on the host or, with on_device, on the
    device, where hyperparameters may then be as well.
    """

    def __init__(
        self,
        engine: Any,
        kernel: Kernel,
        sizes: Sequence[int],
        dtypes: Sequence[Sequence[str]],
        groups: Sequence[int] | None = None,
        *,
        counts: Sequence[str] | None = None,
        numbers: Sequence[int] | None = None,
        matrices: Sequence[tuple[int, int, int]] | None = None,
        stochastic: bool = False,
        on_device: bool = False,
    ):
        groups = groups or [0] * len(sizes)
        super().__init__(kernel, sizes, dtypes, groups)
        self.engine, self.on_device, batches = engine, on_device, self.batches
        variants = [Blocks(kernel, dtype, stochastic=stochastic) for dtype in batches]
        self._noisy = variants[0].noisy
        self._matrices = matrices if kernel.has_lines else None
        spans = {i: self._chunks(i, sizes[i]) for i in self.order}
        many, cells = len(sizes), [sum(len(spans[i][1]) for i in its) for its in batches.values()]

        # What the host writes comes first: its changes are copied before a step.
        lengths = {
            "addresses": len(self.columns) * many,
            "records": len(RECORD) * many,
            "group_rows": len(kernel.group_row) * (1 + max(groups)),
            "own_rows": len(kernel.group_row) * many,
            "numbers": len(kernel.tensor_row) * many,
            "totals": len(kernel.totals),
        }
        written = [*lengths]
        if on_device:
            lengths |= {"sources": lengths["group_rows"], "first": len(FIRST)}
            lengths["scalars"] = len(SCALARS)
            written = ["addresses", "group_rows", "sources", "first", "scalars"]
        lengths |= {"scalars": len(SCALARS), "done": 1, "present": many, "zero": 1}
        for b, (count, variant) in enumerate(zip(cells, variants, strict=True)):
            lengths[f"launch{b}"] = len(LAUNCH) + len(kernel.columns)
            lengths[f"chunks{b}"] = 2 * count
            lengths[f"partials{b}"] = variant.partials * count
        ends = [*accumulate(lengths.values())]
        self._begin = begin = dict(zip(lengths, (0, *ends), strict=False))
        self._lengths = lengths
        self._words = (ctypes.c_int64 * ends[-1])()
        shared = ("group_rows", "addresses", "records")
        self._write_in(*((self._words, begin[table]) for table in shared))
        self._host = ctypes.addressof(self._words)
        self.anywhere = engine.allocate(8 * ends[-1])
        weakref.finalize(self, engine.free, self.anywhere).atexit = False
        self._moved = ctypes.c_int64(self.anywhere - self._host)

        self._fill("scalars", [
            self._at("group_rows"), 1 + max(groups), self._at("records"), many, self._at("totals"),
            self._at("addresses"), 0, 0, many,
        ])  # fmt: skip
        self._launches: dict[str, list[tuple[Any, int, Any]]] = {}
        first = 0
        for b, (dtype, members) in enumerate(batches.items()):
            self._add_batch(b, first, [(sizes[i], groups[i], *spans[i]) for i in members])
            some = variants[b].passes  # none where a step changes matrices only
            functions = engine.functions(kernel, dtype, stochastic) if some else {}
            table = self._at(f"launch{b}") + self._moved.value
            arguments = engine.arguments(table, self._moved.value)
            blocks = {"pass": cells[b], "lines": len(members), "totals": 1}
            for name in launches(variants[b]):
                kind, _, _ = name.partition("_")
                if b == 0 or kind != "totals":
                    launch = functions[name], blocks[kind], arguments
                    self._launches.setdefault(name, []).append(launch)
            if self._matrices is not None:
                self._add_lines(first, variants[b], [(i, spans[i][0]) for i in members])
            self._fill(f"launch{b}", [
                self._at(f"chunks{b}"), self._at("records", len(RECORD) * first),
                self._at(f"partials{b}"), self._at("done"), sum(cells), self._at("scalars"),
                *(self._at("addresses", many * c + first) for c in range(len(kernel.columns))),
            ])  # fmt: skip
            if on_device:
                self._fill_word(f"launch{b}", len(LAUNCH) + 1, self._at("present", first))
            first += len(members)
        self._describe(matrices or [(1, 1, n) for n in sizes], numbers, counts)

        # A launch of one block, or functions of the host, compute what comes before the first pass.
        stages = 0 if on_device else on_host(variants[0])
        code = scalars(variants[0], stages)
        self._code = code  # kept alive
        self._first = [_Function(code.address["check" if on_device else "begin"])]
        found = (code.address.get(f"tensors_{stage}") for stage in range(stages))
        self._first += [_Function(address) for address in found if address]
        finish = code.address.get("finish")
        self._finish = _Function(finish) if finish else None
        self._waits = finishes_last(variants[0])
        self._replayed = False  # whether a graph may have changed the tables on the device
        if on_device:
            its = engine.scalars(kernel, tuple(dtypes[self.order[0]]), stochastic)
            self._put = its["put"]
            arguments = engine.arguments(self._at("first") + self._moved.value, self._moved.value)
            first_launch = {"first": [(its["first"], 1, arguments)]}
            self._launches = first_launch | self._launches
            if self._waits:
                self._launches["finish"] = [(its["finish"], 1, arguments)]
            tables = {"scalars": self._at("scalars"), "gradients": self._at("addresses", many)}
            tables |= {table: self._at(table) for table in ("sources", "present")}
            self._fill("first", [tables.get(field, 0) for field in FIRST])
            self.skip_if(0)
            row = len(kernel.group_row)
            for place in range(many):
                self._record(place, "group_row", self._at("own_rows", row * place))
            for group in range(1 + max(groups)):
                self._sources(group)
        self._written = [
            (self._at(table), 8 * lengths[table]) for table in written if lengths[table]
        ]
        self._copied = [b""] * len(self._written)
        with engine.current():
            engine.copy_in(self.anywhere, self._words, ctypes.sizeof(self._words))

    def _at(self, table: str, word: int = 0) -> int:
        """The address of a table on the host."""
        return self._host + 8 * (self._begin[table] + word)

    def _fill(self, table: str, words: Sequence[int]) -> None:
        begin = self._begin[table]
        self._words[begin : begin + len(words)] = [*words]

    def _fill_word(self, table: str, word: int, value: int) -> None:
        self._words[self._begin[table] + word] = value

    def _add_batch(
        self, b: int, first: int, members: Sequence[tuple[int, int, int, Sequence[int]]]
    ) -> None:
        """The tables for tensors (size, group, length of a chunk, chunks) of the same dtypes."""
        row, begun = len(self.kernel.group_row), 0
        self._fill(
            f"chunks{b}",
            [x for i, (*_, starts) in enumerate(members) for start in starts for x in (i, start)],
        )
        partials = self._lengths[f"partials{b}"] // max(1, self._lengths[f"chunks{b}"] // 2)
        for place, (size, group, length, starts) in enumerate(members, first):
            values = {
                "numel": size,
                "chunk_length": length,
                "group_row": self._at("group_rows", row * group),
                "tensor_row": self._at("numbers", len(self.kernel.tensor_row) * place),
                "partials": self._at(f"partials{b}", partials * begun),
                "chunk_count": len(starts),
                "shared_row": self._at("group_rows", row * group),
                "own_row": self._at("own_rows", row * place),
            }
            for field, value in values.items():
                self._record(place, field, value)
            begun += len(starts)

    def _chunks(self, i: int, size: int) -> tuple[int, Sequence[int]]:
        """The chunks of a tensor; see :func:`ravine.engines.chunks.chunks`."""
        if self._matrices is None:
            return chunks(max(size, 1), shortest=_SHORTEST_CHUNK)
        return chunks(size, self._matrices[i][1:], _SHORTEST_CHUNK)

    def _add_lines(self, first: int, variant: Blocks, members: Sequence[tuple[int, int]]) -> None:
        """The tables for the matrices, rows and columns of tensors (number, length of a chunk) of the same
        dtypes, and the memory for their values, which is on the device only.
        """
        assert self._matrices is not None
        most = max(1, *(sum(v.level == ROW for v in w.lines) for w in variant.passes))
        needed = []
        for i, length in members:
            many, rows, columns = self._matrices[i]
            sizes, pieces = sizes_of(many, rows, columns), -(-rows * columns // length)
            lanes = max(1, min(LANES, columns // _SHARED_ROW))
            words = {
                f"{line}_values": sizes[SIZE_AT[level]] * self.kernel.kept(level)
                for level, line in LINES.items()
            }
            words["column_parts"] = many * pieces * columns * variant.column_parts
            words["row_parts"] = max(many * rows * most, many) * LANES
            fields = {**sizes, "pieces": pieces, "lanes": lanes}
            needed.append((words, {k: n for k, n in fields.items() if k in RECORD}))
        at = self.engine.allocate(8 * sum(sum(words.values()) for words, _ in needed))
        weakref.finalize(self, self.engine.free, at).atexit = False
        for place, (words, fields) in enumerate(needed, first):
            for name, number in fields.items():
                self._record(place, name, number)
            for name, count in words.items():
                self._record(place, name, at - self._moved.value)
                at += 8 * count

    def set_group(self, group: int, values: Sequence[float | Remote]) -> None:
        """Give a group its hyperparameters, in the order of `inputs`; with on_device, some may be there."""
        super().set_group(group, [0.0 if isinstance(x, Remote) else x for x in values])
        if self.on_device:
            self._sources(group)
            for i, x in enumerate(values):
                if isinstance(x, Remote):
                    self._words[self._source(group, i)] = x.address

    def _sources(self, group: int) -> None:
        """Let a group's hyperparameters be read where the host has put them."""
        for i in range(len(self.inputs)):
            self._read_here(group, i)

    def _read_here(self, group: int, number: int) -> None:
        here = self._host + self._input(group, number) + self._moved.value
        self._words[self._source(group, number)] = here

    def _source(self, group: int, number: int) -> int:
        """The place of a hyperparameter's address."""
        return self._input(group, number) // 8 - self._begin["group_rows"] + self._begin["sources"]

    def skip_if(self, found: int) -> None:
        """Take the next steps only if the number in float64 at this address on the device is 0; 0: always."""
        place = FIRST.index("found_inf")
        self._fill_word("first", place, found or self._at("zero") + self._moved.value)

    def setter(self, group: int, name: str) -> Callable[[float], None] | None:
        """A function that sets one hyperparameter of a group; None if the kernel does not use it."""
        pack = super().setter(group, name)
        if pack is None or not self.on_device:
            return pack
        number = self.inputs.index(name)

        def put(value: float) -> None:
            pack(value)
            self._read_here(group, number)

        return put

    def squares(self) -> float:
        """The sum of the squared gradients of the last run, if the kernel was asked for it. Waits for the
        device.
        """
        assert self.kernel.squares is not None
        at = self._at("totals", self.kernel.totals.index(self.kernel.squares)) + self._moved.value
        return struct.unpack("d", self.engine.read(at, 8))[0]

    def run(self, expected: int, seed: int = 0, between: object = None) -> int:
        """Queue the step on the current stream, or reject it before anything has changed; see
        :meth:`ravine.engines.cpu.Step.run`.

        Raises DriverError and, while the stream is captured for a CUDA graph, RuntimeError, unless scalars
        are on the device.
        """
        scalars = self._begin["scalars"]
        self._words[scalars + SCALARS.index("expected")] = expected
        if self._noisy:
            self._words[scalars + SCALARS.index("seed")] = signed(seed % 2**64)
        engine = self.engine
        with engine.current():
            captured = engine.captures()
            if captured and not self.on_device:
                raise RuntimeError(
                    "a step by a kernel cannot be captured in a CUDA graph: its count and its learning rate "
                    "would be the same at each replay; give the optimizer capturable=True"
                )
            at = self._at("scalars")
            status = self._first[0](at)
            if status != READY:
                return status
            for function in self._first[1:]:
                function(at)
            if self._finish and not self._waits:
                self._finish(at)
            if captured:
                self._record_tables()
            else:
                self._copy()
            for its in self._launches.values():
                for function, blocks, arguments in its:
                    engine.launch(function, blocks, arguments)
            if self._finish and self._waits:
                numbers, size = self._at("numbers"), 8 * self._lengths["numbers"]
                engine.copy_out(ctypes.c_void_p(numbers), numbers + self._moved.value, size)
                self._finish(at)
        return READY

    def _copy(self) -> None:
        """Copy the changes of the tables to the device."""
        for i, (at, size) in enumerate(self._written):
            content = ctypes.string_at(at, size)
            if content != self._copied[i] or self._replayed:
                self.engine.copy_in(at + self._moved.value, content, size)
                self._copied[i] = content

    def _record_tables(self) -> None:
        """Let the graph that is captured write the tables when it is replayed."""
        if not self._replayed:
            self._replayed = True
            _recorded.append(self)  # its memory and its code
        for at, size in self._written:
            words = (ctypes.c_int64 * (size // 8)).from_address(at)
            for begin in range(0, len(words), PUT):
                part = words[begin : begin + PUT]
                to = at + 8 * begin + self._moved.value
                padded = [*part, *[0] * (PUT - len(part))]
                self.engine.launch(self._put, 1, self.engine.arguments(to, len(part), *padded))
