"""The rules against released optimizers: paths recorded from the packages that their cards name."""

import pytest
from witnesses import problem
from witnesses.following import TOLERANCE, distance, is_so
from witnesses.stacks import witnesses

from ravine import registry
from ravine.rule import rule

WITNESSES = [
    pytest.param(made, witness, id=f"{made.name}-{witness.name}") for made, witness in witnesses()
]


@pytest.mark.parametrize(("made", "witness"), WITNESSES)
def test_the_rule_follows_its_witness(made, witness):
    file = problem.file_of(made, witness)
    assert file.exists(), f"record it: make witnesses RULES={made.name}"
    path = problem.read(file)
    for loud in (True, False):
        assert path.values["loud" if loud else "calm"] == problem.values(made, witness, loud)
    for engine in ("auto", "eager"):
        assert is_so(distance(made, witness, path, engine), witness)


def test_what_is_near_says_how_near_and_why():
    for made, witness in witnesses():
        near = witness in made.card.near
        assert near == (witness.apart > TOLERANCE), f"{made.name}, {witness.name}"
        assert witness.note or not near, f"{made.name}, {witness.name}"


def test_every_recorded_path_is_some_rule_s():
    wanted = {problem.file_of(made, witness) for made, witness in witnesses()}
    assert {*problem.PATHS.glob("*.npz")} == wanted


def test_the_loud_run_moves_every_option():
    for made, witness in witnesses():
        loud, calm = (problem.values(made, witness, x) for x in (True, False))
        asked = {
            name
            for names in witness.options.values()
            for name in ([names] if isinstance(names, str) else names)
        }
        kept = {*witness.loud} if witness.apart else set()  # how far apart they are depends on it
        still = {k for k in asked - kept if loud[k] == calm[k] and not isinstance(calm[k], bool)}
        assert not still, f"{made.name}, {witness.name}: {still}"


def test_a_wrong_rule_does_not_follow():
    found = registry.get("adam")
    witness = found.card.witnesses[0]
    path = problem.read(problem.file_of(found, witness))

    @rule
    def adam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return p - lr * m / (1 - beta1**t) / ((v / (1 - beta2**t)) + eps) ** 0.5, m, v

    assert distance(adam, witness, path) > 1e-3
