"""The engine of NVIDIA's GPUs: what it asks the driver for, on a driver that runs the passes here."""

import gc
import re

import gpu
import numpy as np
import pytest
from cases import gradients
from kernels import Kernel, arrays, assert_same, run

from ravine import rule, rules, scalar
from ravine.engines import cuda
from ravine.engines.cpu import COUNT_FULL, kernel
from ravine.engines.devices import Place, Unavailable
from ravine.engines.eager import plan
from ravine.modifiers import clip_by_global_norm
from ravine.ops import norm

CLIPPED = clip_by_global_norm(rules.adamw, max_norm=0.5)


@pytest.fixture
def driver():
    return gpu.Gpu(threads=64)


@pytest.fixture
def engine(driver):
    return gpu.Cuda(driver)


def made(rule, **how):
    return kernel(plan(rule, rule.check()), **how)


class Stepped(Kernel):
    """Stepped on one GPU, by one binding."""

    def __init__(self, engine, *given, **how):
        super().__init__(*given, **how)
        self.engine, self.bound = engine, None

    def bind(self, grads):
        on_cpu = super().bind(grads)
        if self.bound is None:
            sizes = [p.size for p in self.ps]
            dtypes = [[str(x.dtype) for x in row] for row in self.columns]
            how = {"stochastic": self.stochastic}
            self.bound = self.engine.step(on_cpu.kernel, sizes, dtypes, self.groups, **how)
        return self.bound


def test_a_step_is_as_many_launches_as_passes(driver, engine):
    ps, path = arrays([3000, 5], 3)
    stepped = Stepped(engine, CLIPPED, [p.copy() for p in ps])
    for grads in path:
        driver.launches.clear()
        stepped.step(grads)
        assert [launch[:2] for launch in driver.launches] == [(0, 3), (2, 3)]
    want = run(CLIPPED, ps, path)
    for got, its in zip(stepped.ps, want[0], strict=True):
        np.testing.assert_allclose(got, its, rtol=1e-13)


def test_tensors_of_several_dtypes_and_groups_and_sizes(driver, engine):
    (a, b, c), path = arrays([4100, 3, 2048], 4)
    ps = [a.astype(np.float32), b, c]
    path = [[x.astype(np.float32), y, z] for x, y, z in path]
    how = {"groups": [1, 0, 1]}
    got = Stepped(engine, CLIPPED, [p.copy() for p in ps], **how)
    want = Kernel(CLIPPED, [p.copy() for p in ps], **how)
    for t, grads in enumerate(path):
        for its in (got, want):
            its.step(grads, t=[t + 1, 2 * t + 1], lr=[0.1, 0.01], max_norm=0.5)

    def near(x, y):
        np.testing.assert_allclose(x, y, rtol=1e-6 if x.dtype == np.float32 else 1e-12, atol=1e-16)

    assert_same((got.ps, got.state), (want.ps, want.state), near)
    assert len(driver.launches) == 4 * 4


def test_tensors_without_a_gradient_take_no_part(engine):
    for made_rule in (rules.adam, CLIPPED):
        ps, [grads] = arrays([2100, 40, 7], 1)
        want = Kernel(made_rule, [ps[0].copy(), ps[2].copy()])
        want.step([grads[0], grads[2]])
        got = Stepped(engine, made_rule, ps)
        step = got.bind(grads)
        for i, column in enumerate(step.kernel.columns):
            step.point(column, [row[i].ctypes.data for row in got.columns])
        step.point("g", [grads[0].ctypes.data, 0, grads[2].ctypes.data])
        step.set_group(0, [got.hyper[name] for name in step.inputs])
        counts = np.zeros(3)
        step.point("step", [counts.ctypes.data + 8 * i for i in range(3)])
        assert step.run(2) == 0
        assert counts.tolist() == [1, 0, 1]
        np.testing.assert_array_equal(got.ps[1], ps[1])
        for mine, its in zip((got.ps[0], got.ps[2]), want.ps, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-13)
        assert step.run(3) != 0  # expected another number
        assert counts.tolist() == [1, 0, 1]


def test_a_count_that_is_full_is_refused_before_anything_is_launched(driver, engine):
    step = engine.step(made(rules.adam), [4], [("float32",) * 4], counts=["float32"])
    p = [np.ones(4, np.float32) for _ in range(4)]
    for column, x in zip(step.columns, p, strict=False):
        step.point(column, [x.ctypes.data])
    count = np.float32([2.0**24])
    step.point("step", [count.ctypes.data])
    step.set_group(0, [0.1] * len(step.inputs))
    assert step.run(1) == COUNT_FULL
    assert driver.launches == []


def test_only_what_has_changed_is_copied(driver, engine):
    step = engine.step(made(rules.sgd), [100], [("float64",) * 2])
    p, g, h = np.zeros(100), np.ones(100), np.ones(100)
    step.point("p", [p.ctypes.data])
    step.point("step", [0])
    for given, lr, copies in ((g, 0.1, 4), (g, 0.1, 0), (g, 0.5, 1), (h, 0.5, 1), (g, 0.1, 2)):
        step.point("g", [given.ctypes.data])
        step.set_group(0, [{"lr": lr}[name] for name in step.inputs])
        driver.calls.clear()
        step.run(1)
        assert driver.calls.count("cuMemcpyHtoDAsync_v2") == copies
        assert "cuStreamSynchronize" not in driver.calls
    np.testing.assert_allclose(p, -1.3)


