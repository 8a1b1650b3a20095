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
    MomentumKeyFixed,
    PublishedAdam,
    PublishedMomentum,
    step_ratios,
)
from ravine.experiments.figure1 import PAIRS, faults, pairs, running_means, specs, table

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
        p = torch.nn.ParameterList([torch.zeros(1)])
        a, b = (figure1.look_up({"optimizer": name}).build(p) for name in (torchs, ravines))
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
    used, losses = [], figure1.Alone.losses
    monkeypatch.setattr(
        figure1.Alone, "losses", lambda *a: (used.append(torch.get_num_threads()), losses(*a))[1]
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
    assert set(used) == {1}
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
    images, labels = figure1.pictures(None, 2, 64).train.content
    torch.manual_seed(0)
    figure1.network()
    batch = torch.randperm(len(images))[64:128]
    torch.nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
    g = torch.cat([p.grad.ravel() for p in net.parameters()]).double().numpy()
    np.testing.assert_allclose(before - after, 1e-3 * g, atol=1e-7)
    assert abs(g).max() > 0.01


def test_the_whole_set_is_read_from_where_the_spec_says(tmp_path):
    (spec, *_) = specs(full=tmp_path)
    assert json.loads(json.dumps(spec)) == spec
    with pytest.raises(FileNotFoundError, match="name a folder with a folder of images for each"):
        figure1.run(spec)
    assert specs(full=True)[0]["full"] is True


def test_images_are_normalised_and_stay_with_their_labels():
    images, labels = figure1.pictures(None, 3, 64).train.content
    assert images.shape == (9408, 1, 28, 28)
    assert images.dtype == torch.float32
    assert abs(images.mean().item()) < 1e-4
    assert abs(images.std().item() - 1) < 1e-4
    raw, raw_labels = figure1.data.fashion_mnist()
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


def test_what_makes_no_sense_is_refused():
    for changes, message in (
        ({"iterations": 0}, "iterations is 0; it must be a whole number of at least 1"),
        ({"batch_size": 1.5}, "batch_size is 1.5; it must be a whole number of at least 1"),
        ({"optimizers": ["Adm"]}, "no rule is called 'Adm'"),
        ({"optimizers": ["adam", "Adam"]}, "adam is listed twice"),
        ({"settings": {"betta1": 0.8}}, "none of .* has 'betta1'.* did you mean 'beta1'"),
        ({"lr": -1.0}, "lr=-1.0 is invalid"),
        ({"lr": 0.1, "settings": {"lr": 0.2}}, "set the same hyperparameter"),
    ):
        with pytest.raises((ValueError, LookupError), match=message):
            specs(**changes)


# --- the reader's own ------------------------------------------------------------------------------


def test_any_optimizer_races_with_what_is_set_and_a_lost_run_is_kept(tmp_path):
    """A stack and a class of torch's are what torch.optim makes of the same options."""
    (tmp_path / "mine.py").write_text(
        "def signed(p, g, *, lr=0.25):\n    return p - lr * g / abs(g)\n"
    )
    names = ["l2(adam, weight_decay=0.1)", "torch.optim:RAdam", f"{tmp_path / 'mine.py'}:signed"]
    settings = {"beta1": 0.8, "clip_value": 1e-3}
    chosen = specs([0], iterations=3, optimizers=names, settings=settings)
    assert [s["set"] for s in chosen] == [settings, settings, {"clip_value": 1e-3}]
    losses = [figure1.run(s)["losses"] for s in chosen]
    for got, cls, options in (
        (losses[0], torch.optim.Adam, {"weight_decay": 0.1}),
        (losses[1], torch.optim.RAdam, {}),
    ):
        task, expected = figure1.pictures(None, 3, 64), []
        net = task.model(0)
        optimizer = cls(net.parameters(), lr=1e-3, betas=(0.8, 0.999), **options)
        for _, batch in zip(range(3), task.order(0), strict=False):
            optimizer.zero_grad()
            loss = task.losses(net, task.train.batch(batch))
            loss.backward()
            torch.nn.utils.clip_grad_value_(net.parameters(), 1e-3)
            optimizer.step()
            expected.append(loss.item())
        np.testing.assert_allclose(got, expected, rtol=2e-6)
    assert losses[2][1] != losses[1][1]
    (spec,) = specs([0], iterations=3, optimizers=["sgd"], lr=1e30)
    lost = figure1.run(spec)
    assert np.isnan(lost["losses"][2])
    assert len(lost["losses"]) == 3


def test_a_rate_for_all_and_a_setting_for_those_that_have_it_change_the_posts_curves():
    changed = {s["optimizer"]: s["set"] for s in specs([0], lr=0.5, settings={"momentum": 0.5})}
    assert changed["SGD_with_momentum"] == changed["SGD"] == {"momentum": 0.5, "lr": 0.5}
    assert changed["Adam"] == changed["AdamOptimizer"] == {"lr": 0.5}
    plain, *_ = specs([0])
    assert "set" not in plain
    assert figure1.depends(plain) != figure1.depends({**plain, "set": {"lr": 0.5}})
    (fault,) = (
        s for s in specs([0], as_published=True, lr=0.5) if s["optimizer"] == "Adam as published"
    )
    assert figure1.look_up(fault).build(torch.nn.Linear(1, 1)).defaults["lr"] == 0.5


def test_a_folder_of_pictures_for_each_class(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for k, name in enumerate(("boots", "coats")):
        (tmp_path / name).mkdir()
        for i in range(3):
            size = (28, 28) if i else (56, 84)
            image.new("RGB", size, (40 * k + i,) * 3).save(tmp_path / name / f"{i}.png")
    (tmp_path / "empty").mkdir()
    images, labels = figure1.data.fashion_mnist(tmp_path)
    assert (images.shape, labels.tolist()) == ((6, 28, 28), [0, 0, 0, 1, 1, 1])
    assert images[:, 5, 5].tolist() == [0, 1, 2, 40, 41, 42]
    spec, *_ = specs([0], iterations=2, batch_size=4, full=tmp_path)
    assert len(figure1.run(spec)["losses"]) == 2
    before = figure1.depends(spec)
    image.new("L", (28, 28), 200).save(tmp_path / "coats" / "1.png")
    figure1.data.digest.cache_clear()
    assert figure1.depends(spec) != before
    (tmp_path / "coats" / "2.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"coats/2\.png cannot be read as an image"):
        figure1.data.fashion_mnist(tmp_path)


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
        {"optimizer": "SGD", "lr": 0.001, "mean": 2.5, "min": 1.5, "max": 3.5, "seconds": 1.5}
    ]
    mine = [{**each, "set": {"lr": 0.1}} for each in results]
    assert [row["lr"] for row in table(mine)] == [0.1]


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
    assert first["Momentum, key fixed"] == pytest.approx([1.9, 1.9])
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


def test_with_the_key_fixed_only_the_start_is_wrong():
    """The buffer holds 0.9 times the first gradient too much, which fades as 0.9**t."""
    measured = ratios(MomentumKeyFixed, sgd(momentum=0.9))[:, 0]
    t = np.arange(1, 31)
    np.testing.assert_allclose(measured, 1 + 0.9**t / ((1 - 0.9**t) / 0.1), rtol=1e-12)
    assert measured[0] == pytest.approx(1.9)
    moves = path(lambda params: MomentumKeyFixed(params, lr=0.1)).diff(dim=0)
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
    assert a.grad is None
