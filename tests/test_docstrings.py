"""The examples in docstrings are right."""

import doctest
import importlib

import pytest

MODULES = ["ops", "hyperparameters", "rule", "numpy.classes", "numpy.fitting", "reading.worked"]
MODULES += [pytest.param(f"torch.{x}", marks=pytest.mark.torch) for x in ("classes", "mixed")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name):
    failed, attempted = doctest.testmod(importlib.import_module(f"ravine.{name}"))
    assert attempted > 0
    assert failed == 0
