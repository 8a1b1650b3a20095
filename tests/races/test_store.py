"""Run folders: atomic, resumable, honest about what they hold."""

import csv
import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ravine.races import encoding, store
from ravine.races.atomic import write
from ravine.races.store import RunFolder, Stopped, Unit


def unit(folder, asked, compute, depends=None):
    """The result of a unit of work, from the folder if it is there."""

    def work(where, units):
        for each in units:
            each.keep(where, compute())

    asked, how = [Unit(asked, depends or asked)], {"find": store.finished}
    (found,) = folder.complete(asked, work, batches=lambda units: [units], **how)
    return found.result


def files(path, pattern):
    return sorted(found.relative_to(path).as_posix() for found in path.rglob(pattern))


def test_a_unit_is_computed_once(tmp_path):
    calls = []
    asked = {"optimizer": "adam", "seed": 0}
    for _ in range(2):
        folder = RunFolder(tmp_path)
        result = unit(
            folder, asked, lambda: calls.append(1) or {"loss": 0.1 + 0.2, "nan": math.nan}
        )
        assert result["loss"] == 0.1 + 0.2
        assert math.isnan(result["nan"])
    assert calls == [1]
    assert folder.reused == 1
    unit(folder, {**asked, "seed": 1}, lambda: calls.append(2) or 0)
    assert calls == [1, 2]


def test_a_result_is_found_by_what_it_depends_on_whatever_it_is_called(tmp_path):
    first = unit(RunFolder(tmp_path), {"rule": "mine.py:r"}, lambda: 1, {"graph": "1f", "seed": 0})
    folder = RunFolder(tmp_path)
    never = partial(pytest.fail, "computed again")
    assert unit(folder, {"rule": "moved.py:renamed"}, never, {"seed": 0, "graph": "1f"}) == first
    assert unit(folder, {"rule": "mine.py:r"}, lambda: 2, {"graph": "2f", "seed": 0}) == 2
    assert folder.reused == 1


def test_an_interrupted_unit_leaves_nothing_and_the_others_stay(tmp_path):
    folder = RunFolder(tmp_path)
    unit(folder, {"a": 1}, lambda: 1)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unit(folder, {"a": 2}, interrupted)
    assert unit(RunFolder(tmp_path), {"a": 1}, interrupted) == 1
    assert unit(RunFolder(tmp_path), {"a": 2}, lambda: 2) == 2


def test_infinite_and_missing_numbers_survive_in_standard_json(tmp_path):
    value = {"x": [math.inf, -math.inf, math.nan, 1.5, "text"], "y": None}
    folder = RunFolder(tmp_path)
    path = folder.json("points", value)
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    back = unit(folder, value, lambda: value)
    again = unit(folder, value, lambda: pytest.fail("not kept"))
    for read in (back, again):
        assert read["x"][:2] == [math.inf, -math.inf]
        assert math.isnan(read["x"][2])
        assert read["x"][3:] == [1.5, "text"]


def test_tables_keep_all_digits_and_all_columns(tmp_path):
    rows = [{"a": 0.1 + 0.2, "b": "x"}, {"a": 1e-300, "c": 'say "hi", ok'}]
    RunFolder(tmp_path).table("t", rows)
    with (tmp_path / "t.csv").open() as file:
        read = list(csv.DictReader(file))
    assert float(read[0]["a"]) == 0.1 + 0.2
    assert read[1] == {"a": "1e-300", "b": "", "c": 'say "hi", ok'}
    assert json.loads((tmp_path / "t.json").read_text()) == rows


def test_figures_come_as_png_and_as_svg_that_is_the_same_each_time(tmp_path):
    from matplotlib.figure import Figure

    def draw():
        figure = Figure()
        figure.subplots().plot([1, 2])
        return figure

    folder = RunFolder(tmp_path)
    png, svg = folder.figure("f", draw(), dpi=50)
    assert png.read_bytes().startswith(b"\x89PNG")
    first = svg.read_text()
    assert "<svg" in first
    assert "<dc:date>" not in first


