import gzip
import hashlib
import struct

import numpy as np
import pytest

from ravine.data.fashion_mnist import DEBIAN_FOLDER, fashion_mnist


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """A whole set of three images, in the files' format."""
    images = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    for name, array in (
        ("train-images-idx3-ubyte", images),
        ("train-labels-idx1-ubyte", np.array([7, 0, 9], np.uint8)),
    ):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return tmp_path


def test_embedded_subset_is_what_was_packed():
    images, labels = fashion_mnist()
    assert images.shape == (147 * 64, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels).tolist() == [941] * 8 + [940] * 2
    assert [hashlib.sha256(a.tobytes()).hexdigest() for a in (images, labels)] == [
        "1a382ac531c527ff8899b5eebf44d6fb0004f73fe9f713d8e2b716249ff30ea7",
        "aed89ed0c2d714b90851cb37fd60729ecbc72e9906b4abcfa513a385d4ce0412",
    ]


def test_each_call_returns_arrays_of_its_own():
    images, labels = fashion_mnist()
    images[:], labels[:] = 0, 0
    again = fashion_mnist()
    assert again[0].any()
    assert again[1].any()


@pytest.mark.skipif(not DEBIAN_FOLDER.exists(), reason="dataset-fashion-mnist is not installed")
def test_subset_is_the_first_of_each_class_of_the_whole_set():
    images, labels = fashion_mnist()
    whole, whole_labels = fashion_mnist(full=True)
    assert whole.shape == (60_000, 28, 28)
    chosen = [i for c in range(10) for i in np.flatnonzero(whole_labels == c)[: 940 + (c < 8)]]
    np.testing.assert_array_equal(images, whole[np.sort(chosen)])
    np.testing.assert_array_equal(labels, whole_labels[np.sort(chosen)])


def test_whole_set_is_read_from_a_given_folder(folder):
    for path in (folder, str(folder)):
        images, labels = fashion_mnist(full=path)
        assert images.ravel().tolist() == [i % 256 for i in range(3 * 28 * 28)]
        assert labels.tolist() == [7, 0, 9]


def test_an_absent_folder_is_named_and_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*name a folder.*idx1-ubyte\.gz$"):
        fashion_mnist(full=tmp_path / "nowhere")
    monkeypatch.setattr("ravine.data.fashion_mnist.DEBIAN_FOLDER", tmp_path / "debian")
    with pytest.raises(FileNotFoundError, match=r"full: .*debian.*install .*dataset-fashion-mnist"):
        fashion_mnist(full=True)


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b"")[:10] + bytes([255] * 20),
        gzip.compress(b"no idx"),
        gzip.compress(idx(np.zeros((3, 28, 28), np.uint8)))[:-20],
        gzip.compress(idx(np.zeros((3, 28, 28), np.uint8))[:-20]),
        gzip.compress(idx(np.zeros(3, np.uint8))),
        gzip.compress(b"PK" + idx(np.zeros((3, 28, 28), np.uint8))[2:]),
    ],
    ids=[
        "not gzip",
        "gzip damaged",
        "not IDX",
        "gzip cut off",
        "IDX cut off",
        "other dimensions",
        "other magic",
    ],
)
def test_a_file_that_is_something_else_is_refused(folder, content):
    (folder / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"full: .*train-images-idx3-ubyte.gz is not a complete"):
        fashion_mnist(full=folder)
