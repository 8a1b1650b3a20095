"""The kernels in motion: against the eager engine, in all dtypes."""

import ctypes
import mmap
import sys

import numpy as np
import pytest
import torch
from cases import ELEMENTWISE, REDUCING, error, lion, schedule_free, variants
from engines.kernels import ByReciprocal, Kernel, arrays, assert_same, name, run
from engines.test_python import ODD, programs
from hypothesis import given, settings

from ravine import modifier, rule, rules, scalar
from ravine.engines.cpu import READY, Step, kernel
from ravine.engines.eager import Work, plan, steps
from ravine.engines.llvm.tables import BATCH, LINE, SCALARS
from ravine.modifiers import clip_by_global_norm, l2
from ravine.ops import abs, exp, log, maximum, mean, minimum, norm, sign, sum, total, where

pytestmark = pytest.mark.filterwarnings("ignore:.* is never used:UserWarning")

SIZES = [0, 1, 7, 255, 257, 4097, 8191, 8192, 8193, 3 * 8192 + 5]  # around vectors and chunks
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310, -1e-42, 3e-39, 1e30, -1e38, 1e300, 1.0]


def eager(made, ps, path, kind=ByReciprocal, **hyper):
    """The rule's steps by the eager engine: parameters and live state of each after the last.

    kind: divided by a number as in the kernels, so that all bits agree, or np.ndarray.
    """
    hyper = made.check(**hyper)
    live = plan(made, hyper).live
    ps, path = [p.view(kind) for p in ps], [[g.view(kind) for g in grads] for grads in path]
    states = [{s: made.slots[s].init(p, **hyper) for s in live} for p in ps]
    with np.errstate(all="ignore"):
        for t, grads in enumerate(path, 1):
            works = [Work(p, g, s, t, hyper) for p, g, s in zip(ps, grads, states, strict=True)]
            results = list(steps(made, works))
            ps = [p for p, _ in results]
            states = [
                {k: x if made.slots[k].kind == "scalar" else full(x, p) for k, x in state.items()}
                for p, state in results
            ]
    return ps, states


def full(x, p):
    """A number that is an array's new value fills it, as a front would have it."""
    return np.broadcast_to(x, np.shape(p)).astype(p.dtype).view(type(p))


def close(limit):
    def check(a, b):
        assert error(a, b) <= limit

    return check


@pytest.mark.parametrize("made", [*ELEMENTWISE, *REDUCING], ids=name)
def test_fifty_steps_of_every_rule_as_eager(made):
    """The same bits without reductions; with them, the sums may be rounded otherwise."""
    for hyper in variants(made):
        ps, path = arrays([35, 300, 1], 50)
        check = np.testing.assert_array_equal if made in ELEMENTWISE else close(1e-14)
        if made in REDUCING:
            ps, path = ps[:2], [grads[:2] for grads in path]  # normwise: not of one element
        assert_same(run(made, ps, path, **hyper), eager(made, ps, path, **hyper), check)


@pytest.mark.parametrize(
    "made", [rules.adamw, rules.rmsprop, rules.nesterov, lion, schedule_free], ids=name
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_sizes_and_offsets_as_eager(made, dtype):
    ps, path = arrays(SIZES, 3, dtype)
    assert_same(run(made, ps, path), eager(made, ps, path))


@pytest.mark.parametrize("made", REDUCING, ids=name)
@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-14), (np.float32, 4 * 2.0**-23)])
def test_reductions_over_all_sizes_as_eager(made, dtype, limit):
    ps, path = arrays(SIZES[1:], 3, dtype)
    assert_same(run(made, ps, path), eager(made, ps, path), close(limit))


@pytest.mark.parametrize("made", [m for m in ELEMENTWISE if m is not schedule_free], ids=name)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nan_infinity_and_denormals_as_eager(made, dtype):
    with np.errstate(all="ignore"):
        special = np.array(SPECIAL, dtype)
    g, p = (x.ravel() for x in np.meshgrid(special, special))
    path = [[g], [np.roll(g, 1)], [g[::-1].copy()]]
    assert_same(run(made, [p], path), eager(made, [p], path))


@pytest.mark.parametrize("made", [m for m in ELEMENTWISE if m is not schedule_free], ids=name)
@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-14), (np.float32, 4 * 2.0**-23)])
def test_dividing_by_reciprocals_costs_an_ulp_or_two(made, dtype, limit):
    ps, path = arrays([300], 50, dtype)
    assert_same(run(made, ps, path), eager(made, ps, path, np.ndarray), close(limit))


