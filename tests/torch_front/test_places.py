"""The front on a stand-in for a GPU: tensors are the CPU's, and a driver runs the passes here."""

from types import SimpleNamespace

import gpu
import pytest
import torch
from processes import together

import ravine.torch
from ravine.engines import devices
from ravine.torch import members, places, stepping
from ravine.torch.memory import no_memory
from ravine.torch.state import count_tensor

CUDA = devices.Place("cuda", 0)


@pytest.fixture
def driver():
    """Tensors are on a GPU, as far as the front knows."""
    driver = gpu.Gpu(threads=64)
    with gpu.stand_in(driver):
        yield driver


def train(kind, steps=5, sizes=((40, 60), (), (3, 7)), dtype=None, **how):
    return gpu.train(kind, sizes, steps, dtype, **how)


CASES = [
    (ravine.torch.AdamW, {}),
    (ravine.torch.NAdam, {}),
    (ravine.torch.SGD, {"momentum": 0.9, "lr": 0.1}),
    (ravine.torch.AdamW, {"dtype": torch.bfloat16, "stochastic_rounding": True}),
    (ravine.torch.AdamW, {"fused": True}),
]


@pytest.mark.parametrize(("kind", "how"), CASES)
def test_steps_have_the_bits_of_those_on_the_cpu(kind, how, driver):
    on_gpu, params = train(kind, **how)
    assert on_gpu.engine == "kernel (PTX on cuda:0)"
    launches = len(driver.launches)
    # Two are of the proof, the first time; with scalars on the device, each step has a first launch.
    assert launches in ((10, 14) if "fused" in how else (5, 7))
    state = on_gpu.state_dict()["state"]
    with pytest.MonkeyPatch.context() as patch:
        for module in (places, stepping):
            patch.setattr(module, "place", lambda _: None)
        on_cpu, same = train(kind, **how)
        assert on_cpu.engine == "kernel"
    assert len(driver.launches) == launches
    for p, q in zip(params, same, strict=True):
        assert torch.equal(p, q)
    for i, its in on_cpu.state_dict()["state"].items():
        for name, x in its.items():
            assert torch.equal(state[i][name], x)


def test_the_norm_of_the_gradients(driver):
    optimizer, params = train(ravine.torch.AdamW, grad_norm=True)
    want = torch.cat([p.grad.flatten() for p in params]).norm()
    torch.testing.assert_close(torch.tensor(optimizer.last_grad_norm), want.double().float())


def test_where_the_driver_is_missing_the_rule_is_called_and_the_engine_says_why(monkeypatch):
    for module in (places, stepping):
        monkeypatch.setattr(module, "place", lambda _: CUDA)
    monkeypatch.setattr(devices, "_engines", {})
    monkeypatch.setattr("ravine.engines.cuda._LIBRARY", "libcuda_that_is_not_there.so")
    monkeypatch.setattr("ravine.engines.cuda._drivers", [])
    optimizer, _ = train(ravine.torch.AdamW)
    assert optimizer.engine.startswith(
        "kernel; eager for 3 tensors (on cuda:0: CUDA's driver cannot be loaded"
    )
    with pytest.raises(ravine.RuleError, match="engine='kernel' is not possible for a parameter"):
        train(ravine.torch.AdamW, engine="kernel")


def test_parameters_of_several_devices_are_stepped_by_a_kernel_each():
    class Member:
        def __init__(self, device):
            self.p = torch.empty(2, device=device)

    class Graph:
        at_once = False

    its = [(Member("cpu"), ""), (Member("meta"), ""), (Member("cpu"), "why")]
    parts = [[(m.p.device.type, why) for m, why in part] for part in members._by_device(Graph, its)]
    assert parts == [[("cpu", ""), ("cpu", "why")], [("meta", "")]]
    Graph.at_once = True
    [part] = members._by_device(Graph, its)
    assert [why for _, why in part] == [members.SEVERAL, members.SEVERAL, "why"]


def test_counts_are_on_the_cpu_also_where_torch_has_them_on_the_device():
    p = torch.empty(3, device="meta")
    for options in ({"fused": True}, {}):
        count = count_tensor(None, 3, options, p)
        assert (count.device.type, count.item()) == ("cpu", 3)
    assert count_tensor(torch.empty((), device="meta"), 3, {}, p).item() == 3


def test_where_a_tensor_is_and_its_stream(monkeypatch):
    assert places.place(torch.device("cpu")) is None
    assert places.place(torch.device("meta")) is None
    second = places.place(torch.device("cuda:1"))
    assert str(second) == "cuda:1"
    asked = {1: 7}
    monkeypatch.setattr(
        torch.cuda, "current_stream", lambda index: SimpleNamespace(cuda_stream=asked[index])
    )
    assert second.stream() == 7


def test_all_of_a_parameter_is_to_be_on_one_device():
    assert no_memory(torch.empty(2), torch.device("cuda:0")) == "on cpu"
    assert no_memory(torch.empty(2, device="meta")) == "on meta"
    assert no_memory(torch.empty(2)) == ""


def test_sharded_parameters_on_gpus(tmp_path):
    """Each process steps its shards by its GPU's kernel; rules that use whole tensors are called."""
    together(tmp_path, sharded_on_gpus)


def sharded_on_gpus(rank):
    import torch.distributed as dist
    from torch.distributed.tensor import Shard, distribute_tensor

    over = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    clipped = ravine.torch.optimizer("clip_by_global_norm(adamw, max_norm=0.5)")
    for kind, engine in (
        (ravine.torch.AdamW, "kernel (PTX on cuda:0)"),
        (clipped, "kernel; eager for 2 tensors (on cuda:0: sharded)"),
    ):
        torch.manual_seed(0)
        whole = [torch.randn(7, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)]
        parts = [distribute_tensor(x, over, [Shard(0)]).requires_grad_() for x in whole]
        whole = [x.requires_grad_() for x in whole]
        optimizer, want = kind(parts, lr=0.1), kind(whole, lr=0.1)
        driver = gpu.Gpu(threads=64)
        for _ in range(3):
            for p, x in zip(parts, whole, strict=True):
                x.grad = torch.randn_like(x)
                p.grad = distribute_tensor(x.grad, over, [Shard(0)])
            want.step()
            with gpu.stand_in(driver):
                optimizer.step()
                assert optimizer.engine == engine, optimizer.engine
        assert bool(driver.launches) is (kind is not clipped)
        for p, x in zip(parts, whole, strict=True):
            torch.testing.assert_close(p.full_tensor(), x, rtol=1e-14, atol=1e-14)
