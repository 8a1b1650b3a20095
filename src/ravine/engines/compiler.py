"""Compiles printed kernels (engines/llvm/) for this computer, with llvmlite.

The machine code of a kernel is stored with it, and freed with it.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from ravine.engines.kernel import DTYPES, Kernel
from ravine.engines.llvm.module import before, checks, text
from ravine.engines.llvm.variant import Variant
from ravine.engines.narrow import FORMATS
from ravine.engines.threads import after_fork
from ravine.rule import kept

__all__ = ["Compiled", "Machine", "assembly", "compiled", "host", "ir", "one_at_a_time", "scalars"]

# LLVM's code generation allows one thread at a time; if two ask for the same code, it is made once.
_lock = threading.RLock()


class Machine(NamedTuple):
    """The target for which code is generated.

    vector_bytes: the width of the vector registers. missing: the dtypes without instructions.
    triple, layout: LLVM's names of the target and of how it lays out data.
    """

    vector_bytes: int
    missing: tuple[str, ...]
    triple: str
    layout: str


_host: list[Machine] = []


def host() -> Machine:
    """This computer."""
    with _lock:
        if not _host:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            target = _target_machine()
            features = llvm.get_host_cpu_features()
            width = 64 if features.get("avx512f") else 32 if features.get("avx") else 16
            x86 = target.triple.startswith(("x86_64", "i686"))
            missing = ("float16", "int8") if x86 and not features.get("f16c") else ()
            _host.append(Machine(width, missing, target.triple, str(target.target_data)))
        return _host[0]


def _target_machine() -> Any:
    """A new one each time: an execution engine owns the one that it is created with, and frees it."""
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        jit=True,
    )


class Compiled:
    """Machine code for one kernel and its columns' dtypes.

    address: of the functions row, begin, tensors_k, pass_k, finish, drive and others. partials: the
    number of partial sums that a chunk leaves; column_parts: of numbers for each column. The code is
    freed with this object.
    """

    def __init__(self, text: str, partials: int, column_parts: int):
        parsed = _parsed(text)
        self._engine = llvm.create_mcjit_compiler(parsed, _target_machine())
        self._engine.finalize_object()
        names = [f.name for f in parsed.functions if not f.is_declaration]
        self.address = {name: self._engine.get_function_address(name) for name in names}
        self.partials, self.column_parts = partials, column_parts


def _parsed(text: str) -> Any:
    parsed = llvm.parse_assembly(text)
    parsed.triple, parsed.data_layout = host().triple, host().layout
    return parsed


# By text: graphs traced for different values often print the same.
_codes: weakref.WeakValueDictionary[str, Compiled] = weakref.WeakValueDictionary()


def _after_fork() -> None:
    global _lock  # another thread may have held it
    _lock = threading.RLock()


after_fork(_after_fork)


def compiled(kernel: Kernel, dtypes: Sequence[str], stochastic: bool = False) -> Compiled:
    """The kernel's machine code for columns (p, g, slots) of these dtypes; compiled once.

    stochastic: store bfloat16 and float16 stochastically instead of to the nearest even.
    Raises ValueError for a dtype that a column cannot have, and KernelError
    for float16 on a processor that cannot convert it.
    """
    numbers = [dtype for dtype in DTYPES if dtype not in FORMATS]
    for column, dtype in zip(kernel.columns, dtypes, strict=True):
        accepted = DTYPES if column in kernel.arrays else numbers
        if dtype not in accepted:
            raise ValueError(f"dtypes: {dtype!r} is invalid; {column} is {', '.join(accepted)}")
        if dtype in host().missing:
            kernel.refuse(dtype, "for which this processor has no instructions")

    def make() -> Compiled:
        variant = _variant(kernel, dtypes, stochastic)
        printed = text(variant)
        with _lock:
            code = _codes.get(printed)
            if code is None:
                code = _codes[printed] = Compiled(printed, variant.partials, variant.column_parts)
            return code

    return kept(kernel, ("code", tuple(dtypes), stochastic), make)


def scalars(variant: Variant, stages: int) -> Compiled:
    """The machine code of :func:`ravine.engines.llvm.module.before`, or, for no stages, of `checks` there;
    compiled once.
    """

    def make() -> Compiled:
        with _lock:
            host()
            text = before(variant, stages) if stages else checks(variant)
            return Compiled(text, variant.partials, 0)

    return kept(variant.kernel, ("scalars", variant.dtypes, variant.stochastic, stages), make)


def one_at_a_time() -> AbstractContextManager[bool]:
    """LLVM's code generation takes one thread at a time, for whatever target."""
    return _lock


def _variant(kernel: Kernel, dtypes: Sequence[str], stochastic: bool) -> Variant:
    little = sys.byteorder == "little"
    return Variant(kernel, tuple(dtypes), host().vector_bytes, stochastic, little)


def ir(kernel: Kernel, dtypes: Sequence[str], stochastic: bool = False) -> str:
    """The kernel as LLVM IR, for this computer's vector registers."""
    return text(_variant(kernel, dtypes, stochastic))


def assembly(kernel: Kernel, dtypes: Sequence[str], stochastic: bool = False) -> str:
    """The kernel in this computer's assembly."""
    with _lock:
        parsed = _parsed(ir(kernel, dtypes, stochastic))  # which initializes LLVM for this machine
        return _target_machine().emit_assembly(parsed)
