"""One meaning of numbers: every way to take a step gives what the rule gives on plain floats."""

import math

import numpy as np
import pytest
import torch
from cases import default_dtype
from engines.kernels import Kernel
from hypothesis import given, settings
from hypothesis import strategies as st

from ravine import ops, rule
from ravine.arguments import enter, leave
from ravine.engines.python import kernel_source, scalar_update
from ravine.engines.tracing import trace
from ravine.ops import Tensors
from ravine.torch.foreach import Foreach

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.3, -2.5, 3.0, 5e-324, -1e-310, 1e-160, 1e155, 1e200, -1e300]
SPECIAL += [1.7e308, math.inf, -math.inf, math.nan, 0.5, 1.5, -0.5, 2.0**52 - 0.5]
P, G = (x.ravel() for x in np.meshgrid(SPECIAL, SPECIAL))

# Of elements p and g, and of the scalars t = 1, lr = 0.1, k = 0.5, h = -0.5, n = 2.
EXPRESSIONS = [
    # comparisons are numbers
    *["(g > 0) * lr", "(g > 0) - (g < 0)", "-(g > 0)", "sqrt(g > 0)", "(g > 0) + (p > 0)"],
    *["(g > p) * 0.1", "(g > 0) / 2", "abs(g > 0)", "(g >= p) % 2", "(g > 0) ** 2", "g > p"],
    *["(t > 1) * g", "(t > 1) - (t > 2) + 0 * g", "g - (t > 2)", "(t > 2) - g", "-(t > 2) * g"],
    *["(g > 0) == (p > 0)", "maximum(g > 0, 0.5)", "True - g", "True + t + g", "g * True"],
    *["(t > 2) / (t > 3) + g", "(t == 1) ** -1 * g"],
    # conditions
    *["where(g, 1.0, 2.0)", "where(g > 0, p > 0, 0.5)", "where(g > 0, p > 0, p < 0)"],
    *["where((g > 0) * p, g, p)", "where(t == 1, 0.5, g)", "where(t == 1, g, 0.5)"],
    *["where(t == 1, -0.0, g)", "where(t == 1, -0.0 * lr, g)", "where(lr, 1e400, g)"],
    *["where(lr, g, p)", "where((-lr) ** 0.5, g, p)", "where((t - t) / (t - t), g, p)"],
    *["where((-lr) ** 0.5 > 0, g, p)", "where(p > 0, g, p > 0) * 3"],
    # remainders
    *["g % 2.0", "g % p", "g % 0.0", "g % -0.0", "g % float('inf')", "g % -3", "p % g", "2.0 % g"],
    *["g % k", "(t - 1) % (t - 1) + g", "t % (lr - lr) + g", "t % -lr * g", "-t % 3 * g"],
    # powers
    *["g**0.5", "g**-0.5", "g**-1", "g**-2", "g**2", "g**3", "g**0", "g**1", "g**1.5", "g**0.25"],
    *["g**k", "g**h", "g**n", "2.0**g", "g**p", "(-2.0) ** g", "0.0**g", "(-lr) ** 0.5 * g"],
    *["(lr - lr) ** -1 * g", "10.0 ** (400 * t) * g", "(10.0 ** (200 * t)) ** 2 * g"],
    *["abs((-lr) ** 0.5) + g", "((-lr) ** 0.5 == lr) + g", "((-lr) ** 0.5) ** 2 + g"],
    *["(1 - t) ** -3 * g", "(-lr * 1e200) ** 3 * g", "(lr * 1e155) ** -2 * g", "2 ** (-t) * g"],
    # numbers beyond
    *["10**400 * g", "10**400 * lr * g", "g - 10**400", "(t - 10**400) ** 0.5 + g"],
    *["exp(1000 * t) + g", "log(lr - lr) * g", "log(-lr) + g", "sqrt(-lr) + g"],
    # divisions
    *[
        "1 / g",
        "lr / g",
        "1e-20 / g",
        "lr * 1e-20 / g",
        "lr / (t - 1) * g",
        "g / (t - 1)",
        "g / (lr - lr)",
    ],
    *["g / -(lr - lr)", "g / 1e-310", "g / (lr * 1e-310)", "g / 1e308", "g / (lr * 1e308)"],
    *["g / (lr * 1e-200)", "g / (lr * 1e-309) / 1e300", "g / (lr * 10.0 ** (400 * t))"],
    # functions
    *["sign(g)", "sign(lr - t) * g", "exp(g)", "log(g)", "sqrt(g)", "abs(g)", "clip(g, -1.0, 1)"],
    *[
        "tanh(g)",
        "tanh(t * lr) + g",
        "atan2(g, p)",
        "atan2(p, 1.5)",
        "atan2(-0.0, g)",
        "atan2(g, t - 1)",
    ],
    *["atan2(g > 0, p > 0)", "atan2(lr, -lr) * g", "atan2(1 - t, -lr) + g"],
    *[
        "floor(g)",
        "floor(-lr) + g",
        "floor(g * 3 > 1)",
        "round(g)",
        "round(g * 3)",
        "round(t * k) * g",
    ],
    *["round(5 * k) + g", "round(-k) * g", "floor(lr / (t - 1)) * g", "round((-lr) ** 0.5) + g"],
]
EXTREMA = ["maximum(g, p)", "minimum(g, p)", "maximum(g, 0)", "clip(g, p, 1.0)"]
REDUCTIONS = [
    *["sum(g > 0) * g", "mean(g > 0) - sum(p > 0) + g", "norm(g > 0) * g", "total(g > 0) + g"],
    *["(t < total(p)) ** (-1) + g", "(total(g) > 0) - (total(p) > 2) + g", "total(g) % 3 * g"],
    *["sum(where(t == 1, 0.5, g)) + 0 * g", "sum(where(t == 1, g, 0.5)) * g"],
    *["mean(where(lr, 1.0, g)) * g", "sum(where(sum(g) > 0, 0.5, g)) + 0 * g"],
    *["(sum(g) > 0) - (sum(p) > 2) + g", "sum(t > 0) + g", "sum(where(g > 0, 1, 0)) * g"],
    *[
        "greatest(g) - least(p) + 0 * g",
        "greatest(g > 0) * g",
        "least(g > 0) + g",
        "greatest(lr) * g",
    ],
    *[
        "greatest(where(t == 1, 0.5, g)) + 0 * g",
        "least(g / greatest(p - p)) * g",
        "greatest(norm(g)) * p",
    ],
    *["g / sum(g - g)", "lr / sum(g - g) * g", "(sum(g - g) - 1) ** 0.5 + g", "mean(lr) + g"],
]

