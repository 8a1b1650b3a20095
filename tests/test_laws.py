"""Laws that hold for any numbers: what an optimizer must do, whatever its formulas are."""

import itertools
import math

import numpy as np
import pytest
from cases import ELEMENTWISE, PLAIN, REDUCING, REGISTERED, error, lion, run, schedule_free
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ravine.modifiers import clip_by_global_norm, decoupled_decay, l2, maximize
from ravine.ops import Tensors
from ravine.rules import (
    adafactor,
    adagrad,
    adam,
    adam_eps_hat,
    adamax,
    adamw,
    amsgrad,
    asgd,
    momentum,
    momentum_classical,
    muon,
    nadam,
    nesterov,
    radam,
    rmsprop,
    rprop,
    sgd,
)

SIZE = 3
values = st.floats(-10, 10, allow_subnormal=False).map(lambda x: x if abs(x) > 1e-6 else 0.0)
points = arrays(float, SIZE, elements=values)
paths = arrays(float, st.tuples(st.integers(1, 8), st.just(SIZE)), elements=values)
nonzero = st.one_of(st.floats(0.01, 10), st.floats(-10, -0.01))
rates = st.floats(1e-4, 1.0)
decays = st.floats(0.0, 0.99)


few = settings(max_examples=20)


def every(*rules, without=()):
    """One test for each of the rules that has no such hyperparameter."""
    rules = [r for r in rules if not {*without} & {*r.hyperparameters}]
    return pytest.mark.parametrize("made", rules, ids=lambda r: r.name)


def end(made, p, grads, **hyper):
    with np.errstate(all="ignore"):
        return run(made, p, grads, **hyper)[-1][0]


def same(a, b, tolerance=0.0):
    return error(a, b) <= tolerance or np.array_equal(a, b, equal_nan=True)


# --- special cases


@given(points, paths, rates, st.floats(0, 1))
def test_momentum_zero_is_sgd(p, grads, lr, dampening):
    expected = end(sgd, p, grads, lr=lr)
    for made in (momentum, nesterov, momentum_classical):
        assert same(end(made, p, grads, lr=lr, momentum=0.0), expected)
    # With dampening only the first step is sgd's: torch damps from the second on.
    damped = end(momentum, p, grads[:1], lr=lr, momentum=0.0, dampening=dampening)
    assert same(damped, end(sgd, p, grads[:1], lr=lr))


@given(points, arrays(float, SIZE, elements=nonzero), rates, decays, decays)
def test_adams_first_step_has_the_size_lr(p, g, lr, beta1, beta2):
    for made in (adam, amsgrad):
        for eps in (0.0, 1e-12):
            step = run(made, 0 * p, [g], lr=lr, beta1=beta1, beta2=beta2, eps=eps)[0][0]
            np.testing.assert_allclose(step, -lr * np.sign(g), rtol=1e-9)


@given(arrays(float, (5, SIZE), elements=nonzero), rates, st.floats(1e-3, 1e3))
def test_constant_gradients_move_adam_by_lr_each_step(grads, lr, scale):
    path = run(adam, np.zeros(SIZE), [scale * grads[0]] * 30, lr=lr, eps=0.0)
    for t, (p, *_) in enumerate(path, 1):
        np.testing.assert_allclose(p, -t * lr * np.sign(grads[0]), rtol=1e-9)


@given(
    points, arrays(float, (6, SIZE), elements=nonzero), rates, st.integers(-20, 20), st.booleans()
)
def test_scaling_all_gradients_leaves_adam_and_its_like_alone(p, grads, lr, power, negate):
    scale = 2.0**power  # exact, so nothing may change at all
    for made in (adam, adam_eps_hat, adamw, amsgrad, rmsprop, adamax, nadam, adagrad, rprop):
        exact = {"eps": 0.0} if "eps" in made.hyperparameters else {}
        plain = end(made, p, grads, lr=lr, **exact)
        assert same(end(made, p, grads * scale, lr=lr, **exact), plain)
    moved = end(adam, 0 * p, grads * (-1.0 if negate else 1.0), lr=lr)
    assert same(moved, end(adam, 0 * p, grads, lr=lr) * (-1.0 if negate else 1.0))


@given(points, paths, rates, st.integers(-20, 20))
def test_scaling_gradients_scales_sgd_and_momentum(p, grads, lr, power):
    for made in (sgd, momentum, nesterov, momentum_classical):
        plain = end(made, 0 * p, grads, lr=lr)
        assert same(end(made, 0 * p, grads * 2.0**power, lr=lr), plain * 2.0**power)
        assert same(end(made, 0 * p, grads, lr=lr * 2.0**power), plain * 2.0**power)


