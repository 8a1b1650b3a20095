"""The compiled loop against plain NumPy: equal to the last bit, generator and all."""

import math
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from ravine import like_p, rule
from ravine.engines.python import scalar_update
from ravine.experiments import as_published, diamonds_loop
from ravine.modifiers import clip_by_value, maximize
from ravine.rules import adam, momentum_classical, rmsprop, sgd

N = 1000
RULES = {
    "sgd": (clip_by_value(maximize(sgd)), {"lr": 0.1}),
    "momentum_classical": (clip_by_value(maximize(momentum_classical)), {"lr": 0.1}),
    "rmsprop": (maximize(rmsprop), {"lr": 0.01, "alpha": 0.9}),
    "adam": (adam, {"lr": 0.01}),
}


def data(n=N):
    draw = np.random.RandomState(7)
    x = draw.randn(n)
    return x, 0.9 * x + 0.3 * draw.randn(n)


def fast(name, random, n=N, **limits):
    made, hyper = RULES[name]
    update = scalar_update(made, **hyper)
    return diamonds_loop.train(*data(n), 0.2, -0.1, update, random, **limits)


def plain(name, random, n=N, **limits):
    gradients, make_step = as_published.OPTIMIZERS[name]
    step = make_step(RULES[name][1]["lr"])
    return as_published.train(*data(n), 0.2, -0.1, gradients, step, random, **limits)


def same_state(a, b):
    return str(a.get_state()[2:]) == str(b.get_state()[2:]) and np.array_equal(
        a.get_state()[1], b.get_state()[1]
    )


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 64, 255, 256, 257, 1000, 16_000, 65_536, 65_537])
def test_shuffle_is_the_legacy_permutation(n):
    random, twin = np.random.RandomState(n), np.random.RandomState(n)
    twin.randn(3)
    random.randn(3)
    name, key, position, *gauss = random.get_state()
    order = np.arange(n, dtype=np.uint16 if n <= 1 << 16 else np.uint32)
    draws, words = np.empty_like(order), np.empty(624, np.uint32)
    expected = np.arange(n)
    for _ in range(4):
        position = diamonds_loop.shuffle(order, key, position, words, draws)
        expected = expected[twin.permutation(n)]
        assert np.array_equal(order, expected)
    random.set_state((name, key, position, *gauss))
    assert same_state(random, twin)


@pytest.mark.parametrize("n", [*range(1, 20), 127, 128, 129, 136, 255, 256, 257, 1000, 16_001])
def test_total_is_numpy_sum(n):
    for seed in range(20):
        a = np.random.default_rng(seed).normal(size=n) * 10.0 ** (seed % 7)
        assert diamonds_loop.total(a, n) == np.sum(a)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 300, N, 2 * N])
@pytest.mark.parametrize("name", RULES)
def test_same_numbers_as_plain_numpy(name, batch_size):
    random, twin = np.random.RandomState(3), np.random.RandomState(3)
    limits = {"epochs": 5, "batch_size": batch_size, "stopping_threshold": 0.0}
    got = np.array(list(fast(name, random, **limits)))
    expected = np.array(list(plain(name, twin, **limits)))
    assert got.shape == (5, 3)
    if name == "rmsprop":  # the post multiplies by lr before it divides
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    else:
        assert np.array_equal(got, expected)
    assert same_state(random, twin)


def test_more_rows_than_two_bytes_can_count():
    n, limits = 70_000, {"epochs": 2, "batch_size": 20_000, "stopping_threshold": 0.0}
    got = list(fast("adam", np.random.RandomState(0), n, **limits))
    assert got == list(plain("adam", np.random.RandomState(0), n, **limits))


def test_runs_follow_each_other_on_one_stream():
    random, twin = np.random.RandomState(42), np.random.RandomState(42)
    limits = {"epochs": 3, "batch_size": 64, "stopping_threshold": 0.0}
    for name in ("sgd", "momentum_classical", "adam"):
        assert random.randn() == twin.randn()  # leaves half a pair of normals in the state
        assert list(fast(name, random, **limits)) == list(plain(name, twin, **limits))
    assert same_state(random, twin)


@pytest.mark.parametrize("threshold", [0.0, 1e-4, 1e9])
def test_stops_where_the_plain_loop_stops(threshold):
    limits = {"epochs": 60, "batch_size": 64, "stopping_threshold": threshold}
    got = list(fast("adam", np.random.RandomState(1), **limits))
    assert got == list(plain("adam", np.random.RandomState(1), **limits))
    assert len(got) == {0.0: 60, 1e-4: len(got), 1e9: 2}[threshold]
    if threshold == 1e-4:
        assert 2 < len(got) < 60
        assert abs(got[-1][2] - got[-2][2]) < threshold <= abs(got[-2][2] - got[-3][2])


