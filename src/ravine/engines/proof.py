"""Tests on a device whether its engine computes what the CPU kernel computes.

Both take two steps with the same tensors. All bits must be equal, except for those of NaN, unless there are
reductions, which are summed in another order, or functions such as exp, which the devices have formulas of
their own for.
"""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ravine.engines import cpu
from ravine.engines.kernel import DTYPES, PARTIAL, Kernel, KernelError
from ravine.engines.llvm.blocks import Blocks, operations

if TYPE_CHECKING:
    from ravine.engines.devices import Engine

__all__ = ["proved"]

_SIZES = (4099, 1, 2051)
_OFF = 1
"""The number of elements by which the last tensor is off an aligned address."""
_STEPS = 2
_FORMATS = {"float64": "d", "float32": "f", "float16": "e", "bfloat16": "H"}
# How far results may differ by sums in another order, and by formulas: relative to themselves, and to what
# they are the difference of.
_SUMMED = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}, 1e-3
_FORMULA = {"float64": 1e-13, "float32": 1e-6, "float16": 5e-4, "bfloat16": 4e-3}, 0.25
_FUNCTIONS = {"exp", "log", "pow", "tanh"}


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
    start = [
        [_bytes(dtype, [_number(draw, c) for _ in range(n + _OFF)]) for c, dtype in columns]
        for n in _SIZES
    ]
    tensors = (_SIZES, [dtypes] * len(_SIZES))

    def results(step: Any, memory: Any) -> list[list[bytes]]:
        return _stepped(step, memory, kernel, dtypes, start)

    try:
        wanted = results(cpu.Step(kernel, *tensors, stochastic=stochastic), _Host())
    except KernelError as error:
        return f"there is no CPU kernel to compare its results with: {error}"
    try:
        how: Any = {"stochastic": stochastic, **({"on_device": True} if on_device else {})}
        got = results(engine.step(kernel, *tensors, **how), engine)
    except (
        Exception
    ) as error:  # an error of a driver or a compiler; in any case, the rule can be called
        return f"its self-test failed: {error}"
    summed = any(v.op in (*PARTIAL, "total") for v in kernel.needed)
    by_formula = not _FUNCTIONS.isdisjoint(
        operations(Blocks(kernel, dtypes, stochastic=stochastic))
    )
    near = _SUMMED if summed else _FORMULA if by_formula else None
    columns += [(slot, "float64") for slot in kernel.slots]
    for n, mine, its in zip(_SIZES, got, wanted, strict=True):
        for (column, dtype), x, y in zip(columns, mine, its, strict=True):
            if not _same(dtype, x, y, near):
                return f"its self-test failed: {column} of {n} elements is not the CPU kernel's"
    return ""


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
    where = [[memory.allocate(len(x)) for x in its] for its in start]
    beside = memory if getattr(step, "on_device", False) else _Host()
    slots = {name: beside.allocate(8 * len(_SIZES)) for name in (*kernel.slots, "step")}
    try:
        for addresses, its in zip(where, start, strict=True):
            for address, content in zip(addresses, its, strict=True):
                memory.write(address, content)
        for i, (column, dtype) in enumerate(zip(kernel.columns, dtypes, strict=True)):
            off = [0] * (len(_SIZES) - 1) + [_OFF * DTYPES[dtype]]
            step.point(column, [its[i] + o for its, o in zip(where, off, strict=True)])
        for name, at in slots.items():
            number = 0.0 if name == "step" else 0.5
            beside.write(at, struct.pack(f"{len(_SIZES)}d", *[number] * len(_SIZES)))
            step.point(name, [at + 8 * i for i in range(len(_SIZES))])
        with step.lock:
            for _ in range(_STEPS):
                if step.run(len(_SIZES), seed=18) != cpu.READY:
                    raise RuntimeError("the step was refused")
        return [
            [memory.read(at, len(x)) for at, x in zip(where[i], start[i], strict=True)]
            + [beside.read(slots[name] + 8 * i, 8) for name in kernel.slots]
            for i in range(len(_SIZES))
        ]
    finally:
        for at in slots.values():
            beside.free(at)
        for addresses in where:
            for address in addresses:
                memory.free(address)


def _plain(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.5


def _bytes(dtype: str, numbers: Sequence[float]) -> bytes:
    if dtype == "bfloat16":  # cut off
        numbers = [struct.unpack("I", struct.pack("f", x))[0] >> 16 for x in numbers]
    return struct.pack(f"{len(numbers)}{_FORMATS[dtype]}", *numbers)


def _numbers(dtype: str, content: bytes) -> Sequence[float]:
    found = struct.unpack(f"{len(content) // DTYPES[dtype]}{_FORMATS[dtype]}", content)
    if dtype == "bfloat16":
        return [struct.unpack("f", struct.pack("I", x << 16))[0] for x in found]
    return found


def _same(dtype: str, x: bytes, y: bytes, near: tuple[dict[str, float], float] | None) -> bool:
    if x == y:
        return True
    by, least = (near[0][dtype], near[1]) if near else (0.0, 0.0)
    for a, b in zip(_numbers(dtype, x), _numbers(dtype, y), strict=True):
        if a != b and not (a != a and b != b):
            if near is None or not abs(a - b) <= by * (abs(a) + abs(b) + least):
                return False
        elif near is None and a == b == 0 and struct.pack("d", a) != struct.pack("d", b):
            return False
    return True
