"""The state of Keras's optimizers as a checkpoint for the rule that takes the same path, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ravine import elsewhere, registry, spellings
from ravine.elsewhere import Match
from ravine.torch.converting import convert, why_not

__all__ = ["from_keras", "keras_state_dict", "to_keras"]

_OFF = {
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "gradient_accumulation_steps": None,
    "loss_scale_factor": None,
    "use_ema": False,
}
"""Options of every Keras optimizer that change its path; no rule here includes them."""


def from_keras(optimizer: Any, params: Iterable[Any]) -> dict[str, Any]:
    """Convert the state and options of a Keras optimizer to a checkpoint for the equivalent rule.

    optimizer: after at least one step, with any backend of Keras 3. params: the variables that it
    steps, such as `model.trainable_variables`; parameter i of the checkpoint is the i-th of them.
    `ravine which keras.Adam` names the rule, and an optimizer for that rule loads the result:
    `ravine.torch.optimizer("adam_eps_hat")(tensors).load_state_dict(from_keras(optimizer, params))`.
    Arrays are copied, and keep their shapes: Keras stores a Dense kernel as the transpose of
    torch's weight. Raises LookupError if no rule is known to be equivalent, and ValueError if an
    option makes the rule a different one, or if the optimizer has taken no step with these variables.
    """
    return convert(keras_state_dict(optimizer, params), from_=_name(optimizer))


def to_keras(checkpoint: Mapping[str, Any], optimizer: Any, params: Iterable[Any]) -> None:
    """Load the state in a rule's checkpoint into a Keras optimizer that takes the same path.

    checkpoint: the `state_dict()` of an optimizer from :func:`ravine.torch.optimizer`, or of the
    class in torch.optim that is the same rule. optimizer: its options stay as they are. It is built
    if it is not yet. params: as in :func:`from_keras`. Raises LookupError if no rule is known to be
    equivalent, and ValueError if parameters, state or shapes do not match; then nothing is loaded.
    """
    variables = [*params]
    if not optimizer.built:
        optimizer.build(variables)
    match, known = _match(optimizer), checkpoint["state"]
    if {*known} != {*range(len(variables))}:
        raise ValueError(
            f"to_keras: the checkpoint has state for parameters {sorted(known)}, and params has "
            f"{len(variables)}"
        )
    found: list[tuple[Any, np.ndarray]] = []
    for i, own in enumerate(_slots(optimizer, variables)):
        for slot, said in match.witness.state.items():
            into = own.get(said.removeprefix("-"))
            name = next((x for x in spellings.called(slot) if x in known[i]), None)
            if into is None and name is None:
                continue
            if into is None or name is None:
                raise ValueError(
                    f"to_keras: parameter {i} has {slot!r} in only one of checkpoint and optimizer; "
                    f"the checkpoint must be one of {match.rule.name}, with the same options"
                )
            value = known[i][name].detach().cpu().double().numpy()
            if value.shape != tuple(into.shape):
                raise ValueError(
                    f"to_keras: {slot} of parameter {i} has shape {value.shape}; it must be "
                    f"{tuple(into.shape)}"
                )
            found.append((into, -value if said.startswith("-") else value))
    counts = {int(own["step"]) for own in known.values() if "step" in own}
    if len(counts) > 1:
        raise ValueError(
            f"to_keras: parameters have taken {', '.join(map(str, sorted(counts)))} steps, but Keras has one "
            "count for all"
        )
    for variable, value in found:
        variable.assign(value.astype(np.float64 if "64" in str(variable.dtype) else np.float32))
    for count in counts:
        optimizer.iterations.assign(count)


def keras_state_dict(optimizer: Any, params: Iterable[Any]) -> dict[str, Any]:
    """The state and options of a Keras optimizer in the format of torch's `state_dict()`.

    The names are those of Keras. See :func:`from_keras`, which also translates them.
    """
    config = _config(optimizer)
    for option, off in _OFF.items():
        if config.get(option, off) not in (off, 0):
            raise ValueError(
                f"from_keras: {type(optimizer).__name__} has {option}={config[option]!r}; it can be "
                f"converted only with {option}={off!r}"
            )
    variables = [*params]
    steps = int(optimizer.iterations)
    if not steps:
        raise ValueError("from_keras: the optimizer has taken no step, so there is no state")
    state = {
        i: {
            "step": torch.tensor(float(steps)),
            **{name: torch.from_numpy(_array(x)) for name, x in own.items()},
        }
        for i, own in enumerate(_slots(optimizer, variables))
    }
    options = {k: v for k, v in config.items() if isinstance(v, (bool, int, float, type(None)))}
    # Kept in the precision of the model: 0.1 as 0.10000000149. A schedule gives its present value.
    rate = _array(optimizer.learning_rate)
    options["learning_rate"] = float(str(rate))
    return {"state": state, "param_groups": [{**options, "params": [*range(len(variables))]}]}


def _name(optimizer: Any) -> str:
    return f"keras.optimizers.{type(optimizer).__name__}"


def _config(optimizer: Any) -> dict[str, Any]:
    """Its options; no weight decay is None, as in Keras's defaults."""
    config = optimizer.get_config()
    return {**config, "weight_decay": config.get("weight_decay") or None}


def _array(variable: Any) -> np.ndarray:
    """A copy, from any backend."""
    from keras import ops

    found = np.array(ops.convert_to_numpy(variable))
    return found if found.dtype.kind == "f" else found.astype(np.float32)  # NumPy has no bfloat16


def _match(optimizer: Any) -> Match:
    """The rule that a Keras optimizer is with its options."""
    config = _config(optimizer)
    found = elsewhere.matches(_name(optimizer), registry.own().values())
    for match in found:
        if (match.witness.state or not match.rule.slots) and not why_not(match, [config]):
            return match
    raise LookupError(
        f"to_keras: no rule is known to be {type(optimizer).__name__} with these options"
    )


def _slots(optimizer: Any, params: list[Any]) -> Iterator[dict[str, Any]]:
    """For each parameter, the optimizer's variables that belong to it, by the ends of their names.

    Keras names them after the parameter's path, which several parameters may have in common; they
    are in the order of the parameters then. One that is for all of them, Nadam's product, has no
    such name.
    """
    paths = [f"{optimizer.name}/{p.path.replace('/', '_')}_" for p in params]
    every: dict[str, list[Any]] = {}
    shared = {}
    for variable in optimizer.variables[2:]:  # after the count of steps and the learning rate
        every.setdefault(variable.path, []).append(variable)
        if not any(variable.path.startswith(path) for path in paths):
            shared["u_product"] = variable
    for i, path in enumerate(paths):
        place, longer = paths[:i].count(path), {x for x in paths if len(x) > len(path)}
        own = {
            name.removeprefix(path): row[place]
            for name, row in every.items()
            if name.startswith(path) and len(row) > place and not name.startswith((*longer,))
        }
        yield {**own, **shared}
