"""The race diamonds: the published numbers, the right ones, and what may be asked for."""

import json
import math

import numpy as np
import pytest

from ravine.experiments import diamonds
from ravine.experiments.diamonds import (
    PUBLISHED,
    as_published_specs,
    as_published_table,
    corrected_specs,
    corrected_table,
    exercise_specs,
    exercise_table,
    optimization_results,
    points,
    run,
)
from ravine.experiments.diamonds_loop import PART
from ravine.experiments.diamonds_sample import floor, sample

SHORT = {"epochs": 3, "seeds": [0, 1]}


def test_as_published():
    results = [run(spec) for spec in as_published_specs()]
    rows = as_published_table(results)
    assert [row["method"] for row in rows] == ["SGD", "SGD with momentum", "RMSprop", "Adam"]
    # The published floats, where NumPy sums as it did then; else two of them, and two neighbours.
    assert [row["digits"] >= 15 for row in rows] == [True] * 4
    then = [rmse for _, rmse in PUBLISHED.values()]
    now = [1424002054.865775, 14239929470.04579, 137715232.46017328, 1570.1177340514528]
    assert [row["rmse"] for row in rows] == (then if PART == 8192 else now)
    assert [row["epochs"] for row in rows] == [10_000, 10_000, 10_000, 412]
    assert "2,500,000 clipped steps of 0.1 take m to -250,000" in rows[0]["reason"]
    assert "10 times as long" in rows[1]["reason"]
    assert "10 times shorter" in rows[2]["reason"]
    assert "138,914,882" in rows[3]["reason"]
    assert optimization_results(rows)[3] == {
        "Optimization Method": "Adam",
        "Runtime (seconds)": results[3]["seconds"],
        "Actual RMSE": 1570.1177340514528,
    }


def test_corrected():
    results = [run(spec) for spec in corrected_specs()]
    rows = corrected_table(results)
    keys = ["rmse", "epochs", "rmse_min", "rmse_median", "rmse_max", "epochs_min", "epochs_max"]
    expected = {
        "SGD": (1570.969, 5071, 1569.70, 1571.02, 1576.79, 36, 3471),
        "SGD with momentum": (1569.726, 628, 1570.30, 1587.63, 1692.24, 1369, 10_000),
        "RMSprop": (1570.349, 402, 1570.03, 1570.88, 1575.59, 49, 1189),
        "Adam": (1569.702, 125, 1569.71, 1570.21, 1570.96, 3, 1619),
    }
    for row in rows:
        assert [row[key] for key in keys] == pytest.approx(expected.pop(row["method"]), abs=0.005)
        assert row["seeds"] == 12
        assert row["us_per_step"] > 0
    assert not expected
    assert [row["stopped"] for row in rows] == [12, 7, 12, 12]  # five of momentum's never stop
    best, beaten = floor()[1]["test_rmse"], [r for r in results if r["gap"] < 0]
    assert not beaten
    assert min(r["rmse"] for r in results) >= best


def test_a_run_is_the_same_whatever_ran_before(monkeypatch):
    """Also after its spec was stored: it repeats the runs whose random stream it goes on with."""
    spec = json.loads(json.dumps(corrected_specs()[3]))
    first = run(spec)
    monkeypatch.setattr(diamonds, "_left", {})
    second = run(spec)
    assert second["losses"] == first["losses"]
    assert second["rmse"] == pytest.approx(1569.702, abs=5e-4)
    fresh = run({**spec, "stream": "post"})
    assert fresh["losses"] != first["losses"]


def test_a_result_is_fit_for_json():
    result = run(exercise_specs(optimizers=["adam"], **SHORT)[1])
    assert json.loads(json.dumps(result)) == result
    assert result["epochs"] == len(result["losses"]) == len(result["ms"]) == len(result["bs"]) == 3
    assert result["stopped"] is False
    assert result["m"] == result["ms"][-1]
    assert result["us_per_step"] == pytest.approx(1e6 * result["seconds"] / 750)
    assert points([result])[2] == {
        "method": "Adam",
        "climb": False,
        "stream": 1,
        "epoch": 3,
        "loss": result["losses"][2],
        "m": result["m"],
        "b": result["b"],
    }


def test_errors_are_measured_in_dollars():
    s = sample()
    result = run(exercise_specs(optimizers=["sgd"], **SHORT)[0])
    price = s.test_y * s.std[1] + s.mean[1]
    predicted = (result["m"] * s.test_x + result["b"]) * s.std[1] + s.mean[1]
    assert result["rmse"] == pytest.approx(np.sqrt(np.mean((price - predicted) ** 2)))
    train = np.sqrt(np.mean((s.y - result["m"] * s.x - result["b"]) ** 2)) * s.std[1]
    assert result["gap"] == pytest.approx(train - floor()[0]["train_rmse"])


def test_progress():
    seen = []
    (spec,) = exercise_specs(optimizers=["sgd"], epochs=4000, stopping_threshold=0.0, seeds=[0])
    run(spec, seen.append)
    assert len(seen) > 1
    assert seen == sorted(set(seen))
    assert seen[-1] <= 4000


