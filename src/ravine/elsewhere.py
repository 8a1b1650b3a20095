"""Other packages' names: which rule `timm.Lamb` is. Answered from the witnesses on the rules' cards."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from ravine import naming
from ravine.cards import Witness
from ravine.rule import Rule

__all__ = ["ALIASES", "Match", "best", "importable", "matches", "spelled"]

ALIASES: Mapping[str, str] = {
    "kozistr": "pytorch_optimizer",
    "optim": "torch",
    "pytorch": "torch",
    "tf": "keras",
    "tensorflow": "keras",
    "schedule_free": "schedulefree",
    "torch_optimi": "optimi",
}
"""Other names of packages than the one they are imported by."""


@dataclass(frozen=True)
class Match:
    """A rule that takes the path of another package's optimizer, and its witness."""

    rule: Rule
    witness: Witness

    @property
    def defaults(self) -> dict[str, Any]:
        """The package's defaults that differ from the rule's."""
        return {k: v for k, v in self.witness.defaults.items() if k in self.rule.hyperparameters}

    @property
    def expression(self) -> str:
        """The rule at the package's defaults, as it is written: "adam_eps_hat(eps=1e-07)"."""
        options = ", ".join(f"{k}={v!r}" for k, v in self.defaults.items())
        return f"{self.rule.name}({options})" if options else self.rule.name

    @property
    def translation(self) -> dict[str, str]:
        """The package's options and the rule's hyperparameters that they set, in words."""
        return {
            option: names if isinstance(names, str) else ", ".join(names)
            for option, names in self.witness.options.items()
        }


def matches(name: str, rules: Iterable[Rule]) -> list[Match]:
    """The rules equal to another package's optimizer, given its name with or without the package.

    A class that is a different rule for different options has several; the one with the fewest options
    comes first.
    """
    rules = [*rules]
    package, last = _parted(name.strip(), rules)
    wanted = naming.plain(last)
    found = []
    for rule in rules:
        for witness in rule.card.known:
            root, *_, its = witness.name.split(".")
            if naming.plain(its) == wanted and package in ("", root):
                found.append(Match(rule, witness))
    return sorted(
        found,
        key=lambda m: (m.witness.name, len(m.witness.fixed), len(m.witness.options), m.rule.name),
    )


def best(name: str, rules: Iterable[Rule]) -> Match | None:
    """The rule equal to "package.Name" at the package's defaults; None if there is no such witness."""
    rules = [*rules]
    return next(iter(matches(name, rules)), None) if _parted(name, rules)[0] else None


def _parted(name: str, rules: Iterable[Rule]) -> tuple[str, str]:
    """The package that a name begins with, "" for none, and the optimizer's name in it."""
    head, _, last = name.rpartition(".")
    root = head.partition(".")[0].casefold()
    root = ALIASES.get(root, root)
    if root in {w.name.partition(".")[0] for rule in rules for w in rule.card.known}:
        return root, last
    package, rest = naming.parted(name)  # "Keras Nadam", "optimizers.Adam"
    return (package.partition(".")[0], rest.rpartition(".")[2]) if package else (root, last)


def spelled(name: str, rules: Iterable[Rule]) -> list[Match]:
    """The optimizers that have exactly this name in a package."""
    return [m for m in matches(name, rules) if m.witness.name.rpartition(".")[2] == name]


def importable(place: str) -> None:
    """Make the optimizers of a package importable without dependencies that they do not use.

    timm imports torchvision, which its optimizers do not need. If that is missing, all of timm's own
    modules except `timm.optim` are left out.
    """
    if place.partition(".")[0] != "timm" or "timm" in sys.modules or find_spec("torchvision"):
        return
    bases = (Path(base) / "timm" for base in sys.path)
    folder = next((str(base) for base in bases if (base / "optim").is_dir()), "")
    for name in ("timm", "timm.models"):
        made = sys.modules[name] = ModuleType(name)
        made.__path__ = [folder] if name == "timm" else []
    sys.modules["timm.models"].group_parameters = None  # type: ignore[attr-defined]