@given(points, paths, rates, decays, st.floats(0, 1))
def test_nesterov_is_momentum_looking_ahead(p, grads, lr, mu, dampening):
    """Its point is momentum's point plus one velocity: theta = p + lr * mu * b (Bengio et al.)."""
    at, ahead = (
        run(momentum, p, grads, lr=lr, momentum=mu),
        run(nesterov, p, grads, lr=lr, momentum=mu),
    )
    for (p1, b1), (p2, b2) in zip(at, ahead, strict=True):
        assert same(b1, b2)
        np.testing.assert_allclose(p2, p1 - lr * mu * b1, rtol=1e-10, atol=1e-10)


@given(points, paths, rates, decays)
def test_momentum_inside_and_outside_are_equal_at_constant_lr(p, grads, lr, mu):
    inside = end(momentum_classical, p, grads, lr=lr, momentum=mu)
    np.testing.assert_allclose(
        end(momentum, p, grads, lr=lr, momentum=mu), inside, rtol=1e-10, atol=1e-10
    )


@given(arrays(float, SIZE, elements=nonzero), rates, st.floats(0.1, 0.99), st.floats(0.1, 0.9))
def test_momentum_inside_and_outside_differ_when_lr_changes(g, lr, mu, factor):
    results = []
    for made in (momentum, momentum_classical):
        p, state = 0 * g, made.init(g)
        for t, rate in enumerate((lr, lr * factor), 1):
            p, state = made.update(p, g, state, t, lr=rate, momentum=mu)
        results.append(p)
    # The old velocity goes on at the old lr inside, at the new one outside.
    np.testing.assert_allclose(results[0] - results[1], lr * (1 - factor) * mu * g, rtol=1e-8)


@given(points, paths, rates, decays)
def test_the_size_of_amsgrads_denominator_never_falls(p, grads, lr, beta2):
    sizes = [row[-1] for row in run(amsgrad, p, grads, lr=lr, beta2=beta2)]
    assert all((b >= a).all() for a, b in itertools.pairwise(sizes))
    growing = np.sort(np.abs(grads), axis=0)
    assert same(
        end(amsgrad, p, growing, lr=lr, beta2=beta2), end(adam, p, growing, lr=lr, beta2=beta2)
    )


@given(points, paths, rates, decays)
def test_centered_rmsprop_takes_the_longer_steps(p, grads, lr, alpha):
    grads = grads[:1]
    plain = run(rmsprop, 0 * p, grads, lr=lr, alpha=alpha)[0][0]
    centered = run(rmsprop, 0 * p, grads, lr=lr, alpha=alpha, centered=True)[0][0]
    assert (np.abs(centered) >= np.abs(plain)).all()


@given(points, arrays(float, (6, SIZE), elements=nonzero), rates)
def test_without_eps_it_does_not_matter_where_eps_is(p, grads, lr):
    plain = end(adam, p, grads, lr=lr, eps=0.0)
    np.testing.assert_allclose(end(adam_eps_hat, p, grads, lr=lr, eps=0.0), plain, rtol=1e-12)


@given(points, arrays(float, (8, SIZE), elements=nonzero), rates)
def test_nadam_without_momentum_is_adam_without_momentum(p, grads, lr):
    plain = end(adam, p, grads, lr=lr, beta1=0.0)
    np.testing.assert_allclose(end(nadam, p, grads, lr=lr, beta1=0.0), plain, rtol=1e-12)


@given(points, paths, rates)
def test_radam_begins_as_momentum(p, grads, lr):
    """Until it has seen the equivalent of five gradients; with a short memory, for good."""
    grads = grads[:5]
    expected, m = p, 0 * p
    for t, g in enumerate(grads, 1):
        m = 0.9 * m + 0.1 * g
        expected = expected - lr * m / (1 - 0.9**t)
    for beta2 in (0.999, 0.5):
        found = end(radam, p, grads, lr=lr, beta2=beta2)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(points, arrays(float, (6, SIZE), elements=nonzero), arrays(float, (6, SIZE), elements=rates))
def test_rprop_looks_at_signs_only(p, grads, factors):
    assert same(end(rprop, p, grads * factors), end(rprop, p, grads))


@given(nonzero)
def test_rprop_speeds_up_rests_after_a_turn_and_slows_down(g):
    path = run(rprop, 0.0, [g, g, -g, -g], lr=0.1)
    steps = np.diff([0.0, *(p for p, *_ in path)]) / np.sign(g)
    np.testing.assert_allclose(steps, [-0.1, -0.12, 0, 0.06], rtol=1e-12)


