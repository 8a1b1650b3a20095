"""Rules worked by hand."""

import math

import pytest

from ravine import registry
from ravine.engines.tracing import trace
from ravine.modifiers import decoupled_decay, l2
from ravine.reading.worked import worked
from ravine.rules import adam, adamw, aggmo, momentum, rmsprop


def test_adam_by_hand():
    first, second = worked(adam, [1.0, -2.0], start=3.0, lr=0.1, beta1=0.5, beta2=0.75, eps=0.0)
    assert first == {
        "t": 1,
        "g": 1.0,
        "m": 0.5,
        "v": 0.25,
        "m_hat": 1.0,
        "v_hat": 1.0,
        "step": pytest.approx(0.1),
        "p": 2.9,
    }
    assert second["m"] == 0.5 * 0.5 + 0.5 * -2.0 == -0.75
    assert second["v"] == 0.75 * 0.25 + 0.25 * 4.0 == 1.1875
    assert second["m_hat"] == -0.75 / 0.75
    assert second["v_hat"] == 1.1875 / 0.4375
    assert second["step"] == pytest.approx(0.1 * -1.0 / math.sqrt(1.1875 / 0.4375))
    assert second["p"] == pytest.approx(2.9 - second["step"])


def test_state_that_is_not_kept_is_not_shown():
    assert list(worked(rmsprop, [1.0])[0]) == ["t", "g", "v", "variance", "scaled", "step", "p"]
    switched = worked(rmsprop, [1.0], centered=True, momentum=0.9)[0]
    assert {"v", "m", "b"} <= switched.keys()


@pytest.mark.parametrize("name", registry.names())
def test_every_rule_works_out_to_what_it_computes(name):
    rule = registry.get(name)
    gradients = [0.5, -1.0, 0.25]
    if trace(rule, None, 0).of_arrays:
        with pytest.raises(ValueError, match=f"rule '{name}' works on whole arrays"):
            worked(rule, gradients, start=2.0, lr=0.3)
        return
    rows = worked(rule, gradients, start=2.0, lr=0.3)
    p, state = 2.0, rule.init(2.0, lr=0.3)
    for t, (g, row) in enumerate(zip(gradients, rows, strict=True), 1):
        before = p
        p, state = rule.update(p, g, state, t, lr=0.3)
        assert (row["t"], row["g"], row["p"]) == (t, g, p)
        assert row.get("step of p", row["step"]) == before - p  # a rule may have a step too
        assert all(isinstance(value, (int, float)) for value in row.values())


def test_the_numbers_of_a_tuple_are_shown_as_its_parts():
    first, second = worked(aggmo, [1.0, 0.5], lr=0.3, beta1=0.0, beta2=0.5, beta3=0.9)
    assert list(first) == ["t", "g", "b1", "b2", "b3", "step", "p"]
    assert [second[k] for k in ("b1", "b2", "b3")] == [0.5, 1.0, 1.4]
    assert second["step"] == pytest.approx(0.3 * (0.5 + 1.0 + 1.4) / 3)


def test_stacks_show_the_inner_rule_once():
    assert worked(adamw, [1.0, 2.0]) == worked(decoupled_decay(adam, weight_decay=1e-2), [1.0, 2.0])
    assert list(worked(l2(momentum), [1.0])[0]) == ["t", "g", "b", "step", "p"]


def test_what_is_not_accepted():
    with pytest.raises(ValueError, match="beta1=2 is invalid"):
        worked(adam, [1.0], beta1=2)
