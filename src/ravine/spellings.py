"""torch.optim's classes, spelt with Ravine's rules: which rule its options ask for.

Both fronts (`ravine.torch`, `ravine.numpy`) have the classes from here, so that a name and its
options mean one thing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from ravine import registry, rules
from ravine.hyperparameters import Hyperparameter, look_up
from ravine.modifiers import decoupled_decay, l2, maximize
from ravine.pickling import recipe
from ravine.rule import Rule, kept

__all__ = ["Spelling", "options", "options_of", "present", "spelling_of", "unpaired"]


@dataclass(frozen=True)
class Spelling:
    """A class of torch.optim: its rule as a function of its options, its names for the slots.

    choose: the rule that the options ask for. options: ranges of what the chosen rule may not have.
    arguments: the rule's names for what an option says under another name, or says of several
    ("betas": "beta1 beta2"). translate: what the options, so named, say to the rule in other words.
    paired: an option that repeats others, for torch's schedulers, which cycle "betas" or "momentum"
    only. ndim: the number of dimensions that every parameter must have. real: whether a parameter may
    not be complex. resize: the spelling of the same with options that are tuples of these lengths, where
    others are accepted.

    Of its checkpoints: step, how they store the step count: "tensor", "int", or "" if they do not;
    scalar slots are tensors with it. early: whether they have the state before the first
    step. besides: options that they have and the class does not.
    """

    name: str
    choose: Callable[..., Rule]
    state_names: Mapping[str, str]
    options: Mapping[str, Hyperparameter] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    translate: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    paired: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ndim: int | None = None
    real: bool = False
    step: str = "tensor"
    early: bool = False
    resize: Callable[[Mapping[str, Any]], Spelling] | None = None
    besides: Mapping[str, Any] = field(default_factory=dict)

    def fitting(self, options: Mapping[str, Any]) -> Spelling:
        """The spelling for options with tuples as long as these."""
        return self if self.resize is None else self.resize(options)

    def compose(self, options: Mapping[str, Any]) -> tuple[Rule, dict[str, Any]]:
        """The rule that the options ask for, and the values of its hyperparameters."""
        rule = self.choose(options)
        values = dict(options)
        for option, names in self.arguments.items():
            given = options[option] if self._is_tuple(names) else (options[option],)
            values |= zip(names.split(), given, strict=True)
        if self.translate is not None:
            values |= self.translate(values)
        return rule, {k: values[k] for k in rule.hyperparameters}

    def _is_tuple(self, names: str) -> bool:
        """Whether what an argument says, of these hyperparameters, is a tuple."""
        return " " in names or self.resize is not None

    def check(self, options: Mapping[str, Any]) -> None:
        """ValueError, naming the option, its value and what is accepted, when one is not."""
        where: dict[str, str] = {}
        for option, names in self.arguments.items():
            given, parts = options[option], names.split()
            if not self._is_tuple(names):
                continue
            where |= dict.fromkeys(parts, f"{self.name}: {option}={given!r}")
            if not (isinstance(given, (tuple, list)) and len(given) == len(parts)):
                known = self.choose(options).hyperparameters
                accepted = "; ".join(f"{name}, {known[name].accepted}" for name in parts)
                kind = f"{'a pair' if len(parts) == 2 else 'three numbers'}: {accepted}"
                if self.resize is not None:
                    kind = f"a tuple of one or more, each {known[parts[0]].accepted}"
                raise ValueError(
                    f"{self.name}: {option}={given!r} is invalid; {option} must be {kind}"
                )
        for name in self.options.keys() & options.keys():
            self.options[name].check(options[name], self.name)
        rule, values = self.compose(options)
        for name, hyperparameter in rule.hyperparameters.items():
            hyperparameter.check(values[name], where.get(name, self.name))

    def direct(self, options: Mapping[str, Any]) -> dict[str, Hyperparameter]:
        """The options that are hyperparameters of the rule under their own name, with their ranges."""
        if self.translate is not None:
            return {}
        mine = self.choose(options).hyperparameters
        return {k: h for k, h in mine.items() if k in options and k not in self.arguments}

    def with_parts(self, options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The options with those given set, and those that repeat others made equal to them.

        ValueError where what is given contradicts itself, or is not as many numbers as it must be.
        """
        options = {**options, **given}
        for whole, parts in self.paired.items():
            if whole in given:
                values = given[whole]
                if not isinstance(values, (tuple, list)) or len(values) != len(parts):
                    raise ValueError(
                        f"{self.name}: {whole}={values!r} is invalid; {whole} must be a tuple of "
                        f"{', '.join(parts)}"
                    )
                for part, value in zip(parts, values, strict=True):
                    if part in given and given[part] is not value and given[part] != value:
                        raise ValueError(
                            f"{self.name}: {whole}={values!r} and {part}={given[part]!r} are mutually "
                            "exclusive; give one of them"
                        )
                options |= zip(parts, values, strict=True)
            if {*parts} <= options.keys():
                options[whole] = tuple(options[part] for part in parts)
        return options

    def check_parameter(self, shape: Sequence[int]) -> None:
        """ValueError when a parameter of this shape cannot be trained."""
        if self.ndim is not None and len(shape) != self.ndim:
            raise ValueError(
                f"{self.name}: a parameter of shape {tuple(shape)} is invalid; parameters have "
                f"{self.ndim} dimensions (give the others to another optimizer, such as AdamW)"
            )


