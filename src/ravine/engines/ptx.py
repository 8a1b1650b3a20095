"""A kernel's passes as assembly for NVIDIA's GPUs, through llvmlite's NVPTX target.

The driver turns it into machine code, so neither a compiler nor CUDA's toolkit is needed. The operations are
those of the CPU kernel: division and square root follow IEEE 754, denormals are kept, and no multiplication
is fused with an addition.
"""

from __future__ import annotations

from collections.abc import Sequence

import llvmlite.binding as llvm

from ravine.engines.compiler import one_at_a_time
from ravine.engines.kernel import Kernel
from ravine.engines.llvm import first
from ravine.engines.llvm.blocks import Blocks, shared_words
from ravine.engines.llvm.entries import entry_on_gpu
from ravine.engines.llvm.launches import text
from ravine.rule import kept

__all__ = ["ARCHITECTURES", "assembly", "ir"]

ARCHITECTURES = ("sm_80", "sm_90")
"""The architectures for which code is generated; the driver also runs it on later ones."""
_TRIPLE = "nvptx64-nvidia-cuda"


def ir(
    kernel: Kernel, dtypes: Sequence[str], stochastic: bool = False, scalars: bool = False
) -> str:
    """The passes as LLVM IR, for columns (p, g, slots) of these dtypes; or what computes the scalars on the
    device.
    """
    variant = Blocks(kernel, tuple(dtypes), stochastic=stochastic)
    entry = entry_on_gpu(shared_words(variant))
    return first.text(variant, entry, first.put_on_gpu) if scalars else text(variant, entry)


def assembly(
    kernel: Kernel,
    dtypes: Sequence[str],
    stochastic: bool = False,
    architecture: str = "sm_80",
    scalars: bool = False,
) -> str:
    """The passes as PTX, a kernel `pass_k` for each; or the kernels for scalars, see llvm/first.py."""
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"architecture={architecture!r} is invalid; it must be one of {', '.join(ARCHITECTURES)}"
        )
    key = ("ptx", tuple(dtypes), stochastic, architecture, scalars)
    return kept(
        kernel, key, lambda: _emitted(ir(kernel, dtypes, stochastic, scalars), architecture)
    )


def _emitted(printed: str, architecture: str) -> str:
    with one_at_a_time():
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        machine = llvm.Target.from_triple(_TRIPLE).create_target_machine(cpu=architecture, opt=3)
        module = llvm.parse_assembly(printed)
        module.verify()
        module.triple, module.data_layout = _TRIPLE, str(machine.target_data)
        builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(3))
        builder.getModulePassManager().run(module, builder)
        return machine.emit_assembly(module)
