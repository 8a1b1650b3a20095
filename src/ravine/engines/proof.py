"""Tests on a device whether its engine computes what the CPU kernel computes.

Both take two steps with the same tensors. All bits must be equal, except for those of NaN, unless there are
reductions, which are summed in another order, or functions such as exp, for which devices have their own
formulas: see agreement.py.
"""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ravine.engines import cpu
from ravine.engines.agreement import FORMATS_OF, agree, bound
from ravine.engines.kernel import DTYPES, EACH, PARTED, PARTIAL, WHOLE, Kernel, KernelError
from ravine.engines.llvm.blocks import Blocks, operations
from ravine.engines.narrow import BLOCK, FORMATS, size

if TYPE_CHECKING:
    from ravine.engines.devices import Engine

__all__ = ["proved"]

_SIZES = (4099, 1, 2051)
_MATRICES = ((1, 150, 67), (1, 1, 1), (3, 7, 97))
"""The number of matrices in each tensor, and their rows and columns, if a kernel sees tensors as matrices."""
_MARGIN = 16  # bytes before and after a tensor, which no step may change
_STEPS = 2
_SUMS = {*PARTIAL, *PARTED, *WHOLE, *EACH, "total"}
_INEXACT = {*_SUMS, "exp", "log", "pow", "tanh"}


def proved(
    engine: Engine,
    kernel: Kernel,
    dtypes: tuple[str, ...],
    stochastic: bool,
    on_device: bool = False,
) -> str:
    """ "" if the engine steps like the CPU kernel; otherwise the difference, in words. on_device: whether all
    scalars are computed there.
    """
    draw = random.Random(18)
    columns = [*zip(kernel.columns, dtypes, strict=True)]
    matrices = [its if _may_have_several(kernel) else (1, *its[1:]) for its in _MATRICES]
    sizes = [*map(prod, matrices)] if kernel.by_lines else _SIZES
    start = [
        [
            _codes(draw, dtype, n)
            if dtype in FORMATS
            else _bytes(dtype, [_number(draw, c) for _ in range(n)])
            for c, dtype in columns
        ]
        for n in sizes
    ]
    tensors = (sizes, [dtypes] * len(sizes))
    how: dict[str, Any] = {"stochastic": stochastic}
    if kernel.by_lines:
        how["matrices"] = matrices
    there = {**how, **({"on_device": True} if on_device else {})}

    def results(step: Any, memory: Any) -> list[list[bytes]]:
        return _stepped(step, memory, kernel, dtypes, start)

    try:
        wanted = results(cpu.Step(kernel, *tensors, **how), _Host())
    except KernelError as error:
        return f"there is no CPU kernel to compare its results with: {error}"
    try:
        got = results(engine.step(kernel, *tensors, **there), engine)
    except (
        Exception
    ) as error:  # an error of a driver or a compiler; in any case, the rule can be called
        return f"its self-test failed: {str(error) or repr(error)}"
    ops = {v.op for v in kernel.needed if on_device or v.op in _SUMS}
    exact = _INEXACT.isdisjoint(ops | operations(Blocks(kernel, dtypes, stochastic=stochastic)))
    off = None if exact else bound(kernel, dtypes, sum(sizes), _STEPS)
    columns += [(slot, "float64") for slot in kernel.slots]
    for n, mine, its in zip(sizes, got, wanted, strict=True):
        for (column, dtype), x, y in zip(columns, mine, its, strict=True):
            if not agree(dtype, x, y, off):
                return f"its self-test failed: {column} of {n} elements is not the CPU kernel's"
    return ""


def _may_have_several(kernel: Kernel) -> bool:
    """Whether a tensor may be several matrices for it."""
    found = kernel.matrices((2, 3, 5))
    return found is not None and found[0] > 1


def _number(draw: random.Random, column: str) -> float:
    """Parameters and gradients of both signs, and a zero now and then; a state is positive."""
    x = draw.gauss(0, 1) if draw.random() < 0.99 else 0.0
    return x if column in ("p", "g") else abs(x)


class _Host:
    """This computer's memory, with the interface of an engine."""

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}

    def allocate(self, size: int) -> int:
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def free(self, address: int) -> None:
        del self.blocks[address]

    def write(self, address: int, content: bytes) -> None:
        ctypes.memmove(address, content, len(content))

    def read(self, address: int, size: int) -> bytes:
        return ctypes.string_at(address, size)


def _stepped(
    step: Any, memory: Any, kernel: Kernel, dtypes: Sequence[str], start: Sequence[Sequence[bytes]]
) -> list[list[bytes]]:
    """All columns and scalar slots of the tensors after some steps."""
    rule = kernel.graph.rule
    values = {name: h.default for name, h in rule.hyperparameters.items()}
    step.set_group(0, [_plain(values.get(name)) for name in step.inputs])
    blank = bytes(_MARGIN)
    where = [[memory.allocate(len(x) + 2 * _MARGIN) for x in its] for its in start]
    before = [[_MARGIN] * len(dtypes) for _ in start]
    before[-1] = [_off(dtype) for dtype in dtypes]
    many = len(start)
    beside = memory if getattr(step, "on_device", False) else _Host()
    slots = {name: beside.allocate(8 * many) for name in (*kernel.slots, "step")}
    try:
        for addresses, its, begins in zip(where, start, before, strict=True):
            for address, content, begin in zip(addresses, its, begins, strict=True):
                memory.write(address, blank[:begin] + content + blank)
        for i, column in enumerate(kernel.columns):
            step.point(column, [x[i] + begin[i] for x, begin in zip(where, before, strict=True)])
        for name, at in slots.items():
            beside.write(at, struct.pack(f"{many}d", *[0.0 if name == "step" else 0.5] * many))
            step.point(name, [at + 8 * i for i in range(many)])
        with step.lock:
            for _ in range(_STEPS):
                if step.run(len(start), seed=18) != cpu.READY:
                    raise RuntimeError("the step was refused")
        found = []
        for i in range(len(start)):
            its = []
            for at, content, begin in zip(where[i], start[i], before[i], strict=True):
                read = memory.read(at, begin + len(content) + _MARGIN)
                its.append(read[begin:-_MARGIN])
                if read[:begin] + read[-_MARGIN:] != blank[:begin] + blank:
                    raise RuntimeError("the step changed memory beside a tensor")
            found.append(its + [beside.read(slots[name] + 8 * i, 8) for name in kernel.slots])
        return found
    finally:
        for at in slots.values():
            beside.free(at)
        for addresses in where:
            for address in addresses:
                memory.free(address)


def _plain(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.5


def _off(dtype: str) -> int:
    """The bytes by which the last tensor is off an aligned address; codes are followed by their scales."""
    return 4 if dtype in FORMATS else DTYPES[dtype]


def _bytes(dtype: str, numbers: Sequence[float]) -> bytes:
    if dtype == "bfloat16":  # cut off
        numbers = [struct.unpack("I", struct.pack("f", x))[0] >> 16 for x in numbers]
    return struct.pack(f"{len(numbers)}{FORMATS_OF[dtype]}", *numbers)


def _codes(draw: random.Random, dtype: str, elements: int) -> bytes:
    """All codes, in blocks whose largest is between 2**-8 and 16."""
    form, blocks = FORMATS[dtype], size(elements) // (BLOCK + 4)
    codes = bytes(draw.randrange(256) for _ in range(elements))
    tops = [127 + draw.randrange(-8, 4) for _ in range(blocks)]
    scales = [top - form.window + form.signed << 23 for top in tops]
    return codes.ljust(blocks * BLOCK, b"\0") + struct.pack(f"{blocks}I", *scales)
