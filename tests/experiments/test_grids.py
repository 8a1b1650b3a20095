"""The problems of the races: their gradients, their numbers, and the loop that trains on them."""

import itertools

import numpy as np
import pytest
import torch

from ravine.data import diamonds
from ravine.experiments import grids, problems
from ravine.experiments.grids import Trace, choose, edge, report_seeds, train
from ravine.experiments.problems import (
    BATCH_SIZE,
    COLUMNS,
    EVERY,
    FORMS,
    PROBLEMS,
    SITUATIONS,
    SPIKES,
    batches,
    clothes,
    least_squares,
)
from ravine.experiments.racers import racer

# ---- diamonds ----------------------------------------------------------------------------------

CONDITIONS = {
    ("carat", "raw"): "13.3",
    ("carat", "standardised"): "1",
    ("numeric", "raw"): "3.5e+07",
    ("numeric", "standardised"): "298",
    ("ordinals", "raw"): "4.8e+07",
    ("ordinals", "standardised"): "324",
    ("one-hot", "raw"): "5.1e+07",
    ("one-hot", "standardised"): "336",
}


@pytest.mark.parametrize(("columns", "form"), CONDITIONS)
def test_condition_numbers_are_the_known_ones(columns, form):
    digits = {"carat": 3}.get(columns, 2 if form == "raw" else 3)
    found = least_squares(columns, form).condition
    assert f"{found:.{digits}g}" == CONDITIONS[columns, form]


@pytest.mark.parametrize(
    ("columns", "dollars"),
    [("carat", 1548.53), ("numeric", 1496.86), ("ordinals", 1216.55), ("one-hot", 1129.84)],
)
def test_the_optimum_is_the_known_one_in_every_form(columns, dollars):
    spread = diamonds()["price"].std()
    for form in FORMS:
        assert np.sqrt(least_squares(columns, form).error) * spread == pytest.approx(
            dollars, abs=5e-3
        )


def test_the_gap_is_the_error_above_the_least():
    model = least_squares("ordinals", "raw")
    p = np.random.default_rng(0).normal(size=(2, 3, 10)) / 100
    error = np.mean((p @ model.x.T - model.y) ** 2, axis=-1)
    np.testing.assert_allclose(model.gap(p), error - model.error, rtol=1e-9)


def test_a_batch_of_all_rows_has_the_full_gradient_and_that_is_the_gap_s():
    model = least_squares("numeric", "standardised")
    p = np.random.default_rng(0).normal(size=(1, 2, 7))
    full = model.gradient(p)
    every = np.arange(len(model.y))[None]
    np.testing.assert_allclose(model.batch_gradient(p, every), full, rtol=1e-9)
    np.testing.assert_allclose(full, finite_differences(model.gap, p), rtol=1e-6, atol=1e-6)


def test_scaling_is_what_scaled_condition_foresees():
    raw, scaled = (least_squares("numeric", form) for form in ("raw", "scaled"))
    np.testing.assert_allclose(np.diag(scaled.hessian), 1)
    assert raw.scaled_condition == pytest.approx(scaled.condition, rel=1e-6)


def test_turning_leaves_the_ellipse_as_it_is_and_the_axes_fit_it():
    raw, turned, axes = (least_squares("numeric", form) for form in ("raw", "turned", "axes"))
    for other in (turned, axes):
        assert other.condition == pytest.approx(raw.condition, rel=1e-6)
        assert np.linalg.norm(other.optimum) == pytest.approx(np.linalg.norm(raw.optimum))
    assert turned.scaled_condition > 1e6
    assert axes.scaled_condition == pytest.approx(1, abs=1e-6)


def test_gradient_descent_does_not_see_coordinates_and_adam_does():
    def gaps(rule, form, lr):
        task = least_squares("numeric", form).task([0], full=True)
        return train(task, racer(rule), [lr], 50).losses[:, 0, 0]

    for rule in ("sgd", "momentum"):
        np.testing.assert_allclose(gaps(rule, "raw", 1e-4), gaps(rule, "turned", 1e-4), rtol=1e-6)
    assert abs(np.log(gaps("adam", "raw", 1e-2) / gaps("adam", "turned", 1e-2))).max() > 0.1


@pytest.mark.parametrize(
    ("columns", "form", "says"),
    [("price", "raw", "columns is 'price'.*carat, num"), ("carat", "bent", "form is 'bent'.*raw")],
)
def test_unknown_columns_and_forms_are_named(columns, form, says):
    with pytest.raises(ValueError, match=says):
        least_squares(columns, form)


