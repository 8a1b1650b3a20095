"""State in 8 bits: the laws of the codes, kernels against called rules, and checkpoints."""

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ravine.torch
from ravine.draws import Draw
from ravine.engines.narrow import BLOCK, SMALL, size
from ravine.torch import narrow
from ravine.torch.narrow import decoded, empty, encoded

KINDS = (torch.int8, torch.uint8)
FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def through(x, dtype, draw=None, number=0):
    kept = empty(x, dtype)
    encoded(kept, x, draw, number)
    return decoded(kept, x.shape)


def numbers(values, dtype):
    x = torch.tensor(values)
    return x.abs() if dtype is torch.uint8 else x


# --- codes


@pytest.mark.parametrize("dtype", KINDS)
@settings(max_examples=60, deadline=None)
@given(values=st.lists(FINITE, min_size=1, max_size=300), seed=st.integers(0, 99))
def test_a_code_is_one_of_the_two_next_to_a_number(dtype, values, seed):
    x = numbers(values, dtype)
    found = through(x, dtype, Draw(seed))
    steps, window = (8, 16) if dtype is torch.int8 else (4, 61)
    for block, its in zip(x.split(BLOCK), found.split(BLOCK), strict=True):
        least = max(block.abs().max().item() * 2.0**-window, 2.0**-126)
        for a, b in zip(block.tolist(), its.tolist(), strict=True):
            assert abs(a - b) <= max(abs(a) / steps, least)
            assert (a == 0) <= (b == 0)
            assert a * b >= 0


@pytest.mark.parametrize("dtype", KINDS)
@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(FINITE, min_size=1, max_size=300),
    seed=st.integers(0, 99),
    number=st.integers(0, 3),
)
def test_what_a_code_stands_for_stays_as_it_is(dtype, values, seed, number):
    once = through(numbers(values, dtype), dtype, Draw(seed))
    assert torch.equal(through(once, dtype, Draw(seed + 1), number), once)
    assert torch.equal(through(once, dtype), once)


@pytest.mark.parametrize("dtype", KINDS)
@settings(max_examples=60, deadline=None)
@given(values=st.lists(FINITE, min_size=2, max_size=BLOCK))
def test_to_the_nearest_codes_are_in_the_order_of_the_numbers(dtype, values):
    x = numbers(values, dtype).sort().values
    assert through(x, dtype).diff().ge(0).all()


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("x", [1.0001, 1.3, 1.9, 2e-5, 7e-6])
def test_the_mean_of_codes_is_the_number(dtype, number, x):
    many = 2**18
    kept = torch.full((many,), x)
    kept[::BLOCK] = 1.0  # which the small ones are small beside
    found = through(kept, dtype, Draw(3, 5, 7), number)
    found = found[kept != 1].double()
    spread = found.std().item() or 1e-9
    exact = torch.tensor(x).item()
    assert abs(found.mean().item() - exact) < 4.5 * spread / math.sqrt(len(found))
    neighbours = torch.corrcoef(torch.stack([found[:-1], found[1:]]))[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(many)


def test_two_columns_that_share_a_hash_are_rounded_independently():
    x = torch.full((2**18,), 1.1)
    one, other = (through(x, dtype, Draw(1), i) for i, dtype in enumerate(KINDS))
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.01


@pytest.mark.parametrize("dtype", KINDS)
def test_a_positive_number_is_never_zero_among_codes_without_sign(dtype):
    x = torch.ones(BLOCK)
    x[1], x[2] = 1e-30, 0.0
    found = through(x, dtype, Draw()).tolist()
    assert found[2] == 0
    assert (found[1] > 0) is (dtype is torch.uint8)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3.4e38])
def test_a_block_that_is_not_finite_is_nan_and_no_other(dtype, bad):
    x = torch.ones(3 * BLOCK)
    x[BLOCK + 3] = bad
    x[BLOCK + 4] = 0.0
    found = through(x, dtype, Draw())
    assert found[BLOCK : 2 * BLOCK].isnan().all()
    assert found[:BLOCK].eq(1).all()
    assert found[2 * BLOCK :].eq(1).all()


# --- steps

RULES = {
    "adam": {},
    "momentum": {},
    "lamb": {},  # reductions after the means
    "clip_by_global_norm(adam)": {},  # gradients read twice
    "amsgrad": {},  # three columns of codes
    "rmsprop": {},
}


