"""Printed Python: what the graph says is what the rule does, on arrays and on scalars."""

import inspect
import math

import numpy as np
import pytest
from cases import ELEMENTWISE, OF_ARRAYS, REDUCING, error, gradients, schedule_free, variants
from hypothesis import given, settings
from hypothesis import strategies as st

from ravine import RuleError, like_p, ops, rule, rules, scalar
from ravine.arithmetic import drawn_of
from ravine.draws import Draw
from ravine.engines.python import kernel_source, scalar_update
from ravine.engines.tracing import trace
from ravine.modifiers import l2, maximize
from ravine.ops import exp, log, mean, norm, sign, sqrt, where
from ravine.rules import adam, momentum, rmsprop, sgd

pytestmark = pytest.mark.filterwarnings("ignore:.* is never used:UserWarning")

STEPS = 6


def kernel(made, **hyper):
    """The printed kernel as a function of (p, g, live state, t, values); and the live slots."""
    graph = trace(made, **hyper)
    space = {name: getattr(ops, name) for name in ops.__all__}
    before = set(space)
    exec(kernel_source(graph), space)
    (function,) = (v for k, v in space.items() if k not in before and inspect.isfunction(v))
    names = list(inspect.signature(function).parameters)
    assert names[: 2 + len(graph.live)] == ["p", "g", *graph.live]

    def call(p, g, state, t, values):
        given = {"p": p, "g": g, **state, "t": t, **values}
        results = function(*(given[k] for k in names))
        return results if isinstance(results, tuple) else (results,)

    return call, graph.live


def scalar_kernel(made, **hyper):
    made = scalar_update(made, **hyper)
    space = made.namespace
    exec(made.source, space)
    return space["update"], made


def check_printed(made, p, grads, **hyper):
    """Kernel and scalar update equal the rule, step by step, bit by bit."""
    call, live = kernel(made, **hyper)
    values = made.check(**hyper)
    state = made.init(p, **hyper)
    for t, g in enumerate(grads, 1):
        current = dict(zip(made.slots, state, strict=True))
        with np.errstate(all="ignore"), drawn_of(Draw(t=t)):
            printed = call(p, g, {k: current[k] for k in live}, t, values)
            p, state = made.update(p, g, state, t, **hyper)
        new = dict(zip(made.slots, state, strict=True))
        for got, expected in zip(printed, (p, *(new[k] for k in live)), strict=True):
            assert error(got, expected) == 0, kernel_source(trace(made, **hyper))


def check_scalar(made, p, grads, **hyper):
    update, info = scalar_kernel(made, **hyper)
    state, own = made.init(p, **hyper), info.initial(p)
    q = p
    for t, g in enumerate(grads, 1):
        with np.errstate(all="ignore"):
            q, own = update(np.float64(q), np.float64(g), own, t, info.values)
        p, state = made.update(p, g, state, t, **hyper)
        new = dict(zip(made.slots, state, strict=True))
        expected = (p, *(new[k] for k in info.slots))
        assert len(own) == len(info.slots)
        for got, value in zip((q, *own), expected, strict=True):
            assert error(got, value) <= 4e-16, (hyper, info.source)


@pytest.mark.parametrize("made", [*ELEMENTWISE, *REDUCING], ids=lambda r: r.name)
def test_the_printed_kernel_is_the_rule(made):
    for hyper in variants(made):
        check_printed(made, np.array([1.0, -0.5, 0.0]), gradients((3,), STEPS), **hyper)


@pytest.mark.parametrize("made", [*ELEMENTWISE, *REDUCING], ids=lambda r: r.name)
def test_the_printed_scalar_update_is_the_rule(made):
    for hyper in variants(made):
        if hyper.get("lr", 1) == 0 or hyper.get("eps", 1) == 0:
            continue  # 0 / 0 raises on scalars
        check_scalar(made, 1.0, gradients((), STEPS).tolist(), **hyper)


# Rules that a careless printer gets wrong: old values read after a new one has taken their name,
# and values whose name is that of an operation, an input or a keyword.


@rule
def remembers_p(p, g, previous, *, lr=0.1):
    return p - lr * g + 0.5 * (p - previous), p


@rule
def remembers_a(p, g, a, b, *, lr=0.1):
    return p - lr * (a + b), 0.9 * a + g, a


@rule
def swaps(p, g, a, b, *, lr=0.1):
    return p - lr * (a - 2 * b + g), b + 1, a


@rule
def reads_late(p, g, v, *, lr=0.1):
    return p - (lr * v) * (v + g), v + g


@rule
def reads_twice(p, g, v, *, lr=0.1):
    v = 0.5 * v + g
    v = v + 1
    return p - lr * v, v


@rule
def same_twice(p, g, a, b, *, lr=0.1):
    a = 0.5 * a + g
    return p - lr * a * b, a, a


@rule
def named_like_operations(p, g, *, lr=0.1):
    mean = ops.mean(g)
    sum = ops.sum(p) + mean
    sqrt = ops.sqrt(g * g) + ops.sqrt(p * p) * sum
    abs = ops.abs(p - mean)
    return p - lr * (g - mean) / (ops.sqrt(sqrt) + ops.abs(abs - g) + ops.mean(p) ** 2)


