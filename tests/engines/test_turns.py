"""Kernels and matrix operations by turns equal the call of the function."""

from contextlib import contextmanager
from copy import deepcopy
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

import ravine.numpy as rn
import ravine.torch as rt
from ravine import registry, rule
from ravine.engines.cutting import is_cut
from ravine.engines.eager import plan
from ravine.modifiers import clip_by_global_norm
from ravine.ops import (
    abs,
    argsort,
    cholesky,
    eigh,
    greatest,
    inverse_root,
    matmul,
    mean,
    newton_schulz,
    norm,
    normal,
    qr,
    rms,
    size,
    solve_triangular,
    sqrt,
    sum,
    take,
    tanh,
    total,
    transpose,
    where,
)
from ravine.rule import RuleError, low_rank, square
from ravine.torch import matrices
from ravine.torch.matrices import Stacks
from ravine.torch.stepping import CallPart

SMALL = [(5, 3), (3, 5), (4, 4), (5, 3), (12, 9), (9, 12), (1, 6), (40, 1)]
SHAPES = [(5, 3), (3, 5), (4, 4), (5, 3), (300, 260), (260, 300), (1, 6), (40, 1)]
STACKS = [(2, 3, 4), (2, 4, 3), (6, 2, 3, 3)]
BY_TURNS = [r for r in registry.rules().values() if is_cut(plan(r, r.check()))]


@rule
def twice(p, g, m, t, *, lr=0.1, k=3.0):
    """One operation on what another gave, two at once, and sums, counts and noise between them."""
    m = 0.9 * m + g / sqrt(t) + 0.1 * normal(p)
    a = newton_schulz(m - mean(m), 3.0, -3.2, 1.2, steps=k)
    b = newton_schulz(m * rms(p), 3.0, -3.2, 1.2, steps=k - 1)
    c = newton_schulz(a + 0.5 * b, 2.0, -1.5, 0.5, steps=2)
    return p - lr * (c + 0.1 * a - 0.1 * mean(b, axis=-1)), m


@rule(left=square(-2, 1.0), right=square(-1), q=low_rank("rank"))
def mixed(p, g, m, left, right, q, t, *, lr=0.01, rank=2, every=2):
    """All that a library is called for, and what it gives as numbers, rows, and in other shapes than p's."""
    m = 0.9 * m + g * tanh(mean(left))
    left = 0.9 * left + 0.1 * t * matmul(g, transpose(g))
    right = where(t % every == 1, transpose(0.5 * right - matmul(transpose(g), m)), right)
    values, vectors = eigh(left)
    root = matmul(vectors * sqrt(abs(values) + 1) / size(values, -1), transpose(vectors))
    u = matmul(root, m) + inverse_root(left, 4, 1e-3) @ g * size(left)
    u = u + solve_triangular(cholesky(left + root), g) * sum(left, axis=-1) / norm(left)
    order = argsort(sum(right, keep=1), descending=True)
    u = u + take(m, order) * greatest(right, axis=0)
    q = where(t == 1, normal(q), qr(q)[0] * (1 + 0.1 / t))
    u = u + 0.1 * matmul(q, matmul(transpose(q), g)) * rms(q) + newton_schulz(u, 1.5, -0.5, 0.0)
    return p - lr * u / (1 + rms(u)), m, left, right, q


def parameters(shapes, dtype=torch.float64):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape, dtype=torch.float64).to(dtype)) for shape in shapes]


def trained(make, shapes, engine, steps=6, dtype=torch.float64, after=None, **options):
    """A few steps in two groups; some gradients are missing, and lr changes. after: parameters and the
    optimizer that has stepped them so far.
    """
    params = parameters(shapes, dtype)
    groups = [{"params": params[::2]}, {"params": params[1::2], "lr": 0.03}]
    optimizer = make(groups, engine=engine, **options)
    draw = torch.Generator().manual_seed(1)
    if after is not None:
        with torch.no_grad():
            torch._foreach_copy_(params, after[0])
        optimizer.load_state_dict(deepcopy(after[1].state_dict()))
    for step in range(steps):
        for i, p in enumerate(params):
            g = torch.randn(p.shape, generator=draw, dtype=torch.float64).to(dtype)
            p.grad = None if (i + step) % 5 == 0 and step else g
        if step == 3:
            optimizer.param_groups[0]["lr"] = 0.01
        optimizer.step()
    return params, optimizer


def apart(ones, others):
    return max(float((x - y).detach().abs().max()) for x, y in zip(ones, others, strict=True))


@contextmanager
def no_calls():
    """The rule's function is not called."""
    with mock.patch.object(CallPart, "compute", side_effect=AssertionError("a rule is called")):
        yield


