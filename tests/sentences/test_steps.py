"""Sentences about the size and the direction of steps."""

import numpy as np
import pytest

from ravine import registry
from sentences import (
    DRAW,
    GRADS,
    SHAPE,
    VECTOR,
    VECTORS,
    G,
    P,
    first,
    follow,
    norm,
    said,
    same,
    says,
    steps,
    without,
)

LR = 0.25


@pytest.mark.parametrize("name", ["signsgd", "signum", "tiger", "lion", "mars_lion", "rprop"])
def test_each_weight_moves_by_the_same(name):
    same(first(name, lr=LR, **without(name)), -LR * np.sign(G))


UNSCALED = (
    *("adam", "adamax", "nadam", "amsgrad", "laprop", "adan", "adam_mini", "rmsprop"),
    *("adagrad", "lamb", "lars", "fromage", "novograd", "signum", "lion", "prodigy"),
    *("muon", "scion", "scion_rms", "normuon"),
)


def unscaled(name, **options):
    """Whether the path stays the same with a thousand times the gradients."""
    options = without(name) | options
    small, large = (follow(name, GRADS[:6] * k, **options)[0] for k in (1, 1024))
    assert norm(small[-1] - P) > 0
    np.testing.assert_allclose(small, large, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", UNSCALED)
def test_steps_do_not_depend_on_the_scale_of_gradients(name):
    unscaled(name)


@says("Steps are bounded, and do not depend on the scale of the gradients.")
def test_bounded_steps_of_no_scale(name):
    unscaled(name)
    wild = GRADS * 10 ** DRAW.uniform(-3, 3, (30, 1, 1))
    assert np.abs(steps(name, wild, lr=LR)).max() <= 2 * LR


@says(
    "Before the first one, and where the curvature is negative, steps have the size lr",
    "Before the first one, steps have the size lr",
)
def test_sophia_steps_by_lr_before_the_first_estimate(name):
    same(first(name, lr=LR, weight_decay=0.0), -LR * np.sign(G))
    if name == "sophia":
        same(first(name, lr=LR, hessian=-1e9 * np.abs(P)), -LR * np.sign(G))
    wild = GRADS * 10 ** DRAW.uniform(-3, 3, (30, 1, 1))
    sizes = np.abs(steps(name, wild, lr=LR, weight_decay=0.0, hessian=P, sampled=P))
    assert sizes.max() <= LR * (1 + 1e-12)


@says("Its square times bs estimates the curvature.")
def test_the_square_of_a_sampled_gradient_is_curvature():
    step = first(
        "sophia_g", lr=LR, beta1=0.0, beta2=0.0, rho=0.5, bs=1e3, weight_decay=0.0, sampled=G
    )
    curvature = 1e3 * G**2
    same(step, -LR * np.clip(G / (0.5 * curvature), -1, 1), 1e-9)


@says(
    "Whatever the norm of Adam's step, a tensor moves by lr times its own norm.",
    "Whatever the norm of its gradient, a tensor moves by lr * trust_coefficient of its own norm",
)
def test_steps_in_proportion_to_the_norm(name):
    trust = registry.get(name).hyperparameters.get("trust_coefficient")
    for factor in (1.0, 8.0):
        step = first(name, start=factor * P, lr=1e-6, weight_decay=0.0)
        share = norm(step) / norm(factor * P) / 1e-6
        assert share == pytest.approx(trust.default if trust else 1.0, rel=1e-5)


@says("A tensor of zeros")
def test_a_tensor_of_zeros(name):
    """Where the ratio would leave it at zero for good."""
    plain = first("adam" if name == "lamb" else "sgd", start=0 * P, lr=LR, eps=1e-6)
    shrunk = np.sqrt(1 + LR**2) if name == "fromage" else 1.0
    same(first(name, start=0 * P, lr=LR), plain / shrunk)


@says(
    "A tensor's norm counts up to 10.",
    "The decay is decoupled, and a tensor's norm counts up to 10.",
)
def test_a_norm_counts_up_to_10(name):
    small, large, larger = (
        norm(first(name, start=P * k / norm(P), lr=1e-6, weight_decay=0.0)) for k in (5, 10, 1000)
    )
    assert large == pytest.approx(2 * small, rel=1e-4)
    assert larger == pytest.approx(large, rel=1e-4)
    if name == "lamb_kozistr":  # decoupled: it shrinks the weights whatever the step is
        shrunk = follow(name, [0 * G], lr=LR, weight_decay=0.1)[0][1]
        same(shrunk, P * (1 - LR * 0.1))


@says("So its first step is 1 / (1 - beta1) times as long as LAMB's: 10 times, by default.")
def test_lamb_kozistrs_first_step(name):
    ratio = norm(first(name)) / norm(first("lamb"))
    assert ratio == pytest.approx(10, rel=1e-4)


@says("All gradients are first divided by one number, so that their global norm is at most")
def test_all_gradients_are_divided_by_one_number(name):
    """Given clipped gradients, it does what it does with the gradients themselves."""
    clipped = [g / max(1.0, norm(g) / 0.5) for g in GRADS]
    found = follow(name, GRADS, max_grad_norm=0.5, eps=1e-2)[0]
    same(found, follow(name, clipped, max_grad_norm=1e9, eps=1e-2)[0])
    assert norm(found - follow(name, GRADS, max_grad_norm=1e9, eps=1e-2)[0]) > 1e-3


@says("Adam's steps do not depend on the scale of the gradients, so this only keeps single steps")
def test_clipping_all_alike_changes_nothing(name):
    even = [g / norm(g) for g in GRADS]
    plain, clipped = (follow(name, even, max_grad_norm=n, eps=0.0)[0] for n in (1e9, 1e-3))
    same(clipped, plain, 1e-9)
    uneven = [follow(name, GRADS, max_grad_norm=n, eps=0.0)[0] for n in (1e9, 1e-3)]
    assert norm(uneven[0] - uneven[1]) > 1e-3


@says("A step at a right angle to the weights would make their norm grow by the factor")
def test_what_is_at_a_right_angle_does_not_make_the_norm_grow():
    across = G - P * (G * P).sum() / (P**2).sum()
    assert norm(first("fromage", g=across, lr=0.3) + P) == pytest.approx(norm(P), rel=1e-12)
    plain = P - 0.3 * norm(P) / norm(across) * across
    assert norm(plain) == pytest.approx(norm(P) * np.sqrt(1 + 0.3**2), rel=1e-12)


def tangent_path(name, **options):
    """Steps on gradients at a right angle to the weights, as a scale-invariant loss has them."""
    places, grads = [P], []
    for _ in range(8):
        p, g = places[-1], DRAW.standard_normal(SHAPE)
        grads.append(g - p * (g * p).sum() / (p**2).sum())
        places = list(follow(name, grads, lr=1e-2, **options)[0])
    return places


@says("The part of the step along the weights is removed as in `sgdp`.", "Where it is nearly so")
def test_steps_are_tangent_to_scale_invariant_weights(name):
    """A scale-invariant weight's gradient is at a right angle to it; its mean soon is not."""
    places = tangent_path(name, weight_decay=0.0)
    for p, step in zip(places, np.diff(places, axis=0), strict=False):
        assert abs((step * p).sum()) < 1e-6 * norm(step) * norm(p)
    across = G - P * (G * P).sum() / (P**2).sum()
    for g, ratio in ((across, 0.1), (P + G, 1.0)):  # projected: a weaker decay
        plain, decayed = (first(name, g=g, lr=0.1, momentum=0.0, weight_decay=w) for w in (0, 0.2))
        same(decayed - plain, -0.1 * 0.2 * ratio * P)


@says("Momentum makes their norm grow all the same, and the larger it is")
def test_momentum_makes_the_norm_of_scale_invariant_weights_grow():
    sizes = [norm(p) for p in tangent_path("momentum")]
    assert np.all(np.diff(sizes) > 0)
    across = G - P * (G * P).sum() / (P**2).sum()
    turned = [norm(first("sgd", g=across / k, start=k * P)) / k for k in (1, 2)]  # the same loss
    assert turned[1] == pytest.approx(turned[0] / 4)


@says("The gradient of such weights is at a right angle to them.", "Before a normalization only")
def test_the_gradient_of_scale_invariant_weights():
    """Of a loss of x / |x|, by finite differences."""

    def loss(x):
        return np.sin(x / norm(x) * G).sum()

    assert loss(3 * P) == pytest.approx(loss(P))
    eye, h = np.eye(P.size).reshape(-1, *SHAPE), 1e-6
    g = sum((loss(P + h * e) - loss(P - h * e)) / (2 * h) * e for e in eye)
    assert abs((g * P).sum()) < 1e-7 * norm(g) * norm(P)


@says(
    "Vectors take AdamW's steps.",
    "Vectors are not projected.",
    "It is for matrices and convolutions",
)
def test_vectors_take_the_plain_steps(name):
    plain = {"adamp": "adamw", "sgdp": "momentum", "mars_timm": "adam"}[name]
    options = {"lr": 0.1, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.99}
    same(follow(name, VECTORS, VECTOR, **options)[0], follow(plain, VECTORS, VECTOR, **options)[0])


@says("Biases and gains have no decay, either.")
def test_vectors_without_ratio_and_decay(name):
    found = follow(name, VECTORS, VECTOR, lr=LR, weight_decay=0.5)[0]
    same(found, follow("momentum", VECTORS, VECTOR, lr=LR)[0])


@says("Biases and gains in a group without decay take plain steps")
def test_what_does_not_decay_takes_plain_steps(name):
    found = follow(name, GRADS, lr=LR, weight_decay=0.0)[0]
    same(found, follow("momentum", GRADS, lr=LR)[0])


@says(
    "lr is outside the velocity.",
    "Momentum as in torch: lr outside the velocity.",
    "Momentum as in the textbooks: lr inside the velocity.",
    "Nesterov's momentum as in the paper: lr inside the velocity.",
    "A change of lr takes effect only as the velocity turns over.",
)
def test_what_a_change_of_lr_changes(name):
    """After a step, without another gradient: momentum times the old step, at the new lr or at the old."""
    options = {"lrs": [0.2, 0.1], "momentum": 0.8, "weight_decay": 0.0}
    start, then = steps(name, [VECTORS[0], 0 * VECTORS[0]], VECTOR, **options)
    outside = any(s.startswith("lr is outside") or "lr outside the" in s for s in said()[name])
    if name == "nesterov_classical":  # its first step looks ahead already
        start = start * 0.8 / 1.8
    same(then, start * 0.8 * (0.5 if outside else 1.0))


@says("Its steps are longer than Adam's at the same lr")
def test_lions_steps_are_longer_than_adams():
    ours, theirs = (steps(n, DRAW.standard_normal((30, *SHAPE)), lr=1e-3) for n in ("lion", "adam"))
    assert np.median([norm(s) for s in ours]) > 1.5 * np.median([norm(s) for s in theirs[5:]])


@says("Where gradients are steady, steps are long.")
def test_steady_gradients_make_adabeliefs_steps_long(name):
    steady, noisy = [G + 0.02 * g / norm(g) for g in GRADS], [g / norm(g) for g in GRADS]
    ratios = [
        np.divide(*(norm(steps(n, grads, beta2=0.9)[-5:]) for n in (name, "adam")))
        for grads in (steady, noisy)
    ]
    assert ratios[0] > 3 > 1.5 > ratios[1]


@says("Where gradients outgrow their mean square, the step of that tensor is shortened.")
def test_stableadamw_shortens_steps_where_gradients_outgrow_their_square(name):
    grads = [*[G] * 20, 100 * G]
    decayed, plain = (steps(name, grads, lr=0.1, weight_decay=w) for w in (1e-3, 0.0))
    rates = [norm(a - b) for a, b in zip(decayed, plain, strict=True)]
    assert rates[-1] < 0.3 * rates[-2]


@says("Steps have the root mean square that AdamW's usually have.")
def test_steps_as_large_as_adamws(name):
    """0.2: see Liu et al. 2025, arXiv:2502.16982, section 2.2."""
    for step in steps(name, GRADS[:5], lr=1.0):
        assert np.sqrt((step**2).mean()) == pytest.approx(0.2, rel=1e-6)


@says("Where an entry of the orthogonalized matrix is zero up to rounding, only eps keeps")
def test_rounding_errors_of_adamuon(name):
    signs = np.array([[0.0, 0, 1, 1], [1, -1, -1, 1]])
    options = {"lr": 1.0, "rms_scale": 0.2, "nesterov": False}
    found = np.abs(first(name, signs, 0 * signs, eps=0.0, **options)[0, :2])
    same(found[~np.isnan(found)], 0.2, 1e-6)  # some libraries leave exact zeros, and 0 / 0
    assert np.abs(first(name, signs, 0 * signs, **options)[0, :2]).max() < 1e-9


def test_steps_of_one_size_for_rows_entries_and_singular_values():
    for name in ("normuon", "scion_rms"):
        step = first(name, lr=1.0, constrained=False)
        sizes = np.sqrt((step**2).mean(axis=1))
        np.testing.assert_allclose(sizes, sizes[0], rtol=1e-6)
    signs = first("scion_sign", lr=1.0, constrained=False)
    same(np.abs(signs), 1 / SHAPE[1])
    for name in ("muon", "muon_jordan", "muon_heavyball", "polar_express"):
        values = np.linalg.svd(first(name, lr=1.0))[1] / np.sqrt(SHAPE[0] / SHAPE[1])
        assert 0.6 < values.min() <= values.max() < 1.3, name


@says("For hidden layers: a matrix is orthogonalized, a vector scaled to root mean square 1.")
def test_scions_steps(name):
    step = first(name, VECTORS[0], VECTOR, lr=1.0, constrained=False)
    assert np.sqrt((step**2).mean()) == pytest.approx(1, rel=1e-6)
    values = np.linalg.svd(first(name, lr=1.0, constrained=False))[1] / np.sqrt(SHAPE[0] / SHAPE[1])
    assert 0.6 < values.min() <= values.max() < 1.3


@says("One that has had no gradient lately takes its step all the same")
def test_a_row_without_gradients_takes_its_step():
    grads = [G, *[np.where(np.arange(6)[:, None] == 2, 0.0, g) for g in GRADS]]
    sizes = [
        np.sqrt((s[2] ** 2).mean()) for s in steps("scion_rms", grads, lr=1.0, constrained=False)
    ]
    np.testing.assert_allclose(sizes, 1.0, rtol=1e-3)
    late = steps("scion_rms", [G, *[0 * G] * 300], lr=1.0, constrained=False)
    assert norm(late[-1]) < 1e-3


@says("Newton-Schulz leaves some rows of a tall matrix much longer than others.")
def test_newton_schulz_leaves_rows_of_different_lengths():
    tall = np.random.default_rng(0).standard_normal((64, 8))
    lengths = np.linalg.norm(first("muon", tall, 0 * tall), axis=1)
    assert lengths.max() > 2 * lengths.min()


@says("They are from modded-nanogpt, and bring the singular values nearer to 1 than Jordan's do.")
def test_the_coefficients_of_heavyball_bring_values_nearer_to_1(name):
    def off(which):
        g = np.random.default_rng(1).standard_normal((40, 40))
        return np.abs(np.linalg.svd(first(which, g, 0 * g, lr=1.0))[1] - 1).max()

    assert off(name) < off("muon_jordan")


@says("Each iteration has different coefficients")
def test_polar_express_brings_all_values_above_a_thousandth_near_1(name):
    values = np.geomspace(1e-3, 1, 30)
    values = values / np.linalg.norm(values)
    values = values[values > 1e-3]
    g = np.diag(np.append(values, np.sqrt(1 - (values**2).sum())))
    worst = {
        which: np.abs(np.linalg.svd(first(which, g, 0 * g, lr=1.0))[1] - 1).max()
        for which in (name, "muon_jordan", "muon_heavyball")
    }
    assert worst[name] == min(worst.values())


@says("With nesterov the whole gradient is added to its mean, so that it counts for more than in")
def test_the_newest_gradient_counts_for_more_in_heavyballs_muon(name):
    past = DRAW.standard_normal((5, *SHAPE))
    shares = {}
    for which in (name, "muon"):
        step = -steps(which, [*past, G], lr=1.0)[-1]
        shares[which] = (step * G).sum() / norm(step) / norm(G)
    assert shares[name] > shares["muon"]


@says("The gradients are summed, so eps counts for less than in `muon_jordan`.")
def test_eps_counts_for_less_beside_a_sum(name):
    left = {
        which: np.divide(*(norm(steps(which, [1e-3 * G] * 10, eps=e)[-1]) for e in (1e-2, 0.0)))
        for which in (name, "muon_jordan")
    }
    assert left[name] > 1.1 * left["muon_jordan"]


@says("Wide matrices take longer steps: the layer is x W, as in JAX.")
def test_columns_are_outputs_in_muon_optax(name):
    tall, wide = (norm(first(name, g, 0 * g, lr=1.0)) for g in (G, G.T))
    assert wide == pytest.approx(tall * np.sqrt(6 / 4), rel=1e-6)


@says("The correction matters to the direction only in the look ahead")
def test_the_correction_of_muon_optax(name):
    """Without a look ahead, and without eps, its path is that of the uncorrected muon, the shape aside."""
    for nesterov, alike in ((False, True), (True, False)):
        options = {"lr": 0.1, "nesterov": nesterov, "eps": 0.0, "beta1": 0.9, "momentum": 0.9}
        square = GRADS[:5, :4]
        ours, theirs = (steps(n, square, P[:4], **options) for n in (name, "muon_jordan"))
        assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-4) == alike


