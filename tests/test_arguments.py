"""What a rule's function gets: plain numbers and arrays where these will do, others where not."""

import math

import numpy as np
import pytest
import torch

from ravine import modifier, rule, rules, scalar
from ravine.arguments import Arguments
from ravine.modifiers import clip_by_global_norm, l2
from ravine.ops import Array, Number, Tensors, log, norm, size, sqrt, sum, total, where
from ravine.watching import watch


def prepared(made, *args, **values):
    """The names of the arguments that are made Numbers, and whether arrays are made Arrays."""
    names = ["p", "g", *made.slots, *["t"] * made.takes_t]
    args, values = Arguments(made.function).prepare(args, made.values(values))
    given = dict(zip(names, args, strict=True)) | values
    kinds = {type(x) for x in given.values()}
    return {k for k, x in given.items() if type(x) is Number}, Array in kinds


ONE = np.ones(3)


def test_only_what_has_to_be_is_made_a_number():
    assert prepared(rules.sgd, 1.0, 1.0) == (set(), False)
    assert prepared(rules.sgd, ONE, ONE) == (set(), False)
    assert prepared(rules.momentum, ONE, ONE, ONE, 3) == (set(), False)
    assert prepared(rules.adam, ONE, ONE, ONE, ONE, 3) == ({"t"}, False)
    tensor = torch.ones(3)
    assert prepared(rules.adam, tensor, tensor, tensor, tensor, 3) == ({"t"}, False)
    assert prepared(rules.adam, 1.0, 1.0, 1.0, 1.0, 3) == ({"g", "t"}, False)


@pytest.mark.parametrize(
    "function",
    [
        lambda p, g: p - (g > 0),
        lambda p, g: p - where(g > 0, g > p, 1.0),
        lambda p, g: p - sqrt(g > 0),
        lambda p, g: p - sum(g > 0),
        lambda p, g: (p - g) > 0,
        lambda p, g: p - g % 2,
        lambda p, g: p - g**0.5,
        lambda p, g, *, k=2.0: p - g**k,
        lambda p, g: p - True * g,
        lambda p, g: p - 10**400 * g,
        lambda p, g, *, on=True: p - on * g,
    ],
)
def test_arrays_are_made_arrays_where_libraries_differ(function):
    assert prepared(rule(function), ONE, ONE)[1]


@pytest.mark.parametrize(
    "function",
    [
        lambda p, g: p - where(g > 0, 1.0, p),
        lambda p, g: p - g**2 / sqrt(g) + g**3 - g**-1 + 1 / g,
        lambda p, g, t: p - where(t == 1, g, p),
        lambda p, g: p - norm(g) * log(g),
    ],
)
def test_arrays_stay_what_they_are_where_libraries_agree(function):
    made = rule(function)
    assert not prepared(made, ONE, ONE, *[1] * made.takes_t)[1]
    assert not prepared(made, *[torch.ones(3)] * 2, *[1] * made.takes_t)[1]


def test_a_switch_that_changes_sides_is_looked_at_again():
    made = rule(lambda p, g, *, lr=0.1, k=0.0: p - (lr / k if k else lr) * g)
    assert made(ONE, ONE).tolist() == [0.9] * 3
    assert made(ONE, ONE, k=5e-324, lr=0.0).tolist() == [1.0] * 3
    with np.errstate(invalid="ignore"):
        assert np.isnan(made(ONE * 0, ONE * 0, k=1e-323)).all()
    assert made(1.0, 1.0, k=5e-324) == -math.inf

    switched = rule(lambda p, g, *, on=True: p - g / (p - p) if on else p - g)
    assert switched(1.0, 1.0) == -math.inf
    assert switched(1.0, 1.0, on=False) == 0.0
    assert switched(1.0, 1.0) == -math.inf


def test_a_rule_that_branches_on_numbers_has_ieee_numbers_too():
    made = rule(lambda p, g: p - 1 / g if g < 1 else p)
    assert made(1.0, 0.0) == -math.inf
    assert made(1.0, 2.0) == 1.0


def test_numpys_numbers_widen_nothing():
    @rule(n=scalar(1.0))
    def made(p, g, n, t, *, lr=0.1):
        return p - lr * g / n * t, n + where(t == 1, 1.0, n)

    p = np.ones(3, np.float32)
    new, n = made(p, p, np.float64(2.0), np.int64(1), lr=np.float64(0.5))
    assert (new.dtype, n) == (np.float32, 3.0)
    assert made(p, p, 2.0, 1, lr=np.array(0.5))[0].dtype == np.float32
    assert type(made(1.0, np.float64(0.5), 2.0, 1)[0]) is float
    assert type(made(p[0], p[0], 2.0, 1)[0]) is np.float32


def test_whole_numbers_are_floats_however_large():
    made = rule(lambda p, g, t, *, k=2: p - g * t**k)
    assert made(0, 1, 10**400) == -math.inf
    assert made(0.0, 1.0, 3, k=10**400) == -math.inf
    assert rule(lambda p, g: p - g)(10**400, 1) == math.inf


def test_sizes_are_numbers_that_can_divide():
    made = rule(lambda p, g: p - g * (1 / (size(p, 0) - 3)))
    assert made(ONE, ONE).tolist() == [-math.inf] * 3
    assert made(torch.ones(3), torch.ones(3)).tolist() == [-math.inf] * 3


def test_totals_of_numbers_can_divide():
    made = rule(lambda p, g, *, lr=0.1: p - lr / total(g))
    assert made(0.0, 0.0) == -math.inf
    assert list(made(Tensors([0.0, 1.0]), Tensors([0.0, 0.0]))) == [-math.inf] * 2


def test_modifiers_hand_on_what_they_got():
    @modifier
    def shrunk(step, p, g, t, *, lr):
        return step(p, g * (lr / (t - 1)))

    made = shrunk(l2(rules.sgd))
    assert made(1.0, 0.0, 1, lr=0.5) != made(1.0, 0.0, 1, lr=0.5)
    assert clip_by_global_norm(rules.sgd)(1.0, 0.0) == 1.0
    inner = rule(lambda p, g, *, lr=0.1: p - abs((g - 5) ** 0.5))
    assert math.isnan(l2(inner)(1.0, 1.0))


def test_who_watches_sees_steps_only():
    made = rule(lambda p, g, *, lr=0.1: p - lr / g)
    with watch(made) as seen:
        made(1.0, 2.0)
    ((_, values),) = seen
    assert values["g"] == 2.0


def test_arrays_have_operators_and_operations_only():
    made = rule(lambda p, g: p - (g > 0) * g.mean())
    with pytest.raises(AttributeError, match="mean"):
        made(1.0, 1.0)
    with pytest.raises(AttributeError, match=r"\.mean is not part of the rule language"):
        Array(ONE).mean()


def test_weights_to_evaluate_with_follow_ieee_754():
    made = rule(n=scalar(0.0), evaluate=lambda p, n: p / n + (p > 0))(
        lambda p, g, n: (p - g, n + 1)
    )
    assert made.evaluate(1.0, [0.0]) == math.inf
    assert made.evaluate(np.float32([1.0]), [2.0]).tolist() == [1.5]
    assert type(made.evaluate(1.0, [2.0])) is float
