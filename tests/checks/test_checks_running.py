import json
import os
import re
import subprocess
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from checks import misbehaving
from checks.broken.descent import ClimbingSgd
from checks.public_faults import Adam
from typer.testing import CliRunner

import ravine.checks
from ravine.checks import check_optimizer
from ravine.checks.process import _line, apart
from ravine.checks.report import Report
from ravine.cli import app

HERE = str(Path(__file__).with_name("misbehaving.py"))
TORCH = pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")


def test_what_prints_is_told_and_not_printed(capsys):
    report = check_optimizer(misbehaving.Prints)
    assert next(r for r in report.results if r.check == "quiet").says == "it prints 'stepping'"
    assert capsys.readouterr().out == ""


def test_what_cannot_run_is_reported():
    for make, says in {
        misbehaving.CannotBeMade: "cannot be made: RuntimeError: no licence .misbehaving.py, line",
        misbehaving.CrashesInStep: "fails in step 1: IndexError.*misbehaving.py, line",
        misbehaving.CallsExit: "it calls sys.exit..that was enough",
        misbehaving.ReturnsNothing: "nothing moves",
    }.items():
        report = check_optimizer(make, seconds=0.5)
        assert report.finding.verdict == (
            "fault" if make is misbehaving.ReturnsNothing else "could not run"
        )
        assert re.search(says, report.headline), report.headline
        assert report.code == (1 if make is misbehaving.ReturnsNothing else 2)
        assert not any(r.verdict == "fact" for r in report.results if r.check != "state_memory")
        assert "is not :" not in report.headline
    report = check_optimizer("no_such_file.py:Adam")
    assert report.code == 2
    assert "no file" in report.headline
    for spec in (HERE, f"{HERE}:", f"{HERE}:NotThere"):
        says = check_optimizer(spec).headline
        assert "; it has Sgd, CannotBeMade, " in says, says
    with pytest.raises(ValueError, match="seconds=-1 is invalid; it must be greater than 0"):
        check_optimizer(misbehaving.Sgd, seconds=-1)


@TORCH
def test_a_step_that_needs_a_closure_gets_one():
    import torch

    class Needy(torch.optim.SGD):
        def step(self, closure):
            with torch.enable_grad():
                loss = closure()
            assert loss.dtype == torch.float64
            super().step()
            return loss

    assert check_optimizer(Needy, like="sgd", only=["identity"]).verdict == "right"


def test_rules_whose_singular_vectors_rounding_decides_are_identified():
    report = check_optimizer("soap", only=["identity", "options_in_use"])
    assert (report.verdict, report.finding.rule) == ("right", "soap"), report


@TORCH
def test_a_torch_class_is_identified_without_compiled_kernels(monkeypatch):
    import torch

    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    report = check_optimizer(torch.optim.Muon, only=["identity"])
    assert report.finding.rule == "muon + decoupled decay", report


def test_a_constant_of_its_own_is_no_fault():
    report = check_optimizer(f"{HERE}:fixed_sgd")
    assert report.code == 0, report
    assert report.headline == f"{HERE}:fixed_sgd is sgd (its lr is 0.05)"


def test_what_becomes_nan_is_a_fault():
    report = check_optimizer(misbehaving.BecomesNan, only=["identity"])
    assert report.code == 1
    assert "parameters become NaN" in report.headline
    assert "in step 3, 24 of 72 parameters become NaN" in str(report)


@TORCH
def test_an_adamw_with_l2_decay_is_another_rule():
    import torch

    coupled = type("AdamW", (torch.optim.Adam,), {})
    report = check_optimizer(coupled, arguments={"weight_decay": 0.1}, only=["identity"])
    assert (report.code, report.verdict) == (1, "another rule")
    assert report.headline.startswith("AdamW is not adamw, but adam + L2 decay: ")


def test_another_process_bears_what_this_one_could_not():
    report = apart(f"{HERE}:LeavesTheProcess", only=["identity"])
    assert report.code == 2
    assert (
        "LeavesTheProcess ended its process with code 7, in the check identity" in report.headline
    )
    heard = []
    report = apart(f"{HERE}:Hangs", only=["identity"], timeout=8, waiting=heard.append)
    assert report.code == 2
    assert "Hangs did not finish within 8 s" in report.headline
    assert len(heard) == 1
    assert re.search(
        "Hangs is still running the check identity after 5 s; it will be stopped in 3 s", heard[0]
    )
    told = '  File "/usr/lib/time.py", line 3 in sleep\n  File "mine.py", line 40 in step\n'
    assert _line(told.replace("/usr/lib", str(Path(json.__file__).parent))) == "mine.py, line 40"
    with pytest.raises(LookupError, match="no rule is called 'adma'"):
        apart(f"{HERE}:Sgd", "adma")
    with pytest.raises(ValueError, match="no argument 'lrr'"):
        apart(f"{HERE}:Sgd", arguments={"lrr": 1})


