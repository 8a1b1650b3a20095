"""The NumPy front: structures of arrays, in place; and the mini-batch loop."""

import copy
import pickle

import numpy as np
import pytest
from cases import default_dtype

import ravine.numpy as rn
from ravine import RuleError, get
from ravine.ops import sign, where


def gradients(shape, steps, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, *shape))


DECAYED = {"lr": 0.05, "weight_decay": 0.1}
OPTIONS = {
    "SGD": {**DECAYED, "momentum": 0.9, "nesterov": True},
    "RMSprop": {**DECAYED, "centered": True, "momentum": 0.5},
    "Adam": {**DECAYED, "amsgrad": True},
    "AdamW": {**DECAYED, "amsgrad": True},
    "NAdam": {**DECAYED, "decoupled_weight_decay": True, "momentum_decay": 0.1},
    "RAdam": {**DECAYED, "decoupled_weight_decay": True, "maximize": True},
    "Adamax": {**DECAYED, "betas": (0.5, 0.9)},
    "Adagrad": {**DECAYED, "lr_decay": 0.1, "initial_accumulator_value": 0.5},
    "Adadelta": {**DECAYED, "rho": 0.5},
    "Rprop": {"lr": 0.05, "etas": (0.3, 1.3), "step_sizes": (1e-3, 0.1)},
    "ASGD": {**DECAYED, "t0": 10, "lambd": 0.1},
    "Adafactor": {**DECAYED, "d": 2.0, "eps": (None, 0.1)},
}
KERNELS = [name for name in OPTIONS if name != "Adafactor"]


@pytest.mark.torch
@pytest.mark.parametrize("name", OPTIONS)
def test_classes_equal_torch(name):
    import torch

    shapes = [(3, 4), (5,), ()]
    starts = [np.random.default_rng(i).normal(size=shape) for i, shape in enumerate(shapes)]
    ours = [np.array(start) for start in starts]
    theirs = [torch.tensor(start, requires_grad=True) for start in starts]
    stepper = getattr(rn, name)(ours, **OPTIONS[name])
    with default_dtype(torch.float64):
        reference = getattr(torch.optim, name)(theirs, **OPTIONS[name])
        for grads in zip(*(gradients(shape, 100) for shape in shapes), strict=True):
            stepper.step([np.array(g) for g in grads])
            for p, g in zip(theirs, grads, strict=True):
                p.grad = torch.tensor(g)
            reference.step()
    for p, q in zip(ours, theirs, strict=True):
        expected = q.detach().numpy()
        assert np.abs(p - expected).max() <= 1e-12 * np.abs(expected).max()
    if name == "ASGD":
        average = reference.state[theirs[0]]["ax"].numpy()
        np.testing.assert_allclose(stepper.state["params[0]"]["ax"], average, rtol=1e-12)


@pytest.mark.torch
def test_muon_is_torchs_but_for_bfloat16():
    """With coefficients that converge, both come near the same orthogonal matrix."""
    import torch
    from installed import reference

    ours, theirs = np.ones((3, 4)), torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
    options = {"lr": 0.1, "ns_coefficients": (1.5, -0.5, 0.0), "ns_steps": 15}
    stepper, torchs = rn.Muon(ours, **options), reference("Muon")([theirs], **options)
    for g in gradients((3, 4), 10):
        stepper.step(g)
        theirs.grad = torch.tensor(g)
        torchs.step()
    difference = np.abs(ours - theirs.detach().numpy()).max()
    assert 0 < difference < 0.02
    step = ours.copy()
    stepper.options["weight_decay"] = 0
    stepper.step(gradients((3, 4), 1)[0])
    step = (step - ours) / 0.1
    np.testing.assert_allclose(step @ step.T, np.eye(3), atol=1e-6)
    with pytest.raises(ValueError, match=r"Muon: a parameter of shape \(3,\) is invalid"):
        rn.Muon([np.ones((2, 2)), np.ones(3)])


