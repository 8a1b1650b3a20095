"""Branches that a number of the step decides between: one is computed, and nothing else differs."""

from collections import Counter

import numpy as np
import pytest
import torch
from cases import lookahead
from torch import nn

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, ops, rule, rules
from ravine.engines.eager import Work, plan, steps
from ravine.engines.tracing import trace
from ravine.ops import (
    Tensors,
    argsort,
    atan2,
    cholesky,
    eigh,
    greatest,
    inverse_root,
    least,
    matmul,
    mean,
    newton_schulz,
    norm,
    qr,
    round,
    size,
    solve_triangular,
    sqrt,
    take,
    total,
    transpose,
    where,
)


@rule
def shampoo_like(p, g, c, q, t, *, lr=0.1, k=3.0):
    """A basis that is recomputed at every k-th step."""
    c = c + matmul(g, transpose(g))
    q = where(t % k == 1, eigh(c)[1], q)
    return p - lr * matmul(q, matmul(transpose(q), g)), c, q


@rule
def of_many_shapes(p, g, m, t, *, lr=0.1, k=2.0):
    """Branches of which one is a number, a column or a row, and sums over what comes of them."""
    q, r = qr(g)
    a = where(t % k == 0, mean(g * size(g, -1), axis=-1), g)
    b = where(t % k == 1, 0.5, matmul(q, r))
    c = where(
        t > 2, newton_schulz(g, 1.5, -0.5, 0.0), where(t % k == 1, transpose(transpose(m)), g)
    )
    d = where(t % k == 1, norm(c), ops.sum(c * b, axis=-2))
    return p - lr * (mean(a) + mean(b) * g + c + d), m + 0.1 * where(
        t % k == 0, eigh(matmul(g, g))[0], g
    )


@rule
def of_many_reductions(p, g, m, t, *, lr=0.1, k=2.0):
    """What is reduced over some axes is smaller than the other branch, which has its shape all the same."""
    a = where(t % k == 0, mean(g, keep=0), g)
    b = where(t % k == 1, greatest(g, axis=-2), m)
    c = where(t % k == 0, take(g, argsort(g)), solve_triangular(cholesky(eye_like(g)), g))
    d = where(t % k == 1, inverse_root(eye_like(g), 4), round(atan2(g, m)))
    return p - lr * (ops.sum(a) + mean(b) + norm(c) + d), m + where(t % k == 0, least(g), a)


def eye_like(g):
    """A symmetric positive definite matrix of its size."""
    return matmul(g, transpose(g)) + 0.5 * matmul(qr(g)[0], transpose(qr(g)[0]))


@rule
def one_for_all(p, g, m, t, *, lr=0.1, k=2.0):
    m = where(t % k == 1, matmul(g, transpose(g)) / sqrt(total(g * g)), m)
    return p - lr * matmul(m, g), m


RULES = [shampoo_like, of_many_shapes, of_many_reductions, one_for_all]


@pytest.fixture
def counted(monkeypatch):
    """How often matrices are taken apart."""
    calls = []
    for library in (np, torch):
        original = library.linalg.eigh
        monkeypatch.setattr(library.linalg, "eigh", lambda x, f=original: calls.append(1) or f(x))
    return calls


def works(made, count=2, sizes=(4, 3), t=1):
    random = np.random.default_rng(t)
    for n in sizes[:count]:
        p, g = random.normal(size=(2, n, n))
        state = {k: random.normal(size=(n, n)) for k in made.slots}
        yield Work(p, g, state, t, made.check())


@pytest.mark.parametrize("bag", [None, Tensors])
@pytest.mark.parametrize("made", RULES, ids=lambda made: made.name)
def test_what_is_computed_is_what_the_function_gives(made, bag):
    assert plan(made, made.check()).lazy
    for t in (1, 2, 3, 4):
        mine = list(works(made, t=t))
        if made is one_for_all:
            args = [Tensors(w.p for w in mine), Tensors(w.g for w in mine)]
            state = [Tensors(w.state["m"] for w in mine)]
            p, m = made(*args, *state, t)
            expected = [(a, {"m": b}) for a, b in zip(p, m, strict=True)]
        else:
            expected = [
                (p, dict(zip(made.slots, rest, strict=True)))
                for p, *rest in (made(w.p, w.g, *w.state.values(), t) for w in mine)
            ]
        for (p, state), (q, other) in zip(steps(made, mine, bag), expected, strict=True):
            assert np.array_equal(p, q)
            assert all(np.array_equal(state[k], other[k]) for k in state)


