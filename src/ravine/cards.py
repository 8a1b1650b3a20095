"""What is known about a rule besides what it computes: its names, its relatives, its witnesses.

    @rule(
        paper="You et al., 2020. Large Batch Optimization for Deep Learning",
        at="arXiv:1904.00962, Algorithm 2",
        card=Card(
            variant_of="lamb",
            differs="gradient clipping",
            witnesses=(
                Witness("timm 1.0.31", "timm.optim.Lamb(lr=lr, betas=(beta1, beta2), eps=eps)"),
            ),
        ),
    )

Whatever Ravine shows about a rule's relatives, or looks up by another package's name, it reads from
here.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

__all__ = ["AXES", "NO_CARD", "Card", "CardError", "Witness"]

AXES: Mapping[str, str] = MappingProxyType(
    {
        "bias correction": "whether, and of what, the start at zero is corrected",
        "place of eps": "where eps is added: to a square, to its root, before or after the correction",
        "place of lr": "whether lr multiplies what is stored or what is used",
        "order of operations": "the same operations in another order",
        "what vectors get": "how parameters that are not matrices are stepped",
        "momentum form": "what is made of the gradients first: a mean, a sum, a look ahead, a sign",
        "decay form": "how weights are pulled towards zero",
        "warm-up": "what the first steps do until an estimate is trusted",
        "first step": "what the first step does that others do not",
        "schedule index": "which step a schedule counts as the first",
        "schedule": "how a hyperparameter changes over the steps",
        "gradient clipping": "whether gradients are clipped, and by what",
        "mask normalizer": "what a mask is divided by",
        "shape scaling": "how the step depends on a matrix's shape",
        "Newton-Schulz coefficients": "the polynomial that a matrix is orthogonalized by",
        "Newton-Schulz precision": "the numbers that it is computed in",
        "preconditioner": "what the gradient is multiplied by, and how often that is recomputed",
        "scope": "what one number is taken over: a row, a tensor, or all tensors",
        "averaging": "which weights are averaged, and how they count",
        "trust ratio": "what lengths the step of a tensor is scaled by, and where",
    }
)
"""The ways in which two algorithms of one name may differ, each with its meaning."""


class CardError(ValueError):
    """A card with invalid contents."""


@dataclass(frozen=True)
class Witness:
    """A released optimizer whose path the rule follows, to 1e-12 or `apart` in float64 over 60 steps.

    package: its distribution and version, such as "timm 1.0.31". call: the call that creates it,
    without the parameters, in terms of the rule's hyperparameters: "timm.optim.Lamb(lr=lr,
    betas=(beta1, beta2), max_grad_norm=None)". needs: options that must keep the package's
    defaults. defaults: the package's defaults for hyperparameters, if they differ from the rule's.
    state: for each slot, its name in a parameter's state or in the param group, as in {"m":
    "exp_avg"}, or an expression of such names, hyperparameters and t, the step count: {"m":
    "exp_avg * (1 - beta1**t)"}. by_group: the state is kept per group, and `place` is the
    parameter's index in it: {"p0": "init_buffer[place]"}; None means that there is no such entry.
    counted: whether it keeps a step count, if the rule takes t, or an expression for it. said:
    expressions of the group's options for hyperparameters that are not options themselves, {"lr":
    "lr * p"}. unsaved: options that are missing from its checkpoints. apart: the distance between
    the two paths, relative to the length of the rule's, if it is more than 1e-12. note: anything
    else worth saying, such as the reason for the distance. Raises CardError if package or call
    cannot be read.

    >>> lamb = Witness("timm 1.0.31", "timm.optim.Lamb(lr=lr, betas=(beta1, beta2), max_grad_norm=None)")
    >>> lamb.name
    'timm.optim.Lamb'
    >>> lamb.options
    {'lr': 'lr', 'betas': ('beta1', 'beta2')}
    >>> lamb.fixed
    {'max_grad_norm': None}
    """

    package: str
    call: str
    needs: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    counted: bool | str = True
    by_group: bool = False
    said: Mapping[str, str] = field(default_factory=dict)
    unsaved: tuple[str, ...] = ()
    note: str = ""
    shapes: str = ""
    loud: Mapping[str, Any] = field(default_factory=dict)
    late: bool = False
    constant_lr: bool = False
    apart: float = 0.0

    def __post_init__(self) -> None:
        distribution, _, version = self.package.partition(" ")
        if not (distribution and version):
            raise CardError(
                f"witness {self.package!r} is invalid; write a distribution and its version, as in "
                "'timm 1.0.31'"
            )
        if not isinstance(self._tree, ast.Call) or not self.name.count("."):
            raise CardError(
                f"the call {self.call!r} of witness {self.package!r} is invalid; write it as in "
                "'timm.optim.Lamb(lr=lr)'"
            )

    def __hash__(self) -> int:
        return hash((self.package, self.call))

    @cached_property
    def _tree(self) -> Any:
        try:
            return ast.parse(self.call, mode="eval").body
        except SyntaxError:
            return None

    @property
    def strays(self) -> str:
        """The distance of the rule from its path as text, such as "8e-8"; "" for none."""
        return f"{self.apart:.0e}".replace("e-0", "e-") if self.apart else ""

    @property
    def distribution(self) -> str:
        """The package's name, as pip has it."""
        return self.package.partition(" ")[0]

    @property
    def version(self) -> str:
        """The version whose path was recorded."""
        return self.package.partition(" ")[2]

    @cached_property
    def name(self) -> str:
        """The optimizer's full name, "timm.optim.Lamb"."""
        return ast.unparse(self._calls[0].func)

    @cached_property
    def options(self) -> dict[str, str | tuple[str, ...]]:
        """The package's options that are hyperparameters of the rule, each with the rule's name for it.

        Positional ones are listed by position: "0", "1".
        """
        found: dict[str, str | tuple[str, ...]] = {}
        for option, value in self._arguments:
            if isinstance(value, ast.Name):
                found[option] = value.id
            elif isinstance(value, ast.Tuple) and all(isinstance(x, ast.Name) for x in value.elts):
                found[option] = tuple(x.id for x in value.elts if isinstance(x, ast.Name))
        return found

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """The package's options that must have a certain value for the rule to be the same."""
        found = {}
        for option, value in self._arguments:
            try:
                found[option] = ast.literal_eval(value)
            except ValueError:  # in hyperparameters
                continue
        return found

    def argument(self, option: str) -> str:
        """The source of an option's value in the call, such as "lr / gamma"; "" if it is not named."""
        return next((ast.unparse(value) for k, value in self._arguments if k == option), "")

    @cached_property
    def _calls(self) -> list[ast.Call]:
        """The call, preceded by the one that creates the class, as in "mechanize(SGD)(lr=lr)"."""
        calls = [self._tree]
        while isinstance(calls[0].func, ast.Call):
            calls.insert(0, calls[0].func)
        return calls

    @property
    def _arguments(self) -> list[tuple[str, ast.expr]]:
        positional = [
            (str(i), x)
            for call in self._calls
            for i, x in enumerate(call.args)
            if ast.unparse(x) != "params"
        ]
        return positional + [(k.arg or "", k.value) for call in self._calls for k in call.keywords]


