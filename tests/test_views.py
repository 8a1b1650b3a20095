"""`seen=`: arrays of many axes as matrices or stacks of them, by calls, engines and fronts."""

import pickle

import numpy as np
import pytest
import torch
from cases import error
from torch import nn

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, like_p, rule, rules, zeros
from ravine.engines.digest import digest
from ravine.engines.eager import plan
from ravine.engines.tracing import trace
from ravine.modifiers import l2, maximize
from ravine.ops import Tensors, maximum, mean, ndim, newton_schulz, rms, size, sqrt, stored, total
from ravine.views import restored, seen_shape, view

SHAPES = [(6, 3, 2, 2), (4, 5), (3, 2, 4), (2, 3, 1, 2, 2)]


def as_matrix(p, g, m, *, lr=0.1, momentum=0.9):
    """Muon, as plain as it can be."""
    m = momentum * m + g
    scale = sqrt(maximum(1, size(p, -2) / size(p, -1)))
    return p - lr * scale * newton_schulz(m, 3.4445, -4.775, 2.0315), m


muon = rule(seen="matrix")(as_matrix)
muon_of_stacks = rule(seen="stack")(as_matrix)


@rule(seen="matrix", r=zeros(-1), c=zeros(-2), start=like_p)
def factored(p, g, r, c, start, *, lr=0.1, k=0.9):
    """Adafactor's squares, with slots of all shapes."""
    r = k * r + (1 - k) * mean(g * g, axis=-1)
    c = k * c + (1 - k) * mean(g * g, axis=-2)
    u = g / sqrt(r * c / mean(r, axis=-2) + 1e-8)
    return p - lr * (u / maximum(1, rms(u)) + 0.1 * (p - start)), r, c, start


@rule(seen="matrix")
def centralized(p, g, m, *, lr=0.1):
    """Gradient centralisation of matrices; vectors, which are no matrices, are left out."""
    if ndim(p) == 2:
        g = g - mean(g, axis=-1)
    m = 0.9 * m + g
    return p - lr * m, m


def draw(shapes, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]


def array(x):
    return x.detach().numpy() if isinstance(x, torch.Tensor) else x


def by_torch(made, start, grads, **options):
    params = [nn.Parameter(p.clone()) for p in start]
    optimizer = rt.optimizer(made)(params, **options)
    for row in grads:
        for p, g in zip(params, row, strict=True):
            p.grad = g.clone(memory_format=torch.preserve_format)
        optimizer.step()
    return params, optimizer


def by_numpy(made, start, grads, **options):
    params = [p.numpy().copy() for p in start]
    optimizer = rn.optimizer(made)(params, **options)
    for row in grads:
        optimizer.step([g.numpy() for g in row])
    return params, optimizer


WAYS = {
    "torch": by_torch,
    "torch, eager": lambda *args: by_torch(*args, engine="eager"),
    "numpy": by_numpy,
    "numpy, eager": lambda *args: by_numpy(*args, engine="eager"),
}


