"""sdist and wheel: built, installed in a fresh environment, and complete."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77", reason="setuptools builds the package")
pytest.importorskip("pip", reason="pip installs it")
ROOT = Path(__file__).parents[1]

INSTALLED = """
import sys
import ravine, ravine.data
from ravine.experiments.quotations import quotations
from ravine.explorer import build
from ravine.data.fashion_mnist import fashion_mnist

print(ravine.__file__)
assert sys.prefix in ravine.__file__, "another ravine was imported"
assert len(ravine.data.diamonds()["price"]) == 53940
assert len(fashion_mnist()[0])
assert len(quotations()) > 10
assert "<html" in build("adam")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The two files: built in a separate process, since the backend changes the working directory."""
    folder = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "scripts/make_dist.py", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def test_the_files_have_all_of_the_package_and_nothing_else(built):
    sdist, wheel = built
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src/ravine").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == sources
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in sources} <= names
    assert {"README.md", "LICENSE", "pyproject.toml"} <= names


def test_the_wheel_works_in_a_fresh_environment(built, tmp_path):
    """Dependencies are those of this environment, so that nothing is downloaded."""
    _, wheel = built
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"

    def run(*words):
        done = subprocess.run(
            [str(word) for word in words], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    home = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A path in a .pth file is searched last, and editable installations there are not followed.
    Path(home, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(python, "-I", "-c", INSTALLED)
    command = python.with_name("ravine.exe" if sys.platform == "win32" else "ravine")
    assert "adam" in run(command, "list")
    assert "beta1" in run(command, "show", "adam")
