"""Jobs: what is missing is computed, whatever is killed meanwhile, and nothing twice."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ravine.races import jobs
from ravine.races.jobs import ALL, Elsewhere, Missing, Shard, complete, processes, shard
from ravine.races.runs import Run, keep, merge, place, read

ASKED = [
    Run(
        task="t",
        rule="r",
        hyperparameters={"lr": 0.1},
        role="tune",
        seed=seed,
        steps=10,
        batch_size=4,
        schedule="linear",
        problem="points",
        optimizer="adam",
    )
    for seed in range(12)
]


def fours(runs):
    return [list(runs[i : i + 4]) for i in range(0, len(runs), 4)]


def compute(folder, runs):
    """Keeps the runs, and notes who computed them."""
    for run in runs:
        keep(folder, replace(run, score=run.seed / 2))
        Path(folder, f"computed-{run.seed}-{os.getpid()}-{time.monotonic_ns()}").touch()


def dies_once(at, folder, runs):
    """As `compute`, in a process that is killed once, in the middle of a batch."""
    for run in runs:
        mark = Path(folder, "died")
        if run.seed == at and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        compute(folder, [run])


def computed(folder):
    return sorted(int(path.name.split("-")[1]) for path in Path(folder).glob("computed-*"))


def test_what_is_missing_is_computed_and_nothing_twice(tmp_path):
    known = []
    for asked in (ASKED[:3], ASKED, ASKED):
        found = complete(tmp_path, asked, compute, batches=fours, done=known.extend)
        assert [run.score for run in found] == [run.seed / 2 for run in asked]
    assert computed(tmp_path) == list(range(12))
    assert [len(known), len({run.name for run in known})] == [3 + 12 + 12, 12]


def test_a_damaged_result_is_computed_again(tmp_path):
    complete(tmp_path, ASKED, compute, batches=fours)
    place(tmp_path, ASKED[5].name).write_bytes(b"{")
    complete(tmp_path, ASKED, compute, batches=fours)
    assert computed(tmp_path).count(5) == 2
    assert len(computed(tmp_path)) == 13


def test_any_executor_will_do(tmp_path):
    with ThreadPoolExecutor(2) as executor:
        found = complete(tmp_path, ASKED, compute, batches=fours, executor=executor)
    assert len(found) == 12


def test_a_killed_worker_loses_nothing(tmp_path):
    pytest.importorskip("loky")
    work = partial(dies_once, 6)
    found = complete(tmp_path, ASKED, work, batches=fours, executor=processes(2))
    assert [run.score for run in found] == [run.seed / 2 for run in ASKED]
    assert (tmp_path / "died").exists()
    assert len(computed(tmp_path)) == 12  # what the batch had kept before is not computed again


def test_what_fails_each_time_is_said_and_the_rest_goes_on(tmp_path, caplog):
    def work(folder, runs):
        compute(folder, [run for run in runs if run.seed != 7])
        if any(run.seed == 7 for run in runs):
            raise RuntimeError("no luck")

    message = (
        "1 run could not be computed in 3 attempts, the first of them adam on points with seed 7: "
        "RuntimeError: no luck"
    )
    with caplog.at_level(logging.WARNING, "ravine"):
        found = complete(tmp_path, ASKED, work, batches=fours)
    assert message in caplog.text
    assert [run.seed for run in found] == computed(tmp_path) == [i for i in range(12) if i != 7]
    with pytest.raises(Missing, match=message):
        complete(tmp_path / "alone", ASKED[7:8], work, batches=fours)


def dies_each_time(folder, runs):
    """As `compute`, in a process that the runs of sgd kill."""
    for run in runs:
        if run.optimizer == "sgd":
            os.kill(os.getpid(), signal.SIGKILL)
        compute(folder, [run])


def test_an_optimizer_that_kills_its_workers_takes_no_other_with_it(tmp_path, caplog):
    """A pool of processes breaks as a whole: what was waiting in it is not lost."""
    pytest.importorskip("loky")
    bad = [replace(run, optimizer="sgd", rule="sgd") for run in ASKED]
    asked = [run for pair in zip(ASKED, bad, strict=True) for run in pair]
    with caplog.at_level(logging.WARNING, "ravine"):
        found = complete(tmp_path, asked, dies_each_time, batches=fours, executor=processes(2))
    assert sorted(run.seed for run in found) == list(range(12))
    assert {run.optimizer for run in found} == {"adam"}
    assert computed(tmp_path) == list(range(12))
    assert (
        "12 runs could not be computed in 3 attempts, the first of them sgd on points"
        in caplog.text
    )


def test_a_full_disk_is_said_at_once(tmp_path):
    calls = []

    def work(folder, runs):
        calls.append(runs)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        complete(tmp_path, ASKED, work, batches=fours)
    assert len(calls) == 1


class Broken:
    """An executor whose pool is broken until it is asked a second time."""

    def __init__(self):
        self.submitted = 0

    def submit(self, function, *arguments):
        self.submitted += 1
        if self.submitted <= 2:
            raise RuntimeError("the pool is broken")
        return jobs.Here().submit(function, *arguments)


def test_an_executor_that_breaks_is_tried_again(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "ravine"):
        complete(tmp_path, ASKED, compute, batches=fours, executor=Broken())
    assert computed(tmp_path) == list(range(12))
    assert "RuntimeError: the pool is broken" in caplog.text


def test_shards_share_the_batches_and_leave_nothing(tmp_path):
    for i in (1, 2):
        with pytest.raises(Elsewhere, match="left to other shards; when all are in"):
            complete(tmp_path / str(i), ASKED, compute, batches=fours, shard=Shard(i, 2))
    shares = [computed(tmp_path / str(i)) for i in (1, 2)]
    assert shares == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7]]
    assert merge(tmp_path / "all", [tmp_path / "1", tmp_path / "2"]) == (12, 0)
    assert merge(tmp_path / "all", [tmp_path / "2"]) == (0, 4)
    found = complete(tmp_path / "all", ASKED, compute, batches=fours)
    assert [run.score for run in found] == [run.seed / 2 for run in ASKED]
    assert computed(tmp_path / "all") == []


def test_a_share_does_not_depend_on_what_is_there(tmp_path):
    complete(tmp_path, ASKED[:4], compute, batches=fours)
    with pytest.raises(Elsewhere, match="4 runs are left"):
        complete(tmp_path, ASKED, compute, batches=fours, shard=Shard(1, 2))
    assert computed(tmp_path) == [0, 1, 2, 3, 8, 9, 10, 11]


def test_shards_as_they_are_written():
    assert shard("2/8") == Shard(2, 8)
    assert Shard(1, 1) == ALL
    for text in ("0/2", "3/2", "1", "a/b", "1/0", "-1/2"):
        with pytest.raises(ValueError, match=r"is invalid; write i/n"):
            shard(text)


def test_merging_leaves_damage_out_and_refuses_other_folders(tmp_path, caplog):
    keep(tmp_path / "a", ASKED[0])
    place(tmp_path / "a", ASKED[0].name).write_bytes(b"{}")
    keep(tmp_path / "a", ASKED[1])
    with caplog.at_level(logging.WARNING, "ravine"):
        assert merge(tmp_path / "all", [tmp_path / "a"]) == (1, 0)
    assert "is damaged" in caplog.text
    assert [run.seed for run in read(tmp_path / "all")] == [1]
    with pytest.raises(FileNotFoundError, match="holds no runs of a race"):
        merge(tmp_path / "all", [tmp_path / "missing"])
    with pytest.raises(ValueError, match="holds no runs of a race"):
        merge(tmp_path / "all", [tmp_path])


SLOW = """
import sys, time
sys.path.insert(0, {tests!r})
from test_jobs import ASKED, complete, compute, fours

