"""A race from the first trial to the last reported run, stopped, shared, and done in bad conditions."""

import json
import logging
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import ravine
from ravine.races import contest as module
from ravine.races.contest import contest, duration
from ravine.races.entrants import entrants
from ravine.races.jobs import Elsewhere, Shard
from ravine.races.pace import Pace, asked, measured
from ravine.races.protocol import TIERS, Tier
from ravine.races.runs import keep, read
from ravine.races.store import RunFolder
from ravine.races.task import TaskError, from_objects

SMALL = Tier(4, "lr", (1000,), 2, (2000, 2001))


@pytest.fixture(autouse=True)
def small_tier(monkeypatch):
    monkeypatch.setitem(TIERS, "k25", SMALL)  # type: ignore[misc]


def points():
    x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > x[:, 1]).long()
    return (x[:50], y[:50]), (x[50:70], y[50:70]), (x[70:], y[70:])


def network():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def task(steps=12, **more):
    train, held_out, test = points()
    parts = {"held_out": held_out, "test": test, **more}
    return from_objects(network, train, nn.functional.cross_entropy, steps=steps, **parts)


def race(folder, its=None, names=("sgd", "adam"), seeds=3, **more):
    return contest([its or task()], entrants(names), RunFolder(folder), seeds=seeds, **more)


def files(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).glob("runs/*/*.json")}


def test_a_race_tries_chooses_and_reports(tmp_path):
    found = race(tmp_path)
    counts = {role: sum(run.role == role for run in found.runs) for role in ("tune", "choose")}
    assert counts == {"tune": 2 * 4, "choose": 2 * 2 * 2}
    reported = [run for run in found.runs if run.role == "report"]
    assert len(reported) == 2 * 2 * 3
    assert {run.trial == 0 for run in reported} == {True, False}
    assert {run.name for run in read(tmp_path)} == {run.name for run in found.runs}
    for row in found.table():
        its = [run for run in reported if run.optimizer == row["optimizer"]]
        for key, tuned in (("tuned", True), ("default", False)):
            scores = [run.score for run in its if bool(run.trial) is tuned]
            assert row[key] == pytest.approx(sum(scores) / 3)
    tuned = [row["tuned"] for row in found.table()]
    assert tuned == sorted(tuned, reverse=True)
    assert "with the defaults" in repr(found)


def test_what_is_there_is_not_done_again(tmp_path):
    first = race(tmp_path)
    before = files(tmp_path)
    again = race(tmp_path)
    assert files(tmp_path) == before
    assert again.table() == first.table()
    more = race(tmp_path, seeds=4)
    assert {*before} < {*files(tmp_path)}
    assert len(files(tmp_path)) == len(before) + 4
    assert all(row["seeds"] == 4 for row in more.table())


def test_a_run_is_the_same_in_every_race(tmp_path):
    """Whoever else races: the runs of one optimizer are found in the folder of another race."""
    race(tmp_path / "a", names=("sgd", "adam"))
    race(tmp_path / "b", names=("adam", "momentum"))
    one, other = ({run.name: run for run in read(tmp_path / x)} for x in "ab")
    same = one.keys() & other.keys()
    assert len(same) == 4 + 4 + 2 * 3
    for name in same:
        assert one[name].score == other[name].score
        pairs = zip(one[name].curve, other[name].curve, strict=True)
        assert all(a == pytest.approx(b, rel=1e-5) for a, b in pairs)


def test_shards_of_a_folder_end_in_the_same_race(tmp_path):
    expected = race(tmp_path / "whole")
    rounds = 0
    for rounds in range(1, 9):
        try:
            found = race(tmp_path / "shared", shard=Shard(1 + rounds % 2, 2))
        except Elsewhere:
            continue
        break
    assert rounds > 2
    a, b = ({run.name: run.score for run in x.runs} for x in (expected, found))
    assert a == b


def test_the_default_tier_needs_no_tuning(tmp_path):
    found = race(tmp_path, tier="default")
    assert {run.role for run in found.runs} == {"report"}
    assert all(row["tuned"] is None for row in found.table())


