"""The rule: pure, the same on floats, NumPy and torch, and strict about its signature."""

import inspect
import math

import numpy as np
import pytest
import torch
from cases import (
    ELEMENTWISE,
    OF_ARRAYS,
    REDUCING,
    REGISTERED,
    default_dtype,
    error,
    gradients,
    run,
    schedule_free,
    variants,
)

from ravine import Rule, RuleError, filled, like_p, rule, rules, scalar, zeros
from ravine.engines.tracing import trace
from ravine.hyperparameters import Hyperparameter
from ravine.modifiers import decoupled_decay, maximize
from ravine.ops import exp, log, maximum, sqrt, where
from ravine.rules import adam, momentum, sgd
from ravine.watching import watch

STEPS = 20
ROUNDING = 1e-14  # some twenty steps of some ten roundings of 1e-16


def by_name(made):
    return made.name


@pytest.mark.parametrize("made", ELEMENTWISE, ids=by_name)
def test_floats_numpy_and_torch_agree(made):
    p, grads = np.array([1.0, -0.5, 0.0, 3.0]), gradients((4,), STEPS)
    for hyper in variants(made):
        with np.errstate(all="ignore"):
            arrays = run(made, p, grads, **hyper)
        for i in range(len(p)):
            column = run(made, float(p[i]), grads[:, i].tolist(), **hyper)
            for row, values in zip(arrays, column, strict=True):
                assert all(type(x) is float for x in values), hyper
                expected = [x[i] if np.ndim(x) else x for x in row]
                assert max(map(error, values, expected)) <= ROUNDING, (hyper, values, expected)
        check_torch(made, p, grads, arrays, hyper)


@pytest.mark.parametrize("made", REDUCING, ids=by_name)
def test_numpy_and_torch_agree_on_reductions(made):
    p, grads = np.array([[1.0, -0.5], [0.0, 3.0]]), gradients((2, 2), STEPS)
    for hyper in variants(made):
        if hyper.get("lr") != 0:  # 0 / 0: no direction to be cautious about
            check_torch(made, p, grads, run(made, p, grads, **hyper), hyper)


def check_torch(made, p, grads, expected, hyper, limit=ROUNDING):
    for default in (torch.float32, torch.float64):
        with default_dtype(default):
            tensors = run(made, torch.tensor(p), torch.tensor(grads), **hyper)
        for row, values in zip(expected, tensors, strict=True):
            assert [x.dtype for x in values if isinstance(x, torch.Tensor)].count(
                torch.float64
            ) >= 1
            assert max(map(error, values, row)) <= limit, (hyper, default)


@pytest.mark.parametrize("made", [*ELEMENTWISE, *REDUCING], ids=by_name)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtype_is_kept_and_arrays_may_be_read_only(made, dtype):
    p, state = np.array([1.0, -0.5, 3.0], dtype), made.init(np.zeros(3, dtype))
    lr = {"lr": np.float64(0.01)}  # as a schedule computed with NumPy gives it
    for t, g in enumerate(gradients((3,), 4).astype(dtype), 1):
        arrays = [x for x in (p, g, *state) if isinstance(x, np.ndarray)]
        before = [x.copy() for x in arrays]
        for x in arrays:
            x.flags.writeable = False
        with np.errstate(all="ignore"):
            p, state = made.update(p, g, state, t, **lr)
        for x, old in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(x, old)
        assert {x.dtype for x in (p, *state) if isinstance(x, np.ndarray)} == {np.dtype(dtype)}


@pytest.mark.parametrize("made", [*ELEMENTWISE, *REDUCING], ids=by_name)
def test_tensors_keep_their_dtype_and_are_not_touched(made):
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        p = torch.tensor([1.0, -0.5, 3.0], dtype=dtype)
        state = made.init(p)
        for t, g in enumerate(torch.tensor(gradients((3,), 4), dtype=dtype), 1):
            tensors = [x for x in (p, g, *state) if isinstance(x, torch.Tensor)]
            before = [(x.clone(), x._version) for x in tensors]
            p, state = made.update(p, g, state, t, lr=0.01)
            for x, (old, version) in zip(tensors, before, strict=True):
                assert torch.equal(x, old)
                assert x._version == version
            assert {x.dtype for x in (p, *state) if isinstance(x, torch.Tensor)} == {dtype}


