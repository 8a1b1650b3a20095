"""Checkpoints: a state_dict of Ravine's Adam is one of torch's, and vice versa.

The state already has torch's form (see state.py). The rest happens inside torch's own `state_dict` and
`load_state_dict`, so that hooks run as usual. Dtypes are kept as saved, whereas torch would cast the state
to the dtype of the parameter.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from ravine.hyperparameters import plain
from ravine.spellings import Spelling
from ravine.torch import evaluation
from ravine.torch.narrow import in_codes, in_format, is_narrow
from ravine.torch.offload import MASTER
from ravine.torch.options import checked_names, with_numbers
from ravine.torch.state import State, Watched, count_tensor, number, started
from ravine.torch.tensors import dimensions

if TYPE_CHECKING:
    from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["load_named_state_dict", "loading", "named_state_dict", "saving"]

# Prefixes that wrappers add to names: torch.compile, DistributedDataParallel, FSDP, checkpointing.
_WRAPPERS = re.compile(
    r"^(?:(?:_orig_mod|module)\.)+|(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)


def named_state_dict(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state_dict, with the model's names instead of numbers.

    The format is that of torch.distributed.checkpoint's get_optimizer_state_dict, whose functions
    can read it, but no step is taken. Also works with torch.optim's classes. Raises ValueError if
    the optimizer has a parameter that is not in the model.

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
    """Load a state_dict by the names of the model's parameters, in any order.

    state_dict: from :func:`named_state_dict`, get_optimizer_state_dict, or an optimizer that was
    created with named parameters. Also works with torch.optim's classes. Raises ValueError, and
    loads nothing, if names, param groups or shapes differ.
    """
    name, names = type(optimizer).__name__, _names_in(model, optimizer)
    there = _names(_checked(state_dict, name))
    if there is None:
        raise ValueError(
            f"{name}: the checkpoint has no parameter names; load it by order, with optimizer.load_state_dict"
        )
    optimizer.load_state_dict(_ordered(state_dict, there, names, name))


@contextmanager
def saving(optimizer: RuleOptimizer) -> Iterator[None]:
    """Within this context, torch's state_dict returns torch's form, which the user's hooks already see."""
    handle = optimizer.register_state_dict_post_hook(
        lambda _, packed: _saved(optimizer, packed), prepend=True
    )
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left = [p for p in optimizer.state if isinstance(p, torch.Tensor) and id(p) not in known]
    whole = optimizer.state
    if left:  # torch raises a KeyError that says nothing
        warnings.warn(
            f"{type(optimizer).__name__}: the state of {len(left)} tensor{'s' * (len(left) > 1)} that no "
            f"param group has is not saved, the first of shape {tuple(left[0].shape)}; was a parameter "
            "replaced? del optimizer.state[old] removes it",
            stacklevel=4,
        )
        some = {p: s for p, s in whole.items() if not any(p is other for other in left)}
        optimizer.state = State(optimizer, some)
    try:
        yield
    finally:
        optimizer.state = whole
        handle.remove()


