"""A minute of random rules: every engine gives what the rule means. `make fuzz` goes on for longer."""

import pytest
from hypothesis import HealthCheck, given, seed, settings

from random_rules import engines
from random_rules.agreement import Disagreement, check, disagreements
from random_rules.cases import Case, Tensor
from random_rules.strategies import cases, ordinary
from random_rules.trees import ELEMENT, RandomRule, leaf, node

pytestmark = pytest.mark.filterwarnings("ignore:.* is never used:UserWarning")

HOW = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("number", range(4))
def test_every_engine_gives_what_a_rule_means(number):
    """Special values, odd sizes, missing gradients, options that change, groups, all dtypes."""

    @seed(number)
    @settings(max_examples=60, **HOW)
    @given(cases())
    def found(case):
        check(case)

    found()


def test_the_passes_for_a_gpu_give_what_a_rule_means(monkeypatch):
    """By a stand-in for a GPU, thread by thread."""
    monkeypatch.setattr(engines, "ALSO", ("gpu",))

    @seed(0)
    @settings(max_examples=12, **HOW)
    @given(cases())
    def found(case):
        check(case)

    found()


@pytest.mark.parametrize("shapes", ["chunks", "threads"])
def test_chunks_and_threads(shapes):
    """Sizes at which a tensor is split, and more threads than one: the same bits."""

    @seed(0)
    @settings(max_examples=6, **HOW)
    @given(cases(shapes=shapes, numbers=ordinary))
    def found(case):
        check(case)

    found()


def test_a_wrong_answer_is_found(monkeypatch):
    """An engine that does not do what the rule says is told, with the rule to paste."""
    p, g = leaf("p", ELEMENT), leaf("g", ELEMENT)
    case = Case(
        RandomRule({}, {"h0": 0.5}, {"p": node("sub", p, g)}),
        [Tensor((3,), 0, ((1.0, 2.0), (0.5, 0.25)))],
        [],
        "float64",
    )
    check(case)
    right = engines.ENGINES["eager"]

    def wrong(case):
        answer = right(case)
        answer[0]["p"] = answer[0]["p"] + 1e-12
        return answer

    monkeypatch.setitem(engines.ENGINES, "eager", wrong)
    [one, *_] = disagreements(case)
    assert one.engine == "eager"
    with pytest.raises(Disagreement, match="return p - g"):
        check(case)
