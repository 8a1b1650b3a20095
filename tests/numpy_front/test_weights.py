"""Weights to evaluate with, of arrays and of numbers."""

import copy

import numpy as np
import pytest

import ravine.numpy as rn
from ravine import like_p, modifier, rules


@modifier(ema_p=like_p, evaluate=lambda p, ema_p: ema_p)
def averaged(step, p, g, ema_p, *, decay=0.5):
    p = step(p, g)
    return p, decay * ema_p + (1 - decay) * p


def stepped(made, dtype=np.float64, **options):
    params = {"w": np.ones(3, dtype), "b": [2.0]}
    opt = rn.optimizer(made)(params, **options)
    for _ in range(3):
        opt.step({"w": np.arange(3.0), "b": [1.0]})
    return opt


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_an_average_is_put_in_place_and_training_goes_on(engine, dtype):
    opt, alone = (stepped(averaged(rules.adam), dtype, lr=0.1, engine=engine) for _ in range(2))
    w, before = opt.params["w"], copy.deepcopy(opt.params)
    with opt.evaluating() as params:
        assert params["w"] is w
        assert params is opt.params
        assert np.array_equal(w, opt.state["params['w']"]["ema_p"])
        assert params["b"] == [opt.state["params['b'][0]"]["ema_p"]]
        assert not np.array_equal(w, before["w"])
        with pytest.raises(RuntimeError, match="take steps outside evaluating"):
            opt.step({"w": np.arange(3.0), "b": [1.0]})
    assert np.array_equal(w, before["w"])
    assert opt.params["b"] == before["b"]
    for one in (opt, alone):
        one.step({"w": np.ones(3), "b": [1.0]})
    assert np.array_equal(w, alone.params["w"])
    assert opt.params["b"] == alone.params["b"]


def test_until_train_and_in_copies():
    opt = stepped(averaged(rules.sgd), lr=1.0)
    before = copy.deepcopy(opt.params)
    at = copy.deepcopy(opt.eval())
    with opt.evaluating() as params:
        assert np.array_equal(params["w"], at["w"])
    other = copy.deepcopy(opt)
    assert opt.eval() is opt.params
    assert np.array_equal(opt.train()["w"], before["w"])
    assert np.array_equal(opt.train()["w"], before["w"])
    assert np.array_equal(other.params["w"], at["w"])
    assert np.array_equal(other.train()["w"], before["w"])


def test_without_an_evaluation_or_a_step_nothing_changes():
    fresh = rn.optimizer(averaged(rules.sgd))([np.ones(2)])
    for opt in (stepped(rules.adam), fresh):
        before = copy.deepcopy(opt.params)
        with opt.evaluating() as params:
            assert repr(params) == repr(before)
        assert repr(opt.params) == repr(before)
