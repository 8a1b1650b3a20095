"""Build dist/: the sdist from this checkout, and the wheel from the sdist, as an installer would.

    python scripts/make_dist.py [FOLDER]

Needs setuptools, the build backend, and nothing from outside.
"""

import os
import sys
import tarfile
import tempfile
from pathlib import Path

from setuptools import build_meta

ROOT = Path(__file__).parents[1]
SOURCES = ("src", "pyproject.toml", "README.md", "LICENSE")


def build(folder: Path) -> tuple[Path, Path]:
    """Build both into a folder; return their paths. The checkout is left as it is."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        copy, unpacked = Path(place) / "copy", Path(place) / "unpacked"
        copy.mkdir()
        for path in tracked():
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        os.chdir(copy)  # the backend builds what is in the working directory
        sdist = folder / build_meta.build_sdist(str(folder))
        with tarfile.open(sdist) as archive:
            archive.extractall(
                unpacked, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
            )
        (source,) = unpacked.iterdir()
        os.chdir(source)
        wheel = folder / build_meta.build_wheel(str(folder))
        os.chdir(ROOT)
    return sdist, wheel


def tracked() -> list[Path]:
    """Return the files to build from: no caches, and no metadata of an editable installation."""
    files = [file for name in SOURCES for file in [ROOT / name, *(ROOT / name).rglob("*")]]
    left_out = {"__pycache__", "ravine.egg-info"}
    return [file for file in files if file.is_file() and not left_out & {*file.parts}]


if __name__ == "__main__":
    os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")  # the same files give the same wheel
    for made in build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"):
        print(f"{made.name}: {made.stat().st_size / 1e6:.1f} MB")
