"""Random numbers by counting: how they are distributed, and that their bits are the same everywhere."""

import copy
import io
import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, draws, modifier, ops, rule, rules, zeros
from ravine.draws import Draw
from ravine.engines.digest import digest
from ravine.engines.python import kernel_source, scalar_update
from ravine.engines.tracing import trace
from ravine.ops import mean, normal, qr, sqrt, sum, uniform, where
from ravine.reading.equations import terminal
from ravine.reading.worked import worked

ENGINES = ("kernel", "eager")
NORMAL = ["-0x1.12b3e64e72b9bp+1", "-0x1.04d2104ea601cp+1", "0x1.67cc1e0565a24p-5"]
NORMAL += ["-0x1.2ec8e4e8641a0p-3"]
UNIFORM = ["0x1.0507399fcf3e0p-6", "0x1.54a7b97688ce0p-6", "0x1.08f7e030a9835p-1"]
UNIFORM += ["0x1.c3d28e822b112p-2"]
MANY = 400_000


def kolmogorov(shares):
    """The root of n times the largest distance from the uniform distribution; above 1.95 once in 1000."""
    shares = np.sort(shares)
    n = len(shares)
    steps = np.arange(n + 1) / n
    return n**0.5 * max((steps[1:] - shares).max(), (shares - steps[:-1]).max())


def share(z):
    return torch.special.ndtr(torch.from_numpy(z.astype(float))).numpy()


def correlation(x, y):
    """In standard deviations of that of independent numbers."""
    return np.corrcoef(x, y)[0, 1] * len(x) ** 0.5


# --- the numbers


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_uniform_numbers_are_uniform(dtype):
    u = draws.uniform(np, np.empty(MANY, dtype), 0, Draw(7, 3, 1))
    assert u.dtype == dtype
    assert 0 < u.min() < 1e-5
    assert 1 - 1e-5 < u.max() < 1
    assert kolmogorov(u.astype(float)) < 1.95
    for n in (2, 3, 4):  # squares and cubes: next to each other
        mine = u[: MANY // n * n].reshape(-1, n) - 0.5
        assert abs(np.prod(mine, axis=1).mean()) < 4 * 12 ** (-n / 2) * (n / MANY) ** 0.5


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_normal_numbers_are_normal(dtype):
    z = draws.normal(np, np.empty(MANY, dtype), 0, Draw(7, 3, 1)).astype(float)
    assert kolmogorov(share(z)) < 1.95
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)]:
        assert abs((z**power).mean() - moment) < 4 * (variance / MANY) ** 0.5
    assert 4 < abs(z).max() < 6.5


def test_normal_numbers_are_quantiles():
    """At the uniform numbers of the same stream, which every region of the formula has some of."""
    u = draws.uniform(np, np.empty(MANY), 2, Draw())
    z = draws.normal(np, np.empty(MANY), 2, Draw())
    np.testing.assert_allclose(z, torch.special.ndtri(torch.from_numpy(u)), rtol=1e-14, atol=1e-15)
    far = np.array([2.0**-53, 1e-15, 1e-11, 1.4e-11, 1e-5, 0.075, 0.5, 0.925, 0.9999, 1 - 2.0**-53])
    found = draws._quantile(np, far)
    np.testing.assert_allclose(
        found, torch.special.ndtri(torch.from_numpy(far)), rtol=1e-14, atol=0
    )
    assert found.tolist() == [draws._quantile(draws._Numbers, float(u)) for u in far]


def test_uniform_numbers_stay_below_one_in_float32():
    most = np.array([1 - 2.0**-53, 1 - 2.0**-25, 0.5])
    rounded = draws._rounded(np, np.empty(3, np.float32), most, 1 - 2**-24)
    assert rounded.tolist() == [1 - 2**-24, 1 - 2**-24, 0.5]


def test_all_that_tells_numbers_apart_does():
    base = Draw(0, 1, 0)
    others = [
        (Draw(1, 1, 0), 0),
        (Draw(0, 2, 0), 0),
        (Draw(0, 1, 1), 0),
        (base, 1),
        (Draw(1, 0, 0), 0),
    ]
    others += [(Draw(0, 1, 2), 1), (Draw(2**40, 1, 0), 0), (Draw(-1, 1, 0), 0), (Draw(0, 0, 1), 0)]
    known = [normal_of(base, 0), *(normal_of(*other) for other in others)]
    for x, y in itertools.combinations(known, 2):
        assert abs(correlation(x, y)) < 4.5
        assert not (x == y).any()
    for lag in (1, 2, 7, 64, 256, 8192):
        assert abs(correlation(known[0][lag:], known[0][:-lag])) < 4.5