def test_the_rule_may_depend_on_the_number_of_dimensions():
    params = {"w": np.ones((3, 4)), "b": np.ones(4), "s": 1.0}
    stepper = rn.Adafactor(params, lr=0.1)
    stepper.step({"s": 1.0, "b": np.ones(4), "w": np.ones((3, 4))})
    assert stepper.state["params['w']"].keys() == {"step", "r", "c"}
    assert stepper.state["params['w']"]["r"].shape == (3, 1)
    assert stepper.state["params['b']"].keys() == {"step", "v"}
    assert stepper.state["params['s']"]["v"] == 1.0
    np.testing.assert_allclose(stepper.params["w"], 0.9)
    np.testing.assert_allclose(stepper.params["b"], 0.9)
    assert stepper.params["s"] == pytest.approx(0.9)
    assert stepper.engine == "kernel; eager for 1 tensor (not an array)"
    whole = rn.Adafactor({"w": np.ones((3, 4)), "b": np.ones(4)}, lr=0.1, engine="kernel")
    whole.step({"b": np.ones(4), "w": np.ones((3, 4))})
    np.testing.assert_allclose(whole.params["w"], 0.9)
    np.testing.assert_allclose(whole.params["b"], 0.9)
    assert whole.engine == "kernel"


def test_state_may_start_at_an_option():
    stepper = rn.Rprop([np.ones(2)], lr=0.25)
    stepper.step([np.array([1.0, -2.0])])
    np.testing.assert_array_equal(stepper.params[0], [0.75, 1.25])


def test_arrays_change_in_place_and_numbers_are_returned():
    params = {"w": np.ones(3), "b": 0.5, "more": [np.ones((2, 2)), (np.ones(()), 2.0)]}
    w = params["w"]
    grads = {"w": np.ones(3), "b": 1.0, "more": [np.ones((2, 2)), (np.ones(()), -1.0)]}
    new = rn.SGD(params, lr=0.1).step(grads)
    assert new["w"] is w
    np.testing.assert_allclose(w, 0.9)
    assert new["b"] == 0.4
    assert type(new["b"]) is float
    assert new["more"][1][0] == pytest.approx(0.9)
    assert new["more"][1][1] == 2.1
    assert isinstance(new["more"][1], tuple)


def test_a_single_array_or_number_will_do():
    assert rn.SGD(1.0, lr=0.5).step(1.0) == 0.5
    p = np.ones(2)
    assert rn.Adam(p, lr=0.1).step(np.ones(2)) is p


def test_none_leaves_a_parameter_and_its_count_alone():
    stepper = rn.Adam([np.ones(2), np.ones(2)], lr=0.1)
    stepper.step([np.ones(2), None])
    stepper.step([np.ones(2), np.ones(2)])
    assert [stepper.state[p]["step"] for p in ("params[0]", "params[1]")] == [2, 1]
    # The late one takes its first step, of size lr.
    np.testing.assert_allclose(stepper.params[1], 0.9, rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_dtype_is_kept(dtype):
    p = np.ones(3, dtype)
    stepper = rn.Adam(p, lr=np.float64(0.1))
    stepper.step(np.ones(3))
    assert p.dtype == dtype
    assert stepper.state["params"]["m"].dtype == dtype


def test_half_precision_is_computed_in_float32():
    g = np.float16([1e-4, 300.0])  # their squares leave float16 on both sides
    p = np.float16([1.0, 1.0])
    rn.Adam(p, lr=0.1).step(g)
    np.testing.assert_array_equal(p, np.float16([0.9, 0.9]))


def test_options_can_change_between_steps():
    stepper = rn.SGD(1.0, lr=0.5)
    stepper.options["lr"] = 0.25
    assert stepper.step(1.0) == 0.75
    stepper.options["lr"] = float("nan")
    with pytest.raises(
        ValueError, match=r"SGD: lr=nan is invalid; lr must be a finite number >= 0"
    ):
        stepper.step(1.0)


def test_momentum_that_is_switched_on_later_starts_its_buffer():
    stepper = rn.RMSprop(np.ones(2), lr=0.1)
    stepper.step(np.ones(2))
    assert "b" not in stepper.state["params"]
    stepper.options["momentum"] = 0.9
    stepper.step(np.ones(2))
    assert "b" in stepper.state["params"]


def sign_descent(p, g, *, lr=1e-3):
    return p - lr * sign(g)


def test_a_rule_of_your_own():
    SignDescent = rn.optimizer(sign_descent)
    assert SignDescent.__name__ == "SignDescent"
    np.testing.assert_array_equal(
        SignDescent(np.zeros(2), lr=0.5).step(np.array([3.0, -0.1])), [-0.5, 0.5]
    )


def test_a_rule_over_all_tensors():
    from ravine.modifiers import clip_by_global_norm

    clipped = rn.optimizer(clip_by_global_norm(get("sgd"), max_norm=1.0))
    params = clipped([np.zeros(1), np.zeros(1)], lr=1.0).step([np.array([3.0]), np.array([4.0])])
    np.testing.assert_allclose(params, [[-0.6], [-0.8]])


def branching(p, g, *, lr=1.0):
    if g > 0:
        return p - lr
    return p + lr


def test_a_rule_that_branches_on_an_array_is_refused_with_its_line():
    with pytest.raises(
        RuleError, match=r"'branching', test_numpy.py:\d+, `if g > 0:`.*write where\("
    ):
        rn.optimizer(branching)
    rn.optimizer(lambda p, g, *, lr=1.0: where(g > 0, p - lr, p + lr))


def read_only(n):
    p = np.ones(n)
    p.flags.writeable = False
    return p


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([], ValueError, r"params=\[\] is empty; it must hold at least one array or number"),
        (
            {"w": np.arange(3)},
            TypeError,
            r"params\['w'\] is of type array of int64; it must be a float or",
        ),
        ([1], TypeError, r"params\[0\] is of type int; it must be a float"),
        (["w"], TypeError, r"params\[0\] is of type str; it must be a float"),
        ([read_only(2)], ValueError, r"params\[0\] is read-only; arrays are updated in place"),
    ],
)
def test_parameters_that_are_not_accepted(params, error, message):
    with pytest.raises(error, match=message):
        rn.Adam(params)


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({"w": np.ones(3)}, r"no gradient for params\['b'\]"),
        (
            {"w": np.ones(2), "b": 1.0},
            r"gradient of params\['w'\] has shape \(2,\); it must be \(3,\)",
        ),
        ({"w": np.ones(3), "b": 1.0, "c": 1.0}, r"params\['c'\], which is not a parameter"),
    ],
)
def test_gradients_that_do_not_fit(grads, message):
    params = {"w": np.ones(3), "b": 1.0}
    with pytest.raises(ValueError, match=message):
        rn.Adam(params).step(grads)
    np.testing.assert_array_equal(params["w"], 1.0)