@given(points, arrays(float, (9, SIZE), elements=values), rates, st.integers(0, 3))
def test_asgd_is_sgd_and_its_mean(p, grads, lr, t0):
    path = run(asgd, p, grads, lr=lr, lambd=0.0, t0=t0)
    weights = [row[0] for row in path]
    assert same(weights[-1], end(sgd, p, grads, lr=lr))
    mean = asgd.evaluate(weights[-1], path[-1][1:], t0=t0)
    np.testing.assert_allclose(mean, np.mean(weights[t0 + 1 :], 0), rtol=1e-10, atol=1e-12)
    early = run(asgd, p, grads, lr=lr)[-1]
    assert asgd.evaluate(early[0], early[1:]) is early[-1]
    assert same(early[-1], early[0])


@given(
    arrays(float, (3, 1), elements=nonzero),
    arrays(float, (1, 4), elements=nonzero),
    arrays(float, (5, 1, 1), elements=nonzero),
)
def test_adafactor_is_exact_where_the_squares_are_a_product(column, row, sizes):
    p, grads = np.ones((3, 4)), sizes * column * row
    for eps1 in (1e-13, 0.0):  # below the squares, which are 1e-12 at least
        found = end(adafactor, p, grads, eps1=eps1)
        expected = end(adafactor, p.ravel(), grads.reshape(len(grads), -1), eps1=eps1)
        expected = expected.reshape(p.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


matrices = arrays(float, (4, 3, 5), elements=nonzero)


@given(matrices, st.booleans())
def test_muon_does_not_know_the_axes(grads, nesterov):
    """Neither rotated nor transposed; the step of a tall matrix is longer by the root of its ratio, and
    unclamped, that of a wide one is shorter."""
    p, turn = np.zeros((3, 5)), np.linalg.qr(np.sin(np.arange(9.0).reshape(3, 3)))[0]
    plain = end(muon, p, grads, nesterov=nesterov)
    close = {"rtol": 1e-7, "atol": 1e-9}
    np.testing.assert_allclose(end(muon, p, turn @ grads, nesterov=nesterov), turn @ plain, **close)
    tall = end(muon, p.T, grads.mT, nesterov=nesterov)
    np.testing.assert_allclose(tall.T, plain * math.sqrt(5 / 3), **close)
    unclamped = end(muon, p, grads, nesterov=nesterov, unclamped=True)
    np.testing.assert_allclose(unclamped, plain * math.sqrt(3 / 5), **close)
    as_adamw = end(muon, p, grads, nesterov=nesterov, match_adamw=True)
    np.testing.assert_allclose(as_adamw, plain * 0.2 * math.sqrt(5), **close)


def test_the_singular_values_of_muons_step_are_near_one():
    for shape in ((3, 5), (64, 8), (2, 4, 4)):
        g = np.random.default_rng(0).normal(size=shape) * 1e3
        step = -run(muon, 0 * g, [g], lr=1.0)[0][0] / math.sqrt(max(1, shape[-2] / shape[-1]))
        values = np.linalg.svd(step, compute_uv=False)
        assert values.min() > 0.6
        assert values.max() < 1.3


# --- for every rule


@every(*ELEMENTWISE, *REDUCING, without=["maximize"])
@few
@given(p=points, grads=paths)
def test_maximize_is_negated_gradients(made, p, grads):
    assert same(end(maximize(made), p, grads), end(made, p, -grads))


@every(*(r for r in [*ELEMENTWISE, *REDUCING] if r is not schedule_free))  # its lr weighs a mean
@few
@given(p=points, grads=paths)
def test_a_learning_rate_of_zero_changes_nothing(made, p, grads):
    if made in REDUCING:
        grads = np.where(grads == 0, 1.0, grads)
    exact = {"step_min": 0.0} if "step_min" in made.hyperparameters else {}
    assert same(end(made, p, grads, lr=0.0, **exact), p)
    if "weight_decay" not in made.hyperparameters:
        assert same(end(decoupled_decay(made), p, grads, lr=0.0, weight_decay=0.5, **exact), p)


@every(*ELEMENTWISE)
@few
@given(p=points, grads=paths, cut=st.integers(1, SIZE - 1))
def test_two_tensors_or_one_concatenated(made, p, grads, cut):
    parts = [end(made, p[:cut], grads[:, :cut]), end(made, p[cut:], grads[:, cut:])]
    assert same(np.concatenate(parts), end(made, p, grads))


@every(*ELEMENTWISE)
@few
@given(p=points, grads=paths, order=st.permutations(range(SIZE)))
def test_the_order_and_shape_of_elements_do_not_matter(made, p, grads, order):
    order = list(order)
    assert same(end(made, p[order], grads[:, order]), end(made, p, grads)[order])
    assert same(end(made, p[:, None], grads[..., None])[:, 0], end(made, p, grads))


@given(points, paths, st.integers(1, SIZE - 1), st.floats(0.01, 5.0))
def test_a_global_norm_is_that_of_one_concatenated(p, grads, cut, max_norm):
    for inner in (sgd, momentum, adam, lion):
        made = clip_by_global_norm(inner, max_norm=max_norm)
        bags = [Tensors([g[:cut], g[cut:]]) for g in grads]
        bag = Tensors([p[:cut], p[cut:]])
        state = tuple(Tensors([0 * p[:cut], 0 * p[cut:]]) for _ in made.slots)
        for t, g in enumerate(bags, 1):
            bag, state = made.update(bag, g, state, t)
        assert same(np.concatenate(list(bag)), end(made, p, grads), 1e-13)


@every(*ELEMENTWISE, *REDUCING, without=["weight_decay"])
@few
@given(p=points, grads=paths)
def test_l2_is_decay_put_into_the_gradient(made, p, grads):
    decayed, state, plain = l2(made, weight_decay=0.25), made.init(p), made.init(p)
    x = y = p
    with np.errstate(all="ignore"):
        for t, g in enumerate(grads, 1):
            x, state = decayed.update(x, g, state, t)
            y, plain = made.update(y, g + 0.25 * y, plain, t)
    assert same(x, y)


@given(points, paths, rates, st.floats(0, 1))
def test_decoupled_decay_of_sgd_is_l2(p, grads, lr, weight_decay):
    hyper = {"lr": lr, "weight_decay": weight_decay}
    np.testing.assert_allclose(
        end(decoupled_decay(sgd), p, grads, **hyper),
        end(l2(sgd), p, grads, **hyper),
        rtol=1e-12,
        atol=1e-12,
    )


@given(st.floats(1e-3, 1.0), st.floats(0.01, 0.9), nonzero)
def test_decoupled_decay_alone_shrinks_by_its_factor(lr, weight_decay, p):
    shrunk = end(adamw, p, [0.0] * 10, lr=lr, weight_decay=weight_decay)
    assert math.isclose(shrunk, p * (1 - lr * weight_decay) ** 10, rel_tol=1e-12)


# Too slow; pulled elsewhere; remembers where it came from.
@every(*(r for r in PLAIN if r.name not in ("adadelta", "adamw", "ademamix")))
def test_every_rule_finds_the_bottom_of_a_bowl(made):
    p, state = np.array([1.0, -2.0, 0.5]), made.init(np.zeros(3))
    faster = {"adagrad": 20.0, "adagrad_keras": 20.0, "qhm": 20.0, "schedule_free_sgd": 20.0}.get(
        made.name, 1.0
    )
    for t in range(1, 2001):
        lr = faster * 0.05 * (1 - t / 2001) ** 2  # steps of a sign do not get shorter otherwise
        p, state = made.update(p, np.array([1.0, 4.0, 0.5]) * p, state, t, lr=lr)
    assert np.abs(p).max() < 1e-4


ALIKE = [  # at one lr; of one tensor; without Hessians; while the distance does not grow
    {"momentum", "momentum_classical"},
    {"dog", "ldog"},
    {"adahessian", "adahessian_pointwise"},
    {"dadapt_adam", "dadapt_adam_paper", "prodigy", "prodigy_paper"},
]


def test_rules_that_are_not_equal_differ():
    """The laws above compare; here is that they compare different things.

    Over as many steps as some take to warm up, with a learning rate that moves.
    """
    rows = [np.array([3.0, -0.5]), np.array([0.01, 2.0]), np.array([-1.0, 0.1])]
    grads = [np.array([row, 2 * row[::-1] - 0.3]) for row in rows] * 4
    large, ends = {"eps", "eps1", "d0", "reps_rel"}, {}
    for r in REGISTERED:
        hyper = dict.fromkeys(large & r.hyperparameters.keys(), 0.1)
        p, state = np.ones((2, 2)), r.init(np.ones((2, 2)), lr=0.1, **hyper)
        for t, g in enumerate(grads, 1):
            if t % 4 == 0:  # at right angles to p, where some steps are projected
                g = g - (g * p).sum(1, keepdims=True) / (p * p).sum(1, keepdims=True) * p
            p, state = r.update(p, g, state, t, lr=0.1 / (1 + t % 3), **hyper)
        ends[r.name] = p
    for (a, x), (b, y) in itertools.combinations(ends.items(), 2):
        assert any({a, b} <= alike for alike in ALIKE) or error(x, y) > 1e-6, (a, b)
    assert error(end(momentum, x, grads), end(momentum_classical, x, grads)) < 1e-15
