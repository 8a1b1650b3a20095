"""Operations on whole arrays: reductions, orders and matrices, against NumPy, torch, mpmath and laws."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from engines.test_python import check_printed
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mpmath import mp
from numpy.lib.array_utils import normalize_axis_index

from ravine import RuleError, ops, rule, scalar
from ravine.engines.python import scalar_update
from ravine.engines.tracing import trace
from ravine.numpy import optimizer
from ravine.ops import POLAR_EXPRESS, Tensors

nan, inf = math.nan, math.inf
DTYPES = ["float64", "float32", "bfloat16"]
MAKE = [np.array, partial(torch.tensor, dtype=torch.float64)]
NUMPY = {"sum": np.sum, "mean": np.mean, "greatest": np.max, "least": np.min}
NUMPY |= {"norm": lambda x, **how: np.sqrt(np.sum(x * x, **how))}
NUMPY |= {"rms": lambda x, **how: np.sqrt(np.mean(x * x, **how))}

elements = st.one_of(st.sampled_from([0.0, -0.0, 1.0, inf, -inf, nan]), st.floats(-8, 8, width=16))
shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=4)


def as_array(x):
    return x.double().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, float)


def in_dtype(array, dtype):
    """As a tensor; and what is left of the numbers."""
    x = torch.tensor(array).to(getattr(torch, dtype))
    return x, x.double().numpy()


# --- reductions


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(data=st.data(), x=arrays.arrays(float, shapes, elements=elements))
def test_reductions_are_numpys(name, data, x):
    """Over all axes, along one, and over all but one; NaN propagates."""
    function = getattr(ops, name)
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1)) if x.ndim else 0
    others = tuple(i for i in range(x.ndim) if x.ndim and i != normalize_axis_index(axis, x.ndim))
    tensor = torch.tensor(x)
    for given_, how in (
        ({}, {}),
        ({"axis": axis}, {"axis": axis}),
        ({"keep": axis}, {"axis": others}),
    ):
        if not x.ndim and "axis" in given_:
            continue
        want = NUMPY[name](x, **how, keepdims=bool(how))
        for y in (x, tensor):
            got = function(y, **given_)
            assert tuple(got.shape) == want.shape
            np.testing.assert_allclose(as_array(got), want, rtol=1e-14, atol=1e-14)
        bag = function(Tensors([tensor, tensor]), **given_)
        np.testing.assert_array_equal(bag[1], function(tensor, **given_))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["greatest", "least"])
def test_extremes_are_exact_in_every_dtype(name, dtype):
    x, wide = in_dtype(np.random.default_rng(0).normal(size=(5, 3, 2)), dtype)
    for how in ({}, {"axis": 1}, {"keep": 0}):
        got = getattr(ops, name)(x, **how)
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(got.double(), getattr(ops, name)(wide, **how))


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("name", NUMPY)
def test_to_keep_the_only_axis_keeps_all(name, make):
    """So of a vector; of what has no axes, a number among them, there is nothing to reduce either."""
    function = getattr(ops, name)
    for x in (make([3.0, -4.0]), make([-2.0])[0], -2.0):
        want = abs(x) if name in ("norm", "rms") else x
        for keep in (0, -1):
            assert np.array_equal(function(x, keep=keep), want)


@pytest.mark.parametrize("make", MAKE)
def test_reductions_along_axes_that_are_not_there(make):
    x = make([[1.0, 2.0, 3.0]])
    for function in (ops.sum, ops.mean, ops.greatest, ops.least, ops.norm, ops.rms):
        for axis in (2, -3):
            for how in ("axis", "keep"):
                with pytest.raises(ValueError, match=rf"{how}={axis} is not an axis .*\(1, 3\)"):
                    function(x, **{how: axis})
        with pytest.raises(ValueError, match=r"axis=0 is not an axis of an array of shape \(\)"):
            function(x[0, 0], axis=0)
        with pytest.raises(TypeError, match=r"takes axis or keep, not both, got axis=0, keep=0"):
            function(x, axis=0, keep=0)
        for axis in (True, 0.0, (0, 1), "0"):
            with pytest.raises(TypeError, match=r"axis=.* is invalid; it must be a whole number"):
                function(x, axis=axis)
        with pytest.raises(
            TypeError, match=r"along an axis needs an array or a tensor, got \(\d\.0, 0\)"
        ):
            function(2.0, axis=0)
        assert function(x, axis=np.int64(1)).shape == (1, 1)


@pytest.mark.parametrize("make", [*MAKE, partial(torch.tensor, dtype=torch.bfloat16)])
def test_of_no_elements_the_greatest_is_below_all(make):
    """As their sum is 0: what they are together with other elements does not change."""
    x = make(np.zeros((0, 3)))
    for function, value in ((ops.sum, 0.0), (ops.greatest, -inf), (ops.least, inf)):
        for how, shape in (
            ({}, ()),
            ({"axis": 0}, (1, 3)),
            ({"keep": 1}, (1, 3)),
            ({"keep": 0}, (0, 1)),
        ):
            found = function(x, **how)
            assert (tuple(found.shape), found.dtype) == (shape, x.dtype)
            assert (found == value).all()
        assert function(x, axis=1).shape == (0, 1)
    for made in (
        rule(lambda p, g: p - ops.greatest(g)),
        rule(lambda p, g: p - ops.least(g, keep=0)),
    ):
        for engine in ("auto", "eager"):
            stepped = optimizer(made)([np.zeros((0, 3)), np.ones(2)], engine=engine)
            empty, _ = stepped.step([np.zeros((0, 3)), np.ones(2)])
            assert empty.shape == (0, 3)


def test_an_extreme_that_counts_for_nothing_does_not_matter_to_tensors_without_elements():
    @rule(top=scalar(0.0))
    def made(p, g, top, *, lr=0.1, on=False):
        top = ops.maximum(top, ops.greatest(g))
        return (p - lr * top if on else p - lr * g), top

    stepped = optimizer(made)([np.zeros((0, 3)), np.ones(2)], engine="eager")
    _, p = stepped.step([np.zeros((0, 3)), np.ones(2)])
    np.testing.assert_array_equal(p, [0.9, 0.9])


def test_a_rule_that_keeps_an_axis_runs_on_numbers():
    made = rule(lambda p, g: p - ops.mean(g, keep=0) * ops.greatest(g))
    assert made(5.0, 2.0) == 1.0
    space = scalar_update(made).namespace
    exec(scalar_update(made).source, space)
    assert space["update"](5.0, 2.0, (), 1, ())[0] == 1.0
    with pytest.raises(RuleError, match="is for arrays"):
        scalar_update(rule(lambda p, g: p - ops.greatest(g, axis=0)))


# --- orders


@pytest.mark.parametrize("descending", [False, True])
@given(x=arrays.arrays(float, arrays.array_shapes(max_dims=3, max_side=6), elements=elements))
def test_orders_are_stable_and_nan_is_the_greatest(x, descending):
    for axis in range(-x.ndim, x.ndim):
        # As Python sorts: stable, each number by its place, with NaN beyond infinity.
        sign = -1 if descending else 1
        rank = np.where(np.isnan(x), sign * 2.0, sign * np.arctan(np.nan_to_num(x, nan=0.0)))
        want = np.apply_along_axis(lambda r: sorted(range(len(r)), key=r.__getitem__), axis, rank)
        for y in (x, torch.tensor(x)):
            order = ops.argsort(y, axis, descending)
            np.testing.assert_array_equal(order, want)
            np.testing.assert_array_equal(
                ops.take(y, order, axis), np.take_along_axis(x, want, axis)
            )


@pytest.mark.parametrize("make", MAKE)
def test_an_order_moves_whole_rows_or_columns(make):
    array = np.random.default_rng(0).normal(size=(2, 4, 3))
    x = make(array)
    for axis, other in ((-1, -2), (-2, -1), (0, 1)):
        order = ops.argsort(ops.norm(x, axis=other), axis=axis, descending=True)
        places = np.broadcast_to(order, [*np.broadcast_shapes(order.shape, array.shape)])
        want = np.take_along_axis(array, places, axis)
        np.testing.assert_array_equal(ops.take(x, order, axis), want)
    columns = ops.argsort(x[0, 0])  # with fewer axes: put before
    want = array[..., np.argsort(array[0, 0])]
    for order in (columns, make(np.asarray(columns, float))):  # as a slot has it
        np.testing.assert_array_equal(ops.take(x, order), want)
        np.testing.assert_array_equal(ops.take(x, order, 2), want)
    batch = ops.take(x[0, 0], ops.argsort(x))  # a vector, in as many orders as there are
    np.testing.assert_array_equal(batch, array[0, 0][np.argsort(array)])
    with pytest.raises(
        ValueError, match=r"order of shape \(3,\) has no axis -2; x has shape \(2, 4, 3\)"
    ):
        ops.take(x, columns, 1)
    with pytest.raises(ValueError, match="axis=3 is not an axis"):
        ops.argsort(x, 3)
    with pytest.raises(TypeError, match=r"axis=1\.5 is invalid"):
        ops.take(x, columns, 1.5)


# --- matrices


def positive(shape, seed=0, least=0.1):
    """A batch of symmetric positive definite matrices."""
    a = np.random.default_rng(seed).normal(size=shape)
    return a @ a.mT + least * np.eye(shape[-1])


BATCHES = [(3, 3), (1, 1), (2, 4, 4), (2, 3, 2, 2)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCHES)
def test_cholesky_reads_the_lower_triangle_and_makes_one(shape, dtype):
    x, wide = in_dtype(positive(shape), dtype)
    tall = torch.tril(x) + torch.triu(torch.full_like(x, nan), 1)
    unit = torch.finfo(x.dtype).eps
    for y in (x, tall):
        low = ops.cholesky(y)
        assert low.dtype == x.dtype
        assert torch.equal(low, torch.tril(low))
        np.testing.assert_allclose(
            as_array(low @ low.mT), wide, atol=20 * unit * np.abs(wide).max()
        )
    if dtype == "float64":
        np.testing.assert_allclose(ops.cholesky(wide), low, rtol=1e-12)


@pytest.mark.parametrize("make", MAKE)
def test_cholesky_of_an_indefinite_matrix_is_refused_by_the_library(make):
    with pytest.raises((ValueError, RuntimeError), match=r"(?i)positive[- ]definite"):
        ops.cholesky(make([[1.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize(
    ("a", "b"), [((3, 3), (3, 2)), ((2, 4, 4), (4, 1)), ((2, 2), (5, 1, 2, 3))]
)
def test_triangles_are_solved(a, b, transposed, lower, dtype):
    """Only one triangle is read; batches meet by broadcasting."""
    draw = np.random.default_rng(0)
    full, full_wide = in_dtype(draw.normal(size=a) + 3 * np.eye(a[-1]), dtype)
    right, right_wide = in_dtype(draw.normal(size=b), dtype)
    triangle = (np.tril if lower else np.triu)(full_wide)
    want = np.linalg.solve(triangle.mT if transposed else triangle, right_wide)
    found = ops.solve_triangular(full, right, lower, transposed)
    assert found.dtype == full.dtype
    np.testing.assert_allclose(found.double(), want, atol=30 * torch.finfo(full.dtype).eps)
    if dtype != "bfloat16":
        arrays_ = full.numpy(), right.numpy()
        ours = ops.solve_triangular(*arrays_, lower=lower, transposed=transposed)
        assert ours.dtype == arrays_[0].dtype
        np.testing.assert_allclose(ours, want, atol=30 * torch.finfo(full.dtype).eps)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("make", MAKE)
def test_a_triangle_of_bad_condition_is_solved_by_substitution(make, lower):
    """Whatever its condition, the residual is a few units: what is solved is a triangle close by."""
    n = 30
    a = np.tril(np.random.default_rng(0).normal(size=(n, n)), -1) + np.diag(2.0 ** -np.arange(n))
    a = a if lower else a.T
    b = np.random.default_rng(1).normal(size=(n, 2))
    x = as_array(ops.solve_triangular(make(a), make(b), lower))
    with mp.workprec(200):
        product = mp.matrix(a.tolist()) * mp.matrix(x.tolist()) - mp.matrix(b.tolist())
    residual = np.array(product.tolist(), float)
    unit = np.finfo(float).eps
    assert (np.abs(residual) <= n * unit * np.abs(a) @ np.abs(x) + unit * np.abs(b)).all()


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_zero_on_the_diagonal_divides(make):
    got = ops.solve_triangular(make([[0.0, 0.0], [1.0, 2.0]]), make([[1.0], [1.0]]))
    np.testing.assert_array_equal(got, [[inf], [-inf]])


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (2, 1)), ((3, 3), (2, 1)), ((3, 3), (3,)), ((3,), (3, 1))]
)
def test_triangles_of_other_shapes_are_refused(make, a, b):
    with pytest.raises(ValueError, match=r"a must be of shape \(\.\.\., n, n\) and b of") as found:
        ops.solve_triangular(make(np.ones(a)), make(np.ones(b)))
    assert f"got {a} and {b}" in str(found.value)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCHES)
@pytest.mark.parametrize("order", [1, 2, 4, 2.5])
def test_the_inverse_root_is_that_of_the_eigenvalues(shape, order, dtype):
    x, wide = in_dtype(positive(shape), dtype)
    wide = np.tril(wide) + np.tril(wide, -1).mT
    values, vectors = np.linalg.eigh(wide)
    want = (vectors * (values + 1e-12)[..., None, :] ** (-1 / order)) @ vectors.mT
    found = ops.inverse_root(x, order)
    assert found.dtype == x.dtype
    assert torch.equal(found, found.mT)
    scale = np.abs(want).max() * (np.linalg.cond(wide).max() if dtype != "bfloat16" else 1)
    atol = 4 * torch.finfo(x.dtype).eps * scale
    np.testing.assert_allclose(found.double(), want, atol=atol)
    if dtype == "float64":
        ours = ops.inverse_root(wide, order)
        np.testing.assert_array_equal(ours, ours.mT)
        np.testing.assert_allclose(ours, want, atol=atol)
        if order == int(order):  # so is what its name says
            power = np.linalg.matrix_power(ours, int(order))
            eye = np.broadcast_to(np.eye(shape[-1]), shape)
            np.testing.assert_allclose(power @ wide, eye, atol=1e-10)


@pytest.mark.parametrize("make", MAKE)
def test_the_inverse_root_of_a_singular_matrix_is_that_of_eps(make):
    """Eigenvalues that rounding has made negative count as 0."""
    g = np.random.default_rng(0).normal(size=(6, 2))
    a = g @ g.T
    assert np.linalg.eigvalsh(a).min() < 0
    for eps in (1e-2, 1e-6):
        values, vectors = np.linalg.eigh(a)
        values = np.where(values < 1e-12, 0.0, values)
        want = (vectors * (values + eps) ** -0.25) @ vectors.T
        np.testing.assert_allclose(ops.inverse_root(make(a), 4, eps), want, rtol=1e-6)
    np.testing.assert_allclose(ops.inverse_root(make(np.zeros((2, 2))), 2, 1e-4), 100 * np.eye(2))
    with np.errstate(all="ignore"):
        assert np.isnan(as_array(ops.inverse_root(make(np.zeros((2, 2))), 2, 0.0))).all()


def test_half_precision_is_decomposed_in_single():
    a = torch.tensor(positive((3, 3)), dtype=torch.bfloat16)
    for made, again in (
        (ops.qr(a), lambda q, r: q @ r),
        (ops.eigh(a), lambda values, v: (v * values) @ v.mT),
    ):
        assert {x.dtype for x in made} == {torch.bfloat16}
        np.testing.assert_allclose(again(*made).double(), a.double(), atol=0.05 * float(a.max()))


# --- Newton-Schulz with coefficients for each step


def polar_express(g, steps, coefficients):
    """Amsel et al., Algorithm 1, but in the precision of g."""
    x = g.mT if g.shape[-2] > g.shape[-1] else g
    x = x / (np.linalg.norm(x, axis=(-2, -1), keepdims=True) * 1.01 + 1e-7)
    for a, b, c in (coefficients + coefficients[-1:] * steps)[:steps]:
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x.mT if g.shape[-2] > g.shape[-1] else x


def optimal_quintic(low, high):
    """The odd polynomial of degree 5 that is nearest to 1 on an interval, by Remez's algorithm."""
    if low / high >= 1 - 5e-6:
        return np.array([15 / 8 / high, -10 / 8 / high**3, 3 / 8 / high**5])
    inner, error, before = [(3 * low + high) / 4, (low + 3 * high) / 4], 1.0, 2.0
    while abs(error - before) > 1e-15:
        points = np.array([low, *inner, high])
        columns = [points, points**3, points**5, [1, -1, 1, -1]]
        a, b, c, new = np.linalg.solve(np.transpose(columns), np.ones(4))
        before, error = error, new
        root = math.sqrt(9 * b * b - 20 * a * c)
        inner = [math.sqrt((-3 * b + sign * root) / (10 * c)) for sign in (-1, 1)]
    return np.array([a, b, c])


