"""Optimizers that are right, which the checker must not call wrong: whole libraries of them.

`make alarms` checks all of them, in about ten minutes; test_false_alarms.py checks a sample.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from ravine.checks.report import Report
from ravine.checks.running import check_optimizer

__all__ = ["LIBRARIES", "Right", "right_ones"]

LIBRARIES = ("ravine.torch", "ravine.numpy", "torch", "optax")

_SWITCHES = ("amsgrad", "centered", "decoupled_weight_decay", "maximize", "nesterov")
_NEED = {"nesterov": {"momentum": 0.9}, "decoupled_weight_decay": {"weight_decay": 0.1}}
_NO_RULES = ("LBFGS", "SparseAdam", "RuleOptimizer", "Mixed")
"""In ravine.torch: torch's own, and what has no rule until it is given one."""
_NAN = "NaN, where lr or the gradients are 0, and in float16"
_OPTAX = {
    "optax:adan": {"identity": "docs/survey-confirmed.json", "options_in_use": "the same"},
    "optax:rprop": {"identity": "docs/survey-confirmed.json", "descends": "the same"},
    **dict.fromkeys(
        ("optax.contrib:dadapt_adamw", "optax.contrib:prodigy"),
        dict.fromkeys(("half_precision", "still_without_lr", "still_without_gradient"), _NAN),
    ),
}
"""What optax gets wrong."""
_NOT_RUN = ("dpsgd", "momo", "momo_adam", "sophia", "lbfgs", "noisy_sgd")
"""What optax has that takes a value, a function or arguments that a check does not give."""
_FUSED = {"layouts": "gradients of other strides", "missing_gradients": "a late first gradient"}
_FUSED_SGD = {"half_precision": "whole vectors stand still: pytorch/pytorch, issue 191763"}
"""What torch 2.13 gets wrong with fused=True, confirmed by hand: these are no false alarms."""


@dataclass(frozen=True)
class Right:
    """An optimizer that is right. rule: the name of the rule that it is, if that is known.

    given: its arguments. wrong: the checks that have found a true fault, each with what it is.
    """

    spec: str
    given: dict[str, Any] = field(default_factory=dict)
    rule: str = ""
    wrong: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.spec}({', '.join(f'{k}={v}' for k, v in self.given.items())})"

    def report(self, seconds: float = 10.0) -> Report:
        """What the checker says."""
        return check_optimizer(self.spec, arguments=self.given, seconds=seconds)

    def alarm(self, report: Report) -> str:
        """What is wrong with a report on it; "" if nothing is."""
        wrong = [
            f"{r.check}: {r.verdict}: {r.says}"
            for r in report.results
            if r.verdict in ("fault", "could not run") and r.check not in self.wrong
        ]
        good = report.finding.good or report.finding.verdict == "unknown"
        if wrong or report.ended or not (good or "identity" in self.wrong):
            return "; ".join([report.headline, *wrong])
        if self.rule and report.finding.rule.partition(" + ")[0] != self.rule:
            return f"it is {self.rule}: {report.headline}"
        return ""


def right_ones(library: str) -> Iterator[Right]:
    """The optimizers of a library that are right, with each set of options."""
    if library.startswith("ravine."):
        return _of_rules(library)
    return _torchs() if library == "torch" else _optaxs()


def _of_rules(library: str) -> Iterator[Right]:
    """All but those whose steps take more than gradients."""
    module, torch = (importlib.import_module(x) for x in (library, "ravine.torch"))
    base = importlib.import_module(f"{library}.rule_optimizer").RuleOptimizer
    for name in dir(module):
        made = getattr(module, name)
        if isinstance(made, type) and issubclass(made, base) and name not in _NO_RULES:
            rule = getattr(getattr(torch, name), "rule", None)  # some are several, by their options
            if rule is None or not rule.signals:
                yield Right(f"{library}:{name}", rule=rule.name if rule else "")


def _torchs() -> Iterator[Right]:
    """With the options of torch's own tests, with all switches, one and two at a time, and each loop."""
    from torch.testing._internal.common_optimizers import optim_db

    for info in optim_db:
        takes = inspect.signature(info.optim_cls).parameters
        sets = [x.kwargs for x in info.optim_inputs_func(device="cpu")]
        switches = [k for k in _SWITCHES if k in takes]
        for some in [s for n in (1, 2) for s in combinations(switches, n)]:
            needed = {k: v for s in some for k, v in _NEED.get(s, {}).items() if k in takes}
            sets.append({**needed, **dict.fromkeys(some, True)})
        sets += [{k: True} for k in ("foreach", "fused") if k in takes]
        for given in {str(s): s for s in sets}.values():
            spec = f"torch.optim:{info.optim_cls.__name__}"
            wrong = _FUSED | (_FUSED_SGD if spec.endswith(":SGD") else {})
            yield Right(spec, given, wrong=wrong if given.get("fused") else {})


def _optaxs() -> Iterator[Right]:
    from ravine.checks.survey import optimizers

    for found in optimizers("optax"):
        if found.name.rpartition(":")[2] not in _NOT_RUN:
            yield Right(found.name, dict(found.arguments), wrong=_OPTAX.get(found.name, {}))
