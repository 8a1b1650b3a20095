"""Steps with all scalars on a stand-in for a GPU: captured in graphs, and skipped by scalers."""

import copy
import gc
from types import SimpleNamespace

import gpu
import pytest
import torch

import ravine.torch
from ravine.engines import devices
from ravine.modifiers import clip_by_global_norm
from ravine.rules import adamw, prodigy
from ravine.torch.member import Member

CLIPPED = ravine.torch.optimizer(clip_by_global_norm(adamw, max_norm=0.5))
PRODIGY = ravine.torch.optimizer(prodigy)  # its scalar slots depend on sums
SIZES = ((40, 60), (), (3, 7))
CASES = [
    (ravine.torch.AdamW, {}),
    (ravine.torch.AdamW, {"dtype": torch.bfloat16, "stochastic_rounding": True}),
    (ravine.torch.NAdam, {}),
    (ravine.torch.SGD, {"momentum": 0.9, "lr": 0.1}),
    (ravine.torch.Adadelta, {}),
    (CLIPPED, {}),
    (PRODIGY, {}),
]


@pytest.fixture
def driver():
    """Tensors are on a GPU, as far as the front knows."""
    driver = gpu.Gpu(threads=64)
    with gpu.stand_in(driver):
        yield driver


class Run:
    """An optimizer with fixed gradients for each step."""

    def __init__(self, kind, capturable=True, dtype=None, **how):
        draw = torch.Generator().manual_seed(0)
        self.params = [torch.nn.Parameter(torch.randn(s, generator=draw).to(dtype)) for s in SIZES]
        self.path = [[torch.randn(s, generator=draw).to(dtype) for s in SIZES] for _ in range(8)]
        self.optimizer = kind(self.params, capturable=capturable, **how)
        self.taken = 0
        for p in self.params:
            p.grad = torch.zeros_like(p)

    def step(self, times=1, take=None):
        """Steps with the next gradients, in the memory of the last."""
        for _ in range(times):
            for p, g in zip(self.params, self.path[self.taken], strict=True):
                p.grad.copy_(g)
            self.taken += 1
            (take or self.optimizer.step)()

    def state(self):
        saved = copy.deepcopy(self.optimizer.state_dict()["state"])
        return [p.detach().clone() for p in self.params], saved


def same(one, other):
    for x, y in zip(one[0], other[0], strict=True):
        assert torch.equal(x, y)
    for i, its in other[1].items():
        for name, x in its.items():
            assert torch.equal(one[1][i][name], x), name


def captured(driver, run):
    """What replays a step."""
    driver.graph.clear()
    driver.captures = True
    run.optimizer.step()
    driver.captures = False
    return driver.replay


@pytest.mark.parametrize(("kind", "how"), CASES)
def test_replays_have_the_bits_of_steps(kind, how, driver):
    """Also after a step with other memory, and with others in between."""
    want, got = Run(kind, **how), Run(kind, **how)
    want.step(7)
    got.step(2)
    before = got.state()
    replay = captured(driver, got)
    same(got.state(), before)  # a capture does nothing
    got.step(2, replay)
    memory = [[p.grad for p in got.params], [torch.zeros_like(p) for p in got.params]]
    for here, take in ((1, None), (0, replay), (1, None)):
        for p, g in zip(got.params, memory[here], strict=True):
            p.grad = g
        got.step(1, take)
    same(got.state(), want.state())


@pytest.mark.parametrize(("kind", "how"), CASES)
def test_the_path_is_that_of_a_step_with_the_hosts_scalars(kind, how, driver):
    runs = [Run(kind, capturable, **how) for capturable in (True, False)]
    for run in runs:
        run.step(3)
        run.optimizer.param_groups[0]["lr"] *= 0.5
        run.step(3)
        assert run.optimizer.engine == "kernel (PTX on cuda:0)"
    assert runs[0].optimizer._bound.kernels[0].on_device
    assert not runs[1].optimizer._bound.kernels[0].on_device
    for x, y in zip(*(run.state()[0] for run in runs), strict=True):
        near = 2e-2 if x.dtype is torch.bfloat16 else 1e-6
        torch.testing.assert_close(x, y, rtol=near, atol=near)


def test_nothing_waits_and_nothing_is_copied_in_a_capture(driver):
    run = Run(ravine.torch.AdamW)
    run.step(2)
    driver.calls.clear()
    run.step(2)
    assert "cuStreamSynchronize" not in driver.calls
    captured(driver, run)  # where the stand-in makes copies and allocations errors
    assert {name for _, name, *_ in driver.graph} == {"put", "first", "pass_0"}
    run.optimizer.param_groups[0]["lr"] = 1.0  # is in the graph as it was
    before = run.params[0].detach().clone()
    run.step(1, driver.replay)
    assert (run.params[0] - before).abs().max() < 0.1


