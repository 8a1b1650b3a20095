"""What is launched on a GPU for a step, in turn, and the module that has it.

pass_k      a pass over the elements: a block for each chunk (blocks.py)
lines_k     what is computed for matrices, rows and columns before a pass: a block for each tensor
            (block_lines.py)
totals_k    what these add to sums over all tensors: one block
"""

from __future__ import annotations

from ravine.engines.llvm.block_lines import Between, LinedWalk, of_lines
from ravine.engines.llvm.blocks import Blocks, Entry, Walk, until
from ravine.engines.llvm.powers import WithFormulas
from ravine.engines.llvm.printer import Printer

__all__ = ["launches", "text"]


def launches(variant: Blocks) -> list[str]:
    """The launched kernels, in turn."""
    kernel, passes = variant.kernel, [walk.stage for walk in variant.passes]
    if not kernel.has_lines:
        return [f"pass_{stage}" for stage in passes]
    between, found = _between(variant), []
    for stage in range(kernel.stages):
        found += [f"lines_{stage}"] if stage in between else []
        found += [f"totals_{stage}"] if any(v.stage == stage + 1 for v in kernel.totals) else []
        found += [f"pass_{stage}"] if stage in passes else []
    return found


def _between(variant: Blocks) -> list[int]:
    """The stages at which something is computed for rows and columns before the pass. Slots are loaded in the
    first of them, and stored in the last one.
    """
    kernel = variant.kernel
    found = [stage for stage in range(kernel.stages) if of_lines(variant, stage)]
    if not kernel.short:
        return found
    reading = [w.stage for w in variant.passes if any(v.op == "vector" for v in w.vectors)]
    return found if found and found[0] <= min(reading, default=kernel.stages) else [0, *found]


def text(variant: Blocks, entry: Entry) -> str:
    """The module as LLVM IR."""
    out, kernel = WithFormulas(), variant.kernel
    out.moved = "%gpu.moved"
    walked = LinedWalk if kernel.has_lines else Walk
    for walk, last in until(variant):
        entry(out, f"pass_{walk.stage}", *walked(out, variant, walk).phases(last))
    if kernel.has_lines:
        between = _between(variant)
        for stage in between:
            enters, leaves = stage == between[0], stage == between[-1]
            phases = Between(out, variant, stage).between(
                enters and bool(kernel.short), leaves and bool(kernel.short)
            )
            entry(out, f"lines_{stage}", [], phases)
        for name in launches(variant):
            if name.startswith("totals"):
                stage = int(name.removeprefix("totals_"))
                entry(out, name, *_Totals(out, variant, stage).phases(stage))
    columns = ", ".join(f"{c} {d}" for c, d in variant.dtype.items())
    return out.text(f"{kernel.graph.rule.name}: {columns}; computed in {variant.of}, by blocks")


class _Totals(Walk):
    """The sums over all tensors that are due after a stage, by one block."""

    def __init__(self, out: Printer, variant: Blocks, stage: int):
        super().__init__(out, variant, variant.passes[0])
        self.stage = stage

    @property
    def name(self) -> str:
        return f"totals_{self.stage}"

    def phases(self, last: int) -> tuple[list[str], list[str]]:
        """Print the phases, and name them in their order."""
        sums = dict.fromkeys(self._adding(last), "sum")
        made = {
            "gather": lambda: self.gather(last),
            "fold": lambda: self.fold(sums),
            "totals": lambda: self.totals(last),
        }
        for phase, printed in made.items():
            self._begin(phase)
            printed()
            self._past()
            self.out.end()
        return [], [*made]
