"""Run files: one a run, found by what the result depends on, whole or absent."""

import json
import logging
import math
from dataclasses import replace

import pytest

from ravine.races import runs
from ravine.races.runs import Run, keep, kept, place, read


def run(**changes):
    given = {
        "task": "t1",
        "rule": "r1",
        "hyperparameters": {"lr": 0.1, "beta1": 0.9, "nesterov": False},
        "role": "report",
        "seed": 3,
        "steps": 100,
        "batch_size": 32,
        "schedule": "linear",
        "problem": "mnist-1d",
        "optimizer": "adam",
        "space": {"lr": (1e-4, 10.0, 0.0)},
        "curve": ((1, 2.3), (50, math.inf)),
        "evaluations": ((100, 0.5),),
        "score": 0.5,
        "steps_to_target": math.inf,
        "seconds_per_step": 1e-4,
        "memory_per_parameter": 8.0,
    }
    return Run(**{**given, **changes})


def test_a_run_is_read_back_as_it_was_kept(tmp_path):
    first, second = run(), run(seed=4, score=math.nan, lost="loss is NaN at step 3", lost_at=3)
    for each in (first, second):
        path = keep(tmp_path, each)
        assert path == tmp_path / "runs" / each.name[:2] / f"{each.name}.json"
    found = {x.seed: x for x in read(tmp_path)}
    assert found[3] == first
    assert math.isnan(found[4].score)
    assert found[4].lost_at == 3


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"problem": "other", "optimizer": "another name", "trial": 9, "score": 0.1}, True),
        ({"hyperparameters": {"beta1": 0.9, "lr": 0.1, "nesterov": False}}, True),
        ({"hyperparameters": {"lr": 0.2, "beta1": 0.9, "nesterov": False}}, False),
        *[({name: value}, False) for name, value in [("task", "t2"), ("rule", "r2"), ("seed", 5)]],
        *[({name: value}, False) for name, value in [("role", "tune"), ("schedule", "constant")]],
        *[({name: 64}, False) for name in ("steps", "batch_size")],
    ],
)
def test_the_key_is_what_the_result_depends_on(tmp_path, changes, same):
    keep(tmp_path, run())
    asked = run(**changes)
    (found,) = kept(tmp_path, [asked]) or (None,)
    assert (found is not None) is same
    if found:
        assert (found.problem, found.optimizer, found.trial, found.score) == (
            asked.problem,
            asked.optimizer,
            asked.trial,
            0.5,
        )


def damage_shorten(path):
    path.write_bytes(path.read_bytes()[:-9])


def damage_change(path):
    path.write_bytes(path.read_bytes().replace(b"0.9", b"0.8"))


def damage_empty(path):
    path.write_bytes(b"")


def damage_swap(path):
    keep(path.parents[2], run(seed=8))
    path.write_bytes(place(path.parents[2], run(seed=8).name).read_bytes())


@pytest.mark.parametrize("damage", [damage_shorten, damage_change, damage_empty, damage_swap])
def test_a_damaged_file_is_put_aside_and_said(tmp_path, caplog, damage):
    keep(tmp_path, run(seed=7))
    path = keep(tmp_path, run())
    damage(path)
    with caplog.at_level(logging.WARNING, "ravine"):
        assert run().name not in {x.name for x in read(tmp_path)}
        assert kept(tmp_path, [run()]) == []
    assert f"{path} is damaged" in caplog.text
    assert path.with_name(f"{path.name}.damaged").exists()
    assert kept(tmp_path, [run(seed=7)])


def test_runs_of_another_protocol_are_left_where_they_are(tmp_path, caplog, monkeypatch):
    keep(tmp_path, run(seed=1))
    monkeypatch.setattr(runs, "PROTOCOL_VERSION", runs.PROTOCOL_VERSION + 1)
    asked = replace(run(seed=1), score=0.9)
    assert kept(tmp_path, [asked]) == []
    keep(tmp_path, asked)
    with caplog.at_level(logging.WARNING, "ravine"):
        assert [x.score for x in read(tmp_path)] == [0.9]
    assert "1 of the runs" in caplog.text
    assert len(list(tmp_path.glob("runs/*/*.json"))) == 2


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        read(tmp_path / "missing")
    with pytest.raises(ValueError, match="holds no run"):
        read(tmp_path)


def test_an_unknown_role_is_refused():
    with pytest.raises(ValueError, match="role='test' is not accepted; role is tune, choose"):
        run(role="test")


def test_numbers_that_json_lacks_are_plain_json_in_the_file(tmp_path):
    path = keep(tmp_path, run())
    record = json.loads(path.read_bytes(), parse_constant=lambda text: pytest.fail(text))
    assert record["result"]["steps_to_target"] == "Infinity"
