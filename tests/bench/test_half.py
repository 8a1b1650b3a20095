"""Training in half precision: the benchmark, and what it rests on."""

import pytest
import torch

import ravine.torch as rt
from ravine.bench import half


def test_the_rows():
    rows = list(half.run(seeds=2, steps=12))
    assert [row["variant"] for row in rows] == [*half.VARIANTS]
    exact = rows[0]
    assert exact["apart"] == 0
    assert exact["within"]
    for row in rows:
        assert len(row["losses"]) == 2
        apart = sum(x - y for x, y in zip(row["losses"], exact["losses"], strict=True)) / 2
        assert row["apart"] == pytest.approx(apart)
        assert row["within"] == (abs(apart) <= exact["spread"])
    assert len({tuple(row["losses"]) for row in rows}) == len(rows)  # each stores something else


def test_one_seed_has_no_spread():
    with pytest.raises(ValueError, match="seeds=1 is invalid; it must be at least 2"):
        list(half.run(seeds=1))


def test_small_steps_are_lost_to_the_nearest_number():
    rows = {row["variant"]: row for row in half.run(seeds=2, lr=1e-4, steps=150)}
    start = half.problem(half.PROBLEM)
    untrained = start.evaluate(start.model(0), start.test)
    gained = {name: untrained - row["loss"] for name, row in rows.items()}
    assert gained["bfloat16, to nearest"] < 0.75 * gained["float32"]
    for name in ("bfloat16, stochastic rounding", "bfloat16, Kahan"):
        assert gained[name] > 0.9 * gained["float32"]
    for name in ("float32, state in bfloat16", "float32, state in 8 bits"):
        assert gained[name] == pytest.approx(gained["float32"], rel=0.002)


@pytest.mark.parametrize("name", half.VARIANTS)
def test_a_weight_decay_alone(name):
    share = half.decayed(half.problem(half.PROBLEM), *half.VARIANTS[name])
    if name == "bfloat16, to nearest":
        assert share == 0
    else:
        exact = name.startswith("float32")
        assert share == pytest.approx(1, abs=0.002 if exact else 0.05)


def test_a_weight_decay_far_below_a_rounding_still_acts():
    p = torch.ones(1 << 20, dtype=torch.bfloat16, requires_grad=True)
    p.grad = torch.zeros_like(p)
    how = {"lr": 0.1, "weight_decay": 1e-4, "stochastic_rounding": 1}
    optimizer = rt.AdamW([p], **how)
    for _ in range(100):
        optimizer.step()
    assert p.double().mean().item() == pytest.approx((1 - 1e-5) ** 100, abs=5e-5)
    q = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    q.grad = torch.zeros_like(q)
    rt.AdamW([q], lr=0.1, weight_decay=1e-4).step()
    assert torch.equal(q, torch.ones_like(q))  # to nearest, nothing has happened