def test_the_manifest_says_what_a_number_depends_on(tmp_path):
    folder = RunFolder(tmp_path)
    folder.manifest(status="running", seeds=[0, 1])
    folder.manifest(status="complete")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["seeds"] == [0, 1]
    assert manifest["packages"]["numpy"] == np.__version__
    assert {
        "ravine",
        "git",
        "python",
        "cpu",
        "cores",
        "system",
        "command",
        "written",
    } <= manifest.keys()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(OSError, match=r"--out '.*file/run' cannot be written to .*name a folder"):
        RunFolder(taken / "run")


# ---- damaged files -------------------------------------------------------------------------------


def truncated(path):
    path.write_bytes(path.read_bytes()[:-20])


def a_digit_changed(path):
    path.write_bytes(path.read_bytes().replace(b"0.125", b"0.126"))


def of_another_unit(path):
    other = RunFolder(path.parent.parent / "other")
    unit(other, {"seed": 1}, lambda: {"loss": 2.5})
    (there,) = other.path.glob("units/*.json")
    path.write_bytes(there.read_bytes())


def another_spec(path):
    record = json.loads(path.read_text())
    record["depends"]["seed"] = 1
    path.write_text(json.dumps(record))


def a_folder(path):
    path.unlink()
    (path / "within").mkdir(parents=True)


DAMAGES = {
    truncated: "checksum",
    a_digit_changed: "checksum",
    another_spec: "checksum",
    of_another_unit: "it holds another run",
    a_folder: "directory",
    lambda path: path.write_bytes(b""): "it is empty",
    lambda path: path.write_bytes(bytes(range(256)) * 9): "checksum",
    lambda path: path.write_text('{"asked": {"seed": 0}, "result": {"loss": 9}}'): "checksum",
    lambda path: path.write_bytes(encoding.encoded({"result": {"loss": 9}})): "depends",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_computed_anew_and_kept_aside(tmp_path, caplog, damage):
    unit(RunFolder(tmp_path), {"seed": 0}, lambda: {"loss": 0.125})
    (path,) = tmp_path.glob("units/*.json")
    damage(path)
    why, before = DAMAGES[damage], None if path.is_dir() else path.read_bytes()
    for loss in (1.0, 2.0):  # twice damaged: the first is not lost
        caplog.clear()
        folder = RunFolder(tmp_path)
        assert unit(folder, {"seed": 0}, lambda loss=loss: {"loss": loss}) == {"loss": loss}
        (sentence,) = caplog.messages
        assert str(path) in sentence
        assert why in sentence
        assert folder.reused == 0
        assert unit(RunFolder(tmp_path), {"seed": 0}, partial(pytest.fail, "again"))["loss"] == loss
        path.write_bytes(b"garbage")
        why = "checksum"
    kept = path.with_name(path.name + ".damaged")
    assert kept.is_dir() if before is None else kept.read_bytes() == before
    assert len(list(path.parent.glob("*.damaged*"))) == 2


def test_a_file_that_may_not_be_read_is_kept_aside_too(tmp_path, monkeypatch, caplog):
    unit(RunFolder(tmp_path), {"seed": 0}, lambda: 1)
    (path,) = tmp_path.glob("units/*.json")
    read, number = Path.read_bytes, path.stat().st_ino

    def forbidden(self):
        if self == path and self.stat().st_ino == number:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", forbidden)
        assert unit(RunFolder(tmp_path), {"seed": 0}, lambda: 2) == 2
    assert "Permission denied" in caplog.text
    assert unit(RunFolder(tmp_path), {"seed": 0}, partial(pytest.fail, "again")) == 2
    assert path.with_name(path.name + ".damaged").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"mine": 1}', "\xff", "[" * 100_000])
def test_a_damaged_manifest_is_kept_aside(tmp_path, caplog, text):
    unit(RunFolder(tmp_path), {"seed": 0}, lambda: 1)
    path = tmp_path / "manifest.json"
    path.write_text(text, encoding="latin-1")
    folder = RunFolder(tmp_path)
    assert f"{path} is damaged" in caplog.text
    folder.manifest(status="running")
    assert json.loads(path.read_text())["status"] == "running"
    assert (tmp_path / "manifest.json.damaged").read_text(encoding="latin-1") == text
    assert unit(folder, {"seed": 0}, partial(pytest.fail, "again")) == 1


