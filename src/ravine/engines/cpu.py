"""Runs kernels printed by engines/llvm.py: compiles them, fills their tables, steps in threads.

    step = Step(kernel(graph), sizes=[100, 10], dtypes=[("float32",) * 4] * 2)    # p, g, m, v
    for column in step.columns:
        step.point(column, addresses[column])                             # one for each tensor
    step.set_group(0, [t, *(hyper[name] for name in step.inputs[1:])])
    step.run()

This module knows addresses and numbers only: who calls it keeps the arrays alive, contiguous (or
all columns of a tensor in one dense layout), and in place.

Threads: where torch is loaded and its library has `GOMP_parallel`, the kernel runs in torch's own
team, so that no other threads compete with those that a backward pass leaves spinning. Elsewhere
Python threads call it, which releases the GIL. After a fork, one thread: the team is gone.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from ravine.engines.graph import Graph
from ravine.engines.kernel import DTYPES, GROUP, Kernel, KernelError, lower
from ravine.engines.llvm import BATCH, RECORD, SCALARS, SPREAD, Module

__all__ = [
    "Compiled",
    "KernelError",
    "Step",
    "Team",
    "assembly",
    "compiled",
    "ir",
    "kernel",
    "team",
]

# Chunks are small enough to balance many cores, and few enough that their table is.
_SHORTEST_CHUNK, _MOST_CHUNKS = 8192, 1024
# Threads claim runs of neighbouring chunks: where a thread jumps about in memory, the hardware's
# prefetching is lost at each jump (a fifth of Adam's time on ResNet-18).
_LONGEST_RUN, _FEWEST_RUNS = 8, 64
# With fewer elements, one thread is as fast as a team; torch's own loops draw the line here too.
# There is nothing between: OpenMP ends the threads that a smaller team leaves out, and torch's next
# loop would have to start them again.
_ALONE = 32768

_lock = threading.RLock()  # LLVM's code generation takes one thread at a time


@cache
def kernel(graph: Graph, squares: bool = False) -> Kernel:
    """The graph as a kernel. Raises KernelError, naming rule and operation, if it cannot be one.

    squares: let it sum the squares of the gradients up as well, see :meth:`Step.squares`.
    """
    return lower(graph, squares)


class Machine(NamedTuple):
    """What code is generated for: the bytes of a vector register, the dtypes without instructions."""

    target: Any
    vector_bytes: int
    missing: tuple[str, ...] = ()


@cache
def _machine() -> Machine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    width = 64 if features.get("avx512f") else 32 if features.get("avx") else 16
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3, jit=True
    )
    lacks_half = target.triple.startswith(("x86_64", "i686")) and not features.get("f16c")
    return Machine(machine, width, ("float16",) * lacks_half)


@dataclass(frozen=True)
class Compiled:
    """Machine code for one kernel and its columns' dtypes.

    address: of the functions groups, tensors_k, pass_k and drive. partials: how many partial sums
    a chunk leaves.
    """

    address: dict[str, int]
    partials: int
    engine: Any  # owns the code


def _parsed(text: str) -> Any:
    machine = _machine().target
    parsed = llvm.parse_assembly(text)
    parsed.triple, parsed.data_layout = machine.triple, str(machine.target_data)
    return parsed


@cache
def _compiled(kernel: Kernel, dtypes: tuple[str, ...], stochastic: bool) -> Compiled:
    module = Module(kernel, dtypes, _machine().vector_bytes, stochastic)
    return _code(module.text(), module.partials)


@cache
def _code(text: str, partials: int) -> Compiled:
    """Graphs traced for different values often print the same."""
    with _lock:
        parsed = _parsed(text)
        engine = llvm.create_mcjit_compiler(parsed, _machine().target)
        engine.finalize_object()
        names = [f.name for f in parsed.functions if not f.is_declaration]
        address = {name: engine.get_function_address(name) for name in names}
        return Compiled(address, partials, engine)


def compiled(kernel: Kernel, dtypes: Sequence[str], stochastic: bool = False) -> Compiled:
    """The kernel's machine code for columns (p, g, slots) of these dtypes; compiled once.

    stochastic: store bfloat16 and float16 stochastically instead of to the nearest even.
    Raises ValueError for a dtype that is not float64, float32, bfloat16 or float16, and KernelError
    for float16 on a processor that cannot convert it.
    """
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise ValueError(f"dtypes: {dtype!r} is not accepted; a column is {', '.join(DTYPES)}")
        if dtype in _machine().missing:
            kernel.refuse(dtype, "for which this processor has no instructions")
    return _compiled(kernel, tuple(dtypes), stochastic)


def ir(kernel: Kernel, dtypes: Sequence[str], stochastic: bool = False) -> str:
    """The kernel as LLVM IR, for this computer's vector registers."""
    return Module(kernel, tuple(dtypes), _machine().vector_bytes, stochastic).text()