def normal_of(draw, stream):
    return draws.normal(np, np.empty(50_000), stream, draw)


def test_steps_tensors_and_elements_are_independent():
    """A number of each of many steps, and of each of many tensors, is as random as those of one tensor."""
    one = np.empty(1)
    for made in (
        lambda i: Draw(0, i, 0),
        lambda i: Draw(i, 1, 0),
        lambda i: Draw(0, 1, i),
    ):
        z = np.array([draws.normal(np, one, 0, made(i))[0] for i in range(4000)])
        assert kolmogorov(share(z)) < 1.95
        assert abs(correlation(z[1:], z[:-1])) < 4.5


def test_the_numbers_do_not_change_from_version_to_version():
    """What a seed stands for is kept."""
    z = draws.normal(np, np.empty(4), 1, Draw(42, 7, 3))
    u = draws.uniform(np, np.empty(4), 1, Draw(42, 7, 3))
    assert [x.hex() for x in z.tolist()] == NORMAL
    assert [x.hex() for x in u.tolist()] == UNIFORM


SEEDS = st.integers(-(2**70), 2**70)


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(0, 2**50), st.integers(0, 2**40), st.integers(0, 99), st.integers(0, 70))
def test_libraries_have_the_same_bits(seed, t, number, stream, size):
    for draw in (draws.normal, draws.uniform):
        for dtype in ("float64", "float32", "float16"):
            mine = draw(np, np.empty(size, dtype), stream, Draw(seed, t, number))
            like = torch.empty(size, dtype=getattr(torch, dtype))
            theirs = draw(torch, like, stream, Draw(seed, t, number))
            assert mine.dtype == dtype
            assert theirs.dtype == like.dtype
            assert mine.tobytes() == theirs.numpy().tobytes()
            if dtype == "float64" and size:
                assert draw(None, 1.0, stream, Draw(seed, t, number)) == mine[0]


def test_places_beyond_32_bits_are_others():
    low, far = np.array([5, 6]), np.array([0, 1])
    assert draws._bits(low, far, 12345)[0] != draws._bits(low, far + 1, 12345)[0]


def test_jax_has_the_same_numbers():
    jax = pytest.importorskip("jax")
    x = jax.numpy.zeros(9)
    mine = ops.normal(np.zeros(9, x.dtype))
    np.testing.assert_array_equal(np.asarray(ops.normal(x)), mine)


# --- rules


@rule
def langevin(p, g, *, lr=0.1):
    """Stochastic gradient Langevin dynamics: Welling & Teh, 2011."""
    return p - lr / 2 * g + sqrt(lr) * normal(p)


@rule
def noisy(p, g, m, t, *, lr=0.1, spread=0.3):
    m = 0.9 * m + g + spread * normal(p)
    return p - lr * m * uniform(g) + spread * normal(m), m


@rule(r=zeros(keep=0))
def by_rows(p, g, r, *, lr=0.1):
    """Something for each row, so that a kernel walks line by line, and sums of what is drawn."""
    z = normal(p)
    r = 0.5 * r + mean(z * g, keep=0)
    return p - lr * (g + z) * r + sum(z) * 1e-3, r


def stepped_arrays(made, engine, shapes, dtype, steps=4, seed=5):
    draw = np.random.default_rng(0)
    params = [draw.normal(size=s).astype(dtype) for s in shapes]
    optimizer = rn.optimizer(made)(params, engine=engine, seed=seed)
    for t in range(steps):
        grads = [draw.normal(size=s) for s in shapes]
        optimizer.step([None if t == 1 and i == 0 else g for i, g in enumerate(grads)])
    assert optimizer.engine.startswith(engine)
    return params


