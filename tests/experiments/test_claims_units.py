"""The units of work of the claims measure what they say."""

import json
from unittest import mock

import numpy as np
import pytest

from ravine import registry
from ravine.experiments.claims import situations
from ravine.experiments.claims.units import (
    CURVATURES,
    FLOOR_RATES,
    LEARNING_RATES,
    NOISES,
    SWINGS,
    TUNING_SEEDS,
    depends,
    run,
    specs,
    wells,
)
from ravine.races.store import RunFolder, Unit


def units(kind, **like):
    return [
        s for s in specs([0, 1]) if s["unit"] == kind and all(s[k] == v for k, v in like.items())
    ]


def test_specs_are_distinct_and_complete():
    every = specs()
    assert len({json.dumps(s) for s in every}) == len(every)
    of_situations = set(situations.UNITS)
    assert {s["unit"] for s in every} - of_situations == {
        "race",
        "memory",
        "ravine",
        "escape",
        "floor",
    }
    assert of_situations <= {s["unit"] for s in every}
    races = [s for s in every if s["unit"] == "race"]
    assert {tuple(s["learning_rates"]) for s in races} == {LEARNING_RATES}
    assert len(races[0]["seeds"]) >= 10
    for chosen in (every, specs(quick=True)):
        for s in chosen:
            if s["unit"] == "race":
                default = registry.get(s["optimizer"]).hyperparameters["lr"].default
                assert default in s["learning_rates"]
    with pytest.raises(ValueError, match=r"seeds is \[3, 1004\]"):
        specs([3, TUNING_SEEDS[-1]])


def test_a_race_is_a_pure_function_and_survives_the_run_folder(tmp_path):
    (asked,) = units("race", problem="line", optimizer="adam", decay=False, clip=False)
    unit, first = Unit(asked, depends(asked)), run(asked)
    RunFolder(tmp_path)
    unit.keep(tmp_path, first)
    assert unit.kept(tmp_path).result == first == run(asked)


def test_a_race_takes_the_best_rate_of_the_tuning_seeds_and_reports_others():
    (asked,) = units("race", problem="line", optimizer="sgd", decay=False, clip=False)
    found, other = run(asked), run({**asked, "seeds": [2, 3]})
    means = np.log10(np.clip(found["tuning"], 1e-6, 10)).mean(1)
    assert found["tuned"]["learning_rate"] == LEARNING_RATES[int(means.argmin())]
    assert found["tuned"]["tuning_loss"] == pytest.approx(means.min())
    assert found["default"]["learning_rate"] == 1e-3
    assert found["tuned"]["learning_rate"] == other["tuned"]["learning_rate"]
    assert found["tuned"]["losses"] != other["tuned"]["losses"]
    assert len(found["tuned"]["losses"]) == 2
    assert found["fast"]["learning_rate"] > found["tuned"]["learning_rate"]
    assert max(found["tuned"]["losses"]) < 1e-3 < min(found["default"]["losses"])
    assert not found["tuned"]["edge"]
    assert run({**asked, "learning_rates": [1e-4, 1e-3]})["tuned"]["edge"]


def test_clipping_and_decay_change_the_race():
    (plain,) = units("race", problem="spikes", optimizer="sgd", clip=False)
    (clipped,) = units("race", problem="spikes", optimizer="sgd", clip=True)
    a, b = (run({**s, "learning_rates": [1e-3, 0.1]}) for s in (plain, clipped))
    assert np.mean(b["tuned"]["losses"]) < 0.2 * np.mean(a["tuned"]["losses"])
    constant, decayed = (
        run(s) for s in units("race", problem="line", optimizer="momentum", clip=False)
    )
    assert np.mean(decayed["tuned"]["losses"]) < np.mean(constant["tuned"]["losses"])


def test_memory_is_that_of_the_live_state():
    kept = {s["optimizer"]: run(s)["bytes"]["10000"] for s in units("memory")}
    assert kept == {"sgd": 0, "momentum": 4, "nesterov": 4, "rmsprop": 4, "adam": 8, "amsgrad": 12}