def muon_by_hand(p, grads, shape, lr=0.1, momentum=0.9):
    """With torch, on the weights in the shape that is said."""
    p, m = p.reshape(shape).clone(), torch.zeros(shape, dtype=p.dtype)
    for g in grads:
        m = momentum * m + g.reshape(shape)
        x = m / m.norm(dim=(-2, -1), keepdim=True)
        for _ in range(5):
            gram = x @ x.mT
            x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
        p = p - lr * max(1, shape[-2] / shape[-1]) ** 0.5 * x
    return p, m


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("made", [muon, muon_of_stacks], ids=["matrix", "stack"])
def test_muon_of_convolutions(way, made):
    start, grads = draw(SHAPES, 0), [draw(SHAPES, k) for k in range(1, 6)]
    params, optimizer = WAYS[way](made, start, grads)
    for i, (p, p0) in enumerate(zip(params, start, strict=True)):
        shape = (len(p0), -1) if made is muon else (-1, *p0.shape[-2:])
        q, m = muon_by_hand(p0, [g[i] for g in grads], p0.reshape(shape).shape)
        assert error(array(p).reshape(q.shape), q) <= 1e-10
        kept = optimizer.state[p if way[0] == "t" else f"params[{i}]"]["m"]
        assert tuple(kept.shape) == tuple(p0.shape)  # as torch's, for checkpoints
        assert error(array(kept).reshape(m.shape), m) <= 1e-12


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("made", [factored, maximize(l2(factored)), centralized])
def test_it_is_the_rule_of_the_reshaped_weights(way, made):
    start, grads = draw(SHAPES, 0), [draw(SHAPES, k) for k in range(1, 6)]
    params, optimizer = WAYS[way](made, start, grads)
    flat = made.seeing("")
    for i, (p, p0) in enumerate(zip(params, start, strict=True)):
        q = p0.reshape(len(p0), -1)
        state, shape = flat.init(q), q.shape
        for row in grads:
            q, *state = flat(q, row[i].reshape(shape), *state)
        assert error(p, q.reshape(p0.shape)) <= 1e-14
        kept = optimizer.state[p if way[0] == "t" else f"params[{i}]"]
        for slot, expected in zip(flat.slots, state, strict=True):
            short = made.slots[slot].short
            assert tuple(kept[slot].shape) == tuple(expected.shape if short else p0.shape)
            assert error(array(kept[slot]).reshape(expected.shape), expected) <= 1e-14
    if "eager" not in way:
        assert optimizer.engine == "kernel"


def test_a_call_sees_it_too():
    p, g = draw([(3, 2, 2)] * 2, 0)
    new, r, c, start = factored(p, g, *factored.init(p))
    assert (new.shape, r.shape, c.shape, start.shape) == ((3, 2, 2), (3, 1), (1, 4), (3, 2, 2))
    arrays = factored(p.numpy(), g.numpy(), *factored.init(p.numpy()))
    bags = factored(*(Tensors([x]) for x in (p, g, *factored.init(p))))
    for one, other, (third,) in zip((new, r, c, start), arrays, bags, strict=True):
        assert error(one, other) <= 1e-15
        assert error(one, third) == 0


def test_views_are_no_copies():
    found = []

    def spy(p, g, m, *, lr=0.1):
        found.append((p, g, m))
        return p - lr * g, m + g

    made = rule(seen="matrix")(spy)
    for x in (np.ones((4, 3, 2)), torch.ones(4, 3, 2)):
        made(x, x + 1, x + 2)
        p, g, m = found.pop()
        assert p.shape == g.shape == m.shape == (4, 6)
        place = (lambda x: x.ctypes.data) if isinstance(x, np.ndarray) else torch.Tensor.data_ptr
        assert place(p) == place(x)


@pytest.mark.parametrize("made", [muon, factored, centralized])
@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_other_memory_layouts(made, engine):
    start = draw([(6, 3, 2, 2), (5, 4, 3)], 0)
    grads = [draw([(6, 3, 2, 2), (5, 4, 3)], k) for k in range(1, 5)]
    expected, _ = by_torch(made, start, grads, engine="eager")
    turned = [
        start[0].contiguous(memory_format=torch.channels_last),
        start[1].transpose(0, 2).contiguous().transpose(0, 2),
    ]
    params = [nn.Parameter(p) for p in turned]
    assert not any(p.is_contiguous() for p in params)
    optimizer = rt.optimizer(made)(params, engine=engine)
    for k, row in enumerate(grads):
        for p, g in zip(params, row, strict=True):
            p.grad = torch.empty_like(p).copy_(g) if k % 2 else g
        optimizer.step()
    for p, q in zip(params, expected, strict=True):
        assert error(p, q) <= 1e-13
        assert not p.is_contiguous()
    turned = np.asfortranarray(start[0].numpy())
    opt = rn.optimizer(made)([turned], engine=engine)
    for row in grads:
        opt.step([row[0].numpy()])
    assert error(turned, expected[0]) <= 1e-13


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype):
    start, grads = draw(SHAPES, 0, dtype), [draw(SHAPES, k, dtype) for k in range(1, 4)]
    for made in (factored, muon):
        params, _ = by_torch(made, start, grads)
        flat = [p.reshape(len(p), -1) for p in start]
        rows = [[g.reshape(len(g), -1) for g in row] for row in grads]
        others, _ = by_torch(made.seeing(""), flat, rows)
        for p, q in zip(params, others, strict=True):
            assert torch.equal(p, q.reshape(p.shape))


