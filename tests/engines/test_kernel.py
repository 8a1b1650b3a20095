"""Kernels before they are printed: passes, edges of graphs, divisions and powers."""

import itertools
import math
import time

import numpy as np
import pytest
from cases import ELEMENTWISE, REDUCING, variants
from engines.kernels import Kernel
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ravine import filled, like_p, ops, rule, scalar
from ravine.engines.eager import plan
from ravine.engines.kernel import DTYPES, ELEMENT
from ravine.engines.llvm.module import text
from ravine.engines.llvm.variant import Variant
from ravine.engines.lowering import lower
from ravine.engines.passes import passes, planned
from ravine.ops import norm, sum, total

pytestmark = pytest.mark.filterwarnings("ignore:.* is never used:UserWarning")


def kernel(made, **hyper):
    return lower(plan(made, made.check(**hyper)))


# --- passes


def cost(kern, walks, dtypes):
    size = {c: DTYPES[d] for c, d in zip(kern.columns, dtypes, strict=True)}
    moved = [size[c] for walk in walks for c in (*walk.loads, *walk.stores)]
    return np.sum(moved, dtype=int), np.sum([len(walk.values) for walk in walks])


def cheapest(kern, dtypes):
    """Of all sets of columns that may be stored early."""
    can = [c for c, new in kern.outputs.items() if c in kern.columns and new.level == ELEMENT]
    exact = 8 if "float64" in dtypes else 4
    sizes = dict(zip(kern.columns, dtypes, strict=True))
    can = [c for c in can if kern.outputs[c].stage < kern.last and DTYPES[sizes[c]] == exact]
    sets = itertools.chain.from_iterable(
        itertools.combinations(can, r) for r in range(len(can) + 1)
    )
    plans = [walks for early in sets if (walks := planned(kern, early)) is not None]
    return min(cost(kern, walks, dtypes) for walks in plans)


@pytest.mark.parametrize("made", [*ELEMENTWISE, *REDUCING], ids=lambda r: r.name)
def test_no_other_passes_move_fewer_bytes(made):
    for hyper in variants(made):
        kern = kernel(made, **hyper)
        for dtype in ("float64", "float32"):
            dtypes = (dtype,) * len(kern.columns)
            assert cost(kern, passes(kern, dtypes), dtypes) == cheapest(kern, dtypes)


@st.composite
def reducing(draw):
    """The source of a rule whose slots are reduced, handed on, and read late."""
    slots = "abcdu"[: draw(st.integers(1, 5))]
    known = ["p", "g", *slots]
    forms = ["{} + {}", "{} * {}", "{} - 0.5 * {}", "sum({}) * {}", "norm({}) - {}", "sum({}) + {}"]
    lines = [f"def made(p, g, {', '.join(slots)}):"]
    for i in range(draw(st.integers(2, 6))):
        name = draw(st.sampled_from([*slots, f"w{i}"]))
        form, one, two = (draw(st.sampled_from(x)) for x in (forms, known, known))
        lines.append(f"    {name} = {form.format(one, two)}")
        known.append(name)
    outs = [draw(st.sampled_from([*known, *slots])) for _ in slots]
    lines.append(f"    return p - g * {draw(st.sampled_from(known))} + 0 * ({' + '.join(slots)}), ")
    return "\n".join(lines) + ", ".join(outs) + "\n"


# Two in which columns have to be stored early together.
CHAINED = """def made(p, g, a, b, c, d):
    b = b * a
    w1 = sum(d * d) + 1
    return p - g * b + 0 * (a + b + c + d), w1, a, p, d
"""
TRIPLE = """def made(p, g, a, b, c, d):
    a = d * b
    w = sum(a * a) + 1
    return p - g * p + 0 * (a + b + c + d), a, p, a, w
"""


@settings(max_examples=300)
@example(CHAINED, ["float32"] * 5)
@example(TRIPLE, ["float32"] * 5)
@given(reducing(), st.lists(st.sampled_from(["float32", "float32", "bfloat16"]), min_size=7))
def test_no_other_passes_of_any_rule_move_fewer_bytes(source, dtypes):
    space = {"sum": sum, "norm": norm}
    exec(source, space)
    kern = kernel(rule(space["made"]))
    dtypes = ["float32", "float32", *dtypes][: len(kern.columns)]
    assert cost(kern, passes(kern, dtypes), dtypes)[0] == cheapest(kern, dtypes)[0]