WITHOUT_KERNEL = [
    *["mean(g, keep=0) * g", "greatest(g, keep=0) - least(p, keep=-1)", "norm(g > 0, keep=0) * p"],
    *["sum(g > 0, axis=0) * g", "greatest(g > p, axis=-1) + g", "take(g, argsort(p)) + 0 * p"],
]


def make(expression):
    lines = f"def made(p, g, t, *, lr=0.1, k=0.5, h=-0.5, n=2.0):\n    return {expression}\n"
    space = {name: getattr(ops, name) for name in ops.__all__}
    exec(lines, space)
    return rule(space["made"])


def full(x, like):
    return np.broadcast_to(np.asarray(x, like.dtype), like.shape)


def kernels(made, p, g):
    stepped = Kernel(made, [p.copy()])
    stepped.step([g])
    return stepped.ps[0]


def printed(made, p, g):
    update = scalar_update(made)
    space = update.namespace
    exec(update.source, space)
    step = space["update"]
    return [
        step(*pair, (), 1, update.values)[0] for pair in zip(p.tolist(), g.tolist(), strict=True)
    ]


def tensors(made, p, g, bag=None):
    p, g = torch.tensor(p), torch.tensor(g)
    result = made(bag([p]), bag([g]), 1) if bag else made(p, g, 1)
    return result[0] if isinstance(result, list) else result


WAYS = {
    "NumPy": lambda made, p, g: made(p, g, 1),
    "torch": tensors,
    "bags": lambda made, p, g: tensors(made, p, g, Tensors),
    "foreach": lambda made, p, g: tensors(made, p, g, Foreach),
    "kernels": kernels,
    "printed": printed,
}


