"""Sentences about the state that is kept in addition to the weights, and how it changes."""

from itertools import pairwise

import numpy as np
import pytest

import ravine.numpy
from ravine import registry
from ravine.engines.tracing import trace
from ravine.rules import orthogonal
from sentences import (
    GRADS,
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
)

N, M = 40, 30
NUMBERS = {
    "It keeps one array, where Adam keeps two.": lambda n, m: n * m,
    "It keeps four arrays in the shape of p.": lambda n, m: 4 * n * m,
    "For an n × m matrix, n + m numbers are kept where Adam keeps 2nm": lambda n, m: n + m,
    "It keeps one second moment per tensor, where Adam": lambda n, m: n * m + 1,
    "For queries and keys the authors keep one per head; here there is one per row.": (
        lambda n, m: n * m + n
    ),
    "One number is kept for each row.": lambda n, m: n * m + n,
    "It keeps one second moment and one record of the decay so far per tensor": lambda n, m: 2,
    "The squares of the gradients, and of the distances of steps from their mean": (
        lambda n, m: n * m + 2 * n + 2 * m
    ),
    "For matrices, and kernels seen as matrices; it keeps two square matrices for the rows": (
        lambda n, m: 2 * n**2 + 2 * m**2
    ),
    "Kernels are seen as matrices; of a matrix it keeps two square matrices": (
        lambda n, m: 2 * n * m + 2 * n**2 + 2 * m**2
    ),
}


def kept(name, *shape):
    """How many numbers of state a tensor of that shape needs."""
    rule = registry.get(name)
    sizes = {slot: np.prod(rule.shape(slot, shape), dtype=int) for slot in rule.slots}
    return int(sum(sizes[slot] for slot in trace(rule, None, len(shape)).live))


@pytest.mark.parametrize("start", NUMBERS)
def test_how_many_numbers_are_kept(start):
    for name in [n for n, its in said().items() for s in its if s.startswith(start)]:
        assert kept(name, N, M) == NUMBERS[start](N, M), name


says(*NUMBERS)(test_how_many_numbers_are_kept)


@says("This saves nearly half of AdamW's state.")
def test_half_of_adamws_state(name):
    assert 0.5 < kept(name, 400, 300) / kept("adamw", 400, 300) < 0.51


@says("For a vector, all squares are kept.", "For vectors all squares are kept")
def test_all_squares_of_a_vector(name):
    assert kept(name, N) == N * (2 if name == "came" else 1)
    if name == "came":  # and the mean step is taken unscaled
        places, states = follow(name, VECTORS, VECTOR, lr=0.1)
        same(np.diff(places, axis=0), [-0.1 * its["m"] for its in states[1:]])


@says("With more axes, the last two are rows and columns.")
def test_the_last_two_axes_are_rows_and_columns(name):
    rule = registry.get(name)
    assert rule.shape("r", (2, 3, 4)) == (2, 3, 1)
    assert rule.shape("c", (2, 3, 4)) == (2, 1, 4)


NEVER_FALLS = {
    "v_max never falls, but 1 / (1 - beta2**t) does": "v_max",
    "There is one lower bound d for all tensors, which never falls.": "d",
    "The rate is d over the norm of the first gradient; there is one d for all tensors": "d",
    "There is one estimate d for all tensors, which never falls.": "d",
    "The rate is the largest distance from the start": "r_max",
    "The sum only grows": "v",
    "The sums only grow": "left",
}


@pytest.mark.parametrize("start", NEVER_FALLS)
def test_what_never_falls(start):
    for name in [n for n, its in said().items() for s in its if s.startswith(start)]:
        states = follow(name, [G + 0.1 * g for g in GRADS])[1]
        values = [np.asarray(its[NEVER_FALLS[start]]) for its in states[1:]]
        if values[0].ndim == 2 and NEVER_FALLS[start] == "left":
            values = [np.linalg.eigvalsh(x) for x in values]
        assert all((y >= x - 1e-12 * abs(x).max()).all() for x, y in pairwise(values)), name
        assert (values[-1] > values[0]).any(), name


says(*NEVER_FALLS)(test_what_never_falls)