def stepped_tensors(made, engine, shapes, dtype, steps=4, seed=5):
    draw = np.random.default_rng(0)
    params = [draw.normal(size=s).astype(dtype) for s in shapes]
    params = [torch.nn.Parameter(torch.from_numpy(p)) for p in params]
    optimizer = rt.optimizer(made)(params, engine=engine, seed=seed)
    for t in range(steps):
        grads = [draw.normal(size=s).astype(dtype) for s in shapes]
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            p.grad = None if t == 1 and i == 0 else torch.from_numpy(g)
        optimizer.step()
    assert optimizer.engine.startswith(engine)
    return [p.detach().numpy() for p in params]


SHAPES = [(3,), (70, 301), (20_011,), (1,), (2, 3, 4)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("made", [langevin, noisy], ids=lambda made: made.name)
def test_engines_and_fronts_have_the_same_bits(made, dtype):
    """Tensors longer than a chunk, and vectors and single elements at their ends."""
    wanted = stepped_arrays(made, "eager", SHAPES, dtype)
    for stepped in (stepped_arrays, stepped_tensors):
        for engine in ENGINES:
            found = stepped(made, engine, SHAPES, dtype)
            assert all(map(np.array_equal, found, wanted))


def test_bfloat16():
    ends = []
    for engine in ENGINES:
        p = torch.nn.Parameter(torch.zeros(9001, dtype=torch.bfloat16))
        optimizer = rt.optimizer(noisy)([p], engine=engine)
        for _ in range(3):
            p.grad = torch.ones_like(p)
            optimizer.step()
        ends.append(p.detach())
    assert torch.equal(*ends)


def test_rows_of_matrices():
    shapes = [(40, 31), (300, 70), (5,)]
    wanted = stepped_arrays(by_rows, "eager", shapes, np.float64)
    for stepped in (stepped_arrays, stepped_tensors):
        for mine, other in zip(stepped(by_rows, "kernel", shapes, np.float64), wanted, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-13)


def test_any_number_of_threads():
    before, ends = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            [x] = stepped_tensors(noisy, "kernel", [(150_001,)], np.float32)
            ends.append(x)
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(x, ends[0]) for x in ends)


def test_a_tensors_numbers_depend_on_no_other_tensor():
    """One that has no gradient at a step, or whose neighbours are longer, has the same numbers."""
    for engine in ENGINES:
        alone, beside = np.zeros(5), np.zeros(5)
        one = rn.optimizer(langevin)([np.zeros(2), alone], engine=engine)
        other = rn.optimizer(langevin)([np.zeros(20_000), beside], engine=engine)
        for t in range(3):
            one.step([None, np.zeros(5)])
            other.step([None if t == 1 else np.zeros(20_000), np.zeros(5)])
        assert alone.tolist() == beside.tolist()


def test_arrays_in_another_layout_have_the_same_numbers():
    g = np.arange(12.0).reshape(3, 4)
    plain, turned = np.zeros((3, 4)), np.zeros((4, 3)).T
    for x in (plain, turned):
        optimizer = rn.optimizer(langevin)(x)
        optimizer.step(g)
    assert np.array_equal(plain, turned)
    assert "not dense" in optimizer.engine
    plain, turned = torch.zeros(3, 4), torch.zeros(4, 3).T
    for x in (plain, turned):
        x.requires_grad_()
        x.grad = torch.ones(3, 4) if x is plain else torch.ones(4, 3).T
        optimizer = rt.optimizer(langevin)([x])
        optimizer.step()
    assert torch.equal(plain, turned)
    assert "not contiguous" in optimizer.engine


def test_each_drawing_in_a_rule_has_numbers_of_its_own():
    @rule
    def twice(p, g, a, b, *, lr=0.1):
        return p, normal(p), normal(p) + 0 * a + 0 * b

    _, a, b = twice(np.zeros(1000), np.zeros(1000), np.zeros(1000), np.zeros(1000))
    assert abs(correlation(a, b)) < 4.5
    again = twice(np.zeros(1000), np.zeros(1000), np.zeros(1000), np.zeros(1000))
    assert np.array_equal(again[1], a)
    assert np.array_equal(normal(np.zeros(1000), 1), b)
    assert np.array_equal(normal(np.zeros(1000)), a)
    assert len({n.args[1].value for n in trace(noisy).nodes if n.op in draws.DRAWN}) == 3


