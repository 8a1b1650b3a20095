"""The protocol: the same points for all, seeds apart, choices by scores that are not reported."""

import itertools
import math
from dataclasses import replace

import pytest
import scipy  # noqa: F401  which says where it is missing
from torch import nn

from ravine.races import protocol
from ravine.races.entrants import entrants
from ravine.races.protocol import TIERS, Tier, points
from ravine.races.task import from_objects

LR = {"lr": (1e-4, 10.0, 0.0)}
MORE = {**LR, "beta1": (1e-3, 0.5, 1.0)}


@pytest.fixture(scope="module")
def task():
    import torch

    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    return from_objects(lambda: nn.Linear(3, 1), (x, x[:, :1]), nn.functional.mse_loss)


def scored(runs, score):
    return [replace(run, score=score(run)) for run in runs]


def test_points_fill_the_space_on_a_logarithmic_scale():
    found = [point["lr"] for point in points(LR, 25)]
    places = sorted((math.log10(x) + 4) / 5 for x in found)
    assert all(0 <= u < 1 for u in places)
    cells = {int(25 * u) for u in places}
    assert len(cells) >= 15  # 25 random numbers fill 16; a sequence is no worse
    assert max(b - a for a, b in itertools.pairwise(places)) < 0.1
    betas = [1 - point["beta1"] for point in points(MORE, 100)]
    assert all(1e-3 <= x < 0.5 for x in betas)
    assert sum(x < math.sqrt(1e-3 * 0.5) for x in betas) in range(45, 56)


def test_all_optimizers_and_tiers_meet_the_same_sequence():
    few, many = points(LR, 25), points(LR, 100)
    assert many[:25] == few
    assert [x["lr"] for x in points(MORE, 25)] == [x["lr"] for x in few]
    narrow = points({"lr": (1e-5, 1e-1, 0.0)}, 25)
    for a, b in zip(few, narrow, strict=True):
        place = (math.log10(a["lr"]) + 4) / 5
        assert (math.log10(b["lr"]) + 5) / 4 == pytest.approx(place)


def test_each_stage_has_seeds_of_its_own(task):
    racing, tier = entrants(["sgd", "adam"]), TIERS["k25"]
    tuned = scored(protocol.tuning(task, racing, tier), lambda run: run.hyperparameters["lr"])
    chosen = scored(protocol.choosing(task, racing, tier, tuned), lambda run: 1.0)
    reported = protocol.reporting(task, racing, tier, chosen, range(10))
    assert [len(x) for x in (tuned, chosen, reported)] == [2 * 25, 2 * 5 * 3, 2 * 2 * 10]
    seeds = [{run.seed for run in runs} for runs in (tuned, chosen, reported)]
    assert not seeds[0] & seeds[1] | seeds[1] & seeds[2] | seeds[0] & seeds[2]
    assert [{run.role for run in runs} for runs in (tuned, chosen, reported)] == [
        {"tune"},
        {"choose"},
        {"report"},
    ]
    for label in ("sgd", "adam"):  # paired
        its = [run.seed for run in reported if run.optimizer == label and run.trial == 0]
        assert its == [*range(10)]


def test_the_default_tier_reports_the_defaults_alone(task):
    racing = entrants(["sgd", "adam"])
    assert protocol.tuning(task, racing, TIERS["default"]) == []
    found = protocol.reporting(task, racing, TIERS["default"], [], range(3))
    assert len(found) == 6
    assert all(run.hyperparameters == racing[run.optimizer == "adam"].defaults for run in found)


def test_a_tier_searches_what_it_says(task):
    racing = entrants(["adamw"])
    for tier, names in (("k25", {"lr"}), ("k100", {"lr", "beta1", "beta2", "weight_decay"})):
        runs = protocol.tuning(task, racing, TIERS[tier])
        varied = {
            k for k in runs[0].hyperparameters if len({run.hyperparameters[k] for run in runs}) > 1
        }
        assert varied == names


@pytest.mark.parametrize("lower", [True, False])
def test_the_best_by_the_mean_over_choosing_seeds_is_reported(task, lower):
    racing, tier = entrants(["sgd"]), TIERS["k25"]
    sign = 1 if lower else -1
    runs = [replace(run, lower_is_better=lower) for run in protocol.tuning(task, racing, tier)]
    tuned = scored(runs, lambda run: sign * abs(run.trial - 7))
    finals = [
        replace(run, lower_is_better=lower) for run in protocol.choosing(task, racing, tier, tuned)
    ]
    assert {run.trial for run in finals} == {5, 6, 7, 8, 9}
    # By its scores there alone: 7, the best before, has none that counts now.
    chosen = scored(finals, lambda run: sign * (abs(run.trial - 9) + run.seed % 2))
    assert protocol.best(chosen, racing[0]) == 9
    reported = protocol.reporting(task, racing, tier, chosen, range(2))
    assert [run.trial for run in reported] == [0, 0, 9, 9]
    assert reported[-1].hyperparameters["lr"] == points(racing[0].space("lr"), 25)[8]["lr"]


def test_lost_trials_come_last_and_are_never_chosen(task):
    racing, tier = entrants(["sgd"]), Tier(4, "lr", (1000, 1001), 2)
    runs = protocol.tuning(task, racing, tier)
    nan = math.nan

    def score(run):  # lower is better
        return {1: nan, 2: 0.5, 3: nan if run.seed == 1000 else 0.1, 4: 0.9}[run.trial]

    tuned = scored(runs, score)
    assert {run.trial for run in protocol.choosing(task, racing, tier, tuned)} == {2, 4}
    assert protocol.best(tuned, racing[0]) == 2
    lost = scored(runs, lambda run: nan)
    assert protocol.choosing(task, racing, tier, lost) == []
    assert {run.trial for run in protocol.reporting(task, racing, tier, lost, range(2))} == {0}


def test_a_choice_on_the_edge_of_what_was_tried_is_found(task):
    (racing,), tier = entrants(["sgd"]), TIERS["k25"]
    runs = protocol.tuning(task, [racing], tier)
    rates = [run.hyperparameters["lr"] for run in runs]
    for run in runs:
        on_edge = run.hyperparameters["lr"] in (min(rates), max(rates))
        assert protocol.edges(run, tier) == ["lr"] * on_edge
