"""How it is timed."""

import time

import pytest
import torch

from ravine import rules
from ravine.bench import contenders, timing


def test_all_take_three_turns_and_the_slow_ones_not_many_more():
    steps = {"slow": lambda: time.sleep(0.02), "quick": lambda: time.sleep(0.001)}
    assert {len(x) for x in timing.take_turns(steps, 0.0).values()} == {3}
    taken = timing.take_turns(steps, 0.3)
    assert min(taken["slow"]) > 0.02 > min(taken["quick"]) > 0.001
    assert 3 <= len(taken["slow"]) < len(taken["quick"])


def test_bad_luck_takes_no_turns_away():
    calls = iter([0.0] * 4 + [0.2])  # warm-up and the first turn; the second one is interrupted

    def unlucky():
        time.sleep(0.001 + next(calls, 0.0))

    taken = timing.take_turns({"unlucky": unlucky, "other": lambda: time.sleep(0.001)}, 0.5)
    assert max(taken["unlucky"]) > 0.2
    assert len(taken["unlucky"]) > len(taken["other"]) / 2


def test_quick_steps_are_timed_many_at_a_time():
    count = 0

    def step():
        nonlocal count
        count += 1

    (taken,) = timing.take_turns({"step": step}, 0.0).values()
    assert len(taken) == 3
    assert count > 30


def test_what_comes_before_a_turn_is_not_timed():
    def before():
        done.append("before")
        time.sleep(0.01)

    done = []
    taken = timing.take_turns({"a": lambda: done.append("a")}, 0.0, before)
    assert done == ["before", "a"] * 3
    assert max(taken["a"]) < 0.01


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
    assert capfd.readouterr() == ("", "")


def test_the_first_call_is_timed_in_a_process_of_its_own():
    twin = contenders.in_torch(rules.adam)
    assert 0 < timing.first_call("adam", twin, "Ravine", "scalars") < 60
    with pytest.raises(RuntimeError, match="no rule is called 'adma'"):
        timing.first_call("adma", None, "kernel", "scalars")
