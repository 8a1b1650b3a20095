"""How it is timed."""

from types import SimpleNamespace

import pytest
import torch

from ravine import rules
from ravine.bench import contenders, timing


@pytest.fixture
def lasts(monkeypatch):
    """Makes steps that last so many seconds, by a clock that only they move."""
    now = 0.0

    def make(*seconds, then):
        durations = iter(seconds)

        def step():
            nonlocal now
            now += next(durations, then)

        return step

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now))
    return make


def test_all_take_three_turns_and_share_the_rest_of_the_time(lasts):
    steps = {"slow": lasts(then=2.0), "quick": lasts(then=0.5)}
    assert timing.take_turns(steps, 0.0) == {"slow": [2.0] * 3, "quick": [0.5] * 3}
    taken = timing.take_turns(steps, 40.0)
    assert sum(map(sum, taken.values())) == pytest.approx(40, abs=2)
    assert len(taken["quick"]) == pytest.approx(4 * len(taken["slow"]), abs=4)


def test_bad_luck_takes_no_turns_away(lasts):
    steps = {"unlucky": lasts(*[1.0] * 5, 100.0, then=1.0), "other": lasts(then=1.0)}
    taken = timing.take_turns(steps, 140.0)
    assert max(taken["unlucky"]) == 100
    assert len(taken["unlucky"]) == pytest.approx(len(taken["other"]), abs=1)


def test_quick_steps_are_timed_many_at_a_time(lasts):
    count = 0
    step = lasts(then=1e-5)

    def counted():
        nonlocal count
        count += 1
        step()

    assert timing.take_turns({"step": counted}, 0.0) == {"step": [pytest.approx(1e-5)] * 3}
    assert count == 3 + 3 * 20


def test_what_comes_before_a_turn_is_not_timed(lasts):
    def named(name, step):
        return lambda: (done.append(name), step())

    done = []
    before = named("before", lasts(then=1.0))
    taken = timing.take_turns({"a": named("a", lasts(then=0.25))}, 0.0, before)
    assert done == ["before", "a"] * 6
    assert taken == {"a": [0.25] * 3}


def test_the_summary():
    assert timing.summary([4e-6, 1e-6, 2e-6, 3e-6, 5e-6]) == {
        "us": pytest.approx(3),
        "us_quartiles": pytest.approx([2, 4]),
        "turns": 5,
    }


def test_extra_bytes_are_the_most_at_a_time():
    def step():
        a = torch.ones(1000)
        b = a + 1
        del a
        return b * 2

    assert 8000 <= timing.extra_bytes(step) < 8100  # torch makes tensors of the numbers
    kept = []
    assert timing.extra_bytes(lambda: kept.append(torch.ones(10))) == 40


def test_extra_bytes_of_contenders(capfd):
    params = contenders.parameters("mlp")
    each = 4 * sum(p.numel() for p in params)
    extra = {}
    twin = contenders.in_torch(rules.adam)
    for engine in contenders.engines(twin):
        step = contenders.make(engine, rules.adam, twin, params)
        step()
        extra[engine] = timing.extra_bytes(step)
    assert extra["kernel"] == extra["Ravine"] == 0
    assert extra["fused"] < 1000
    assert extra["foreach"] >= each
    assert extra["eager"] >= 4 * max(p.numel() for p in params)
    out, err = capfd.readouterr()
    said = [line for line in err.splitlines() if not line.startswith("USDT:")]  # libkineto's probes
    assert (out, said) == ("", [])


def test_the_first_call_is_timed_in_a_process_of_its_own():
    twin = contenders.in_torch(rules.adam)
    assert 0 < timing.first_call("adam", twin, "Ravine", "scalars") < 60
    with pytest.raises(RuntimeError, match="no rule is called 'adma'"):
        timing.first_call("adma", None, "kernel", "scalars")