@pytest.mark.parametrize("which", [*BY_TURNS, twice, mixed], ids=lambda r: r.name)
def test_turns_equal_calls(which):
    """Thirty steps in float64. What rounding leaves is below 2e-15 here; a matrix in the wrong place, or one
    that is not up to date, changes the third digit.
    """
    shapes = SMALL + STACKS * (which.seen == "matrix" or which is twice)
    make, after = rt.optimizer(which), None
    if which.name == "soap":  # a product without full rank does not determine all of its basis
        shapes = [shape for shape in shapes if shape != (40, 1)]
        after = trained(make, shapes, "eager", steps=1)
    with no_calls(), mock.patch.object(matrices, "_TOGETHER", 4):  # some stacks at once, some not
        params, optimizer = trained(make, shapes, "auto", steps=30, after=after)
    assert optimizer.engine.startswith("kernel, matrices by BLAS: ")
    assert "eager" not in optimizer.engine
    assert apart(params, trained(make, shapes, "eager", steps=30, after=after)[0]) < 1e-13


def test_there_are_rules_that_step_by_turns():
    names = {r.name for r in BY_TURNS}
    assert {"muon", "normuon", "scion", "soap", "shampoo", "psgd_kron", "galore", "dion"} <= names


def test_what_takes_time_is_said():
    every, due = (rt.optimizer(name)([*parameters([(5, 3)])]).engine for name in ("dion", "soap"))
    assert every == "kernel, matrices by BLAS: matmul, qr"
    assert due == "kernel, matrices by BLAS: matmul; when due: eigh, qr"


def test_large_matrices_are_not_put_into_stacks():
    make = rt.optimizer("shampoo")
    with mock.patch.object(torch, "bmm", side_effect=AssertionError("a stack")):
        params, optimizer = trained(make, [(300, 260)] * 3, "kernel", steps=2, every=2)
    assert apart(params, trained(make, [(300, 260)] * 3, "eager", steps=2, every=2)[0]) < 1e-13
    assert optimizer.engine == "kernel, matrices by BLAS: matmul; when due: inverse_root"


def test_only_what_is_due_is_computed():
    decomposed = torch.linalg.eigh
    with mock.patch.object(torch.linalg, "eigh", side_effect=decomposed) as eigh:
        optimizer = rt.optimizer("shampoo")(params := parameters([(5, 3)] * 4), every=4)
        for _ in range(9):
            for p in params:
                p.grad = torch.randn_like(p)
            optimizer.step()
    assert eigh.call_count == 3 * 2  # for the rows and for the columns of all, at steps 1, 5 and 9


def test_first_bases():
    make = rt.optimizer("soap")
    shapes = [(4, 4), (5, 5), (4, 4), (40, 40)]
    ones, others = (trained(make, shapes, engine, every=3)[0] for engine in ("kernel", "eager"))
    assert apart(ones, others) < 1e-11  # two eigenvalues of 40 are near each other


def test_totals_and_rounding():
    make = rt.optimizer(clip_by_global_norm(registry.get("muon")))
    ones, others = (
        trained(make, SHAPES, engine, max_norm=0.5)[0] for engine in ("kernel", "eager")
    )
    assert apart(ones, others) < 1e-13
    options = {"max_norm": 0.5, "bfloat16": True, "dtype": torch.bfloat16}
    rounded = [
        trained(make, SHAPES, "kernel", stochastic_rounding=seed, **options)[0]
        for seed in (1, 1, 2)
    ]
    assert apart(*rounded[:2]) == 0 < apart(*rounded[1:])


def test_a_total_where_not_all_is_due():
    """Where gradients are missing, some tensors are at steps at which roots are due, and some are not."""
    make = rt.optimizer(clip_by_global_norm(registry.get("shampoo")))
    options = {"steps": 12, "every": 3, "max_norm": 0.5, "eps": 1e-2}  # large beside roundings
    with no_calls():
        ones = trained(make, SMALL, "kernel", **options)[0]
    assert apart(ones, trained(make, SMALL, "eager", **options)[0]) < 1e-13


def test_narrow_numbers():
    """Parameters, or their state, in bfloat16: the products are of float32, as the eager engine's."""
    make = rt.optimizer("shampoo")
    for dtype, state in ((torch.bfloat16, None), (torch.float32, torch.bfloat16)):
        options = {"dtype": dtype, "state_dtype": state, "steps": 4, "every": 2, "lr": 1e-3}
        ones, optimizer = trained(make, SMALL, "kernel", **options)
        others, eager = trained(make, SMALL, "eager", **options)
        assert apart(ones, others) < (0.05 if dtype == torch.bfloat16 else 1e-4)
        for p, q in zip(ones, others, strict=True):
            for slot, x in optimizer.state[p].items():
                y = eager.state[q][slot]
                assert x.dtype == y.dtype
                size = float(y.abs().max())
                assert float((x - y).abs().max()) <= 0.02 * size
    with pytest.raises(RuleError, match="left is a half-precision matrix that BLAS computes"):
        trained(make, SMALL, "kernel", dtype=torch.bfloat16, stochastic_rounding=True)


def test_complex_numbers_are_pairs():
    make = rt.optimizer("muon")

    def after(engine):
        draw = torch.Generator().manual_seed(0)
        p = nn.Parameter(torch.randn(4, 3, dtype=torch.complex128, generator=draw))
        optimizer = make([p], engine=engine)
        for _ in range(4):
            p.grad = torch.randn(p.shape, dtype=p.dtype, generator=draw)
            optimizer.step()
        return [torch.view_as_real(p)]

    with no_calls():
        ones = after("auto")
    assert apart(ones, after("eager")) < 1e-13


