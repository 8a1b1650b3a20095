"""Transformations in the company of optax's wrappers, JAX's transformations, and the libraries on JAX."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

pytest.importorskip("jax", reason="jax is not installed; the extra optax brings it")
pytest.importorskip("optax", reason="optax is not installed; the extra optax brings it")

import jax
import jax.numpy as jnp
import optax

import ravine.optax as ro

PARAMS = {
    "w": jnp.asarray(np.random.default_rng(0).normal(size=(6, 7)), jnp.float32),
    "b": [jnp.zeros(7), jnp.float32(0.5)],
}
GRADS = jax.tree.map(lambda p: jnp.cos(p) + 0.1, PARAMS)


def stepped(tx, params=PARAMS, grads=GRADS, steps=4, **extra):
    """The parameters after some steps, the state, and how often the step was compiled."""
    state = tx.init(params)

    @partial(jax.jit, donate_argnums=(1,))
    def step(params, state):
        updates, state = tx.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params, state, step._cache_size()


def far(found, wanted):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    return max(float(jnp.abs(x - y).max()) for x, y in pairs)


def label(params):
    return {"w": "rule", "b": ["other", "other"]}


WRAPPED = {
    "schedule": lambda adam, sgd: adam(optax.cosine_decay_schedule(0.1, 10)),
    "inject_hyperparams": lambda adam, sgd: optax.inject_hyperparams(adam)(0.1),
    "inject_hyperparams, schedule": lambda adam, sgd: optax.inject_hyperparams(adam)(
        optax.linear_schedule(0.1, 0.0, 5)
    ),
    "masked": lambda adam, sgd: optax.masked(adam(0.1), {"w": True, "b": [False, True]}),
    "partition": lambda adam, sgd: optax.partition({"rule": adam(0.1), "other": sgd(0.1)}, label),
    "multi_transform": lambda adam, sgd: optax.multi_transform(
        {"rule": adam(0.1), "other": sgd(0.1)}, label
    ),
    "chain": lambda adam, sgd: optax.chain(
        optax.clip_by_global_norm(1.0), adam(0.1), optax.add_decayed_weights(0.01)
    ),
    "named_chain": lambda adam, sgd: optax.named_chain(("one", adam(0.1)), ("two", sgd(0.1))),
    "MultiSteps": lambda adam, sgd: optax.MultiSteps(adam(0.1), 2),
    "apply_if_finite": lambda adam, sgd: optax.apply_if_finite(adam(0.1), 2),
    "schedule_free": lambda adam, sgd: optax.contrib.schedule_free(sgd(0.1), 0.1),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_it_is_wrapped_as_optaxs_own(name):
    mine, _, compiled = stepped(WRAPPED[name](ro.adam, ro.sgd))
    # optax's Adam is wrong by 6e-6 of its first step, since its 1 - b2**t is in float32.
    assert far(mine, stepped(WRAPPED[name](optax.adam, optax.sgd))[0]) <= 6e-6
    assert compiled == 1
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    # apply_if_finite wants updates in the dtype of the gradients; all others take them in float32.
    ones = half if name != "apply_if_finite" else PARAMS
    found = stepped(WRAPPED[name](ro.adam, ro.sgd), half, jax.tree.map(jnp.ones_like, ones))[0]
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("bfloat16")}


def test_an_injected_lr_changes_without_compiling_again():
    tx = optax.inject_hyperparams(ro.adam)(lr=0.1)
    step = jax.jit(lambda params, state: tx.update(GRADS, state, params))
    _, state = step(PARAMS, tx.init(PARAMS))
    state.hyperparams["lr"] = jnp.float32(0.0)
    updates, _ = step(PARAMS, state)
    assert far(updates, jax.tree.map(jnp.zeros_like, PARAMS)) == 0
    assert step._cache_size() == 1


def test_a_scan_is_a_loop():
    tx = ro.adam(lr=0.1)

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(GRADS, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(body, (PARAMS, tx.init(PARAMS)), None, length=4)
    assert far(params, stepped(tx)[0]) <= 1e-6


def after_two_steps(lr):
    tx = ro.adam(lr=lr)
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(2):
        updates, state = tx.update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_learning_rates_are_vmapped_and_differentiated():
    many = jax.jit(jax.vmap(after_two_steps))(jnp.array([0.1, 0.01, 0.001]))
    one = after_two_steps(0.01)
    assert far(jax.tree.map(lambda x: x[1], many), one) <= 1e-6

    def loss(lr):
        return sum(jnp.sum(x) for x in jax.tree.leaves(after_two_steps(lr)))

    by_hand = (loss(0.11) - loss(0.09)) / 0.02
    np.testing.assert_allclose(jax.grad(loss)(jnp.float32(0.1)), by_hand, rtol=1e-3)


def test_matrices_that_are_due_at_some_steps_are_not_decomposed_at_others():
    """SOAP's decompositions are in a branch, and are the same as NumPy's in the NumPy front's test."""
    tx, params = ro.soap(lr=0.1), {"w": PARAMS["w"]}
    text = str(jax.make_jaxpr(tx.update)({"w": GRADS["w"]}, tx.init(params), params))
    before, _, after = text.partition("cond[")
    assert "eigh" in after
    assert "qr" in after
    assert "eigh" not in before


