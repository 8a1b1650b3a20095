"""State of optax's and torch's own optimizers goes on as that of a rule, and back."""

import numpy as np
import pytest

pytest.importorskip("jax", reason="jax is not installed; the extra optax brings it")
pytest.importorskip("optax", reason="optax is not installed; the extra optax brings it")

import jax
import jax.numpy as jnp
import optax

import ravine.optax as ro
from ravine import registry

START = {"w": np.random.default_rng(0).normal(size=(3, 4)), "b": np.ones(4)}


def gradients(steps, first=0):
    for t in range(first, first + steps):
        yield {k: np.cos(x + t) for k, x in START.items()}


def trained(tx, params, state, steps, first=0):
    update = jax.jit(tx.update)
    for grads in gradients(steps, first):
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def same(one, other, what):
    for k, x in one.items():
        np.testing.assert_allclose(x, other[k], rtol=1e-12, err_msg=what)


def pairs():
    for rule in registry.own().values():
        for witness in rule.card.witnesses:
            if witness.distribution == "optax" and witness.state and not witness.shapes:
                yield rule, witness


def test_optax_and_the_rule_go_on_with_the_state_of_the_other():
    with jax.enable_x64(True):
        for rule, witness in pairs():
            theirs = eval(witness.call, {"optax": optax, **rule.check()})
            mine = ro.transformation(rule)
            begun = jax.tree.map(jnp.asarray, START)
            params, state = trained(theirs, begun, theirs.init(begun), 3)
            wanted, _ = trained(theirs, params, state, 3, 3)
            moved = ro.from_optax(state, rule)
            if {*moved.slots} != {*mine.init(begun).slots}:
                pytest.fail(f"{witness.name}: the card's state has {[*moved.slots]}")
            same(trained(mine, params, moved, 3, 3)[0], wanted, witness.call)
            back = ro.to_optax(moved, theirs.init(begun), rule.name)
            assert jax.tree.structure(back) == jax.tree.structure(state)
            same(trained(theirs, params, back, 3, 3)[0], wanted, witness.call)


def test_what_is_not_known_or_lacking_is_refused():
    with pytest.raises(LookupError, match="'soap': no optimizer of optax"):
        ro.from_optax((), "soap")
    with pytest.raises(ValueError, match="no 'mu'"):
        ro.from_optax((), "adam")


NUMBERS = {"w": 1, "b": 0}
CLASSES = {
    "Adam": ("adam", {"lr": 0.1}),
    "AdamW": ("adamw", {"lr": 0.1, "weight_decay": 0.1}),
    "NAdam": ("nadam", {"lr": 0.1}),  # which keeps its product in float32
    "Adagrad": ("adagrad", {"lr": 0.1}),
    "Adamax": ("adamax", {"lr": 0.1}),
}


@pytest.mark.parametrize("name", CLASSES)
def test_torch_and_the_rule_go_on_with_the_state_of_the_other(name):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rule, options = CLASSES[name]

    def step(optimizer, tensors, steps, first=0):
        for grads in gradients(steps, first):
            for k, x in tensors.items():
                x.grad = torch.tensor(grads[k])
            optimizer.step()
        return {k: x.detach().numpy().copy() for k, x in tensors.items()}

    def made(values):
        tensors = {k: torch.tensor(np.array(x), requires_grad=True) for k, x in values.items()}
        return getattr(torch.optim, name)([tensors["b"], tensors["w"]], **options), tensors

    with jax.enable_x64(True):
        theirs, tensors = made(START)
        params = jax.tree.map(jnp.asarray, step(theirs, tensors, 3))
        state = ro.from_torch(theirs.state_dict()["state"], params, NUMBERS, rule, **options)
        wanted = step(theirs, tensors, 3, 3)
        found, state = trained(ro.transformation(rule, **options), params, state, 3, 3)
        np.testing.assert_allclose(found["w"], wanted["w"], rtol=1e-7 if name == "NAdam" else 1e-12)
        other, tensors = made(jax.tree.map(np.asarray, found))
        saved = {**other.state_dict(), "state": ro.to_torch(state, NUMBERS, to=name)}
        other.load_state_dict(saved)
        again = step(other, tensors, 3, 6)
        mine, _ = trained(ro.transformation(rule, **options), found, state, 3, 6)
        np.testing.assert_allclose(again["w"], mine["w"], rtol=1e-7 if name == "NAdam" else 1e-12)


def test_shapes_and_numbers_that_do_not_fit_are_named():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    saved = {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}}
    with pytest.raises(ValueError, match=r"m of \['a'\] has shape \(2,\)"):
        ro.from_torch(saved, {"a": jnp.ones(3)}, {"a": 0}, "adam")
    with pytest.raises(ValueError, match="no parameter 1"):
        ro.from_torch(saved, {"a": jnp.ones(3)}, {"a": 1}, "adam")
    with pytest.raises(ValueError, match="to='Adan'"):
        ro.to_torch(ro.adam().init({"a": jnp.ones(3)}), {"a": 0}, to="Adan")
