"""Races and their run folders: what is computed again and what is not, and what stops a race."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import ravine
from ravine.experiments import conditioning, diamonds, diamonds_shown, figure1, racers, running
from ravine.experiments.claims import units as claims
from ravine.races.store import RunFolder

RULE = """
from ravine import rule

SCALE = 1.0

def scaled(g):
    return SCALE * g

@rule
def mine(p, g, v, *, lr=0.05, mu=0.9):
    v = mu * v + scaled(g)
    return p - lr * v, v
"""


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(RunFolder, "figure", lambda *_, **__: [])


def exercise(path, *optimizers, seeds=(0,), **changes):
    """How many runs are computed, and the table."""
    before = len(list(path.glob("units/*.json")))
    asked = diamonds_shown.experiment(seeds, optimizers=optimizers, **{"epochs": 2, **changes})
    tables = running.run(RunFolder(path), asked, lambda _, specs: specs)
    return len(list(path.glob("units/*.json"))) - before, tables["diamonds-exercise"]


# ---- what a result depends on --------------------------------------------------------------------


@pytest.mark.usefixtures("no_figures")
def test_an_edited_rule_is_run_again_and_a_comment_is_not(tmp_path):
    file, out = tmp_path / "rules.py", tmp_path / "run"
    name = f"{file}:mine"
    file.write_text(RULE)
    assert exercise(out, name)[0] == 1
    assert exercise(out, name)[0] == 0
    for same in (
        ("def mine", "# mine\ndef mine"),
        ("    v = mu * v + scaled(g)", '    """Roll."""\n    v = (mu * v\n         + scaled(g))'),
        ("v)\n", "v)  # downhill\n"),
    ):
        file.write_text(file.read_text().replace(*same))
        assert exercise(out, name)[0] == 0
    rmse = {exercise(out, name)[1][0]["rmse_median"]}
    for other in (("SCALE = 1.0", "SCALE = 2.0"), ("SCALE * g", "-g"), ("mu=0.9", "mu=0.5")):
        text = file.read_text()
        assert text.count(other[0]) == 1
        file.write_text(text.replace(*other))
        computed, (row,) = exercise(out, name)
        assert computed == 1
        rmse.add(row["rmse_median"])
    assert len(rmse) == 4
    file.write_text(RULE)
    assert exercise(out, name)[0] == 0


@pytest.mark.usefixtures("no_figures")
def test_a_rule_that_was_moved_and_renamed_is_found_and_shown_by_its_name(tmp_path):
    first, second, out = tmp_path / "a.py", tmp_path / "b.py", tmp_path / "run"
    first.write_text(RULE)
    second.write_text(RULE.replace("mine", "yours").replace("mu", "momentum"))
    _, (before,) = exercise(out, f"{first}:mine")
    computed, (after,) = exercise(out, f"{second}:yours")
    assert computed == 0
    assert after.pop("method") == "yours"
    assert after.pop("optimizer") == f"{second}:yours"
    assert before == {**after, "method": "mine", "optimizer": f"{first}:mine"}


@pytest.mark.usefixtures("no_figures")
def test_a_rule_that_is_edited_while_it_is_raced_stays_as_it_was(tmp_path):
    file, out = tmp_path / "rules.py", tmp_path / "run"
    file.write_text(RULE)
    name = f"{file}:mine"

    def edited(_, specs):
        for i, spec in enumerate(specs):
            if i == 1:
                file.write_text(RULE.replace("SCALE = 1.0", "SCALE = 3.0"))
            yield spec

    asked = diamonds_shown.experiment((0, 1), optimizers=[name], epochs=2)
    running.run(RunFolder(out), asked, edited)
    file.write_text(RULE)
    computed, (row,) = exercise(out, name, seeds=(0, 1))
    assert computed == 0
    _, (right,) = exercise(tmp_path / "other", name, seeds=(0, 1))
    assert row["rmse_max"] == right["rmse_max"]


@pytest.mark.usefixtures("no_figures")
def test_settings_and_seeds_count(tmp_path):
    run = partial(exercise, tmp_path)
    assert run("sgd", "adam", seeds=(0, 1))[0] == 4
    assert run("adam", "sgd", seeds=(1, 2))[0] == 2
    changes = ({"lr": 0.02}, {"batch_size": 512}, {"epochs": 3}, {"stopping_threshold": 0.5})
    assert [run("adam", **change)[0] for change in changes] == [1, 1, 1, 1]
    assert [run("adam", **change)[0] for change in changes] == [0, 0, 0, 0]


def test_a_run_on_the_stream_of_another_depends_on_that_one():
    first, second, *_ = diamonds.corrected_specs([0])
    other = {**second, "stream": {"after": {**first, "max_epochs": 3}}}
    assert diamonds.depends(second) != diamonds.depends(other)
    climbing = {**second, "stream": {"after": {**first, "climb": True}}}
    assert diamonds.depends(second) != diamonds.depends(climbing)


SPECS = [
    ("diamonds", diamonds, [*diamonds.as_published_specs(), *diamonds.corrected_specs()]),
    ("figure-1", figure1, figure1.specs(as_published=True)),
    ("claims", claims, claims.specs()),
    ("conditioning", conditioning, conditioning.specs()),
]


@pytest.mark.parametrize(("_", "module", "specs"), SPECS, ids=[name for name, *_ in SPECS])
def test_every_unit_has_its_own_key(monkeypatch, _, module, specs):
    keys = {json.dumps(module.depends(spec), sort_keys=True) for spec in specs}
    assert len(keys) == len(specs)
    monkeypatch.setattr(module, "PROTOCOL_VERSION", module.PROTOCOL_VERSION + 1)
    assert not keys & {json.dumps(module.depends(spec), sort_keys=True) for spec in specs}


@pytest.mark.parametrize(
    ("module", "spec"),
    [(diamonds, SPECS[0][2][-1]), (figure1, SPECS[1][2][0]), (conditioning, SPECS[3][2][0])]
    + [(claims, spec) for spec in SPECS[2][2] if spec.get("problem") in ("line", "network")],
)
def test_the_data_count(monkeypatch, module, spec):
    before = module.depends(spec)
    monkeypatch.setattr(ravine.data, "digest", lambda _: "other data")
    monkeypatch.setattr("ravine.experiments.grids.digest", lambda _: "other data")
    figure1.data.digest.cache_clear()
    try:
        assert module.depends(spec) != before
    finally:
        figure1.data.digest.cache_clear()


def test_the_rules_of_the_other_races_count(monkeypatch):
    from ravine import registry

    kept = {m: [m.depends(s) for s in specs] for _, m, specs in SPECS[2:]}
    find = registry.resolve

    def other(name):
        found = find(name)
        has_eps = "eps" in found.rule.hyperparameters
        return replace(found, rule=found.rule.named(name, eps=1e-3)) if has_eps else found

    monkeypatch.setattr(racers, "resolve", other)
    for _, module, specs in SPECS[2:]:
        for spec, before in zip(specs, kept[module], strict=True):
            has_eps = spec.get("optimizer") in ("adam", "amsgrad", "rmsprop")
            assert (module.depends(spec) != before) is has_eps


def test_whole_fashion_mnist_counts_by_its_files(tmp_path):
    (spec, *_) = figure1.specs(full=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="name a folder with a folder of images for each"):
        figure1.depends(spec)
    for name in ("images-idx3", "labels-idx1"):
        (tmp_path / f"train-{name}-ubyte.gz").write_bytes(name.encode())
    moved = tmp_path.with_name("moved")
    shutil.copytree(tmp_path, moved)
    assert figure1.depends(spec) == figure1.depends({**spec, "full": str(moved)})
    assert figure1.depends(spec) != figure1.depends({**spec, "full": None})


REUSED = """
import sys
from ravine.experiments import diamonds_shown, running
from ravine.races.store import RunFolder
RunFolder.figure = lambda *_, **__: []
folder = RunFolder(sys.argv[1])
running.run(folder, diamonds_shown.experiment([0], optimizers=["adam"], epochs=2), lambda _, specs: specs)
print(folder.reused)
"""


def test_a_word_in_the_command_line_throws_nothing_away(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(Path(ravine.__file__).parent, source / "ravine")
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", REUSED, str(tmp_path / "run")],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(source)},
        )
        found.append(done.stdout.strip())
        with (source / "ravine/cli/race.py").open("a") as file:
            file.write("# a word\n")
    assert found == ["0", "1"]


# ---- the command line ----------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "ravine", "race", "diamonds", "--stopping-threshold", "0"]


def begin(out, *words, **options):
    words = (*COMMAND, *map(str, words), "--out", str(out))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, **pipes, **options)


def end(process):
    _, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors
    return process.returncode, " ".join(errors.split())


def left_over(path):
    return [p.name for p in path.rglob("*") if p.suffix in (".part", ".damaged")]


def wait_for_units(out, count, process):
    deadline = time.monotonic() + 120
    while len(list(out.glob("units/*.json"))) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_is_done_is_kept_and_the_same_command_goes_on(tmp_path, number, status):
    out = tmp_path / "run"
    words = ("--optimizers", "sgd", "--epochs", 4000, "--seeds", 5)
    process = begin(out, *words)
    wait_for_units(out, 2, process)
    process.send_signal(number)
    code, errors = end(process)
    assert code == status
    kept = len(list(out.glob("units/*.json")))
    assert 2 <= kept < 5
    kept_in = (
        f"interrupted; {kept} finished runs are kept in {out}, and the same command with --out"
    )
    assert f"{kept_in} {out}" in errors
    assert left_over(out) == []
    assert json.loads((out / "manifest.json").read_text())["status"] == "interrupted"
    code, errors = end(begin(out, *words))
    assert code == 0
    assert f"{kept} runs taken from before" in errors
    assert json.loads((out / "manifest.json").read_text())["status"] == "complete"


def test_workers_that_are_killed_lose_nothing_and_compute_the_same(tmp_path):
    """One of two workers is killed, the race ends, and equals that of one process."""
    pytest.importorskip("loky")
    words = [sys.executable, "-m", "ravine", "race", "conditioning", "--quick", "--seeds", "1"]
    words += ["--optimizers", "sgd,adam", "--json", "--workers"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    tables = []
    for workers in (2, 1):
        out = tmp_path / str(workers)
        process = subprocess.Popen([*words, str(workers), "--out", str(out)], **pipes)
        if workers == 2:
            wait_for_units(out, 3, process)
            children = workers_of(process.pid)
            assert children
            os.kill(children[-1], signal.SIGKILL)
        printed, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        tables.append(json.loads(printed))
        assert len(list(out.glob("units/*.json"))) == 30
    assert tables[0] == tables[1]


def workers_of(pid):
    """The processes that a race has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"loky" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return sorted(found)


