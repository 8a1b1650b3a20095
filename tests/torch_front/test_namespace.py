"""`import ravine.torch as optim` in the place of `import torch.optim as optim`: every name, and every
relation between the classes.
"""

import copy
import pickle
import subprocess
import sys
from itertools import product

import pytest
import torch
from installed import CLASSES, RAVINES
from torch import nn

import ravine.torch as optim

TORCHS_OWN = {"LBFGS", "Optimizer", "lr_scheduler", "swa_utils"}
LATER = {"swap_in_optimizer_params_and_state"}  # not in every torch


def test_every_name_of_torchs_is_here():
    names = {name for name in vars(torch.optim) if name in torch.optim.__all__}
    assert names <= {*optim.__all__}
    same = {name for name in names if getattr(optim, name) is getattr(torch.optim, name)}
    assert same == TORCHS_OWN | LATER & names
    assert names - same == {*CLASSES}
    assert all(hasattr(optim, name) for name in optim.__all__)


PROGRAM = """
from ravine.torch.lr_scheduler import CosineAnnealingLR, _LRScheduler
import ravine.torch.swa_utils as averages
import ravine.torch as optim
import torch
assert optim.lr_scheduler is torch.optim.lr_scheduler and averages is torch.optim.swa_utils
assert CosineAnnealingLR is torch.optim.lr_scheduler.CosineAnnealingLR
assert _LRScheduler is torch.optim.lr_scheduler._LRScheduler
from ravine.torch.swa_utils import AveragedModel
import importlib
assert importlib.import_module("ravine.torch.lr_scheduler") is torch.optim.lr_scheduler
print("as torch's")
"""


def test_the_modules_can_be_imported_from_by_their_paths():
    """In a process where nothing has imported them before."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "as torch's\n", done.stderr


def test_a_program_written_for_torchs_namespace():
    x = torch.linspace(-1, 1, 16, dtype=torch.float64)[:, None]
    model = nn.Linear(1, 1, dtype=torch.float64)
    optimizer: optim.Optimizer = optim.AdamW(model.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    average = optim.swa_utils.AveragedModel(model)

    def closure():
        model.zero_grad()
        loss = (model(x) - 3 * x - 1).square().mean()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    for _ in range(40):
        optimizer.step(closure)
        schedule.step()
        average.update_parameters(model)
    assert closure() < first / 4
    optim.LBFGS(model.parameters()).step(closure)
    assert closure() < 1e-9
    assert optimizer.param_groups[0]["lr"] == 0
    assert average(x).shape == x.shape


@pytest.mark.skipif(not hasattr(torch.optim, *LATER), reason="the installed torch has none")
def test_parameters_and_state_can_be_swapped_in():
    p = torch.ones(3, dtype=torch.float64, requires_grad=True)
    q = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    p.grad = q.grad = torch.ones_like(p)
    stepper = optim.SGD([p], lr=0.1, momentum=0.5)
    stepper.step()
    saved = copy.deepcopy(stepper.state_dict())
    with optim.swap_in_optimizer_params_and_state(stepper, {"q": q}, saved):
        stepper.step()
    assert q.tolist() == pytest.approx([-0.15] * 3)
    assert saved["state"][0]["momentum_buffer"].tolist() == [1.5] * 3
    assert p.tolist() == pytest.approx([0.9] * 3)
    stepper.step()
    assert p.tolist() == pytest.approx([0.75] * 3)


# --- subclasses


@pytest.mark.parametrize("name", CLASSES)
def test_an_optimizer_is_one_of_torchs_class(name):
    ours, theirs = getattr(optim, name), getattr(torch.optim, name)
    assert issubclass(ours, theirs)
    assert isinstance(ours([torch.ones(2, 2, requires_grad=True)]), theirs)


def test_subclasses_are_those_of_torchs():
    for a, b in product(CLASSES, CLASSES):
        if issubclass(getattr(torch.optim, a), getattr(torch.optim, b)):
            assert issubclass(getattr(optim, a), getattr(optim, b)), (a, b)
        elif (a, b) != ("AdamW", "Adam"):  # which it is from torch 2.7 on
            assert not issubclass(getattr(optim, a), getattr(optim, b)), (a, b)
    assert issubclass(optim.AdamW, optim.Adam)
    assert not issubclass(optim.AdamW, optim.SGD)


def test_what_has_no_class_in_torch_is_an_optimizer():
    for cls in (optim.Mixed, optim.optimizer(lambda p, g, *, lr=0.1: p - lr * g, name="Mine")):
        assert issubclass(cls, torch.optim.Optimizer)
        assert not any(issubclass(cls, getattr(torch.optim, name)) for name in CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_nothing_of_torchs_class_is_in_front_of_ravines(name):
    ours, theirs = getattr(optim, name), getattr(torch.optim, name)
    order = ours.__mro__
    assert order.index(optim.RuleOptimizer) < order.index(theirs)
    for attribute, value in vars(theirs).items():
        if attribute != "_init_group" and callable(value):  # which only torch's step calls
            assert getattr(ours, attribute) is not value, attribute


@pytest.mark.parametrize("name", CLASSES)
def test_nothing_of_torchs_class_runs(name, monkeypatch):
    """Through a whole life: made, stepped, copied, saved, loaded, shown, given another group."""

    def called(*_, **__):
        raise AssertionError("torch's method was called")

    for theirs in getattr(optim, name).__mro__:
        if theirs.__module__.startswith("torch.optim") and theirs is not torch.optim.Optimizer:
            for attribute, value in [*vars(theirs).items()]:
                if callable(value):
                    monkeypatch.setattr(theirs, attribute, called)
    p = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    p.grad = torch.ones_like(p)
    stepper = getattr(optim, name)([p])
    stepper.step()
    stepper.add_param_group({"params": [torch.ones(2, 2, requires_grad=True)]})
    copies = [copy.deepcopy(stepper), pickle.loads(pickle.dumps(stepper))]
    assert [repr(other) for other in copies] == [repr(stepper)] * 2
    stepper.load_state_dict(stepper.state_dict())
    stepper.zero_grad()
    p.grad = torch.ones_like(p)
    stepper.step()
    for other in copies:
        q = other.param_groups[0]["params"][0]
        q.grad = torch.ones_like(q)
        other.step()
        assert torch.equal(p, q)


def test_the_sums_of_adagrad_can_be_shared_as_in_torch():
    for module in (optim, torch.optim):
        p = torch.ones(3, requires_grad=True)
        stepper = module.Adagrad([p], lr=0.5, initial_accumulator_value=3)
        stepper.share_memory()
        shared = stepper.state[p]["sum"]
        assert shared.is_shared()
        assert shared.tolist() == [3, 3, 3]
        p.grad = torch.ones_like(p)
        for step in range(3):
            stepper.step()
            assert stepper.state[p]["sum"] is shared
            assert shared.tolist() == [4 + step] * 3
        stepper.share_memory()


@pytest.mark.parametrize("name", RAVINES)
def test_a_class_of_the_users_own_stands_before_both(name):
    class Mine(getattr(optim, name)):
        def __init__(self, params, **options):
            super().__init__(params, lr=0.5, **options)
            self.seen = 0

        def step(self, closure=None):
            self.seen += 1
            return super().step(closure)

    p = torch.ones(2, 2, requires_grad=True)
    p.grad = torch.ones_like(p)
    stepper = Mine([p])
    stepper.step()
    assert (stepper.seen, stepper.defaults["lr"]) == (1, 0.5)
    assert (p < 1).all()
