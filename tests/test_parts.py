"""Tuples in a rule: several slots or hyperparameters under one name, in every front and engine."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, modifier, rule, scalar, several
from ravine.engines.tracing import trace
from ravine.modifiers import l2, maximize
from ravine.parts import part_names
from ravine.rules import sgd

BETAS = [(0.0, 0.9, 0.99), (0.5,), (0.0, 0.2, 0.4, 0.8)]


@rule(b=several("betas"))
def aggmo(p, g, b, *, lr=0.1, betas=(0.0, 0.9, 0.99)):
    """Aggregated momentum."""
    b = tuple(beta * x + g for beta, x in zip(betas, b, strict=True))
    return p - lr / len(b) * sum(b), b


@rule(past=several(2))
def windowed(p, g, past, *, lr=0.1):
    """The mean of the last three gradients."""
    window = (g, *past)
    return p - lr * sum(window) / len(window), window[:-1]


@modifier(s=several("scales", scalar(0.0)))
def blended(step, p, g, s, *, scales=(1.0, 0.5)):
    """Vectors of numbers in a modifier: each counts at its own rate."""
    new_p = step(p, g)
    s = tuple(x + scale for x, scale in zip(s, scales, strict=True))
    return p + (new_p - p) * sum(s), s


def gradients(steps, size=4, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, size))


def aggregated(gs, betas, lr=0.1):
    """Lucas et al., 2019 (arXiv:1804.00325), equations 3 and 4, in NumPy."""
    p, v = np.zeros(gs.shape[1]), [np.zeros(gs.shape[1]) for _ in betas]
    for g in gs:
        for i, beta in enumerate(betas):
            v[i] = beta * v[i] - g
        p = p + lr / len(betas) * np.sum(v, axis=0)
    return p


def by_torch(made, gs, **options):
    p = torch.zeros(gs.shape[1], dtype=torch.float64, requires_grad=True)
    stepper = rt.optimizer(made)([p], **options)
    for g in gs:
        p.grad = torch.tensor(g)
        stepper.step()
    return p.detach().numpy(), stepper


def by_numpy(made, gs, **options):
    w = np.zeros(gs.shape[1])
    stepper = rn.optimizer(made)(w, **options)
    for g in gs:
        stepper.step(g)
    return w, stepper


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("front", [by_torch, by_numpy])
def test_a_velocity_for_each_beta(front, betas, engine):
    gs = gradients(30)
    p, _ = front(aggmo, gs, betas=betas, engine=engine)
    np.testing.assert_allclose(p, aggregated(gs, betas), rtol=1e-13, atol=1e-15)


def test_by_hand_it_takes_tuples_or_their_parts():
    assert aggmo.init(0.0) == (0.0, 0.0, 0.0)
    p, b = aggmo(0.0, 1.0, (0.0, 1.0, 2.0))
    assert b == (1.0, 1.9, 2.98)
    assert aggmo(0.0, 1.0, 0.0, 1.0, 2.0) == (p, *b)
    assert aggmo(0.0, 1.0, (1.0,), betas=(0.5,)) == (-0.15000000000000002, (1.5,))
    assert aggmo(0.0, 1.0, (1.0, 1.0, 1.0), beta2=0.5)[1] == (1.0, 1.5, 1.99)
    assert len(aggmo.init(np.zeros(2), betas=(0.1, 0.2))) == 2


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("front", [by_torch, by_numpy])
def test_a_window_of_gradients(front, engine):
    gs = gradients(7)
    padded = np.concatenate([np.zeros((2, 4)), gs])
    want = -0.1 * sum(padded[i : i + 3].sum(axis=0) / 3 for i in range(len(gs)))
    np.testing.assert_allclose(front(windowed, gs, engine=engine)[0], want, rtol=1e-13)


@pytest.mark.parametrize("engine", ["kernel", "eager"])
@pytest.mark.parametrize("front", [by_torch, by_numpy])
@pytest.mark.parametrize("scales", [(1.0, 0.5), (0.25,), (0.1, 0.2, 0.3)])
def test_a_modifier_has_tuples_of_its_own(front, engine, scales):
    gs = gradients(5)
    want = -0.1 * sum((t + 1) * sum(scales) * g for t, g in enumerate(gs))
    p, _ = front(blended(sgd), gs, lr=0.1, scales=scales, engine=engine)
    np.testing.assert_allclose(p, want, rtol=1e-13)


def test_modifiers_go_round_rules_with_tuples():
    gs = gradients(10)
    p, stepper = by_torch(maximize(l2(aggmo)), gs, betas=(0.3, 0.6), weight_decay=0.0)
    np.testing.assert_allclose(p, aggregated(-gs, (0.3, 0.6)), rtol=1e-13)
    assert stepper.param_groups[0]["betas"] == (0.3, 0.6)
    two = blended(aggmo)
    assert [*two.slots] == ["b1", "b2", "b3", "s1", "s2"]
    assert [*two.fitting({"betas": (0.0,), "scales": (1, 2, 3)}).slots] == ["b1", "s1", "s2", "s3"]


def test_the_state_has_the_parts_by_number():
    _, stepper = by_torch(aggmo, gradients(2), betas=(0.1, 0.2))
    [state] = stepper.state.values()
    assert [*state] == ["step", "b1", "b2"]
    _, stepper = by_numpy(aggmo, gradients(2), betas=(0.1, 0.2))
    assert [*stepper.state["params"]] == ["step", "b1", "b2"]


def test_groups_may_have_tuples_of_different_lengths():
    gs = gradients(6)
    p, q = (torch.zeros(4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    groups = [{"params": [p]}, {"params": [q], "betas": (0.0, 0.5)}]
    stepper = rt.optimizer(aggmo)(groups)
    for g in gs:
        p.grad, q.grad = torch.tensor(g), torch.tensor(g)
        stepper.step()
    for x, betas in ((p, (0.0, 0.9, 0.99)), (q, (0.0, 0.5))):
        np.testing.assert_allclose(x.detach().numpy(), aggregated(gs, betas), rtol=1e-13)


def test_it_is_resumed_from_a_checkpoint_and_from_a_pickle():
    gs = gradients(12)
    want, _ = by_torch(aggmo, gs, betas=(0.3, 0.9))
    p = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    stepper = rt.optimizer(aggmo)([p], betas=(0.3, 0.9))
    for i, g in enumerate(gs):
        if i == 4:
            file = io.BytesIO()
            torch.save(stepper.state_dict(), file)
            file.seek(0)
            stepper = rt.optimizer(aggmo)([p])
            stepper.load_state_dict(torch.load(file))
        if i == 8:
            p, stepper = copy.deepcopy((p, stepper))
        p.grad = torch.tensor(g)
        stepper.step()
    np.testing.assert_array_equal(p.detach().numpy(), want)
    longer = aggmo.fitting({"betas": (0.0,) * 5})
    assert pickle.loads(pickle.dumps(longer)) is longer
    assert aggmo.fitting({"betas": (0.5,) * 5}) is longer


def test_schedulers_cycle_the_first_beta():
    p = torch.zeros(2, requires_grad=True)
    stepper = rt.optimizer(aggmo)([p], betas=(0.5, 0.9))
    torch.optim.lr_scheduler.OneCycleLR(stepper, max_lr=0.1, total_steps=10)
    assert stepper.param_groups[0]["betas"] == (0.95, 0.9)


def test_evaluate_may_ask_for_a_tuple():
    @rule(means=several(2), evaluate=lambda p, means: sum(means) / len(means))
    def averaged(p, g, means, *, lr=0.1):
        p = p - lr * g
        return p, tuple(0.5 * m + 0.5 * p for m in means)

    assert averaged.evaluate(1.0, (2.0, 4.0)) == 3.0
    _, stepper = by_torch(averaged, gradients(2))
    with stepper.evaluating():
        [p] = stepper.param_groups[0]["params"]
        torch.testing.assert_close(p.detach(), stepper.state[p]["mean1"])


@pytest.mark.parametrize("front", [by_torch, by_numpy])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"betas": 0.9}, ValueError, r"betas=0.9 is invalid; betas must be a tuple of one or more"),
        ({"betas": ()}, ValueError, r"betas=\(\) is invalid"),
        ({"betas": (0.0, 1.5)}, ValueError, r"beta2=1.5 is invalid; beta2 must be a number in \[0"),
        ({"beta2": 0.5}, TypeError, "has no option 'beta2'; it takes betas as a tuple"),
        ({"betas": (0.1, "x")}, ValueError, "beta2='x' is invalid"),
    ],
)
def test_what_is_no_such_tuple_is_refused(front, options, error, message):
    with pytest.raises(error, match=message):
        front(aggmo, gradients(1), **options)


def test_a_group_refuses_it_too_and_stays_what_it_was():
    _, stepper = by_torch(aggmo, gradients(1))
    group = stepper.param_groups[0]
    with pytest.raises(ValueError, match="beta2=7 is invalid"):
        group["betas"] = (0.0, 7)
    assert group["betas"] == (0.0, 0.9, 0.99)


def test_by_hand_both_forms_at_once_are_refused():
    with pytest.raises(TypeError, match="betas and beta1 are mutually exclusive"):
        aggmo(0.0, 1.0, (0.0,) * 3, betas=(0.0, 0.1, 0.2), beta1=0.5)
    with pytest.raises(ValueError, match="a tuple of 3"):
        aggmo(0.0, 1.0, (0.0, 0.0))


def test_a_rule_that_returns_another_number_of_slots_is_refused():
    @rule(b=several(3))
    def shorter(p, g, b, *, lr=0.1):
        return p - lr * g, b[1:]

    @rule(b=several(3))
    def summed(p, g, b, *, lr=0.1):
        return p - lr * g, sum(b)

    with pytest.raises(RuleError, match="as b, a tuple of 2; it must be a tuple of 3"):
        trace(shorter)
    with pytest.raises(RuleError, match="summed returns, as b, something that is not a tuple"):
        trace(summed)


@pytest.mark.parametrize(
    ("declared", "make", "message"),
    [
        ({"b": several("betas")}, lambda p, g, b, *, rate=0.5: (p, b), "for each of 'betas'"),
        ({"b": several("rates")}, lambda p, g, b, *, lr=0.5: (p, b), "for each of 'rates'"),
        ({}, lambda p, g, *, rates=(): p, r"rates=\(\) is invalid"),
        ({}, lambda p, g, *, rates=("x",): p, "a tuple has one number or more"),
        ({}, lambda p, g, *, beta1=0.1, betas=(0.1, 0.2): p, "a part of betas is called 'beta1'"),
        ({}, lambda p, g, *, betas=(0.1, 0.2), beta2=0.1: p, "is called 'beta2'"),
        (
            {"b": several(2)},
            lambda p, g, b, b1, *, lr=0.1: (p, b, b1),
            "a part of b is called 'b1'",
        ),
        ({}, lambda p, g, *, lr=(2.0, -1.0): p, None),
    ],
)
def test_tuples_are_checked_when_the_rule_is_made(declared, make, message):
    if message is None:
        assert [*rule(make).hyperparameters] == ["lr1", "lr2"]
    else:
        with pytest.raises(RuleError, match=message):
            rule(**declared)(make)


@pytest.mark.parametrize("count", [0, -1, 1.5, None, True])
def test_several_takes_a_number_or_a_name(count):
    with pytest.raises(TypeError, match="count="):
        several(count)
    with pytest.raises(TypeError, match="slot="):
        several(2, 0.0)


def test_parts_have_numbers_from_one():
    assert part_names("betas", 3) == ("beta1", "beta2", "beta3")
    assert part_names("loss", 1) == ("loss1",)
    assert part_names("s", 2) == ("s1", "s2")
