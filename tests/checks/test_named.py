"""Each named check catches its own broken optimizer, and is silent on right ones."""

import importlib
import inspect
import pkgutil
import random
import re

import checks.broken
import numpy as np
import torch
from checks.broken import right, right_torch

from ravine.checks import check_optimizer
from ravine.checks.kinds.base import HAS
from ravine.checks.registry import checks as every_check
from ravine.checks.running import chosen


def _own():
    named = "ravine.checks.named."
    return {k: x for k, x in every_check().items() if x.run.__module__.startswith(named)}


def _broken():
    """The wrong optimizers of each check, by its name; each in the file that is named like the check's."""
    found = {}
    for info in pkgutil.iter_modules(checks.broken.__path__):
        module = importlib.import_module(f"checks.broken.{info.name}")
        for x in vars(module).values():
            if "caught_by" in vars(x) if inspect.isclass(x) else False:
                found.setdefault(x.caught_by, []).append((info.name, x))
    return found


def _result(make, name):
    report = check_optimizer(make, only=[name], seconds=0.3)
    return next(r for r in report.results if r.check == name)


def test_each_check_catches_its_own_and_is_silent_on_the_right_ones():
    own, broken = _own(), _broken()
    assert {*broken} == {*own}
    for name, each in own.items():
        for file, make in broken[name]:
            assert file == each.family, f"{make.__name__} belongs into broken/{each.family}.py"
            result = _result(make, name)
            if each.fact:
                other = _result(
                    right_torch.Momentum if "torch" in str(make.__mro__) else right.Sgd, name
                )
                assert (result.verdict, other.verdict) == ("fact", "fact")
                assert result.says != other.says, name
            else:
                assert result.verdict == "fault", (name, make.__name__, result)
    for make in (right.Sgd, right.Momentums, right_torch.Momentum, right_torch.Adam):
        report = check_optimizer(make)
        assert report.code == 0, str(report)
        assert not [r for r in report.results if r.verdict == "could not run"], report.to_json()


def test_every_check_says_what_it_runs_what_a_fault_is_and_how_to_fix_it():
    for name, each in _own().items():
        parts = [x.partition(":")[0] for x in each.explains.split("\n\n")]
        assert parts == (["Runs", "Fact"] if each.fact else ["Runs", "Fault", "Fix"]), name
        assert re.fullmatch(r"[A-Z].*\.", each.asks), name
        assert each.needs <= {*HAS}, name


def test_no_false_alarm_on_ravines_own():
    """Those that had one: shared slots, reductions, random numbers, first steps that are skipped, lr of 1."""
    for spec in (
        *("adam", "lamb", "dog", "prodigy_bias_corrected", "radam_skipping", "sgld", "mars"),
        *("schedule_free_adamw", "shampoo", "ravine.torch:Rprop", "ravine.torch:AdamW"),
        *("ravine.numpy:LAMB", "ravine.numpy:SGD"),
    ):
        report = check_optimizer(spec)
        assert report.code == 0, str(report)
        assert not [r for r in report.results if r.verdict == "could not run"], report.to_json()


def test_a_switch_is_flipped_only_with_what_it_acts_on():
    """As in optax.sgd, where nesterov does nothing without a momentum."""

    class Sgd:
        def __init__(self, lr=0.1, momentum=None, nesterov=False):
            self.lr, self.momentum, self.nesterov, self.b = lr, momentum, nesterov, None

        def update(self, params, grads):
            if self.momentum is not None:
                old = self.b or [0] * len(params)
                self.b = [self.momentum * b + g for b, g in zip(old, grads, strict=True)]
                ahead = [self.momentum * b + g for b, g in zip(self.b, grads, strict=True)]
                grads = ahead if self.nesterov else self.b
            return [p - self.lr * g for p, g in zip(params, grads, strict=True)]

    for given in ({}, {"momentum": 0.9}):
        report = check_optimizer(Sgd, arguments=given, only=["identity", "sensitivity"])
        assert report.code == 0, str(report)


def test_a_family_is_a_name_for_its_checks():
    own = _own()
    assert {*chosen(["state", "quiet"])} == {k for k, x in own.items() if x.family == "state"} | {
        "quiet"
    }
    assert [*chosen(["identity"])] == ["identity"]


class _Exits(right_torch.Momentum):
    def state_dict(self):
        print("leaving")
        raise SystemExit(3)


class _Odd(right_torch.Momentum):
    def __deepcopy__(self, memo):
        raise MemoryError("no room")

    def zero_grad(self, set_to_none=True):
        raise SystemExit


def test_what_a_check_sets_off_is_kept_in(capsys):
    report = check_optimizer(_Exits, only=["saves", "resumes", "quiet"])
    found = {r.check: r for r in report.results}
    assert found["saves"].verdict == "fault"
    assert "its state cannot be saved: it calls sys.exit(3)" in found["saves"].says
    assert found["resumes"].verdict == "skipped"
    report = check_optimizer(_Odd, only=["deep_copies", "closures"])
    found = {r.check: r for r in report.results}
    assert found["deep_copies"].says == "it cannot be copied: no room"
    assert (found["closures"].verdict, found["closures"].says[:19]) == (
        "could not run",
        "it calls sys.exit()",
    )
    assert capsys.readouterr().out == ""


def test_random_numbers_of_others_are_left_alone():
    def drawn():
        return torch.rand(1), random.random(), np.random.random()  # noqa: NPY002

    def seed():
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002

    seed()
    expected = drawn()
    seed()
    check_optimizer(torch.optim.SGD, only=["resumes", "deterministic"])
    assert drawn() == expected
