"""The benchmark of the race diamonds."""

import pytest

from ravine.bench.diamonds import run


def test_the_compiled_loop_is_faster_and_agrees():
    rows = run(epochs_fast=60, epochs_plain=4, repeats=3)
    assert [row["method"] for row in rows] == ["SGD", "SGD with momentum", "RMSprop", "Adam"]
    for row in rows:
        assert row["digits"] >= 13
        assert row["ratio"] > 5  # it is ten times that on a quiet machine
        assert row["plain_us"] > row["fast_us"] > 1
        assert row["compile_seconds"] >= 0


@pytest.mark.parametrize("name", ["epochs_fast", "epochs_plain", "repeats"])
def test_bad_input(name):
    with pytest.raises(ValueError, match=f"{name}=0 is invalid"):
        run(**{name: 0})
