"""What a step computes on the host: the scalars that do not depend on elements, by LLVM, as on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from ravine.engines.compiler import Compiled
from ravine.engines.kernel import GROUP, TENSOR, Kernel, Value
from ravine.engines.llvm import scalars
from ravine.engines.llvm.body import Body
from ravine.engines.llvm.printer import Printer, Type
from ravine.rule import kept

__all__ = ["Host", "host"]

_DOUBLE = Type("double")


class Host:
    """The functions for one kernel, on numbers in memory.

    row: of the address of a group's row, whose inputs are there. own: of the addresses of a group's row
    and of a tensor's, with its scalar slots, and of the tensor's number of elements; None where nothing
    is to be computed.
    """

    def __init__(self, kernel: Kernel, wide: bool):
        out = Printer()
        scalars.row(out, kernel)
        values = [v for v in kernel.needed if v.level == TENSOR and v.stage == 0]
        if values:
            _own(out, kernel, values, wide)
        self._code = Compiled(out.text(), 0, 0)
        address = self._code.address
        self.row: Callable[[int], None] = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address["row"])
        of_tensor = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        self.own: Callable[[int, int, int], None] | None = (
            of_tensor(address["own"]) if values else None
        )


def _own(out: Printer, kernel: Kernel, values: list[Value], wide: bool) -> None:
    """What is one number for each tensor, and depends on no reduction."""
    out.begin("@own(ptr %group_row, ptr %tensor_row, i64 %elements)", "for one tensor, in float64")
    body = Body(out, _DOUBLE)
    for v in values:
        if v.op == "numel":
            body.names[v] = out.set("numel", "sitofp i64 %elements to double")
        elif v.op == "epsilon":
            body.names[v] = _DOUBLE.constant(2.0**-52 if wide else 2.0**-23)
    rows = {GROUP: "%group_row", TENSOR: "%tensor_row"}
    scalars.compute_scalars(body, kernel, rows, values)
    out.end()


def host(kernel: Kernel, wide: bool) -> Host:
    """The kernel's functions; compiled once. wide: whether elements are computed in float64."""
    return kept(kernel, ("host", wide), lambda: Host(kernel, wide))
