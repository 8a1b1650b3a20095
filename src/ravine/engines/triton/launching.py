"""The engine that launches kernels printed as Triton: on AMD's and Intel's GPUs, on NVIDIA's if PTX does not
prove itself there, and on the CPU in Triton's interpreter.

A step has the tables of :class:`ravine.engines.gpu.Step`. Memory and streams are torch's.
"""

from __future__ import annotations

import ctypes
import hashlib
import linecache
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import triton

from ravine.engines import gpu
from ravine.engines.devices import Place
from ravine.engines.kernel import Kernel
from ravine.engines.llvm.blocks import refusal
from ravine.engines.llvm.variant import Variant
from ravine.engines.narrow import FORMATS
from ravine.engines.triton.printer import BLOCK, after, text
from ravine.rule import kept

__all__ = ["Step", "Triton", "functions"]

_OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}
"""Each thread has eight elements at a time. Products and sums are rounded one by one, as on the CPU."""


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter."""
    return bool(triton.knobs.runtime.interpret)


def functions(text: str) -> dict[str, Any]:
    """The functions that a text defines. Triton looks their source up in linecache."""
    name = f"<ravine-triton-{hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"__name__": "ravine.engines.triton.printed"}
    exec(compile(text, name, "exec"), space)
    return space


class Triton:
    """The engine of one device, see :class:`ravine.engines.devices.Engine`."""

    name, has_scalars = "Triton", False

    def __init__(self, place: Place):
        self.place = place
        self.device = torch.device(place.kind, place.index)
        self._blocks: dict[int, torch.Tensor] = {}

    @contextmanager
    def current(self) -> Iterator[None]:
        """Launch on the device within this context."""
        if self.device.type == "cpu":
            with np.errstate(all="ignore"):  # the interpreter computes with NumPy
                yield
        else:
            with getattr(torch, self.device.type).device(self.device):
                yield

    def captures(self) -> bool:
        """Whether what is queued on the stream is recorded for a CUDA graph."""
        return self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()

    def refusal(self, kernel: Kernel, dtypes: Sequence[str], stochastic: bool) -> str:
        """Why it cannot step a kernel, or ""."""
        if kernel.has_lines:
            return "it has something for each row or column of a matrix"
        if any(dtype in FORMATS for dtype in dtypes):
            return "its state is in 8 bits"
        return refusal(kernel, dtypes)

    def step(self, kernel: Kernel, *tensors: Any, **how: Any) -> Step:
        """A kernel bound to tensors; the arguments are those of :class:`ravine.engines.gpu.Step`."""
        return Step(self, kernel, *tensors, **how)

    def functions(self, kernel: Kernel, dtypes: Sequence[str], stochastic: bool) -> dict[str, Any]:
        """The functions of the text, by name."""
        variant, how = Variant(kernel, tuple(dtypes), stochastic=stochastic), interpreted()
        key = ("triton", tuple(dtypes), stochastic, how)
        return kept(kernel, key, lambda: functions(text(variant, how)))

    def arguments(self, table: int, moved: int) -> dict[str, Any]:
        """The arguments of a launch."""
        return {"table": table, "moved": moved}

    def launch(self, function: Any, blocks: int, arguments: dict[str, Any]) -> None:
        """Queue a kernel."""
        function[(blocks,)](**arguments, **({} if interpreted() else _OPTIONS))

    def allocate(self, size: int) -> int:
        """Allocate bytes of the device's memory; return their address."""
        block = torch.empty(max(size, 1), dtype=torch.uint8, device=self.device)
        self._blocks[block.data_ptr()] = block
        return block.data_ptr()

    def free(self, address: int) -> None:
        """Free memory; torch keeps it until the work queued on the stream is done."""
        del self._blocks[address]

    def _bytes(self, address: int, size: int) -> torch.Tensor:
        """Memory that was allocated, as a tensor of bytes."""
        begin = max(at for at in [*self._blocks] if at <= address)
        return self._blocks[begin][address - begin : address - begin + size]

    def write(self, address: int, content: bytes) -> None:
        """Copy to the device, on the stream."""
        self.copy_in(address, content, len(content))

    def copy_in(self, address: int, source: Any, size: int) -> None:
        """The same of any memory of the host, which may change as soon as this returns."""
        content = torch.frombuffer(bytearray(source), dtype=torch.uint8)
        self._bytes(address, size).copy_(content)

    def read(self, address: int, size: int) -> bytes:
        """Copy from the device, when the work queued on the stream is done."""
        return self._bytes(address, size).cpu().numpy().tobytes()

    def copy_out(self, target: Any, address: int, size: int) -> None:
        """The same to memory of the host."""
        ctypes.memmove(target, self.read(address, size), size)


class Step(gpu.Step):
    """A kernel bound to tensors; the arguments are those of :class:`ravine.engines.gpu.Step`.

    What depends on a reduction is launched after the pass. (In PTX, the pass's last block computes it.)
    """

    def __init__(
        self,
        engine: Triton,
        kernel: Kernel,
        sizes: Sequence[int],
        dtypes: Sequence[Sequence[str]],
        *groups: Any,
        **how: Any,
    ):
        super().__init__(engine, kernel, sizes, dtypes, *groups, **how)
        first = tuple(dtypes[self.order[0]])
        variant = Variant(kernel, first)
        code = (
            engine.functions(kernel, first, how.get("stochastic", False)) if variant.passes else {}
        )
        self._passes = [arguments for its in self._launches.values() for _, _, arguments in its]
        for walk in variant.passes:
            _, _, arguments = self._launches[f"pass_{walk.stage}"][0]
            for name, _ in after(variant, walk):
                programs = 1 if name.startswith("totals") else len(sizes)
                self._launches[f"pass_{walk.stage}"].append((code[name], programs, {**arguments}))

    def run(self, *how: Any, **more: Any) -> int:
        """Queue the step, see :meth:`ravine.engines.gpu.Step.run`."""
        begin, many = self._begin["addresses"], len(self.kernel.columns) * len(self.order)
        addresses = np.frombuffer(memoryview(self._words), np.int64, many, 8 * begin)
        aligned = bool(np.bitwise_or.reduce(addresses) % 16 == 0)
        for arguments in self._passes:
            arguments |= {"BLOCK": BLOCK, "ALIGNED": aligned}
        return super().run(*how, **more)
