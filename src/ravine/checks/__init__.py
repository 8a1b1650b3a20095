"""Is this optimizer correct, and if not, what is wrong with it?

    ravine.checks.check_optimizer(torch.optim.AdamW)
    ravine.checks.check_optimizer("mine.py:MyAdam", like="adam")

The optimizer gets prescribed gradients, and its path is compared with those of all rules and, if
none matches, with those of rules with deliberate bugs. docs/how-to/check-an-optimizer.md shows how
to use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ravine.checks.registry import Context, Fault, Skip, check
    from ravine.checks.report import Report
    from ravine.checks.running import check_optimizer, parametrize

__all__ = ["Context", "Fault", "Report", "Skip", "check", "check_optimizer", "parametrize"]

_LATER = {
    "Context": "registry",
    "Fault": "registry",
    "Skip": "registry",
    "check": "registry",
    "Report": "report",
    "check_optimizer": "running",
    "parametrize": "running",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"ravine.checks.{_LATER[name]}"), name)
    raise AttributeError(f"module 'ravine.checks' has no attribute {name!r}")
