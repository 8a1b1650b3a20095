"""Rows and columns in the passes for a GPU, run on this computer, against the CPU kernel."""

from contextlib import nullcontext

import gpu
import pytest
import test_lines
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lines import BOUND, RULES, step, worst
from torch import nn

import ravine.torch as rt
from ravine import RuleError, registry, rule, rules, zeros
from ravine.engines.cpu import kernel
from ravine.engines.cutting import is_cut
from ravine.engines.eager import plan
from ravine.engines.fused import refusal as impossible
from ravine.engines.llvm.blocks import Blocks, operations, refusal
from ravine.engines.llvm.launches import launches
from ravine.engines.proof import proved
from ravine.ops import exp, mean, size, sqrt

HOW = [("float32", False), ("bfloat16", True), ("float64", False), ("bfloat16", False)]


def made(rule):
    return kernel(plan(rule, rule.check()))


def _by_lines():
    for each in registry.rules().values():
        graph = plan(each, each.check())
        if not impossible(graph) and not is_cut(graph) and kernel(graph).has_lines:
            yield each


BY_LINES = [*_by_lines(), *(rule for rule, _ in RULES.values())]


@pytest.mark.parametrize(
    ("number", "its"), [*enumerate(BY_LINES)], ids=lambda x: getattr(x, "name", "")
)
def test_every_rule_proves_itself(number, its):
    kern = made(its)
    dtype, stochastic = HOW[number % len(HOW)]
    dtypes = (dtype,) * len(kern.columns)
    assert kern.has_lines
    assert refusal(kern, dtypes) == ""
    assert proved(gpu.Cuda(gpu.Gpu(threads=64)), kern, dtypes, stochastic) == ""


@pytest.mark.parametrize("threads", [1, 7, 256])
def test_sums_do_not_depend_on_how_many_threads_are_there_by_more_than_rounding(threads):
    kern = made(test_lines.of_each_matrix)
    dtypes = ("float64",) * len(kern.columns)
    assert proved(gpu.Cuda(gpu.Gpu(threads=threads)), kern, dtypes, False) == ""


def pair(its, shapes, dtype=torch.float64, threads=64, **how):
    """Optimizers on the stand-in and on the CPU, and a function that takes a step of both."""
    driver = gpu.Gpu(threads=threads)
    optimizers = []
    for _ in range(2):
        torch.manual_seed(0)
        params = [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in shapes]
        optimizers.append(rt.optimizer(its)(params, **how))

    def take(k, missing=()):
        for optimizer, engine in zip(optimizers, ("kernel (PTX on cuda:0)", "kernel"), strict=True):
            with gpu.stand_in(driver) if "PTX" in engine else nullcontext():
                step([optimizer], k, missing)
                assert optimizer.engine == engine

    return optimizers, take, driver


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", RULES)
def test_tensors_of_many_shapes(name, dtype):
    its, shapes = RULES[name]
    more = torch.float32 if dtype.itemsize < 4 else None
    optimizers, take, _ = pair(its, shapes, dtype, state_dtype=more)
    for k in range(4):
        take(k)
    assert worst(optimizers) <= BOUND[dtype] * 4


@settings(max_examples=20)
@given(
    many=st.integers(1, 9),
    rows=st.integers(1, 80),
    columns=st.integers(1, 80),
    name=st.sampled_from(["adafactor", "of_each_matrix", "by_matrix", "in_all"]),
    threads=st.sampled_from([1, 7, 64]),
)
def test_stacks_of_any_shape(many, rows, columns, name, threads):
    shapes = [(many, rows, columns), (columns, many, rows), (rows, columns)]
    optimizers, take, _ = pair(RULES[name][0], shapes, threads=threads)
    for k in range(2):
        take(k)
    assert worst(optimizers) <= 1e-12  # where columns are almost constant, their means cancel


@pytest.mark.parametrize("name", ["adafactor", "of_many_kinds", "in_all"])
def test_gradients_may_be_missing_and_come_late(name):
    optimizers, take, _ = pair(RULES[name][0], [(5, 3), (40, 130), (300, 130)])
    for k in range(6):
        take(k, missing=[i for i in range(3) if (k + i) % 3 == 0 or k < i])
    assert worst(optimizers) <= 1e-13


