"""How near the results of two engines have to be, so that one proves itself."""

import struct

import pytest

from ravine import rules
from ravine.engines.agreement import agree, bound
from ravine.engines.cpu import kernel
from ravine.engines.eager import plan
from ravine.engines.narrow import BLOCK
from ravine.modifiers import clip_by_global_norm

NAN, INF = float("nan"), float("inf")
CLIPPED = kernel(plan(rule := clip_by_global_norm(rules.adamw), rule.check()))


def floats(*x):
    return struct.pack(f"{len(x)}f", *x)


def halves(*x):
    return struct.pack(f"{len(x)}H", *x)


def test_the_bound_is_that_of_rounding_errors():
    float32, float64 = (bound(CLIPPED, (dtype,) * 4, 6000, 2) for dtype in ("float32", "float64"))
    assert 2 * 2.0**-24 < float32 < 1e-5
    assert 6000 * 2.0**-53 < float64 < 2e-12
    assert bound(CLIPPED, ("bfloat16",) * 4, 6000, 2) == float32  # elements are float32 then, too


@pytest.mark.parametrize(
    ("x", "y", "same"),
    [
        ((1.0, NAN), (1.0, -NAN), True),
        ((0.0,), (-0.0,), False),
        ((1.0,), (1.0 + 2**-23,), False),
        ((INF,), (NAN,), False),
    ],
)
def test_without_reductions_all_bits_are_equal(x, y, same):
    assert agree("float32", floats(*x), floats(*y), None) is same


def test_with_reductions_what_is_off_is_relative_to_the_largest():
    off = bound(CLIPPED, ("float32",) * 4, 6000, 2)
    one = floats(100.0, 1.0, INF, NAN, 0.0)
    assert agree("float32", one, floats(100.0, 1.0 + 50 * off, INF, NAN, -0.0), off)
    assert not agree("float32", one, floats(100.0, 1.0 + 200 * off, INF, NAN, 0.0), off)
    for other in (floats(100.0, 1.0, 3e38, NAN, 0.0), floats(100.0, 1.0, INF, 0.0, 0.0)):
        assert not agree("float32", one, other, off)


def test_what_is_stored_may_be_the_next_number():
    one = 0x3F80  # of bfloat16
    assert agree("bfloat16", halves(one), halves(one + 1), 1e-6)
    assert not agree("bfloat16", halves(one), halves(one + 3), 1e-6)


def test_a_few_codes_may_be_the_next_ones():
    codes, scale = bytes(range(BLOCK)), floats(1.0)

    def changed(*by):
        return (
            bytes((x + n) % 256 for x, n in zip(codes, [*by, *[0] * BLOCK], strict=False)) + scale
        )

    for codes_of in ("int8", "uint8"):
        assert agree(codes_of, codes + scale, changed(1, 1), 1e-6)
        assert not agree(codes_of, codes + scale, changed(1), None)
        assert not agree(codes_of, codes + scale, changed(2), 1e-6)
        assert not agree(codes_of, codes + scale, changed(*[1] * 9), 1e-6)
        assert not agree(codes_of, codes + scale, codes + floats(2.0), 1e-6)