@pytest.mark.parametrize("made", ODD, ids=name)
def test_odd_rules_as_eager(made):
    ps, path = arrays([3, 70], 6)
    exact = not any(plan(made, made.check()).uses(op) for op in ("sum", "mean", "exp"))
    check = np.testing.assert_array_equal if exact else close(1e-14)
    assert_same(run(made, ps, path), eager(made, ps, path), check)


@settings(max_examples=60)
@given(source=programs())
def test_any_rule_as_eager(source):
    space = {"maximum": maximum, "where": where, "abs": abs}
    exec(source, space)
    made = rule(space["program"])
    ps, path = arrays([3, 40], 3)
    assert_same(run(made, ps, path), eager(made, ps, path))


@modifier
def each_operation(step, p, g, *, k=3.0):
    x = abs(g) + 0.5
    y = x % 0.3 + (-x) % 0.3 + x % -k + exp(-x) + log(x) + x**k + 2.0**-x + x**1.5
    y = y + g**3 + x**-1 + x**-2 + x**0.5 + x**-0.5 + x**1 + (g > p) + (g != 0) * g
    y = y + where(g >= p, minimum(g, p), -sign(p)) + where(g < 0, g <= p, g == 0)
    return step(p, y + where(g, 1.0, 2.0))


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-14), (np.float32, 1e-6)])
def test_every_operation_on_elements(dtype, limit):
    made = each_operation(rules.sgd)
    ps, path = arrays([100], 2, dtype)
    assert_same(run(made, ps, path), eager(made, ps, path), close(limit))


@rule(count=scalar(2.0), last=scalar(0.0), steady=scalar(1.0))
def scalars_of_all_kinds(p, g, w, count, last, steady, t, *, lr=0.1, k=2):
    share = total(norm(g)) / (1 + total(g * g))
    count = count + sum(abs(g)) % k
    w = 0.5 * w + where(t % k == 0, mean(p * share), total(norm(p * share) ** 2))
    return p - lr * w * count * last - steady * g, w, count, lr * t, 3.0


def test_scalars_on_all_levels():
    """Totals of reductions, reductions of these; slots that are scalars of the group, and constants."""
    ps, path = arrays([35, 8193, 4], 5)
    assert_same(
        run(scalars_of_all_kinds, ps, path), eager(scalars_of_all_kinds, ps, path), close(1e-12)
    )


def test_scalar_slots_stay_with_their_tensors_where_dtypes_take_turns():
    """In the tables, tensors of the same dtypes are adjacent."""

    @rule(own=scalar(0.0), groups=scalar(0.0))
    def made(p, g, own, groups, t, *, lr=0.5):
        return p - lr * (own + groups) * g, own + 1, lr * t

    kinds = [np.float32, np.float64, np.float32, np.float64, np.float32]
    stepped = Kernel(made, [np.zeros(3, kind) for kind in kinds], groups=[0, 1, 1, 0, 1])
    for i, state in enumerate(stepped.state):
        state["own"] = 8.0 * i
    stepped.step([np.ones(3, kind) for kind in kinds], t=[2, 6])
    assert [p[0] for p in stepped.ps] == [0, -4, -8, -12, -16]
    assert [state["own"] for state in stepped.state] == [1, 9, 17, 25, 33]
    assert [state["groups"] for state in stepped.state] == [1, 3, 3, 1, 3]


def test_scalars_follow_the_floating_point_standard():
    @rule
    def odd(p, g, t, *, lr=0.1):
        return p - where(t < 5, lr, 1 / (t - 5)) * g + where(t == 9, 0.0, (-lr) % t * (t % -2.0))

    stepped = Kernel(odd, [np.ones(1)])
    for t in range(1, 8):
        before = stepped.ps[0][0]
        stepped.step([np.ones(1)])
        factor = 0.1 if t < 5 else np.inf if t == 5 else 1 / (t - 5)
        want = before - factor + (-0.1) % t * (t % -2.0)
        np.testing.assert_array_equal(stepped.ps[0][0], want)


def test_groups_have_their_own_step_counts_and_hyperparameters():
    made = l2(rules.adam)
    ps, [grads] = arrays([5, 9000, 3], 1)
    stepped = Kernel(made, [p.copy() for p in ps], groups=[1, 0, 1])
    stepped.step(grads, t=[1, 7], lr=[0.1, 0.2], weight_decay=[0.5, 0.01])
    for i, (t, lr, decay) in enumerate([(7, 0.2, 0.01), (1, 0.1, 0.5), (7, 0.2, 0.01)]):
        p, g = ps[i].view(ByReciprocal), grads[i].view(ByReciprocal)
        want, *_ = made(p, g, p * 0, p * 0, t, lr=lr, weight_decay=decay)
        np.testing.assert_array_equal(stepped.ps[i], want)