def test_a_learning_rate_in_a_tensor_is_read_at_each_replay(driver):
    lr = torch.tensor(0.1, dtype=torch.float64)
    want, got = Run(ravine.torch.AdamW, lr=lr), Run(ravine.torch.AdamW, lr=lr)
    want.step(2)
    got.step(2)
    replay = captured(driver, got)
    for new in (0.05, 0.0):
        lr.fill_(new)
        want.step()
        got.step(1, replay)
        same(got.state(), want.state())
    frozen = got.state()[0]
    got.step(1, replay)
    for x, y in zip(got.state()[0], frozen, strict=True):
        assert torch.equal(x, y)
    single = Run(ravine.torch.AdamW, lr=torch.tensor(0.1))
    single.step(2)
    wide = Run(ravine.torch.AdamW, lr=float(torch.tensor(0.1)))
    wide.step(2)
    same(single.state(), wide.state())


def test_a_float_after_a_tensor_counts(driver):
    lr = torch.tensor(0.5, dtype=torch.float64)
    run, want = Run(ravine.torch.AdamW, lr=lr), Run(ravine.torch.AdamW, lr=0.5)
    for each in (run, want):
        each.step(2)
        each.optimizer.param_groups[0]["lr"] = 0.01
        each.step(2)
        each.optimizer.param_groups[0]["lr"] = 0.02
        each.step()
    same(run.state(), want.state())


@pytest.mark.parametrize("how", [{"capturable": True}, {"fused": True, "capturable": False}])
@pytest.mark.parametrize("kind", [ravine.torch.AdamW, ravine.torch.Adam])
def test_a_scalers_infinity_skips_the_step_on_the_device(kind, how, driver, monkeypatch):
    run, want = Run(kind, **how), Run(kind, **how)
    scale = torch.tensor(4.0)
    for each in (run, want):
        each.optimizer.grad_scale, each.optimizer.found_inf = scale, torch.tensor(0.0)
    run.step(2)
    want.step(2)
    monkeypatch.setattr(torch.Tensor, "__bool__", None)  # nobody reads it
    monkeypatch.setattr(torch.Tensor, "__float__", None)
    monkeypatch.setattr(torch.Tensor, "item", None)
    run.optimizer.found_inf = torch.tensor(1.0)
    run.step()
    run.optimizer.found_inf = torch.tensor(0.0)
    monkeypatch.undo()
    same(run.state(), want.state())
    run.taken -= 1
    run.step(2)
    want.step(2)
    same(run.state(), want.state())
    plain = Run(kind, **how)
    for g in [g for grads in plain.path for g in grads]:
        g /= 4
    plain.step(4)
    for x, y in zip(run.state()[0], plain.state()[0], strict=True):
        torch.testing.assert_close(x, y)


def test_gradients_are_zeros_after_a_step_that_the_device_skips(driver):
    run = Run(ravine.torch.AdamW)
    run.optimizer.grad_scale = torch.tensor(4.0)
    for found in (0.0, 0.0, 1.0):
        run.optimizer.found_inf = torch.tensor(found)
        run.step(1, lambda: run.optimizer.step(zero_grad=True))
        assert not any(p.grad.any() for p in run.params)
        assert run.optimizer.last_step_skipped is bool(found)
    assert run.optimizer.state[run.params[0]]["step"] == 2


def test_a_real_scaler(driver):
    """On the CPU, a scaler looks at its tensors itself; what it sets is read as on a GPU."""
    results = []
    for capturable in (True, False):
        run = Run(ravine.torch.AdamW, capturable=capturable)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        for step in range(6):
            scaler.scale(torch.zeros(()))  # begins to scale
            for p, g in zip(run.params, run.path[step], strict=True):
                p.grad = g * scaler.get_scale()
            if step == 3:
                run.params[0].grad[0, 0] = torch.inf
            scaler.step(run.optimizer)
            assert run.optimizer.last_step_skipped is (step == 3)
            scaler.update()
        results.append(run.state())
        assert scaler.get_scale() == 16.0
        assert run.optimizer.state[run.params[0]]["step"] == 5
    for x, y in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(x, y)


