"""Rows and columns in the kernel: what reduces along an axis equals the call of the function."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, rule, rules, scalar, zeros
from ravine.engines import cpu
from ravine.engines.cpu import kernel
from ravine.engines.fused import refusal
from ravine.engines.kernel import COLUMN, MATRIX, ROW
from ravine.engines.tracing import trace
from ravine.modifiers import clip_by_global_norm, maximize
from ravine.ops import (
    abs,
    epsilon,
    greatest,
    least,
    maximum,
    mean,
    norm,
    rms,
    size,
    sqrt,
    sum,
    total,
    where,
)


@rule(r=zeros(keep=0))
def adam_mini(p, g, m, r, t, *, lr=0.01, beta1=0.9, beta2=0.99, eps=1e-8):
    """One mean square for each row, or for each channel of a convolution."""
    m = beta1 * m + (1 - beta1) * g
    r = beta2 * r + (1 - beta2) * mean(g * g, keep=0)
    return p - lr * m / (1 - beta1**t) / (sqrt(r / (1 - beta2**t)) + eps), m, r


@rule
def centralized(p, g, m, *, lr=0.01):
    m = 0.9 * m + g - mean(g, keep=0)
    return p - lr * m, m


@rule
def clipped_by_unit(p, g, *, lr=0.1, share=0.01, eps=1e-3):
    """Adaptive gradient clipping (Brock et al., 2021, equation 3): rows by their norms."""
    most = share * maximum(norm(p, axis=-1), eps)
    return p - lr * where(norm(g, axis=-1) > most, g * most / norm(g, axis=-1), g)


@rule(r=zeros(-1), c=zeros(-2), n=scalar(0.0))
def of_many_kinds(p, g, r, c, n, m, t, *, lr=0.01, k=0.5):
    """Extremes, sizes, numbers made of rows, rows made of numbers, and three passes."""
    r = k * r + greatest(abs(g), axis=-1) / size(g, -1)
    c = maximum(c, least(g, axis=0)) + sum(g, axis=-2) / size(g, 0)
    m = 0.5 * m + g * where(r > mean(r), 1.0, k) / (1 + c * c)
    n = n + mean(c) + greatest(r) * sum(r) + size(r, -1) + t * epsilon(p)
    u = m - mean(m, axis=1) - least(c)
    return p - lr * (u / maximum(rms(u), 1e-3) + rms(c * r) + n / (2 + n)), r, c, n, m


@rule(r=zeros(-1))
def constant_rows(p, g, r, *, lr=0.01):
    return p - lr * (g + r), 0.25


@rule(c=zeros(-2))
def in_all(p, g, c, *, lr=0.01):
    """A total of what there is for each row."""
    c = 0.5 * c + mean(g * g, axis=-2)
    return p - lr * g / sqrt(total(mean(g * g, axis=-1)) + total(c)), c


@rule(r=zeros(-1), c=zeros(-2))
def of_each_matrix(p, g, r, c, m, *, lr=0.01, k=0.5):
    """Numbers for each matrix of a stack: made of rows and of columns, met by these and by elements."""
    r = k * r + greatest(abs(g), axis=-1) / size(g, -1)
    c = maximum(c, least(g, axis=-2)) + sum(g, axis=-2) / size(g, -2)
    whole, widest = mean(r, axis=-2), greatest(c, axis=-1)
    length = maximum(sqrt(sum(sum(g * g, axis=-1), axis=-2)), 1e-3)
    r = r / (1 + whole)
    c = c - 0.1 * widest / length
    m = 0.5 * m + g / length * where(r > whole, 1.0, k) / (1 + c * c)
    n = mean(whole) + greatest(widest) + sum(length) / (1 + sum(whole * 0 + 1))
    n = n + size(r, -1) + size(r, -2) + size(c, -1) + size(c, -2) + size(whole, -1)
    u = m - mean(m, axis=-1) - least(c, axis=-1) + sum(whole, axis=-1) - mean(widest, axis=-2)
    return p - lr * (u / maximum(rms(u), 1e-3) + n / (2 + n) + rms(c) - mean(r)), r, c, m


@rule
def by_matrix(p, g, *, lr=0.01):
    """Normalised matrix by matrix, and then all of them."""
    g = g / sqrt(mean(mean(g * g, axis=-2), axis=-1) + 1e-6)
    size_of_all = sqrt(total(mean(sum(g * g, axis=-1), axis=-2)))
    return p - lr * g / size_of_all - lr * mean(p, axis=-2)


MATRICES = [(5, 3), (3, 8), (6, 6), (300, 130), (1, 40), (40, 1), (1, 1), (129, 257), (70, 1000)]
STACKS = [
    (4, 3, 3),
    (2, 5, 7),
    (3, 2, 4, 6),
    (1, 6, 5),
    (5, 1, 1),
    (2, 1, 40),
    (2, 40, 1),
    (3, 1, 2, 9),
]
# In pieces of a matrix, with a rest; several matrices to a chunk, with a rest.
STACKS += [(2, 300, 130), (3, 129, 257), (40, 30, 33), (5000, 3, 3)]
RULES = {
    "adafactor": (rules.adafactor, [*MATRICES, *STACKS]),
    "of_each_matrix": (of_each_matrix, [*MATRICES, *STACKS]),
    "by_matrix": (by_matrix, [*MATRICES, *STACKS]),
    "adam_mini": (adam_mini, [*MATRICES, (7,), (6, 3, 5, 5), (2, 1, 1)]),
    "centralized": (centralized, [*MATRICES, (6, 3, 5, 5)]),
    "clipped_by_unit": (clipped_by_unit, [*MATRICES, (4, 3, 33), (17,)]),
    "of_many_kinds": (of_many_kinds, MATRICES),
    "constant_rows": (constant_rows, MATRICES),
    "in_all": (in_all, [*MATRICES, *STACKS]),
    "stack": (clip_by_global_norm(maximize(rules.adafactor)), MATRICES),
}
BOUND = {torch.float64: 2e-15, torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def pair(made, shapes, dtype=torch.float64, **options):
    """Two optimizers of the same tensors, by the kernel and by the call."""
    torch.manual_seed(0)
    start = [torch.randn(shape, dtype=dtype) for shape in shapes]
    return [
        rt.optimizer(made)([nn.Parameter(p.clone()) for p in start], engine=engine, **options)
        for engine in ("kernel", "eager")
    ]


def step(optimizers, k, missing=()):
    for optimizer in optimizers:
        generator = torch.Generator().manual_seed(k)
        for i, p in enumerate(optimizer.param_groups[0]["params"]):
            g = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
            p.grad = None if i in missing else g
        optimizer.step()


def error(a, b):
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))


def worst(optimizers):
    ours, theirs = (o.param_groups[0]["params"] for o in optimizers)
    errors = [error(p, q) for p, q in zip(ours, theirs, strict=True)]
    for p, q in zip(ours, theirs, strict=True):
        states = optimizers[0].state[p], optimizers[1].state[q]
        assert states[0].keys() == states[1].keys()
        errors += [error(states[0][key], states[1][key]) for key in states[1]]
    return max(errors)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("name", RULES)
def test_the_kernel_is_the_call(name, dtype):
    made, shapes = RULES[name]
    optimizers = pair(
        made, shapes, dtype, state_dtype=torch.float32 if dtype.itemsize < 4 else None
    )
    for k in range(6):
        step(optimizers, k)
        for optimizer in optimizers:
            assert optimizer.engine == (
                "eager: asked for" if optimizer is optimizers[1] else "kernel"
            )
    assert worst(optimizers) <= BOUND[dtype] * 4


@given(
    many=st.integers(1, 9),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    name=st.sampled_from(["adafactor", "of_each_matrix", "by_matrix", "in_all"]),
    seed=st.integers(0, 99),
)
def test_stacks_of_any_shape(many, rows, columns, name, seed):
    optimizers = pair(
        RULES[name][0], [(many, rows, columns), (columns, many, rows), (rows, columns)]
    )
    for k in range(3):
        step(optimizers, seed + k)
    assert optimizers[0].engine == "kernel"
    assert worst(optimizers) <= 1e-12  # where columns are almost constant, their means cancel


@given(
    rows=st.integers(1, 80),
    columns=st.integers(1, 80),
    name=st.sampled_from(["adafactor", "of_many_kinds", "in_all"]),
    seed=st.integers(0, 99),
)
def test_matrices_of_any_shape(rows, columns, name, seed):
    optimizers = pair(RULES[name][0], [(rows, columns), (columns, rows)])
    for k in range(3):
        step(optimizers, seed + k)
    assert worst(optimizers) <= 1e-12  # where columns are almost constant, their means cancel


@pytest.mark.parametrize("name", RULES)
def test_the_bits_do_not_depend_on_the_threads(name):
    made, _ = RULES[name]
    found = []
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            shapes = [(700, 300), (30, 4000), (5, 5)]
            if kernel(trace(made)).matrices((2, 3, 4)):
                shapes += [(3, 700, 300), (9, 200, 50), (3000, 3, 5)]
            optimizer, _ = pair(made, shapes, torch.float32)
            for k in range(3):
                step([optimizer], k)
        finally:
            torch.set_num_threads(before)
        tensors = [*optimizer.param_groups[0]["params"]]
        tensors += [x for state in optimizer.state.values() for x in state.values()]
        found.append(tensors)
    assert all(map(torch.equal, found[0], found[1]))
    assert all(map(torch.equal, found[0], found[2]))


@pytest.mark.parametrize("name", ["adafactor", "of_many_kinds", "of_each_matrix", "in_all"])
def test_long_rows_are_walked_side_by_side_and_tensors_in_waves(name, monkeypatch):
    monkeypatch.setattr(
        cpu, "_WAVE", 5000
    )  # a wave of the small ones, and one for each of the others
    shapes = [(7, 2100), (30, 4), (5, 3), (9, 2048), (2100, 5)]
    if name != "of_many_kinds":
        shapes.append((2, 6, 2050))
    for dtype in (torch.float64, torch.float32):
        optimizers = pair(RULES[name][0], shapes, dtype)
        for k in range(3):
            step(optimizers, k, missing=(1,) if k == 1 else ())
        assert optimizers[0].engine == "kernel"
        assert worst(optimizers) <= BOUND[dtype] * 4


@pytest.mark.parametrize("name", ["adafactor", "of_many_kinds", "adam_mini", "of_each_matrix"])
def test_gradients_may_be_missing_and_come_late(name):
    made, _ = RULES[name]
    last = (3, 3) if name == "of_many_kinds" else (4, 30, 30)
    optimizers = pair(made, [(5, 3), (40, 130), last])
    for k in range(8):
        step(optimizers, k, missing=[i for i in range(3) if (k + i) % 3 == 0 or k < i])
    assert worst(optimizers) <= 1e-13


def test_state_of_other_dtypes_and_groups():
    optimizers = pair(rules.adafactor, [(50, 30), (7, 9)], torch.float32, state_dtype=torch.float64)
    for optimizer in optimizers:
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(8, 4))], "lr": 0.1})
    for k in range(4):
        step(optimizers, k)
        for optimizer in optimizers:
            p = optimizer.param_groups[1]["params"][0]
            p.grad = torch.full_like(p, 0.1 * k)
    assert worst(optimizers) <= 1e-6
    assert (
        optimizers[0].state[optimizers[0].param_groups[0]["params"][0]]["r"].dtype is torch.float64
    )


def test_stochastic_rounding_of_rows_keeps_their_means():
    @rule(r=zeros(-1))
    def slow(p, g, r, *, lr=0.0, k=0.001):
        return p - lr * g, r + k * (mean(g, axis=-1) - r)

    slow = rule(r=zeros(-1), evaluate=lambda p, r: r)(slow.function)
    p = nn.Parameter(torch.zeros(4096, 3, dtype=torch.bfloat16))
    optimizer = rt.optimizer(slow)([p], stochastic_rounding=3)
    for _ in range(400):
        p.grad = torch.ones_like(p)
        optimizer.step()
    r = optimizer.state[p]["r"].float()
    assert r.shape == (4096, 1)
    assert abs(r.mean().item() - (1 - 0.999**400)) < 3e-3
    assert len(r.unique()) > 3


def test_stochastic_rounding_of_stacks_is_the_same_for_any_number_of_threads():
    found = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            torch.manual_seed(0)
            params = [
                nn.Parameter(torch.randn(shape, dtype=torch.bfloat16))
                for shape in ((3, 300, 130), (700, 9, 11))
            ]
            optimizer = rt.optimizer(rules.adafactor)(params, stochastic_rounding=5)
            for k in range(3):
                step([optimizer], k)
            assert optimizer.engine == "kernel"
        finally:
            torch.set_num_threads(before)
        found.append(params)
    assert all(map(torch.equal, *found))


def test_what_is_used_where_it_is_computed_only_is_not_kept():
    """Of a convolution's matrices, which are small, numbers for each row and column are many."""
    made = kernel(trace(rules.adafactor))
    assert [made.kept(level) for level in (MATRIX, ROW, COLUMN)] == [1, 2, 2]
    chain = rule(r=zeros(-1))(
        lambda p, g, r: (p - g * ((0.5 * r + 1) * 2 + sum(g, axis=-1)), r + 1)
    )
    assert kernel(trace(chain)).kept(ROW) <= 3


