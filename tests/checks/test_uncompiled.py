import subprocess
import sys
from importlib.util import find_spec

import pytest

STEPS = """
import sys
from ravine.checks.uncompiled import uncompiled
uncompiled()
import torch
p = torch.nn.Parameter(torch.ones(2))
p.grad = torch.ones(2)
optimizer = torch.optim.Adam([p])
optimizer.step()
optimizer.zero_grad()
assert not [m for m in sys.modules if m.startswith(("torch._dynamo.", "sympy"))]
"""
COMPILES = """
import torch._dynamo.config as config
true = sys.modules["torch._dynamo"]
assert torch._dynamo is true and true.config is config is sys.modules["torch._dynamo.config"]
assert true.__file__ and true.disable(print) is not print
assert torch.compile(lambda x: x + 1, backend="eager", fullgraph=True)(torch.ones(2)).sum() == 4
optimizer.step()
"""
BY_ATTRIBUTE = """
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).sum() == 4
assert sys.modules["torch._dynamo"].__file__
"""


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
@pytest.mark.parametrize("then", [COMPILES, BY_ATTRIBUTE], ids=["submodule", "attribute"])
def test_the_compiler_is_imported_when_it_is_needed(then):
    command = [sys.executable, "-W", "ignore", "-c", STEPS + then]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