MATRICES = [r for r in OF_ARRAYS if trace(r, None, 0).of_arrays]
DECOMPOSING = [
    r for r in OF_ARRAYS if any(trace(r).uses(op) for op in ("qr", "eigh", "inverse_root"))
]


# Newton-Schulz multiplies roundings by up to 3.4 in each of five steps. Of a small matrix of signs, it makes
# entries that are zero up to two roundings, and AdaMuon steps by lr (1e-3) times these over its eps (1e-8).
RESTS = {"adamuon": 2 * 2**-52 * 1e-3 / 1e-8}


@pytest.mark.parametrize("made", [r for r in OF_ARRAYS if r not in DECOMPOSING], ids=by_name)
@pytest.mark.parametrize("shape", [(3, 5), (5, 4), (2, 3, 5)])
def test_numpy_and_torch_agree_on_what_only_the_eager_engine_steps(made, shape):
    p, grads = np.random.default_rng(0).normal(size=shape), gradients(shape, STEPS)
    for hyper in variants(made):
        if not hyper.get("bfloat16"):
            with np.errstate(all="ignore"):
                expected = run(made, p, grads, **hyper)
            check_torch(made, p, grads, expected, hyper, RESTS.get(made.name, 100 * ROUNDING))


@pytest.mark.parametrize("made", DECOMPOSING, ids=by_name)
@pytest.mark.parametrize("shape", [(2, 3), (4, 3), (3, 3)])
def test_where_libraries_choose_signs_and_bases_the_path_is_the_same(made, shape):
    """In general position: there a basis is determined up to signs, which the path does not show."""
    draw = np.random.default_rng(0)
    start, grads = draw.normal(size=shape), draw.normal(size=(STEPS, *shape))
    for hyper in variants(made):
        with np.errstate(all="ignore"):
            expected, found = (
                [p for p, *_ in run(made, make(start), make(grads), **hyper)]
                for make in (np.array, torch.tensor)
            )
        assert max(map(error, found, expected)) <= 1000 * ROUNDING, hyper


@pytest.mark.parametrize("made", OF_ARRAYS, ids=by_name)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_what_only_the_eager_engine_steps_keeps_dtypes_and_shapes(made, dtype):
    p = torch.ones(3, 2, dtype=dtype)
    start = made.init(p)
    _, state = made.update(p, p, start, 1)
    pairs = [(x, y) for x, y in zip(start, state, strict=True) if not isinstance(x, float)]
    assert [after.dtype for _, after in pairs] == [dtype] * len(pairs)
    assert [after.shape for _, after in pairs] == [before.shape for before, _ in pairs]
    assert torch.equal(p, torch.ones(3, 2, dtype=dtype))


@pytest.mark.parametrize("made", MATRICES, ids=by_name)
def test_a_rule_of_matrices_refuses_a_number(made):
    with pytest.raises(TypeError, match=r"ravine.ops.* needs an array or a tensor"):
        made.update(1.0, 1.0, made.init(1.0), 1)


def test_the_call_is_the_formula():
    assert sgd(1.0, 0.5, lr=0.1) == 0.95
    assert rules.momentum_classical(1.0, 0.5, 2.0, lr=0.1, momentum=0.5) == (1 - 1.05, 1.05)
    p, m, v = adam(1.0, 0.5, 0.0, 0.0, 1, lr=0.1, eps=0.0)
    assert (p, m, v) == pytest.approx((0.9, 0.05, 0.00025))


def test_defaults_are_the_signatures():
    assert sgd(1.0, 1.0) == 1.0 - 1e-3
    assert (
        str(inspect.signature(adam))
        == "(p, g, m, v, t, *, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08)"
    )
    assert repr(sgd) == "<rule sgd(p, g, *, lr=0.001)>"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: adam(1.0, 0.5), "rule 'adam' takes p, g, m, v, t; got 2 values"),
        (lambda: adam(1.0, 0.5, 0.0, 0.0), "rule 'adam' takes p, g, m, v, t; got 4 values"),
        (lambda: sgd(1.0, 0.5, 1), "rule 'sgd' takes p, g; got 3 values"),
        (
            lambda: adam(1.0, 0.5, 0.0, 0.0, 1, bta1=0.9),
            "rule 'adam' has no hyperparameter 'bta1'; it has lr, beta1, beta2, eps; did you mean 'beta1'?",
        ),
        (lambda: sgd(1.0, 0.5, zzz=1), "rule 'sgd' has no hyperparameter 'zzz'; it has lr"),
    ],
)
def test_a_wrong_call_says_what_the_rule_takes(call, words):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == words