@pytest.mark.parametrize("count", [16, 40])
def test_passes_over_many_slots_are_found_at_once(count):
    slots = [f"s{i}" for i in range(count)]
    lines = [f"def made(p, g, {', '.join(slots)}):", *(f"    {s} = 0.9 * {s} + g" for s in slots)]
    lines.append(f"    u = {' + '.join(slots)}")
    lines.append(f"    return p - norm(u) * u, {', '.join(slots)}")
    space = {"norm": norm}
    exec("\n".join(lines), space)
    kern = kernel(rule(space["made"]))
    start = time.process_time()
    walks = passes(kern, ("float32",) * (2 + count))
    assert time.process_time() - start < 2
    # Stored as soon as they are known, they are loaded instead of computed again.
    assert [len(walk.stores) for walk in walks] == [count, 1]


# --- edges


def off(p, g, m, *, lr=0.1, on=False):
    return (p - lr * m if on else p), m + g


def idle(p, g, *, lr=0.1, on=False):
    return p - lr * g if on else p


def swapped(p, g, a, b, *, lr=0.1):
    return p - lr * (a + g), b, a


def turned(p, g, a, b, c, *, lr=0.1):
    return p - lr * a, b, c, a + g


def previous(p, g, prev, *, lr=0.1):
    return p - lr * g + 0.9 * (p - prev), p


def parameter_is_slot(p, g, m, *, lr=0.1):
    return m, p + g


def constants(p, g, m, *, lr=0.1):
    return 0.5, 0.0


def numbers(p, g, m, n, t, *, lr=0.1):
    return lr, p, t


def reductions(p, g, m, k, *, lr=0.1):
    return norm(g), p, sum(g * m)


def no_gradient(p, g, m, *, lr=0.1):
    return p * (1 - lr) + m, p


def scalars(p, g, n, k, t, *, lr=0.1):
    return p - n * g, k, n


def same(p, g, a, b, *, lr=0.1):
    a = 0.5 * a + g
    return p - lr * a - b, a, a


def answers(p, g, m, *, lr=0.1):
    return p - lr * m * g, g > p


def totals(p, g, a, *, lr=0.1):
    return total(g * g) + lr * a, p


EDGES = [off, idle, swapped, turned, constants, no_gradient, same, answers, totals]
EDGES = [rule(f) for f in EDGES]
EDGES += [rule(prev=like_p)(previous), rule(m=filled(2.0))(parameter_is_slot)]
EDGES += [rule(n=scalar(1.0))(numbers), rule(k=scalar(0.0))(reductions)]
EDGES += [rule(n=scalar(1.0), k=scalar(2.0))(scalars)]


def full(x, like):
    return np.broadcast_to(np.asarray(x, float), like.shape).copy()


@pytest.mark.parametrize("made", EDGES, ids=lambda r: r.name)
@pytest.mark.parametrize("size", [1, 5, 70, 8193])
def test_a_step_by_a_kernel_is_the_call_and_then_all_is_stored_at_once(made, size):
    draw = np.random.default_rng(0)
    p, path = draw.normal(size=size), draw.normal(size=(4, size))
    stepped = Kernel(made, [p.copy()])
    state = [x if isinstance(x, float) else x.copy() for x in made.init(p)]
    for t, g in enumerate(path, 1):
        stepped.step([g])
        new_p, new = made.update(p, g, state, t)
        p = full(new_p, g)
        kinds = [slot.kind for slot in made.slots.values()]
        state = [x if kind == "scalar" else full(x, g) for kind, x in zip(kinds, new, strict=True)]
        np.testing.assert_allclose(stepped.ps[0], p, rtol=1e-12)
        for slot, x in zip(made.slots, state, strict=True):
            if slot in stepped.state[0]:
                np.testing.assert_allclose(stepped.state[0][slot], x, rtol=1e-12)