def published():
    """Their coefficients recomputed: for singular values from 1e-3 on, cushioned as they say."""
    low, high, found = 1e-3, 1.0, []
    for _ in range(8):
        k = optimal_quintic(max(low, 0.02407327424182761 * high), high)
        ends = [k @ [x, x**3, x**5] for x in (low, high)]
        k = k * 2 / sum(ends)
        found.append(k)
        low = k @ [low, low**3, low**5]
        high = 2 - low
    safety = np.array([1.01, 1.01**3, 1.01**5])
    return [tuple(k / safety) for k in found[:-1]] + [tuple(found[-1])]


def test_polar_express_has_the_coefficients_of_its_paper():
    """Computed by the paper's own algorithm."""
    first, *rest = POLAR_EXPRESS
    first = [k * 1.01**power for k, power in zip(first, (1, 3, 5), strict=True)]
    np.testing.assert_allclose([first, *rest], published(), rtol=1e-6)


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (2, 4, 4)])
@pytest.mark.parametrize("steps", [None, 1, 5, 8, 11])
def test_polar_express_is_its_papers(make, shape, steps):
    g = np.random.default_rng(0).normal(size=shape)
    want = polar_express(g, steps or 8, published())
    got = ops.newton_schulz(make(g), POLAR_EXPRESS, steps=steps)
    np.testing.assert_allclose(got, want, atol=2e-6)
    if (steps or 8) >= 8:
        values = np.linalg.svd(as_array(got))[1]
        np.testing.assert_allclose(values, 1, atol=2e-6)


