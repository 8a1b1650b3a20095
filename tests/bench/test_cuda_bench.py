"""The benchmark on a GPU, with a meter that needs none."""

import time

import pytest
import torch

from ravine.bench import cuda
from ravine.cli import bench_tables
from ravine.cli.bench import bench_step


class Fake:
    """The CPU's clock, in the place of a GPU's."""

    name, device = "a GPU", torch.device("cpu")

    def __init__(self):
        self.turns = []

    def turn(self, step, repeat):
        start = time.perf_counter()
        for _ in range(repeat):
            step()
        seconds = (time.perf_counter() - start) / repeat
        self.turns.append(step)
        return seconds, seconds / 2

    def launches(self, step):
        step()
        return 3


@pytest.fixture(scope="module")
def rows():
    return list(cuda.run(["mlp"], ["adam", "lion"], 0.0, meter=Fake()))


def test_a_row_for_each_contender(rows):
    adam = {r["engine"]: r for r in rows if r["rule"] == "adam"}
    assert {*adam} == {"Ravine", "eager", "torch loop", "foreach", "fused"}
    for r in adam.values():
        assert r["shapes"] == "mlp"
        assert r["device"] == "a GPU"
        assert r["launches"] == 3
        assert r["turns"] >= 5
        assert r["host_us"] == pytest.approx(r["us"] / 2, rel=1)
    assert adam["Ravine"]["ran"] == "kernel"
    assert adam["fused"]["ran"] == "fused"
    fastest = min(adam[e]["us"] for e in ("torch loop", "foreach", "fused"))
    for r in adam.values():
        assert r["against_torch"] == pytest.approx(fastest / r["us"])
    # p, g, m and v are read, and three of them written
    numbers = 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
    moved = adam["Ravine"]["gb_per_s"] * adam["Ravine"]["us"] * 1e3
    assert moved == pytest.approx(7 * 4 * numbers)


def test_what_torch_lacks_has_no_ratio(rows):
    [ravine, eager] = [r for r in rows if r["rule"] == "lion"]
    assert (ravine["engine"], eager["engine"]) == ("Ravine", "eager")
    assert ravine["against_torch"] is None
    assert ravine["of_roof"] > 0


def test_the_order_of_turns_is_random():
    meter, first, second = Fake(), lambda: None, lambda: None
    cuda._turns({"a": first, "b": second}, 0.0, meter)
    rounds = [tuple(meter.turns[i : i + 2]) for i in range(6, len(meter.turns), 2)]
    assert {*rounds} == {(first, second), (second, first)}


def test_the_table(rows, capsys):
    bench_tables.PRINTERS["cuda"](rows)
    text = capsys.readouterr().out
    assert "on a GPU" in text
    assert "Ravine: kernel" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_refuses():
    with pytest.raises(ValueError, match="--device cuda needs an NVIDIA GPU that torch can use"):
        bench_step(device="cuda")
    with pytest.raises(RuntimeError, match="--device cuda needs an NVIDIA GPU"):
        cuda.Gpu()


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="--device 'tpu' is invalid; it must be cpu or cuda"):
        bench_step(device="tpu")
    with pytest.raises(ValueError, match="--all-engines does nothing with --device cuda"):
        bench_step(device="cuda", all_engines=True)
