"""Steps by kernels: fills the tables that they walk, and runs them in threads.

    step = Step(kernel(graph), sizes=[100, 10], dtypes=[("float32",) * 4] * 2)    # p, g, m, v
    step.set_group(0, [hyper[name] for name in step.inputs])
    with step.lock:
        for column in step.columns:
            step.point(column, addresses[column])                         # one for each tensor
        step.run(expected=2)

This module knows only addresses and numbers. The caller is responsible for the memory: each array is
dense (all columns of a tensor in one layout), as long as its size says, writable, and kept alive by
a reference until `run` has returned, since a kernel runs without the GIL.

What is derived from a graph, the kernel and its machine code, is stored with it and freed with it.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ravine.engines.binding import Binding
from ravine.engines.chunks import chunks, longest_run, ranges
from ravine.engines.compiler import Compiled, compiled
from ravine.engines.graph import Graph
from ravine.engines.kernel import (
    COLUMN,
    MATRIX,
    ROW,
    TENSOR,
    Kernel,
    KernelError,
    Value,
    sizes_of,
)
from ravine.engines.llvm.printer import signed
from ravine.engines.llvm.tables import (
    BATCH,
    COUNT_FULL,
    IN_THREADS,
    LINE,
    PLAINLY,
    READY,
    RECORD,
    REFUSES,
    SCALARS,
)
from ravine.engines.lowering import lower
from ravine.engines.narrow import FORMATS
from ravine.engines.threads import after_fork, in_python_threads, team
from ravine.rule import kept

__all__ = ["COUNT_FULL", "READY", "KernelError", "Step", "kernel", "locked"]

# A rule with reductions walks over the elements several times. Tensors of about so many elements, for each
# thread, go through all walks before the next ones begin, and are in the caches still.
_WAVE = 2**19
# With fewer elements, one thread is as fast as a team; torch's loops have the same limit.
# There is nothing between: OpenMP ends the threads that a smaller team leaves out, and torch's next
# loop would have to start them again.
_ALONE = 32768


def kernel(graph: Graph, squares: bool = False, spread: bool = False, zero: bool = False) -> Kernel:
    """The graph as a kernel. Raises KernelError, naming rule and operation, if it cannot be one.

    squares: whether it also sums up the squares of the gradients, see :meth:`Step.squares`. spread: whether
    tensors may be parts of tensors that are sharded over processes, see :meth:`Step.run`. zero: whether it
    fills the gradients with zeros.
    """
    return kept(
        graph,
        ("kernel", squares, spread, zero),
        lambda: lower(graph, squares, spread, zero=zero),
    )


# A lock that another thread held at a fork is never released in the child.
locked: weakref.WeakSet[Any] = weakref.WeakSet()
"""An object with a `lock` under which steps are taken."""


def _after_fork() -> None:
    for step in locked:
        step.lock = threading.Lock()


after_fork(_after_fork)

# Of what a tensor has so many numbers, for each of its matrices, rows and columns, and where.
_LINES = {MATRIX: "matrices", ROW: "rows", COLUMN: "widths"}
_VALUES = ("matrix_values", "row_values", "column_values")
_EXPECTED, _SEED = map(SCALARS.index, ("expected", "seed"))
_Function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)  # calls release the GIL
_Batch = tuple[Compiled, Any]  # and its table
_Drive = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64
)


class Step(Binding):
    """A kernel bound to tensors: the tables that it walks, filled once, and `run`.

    sizes: the number of elements of each tensor. dtypes: for each tensor, the dtypes of
    its array columns, as the kernel has them. groups: for each tensor, the parameter group
    that it takes the hyperparameters from; by default all from group 0. counts: for each tensor, the
    dtype that its count of steps is kept in, "float32" or "float64" (the default). numbers: what
    tells the random numbers of each tensor apart; by default their places. matrices: how many there
    are in each tensor, and the rows and columns of each, where the kernel has something for these
    (`by_lines`). wholes: the same (or 1, 1 and the number of elements) of the tensors that these are
    parts of; by default they are whole. stochastic: see :func:`ravine.engines.compiler.compiled`.

    In addition to what any :class:`Binding` has: numbers: what is computed for tensors, and for their
    matrices, rows and columns, as a block of memory in float64; see `where`. anywhere: an address, for
    columns of tensors without elements.
    """

    def __init__(
        self,
        kernel: Kernel,
        sizes: Sequence[int],
        dtypes: Sequence[Sequence[str]],
        groups: Sequence[int] | None = None,
        *,
        counts: Sequence[str] | None = None,
        numbers: Sequence[int] | None = None,
        matrices: Sequence[tuple[int, int, int]] | None = None,
        wholes: Sequence[tuple[int, int, int]] | None = None,
        stochastic: bool = False,
    ):
        groups = groups or [0] * len(sizes)
        self._matrices = matrices if kernel.by_lines else None
        if kernel.by_lines and matrices is None:
            raise ValueError("matrices is missing; the kernel has values for rows or columns")
        super().__init__(kernel, sizes, dtypes, groups)
        self._noisy = stochastic or kernel.draws or any({*FORMATS} & {*its} for its in dtypes)
        waves = {
            dtype: self._waves([sizes[i] for i in members], members)
            for dtype, members in self.batches.items()
        }
        self._codes = [
            code
            for dtype, parts in waves.items()
            for code in [compiled(kernel, dtype, stochastic)] * len(parts)
        ]

        many = len(sizes)
        self._group_rows = _words(len(kernel.group_row) * (1 + max(groups)))
        self._own_rows = _words(len(kernel.group_row) * many)
        self._begun = {TENSOR: [len(kernel.tensor_row) * i for i in range(many)]}
        self.numbers = _words(self._list_numbers())
        self._addresses = _words(len(self.columns) * many)
        self._records = _words(len(RECORD) * many)
        self._write_in((self._group_rows, 0), (self._addresses, 0), (self._records, 0))
        self._totals = _words(len(kernel.totals))
        self._scalars = _table(
            SCALARS,
            group_rows=_address(self._group_rows),
            group_count=1 + max(groups),
            records=_address(self._records),
            tensor_count=many,
            totals=_address(self._totals),
            addresses=_address(self._addresses),
            stride=many,
        )
        self.anywhere = _address(self._scalars)
        self._tables: list[Any] = []  # kept alive
        self._batches: list[Any] = []
        parts = [members for its in waves.values() for members in its]
        for code, members in zip(self._codes, parts, strict=True):
            self._add_batch(code, [(sizes[i], groups[i]) for i in members])
            if kernel.by_lines:
                self._add_lines(code, members)
        self._describe(wholes or matrices or [(1, 1, n) for n in sizes], numbers, counts)
        self._jobs = list(self._list_jobs())
        self._pauses = [(i, stage) for i, (job, stage, _) in enumerate(self._jobs) if not job]
        self._job_table = _words([word for job in self._jobs for word in job])
        self._drive = _Drive(self._codes[0].address["drive"])
        self._job_address = _address(self._job_table)
        count = sum(batch[BATCH.index("chunk_count")] for batch in self._batches)
        self._chunks = count if sum(sizes) >= _ALONE else 1
        locked.add(self)

    def _list_numbers(self) -> int:
        """Record the positions of each tensor's values in `numbers`; return the number of words."""
        end = len(self.kernel.tensor_row) * len(self.order)
        if self._matrices is None:
            return end
        sizes = [sizes_of(*self._matrices[i]) for i in self.order]
        for level, count in _LINES.items():
            begun = self._begun[level] = []
            for its in sizes:
                begun.append(end)
                end += its[count] * self.kernel.kept(level)
        return end

    def _waves(self, sizes: Sequence[int], members: Sequence[int]) -> list[list[int]]:
        """The tensors of a batch in groups, each of which takes all stages before the next one starts."""
        if not self._in_waves:
            return [[*members]]
        longest, waves, begun = _WAVE * team().threads(), list[list[int]](), 0
        for size, i in zip(sizes, members, strict=True):
            if not waves or (begun and begun + size > longest):
                waves.append([])
                begun = 0
            waves[-1].append(i)
            begun += size
        return waves

    @property
    def _in_waves(self) -> bool:
        """Whether tensors are walked over several times, and none has to wait for another."""
        kernel = self.kernel
        return bool(kernel.last) and not kernel.totals and not kernel.spread

    def where(self, value: Value, place: int) -> tuple[int, int]:
        """Where among `numbers` what is found for a tensor begins, and how many numbers there are of it.

        place: the tensor's in the order of the tables.
        """
        begin = self._begun[value.level][place]
        if value.level == TENSOR:
            return begin + self.kernel.place(value), 1
        assert self._matrices is not None
        count = sizes_of(*self._matrices[self.order[place]])[_LINES[value.level]]
        return begin + count * self.kernel.lines[value], count

    def _add_batch(self, code: Compiled, members: list[tuple[int, int]]) -> None:
        """The tables for tensors (size, group) of the same dtypes, next in the order."""
        row = len(self.kernel.group_row)
        first = sum(batch[BATCH.index("tensor_count")] for batch in self._batches)
        spans = [chunks(n, self._matrix(place)) for place, (n, _) in enumerate(members, first)]
        counts = [len(starts) for _, starts in spans]
        partials = _words(code.partials * sum(counts))
        table = _words(
            [
                word
                for place, (_, starts) in enumerate(spans)
                for start in starts
                for word in (place, start)
            ]
        )
        begun = 0
        for place, (n, group) in enumerate(members, first):
            length, count = spans[place - first][0], counts[place - first]
            fields = {
                "numel": n,
                "chunk_length": length,
                "group_row": _address(self._group_rows, row * group),
                "tensor_row": _address(self.numbers, self._begun[TENSOR][place]),
                "partials": _address(partials, code.partials * begun),
                "chunk_count": count,
                "shared_row": _address(self._group_rows, row * group),
                "own_row": _address(self._own_rows, row * place),
            }
            for field, value in fields.items():
                self._record(place, field, value)
            begun += count
        columns = [
            _address(self._addresses, len(self.order) * column + first)
            for column in range(len(self.kernel.columns))
        ]
        workers = team()
        bounds = _words(ranges([n for n, _ in members], spans, workers.threads()))
        counters = _words(LINE * len(bounds))
        batch = _table(
            BATCH,
            columns,
            counters=_address(counters),
            range_count=len(bounds) - 1,
            bounds=_address(bounds),
            thread=workers.number,
            tensor_count=len(members),
            chunk_count=begun,
            run=longest_run(begun),
            chunks=_address(table),
            records=_address(self._records, len(RECORD) * first),
            partials=_address(partials),
        )
        self._batches.append(batch)
        self._tables += [partials, table, bounds, counters]

    def _matrix(self, place: int) -> tuple[int, int] | None:
        """The rows and columns of each matrix of a tensor, if there are values for them."""
        return self._matrices[self.order[place]][1:] if self._matrices is not None else None

    def _add_lines(self, code: Compiled, members: list[int]) -> None:
        """The tables for the values of each matrix, row and column of a batch's tensors."""
        assert self._matrices is not None
        for i in members:
            place = self.order.index(i)
            many, rows, columns = self._matrices[i]
            length = self._records[len(RECORD) * place + RECORD.index("chunk_length")]
            pieces = -(-rows * columns // length)
            parts = _words(many * pieces * columns * code.column_parts)
            words = {
                **sizes_of(many, rows, columns),
                "pieces": pieces,
                "column_parts": _address(parts),
            }
            for name, level in zip(_VALUES, _LINES, strict=True):
                words[name] = _address(self.numbers, self._begun[level][place])
            del words["numel"]
            for name, word in words.items():
                self._record(place, name, word)
            self._tables.append(parts)

    def _list_jobs(self) -> Iterator[tuple[int, int, int]]:
        """(function, argument, how it is called), in order; (0, stage, _) is where `run` pauses."""
        serial, scalars = self._codes[0].address, _address(self._scalars)
        yield serial["begin"], scalars, REFUSES
        every = [*zip(self._codes, self._batches, strict=True)]
        yield from _each(every, "enter", PLAINLY)
        for table, batches in self._list_waves(every):
            for stage in range(self.kernel.stages):
                if f"parts_{stage}" in serial:
                    yield serial[f"parts_{stage}"], table, PLAINLY
                    yield 0, stage, PLAINLY
                if f"tensors_{stage}" in serial:
                    yield serial[f"tensors_{stage}"], table, PLAINLY
                yield from _each(batches, f"pass_{stage}", IN_THREADS)
        yield from _each(every, "leave", PLAINLY)
        if "finish" in serial:
            yield serial["finish"], scalars, PLAINLY

    def _list_waves(self, every: list[_Batch]) -> Iterator[tuple[int, list[_Batch]]]:
        """The batches that pass through all stages together, and the table of their tensors."""
        if not self._in_waves:
            yield _address(self._scalars), every
            return
        first = 0
        for batch in every:
            count = batch[1][BATCH.index("tensor_count")]
            table = _words([*self._scalars])
            table[SCALARS.index("records")] = _address(self._records, len(RECORD) * first)
            table[SCALARS.index("addresses")] = _address(self._addresses, first)
            table[SCALARS.index("tensor_count")] = count
            self._tables.append(table)
            yield _address(table), [batch]
            first += count

    def squares(self) -> float:
        """The sum of the squared gradients of the last run, if the kernel was asked for it."""
        squares = self.kernel.squares
        assert squares is not None
        return ctypes.c_double.from_buffer(
            self._totals, 8 * self.kernel.totals.index(squares)
        ).value

    def run(
        self, expected: int, seed: int = 0, between: Callable[[int], object] | None = None
    ) -> int:
        """Take the step, or reject it before anything has changed.

        expected: how many tensors take part. seed: of stochastic rounding and of random numbers, of
        which 64 bits count; with the counts of steps and the numbers of the tensors it determines both.
        between: called before each stage of a kernel whose tensors may be spread over processes, with
        its number, when what is `found` for that stage stands in `numbers`: it makes of the numbers for
        these parts those for the whole tensors.

        Returns READY if the step was taken; NO_MEMORY if a column of a tensor that takes part has the
        address 0, or another number of tensors takes part than expected; COUNT_FULL if a count in
        float32 cannot be incremented, at 2**24.
        """
        self._scalars[_EXPECTED] = expected
        if self._noisy:
            self._scalars[_SEED] = signed(seed % 2**64)
        begun = 0
        for end, stage in self._pauses:
            status = self._run(begun, end)
            if status != READY:
                return status
            if between is not None:
                between(stage)
            begun = end + 1
        return self._run(begun, len(self._jobs))

    def _run(self, begin: int, end: int) -> int:
        """Do some of the jobs in turn."""
        parallel, threads = 0, 1
        if self._chunks > 1:
            workers = team()
            parallel, threads = workers.parallel, workers.threads()
        if threads == 1 or parallel:
            address = self._job_address + 24 * begin
            return self._drive(parallel, threads, address, end - begin)
        for function, argument, how in self._jobs[begin:end]:
            call = _Function(function)
            if how == IN_THREADS:
                _unclaim(argument)
                in_python_threads(call, argument, min(threads, self._chunks))
            else:
                status = call(argument)
                if how == REFUSES and status != READY:
                    return status
        return READY


def _each(batches: Sequence[_Batch], function: str, how: int) -> Iterator[tuple[int, int, int]]:
    """One job for each batch whose code has this function."""
    for code, batch in batches:
        if function in code.address:
            yield code.address[function], _address(batch), how


def _unclaim(batch: int) -> None:
    """Reset the counters of a batch: no chunk is claimed, and no thread has arrived."""
    words = (ctypes.c_int64 * len(BATCH)).from_address(batch)
    counters, ranges = (words[BATCH.index(name)] for name in ("counters", "range_count"))
    ctypes.memset(counters, 0, 8 * LINE * (ranges + 1))


def _words(content: int | Sequence[int]) -> Any:
    """A block of memory: so many words of zero, or these words."""
    if isinstance(content, int):
        return (ctypes.c_int64 * content)()
    return (ctypes.c_int64 * len(content))(*content)


def _table(names: Sequence[str], more: Sequence[int] = (), **values: int) -> Any:
    """A block of memory with these fields, zero where not given, and more words after them."""
    return _words([*(values.get(name, 0) for name in names), *more])


def _address(block: Any, word: int = 0) -> int:
    return ctypes.addressof(block) + 8 * word