# ---- other versions ------------------------------------------------------------------------------


def test_what_is_reused_of_other_versions_is_said_in_one_sentence(tmp_path, monkeypatch, caplog):
    def run(*seeds):
        caplog.clear()
        folder = RunFolder(tmp_path)
        with folder.session():
            for seed in seeds:
                unit(folder, {"seed": seed}, lambda: 1)
        return list(caplog.messages)

    assert run(0) == run(0) == []
    now = store.environment()
    packages = {**now["packages"], "numpy": "3.0", "matplotlib": "9.0"}
    monkeypatch.setattr(
        store, "environment", lambda: {**now, "python": "9.9", "packages": packages}
    )
    assert run(1) == []  # nothing reused
    (sentence,) = run(0, 1)
    assert sentence == (
        f"runs taken from {tmp_path} were computed with Python {now['python']} (now 9.9), "
        f"numpy {np.__version__} (now 3.0)"
    )
    assert run(0, 1) == [sentence]  # each time
    assert run(1) == []  # which was computed with what there is now


def test_the_versions_in_the_manifest_count_for_results_that_are_reused(tmp_path, caplog):
    unit(RunFolder(tmp_path), {"seed": 0}, lambda: 1)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["packages"]["numpy"] = "1.0"
    manifest["cpu"] = None
    path.write_text(json.dumps(manifest))
    folder = RunFolder(tmp_path)
    with folder.session():
        unit(folder, {"seed": 0}, lambda: 1)
    assert f"numpy 1.0 (now {np.__version__})" in caplog.text
    assert "CPU missing (now " in caplog.text
    assert json.loads(path.read_text())["packages"]["numpy"] == "1.0"  # nothing was computed


# ---- several processes ---------------------------------------------------------------------------


MANY = """
import sys
from ravine.races.store import RunFolder, Unit, finished
def work(where, units):
    for unit in units:
        unit.keep(where, 7)
for turn in range(60):
    folder = RunFolder(sys.argv[1])
    with folder.session():
        asked = [Unit({}, {"n": n, "turn": turn}) for n in range(3)]
        how = {"batches": lambda units: [units], "find": finished}
        assert [unit.result for unit in folder.complete(asked, work, **how)] == [7] * 3
        folder.json("table", turn)
"""


def test_many_processes_may_open_and_write_one_folder(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    ends = [(writer.communicate(timeout=300)[1], writer.returncode) for writer in writers]
    assert ends == [(b"", 0)] * 4
    assert len(list(tmp_path.glob("units/*"))) == 180
    assert files(tmp_path, ".*") == []


# ---- what stops a write --------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), SystemExit(1)]
)
def test_a_write_that_is_stopped_leaves_nothing_and_names_the_file(
    tmp_path, monkeypatch, at, error
):
    path = write(tmp_path / "a.json", b"before")

    def stopped(*_):
        raise error

    monkeypatch.setattr(os, at, stopped)
    with pytest.raises(type(error)) as caught:
        write(path, b"after")
    if isinstance(error, OSError):
        assert str(caught.value) == f"{path} cannot be written (No space left on device)"
        assert caught.value.errno == errno.ENOSPC
    assert files(tmp_path, "*") == ["a.json"]
    assert path.read_bytes() == b"before"


def test_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    written = write(tmp_path / "a.json", b"1")
    assert written.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_killed_processes_left_is_swept_and_what_is_being_written_is_not(tmp_path):
    RunFolder(tmp_path)
    old, new = tmp_path / "units/.a.json.0f.part", tmp_path / ".manifest.json.77.part"
    for part in (old, new):
        part.touch()
    os.utime(old, (time.time() - 86400,) * 2)
    RunFolder(tmp_path)
    assert files(tmp_path, "*.part") == [new.name]


