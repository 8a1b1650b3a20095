"""Remarks on param groups: notes on what may well be right, and warnings about what looks wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ravine.torch.asked import Asked, decayless, of_matrices, same
from ravine.torch.audit import digits, listed
from ravine.torch.roles import BARE, ROLES, Row

__all__ = ["notes", "suspicions", "unseen"]


def notes(rows: list[Row], asked: Asked) -> Iterator[str]:
    """Notes on the trained parameters, which may well be right."""

    def takes_matrices(role: str) -> bool:
        return of_matrices(asked.of(role).get("rule", ""))

    for rule in {asked.of(row.role).get("rule"): None for row in rows}:
        if decayless(rule):
            yield f"{rule} has no weight decay"
    rules = [asked.of(role)["rule"] for role in asked.own if takes_matrices(role)]
    if not rules:
        return
    rule, matrices = rules[0], [row for row in rows if takes_matrices(row.role)]
    if higher := [row for row in rows if row.role in ("conv", "stack")]:
        yield f"not {rule}'s, which takes matrices, since of more dimensions: {listed(higher)}"
    if stacked := [row for row in matrices if row.stacked]:
        yield f"several matrices in one, and {rule} takes them for one: {listed(stacked)}"
    if bare := [row for row in matrices if row.why == BARE]:
        pattern = digits.sub("*", bare[0].names[0])
        yield (
            f"{rule}'s by shape alone: {listed(bare)}; if one does not multiply as a matrix, say so: "
            f"roles={{{pattern!r}: 'gain'}}"
        )
    layers = [row for row in rows if row.role not in ("norm", "bias", "gain")]
    if takes_matrices(layers[0].role) and all(row.role != "embedding" for row in layers):
        first = layers[0].names[0]
        yield (
            f"{first!r} is the first layer, which {rule}'s authors leave to AdamW; "
            f"roles={{{first!r}: 'embedding'}} does too"
        )


def suspicions(
    rows: list[Row], groups: list[dict[str, Any]], asked: Asked, overridden: list[int]
) -> Iterator[str]:
    """Warnings about the assignment of options that look wrong."""
    trained = [row for row in rows if row.group >= 0]
    tied = any(row.tied for row in rows)
    for role, options in asked.own.items():
        if any(row.role == role for row in trained) or (role == "head" and tied):
            continue
        why = "all of them are frozen" if any(row.role == role for row in rows) else ROLES[role]
        yield f"no parameter takes {role}={dict(options)!r} ({role}: {why}); roles= can name one"
    named = [rows[i] for i in overridden]
    outside = [x for x in trained if x.role == "hidden" and not x.inside and x not in named]
    apart = not same(asked.of("hidden"), asked.of("head"))
    if outside and apart and not tied and all(row.role != "head" for row in rows):
        yield (
            f"no head was found; if one of {listed(outside)} is the output layer, say so: "
            f"roles={{{outside[-1].names[0]!r}: 'head'}}"
        )
    for row in trained:
        if row.role == "hidden" and _as_a_vocabulary(*row.shape):
            yield (
                f"{row.names[0]!r}, of shape {row.shape}, is as large as a vocabulary; if it is an "
                f"embedding or the head, say so: roles={{{row.names[0]!r}: 'head'}}"
            )
    for row in named:
        if row.group >= 0 and len(row.shape) < 2 and groups[row.group].get("weight_decay"):
            yield (
                f"{row.names[0]!r}, of shape {row.shape}, is decayed, since {row.why} is "
                f"{row.role!r}; vectors mostly are not"
            )


def _as_a_vocabulary(*shape: int) -> bool:
    """Whether a matrix is long and thin; even thinner ones are low-rank adapters."""
    return max(shape) >= max(8192, 8 * min(shape)) and min(shape) >= 64


def unseen(model: nn.Module, known: set[nn.Parameter]) -> Iterator[str]:
    """Modules and parameters in plain lists and dicts, which torch does not register."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") or not isinstance(value, (list, tuple, dict)):
                continue
            for x in value.values() if isinstance(value, dict) else value:
                held = x.parameters() if isinstance(x, nn.Module) else [x]
                # A module without gradients is left out on purpose, such as a teacher.
                stray = (p for p in held if isinstance(p, nn.Parameter) and p.requires_grad)
                if any(p not in known for p in stray):
                    whole = f"{path}.{name}" if path else name
                    yield (
                        f"{whole!r} is a plain {type(value).__name__} with parameters that are not the "
                        "model's; nn.ModuleList, ModuleDict, ParameterList and ParameterDict register them"
                    )
                    break
