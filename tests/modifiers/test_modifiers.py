"""Modifiers: what each does, how they stack, what they refuse."""

import inspect

import numpy as np
import pytest
from cases import ELEMENTWISE, REDUCING, error, gradients, run

from ravine import RuleError, like_p, modifier, rule, rules, scalar
from ravine.hyperparameters import Hyperparameter
from ravine.modifiers import (
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    decoupled_decay,
    l2,
    maximize,
)
from ravine.ops import Tensors
from ravine.rules import adam, momentum, nesterov, sgd

P, G = np.array([1.0, -2.0]), np.array([0.5, 3.0])


def test_each_does_what_it_says():
    for made, expected in (
        (l2(sgd, weight_decay=0.1), P - 0.5 * (G + 0.1 * P)),
        (decoupled_decay(sgd, weight_decay=0.1), P * (1 - 0.5 * 0.1) - 0.5 * G),
        (maximize(sgd), P + 0.5 * G),
        (clip_by_value(sgd, clip_value=0.25), P - 0.5 * np.array([0.25, 0.25])),
        (clip_by_norm(sgd, max_norm=0.5), P - 0.5 * G * 0.5 / np.hypot(*G)),
        (clip_by_global_norm(sgd, max_norm=0.5), P - 0.5 * G * 0.5 / np.hypot(*G)),
    ):
        np.testing.assert_allclose(made(P, G, lr=0.5), expected, rtol=1e-15, err_msg=made.name)


def test_global_norm_is_over_the_whole_bag_and_norm_over_each_tensor():
    p, g = Tensors([P, P[:1]]), Tensors([G, np.array([4.0])])
    each = clip_by_norm(sgd, max_norm=1.0)(p, g, lr=1.0)
    np.testing.assert_allclose(each[0], P - G / np.hypot(*G))
    np.testing.assert_allclose(each[1], P[:1] - 1)
    together = clip_by_global_norm(sgd, max_norm=1.0)(p, g, lr=1.0)
    norm = np.sqrt((G**2).sum() + 16)
    np.testing.assert_allclose(together[0], P - G / norm)
    np.testing.assert_allclose(together[1], P[:1] - 4 / norm)


def test_the_outer_modifier_sees_the_gradient_first():
    kwargs = {"lr": 1.0, "weight_decay": 0.1}
    np.testing.assert_allclose(maximize(l2(sgd))(P, G, **kwargs), P - (-G + 0.1 * P))
    np.testing.assert_allclose(l2(maximize(sgd))(P, G, **kwargs), P + (G + 0.1 * P))


def test_the_outer_modifier_sees_the_parameter_last():
    @modifier
    def doubled(step, p, g):
        return 2 * step(p, g)

    @modifier
    def shifted(step, p, g):
        return step(p, g) + 1

    assert doubled(shifted(sgd))(1.0, 1.0, lr=1.0) == 2.0
    assert shifted(doubled(sgd))(1.0, 1.0, lr=1.0) == 1.0


NEUTRAL = {
    l2: {"weight_decay": 0.0},
    decoupled_decay: {"weight_decay": 0.0},
    maximize: {"maximize": False},
    clip_by_value: {"clip_value": 1e30},
    clip_by_norm: {"max_norm": 1e30},
    clip_by_global_norm: {"max_norm": 1e30},
}


@pytest.mark.parametrize("apply", NEUTRAL, ids=lambda f: f.__name__)
def test_a_neutral_value_is_the_identity(apply):
    for inner in [*ELEMENTWISE, *REDUCING]:
        if NEUTRAL[apply].keys() & inner.hyperparameters.keys():
            continue
        plain = run(inner, P, gradients(P.shape, 10))
        wrapped = run(apply(inner), P, gradients(P.shape, 10), **NEUTRAL[apply])
        for x, y in zip(plain, wrapped, strict=True):
            assert [error(a, b) for a, b in zip(x, y, strict=True)] == [0] * len(x)


def test_slots_hyperparameters_and_t_come_together():
    made = maximize(l2(momentum, weight_decay=0.1))
    assert list(made.slots) == ["b"]
    assert list(made.hyperparameters) == ["lr", "momentum", "dampening", "weight_decay", "maximize"]
    assert made.takes_t
    assert made.hyperparameters["weight_decay"].default == 0.1
    assert made.name == "maximize(l2(momentum))"
    assert (made.paper, made.at) == (momentum.paper, momentum.at)
    assert momentum.hyperparameters.keys() == {"lr", "momentum", "dampening"}  # untouched


def test_a_stack_is_described_from_the_outside_in():
    made = maximize(l2(momentum))
    assert made.summary == inspect.getdoc(maximize)
    *_, of_l2, of_momentum = made.doc.split("\n\n")
    assert of_l2 == f"Around l2(momentum): {inspect.getdoc(l2)}"
    assert of_momentum == f"Around momentum: {momentum.summary}"
    assert "Elsewhere:" in momentum.doc  # it is of momentum, not of the stack


