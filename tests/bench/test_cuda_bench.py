"""The benchmark on a GPU, with a meter that needs none."""

import json
import sys
import time
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import gpu
import pytest
import torch
from typer.testing import CliRunner

from ravine import registry, rules
from ravine.bench import contenders, cuda, cuda_stacks
from ravine.cli import bench_tables
from ravine.cli.app import app
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

    def graphed(self, step):
        for _ in range(4):
            step()
        return step


@pytest.fixture(scope="module")
def rows():
    return list(cuda.run(["mlp"], ["adam", "lion"], 0.0, meter=Fake()))


def test_a_row_for_each_contender(rows):
    adam = {r["engine"]: r for r in rows if r["rule"] == "adam"}
    adam = {e: r for e, r in adam.items() if "skipped" not in r}
    engines = {"Ravine", "eager", "torch loop", "foreach", "fused", "torch graph"}
    assert {*adam} - {"Ravine graph"} == engines
    for r in adam.values():
        assert r["shapes"] == "mlp"
        assert r["device"] == "a GPU"
        assert r["launches"] == 3
        assert r["turns"] >= 5
        assert r["host_us"] == pytest.approx(r["us"] / 2, rel=1)
    assert adam["Ravine"]["ran"] == "kernel"
    assert adam["fused"]["ran"] == "fused"
    fastest = min(adam[e]["us"] for e in ("torch loop", "foreach", "fused"))
    for name in ("Ravine", "eager", "torch loop", "foreach", "fused"):
        r = adam[name]
        assert r["against_torch"] == pytest.approx(fastest / r["us"])
        assert 0 < r["against_torch_low"] < 2 * r["against_torch"]
    # p, g, m and v are read, and three of them written
    numbers = 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
    moved = adam["Ravine"]["gb_per_s"] * adam["Ravine"]["us"] * 1e3
    assert moved == pytest.approx(7 * 4 * numbers)


def test_what_torch_lacks_has_no_ratio(rows):
    [ravine, eager, *_] = [r for r in rows if r["rule"] == "lion"]
    assert (ravine["engine"], eager["engine"]) == ("Ravine", "eager")
    assert ravine["against_torch"] is None
    assert ravine["of_roof"] > 0


def test_the_order_of_turns_is_random():
    meter, first, second = Fake(), lambda: None, lambda: None
    cuda._turns({"a": first, "b": second}, {}, 0.0, meter)
    rounds = [tuple(meter.turns[i : i + 2]) for i in range(6, len(meter.turns), 2)]
    assert {*rounds} == {(first, second), (second, first)}


def test_the_table(rows, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    bench_tables.PRINTERS["cuda"](rows)
    text = capsys.readouterr().out
    assert "on a GPU" in text
    assert "Ravine: kernel" in text


def test_a_turn_launches_no_more_than_the_queue_holds():
    meter = Fake()
    cuda._turns({"many": lambda: None, "one": lambda: None}, {"many": 250, "one": 1}, 0.0, meter)
    repeats = []
    meter.turn = lambda step, repeat: repeats.append(repeat) or (1e-6, 1e-6)
    cuda._turns({"many": meter}, {"many": 250}, 0.0, meter)
    assert {*repeats[3:]} == {2}


def test_graphs_are_compared_with_graphs():
    rows = {r["engine"]: r for r in cuda.run(["mlp"], ["adam"], 0.0, meter=Fake())}
    graph = rows["torch graph"]
    assert graph["against_torch"] == graph["against_torch_low"] == 1
    ravine = rows["Ravine graph"]
    if "skipped" not in ravine:
        assert ravine["against_torch"] == pytest.approx(graph["us"] / ravine["us"])
    assert rows["Ravine"]["against_torch"] != pytest.approx(graph["us"] / rows["Ravine"]["us"])


def test_apex_takes_part_where_it_is_installed(monkeypatch):
    optimizers = ModuleType("apex.optimizers")
    seen = []

    def fused(params, adam_w_mode):
        seen.append(adam_w_mode)
        return torch.optim.AdamW(params)

    optimizers.FusedAdam = fused
    apex = ModuleType("apex")
    apex.__spec__ = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "apex", apex)
    monkeypatch.setitem(sys.modules, "apex.optimizers", optimizers)
    rows = list(cuda.run(["scalars"], ["adam", "adamw", "sgd"], 0.0, meter=Fake()))
    found = [r for r in rows if r["engine"] == "apex"]
    assert [r["rule"] for r in found] == ["adam", "adamw"]
    assert seen == [False, True]
    assert all(r["against_torch"] > 0 for r in found)


