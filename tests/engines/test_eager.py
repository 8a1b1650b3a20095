"""The reference engine: what it calls the rule with, and bags where all tensors count."""

import numpy as np
import pytest
import torch
from cases import EAGER, default_dtype, error, gradients

from ravine import RuleError, like_p, ops, rule, rules, scalar
from ravine.engines.eager import Work, plan, steps
from ravine.hyperparameters import Hyperparameter
from ravine.modifiers import clip_by_global_norm, l2, maximize
from ravine.ops import Tensors, matmul, sqrt, total, where
from ravine.rules import adam, momentum, rmsprop, sgd

SHAPES = [(3, 2), (4,), ()]


def works(made, hypers, seed=0, t=3):
    """One work for each shape, in mid-training, with state of its live slots."""
    draw = np.random.default_rng(seed)
    result = []
    for shape, given in zip(SHAPES, hypers, strict=True):
        hyper = made.check(**given)
        live = plan(made, hyper).live
        state = {
            k: 2.0 if made.slots[k].kind == "scalar" else draw.random(shape) + (k[0] == "v")
            for k in live
        }
        result.append(Work(draw.normal(size=shape), draw.normal(size=shape), state, t, hyper))
    return result


def alone(made, work):
    """What the rule says when it is called on this tensor only, with all of its state."""
    state = [work.state.get(k, 0.0) for k in made.slots]
    return made.update(work.p, work.g, state, work.t, **work.hyper)


@pytest.mark.parametrize(
    "made", [sgd, momentum, adam, rmsprop, maximize(l2(rules.amsgrad))], ids=repr
)
def test_each_tensor_takes_the_rules_step_with_its_own_values(made):
    hypers = [
        {},
        {"lr": 0.5},
        {"lr": 0.5, "momentum": 0.9} if "momentum" in made.hyperparameters else {},
    ]
    given = works(made, hypers)
    for work, (p, state) in zip(given, steps(made, given), strict=True):
        expected, slots = alone(made, work)
        np.testing.assert_array_equal(p, expected)
        assert state.keys() == work.state.keys()
        for k in state:
            np.testing.assert_array_equal(state[k], slots[list(made.slots).index(k)])


@pytest.mark.parametrize("made", EAGER, ids=repr)
def test_in_a_bag_matrices_are_stepped_as_alone(made):
    draw = np.random.default_rng(0)
    shapes = [(3, 2), (2, 4), (2, 3, 3)]
    hyper = made.check()
    given = []
    for shape in shapes:
        p = draw.normal(size=shape)
        state = dict(zip(made.slots, made.init(p), strict=True))
        given.append(Work(p, draw.normal(size=shape), state, 1, hyper))
    clipped = clip_by_global_norm(made, max_norm=1e9)  # so that it is called on bags
    together = [Work(w.p, w.g, w.state, w.t, clipped.check()) for w in given]
    for work, (p, state) in zip(given, steps(clipped, together), strict=True):
        expected, slots = alone(made, work)
        assert error(p, expected) < 1e-14
        for k, slot in zip(made.slots, slots, strict=True):
            assert error(state[k], slot) < 1e-14


def test_nothing_to_do():
    assert list(steps(adam, [])) == []


def test_dead_slots_are_neither_asked_for_nor_given_back():
    given = works(rmsprop, [{}, {"centered": True}, {"momentum": 0.9}])
    assert [list(w.state) for w in given] == [["v"], ["v", "m"], ["v", "b"]]
    assert [list(state) for _, state in steps(rmsprop, given)] == [["v"], ["v", "m"], ["v", "b"]]


def test_all_tensors_together_are_as_one_concatenated():
    made = clip_by_global_norm(adam, max_norm=0.7)
    given = works(made, [{}] * 3)
    flat = {k: np.concatenate([np.ravel(w.state[k]) for w in given]) for k in ("m", "v")}
    p = np.concatenate([np.ravel(w.p) for w in given])
    g = np.concatenate([np.ravel(w.g) for w in given])
    ((expected, slots),) = steps(made, [Work(p, g, flat, 3, made.check())])
    together = list(steps(made, given))
    assert [np.shape(p) for p, _ in together] == SHAPES
    assert error(np.concatenate([np.ravel(p) for p, _ in together]), expected) < 1e-15
    for k in flat:
        assert error(np.concatenate([np.ravel(s[k]) for _, s in together]), slots[k]) < 1e-15


def test_in_a_bag_each_tensor_has_its_own_values_and_count():
    made = clip_by_global_norm(adam, max_norm=0.7)
    given = works(made, [{"lr": 0.1}, {"lr": 0.2, "beta1": 0.5}, {"lr": 0.3}])
    for i, work in enumerate(given):
        work.t = i + 1
    norm = np.sqrt(sum((w.g**2).sum() for w in given))
    for work, (p, state) in zip(given, steps(made, given), strict=True):
        values = {k: v for k, v in work.hyper.items() if k != "max_norm"}
        expected, slots = adam.update(
            work.p, work.g * 0.7 / norm, [work.state["m"], work.state["v"]], work.t, **values
        )
        assert error(p, expected) < 1e-15
        assert max(error(state[k], s) for k, s in zip("mv", slots, strict=True)) < 1e-15


