"""The operations: the same on floats, NumPy, torch and bags, and IEEE 754 everywhere."""

import math
from functools import partial, wraps

import numpy as np
import pytest
import torch
from cases import default_dtype
from hypothesis import example, given
from hypothesis import strategies as st
from installed import zeroth_power

from ravine import ops
from ravine.ops import Tensors

nan, inf = math.nan, math.inf
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.3,
    -2.5,
    0.5,
    1.5,
    -0.5,
    2.0**52 + 0.5,
    1e-320,
    1e308,
    709.0,
    709.782,
    710.0,
    -750.0,
    inf,
    -inf,
    nan,
]
UNARY = ["sqrt", "abs", "sign", "exp", "log", "tanh", "floor", "round"]
BINARY = ["maximum", "minimum"]
ARRAYS = [np.array, partial(torch.tensor, dtype=torch.float64)]
floats = st.one_of(st.sampled_from(SPECIAL), st.floats(width=64))


def same(a, b, ulp=0):
    """Equal, signs of zero and NaN included; or that many units in the last place apart."""
    a, b = float(a), float(b)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if a == b:
        return math.copysign(1, a) == math.copysign(1, b)
    return abs(a - b) <= ulp * math.ulp(b)


@pytest.mark.parametrize("name", UNARY)
@given(x=floats)
def test_unary_on_floats_is_numpys_and_raises_nothing(name, x):
    result = getattr(ops, name)(x)
    assert type(result) is float
    with np.errstate(all="ignore"):
        if name == "sign" and x == 0:
            assert result == 0
        else:
            assert same(result, getattr(np, name)(x), ulp=2)


@pytest.mark.parametrize("name", BINARY)
@given(x=floats, y=floats)
def test_maximum_and_minimum_on_floats_are_numpys(name, x, y):
    result = getattr(ops, name)(x, y)
    expected = getattr(np, name)(x, y)
    assert result == expected or same(result, expected)


@given(y=floats, x=floats)
@example(y=0.0, x=-0.0)
@example(y=-0.0, x=-1.0)
@example(y=-inf, x=-inf)
@example(y=5e-324, x=-inf)
def test_atan2_on_floats_is_numpys(y, x):
    result = ops.atan2(y, x)
    assert type(result) is float
    assert same(result, np.atan2(y, x), ulp=2)


SINGLE = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.3,
    -2.5,
    0.5,
    1.5,
    1e-45,
    -1e-41,
    1e-20,
    1e20,
    3e38,
    inf,
    -inf,
    nan,
]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", ["tanh", "floor", "round", "atan2"])
def test_functions_of_tensors_are_those_of_numpy_in_every_dtype(name, dtype):
    """atan2 of tensors, and of a number on either side."""
    x = torch.tensor(
        SPECIAL + SINGLE if dtype == "float64" else SINGLE, dtype=getattr(torch, dtype)
    )
    pairs = [(x,)]
    if name == "atan2":
        pairs = [(a, x) for a in (1.5, -0.0, -inf)] + [(x, a) for a in (1.5, -0.0, -inf)]
        pairs.append(tuple(a.flatten() for a in torch.meshgrid(x, x, indexing="ij")))
    for args in pairs:
        got = getattr(ops, name)(*args)
        assert got.dtype == x.dtype
        wide = [a.double().numpy() if isinstance(a, torch.Tensor) else a for a in args]
        want = getattr(np, name)(*wide)
        info, found = torch.finfo(x.dtype), got.double().numpy()
        np.testing.assert_allclose(found, want, rtol=2 * info.eps, atol=info.tiny * info.eps)
        known = ~np.isnan(want)
        assert (np.signbit(found) == np.signbit(want))[known].all()


@pytest.mark.parametrize("name", UNARY)
def test_unary_is_the_same_on_numpy_torch_and_bags(name):
    function, array = getattr(ops, name), np.array(SPECIAL[: -1 if name == "sign" else None])
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(array)
        np.testing.assert_array_equal(function(array), expected)
        bag = function(Tensors([array, array[:2]]))
    np.testing.assert_array_equal(bag[1], expected[:2])
    np.testing.assert_allclose(function(torch.tensor(array)).numpy(), expected, rtol=1e-15)