def test_threshold_zero_never_stops():
    zero = np.zeros(10)
    limits = {"epochs": 5, "batch_size": 10, "stopping_threshold": 0.0}
    update, random = scalar_update(sgd), np.random.RandomState(0)
    assert len(list(diamonds_loop.train(zero, zero, 0.0, 0.0, update, random, **limits))) == 5


def test_goes_on_through_infinity_and_nan():
    limits = {"epochs": 12, "batch_size": 64, "stopping_threshold": 1e-6}
    update = scalar_update(sgd, lr=100.0)
    got = list(diamonds_loop.train(*data(), 0.2, -0.1, update, np.random.RandomState(0), **limits))

    def step(m, b, m_gradient, b_gradient):
        return m - 100.0 * m_gradient, b - 100.0 * b_gradient

    with np.errstate(all="ignore"):
        loop = as_published.train(
            *(*data(), 0.2, -0.1, as_published.gradients, step, np.random.RandomState(0)), **limits
        )
        expected = list(loop)
    assert len(got) == 12
    assert math.isnan(got[-1][0])
    assert np.array_equal(got, expected, equal_nan=True)


def test_division_by_zero_is_nan_as_in_numpy():
    update = scalar_update(rmsprop, lr=0.1, eps=0.0)
    zero = np.zeros(10)
    loop = diamonds_loop.train(
        *(zero, zero, 0.0, 0.0, update, np.random.RandomState(0)),
        epochs=1,
        batch_size=4,
        stopping_threshold=0.0,
    )
    assert np.isnan(list(loop)).all()


def test_slots_start_where_the_rule_says():
    @rule(start=like_p)
    def back(p, g, start, *, lr=0.5):
        return p + lr * (start - p), start

    loop = diamonds_loop.train(
        *(*data(), 0.2, -0.1, scalar_update(back), np.random.RandomState(0)),
        epochs=2,
        batch_size=10,
        stopping_threshold=0.0,
    )
    assert [point[:2] for point in loop] == [(0.2, -0.1)] * 2


def test_interrupted_between_epochs():
    """What is done is kept: the generator is where three permutations leave it."""
    random, twin = np.random.RandomState(5), np.random.RandomState(5)
    loop = fast("sgd", random, epochs=100, batch_size=64, stopping_threshold=0.0)
    assert len(list(islice(loop, 3))) == 3
    loop.close()
    for _ in range(3):
        twin.permutation(N)
    assert same_state(random, twin)


def test_the_data_are_left_alone():
    x, y = data()
    x.flags.writeable = y.flags.writeable = False
    before = x.copy(), y.copy()
    update = scalar_update(adam)
    limits = {"epochs": 2, "batch_size": 64, "stopping_threshold": 0.0}
    list(diamonds_loop.train(x, y, 0.0, 0.0, update, np.random.RandomState(0), **limits))
    assert np.array_equal(before, (x, y))


LIMITS = {"epochs": 3, "batch_size": 64, "stopping_threshold": 0.0}


@pytest.mark.parametrize("name", RULES)
def test_without_numba_the_plain_loop_runs(monkeypatch, name):
    expected = list(fast(name, np.random.RandomState(2), **LIMITS))
    monkeypatch.setattr(diamonds_loop, "numba", None)
    with pytest.warns(RuntimeWarning, match=r"pip install '\.\[race\]'.*plain NumPy"):
        got = list(fast(name, np.random.RandomState(2), **LIMITS))
    assert got == expected


def test_what_numba_cannot_compile_runs_plainly():
    source = scalar_update(sgd, lr=0.1).source.replace(
        "return p", "p = p + len(repr(t))\n    return p"
    )
    update = replace(scalar_update(sgd, lr=0.1), source=source.replace("repr(t)", "{**{}}"))
    with pytest.warns(RuntimeWarning, match="Numba cannot compile 'sgd': "):
        loop = diamonds_loop.train(*data(), 0.2, -0.1, update, np.random.RandomState(2), **LIMITS)
    m, b, loss = list(loop)[-1]
    assert np.isfinite([m, b, loss]).all()


def test_imports_without_numba():
    code = "import sys; sys.modules['numba'] = None; import ravine.experiments.diamonds_loop"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