def test_the_callback_is_given_each_run_once(tmp_path):
    seen = []
    race(tmp_path, callback=seen.append)
    assert len(seen) == len({run.name for run in seen}) == 8 + 8 + 12


def test_halving_ends_in_a_race_like_any_other(tmp_path):
    found = race(tmp_path, halving=True, names=("sgd", "muon"))
    tune = [run for run in found.runs if run.role == "tune"]
    assert sorted(run.stopped_at or 12 for run in tune) == [3, 3, 3, 3, 6, 6, 12, 12]
    assert all(run.rivals for run in tune)
    assert not any(run.rivals for run in found.runs if run.role != "tune")
    assert len(found.table()) == 2
    assert race(tmp_path, halving=True, names=("sgd", "muon")).runs == found.runs
    with pytest.raises(ValueError, match="halving does nothing in the tier 'default'"):
        race(tmp_path, halving=True, tier="default")


def test_a_race_of_many_runs_is_packed_when_it_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MANY", 5)
    found = race(tmp_path)
    assert not files(tmp_path)
    assert len(list(tmp_path.glob("packed/*.npz"))) == 1
    assert race(tmp_path).runs == found.runs
    assert not files(tmp_path)


def test_a_run_is_scored_untrained_and_says_its_command(tmp_path):
    its = task()
    found = race(tmp_path, its, command="ravine race mine.py")
    for run in found.runs:
        part = its.test if run.role == "report" else its.validation
        assert run.evaluations[0] == (0, its.evaluate(its.model(run.seed), part))
        assert run.made["command"] == "ravine race mine.py"


# ---- what must be said ---------------------------------------------------------------------------


def test_what_must_be_known_is_noted(tmp_path):
    train, held_out, _ = points()
    its = from_objects(
        network,
        train,
        nn.functional.cross_entropy,
        held_out=held_out,
        steps=6,
        target=1.5,
        name="points",
    )
    found = race(tmp_path, its, seeds=1, names=("muon",))
    notes = "\n".join([*found.notes, *found.reported])
    assert "one seed is reported: there is no interval" in notes
    assert "a little too good; give three parts" in notes
    assert "points: no optimizer reaches the target, 1.5" in notes
    assert "AdamW with the same lr" in notes


def test_runs_of_other_versions_are_used_again_and_said_once(tmp_path, caplog):
    found = race(tmp_path, tier="default")
    for run in found.runs[:2]:
        keep(tmp_path, replace(run, made={**run.made, "python": "3.9.1"}))
    folder = RunFolder(tmp_path)
    with caplog.at_level(logging.WARNING, "ravine"), folder.session():
        contest([task()], entrants(("sgd", "adam")), folder, seeds=3, tier="default")
    (said,) = [text for text in caplog.messages if "3.9.1" in text]
    assert said.startswith(f"runs taken from {tmp_path} were computed with Python 3.9.1 (now ")
    assert folder.reused == 6


def test_a_target_that_the_untrained_model_reaches_is_noted(tmp_path):
    found = race(tmp_path, task(target=0.0), tier="default")
    assert any("the untrained model is at the target, 0" in note for note in found.notes)
    assert all(run.steps_to_target == 1 for run in found.runs)


class Raises(torch.optim.SGD):
    """Raises at its tenth step."""

    def step(self, closure=None):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 10:
            raise ArithmeticError("out of luck")
        super().step()


def test_an_optimizer_that_raises_does_not_end_the_race(tmp_path):
    found = race(tmp_path, names=("adam", Raises))
    rows = {row["optimizer"]: row for row in found.table()}
    assert not rows["adam"]["lost"]
    assert rows["Raises"]["lost"] == 3
    assert math.isnan(rows["Raises"]["default"])
    assert [row["optimizer"] for row in found.table()] == ["adam", "Raises"]
    (note,) = [note for note in found.notes if "lost" in note]
    assert "7 of 7 runs are lost; the first: Raises raises ArithmeticError at step 10" in note