# ---- gradients of all problems -----------------------------------------------------------------


def finite_differences(loss, p, h=1e-6):
    found = np.empty(p.shape)
    for i in range(p.shape[-1]):
        step = np.zeros(p.shape[-1])
        step[i] = h
        found[..., i] = (loss(p + step) - loss(p - step)) / (2 * h)
    return found


@pytest.mark.parametrize(
    "name",
    [*(name for name, problem in PROBLEMS.items() if problem.exact), "vanishing 3", "noise 0.0"],
)
def test_exact_gradients_are_those_of_the_loss(name):
    """A loss that goes down proves nothing: nudge every parameter."""
    task = EVERY[name].make([0, 1, 2])
    p = np.repeat(task.start, 2, axis=1)
    p[:, 1] *= 0.7
    expected = finite_differences(task.loss, p)
    np.testing.assert_allclose(task.gradient(p), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "hidden"), [("softmax", 0), ("network", 16)])
def test_the_networks_agree_with_torch(name, hidden):
    seeds = [3, 4]
    task = PROBLEMS[name].make(seeds)
    p = np.repeat(task.start, 2, axis=1)
    p[:, 1] *= 1.5
    x, y = clothes()
    rows = next(batches(len(x) - problems.HELD_OUT, seeds))
    got, losses = task.gradient(p), task.loss(p)
    for s, k in itertools.product(range(2), range(2)):
        q = torch.tensor(p[s, k], dtype=torch.float64, requires_grad=True)

        def loss(inputs, labels, q=q):
            inputs, labels = (torch.tensor(a, dtype=torch.float64) for a in (inputs, labels))
            if hidden:
                cut = 50 * hidden
                inputs = torch.relu(inputs @ q[:cut].reshape(50, hidden))
                logits = inputs @ q[cut:].reshape(hidden, 10)
            else:
                logits = inputs @ q.reshape(50, 10)
            return torch.nn.functional.cross_entropy(logits, labels)

        loss(x[rows[s]], y[rows[s]]).backward()
        np.testing.assert_allclose(got[s, k], q.grad, rtol=2e-4, atol=2e-6)
        held = loss(x[-problems.HELD_OUT :], y[-problems.HELD_OUT :]).item()
        assert losses[s, k] == pytest.approx(held, rel=1e-5)


@pytest.mark.parametrize("name", [*PROBLEMS, "spikes", "sparse 0.1", "drift 0.01", "noise 1.0"])
def test_seeds_decide_starts_and_batches(name):
    def gradients(seeds):
        task = EVERY[name].make(seeds)
        return np.stack([task.gradient(task.start) for _ in range(3)])

    both, again = gradients([5, 6]), gradients([6])
    np.testing.assert_allclose(both[:, 1:], again, rtol=1e-4, atol=1e-6)
    assert not np.array_equal(both[:, 0], both[:, 1])
    assert np.array_equal(again[0], again[1]) == EVERY[name].exact


def test_ravines_are_one_ravine_turned():
    straight, turned = (PROBLEMS[name].make([0, 1, 2]) for name in ("ravine", "turned"))
    np.testing.assert_allclose(straight.loss(straight.start), 0.5)
    sgd = racer("sgd")
    a, b = (train(task, sgd, [0.015], 40).losses for task in (straight, turned))
    np.testing.assert_allclose(a, b, rtol=1e-9)
    p = np.array([[[2.0, 1.0]]])
    assert straight.loss(p) == pytest.approx((2.0**2 + 100 * 1.0**2) / 2)


def test_rosenbrock_ends_at_one_one():
    task = PROBLEMS["rosenbrock"].make([0])
    assert task.loss(np.ones((1, 1, 2))) == 0
    assert not task.gradient(np.ones((1, 1, 2))).any()
    assert task.loss(np.array([[[-1.2, 1.0]]])) == pytest.approx(24.2)


def test_spikes_are_rare_and_long_and_point_the_same_way():
    seeds = range(20)
    plain, spiky = PROBLEMS["line"].make(seeds), SPIKES.make(seeds)
    ratio = np.stack(
        [spiky.gradient(plain.start) / plain.gradient(plain.start) for _ in range(200)]
    )
    np.testing.assert_allclose(np.unique(ratio.round(6)), [1, 1000])
    assert 0.005 < np.mean(ratio > 2) < 0.016


