"""The passes that are printed for a GPU, run on this computer, against the CPU kernel."""

import gpu
import numpy as np
import pytest
from cases import ELEMENTWISE, REDUCING
from kernels import Kernel, arrays, assert_same, name, run

from ravine import rule, rules
from ravine.engines.cpu import kernel
from ravine.engines.eager import plan
from ravine.engines.kernel import PARTIAL
from ravine.engines.llvm.blocks import Blocks, operations, refusal
from ravine.engines.proof import proved
from ravine.modifiers import clip_by_global_norm
from ravine.ops import exp, greatest, log, sum, tanh

HOW = [("float32", False), ("bfloat16", True), ("float64", False), ("bfloat16", False)]
EVERY = [*ELEMENTWISE, *REDUCING]
CLIPPED = clip_by_global_norm(rules.adamw, max_norm=0.5)


def made(rule):
    return kernel(plan(rule, rule.check()))


class OnGpu(Kernel):
    """Stepped by the passes for a GPU, with so many threads a block."""

    threads = 64

    def bind(self, grads):
        bound = super().bind(grads)
        sizes = [p.size for p in self.ps]
        dtypes = [[str(x.dtype) for x in row] for row in self.columns]
        engine = gpu.Cuda(gpu.Gpu(threads=self.threads))
        return engine.step(bound.kernel, sizes, dtypes, self.groups)


@pytest.mark.parametrize(("number", "made_rule"), [*enumerate(EVERY)], ids=map(name, EVERY))
def test_every_rule_has_the_bits_of_the_cpu_kernel(number, made_rule):
    kern = made(made_rule)
    dtype, stochastic = HOW[number % len(HOW)]
    dtypes = (dtype,) * len(kern.columns)
    why = refusal(kern, dtypes)
    if why:
        assert made_rule in REDUCING, why
        return
    assert proved(gpu.Cuda(gpu.Gpu(threads=64)), kern, dtypes, stochastic) == ""


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("made_rule", [rules.adam, CLIPPED], ids=name)
def test_in_every_arithmetic(made_rule, how):
    kern = made(made_rule)
    dtype, stochastic = how
    dtypes = (dtype,) * len(kern.columns)
    assert proved(gpu.Cuda(gpu.Gpu(threads=64)), kern, dtypes, stochastic) == ""


def test_columns_of_several_dtypes():
    kern = made(rules.adam)
    for dtypes in (
        ("bfloat16", "bfloat16", "float32", "float32"),
        ("float32", "float16", "bfloat16", "float64"),
    ):
        assert proved(gpu.Cuda(gpu.Gpu()), kern, dtypes, True) == ""
        assert Blocks(kern, dtypes).width == (4 if "float64" not in dtypes else 2)


@pytest.mark.parametrize("threads", [1, 7, 256])
def test_sums_do_not_depend_on_how_many_threads_are_there_by_more_than_rounding(threads):
    ps, path = arrays([5000, 1, 17, 4096], 3)
    got = OnGpu(CLIPPED, [p.copy() for p in ps])
    got.threads = threads
    for grads in path:
        got.step(grads)
    want = run(CLIPPED, ps, path)

    def near(x, y):
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-16)  # terms of a mean may cancel

    assert_same((got.ps, got.state), want, near)


def test_what_is_greatest_has_the_same_bits_in_any_order():
    @rule
    def scaled(p, g, *, lr=0.1):
        return p - lr * g / greatest(abs(g))

    assert {v.op for v in made(scaled).needed} & {*PARTIAL} == {"greatest"}
    ps, path = arrays([9000, 3], 2)
    path[1][0][4000] = np.nan
    got = OnGpu(scaled, [p.copy() for p in ps])
    for grads in path:
        got.step(grads)
    assert_same((got.ps, got.state), run(scaled, ps, path))


@rule
def soft(p, g, *, lr=0.1, power=1.5):
    return p - lr * (exp(-abs(g)) + log(1 + g * g) + abs(p) ** power + tanh(p) + p % 0.75)


def test_what_a_gpu_has_no_instruction_for_is_a_formula():
    @rule
    def scheduled(p, g, t, *, lr=0.1):
        return p - lr * exp(-t) * g  # computed by the host, so with its bits

    for dtype, stochastic in HOW:
        kern, dtypes = made(soft), (dtype,) * 2
        assert refusal(kern, dtypes) == ""
        assert proved(gpu.Cuda(gpu.Gpu()), kern, dtypes, stochastic) == ""
    assert {"exp", "log", "pow", "tanh", "mod"} <= operations(Blocks(kern, dtypes))
    assert operations(Blocks(made(scheduled), dtypes)) == {"mul", "sub"}


@pytest.mark.parametrize("made_rule", [soft, rules.adam], ids=name)
def test_a_formula_that_is_slightly_off_is_found_out(made_rule):
    class Off(gpu.Cuda):
        def read(self, address, size):
            numbers = np.frombuffer(super().read(address, size), np.float32)
            return (numbers * np.float32(1 + 1e-5)).tobytes()

    kern = made(made_rule)
    dtypes = ("float32",) * len(kern.columns)
    assert "p of 4099 elements is not" in proved(Off(gpu.Gpu()), kern, dtypes, False)


def test_a_block_has_memory_for_so_many_reductions():
    @rule
    def summing(p, g, *, lr=0.1):
        found = 0.0
        for i in range(2, 27):
            found = found + sum(g * g * i)
        return p - lr * found * g

    assert refusal(made(summing), ("float32",) * 2) == "it has more than 24 reductions in a pass"


@pytest.mark.parametrize(("number", "made_rule"), [*enumerate(EVERY)], ids=map(name, EVERY))
def test_every_rule_also_with_its_scalars_computed_there(number, made_rule):
    kern = made(made_rule)
    dtype, stochastic = HOW[(number + 1) % len(HOW)]
    dtypes = (dtype,) * len(kern.columns)
    if not refusal(kern, dtypes):
        assert proved(gpu.Cuda(gpu.Gpu(threads=64)), kern, dtypes, stochastic, True) == ""