def options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options among the local variables of a front's `__init__`."""
    return {
        k: v
        for k, v in arguments.items()
        if k not in ("self", "params", "engine", "how", "__class__")
    }


def present(cls: type, rule: Rule, name: str, make: Callable[..., type]) -> None:
    """Give a class made from a rule, by `make(rule, name)`, the rule's name and description, and a
    place to be pickled from: the module that asked for it, where it may stand under its own name.
    """
    cls.__name__ = cls.__qualname__ = name or rule.title
    why = rule.card.unverified
    cls.__doc__ = (rule.doc + f"\n\nUnverified: {why}." * bool(why)).strip()
    cls.__module__ = sys._getframe(2).f_globals["__name__"]
    recipe(cls, make, rule, name)


def class_name(rule: Rule) -> str:
    """What the class of a rule is called: its title, without what no name can have."""
    name = re.sub(r"\W+", "", rule.title)
    return name if name.isidentifier() else f"_{name}"


@cache
def classes() -> dict[str, Rule]:
    """Ravine's own rules by the names of their classes."""
    return {class_name(rule): rule for rule in registry.own().values()}


def spelling_of(rule: Rule) -> Spelling:
    """The spelling of a rule of one's own: its hyperparameters and slots under their own names."""
    tuples = rule.parts.tuples
    if tuples:
        return Spelling(
            rule.name,
            lambda _: rule,
            {},
            arguments={whole: " ".join(names) for whole, names in tuples.items()},
            resize=lambda options: _resized(rule, options),
        )
    betas = tuple(k for k in ("beta1", "beta2", "beta3") if k in rule.hyperparameters)
    return Spelling(
        rule.name, lambda _: rule, {}, paired={"betas": betas} if betas[:1] == ("beta1",) else {}
    )


def _resized(rule: Rule, options: Mapping[str, Any]) -> Spelling:
    fitting = rule.fitting(options)
    return kept(fitting, "spelling", lambda: spelling_of(fitting))


