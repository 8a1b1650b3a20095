"""The facts of a rule's page: small problems, and distances between variants."""

import math

import numpy as np
import pytest

from ravine import registry, rule
from ravine.gallery import PROBLEMS, apart, trial, walk
from ravine.gallery.trials import STEPS, rates

NAMED = {problem.name: problem for problem in PROBLEMS}


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
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


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_the_target_is_above_the_minimum_and_below_the_start(problem):
    lowest = {"saddle": (0, 1), "Rosenbrock": (1, 1)}.get(problem.name, (0, 0))
    assert problem.loss(*lowest) < problem.target < problem.loss(*problem.start)


def test_a_walk_is_the_rule_by_hand():
    x, y = NAMED["ravine"].start
    path = walk(registry.get("sgd"), NAMED["ravine"], 0.01, 3)
    np.testing.assert_allclose(path, [(x * 0.99**t, 0.0 if t else y) for t in range(4)], atol=1e-15)


def test_the_best_rate_of_descent_on_a_ravine_is_near_the_one_of_theory():
    found = trial(registry.get("sgd"), NAMED["ravine"])
    assert found.lr == pytest.approx(2 / 101, rel=0.6)
    assert found.steps is not None


def test_what_never_gets_there_says_so():
    found = trial(rule(lambda p, g, *, lr=1e-3: p + lr * g).named("climb"), NAMED["ravine"])
    assert found.steps is None
    assert found.loss == NAMED["ravine"].loss(*NAMED["ravine"].start)
    assert len(walk(registry.get("sgd"), NAMED["ravine"], 10.0)) < STEPS  # it left the numbers


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
