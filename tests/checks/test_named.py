import importlib
import inspect
import pkgutil
import re
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")

import checks.broken  # noqa: E402
from checks.broken import right  # noqa: E402

from ravine.checks import check_optimizer  # noqa: E402
from ravine.checks.registry import checks as every_check  # noqa: E402


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
                other = _result(right.Momentum if "torch" in str(make.__mro__) else right.Sgd, name)
                assert (result.verdict, other.verdict) == ("fact", "fact")
                assert result.says != other.says, name
            else:
                assert result.verdict == "fault", (name, make.__name__, result)
    for make in (right.Sgd, right.Momentums, right.Momentum, right.Adam):
        report = check_optimizer(make)
        assert report.code == 0, str(report)
        assert not [r for r in report.results if r.verdict == "could not run"], report.to_json()


def test_every_check_says_what_it_runs_what_a_fault_is_and_how_to_fix_it():
    for name, each in _own().items():
        parts = [x.partition(":")[0] for x in each.explains.split("\n\n")]
        assert parts == (["Runs", "Fact"] if each.fact else ["Runs", "Fault", "Fix"]), name
        assert re.fullmatch(r"[A-Z].*\.", each.asks), name