# --- pytrees of the libraries on JAX


def test_flax_linen():
    nn = pytest.importorskip("flax.linen", reason="flax is not installed")
    from flax.training.train_state import TrainState

    model = nn.Dense(3)
    params = model.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    ones = jax.tree.map(jnp.ones_like, params)
    mine, its = (
        TrainState.create(apply_fn=model.apply, params=params, tx=tx).apply_gradients(grads=ones)
        for tx in (ro.adam(lr=0.1), optax.adam(0.1))
    )
    assert far(mine.params, its.params) <= 1e-6


def test_flax_nnx():
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")

    def trained(tx):
        model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        grads = nnx.grad(lambda m: (m(jnp.ones((2, 4))) ** 2).mean())(model)
        optimizer.update(model, grads)
        return nnx.state(model, nnx.Param)

    assert far(trained(ro.adam(lr=0.1)), trained(optax.adam(0.1))) <= 1e-6


def test_equinox():
    eqx = pytest.importorskip("equinox", reason="equinox is not installed")

    def trained(tx):
        model = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
        weights = eqx.filter(model, eqx.is_array)
        state = tx.init(weights)
        grads = eqx.filter_grad(lambda m: (jax.vmap(m)(jnp.ones((2, 4))) ** 2).mean())(model)
        updates, state = tx.update(grads, state, weights)
        return eqx.filter(eqx.apply_updates(model, updates), eqx.is_array)

    assert far(trained(ro.adam(lr=0.1)), trained(optax.adam(0.1))) <= 1e-6


# --- several devices

SHARDED = """
import jax, jax.numpy as jnp, numpy as np, optax
import ravine.optax as ro
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
w = jnp.asarray(np.random.default_rng(0).normal(size=(64, 6)), jnp.float32)
def trained(params, grads, tx):
    state = tx.init(params)
    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state
    text = step.lower(params, state, grads).compile().as_text()
    for _ in range(3):
        params, state = step(params, state, grads)
    return params, state, text.count("all-reduce(") + text.count("all-reduce-start(")
tx = ro.transformation("clip_by_global_norm(adam)", lr=0.1, max_norm=0.5)
wanted = trained([w, w + 1], [jnp.cos(w), jnp.sin(w)], tx)[0]
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        split = NamedSharding(mesh, P("d"))
        put = lambda x: jax.device_put(x, split)
        params, state, reduced = trained([put(w), put(w + 1)], [put(jnp.cos(w)), put(jnp.sin(w))], tx)
        far = max(float(abs(jax.device_get(x) - jax.device_get(y)).max()) for x, y in zip(params, wanted))
        specs = {str(x.sharding.spec[0]) for x in [*params, *state.slots["m"], *state.slots["v"]]}
        print(specs, reduced, far < 1e-6)
"""


def test_a_step_over_devices_has_one_all_reduce_and_state_where_the_parameters_are():
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    env["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    done = subprocess.run([sys.executable, "-c", SHARDED], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["{'d'} 1 True"] * 2, done.stdout + done.stderr[-2000:]
