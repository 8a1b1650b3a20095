"""Signals, what some steps are given besides gradients: as the papers have it, in every engine."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import adahessian, both, in_passes, polyak, sophia

import ravine.numpy as rn
import ravine.torch as rt
from ravine import RuleError, modifier, rule, scalar, shared, signal
from ravine.engines.digest import digest
from ravine.engines.python import kernel_source
from ravine.engines.tracing import trace, ways
from ravine.modifiers import clip_by_norm, decoupled_decay, l2
from ravine.ops import abs, total
from ravine.reading.about import about
from ravine.reading.equations import latex, terminal

ENGINES = ("kernel", "eager")


class Logistic:
    """Classes of random points, in float64, with Sophia-G's estimate of the Hessian's diagonal."""

    def __init__(self, n=60, features=4, classes=3):
        draw = np.random.default_rng(0)
        self.x = draw.normal(size=(n, features))
        self.y = draw.integers(classes, size=n)
        self.draw, self.classes = draw, classes

    def probabilities(self, w, b):
        z = self.x @ w + b
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    def gradient(self, w, b, y):
        """Of the mean cross entropy with these labels."""
        d = self.probabilities(w, b)
        d[np.arange(len(y)), y] -= 1
        return self.x.T @ d / len(y), d.mean(0)

    def estimate(self, w, b):
        """Gauss-Newton-Bartlett (Algorithm 2): the gradient with labels drawn from the model, squared."""
        n = len(self.y)
        drawn = np.array([self.draw.choice(self.classes, p=p) for p in self.probabilities(w, b)])
        return [n * g * g for g in self.gradient(w, b, drawn)]


def record(steps=25, k=10):
    """Algorithm 3 by hand, in float64: the gradients, the estimates of every k-th step, and the end."""
    task = Logistic()
    lr, beta1, beta2, gamma, eps, decay = 0.05, 0.96, 0.99, 0.05, 1e-12, 0.2
    theta = [np.zeros((4, 3)), np.zeros(3)]
    m, h = ([np.zeros_like(x) for x in theta] for _ in "mh")
    told = []
    for t in range(1, steps + 1):
        grads = task.gradient(*theta, task.y)
        estimates = task.estimate(*theta) if t % k == 1 else None
        told.append((grads, estimates))
        for i in range(2):
            m[i] = beta1 * m[i] + (1 - beta1) * grads[i]
            if estimates is not None:
                h[i] = beta2 * h[i] + (1 - beta2) * estimates[i]
            theta[i] = theta[i] - lr * decay * theta[i]
            ratio = m[i] / np.maximum(gamma * h[i], eps)
            theta[i] = theta[i] - lr * np.sign(ratio) * np.minimum(np.abs(ratio), 1)
    return told, theta, h


TOLD, END, HESSIAN = record()


@pytest.mark.parametrize("engine", ENGINES)
def test_sophia_is_that_of_the_paper_for_arrays(engine):
    params = {"w": np.zeros((4, 3)), "b": np.zeros(3)}
    optimizer = rn.optimizer(sophia)(params, engine=engine)
    for (w, b), estimates in TOLD:
        given = estimates and {"w": estimates[0], "b": estimates[1]}
        optimizer.step({"w": w, "b": b}, hessian=given)
    assert optimizer.engine.startswith(engine)
    for name, end, h in zip(params, END, HESSIAN, strict=True):
        np.testing.assert_allclose(params[name], end, rtol=1e-13, atol=1e-15)
        state = optimizer.state[f"params[{name!r}]"]
        np.testing.assert_allclose(state["h"], h, rtol=1e-13)
    assert np.abs(END[0]).max() > 0.1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["sequence", "mapping", "names"])
def test_sophia_is_that_of_the_paper_for_tensors(engine, how):
    params = [torch.zeros(4, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
    params = [torch.nn.Parameter(p) for p in params]
    named = [*zip("wb", params, strict=True)]
    optimizer = rt.optimizer(sophia)(named if how == "names" else params, engine=engine)
    for grads, estimates in TOLD:
        for p, g in zip(params, grads, strict=True):
            p.grad = torch.from_numpy(g.copy())
        if estimates is None:
            optimizer.step()
            continue
        hessian = [torch.from_numpy(x) for x in estimates]
        keys = {"mapping": params, "names": ["w", "b"]}.get(how)
        optimizer.step(hessian=dict(zip(keys, hessian, strict=True)) if keys else iter(hessian))
    assert optimizer.engine.startswith(engine)
    for p, end, h in zip(params, END, HESSIAN, strict=True):
        np.testing.assert_allclose(p.detach(), end, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(optimizer.state[p]["h"], h, rtol=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_a_polyak_step_reaches_what_the_loss_says(engine, front):
    """On a quadratic, against the formula: f - f* over the squared norm of the whole gradient."""
    draw = np.random.default_rng(1)
    slopes = [draw.uniform(0.5, 2.0, size=shape) for shape in ((2, 3), (4,))]
    mine = [draw.normal(size=s.shape) for s in slopes]
    theirs = [x.copy() for x in mine]

    def loss(xs):
        return 0.5 * sum((s * x * x).sum() for s, x in zip(slopes, xs, strict=True)) + 3.0

    tensors = [torch.nn.Parameter(torch.from_numpy(x.copy())) for x in mine]
    optimizer = (
        rn.optimizer(polyak)(mine, best=3.0, engine=engine)
        if front == "numpy"
        else rt.optimizer(polyak)(tensors, best=3.0, engine=engine)
    )
    for _ in range(30):
        grads = [s * x for s, x in zip(slopes, theirs, strict=True)]
        f = loss(theirs)
        length = (f - 3.0) / sum((g * g).sum() for g in grads)
        theirs = [x - length * g for x, g in zip(theirs, grads, strict=True)]
        if front == "numpy":
            optimizer.step(grads, loss=f)
        else:
            for p, g in zip(tensors, grads, strict=True):
                p.grad = torch.from_numpy(g)
            optimizer.step(loss=torch.tensor(f))
    ends = mine if front == "numpy" else [p.detach().numpy() for p in tensors]
    for x, y in zip(ends, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-15)
    assert loss(theirs) - 3.0 < 1e-3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_signal_of_each_step(engine):
    """AdaHessian, against its formulas."""
    draw = np.random.default_rng(2)
    x, end = np.ones(5), np.ones(5)
    optimizer = rn.optimizer(adahessian)(x, engine=engine)
    m = v = np.zeros(5)
    for t in range(1, 15):
        g, diagonal = draw.normal(size=(2, 5))
        optimizer.step(g, hessian=diagonal)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * diagonal**2
        end = end - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(x, end, rtol=1e-12)


GIVEN = st.lists(st.sets(st.sampled_from(["left", "right"])), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(GIVEN, st.integers(0, 2**32 - 1))
def test_any_set_of_signals_at_any_step(sets, seed):
    """By hand, in both fronts and both engines, with slots that begin when they are first needed."""
    draw = np.random.default_rng(seed)
    p, state = draw.normal(size=6), both.init(np.zeros(6))
    arrays = [rn.optimizer(both)(p.copy(), engine=engine) for engine in ENGINES]
    tensors = [torch.nn.Parameter(torch.from_numpy(p.copy())) for _ in ENGINES]
    theirs = [rt.optimizer(both)([x], engine=e) for x, e in zip(tensors, ENGINES, strict=True)]
    for names in sets:
        g, left = draw.normal(size=(2, 6))
        signals = {"left": left, "right": float(draw.normal())}
        signals = {k: signals[k] for k in names}
        p, *state = both(p, g, *state, **signals)
        for optimizer in arrays:
            optimizer.step(g.copy(), **signals)
        if "left" in signals:
            signals["left"] = [torch.from_numpy(left.copy())]
        for x, optimizer in zip(tensors, theirs, strict=True):
            x.grad = torch.from_numpy(g.copy())
            optimizer.step(**signals)
    for end in (*(x.params for x in arrays), *(x.detach().numpy() for x in tensors)):
        np.testing.assert_allclose(end, p, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_engines_agree_in_every_dtype(dtype):
    draw = np.random.default_rng(3)
    ends = []
    grads, hessians = draw.normal(size=(2, 9, 40, 30))
    for engine in ENGINES:
        x = np.linspace(-1, 1, 1200).reshape(40, 30).astype(dtype)
        optimizer = rn.optimizer(sophia)(x, engine=engine)
        for t in range(9):
            optimizer.step(grads[t], hessian=hessians[t] ** 2 if t % 4 == 1 else None)
        ends.append(x)
    np.testing.assert_allclose(ends[0], ends[1], rtol=10 * np.finfo(dtype).eps)


def test_numbers_by_hand():
    assert sophia(1.0, 2.0, 0.0, 0.0)[2] == 0.0
    assert sophia(1.0, 2.0, 0.0, 0.0, hessian=3.0)[2] == pytest.approx(0.03)
    assert sophia(1.0, 2.0, 0.0, 0.0, hessian=None) == sophia(1.0, 2.0, 0.0, 0.0)
    assert polyak(2.0, 2.0, loss=4.0) == 0.0
    p = torch.tensor([2.0, 0.0])
    assert polyak(p, p * 2, loss=torch.tensor(4.0)).tolist() == [1.0, 0.0]
    assert polyak(np.array([2.0]), np.array([2.0]), loss=np.float64(4.0)).tolist() == [0.0]
    assert "hessian=None" in repr(sophia)
    with pytest.raises(
        TypeError, match="rule 'polyak' is called without loss: unsupported operand"
    ):
        polyak(1.0, 2.0)
    with pytest.raises(TypeError, match="did you mean 'hessian'"):
        sophia(1.0, 2.0, 0.0, 0.0, hesian=1.0)


def test_what_is_live_is_so_whatever_is_given():
    for way in (None, (), ("left",), ("right",), ("left", "right")):
        assert trace(both, way).live == ("a", "b")
    assert [way.given for way in ways(both, both.check())] == [
        ("left", "right"),
        ("left",),
        ("right",),
        (),
    ]
    # h is as it was, where nothing is given; it is stored all the same, since it may be
    assert trace(sophia, ()).outputs["h"].op == "input"
    assert trace(sophia, ()).live == ("m", "h")


def test_a_slot_that_only_other_steps_read_is_kept():
    @rule
    def rare(p, g, h, *, extra=signal(), lr=0.1):
        h = h + g
        return (p - lr * h if extra is not None else p - lr * g), h

    for engine in ENGINES:
        x = np.zeros(3)
        optimizer = rn.optimizer(rare)(x, engine=engine)
        for t in range(6):
            optimizer.step(np.ones(3), extra=np.ones(3) if t == 5 else None)
        np.testing.assert_allclose(x, -0.1 * (5 + 6), rtol=1e-15)


def test_a_slot_that_nothing_reads_is_a_warning():
    @rule
    def unused(p, g, h, *, extra=signal(), lr=0.1):
        return p - lr * g, (h if extra is None else h + extra)

    with pytest.warns(UserWarning, match="the slot 'h' is never used"):
        trace(unused)


def test_modifiers_hand_signals_on_and_have_their_own():
    @modifier
    def trusting(step, p, g, *, trust=signal(scalar), hessian):
        u = p - step(p, g)
        u = u if hessian is None else u * 0.5
        return p - (u if trust is None else trust * u)

    @modifier
    def shrunk(step, p, g):
        return step(p, g, hessian=0.0 * g)

    made = trusting(l2(clip_by_norm(sophia)))
    assert [*made.signals] == ["hessian", "trust"]
    p, g = np.full(3, 2.0), np.array([1.0, -2.0, 3.0])
    state = made.init(p)
    plain = l2(clip_by_norm(sophia))
    new, *_ = made(p, g, *state, hessian=g**2, trust=0.25)
    np.testing.assert_allclose(new, p - 0.125 * (p - plain(p, g, *state, hessian=g**2)[0]))
    new, *_ = made(p, g, *state)
    np.testing.assert_array_equal(new, plain(p, g, *state)[0])
    assert shrunk(sophia)(p, g, *state, hessian=g)[2].tolist() == [0.0] * 3

    ends = []
    for engine in ENGINES:
        x = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        optimizer = rt.optimizer(made)([x], engine=engine)
        for t in range(7):
            x.grad = torch.arange(3.0, dtype=torch.float64) - t
            optimizer.step(hessian=[x.grad**2] if t % 2 else None, trust=0.5 if t % 3 else None)
        ends.append(x.detach())
    torch.testing.assert_close(*ends, rtol=1e-14, atol=0)

    @modifier
    def halved(step, p, g, *, hessian=signal()):
        return step(p, g, hessian=None if hessian is None else hessian / 2)

    assert halved(sophia)(p, g, *state, hessian=g)[2] == pytest.approx(
        sophia(p, g, *state, hessian=g / 2)[2]
    )

    @modifier
    def other(step, p, g, *, hessian=signal(scalar)):
        return step(p, g)

    with pytest.raises(RuleError, match=r"both have 'hessian'"):
        other(sophia)

    @modifier
    def wrong(step, p, g):
        return step(p, g, loss=1.0)

    with pytest.raises(RuleError, match="sophia has no signal 'loss'"):
        trace(wrong(sophia))


def test_a_shared_slot_may_depend_on_a_number_that_all_tensors_are_given():
    @rule(best=shared(float("inf")))
    def least_loss(p, g, best, *, loss=signal(scalar), lr=0.1):
        best = best if loss is None else loss
        return p - lr * best * g, best

    assert trace(least_loss).common == {"best": ()}

    @rule(best=shared(0.0))
    def of_one(p, g, best, *, extra=signal(), lr=0.1):
        return p - lr * best * g, (best if extra is None else best + total(extra))

    assert trace(of_one).common == {"best": ()}

    @rule(best=shared(0.0))
    def mixed_up(p, g, best, *, extra=signal(), lr=0.1):
        return p - lr * best * g, (best if extra is None else best + abs(extra))

    with pytest.raises(RuleError, match="the new best is an array"):
        trace(mixed_up, ("extra",))


def test_a_nan_is_a_number_too():
    for engine in ENGINES:
        x = [np.ones(2), np.ones(3)]
        rn.optimizer(polyak)(x, engine=engine).step([np.ones(2), np.ones(3)], loss=float("nan"))
        assert all(np.isnan(each).all() for each in x)


def test_arrays_are_refused_that_do_not_fit():
    Sophia, Polyak = rn.optimizer(sophia), rn.optimizer(polyak)
    params = {"a": np.ones(3), "b": np.ones((2, 2))}
    grads = {"a": np.ones(3), "b": np.ones((2, 2))}
    optimizer = Sophia(params)
    for wrong, message in [
        (
            {"hesian": grads},
            "'hesian' is not a signal of rule 'sophia'; it has hessian; did you mean",
        ),
        (
            {"hessian": {"a": np.ones(3)}},
            r"no hessian for params\['b'\]; hessian has params\['a'\]",
        ),
        ({"hessian": {"a": None, "b": np.ones((2, 2))}}, r"no hessian for params\['a'\]"),
        ({"hessian": {**grads, "c": np.ones(1)}}, r"a hessian for params\['c'\], which is not"),
        ({"hessian": {**grads, "a": np.ones(4)}}, r"the hessian of params\['a'\] has shape \(4,\)"),
        ({"hessian": {**grads, "a": np.array(["x"] * 3)}}, "must be of real numbers"),
        ({"hessian": 1.0}, r"no hessian for params\['a'\]"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            optimizer.step(grads, **wrong)
    assert params["a"].tolist() == [1, 1, 1]
    assert not optimizer.state
    with pytest.raises(ValueError, match="loss='much' is invalid; loss must be one number"):
        Polyak(params).step(grads, loss="much")
    with pytest.raises(
        RuleError, match=r"the step is not given loss, so the rule gets None; pass loss="
    ):
        Polyak(params).step(grads)
    with pytest.raises(TypeError, match=r"'loss' is not a signal of rule .*; it has none"):
        rn.Adam(params).step(grads, loss=1.0)
    with pytest.raises(TypeError, match="loss"):
        Polyak(params, loss=1.0)
    # what is not stepped needs no entry
    optimizer.step({"a": np.ones(3), "b": None}, hessian={"a": np.ones(3), "b": None})


def test_a_signal_in_the_memory_of_the_parameter():
    for engine in ENGINES:
        x = np.ones(4)
        optimizer = rn.optimizer(sophia)(x, engine=engine)
        optimizer.step(np.ones(4), hessian=x)
        y = np.ones(4)
        rn.optimizer(sophia)(y, engine=engine).step(np.ones(4), hessian=y.copy())
        assert x.tolist() == y.tolist()


def test_a_signal_in_the_memory_of_a_slot():
    ends = []
    for copy in (False, True):
        x = np.ones(4)
        optimizer = rn.optimizer(in_passes)(x)
        for t in range(4):
            h = optimizer.state["params"]["h"] if t else np.ones(4)
            optimizer.step(np.arange(4.0), extra=h.copy() if copy else h)
        ends.append(x.tolist())
    assert optimizer.engine == "kernel"
    assert ends[0] == ends[1]


def test_declarations_that_are_refused():
    with pytest.raises(TypeError, match=r"signal\(3\) is invalid; write signal\(\) or"):
        signal(3)

    def without_parentheses(p, g, *, loss=signal, lr=1.0):
        return p - lr * g

    with pytest.raises(RuleError, match=r"write loss=signal\(\)"):
        rule(without_parentheses)

    def positional(p, g, loss=signal(), *, lr=1.0):
        return p - lr * g

    with pytest.raises(RuleError, match=r"loss is a signal; write it after a \*"):
        rule(positional)

    def named_closure(p, g, *, closure=signal(), lr=1.0):
        return p - lr * g

    with pytest.raises(
        RuleError, match="a signal cannot be called 'closure', which is an argument of"
    ):
        rule(named_closure)

    def asked(p, g, *, loss=signal(scalar), lr=1.0):
        return p - lr * g if loss else p

    with pytest.raises(RuleError, match="`if loss is not None`"):
        trace(rule(asked))

    def declared(p, g, *, loss=signal(scalar), lr=1.0):
        return p - lr * g

    with pytest.raises(RuleError, match="loss is a signal, so nothing else can be declared for it"):
        rule(loss="the loss")(declared)


def test_shown():
    text = terminal(sophia.function)
    assert "hessianₜ   if hessianₜ is given" in text
    assert r"\mathrm{hessian}_t\text{ is given}" in latex(sophia.function)
    assert about(sophia).signals == (("hessian", "in the shape of the parameter"),)
    assert about(polyak).signals == (("loss", "one number"),)
    printed = kernel_source(trace(sophia, ("hessian",)))
    names = {}
    exec("from ravine.ops import *\n" + printed, names)
    values = [sophia.check()[k] for k in ("lr", "beta1", "beta2", "gamma", "eps", "decay")]
    assert names["sophia"](1.0, 2.0, 0.5, 0.5, *values, 3.0) == sophia(
        1.0, 2.0, 0.5, 0.5, hessian=3.0
    )
    assert "hessian" not in kernel_source(trace(sophia, ()))


def test_what_a_rule_does_with_a_signal_is_in_its_digest():
    def variant(factor, other=1.0):
        @rule
        def made(p, g, *, loss=signal(scalar), lr=0.1):
            return p - lr * (other * g if loss is None else factor * loss * g)

        return made

    assert digest(variant(1.0)) != digest(variant(2.0))
    assert digest(variant(2.0)) != digest(variant(2.0, 3.0))
    assert digest(variant(2.0)) == digest(variant(2.0))


def test_signals_survive_a_pickle(tmp_path):
    import pickle

    made = pickle.loads(pickle.dumps(decoupled_decay(sophia).named("mine", lr=0.3)))
    assert [*made.signals] == ["hessian"]
    optimizer = rn.optimizer(sophia)(np.ones(3))
    optimizer.step(np.ones(3), hessian=np.ones(3))
    again = pickle.loads(pickle.dumps(optimizer))
    for each in (optimizer, again):
        each.step(np.ones(3))
    assert optimizer.params.tolist() == again.params.tolist()