@pytest.mark.parametrize("kept", [0, 2])
def test_a_full_disk_ends_a_session_with_what_is_kept(tmp_path, monkeypatch, caplog, kept):
    folder = RunFolder(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def session():
        with folder.session():
            for n in range(kept):
                unit(folder, {"n": n}, lambda: 1)
            unit(folder, {"n": 9}, lambda: monkeypatch.setattr(os, "fsync", full))

    named = r"(units/\w+|manifest)\.json cannot be written \(No space left"
    with pytest.raises(OSError, match=named):
        session()
    assert files(tmp_path, "*.part") == []
    assert len(files(tmp_path / "units", "*")) == kept
    if kept:
        assert f"2 finished runs are kept in {tmp_path}" in caplog.text
        assert f"--out {tmp_path}" in caplog.text
    else:
        assert caplog.messages == []


# ---- sessions ------------------------------------------------------------------------------------


def status(path):
    return json.loads((path / "manifest.json").read_text())["status"]


def test_a_session_says_how_it_went(tmp_path, caplog):
    folder = RunFolder(tmp_path)
    with folder.session():
        assert status(tmp_path) == "running"
    assert status(tmp_path) == "complete"
    with pytest.raises(ValueError, match="mine"), folder.session():
        raise ValueError("mine")
    assert json.loads((tmp_path / "manifest.json").read_text())["error"] == "ValueError: mine"
    assert status(tmp_path) == "failed"
    assert caplog.messages == []
    with folder.session():
        unit(folder, {"n": 0}, lambda: 1)
    with pytest.raises(KeyboardInterrupt), folder.session():
        raise KeyboardInterrupt
    assert status(tmp_path) == "interrupted"
    assert caplog.messages[0].startswith("interrupted; 1 finished run is kept")
    with folder.session():
        pass
    assert json.loads((tmp_path / "manifest.json").read_text())["error"] is None


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_stop_a_session_and_are_as_before_after_it(tmp_path, caplog, name):
    folder, number = RunFolder(tmp_path), getattr(signal, name)
    before = signal.getsignal(number)

    def session():
        with folder.session():
            unit(folder, {"n": 0}, lambda: signal.raise_signal(number))

    with pytest.raises(Stopped, match=name) as caught:
        session()
    assert caught.value.code == 128 + number
    assert status(tmp_path) == "interrupted"
    assert signal.getsignal(number) is before
    assert "interrupted; no run is finished" in caplog.text
    assert files(tmp_path / "units", "*") == []


@pytest.mark.parametrize("when", ["while", "after"])
def test_a_signal_at_another_moment_loses_nothing_too(tmp_path, monkeypatch, caplog, when):
    folder = RunFolder(tmp_path)

    def stop(*_):
        signal.raise_signal(signal.SIGTERM)

    def session():
        with folder.session():
            unit(folder, {"n": 0}, lambda: 1)
            if when == "after":
                stop()
            unit(folder, {"n": 1}, lambda: monkeypatch.setattr(os, "fsync", stop))

    with pytest.raises(Stopped):
        session()
    assert len(files(tmp_path / "units", "*")) == 1
    assert f"interrupted; 1 finished run is kept in {tmp_path}" in caplog.text
    assert files(tmp_path, "*.part") == []


def test_a_signal_whose_exception_is_swallowed_stops_at_the_next_unit(tmp_path):
    folder = RunFolder(tmp_path)

    def swallows():
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        return 1

    def session():
        with folder.session():
            for n in range(3):
                unit(folder, {"n": n}, swallows)

    with pytest.raises(Stopped):
        session()
    assert len(files(tmp_path / "units", "*")) == 1


class Raising:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_in_a_destructor_stops_at_the_end_and_is_not_shown(tmp_path, capsys):
    hook = sys.unraisablehook

    def session():
        with RunFolder(tmp_path).session():
            Raising()

    with pytest.raises(Stopped):
        session()
    assert capsys.readouterr().err == ""
    assert sys.unraisablehook is hook
    assert status(tmp_path) == "interrupted"


def test_a_signal_that_has_a_handler_keeps_it(tmp_path):
    met = []
    before = signal.signal(signal.SIGTERM, lambda *_: met.append(1))
    try:
        with RunFolder(tmp_path).session():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert met == [1]
    assert status(tmp_path) == "complete"


def test_a_session_may_run_in_any_thread(tmp_path):
    folder = RunFolder(tmp_path)

    def run():
        with folder.session():
            unit(folder, {"n": 0}, lambda: 1)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert status(tmp_path) == "complete"