@contextmanager
def loading(optimizer: RuleOptimizer, keep_options: bool) -> Iterator[None]:
    """Within this context, torch's load_state_dict takes torch's form, after the user's hooks.

    keep_options: load only the state.
    """
    state: dict[Any, Any] = {}
    groups = optimizer.param_groups

    def before(_: Any, saved: dict[str, Any]) -> dict[str, Any]:
        loaded = _loaded(optimizer, saved, keep_options)
        state.update(loaded["state"])
        return {**loaded, "state": {}}  # torch would cast it

    def after(_: Any) -> None:
        if keep_options:
            optimizer.param_groups = groups  # torch has copied them, and the tensors in them
        optimizer.state.update(state)
        optimizer._in_evaluation = evaluation.is_saved_in(state)

    handles = (
        optimizer.register_load_state_dict_pre_hook(before),
        optimizer.register_load_state_dict_post_hook(after, prepend=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# --- out


def _saved(optimizer: RuleOptimizer, packed: dict[str, Any]) -> dict[str, Any]:
    """Convert a state_dict that torch made from Ravine's state to the form of torch's class."""
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
    state = optimizer.state.get(p) or {}
    if not state and spelling.early and not is_lazy(p) and spelling.step == "tensor":
        state = {"step": count_tensor(None, 0, group, p)}
    if not state:
        return state
    # Complete even if an option was switched on since the last step, because loading requires it.
    graph, hyper = optimizer.planned(group, dimensions(p))
    names = {slot: spelling.state_names.get(slot, slot) for slot in graph.live}
    missing = {
        key: started(optimizer, group, graph.rule, slot, optimizer.home(p), hyper)
        for slot, key in names.items()
        if key not in state
    }
    if isinstance(state, Watched):  # a piece of a block would be saved with the whole block
        state = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()}
    # All of it is live, so that it is consistent; a count that is an int is one only in its own dict.
    whole = state if isinstance(state.get("step"), int) else {**state, **missing}
    if any(map(is_narrow, whole.values())):  # loading gives the same codes
        numbers = {k: in_format(x, None, p, k) for k, x in whole.items() if is_narrow(x)}
        return {**whole, **numbers}
    return whole


# --- in


def _loaded(optimizer: RuleOptimizer, saved: dict[str, Any], keep_options: bool) -> dict[str, Any]:
    """A checkpoint's groups in the optimizer's order, and the state of each parameter."""
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
        options = dict(group) if keep_options else _options(optimizer, i, group, its)
        groups.append({**options, "params": its["params"]})
        for j, (p, key) in enumerate(zip(group["params"], its["params"], strict=True)):
            which = repr(names[i][j]) if names is not None else f"{count} (counted from 0)"
            count += 1
            if key in state:
                of = f"{name}: the checkpoint's state of parameter {which}"
                state[p] = _state_for(optimizer, options, p, state.pop(key), of)
    nobodys = [key for key in state if isinstance(key, int)]
    if nobodys:
        raise ValueError(
            f"{name}: the checkpoint has state for {_list(nobodys)}, but no such parameter"
        )
    return {**saved, "state": state, "param_groups": groups}


def _options(
    optimizer: RuleOptimizer, i: int, group: Mapping[str, Any], saved: Mapping[str, Any]
) -> dict[str, Any]:
    """A group's saved options, with the current values of missing ones, if all of these are switches."""
    name, spelling = type(optimizer).__name__, optimizer.spelling_of(group)
    known = {*optimizer.known(group)}
    # Whether autograd sees through the steps does not belong to a checkpoint.
    how = {k: group[k] for k in ("differentiable",) if k in group}
    given = with_numbers(saved, known) | how
    options = spelling.with_parts(group, given)
    other = optimizer.spelling_of(options).name
    if other != spelling.name:
        raise ValueError(
            f"{name}: param group {i} is stepped by {other} in the checkpoint, and by {spelling.name} here"
        )
    rule, _ = spelling.compose(group)
    needed = {*rule.hyperparameters, *spelling.arguments, *spelling.options}
    # Versions of torch differ only in switches, such as foreach; a number means another optimizer.
    missing = [
        k
        for k, v in group.items()
        if k in needed and k not in saved and not isinstance(v, (bool, str, type(None)))
    ]
    if missing:
        raise ValueError(
            f"{name}: the checkpoint is from another optimizer: its param group {i} has no "
            f"{_list(missing)}; it has {_list(k for k in saved if k != 'params')}"
        )
    checked_names({*given} - {*group}, known, name)
    optimizer.check(options)
    return options


def _state_for(
    optimizer: RuleOptimizer,
    options: Mapping[str, Any],
    p: torch.Tensor,
    saved: Mapping[str, Any],
    of: str,
) -> dict[str, Any]:
    spelling = optimizer.spelling_of(options)
    graph, hyper = optimizer.planned(options, dimensions(p))
    slots = {spelling.state_names.get(k, k): k for k in graph.rule.slots}
    if not isinstance(saved, Mapping):
        raise ValueError(f"{of} is {saved!r:.80}; it must be a dict")
    # Where a flattened checkpoint lacks something, set_optimizer_state_dict puts {} there.
    saved = {k: v for k, v in saved.items() if not (isinstance(v, dict) and not v)}
    if not saved:
        return {}
    host = optimizer._offload is not None
    needed = ["step"] * bool(spelling.step)
    needed += [spelling.state_names.get(slot, slot) for slot in graph.live]
    # If torch counts no steps, it may have saved None for a buffer that does not exist yet.
    missing = [k for k in needed if saved.get(k) is None and (k not in saved or spelling.step)]
    if missing:
        raise ValueError(f"{of} has no {_list(missing)}; it has {_list(saved)}")
    state: dict[str, Any] = {}
    codes = {} if is_lazy(p) else in_codes(optimizer, graph, p)
    for key, value in saved.items():
        slot = graph.rule.slots.get(slots.get(key, ""))
        if key == "step":
            state[key] = _count(value, options, p, spelling, of)
        elif key == MASTER:
            if host and isinstance(value, torch.Tensor):
                state[key] = value.detach().to("cpu")
        elif value is None or (slot is None and key != evaluation.KEPT):
            state[key] = value
        elif isinstance(value, torch.Tensor):
            shape: tuple[int, ...] | None = None  # unknown for a lazy parameter
            if not is_lazy(p):
                shape = graph.rule.shape(slots[key], p.shape, **hyper) if slot else p.shape
            state[key] = _array(
                value, p, key, shape, slot is not None and slot.kind == "scalar", of, host
            )
            if slots.get(key) in codes:
                state[key] = in_format(state[key], codes[slots[key]], p, f"{of}: {key!r}")
        elif slot is not None and slot.kind == "scalar" and isinstance(value, (int, float)):
            state[key] = number(float(value))
        else:
            raise ValueError(f"{of} has {key!r}={value!r:.80}; it must be a tensor")
    return state


def _array(
    value: torch.Tensor,
    p: torch.Tensor,
    key: str,
    expected: tuple[int, ...] | None,
    scalar: bool,
    of: str,
    host: bool,
) -> torch.Tensor:
    """A tensor of the state in the form that a step needs: dense, floating point, on the device of p.

    expected: its shape, if known. scalar: whether it is one number. host: whether state is on the CPU.
    """
    if value.layout is not torch.strided or value.is_nested or value.is_quantized:
        kind = "nested" if value.is_nested else value.dtype if value.is_quantized else value.layout
        raise ValueError(f"{of} has {key!r} as a {kind} tensor; it must be dense")
    if value.is_meta and not p.is_meta:
        raise ValueError(f"{of} has {key!r} on the meta device, which has no values")
    if expected is not None and value.shape != expected:
        raise ValueError(
            f"{of} has {key!r} in the shape {tuple(value.shape)}; here the parameter has "
            f"{tuple(p.shape)}, so {key!r} has {tuple(expected)}"
        )
    if value.is_complex() and not p.is_complex():
        raise ValueError(f"{of} has {key!r} in {value.dtype}; the parameter is real")
    if any(n > 1 and not stride for n, stride in zip(value.shape, value.stride(), strict=True)):
        value = value.clone()  # expanded; its elements share memory
    if not (value.is_floating_point() or value.is_complex()):
        value = value.to(torch.float64 if scalar else p.dtype)
    return value if scalar else value.to("cpu" if host else p.device)


def _count(
    value: Any, options: Mapping[str, Any], p: torch.Tensor, spelling: Spelling, of: str
) -> Any:
    """A count of steps in the form used here; ValueError for anything else."""
    taken = plain(value)
    if taken is None or not (0 <= taken <= sys.float_info.max and taken == taken // 1):
        raise ValueError(f"{of} has 'step'={value!r}; it must be a whole number >= 0")
    if spelling.step == "int":
        return int(taken)
    count = count_tensor(value, int(taken), options, p)
    return count.to(p.device) if options.get("capturable") and not p.is_meta else count


# --- names


def _names_in(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """The model's names for the parameters of each group."""
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
    """The names of each group's parameters, if all of them have different names."""
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
    """Convert a checkpoint with names to one without, in the order of the names here."""
    old = {n for names in there for n in names}
    new = {n for names in here for n in names}
    if old != new:
        raise ValueError(
            f"{name}: the checkpoint is for other parameters: {_differ('it lacks', new - old)}"
            f"{_differ('only it has', old - new)}to load it by order, delete 'param_names' from its param "
            "groups"
        )
    left = list(range(len(there)))
    groups: list[dict[str, Any]] = []
    keys: dict[Any, int] = {}
    for i, names in enumerate(here):
        j = next((j for j in left if {*there[j]} == {*names}), None)
        if j is None:
            raise ValueError(
                f"{name}: the checkpoint's parameters are grouped differently: here {_list(names)} are "
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
    keys = saved.keys() if isinstance(saved, Mapping) else ()
    if not {"state", "param_groups"} <= {*keys}:
        raise ValueError(
            f"{name}: this is not an optimizer's state_dict, which has 'state' and 'param_groups'; it "
            f"has {_list(keys)}"
        )
    groups = saved["param_groups"]
    if not (
        isinstance(saved["state"], Mapping)
        and isinstance(groups, Sequence)
        and all(isinstance(group, Mapping) for group in groups)
        and all(isinstance(group.get("params"), Sequence) for group in groups)
    ):
        raise ValueError(
            f"{name}: in an optimizer's state_dict, 'state' is a dict and 'param_groups' a list of dicts, "
            "each with a list of 'params'; here they are not"
        )
    params = [key for group in groups for key in group["params"]]
    odd = next((key for key in params if not isinstance(key, (int, str))), None)
    if odd is not None:
        raise ValueError(
            f"{name}: the checkpoint's param groups have the parameter {odd!r:.80}; parameters are "
            "numbers or names there"
        )
    twice = next((key for key, times in Counter(params).items() if times > 1), None)
    if twice is not None:
        raise ValueError(f"{name}: the checkpoint's param groups have parameter {twice!r} twice")
    for i, group in enumerate(groups):
        names, number_of = group.get("param_names"), len(group["params"])
        if names is not None and not (isinstance(names, Sequence) and len(names) == number_of):
            raise ValueError(
                f"{name}: the checkpoint's param group {i} has {number_of} parameters and "
                f"'param_names'={names!r:.80}"
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