@rule
def named_like_the_printers(p, g, x1, s1, *, lr=0.1, r1=0.2):
    x2 = (p * g + 1) * (p * g - 1)
    s2 = (lr + r1) * (lr - r1)
    new_p = norm(x2) + norm(x2 + 1)
    return p - s2 * x2 - new_p, x1 + x2, s1 * 0.5 + new_p


@rule
def precedence(p, g, t, *, lr=0.1):
    a = -(p**2) + (-p) ** 2 - (-2.0) ** t + 2.0**-t + (2.0**2) ** t - 2.0 ** (2**t / 100)
    a = a + (p**3) ** t - (-(p - g)) ** 3 - (-(p * g)) * 2
    b = p - (g - (p - (g + p))) / (2 * (g * g + 1)) / 3 * (4 / (p * p + 5)) - -p
    c = (p + g) % 3 * 2 % 5 - p % (3 * 2) - (p * 3) % 2
    return (
        p - lr * (a + b) - c * 1e-3 + where(where(p > g, p, g) > 0, where(g > 0, 1.0, p), -1.5) * -2
    )


@rule
def comparisons(p, g, *, lr=0.1):
    both = (p > 0) * (g > 0)
    return (
        p
        - lr * where(both == (p >= g), g, where((p != g) * 1.0 < 0.5, -g, 2 * g))
        - where(g <= p, 1, 0)
    )


@rule(n=scalar(1.0), start=like_p)
def constants(p, g, n, start, t, *, lr=0.1):
    big = where(p > float("inf"), float("-inf"), -1e-300) + where(g == float("nan"), 1.0, 1e22)
    n = where(t == 2, 1.0, n + 1)
    return p - lr * g * 3 + big * 1e-22 + (start - p) / n, n, start


@rule
def only_numbers(p, g, v, *, lr=0.1):
    return p - lr * v * g, 1.5


@rule
def every_operation(p, g, t, *, lr=0.1):
    x = exp(-ops.abs(p)) + log(1 + g * g) + sign(g) + ops.maximum(p, g) - ops.minimum(p, 0.1)
    x = x + ops.tanh(g) * ops.atan2(g, p) - ops.floor(3 * g) + ops.round(2 * p * ops.greatest(g))
    x = x - ops.least(p) * mean(g, keep=0)
    return p - lr * x * ops.clip(g, -0.5, 0.5) + sqrt(1.0 * t) * ops.rms(p) * mean(g)


ODD = [
    remembers_p,
    remembers_a,
    swaps,
    reads_late,
    reads_twice,
    same_twice,
    named_like_operations,
    named_like_the_printers,
    precedence,
    comparisons,
    constants,
    only_numbers,
    every_operation,
    rule(lambda p, g, *, lr=0.1: p - lr * g),
    sgd.named("class"),
    sgd.named("3-point rule"),
]


@pytest.mark.parametrize("made", ODD, ids=lambda r: r.name)
def test_the_printed_kernel_of_an_odd_rule_is_the_rule(made):
    check_printed(made, np.array([1.0, -0.5, 0.25]), gradients((3,), STEPS))


@pytest.mark.parametrize("made", ODD, ids=lambda r: r.name)
def test_the_printed_scalar_update_of_an_odd_rule_is_the_rule(made):
    check_scalar(made, 1.0, gradients((), STEPS).tolist())


NAMES = ["a", "b", "c", "d", "p", "g", "new_a", "x1", "s1", "mean"]


FORMS = [
    "({} + {})",
    "({} - {})",
    "({} * {})",
    "(-{})",
    "({} / (1.5 + {} ** 2))",
    "maximum({}, {})",
]
FORMS += ["where({0} > {1}, {1}, {0})", "where(t == 2, {0}, {1})", "abs({})", "(({0} < {1}) * {0})"]


@st.composite
def programs(draw):
    """The source of a rule of a few assignments, over and over to the same few names."""
    known = ["p", "g", "a", "b", "t", "lr", "0.5", "3"]

    def atom():
        return draw(st.sampled_from(known))

    def expression(depth):
        if depth == 0 or draw(st.booleans()):
            return atom()
        x, y = expression(depth - 1), expression(depth - 1)
        return draw(st.sampled_from(FORMS)).format(x, y)

    lines = ["def program(p, g, a, b, t, *, lr=0.25):"]
    for _ in range(draw(st.integers(0, 5))):
        name = draw(st.sampled_from(NAMES))
        lines.append(f"    {name} = {expression(2)}")
        known += [name] * 3
    known += ["a", "b"] * 3
    # With the zero, p is an array whatever has been drawn.
    lines.insert(1, "    zero = 0.0 * p")
    lines.append(f"    return zero + {expression(2)} + a * b, {expression(1)}, {expression(1)}")
    return "\n".join([*lines, ""])


@settings(max_examples=300)
@given(source=programs())
def test_the_printed_kernel_of_any_rule_is_the_rule(source):
    space = {"maximum": ops.maximum, "where": ops.where, "abs": ops.abs}
    exec(source, space)
    made = rule(space["program"])
    check_printed(made, np.array([1.0, -0.5, 0.25]), gradients((3,), 3))
    check_scalar(made, 0.75, gradients((), 3).tolist())


