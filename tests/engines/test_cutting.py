"""Where steps are cut, and what of them a library computes."""

import pytest

from ravine import registry, rule
from ravine.engines.cutting import called, conditions, cut, is_cut
from ravine.engines.eager import plan
from ravine.ops import eigh, matmul, newton_schulz, norm, transpose, where
from ravine.rule import square


def planned(name):
    its = registry.get(name)
    return plan(its, its.check())


def names(nodes):
    return sorted({x.op for x in nodes})


def test_muon_is_two_kernels():
    first, last = cut(planned("muon")).turns
    assert list(first.given) == ["_given0"]
    assert list(first.found) == ["_found0"]
    assert [first.kernel.slots, first.kernel.last, last.kernel.last] == [(), 0, 0]
    assert names(first.calls) == ["newton_schulz"]
    assert cut(planned("muon")).alone


def test_what_soap_computes_at_most_steps_is_products():
    graph = planned("soap")
    first, due = conditions(graph)
    usual = cut(graph, {first.index: False, due.index: False})
    assert len(usual.turns) == 3
    assert [names(turn.calls) for turn in usual.turns] == [["matmul", "transpose"], ["matmul"], []]
    assert usual.stores == {}
    assert [*usual.late] == ["left", "right"]  # in their places: nothing reads them
    assert not usual.alone


def test_what_soap_computes_when_bases_are_due():
    graph = planned("soap")
    first, due = conditions(graph)
    now = cut(graph, {first.index: False, due.index: True})
    assert [*now.stores] == ["left", "right", "q_left", "q_right"]
    assert len(now.without_r) == 2
    beginning = cut(graph, {first.index: True, due.index: True})
    assert {"eigh"} <= {x.op for turn in beginning.turns for x in turn.calls}
    assert "qr" not in {x.op for turn in beginning.turns for x in turn.calls}
    assert called(graph) == (["matmul"], ["eigh", "qr"])


def test_each_decision_is_cut_once():
    graph = planned("shampoo")
    [due] = conditions(graph)
    assert cut(graph, {due.index: True}) is cut(graph, {due.index: True})
    assert cut(graph, {due.index: True}) is not cut(graph, {due.index: False})


def test_a_number_that_differs_within_a_tensor_decides_nothing():
    @rule(q=square(-2))
    def made(p, g, q, *, lr=0.1):
        q = where(norm(g) > 1, eigh(matmul(g, transpose(g)))[1], q)
        return p - lr * matmul(q, g), q

    graph = plan(made, made.check())
    assert conditions(graph) == []
    assert called(graph) == (["eigh", "matmul"], [])


def test_what_is_read_twice_is_not_overwritten():
    @rule
    def made(p, g, *, lr=0.1):
        x = 2 * g
        return p - lr * (newton_schulz(x, 1.5, -0.5, 0.0) + matmul(matmul(x, transpose(x)), x))

    assert not cut(plan(made, made.check())).mine
    assert cut(planned("muon")).mine


@pytest.mark.parametrize("name", ["adam", "adafactor", "lamb"])
def test_other_steps_are_not_cut(name):
    assert not is_cut(planned(name))
    assert conditions(planned(name)) == []
