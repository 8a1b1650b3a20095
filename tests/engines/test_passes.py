"""How often a kernel walks over the elements, and in which walk a sum is made."""

import pytest

from ravine import registry, rule
from ravine.engines import lowering
from ravine.engines.eager import plan
from ravine.engines.passes import passes
from ravine.ops import mean, sqrt


@rule
def late(p, g, *, lr=0.1):
    """The size of p is needed in the third walk only."""
    u = g / sqrt(mean(g * g))
    return p - lr * sqrt(mean(p * p)) * u / sqrt(mean(u + u * u))


@rule
def first(p, g, m, *, lr=0.1):
    """The old m has to be read before the new one takes its place, or else two columns more are moved."""
    size = sqrt(mean(m * m))
    m = 0.9 * m + g
    u = m / sqrt(mean(m * m))
    return p - lr * u * size / sqrt(mean(u + u * u)), m


def walks(made):
    kernel = lowering.lower(plan(made, made.check(), ndim=2))
    return passes(kernel, ["float32"] * len(kernel.columns))


def moved(made):
    return sum(len(walk.loads) + len(walk.stores) for walk in walks(made))


@pytest.mark.parametrize("made", [late, registry.get("adafactor")], ids=["late", "adafactor"])
def test_a_sum_is_made_in_the_last_walk_before_it_is_needed(made):
    assert ["p" in walk.loads for walk in walks(made)] == [False, True, True]


def test_a_sum_is_made_as_soon_as_it_can_be_where_waiting_takes_more_work():
    one, *others = walks(first)
    assert len(one.sums) == 2
    assert "m" in one.stores
    assert sum(len(walk.sums) for walk in others) == 1


def test_waiting_moves_fewer_columns(monkeypatch):
    rules = ("lamb_timm", "dadapt_sgd")
    mine = [moved(registry.get(name)) for name in rules]
    monkeypatch.setattr(lowering, "delay", lambda kernel: None)
    assert [n + 1 for n in mine] == [moved(registry.get(name)) for name in rules]