# Engines


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_kernel_and_eager_agree(name, dtype):
    results = []
    for engine in ("kernel", "eager"):
        params = [
            np.random.default_rng(0).normal(size=s).astype(dtype) for s in ((33, 7), (5,), ())
        ]
        params = [np.array(p) for p in params]
        stepper = getattr(rn, name)(params, **OPTIONS[name], engine=engine)
        for g in gradients((33, 7), 20):
            stepper.step([g, g[0, :5], g[0, 0]])
        results.append(params)
        assert stepper.engine == ("kernel" if engine == "kernel" else "eager: asked for")
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=20 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


def test_what_a_kernel_cannot_step_runs_eager_and_is_counted():
    apart = np.zeros((4, 4))[:, ::2]
    params = {"apart": apart, "dense": np.zeros((4, 2)), "number": 0.0}
    stepper = rn.Adam(params, lr=0.5)
    assert stepper.engine == (
        "kernel; eager for 1 tensor (not dense, or not in one memory layout), 1 tensor (not an array)"
    )
    g = np.arange(8.0).reshape(4, 2) + 1
    new = stepper.step({"apart": g, "dense": g.T.copy().T, "number": 1.0})
    np.testing.assert_allclose(new["apart"], -0.5, rtol=1e-7)
    np.testing.assert_array_equal(new["apart"], new["dense"])
    assert new["number"] == pytest.approx(-0.5)
    with pytest.raises(RuleError, match=r"Adam: engine='kernel' is not possible .*not dense"):
        rn.Adam([apart], engine="kernel").step([g])
    with pytest.raises(ValueError, match="engine='fast' is invalid"):
        rn.Adam([apart], engine="fast")


SignDescent = rn.optimizer(sign_descent)


@pytest.mark.parametrize("cls", [rn.Adam, SignDescent])
def test_an_optimizer_can_be_copied_and_pickled(cls):
    stepper = cls([np.ones(3)], lr=0.1)
    stepper.step([np.ones(3)])
    for other in (copy.deepcopy(stepper), pickle.loads(pickle.dumps(stepper))):
        other.step([np.ones(3)])
        np.testing.assert_allclose(other.params[0], 0.8, rtol=1e-6)
        np.testing.assert_allclose(stepper.params[0], 0.9, rtol=1e-6)


# The mini-batch loop


def line(rows=200, seed=0):
    x = np.random.default_rng(seed).normal(size=rows)
    return x, 3.0 * x - 1.0


