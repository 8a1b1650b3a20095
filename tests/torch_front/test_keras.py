"""Keras's optimizers: what one of them has done, Ravine goes on with, and the other way round."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is not installed")

import ravine.torch  # noqa: E402
from ravine import registry  # noqa: E402
from ravine.torch import from_keras, to_keras  # noqa: E402

# How Keras makes arrays of tensors, whoever asks.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SHAPES = ((4, 3), (3,), (3, 2))
KNOWN = [
    pytest.param(made, witness, id=f"{name}-{witness.name}")
    for name, made in registry.own().items()
    for witness in made.card.known
    if witness.distribution == "keras" and witness.state
]


def variables(values=None):
    """Two of them have the same path, as layers of Keras may have."""
    draw = np.random.RandomState(0)
    values = values or [draw.standard_normal(shape) for shape in SHAPES]
    return [
        keras.Variable(np.array(x), dtype="float64", name=name)
        for x, name in zip(values, ("kernel", "bias", "kernel"), strict=True)
    ]


def gradients(step):
    draw = np.random.RandomState(step)
    return [draw.standard_normal(shape) for shape in SHAPES]


def their_steps(optimizer, params, steps):
    for step in steps:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients(step)], params)
    return [keras.ops.convert_to_numpy(p) for p in params]


def our_steps(optimizer, tensors, steps):
    for step in steps:
        for p, g in zip(tensors, gradients(step), strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    return [p.detach().numpy() for p in tensors]


def made_of(witness, made):
    values = {k: h.default for k, h in made.hyperparameters.items()}
    values |= {k: 0.9 for k in ("momentum",) if k in values}
    values |= {k: True for k in ("centered",) if k in values}
    return eval(witness.call, {"keras": keras, **values})


def adam(**options):
    params = variables()
    optimizer = keras.optimizers.Adam(0.1, **options)
    their_steps(optimizer, params, (1, 2))
    return optimizer, params


@pytest.mark.parametrize(("made", "witness"), KNOWN)
def test_training_moves_from_keras_and_back(made, witness):
    theirs, params = made_of(witness, made), variables()
    now = their_steps(theirs, params, (1, 2, 3))
    tensors = [torch.tensor(x, requires_grad=True) for x in now]
    ours = ravine.torch.optimizer(made)(tensors)
    ours.load_state_dict(from_keras(theirs, params))
    far = their_steps(theirs, params, (4, 5))
    for mine, its in zip(our_steps(ours, tensors, (4, 5)), far, strict=True):
        assert np.abs(mine - its).max() <= 2e-7 * np.abs(its).max()  # Keras's lr is in float32

    params = variables(far)
    back = made_of(witness, made)
    to_keras(ours.state_dict(), back, params)
    with torch.no_grad():
        for p, x in zip(tensors, far, strict=True):
            p.copy_(torch.tensor(x))
    far = their_steps(back, params, (6, 7))
    for mine, its in zip(our_steps(ours, tensors, (6, 7)), far, strict=True):
        assert np.abs(mine - its).max() <= 2e-7 * np.abs(its).max()


def test_options_and_the_learning_rate_are_taken_over():
    (group,) = from_keras(*adam(beta_1=0.8, epsilon=1e-4))["param_groups"]
    assert (group["lr"], group["beta1"], group["eps"]) == (0.1, 0.8, 1e-4)


def test_a_schedule_gives_its_present_value():
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.25])
    params, optimizer = variables(), keras.optimizers.SGD(rate, momentum=0.9)
    their_steps(optimizer, params, (1, 2))
    assert from_keras(optimizer, params)["param_groups"][0]["lr"] == 0.25


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"clipnorm": 1.0}, "Adam has clipnorm=1.0; it can be converted only with clipnorm=None"),
        ({"use_ema": True}, "Adam has use_ema=True"),
        ({"weight_decay": 0.1}, "group 0 has weight_decay=0.1"),
    ],
)
def test_options_that_make_it_another_rule_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        from_keras(*adam(**options))


def test_what_cannot_be_converted_is_refused():
    optimizer, params = adam()
    with pytest.raises(ValueError, match="has taken no step"):
        from_keras(keras.optimizers.Adam(), params)
    ftrl = keras.optimizers.Ftrl()
    their_steps(ftrl, params, (1,))
    with pytest.raises(LookupError, match=r"keras\.optimizers\.Ftrl"):
        from_keras(ftrl, params)
    with pytest.raises(LookupError, match="no rule is known to be Ftrl"):
        to_keras({"state": {}}, ftrl, params)
    saved = from_keras(optimizer, params)
    before = [np.array(keras.ops.convert_to_numpy(x.value)) for x in optimizer.variables]
    with pytest.raises(ValueError, match=r"state for parameters \[0, 1, 2\], and params has 2"):
        to_keras(saved, optimizer, params[:2])
    with pytest.raises(ValueError, match=r"parameter 0 has 'v_max' in only one"):
        to_keras(saved, keras.optimizers.Adam(amsgrad=True), params)
    saved["state"][2]["m"] = saved["state"][2]["m"].T
    with pytest.raises(
        ValueError, match=r"m of parameter 2 has shape \(2, 3\); it must be \(3, 2\)"
    ):
        to_keras(saved, optimizer, params)
    saved["state"][2]["m"] = saved["state"][2]["m"].T
    saved["state"][2]["step"] = torch.tensor(7.0)
    with pytest.raises(ValueError, match="parameters have taken 2, 7 steps"):
        to_keras(saved, optimizer, params)
    after = [keras.ops.convert_to_numpy(x) for x in optimizer.variables]
    assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True))