def test_the_way_across_the_ravine_is_the_one_worked_out_by_hand():
    (asked,) = units("ravine", momentum=0.0)
    found = run(asked)
    c = np.array(CURVATURES)
    with np.errstate(divide="ignore"):
        by_hand = np.where(c <= 1, 1, np.where(c < 2, c / (2 - c), np.inf))
    got = np.array(found["travel"])
    assert np.isinf(got[c > 2]).all()
    np.testing.assert_allclose(got[c < 2], by_hand[c < 2], rtol=1e-6)
    assert np.all(np.array(found["turns"])[c <= 1] == 0)
    assert found["steps"][found["best"]] == min(found["steps"])
    # Momentum's two eigenvalues, from the text-book recursion x'' - (1 + m - c) x' + m x = 0.
    (heavy,) = units("ravine", momentum=0.9)
    x = [1.0, 1.0]
    for _ in range(SWINGS):
        x.append((1 + 0.9 - 0.5) * x[-1] - 0.9 * x[-2])
    expected = np.abs(np.diff(x)).sum()
    assert run(heavy)["travel"][CURVATURES.index(0.5)] == pytest.approx(expected, rel=1e-6)


def test_the_wells_have_the_gradient_that_is_descended():
    x = np.linspace(-2, 2, 9)
    slope = (wells(x + 1e-6) - wells(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, x**3 - x + 0.1, atol=1e-8)
    assert wells(-1.0) < wells(1.0)


def test_without_noise_nobody_escapes_and_with_much_some_do():
    found = run({"unit": "escape", "learning_rate": 0.1, "runs": 100})
    escaped = dict(zip(NOISES, found["escaped"], strict=True))
    lost = dict(zip(NOISES, found["lost"], strict=True))
    assert escaped[0.0] == lost[0.0] == 0
    assert escaped[2.0] > 50 > lost[2.0] > 5


def test_the_floor_goes_like_the_learning_rate():
    found = run({"unit": "floor", "seeds": [0, 1, 2]})
    slope = np.polyfit(np.log10(FLOOR_RATES), np.log10(found["constant"]).mean(1), 1)[0]
    assert slope == pytest.approx(1.08, abs=0.1)
    assert np.all(np.mean(found["decayed"], axis=1) < np.mean(found["constant"], axis=1))


def test_the_situations_are_as_they_are_described():
    def of(unit, **changes):
        found = [s for s in situations.specs([0, 1], quick=True) if s["unit"] == unit]
        return [situations.UNITS[unit]({**s, **changes}) for s in found]

    humps = of("humps", runs=50)
    assert not any(humps[0]["stuck"]), "there are no minima to get stuck in"
    assert min(humps[-1]["stuck"]) == 50
    assert all(a <= b for u in humps for a, b in zip(u["freed"], u["stuck"], strict=True))
    for u in of("saddle"):
        *away, ridge = u["steps"]["sgd"]
        assert away == sorted(away)
        assert ridge == np.inf
    shrinks = [u["shrinks"] for u in of("vanishing", steps=2)]
    assert shrinks == sorted(shrinks, reverse=True)
    effective = [u["effective"] for u in of("sparse", steps=2)]
    assert effective == sorted(effective)
    assert effective[0] > 1
    (line, *_) = of("first steps", steps=3)
    assert set(line["same"]) == {"adam", "uncorrected"}
    (small, *_) = of("step time", rounds=1)
    assert {len(taken) for taken in small["us"].values()} == {1}


def test_the_gradient_of_the_deep_network_is_right():
    """A loss that goes down proves nothing: nudge every parameter."""
    captured = {}

    def keep(names, make, seeds, **_):
        captured["setting"] = make(seeds)
        return {}

    with mock.patch.object(situations, "tuned", keep):
        situations.vanishing({"depth": 3, "seeds": [0], "steps": 1})
    start, gradient, loss = captured["setting"]
    found = gradient(start, 1)[0, 0]
    for k in range(0, start.shape[-1], 7):
        nudge = np.zeros_like(start)
        nudge[..., k] = 1e-6
        measured = (loss(start + nudge, 1) - loss(start - nudge, 1))[0, 0] / 2e-6
        assert found[k] == pytest.approx(measured, rel=1e-4, abs=1e-9)