def test_the_first_step_in_a_capture_is_an_error_that_says_what_to_do(driver):
    run = Run(ravine.torch.AdamW)
    driver.captures = True
    with pytest.raises(RuntimeError, match="has not taken such a step before; take one"):
        run.step()
    driver.captures = False
    run.step()
    driver.captures = True
    run.params[0].grad = None
    run.optimizer.param_groups[0]["amsgrad"] = True
    with pytest.raises(RuntimeError, match="has not taken such a step before"):
        run.optimizer.step()
    driver.captures = False


def test_without_capturable_a_step_in_a_capture_is_torchs_error(driver):
    for steps in (0, 2):
        run = Run(ravine.torch.AdamW, capturable=False)
        run.step(steps)
        driver.captures = True
        text = "param_groups' capturable is False" if not steps else "capturable=True"
        with pytest.raises(RuntimeError, match=text):
            run.optimizer.step()
        driver.captures = False


def test_where_no_kernel_can_be_the_error_names_the_rule_and_the_reason(driver):
    p = torch.nn.Parameter(torch.ones(4, 6))
    p.grad = torch.ones_like(p)
    optimizer = ravine.torch.Muon([p], capturable=True)
    with pytest.raises(
        ravine.RuleError, match=r"\(muon\)'.*on cuda:0: between its matrix operations"
    ):
        optimizer.step()
    assert not optimizer.state[p].get("step")
    with pytest.raises(ValueError, match="engine='eager' has none"):
        ravine.torch.Lion([p], capturable=True, engine="eager")


def test_an_engine_whose_scalars_are_the_hosts_is_no_choice(driver, monkeypatch):
    monkeypatch.setattr(gpu.Cuda, "has_scalars", False)
    run = Run(ravine.torch.AdamW)
    with pytest.raises(ravine.RuleError, match="counts and learning rates are on the host"):
        run.step()
    fused = Run(ravine.torch.AdamW, capturable=False, fused=True)
    fused.step(2)
    assert not fused.optimizer._bound.kernels[0].on_device


def test_on_the_cpu_it_is_torchs_error():
    kinds = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "ASGD", "Adadelta", "RMSprop", "Rprop")
    for kind in kinds:
        for module in (torch.optim, ravine.torch):
            p = torch.nn.Parameter(torch.ones(3))
            p.grad = torch.ones(3)
            optimizer = getattr(module, kind)([p], capturable=True)
            with pytest.raises(
                AssertionError, match=r"If capturable=True, .* on supported devices"
            ):
                optimizer.step()
            assert torch.equal(p, torch.ones(3))


def test_fused_on_the_cpu_it_is_accepted_as_by_torch():
    found = []
    for module in (torch.optim, ravine.torch):
        p = torch.nn.Parameter(torch.ones(3))
        p.grad = torch.ones(3)
        module.Adam([p], capturable=True, fused=True).step()
        found.append(p.detach())
    torch.testing.assert_close(*found)


def test_a_checkpoint_brings_its_capturable_along_as_in_torch():
    for module in (torch.optim, ravine.torch):
        p = torch.nn.Parameter(torch.ones(3))
        saved = module.Adam([p], capturable=True).state_dict()
        optimizer = module.Adam([p])
        optimizer.load_state_dict(saved)
        assert optimizer.param_groups[0]["capturable"] is True


def test_what_is_captured_outlives_its_optimizer(driver):
    run = Run(ravine.torch.AdamW)
    run.step(2)
    replay = captured(driver, run)
    blocks = len(driver.memory)
    params = run.params
    state = run.state()  # keeps nothing of the optimizer
    kept = [*run.optimizer.state.values()]
    del run.optimizer, run
    gc.collect()
    assert len(driver.memory) == blocks
    replay()
    assert not torch.equal(params[0], state[0][0])
    assert kept[0]["step"] == 3


def test_numbers_move_to_the_engines_device_and_back():
    """Of which there is only one here, beside the meta device."""
    work = SimpleNamespace(state={"m": 0.5, "v": torch.ones(2)})
    count, number, shared = torch.tensor(3.0), torch.tensor(0.5), torch.ones(2)
    state = {"step": count, "m": number, "v": shared}
    member = Member(torch.ones(2), 0, (0, None), work, state, {"m": "m", "v": "v"}, count)
    moved = {}
    member.move(moved, torch.device("meta"))
    assert state["step"] is member.count
    assert [state[k].device.type for k in ("step", "m", "v")] == ["meta", "meta", "cpu"]
    assert [*moved] == [id(number)]


def test_other_devices_have_no_capture():
    assert not devices.captures(devices.Place("mps", 0))