def check(got, want, zeros=True, limit=1e-15):
    got = full(got, want)
    with np.errstate(all="ignore"):
        close = np.abs(got - want) <= limit * np.abs(want) + 5e-324
    right = (got == want) | (np.isnan(got) & np.isnan(want)) | close
    if zeros:
        right &= ~((got == 0) & (want == 0)) | (np.signbit(got) == np.signbit(want))
    wrong = np.flatnonzero(~right)[:1]
    if wrong.size:
        pytest.fail(f"p={P[wrong]}, g={G[wrong]}: {got[wrong]} instead of {want[wrong]}")


@pytest.mark.parametrize("expression", [*EXPRESSIONS, *EXTREMA])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_way_is_that_of_floats(expression):
    made = make(expression)
    want = [made(p, g, 1) for p, g in zip(P.tolist(), G.tolist(), strict=True)]
    assert {type(x) for x in want} == {float}
    want = np.array(want)
    for way in WAYS.values():
        # torch's and Numba's maximum of 0.0 and -0.0 is either
        check(way(made, P, G), want, zeros=expression not in EXTREMA)


@pytest.mark.parametrize("expression", [*REDUCTIONS, *WITHOUT_KERNEL])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_way_to_reduce_is_that_of_numpy(expression):
    made, p, g = make(expression), np.array([1.0, -2.0, 0.0, 3.0]), np.array([0.5, -1.0, 2.0, 0.0])
    want = full(made(p, g, 1), p)
    for way in ("torch", "bags", "foreach", *["kernels"] * (expression in REDUCTIONS)):
        check(WAYS[way](made, p, g), want)


def test_reductions_count_every_element_of_the_larger_branch():
    g = np.array([0.5, -1.0, 2.0, 0.0])
    for expression, want in (
        ("sum(where(t == 1, 0.5, g))", 2.0),
        ("sum(where(t == 2, g, 0.5))", 2.0),
        ("sum(g > 0)", 2.0),
        ("mean(g > 0)", 0.5),
    ):
        for name, way in WAYS.items():
            if name != "printed":
                assert float(np.ravel(way(make(expression), g, g))[0]) == want, (expression, name)