def test_the_sign_of_nan_is_nan_everywhere():
    for x in (nan, np.array(nan), torch.tensor(nan)):
        assert math.isnan(ops.sign(x))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_maximum_and_minimum_take_numbers_on_either_side(name, dtype):
    function, array = getattr(ops, name), np.array([-1.0, 0.3, 5.0, nan], dtype)
    tensor, expected = torch.tensor(array), getattr(np, name)(array, np.array(0.3, dtype))
    for default in (torch.float32, torch.float64):
        with default_dtype(default):
            for x, y in ((array, np.array(0.3, dtype)), (tensor, tensor[1])):
                for result in (function(x, 0.3), function(0.3, x), function(x, y)):
                    assert str(result.dtype).endswith(dtype)
                    np.testing.assert_array_equal(result, expected)


def test_clip():
    assert [ops.clip(x, -1.0, 0.5) for x in (-3.0, 0.25, 3.0)] == [-1.0, 0.25, 0.5]
    assert math.isnan(ops.clip(nan, -1.0, 1.0))
    np.testing.assert_array_equal(
        ops.clip(np.array([-3.0, 0.25, 3.0]), -1.0, 0.5), [-1.0, 0.25, 0.5]
    )


def test_where_takes_what_it_is_given():
    assert ops.where(True, 1.0, 2.0) == 1.0
    assert ops.where(2 < 1, 1.0, 2.0) == 2.0
    for make in (np.array, torch.tensor):
        a, b = make([1.0, 2.0]), make([3.0, 4.0])
        assert ops.where(True, a, b) is a
        assert ops.where(make(0.0) > 1, a, b).tolist() == b.tolist()
        assert ops.where(a > 1, a, b).tolist() == [3.0, 2.0]
        assert ops.where(a > 1, a, 0.5).tolist() == [0.5, 2.0]
        assert ops.where(a > 1, -1, b).tolist() == [3.0, -1.0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_two_numbers_in_a_where_take_the_parameters_dtype(dtype):
    array = np.array([-1.0, 1.0], dtype)
    expected = np.array([0.7, 1.2], dtype)
    for default in (torch.float32, torch.float64):
        with default_dtype(default):
            for p in (array, torch.tensor(array)):
                with ops.typed_like(p):
                    result = ops.where(p > 0, 1.2, 0.7)
                    ones = ops.where(p > 0, 1, 0)
                assert result.dtype == ones.dtype == p.dtype
                np.testing.assert_array_equal(result, expected)


def test_the_dtype_is_forgotten_afterwards():
    p = np.zeros(2, np.float32)
    with pytest.raises(KeyError), ops.typed_like(p):
        raise KeyError
    assert ops.where(p == 0, 1.0, 2.0).dtype == np.float64


@pytest.mark.parametrize("make", ARRAYS)
def test_reductions(make):
    x = make([[3.0, -4.0], [0.0, 12.0]])
    assert float(ops.sum(x)) == float(ops.total(x)) == 11.0
    assert float(ops.mean(x)) == 2.75
    assert float(ops.norm(x)) == 13.0
    assert float(ops.rms(x)) == 6.5


def test_reductions_of_a_float_are_itself():
    assert [f(-3.0) for f in (ops.sum, ops.mean, ops.total)] == [-3.0, -3.0, -3.0]
    assert ops.norm(-3.0) == ops.rms(-3.0) == 3.0


@pytest.mark.parametrize("make", ARRAYS)
@pytest.mark.parametrize("axis", [0, 1, -1, -2, -3])
def test_sums_and_means_along_an_axis_leave_it_with_length_one(make, axis):
    array = np.arange(24.0).reshape(2, 3, 4)
    x = make(array)
    for name in ("sum", "mean"):
        along = getattr(ops, name)(x, axis=axis)
        assert (x - along).shape == (2, 3, 4)
        assert along.shape[axis] == 1
        np.testing.assert_array_equal(along, getattr(np, name)(array, axis=axis, keepdims=True))
        bag = getattr(ops, name)(Tensors([x, 2 * x]), axis=axis)
        np.testing.assert_array_equal(bag[1], 2 * along)


@pytest.mark.parametrize("make", ARRAYS)
def test_sizes(make):
    x = make(np.zeros((2, 3, 4)))
    assert [ops.size(x, axis) for axis in (0, 1, -1, -2)] == [2, 3, 4, 3]
    assert list(ops.size(Tensors([x, x[0]]), -2)) == [3, 3]


def test_the_epsilon_is_that_of_the_dtype():
    for dtype, expected in (("float64", 2.0**-52), ("float32", 2.0**-23), ("float16", 2.0**-10)):
        for x in (np.zeros(2, dtype), torch.zeros(2, dtype=getattr(torch, dtype))):
            assert ops.epsilon(x) == expected
            assert type(ops.epsilon(x)) is float
    assert ops.epsilon(torch.zeros(1, dtype=torch.bfloat16)) == 2.0**-7
    assert ops.epsilon(1.0) == 2.0**-52


@pytest.mark.parametrize("make", ARRAYS)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (2, 3, 5)])
def test_newton_schulz_makes_all_singular_values_one(make, shape):
    array = np.random.default_rng(0).normal(size=shape)
    u, _, vt = np.linalg.svd(array, full_matrices=False)
    found = ops.newton_schulz(make(array), 1.5, -0.5, 0.0, 1e-7, 40)
    np.testing.assert_allclose(found, u @ vt, atol=1e-9)


