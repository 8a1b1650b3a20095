"""`ndim(p)`, a switch that is decided for each number of dimensions: by every engine, in both fronts."""

import math

import numpy as np
import pytest
import torch
from cases import error
from torch import nn

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, rule, rules, scalar, shared, zeros
from ravine.engines.digest import digest
from ravine.engines.eager import Work, plan, steps
from ravine.engines.python import kernel_source
from ravine.engines.tracing import trace
from ravine.modifiers import clip_by_global_norm, decoupled_decay, l2
from ravine.ops import (
    Tensors,
    eigh,
    matmul,
    maximum,
    mean,
    ndim,
    norm,
    sqrt,
    total,
    transpose,
    where,
)
from ravine.torch.foreach import Foreach

SHAPES = [(4, 3, 2, 2), (6, 5), (7,), (), (2, 3, 4)]


@rule
def lars(p, g, b, *, lr=0.1, momentum=0.9, weight_decay=0.05, trust=0.01):
    """You, Gitman & Ginsburg, 2017; vectors are neither decayed nor adapted, as everyone has it."""
    if ndim(p) >= 2:
        g = g + weight_decay * p
        g = g * where(norm(p) > 0, trust * norm(p) / maximum(norm(g), 1e-12), 1.0)
    b = momentum * b + lr * g
    return p - b, b


@rule(r=zeros(-1), c=zeros(keep=0))
def by_kind(p, g, r, c, v, *, lr=0.1, k=0.9):
    """A slot of another shape for each number of dimensions."""
    if ndim(p) > 2:
        c = k * c + mean(g * g, keep=0)
        return p - lr * g / (sqrt(c) + 1), r, c, v
    if ndim(p) == 2:
        r = k * r + mean(g * g, axis=-1)
        return p - lr * g / (sqrt(r) + 1), r, c, v
    v = k * v + g * g
    return p - lr * g / (sqrt(v) + 1), r, c, v


def lars_by_hand(start, grads, lr=0.1, momentum=0.9, weight_decay=0.05, trust=0.01):
    """The same in plain torch, for one parameter."""
    p, b = start.clone(), torch.zeros_like(start)
    for g in grads:
        if p.dim() >= 2:
            g = g + weight_decay * p
            g = g * (trust * p.norm() / g.norm())
        b = momentum * b + lr * g
        p = p - b
    return p


def start():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES]


def gradients(count):
    generator = torch.Generator().manual_seed(1)
    return [
        [torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES]
        for _ in range(count)
    ]


def by_torch(made, grads, **options):
    params = [nn.Parameter(p) for p in start()]
    optimizer = rt.optimizer(made)(params, **options)
    for row in grads:
        for p, g in zip(params, row, strict=True):
            p.grad = g
        optimizer.step()
    return params, optimizer


def by_numpy(made, grads, **options):
    params = [p.numpy().copy() for p in start()]
    optimizer = rn.optimizer(made)(params, **options)
    for row in grads:
        params = optimizer.step([g.numpy() for g in row])
    return params, optimizer


def by_bags(made, grads, bag=Tensors):
    hyper, params = made.check(), start()
    states = [
        {k: made.slots[k].init(p, **hyper) for k in plan(made, hyper, ndim=p.ndim).live}
        for p in params
    ]
    for t, row in enumerate(grads, 1):
        works = [Work(p, g, s, t, hyper) for p, g, s in zip(params, row, states, strict=True)]
        results = steps(made, works, bag)
        params, states = [p for p, _ in results], [s for _, s in results]
    return params, None