def test_in_a_bag_dead_slots_and_scalar_slots_keep_their_places():
    @rule(n=scalar(0.0), start=like_p)
    def odd(p, g, dead, n, v, start, *, lr=0.1):
        n = n + sqrt(total(g * g))
        v = 0.5 * v + g
        return p - lr * v / n + 0.1 * (start - p), dead + g, n, v, start

    given = works(odd, [{}] * 3)
    size = np.sqrt(sum((w.g**2).sum() for w in given))
    for work, (p, state) in zip(given, steps(odd, given), strict=True):
        assert list(state) == ["n", "v", "start"]
        v = 0.5 * work.state["v"] + work.g
        assert error(state["v"], v) < 1e-15
        assert error(state["n"], 2.0 + size) < 1e-15
        assert (
            error(p, work.p - 0.1 * v / (2.0 + size) + 0.1 * (work.state["start"] - work.p)) < 1e-15
        )


def test_in_a_bag_a_switch_must_be_the_same_for_all():
    made = clip_by_global_norm(rmsprop)
    with pytest.raises(RuleError, match=r"on or off for all tensors alike.*0\.9"):
        list(steps(made, works(made, [{}, {"momentum": 0.9}, {}])))


def test_in_a_bag_numbers_have_each_tensors_dtype():
    made = rule(lambda p, g, *, lr=1.0: p - lr * where(g > 0, 1.2, 0.7) + 0 * total(g))
    hyper = made.check()
    for default in (torch.float32, torch.float64):
        with default_dtype(default):
            g = torch.tensor([1.0, -1.0], dtype=torch.float64)
            given = [Work(torch.zeros_like(g), g, {}, 1, hyper)] * 2
            assert [p.tolist() for p, _ in steps(made, given)] == [[-1.2, -0.7]] * 2
    g = np.array([1.0, -1.0], np.float32)
    given = [Work(np.zeros(2, np.float32), g, {}, 1, hyper)] * 2
    assert [p.dtype for p, _ in steps(made, given)] == [np.float32] * 2


@pytest.mark.parametrize("counts", [(1, 1), (1, 3)])
def test_in_a_bag_scalars_follow_ieee_754_too(counts):
    @rule(n=scalar(0.0))
    def dead_branch(p, g, n, t, *, lr=1.0):
        n = n + where(t > 1, 1 / (t - 1), 0.25)
        return p - lr * n * g / total(g * g), n

    one = np.ones(2)
    given = [Work(one, one, {"n": 0.25}, t, dead_branch.check()) for t in counts]
    for t, (p, state) in zip(counts, steps(dead_branch, given), strict=True):
        assert type(state["n"]) is float
        assert state["n"] == (0.5 if t == 1 else 0.75)
        assert p.tolist() == [1 - state["n"] / 4] * 2


def test_a_plan_is_made_once_and_again_when_a_switch_changes_sides():
    values = rmsprop.check()
    first = plan(rmsprop, values)
    assert plan(rmsprop, {**values, "lr": 0.5, "alpha": 0.5}) is first
    centered = plan(rmsprop, {**values, "centered": True})
    assert centered is not first
    assert (first.live, centered.live) == (("v",), ("v", "m"))
    assert plan(rmsprop, {**values, "momentum": 0.9}).live == ("v", "b")


def test_a_plan_looks_at_no_value_but_zero():
    """Also where 0.5, or the default, would not be accepted."""
    low = Hyperparameter("a number far from zero", -100, 0)
    made = rule(k=low)(lambda p, g, v, *, k=0.0: (p - (v if k else g), v + g))
    assert plan(made, {"k": -50.0}).live == ("v",)
    assert plan(made, {"k": 0.0}).live == ()


def test_a_rule_that_cannot_be_traced_is_refused():
    with pytest.raises(RuleError, match=r"where\(condition, x, y\)"):
        plan(rule(lambda p, g: p if g > 0 else g), {})


def test_works_are_not_changed():
    for made in (clip_by_global_norm(momentum), momentum):
        given = works(made, [{}] * 3)
        before = [
            (w.p.copy(), w.g.copy(), {k: v.copy() for k, v in w.state.items()}) for w in given
        ]
        list(steps(made, given))
        for w, (p, g, state) in zip(given, before, strict=True):
            np.testing.assert_array_equal(w.p, p)
            np.testing.assert_array_equal(w.g, g)
            for k in state:
                np.testing.assert_array_equal(w.state[k], state[k])


def test_gradients_of_the_shared_problem_have_zeros_and_many_sizes():
    g = np.abs(gradients((50,), 50))
    assert 0.05 < (g == 0).mean() < 0.15
    assert g.max() / g[g > 0].min() > 1e4


@rule
def turned(p, g, *, lr=0.1):
    return p - lr * matmul(g, g)


@rule(evaluate=lambda p, b: b)
def flattened(p, g, b, *, lr=0.1):
    return p - lr * g, ops.sum(g, -1)


@pytest.mark.parametrize("bag", [None, Tensors])
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (turned, r"'turned', test_eager\.py:\d+, `return p - lr .*shape \(2, 3\)\)"),
        (
            flattened,
            r"'flattened' returns, as new b, an array of shape \(2, 1\) in place of one of",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_rule_and_line(made, words, bag):
    ones = np.ones((2, 3))
    with pytest.raises(RuleError, match=words):
        list(steps(made, [Work(ones, ones, {"b": ones * 0}, 1, made.check())], bag))