def test_batches_are_of_one_size_and_from_all_rows():
    stream = batches(50, [0, 1])
    drawn = np.stack([next(stream) for _ in range(150)])
    assert drawn.shape == (150, 2, BATCH_SIZE)
    assert set(np.unique(drawn)) == set(range(50))
    assert not np.array_equal(drawn[:100], drawn[50:])


def test_softmax_has_no_denormal_numbers():
    p = problems.softmax(np.array([[0.0, -90.0, -95.0], [1.0, 1.0, 1.0]], np.float32))
    np.testing.assert_allclose(p, [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
    assert not np.any((p > 0) & (p < 1e-12))


def test_clothes_are_small_standardised_and_shuffled():
    x, y = clothes()
    assert x.shape == (9408, 50)
    np.testing.assert_allclose(x[:, :-1].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(x[:, :-1].std(0), 1, atol=1e-4)
    assert np.all(x[:, -1] == 1)
    assert np.all(y.sum(1) == 1)
    assert np.all(y[-problems.HELD_OUT :].sum(0) > 30)


# ---- training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "rmsprop", "adam", "rprop", "asgd"])
def test_all_configurations_at_once_are_each_on_its_own(name, decay):
    each, rates, steps = racer(name), [1e-3, 1e-2, 3e-2], 12
    rule = each.rule
    trace = train(
        PROBLEMS["line"].make([7, 8]), each, rates, steps, decay=decay, looks=range(1, steps + 1)
    )
    for s, seed in enumerate([7, 8]):
        for k, rate in enumerate(rates):
            task = PROBLEMS["line"].make([seed])
            p = task.start.copy()
            state, losses = rule.init(p, lr=rate), [1.0]
            for t in range(1, steps + 1):
                lr = rate * (1 - (t - 1) / steps) if decay else rate
                p, state = rule.update(p, task.gradient(p), state, t, lr=lr)
                losses.append((task.loss(p) / task.loss(task.start)).item())
            np.testing.assert_allclose(trace.losses[:, s, k], losses, rtol=1e-9)


def test_float32_stays_float32():
    seen = []
    task = PROBLEMS["softmax"].make([0])

    def gradient(p):
        seen.append(p.dtype)
        return task.gradient(p)

    for name in ("sgd", "momentum", "rmsprop", "adam"):
        train(problems.Task(task.start, gradient, task.loss), racer(name), [0.1], 3)
        train(problems.Task(task.start, gradient, task.loss), racer(name), [0.1], 3, decay=True)
    assert set(seen) == {np.dtype(np.float32)}


def test_looks_are_even_on_a_logarithmic_scale_and_dense_at_the_end():
    trace = train(PROBLEMS["ravine"].make([0]), racer("sgd"), [0.01], 1000, looks=12)
    assert trace.steps[0] == 0
    assert trace.steps[-1] == 1000
    assert np.all(trace.losses[0] == 1)
    assert np.sum(trace.steps >= 900) == 3
    early = trace.steps[1:9]
    assert np.ptp(np.diff(np.log(early[3:]))) < 0.15


def test_a_run_that_leaves_the_numbers_is_at_infinity():
    trace = train(PROBLEMS["rosenbrock"].make([0]), racer("sgd"), [1.0, 1e-3], 50)
    assert np.isinf(trace.end[0, 0])
    assert trace.end[0, 1] < 1
    assert grids.diverged(trace.end) == 1


def hand_made():
    steps = np.array([0, 1, 2, 5, 9, 10])
    losses = [
        [1, 1, 1, 1],
        [0.5, 0.05, 0.9, 2],
        [0.1, 0.5, 0.8, 4],
        [0.05, 0.5, 0.7, 8],
        [0.02, 0.3, 0.08, np.inf],
        [0.04, 0.5, 0.04, np.inf],
    ]
    return Trace(steps, np.array(losses, float)[:, None, :])


def test_the_end_is_the_mean_over_the_last_tenth():
    np.testing.assert_allclose(hand_made().end, [[0.03, 0.4, 0.06, np.inf]])


def test_steps_count_for_runs_that_stay():
    # The second one dips below by chance; the last is never there.
    np.testing.assert_array_equal(hand_made().steps_to(0.1), [[2, np.inf, 9, np.inf]])
    np.testing.assert_array_equal(hand_made().steps_to(1.0), [[0, 0, 0, np.inf]])


def test_choose_by_loss_and_by_steps():
    trace = Trace(
        np.array([0, 5, 100]),
        np.array([[1, 1, 1, 1], [0.09, 0.5, 0.5, 0.09], [0.05, 0.01, 2, 0.06]], float)[:, None],
    )
    assert choose(trace, 0.1, by="loss") == 1
    assert choose(trace, 0.1, by="steps") == 0  # as fast as the last one, and lower
    assert choose(trace, 1e-9, by="steps") == 1  # none gets there


def test_below_the_floor_steps_decide():
    trace = Trace(
        np.array([0, 5, 100]), np.array([[1, 1], [0.5, 1e-9], [1e-12, 1e-9]], float)[:, None]
    )
    assert choose(trace, 1e-6, by="loss") == 1


def test_losses_and_steps_are_compared_within_limits():
    np.testing.assert_allclose(grids.logs([np.inf, 1e9, 0.1, 1e-30]), [1, 1, -1, -6])
    np.testing.assert_allclose(grids.log_steps([0, 10, np.inf], 1000), [0, 1, 3])


def test_the_end_may_be_a_larger_share_and_every_step_of_it_counts():
    for late, at in ((0.1, [0, 19, 20]), (0.5, [0, *range(11, 21)]), (1 / 20, [0, 20])):
        task = PROBLEMS["line"].make([0])
        trace = train(task, racer("sgd"), [0.01], 20, looks=0, late=late)
        assert trace.steps.tolist() == at
        assert trace.end.item() == pytest.approx(trace.losses[1:].mean())


def test_a_minimum_that_moves_is_where_it_is_at_that_step():
    task = SITUATIONS["drift"][0.03].make([0])
    at = [np.tile([np.cos(0.03 * t), np.sin(0.03 * t)], 5)[None, None] for t in (0, 1)]
    assert task.loss(at[0]).item() == 0
    task.gradient(at[0])
    assert task.loss(at[1]).item() == 0 < task.loss(at[0]).item()


def test_a_learning_rate_is_on_the_edge_where_others_lie_on_one_side():
    assert [edge([0.1, 1.0, 10.0], i) for i in range(3)] == [True, False, True]
    assert not edge([0.1], 0), "it was set"


def test_report_seeds():
    assert report_seeds(iter([3, 1, 3]), (7,)) == [3, 1]
    for wrong in ([], [1, 7], [-1], [1.5]):
        with pytest.raises(ValueError, match=r"seeds is .*at least one of them"):
            report_seeds(wrong, (7,))


def test_every_column_choice_has_its_intercept_and_its_columns():
    sizes = {columns: least_squares(columns, "raw").x.shape[1] for columns in COLUMNS}
    assert sizes == {"carat": 2, "numeric": 7, "ordinals": 10, "one-hot": 6 + 4 + 6 + 7 + 1}


def test_a_seed_has_a_stream_for_each_purpose():
    first = {problems._random(seed, purpose).random() for seed in range(3) for purpose in range(6)}
    assert len(first) == 18


def test_every_way_of_stepping_many_runs_is_the_same():
    """A rule as one array, in a stack that torch's engine steps, and torch's class: one path."""
    task = PROBLEMS["network"].make

    def losses(name, **settings):
        made = racer(name, {"beta1": 0.8, "clip_value": 0.01, **settings})
        kinds.add(type(made.steps(np.ones((1, 2)), 0.1)).__name__)
        return train(task([0, 1]), made, [1e-3, 1e-2], 20, decay=True).losses

    kinds = set()
    first = losses("adam")
    np.testing.assert_allclose(losses("torch.optim:Adam"), first, rtol=1e-4)
    np.testing.assert_allclose(losses("clip_by_norm(adam)", max_norm=1e9), first, rtol=1e-4)
    assert kinds == {"Together", "Apart"}
    other = train(task([0, 1]), racer("adam"), [1e-3, 1e-2], 20, decay=True).losses
    assert not np.allclose(first, other, rtol=1e-4)


def test_a_schedule_free_rule_is_measured_at_the_weights_that_it_evaluates_with():
    made = racer("schedule_free_sgd", {"lr": 0.01})
    p = np.ones((1, 1, 2))
    runs = made.steps(p, 0.01)
    for t in range(1, 5):
        p = runs.step(p, p, t)
    assert not np.allclose(runs.weights(p), p, rtol=1e-6)
    broken = racer("torch.optim:SGD").steps(p[0], 0.1)
    broken.made[0].step = lambda: 1 / 0
    with pytest.raises(ValueError, match="raises ZeroDivisionError at step 1"):
        broken.step(p[0], p[0], 1)
