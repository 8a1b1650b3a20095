"""Settings for all tests: hypothesis draws the same cases every time, a worker has one thread, and what
needs a package that is not installed is skipped.
"""

import os
from importlib.util import find_spec

import pytest
from browsing import browse, chromium  # noqa: F401
from hypothesis import settings

os.environ.setdefault(
    "MKL_CBWR", "AUTO,STRICT"
)  # as ravine.races.swarm does, before MKL's first call

settings.register_profile("ravine", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("ravine")

MISSING = [x for x in ("torch", "scipy", "latex2mathml", "nbformat", "griffe") if not find_spec(x)]

if "PYTEST_XDIST_WORKER" in os.environ and "torch" not in MISSING:
    import torch

    torch.set_num_threads(1)


class File(pytest.Module):
    """A file of tests that is skipped if it, or what it tests, imports a package that is missing."""

    def collect(self):
        try:
            return super().collect()
        except self.CollectError as e:
            for name in MISSING:
                if f"No module named {name!r}" in str(e):
                    pytest.skip(f"{self.name} needs {name}", allow_module_level=True)
            raise


if MISSING:

    def pytest_pycollect_makemodule(module_path, parent):
        return File.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(items):
    for item in items:
        needs_torch = item.get_closest_marker("torch") or "torch_front" in item.path.parts
        if "torch" in MISSING and needs_torch:
            item.add_marker(pytest.mark.skip(reason="torch is not installed"))