def test_checkpoints_and_arrays():
    ours, theirs = pair(rules.adafactor, [(30, 20)])
    for k in range(3):
        step([ours, theirs], k)
    again, _ = pair(rules.adafactor, [(30, 20)])
    again.load_state_dict(copy.deepcopy(ours.state_dict()))
    again.param_groups[0]["params"][0].data.copy_(ours.param_groups[0]["params"][0])
    for k in range(3, 6):
        step([ours, again, theirs], k)
    p, q, reference = (o.param_groups[0]["params"][0] for o in (ours, again, theirs))
    assert torch.equal(p, q)
    assert error(p, reference) <= 1e-14
    array = torch.manual_seed(0) and torch.randn(30, 20, dtype=torch.float64).numpy().copy()
    opt = rn.optimizer(rules.adafactor)([array], engine="kernel")
    for k in range(6):
        generator = torch.Generator().manual_seed(k)
        opt.step([torch.randn(30, 20, generator=generator, dtype=torch.float64).numpy()])
    assert np.abs(array - p.detach().numpy()).max() <= 1e-14
    assert opt.engine == "kernel"


@pytest.mark.parametrize(
    ("made", "shape", "why"),
    [
        (of_each_matrix, (4,), "of 1 dimensions"),
        (of_many_kinds, (4, 3, 3), "of 3 dimensions"),
        (adam_mini, (), "of 0 dimensions"),
    ],
)
def test_what_is_no_matrix_runs_eager(made, shape, why):
    p = nn.Parameter(torch.ones(shape))
    optimizer = rt.optimizer(made)([p])
    assert optimizer.engine == f"kernel; eager for 1 tensor ({why})"
    forced = rt.optimizer(made)([p], engine="kernel")
    p.grad = torch.ones_like(p)
    with pytest.raises(RuleError, match=rf"engine='kernel' is not possible .*: {why}"):
        forced.step()