def test_unclamped_has_no_effect_with_match_adamw():
    same(
        first("muon", G.T, P.T, match_adamw=True, unclamped=True),
        first("muon", G.T, P.T, match_adamw=True),
    )


@says(
    "The mean is divided by 1 - beta1 first, which matters only beside ns_eps.", "Despite its name"
)
def test_mars_shampoo_orthogonalizes_whatever_the_scale(name):
    values = np.linalg.svd(first(name, 1e-3 * G, lr=1.0, ns_eps=0.0))[1]
    assert values.min() / values.max() > 0.6
    same(first(name, 1e-3 * G, ns_eps=0.0), first(name, 1e-6 * G, ns_eps=0.0), 1e-9)


@says("The velocity is a sum, not a mean: with beta1 = 0.95 the norm of a step can be 20 times lr.")
def test_novograds_velocity_is_a_sum(name):
    last = steps(name, [G] * 400, lr=0.1, beta1=0.95)[-1]
    assert norm(last) == pytest.approx(20 * 0.1, rel=1e-3)


@says("As one is large, the first steps are short: a warm-up of some 1 / (1 - alpha) steps.")
def test_rmsprop_tf_starts_with_short_steps(name):
    small = [1e-3 * G] * 60
    sizes = [norm(s) for s in steps(name, small, alpha=0.9, momentum=0.0, eps=0.0)]
    full = norm(np.sign(G)) * registry.get(name).hyperparameters["lr"].default
    assert sizes[0] < 0.01 * full
    assert np.all(np.diff(sizes) > 0)