def test_what_was_found_before_a_crash_is_kept():
    report = apart(f"{HERE}:CrashesLate", only=["identity", "descends"], timeout=60)
    assert [r.verdict for r in report.results] == ["pass", "could not run"], report
    assert re.search(
        "is sgd; but it crashed with signal 11 .misbehaving.py, line .*, in the check descends$",
        report.headline,
    )
    assert report.code == 2
    assert Report.of_dict(json.loads(report.to_json())).ended == report.ended
    for name in ("BreaksImports", "KeepsItsProcess"):
        report = apart(f"{HERE}:{name}", only=["identity"], timeout=60)
        assert "ended its process with code 1 (KeyError" in report.headline


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_fork_is_a_fault_and_does_not_check():
    begun = time.monotonic()
    report = apart(f"{HERE}:Forks", only=["identity", "quiet"], timeout=60)
    assert [(r.check, r.verdict) for r in report.results] == [
        ("identity", "pass"),
        ("quiet", "fault"),
    ]
    assert "it forks the process" in str(report)
    assert time.monotonic() - begun < 100  # nobody waits for the child


def test_the_command():
    run = CliRunner().invoke
    result = run(app, ["check", f"{HERE}:Sgd", "--all", "--only", "identity,quiet"])
    assert result.exit_code == 0, result.output
    assert "Sgd is sgd" in result.output
    assert "✓ quiet" in result.output
    result = run(app, ["check", f"{HERE}:FixedLr", "--json", "--only", "identity"])
    assert result.exit_code == 1
    its = json.loads(result.stdout)
    assert its["verdict"] == "other numbers"
    assert "acts as 0.1" in its["headline"]
    result = run(app, ["check", f"{HERE}:Sgd", "--like", "lion", "--seconds", "0.5"])
    assert result.exit_code == 1
    assert "is not lion" in result.output.replace("\n", " ")
    result = run(app, ["check", "--explain", "identity"])
    assert "path of a known rule" in result.output
    assert "deterministic" in run(app, ["check", "--list"]).output
    with pytest.raises(LookupError, match=r"'identiti'; did you mean 'identity'\? `ravine"):
        run(app, ["check", f"{HERE}:Sgd", "--only", "identiti"], catch_exceptions=False)


def test_a_report_is_kept_whole_and_shown():
    report = check_optimizer(ClimbingSgd)
    again = Report.of_dict(json.loads(report.to_json()))
    assert again.as_dict() == report.as_dict()
    assert str(again) == str(report)
    assert "this is ascent" in report.headline
    html = report._repr_html_()
    assert "this is ascent" in html
    assert "descends" in html


@TORCH
def test_no_false_alarm_on_torch():
    import torch
    from installed import takes

    old = not takes("Adam", decoupled_weight_decay=True)
    options = {
        "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"maximize": True}],
        "Adam": [{}, {"amsgrad": True}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
        "AdamW": [{}, {"amsgrad": True, "maximize": True}, {"foreach": True}],
        "RMSprop": [{}, {"centered": True, "momentum": 0.5}, {"momentum": 0.5}],
        "NAdam": [{}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
        "RAdam": [{}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
        "Adagrad": [{}, {"lr_decay": 0.1, "initial_accumulator_value": 0.1}],
    }
    names = ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adamax"]
    names += ["ASGD", "Rprop", "SparseAdam"] + [
        x for x in ("Adafactor",) if hasattr(torch.optim, x)
    ]
    for name in names:
        for given in (x for x in options.get(name, [{}]) if takes(name, **x)):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                report = check_optimizer(f"torch.optim:{name}", arguments=given)
            failed = {r.check for r in report.results if r.verdict == "fault"}
            # Until torch 2.7, a parameter that Adagrad gets later has no state.
            assert failed <= ({"late_parameters"} if (name, old) == ("Adagrad", True) else set()), (
                f"{name} {given} {report}"
            )
            wanted = "variant" if name == "SparseAdam" else ("right", "single precision")
            assert report.finding.verdict in wanted
            assert report.finding.tried < 80
    closure = check_optimizer("torch.optim:LBFGS", only=["identity"], seconds=0.5)
    assert (closure.code, closure.verdict) == (0, "unknown")


@TORCH
def test_the_posts_optimizers():
    from ravine.experiments import as_published_torch as posts

    report = check_optimizer(posts.PublishedAdam, only=["identity"])
    assert "the first bias correction (of m, by 1 − beta1**t) is applied twice" in report.headline
    assert "t grows with every parameter tensor" in report.headline
    report = check_optimizer(posts.PublishedMomentum, only=["identity"])
    assert "b is recreated in every step, as momentum·g + g" in report.headline
    assert "1.71 times momentum's, which is 1 + momentum" in report.finding.evidence[0]
    report = check_optimizer(posts.MomentumKeyFixed, only=["identity"])
    assert "b starts at g, and the first step then adds g once more" in report.headline


@ravine.checks.parametrize(Adam, "adam", expected_failures={})
def test_parametrized(check):
    check()


@ravine.checks.parametrize(
    ClimbingSgd,
    "sgd",
    only=["quiet"],
    expected_failures={"identity": "it climbs", "descends": "it climbs"},
)
def test_parametrized_with_expected_failures(check):
    check()


STARTED = """
import os, sys, time
from ravine.checks.process import end_with_starter
end_with_starter()
open(sys.argv[1] + ".new", "w").write(str(os.getpid()))
os.replace(sys.argv[1] + ".new", sys.argv[1])
time.sleep(100)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    told = tmp_path / "pid"
    command = [sys.executable, "-c", STARTED, str(told)]
    starts = f"from ravine.checks.process import ended; ended({command!r}, 100)"
    starter = subprocess.Popen([sys.executable, "-c", starts])
    try:
        assert _within(60, told.exists)
    finally:
        starter.kill()
        starter.wait()
    assert _within(30, lambda: not _runs(int(told.read_text())))


def _within(seconds, true):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # a container's first process may never collect it
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