def options_of(rule: Rule, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a rule of one's own: its hyperparameters, and "betas" if it has beta1.

    given: those that do not have their defaults. Raises TypeError for an unknown one, and ValueError
    for betas that differ from beta1 or that are not as many as the rule has.
    """
    spelling = spelling_of(rule)
    given = spelling.with_parts({}, given)
    values = unpaired(rule, {k: v for k, v in given.items() if k not in spelling.paired})
    return spelling.with_parts(values, {})


def unpaired(rule: Rule, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a rule of one's own: its hyperparameters, those that are tuples as such.

    given: those that do not have their defaults. Raises TypeError for an unknown one.
    """
    tuples = rule.parts.tuples
    parts = [part for names in tuples.values() for part in names]
    if part := next((part for part in parts if part in given), None):
        raise TypeError(
            f"rule {rule.name!r} has no option {part!r}; it takes {', '.join(tuples)} as a tuple"
        )
    values = rule.parts.gathered(rule.values({k: v for k, v in given.items() if k not in tuples}))
    return {**values, **{k: given[k] for k in tuples if k in given}}


@cache
def _decayed(rule: Rule) -> Rule:
    return maximize(l2(rule))


@cache
def _decoupled(rule: Rule) -> Rule:
    return maximize(decoupled_decay(rule))


_climbing = cache(maximize)


def _sgd(o: Mapping[str, Any]) -> Rule:
    if o["nesterov"] and (o["momentum"] <= 0 or o["dampening"] != 0):
        raise ValueError(
            f"SGD: nesterov=True with momentum={o['momentum']!r}, dampening={o['dampening']!r} is "
            "invalid; Nesterov's momentum needs momentum > 0 and dampening = 0"
        )
    inner = rules.nesterov if o["nesterov"] else rules.momentum if o["momentum"] else rules.sgd
    return _decayed(inner)


def _decayed_as_asked(rule: Rule, o: Mapping[str, Any]) -> Rule:
    return _decoupled(rule) if o.get("decoupled_weight_decay") else _decayed(rule)


def _adam(o: Mapping[str, Any]) -> Rule:
    return rules.amsgrad if o["amsgrad"] else rules.adam


def _switches(*names: str) -> dict[str, Hyperparameter]:
    return {name: look_up(name, False) for name in names}


_BETAS = {"betas": "beta1 beta2"}
_MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"}
_SWITCHES = _switches("amsgrad", "maximize", "decoupled_weight_decay")
SGD = Spelling(
    "SGD",
    _sgd,
    {"b": "momentum_buffer"},
    {**_decayed(rules.momentum).hyperparameters, **_switches("nesterov")},
    step="",
)
RMSPROP = Spelling(
    "RMSprop",
    lambda o: _decayed(rules.rmsprop),
    {"v": "square_avg", "m": "grad_avg", "b": "momentum_buffer"},
)
ADAM = Spelling("Adam", lambda o: _decayed_as_asked(_adam(o), o), _MOMENTS, _SWITCHES, _BETAS)
ADAMW = Spelling(
    "AdamW",
    lambda o: _decoupled(_adam(o)),
    _MOMENTS,
    _SWITCHES,
    _BETAS,
    besides={"decoupled_weight_decay": True},
)
NADAM = Spelling("NAdam", lambda o: _decayed_as_asked(rules.nadam, o), _MOMENTS, _SWITCHES, _BETAS)
RADAM = Spelling("RAdam", lambda o: _decayed_as_asked(rules.radam, o), _MOMENTS, _SWITCHES, _BETAS)
ADAMAX = Spelling(
    "Adamax", lambda o: _decayed(rules.adamax), {"m": "exp_avg", "u": "exp_inf"}, {}, _BETAS
)
ADAGRAD = Spelling(
    "Adagrad",
    lambda o: _decayed(rules.adagrad),
    {"v": "sum"},
    {k: rules.adagrad.hyperparameters["v0"].named(k, 0.0) for k in ("initial_accumulator_value",)},
    {"initial_accumulator_value": "v0"},
    early=True,
)
ADADELTA = Spelling(
    "Adadelta", lambda o: _decayed(rules.adadelta), {"v": "square_avg", "u": "acc_delta"}
)
RPROP = Spelling(
    "Rprop",
    lambda o: _climbing(rules.rprop),
    {},
    {},
    {"etas": "eta_minus eta_plus", "step_sizes": "step_min step_max"},
)
ASGD = Spelling("ASGD", lambda o: _decayed(rules.asgd), {})


def _eps1(o: Mapping[str, Any]) -> dict[str, Any]:
    # torch's None is the rule's 0. torch's 0 is no floor, as is to the rule the smallest number.
    eps1 = o["eps1"]
    return {"eps1": 0.0 if eps1 is None else 5e-324 if eps1 == 0 else eps1}


ADAFACTOR = Spelling(
    "Adafactor",
    lambda o: _climbing(rules.adafactor),
    {"r": "row_var", "c": "col_var", "v": "variance"},
    arguments={"eps": "eps1 eps2"},
    translate=_eps1,
    real=True,
)


def _adjust_lr(o: Mapping[str, Any]) -> dict[str, bool]:
    adjust = o["adjust_lr_fn"]
    if adjust not in (None, "original", "match_rms_adamw", "spectral_unclamped"):
        raise ValueError(
            f"Muon: adjust_lr_fn={adjust!r} is invalid; adjust_lr_fn must be 'original', "
            "'match_rms_adamw', 'spectral_unclamped' or None"
        )
    return {
        "match_adamw": adjust == "match_rms_adamw",
        "unclamped": adjust == "spectral_unclamped",
        "bfloat16": True,
    }


_muon = decoupled_decay(rules.muon)
MUON = Spelling(
    "Muon",
    lambda o: _muon,
    {"m": "momentum_buffer"},
    arguments={"ns_coefficients": "ns_a ns_b ns_c"},
    translate=_adjust_lr,
    ndim=2,
    real=True,
    step="",
)
MUON_IN_FULL = replace(MUON, translate=lambda o: {**_adjust_lr(o), "bfloat16": False})
"""In the precision of the arrays: NumPy has no bfloat16."""

SPARSE_ADAM = Spelling(
    "SparseAdam",
    lambda o: _climbing(rules.adam_eps_hat),
    _MOMENTS,
    {k: replace(rules.adam_eps_hat.hyperparameters[k], open_low=True) for k in ("lr", "eps")},
    _BETAS,
    real=True,
    step="int",
)


def called(slot: str) -> list[str]:
    """A slot's names in the states of torch's optimizers, its own first."""
    every = [x for x in globals().values() if isinstance(x, Spelling)]
    return [slot, *dict.fromkeys(x.state_names[slot] for x in every if slot in x.state_names)]