SINGLE = [0.0, -0.0, 1.0, -1.0, 0.3, 3.0, 1e-45, -1e-41, 1e-25, 1e20, -1e30, 3e38]
SINGLE += [math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "expression",
    [
        *[
            "(g > 0) * 0.1",
            "(g > 0) - (g < 0)",
            "where(g > 0, 1.2, p > 0)",
            "(t > 0) * g",
            "lr / g",
        ],
        *["g**0.5", "g**-0.5", "g % 0.7", "where(t == 1, 0.3, g)", "where(g, 0.3, 0.7)", "g**1.5"],
        *["g / 1e-40", "g / (lr * 1e-39)", "g / (lr * 1e40)", "g / (lr * 1e39)", "g / 3e38"],
        *["g / (lr * 1e-46)", "g / (lr * 2e38)", "g * (lr * 1e40)", "sum(g > 0) * 0.1 + 0 * p"],
        *[
            "tanh(g)",
            "atan2(g, p)",
            "atan2(lr, g)",
            "floor(g)",
            "round(g * 5)",
            "greatest(g > 0) * g",
        ],
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_float32_stays_float32_and_has_one_meaning_too(expression, default):
    made, p, g = make(expression), *np.meshgrid(np.float32(SINGLE), np.float32(SINGLE))
    p, g = p.ravel(), g.ravel()
    if "sum" in expression:
        p, g = p[:4] * 0, np.array([1, -1, 2, 3], np.float32)
    want = made(p, g, 1)
    assert want.dtype == np.float32
    with default_dtype(default):
        for name in ("torch", "bags", "foreach"):
            got = WAYS[name](made, p, g)
            assert got.dtype == torch.float32, name
            check_single(got.numpy(), want)
    check_single(kernels(made, p, g), want)


def check_single(got, want):
    with np.errstate(all="ignore"):
        close = np.abs(got - want) <= 2.4e-7 * np.abs(want) + 2e-45
    assert ((got == want) | (np.isnan(got) & np.isnan(want)) | close).all()


def test_numba_compiles_the_same_meaning():
    numba = pytest.importorskip("numba")
    few = ["(g > 0) - (g < 0)", "-(g > 0)", "g % p", "g**0.5", "g**k", "g**-1", "sign(g)"]
    few += ["tanh(g)", "atan2(g, p)", "floor(g)", "round(g)", "greatest(g) - mean(p, keep=0)"]
    few += ["where(g, 1.0, 2.0)", "lr / (t - 1) * g", "((-lr) ** 0.5 == lr) + g", "1 / g"]
    for expression in few:
        made = make(expression)
        update = scalar_update(made)
        space = update.namespace
        exec(update.source, space)
        step = numba.njit(error_model="numpy")(space["update"])
        pairs = list(zip(P.tolist(), G.tolist(), strict=True))
        got = [step(*pair, (), 1.0, update.values)[0] for pair in pairs]
        check(got, np.array([made(*pair, 1) for pair in pairs]))


def test_a_printed_kernel_counts_comparisons():
    source = kernel_source(trace(make("where(g > 0, p, g) - (g > p) * (p > 0)")))
    assert "where(g > 0, p, g) - where(g > p, 1.0, 0.0) * where(p > 0, 1.0, 0.0)" in source
    assert "sqrt(g)" in kernel_source(trace(make("g ** 0.5")))


NUMBERS = st.one_of(st.sampled_from(SPECIAL), st.floats(-4, 4), st.integers(-3, 3))
FORMS = ["({} + {})", "({} - {})", "({} * {})", "({} / {})", "({} ** {})", "({} % {})", "({} > {})"]
FORMS += ["({} == {})", "where({0} > 1, {1}, {0})", "maximum({}, {})", "(-{})", "abs({})"]
FORMS += ["sqrt({})", "exp({})", "log({})", "sign({})"]
FORMS += ["tanh({})", "atan2({}, {})", "floor({})", "round({})"]


@st.composite
def programs(draw):
    known = ["p", "g", "m", "t", "lr", "k", "2", "0.5", "-1", "True"]

    def expression(depth):
        if depth == 0:
            return draw(st.sampled_from(known))
        parts = expression(depth - 1), expression(draw(st.integers(0, depth - 1)))
        return draw(st.sampled_from(FORMS)).format(*parts)

    lines = ["def program(p, g, m, t, *, lr=0.1, k=0.5, on=True):"]
    for name in ("a", "b"):
        lines.append(f"    {name} = {expression(2)}")
        known.append(name)
    lines.append(f"    a = {expression(1)} if on else {expression(2)}")
    lines.append(f"    return ({expression(3)}) + 0 * p, {expression(2)} + 0 * p")
    return "\n".join([*lines, ""])


@settings(max_examples=400)
@given(programs(), st.tuples(NUMBERS, NUMBERS, NUMBERS), st.integers(1, 5), NUMBERS, st.booleans())
def test_no_program_of_numbers_leaves_ieee_754(source, values, t, lr, on):
    """The marks find all that may: the results are those of a call with Numbers only."""
    space = {name: getattr(ops, name) for name in ops.__all__}
    try:
        exec(source, space)
        made = rule(space["program"])
        trace(made, on=on)
    except Exception:  # constants by themselves: Python's own
        return
    got = made(*values, t, lr=lr, on=on)
    assert [type(x) for x in got] == [float, float]
    want = made.function(*map(enter, (*values, t)), lr=enter(lr), k=enter(0.5), on=on)
    for x, y in zip(got, map(float, want), strict=True):
        assert x == y or (x != x and y != y), source


ROW = np.array([0.0, -0.0, 1.0, -1.0, 0.3, -2.5, 1e200, 5e-324, math.inf, -math.inf, math.nan])


@pytest.mark.parametrize("make", [np.array, torch.tensor])
@settings(max_examples=150)
@given(programs(), st.integers(1, 5), NUMBERS, st.booleans())
def test_no_program_of_arrays_means_something_else(make, source, t, lr, on):
    """The marks find all that libraries differ in: the results are those of a call with Arrays only."""
    space = {name: getattr(ops, name) for name in ops.__all__}
    try:
        exec(source, space)
        made = rule(space["program"])
        trace(made, on=on)
    except Exception:
        return
    values = [make(np.roll(ROW, n)) for n in range(3)]
    with np.errstate(all="ignore"), ops.typed_like(values[0]):
        got = made(*values, t, lr=lr, on=on)
        want = made.function(*map(enter, (*values, t)), lr=enter(lr), k=enter(0.5), on=on)
    for x, y in zip(got, map(leave, want), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg=source)
