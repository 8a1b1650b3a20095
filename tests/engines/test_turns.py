"""Kernels and matrix operations by turns equal the call of the function."""

from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

import ravine.numpy as rn
import ravine.torch as rt
from ravine import registry, rule
from ravine.engines.eager import plan
from ravine.engines.turns import CALLED, split
from ravine.modifiers import clip_by_global_norm
from ravine.ops import mean, newton_schulz, normal, rms, sqrt
from ravine.torch.matrices import Stacks

SHAPES = [(5, 3), (3, 5), (4, 4), (5, 3), (300, 260), (260, 300), (1, 6), (40, 1)]
STACKS = [(2, 3, 4), (2, 4, 3), (6, 2, 3, 3)]
BY_TURNS = [
    r for r in registry.rules().values() if any(plan(r, r.check()).uses(op) for op in CALLED)
]
ENGINE = "kernel, matrices by BLAS: newton_schulz"


@rule
def twice(p, g, m, t, *, lr=0.1, k=3.0):
    """One operation on what another gave, two at once, and sums, counts and noise between them."""
    m = 0.9 * m + g / sqrt(t) + 0.1 * normal(p)
    a = newton_schulz(m - mean(m), 3.0, -3.2, 1.2, steps=k)
    b = newton_schulz(m * rms(p), 3.0, -3.2, 1.2, steps=k - 1)
    c = newton_schulz(a + 0.5 * b, 2.0, -1.5, 0.5, steps=2)
    return p - lr * (c + 0.1 * a - 0.1 * mean(b, axis=-1)), m


def parameters(shapes, dtype=torch.float64):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape, dtype=torch.float64).to(dtype)) for shape in shapes]


def trained(make, shapes, engine, steps=6, dtype=torch.float64, **options):
    """A few steps in two groups; some gradients are missing, and lr changes."""
    params = parameters(shapes, dtype)
    groups = [{"params": params[::2]}, {"params": params[1::2], "lr": 0.03}]
    optimizer = make(groups, engine=engine, **options)
    draw = torch.Generator().manual_seed(1)
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


@pytest.mark.parametrize("which", [*BY_TURNS, twice], ids=lambda r: r.name)
def test_turns_equal_calls(which):
    shapes = SHAPES + STACKS * (which.seen == "matrix" or which is twice)
    make = rt.optimizer(which)
    params, optimizer = trained(make, shapes, "auto")
    assert optimizer.engine == ENGINE
    # AdaMuon divides by sizes: an entry that rounding alone tells from zero counts as much as others.
    bound = 1e-11 if which.name.startswith("adamuon") else 1e-13
    assert apart(params, trained(make, shapes, "eager")[0]) < bound


def test_there_are_rules_that_step_by_turns():
    assert {"muon", "normuon", "adamuon", "scion", "polar_express"} <= {r.name for r in BY_TURNS}


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


def test_numpy():
    for shapes in (SHAPES, [*SHAPES, *STACKS]):
        found = []
        for engine in ("kernel", "eager"):
            rng = np.random.default_rng(0)
            params = {str(i): rng.normal(size=shape) for i, shape in enumerate(shapes)}
            optimizer = rn.optimizer(twice)(params, engine=engine)
            for step in range(4):
                grads = {k: rng.normal(size=x.shape) for k, x in params.items()}
                if step:
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


def test_nothing_has_changed_where_an_operation_fails():
    params, optimizer = trained(rt.optimizer(twice), SHAPES, "kernel", steps=2)
    before = (
        [p.detach().clone() for p in params],
        [{k: x.clone() for k, x in optimizer.state[p].items()} for p in params],
    )
    with (
        mock.patch.object(Stacks, "newton_schulz", side_effect=MemoryError("full")),
        pytest.raises(MemoryError, match="full"),
    ):
        optimizer.step()
    assert all(map(torch.equal, params, before[0]))
    for p, state in zip(params, before[1], strict=True):
        assert all(torch.equal(x, state[k]) for k, x in optimizer.state[p].items())


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
            lambda p, g, *, lr=0.1: p - lr * newton_schulz(mean(g, axis=-1), 3, -3, 1),
            "something else than a matrix in the shape of p",
        ),
    ],
)
def test_what_runs_eager(step, why):
    [p] = parameters([(5, 3)])
    optimizer = rt.optimizer(rule(step))([p])
    assert optimizer.engine.startswith("eager: ")
    assert why in optimizer.engine


def test_the_kernels_read_and_leave():
    first, last = split(plan(registry.get("muon"), registry.get("muon").check()))
    assert list(first.given) == ["_given0"]
    assert list(first.found) == ["_found0"]
    assert [first.kernel.slots, first.kernel.last, last.kernel.last] == [(), 0, 0]
    assert first.reads == {"ns_a", "ns_b", "ns_c", "eps", "ns_steps"}
