"""Slots of other shapes and dtypes than the parameter's: square, of low rank, kept in a dtype."""

import numpy as np
import pytest
import torch

import ravine.numpy as rn
import ravine.torch as rt
from ravine import filled, like_p, low_rank, rule, scalar, square, zeros
from ravine.ops import inverse_root, qr, transpose
from ravine.reading.about import about


@rule(left=square(-2, 1e-6), right=square(-1, 1e-6))
def shampoo(p, g, left, right, *, lr=0.1):
    left = left + g @ transpose(g)
    right = right + transpose(g) @ g
    return p - lr * (inverse_root(left, 4) @ g @ inverse_root(right, 4)), left, right


@rule(basis=low_rank("rank"), m=low_rank("rank", axis=-2))
def projected(p, g, basis, m, t, *, lr=0.1, beta1=0.9, rank=2):
    basis, _ = qr(g @ (transpose(g) @ (basis + 1)))
    m = beta1 * m + (1 - beta1) * (transpose(basis) @ g)
    return p - lr * (basis @ m), basis, m


@rule(m=filled(0.0).kept_in("bfloat16"), v=filled(0.0).kept_in("float64"))
def mixed(p, g, m, v, *, lr=0.1, beta1=0.9, beta2=0.99):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return p - lr * m / (v**0.5 + 1e-8), m, v


def gradients(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def by_torch(made, p0, gs, dtype=torch.float64, **options):
    p = torch.tensor(p0, dtype=dtype, requires_grad=True)
    stepper = rt.optimizer(made)([p], **options)
    for g in gs:
        p.grad = torch.tensor(g, dtype=dtype)
        stepper.step()
    return p.detach().double().numpy(), stepper.state[p]


def by_numpy(made, p0, gs, **options):
    w = p0.copy()
    stepper = rn.optimizer(made)(w, **options)
    for g in gs:
        stepper.step(g)
    return w, stepper.state["params"]


FRONTS = [by_torch, by_numpy]


@pytest.mark.parametrize("front", FRONTS)
def test_shampoo_has_a_matrix_for_each_side(front):
    """Gupta et al., 2018 (arXiv:1802.09568), Algorithm 1, by eigenvalues in NumPy."""

    def root(a):
        values, vectors = np.linalg.eigh(a)
        return vectors * values**-0.25 @ vectors.T

    gs, want = gradients(8, 3, 4), gradients(3, 4, seed=1)
    p, state = front(shampoo, want, gs)
    left, right = 1e-6 * np.eye(3), 1e-6 * np.eye(4)
    for g in gs:
        left, right = left + g @ g.T, right + g.T @ g
        want = want - 0.1 * root(left) @ g @ root(right)
    np.testing.assert_allclose(p, want, rtol=1e-10)
    assert (state["left"].shape, state["right"].shape) == ((3, 3), (4, 4))


@pytest.mark.parametrize("front", FRONTS)
def test_a_batch_of_matrices_has_a_square_for_each(front):
    gs, p0 = gradients(4, 2, 3, 4), gradients(2, 3, 4, seed=1)
    together, state = front(shampoo, p0, gs)
    assert state["left"].shape == (2, 3, 3)
    for i in range(2):
        alone, _ = front(shampoo, p0[i], gs[:, i])
        np.testing.assert_allclose(together[i], alone, rtol=1e-9)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize(("rank", "kept"), [(1, 1), (2, 2), (9, 3)])
def test_a_slot_of_low_rank_is_no_longer_than_the_matrix(front, rank, kept):
    _, state = front(projected, gradients(3, 5), gradients(3, 3, 5, seed=1), rank=rank)
    assert (state["basis"].shape, state["m"].shape) == ((3, kept), (kept, 5))


def test_the_whole_rank_projects_nothing_away():
    p0, gs = gradients(3, 5), gradients(6, 3, 5, seed=1)
    p, _ = by_numpy(projected, p0, gs[:1], rank=3, beta1=0.0)
    np.testing.assert_allclose(p, p0 - 0.1 * gs[0], rtol=1e-12)


@pytest.mark.parametrize("front", FRONTS)
def test_what_needs_a_matrix_refuses_a_vector(front):
    for made, slot in ((shampoo, "left"), (projected, "basis")):
        with pytest.raises(ValueError, match=rf"'{slot}': .* that is a matrix, got shape \(3,\)"):
            front(made, np.zeros(3), np.ones((1, 3)))


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("rank", [0, -2, 1.5])
def test_a_rank_is_a_whole_number(front, rank):
    with pytest.raises(ValueError, match=f"rank={rank} is invalid; the rank of a slot"):
        front(projected, np.zeros((3, 4)), np.ones((1, 3, 4)), rank=rank)


def test_a_checkpoint_of_another_rank_is_refused():
    def fresh(rank):
        p = torch.zeros(3, 4, requires_grad=True)
        p.grad = torch.ones(3, 4)
        return rt.optimizer(projected)([p], rank=rank)

    saved = fresh(2)
    saved.step()
    other = fresh(1)
    groups = other.state_dict()["param_groups"]
    with pytest.raises(ValueError, match=r"'basis' in the shape \(3, 2\).*'basis' has \(3, 1\)"):
        other.load_state_dict({**saved.state_dict(), "param_groups": groups})
    again = fresh(2)
    again.load_state_dict(saved.state_dict())
    again.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("engine", ["kernel", "eager"])
def test_a_slot_is_kept_in_its_own_dtype(dtype, engine):
    p0, gs = gradients(7), gradients(5, 7, seed=1)
    _, state = by_torch(mixed, p0, gs, dtype, engine=engine, state_dtype=torch.float16)
    assert (state["m"].dtype, state["v"].dtype) == (torch.bfloat16, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_engines_agree_on_slots_of_other_dtypes(dtype):
    p0, gs = gradients(33), gradients(5, 33, seed=1)
    kernel, eager = (by_torch(mixed, p0, gs, dtype, engine=e)[0] for e in ("kernel", "eager"))
    np.testing.assert_array_equal(kernel, eager)


def test_numpy_keeps_what_it_has_a_dtype_for():
    w = np.ones(3, np.float32)
    stepper = rn.optimizer(mixed)(w)
    stepper.step(np.ones(3))
    state = stepper.state["params"]
    assert (state["m"].dtype, state["v"].dtype) == (np.float32, np.float64)


def test_what_is_no_such_slot_is_refused():
    for make in (lambda: square(0), lambda: low_rank(2, axis=0), lambda: low_rank(0)):
        with pytest.raises(TypeError, match=r"square: axis=0|low_rank: axis=0|low_rank: rank=0"):
            make()
    with pytest.raises(TypeError, match="'int8' is invalid; it must be one of float64, float32"):
        filled(0.0).kept_in("int8")
    with pytest.raises(TypeError, match="a scalar slot is always kept in float64"):
        scalar(0.0).kept_in("float32")
    with pytest.raises(TypeError, match="slot r has the rank 'k', which is not"):
        rule(r=low_rank("k"))(lambda p, g, r, *, lr=0.1: (p - lr * g, r))


def test_the_state_is_told_in_words():
    assert about(shampoo).kept().startswith("left: a matrix of m × m for one of m × n; right:")
    assert "left starts at 1e-06 times the identity" in about(shampoo).kept()
    assert "m: a matrix of rank × n for one of m × n" in about(projected).kept()
    assert about(mixed).kept().startswith("m, v: 10 bytes per float32 parameter, 10 per float64")
    assert like_p.kept_in("float32").start == "p"
    assert zeros(-1).kept_in("float32").short