def test_two_processes_may_run_one_race_in_one_folder(tmp_path):
    out = tmp_path / "run"
    words = ("--optimizers", "sgd,adam", "--epochs", 300, "--seeds", 4)
    ends = [end(process) for process in [begin(out, *words) for _ in range(2)]]
    assert [code for code, _ in ends] == [0, 0]
    assert left_over(out) == []
    assert len(list(out.glob("units/*.json"))) == 8
    assert json.loads((out / "manifest.json").read_text())["status"] == "complete"
    code, errors = end(begin(out, *words))
    assert code == 0
    assert "8 runs taken from before" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
def test_a_disk_that_is_full_ends_the_race_with_the_name_of_the_file(tmp_path):
    import resource

    out = tmp_path / "run"
    words = ("--optimizers", "sgd", "--epochs", 40, "--seeds", 2)

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, 25_000))

    code, errors = end(begin(out, *words, preexec_fn=small))  # its pictures are larger
    assert code == 1
    assert f"ravine: {out / 'diamonds-exercise.png'} cannot be written (File too large)" in errors
    assert f"2 finished runs are kept in {out}" in errors
    assert left_over(out) == []
    code, errors = end(begin(out, *words))
    assert code == 0
    assert "2 runs taken from before" in errors


def test_a_full_file_system_too(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if not hasattr(os, "geteuid") or os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("a file system can only be mounted by root")
    try:
        out = disk / "run"
        code, errors = end(begin(out, "--optimizers", "sgd", "--epochs", 2500, "--seeds", 4))
        assert code == 1
        assert "cannot be written (No space left on device)" in errors
        assert left_over(out) == []
        assert "finished run" in errors
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_is_damaged_or_of_other_versions_is_said_in_any_locale(tmp_path):
    out = tmp_path / "läufe"
    words = ("--optimizers", "sgd", "--epochs", 2, "--seeds", 2, "--json")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "20"}
    run = partial(begin, out, *words, env={**os.environ, **plain})
    assert end(run())[0] == 0
    unit, _ = out.glob("units/*.json")
    unit.write_bytes(unit.read_bytes()[:100])
    manifest = (out / "manifest.json").read_text()
    (out / "manifest.json").write_text(manifest.replace('"numpy": "', '"numpy": "0.'))
    code, errors = end(run())
    assert code == 0
    assert f"{unit.name} is damaged" in errors
    assert "numpy 0." in errors
    assert "1 run taken from before" in errors
    assert unit.with_name(f"{unit.name}.damaged").stat().st_size == 100