def test_a_choice_on_the_edge_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(module.protocol, "edges", lambda run, tier: ["lr"])
    found = race(tmp_path)
    assert sum("lies on the edge of what was tried" in edge for edge in found.reported) == 2
    assert "lies on the edge" in repr(found)
    assert "edge" not in "".join(found.notes)  # the command line prints these beside the report


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.calls = nn.Linear(4, 2), 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x) * (1 + self.calls / 100)


def test_what_cannot_be_a_swarm_runs_one_by_one_and_is_noted(tmp_path):
    train, held_out, test = points()
    its = from_objects(
        Counting, train, nn.functional.cross_entropy, held_out=held_out, test=test, steps=6
    )
    found = race(tmp_path, its)
    assert all(run.how.startswith("one by one: at step 2 its gradient is") for run in found.runs)
    assert any("its runs are computed one by one: at step 2" in note for note in found.notes)


# ---- the budget ----------------------------------------------------------------------------------


def test_a_time_is_a_budget_that_is_kept(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "ravine"):
        first = race(tmp_path, task(steps=100_000), steps=2.0)
    steps = {run.steps for run in first.runs}
    assert len(steps) == 1
    assert 1 <= min(steps) < 100_000
    assert f"{min(steps)} steps instead of 100000 fit the budget" in caplog.text
    before = files(tmp_path)
    race(tmp_path, task(steps=100_000), steps=2.0)
    assert files(tmp_path) == before


def test_shards_are_told_that_a_time_is_the_steps_of_this_machine(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "ravine"), pytest.raises(Elsewhere):
        race(tmp_path, task(steps=100_000), steps=1.0, shard=Shard(1, 2))
    (known,) = RunFolder(tmp_path).entry("steps").values()
    assert f"a shard that does not share this folder needs --budget {known}" in caplog.text


def test_steps_are_a_budget(tmp_path):
    assert {run.steps for run in race(tmp_path, steps=5, tier="default").runs} == {5}


def test_budgets_as_they_are_written():
    given = ["1500", "90s", "10m", "1.5h", " 2 m "]
    assert [duration(text) for text in given] == [1500, 90.0, 600.0, 5400.0, 120.0]
    assert isinstance(duration("1500"), int)
    for text in ("0", "0s", "-1", "ten", "1.5", "", "3d"):
        with pytest.raises(ValueError, match="is invalid; write the steps of a run"):
            duration(text)


def test_batches_are_of_one_seed_and_no_wider_than_memory_allows():
    its, (racing,) = task(), entrants(["sgd"])
    runs = [
        asked(its, racing, {"lr": 0.1 * k}, role=role, seed=seed)
        for role, seeds in (("tune", [7]), ("report", [1, 2, 3]))
        for seed in seeds
        for k in range(40)
    ]
    pace = Pace("", 32, {"sgd": 1e-3}, 9e-4, 0.0)
    batches = pace.batches(runs)
    assert sorted(map(len, batches)) == [20] * 8
    assert all(len({(run.seed, run.role) for run in batch}) == 1 for batch in batches)
    assert {run.name for batch in batches for run in batch} == {run.name for run in runs}
    one = pace.batches(runs[:40], workers=2)
    assert [len(batch) for batch in one] == [20, 20]
    assert [len(batch) for batch in pace.batches(runs[:36], workers=3)] == [12, 12, 12]
    assert [len(batch) for batch in pace.batches(runs[:36], workers=9)] == [9, 9, 9, 9]
    three = [run for run in runs[40:] if run.hyperparameters["lr"] < 2.95]  # 30 of three seeds
    assert sorted(len(batch) for batch in pace.batches(three, workers=2)) == [15] * 6
    assert pace.estimate(runs) == pytest.approx(160 * 12 * 1e-4)
    assert pace.estimate(runs, 2) == pytest.approx(80 * 12 * 1e-4)