def test_newton_schulz_in_one_step_is_the_polynomial():
    array = np.random.default_rng(0).normal(size=(3, 4))
    x = array / np.linalg.norm(array)
    expected = 2 * x - x @ x.T @ x + 0.5 * x @ x.T @ x @ x.T @ x
    for a in (array, torch.tensor(array)):
        for y, z in ((a, expected), (ops.transpose(a), expected.T)):
            np.testing.assert_allclose(ops.newton_schulz(y, 2, -1, 0.5, 1e-7, 1), z, rtol=1e-13)
            small = ops.newton_schulz(y * 1e-9, 2, 0, 0, 1.0, 1)
            np.testing.assert_allclose(small, 2e-9 * y, rtol=1e-13)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_newton_schulz_in_bfloat16_is_torchs(shape, dtype):
    x = torch.tensor(np.random.default_rng(0).normal(size=shape)).to(dtype)
    a, b, c = 3.4445, -4.775, 2.0315
    found = ops.newton_schulz(x, a, b, c, 1e-7, 5, True)
    assert found.dtype == dtype
    assert torch.equal(found, zeroth_power(x, (a, b, c), 5, 1e-7).to(dtype))
    exact = ops.newton_schulz(x.double(), a, b, c, 1e-7, 5)
    assert 0 < (found - exact).abs().max() < 0.1
    with pytest.raises(TypeError, match="NumPy has no bfloat16"):
        ops.newton_schulz(x.double().numpy(), a, b, c, 1e-7, 5, True)


