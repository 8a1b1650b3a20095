"""The cheapest form of an operation computes what the operation does."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import ravine.torch as rt
from ravine import rule, zeros
from ravine.engines.cpu import kernel
from ravine.engines.tracing import trace
from ravine.ops import abs, maximum, mean, sqrt

ROWS, COLUMNS = 5, 37


@rule(r=zeros(-1), c=zeros(-2))
def of_a_product(p, g, r, c):
    return p - g / sqrt(r * c), r, c


@rule(r=zeros(-1), c=zeros(-2))
def of_a_quotient(p, g, r, c, *, k=1.0):
    return p - g / sqrt(k * r / c), r, c


@rule(r=zeros(-1), c=zeros(-2))
def of_many(p, g, r, c):
    return p - g / sqrt(c * r * c / mean(r, axis=-2) / 3), r, c


@rule(r=zeros(-1), c=zeros(-2))
def with_a_floor(p, g, r, c, *, floor=0.1):
    return p - g / sqrt(maximum(r * c / maximum(mean(r, axis=-2), floor), floor**2)), r, c


@rule(r=zeros(-1), c=zeros(-2))
def with_a_floor_for_each_tensor(p, g, r, c):
    return p - g / sqrt(maximum(abs(mean(r)), r * c)), r, c


@rule(r=zeros(-1), c=zeros(-2))
def with_a_floor_below_zero(p, g, r, c, *, floor=-0.1):
    return p - g / sqrt(maximum(r * c, floor)), r, c


RULES = [
    of_a_product,
    of_a_quotient,
    of_many,
    with_a_floor,
    with_a_floor_for_each_tensor,
    with_a_floor_below_zero,
]
usual = [1.0, math.nan, 1e-30, 1e30]
numbers = {
    kind: st.one_of(st.floats(1e-6, 1e6), st.sampled_from([*usual, *more]))
    for kind, more in {"negative": [-1.0, -2.5], "never negative": [0.0, math.inf]}.items()
}
factors = st.sampled_from([*numbers.values()]).flatmap(
    lambda x: st.tuples(
        st.lists(x, min_size=ROWS, max_size=ROWS), st.lists(x, min_size=COLUMNS, max_size=COLUMNS)
    )
)


@given(
    factors=factors,
    floor=st.sampled_from([0.0, 0.1]),
    which=st.sampled_from(RULES),
)
def test_elements_over_the_root_of_rows_times_columns(factors, floor, which):
    (r, c), found = factors, []
    torch.manual_seed(0)
    g = torch.randn(ROWS, COLUMNS, dtype=torch.float64)
    for engine in ("kernel", "eager"):
        p = nn.Parameter(torch.zeros(ROWS, COLUMNS, dtype=torch.float64))
        optimizer = rt.optimizer(which)([p], engine=engine)
        p.grad = torch.zeros_like(p)
        optimizer.step()
        state = optimizer.state[p]
        with torch.no_grad():
            p.zero_()
            state["r"].copy_(torch.tensor(r, dtype=torch.float64).view(ROWS, 1))
            state["c"].copy_(torch.tensor(c, dtype=torch.float64).view(1, COLUMNS))
        if which is with_a_floor:
            optimizer.param_groups[0]["floor"] = floor
        p.grad = g
        optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found, rtol=4e-15, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("which", RULES[:5], ids=lambda r: r.name)
def test_no_root_and_no_division_is_left_for_elements(which):
    made = kernel(trace(which))
    of_elements = {v.op for v in made.needed if v.level == made.outputs["p"].level}
    assert not of_elements & {"sqrt", "div"}


def test_a_floor_that_may_be_negative_is_left_under_the_root():
    made = kernel(trace(with_a_floor_below_zero))
    assert "sqrt" in {v.op for v in made.needed if v.level == made.outputs["p"].level}


@pytest.mark.parametrize("which", RULES[:5], ids=lambda r: r.name)
def test_minus_infinity_is_not_hidden(which):
    p = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
    optimizer = rt.optimizer(which)([p], engine="kernel")
    p.grad = torch.ones_like(p)
    optimizer.step()
    with torch.no_grad():
        optimizer.state[p]["r"].fill_(-math.inf)
        optimizer.state[p]["c"].fill_(1.0)
    optimizer.step()
    assert p.isnan().all()