@says(
    "There is one lower bound d for all tensors",
    "There is one estimate d for all tensors",
    "The rate is d over the norm of the first gradient",
    "The rate is the largest distance from the start",
    "There is one scale for all tensors, the sum of one for each decay rate.",
)
def test_one_number_for_all_tensors(name):
    if name in registry.modifiers():
        rule = registry.get(f"{name}(sgd)")
        parts = [k for k in rule.slots if k.startswith("s") and k.removeprefix("s").isdigit()]
        assert len(parts) == len(registry.modifiers()[name].__wrapped__.__kwdefaults__["s_betas"])
        assert all(rule.slots[k].shared for k in parts)
    else:
        assert any(
            slot.shared for k, slot in registry.get(name).slots.items() if k in ("d", "r_max")
        )


@says(
    "The sum only grows, so", "The sums only grow, so", "It keeps one second moment and one record"
)
def test_the_same_gradient_makes_ever_shorter_steps(name):
    sizes = [norm(step) for step in steps(name, [G] * 20, start=0 * P + 1)]
    assert all(y < x for x, y in pairwise(sizes[1:]))


@says("So the denominator can shrink while the bias correction fades.", "v_max never falls, but")
def test_amsgrads_denominator_can_shrink(name):
    its = follow(name, [G, *[0 * G] * 100])[1]
    hats = [np.sqrt(s["v_max"] / (1 - 0.999**t)) for t, s in enumerate(its[1:], 1)]
    assert (hats[-1] < hats[0]).all()
    assert registry.get(name).hyperparameters["beta2"].default == 0.999  # 1 / (1 - beta2) is 1000


@says("The correction makes the first gradients count most")
def test_a_large_first_gradient_bounds_all_steps_of_amsgrad_optax(name):
    grads = [100 * np.abs(G), *[np.abs(G)] * 20]
    last = {n: follow(n, grads)[1][-1]["v_max"] for n in (name, "amsgrad")}
    same(last[name], (100 * G) ** 2, 1e-9)
    same(last["amsgrad"], (100 * G) ** 2 * 1e-3 + G**2 * 0.02, 0.03)


@says("v falls only by the squares of the small gradients themselves")
def test_yogi_forgets_large_gradients_slowly(name):
    grads = [1e3 * G] + [1e-3 * G] * 50
    fallen = {
        which: float(np.mean(its[-1]["v"] / its[1]["v"]))
        for which in ("adam", name)
        for its in [follow(which, grads, beta2=0.9)[1]]
    }
    assert fallen["adam"] < 0.01
    assert fallen[name] > 0.99


@says("eps is added to s in every step, so that it builds up to eps / (1 - beta2)")
def test_the_eps_of_adabelief_builds_up(name):
    its = follow(name, [0 * G] * 60, eps=1e-3, beta2=0.5)[1]
    same(its[-1]["s"], 1e-3 / (1 - 0.5))


@says(
    "Steps without one leave the mean of the squares as it was; before the first one, the weights"
)
def test_without_an_estimate(name):
    places, states = follow(name, GRADS[:3])
    assert (places == P).all()
    there = follow(name, [G], P, hessian=P)[1][-1]
    then = follow(name, [G], P, state=tuple(there.values()), t=1)[1][-1]
    assert (then["v"] == there["v"]).all()
    assert (states[-1]["v"] == 0).all()


@says("For a convolution's weight, with four axes, an estimate is averaged over the last two.")
def test_estimates_of_kernels_are_averaged(name):
    draw = np.random.RandomState(0)
    p, g, h = np.abs(draw.standard_normal((3, 2, 3, 4, 5)))
    even = h.mean(axis=(-2, -1), keepdims=True) + 0 * h
    same(*(first(name, g, p, hessian=x) for x in (h, even)))
    assert norm(first(name, g[..., 0], p[..., 0], hessian=h[..., 0])) > 0


@says("The first step moves nothing: it only sets v to the first gradient's square.")
def test_adopts_first_step_sets_v(name):
    places, states = follow(name, GRADS[:2])
    assert (places[1] == P).all()
    same(states[1]["v"], GRADS[0] ** 2)
    assert (states[1]["m"] == 0).all()
    assert (places[2] != P).all()


@says(
    "The first step only computes the bases; p does not move.", "Then, every ten steps, each basis"
)
def test_soaps_bases(name):
    places, states = follow(name, GRADS[:23])
    assert (places[1] == P).all() != (places[2] == P).all()
    left = [its["q_left"] for its in states]
    assert [t for t in range(1, 24) if not np.allclose(left[t], left[t - 1])] == [1, 11, 21]
    same(left[1].T @ left[1], np.eye(6))


