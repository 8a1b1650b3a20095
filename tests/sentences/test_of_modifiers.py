"""Sentences about modifiers."""

import numpy as np
import pytest

from ravine import registry
from ravine.ops import Tensors
from sentences import GRADS, VECTOR, VECTORS, G, P, first, follow, norm, same, says, steps


def around_sgd(name):
    """The modifier around plain gradient descent with an lr of 1: its step is what it makes of g."""
    return registry.get(f"{name}(sgd(lr=1.0))")


@says("In the warm-up all gradients are clipped by their global norm, and a tensor's usual norm is")
def test_the_warm_up_of_adagc(name):
    rule = around_sgd(name)
    bag, state = Tensors([P, VECTOR]), (Tensors([0.0, 0.0]),)
    grads = [Tensors([10 * g, v]) for g, v in zip(GRADS[:5], VECTORS[:5], strict=True)]
    seen = []
    for t, g in enumerate(grads, 1):
        new, state = rule.update(bag, g, state, t, adagc_abs=2.0)
        whole = np.sqrt(sum(norm(x) ** 2 for x in g))
        moved = [a - b for a, b in zip(bag, new, strict=True)]
        same(moved[0], next(iter(g)) * min(1, 2 / whole), 1e-9)
        seen.append([norm(x) for x in moved])
        bag = new
    same(list(state[0]), np.min(seen, axis=0), 1e-9)


@says("A unit is what has one index on the first axis: a row of a matrix, an output channel")
def test_the_units_of_adaptive_clipping(name):
    rule = around_sgd(name)
    limits = 0.01 * np.linalg.norm(P, axis=1)
    same(np.linalg.norm(first(rule, 1e3 * G), axis=1), limits, 1e-9)
    kernel = np.random.RandomState(0).standard_normal((3, 2, 2, 2))
    lengths = [norm(x) for x in first(rule, 1e3 * kernel, kernel)]
    same(lengths, [0.01 * norm(x) for x in kernel], 1e-9)
    assert norm(first(rule, 1e3 * VECTORS[0], VECTOR)) == pytest.approx(0.01 * norm(VECTOR))


@says(
    "An output unit is what has one index on the first axis", "Gradients of vectors are left alone."
)
def test_what_is_centralized(name):
    rule = around_sgd(name)
    kernel = np.random.RandomState(0).standard_normal((3, 2, 2, 2))
    same(first(rule), -(G - G.mean(axis=1, keepdims=True)))
    same(first(rule, kernel, kernel), -(kernel - kernel.mean(axis=(1, 2, 3), keepdims=True)))
    same(first(rule, VECTOR, VECTOR), -VECTOR)


@says(
    "Liang et al., 2024, arXiv:2411.16085, Algorithm 1",
    "Stacked as `decoupled_decay(cautious(adam))`",
)
def test_cautious_steps(name):
    ours, plain = (steps(n, GRADS, start=0 * P, lr=1.0) for n in ("cautious(adam)", "adam"))
    agrees = plain * GRADS < 0
    counts = agrees.sum(axis=(1, 2), keepdims=True)
    assert 0 < counts.min() < G.size
    np.testing.assert_allclose(ours, np.where(agrees, plain * G.size / (counts + 1), 0), rtol=1e-6)
    decayed = first("decoupled_decay(cautious(adam))", 0 * G, lr=0.1, weight_decay=0.5)
    same(decayed, -0.05 * P)


@says("The decay is of the weights before the step.")
def test_cautious_decay(name):
    step = first(registry.get(f"{name}(sgd)"), lr=0.1, weight_decay=0.5)
    same(step, -0.1 * G - np.where(G * P >= 0, 0.05 * P, 0.0))


@says(
    "Loshchilov & Hutter, 2019, arXiv:1711.05101, Algorithm 2, in the form that torch.optim.AdamW",
    "Loshchilov & Hutter, 2019, arXiv:1711.05101, Algorithm 2, where the decay is multiplied",
    "Defazio, 2025, arXiv:2506.02285: AdamC.",
    "Li, Grandvalet & Davoine, 2018, arXiv:1802.01483: L2-SP, here decoupled from the gradient.",
)
def test_how_decay_follows_the_schedule(name):
    """Of the lr 0.5 where the largest is 2: by lr, by their ratio, by lr times their ratio."""
    rates = {"decoupled_decay": 0.5, "scheduled_decay": 0.25, "corrected_decay": 0.125}
    rule, options = registry.get(f"{name}(adam)"), {"lr": 0.5, "weight_decay": 0.1, "lr_max": 2.0}
    if name == "decay_to_start":
        there = follow(rule, [G, 0 * G], weight_decay=0.0, lr=0.5)[0]
        moved = follow(rule, [G, 0 * G], weight_decay=0.1, lr=0.5)[0]
        same(moved[:2], there[:2])
        same(moved[2] - there[2], -0.05 * (there[1] - P))
    else:
        same(first(rule, 0 * G, **options), -rates[name] * 0.1 * P)


