"""Packages that are not installed, and how to install them."""

from __future__ import annotations

from importlib import import_module

__all__ = ["lacking", "without"]

_EXTRAS = {
    "torch": "torch",
    "llvmlite": "torch",
    "pyarrow": "parquet",
    "xlsxwriter": "sheet",
    "jax": "optax",
    "optax": "optax",
    "triton": "triton",
} | dict.fromkeys(("matplotlib", "numba", "scipy", "loky", "sklearn"), "race")


def without(package: str, error: ImportError | None = None) -> str:
    """Say that a package is missing, and how to install it; or why it cannot be imported."""
    top = package.partition(".")[0]
    if error and not (isinstance(error, ModuleNotFoundError) and error.name == top):
        return f"{top} cannot be imported ({error})"
    brings = f"; pip install '.[{_EXTRAS[top]}]' in the folder of Ravine's source brings it"
    return f"{top} is not installed{brings if top in _EXTRAS else ''}"


def lacking(package: str) -> str:
    """The message of :func:`without`, or "" if the package can be imported."""
    try:
        import_module(package)
    except ImportError as error:
        return without(package, error)
    return ""
