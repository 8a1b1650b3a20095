"""exp, log, pow and remainders by formulas: to two units in the last place, and C's results elsewhere."""

import ctypes
import math

import numpy as np
import pytest
from engines.test_functions import SPECIAL, signs_are, units
from mpmath import mp

from ravine.engines import compiler
from ravine.engines.llvm.powers import WithFormulas
from ravine.engines.llvm.printer import Type

KINDS = {np.float64: ("double", 2, 700.0), np.float32: ("float", 4, 85.0)}
MANY = 2000
DRAW = np.random.default_rng(0)


def computed(op, x, y):
    """The results for two arrays, whole vectors of them."""
    of, width, _ = KINDS[x.dtype.type]
    out, kind = WithFormulas(), Type(of, width)
    out.begin("@of(ptr %x, ptr %y, ptr %z, i64 %n)")
    with out.loop("step", "%n"):
        first = out.set("first", f"mul i64 %step, {width}")
        places = [out.at(a, first, of) for a in ("%x", "%y")]
        args = [out.set("v", f"load {kind}, ptr {place}, align 4") for place in places]
        if op == "mod":
            result = out.remainder(kind, *args)
        else:
            result = out.call("r", op, kind, *args[: 1 + (op == "pow")])
        out.line(f"store {kind} {result}, ptr {out.at('%z', first, of)}, align 4")
    out.end()
    compiler.host()
    code = compiler.Compiled(out.text(), 0, 0)
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(code.address["of"])
    z = np.empty_like(x)
    assert len(x) % width == 0
    function(x.ctypes.data, y.ctypes.data, z.ctypes.data, len(x) // width)
    return z


def spread(low, high):
    return DRAW.uniform(low, high, MANY)


@pytest.mark.parametrize("dtype", KINDS)
def test_exp_and_log_are_right_to_a_unit(dtype):
    far = KINDS[dtype][2]
    denormal = spread(0.01, 1) * np.finfo(dtype).tiny
    numbers = {
        "exp": [spread(-1.05 * far, 1.01 * far), spread(-2, 2), 1e-8 * spread(-1, 1)],
        "log": [np.exp(spread(-far, far)), spread(0.5, 2), 1 + 1e-3 * spread(-1, 1), denormal],
    }
    with mp.workdps(60):
        for op, given in numbers.items():
            for x in (x.astype(dtype) for x in given):
                exact = [getattr(mp, op)(mp.mpf(float(v))) for v in x]
                got = computed(op, x, x)
                assert max(units(*pair, dtype) for pair in zip(got, exact, strict=True)) < 1


@pytest.mark.parametrize("dtype", KINDS)
def test_powers_are_right_to_two_units(dtype):
    """Large exponents, above all: an error of the logarithm is multiplied by them."""
    far = KINDS[dtype][2]
    pairs = [
        (spread(0, 1), DRAW.integers(1, 5000, MANY)),
        (np.full(MANY, 0.999), np.arange(1, MANY + 1)),
        (np.exp(spread(-far, far)), spread(-3, 3)),
        (1 + 1e-4 * spread(-1, 1), 1e5 * spread(-1, 1)),
        (spread(0.01, 1) * np.finfo(dtype).tiny, spread(-1, 1)),
    ]
    largest = mp.mpf(float(np.finfo(dtype).max))
    with mp.workdps(60):
        for x, y in ((x.astype(dtype), y.astype(dtype)) for x, y in pairs):
            exact = [mp.mpf(float(a)) ** mp.mpf(float(b)) for a, b in zip(x, y, strict=True)]
            exact = [mp.inf if v > largest else v for v in exact]
            got = computed("pow", x, y)
            assert max(units(*pair, dtype) for pair in zip(got, exact, strict=True)) < 1.5


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(
    ("op", "function"),
    [("exp", np.exp), ("log", np.log), ("pow", np.power), ("mod", np.fmod)],
)
def test_special_values_are_cs(op, function, dtype):
    special = np.array([*SPECIAL, 3.0, -3.0, 2.0**53, -(2.0**53), 7.25, -7.25]).astype(dtype)
    x, y = (a.ravel() for a in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        want = function(x, y) if op in ("pow", "mod") else function(x)
    got = computed(op, x, y)
    np.testing.assert_allclose(got, want, rtol=0 if op == "mod" else 3 * np.finfo(dtype).eps)
    signs_are(got, want)


@pytest.mark.parametrize("dtype", KINDS)
def test_remainders_are_exact(dtype):
    far = KINDS[dtype][2]
    x, y = (spread(-1, 1) * np.exp(spread(-far, far)) for _ in "xy")
    y[::7] = spread(0.01, 1)[::7] * np.finfo(dtype).tiny
    x, y = x.astype(dtype), y.astype(dtype)
    want = [math.fmod(*v) for v in zip(x.tolist(), y.tolist(), strict=True)]
    np.testing.assert_array_equal(computed("mod", x, y), np.array(want, dtype))
