"""What once was a false alarm, and a few of each library; `make alarms` has all."""

import pytest
from checks.misbehaving import Sgd

from false_alarms import Right, right_ones
from ravine.checks import check_optimizer

torch = pytest.importorskip("torch")


def _of(library, *names):
    found = [x for x in right_ones(library) if str(x) in names]
    assert len(found) == len(names), found
    return found


def test_no_false_alarm_on_ravines_classes():
    for each in (
        *_of("ravine.torch", "ravine.torch:LaProp()", "ravine.torch:AdaBelief()"),
        *_of("ravine.numpy", "ravine.numpy:Yogi()", "ravine.numpy:QHAdam()"),
    ):
        assert each.rule
        assert not each.alarm(each.report())


def test_no_false_alarm_on_torchs_options():
    lr = f"lr={torch.tensor(0.001)}"
    if torch.__version__ < "2.10":
        pytest.skip("its own tests have other options")
    names = ("Adagrad(" + lr + ")", "ASGD(maximize=True)", "Muon(ns_steps=6)")
    for each in _of("torch", *(f"torch.optim:{x}" for x in names)):
        assert not each.alarm(each.report())
    for name in ("Muon", "AdamW"):
        single = Right(f"torch.optim:{name}", {"lr": torch.tensor(0.001)})
        assert not single.alarm(
            check_optimizer(single.spec, arguments=single.given, only=["as_it_comes"])
        )
    lbfgs = Right("torch.optim:LBFGS", {"line_search_fn": "strong_wolfe"})
    found = lbfgs.alarm(lbfgs.report(seconds=0.5))
    # By rounding, torch's line search sometimes loses its bracket, and raises an IndexError itself.
    assert not found or "IndexError: list index out of range (lbfgs.py" in found


def test_an_alarm_is_told():
    assert "nothing moves" in Right("x").alarm(check_optimizer(lambda params, grads: params))
    assert "it is lion: " in Right("x", rule="lion").alarm(check_optimizer(Sgd))


def test_what_takes_more_than_gradients_is_not_checked():
    for spec in ("sophia", "ravine.torch:Sophia", "ravine.numpy:AdaHessian"):
        report = check_optimizer(spec)
        assert report.code == 2
        assert "cannot be stepped: its steps take hessian besides gradients" in report.headline