def test_check_fills_in_defaults_and_names_the_culprit():
    assert adam.check(lr=np.float32(0.5)) == {"lr": 0.5, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    with pytest.raises(ValueError, match=r"^rule 'adam': eps=-1 is invalid; eps must be a finite"):
        adam.check(eps=-1)
    with pytest.raises(ValueError, match=r"^Mine: eps=-1 is invalid"):
        adam.check("Mine", eps=-1)


def test_slots_start_as_declared():
    p = np.array([1.0, 2.0], np.float32)
    z, v, weight_sum, lr_max = schedule_free.init(p)
    assert z is not p
    np.testing.assert_array_equal(z, p)
    assert z.dtype == v.dtype == np.float32
    assert not v.any()
    assert (weight_sum, lr_max) == (0.0, 0.0)
    assert schedule_free.init(2.0) == (2.0, 0.0, 0.0, 0.0)
    q = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    assert [x.dtype for x in momentum.init(q.detach())] == [torch.bfloat16]
    assert rule(s=scalar(1.5))(lambda p, g, s: (p - s * g, s)).init(p) == (1.5,)


def test_slots_may_start_at_a_hyperparameter_or_be_shorter_along_an_axis():
    made = rule(a=filled("lr"), b=scalar("k"), r=zeros(-1), c=zeros(-2), n=filled(2.0))(
        lambda p, g, a, b, r, c, n, *, lr=0.5, k=3.0: (p - a * b * g + r + c + n, a, b, r, c, n)
    )
    for p in (np.ones((2, 3), np.float32), torch.ones(2, 3), torch.ones(5, 2, 3).double()):
        for hyper, lr, k in (({}, 0.5, 3.0), ({"lr": 2.0, "k": -1}, 2.0, -1.0)):
            a, b, r, c, n = made.init(p, **hyper)
            assert a.dtype == r.dtype == c.dtype == n.dtype == p.dtype
            assert tuple(r.shape) == (*p.shape[:-1], 1)
            assert tuple(c.shape) == (*p.shape[:-2], 1, 3)
            assert (a == lr).all()
            assert (n == 2).all()
            assert not r.any()
            assert a.shape == n.shape == p.shape
            assert type(b) is float
            assert b == k
    assert made.init(7.0, lr=2.0) == (2.0, 3.0, 0.0, 0.0, 2.0)
    big = np.array([np.nan, np.inf])  # of which no zero may be made by arithmetic
    assert not made.init(np.array([big, big]))[2].any()
    with pytest.raises(TypeError, match="no hyperparameter 'rate'"):
        made.init(1.0, rate=1.0)
    with pytest.raises(RuleError, match=r"slot a starts at 'rate', which is not a hyperparameter"):
        rule(a=filled("rate"))(lambda p, g, a, *, lr=0.5: (p, a))


@pytest.mark.parametrize("make", [np.ones, torch.ones])
def test_a_slot_may_be_shorter_along_all_axes_but_one(make):
    made = rule(r=zeros(keep=0), c=zeros(keep=-1))(lambda p, g, r, c: (p - r - c, r, c))
    shapes = {
        (5, 2, 3): [(5, 1, 1), (1, 1, 3)],
        (2, 3): [(2, 1), (1, 3)],
        (3,): [(3,), (3,)],
        (): [(), ()],
    }
    for shape, expected in shapes.items():
        found = made.init(make(shape))
        assert [tuple(x.shape) for x in found] == expected
        assert not any(x.any() for x in found)
    assert made.init(7.0) == (0.0, 0.0)
    for given in ({}, {"axis": 0, "keep": 0}):
        with pytest.raises(
            TypeError, match=r"zeros takes either axis or keep, got axis=\w+, keep=\w+"
        ):
            zeros(**given)


def test_a_modified_rules_slots_start_at_the_hyperparameters_too():
    made = maximize(decoupled_decay(rules.rprop))
    assert [x.tolist() for x in made.init(np.zeros(2), lr=0.5)] == [[0, 0], [0.5, 0.5]]


def test_weights_to_evaluate_with():
    @rule(mean=like_p, evaluate=lambda p, mean, *, share: share * mean + (1 - share) * p)
    def averaged(p, g, idle, mean, *, lr=0.5, share=1.0):
        p = p - lr * g
        return p, idle, 0.5 * mean + 0.5 * p

    p, *state = averaged(4.0, 2.0, 0.0, 4.0)
    assert (p, state) == (3.0, [0.0, 3.5])
    assert averaged.evaluate(p, state) == 3.5
    assert averaged.evaluate(p, state, share=0.5) == 3.25
    assert sgd.evaluate(p, ()) == p
    assert averaged.evaluated == ("mean",)
    for made in (averaged.named("other"), maximize(averaged)):
        assert made.evaluate(p, state) == 3.5
    tensors = averaged.evaluate(torch.ones(2), [torch.zeros(2), torch.full((2,), 3.0)], share=0.5)
    assert tensors.tolist() == [2.0, 2.0]
    with pytest.raises(RuleError, match=r"evaluate uses 'men'; it can use p, mean, lr"):
        rule(evaluate=lambda p, men: men)(lambda p, g, mean, *, lr=0.5: (p, mean))


def test_floats_follow_ieee_754_where_python_would_raise():
    @rule
    def divides(p, g, *, lr=1.0):
        return p - lr / g

    @rule
    def grows(p, g, s, t):
        return p - g ** (1000 * t), s + t

    assert divides(1.0, 0.0) == -math.inf
    assert grows(1.0, 1e300, 0.0, 2) == (-math.inf, 2.0)
    assert [type(x) for x in grows(1.0, 1e300, 0.0, 2)] == [float, float]
    assert math.isnan(adam(1.0, 0.0, 0.0, 0.0, 1, eps=0.0)[0])
    assert math.isnan(rule(lambda p, g: sqrt(g))(1.0, -1.0))
    assert rule(lambda p, g: log(g))(1.0, 0.0) == -math.inf
    assert rule(lambda p, g: exp(g))(1.0, 1e4) == math.inf


def test_the_root_of_a_negative_float_is_nan_not_complex():
    result = rule(lambda p, g: p - g**0.5)(1.0, -2.0)
    assert type(result) is float
    assert math.isnan(result)


def test_scalars_beside_an_array_follow_ieee_754_too():
    @rule
    def dead_branch(p, g, t, *, lr=1.0):
        return p - lr * where(t > 1, 1 / (t - 1), 0.5) * g

    for make in (float, np.array, torch.tensor):
        assert float(dead_branch(make(1.0), make(1.0), 1)) == 0.5
        assert float(dead_branch(make(1.0), make(1.0), 3)) == 0.5


def test_numbers_in_a_rule_do_not_widen_arrays():
    @rule
    def stepped(p, g, *, lr=0.1):
        return p - lr * where(g > 0, 1.2, 0.7)

    g = np.array([1.0, -1.0], np.float32)
    assert stepped(np.zeros(2, np.float32), g, lr=np.float64(0.1)).dtype == np.float32
    with default_dtype(torch.float32):
        wide = stepped(torch.zeros(2, dtype=torch.float64), torch.tensor(g).double(), lr=1.0)
    assert wide.tolist() == [-1.2, -0.7]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rule(lambda p: p), ["<lambda>(p", "p, g", "*"]),
        (lambda: rule(lambda g, p: p), ["first arguments must be p, g"]),
        (lambda: rule(lambda p, g, *state: p), ["*state", "is invalid", "write every slot"]),
        (lambda: rule(lambda p, g, **options: p), ["**options", "is invalid"]),
        (lambda: rule(lambda p, g, t, m: p), ["t comes last"]),
        (lambda: rule(lambda p, g, *, lr: p), ["hyperparameter lr needs a default"]),
        (
            lambda: rule(m=like_p)(lambda p, g, v: p),
            ["'m' is declared", "no argument of that name"],
        ),
        (
            lambda: rule(m=1.0)(lambda p, g, m: p),
            ["m=1.0", "like_p, scalar(value), shared(value), filled(value), zeros(axis), square("],
        ),
        (lambda: rule(lr=3)(lambda p, g, *, lr=1.0: p), ["lr=3", "Hyperparameter"]),
        (lambda: rule(lambda p, g, lr=0.1: p - lr * g), ["lr", "after a *"]),
        (lambda: rule(lambda p, g, *, lr="fast": p), ["lr='fast'", "is invalid"]),
        (lambda: rule(lambda p, g, *, lr=None: p), ["lr=None", "is invalid"]),
        (lambda: rule(lambda p, g, *, lr=-0.1: p), ["lr=-0.1", "is invalid"]),
        (lambda: rule(len), ["a rule is made from a function", "len"]),
        (lambda: rule(int), ["a rule is made from a function", "int"]),
    ],
)
def test_what_is_not_a_rule_is_refused(make, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert [w for w in words if w not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda p, g, m: p, "returns 1 value; it must return 2: p, m"),
        (lambda p, g: (p, g), "returns 2 values; it must return 1: p"),
        (lambda p, g, m, v: (p, m), "returns 2 values; it must return 3: p, m, v"),
        (lambda p, g, m: [p, m], "returns 1 value; it must return 2: p, m"),
    ],
)
def test_the_wrong_number_of_states_is_refused(function, words):
    made = rule(function)
    with pytest.raises(RuleError) as caught:
        made(1.0, 1.0, *[0.0] * len(made.slots))
    assert str(caught.value) == f"rule '<lambda>' {words}"