def assembly(kernel: Kernel, dtypes: Sequence[str], stochastic: bool = False) -> str:
    """The kernel in this computer's assembly."""
    with _lock:
        return _machine().target.emit_assembly(_parsed(ir(kernel, dtypes, stochastic)))


@dataclass(frozen=True)
class Team:
    """Who runs the chunks.

    name: in words. threads: how many there are now. parallel: the address of GOMP_parallel, or 0
    where Python threads are used (or a single thread).
    """

    name: str
    threads: Callable[[], int]
    parallel: int = 0


def team() -> Team:
    """The threads that a step would run in now: torch's, or Python's, or one after a fork."""
    if _forked:
        return _ONE
    torch = sys.modules.get("torch")
    return _torch_team(torch) if torch else _PYTHONS


@cache
def _torch_team(torch: Any) -> Team:
    address = _gomp_parallel(str(Path(torch.__file__).parent))
    name = "torch's threads" if address else "Python threads, as many as torch has"
    return Team(name, torch.get_num_threads, address)


def _gomp_parallel(torch_folder: str) -> int:
    """The address of the OpenMP entry point that torch's own loops use; 0 where there is none."""
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        try:
            function = ctypes.CDLL(str(Path(torch_folder, "lib", name))).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


def _cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


_ONE = Team("one thread, in a forked process", lambda: 1)
_PYTHONS = Team("Python threads", _cores)
_forked = False


@cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, "ravine")


def _after_fork() -> None:
    global _forked, _lock
    _forked, _lock = True, threading.RLock()
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # calls release the GIL
_Drive = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)


def _in_python_threads(function: Any, argument: int, threads: int) -> None:
    """Call it in several threads at once; those that have not begun when it is done need not."""
    helpers = [_pool(threads - 1).submit(function, argument) for _ in range(threads - 1)]
    function(argument)
    for helper in helpers:
        if not helper.cancel():
            helper.result()


