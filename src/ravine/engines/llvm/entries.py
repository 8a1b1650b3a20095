"""The functions that are launched: they call the phases of a pass (blocks.py), a barrier between each two."""

from __future__ import annotations

from collections.abc import Sequence

from ravine.engines.llvm.blocks import THREADS, Entry
from ravine.engines.llvm.printer import Printer

__all__ = ["entry_in_turn", "entry_on_gpu"]

# The blocks that are to fit on a multiprocessor at a time, for a pass in tiles, so that some of them load
# while others wait at a barrier. It leaves 80 registers for a thread.
_LEAST_IN_TILES = 3


def entry_on_gpu(words: int) -> Entry:
    """The launched kernel, with the GPU's thread and block. words: those that a block shares."""

    def entry(out: Printer, name: str, in_tiles: Sequence[str], phases: Sequence[str]) -> None:
        shared = f"@{name}.shared"
        out.lines += [
            "",
            f"{shared} = internal addrspace(3) global [{words} x i64] undef, align 16",
        ]
        arguments = "ptr %gpu.table, i64 %gpu.moved"
        out.begin(f"@{name}({arguments}) #{int(bool(in_tiles))}", result="ptx_kernel void")
        for what, register in (("thread", "tid.x"), ("block", "ctaid.x")):
            out.declared[f"declare i32 @llvm.nvvm.read.ptx.sreg.{register}()"] = None
            out.line(f"%gpu.{what}.i = call i32 @llvm.nvvm.read.ptx.sreg.{register}()")
            out.line(f"%gpu.{what} = zext i32 %gpu.{what}.i to i64")
        out.line(f"%gpu.shared = addrspacecast ptr addrspace(3) {shared} to ptr")
        names = "ptr %gpu.table, i64 %gpu.moved, i64 %gpu.thread, i64 %gpu.block"
        names += f", i64 {THREADS}, ptr %gpu.shared, i64"

        def barrier() -> None:
            out.declared["declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)"] = None
            out.line("call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)")

        if in_tiles:
            with out.loop("gpu.tile", out.set("tiles", f"call i64 @{name}.tiles({names} 0)")):
                for phase in in_tiles:
                    out.line(f"call void @{name}.{phase}({names} %gpu.tile)")
                    barrier()
        for i, phase in enumerate(phases):
            if i:
                barrier()
            out.line(f"call void @{name}.{phase}({names} 0)")
        out.end()
        least = f' "nvvm.minctasm"="{_LEAST_IN_TILES}"' if in_tiles else ""
        number = int(bool(in_tiles))
        out.declared[f'attributes #{number} = {{ "nvvm.maxntid"="{THREADS}"{least} }}'] = None

    return entry


def entry_in_turn(out: Printer, name: str, in_tiles: Sequence[str], phases: Sequence[str]) -> None:
    """The same phases run by one thread of this computer, block after block, with a loop over the threads
    of a block in place of each barrier.
    """
    arguments = "ptr %gpu.table, i64 %gpu.moved, i64 %gpu.blocks, i64 %gpu.threads, ptr %gpu.shared"
    out.begin(f"@{name}({arguments})")
    rest = "i64 %gpu.block, i64 %gpu.threads, ptr %gpu.shared, i64"

    def call(phase: str, tile: str = "0") -> None:
        loop = f"gpu.{phase}"
        with out.loop(loop, "%gpu.threads"):
            given = f"ptr %gpu.table, i64 %gpu.moved, i64 %{loop}, {rest} {tile}"
            out.line(f"call void @{name}.{phase}({given})")

    with out.loop("gpu.block", "%gpu.blocks"):
        if in_tiles:
            given = f"ptr %gpu.table, i64 %gpu.moved, i64 0, {rest} 0"
            with out.loop("gpu.tile", out.set("tiles", f"call i64 @{name}.tiles({given})")):
                for phase in in_tiles:
                    call(phase, "%gpu.tile")
        for phase in phases:
            call(phase)
    out.end()