def test_a_step_works_where_it_was_pointed_last():
    ps, gs = np.arange(3.0), np.ones(3)
    step = Step(kernel(plan(rules.sgd, {"lr": 1.0})), [1], [("float64", "float64")])
    step.set_group(0, [1.0])
    step.point("g", [gs.ctypes.data])
    for place in (0, 1, 0, 2):
        step.point("p", [ps.ctypes.data + 8 * place])
        assert step.run(1) == READY
    assert ps.tolist() == [-2.0, 0.0, 1.0]


# Dtypes: computed in float32 (in float64 if a column is), stored to the nearest even.

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("made", [rules.adamw, rules.momentum, lion], ids=name)
@pytest.mark.parametrize("p_dtype", FLOATS)
@pytest.mark.parametrize("s_dtype", FLOATS)
def test_parameters_and_states_in_dtypes_of_their_own(made, p_dtype, s_dtype):
    compute = np.float64 if torch.float64 in (p_dtype, s_dtype) else np.float32
    [p], path = arrays([300], 4)
    special = torch.tensor([np.nan, np.inf, -np.inf, 1e-7, -3e-8, 1e-41, 7e4, 1e39, 0.0])
    p = torch.cat([torch.tensor(p), special.double()]).to(p_dtype)
    path = [torch.cat([torch.tensor(g), special.roll(i)]).to(p_dtype) for i, [g] in enumerate(path)]
    stepped = Kernel(made, [p.clone()])
    for state in stepped.state:
        state.update({k: v.to(s_dtype) for k, v in state.items()})
    want, slots = p, {k: v.clone() for k, v in stepped.state[0].items()}
    for t, g in enumerate(path, 1):
        stepped.step([g])
        work = [x.double().numpy().astype(compute) for x in (want, g, *slots.values())]
        work = [x.view(ByReciprocal) for x in work]
        with np.errstate(all="ignore"):
            new_p, new = made.update(work[0], work[1], work[2:], t, **made.check())
        want = torch.tensor(new_p).to(p_dtype)
        slots = {k: torch.tensor(x).to(s_dtype) for k, x in zip(slots, new, strict=True)}
        torch.testing.assert_close(stepped.ps[0], want, rtol=0, atol=0, equal_nan=True)
        for k, x in slots.items():
            torch.testing.assert_close(stepped.state[0][k], x, rtol=0, atol=0, equal_nan=True)


def test_one_step_over_tensors_of_all_dtypes():
    """One global norm, and each tensor in its own arithmetic."""
    made = clip_by_global_norm(rules.momentum, max_norm=0.5)
    ps, [grads] = arrays([30, 9000, 70, 5, 600], 1)
    dtypes = [FLOATS[i] for i in (1, 0, 2, 1, 3)]
    ps = [torch.tensor(p).to(d) for p, d in zip(ps, dtypes, strict=True)]
    grads = [torch.tensor(g).to(d) for g, d in zip(grads, dtypes, strict=True)]
    stepped = Kernel(made, [p.clone() for p in ps])
    stepped.step(grads)
    factor = 0.5 / np.sqrt(np.sum([float((g.double() ** 2).sum()) for g in grads]))
    for p, g, new in zip(ps, grads, stepped.ps, strict=True):
        want = p.double() - 1e-3 * factor * g.double()
        assert error(new.double(), want) <= 2 * torch.finfo(p.dtype).eps


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stochastic_rounding_keeps_the_mean_and_the_exact(dtype):
    n = 40000
    exact = torch.tensor(
        [1.0, -2.5, 0.0, np.inf, -np.inf, np.nan, 2.0**-24, -(2.0**-16)], dtype=dtype
    )
    for value in (1.001, -3.3, 1e-3, 2.3e-6, -1.1e-7):  # the last two are denormal as float16
        p = torch.cat([torch.zeros(n, dtype=dtype), exact])
        g = torch.cat([torch.full((n,), -value), torch.zeros(len(exact))])
        stepped = Kernel(rules.sgd, [p.clone()], stochastic=True, lr=1.0)
        stepped.step([g], noise=7)
        new = stepped.ps[0][:n].double()
        torch.testing.assert_close(stepped.ps[0][n:], exact, rtol=0, atol=0, equal_nan=True)
        low, high = new.min(), new.max()
        wanted = float(np.float32(value))
        assert low < wanted < high
        assert (torch.nextafter(low.to(dtype), high.to(dtype)) == high).all()
        assert ((new == low) | (new == high)).all()
        assert abs(float(new.mean()) - wanted) < 4 * float(high - low) / 2 / np.sqrt(n)