@pytest.mark.parametrize("make", MAKE)
def test_triples_are_taken_in_turn(make):
    g = np.random.default_rng(0).normal(size=(3, 4))
    x = g / np.linalg.norm(g)
    triples = [(2.0, -1.0, 0.5), [1.5, -0.5, 0.0], (3.0, 0.0, -0.1)]
    for steps, used in ((None, triples), (2, triples[:2]), (5, triples + triples[-1:] * 2)):
        want = x
        for a, b, c in used:
            s = want @ want.T
            want = a * want + (b * s + c * s @ s) @ want
        for form in (triples, tuple(triples)):
            got = ops.newton_schulz(make(g), form, steps=steps)
            np.testing.assert_allclose(got, want, rtol=1e-9)
    alike = [
        ops.newton_schulz(make(g), *given_) for given_ in ((2, -1, 0.5), ([(2, -1, 0.5)] * 5,))
    ]
    np.testing.assert_array_equal(*alike)


def test_a_bag_of_coefficients_is_one_for_each_tensor():
    g = np.random.default_rng(0).normal(size=(3, 4))
    bag = ops.newton_schulz(
        Tensors([g, g]), Tensors([2.0, 1.5]), -0.5, Tensors([0.0, 0.1]), steps=3
    )
    for got, (a, c) in zip(bag, ((2.0, 0.0), (1.5, 0.1)), strict=True):
        np.testing.assert_array_equal(got, ops.newton_schulz(g, a, -0.5, c, steps=3))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 2, 5, 3)])
