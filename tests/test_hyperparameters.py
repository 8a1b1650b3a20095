"""Hyperparameters: what is accepted, what is refused, and what the message says."""

import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from ravine.hyperparameters import HYPERPARAMETERS, Hyperparameter, look_up, plain

nan, inf = math.nan, math.inf

ACCEPTED = {
    "lr": ("a finite number >= 0", [0, 0.0, 1e-3, 10, 1e300]),
    "momentum": ("a finite number >= 0", [0, 0.9, 1.0, 1.5]),
    "dampening": ("a finite number", [0, 0.3, -1.0, 2.0]),
    "beta1": ("a number in [0, 1)", [0, 0.0, 0.9, 1 - 2**-53]),
    "beta2": ("a number in [0, 1)", [0, 0.0, 0.999, 1 - 2**-53]),
    "alpha": ("a number in [0, 1]", [0, 0.99, 1, 1.0]),
    "eps": ("a finite number >= 0", [0, 1e-8, 1.0]),
    "weight_decay": ("a finite number >= 0", [0, 0.1, 2]),
    "clip_value": ("a finite number >= 0", [0, 1.0]),
    "max_norm": ("a finite number > 0", [5e-324, 1.0]),
    "rho": ("a number in [0, 1]", [0, 0.9, 1.0]),
    "momentum_decay": ("a finite number >= 0", [0, 4e-3, 2.0]),
    "lr_decay": ("a finite number >= 0", [0, 0.5]),
    "v0": ("a finite number >= 0", [0, 0.1]),
    "lambd": ("a finite number", [-1.0, 0, 1e-4]),
    "t0": ("a finite number", [-1, 0.5, 1e6]),
    "eta_minus": ("a number in (0, 1)", [5e-324, 0.5, 1 - 2**-53]),
    "eta_plus": ("a finite number > 1", [1 + 2**-52, 1.2, 100]),
    "step_min": ("a finite number >= 0", [0, 1e-6]),
    "step_max": ("a finite number >= 0", [0, 50]),
    "beta2_decay": ("a finite number <= 0", [0, -0.8, -2]),
    "eps1": ("a finite number >= 0", [0, 5e-324, 1e-30]),
    "eps2": ("a finite number >= 0", [0, 1e-3]),
    "d": ("a finite number >= 1", [1, 1.0, 2.5]),
    "ns_a": ("a finite number", [-1, 0, 3.4445]),
    "ns_b": ("a finite number", [-4.775, 0]),
    "ns_c": ("a finite number", [2.0315]),
    "ns_steps": ("a whole number in [0, 99]", [0, 5, 99]),
}
NEVER = [nan, inf, -inf, "0.1", "x", b"1", None, True, False, [0.1], (0.1,), {}, 1j, object()]
REFUSED = {
    "lr": [-1e-3, -5e-324],
    "momentum": [-0.1],
    "dampening": [],
    "beta1": [1, 1.0, -0.1, 1.5],
    "beta2": [1, 1.0, -0.1, 1.5],
    "alpha": [-0.1, 1.0000001],
    "eps": [-1e-8],
    "weight_decay": [-0.1],
    "clip_value": [-1],
    "max_norm": [0, 0.0, -1],
    "rho": [-0.1, 1.1],
    "momentum_decay": [-1e-9],
    "lr_decay": [-1e-9],
    "v0": [-1e-9],
    "lambd": [],
    "t0": [],
    "eta_minus": [0, 1, 1.0],
    "eta_plus": [1, 0.5],
    "step_min": [-1e-9],
    "step_max": [-1e-9],
    "beta2_decay": [1e-9, 0.8],
    "eps1": [-1e-9],
    "eps2": [-1e-9],
    "d": [0.5, 0],
    "ns_a": [],
    "ns_b": [],
    "ns_c": [],
    "ns_steps": [-1, 100, 2.5],
}
SWITCHES = ["centered", "maximize", "nesterov", "amsgrad", "decoupled_weight_decay"]
SWITCHES += ["bfloat16", "match_adamw", "unclamped"]


def test_the_table_is_covered():
    assert {*ACCEPTED, *SWITCHES} == HYPERPARAMETERS.keys()
    assert all(h.meaning for h in HYPERPARAMETERS.values())


@pytest.mark.parametrize("name", ACCEPTED)
def test_numbers(name):
    words, values = ACCEPTED[name]
    h = look_up(name, 0.5)
    assert h.accepted == words
    for value in values:
        checked = h.check(value, "Adam")
        assert checked == value
        assert type(checked) is type(value)
    for value in [*REFUSED[name], *NEVER]:
        message = f"Adam: {name}={value!r} is not accepted; {name} is {words}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            h.check(value, "Adam")


@pytest.mark.parametrize("name", SWITCHES)
def test_switches(name):
    h = look_up(name, False)
    assert h.check(True, "") is True
    assert h.check(False, "") is False
    for value in (1, 0, "yes", None, 0.5, np.array([True, False])):
        with pytest.raises(
            ValueError, match=f"RMSprop: {name}=.* is not accepted; {name} is True or False"
        ):
            h.check(value, "RMSprop")


def test_other_names_take_any_finite_number_or_a_declared_range():
    h = look_up("power", 2.0)
    assert h.accepted == "a finite number"
    assert h.check(-3, "") == -3
    h = look_up("k", 5, Hyperparameter("steps between syncs", 1, 10, open_low=True))
    assert (h.name, h.default, h.meaning) == ("k", 5, "steps between syncs")
    assert h.accepted == "a number in (1, 10]"
    assert h.check(10, "") == 10
    with pytest.raises(ValueError, match=r"k=1 is not accepted; k is a number in \(1, 10\]"):
        h.check(1, "")
    h = Hyperparameter("", high=1.0, name="x")
    assert h.check(-5, "") == -5
    with pytest.raises(ValueError, match=r"x=2 is not accepted"):
        h.check(2, "")


def test_a_whole_number_becomes_an_int():
    h = look_up("ns_steps", 5)
    assert type(h.check(3.0, "")) is int
    assert type(h.check(np.int64(3), "")) is int
    assert Hyperparameter("", 1, whole=True).accepted == "a whole number >= 1"


def test_a_bound_on_one_side_reads_well():
    assert "inf" not in Hyperparameter("", high=1.0).accepted


@pytest.mark.parametrize(
    "value",
    [
        *(np.float64(0.5), np.float32(0.5), np.array(0.5), np.array([0.5])),
        *(torch.tensor(0.5), torch.tensor([0.5], dtype=torch.float64)),
        *(Fraction(1, 2), Decimal("0.5")),
    ],
)
def test_numbers_of_other_kinds_become_plain(value):
    assert plain(value) == 0.5
    assert type(plain(value)) is float
    assert type(look_up("lr", 0.1).check(value, "")) is float


def test_integers_stay_integers_and_nonsense_is_none():
    assert type(plain(np.int64(3))) is int
    assert type(plain(torch.tensor(3))) is int
    for value in (None, True, "1", b"1", [1.0], np.zeros(2), torch.zeros(2), 1j, object()):
        assert plain(value) is None


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_what_a_search_draws_is_accepted(name):
    h = HYPERPARAMETERS[name]
    if h.search:
        low, high = h.search
        assert 0 < low < high
        for distance in (low, math.sqrt(low * high), high):
            value = abs(h.towards - distance)
            look_up(name, 0.5).check(value, "")
