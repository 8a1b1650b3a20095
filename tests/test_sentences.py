"""What is said of rules in words, held by numbers: each kind of sentence on all rules that it is said of.

Summaries and docstrings that say what is computed are held by the rule's oracle or witness; here is what
they say of its consequences.
"""

from itertools import pairwise

import numpy as np
import pytest

from ravine import registry
from ravine.engines.tracing import trace

DRAW = np.random.RandomState(5)
SHAPE = (6, 4)
P, G = DRAW.standard_normal((2, *SHAPE))
GRADS = DRAW.standard_normal((30, *SHAPE)) * 10 ** DRAW.uniform(-2, 1, (30, 1, 1))


def follow(name, grads, start=P, **options):
    """The weights after each step, the start first, and the state after each, by slot."""
    rule = registry.get(name)
    values = rule.values(options)
    p, state = start, rule.init(start, **values)
    places, states = [start], [dict(zip(rule.slots, state, strict=True))]
    for t, g in enumerate(grads, 1):
        p, state = rule.update(p, g, state, t, **values)
        places.append(p)
        states.append(dict(zip(rule.slots, state, strict=True)))
    return np.array(places), states


def first(name, g=G, start=P, **options):
    """The first step."""
    return follow(name, [g], start, **options)[0][1] - start


def norm(x):
    return float(np.linalg.norm(x))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("signsgd", {}),
        ("signum", {}),
        ("tiger", {"weight_decay": 0.0}),
        ("lion", {}),
        ("mars_lion", {}),
        ("rprop", {}),
    ],
)
def test_each_weight_moves_by_the_same(name, options):
    """... by lr, against a sign."""
    lr = 0.25
    step = first(name, lr=lr, **options)
    np.testing.assert_allclose(step, -lr * np.sign(G), rtol=1e-12)


UNSCALED = (
    *("adam", "adamax", "nadam", "amsgrad", "adam_atan2", "laprop", "adan", "adam_mini", "rmsprop"),
    *("adagrad", "lamb", "lars", "fromage", "novograd", "signum", "lion", "prodigy"),
    *("muon", "scion", "scion_rms", "normuon"),
)


@pytest.mark.parametrize("name", UNSCALED)
def test_steps_do_not_depend_on_the_scale_of_gradients(name):
    """Where nothing is added to denominators and nothing decays."""
    known = registry.get(name).hyperparameters
    options = {k: 0.0 for k in ("eps", "eps1", "weight_decay", "ns_eps") if k in known}
    small, large = (follow(name, GRADS[:6] * k, **options)[0] for k in (1, 1024))
    assert norm(small[-1] - P) > 0
    np.testing.assert_allclose(small, large, rtol=1e-9, atol=1e-12)


def test_steps_in_proportion_to_the_norm():
    for name, options in (
        ("lamb", {"weight_decay": 0.0}),
        ("lars", {"weight_decay": 0.0}),
        ("fromage", {}),
    ):
        for factor in (1.0, 8.0):
            step = first(name, start=factor * P, lr=1e-6, **options)
            share = norm(step) / norm(factor * P) / 1e-6
            wanted = {"lars": registry.get("lars").hyperparameters.get("trust_coefficient")}
            expected = wanted[name].default if name in wanted else 1.0
            assert share == pytest.approx(expected, rel=1e-5), name


def test_what_is_at_a_right_angle_does_not_make_the_norm_grow():
    """Fromage undoes the growth by a step at a right angle."""
    across = G - P * (G * P).sum() / (P**2).sum()
    moved = first("fromage", g=across, lr=0.3) + P
    assert norm(moved) == pytest.approx(norm(P), rel=1e-12)


@pytest.mark.parametrize("name", ["adamp", "sgdp"])
def test_steps_are_tangent_to_scale_invariant_weights(name):
    """A scale-invariant weight's gradient is at a right angle to it; its mean soon is not."""
    places, grads = [P], []
    for _ in range(5):
        p = places[-1]
        g = DRAW.standard_normal(SHAPE)
        grads.append(g - p * (g * p).sum() / (p**2).sum())
        places = list(follow(name, grads, lr=1e-2, weight_decay=0.0)[0])
        step = places[-1] - places[-2]
        assert abs((step * p).sum()) < 1e-6 * norm(step) * norm(p)


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("amsgrad", "v_max"),
        ("dadapt_adam", "d"),
        ("dadapt_adam_paper", "d"),
        ("dadapt_sgd", "d"),
        ("prodigy", "d"),
        ("prodigy_paper", "d"),
        ("dog", "r_max"),
        ("dowg", "r_max"),
        ("adagrad", "v"),
    ],
)
def test_what_never_falls(name, slot):
    states = follow(name, [G + 0.1 * g for g in GRADS])[1]
    kept = [np.asarray(its[slot]) for its in states[1:]]
    assert all((y >= x).all() for x, y in pairwise(kept))
    assert (kept[-1] > kept[0]).any()


