"""Facts about tensors: the same verdicts by torch's guards and by what is public."""

import sys

import pytest
import torch

from ravine.torch.memory import facts

GUARDS = "torch._C._dynamo.guards"


def plain():
    return torch.arange(9.0).reshape(3, 3)


OTHERS = {
    "shape": lambda: torch.zeros(9),
    "strides": lambda: plain().t(),
    "dtype": lambda: plain().double(),
    "device": lambda: plain().to("meta"),
    "gradient wanted": lambda: plain().requires_grad_(),
    "negated by a flag": lambda: torch._neg_view(plain()),
    "sparse": lambda: plain().to_sparse(),
    "parameter": lambda: torch.nn.Parameter(plain(), False),
    "subclass": lambda: plain().as_subclass(type("Mine", (torch.Tensor,), {})),
    "number": lambda: 1.0,
    "nothing": lambda: None,
}


@pytest.fixture(params=["guards", "public"])
def known(request, monkeypatch):
    if request.param == "public":
        monkeypatch.setitem(sys.modules, GUARDS, None)
    made = facts([plain(), torch.tensor(1.0, requires_grad=True)])
    assert (type(made).__name__ == "TensorGuards") == (request.param == "guards")
    return made


def test_other_numbers_at_other_addresses_are_the_same(known):
    assert known.check(plain() + 1, torch.tensor(2.0, requires_grad=True))


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_else_differs_is_noticed(known, other):
    assert not known.check(OTHERS[other](), torch.tensor(1.0, requires_grad=True))