ENGINES = {
    "kernel": lambda made, grads: by_torch(made, grads, engine="auto"),
    "eager": lambda made, grads: by_torch(made, grads, engine="eager"),
    "numpy": lambda made, grads: by_numpy(made, grads),
    "numpy, eager": lambda made, grads: by_numpy(made, grads, engine="eager"),
    "bags": lambda made, grads: by_bags(made, grads, Tensors),
    "foreach": lambda made, grads: by_bags(made, grads, Foreach),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_lars_is_one_rule(engine):
    grads = gradients(6)
    params, optimizer = ENGINES[engine](lars, grads)
    for i, (p, p0) in enumerate(zip(params, start(), strict=True)):
        assert error(p, lars_by_hand(p0, [row[i] for row in grads])) <= 1e-14
    if engine == "kernel":
        assert optimizer.engine == "kernel"


@pytest.mark.parametrize("engine", ENGINES)
def test_slots_are_kept_where_they_are_used(engine):
    grads = gradients(4)
    params, optimizer = ENGINES[engine](by_kind, grads)
    expected = {0: {"v"}, 1: {"v"}, 2: {"r"}, 3: {"c"}, 4: {"c"}}
    for i, (p, p0) in enumerate(zip(params, start(), strict=True)):
        q, (r, c, v) = p0, by_kind.init(p0)
        for row in grads:
            q, r, c, v = by_kind(q, row[i], r, c, v)
        assert error(p, q) <= 1e-14
        if optimizer is not None:
            key = p if isinstance(p, torch.Tensor) else f"params[{i}]"
            kept = {*optimizer.state[key]} - {"step"}
            assert kept == expected[p0.ndim]
            [slot] = kept
            assert np.shape(optimizer.state[key][slot]) == by_kind.slots[slot].shape(p0.shape)


def test_the_slots_of_a_call_have_the_shape_of_p_along_axes_that_it_has_not():
    r, c, v = by_kind.init(np.ones(3))
    assert (r.shape, c.shape, v.shape) == ((1,), (3,), (3,))
    assert [np.shape(x) for x in by_kind.init(np.ones(()))] == [(), (), ()]
    assert [x.shape for x in rules.adafactor.init(torch.ones(4))] == [(1,), (4,), (4,)]


def test_one_graph_for_all_dimensions_in_which_the_same_is_computed():
    hyper = lars.check()
    graphs = [plan(lars, hyper, ndim=n) for n in range(5)]
    assert graphs[0] is graphs[1]
    assert graphs[2] is graphs[3] is graphs[4] is plan(lars, hyper)
    assert graphs[1] is not graphs[2]
    assert all(graph.by_ndim for graph in graphs)
    assert not plan(rules.adam, rules.adam.check(), ndim=1).by_ndim


def test_options_change_for_every_number_of_dimensions():
    """Between steps that are taken again as they are bound."""
    grads = gradients(5)
    found = []
    for engine in ("kernel", "eager"):
        params = [nn.Parameter(p) for p in start()]
        optimizer = rt.optimizer(lars)(params, engine=engine)
        for k, row in enumerate(grads):
            for p, g in zip(params, row, strict=True):
                p.grad = g
            optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)
            optimizer.param_groups[0]["momentum"] = 0.9 if k < 3 else 0.5
            optimizer.step()
        found.append(params)
    assert max(map(error, *found)) <= 1e-14


def test_checkpoints_have_the_slots_of_each_parameter():
    grads = gradients(6)
    whole, _ = by_torch(by_kind, grads)
    params, first = by_torch(by_kind, grads[:3])
    again = rt.optimizer(by_kind)(params)
    again.load_state_dict(first.state_dict())
    for row in grads[3:]:
        for p, g in zip(params, row, strict=True):
            p.grad = g
        again.step()
    assert all(map(torch.equal, params, whole))


@pytest.mark.parametrize("modifier", [l2, decoupled_decay])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_modifier_hands_over_has_the_dimensions_of_p(modifier, engine):
    made, grads = modifier(by_kind), gradients(3)
    params, _ = ENGINES[engine](made, grads)
    for i, (p, q) in enumerate(zip(params, start(), strict=True)):
        state = made.init(q)
        for row in grads:
            q, *state = made(q, row[i], *state)
        assert error(p, q) <= 1e-14