START = {"m": 0.0, "b": 0.0}


def train(**options):
    options = {"learning_rate": 0.1, "epochs": 30, **options}
    return rn.fit(rn.linear, rn.mean_squared_error, START, *line(), **options)


@pytest.mark.parametrize("batch_size", [1, 64, "all"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", get("rmsprop"), sign_descent])
def test_fit_finds_the_line(optimizer, batch_size):
    epochs = 40 if batch_size == 1 else 300
    done = train(optimizer=optimizer, batch_size=batch_size, learning_rate=0.03, epochs=epochs)
    assert done.params["m"] == pytest.approx(3.0, abs=0.1)
    assert done.params["b"] == pytest.approx(-1.0, abs=0.1)
    assert done.stopped == "epochs"
    assert done.epochs == len(done.path) == epochs
    assert done.steps == epochs * {1: 200, 64: 4, "all": 1}[batch_size]
    assert START == {"m": 0.0, "b": 0.0}


def test_fit_is_the_loop_written_out():
    x, y = line()
    random = np.random.RandomState(7)
    m, b = START["m"], START["b"]
    for _ in range(3):
        order = random.permutation(200)
        x, y = x[order], y[order]
        for i in range(0, 200, 64):
            d = m * x[i : i + 64] + b - y[i : i + 64]
            gm, gb = np.clip([2 * np.mean(d * x[i : i + 64]), 2 * np.mean(d)], -0.5, 0.5)
            m, b = m - 0.1 * gm, b - 0.1 * gb
    seed = np.random.RandomState(7)
    done = train(optimizer="sgd", epochs=3, batch_size=64, clipping=0.5, seed=seed)
    assert done.params["m"] == pytest.approx(m, rel=1e-13)
    assert done.params["b"] == pytest.approx(b, rel=1e-13)
    assert done.losses[-1] == pytest.approx(np.mean((m * x + b - y) ** 2), rel=1e-12)
    assert done.path[-1] == done.params


def test_fit_stops_at_the_threshold_and_only_there():
    done = train(optimizer="sgd", epochs=1000, stopping_threshold=1e-3)
    changes = np.abs(np.diff([np.inf, *done.losses]))
    assert done.stopped == "threshold"
    assert changes[-1] < 1e-3
    assert (changes[:-1] >= 1e-3).all()


def test_fit_says_when_it_diverged():
    done = train(optimizer="sgd", learning_rate=1e3, epochs=1000)
    assert done.stopped == "diverged"
    assert done.epochs < 1000
    assert not np.isfinite(done.losses[-1])


def test_fit_is_seeded_and_the_callback_can_stop_it():
    seen = []
    done = train(
        seed=3, callback=lambda epoch, params, loss: seen.append((epoch, loss)) or epoch == 5
    )
    assert done.stopped == "callback"
    assert seen == list(enumerate(done.losses, 1))
    assert done.losses == train(seed=3, epochs=5).losses != train(seed=4, epochs=5).losses


def test_fit_with_several_columns():
    x = np.random.default_rng(0).normal(size=(100, 3))
    start = {"m": np.zeros(3), "b": 0.0}
    done = rn.fit(
        rn.linear, rn.mean_squared_error, start, x, x @ [1, 2, 3] + 4, learning_rate=0.1, epochs=200
    )
    np.testing.assert_allclose(done.params["m"], [1, 2, 3], atol=1e-3)
    assert not start["m"].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0 is invalid; epochs must be a whole number >= 1"),
        ({"epochs": 2.5}, "epochs=2.5 is invalid"),
        (
            {"batch_size": 0},
            'batch_size=0 is invalid; batch_size must be a whole number >= 1 or "all"',
        ),
        ({"batch_size": "half"}, "batch_size='half' is invalid"),
        ({"stopping_threshold": -1.0}, "stopping_threshold=-1.0 is invalid"),
        ({"clipping": -1.0}, "clip_value=-1.0 is invalid"),
        ({"learning_rate": -0.1}, "lr=-0.1 is invalid; lr must be a finite number >= 0"),
    ],
)
def test_fit_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_fit_with_targets_in_a_column():
    x = np.linspace(-1, 1, 50)
    y = 2 * x + 1
    row, column = (
        rn.fit(rn.linear, rn.mean_squared_error, START, x, z, epochs=5) for z in (y, y[:, None])
    )
    assert row.params == column.params
    assert row.losses == column.losses
    with pytest.raises(
        ValueError, match=r"y has shape \(50, 2\) and the model's predictions \(50,\)"
    ):
        rn.fit(rn.linear, rn.mean_squared_error, START, x, np.stack([y, y], 1))
    table = rn.Model(lambda params, x: x[:, None] * params["m"], rn.linear.gradient)
    with pytest.raises(
        ValueError, match=r"y has shape \(50,\) and the model's predictions \(50, 1\)"
    ):
        rn.fit(table, rn.mean_squared_error, START, x, y)


