"""The benchmark of memory: what its processes measure, and what is made of it."""

import pytest
import torch

from ravine.bench import memory

linux = pytest.mark.skipif(not memory._CLEAR.exists(), reason="Linux alone tells a process's peak")


@linux
def test_the_rows(monkeypatch):
    peaks = {"ravine": 9e6, "ravine: in backward": 5e6}
    monkeypatch.setattr(
        memory,
        "_in_a_process",
        lambda name, *_: {"peak_bytes": peaks.get(name, 8e6), "taken": [0.5, 0.25]},
    )
    rows = {r["contender"]: r for r in memory.run(2, 1000, 1, rounds=3)}
    assert list(rows) == list(memory.CONTENDERS)
    row = rows["ravine: in backward"]
    assert row["gradient_bytes"] == 4 * 2 * 1001000
    assert row["gradients_saved"] == pytest.approx(4e6 / row["gradient_bytes"])
    assert (
        rows["ravine"]["gradients_saved"] == rows["torch: fused, in hooks"]["gradients_saved"] == 0
    )
    assert (row["us"], row["turns"], row["peaks"]) == (375000.0, 6, [5e6] * 3)


@linux
def test_a_process_measures_what_training_takes():
    """Weights, gradients and two moments at the least; and steps in backward take less."""
    results = {
        name: memory._in_a_process(name, 8, 512, 4, 0.0)
        for name in ("ravine", "ravine: in backward")
    }
    weights = 4 * 8 * 513 * 512
    for result in results.values():
        assert 3 * weights < result["peak_bytes"] < 6 * weights
        assert len(result["taken"]) >= 2
    ordinary, early = (r["peak_bytes"] for r in results.values())
    assert early < ordinary - 0.4 * weights


def test_all_contenders_train_alike():
    trained = []
    for make in memory.CONTENDERS.values():
        step = memory._training(
            lambda model, make=make: trained.append(model) or make(model), 2, 8, 3
        )
        for _ in range(3):
            step()
    first, *others = (torch.nn.utils.parameters_to_vector(m.parameters()) for m in trained)
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-5, atol=1e-7)


@linux
def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="KeyError: 'adam'"):
        memory._in_a_process("adam", 1, 1, 1, 0.0)


def test_elsewhere_it_says_that_only_linux_tells(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "none")
    with pytest.raises(OSError, match="which only Linux has"):
        next(memory.run())