def test_what_a_step_leaves_as_it_is_and_what_it_shares():
    """Results that are inputs, or each other."""

    @rule(seen="matrix", evaluate=lambda p, before: before)
    def swaps(p, g, m, before, *, lr=0.1):
        return p - lr * m, g, p

    start, grads = draw([(3, 2, 2)], 0), [draw([(3, 2, 2)], k) for k in range(1, 4)]
    (p,), optimizer = by_torch(swaps, start, grads, engine="eager")
    assert torch.equal(optimizer.state[p]["m"], grads[-1][0])
    before = start[0] - 0.1 * grads[0][0]
    assert error(optimizer.state[p]["before"], before) <= 1e-15
    assert error(p, before - 0.1 * grads[1][0]) <= 1e-15


def test_checkpoints_have_torchs_shapes():
    start, grads = draw(SHAPES, 0), [draw(SHAPES, k) for k in range(1, 7)]
    whole, _ = by_torch(factored, start, grads)
    params, first = by_torch(factored, start, grads[:3])
    again = rt.optimizer(factored)(params)
    again.load_state_dict(first.state_dict())
    for row in grads[3:]:
        for p, g in zip(params, row, strict=True):
            p.grad = g
        again.step()
    assert all(map(torch.equal, params, whole))
    saved = first.state_dict()
    saved["state"][0]["r"] = torch.zeros(6, 1, 1, 1)
    with pytest.raises(ValueError, match=r"has 'r' in the shape \(6, 1, 1, 1\).* has \(6, 1\)"):
        again.load_state_dict(saved)


def test_the_weights_to_evaluate_with():
    made = rule(seen="matrix", mean_p=like_p, evaluate=lambda p, mean_p: mean_p - mean(p, axis=-1))(
        lambda p, g, mean_p, *, lr=0.1: (p - lr * g, 0.5 * (mean_p + p))
    )
    start, grads = draw([(3, 2, 2)], 0), [draw([(3, 2, 2)], 1)]
    (p,), optimizer = by_torch(made, start, grads)
    expected = optimizer.state[p]["mean_p"] - p.detach().mean((1, 2), keepdim=True)
    with optimizer.evaluating():
        assert error(p, expected) <= 1e-15
    (q,), opt = by_numpy(made, start, grads)
    with opt.evaluating():
        assert error(q, expected) <= 1e-15


def test_the_whole_of_kahan_and_totals():
    """`stored` and `total` in a rule that sees matrices."""

    @rule(seen="matrix")
    def summed(p, g, lost, *, lr=1e-3):
        u = lost - lr * g / sqrt(total(g * g)) - lr * mean(g, axis=-1)
        new = stored(p + u)
        return new, u - (new - p)

    start = draw([(4, 3, 2)], 0, torch.bfloat16)
    grads = [draw([(4, 3, 2)], k, torch.bfloat16) for k in range(1, 5)]
    (p,), _ = by_torch(summed, start, grads, state_dtype=torch.float32)
    flat = [[g.reshape(4, 6) for g in row] for row in grads]
    (q,), _ = by_torch(summed, [start[0].reshape(4, 6)], flat, state_dtype=torch.float32)
    assert torch.equal(p.reshape(4, 6), q)