@rule
def three_columns(p, g, a, b, *, lr=1.0):
    """Each new value is 1 + 0.004 or -1 - 0.004 at first: bfloat16 has 1 and 1 + 2**-7."""
    return p - lr * (1.004 * g + a + b), a + 1.004 * g, b + 1.004 * g


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("made", [rules.sgd, rules.momentum, three_columns], ids=name)
def test_stochastic_rounding_is_reproducible_and_independent(made, dtype):
    """With bfloat16 gradients, elements at even and at odd places are vectors of their own."""

    def bits(noise, size=20000):
        ps = [torch.zeros(size, dtype=torch.bfloat16) for _ in range(2)]
        stepped = Kernel(made, ps, stochastic=True, lr=1.0 if made is three_columns else 1.004)
        g = torch.full((size,), 1.0, dtype=dtype)
        stepped.step([g, g], noise=noise)
        columns = [*stepped.ps, *(x for s in stepped.state for x in s.values())]
        return [x.abs() > 1.002 for x in columns if (x.abs() != 1).any()]

    first = bits(1)
    assert len(first) == (6 if made is three_columns else 2)
    assert all(torch.equal(a, b) for a, b in zip(first, bits(1), strict=True))
    for few in (500, 501):
        assert torch.equal(first[0][:few], bits(1, few)[0])
    others = [*first, *bits(2)]  # two tensors, all columns, two seeds, and neighbours
    others += [x.roll(n) for x in first[::2] for n in (1, 2, 16, 32, 1024)]
    for i, a in enumerate(others):
        for b in others[:i]:
            a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
            assert abs(float((a * b).mean() / a.std() / b.std())) < 4.5 / np.sqrt(20000)


@pytest.mark.parametrize("stochastic", [False, True])
def test_nan_stays_nan_in_bfloat16_whatever_is_in_it(stochastic):
    payload = np.uint64(0x7FFFFFFFFFFFFFFF).view(np.float64)
    for bits in (0x7FFF, 0x7F81, 0xFFFF, 0xFF81):
        p = torch.full((100,), bits, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
        for lr, g in ((0.5, p.clone()), (float(payload), torch.ones(100, dtype=torch.bfloat16))):
            stepped = Kernel(rules.momentum, [torch.ones_like(p)], stochastic=stochastic)
            stepped.step([g], noise=3, lr=lr)
            assert stepped.ps[0].isnan().all()
        kept = Kernel(rules.momentum, [p.clone()], stochastic=stochastic)
        kept.step([torch.ones(100, dtype=torch.bfloat16)], noise=3)
        assert kept.ps[0].isnan().all()


@pytest.mark.skipif(sys.platform != "linux", reason="reserves no memory on Linux only")
def test_more_elements_than_32_bits_count():
    """Address space is reserved, but only the pages of the last chunk are ever touched."""
    n = 2**32 + 12345
    unreserved = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE on Linux
    maps = [mmap.mmap(-1, 4 * n, flags=unreserved) for _ in range(2)]
    p, g = (np.frombuffer(m, np.float32) for m in maps)
    step = Step(kernel(plan(rules.sgd, rules.sgd.check())), [n], [("float32", "float32")])
    for column, x in (("p", p), ("g", g)):
        step.point(column, [x.ctypes.data])
    step.set_group(0, [0.5])
    g[-12345:] = np.arange(1, 12346)
    p[-20000] = g[-20000] = 1.0
    [(begin, scalars, _), (walk, batch, _)] = step._jobs

    def words(address):
        return (ctypes.c_int64 * 64).from_address(address)

    ctypes.c_int64.from_address(scalars + 8 * SCALARS.index("expected")).value = 1
    names = ("counters", "bounds", "range_count", "chunk_count")
    counters, bounds, ranges, chunk_count = (words(batch)[BATCH.index(name)] for name in names)
    assert chunk_count <= 1024
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(begin)(scalars) == READY
    for i in range(ranges):  # all but the last chunk are claimed
        length = words(bounds)[i + 1] - words(bounds)[i]
        words(counters)[LINE * i] = length - (i == ranges - 1)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(walk)(batch)
    np.testing.assert_array_equal(p[-12345:], -0.5 * np.arange(1, 12346, dtype=np.float32))
    assert p[12344] == 0.0