@says("The gradients of small batches change their signs by chance")
def test_steps_of_a_sign_do_not_get_shorter_near_a_minimum(name):
    p, sizes = np.array([1.0, -2.0]), []
    for _ in range(200):
        new = follow(name, [p], p, lr=0.03)[0][1]
        sizes.append(norm(new - p))
        p = new
    np.testing.assert_allclose(sizes, 0.03 * np.sqrt(2), rtol=1e-9)


@says("A gradient keeps the scale that it was given when it came")
def test_laprop_is_stable_where_beta1_is_above_the_root_of_beta2(name):
    grads = [1e3 * G, *[1e-3 * G] * 60]
    options = {"lr": 0.1, "beta1": 0.98, "beta2": 0.5}
    ours, adams = (np.abs(steps(n, grads, **options)).max() for n in (name, "adam"))
    assert ours < 0.1 * 2
    assert adams > 0.1 * 100


@says("The mean is divided by that of the learning rates")
def test_laprop_timm_is_laprop_while_lr_is_constant(name):
    same(follow(name, GRADS, lr=0.1)[0], follow("laprop", GRADS, lr=0.1)[0])
    lrs = np.geomspace(1, 0.01, 30)
    assert norm(follow(name, GRADS, lrs=lrs)[0] - follow("laprop", GRADS, lrs=lrs)[0]) > 1e-3