@pytest.mark.parametrize("by", [by_torch, by_numpy, by_bags])
def test_a_total_is_over_tensors_of_all_dimensions(by):
    made, grads = clip_by_global_norm(lars, max_norm=0.5), gradients(4)
    clipped = []
    for row in grads:
        size = math.sqrt(sum(float(g.square().sum()) for g in row))
        clipped.append([g * min(1.0, 0.5 / size) for g in row])
    params, optimizer = by(made, grads)
    for i, (p, p0) in enumerate(zip(params, start(), strict=True)):
        assert error(p, lars_by_hand(p0, [row[i] for row in clipped])) <= 1e-13
    if by is not by_bags:
        why = "5 tensors (a total over tensors of different dimensions)"
        assert optimizer.engine == f"kernel; eager for {why}"
        with pytest.raises(RuleError, match=r"not possible .*: a total over tensors of different"):
            by(made, grads, engine="kernel")


def test_a_total_over_tensors_of_one_kind_runs_by_the_kernel():
    params = [nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(5, 3, 2, 2))]
    optimizer = rt.optimizer(clip_by_global_norm(lars))(params)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert optimizer.engine == "kernel"


def test_a_shared_slot_is_one_for_tensors_of_all_dimensions():
    @rule(longest=shared(0.0))
    def normalized(p, g, longest, *, lr=0.1):
        longest = maximum(longest, sqrt(total(g * g)))
        return p - lr * (g if ndim(p) > 1 else 2 * g) / longest, longest

    for by in (by_torch, by_numpy):
        grads = gradients(3)
        params, optimizer = by(normalized, grads)
        expected, longest = start(), 0.0
        for row in grads:
            longest = max(longest, math.sqrt(sum(float(g.square().sum()) for g in row)))
            expected = [
                p - 0.1 * (g if g.ndim > 1 else 2 * g) / longest
                for p, g in zip(expected, row, strict=True)
            ]
        assert max(map(error, params, expected)) <= 1e-14
        kept = [*optimizer.state.values()]
        assert {float(its["longest"]) for its in kept if "longest" in its} == {longest}


def test_a_total_under_an_if_on_the_dimensions_is_refused():
    @rule
    def apart(p, g, *, lr=0.1):
        return p - lr * (g / sqrt(total(g * g)) if ndim(p) > 1 else g)

    message = (
        r"'apart': how many totals it takes depends on ndim\(p\), 0 where it is 1, 1 where it is 2"
    )
    for by in (by_torch, by_numpy):
        with pytest.raises(RuleError, match=message):
            by(apart, gradients(1))


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_sparse_gradient_is_of_its_parameters_dimensions(engine):
    @rule
    def decayed(p, g, m, v, *, lr=0.1):
        if ndim(p) > 1:
            m = 0.5 * m + g
            return p - lr * (m + 0.1 * p), m, v
        v = v + g * g
        return p - lr * g / sqrt(v), m, v

    p, b = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(3))
    optimizer = rt.optimizer(decayed)([p, b], engine=engine)
    p.grad = torch.sparse_coo_tensor([[1, 2], [0, 2]], [1.0, 2.0], (4, 3), check_invariants=True)
    b.grad = torch.ones(3)
    optimizer.step()
    expected = torch.ones(4, 3)
    expected[1, 0], expected[2, 2] = 1 - 0.1 * 1.1, 1 - 0.1 * 2.1
    torch.testing.assert_close(p.detach(), expected)
    torch.testing.assert_close(b.detach(), torch.full((3,), 0.9))
    assert "m" in optimizer.state[p]
    assert "v" not in optimizer.state[p]


def test_complex_numbers_are_pairs_in_one_dimension_more():
    @rule
    def counted(p, g, *, lr=0.1):
        return p - lr * ndim(p) * g

    p = nn.Parameter(torch.ones(3, dtype=torch.complex128))
    optimizer = rt.optimizer(counted)([p])
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert torch.equal(p.detach(), torch.full_like(p, 0.8))


