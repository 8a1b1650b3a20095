"""Checkpoints: a state_dict of Ravine's Adam is one of torch's, and the other way round.

The fast path counts steps in Python ints and keeps scalar slots as Python floats; torch.optim saves
both in tensors, or not at all. What is what is said by a class's spelling, and translated here, inside
of torch's own `state_dict` and `load_state_dict`, so that hooks run as ever. Dtypes are kept as they
were saved: torch would cast the state to the dtype of the parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ravine.rule import Slot
from ravine.torch.tensors import as_real

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["load_named_state_dict", "loading", "named_state_dict", "saving", "started"]

# What wrappers put into names: torch.compile, DistributedDataParallel, FSDP, activation checkpoints.
_WRAPPERS = re.compile(
    r"^(?:(?:_orig_mod|module)\.)+|(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_EXACT = 2**24  # float32 has all whole numbers up to here


def named_state_dict(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state_dict with the model's names in the place of numbers.

    As torch.distributed.checkpoint's get_optimizer_state_dict, whose functions read it too, but no
    step is taken. Works with torch.optim's classes as well. Raises ValueError if the optimizer has a
    parameter that the model has not.

    >>> import torch, ravine.torch
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = ravine.torch.Adam(model.parameters())
    >>> ravine.torch.named_state_dict(model, optimizer)["param_groups"][0]["params"]
    ['weight', 'bias']
    """
    saved = optimizer.state_dict()
    groups, names = saved["param_groups"], _names_in(model, optimizer)
    name = {
        key: name
        for group, its in zip(groups, names, strict=True)
        for key, name in zip(group["params"], its, strict=True)
    }
    return {
        **saved,
        "state": {name.get(key, key): state for key, state in saved["state"].items()},
        "param_groups": [{**g, "params": its} for g, its in zip(groups, names, strict=True)],
    }


def load_named_state_dict(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, state_dict: Mapping[str, Any]
) -> None:
    """Load a state_dict by the names of the model's parameters, in whatever order they are.

    state_dict: from :func:`named_state_dict`, get_optimizer_state_dict, or an optimizer that was made
    with named parameters. Works with torch.optim's classes as well. Raises ValueError, and loads
    nothing, if names, param groups or shapes differ.
    """
    name, names = type(optimizer).__name__, _names_in(model, optimizer)
    there = _names(_checked(state_dict, name))
    if there is None:
        raise ValueError(
            f"{name}: the checkpoint has no names of parameters; load it by their order, with "
            "optimizer.load_state_dict"
        )
    optimizer.load_state_dict(_ordered(state_dict, there, names, name))