def test_torchs_class_refuses_them_as_torchs():
    with pytest.raises(ValueError, match=r"Muon: a parameter of shape \(2, 2, 2\) is invalid"):
        rt.Muon([nn.Parameter(torch.ones(2, 2, 2))])


def test_ravines_muon_sees_what_it_is_told_to():
    start, grads = draw(SHAPES[:1], 0), [draw(SHAPES[:1], k) for k in range(1, 4)]
    (p,), _ = by_torch(rules.muon.seeing("matrix"), start, grads)
    flat = [[g.reshape(6, -1) for g in row] for row in grads]
    (q,), _ = by_torch(rules.muon, [start[0].reshape(6, -1)], flat)
    assert torch.equal(p.reshape(6, -1), q)
    assert rules.muon.seeing("matrix") is rules.muon.seeing("matrix") is not rules.muon
    assert rules.muon.seeing("matrix").seeing("").seen == ""
    assert pickle.loads(pickle.dumps(rules.muon.seeing("matrix"))).seen == "matrix"


def test_how_many_dimensions_are_seen():
    assert plan(centralized, centralized.check(), ndim=4) is plan(
        centralized, centralized.check(), ndim=2
    )
    assert trace(centralized, None, 1) is not None
    p = np.array([1.0, 3.0])
    assert centralized(p, p, 0 * p)[0].tolist() == [0.9, 2.7]  # a vector is no matrix
    assert digest(muon) != digest(muon.seeing("")) != digest(muon_of_stacks) != digest(muon)


@pytest.mark.parametrize(
    ("shape", "matrix", "stack"),
    [
        ((), (), ()),
        ((5,), (5,), (5,)),
        ((4, 3), (4, 3), (4, 3)),
        ((4, 3, 2), (4, 6), (4, 3, 2)),
        ((4, 3, 2, 5), (4, 30), (12, 2, 5)),
        ((2, 2, 2, 3, 4), (2, 48), (8, 3, 4)),
        ((0, 3, 2, 2), (0, 12), (0, 2, 2)),
        ((3, 0, 2, 2), (3, 0), (0, 2, 2)),
    ],
)
def test_shapes(shape, matrix, stack):
    for seen, expected in (("matrix", matrix), ("stack", stack), ("", shape)):
        assert seen_shape(shape, seen) == expected
        x = np.arange(float(np.prod(shape))).reshape(shape)
        assert view(x, seen).shape == expected
        assert np.array_equal(restored(view(x, seen), x, seen), x)
    assert view(1.5, "matrix") == 1.5


def test_a_tensor_without_elements():
    params, _ = by_torch(factored, [torch.ones(0, 3, 2)], [[torch.ones(0, 3, 2)]])
    assert params[0].shape == (0, 3, 2)


@pytest.mark.parametrize("seen", ["matrices", "Matrix", None, True, 2, ["stack"]])
def test_another_way_is_refused(seen):
    words = (
        "seen must be 'matrix' (the first axis by the rest), 'stack' (matrices in the last two axes, all "
        "others as one batch), or '' (as it is)"
    )
    for make in (lambda: rule(seen=seen)(as_matrix), lambda: muon.seeing(seen)):
        with pytest.raises(RuleError) as refused:
            make()
        assert f"seen={seen!r} is invalid; {words}" in str(refused.value)


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("by", [by_torch, by_numpy])
def test_what_is_no_matrix_is_refused_by_what_needs_one(shape, by):
    message = r"rule 'as_matrix', test_views.py:\d+, .*size: axis=-2 is not an axis of an array of shape \("
    x = torch.ones(shape, dtype=torch.float64)
    with pytest.raises(RuleError, match=message):
        by(muon, [x], [[x]])
    only = rule(seen="matrix")(lambda p, g, *, lr=0.1: p - lr * newton_schulz(g, 1.5, -0.5, 0.0))
    message = (
        "newton_schulz needs a matrix or a batch of matrices, got .* is for matrices: give other"
    )
    with pytest.raises(RuleError, match=message):
        by(only, [x], [[x]])