def test_a_kernel_reads_like_its_paper():
    assert (
        kernel_source(trace(adam))
        == """\
def adam(p, g, m, v, t, lr, beta1, beta2, eps):
    # once per step: scalars, in float64
    s1 = 1 - beta1
    s2 = 1 - beta2
    s3 = 1 - beta1**t
    s4 = 1 - beta2**t
    # for every element
    m = beta1 * m + s1 * g
    v = beta2 * v + s2 * g**2
    m_hat = m / s3
    v_hat = v / s4
    p = p - lr * m_hat / (sqrt(v_hat) + eps)
    return p, m, v
"""
    )


def test_what_depends_on_scalars_alone_comes_first():
    source = kernel_source(trace(schedule_free))
    once, _, each = source.partition("# for every element")
    assert each
    assert "weight_sum = weight_sum +" in once
    assert "beta2**t" in once
    assert "**" not in each.replace("g**2", "").replace(")**0.5", "")


@pytest.mark.parametrize("made", OF_ARRAYS, ids=lambda r: r.name)
@pytest.mark.parametrize("shape", [(2, 3), (4, 2)])
def test_the_printed_kernel_of_a_rule_that_has_none_is_the_rule(made, shape):
    for hyper in variants(made):
        if not hyper.get("bfloat16"):
            check_printed(
                made,
                np.linspace(-1, 2, shape[0] * shape[1]).reshape(shape),
                gradients(shape, STEPS),
                **hyper,
            )


def test_a_reduction_along_an_axis_is_printed_as_it_is_written():
    assert "mean(x1, axis=-1)" in kernel_source(trace(rules.adafactor))


def test_reductions_and_coefficients_are_printed_as_they_are_written():
    made = rule(
        lambda p, g, *, a=1.5: (
            p
            - ops.greatest(g, axis=-2) * ops.norm(p, keep=0)
            + ops.newton_schulz(g, [(a, -0.5, 0.0), (2, -1, a)], eps=a, steps=3)
            - ops.newton_schulz(p, a, -0.5, 0.0)
        )
    )
    source = kernel_source(trace(made))
    for part in (
        "greatest(g, axis=-2) * sqrt(sum(p * p, keep=0))",
        "newton_schulz(g, [(a, -0.5, 0.0), (2, -1, a)], eps=a, steps=3, bfloat16=False)",
        "newton_schulz(p, a, -0.5, 0.0, 1e-07, 5, False)",
    ):
        assert part in source


def test_the_epsilon_of_a_scalar_is_that_of_float64():
    check_scalar(rules.adafactor, 1.0, gradients((), STEPS).tolist())


def test_a_rule_of_arrays_has_no_scalar_update():
    with pytest.raises(RuleError, match="rule 'muon' is for arrays, not for single numbers"):
        scalar_update(rules.muon)


def test_a_switch_that_is_off_leaves_nothing_behind():
    off = kernel_source(trace(maximize(l2(rmsprop)), maximize=False, weight_decay=0))
    for gone in ("momentum", "centered", "weight_decay", "maximize ", "m =", "b ="):
        assert gone not in off.partition("\n")[2], gone
    on = kernel_source(trace(maximize(l2(rmsprop)), centered=True, momentum=0.9))
    for there in ("momentum * b", "weight_decay * p", "m**2"):
        assert there in on


def test_a_scalar_update_says_what_it_needs():
    made = scalar_update(rules.adamw, lr=0.5)
    assert made.slots == ("m", "v")
    assert dict(zip(made.hyper, made.values, strict=True)) == {
        "lr": 0.5,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 1e-2,
    }
    assert all(type(v) is float for v in made.values)
    assert made.initial(3.0) == (0.0, 0.0)
    assert scalar_update(constants).initial(3.0) == (1.0, 3.0)
    assert scalar_update(rmsprop, momentum=0.5).slots == ("v", "b")
    assert "centered" not in scalar_update(rmsprop).hyper


def test_a_scalar_update_follows_other_values_without_printing_again():
    update, made = scalar_kernel(momentum)
    values = tuple({"lr": 0.5, "momentum": 0.25, "dampening": 0.0}[k] for k in made.hyper)
    assert update(1.0, 1.0, (2.0,), 2, values) == (1 - 0.5 * 1.5, (1.5,))


def test_numba_compiles_a_scalar_update():
    numba = pytest.importorskip("numba")
    for source in (adam, maximize(l2(rmsprop)), every_operation):
        update, made = scalar_kernel(source)
        compiled = numba.njit(update)
        state = made.initial(1.0)
        p, new = compiled(1.0, 0.5, state, 1, made.values)
        expected, wanted = source.update(1.0, 0.5, source.init(1.0), 1)
        assert math.isclose(p, expected, rel_tol=1e-14)
        assert len(new) == len([k for k in source.slots if k in made.slots])
        assert not wanted or math.isclose(new[0], wanted[0], rel_tol=1e-14)