def stepped(rule, engine, steps=3, shapes=((5003,), (64, 100), (10,)), dtype=torch.float32, **how):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(s).to(dtype)) for s in shapes]
    make = getattr(ravine.torch, rule, None) or ravine.torch.optimizer(rule)
    optimizer = make(params, lr=1e-2, state_dtype="8bit", engine=engine, **how)
    take(optimizer, params, steps)
    return optimizer, params


def take(optimizer, params, steps, first=0):
    for t in range(first, first + steps):
        noise = torch.Generator().manual_seed(t)
        for p in params:
            p.grad = torch.randn(p.shape, generator=noise).to(p.dtype)
            p.grad *= torch.rand(p.shape, generator=noise).to(p.dtype) ** 8
        optimizer.step()


def kept(optimizer, params):
    return [optimizer.state[p] for p in params]


def same_state(one, other):
    for a, b in zip(kept(*one), kept(*other), strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.float16])
def test_a_kernel_has_the_codes_of_the_called_rule(rule, dtype):
    pytest.importorskip("llvmlite")
    one, other = (stepped(rule, engine, dtype=dtype) for engine in ("kernel", "eager"))
    if "norm" in rule or rule == "lamb":  # sums are rounded in another order
        for a, b in zip(one[1], other[1], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)
        return
    same_state(one, other)
    for a, b in zip(one[1], other[1], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("small", [(10,), (5, 7)])
def test_codes_are_rounded_by_their_bits_wherever_small_parameters_are(small):
    pytest.importorskip("llvmlite")
    shapes = (small, (64, 100), small, (5003,))
    ways = [("kernel", 1), ("eager", 1), ("kernel", 2)]
    one, called, other = (stepped("adam", e, shapes=shapes, seed=seed) for e, seed in ways)
    same_state(one, called)
    assert not torch.equal(kept(*one)[1]["v"], kept(*other)[1]["v"])


def test_tensors_of_any_size_are_stepped_alike(monkeypatch):
    pytest.importorskip("llvmlite")
    monkeypatch.setattr(narrow, "SMALL", 1)
    shapes = [(), (0,), (1,), (15,), (33,), (255,), (256,), (257,), (511, 17), (8192 + 5,)]
    same_state(*(stepped("adam", engine, shapes=shapes) for engine in ("kernel", "eager")))


def test_codes_beside_a_smaller_tensor_that_comes_first():
    pytest.importorskip("llvmlite")
    shapes = ((10,), (5003,))
    same_state(*(stepped("adam", engine, shapes=shapes) for engine in ("kernel", "eager")))


def test_matrices_by_blas_between_kernels():
    pytest.importorskip("llvmlite")
    optimizer, params = stepped("Muon", "kernel", shapes=((80, 100),))
    assert "8-bit state: momentum_buffer" in optimizer.engine
    plain = ravine.torch.Muon([torch.nn.Parameter(torch.randn(80, 100))], lr=1e-2)
    take(plain, plain.param_groups[0]["params"], 1)
    found = optimizer.state[params[0]]["momentum_buffer"]
    assert found.dtype is torch.int8
    assert found.numel() == size(8000)


def test_bits_depend_on_the_seed_and_not_on_threads():
    pytest.importorskip("llvmlite")
    before = torch.get_num_threads()
    big = {"shapes": ((300, 300),)}
    try:
        torch.set_num_threads(1)
        one = stepped("adam", "kernel", seed=1, **big)
        torch.set_num_threads(2)
        same_state(one, stepped("adam", "kernel", seed=1, **big))
    finally:
        torch.set_num_threads(before)
    other = stepped("adam", "kernel", seed=2, **big)
    assert not torch.equal(kept(*one)[0]["m"], kept(*other)[0]["m"])


def test_a_mean_that_moves_less_than_a_code_still_moves():
    p = torch.nn.Parameter(torch.zeros(SMALL))
    optimizer = ravine.torch.RMSprop([p], alpha=0.999, state_dtype="8bit")
    p.grad = torch.ones(SMALL)
    optimizer.step()
    p.grad = torch.zeros(SMALL)
    first = decoded(optimizer.state[p]["square_avg"], p.shape).mean().item()
    for _ in range(300):
        optimizer.step()
    last = decoded(optimizer.state[p]["square_avg"], p.shape).mean().item()
    assert last / first == pytest.approx(0.999**300, rel=0.05)


def test_the_second_moment_has_its_mean_and_steps_are_a_little_longer():
    params = [torch.nn.Parameter(torch.zeros(2 * SMALL)) for _ in range(2)]
    how = ({"state_dtype": "8bit"}, {})
    optimizers = [ravine.torch.Adam([p], **its) for p, its in zip(params, how, strict=True)]
    for t in range(300):
        g = torch.randn(2 * SMALL, generator=torch.Generator().manual_seed(t))
        for optimizer, p in zip(optimizers, params, strict=True):
            p.grad = g
            optimizer.step()
    codes, v = (o.state[p]["exp_avg_sq"] for o, p in zip(optimizers, params, strict=True))
    narrow = decoded(codes, v.shape)
    assert (narrow.mean() / v.mean()).item() == pytest.approx(1, abs=0.01)
    assert 1.01 < (narrow.rsqrt().mean() / v.rsqrt().mean()).item() < 1.04


def test_nan_in_a_gradient_spoils_its_block():
    p = torch.nn.Parameter(torch.zeros(2 * SMALL))
    optimizer = ravine.torch.Adam([p], state_dtype="8bit")
    for bad in (math.nan, 1.0):
        p.grad = torch.ones(2 * SMALL)
        p.grad[BLOCK] = bad
        optimizer.step()
    spoilt = p.detach().isnan().nonzero().flatten()
    assert spoilt.tolist() == [*range(BLOCK, 2 * BLOCK)]


def test_the_scaler_skips_a_step_and_leaves_the_codes():
    p = torch.nn.Parameter(torch.ones(SMALL))
    optimizer = ravine.torch.Adam([p], state_dtype="8bit", fused=True)
    take(optimizer, [p], 1)
    before = {k: x.clone() for k, x in optimizer.state[p].items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for bad in (math.inf, 1.0):
        p.grad = torch.full((SMALL,), bad)
        scaler.scale(torch.zeros(1))  # the scaler is to have a scale
        scaler.step(optimizer)
        scaler.update()
        moved = not torch.equal(before["exp_avg"], optimizer.state[p]["exp_avg"])
        assert moved is math.isfinite(bad)


# --- what is kept


def test_small_parameters_and_other_state_stay_in_float32():
    sizes = (SMALL, SMALL - 1)
    params = [torch.nn.Parameter(torch.ones(n, dtype=torch.bfloat16)) for n in sizes]
    optimizer = ravine.torch.Adan(params, state_dtype="8bit")
    take(optimizer, params, 1)
    large, small = (
        {k: x.dtype for k, x in its.items() if k != "step"} for its in kept(optimizer, params)
    )
    floats = dict.fromkeys(("m", "v", "n", "prev"), torch.float32)
    assert small == floats
    assert large == {**floats, "m": torch.int8, "v": torch.int8, "n": torch.uint8}
    assert optimizer.engine.endswith(
        "; 8-bit state: m, v, n; float32 state: prev, 1 parameter below 4,096 elements"
    )


@pytest.mark.parametrize("cls", ["SGD", "Adagrad"])
def test_it_is_refused_where_it_does_nothing(cls):
    with pytest.raises(ValueError, match="state_dtype='8bit' does nothing"):
        getattr(ravine.torch, cls)([torch.nn.Parameter(torch.ones(9))], state_dtype="8bit")


def test_what_it_does_not_go_with():
    complex_ = torch.nn.Parameter(torch.ones(SMALL, dtype=torch.complex64))
    complex_.grad = torch.ones_like(complex_)
    with pytest.raises(ValueError, match="state_dtype='8bit' is not supported with complex"):
        ravine.torch.Adam([complex_], state_dtype="8bit").step()
    p = torch.nn.Parameter(torch.ones(SMALL, 2))
    with pytest.raises(ValueError, match="differentiable=True and state_dtype='8bit'"):
        ravine.torch.Adam([p], state_dtype="8bit", differentiable=True)
    p.grad = torch.sparse_coo_tensor([[1], [0]], [1.0], p.shape, check_invariants=True)
    with pytest.raises(
        RuntimeError, match="sparse gradients are not supported with state_dtype='8bit'"
    ):
        ravine.torch.Adam([p], state_dtype="8bit").step()
    with pytest.raises(ValueError, match="'8bit', or None"):
        ravine.torch.Adam([p], state_dtype="4bit")


def test_other_memory_layouts_are_stepped_by_calls():
    p = torch.nn.Parameter(torch.ones(4, 32, 8, 8).to(memory_format=torch.channels_last))
    optimizer = ravine.torch.Adam([p], state_dtype="8bit")
    assert optimizer.engine.startswith("kernel")
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert "eager for 1 tensor (not contiguous)" in optimizer.engine
    assert p.detach().unique().numel() == 1


# --- checkpoints and copies


def test_a_checkpoint_is_torchs_and_resumes_bit_for_bit():
    optimizer, params = stepped("Adam", "auto")
    saved = optimizer.state_dict()
    for p, its in zip(params, saved["state"].values(), strict=True):
        assert its["exp_avg"].shape == p.shape
        assert its["exp_avg"].dtype is its["exp_avg_sq"].dtype is torch.float32
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    copies = [torch.nn.Parameter(p.detach().clone()) for p in params]
    torch.optim.Adam(copies).load_state_dict(saved)
    again = ravine.torch.Adam(copies, lr=1.0, state_dtype="8bit")
    again.load_state_dict(torch.load(file, weights_only=True))
    assert again.state[copies[0]]["exp_avg"].dtype is torch.int8
    for o, its in ((optimizer, params), (again, copies)):
        take(o, its, 3, first=3)
    same_state((optimizer, params), (again, copies))
    assert all(map(torch.equal, params, copies))


def test_float32_state_becomes_codes_and_codes_float32():
    params = [torch.nn.Parameter(torch.randn(70, 70))]
    plain = torch.optim.Adam(params)
    take(plain, params, 2)
    wide = plain.state[params[0]]["exp_avg_sq"]
    optimizer = ravine.torch.Adam(params, state_dtype="8bit")
    optimizer.load_state_dict(plain.state_dict())
    found = decoded(optimizer.state[params[0]]["exp_avg_sq"], wide.shape)
    assert (found - wide).abs().le((wide / 8).clamp(min=wide.max().item() * 2.0**-62)).all()
    back = ravine.torch.Adam(params)
    back.load_state_dict(optimizer.state_dict())
    assert torch.equal(back.state[params[0]]["exp_avg_sq"], found)
    take(back, params, 1)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_alike(way):
    optimizer, params = stepped("adam", "auto")
    other = way(optimizer)
    copies = other.param_groups[0]["params"]
    assert other.state[copies[0]]["m"].dtype is torch.int8
    for o, its in ((optimizer, params), (other, copies)):
        take(o, its, 2, first=3)
    same_state((optimizer, params), (other, copies))


def test_groups_that_are_added_and_options_that_change():
    optimizer, params = stepped("Adam", "auto")
    late = torch.nn.Parameter(torch.ones(90, 90))
    optimizer.add_param_group({"params": [late], "lr": 0.5, "amsgrad": True})
    take(optimizer, [*params, late], 1)
    assert optimizer.state[late]["max_exp_avg_sq"].dtype is torch.uint8
    assert "max_exp_avg_sq" in optimizer.engine
    optimizer.param_groups[1]["amsgrad"] = False
    take(optimizer, [*params, late], 1)


def test_a_slot_whose_code_changes_keeps_its_numbers():
    params = [torch.nn.Parameter(torch.randn(70, 70))]
    optimizer = ravine.torch.RMSprop(params, state_dtype="8bit", momentum=0.9)
    take(optimizer, params, 2)
    codes = optimizer.state[params[0]]["square_avg"]
    assert codes.dtype is torch.uint8
    wide = decoded(codes, params[0].shape)
    optimizer.param_groups[0]["centered"] = True  # what is subtracted from is not kept in codes
    take(optimizer, params, 1)
    assert optimizer.state[params[0]]["square_avg"].dtype is torch.float32
    torch.testing.assert_close(
        optimizer.state[params[0]]["square_avg"], 0.99 * wide + 0.01 * params[0].grad ** 2
    )


def test_a_state_of_another_size_is_refused():
    p = torch.nn.Parameter(torch.ones(SMALL))
    optimizer = ravine.torch.Adam([p], state_dtype="8bit")
    take(optimizer, [p], 1)
    p.data = torch.ones(2 * SMALL)
    with pytest.raises(ValueError, match=r"'exp_avg' has the shape .*was it resized"):
        take(optimizer, [p], 1)


def test_steps_in_backward():
    layer = torch.nn.Linear(80, 80)
    plain = copy.deepcopy(layer)
    one = ravine.torch.Adam(layer.parameters(), state_dtype="8bit")
    ravine.torch.step_in_backward(layer, one)
    other = ravine.torch.Adam(plain.parameters(), state_dtype="8bit")
    for _ in range(2):
        layer(torch.ones(3, 80)).sum().backward()
        one.step()
        other.zero_grad()
        plain(torch.ones(3, 80)).sum().backward()
        other.step()
    assert all(map(torch.equal, layer.parameters(), plain.parameters()))