def test_state_that_is_replaced_is_found():
    make = rt.optimizer("shampoo")

    def after(engine, load):
        params, optimizer = trained(make, SMALL, engine, steps=3)
        for _ in range(3):
            if load:
                optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
            for p in params:
                p.grad = p.detach() + 1
            optimizer.step()
        return params

    assert apart(after("kernel", load=True), after("eager", load=False)) < 1e-13


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_as_torchs_muon_in_bfloat16():
    """Singular values are brought near 1 in bfloat16: another order of sums would be another number."""
    ours, theirs = (
        trained(make, SHAPES, dtype=torch.float32, **options)[0]
        for make, options in (
            (rt.Muon, {"engine": "kernel"}),
            (lambda groups, engine: torch.optim.Muon(groups), {"engine": None}),
        )
    )
    assert apart(ours, theirs) < 2e-4


@pytest.mark.parametrize("which", [twice, mixed, *map(registry.get, ("shampoo", "dion", "galore"))])
def test_numpy(which):
    for shapes in (SMALL, [*SMALL, *STACKS] if which is twice else [(5, 3)]):
        found = []
        for engine in ("kernel", "eager"):
            rng = np.random.default_rng(0)
            params = {str(i): rng.normal(size=shape) for i, shape in enumerate(shapes)}
            optimizer = rn.optimizer(which)(params, engine=engine)
            for step in range(4):
                grads = {k: rng.normal(size=x.shape) for k, x in params.items()}
                if step and len(shapes) > 1:
                    grads["2"] = None
                optimizer.step(grads)
            found.append(params)
        assert all(np.abs(x - found[1][k]).max() < 1e-13 for k, x in found[0].items())


def test_a_number_of_the_operation_may_change():
    def after(*steps):
        [p] = parameters([(5, 3)])
        optimizer = rt.optimizer(twice)([p], k=2.0)
        for k in steps:
            optimizer.param_groups[0]["k"] = k
            p.grad = torch.ones_like(p) + p.detach()
            optimizer.step()
        return p.detach()

    assert torch.equal(after(2.0, 2.0, 5.0), after(2.0, 2.0, 5.0))
    assert not torch.equal(after(2.0, 2.0, 5.0), after(2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("which", "operation"), [(twice, "newton_schulz"), (mixed, "multiply"), ("soap", "orthonormal")]
)
def test_nothing_has_changed_where_an_operation_fails(which, operation):
    params, optimizer = trained(rt.optimizer(which), SMALL, "kernel", steps=2)
    optimizer.param_groups[0]["every"] = 1
    before = (
        [p.detach().clone() for p in params],
        [{k: x.clone() for k, x in optimizer.state[p].items()} for p in params],
    )
    with (
        mock.patch.object(Stacks, operation, side_effect=MemoryError("full")),
        pytest.raises(MemoryError, match="full"),
    ):
        optimizer.step()
    assert all(map(torch.equal, params, before[0]))
    for p, state in zip(params, before[1], strict=True):
        assert all(torch.equal(x, state[k]) for k, x in optimizer.state[p].items())


def test_what_a_library_refuses_is_said_with_the_rule():
    @rule
    def factored(p, g, *, lr=0.1):
        return p - lr * cholesky(-matmul(g, transpose(g))) @ g

    [p] = parameters([(5, 3)])
    optimizer = rt.optimizer(factored)([p], engine="kernel")
    p.grad = torch.ones_like(p)
    with pytest.raises(RuleError, match=r"rule 'factored': cholesky: .*seen as 5 by 3"):
        optimizer.step()


def test_under_inference_mode_and_autocast():
    def after(*contexts):
        params = parameters([(5, 3), (3, 5)], torch.float32)
        optimizer = rt.optimizer(twice)(params, engine="kernel")
        for context in contexts:
            for p in params:
                p.grad = torch.ones_like(p) + torch.eye(*p.shape)
            with context:
                optimizer.step()
        return params

    plain = [torch.no_grad()] * 3
    cast = [torch.autocast("cpu", dtype=torch.bfloat16)] * 3
    assert apart(after(*plain), after(*cast)) == 0
    assert apart(after(*plain), after(plain[0], torch.inference_mode(), plain[0])) == 0


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (lambda p, g, t, *, lr=0.1: p - lr * newton_schulz(g, 3, -3, 1, eps=t), "depend on t"),
        (
            lambda p, g, *, lr=0.1: p - lr * matmul(g, p),
            "matmul, of matrices whose sides do not fit",
        ),
        (
            lambda p, g, *, lr=0.1: p - lr * total(matmul(g, transpose(g))),
            "uses total, of a matrix",
        ),
    ],
)
def test_what_runs_eager(step, why):
    [p] = parameters([(5, 3)])
    optimizer = rt.optimizer(rule(step))([p])
    assert optimizer.engine.startswith("eager: ")
    assert why in optimizer.engine
