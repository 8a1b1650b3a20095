"""Checkpoints of other packages' optimizers, for the rules that take the same path."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import torch

from ravine import elsewhere, registry
from ravine.elsewhere import Match
from ravine.engines.graph import DIMENSIONS
from ravine.engines.tracing import trace
from ravine.rule import Rule
from ravine.spellings import options_of

__all__ = ["convert"]

_COUNTS = ("step", "steps", "k", "t")
"""Where packages keep the count of steps: in a parameter's state, or in its group."""


def convert(checkpoint: Mapping[str, Any], *, from_: str) -> dict[str, Any]:
    """The `state_dict()` of another package's optimizer, as one for the rule that is the same.

    checkpoint: with "state" and "param_groups", as torch saves it. from_: the optimizer that it is of,
    "timm.Lamb". `ravine which timm.Lamb` says which rule that is, and an optimizer of that rule loads the
    result: `ravine.torch.optimizer("lamb_timm")(params).load_state_dict(convert(checkpoint,
    from_="timm.Lamb"))`. State is not copied where it is kept alike. Raises LookupError where no rule is
    known to be the same, and ValueError where an option in the checkpoint, or something missing in its
    state, means that the rule is not.
    """
    found = elsewhere.matches(from_, registry.own().values()) if "." in from_ else []
    found = [match for match in found if match.witness.state or not match.rule.slots]
    if not found:
        known = {
            w.name
            for r in registry.own().values()
            for w in r.card.witnesses
            if w.state or not r.slots
        }
        raise LookupError(
            f"from_={from_!r} is not accepted; checkpoints are converted from {', '.join(sorted(known))}"
        )
    if not {"state", "param_groups"} <= checkpoint.keys():
        raise ValueError(
            "checkpoint is not accepted; it is what an optimizer's state_dict() gives, with 'state' and "
            "'param_groups'"
        )
    groups = checkpoint["param_groups"]
    whys = {match: _why_not(match, groups) for match in found}
    match = next((match for match, why in whys.items() if not why), None)
    if match is None:
        raise ValueError(f"the checkpoint is not accepted; {'; '.join(map(str, whys.values()))}")
    state: dict[Any, dict[str, Any]] = {}
    made = []
    for number, group in enumerate(groups):
        given = _given(match, number, group)
        made.append({**options_of(match.rule, given), "params": list(group["params"])})
        needed = _needed(match, given)
        for index in group["params"]:
            if theirs := checkpoint["state"].get(index):
                state[index] = _state(match, {**given, **group, **theirs}, needed, index)
    return {"state": state, "param_groups": made}


def _why_not(match: Match, groups: list[dict[str, Any]]) -> str:
    """Which option of which group makes the optimizer another than the rule; "" where none does."""
    for number, group in enumerate(groups):
        for option, value in {**match.witness.needs, **match.witness.fixed}.items():
            if option in group and group[option] != value:
                return (
                    f"group {number} has {option}={group[option]!r}, and {match.rule.name} is "
                    f"{match.witness.name} with {option}={value!r}"
                )
    return ""


def _given(match: Match, number: int, group: Mapping[str, Any]) -> dict[str, Any]:
    """What a group sets of the rule's hyperparameters."""
    given: dict[str, Any] = {}
    for option, names in match.witness.options.items():
        parts = (names,) if isinstance(names, str) else names
        if option in group:
            value = group[option]
            given |= zip(parts, (value,) if isinstance(names, str) else value, strict=True)
        elif {*parts} <= {*group}:  # optimi keeps betas as beta1 and beta2
            given |= {part: group[part] for part in parts}
        elif {*parts} & _read(match.rule):  # not only what slots start at
            raise ValueError(
                f"the checkpoint is not accepted; its group {number} does not have {option!r}, as those of "
                f"{match.witness.name} do"
            )
    return given


def _read(rule: Rule) -> set[str]:
    """The hyperparameters that a step depends on."""
    graph = trace(rule)
    nodes = graph.needed(graph.live_outputs().values())
    return {n.value for n in nodes if n.op == "hyperparameter"}.union(graph.switches)


def _needed(match: Match, given: Mapping[str, Any]) -> set[str]:
    """The slots that a parameter has whatever its shape; of the others loading says which are missing."""
    graph = trace(match.rule, **given)
    others = DIMENSIONS if graph.by_ndim else ()
    return {*graph.live}.intersection(*(trace(match.rule, None, n, **given).live for n in others))


def _state(match: Match, known: Mapping[str, Any], needed: set[str], index: Any) -> dict[str, Any]:
    """A parameter's state under the rule's names, of all that its state and its group say."""
    count = next((known[k] for k in _COUNTS if k in known), None)
    if count is None and not (match.rule.takes_t and match.witness.counted):
        count = 1  # there is state, so this was not the first step: no more is asked
    if count is None:
        raise ValueError(
            f"the checkpoint is not accepted; the state of parameter {index} has no count of steps"
        )
    known = {**known, "t": count}
    state = {"step": torch.as_tensor(count, dtype=torch.float32)}
    for slot, said in match.witness.state.items():
        missing = [name for name in _names(said, known) if known.get(name) is None]
        if not missing:
            value = _tensor(known[said] if said in known else eval(said, {}, dict(known)))
            state[slot] = value.reshape(()) if match.rule.slots[slot].kind == "scalar" else value
        elif slot in needed:
            raise ValueError(
                f"the checkpoint is not accepted; the state of parameter {index} has no {missing[0]!r}, as "
                f"that of {match.witness.name} does"
            )
    return state


def _names(said: str, known: Mapping[str, Any]) -> list[str]:
    """What a slot is made of: one name, which may have spaces, or those in an expression."""
    try:
        tree = ast.parse("" if said in known else said, mode="eval")
    except SyntaxError:
        return [said]
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]


def _tensor(value: Any) -> torch.Tensor:
    """The value as a tensor; a number keeps all its digits."""
    dtype = torch.float64 if isinstance(value, float) else None
    return torch.as_tensor(value, dtype=dtype)