@contextmanager
def saving(optimizer: RuleOptimizer) -> Iterator[None]:
    """Within it, torch's state_dict gives torch's form, which hooks of the user's see already."""
    handle = optimizer.register_state_dict_post_hook(
        lambda _, packed: _saved(optimizer, packed), prepend=True
    )
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def loading(optimizer: RuleOptimizer) -> Iterator[None]:
    """Within it, torch's load_state_dict takes torch's form, as hooks of the user's have left it."""
    state: dict[Any, Any] = {}

    def before(_: Any, saved: dict[str, Any]) -> dict[str, Any]:
        loaded = _loaded(optimizer, saved)
        state.update(loaded["state"])
        return {**loaded, "state": {}}  # torch would cast it

    def after(_: Any) -> None:
        optimizer.state.update(state)

    handles = (
        optimizer.register_load_state_dict_pre_hook(before),
        optimizer.register_load_state_dict_post_hook(after, prepend=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Loaded(float):
    """A number that a checkpoint has in a tensor: until it changes, it goes back as it was."""

    dtype = torch.float64


# --- out


def _saved(optimizer: RuleOptimizer, packed: dict[str, Any]) -> dict[str, Any]:
    """A state_dict as torch made it of Ravine's state, in the form that torch's class would give it."""
    groups, state = [], {}
    others = dict(packed["state"])
    for group, its in zip(optimizer.param_groups, packed["param_groups"], strict=True):
        groups.append({**its, **optimizer.spelling_of(group).besides})
        for p, key in zip(group["params"], its["params"], strict=True):
            others.pop(key, None)
            saved = _state_of(optimizer, group, p)
            if saved:
                state[key] = saved
    return {**packed, "state": state | others, "param_groups": groups}


def _state_of(
    optimizer: RuleOptimizer, group: Mapping[str, Any], p: torch.Tensor
) -> dict[str, Any]:
    spelling = optimizer.spelling_of(group)
    state = dict(optimizer.state.get(p) or ({"step": 0} if spelling.early else {}))
    if not state:
        return state
    # Complete, also where an option was switched on since the last step: loading insists on it.
    graph, hyper = optimizer.planned(group, p)
    for slot in graph.live:
        key = spelling.state_names.get(slot, slot)
        if key not in state:
            state[key] = started(optimizer, graph.rule.slots[slot], p, hyper)
    if spelling.step == "tensor":
        return {k: _boxed(k, v, group, p) for k, v in state.items()}
    if not spelling.step and optimizer.seed is None:  # by which roundings are drawn anew each step
        state.pop("step", None)
    return state


def started(optimizer: RuleOptimizer, slot: Slot, p: torch.Tensor, hyper: Mapping[str, Any]) -> Any:
    """A slot before the first step of p, in the dtype that the optimizer's state has."""
    made = slot.init(as_real(p.detach()), **hyper)
    if not isinstance(made, torch.Tensor):
        return made
    dtype = optimizer._how.get("state_dtype")
    if p.is_complex() and dtype is not None:
        raise ValueError(
            f"{type(optimizer).__name__}: state_dtype={dtype} is not accepted with complex parameters; "
            "leave it out"
        )
    made = torch.view_as_complex(made) if p.is_complex() else made
    return made.to(dtype or made.dtype)


def _boxed(key: str, value: Any, group: Mapping[str, Any], p: torch.Tensor) -> Any:
    """A number in a tensor, as torch has it. Slots are in float64: a resumed run has the same bits."""
    if key == "step":
        narrow = group.get("fused") or torch.get_default_dtype() != torch.float64
        dtype = torch.float32 if narrow and value <= _EXACT else torch.float64
        device = p.device if group.get("fused") or group.get("capturable") else None
        return torch.tensor(float(value), dtype=dtype, device=device)
    if isinstance(value, float):
        return torch.tensor(value, dtype=getattr(value, "dtype", torch.float64))
    return value


# --- in


def _loaded(optimizer: RuleOptimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's groups in the order of the optimizer's, and the state of each parameter."""
    name, here = type(optimizer).__name__, optimizer.param_groups
    there, names = _names(_checked(saved, name)), _names({"param_groups": here})
    if there is not None and names is not None:
        saved = _ordered(saved, there, names, name)
    sizes = [[len(group["params"]) for group in groups] for groups in (saved["param_groups"], here)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"{name}: the checkpoint has param groups of {_counts(sizes[0])} parameters, and here they "
            f"are of {_counts(sizes[1])}"
        )
    groups, state, count = [], dict(saved["state"]), 0
    for i, (group, its) in enumerate(zip(here, saved["param_groups"], strict=True)):
        options = _options(optimizer, i, group, its)
        groups.append(options)
        for j, (p, key) in enumerate(zip(group["params"], its["params"], strict=True)):
            which = repr(names[i][j]) if names is not None else f"{count} (counted from 0)"
            count += 1
            if key in state:
                of = f"{name}: the checkpoint's state of parameter {which}"
                state[p] = _state_for(optimizer, options, p, state.pop(key), of)
    return {**saved, "state": state, "param_groups": groups}


def _options(
    optimizer: RuleOptimizer, i: int, group: Mapping[str, Any], saved: Mapping[str, Any]
) -> dict[str, Any]:
    """A group's saved options, and those of here that it has not, if they are none but switches."""
    name, spelling = type(optimizer).__name__, optimizer.spelling_of(group)
    options = {**group, **saved}
    other = optimizer.spelling_of(options).name
    if other != spelling.name:
        raise ValueError(
            f"{name}: param group {i} is stepped by {other} in the checkpoint, and by {spelling.name} here"
        )
    rule, _ = spelling.compose(group, 2 if spelling.by_ndim else None)
    needed = {*rule.hyperparameters, *spelling.arguments, *spelling.options}
    # Versions of torch differ in switches only, such as foreach; a number is another optimizer's.
    missing = [
        k
        for k, v in group.items()
        if k in needed and k not in saved and not isinstance(v, (bool, str, type(None)))
    ]
    if missing:
        raise ValueError(
            f"{name}: the checkpoint is another optimizer's: its param group {i} has no "
            f"{_list(missing)}; it has {_list(k for k in saved if k != 'params')}"
        )
    return options


def _state_for(
    optimizer: RuleOptimizer,
    options: Mapping[str, Any],
    p: torch.Tensor,
    saved: Mapping[str, Any],
    of: str,
) -> dict[str, Any]:
    spelling = optimizer.spelling_of(options)
    graph, _ = optimizer.planned(options, p)
    slots = {spelling.state_names.get(k, k): slot for k, slot in graph.rule.slots.items()}
    # Where a flattened checkpoint lacks something, set_optimizer_state_dict puts {} there.
    saved = {k: v for k, v in saved.items() if not (isinstance(v, dict) and not v)}
    if not saved:
        return {}
    needed = ["step"] * bool(spelling.step)
    needed += [spelling.state_names.get(slot, slot) for slot in graph.live]
    missing = [k for k in needed if k not in saved]
    if missing:
        raise ValueError(f"{of} has no {_list(missing)}; it has {_list(saved)}")
    state: dict[str, Any] = {}
    for key, value in saved.items():
        slot = slots.get(key)
        if key == "step":
            state[key] = int(value)
        elif not isinstance(value, torch.Tensor):
            state[key] = value
        elif slot is not None and slot.kind == "scalar" and not value.requires_grad:
            state[key] = value.item()
            if spelling.step == "tensor":
                state[key] = _Loaded(state[key])
                state[key].dtype = value.dtype
        else:
            expected = _shape(slot, p) if slot is not None else value.shape
            if value.shape != expected:
                raise ValueError(
                    f"{of} has {key!r} in the shape {tuple(value.shape)}; here the parameter has "
                    f"{tuple(p.shape)}, so {key!r} has {tuple(expected)}"
                )
            state[key] = value.to(p.device)
    return state


def _shape(slot: Slot, p: torch.Tensor) -> torch.Size:
    shape = [] if slot.kind == "scalar" else list(p.shape)
    if slot.axis is not None:
        shape[slot.axis] = 1
    return torch.Size(shape)


# --- names


def _names_in(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """What the model calls the parameters of each group."""
    names = {p: _WRAPPERS.sub("", name) for name, p in model.named_parameters()}
    for i, group in enumerate(optimizer.param_groups):
        for j, p in enumerate(group["params"]):
            if p not in names:
                raise ValueError(
                    f"{type(optimizer).__name__}: parameter {j} of param group {i}, of shape "
                    f"{tuple(p.shape)}, is not in the model, so it has no name"
                )
    return [[names[p] for p in group["params"]] for group in optimizer.param_groups]


def _names(saved: Mapping[str, Any]) -> list[list[str]] | None:
    """What the parameters of each group are called, if all of them have names of their own."""
    names = []
    for group in saved["param_groups"]:
        params = group["params"]
        named = all(isinstance(key, str) for key in params)
        its = params if named else group.get("param_names", [])
        if len(its) != len(params):
            return None
        names.append([_WRAPPERS.sub("", name) for name in its])
    every = [name for its in names for name in its]
    return names if every and len({*every}) == len(every) else None


def _ordered(
    saved: Mapping[str, Any], there: Sequence[Sequence[str]], here: list[list[str]], name: str
) -> dict[str, Any]:
    """A checkpoint with names as one without, in the order of the names here."""
    old = {n for names in there for n in names}
    new = {n for names in here for n in names}
    if old != new:
        raise ValueError(
            f"{name}: the checkpoint is of other parameters: {_differ('it lacks', new - old)}"
            f"{_differ('only it has', old - new)}load_state_dict goes by order once 'param_names' are "
            "deleted from its param groups"
        )
    left = list(range(len(there)))
    groups: list[dict[str, Any]] = []
    keys: dict[Any, int] = {}
    for i, names in enumerate(here):
        j = next((j for j in left if {*there[j]} == {*names}), None)
        if j is None:
            raise ValueError(
                f"{name}: the checkpoint's parameters are grouped otherwise: here {_list(names)} are "
                f"param group {i}, and there are "
                f"{' and '.join(_list(its) for its in there if {*its} & {*names}) or 'no such group'}"
            )
        left.remove(j)
        group = saved["param_groups"][j]
        key = dict(zip(there[j], group["params"], strict=True))
        numbers = range(len(keys), len(keys) + len(names))
        keys.update(zip((key[n] for n in names), numbers, strict=True))
        options = {k: v for k, v in group.items() if k != "param_names"}
        groups.append({**options, "params": list(numbers)})
    state = {keys.get(k, k): v for k, v in saved["state"].items()}
    return {**saved, "state": state, "param_groups": groups}


# --- words


def _checked(saved: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not {"state", "param_groups"} <= saved.keys():
        raise ValueError(
            f"{name}: this is not an optimizer's state_dict, which has 'state' and 'param_groups'; it "
            f"has {_list(saved)}"
        )
    return saved


def _counts(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def _list(names: Any, most: int = 8) -> str:
    shown = [repr(name) for name in names]
    more = [f"{len(shown) - most} more"] if len(shown) > most else []
    return ", ".join(shown[:most] + more) or "nothing"


def _differ(what: str, names: set[str]) -> str:
    return f"{what} {_list(sorted(names))}; " if names else ""