def work(folder, runs):
    for run in runs:
        compute(folder, [run])
        time.sleep(0.2)

complete({folder!r}, ASKED, work, batches=fours)
"""


def test_after_kill_9_the_rest_is_computed_and_nothing_twice(tmp_path):
    code = SLOW.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code])
    while len(computed(tmp_path)) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = len(computed(tmp_path))
    assert kept < 12
    found = complete(tmp_path, ASKED, compute, batches=fours)
    assert len(found) == 12
    assert len({*computed(tmp_path)}) == len(computed(tmp_path))
    assert len(computed(tmp_path)) >= 11  # the process may die between keeping a run and noting it


INTERRUPTED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_jobs import ASKED, compute, fours, processes
from ravine.races.store import RunFolder, Stopped

def work(folder, runs):
    compute(folder, runs[:1])
    time.sleep(100)

folder = RunFolder({folder!r})
try:
    with folder.session():
        folder.complete(ASKED, work, batches=fours, executor=processes(2))
except Stopped as stop:
    sys.exit(stop.code)
"""


def test_ctrl_c_stops_the_workers_and_keeps_what_is_done(tmp_path):
    pytest.importorskip("loky")
    code = INTERRUPTED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(computed(tmp_path)) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    workers = {int(path.name.split("-")[2]) for path in tmp_path.glob("computed-*")}
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it, too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    told = rf"interrupted; \d+ finished runs are kept in {re.escape(str(tmp_path))}, and the same command"
    assert re.search(told, errors), errors
    assert not any(running(worker) for worker in workers)
    assert 2 <= len(computed(tmp_path)) < 8


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_has_not_begun_is_cancelled_where_a_race_ends(tmp_path):
    def work(folder, runs):
        if runs[0].seed == 0:
            raise KeyboardInterrupt
        time.sleep(0.2)
        compute(folder, runs)

    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
        complete(tmp_path, ASKED, work, batches=fours, executor=executor)
    assert 8 not in computed(tmp_path)