@pytest.mark.parametrize("make", ARRAYS)
def test_matrices(make):
    x = make([[2.0, 1.0], [1.0, 3.0]])
    y = make([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(ops.matmul(x, ops.transpose(y)), [[4, 10], [7, 15]])
    q, r = ops.qr(y)
    np.testing.assert_allclose(ops.matmul(q, r), y, atol=1e-12)
    np.testing.assert_allclose(ops.matmul(ops.transpose(q), q), np.eye(2), atol=1e-12)
    values, vectors = ops.eigh(x)
    assert values[0] < values[1]
    np.testing.assert_allclose(ops.matmul(x, vectors), vectors * values, atol=1e-12)


def test_a_batch_of_matrices_is_transposed_alike():
    x = np.arange(24.0).reshape(2, 3, 4)
    assert ops.transpose(x).shape == ops.transpose(torch.tensor(x)).shape == (2, 4, 3)


def test_matrix_operations_refuse_floats():
    for f in (
        *(ops.transpose, ops.qr, ops.eigh),
        wraps(ops.size)(lambda x: ops.size(x, 0)),
        wraps(ops.newton_schulz)(lambda x: ops.newton_schulz(x, 1, 0, 0)),
    ):
        with pytest.raises(
            TypeError, match=rf"ravine.ops.{f.__name__} needs an array or a tensor.*2\.5"
        ):
            f(2.5)


OPERATORS = ["+", "-", "*", "/", "**", "%", "<", "<=", ">", ">=", "==", "!="]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("make", ARRAYS)
def test_operators_map_over_a_bag_from_both_sides(operator, make):
    values = [[1.0, 2.0, 3.0], [0.5, 4.0]]
    space = {"bag": Tensors(make(v) for v in values)}
    others = [
        2.0,
        2,
        make(2.0),
        Tensors([make(2.0), make(2.0)]),
        *[np.float64(2)] * (make is np.array),
    ]
    for other in others:
        for code in (f"bag {operator} other", f"other {operator} bag"):
            result = eval(code, {**space, "other": other})
            assert isinstance(result, Tensors), (code, type(other))
            for got, v in zip(result, values, strict=True):
                expected = eval(code, {"bag": np.array(v), "other": 2.0})
                np.testing.assert_allclose(
                    np.asarray(got, float), expected.astype(float), rtol=1e-15
                )


@pytest.mark.parametrize("operator", ["+=", "-=", "*=", "/=", "**="])
def test_augmented_assignment_maps_over_a_bag_too(operator):
    before = [np.array([1.0, 2.0]), np.array([3.0])]
    space = {"bag": Tensors(before)}
    exec(f"bag {operator} 2", space)
    assert isinstance(space["bag"], Tensors)
    for got, old in zip(space["bag"], before, strict=True):
        np.testing.assert_allclose(got, eval(f"old {operator[:-1]} 2", {"old": old}))


def test_negation_and_abs_and_matmul_of_a_bag():
    bag = Tensors([np.eye(2), 2 * np.eye(2)])
    assert (-bag)[1][0, 0] == -2
    assert abs(-bag)[1][0, 0] == 2
    assert (bag @ bag)[1][0, 0] == 4


def test_total_sums_over_the_whole_bag_and_sum_over_each_tensor():
    bag = Tensors([np.array([1.0, 2.0]), torch.tensor([3.0]), 4.0])
    assert ops.total(bag) == 10.0
    assert ops.total(bag) != 9.0
    assert [float(x) for x in ops.sum(bag)] == [3.0, 3.0, 4.0]
    assert [float(x) for x in ops.norm(Tensors([np.array([3.0, 4.0]), 2.0]))] == [5.0, 2.0]


def test_bags_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        Tensors([1.0, 2.0]) + Tensors([1.0])


def test_a_bag_is_a_switch_only_if_all_agree():
    assert Tensors([1.0, 2.0])
    assert not Tensors([0.0, 0.0])
    with pytest.raises(ValueError, match=r"on or off for all tensors alike.*\[0\.0, 0\.9\]"):
        bool(Tensors([0.0, 0.9]))


def test_where_on_a_bag_takes_each_tensors_dtype():
    for default in (torch.float32, torch.float64):
        with default_dtype(default):
            for dtype in (torch.float32, torch.float64):
                p = torch.tensor([-1.0, 1.0], dtype=dtype)
                bag = Tensors([p, p.double()])
                with ops.typed_like(bag):
                    result = ops.where(bag > 0, 1.2, 0.7)
                assert [x.dtype for x in result] == [dtype, torch.float64]
                assert result[1].tolist() == [0.7, 1.2]


def test_subclasses_of_arrays_and_tensors_are_arrays_and_tensors():
    class Array(np.ndarray):
        pass

    class Tensor(torch.Tensor):
        pass

    for x in (np.array([4.0, 9.0]).view(Array), torch.tensor([4.0, 9.0]).as_subclass(Tensor)):
        assert ops.sqrt(x).tolist() == [2.0, 3.0]
        assert ops.where(x > 5, x, 0.0).tolist() == [0.0, 9.0]
