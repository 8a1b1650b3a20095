"""Type checkers accept user code, know what it makes, and refuse what is wrong in it."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import ravine

pytest.importorskip("torch", reason="torch is not installed")
SOURCE = str(Path(ravine.__file__).parents[1])  # the checkers are to read what is imported here

# Lines that end in "# refused" must be errors, and no others.
USER_CODE = """
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from typing_extensions import assert_type

import ravine.torch
import ravine.torch as optim
from ravine.rules import adam
from ravine.torch import SGD, Adam, AdamW, Mixed, Muon, RuleOptimizer, param_groups
from ravine.torch.lr_scheduler import CosineAnnealingLR
from ravine.torch.swa_utils import AveragedModel, SWALR

model = nn.Linear(2, 2)
opt = Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.95), engine="kernel")
assert_type(opt, Adam)
one_of_torchs: torch.optim.Optimizer = opt
named = AdamW(model.named_parameters(), lr=torch.tensor(1e-3), state_dtype=torch.bfloat16)
groups: list[dict[str, Any]] = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias]}]
grouped = SGD(groups, lr=0.1, momentum=0.9, stochastic_rounding=7, grad_norm=True)
assert_type(grouped.last_grad_norm, float)
decayed = AdamW(param_groups(model), lr=1e-3)
muon = Muon([model.weight], adjust_lr_fn="match_rms_adamw")
muon = Muon([model.weight], adjust_lr_fn="spectral_unclamped")
mixed = Mixed([{"params": [model.weight], "rule": "Muon"}], engine="auto")
every: list[RuleOptimizer] = [opt, named, grouped, decayed, muon, mixed]


def closure() -> torch.Tensor:
    opt.zero_grad(set_to_none=True)
    loss = model(torch.ones(2)).sum()
    loss.backward()
    return loss


assert_type(opt.step(closure), torch.Tensor)
assert_type(opt.step(lambda: 1.0), float)
opt.step()
named_stack = ravine.torch.optimizer("clip_by_norm(adamw)")([model.weight], lr=0.1)
by_class = ravine.torch.Lion([model.weight], lr=1e-4, betas=(0.9, 0.99), engine="kernel")
schedules = StepLR(opt, 10), OneCycleLR(opt, 0.1, 10)
opt.load_state_dict(opt.state_dict())
opt.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": 0.1})
assert_type(opt.engine, str)

torchs: torch.optim.AdamW = named
an_adam: Adam = named
an_optimizer: optim.Optimizer = optim.LBFGS(model.parameters(), lr=0.1)
assert_type(optim.LBFGS(model.parameters()), torch.optim.LBFGS)
cosine: optim.lr_scheduler.LRScheduler = CosineAnnealingLR(opt, 10)
assert_type(optim.lr_scheduler.StepLR(opt, 10), StepLR)
averaged = AveragedModel(model), optim.swa_utils.SWALR(opt, 0.1), SWALR(opt, 0.1)

Lion = ravine.torch.optimizer(adam, name="Lion")
lion = Lion(model.parameters(), lr=1e-3, beta1=0.5, engine="eager")
as_any: torch.optim.Optimizer = lion

Adam(model.parameters(), lrr=1e-3)  # refused
Adam(model.parameters(), lr="fast")  # refused
Adam(model.parameters(), betas=0.9)  # refused
Adam(model.parameters(), engine="fast")  # refused
Adam(model.parameters(), state_dtype="bfloat16")  # refused
Adam(model)  # refused
Muon(model.parameters(), adjust_lr_fn="fast")  # refused
opt.stepp()  # refused
not_a_sgd: SGD = opt  # refused
optim.lr_scheduler.StepLr(opt, 10)  # refused
opt.step(3)  # refused
opt.add_param_group([model.weight])  # refused
ravine.torch.optimizer(3)  # refused
"""
REFUSED = {i for i, x in enumerate(USER_CODE.splitlines(), 1) if x.endswith("# refused")}


def mypy(path, cache):
    words = ["-m", "mypy", "--config-file=", f"--cache-dir={cache}", "--output=json", path.name]
    for line in run(words, path.parent).splitlines():
        found = json.loads(line)
        if found["severity"] == "error" and found["file"] == path.name:
            yield found["line"], found["message"]


def basedpyright(path, _):
    settings = {"typeCheckingMode": "standard", "extraPaths": [SOURCE]}
    (path.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    words = ["-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, path]
    for found in json.loads(run(words, path.parent))["generalDiagnostics"]:
        if found["severity"] == "error":
            yield found["range"]["start"]["line"] + 1, found["message"]


def run(words, folder):
    words, environment = [sys.executable, *words], {**os.environ, "MYPYPATH": SOURCE}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True).stdout


@pytest.mark.parametrize("checker", [mypy, basedpyright], ids=lambda f: f.__name__)
def test_user_code_is_accepted_and_wrong_code_is_not(checker, tmp_path, pytestconfig):
    if not find_spec(checker.__name__):
        pytest.skip(f"{checker.__name__} is not installed")
    path = tmp_path / "user_code.py"
    path.write_text(USER_CODE)
    found = dict(checker(path, pytestconfig.cache.mkdir("mypy_of_user_code")))
    assert found.keys() == REFUSED, found


def test_the_package_says_that_it_is_typed():
    assert Path(ravine.__file__).with_name("py.typed").exists()
