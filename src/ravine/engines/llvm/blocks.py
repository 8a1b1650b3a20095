"""A kernel's passes for a GPU: a block of threads for each chunk.

A pass consists of phases, functions that each thread of a block calls in turn, with a barrier between them:
`walk` goes over the elements (tile by tile, with more phases, if the pass stores codes of 8 bits: see
code_blocks.py); `fold` and `leave` combine what the threads have found, and write it as the chunk's part;
then, the last block that finishes computes what each tensor needs before the next pass, with a thread for
each tensor. Threads communicate only through memory, and only between phases. So there are as many launches
as passes, the bits do not depend on the order of blocks, and a single thread of any computer can run the
phases as they are printed here: see entries.py.

What does not depend on elements is computed before the first pass: by the CPU kernel's functions on the host,
or on the device, see first.py. The tables
are a copy of the CPU kernel's: `moved` is the distance of the copy from the addresses in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

from ravine.engines.kernel import DTYPES, GROUP, TENSOR, Kernel, Value
from ravine.engines.llvm.code_blocks import ENCODED, TILE, Tile, buffers, words
from ravine.engines.llvm.columns import Columns
from ravine.engines.llvm.elements import Elements, Row
from ravine.engines.llvm.noise import Noise
from ravine.engines.llvm.printer import Printer, Type
from ravine.engines.llvm.reductions import across, identity, more
from ravine.engines.llvm.scalars import of_tensor, todo
from ravine.engines.llvm.shares import share_of
from ravine.engines.llvm.tables import CHUNK, RECORD, SCALARS, Tensors, record_of, rows_of, scalar
from ravine.engines.llvm.variant import Variant
from ravine.engines.passes import Pass

__all__ = [
    "LAUNCH",
    "THREADS",
    "Blocks",
    "Entry",
    "Walk",
    "on_host",
    "operations",
    "refusal",
    "shared_words",
    "until",
]

THREADS = 256
"""The threads of a block."""
LAUNCH = ("chunks", "records", "partials", "done", "blocks", "scalars")
"""The table of a launch, followed by the addresses of its tensors' columns, as in BATCH. done: the counter of
finished blocks; blocks: their number in all launches of the pass."""

_ACCESS = 16  # bytes that a thread moves at a time
_FOLDERS = 16  # threads that combine what the others have found
_ARGUMENTS = (
    "ptr %gpu.table, i64 %gpu.moved, i64 %gpu.thread, i64 %gpu.block, i64 %gpu.threads, "
    "ptr %gpu.shared, i64 %gpu.tile"
)
_DOUBLE = Type("double")
_SCOPE = 'syncscope("device")'
_MOST_SHARED = 6 * 1024  # words: what every GPU has for a block


class Blocks(Variant):
    """The kernel for a GPU: the widest column is accessed 16 bytes at a time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.width = _ACCESS // max(DTYPES[d] for d in self.dtypes)


def refusal(kernel: Kernel, dtypes: Sequence[str]) -> str:
    """Why the passes cannot be printed for a GPU, or ""."""
    if kernel.spread:
        return "its tensors may be spread over processes"
    variant = Blocks(kernel, tuple(dtypes))
    if kernel.has_lines and (variant.codes or not variant.passes):
        return "it has values for each row or column, and 8-bit state or no pass over the elements"
    if shared_words(variant) > _MOST_SHARED:
        if variant.codes:
            return f"its {len(variant.codes)} slots in 8 bits need more memory than a block's threads share"
        return f"it has more than {_MOST_SHARED // THREADS} reductions in a pass"
    return ""


def operations(variant: Variant) -> set[str]:
    """The operations that the GPU computes, rather than the host."""
    kernel = variant.kernel
    used = {v.op for walk in variant.passes for v in walk.values}
    later = range(on_host(variant), kernel.stages)
    used |= {v.op for k in later for v in todo(kernel, k)}
    if kernel.has_lines:
        used |= {v.op for v in kernel.needed if v.level > GROUP and v not in kernel.early}
    return used


def on_host(variant: Variant) -> int:
    """The number of stages whose scalars the host computes before the first pass."""
    return variant.passes[0].stage + 1 if variant.passes else variant.kernel.stages


def shared_words(variant: Variant) -> int:
    """The maximum number of eight-byte words that the threads of a block share."""
    most = max(len(tiled(variant, walk)) for walk in variant.passes) if variant.passes else 0
    return _for_sums(variant) + words(most)


