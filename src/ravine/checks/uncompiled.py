"""torch without its compiler, until something needs it.

torch.optim imports torch._dynamo in its first step, only to mark functions for a compiler that is not in use.
That takes a third of the time of a check. In a process that only checks, a substitute provides the marks, and
loads the real module when anything else is requested.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["uncompiled"]

_NAME = "torch._dynamo"


def uncompiled() -> None:
    """Import torch._dynamo only when it is needed; do nothing if it is already imported."""
    if _NAME not in sys.modules:
        sys.modules[_NAME] = _StandIn(_NAME)
        sys.meta_path.insert(0, _Submodules())


class _StandIn(ModuleType):
    """The part of torch._dynamo that an uncompiled step needs."""

    __path__ = ()  # type: ignore[assignment]

    def graph_break(self, *args: Any, **kwargs: Any) -> None:
        """Mark a function that is not compiled."""

    def disable(self, fn: Any = None, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return the function unchanged, not compiled."""
        if callable(fn):
            return fn
        return _true().disable(fn, *args, **kwargs)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # attributes that are requested from every module
            raise AttributeError(name)
        return getattr(_true(), name)


class _Submodules(MetaPathFinder, Loader):
    """The attributes of the real module, which importing it may have loaded."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Load the real module first."""
        if not name.startswith(f"{_NAME}.") or not isinstance(sys.modules[_NAME], _StandIn):
            return None
        path = _true().__path__
        return ModuleSpec(name, self) if name in sys.modules else PathFinder.find_spec(name, path)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The loaded module."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it is loaded."""


def _true() -> ModuleType:
    if isinstance(sys.modules.get(_NAME), _StandIn):
        del sys.modules[_NAME]
    return import_module(_NAME)