def test_what_fails_is_skipped_with_its_reason():
    def out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried much")

    def silent():
        raise AssertionError

    steps, skipped = cuda.made({"a": out_of_memory, "b": silent, "c": lambda: lambda: None})
    assert [*steps] == ["c"]
    assert skipped == {"a": "CUDA out of memory.", "b": "AssertionError"}


def test_launches_that_cannot_be_counted():
    class Blind(Fake):
        def launches(self, step):
            raise RuntimeError("no right to profile")

    [row] = cuda.measured({"a": lambda: None}, {}, {}, 0.0, Blind()).values()
    assert row["launches"] is None
    assert row["against_torch"] is row["of_roof"] is None


def test_bytes_of_state_in_8_bits():
    params = [torch.empty(n) for n in (10, 5000)]
    # p and g are read and p is written; m and v are read and written, where large in codes with their scales
    state = 2 * 2 * (10 * 4 + 20 * 260)
    assert cuda.moved(rules.adam, params, True) == 3 * 4 * 5010 + state
    halves = [p.bfloat16() for p in params]
    assert cuda.moved(rules.adam, halves, True) == 3 * 2 * 5010 + state
    assert cuda.moved(rules.adam, halves) == 7 * 2 * 5010
    assert cuda.moved(registry.get("muon"), params) == 0


def test_stacks_are_compared_with_torchs_fused_adam():
    rows = {r["stack"]: r for r in cuda_stacks.run(["mlp"], 0.0, meter=Fake())}
    fused, clipped = (rows[n] for n in ("torch: fused", "torch: clip_grad_norm_, fused"))
    for name, its in rows.items():
        assert its["turns"] >= 5
        if name.startswith("torch"):
            assert its["torch"] is its["against_torch"] is its["gb_per_s"] is None
            continue
        baseline = clipped if name.startswith("clip") else fused
        assert its["against_torch"] == pytest.approx(baseline["us"] / its["us"])
        assert its["gb_per_s"] > 0
    narrow, wide = (rows[n]["gb_per_s"] * rows[n]["us"] for n in ("adam, 8-bit state", "adam"))
    assert 16 / 28 < narrow / wide < 0.6
    assert "8-bit state: m, v" in rows["adam, 8-bit state"]["ran"]


class Event:
    """One of CUDA's, on the CPU's clock."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 1e3 * (other.at - self.at)


class Graph:
    """It replays what the test says was captured."""

    def replay(self):
        pass


@pytest.fixture
def device(monkeypatch):
    """A GPU, as far as the benchmark knows: tensors are the CPU's, and a stand-in runs the passes."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    fake = SimpleNamespace(
        is_available=lambda: True,
        current_device=lambda: 0,
        get_device_name=lambda device: "a GPU",
        Event=Event,
        synchronize=lambda: None,
        Stream=lambda: stream,
        current_stream=lambda: stream,
        stream=lambda stream: nullcontext(),
        CUDAGraph=Graph,
        graph=lambda graph: nullcontext(),
    )

    class Torch:
        cuda = fake

        def __getattr__(self, name):
            return getattr(torch, name)

        def device(self, *given):
            return torch.device("cpu")

    monkeypatch.setattr(cuda, "torch", Torch())
    monkeypatch.setattr(cuda, "_CACHE", 2**10)
    monkeypatch.setattr(contenders, "shapes", lambda name: [(70, 70), (9,)])
    with gpu.stand_in(gpu.Gpu(threads=64)):
        yield


@pytest.mark.filterwarnings("ignore:CUDA is not available")  # from the profiler
def test_the_whole_command(device, tmp_path):
    file = tmp_path / "rows.json"
    command = "bench step --device cuda --rules adam,lion,muon --shapes mlp,gpt2 --seconds 0 --out"
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*command.split(), str(file)])
    assert done.exit_code == 0, done.output
    for text in (
        "One step on mlp, float32, on a GPU",
        "One step of Adam on gpt2, on a GPU",
        "Ravine: kernel (PTX on cuda:0)",
        "kernel (PTX on cuda:0); 8-bit state: m, v",
        "torch: clip_grad_norm_, fused",
        "torch graph",
    ):
        assert text in done.output
    tables = json.loads(file.read_text())
    found = {(r["rule"], r["shapes"]) for r in tables["cuda"] if "skipped" not in r}
    muon = {("muon", "mlp")} if hasattr(torch.optim, "Muon") else set()
    assert {("adam", "mlp"), ("lion", "gpt2"), *muon} <= found
    stacks = [r for r in tables["cuda_stacks"] if r["torch"]]
    assert len(stacks) == 10
    assert all(r["against_torch"] > 0 and r["host_against_torch"] > 0 for r in stacks)
    assert all("PTX" in r["ran"] for r in stacks)


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
