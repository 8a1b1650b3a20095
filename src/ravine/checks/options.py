"""The names that packages give their hyperparameters, and Ravine's names for them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = [
    "SURE",
    "Option",
    "arguments",
    "as_given",
    "number_of",
    "options",
    "rounding",
    "signature",
]

NAMES: Mapping[str, str] = {
    "learning_rate": "lr",
    "learning_rate_init": "lr",
    "stepsize": "lr",
    "step_size": "lr",
    "eta": "lr",
    "beta_1": "beta1",
    "beta_2": "beta2",
    "beta_3": "beta3",
    "b1": "beta1",
    "b2": "beta2",
    "b3": "beta3",
    "exp_decay1": "beta1",
    "exp_decay2": "beta2",
    "epsilon": "eps",
    "e": "eps",
    "wd": "weight_decay",
    "mu": "momentum",
    "mass": "momentum",
    "initial_accumulator_value": "v0",
    "initial_scale": "v0",
}
"""Names that mean the same in every package; a name that is not here is kept."""
TUPLES: Mapping[str, tuple[str, ...]] = {
    "betas": ("beta1", "beta2", "beta3"),
    "beta": ("beta1", "beta2", "beta3"),
    "etas": ("eta_minus", "eta_plus"),
    "step_sizes": ("step_min", "step_max"),
    "ns_coefficients": ("ns_a", "ns_b", "ns_c"),
    "nus": ("nu1", "nu2"),
    "eps": ("eps1", "eps2"),
}
"""The meanings of a tuple's elements."""
SURE = ("lr", "beta1", "beta2", "eps", "momentum", "rho", "weight_decay", "dampening")
"""Hyperparameters that act in every step of every rule that has them."""


@dataclass(frozen=True)
class Option:
    """A hyperparameter that an optimizer takes.

    name: Ravine's. argument: the optimizer's. place: its index in a tuple, if it is part of one. value:
    the default; None if it must be given. besides: other arguments that are the same number in the rule,
    like eps and eps_root of optax.adabelief.
    """

    name: str
    argument: str
    place: int | None = None
    value: float | bool | None = None
    besides: tuple[str, ...] = ()

    @property
    def spelt(self) -> str:
        """The optimizer's name for it: "betas[0]"."""
        return self.argument if self.place is None else f"{self.argument}[{self.place}]"


def signature(maker: Any) -> dict[str, inspect.Parameter]:
    """The arguments that something takes by name.

    For a class that takes `**options`, also those of its bases, and those for which its `update` or `step`
    has defaults, because the options end up there.
    """
    try:
        found = dict(inspect.signature(maker).parameters)
    except (TypeError, ValueError):
        return {}
    kinds = inspect.Parameter
    for k, p in found.items():
        if type(p.default).__name__ == "_RequiredParameter":  # torch.optim.optimizer.required
            found[k] = p.replace(default=p.empty)
    more = [k for k, p in found.items() if p.kind in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)]
    open_ended = any(found[k].kind is kinds.VAR_KEYWORD for k in more)
    for k in more:
        del found[k]
    if open_ended and isinstance(maker, type):
        where = [vars(base)["__init__"] for base in maker.__mro__[1:-1] if "__init__" in vars(base)]
        where += [getattr(maker, name) for name in ("update", "step") if hasattr(maker, name)]
        for function in where:
            for k, p in inspect.signature(function).parameters.items():
                if p.default is not p.empty and p.default is not None:
                    found.setdefault(k, p.replace(kind=kinds.KEYWORD_ONLY))
    return found


def options(
    parameters: Mapping[str, inspect.Parameter],
    given: Mapping[str, Any],
    known: Mapping[str, str | tuple[str, ...]] | None = None,
) -> dict[str, Option]:
    """The hyperparameters among the arguments of a maker, by Ravine's names.

    given: the requested arguments, by the maker's names, which replace the defaults. known: the rule's names
    for its arguments, if the rule is known.
    """
    found: dict[str, Option] = {}
    known = known or {}
    every = {k: given.get(k, p.default) for k, p in parameters.items()}
    every |= {k: v for k, v in given.items() if k not in every}
    for argument in sorted(every, key=lambda k: k not in known):
        value = every[argument]
        if isinstance(value, (tuple, list)):
            its = known.get(argument, ())
            names = TUPLES.get(argument, ()) if isinstance(its, str) or not its else its
            for i, x in enumerate(value):
                name = names[i] if i < len(names) else f"{argument}{i + 1}"
                number = number_of(x)
                if number is not None:
                    found.setdefault(name, Option(name, argument, i, number))
            continue
        number = number_of(value)
        its = known.get(argument, "")
        name = its if isinstance(its, str) and its else _named(argument, every)
        open_ = value is inspect.Parameter.empty or (value is None and name == "lr")
        if argument in known and name in found and found[name].argument in known:
            found[name] = replace(found[name], besides=(*found[name].besides, argument))
            continue
        if number is not None or (open_ and (name != argument or name == "lr")):
            name = (
                name if name not in found else argument if argument not in found else f"{argument}_"
            )
            found[name] = Option(name, argument, None, number)
    order = [*every]
    return dict(sorted(found.items(), key=lambda x: (order.index(x[1].argument), x[1].place or 0)))


def _named(argument: str, every: Mapping[str, Any]) -> str:
    """Ravine's name for an argument; alpha is lr if there is no other, and the number is small."""
    if argument == "alpha" and not any(NAMES.get(k, k) == "lr" for k in every):
        number = number_of(every[argument])
        return "lr" if number is not None and number < 0.5 else argument
    return NAMES.get(argument, argument)


def number_of(value: Any) -> float | bool | None:
    """The number in a value, which may be an array, as in lr=torch.tensor(1e-3); None if there is none."""
    if isinstance(value, (bool, int, float)):
        return value
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        number = value.item()
        return number if isinstance(number, (bool, int, float)) else None
    return None


def rounding(value: Any) -> float:
    """The rounding unit of a given number, or of the coarsest of several: 0 for Python's own."""
    if isinstance(value, (tuple, list)):
        return max(map(rounding, value), default=0.0)
    return _UNITS.get(str(getattr(value, "dtype", "")).rpartition(".")[2], 0.0)


_UNITS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}


def as_given(number: float | bool, given: Any) -> Any:
    """A number in the form of another value: a float64 tensor if that is a tensor."""
    if isinstance(given, (bool, int, float)) or number_of(given) is None:
        return number
    return given.double().new_tensor(number) if hasattr(given, "new_tensor") else number


def arguments(text: str) -> dict[str, Any]:
    """Parse arguments written as in a call: "lr=1e-3, betas=(0.9, 0.99)".

    Raises ValueError for anything else.
    """
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if (
            not isinstance(call, ast.Call)
            or not isinstance(call.func, ast.Name)
            or call.args
            or None in [k.arg for k in call.keywords]
        ):
            raise ValueError
        return {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError):
        raise ValueError(
            f"arguments {text!r} are invalid; write them as in a call: lr=1e-3, betas=(0.9, 0.99)"
        ) from None
