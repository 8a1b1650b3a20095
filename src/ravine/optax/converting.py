"""Converts the state of optax's and torch's optimizers to that of the equivalent rule, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ravine import registry, spellings
from ravine.cards import Witness
from ravine.engines.eager import plan
from ravine.optax.transforming import RuleState, flat
from ravine.rule import Rule

__all__ = ["from_optax", "from_torch", "to_optax", "to_torch"]


def from_optax(state: Any, rule: Rule | str, **hyperparameters: Any) -> RuleState:
    """Convert the state of an optax optimizer to that of the equivalent rule.

    state: as returned by its `update`, in a chain or alone. rule: the rule, or its name; `ravine
    which optax.adam` finds it. hyperparameters: those that differ from the defaults. Arrays are not
    copied. Raises LookupError if no optimizer in optax is known to be equivalent, and ValueError if
    something is missing from the state.
    """
    made = registry.get(rule) if isinstance(rule, str) else rule
    witness, fields = _same(made), dict(_fields(state))
    live = plan(made, made.check(**hyperparameters)).live
    names = {slot: said for slot, said in witness.state.items() if slot in live}
    lacking = [x for said in names.values() if (x := said.removeprefix("-")) not in fields]
    if lacking:
        raise ValueError(
            f"from_optax: the state has no {lacking[0]!r}, which that of {witness.name} has"
        )
    # Where optax does not count, it only matters that this was not the first step.
    count = jnp.asarray(fields.get("count", 1), jnp.int32)
    slots = {k: _signed(fields[said.removeprefix("-")], said) for k, said in names.items()}
    return RuleState(count, slots, {})


def to_optax(state: RuleState, like: Any, rule: Rule | str) -> Any:
    """Convert the state of a rule to that of the equivalent optax optimizer.

    like: what its `init` returns for the same parameters. rule: as in :func:`from_optax`. Raises
    LookupError as that does, and ValueError if some gradients came late, which optax's state cannot
    express.
    """
    if state.late:
        raise ValueError(
            f"to_optax: {', '.join(state.late)} had no gradient in some updates, but optax has one count for "
            "all parameters"
        )
    witness = _same(rule)
    known = {
        said.removeprefix("-"): _signed(state.slots[slot], said)
        for slot, said in witness.state.items()
        if slot in state.slots
    }
    return _filled(like, {**known, "count": state.count})


def from_torch(
    saved: Mapping[Any, Mapping[str, Any]],
    params: Any,
    numbers: Any,
    rule: Rule | str,
    **hyperparameters: Any,
) -> RuleState:
    """Convert the state of a torch optimizer to that of a rule.

    saved: the "state" of its `state_dict()`, from torch.optim or ravine.torch. params: the
    parameters in JAX. numbers: a tree like params, with the parameters' indices in the checkpoint:
    {"w": 0, "b": 1}. rule, hyperparameters: as in `transformation`. Raises ValueError if a shape
    differs (flax stores a Dense kernel as the transpose of torch's weight: transpose it first), or
    if something is missing.
    """
    rule = (registry.get(rule) if isinstance(rule, str) else rule).fitting(hyperparameters)
    values = rule.check(**hyperparameters)
    paths, tree = flat(params)
    rows: dict[str, list[Any]] = {slot: [] for slot in rule.slots}
    steps: list[int] = []
    for (path, p), number in zip(paths, tree.flatten_up_to(numbers), strict=True):
        if number not in saved:
            raise ValueError(f"from_torch: saved has no parameter {number!r}, only {[*saved]}")
        theirs, live = saved[number], plan(rule, values, None, jnp.ndim(p)).live
        steps.append(int(theirs.get("step", 1)))
        for slot, row in rows.items():
            name = next((x for x in spellings.called(slot) if x in theirs), "")
            if slot in live and not name:
                raise ValueError(f"from_torch: the state of parameter {number!r} has no {slot!r}")
            row.append(_array(theirs[name], rule, slot, path, p, values) if slot in live else None)
    slots = {
        slot: row[0] if rule.slots[slot].shared else tree.unflatten(row)
        for slot, row in rows.items()
        if any(x is not None for x in row)
    }
    most = max(steps, default=0)
    late = {
        jax.tree_util.keystr(path): jnp.int32(most - taken)
        for (path, _), taken in zip(paths, steps, strict=True)
        if taken < most
    }
    return RuleState(jnp.int32(most), slots, late)


def to_torch(state: RuleState, numbers: Any, *, to: str = "") -> dict[Any, dict[str, Any]]:
    """Convert the state of a rule to the "state" of a torch optimizer's `state_dict()`.

    numbers: as in :func:`from_torch`. to: a class in torch.optim, whose names for the state are
    used ("Adam": `exp_avg`); by default they are the rule's, as in the classes that
    :func:`ravine.torch.optimizer` makes.
    """
    import torch

    names: Mapping[str, str] = {}
    if to:
        known = {x.name: x for x in vars(spellings).values() if isinstance(x, spellings.Spelling)}
        if to not in known:
            raise ValueError(
                f"to_torch: to={to!r} is invalid; it must be one of {', '.join(known)}"
            )
        names = known[to].state_names
    paths, tree = flat(numbers)
    made: dict[Any, dict[str, Any]] = {}
    for path, number in paths:
        taken = int(state.count) - int(state.late.get(jax.tree_util.keystr(path), 0))
        made[number] = {"step": torch.tensor(float(taken))}
    for slot, kept in state.slots.items():
        shared = isinstance(kept, jax.Array) and len(paths) > 1
        row = [kept] * len(paths) if shared else tree.flatten_up_to(kept)
        for (_, number), x in zip(paths, row, strict=True):
            if x is not None:
                wide = np.array(x, np.float64 if x.dtype == jnp.float64 else np.float32)
                like = getattr(torch, str(x.dtype))
                made[number][names.get(slot, slot)] = torch.from_numpy(wide).to(like)
    return made


def _same(rule: Rule | str) -> Witness:
    """The witness for the optax optimizer that is equivalent to a rule and has the same state."""
    made = registry.get(rule) if isinstance(rule, str) else rule
    for witness in made.card.witnesses:
        if witness.distribution == "optax" and (witness.state or not made.slots):
            return witness
    raise LookupError(f"rule {made.name!r}: no optimizer of optax is known to have the same state")


def _signed(tree: Any, said: str) -> Any:
    """The value of a card's entry: a field, or minus a field."""
    return jax.tree.map(jnp.negative, tree) if said.startswith("-") else tree


def _fields(state: Any) -> Iterator[tuple[str, Any]]:
    """The fields of all named tuples in a state, inner ones last."""
    if isinstance(state, tuple):
        yield from zip(getattr(state, "_fields", ()), state, strict=False)
        for part in state:
            yield from _fields(part)


def _filled(state: Any, known: Mapping[str, Any]) -> Any:
    """A state with other values in some fields."""
    if not isinstance(state, tuple):
        return state
    if hasattr(state, "_fields"):
        pairs = zip(state._fields, state, strict=True)
        return type(state)(*(known[k] if k in known else _filled(x, known) for k, x in pairs))
    return tuple(_filled(x, known) for x in state)


def _array(x: Any, rule: Rule, slot: str, path: Any, p: Any, values: Mapping[str, Any]) -> Any:
    wide = jnp.promote_types(p.dtype, jnp.float32)
    if rule.slots[slot].kind == "scalar":
        return jnp.asarray(float(x), wide)
    shape = rule.shape(slot, p.shape, **values)
    if tuple(x.shape) != shape:
        raise ValueError(
            f"from_torch: {slot} of {jax.tree_util.keystr(path) or 'params'} has shape {tuple(x.shape)}; "
            f"it must be {shape}"
        )
    # A copy: JAX would read the memory that torch steps in place.
    return jnp.array(x.detach().cpu().double().numpy(), p.dtype, copy=True)