def test_a_modifier_has_slots_of_its_own_after_the_inner_ones():
    @modifier(start=like_p, count=scalar(1.0))
    def counting(step, p, g, total, start, count):
        return step(p, g), total + g, start, count * 2

    made = counting(adam)
    assert list(made.slots) == ["m", "v", "total", "start", "count"]
    state = made.init(3.0)
    assert state == (0.0, 0.0, 0.0, 3.0, 1.0)
    p, m, v, total, start, count = made(3.0, 0.5, *state, 1)
    assert (p, m, v) == adam(3.0, 0.5, 0.0, 0.0, 1)
    assert (total, start, count) == (0.5, 3.0, 2.0)


def test_t_reaches_a_modifier_over_a_rule_without_it():
    @modifier
    def slower(step, p, g, t):
        return step(p, g / t)

    made = slower(sgd)
    assert made.takes_t
    assert made(1.0, 1.0, 4, lr=1.0) == 0.75
    assert slower(nesterov)(1.0, 1.0, 0.0, 1, lr=1.0)[0] == nesterov(1.0, 1.0, 0.0, 1, lr=1.0)[0]
    assert maximize(slower(sgd))(1.0, 1.0, 4, lr=1.0) == 1.25


def test_a_step_taken_twice_moves_the_state_twice():
    @modifier
    def twice(step, p, g):
        return step(step(p, g), g)

    p, m, v = twice(adam)(1.0, 0.5, 0.0, 0.0, 1)
    half = adam(1.0, 0.5, 0.0, 0.0, 1)
    assert (p, m, v) == adam(half[0], 0.5, *half[1:], 1)


def test_a_shared_keyword_follows_the_call():
    made = decoupled_decay(sgd, weight_decay=0.5)
    assert made(1.0, 0.0, lr=1.0) == 0.5
    assert made(1.0, 0.0, lr=0.5) == 0.75
    assert made(1.0, 0.0, lr=0.5, weight_decay=1.0) == 0.5


def test_defaults_can_be_set_while_stacking():
    made = clip_by_value(adam, clip_value=0.5, lr=0.2)
    assert made.hyperparameters["lr"].default == 0.2
    assert made.hyperparameters["clip_value"].default == 0.5
    assert adam.hyperparameters["lr"].default == 1e-3
    with pytest.raises(
        TypeError, match=r"has no hyperparameter 'clip_valu'.*did you mean 'clip_value'"
    ):
        clip_by_value(adam, clip_valu=0.5)


def test_a_declared_range_is_kept():
    @modifier(k=Hyperparameter("steps", 1, 9))
    def slow(step, p, g, *, k=5):
        return step(p, g / k)

    with pytest.raises(ValueError, match=r"k=0 is invalid; k must be a number in \[1, 9\]"):
        slow(sgd).check(k=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: l2(l2(sgd)), ["l2(l2(sgd))", "l2 is already part of l2(sgd)"]),
        (lambda: l2(rules.adamw), ["l2(adamw)", "weight_decay", "both have"]),
        (
            lambda: modifier(lambda step, p, g, m: (step(p, g), m))(adam),
            ["adam", "'m'", "both have"],
        ),
        (
            lambda: modifier(lambda step, p, g, momentum: (step(p, g), momentum))(momentum),
            ["momentum", "both have", "'momentum'"],
        ),
        (
            lambda: modifier(lambda step, p, g, *, b=1.0: step(p, b * g))(momentum),
            ["momentum", "both have", "'b'"],
        ),
        (
            lambda: decoupled_decay(rule(lambda p, g, *, rate=1.0: p - rate * g)),
            ["decoupled_decay", "shares 'lr'", "does not have"],
        ),
        (lambda: l2(lambda p, g: p), ["l2 modifies a rule", "lambda"]),
        (lambda: l2("adam"), ["l2 modifies a rule", "'adam'"]),
        (lambda: modifier(lambda p, g: p), ["step, p, g"]),
        (lambda: modifier(lambda step, p, g, *slots: p), ["*slots", "is invalid"]),
        (lambda: modifier(lambda step, p, g, s, *, lr=1.0: p, lr=3), ["lr=3", "Hyperparameter"]),
        (lambda: modifier(u=like_p)(lambda step, p, g, s: p), ["'u'", "no argument of that name"]),
    ],
)
def test_what_cannot_stack_is_refused(make, words):
    with pytest.raises(TypeError) as caught:
        make()
    assert [w for w in words if w not in str(caught.value)] == []


def test_a_modifier_that_forgets_its_slot_is_told():
    forgetful = modifier(lambda step, p, g, s: step(p, g))(sgd)
    with pytest.raises(RuleError, match=r"returns 1 value; it must return 2: p, s"):
        forgetful(1.0, 1.0, 0.0)


def test_a_modifier_reads_like_its_function():
    assert l2.__name__ == "l2"
    assert "weight_decay/2" in l2.__doc__
    assert l2.__module__ == "ravine.modifiers.decay"