class Step:
    """A kernel bound to tensors: the tables that it walks, filled once, and `run`.

    sizes: the number of elements of each tensor. dtypes: for each tensor, the dtypes of its columns
    (p, g and the live array slots, see `columns`). groups: for each tensor, the parameter group
    that it takes t and the hyperparameters from; by default all from group 0. stochastic: see
    :func:`compiled`. order: the order in which the tables hold the tensors, those of the same
    dtypes beside each other.

    Before a run, `point` says where the columns are, `set_group` what t and the hyperparameters
    are, and `set_slot` what the scalar slots are; what has not changed need not be said again.
    `point_all(*addresses)` says it of column after column, the tensors of each in `order`.
    Two steps may run at once in two threads, one step may not.
    """

    def __init__(
        self,
        kernel: Kernel,
        sizes: Sequence[int],
        dtypes: Sequence[Sequence[str]],
        groups: Sequence[int] | None = None,
        *,
        stochastic: bool = False,
    ):
        groups = groups or [0] * len(sizes)
        if not 0 < len(sizes) == len(dtypes) == len(groups):
            raise ValueError(
                "sizes, dtypes and groups must be equally long and not empty, got "
                f"{len(sizes)}, {len(dtypes)} and {len(groups)}"
            )
        self.kernel, self.columns, self._stochastic = kernel, kernel.columns, stochastic
        self.inputs, self.slots = kernel.inputs, kernel.slots
        batches: dict[tuple[str, ...], list[int]] = {}
        for i, dtype in enumerate(dtypes):
            batches.setdefault(tuple(dtype), []).append(i)
        self.order = [i for members in batches.values() for i in members]
        self._places = sorted(range(len(sizes)), key=self.order.__getitem__)
        self._groups = groups
        self._codes = [compiled(kernel, dtype, stochastic) for dtype in batches]

        self._group_rows = _words(len(kernel.group_row) * (1 + max(groups)))
        self._tensor_rows = _words(len(kernel.tensor_row) * len(sizes))
        self._group_values, self._tensor_values = map(
            _doubles, (self._group_rows, self._tensor_rows)
        )
        self._addresses = _words(len(kernel.columns) * len(sizes))
        self._records = _words(len(RECORD) * len(sizes))
        self._totals = _words(len(kernel.totals))
        self._scalars = _table(
            SCALARS,
            group_rows=_address(self._group_rows),
            group_count=1 + max(groups),
            records=_address(self._records),
            tensor_count=len(sizes),
            totals=_address(self._totals),
        )
        self._tables: list[Any] = []  # kept alive
        self._batches: list[Any] = []
        for code, members in zip(self._codes, batches.values(), strict=True):
            self._add_batch(code, [(sizes[i], groups[i]) for i in members])
        self._jobs = list(self._list_jobs())
        self._job_table = _words([word for job in self._jobs for word in job])
        self._drive = _Drive(self._codes[0].address["drive"])
        self._job_address = _address(self._job_table)
        self._inputs = struct.Struct(f"{len(self.inputs)}d")
        self._pointers = struct.Struct(f"{len(sizes)}q")
        everything = struct.Struct(f"{len(sizes) * len(self.columns)}q")
        self.point_all = partial(everything.pack_into, self._addresses, 0)
        chunks = sum(batch[BATCH.index("chunk_count")] for batch in self._batches)
        self._chunks = chunks if sum(sizes) >= _ALONE else 1

    def _add_batch(self, code: Compiled, members: list[tuple[int, int]]) -> None:
        """The tables for tensors (size, group) of the same dtypes, next in the order."""
        kernel = self.kernel
        first = sum(batch[BATCH.index("tensor_count")] for batch in self._batches)
        lengths = [_chunk_length(n) for n, _ in members]
        counts = [-(-n // length) for (n, _), length in zip(members, lengths, strict=True)]
        partials = _words(code.partials * sum(counts))
        chunks = _words(
            [
                word
                for place, (length, count) in enumerate(zip(lengths, counts, strict=True))
                for part in range(count)
                for word in (place, part * length)
            ]
        )
        begun = 0
        for place, (n, group) in enumerate(members, first):
            length, count = lengths[place - first], counts[place - first]
            self._records[len(RECORD) * place : len(RECORD) * (place + 1)] = _table(
                RECORD,
                numel=n,
                chunk_length=length,
                group_row=_address(self._group_rows, len(kernel.group_row) * group),
                tensor_row=_address(self._tensor_rows, len(kernel.tensor_row) * place),
                partials=_address(partials, code.partials * begun),
                chunk_count=count,
                number=self.order[place],
            )
            begun += count
        columns = [
            _address(self._addresses, len(self.order) * column + first)
            for column in range(len(self.columns))
        ]
        batch = _table(
            BATCH,
            columns,
            tensor_count=len(members),
            chunk_count=begun,
            run=max(1, min(_LONGEST_RUN, begun // _FEWEST_RUNS)),
            chunks=_address(chunks),
            records=_address(self._records, len(RECORD) * first),
            partials=_address(partials),
        )
        self._batches.append(batch)
        self._tables += [partials, chunks]

    def _list_jobs(self) -> Iterator[tuple[int, int, int]]:
        """(function, argument, whether it takes threads), in order."""
        serial = self._codes[0].address
        yield serial["groups"], _address(self._scalars), 0
        for stage in range(self.kernel.stages):
            if f"tensors_{stage}" in serial:
                yield serial[f"tensors_{stage}"], _address(self._scalars), 0
            for code, batch in zip(self._codes, self._batches, strict=True):
                if f"pass_{stage}" in code.address:
                    yield code.address[f"pass_{stage}"], _address(batch), 1

    def point(self, column: str, addresses: Sequence[int]) -> None:
        """Say where a column ("p", "g" or a slot) of each tensor stands in memory."""
        if len(self._batches) > 1:
            addresses = [addresses[i] for i in self.order]
        place = self.columns.index(column)
        self._pointers.pack_into(self._addresses, self._pointers.size * place, *addresses)

    def set_group(self, group: int, values: Sequence[float]) -> None:
        """Give a group its t and hyperparameters, in the order of `inputs`."""
        row = 8 * len(self.kernel.group_row) * group
        self._inputs.pack_into(self._group_rows, row, *values)

    def set_slot(self, slot: str, values: Sequence[float]) -> None:
        """Give each tensor the value of a scalar slot."""
        if len(self._batches) > 1:
            values = [values[i] for i in self.order]
        self._tensor_values[self.slots.index(slot) :: len(self.kernel.tensor_row)] = array(
            "d", values
        )

    def get_slot(self, slot: str) -> list[float]:
        """The new value of a scalar slot of each tensor, after a run."""
        kernel, new = self.kernel, self.kernel.outputs[slot]
        if new.op == "constant":
            return [new.leaf] * len(self.order)
        if new.level == GROUP:
            row = len(kernel.group_row)
            values = self._group_values[kernel.group_row[new] :: row].tolist()
            return [values[group] for group in self._groups]
        values = self._tensor_values[kernel.tensor_row[new] :: len(kernel.tensor_row)].tolist()
        return [values[i] for i in self._places] if len(self._batches) > 1 else values

    def squares(self) -> float:
        """The sum of the squared gradients of the last run, if the kernel was asked for it."""
        squares = self.kernel.squares
        assert squares is not None
        return ctypes.c_double.from_buffer(
            self._totals, 8 * self.kernel.totals.index(squares)
        ).value

    def run(self, noise: int = 0, first: int = 0) -> None:
        """Take the step.

        noise: an int of 64 bits that seeds stochastic rounding; the same one gives the same bits.
        first: the number that the first tensor has there, so that tensors which are stepped one by
        one round as if they were stepped together.
        """
        if self._stochastic:
            noise += first * len(self.columns) * SPREAD  # what the kernel adds for each tensor
            for batch in self._batches:
                batch[BATCH.index("noise")] = noise
        if self._chunks <= 1:
            self._drive(0, 1, self._job_address, len(self._jobs))
            return
        workers = team()
        threads = workers.threads()
        if threads == 1 or workers.parallel:
            self._drive(workers.parallel, threads, self._job_address, len(self._jobs))
            return
        for function, argument, threaded in self._jobs:
            if threaded:
                ctypes.c_int64.from_address(argument).value = 0  # no chunk is claimed yet
                _in_python_threads(_Function(function), argument, min(threads, self._chunks))
            else:
                _Function(function)(argument)


def _words(content: int | Sequence[int]) -> Any:
    """A block of memory: so many words of zero, or these words."""
    if isinstance(content, int):
        return (ctypes.c_int64 * content)()
    return (ctypes.c_int64 * len(content))(*content)


def _doubles(block: Any) -> Any:
    """The words of a block of memory as float64."""
    return memoryview(block).cast("B").cast("d")


def _table(names: Sequence[str], more: Sequence[int] = (), **values: int) -> Any:
    """A block of memory with these fields, zero where not given, and more words after them."""
    return _words([*(values.get(name, 0) for name in names), *more])


def _address(block: Any, word: int = 0) -> int:
    return ctypes.addressof(block) + 8 * word


def _chunk_length(size: int) -> int:
    length = _SHORTEST_CHUNK
    while size > length * _MOST_CHUNKS:
        length *= 2
    return length