def test_what_stays_as_it_is_is_neither_loaded_nor_stored():
    nothing = kernel(rule(idle))
    assert passes(nothing, ("float64",) * 2) == []
    variant = Variant(nothing, ("float64",) * 2)
    assert variant.partials == 0
    assert "@pass_0" not in text(variant)
    (walk,) = passes(kernel(rule(off), on=True), ("float64",) * 3)
    assert (list(walk.loads), list(walk.stores)) == (["p", "g", "m"], ["p", "m"])
    kept = rule(anchor=like_p)(lambda p, g, anchor: (p - g + anchor, anchor))
    (walk,) = passes(kernel(kept), ("float64",) * 3)
    assert list(walk.stores) == ["p"]


# --- divisions and powers


def stepped(made, p, g, dtype=np.float64, **hyper):
    one = Kernel(made, [np.array(p, dtype)], **hyper)
    one.step([np.array(g, dtype)])
    return one.ps[0]


VALUES = [0.0, -0.0, 1.0, -3.0, 1e-300, -5e-324, 1e-12, 7e-40, 1e30, -1e300, math.inf, math.nan]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_elements_divided_by_a_scalar_are_right_whatever_the_scalar(dtype):
    made = rule(lambda p, g, *, k=1.0: g / k)
    divisors = [s * 10.0**e for e in range(-320, 309, 7) for s in (1.7, -3.1)]
    divisors += [0.0, -0.0, 5e-324, 2.0**-126, 2.0**126, 1e-40, 1e-45, 1e40]
    divisors += [s * x for x in (1e308, 2e38) for s in (1.01, 1.13, 1.37, 1.49, 1.61, 1.69)]
    with np.errstate(all="ignore"):
        g = np.array(VALUES, dtype)
        one = Kernel(made, [g * 0])
        for k in divisors:
            one.hyper["k"] = k
            one.step([g])
            want = g / k
            tiny, eps = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).eps
            close = np.abs(one.ps[0] - want) <= 1.5 * eps * np.abs(want) + tiny
            equal = (one.ps[0] == want) & (np.signbit(one.ps[0]) == np.signbit(want))
            assert (equal | close | np.isnan(one.ps[0]) & np.isnan(want)).all(), k


def test_a_constant_divisor_of_any_size_divides():
    for k in ("3.0", "1e-310", "-1e308", "5e-324", "0.0", "-0.0", "1e200", "1e-200"):
        space = {}
        exec(f"def made(p, g):\n    return g / {k}\n", space)
        with np.errstate(all="ignore"):
            want = np.array(VALUES) / float(k)
        np.testing.assert_allclose(stepped(rule(space["made"]), VALUES, VALUES), want, rtol=1e-15)


@pytest.mark.parametrize("exponent", [0.5, -0.5, 1, -1, 2, -2, 3, 0, 1.5, -3])
def test_powers_of_scalars_and_of_elements_mean_one_thing(exponent):
    constant = rule(lambda p, g: g**exponent)
    given = rule(lambda p, g, *, k=1.0: g**k)
    values = [*VALUES, -math.inf, 1e155, -1e-155]
    with np.errstate(all="ignore"):
        want = np.array(values) ** exponent
    for got in (stepped(constant, values, values), stepped(given, values, values, k=exponent)):
        np.testing.assert_allclose(got, want, rtol=1e-15, atol=1e-323)
        zeros = want == 0
        np.testing.assert_array_equal(np.signbit(got[zeros]), np.signbit(want[zeros]))
    scalar_power = rule(lambda p, g, *, k=1.0: g * 0 + k**exponent)
    for x in (-2.0, 3.0, 0.0, -0.0, 1e200, -1e300, 5e-324):
        with np.errstate(all="ignore"):
            want = (np.array([x, x]) ** exponent)[0]
        np.testing.assert_allclose(stepped(scalar_power, [0.0], [0.0], k=x), want, rtol=1e-15)


def test_operations_are_all_those_of_the_language():
    space = {name: getattr(ops, name) for name in ("maximum", "minimum", "sign", "clip", "where")}
    exec("def made(p, g):\n    return sign(g) + clip(g, -1, 1) * 2 + where(g % p, 4, 8)\n", space)
    made, p, g = rule(space["made"]), [3.0, -3.0, math.inf, 0.0], [-0.0, 6.0, -5.0, 1.0]
    with np.errstate(all="ignore"):
        want = made(np.array(p), np.array(g))
    np.testing.assert_array_equal(stepped(made, p, g), want)