def test_the_pace_is_measured():
    its, racing = task(), entrants(["sgd", "adam"])
    pace = measured(its, racing)
    assert {*pace.steps} == {"sgd", "adam"}
    assert all(1e-6 < x < 1 for x in pace.steps.values())
    assert pace.alone or pace.gained > 0


def test_memory_bounds_the_width(monkeypatch):
    from ravine.races import pace

    its, racing = task(), entrants(["sgd"])
    parameters = sum(p.nbytes for p in its.model(0).parameters())
    widths = []
    for free in (1e12, 600.0 * parameters, 1.0):
        monkeypatch.setattr(pace, "_free", lambda free=free: free)
        widths.append(measured(its, racing).width)
    assert widths[0] == 32
    assert 2 < widths[1] < 32  # weights, gradients, state, and what backward needs
    assert widths[2] == 2
    monkeypatch.setattr(pace, "_free", lambda: 600.0 * parameters)
    assert measured(its, racing, workers=2).width <= widths[1] / 2


# ---- in a notebook, and on the command line ------------------------------------------------------


def test_race_with_objects_in_processes(tmp_path, monkeypatch):
    pytest.importorskip("loky")
    monkeypatch.setattr(module, "_WORTH_PROCESSES", 0.0)
    train, held_out, test = points()
    found = ravine.race(
        lambda: nn.Linear(4, 2),
        train,
        nn.functional.cross_entropy,
        held_out=held_out,
        test=test,
        steps=5,
        optimizers=["adamw", "torch.optim:SGD"],
        tier="default",
        seeds=2,
        workers=2,
        folder=tmp_path,
    )
    assert [row["seeds"] for row in found.table()] == [2, 2]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["status"] == "complete"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tier": "k26"}, "tier='k26' is invalid; a tier is default, k25, k100"),
        ({"seeds": 0}, "seeds=0 is invalid"),
        ({"budget": "0"}, "budget '0' is invalid"),
        ({"budget": 0}, "steps=0 is invalid"),
        ({"optimizers": []}, "a race needs an optimizer"),
        ({"model": "mytask.py"}, r"to race a file, run: ravine race mytask\.py"),
    ],
)
def test_what_cannot_be_raced_is_refused_before_anything_is_run(tmp_path, changed, message):
    given = {"model": network, "data": points()[0], "loss": nn.functional.cross_entropy, **changed}
    with pytest.raises((TaskError, ValueError), match=message):
        ravine.race(given.pop("model"), given.pop("data"), folder=tmp_path, **given)
    assert not files(tmp_path)