def test_exercise():
    results = [run(spec) for spec in exercise_specs(lr=0.05, batch_size="all", **SHORT)]
    rows = exercise_table(results)
    assert [row["optimizer"] for row in rows] == list(diamonds.PROTOCOL)
    for row in rows:
        assert (row["lr"], row["batch_size"], row["seeds"]) == (0.05, "all", 2)
        assert row["rmse_min"] <= row["rmse_median"] <= row["rmse_max"]
        assert (row["epochs_min"], row["epochs_max"], row["stopped"]) == (3, 3, 0)
    assert results[0]["hyperparameters"]["lr"] == 0.05
    assert results[0]["clip_value"] == 1.0
    assert results[4]["hyperparameters"]["alpha"] == 0.9


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 16_000), (64, 250), (7000, 3), ("all", 1)])
def test_batch_sizes(batch_size, steps):
    (spec,) = exercise_specs(optimizers=["adam"], batch_size=batch_size, epochs=2, seeds=[0])
    result = run(spec)
    assert result["seconds"] / result["us_per_step"] * 1e6 == pytest.approx(2 * steps)


def test_rules_outside_the_protocol_keep_their_defaults(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def signed(p, g, *, lr=0.25):\n    return p - lr * g / abs(g)\n")
    specs = exercise_specs(optimizers=["nesterov", f"{path}:signed"], **SHORT)
    assert specs[0]["clip_value"] is None
    assert [spec["hyperparameters"]["lr"] for spec in specs] == [1e-3, 1e-3, 0.25, 0.25]
    rows = exercise_table([run(spec) for spec in specs])
    assert [row["method"] for row in rows] == ["nesterov", "signed"]
    assert rows[1]["rmse_min"] > 100


def test_divergence_is_reported_as_it_is():
    results = [run(s) for s in exercise_specs(optimizers=["nesterov"], lr=1e4, **SHORT)]
    assert all(math.isnan(r["rmse"]) for r in results)
    (row,) = exercise_table(results)
    assert math.isnan(row["rmse_median"])
    assert row["stopped"] == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 is invalid; batch_size must be a whole number"),
        ({"batch_size": 1.5}, "batch_size=1.5"),
        ({"batch_size": "some"}, "batch_size='some'.*or 'all'"),
        ({"epochs": 0}, "epochs=0 is invalid"),
        ({"epochs": True}, "epochs=True"),
        ({"stopping_threshold": -1e-6}, "stopping_threshold=-1e-06.*finite number >= 0"),
        ({"stopping_threshold": math.nan}, "stopping_threshold=nan"),
        ({"seeds": []}, r"seeds=\[\]"),
        ({"seeds": [0, -1]}, r"seeds=\[0, -1\].*from 0 to"),
        ({"seeds": [2**32]}, "seeds="),
        ({"optimizers": []}, r"optimizers=\[\].*at least one"),
        ({"lr": -0.1}, "lr=-0.1"),
        ({"lr": math.nan}, "lr=nan"),
        (
            {"lr": 0.1, "optimizers": ["sgd", "adam(lr=0.5)"]},
            r"lr=0.1 has no effect with 'adam\(lr",
        ),
        ({"lr": 0.1, "optimizers": ["l2(adam(lr=0.5))"]}, r"with 'l2\(adam\(lr=0.5\)\)', which"),
    ],
)
def test_bad_input(wrong, message):
    with pytest.raises(ValueError, match=message):
        exercise_specs(**wrong)


def test_unknown_optimizer():
    with pytest.raises(LookupError, match=r"adma.*did you mean 'adam'"):
        exercise_specs(optimizers=["adma"])


def test_a_rule_without_learning_rate(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def halve(p, g, *, share=0.5):\n    return p * share\n")
    with pytest.raises(ValueError, match="has no hyperparameter 'lr'"):
        exercise_specs(optimizers=[f"{path}:halve"], lr=0.1)
    (spec,) = exercise_specs(optimizers=[f"{path}:halve"], epochs=1, seeds=[0])
    assert exercise_table([run(spec)])[0]["lr"] is None


@pytest.mark.torch
def test_what_cannot_be_printed_is_stepped_by_torch_on_the_same_path():
    """torch's Adam, and a stack that looks at both numbers together, beside the compiled Adam."""
    names = ["adam", "torch.optim:Adam", "clip_by_global_norm(adam)"]
    settings = {"beta1": 0.8, "max_norm": 1e9, "clip_value": 0.5}
    specs = exercise_specs(optimizers=names, lr=0.05, settings=settings, epochs=2, seeds=[0])
    assert [s["clip_value"] for s in specs] == [0.5] * 3
    assert specs[0]["hyperparameters"]["beta1"] == 0.8
    ours, torchs, stack = (run(spec)["losses"] for spec in specs)
    np.testing.assert_allclose(torchs, ours, rtol=1e-9)
    np.testing.assert_allclose(stack, ours, rtol=1e-9)
    (plain,) = exercise_specs(optimizers=["adam"], lr=0.05, epochs=2, seeds=[0])
    assert run(plain)["losses"] != ours
