"""The race on harder and easier coordinates of one problem."""

import json

import numpy as np
import pytest

from ravine.experiments import conditioning_plots
from ravine.experiments.conditioning import (
    ADAPTIVE,
    CASES,
    CONTROLS,
    LEARNING_RATES,
    OPTIMIZERS,
    TARGETS,
    TUNING_SEEDS,
    conclusion,
    depends,
    number,
    run,
    specs,
    table,
)
from ravine.experiments.grids import train
from ravine.experiments.problems import BATCH_SIZE, least_squares
from ravine.experiments.racers import racer
from ravine.races.store import RunFolder, Unit


def spec(optimizer, form="standardised", batch="all", columns="numeric", **changes):
    found = [
        s
        for s in specs([0, 1])
        if (s["optimizer"], s["form"], s["batch"], s["columns"])
        == (optimizer, form, batch, columns)
    ]
    assert len(found) == 1
    return {**found[0], "steps": 400, **changes}


def test_specs_are_every_case_once_with_the_same_rates():
    every = specs()
    assert len({json.dumps(s) for s in every}) == len(every)
    assert len(every) == len(OPTIMIZERS) * (2 * len(CASES) + len(CONTROLS))
    assert {tuple(s["learning_rates"]) for s in every} == {LEARNING_RATES}
    assert all(not set(s["seeds"]) & set(s["tuning_seeds"]) for s in every)
    assert all(len(s["learning_rates"]) == 17 for s in specs(quick=True))
    with pytest.raises(ValueError, match=r"seeds is \[1001\]"):
        specs([TUNING_SEEDS[1]])


def test_the_grid_is_even_and_wide():
    steps = np.diff(np.log10(LEARNING_RATES))
    np.testing.assert_allclose(steps, 0.25, atol=2e-3)
    assert (LEARNING_RATES[0], LEARNING_RATES[-1]) == (1e-6, 100)


def test_a_unit_survives_the_run_folder(tmp_path):
    asked = spec("adam", batch=BATCH_SIZE, steps=20, learning_rates=[1e-3, 1e-2, 10.0])
    unit, first = Unit(asked, depends(asked)), run(asked)
    RunFolder(tmp_path)
    unit.keep(tmp_path, first)
    assert unit.kept(tmp_path).result == first == run(asked)


def test_gradient_descent_is_tuned_to_its_limit_and_no_worse_than_theory():
    model = least_squares("numeric", "standardised")
    top = np.linalg.eigvalsh(model.hessian)[-1]
    result = run(spec("sgd", steps=2000))
    rate = result["rates"][-1]
    assert rate < 1 / top  # with the Hessian of half the error, as far as it converges
    assert rate > 1 / top / 10**0.25
    assert not result["edge"]
    gaps, at = np.array(result["gaps"][0]), np.array(result["at"])
    slowest = max(abs(1 - 2 * rate * np.linalg.eigvalsh(model.hessian)))
    assert np.all(gaps <= slowest ** (2 * at) * (1 + 1e-9))
    assert result["condition"] == pytest.approx(297.6, abs=0.1)


def test_the_gaps_are_those_of_the_rate_that_is_best_for_the_last_target():
    result = run(spec("rmsprop", steps=1500))
    soon, later = result["rates"]
    assert soon != later
    task = least_squares("numeric", "standardised").task([0], full=True)
    for rate, target, steps in zip((soon, later), TARGETS, result["to"], strict=True):
        trace = train(task, racer("rmsprop"), [rate], 1500, looks=120)
        assert steps == [trace.steps_to(target).item()]
    np.testing.assert_allclose(result["gaps"], trace.losses[:, :, 0].T, rtol=0.03)
    assert result["end"] == pytest.approx([trace.end.item()], rel=0.03)


def test_all_rows_need_no_seeds_and_batches_do():
    full = run(spec("momentum", steps=30))
    assert len(full["gaps"]) == len(full["end"]) == len(full["to"][0]) == 1
    assert full["tried"] == len(LEARNING_RATES)
    noisy = run(spec("momentum", batch=BATCH_SIZE, steps=30))
    assert len(noisy["gaps"]) == len(noisy["end"]) == len(noisy["to"][0]) == 2
    assert noisy["gaps"][0] != noisy["gaps"][1]
    assert noisy["tried"] == len(LEARNING_RATES) * len(TUNING_SEEDS)
    assert 0 < noisy["diverged"] < noisy["tried"]