def test_modifiers_draw_too():
    @modifier
    def perturbed(step, p, g, *, spread=0.1):
        return step(p, g + spread * normal(g)) + spread * uniform(p)

    made = perturbed(langevin)
    shapes = [(7,), (9000,)]
    wanted = stepped_arrays(made, "eager", shapes, np.float64)
    assert all(map(np.array_equal, stepped_tensors(made, "kernel", shapes, np.float64), wanted))
    streams = [n.args[1].value for n in trace(made).nodes if n.op in draws.DRAWN]
    assert sorted(streams) == [0, 1, 2]


def test_seeds():
    def end(seed):
        [x] = stepped_arrays(langevin, "kernel", [(50,)], np.float64, seed=seed)
        [y] = stepped_tensors(langevin, "eager", [(50,)], np.float64, seed=seed)
        assert np.array_equal(x, y)
        return x

    assert not (end(1) == end(2)).any()
    assert np.array_equal(end(2**64 + 3), end(3))
    assert end(-1).tolist() == end(2**64 - 1).tolist()
    w = np.zeros(4)
    rn.optimizer(langevin)(w).step(np.zeros(4))
    assert np.array_equal(w, langevin(np.zeros(4), np.zeros(4)))  # the default, as by hand: 0
    p = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    p.grad = torch.zeros_like(p)
    rt.optimizer(langevin)([p]).step()
    assert p.tolist() == w.tolist()
    for wrong in (1.5, "a", None, True):
        with pytest.raises(ValueError, match=r"seed=.* is invalid; seed must be a whole number"):
            rn.optimizer(langevin)(w, seed=wrong)
    with pytest.raises(ValueError, match="seed='a' is invalid"):
        rt.optimizer(langevin)([p], seed="a")


def test_seeds_and_stochastic_rounding():
    def end(**how):
        p = torch.nn.Parameter(torch.zeros(500, dtype=torch.bfloat16))
        optimizer = rt.optimizer(noisy)([p], **how)
        for _ in range(3):
            p.grad = torch.ones_like(p)
            optimizer.step()
        return p.detach()

    assert torch.equal(end(stochastic_rounding=3), end(stochastic_rounding=True, seed=3))
    assert not torch.equal(end(stochastic_rounding=3), end(seed=3))
    assert not torch.equal(end(stochastic_rounding=3), end(stochastic_rounding=4))
    with pytest.raises(ValueError, match="stochastic_rounding=3 and seed=4 are mutually exclusive"):
        end(stochastic_rounding=3, seed=4)


def test_by_hand_t_tells_steps_apart():
    @rule
    def counted(p, g, t, *, lr=0.1):
        return p + normal(p) + 0 * t

    ends = [counted(np.zeros(3), np.zeros(3), t) for t in (1, 2)]
    assert not (ends[0] == ends[1]).any()
    assert counted(0.0, 0.0, 2) == ends[1][0]
    p, _ = langevin.update(np.zeros(3), np.zeros(3), (), 2)
    assert not (p == langevin(np.zeros(3), np.zeros(3))).any()
    rows = worked(langevin, [0.0, 0.0, 0.0])
    assert len({row["step"] for row in rows}) == 3


def test_a_run_that_goes_on_draws_what_it_would_have_drawn():
    [p] = [torch.nn.Parameter(torch.zeros(30, dtype=torch.float64))]
    optimizer = rt.optimizer(noisy)([p], seed=9)

    def go(optimizer, p):
        for t in range(4):
            p.grad = torch.full_like(p, float(t))
            optimizer.step()
        return p.detach()

    go(optimizer, p)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    q = copy.deepcopy(p)
    other = rt.optimizer(noisy)([q], seed=9, engine="eager")
    other.load_state_dict(torch.load(file))
    assert torch.equal(go(optimizer, p), go(other, q))
    mine = rn.optimizer(langevin)(np.zeros(20), seed=3)
    mine.step(np.ones(20))
    again = pickle.loads(pickle.dumps(mine))
    for each in (mine, again):
        each.step(np.ones(20))
    assert np.array_equal(mine.params, again.params)