@pytest.mark.parametrize("front", [rn, rt], ids=["numpy", "torch"])
def test_only_what_is_due_is_computed(counted, front):
    p = np.eye(3)
    param = nn.Parameter(torch.tensor(p)) if front is rt else p
    optimizer = front.optimizer(shampoo_like)([param])
    expected, state = p.copy(), shampoo_like.init(p)
    del counted[:]
    for t in range(1, 8):
        g = np.random.default_rng(t).normal(size=(3, 3))
        if front is rt:
            param.grad = torch.tensor(g)
            optimizer.step()
        else:
            optimizer.step([g])
        assert len(counted) == (t + 2) // 3
    del counted[:]
    for t in range(1, 8):
        g = np.random.default_rng(t).normal(size=(3, 3))
        expected, *state = shampoo_like(expected, g, *state, t)
    assert len(counted) == 7
    found = param.detach().numpy() if front is rt else p
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_a_schedule_may_decide(counted):
    @rule
    def made(p, g, *, lr=0.1, on=1.0):
        return p - lr * where(on > 0.5, eigh(matmul(g, transpose(g)))[1], g)

    p = nn.Parameter(torch.eye(2))
    optimizer = rt.optimizer(made)([p])
    for i, on in enumerate((1.0, 0.2, 0.7, 0.0)):
        optimizer.param_groups[0]["on"] = on
        p.grad = torch.eye(2) * (i + 1)
        optimizer.step()
    assert len(counted) == 2


def test_tensors_may_be_at_steps_of_their_own(counted):
    """As bags they are asked together, so both branches are computed where they differ."""
    mine = [*works(shampoo_like, t=1)]
    mine[1].t = 2
    both = steps(shampoo_like, mine, Tensors)
    one = [steps(shampoo_like, [work])[0] for work in mine]
    for (p, state), (q, other) in zip(both, one, strict=True):
        assert np.array_equal(p, q)
        assert all(np.array_equal(state[k], other[k]) for k in state)


def test_what_does_not_fit_is_said_with_its_line():
    @rule
    def made(p, g, m, t, *, lr=0.1):
        m = where(t % 2 == 0, matmul(g, p), m)
        return p - lr * m, m

    p = nn.Parameter(torch.ones(2, 3))
    optimizer = rt.optimizer(made)([p])
    p.grad = torch.ones(2, 3)
    optimizer.step()  # the matrices that do not fit are not multiplied
    with pytest.raises(
        RuleError, match=r"test_lazy.py:\d+, `m = where\(.*a parameter of shape \(2, 3\)"
    ):
        optimizer.step()


def test_other_rules_are_called():
    assert not trace(rules.adam).lazy
    assert not trace(lookahead(rules.sgd)).lazy
    assert not trace(rules.muon).lazy
    assert not trace(rules.adafactor).lazy


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (rules.soap, {"eigh": 2, "qr": 4}),
        (rules.galore, {"eigh": 1}),
        (rules.shampoo.named("shampoo", every=10), {"eigh": 6}),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_the_rules_decompose_in_the_steps_where_it_is_due(monkeypatch, made, expected):
    counts = Counter()
    for name in ("eigh", "qr"):
        of = getattr(np.linalg, name)
        monkeypatch.setattr(
            np.linalg, name, lambda x, of=of, name=name: (counts.update([name]), of(x))[1]
        )
    draw = np.random.default_rng(0)
    optimizer = rn.optimizer(made)([draw.normal(size=(4, 3))])
    for _ in range(21):
        optimizer.step([draw.normal(size=(4, 3))])
    assert counts == expected
