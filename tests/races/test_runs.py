"""Run files: one a run, found by what the result depends on, whole or absent."""

import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest

from ravine.races import packed, runs
from ravine.races.runs import Run, keep, kept, merge, pack, place, read


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
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read(tmp_path / "missing")
    with pytest.raises(ValueError, match="holds no run"):
        read(tmp_path)


def test_an_unknown_role_is_refused():
    with pytest.raises(ValueError, match="role='test' is invalid; role must be tune, choose"):
        run(role="test")


def test_numbers_that_json_lacks_are_plain_json_in_the_file(tmp_path):
    path = keep(tmp_path, run())
    record = json.loads(path.read_bytes(), parse_constant=lambda text: pytest.fail(text))
    assert record["result"]["steps_to_target"] == "Infinity"


# ---- packed runs ---------------------------------------------------------------------------------


def some(count):
    """Runs of several grids, one without a curve, with all numbers that floats have."""
    curves = [((1, 2.3), (50, math.inf)), ((1, 1 / 3), (50, math.nan)), (), ((7, -1e-300),)]
    return [run(seed=i, curve=curves[i % 4], score=i / 7) for i in range(count)]


def test_packed_runs_are_what_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "SIZE", 4)
    for each in some(10):
        keep(tmp_path, each)
    before = read(tmp_path)
    assert pack(tmp_path, least=11) == 0
    assert pack(tmp_path) == 10
    assert not list(tmp_path.glob("runs/*/*"))
    assert len(list(tmp_path.glob("packed/*.npz"))) == 3
    assert read(tmp_path) == before
    assert {x.seed: x for x in kept(tmp_path, some(12))} == {x.seed: x for x in some(10)}
    asked = replace(run(seed=3), trial=8, score=math.nan)
    assert [(x.trial, x.score) for x in kept(tmp_path, [asked])] == [(8, 3 / 7)]
    keep(tmp_path, replace(run(seed=3), score=9.0))  # as by a process that looked before
    assert sorted(x.seed for x in read(tmp_path)) == list(range(10))
    assert pack(tmp_path) == 1


def test_numpy_reads_a_packed_file(tmp_path):
    path = packed.pack(tmp_path, [runs._record(keep(tmp_path, x)) for x in some(4)])
    with np.load(path) as file:
        lines = file["records"].tobytes().decode().splitlines()
        assert [json.loads(line)["depends"]["seed"] for line in lines] == [0, 1, 2, 3]
        assert file["names"].tolist() == [x.name.encode() for x in some(4)]
        assert file["on"].shape == (4, 2)
        assert len(file["values"]) == 2 + 2 + 0 + 1 + 4  # and an evaluation each


@pytest.mark.parametrize("where", [0.2, 0.5, 0.95])
def test_a_damaged_packed_file_is_put_aside_and_said(tmp_path, caplog, where):
    for each in some(6):
        keep(tmp_path, each)
    pack(tmp_path)
    keep(tmp_path, run(seed=77))
    (path,) = tmp_path.glob("packed/*.npz")
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 0x55
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING, "ravine"):
        assert [x.seed for x in read(tmp_path)] == [77]
    assert f"{path} is damaged" in caplog.text
    assert path.with_name(f"{path.name}.damaged").exists()


def test_merging_copies_what_is_new_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "SIZE", 4)
    for folder, its in (("a", some(6)), ("b", some(9)), ("all", some(2))):
        for each in its:
            keep(tmp_path / folder, each)
    pack(tmp_path / "b")
    assert merge(tmp_path / "all", [tmp_path / "a", tmp_path / "b"]) == (7, 2 + 6)
    assert merge(tmp_path / "all", [tmp_path / "b"]) == (0, 9)
    assert read(tmp_path / "all") == read(tmp_path / "b")
    assert len(list(tmp_path.glob("all/packed/*"))) == 2
    assert len(list(tmp_path.glob("a/runs/*/*.json"))) == 6


def test_a_run_that_is_packed_meanwhile_is_found(tmp_path, monkeypatch):
    """Who packs writes first and removes then; who looks, looks for the run's own file first."""
    keep(tmp_path, run())
    looked = runs._record

    def packs_before_it_is_read(path):
        monkeypatch.setattr(runs, "_record", looked)
        pack(tmp_path)
        return looked(path)

    monkeypatch.setattr(runs, "_record", packs_before_it_is_read)
    assert kept(tmp_path, [run()]) == [run()]
