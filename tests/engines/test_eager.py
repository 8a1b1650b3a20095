"""The reference engine: what it calls the rule with, and bags where all tensors count."""

import gc
import weakref

import numpy as np
import pytest
import torch
from cases import OF_ARRAYS, default_dtype, error, gradients

from ravine import RuleError, like_p, ops, rule, rules, scalar
from ravine.engines.eager import Work, plan, steps
from ravine.hyperparameters import Hyperparameter
from ravine.modifiers import clip_by_global_norm, l2, maximize
from ravine.ops import Tensors, matmul, sqrt, total, transpose, where
from ravine.rules import adam, momentum, rmsprop, sgd
from ravine.torch.foreach import Foreach

pytestmark = pytest.mark.filterwarnings("ignore:.* is never used:UserWarning")

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


@pytest.mark.parametrize("made", OF_ARRAYS, ids=repr)
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
        assert state
        for k in state:
            assert error(state[k], slots[list(made.slots).index(k)]) < 1e-14


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
    for k in (-50.0, 0.0):
        graph = plan(made, {"k": k})
        assert graph.live == ("v",)
        assert graph.switches == {"k": k != 0}


def test_plans_go_with_their_rule():
    made = rule(lambda p, g, *, lr=0.1: p - lr * g)
    graph = weakref.ref(plan(made, made.check()))
    del made
    gc.collect()
    assert graph() is None


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


# --- everything is computed before anything is stored


@rule(prev=like_p)
def heavy_ball(p, g, prev, *, lr=0.1, beta=0.9):
    return p - lr * g + beta * (p - prev), p


@rule(c=like_p, evaluate=lambda p, a, b: a - b)
def swapped(p, g, a, b, c, *, lr=0.1):
    return c, b, a, p


@rule(evaluate=lambda p, a, b: a + b)
def doubled(p, g, a, b):
    a = a + g
    return p - a, a, a


@rule(evaluate=lambda p, a: a)
def remembered(p, g, a):
    return p - g, g


@rule(evaluate=lambda p, a: a)
def transposed(p, g, a):
    return transpose(g), transpose(transpose(p))


@rule(anchor=like_p)
def kept(p, g, anchor, m, t):
    return p - 0.1 * (g + p - anchor), where(t > 0, anchor, m), where(t > 0, m, p)


@rule(n=scalar(0.0), evaluate=lambda p, a: a)
def shared(p, g, n, a):
    a = total(g * g)
    return p - a * g, n + 1, a


STORED = [heavy_ball, swapped, doubled, remembered, transposed, kept, shared]


def views(shape, make):
    """Arrays that are views of one, side by side."""
    whole = make(np.random.default_rng(0).normal(size=(6, *shape)))
    return [whole[i] for i in range(6)]


def owners(shape, make):
    draw = np.random.default_rng(0)
    return [make(draw.normal(size=shape)) for _ in range(6)]


def store(old, new):
    if new is old:
        return
    if isinstance(old, np.ndarray):
        old[...] = new
    else:
        old.copy_(torch.as_tensor(new))


@pytest.mark.parametrize("made", STORED, ids=lambda r: r.name)
@pytest.mark.parametrize("make", [np.array, torch.tensor])
@pytest.mark.parametrize("arrays", [owners, views])
@pytest.mark.parametrize("bag", [None, Tensors, Foreach])
@pytest.mark.parametrize("backwards", [False, True])
def test_results_can_be_stored_in_any_order(made, make, arrays, bag, backwards):
    given = []
    for seed in (0, 1):
        p, g, *slots = arrays((2, 2), make)
        state = {
            k: 1.0 if made.slots[k].kind == "scalar" else slots[i] for i, k in enumerate(made.slots)
        }
        given.append(Work(p, g + seed, state, 3, made.check()))
    copied = [
        Work(w.p * 1, w.g * 1, {k: v * 1 for k, v in w.state.items()}, w.t, w.hyper) for w in given
    ]
    bags = [(bag or Tensors)(x) for x in ([w.p for w in copied], [w.g for w in copied])]
    states = [Tensors(w.state[k] for w in copied) for k in made.slots]
    want = made.update(*bags, states, 3)
    results = steps(made, given, bag)
    todo = []
    for work, (p, state) in zip(given, results, strict=True):
        todo += [(work.p, p), *((work.state[k], v) for k, v in state.items() if k != "n")]
    for old, new in reversed(todo) if backwards else todo:
        store(old, new)
    columns = [x if isinstance(x, list) else [x] * 2 for x in (want[0], *want[1])]
    for i, work in enumerate(given):
        for name, column in zip(("p", *made.slots), columns, strict=True):
            if name != "n":
                got = work.p if name == "p" else work.state[name]
                np.testing.assert_allclose(got, np.broadcast_to(column[i], (2, 2)), rtol=1e-14)


