"""The benchmark against other packages: of torch's own classes here, since no other is installed."""

from unittest import mock

import pytest
import torch

from ravine import registry
from ravine.bench import peers
from ravine.cards import Witness


def test_the_rows():
    rows = list(peers.run(["scalars"], ["torch"], ["adam"], seconds=0.0))
    assert [row["name"] for row in rows] == ["torch.optim.Adam"]
    row = rows[0]
    if "is installed" in row.get("skipped", ""):
        pytest.skip(f"the witness is of another torch: {row['skipped']}")
    assert row["ratio"] == pytest.approx(row["their_us"] / row["us"])
    assert row["package"].startswith("torch ")
    assert row["engine"] == "kernel"


def test_what_is_not_installed_or_another_version_is_said(monkeypatch):
    made = registry.get("adam")
    for package, why in (("not-there 1.0", "not installed"), ("torch 0.1", "is installed")):
        witness = Witness(package, "torch.optim.Adam(lr=lr)")
        assert why in peers._row(made, witness, "scalars", 0.0)["skipped"]
    broken = Witness(f"torch {torch.__version__.partition('+')[0]}", "torch.optim.Adam(lrr=lr)")
    assert "TypeError" in peers._row(made, broken, "scalars", 0.0)["skipped"]


def test_other_loops_are_asked_for_in_the_same_call():
    params = [torch.zeros(2, requires_grad=True)]
    for call in ("torch.optim.Adam(lr=lr, foreach=False)", "torch.optim.Adam()"):
        made = peers.make(Witness("torch 2", call), {"lr": 0.5}, params, foreach=True)
        assert made.defaults["foreach"] is True


def test_what_a_package_prints_does_not_join_our_output(monkeypatch, capsys):
    class Loud(torch.optim.Adam):
        def __init__(self, params, lr):
            print("please upgrade")
            super().__init__(params, lr)

    monkeypatch.setattr(torch.optim, "Loud", Loud, raising=False)
    made = peers.make(Witness("torch 2", "torch.optim.Loud(lr=lr)"), {"lr": 0.5}, [torch.zeros(2)])
    assert made.defaults["lr"] == 0.5
    assert capsys.readouterr().out == ""


def test_rules_of_matrices_have_the_matrices():
    assert [p.ndim for p in peers._parameters(registry.get("muon"), "mlp")] == [2, 2, 2]
    assert len(peers._parameters(registry.get("adam"), "mlp")) == 6
    seen = peers._parameters(registry.get("muon_jordan"), "resnet18")
    assert {p.ndim for p in seen} == {2, 4}


def test_gradients_that_are_thrown_away_are_given_again():
    class Careless(torch.optim.SGD):
        def step(self):
            super().step()
            self.zero_grad(set_to_none=True)

    for cls in (Careless, torch.optim.SGD):
        params = [torch.zeros(2, requires_grad=True)]
        params[0].grad = torch.ones(2)
        step = peers.stepping(cls(params, lr=1.0), params)
        step()
        assert params[0].tolist() == [-2.0, -2.0]


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match="'vgg' is invalid"):
        list(peers.run(["vgg"]))


def test_what_decomposes_matrices_is_compared_over_ten_steps():
    torch_now = Witness(f"torch {torch.__version__.partition('+')[0]}", "torch.optim.SGD(lr=lr)")
    with mock.patch.object(peers, "PERIODIC", {"shampoo": (torch_now,)}):
        [row] = peers.run_periodic(["mlp"], rules=["shampoo"], seconds=0.0)
        assert not [*peers.run_periodic(["mlp"], rules=["adam"])]
        assert not [*peers.run_periodic(["mlp"], packages=["timm"])]
    assert (row["rule"], row["shapes"], row["engine"]) == (
        "shampoo",
        "mlp",
        "kernel, matrices by BLAS",
    )
    assert row["turns"] >= 3
    assert row["ratio"] == pytest.approx(row["their_us"] / row["us"])
    assert row["ratio"] < 1


def test_what_is_compared_over_ten_steps_has_every_as_an_option():
    for name, witnesses in peers.PERIODIC.items():
        assert "every" in registry.get(name).hyperparameters
        assert all("=every" in witness.call for witness in witnesses)