def test_tuning_does_not_look_at_the_seeds_that_are_reported():
    runs = [run(spec("sgd", batch=BATCH_SIZE, steps=60, seeds=seeds)) for seeds in ([0, 1], [2, 3])]
    assert runs[0]["rates"] == runs[1]["rates"]
    assert runs[0]["gaps"] != runs[1]["gaps"]
    other = run(spec("sgd", batch=BATCH_SIZE, steps=60, tuning_seeds=[5], learning_rates=[1e-3]))
    assert other["rates"] == [1e-3, 1e-3]
    assert not other["edge"], "there was nothing to choose"


def test_where_adapting_helps():
    """The claim of the race itself, on fewer steps: it helps where scaling coordinates does."""

    def steps(optimizer, form):
        return run(spec(optimizer, form, steps=1500))["to"][0][0]

    assert steps("adam", "raw") < np.inf
    assert steps("momentum", "raw") == np.inf
    assert steps("adam", "turned") == np.inf
    assert steps("adam", "axes") < steps("adam", "raw")
    assert steps("momentum", "standardised") < steps("adam", "standardised")


# ---- what is made of the results ---------------------------------------------------------------


def made(optimizer, form, steps, **changes):
    return {
        **spec(optimizer, form),
        "condition": 3.49e7,
        "scaled_condition": 42.4,
        "rates": [0.1, 0.01],
        "edge": False,
        "tried": 20,
        "diverged": 5,
        "to": [[steps], [np.inf]],
        "at": [0, 1, 10],
        "gaps": [[1.0, 0.5, 1e-3]],
        "end": [1e-3],
        **changes,
    }


def test_the_table_has_medians_and_warnings():
    seeds = {"to": [[10, 30, 20], [np.inf, 5, np.inf]], "end": [0.1, 0.3, 0.2], "edge": True}
    (row,) = table([made("sgd", "raw", 0, **seeds)])
    assert row["steps_1e-2"] == 20
    assert row["steps_1e-4"] == np.inf
    assert (row["rate_1e-2"], row["rate_1e-4"]) == (0.1, 0.01)
    assert (row["gap"], row["gap_min"], row["gap_max"]) == (0.2, 0.1, 0.3)
    assert row["edge"] is True
    assert row["diverged"] == 0.25
    assert len(TARGETS) == 2


@pytest.mark.parametrize(
    ("adaptive", "plain", "says"),
    [
        (50, 200, "it helps (adam 50 steps, sgd 200 steps)"),
        (200, 50, "it does not help (adam 200 steps, sgd 50 steps)"),
        (70, 70, "it does not help (adam 70 steps, sgd 70 steps)"),
        (1234, np.inf, "it helps (adam 1,234 steps, the others never)"),
        (np.inf, 9, "it does not help (adaptive ones never, sgd 9 steps)"),
        (np.inf, np.inf, "neither kind gets there"),
    ],
)
def test_the_conclusion_follows_from_the_numbers(adaptive, plain, says):
    results = [made("adam", "raw", adaptive), made("sgd", "raw", plain)]
    results += [{**made("rmsprop", "raw", 1), "batch": BATCH_SIZE}]  # looks at all rows only
    told = conclusion(results)
    assert f"raw, condition number 3.5e7 and after scaling 42: {says}." in told


def test_the_conclusion_takes_the_best_of_each_kind():
    names = dict(zip(OPTIMIZERS, (90, 30, 40, 80, 60, 70), strict=True))
    told = conclusion([made(name, "axes", steps) for name, steps in names.items()])
    assert "it does not help (adam 60 steps, momentum 30 steps)" in told
    assert set(ADAPTIVE) < set(OPTIMIZERS)


def test_condition_numbers_are_written_short():
    assert [number(x) for x in (1.0, 297.6, 53191.2, 3.49e7)] == ["1", "298", "5.3e4", "3.5e7"]


def test_the_pictures_are_three():
    results = [
        run(spec(o, form, batch, columns, steps=20, learning_rates=[1e-4, 1e-3, 1e-2]))
        for columns, form in CASES[:1] + CASES[3:4]
        for batch in ("all", BATCH_SIZE)
        for o in ("sgd", "adam")
    ]
    drawn = conditioning_plots.conditioning(results)
    assert list(drawn) == ["conditioning", "conditioning-batches", "conditioning-coordinates"]
