"""Importing Ravine is instant, and brings no framework along."""

import subprocess
import sys

HEAVY = [
    "numpy",
    "torch",
    "jax",
    "optax",
    "llvmlite",
    "matplotlib",
    "numba",
    "rich",
    "typer",
    "hypothesis",
]


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_importing_ravine_imports_no_framework():
    loaded = python("import ravine, ravine.rules, sys; ravine.names(); print(*sys.modules)").split()
    assert "ravine.rules.adam" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_importing_ravine_imports_few_modules_and_no_optimizer():
    """What takes its time is modules; counted, as seconds differ from machine to machine."""
    loaded = python(
        "import sys; bare = set(sys.modules); import ravine; print(*set(sys.modules) - bare)"
    )
    modules = loaded.split()
    assert len(modules) <= 90, sorted(modules)
    assert [name for name in modules if name.startswith(("ravine.rules", "ravine.engines"))] == []


def test_a_star_import_brings_no_framework_along():
    names, loaded = python(
        "import sys; exec('from ravine import *'); print(*dir()); print(*sys.modules)"
    ).splitlines()
    assert {"rule", "get", "names"} <= {*names.split()}
    assert "torch" not in loaded.split()
