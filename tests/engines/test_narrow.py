"""Which slots can be kept in 8 bits, by what the rule's graph says of them."""

import pytest

from ravine import modifiers, registry, rule
from ravine.engines.narrow import left, narrow
from ravine.engines.tracing import trace
from ravine.ops import abs, maximum, sqrt
from ravine.slots import filled, like_p

MEANS = {"m": "int8", "v": "uint8"}


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("adam", MEANS),
        ("lion", {"m": "int8"}),
        ("momentum", {"b": "int8"}),
        ("rmsprop", {"v": "uint8"}),
        ("amsgrad", {**MEANS, "v_max": "uint8"}),
        ("adamax", {"m": "int8", "u": "uint8"}),
        ("muon", {"m": "int8"}),
        ("adan", {"m": "int8", "v": "int8", "n": "uint8"}),
        ("adagrad", {}),  # a sum, not a mean
        ("adafactor", {}),  # something for each row and column
    ],
)
def test_means_are_found_and_whether_they_are_never_negative(name, codes):
    assert narrow(trace(registry.get(name))) == codes


def test_the_mean_of_squares_of_centered_rmsprop_stays_as_it_is():
    centered = trace(registry.get("rmsprop"), centered=True)
    assert narrow(centered) == {}  # v - m**2 would be negative
    assert {*left(centered)} == {"v", "m"}


@pytest.mark.parametrize("average", ["ema", "polyak", "swa", "lookahead", "kahan"])
def test_averages_of_weights_and_what_rounding_lost_stay_as_they_are(average):
    graph = trace(getattr(modifiers, average)(registry.get("adam")))
    assert narrow(graph) == MEANS
    assert len([*left(graph)]) == 1


def _of(step):
    return narrow(trace(rule(step)))


def test_a_divisor_of_either_sign_stays_as_it_is():
    def signed(p, g, m, *, lr=0.1, beta1=0.9):
        m = beta1 * m + (1 - beta1) * g
        return p - lr * g / (abs(m) + 1), m

    def sized(p, g, m, *, lr=0.1, beta1=0.9):
        m = beta1 * m + (1 - beta1) * abs(g)
        return p - lr * g / (sqrt(m) + 1), m

    assert _of(signed) == {}
    assert _of(sized) == {"m": "uint8"}


def test_a_weight_that_may_be_negative_makes_a_mean_of_either_sign():
    def step(p, g, m, *, lr=0.1, beta1=0.9, scale=1.0):
        m = beta1 * m + (1 - beta1) * (scale * g**2)
        return p - lr * m, m

    assert _of(step) == {"m": "int8"}


def test_the_largest_of_squares_and_a_mean_that_starts_elsewhere():
    def largest(p, g, m, *, lr=0.1):
        m = maximum(m, g**2)
        return p - lr * m, m

    def mean(p, g, m, *, lr=0.1, beta1=0.9):
        m = beta1 * m + (1 - beta1) * g
        return p - lr * m, m

    assert _of(largest) == {"m": "uint8"}
    assert _of(mean) == {"m": "int8"}
    for slot in (filled(1.0), filled(0.0).kept_in("float32"), like_p):
        assert narrow(trace(rule(m=slot)(mean))) == {}