def test_what_the_arguments_are_made_into_goes_by_the_dimensions():
    """In one branch numbers must follow IEEE 754, in the other nothing needs that."""

    @rule
    def rooted(p, g, t, *, lr=0.1):
        return p - lr * g * (where(t > 1, t - 1, (1 - t) ** -0.5) if ndim(p) > 1 else 1)

    assert rooted(np.ones(2), np.ones(2), 1).tolist() == [0.9, 0.9]
    assert np.isinf(rooted(np.ones((2, 1)), np.ones((2, 1)), 1)).all()
    assert rooted(1.0, 1.0, 1) == 0.9
    assert rooted(np.ones(2), np.ones(2), 1).tolist() == [0.9, 0.9]


def test_the_printed_kernel_and_the_digest_know_of_it():
    assert "    # where p has 2 dimensions\n" in kernel_source(trace(lars))
    assert "    # where p has 1 dimension\n" in kernel_source(trace(lars, None, 1))

    def of(factor):
        @rule
        def made(p, g, *, lr=0.1):
            return p - lr * (g if ndim(p) == 2 else factor * g)

        return digest(made)

    assert of(2.0) == of(2.0) != of(3.0)


REFUSED = {
    "ndim needs p, g, or an array computed from them, got the value of m": lambda p, g, m, *, lr=0.1: (
        p * ndim(m),
        m + g,
    ),
    "not of a hyperparameter": lambda p, g, m, *, lr=0.1: (p * ndim(lr) - m, m + g),
    "not of a reduction (mean)": lambda p, g, m, *, lr=0.1: (p * ndim(mean(g)) - m, m + g),
    "not of an array (item)": lambda p, g, m, *, lr=0.1: (p * ndim(eigh(m + g)[0]) - m, m + g),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_has_no_dimensions_of_its_own_is_refused(words):
    with pytest.raises(RuleError) as error:
        trace(rule(REFUSED[words]))
    assert words in str(error.value)
    assert "test_ndim.py" in str(error.value)


def test_of_what_matrices_are_made_into():
    @rule
    def made(p, g, *, lr=0.1):
        q = eigh(matmul(g, transpose(g)))[1]
        return p - lr * ndim(matmul(q, p)) * mean(g, axis=-1) * ndim(mean(g, axis=-1))

    assert np.allclose(made(np.ones((2, 3)), np.ones((2, 3))), 0.6)
    trace(made)


def test_of_values():
    assert [ndim(x) for x in (1.0, 2, np.ones(()), np.ones((1, 2)), torch.ones(1, 2, 3))] == [
        *(0, 0, 0, 2, 3)
    ]
    assert ndim(Tensors([np.ones(2), torch.ones(3)])) == 1
    with pytest.raises(
        ValueError, match=r"must be the same for all tensors of a bag, got \[0, 2\]"
    ):
        ndim(Tensors([1.0, np.ones((1, 2))]))
    with pytest.raises(
        TypeError, match=r"ravine.ops.ndim needs a number, an array or a tensor, got 'x'"
    ):
        ndim("x")


def test_only_slots_that_no_dimensions_use_are_warned_of(recwarn):
    trace(rule(by_kind.function, r=zeros(-1), c=zeros(keep=0)))
    assert not recwarn.list

    @rule(n=scalar(0.0))
    def idle(p, g, m, n, *, lr=0.1):
        if ndim(p) == 4:
            m = m + g
        return p - lr * m, m, n + 1

    with pytest.warns(UserWarning, match="the slot 'n' is never used"):
        trace(idle)


def test_sharding_needs_the_dimensions():
    """FullyShardedDataParallel's parameters have lost theirs."""
    p = nn.Parameter(torch.ones(4))
    p._fsdp_flattened = True
    optimizer = rt.optimizer(rule(lambda p, g, *, lr=0.1: p - lr * ndim(p) * g))([p])
    p.grad = torch.ones(4)
    with pytest.raises(
        ValueError, match="looks at whole tensors, and FullyShardedDataParallel has"
    ):
        optimizer.step()