@says("Alone, a velocity with momentum 0.99 oscillates; those of shorter memory damp it.")
def test_aggmo_damps_oscillations(name):
    far = {}
    for which, options in (
        (name, {"beta1": 0.0, "beta2": 0.9, "beta3": 0.99}),
        ("momentum", {"momentum": 0.99}),
    ):
        rule = registry.get(which)
        p, state, seen = 1.0, rule.init(1.0), []
        for t in range(1, 400):
            p, state = rule.update(p, p, state, t, lr=0.05, **options)
            seen.append(abs(p))
        far[which] = max(seen[200:])
    assert far[name] < 0.2 * far["momentum"]


@says("They shrink when it changes; the coordinate then rests for one step.")
def test_rprop_rests_when_the_sign_changes(name):
    ways = steps(name, [G, G, -G, -G], lr=1e-2)
    assert norm(ways[1]) > norm(ways[0]) > 0 == norm(ways[2])
    assert 0 < norm(ways[3]) < norm(ways[1])


@says("Steps are in the units of the parameter, so lr is not needed.")
def test_adadeltas_steps_are_in_the_units_of_the_parameter(name):
    """In thousandths, gradients are a thousandth, and steps a thousandfold; given some past steps."""
    rule, k = registry.get(name), 1e3
    v, u = G**2, P**2
    plain = rule.update(P, G, (v, u), 2, eps=0.0)[0] - P
    scaled = rule.update(k * P, G / k, (v / k**2, u * k**2), 2, eps=0.0)[0] - k * P
    same(scaled / k, plain)


