"""Entrants: rules, expressions, files, and other people's optimizers, by one name each."""

import pickle
import sys

import pytest
import torch
from torch import nn

import ravine
from ravine.races.entrants import entrant, entrants, memory

MINE = """
import torch
from ravine import rule
from ravine.hyperparameters import searched
from ravine.ops import sign

@rule(lr=searched(1e-5, 1e-2))
def signs(p, g, *, lr=1e-3, weight_decay=0.1):
    return p - lr * (sign(g) + weight_decay * p)

class Slow(torch.optim.SGD):
    def __init__(self, params, lr=0.5, momentum=0.25, **more):
        super().__init__(params, lr, momentum, **more)
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return str(path)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)
    )


def test_a_rule_races_with_the_space_that_it_declares():
    found = entrant("AdamW")
    assert found.label == "adamw"
    assert found.defaults["weight_decay"] == 0.01
    declared = {k: (*h.search, h.towards) for k, h in ravine.get("adamw").hyperparameters.items()}
    assert found.space("") == {}
    assert found.space("lr") == {"lr": declared["lr"]}
    names = ("lr", "beta1", "beta2", "weight_decay")  # and not eps
    assert found.space("all") == {k: declared[k] for k in names}


def test_expressions_and_options_are_entrants():
    found = entrant("clip_by_norm(sgd, max_norm=0.5)")
    assert found.label == "clip_by_norm(sgd, max_norm=0.5)"
    assert found.defaults["max_norm"] == 0.5
    assert entrant("adam(beta1=0.8)").defaults["beta1"] == 0.8


def test_rules_and_classes_of_files(mine):
    rule, kind = entrant(f"{mine}:signs"), entrant(f"{mine}:Slow(momentum=0.5)")
    assert rule.space("all") == {"lr": (1e-5, 1e-2, 0.0), "weight_decay": (1e-5, 1.0, 0.0)}
    assert (kind.defaults["lr"], kind.defaults["momentum"]) == (0.5, 0.5)
    model = network()
    optimizer = kind.build(model, {"lr": 0.1, "momentum": 0.5})
    assert type(optimizer).__name__ == "Slow"
    assert (optimizer.defaults["lr"], optimizer.defaults["momentum"]) == (0.1, 0.5)


def test_other_peoples_optimizers_take_betas():
    found = entrant("torch.optim:Adam(weight_decay=0.1)")
    assert found.label == "torch.optim:Adam(weight_decay=0.1)"
    assert found.space("lr") == {"lr": (1e-5, 1e-1, 0.0)}
    values = {**found.defaults, "lr": 0.02, "beta1": 0.8}
    defaults = found.build(network(), values).defaults
    assert (defaults["lr"], defaults["betas"]) == (0.02, (0.8, 0.999))
    assert defaults["weight_decay"] == 0.1
    assert torch.__version__ in found.rule


def test_frozen_parameters_are_left_out():
    model = network()
    model[0].requires_grad_(False)
    for name in ("adam", "torch.optim:Adam", "muon"):
        optimizer = entrant(name).build(model, entrant(name).defaults)
        stepped = [p for group in optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in stepped} == {id(p) for p in [*model[2:].parameters()]}, name


def test_muon_races_with_adamw_for_what_is_no_hidden_matrix():
    model, found = network(), entrant("muon")
    pair = found.build(model, {**found.defaults, "lr": 0.02})
    muon, adamw = pair.parts
    assert [p.shape for p in muon.param_groups[0]["params"]] == [(4, 1, 3, 3), (8, 16)]
    assert [tuple(p.shape) for p in adamw.param_groups[0]["params"]] == [
        (4,),
        (8,),
        (2, 8),
        (2,),
    ]
    assert [part.param_groups[0]["lr"] for part in pair.parts] == [0.02, 0.02]
    assert found.defaults["match_adamw"] is True
    assert "AdamW with the same lr" in found.remark
    assert entrant("muon(match_adamw=false)").defaults["match_adamw"] is False
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.ones(1, 1, 4, 4)).sum().backward()
    pair.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    count = sum(p.numel() for p in model.parameters())
    others = sum(p.numel() for p in adamw.param_groups[0]["params"])
    assert memory(pair, count) == pytest.approx(4 * (count + others) / count)


def test_the_digest_is_of_what_an_optimizer_computes():
    assert entrant("adam").rule == entrant("Adam").rule
    assert len({entrant(x).rule for x in ("adam", "adamw", "sgd", "nadam", "muon", "amsgrad")}) == 6


@pytest.mark.parametrize("name", ["adamw", "clip_by_norm(sgd)", "torch.optim:Adam", "muon"])
def test_an_entrant_travels_to_other_processes(name):
    found = entrant(name)
    again = pickle.loads(pickle.dumps(found))
    assert (again.label, again.rule, again.defaults) == (found.label, found.rule, found.defaults)


def test_a_rule_or_a_class_is_an_entrant_as_well():
    assert entrant(ravine.get("adam")).rule == entrant("adam").rule
    assert entrant(torch.optim.NAdam).label == "NAdam"
    assert entrant(ravine.torch.optimizer(ravine.get("adam"))).rule == entrant("adam").rule


def test_two_of_one_label_are_called_by_their_whole_names(mine, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("def signs(p, g, *, lr=0.5):\n    return p - lr * g\n")
    found = entrants([f"{mine}:signs", "sgd", f"{other}:signs"])
    assert [x.label for x in found] == [f"{mine}:signs", "sgd", f"{other}:signs"]
    again = [pickle.loads(pickle.dumps(x)) for x in found]
    assert [(x.label, x.rule) for x in again] == [(x.label, x.rule) for x in found]


def test_what_cannot_race_is_said(mine):
    with pytest.raises(ValueError, match="adam is in the race twice"):
        entrants(["sgd", "adam", "Adam"])
    with pytest.raises(ValueError, match="a race needs an optimizer"):
        entrants([])
    with pytest.raises(LookupError, match="no rule is called 'adma'; did you mean 'adam'"):
        entrants(["adma"])
    with pytest.raises(ValueError, match=r"3 cannot race; an optimizer is a name, a rule"):
        entrant(3)
    with pytest.raises(ValueError, match="Adam has no option 'beta7'"):
        entrant("torch.optim:Adam(beta7=0.1)")
    with pytest.raises(LookupError, match="has no rule 'Fast'"):
        entrant(f"{mine}:Fast")

    from ravine import rule, signal

    @rule
    def adam(p, g, *, lr=0.1):
        return p - lr * g

    with pytest.raises(ValueError, match=r"two optimizers of the race are called 'adam'; give"):
        entrants(["adam", adam])

    @rule
    def curved(p, g, *, lr=0.1, hessian=signal()):
        return p - lr * g

    with pytest.raises(ValueError, match="curved cannot race: it takes hessian besides gradients"):
        entrant(curved)


def test_timm_races_without_the_torchvision_that_it_imports(tmp_path, monkeypatch):
    (tmp_path / "timm" / "optim").mkdir(parents=True)
    (tmp_path / "timm" / "__init__.py").write_text("import torchvision_that_is_missing")
    (tmp_path / "timm" / "optim" / "__init__.py").write_text(
        "import torch\nclass Lamb(torch.optim.SGD):\n    pass\n"
    )
    for name in ("timm", "timm.models", "timm.optim"):  # absent now, and afterwards as before
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name))
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("ravine.elsewhere.find_spec", lambda name: None)
    assert entrant("timm.optim:Lamb").label == "timm.optim:Lamb"