def test_a_rule_knows_its_source():
    assert adam.name == "adam"
    assert adam.at == "arXiv:1412.6980, Algorithm 1"
    assert adam.summary == adam.doc.splitlines()[0]
    bare = rule(lambda p, g: p - g)
    assert (bare.paper, bare.at, bare.doc, bare.summary) == ("", "", "", "")


def test_named_changes_the_name_the_source_and_defaults_of_a_copy():
    made = adam.named("adam_b", paper="Me", at="here", doc="  One.\n\n  Two.", lr=0.5)
    assert (made.name, made.paper, made.at) == ("adam_b", "Me", "here")
    assert (made.doc, made.summary) == ("One.\n\nTwo.", "One.")
    assert made(1.0, 1.0, 0.0, 0.0, 1)[0] == adam(1.0, 1.0, 0.0, 0.0, 1, lr=0.5)[0]
    assert adam.named("b").paper == adam.paper
    assert adam.hyperparameters["lr"].default == 1e-3
    with pytest.raises(TypeError, match=r"no hyperparameter 'rate'"):
        adam.named("b", rate=1.0)


def test_a_rule_cannot_be_changed():
    with pytest.raises(AttributeError):
        adam.name = "x"
    with pytest.raises(TypeError):
        adam.hyperparameters["lr"] = None
    with pytest.raises(TypeError):
        adam.slots["m"] = like_p


