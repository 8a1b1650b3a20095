"""Newton-Schulz steps on Gram matrices: the same polynomials, so the same results up to rounding."""

import pytest
import torch
from cases import error
from hypothesis import given, settings
from hypothesis import strategies as st

import ravine.torch as rt
from ravine.arrays import POLAR_EXPRESS
from ravine.torch.matrices import Stacks

JORDAN = (3.4445, -4.775, 2.0315)
SHAPES = [(6, 40), (40, 6), (8, 8), (12, 3, 5, 5), (270, 800)]


def path(name, gram, dtype=torch.float64, steps=4, **options):
    torch.manual_seed(0)
    params = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in SHAPES]
    optimizer = rt.optimizer(name)(params, lr=0.1, gram=gram, **options)
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn_like(p)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize(
    "name", ["muon.seeing('matrix')", "muon_jordan", "polar_express", "normuon"]
)
def test_the_path_is_the_same_but_for_rounding(name):
    from ravine import rules

    rule = rules.muon.seeing("matrix") if name.startswith("muon.") else name
    plain, _ = path(rule, False)
    ours, optimizer = path(rule, True)
    assert optimizer.engine == "kernel, matrices by BLAS: newton_schulz on Gram matrices"
    for p, q, shape in zip(ours, plain, SHAPES, strict=True):
        assert error(p.detach(), q.detach()) <= 1e-12
        long = max(p[0].numel(), shape[0]) >= 2.5 * min(p[0].numel(), shape[0])
        assert torch.equal(p, q) != long  # square matrices are computed as before


@pytest.mark.parametrize("coefficients", [JORDAN, tuple(k for each in POLAR_EXPRESS for k in each)])
@settings(max_examples=30, deadline=None)
@given(
    many=st.integers(1, 3),
    short=st.integers(1, 9),
    ratio=st.integers(3, 6),
    steps=st.integers(0, 9),
    tall=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_number_of_steps(coefficients, many, short, ratio, steps, tall, seed):
    torch.manual_seed(seed)
    shape = (short, short * ratio)[:: -1 if tall else 1]
    x = torch.randn(many, *shape, dtype=torch.float64)
    plain = Stacks().newton_schulz(x.clone(), 1e-7, steps, False, *coefficients).clone()
    found = Stacks(gram=True).newton_schulz(x.clone(), 1e-7, steps, False, *coefficients)
    assert found.shape == x.shape
    assert (found - plain).abs().max() <= 1e-11


def test_fewer_products():
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for gram in (False, True):
        x = torch.randn(1, 100, 500)
        with FlopCounterMode(display=False) as counter:
            Stacks(gram).newton_schulz(x, 1e-7, 5, False, *JORDAN)
        counts.append(counter.get_total_flops())
    n, m = 100, 500
    assert counts == [5 * (4 * n * n * m + 2 * n**3), 2 * 4 * n * n * m + (5 + 3 * 3) * 2 * n**3]


def test_in_bfloat16_it_is_as_near_to_orthogonal():
    torch.manual_seed(0)
    x = torch.randn(1, 64, 256)
    values = {}
    for gram in (False, True):
        found = Stacks(gram).newton_schulz(x.bfloat16(), 1e-7, 5, True, *JORDAN)
        values[gram] = torch.linalg.svdvals(found.double()[0])
    assert values[True].min() > 0.6
    assert values[True].max() < 1.3
    assert (values[True] - values[False]).abs().max() < 0.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gram": "yes"}, "gram='yes' is invalid; it must be True or False"),
        ({"gram": True, "engine": "eager"}, "gram=True needs kernels; engine='eager' has none"),
    ],
)
def test_what_is_not_accepted(options, said):
    with pytest.raises(ValueError, match=said):
        rt.optimizer("muon")([torch.ones(2, 2, requires_grad=True)], **options)


def test_it_is_refused_where_it_does_nothing():
    with pytest.raises(
        ValueError, match="Adam: gram=True does nothing without Newton-Schulz steps"
    ):
        rt.Adam([torch.ones(2, requires_grad=True)], gram=True)
