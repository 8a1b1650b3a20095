"""What was found, as something to paste: the rule, what it was run on, and the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random_rules.agreement import Disagreement


def report(found: Disagreement) -> str:
    """The rule's source, the tensors and gradients, the options that change, and who is wrong."""
    case = found.case
    lines = [case.rule.source, "", f"in {case.dtype}, state in {case.state_dtype or case.dtype}"]
    for tensor in case.tensors:
        p, *grads = tensor.rows
        lines.append(f"a tensor of shape {tensor.shape} in group {tensor.group}: p repeats {p}")
        lines += [f"    gradient of step {i} repeats {g}" for i, g in enumerate(grads, 1)]
    lines += [
        f"before step {c.step + 1}, group {c.group}: {c.name} = {c.value!r}" for c in case.changes
    ]
    where = f"tensor {found.tensor}, {found.name}[{found.element}]"
    said = found.error or f"{where} is {found.got!r}; it must be {found.wanted}"
    return "\n".join([*lines, f"{found.engine}: {said}"])
