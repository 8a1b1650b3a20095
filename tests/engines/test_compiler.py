"""What is compiled, and when: once for each text, and only for dtypes that the processor has."""

import numpy as np
import pytest
from engines.kernels import Kernel

from ravine import rules
from ravine.engines import compiler
from ravine.engines.cpu import KernelError, Step, kernel
from ravine.engines.eager import plan


def test_changed_hyperparameters_recompile_nothing():
    stepped = Kernel(rules.adam, [np.ones(3)])
    stepped.step([np.ones(3)])
    before = {*compiler._codes.values()}
    stepped.hyper["lr"], stepped.hyper["beta1"] = 0.123, 0.5
    stepped.step([np.ones(3)])
    Kernel(rules.adam, [np.ones(3)], lr=0.0).step([np.ones(3)])  # traced again
    assert {*compiler._codes.values()} == before


def test_unknown_dtypes_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="'int32' is invalid; p is float64, float32"):
        Step(kernel(plan(rules.sgd, rules.sgd.check())), [3], [("int32", "float32")])
    with pytest.raises(ValueError, match="not empty, got 0, 0 and 0"):
        Step(kernel(plan(rules.sgd, rules.sgd.check())), [], [])
    monkeypatch.setattr(compiler, "host", lambda: compiler.Machine(16, ("float16",), "", ""))
    with pytest.raises(
        KernelError, match=r"'sgd' .* uses float16, for which this processor has no"
    ):
        Step(kernel(plan(rules.sgd, rules.sgd.check())), [3], [("float16", "float16")])
