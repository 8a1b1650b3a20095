"""Checkpoints of other packages' optimizers, for the rules that take the same path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from ravine import elsewhere, registry
from ravine.elsewhere import Match
from ravine.engines.graph import DIMENSIONS
from ravine.engines.tracing import trace
from ravine.rule import Rule
from ravine.spellings import options_of

__all__ = ["convert", "why_not"]

_COUNTS = ("step_count", "step", "steps", "k", "t")
"""The names under which packages count steps, in a parameter's state or in its group."""


def convert(checkpoint: Mapping[str, Any], *, from_: str, **told: Any) -> dict[str, Any]:
    """Convert the `state_dict()` of another package's optimizer to one for the equivalent rule.

    checkpoint: with "state" and "param_groups", as torch saves it. from_: the optimizer that it
    comes from, such as "timm.Lamb". `ravine which timm.Lamb` names the rule, and an optimizer for
    that rule, with the same groups, loads the result:
    `ravine.torch.optimizer("lamb_timm")(params).load_state_dict(convert(checkpoint,
    from_="timm.Lamb"))`. State in the same format is not copied. told: hyperparameters of the rule
    that the package does not save, such as `d=2.0` for CAME in pytorch_optimizer; otherwise they
    have their defaults. Raises LookupError if no rule is known to be equivalent, TypeError for
    unknown names in `told`, and ValueError if an option in the checkpoint, or something missing
    from its state, makes the rule a different one.
    """
    found = elsewhere.matches(from_, registry.own().values()) if "." in from_ else []
    found = [match for match in found if match.witness.state or not match.rule.slots]
    if not found:
        names = {
            w.name for r in registry.own().values() for w in r.card.known if w.state or not r.slots
        }
        raise LookupError(
            f"from_={from_!r} is invalid; checkpoints are converted from {', '.join(sorted(names))}"
        )
    if not {"state", "param_groups"} <= checkpoint.keys():
        raise ValueError(
            "checkpoint is invalid; it must be what an optimizer's state_dict() gives, with 'state' and "
            "'param_groups'"
        )
    groups = checkpoint["param_groups"]
    whys = {match: why_not(match, groups) for match in found}
    match = next((match for match, why in whys.items() if not why), None)
    if match is None:
        raise ValueError(f"the checkpoint is invalid; {'; '.join(map(str, whys.values()))}")
    _check_told(match, told)
    state: dict[Any, dict[str, Any]] = {}
    made = []
    for number, group in enumerate(groups):
        given = {**_given(match, number, group), **told}
        options = options_of(match.rule, match.rule.parts.gathered(given))
        made.append({**options, "params": list(group["params"])})
        needed = _needed(match, given)
        for place, index in enumerate(group["params"]):
            if theirs := _own(match, checkpoint["state"], number, index):
                known = {**given, **group, **theirs, "place": place}
                state[index] = _state(match, known, needed, index)
    _check_shared(match, state)
    return {"state": state, "param_groups": made}


def _check_told(match: Match, told: Mapping[str, Any]) -> None:
    witness = match.witness
    named = (witness.options.get(option, option) for option in witness.unsaved)
    names = {k for its in named for k in ([its] if isinstance(its, str) else its)}
    if strangers := {*told} - names:
        accepted = (
            f"only {', '.join(sorted(names))} may be"
            if names
            else "it saves everything that matters"
        )
        raise TypeError(f"{min(strangers)!r} cannot be given for {witness.name}; {accepted}")


def _own(match: Match, state: Mapping[Any, Any], number: int, index: Any) -> dict[str, Any]:
    """The state of a parameter: its own, or that of its group and of the optimizer."""
    if match.witness.by_group:
        return {**{k: x for k, x in state.items() if type(k) is str}, **state.get(number, {})}
    own = state.get(index) or {}
    return {**own, **own.get(0, {})}  # heavyball has one for each view of a parameter


def _check_shared(match: Match, state: Mapping[Any, Mapping[str, Any]]) -> None:
    """Raise ValueError if groups differ in a slot that the rule shares among all tensors."""
    for slot in (k for k, s in match.rule.slots.items() if s.shared):
        if len({float(its[slot]) for its in state.values() if slot in its}) > 1:
            raise ValueError(
                f"the checkpoint is invalid; its groups differ in {match.witness.state[slot]!r}, and "
                f"{match.rule.name} has one {slot} for all tensors"
            )