def memory(x):
    return x.__array_interface__["data"][0] if isinstance(x, np.ndarray) else x.data_ptr()


@pytest.mark.parametrize("made", STORED, ids=lambda r: r.name)
@pytest.mark.parametrize("make", [np.array, torch.tensor])
@pytest.mark.parametrize("bag", [None, Tensors])
@pytest.mark.parametrize("inference", [False, True])
def test_results_share_no_memory_but_for_what_stays_as_it_is(made, make, bag, inference):
    given = []
    with torch.inference_mode(inference):
        for _ in range(2):
            p, g, *slots = owners((2, 2), make)
            state = dict(zip(made.slots, slots, strict=False))
            state |= {k: 1.0 for k in made.slots if made.slots[k].kind == "scalar"}
            given.append(Work(p, g, state, 3, made.check()))
        results = steps(made, given, bag)
    taken = {
        memory(x) for w in given for x in (w.p, w.g, *w.state.values()) if not isinstance(x, float)
    }
    for work, (p, state) in zip(given, results, strict=True):
        for name, x in (("p", p), *state.items()):
            if isinstance(x, float) or x is (work.p if name == "p" else work.state[name]):
                continue
            assert memory(x) not in taken, name
            taken.add(memory(x))


def test_what_stays_as_it_is_is_handed_back():
    p, g, anchor, m = owners((2,), np.array)[:4]
    ((_, state),) = steps(kept, [Work(p, g, {"anchor": anchor, "m": m}, 1, {})])
    assert state["anchor"] is anchor
    off = rule(lambda p, g, *, on=False: p - g if on else p)
    ((new, _),) = steps(off, [Work(p, g, {}, 1, off.check())])
    assert new is p


def test_a_wrong_shape_of_the_last_tensor_is_found_before_the_first_is_handed_over():
    made = rule(evaluate=lambda p, b: b)(lambda p, g, b: (p - g, ops.sum(g, 0)))
    good, bad = np.ones((1, 2)), np.ones((3, 2))
    works = [Work(x, x, {"b": x}, 1, {}) for x in (good, bad)]
    assert len(steps(made, works[:1])) == 1
    for bag in (None, Tensors):
        with pytest.raises(
            RuleError, match=r"as new b, an array of shape \(1, 2\) in place of one"
        ):
            steps(made, works, bag)


@pytest.mark.parametrize("bag", [None, Tensors])
def test_a_tensor_without_elements_takes_no_part(bag):
    made = rule(n=scalar(0.0))(
        lambda p, g, m, n: (p - total(ops.mean(g)) * (m + n), m + g, n + ops.mean(g))
    )
    full, empty = np.array([1.0, 3.0]), np.ones((0, 2))
    works = [Work(x, x, {"m": x * 1, "n": 0.5}, 1, {}) for x in (empty, full, empty)]
    results = steps(made, works, bag)
    assert [p.tolist() for p, _ in results] == [[], [-2.0, -4.0], []]
    assert [state["n"] for _, state in results] == [0.5, 2.5, 0.5]
    assert results[0][0] is empty
    assert results[0][1]["m"] is works[0].state["m"]
    assert steps(made, [works[0]], bag)[0][0] is empty


def test_p_may_become_a_number_for_all_in_a_bag_too():
    made = rule(lambda p, g, *, lr=0.5: lr)
    works = [Work(np.ones(n), np.ones(n), {}, 1, made.check()) for n in (2, 3)]
    assert [p for p, _ in steps(made, works, Tensors)] == [0.5, 0.5]
