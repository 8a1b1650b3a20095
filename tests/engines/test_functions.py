"""tanh, atan2, floor, round and extremes in kernels: to a few units in the last place, everywhere."""

import math

import numpy as np
import pytest
import torch
from engines.kernels import Kernel
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mpmath import mp

from ravine import ops, rule, scalar
from ravine.engines.eager import plan
from ravine.engines.llvm.variant import Variant
from ravine.engines.lowering import lower
from ravine.ops import atan2, floor, greatest, least, mean, tanh
from ravine.torch import optimizer

TANH = rule(lambda p, g: tanh(g))
ATAN2 = rule(lambda p, g: atan2(p, g))
FLOOR = rule(lambda p, g: floor(g))
ROUND = rule(lambda p, g: ops.round(g))
WHAT_IS_LEFT = 3  # elements after the widest vectors of a loop

SPECIAL = [0.0, 1.0, 0.5, 1.5, 2.5, 0.625, 0.41421356237309503, 2.4142135623730951, 20.0, 800.0]
SPECIAL += [1e-30, 1e30, math.inf, math.nan, 2.0**23 + 0.5, 2.0**52 + 0.5, 1e-45, 5e-324, 3e38]
SPECIAL += [-x for x in SPECIAL]


def stepped(made, p, g):
    one = Kernel(made, [p])
    one.step([g])
    return one.ps[0]


def units(got, want, dtype):
    """How many units in the last place apart; 0 where both are NaN, or one infinity or zero."""
    info = np.finfo(dtype)
    if math.isnan(got) or not mp.isfinite(want):
        return 0 if got == want or (math.isnan(got) and mp.isnan(want)) else math.inf
    if want == 0:
        return 0 if got == 0 else math.inf
    exponent = max(mp.frexp(want)[1] - 1, info.minexp)
    return float(abs(mp.mpf(float(got)) - want) / mp.ldexp(1, int(exponent) - info.nmant))


def signs_are(got, want):
    known = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got)[known], np.signbit(want)[known])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_functions_are_right_to_a_few_units(dtype, data):
    """Against 60 digits, in vectors and in what is left over; numbers of every size."""
    width = {np.float64: 64, np.float32: 32}[dtype]
    numbers = st.floats(width=width) | st.floats(-3, 3, width=width)
    y, x = (data.draw(arrays.arrays(dtype, 35, elements=numbers)) for _ in "yx")
    with mp.workdps(60), np.errstate(all="ignore"):
        exact = [mp.tanh(mp.mpf(float(v))) for v in x]
        found = stepped(TANH, y, x)
        assert max(units(*pair, dtype) for pair in zip(found, exact, strict=True)) <= 3
        signs_are(found, np.tanh(x))
        finite = np.isfinite(x) & np.isfinite(y) & (y != 0)  # mpmath has one zero only
        found = stepped(ATAN2, y, x)
        pairs = zip(y[finite], x[finite], strict=True)
        exact = [mp.atan2(mp.mpf(float(a)), mp.mpf(float(b))) for a, b in pairs]
        assert all(units(*pair, dtype) <= 3 for pair in zip(found[finite], exact, strict=True))
        signs_are(found, np.arctan2(y, x))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_functions_are_right_on_a_fine_grid(dtype):
    """Where polynomials end and other formulas begin, too."""
    grid = np.linspace(-1.5, 1.5, 6001)
    ends = [np.nextafter(x, x + s) for x in (0.625, -0.625) for s in (-1, 1)]
    x = np.concatenate([grid, 10 * grid, 2.0**-20 * grid, ends]).astype(dtype)
    found = stepped(TANH, 0 * x, x)
    with mp.workdps(40):
        assert (
            max(units(f, mp.tanh(mp.mpf(float(v))), dtype) for f, v in zip(found, x, strict=True))
            < 2
        )
        for y in (np.ones_like(x), -x[::-1]):
            found = stepped(ATAN2, y, x)
            exact = [
                mp.atan2(mp.mpf(float(a)), mp.mpf(float(b))) for a, b in zip(y, x, strict=True)
            ]
            assert max(units(*pair, dtype) for pair in zip(found, exact, strict=True)) < 3


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_values_are_numpys(dtype):
    with np.errstate(all="ignore"):
        y, x = (a.ravel() for a in np.meshgrid(*[np.array(SPECIAL).astype(dtype)] * 2))
    for made, function in ((TANH, np.tanh), (FLOOR, np.floor), (ROUND, np.rint)):
        found, want = stepped(made, y, x), function(x)
        np.testing.assert_allclose(found, want, rtol=3 * np.finfo(dtype).eps, atol=0)
        signs_are(found, want)
    found, want = stepped(ATAN2, y, x), np.arctan2(y, x)
    np.testing.assert_allclose(
        found, want, rtol=3 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny / 2
    )
    signs_are(found, want)
    for made in (FLOOR, ROUND):
        np.testing.assert_array_equal(stepped(made, y, x), made(y, x))


