"""torch without its compiler, until something asks for it.

torch.optim imports torch._dynamo in its first step, only to mark places for a compiler that is not at work:
a third of the time that a check takes. In a process that does nothing but check, a stand-in answers; whatever
else is asked of it loads the true one.
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
    """Have torch._dynamo imported when it is needed, and not before; where it is imported, do nothing."""
    if _NAME not in sys.modules:
        sys.modules[_NAME] = _StandIn(_NAME)
        sys.meta_path.insert(0, _Submodules())


class _StandIn(ModuleType):
    """torch._dynamo, as far as a step needs it that nobody compiles."""

    __path__ = ()  # type: ignore[assignment]

    def graph_break(self, *args: Any, **kwargs: Any) -> None:
        """Mark a place that is not compiled."""

    def disable(self, fn: Any = None, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """The function as it is, which is not compiled."""
        if callable(fn):
            return fn
        return _true().disable(fn, *args, **kwargs)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what every module is asked
            raise AttributeError(name)
        return getattr(_true(), name)


class _Submodules(MetaPathFinder, Loader):
    """Those of the true one, which importing it may have loaded."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Load the true one first."""
        if not name.startswith(f"{_NAME}.") or not isinstance(sys.modules[_NAME], _StandIn):
            return None
        path = _true().__path__
        return ModuleSpec(name, self) if name in sys.modules else PathFinder.find_spec(name, path)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The one that is loaded."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it is loaded."""


def _true() -> ModuleType:
    if isinstance(sys.modules.get(_NAME), _StandIn):
        del sys.modules[_NAME]
    return import_module(_NAME)