@pytest.mark.parametrize("name", ["adagrad", "shampoo", "amos"])
def test_the_same_gradient_makes_ever_shorter_steps(name):
    ways = np.diff(follow(name, [G] * 20, start=0 * P + 1)[0], axis=0)
    sizes = [norm(step) for step in ways]
    assert all(y < x for x, y in pairwise(sizes[1:]))


def test_steps_are_bounded():
    lr = 0.1
    wild = GRADS * 10 ** DRAW.uniform(-3, 3, (30, 1, 1))
    for name, bound in (("adam_atan2", 2 * lr), ("sophia", lr), ("sophia_g", lr)):
        options = {} if name == "adam_atan2" else {"weight_decay": 0.0}
        places = follow(name, wild, lr=lr, **options)[0]
        assert np.abs(np.diff(places, axis=0)).max() <= bound * (1 + 1e-12), name


def test_sophia_steps_by_lr_before_the_first_estimate():
    for name in ("sophia", "sophia_g"):
        np.testing.assert_allclose(
            first(name, lr=0.1, weight_decay=0.0), -0.1 * np.sign(G), rtol=1e-12
        )


def test_steps_of_one_size_for_rows_entries_and_singular_values():
    row = first("normuon", lr=1.0)
    sizes = np.sqrt((row**2).mean(axis=1))
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-6)
    row = first("scion_rms", lr=1.0, constrained=False)
    np.testing.assert_allclose(np.sqrt((row**2).mean(axis=1)), 1.0, rtol=1e-6)
    signs = first("scion_sign", lr=1.0, constrained=False)
    np.testing.assert_allclose(np.abs(signs), 1 / SHAPE[1], rtol=1e-12)
    for name in ("muon", "muon_jordan", "muon_heavyball", "polar_express"):
        values = np.linalg.svd(first(name, lr=1.0))[1] / np.sqrt(SHAPE[0] / SHAPE[1])
        assert 0.6 < values.min() <= values.max() < 1.3, name


def test_weights_that_do_not_move_at_first():
    for name, still in (("soap", 1), ("adopt", 1), ("radam_skipping", 4), ("adahessian", 1)):
        places = follow(name, GRADS[:5])[0]
        assert (places[still] == P).all(), name


def test_adamc_is_adamw_at_the_peak():
    found, exact = (
        follow(name, GRADS, lr=0.1, weight_decay=0.1, **options)[0]
        for name, options in (("adamc", {"lr_peak": 0.1}), ("adamw", {}))
    )
    np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_momentum_ema_is_momentum_times_one_minus_beta1():
    ema = follow("momentum_ema", GRADS, lr=0.1, beta1=0.9)[0]
    np.testing.assert_allclose(ema, follow("momentum", GRADS, lr=0.01)[0], rtol=1e-10)


def test_yogi_forgets_large_gradients_slowly():
    """Its v falls only by the squares of the small ones; Adam's by a share of itself."""
    grads = [1e3 * G] + [1e-3 * G] * 50
    fallen = {
        name: float(np.mean(its[-1]["v"] / its[1]["v"]))
        for name in ("adam", "yogi")
        for its in [follow(name, grads, beta2=0.9)[1]]
    }
    assert fallen["adam"] < 0.01
    assert fallen["yogi"] > 0.99


def test_amsgrads_denominator_can_shrink():
    """v_max never falls, its bias correction does: after one large gradient the effective rate grows."""
    its = follow("amsgrad", [G, *[0 * G] * 100])[1]
    hats = [np.sqrt(s["v_max"] / (1 - 0.999**t)) for t, s in enumerate(its[1:], 1)]
    assert (hats[-1] < hats[0]).all()


def test_rprop_steps_grow_while_the_sign_stays_and_shrink_when_it_changes():
    places = follow("rprop", [G, G, G, -G, -G, -G], lr=1e-2)[0]
    sizes = [norm(step) for step in np.diff(places, axis=0)]
    assert sizes[2] > sizes[1] > sizes[0]
    assert 0 < sizes[5] < sizes[2]


def test_state_in_arrays():
    """How much is kept beside the weights, as summaries and notes say it."""
    shape = (40, 30)
    for name, most in (
        ("lion", 40 * 30),
        ("adan", 4 * 40 * 30),
        ("adafactor", 40 + 30),
        ("novograd", 40 * 30 + 1),
        ("adam_mini", 40 * 30 + 40 + 1),
        ("amos", 2),
    ):
        rule = registry.get(name)
        state = dict(zip(rule.slots, rule.init(np.zeros(shape)), strict=True))
        kept = sum(np.size(state[slot]) for slot in trace(rule).live)
        assert kept <= most, (name, kept)
