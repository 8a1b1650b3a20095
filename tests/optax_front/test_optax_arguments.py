"""What a transformation is given: parameters, gradients, signals, hyperparameters; and what it refuses."""

import numpy as np
import pytest

pytest.importorskip("jax", reason="jax is not installed; the extra optax brings it")
pytest.importorskip("optax", reason="optax is not installed; the extra optax brings it")

import jax
import jax.numpy as jnp
import optax
from cases import schedule_free
from signals import sophia

import ravine.numpy as rn
import ravine.optax as ro
from ravine import RuleError, registry, rule, rules, shared
from ravine.ops import maximum, normal, stored, total

ONES = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(AttributeError, match=r"'adan2'.*adan"):
        ro.adan2  # noqa: B018
    with pytest.raises(TypeError, match="has no hyperparameter 'learning_rate'"):
        ro.adam(learning_rate=0.1)
    assert {*registry.own()} <= {*dir(ro)}


def test_values_are_checked_and_switches_must_be_known():
    with pytest.raises(ValueError, match="beta1=2"):
        ro.adam(beta1=2)
    with pytest.raises(ValueError, match=r"lr of shape \(2,\)"):
        ro.adam(lr=jnp.ones(2))
    with pytest.raises(TypeError, match=r"centered=.*known before training"):
        ro.rmsprop(centered=jnp.array(True))


def test_the_first_arguments_are_positional_as_in_optax():
    updates, _ = ro.sgd(0.5).update(ONES, ro.sgd(0.5).init(ONES), ONES)
    assert float(updates["b"][0]) == -0.5


def test_parameters_and_gradients_that_do_not_fit_are_named():
    tx = ro.adam(lr=0.1)
    state = tx.init(ONES)
    with pytest.raises(ValueError, match="update needs params"):
        tx.update(ONES, state)
    with pytest.raises(TypeError, match=r"\['n'\] has dtype int32"):
        tx.init({"n": jnp.ones(2, int)})
    with pytest.raises(ValueError, match=r"the gradient of \['b'\] is of shape \(4,\)"):
        tx.update({**ONES, "b": jnp.ones(4)}, state, ONES)
    muon = ro.muon(lr=0.1)
    with pytest.raises(RuleError, match=r"\['b'\] of shape \(3,\)"):
        muon.update(ONES, muon.init(ONES), ONES)


def test_a_leaf_whose_gradient_comes_late_counts_its_own_steps():
    """As the NumPy front does, where a gradient is None."""
    tx, optimizer = ro.adam(lr=0.1), rn.Adam([np.ones(2), np.ones(2)], lr=0.1)
    params = [jnp.ones(2), jnp.ones(2)]
    state = tx.init(params)
    for i in range(4):
        grads = [np.full(2, 1.0 + i), None if i < 2 else np.full(2, 0.1 * i)]
        updates, state = jax.jit(tx.update)(grads, state, params)
        assert (updates[1] is None) is (i < 2)
        params = [p if u is None else p + u for p, u in zip(params, updates, strict=True)]
        wanted = optimizer.step(grads)
    for x, y in zip(params, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)
    assert int(state.late["[1]"]) == 2


def test_signals_are_extra_arguments_and_others_are_ignored():
    tx, params = ro.transformation(sophia), [jnp.ones(2)]
    state, g = tx.init(params), [jnp.full(2, 0.1)]
    without, _ = tx.update(g, state, params, value=3.0)
    given, _ = tx.update(g, state, params, hessian=[jnp.full(2, 100.0)])
    assert float(without[0][0]) != float(given[0][0])
    with pytest.raises(ValueError, match=r"hessian of \[0\] is of shape \(3,\)"):
        tx.update(g, state, params, hessian=[jnp.ones(3)])


def test_the_weights_to_evaluate_with_are_found_in_what_optax_wraps():
    options = {"lr": 0.1, "beta1": 0.9}
    tx = optax.MultiSteps(optax.chain(ro.transformation(schedule_free, **options)), 1)
    params, state = ONES, tx.init(ONES)
    for _ in range(3):
        updates, state = tx.update(ONES, state, params)
        params = optax.apply_updates(params, updates)
    optimizer = rn.optimizer(schedule_free)([np.ones((2, 3)), np.ones(3)], **options)
    for _ in range(3):
        optimizer.step([np.ones((2, 3)), np.ones(3)])
    with optimizer.evaluating():
        wanted = optimizer.params[0].copy()
    found = ro.evaluate(schedule_free, params, state, **options)
    np.testing.assert_allclose(found["w"], wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="states of 0 rules"):
        ro.evaluate(schedule_free, params, (), **options)


@rule
def langevin(p, g, *, lr=0.1):
    return p - lr * g + lr * normal(p)


def test_random_numbers_have_the_bits_that_they_have_elsewhere():
    """In compiled steps as well, for which XLA would contract products and sums."""
    params = [jnp.zeros((3, 4)), jnp.zeros(5)]
    optimizer = rn.optimizer(langevin)([np.zeros((3, 4), "f"), np.zeros(5, "f")], lr=1.0, seed=7)
    tx = ro.transformation(langevin, lr=1.0, seed=7)
    state, step = tx.init(params), jax.jit(tx.update)
    for _ in range(2):  # p is 0 in each, and so is g: the step is what is drawn
        for x in optimizer.params:
            x[...] = 0
        wanted = optimizer.step([np.zeros((3, 4)), np.zeros(5)])
        found, state = step(params, state, params)
        for x, y in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(x, y)
    assert step._cache_size() <= 2


@rule(d=shared(0.0))
def longest(p, g, d, *, lr=0.1):
    d = maximum(d, total(g * g))
    return p - lr * g / d, d


def test_a_shared_slot_is_one_number():
    tx = ro.transformation(longest)
    updates, state = jax.jit(tx.update)(ONES, tx.init(ONES), ONES)
    assert state.slots["d"].shape == ()
    assert float(state.slots["d"]) == 9
    np.testing.assert_allclose(updates["w"], -0.1 / 9, rtol=1e-6)


@rule
def compensated(p, g, lost, *, lr=0.1):
    wanted = p - lr * g - lost
    return wanted, stored(wanted) - wanted


def test_half_precision_is_computed_in_float32_and_rounded_once():
    """Kahan's compensation knows what rounding to bfloat16 loses; state is kept as parameters are."""
    half = {"w": jnp.ones(3, jnp.bfloat16)}
    tx = ro.transformation(compensated, lr=1e-3)
    params, state = half, tx.init(half)
    for _ in range(20):
        updates, state = tx.update(half, state, params)
        assert updates["w"].dtype == jnp.float32
        params = optax.apply_updates(params, updates)
    assert state.slots["lost"]["w"].dtype == params["w"].dtype == jnp.bfloat16
    assert abs(float(params["w"][0]) - 0.98) < 4e-3  # without it, bfloat16's 1 - 1e-3 stays 1


def test_a_step_adds_what_it_computes_without_the_rounding_of_the_new_parameters():
    big = {"w": jnp.full(3, 1e6)}
    for name in ("sgd", "adamw"):
        tx = ro.transformation(name, lr=1e-3)
        updates, _ = tx.update({"w": jnp.ones(3)}, tx.init(big), big)
        exact = -1e-3 - (1e-3 * rules.adamw.check()["weight_decay"] * 1e6 if name == "adamw" else 0)
        np.testing.assert_allclose(updates["w"], exact, rtol=1e-6)