def test_tensors_of_several_dtypes_and_groups():
    optimizers, take, _ = pair("adafactor", [(50, 30), (7, 9)], torch.float32)
    for optimizer in optimizers:
        other = nn.Parameter(torch.ones(80, 4, dtype=torch.float64))
        optimizer.add_param_group({"params": [other], "lr": 0.1})
        other.grad = torch.linspace(-1, 1, 320, dtype=torch.float64).view(80, 4)
    for k in range(4):
        take(k)
    assert worst(optimizers) <= 1e-5
    [p, q] = (o.param_groups[1]["params"][0] for o in optimizers)
    torch.testing.assert_close(p, q, rtol=1e-13, atol=0)


def test_random_bits_of_rows_and_elements_are_those_of_the_cpu():
    """Of elements that have no reductions in them, and of the rows of those."""

    @rule(r=zeros(-1))
    def noisy(p, g, r, *, lr=0.01):
        return p - lr * g, r + 0.01 * mean(g * 0 + 1, axis=-1)

    noisy = rule(r=zeros(-1), evaluate=lambda p, r: r)(noisy.function)
    optimizers, take, _ = pair(
        noisy, [(300, 9), (40, 33)], torch.bfloat16, stochastic_rounding=True
    )
    for k in range(3):
        take(k)
    assert worst(optimizers) == 0


def test_a_step_is_as_many_launches_as_passes_and_one_between_two():
    kern = made(rules.adafactor)
    between = ["pass_0", "lines_1", "pass_1", "lines_2", "pass_2"]
    assert launches(Blocks(kern, ("float32",) * 4)) == between
    _, take, driver = pair("adafactor", [(300, 130), (5, 4)])
    take(0)
    driver.launches.clear()
    take(1)  # 300 rows in pieces of 63, and a block for the small matrix
    blocks = [(0, 6), ("lines_1", 2), (1, 6), ("lines_2", 2), (2, 6)]
    assert [launch[:2] for launch in driver.launches] == blocks


def test_what_rows_are_before_the_first_pass_is_computed_before_it():
    @rule(r=zeros(-1))
    def before(p, g, r, *, lr=0.01):
        r = 0.5 * r + 1
        return p - lr * (g / sqrt(r) + mean(r) * size(r, -2)), r

    kern = made(before)
    assert launches(Blocks(kern, ("float32",) * 3)) == ["lines_0", "pass_0"]
    optimizers, take, _ = pair(before, [(30, 13), (5, 4)])
    for k in range(3):
        take(k)
    assert worst(optimizers) <= 1e-14


def test_a_first_pass_may_read_what_rows_were():
    @rule(r=zeros(-1))
    def reading(p, g, r, *, lr=0.01):
        r = r + 1 + mean(g * r, axis=-1)
        return p - lr * g * r, r

    kern = made(reading)
    names = ["lines_0", "pass_0", "lines_1", "pass_1"]
    assert launches(Blocks(kern, ("float32",) * 3)) == names
    optimizers, take, _ = pair(reading, [(30, 13), (5, 4)])
    for k in range(3):
        take(k)
    assert worst(optimizers) <= 1e-14


def test_the_host_computes_what_depends_on_sizes_only():
    """Exponentials of them have the host's bits; those of rows are formulas on the GPU."""

    @rule
    def by_size(p, g, *, lr=0.01):
        return p - lr * exp(-size(p, -1)) * (g - mean(g, axis=-1))

    @rule
    def by_row(p, g, *, lr=0.01):
        return p - lr * exp(mean(g, axis=-1)) * g

    for rule_, off in ((by_size, 1e-14), (by_row, 1e-13)):
        optimizers, take, _ = pair(rule_, [(30, 3), (5, 4)])
        take(0)
        assert worst(optimizers) <= off
    of_gpu = [operations(Blocks(made(x), ("float32",) * 2)) for x in (by_size, by_row)]
    assert ["exp" in its for its in of_gpu] == [False, True]


def test_without_a_pass_over_the_elements():
    @rule(r=zeros(-1), evaluate=lambda p, r: p + r)
    def only_rows(p, g, r):
        return p, r + 1.0

    assert "row or column" in refusal(made(only_rows), ("float32",) * 3)
    with gpu.stand_in(gpu.Gpu()), pytest.raises(RuleError, match="row or column"):
        step([rt.optimizer(only_rows)([nn.Parameter(torch.ones(3, 4))], engine="kernel")], 0)


def test_memory_is_freed():
    optimizers, take, driver = pair("adafactor", [(300, 130)])
    take(0)
    before = len(driver.memory)
    optimizers[0].add_param_group({"params": [nn.Parameter(torch.randn(4, 4).double())]})
    optimizers[1].add_param_group({"params": [nn.Parameter(torch.randn(4, 4).double())]})
    take(1)
    assert len(driver.memory) == before