@says("Vectors are stepped by Adam, from the second step on.")
def test_soap_steps_vectors_by_adam(name):
    options = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99}
    found = follow(name, VECTORS, VECTOR, **options)[0]
    same(found[1:], follow("adam_eps_hat", VECTORS[1:], VECTOR, **options)[0])


@says("They are the inverse fourth roots of the sums of g gᵀ and gᵀ g.")
def test_shampoos_roots(name):
    its = follow(name, GRADS[:8])[1][-1]
    for side, total in (
        ("left", np.sum([g @ g.T for g in GRADS[:8]], 0)),
        ("right", np.sum([g.T @ g for g in GRADS[:8]], 0)),
    ):
        same(its[side], total)
        power = np.linalg.matrix_power(its[f"{side}_root"], 4)
        np.testing.assert_allclose(
            power @ (total + 1e-6 * np.eye(len(total))), np.eye(len(total)), atol=1e-6
        )


@says(
    "The columns are projected onto the leading left singular vectors of the gradient, recomputed"
)
def test_galores_directions(name):
    states = follow(name, [*GRADS] * 7, rank=2)[1]
    q = [its["q"] for its in states]
    assert [t for t in range(1, len(q)) if not np.allclose(q[t], q[t - 1])] == [1, 201]
    leading = np.linalg.svd(GRADS[0])[0][:, :2]
    same(np.abs((leading * q[1]).sum(axis=0)), 1.0)


@says("The means are not changed with the directions, so the signs of these matter")
def test_the_signs_of_galores_directions(name):
    for g in GRADS:
        its = follow(name, [g], rank=2)[1][-1]
        assert (its["q"].sum(axis=0) >= 0).all()


@says(
    "For matrices only.",
    "A step takes the leading directions of the momentum; the rest stays in it.",
)
def test_what_dion_takes_and_leaves(name):
    states = follow(name, GRADS[:6], rank=1, momentum=0.5)[1]
    for t in range(1, 6):
        b = states[t]["m"] + GRADS[t]
        taken = b - states[t + 1]["m"]
        assert np.linalg.matrix_rank(taken, tol=1e-9 * norm(b)) == 1
    with pytest.raises(ValueError, match="needs a parameter that is a matrix"):
        ravine.numpy.optimizer(name)(VECTOR.copy()).step(VECTOR)


@says("During the flat start every step fits them; after it, fewer and fewer steps do, at regular")
def test_when_psgd_fits_its_triangles(name):
    states = follow(name, [*GRADS] * 4, flat_start=20, decay=0.02, least=0.1)[1]
    q = [its["q_left"] for its in states]
    fits = [t for t in range(1, len(q)) if not np.array_equal(q[t], q[t - 1])]
    assert fits[:20] == list(range(1, 21))
    waits = np.diff(fits)
    assert list(waits) == sorted(waits)
    assert waits[-1] > 3


@says(
    "The first directions are random, drawn from the optimizer's seed; the signs",
    "A fit moves the triangles a little, with random numbers drawn from the optimizer's seed.",
)
def test_random_numbers_come_from_the_seed(name, monkeypatch):
    def end(seed):
        p = P.copy()
        optimizer = ravine.numpy.optimizer(name)(p, lr=0.1, seed=seed, **rank)
        for g in GRADS[:4]:
            optimizer.step(g)
        return p

    rank = {"rank": 2} if name == "dion" else {}
    same(end(1), end(1), 0)
    assert norm(end(1) - end(2)) > 1e-6
    if name == "dion":  # the signs that QR chooses
        plain, qr = follow(name, GRADS[:6], rank=2)[0], orthogonal.qr

        def turned(a):
            q, r = qr(a)
            return -q, -r

        monkeypatch.setattr(orthogonal, "qr", turned)
        same(follow(name, GRADS[:6], rank=2)[0], plain, 1e-9)


@says(
    "Only the mean is used in a step, so gradients can be accumulated in it, without another array."
)
def test_gradients_accumulate_in_the_mean_of_tiger(name):
    m, halves = P[::-1], [GRADS[0] / 2, GRADS[1] / 2]
    rule = registry.get(name)
    whole = rule.update(P, sum(halves), (m,), 2, beta=0.9)
    there = m + 0.1 / 0.9 * halves[0]  # what the first half adds, before the mean decays
    parts = rule.update(P, halves[1], (there,), 2, beta=0.9)
    same(parts[0], whole[0])
    same(parts[1][0], whole[1][0])