def test_fit_refuses_rows_that_do_not_match_and_unknown_names():
    x, y = line()
    with pytest.raises(ValueError, match="x has 200 rows and y 199"):
        rn.fit(rn.linear, rn.mean_squared_error, START, x, y[:-1])
    with pytest.raises(LookupError, match="did you mean 'amsgrad'"):
        train(optimizer="amsgard")
    with pytest.raises(TypeError, match="has no hyperparameter 'beta3'"):
        train(beta3=0.5)


X = np.linspace(-1, 1, 100)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.ma.masked_less(X, 0), X, TypeError, "fit: x is a masked array"),
        (X, np.ma.masked_less(X, 0), TypeError, "fit: y is a masked array"),
        (X, None, TypeError, "fit: y=None is invalid; it must be an array of rows"),
        (3.0, X, TypeError, "fit: x=3.0 is invalid"),
        (X, np.where(X > 0.9, np.nan, X), ValueError, "fit: y has values that are NaN or infinite"),
        (np.where(X > 0.9, np.nan, X), X, ValueError, "fit: x has values that are NaN or infinite"),
        (np.where(X > 0.9, np.inf, X), X, ValueError, "fit: x has values that are NaN or infinite"),
        (
            X[:, None],
            X[:, None],
            ValueError,
            r"linear: m has shape \(\); for x of shape \(100, 1\)",
        ),
        (X, X[None], ValueError, "fit: x has 100 rows and y 1"),
        (
            X,
            np.c_[X, X],
            ValueError,
            r"y has shape \(100, 2\) and the model's predictions \(100,\)",
        ),
    ],
)
def test_fit_refuses_data_that_it_cannot_use(x, y, error, message):
    with pytest.raises(error, match=message):
        rn.fit(rn.linear, rn.mean_squared_error, {"m": 0.0, "b": 0.0}, x, y, epochs=2)


def test_a_loss_may_leave_missing_values_out():
    known = rn.Loss(
        value=lambda prediction, y: float(np.nanmean((prediction - y) ** 2)),
        gradient=lambda prediction, y: np.nan_to_num(prediction - y) / len(y),
    )
    y = np.where(X > 0.9, np.nan, 2 * X)
    done = rn.fit(rn.linear, known, {"m": 0.0, "b": 0.0}, X, y, learning_rate=0.1)
    assert done.params["m"] == pytest.approx(2, abs=0.01)


def test_the_squared_error_of_a_row_and_a_column_is_refused():
    for function in rn.mean_squared_error:
        with pytest.raises(ValueError, match=r"have shape \(100,\) and y \(100, 1\)"):
            function(X, X[:, None])


def test_a_learning_rate_has_one_name_at_a_time():
    start = {"m": 0.0, "b": 0.0}
    with pytest.raises(
        TypeError, match=r"learning_rate=0.1 and lr=0.2 are the same hyperparameter"
    ):
        rn.fit(rn.linear, rn.mean_squared_error, start, X, X, learning_rate=0.1, lr=0.2)
    with pytest.raises(TypeError, match="callback=3 is invalid"):
        rn.fit(rn.linear, rn.mean_squared_error, start, X, X, callback=3)


def test_a_rule_of_arrays_refuses_a_number():
    with pytest.raises(
        TypeError, match=r"params\['b'\] is a number, and rule 'muon' works on arrays"
    ):
        rn.optimizer(get("muon"))({"a": np.ones((2, 2)), "b": 1.0})


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("before", [(2,), (1,)])
def test_the_state_of_another_shape_is_refused(before, engine):
    params = {"a": np.zeros(before)}
    optimizer = rn.Adam(params, engine=engine)
    optimizer.step({"a": np.ones(before)})
    params["a"] = np.zeros(3)
    with pytest.raises(
        ValueError, match=r"the state 'm' of params\['a'\] has shape \(.,\); it must be"
    ):
        optimizer.step({"a": np.ones(3)})
    assert not params["a"].any()
