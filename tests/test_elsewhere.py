"""Other packages' names, answered from the witnesses on the rules' cards."""

import json

import pytest
from typer.testing import CliRunner

from ravine import cli, registry
from ravine.cards import AXES, Card, CardError, Witness
from ravine.elsewhere import best, matches

RULES = registry.own()


@pytest.mark.parametrize(
    "name", ["keras.Adam", "keras.optimizers.Adam", "tf.keras.optimizers.Adam", "Keras.adam"]
)
def test_a_package_s_name_with_and_without_its_modules(name):
    match = best(name, RULES.values())
    assert match.rule.name == "adam_eps_hat"
    assert match.expression == "adam_eps_hat(eps=1e-07)"
    assert registry.resolve(name).name == "adam_eps_hat(eps=1e-07)"


def test_a_name_without_its_package_is_that_of_every_package_that_has_it():
    found: dict[str, str] = {}
    for match in matches("Adam", RULES.values()):  # with amsgrad=True it is another rule
        found.setdefault(match.witness.name, match.rule.name)
    assert found["torch.optim.Adam"] == found["optax.adam"] == "adam"
    assert found["keras.optimizers.Adam"] == "adam_eps_hat"
    assert best("Adam", RULES.values()) is None


def test_what_no_witness_names():
    assert matches("timm.Nothing", RULES.values()) == []
    assert matches("", RULES.values()) == []


def test_which_says_what_the_options_are_called_here():
    row = json.loads(CliRunner().invoke(cli.app, ["which", "keras.Adam", "--json"]).stdout)[0]
    assert row["options"] == {
        "learning_rate": "lr",
        "beta_1": "beta1",
        "beta_2": "beta2",
        "epsilon": "eps",
    }
    said = " ".join(CliRunner().invoke(cli.app, ["which", "keras.Adam"]).stdout.split())
    assert "keras.optimizers.Adam is adam_eps_hat(eps=1e-07)" in said
    assert "of adam, which differs in: place of eps" in said


def test_which_answers_for_names_of_no_package():
    assert (
        "heavy ball is momentum_classical"
        in CliRunner().invoke(cli.app, ["which", "heavy ball"]).stdout
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Witness("timm", "timm.optim.Lamb(lr=lr)"), "a distribution and its version"),
        (lambda: Witness("timm 1.0", "timm.optim.Lamb"), "the call"),
        (lambda: Witness("timm 1.0", "Lamb(lr=lr)"), "the call"),
        (lambda: Witness("timm 1.0", "timm.optim.Lamb(lr=lr"), "the call"),
        (lambda: Card(variant_of="adam", differs="colour"), "place of eps"),
        (lambda: Card(variant_of="adam"), "how it differs"),
        (lambda: Card(differs="place of eps"), "what it is a variant of"),
    ],
)
def test_a_card_that_says_what_is_not_accepted(make, says):
    with pytest.raises(CardError, match=says):
        make()


@pytest.mark.parametrize("name", RULES)
def test_cards_are_whole(name):
    rule = RULES[name]
    card = rule.card
    if card.variant_of:
        assert card.variant_of in RULES
        assert card.variant_of != name
    assert {*card.axes} <= {*AXES}
    for witness in card.known:
        for names in witness.options.values():
            assert {names} if isinstance(names, str) else {*names} <= {*rule.hyperparameters}
        assert {*witness.state} <= {*rule.slots}
        assert {*witness.defaults} <= {*rule.hyperparameters}


def test_every_rule_has_a_year_and_a_family():
    rules = registry.rules()
    for name in RULES:
        assert rules[name].year
        assert rules.family(name)
