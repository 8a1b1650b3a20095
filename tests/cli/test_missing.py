"""Without matplotlib, Numba, torch or llvmlite: said before anything is computed, or done without."""

import json
import os
import subprocess
import sys

import pytest

EXERCISE = ("race", "diamonds", "--optimizers", "adam", "--epochs", "2", "--seeds", "1")


@pytest.fixture
def without(tmp_path):
    """Run the command in a process where packages cannot be imported: without(packages, *words)."""

    def run(
        packages,
        *words,
        error="ModuleNotFoundError(f'No module named {__name__!r}', name=__name__)",
    ):
        for package in packages.split():
            (tmp_path / "blocked" / package).mkdir(parents=True)
            (tmp_path / "blocked" / package / "__init__.py").write_text(f"raise {error}\n")
        path = os.pathsep.join([str(tmp_path / "blocked"), *sys.path])
        return subprocess.run(
            [sys.executable, "-m", "ravine", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
        )

    return run


BRINGS = "is not installed; pip install '.[{}]' in the folder of Ravine's source brings it"


def test_without_matplotlib_a_race_has_its_tables(without, tmp_path):
    done = without("matplotlib", *EXERCISE, "--out", "run")
    assert done.returncode == 0, done.stderr
    said = (
        f"ravine: matplotlib {BRINGS.format('race')}; without it, there are tables but no figures"
    )
    assert done.stderr.splitlines()[0] == said
    assert "Diamonds with your settings" in done.stdout
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert "diamonds-exercise.csv" in made
    assert not {name for name in made if name.endswith((".png", ".svg"))}
    assert json.loads((tmp_path / "run/manifest.json").read_text())["status"] == "complete"


def test_without_matplotlib_every_race_ends(without, tmp_path):
    done = without("matplotlib", "race", "conditioning", "--quick", "--seeds", "1", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "Does adapting to each coordinate help" in done.stdout


def test_without_numba_the_plain_loop_runs_and_it_is_said_once(without, tmp_path):
    done = without("numba", *EXERCISE, "--out", "run")
    assert done.returncode == 0, done.stderr
    brings = BRINGS.format("race")
    said = f"ravine: numba {brings}; without it, the plain NumPy loop runs instead, about 50 times slower"
    assert done.stderr.splitlines()[0] == said
    assert done.stderr.count("numba") == 1
    assert "1570." in done.stdout or "1569." in done.stdout


@pytest.mark.parametrize(
    ("packages", "extra", "words"),
    [
        ("torch", "torch", ("race", "--out", "run")),
        ("torch", "torch", ("race", "figure-1", "--out", "run")),
        ("torch", "torch", ("bench", "step")),
        ("torch", "torch", ("bench", "stacks")),
        ("torch", "torch", ("bench", "memory")),
        ("numba", "race", ("bench", "diamonds")),
        pytest.param(
            "matplotlib", "race", ("bench", "step", "--figure", "x.png"), marks=pytest.mark.torch
        ),
        ("llvmlite", "torch", ("show", "adam", "--llvm")),
        pytest.param("llvmlite", "torch", ("bench", "stacks"), marks=pytest.mark.torch),
    ],
)
def test_what_cannot_be_done_without_is_said_first(without, tmp_path, packages, extra, words):
    done = without(packages, *words)
    assert done.returncode == 1
    assert f"ravine: {packages} {BRINGS.format(extra)}" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"blocked"}


IN_PYTHON = {
    "torch": "import ravine.torch",
    "llvmlite": """
import numpy as np, ravine.numpy as rn
w = np.zeros(2)
optimizer = rn.Adam(w)
optimizer.step(np.ones(2))
assert w[0]
print(optimizer.engine)
rn.Adam(w, engine="kernel")""",
}


@pytest.mark.parametrize("package", IN_PYTHON)
def test_python_says_what_brings_it_too(tmp_path, package):
    (tmp_path / package).mkdir()
    error = f"ModuleNotFoundError('No module named {package}', name={package!r})"
    (tmp_path / package / "__init__.py").write_text(f"raise {error}\n")
    done = subprocess.run(
        [sys.executable, "-c", IN_PYTHON[package]],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    said = f"{package} {BRINGS.format('torch')}"
    assert done.stderr.splitlines()[-1].endswith(f": {said}")
    assert done.stdout == {"torch": "", "llvmlite": f"eager: {said}\n"}[package]


def test_what_is_installed_and_fails_says_why(without):
    done = without(
        "numba", "bench", "diamonds", error="ImportError('Numba needs NumPy 2.3 or less')"
    )
    assert done.returncode == 1
    assert done.stderr == "ravine: numba cannot be imported (Numba needs NumPy 2.3 or less)\n"
