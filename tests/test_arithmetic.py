"""What operations mean on plain numbers: NumPy's float64, and nothing raises or becomes complex."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from test_ops import SPECIAL, same

from ravine.arithmetic import COMPARISONS, meaning, typed_like

POWERS = [0.5, -0.5, 2.0, 3.0, -1.0, -2.0, 1.5, 0.0, 1.0, 0.25, -3.0]
numbers = st.one_of(st.sampled_from([*SPECIAL, *POWERS]), st.floats(width=64))
NUMPY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
NUMPY |= {"pow": np.power, "mod": np.remainder, "lt": np.less, "ge": np.greater_equal}
NUMPY |= {"eq": np.equal, "ne": np.not_equal}


@pytest.mark.parametrize("name", NUMPY)
@given(x=numbers, y=numbers)
@example(x=-1e300, y=1.5)
@example(x=-0.0, y=-3.0)
@example(x=-1e200, y=3.0)
def test_operators_on_numbers_are_numpys(name, x, y):
    result = meaning(name, "")(x, y)
    assert type(result) is float
    with np.errstate(all="ignore"):
        # Beside a single exponent, as of an array by a number.
        assert same(result, NUMPY[name](np.array([x, x]), y)[0], ulp=1)


def test_whole_numbers_and_truths_are_floats():
    assert meaning("add", "")(1, 10**400) == math.inf
    assert meaning("mul", "")(0.5, -(10**400)) == -math.inf
    assert meaning("pow", "")(2, -1) == 0.5
    assert meaning("sub", "")(True, True) == 0.0
    assert [type(meaning(name, "")(1, True)) for name in ("mul", "maximum", *COMPARISONS)] == [
        float
    ] * 8


@pytest.mark.parametrize("make", [np.array, partial(torch.tensor, dtype=torch.float64)])
def test_where_has_the_shape_and_dtype_of_both_branches(make):
    kind = "numpy" if make is np.array else "torch"
    where = meaning("where", kind)
    row, column = make([[1.0, 2.0]]), make([[3.0], [4.0]])
    for condition in (True, 1.0, math.nan, np.True_):
        assert where(condition, 0.5, row).tolist() == [[0.5, 0.5]]
        assert where(condition, row, 0.5) is row
        assert where(condition, row, column).tolist() == [[1.0, 2.0], [1.0, 2.0]]
    assert where(0.0, 0.5, row) is row
    assert where(False, row, column).tolist() == [[3.0, 3.0], [4.0, 4.0]]
    single = row[0].astype(np.float32) if kind == "numpy" else row[0].float()
    assert str(where(True, 0.1, single).dtype).endswith("float32")
    assert str(where(True, single, row).dtype).endswith("float64")
    assert where(make([math.nan, 0.0]), 1.0, row[0]).tolist() == [1.0, 2.0]


def test_no_gradient_comes_from_the_branch_that_is_not_taken():
    where, x = meaning("where", "torch"), torch.tensor([0.0, 1.0], requires_grad=True)
    for taken in (1.0, torch.ones(3, 1)):
        result = where(False, x.log(), taken) * x
        assert torch.autograd.grad(result.mean(), x)[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_comparison_is_a_number_of_ps_dtype(dtype):
    p = np.array([1.0, -1.0], dtype)
    for x, kind in ((p, "numpy"), (torch.tensor(p), "torch")):
        with typed_like(x):
            answer = meaning("gt", kind)(x, 0)
        assert answer.dtype == x.dtype
        assert answer.tolist() == [1.0, 0.0]


def test_torchs_remainders_are_right_where_the_quotient_overflows():
    x, y = [1e300, 1.0, -1.0] * 9, [1e-310, 5e-324, 5e-324] * 9
    got = meaning("mod", "torch")(*(torch.tensor(v, dtype=torch.float64) for v in (x, y)))
    assert got.tolist() == [a % b for a, b in zip(x, y, strict=True)]


def test_torch_divides_a_number_instead_of_multiplying_with_the_reciprocal():
    y = torch.tensor([1e-310, -1e-310], dtype=torch.float64)
    assert meaning("div", "torch")(1e-20, y).tolist() == [1e-20 / 1e-310, -1e-20 / 1e-310]
