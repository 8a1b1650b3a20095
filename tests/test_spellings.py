"""The spellings: which rule an option of torch.optim's classes asks for, in both fronts."""

import inspect

import pytest

import ravine.numpy
import ravine.torch
from ravine import rules, spellings
from ravine.spellings import ADAM, ADAMW, RMSPROP, SGD, spelling_of

SGD_OPTIONS = {"lr": 0.1, "momentum": 0, "dampening": 0, "weight_decay": 0}
SGD_OPTIONS |= {"nesterov": False, "maximize": False}
ADAM_OPTIONS = {
    "lr": 0.1,
    "betas": (0.8, 0.98),
    "eps": 1e-8,
    "weight_decay": 0.5,
    "amsgrad": False,
    "maximize": True,
}


@pytest.mark.parametrize(
    ("spelling", "options", "name"),
    [
        (SGD, {}, "maximize(l2(sgd))"),
        (SGD, {"momentum": 0.9}, "maximize(l2(momentum))"),
        (SGD, {"momentum": 0.9, "dampening": 0.1}, "maximize(l2(momentum))"),
        (SGD, {"momentum": 0.9, "nesterov": True}, "maximize(l2(nesterov))"),
        (ADAM, {}, "maximize(l2(adam))"),
        (ADAM, {"amsgrad": True}, "maximize(l2(amsgrad))"),
        (ADAM, {"decoupled_weight_decay": False}, "maximize(l2(adam))"),
        (ADAM, {"decoupled_weight_decay": True}, "maximize(decoupled_decay(adam))"),
        (
            ADAM,
            {"decoupled_weight_decay": True, "amsgrad": True},
            "maximize(decoupled_decay(amsgrad))",
        ),
        (ADAMW, {}, "maximize(decoupled_decay(adam))"),
        (ADAMW, {"amsgrad": True}, "maximize(decoupled_decay(amsgrad))"),
    ],
)
def test_options_choose_the_rule(spelling, options, name):
    given = {**(SGD_OPTIONS if spelling is SGD else ADAM_OPTIONS), **options}
    rule, values = spelling.compose(given)
    assert rule.name == name
    assert list(values) == list(rule.hyperparameters)
    assert values.items() <= {**given, "beta1": 0.8, "beta2": 0.98}.items()
    assert spelling.compose(given)[0] is rule  # one rule, one plan
    spelling.check(given)


def test_rmsprop_is_one_rule():
    options = {
        "lr": 0.1,
        "alpha": 0.5,
        "eps": 1e-8,
        "weight_decay": 0,
        "momentum": 0,
        "centered": True,
    }
    rule, values = RMSPROP.compose({**options, "maximize": False})
    assert rule.name == "maximize(l2(rmsprop))"
    assert values == {**options, "maximize": False}


def test_a_rule_of_ones_own_spells_itself():
    spelling = spelling_of(rules.adam)
    values = {"lr": 0.1, "beta1": 0.5, "beta2": 0.5, "eps": 0.0}
    assert spelling.compose({**values, "params": []}) == (rules.adam, values)
    assert spelling.state_names.get("m", "m") == "m"


def test_an_option_of_several_numbers_names_them_for_the_rule():
    _, values = spellings.RPROP.compose(
        {"lr": 0.1, "etas": (0.4, 1.3), "step_sizes": [1e-3, 2], "maximize": False}
    )
    assert values == {
        **{"lr": 0.1, "eta_minus": 0.4, "eta_plus": 1.3, "step_min": 1e-3, "step_max": 2},
        "maximize": False,
    }
    options = {"lr": 0.1, "lr_decay": 0, "weight_decay": 0, "eps": 1e-10, "maximize": False}
    _, values = spellings.ADAGRAD.compose({**options, "initial_accumulator_value": 0.5})
    assert values == {**options, "v0": 0.5}


ADAFACTOR = {"lr": 0.1, "beta2_decay": -0.8, "d": 1.0, "weight_decay": 0.1, "maximize": False}


def test_adafactors_floor_in_the_rules_words():
    for given, said in ((None, 0.0), (0, 5e-324), (0.0, 5e-324), (1e-9, 1e-9)):
        _, values = spellings.ADAFACTOR.compose({**ADAFACTOR, "eps": (given, 0.5)})
        assert (values["eps1"], values["eps2"]) == (said, 0.5)


MUON = {"lr": 0.1, "weight_decay": 0, "momentum": 0.9, "nesterov": True, "eps": 1e-7, "ns_steps": 5}
MUON |= {"ns_coefficients": (1.5, -0.5, 0.0)}


@pytest.mark.parametrize("spelling", [spellings.MUON, spellings.MUON_IN_FULL])
@pytest.mark.parametrize("adjust", [None, "original", "match_rms_adamw", "spectral_unclamped"])
def test_muons_words_are_the_rules_switches(spelling, adjust):
    _, values = spelling.compose({**MUON, "adjust_lr_fn": adjust})
    assert values["match_adamw"] == (adjust == "match_rms_adamw")
    assert values["unclamped"] == (adjust == "spectral_unclamped")
    assert values["bfloat16"] == (spelling is spellings.MUON)
    assert (values["ns_a"], values["ns_b"], values["ns_c"]) == (1.5, -0.5, 0.0)


def test_a_spelling_says_which_parameters_it_trains():
    with pytest.raises(ValueError, match=r"Muon: a parameter of shape \(3,\) is invalid"):
        spellings.MUON.check_parameter((3,))
    spellings.MUON.check_parameter((3, 4))
    spellings.ADAM.check_parameter((3,))


BOTH = [name for name in ravine.torch.classes.__all__ if name not in ("SparseAdam", "optimizer")]


@pytest.mark.parametrize("name", BOTH)
def test_both_fronts_have_the_same_options_and_defaults(name):
    torchs = inspect.signature(getattr(ravine.torch, name)).parameters
    numpys = inspect.signature(getattr(ravine.numpy, name)).parameters
    for k, parameter in numpys.items():
        assert k == "engine" or torchs[k].default == parameter.default, k
    missing = torchs.keys() - numpys.keys()
    assert missing <= {"foreach", "fused", "capturable", "differentiable", "how"} | {
        "decoupled_weight_decay"
    }