def test_it_waits_only_for_slots_that_depend_on_what_is_reduced(driver, engine):
    @rule(size=scalar(0.0))
    def remembering(p, g, size, *, lr=0.1):
        size = 0.5 * size + norm(g)
        return p - lr * g / size, size

    @rule(rate=scalar(1.0))
    def slowing(p, g, rate, *, lr=0.1):
        return p - lr * rate * g, 0.9 * rate

    ps, path = arrays([3000, 20], 3)
    for made_rule, waits in ((remembering, True), (slowing, False)):
        stepped = Stepped(engine, made_rule, [p.copy() for p in ps])
        driver.calls.clear()
        for grads in path:
            stepped.step(grads)
        assert ("cuStreamSynchronize" in driver.calls) is waits

        def near(x, y):
            np.testing.assert_allclose(x, y, rtol=1e-13)

        assert_same((stepped.ps, stepped.state), run(made_rule, ps, path), near)


def test_the_squares_of_the_gradients(engine):
    kern = made(rules.sgd, squares=True)
    step = engine.step(kern, [3000], [("float64",) * 2])
    p, g = np.zeros(3000), gradients((3000,), 1)[0]
    step.point("p", [p.ctypes.data])
    step.point("g", [g.ctypes.data])
    step.point("step", [0])
    step.set_group(0, [0.1] * len(step.inputs))
    step.run(1)
    np.testing.assert_allclose(step.squares(), np.square(g).sum(), rtol=1e-14)


def test_work_is_queued_on_the_stream_that_is_current_then(driver):
    stream = [7]
    engine = gpu.Cuda(driver, Place("cuda", 1, lambda: stream[0]))
    ps, path = arrays([10], 2)
    stepped = Stepped(engine, rules.sgd, ps)
    stepped.step(path[0])
    stream[0] = 9
    stepped.step(path[1])
    assert [launch[2] for launch in driver.launches] == [7, 9]


def test_each_gpu_has_modules_and_memory_in_its_own_context(driver):
    engines = [gpu.Cuda(driver, Place("cuda", i)) for i in (0, 1)]
    for engine in engines:
        ps, path = arrays([10], 1)
        Stepped(engine, rules.sgd, ps).step(path[0])
    assert sorted(context for _, context in driver.loaded.values()) == [1000, 1001]
    assert driver.contexts == []  # as many pops as pushes


def test_memory_is_given_back_with_the_step(driver, engine):
    step = engine.step(made(rules.sgd), [10], [("float32",) * 2])
    assert len(driver.memory) == 1
    del step
    gc.collect()
    assert driver.memory == {}


def test_a_step_in_a_cuda_graph_is_refused_before_anything_has_changed(driver, engine):
    ps, path = arrays([10], 1)
    stepped = Stepped(engine, rules.adam, [p.copy() for p in ps])
    stepped.bind(path[0])
    driver.captures = True
    with pytest.raises(RuntimeError, match="cannot be captured in a CUDA graph"):
        stepped.step(path[0])
    assert_same((stepped.ps, []), (ps, []))
    assert driver.contexts == []


def test_memory_is_not_given_back_during_a_capture(driver, engine):
    step = engine.step(made(rules.sgd), [10], [("float32",) * 2])
    driver.captures = True
    del step
    gc.collect()
    driver.captures = False
    assert len(driver.memory) == 1
    again = engine.step(made(rules.sgd), [10], [("float32",) * 2])
    assert [*driver.memory] == [again.anywhere]


@pytest.mark.parametrize(
    ("function", "status", "text"),
    [
        ("cuMemAlloc_v2", 2, "cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuModuleLoadData", 209, "cuModuleLoadData: CUDA_ERROR_NO_BINARY_FOR_GPU"),
        ("cuLaunchKernel", 700, "cuLaunchKernel: CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("cuCtxPushCurrent_v2", 201, "cuCtxPushCurrent_v2: CUDA_ERROR_INVALID_CONTEXT"),
        ("cuMemcpyHtoDAsync_v2", 12345, "cuMemcpyHtoDAsync_v2: error 12345"),
    ],
)
def test_errors_of_the_driver_by_name(function, status, text, driver, engine):
    ps, path = arrays([10], 1)
    driver.fails[function] = status
    with pytest.raises(cuda.DriverError, match=re.escape(text)):
        Stepped(engine, rules.sgd, ps).step(path[0])
    assert driver.contexts == []


def test_where_there_is_no_gpu_the_reason_is_told():
    for broken, place, text in (
        (gpu.Gpu(devices=0), Place("cuda", 0), "cuInit: CUDA_ERROR_NO_DEVICE"),
        (gpu.Gpu(), Place("cuda", 5), "cuDeviceGet: CUDA_ERROR_INVALID_DEVICE"),
        (gpu.Gpu(capability=75), Place("cuda", 0), "8.0 and later; this GPU has 7.5"),
    ):
        with pytest.raises(Unavailable, match=re.escape(text)):
            gpu.Cuda(broken, place)


def test_code_is_for_the_newest_architecture_that_the_gpu_has():
    for capability, architecture in ((80, "sm_80"), (86, "sm_80"), (90, "sm_90"), (120, "sm_90")):
        assert gpu.Cuda(gpu.Gpu(capability=capability)).architecture == architecture


def test_without_a_driver_the_reason_is_told(monkeypatch):
    monkeypatch.setattr(cuda, "_LIBRARY", "libcuda_that_is_not_there.so")
    with pytest.raises(Unavailable, match="driver cannot be loaded"):
        cuda.Driver()


def test_nonsense_is_refused(engine):
    with pytest.raises(ValueError, match="equally long and not empty"):
        engine.step(made(rules.sgd), [], [])
