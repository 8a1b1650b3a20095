"""Output whose reader leaves, whose disk is full, or whose encoding lacks θ: each in a separate process."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ravine
from ravine.cli.streams import spelt

COMMAND = [sys.executable, "-m", "ravine"]
SOURCE = Path(ravine.__file__).parent


def start(*words, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([*COMMAND, *map(str, words)], **options)


def run(*words, timeout=120, **variables):
    environment = {**os.environ, **variables}
    command = [*COMMAND, *map(str, words)]
    return subprocess.run(command, capture_output=True, env=environment, timeout=timeout)


def left_after(count, *words):
    """The command, its reader gone after so many lines: lines, standard error, status."""
    with start(*words) as process:
        lines = [process.stdout.readline() for _ in range(count)]
        process.stdout.close()
        errors = process.stderr.read()
        return lines, errors, process.wait(timeout=120)


@pytest.mark.parametrize(
    "words",
    [
        ("show", "adam"),
        ("show", "muon", "--latex"),
        ("show", "adam", "--kernel"),
        ("show", "adam", "--llvm"),
        ("show", "adam", "--asm"),
        ("list", "--json"),
        ("--help",),
    ],
)
@pytest.mark.parametrize("count", [0, 1])
def test_a_reader_may_leave(words, count):
    lines, errors, status = left_after(count, *words)
    assert (len(lines), errors, status) == (count, "", 0)


def test_a_reader_may_leave_a_lot_of_output():
    """More than fits a pipe: the write itself fails, not only the last flush."""
    words = ("show", "adam", "--csv", "--worked", 3000, "--gradients", "0.1")
    lines, errors, status = left_after(3, *words)
    assert lines[0].startswith("t,g,m,v")
    assert (errors, status) == ("", 0)


def test_a_race_goes_on_without_its_reader(tmp_path):
    words = ("--optimizers", "sgd", "--epochs", 2, "--seeds", 1, "--out", tmp_path / "run")
    _, errors, status = left_after(1, "race", "diamonds", *words)
    assert status == 0
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "run/manifest.json").read_text())["status"] == "complete"


def test_the_reader_of_the_errors_may_leave():
    with start("show", "nowhere") as process:
        process.stderr.close()
        assert process.wait(timeout=120) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
@pytest.mark.parametrize("words", [("show", "adam"), ("list", "--json"), ("show", "adam", "--csv")])
def test_a_full_disk_is_said(words):
    with open("/dev/full", "w") as full, start(*words, stdout=full) as process:
        errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert errors == "ravine: the output cannot be written: No space left on device\n"


def test_streams_that_are_closed():
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m ravine show adam >&- 2>&-'],
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize(
    "words",
    [
        ("show", "adam"),
        ("show", "nadam", "--worked", "3"),
        ("list",),
        ("show", "--help"),
        ("race", "diamonds", "--help"),
    ],
)
def test_any_encoding_will_do(words, encoding):
    done = run(*words, PYTHONIOENCODING=encoding, COLUMNS="60")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding)


def test_an_error_in_any_encoding():
    done = run("show", "θ—√", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert b"no rule is called 'theta-sqrt '" in done.stderr


@pytest.mark.parametrize("columns", ["20", "x"])
def test_a_race_prints_in_ascii_and_in_any_width(tmp_path, columns):
    words = ("--optimizers", "adam", "--epochs", 2, "--seeds", 1, "--out", tmp_path / "run")
    done = run("race", "diamonds", *words, PYTHONIOENCODING="ascii", COLUMNS=columns, LC_ALL="C")
    text = done.stdout.decode("ascii")
    assert done.returncode == 0
    assert "us/step" in text
    (row,) = json.loads((tmp_path / "run/diamonds-exercise.json").read_text())
    assert f"{row['rmse_median']:.2f}" in text.split()
    for line in json.loads((tmp_path / "run/diamonds-floor.json").read_text()):
        assert {f"{line['m']:.7g}", f"{line['test_rmse']:.4f}"} <= {*text.split()}


def test_whatever_is_printed_has_a_spelling():
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    odd = {c: spelt(c) for c in {*text} if not c.isascii() and spelt(c) in ("?", "")}
    # Combining accents, and pieces of tall brackets and roots, which plain equations do without.
    assert {*odd} <= {*re.findall(r"[\u0300-\u036f⎛-⎱⎧-⎮⁰-₟]", "".join(odd))}, odd
    spellings = " ".join(map(spelt, "θηεÅé²₁—×µ≤⌊⌋"))
    assert spellings == "theta eta epsilon A e 2 1 - x u <= floor( )"


def test_in_a_stream_that_is_not_a_file(monkeypatch):
    """As in a notebook, or under a test: nothing is reconfigured, nothing closed."""
    from ravine.cli import streams

    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    with streams.streams():
        print("θ")
    assert sys.stdout is stdout
    assert stdout.getvalue() == "θ\n"