@dataclass(frozen=True)
class Card:
    """What is known about a rule besides what it computes.

    title: its name in the literature, such as "AdaBelief", if that is not the rule's name in
    CamelCase; the classes have this name. names: other names that do not belong to a package,
    comma-separated. note: a remark to show when one of these names is looked up and people use it
    for two rules. variant_of: the rule that it is a variant of. differs: how it differs from that
    rule, a comma-separated list of :data:`AXES`. witnesses: released optimizers that take the same
    path. near: those that take almost the same path, each with its distance, `apart`, and the
    reason, `note`. unverified: for a rule that nothing confirms to 1e-12, what it was compared
    with, and the distance. Raises CardError if `differs` names anything but axes.
    """

    title: str = ""
    names: str = ""
    note: str = ""
    variant_of: str = ""
    differs: str = ""
    witnesses: tuple[Witness, ...] = ()
    near: tuple[Witness, ...] = ()
    unverified: str = ""

    def __post_init__(self) -> None:
        for axis in self.axes:
            if axis not in AXES:
                raise CardError(f"differs={axis!r} is invalid; it must be one of {', '.join(AXES)}")
        if bool(self.variant_of) != bool(self.differs):
            raise CardError(
                f"variant_of={self.variant_of!r} and differs={self.differs!r} are invalid; a variant has "
                "both: what it is a variant of, and how it differs"
            )

    @property
    def known(self) -> tuple[Witness, ...]:
        """All released optimizers whose paths were recorded, equal or near."""
        return self.witnesses + self.near

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes on which it differs from the rule that it is a variant of."""
        return tuple(axis.strip() for axis in self.differs.split(",") if axis.strip())


NO_CARD = Card()
"""The card of a rule about which nothing else is known."""