def test_matrices_that_are_due_at_some_steps_only():
    @rule
    def turned(p, g, q, t, *, lr=0.1, k=3):
        q = where(t % k == 1, qr(normal(p))[0], q)
        return p - lr * q * uniform(p), q

    shapes = [(4, 4), (3, 3)]
    wanted = stepped_arrays(turned, "eager", shapes, np.float64)
    for mine, other in zip(
        stepped_tensors(turned, "eager", shapes, np.float64), wanted, strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-12)
    p, state = np.zeros((4, 4)), (np.zeros((4, 4)),)
    for t in (1, 2):
        p, state = turned.update(p, p, state, t)
    q = np.linalg.qr(draws.normal(np, p, 0, Draw(0, 1, 0)))[0]
    np.testing.assert_array_equal(state[0], q)


def test_the_norm_of_all_tensors_at_once():
    """In a bag, each tensor has its own numbers."""
    from ravine.modifiers import clip_by_global_norm

    made = clip_by_global_norm(langevin)
    wanted = stepped_arrays(made, "eager", SHAPES, np.float64)
    for mine, other in zip(
        stepped_tensors(made, "kernel", SHAPES, np.float64), wanted, strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-13)


def test_shown():
    assert "normal(θ)" in terminal(langevin.function)
    printed = kernel_source(trace(noisy))
    names = {}
    exec("from ravine.ops import *\n" + printed, names)
    p, g, m = np.random.default_rng(0).normal(size=(3, 9))
    new, slot = names["noisy"](p, g, m, 0.1, 0.3)
    mine = noisy(p, g, m, 1)
    assert np.array_equal(new, mine[0])
    assert np.array_equal(slot, mine[1])
    assert digest(langevin) != digest(rules.sgd)
    with pytest.raises(RuleError, match="draws random numbers, which a printed step cannot do"):
        scalar_update(langevin)


def test_what_is_refused():
    def of_a_number(p, g, *, lr=0.1):
        return p - lr * normal(mean(g)) * g

    with pytest.raises(RuleError, match=r"normal draws as many numbers as an array has, such as p"):
        trace(rule(of_a_number))
    with pytest.raises(TypeError, match=r"ravine.ops.uniform: stream=1.5 is invalid"):
        uniform(np.zeros(2), 1.5)
    generator = np.random.default_rng(0)
    for draw in (random.random, generator.normal, np.random.random):
        made = {"draw": draw, "normal": normal}
        exec("def impure(p, g, *, lr=0.1):\n    return p - lr * g + normal(p) * draw()\n", made)
        with pytest.raises(RuleError, match="is not pure"):
            rn.optimizer(rule(made["impure"]))


def test_sparse_gradients_are_refused():
    p = torch.nn.Parameter(torch.zeros(4, 2))
    p.grad = torch.sparse_coo_tensor([[1]], [[1.0, 1.0]], (4, 2), check_invariants=True)
    with pytest.raises(RuntimeError, match="a gradient is sparse"):
        rt.optimizer(langevin)([p]).step()


# --- what they are for


@pytest.mark.parametrize("front", [rn, rt], ids=["numpy", "torch"])
def test_langevin_dynamics_has_its_stationary_moments(front):
    """On a x² / 2 a chain is an autoregression: x' = (1 - lr a / 2) x + sqrt(lr) z, of variance
    lr / (1 - (1 - lr a / 2)²).
    """
    a, lr, chains = np.array([0.5, 1.0, 4.0])[:, None], 0.1, 20_000
    x = np.zeros((3, chains))
    p = torch.nn.Parameter(torch.from_numpy(x))
    made = front.optimizer(langevin)
    optimizer = made(x, lr=lr, seed=1) if front is rn else made([p], lr=lr, seed=1)
    for _ in range(251):
        before = x.copy()
        if front is rn:
            optimizer.step(a * x)
        else:
            p.grad = torch.from_numpy(a * x)
            optimizer.step()
    keep = 1 - lr * a[:, 0] / 2
    variance = lr / (1 - keep**2)
    np.testing.assert_allclose(x.var(1), variance, rtol=4 * (2 / chains) ** 0.5)
    np.testing.assert_allclose(x.mean(1) / variance**0.5, 0, atol=4 / chains**0.5)
    np.testing.assert_allclose((x * before).mean(1) / variance, keep, atol=4 * (2 / chains) ** 0.5)
    assert kolmogorov(share(x[1] / variance[1] ** 0.5)) < 1.95