@says("The mean starts at the weights after the first step")
def test_where_the_mean_of_weights_starts(name):
    places, states = follow(around_sgd(name), GRADS[:2], ema_decay=0.9)
    same(states[1]["ema_p"], places[1])
    same(states[2]["ema_p"], 0.9 * places[1] + 0.1 * places[2])


@says("The mean starts at the first gradient, as in the authors' code.")
def test_where_grokfasts_mean_starts(name):
    same(first(around_sgd(name), grokfast_lamb=2.0), -3 * G)


@pytest.mark.torch
@says(
    "For parameters in half precision, whose steps are often too short to reach the next number",
    "`lost` is kept in the dtype of the state.",
)
def test_steps_too_short_for_the_dtype(name):
    torch = pytest.importorskip("torch")
    import ravine.torch

    ends = {}
    for made, dtype in (("adam", None), (f"{name}(adam)", None), (f"{name}(adam)", torch.float32)):
        x = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
        how = {"state_dtype": dtype} if dtype else {}
        optimizer = ravine.torch.optimizer(made)([x], lr=1e-4, engine="eager", **how)
        for _ in range(100):
            x.grad = torch.ones_like(x)
            optimizer.step()
        state = optimizer.state[x]
        assert "lost" not in state or state["lost"].dtype == state["m"].dtype == (dtype or x.dtype)
        ends[made] = x[0].item()
    assert ends["adam"] == 1
    assert ends[f"{name}(adam)"] == pytest.approx(0.99, abs=4e-3)


@says("The slow weights start where training starts")
def test_where_the_slow_weights_start(name):
    places, _ = follow(around_sgd(name), GRADS[:3], lookahead_k=2, lookahead_alpha=0.5)
    fast = P - GRADS[0] - GRADS[1]
    same(places[1], P - GRADS[0])
    same(places[2], P + 0.5 * (fast - P))


@says("It grows where the steps so far agree with the negative gradient.")
def test_mechanics_scale_grows_where_steps_agree(name):
    def scale(grads):
        its = follow(registry.get(f"{name}(sgd)"), grads, lr=1.0)[1][-1]
        return sum(float(x) for k, x in its.items() if k.removeprefix("s").isdigit())

    assert scale([G] * 30) > 100 * scale([G * (-1) ** t for t in range(30)])


@says(
    "So where all gradients agree, the weights stay where they are.",
    "The first scale is 0, and grows from the largest h so far",
)
def test_mechanic_as_published_waits_for_a_turn(name):
    rule = registry.get(f"{name}(sgd)")
    assert (follow(rule, [G] * 20)[0] == P).all()
    assert (follow(rule, [G, G, -G, G, G])[0][-1] != P).any()
    assert (follow(registry.get("mechanic(sgd)"), [G] * 20)[0][-1] != P).any()


@says("What the scale learns from is clipped to its largest size so far")
def test_what_mechanic_clipped_learns_from(name):
    """A gradient a million times as large adds to the reward no more than the largest before it."""
    rule = registry.get(f"{name}(sgd)")
    assert all(rule.slots[f"s{i}"].init(P, s_init=0.5) == 0.5 for i in range(1, 7))
    before = follow(rule, [G] * 5, lr=1.0)[1][-1]
    large = follow(rule, [*[G] * 5, 1e6 * G], lr=1.0)[1][-1]
    assert large["s_reward1"] - 0.9 * before["s_reward1"] == pytest.approx(
        before["s_max1"] * before["s1"]
    )


@says("Where nothing but rounding error is at right angles, as for a single number")
def test_nothing_at_right_angles(name):
    rule = around_sgd(name)
    for p, g in ((np.array([0.3]), np.array([0.7])), (P, 3 * P), (VECTOR, -VECTOR / 3)):
        assert (first(rule, g, p) == 0).all()
    step = first(rule)
    assert norm(step) == pytest.approx(norm(G))
    assert abs((step * P).sum()) < 1e-12 * norm(step) * norm(P)


@says("Of the steps after swa_start, every swa_every-th counts; until then, evaluation is with")
def test_which_steps_are_averaged(name):
    rule = around_sgd(name)
    options = {"swa_start": 4, "swa_every": 3}
    places, states = follow(rule, GRADS[:14], **options)
    for t in range(15):
        counted = [places[k] for k in (7, 10, 13) if k <= t]
        mean = np.mean(counted, axis=0) if counted else places[t]
        same(rule.evaluate(places[t], tuple(states[t].values()), **options), mean)


@says("A norm whose z-score is above the threshold is reduced to the mean plus threshold**2 / z")
def test_outliers_among_norms(name):
    unit = G / norm(G)
    grads = [unit * (1 + 0.1 * (-1) ** t) for t in range(20)]
    options = {"zclip_warmup": 10, "zclip_eps": 1e-12}
    its = follow(around_sgd(name), grads, **options)[1][-1]
    mean, deviation = float(its["norm_mean"]), float(its["norm_variance"]) ** 0.5
    for size in (mean + 2.4 * deviation, 3.0):
        z = (size - mean) / deviation
        wanted = mean + 2.5**2 / z * deviation if z > 2.5 else size
        step = steps(around_sgd(name), [*grads, size * unit], **options)[-1]
        assert norm(step) == pytest.approx(wanted, rel=1e-6)
