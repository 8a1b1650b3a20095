import json
import math

import numpy as np
import pytest
import torch

import ravine.torch
from ravine.experiments import figure1
from ravine.experiments.as_published_torch import (
    FAULTS,
    AdamCorrectedTwice,
    AdamCountingTensors,
    MomentumKeyMended,
    PublishedAdam,
    PublishedMomentum,
    step_ratios,
)
from ravine.experiments.figure1 import OPTIMIZERS, PAIRS, faults, pairs, running_means, specs, table

NAMES = [
    "SGD",
    "SGD_with_momentum",
    "RMSprop",
    "Adam",
    "SGDOptimizer",
    "SGDOptimizer_with_momentum",
    "RMSPropOptimizer",
    "AdamOptimizer",
]


def one(optimizer="Adam", **changes):
    (spec,) = (
        s for s in specs([0], iterations=3, as_published=True) if s["optimizer"] == optimizer
    )
    return {**spec, **changes}


@pytest.fixture(scope="module")
def short():
    """Two seeds of eight iterations, faults included."""
    return [figure1.run(s) for s in specs([0, 1], iterations=8, as_published=True)]


# --- the experiment -------------------------------------------------------------------------------


def test_specs_are_the_eight_curves_in_the_figures_order_for_each_seed():
    assert [(s["seed"], s["optimizer"]) for s in specs([4, 2])] == [
        (seed, name) for seed in (4, 2) for name in NAMES
    ]
    assert len(specs()) == 24
    assert specs()[0] == {
        "optimizer": "SGD",
        "seed": 0,
        "iterations": 147,
        "batch_size": 64,
        "full": None,
    }
    assert [s["optimizer"] for s in specs([0], as_published=True)] == [*NAMES, *FAULTS]


def test_each_name_is_the_optimizer_that_it_says():
    homes = {"SGD": torch.optim.SGD, "RMSprop": torch.optim.RMSprop, "Adam": torch.optim.Adam}
    for torchs, ravines in PAIRS.items():
        p = [torch.zeros(1, requires_grad=True)]
        a, b = OPTIMIZERS[torchs](p), OPTIMIZERS[ravines](p)
        cls = torchs.split("_")[0]
        assert type(a) is homes[cls]
        assert type(b) is getattr(ravine.torch, cls)
        momentum = 0.9 if torchs == "SGD_with_momentum" else 0
        for options in (a.defaults, b.defaults):
            assert options["lr"] == 1e-3
            assert options.get("momentum", 0) == momentum


def test_every_optimizer_of_a_seed_starts_from_the_same_weights_and_batches(short):
    for seed in (0, 1):
        assert len({r["losses"][0] for r in short if r["seed"] == seed}) == 1
    assert len({r["losses"][0] for r in short}) == 2


def test_a_run_is_the_same_each_time_and_on_any_number_of_threads(monkeypatch):
    used, make = [], figure1.network
    monkeypatch.setattr(
        figure1, "network", lambda: (used.append(torch.get_num_threads()), make())[1]
    )
    first = figure1.run(one())
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.manual_seed(123)
        random = torch.random.get_rng_state()
        again = figure1.run(one())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert used == [1, 1]
    assert torch.equal(random, torch.random.get_rng_state())
    assert {**again, "seconds": 0} == {**first, "seconds": 0}


def test_a_result_holds_its_spec_and_survives_json(short):
    for result in short:
        assert json.loads(json.dumps(result)) == result
        assert result.items() >= {"iterations": 8, "batch_size": 64, "full": None}.items()
        assert len(result["losses"]) == 8
        assert result["seconds"] > 0


def test_parameters_are_those_at_the_end():
    """The second step of SGD moves each by lr times the gradient on the second batch."""
    before, after = (
        figure1._unpacked(figure1.run(one("SGD", iterations=n))["parameters"]) for n in (1, 2)
    )
    net = figure1.network()
    torch.nn.utils.vector_to_parameters(torch.tensor(before).float(), net.parameters())
    assert before.shape == (5994,)
    images, labels = figure1._data(None)
    torch.manual_seed(0)
    figure1.network()
    batch = figure1._batches(len(images), 64, 2)[1]
    torch.nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
    g = torch.cat([p.grad.ravel() for p in net.parameters()]).double().numpy()
    np.testing.assert_allclose(before - after, 1e-3 * g, atol=1e-7)
    assert abs(g).max() > 0.01


