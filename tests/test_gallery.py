"""The facts of a rule's page: small problems, and distances between variants."""

import math

import numpy as np
import pytest

import ravine.numpy
from ravine import registry, rule
from ravine.gallery import PROBLEMS, apart, trial, walk, walks
from ravine.gallery.trials import STEPS, rates


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_gradients_and_curvatures_are_those_of_the_loss(problem):
    h = 1e-4
    for x, y in (problem.start, (0.3, -0.4), (-0.7, 1.1)):
        f = problem.loss
        slope = (
            (f(x + h, y) - f(x - h, y)) / (2 * h),
            (f(x, y + h) - f(x, y - h)) / (2 * h),
        )
        np.testing.assert_allclose(problem.gradient(x, y), slope, rtol=1e-5, atol=1e-5)
        if problem.name != "plateau":  # where the curvature is a bound
            bend = (
                (f(x + h, y) - 2 * f(x, y) + f(x - h, y)) / h**2,
                (f(x, y + h) - 2 * f(x, y) + f(x, y - h)) / h**2,
            )
            np.testing.assert_allclose(problem.curvature(x, y), bend, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_the_target_is_above_the_minimum_and_below_the_start(problem):
    assert problem.gradient(*problem.minimum) == (0, 0)
    assert problem.loss(*problem.minimum) < problem.target < problem.loss(*problem.start)


def test_a_walk_is_the_rule_by_hand():
    x, y = PROBLEMS["ravine"].start
    path = walk(registry.get("sgd"), PROBLEMS["ravine"], 0.01, 3)
    np.testing.assert_allclose(path, [(x * 0.99**t, 0.0 if t else y) for t in range(4)], atol=1e-15)


def test_the_best_rate_of_descent_on_a_ravine_is_near_the_one_of_theory():
    found = trial(registry.get("sgd"), PROBLEMS["ravine"])
    assert found.lr == pytest.approx(2 / 101, rel=0.6)
    assert found.steps is not None


def test_what_never_gets_there_says_so():
    found = trial(rule(lambda p, g, *, lr=1e-3: p + lr * g).named("climb"), PROBLEMS["ravine"])
    assert found.steps is None
    assert found.reached == ()
    assert PROBLEMS["ravine"].loss(*found.path.T).min() == PROBLEMS["ravine"].loss(1.3, 0.8)
    assert len(walk(registry.get("sgd"), PROBLEMS["ravine"], 10.0)) < STEPS  # it left the numbers


def test_walks_at_many_rates_are_the_optimizers_at_each():
    """Pointwise rules step all rates as one array; the others one by one."""
    problem = PROBLEMS["noise"]
    for name in ("adam", "rprop", "lamb", "sophia", "schedule_free_sgd", "muon"):
        made = registry.get(name)
        shape = (1, 2) if name == "muon" else (2,)
        paths = walks(made, problem, (0.01, 0.05), 20)
        assert not np.allclose(*paths), name
        for lr, path in zip((0.01, 0.05), paths, strict=True):
            expected = by_the_optimizer(made, problem, lr, shape)
            np.testing.assert_allclose(path, expected, rtol=1e-9, err_msg=name)


def by_the_optimizer(made, problem, lr, shape):
    optimizer = ravine.numpy.optimizer(made)(np.reshape(np.array(problem.start), shape), lr=lr)
    points = [problem.start]
    for t in range(1, 21):
        x, y = np.ravel(optimizer.params)
        factors = np.reshape(problem.at(t), shape)
        curvature = np.reshape(problem.curvature(x, y), shape) * factors
        grad = np.reshape(problem.gradient(x, y), shape) * factors
        optimizer.step(grad, **dict.fromkeys(made.signals, curvature))
        with optimizer.evaluating():
            points.append(np.ravel(optimizer.params).copy())
    return points


def test_rates_span_the_search_range():
    low, high = registry.get("adam").hyperparameters["lr"].search
    tried = rates(registry.get("adam"))
    assert (tried[0], tried[-1]) == pytest.approx((low, high))


def test_the_distance_of_a_rule_from_itself_and_from_a_variant():
    adam = registry.get("adam")
    assert apart(adam, adam) == 0
    assert 1e-4 < apart(adam, registry.get("adam_eps_hat")) < 1e-2  # eps is 32 times as strong
    assert apart(adam, registry.get("momentum")) > 0.1
    assert math.isfinite(apart(registry.get("muon"), adam))
    assert 0.01 < apart(registry.get("adahessian"), registry.get("adahessian_pointwise")) < 1