def test_a_hyperparameter_may_have_a_meaning_of_its_own():
    made = rule(k=Hyperparameter("steps between syncs", 1, 100))(lambda p, g, *, k=5: p - g / k)
    assert made.hyperparameters["k"].meaning == "steps between syncs"
    assert made.hyperparameters["k"].default == 5
    with pytest.raises(ValueError, match=r"k=0 is invalid; k must be a number in \[1, 100\]"):
        made.check(k=0)


def test_watch_collects_what_the_source_names():
    with watch(adam) as seen:
        adam(1.0, 0.5, 0.0, 0.0, 1)
    ((name, values),) = seen
    assert name == "adam"
    assert (values["m_hat"], values["v_hat"]) == pytest.approx((0.5, 0.25))
    assert list(values)[:5] == ["p", "g", "m", "v", "t"]
    seen.clear()
    adam(1.0, 0.5, 0.0, 0.0, 1)
    assert not seen
    with watch(rules.adamw) as seen:
        rules.adamw(1.0, 0.5, 0.0, 0.0, 1)
    assert [name for name, _ in seen] == ["adam", "decoupled_decay"]


@pytest.mark.parametrize("made", REGISTERED, ids=by_name)
def test_every_rule_is_documented(made):
    assert isinstance(made, Rule)
    assert made.paper
    assert made.at
    assert "Elsewhere:" in made.doc
    assert 0 < len(made.summary) <= 72
    for name, h in made.hyperparameters.items():
        assert h.meaning != Hyperparameter("").meaning
        assert not h.meaning.startswith("hyperparameter of"), name
        assert h.check(h.default, "") == h.default


def test_maximum_keeps_the_larger_in_amsgrad():
    assert maximum(1.0, 2.0) == 2.0
    v_max = [x[-1] for x in run(rules.amsgrad, 0.0, [5.0, 0.1, 0.1], beta2=0.5)]
    assert v_max == [12.5, 12.5, 12.5]