def test_the_whole_set_is_read_from_where_the_spec_says(tmp_path):
    (spec, *_) = specs(full=tmp_path)
    assert json.loads(json.dumps(spec)) == spec
    with pytest.raises(FileNotFoundError, match="full: the whole Fashion-MNIST is not there"):
        figure1.run(spec)
    assert specs(full=True)[0]["full"] is True


def test_batches_use_each_image_once_an_epoch():
    batches = figure1._batches(10, 4, 5)
    assert [len(b) for b in batches] == [4] * 5
    epochs = torch.cat(batches).reshape(2, 10).sort().values
    assert epochs.tolist() == [list(range(10))] * 2
    assert len(figure1._batches(10, 4, 3)) == 3


def test_images_are_normalised_and_stay_with_their_labels():
    images, labels = figure1._data(None)
    assert images.shape == (9408, 1, 28, 28)
    assert images.dtype == torch.float32
    assert abs(images.mean().item()) < 1e-4
    assert abs(images.std().item() - 1) < 1e-4
    raw, raw_labels = figure1.fashion_mnist()
    assert torch.equal(labels, torch.from_numpy(raw_labels).long())
    assert images[5].argmax() == raw[5].argmax()


def test_the_curves_tell_the_originals_story():
    ends = [
        running_means([figure1.run(one(name, iterations=147))], name)[0, -1] for name in NAMES[:4]
    ]
    sgd, momentum, rmsprop, adam = ends
    assert 2.2 < sgd < 2.35
    assert sgd - 0.3 < momentum < sgd - 0.05
    assert adam < momentum - 0.8
    assert rmsprop < adam - 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "Adm"}, "optimizer is 'Adm'; it must be one of SGD, "),
        ({"iterations": 0}, "iterations is 0; it must be a whole number of at least 1"),
        ({"batch_size": 1.5}, "batch_size is 1.5; it must be a whole number of at least 1"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        figure1.run({**one(), **change})


# --- the tables -----------------------------------------------------------------------------------


def test_pairs_coincide(short):
    rows = pairs(short)
    assert [(row["torch"], row["ravine"]) for row in rows] == list(PAIRS.items())
    for row in rows:
        assert row["loss"] < 1e-6
        assert row["parameters"] < 1e-6


def planted(optimizer, seed, losses, parameters=(0.0, 0.0)):
    net = torch.nn.Linear(1, 1)
    torch.nn.utils.vector_to_parameters(torch.tensor(parameters), net.parameters())
    return {
        "optimizer": optimizer,
        "seed": seed,
        "losses": losses,
        "seconds": seed + 1.0,
        "parameters": figure1._packed(net),
    }


def test_pairs_report_the_largest_difference_of_the_running_means_and_of_the_parameters():
    results = [
        planted("SGD", 0, [1.0, 1.0, 1.0]),
        planted("SGDOptimizer", 0, [1.0, 1.0, 1.0], (0.0, 0.25)),
        planted("SGD", 1, [1.0, 1.0, 1.0]),
        planted("SGDOptimizer", 1, [1.0, 0.5, 1.5], (-0.5, 0.0)),
        planted("Adam", 0, [1.0, 1.0, 1.0]),
    ]
    assert pairs(results) == [
        {"torch": "SGD", "ravine": "SGDOptimizer", "loss": 0.25, "parameters": 0.5}
    ]


def test_table_says_where_the_running_means_end():
    results = [planted("SGD", 0, [1.0, 2.0]), planted("SGD", 1, [3.0, 4.0])]
    assert running_means(results, "SGD").tolist() == [[1.0, 1.5], [3.0, 3.5]]
    assert table(results) == [
        {"optimizer": "SGD", "mean": 2.5, "min": 1.5, "max": 3.5, "seconds": 1.5}
    ]


def test_points_are_the_losses_and_their_running_means():
    rows = figure1.points([planted("SGD", 4, [1.0, 2.0]), planted("Adam", 5, [3.0])])
    assert [tuple(row.values()) for row in rows] == [
        ("SGD", 4, 1, 1.0, 1.0),
        ("SGD", 4, 2, 2.0, 1.5),
        ("Adam", 5, 1, 3.0, 3.0),
    ]
    assert list(rows[0]) == ["optimizer", "seed", "iteration", "loss", "running_mean"]


def test_faults_say_the_first_step_and_the_end(short):
    rows = {row["optimizer"]: row for row in faults(short)}
    assert list(rows) == list(FAULTS)
    first = {name: row["step_1"] for name, row in rows.items()}
    assert first["Momentum as published"] == pytest.approx([1.9, 1.9])
    assert first["Momentum, key mended"] == pytest.approx([1.9, 1.9])
    assert first["Adam, corrected twice"] == pytest.approx([10, 10])
    assert first["Adam, counting tensors"] == pytest.approx([counting(1, 6), 1])
    assert "step_10" not in rows["Adam as published"]
    ends = {row["optimizer"]: row["mean"] for row in table(short)}
    for name, row in rows.items():
        assert row["mean"] == ends[name]
        assert row["right"] == ends[FAULTS[name].right]
        assert row["says"] == FAULTS[name].says


# --- the faults, each against torch ---------------------------------------------------------------


def path(make, steps=30, tensors=3):
    """Step on random gradients in float64; return where the parameters have been."""
    random = torch.Generator().manual_seed(0)
    params = [torch.zeros(4, dtype=torch.float64, requires_grad=True) for _ in range(tensors)]
    optimizer = make(params)
    points = []
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(4, dtype=torch.float64, generator=random)
        optimizer.step()
        points.append(torch.stack([p.detach().clone() for p in params]))
    return torch.stack(points)


def sgd(**options):
    return lambda params: torch.optim.SGD(params, **{"lr": 0.1, **options})


def adam(params):
    return torch.optim.Adam(params, lr=0.1)


def ratios(cls, right, tensors=1, steps=30):
    return np.array(step_ratios(lambda p: cls(p, lr=0.1), right, tensors=tensors, steps=steps))


def counting(t, tensors):
    """Adam's step on a constant gradient when it counts t instead of the first step."""
    last = t * tensors
    return (1 - 0.9**t) / (1 - 0.9**last) * math.sqrt((1 - 0.999**last) / (1 - 0.999**t))


def test_momentum_as_published_is_sgd_with_a_longer_step():
    got = path(lambda params: PublishedMomentum(params, lr=0.1))
    torch.testing.assert_close(got, path(sgd(lr=0.1 * 1.9)), rtol=1e-12, atol=1e-14)


def test_with_the_key_mended_only_the_start_is_wrong():
    """The buffer holds 0.9 times the first gradient too much, which fades as 0.9**t."""
    measured = ratios(MomentumKeyMended, sgd(momentum=0.9))[:, 0]
    t = np.arange(1, 31)
    np.testing.assert_allclose(measured, 1 + 0.9**t / ((1 - 0.9**t) / 0.1), rtol=1e-12)
    assert measured[0] == pytest.approx(1.9)
    moves = path(lambda params: MomentumKeyMended(params, lr=0.1)).diff(dim=0)
    excess = moves - path(sgd(momentum=0.9)).diff(dim=0)
    torch.testing.assert_close(excess[1:], 0.9 * excess[:-1], rtol=1e-9, atol=1e-14)


def test_adam_corrected_twice_starts_ten_times_too_fast():
    measured = ratios(AdamCorrectedTwice, adam, tensors=2)
    t = np.arange(1, 31)
    np.testing.assert_allclose(measured, np.stack([1 / (1 - 0.9**t)] * 2, 1), rtol=1e-12)
    assert measured[0] == pytest.approx([10, 10])


def test_adam_counting_tensors_counts_them():
    measured = ratios(AdamCountingTensors, adam, tensors=6)
    assert measured[0] == pytest.approx([counting(1, n) for n in range(1, 7)])
    assert measured[:, -1] == pytest.approx([counting(t, 6) for t in range(1, 31)])
    np.testing.assert_allclose(ratios(AdamCountingTensors, adam, tensors=1), 1, rtol=1e-12)


def test_adam_as_published_has_both_faults():
    both = ratios(PublishedAdam, adam, tensors=4)[0]
    n = np.arange(1, 5)
    assert both == pytest.approx([counting(1, k) for k in n] / (1 - 0.9**n))
    assert both[0] == pytest.approx(10)


def test_without_its_faults_the_published_adam_is_torchs():
    """So nothing but the two faults is wrong in it."""

    class Right(PublishedAdam):
        corrects_twice = counts_tensors = False

    got = path(lambda params: Right(params, lr=0.1))
    torch.testing.assert_close(got, path(adam), rtol=1e-12, atol=1e-14)


def test_the_published_base_leaves_parameters_without_gradient_alone():
    a, b = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = PublishedAdam([a, b])
    a.sum().backward()
    optimizer.step()
    assert b.tolist() == [1, 1]
    assert a.tolist() != [1, 1]
    optimizer.zero_grad()
    assert optimizer.grad_params() == []
