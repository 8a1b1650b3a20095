"""One optimizer in which every param group names its own rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any

from ravine import registry
from ravine.hyperparameters import HYPERPARAMETERS
from ravine.naming import typo
from ravine.signature import nearest
from ravine.spellings import Spelling, options_of, spelling_of
from ravine.torch import classes
from ravine.torch.layers import settled
from ravine.torch.options import Options, checked_names
from ravine.torch.rule_optimizer import RuleOptimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ravine.torch.checks import How

__all__ = ["Mixed"]


class Mixed(RuleOptimizer):
    """One optimizer that steps each param group by the rule that the group names.

    params: dicts as for any torch optimizer, each with a "rule": the name of a class, such as
    "AdamW" or "Muon", or of a rule, as :func:`ravine.get` accepts it: "adam", "heavy ball",
    "l2(sgd)". A group's other keys are arguments of that class; missing ones have its defaults.
    Schedulers, hooks and checkpoints see one optimizer. Raises ValueError, naming the group, for an
    unknown rule and for an option that the rule does not have. Keys that are not options of any
    rule are ignored.

    >>> import torch, ravine.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    >>> matrices = [p for p in model.parameters() if p.ndim == 2]
    >>> vectors = [p for p in model.parameters() if p.ndim == 1]
    >>> optimizer = ravine.torch.Mixed([
    ...     {"params": matrices, "rule": "SGD", "lr": 0.02, "momentum": 0.95},
    ...     {"params": vectors, "rule": "AdamW", "lr": 3e-4},
    ... ])
    """

    def __init__(self, params: Any, **how: Unpack[How]) -> None:
        super().__init__(params, {}, **how)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with the rule that steps them; missing options have that rule's defaults."""
        if not isinstance(param_group, dict) or "rule" not in param_group:
            raise ValueError(
                "Mixed: a param group names its rule, as "
                '{"params": [...], "rule": "AdamW", "lr": 3e-4}; one has '
                f"{', '.join(map(repr, param_group)) or 'nothing'}"
            )
        spelling, defaults = _known(param_group["rule"])
        unknown = next((k for k in param_group if k not in defaults and k in _options()), None)
        if unknown is not None:
            raise ValueError(
                f"Mixed: {param_group['rule']!r} has no option {unknown!r}"
                f"{nearest(unknown, [*defaults])}; it has {', '.join(defaults)}"
            )
        own = {*param_group} - {"rule", *defaults}
        checked_names(own, {"rule", *defaults}, "Mixed")
        checked_names(own, _options(), "Mixed")
        group = settled(param_group, defaults, "Mixed")
        super().add_param_group(spelling.with_parts(defaults, group))

    @classmethod
    def spelling_of(cls, group: Mapping[str, Any]) -> Spelling:
        """The spelling of the class or the rule that the group names."""
        return _of(group)[0].fitting(group)

    def known(self, group: Mapping[str, Any]) -> Iterable[str]:
        """The options of the class or the rule that the group names."""
        return ("rule", *_of(group)[1])

    def _group(self, options: Mapping[str, Any]) -> Options:
        made = super()._group(options)
        made.named = made["rule"], _known(made["rule"])
        return made


def _of(group: Mapping[str, Any]) -> tuple[Spelling, dict[str, Any]]:
    """The result of looking up a group's name when the group was created; a file may have changed since."""
    name, found = getattr(group, "named", None) or ("", None)
    return found if found is not None and name == group["rule"] else _known(group["rule"])


@cache
def _options() -> set[str]:
    """The names that are options of some rule; any other key in a group belongs to the user."""
    return {*HYPERPARAMETERS}.union(*(options for _, options in _classes().values()))


@cache
def _classes() -> dict[str, tuple[Spelling, dict[str, Any]]]:
    """The spelling of each class, and the defaults of its options."""
    found = {}
    for name in classes.__all__:
        made = vars(classes)[name]
        if isinstance(made, type) and issubclass(made, RuleOptimizer):
            options = list(signature(made).parameters.values())[1:]
            defaults = {p.name: p.default for p in options if p.kind is not p.VAR_KEYWORD}
            found[name] = made.spelling, defaults
    return found


def _known(name: str) -> tuple[Spelling, dict[str, Any]]:
    """A class's or a rule's spelling, and the defaults of its options."""
    if name in _classes():
        return _classes()[name]
    try:
        rule = registry.get(name)
    except (LookupError, TypeError, ValueError) as error:
        names = [*_classes()]
        slip = typo(str(name), names)
        raise ValueError(
            f"Mixed: rule={name!r} is invalid{f'{slip} It' if slip else '; it'} must be a class, "
            f"{', '.join(names)}, or a rule: {error}"
        ) from None
    return spelling_of(rule), options_of(rule, {})
