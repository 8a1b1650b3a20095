"""Fashion-MNIST: grey pictures of clothes in ten classes (Zalando Research, MIT licence)."""

import gzip
import hashlib
import lzma
import math
import os
import zlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ravine import data

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""The names of labels 0 to 9."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's and Ubuntu's package dataset-fashion-mnist puts the whole set."""


_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")


def fashion_mnist(
    full: bool | str | os.PathLike[str] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return training images, uint8 of shape (n, 28, 28), and labels, uint8 of shape (n,).

    By default these are the 9,408 images that come with Ravine: 147 batches of 64, 940 or 941 of
    each class, the first of each class in the original training set, in its order
    (scripts/make_fashion_mnist.py). ``full=True`` reads all 60,000 from the folder of the Debian
    package dataset-fashion-mnist. ``full=path`` reads a folder of your own: one with
    ``train-images-idx3-ubyte.gz`` and ``train-labels-idx1-ubyte.gz``, as all sets in MNIST's format
    have, or one with a folder of pictures for each class, which are made grey and 28 x 28.

    Raises FileNotFoundError if the requested set does not exist, ValueError if a file does not contain
    what its name says, and ImportError if reading pictures requires Pillow and it is not installed.

    Source: Xiao, Rasul & Vollgraf, 2017, arXiv:1708.07747; the licence is next to this module.
    """
    if full is None or full is False:
        return _embedded()
    if full is not True and (classes := _classes(full)):
        return _pictures(classes)
    images, labels = _whole(full)
    return _idx(images, dimensions=3), _idx(labels, dimensions=1)


@cache
def digest(full: bool | str | os.PathLike[str] | None = None) -> str:
    """Return the digest of the files that ``fashion_mnist(full)`` reads.

    Raises FileNotFoundError when the whole set is asked for and is not there.
    """
    if full is None or full is False:
        return data.digest("fashion_mnist.xz")
    if full is not True and (classes := _classes(full)):
        found = _pictures(classes)
        return hashlib.sha256(b"".join(x.tobytes() for x in found)).hexdigest()[:32]
    return hashlib.sha256(b"".join(map(_read, _whole(full)))).hexdigest()[:32]


def _whole(full: Literal[True] | str | os.PathLike[str]) -> tuple[Path, Path]:
    """The files of the whole set: images and labels."""
    folder = DEBIAN_FOLDER if full is True else Path(full)
    images, labels = _FILES
    return folder / images, folder / labels


_KINDS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def _classes(folder: str | os.PathLike[str]) -> list[list[Path]]:
    """The pictures of each class, where the folder has one for each; in the order of their names."""
    inside = sorted(path for path in Path(folder).glob("*") if path.is_dir())
    found = ([p for p in sorted(path.iterdir()) if p.suffix.lower() in _KINDS] for path in inside)
    return [pictures for pictures in found if pictures]


def _pictures(classes: list[list[Path]]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    from PIL import Image

    if len(classes) > 256:
        raise ValueError(
            f"{classes[0][0].parent.parent} has {len(classes)} classes; at most 256 are supported"
        )
    made = []
    for path in (path for pictures in classes for path in pictures):
        try:
            with Image.open(path) as picture:
                made.append(np.asarray(picture.convert("L").resize((28, 28))))
        except OSError as error:
            raise ValueError(f"{path} cannot be read as an image ({error})") from None
    labels = np.repeat(np.arange(len(classes)), [len(pictures) for pictures in classes])
    return np.stack(made), labels.astype(np.uint8)


def _embedded() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    raw = lzma.decompress(files("ravine.data").joinpath("fashion_mnist.xz").read_bytes())
    content = np.frombuffer(raw, np.uint8)
    n = len(content) // (1 + 28 * 28)
    images = content[n:].reshape(n, 28, 28).transpose(0, 2, 1)  # stored column by column
    return images.copy(), content[:n].copy()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if path.parent != DEBIAN_FOLDER:
            raise FileNotFoundError(
                f"no images in {str(path.parent)!r} ({path.name} does not exist); name a folder with a "
                f"folder of images for each class, or one in MNIST's format, with {' and '.join(_FILES)}"
            ) from None
        raise FileNotFoundError(
            f"full: the complete Fashion-MNIST was not found ({path} does not exist); install Debian's "
            "package dataset-fashion-mnist, give a folder that holds its files, or leave full out for the "
            "subset that comes with Ravine"
        ) from None


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: zero, zero, 8, dimensions, the sizes, the data."""
    try:
        raw = gzip.decompress(_read(path))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"full: {path} is not a complete gzip file ({error})") from None
    start = 4 + 4 * dimensions
    shape = [int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4)]
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) != start + math.prod(shape):
        raise ValueError(
            f"full: {path} is not a complete IDX file of bytes in {dimensions} dimensions"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()