def test_scalars_are_computed_as_elements_are():
    made = rule(
        lambda p, g, *, a=1.0, b=2.0: g * 0 + tanh(a) * atan2(a, b) + floor(b) - ops.round(a)
    )
    for a in SPECIAL[:12]:
        for b in (0.0, -0.0, 2.5, -3.5):
            one = Kernel(made, [np.ones(2)], a=a, b=b)
            one.step([np.ones(2)])
            np.testing.assert_allclose(one.ps[0], made(1.0, 1.0, a=a, b=b), rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_the_eager_engines(dtype):
    draw = torch.Generator().manual_seed(0)
    made = rule(
        lambda p, g: tanh(g) + atan2(p, g) * floor(3 * p) - ops.round(2.5 * g) * greatest(g)
    )
    ps = [torch.randn(1000, generator=draw).to(dtype).requires_grad_() for _ in range(2)]
    ps[1].data.copy_(ps[0])
    for p, engine in zip(ps, ("kernel", "eager"), strict=True):
        p.grad = torch.linspace(-3, 3, 1000).to(dtype)
        optimizer(made)([p], engine=engine).step()
    torch.testing.assert_close(*ps, rtol=2 * torch.finfo(dtype).eps, atol=1e-2)


# --- the greatest and the least

EXTREMES = [rule(lambda p, g: greatest(g)), rule(lambda p, g: -least(-g))]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("size", [1, 2, 31, 64, 67, 8191, 8193, 40000])
@pytest.mark.parametrize("made", EXTREMES)
def test_the_greatest_is_found_wherever_it_is(made, size, dtype):
    draw = torch.Generator().manual_seed(size)
    p = torch.zeros(size, dtype=getattr(torch, dtype))
    g = torch.randn(size, generator=draw, dtype=torch.float64).to(p.dtype)
    torch.testing.assert_close(stepped(made, p, g), g.max().expand(size), rtol=0, atol=0)
    for place in {0, size // 2, size - 1, size - min(size, WHAT_IS_LEFT)}:
        for value in (100.0, math.inf, math.nan):
            high = g.clone()
            high[place] = value
            want = torch.full_like(p, value)
            torch.testing.assert_close(stepped(made, p, high), want, rtol=0, atol=0, equal_nan=True)


@given(arrays.arrays(float, st.integers(1, 100), elements=st.floats()))
@example(np.array([math.nan, -math.inf]))
@example(np.full(64, -math.inf))
@example(np.full(70, -5e-324))
@settings(max_examples=60, deadline=None)
def test_extremes_are_numpys(g):
    for made in EXTREMES:
        np.testing.assert_array_equal(
            stepped(made, np.zeros_like(g), g), np.full_like(g, np.max(g))
        )


def test_extremes_have_the_same_bits_for_any_number_of_threads():
    made = rule(m=scalar(0.0))(
        lambda p, g, m: (p - (greatest(p * g) + least(g - p) * mean(g)) * g + m, m + greatest(g))
    )
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(n, generator=draw) for n in (100_000, 70_001, 5)]
    grads = [torch.randn(len(p), generator=draw) for p in start]
    before, results = torch.get_num_threads(), []
    try:
        for many in (1, 2, 3, 5):
            torch.set_num_threads(many)
            ps = [p.clone().requires_grad_() for p in start]
            for p, g in zip(ps, grads, strict=True):
                p.grad = g
            stepper = optimizer(made)(ps, engine="kernel")
            for _ in range(3):
                stepper.step()
            results.append([*(p.detach() for p in ps), *(stepper.state[p]["m"] for p in ps)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_all_reductions_share_a_pass():
    made = rule(lambda p, g: p - greatest(g) * least(g) + mean(g) * least(p))
    (first, second) = Variant(lower(plan(made, {})), ("float32",) * 2).passes
    assert (list(first.loads), len(first.sums), list(second.stores)) == (["p", "g"], 4, ["p"])