def test_a_batch_in_bfloat16_is_normalised_matrix_by_matrix(shape):
    x = torch.tensor(np.random.default_rng(0).normal(size=shape))
    x[0] *= 100
    found = ops.newton_schulz(x, 3.4445, -4.775, 2.0315, bfloat16=True)
    each = [ops.newton_schulz(m, 3.4445, -4.775, 2.0315, bfloat16=True) for m in x.flatten(0, -3)]
    assert found.dtype == x.dtype
    torch.testing.assert_close(found, torch.stack(each).reshape(shape), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "coefficients", [(1.0,), (1.0, 2.0), ([],), ([(1.0, 2.0)],), ([1.0, 2.0, 3.0],)]
)
def test_other_coefficients_are_refused(coefficients):
    with pytest.raises(TypeError, match="takes numbers a, b, c, or a list of triples"):
        ops.newton_schulz(np.eye(2), *coefficients)
    with pytest.raises(TypeError, match="list of triples in place of all three"):
        ops.newton_schulz(np.eye(2), [(1.0, 2.0, 3.0)], 1.0, 2.0)


# --- in rules


@settings(max_examples=30)
@given(st.integers(0, 5))
def test_a_rule_may_use_them_all(seed):
    """Shampoo with its matrices in an order: what the graph says is what the function gives."""

    @rule
    def made(p, g, *, lr=0.1, eps=1e-3, order=4.0, a=1.5):
        left = ops.matmul(g, ops.transpose(g))
        low = ops.cholesky(left + eps * ops.matmul(ops.qr(left)[0], ops.transpose(ops.qr(left)[0])))
        u = ops.solve_triangular(low, ops.matmul(ops.inverse_root(left, order, eps), g))
        u = ops.take(u, ops.argsort(ops.norm(u, keep=1), descending=True)) + ops.greatest(
            u, axis=-1
        )
        return p - lr * ops.newton_schulz(u, [(a, -0.5, 0.0), (2.0, -1.0, lr)], steps=3)

    draw = np.random.default_rng(seed)
    check_printed(made, draw.normal(size=(3, 4)), draw.normal(size=(2, 3, 4)))
    p, g = draw.normal(size=(2, 3, 4))
    np.testing.assert_allclose(made(torch.tensor(p), torch.tensor(g)), made(p, g), rtol=1e-6)
    assert trace(made).of_arrays
