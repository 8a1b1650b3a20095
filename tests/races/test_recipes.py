"""The recipes of docs/how-to/race-at-scale.md, as they stand there: `make test-frameworks`.

Executors race with two workers, of which one is killed in the middle of a batch.
"""

import glob
import json
import linecache
import os
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import ravine
from ravine.races.runs import read

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("default"),  # theirs are not ours to fix
]

PAGE = Path(__file__).parents[2] / "docs/how-to/race-at-scale.md"

TASK = """
import os, signal
from pathlib import Path

import torch
from torch import nn

import ravine

HERE, MAIN = Path.cwd(), os.getpid()
x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
data = x, (x[:, 0] > x[:, 1]).long()

def model():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))

loss = nn.functional.cross_entropy

def accuracy(output, target):
    "Kills a worker once, in the middle of a batch: each process counts what it has scored."
    worker = os.getpid() != MAIN
    with open(HERE / f"scored-{os.getpid()}", "a+") as file:
        count = file.tell()
        file.write(".")
    if worker and count == 30 and not (HERE / "died").exists():
        (HERE / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return (output.argmax(1) == target).double().mean()
"""


def recipe(title):
    """The block of that title."""
    (found,) = re.findall(
        rf'```python title="Not run: {title}"\n(.*?)```', PAGE.read_text(), re.DOTALL
    )
    return found.replace('"/shared/', '"')


def run(file, source, names):
    Path(file).write_text(source)
    linecache.checkcache(file)
    exec(compile(source, file, "exec"), names)


@pytest.fixture
def race(tmp_path, monkeypatch):
    """Runs a recipe in an empty folder, where `ravine.race` is a small one, and returns what it found."""
    monkeypatch.chdir(tmp_path)
    whole = ravine.race
    small = {"optimizers": ("sgd", "adam", "momentum"), "tier": "default", "seeds": 4, "steps": 40}

    def race(title):
        names = {"__name__": "__main__"}
        run("task.py", TASK, names)
        score = {"score": names["accuracy"], "lower_is_better": False}
        names["ravine"] = SimpleNamespace(race=partial(whole, **small, **score))
        run("recipe.py", recipe(title), names)
        return names["found"]

    return race


def nothing_is_lost(found):
    assert Path("died").exists(), "no worker was killed"
    assert len(found.runs) == 3 * 4
    assert not any(run.lost for run in found.runs)
    assert {run.name for run in read("race")} == {run.name for run in found.runs}
    scored = [int(path.rpartition("-")[2]) for path in glob.glob("scored-*")]
    assert len({*scored} - {os.getpid()}) >= 2, "one worker has done everything"


def test_dask(race):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        client = distributed.Client(cluster)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "Client", lambda: client)
            found = race("Dask")
        client.close()
    nothing_is_lost(found)


def test_ray(race):
    ray = pytest.importorskip("ray")
    init = ray.init

    def two():
        environment = {"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}
        return init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", two)
        try:
            found = race("Ray")
        finally:
            ray.shutdown()
    nothing_is_lost(found)


def test_submitit(race):
    submitit = pytest.importorskip("submitit")
    assert submitit.AutoExecutor(folder="logs").cluster == "local"
    found = race("SLURM, with submitit")
    nothing_is_lost(found)


def test_tensorboard(race):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = race("TensorBoard")
    for run in found.runs:
        events = EventAccumulator(f"tensorboard/task/{run.optimizer}/report-0-{run.seed}")
        events.Reload()
        for name, curve in (("training loss", run.curve), ("accuracy", run.evaluations)):
            points = [(event.step, event.value) for event in events.Scalars(name)]
            assert points == [(t, pytest.approx(value, rel=1e-6)) for t, value in curve]
    assert len(found.runs) == 12


def test_weights_and_biases_offline(race, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    found = race("Weights & Biases, offline")
    logs = [Path(path).read_bytes() for path in glob.glob("wandb/offline-run-*/*.wandb")]
    assert len(logs) == len(found.runs) == 12
    for run in found.runs:
        (log,) = [log for log in logs if f"{run.optimizer} {run.name}".encode() in log]
        for value in (run.score, run.curve[-1][1], run.hyperparameters["lr"]):
            assert json.dumps(value).encode() in log
        assert b"training loss" in log