def why_not(match: Match, groups: list[dict[str, Any]]) -> str:
    """The option and group that make the optimizer a different rule, in words; "" if there is none."""
    for number, group in enumerate(groups):
        for option, value in {**match.witness.needs, **match.witness.fixed}.items():
            if option in match.witness.unsaved or option not in group:
                continue
            if _plain(group[option]) != _plain(value):
                return (
                    f"group {number} has {option}={group[option]!r}, and {match.rule.name} is "
                    f"{match.witness.name} with {option}={value!r}"
                )
    return ""


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _given(match: Match, number: int, group: Mapping[str, Any]) -> dict[str, Any]:
    """The rule's hyperparameters that a group sets."""
    given: dict[str, Any] = {}
    for option, names in match.witness.options.items():
        parts = (names,) if isinstance(names, str) else names
        if option in group:
            value = group[option]
            if not isinstance(names, str) and len(value) != len(parts):
                raise ValueError(
                    f"the checkpoint is invalid; its group {number} has {option}={value!r}, and "
                    f"{match.rule.name} has {len(parts)} of these here"
                )
            if isinstance(names, str):
                value = (0.0 if value is None else value,)  # Keras turns weight decay off by None
            given |= zip(parts, value, strict=True)
        elif {*parts} <= {*group}:  # optimi keeps betas as beta1 and beta2
            given |= {part: group[part] for part in parts}
        elif option not in match.witness.unsaved and {*parts} & _read(match.rule):
            # not only an initial value of slots
            raise ValueError(
                f"the checkpoint is invalid; its group {number} does not have {option!r}, as those of "
                f"{match.witness.name} do"
            )
    return given | {k: _said(said, group)[0] for k, said in match.witness.said.items()}


def _read(rule: Rule) -> set[str]:
    """The hyperparameters that a step depends on."""
    graph = trace(rule)
    nodes = graph.needed(graph.live_outputs().values())
    return {n.value for n in nodes if n.op == "hyperparameter"}.union(graph.switches)


def _needed(match: Match, given: Mapping[str, Any]) -> set[str]:
    """The slots that a parameter has in any shape; loading reports other missing ones."""
    graph = trace(match.rule, **given)
    others = DIMENSIONS if graph.by_ndim else ()
    return {*graph.live}.intersection(*(trace(match.rule, None, n, **given).live for n in others))


def _state(
    match: Match,
    known: dict[str, Any],
    needed: set[str],
    index: Any,
) -> dict[str, Any]:
    """A parameter's state under the rule's names, from its state and its group."""
    counted = match.witness.counted
    known = {k: x for k, x in known.items() if x is not None}
    count = next((known[k] for k in _COUNTS if k in known), None)
    if isinstance(counted, str):
        count = _said(counted, known)[0]
    if count is None and not (match.rule.takes_t and counted):
        count = 1  # there is state, so this was not the first step, and nothing else matters
    if count is None:
        raise ValueError(
            f"the checkpoint is invalid; the state of parameter {index} has no count of steps"
        )
    known["t"] = count
    state = {"step": torch.as_tensor(count, dtype=torch.float32)}
    for slot, said in match.witness.state.items():
        value, missing = _said(said, known)
        if value is not None:
            value = _tensor(value)
            state[slot] = value.reshape(()) if match.rule.slots[slot].kind == "scalar" else value
        elif missing and slot in needed:
            raise ValueError(
                f"the checkpoint is invalid; the state of parameter {index} has no {missing!r}, as "
                f"that of {match.witness.name} does"
            )
    return state


def _said(said: str, known: Mapping[str, Any]) -> tuple[Any, str]:
    """Evaluate a name or an expression; if a name in it is unknown, return None and that name."""
    if said in known:
        return known[said], ""
    try:
        return eval(said, {"log": math.log}, dict(known)), ""
    except NameError as error:
        return None, str(error.name)
    except SyntaxError:  # a name with spaces
        return None, said


def _tensor(value: Any) -> torch.Tensor:
    """The value as a tensor; a number keeps all its digits."""
    dtype = torch.float64 if isinstance(value, float) else None
    return torch.as_tensor(value, dtype=dtype)