FILE = """
import torch
from torch import nn

def data():
    x = torch.arange(60.).reshape(30, 2) / 30
    return (x[:10], x[:10, :1]), (x[10:20], x[10:20, :1]), (x[20:], x[20:, :1])

def model():
    return nn.Linear(2, 1)

loss = nn.functional.mse_loss
steps, batch_size = 4, 5
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    Path("mytask.py").write_text(FILE)
    Path("mine.py").write_text("def half(p, g, *, lr=0.1):\n    return p - lr / 2 * g\n")

    def command(*words, code=0):
        from ravine import cli

        monkeypatch.setattr(sys, "argv", ["ravine", *words])
        with pytest.raises(SystemExit) as ended:
            sys.exit(cli.main())
        done = capsys.readouterr()
        assert (ended.value.code or 0) == code, done.err
        return done

    return command


def test_the_command_races_a_file(command):
    words = ("--optimizers", "sgd,mine.py:half,clip_by_norm(sgd, max_norm=1)", "--seeds", "2")
    done = command("race", "mytask.py", *words, "--out", "kept")
    assert "mytask" in done.out
    assert Path("kept/report.html").exists()
    for name in ("sgd", "half", "clip_by_norm"):
        assert name in done.out
    assert "runs of 4 steps, about" in done.err
    rows = json.loads(command("race", "mytask.py", *words, "--out", "kept", "--json").out)["rows"]
    assert len(rows) == 3
    assert command("race", "merge", "all", "kept").err.startswith(f"{len(files('kept'))} runs")


def test_the_command_races_problems(command):
    assert "mnist-1d: MNIST-1D: signals" in command("race", "task", "--problems").out
    words = ("--optimizers", "sgd", "--tier", "default", "--seeds", "2", "--budget", "3")
    done = command("race", "--problem", "rosenbrock,noisy-quadratic", *words)
    assert "rosenbrock" in done.out
    assert "noisy-quadratic" in done.out


def test_a_shard_does_its_part(command):
    words = ("race", "mytask.py", "--optimizers", "sgd", "--tier", "default", "--out", "kept")
    done = command(*words, "--seeds", "2", "--shard", "1/2")
    assert "shard 1/2 is done: 1 run is left to other shards" in done.err
    command(*words, "--seeds", "2", "--shard", "2/2")
    assert len(files("kept")) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["race", "none.py"], "none.py does not exist"),
        (["race", "mytask.py", "--problem", "digits"], "FILE and --problem ask for different"),
        (["race", "mytask.py", "--optimizers", "adma"], "did you mean 'adam'"),
        (["race", "mytask.py", "--optimizers", "sgd,SGD"], "sgd is in the race twice"),
        (["race", "mytask.py", "--tier", "k1"], "a tier is default, k25, k100"),
        (["race", "mytask.py", "--seeds", "0"], "seeds=0 is invalid"),
        (["race", "mytask.py", "--budget", "0"], "budget '0' is invalid"),
        (["race", "mytask.py", "--shard", "3/2"], "shard '3/2' is invalid"),
        (["race", "mytask.py", "--schedule", "step"], "schedule must be linear, cosine, constant"),
        (["race", "--problem", "mnist"], "no problem is called 'mnist'"),
        (["race", "task"], "needs a file, or --problem NAME"),
        (["race", "merge", "all", "."], ". holds no runs of a race"),
    ],
)
def test_bad_input_is_one_line(command, words, message):
    done = command(*words, code=2)
    assert message in done.err.replace("\n", " ")
    assert not Path("runs").exists()


def test_a_full_disk_ends_the_race_and_says_so(command, monkeypatch):
    def full(path, data):
        raise OSError(28, f"{path} cannot be written (No space left on device)")

    monkeypatch.setattr("ravine.races.runs.write", full)
    done = command("race", "mytask.py", "--optimizers", "sgd", "--out", "kept", code=1)
    assert "No space left on device" in done.err
    assert json.loads(Path("kept/manifest.json").read_text())["status"] == "failed"


def padded(rows):
    """Sequences of several lengths, as long as the longest of the batch: shapes change from step to step."""
    x = torch.nn.utils.rnn.pad_sequence([row[0] for row in rows], batch_first=True)
    return {"x": x, "y": torch.stack([row[1] for row in rows])}


class Means(nn.Module):
    """Classifies a sequence by the mean of what its tokens say, and returns the loss."""

    def __init__(self):
        super().__init__()
        self.token, self.head = nn.Embedding(9, 4, padding_idx=0), nn.Linear(4, 2)

    def forward(self, x, y):
        return {"loss": nn.functional.cross_entropy(self.head(self.token(x).mean(1)), y)}


@pytest.mark.parametrize("other", ["many", "one, later than what is timed"])
def test_padded_batches_are_trained_one_by_one(tmp_path, other):
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0)).tolist()
    lengths = {i: 1 + i % 7 for i in order} if other == "many" else {order[60]: 3}
    rows = [(torch.full((lengths.get(i, 9),), 1 + i % 2), torch.tensor(i % 2)) for i in range(96)]
    loader = DataLoader(rows, batch_size=4 if other == "many" else 1, collate_fn=padded)
    options = {"optimizers": ("sgd", "adam"), "tier": "default", "seeds": 2, "workers": 1}
    found = ravine.race(Means, loader, held_out=loader, steps=96, folder=tmp_path, **options)
    assert len(found.runs) == 4
    assert all(run.how == "one by one: batches differ in their shapes" for run in found.runs)
    assert all(run.evaluations[-1][1] < run.evaluations[0][1] for run in found.runs)