def _for_sums(variant: Variant) -> int:
    """Those of them for reductions, which come first; an even number if codes follow."""
    most = max((len(walk.sums) for walk in variant.passes), default=0)
    most = max(most, len(variant.kernel.totals), variant.kernel.has_lines)
    return most * THREADS + 1 + bool(variant.codes)


def tiled(variant: Variant, walk: Pass) -> list[str]:
    """The columns that a pass encodes."""
    return [c for c in variant.codes if c in walk.stores]


Entry = Callable[[Printer, str, Sequence[str], Sequence[str]], None]
"""Prints the function that calls the phases, with a barrier between them: first some of them in turn for
each tile, then the others.
"""


def until(variant: Variant) -> list[tuple[Pass, int]]:
    """Each pass, and the last stage whose scalars are computed after it."""
    ends = [*(walk.stage for walk in variant.passes[1:]), variant.kernel.stages - 1]
    return list(zip(variant.passes, ends, strict=True))


class Walk(Elements):
    """The phases of a pass."""

    space, aligned = " addrspace(1)", True

    def phases(self, last: int) -> tuple[list[str], list[str]]:
        """Print the phases, and name them in their order: those for each tile, and the others. last: the
        last stage whose scalars follow.
        """
        phases = ["walk"]
        self._begin("walk")
        self.step()
        self.out.end()
        in_tiles = []
        if self.tiled:
            self._print_tiles()
            for phase in (Tile.largest, Tile.windows, Tile.encode):
                self._begin(phase.__name__)
                self.tile(phase)
                phases.append(phase.__name__)
            in_tiles, phases = phases, []
        after = self.after(last)
        if self.walk.sums:
            self._begin("fold")
            self.fold(self.whole)
            self._past()
            self.out.end()
            phases.append("fold")
        if self.walk.sums or after:
            self._begin("leave")
            self.leave(bool(after))
            self.out.end()
            phases.append("leave")
        return in_tiles, phases + self.finally_(after)

    def after(self, last: int) -> list[tuple[str, Callable[[], None]]]:
        """What the last block computes before the next pass: the scalars of the stages until the last."""
        after: list[tuple[str, Callable[[], None]]] = []
        for stage in range(self.walk.stage + 1, last + 1):
            if todo(self.kernel, stage):
                after.append((f"tensors_{stage}", partial(self.tensors, stage)))
            if adding := self._adding(stage):
                sums = dict.fromkeys(adding, "sum")
                after.append((f"gather_{stage}", partial(self.gather, stage)))
                after.append((f"fold_{stage}", partial(self.fold, sums)))
                after.append((f"totals_{stage}", partial(self.totals, stage)))
        return after

    def finally_(self, after: Sequence[tuple[str, Callable[[], None]]]) -> list[str]:
        """Print phases of the last block."""
        for name, made in after:
            self._begin(name)
            self._if_last(made)
            self.out.end()
        return [name for name, _ in after]

    @property
    def tiled(self) -> list[str]:
        """The columns that are encoded, tile by tile."""
        return tiled(self.variant, self.walk)

    def _begin(self, phase: str, result: str = "void") -> None:
        name = f"@{self.name}.{phase}({_ARGUMENTS}) alwaysinline"
        self.out.begin(name, result=f"internal {result}")

    @property
    def name(self) -> str:
        """The name of the launched kernel."""
        return f"pass_{self.walk.stage}"

    @property
    def whole(self) -> dict[str, str]:
        """The reductions to one number."""
        return {x: op for x, op in self.sums.items() if self.reduced[x].level == TENSOR}

    def _field(self, name: str, kind: str = "i64") -> str:
        return self.out.field("%gpu.table", LAUNCH, name, kind)

    def _chunk(self) -> tuple[str, str, str, str]:
        """The record of a block's tensor, the tensor's number, and the chunk's start and length."""
        out = self.out
        chunks, records = self._field("chunks", "ptr"), self._field("records", "ptr")
        at = out.at(chunks, out.set("chunk", f"mul i64 %gpu.block, {len(CHUNK)}"), "i64")
        tensor, start = (out.field(at, CHUNK, name) for name in CHUNK)
        record = record_of(out, records, tensor)
        return record, tensor, start, self.length(record, start)

    def _here(self) -> tuple[str, str, str, str, dict[str, str]]:
        """The same of a chunk or a tile whose tensor has a gradient, and the tables of addresses; otherwise
        continue at gpu.past.
        """
        out, addresses = self.out, {}
        for c in dict.fromkeys(["g", *self.columns]):
            place = len(LAUNCH) + self.kernel.columns.index(c)
            addresses[c] = out.table(f"{c}.at", out.at("%gpu.table", place, "i64", f"{c}.at"))
        record, tensor, start, count = self._chunk()
        gradient = out.load("g.whole", out.at(addresses["g"], tensor, "ptr", "g.at"), "ptr")
        absent = out.set("absent", f"icmp eq ptr {gradient}, null")
        out.branch(absent, "gpu.past", "gpu.here")
        out.label("gpu.here")
        if self.tiled:
            ahead = out.set("ahead", f"mul i64 %gpu.tile, {TILE}")
            start = out.set("start", f"add i64 {start}, {ahead}")
            left = out.set("left", f"sub i64 {count}, {ahead}")
            short = out.set("short", f"icmp ult i64 {left}, {TILE}")
            count = out.set("count", f"select i1 {short}, i64 {left}, i64 {TILE}")
            first = _for_sums(self.variant)
            self.buffers = buffers(out, out.at("%gpu.shared", first), self.tiled)
        return record, tensor, start, count, addresses

    def step(self) -> None:
        """The elements of a thread."""
        out = self.out
        record, tensor, start, count, addresses = self._here()
        narrow, wide, columns = self.bodies(record, tensor, start, addresses)
        found = self.walked(record, start, count, Row("0", narrow, wide), columns)
        if self.tiled:
            assert isinstance(columns.codes, Tile)
            columns.codes.clear(count)
        before = out.block
        out.jump("gpu.past")
        out.label("gpu.past")
        for x, op in self.whole.items():
            nothing = identity(op, _DOUBLE)
            out.line(f"%gpu.{x} = phi double [ {nothing}, %entry ], [ {found[x]}, %{before} ]")
        for i, (x, op) in enumerate(self.whole.items()):
            mine = f"%gpu.{x}"
            if self.tiled:
                begun = out.load("begun", self._shared(i, "%gpu.thread"))
                first = out.set("first", "icmp eq i64 %gpu.tile, 0")
                nothing = identity(op, _DOUBLE)
                begun = out.set("begun", f"select i1 {first}, double {nothing}, double {begun}")
                mine = out.set("more", more(out, op, _DOUBLE, begun, mine))
            self._share(i, "%gpu.thread", mine)

    def _print_tiles(self) -> None:
        """The function that counts the tiles of a block's chunk; one without elements has one."""
        out = self.out
        self._begin("tiles", "i64")
        *_, count = self._chunk()
        above = out.set("above", f"add i64 {count}, {TILE - 1}")
        tiles = out.set("tiles", f"udiv i64 {above}, {TILE}")
        none = out.set("none", f"icmp eq i64 {tiles}, 0")
        out.end(f"i64 {out.set('tiles', f'select i1 {none}, i64 1, i64 {tiles}')}")

    def tile(self, phase: Callable[[Tile, str], None]) -> None:
        """One of the phases that encode a tile."""
        record, tensor, start, count, addresses = self._here()
        noise = Noise(self.out, start, ENCODED)
        fields = {name: self.out.field(record, RECORD, name) for name in ("noise", "number")}
        noise.codes(self.variant.codes, self.tiled, **fields)
        phase(self.in_codes(*self.places(record, tensor, start, addresses), noise), count)
        self._past()
        self.out.end()

    def in_codes(
        self, base: Mapping[str, str], scales: Mapping[str, str], noise: Noise | None
    ) -> Tile:
        """The columns in codes, given what :meth:`places` returns."""
        dtype, pointer = self.variant.dtype, f"ptr{self.space}"
        return Tile(self.out, dtype, base, scales, self.buffers, noise, ENCODED, pointer)

    def _shared(self, i: int, thread: str) -> str:
        """The address of a thread's i-th number; the first word says whether this is the last block."""
        at = self.out.set("at", f"mul i64 %gpu.threads, {i}")
        at = self.out.set("at", f"add i64 {at}, {thread}")
        return self.out.at("%gpu.shared", self.out.set("at", f"add i64 {at}, 1"))

    def _share(self, i: int, thread: str, x: str) -> None:
        self.out.store(x, self._shared(i, thread))

    def walked(
        self, record: str, start: str, count: str, row: Row, columns: Columns
    ) -> dict[str, str]:
        """Step this thread's elements of a chunk; what they are reduced to."""
        return self.run(count, row, columns, self._aligned(columns))

    def run(
        self,
        count: str,
        row: Row,
        columns: Columns,
        whole: str,
        thread: str = "%gpu.thread",
        threads: str = "%gpu.threads",
    ) -> dict[str, str]:
        """Step this thread's vectors, then one of the elements left over; what they are reduced to.

        whole: whether vectors are aligned. thread: its number among those that share the elements.
        """
        out, width = self.out, self.variant.width
        many = out.set("many", f"and i64 {count}, {-width}")
        many = out.set("wide.count", f"select i1 {whole}, i64 {many}, i64 0")
        vector = self.wide.like("double")
        found = {f"{x}.0": identity(op, _DOUBLE) for x, op in self.sums.items()}
        for label, body, first, end in (
            ("wide", row.wide, "0", many),
            ("left", row.narrow, many, count),
        ):
            kind, vectors = body.kind, label == "wide"
            own = out.set("own", f"mul i64 {thread}, {kind.width}")
            own = out.set("own", f"add i64 {first}, {own}") if first != "0" else own
            step = out.set("step", f"mul i64 {threads}, {kind.width}")
            before = out.block
            out.branch(out.set("any", f"icmp ult i64 {own}, {end}"), label, f"{label}.past")
            ops = {f"{x}.0": op for x, op in self.sums.items()}
            starts = {x: identity(op, vector) if vectors else found[x] for x, op in ops.items()}
            self.loop(label, (own, end), starts, [body], [row], columns, step)
            out.label(f"{label}.end")
            new = {x: f"%{x}.{label}.next" for x in ops}
            if vectors:
                new = {x: across(out, op, vector, new[x]) for x, op in ops.items()}
            last = out.block
            out.jump(f"{label}.past")
            out.label(f"{label}.past")
            for x in ops:
                ends = f"[ {found[x]}, %{before} ], [ {new[x]}, %{last} ]"
                out.line(f"%{x}.{label}.all = phi double {ends}")
                found[x] = f"%{x}.{label}.all"
        return {x: found[f"{x}.0"] for x in self.sums}

    def _aligned(self, columns: Columns) -> str:
        """Whether all columns of the tensor are aligned to whole vectors."""
        out, found = self.out, "0"
        for c in self.columns:
            where = out.set("where", f"ptrtoint ptr{self.space} {columns.base[c]} to i64")
            odd = self.variant.width * DTYPES[self.variant.dtype[c]] - 1
            off = out.set("off", f"and i64 {where}, {odd}")
            found = out.set("off", f"or i64 {off}, {found}")
        return out.set("aligned", f"icmp eq i64 {found}, 0")

    def fold(self, sums: Mapping[str, str]) -> None:
        """Combine the numbers of all threads into as many as there are folders."""
        out = self.out
        out.branch(out.set("mine", f"icmp ult i64 %gpu.thread, {_FOLDERS}"), "gpu.fold", "gpu.past")
        out.label("gpu.fold")
        turns = share_of(out, "%gpu.threads", threads=_FOLDERS)
        with self._each(sums, turns) as becomes:
            thread = out.set("thread", f"mul i64 %add, {_FOLDERS}")
            thread = out.set("thread", f"add i64 {thread}, %gpu.thread")
            self._take_in(sums, becomes, thread)
        for i, x in enumerate(sums):
            self._share(i, "%gpu.thread", f"%gpu.{x}")

    def _past(self) -> None:
        """The label at which threads without work continue."""
        self.out.jump("gpu.past")
        self.out.label("gpu.past")

    def _each(self, sums: Mapping[str, str], count: str) -> AbstractContextManager[dict[str, str]]:
        starts = {f"gpu.{x}": identity(op, _DOUBLE) for x, op in sums.items()}
        return self.out.loop("add", count, starts)

    def _take_in(self, sums: Mapping[str, str], becomes: dict[str, str], thread: str) -> None:
        out = self.out
        for i, (x, op) in enumerate(sums.items()):
            part = out.load("part", self._shared(i, thread))
            becomes[f"gpu.{x}"] = out.set("more", more(out, op, _DOUBLE, f"%gpu.{x}", part))

    def _of_folders(self, sums: Mapping[str, str]) -> None:
        """The combined numbers of the folders: %gpu.x."""
        out = self.out
        few = out.set("few", f"icmp ult i64 %gpu.threads, {_FOLDERS}")
        folders = out.set("folders", f"select i1 {few}, i64 %gpu.threads, i64 {_FOLDERS}")
        with self._each(sums, folders) as becomes:
            self._take_in(sums, becomes, "%add")

    def leave(self, follows: bool) -> None:
        """The chunk's part, left by the first thread; and whether this block is the last one done, where
        something follows in it.
        """
        out = self.out
        out.branch(out.set("first", "icmp eq i64 %gpu.thread, 0"), "gpu.first", "gpu.past")
        out.label("gpu.first")
        if self.walk.sums:
            partials = self._field("partials", "ptr")
            self._of_folders(self.whole)
            first = out.set("at", f"mul i64 %gpu.block, {self.variant.partials}")
            for i, x in enumerate(self.whole):
                out.store(f"%gpu.{x}", out.at(partials, out.set("at", f"add i64 {first}, {i}")))
        if follows:
            done, blocks = self._field("done", "ptr"), self._field("blocks")
            out.line(f"fence {_SCOPE} seq_cst")
            count = out.set("count", f"atomicrmw add ptr {done}, i64 1 {_SCOPE} monotonic")
            out.line(f"fence {_SCOPE} seq_cst")
            last = out.set("last", f"add i64 {count}, 1")
            last = out.set("last", f"icmp eq i64 {last}, {blocks}")
            flag = out.set("flag", f"zext i1 {last} to i64")
            out.store(flag, "%gpu.shared", "i64")
            out.branch(last, "gpu.last", "gpu.past")
            out.label("gpu.last")
            out.store("0", done, "i64")  # for the next step
        self._past()

    def _if_last(self, made: Callable[[], None]) -> None:
        """The end of the pass, in the last block."""
        out = self.out
        flag = out.load("flag", "%gpu.shared", "i64")
        out.branch(out.set("last", f"icmp ne i64 {flag}, 0"), "gpu.last", "gpu.past")
        out.label("gpu.last")
        made()
        self._past()

    def _scalars(self) -> Tensors:
        out = self.out
        at = out.at("%gpu.table", LAUNCH.index("scalars"), "i64")
        out.line(f"%scalars = getelementptr i64, ptr {out.table('where', at)}, i64 0")
        return Tensors(out, self.kernel)

    def _mine(
        self, every: Tensors, carried: Mapping[str, str] | None = None
    ) -> AbstractContextManager[dict[str, str]]:
        """A loop over a thread's share of the tensors that have a gradient: %gpu.tensor."""
        out = self.out

        def absent() -> str:
            out.line("%gpu.turn = mul i64 %tensor, %gpu.threads")
            out.line("%gpu.tensor = add i64 %gpu.turn, %gpu.thread")
            gradient = self._gradient(every, "%gpu.tensor")
            return out.set("absent", f"icmp eq ptr {gradient}, null")

        return out.loop("tensor", share_of(out, every.count), carried, skip=absent)

    def _gradient(self, every: Tensors, tensor: str) -> str:
        """The address of a tensor's gradient, or 0 for one that takes no part."""
        return every.column("g", tensor)

    def tensors(self, stage: int) -> None:
        """The scalars of each tensor, shared among the threads."""
        out, every = self.out, self._scalars()
        totals = out.field("%scalars", SCALARS, "totals", "ptr")
        with self._mine(every):
            record = every.record("%gpu.tensor")
            of_tensor(out, self.variant, stage, record, rows_of(out, record), totals)

    def _adding(self, stage: int) -> dict[str, Value]:
        """The sums over all tensors that are due after a stage."""
        totals = enumerate(self.kernel.totals)
        return {f"total{i}": v for i, v in totals if v.stage == stage + 1}

    def gather(self, stage: int) -> None:
        """Each thread's part of the sums over all tensors."""
        out, kernel, every = self.out, self.kernel, self._scalars()
        adding = self._adding(stage)
        with self._mine(every, dict.fromkeys(adding, identity("sum", _DOUBLE))) as becomes:
            rows = rows_of(out, every.record("%gpu.tensor"))
            for name, v in adding.items():
                [x] = v.args
                number = (
                    _DOUBLE.constant(float(x.leaf))
                    if x.op == "constant"
                    else scalar(out, kernel, rows, x)
                )
                becomes[name] = out.set(f"{name}.next", f"fadd double %{name}, {number}")
        for i, name in enumerate(adding):
            self._share(i, "%gpu.thread", f"%{name}")

    def totals(self, stage: int) -> None:
        """The sums over all tensors."""
        out, adding = self.out, self._adding(stage)
        out.branch(out.set("first", "icmp eq i64 %gpu.thread, 0"), "gpu.first", "gpu.past")
        out.label("gpu.first")
        self._scalars()
        totals = out.field("%scalars", SCALARS, "totals", "ptr")
        self._of_folders(dict.fromkeys(adding, "sum"))
        for name, v in adding.items():
            out.store(f"%gpu.{name}", out.at(totals, self.kernel.totals.index(v)))