@says(
    "The norm of such weights settles where decay and steps balance; with this decay it does not",
    "It is for layers followed by a normalization, whose weights settle at a length",
    "As lr falls, gradients then do not grow near the end of training.",
)
def test_where_norms_settle(name):
    """The mean length of a scale-invariant weight's gradient of noise, at two learning rates."""
    ours, theirs = (
        ("adamc", "adamw")
        if name == "adamc"
        else ("corrected_decay(adam)", "decoupled_decay(adam)")
    )
    lengths = {}
    for made in (ours, theirs):
        rule = registry.get(made)
        for lr in (0.1, 0.02):
            given = {"weight_decay": 0.4, "lr": lr, "beta1": 0.0, "lr_max": 0.1, "lr_peak": 0.1}
            values = rule.values({k: x for k, x in given.items() if k in rule.hyperparameters})
            draw = np.random.RandomState(0)
            p, seen = 0.4 * draw.standard_normal(20), []
            state = rule.init(p)
            for t in range(1, 1200):
                g = draw.standard_normal(20)
                p, state = rule.update(p, (g - p * (g @ p) / (p @ p)) / norm(p), state, t, **values)
                seen.append(1 / norm(p))
            lengths[made, lr] = np.mean(seen[600:])
    assert lengths[ours, 0.02] == pytest.approx(lengths[ours, 0.1], rel=0.2)
    assert lengths[theirs, 0.02] > 1.7 * lengths[theirs, 0.1]