def test_a_transposed_matrix_runs_eager():
    p = nn.Parameter(torch.ones(3, 4).t())
    assert (
        rt.optimizer(rules.adafactor)([p]).engine == "kernel; eager for 1 tensor (not contiguous)"
    )


def test_how_a_tensor_has_to_be_a_matrix():
    def seen(function, shape):
        return kernel(trace(rule(function))).matrices(shape)

    assert seen(lambda p, g: p - mean(g, keep=0), (4, 3, 2)) == (1, 4, 6)
    assert seen(lambda p, g: p - mean(g, axis=-1), (4, 3, 2)) == (1, 12, 2)
    assert seen(lambda p, g: p - mean(g, axis=-1), (5,)) == (1, 1, 5)
    assert seen(lambda p, g: p - mean(g, keep=0), (5,)) == (1, 5, 1)
    for function in (
        lambda p, g: p - mean(g, axis=-2),
        lambda p, g: p - mean(g, axis=-1) * mean(g, axis=-2),
        lambda p, g: p - mean(mean(g, axis=-1), axis=-2),
        lambda p, g: p * size(g, -2),
    ):
        assert seen(function, (4, 3)) == (1, 4, 3)
        assert seen(function, (5, 4, 3, 2)) == (20, 3, 2)
        assert seen(function, (5,)) is None
    for function in (
        lambda p, g: p - mean(g, axis=0),
        lambda p, g: p - mean(g, keep=0) * mean(g, axis=-1),
        lambda p, g: p - mean(g, keep=1),
        lambda p, g: p * size(g, 1),
    ):
        assert seen(function, (4, 3)) == (1, 4, 3)
        assert seen(function, (4, 3, 2)) is None
    assert "axis 2, which a matrix does not have" in refusal(
        trace(rule(lambda p, g: p - mean(g, axis=2)))
    )
    turned = rule(r=zeros(-1))(lambda p, g, r: (p - g * r, mean(g, axis=-2)))
    assert "the new r, which is a row where the old one is a column" in refusal(trace(turned))
